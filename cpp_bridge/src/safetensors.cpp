#include "safetensors.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "error.hpp"
#include "json.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::size_t kLengthBytes = 8, kMostHeaderBytes = 1 << 16, kMostDimensions = 8;

struct Place {
    std::uint64_t begin, end;
};

std::uint64_t little_endian(std::string_view bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
}

std::vector<std::uint64_t> whole_numbers(Reader& reader, const std::string& name, std::size_t most) {
    const Json& list = reader.member(name);
    const bool fits = list.is_array() && list.size() <= most &&
                      std::all_of(list.begin(), list.end(), [](const Json& one) { return one.is_number_unsigned(); });
    if (!fits) throw JsonProblem{reader.path(name), concat("expected at most ", most, " whole numbers")};
    return list.get<std::vector<std::uint64_t>>();
}

// The spec of an array and the range of its bytes.
std::pair<TensorSpec, Place> described(const std::string& name, Reader reader) {
    TensorSpec spec{name, Type::uint8, {}};
    if (reader.choice("dtype", {"U8", "F32"}) == "F32") spec.type = Type::float32;
    for (const std::uint64_t size : whole_numbers(reader, "shape", kMostDimensions)) {
        if (size > INT32_MAX) throw JsonProblem{reader.path("shape"), "an array is too large"};
        spec.shape.push_back(static_cast<int>(size));
    }
    const std::vector<std::uint64_t> offsets = whole_numbers(reader, "data_offsets", 2);
    reader.done();
    if (spec.shape.empty() || offsets.size() != 2 || offsets[0] > offsets[1])
        throw JsonProblem{name, "expected an array of at least one dimension and where it begins and ends"};
    return {std::move(spec), {offsets[0], offsets[1]}};
}

// Bytes of all vectors, or more than any valid file has.
std::uint64_t bytes_of(const TensorSpec& spec, std::uint64_t most) {
    std::uint64_t bytes = spec.type == Type::uint8 ? 1 : 4;
    for (const int size : spec.shape) {
        if (size == 0) return 0;
        if (bytes > most) return bytes;
        bytes *= static_cast<std::uint64_t>(size);  // both below 2^32
    }
    return bytes;
}

}  // namespace

Arrays read_safetensors(std::string_view data) {
    if (data.size() < kLengthBytes) throw JsonProblem{"", "it ends in its first 8 bytes"};
    const std::uint64_t length = little_endian(data.substr(0, kLengthBytes));
    if (length > kMostHeaderBytes || length > data.size() - kLengthBytes)
        throw JsonProblem{"", concat("its header should have ", length, " bytes")};
    const Json header = parse_object(data.substr(kLengthBytes, static_cast<std::size_t>(length)));
    const std::string_view content = data.substr(kLengthBytes + static_cast<std::size_t>(length));
    if (content.size() > UINT32_MAX) throw JsonProblem{"", "it is too large"};
    Arrays arrays;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
    for (const auto& [name, value] : header.items()) {
        if (name == "__metadata__") continue;
        auto [spec, place] = described(name, Reader(value, name));
        if (place.end > content.size() || place.end - place.begin != bytes_of(spec, content.size()))
            throw JsonProblem{name, "its place is not one of its size in the file"};
        places.emplace_back(place.begin, place.end);
        arrays[name] = {std::move(spec), std::string(content.substr(place.begin, place.end - place.begin))};
    }
    std::sort(places.begin(), places.end());
    std::uint64_t end = 0;
    for (const auto& [begin, next] : places) {
        if (begin != end) throw JsonProblem{"", "its arrays overlap or leave a gap"};
        end = next;
    }
    if (end != content.size()) throw JsonProblem{"", "bytes follow the last array"};
    return arrays;
}

}  // namespace ast_edge_impl
