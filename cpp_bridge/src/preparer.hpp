// Frames and depth maps to the network's inputs on the CPU, by the kernels of preprocess.cu.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "plan.hpp"
#include "verdict.hpp"

namespace ast_edge_impl {

// The network's inputs for one part, in memory of the preparer's until its next call.
struct Inputs {
    std::map<std::string, const void*> tensors;
    std::optional<GreyLevels> levels;
    bool part_seen;
};

class Preparer {
public:
    explicit Preparer(const Preprocessing& spec) : spec_(spec) {}

    // Throws Error(AST_EDGE_FRAME) for a depth map that cannot be used.
    Inputs prepare(const Part& part);

private:
    class Prepared;

    Prepared& prepared_for(const Layouts& layouts);

    Preprocessing spec_;
    std::list<std::shared_ptr<Prepared>> prepared_;  // the one used last in front
};

}  // namespace ast_edge_impl
