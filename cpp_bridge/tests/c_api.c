/* The C face as a C program sees it. The argument is the folder of the models. */
#define _POSIX_C_SOURCE 200809L /* fork */
#include <ast_edge/ast_edge.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { WIDTH = 48, HEIGHT = 40, MAP = 16 };

static unsigned char frame[HEIGHT * WIDTH * 3];

static ast_edge_part part_of_grey(int grey) {
    ast_edge_part part = AST_EDGE_INIT(ast_edge_part);
    memset(frame, grey, sizeof frame);
    part.format = AST_EDGE_FORMAT_BGR;
    part.frame = frame;
    part.width = WIDTH;
    part.height = HEIGHT;
    return part;
}

static ast_edge_model* open_rgb(const char* folder) {
    char path[1024];
    ast_edge_model* model = NULL;
    snprintf(path, sizeof path, "%s/rgb.onnx", folder);
    CHECK(ast_edge_open(path, NULL, &model) == AST_EDGE_OK);
    CHECK(model != NULL);
    return model;
}

static void test_verdicts(ast_edge_model* model) {
    float map[MAP];
    ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
    ast_edge_part part = part_of_grey(128);
    result.map = map;
    result.map_values = MAP;
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_OK);
    CHECK(result.verdict == AST_EDGE_PASS);
    CHECK(result.score < result.threshold && result.threshold == 0.1);
    CHECK(fabs(map[5] - result.score) < 1e-6);
    CHECK(fabs(result.brightness - 128) < 1e-9 && result.contrast == 0 && result.sharpness == 0);
    CHECK(strstr(result.reason, "is not above the threshold 0.1") != NULL);
    part = part_of_grey(255);
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_OK);
    CHECK(result.verdict == AST_EDGE_REJECT);
    CHECK(ast_edge_set_threshold(model, 0.9) == AST_EDGE_OK);
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_OK);
    CHECK(result.verdict == AST_EDGE_PASS && result.threshold == 0.9);
    CHECK(ast_edge_set_threshold(model, NAN) == AST_EDGE_USAGE);
    CHECK(ast_edge_set_threshold(model, 0.1) == AST_EDGE_OK);
}

static void test_refused_part_is_a_fault(ast_edge_model* model) {
    ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
    ast_edge_part part = part_of_grey(128);
    result.verdict = AST_EDGE_PASS;
    part.frame = NULL;
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_FRAME);
    CHECK(result.verdict == AST_EDGE_FAULT && isnan(result.score));
    CHECK(strcmp(result.reason, ast_edge_last_error()) == 0);
    result.verdict = AST_EDGE_PASS;
    CHECK(ast_edge_inspect(NULL, &part, &result) == AST_EDGE_USAGE);
    CHECK(result.verdict == AST_EDGE_FAULT);
    CHECK(ast_edge_inspect(model, NULL, &result) == AST_EDGE_USAGE);
    CHECK(ast_edge_inspect(model, &part, NULL) == AST_EDGE_USAGE);
    part = part_of_grey(128);
    part.struct_size = 0;
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_USAGE);
}

/* A caller that was compiled against an older header has shorter structs. */
static void test_shorter_structs(ast_edge_model* model) {
    ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
    ast_edge_part part = part_of_grey(128);
    ast_edge_info info = AST_EDGE_INIT(ast_edge_info);
    result.struct_size = offsetof(ast_edge_result, threshold);
    result.threshold = -1;
    part.struct_size = offsetof(ast_edge_part, memory);
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_OK);
    CHECK(result.verdict == AST_EDGE_PASS && result.threshold == -1);
    info.struct_size = offsetof(ast_edge_info, batch);
    info.batch = 77;
    CHECK(ast_edge_get_info(model, &info) == AST_EDGE_OK);
    CHECK(info.image_size == 32 && info.map_size == 4 && info.batch == 77);
    CHECK(info.struct_size == offsetof(ast_edge_info, batch));
}

/* One that was compiled against a newer header has longer ones; what this library does not know stays as it is. */
static void test_longer_structs(ast_edge_model* model) {
    struct {
        ast_edge_info info;
        uint64_t later;
    } longer = {.later = 42};
    longer.info.struct_size = sizeof longer;
    CHECK(ast_edge_get_info(model, &longer.info) == AST_EDGE_OK);
    CHECK(longer.info.batch == 1 && longer.later == 42);
    CHECK(strncmp(longer.info.model_id, "tiny-rgb", 8) == 0);
}

