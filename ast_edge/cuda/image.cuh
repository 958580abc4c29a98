// From a frame to the network's picture and its grey levels.
#pragma once

#include "pixels.cuh"

enum { SEVERAL = sizeof(Several) / sizeof(int) };

// Adds to `sums` [3,tile] what taps `begin` to `end` of an output, or of several neighbours, contribute. `pixels`,
// `weights` and `sums` begin with the first output's; `by` is how far right of it each one's first pixel is, CLOSE
// whether all that is less than AST_EDGE_WINDOW.
template <bool CLOSE, typename Numbers>
__device__ void add_taps(const unsigned* pixels, const Numbers& by, int begin, int end, const int* weights, int size,
                         int tile, int* sums) {
    Numbers red, green, blue, pixel, weight;
    load(sums, red);
    load(sums + tile, green);
    load(sums + 2 * tile, blue);
    for (int tap = begin; tap < end; ++tap) {
        pick<CLOSE>(pixels + tap, by, pixel);
        load(weights + static_cast<long long>(tap) * size, weight);
        red += (pixel & 255) * weight;
        green += (pixel >> 8 & 255) * weight;
        blue += (pixel >> 16) * weight;
    }
    store(red, sums);
    store(green, sums + tile);
    store(blue, sums + 2 * tile);
}

