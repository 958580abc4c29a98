// The arithmetic of ast_edge/preprocess.py and ast_edge/pixel_formats.py, which are the definition; plan.py
// says which kernel is launched with what. Compile with -fmad=false: the depth map's decisions (part or
// background) rest on doubles that must be rounded after every operation, as NumPy rounds them.
//
// No kernel depends on the number of threads in its block, nor does any result: floating point sums are taken
// in a fixed order. So one thread per block, on a CPU through host_shim.h, computes the same numbers.

#ifdef __CUDACC__
#define AST_EDGE_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define AST_EDGE_TOGETHER 1  // neighbours that a thread computes at once; more where a processor has vectors
#else
#include "host_shim.h"
#endif

typedef unsigned char Byte;
typedef unsigned long long Count;

// The order of `ast_edge.pixel_formats.COLOURS`.
enum Format { RGB, BGR, MONO, BAYER_RGGB, BAYER_BGGR, BAYER_GRBG, BAYER_GBRG, NV12, YUYV };

// Bits of `status`; the same in plan.py.
enum Status { NOT_FINITE = 1, NEGATIVE = 2, TOO_FAR = 4, NO_CORNER = 8, NO_PART = 16 };

enum { LANES = 128 };  // partial sums of a line; a power of two

// ---- pixels ----------------------------------------------------------------------------------------------

struct Frame {
    const Byte* data;
    int format, width, height;  // in pixels
    int pitch;                  // bytes from row to row
};

struct Pixel {
    int red, green, blue;
};

__device__ int clamped(int value, int low, int high) {
    return value < low ? low : (value > high ? high : value);
}

__device__ const Byte* row_of(Frame frame, int y) { return frame.data + static_cast<long long>(y) * frame.pitch; }

// Mirrored at the border without repeating it, which keeps the phase of a Bayer pattern.
__device__ int mirrored(int index, int size) {
    index = index < 0 ? -index : index;
    return index < size ? index : 2 * (size - 1) - index;
}

// Where red is in the 2x2 tile: bit 1 its row, bit 0 its column; blue is diagonally opposite.
__device__ int red_in_tile(int format) {
    switch (format) {
        case BAYER_RGGB: return 0;
        case BAYER_GRBG: return 1;
        case BAYER_GBRG: return 2;
        default: return 3;
    }
}

__device__ Pixel bayer_pixel(Frame frame, int x, int y) {
    const Byte* up = row_of(frame, mirrored(y - 1, frame.height));
    const Byte* here = row_of(frame, y);
    const Byte* down = row_of(frame, mirrored(y + 1, frame.height));
    const int left = mirrored(x - 1, frame.width), right = mirrored(x + 1, frame.width);
    const int own = here[x], beside = here[left] + here[right], above = up[x] + down[x];
    const int from_red = ((y & 1) << 1 | (x & 1)) ^ red_in_tile(frame.format);
    if (from_red == 1) return {(beside + 1) >> 1, own, (above + 1) >> 1};  // green in a row with red
    if (from_red == 2) return {(above + 1) >> 1, own, (beside + 1) >> 1};  // green in a row with blue
    const int green = (beside + above + 2) >> 2;
    const int other = (up[left] + up[right] + down[left] + down[right] + 2) >> 2;
    if (from_red == 0) return {own, green, other};
    return {other, green, own};
}

// BT.601 in limited range, 16-bit fixed point; the factors are derived in pixel_formats.py.
__device__ Pixel yuv_pixel(int luma, int u, int v) {
    const int y = (luma > 16 ? luma - 16 : 0) * 76309 + (1 << 15);
    u -= 128;
    v -= 128;
    return {clamped((y + 104597 * v) >> 16, 0, 255), clamped((y - 25675 * u - 53279 * v) >> 16, 0, 255),
            clamped((y + 132201 * u) >> 16, 0, 255)};
}

__device__ Pixel pixel_at(Frame frame, int x, int y) {
    const Byte* row = row_of(frame, y);
    switch (frame.format) {
        case RGB: return {row[3 * x], row[3 * x + 1], row[3 * x + 2]};
        case BGR: return {row[3 * x + 2], row[3 * x + 1], row[3 * x]};
        case MONO: return {row[x], row[x], row[x]};
        case YUYV: return yuv_pixel(row[2 * x], row[4 * (x / 2) + 1], row[4 * (x / 2) + 3]);
        case NV12: {
            const Byte* chroma = row_of(frame, frame.height + y / 2) + x / 2 * 2;
            return yuv_pixel(row[x], chroma[0], chroma[1]);
        }
        default: return bayer_pixel(frame, x, y);
    }
}

