/* Promise: a patch does exactly what recording the node with the new values would have done: results, errors,
 * barriers. It holds for launches recorded later; those recorded before, also ones that have not begun, keep their
 * values. A patch that fails changes nothing. Parameters of a graph that nothing uses are patched without an
 * allocation. What is patched out is released with the next launch. A graph launched on two queues at once is not
 * corrupted. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "core/graph.h"
#include "core/kernel.h"
#include "test.h"

#define OK(call) CHECK((call) == MLXN_OK, "%s", error.message)

static mlxn_error error;
static mlxn_device *device;
enum { N = 1000 };

static mlxn_buffer *make(uint64_t n, float value) {
    mlxn_buffer *b = NULL;
    OK(mlxn_buffer_create(device, 4 * n, &b, &error));
    for (uint64_t i = 0; i < n; i++) ((float *)mlxn_buffer_contents(b))[i] = value;
    return b;
}

static mlxn_tensor row(mlxn_buffer *b) { return mlxn_tensor_1d(b, 0, MLXN_F32, mlxn_buffer_size(b) / 4); }

static void all(mlxn_buffer *b, float want, const char *what) {
    const float *p = mlxn_buffer_contents(b);
    uint64_t n = mlxn_buffer_size(b) / 4, bad = 0;
    for (uint64_t i = 0; i < n; i++) bad += p[i] != want;
    CHECK(!bad, "%s: %d of %d differ, first is %g, want %g", what, (int)bad, (int)n, (double)p[0], (double)want);
}

static mlxn_encoder *capture(void) {
    mlxn_encoder *e = NULL;
    OK(mlxn_encoder_create(device, &e, &error));
    OK(mlxn_encoder_start_capture(e, &error));
    return e;
}

static mlxn_graph *take(mlxn_encoder *e) {
    mlxn_graph *graph = NULL;
    OK(mlxn_encoder_take_capture(e, &graph, &error));
    return graph;
}

static void launch(mlxn_encoder *e, mlxn_graph *graph) {
    OK(mlxn_encoder_launch(e, graph));
    OK(mlxn_encoder_commit_and_wait(e, "patched", &error));
}

static void scale(mlxn_graph *graph, uint64_t node, float by) {
    mlxn_scalar_mul_params p = {by};
    OK(mlxn_graph_set_params(graph, node, &p, sizeof p, &error));
}

static void test_nodes_and_params(void) {
    mlxn_buffer *x = make(N, 3), *y = make(N, 0), *z = make(N, 0);
    mlxn_encoder *e = capture();
    mlxn_scalar_mul(e, row(x), row(y), &(mlxn_scalar_mul_params){2});
    mlxn_encoder_copy(e, y, 0, z, 0, 4 * N);
    mlxn_elementwise_add(e, row(z), row(y), row(z));
    mlxn_scalar_mul(e, row(z), row(z), &(mlxn_scalar_mul_params){5});
    mlxn_graph *graph = take(e);
    CHECK(mlxn_graph_node_count(graph) == 4, "four nodes");
    CHECK(!strcmp(mlxn_graph_node_name(graph, 1), "copy_bytes"), "%s", mlxn_graph_node_name(graph, 1));
    CHECK(!mlxn_graph_node_name(graph, 4) && !mlxn_graph_node_name(NULL, 0), "past the end");
    CHECK(mlxn_graph_find_node(graph, "scalar_mul", 1) == 3, "the second scalar_mul");
    CHECK(mlxn_graph_find_node(graph, "scalar_mul", 2) == UINT64_MAX, "there is no third");
    launch(e, graph);
    all(z, 60, "3 * 2 * 2 * 5");
    for (int i = 0; i < 4; i++) { /* warm */
        scale(graph, 0, 1);
        launch(e, graph);
    }
    uint64_t before = mlxn_alloc_count();
    for (int i = 0; i < 20; i++) {
        scale(graph, 0, (float)i);
        scale(graph, 3, 10);
        launch(e, graph);
        all(z, (float)(3 * i * 2 * 10), "patched in place");
    }
    uint64_t made = mlxn_alloc_count() - before;
    CHECK(!made, "40 patches and 20 launches made %d allocations", (int)made);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_buffer_release(&z);
}

