// Lets preprocess.cu be compiled by a C++17 compiler and its kernels be launched on a CPU, by name and with an
// array of argument pointers as cuLaunchKernel takes them. Blocks run one after the other; the threads of a
// block are real threads with a real barrier, so a missing __syncthreads() is a race that a thread sanitizer
// sees. Meant for tests: nothing of that is fast. With AST_EDGE_ONE_THREAD a block has one thread, which the
// compiler knows, and several threads may launch at once: so the kernels prepare frames where there is no GPU.
#pragma once

#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

// Processors with AVX2 get kernels of their own, chosen when the program is loaded. What they call must be inlined.
#ifdef AST_EDGE_CLONES
#define __global__ __attribute__((target_clones("avx2", "default")))
#define __device__ static inline __attribute__((always_inline))
#else
#define __global__
#define __device__ static inline
#endif
#define __restrict__ __restrict

namespace ast_edge_host {

struct Index {
    unsigned x, y, z;
};

#ifdef AST_EDGE_ONE_THREAD

#define AST_EDGE_TOGETHER 64

// How many pixels there are to pick from at once, where a processor has an instruction for that.
#if defined(AST_EDGE_CLONES)
inline const int window = (__builtin_cpu_init(), __builtin_cpu_supports("avx2") ? 16 : 0);
#elif defined(__AVX2__) && !defined(__clang__)
constexpr int window = 16;
#else
constexpr int window = 0;
#endif

inline thread_local Index block_index;
inline thread_local unsigned char* shared_memory = nullptr;

}  // namespace ast_edge_host

#ifndef __clang__  // how such a vector is handed over is no concern: everything that takes one is in one file
#pragma GCC diagnostic ignored "-Wpsabi"
#endif
typedef int Several __attribute__((vector_size(32)));

#define AST_EDGE_WINDOW ast_edge_host::window

// The pixels `by` further than `from`.
template <bool CLOSE>
__device__ void pick(const unsigned* from, const Several& by, Several& pixels) {
#ifndef __clang__
    if (CLOSE) {
        Several low, high;
        std::memcpy(&low, from, sizeof low);
        std::memcpy(&high, from + 8, sizeof high);
        pixels = __builtin_shuffle(low, high, by);
        return;
    }
#endif
    for (int i = 0; i < 8; ++i) pixels[i] = static_cast<int>(from[by[i]]);
}

#define threadIdx (ast_edge_host::Index{0, 0, 0})
#define blockDim (ast_edge_host::Index{1, 1, 1})

static inline void __syncthreads() {}

#else

#define AST_EDGE_TOGETHER 3  // not 1, as on a GPU, and no divisor of what the tests resize

}  // namespace ast_edge_host

typedef int Several;
#define AST_EDGE_WINDOW 0

namespace ast_edge_host {

class Barrier {
public:
    explicit Barrier(unsigned threads) : threads_(threads) {}

    void wait() {
        std::unique_lock<std::mutex> lock(mutex_);
        const unsigned long round = round_;
        if (++waiting_ == threads_) {
            waiting_ = 0;
            ++round_;
            all_here_.notify_all();
            return;
        }
        all_here_.wait(lock, [&] { return round_ != round; });
    }

private:
    std::mutex mutex_;
    std::condition_variable all_here_;
    const unsigned threads_;
    unsigned waiting_ = 0;
    unsigned long round_ = 0;
};

inline thread_local Index thread_index, block_index;
inline Index block_size, grid_size;
inline Barrier* barrier = nullptr;
inline unsigned char* shared_memory = nullptr;

}  // namespace ast_edge_host

#define threadIdx ast_edge_host::thread_index
#define blockDim ast_edge_host::block_size
#define gridDim ast_edge_host::grid_size

static inline void __syncthreads() { ast_edge_host::barrier->wait(); }

#endif

#define blockIdx ast_edge_host::block_index
#define AST_EDGE_SHARED(name) unsigned char* name = ast_edge_host::shared_memory

using std::isfinite;
using std::memcpy;

#ifdef AST_EDGE_ONE_THREAD  // its blocks run one after the other