// ---- sums over the lanes of a block ----------------------------------------------------------------------

// Leaves the sum of lanes[0..LANES) in lanes[0], always added in the same order; call with all threads.
__device__ void sum_lanes(double* lanes) {
    for (int step = LANES / 2; step > 0; step /= 2) {
        __syncthreads();
        for (int lane = threadIdx.x; lane < step; lane += blockDim.x) lanes[lane] += lanes[lane + step];
    }
    __syncthreads();
}

__device__ void sum_counts(Count* lanes, int used) {
    for (int step = used / 2; step > 0; step /= 2) {
        __syncthreads();
        for (int lane = threadIdx.x; lane < step; lane += blockDim.x) lanes[lane] += lanes[lane + step];
    }
    __syncthreads();
}

// ---- picture ---------------------------------------------------------------------------------------------

// Sets `words` int32 [count] to `value`. Grid [1].
extern "C" __global__ void ast_edge_set(int* words, int count, int value) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) words[i] = value;
}

// Adds to `sums` [outputs,3], from `sum_of` on, what taps `begin` to `end` of N outputs from `output` on contribute.
// `pixels` begins with the one at `start` of the row.
template <int N>
__device__ void add_taps(const unsigned* pixels, int start, int begin, int end, int output, int sum_of, const int* first,
                         const int* weights, int size, int* sums) {
    int at[N], red[N], green[N], blue[N];
    for (int i = 0; i < N; ++i) {
        at[i] = first[output + i] - start;
        red[i] = sums[3 * (sum_of + i)];
        green[i] = sums[3 * (sum_of + i) + 1];
        blue[i] = sums[3 * (sum_of + i) + 2];
    }
    for (int tap = begin; tap < end; ++tap) {
        const int* of_tap = weights + static_cast<long long>(tap) * size + output;
        for (int i = 0; i < N; ++i) {
            const unsigned pixel = pixels[at[i] + tap];
            red[i] += static_cast<int>(pixel & 255) * of_tap[i];
            green[i] += static_cast<int>(pixel >> 8 & 255) * of_tap[i];
            blue[i] += static_cast<int>(pixel >> 16) * of_tap[i];
        }
    }
    for (int i = 0; i < N; ++i) {
        sums[3 * (sum_of + i)] = red[i];
        sums[3 * (sum_of + i) + 1] = green[i];
        sums[3 * (sum_of + i) + 2] = blue[i];
    }
}

// Adds to `sums` [outputs,3] what `chunk` pixels, the first at `start` of the row, contribute to outputs `sum_of` to
// `stop` of the tile that begins at output `begin`.
__device__ void add_chunk(const unsigned* pixels, int start, int chunk, int begin, int sum_of, int stop,
                          const int* first, const int* weights, int taps, int size, int* sums) {
    const int output = begin + sum_of, last = begin + stop - 1;
    if (stop - sum_of == AST_EDGE_TOGETHER && start <= first[output] && first[last] + taps <= start + chunk) {
        add_taps<AST_EDGE_TOGETHER>(pixels, start, 0, taps, output, sum_of, first, weights, size, sums);
        return;
    }
    for (int i = 0; i < stop - sum_of; ++i) {
        const int skip = start - first[output + i];
        const int from = skip > 0 ? skip : 0;
        const int to = skip + chunk < taps ? skip + chunk : taps;
        add_taps<1>(pixels, start, from, to, output + i, sum_of + i, first, weights, size, sums);
    }
}

// Decodes `count` pixels from (x,y) on, FORMAT known to the compiler, to red | green << 8 | blue << 16.
template <int FORMAT>
__device__ void decode_as(Frame frame, int x, int y, int count, unsigned* pixels) {
    frame.format = FORMAT;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const Pixel pixel = pixel_at(frame, x + i, y);
        pixels[i] = static_cast<unsigned>(pixel.red | pixel.green << 8 | pixel.blue << 16);
    }
}

__device__ void decode(Frame frame, int x, int y, int count, unsigned* pixels) {
    switch (frame.format) {
        case RGB: return decode_as<RGB>(frame, x, y, count, pixels);
        case BGR: return decode_as<BGR>(frame, x, y, count, pixels);
        case MONO: return decode_as<MONO>(frame, x, y, count, pixels);
        case NV12: return decode_as<NV12>(frame, x, y, count, pixels);
        case YUYV: return decode_as<YUYV>(frame, x, y, count, pixels);
        case BAYER_RGGB: return decode_as<BAYER_RGGB>(frame, x, y, count, pixels);
        case BAYER_BGGR: return decode_as<BAYER_BGGR>(frame, x, y, count, pixels);
        case BAYER_GRBG: return decode_as<BAYER_GRBG>(frame, x, y, count, pixels);
        default: return decode_as<BAYER_GBRG>(frame, x, y, count, pixels);
    }
}

