/* Promise: whichever allocation or backend call fails while graphs are captured (with temporaries, fused, reordered),
 * instantiated, patched, launched alone and in flight, and while graph sessions are finished in every way: the call
 * says so, nothing leaks or hangs, and the same work then gives the same bytes. A capture that cannot become a graph
 * goes on and can be taken again. */
#include "torture/torture.h"

enum { N = 32, BUFFERS = 4 };

typedef struct world {
    mlxn_buffer *b[BUFFERS];
    mlxn_weight *w;
    mlxn_encoder *e;
    mlxn_graph *graph;
    mlxn_executor *executor;
    mlxn_graph_session *s;
    mlxn_registry *registry;
    mlxn_kernel *kernel;
} world;

static mlxn_tensor row(mlxn_buffer *buffer) { return mlxn_tensor_2d(buffer, 0, MLXN_F32, 1, N); }

static void negate(const mlxn_kernel_group *g) {
    const float *x = g->slots[0];
    float *y = g->slots[1];
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) y[i] = -x[i];
}

/* What both kinds of capture record: a pair that fuses, temporaries, a kernel of the user's own, a copy, a fill. */
static mlxn_status record(world *w, mlxn_encoder *e, mlxn_error *error) {
    mlxn_buffer *t[2] = {NULL, NULL};
    mlxn_status status = MLXN_OK;
    STEP(mlxn_encoder_temporary(e, 4 * N, &t[0], error));
    STEP(mlxn_encoder_temporary(e, 4 * N, &t[1], error));
    if (!status) {
        mlxn_tensor a = row(w->b[0]), b = row(w->b[1]), c = row(w->b[2]), x = row(t[0]), y = row(t[1]);
        RECORD(e, mlxn_silu(e, a, x));
        RECORD(e, mlxn_elementwise_mul(e, x, b, y));
        RECORD(e, mlxn_elementwise_add(e, y, a, c));
        RECORD(e, mlxn_matmul(e, a, w->w, (mlxn_tensor){0}, (mlxn_tensor){0}, x));
        mlxn_encoder_barrier(e);
        mlxn_kernel_arg args[2] = {{.slot = 0, .role = MLXN_KERNEL_READ, .buffer = w->b[2], .bytes = 4 * N},
                                   {.slot = 1, .role = MLXN_KERNEL_WRITE, .buffer = w->b[3], .bytes = 4 * N}};
        mlxn_kernel_grid grid = {.size = {N, 1, 1}, .group = {8, 1, 1}};
        RECORD(e, mlxn_encode_kernel(e, w->kernel, args, 2, &grid));
        RECORD(e, mlxn_encoder_copy(e, t[0], 0, w->b[3], 4 * N, 4 * N));
        RECORD(e, mlxn_encoder_fill(e, w->b[3], 8 * N, 16, 3));
    }
    mlxn_buffer_release(&t[0]);
    mlxn_buffer_release(&t[1]);
    return status;
}

/* A second try after the first failed: the capture must be as it was. */
static mlxn_status take(world *w, const mlxn_graph_desc *desc, mlxn_error *error) {
    mlxn_status status = mlxn_encoder_take_capture_with(w->e, desc, &w->graph, error);
    if (!status) return status;
    mlxn_error later;
    CHECK(!w->graph && mlxn_encoder_is_capturing(w->e), "the capture goes on");
    CHECK(mlxn_encoder_take_capture_with(w->e, desc, &w->graph, &later) == MLXN_OK, "taken again: %s", later.message);
    CHECK(mlxn_graph_node_count(w->graph) >= 6, "all of it: %d nodes", (int)mlxn_graph_node_count(w->graph));
    return status;
}

static mlxn_status launch_and_patch(world *w, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    mlxn_tensor other = row(w->b[3]);
    RECORD(w->e, mlxn_encoder_launch(w->e, w->graph));
    STEP(mlxn_encoder_commit(w->e, "first launch", error));
    /* In flight or just behind it: a patch may have to copy the instance. */
    uint64_t add = status ? 0 : mlxn_graph_find_node(w->graph, "elementwise_add", 0);
    if (add != UINT64_MAX) STEP(mlxn_graph_set_argument(w->graph, add, 1, &other, error));
    uint64_t copy = status ? 0 : mlxn_graph_find_node(w->graph, "fill_bytes", 0);
    STEP(mlxn_graph_set_fill(w->graph, copy, w->b[3], 12 * N, 32, 9, error));
    RECORD(w->e, mlxn_encoder_launch(w->e, w->graph));
    RECORD(w->e, mlxn_encoder_launch(w->e, w->graph));
    STEP(mlxn_encoder_commit_and_wait(w->e, "patched launches", error));
    return status;
}

static mlxn_status graphs(world *w, mlxn_device *device, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (int i = 0; i < 2; i++) {
        mlxn_graph_desc desc = {
            .struct_size = sizeof desc, .fuse = i ? MLXN_FUSE_EXACT : MLXN_FUSE_NONE, .reorder = i > 0};
        STEP(mlxn_encoder_create(device, &w->e, error));
        if (!status) RECORD(w->e, mlxn_elementwise_add(w->e, row(w->b[1]), row(w->b[1]), row(w->b[1])));
        STEP(mlxn_encoder_start_capture(w->e, error));
        STEP(record(w, w->e, error));
        STEP(take(w, &desc, error));
        STEP(launch_and_patch(w, error));
        mlxn_graph_destroy(w->graph);
        mlxn_encoder_destroy(w->e);
        w->graph = NULL;
        w->e = NULL;
    }
    return status;
}

