// Models through the C++ face, with the engine that this build has.
#include <cmath>
#include <limits>
#include <thread>

#include "catch.hpp"
#include "parts.hpp"

using ast_edge::Model;
using ast_edge::Result;
using ast_edge::Verdict;

namespace {

ast_edge::Options one_thread() {
    ast_edge::Options options;
    options.threads = 1;
    return options;
}

Model open(const std::string& mode) { return Model(model_path(mode), one_thread()); }

ast_edge_status status_of(Model& model, const ast_edge::Part& part) {
    Result result;
    model.judge(part, result);
    CHECK((result.status == AST_EDGE_OK || result.verdict == Verdict::fault));
    return result.status;
}

}  // namespace

TEST_CASE("every reference vector of every mode is reproduced") {
    for (const char* mode : {"rgb", "depth", "rgbd"}) {
        const ast_edge::Parity parity = open(mode).verify();
        INFO(mode << ": " << parity.max_relative_score_error);
        CHECK(parity.vectors == 3);
        CHECK(parity.max_relative_score_error <= 1e-4);
        CHECK(parity.tolerance == 1e-4);
        CHECK(parity.flipped_verdicts == 0);
        CHECK(parity.undecided_parts == 0);
    }
}

namespace {

std::string refusal_of(const ast_edge::Options& options) {
    try {
        return Model(model_path("rgb"), options).info().engine;
    } catch (const ast_edge::Error& error) {
        return error.what();
    }
}

}  // namespace

// OpenVINO's AUTO takes the CPU where there is nothing else; a machine with another device runs the model there.
TEST_CASE("a processor that leaves the network to the CPU is refused, unless that is allowed") {
    ast_edge::Options options = one_thread();
    options.processor = "AUTO";
    const std::string said = refusal_of(options);
    if (said.find("OpenVINO") == std::string::npos || said.find(" on AUTO") == std::string::npos) FAIL(said);
    const bool other = said.find("leaves the network") == std::string::npos;
    options.allow_cpu = true;
    Model model(model_path("rgb"), options);
    CHECK_THAT(model.info().engine, ContainsSubstring(" on AUTO"));
    if (!other) CHECK_THAT(model.info().engine, ContainsSubstring(", partly or wholly the CPU"));
    CHECK(model.verify().flipped_verdicts == 0);
}

TEST_CASE("processors that there are not") {
    ast_edge::Options options = one_thread();
    options.processor = "nonsense";
    CHECK_THAT(refusal_of(options), ContainsSubstring("cannot run the network on nonsense ("));
    options.processor = "";
    options.allow_cpu = true;
    CHECK_THAT(refusal_of(options), ContainsSubstring("allow_cpu: is for a processor"));
}

TEST_CASE("options of a program built before there were processors") {
    ast_edge_options options{};
    options.struct_size = 16;
    options.threads = 1;
    options.allow_cpu = 77;  // beyond what that program has
    ast_edge_model* model = nullptr;
    REQUIRE(ast_edge_open(model_path("rgb").c_str(), &options, &model) == AST_EDGE_OK);
    ast_edge_close(model);
}

#if AST_EDGE_ZLIB
TEST_CASE("models of version 0.1 reproduce their vectors") {
    for (const char* mode : {"rgb", "depth", "rgbd"})
        CHECK(Model(std::string(AST_EDGE_EARLIER) + "/" + mode + ".onnx", one_thread()).verify().vectors == 3);
}
#endif

TEST_CASE("the verdict follows the part, in every mode") {
    const auto grey = picture(128), white = picture(255);
    const auto flat = depth_map(false), bumpy = depth_map(true);
    Model rgb = open("rgb"), depth = open("depth"), rgbd = open("rgbd");
    CHECK(rgb.inspect(frame_of(grey)).verdict == Verdict::pass);
    CHECK(rgb.inspect(frame_of(white)).verdict == Verdict::reject);
    CHECK(depth.inspect(depth_of(flat)).verdict == Verdict::pass);
    CHECK(depth.inspect(depth_of(bumpy)).verdict == Verdict::reject);
    CHECK(rgbd.inspect({frame_of(grey), depth_of(flat)}).verdict == Verdict::pass);
    CHECK(rgbd.inspect({frame_of(white), depth_of(flat)}).verdict == Verdict::reject);
    CHECK(rgbd.inspect({frame_of(grey), depth_of(bumpy)}).verdict == Verdict::reject);
}

