// Reference vectors and the proof against them; ast_edge/model/references.py is the reference.
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

// Loads the vectors beside the model at `path`, or the embedded ones. Throws Error(AST_EDGE_MODEL) if there are none,
// or they are damaged or of another model.
Arrays load_references(const std::string& path, const Manifest& manifest, const std::optional<std::string>& embedded);

// The largest possible size of a model's reference vectors in bytes.
std::size_t largest_references(const Manifest& manifest);

// Parses the vectors of a file, in either format. Throws Error(AST_EDGE_MODEL) with the prefix `where`.
Arrays read_references(std::string_view data, const Manifest& manifest, const std::string& where);

// Runs every vector and compares.
Parity prove(Engine& engine, const Arrays& references, const Manifest& manifest);

}  // namespace ast_edge_impl
