// Inspects what a camera sees, frame by frame, until it has none left.
#include <ast_edge/ast_edge.hpp>
#include <iostream>
#include <opencv2/videoio.hpp>

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: inspect_frame MODEL.onnx CAMERA_OR_VIDEO\n";
        return 2;
    }
    try {
        ast_edge::Model model(argv[1]);
        cv::VideoCapture camera(argv[2]);
        cv::Mat frame;
        ast_edge::Result result;
        if (!camera.read(frame)) throw std::runtime_error(argv[2] + std::string(" gives no frame; check the camera."));
        do {
            const ast_edge::Frame view{frame.data, static_cast<std::uint32_t>(frame.cols),
                                       static_cast<std::uint32_t>(frame.rows), ast_edge::Format::bgr, frame.step};
            model.judge(view, result);
            const bool good = result.verdict == ast_edge::Verdict::pass;  // a fault is rejected too
            std::cout << (good ? "pass  " : "REJECT") << "  " << result.reason << '\n';
        } while (camera.read(frame));
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
