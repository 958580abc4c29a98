// The kernels of preprocess.cu for this processor, called from host.py; host_build.py says how it is compiled.
#define AST_EDGE_ONE_THREAD
#define AST_EDGE_EXPORTED extern "C" __attribute__((visibility("default")))

AST_EDGE_EXPORTED int ast_edge_launch(const char* name, const unsigned* grid, const unsigned* block,
                                      unsigned shared_bytes, void** arguments);

#include "preprocess.cu"

// The digest of the sources that it was compiled from: host.py loads no other.
AST_EDGE_EXPORTED const char ast_edge_kernels_sha256[];
const char ast_edge_kernels_sha256[] = AST_EDGE_KERNELS_SHA256;
