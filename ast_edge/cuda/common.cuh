// What the kernels share, for a GPU and through host_shim.h for a CPU.
#pragma once

#ifdef __CUDACC__
#define AST_EDGE_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
// More where a processor has vectors: neighbours that a thread computes at once, and numbers that are one operand.
#define AST_EDGE_TOGETHER 1
#define AST_EDGE_WINDOW 0
typedef int Several;
#else
#include "host_shim.h"
#endif

typedef unsigned char Byte;
typedef unsigned long long Count;

// Bits of `status`; the same in plan.py.
enum Status { NOT_FINITE = 1, NEGATIVE = 2, TOO_FAR = 4, NO_CORNER = 8, NO_PART = 16 };

enum { LANES = 128 };  // partial sums of a line; a power of two

__device__ int clamped(int value, int low, int high) { return value < low ? low : (value > high ? high : value); }

template <typename Numbers>
__device__ void load(const int* from, Numbers& numbers) {
    memcpy(&numbers, from, sizeof numbers);
}
__device__ void load(const int* from, int& number) { number = *from; }

template <typename Numbers>
__device__ void store(const Numbers& numbers, int* to) {
    memcpy(to, &numbers, sizeof numbers);
}
__device__ void store(int number, int* to) { *to = number; }

// The pixel `by` further than `from`.
template <bool>
__device__ void pick(const unsigned* from, int by, int& pixel) {
    pixel = static_cast<int>(from[by]);
}

// Whether a block has one thread, which knows everything about it.
#ifdef AST_EDGE_ONE_THREAD
#define AST_EDGE_ALONE 1
#else
#define AST_EDGE_ALONE 0
#endif

// Calls `body` with row and column of every cell, all threads together. One thread goes row by row: dividing would take
// it longer than what there is to compute.
template <typename Body>
__device__ void for_cells(int rows, int columns, Body body) {
#if AST_EDGE_ALONE
    for (int row = 0; row < rows; ++row)
        for (int column = 0; column < columns; ++column) body(row, column);
#else
    for (int i = threadIdx.x; i < rows * columns; i += blockDim.x) body(i / columns, i % columns);
#endif
}

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
