// Stands in for NVIDIA's driver, libcuda.so.1, where there is no GPU: memory is the host's, a stream is a thread that
// does its work in order, kernels are those of preprocess.cu compiled for this processor. It refuses what CUDA refuses:
// calls without a current context, and events that a capture would swallow. What is alive is counted.
#include <cuda.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

extern "C" int ast_edge_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
                               void** arguments);

using Work = std::function<void()>;

// What a capture keeps: work, and the event that it lets happen.
struct Item {
    Work work;
    CUevent event;
};

struct CUstream_st {
    CUstream_st() : thread([this] { serve(); }) {}
    ~CUstream_st() {
        put({});
        thread.join();
    }

    void put(Work work) {
        const std::lock_guard<std::mutex> lock(mutex);
        queue.push_back(std::move(work));
        changed.notify_all();
    }
    void wait() {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return queue.empty() && idle; });
    }

    bool capturing = false;
    std::vector<Item> captured;

private:
    void serve() {
        std::unique_lock<std::mutex> lock(mutex);
        while (true) {
            idle = true;
            changed.notify_all();
            changed.wait(lock, [&] { return !queue.empty(); });
            idle = false;
            const Work work = std::move(queue.front());
            queue.pop_front();
            if (!work) return;
            lock.unlock();
            std::this_thread::sleep_for(std::chrono::microseconds(20));  // later than the call that asked for it
            work();
            lock.lock();
        }
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Work> queue;
    bool idle = false;
    std::thread thread;
};

struct CUevent_st {
    std::mutex mutex;
    std::condition_variable come;
    int pending = 0;
    std::chrono::steady_clock::time_point when;
};

struct CUgraph_st {
    std::vector<Item> items;
};
struct CUgraphExec_st {
    std::vector<Item> items;
};
struct CUmod_st {
    std::map<std::string, std::string> names;
};

