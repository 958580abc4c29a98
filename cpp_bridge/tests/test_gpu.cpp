// On a machine with a GPU: an engine that `ast-edge build-engine` made of one of the tiny models here. Its path comes
// in AST_EDGE_TEST_ENGINE, its mode is that of the model; without it nothing is tested and the test is skipped.
#include <cuda.h>

#include <cmath>
#include <cstdlib>

#include "catch.hpp"
#include "parts.hpp"

using ast_edge::Model;
using ast_edge::Part;
using ast_edge::Result;
using ast_edge::Verdict;

namespace {

std::string engine_path() {
    const char* path = std::getenv("AST_EDGE_TEST_ENGINE");
    return path == nullptr ? "" : path;
}

// A copy in the GPU's memory; the library must have made its context first.
class OnGpu {
public:
    OnGpu(const void* from, std::size_t bytes) {
        REQUIRE(cuInit(0) == CUDA_SUCCESS);
        REQUIRE(cuDevicePrimaryCtxRetain(&context_, 0) == CUDA_SUCCESS);
        REQUIRE(cuCtxPushCurrent(context_) == CUDA_SUCCESS);
        REQUIRE(cuMemAlloc(&memory_, bytes) == CUDA_SUCCESS);
        REQUIRE(cuMemcpyHtoD(memory_, from, bytes) == CUDA_SUCCESS);
        REQUIRE(cuCtxSynchronize() == CUDA_SUCCESS);
        cuCtxPopCurrent(nullptr);
    }
    ~OnGpu() {
        cuCtxPushCurrent(context_);
        cuMemFree(memory_);
        cuCtxPopCurrent(nullptr);
        cuDevicePrimaryCtxRelease(0);
    }
    OnGpu(const OnGpu&) = delete;
    OnGpu& operator=(const OnGpu&) = delete;

    template <typename Value>
    const Value* data() const {
        return reinterpret_cast<const Value*>(memory_);
    }

private:
    CUcontext context_ = nullptr;
    CUdeviceptr memory_ = 0;
};

struct Parts {
    explicit Parts(int grey) : pixels(picture(grey)), depth(depth_map(grey == 255)) {}

    Part of(ast_edge::Mode mode) const { return of(mode, pixels.data(), depth.data(), ast_edge::Memory::host); }
    static Part of(ast_edge::Mode mode, const void* pixels, const float* depth, ast_edge::Memory memory) {
        const ast_edge::Frame frame{pixels, kWidth, kHeight, ast_edge::Format::bgr};
        const ast_edge::DepthMap map(depth, kWidth, kHeight);
        if (mode == ast_edge::Mode::rgb) return {frame, memory};
        return mode == ast_edge::Mode::depth ? Part(map, memory) : Part(frame, map, memory);
    }

    std::vector<unsigned char> pixels;
    std::vector<float> depth;
};

}  // namespace

TEST_CASE("an engine judges as the CPU does") {
    if (engine_path().empty()) return;
    Model gpu(engine_path());
    const ast_edge::Mode mode = gpu.info().mode;
    constexpr const char* kModes[] = {"rgb", "depth", "rgbd"};
    Model cpu(model_path(kModes[static_cast<int>(mode)]));
    CHECK(gpu.verify().flipped_verdicts == 0);
    for (const int grey : {128, 255}) {
        const Parts parts(grey);
        const Result found = gpu.inspect(parts.of(mode)), expected = cpu.inspect(parts.of(mode));
        CHECK(found.verdict == expected.verdict);
        CHECK(std::fabs(found.score - expected.score) <= 1e-2 * std::fabs(expected.score) + 1e-6);
        CHECK((std::isnan(found.brightness) == std::isnan(expected.brightness)));
    }
}

TEST_CASE("a part in the GPU's memory is the same part") {
    if (engine_path().empty()) return;
    Model model(engine_path());
    const ast_edge::Mode mode = model.info().mode;
    const Parts parts(255);
    const OnGpu pixels(parts.pixels.data(), parts.pixels.size());
    const OnGpu depth(parts.depth.data(), parts.depth.size() * sizeof(float));
    const Part part = Parts::of(mode, pixels.data<unsigned char>(), depth.data<float>(), ast_edge::Memory::cuda);
    const Result expected = model.inspect(parts.of(mode));
    CHECK(model.inspect(part).map == expected.map);
    CHECK(model.wait(model.submit(part)).score == expected.score);
}

TEST_CASE("two parts on their way, a third in between, and a batch") {
    if (engine_path().empty()) return;
    Model model(engine_path());
    const ast_edge::Mode mode = model.info().mode;
    const Parts good(128), bad(255);
    for (int i = 0; i < 100; ++i) {
        const ast_edge::Ticket first = model.submit(good.of(mode)), second = model.submit(bad.of(mode));
        CHECK(model.inspect(good.of(mode)).verdict == Verdict::pass);
        CHECK(model.wait(second).verdict == Verdict::reject);
        CHECK(model.wait(first).verdict == Verdict::pass);
    }
    const std::vector<Result> batch = model.inspect_batch({good.of(mode), bad.of(mode), good.of(mode)});
    CHECK(batch[1].verdict == Verdict::reject);
    CHECK(batch[2].verdict == Verdict::pass);
}
