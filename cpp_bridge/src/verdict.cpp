#include "verdict.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "error.hpp"
#include "numbers.hpp"

namespace ast_edge_impl {
namespace {

constexpr double kMargin = 2.0;  // half as dark and twice as bright as any good part is still accepted
__extension__ typedef unsigned __int128 Wide;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string outside_size(const char* name, int found, const Range& range) {
    if (range.low <= found && found <= range.high) return "";
    return concat("the frame's ", name, " is ", found, " pixels, good parts were trained on at ", general(range.low),
                  " to ", general(range.high));
}

std::string outside_levels(const char* name, double found, const Range& range) {
    if (range.low / kMargin <= found && found <= range.high * kMargin) return "";
    return concat("the frame's ", name, " is ", general(found, 3), " grey levels, good parts have ",
                  general(range.low, 3), " to ", general(range.high, 3));
}

// Returns the fraction of good parts, including this one, with at least this score.
double p_value(double score, const Manifest& manifest) {
    const std::vector<double>& kept = manifest.good_scores;
    if (kept.empty()) return kNan;
    const auto no_less = static_cast<double>(kept.end() - std::lower_bound(kept.begin(), kept.end(), score));
    const double parts = manifest.good_parts;
    return (1 + no_less * parts / static_cast<double>(kept.size())) / (parts + 1);
}

}  // namespace

Counts counts_of(const Preprocessing& spec) {
    const auto size = static_cast<std::uint64_t>(spec.image_size);
    const std::vector<unsigned char>& counted = spec.looked_at;
    if (counted.empty()) return {size * size, 2 * size * (size - 1)};
    Counts counts{0, 0};
    for (std::size_t at = 0; at < counted.size(); ++at) {
        if (counted[at] == 0) continue;
        const bool below = at + size < counted.size() && counted[at + size] != 0;
        const bool right = (at + 1) % size != 0 && counted[at + 1] != 0;
        counts.pixels += 1;
        counts.pairs += (below ? 1U : 0U) + (right ? 1U : 0U);
    }
    return counts;
}

GreyLevels levels_from_sums(const std::uint64_t* sums, const Counts& counts) {
    const auto count = static_cast<double>(counts.pixels);
    const double differences = std::max(static_cast<double>(counts.pairs), 1.0) / 2;
    // Exact: with pictures up to 16384 pixels on a side the products have up to 85 bits.
    const auto spread = static_cast<double>(Wide(counts.pixels) * Wide(sums[1]) - Wide(sums[0]) * Wide(sums[0]));
    return {static_cast<double>(sums[0]) / count / 3, std::sqrt(spread) / count / 3,
            std::sqrt(static_cast<double>(sums[2] + sums[3]) / differences) / 3};
}

std::string why_unfit(const Manifest& manifest, int width, int height, const std::optional<GreyLevels>& levels,
                      bool part_seen) {
    if (!part_seen) return "no part found in the depth map";
    if (!manifest.trained) return "";
    const TrainedRange& trained = *manifest.trained;
    std::string why = outside_size("width", width, trained.width);
    if (why.empty()) why = outside_size("height", height, trained.height);
    if (!why.empty() || !levels || !trained.brightness || !trained.contrast) return why;
    why = outside_levels("brightness", levels->brightness, *trained.brightness);
    return why.empty() ? outside_levels("contrast", levels->contrast, *trained.contrast) : why;
}

Verdict judge(double score, double threshold, std::string& reason) {
    if (!std::isfinite(score)) {
        reason = concat("the network gave no usable score (", general(score), ")");
        return Verdict::fault;
    }
    if (!std::isfinite(threshold)) {
        reason = concat("the threshold is no finite number (", general(threshold), ")");
        return Verdict::fault;
    }
    const bool above = score > threshold;
    reason =
        concat("score ", general(score), above ? " is above" : " is not above", " the threshold ", general(threshold));
    return above ? Verdict::reject : Verdict::pass;
}

Inspection unjudged(const Manifest& manifest, double threshold, const std::string& reason) {
    const auto side = static_cast<std::size_t>(manifest.preprocessing.map_size);
    std::vector<float> map(side * side, std::numeric_limits<float>::quiet_NaN());
    return {Verdict::fault, kNan, threshold, kNan, reason, std::move(map), std::nullopt, {}};
}

Inspection judged(const Manifest& manifest, double threshold, Answer answer) {
    Inspection found{Verdict::fault, answer.score, threshold, kNan, "", std::move(answer.map), std::nullopt, {}};
    found.verdict = judge(found.score, threshold, found.reason);
    const auto finite = [](float value) { return std::isfinite(value); };
    if (found.verdict != Verdict::fault && !std::all_of(found.map.begin(), found.map.end(), finite)) {
        found.verdict = Verdict::fault;
        found.reason = "the network gave an anomaly map with values that are not finite";
    }
    if (found.verdict != Verdict::fault) found.p_value = p_value(found.score, manifest);
    return found;
}

}  // namespace ast_edge_impl
