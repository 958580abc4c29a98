// A TensorRT plan and what stands beside it; ast_edge/model/engine_file.py says what that must be.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"

namespace ast_edge_impl {

// Size and SHA-256 of a file.
struct Content {
    std::uint64_t bytes = 0;
    std::string sha256;
};

struct KernelsContent {
    Content file;
    std::string source_sha256, architecture;
};

// The machine that a plan was built on; versions as the libraries tell them. A plan of TensorRT for RTX is built on any
// machine: it has that library's version in `tensorrt`, and the compute capabilities that it serves.
struct BuiltFor {
    std::string gpu, compute_capability, tensorrt;
    std::vector<std::string> rtx_capabilities = {};

    bool rtx() const { return !rtx_capabilities.empty(); }
};

struct BuildFacts {
    int least = 1, most = 1;  // parts at once
    bool version_compatible = false, hardware_compatible = false;

    int batch() const { return least == most ? least : -1; }
};

// The sidecar.
struct EngineInfo {
    std::string source;  // name of the ONNX file
    Manifest manifest;
    Content plan;
    std::optional<KernelsContent> kernels;
    BuiltFor built_for;
    BuildFacts build;
};

// An engine file that passed every check that needs no GPU.
struct EngineFile {
    std::string path;
    EngineInfo info;
    std::string plan, kernels;
};

// Both throw Error(AST_EDGE_MODEL).
EngineFile read_engine_file(const std::string& path);
EngineInfo read_sidecar(std::string_view text, const std::string& where);

// The command that builds the engine again, in backticks.
std::string build_command(const std::string& path, const EngineInfo& info);

// In words why a plan must not be loaded on `machine`; empty when it may.
std::string why_unfit(const EngineInfo& info, const BuiltFor& machine);

}  // namespace ast_edge_impl
