#include "model.hpp"

#include <algorithm>
#include <cmath>

#include "cpu_engine.hpp"
#include "error.hpp"
#include "file.hpp"
#include "model_file.hpp"
#include "numbers.hpp"
#include "tensorrt/open.hpp"

namespace ast_edge_impl {
namespace {

bool wants_tensorrt(const std::string& path, int engine) {
    const bool is_plan = ends_with(path, ".engine");
    if (engine == AST_EDGE_ENGINE_AUTO || (engine == AST_EDGE_ENGINE_TENSORRT) == is_plan) return is_plan;
    if (is_plan) throw usage_error(path, ": an engine runs on the GPU, not on the CPU; give the model's .onnx file.");
    throw usage_error(path, ": TensorRT runs engines; build one with `ast-edge build-engine ", path, "`.");
}

// The library is built with TensorRT or without it; TensorRT for RTX, another library, is for Python alone so far.
void refuse_rtx(const EngineFile& file) {
    if (!file.info.built_for.rtx()) return;
    throw backend_error(file.path, ": is an engine of TensorRT for RTX ", file.info.built_for.tensorrt,
                        ", which this ast_edge library was built without; run it with the Python package, or build an ",
                        "engine of TensorRT: `ast-edge build-engine ", folder_of(file.path), file.info.source, "`.");
}

Processor processor_of(const ast_edge_options& options) {
    Processor processor;
    if (options.processor != nullptr) processor.device = options.processor;
    processor.allow_cpu = options.allow_cpu != 0;
    if (processor.allow_cpu && options.processor == nullptr)
        throw usage_error("allow_cpu: is for a processor; without one the CPU computes.");
    return processor;
}

}  // namespace

Model::Model(std::string path, Manifest manifest, std::optional<std::string> embedded)
    : path_(std::move(path)),
      manifest_(std::move(manifest)),
      embedded_(std::move(embedded)),
      threshold_(manifest_.threshold) {}

std::unique_ptr<Model> Model::open(const std::string& path, const ast_edge_options& options) {
    if (options.engine < AST_EDGE_ENGINE_AUTO || options.engine > AST_EDGE_ENGINE_TENSORRT)
        throw usage_error("Unknown kind of engine ", options.engine, ": expected 0 to 2.");
    if (wants_tensorrt(path, options.engine)) {
        if (options.threads != 0)
            throw usage_error(path, ": an engine runs on the GPU; leave out the number of threads.");
        if (options.processor != nullptr)
            throw usage_error(path, ": an engine runs on TensorRT; leave out the processor, which is for models.");
        const EngineFile file = read_engine_file(path);
        refuse_rtx(file);
        std::unique_ptr<Model> model(new Model(path, file.info.manifest, std::nullopt));
        model->engine_ = open_tensorrt(file, model->manifest_, options.device);
        return model;
    }
    ModelFile file = read_model_file(path);
    std::unique_ptr<Model> model(new Model(path, file.manifest, std::move(file.embedded_reference)));
    model->engine_ =
        std::make_unique<CpuEngine>(model->manifest_, open_network(file, options.threads, processor_of(options)));
    return model;
}

void Model::set_threshold(double threshold) {
    if (!std::isfinite(threshold))
        throw usage_error("threshold: expected a finite number, found ", general(threshold), ".");
    threshold_ = threshold;
}

Inspection Model::inspect(const ast_edge_part& part) {
    return engine_->inspect(checked_part(part, manifest_), threshold_);
}

std::vector<Outcome> Model::inspect_all(const std::vector<ast_edge_part>& parts) {
    std::vector<Outcome> outcomes(parts.size());
    std::vector<Part> accepted;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        try {
            accepted.push_back(checked_part(parts[i], manifest_));
            places.push_back(i);
        } catch (const Error& error) {
            outcomes[i] = {unjudged(manifest_, threshold_, error.what()), error.status()};
        }
    }
    std::vector<Outcome> judged = engine_->inspect_all(accepted, threshold_);
    for (std::size_t i = 0; i < judged.size(); ++i) outcomes[places[i]] = std::move(judged[i]);
    return outcomes;
}

std::uint64_t Model::submit(const ast_edge_part& part) {
    if (pending_.size() >= AST_EDGE_IN_FLIGHT)
        throw Error(AST_EDGE_BUSY, concat(pending_.size(), " parts are on their way already; wait for one of them."));
    auto pending = engine_->submit(checked_part(part, manifest_), threshold_);
    pending_[++last_ticket_] = std::move(pending);
    return last_ticket_;
}

std::optional<Inspection> Model::wait(std::uint64_t ticket, std::int64_t timeout_ms) {
    const auto found = pending_.find(ticket);
    if (found == pending_.end())
        throw usage_error("ticket ", ticket, ": there is no such part on its way; each is waited for once.");
    constexpr std::int64_t kLongest = std::int64_t{1} << 40;  // the clocks count nanoseconds in 64 bits
    if (!found->second->wait(std::chrono::milliseconds(std::min(timeout_ms, kLongest)))) return std::nullopt;
    const std::unique_ptr<Pending> pending = std::move(found->second);
    pending_.erase(found);
    return pending->take();
}

Parity Model::verify() { return prove(*engine_, load_references(path_, manifest_, embedded_), manifest_); }

std::string engines() {
    const std::string gpu = tensorrt_engine(), cpu = network_engine();
    return gpu + (gpu.empty() || cpu.empty() ? "" : "\n") + cpu;
}

}  // namespace ast_edge_impl
