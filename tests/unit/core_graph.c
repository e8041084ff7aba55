/* Promise: what is recorded is what runs. Barriers stand exactly where operations conflict, a captured graph replays
 * to the same results as direct recording, launching a graph allocates nothing, thousands of commits in flight stay
 * in order, and the null device's text shows the stream. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "test.h"

static mlxn_error error;

static mlxn_device *open_device(const char *backend, uint32_t threads) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = threads};
    mlxn_device *device = NULL;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    return device;
}

static mlxn_buffer *make(mlxn_device *device, uint64_t n, float value) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(device, 4 * n, &b, &error) == MLXN_OK, "%s", error.message);
    float *p = mlxn_buffer_contents(b);
    for (uint64_t i = 0; i < n; i++) p[i] = value;
    return b;
}

static void test_golden_stream(void) {
    mlxn_device *device = open_device("null", 0);
    mlxn_buffer *a = make(device, 8, 0), *b = make(device, 8, 0);
    mlxn_tensor low = mlxn_tensor_1d(a, 0, MLXN_F32, 4), high = mlxn_tensor_1d(a, 16, MLXN_F32, 4);
    mlxn_tensor out = mlxn_tensor_1d(b, 0, MLXN_F32, 4);
    mlxn_timeline *t = NULL;
    mlxn_encoder *e = NULL;
    CHECK(mlxn_timeline_create(device, &t, &error) == MLXN_OK, "timeline");
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    mlxn_encoder_barrier(e); /* nothing precedes: nothing is recorded */
    mlxn_elementwise_add(e, low, low, low);
    mlxn_elementwise_add(e, high, high, high); /* disjoint half: no barrier */
    mlxn_elementwise_add(e, low, high, out);   /* reads both: one barrier */
    mlxn_encoder_fill(e, b, 16, 8, 7);         /* another range of b: no barrier */
    mlxn_encoder_copy(e, b, 0, b, 16, 4);      /* conflicts with both */
    mlxn_encoder_signal(e, t, 5);
    mlxn_encoder_wait(e, t, 5);
    mlxn_encoder_stats stats;
    mlxn_encoder_get_stats(e, &stats);
    CHECK(stats.dispatches == 5 && stats.barriers == 2 && stats.hazard_barriers == 2, "%d %d %d",
          (int)stats.dispatches, (int)stats.barriers, (int)stats.hazard_barriers);
    CHECK(mlxn_encoder_commit_and_wait(e, "golden", &error) == MLXN_OK, "%s", error.message);
    const char *want =
        "begin \"golden\"\n"
        "dispatch elementwise_add a=b0+0:f32[4] b=b0+0:f32[4] out=b0+0:f32[4]\n"
        "dispatch elementwise_add a=b0+16:f32[4] b=b0+16:f32[4] out=b0+16:f32[4]\n"
        "barrier\n"
        "dispatch elementwise_add a=b0+0:f32[4] b=b0+16:f32[4] out=b1+0:f32[4]\n"
        "fill b1+16 bytes=8 value=7\n"
        "barrier\n"
        "copy b1+0 -> b1+16 bytes=4\n"
        "signal value=5\n"
        "wait value=5\n"
        "end\n";
    CHECK(!strcmp(mlxn_device_command_stream(device), want), "stream is\n%s", mlxn_device_command_stream(device));
    mlxn_device_clear_command_stream(device);
    CHECK(!*mlxn_device_command_stream(device), "cleared");
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&t);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_device_release(&device);
}

/* x = x + y, y = y + x, … : 2 n dependent operations; exact in binary32 for small n. */
static void record_chain(mlxn_encoder *e, mlxn_buffer *x, mlxn_buffer *y, uint64_t n, int steps) {
    mlxn_tensor tx = mlxn_tensor_1d(x, 0, MLXN_F32, n), ty = mlxn_tensor_1d(y, 0, MLXN_F32, n);
    for (int i = 0; i < steps; i++) {
        mlxn_elementwise_add(e, tx, ty, tx);
        mlxn_elementwise_add(e, ty, tx, ty);
    }
}

static void check_all(mlxn_buffer *b, uint64_t n, float want, const char *what) {
    const float *p = mlxn_buffer_contents(b);
    uint64_t bad = 0;
    for (uint64_t i = 0; i < n; i++) bad += p[i] != want;
    CHECK(bad == 0, "%s: %d of %d elements differ, first is %g, want %g", what, (int)bad, (int)n, p[0], want);
}

static void test_graph(uint32_t threads, uint64_t n) {
    mlxn_device *device = open_device("cpu", threads);
    mlxn_buffer *x = make(device, n, 1), *y = make(device, n, 1);
    mlxn_encoder *e = NULL;
    mlxn_graph *graph = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    mlxn_counters before, after;
    mlxn_counters_read(&before);
    CHECK(mlxn_encoder_start_capture(e, &error) == MLXN_OK, "capture");
    record_chain(e, x, y, n, 4);
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_ERR_STATE, "commit while capturing is refused");
    mlxn_encoder_destroy(e);
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    CHECK(mlxn_encoder_start_capture(e, &error) == MLXN_OK, "capture");
    record_chain(e, x, y, n, 4);
    CHECK(mlxn_encoder_take_capture(e, &graph, &error) == MLXN_OK, "%s", error.message);
    mlxn_counters_read(&after);
    CHECK(after.dispatch_count - before.dispatch_count == 16, "captured dispatches count");
    CHECK(mlxn_graph_dispatch_count(graph) == 8 && mlxn_graph_barrier_count(graph) == 7, "8 dependent operations");
    check_all(x, n, 1, "nothing ran yet");

    CHECK(mlxn_encoder_launch(e, graph) == MLXN_OK, "launch");
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
    check_all(x, n, 34, "8 steps from 1, 1: Fibonacci number 9");
    check_all(y, n, 55, "and number 10");
    /* Once the command buffers that take turns are warm, a launch allocates nothing. */
    uint64_t allocations = 0;
    for (int i = 0; i < 50; i++) {
        if (i == 4) allocations = mlxn_alloc_count();
        memset(mlxn_buffer_contents(x), 0, 4 * n);
        memset(mlxn_buffer_contents(y), 0, 4 * n);
        CHECK(mlxn_encoder_launch(e, graph) == MLXN_OK, "launch");
        CHECK(mlxn_encoder_commit_and_wait(e, "again", &error) == MLXN_OK, "%s", error.message);
    }
    uint64_t used = mlxn_alloc_count() - allocations;
    CHECK(used == 0, "46 launches made %d allocations", (int)used);
    check_all(y, n, 0, "0 + 0");
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_device_release(&device);
}

/* Many asynchronous commits: commit order is execution order. */
static void test_order(uint32_t threads) {
    mlxn_device *device = open_device("cpu", threads);
    enum { N = 3000, COMMITS = 300 };
    mlxn_buffer *x = make(device, N, 0), *one = make(device, N, 1);
    mlxn_encoder *e = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "encoder");
    mlxn_tensor tx = mlxn_tensor_1d(x, 0, MLXN_F32, N), t1 = mlxn_tensor_1d(one, 0, MLXN_F32, N);
    for (int i = 0; i < COMMITS; i++) {
        mlxn_elementwise_add(e, tx, t1, tx);
        mlxn_elementwise_add(e, tx, tx, tx); /* x = 2 (x + 1): not commutative with itself reordered */
        if (i % 20 == 19) mlxn_encoder_fill(e, x, 0, 4 * N, 0);
        CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    }
    mlxn_elementwise_add(e, tx, t1, tx);
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
    check_all(x, N, 1, "the last fill, then one add");
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&one);
    mlxn_device_release(&device);
}

int main(void) {
    test_golden_stream();
    for (uint32_t threads = 1; threads <= 4; threads++) {
        test_graph(threads, 5);
        test_graph(threads, 100000);
        test_order(threads);
    }
    return TEST_DONE();
}