// Adds to `sums` [3,tile] what `chunk` pixels, the first at `start` of the row, contribute to `count` outputs; `first`,
// `weights` and `sums` begin with those of the first one.
__device__ void add_chunk(const unsigned* pixels, int start, int chunk, int count, const int* first, const int* weights,
                          int taps, int size, int tile, int* sums) {
    const int last = first[count - 1];
    if (count == SEVERAL && start <= first[0] && last + taps <= start + chunk) {
        Several by;
        load(first, by);
        by -= first[0];
        pixels += first[0] - start;
        if (last - first[0] < AST_EDGE_WINDOW) return add_taps<true>(pixels, by, 0, taps, weights, size, tile, sums);
        return add_taps<false>(pixels, by, 0, taps, weights, size, tile, sums);
    }
    for (int i = 0; i < count; ++i) {
        const int skip = start - first[i];
        const int from = skip > 0 ? skip : 0;
        const int to = skip + chunk < taps ? skip + chunk : taps;
        add_taps<false>(pixels - skip, 0, from, to, weights + i, size, tile, sums + i);
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
// tiles of outputs]; shared: `chunk` pixels as uint32, then 3 x `tile` sums as int32. `first` int32 [size] and
// `weights` int32 [taps,size] in `bits`-bit fixed point; positions count from the crop's left edge.
extern "C" __global__ void ast_edge_rows(const Byte* data, int format, int width, int height, int pitch, int crop_x,
                                         int crop_y, const int* first, const int* weights, int taps, int size, int tile,
                                         int chunk, int bits, Byte* rows) {
    AST_EDGE_SHARED(shared);
    unsigned* pixels = reinterpret_cast<unsigned*>(shared);
    int* sums = reinterpret_cast<int*>(pixels + chunk);
    const Frame frame = {data, format, width, height, pitch};
    const int y = blockIdx.x, begin = blockIdx.y * tile;
    const int outputs = size - begin < tile ? size - begin : tile;
    const int stop = first[begin + outputs - 1] + taps;
    for (int i = threadIdx.x; i < 3 * tile; i += blockDim.x) sums[i] = 1 << (bits - 1);  // rounds, not cuts
    for (int start = first[begin]; start < stop; start += chunk) {
        const int count = stop - start < chunk ? stop - start : chunk;
        __syncthreads();  // the previous chunk has been read
        decode(frame, crop_x + start, crop_y + y, count, pixels);
        __syncthreads();
        for (int i = threadIdx.x * SEVERAL; i < outputs; i += blockDim.x * SEVERAL) {
            const int neighbours = outputs - i < SEVERAL ? outputs - i : SEVERAL;
            add_chunk(pixels, start, count, neighbours, first + begin + i, weights + begin + i, taps, size, tile,
                      sums + i);
        }
    }
    __syncthreads();
    Byte* out = rows + 3 * (static_cast<long long>(y) * size + begin);
    for (int i = threadIdx.x; i < outputs; i += blockDim.x)
        for (int channel = 0; channel < 3; ++channel)
            out[3 * i + channel] = static_cast<Byte>(clamped(sums[channel * tile + i] >> bits, 0, 255));
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
extern "C" __global__ void ast_edge_columns(const Byte* rows, const int* first, const int* weights, int taps, int size,
                                            int tile, int bits, Byte* image) {
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

__device__ short channel_sum(const Byte* pixel) { return static_cast<short>(pixel[0] + pixel[1] + pixel[2]); }

// Adds to `sums` [4], `LANES` apart, what N pixels of a row contribute to the levels; `row` is of `image` uint8 RGB
// with `below` bytes to the next row, 0 where there is none.
template <int N>
__device__ void add_levels(const Byte* row, int below, int size, int x, Count* sums) {
    short here[N + 1], under[N];  // a row of its own each, so that a processor's vectors are filled once
    const Byte* first = row + 3 * x;
    for (int i = 0; i < N; ++i) here[i] = channel_sum(first + 3 * i);
    here[N] = x + N < size ? channel_sum(first + 3 * N) : here[N - 1];
    for (int i = 0; i < N; ++i) under[i] = channel_sum(first + below + 3 * i);
    int sum = 0, squares = 0, down = 0, right = 0;  // of at most 64 pixels: they do not overflow
    for (int i = 0; i < N; ++i) sum += here[i];
    for (int i = 0; i < N; ++i) squares += here[i] * here[i];
    for (int i = 0; i < N; ++i) {
        const short difference = static_cast<short>(under[i] - here[i]);
        down += difference * difference;
    }
    for (int i = 0; i < N; ++i) {
        const short difference = static_cast<short>(here[i + 1] - here[i]);
        right += difference * difference;
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
        for (; x + AST_EDGE_TOGETHER <= size; x += LANES * AST_EDGE_TOGETHER)
            add_levels<AST_EDGE_TOGETHER>(row, below, size, x, lanes + lane);
        for (const int end = x + AST_EDGE_TOGETHER; x < size && x < end; ++x)
            add_levels<1>(row, below, size, x, lanes + lane);
    }
    for (int i = 0; i < 4; ++i) sum_counts(lanes + i * LANES, used);
    for (int i = threadIdx.x; i < 4; i += blockDim.x) atomicAdd(levels + i, lanes[i * LANES]);
}

// Adds to `levels` [4] likewise, but only pixels that are not zero in `inside` [size,size], and differences between two
// of them. Grid [size]; shared: 4 x LANES uint64.
extern "C" __global__ void ast_edge_levels_inside(const Byte* image, const Byte* inside, int size, Count* levels) {
    AST_EDGE_SHARED(shared);
    Count* lanes = reinterpret_cast<Count*>(shared);
    const int y = blockIdx.x;
    for (int lane = threadIdx.x; lane < LANES; lane += blockDim.x) {
        Count sums[4] = {0, 0, 0, 0};
        for (int x = lane; x < size; x += LANES) {
            const long long at = static_cast<long long>(y) * size + x;
            if (inside[at] == 0) continue;
            const int here = channel_sum(image + 3 * at);
            sums[0] += here;
            sums[1] += here * here;
            if (y + 1 < size && inside[at + size] != 0) {
                const int difference = channel_sum(image + 3 * (at + size)) - here;
                sums[2] += difference * difference;
            }
            if (x + 1 < size && inside[at + 1] != 0) {
                const int difference = channel_sum(image + 3 * (at + 1)) - here;
                sums[3] += difference * difference;
            }
        }
        for (int i = 0; i < 4; ++i) lanes[i * LANES + lane] = sums[i];
    }
    for (int i = 0; i < 4; ++i) sum_counts(lanes + i * LANES, LANES);
    for (int i = threadIdx.x; i < 4; i += blockDim.x) atomicAdd(levels + i, lanes[i * LANES]);
}
