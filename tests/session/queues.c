/* Promise: queues run beside each other and are ordered by timelines alone; sessions on two queues and on two devices
 * share one timeline, whose values are reached in the order of their fences whichever queue is faster; a queue keeps
 * its first failure; waiting until it is idle covers what was committed before.
 *
 * Usage: queues [cpu|null] */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "session/common.h"

static mlxn_session *open_session(mlxn_device *device, mlxn_queue *queue, mlxn_timeline *timeline) {
    mlxn_session_desc desc = {.struct_size = sizeof desc, .queue = queue, .timeline = timeline};
    mlxn_session *s = NULL;
    mlxn_error error;
    CHECK(mlxn_session_create_with(device, &desc, &s, &error) == MLXN_OK, "%s", error.message);
    return s;
}

/* Queue B stands still while A goes on: a wait blocks its own queue only. */
static void test_queues_are_independent(void) {
    mlxn_device *device = make_device();
    mlxn_queue *other = NULL;
    mlxn_timeline *gate = NULL;
    mlxn_error error;
    OK(mlxn_queue_create(device, &other, NULL));
    OK(mlxn_timeline_create(device, &gate, NULL));
    CHECK(mlxn_queue_device(other) == device && mlxn_device_queue(device) != other, "a queue of its own");
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4}), *x = floats(device, 4, NULL),
                *y = floats(device, 4, NULL);
    mlxn_encoder *stuck = NULL, *free_one = NULL;
    OK(mlxn_encoder_create_on(other, &stuck, NULL));
    CHECK(mlxn_encoder_queue(stuck) == other && mlxn_encoder_device(stuck) == device, "the encoder knows its queue");
    OK(mlxn_encoder_create(device, &free_one, NULL));
    CHECK(mlxn_encoder_queue(free_one) == mlxn_device_queue(device), "the default queue");
    OK(mlxn_encoder_wait(stuck, gate, 1));
    OK(add(stuck, a, a, x, 4));
    OK(mlxn_encoder_commit(stuck, "waits for the gate", NULL));
    OK(add(free_one, a, a, y, 4));
    OK(mlxn_encoder_commit_and_wait(free_one, "passes by", NULL));
    expect(y, 4, (float[]){2, 4, 6, 8});
    OK(mlxn_queue_wait_idle(mlxn_device_queue(device), UINT64_MAX, NULL));
    CHECK(mlxn_queue_wait_idle(other, 2000000, &error) == MLXN_ERR_TIMEOUT, "the other queue is not idle");
    CHECK(strstr(error.message, "\"waits for the gate\" not completed after 0.002 s"), "%s", error.message);
    CHECK(mlxn_device_wait_idle(device, 0, &error) == MLXN_ERR_TIMEOUT, "nor is the device");
    mlxn_timeline_signal(gate, 1);
    OK(mlxn_device_wait_idle(device, UINT64_MAX, &error));
    expect(x, 4, (float[]){2, 4, 6, 8});
    mlxn_encoder_destroy(stuck);
    mlxn_encoder_destroy(free_one);
    mlxn_queue_release(&other);
    mlxn_timeline_release(&gate);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_device_release(&device);
}

/* Stages go to and fro between two sessions: x = x + x on one, x = x + one on the other; each reads what the other
 * wrote, on another queue or (with the same memory wrapped twice) another device. */
static void chain(mlxn_device *first, mlxn_queue *queue1, mlxn_device *second, mlxn_queue *queue2) {
    enum { N = 1000, ROUNDS = 12 };
    static float memory[N], one[N];
    for (int i = 0; i < N; i++) memory[i] = one[i] = 1;
    mlxn_buffer *x1 = NULL, *x2 = NULL, *o2 = NULL;
    OK(mlxn_buffer_wrap(first, memory, sizeof memory, NULL, NULL, &x1, NULL));
    OK(mlxn_buffer_wrap(second, memory, sizeof memory, NULL, NULL, &x2, NULL));
    OK(mlxn_buffer_wrap(second, one, sizeof one, NULL, NULL, &o2, NULL));
    mlxn_timeline *timeline = NULL;
    OK(mlxn_timeline_create(first, &timeline, NULL));
    mlxn_session *s1 = open_session(first, queue1, timeline), *s2 = open_session(second, queue2, timeline);
    CHECK(!mlxn_session_has_event(s1) && mlxn_session_timeline(s1) == timeline, "shared, not signalled yet");
    float want = 1;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        char label[32];
        snprintf(label, sizeof label, "double %d", (int)i);
        if (i) OK(mlxn_encoder_wait(mlxn_session_encoder(s1), timeline, 2 * i));
        OK(add(mlxn_session_encoder(s1), x1, x1, x1, N));
        OK(mlxn_session_fence_stage(s1, label, NULL));
        CHECK(mlxn_session_fence_value(s1) == 2 * i + 1, "odd values are session 1's: %d",
              (int)mlxn_session_fence_value(s1));
        OK(mlxn_encoder_wait(mlxn_session_encoder(s2), timeline, 2 * i + 1));
        OK(add(mlxn_session_encoder(s2), x2, o2, x2, N));
        OK(mlxn_session_fence_stage(s2, "plus one", NULL));
        CHECK(mlxn_session_fence_value(s2) == 2 * i + 2, "even values are session 2's");
        OK(mlxn_session_reset_for_next_stage(s1, NULL));
        OK(mlxn_session_reset_for_next_stage(s2, NULL));
        want = 2 * want + 1;
    }
    OK(mlxn_session_wait_fence(s2, 2 * ROUNDS, UINT64_MAX, NULL));
    CHECK(mlxn_timeline_value(timeline) == 2 * ROUNDS, "value %d", (int)mlxn_timeline_value(timeline));
    if (device_computes(first))
        for (int i = 0; i < N; i++) CHECK(memory[i] == want, "element %d is %g, want %g", i, memory[i], want);
    OK(mlxn_session_wait_all(s1, UINT64_MAX, NULL));
    mlxn_session_destroy(s1);
    mlxn_session_destroy(s2);
    mlxn_timeline_release(&timeline);
    OK(mlxn_device_wait_idle(first, UINT64_MAX, NULL));
    OK(mlxn_device_wait_idle(second, UINT64_MAX, NULL));
    mlxn_buffer_release(&x1);
    mlxn_buffer_release(&x2);
    mlxn_buffer_release(&o2);
}

