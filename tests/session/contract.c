/* Promise: beyond the six named tests, a session behaves as its state table says: repeated calls succeed and change
 * nothing, labels and counters move as stated, drops are safe in every state, and a failed stage is reported by every
 * later call while its fence still advances.
 *
 * Usage: contract [cpu|null] */
#include <pthread.h>
#include <time.h>

#include "session/common.h"

static void test_lifecycle(void) {
    mlxn_device *device = make_device();
    mlxn_counters before, after;
    mlxn_counters_read(&before);
    mlxn_session *s = NULL;
    OK(mlxn_session_create(device, &s, NULL));
    mlxn_counters_read(&after);
    CHECK(after.cmd_buf_count == before.cmd_buf_count + 1, "creation takes one command buffer");
    for (int i = 0; i < 5; i++) CHECK(!mlxn_session_is_drained(s), "fresh sessions are not drained");
    CHECK(mlxn_session_wait_value(s) == 0 && mlxn_session_wait_count(s) == 0, "no waits yet");

    mlxn_buffer *a = floats(device, 4, (float[]){10, 20, 30, 40}), *b = floats(device, 4, (float[]){1, 2, 3, 4});
    mlxn_buffer *out = floats(device, 4, NULL);
    OK(mlxn_session_begin_stage(s, "phase.commit_stage"));
    OK(add(mlxn_session_encoder(s), a, b, out, 4));
    OK(mlxn_session_reset_for_next_stage(s, NULL)); /* encoding: changes nothing */
    OK(mlxn_session_commit_stage(s, NULL));
    CHECK(mlxn_session_is_drained(s) && !mlxn_session_is_fence_pending(s), "drained");
    mlxn_command_buffer *cb = mlxn_session_command_buffer(s);
    OK(mlxn_command_buffer_wait(cb, UINT64_MAX, NULL));
    expect(out, 4, (float[]){11, 22, 33, 44});
    CHECK(!strcmp(mlxn_command_buffer_label(cb), "phase.commit_stage"), "label survives");
    OK(mlxn_session_commit_stage(s, NULL));
    OK(mlxn_session_commit_and_wait(s, NULL));
    OK(mlxn_session_fence_stage(s, "late", NULL));
    CHECK(!mlxn_session_has_event(s) && mlxn_session_fence_value(s) == 0, "a fence when drained changes nothing");
    mlxn_counters_read(&before);
    OK(mlxn_session_reset_for_next_stage(s, NULL));
    mlxn_counters_read(&after);
    CHECK(after.cmd_buf_count == before.cmd_buf_count + 1, "a reset takes one command buffer");
    CHECK(mlxn_session_wait_count(s) == 0, "no wait after a plain commit");
    CHECK(mlxn_command_buffer_label(mlxn_session_command_buffer(s))[0] == 0, "a fresh command buffer has no label");

    OK(mlxn_session_begin_stage(s, "begin label"));
    OK(mlxn_session_fence_stage(s, NULL, NULL));
    CHECK(!strcmp(mlxn_command_buffer_label(mlxn_session_command_buffer(s)), "begin label"), "begin label is kept");
    OK(mlxn_session_fence_stage(s, NULL, NULL));
    CHECK(mlxn_session_fence_value(s) == 1, "fencing twice counts once");
    OK(mlxn_session_reset_for_next_stage(s, NULL));
    CHECK(mlxn_session_wait_value(s) == 1 && mlxn_session_wait_count(s) == 1, "one wait for value 1");
    mlxn_counters_read(&before);
    OK(mlxn_session_commit_and_wait(s, NULL));
    mlxn_counters_read(&after);
    CHECK(after.sync_count == before.sync_count + 1, "a blocking commit is one sync");
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
}

