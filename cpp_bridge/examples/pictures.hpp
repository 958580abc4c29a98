// Pictures and depth maps from files, as `ast-edge inspect` finds and reads them.
#pragma once

#include <ast_edge/ast_edge.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

// The pictures that `paths` name, folders replaced by the pictures directly in them, sorted by name.
std::vector<std::string> find_pictures(const std::vector<std::string>& paths);

// A part read from files; keeps the pixels.
class FilePart {
public:
    // In the modes with depth the map is `xyz/NAME.tiff` beside the folder of the picture, z in its third channel.
    // Throws std::runtime_error for files that cannot be read.
    FilePart(const std::string& picture, ast_edge::Mode mode);

    ast_edge::Part part() const;

private:
    ast_edge::Mode mode_;
    cv::Mat frame_, depth_m_;
};
