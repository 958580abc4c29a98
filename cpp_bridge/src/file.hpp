// Files that others wrote, read whole and once, so that what was checked is what is used.
#pragma once

#include <cstdint>
#include <string>

namespace ast_edge_impl {

// Whether there is something of this name.
bool exists(const std::string& path);

// The content of a regular file of 1 to `limit` bytes. `what` ("the model file") and `made_by` ("a model made by
// `ast-edge export`") are for the sentences. Throws Error(AST_EDGE_MODEL).
std::string read_file(const std::string& path, std::uint64_t limit, const std::string& what,
                      const std::string& made_by);

// The folder of `path` with its slash, or nothing; and the name without the folder.
std::string folder_of(const std::string& path);
std::string name_of(const std::string& path);
bool ends_with(const std::string& text, const std::string& end);

}  // namespace ast_edge_impl