// Decodes one row of the crop and resizes it: `rows` uint8 RGB [crop_height,size,3]. Grid [crop_height,
// tiles of outputs]; shared: `chunk` pixels as uint32, then `tile` sums as 3 int32. `first` int32 [size] and
// `weights` int32 [taps,size] in `bits`-bit fixed point; positions count from the crop's left edge.
extern "C" __global__ void ast_edge_rows(const Byte* data, int format, int width, int height, int pitch, int crop_x,
                                         int crop_y, const int* first, const int* weights, int taps, int size,
                                         int tile, int chunk, int bits, Byte* rows) {
    AST_EDGE_SHARED(shared);
    unsigned* pixels = reinterpret_cast<unsigned*>(shared);
    int* sums = reinterpret_cast<int*>(pixels + chunk);
    const Frame frame = {data, format, width, height, pitch};
    const int y = blockIdx.x, begin = blockIdx.y * tile;
    const int outputs = size - begin < tile ? size - begin : tile;
    const int stop = first[begin + outputs - 1] + taps;
    for (int i = threadIdx.x; i < 3 * outputs; i += blockDim.x) sums[i] = 1 << (bits - 1);  // rounds, not cuts
    for (int start = first[begin]; start < stop; start += chunk) {
        const int count = stop - start < chunk ? stop - start : chunk;
        __syncthreads();  // the previous chunk has been read
        decode(frame, crop_x + start, crop_y + y, count, pixels);
        __syncthreads();
        for (int i = threadIdx.x * AST_EDGE_TOGETHER; i < outputs; i += blockDim.x * AST_EDGE_TOGETHER) {
            const int end = outputs - i < AST_EDGE_TOGETHER ? outputs : i + AST_EDGE_TOGETHER;
            add_chunk(pixels, start, count, begin, i, end, first, weights, taps, size, sums);
        }
    }
    __syncthreads();
    Byte* out = rows + 3 * (static_cast<long long>(y) * size + begin);
    for (int i = threadIdx.x; i < 3 * outputs; i += blockDim.x)
        out[i] = static_cast<Byte>(clamped(sums[i] >> bits, 0, 255));
}

// N bytes of one output row from the rows at `from`, whose weights start at `weights`.
template <int N>
__device__ void add_rows(const Byte* from, int row_bytes, const int* weights, int taps, int size, int bits, Byte* out) {
    int sums[N];
    for (int i = 0; i < N; ++i) sums[i] = 1 << (bits - 1);
    for (int tap = 0; tap < taps; ++tap) {
        const Byte* row = from + static_cast<long long>(tap) * row_bytes;
        const int weight = weights[tap * size];
        for (int i = 0; i < N; ++i) sums[i] += row[i] * weight;
    }
    for (int i = 0; i < N; ++i) out[i] = static_cast<Byte>(clamped(sums[i] >> bits, 0, 255));
}

// Resizes the columns of `rows` uint8 [n,row_bytes] to `image` uint8 [size,row_bytes], row_bytes = 3 size. Grid
// [size, tiles of bytes]. `first` and `weights` as in ast_edge_rows.
extern "C" __global__ void ast_edge_columns(const Byte* rows, const int* first, const int* weights, int taps,
                                            int size, int tile, int bits, Byte* image) {
    const int row_bytes = 3 * size, y = blockIdx.x, begin = blockIdx.y * tile;
    const int end = row_bytes - begin < tile ? row_bytes : begin + tile;
    const int rest = end - (end - begin) % AST_EDGE_TOGETHER;
    const Byte* from = rows + static_cast<long long>(first[y]) * row_bytes;
    Byte* out = image + static_cast<long long>(y) * row_bytes;
    for (int i = begin + threadIdx.x * AST_EDGE_TOGETHER; i < rest; i += blockDim.x * AST_EDGE_TOGETHER)
        add_rows<AST_EDGE_TOGETHER>(from + i, row_bytes, weights + y, taps, size, bits, out + i);
    for (int i = rest + threadIdx.x; i < end; i += blockDim.x)
        add_rows<1>(from + i, row_bytes, weights + y, taps, size, bits, out + i);
}

__device__ int channel_sum(const Byte* pixel) { return pixel[0] + pixel[1] + pixel[2]; }