static void test_submit_and_wait(ast_edge_model* model) {
    ast_edge_ticket first = 0, second = 0, third = 1;
    ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
    ast_edge_part part = part_of_grey(128);
    CHECK(ast_edge_submit(model, &part, &first) == AST_EDGE_OK);
    part = part_of_grey(255); /* the memory may be used again at once */
    CHECK(ast_edge_submit(model, &part, &second) == AST_EDGE_OK);
    CHECK(ast_edge_submit(model, &part, &third) == AST_EDGE_BUSY);
    CHECK(third == 0);
    CHECK(ast_edge_wait(model, second, -1, &result) == AST_EDGE_OK);
    CHECK(result.verdict == AST_EDGE_REJECT);
    CHECK(ast_edge_wait(model, first, -1, &result) == AST_EDGE_OK);
    CHECK(result.verdict == AST_EDGE_PASS);
    CHECK(ast_edge_wait(model, first, -1, &result) == AST_EDGE_USAGE);
    CHECK(result.verdict == AST_EDGE_FAULT);
    CHECK(ast_edge_submit(model, &part, &first) == AST_EDGE_OK); /* closed with a part on its way */
}

static void test_open(const char* folder) {
    ast_edge_model* model = (ast_edge_model*)frame;
    ast_edge_options options = AST_EDGE_INIT(ast_edge_options);
    CHECK(ast_edge_open("there is no such.onnx", NULL, &model) == AST_EDGE_MODEL);
    CHECK(model == NULL);
    CHECK(strstr(ast_edge_last_error(), "there is no such file") != NULL);
    CHECK(ast_edge_open(folder, NULL, &model) == AST_EDGE_MODEL);
    CHECK(ast_edge_open(NULL, NULL, &model) == AST_EDGE_USAGE);
    CHECK(ast_edge_open(folder, NULL, NULL) == AST_EDGE_USAGE);
    options.engine = 99;
    CHECK(ast_edge_open(folder, &options, &model) == AST_EDGE_USAGE);
    options.engine = AST_EDGE_ENGINE_TENSORRT;
    CHECK(ast_edge_open("model.onnx", &options, &model) == AST_EDGE_USAGE);
    CHECK(ast_edge_open("nothing.engine", NULL, &model) == AST_EDGE_MODEL);
    ast_edge_close(NULL);
}

/* What programs are compiled against: it changes at the end of a struct or not at all. */
#if UINTPTR_MAX == 0xFFFFFFFFFFFFFFFFu
_Static_assert(sizeof(ast_edge_options) == 32 && offsetof(ast_edge_options, processor) == 16, "ast_edge_options");
_Static_assert(sizeof(ast_edge_info) == 304 && offsetof(ast_edge_info, threshold) == 40, "ast_edge_info");
_Static_assert(sizeof(ast_edge_part) == 64 && offsetof(ast_edge_part, depth_m) == 40, "ast_edge_part");
_Static_assert(sizeof(ast_edge_result) == 352 && offsetof(ast_edge_result, map) == 80, "ast_edge_result");
_Static_assert(offsetof(ast_edge_result, verdict) == 4 && offsetof(ast_edge_result, reason) == 96, "ast_edge_result");
_Static_assert(sizeof(ast_edge_parity) == 48, "ast_edge_parity");
#endif

/* Results that are used again hold a pass: it must not survive a call that fails, however it fails. */
static void test_no_verdict_of_earlier_is_left(ast_edge_model* model) {
    const uint32_t sizes[] = {0, 3, offsetof(ast_edge_result, reason) + 9, 0xCDCDCDCDu};
    const uint32_t whole = (uint32_t)sizeof(ast_edge_result);
    ast_edge_part part = part_of_grey(128), parts[3];
    ast_edge_result results[3];
    size_t i, k;
    for (i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
        result.struct_size = sizes[i];
        result.verdict = AST_EDGE_PASS;
        CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_USAGE);
        CHECK(result.verdict == AST_EDGE_FAULT);
        for (k = 0; k < 3; ++k) {
            parts[k] = part;
            memset(&results[k], 0, sizeof results[k]);
            results[k].struct_size = k == 1 ? sizes[i] : whole;
            results[k].verdict = AST_EDGE_PASS;
        }
        CHECK(ast_edge_inspect_batch(model, parts, 3, results) == AST_EDGE_USAGE);
        for (k = 0; k < 3; ++k) CHECK(results[k].verdict == AST_EDGE_FAULT);
        results[0].struct_size = sizes[i];
        results[0].verdict = AST_EDGE_PASS;
        CHECK(ast_edge_inspect_batch(model, parts, 3, results) == AST_EDGE_USAGE);
        CHECK(results[0].verdict == AST_EDGE_FAULT);
        results[0].struct_size = whole;
    }
    results[0].verdict = AST_EDGE_PASS;
    CHECK(ast_edge_inspect_batch(model, parts, (size_t)-1, results) == AST_EDGE_USAGE);
    CHECK(results[0].verdict == AST_EDGE_FAULT);
    for (k = 0; k < 3; ++k) {
        results[k].struct_size = whole;
        results[k].verdict = AST_EDGE_PASS;
    }
    CHECK(ast_edge_inspect_batch(model, NULL, 3, results) == AST_EDGE_USAGE);
    for (k = 0; k < 3; ++k) CHECK(results[k].verdict == AST_EDGE_FAULT);
}

