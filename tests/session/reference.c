/* Promise: the runtime tests of the system that mlxn matches hold here by their meaning, as far as no other program
 * has them (docs/REFERENCE-TESTS.md lists all): the life of a session, waits of chained stages, barrier counters,
 * labels, tracked ranges, graph sessions, and the small ones of devices and buffers. One function per file there.
 *
 * Usage: reference [cpu|null] */
#include "session/common.h"

#include "backend/fault/backend.h"

static mlxn_error error;
static mlxn_device *device;

static mlxn_encoder *encoder(void) {
    mlxn_encoder *e = NULL;
    OK(mlxn_encoder_create(device, &e, &error));
    return e;
}

static mlxn_session *session(void) {
    mlxn_session *s = NULL;
    OK(mlxn_session_create(device, &s, &error));
    return s;
}

/* ---- encoder_session_lifecycle ---- */

static void test_encoder_session_lifecycle(void) {
    mlxn_session *gated = NULL, *s = session();
    const char *value = getenv("HF2Q_ENCODER_SESSION");
    bool on = value && !strcmp(value, "1");
    OK(mlxn_device_encoder_session(device, &gated, &error));
    CHECK(mlxn_session_env_enabled() == on && (gated != NULL) == on, "the gate, the query and the factory agree");
    mlxn_session_destroy(gated);

    /* commit_and_wait: one sync at least, values readable at once, the label kept, a second call good. */
    mlxn_buffer *a = floats(device, 4, (float[]){1.5f, 2.5f, 3.5f, 4.5f});
    mlxn_buffer *b = floats(device, 4, (float[]){10, 20, 30, 40}), *out = floats(device, 4, NULL);
    mlxn_counters before, after;
    mlxn_counters_read(&before);
    OK(mlxn_session_begin_stage(s, "phase.commit_and_wait"));
    OK(add(mlxn_session_encoder(s), a, b, out, 4));
    OK(mlxn_session_commit_and_wait(s, &error));
    mlxn_counters_read(&after);
    CHECK(after.sync_count >= before.sync_count + 1, "syncs");
    expect(out, 4, (float[]){11.5f, 22.5f, 33.5f, 44.5f});
    CHECK(!strcmp(mlxn_command_buffer_label(mlxn_session_command_buffer(s)), "phase.commit_and_wait"), "label");
    OK(mlxn_session_commit_and_wait(s, &error));
    CHECK(mlxn_session_is_drained(s), "drained");
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
}

/* A blocking commit whose work fails says so, with label, operation and the backend's words; the session is drained
 * by then, and no later call forgets it. (There a guard over the source text, and the second call succeeds.) */
static void test_failing_commit_and_wait(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "fault", .threads = 1};
    mlxn_device *faulty = NULL;
    mlxn_session *s = NULL;
    mlxn_error later;
    mlxn_backend_extra = &mlxn_backend_fault;
    OK(mlxn_device_create(&desc, &faulty, &error));
    for (int stage = 0; stage < 2; stage++) { /* its submission fails, its execution fails */
        mlxn_buffer *a = floats(faulty, 4, NULL);
        OK(mlxn_session_create(faulty, &s, &error));
        OK(mlxn_session_begin_stage(s, "the stage that fails"));
        OK(add(mlxn_session_encoder(s), a, a, a, 4));
        mlxn_fault_at(stage ? 3 : 2); /* program_create, submit, execution */
        mlxn_status status = mlxn_session_commit_and_wait(s, &error);
        mlxn_fault_at(0);
        CHECK(status == (stage ? MLXN_ERR_EXECUTION : MLXN_ERR_DEVICE), "%s", mlxn_status_name(status));
        CHECK(strstr(error.message, "\"the stage that fails\""), "the label: %s", error.message);
        CHECK(strstr(error.message, stage ? "fault: execution fails as asked" : "fault: submit fails as asked"),
              "the backend's words: %s", error.message);
        CHECK(mlxn_session_is_drained(s) && !mlxn_session_is_fence_pending(s), "drained before it blocks");
        CHECK(mlxn_session_commit_and_wait(s, &later) == status && !strcmp(later.message, error.message), "%s",
              later.message);
        CHECK(mlxn_session_status(s, &later) == status && !strcmp(later.message, error.message), "%s", later.message);
        mlxn_status queue = mlxn_queue_status(mlxn_device_queue(faulty), &later);
        CHECK(stage ? queue == status && !strcmp(later.message, error.message) : queue == MLXN_OK,
              "the queue keeps what it ran: %s", later.message);
        mlxn_session_destroy(s);
        mlxn_buffer_release(&a);
    }
    mlxn_device_release(&faulty);
    mlxn_backend_extra = NULL;
}

