// What is refused, and why: model files, manifests, sidecars, archives.
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>

#include "../src/engine_file.hpp"
#include "../src/error.hpp"
#include "../src/model.hpp"
#include "../src/model_file.hpp"
#include "../src/npz.hpp"
#include "../src/outside.hpp"
#include "../src/references.hpp"
#include "../src/safetensors.hpp"
#include "../src/sha256.hpp"
#include "../src/wire.hpp"
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
    return varint(static_cast<std::size_t>(number << 3 | 2)) + varint(payload.size()) + payload;
}

// The text of `content` with the digest of its bytes, or with the digest as it comes.
std::string text_of(const Json& content, bool sealed) {
    std::string body = content.dump();
    if (!sealed) return body;
    body.pop_back();
    return body + ",\"digest\":\"" + sha256_of(body) + "\"}";
}

// The model with another manifest.
std::string with_manifest(const std::function<void(Json&)>& change, bool sealed = true) {
    const std::string model = bytes_of(model_path("rgb"));
    const std::size_t at = model.rfind("ast_edge.manifest");
    const std::size_t text = model.find('{', at);
    Json manifest = Json::parse(model.substr(text));
    if (sealed) manifest.erase("digest");
    change(manifest);
    std::size_t entry = at;  // back to the tag 0x72 of the metadata field
    while (model[entry] != 0x72) --entry;
    return model.substr(0, entry) + field(14, field(1, "ast_edge.manifest") + field(2, text_of(manifest, sealed)));
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

TEST_CASE("no changed byte of a model goes unseen") {
    const std::string whole = bytes_of(model_path("rgb"));
    for (std::size_t at = 0; at < whole.size(); at += 53) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        INFO("byte " << at);
        CHECK_FALSE(refusal(changed).empty());
    }
}

TEST_CASE("other files are recognised and refused") {
    CHECK_THAT(refusal("a text"), ContainsSubstring("not an ONNX file"));
    CHECK_THAT(refusal(std::string(20, '\xff')), ContainsSubstring("not an ONNX file"));
    CHECK_THAT(refusal("\x08\x07" + field(2, "someone")), ContainsSubstring("no graph"));
    CHECK_THAT(refusal("\x08\x07" + field(7, "graph")), ContainsSubstring("without an ast-edge manifest"));
    CHECK_THAT(refusal("\x08\x07" + field(7, "graph").substr(0, 4)), ContainsSubstring("truncated"));
}

