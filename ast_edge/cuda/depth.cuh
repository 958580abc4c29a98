// From a depth map to the network's inputs.
#pragma once

#include "common.cuh"

__device__ double metres(const void* data, int is_double, long long index) {
    return is_double ? static_cast<const double*>(data)[index] : static_cast<const float*>(data)[index];
}

__device__ int faults_of(double z, double max_depth_m) {
    if (!isfinite(z)) return NOT_FINITE;
    return (z < 0 ? NEGATIVE : 0) | (z > max_depth_m ? TOO_FAR : 0);
}

// The mean of the measured among the 3x3 around `at`, added column by column as the reference does.
__device__ double mean_around(const double* at, int side) {
    double columns[3];
    int count = 0;
    for (int x = 0; x < 3; ++x) {
        const double up = at[x - 1 - side], here = at[x - 1], down = at[x - 1 + side];
        columns[x] = up + here + down;
        count += (up > 0) + (here > 0) + (down > 0);
    }
    return count > 0 ? (columns[0] + columns[1] + columns[2]) / count : 0.0;
}

// Checks the crop of a depth map and fills its gaps, `passes` times: `filled` float64 [height,width] of the
// crop. `pitch` counts values. Grid [tiles in a row, tiles in a column] of `tile` x `tile`; shared: two squares
// of doubles with `passes` more on each side, as far as a filled value travels.
extern "C" __global__ void ast_edge_depth_fill(const void* data, int is_double, int pitch, int crop_x, int crop_y,
                                               int width, int height, int tile, int passes, double max_depth_m,
                                               double* filled, int* status) {
    AST_EDGE_SHARED(shared);
    const int side = tile + 2 * passes, area = side * side;
    const int left = blockIdx.x * tile - passes, top = blockIdx.y * tile - passes;
    double* from = reinterpret_cast<double*>(shared);
    double* to = from + area;
    int faults = 0;
    bool gaps = !AST_EDGE_ALONE;  // several threads would have to tell each other
    for_cells(side, side, [&](int row, int column) {
        const int x = left + column, y = top + row;
        const bool inside = x >= 0 && x < width && y >= 0 && y < height;  // outside counts as not measured
        double& z = from[row * side + column];
        z = inside ? metres(data, is_double, static_cast<long long>(crop_y + y) * pitch + crop_x + x) : 0.0;
        if (inside) faults |= faults_of(z, max_depth_m);
        gaps |= inside && z == 0;
    });
    if (faults) atomicOr(status, faults);
    for (int pass = 1; gaps && pass <= passes; ++pass) {
        __syncthreads();
        const int inner = side - 2 * pass;
        for_cells(inner, inner, [&](int inner_row, int inner_column) {
            const int row = pass + inner_row, column = pass + inner_column, at = row * side + column;
            const int x = left + column, y = top + row;
            const bool gap = from[at] == 0 && x >= 0 && x < width && y >= 0 && y < height;
            to[at] = gap ? mean_around(from + at, side) : from[at];
        });
        double* swapped = from;
        from = to;
        to = swapped;
    }
    __syncthreads();
    for_cells(tile, tile, [&](int row, int column) {
        const int x = left + passes + column, y = top + passes + row;
        if (x < width && y < height)
            filled[static_cast<long long>(y) * width + x] = from[(passes + row) * side + passes + column];
    });
}

// Mean of the measured pixels of the 2x2 corner that starts at `z`; 0 when none was measured.
__device__ double corner_mean(const double* z, int width) {
    const int count = (z[0] > 0) + (z[1] > 0) + (z[width] > 0) + (z[width + 1] > 0);
    return ((z[0] + z[width]) + (z[1] + z[width + 1])) / (count > 0 ? count : 1);
}

// The four corners of `z` [height,width] in reading order; false when none was measured. One that was not is
// put on the plane through the other three; two or three take the mean of the rest.
__device__ bool find_corners(const double* z, int width, int height, double* corners) {
    const long long last_row = static_cast<long long>(height - 2) * width;
    corners[0] = corner_mean(z, width);
    corners[1] = corner_mean(z + width - 2, width);
    corners[2] = corner_mean(z + last_row, width);
    corners[3] = corner_mean(z + last_row + width - 2, width);
    double sum = 0;
    int measured = 0, missing = 0;
    for (int i = 0; i < 4; ++i) {
        if (corners[i] > 0) {
            sum += corners[i];
            ++measured;
        } else {
            missing = i;
        }
    }
    if (measured == 3) corners[missing] = corners[missing ^ 1] + corners[missing ^ 2] - corners[missing ^ 3];
    if (measured == 1 || measured == 2)
        for (int i = 0; i < 4; ++i) corners[i] = corners[i] > 0 ? corners[i] : sum / measured;
    return measured > 0;
}

// How far pixel `i` of `n` is along its line, 0 to 1, as numpy.linspace(0, 1, n) says.
__device__ double along(int i, int n) { return i == n - 1 ? 1.0 : i * (1.0 / (n - 1)); }

