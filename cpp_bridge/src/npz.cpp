#include "npz.hpp"

#include <zlib.h>

#include <cstdint>
#include <stdexcept>

#include "error.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::size_t kEndBytes = 22, kEntryBytes = 46, kLocalBytes = 30;
constexpr std::uint32_t kStored = 0, kDeflated = 8;

std::runtime_error damaged(const std::string& why) { return std::runtime_error(why); }

std::string_view part_of(std::string_view data, std::uint64_t start, std::uint64_t length) {
    if (start > data.size() || length > data.size() - start) throw damaged("the archive is cut off");
    return data.substr(static_cast<std::size_t>(start), static_cast<std::size_t>(length));
}

// An unsigned little-endian number of 2 or 4 bytes.
std::uint32_t number(std::string_view data, std::uint64_t at, std::size_t bytes) {
    std::uint32_t value = 0;
    const std::string_view field = part_of(data, at, bytes);
    for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(field[i]);
    return value;
}

std::string inflated(std::string_view packed, std::size_t size) {
    std::string bytes(size, '\0');
    z_stream stream{};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw damaged("zlib does not start");
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));  // zlib only reads it
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream.avail_out = static_cast<uInt>(bytes.size());
    const int status = inflate(&stream, Z_FINISH);
    const bool whole = status == Z_STREAM_END && stream.avail_out == 0;
    inflateEnd(&stream);
    if (!whole) throw damaged("a packed array is damaged");
    return bytes;
}

// Returns the content of the file described by the central directory's entry at `at`.
std::string member(std::string_view data, std::uint64_t at) {
    const std::uint32_t method = number(data, at + 10, 2), crc = number(data, at + 16, 4);
    const std::uint32_t packed_bytes = number(data, at + 20, 4), bytes = number(data, at + 24, 4);
    const std::uint64_t local = number(data, at + 42, 4);
    const std::uint64_t names = number(data, local + 26, 2) + number(data, local + 28, 2);
    const std::string_view packed = part_of(data, local + kLocalBytes + names, packed_bytes);
    if (method != kStored && method != kDeflated) throw damaged("an array is packed in an unknown way");
    std::string content = method == kStored ? std::string(packed) : inflated(packed, bytes);
    const auto* raw = reinterpret_cast<const Bytef*>(content.data());
    if (content.size() != bytes || crc32(0, raw, static_cast<uInt>(content.size())) != crc)
        throw damaged("an array's checksum does not match");
    return content;
}

// Returns the text after `key` in a .npy header, without leading spaces.
std::string_view value_of(std::string_view header, std::string_view key) {
    const std::size_t at = header.find(key);
    if (at == std::string_view::npos) throw damaged("an array's header is damaged");
    const std::size_t value = header.find_first_not_of(' ', at + key.size());
    return value == std::string_view::npos ? "" : header.substr(value);
}

std::vector<int> read_shape(std::string_view text) {
    std::vector<int> shape;
    std::int64_t size = -1;
    for (const char letter : text.substr(1)) {
        if ('0' <= letter && letter <= '9') {
            size = (size < 0 ? 0 : 10 * size) + (letter - '0');
            if (size > INT32_MAX) throw damaged("an array is too large");
            continue;
        }
        if (letter != ',' && letter != ')' && letter != ' ') break;
        if (size >= 0) shape.push_back(static_cast<int>(size));
        size = -1;
        if (letter == ')') return shape;
    }
    throw damaged("an array's shape is damaged");
}

Array read_npy(const std::string& name, const std::string& content) {
    if (content.compare(0, 6, "\x93NUMPY") != 0 || content.size() < 12) throw damaged("an array is no .npy");
    const std::size_t field = content[6] == 1 ? 2 : 4;
    const std::size_t length = number(content, 8, field);
    const std::string_view header = part_of(content, 8 + field, length);
    Array array{{name, Type::uint8, {}}, content.substr(8 + field + length)};
    const std::string_view type = value_of(header, "'descr':");
    if (type.substr(0, 5) == "'<f4'")
        array.spec.type = Type::float32;
    else if (type.substr(0, 5) != "'|u1'")
        throw damaged("an array is neither uint8 nor float32");
    if (value_of(header, "'fortran_order':").substr(0, 5) != "False") throw damaged("an array is transposed");
    const std::string_view shape = value_of(header, "'shape':");
    if (shape.substr(0, 1) != "(") throw damaged("an array's shape is damaged");
    array.spec.shape = read_shape(shape);
    if (array.spec.shape.empty() ||
        array.bytes.size() != array.spec.bytes() * static_cast<std::size_t>(array.spec.shape[0]))
        throw damaged("an array has another size than its shape says");
    return array;
}

std::uint64_t end_record(std::string_view data) {
    if (data.size() < kEndBytes) throw damaged("it is no zip archive");
    const std::size_t at = data.rfind(std::string_view("PK\x05\x06", 4));
    if (at == std::string_view::npos) throw damaged("it is no zip archive");
    return at;
}

}  // namespace

Arrays read_npz(std::string_view data, std::size_t limit) {
    const std::uint64_t end = end_record(data);
    const std::uint32_t count = number(data, end + 10, 2);
    std::uint64_t at = number(data, end + 16, 4), unpacked = 0;
    Arrays arrays;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (part_of(data, at, 4) != std::string_view("PK\x01\x02", 4)) throw damaged("its directory is damaged");
        unpacked += number(data, at + 24, 4);
        if (unpacked > limit) throw damaged("more bytes when unpacked than reference vectors of this model have");
        const std::uint32_t name_bytes = number(data, at + 28, 2);
        std::string name(part_of(data, at + kEntryBytes, name_bytes));
        if (name.size() > 4 && name.substr(name.size() - 4) == ".npy") name.resize(name.size() - 4);
        arrays.insert_or_assign(name, read_npy(name, member(data, at)));
        at += kEntryBytes + name_bytes + number(data, at + 30, 2) + number(data, at + 32, 2);
    }
    return arrays;
}

}  // namespace ast_edge_impl
