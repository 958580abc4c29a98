// The protobuf wire format, as far as a model file needs it: fields of a message without their payloads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ast_edge_impl {

enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

// One field: its tag begins at byte `start` of the file, its payload at `payload`, the next field at `end`.
struct Field {
    std::uint32_t number;
    Wire wire;
    std::size_t start, payload, end;
};

// Why bytes are no protobuf message; `cut` when they may be the beginning of one.
struct WireProblem {
    std::string sentence;
    bool cut;
};

// Up to `most` fields of the message in bytes `start` to `end`; throws WireProblem behind those in `fields`.
void scan(std::string_view file, std::size_t start, std::size_t end, std::size_t most, std::vector<Field>& fields);

}  // namespace ast_edge_impl
