// Structs of the C interface from callers of other versions, and text for them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "error.hpp"

namespace ast_edge_impl {

// A larger size or count is uninitialised memory.
constexpr std::size_t kMostStructBytes = 1 << 16, kMostParts = 1 << 16;

inline void copy_text(char* to, std::size_t bytes, const char* text) {
    const auto goes_on = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
    std::size_t length = std::min(std::strlen(text), bytes - 1);
    if (text[length] != '\0')
        while (length > 0 && goes_on(length)) --length;  // do not split a UTF-8 character
    std::memcpy(to, text, length);
    to[length] = '\0';
}

// Returns what a caller's pointer points to. Throws Error(AST_EDGE_USAGE) for NULL.
template <typename Thing>
Thing& require(Thing* thing, const char* what) {
    if (thing == nullptr) throw usage_error(what, ": expected a pointer, found NULL.");
    return *thing;
}

// Returns a copy of a struct of the caller's version; members unknown to that version are zero.
template <typename Struct>
Struct read_versioned(const Struct* from, const char* what) {
    constexpr std::size_t kFirst = sizeof(std::uint32_t);
    const std::size_t size = require(from, what).struct_size;
    if (size < kFirst || size > kMostStructBytes)
        throw usage_error(what, ": struct_size is ", size, "; begin with AST_EDGE_INIT.");
    Struct copy{};
    std::memcpy(&copy, from, std::min(size, sizeof copy));
    return copy;
}

// Copies `from` to a struct of the caller's version, without members unknown to that version.
template <typename Struct>
void write_versioned(const Struct& from, Struct* to) {
    const std::size_t size = to->struct_size;
    std::memcpy(static_cast<void*>(to), &from, std::min(size, sizeof from));
    to->struct_size = static_cast<std::uint32_t>(size);
}

template <typename Struct>
Struct* element(Struct* first, std::size_t size, std::size_t index) {
    using Byte = std::conditional_t<std::is_const_v<Struct>, const unsigned char, unsigned char>;
    return reinterpret_cast<Struct*>(reinterpret_cast<Byte*>(first) + index * size);
}

}  // namespace ast_edge_impl
