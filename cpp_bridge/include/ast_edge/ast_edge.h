/* The C interface of ast-edge: open a model, pass it parts, get the same verdicts as from Python.
 *
 * Rules for all functions:
 * - No exception leaves a function: it returns a status, and ast_edge_last_error() has the message.
 * - A part that could not be judged is never a pass: whatever the status, a result that was passed in is written,
 *   and its verdict is AST_EDGE_FAULT unless the part was judged. Zeroed memory is a fault too.
 * - One model is used by one thread at a time; several models may be used side by side. A call on a model that another
 *   thread is using, that is closed, or that was opened before a fork is AST_EDGE_USAGE.
 * - Structs start with their size. Initialise with AST_EDGE_INIT; fields are only ever added at the end, and
 *   a library that is newer than its caller writes and reads only what the caller has.
 */
#ifndef AST_EDGE_AST_EDGE_H
#define AST_EDGE_AST_EDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(AST_EDGE_BUILDING)
#define AST_EDGE_API __attribute__((visibility("default")))
#else
#define AST_EDGE_API
#endif

#define AST_EDGE_VERSION_MAJOR 0
#define AST_EDGE_VERSION_MINOR 2
#define AST_EDGE_VERSION_PATCH 0

#ifdef __cplusplus
#define AST_EDGE_NOEXCEPT noexcept
extern "C" {
#else
#define AST_EDGE_NOEXCEPT
#endif

typedef struct ast_edge_model ast_edge_model;

/* Values never change their meaning. */
typedef enum ast_edge_status {
    AST_EDGE_OK = 0,
    AST_EDGE_USAGE = 1,   /* an invalid argument, option or call */
    AST_EDGE_FRAME = 2,   /* a frame or depth map of the wrong kind, size or content */
    AST_EDGE_MODEL = 3,   /* a file is refused: missing, damaged, changed, or newer than this library */
    AST_EDGE_BACKEND = 4, /* an engine is missing, does not fit this machine, or failed */
    AST_EDGE_PARITY = 5,  /* the engine does not reproduce the model's reference vectors */
    AST_EDGE_BUSY = 6,    /* AST_EDGE_IN_FLIGHT parts are in flight already: wait for one */
    AST_EDGE_TIMEOUT = 7, /* not done in time; the part is still in flight */
    AST_EDGE_MEMORY = 8,  /* out of memory */
    AST_EDGE_INTERNAL = 9 /* a defect in this library */
} ast_edge_status;

typedef enum ast_edge_verdict { AST_EDGE_FAULT = 0, AST_EDGE_PASS = 1, AST_EDGE_REJECT = 2 } ast_edge_verdict;
typedef enum ast_edge_mode { AST_EDGE_RGB = 0, AST_EDGE_DEPTH = 1, AST_EDGE_RGBD = 2 } ast_edge_mode;
typedef enum ast_edge_precision { AST_EDGE_FP32 = 0, AST_EDGE_FP16 = 1, AST_EDGE_INT8 = 2 } ast_edge_precision;

/* By the file's name: `.engine` is TensorRT's, everything else a model for the CPU. */
typedef enum ast_edge_engine {
    AST_EDGE_ENGINE_AUTO = 0,
    AST_EDGE_ENGINE_CPU = 1,
    AST_EDGE_ENGINE_TENSORRT = 2
} ast_edge_engine;

/* 8 bits per channel. NV12 is the luma plane, then height/2 rows of U and V in turn at the same pitch. */
typedef enum ast_edge_format {
    AST_EDGE_FORMAT_RGB = 0,
    AST_EDGE_FORMAT_BGR = 1,
    AST_EDGE_FORMAT_MONO = 2,
    AST_EDGE_FORMAT_BAYER_RGGB = 3,
    AST_EDGE_FORMAT_BAYER_BGGR = 4,
    AST_EDGE_FORMAT_BAYER_GRBG = 5,
    AST_EDGE_FORMAT_BAYER_GBRG = 6,
    AST_EDGE_FORMAT_NV12 = 7,
    AST_EDGE_FORMAT_YUYV = 8
} ast_edge_format;

typedef enum ast_edge_memory { AST_EDGE_HOST = 0, AST_EDGE_CUDA = 1 } ast_edge_memory;
typedef enum ast_edge_depth_type { AST_EDGE_FLOAT32 = 0, AST_EDGE_FLOAT64 = 1 } ast_edge_depth_type;

enum { AST_EDGE_REASON_BYTES = 256, AST_EDGE_NAME_BYTES = 128, AST_EDGE_IN_FLIGHT = 2 };

typedef struct ast_edge_options {
    uint32_t struct_size;
    int32_t engine;  /* ast_edge_engine */
    int32_t threads; /* of the CPU engine; 0: one per core */
    int32_t device;  /* which GPU, from 0 */
    /* Since 0.2: OpenVINO's device that runs a model, such as "GPU", "NPU" or "AUTO"; NULL: the CPU. */
    const char* processor;
    int32_t allow_cpu; /* 0: it is an error if the processor leaves the network, or a part of it, to the CPU */
} ast_edge_options;

typedef struct ast_edge_info {
    uint32_t struct_size;
    int32_t mode;        /* ast_edge_mode */
    int32_t precision;   /* ast_edge_precision */
    uint32_t image_size; /* side of the network's picture */
    uint32_t map_size;   /* side of the anomaly map */
    int32_t batch;       /* parts at once that the network was exported or built for; -1: any number */
    uint32_t crop_x, crop_y, crop_width, crop_height; /* the inspected area of a frame; width 0: all of it */
    double threshold;                                 /* a part is rejected when its score is greater */
    char model_id[AST_EDGE_NAME_BYTES];
    char engine[AST_EDGE_NAME_BYTES]; /* name, version and device */
} ast_edge_info;

/* One part: a frame in the modes rgb and rgbd, a depth map in depth and rgbd, both of the same pixels. */
typedef struct ast_edge_part {
    uint32_t struct_size;
    int32_t format;         /* ast_edge_format */
    const void* frame;      /* the first row; NULL in mode depth */
    uint32_t width, height; /* of the frame in pixels */
    size_t pitch;           /* bytes from row to row; 0: rows without gaps */
    int32_t memory;         /* ast_edge_memory of both */
    int32_t depth_type;     /* ast_edge_depth_type */
    const void* depth_m;    /* distance from the camera in metres, 0 where not measured; NULL in mode rgb */
    uint32_t depth_width, depth_height;
    size_t depth_pitch; /* bytes from row to row; 0: rows without gaps */
} ast_edge_part;

/* Missing numbers are NaN. Set `map` to a buffer of map_size * map_size floats to get the anomaly map. */
typedef struct ast_edge_result {
    uint32_t struct_size;
    int32_t verdict; /* ast_edge_verdict */
    double score, threshold;
    double p_value;                         /* fraction of good parts, including this one, with at least this score */
    double brightness, contrast, sharpness; /* of the network's picture in grey levels */
    double preprocess_ms, engine_ms, score_ms; /* engine_ms with the copies from and to a GPU */
    float* map;                                /* owned by the caller, or NULL */
    size_t map_values;                         /* capacity of `map` in floats; too small is AST_EDGE_USAGE */
    char reason[AST_EDGE_REASON_BYTES];        /* one sentence, truncated if longer */
} ast_edge_result;

typedef struct ast_edge_parity {
    uint32_t struct_size;
    uint32_t vectors; /* number of vectors compared */
    uint32_t flipped_verdicts;
    double max_relative_score_error, max_absolute_map_error;
    double tolerance; /* of the score, relative */
    /* Held-out good parts whose score is so close to the file's threshold that engines within the tolerance may give
     * them different verdicts. */
    uint32_t undecided_parts;
} ast_edge_parity;

/* In C: `ast_edge_part part = AST_EDGE_INIT(ast_edge_part);`. In C++ use ast_edge.hpp. */
#define AST_EDGE_INIT(type) {.struct_size = (uint32_t)sizeof(type)}

typedef uint64_t ast_edge_ticket;

/* Version of the loaded library, as 0x00MMmmpp. */
AST_EDGE_API uint32_t ast_edge_version(void) AST_EDGE_NOEXCEPT;

/* The error of this thread's last call that did not return AST_EDGE_OK; never NULL. */
AST_EDGE_API const char* ast_edge_last_error(void) AST_EDGE_NOEXCEPT;

/* The engines that this library was built with, such as "OpenVINO 2025.2.0", one per line; empty for none. */
AST_EDGE_API const char* ast_edge_engines(void) AST_EDGE_NOEXCEPT;

/* Checks the file and opens it with an engine; `options` may be NULL. `*model` is NULL unless it returns OK. */
AST_EDGE_API ast_edge_status ast_edge_open(const char* path, const ast_edge_options* options,
                                           ast_edge_model** model) AST_EDGE_NOEXCEPT;

AST_EDGE_API ast_edge_status ast_edge_get_info(const ast_edge_model* model, ast_edge_info* info) AST_EDGE_NOEXCEPT;

/* Only for this handle; the file is not changed. */
AST_EDGE_API ast_edge_status ast_edge_set_threshold(ast_edge_model* model, double threshold) AST_EDGE_NOEXCEPT;

/* Judges one part. */
AST_EDGE_API ast_edge_status ast_edge_inspect(ast_edge_model* model, const ast_edge_part* part,
                                              ast_edge_result* result) AST_EDGE_NOEXCEPT;

/* Judges up to 65536 parts, in batches of the network's size. A part that is refused is a fault with its reason,
 * the others are still judged, and the first refusal is the status. */
AST_EDGE_API ast_edge_status ast_edge_inspect_batch(ast_edge_model* model, const ast_edge_part* parts, size_t count,
                                                    ast_edge_result* results) AST_EDGE_NOEXCEPT;

/* Starts inspecting one part and returns; its memory may be reused at once. Wait for each ticket once. */
AST_EDGE_API ast_edge_status ast_edge_submit(ast_edge_model* model, const ast_edge_part* part,
                                             ast_edge_ticket* ticket) AST_EDGE_NOEXCEPT;

/* Waits at most `timeout_ms`, or indefinitely if negative. */
AST_EDGE_API ast_edge_status ast_edge_wait(ast_edge_model* model, ast_edge_ticket ticket, int64_t timeout_ms,
                                           ast_edge_result* result) AST_EDGE_NOEXCEPT;

/* Runs the reference vectors beside the model, or inside it, and compares, as `ast-edge verify` does. `parity` may be
 * NULL. */
AST_EDGE_API ast_edge_status ast_edge_verify(ast_edge_model* model, ast_edge_parity* parity) AST_EDGE_NOEXCEPT;

/* Waits for the parts in flight and frees everything; does nothing for NULL and closed handles. */
AST_EDGE_API void ast_edge_close(ast_edge_model* model) AST_EDGE_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
