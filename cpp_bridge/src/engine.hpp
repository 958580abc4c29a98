// Engines behind one face. An engine belongs to one handle; one thread at a time.
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
using Targets = std::map<std::string, void*>;        // where they are to be written

// What became of a part: judged, or refused with a status and a sentence (the verdict is then a fault).
struct Outcome {
    Inspection inspection;
    ast_edge_status status = AST_EDGE_OK;
};

// What `inspect` gives or throws, as a value: exceptions do not travel from thread to thread.
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

// The inspection; throws what the status says.
inline Inspection inspection_of(Outcome outcome) {
    if (outcome.status == AST_EDGE_MEMORY) throw std::bad_alloc();
    if (outcome.status != AST_EDGE_OK) throw Error(outcome.status, outcome.inspection.reason);
    return std::move(outcome.inspection);
}

// A part on its way.
class Pending {
public:
    virtual ~Pending() = default;
    Pending() = default;
    Pending(const Pending&) = delete;
    Pending& operator=(const Pending&) = delete;

    // Whether it is done; waits without end when the timeout is negative.
    virtual bool wait(std::chrono::milliseconds timeout) = 0;
    // The inspection after `wait` said yes, once; throws what went wrong.
    virtual Inspection take() = 0;
};

class Engine {
public:
    virtual ~Engine() = default;
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // With its version and where it runs.
    virtual std::string name() const = 0;
    virtual Inspection inspect(const Part& part, double threshold) = 0;
    // Parts that are refused say so in their outcome; throws when the engine itself fails.
    virtual std::vector<Outcome> inspect_all(const std::vector<Part>& parts, double threshold) = 0;
    // The part's memory may be used again when this returns.
    virtual std::unique_ptr<Pending> submit(const Part& part, double threshold) = 0;
    // The network alone.
    virtual Answer run(const Tensors& tensors) = 0;
};

inline double milliseconds(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace ast_edge_impl
