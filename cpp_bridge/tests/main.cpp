// Catch2's main function; version 3 brings its own.
#if AST_EDGE_CATCH2 < 3
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
