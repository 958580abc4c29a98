// The C++ interface of ast-edge, header-only on top of the C interface: RAII, views instead of pointers, and
// exceptions. See ast_edge.h for the rules; the most important: a part that was not judged is a fault, never a pass.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ast_edge/ast_edge.h"

namespace ast_edge {

enum class Verdict : std::int32_t { fault = AST_EDGE_FAULT, pass = AST_EDGE_PASS, reject = AST_EDGE_REJECT };
enum class Mode : std::int32_t { rgb = AST_EDGE_RGB, depth = AST_EDGE_DEPTH, rgbd = AST_EDGE_RGBD };
enum class Precision : std::int32_t { fp32 = AST_EDGE_FP32, fp16 = AST_EDGE_FP16, int8 = AST_EDGE_INT8 };
enum class Memory : std::int32_t { host = AST_EDGE_HOST, cuda = AST_EDGE_CUDA };
enum class EngineKind : std::int32_t {
    automatic = AST_EDGE_ENGINE_AUTO,
    cpu = AST_EDGE_ENGINE_CPU,
    tensorrt = AST_EDGE_ENGINE_TENSORRT
};
enum class Format : std::int32_t {
    rgb = AST_EDGE_FORMAT_RGB,
    bgr = AST_EDGE_FORMAT_BGR,
    mono = AST_EDGE_FORMAT_MONO,
    bayer_rggb = AST_EDGE_FORMAT_BAYER_RGGB,
    bayer_bggr = AST_EDGE_FORMAT_BAYER_BGGR,
    bayer_grbg = AST_EDGE_FORMAT_BAYER_GRBG,
    bayer_gbrg = AST_EDGE_FORMAT_BAYER_GBRG,
    nv12 = AST_EDGE_FORMAT_NV12,
    yuyv = AST_EDGE_FORMAT_YUYV
};

class Error : public std::runtime_error {
public:
    Error(ast_edge_status status, const char* sentence) : std::runtime_error(sentence), status_(status) {}
    ast_edge_status status() const noexcept { return status_; }

private:
    ast_edge_status status_;
};

// A view of a frame, which does not own the memory. `pitch` is bytes from row to row, 0 for rows without gaps.
struct Frame {
    const void* data;
    std::uint32_t width, height;
    Format format;
    std::size_t pitch = 0;
};

// A view of distances in metres, 0 where nothing was measured.
struct DepthMap {
    DepthMap(const float* values, std::uint32_t width, std::uint32_t height, std::size_t pitch = 0)
        : data(values), width(width), height(height), pitch(pitch), type(AST_EDGE_FLOAT32) {}
    DepthMap(const double* values, std::uint32_t width, std::uint32_t height, std::size_t pitch = 0)
        : data(values), width(width), height(height), pitch(pitch), type(AST_EDGE_FLOAT64) {}

    const void* data;
    std::uint32_t width, height;
    std::size_t pitch;
    ast_edge_depth_type type;
};

// The part to inspect: a frame, a depth map, or both of the same pixels.
class Part {
public:
    Part(const Frame& frame, Memory memory = Memory::host) : part_(empty(memory)) { add(frame); }
    Part(const DepthMap& depth, Memory memory = Memory::host) : part_(empty(memory)) { add(depth); }
    Part(const Frame& frame, const DepthMap& depth, Memory memory = Memory::host) : part_(empty(memory)) {
        add(frame);
        add(depth);
    }
    const ast_edge_part& raw() const noexcept { return part_; }

private:
    static ast_edge_part empty(Memory memory) noexcept {
        ast_edge_part part{};
        part.struct_size = sizeof part;
        part.memory = static_cast<std::int32_t>(memory);
        return part;
    }
    void add(const Frame& frame) noexcept {
        part_.format = static_cast<std::int32_t>(frame.format);
        part_.frame = frame.data;
        part_.width = frame.width;
        part_.height = frame.height;
        part_.pitch = frame.pitch;
    }
    void add(const DepthMap& depth) noexcept {
        part_.depth_type = depth.type;
        part_.depth_m = depth.data;
        part_.depth_width = depth.width;
        part_.depth_height = depth.height;
        part_.depth_pitch = depth.pitch;
    }

