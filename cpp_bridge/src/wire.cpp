#include "wire.hpp"

#include "error.hpp"

namespace ast_edge_impl {
namespace {

constexpr int kLongestVarint = 10;

// The variable-length integer at `position`, which moves behind it. More than 64 bits are cut off, as no length or
// tag that is let through has them.
std::uint64_t varint(std::string_view file, std::size_t& position, std::size_t end) {
    const std::size_t start = position;
    std::uint64_t value = 0;
    for (int index = 0; index < kLongestVarint; ++index) {
        if (position == end) throw WireProblem{concat("a number is cut off at byte ", position), true};
        const auto byte = static_cast<unsigned char>(file[position++]);
        value |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * index);
        if (byte < 0x80) {
            if (index == kLongestVarint - 1 && byte > 1) return UINT64_MAX;
            return value;
        }
    }
    throw WireProblem{concat("the number at byte ", start, " is longer than 64 bits"), false};
}

std::size_t advanced(std::size_t from, std::uint64_t by, std::size_t end, std::uint64_t number) {
    if (by > end - from) throw WireProblem{concat("field ", number, " ends behind the file"), true};
    return from + static_cast<std::size_t>(by);
}

Field next_field(std::string_view file, std::size_t start, std::size_t end) {
    std::size_t position = start;
    const std::uint64_t tag = varint(file, position, end), number = tag >> 3;
    if (number < 1 || number >= 1u << 29) throw WireProblem{concat("byte ", start, " starts no field"), false};
    Field field{static_cast<std::uint32_t>(number), static_cast<Wire>(tag & 7), start, position, position};
    switch (field.wire) {
        case Wire::varint: varint(file, field.end, end); return field;
        case Wire::bytes: {
            const std::uint64_t length = varint(file, field.payload, end);
            field.end = advanced(field.payload, length, end, number);
            return field;
        }
        case Wire::fixed32: field.end = advanced(position, 4, end, number); return field;
        case Wire::fixed64: field.end = advanced(position, 8, end, number); return field;
    }
    throw WireProblem{concat("byte ", start, " has the unknown wire type ", tag & 7), false};
}

}  // namespace

void scan(std::string_view file, std::size_t start, std::size_t end, std::size_t most, std::vector<Field>& fields) {
    while (start < end && fields.size() < most) {
        fields.push_back(next_field(file, start, end));
        start = fields.back().end;
    }
}

}  // namespace ast_edge_impl
