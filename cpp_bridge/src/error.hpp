// Errors inside the library: one class with the status of the C interface, and messages from pieces.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "ast_edge/ast_edge.h"

namespace ast_edge_impl {

class Error : public std::runtime_error {
public:
    Error(ast_edge_status status, const std::string& sentence) : std::runtime_error(sentence), status_(status) {}

    ast_edge_status status() const { return status_; }

private:
    ast_edge_status status_;
};

inline void add_piece(std::string& to, std::string_view piece) { to += piece; }

template <typename Integer, typename = std::enable_if_t<std::is_integral_v<Integer>>>
void add_piece(std::string& to, Integer piece) {
    to += std::to_string(piece);
}

// Concatenates strings and integers.
template <typename... Pieces>
std::string concat(const Pieces&... pieces) {
    std::string text;
    (add_piece(text, pieces), ...);
    return text;
}

template <typename... Pieces>
Error usage_error(const Pieces&... pieces) {
    return Error(AST_EDGE_USAGE, concat(pieces...));
}

template <typename... Pieces>
Error frame_error(const Pieces&... pieces) {
    return Error(AST_EDGE_FRAME, concat(pieces...));
}

template <typename... Pieces>
Error model_error(const Pieces&... pieces) {
    return Error(AST_EDGE_MODEL, concat(pieces...));
}

template <typename... Pieces>
Error backend_error(const Pieces&... pieces) {
    return Error(AST_EDGE_BACKEND, concat(pieces...));
}

}  // namespace ast_edge_impl
