// Catch2 of either generation: Debian 12 and Ubuntu 22.04 have 2, later ones 3.
#pragma once

#if AST_EDGE_CATCH2 >= 3
#include <catch2/catch_all.hpp>
using Catch::Matchers::ContainsSubstring;
#else
#include <catch2/catch.hpp>
inline auto ContainsSubstring(const std::string& text) { return Catch::Matchers::Contains(text); }
#endif
