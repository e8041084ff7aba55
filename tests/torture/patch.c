/* Promise: a patch of a graph that fails for want of memory, or because the backend fails, changes nothing: the next
 * launch computes what the graph computed before, and the same patch then works. So for every kind of patch, with the
 * graph idle and with a launch of it in flight, and for every failure on the way to the launch. */
#include "torture/torture.h"

enum { N = 32, ROW = 4 * N, PATCHES = 8 };

static float values[N * N];

typedef struct world {
    mlxn_device *device;
    mlxn_buffer *in, *out, *other;
    mlxn_weight *w[2];
    mlxn_registry *registry;
    mlxn_kernel *kernel;
    mlxn_encoder *e;
    mlxn_graph *graph;
    mlxn_timeline *gate;
} world;

static mlxn_tensor row(mlxn_buffer *b, uint64_t i) { return mlxn_tensor_2d(b, i * ROW, MLXN_F32, 1, N); }

static void scale(const mlxn_kernel_group *g) {
    const float *x = g->slots[0], *by = g->slots[2];
    float *y = g->slots[1];
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) y[i] = x[i] * by[0];
}

#define MUST(call) CHECK((call) == MLXN_OK, "%s: %s", #call, error.message)

static mlxn_weight *weight(mlxn_device *device, mlxn_buffer *data) {
    mlxn_error error;
    mlxn_weight *w = NULL;
    mlxn_weight_desc desc = {
        .struct_size = sizeof desc, .format = MLXN_FORMAT_F32, .rows = N, .cols = N, .data = data};
    MUST(mlxn_weight_create(device, &desc, &w, &error));
    return w;
}

/* Rows of `in` go to rows of `out`, by one node of each kind. */
static void capture(world *w) {
    mlxn_error error;
    mlxn_buffer *t = NULL;
    float by[4] = {3};
    MUST(mlxn_encoder_create(w->device, &w->e, &error));
    MUST(mlxn_encoder_start_capture(w->e, &error));
    MUST(mlxn_encoder_temporary(w->e, ROW, &t, &error));
    MUST(mlxn_elementwise_add(w->e, row(w->in, 0), row(w->in, 1), row(w->out, 0)));
    MUST(mlxn_matmul(w->e, row(w->in, 2), w->w[0], (mlxn_tensor){0}, (mlxn_tensor){0}, row(w->out, 1)));
    MUST(mlxn_rms_norm(w->e, row(w->in, 3), (mlxn_tensor){0}, row(t, 0), &(mlxn_rms_norm_params){1e-5f}));
    MUST(mlxn_encoder_copy(w->e, t, 0, w->out, 2 * ROW, ROW));
    MUST(mlxn_encoder_fill(w->e, w->out, 3 * ROW, ROW, 1));
    mlxn_kernel_arg args[3] = {
        {.slot = 0, .role = MLXN_KERNEL_READ, .buffer = w->in, .offset = ROW, .bytes = ROW},
        {.slot = 1, .role = MLXN_KERNEL_WRITE, .buffer = w->out, .offset = 4 * ROW, .bytes = ROW},
        {.slot = 2, .data = by, .inline_bytes = sizeof by}};
    mlxn_kernel_grid grid = {.size = {N, 1, 1}, .group = {8, 1, 1}};
    MUST(mlxn_encode_kernel(w->e, w->kernel, args, 3, &grid));
    MUST(mlxn_encoder_take_capture(w->e, &w->graph, &error));
    mlxn_buffer_release(&t);
}

static void open_world(world *w, const char *backend) {
    mlxn_error error;
    *w = (world){.device = torture_open(backend, NULL)};
    for (int i = 0; i < N * N; i++) values[i] = (float)(i % 29) / 8 - 1;
    mlxn_buffer **all[] = {&w->in, &w->out, &w->other};
    for (int i = 0; i < 3; i++) MUST(mlxn_buffer_create(w->device, sizeof values, all[i], &error));
    MUST(mlxn_buffer_write(w->in, 0, values, sizeof values, &error));
    MUST(mlxn_buffer_write(w->other, 0, values + 7, sizeof values - 28, &error));
    w->w[0] = weight(w->device, w->in);
    w->w[1] = weight(w->device, w->other);
    MUST(mlxn_registry_create(w->device, &w->registry, &error));
    MUST(mlxn_registry_register_function(w->registry, "scale", scale, NULL, &error));
    MUST(mlxn_registry_get(w->registry, "scale", NULL, 0, &w->kernel, &error));
    MUST(mlxn_timeline_create(w->device, &w->gate, &error));
    capture(w);
}

static void close_world(world *w) {
    mlxn_graph_destroy(w->graph);
    mlxn_encoder_destroy(w->e);
    mlxn_timeline_release(&w->gate);
    mlxn_kernel_release(&w->kernel);
    mlxn_registry_destroy(w->registry);
    for (int i = 0; i < 2; i++) mlxn_weight_release(&w->w[i]);
    mlxn_buffer_release(&w->in);
    mlxn_buffer_release(&w->out);
    mlxn_buffer_release(&w->other);
    mlxn_device_release(&w->device);
}

static const char *const names[PATCHES] = {"argument", "weight", "params",        "node",
                                           "copy",     "fill",   "kernel buffer", "kernel bytes"};