/* A handle that is closed, also when another model was opened since. */
static void test_closed_handle(const char* folder) {
    ast_edge_model *closed = open_rgb(folder), *other = NULL;
    ast_edge_part part = part_of_grey(128);
    ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
    ast_edge_info info = AST_EDGE_INIT(ast_edge_info);
    ast_edge_ticket ticket = 0;
    ast_edge_close(closed);
    other = open_rgb(folder);
    result.verdict = AST_EDGE_PASS;
    CHECK(ast_edge_inspect(closed, &part, &result) == AST_EDGE_USAGE);
    CHECK(result.verdict == AST_EDGE_FAULT && strstr(result.reason, "is closed") != NULL);
    CHECK(ast_edge_submit(closed, &part, &ticket) == AST_EDGE_USAGE);
    CHECK(ast_edge_get_info(closed, &info) == AST_EDGE_USAGE);
    CHECK(ast_edge_set_threshold(closed, 1) == AST_EDGE_USAGE);
    ast_edge_close(closed);
    CHECK(ast_edge_inspect(other, &part, &result) == AST_EDGE_OK);
    ast_edge_close(other);
}

/* In the child of a fork the threads of the model are not there: it must say so instead of waiting for them. */
static void test_fork(ast_edge_model* model) {
    ast_edge_part part = part_of_grey(128);
    ast_edge_result result = AST_EDGE_INIT(ast_edge_result);
    ast_edge_ticket ticket = 0;
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        int good = 0;
        alarm(60);
        result.verdict = AST_EDGE_PASS;
        good += ast_edge_inspect(model, &part, &result) == AST_EDGE_USAGE && result.verdict == AST_EDGE_FAULT;
        good += ast_edge_submit(model, &part, &ticket) == AST_EDGE_USAGE;
        good += strstr(ast_edge_last_error(), "forked") != NULL;
        ast_edge_close(model);
        _exit(good == 3 ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(ast_edge_inspect(model, &part, &result) == AST_EDGE_OK);
}

/* Sentences that do not fit are cut between characters. */
static void test_long_sentences(void) {
    char path[2000];
    size_t i;
    const char* end;
    ast_edge_model* model = NULL;
    for (i = 0; i + 2 < sizeof path; i += 2) memcpy(path + i, "\xC3\xA9", 2);
    path[i] = '\0';
    CHECK(ast_edge_open(path, NULL, &model) == AST_EDGE_MODEL);
    end = ast_edge_last_error() + strlen(ast_edge_last_error());
    CHECK(strlen(ast_edge_last_error()) >= 1000 && (end[-1] & 0xFF) == 0xA9);
}

int main(int argc, char** argv) {
    ast_edge_model* model = NULL;
    const char* folder = argc > 1 ? argv[1] : ".";
    CHECK(ast_edge_version() == (AST_EDGE_VERSION_MAJOR << 16 | AST_EDGE_VERSION_MINOR << 8 | AST_EDGE_VERSION_PATCH));
    CHECK(ast_edge_last_error() != NULL && ast_edge_engines() != NULL);
    test_open(folder);
    model = open_rgb(folder);
    if (model != NULL) {
        test_verdicts(model);
        test_refused_part_is_a_fault(model);
        test_shorter_structs(model);
        test_longer_structs(model);
        CHECK(ast_edge_verify(model, NULL) == AST_EDGE_OK);
        test_no_verdict_of_earlier_is_left(model);
        test_submit_and_wait(model);
        test_fork(model);
        ast_edge_close(model);
        test_closed_handle(folder);
    }
    test_long_sentences();
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
