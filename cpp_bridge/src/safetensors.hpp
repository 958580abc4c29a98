// Arrays in a safetensors file: the length of a JSON header in 8 bytes, the header, and the arrays one after the other.
#pragma once

#include <string_view>

#include "array.hpp"

namespace ast_edge_impl {

// Throws JsonProblem if the bytes are damaged, or contain types other than uint8 and float32.
Arrays read_safetensors(std::string_view data);

}  // namespace ast_edge_impl