/* Launches that wait for a timeline keep what they were recorded with. */
static void test_copy_on_write(void) {
    enum { LAUNCHES = 6 };
    mlxn_buffer *x = make(N, 3), *x2 = make(N, 100), *y = make(N, 0), *results[LAUNCHES];
    mlxn_timeline *gate = NULL;
    OK(mlxn_timeline_create(device, &gate, &error));
    mlxn_encoder *e = capture();
    mlxn_scalar_mul(e, row(x), row(y), &(mlxn_scalar_mul_params){2});
    mlxn_elementwise_add(e, row(y), row(x), row(y));
    mlxn_encoder_fill(e, y, 0, 4, 0);
    mlxn_graph *graph = take(e);
    OK(mlxn_encoder_wait(e, gate, 1));
    for (int i = 0; i < LAUNCHES; i++) {
        results[i] = make(N, -1);
        mlxn_tensor t = row(x2);
        if (i) scale(graph, 0, (float)i);
        if (i == 3) OK(mlxn_graph_set_argument(graph, 1, 1, &t, &error));
        if (i == 4) OK(mlxn_graph_set_fill(graph, 2, y, 8, 4, 0, &error));
        OK(mlxn_encoder_launch(e, graph));
        OK(mlxn_encoder_copy(e, y, 0, results[i], 0, 4 * N));
        OK(mlxn_encoder_commit(e, NULL, &error));
    }
    mlxn_graph_info info = {.struct_size = sizeof info};
    OK(mlxn_graph_get_info(graph, &info));
    CHECK(info.patches == LAUNCHES + 1, "%d patches were counted, want %d", (int)info.patches, LAUNCHES + 1);
    mlxn_graph_destroy(graph); /* and so does a graph that is gone */
    mlxn_buffer_release(&x2);
    mlxn_timeline_signal(gate, 1);
    OK(mlxn_encoder_wait_completed(e, &error));
    for (int i = 0; i < LAUNCHES; i++) {
        const float *p = mlxn_buffer_contents(results[i]);
        float want = 3 * (i ? (float)i : 2) + (i < 3 ? 3 : 100), first = i < 4 ? 0 : want, third = i < 4 ? want : 0;
        CHECK(p[0] == first && p[1] == want && p[2] == third && p[N - 1] == want, "launch %d: %g %g %g, want %g", i,
              (double)p[0], (double)p[1], (double)p[2], (double)want);
        mlxn_buffer_release(&results[i]);
    }
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&gate);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
}

static uint64_t groups(const mlxn_graph *graph) {
    mlxn_graph_info info = {.struct_size = sizeof info};
    mlxn_graph_get_info(graph, &info);
    return info.groups;
}

static void test_barriers_follow(bool reorder) {
    mlxn_buffer *a = make(N, 1), *b = make(N, 10), *c = make(N, 0), *d = make(N, 0), *big = make(2 * N, 7);
    mlxn_tensor ta = row(a), tc = row(c), tb = row(b);
    mlxn_encoder *e = capture();
    mlxn_elementwise_add(e, row(a), row(b), row(c));
    mlxn_elementwise_add(e, row(b), row(b), row(d));
    mlxn_encoder_copy(e, b, 0, big, 0, 4 * N);
    mlxn_graph_desc desc = {.struct_size = sizeof desc, .reorder = reorder};
    mlxn_graph *graph = NULL;
    OK(mlxn_encoder_take_capture_with(e, &desc, &graph, &error));
    CHECK(groups(graph) == 1, "nothing conflicts");
    OK(mlxn_graph_set_argument(graph, 1, 0, &tc, &error)); /* d = c + b */
    launch(e, graph);
    CHECK(groups(graph) == 2 && mlxn_graph_barrier_count(graph) == 1, "reads the first: %d groups",
          (int)groups(graph));
    all(d, 21, "c + b");
    OK(mlxn_graph_set_copy(graph, 2, d, 0, big, 4 * N, 4 * N, &error));
    launch(e, graph);
    CHECK(groups(graph) == 3, "the copy reads the second");
    CHECK(((float *)mlxn_buffer_contents(big))[N] == 21 && ((float *)mlxn_buffer_contents(big))[0] == 10, "copied");
    OK(mlxn_graph_set_argument(graph, 1, 0, &tb, &error));
    OK(mlxn_graph_set_argument(graph, 0, 2, &ta, &error)); /* a = a + b, in place */
    launch(e, graph);
    CHECK(groups(graph) == 2, "the first is alone again: %d groups", (int)groups(graph));
    all(d, 20, "b + b");
    all(a, 11, "in place");
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer *list[] = {a, b, c, d, big};
    for (int i = 0; i < 5; i++) mlxn_buffer_release(&list[i]);
}