/* ---- encoder_session_wait_event_smoke ---- */

static void test_encoder_session_wait_event_smoke(void) {
    mlxn_session *s = session();
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4}), *b = floats(device, 4, (float[]){10, 20, 30, 40});
    mlxn_buffer *out = floats(device, 4, NULL);
    CHECK(mlxn_session_fence_value(s) == 0 && mlxn_session_wait_count(s) == 0 && mlxn_session_wait_value(s) == 0 &&
              !mlxn_session_has_event(s),
          "fresh");
    for (uint64_t i = 0; i < 5; i++) {
        char label[48];
        snprintf(label, sizeof label, "session.attn.layer%d", (int)i);
        OK(add(mlxn_session_encoder(s), a, b, out, 4));
        OK(mlxn_session_fence_stage(s, label, &error));
        CHECK(mlxn_session_fence_value(s) == i + 1 && mlxn_session_has_event(s), "fence %d", (int)i);
        CHECK(!strcmp(mlxn_command_buffer_label(mlxn_session_command_buffer(s)), label), "its label");
        if (i == 4) break;
        OK(mlxn_session_reset_for_next_stage(s, &error));
        CHECK(mlxn_session_wait_count(s) == i + 1 && mlxn_session_wait_value(s) == i + 1, "wait %d", (int)i);
        CHECK(!mlxn_session_is_drained(s) && !mlxn_session_is_fence_pending(s), "latches");
    }
    for (int waited = 0; waited < 2; waited++) {
        CHECK(mlxn_session_fence_value(s) == 5 && mlxn_session_wait_count(s) == 4 && mlxn_session_wait_value(s) == 4,
              "the end, %s the wait", waited ? "after" : "before");
        OK(mlxn_command_buffer_wait(mlxn_session_command_buffer(s), UINT64_MAX, &error));
    }
    expect(out, 4, (float[]){11, 22, 33, 44});
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
}

/* ---- test_barrier_counter ---- */

static uint64_t barriers(void) {
    mlxn_counters c;
    mlxn_counters_read(&c);
    return c.barrier_count;
}

static void test_barrier_counter(void) {
    mlxn_buffer *a = floats(device, 4, NULL);
    mlxn_encoder *e = encoder();
    mlxn_graph *graph = NULL;
    uint64_t before = barriers();
    for (int i = 0; i < 3; i++) mlxn_encoder_barrier(e);
    CHECK(barriers() == before, "nothing precedes: not counted");
    OK(add(e, a, a, a, 4));
    for (int i = 0; i < 3; i++) mlxn_encoder_barrier(e);
    CHECK(barriers() == before + 3, "three after a dispatch");
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    before = barriers();
    OK(mlxn_encoder_start_capture(e, &error));
    OK(add(e, a, a, a, 4));
    for (int i = 0; i < 3; i++) mlxn_encoder_barrier(e);
    OK(mlxn_encoder_take_capture(e, &graph, &error));
    CHECK(barriers() == before, "captured: not counted");
    CHECK(mlxn_graph_barrier_count(graph) == 3 && mlxn_graph_dispatch_count(graph) == 1, "but three nodes");
    mlxn_counters c;
    mlxn_encoder_counters(e, &c);
    CHECK(c.barrier_total_ns == 0, "not timed unless asked");
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
}

/* ---- test_cb_label_propagation ---- */

static void test_cb_label_propagation(void) {
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4}), *b = floats(device, 4, (float[]){5, 6, 7, 8});
    for (int blocking = 0; blocking < 2; blocking++) {
        mlxn_buffer *out = floats(device, 4, NULL);
        mlxn_encoder *e = encoder();
        const char *label = blocking ? "test.blocking" : "test.asynchronous";
        OK(add(e, a, b, out, 4));
        OK((blocking ? mlxn_encoder_commit_and_wait : mlxn_encoder_commit)(e, label, &error));
        mlxn_command_buffer *cb = mlxn_command_buffer_retain(mlxn_encoder_command_buffer(e));
        CHECK(!strcmp(mlxn_command_buffer_label(cb), label), "after the commit: %s", mlxn_command_buffer_label(cb));
        OK(mlxn_encoder_wait_completed(e, &error));
        CHECK(!strcmp(mlxn_command_buffer_label(cb), label), "after the work: %s", mlxn_command_buffer_label(cb));
        expect(out, 4, (float[]){6, 8, 10, 12});
        mlxn_command_buffer_release(&cb);
        mlxn_encoder_destroy(e);
        mlxn_buffer_release(&out);
    }
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
}

/* ---- test_auto_barrier: its range calls; memory ranges ---- */

