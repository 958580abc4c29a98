// The model file; ast_edge/model/onnx_file.py defines its requirements.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "manifest.hpp"

namespace ast_edge_impl {

// A model file that passed every check. `content` is the whole file, which is passed to the engine: the network cannot
// be replaced between check and use.
struct ModelFile {
    std::string path, content;
    Manifest manifest;
    std::optional<std::string> embedded_reference;  // read by `read_references`
};

// Both throw Error(AST_EDGE_MODEL).
ModelFile read_model_file(const std::string& path);
ModelFile read_model(std::string content, const std::string& path);

// Ignores padding; throws JsonProblem for anything that is not base64.
std::string decode_base64(std::string_view text);

}  // namespace ast_edge_impl
