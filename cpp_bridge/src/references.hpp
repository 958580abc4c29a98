// Reference vectors and the proof against them; ast_edge/model/references.py is the definition.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "array.hpp"
#include "engine.hpp"

namespace ast_edge_impl {

struct Parity {
    int vectors = 0, flipped = 0;
    int undecided = 0;  // scores of held-out parts that two engines within the tolerance may judge differently
    double score_error = 0, map_error = 0, tolerance = 0;

    bool ok() const;
};

// The vectors beside the model at `path`, or those that it carries. Throws Error(AST_EDGE_MODEL) when there are
// none, or they are damaged or of another model.
Arrays load_references(const std::string& path, const Manifest& manifest, const std::optional<std::string>& embedded);

// The most bytes that reference vectors of a model can have.
std::size_t largest_references(const Manifest& manifest);

// The vectors in a file's bytes, of either format. Throws Error(AST_EDGE_MODEL) with `where` in front.
Arrays read_references(std::string_view data, const Manifest& manifest, const std::string& where);

// Runs every vector and compares.
Parity prove(Engine& engine, const Arrays& references, const Manifest& manifest);

}  // namespace ast_edge_impl
