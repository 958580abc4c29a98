// The device, contexts, and what the tests ask of the driver.
#include <chrono>
#include <cstdio>
#include <cstring>

#include "driver.hpp"

namespace standin {

State& state() {
    static State* const only = new State;  // never destroyed: libraries free their things when the program ends
    return *only;
}

int& context_depth() {
    static thread_local int depth = 0;
    return depth;
}

void wrong(const std::string& what) { state().wrongs += what + "\n"; }

CUresult enter(const char* name, const std::function<CUresult(Lock&)>& call) {
    Lock lock(state().mutex);
    if (context_depth() == 0) {
        wrong(std::string(name) + " without a current context");
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    return state().sticky != CUDA_SUCCESS ? state().sticky : call(lock);
}

CUresult not_in_capture(const char* name, CUresult refused, const std::function<CUresult()>& call) {
    bool spoiled = false;
    for (const CUstream stream : state().streams) {
        const bool own = stream->captured_by == std::this_thread::get_id();
        if (!stream->capture || stream->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
        if (own || stream->mode == CU_STREAM_CAPTURE_MODE_GLOBAL) spoiled = stream->broken = true;
    }
    if (!spoiled) return call();
    wrong(std::string(name) + " while a stream is captured");
    return refused;
}

}  // namespace standin

using namespace standin;

// ---- for the tests ----

STANDIN_API void standin_reset(const char* name, int capability, int integrated, std::size_t memory) {
    const Lock lock(state().mutex);
    state().name = name;
    state().capability = capability;
    state().integrated = integrated != 0;
    state().memory = memory;
    state().refuse_from = SIZE_MAX;
    state().sticky = CUDA_SUCCESS;
    state().launches = 0;
    state().free_waits = false;
    state().wrongs.clear();
}

// The rules broken so far, a line each, up to `bytes`; forgets them.
STANDIN_API void standin_wrongs(char* text, std::size_t bytes) {
    const Lock lock(state().mutex);
    std::snprintf(text, bytes, "%s", state().wrongs.c_str());
    state().wrongs.clear();
}

// What was made and not given back: device memory, pinned memory, streams, events, graphs, modules; all for -1.
STANDIN_API int standin_alive(int kind) {
    const Lock lock(state().mutex);
    int sum = kind < 0 ? state().retained : 0;
    for (int i = 0; i < kKinds; ++i) sum += kind == i || kind < 0 ? state().alive[i] : 0;
    return sum;
}

STANDIN_API int standin_retained() {
    const Lock lock(state().mutex);
    return state().retained;
}

STANDIN_API std::size_t standin_launches() {
    const Lock lock(state().mutex);
    return state().launches;
}

// Device memory of this size or more is refused from now on.
STANDIN_API void standin_refuse_from(std::size_t bytes) {
    const Lock lock(state().mutex);
    state().refuse_from = bytes;
}

// Some kernel in this context faulted.
STANDIN_API void standin_fault() {
    const Lock lock(state().mutex);
    state().sticky = CUDA_ERROR_ILLEGAL_ADDRESS;
}

// Freeing waits for the work on all streams, as NVIDIA's driver does today; nothing promises it.
STANDIN_API void standin_free_waits(int yes) {
    const Lock lock(state().mutex);
    state().free_waits = yes != 0;
}

// ---- device and context ----

STANDIN_API CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
STANDIN_API CUresult cuDriverGetVersion(int* version) {
    *version = 12020;
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuDeviceGetCount(int* count) {
    *count = 1;
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuDeviceGet(CUdevice* device, int index) {
    *device = 0;
    return index == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
STANDIN_API CUresult cuDeviceGetName(char* name, int bytes, CUdevice) {
    std::snprintf(name, static_cast<std::size_t>(bytes), "%s", state().name.c_str());
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuDeviceTotalMem(std::size_t* bytes, CUdevice) {
    *bytes = state().memory;
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute what, CUdevice) {
    switch (what) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = state().capability / 10; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = state().capability % 10; break;
        case CU_DEVICE_ATTRIBUTE_INTEGRATED: *value = state().integrated; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 49152; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

STANDIN_API CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice) {
    *major = state().capability / 10;
    *minor = state().capability % 10;
    return CUDA_SUCCESS;
}

STANDIN_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    const Lock lock(state().mutex);
    ++state().retained;
    *context = reinterpret_cast<CUcontext>(&state());
    return CUDA_SUCCESS;
}
// The last release destroys the context and everything in it.
STANDIN_API CUresult cuDevicePrimaryCtxRelease(CUdevice) {
    const Lock lock(state().mutex);
    if (state().retained == 0) {
        wrong("the primary context is released more often than retained");
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (--state().retained == 0) forget_everything();
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuCtxPushCurrent(CUcontext) {
    ++context_depth();
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuCtxPopCurrent(CUcontext* context) {
    if (context_depth() == 0) return CUDA_ERROR_INVALID_CONTEXT;
    --context_depth();
    if (context != nullptr) *context = reinterpret_cast<CUcontext>(&state());
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuCtxGetCurrent(CUcontext* context) {
    *context = context_depth() > 0 ? reinterpret_cast<CUcontext>(&state()) : nullptr;
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuCtxGetDevice(CUdevice* device) {
    *device = 0;
    return context_depth() > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
STANDIN_API CUresult cuCtxGetApiVersion(CUcontext, unsigned* version) {
    *version = 3020;
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuCtxSynchronize() {
    return enter(__func__, [&](Lock& lock) {
        return not_in_capture("cuCtxSynchronize", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                              [&] { return run_all(lock, true); });
    });
}

STANDIN_API CUresult cuGetErrorName(CUresult error, const char** name) {
    static const struct {
        CUresult error;
        const char* name;
    } kNames[] = {{CUDA_SUCCESS, "CUDA_SUCCESS"},
                  {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
                  {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
                  {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
                  {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
                  {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
                  {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
                  {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
                  {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY"},
                  {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
                  {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
                  {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED"},
                  {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
                  {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
                  {CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT"},
                  {CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD"}};
    for (const auto& known : kNames) {
        *name = known.name;
        if (known.error == error) return CUDA_SUCCESS;
    }
    *name = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}
STANDIN_API CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }
