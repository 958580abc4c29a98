// ast_edge_bench: what inspecting one frame takes, stage by stage, as JSON.
#include <algorithm>
#include <ast_edge/ast_edge.hpp>
#include <charconv>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using Times = std::vector<double>;

constexpr int kSchemaVersion = 1;
constexpr const char* kUsage =
    "usage: ast_edge_bench MODEL [--frame WIDTHxHEIGHT] [--iterations N] [--threads N] [--raw FILE] [--serve]\n"
    "--raw takes the RGB pixels of the frame from a file; without it they are noise, which trained models may not "
    "judge.\n"
    "--serve inspects one frame for every line read and answers with a line: total_ms preprocess_ms engine_ms "
    "score_ms.\n";

struct Settings {
    std::string model, raw;
    std::uint32_t width = 400, height = 400;
    int iterations = 1000, threads = 0;
    bool serve = false;
};

struct Pixels {
    explicit Pixels(const Settings& settings)
        : rgb(std::size_t{3} * settings.width * settings.height), depth(std::size_t{settings.width} * settings.height) {
        read_or_make(settings);
        for (std::size_t y = 0; y < settings.height; ++y)
            for (std::size_t x = 0; x < settings.width; ++x) {
                const bool part = settings.height / 4 < y && y < settings.height * 3 / 4 && settings.width / 4 < x &&
                                  x < settings.width * 3 / 4;
                depth[y * settings.width + x] = part ? 0.48f : 0.50f;
            }
    }
    void read_or_make(const Settings& settings) {
        if (settings.raw.empty()) {
            std::mt19937 random(0);
            for (unsigned char& value : rgb) value = static_cast<unsigned char>(96 + random() % 64);
            return;
        }
        std::ifstream file(settings.raw, std::ios::binary);
        if (!file.read(reinterpret_cast<char*>(rgb.data()), static_cast<std::streamsize>(rgb.size())))
            throw std::runtime_error(settings.raw + ": cannot be read, or has fewer bytes than the frame");
    }

    std::vector<unsigned char> rgb;
    std::vector<float> depth;
};

ast_edge::Part part_of(const Pixels& pixels, const Settings& settings, ast_edge::Mode mode) {
    const ast_edge::Frame frame{pixels.rgb.data(), settings.width, settings.height, ast_edge::Format::rgb};
    const ast_edge::DepthMap depth(pixels.depth.data(), settings.width, settings.height);
    if (mode == ast_edge::Mode::rgb) return frame;
    if (mode == ast_edge::Mode::depth) return depth;
    return {frame, depth};
}

struct Measured {
    double total, preprocess, engine, score;
};

Measured measure(ast_edge::Model& model, const ast_edge::Part& part, ast_edge::Result& result) {
    const auto started = Clock::now();
    model.judge(part, result);
    const double total = std::chrono::duration<double, std::milli>(Clock::now() - started).count();
    if (result.status != AST_EDGE_OK) throw ast_edge::Error(result.status, result.reason.c_str());
    return {total, result.preprocess_ms, result.engine_ms, result.score_ms};
}

// As numpy.percentile: between the two nearest where it falls between them.
double quantile(const Times& sorted, double share) {
    const double at = share * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// Null where fewer than ten measurements lie beyond it: it would be the whim of a few. One in `beyond` lies there.
Json supported(const Times& sorted, std::size_t beyond) {
    if (sorted.size() < 10 * beyond) return nullptr;
    return quantile(sorted, 1.0 - 1.0 / static_cast<double>(beyond));
}

Json percentiles(Times times) {
    std::sort(times.begin(), times.end());
    double sum = 0;
    for (const double time : times) sum += time;
    return {{"min", times.front()},           {"mean", sum / static_cast<double>(times.size())},
            {"p50", supported(times, 2)},     {"p90", supported(times, 10)},
            {"p95", supported(times, 20)},    {"p99", supported(times, 100)},
            {"p999", supported(times, 1000)}, {"max", times.back()}};
}

void run(ast_edge::Model& model, const ast_edge::Part& part, const Settings& settings) {
    ast_edge::Result result;
    for (int i = 0; i < 20; ++i) measure(model, part, result);
    std::map<std::string, Times> stages;
    Times totals, outside, beside;
    for (int i = 0; i < settings.iterations; ++i) {
        const Measured times = measure(model, part, result);
        stages["preprocess"].push_back(times.preprocess);
        stages["engine"].push_back(times.engine);
        stages["score"].push_back(times.score);
        totals.push_back(times.total);
        outside.push_back(times.total - times.engine);
        beside.push_back(times.total - times.preprocess - times.engine - times.score);
    }
    Json told = {{"schema_version", kSchemaVersion}, {"benchmark", "latency"}};
    for (const char* name : {"preprocess", "engine", "score"}) told["stages_ms"][name] = percentiles(stages[name]);
    told["total_ms"] = percentiles(totals);
    told["throughput_per_s"] = 1000.0 / told["total_ms"]["mean"].get<double>();
    told["count"] = settings.iterations;
    told["beside_stages_ms"] = percentiles(beside);
    told["outside_engine_ms"] = percentiles(outside);
    told["language"] = "C++";
    told["engine"] = model.info().engine;
    told["model_id"] = model.info().model_id;
    const bool frame = model.info().mode != ast_edge::Mode::depth, depth = model.info().mode != ast_edge::Mode::rgb;
    told["threads"] = settings.threads > 0 ? Json(settings.threads) : Json(nullptr);
    told["frame"] = {{"width", settings.width}, {"height", settings.height}};
    told["frame"]["colour"] = frame ? Json("rgb") : Json(nullptr);
    told["frame"]["depth"] = depth;
    told["judged"] = result.verdict != ast_edge::Verdict::fault;
    std::cout << told.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
}

void serve(ast_edge::Model& model, const ast_edge::Part& part) {
    ast_edge::Result result;
    std::string line;
    while (std::getline(std::cin, line)) {
        const Measured times = measure(model, part, result);
        std::cout << times.total << ' ' << times.preprocess << ' ' << times.engine << ' ' << times.score << std::endl;
    }
}

// A whole number of at least `least`; throws the usage for anything else.
int number(const std::string& word, int least) {
    int value = 0;
    const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (problem != std::errc() || end != word.data() + word.size() || value < least)
        throw std::invalid_argument(kUsage);
    return value;
}

Settings parsed(int argc, char** argv) {
    if (argc < 2) throw std::invalid_argument(kUsage);
    Settings settings;
    settings.model = argv[1];
    for (int i = 2; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--serve") {
            settings.serve = true;
            continue;
        }
        if (i + 1 == argc) throw std::invalid_argument(kUsage);
        const std::string value = argv[++i];
        if (word == "--raw")
            settings.raw = value;
        else if (word == "--iterations")
            settings.iterations = number(value, 1);
        else if (word == "--threads")
            settings.threads = number(value, 0);
        else if (word == "--frame" && value.find('x') != std::string::npos) {
            settings.width = static_cast<std::uint32_t>(number(value.substr(0, value.find('x')), 1));
            settings.height = static_cast<std::uint32_t>(number(value.substr(value.find('x') + 1), 1));
        } else
            throw std::invalid_argument(kUsage);
    }
    return settings;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Settings settings = parsed(argc, argv);
        ast_edge::Options options;
        options.threads = settings.threads;
        ast_edge::Model model(settings.model, options);
        const Pixels pixels(settings);
        const ast_edge::Part part = part_of(pixels, settings, model.info().mode);
        settings.serve ? serve(model, part) : run(model, part, settings);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "ast_edge_bench: error: " << error.what() << '\n';
        return 1;
    }
}
