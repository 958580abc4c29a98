// Numbers as text, independent of the locale.
#pragma once

#include <string>

namespace ast_edge_impl {

// As Python's f"{value:.{digits}g}".
std::string general(double value, int digits = 6);

// As Python's repr(value): the shortest digits that round-trip.
std::string shortest(double value);

}  // namespace ast_edge_impl
