#include "manifest.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "error.hpp"

namespace ast_edge_impl {
namespace {

constexpr int kFormatVersion = 3, kOldestVersion = 2;
constexpr int kLargestSide = 16384;  // of picture and map; no practical network is larger
constexpr int kLargestFrame = 1 << 20;
constexpr std::size_t kQuantiles = 9;

Crop read_crop(Reader reader) {
    const Crop crop{reader.integer("x", 0, kLargestFrame), reader.integer("y", 0, kLargestFrame),
                    reader.integer("width", 1, kLargestFrame), reader.integer("height", 1, kLargestFrame)};
    reader.done();
    return crop;
}

DepthSettings read_depth(Reader reader) {
    DepthSettings depth{0.007, false};
    if (reader.given("foreground_min_m")) depth.foreground_min_m = reader.number("foreground_min_m", 0);
    if (!(depth.foreground_min_m > 0)) throw JsonProblem{reader.path("foreground_min_m"), "expected more than 0"};
    if (reader.given("mask")) depth.fractional = reader.choice("mask", {"binary", "fractional"}) == "fractional";
    reader.done();
    return depth;
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The first `count` bits of a text in base64, a byte each; nothing if it has other letters or another length.
std::vector<unsigned char> bits_of(const std::string& text, std::size_t count) {
    const std::size_t bytes = (count + 7) / 8, letters = (bytes * 8 + 5) / 6;
    if (text.size() != (bytes + 2) / 3 * 4 || text.find_first_not_of('=', letters) != std::string::npos) return {};
    std::vector<unsigned char> bits(letters * 6);
    for (std::size_t i = 0; i < letters; ++i) {
        const std::size_t value = kBase64.find(text[i]);
        if (value == std::string_view::npos) return {};
        for (std::size_t bit = 0; bit < 6; ++bit)
            bits[6 * i + bit] = static_cast<unsigned char>(value >> (5 - bit) & 1U);
    }
    if (std::any_of(bits.begin() + static_cast<std::ptrdiff_t>(count), bits.end(), [](int bit) { return bit != 0; }))
        return {};
    bits.resize(count);
    return bits;
}

// What replaces the pixels outside is in the graph: only the levels of a frame need the mask here.
std::vector<unsigned char> read_roi(Reader reader, int image_size) {
    const auto size = static_cast<std::size_t>(image_size);
    std::vector<unsigned char> looked_at = bits_of(reader.text("inside"), size * size);
    if (looked_at.empty())
        throw JsonProblem{reader.path("inside"), "expected the mask of the network's picture, in base64"};
    if (std::find(looked_at.begin(), looked_at.end(), 1) == looked_at.end())
        throw JsonProblem{reader.path("inside"), "marks no pixel to look at"};
    for (const double level : reader.numbers("fill", 3, 3))
        if (!(level >= 0 && level <= 255) || level != std::floor(level))
            throw JsonProblem{reader.path("fill"), "expected three whole numbers from 0 to 255"};
    reader.done();
    return looked_at;
}

Preprocessing read_preprocessing(Reader reader) {
    Preprocessing spec;
    spec.image_size = reader.integer("image_size", 1, kLargestSide);
    spec.map_size = reader.integer("map_size", 1, kLargestSide / 8);
    if (reader.given("colour")) reader.choice("colour", {"rgb"});
    if (reader.given("resize")) reader.choice("resize", {"bilinear-antialias"});
    if (reader.has("crop")) spec.crop = read_crop(reader.object("crop"));
    if (reader.has("depth")) spec.depth = read_depth(reader.object("depth"));
    if (reader.has("roi")) {
        if (spec.depth) throw JsonProblem{reader.path("roi"), "belongs to mode rgb, and only to it"};
        if (spec.image_size % spec.map_size)
            throw JsonProblem{reader.path("roi"), "the map does not divide the picture"};
        spec.looked_at = read_roi(reader.object("roi"), spec.image_size);
    }
    reader.done();
    return spec;
}

struct Threshold {
    double value, margin;
    int good_parts;
};

Threshold read_threshold(Reader reader) {
    Threshold threshold{reader.number("value"), 0, reader.integer("good_parts", 1)};
    if (reader.given("margin")) threshold.margin = reader.number("margin", 0);
    reader.number("pixel_value");
    reader.integer("good_parts_needed", 1);
    for (const char* name :
         {"target_false_reject_rate", "expected_false_reject_rate", "upper_false_reject_rate", "confidence"})
        reader.number(name, 0, 1);
    if (reader.given("method")) reader.choice("method", {"split", "cross"});
    if (reader.given("by_hand")) reader.boolean("by_hand");
    reader.done();
    return threshold;
}

// The stored scores of good parts in ascending order.
std::vector<double> read_calibration(Reader reader) {
    reader.integer("revision", 1);
    reader.text("origin");
    for (const char* name : {"operator", "made"})
        if (!reader.member(name).is_null()) reader.text(name);
    reader.sha256("parts_sha256");
    reader.numbers("score_quantiles", kQuantiles, kQuantiles);
    for (const char* name : {"brightness_quantiles", "sharpness_quantiles"})
        if (!reader.member(name).is_null()) reader.numbers(name, kQuantiles, kQuantiles);
    std::vector<double> scores = reader.numbers("scores", 2, 1000);
    reader.done();
    return scores;
}

Range read_range(Reader reader) {
    const Range range{reader.number("low", 0), reader.number("high", 0)};
    reader.done();
    return range;
}

std::optional<Range> read_optional_range(Reader& reader, const std::string& name) {
    if (reader.member(name).is_null()) return std::nullopt;
    return read_range(reader.object(name));
}

TrainedRange read_trained(Reader reader) {
    TrainedRange trained{read_range(reader.object("width")), read_range(reader.object("height")),
                         read_optional_range(reader, "brightness"), read_optional_range(reader, "contrast")};
    reader.done();
    return trained;
}

void check_training_data(Reader reader) {
    reader.sha256("fingerprint");
    reader.text("layout");
    reader.integer("train_parts", 1);
    reader.integer("holdout_parts", 1);
    if (reader.has("seen")) reader.text("seen");
    reader.done();
}

void check_aggregation(Reader& reader, int map_size) {
    const std::string name = reader.text("aggregation");
    if (name == "mean" || name == "max") return;
    const std::string count = name.substr(0, 3) == "top" ? name.substr(3) : "";
    const bool plain = !count.empty() && count.size() <= 4 && count[0] != '0' &&
                       count.find_first_not_of("0123456789") == std::string::npos;
    if (!plain || std::stoll(count) > static_cast<long long>(map_size) * map_size)
        throw JsonProblem{"aggregation",
                          "expected mean, max or topK with K from 1 to 9999 and no more than the map has"};
}

std::vector<TensorSpec> read_tensors(Reader& reader, const std::string& name) {
    const Json& list = reader.member(name);
    if (!list.is_array() || list.empty() || list.size() > 8) throw JsonProblem{name, "expected a list of tensors"};
    std::vector<TensorSpec> specs;
    for (const Json& one : list) {
        Reader tensor(one, name);
        TensorSpec spec{tensor.text("name"), Type::uint8, {}};
        if (tensor.choice("dtype", {"uint8", "float32"}) == "float32") spec.type = Type::float32;
        for (const double size : tensor.numbers("shape", 1, 8)) {
            if (!(size >= -1 && size <= 8.0 * kLargestSide)) throw JsonProblem{name, "expected sizes of a tensor"};
            spec.shape.push_back(static_cast<int>(size));
        }
        tensor.done();
        specs.push_back(std::move(spec));
    }
    return specs;
}

void check_tensors(const Manifest& manifest) {
    const int batch = manifest.batch();
    if (batch != -1 && batch < 1) throw JsonProblem{"", "the batch dimension must be -1 or at least 1"};
    if (manifest.inputs != input_specs(manifest.mode, manifest.preprocessing, batch) ||
        manifest.outputs != output_specs(manifest.preprocessing, batch))
        throw JsonProblem{"", "inputs and outputs do not belong to this mode and these sizes"};
}

void check_versions(Reader& reader) {
    const Json& versions = reader.member("versions");
    if (!versions.is_object()) throw JsonProblem{"versions", "expected an object"};
    for (const auto& [name, version] : versions.items())
        if (!version.is_string()) throw JsonProblem{"versions." + name, "expected a text"};
}

// The part's score below the oldest of the earlier thresholds, if any.
std::optional<double> first_threshold(Reader& reader) {
    if (!reader.given("earlier")) return std::nullopt;
    const Json& list = reader.member("earlier");
    if (!list.is_array()) throw JsonProblem{"earlier", "expected a list"};
    std::optional<double> first;
    for (const Json& one : list) {
        Reader past(one, "earlier");
        const Threshold threshold = read_threshold(past.object("threshold"));
        read_calibration(past.object("calibration"));
        past.done();
        if (!first) first = threshold.value - threshold.margin;
    }
    return first;
}

template <typename Enum>
Enum chosen(Reader& reader, const std::string& name, const std::vector<std::string>& names) {
    const std::string value = reader.choice(name, names);
    return static_cast<Enum>(std::find(names.begin(), names.end(), value) - names.begin());
}

void read_spec(Reader& reader, Manifest& manifest) {
    manifest.mode = chosen<Mode>(reader, "mode", {"rgb", "depth", "rgbd"});
    manifest.preprocessing = read_preprocessing(reader.object("preprocessing"));
    if (manifest.has_depth() != manifest.preprocessing.depth.has_value())
        throw JsonProblem{"preprocessing.depth", "belongs to the modes depth and rgbd, and only to them"};
    const Threshold threshold = read_threshold(reader.object("threshold"));
    manifest.threshold = threshold.value;
    manifest.reference_threshold = threshold.value - threshold.margin;
    manifest.good_parts = threshold.good_parts;
    if (reader.has("calibration")) manifest.good_scores = read_calibration(reader.object("calibration"));
    if (reader.has("trained")) manifest.trained = read_trained(reader.object("trained"));
    check_training_data(reader.object("training_data"));
    check_aggregation(reader, manifest.preprocessing.map_size);
    if (reader.given("smoothing")) reader.number("smoothing", 0);
    for (const char* name : {"preset", "backbone"}) reader.text(name);
}

int checked_version(const Json& content, const std::string& where) {
    const int version = format_version(content);
    if (version > kFormatVersion)
        throw model_error(where, ": manifest format ", version, " is newer than format ", kFormatVersion,
                          ", the newest this version of ast-edge reads; upgrade ast-edge on this machine.");
    return version;
}

Error bad_key(const std::string& where, const JsonProblem& problem) {
    const std::string key = problem.key.empty() ? "manifest" : problem.key;
    return model_error(where, ": manifest key '", key, "': ", problem.sentence, "; export it again.");
}

Manifest read_content(const Json& content) {
    Reader reader(content);
    Manifest manifest;
    read_spec(reader, manifest);
    manifest.format_version = reader.integer("format_version", kOldestVersion, kFormatVersion);
    manifest.model_id = reader.text("model_id");
    manifest.precision = chosen<Precision>(reader, "precision", {"fp32", "fp16", "int8"});
    manifest.inputs = read_tensors(reader, "inputs");
    manifest.outputs = read_tensors(reader, "outputs");
    check_tensors(manifest);
    manifest.network_sha256 = reader.sha256("network_sha256");
    manifest.reference_sha256 = reader.sha256("reference_sha256");
    if (reader.has("embedded_reference_sha256"))
        manifest.embedded_reference_sha256 = reader.sha256("embedded_reference_sha256");
    if (const auto first = first_threshold(reader)) manifest.reference_threshold = *first;
    reader.text("created");
    check_versions(reader);
    reader.done();
    return manifest;
}

}  // namespace

std::size_t TensorSpec::values() const {
    std::size_t count = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) count *= static_cast<std::size_t>(shape[i]);
    return count;
}

std::string describe(const TensorSpec& spec) {
    std::string text = spec.name + (spec.type == Type::uint8 ? " uint8 [" : " float32 [");
    for (std::size_t i = 0; i < spec.shape.size(); ++i) text += (i ? ", " : "") + std::to_string(spec.shape[i]);
    return text + "]";
}

Manifest read_manifest(std::string_view text, const std::string& where) {
    Json content;
    try {
        content = parse_object(text);
    } catch (const JsonProblem& problem) {
        throw model_error(where, ": the manifest cannot be used: ", problem.sentence, "; export the model again.");
    }
    try {
        if (!seal_holds(text, content, checked_version(content, where) < kFormatVersion))
            throw model_error(where, ": the manifest was changed after it was written (its digest does not match); ",
                              "export the model again.");
    } catch (const JsonProblem& problem) {
        throw bad_key(where, problem);
    }
    content.erase("digest");
    return read_manifest(content, where);
}

Manifest read_manifest(const Json& content, const std::string& where) {
    try {
        checked_version(content, where);
        return read_content(content);
    } catch (const JsonProblem& problem) {
        throw bad_key(where, problem);
    }
}

std::vector<TensorSpec> input_specs(Mode mode, const Preprocessing& spec, int batch) {
    const int size = spec.image_size, grid = spec.map_size;
    std::vector<TensorSpec> specs;
    if (mode != Mode::depth) specs.push_back({"image", Type::uint8, {batch, size, size, 3}});
    if (mode != Mode::rgb) {
        specs.push_back({"depth", Type::float32, {batch, 1, 8 * grid, 8 * grid}});
        specs.push_back({"foreground", Type::float32, {batch, 1, grid, grid}});
    }
    return specs;
}

std::vector<TensorSpec> output_specs(const Preprocessing& spec, int batch) {
    return {{"score", Type::float32, {batch}}, {"anomaly_map", Type::float32, {batch, spec.map_size, spec.map_size}}};
}

}  // namespace ast_edge_impl
