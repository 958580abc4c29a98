// The way of a part through the GPU on stand-ins for driver and TensorRT: what is copied where and when, what is freed,
// and what is refused. The numbers are those of the kernels, run by the CPU.
#include <dlfcn.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "../src/error.hpp"
#include "../src/model_file.hpp"
#include "../src/preparer.hpp"
#include "../src/tensorrt/memory.hpp"
#include "../src/tensorrt/open.hpp"
#include "catch.hpp"
#include "parts.hpp"

using namespace ast_edge_impl;

extern int standin_enqueues;  // which run TensorRT's stand-in refuses

namespace {

constexpr double kThreshold = 1e12;

template <typename Function>
Function* of_driver(const char* name) {
    static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    return reinterpret_cast<Function*>(dlsym(library, name));
}

// What was made and not given back; nothing may have been done that CUDA forbids.
int alive() {
    char wrongs[4096];
    of_driver<void(char*, std::size_t)>("standin_wrongs")(wrongs, sizeof wrongs);
    CHECK(std::string(wrongs).empty());
    return of_driver<int(int)>("standin_alive")(-1);
}

// A GPU that is like new; with STANDIN_INTEGRATED it shares the processor's memory.
void reset() {
    const int integrated = std::getenv("STANDIN_INTEGRATED") != nullptr;
    of_driver<void(const char*, int, int, std::size_t)>("standin_reset")("stand-in", 87, integrated,
                                                                         std::size_t{8} << 30);
}

struct Opened {
    Manifest manifest;
    std::unique_ptr<Engine> engine;
};

EngineFile engine_file(const Manifest& manifest) {
    EngineFile file;
    file.path = "m.engine";
    file.info.source = "m.onnx";
    file.info.manifest = manifest;
    file.info.built_for = {"stand-in", "8.7", "10.3.0"};
    file.info.kernels.emplace();
    file.info.kernels->source_sha256 = AST_EDGE_KERNELS_SHA256;
    file.info.kernels->architecture = "sm_87";
    std::ifstream kernels(AST_EDGE_STANDIN_KERNELS, std::ios::binary);
    file.kernels.assign(std::istreambuf_iterator<char>(kernels), {});
    file.plan = "a plan";
    return file;
}

std::unique_ptr<Opened> open(const char* mode, BuildFacts build = {}) {
    reset();
    auto opened = std::make_unique<Opened>();
    opened->manifest = read_model_file(model_path(mode)).manifest;
    EngineFile file = engine_file(opened->manifest);
    file.info.build = build;
    opened->engine = open_tensorrt(file, opened->manifest, 0);
    return opened;
}

// A copy in the GPU's memory.
struct OnGpu {
    OnGpu(const void* from, std::size_t bytes)
        : context(find_device(0)), current(context), memory(bytes, false, false) {
        memory.upload(from, bytes);
        check_cuda(driver().cuStreamSynchronize_(nullptr), "a copy");  // the engine's streams do not wait for it
        driver().cuCtxPopCurrent_(nullptr);
    }
    ~OnGpu() { driver().cuCtxPushCurrent_(context.handle()); }

    Context context;
    Current current;
    DeviceBuffer memory;
};

struct Pixels {
    explicit Pixels(int grey, std::uint32_t gap = 0)
        : frame(std::size_t{3} * (kWidth + gap) * kHeight), depth(depth_map(true)) {
        for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<unsigned char>(grey + i % 7);
        raw.struct_size = sizeof raw;
        raw.frame = frame.data();
        raw.width = raw.depth_width = kWidth;
        raw.height = raw.depth_height = kHeight;
        raw.pitch = 3 * (kWidth + gap);
        raw.depth_m = depth.data();
    }
    Part part(const Manifest& manifest, bool on_gpu = false) {
        raw.memory = on_gpu ? AST_EDGE_CUDA : AST_EDGE_HOST;
        raw.frame = manifest.has_image() ? frame.data() : nullptr;
        raw.depth_m = manifest.has_depth() ? depth.data() : nullptr;
        if (on_gpu) upload();
        return checked_part(raw, manifest);
    }
    void upload() {
        const auto copied = [&](const void* from, std::size_t bytes) {
            copies.push_back(std::make_unique<OnGpu>(from, bytes));
            return reinterpret_cast<const void*>(copies.back()->memory.device());
        };
        if (raw.frame != nullptr) raw.frame = static_cast<const unsigned char*>(copied(frame.data(), frame.size()));
        if (raw.depth_m != nullptr)
            raw.depth_m = static_cast<const float*>(copied(depth.data(), depth.size() * sizeof(float)));
    }

