// Frames and depth maps to the network's inputs on the CPU, by the kernels of preprocess.cu.
#pragma once

#include <list>
#include <memory>
#include <optional>

#include "engine.hpp"
#include "plan.hpp"
#include "verdict.hpp"

namespace ast_edge_impl {

// What is known of a part whose inputs were written.
struct Inputs {
    std::optional<GreyLevels> levels;
    bool part_seen;
};

class Preparer {
public:
    explicit Preparer(const Preprocessing& spec) : spec_(spec) {}

    // Writes the network's inputs to `targets`. Throws Error(AST_EDGE_FRAME) for a depth map that cannot be used.
    Inputs prepare(const Part& part, const Targets& targets);

private:
    class Prepared;

    Prepared& prepared_for(const Layouts& layouts);

    Preprocessing spec_;
    std::list<std::shared_ptr<Prepared>> prepared_;  // the one used last in front
};

}  // namespace ast_edge_impl
