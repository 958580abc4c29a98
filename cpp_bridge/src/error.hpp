// Errors inside the library: one class with the status of the C interface, and messages from pieces.
#pragma once

#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "ast_edge/ast_edge.h"

namespace ast_edge_impl {

// `text` with every character that could command a terminal, or hide there, as an escape: names and texts come from
// files.
inline std::string escaped(std::string_view text) {
    const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
    const auto escape = [](std::string& to, const char* form, unsigned code) {
        char shown[8];
        std::snprintf(shown, sizeof shown, form, code);
        to += shown;
    };
    std::string shown;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const unsigned first = byte(i), second = byte(i + 1), third = byte(i + 2);
        // In UTF-8: further control characters, then marks that turn the direction of the text or take no room.
        const bool control = first == 0xC2 && second >= 0x80 && second < 0xA0;
        const unsigned mark = first == 0xE2 ? 0x2000 + ((second & 0x3F) << 6) + (third & 0x3F) : 0;
        if ((first < 0x20 && first != '\n' && first != '\t') || first == 0x7F) {
            escape(shown, "\\x%02x", first);
        } else if (control) {
            escape(shown, "\\x%02x", second);
            i += 1;
        } else if ((mark >= 0x200B && mark <= 0x200F) || (mark >= 0x2028 && mark <= 0x202E) ||
                   (mark >= 0x2060 && mark <= 0x206F)) {
            escape(shown, "\\u%04x", mark);
            i += 2;
        } else {
            shown += text[i];
        }
    }
    return shown;
}

class Error : public std::runtime_error {
public:
    Error(ast_edge_status status, const std::string& sentence)
        : std::runtime_error(escaped(sentence)), status_(status) {}

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
