// Whatever lies in a file: it is read, or refused with the right status, and never more. The first byte of the input
// says what the rest is.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "../src/engine_file.hpp"
#include "../src/error.hpp"
#include "../src/model_file.hpp"
#include "../src/npz.hpp"
#include "../src/safetensors.hpp"
#include "../src/sha256.hpp"

namespace {

using namespace ast_edge_impl;

// With the seal that it should have, of its bytes or of its canonical form up to version `earlier`: so the fuzzer gets
// behind it.
std::string sealed(std::string_view text, int earlier) {
    Json content = parse_object(text);
    content.erase("digest");
    const auto version = content.find("format_version");
    if (version != content.end() && version->is_number_integer() && version->get<int>() <= earlier) {
        content["digest"] = canonical_digest(content);
        return content.dump();
    }
    std::string body = content.dump();
    body.pop_back();
    return body + ",\"digest\":\"" + sha256_of(body) + "\"}";
}

void open_file(std::string_view content) {
    const std::string path = "fuzz_" + std::to_string(std::rand() % 4) + ".onnx";
    std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    ast_edge_model* model = nullptr;
    const ast_edge_status status = ast_edge_open(path.c_str(), nullptr, &model);
    // There is no engine in this build: a model that is right is refused by that.
    if (status != AST_EDGE_MODEL && status != AST_EDGE_BACKEND) std::abort();
    if (model != nullptr || *ast_edge_last_error() == '\0') std::abort();
    std::remove(path.c_str());
}

void read(char kind, std::string_view content) {
    switch (kind) {
        case 'm': read_model(std::string(content), "m"); return;
        case 'j': read_manifest(content, "j"); return;
        case 's': read_manifest(std::string_view(sealed(content, 2)), "s"); return;
        case 'e': read_sidecar(content, "e"); return;
        case 'f': read_sidecar(sealed(content, 1), "f"); return;
        case 'z': read_npz(content, 1 << 24); return;
        case 't': read_safetensors(content); return;
        case 'b': decode_base64(content); return;
        default: open_file(content);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return -1;
    const std::string_view content(reinterpret_cast<const char*>(data) + 1, size - 1);
    try {
        read(static_cast<char>(data[0]), content);
    } catch (const Error& error) {
        if (error.status() != AST_EDGE_MODEL) throw;
    } catch (const JsonProblem&) {  // of `sealed`, `read_safetensors` and `decode_base64`
    } catch (const std::runtime_error&) {
        if (data[0] != 'z') throw;
    }
    return 0;
}