static void test_chain_arithmetic(void) {
    mlxn_device *device = make_device();
    mlxn_session *s = NULL;
    OK(mlxn_session_create(device, &s, NULL));
    for (uint64_t i = 0; i < 5; i++) {
        OK(mlxn_session_fence_stage(s, NULL, NULL));
        if (i < 4) OK(mlxn_session_reset_for_next_stage(s, NULL));
        CHECK(mlxn_session_fence_value(s) == i + 1, "value");
    }
    CHECK(mlxn_session_wait_count(s) == 4 && mlxn_session_wait_value(s) == 4, "N fences, N - 1 resets: N - 1 waits");
    for (uint64_t v = 1; v <= 5; v++) OK(mlxn_session_wait_fence(s, v, UINT64_MAX, NULL));
    mlxn_cb_state state;
    OK(mlxn_session_stage_state(s, 3, &state, NULL));
    CHECK(state == MLXN_CB_COMPLETED, "stage 3 completed");
    CHECK(mlxn_session_wait_fence(s, 6, 0, NULL) == MLXN_ERR_ARGUMENT, "a fence that nobody signals is refused");
    CHECK(mlxn_session_wait_fence(s, 0, 0, NULL) == MLXN_ERR_ARGUMENT, "0 is no fence");
    OK(mlxn_session_wait_all(s, UINT64_MAX, NULL));
    CHECK(mlxn_timeline_value(mlxn_session_timeline(s)) == 5, "timeline");
    mlxn_session_destroy(s);
    mlxn_device_release(&device);
}

static void test_failed_stage(void) {
    mlxn_device *device = make_device();
    mlxn_session *s = NULL;
    OK(mlxn_session_create(device, &s, NULL));
    mlxn_buffer *a = floats(device, 4, NULL), *small = floats(device, 2, NULL);
    OK(mlxn_session_fence_stage(s, "good", NULL));
    OK(mlxn_session_reset_for_next_stage(s, NULL));
    OK(mlxn_session_begin_stage(s, "bad stage"));
    mlxn_encoder_set_label(mlxn_session_encoder(s), "bad stage");
    mlxn_status record = add(mlxn_session_encoder(s), a, small, a, 4);
    CHECK(record == MLXN_ERR_ARGUMENT, "a view past its buffer is refused: %s", mlxn_status_name(record));
    CHECK(add(mlxn_session_encoder(s), a, a, a, 4) == record, "later records return the first error");
    mlxn_error first, later;
    CHECK(mlxn_session_fence_stage(s, NULL, &first) == MLXN_ERR_ARGUMENT, "the stage fails");
    CHECK(strstr(first.message, "elementwise_add: b: view ends at byte 16, its buffer at 8"), "text: %s",
          first.message);
    CHECK(strstr(first.message, "bad stage"), "the label is named: %s", first.message);
    CHECK(mlxn_session_fence_value(s) == 2, "the fence of a failed stage advances");
    CHECK(mlxn_timeline_wait(mlxn_session_timeline(s), 2, UINT64_MAX, &later) == MLXN_ERR_ARGUMENT, "marked failed");
    OK(mlxn_timeline_wait(mlxn_session_timeline(s), 1, UINT64_MAX, &later));
    CHECK(mlxn_session_reset_for_next_stage(s, &later) == first.status && !strcmp(later.message, first.message),
          "every later call returns the first error: %s", later.message);
    CHECK(mlxn_session_commit_and_wait(s, &later) == first.status, "commit_and_wait too");
    CHECK(mlxn_session_begin_stage(s, "x") == first.status, "begin_stage too");
    mlxn_cb_state state;
    OK(mlxn_session_stage_state(s, 2, &state, NULL));
    CHECK(state == MLXN_CB_FAILED, "stage 2 failed");
    OK(mlxn_session_stage_state(s, 1, &state, NULL));
    CHECK(state == MLXN_CB_COMPLETED, "stage 1 completed");

    /* The device is unharmed. */
    mlxn_encoder *plain = NULL;
    OK(mlxn_encoder_create(device, &plain, NULL));
    OK(add(plain, a, a, a, 4));
    OK(mlxn_encoder_commit_and_wait(plain, NULL, NULL));
    mlxn_encoder_destroy(plain);
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&small);
    mlxn_device_release(&device);
}

