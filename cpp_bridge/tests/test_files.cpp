// What is refused, and why: model files, manifests, sidecars, archives.
#include <fstream>
#include <functional>
#include <iterator>

#include "../src/archive.hpp"
#include "../src/engine_file.hpp"
#include "../src/error.hpp"
#include "../src/model_file.hpp"
#include "catch.hpp"
#include "parts.hpp"

using namespace ast_edge_impl;

namespace {

std::string bytes_of(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::string refusal(const std::string& content) {
    try {
        read_model(content, "m.onnx");
    } catch (const Error& error) {
        CHECK(error.status() == AST_EDGE_MODEL);
        return error.what();
    }
    return "";
}

std::string varint(std::size_t value) {
    std::string bytes;
    for (; value > 127; value >>= 7) bytes += static_cast<char>((value & 127) | 128);
    return bytes + static_cast<char>(value);
}

std::string field(int number, const std::string& payload) {
    return static_cast<char>(number << 3 | 2) + varint(payload.size()) + payload;
}

// The model with another manifest, sealed or with the digest as it comes.
std::string with_manifest(const std::function<void(Json&)>& change, bool sealed = true) {
    const std::string model = bytes_of(model_path("rgb"));
    const std::size_t at = model.rfind("ast_edge.manifest");
    const std::size_t text = model.find('{', at);
    Json manifest = Json::parse(model.substr(text));
    if (sealed) manifest.erase("digest");
    change(manifest);
    if (sealed) manifest["digest"] = digest_of(manifest);
    std::size_t entry = at;  // back to the tag 0x72 of the metadata field
    while (model[entry] != 0x72) --entry;
    return model.substr(0, entry) + field(14, field(1, "ast_edge.manifest") + field(2, manifest.dump()));
}

}  // namespace

TEST_CASE("a model file is read as it was written") {
    const ModelFile file = read_model_file(model_path("rgbd"));
    CHECK(file.manifest.model_id == "tiny-rgbd");
    CHECK(file.manifest.mode == Mode::rgbd);
    CHECK(file.manifest.threshold == 0.1);
    CHECK(file.manifest.batch() == 1);
    CHECK(file.manifest.preprocessing.depth->foreground_min_m == 0.007);
    CHECK(file.embedded_reference);
    CHECK(refusal(with_manifest([](Json&) {})).empty());
}

TEST_CASE("no cut at the end of a model goes unseen") {
    const std::string whole = bytes_of(model_path("rgb"));
    for (std::size_t length = 0; length < whole.size(); length += length < 200 ? 1 : 97)
        CHECK_FALSE(refusal(whole.substr(0, length)).empty());
    CHECK_THAT(refusal(whole.substr(0, whole.size() - 1)), ContainsSubstring("truncated"));
    CHECK_THAT(refusal(whole + field(14, field(1, "a") + field(2, "b"))), ContainsSubstring("after the manifest"));
}

TEST_CASE("no changed byte of network and manifest goes unseen") {
    const std::string whole = bytes_of(model_path("rgb"));
    // The tiny models' manifests say nothing about the vectors that travel between the two.
    const std::size_t vectors = whole.find("ast_edge.reference"), manifest = whole.rfind("ast_edge.manifest");
    for (std::size_t at = 0; at < whole.size(); at += 53) {
        if (vectors < at && at < manifest) continue;
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        INFO("byte " << at);
        CHECK_FALSE(refusal(changed).empty());
    }
}

TEST_CASE("other files are told apart") {
    CHECK_THAT(refusal("a text"), ContainsSubstring("not an ONNX file"));
    CHECK_THAT(refusal(std::string(20, '\xff')), ContainsSubstring("not an ONNX file"));
    CHECK_THAT(refusal("\x08\x07" + field(2, "someone")), ContainsSubstring("no graph"));
    CHECK_THAT(refusal("\x08\x07" + field(7, "graph")), ContainsSubstring("without an ast-edge manifest"));
    CHECK_THAT(refusal("\x08\x07" + field(7, "graph").substr(0, 4)), ContainsSubstring("truncated"));
}

TEST_CASE("a manifest says everything and nothing else") {
    CHECK_THAT(refusal(with_manifest([](Json& m) { m["format_version"] = 3; })), ContainsSubstring("is newer than"));
    CHECK_THAT(refusal(with_manifest([](Json& m) { m["threshold"]["value"] = 0.2; }, false)),
               ContainsSubstring("changed after it was written"));
    const auto refused = [](const std::function<void(Json&)>& change) { return refusal(with_manifest(change)); };
    CHECK_THAT(refused([](Json& m) { m["more"] = 1; }), ContainsSubstring("'more'"));
    CHECK_THAT(refused([](Json& m) { m.erase("created"); }), ContainsSubstring("'created'"));
    CHECK_THAT(refused([](Json& m) { m["threshold"]["value"] = "0.1"; }), ContainsSubstring("'threshold.value'"));
    CHECK_THAT(refused([](Json& m) { m["mode"] = "rgbx"; }), ContainsSubstring("'mode'"));
    CHECK_THAT(refused([](Json& m) { m["mode"] = "depth"; }), ContainsSubstring("'preprocessing.depth'"));
    CHECK_THAT(refused([](Json& m) { m["aggregation"] = "top17"; }), ContainsSubstring("'aggregation'"));
    CHECK_THAT(refused([](Json& m) { m["inputs"][0]["shape"][1] = 33; }), ContainsSubstring("do not belong"));
    CHECK_THAT(refused([](Json& m) { m["network_sha256"] = "12"; }), ContainsSubstring("'network_sha256'"));
    CHECK_THAT(refused([](Json& m) { m["preprocessing"]["image_size"] = 1e30; }), ContainsSubstring("image_size"));
    CHECK_THAT(refused([](Json& m) { m["preprocessing"]["image_size"] = UINT64_MAX; }),
               ContainsSubstring("image_size"));
    CHECK_THAT(refused([](Json& m) { m["inputs"] = Json::array(); }), ContainsSubstring("'inputs'"));
    CHECK_THAT(refused([](Json& m) { m["network_sha256"] = std::string(64, '0'); }), ContainsSubstring("damaged"));
}

TEST_CASE("JSON that is too deep is refused before it is walked through") {
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    CHECK_THROWS_AS(parse_object("{\"a\":" + deep + "}"), JsonProblem);
    CHECK_THROWS_AS(parse_object("[]"), JsonProblem);
    CHECK_THROWS_AS(parse_object("{\"a\":\"\xff\"}"), JsonProblem);
}

TEST_CASE("a sidecar that is no sidecar is refused") {
    CHECK_THROWS_AS(read_sidecar("", "s"), Error);
    CHECK_THROWS_AS(read_sidecar("{\"format_version\": 1}", "s"), Error);
    CHECK_THROWS_WITH(read_sidecar("{\"format_version\": 2}", "s"), ContainsSubstring("is newer than"));
    CHECK_THROWS_WITH(read_engine_file("nothing.engine"), ContainsSubstring("build-engine"));
}

TEST_CASE("an engine goes to the machine that it was built for") {
    EngineInfo info{"model.onnx", {}, {}, std::nullopt, {"Orin", "8.7", "10.3.0"}, {}};
    const auto why = [&](const char* gpu, const char* capability, const char* tensorrt) {
        return why_unfit(info, {gpu, capability, tensorrt});
    };
    CHECK(why("Orin", "8.7", "10.3.0").empty());
    CHECK_THAT(why("Orin", "8.7", "10.4.0"), ContainsSubstring("TensorRT 10.3.0"));
    CHECK_THAT(why("Xavier", "7.2", "10.3.0"), ContainsSubstring("built for Orin"));
    info.build.version_compatible = true;
    CHECK(why("Orin", "8.7", "10.4.0").empty());
    CHECK_FALSE(why("Orin", "8.7", "10.2.9").empty());
    info.build.hardware_compatible = true;
    CHECK(why("Thor", "11.0", "11.0").empty());
    CHECK_FALSE(why("Xavier", "7.2", "10.3.0").empty());
}

TEST_CASE("archives of vectors") {
    const ModelFile file = read_model_file(model_path("rgb"));
    const std::string npz = *file.embedded_reference;
    const auto arrays = read_npz(npz);
    CHECK(arrays.at("image").spec.shape == std::vector<int>{3, 32, 32, 3});
    CHECK(arrays.at("anomaly_map").spec.type == Type::float32);
    for (std::size_t length = 0; length < npz.size(); length += 61)
        CHECK_THROWS_AS(read_npz(std::string_view(npz).substr(0, length)), std::runtime_error);
    CHECK(decode_base64("YWI=") == "ab");
    CHECK_THROWS_AS(decode_base64("YW!="), JsonProblem);
    CHECK_THROWS_AS(decode_base64("YWI"), JsonProblem);
}
