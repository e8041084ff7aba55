/* Promise: where command buffers hold no references (MLX_UNRETAINED_REFS=1, or the device's own setting), results are
 * the same and memory still outlives the work that names it, whenever and wherever its handles are dropped; it is
 * freed once that work is done, and an open command buffer without work holds nothing up. */
#include <mlxn/mlxn.h>
#include <pthread.h>

#include "core/core.h"
#include "test.h"

static mlxn_device *device;
static mlxn_error error;

static mlxn_buffer *make(const float *values, int n) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(device, 4 * (uint64_t)n, &b, &error) == MLXN_OK, "%s", error.message);
    if (values) CHECK(mlxn_buffer_write(b, 0, values, 4 * (uint64_t)n, &error) == MLXN_OK, "%s", error.message);
    return b;
}

static mlxn_encoder *encoder(void) {
    mlxn_encoder *e = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
    return e;
}

static mlxn_tensor row(mlxn_buffer *b, uint64_t n) { return mlxn_tensor_1d(b, 0, MLXN_F32, n); }

static uint64_t used(void) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.memory_buffers;
}

static void expect(mlxn_buffer *b, const float *want, int n, const char *what) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    float got[16];
    CHECK(mlxn_buffer_read(b, 0, got, 4 * (uint64_t)n, &error) == MLXN_OK, "%s", error.message);
    for (int i = 0; info.computes && i < n; i++)
        CHECK(got[i] == want[i], "%s: element %d is %g, want %g", what, i, got[i], want[i]);
}

static const float one[4] = {1, 2, 3, 4}, five[4] = {5, 6, 7, 8}, sum[4] = {6, 8, 10, 12};

static void test_add(void) {
    mlxn_buffer *a = make(one, 4), *b = make(five, 4), *out = make(NULL, 4);
    mlxn_encoder *e = encoder();
    CHECK(mlxn_elementwise_add(e, row(a, 4), row(b, 4), row(out, 4)) == MLXN_OK, "add");
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
    expect(out, sum, 4, "add");
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    CHECK(used() == 0, "all freed at once");
    mlxn_encoder_destroy(e);
}

/* Handles dropped right after recording, and while the work runs. */
static void test_dropped(void) {
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *a = make(one, 4), *b = make(five, 4), *mid = make(NULL, 4), *out = make(NULL, 4);
    mlxn_encoder *e = encoder(), *idle_one = encoder();
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_elementwise_add(e, row(a, 4), row(b, 4), row(mid, 4)) == MLXN_OK, "add");
    mlxn_buffer_release(&a); /* recorded */
    CHECK(mlxn_encoder_copy(e, mid, 0, out, 0, 16) == MLXN_OK, "copy");
    CHECK(used() == 64, "the memory of a stays");
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer_release(&b); /* committed, stands still */
    mlxn_buffer_release(&mid);
    CHECK(used() == 64, "so does that of b and mid");
    mlxn_buffer *later = make(NULL, 4);
    mlxn_buffer_release(&later);
    CHECK(used() == 64, "what no work names is freed at once");
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(used() == 16, "freed when the work is done, although another command buffer is open: %d", (int)used());
    expect(out, sum, 4, "dropped");
    mlxn_buffer_release(&out);
    mlxn_encoder_destroy(e);
    mlxn_encoder_destroy(idle_one);
    mlxn_timeline_release(&gate);
}

/* Work that is never committed lets go as well. */
static void test_discarded(void) {
    mlxn_buffer *a = make(one, 4);
    mlxn_encoder *e = encoder();
    CHECK(mlxn_elementwise_add(e, row(a, 4), row(a, 4), row(a, 4)) == MLXN_OK, "add");
    mlxn_buffer_release(&a);
    CHECK(used() == 16, "recorded");
    mlxn_encoder_destroy(e);
    CHECK(used() == 0, "discarded");
}

static int freed, freed_early;
static mlxn_command_buffer *watched;
static void on_free(void *user, void *memory, uint64_t bytes) {
    freed++;
    *(float *)memory = -1;
    if (user && mlxn_command_buffer_state(watched) == MLXN_CB_RECORDING) freed_early++;
}

