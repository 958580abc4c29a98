// A CUDA driver without a GPU, libcuda.so.1, for tests of code that uses the documented driver API. Device memory is
// host memory. Work on a stream is done when the program waits for it, the latest moment that CUDA allows, so that a
// missing wait or memory freed too early gives wrong numbers every time; a program that polls sees one step done per
// look. Captures are kept and replayed. A module is a shared library that holds `ast_edge_launch`. What CUDA forbids is
// answered with CUDA's error and reported by `standin_wrongs`.
//
// Only functions that cuda.h documents are here: NVIDIA's own libraries need more and do not start on it.
#pragma once

#include <cuda.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#define STANDIN_API extern "C" __attribute__((visibility("default")))

namespace standin {

using Lock = std::unique_lock<std::mutex>;

// An allocation; after it was freed it stays, filled with 0xDD, so that a late use is found.
struct Block {
    unsigned char* at;
    std::size_t bytes;
    bool on_device, mapped, live;
};

// Memory that an operation reads or writes.
struct Span {
    const void* at;
    std::size_t bytes;
    bool on_device;  // host memory will not do, unless it is mapped
};

struct Operation {
    const char* name;
    std::vector<Span> spans;
    std::function<CUresult()> work;
    CUevent records = nullptr;
    bool calls_program = false;    // done without the lock
    bool checked_when_put = true;  // its memory, not only when it is done
};

enum Kind { kDevice, kPinned, kStreams, kEvents, kGraphs, kModules, kKinds };

// What the driver knows; guarded by `mutex`.
struct State {
    std::mutex mutex;
    std::condition_variable ran;
    std::list<Block> blocks;
    std::list<CUstream> streams;
    std::list<std::shared_ptr<void>> things;  // all that was handed out: one that is used after it was freed is found
    std::string wrongs, name = "stand-in";
    std::size_t memory = std::size_t{8} << 30, used = 0, refuse_from = SIZE_MAX, launches = 0;
    int capability = 87, retained = 0, alive[kKinds] = {};
    bool integrated = false, free_waits = false;
    CUresult sticky = CUDA_SUCCESS;  // after a fault every call answers it
};

State& state();
int& context_depth();  // of this thread

template <typename Thing>
Thing* kept(Thing* made) {
    state().things.emplace_back(made);
    return made;
}

void wrong(const std::string& what);
// The live block that holds these bytes; or, with `freed`, any block.
Block* block_of(const void* at, std::size_t bytes, bool freed = false);
bool usable(const Span& span, const char* what);

// Runs `call` with the lock; answers what a missing context or an earlier fault makes of every call.
CUresult enter(const char* name, const std::function<CUresult(Lock&)>& call);

// The answer to `call` while a stream of this thread is captured, which it spoils; else `call` is made.
CUresult not_in_capture(const char* name, CUresult refused, const std::function<CUresult()>& call);

CUresult put(CUstream stream, Operation operation);
// Does what is on the legacy stream and on those that wait for it; on `all` streams.
CUresult run_all(Lock& lock, bool all);
CUstream legacy_stream();
bool is_needed(const Block& block);  // by work that is not done
void forget_everything();            // the context is gone

}  // namespace standin

struct CUevent_st {
    enum { kNever, kPending, kDone, kCaptured } state = kNever;
    double ms = 0;
    bool live = true;
};

struct CUgraph_st {
    std::vector<standin::Operation> operations;
    bool live = true;
};
struct CUgraphExec_st {
    std::vector<standin::Operation> operations;
    bool live = true;
};

struct CUstream_st {
    std::deque<standin::Operation> work;
    std::unique_ptr<CUgraph_st> capture;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    std::thread::id captured_by;
    bool broken = false, running = false, live = true, blocking = true;  // blocking: waits for the legacy stream
};
