// Streams, captures, graphs and events.
#include <algorithm>
#include <chrono>

#include "driver.hpp"

namespace standin {
namespace {

thread_local int running_here = 0;

double now_ms() {
    using Clock = std::chrono::steady_clock;
    return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

CUresult check(const Operation& operation, const std::string& when) {
    for (const Span& span : operation.spans)
        if (!usable(span, (operation.name + when).c_str())) return state().sticky = CUDA_ERROR_ILLEGAL_ADDRESS;
    return CUDA_SUCCESS;
}

CUresult do_one(Lock& lock, const Operation& operation) {
    if (state().sticky != CUDA_SUCCESS) return state().sticky;
    if (const CUresult answer = check(operation, ", when it ran"); answer != CUDA_SUCCESS) return answer;
    if (!operation.calls_program) {
        const CUresult answer = operation.work();
        return answer == CUDA_SUCCESS ? answer : state().sticky = answer;
    }
    lock.unlock();
    operation.work();
    lock.lock();
    return CUDA_SUCCESS;
}

// Does the work of a stream: all, up to the record of `until`, or `most` operations.
CUresult run(Lock& lock, CUstream stream, CUevent until = nullptr, std::size_t most = SIZE_MAX) {
    CUresult answer = CUDA_SUCCESS;
    if (stream->blocking && stream != legacy_stream()) answer = run(lock, legacy_stream());
    while (stream->running) {
        if (running_here > 0) return CUDA_SUCCESS;
        state().ran.wait(lock);
    }
    stream->running = true;
    ++running_here;
    bool reached = false;
    for (; !stream->work.empty() && answer == CUDA_SUCCESS && !reached && most > 0; --most) {
        const Operation operation = std::move(stream->work.front());
        stream->work.pop_front();
        answer = do_one(lock, operation);
        reached = until != nullptr && operation.records == until;
    }
    --running_here;
    stream->running = false;
    state().ran.notify_all();
    return answer;
}

CUstream stream_that_records(CUevent event) {
    for (const CUstream stream : state().streams) {
        if (stream->running) return stream;
        for (const Operation& operation : stream->work)
            if (operation.records == event) return stream;
    }
    return nullptr;
}

Operation record_of(CUevent event) {
    const auto happen = [event] {
        event->ms = now_ms();
        event->state = CUevent_st::kDone;
        return CUDA_SUCCESS;
    };
    return {"cuEventRecord", {}, happen, event};
}

template <typename Graph>
CUresult destroy(const char* name, Graph* graph) {
    return enter(name, [&](Lock&) {
        if (graph == nullptr || !graph->live) {
            wrong(std::string(name) + " of a graph that does not exist");
            return CUDA_ERROR_INVALID_VALUE;
        }
        graph->live = false;
        graph->operations.clear();
        --state().alive[kGraphs];
        return CUDA_SUCCESS;
    });
}

CUstream or_legacy(CUstream stream) { return stream == nullptr ? legacy_stream() : stream; }

}  // namespace

CUstream legacy_stream() {
    static const CUstream only = [] {
        state().streams.push_front(kept(new CUstream_st));
        return state().streams.front();
    }();
    return only;
}

CUresult put(CUstream stream, Operation operation) {
    if (operation.checked_when_put)
        if (const CUresult answer = check(operation, ""); answer != CUDA_SUCCESS) return answer;
    stream = or_legacy(stream);
    if (!stream->live) {
        wrong(std::string(operation.name) + " on a stream that was destroyed");
        return CUDA_ERROR_INVALID_HANDLE;
    }
    if (stream->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->capture)
        stream->capture->operations.push_back(std::move(operation));
    else
        stream->work.push_back(std::move(operation));
    return CUDA_SUCCESS;
}

CUresult run_all(Lock& lock, bool all) {
    CUresult first = run(lock, legacy_stream());
    const std::list<CUstream> streams = state().streams;
    for (const CUstream stream : streams) {
        if (!stream->live || stream->capture || !(all || stream->blocking)) continue;
        const CUresult answer = run(lock, stream);
        first = first == CUDA_SUCCESS ? answer : first;
    }
    return first;
}

bool is_needed(const Block& block) {
    for (const CUstream stream : state().streams)
        for (const Operation& operation : stream->work)
            for (const Span& span : operation.spans)
                if (block_of(span.at, 1) == &block) return true;
    return false;
}

}  // namespace standin

using namespace standin;

STANDIN_API CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    return enter(__func__, [&](Lock&) {
        legacy_stream();
        *stream = kept(new CUstream_st);
        (*stream)->blocking = (flags & CU_STREAM_NON_BLOCKING) == 0;
        state().streams.push_back(*stream);
        ++state().alive[kStreams];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuStreamDestroy(CUstream stream) {
    return enter(__func__, [&](Lock&) {
        if (!stream->work.empty()) wrong("a stream is destroyed with work on it");
        stream->live = false;
        stream->work.clear();
        --state().alive[kStreams];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuStreamSynchronize(CUstream given) {
    return enter(__func__, [&](Lock& lock) {
        const CUstream stream = or_legacy(given);
        if (!stream->capture) return given == nullptr ? run_all(lock, false) : run(lock, stream);
        stream->broken = true;
        wrong("a stream is waited for while it is captured");
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    });
}
// Who looks and does not wait sees one step done per look.
STANDIN_API CUresult cuStreamQuery(CUstream given) {
    return enter(__func__, [&](Lock& lock) {
        const CUstream stream = or_legacy(given);
        if (stream->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        if (stream->work.empty() && !stream->running) return CUDA_SUCCESS;
        const CUresult answer = run(lock, stream, nullptr, 1);
        return answer == CUDA_SUCCESS ? CUDA_ERROR_NOT_READY : answer;
    });
}
STANDIN_API CUresult cuLaunchHostFunc(CUstream stream, CUhostFn call, void* data) {
    return enter(__func__, [&](Lock&) {
        const auto work = [call, data] {
            call(data);
            return CUDA_SUCCESS;
        };
        return put(stream, {"cuLaunchHostFunc", {}, work, nullptr, true});
    });
}

STANDIN_API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
    const Lock lock(state().mutex);
    *status = !stream->capture ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                               : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}
STANDIN_API CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
    return enter(__func__, [&](Lock&) {
        if (stream == nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        if (stream->capture) return CUDA_ERROR_INVALID_VALUE;
        stream->capture = std::make_unique<CUgraph_st>();
        stream->mode = mode;
        stream->broken = false;
        stream->captured_by = std::this_thread::get_id();
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    return enter(__func__, [&](Lock&) {
        *graph = nullptr;
        if (!stream->capture) return CUDA_ERROR_INVALID_VALUE;
        if (stream->mode != CU_STREAM_CAPTURE_MODE_RELAXED && stream->captured_by != std::this_thread::get_id())
            return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
        const auto captured = std::move(stream->capture);
        if (stream->broken) {
            stream->broken = false;
            return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        }
        *graph = kept(new CUgraph_st{std::move(captured->operations)});
        ++state().alive[kGraphs];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuGraphInstantiateWithFlags(CUgraphExec* to, CUgraph graph, unsigned long long) {
    return enter(__func__, [&](Lock&) {
        if (graph == nullptr || !graph->live) return CUDA_ERROR_INVALID_VALUE;
        *to = kept(new CUgraphExec_st{graph->operations});
        ++state().alive[kGraphs];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream) {
    return enter(__func__, [&](Lock&) {
        if (graph == nullptr || !graph->live) {
            wrong("launch of a graph that does not exist");
            return CUDA_ERROR_INVALID_VALUE;
        }
        CUresult answer = CUDA_SUCCESS;
        for (const Operation& operation : graph->operations) {
            if (operation.records != nullptr) operation.records->state = CUevent_st::kPending;
            if (answer == CUDA_SUCCESS) answer = put(stream, operation);
        }
        return answer;
    });
}
STANDIN_API CUresult cuGraphDestroy(CUgraph graph) { return destroy(__func__, graph); }
STANDIN_API CUresult cuGraphExecDestroy(CUgraphExec graph) { return destroy(__func__, graph); }

STANDIN_API CUresult cuEventCreate(CUevent* event, unsigned) {
    return enter(__func__, [&](Lock&) {
        *event = kept(new CUevent_st);
        ++state().alive[kEvents];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuEventDestroy(CUevent event) {
    return enter(__func__, [&](Lock&) {
        if (!event->live) {
            wrong("an event is destroyed twice");
            return CUDA_ERROR_INVALID_HANDLE;
        }
        if (event->state == CUevent_st::kPending) wrong("an event is destroyed before it came");
        event->live = false;
        --state().alive[kEvents];
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuEventRecordWithFlags(CUevent event, CUstream given, unsigned flags) {
    return enter(__func__, [&](Lock&) {
        const CUstream stream = or_legacy(given);
        const bool external = (flags & CU_EVENT_RECORD_EXTERNAL) != 0;
        if (!event->live) return CUDA_ERROR_INVALID_HANDLE;
        if (external && !stream->capture) {
            wrong("an external record outside of a capture");
            return CUDA_ERROR_INVALID_VALUE;
        }
        if (stream->capture && !external) {  // a dependency, whose time is never noted
            event->state = CUevent_st::kCaptured;
            return CUDA_SUCCESS;
        }
        if (!stream->capture) event->state = CUevent_st::kPending;
        return put(stream, record_of(event));
    });
}
STANDIN_API CUresult cuEventRecord(CUevent event, CUstream stream) { return cuEventRecordWithFlags(event, stream, 0); }
STANDIN_API CUresult cuEventQuery(CUevent event) {
    return enter(__func__, [&](Lock& lock) {
        if (event->state == CUevent_st::kCaptured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        if (event->state != CUevent_st::kPending) return CUDA_SUCCESS;
        const CUstream stream = stream_that_records(event);
        const CUresult answer = stream == nullptr ? CUDA_SUCCESS : run(lock, stream, event, 1);
        return answer == CUDA_SUCCESS ? CUDA_ERROR_NOT_READY : answer;
    });
}
STANDIN_API CUresult cuEventSynchronize(CUevent event) {
    return enter(__func__, [&](Lock& lock) {
        CUresult answer = event->state == CUevent_st::kCaptured ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
        while (answer == CUDA_SUCCESS && event->state == CUevent_st::kPending) {
            const CUstream stream = stream_that_records(event);
            if (stream == nullptr) {
                wrong("an event is awaited that no stream records");
                break;
            }
            answer = run(lock, stream, event);
        }
        return answer;
    });
}

static CUresult elapsed(float* ms, CUevent from, CUevent to) {
    return enter("cuEventElapsedTime", [&](Lock&) {
        if (from->state == CUevent_st::kPending || to->state == CUevent_st::kPending) return CUDA_ERROR_NOT_READY;
        if (from->state != CUevent_st::kDone || to->state != CUevent_st::kDone) {
            wrong("the time between events that were not recorded");
            return CUDA_ERROR_INVALID_HANDLE;
        }
        *ms = static_cast<float>(to->ms - from->ms);
        return CUDA_SUCCESS;
    });
}
STANDIN_API CUresult cuEventElapsedTime(float* ms, CUevent from, CUevent to) { return elapsed(ms, from, to); }
#ifdef cuEventElapsedTime  // newer headers give it another name, programs may ask for either
extern "C" __attribute__((visibility("default"))) CUresult elapsed_of_old(float*, CUevent,
                                                                          CUevent) __asm__("cuEventElapsedTime");
CUresult elapsed_of_old(float* ms, CUevent from, CUevent to) { return elapsed(ms, from, to); }
#endif
