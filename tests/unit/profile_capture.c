/* Promise: the capture scope of a graph session covers exactly the work of that session, whichever way it ends
 * (direct or recorded, fused and reordered, in two command buffers, committed without a wait, dropped), and changes
 * neither its statistics nor its results; only the first session of the process has it. On cpu and null. */
#include <jansson.h>
#include <mlxn/executor.h>
#include <mlxn/mlxn.h>
#include <unistd.h>

#include "core/profile.h"
#include "test.h"

static mlxn_error error;
static char path[64];

#define OK(call)                                             \
    do {                                                     \
        mlxn_status status_ = (call);                        \
        CHECK(status_ == MLXN_OK, "%s: %d", #call, status_); \
    } while (0)

enum { N = 256, STEPS = 100 };
enum { DIRECT, RECORDED, OPTIMIZED, DUAL, COMMITTED, DROPPED, WAYS };
static const char *const ways[] = {"direct", "recorded", "fused and reordered", "dual", "committed", "dropped"};

typedef struct stand {
    mlxn_device *device;
    mlxn_executor *executor;
    mlxn_buffer *buffer;
} stand;

static void allow_capture(bool allowed) {
    unlink(path);
    if (allowed) {
        setenv("MLX_METAL_CAPTURE", path, 1);
        setenv("METAL_CAPTURE_ENABLED", "1", 1);
    } else {
        unsetenv("MLX_METAL_CAPTURE");
        unsetenv("METAL_CAPTURE_ENABLED");
    }
    mlxn_capture_reset_latch();
}

static mlxn_tensor piece(const stand *s, uint64_t i) {
    return mlxn_tensor_1d(s->buffer, 4 * N * (i % 5), MLXN_F32, N);
}

/* Operations in the trace; -1 if there is none. */
static int traced(void) {
    json_t *root = json_load_file(path, 0, NULL), *event;
    size_t i;
    int operations = 0;
    json_array_foreach(json_object_get(root, "traceEvents"), i, event) {
        const char *kind = json_string_value(json_object_get(event, "cat"));
        operations += kind && !strcmp(kind, "operation");
    }
    const bool there = root != NULL;
    json_decref(root);
    return there ? operations : -1;
}

typedef struct outcome {
    uint64_t fusions, moved, barriers0, barriers1;
    float values[5 * N];
} outcome;

static void run_session(const stand *s, int way, outcome *out) {
    *out = (outcome){0};
    float *values = mlxn_buffer_contents(s->buffer);
    for (int i = 0; i < 5 * N; i++) values[i] = (float)(i % 97) / 64 - 0.5f;
    mlxn_graph_session *session = NULL;
    if (way == DIRECT)
        OK(mlxn_executor_begin(s->executor, &session, &error));
    else
        OK(mlxn_executor_begin_recorded(s->executor, &session, &error));
    mlxn_encoder *e = mlxn_graph_session_encoder(session);
    for (uint64_t i = 0; i < STEPS; i++) {
        if (i % 2)
            OK(mlxn_elementwise_add(e, piece(s, i), piece(s, i + 1), piece(s, 3 * i)));
        else
            OK(mlxn_elementwise_mul(e, piece(s, i), piece(s, 2 * i), piece(s, i + 1)));
    }
    mlxn_finish_result result = {0};
    mlxn_finish_options options = {.struct_size = sizeof options, .dual = way == DUAL};
    if (way == OPTIMIZED) options.fuse = MLXN_FUSE_EXACT, options.reorder = true;
    if (way == DROPPED) {
        mlxn_graph_session_destroy(session);
    } else if (way == COMMITTED) {
        mlxn_encoder *encoder = NULL;
        OK(mlxn_graph_session_commit(&session, &encoder, &error));
        /* The scope has ended: what follows at once is not in it. */
        OK(mlxn_encoder_fill(encoder, s->buffer, 0, 4, 0));
        OK(mlxn_encoder_commit_and_wait(encoder, "after", &error));
        mlxn_encoder_destroy(encoder);
    } else {
        OK(mlxn_graph_session_finish(&session, &options, &result, &error));
    }
    OK(mlxn_device_wait_idle(s->device, UINT64_MAX, &error));
    out->fusions = result.fusions;
    out->moved = result.moved;
    out->barriers0 = result.barriers0;
    out->barriers1 = result.barriers1;
    OK(mlxn_buffer_read(s->buffer, 0, out->values, sizeof out->values, &error));
}

static void test_way(const stand *s, int way) {
    static outcome quiet, heard, later;
    allow_capture(false);
    run_session(s, way, &quiet);
    CHECK(traced() == -1, "%s: a trace that nobody asked for", ways[way]);
    allow_capture(true);
    run_session(s, way, &heard);
    const int operations = traced(), want = way == DROPPED ? 0 : STEPS - (int)heard.fusions;
    CHECK(operations == want, "%s: %d operations are in the trace, want %d", ways[way], operations, want);
    CHECK(!memcmp(&quiet, &heard, sizeof quiet), "%s: the capture changes statistics or results", ways[way]);
    unlink(path);
    run_session(s, way, &later);
    CHECK(traced() == -1, "%s: a second session of the process was captured too", ways[way]);
}

int main(void) {
    static const char *const backends[] = {"cpu", "null"};
    snprintf(path, sizeof path, "/tmp/mlxn-session-capture-%d.json", (int)getpid());
    for (int i = 0; i < 2; i++) {
        stand s = {0};
        mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backends[i], .threads = 2, .no_stream = true};
        OK(mlxn_device_create(&desc, &s.device, &error));
        OK(mlxn_executor_create(s.device, &s.executor, &error));
        OK(mlxn_buffer_create(s.device, 4 * 5 * N, &s.buffer, &error));
        for (int way = DIRECT; way < WAYS; way++) test_way(&s, way);
        allow_capture(false);
        mlxn_buffer_release(&s.buffer);
        mlxn_executor_destroy(s.executor);
        mlxn_device_release(&s.device);
    }
    return TEST_DONE();
}