// Where the part stands off its background: `part` uint8 [height,width], and of every row the sum of the part's
// distances and its number of pixels, `row_sums` float64 [height,2]. Grid [height]; shared: 2 x LANES doubles and
// the 4 corners.
extern "C" __global__ void ast_edge_depth_part(const double* z, int width, int height, double foreground_min_m,
                                               Byte* part, double* row_sums, int* status) {
    AST_EDGE_SHARED(shared);
    double* sums = reinterpret_cast<double*>(shared);
    double* counts = sums + LANES;
    double* corners = counts + LANES;
    const int y = blockIdx.x;
    if (threadIdx.x == 0 && !find_corners(z, width, height, corners) && y == 0) atomicOr(status, NO_CORNER);
    __syncthreads();
    const double down = along(y, height);
    const double left_edge = (1 - down) * corners[0] + down * corners[2];
    const double right_edge = (1 - down) * corners[1] + down * corners[3];
    const long long row = static_cast<long long>(y) * width;
    for (int lane = threadIdx.x; lane < LANES; lane += blockDim.x) {
        double sum = 0, count = 0;
        for (int x = lane; x < width; x += LANES) {
            const double here = z[row + x], right = along(x, width);
            const double background = (1 - right) * left_edge + right * right_edge;
            const bool is_part = fabs(background - here) > foreground_min_m && here != 0;
            part[row + x] = is_part;
            sum += is_part ? here : 0.0;
            count += is_part;
        }
        sums[lane] = sum;
        counts[lane] = count;
    }
    sum_lanes(sums);
    sum_lanes(counts);
    if (threadIdx.x == 0) {
        row_sums[2 * y] = sums[0];
        row_sums[2 * y + 1] = counts[0];
    }
}

// The part's mean distance, `mean` float64 [1], 0 without a part. Grid [1]; shared: 2 x LANES doubles.
extern "C" __global__ void ast_edge_depth_mean(const double* row_sums, int height, double* mean) {
    AST_EDGE_SHARED(shared);
    double* sums = reinterpret_cast<double*>(shared);
    double* counts = sums + LANES;
    for (int lane = threadIdx.x; lane < LANES; lane += blockDim.x) {
        sums[lane] = counts[lane] = 0;
        for (int y = lane; y < height; y += LANES) {
            sums[lane] += row_sums[2 * y];
            counts[lane] += row_sums[2 * y + 1];
        }
    }
    sum_lanes(sums);
    sum_lanes(counts);
    if (threadIdx.x == 0) *mean = counts[0] > 0 ? sums[0] / counts[0] : 0.0;
}

// Resizes to `depth` float32 [size,size] in centimetres beyond the mean, and says in `covered` uint8 [size,size]
// where a part was blended in. Grid [size]. Two taps: `first` int32 [size] and `weights` float64 [size,2].
extern "C" __global__ void ast_edge_depth_resize(const double* z, const Byte* part, const double* mean, int width,
                                                 const int* first_x, const double* weights_x, const int* first_y,
                                                 const double* weights_y, int size, float* depth, Byte* covered) {
    const int y = blockIdx.x;
    const long long row = static_cast<long long>(first_y[y]) * width;
    const double upper = weights_y[2 * y], lower = weights_y[2 * y + 1], mean_z = *mean;
    for (int x = threadIdx.x; x < size; x += blockDim.x) {
        double blended = 0, weight_of_part = 0;
        for (int tap = 0; tap < 2; ++tap) {
            const long long above = row + first_x[x] + tap, below = above + width;
            const double beyond_above = part[above] ? 100.0 * (z[above] - mean_z) : 0.0;
            const double beyond_below = part[below] ? 100.0 * (z[below] - mean_z) : 0.0;
            const double weight = weights_x[2 * x + tap];
            blended += weight * (upper * beyond_above + lower * beyond_below);
            weight_of_part += weight * ((part[above] ? upper : 0.0) + (part[below] ? lower : 0.0));
        }
        depth[static_cast<long long>(y) * size + x] = static_cast<float>(blended);
        covered[static_cast<long long>(y) * size + x] = weight_of_part > 0;
    }
}

__device__ int any_in_block(const Byte* covered, int size, int left, int top, int block) {
    const int right = left + block < size ? left + block : size, bottom = top + block < size ? top + block : size;
    for (int y = top; y < bottom; ++y)
        for (int x = left; x < right; ++x)
            if (covered[static_cast<long long>(y) * size + x]) return 1;
    return 0;
}

// Dilates `covered` by a square of `block` and reduces by `block` to `foreground` float32 [cells,cells]: of the
// four squares that start at a cell's corner or one pixel on, the share that is covered, or whether any is.
// Grid [cells]. Takes NO_PART off the status where there is a part.
extern "C" __global__ void ast_edge_depth_foreground(const Byte* covered, int cells, int block, int fractional,
                                                     float* foreground, int* status) {
    const int row = blockIdx.x, size = cells * block;
    for (int column = threadIdx.x; column < cells; column += blockDim.x) {
        int total = 0;
        for (int i = 0; i < 4; ++i)
            total += any_in_block(covered, size, column * block + i % 2, row * block + i / 2, block);
        foreground[static_cast<long long>(row) * cells + column] =
            fractional ? total / 4.0f : (total > 0 ? 1.0f : 0.0f);
        if (total > 0) atomicAnd(status, ~NO_PART);
    }
}
