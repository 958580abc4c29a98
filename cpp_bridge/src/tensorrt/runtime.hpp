// A plan in memory and how it runs, for those who do not see TensorRT's headers. Needs a current context, the
// destructors too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../engine_file.hpp"
#include "driver.hpp"

namespace ast_edge_impl {

// One execution context; several may be on their way on streams of their own. Everything throws
// Error(AST_EDGE_BACKEND) with TensorRT's words when TensorRT refuses it.
class Execution {
public:
    virtual ~Execution() = default;
    Execution() = default;
    Execution(const Execution&) = delete;
    Execution& operator=(const Execution&) = delete;

    virtual void set_shape(const TensorSpec& spec, int batch) = 0;
    virtual void set_address(const std::string& name, CUdeviceptr address) = 0;
    virtual void enqueue(CUstream stream) = 0;
};

class LoadedPlan {
public:
    virtual ~LoadedPlan() = default;
    LoadedPlan() = default;
    LoadedPlan(const LoadedPlan&) = delete;
    LoadedPlan& operator=(const LoadedPlan&) = delete;

    // Must be destroyed before the plan is.
    virtual std::unique_ptr<Execution> execution() = 0;
};

// Throws Error(AST_EDGE_BACKEND) when TensorRT refuses the plan or the plan has other tensors than `specs`.
std::unique_ptr<LoadedPlan> load_plan(const std::string& plan, const BuildFacts& build,
                                      const std::vector<TensorSpec>& specs);

// Of the TensorRT library that is loaded, as "10.3.0".
std::string tensorrt_version();

}  // namespace ast_edge_impl
