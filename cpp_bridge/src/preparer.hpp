// Converts frames and depth maps to the network's inputs on the CPU, with the kernels of preprocess.cu.
#pragma once

#include <list>
#include <memory>
#include <optional>

#include "engine.hpp"
#include "plan.hpp"
#include "verdict.hpp"

namespace ast_edge_impl {

// Properties of a part whose inputs were written.
struct Inputs {
    std::optional<GreyLevels> levels;
    bool part_seen;
};

class Preparer {
public:
    explicit Preparer(const Preprocessing& spec) : spec_(spec) {}

    // Writes the network's inputs to `targets`. Throws Error(AST_EDGE_FRAME) for an unusable depth map.
    Inputs prepare(const Part& part, const Targets& targets);

private:
    class Prepared;

    Prepared& prepared_for(const Layouts& layouts);

    Preprocessing spec_;
    std::list<std::shared_ptr<Prepared>> prepared_;  // most recently used first
};

}  // namespace ast_edge_impl
