// Prepares one part as the CPU engine does, for the comparison with Python: frame and depth map come on stdin, packed
// as the arguments say, and the network's inputs and the grey levels go to stdout.
//
//   prepare MODEL FORMAT WIDTH HEIGHT PITCH DEPTH_TYPE
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "../src/error.hpp"
#include "../src/model_file.hpp"
#include "../src/preparer.hpp"

using namespace ast_edge_impl;

namespace {

std::vector<double> read_bytes(std::size_t count) {  // doubles: aligned for every type
    std::vector<double> memory(count / sizeof(double) + 1);
    if (std::fread(memory.data(), 1, count, stdin) != count) throw frame_error("stdin is too short");
    return memory;
}

void write(const void* data, std::size_t bytes) { std::fwrite(data, 1, bytes, stdout); }

void run(char** words) {
    const ModelFile model = read_model_file(words[1]);
    ast_edge_part raw{};
    raw.struct_size = sizeof raw;
    raw.format = std::stoi(words[2]);
    raw.width = raw.depth_width = static_cast<std::uint32_t>(std::stoul(words[3]));
    raw.height = raw.depth_height = static_cast<std::uint32_t>(std::stoul(words[4]));
    raw.pitch = std::stoul(words[5]);
    raw.depth_type = std::stoi(words[6]);
    raw.frame = model.manifest.has_image() ? words : nullptr;  // until its size is known
    const std::vector<double> none(1);
    raw.depth_m = model.manifest.has_depth() ? none.data() : nullptr;
    Part part = checked_part(raw, model.manifest);
    std::vector<double> frame, depth;
    if (part.layouts.frame) part.frame = (frame = read_bytes(part.layouts.frame->bytes())).data();
    if (part.layouts.depth) part.depth_m = (depth = read_bytes(part.layouts.depth->bytes())).data();
    Preparer preparer(model.manifest.preprocessing);
    std::vector<std::vector<float>> tensors;
    Targets targets;
    for (const TensorSpec& spec : model.manifest.inputs)
        targets[spec.name] = tensors.emplace_back(spec.bytes() / sizeof(float) + 1).data();
    const Inputs inputs = preparer.prepare(part, targets);
    for (const TensorSpec& spec : model.manifest.inputs) write(targets.at(spec.name), spec.bytes());
    const GreyLevels levels = inputs.levels.value_or(GreyLevels{});
    for (const double level : {levels.brightness, levels.contrast, levels.sharpness}) write(&level, sizeof level);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc != 7) throw usage_error("expected 6 arguments");
        run(argv);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
