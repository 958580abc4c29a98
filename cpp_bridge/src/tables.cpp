// Compiled without contracted multiplications and additions, which would round differently from NumPy.
#include "tables.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace ast_edge_impl {
namespace {

// Sums in the order in which NumPy adds up a contiguous axis: pairwise, eight at a time.
double numpy_sum(const double* values, std::size_t count) {
    if (count < 8) {
        double sum = 0;
        for (std::size_t i = 0; i < count; ++i) sum += values[i];
        return sum;
    }
    if (count > 128) {
        const std::size_t half = count / 2 - count / 2 % 8;
        return numpy_sum(values, half) + numpy_sum(values + half, count - half);
    }
    double r[8];
    std::copy(values, values + 8, r);
    std::size_t i = 8;
    for (; i + 8 <= count; i += 8)
        for (std::size_t lane = 0; lane < 8; ++lane) r[lane] += values[i + lane];
    double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < count; ++i) sum += values[i];
    return sum;
}

struct Window {
    double centre;
    std::int64_t low, high;
};

std::vector<Window> windows(int n_in, int n_out, double scale, double support) {
    std::vector<Window> found(static_cast<std::size_t>(n_out));
    for (int i = 0; i < n_out; ++i) {
        const double centre = (i + 0.5) * scale;
        const auto low = std::max<std::int64_t>(static_cast<std::int64_t>(centre - support + 0.5), 0);
        const auto high = std::min<std::int64_t>(static_cast<std::int64_t>(centre + support + 0.5), n_in);
        found[static_cast<std::size_t>(i)] = {centre, low, high};
    }
    return found;
}

}  // namespace

FixedPointTable fixed_point_table(int n_in, int n_out) {
    const double scale = static_cast<double>(n_in) / n_out, support = std::max(scale, 1.0);
    const std::vector<Window> all = windows(n_in, n_out, scale, support);
    std::int64_t taps = 0;
    for (const Window& window : all) taps = std::max(taps, window.high - window.low);
    FixedPointTable table{std::vector<std::int32_t>(all.size()),
                          std::vector<std::int32_t>(all.size() * static_cast<std::size_t>(taps)),
                          static_cast<int>(taps)};
    std::vector<double> line(static_cast<std::size_t>(taps));
    for (std::size_t i = 0; i < all.size(); ++i) {
        const std::int64_t first = std::min(all[i].low, n_in - taps);
        for (std::size_t tap = 0; tap < line.size(); ++tap) {
            const std::int64_t position = first + static_cast<std::int64_t>(tap);
            const double away = static_cast<double>(position) - all[i].centre + 0.5;
            const bool inside = all[i].low <= position && position < all[i].high;
            line[tap] = inside ? std::max(0.0, 1.0 - std::fabs(away * (1.0 / support))) : 0.0;
        }
        const double sum = numpy_sum(line.data(), line.size());
        table.first[i] = static_cast<std::int32_t>(first);
        for (std::size_t tap = 0; tap < line.size(); ++tap)
            table.weights[tap * all.size() + i] =
                static_cast<std::int32_t>(line[tap] / sum * (1 << kFixedPointBits) + 0.5);
    }
    return table;
}

TwoTapTable two_tap_table(int n_in, int n_out) {
    TwoTapTable table;
    const std::int64_t unit = 2 * std::int64_t{n_out};
    for (std::int64_t i = 0; i < n_out; ++i) {
        const std::int64_t position = std::clamp((2 * i + 1) * n_in - n_out, std::int64_t{0}, (n_in - 1) * unit);
        const std::int64_t first = std::min<std::int64_t>(position / unit, n_in - 2);
        const double second = static_cast<double>(position - first * unit) / static_cast<double>(unit);
        table.first.push_back(static_cast<std::int32_t>(first));
        table.weights.push_back(1.0 - second);
        table.weights.push_back(second);
    }
    return table;
}

}  // namespace ast_edge_impl
