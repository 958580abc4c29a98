// The arithmetic of ast_edge/frames/preprocess.py and ast_edge/frames/pixel_formats.py, which are the definition;
// plan.py says which kernel is launched with what. Compile with -fmad=false: the depth map's decisions (part or
// background) rest on doubles that must be rounded after every operation, as NumPy rounds them.
//
// No kernel depends on the number of threads in its block, nor does any result: floating point sums are taken
// in a fixed order. So one thread per block, on a CPU through host_shim.h, computes the same numbers.

#include "common.cuh"
#include "depth.cuh"
#include "image.cuh"

// Sets `words` int32 [count] to `value`. Grid [1].
extern "C" __global__ void ast_edge_set(int* words, int count, int value) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) words[i] = value;
}

#ifndef __CUDACC__
int ast_edge_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
                    void** arguments) {
    AST_EDGE_TRY(ast_edge_set);
    AST_EDGE_TRY(ast_edge_rows);
    AST_EDGE_TRY(ast_edge_columns);
    AST_EDGE_TRY(ast_edge_levels);
    AST_EDGE_TRY(ast_edge_levels_inside);
    AST_EDGE_TRY(ast_edge_depth_fill);
    AST_EDGE_TRY(ast_edge_depth_part);
    AST_EDGE_TRY(ast_edge_depth_mean);
    AST_EDGE_TRY(ast_edge_depth_resize);
    AST_EDGE_TRY(ast_edge_depth_foreground);
    return 1;
}
#endif
