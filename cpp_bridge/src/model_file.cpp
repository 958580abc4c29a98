#include "model_file.hpp"

#include <algorithm>
#include <vector>

#include "error.hpp"
#include "file.hpp"
#include "outside.hpp"
#include "sha256.hpp"
#include "wire.hpp"

namespace ast_edge_impl {
namespace {

constexpr const char* kManifestKey = "ast_edge.manifest";
constexpr const char* kReferenceKey = "ast_edge.reference";
constexpr const char* kMadeBy = "a model made by `ast-edge export`";
constexpr std::uint64_t kMostFileBytes = (std::uint64_t{1} << 31) - 1;
constexpr std::size_t kMostManifestBytes = std::size_t{16} << 20, kMostReferenceBytes = std::size_t{64} << 20;
constexpr std::size_t kMostKeyBytes = 1 << 10;
constexpr std::size_t kMostFields = 100'000;  // more is a denial-of-service attempt
constexpr std::uint32_t kIrVersion = 1, kGraph = 7, kMetadata = 14;

// Wire types of ModelProto's fields (onnx.proto); unknown fields of a later ONNX are accepted.
bool fits_onnx(const Field& field) {
    switch (field.number) {
        case 1:
        case 5: return field.wire == Wire::varint;
        case 2:
        case 3:
        case 4:
        case 6:
        case 7:
        case 8:
        case 14:
        case 20:
        case 25: return field.wire == Wire::bytes;
        default: return true;
    }
}

Error not_onnx(const std::string& path, const std::string& why) {
    return model_error(path, ": not an ONNX file (", why, "); give ", kMadeBy, ".");
}

std::vector<Field> model_fields(std::string_view file, const std::string& path) {
    std::vector<Field> fields;
    try {
        scan(file, 0, file.size(), kMostFields, fields);
    } catch (const WireProblem& problem) {
        // Every ONNX writer puts the IR version first.
        if (problem.cut && !fields.empty() && fields[0].number == kIrVersion)
            throw model_error(path, ": the file is truncated after ", file.size(), " bytes (", problem.sentence,
                              "); copy or export the model again.");
        throw not_onnx(path, problem.sentence);
    }
    if (fields.empty() || fields.back().end != file.size())
        throw not_onnx(path, concat("more than ", kMostFields, " top-level fields"));
    for (const Field& field : fields)
        if (!fits_onnx(field)) throw not_onnx(path, concat("field ", field.number, " has another wire type"));
    const auto is_graph = [](const Field& field) { return field.number == kGraph; };
    if (std::none_of(fields.begin(), fields.end(), is_graph)) throw not_onnx(path, "it contains no graph");
    return fields;
}

struct Metadata {
    std::optional<std::string_view> manifest, reference;
};

std::string_view payload(std::string_view file, const Field& field, std::size_t most, const std::string& path) {
    const std::size_t length = field.end - field.payload;
    if (length > most)
        throw model_error(path, ": the metadata at byte ", field.payload, " is too large (at most ", most,
                          " bytes, found ", length, "); export the model again.");
    return file.substr(field.payload, length);
}

// Returns key and value of a StringStringEntryProto.
std::pair<Field, Field> entry_parts(std::string_view file, const Field& entry, const std::string& path) {
    std::vector<Field> parts;
    bool whole = true;
    try {
        scan(file, entry.payload, entry.end, 3, parts);
    } catch (const WireProblem&) {
        whole = false;
    }
    std::sort(parts.begin(), parts.end(), [](const Field& a, const Field& b) { return a.number < b.number; });
    whole = whole && parts.size() == 2 && parts[0].number == 1 && parts[1].number == 2 &&
            parts[0].wire == Wire::bytes && parts[1].wire == Wire::bytes;
    if (!whole)
        throw model_error(path, ": the metadata entry at byte ", entry.start,
                          " is damaged; copy or export the model again.");
    return {parts[0], parts[1]};
}

Metadata read_metadata(std::string_view file, const std::vector<Field>& fields, const std::string& path) {
    Metadata found;
    for (const Field& entry : fields) {
        if (entry.number != kMetadata) continue;
        if (found.manifest)
            throw model_error(path, ": metadata was added after the manifest, which must be the last entry; ",
                              "export the model again.");
        const auto [key, value] = entry_parts(file, entry, path);
        const std::string_view name = payload(file, key, kMostKeyBytes, path);
        if (name == kManifestKey) found.manifest = payload(file, value, kMostManifestBytes, path);
        if (name != kReferenceKey) continue;
        if (found.reference)
            throw model_error(path, ": the metadata key '", name, "' occurs twice; export the model again.");
        found.reference = payload(file, value, kMostReferenceBytes, path);
    }
    return found;
}

std::optional<std::string> read_reference(const Metadata& metadata, const Manifest& manifest, const std::string& path) {
    std::optional<std::string> reference;
    try {
        if (metadata.reference) reference = decode_base64(*metadata.reference);
    } catch (const JsonProblem& problem) {
        throw model_error(path, ": the embedded reference vectors are damaged (", problem.sentence,
                          "); copy or export the model again.");
    }
    const auto& expected = manifest.embedded_reference_sha256;
    const bool same = expected ? reference && sha256_of(*reference) == *expected : !reference;
    if (!same && (expected || manifest.format_version > 2))
        throw model_error(path, ": the embedded reference vectors are not those that were exported with it; ",
                          "copy or export the model again.");
    return reference;
}

std::string network_sha256(std::string_view file, const std::vector<Field>& fields) {
    Sha256 digest;
    for (const Field& field : fields)
        if (field.number != kMetadata) digest.update(file.substr(field.start, field.end - field.start));
    return digest.hex();
}

void refuse_weights_outside(std::string_view file, const std::string& path) {
    bool outside = false;
    try {
        outside = tensors_outside(file);
    } catch (const WireProblem& problem) {
        throw not_onnx(path, problem.sentence);
    }
    if (outside)
        throw model_error(path, ": the network has weights in another file, outside of its digest; expected a ",
                          "model file that is complete in itself; export the model again.");
}

int base64_value(char letter) {
    if ('A' <= letter && letter <= 'Z') return letter - 'A';
    if ('a' <= letter && letter <= 'z') return letter - 'a' + 26;
    if ('0' <= letter && letter <= '9') return letter - '0' + 52;
    return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

}  // namespace

ModelFile read_model_file(const std::string& path) {
    return read_model(read_file(path, kMostFileBytes, "the model file", kMadeBy), path);
}

ModelFile read_model(std::string content, const std::string& path) {
    const std::vector<Field> fields = model_fields(content, path);
    const Metadata metadata = read_metadata(content, fields, path);
    if (!metadata.manifest)
        throw model_error(path,
                          ": an ONNX file without an ast-edge manifest; make a model with `ast-edge export RUN -o ",
                          name_of(path), "`.");
    Manifest manifest = read_manifest(*metadata.manifest, path);
    std::optional<std::string> reference = read_reference(metadata, manifest, path);
    const std::string found = network_sha256(content, fields);
    if (found != manifest.network_sha256)
        throw model_error(path, ": the network is damaged or was changed after export (SHA-256 expected ",
                          manifest.network_sha256.substr(0, 12), "..., found ", found.substr(0, 12),
                          "...); copy or export the model again.");
    refuse_weights_outside(content, path);
    return {path, std::move(content), std::move(manifest), std::move(reference)};
}

std::string decode_base64(std::string_view text) {
    if (text.size() % 4 != 0) throw JsonProblem{"", "base64 of a length that is no multiple of four"};
    const std::size_t padding = text.empty() ? 0 : (text.back() == '=') + (text.substr(text.size() - 2) == "==");
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    std::uint32_t bits = 0;
    int count = 0;
    for (const char letter : text.substr(0, text.size() - padding)) {
        const int value = base64_value(letter);
        if (value < 0) throw JsonProblem{"", "a letter that is not of base64"};
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        count += 6;
        if (count < 8) continue;
        count -= 8;
        bytes += static_cast<char>(bits >> count & 0xFF);
    }
    return bytes;
}

}  // namespace ast_edge_impl
