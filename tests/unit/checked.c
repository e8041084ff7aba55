/* Promise: a checked device refuses host access that meets committed work, and work that meets a mapping, naming
 * both; it lets everything else through; host views have exactly the bytes of their tensor. Unchecked devices only
 * check ranges. */
#include <mlxn/mlxn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/base.h"
#include "test.h"

static mlxn_device *device;
static mlxn_error error;
static char last_log[512];
static void on_log(void *user, const char *line) { snprintf(last_log, sizeof last_log, "%s", line); }

static mlxn_buffer *make(uint64_t bytes) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(device, bytes, &b, &error) == MLXN_OK, "%s", error.message);
    return b;
}

static mlxn_encoder *encoder(void) {
    mlxn_encoder *e = NULL;
    CHECK(mlxn_encoder_create(device, &e, &error) == MLXN_OK, "%s", error.message);
    return e;
}

#define SAYS(text) CHECK(strstr(error.message, text), "want \"%s\" in: %s", text, error.message)

static void test_copies(void) {
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *src = make(256), *dst = make(256), *free_one = make(256);
    char bytes[256] = {0};
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_encoder_copy(e, src, 0, dst, 128, 64) == MLXN_OK, "copy");
    CHECK(mlxn_buffer_write(src, 0, bytes, 256, &error) == MLXN_OK, "what is only recorded does not count: %s",
          error.message);
    CHECK(mlxn_encoder_commit(e, "layer.7", &error) == MLXN_OK, "%s", error.message);

    CHECK(mlxn_buffer_read(dst, 0, bytes, 256, &error) == MLXN_ERR_STATE, "a read meets a write");
    SAYS("buffer read of bytes [0, 256)");
    SAYS("\"layer.7\" in flight writes bytes [128, 192) with copy_bytes");
    CHECK(mlxn_buffer_write(src, 60, bytes, 8, &error) == MLXN_ERR_STATE, "a write meets a read");
    SAYS("buffer write of bytes [60, 68)");
    SAYS("reads bytes [0, 64)");
    CHECK(mlxn_buffer_write(dst, 191, bytes, 1, &error) == MLXN_ERR_STATE, "a write meets a write");
    CHECK(mlxn_buffer_read(src, 0, bytes, 256, &error) == MLXN_OK, "two reads: %s", error.message);
    CHECK(mlxn_buffer_write(src, 64, bytes, 192, &error) == MLXN_OK, "beside the range: %s", error.message);
    CHECK(mlxn_buffer_read(dst, 0, bytes, 128, &error) == MLXN_OK, "before: %s", error.message);
    CHECK(mlxn_buffer_read(dst, 192, bytes, 64, &error) == MLXN_OK, "behind: %s", error.message);
    CHECK(mlxn_buffer_write(free_one, 0, bytes, 256, &error) == MLXN_OK, "another buffer: %s", error.message);
    CHECK(mlxn_buffer_write(dst, 150, bytes, 0, &error) == MLXN_OK, "nothing: %s", error.message);

    last_log[0] = 0;
    CHECK(mlxn_buffer_contents(dst) == NULL, "written in flight");
    CHECK(strstr(last_log, "\"layer.7\" in flight writes"), "logged: %s", last_log);
    CHECK(mlxn_buffer_contents(src) != NULL && mlxn_buffer_contents(free_one) != NULL, "read in flight, not used");

    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_read(dst, 0, bytes, 256, &error) == MLXN_OK, "after it: %s", error.message);
    CHECK(mlxn_buffer_contents(dst) != NULL, "after it");
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&src);
    mlxn_buffer_release(&dst);
    mlxn_buffer_release(&free_one);
    mlxn_timeline_release(&gate);
}

