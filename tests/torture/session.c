/* Promise: whichever allocation or backend call fails while sessions record, fence, wait and chain over two queues,
 * the session says so and keeps saying it, whoever waits for its fences is told, nothing leaks or hangs, and the same
 * sessions then give the same bytes on the same device. A stage that was accepted and fails while it executes is
 * named by its label. */
#include "torture/torture.h"

enum { N = 64, STAGES = 10 }; /* more stages than a session has room for at first */

/* Of a failing stage the session has the text. */
static mlxn_status why(mlxn_session *s, mlxn_status status, mlxn_error *error) {
    if (mlxn_session_status(s, error)) return error->status;
    return mlxn_fail(error, status, "session: no label"); /* begin_stage has no text of its own */
}

#define SESSION(s, call)                                                    \
    do {                                                                    \
        if (!status && (status = (call))) status = why((s), status, error); \
    } while (0)

typedef struct world {
    mlxn_buffer *a, *b, *c, *d, *e;
    mlxn_queue *queue;
    mlxn_timeline *shared;
    mlxn_session *one, *two, *three;
} world;

static mlxn_tensor row(mlxn_buffer *buffer) { return mlxn_tensor_1d(buffer, 0, MLXN_F32, N); }

static mlxn_status stage(mlxn_session *s, mlxn_buffer *x, mlxn_buffer *y, mlxn_buffer *z, const char *label,
                         mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    SESSION(s, mlxn_session_begin_stage(s, label));
    mlxn_encoder *e = mlxn_session_encoder(s);
    RECORD(e, mlxn_elementwise_add(e, row(x), row(y), row(z)));
    RECORD(e, mlxn_encoder_copy(e, z, 0, y, 0, 4 * N));
    STEP(mlxn_session_fence_stage(s, NULL, error));
    STEP(mlxn_session_reset_for_next_stage(s, error));
    return status;
}

/* A failed session goes on failing, with the same text, and its fences are all reached. */
static void check_after(mlxn_session *s) {
    mlxn_error first, later;
    if (!s || !mlxn_session_status(s, &first)) return;
    CHECK(mlxn_session_commit_and_wait(s, &later) == first.status && !strcmp(first.message, later.message),
          "sticky: \"%s\", then \"%s\"", first.message, later.message);
    CHECK(mlxn_session_wait_all(s, UINT64_MAX, &later) == first.status, "wait_all");
    for (uint64_t v = 1; v <= mlxn_session_fence_value(s); v++) {
        mlxn_status status = mlxn_session_wait_fence(s, v, UINT64_MAX, &later);
        CHECK(status == MLXN_OK || later.message[0], "fence %d: status %s without a text", (int)v,
              mlxn_status_name(status));
        CHECK(mlxn_session_stage_status(s, v, NULL) == status, "fence %d: status of the stage", (int)v);
    }
}

static mlxn_status run(world *w, mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    float values[N];
    for (int i = 0; i < N; i++) values[i] = (float)i * 0.25f;
    STEP(mlxn_buffer_create(device, 4 * N, &w->a, error));
    STEP(mlxn_buffer_create(device, 4 * N, &w->b, error));
    STEP(mlxn_buffer_create(device, 4 * N, &w->c, error));
    STEP(mlxn_buffer_create(device, 4 * N, &w->d, error));
    STEP(mlxn_buffer_create(device, 4 * N, &w->e, error));
    STEP(mlxn_buffer_write(w->a, 0, values, sizeof values, error));
    STEP(mlxn_queue_create(device, &w->queue, error));
    STEP(mlxn_timeline_create(device, &w->shared, error));
    STEP(mlxn_session_create(device, &w->one, error));
    for (int i = 0; i < STAGES; i++) STEP(stage(w->one, w->a, w->b, w->c, i % 2 ? "odd stage" : NULL, error));
    STEP(mlxn_session_wait_fence(w->one, 2, UINT64_MAX, error));
    STEP(mlxn_session_commit_and_wait(w->one, error));
    /* Two queues, one timeline: the fences of the two sessions alternate, their work runs side by side. */
    mlxn_session_desc desc = {.struct_size = sizeof desc, .timeline = w->shared};
    STEP(mlxn_session_create_with(device, &desc, &w->two, error));
    desc.queue = w->queue;
    desc.wait_on_destroy = true;
    STEP(mlxn_session_create_with(device, &desc, &w->three, error));
    for (int i = 0; i < 3; i++) {
        STEP(stage(w->two, w->a, w->b, w->c, "two", error));
        STEP(stage(w->three, w->a, w->d, w->e, "three", error));
    }
    STEP(mlxn_session_commit_stage(w->two, error));
    STEP(mlxn_session_wait_all(w->two, UINT64_MAX, error));
    STEP(mlxn_session_wait_all(w->three, UINT64_MAX, error));
    STEP(mlxn_buffer_read(w->c, 0, out, 4 * N, error));
    STEP(mlxn_buffer_read(w->e, 0, out + 4 * N, 4 * N, error));
    return status;
}

