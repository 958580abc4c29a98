// Device and page-locked memory, and copies on the legacy stream and on others.
#include <cstdlib>
#include <cstring>

#include "driver.hpp"

namespace standin {
namespace {

constexpr std::size_t kAlignment = 256;

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

std::string sized(std::size_t bytes) { return std::to_string(bytes) + " bytes"; }

void* allocate(std::size_t bytes, bool on_device, bool mapped) {
    State& now = state();
    if (on_device && (now.used + bytes > now.memory || bytes >= now.refuse_from)) return nullptr;
    const std::size_t whole = (bytes / kAlignment + 1) * kAlignment;
    auto* at = static_cast<unsigned char*>(std::aligned_alloc(kAlignment, whole));
    if (at == nullptr) return nullptr;
    std::memset(at, 0xCD, bytes);
    now.blocks.push_front({at, bytes, on_device, mapped, true});
    now.used += on_device ? bytes : 0;
    ++now.alive[on_device ? kDevice : kPinned];
    return at;
}

void give_up(Block& block) {
    state().used -= block.on_device ? block.bytes : 0;
    --state().alive[block.on_device ? kDevice : kPinned];
    std::memset(block.at, 0xDD, block.bytes);
    block.live = false;
}

CUresult release(Lock& lock, const void* at, bool on_device) {
    if (state().free_waits)
        if (const CUresult answer = run_all(lock, true); answer != CUDA_SUCCESS) return answer;
    Block* block = block_of(at, 1);
    if (block == nullptr || block->at != at || block->on_device != on_device) {
        wrong("free of memory that is not allocated");
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (is_needed(*block)) wrong("free of " + sized(block->bytes) + " that a stream still needs");
    give_up(*block);
    return CUDA_SUCCESS;
}

// On the legacy stream, after what the blocking streams have to do; `at_once` or when the legacy stream is waited for.
CUresult legacy(const char* name, const Span& device, bool at_once, const std::function<void()>& work) {
    return enter(name, [&](Lock& lock) {
        return not_in_capture(name, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, [&]() -> CUresult {
            if (const CUresult answer = run_all(lock, false); answer != CUDA_SUCCESS) return answer;
            const auto done = [work] {
                work();
                return CUDA_SUCCESS;
            };
            const CUresult answer = put(legacy_stream(), {name, {device}, done});
            return answer == CUDA_SUCCESS && at_once ? run_all(lock, false) : answer;
        });
    });
}

CUresult later(const char* name, std::vector<Span> spans, CUstream stream, const std::function<void()>& work) {
    return enter(name, [&](Lock&) {
        const auto done = [work] {
            work();
            return CUDA_SUCCESS;
        };
        return put(stream, {name, std::move(spans), done});
    });
}

CUresult take(const char* name, void** memory, std::size_t bytes, bool on_device, bool mapped) {
    return enter(name, [&](Lock&) {
        return not_in_capture(name, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, [&] {
            if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
            *memory = allocate(bytes, on_device, mapped);
            return *memory == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
        });
    });
}

CUresult give(const char* name, const void* memory, bool on_device) {
    return enter(name, [&](Lock& lock) {
        return not_in_capture(name, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                              [&] { return release(lock, memory, on_device); });
    });
}

}  // namespace

Block* block_of(const void* at, std::size_t bytes, bool freed) {
    const auto* first = static_cast<const unsigned char*>(at);
    for (Block& block : state().blocks)
        if ((block.live || freed) && first >= block.at && first + bytes <= block.at + block.bytes) return &block;
    return nullptr;
}

bool usable(const Span& span, const char* what) {
    const Block* block = block_of(span.at, span.bytes);
    if (block != nullptr && (!span.on_device || block->on_device || block->mapped)) return true;
    const char* why = block != nullptr                        ? "host memory"
                      : block_of(span.at, 1, true) != nullptr ? "freed or beyond the end of a buffer"
                                                              : "not of this driver";
    wrong(std::string(what) + ": " + sized(span.bytes) + " that are " + why);
    return false;
}

void forget_everything() {
    State& now = state();
    int left = 0;
    for (const int count : now.alive) left += count;
    if (left > 0 && now.sticky == CUDA_SUCCESS)
        wrong("the context is released while " + std::to_string(left) + " things in it are alive");
    for (Block& block : now.blocks)
        if (block.live) give_up(block);
    for (CUstream stream : now.streams) stream->work.clear();
    for (int& count : now.alive) count = 0;
}

}  // namespace standin

using namespace standin;

STANDIN_API CUresult cuMemGetInfo(std::size_t* free, std::size_t* total) {
    return enter(__func__, [&](Lock&) {
        *total = state().memory;
        *free = state().memory - state().used;
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuMemAlloc(CUdeviceptr* memory, std::size_t bytes) {
    void* at = nullptr;
    const CUresult answer = take(__func__, &at, bytes, true, false);
    *memory = reinterpret_cast<CUdeviceptr>(at);
    return answer;
}
STANDIN_API CUresult cuMemFree(CUdeviceptr memory) { return give(__func__, pointer(memory), true); }
STANDIN_API CUresult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned flags) {
    return take(__func__, memory, bytes, false, (flags & CU_MEMHOSTALLOC_DEVICEMAP) != 0);
}
STANDIN_API CUresult cuMemFreeHost(void* memory) { return give(__func__, memory, false); }
STANDIN_API CUresult cuMemHostGetDevicePointer(CUdeviceptr* device, void* host, unsigned) {
    return enter(__func__, [&](Lock&) {
        const Block* block = block_of(host, 1);
        *device = reinterpret_cast<CUdeviceptr>(host);
        if (block != nullptr && block->mapped) return CUDA_SUCCESS;
        wrong("the device's address of memory that is not mapped");
        return CUDA_ERROR_INVALID_VALUE;
    });
}

// The caller's memory is free again at once, as CUDA promises of pageable memory.
STANDIN_API CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, std::size_t bytes) {
    const auto* first = static_cast<const unsigned char*>(from);
    return legacy(__func__, {pointer(to), bytes, true}, false, [to, kept = std::vector(first, first + bytes)] {
        std::memcpy(pointer(to), kept.data(), kept.size());
    });
}
STANDIN_API CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, std::size_t bytes) {
    return legacy(__func__, {pointer(from), bytes, true}, true, [=] { std::memmove(to, pointer(from), bytes); });
}
STANDIN_API CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, std::size_t bytes) {
    return legacy(__func__, {pointer(to), bytes, true}, false, [=] { std::memset(pointer(to), value, bytes); });
}
STANDIN_API CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream) {
    return later(__func__, {{pointer(to), bytes, true}, {from, bytes, false}}, stream,
                 [=] { std::memmove(pointer(to), from, bytes); });
}
STANDIN_API CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    return later(__func__, {{pointer(from), bytes, true}, {to, bytes, false}}, stream,
                 [=] { std::memmove(to, pointer(from), bytes); });
}
STANDIN_API CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D* given, CUstream stream) {
    const CUDA_MEMCPY2D copy = *given;
    if (copy.Height == 0) return CUDA_SUCCESS;
    const std::size_t last = copy.Height - 1;
    return later(__func__,
                 {{pointer(copy.dstDevice), last * copy.dstPitch + copy.WidthInBytes, true},
                  {pointer(copy.srcDevice), last * copy.srcPitch + copy.WidthInBytes, true}},
                 stream, [copy] {
                     for (std::size_t y = 0; y < copy.Height; ++y)
                         std::memmove(pointer(copy.dstDevice + y * copy.dstPitch),
                                      pointer(copy.srcDevice + y * copy.srcPitch), copy.WidthInBytes);
                 });
}
