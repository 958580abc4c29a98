// Untrusted files, read completely and once, so that exactly the checked bytes are used.
#pragma once

#include <cstdint>
#include <string>

namespace ast_edge_impl {

// Whether the path exists.
bool exists(const std::string& path);

// The content of a regular file of 1 to `limit` bytes. `what` ("the model file") and `made_by` ("a model made by
// `ast-edge export`") are used in messages. Throws Error(AST_EDGE_MODEL).
std::string read_file(const std::string& path, std::uint64_t limit, const std::string& what,
                      const std::string& made_by);

// Returns the folder of `path` with its slash, or an empty string; and the name without the folder.
std::string folder_of(const std::string& path);
std::string name_of(const std::string& path);
bool ends_with(const std::string& text, const std::string& end);

}  // namespace ast_edge_impl