static void touch(mlxn_encoder *e, mlxn_kernel *kernel, mlxn_buffer *b, mlxn_kernel_role role) {
    mlxn_kernel_arg arg = {.role = role, .buffer = b};
    OK(mlxn_encode_kernel(e, kernel, &arg, 1, &(mlxn_kernel_grid){.size = {1}}));
}

static void nothing(const mlxn_kernel_group *group) { (void)group; }

static uint64_t ranges(mlxn_encoder *e) {
    mlxn_encoder_stats stats;
    mlxn_encoder_get_stats(e, &stats);
    return stats.tracked_ranges;
}

static void test_ranges(void) {
    mlxn_registry *registry = NULL;
    mlxn_kernel *kernel = NULL;
    OK(mlxn_registry_create(device, &registry, &error));
    OK(mlxn_registry_register_function(registry, "touch", nothing, NULL, &error));
    OK(mlxn_registry_get(registry, "touch", NULL, 0, &kernel, &error));
    mlxn_buffer *x = floats(device, 4, NULL), *y = floats(device, 4, NULL);
    mlxn_encoder *e = encoder();
    mlxn_encoder_stats stats;
    CHECK(ranges(e) == 0, "empty");
    touch(e, kernel, y, MLXN_KERNEL_READ);
    touch(e, kernel, x, MLXN_KERNEL_WRITE);
    CHECK(ranges(e) == 2, "read y, write x");
    touch(e, kernel, x, MLXN_KERNEL_READ);
    mlxn_encoder_get_stats(e, &stats);
    CHECK(stats.hazard_barriers == 1 && ranges(e) == 1, "reading x forces a barrier, and the group begins anew");
    mlxn_encoder_barrier(e);
    CHECK(ranges(e) == 0, "an explicit one empties it");
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));

    touch(e, kernel, x, MLXN_KERNEL_WRITE);
    touch(e, kernel, x, MLXN_KERNEL_READ);
    touch(e, kernel, y, MLXN_KERNEL_WRITE);
    touch(e, kernel, y, MLXN_KERNEL_READ);
    mlxn_encoder_get_stats(e, &stats);
    CHECK(stats.hazard_barriers == 2, "write x, read x, write y, read y: two, got %d", (int)stats.hazard_barriers);
    touch(e, kernel, x, MLXN_KERNEL_READ);
    touch(e, kernel, y, MLXN_KERNEL_READ);
    mlxn_encoder_get_stats(e, &stats);
    CHECK(stats.hazard_barriers == 2, "reads do not conflict");
    mlxn_encoder_destroy(e);
    mlxn_kernel_release(&kernel);
    mlxn_registry_destroy(registry);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
}

/* ---- test_graph ---- */

enum { LONG = 1024 };
static float values[LONG], first[LONG], second[LONG];

static void same(const char *what, uint64_t n) {
    if (device_computes(device)) CHECK(!memcmp(first, second, n * sizeof *first), "%s: the bits differ", what);
}

static mlxn_buffer *filled(uint64_t n, float step) {
    for (uint64_t i = 0; i < n; i++) values[i] = 0.5f + step * (float)i;
    mlxn_buffer *b = NULL;
    OK(mlxn_buffer_create(device, n * sizeof *values, &b, &error));
    OK(mlxn_buffer_write(b, 0, values, n * sizeof *values, &error));
    return b;
}

