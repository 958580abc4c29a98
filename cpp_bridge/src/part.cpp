#include "part.hpp"

#include <algorithm>
#include <cstring>

#include "error.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::uint32_t kLargestSide = 1 << 20;
constexpr const char* kFormats[] = {"rgb",        "bgr",        "mono", "bayer_rggb", "bayer_bggr",
                                    "bayer_grbg", "bayer_gbrg", "nv12", "yuyv"};
constexpr const char* kModes[] = {"rgb", "depth", "rgbd"};

bool is_bayer(Format format) { return Format::bayer_rggb <= format && format <= Format::bayer_gbrg; }

void check_size(std::uint32_t width, std::uint32_t height, const char* what) {
    if (width == 0 || height == 0 || width > kLargestSide || height > kLargestSide)
        throw frame_error("The ", what, " must have 1 to ", kLargestSide, " pixels on each side, found ", width, "x",
                          height, ".");
}

void check_crop(const std::optional<Crop>& crop, std::uint32_t width, std::uint32_t height, const char* what) {
    if (!crop) return;
    if (std::int64_t{crop->x} + crop->width > width || std::int64_t{crop->y} + crop->height > height)
        throw frame_error("The ", what, " is ", width, "x", height, " pixels, too small for the model's crop of ",
                          crop->width, "x", crop->height, " at (", crop->x, ",", crop->y,
                          "); set the camera to the resolution the model was trained with.");
}

void check_shape(const FrameLayout& layout) {
    const bool odd_width = layout.width % 2 != 0, odd_height = layout.height % 2 != 0;
    const bool small = layout.width < 2 || layout.height < 2;
    const char* wanted = nullptr;
    if (is_bayer(layout.format) && small) wanted = "at least 2x2 pixels";
    if (layout.format == Format::nv12 && (odd_width || odd_height)) wanted = "an even width and height";
    if (layout.format == Format::yuyv && odd_width) wanted = "an even width";
    if (wanted != nullptr)
        throw frame_error("A frame with the colour order ", kFormats[static_cast<int>(layout.format)], " must have ",
                          wanted, ", found ", layout.width, "x", layout.height, "; check the camera's pixel format.");
}

std::size_t checked_pitch(std::size_t pitch, std::size_t row, const char* what) {
    const std::size_t found = pitch == 0 ? row : pitch;
    if (found < row || found > INT32_MAX)
        throw frame_error("A row of the ", what, " takes ", row, " bytes, found a pitch of ", found, ".");
    return found;
}

FrameLayout frame_layout(const ast_edge_part& part, const Manifest& manifest) {
    if (part.format < 0 || part.format > AST_EDGE_FORMAT_YUYV)
        throw usage_error("Unknown pixel format ", part.format, ": expected 0 to ", int{AST_EDGE_FORMAT_YUYV}, ".");
    check_size(part.width, part.height, "frame");
    FrameLayout layout{static_cast<Format>(part.format), static_cast<int>(part.width), static_cast<int>(part.height),
                       0};
    check_shape(layout);
    layout.pitch = static_cast<int>(checked_pitch(part.pitch, static_cast<std::size_t>(layout.row_bytes()), "frame"));
    check_crop(manifest.preprocessing.crop, part.width, part.height, "frame");
    return layout;
}

DepthLayout depth_layout(const ast_edge_part& part, const Manifest& manifest) {
    if (part.depth_type != AST_EDGE_FLOAT32 && part.depth_type != AST_EDGE_FLOAT64)
        throw usage_error("Unknown type of the depth map ", part.depth_type, ": expected AST_EDGE_FLOAT32 or 64.");
    check_size(part.depth_width, part.depth_height, "depth map");
    DepthLayout layout{part.depth_type == AST_EDGE_FLOAT64, static_cast<int>(part.depth_width),
                       static_cast<int>(part.depth_height), 0};
    const std::size_t value = layout.value_bytes();
    const std::size_t pitch = checked_pitch(part.depth_pitch, value * part.depth_width, "depth map");
    if (pitch % value != 0 || reinterpret_cast<std::uintptr_t>(part.depth_m) % value != 0)
        throw frame_error("The rows of the depth map must start at multiples of ", value, " bytes.");
    layout.pitch = static_cast<int>(pitch / value);
    const std::optional<Crop>& crop = manifest.preprocessing.crop;
    check_crop(crop, part.depth_width, part.depth_height, "depth map");
    const int width = crop ? crop->width : layout.width, height = crop ? crop->height : layout.height;
    if (std::min(width, height) < 2)
        throw frame_error("The depth map must have at least 2x2 pixels, found ", width, "x", height, ".");
    return layout;
}

void check_presence(const void* given, bool wanted, const char* name, Mode mode) {
    if (wanted == (given != nullptr)) return;
    const char* mode_name = kModes[static_cast<int>(mode)];
    if (wanted) throw frame_error("mode ", mode_name, " of this model needs `", name, "`, found none.");
    throw frame_error("mode ", mode_name, " of this model does not use `", name, "`; leave it out.");
}

}  // namespace

int FrameLayout::row_bytes() const {
    const bool three = format == Format::rgb || format == Format::bgr;
    return width * (three ? 3 : format == Format::yuyv ? 2 : 1);
}

std::size_t FrameLayout::bytes() const {
    return static_cast<std::size_t>(pitch) * static_cast<std::size_t>(rows() - 1) +
           static_cast<std::size_t>(row_bytes());
}

std::size_t DepthLayout::bytes() const {
    return value_bytes() *
           (static_cast<std::size_t>(pitch) * static_cast<std::size_t>(height - 1) + static_cast<std::size_t>(width));
}

Part checked_part(const ast_edge_part& given, const Manifest& manifest) {
    if (given.memory != AST_EDGE_HOST && given.memory != AST_EDGE_CUDA)
        throw usage_error("Unknown kind of memory ", given.memory, ": expected AST_EDGE_HOST or AST_EDGE_CUDA.");
    check_presence(given.frame, manifest.has_image(), "frame", manifest.mode);
    check_presence(given.depth_m, manifest.has_depth(), "depth_m", manifest.mode);
    Part part{{}, given.frame, given.depth_m, given.memory == AST_EDGE_CUDA};
    if (manifest.has_image()) part.layouts.frame = frame_layout(given, manifest);
    if (manifest.has_depth()) part.layouts.depth = depth_layout(given, manifest);
    const Layouts& found = part.layouts;
    if (found.frame && found.depth &&
        (found.frame->width != found.depth->width || found.frame->height != found.depth->height))
        throw frame_error("frame and depth map must show the same pixels, found ", found.frame->width, "x",
                          found.frame->height, " and ", found.depth->width, "x", found.depth->height,
                          "; register the depth map to the frame.");
    return part;
}

Layouts packed(const Layouts& layouts) {
    Layouts tight = layouts;
    if (tight.frame) tight.frame->pitch = tight.frame->row_bytes();
    if (tight.depth) tight.depth->pitch = tight.depth->width;
    return tight;
}

void copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t row,
               std::size_t rows) {
    if (to_pitch == row && from_pitch == row) {
        std::memcpy(to, from, row * rows);
        return;
    }
    for (std::size_t i = 0; i < rows; ++i)
        std::memcpy(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, row);
}

}  // namespace ast_edge_impl
