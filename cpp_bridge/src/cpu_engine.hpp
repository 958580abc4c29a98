// Parts on the CPU: prepared by the kernels, judged by a network.
#pragma once

#include <memory>
#include <mutex>

#include "engine.hpp"
#include "network.hpp"
#include "preparer.hpp"
#include "worker.hpp"

namespace ast_edge_impl {

class CpuEngine : public Engine {
public:
    CpuEngine(const Manifest& manifest, std::unique_ptr<Network> network);

    std::string name() const override { return network_->name(); }
    Inspection inspect(const Part& part, double threshold) override;
    std::vector<Outcome> inspect_all(const std::vector<Part>& parts, double threshold) override;
    std::unique_ptr<Pending> submit(const Part& part, double threshold) override;
    Answer run(const Tensors& tensors) override;

private:
    // A prepared part in a row of the network, or one already known to be a fault.
    struct Row {
        Outcome outcome;
        bool filled = false;
    };

    Row prepare(const Part& part, double threshold, std::size_t row);
    void judge_rows(std::vector<Row>& rows, std::size_t filled, double threshold);

    const Manifest& manifest_;
    std::mutex mutex_;  // serialises parts of the worker and of the caller
    std::unique_ptr<Network> network_;
    Preparer preparer_;
    Worker worker_;  // last member: destroyed first
};

}  // namespace ast_edge_impl