static void test_drop_in_every_state(void) {
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 4, (float[]){7, 8, 0, 0}), *b = floats(device, 4, (float[]){1, 2, 0, 0});
    mlxn_buffer *out = floats(device, 4, NULL);
    for (int state = 0; state < 5; state++) {
        mlxn_session *s = NULL;
        OK(mlxn_session_create(device, &s, NULL));
        if (state >= 1) OK(add(mlxn_session_encoder(s), a, b, out, 4));
        if (state == 2) OK(mlxn_session_commit_stage(s, NULL));
        if (state >= 3) OK(mlxn_session_fence_stage(s, NULL, NULL));
        if (state == 4) OK(mlxn_session_reset_for_next_stage(s, NULL)); /* a wait that is never committed */
        mlxn_session_destroy(s);
    }
    mlxn_encoder *plain = NULL;
    OK(mlxn_encoder_create(device, &plain, NULL));
    OK(add(plain, a, b, out, 4));
    OK(mlxn_encoder_commit_and_wait(plain, NULL, NULL));
    expect(out, 2, (float[]){8, 10});
    mlxn_encoder_destroy(plain);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
}

/* Everything is released while work is in flight: the last reference of the device dies on its own queue thread. */
static void test_drop_everything_in_flight(void) {
    for (int round = 0; round < 50; round++) {
        mlxn_device *device = make_device();
        mlxn_buffer *a = floats(device, 1 << 16, NULL), *out = floats(device, 1 << 16, NULL);
        mlxn_session *s = NULL;
        OK(mlxn_session_create(device, &s, NULL));
        for (int i = 0; i < 4; i++) {
            OK(add(mlxn_session_encoder(s), a, a, out, 1 << 16));
            OK(mlxn_session_fence_stage(s, NULL, NULL));
            OK(mlxn_session_reset_for_next_stage(s, NULL));
        }
        mlxn_buffer_release(&a);
        mlxn_buffer_release(&out);
        mlxn_session_destroy(s);
        mlxn_device_release(&device);
    }
}

/* A session on another thread, and two devices chained by one timeline. */
static void *run_stage(void *user) {
    mlxn_session *s = user;
    OK(mlxn_session_fence_stage(s, "from another thread", NULL));
    OK(mlxn_session_reset_for_next_stage(s, NULL));
    return NULL;
}

static void test_two_devices_one_timeline(void) {
    mlxn_device *first = make_device(), *second = make_device();
    mlxn_timeline *timeline = NULL;
    OK(mlxn_timeline_create(first, &timeline, NULL));
    mlxn_encoder *e1 = NULL, *e2 = NULL;
    OK(mlxn_encoder_create(first, &e1, NULL));
    OK(mlxn_encoder_create(second, &e2, NULL));
    OK(mlxn_encoder_wait(e2, timeline, 7));
    OK(mlxn_encoder_commit(e2, "waits", NULL));
    mlxn_command_buffer *waiting = mlxn_command_buffer_retain(mlxn_encoder_command_buffer(e2));
    CHECK(mlxn_command_buffer_wait(waiting, 20000000, NULL) == MLXN_ERR_TIMEOUT, "nothing signalled yet");
    CHECK(mlxn_command_buffer_state(waiting) == MLXN_CB_COMMITTED, "still waiting");
    CHECK(mlxn_timeline_wait(timeline, 7, 1000000, NULL) == MLXN_ERR_TIMEOUT, "host wait times out");
    OK(mlxn_encoder_signal(e1, timeline, 7));
    OK(mlxn_encoder_commit(e1, "signals", NULL));
    OK(mlxn_command_buffer_wait(waiting, UINT64_MAX, NULL));
    CHECK(mlxn_timeline_value(timeline) == 7, "value");
    mlxn_timeline_signal(timeline, 3);
    CHECK(mlxn_timeline_value(timeline) == 7, "timelines never go back");
    mlxn_command_buffer_release(&waiting);
    mlxn_encoder_destroy(e1);
    mlxn_encoder_destroy(e2);
    mlxn_timeline_release(&timeline);

    mlxn_session *s = NULL;
    OK(mlxn_session_create(first, &s, NULL));
    pthread_t thread;
    pthread_create(&thread, NULL, run_stage, s);
    pthread_join(thread, NULL);
    OK(mlxn_session_commit_and_wait(s, NULL));
    CHECK(mlxn_session_fence_value(s) == 1, "the session migrated");
    mlxn_session_destroy(s);
    mlxn_device_release(&first);
    mlxn_device_release(&second);
}