    std::vector<unsigned char> frame;
    std::vector<float> depth;
    ast_edge_part raw{};
    std::vector<std::unique_ptr<OnGpu>> copies;
};

// What the stand-in network makes of a part that the CPU prepared.
float expected_score(const Manifest& manifest, const Part& part) {
    Preparer preparer(manifest.preprocessing);
    std::vector<std::vector<float>> tensors;
    Targets targets;
    for (const TensorSpec& spec : manifest.inputs)
        targets[spec.name] = tensors.emplace_back(spec.bytes() / sizeof(float) + 1).data();
    preparer.prepare(part, targets);
    float score = 0;
    for (const TensorSpec& spec : manifest.inputs)
        for (std::size_t k = 0; k < spec.bytes(); ++k)
            score += static_cast<const unsigned char*>(targets.at(spec.name))[k];
    return score;
}

}  // namespace

TEST_CASE("a part goes through the GPU, in host memory or the GPU's, in every mode") {
    for (const char* mode : {"rgb", "depth", "rgbd"}) {
        const auto opened = open(mode);
        for (const std::uint32_t gap : {0u, 5u}) {
            Pixels pixels(40, gap);
            const float expected = expected_score(opened->manifest, pixels.part(opened->manifest));
            for (const bool on_gpu : {false, true, false}) {
                const Inspection found = opened->engine->inspect(pixels.part(opened->manifest, on_gpu), kThreshold);
                CHECK(found.verdict == Verdict::pass);
                CHECK(found.score == expected);
                CHECK(found.levels.has_value() == opened->manifest.has_image());
                CHECK(found.stages.engine_ms > 0);
            }
        }
    }
    CHECK(alive() == 0);
}

TEST_CASE("parts on their way keep their results when others need their slots") {
    const auto opened = open("rgb");
    Pixels dark(10), bright(90), other(50);
    const Manifest& manifest = opened->manifest;
    const auto first = opened->engine->submit(dark.part(manifest), kThreshold);
    const auto second = opened->engine->submit(bright.part(manifest), kThreshold);
    const float expected_first = expected_score(manifest, dark.part(manifest));
    std::fill(dark.frame.begin(), dark.frame.end(), static_cast<unsigned char>(0));  // it was copied
    CHECK(opened->engine->inspect(other.part(manifest), kThreshold).score ==
          expected_score(manifest, other.part(manifest)));
    REQUIRE(second->wait(std::chrono::milliseconds(-1)));
    CHECK(second->take().score == expected_score(manifest, bright.part(manifest)));
    while (!first->wait(std::chrono::milliseconds(0))) {
    }
    CHECK(first->take().score == expected_first);
    const float expected_other = expected_score(manifest, other.part(manifest));
    const auto on_gpu = opened->engine->submit(other.part(manifest, true), kThreshold);
    other.copies.clear();  // it was copied there too
    REQUIRE(on_gpu->wait(std::chrono::milliseconds(-1)));
    CHECK(on_gpu->take().score == expected_other);
    const auto forgotten = opened->engine->submit(other.part(manifest), kThreshold);  // freed with a part on its way
}