// Adds to `sums` [4], `LANES` apart, what N pixels of a row contribute to the levels; `row` is of `image` uint8 RGB
// with `below` bytes to the next row, 0 where there is none.
template <int N>
__device__ void add_levels(const Byte* row, int below, int size, int x, Count* sums) {
    unsigned sum = 0, squares = 0, down = 0, right = 0;  // of at most 32 pixels: they do not overflow
    const int right_by = x + N < size ? 3 : 0;
    for (int i = 0; i < N; ++i) {
        const Byte* pixel = row + 3 * (x + i);
        const int here = channel_sum(pixel);
        const int under = channel_sum(pixel + below) - here, beside = channel_sum(pixel + right_by) - here;
        sum += here;
        squares += here * here;
        down += under * under;
        right += beside * beside;
    }
    sums[0] += sum;
    sums[LANES] += squares;
    sums[2 * LANES] += down;
    sums[3 * LANES] += right;
}

// Adds to `levels` [4], of the channels' sum in `image` uint8 [size,size,3]: its sum, the sum of its squares,
// and the squared differences to the pixel below and to the pixel on the right. Grid [size]; shared: 4 x LANES
// uint64.
extern "C" __global__ void ast_edge_levels(const Byte* image, int size, Count* levels) {
    AST_EDGE_SHARED(shared);
    Count* lanes = reinterpret_cast<Count*>(shared);
    const int y = blockIdx.x, below = y + 1 < size ? 3 * size : 0;
    const Byte* row = image + static_cast<long long>(y) * 3 * size;
    int used = LANES;
    while (used > 1 && used / 2 * AST_EDGE_TOGETHER >= size) used /= 2;
    for (int lane = threadIdx.x; lane < used; lane += blockDim.x) {
        for (int i = 0; i < 4; ++i) lanes[i * LANES + lane] = 0;
        int x = lane * AST_EDGE_TOGETHER;
        for (; x + AST_EDGE_TOGETHER < size; x += LANES * AST_EDGE_TOGETHER)
            add_levels<AST_EDGE_TOGETHER>(row, below, size, x, lanes + lane);
        for (const int end = x + AST_EDGE_TOGETHER; x < size && x < end; ++x)
            add_levels<1>(row, below, size, x, lanes + lane);
    }
    for (int i = 0; i < 4; ++i) sum_counts(lanes + i * LANES, used);
    for (int i = threadIdx.x; i < 4; i += blockDim.x) atomicAdd(levels + i, lanes[i * LANES]);
}

// ---- depth map -------------------------------------------------------------------------------------------

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
    for (int i = threadIdx.x; i < area; i += blockDim.x) {
        const int x = left + i % side, y = top + i / side;
        const bool inside = x >= 0 && x < width && y >= 0 && y < height;  // outside counts as not measured
        from[i] = inside ? metres(data, is_double, static_cast<long long>(crop_y + y) * pitch + crop_x + x) : 0.0;
        if (inside) faults |= faults_of(from[i], max_depth_m);
    }
    if (faults) atomicOr(status, faults);
    for (int pass = 1; pass <= passes; ++pass) {
        __syncthreads();
        const int inner = side - 2 * pass;
        for (int i = threadIdx.x; i < inner * inner; i += blockDim.x) {
            const int column = pass + i % inner, row = pass + i / inner, at = row * side + column;
            const int x = left + column, y = top + row;
            const bool gap = from[at] == 0 && x >= 0 && x < width && y >= 0 && y < height;
            to[at] = gap ? mean_around(from + at, side) : from[at];
        }
        double* swapped = from;
        from = to;
        to = swapped;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < tile * tile; i += blockDim.x) {
        const int x = left + passes + i % tile, y = top + passes + i / tile;
        if (x < width && y < height)
            filled[static_cast<long long>(y) * width + x] = from[(passes + i / tile) * side + passes + i % tile];
    }
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
        foreground[static_cast<long long>(row) * cells + column] = fractional ? total / 4.0f : (total > 0 ? 1.0f : 0.0f);
        if (total > 0) atomicAnd(status, ~NO_PART);
    }
}

#ifndef __CUDACC__
int ast_edge_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
                    void** arguments) {
    AST_EDGE_TRY(ast_edge_set);
    AST_EDGE_TRY(ast_edge_rows);
    AST_EDGE_TRY(ast_edge_columns);
    AST_EDGE_TRY(ast_edge_levels);
    AST_EDGE_TRY(ast_edge_depth_fill);
    AST_EDGE_TRY(ast_edge_depth_part);
    AST_EDGE_TRY(ast_edge_depth_mean);
    AST_EDGE_TRY(ast_edge_depth_resize);
    AST_EDGE_TRY(ast_edge_depth_foreground);
    return 1;
}
#endif
