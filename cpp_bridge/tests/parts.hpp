// Parts that the tiny models of tests/tiny.py pass, reject and cannot judge.
#pragma once

#include <ast_edge/ast_edge.hpp>
#include <cstdint>
#include <string>
#include <vector>

constexpr std::uint32_t kWidth = 48, kHeight = 40;

inline std::string model_path(const std::string& mode) { return std::string(AST_EDGE_MODELS) + "/" + mode + ".onnx"; }

inline std::vector<unsigned char> picture(int grey) {
    return std::vector<unsigned char>(std::size_t{3} * kWidth * kHeight, static_cast<unsigned char>(grey));
}

// A part of 2 cm on a plane at half a metre; with a step of 4 cm when it is bumpy.
template <typename Number = float>
std::vector<Number> depth_map(bool bumpy) {
    std::vector<Number> map(std::size_t{kWidth} * kHeight, Number(0.5));
    for (std::size_t y = kHeight / 4; y < kHeight - kHeight / 4; ++y)
        for (std::size_t x = kWidth / 4; x < kWidth - kWidth / 4; ++x)
            map[y * kWidth + x] = Number(bumpy && y < kHeight / 2 ? 0.44 : 0.48);
    return map;
}

inline ast_edge::Frame frame_of(const std::vector<unsigned char>& pixels) {
    return {pixels.data(), kWidth, kHeight, ast_edge::Format::bgr};
}

template <typename Number>
ast_edge::DepthMap depth_of(const std::vector<Number>& map) {
    return {map.data(), kWidth, kHeight};
}
