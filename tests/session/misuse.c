/* Promise: what is wrong is told, once and for good. Recording into a submitted stage and committing a borrowed
 * encoder are errors of STATE that no later call forgets; a stage that never completes gives a time-out with its
 * label; a stage given up by its owner fails with the owner's words; destroy waits when that was asked for; a session
 * may be dropped on any thread.
 *
 * Usage: misuse [cpu|null] */
#include <pthread.h>
#include <time.h>

#include "session/common.h"

static void test_record_while_drained(void) {
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 4, (float[]){1, 1, 1, 1}), *out = floats(device, 4, NULL);
    for (int kind = 0; kind < 3; kind++) {
        mlxn_session *s = NULL;
        mlxn_error error, later;
        OK(mlxn_session_create(device, &s, NULL));
        OK(add(mlxn_session_encoder(s), a, a, out, 4));
        OK(mlxn_session_begin_stage(s, "first stage"));
        if (kind == 0) OK(mlxn_session_fence_stage(s, NULL, NULL));
        if (kind == 1) OK(mlxn_session_commit_stage(s, NULL));
        if (kind == 2) OK(mlxn_session_commit_and_wait(s, NULL));
        mlxn_encoder *e = mlxn_session_encoder(s);
        CHECK(e, "encoder() gives it in every state");
        CHECK(add(e, out, out, out, 4) == MLXN_ERR_STATE, "a record into a submitted stage");
        mlxn_encoder_status(e, &error);
        CHECK(
            strstr(error.message, "\"first stage\"") && strstr(error.message, "reset_for_next_stage opens the next"),
            "%s", error.message);
        CHECK(mlxn_session_reset_for_next_stage(s, &later) == MLXN_ERR_STATE && !strcmp(later.message, error.message),
              "no later call forgets it: %s", later.message);
        CHECK(mlxn_session_status(s, &later) == MLXN_ERR_STATE && !strcmp(later.message, error.message), "status");
        CHECK(mlxn_session_wait_all(s, UINT64_MAX, &later) == MLXN_ERR_STATE, "wait_all");
        OK(mlxn_device_wait_idle(device, UINT64_MAX, NULL));
        expect(out, 4, (float[]){2, 2, 2, 2}); /* what was submitted before is unharmed */
        mlxn_session_destroy(s);
    }
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
}

static void test_commit_of_the_borrowed_encoder(void) {
    mlxn_device *device = make_device();
    mlxn_session *s = NULL;
    mlxn_error error, later;
    OK(mlxn_session_create(device, &s, NULL));
    OK(mlxn_session_begin_stage(s, "mine"));
    CHECK(mlxn_encoder_commit(mlxn_session_encoder(s), "yours", &error) == MLXN_ERR_STATE, "commit");
    CHECK(strstr(error.message, "the encoder is a session's"), "%s", error.message);
    CHECK(mlxn_encoder_commit_and_wait(mlxn_session_encoder(s), NULL, NULL) == MLXN_ERR_STATE, "commit_and_wait");
    CHECK(!mlxn_session_is_drained(s), "the session's state is what it was");
    CHECK(mlxn_session_fence_stage(s, NULL, &later) == MLXN_ERR_STATE && !strcmp(later.message, error.message),
          "its commit tells: %s", later.message);
    CHECK(mlxn_session_fence_value(s) == 1 && mlxn_timeline_value(mlxn_session_timeline(s)) == 1,
          "and the fence advances, marked failed");
    CHECK(mlxn_session_stage_status(s, 1, NULL) == MLXN_ERR_STATE, "stage status");
    mlxn_session_destroy(s);
    mlxn_device_release(&device);
}

/* The stage waits for a value that nobody signals. */
static void test_stage_that_never_completes(void) {
    mlxn_device *device = make_device();
    mlxn_timeline *never = NULL;
    mlxn_session *s = NULL;
    mlxn_error error;
    mlxn_cb_state state;
    OK(mlxn_timeline_create(device, &never, NULL));
    OK(mlxn_session_create(device, &s, NULL));
    OK(mlxn_encoder_wait(mlxn_session_encoder(s), never, 1));
    OK(mlxn_session_fence_stage(s, "stuck stage", NULL));
    OK(mlxn_session_reset_for_next_stage(s, NULL));
    OK(mlxn_session_begin_stage(s, "behind it"));
    OK(mlxn_session_fence_stage(s, NULL, NULL));
    CHECK(mlxn_session_wait_fence(s, 1, 3000000, &error) == MLXN_ERR_TIMEOUT, "a bounded wait ends");
    CHECK(strstr(error.message, "\"stuck stage\" not completed after 0.003 s"), "%s", error.message);
    CHECK(mlxn_session_wait_all(s, 3000000, &error) == MLXN_ERR_TIMEOUT, "so does wait_all");
    CHECK(strstr(error.message, "\"stuck stage\""), "the first stage that has not completed: %s", error.message);
    OK(mlxn_session_status(s, NULL)); /* a time-out is no failure of the session */
    OK(mlxn_session_stage_state(s, 1, &state, NULL));
    CHECK(state == MLXN_CB_COMMITTED, "under way");
    OK(mlxn_session_stage_status(s, 1, NULL));
    mlxn_timeline_fail(never, 1, "the camera was unplugged");
    CHECK(mlxn_session_wait_all(s, UINT64_MAX, &error) == MLXN_ERR_EXECUTION, "given up");
    CHECK(strstr(error.message, "\"stuck stage\"") && strstr(error.message, "the camera was unplugged"),
          "label and the owner's words: %s", error.message);
    OK(mlxn_session_stage_state(s, 2, &state, NULL));
    CHECK(state == MLXN_CB_FAILED, "the stage behind it waited for its fence, which failed");
    mlxn_session_destroy(s);
    mlxn_timeline_release(&never);
    /* The device works on. */
    mlxn_encoder *e = NULL;
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4});
    OK(mlxn_encoder_create(device, &e, NULL));
    OK(add(e, a, a, a, 4));
    OK(mlxn_encoder_commit_and_wait(e, NULL, NULL));
    expect(a, 4, (float[]){2, 4, 6, 8});
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&a);
    mlxn_device_release(&device);
}