static mlxn_status work(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    world w = {0};
    mlxn_status status = run(&w, device, out, error);
    check_after(w.one);
    check_after(w.two);
    check_after(w.three);
    mlxn_session_destroy(w.one);
    mlxn_session_destroy(w.two);
    mlxn_session_destroy(w.three);
    mlxn_timeline_release(&w.shared);
    mlxn_queue_release(&w.queue);
    mlxn_buffer_release(&w.a);
    mlxn_buffer_release(&w.b);
    mlxn_buffer_release(&w.c);
    mlxn_buffer_release(&w.d);
    mlxn_buffer_release(&w.e);
    return status;
}

/* A session of which a stage cannot be remembered: that stage has failed, not vanished. */
static void test_lost_stage(void) {
    for (uint64_t k = 1; k < 30; k++) {
        mlxn_device *device = torture_open("cpu", NULL);
        mlxn_session *s = NULL;
        mlxn_error error, later;
        CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
        torture_watch("lost stage", "allocation", k);
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_session_fence_stage(s, "stage 1", &error);
        mlxn_alloc_fail_at(0);
        if (status && mlxn_session_is_drained(s)) {
            CHECK(mlxn_session_status(s, &later) == status && !strcmp(later.message, error.message), "allocation %d",
                  (int)k);
            CHECK(mlxn_timeline_wait(mlxn_session_timeline(s), 1, UINT64_MAX, &later) == status,
                  "allocation %d: a waiter is told: %s", (int)k, later.message);
            CHECK(mlxn_session_reset_for_next_stage(s, &later) == status, "allocation %d: no next stage", (int)k);
        } else if (status) { /* refused before anything was submitted: may be tried again */
            CHECK(mlxn_session_fence_stage(s, "stage 1", &later) == MLXN_OK, "allocation %d: %s", (int)k,
                  later.message);
        }
        mlxn_session_destroy(s);
        mlxn_device_release(&device);
        torture_unwatch();
        if (!status) break;
    }
}

/* Stage 2 of 3 is accepted and fails while it executes. */
static void test_failed_execution(void) {
    mlxn_device *device = torture_open("fault", NULL);
    mlxn_session *s = NULL;
    mlxn_buffer *a = NULL;
    mlxn_error error;
    CHECK(mlxn_buffer_create(device, 64, &a, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_session_create(device, &s, &error) == MLXN_OK, "%s", error.message);
    mlxn_tensor t = mlxn_tensor_1d(a, 0, MLXN_F32, 16);
    mlxn_status status = MLXN_OK;
    for (int i = 1; i <= 3 && !status; i++) {
        char label[16];
        snprintf(label, sizeof label, "stage %d", i);
        if (i == 2) mlxn_fault_at(3); /* program_create, submit, execution */
        mlxn_elementwise_add(mlxn_session_encoder(s), t, t, t);
        status = mlxn_session_fence_stage(s, label, &error);
        if (!status) status = mlxn_session_reset_for_next_stage(s, &error);
    }
    status = mlxn_session_wait_all(s, UINT64_MAX, &error);
    mlxn_fault_at(0);
    CHECK(status == MLXN_ERR_EXECUTION, "status %s", mlxn_status_name(status));
    CHECK(strstr(error.message, "\"stage 2\""), "the failed stage is named: %s", error.message);
    mlxn_error later;
    CHECK(mlxn_session_commit_and_wait(s, &later) == status && !strcmp(later.message, error.message), "sticky");
    mlxn_cb_state state;
    CHECK(mlxn_session_stage_state(s, 1, &state, &error) == MLXN_OK && state == MLXN_CB_COMPLETED, "stage 1 is good");
    CHECK(mlxn_session_wait_fence(s, 2, UINT64_MAX, &error) == MLXN_ERR_EXECUTION, "fence 2 is marked failed");
    CHECK(mlxn_timeline_value(mlxn_session_timeline(s)) >= 2, "and has advanced");
    if (mlxn_session_fence_value(s) >= 3)
        CHECK(mlxn_session_wait_fence(s, 3, UINT64_MAX, &error) == MLXN_ERR_EXECUTION,
              "stage 3 waited for stage 2, so it failed too");
    mlxn_session_destroy(s);
    mlxn_buffer_release(&a);
    mlxn_device_release(&device);
}

int main(void) {
    mlxn_backend_extra = &mlxn_backend_fault;
    torture_all("session", work, NULL, 40);
    torture_all("session, checked and unretained", work, &(mlxn_device_desc){.checked = true, .unretained = true},
                40);
    test_lost_stage();
    test_failed_execution();
    return TEST_DONE();
}