static void test_chains(void) {
    mlxn_device *a = make_device(), *b = make_device();
    mlxn_queue *q = NULL, *r = NULL;
    OK(mlxn_queue_create(a, &q, NULL));
    OK(mlxn_queue_create(b, &r, NULL));
    chain(a, NULL, a, NULL); /* one queue */
    chain(a, NULL, a, q);    /* two queues */
    chain(a, q, b, r);       /* two devices */
    mlxn_session_desc desc = {.struct_size = sizeof desc, .queue = r};
    mlxn_session *s = NULL;
    mlxn_error error;
    CHECK(mlxn_session_create_with(a, &desc, &s, &error) == MLXN_ERR_ARGUMENT && !s, "a queue of another device");
    CHECK(!strcmp(error.message, "session: queue belongs to another device"), "%s", error.message);
    mlxn_queue_release(&q);
    mlxn_queue_release(&r);
    mlxn_device_release(&a);
    mlxn_device_release(&b);
}

/* The second fence of a shared timeline is ready first and must not pass the first one. */
static void test_values_are_reached_in_order(void) {
    mlxn_device *device = make_device();
    mlxn_queue *other = NULL;
    mlxn_timeline *timeline = NULL, *gate = NULL;
    OK(mlxn_queue_create(device, &other, NULL));
    OK(mlxn_timeline_create(device, &timeline, NULL));
    OK(mlxn_timeline_create(device, &gate, NULL));
    mlxn_session *slow = open_session(device, NULL, timeline), *fast = open_session(device, other, timeline);
    OK(mlxn_encoder_wait(mlxn_session_encoder(slow), gate, 1));
    OK(mlxn_session_fence_stage(slow, "slow", NULL));
    OK(mlxn_session_fence_stage(fast, "fast", NULL));
    CHECK(mlxn_session_fence_value(slow) == 1 && mlxn_session_fence_value(fast) == 2, "in the order of the calls");
    mlxn_cb_state state;
    struct timespec pause = {0, 3000000};
    nanosleep(&pause, NULL);
    CHECK(mlxn_timeline_value(timeline) == 0, "2 is not reached before 1");
    OK(mlxn_session_stage_state(fast, 2, &state, NULL));
    CHECK(state == MLXN_CB_COMMITTED, "so it is under way");
    mlxn_timeline_signal(gate, 1);
    OK(mlxn_session_wait_fence(fast, 2, UINT64_MAX, NULL));
    CHECK(mlxn_timeline_value(timeline) == 2, "both");
    mlxn_session_destroy(slow);
    mlxn_session_destroy(fast);
    mlxn_queue_release(&other);
    mlxn_timeline_release(&timeline);
    mlxn_timeline_release(&gate);
    mlxn_device_release(&device);
}

