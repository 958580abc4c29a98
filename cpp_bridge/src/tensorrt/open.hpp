// The way to TensorRT for those who do not know it.
#pragma once

#include <memory>
#include <string>

#include "../engine.hpp"
#include "../engine_file.hpp"

namespace ast_edge_impl {

// `manifest` must outlive the engine. Throws Error(AST_EDGE_BACKEND) where there is no usable GPU, where the plan
// does not fit this machine, or where TensorRT refuses it.
std::unique_ptr<Engine> open_tensorrt(const EngineFile& file, const Manifest& manifest, int device);

// Name and version of TensorRT; empty where the library was built without it.
std::string tensorrt_engine();

}  // namespace ast_edge_impl
