// Errors inside the library: one class with the status that the C face answers with, and sentences from pieces.
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

// The pieces, strings and integers, one after the other.
template <typename... Pieces>
std::string words(const Pieces&... pieces) {
    std::string text;
    (add_piece(text, pieces), ...);
    return text;
}

template <typename... Pieces>
Error usage_error(const Pieces&... pieces) {
    return Error(AST_EDGE_USAGE, words(pieces...));
}

template <typename... Pieces>
Error frame_error(const Pieces&... pieces) {
    return Error(AST_EDGE_FRAME, words(pieces...));
}

template <typename... Pieces>
Error model_error(const Pieces&... pieces) {
    return Error(AST_EDGE_MODEL, words(pieces...));
}

template <typename... Pieces>
Error backend_error(const Pieces&... pieces) {
    return Error(AST_EDGE_BACKEND, words(pieces...));
}

}  // namespace ast_edge_impl