/* A failure on one device reaches the session on the other, with the text of its cause. */
static void test_failure_crosses_devices(void) {
    mlxn_device *a = make_device(), *b = make_device();
    mlxn_timeline *timeline = NULL;
    mlxn_error error;
    OK(mlxn_timeline_create(a, &timeline, NULL));
    mlxn_session *first = open_session(a, NULL, timeline), *second = open_session(b, NULL, timeline);
    mlxn_buffer *x = floats(a, 4, NULL), *small = floats(a, 2, NULL), *y = floats(b, 4, NULL);
    add(mlxn_session_encoder(first), x, small, x, 4);
    CHECK(mlxn_session_fence_stage(first, "broken", &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    OK(mlxn_encoder_wait(mlxn_session_encoder(second), timeline, 1));
    OK(add(mlxn_session_encoder(second), y, y, y, 4));
    OK(mlxn_session_fence_stage(second, "dependent", NULL));
    CHECK(mlxn_session_wait_fence(second, 2, UINT64_MAX, &error) != MLXN_OK, "the dependent stage failed");
    CHECK(strstr(error.message, "\"dependent\"") && strstr(error.message, "fence 1, which failed") &&
              strstr(error.message, "elementwise_add: b: view ends at byte 16, its buffer at 8"),
          "label, fence and cause: %s", error.message);
    mlxn_error queue_error, session_error;
    CHECK(mlxn_queue_status(mlxn_device_queue(b), &queue_error) == error.status, "the queue keeps it");
    CHECK(!strcmp(queue_error.message, error.message), "the same text: %s", queue_error.message);
    CHECK(mlxn_session_status(second, &session_error) == error.status, "so does the session");
    CHECK(mlxn_session_stage_status(second, 2, NULL) == error.status, "and the stage");
    OK(mlxn_queue_status(mlxn_device_queue(a), NULL)); /* nothing was submitted there */
    mlxn_queue_clear_status(mlxn_device_queue(b));
    OK(mlxn_queue_status(mlxn_device_queue(b), &queue_error));
    mlxn_session_destroy(first);
    mlxn_session_destroy(second);
    mlxn_timeline_release(&timeline);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&small);
    mlxn_buffer_release(&y);
    mlxn_device_release(&a);
    mlxn_device_release(&b);
}

/* Every handle goes while work is in flight; the queues end on their own threads. */
static void test_drop_queues_in_flight(void) {
    for (int round = 0; round < 50; round++) {
        mlxn_device *device = make_device();
        mlxn_buffer *a = floats(device, 1 << 14, NULL), *out = floats(device, 1 << 14, NULL);
        for (int q = 0; q < 3; q++) {
            mlxn_queue *queue = NULL;
            OK(mlxn_queue_create(device, &queue, NULL));
            mlxn_session *s = open_session(device, queue, NULL);
            for (int i = 0; i < 3; i++) {
                OK(add(mlxn_session_encoder(s), a, a, out, 1 << 14));
                OK(mlxn_session_fence_stage(s, NULL, NULL));
                OK(mlxn_session_reset_for_next_stage(s, NULL));
            }
            mlxn_queue_release(&queue);
            mlxn_session_destroy(s);
        }
        mlxn_buffer_release(&a);
        mlxn_buffer_release(&out);
        mlxn_device_release(&device);
    }
}

/* Memory of the caller's that takes its time to go. */
static _Atomic bool going, gone;
static void go_slowly(void *user, void *memory, uint64_t bytes) {
    atomic_store(&going, true);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    atomic_store(&gone, true);
}

/* Idle means that the work has let go of what it used, too. */
static void test_idle_is_done(bool unretained) {
    mlxn_device_desc desc = {
        .struct_size = sizeof desc, .backend = device_name, .checked = unretained, .unretained = unretained};
    mlxn_device *device = NULL;
    mlxn_encoder *e = NULL;
    mlxn_buffer *b = NULL;
    static float memory[4];
    OK(mlxn_device_create(&desc, &device, NULL));
    OK(mlxn_buffer_wrap(device, memory, sizeof memory, go_slowly, NULL, &b, NULL));
    OK(mlxn_encoder_create(device, &e, NULL));
    OK(mlxn_encoder_fill(e, b, 0, sizeof memory, 1));
    mlxn_buffer_release(&b); /* what is recorded keeps it */
    atomic_store(&going, false);
    atomic_store(&gone, false);
    OK(mlxn_encoder_commit(e, NULL, NULL));
    while (!atomic_load(&going)) nanosleep(&(struct timespec){0, 100000}, NULL);
    OK(mlxn_device_wait_idle(device, UINT64_MAX, NULL));
    CHECK(atomic_load(&gone), "the memory has gone");
    CHECK(mlxn_command_buffer_state(mlxn_encoder_command_buffer(e)) == MLXN_CB_COMPLETED, "and the state says so");
    mlxn_encoder_destroy(e);
    mlxn_device_release(&device);
}

int main(int argc, char **argv) {
    const char *devices[] = {"cpu", "null", "cuda"};
    for (int i = 0; i < 3; i++) {
        if (argc > 1 && strcmp(argv[1], devices[i])) continue;
        if (!device_is_there(devices[i])) continue;
        device_name = devices[i];
        test_queues_are_independent();
        test_chains();
        test_values_are_reached_in_order();
        test_failure_crosses_devices();
        test_drop_queues_in_flight();
        test_idle_is_done(false);
        test_idle_is_done(true);
    }
    return TEST_DONE();
}
