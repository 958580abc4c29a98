// A part on its way through the GPU: memory that is allocated once, and a graph that is captured once. Needs a current
// context, the destructor too.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "../engine.hpp"
#include "../plan.hpp"
#include "memory.hpp"
#include "runtime.hpp"

namespace ast_edge_impl {

// What all slots of an engine share.
struct Wiring {
    Preprocessing preprocessing;
    std::vector<TensorSpec> inputs, outputs;
    int least = 1;  // parts at once
    bool fixed_batch = true, integrated = false;
};

class Slot {
public:
    Slot(const Wiring& wiring, const Kernels& kernels, std::unique_ptr<Execution> execution);
    ~Slot();

    // Copies the part and starts on it; returns before it is done.
    void start(const Part& part);
    bool is_done() const { return events_.back().has_come(); }
    void wait() const { events_.back().wait(); }

    // The result of the part, once it is done. Throws Error(AST_EDGE_FRAME) for an unusable depth map.
    struct Result {
        Answer answer;
        std::optional<GreyLevels> levels;
        bool part_seen;
        Stages stages;
    };
    Result result() const;

    // The network alone, without a graph; waits for it.
    Answer run(const Tensors& tensors);

private:
    class Prepared;

    Prepared& prepared_for(const Part& part);
    void fill(const Part& part, Prepared& prepared);
    void put_on_stream(const Prepared& prepared, bool in_graph);
    void launch_kernels(const Prepared& prepared);
    CUdeviceptr address_of(const std::string& name, const Prepared& prepared) const;
    Answer answer() const;

    const Wiring& wiring_;
    const Counts counts_;
    const Kernels& kernels_;
    std::unique_ptr<Execution> execution_;
    Stream stream_;
    Buffers buffers_;
    std::vector<Event> events_;                      // around copy in, preparation, network, copy out
    std::list<std::unique_ptr<Prepared>> prepared_;  // the one used last in front
};

}  // namespace ast_edge_impl
