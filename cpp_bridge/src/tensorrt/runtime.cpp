// TensorRT 8.5 to 11: what this file uses is in all of them, or asked for where it is.
#include "runtime.hpp"

#include <NvInfer.h>

#include <algorithm>
#include <deque>
#include <mutex>

#include "../error.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::size_t kKept = 8;

// TensorRT's messages: kept for the sentence of an error. TensorRT calls it from several threads.
class Log : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override;
    // The errors so far in one line, or the warnings where there are none (why a driver will not do is a warning in
    // TensorRT 8); forgets both.
    std::string concat();

private:
    std::mutex mutex_;
    std::deque<std::string> errors_, warnings_;
};

class TrtExecution : public Execution {
public:
    TrtExecution(std::unique_ptr<nvinfer1::IExecutionContext> context, Log& log)
        : context_(std::move(context)), log_(log) {}

    void set_shape(const TensorSpec& spec, int batch) override;
    void set_address(const std::string& name, CUdeviceptr address) override;
    void enqueue(CUstream stream) override;

private:
    void check(bool accepted, const std::string& what);

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Log& log_;
};

class TrtPlan : public LoadedPlan {
public:
    TrtPlan(const std::string& plan, const BuildFacts& build, const std::vector<TensorSpec>& specs);

    std::unique_ptr<Execution> execution() override;

private:
    void check_tensors(const std::vector<TensorSpec>& specs) const;

    // Destroyed in the order that TensorRT wants: the engine, the runtime, the log.
    Log log_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
};

nvinfer1::Dims dims_of(const TensorSpec& spec, int batch) {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(spec.shape.size());
    for (std::size_t i = 0; i < spec.shape.size(); ++i) dims.d[i] = spec.shape[i];
    dims.d[0] = batch;
    return dims;
}

template <typename Thing>
std::unique_ptr<Thing> made(Thing* thing, const char* what, Log& log) {
    if (thing == nullptr) throw backend_error("TensorRT did not make ", what, ": ", log.concat(), ".");
    return std::unique_ptr<Thing>(thing);
}

void allow_host_code([[maybe_unused]] nvinfer1::IRuntime& runtime) {
#if NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6
    runtime.setEngineHostCodeAllowed(true);  // a version-compatible plan carries a runtime of its own
#else
    throw backend_error("TensorRT ", tensorrt_version(), " runs no version-compatible engine; it takes 8.6 or newer.");
#endif
}

void Log::log(Severity severity, const char* message) noexcept {
    if (severity > Severity::kWARNING) return;
    try {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::deque<std::string>& kept = severity == Severity::kWARNING ? warnings_ : errors_;
        kept.emplace_back(message);
        std::replace(kept.back().begin(), kept.back().end(), '\n', ' ');
        if (kept.size() > kKept) kept.pop_front();
    } catch (...) {  // a message is lost; TensorRT's answer shows what it was about
    }
}

std::string Log::concat() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text;
    for (const std::string& said : errors_.empty() ? warnings_ : errors_) text += (text.empty() ? "" : "; ") + said;
    errors_.clear();
    warnings_.clear();
    return text.empty() ? "TensorRT gave no reason" : text;
}

void TrtExecution::set_shape(const TensorSpec& spec, int batch) {
    check(context_->setInputShape(spec.name.c_str(), dims_of(spec, batch)), "the shape of '" + spec.name + "'");
}

void TrtExecution::set_address(const std::string& name, CUdeviceptr address) {
    check(context_->setTensorAddress(name.c_str(), reinterpret_cast<void*>(address)), "the address of '" + name + "'");
}

void TrtExecution::enqueue(CUstream stream) { check(context_->enqueueV3(stream), "the execution"); }

void TrtExecution::check(bool accepted, const std::string& what) {
    if (!accepted) throw backend_error("TensorRT refused ", what, ": ", log_.concat(), ".");
}

TrtPlan::TrtPlan(const std::string& plan, const BuildFacts& build, const std::vector<TensorSpec>& specs) {
    // With a driver that it refuses, TensorRT 8 ends the process that makes a runtime, but not a builder.
    made(nvinfer1::createInferBuilder(log_), "the builder", log_);
    runtime_ = made(nvinfer1::createInferRuntime(log_), "the runtime", log_);
    if (build.version_compatible) allow_host_code(*runtime_);
    engine_ = made(runtime_->deserializeCudaEngine(plan.data(), plan.size()), "an engine of the plan", log_);
    check_tensors(specs);
}

std::unique_ptr<Execution> TrtPlan::execution() {
    auto context = made(engine_->createExecutionContext(), "an execution context (the GPU's memory may be full)", log_);
    return std::make_unique<TrtExecution>(std::move(context), log_);
}

void TrtPlan::check_tensors(const std::vector<TensorSpec>& specs) const {
    std::vector<TensorSpec> found;
    for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
        const char* name = engine_->getIOTensorName(i);
        const nvinfer1::Dims dims = engine_->getTensorShape(name);
        const nvinfer1::DataType type = engine_->getTensorDataType(name);
        if (type != nvinfer1::DataType::kUINT8 && type != nvinfer1::DataType::kFLOAT)
            throw backend_error("the plan's tensor '", name, "' is neither uint8 nor float32; build the engine again.");
        TensorSpec spec{name, type == nvinfer1::DataType::kUINT8 ? Type::uint8 : Type::float32, {}};
        for (std::int32_t k = 0; k < dims.nbDims; ++k) spec.shape.push_back(static_cast<int>(dims.d[k]));
        found.push_back(std::move(spec));
    }
    for (const TensorSpec& spec : specs)
        if (std::find(found.begin(), found.end(), spec) == found.end())
            throw backend_error("the plan has other tensors than its model says: expected ", describe(spec),
                                ", which it has not; build the engine again.");
}

}  // namespace

std::unique_ptr<LoadedPlan> load_plan(const std::string& plan, const BuildFacts& build,
                                      const std::vector<TensorSpec>& specs) {
    return std::make_unique<TrtPlan>(plan, build, specs);
}

std::string tensorrt_version() {
    const int version = getInferLibVersion();
    // 8601 is 8.6.1; from 10 on 100300 is 10.3.0.
    if (version < 10000) return concat(version / 1000, ".", version / 100 % 10, ".", version % 100);
    return concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

}  // namespace ast_edge_impl
