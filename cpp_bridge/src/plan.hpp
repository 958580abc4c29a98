// Which kernels of preprocess.cu to launch, with what; ast_edge/cuda/plan.py is the definition.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "manifest.hpp"
#include "part.hpp"

namespace ast_edge_impl {

enum : int { kNotFinite = 1, kNegative = 2, kTooFar = 4, kNoCorner = 8, kNoPart = 16 };  // bits of "status"
constexpr unsigned kThreads = 128;                                                       // of a block on a GPU

// A buffer's name stands for its address.
using Argument = std::variant<std::int32_t, double, std::string>;

struct Launch {
    std::string kernel;
    std::array<unsigned, 3> grid;
    unsigned shared_bytes;
    std::vector<Argument> arguments;
};

struct Buffer {
    std::string name;
    std::size_t bytes;
    std::vector<unsigned char> content;  // of constants
};

// Launches in their order, and what they name: "frame" and "depth_m" go in; "image", "levels", "depth", "foreground"
// and "status" come out.
struct Plan {
    std::vector<Launch> launches;
    std::vector<Buffer> constants, workspace, outputs;
};

Plan plan_part(const Layouts& layouts, const Preprocessing& spec);

// Whether there is a part, from the value of "status". Throws Error(AST_EDGE_FRAME) for a depth map that cannot be
// used.
bool part_seen(int status);

}  // namespace ast_edge_impl
