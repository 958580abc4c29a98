// ast_edge_bench: what inspecting one frame takes, stage by stage, as JSON that `ast-edge benchmark --compare` reads;
// ast_edge/latency/result.py is the schema.
#include <algorithm>
#include <ast_edge/ast_edge.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
using Times = std::vector<double>;

constexpr int kSchemaVersion = 1;
constexpr const char* kUsage =
    "usage: ast_edge_bench MODEL [--frame WIDTHxHEIGHT] [--iterations N] [--threads N] [--raw FILE] [--serve]\n"
    "--raw takes the RGB pixels of the frame from a file; without it they are noise, which a trained model may refuse: "
    "a frame that is not judged is an error.\n"
    "--serve inspects one frame for every line read and answers with a line: total_ms preprocess_ms engine_ms "
    "score_ms.\n";

struct WrongUsage {};

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
    if (result.verdict == ast_edge::Verdict::fault)
        throw std::runtime_error("the frame cannot be judged, so nothing was measured: " + result.reason +
                                 "; give the pixels of a good part with --raw and its size with --frame");
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

Json rounded(double value) { return std::round(value * 1e4) / 1e4; }

// Equal bins up to the 99.5th percentile, lest one outlier flatten the rest.
Json histogram(Times times) {
    constexpr std::size_t kBins = 60;
    std::sort(times.begin(), times.end());
    const double low = times.front(), high = std::max(quantile(times, 0.995), low + 1e-3);
    const double width = (high - low) / kBins;
    std::vector<std::size_t> counts(kBins);
    std::size_t beyond = 0;
    for (const double time : times)
        if (time > high)
            ++beyond;
        else
            ++counts[std::min(static_cast<std::size_t>((time - low) / width), kBins - 1)];
    Json edges = Json::array();
    for (std::size_t i = 0; i <= kBins; ++i) edges.push_back(low + width * static_cast<double>(i));
    return {{"edges_ms", edges}, {"counts", counts}, {"beyond", beyond}};
}

double median_of(const Times& times, std::size_t from, std::size_t to) {
    Times part(times.begin() + static_cast<std::ptrdiff_t>(from), times.begin() + static_cast<std::ptrdiff_t>(to));
    std::sort(part.begin(), part.end());
    return quantile(part, 0.5);
}

// Whether the medians of the last two windows of ten times differ by at most 5 %.
bool settled(const Times& times) {
    constexpr std::size_t kWindow = 10;
    if (times.size() < 2 * kWindow) return false;
    const std::size_t end = times.size();
    const double before = median_of(times, end - 2 * kWindow, end - kWindow);
    return std::fabs(median_of(times, end - kWindow, end) - before) <= 0.05 * before;
}

double seconds_since(Clock::time_point started) {
    return std::chrono::duration<double>(Clock::now() - started).count();
}

// Judges the part until its time has settled.
Json warm_up(ast_edge::Model& model, const ast_edge::Part& part, double open_s) {
    constexpr std::size_t kMost = 500;
    ast_edge::Result result;
    Times times;
    const auto started = Clock::now();
    while (!settled(times) && times.size() < kMost) times.push_back(measure(model, part, result).total);
    return {{"open_s", rounded(open_s)},
            {"count", times.size()},
            {"seconds", rounded(seconds_since(started))},
            {"first_ms", rounded(times.front())},
            {"settled", settled(times)}};
}

std::string now() {
    const std::time_t time = std::time(nullptr);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", std::gmtime(&time));
    return text;
}

Json machine() {
    Json cpu = nullptr;
    std::ifstream lines("/proc/cpuinfo");
    for (std::string line; std::getline(lines, line) && cpu.is_null();)
        if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
            cpu = line.substr(line.find(": ") + 2);
    const std::uint32_t version = ast_edge_version();
    const std::string number = std::to_string(version >> 16) + "." + std::to_string(version >> 8 & 0xFF) + "." +
                               std::to_string(version & 0xFF);
    return {{"language", "C++"},
            {"cpu", cpu},
            {"cores", std::thread::hardware_concurrency()},
            {"versions", {{"ast-edge", number}}}};
}

Json model_facts(const ast_edge::Info& info, const std::string& path) {
    constexpr const char* kModes[] = {"rgb", "depth", "rgbd"};
    constexpr const char* kPrecisions[] = {"fp32", "fp16", "int8"};
    return {{"file", std::filesystem::path(path).filename().string()},
            {"model_id", info.model_id},
            {"mode", kModes[static_cast<int>(info.mode)]},
            {"preset", nullptr},  // the C face does not have it
            {"precision", kPrecisions[static_cast<int>(info.precision)]},
            {"image_size", info.image_size},
            {"bytes", std::filesystem::file_size(path)}};
}

