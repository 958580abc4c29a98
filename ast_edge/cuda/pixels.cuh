// One pixel of a frame in any of its formats; ast_edge/frames/pixel_formats.py is the definition.
#pragma once

#include "common.cuh"

// The order of `ast_edge.frames.pixel_formats.COLOURS`.
enum Format { RGB, BGR, MONO, BAYER_RGGB, BAYER_BGGR, BAYER_GRBG, BAYER_GBRG, NV12, YUYV };

struct Frame {
    const Byte* data;
    int format, width, height;  // in pixels
    int pitch;                  // bytes from row to row
};

struct Pixel {
    int red, green, blue;
};

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