static void test_graph(void) {
    mlxn_executor *executor = NULL;
    mlxn_graph_session *g = NULL;
    OK(mlxn_executor_create(device, &executor, &error));
    mlxn_buffer *a = filled(LONG, 0.25f), *b = filled(LONG, -0.125f), *c = filled(LONG, 0), *d = filled(LONG, 0);
    mlxn_encoder *e = encoder();

    /* One operation in a session and directly. */
    OK(add(e, a, b, c, LONG));
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    OK(mlxn_buffer_read(c, 0, first, sizeof first, &error));
    for (int recorded = 0; recorded < 2; recorded++) {
        OK((recorded ? mlxn_executor_begin_recorded : mlxn_executor_begin)(executor, &g, &error));
        CHECK(mlxn_graph_session_is_recording(g) == recorded, "recording");
        OK(add(mlxn_graph_session_encoder(g), a, b, d, LONG));
        OK(mlxn_graph_session_finish(&g, NULL, NULL, &error));
        OK(mlxn_buffer_read(d, 0, second, sizeof second, &error));
        same("one operation", LONG);
    }

    /* add, barrier, mul in one session; in two command buffers. */
    mlxn_tensor ta = mlxn_tensor_1d(a, 0, MLXN_F32, 512), tc = mlxn_tensor_1d(c, 0, MLXN_F32, 512);
    OK(add(e, a, b, c, 512));
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    OK(mlxn_elementwise_mul(e, tc, ta, tc));
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    OK(mlxn_buffer_read(c, 0, first, sizeof first, &error));
    OK(mlxn_executor_begin(executor, &g, &error));
    OK(add(mlxn_graph_session_encoder(g), a, b, c, 512));
    mlxn_graph_session_barrier(g);
    OK(mlxn_elementwise_mul(mlxn_graph_session_encoder(g), tc, ta, tc));
    CHECK(mlxn_graph_session_barrier_count(g) == 1, "one barrier");
    OK(mlxn_graph_session_finish(&g, NULL, NULL, &error));
    OK(mlxn_buffer_read(c, 0, second, sizeof second, &error));
    same("add, barrier, mul", 512);

    /* 120 operations in one command buffer and in 120 blocking ones: one sync against 120, and the same result. (The
     * speed is bench/runtime's to show.) */
    mlxn_counters before, between, after;
    mlxn_counters_read(&before);
    OK(mlxn_buffer_write(c, 0, values, sizeof values, &error));
    for (int i = 0; i < 120; i++) {
        OK(add(e, c, a, c, LONG));
        OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    }
    OK(mlxn_buffer_read(c, 0, first, sizeof first, &error));
    mlxn_counters_read(&between);
    OK(mlxn_buffer_write(c, 0, values, sizeof values, &error));
    OK(mlxn_executor_begin(executor, &g, &error));
    for (int i = 0; i < 120; i++) OK(add(mlxn_graph_session_encoder(g), c, a, c, LONG));
    OK(mlxn_graph_session_finish(&g, NULL, NULL, &error));
    OK(mlxn_buffer_read(c, 0, second, sizeof second, &error));
    mlxn_counters_read(&after);
    same("120 operations", LONG);
    CHECK(between.sync_count - before.sync_count == 120 && after.sync_count - between.sync_count == 1, "syncs");
    CHECK(after.cmd_buf_count - between.cmd_buf_count == 1, "one command buffer");

    /* Dropped without finish: the work never runs, the device goes on. */
    OK(mlxn_buffer_write(d, 0, (float[]){9, 9, 9, 9}, 16, &error));
    OK(mlxn_executor_begin(executor, &g, &error));
    OK(add(mlxn_graph_session_encoder(g), a, a, d, 4));
    mlxn_graph_session_destroy(g);
    OK(mlxn_device_wait_idle(device, UINT64_MAX, &error));
    expect(d, 4, (float[]){9, 9, 9, 9});
    OK(add(e, a, a, d, 4));
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error));
    expect(d, 4, (float[]){1, 1.5f, 2, 2.5f});

    mlxn_encoder_destroy(e);
    mlxn_executor_destroy(executor);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&c);
    mlxn_buffer_release(&d);
}

/* ---- the unit tests of device, buffer and encoder ---- */

static void test_units(void) {
    mlxn_device_info info = {.struct_size = sizeof info};
    OK(mlxn_device_get_info(device, &info));
    CHECK(info.name && *info.name, "the device has a name");
    mlxn_buffer *b = NULL;
    OK(mlxn_buffer_create(device, 96, &b, &error));
    mlxn_tensor t = mlxn_tensor_3d(b, 0, MLXN_F32, 2, 3, 4);
    CHECK(mlxn_buffer_size(b) == 96 && mlxn_tensor_elements(&t) == 24 && t.rank == 3, "2 x 3 x 4 in f32");
    float in[24], out[24];
    for (int i = 0; i < 24; i++) in[i] = (float)i / 7;
    OK(mlxn_buffer_write(b, 0, in, sizeof in, &error));
    OK(mlxn_buffer_read(b, 0, out, sizeof out, &error));
    CHECK(!memcmp(in, out, sizeof in), "what was written");
    mlxn_buffer_release(&b);
    mlxn_encoder *e = encoder();
    OK(mlxn_encoder_commit_and_wait(e, NULL, &error)); /* empty */
    OK(mlxn_encoder_commit(e, "empty too", &error));
    OK(mlxn_encoder_wait_completed(e, &error));
    mlxn_encoder_destroy(e);
}

int main(int argc, char **argv) {
    const char *devices[] = {"cpu", "null", "cuda"};
    for (int i = 0; i < 3; i++) {
        if (argc > 1 && strcmp(argv[1], devices[i])) continue;
        if (!device_is_there(devices[i])) continue;
        device_name = devices[i];
        device = make_device();
        test_encoder_session_lifecycle();
        test_encoder_session_wait_event_smoke();
        test_barrier_counter();
        test_cb_label_propagation();
        if (strcmp(device_name, "cuda")) test_ranges(); /* it runs no kernels of the user's own */
        test_graph();
        test_units();
        mlxn_device_release(&device);
    }
    test_failing_commit_and_wait();
    return TEST_DONE();
}
