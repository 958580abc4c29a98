// The kernels of ast_edge/cuda/preprocess.cu for this processor. Compiled without contracted multiplications and
// additions, as on the GPU.
#define AST_EDGE_ONE_THREAD
#include AST_EDGE_KERNEL_SOURCE
