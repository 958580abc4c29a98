// A plan in memory, its tensors, and how it runs; TensorRT 8.5 to 11. Needs a current context.
#pragma once

#include <NvInferRuntime.h>

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../engine_file.hpp"
#include "driver.hpp"

namespace ast_edge_impl {

// TensorRT's messages: kept for the sentence of an error. TensorRT calls it from several threads.
class Log : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override;
    // The errors so far in one line; forgets them.
    std::string words();

private:
    std::mutex mutex_;
    std::deque<std::string> errors_;
};

// One execution context; several may be on their way on streams of their own.
class Execution {
public:
    Execution(nvinfer1::IExecutionContext* context, Log& log) : context_(context), log_(&log) {}

    void set_shape(const TensorSpec& spec, int batch);
    void set_address(const std::string& name, CUdeviceptr address);
    void enqueue(CUstream stream);

private:
    void check(bool accepted, const std::string& what);

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Log* log_;
};

class LoadedPlan {
public:
    // Throws Error(AST_EDGE_BACKEND) when TensorRT refuses the plan or the plan has other tensors than `specs`.
    LoadedPlan(const std::string& plan, const BuildFacts& build, const std::vector<TensorSpec>& specs);

    std::unique_ptr<Execution> execution();

private:
    void check_tensors(const std::vector<TensorSpec>& specs) const;

    // Destroyed in the order that TensorRT wants: the engine, the runtime, the log.
    Log log_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
};

// Of the TensorRT library that is loaded, as "10.3.0".
std::string tensorrt_version();

}  // namespace ast_edge_impl
