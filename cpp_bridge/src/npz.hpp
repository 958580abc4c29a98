// Arrays in an .npz as NumPy writes it, a zip archive of .npy files: the format of reference vectors up to version 0.1.
#pragma once

#include <cstddef>
#include <string_view>

#include "array.hpp"

namespace ast_edge_impl {

inline bool is_npz(std::string_view data) { return data.substr(0, 2) == "PK"; }

// Unpacks at most `limit` bytes. Throws std::runtime_error if the bytes are damaged, of another kind, or exceed the
// limit when unpacked, and in a library that was built without zlib.
Arrays read_npz(std::string_view data, std::size_t limit);

}  // namespace ast_edge_impl