TEST_CASE("doubles, and rows with gaps, are the same part") {
    Model model = open("depth");
    const auto floats = depth_map(true);
    const std::vector<double> doubles(floats.begin(), floats.end());
    const Result expected = model.inspect(depth_of(floats));
    CHECK(model.inspect(depth_of(doubles)).score == expected.score);
    std::vector<float> gaps(std::size_t{kWidth + 3} * kHeight, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t y = 0; y < kHeight; ++y)
        std::copy_n(floats.begin() + static_cast<std::ptrdiff_t>(y * kWidth), kWidth,
                    gaps.begin() + static_cast<std::ptrdiff_t>(y * (kWidth + 3)));
    const ast_edge::DepthMap view(gaps.data(), kWidth, kHeight, (kWidth + 3) * sizeof(float));
    CHECK(model.inspect(view).score == expected.score);
    CHECK(model.wait(model.submit(view)).score == expected.score);
}

TEST_CASE("no part, and a depth map that cannot be used, are faults") {
    Model model = open("depth");
    std::vector<float> plane(std::size_t{kWidth} * kHeight, 0.5f);
    const Result empty = model.inspect(depth_of(plane));
    CHECK(empty.verdict == Verdict::fault);
    CHECK(empty.reason == "no part found in the depth map");
    CHECK(std::isnan(empty.score));
    CHECK(std::isnan(empty.map.at(3)));
    for (const float value : {std::numeric_limits<float>::quiet_NaN(), -0.1f, 480.0f}) {
        plane[100] = value;
        CHECK(status_of(model, depth_of(plane)) == AST_EDGE_FRAME);
        CHECK_THROWS_AS(model.inspect(depth_of(plane)), ast_edge::Error);
        CHECK_THROWS_AS(model.wait(model.submit(depth_of(plane))), ast_edge::Error);
    }
    CHECK(status_of(model, depth_of(std::vector<float>(plane.size()))) == AST_EDGE_FRAME);
}

TEST_CASE("what is not a part of the model is refused") {
    Model model = open("rgbd");
    const auto grey = picture(128);
    const auto flat = depth_map(false);
    const ast_edge::Frame frame = frame_of(grey);
    const ast_edge::DepthMap depth = depth_of(flat);
    CHECK(status_of(model, frame) == AST_EDGE_FRAME);
    CHECK(status_of(model, depth) == AST_EDGE_FRAME);
    CHECK(status_of(model, {{grey.data(), kWidth, kHeight - 1, ast_edge::Format::bgr}, depth}) == AST_EDGE_FRAME);
    CHECK(status_of(model, {{grey.data(), 0, kHeight, ast_edge::Format::bgr}, depth}) == AST_EDGE_FRAME);
    CHECK(status_of(model, {{grey.data(), kWidth, kHeight, ast_edge::Format::bgr, 3}, depth}) == AST_EDGE_FRAME);
    CHECK(status_of(model, {{grey.data(), kWidth, kHeight, static_cast<ast_edge::Format>(9)}, depth}) ==
          AST_EDGE_USAGE);
    CHECK(status_of(model, {frame, depth, ast_edge::Memory::cuda}) == AST_EDGE_USAGE);
    CHECK(status_of(model, {frame, depth, static_cast<ast_edge::Memory>(7)}) == AST_EDGE_USAGE);
    CHECK(status_of(model, {frame, depth}) == AST_EDGE_OK);
    Model rgb = open("rgb");
    CHECK(status_of(rgb, {frame, depth}) == AST_EDGE_FRAME);
    CHECK(status_of(rgb, ast_edge::Frame{grey.data(), 31, 8, ast_edge::Format::yuyv}) == AST_EDGE_FRAME);
    CHECK(status_of(rgb, ast_edge::Frame{grey.data(), 32, 9, ast_edge::Format::nv12}) == AST_EDGE_FRAME);
    CHECK(status_of(rgb, ast_edge::Frame{grey.data(), 1, 8, ast_edge::Format::bayer_rggb}) == AST_EDGE_FRAME);
}

