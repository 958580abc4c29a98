// Whether an ONNX file takes weights from another file, which no digest of it covers; ast_edge/model/outside.py is the
// definition.
#pragma once

#include <string_view>

namespace ast_edge_impl {

// Whether a tensor of the ONNX file says that its data is in another file. Throws WireProblem when the file is no ONNX
// file, or too deep or long for one.
bool tensors_outside(std::string_view file);

}  // namespace ast_edge_impl
