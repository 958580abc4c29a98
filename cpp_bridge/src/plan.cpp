#include "plan.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "error.hpp"
#include "tables.hpp"

namespace ast_edge_impl {
namespace {

constexpr int kRowTile = 128;     // outputs of one block
constexpr int kMostChunk = 4096;  // pixels that a block decodes at once
constexpr int kColumnTile = 384;  // bytes of one block
constexpr int kDepthTile = 32;    // pixels on a side
constexpr int kGapPasses = 3;
constexpr int kUnshuffle = 8;  // the depth map is 8 times the anomaly map on each side
constexpr double kMostDepthM = 100.0;
constexpr unsigned kLaneBytes = 8 * kThreads;

unsigned tiles(int size, int tile) { return static_cast<unsigned>((size + tile - 1) / tile); }

template <typename Value>
Buffer constant(std::string name, const std::vector<Value>& values) {
    Buffer buffer{std::move(name), values.size() * sizeof(Value), {}};
    buffer.content.resize(buffer.bytes);
    std::memcpy(buffer.content.data(), values.data(), buffer.bytes);
    return buffer;
}

std::size_t area(int width, int height) { return static_cast<std::size_t>(width) * static_cast<std::size_t>(height); }

Crop region(const std::optional<Crop>& crop, int width, int height) { return crop ? *crop : Crop{0, 0, width, height}; }

Launch rows_launch(const FrameLayout& layout, const Crop& crop, const FixedPointTable& table) {
    const auto size = static_cast<int>(table.first.size());
    int span = 0;
    for (int start = 0; start < size; start += kRowTile) {
        const int last = std::min(start + kRowTile, size) - 1;
        span =
            std::max(span, table.first[static_cast<std::size_t>(last)] - table.first[static_cast<std::size_t>(start)]);
    }
    const int chunk = std::min(span + table.taps, kMostChunk);
    return {"ast_edge_rows",
            {static_cast<unsigned>(crop.height), tiles(size, kRowTile), 1},
            static_cast<unsigned>(4 * chunk + 12 * kRowTile),
            {"frame", static_cast<int>(layout.format), layout.width, layout.height, layout.pitch, crop.x, crop.y,
             "image_x_first", "image_x_weights", table.taps, size, kRowTile, chunk, kFixedPointBits, "image_rows"}};
}

Launch columns_launch(int size, int taps) {
    return {"ast_edge_columns",
            {static_cast<unsigned>(size), tiles(3 * size, kColumnTile), 1},
            0,
            {"image_rows", "image_y_first", "image_y_weights", taps, size, kColumnTile, kFixedPointBits, "image"}};
}

Launch levels_launch(const Preprocessing& spec) {
    const std::array<unsigned, 3> grid{static_cast<unsigned>(spec.image_size), 1, 1};
    if (spec.looked_at.empty()) return {"ast_edge_levels", grid, 4 * kLaneBytes, {"image", spec.image_size, "levels"}};
    return {"ast_edge_levels_inside", grid, 4 * kLaneBytes, {"image", "image_looked_at", spec.image_size, "levels"}};
}

void add_image(Plan& plan, const FrameLayout& layout, const Preprocessing& spec) {
    const Crop crop = region(spec.crop, layout.width, layout.height);
    const int size = spec.image_size;
    const FixedPointTable across = fixed_point_table(crop.width, size), down = fixed_point_table(crop.height, size);
    plan.launches.push_back({"ast_edge_set", {1, 1, 1}, 0, {"levels", 8, 0}});  // 4 uint64 are 8 words
    plan.launches.push_back(rows_launch(layout, crop, across));
    plan.launches.push_back(columns_launch(size, down.taps));
    plan.launches.push_back(levels_launch(spec));
    if (!spec.looked_at.empty()) plan.constants.push_back(constant("image_looked_at", spec.looked_at));
    plan.constants.push_back(constant("image_x_first", across.first));
    plan.constants.push_back(constant("image_x_weights", across.weights));
    plan.constants.push_back(constant("image_y_first", down.first));
    plan.constants.push_back(constant("image_y_weights", down.weights));
    plan.workspace.push_back({"image_rows", 3 * area(size, crop.height), {}});
    plan.outputs.push_back({"image", 3 * area(size, size), {}});
    plan.outputs.push_back({"levels", 32, {}});
}

Launch fill_launch(const DepthLayout& layout, const Crop& crop) {
    const unsigned side = kDepthTile + 2 * kGapPasses;
    return {"ast_edge_depth_fill",
            {tiles(crop.width, kDepthTile), tiles(crop.height, kDepthTile), 1},
            2 * 8 * side * side,
            {"depth_m", layout.is_double ? 1 : 0, layout.pitch, crop.x, crop.y, crop.width, crop.height, kDepthTile,
             kGapPasses, kMostDepthM, "depth_filled", "status"}};
}

void add_part_launches(Plan& plan, const Crop& crop, double foreground_min_m) {
    plan.launches.push_back(
        {"ast_edge_depth_part",
         {static_cast<unsigned>(crop.height), 1, 1},
         2 * kLaneBytes + 4 * 8,
         {"depth_filled", crop.width, crop.height, foreground_min_m, "depth_part", "depth_row_sums", "status"}});
    plan.launches.push_back(
        {"ast_edge_depth_mean", {1, 1, 1}, 2 * kLaneBytes, {"depth_row_sums", crop.height, "depth_mean"}});
}

void add_network_launches(Plan& plan, const Crop& crop, int cells, bool fractional) {
    const int size = kUnshuffle * cells;
    plan.launches.push_back({"ast_edge_depth_resize",
                             {static_cast<unsigned>(size), 1, 1},
                             0,
                             {"depth_filled", "depth_part", "depth_mean", crop.width, "depth_x_first",
                              "depth_x_weights", "depth_y_first", "depth_y_weights", size, "depth", "depth_covered"}});
    plan.launches.push_back({"ast_edge_depth_foreground",
                             {static_cast<unsigned>(cells), 1, 1},
                             0,
                             {"depth_covered", cells, kUnshuffle, fractional ? 1 : 0, "foreground", "status"}});
}

void add_depth(Plan& plan, const DepthLayout& layout, const Preprocessing& spec) {
    const Crop crop = region(spec.crop, layout.width, layout.height);
    const int cells = spec.map_size, size = kUnshuffle * cells;
    plan.launches.push_back(fill_launch(layout, crop));
    add_part_launches(plan, crop, spec.depth->foreground_min_m);
    add_network_launches(plan, crop, cells, spec.depth->fractional);
    const TwoTapTable across = two_tap_table(crop.width, size), down = two_tap_table(crop.height, size);
    plan.constants.push_back(constant("depth_x_first", across.first));
    plan.constants.push_back(constant("depth_x_weights", across.weights));
    plan.constants.push_back(constant("depth_y_first", down.first));
    plan.constants.push_back(constant("depth_y_weights", down.weights));
    plan.workspace.push_back({"depth_filled", 8 * area(crop.width, crop.height), {}});
    plan.workspace.push_back({"depth_part", area(crop.width, crop.height), {}});
    plan.workspace.push_back({"depth_row_sums", 16 * static_cast<std::size_t>(crop.height), {}});
    plan.workspace.push_back({"depth_mean", 8, {}});
    plan.workspace.push_back({"depth_covered", area(size, size), {}});
    plan.outputs.push_back({"depth", 4 * area(size, size), {}});
    plan.outputs.push_back({"foreground", 4 * area(cells, cells), {}});
}

}  // namespace

Plan plan_part(const Layouts& layouts, const Preprocessing& spec) {
    Plan plan;
    plan.launches.push_back({"ast_edge_set", {1, 1, 1}, 0, {"status", 1, layouts.depth ? int{kNoPart} : 0}});
    plan.outputs.push_back({"status", 4, {}});
    if (layouts.frame) add_image(plan, *layouts.frame, spec);
    if (layouts.depth) add_depth(plan, *layouts.depth, spec);
    return plan;
}

bool part_seen(int status) {
    if (status & kNotFinite)
        throw frame_error("The depth map holds NaN or infinity; set pixels without a measurement to 0.");
    if (status & kNegative)
        throw frame_error("The depth map holds a negative distance; distances must be measured from the camera.");
    if (status & kTooFar)
        throw frame_error("The depth map reaches more than 100 m, expected at most 100 m; give it in metres, not in ",
                          "millimetres.");
    if (status & kNoCorner)
        throw frame_error("The background cannot be found: no corner of the depth map holds a measurement; move the ",
                          "camera or the crop so that at least one corner sees the plane the part lies on.");
    return (status & kNoPart) == 0;
}

}  // namespace ast_edge_impl
