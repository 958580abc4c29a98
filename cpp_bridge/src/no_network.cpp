// Replaces the CPU engine in a library that was built without one.
#include "error.hpp"
#include "network.hpp"

namespace ast_edge_impl {

std::unique_ptr<Network> open_network(const ModelFile& model, int, const Processor&) {
    throw backend_error(model.path, ": this ast_edge library was built without a CPU engine; build it with OpenVINO.");
}

std::string network_engine() { return ""; }

}  // namespace ast_edge_impl
