// Judges one raw RGB frame from standard input: example MODEL WIDTH HEIGHT < frame.rgb
#include <ast_edge/ast_edge.hpp>
#include <cstdint>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: example MODEL.onnx WIDTH HEIGHT < frame.rgb\n";
        return 2;
    }
    try {
        const auto width = static_cast<std::uint32_t>(std::stoul(argv[2]));
        const auto height = static_cast<std::uint32_t>(std::stoul(argv[3]));
        const std::vector<char> bytes{std::istreambuf_iterator<char>(std::cin), {}};
        if (bytes.size() != std::size_t{3} * width * height) {
            std::cerr << "expected " << std::size_t{3} * width * height << " bytes, got " << bytes.size() << '\n';
            return 2;
        }
        ast_edge::Model model(argv[1]);
        ast_edge::Result result;
        const ast_edge::Frame frame{reinterpret_cast<const std::uint8_t*>(bytes.data()), width, height,
                                    ast_edge::Format::rgb, std::size_t{3} * width};
        model.judge(frame, result);
        const bool good = result.verdict == ast_edge::Verdict::pass;  // a fault is rejected too
        std::cout << (good ? "pass" : "reject") << ' ' << result.score << ' ' << result.reason << '\n';
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
