// A third-party project: opens a model, judges a grey frame, and prints the result.
#include <ast_edge/ast_edge.hpp>
#include <iostream>
#include <vector>

int main(int, char** argv) {
    const std::vector<unsigned char> pixels(32 * 32 * 3, 128);
    try {
        ast_edge::Model model(argv[1]);
        const ast_edge::Result result = model.inspect(ast_edge::Frame{pixels.data(), 32, 32, ast_edge::Format::rgb});
        std::cout << model.info().engine << ": " << result.reason << '\n';
        return result.verdict == ast_edge::Verdict::pass ? 0 : 1;
    } catch (const ast_edge::Error& error) {
        std::cout << error.what() << '\n';
        return error.status() == AST_EDGE_BACKEND ? 3 : 2;
    }
}
