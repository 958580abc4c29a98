// Reference vectors and the proof against them; ast_edge/model/references.py is the definition.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "archive.hpp"
#include "engine.hpp"

namespace ast_edge_impl {

struct Parity {
    int vectors = 0, flipped = 0;
    double score_error = 0, map_error = 0, tolerance = 0;

    bool ok() const;
};

// The vectors beside the model at `path`, or those that it carries. Throws Error(AST_EDGE_MODEL) when there are
// none, or they are damaged or of another model.
std::map<std::string, Array> load_references(const std::string& path, const Manifest& manifest,
                                             const std::optional<std::string>& embedded);

// Runs every vector and compares.
Parity prove(Engine& engine, const std::map<std::string, Array>& references, const Manifest& manifest);

}  // namespace ast_edge_impl