TEST_CASE("a batch, with a part that is refused, on one slot and on two") {
    for (const BuildFacts build : {BuildFacts{}, BuildFacts{2, 4, false, false}}) {
        const auto opened = open("rgbd", build);
        Pixels good(40), bad(40), last(70);
        bad.depth[77] = -1;
        const Manifest& manifest = opened->manifest;
        const auto found =
            opened->engine->inspect_all({good.part(manifest), bad.part(manifest), last.part(manifest)}, kThreshold);
        REQUIRE(found.size() == 3);
        CHECK(found[0].inspection.score == expected_score(manifest, good.part(manifest)));
        CHECK(found[1].status == AST_EDGE_FRAME);
        CHECK(found[1].inspection.verdict == Verdict::fault);
        CHECK(found[2].inspection.score == expected_score(manifest, last.part(manifest)));
    }
    CHECK(alive() == 0);
}

TEST_CASE("the layout used longest ago is freed") {
    const auto opened = open("rgb");
    Pixels pixels(40);
    for (std::uint32_t height = 20; height < 32; ++height) {
        pixels.raw.height = height;
        CHECK(opened->engine->inspect(pixels.part(opened->manifest), kThreshold).score ==
              expected_score(opened->manifest, pixels.part(opened->manifest)));
    }
    const int before = alive();
    for (std::uint32_t height = 10; height < 18; ++height) {
        pixels.raw.height = height;
        opened->engine->inspect(pixels.part(opened->manifest), kThreshold);
    }
    CHECK(alive() == before);
}

TEST_CASE("the network alone, for the reference vectors") {
    const auto opened = open("rgb");
    const std::vector<unsigned char> ones(opened->manifest.inputs[0].bytes(), 1);
    CHECK(opened->engine->run({{"image", ones.data()}}).score == static_cast<float>(ones.size()));
}

TEST_CASE("a run that TensorRT refuses is reported in its words, breaks no rule and frees everything") {
    for (const bool free_waits : {false, true})
        for (const int run : {1, 2}) {  // before the capture, in it
            const auto opened = open("rgb");
            of_driver<void(int)>("standin_free_waits")(free_waits);
            Pixels pixels(40);
            const Part part = pixels.part(opened->manifest);
            standin_enqueues = run;
            CHECK_THROWS_WITH(opened->engine->inspect(part, kThreshold), ContainsSubstring("these are its words"));
            const int before = alive();
            CHECK(opened->engine->inspect(part, kThreshold).score == expected_score(opened->manifest, part));
            CHECK(alive() > before);
        }
    CHECK(alive() == 0);
}

TEST_CASE("after a kernel's fault the context goes, and all that was in it") {
    {
        const auto opened = open("rgb");
        Pixels pixels(40);
        of_driver<void()>("standin_fault")();
        CHECK_THROWS_WITH(opened->engine->inspect(pixels.part(opened->manifest), kThreshold),
                          ContainsSubstring("CUDA_ERROR_ILLEGAL_ADDRESS"));
    }
    CHECK(alive() == 0);
}

TEST_CASE("what does not fit is refused, and nothing stays behind") {
    reset();
    const Manifest manifest = read_model_file(model_path("rgb")).manifest;
    const auto refusal = [&](auto change) {
        EngineFile file = engine_file(manifest);
        change(file);
        try {
            open_tensorrt(file, manifest, 0);
        } catch (const Error& error) {
            CHECK(error.status() == AST_EDGE_BACKEND);
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK_THAT(refusal([](EngineFile& file) { file.info.built_for.gpu = "Orin"; }),
               ContainsSubstring("built for Orin"));
    CHECK_THAT(refusal([](EngineFile& file) { file.info.kernels->architecture = "sm_90"; }),
               ContainsSubstring("kernels"));
    CHECK_THAT(refusal([](EngineFile& file) { file.info.kernels.reset(); }), ContainsSubstring("kernels"));
    CHECK_THAT(refusal([](EngineFile& file) { file.plan = "no plan"; }), ContainsSubstring("no plan"));
    CHECK_THROWS_WITH(open_tensorrt(engine_file(manifest), manifest, 3), ContainsSubstring("no GPU 3"));
    CHECK(alive() == 0);
}