/* A host-side waiter of unbounded length and a signal from another thread. */
static void *signal_later(void *user) {
    struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
    mlxn_timeline_signal(user, 1);
    return NULL;
}

static void test_host_signal_unblocks(void) {
    mlxn_device *device = make_device();
    mlxn_timeline *timeline = NULL;
    mlxn_encoder *e = NULL;
    OK(mlxn_timeline_create(device, &timeline, NULL));
    OK(mlxn_encoder_create(device, &e, NULL));
    mlxn_buffer *a = floats(device, 4, (float[]){1, 1, 1, 1}), *out = floats(device, 4, NULL);
    OK(add(e, a, a, out, 4));
    OK(mlxn_encoder_wait(e, timeline, 1));
    OK(add(e, a, out, out, 4));
    pthread_t thread;
    pthread_create(&thread, NULL, signal_later, timeline);
    OK(mlxn_encoder_commit_and_wait(e, "waits in the middle", NULL));
    pthread_join(thread, NULL);
    expect(out, 4, (float[]){3, 3, 3, 3});
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&timeline);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
}

/* Plain: one command buffer per component; session: attention and feed-forward share one. */
static void test_command_buffer_count(void) {
    mlxn_device *device = make_device();
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4}), *out = floats(device, 4, NULL);
    mlxn_counters before, after;
    mlxn_counters_read(&before);
    for (int layer = 0; layer < 5; layer++)
        for (int part = 0; part < 2; part++) {
            mlxn_encoder *e = NULL;
            OK(mlxn_encoder_create(device, &e, NULL));
            OK(add(e, a, a, out, 4));
            OK(mlxn_encoder_commit(e, NULL, NULL));
            mlxn_encoder_destroy(e);
        }
    mlxn_counters_read(&after);
    uint64_t plain = after.cmd_buf_count - before.cmd_buf_count;
    mlxn_counters_read(&before);
    mlxn_session *s = NULL;
    OK(mlxn_session_create(device, &s, NULL));
    for (int layer = 0; layer < 5; layer++) {
        OK(add(mlxn_session_encoder(s), a, a, out, 4));
        mlxn_encoder_barrier(mlxn_session_encoder(s));
        OK(add(mlxn_session_encoder(s), a, out, out, 4));
        OK(mlxn_session_fence_stage(s, "session.attn.layer", NULL));
        if (layer < 4) OK(mlxn_session_reset_for_next_stage(s, NULL));
    }
    OK(mlxn_session_wait_all(s, UINT64_MAX, NULL));
    mlxn_counters_read(&after);
    uint64_t chained = after.cmd_buf_count - before.cmd_buf_count;
    CHECK(plain == 10 && chained == 5, "plain %d, session %d", (int)plain, (int)chained);
    CHECK(mlxn_session_fence_value(s) == 5 && mlxn_session_wait_count(s) == 4, "values");
    expect(out, 4, (float[]){3, 6, 9, 12});
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&out);
    mlxn_device_release(&device);
}

int main(int argc, char **argv) {
    const char *devices[] = {"cpu", "null", "cuda"};
    for (int i = 0; i < 3; i++) {
        if (argc > 1 && strcmp(argv[1], devices[i])) continue;
        if (!device_is_there(devices[i])) continue;
        device_name = devices[i];
        test_lifecycle();
        test_chain_arithmetic();
        test_failed_stage();
        test_drop_in_every_state();
        test_drop_everything_in_flight();
        test_two_devices_one_timeline();
        test_host_signal_unblocks();
        test_command_buffer_count();
    }
    return TEST_DONE();
}