static void test_wrapped(void) {
    static float memory[4];
    memcpy(memory, one, sizeof one);
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *w = NULL, *b = make(five, 4), *out = make(NULL, 4);
    freed = 0;
    CHECK(mlxn_buffer_wrap(device, memory, 16, on_free, NULL, &w, &error) == MLXN_OK, "%s", error.message);
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_elementwise_add(e, row(w, 4), row(b, 4), row(out, 4)) == MLXN_OK, "add");
    mlxn_buffer_release(&w);
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    CHECK(freed == 0, "not while it is in use");
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(freed == 1, "once, when the work has completed: %d", freed);
    expect(out, sum, 4, "wrapped");
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&gate);
}

/* A graph retains what it captured, also over launches. */
static void test_graph(void) {
    mlxn_graph *graph = NULL;
    static float memory[4];
    memcpy(memory, one, sizeof one);
    freed = 0;
    mlxn_buffer *w = NULL, *b = make(five, 4), *out = make(NULL, 4);
    CHECK(mlxn_buffer_wrap(device, memory, 16, on_free, NULL, &w, &error) == MLXN_OK, "%s", error.message);
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_start_capture(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_elementwise_add(e, row(w, 4), row(b, 4), row(out, 4)) == MLXN_OK, "add");
    CHECK(mlxn_encoder_take_capture(e, &graph, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer_release(&w);
    mlxn_buffer_release(&b);
    for (int i = 0; i < 3; i++) {
        CHECK(mlxn_encoder_launch(e, graph) == MLXN_OK, "launch");
        if (i == 2) {
            mlxn_graph_destroy(graph);
            CHECK(freed == 0, "the recorded launch keeps it");
        }
        CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "%s", error.message);
        expect(out, sum, 4, "launched");
    }
    CHECK(freed == 1, "freed with the last launch");
    mlxn_buffer_release(&out);
    CHECK(used() == 0, "nothing is left");
    mlxn_encoder_destroy(e);
}

/* The stage of 20.5 of the specification: scratch dropped between fence and next commit. */
static void test_session(void) {
    mlxn_session *s = NULL;
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *a = make(one, 4), *b = make(five, 4), *scratch = make(NULL, 4), *out = make(NULL, 4);
    CHECK(mlxn_elementwise_add(mlxn_session_encoder(s), row(a, 4), row(b, 4), row(scratch, 4)) == MLXN_OK, "add");
    CHECK(mlxn_session_fence_stage(s, NULL, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer_release(&scratch);
    CHECK(mlxn_session_reset_for_next_stage(s, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_elementwise_add(mlxn_session_encoder(s), row(a, 4), row(b, 4), row(out, 4)) == MLXN_OK, "add");
    CHECK(mlxn_session_commit_and_wait(s, &error) == MLXN_OK, "%s", error.message);
    expect(out, sum, 4, "stage 2");
    CHECK(used() == 48, "scratch is gone");
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
}

/* Many buffers, dropped out of order over several command buffers that complete in order. */
static void test_order(void) {
    enum { N = 6 };
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_encoder *e[N];
    mlxn_buffer *b[N];
    for (int i = 0; i < N; i++) b[i] = make(NULL, 4);
    for (int i = 0; i < N; i++) {
        e[i] = encoder();
        CHECK(mlxn_encoder_wait(e[i], gate, (uint64_t)i + 1) == MLXN_OK, "wait");
        CHECK(mlxn_encoder_fill(e[i], b[i], 0, 16, 1) == MLXN_OK, "fill");
        if (i) CHECK(mlxn_encoder_fill(e[i], b[0], 0, 16, 1) == MLXN_OK, "fill");
        CHECK(mlxn_encoder_commit(e[i], NULL, &error) == MLXN_OK, "%s", error.message);
    }
    static const int order[N] = {3, 0, 5, 1, 4, 2};
    for (int i = 0; i < N; i++) mlxn_buffer_release(&b[order[i]]);
    CHECK(used() == 16 * N, "all wait");
    for (int i = 0; i < N; i++) {
        mlxn_timeline_signal(gate, (uint64_t)i + 1);
        CHECK(mlxn_encoder_wait_completed(e[i], &error) == MLXN_OK, "%s", error.message);
        uint64_t left = i == N - 1 ? 0 : i == 0 ? N : N - (uint64_t)i; /* b[0] is used to the end */
        CHECK(used() == 16 * left, "after %d: %d bytes, want %d", i, (int)used(), 16 * (int)left);
        mlxn_encoder_destroy(e[i]);
    }
    mlxn_timeline_release(&gate);
}

/* Threads that record, drop and hand buffers to each other. */
enum { THREADS = 4, ROUNDS = 300 };
static mlxn_buffer *common;
static void *worker(void *user) {
    mlxn_encoder *e = NULL;
    float ones[16], got[16];
    for (int i = 0; i < 16; i++) ones[i] = 1;
    if (mlxn_encoder_create(device, &e, NULL)) return "no encoder";
    for (int round = 0; round < ROUNDS; round++) {
        mlxn_buffer *a = NULL, *out = NULL, *c = mlxn_buffer_retain(common);
        if (mlxn_buffer_create(device, 64, &a, NULL) || mlxn_buffer_create(device, 64, &out, NULL))
            return "no buffer";
        mlxn_buffer_write(a, 0, ones, 64, NULL);
        mlxn_elementwise_add(e, row(a, 16), row(c, 16), row(out, 16));
        mlxn_buffer_release(&c);
        mlxn_buffer_release(&a);
        mlxn_error failure;
        if (round % 3 == 0) {
            if (mlxn_encoder_commit_and_wait(e, NULL, &failure)) return "commit";
            if (mlxn_buffer_read(out, 0, got, 64, NULL)) return "read";
            mlxn_device_info info = {.struct_size = sizeof info};
            mlxn_device_get_info(device, &info);
            if (info.computes && got[5] != 3) return "wrong sum";
        } else if (mlxn_encoder_commit(e, NULL, &failure)) {
            return "commit";
        }
        mlxn_buffer_release(&out);
    }
    mlxn_encoder_destroy(e);
    return NULL;
}

static void test_threads(void) {
    float twos[16];
    for (int i = 0; i < 16; i++) twos[i] = 2;
    common = make(twos, 16);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, worker, NULL) == 0, "thread");
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        CHECK(!result, "%s", result ? (char *)result : "");
    }
    mlxn_buffer_release(&common);
    CHECK(mlxn_device_wait_idle(device, UINT64_MAX, &error) == MLXN_OK, "%s", error.message);
    CHECK(used() == 0, "%d bytes are left", (int)used());
}

/* The last handles of everything go while work is in flight: the device lives to its end. */
static void test_device_goes_first(const mlxn_device_desc *desc) {
    mlxn_device *kept = device;
    CHECK(mlxn_device_create(desc, &device, &error) == MLXN_OK, "%s", error.message);
    mlxn_timeline *gate = NULL;
    static float memory[4];
    freed = freed_early = 0;
    mlxn_buffer *w = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_wrap(device, memory, 16, on_free, &freed, &w, &error) == MLXN_OK, "%s", error.message);
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_encoder_fill(e, w, 0, 16, 0) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    watched = mlxn_command_buffer_retain(mlxn_encoder_command_buffer(e));
    mlxn_buffer_release(&w);
    mlxn_encoder_destroy(e);
    mlxn_device_release(&device);
    CHECK(freed == 0, "in flight");
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_command_buffer_wait(watched, UINT64_MAX, &error) == MLXN_OK, "%s", error.message);
    CHECK(freed == 1 && !freed_early, "freed by the work's end");
    mlxn_command_buffer_release(&watched);
    mlxn_timeline_release(&gate);
    device = kept;
}

static void run_all(const mlxn_device_desc *desc, bool want) {
    CHECK(mlxn_device_create(desc, &device, &error) == MLXN_OK, "%s", error.message);
    CHECK(device->unretained == want, "the mode of the device");
    test_add();
    test_dropped();
    test_discarded();
    test_wrapped();
    test_graph();
    test_session();
    test_order();
    test_threads();
    test_device_goes_first(desc);
    mlxn_device_release(&device);
}

int main(void) {
    const char *backends[] = {"cpu", "null"};
    for (int i = 0; i < 2; i++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backends[i], .threads = 2, .no_stream = true};
        unsetenv("MLX_UNRETAINED_REFS");
        mlxn_gates_forget();
        run_all(&desc, false); /* the same promises hold by default */
        setenv("MLX_UNRETAINED_REFS", "0", 1);
        mlxn_gates_forget();
        run_all(&desc, false);
        setenv("MLX_UNRETAINED_REFS", "1", 1);
        mlxn_gates_forget();
        run_all(&desc, true);
        unsetenv("MLX_UNRETAINED_REFS");
        mlxn_gates_forget();
        desc.unretained = true;
        run_all(&desc, true);
    }
    return TEST_DONE();
}