namespace {

std::atomic<int> alive{0};
thread_local int contexts = 0;
// How many arguments a kernel has: a launch copies them.
const std::map<std::string, int> kArguments = {
    {"ast_edge_set", 3},        {"ast_edge_rows", 15},         {"ast_edge_columns", 8},
    {"ast_edge_levels", 3},     {"ast_edge_depth_fill", 12},   {"ast_edge_depth_part", 7},
    {"ast_edge_depth_mean", 3}, {"ast_edge_depth_resize", 11}, {"ast_edge_depth_foreground", 6}};

CUresult answer(const Work& work) {
    if (contexts == 0) return CUDA_ERROR_INVALID_CONTEXT;
    work();
    return CUDA_SUCCESS;
}

void expect(CUevent event) {
    if (event == nullptr) return;
    const std::lock_guard<std::mutex> lock(event->mutex);
    ++event->pending;
}

CUresult put(CUstream stream, Work work, CUevent event = nullptr) {
    return answer([&] {
        if (stream->capturing) return stream->captured.push_back({std::move(work), event});
        expect(event);
        stream->put(std::move(work));
    });
}

template <typename Thing>
CUresult made(Thing** to, Thing* thing) {
    *to = thing;
    ++alive;
    return contexts == 0 ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

template <typename Thing>
CUresult gone(Thing* thing) {
    return answer([&] {
        delete thing;
        --alive;
    });
}

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

void happen(CUevent event) {
    const std::lock_guard<std::mutex> lock(event->mutex);
    event->when = std::chrono::steady_clock::now();
    --event->pending;
    event->come.notify_all();
}

}  // namespace

extern "C" {

// For the tests: what was made and not given back, and work of somebody else on a stream.
int standin_alive() { return alive; }
void standin_put(CUstream stream, void (*call)(void*), void* data) {
    put(stream, [=] { call(data); });
}

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult, const char** name) {
    *name = "CUDA_ERROR_OF_THE_STAND_IN";
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int* count) {
    *count = 1;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* device, int index) {
    *device = index;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* name, int bytes, CUdevice) {
    std::strncpy(name, "Stand-in", static_cast<std::size_t>(bytes));
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute what, CUdevice) {
    const bool integrated = std::getenv("STANDIN_INTEGRATED") != nullptr;
    *value = what == CU_DEVICE_ATTRIBUTE_INTEGRATED                 ? integrated
             : what == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 8
                                                                    : 7;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    *context = reinterpret_cast<CUcontext>(&alive);
    ++alive;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease(CUdevice) {
    --alive;
    return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext) {
    ++contexts;
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext*) {
    --contexts;
    return CUDA_SUCCESS;
}
CUresult cuMemAlloc(CUdeviceptr* memory, std::size_t bytes) {
    return made(reinterpret_cast<unsigned char**>(memory), new unsigned char[bytes]);
}
CUresult cuMemFree(CUdeviceptr memory) {
    return answer([&] {
        delete[] static_cast<unsigned char*>(pointer(memory));
        --alive;
    });
}
CUresult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
    return made(reinterpret_cast<unsigned char**>(memory), new unsigned char[bytes]);
}
CUresult cuMemFreeHost(void* memory) { return cuMemFree(reinterpret_cast<CUdeviceptr>(memory)); }
CUresult cuMemHostGetDevicePointer(CUdeviceptr* device, void* host, unsigned) {
    *device = reinterpret_cast<CUdeviceptr>(host);
    return CUDA_SUCCESS;
}
CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, std::size_t bytes) {
    return answer([&] { std::memset(pointer(to), value, bytes); });
}
CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, std::size_t bytes) {
    return answer([&] { std::memcpy(pointer(to), from, bytes); });
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream) {
    return put(stream, [=] { std::memcpy(pointer(to), from, bytes); });
}
CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    return put(stream, [=] { std::memcpy(to, pointer(from), bytes); });
}
CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D* given, CUstream stream) {
    return put(stream, [copy = *given] {
        for (std::size_t y = 0; y < copy.Height; ++y)
            std::memcpy(pointer(copy.dstDevice + y * copy.dstPitch), pointer(copy.srcDevice + y * copy.srcPitch),
                        copy.WidthInBytes);
    });
}
CUresult cuModuleLoadData(CUmodule* module, const void*) { return made(module, new CUmod_st); }
CUresult cuModuleUnload(CUmodule module) { return gone(module); }
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    if (kArguments.count(name) == 0) return CUDA_ERROR_NOT_FOUND;
    std::string& kept = module->names[name];
    kept = name;
    *function = reinterpret_cast<CUfunction>(&kept);
    return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned x, unsigned y, unsigned z, unsigned, unsigned, unsigned,
                        unsigned shared_bytes, CUstream stream, void** arguments, void**) {
    const std::string name = *reinterpret_cast<const std::string*>(function);
    std::vector<std::uint64_t> cells(static_cast<std::size_t>(kArguments.at(name)));
    for (std::size_t i = 0; i < cells.size(); ++i) std::memcpy(&cells[i], arguments[i], sizeof cells[i]);
    return put(stream, [=]() mutable {
        std::vector<void*> pointers;
        for (std::uint64_t& cell : cells) pointers.push_back(&cell);
        const unsigned grid[3] = {x, y, z}, block[3] = {1, 1, 1};
        if (ast_edge_launch(name.c_str(), grid, block, shared_bytes, pointers.data()) != 0) std::abort();
    });
}
CUresult cuStreamCreate(CUstream* stream, unsigned) { return made(stream, new CUstream_st); }
CUresult cuStreamDestroy(CUstream stream) { return gone(stream); }
CUresult cuStreamSynchronize(CUstream stream) {
    return answer([&] {
        if (stream != nullptr) stream->wait();
    });
}
CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode) {
    stream->capturing = true;
    return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    stream->capturing = false;
    return made(graph, new CUgraph_st{std::move(stream->captured)});
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* to, CUgraph graph, unsigned long long) {
    return made(to, new CUgraphExec_st{graph->items});
}
CUresult cuGraphDestroy(CUgraph graph) { return gone(graph); }
CUresult cuGraphExecDestroy(CUgraphExec graph) { return gone(graph); }
CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream) {
    for (const Item& item : graph->items) expect(item.event);
    return put(stream, [items = graph->items] {
        for (const Item& item : items) item.work();
    });
}
CUresult cuEventCreate(CUevent* event, unsigned) { return made(event, new CUevent_st); }
CUresult cuEventDestroy(CUevent event) { return gone(event); }
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
    if (stream->capturing && flags != CU_EVENT_RECORD_EXTERNAL) return CUDA_ERROR_INVALID_VALUE;
    return put(
        stream, [=] { happen(event); }, event);
}
CUresult cuEventSynchronize(CUevent event) {
    std::unique_lock<std::mutex> lock(event->mutex);
    event->come.wait(lock, [&] { return event->pending <= 0; });
    return CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent event) {
    const std::lock_guard<std::mutex> lock(event->mutex);
    return event->pending > 0 ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float* ms, CUevent from, CUevent to) {
    *ms = std::chrono::duration<float, std::milli>(to->when - from->when).count();
    return CUDA_SUCCESS;
}

}  // extern "C"