TEST_CASE("a manifest says everything and nothing else") {
    CHECK_THAT(refusal(with_manifest([](Json& m) { m["format_version"] = 4; })), ContainsSubstring("is newer than"));
    CHECK_THAT(refusal(with_manifest([](Json& m) { m["format_version"] = 1; })), ContainsSubstring("changed after"));
    CHECK_THAT(refusal(with_manifest([](Json& m) { m["threshold"]["value"] = 0.2; }, false)),
               ContainsSubstring("changed after it was written"));
    const auto refused = [](const std::function<void(Json&)>& change) { return refusal(with_manifest(change)); };
    CHECK_THAT(refused([](Json& m) { m["more"] = 1; }), ContainsSubstring("'more'"));
    CHECK_THAT(refused([](Json& m) { m.erase("created"); }), ContainsSubstring("'created'"));
    CHECK_THAT(refused([](Json& m) { m["threshold"]["value"] = "0.1"; }), ContainsSubstring("'threshold.value'"));
    CHECK_THAT(refused([](Json& m) { m["threshold"]["margin"] = -0.1; }), ContainsSubstring("'threshold.margin'"));
    CHECK_THAT(refused([](Json& m) { m["threshold"]["method"] = "guess"; }), ContainsSubstring("'threshold.method'"));
    CHECK_THAT(refused([](Json& m) {
                   m["threshold"]["method"] = "cross";
                   m["mode"] = "rgbx";
               }),
               ContainsSubstring("'mode'"));
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

TEST_CASE("a mask is one of this picture") {
    const std::string mask = std::string(170, 'A') + "g=";  // of 32x32 pixels, one of them marked
    const auto refused = [&](const std::function<void(Json&)>& change) {
        return refusal(with_manifest([&](Json& m) {
            m["preprocessing"]["roi"] = {{"inside", mask}, {"fill", {0, 128, 255}}};
            change(m["preprocessing"]);
        }));
    };
    CHECK(refused([](Json&) {}).empty());
    CHECK_THAT(refused([](Json& p) { p["roi"]["inside"] = "AAAg"; }), ContainsSubstring("'preprocessing.roi.inside'"));
    CHECK_THAT(refused([&](Json& p) { p["roi"]["inside"] = "!" + mask.substr(1); }), ContainsSubstring("roi.inside"));
    CHECK_THAT(refused([](Json& p) { p["roi"]["inside"] = std::string(171, 'A') + "="; }),
               ContainsSubstring("marks no pixel"));
    CHECK_THAT(refused([](Json& p) { p["roi"]["fill"] = {0, 1}; }), ContainsSubstring("'preprocessing.roi.fill'"));
    CHECK_THAT(refused([](Json& p) { p["roi"]["fill"] = {0, 1, 2.5}; }), ContainsSubstring("whole numbers"));
    CHECK_THAT(refused([](Json& p) { p["roi"]["more"] = 1; }), ContainsSubstring("'preprocessing.roi.more'"));
    CHECK_THAT(refused([](Json& p) { p["map_size"] = 5; }), ContainsSubstring("does not divide"));
    CHECK_THAT(refused([](Json& p) { p["depth"] = Json::object(); }), ContainsSubstring("belongs to mode rgb"));
}

TEST_CASE("JSON that is too deep is refused before it is walked through") {
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    CHECK_THROWS_AS(parse_object("{\"a\":" + deep + "}"), JsonProblem);
    CHECK_THROWS_AS(parse_object("[]"), JsonProblem);
    CHECK_THROWS_AS(parse_object("{\"a\":\"\xff\"}"), JsonProblem);
}

TEST_CASE("a sidecar that is no sidecar is refused") {
    CHECK_THROWS_AS(read_sidecar("", "s"), Error);
    CHECK_THROWS_AS(read_sidecar("{\"format_version\": 2}", "s"), Error);
    CHECK_THROWS_WITH(read_sidecar("{\"format_version\": 3}", "s"), ContainsSubstring("is newer than"));
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

namespace {

std::string earlier(const std::string& name) { return std::string(AST_EDGE_EARLIER) + "/" + name; }

// A safetensors file with this header and so many bytes behind it.
std::string safetensors(const std::string& header, std::size_t bytes) {
    std::string data(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) data[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
    return data + header + std::string(bytes, '\1');
}

std::string unsafe(const std::string& data) {
    try {
        read_safetensors(data);
    } catch (const JsonProblem& problem) {
        return problem.key + ": " + problem.sentence;
    }
    return "";
}

// The sidecar of an earlier engine as one of format 2, without its seal.
Json sidecar_content() {
    Json content = Json::parse(bytes_of(earlier("rgb.engine.json")));
    content.erase("digest");
    content["manifest"].erase("digest");
    content["format_version"] = 2;
    return content;
}

// A sidecar of format 2 with this source, sealed.
std::string sidecar_with(const std::string& source) {
    Json content = sidecar_content();
    content["source"] = source;
    return text_of(content, true);
}

// A sidecar of an engine of TensorRT for RTX with this list of compute capabilities, sealed.
std::string rtx_sidecar(const Json& capabilities) {
    Json content = sidecar_content();
    content["built_for"] = {
        {"tensorrt_rtx", "1.7.1.116"}, {"compute_capabilities", capabilities}, {"proof", "pending"}};
    content["kernels"] = nullptr;
    content["proven"] = nullptr;
    return text_of(content, true);
}

}  // namespace

TEST_CASE("vectors in a safetensors file") {
    const ModelFile file = read_model_file(model_path("rgb"));
    const std::string data = *file.embedded_reference;
    const Arrays arrays = read_safetensors(data);
    CHECK(arrays.at("image").spec.shape == std::vector<int>{3, 32, 32, 3});
    CHECK(arrays.at("anomaly_map").spec.type == Type::float32);
    for (std::size_t length = 0; length < data.size(); length += 61)
        CHECK_FALSE(unsafe(data.substr(0, length)).empty());
    CHECK(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 3)).empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 4)).empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}})", 4)).empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,3]}})", 3)).empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", 8)).empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[-3],"data_offsets":[0,3]}})", 3)).empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[2147483647,2147483647,4,2147483647],)"
                                   R"("data_offsets":[0,0]}})",
                                   0))
                    .empty());
    CHECK_FALSE(unsafe(safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                   R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                                   3))
                    .empty());
    CHECK_FALSE(unsafe(safetensors(std::string(1 << 17, ' '), 0)).empty());
}

