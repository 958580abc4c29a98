// ast_edge_cli: inspects pictures or folders and prints a line of JSON for each, with the keys of
// `ast-edge inspect --json`; or proves that the engine reproduces the model's reference vectors.
#include <ast_edge/ast_edge.hpp>
#include <cmath>
#include <cstring>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "pictures.hpp"

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kUsage =
    "usage: ast_edge_cli inspect MODEL PICTURE_OR_FOLDER... [--threads N]\n"
    "       ast_edge_cli verify MODEL [--threads N]\n"
    "       ast_edge_cli info MODEL\n";
constexpr const char* kVerdicts[] = {"fault", "pass", "reject"};

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json described(const std::string& path, const ast_edge::Result& result) {
    return {{"path", path},
            {"verdict", kVerdicts[static_cast<int>(result.verdict)]},
            {"score", number(result.score)},
            {"threshold", number(result.threshold)},
            {"p_value", number(result.p_value)},
            {"reason", result.reason}};
}

ast_edge::Result inspected(ast_edge::Model& model, const ast_edge::Info& info, const std::string& path) {
    ast_edge::Result result;
    try {
        const FilePart part(path, info.mode);
        model.judge(part.part(), result);
    } catch (const std::runtime_error& error) {
        result.reason = error.what();
        result.threshold = info.threshold;
        result.status = AST_EDGE_FRAME;
    }
    return result;
}

// 0 when every part passed, 3 when one was rejected or is a fault.
int inspect(ast_edge::Model& model, const std::vector<std::string>& paths) {
    const ast_edge::Info info = model.info();
    bool all_pass = true;
    for (const std::string& path : find_pictures(paths)) {
        const ast_edge::Result result = inspected(model, info, path);
        if (result.status == AST_EDGE_BACKEND) throw ast_edge::Error(result.status, result.reason.c_str());
        all_pass = all_pass && result.verdict == ast_edge::Verdict::pass;
        std::cout << described(path, result).dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
    }
    return all_pass ? 0 : 3;
}

int verify(ast_edge::Model& model) {
    const ast_edge::Parity parity = model.verify();
    const Json report = {{"engine", model.info().engine},
                         {"vectors", parity.vectors},
                         {"max_relative_score_error", parity.max_relative_score_error},
                         {"max_absolute_map_error", parity.max_absolute_map_error},
                         {"tolerance", parity.tolerance},
                         {"flipped_verdicts", parity.flipped_verdicts},
                         {"held_out_within_margin", parity.undecided_parts}};
    std::cout << report.dump() << '\n';
    return 0;
}

int tell(const ast_edge::Info& info) {
    constexpr const char* kModes[] = {"rgb", "depth", "rgbd"};
    constexpr const char* kPrecisions[] = {"fp32", "fp16", "int8"};
    const Json report = {{"model_id", info.model_id},
                         {"mode", kModes[static_cast<int>(info.mode)]},
                         {"precision", kPrecisions[static_cast<int>(info.precision)]},
                         {"image_size", info.image_size},
                         {"map_size", info.map_size},
                         {"batch", info.batch},
                         {"threshold", info.threshold},
                         {"engine", info.engine}};
    std::cout << report.dump() << '\n';
    return 0;
}

int run(std::vector<std::string> words) {
    ast_edge::Options options;
    if (words.size() >= 2 && words[words.size() - 2] == "--threads") {
        options.threads = std::stoi(words.back());
        words.resize(words.size() - 2);
    }
    const bool fits = words.size() >= 2 && (words[0] == "inspect" ? words.size() >= 3 : words.size() == 2);
    if (!fits || (words[0] != "inspect" && words[0] != "verify" && words[0] != "info")) {
        std::cerr << kUsage;
        return 2;
    }
    ast_edge::Model model(words[1], options);
    if (words[0] == "verify") return verify(model);
    if (words[0] == "info") return tell(model.info());
    return inspect(model, {words.begin() + 2, words.end()});
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::cerr << "ast_edge_cli: error: " << error.what() << '\n';
        return 1;
    }
}