static inline void atomicAdd(unsigned long long* to, unsigned long long value) { *to += value; }
static inline void atomicOr(int* to, int bits) { *to |= bits; }
static inline void atomicAnd(int* to, int bits) { *to &= bits; }

#else

static inline void atomicAdd(unsigned long long* to, unsigned long long value) {
    __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
static inline void atomicOr(int* to, int bits) { __atomic_fetch_or(to, bits, __ATOMIC_RELAXED); }
static inline void atomicAnd(int* to, int bits) { __atomic_fetch_and(to, bits, __ATOMIC_RELAXED); }

#endif

namespace ast_edge_host {

template <typename... Arguments, std::size_t... Position>
void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Position...>) {
    kernel(*static_cast<std::remove_const_t<Arguments>*>(arguments[Position])...);
}

#ifdef AST_EDGE_ONE_THREAD

template <typename... Arguments>
int launch(void (*kernel)(Arguments...), const unsigned* grid, const unsigned*, unsigned shared_bytes,
           void** arguments) {
    std::vector<double> shared((shared_bytes + sizeof(double) - 1) / sizeof(double));
    shared_memory = reinterpret_cast<unsigned char*>(shared.data());
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x) {
                block_index = {x, y, z};
                call(kernel, arguments, std::index_sequence_for<Arguments...>());
            }
    return 0;
}

#else

// What one thread of every block does, block after block.
template <typename... Arguments>
void run_thread(void (*kernel)(Arguments...), Index thread, std::size_t shared_bytes, void** arguments) {
    thread_index = thread;
    for (unsigned z = 0; z < grid_size.z; ++z)
        for (unsigned y = 0; y < grid_size.y; ++y)
            for (unsigned x = 0; x < grid_size.x; ++x) {
                block_index = {x, y, z};
                // A GPU does not clear shared memory either, and 0xA5 is a conspicuous wrong number.
                if (thread.x == 0 && shared_bytes > 0) std::memset(shared_memory, 0xA5, shared_bytes);
                barrier->wait();
                call(kernel, arguments, std::index_sequence_for<Arguments...>());
                barrier->wait();
            }
}

template <typename... Arguments>
int launch(void (*kernel)(Arguments...), const unsigned* grid, const unsigned* block, unsigned shared_bytes,
           void** arguments) {
    if (block[1] != 1 || block[2] != 1) return 2;  // the kernels use one dimension
    // Exactly as large as asked for, so that an address sanitizer sees a kernel that takes more.
    std::vector<double> shared((shared_bytes + sizeof(double) - 1) / sizeof(double));
    Barrier of_block(block[0]);
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {block[0], 1, 1};
    shared_memory = reinterpret_cast<unsigned char*>(shared.data());
    barrier = &of_block;
    std::vector<std::thread> others;
    for (unsigned x = 1; x < block[0]; ++x)
        others.emplace_back([=] { run_thread(kernel, Index{x, 0, 0}, shared_bytes, arguments); });
    run_thread(kernel, Index{0, 0, 0}, shared_bytes, arguments);
    for (std::thread& other : others) other.join();
    return 0;
}

#endif

// Writes what each argument of a kernel is: its bytes, and 16 more for an address.
template <typename... Arguments>
int describe(void (*)(Arguments...), void** arguments) {
    const std::size_t sizes[] = {sizeof(Arguments) + (std::is_pointer<Arguments>::value ? 16 : 0)...};
    for (const std::size_t size : sizes) *arguments++ = reinterpret_cast<void*>(size);
    return 0;
}

}  // namespace ast_edge_host

#define AST_EDGE_TRY(kernel)                                            \
    if (std::strcmp(name, #kernel) == 0)                                \
    return grid == nullptr ? ast_edge_host::describe(kernel, arguments) \
                           : ast_edge_host::launch(kernel, grid, block, shared_bytes, arguments)

// Defined once, below the kernels: launches the kernel called `name`; without a grid it only describes the arguments.
// 0 when it did, 1 for an unknown name, 2 for a block of more than one dimension.
extern "C" int ast_edge_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
                               void** arguments);
