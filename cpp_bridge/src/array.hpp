// An array of reference vectors, from either file format.
#pragma once

#include <map>
#include <string>

#include "manifest.hpp"

namespace ast_edge_impl {

struct Array {
    TensorSpec spec;  // the first dimension is the number of vectors
    std::string bytes;
};

using Arrays = std::map<std::string, Array>;  // by name

}  // namespace ast_edge_impl