TEST_CASE("vectors of another model, or too many, are refused") {
    const ModelFile rgb = read_model_file(model_path("rgb")), depth = read_model_file(model_path("depth"));
    CHECK(read_references(*rgb.embedded_reference, rgb.manifest, "r").at("score").spec.shape == std::vector<int>{3});
    CHECK_THROWS_WITH(read_references(*rgb.embedded_reference, depth.manifest, "r"), ContainsSubstring("do not fit"));
    const std::string many(largest_references(rgb.manifest) + 1, ' ');
    CHECK_THROWS_WITH(read_references(many, rgb.manifest, "r"), ContainsSubstring("at most"));
    CHECK_THROWS_WITH(read_references("{}", rgb.manifest, "r"), ContainsSubstring("cannot be used"));
}

TEST_CASE("a tensor in another file is found wherever it is") {
    const std::string tensor = field(13, "where"), attribute = field(5, tensor), node = field(5, attribute);
    for (const std::string& graph :
         {field(5, tensor), field(1, node), field(15, field(1, tensor)), field(1, field(5, field(6, field(1, node)))),
          field(1, field(5, field(22, field(2, tensor))))})
        CHECK(tensors_outside("\x08\x08" + field(7, graph)));
    CHECK(tensors_outside(field(25, field(7, node))));
    CHECK(tensors_outside(field(7, field(5, std::string("\x70\x01")))));
    CHECK_FALSE(tensors_outside(field(7, field(5, std::string("\x70\x00", 2)))));
    CHECK_FALSE(tensors_outside(field(7, field(5, field(9, "weights")))));
    CHECK_FALSE(tensors_outside(bytes_of(model_path("rgbd"))));
    std::string deep = field(5, tensor);
    for (int i = 0; i < 100; ++i) deep = field(1, field(5, field(6, deep)));
    CHECK_THROWS_AS(tensors_outside(field(7, deep)), WireProblem);
}

TEST_CASE("base64") {
    CHECK(decode_base64("YWI=") == "ab");
    CHECK_THROWS_AS(decode_base64("YW!="), JsonProblem);
    CHECK_THROWS_AS(decode_base64("YWI"), JsonProblem);
}

TEST_CASE("models and engines of version 0.1 are read") {
    for (const char* mode : {"rgb", "depth", "rgbd"}) {
        const ModelFile file = read_model_file(earlier(std::string(mode) + ".onnx"));
        CHECK(file.manifest.format_version == 2);
        CHECK(file.manifest.good_scores.size() == 40);
        CHECK(file.manifest.reference_threshold == file.manifest.threshold);
        std::string changed = file.content;
        const std::size_t at = changed.rfind("\"image_size\": 32");
        REQUIRE(at != std::string::npos);
        changed[at + 15] = '3';
        CHECK_THAT(refusal(changed), ContainsSubstring("changed after it was written"));
    }
    CHECK(read_engine_file(earlier("rgb.engine")).info.manifest.format_version == 2);
    std::string changed = bytes_of(earlier("rgb.engine.json"));
    changed.replace(changed.find("10.3.0"), 6, "10.3.1");
    CHECK_THROWS_WITH(read_sidecar(changed, "s"), ContainsSubstring("changed after it was written"));
}