static void *signal_later(void *user) {
    struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
    mlxn_timeline_signal(user, 1);
    return NULL;
}

static void test_wait_on_destroy(void) {
    mlxn_device *device = make_device();
    mlxn_timeline *gate = NULL;
    mlxn_session *s = NULL;
    OK(mlxn_timeline_create(device, &gate, NULL));
    mlxn_session_desc desc = {.struct_size = sizeof desc, .wait_on_destroy = true};
    OK(mlxn_session_create_with(device, &desc, &s, NULL));
    mlxn_buffer *a = floats(device, 4, (float[]){3, 3, 3, 3});
    OK(mlxn_encoder_wait(mlxn_session_encoder(s), gate, 1));
    OK(add(mlxn_session_encoder(s), a, a, a, 4));
    OK(mlxn_session_commit_stage(s, NULL));
    pthread_t thread;
    pthread_create(&thread, NULL, signal_later, gate);
    mlxn_session_destroy(s);
    CHECK(mlxn_timeline_value(gate) == 1, "destroy waited");
    expect(a, 4, (float[]){6, 6, 6, 6});
    pthread_join(thread, NULL);
    mlxn_timeline_release(&gate);
    mlxn_buffer_release(&a);
    mlxn_device_release(&device);
}

static void *drop_session(void *user) {
    mlxn_session_destroy(user);
    return NULL;
}

/* Made here, used here, dropped there: in every state. */
static void test_drop_on_another_thread(void) {
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 4, NULL);
    for (int state = 0; state < 6; state++) {
        mlxn_session *s = NULL;
        OK(mlxn_session_create(device, &s, NULL));
        if (state >= 1) OK(add(mlxn_session_encoder(s), a, a, a, 4));
        if (state == 2) OK(mlxn_session_commit_stage(s, NULL));
        if (state >= 3) OK(mlxn_session_fence_stage(s, NULL, NULL));
        if (state == 4) OK(mlxn_session_reset_for_next_stage(s, NULL));
        if (state == 5) add(mlxn_session_encoder(s), a, a, a, 4); /* misuse */
        pthread_t thread;
        pthread_create(&thread, NULL, drop_session, s);
        pthread_join(thread, NULL);
    }
    OK(mlxn_device_wait_idle(device, UINT64_MAX, NULL));
    mlxn_buffer_release(&a);
    mlxn_device_release(&device);
}

/* Counters of sessions and devices: exact, and untouched by others. */
static void test_scoped_counters(void) {
    mlxn_device *device = make_device(), *other = make_device();
    mlxn_session *s = NULL, *t = NULL;
    mlxn_counters c, d;
    OK(mlxn_session_create(device, &s, NULL));
    OK(mlxn_session_create(other, &t, NULL));
    mlxn_buffer *a = floats(device, 4, NULL), *b = floats(other, 4, NULL);
    for (int i = 0; i < 3; i++) {
        OK(add(mlxn_session_encoder(s), a, a, a, 4));
        mlxn_encoder_barrier(mlxn_session_encoder(s));
        OK(add(mlxn_session_encoder(s), a, a, a, 4));
        OK(add(mlxn_session_encoder(s), a, a, a, 4));
        OK(add(mlxn_session_encoder(t), b, b, b, 4));
        OK(mlxn_session_fence_stage(s, NULL, NULL));
        OK(mlxn_session_reset_for_next_stage(s, NULL));
    }
    OK(mlxn_session_commit_and_wait(s, NULL));
    OK(mlxn_session_commit_and_wait(t, NULL));
    mlxn_session_counters(s, &c);
    CHECK(c.dispatch_count == 9 && c.barrier_count == 3 && c.hazard_barrier_count == 3,
          "%d dispatches, %d + %d barriers", (int)c.dispatch_count, (int)c.barrier_count,
          (int)c.hazard_barrier_count);
    CHECK(c.cmd_buf_count == 4 && c.sync_count == 1, "%d command buffers, %d syncs", (int)c.cmd_buf_count,
          (int)c.sync_count);
    mlxn_device_counters(device, &d);
    CHECK(!memcmp(&c, &d, sizeof c), "nothing else used the device");
    mlxn_device_counters(other, &d);
    CHECK(d.dispatch_count == 3 && d.cmd_buf_count == 1 && d.sync_count == 1, "the other device's own");
    mlxn_session_destroy(s);
    mlxn_session_destroy(t);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_device_release(&device);
    mlxn_device_release(&other);
}

int main(int argc, char **argv) {
    const char *devices[] = {"cpu", "null", "cuda"};
    for (int i = 0; i < 3; i++) {
        if (argc > 1 && strcmp(argv[1], devices[i])) continue;
        if (!device_is_there(devices[i])) continue;
        device_name = devices[i];
        test_record_while_drained();
        test_commit_of_the_borrowed_encoder();
        test_stage_that_never_completes();
        test_wait_on_destroy();
        test_drop_on_another_thread();
        test_scoped_counters();
    }
    return TEST_DONE();
}
