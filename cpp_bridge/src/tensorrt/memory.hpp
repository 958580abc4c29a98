// What CUDA hands out, given back by itself. Everything here needs a current context, the destructors too.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "driver.hpp"

namespace ast_edge_impl {

class Stream {
public:
    Stream() { check_cuda(driver().cuStreamCreate_(&handle_, CU_STREAM_NON_BLOCKING), "making a stream"); }
    ~Stream() { driver().cuStreamDestroy_(handle_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    CUstream handle() const { return handle_; }
    void wait() const { check_cuda(driver().cuStreamSynchronize_(handle_), "waiting for the GPU"); }

private:
    CUstream handle_ = nullptr;
};

// A moment on a stream.
class Event {
public:
    Event() { check_cuda(driver().cuEventCreate_(&handle_, CU_EVENT_DEFAULT), "making an event"); }
    ~Event() { driver().cuEventDestroy_(handle_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    // In a graph it is a real record instead of a dependency.
    void record(const Stream& stream, bool in_graph) {
        const unsigned flags = in_graph ? CU_EVENT_RECORD_EXTERNAL : CU_EVENT_RECORD_DEFAULT;
        check_cuda(driver().cuEventRecordWithFlags_(handle_, stream.handle(), flags), "recording an event");
    }
    void wait() const { check_cuda(driver().cuEventSynchronize_(handle_), "waiting for the GPU"); }
    bool has_come() const;
    double ms_since(const Event& earlier) const;

private:
    CUevent handle_ = nullptr;
};

// Work that was captured once and is launched as a whole.
class Graph {
public:
    // Captures what `work` puts on the stream, without running it.
    Graph(const Stream& stream, const std::function<void()>& work);
    ~Graph() { driver().cuGraphExecDestroy_(handle_); }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    void launch(const Stream& stream) const {
        check_cuda(driver().cuGraphLaunch_(handle_, stream.handle()), "starting a graph");
    }

private:
    CUgraphExec handle_ = nullptr;
};

// Device memory, zeroed, and page-locked host memory beside it where the host reads or writes it. Where GPU and
// processor share their memory the two are one, and nothing is copied.
class DeviceBuffer {
public:
    DeviceBuffer(std::size_t bytes, bool shared, bool mapped);
    ~DeviceBuffer();
    DeviceBuffer(const DeviceBuffer&) = delete;
    DeviceBuffer& operator=(const DeviceBuffer&) = delete;

    CUdeviceptr device() const { return device_; }
    unsigned char* host() const { return static_cast<unsigned char*>(host_); }
    std::size_t bytes() const { return bytes_; }

    void upload(const void* from, std::size_t bytes);
    void copy_in(const Stream& stream) const;
    void copy_out(const Stream& stream) const;

private:
    void allocate_host(unsigned flags);

    std::size_t bytes_;
    bool mapped_;
    void* host_ = nullptr;
    CUdeviceptr device_ = 0;
};

using Buffers = std::map<std::string, std::unique_ptr<DeviceBuffer>>;

// Compiled kernels.
class Kernels {
public:
    explicit Kernels(const std::string& cubin);
    ~Kernels() { driver().cuModuleUnload_(module_); }
    Kernels(const Kernels&) = delete;
    Kernels& operator=(const Kernels&) = delete;

    CUfunction function(const std::string& name) const;

private:
    CUmodule module_ = nullptr;
};

}  // namespace ast_edge_impl