TEST_CASE("a batch is judged as its parts are, and a refused part does not harm the others") {
    Model model = open("rgb");
    const auto grey = picture(128), white = picture(255);
    const ast_edge::Frame bad{grey.data(), 0, 0, ast_edge::Format::bgr};
    const std::vector<ast_edge::Part> parts{frame_of(grey), bad, frame_of(white)};
    const std::vector<Result> results = model.inspect_batch(parts);
    REQUIRE(results.size() == 3);
    CHECK(results[0].score == model.inspect(parts[0]).score);
    CHECK(results[0].verdict == Verdict::pass);
    CHECK(results[1].verdict == Verdict::fault);
    CHECK_THAT(results[1].reason, ContainsSubstring("pixels on each side"));
    CHECK(results[2].verdict == Verdict::reject);
    CHECK(results[2].map == model.inspect(parts[2]).map);
    CHECK(model.inspect_batch({}).empty());
}

TEST_CASE("parts of a batch that no version knows are refused like others") {
    Model model = open("rgb");
    const auto grey = picture(128);
    const ast_edge::Part good = frame_of(grey), elsewhere(frame_of(grey), ast_edge::Memory::cuda);
    const ast_edge::Part unknown = ast_edge::Frame{grey.data(), kWidth, kHeight, static_cast<ast_edge::Format>(99)};
    const std::vector<Result> results = model.inspect_batch({unknown, good, elsewhere, good});
    for (const std::size_t bad : {0u, 2u}) {
        CHECK(results[bad].verdict == Verdict::fault);
        CHECK(std::isnan(results[bad].score));
    }
    CHECK_THAT(results[2].reason, ContainsSubstring("GPU's memory"));
    for (const std::size_t judged : {1u, 3u}) CHECK(results[judged].verdict == Verdict::pass);
    CHECK_THROWS_AS(model.inspect_batch({unknown, elsewhere}), ast_edge::Error);
}

TEST_CASE("two threads on one model: every part is judged, or a fault that says why") {
    Model model = open("rgb");
    const auto white = picture(255);
    std::vector<int> wrong(2);
    std::vector<std::thread> threads;
    for (int& errors : wrong)
        threads.emplace_back([&] {
            Result result;
            for (int i = 0; i < 50; ++i) {
                result.verdict = Verdict::pass;
                model.judge(frame_of(white), result);
                const bool refused = result.status == AST_EDGE_USAGE && result.verdict == Verdict::fault;
                errors += !refused && result.verdict != Verdict::reject;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(2));
}

TEST_CASE("a part on its way can be waited for in vain") {
    Model model = open("rgb");
    const auto grey = picture(128);
    const ast_edge::Ticket ticket = model.submit(frame_of(grey));
    std::optional<Result> result;
    while (!(result = model.wait_for(ticket, std::chrono::milliseconds(0)))) std::this_thread::yield();
    CHECK(result->verdict == Verdict::pass);
    CHECK_THROWS_AS(model.wait(ticket), ast_edge::Error);
}

TEST_CASE("the map needs room") {
    Model model = open("rgb");
    const auto grey = picture(128);
    const ast_edge::Part part = frame_of(grey);
    ast_edge_model* raw = nullptr;
    REQUIRE(ast_edge_open(model_path("rgb").c_str(), nullptr, &raw) == AST_EDGE_OK);
    std::vector<float> map(15);
    ast_edge_result result{};
    result.struct_size = sizeof result;
    result.map = map.data();
    result.map_values = map.size();
    CHECK(ast_edge_inspect(raw, &part.raw(), &result) == AST_EDGE_USAGE);
    CHECK(result.verdict == AST_EDGE_FAULT);
    ast_edge_close(raw);
}

TEST_CASE("several models side by side, a thread each") {
    const auto grey = picture(128), white = picture(255);
    std::vector<int> wrong(3);
    std::vector<std::thread> threads;
    for (int& errors : wrong)
        threads.emplace_back([&] {
            Model model = open("rgb");
            for (int i = 0; i < 20; ++i) {
                const ast_edge::Ticket ticket = model.submit(frame_of(white));
                errors += model.inspect(frame_of(grey)).verdict != Verdict::pass;
                errors += model.wait(ticket).verdict != Verdict::reject;
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(3));
}

TEST_CASE("a thousand inspections") {
    Model model = open("rgbd");
    const auto grey = picture(128);
    const auto flat = depth_map(false);
    Result result;
    int passed = 0;
    for (int i = 0; i < 1000; ++i) {
        model.judge({frame_of(grey), depth_of(flat)}, result);
        passed += result.verdict == Verdict::pass;
    }
    CHECK(passed == 1000);
}
