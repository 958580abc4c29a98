#include "pictures.hpp"

#include <algorithm>
#include <filesystem>
#include <opencv2/core.hpp>
#include <stdexcept>

namespace fs = std::filesystem;

namespace {

bool is_picture(const fs::path& path) {
    std::string suffix = path.extension().string();
    std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
    const std::string name = path.filename().string();
    const char* suffixes[] = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"};
    const bool known = std::find(std::begin(suffixes), std::end(suffixes), suffix) != std::end(suffixes);
    return known && name[0] != '.' && fs::is_regular_file(path);
}

cv::Mat read_frame(const std::string& path) {
    // Turned as its EXIF orientation says, as training and the Python runtime turn it.
    cv::Mat frame = cv::imread(path, cv::IMREAD_COLOR);
    if (frame.empty()) throw std::runtime_error(path + ": is no picture, or it is damaged; replace it.");
    return frame;
}

// A picture that is turned would not show the same place as its depth map, which is not.
void check_upright(const std::string& path, const cv::Mat& turned) {
    const cv::Mat stored = cv::imread(path, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
    if (stored.size() != turned.size() || cv::norm(stored, turned, cv::NORM_INF) > 0)
        throw std::runtime_error(path + ": has an EXIF orientation, and its depth map has none; save it without one.");
}

cv::Mat read_depth(const fs::path& picture) {
    const fs::path path =
        fs::absolute(picture).parent_path().parent_path() / "xyz" / (picture.stem().string() + ".tiff");
    const cv::Mat xyz = cv::imread(path.string(), cv::IMREAD_UNCHANGED);
    if (xyz.empty() || xyz.type() != CV_32FC3)
        throw std::runtime_error(path.string() + ": expected a float32 TIFF with x, y and z in metres.");
    cv::Mat z;
    cv::extractChannel(xyz, z, 0);  // OpenCV hands x, y, z over as z, y, x
    return z;
}

}  // namespace

std::vector<std::string> find_pictures(const std::vector<std::string>& paths) {
    std::vector<std::string> pictures;
    for (const std::string& path : paths) {
        if (!fs::is_directory(path)) {
            pictures.push_back(path);
            continue;
        }
        std::vector<std::string> found;
        for (const fs::directory_entry& entry : fs::directory_iterator(path))
            if (is_picture(entry.path())) found.push_back(entry.path().string());
        std::sort(found.begin(), found.end());
        pictures.insert(pictures.end(), found.begin(), found.end());
    }
    return pictures;
}

FilePart::FilePart(const std::string& picture, ast_edge::Mode mode) : mode_(mode) {
    if (mode != ast_edge::Mode::depth) frame_ = read_frame(picture);
    if (mode == ast_edge::Mode::rgbd) check_upright(picture, frame_);
    if (mode != ast_edge::Mode::rgb) depth_m_ = read_depth(picture);
}

ast_edge::Part FilePart::part() const {
    const auto width = [](const cv::Mat& of) { return static_cast<std::uint32_t>(of.cols); };
    const auto height = [](const cv::Mat& of) { return static_cast<std::uint32_t>(of.rows); };
    const ast_edge::Frame frame{frame_.data, width(frame_), height(frame_), ast_edge::Format::bgr, frame_.step};
    if (mode_ == ast_edge::Mode::rgb) return frame;
    const ast_edge::DepthMap depth(depth_m_.ptr<float>(), width(depth_m_), height(depth_m_), depth_m_.step);
    if (mode_ == ast_edge::Mode::depth) return depth;
    return {frame, depth};
}
