#include "driver.hpp"

#include <dlfcn.h>

#include <algorithm>

#include "../error.hpp"

namespace ast_edge_impl {
namespace {

// The names with the version that cuda.h gives them, as cuMemAlloc_v2.
#define AST_EDGE_TEXT(name) #name
#define AST_EDGE_NAME(name) AST_EDGE_TEXT(name)

template <typename Function>
void load(void* library, Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr)
        throw backend_error("The NVIDIA driver is too old: it has no ", name, "; update it, or JetPack.");
}

Driver loaded() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr)
        throw backend_error(
            "TensorRT engines do not run on this machine: there is no NVIDIA driver (libcuda.so.1 is not found).");
    Driver found;
#define AST_EDGE_LOAD(name) load(library, found.name##_, AST_EDGE_NAME(name));
    AST_EDGE_DRIVER_FUNCTIONS(AST_EDGE_LOAD)
#undef AST_EDGE_LOAD
    if (const CUresult status = found.cuInit_(0); status != CUDA_SUCCESS)
        throw backend_error(
            "TensorRT engines do not run on this machine: the NVIDIA driver finds no usable GPU (cuInit ", "answers ",
            static_cast<int>(status), ").");
    return found;
}

int attribute(CUdevice device, CUdevice_attribute what) {
    int value = 0;
    check_cuda(driver().cuDeviceGetAttribute_(&value, what, device), "asking for the GPU's facts");
    return value;
}

}  // namespace

const Driver& driver() {
    static const Driver found = loaded();  // tried again at the next call when it throws
    return found;
}

void check_cuda(CUresult status, const char* what) {
    if (status == CUDA_SUCCESS) return;
    const char* name = nullptr;
    driver().cuGetErrorName_(status, &name);
    throw backend_error("CUDA: ", what, " failed (", name == nullptr ? "an unknown error" : name, ").");
}

std::string Device::architecture() const {
    std::string digits = compute_capability;
    digits.erase(std::remove(digits.begin(), digits.end(), '.'), digits.end());
    return "sm_" + digits;
}

Device find_device(int index) {
    int count = 0;
    check_cuda(driver().cuDeviceGetCount_(&count), "counting the GPUs");
    if (index < 0 || index >= count)
        throw backend_error("There is no GPU ", index, ": this machine has ", count, ", counted from 0.");
    Device device;
    check_cuda(driver().cuDeviceGet_(&device.handle, index), "finding the GPU");
    char name[256] = "";
    check_cuda(driver().cuDeviceGetName_(name, sizeof name, device.handle), "asking for the GPU's name");
    device.name = name;
    device.compute_capability = concat(attribute(device.handle, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), ".",
                                       attribute(device.handle, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
    device.integrated = attribute(device.handle, CU_DEVICE_ATTRIBUTE_INTEGRATED) != 0;
    return device;
}

Context::Context(const Device& device) : device_(device.handle) {
    check_cuda(driver().cuDevicePrimaryCtxRetain_(&handle_, device_), "taking the context");
}

Context::~Context() { driver().cuDevicePrimaryCtxRelease_(device_); }

}  // namespace ast_edge_impl