Json frame_facts(const ast_edge::Info& info, const Settings& settings) {
    return {{"width", settings.width},
            {"height", settings.height},
            {"colour", info.mode == ast_edge::Mode::depth ? Json(nullptr) : Json("rgb")},
            {"depth", info.mode != ast_edge::Mode::rgb}};
}

struct Series {
    Times total, preprocess, engine, score, outside, beside;
    double seconds = 0;
};

Series measured(ast_edge::Model& model, const ast_edge::Part& part, int iterations) {
    Series series;
    ast_edge::Result result;
    const auto started = Clock::now();
    for (int i = 0; i < iterations; ++i) {
        const Measured times = measure(model, part, result);
        series.total.push_back(times.total);
        series.preprocess.push_back(times.preprocess);
        series.engine.push_back(times.engine);
        series.score.push_back(times.score);
        series.outside.push_back(times.total - times.engine);
        series.beside.push_back(times.total - times.preprocess - times.engine - times.score);
    }
    series.seconds = seconds_since(started);
    return series;
}

Json jitter(const Json& total) {
    if (total["p99"].is_null() || total["p50"].is_null()) return nullptr;
    return rounded(total["p99"].get<double>() / total["p50"].get<double>());
}

void run(ast_edge::Model& model, const ast_edge::Part& part, const Settings& settings, double open_s) {
    const ast_edge::Info info = model.info();
    const Json warm = warm_up(model, part, open_s);
    const Series series = measured(model, part, settings.iterations);
    const Json total = percentiles(series.total);
    Json warnings = Json::array();
    if (!warm["settled"].get<bool>())
        warnings.push_back("the times had not settled after " + warm["count"].dump() + " parts");
    const Json report = {{"schema_version", kSchemaVersion},
                         {"benchmark", "latency"},
                         {"date", now()},
                         {"model", model_facts(info, settings.model)},
                         {"engine", info.engine},
                         {"threads", settings.threads > 0 ? Json(settings.threads) : Json(nullptr)},
                         {"frame", frame_facts(info, settings)},
                         {"concurrency", 1},
                         {"warm_up", warm},
                         {"count", settings.iterations},
                         {"stages_ms",
                          {{"preprocess", percentiles(series.preprocess)},
                           {"engine", percentiles(series.engine)},
                           {"score", percentiles(series.score)}}},
                         {"total_ms", total},
                         {"beside_stages_ms", percentiles(series.beside)},
                         {"outside_engine_ms", percentiles(series.outside)},
                         {"jitter", jitter(total)},
                         {"throughput_per_s", settings.iterations / series.seconds},
                         {"histogram", histogram(series.total)},
                         {"against", nullptr},
                         {"ratio", nullptr},
                         {"surroundings", nullptr},  // load, power and heat are not watched here
                         {"machine", machine()},
                         {"warnings", warnings}};
    std::cout << report.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
}

void serve(ast_edge::Model& model, const ast_edge::Part& part) {
    ast_edge::Result result;
    std::string line;
    while (std::getline(std::cin, line)) {
        const Measured times = measure(model, part, result);
        std::cout << times.total << ' ' << times.preprocess << ' ' << times.engine << ' ' << times.score << std::endl;
    }
}

// A whole number of at least `least`; WrongUsage for anything else.
int number(const std::string& word, int least) {
    int value = 0;
    const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (problem != std::errc() || end != word.data() + word.size() || value < least) throw WrongUsage{};
    return value;
}

Settings parsed(int argc, char** argv) {
    if (argc < 2) throw WrongUsage{};
    Settings settings;
    settings.model = argv[1];
    for (int i = 2; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--serve") {
            settings.serve = true;
            continue;
        }
        if (i + 1 == argc) throw WrongUsage{};
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
            throw WrongUsage{};
    }
    return settings;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Settings settings = parsed(argc, argv);
        ast_edge::Options options;
        options.threads = settings.threads;
        const auto started = Clock::now();
        ast_edge::Model model(settings.model, options);
        const double open_s = seconds_since(started);
        const Pixels pixels(settings);
        const ast_edge::Part part = part_of(pixels, settings, model.info().mode);
        settings.serve ? serve(model, part) : run(model, part, settings, open_s);
        return 0;
    } catch (const WrongUsage&) {
        std::cerr << kUsage;
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "ast_edge_bench: error: " << error.what() << '\n';
        return 1;
    }
}
