// Modules: shared libraries with the kernels compiled for this processor.
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include "driver.hpp"

using namespace standin;

namespace {

// As host_shim.h has it: with a grid it launches; without one it writes what each argument is, 16 added for pointers.
using Launch = int (*)(const char* name, const unsigned* grid, const unsigned* block, unsigned shared,
                       void** arguments);
constexpr std::size_t kPointer = 16, kMostArguments = 32;
constexpr unsigned kMostThreads = 1024, kMostShared = 49152, kMostBlocks = 65535;

}  // namespace

struct CUfunc_st {
    std::string name;
    CUmodule module;
    std::vector<std::size_t> sizes;
};

struct CUmod_st {
    Launch launch;
    std::map<std::string, CUfunc_st> functions;
    bool live = true;
};

namespace {

// A shared library ends with its section headers.
std::size_t size_of_elf(const void* image) {
    Elf64_Ehdr head;
    std::memcpy(&head, image, sizeof head);
    return head.e_shoff + std::size_t{head.e_shentsize} * head.e_shnum;
}

Launch loaded(const void* image) {
    if (std::memcmp(image, ELFMAG, SELFMAG) != 0) return nullptr;
    const int file = memfd_create("kernels", 0);
    const std::size_t bytes = size_of_elf(image);
    const bool written = write(file, image, bytes) == static_cast<ssize_t>(bytes);
    const std::string path = "/proc/self/fd/" + std::to_string(file);
    void* library = written ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    close(file);
    return library == nullptr ? nullptr : reinterpret_cast<Launch>(dlsym(library, "ast_edge_launch"));
}

std::vector<std::size_t> argument_sizes(Launch launch, const char* name) {
    void* sizes_of[kMostArguments] = {};
    std::vector<std::size_t> sizes;
    if (launch(name, nullptr, nullptr, 0, sizes_of) != 0) return sizes;
    for (std::size_t i = 0; i < kMostArguments && sizes_of[i] != nullptr; ++i)
        sizes.push_back(reinterpret_cast<std::size_t>(sizes_of[i]));
    return sizes;
}

// The arguments of a launch, copied from where cuLaunchKernel finds them.
struct Arguments {
    std::vector<std::uint64_t> cells;
    std::vector<Span> spans;
    bool complete = true;
};

Arguments arguments_of(const CUfunc_st& function, void** parameters, void** extra) {
    const unsigned char* buffer = nullptr;
    std::size_t given = 0, at = 0;
    for (void** entry = extra; entry != nullptr && *entry != CU_LAUNCH_PARAM_END; entry += 2) {
        if (entry[0] == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = static_cast<const unsigned char*>(entry[1]);
        if (entry[0] == CU_LAUNCH_PARAM_BUFFER_SIZE) given = *static_cast<const std::size_t*>(entry[1]);
    }
    Arguments found;
    for (std::size_t i = 0; i < function.sizes.size(); ++i) {
        const std::size_t size = function.sizes[i] & (kPointer - 1);
        at = (at + size - 1) / size * size;
        std::uint64_t cell = 0;
        if (parameters != nullptr)
            std::memcpy(&cell, parameters[i], size);
        else if (at + size <= given)
            std::memcpy(&cell, buffer + at, size);
        at += size;
        found.cells.push_back(cell);
        if ((function.sizes[i] & kPointer) != 0) found.spans.push_back({reinterpret_cast<void*>(cell), 1, true});
    }
    found.complete = parameters != nullptr || given == at;
    return found;
}

}  // namespace

STANDIN_API CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
    return enter(__func__, [&](Lock&) {
        return not_in_capture("cuModuleLoadData", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, [&] {
            const Launch launch = loaded(image);
            if (launch == nullptr) return CUDA_ERROR_INVALID_IMAGE;
            *module = kept(new CUmod_st{launch, {}});
            ++state().alive[kModules];
            return CUDA_SUCCESS;
        });
    });
}
STANDIN_API CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}
STANDIN_API CUresult cuModuleUnload(CUmodule module) {
    return enter(__func__, [&](Lock&) {
        if (!module->live) return CUDA_ERROR_INVALID_HANDLE;
        module->live = false;
        --state().alive[kModules];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    return enter(__func__, [&](Lock&) {
        CUfunc_st& found = module->functions[name];
        if (found.sizes.empty()) found = {name, module, argument_sizes(module->launch, name)};
        *function = &found;
        return found.sizes.empty() ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuFuncSetBlockShape(CUfunction, int x, int y, int z) {
    return x > 0 && y > 0 && z > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
STANDIN_API CUresult cuFuncSetSharedSize(CUfunction, unsigned) { return CUDA_SUCCESS; }
STANDIN_API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute what, CUfunction) {
    *value = what == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? static_cast<int>(kMostThreads) : 0;
    return CUDA_SUCCESS;
}

STANDIN_API CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                    unsigned by, unsigned bz, unsigned shared, CUstream stream, void** parameters,
                                    void** extra) {
    return enter(__func__, [&](Lock&) {
        const std::string& name = function->name;
        const Arguments given = arguments_of(*function, parameters, extra);
        if (!given.complete) {
            wrong(name + ": its arguments have another size");
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (!function->module->live) {
            wrong(name + ": its module was unloaded");
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (gx == 0 || gy == 0 || gz == 0 || bx == 0 || by == 0 || bz == 0 || gy > kMostBlocks || gz > kMostBlocks) {
            wrong(name + ": its grid or block is empty or too large");
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (bx * by * bz > kMostThreads || shared > kMostShared) {
            wrong(name + ": too many threads or too much shared memory");
            return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
        }
        const auto work = [=, cells = given.cells]() mutable {
            std::vector<void*> pointers;
            for (std::uint64_t& cell : cells) pointers.push_back(&cell);
            const unsigned grid[3] = {gx, gy, gz}, block[3] = {1, 1, 1};
            ++state().launches;
            const int code = function->module->launch(name.c_str(), grid, block, shared, pointers.data());
            return code == 0 ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
        };
        Operation launch{name.c_str(), given.spans, work};
        launch.checked_when_put = false;  // a wrong address is found when the kernel runs
        return put(stream, std::move(launch));
    });
}
