// The manifest of a model; ast_edge/model/manifest.py is the reference. Fields that affect verdicts are kept; the
// others are only validated.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json.hpp"

namespace ast_edge_impl {

enum class Mode { rgb, depth, rgbd };
enum class Precision { fp32, fp16, int8 };

struct Crop {
    int x, y, width, height;
};

struct DepthSettings {
    double foreground_min_m;
    bool fractional;
};

struct Preprocessing {
    std::optional<Crop> crop;
    int image_size = 0, map_size = 0;
    std::optional<DepthSettings> depth;
    std::vector<unsigned char> looked_at;  // of the picture [S,S], 1 or 0 for each pixel; empty: all of it
};

struct Range {
    double low, high;
};

struct TrainedRange {
    Range width, height;
    std::optional<Range> brightness, contrast;
};

enum class Type { uint8, float32 };

// The first dimension is the batch, -1 if it is dynamic.
struct TensorSpec {
    std::string name;
    Type type;
    std::vector<int> shape;

    bool operator==(const TensorSpec& other) const {
        return name == other.name && type == other.type && shape == other.shape;
    }
    std::size_t values() const;  // of one part
    std::size_t bytes() const { return values() * (type == Type::uint8 ? 1 : 4); }
};

std::string describe(const TensorSpec& spec);

struct Manifest {
    int format_version = 0;
    std::string model_id, network_sha256, reference_sha256;
    std::optional<std::string> embedded_reference_sha256;
    Mode mode = Mode::rgb;
    Precision precision = Precision::fp32;
    Preprocessing preprocessing;
    double threshold = 0;
    double reference_threshold = 0;  // the part's score below the first threshold: no reference vector is close to it
    int good_parts = 0;
    std::vector<double> good_scores;  // ascending; empty without a calibration
    std::optional<TrainedRange> trained;
    std::vector<TensorSpec> inputs, outputs;

    int batch() const { return inputs[0].shape[0]; }
    bool has_image() const { return mode != Mode::depth; }
    bool has_depth() const { return mode != Mode::rgb; }
};

// Both throw Error(AST_EDGE_MODEL) with the prefix `where`. The text of a manifest is sealed; the manifest in a sidecar
// is covered by the sidecar's seal.
Manifest read_manifest(std::string_view text, const std::string& where);
Manifest read_manifest(const Json& content, const std::string& where);

// The tensors of a network for `batch` parts at once.
std::vector<TensorSpec> input_specs(Mode mode, const Preprocessing& spec, int batch);
std::vector<TensorSpec> output_specs(const Preprocessing& spec, int batch);

}  // namespace ast_edge_impl
