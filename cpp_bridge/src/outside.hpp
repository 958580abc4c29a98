// Detects ONNX files with weights in another file, which no digest covers; ast_edge/model/outside.py is the reference.
#pragma once

#include <string_view>

namespace ast_edge_impl {

// Whether a tensor of the ONNX file has its data in another file. Throws WireProblem if the file is not an ONNX file,
// or is nested too deeply or too long.
bool tensors_outside(std::string_view file);

}  // namespace ast_edge_impl
