// NVIDIA's driver, loaded when it is needed: the library starts on machines that have none, and a TensorRT object is
// made only where there is a usable GPU, for anywhere else it ends the process.
#pragma once

#include <cuda.h>

#include <string>

#include "../engine_file.hpp"

#define AST_EDGE_DRIVER_FUNCTIONS(call)                                                                            \
    call(cuInit) call(cuGetErrorName) call(cuDeviceGetCount) call(cuDeviceGet) call(cuDeviceGetName)               \
        call(cuDeviceGetAttribute) call(cuDevicePrimaryCtxRetain) call(cuDevicePrimaryCtxRelease)                  \
            call(cuCtxPushCurrent) call(cuCtxPopCurrent) call(cuMemAlloc) call(cuMemFree) call(cuMemHostAlloc)     \
                call(cuMemFreeHost) call(cuMemHostGetDevicePointer) call(cuMemsetD8) call(cuMemcpyHtoD)            \
                    call(cuMemcpyHtoDAsync) call(cuMemcpyDtoHAsync) call(cuMemcpy2DAsync) call(cuModuleLoadData)   \
                        call(cuModuleUnload) call(cuModuleGetFunction) call(cuLaunchKernel) call(cuStreamCreate)   \
                            call(cuStreamDestroy) call(cuStreamSynchronize) call(cuStreamBeginCapture)             \
                                call(cuStreamEndCapture) call(cuGraphInstantiateWithFlags) call(cuGraphDestroy)    \
                                    call(cuGraphLaunch) call(cuGraphExecDestroy) call(cuEventCreate)               \
                                        call(cuEventDestroy) call(cuEventRecordWithFlags) call(cuEventSynchronize) \
                                            call(cuEventQuery) call(cuEventElapsedTime)

namespace ast_edge_impl {

struct Driver {
#define AST_EDGE_MEMBER(name) decltype(&::name) name##_ = nullptr;
    AST_EDGE_DRIVER_FUNCTIONS(AST_EDGE_MEMBER)
#undef AST_EDGE_MEMBER
};

// Loaded once, and cuInit called. Throws Error(AST_EDGE_BACKEND) where there is no driver or no usable GPU.
const Driver& driver();

// Throws Error(AST_EDGE_BACKEND) with `what` failed.
void check_cuda(CUresult status, const char* what);

struct Device {
    CUdevice handle = 0;
    std::string name, compute_capability;
    bool integrated = false;  // GPU and processor share their memory

    std::string architecture() const;  // as "sm_87"
};

Device find_device(int index);

// Keeps the primary context of a device.
class Context {
public:
    explicit Context(const Device& device);
    ~Context();
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    CUcontext handle() const { return handle_; }

private:
    CUdevice device_;
    CUcontext handle_ = nullptr;
};

// The context is this thread's meanwhile.
class Current {
public:
    explicit Current(const Context& context) {
        check_cuda(driver().cuCtxPushCurrent_(context.handle()), "making the context current");
    }
    ~Current() {
        CUcontext popped = nullptr;
        driver().cuCtxPopCurrent_(&popped);
    }
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
};

}  // namespace ast_edge_impl
