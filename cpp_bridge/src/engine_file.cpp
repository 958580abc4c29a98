#include "engine_file.hpp"

#include <vector>

#include "error.hpp"
#include "file.hpp"
#include "model_file.hpp"
#include "sha256.hpp"

namespace ast_edge_impl {
namespace {

constexpr int kFormatVersion = 2, kOldestVersion = 1;
constexpr std::size_t kMostNameBytes = 255;
constexpr std::uint64_t kMostSidecarBytes = 32 << 20, kMostPlanBytes = std::uint64_t{16} << 30;
constexpr const char* kMadeBy = "an engine made by `ast-edge build-engine model.onnx`";

Content read_size(Reader& reader) {
    const Json& bytes = reader.member("bytes");
    if (!bytes.is_number_unsigned() || bytes.get<std::uint64_t>() == 0)
        throw JsonProblem{reader.path("bytes"), "expected a positive whole number"};
    return {bytes.get<std::uint64_t>(), reader.sha256("sha256")};
}

Content read_content(Reader reader) {
    Content content = read_size(reader);
    reader.done();
    return content;
}

KernelsContent read_kernels(Reader reader) {
    KernelsContent kernels{read_size(reader), reader.sha256("source_sha256"), reader.text("architecture")};
    reader.done();
    return kernels;
}

BuiltFor read_built_for_rtx(Reader reader) {
    BuiltFor built{"", "", reader.text("tensorrt_rtx")};
    const Json& capabilities = reader.member("compute_capabilities");
    for (const Json& one : capabilities)
        if (one.is_string()) built.rtx_capabilities.push_back(one.get<std::string>());
    if (!capabilities.is_array() || !built.rtx() || built.rtx_capabilities.size() != capabilities.size())
        throw JsonProblem{reader.path("compute_capabilities"), "expected a list of compute capabilities"};
    reader.choice("proof", {"pending"});
    reader.done();
    return built;
}

BuiltFor read_built_for(Reader reader) {
    if (reader.given("tensorrt_rtx")) return read_built_for_rtx(std::move(reader));
    BuiltFor machine{reader.text("gpu"), reader.text("compute_capability"), reader.text("tensorrt")};
    reader.text("driver");
    reader.boolean("integrated");
    reader.done();
    return machine;
}

void read_batch(Reader reader, BuildFacts& build) {
    build.least = reader.integer("least", 1);
    reader.integer("usual", 1);
    build.most = reader.integer("most", 1);
    reader.done();
    if (build.least > build.most) throw JsonProblem{"build.batch", "expected a range that rises"};
}

BuildFacts read_build(Reader reader) {
    BuildFacts build;
    reader.choice("precision", {"fp32", "fp16", "int8"});
    read_batch(reader.object("batch"), build);
    reader.integer("workspace_mib", 1);
    for (const char* name : {"optimization_level", "dla_core", "dla_fallback_layers"})
        if (reader.has(name)) reader.integer(name, INT32_MIN);
    if (reader.given("version_compatible")) build.version_compatible = reader.boolean("version_compatible");
    if (reader.given("hardware_compatible")) build.hardware_compatible = reader.boolean("hardware_compatible");
    reader.done();
    return build;
}

void check_proven(Reader reader) {
    reader.integer("vectors", 1);
    for (const char* name : {"max_relative_score_error", "max_absolute_map_error", "tolerance"}) reader.number(name, 0);
    reader.done();
}

// The name of a file without its folder.
std::string read_name(Reader& reader, const std::string& key) {
    const std::string name = reader.text(key);
    const bool plain = !name.empty() && name != "." && name != ".." && name.size() <= kMostNameBytes &&
                       name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
    if (!plain) throw JsonProblem{key, concat("expected a file name of at most ", kMostNameBytes, " bytes")};
    return name;
}

EngineInfo read_info(const Json& content, Manifest manifest) {
    Reader reader(content);
    EngineInfo info{read_name(reader, "source"),
                    std::move(manifest),
                    read_content(reader.object("plan")),
                    std::nullopt,
                    read_built_for(reader.object("built_for")),
                    read_build(reader.object("build"))};
    if (!reader.member("kernels").is_null()) info.kernels = read_kernels(reader.object("kernels"));
    if (!reader.member("proven").is_null()) check_proven(reader.object("proven"));
    reader.integer("format_version", kOldestVersion, kFormatVersion);
    for (const char* name : {"built", "ast_edge"}) reader.text(name);
    reader.done();
    return info;
}

int checked_version(const Json& content, const std::string& where) {
    const int version = format_version(content);
    if (version > kFormatVersion)
        throw model_error(where, ": engine format ", version, " is newer than format ", kFormatVersion,
                          ", the newest this version of ast-edge reads; upgrade ast-edge on this machine or build the ",
                          "engine again.");
    return version;
}

// The file at `path`, if it is the one that the sidecar expects.
std::string checked(const std::string& path, const Content& expected, const std::string& what,
                    const std::string& command) {
    std::string content = read_file(path, kMostPlanBytes, what, kMadeBy);
    std::string reason;
    if (content.size() != expected.bytes)
        reason =
            concat(content.size(), " bytes, the sidecar expects ", expected.bytes, ": truncated or of another build");
    else if (const std::string found = sha256_of(content); found != expected.sha256)
        reason = concat("SHA-256 ", found.substr(0, 12), "..., the sidecar expects ", expected.sha256.substr(0, 12),
                        "...: of another build");
    if (reason.empty()) return content;
    throw model_error(path, ": ", what, " is not the one that was built (", reason, "); build it again: ", command,
                      ".");
}

// An engine beside a newer export of its model is stale.
void check_source(const std::string& path, const EngineInfo& info, const std::string& command) {
    const std::string source = folder_of(path) + info.source;
    if (!exists(source)) return;
    const std::string found = read_model_file(source).manifest.network_sha256;
    if (found == info.manifest.network_sha256) return;
    throw model_error(path, ": was built from another ", info.source, " than the one beside it (network ",
                      info.manifest.network_sha256.substr(0, 12), "..., found ", found.substr(0, 12),
                      "...); build it again: ", command, ".");
}

// The leading numbers of a version: 10, 3, 0 of "10.3.0.post1".
std::vector<int> version_numbers(const std::string& text) {
    std::vector<int> numbers;
    std::size_t start = 0;
    while (start < text.size()) {
        const std::size_t end = std::min(text.find('.', start), text.size());
        const std::string part = text.substr(start, end - start);
        if (part.empty() || part.size() > 8 || part.find_first_not_of("0123456789") != std::string::npos) break;
        numbers.push_back(std::stoi(part));
        start = end + 1;
    }
    return numbers;
}

std::string wrong_tensorrt(const EngineInfo& info, const BuiltFor& machine) {
    const std::string& built = info.built_for.tensorrt;
    if (!info.build.version_compatible) {
        // The library reports three numbers, the Python package has a fourth since 10.x.
        std::vector<int> have = version_numbers(machine.tensorrt), need = version_numbers(built);
        have.resize(3);
        need.resize(3);
        if (have == need) return "";
        return concat("it was built with TensorRT ", built, ", this machine has ", machine.tensorrt);
    }
    std::vector<int> have = version_numbers(machine.tensorrt), need = version_numbers(built);
    have.resize(2);
    need.resize(2);
    if (have >= need) return "";
    return concat("it was built with TensorRT ", built, ", this machine has the older ", machine.tensorrt);
}

}  // namespace

EngineFile read_engine_file(const std::string& path) {
    if (!exists(path)) throw model_error(path, ": there is no such file; expected ", kMadeBy, ".");
    const std::string sidecar = path + ".json";
    EngineInfo info = read_sidecar(read_file(sidecar, kMostSidecarBytes, "the engine's sidecar", kMadeBy), sidecar);
    const std::string command = build_command(path, info);
    std::string plan = checked(path, info.plan, "the plan", command), kernels;
    if (info.kernels) kernels = checked(path + ".cubin", info.kernels->file, "the kernels", command);
    check_source(path, info, command);
    return {path, std::move(info), std::move(plan), std::move(kernels)};
}

EngineInfo read_sidecar(std::string_view text, const std::string& where) {
    try {
        Json content = parse_object(text);
        if (!seal_holds(text, content, checked_version(content, where) < kFormatVersion))
            throw JsonProblem{"", "it was changed after it was written (its digest does not match)"};
        content.erase("digest");
        Json described = content.value("manifest", Json());
        if (!described.is_object()) throw JsonProblem{"manifest", "expected an object"};
        described.erase("digest");  // of sidecars of format 1
        Manifest manifest = read_manifest(described, where);
        content.erase("manifest");
        return read_info(content, std::move(manifest));
    } catch (const JsonProblem& problem) {
        const std::string key = problem.key.empty() ? "" : "key '" + problem.key + "': ";
        throw model_error(where, ": the engine's sidecar is damaged: ", key, problem.sentence,
                          "; build the engine again with `ast-edge build-engine`.");
    }
}

std::string build_command(const std::string& path, const EngineInfo& info) {
    const char* kind = info.built_for.rtx() ? " --for rtx`" : "`";
    return concat("`ast-edge build-engine ", folder_of(path), info.source, " -o ", path, kind);
}

std::string why_unfit(const EngineInfo& info, const BuiltFor& machine) {
    if (std::string why = wrong_tensorrt(info, machine); !why.empty()) return why;
    const BuiltFor& built = info.built_for;
    if (info.build.hardware_compatible) {
        std::vector<int> have = version_numbers(machine.compute_capability);
        have.resize(2);
        if (have >= std::vector<int>{8, 0}) return "";
        return concat("it needs a GPU from Ampere on (8.0), this one has ", machine.compute_capability);
    }
    if (machine.gpu == built.gpu && machine.compute_capability == built.compute_capability) return "";
    return concat("it was built for ", built.gpu, " (", built.compute_capability, "), this machine has ", machine.gpu,
                  " (", machine.compute_capability, ")");
}

}  // namespace ast_edge_impl
