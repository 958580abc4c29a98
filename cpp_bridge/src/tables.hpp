// The weights of resampled lines, bit-identical to the reference, ast_edge/frames/resize.py.
#pragma once

#include <cstdint>
#include <vector>

namespace ast_edge_impl {

constexpr int kFixedPointBits = 22;

// Bilinear with antialiasing in fixed point: `first` [n_out], `weights` [taps,n_out].
struct FixedPointTable {
    std::vector<std::int32_t> first, weights;
    int taps;
};

// Bilinear from two neighbours: `first` [n_out], `weights` [n_out,2]. Requires a line of at least 2.
struct TwoTapTable {
    std::vector<std::int32_t> first;
    std::vector<double> weights;
};

FixedPointTable fixed_point_table(int n_in, int n_out);
TwoTapTable two_tap_table(int n_in, int n_out);

}  // namespace ast_edge_impl
