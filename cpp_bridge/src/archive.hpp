// Arrays in an .npz as NumPy writes it: a zip archive of .npy files.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"

namespace ast_edge_impl {

struct Array {
    TensorSpec spec;  // the first dimension is the number of vectors
    std::string bytes;
};

// By name, without the suffix. Throws std::runtime_error when the bytes are damaged or of another kind; nothing is
// unpickled.
std::map<std::string, Array> read_npz(std::string_view data);

}  // namespace ast_edge_impl
