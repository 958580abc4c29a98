// The interface of engines. An engine belongs to one handle; one thread at a time.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "ast_edge/ast_edge.h"
#include "error.hpp"
#include "part.hpp"
#include "verdict.hpp"

namespace ast_edge_impl {

using Tensors = std::map<std::string, const void*>;  // the network's inputs for one part, by name
using Targets = std::map<std::string, void*>;        // buffers to write them to

// The outcome for a part: judged, or refused with a status and a message (the verdict is then a fault).
struct Outcome {
    Inspection inspection;
    ast_edge_status status = AST_EDGE_OK;
};

// The result or exception of `inspect` as a value, since exceptions do not cross threads.
template <typename Inspect>
Outcome outcome_of(Inspect inspect) noexcept {
    Outcome outcome;
    try {
        return {inspect(), AST_EDGE_OK};
    } catch (const Error& error) {
        outcome.status = error.status();
        outcome.inspection.reason = error.what();
    } catch (const std::bad_alloc&) {
        outcome.status = AST_EDGE_MEMORY;
    } catch (const std::exception& error) {
        outcome.status = AST_EDGE_INTERNAL;
        outcome.inspection.reason = error.what();
    } catch (...) {
        outcome.status = AST_EDGE_INTERNAL;
        outcome.inspection.reason = "An exception of an unknown kind.";
    }
    return outcome;
}

// Returns the inspection; throws the error of the status.
inline Inspection inspection_of(Outcome outcome) {
    if (outcome.status == AST_EDGE_MEMORY) throw std::bad_alloc();
    if (outcome.status != AST_EDGE_OK) throw Error(outcome.status, outcome.inspection.reason);
    return std::move(outcome.inspection);
}

// A part in flight.
class Pending {
public:
    virtual ~Pending() = default;
    Pending() = default;
    Pending(const Pending&) = delete;
    Pending& operator=(const Pending&) = delete;

    // Whether it is done; waits indefinitely if the timeout is negative.
    virtual bool wait(std::chrono::milliseconds timeout) = 0;
    // Returns the inspection once, after `wait` returned true; throws its error.
    virtual Inspection take() = 0;
};

class Engine {
public:
    virtual ~Engine() = default;
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Name, version and device.
    virtual std::string name() const = 0;
    virtual Inspection inspect(const Part& part, double threshold) = 0;
    // A refused part has its error in its outcome; throws if the engine itself fails.
    virtual std::vector<Outcome> inspect_all(const std::vector<Part>& parts, double threshold) = 0;
    // The part's memory may be reused when this returns.
    virtual std::unique_ptr<Pending> submit(const Part& part, double threshold) = 0;
    // Runs only the network.
    virtual Answer run(const Tensors& tensors) = 0;
};

inline double milliseconds(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace ast_edge_impl
