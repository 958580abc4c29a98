// From the outputs of an engine to a verdict; ast_edge/verdict, ast_edge/frames/levels.py and ast_edge/inspector.py are
// the reference.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace ast_edge_impl {

enum class Verdict { fault, pass, reject };

// Of the network's picture, in grey levels.
struct GreyLevels {
    double brightness, contrast, sharpness;
};

struct Stages {
    double preprocess_ms = 0, engine_ms = 0, score_ms = 0;
};

// The outputs of an engine for one part; `map` [h,h].
struct Answer {
    float score;
    std::vector<float> map;
};

struct Inspection {
    Verdict verdict = Verdict::fault;
    double score = std::numeric_limits<double>::quiet_NaN(), threshold = score, p_value = score;
    std::string reason;
    std::vector<float> map;
    std::optional<GreyLevels> levels;
    Stages stages;
};

// How many pixels of the network's picture count, and how many pairs of neighbours, below and to the right.
struct Counts {
    std::uint64_t pixels, pairs;
};

Counts counts_of(const Preprocessing& spec);

// From the sum of the channels' sum, the sum of its squares, and its squared differences down and to the right.
GreyLevels levels_from_sums(const std::uint64_t* sums, const Counts& counts);

// Describes why a frame of this size cannot be judged; empty if it can.
std::string why_unfit(const Manifest& manifest, int width, int height, const std::optional<GreyLevels>& levels,
                      bool part_seen);

// Returns the verdict on a score against a threshold, and its reason.
Verdict judge(double score, double threshold, std::string& reason);

// Returns a fault of a part for which no engine was run: numbers and map are NaN.
Inspection unjudged(const Manifest& manifest, double threshold, const std::string& reason);

Inspection judged(const Manifest& manifest, double threshold, Answer answer);

}  // namespace ast_edge_impl