    ast_edge_part part_;
};

// Missing numbers are NaN. `map` has map_size x map_size values, row by row.
struct Result {
    Verdict verdict = Verdict::fault;
    ast_edge_status status = AST_EDGE_INTERNAL;
    double score = std::numeric_limits<double>::quiet_NaN(), threshold = score, p_value = score;
    double brightness = score, contrast = score, sharpness = score;
    double preprocess_ms = 0, engine_ms = 0, score_ms = 0;
    std::vector<float> map;
    std::string reason;
};

struct Options {
    EngineKind engine = EngineKind::automatic;
    int threads = 0;         // of the CPU engine; 0: one per core
    int device = 0;          // which GPU
    std::string processor;   // OpenVINO's device that runs a model, such as "GPU", "NPU" or "AUTO"; empty: the CPU
    bool allow_cpu = false;  // false: it is an error if the processor leaves a part of the network to the CPU
};

struct Info {
    Mode mode;
    Precision precision;
    std::uint32_t image_size, map_size;
    int batch;  // -1: any number of parts at once
    double threshold;
    std::string model_id, engine;
};

struct Parity {
    std::uint32_t vectors, flipped_verdicts;
    double max_relative_score_error, max_absolute_map_error, tolerance;
    std::uint32_t undecided_parts;
};

// A part in flight; pass it to `wait`.
enum class Ticket : ast_edge_ticket {};

namespace detail {

inline void check(ast_edge_status status) {
    if (status != AST_EDGE_OK) throw Error(status, ast_edge_last_error());
}

inline ast_edge_result room_for(std::vector<float>& map) noexcept {
    ast_edge_result raw{};
    raw.struct_size = sizeof raw;
    raw.map = map.data();
    raw.map_values = map.size();
    return raw;
}

inline void take(const ast_edge_result& raw, ast_edge_status status, Result& result) {
    result.status = status;
    result.verdict = static_cast<Verdict>(raw.verdict);
    result.score = raw.score;
    result.threshold = raw.threshold;
    result.p_value = raw.p_value;
    result.brightness = raw.brightness;
    result.contrast = raw.contrast;
    result.sharpness = raw.sharpness;
    result.preprocess_ms = raw.preprocess_ms;
    result.engine_ms = raw.engine_ms;
    result.score_ms = raw.score_ms;
    result.reason = raw.reason;
}

}  // namespace detail

// One model and its engine. For one thread at a time; several models may be used side by side.
class Model {
public:
    // Checks the model or engine file at `path` and opens it.
    explicit Model(const std::string& path, const Options& options = {}) {
        ast_edge_options raw{};
        raw.struct_size = sizeof raw;
        raw.engine = static_cast<std::int32_t>(options.engine);
        raw.threads = options.threads;
        raw.device = options.device;
        raw.processor = options.processor.empty() ? nullptr : options.processor.c_str();
        raw.allow_cpu = options.allow_cpu ? 1 : 0;
        ast_edge_model* opened = nullptr;
        detail::check(ast_edge_open(path.c_str(), &raw, &opened));
        model_.reset(opened);
        const std::size_t side = info().map_size;
        map_values_ = side * side;
    }

    Info info() const {
        ast_edge_info raw{};
        raw.struct_size = sizeof raw;
        detail::check(ast_edge_get_info(model_.get(), &raw));
        return {static_cast<Mode>(raw.mode),
                static_cast<Precision>(raw.precision),
                raw.image_size,
                raw.map_size,
                raw.batch,
                raw.threshold,
                raw.model_id,
                raw.engine};
    }

    // Only for this model object; the file is not changed.
    void set_threshold(double threshold) { detail::check(ast_edge_set_threshold(model_.get(), threshold)); }

    // Throws Error when the part is refused or the engine fails.
    Result inspect(const Part& part) {
        Result result;
        judge(part, result);
        detail::check(result.status);
        return result;
    }

    // Does not throw for the part: one that is refused is a fault, with its status and reason. The memory of `result`
    // is reused.
    void judge(const Part& part, Result& result) {
        result.verdict = Verdict::fault;
        result.map.resize(map_values_);
        ast_edge_result raw = detail::room_for(result.map);
        const ast_edge_status status = ast_edge_inspect(model_.get(), &part.raw(), &raw);
        detail::take(raw, status, result);
    }

    // Parts that are refused are faults with their reason; throws Error only if nothing could be judged. The status in
    // every result is that of the whole batch.
    std::vector<Result> inspect_batch(const std::vector<Part>& parts) {
        std::vector<Result> results(parts.size());
        std::vector<ast_edge_part> raw_parts;
        std::vector<ast_edge_result> raw;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            results[i].map.resize(map_values_);
            raw_parts.push_back(parts[i].raw());
            raw.push_back(detail::room_for(results[i].map));
        }
        const ast_edge_status status =
            ast_edge_inspect_batch(model_.get(), raw_parts.data(), raw_parts.size(), raw.data());
        const auto judged = [](const ast_edge_result& one) { return one.verdict != AST_EDGE_FAULT; };
        if (status != AST_EDGE_FRAME && std::none_of(raw.begin(), raw.end(), judged)) detail::check(status);
        for (std::size_t i = 0; i < parts.size(); ++i) detail::take(raw[i], status, results[i]);
        return results;
    }

    // Starts inspecting a part; its memory may be reused at once. Up to two may be in flight.
    Ticket submit(const Part& part) {
        ast_edge_ticket ticket = 0;
        detail::check(ast_edge_submit(model_.get(), &part.raw(), &ticket));
        return Ticket{ticket};
    }

    Result wait(Ticket ticket) { return *wait_at_most(ticket, -1); }

    // Empty if it takes longer; wait for it again.
    std::optional<Result> wait_for(Ticket ticket, std::chrono::milliseconds timeout) {
        return wait_at_most(ticket, timeout.count() < 0 ? 0 : timeout.count());
    }

    // Runs the reference vectors; throws Error(AST_EDGE_PARITY) when the engine does not reproduce them.
    Parity verify() {
        ast_edge_parity raw{};
        raw.struct_size = sizeof raw;
        detail::check(ast_edge_verify(model_.get(), &raw));
        return {raw.vectors,   raw.flipped_verdicts, raw.max_relative_score_error, raw.max_absolute_map_error,
                raw.tolerance, raw.undecided_parts};
    }

private:
    struct Close {
        void operator()(ast_edge_model* model) const noexcept { ast_edge_close(model); }
    };

    std::optional<Result> wait_at_most(Ticket ticket, std::int64_t timeout_ms) {
        Result result;
        result.map.resize(map_values_);
        ast_edge_result raw = detail::room_for(result.map);
        const ast_edge_status status =
            ast_edge_wait(model_.get(), static_cast<ast_edge_ticket>(ticket), timeout_ms, &raw);
        if (status == AST_EDGE_TIMEOUT) return std::nullopt;
        detail::check(status);
        detail::take(raw, status, result);
        return result;
    }

    std::unique_ptr<ast_edge_model, Close> model_;
    std::size_t map_values_ = 0;
};

}  // namespace ast_edge
