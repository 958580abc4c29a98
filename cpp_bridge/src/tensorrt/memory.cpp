#include "memory.hpp"

#include <algorithm>

#include "../error.hpp"

namespace ast_edge_impl {

bool Event::has_come() const {
    const CUresult status = driver().cuEventQuery_(handle_);
    if (status == CUDA_ERROR_NOT_READY) return false;
    check_cuda(status, "running a part");
    return true;
}

double Event::ms_since(const Event& earlier) const {
    float value = 0;
    check_cuda(driver().cuEventElapsedTime_(&value, earlier.handle_, handle_), "taking the time");
    return static_cast<double>(value);
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) {
    check_cuda(driver().cuStreamBeginCapture_(stream.handle(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "a capture");
    CUgraph captured = nullptr;
    try {
        work();
    } catch (...) {  // ended after an error too: a stream in capture takes no other work
        driver().cuStreamEndCapture_(stream.handle(), &captured);
        if (captured != nullptr) driver().cuGraphDestroy_(captured);
        throw;
    }
    check_cuda(driver().cuStreamEndCapture_(stream.handle(), &captured), "a capture");
    const CUresult status = driver().cuGraphInstantiateWithFlags_(&handle_, captured, 0);
    driver().cuGraphDestroy_(captured);
    check_cuda(status, "making a graph");
}

DeviceBuffer::DeviceBuffer(std::size_t bytes, bool shared, bool mapped)
    : bytes_(std::max<std::size_t>(bytes, 1)), mapped_(shared && mapped) {
    if (shared) allocate_host(mapped ? CU_MEMHOSTALLOC_DEVICEMAP : 0);
    if (mapped_) return;
    CUresult status = driver().cuMemAlloc_(&device_, bytes_);
    if (status == CUDA_SUCCESS) status = driver().cuMemsetD8_(device_, 0, bytes_);
    if (status == CUDA_SUCCESS) return;
    if (device_ != 0) driver().cuMemFree_(device_);
    if (host_ != nullptr) driver().cuMemFreeHost_(host_);
    check_cuda(status, "taking memory");
}

DeviceBuffer::~DeviceBuffer() {
    if (!mapped_) driver().cuMemFree_(device_);
    if (host_ != nullptr) driver().cuMemFreeHost_(host_);
}

void DeviceBuffer::allocate_host(unsigned flags) {
    check_cuda(driver().cuMemHostAlloc_(&host_, bytes_, flags), "taking page-locked memory");
    std::fill_n(host(), bytes_, static_cast<unsigned char>(0));
    if (!mapped_) return;
    const CUresult status = driver().cuMemHostGetDevicePointer_(&device_, host_, 0);
    if (status != CUDA_SUCCESS) driver().cuMemFreeHost_(host_);
    check_cuda(status, "mapping memory");
}

void DeviceBuffer::upload(const void* from, std::size_t bytes) {
    check_cuda(driver().cuMemcpyHtoD_(device_, from, std::min(bytes, bytes_)), "copying to the GPU");
}

void DeviceBuffer::copy_in(const Stream& stream) const {
    if (mapped_) return;
    check_cuda(driver().cuMemcpyHtoDAsync_(device_, host_, bytes_, stream.handle()), "copying to the GPU");
}

void DeviceBuffer::copy_out(const Stream& stream) const {
    if (mapped_) return;
    check_cuda(driver().cuMemcpyDtoHAsync_(host_, device_, bytes_, stream.handle()), "copying from the GPU");
}

Kernels::Kernels(const std::string& cubin) {
    check_cuda(driver().cuModuleLoadData_(&module_, cubin.data()), "loading the kernels");
}

CUfunction Kernels::function(const std::string& name) const {
    CUfunction found = nullptr;
    check_cuda(driver().cuModuleGetFunction_(&found, module_, name.c_str()), "finding a kernel");
    return found;
}

}  // namespace ast_edge_impl
