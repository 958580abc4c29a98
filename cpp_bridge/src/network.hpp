// A network on the CPU: rows of inputs are filled, then all are run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"
#include "model_file.hpp"

namespace ast_edge_impl {

class Network {
public:
    virtual ~Network() = default;
    Network() = default;
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    virtual std::string name() const = 0;
    // The number of rows that `run` accepts.
    virtual std::size_t rows() const = 0;
    // The buffers of a part's tensors in `row`, valid as long as the network.
    virtual Targets targets(std::size_t row) = 0;
    // Copies a part's tensors into `row`, which must be below the count of the following `run`.
    virtual void fill(std::size_t row, const Tensors& tensors) = 0;
    // Runs the first `count` rows. Throws Error(AST_EDGE_BACKEND).
    virtual std::vector<Answer> run(std::size_t count) = 0;
};

// Where a network runs: OpenVINO's device, and whether it may leave a part of the network to the CPU.
struct Processor {
    std::string device = "CPU";
    bool allow_cpu = false;
};

// Takes ownership of the model. Throws Error(AST_EDGE_BACKEND) if the engine is missing, refuses the network, or
// leaves it to the CPU where that is not allowed; Error(AST_EDGE_USAGE) for an impossible number of threads.
std::unique_ptr<Network> open_network(const ModelFile& model, int threads, const Processor& processor);

// Name and version of the CPU engine that this library was built with; empty for none.
std::string network_engine();

}  // namespace ast_edge_impl