static mlxn_status sessions(world *w, mlxn_device *device, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    STEP(mlxn_executor_create(device, &w->executor, error));
    for (int i = 0; i < 4; i++) { /* direct; recorded; recorded, all options, two command buffers; committed */
        mlxn_finish_options options = {.struct_size = sizeof options,
                                       .fuse = i == 2 ? MLXN_FUSE_ALL : MLXN_FUSE_NONE,
                                       .reorder = i == 2,
                                       .dual = i == 2,
                                       .timing = i == 1};
        if (i == 0)
            STEP(mlxn_executor_begin(w->executor, &w->s, error));
        else
            STEP(mlxn_executor_begin_recorded(w->executor, &w->s, error));
        mlxn_encoder *e = status ? NULL : mlxn_graph_session_encoder(w->s);
        mlxn_range read = {w->b[0], 0, 4 * N}, write = {w->b[2], 0, 4 * N};
        STEP(mlxn_graph_session_barrier_between(w->s, &read, 1, &write, 1, error));
        for (int k = 0; !status && k < (i == 2 ? 70 : 3); k++)
            RECORD(e, mlxn_elementwise_add(e, row(w->b[0]), row(w->b[2]), row(w->b[2])));
        if (i) STEP(record(w, e, error));
        if (i < 3)
            STEP(mlxn_graph_session_finish(&w->s, &options, NULL, error));
        else
            STEP(mlxn_graph_session_commit(&w->s, &w->e, error));
    }
    STEP(mlxn_encoder_wait_completed(w->e, error));
    return status;
}

static mlxn_status make(world *w, mlxn_device *device, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    static float values[N * N];
    for (int i = 0; i < N * N; i++) values[i] = (float)(i % 13) / 16 - 0.25f;
    mlxn_buffer *matrix = NULL;
    STEP(mlxn_buffer_create(device, sizeof values, &matrix, error));
    STEP(mlxn_buffer_write(matrix, 0, values, sizeof values, error));
    mlxn_weight_desc desc = {
        .struct_size = sizeof desc, .format = MLXN_FORMAT_F32, .rows = N, .cols = N, .data = matrix};
    STEP(mlxn_weight_create(device, &desc, &w->w, error));
    mlxn_buffer_release(&matrix);
    for (int i = 0; i < BUFFERS; i++) {
        STEP(mlxn_buffer_create(device, 16 * N, &w->b[i], error));
        STEP(mlxn_buffer_write(w->b[i], 0, values + 17 * i, 16 * N, error));
    }
    STEP(mlxn_registry_create(device, &w->registry, error));
    STEP(mlxn_registry_register_function(w->registry, "negate", negate, NULL, error));
    STEP(mlxn_registry_get(w->registry, "negate", NULL, 0, &w->kernel, error));
    return status;
}

static mlxn_status work(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    world w = {0};
    mlxn_status status = make(&w, device, error);
    STEP(graphs(&w, device, error));
    STEP(sessions(&w, device, error));
    STEP(torture_queue_status(device, error));
    for (int i = 0; i < BUFFERS; i++) STEP(mlxn_buffer_read(w.b[i], 0, out + 16 * N * i, 16 * N, error));
    mlxn_graph_destroy(w.graph);
    mlxn_encoder_destroy(w.e);
    mlxn_graph_session_destroy(w.s);
    mlxn_executor_destroy(w.executor);
    mlxn_kernel_release(&w.kernel);
    mlxn_registry_destroy(w.registry);
    for (int i = 0; i < BUFFERS; i++) mlxn_buffer_release(&w.b[i]);
    mlxn_weight_release(&w.w);
    return status;
}

/* However full the open command buffer is: a capture that cannot be taken goes on, and is taken whole later. */
static void test_full_list(void) {
    mlxn_error error;
    for (int n = 1; n <= 70; n++) {
        mlxn_status status = MLXN_ERR_MEMORY;
        for (uint64_t k = 1; status && k < 100; k++) {
            mlxn_device *device = torture_open("null", NULL); /* no command buffer lies ready for reuse */
            mlxn_buffer *b = NULL;
            mlxn_encoder *e = NULL;
            mlxn_graph *graph = NULL;
            CHECK(mlxn_buffer_create(device, 128, &b, &error) == MLXN_OK, "%s", error.message);
            CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
            for (int i = 0; i < n; i++) mlxn_encoder_fill(e, b, (uint64_t)i, 1, 1); /* no barrier between: n nodes */
            CHECK(mlxn_encoder_start_capture(e, &error) == MLXN_OK, "%s", error.message);
            mlxn_encoder_fill(e, b, 0, 64, 2);
            mlxn_alloc_fail_at(k);
            status = mlxn_encoder_take_capture(e, &graph, &error);
            mlxn_alloc_fail_at(0);
            if (status) {
                CHECK(!graph && mlxn_encoder_is_capturing(e), "%d before, allocation %d: the capture goes on", n,
                      (int)k);
                CHECK(mlxn_encoder_take_capture(e, &graph, &error) == MLXN_OK, "taken later: %s", error.message);
            }
            CHECK(mlxn_graph_node_count(graph) == 1, "%d before, allocation %d: %d nodes", n, (int)k,
                  (int)mlxn_graph_node_count(graph));
            mlxn_encoder_launch(e, graph);
            CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
            mlxn_graph_destroy(graph);
            mlxn_encoder_destroy(e);
            mlxn_buffer_release(&b);
            mlxn_device_release(&device);
        }
    }
}

int main(void) {
    torture_all("graph", work, NULL, 40);
    torture_all("graph, unretained", work, &(mlxn_device_desc){.unretained = true}, 40);
    test_full_list();
    return TEST_DONE();
}
