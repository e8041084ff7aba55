/* Promise: sessions without end. As many sessions of three stages as asked for, one after the other in one process:
 * every counter is exact, the memory of the process does not grow, and no block, buffer or membership is left.
 *
 * Usage: sustained [sessions] (20000) */
#include <inttypes.h>

#include "torture/torture.h"

enum { N = 16, WARM_UP = 1000, GROWTH_KIB = 256 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true; /* keeps freed memory aside: the process does grow */
#else
static const bool sanitized = false;
#endif

/* KiB of the process in memory; 0 where the system does not tell. */
static uint64_t resident_kib(void) {
    unsigned long long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%llu %llu", &size, &pages) != 2) pages = 0;
    fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE) / 1024;
}

typedef struct world {
    mlxn_device *device;
    mlxn_buffer *a, *b, *c;
} world;

static mlxn_tensor row(mlxn_buffer *buffer) { return mlxn_tensor_1d(buffer, 0, MLXN_F32, N); }

/* a + b -> c, c + b -> c, c - stays; the third stage is waited for. Every fourth session is dropped with the third
 * stage in flight. */
static mlxn_status session(world *w, uint64_t i, mlxn_error *error) {
    mlxn_session *s = NULL;
    mlxn_status status = mlxn_session_create(w->device, &s, error);
    for (int stage = 0; stage < 3; stage++) {
        mlxn_encoder *e = mlxn_session_encoder(s);
        if (!status) RECORD(e, mlxn_elementwise_add(e, row(stage ? w->c : w->a), row(w->b), row(w->c)));
        if (stage == 2) break;
        STEP(mlxn_session_fence_stage(s, "stage", error));
        STEP(mlxn_session_reset_for_next_stage(s, error));
    }
    if (i % 4 == 3)
        STEP(mlxn_session_fence_stage(s, "last", error));
    else
        STEP(mlxn_session_commit_and_wait(s, error));
    if (!status && mlxn_session_fence_value(s) != 2 + (i % 4 == 3))
        status = mlxn_fail(error, MLXN_ERR_INTERNAL, "session %d: fence value", (int)i);
    mlxn_session_destroy(s);
    return status;
}

static void run(world *w, uint64_t from, uint64_t to) {
    mlxn_error error = {0};
    mlxn_status status = MLXN_OK;
    for (uint64_t i = from; i < to && !status; i++) {
        if (i % 4096 == 0) torture_watch("sustained", "session", i);
        status = session(w, i, &error);
    }
    CHECK(status == MLXN_OK, "%s", error.message);
    CHECK(mlxn_device_wait_idle(w->device, UINT64_MAX, &error) == MLXN_OK, "%s", error.message);
}

static void check_counters(const world *w, uint64_t n) {
    mlxn_counters c;
    mlxn_device_counters(w->device, &c);
    CHECK(c.dispatch_count == 3 * n, "%" PRIu64 " dispatches, want %" PRIu64, c.dispatch_count, 3 * n);
    CHECK(c.cmd_buf_count == 3 * n, "%" PRIu64 " command buffers, want %" PRIu64, c.cmd_buf_count, 3 * n);
    CHECK(c.sync_count == n - n / 4, "%" PRIu64 " blocking commits, want %" PRIu64, c.sync_count, n - n / 4);
    CHECK(c.barrier_count == 0 && c.hazard_barrier_count == 0, "no barrier: one dispatch in each command buffer");
}

static void sustain(const char *backend, uint64_t n) {
    world w = {0};
    mlxn_error error;
    float values[N];
    for (int i = 0; i < N; i++) values[i] = (float)i;
    uint64_t blocks = mlxn_alloc_live();
    w.device = torture_open(backend, &(mlxn_device_desc){.no_stream = true});
    mlxn_buffer **all[] = {&w.a, &w.b, &w.c};
    for (int i = 0; i < 3; i++) {
        CHECK(mlxn_buffer_create(w.device, sizeof values, all[i], &error) == MLXN_OK, "%s", error.message);
        CHECK(mlxn_buffer_write(*all[i], 0, values, sizeof values, &error) == MLXN_OK, "%s", error.message);
    }
    run(&w, 0, WARM_UP);
    uint64_t warm = mlxn_alloc_live(), before = resident_kib(), start = mlxn_now_ns();
    run(&w, WARM_UP, n);
    uint64_t after = resident_kib();
    double seconds = (double)(mlxn_now_ns() - start) * 1e-9;
    check_counters(&w, n);
    /* Some command buffers more may lie ready for reuse, if more of them were in flight at once. */
    CHECK(mlxn_alloc_live() <= warm + 200, "%s: %lld blocks more than when warm", backend,
          (long long)(mlxn_alloc_live() - warm));
    if (!sanitized)
        CHECK(after <= before + GROWTH_KIB, "%s: the process grew from %" PRIu64 " to %" PRIu64 " KiB", backend,
              before, after);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(w.device, &info);
    CHECK(info.computes == false || info.memory_buffers == 3 * sizeof values, "three buffers");
    if (info.computes) {
        float got[N];
        CHECK(mlxn_buffer_read(w.c, 0, got, sizeof got, &error) == MLXN_OK, "%s", error.message);
        for (int i = 0; i < N; i++) CHECK(got[i] == 4 * values[i], "element %d is %g", i, got[i]);
    }
    for (int i = 0; i < 3; i++) mlxn_buffer_release(all[i]);
    torture_check_idle(w.device, "sustained", backend, 0);
    mlxn_device_release(&w.device);
    CHECK(torture_settled(blocks), "%s: %lld blocks of memory are left", backend,
          (long long)(mlxn_alloc_live() - blocks));
    torture_unwatch();
    fprintf(stderr, "%s: %" PRIu64 " sessions, %.1f s, %" PRIu64 " -> %" PRIu64 " KiB\n", backend, n, seconds, before,
            after);
}

int main(int argc, char **argv) {
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
    if (n < 2 * WARM_UP) n = 2 * WARM_UP;
    sustain("cpu", n);
    sustain("null", n);
    return TEST_DONE();
}
