// In the place of TensorRT, where the library was built without it.
#include "../error.hpp"
#include "open.hpp"

namespace ast_edge_impl {

std::unique_ptr<Engine> open_tensorrt(const EngineFile& file, const Manifest&, int) {
    throw backend_error(file.path, ": this ast_edge library was built without TensorRT; build it with ",
                        "-DTensorRT_ROOT=... on a machine that has it, or give the model's .onnx file.");
}

std::string tensorrt_engine() { return ""; }

}  // namespace ast_edge_impl
