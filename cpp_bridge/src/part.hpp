// A checked part; ast_edge/frames/pixel_formats.py and preprocess.py are the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>

#include "ast_edge/ast_edge.h"
#include "manifest.hpp"

namespace ast_edge_impl {

// In the order of `ast_edge.frames.pixel_formats.COLOURS`, of preprocess.cu and of the C interface.
enum class Format { rgb, bgr, mono, bayer_rggb, bayer_bggr, bayer_grbg, bayer_gbrg, nv12, yuyv };

// The memory layout of a frame: size in pixels, and `pitch` in bytes from row to row.
struct FrameLayout {
    Format format;
    int width, height, pitch;

    int row_bytes() const;  // without gap
    int rows() const { return format == Format::nv12 ? height * 3 / 2 : height; }
    std::size_t bytes() const;  // to the end of the last row, without its gap
    auto key() const { return std::tuple(format, width, height, pitch); }
    bool operator==(const FrameLayout& other) const { return key() == other.key(); }
};

// The memory layout of a depth map; `pitch` counts values from row to row.
struct DepthLayout {
    bool is_double;
    int width, height, pitch;

    std::size_t value_bytes() const { return is_double ? 8 : 4; }
    std::size_t bytes() const;
    auto key() const { return std::tuple(is_double, width, height, pitch); }
    bool operator==(const DepthLayout& other) const { return key() == other.key(); }
};

struct Layouts {
    std::optional<FrameLayout> frame;
    std::optional<DepthLayout> depth;

    bool operator==(const Layouts& other) const { return frame == other.frame && depth == other.depth; }
};

// The part to inspect; the memory is owned by the caller.
struct Part {
    Layouts layouts;
    const void* frame = nullptr;
    const void* depth_m = nullptr;
    bool on_gpu = false;

    int width() const { return layouts.frame ? layouts.frame->width : layouts.depth->width; }
    int height() const { return layouts.frame ? layouts.frame->height : layouts.depth->height; }
};

// Converts the struct of the C interface; pixels are not checked. Throws Error(AST_EDGE_FRAME) for inputs that are
// missing, of another mode or of the wrong size, Error(AST_EDGE_USAGE) for values that no version defines.
Part checked_part(const ast_edge_part& part, const Manifest& manifest);

// The layout of the same rows without gaps.
Layouts packed(const Layouts& layouts);
// Copies rows of `row` bytes from one pitch in bytes to another.
void copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t row,
               std::size_t rows);

}  // namespace ast_edge_impl
