#include "references.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "error.hpp"
#include "file.hpp"
#include "npz.hpp"
#include "safetensors.hpp"
#include "sha256.hpp"

namespace ast_edge_impl {
namespace {

constexpr int kMostVectors = 64;
constexpr std::size_t kHeaderBytes = 1 << 16;        // more than names, shapes and offsets of five tensors take
constexpr double kTolerance[] = {1e-4, 1e-2, 5e-2};  // of fp32, fp16 and int8

// `model.onnx`, `model.fp16.onnx` and `model.int8.rtx.engine` have the same.
std::string path_beside(const std::string& model) {
    std::string stem = name_of(model);
    const std::size_t dot = stem.rfind('.');
    if (dot != std::string::npos && dot > 0) stem.resize(dot);
    if (ends_with(model, ".rtx.engine")) stem.resize(stem.size() - 4);
    for (const char* suffix : {".fp16", ".int8"})
        if (ends_with(stem, suffix)) stem.resize(stem.size() - 5);
    return folder_of(model) + stem + ".reference";
}

Error misfit(const std::string& where, const std::string& expected, const std::string& found) {
    return model_error(where, ": the reference vectors do not fit the model (expected ", expected, ", found ", found,
                       "); copy or export the model again.");
}

bool all_finite(const Array& array) {
    if (array.spec.type != Type::float32) return true;
    for (std::size_t at = 0; at < array.bytes.size(); at += sizeof(float)) {
        float value = 0;
        std::memcpy(&value, array.bytes.data() + at, sizeof value);
        if (!std::isfinite(value)) return false;
    }
    return true;
}

void check(const Arrays& arrays, const Manifest& manifest, const std::string& where) {
    const auto score = arrays.find("score");
    if (score == arrays.end()) throw misfit(where, "scores", "none");
    const int count = score->second.spec.shape[0];
    std::vector<TensorSpec> specs = input_specs(manifest.mode, manifest.preprocessing, count);
    const std::vector<TensorSpec> outputs = output_specs(manifest.preprocessing, count);
    specs.insert(specs.end(), outputs.begin(), outputs.end());
    if (count < 1 || count > kMostVectors || arrays.size() != specs.size())
        throw misfit(where, concat(specs.size(), " tensors of 1 to ", kMostVectors, " vectors"),
                     concat(arrays.size(), " tensors of ", count, " vectors"));
    for (const TensorSpec& spec : specs) {
        const auto found = arrays.find(spec.name);
        if (found == arrays.end()) throw misfit(where, describe(spec), "none of that name");
        if (!(found->second.spec == spec)) throw misfit(where, describe(spec), describe(found->second.spec));
        if (!all_finite(found->second)) throw misfit(where, "finite numbers in '" + spec.name + "'", "NaN or infinity");
    }
}

Error unusable(const std::string& where, const std::string& why) {
    return model_error(where, ": the reference vectors cannot be used: ", why, "; copy or export the model again.");
}

float value_at(const Array& array, std::size_t index) {
    float value = 0;
    std::memcpy(&value, array.bytes.data() + index * sizeof value, sizeof value);
    return value;
}

// How many scores of the calibration are closer to the threshold than engines may be apart.
int undecided_parts(const Manifest& manifest, double tolerance) {
    constexpr double kSmallest = 1e-12, kRounding = 1e-6;
    return static_cast<int>(std::count_if(manifest.good_scores.begin(), manifest.good_scores.end(), [&](double score) {
        const double allowed = tolerance * std::max(std::fabs(score), kSmallest);
        return std::fabs(score - manifest.threshold) < allowed * (1 - kRounding);
    }));
}

// A NaN must not hide behind a good vector.
double finite_or_inf(double value) { return std::isfinite(value) ? value : std::numeric_limits<double>::infinity(); }

}  // namespace

std::size_t largest_references(const Manifest& manifest) {
    std::size_t vector = 0;
    for (const auto& specs :
         {input_specs(manifest.mode, manifest.preprocessing, 1), output_specs(manifest.preprocessing, 1)})
        for (const TensorSpec& spec : specs) vector += spec.bytes();
    return kMostVectors * vector + kHeaderBytes;
}

Arrays read_references(std::string_view data, const Manifest& manifest, const std::string& where) {
    const std::size_t limit = largest_references(manifest);
    if (data.size() > limit) throw misfit(where, concat("at most ", limit, " bytes"), concat(data.size()));
    Arrays arrays;
    try {
        arrays = is_npz(data) ? read_npz(data, limit) : read_safetensors(data);
    } catch (const JsonProblem& problem) {
        throw unusable(where, problem.key.empty() ? problem.sentence : problem.key + ": " + problem.sentence);
    } catch (const std::runtime_error& error) {
        throw unusable(where, error.what());
    }
    check(arrays, manifest, where);
    return arrays;
}

bool Parity::ok() const { return vectors > 0 && score_error <= tolerance && std::isfinite(map_error) && flipped == 0; }

Arrays load_references(const std::string& path, const Manifest& manifest, const std::optional<std::string>& embedded) {
    std::string beside = path_beside(path) + ".safetensors";
    if (const std::string earlier = path_beside(path) + ".npz"; !exists(beside) && exists(earlier)) beside = earlier;
    if (!exists(beside)) {
        if (embedded) return read_references(*embedded, manifest, path + " (embedded)");
        throw model_error(path, ": there are no reference vectors, neither in the file nor as ", name_of(beside),
                          " beside it; copy that file too or export the model again.");
    }
    const std::string data = read_file(beside, largest_references(manifest), "the file of reference vectors",
                                       "reference vectors made by `ast-edge export`");
    const std::string found = sha256_of(data);
    if (found != manifest.reference_sha256)
        throw model_error(beside, ": these reference vectors belong to another export than ", name_of(path),
                          " (SHA-256 expected ", manifest.reference_sha256.substr(0, 12), "..., found ",
                          found.substr(0, 12), "...); copy both files of one export.");
    return read_references(data, manifest, beside);
}

Parity prove(Engine& engine, const Arrays& references, const Manifest& manifest) {
    const Array &scores = references.at("score"), &maps = references.at("anomaly_map");
    Parity parity;
    parity.vectors = scores.spec.shape[0];
    parity.tolerance = kTolerance[static_cast<int>(manifest.precision)];
    parity.undecided = undecided_parts(manifest, parity.tolerance);
    for (std::size_t i = 0; i < static_cast<std::size_t>(parity.vectors); ++i) {
        Tensors tensors;
        for (const TensorSpec& spec : manifest.inputs)
            tensors[spec.name] = references.at(spec.name).bytes.data() + i * spec.bytes();
        const Answer answer = engine.run(tensors);
        const double expected = value_at(scores, i);
        const double error = std::fabs(answer.score - expected) / std::max(std::fabs(expected), 1e-12);
        parity.score_error = std::max(parity.score_error, finite_or_inf(error));
        for (std::size_t k = 0; k < answer.map.size(); ++k) {
            const double difference = std::fabs(double{answer.map[k]} - value_at(maps, i * answer.map.size() + k));
            parity.map_error = std::max(parity.map_error, finite_or_inf(difference));
        }
        std::string reason;
        const double limit = manifest.reference_threshold;
        parity.flipped += judge(answer.score, limit, reason) != judge(expected, limit, reason);
    }
    return parity;
}

}  // namespace ast_edge_impl