static void test_operations_and_graphs(void) {
    mlxn_timeline *gate = NULL;
    mlxn_graph *graph = NULL;
    mlxn_session *s = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *b = make(192);
    mlxn_tensor x = mlxn_tensor_1d(b, 0, MLXN_F32, 16), y = mlxn_tensor_1d(b, 64, MLXN_F32, 16),
                z = mlxn_tensor_1d(b, 128, MLXN_F32, 16);
    float row[16] = {1};
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_start_capture(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_elementwise_add(e, x, y, z) == MLXN_OK, "add");
    CHECK(mlxn_encoder_take_capture(e, &graph, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_write(b, 0, row, 64, &error) == MLXN_OK, "a graph that does not run: %s", error.message);
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_encoder_launch(e, graph) == MLXN_OK, "launch");
    CHECK(mlxn_encoder_commit(e, "replay", &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_read(b, 128, row, 4, &error) == MLXN_ERR_STATE, "the launched graph writes it");
    SAYS("\"replay\" in flight writes bytes [128, 192) with elementwise_add");
    CHECK(mlxn_buffer_write(b, 64, row, 4, &error) == MLXN_ERR_STATE, "the launched graph reads it");
    CHECK(mlxn_buffer_read(b, 0, row, 64, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_session_begin_stage(s, "stage.1") == MLXN_OK, "begin");
    CHECK(mlxn_elementwise_add(mlxn_session_encoder(s), y, y, x) == MLXN_OK, "add");
    CHECK(mlxn_session_fence_stage(s, NULL, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_read(b, 0, row, 64, &error) == MLXN_ERR_STATE, "a session's stage");
    SAYS("\"stage.1\" in flight writes bytes [0, 64)");
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_session_wait_all(s, UINT64_MAX, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_read(b, 0, row, 64, &error) == MLXN_OK, "%s", error.message);
    mlxn_session_destroy(s);
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&b);
    mlxn_timeline_release(&gate);
}

static void test_map(void) {
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *b = make(256);
    void *p = NULL, *q = NULL, *r = NULL;
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_encoder_fill(e, b, 0, 64, 5) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_commit(e, "fill", &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_map(b, 0, 256, MLXN_MAP_READ, &p, &error) == MLXN_ERR_STATE && !p, "in flight");
    SAYS("buffer map of bytes [0, 256)");
    CHECK(mlxn_buffer_map(b, 64, 192, MLXN_MAP_READ_WRITE, &p, &error) == MLXN_OK, "%s", error.message);
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    CHECK(p == (char *)mlxn_buffer_contents(b) + 64, "the address");

    /* While it is mapped for writing, nothing that touches it can be committed. */
    mlxn_encoder *refused = encoder();
    CHECK(mlxn_encoder_copy(refused, b, 64, b, 0, 64) == MLXN_OK, "recording is free");
    CHECK(mlxn_encoder_commit(refused, "late", &error) == MLXN_ERR_STATE, "commit");
    SAYS("\"late\"");
    SAYS("copy_bytes reads bytes [64, 128)");
    SAYS("mapped [64, 256) to write");
    CHECK(mlxn_encoder_status(refused, NULL) == MLXN_ERR_STATE, "sticky");
    mlxn_encoder_destroy(refused);
    CHECK(mlxn_encoder_fill(e, b, 0, 64, 6) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "beside it: %s", error.message);
    CHECK(mlxn_buffer_unmap(b, p, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_unmap(b, p, &error) == MLXN_ERR_STATE, "once");
    CHECK(mlxn_encoder_copy(e, b, 64, b, 0, 64) == MLXN_OK, "copy");
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "unmapped: %s", error.message);

    /* Mapped for reading: reading work goes, writing work does not. Two mappings are two. */
    CHECK(mlxn_buffer_map(b, 0, 64, MLXN_MAP_READ, &p, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_map(b, 0, 128, MLXN_MAP_READ, &q, &error) == MLXN_OK && p == q, "%s", error.message);
    CHECK(mlxn_encoder_copy(e, b, 0, b, 128, 64) == MLXN_OK, "copy");
    CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "reads: %s", error.message);
    CHECK(mlxn_buffer_unmap(b, q, &error) == MLXN_OK, "%s", error.message);
    refused = encoder();
    CHECK(mlxn_encoder_fill(refused, b, 63, 1, 1) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_commit(refused, NULL, &error) == MLXN_ERR_STATE, "one mapping is left");
    SAYS("fill_bytes writes bytes [63, 64)");
    SAYS("mapped [0, 64) to read");
    mlxn_encoder_destroy(refused);
    CHECK(mlxn_buffer_unmap(b, p, &error) == MLXN_OK, "%s", error.message);

    CHECK(mlxn_buffer_map(b, 200, 57, MLXN_MAP_READ, &r, &error) == MLXN_ERR_ARGUMENT && !r, "past the end");
    SAYS("200 + 57 bytes, buffer at 256");
    CHECK(mlxn_buffer_map(b, 0, 0, MLXN_MAP_READ, &r, &error) == MLXN_ERR_ARGUMENT, "nothing");
    CHECK(mlxn_buffer_map(b, 0, 1, (mlxn_map_access)0, &r, &error) == MLXN_ERR_ARGUMENT, "no access");
    CHECK(mlxn_buffer_map(NULL, 0, 1, MLXN_MAP_READ, &r, &error) == MLXN_ERR_ARGUMENT, "no buffer");
    CHECK(mlxn_buffer_unmap(b, &r, &error) == MLXN_ERR_ARGUMENT, "a pointer from elsewhere");
    mlxn_alloc_fail_at(1);
    CHECK(mlxn_buffer_map(b, 0, 1, MLXN_MAP_READ, &r, &error) == MLXN_ERR_MEMORY && !r, "no memory");
    mlxn_alloc_fail_at(0);
    mlxn_encoder_destroy(e);
    CHECK(mlxn_buffer_map(b, 0, 1, MLXN_MAP_READ, &r, &error) == MLXN_OK, "%s", error.message);
    last_log[0] = 0;
    mlxn_buffer_release(&b);
    CHECK(strstr(last_log, "256 bytes died while bytes [0, 1)"), "a mapping ends with its buffer: %s", last_log);
    mlxn_timeline_release(&gate);
}

static void test_tensors(void) {
    mlxn_buffer *b = make(4 * 24);
    void *p = NULL;
    mlxn_tensor t = mlxn_tensor_2d(b, 0, MLXN_F32, 6, 4), rows, column;
    CHECK(mlxn_tensor_slice(&t, 0, 2, 3, &rows, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_tensor_map(&rows, MLXN_MAP_WRITE, &p, &error) == MLXN_OK, "%s", error.message);
    CHECK(p == (char *)mlxn_buffer_contents(b) + 2 * 16, "the offset of the view");
    if (device && p) {
        mlxn_encoder *e = encoder();
        CHECK(mlxn_encoder_fill(e, b, 80, 16, 1) == MLXN_OK, "fill");
        CHECK(mlxn_encoder_fill(e, b, 0, 32, 1) == MLXN_OK, "fill");
        CHECK(mlxn_encoder_commit_and_wait(e, NULL, &error) == MLXN_OK, "its length: %s", error.message);
        mlxn_encoder_destroy(e);
    }
    CHECK(mlxn_buffer_unmap(b, p, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_tensor_slice(&t, 1, 1, 2, &column, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_tensor_map(&column, MLXN_MAP_READ, &p, &error) == MLXN_ERR_ARGUMENT && !p, "not contiguous");
    mlxn_tensor odd = mlxn_tensor_1d(b, 2, MLXN_F32, 4), past = mlxn_tensor_1d(b, 64, MLXN_F32, 9),
                huge = mlxn_tensor_1d(b, 0, MLXN_F32, UINT64_MAX), none = {0};
    CHECK(mlxn_tensor_map(&odd, MLXN_MAP_READ, &p, &error) == MLXN_ERR_ARGUMENT, "not aligned");
    SAYS("byte 2 is not aligned to elements of 4 bytes");
    CHECK(mlxn_tensor_map(&past, MLXN_MAP_READ, &p, &error) == MLXN_ERR_ARGUMENT, "past the end");
    SAYS("64 + 36 bytes, buffer at 96");
    CHECK(mlxn_tensor_map(&huge, MLXN_MAP_READ, &p, &error) == MLXN_ERR_ARGUMENT, "2^66 bytes");
    CHECK(mlxn_tensor_map(&none, MLXN_MAP_READ, &p, &error) == MLXN_ERR_ARGUMENT, "absent");
    mlxn_buffer_release(&b);
}

/* An unchecked device answers at once; a pointer is the caller's own affair. */
static void test_unchecked(void) {
    mlxn_timeline *gate = NULL;
    CHECK(mlxn_timeline_create(device, &gate, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer *b = make(64);
    void *p = NULL;
    mlxn_encoder *e = encoder();
    CHECK(mlxn_encoder_wait(e, gate, 1) == MLXN_OK, "wait");
    CHECK(mlxn_encoder_fill(e, b, 0, 64, 5) == MLXN_OK, "fill");
    CHECK(mlxn_encoder_commit(e, NULL, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_map(b, 0, 64, MLXN_MAP_READ, &p, &error) == MLXN_OK && p == mlxn_buffer_contents(b), "%s",
          error.message);
    CHECK(mlxn_buffer_map(b, 1, 64, MLXN_MAP_READ, &p, &error) == MLXN_ERR_ARGUMENT, "the range is checked");
    CHECK(mlxn_buffer_unmap(b, mlxn_buffer_contents(b), &error) == MLXN_OK, "%s", error.message);
    mlxn_timeline_signal(gate, 1);
    CHECK(mlxn_encoder_wait_completed(e, &error) == MLXN_OK, "%s", error.message);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&b);
    mlxn_timeline_release(&gate);
}

/* One thread copies and maps while another commits: each answer is OK or STATE, and never do both have the bytes. */
static mlxn_buffer *shared;
static atomic_int stop, refusals;
static void *committer(void *user) {
    mlxn_encoder *e = NULL;
    mlxn_error failure;
    while (!atomic_load(&stop)) {
        if (!e && mlxn_encoder_create(device, &e, NULL)) return "no encoder";
        mlxn_encoder_fill(e, shared, 0, 4096, 1);
        mlxn_status status = mlxn_encoder_commit_and_wait(e, "w", &failure);
        if (status == MLXN_OK) continue;
        if (status != MLXN_ERR_STATE) return "neither OK nor STATE";
        atomic_fetch_add(&refusals, 1);
        mlxn_encoder_destroy(e);
        e = NULL;
    }
    mlxn_encoder_destroy(e);
    return NULL;
}

static void test_race(void) {
    static char bytes[4096];
    shared = make(4096);
    atomic_store(&stop, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, committer, NULL) == 0, "thread");
    int done = 0;
    /* The other thread has the bytes nearly always: on until both answers were seen often enough. */
    for (int i = 0; i < 3000 || done < 20; i++) {
        void *p = NULL;
        mlxn_status a = i & 1 ? mlxn_buffer_write(shared, 0, bytes, sizeof bytes, &error)
                              : mlxn_buffer_map(shared, 100, 100, MLXN_MAP_READ_WRITE, &p, &error);
        CHECK(a == MLXN_OK || a == MLXN_ERR_STATE, "%s", error.message);
        done += a == MLXN_OK;
        if (a) sched_yield();
        if (!p) continue;
        memset(p, 2, 100);
        int kept = 1;
        for (int k = 0; k < 100; k++) kept &= ((volatile char *)p)[k] == 2;
        CHECK(kept, "work wrote into mapped memory");
        CHECK(mlxn_buffer_unmap(shared, p, &error) == MLXN_OK, "%s", error.message);
    }
    atomic_store(&stop, 1);
    void *result = NULL;
    pthread_join(thread, &result);
    CHECK(!result, "%s", result ? (char *)result : "");
    mlxn_buffer_release(&shared);
}

int main(void) {
    const char *backends[] = {"cpu", "null"};
    for (int i = 0; i < 4; i++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc,
                                 .backend = backends[i % 2],
                                 .threads = 2,
                                 .log = on_log,
                                 .checked = true,
                                 .no_stream = true,
                                 .unretained = i >= 2};
        CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
        test_copies();
        test_operations_and_graphs();
        test_map();
        test_tensors();
        test_race();
        mlxn_device_release(&device);
        desc.checked = false;
        CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
        test_unchecked();
        test_tensors();
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