TEST_CASE("vectors of version 0.1 are read where there is zlib, and refused in a sentence where not") {
    const ModelFile file = read_model_file(earlier("rgb.onnx"));
    const std::string npz = *file.embedded_reference;
    REQUIRE(is_npz(npz));
    if (!AST_EDGE_ZLIB) {
        CHECK_THROWS_WITH(read_references(npz, file.manifest, "r"), ContainsSubstring("built without zlib"));
        return;
    }
    CHECK(read_references(npz, file.manifest, "r").at("image").spec.shape == std::vector<int>{3, 32, 32, 3});
    for (std::size_t length = 0; length < npz.size(); length += 61)
        CHECK_THROWS_AS(read_npz(std::string_view(npz).substr(0, length), npz.size() * 100), std::runtime_error);
    CHECK_THROWS_WITH(read_npz(npz, 1000), ContainsSubstring("more bytes when unpacked"));
    CHECK(load_references(earlier("rgb.onnx"), file.manifest, std::nullopt).at("score").spec.shape[0] == 3);
}

TEST_CASE("an engine of TensorRT for RTX is read and refused in a sentence") {
    const EngineInfo info = read_sidecar(rtx_sidecar({"8.6", "8.9"}), "s");
    CHECK(info.built_for.rtx());
    CHECK(info.built_for.tensorrt == "1.7.1.116");
    CHECK(info.built_for.rtx_capabilities == std::vector<std::string>{"8.6", "8.9"});
    CHECK_THAT(build_command("a/b.engine", info), ContainsSubstring("-o a/b.engine --for rtx`"));
    CHECK_FALSE(read_sidecar(sidecar_with("rgb.onnx"), "s").built_for.rtx());
    for (const Json& list : {Json::array(), Json("8.9"), Json{8.9}, Json{"8.9", 8}})
        CHECK_THROWS_WITH(read_sidecar(rtx_sidecar(list), "s"), ContainsSubstring("compute_capabilities"));

    const std::string path = "ast_edge_test.rtx.engine";
    std::ofstream(path, std::ios::binary) << bytes_of(earlier("rgb.engine"));
    std::ofstream(path + ".json", std::ios::binary) << rtx_sidecar({"8.9"});
    CHECK_THROWS_WITH(Model::open(path, ast_edge_options{}),
                      ContainsSubstring("is an engine of TensorRT for RTX 1.7.1.116, which") &&
                          ContainsSubstring("run it with the Python package"));
    std::remove(path.c_str());
    std::remove((path + ".json").c_str());
}

TEST_CASE("text of files cannot command a terminal") {
    CHECK(std::string(model_error("gpu \x1b[31m\r\x7f").what()) == "gpu \\x1b[31m\\x0d\\x7f");
    CHECK(std::string(model_error("\xC2\x9B"
                                  "1m \xE2\x80\xAE")
                          .what()) == "\\x9b1m \\u202e");
    const std::string plain = "a\tb\nGröße 部品 µm €";
    CHECK(model_error(plain).what() == plain);
}

TEST_CASE("the source of an engine is the name of a file") {
    CHECK(read_sidecar(sidecar_with("rgb.onnx"), "s").source == "rgb.onnx");
    for (const std::string& source : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                      std::string("a\0b", 3), std::string(256, 'a')})
        CHECK_THROWS_WITH(read_sidecar(sidecar_with(source), "s"), ContainsSubstring("'source'"));
}