static mlxn_status patch(world *w, int kind, mlxn_error *error) {
    mlxn_graph *g = w->graph;
    mlxn_tensor other = row(w->other, 0);
    mlxn_tensor a = row(w->other, 2), b = row(w->in, 5), c = row(w->out, 0);
    mlxn_arg args[3] = {{.tensor = &a}, {.tensor = &b}, {.tensor = &c}};
    float by[4] = {-2};
    switch (kind) {
        case 0:
            return mlxn_graph_set_argument(g, mlxn_graph_find_node(g, "elementwise_add", 0), 1, &other, error);
        case 1:
            return mlxn_graph_set_weight(g, mlxn_graph_find_node(g, "matmul", 0), 1, w->w[1], error);
        case 2:
            return mlxn_graph_set_params(g, mlxn_graph_find_node(g, "rms_norm", 0), &(mlxn_rms_norm_params){0.5f},
                                         sizeof(mlxn_rms_norm_params), error);
        case 3:
            return mlxn_graph_set_node(g, mlxn_graph_find_node(g, "elementwise_add", 0), args, 3, NULL, 0, error);
        case 4:
            return mlxn_graph_set_copy(g, mlxn_graph_find_node(g, "copy_bytes", 0), w->other, ROW, w->out, 2 * ROW,
                                       ROW, error);
        case 5:
            return mlxn_graph_set_fill(g, mlxn_graph_find_node(g, "fill_bytes", 0), w->out, 5 * ROW, ROW, 9, error);
        case 6:
            return mlxn_graph_set_kernel_buffer(g, mlxn_graph_find_node(g, "scale", 0), 0, w->other, 0, ROW, error);
        default:
            return mlxn_graph_set_kernel_bytes(g, mlxn_graph_find_node(g, "scale", 0), 2, by, sizeof by, error);
    }
}

/* Launches into a cleared `out`, which is read back. */
static void compute(world *w, uint8_t result[TORTURE_BYTES]) {
    mlxn_error error;
    mlxn_encoder *e = NULL;
    MUST(mlxn_encoder_create(w->device, &e, &error));
    MUST(mlxn_encoder_fill(e, w->out, 0, sizeof values, 0));
    MUST(mlxn_encoder_launch(e, w->graph));
    MUST(mlxn_encoder_commit_and_wait(e, "launch", &error));
    MUST(mlxn_buffer_read(w->out, 0, result, TORTURE_BYTES, &error));
    mlxn_encoder_destroy(e);
}

/* A patch, and a launch of what it made, which is where a stale order or program is derived anew. The launch goes
 * into an encoder that is dropped: nothing runs. */
static mlxn_status patch_and_launch(world *w, int kind, bool *patched, mlxn_error *error) {
    mlxn_encoder *e = NULL;
    mlxn_status status = mlxn_encoder_create(w->device, &e, error);
    STEP(patch(w, kind, error));
    *patched = !status;
    if (!status) RECORD(e, mlxn_encoder_launch(e, w->graph));
    mlxn_encoder_destroy(e);
    return status;
}

/* One failure: with a launch in flight, which stands at the gate, or without. */
static bool once(const torture_kind *how, int kind, bool in_flight, uint64_t k, int *failures) {
    static uint8_t before[TORTURE_BYTES], after[TORTURE_BYTES], now[TORTURE_BYTES];
    world w;
    mlxn_error error = {0};
    bool patched = false;
    uint64_t blocks = mlxn_alloc_live();
    torture_watch(names[kind], how->what, k);
    open_world(&w, how->backend);
    compute(&w, before);
    if (in_flight) {
        MUST(mlxn_encoder_wait(w.e, w.gate, 1));
        MUST(mlxn_encoder_launch(w.e, w.graph));
        MUST(mlxn_encoder_commit(w.e, "at the gate", &error));
    }
    uint64_t start = how->fail_at(k);
    mlxn_status status = patch_and_launch(&w, kind, &patched, &error);
    bool reached = how->fail_at(0) - start >= k;
    mlxn_timeline_signal(w.gate, 1);
    if (status) {
        ++*failures;
        CHECK(torture_is_clean(how, status, &error), "%s, %s %d: %s, \"%s\"", names[kind], how->what, (int)k,
              mlxn_status_name(status), error.message);
    }
    MUST(mlxn_device_wait_idle(w.device, UINT64_MAX, &error));
    compute(&w, now);
    if (!patched) {
        CHECK(!memcmp(now, before, sizeof now), "%s, %s %d: a patch that failed changed the graph", names[kind],
              how->what, (int)k);
        CHECK(patch(&w, kind, &error) == MLXN_OK, "%s, %s %d: the same patch: %s", names[kind], how->what, (int)k,
              error.message);
    }
    compute(&w, after);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(w.device, &info);
    if (info.computes) CHECK(memcmp(after, before, sizeof after), "%s: the patch shows", names[kind]);
    if (patched) CHECK(!memcmp(now, after, sizeof now), "%s, %s %d: patched", names[kind], how->what, (int)k);
    close_world(&w);
    CHECK(torture_settled(blocks), "%s, %s %d: %d blocks are left", names[kind], how->what, (int)k,
          (int)(mlxn_alloc_live() - blocks));
    torture_unwatch();
    return reached;
}

int main(void) {
    mlxn_backend_extra = &mlxn_backend_fault;
    for (size_t i = 0; i < 3; i++) {
        int failures = 0, runs = 0;
        for (int kind = 0; kind < PATCHES; kind++)
            for (int in_flight = 0; in_flight < 2; in_flight++)
                for (uint64_t k = 1; k < TORTURE_MOST && once(&torture_kinds[i], kind, in_flight, k, &failures); k++)
                    runs++;
        CHECK(failures > PATCHES, "%s: only %d failures", torture_kinds[i].backend, failures);
        fprintf(stderr, "%s: %d of %d runs failed, one %s each\n", torture_kinds[i].backend, failures, runs,
                torture_kinds[i].what);
    }
    return TEST_DONE();
}