/* The message of a patch is the message of recording the same. */
static void test_errors(void) {
    mlxn_buffer *x = make(64, 1), *y = make(64, 2), *w = make(8, 1);
    mlxn_device *other = NULL;
    mlxn_buffer *foreign = NULL;
    OK(mlxn_device_create(&(mlxn_device_desc){.struct_size = sizeof(mlxn_device_desc), .threads = 1}, &other,
                          &error));
    OK(mlxn_buffer_create(other, 256, &foreign, &error));
    mlxn_rms_norm_params good = {1e-5f}, bad = {-1};
    mlxn_tensor tx = mlxn_tensor_2d(x, 0, MLXN_F32, 8, 8), ty = mlxn_tensor_2d(y, 0, MLXN_F32, 8, 8);
    mlxn_tensor tw = row(w), none = {0};
    mlxn_encoder *e = capture();
    mlxn_rms_norm(e, tx, tw, ty, &good);
    mlxn_encoder_copy(e, x, 0, y, 0, 64);
    mlxn_encoder_fill(e, x, 0, 4, 1);
    mlxn_graph *graph = take(e);
    launch(e, graph);
    float want[64], *out = mlxn_buffer_contents(y);
    memcpy(want, out, sizeof want);
    mlxn_tensor wrong[] = {mlxn_tensor_2d(x, 0, MLXN_F32, 8, 9),  mlxn_tensor_2d(x, 2, MLXN_F32, 8, 7),
                           mlxn_tensor_2d(y, 32, MLXN_F32, 7, 8), mlxn_tensor_2d(foreign, 0, MLXN_F32, 8, 8),
                           mlxn_tensor_2d(x, 0, MLXN_U8, 8, 8),   none,
                           mlxn_tensor_2d(x, 0, MLXN_F32, 7, 8)};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mlxn_error patch, record;
        mlxn_encoder *r = NULL;
        OK(mlxn_encoder_create(device, &r, &error));
        mlxn_rms_norm(r, wrong[i], tw, ty, &good);
        mlxn_encoder_status(r, &record);
        mlxn_status status = mlxn_graph_set_argument(graph, 0, 0, &wrong[i], &patch);
        CHECK(status == MLXN_ERR_ARGUMENT && status == record.status && !strcmp(patch.message, record.message),
              "wrong tensor %d: \"%s\", recording says \"%s\"", (int)i, patch.message, record.message);
        mlxn_encoder_destroy(r);
    }
    mlxn_error e2;
    CHECK(mlxn_graph_set_params(graph, 0, &bad, sizeof bad, &e2) == MLXN_ERR_ARGUMENT && strstr(e2.message, "eps"),
          "%s", e2.message);
    CHECK(mlxn_graph_set_params(graph, 0, &good, 3, &e2) == MLXN_ERR_ARGUMENT, "size: %s", e2.message);
    CHECK(mlxn_graph_set_params(graph, 3, &good, 4, &e2) == MLXN_ERR_ARGUMENT && strstr(e2.message, "below 3"), "%s",
          e2.message);
    CHECK(mlxn_graph_set_params(graph, 1, &good, 4, &e2) == MLXN_ERR_ARGUMENT && strstr(e2.message, "copy_bytes"),
          "%s", e2.message);
    CHECK(mlxn_graph_set_argument(graph, 0, 3, &tx, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    CHECK(mlxn_graph_set_weight(graph, 0, 1, NULL, &e2) == MLXN_OK, "an optional one may go: %s", e2.message);
    CHECK(mlxn_graph_set_argument(graph, 0, 1, &tw, &e2) == MLXN_OK, "and come back: %s", e2.message);
    CHECK(mlxn_graph_set_copy(graph, 1, x, 0, x, 32, 64, &e2) == MLXN_ERR_ARGUMENT && strstr(e2.message, "overlap"),
          "%s", e2.message);
    CHECK(mlxn_graph_set_copy(graph, 1, x, 200, y, 0, 64, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    CHECK(mlxn_graph_set_copy(graph, 1, x, 0, y, 0, 0, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    CHECK(mlxn_graph_set_fill(graph, 2, NULL, 0, 4, 0, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    CHECK(mlxn_graph_set_fill(graph, 0, x, 0, 4, 0, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    CHECK(mlxn_graph_set_kernel_bytes(graph, 0, 0, &good, 4, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    float *in = mlxn_buffer_contents(x);
    in[0] = 1; /* the fill changed it */
    launch(e, graph);
    CHECK(!memcmp(out, want, sizeof want), "failed patches changed nothing");
    /* Shapes change together or not at all. */
    mlxn_tensor sx = mlxn_tensor_2d(x, 0, MLXN_F32, 2, 8), sy = mlxn_tensor_2d(y, 0, MLXN_F32, 2, 8);
    mlxn_arg args[] = {{.tensor = &sx}, {.tensor = &tw}, {.tensor = &sy}};
    OK(mlxn_graph_set_node(graph, 0, args, 3, &good, sizeof good, &error));
    args[2].tensor = &ty;
    CHECK(mlxn_graph_set_node(graph, 0, args, 3, &good, sizeof good, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    CHECK(mlxn_graph_set_node(graph, 0, args, 2, &good, sizeof good, &e2) == MLXN_ERR_ARGUMENT, "%s", e2.message);
    for (int i = 0; i < 64; i++) out[i] = -5;
    launch(e, graph);
    CHECK(out[16] == -5 && out[15] == want[15], "two rows are left");
    mlxn_graph_info info = {.struct_size = sizeof info};
    OK(mlxn_graph_get_info(graph, &info));
    CHECK(info.patches == 3, "%d patches were counted, 3 were applied", (int)info.patches);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_buffer_release(&w);
    mlxn_buffer_release(&foreign);
    mlxn_device_release(&other);
}

static mlxn_weight *weight(float value) {
    mlxn_buffer *rows = make(4 * 32, value);
    mlxn_weight_desc desc = {.struct_size = sizeof desc, .format = MLXN_FORMAT_F32, .rows = 4, .cols = 32};
    mlxn_weight *w = NULL;
    desc.data = rows;
    OK(mlxn_weight_create(device, &desc, &w, &error));
    mlxn_buffer_release(&rows);
    return w;
}

/* The work memory of the threads stays with the device. */
static uint64_t memory_used(void) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.memory_buffers + info.memory_weights;
}

static void test_weights_and_release(void) {
    mlxn_buffer *x = make(32, 1), *y = make(4, 0);
    uint64_t before = memory_used();
    mlxn_weight *two = weight(2), *three = weight(3);
    mlxn_tensor none = {0};
    mlxn_encoder *e = capture();
    mlxn_matmul(e, mlxn_tensor_2d(x, 0, MLXN_F32, 1, 32), two, none, none, mlxn_tensor_2d(y, 0, MLXN_F32, 1, 4));
    mlxn_graph *graph = take(e);
    launch(e, graph);
    all(y, 64, "32 * 2");
    OK(mlxn_graph_set_weight(graph, 0, 1, three, &error));
    CHECK(mlxn_graph_set_weight(graph, 0, 0, three, &error) == MLXN_ERR_ARGUMENT, "x is a tensor: %s", error.message);
    launch(e, graph);
    all(y, 96, "32 * 3");
    mlxn_weight_release(&three);
    mlxn_weight_release(&two);
    for (int i = 0; i < 10; i++) { /* ten inputs in turn, none of which stays */
        mlxn_buffer *in = make(32, (float)i);
        mlxn_tensor t = mlxn_tensor_2d(in, 0, MLXN_F32, 1, 32);
        OK(mlxn_graph_set_argument(graph, 0, 0, &t, &error));
        mlxn_buffer_release(&in);
        launch(e, graph);
        all(y, (float)(96 * i), "the input of this turn");
    }
    mlxn_tensor t = mlxn_tensor_2d(x, 0, MLXN_F32, 1, 32);
    OK(mlxn_graph_set_argument(graph, 0, 0, &t, &error));
    launch(e, graph);
    uint64_t with = memory_used();
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    uint64_t after = memory_used();
    CHECK(after == before && with > before && with - before < 4096, "%d bytes before, %d with one weight, %d after",
          (int)before, (int)with, (int)after);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
}

static void test_two_queues(void) {
    enum { ROUNDS = 150, LARGE = 20000 };
    mlxn_buffer *a = make(LARGE, 1), *b = make(LARGE, 2), *c = make(LARGE, 0), *d = make(LARGE, 0);
    mlxn_queue *queue = NULL;
    mlxn_encoder *first = capture(), *second = NULL;
    OK(mlxn_queue_create(device, &queue, &error));
    OK(mlxn_encoder_create_on(queue, &second, &error));
    mlxn_encoder_fill(first, c, 0, 4 * LARGE, 0);
    mlxn_encoder_fill(first, d, 0, 4 * LARGE, 0);
    mlxn_elementwise_add(first, row(a), row(b), row(c));
    mlxn_elementwise_add(first, row(b), row(b), row(d));
    mlxn_elementwise_mul(first, row(c), row(d), row(d));
    mlxn_graph *graph = take(first);
    for (int i = 0; i < ROUNDS; i++) {
        OK(mlxn_encoder_launch(first, graph));
        OK(mlxn_encoder_commit(first, NULL, &error));
        OK(mlxn_encoder_launch(second, graph));
        OK(mlxn_encoder_commit(second, NULL, &error));
        if (i % 10 != 9) continue;
        OK(mlxn_encoder_wait_completed(first, &error));
        OK(mlxn_encoder_wait_completed(second, &error));
        all(d, 12, "(1 + 2) * (2 + 2), from two queues");
    }
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(first);
    mlxn_encoder_destroy(second);
    mlxn_queue_release(&queue);
    mlxn_buffer *list[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) mlxn_buffer_release(&list[i]);
}

/* A kernel of the user's own: bindings and inline bytes, copied with the graph. */
static void test_kernel_nodes(void) {
    mlxn_buffer *x = make(16, 1), *y = make(16, 2), *z = make(16, 3);
    mlxn_kernel *kernel = mlxn_alloc(sizeof *kernel);
    atomic_init(&kernel->refs, 1000); /* never to zero: it is this test's */
    kernel->name = kernel->label = "mine";
    mlxn_encoder *e = capture();
    mlxn_kernel_launch *k = mlxn_list_alloc(&e->capture, sizeof *k + 3 * sizeof *k->bindings);
    *k = (mlxn_kernel_launch){.kernel = kernel, .n_bindings = 3, .bindings = (mlxn_kernel_binding *)(k + 1)};
    uint32_t *bytes = mlxn_list_alloc(&e->capture, 4);
    *bytes = 7;
    k->bindings[0] = (mlxn_kernel_binding){0, MLXN_KERNEL_READ, {x, 0, 64}, mlxn_buffer_contents(x), 64};
    k->bindings[1] = (mlxn_kernel_binding){1, MLXN_KERNEL_WRITE, {y, 0, 64}, mlxn_buffer_contents(y), 64};
    k->bindings[2] = (mlxn_kernel_binding){5, MLXN_KERNEL_READ, {0}, bytes, 4};
    mlxn_node *node = mlxn_list_add(&e->capture, MLXN_NODE_KERNEL);
    node->u.kernel = k;
    CHECK(mlxn_list_keep_node(&e->capture, node), "kept");
    mlxn_encoder_fill(e, z, 0, 4, 0);
    mlxn_graph *graph = NULL;
    OK(mlxn_graph_take(e, NULL, false, &graph, &error)); /* no program: this kernel has no code */
    mlxn_graph_instance *old = graph->instance;
    mlxn_graph_instance_hold(old); /* as a recorded launch does */
    uint32_t nine = 9;
    OK(mlxn_graph_set_kernel_bytes(graph, 0, 5, &nine, 4, &error));
    OK(mlxn_graph_set_kernel_buffer(graph, 0, 1, z, 4, 8, &error));
    const mlxn_kernel_launch *now = graph->instance->source->nodes[0].u.kernel;
    const mlxn_kernel_launch *then = old->source->nodes[0].u.kernel;
    CHECK(now != then && now->kernel == kernel && *(uint32_t *)now->bindings[2].address == 9, "new bytes");
    CHECK(*(uint32_t *)then->bindings[2].address == 7 && then->bindings[1].memory.buffer == y, "the old ones stay");
    CHECK(now->bindings[1].memory.buffer == z && now->bindings[1].memory.end == 12 && now->bindings[1].bytes == 8 &&
              now->bindings[1].address == (uint8_t *)mlxn_buffer_contents(z) + 4,
          "new memory");
    CHECK(graph->instance->source->stale_order, "barriers are derived anew");
    CHECK(mlxn_graph_derive(graph->instance, &graph->levels, false, &error) == MLXN_OK && groups(graph) == 1,
          "disjoint bytes of z: %d groups", (int)groups(graph));
    OK(mlxn_graph_set_kernel_buffer(graph, 0, 1, z, 0, 0, &error));
    CHECK(mlxn_graph_derive(graph->instance, &graph->levels, false, &error) == MLXN_OK && groups(graph) == 2,
          "all of z: %d groups", (int)groups(graph));
    CHECK(mlxn_graph_set_kernel_buffer(graph, 0, 1, x, 0, 0, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "slot 1, which is written, overlaps slot 0"),
          "%s", error.message);
    CHECK(mlxn_graph_set_kernel_buffer(graph, 0, 3, x, 0, 0, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_graph_set_kernel_buffer(graph, 0, 5, x, 0, 0, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_graph_set_kernel_buffer(graph, 0, 0, x, 64, 0, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_graph_set_kernel_bytes(graph, 0, 5, &nine, 3, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_graph_set_kernel_bytes(graph, 0, 0, &nine, 4, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    mlxn_graph_instance_drop(old);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_free(kernel);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_buffer_release(&z);
}

/* The k-th allocation of a patch in use fails: the graph does what it did, and takes the patch when asked again. */
static void test_no_memory(void) {
    mlxn_buffer *x = make(N, 3), *y = make(N, 0), *other = make(N, 10);
    mlxn_tensor t = row(other);
    for (uint64_t k = 1; k < 60; k++) {
        mlxn_timeline *gate = NULL;
        OK(mlxn_timeline_create(device, &gate, &error));
        mlxn_encoder *e = capture();
        mlxn_scalar_mul(e, row(x), row(y), &(mlxn_scalar_mul_params){2});
        mlxn_elementwise_add(e, row(y), row(x), row(y));
        mlxn_graph *graph = take(e);
        OK(mlxn_encoder_wait(e, gate, 1));
        OK(mlxn_encoder_launch(e, graph));
        OK(mlxn_encoder_commit(e, NULL, &error));
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_graph_set_argument(graph, 1, 1, &t, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status == MLXN_OK || status == MLXN_ERR_MEMORY, "%s", error.message);
        mlxn_timeline_signal(gate, 1);
        OK(mlxn_encoder_wait_completed(e, &error));
        all(y, 9, "the launch that was in flight");
        launch(e, graph);
        all(y, status ? 9 : 16, "after the patch");
        OK(mlxn_graph_set_argument(graph, 1, 1, &t, &error));
        launch(e, graph);
        all(y, 16, "after the patch that is not refused");
        mlxn_graph_destroy(graph);
        mlxn_encoder_destroy(e);
        mlxn_timeline_release(&gate);
        if (!status) break;
        CHECK(k < 50, "the patch never has memory enough");
    }
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_buffer_release(&other);
}

static void report_speed(void) {
    enum { NODES = 1000, RUNS = 20 };
    mlxn_buffer *x = make(2 * NODES * 16, 1), *y = make(NODES * 16, 0);
    mlxn_encoder *e = capture();
    for (uint64_t i = 0; i < NODES; i++)
        mlxn_scalar_mul(e, mlxn_tensor_1d(x, 64 * i, MLXN_F32, 16), mlxn_tensor_1d(y, 64 * i, MLXN_F32, 16),
                        &(mlxn_scalar_mul_params){1});
    mlxn_graph *graph = take(e);
    launch(e, graph);
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    for (int r = 0; r < RUNS; r++)
        for (int what = 0; what < 2; what++) {
            uint64_t begun = mlxn_now_ns();
            for (uint64_t i = 0; i < NODES; i++) {
                mlxn_scalar_mul_params p = {(float)(r + 1)};
                mlxn_tensor t = mlxn_tensor_1d(x, 64 * (i + (r % 2 ? 0 : NODES)), MLXN_F32, 16);
                if (what)
                    mlxn_graph_set_argument(graph, i, 0, &t, &error);
                else
                    mlxn_graph_set_params(graph, i, &p, sizeof p, &error);
            }
            OK(mlxn_encoder_launch(e, graph)); /* derives what has to be */
            uint64_t ns = mlxn_now_ns() - begun;
            if (ns < best[what]) best[what] = ns;
            OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
        }
    all(y, RUNS, "the last scale");
    fprintf(stderr, "1,000 nodes patched: params %.0f ns per node, arguments %.0f ns per node with new barriers\n",
            (double)best[0] / NODES, (double)best[1] / NODES);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
}

int main(void) {
    for (uint32_t threads = 1; threads <= 3; threads++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc, .threads = threads};
        OK(mlxn_device_create(&desc, &device, &error));
        test_nodes_and_params();
        test_copy_on_write();
        test_barriers_follow(false);
        test_barriers_follow(true);
        test_errors();
        test_weights_and_release();
        test_two_queues();
        test_kernel_nodes();
        test_no_memory();
        report_speed();
        CHECK(memory_used() == 0, "%d bytes are left", (int)memory_used());
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
