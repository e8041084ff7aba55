/* Promise: a stage that never completes costs its waiters a time-out with the stage's label, never a hang: one that
 * waits for a fence that nobody signals, and one whose kernel does not return. Every handle may be dropped meanwhile,
 * that of the device too; when the work ends at last, all is gone.
 *
 * Usage: stuck [cpu|null] */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/base.h"
#include "session/common.h"

enum { TIMEOUT = 3000000 };

static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* The last reference may go on a thread of the device, a moment later. */
static bool all_gone(uint64_t blocks) {
    for (int i = 0; i < 5000 && mlxn_alloc_live() != blocks; i++) pause_ms(1);
    return mlxn_alloc_live() == blocks;
}

/* Every bounded wait of the interface ends and names the stage. */
static void check_waits(mlxn_device *device, mlxn_session *s, const char *label) {
    mlxn_error error;
    mlxn_cb_state state;
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\" not completed after 0.003 s", label);
#define TIMES_OUT(call) \
    CHECK((call) == MLXN_ERR_TIMEOUT && strstr(error.message, quoted), "%s: %s", #call, error.message)
    TIMES_OUT(mlxn_session_wait_fence(s, 1, TIMEOUT, &error));
    TIMES_OUT(mlxn_session_wait_all(s, TIMEOUT, &error));
    TIMES_OUT(mlxn_command_buffer_wait(mlxn_session_command_buffer(s), TIMEOUT, &error));
    TIMES_OUT(mlxn_queue_wait_idle(mlxn_device_queue(device), TIMEOUT, &error));
    TIMES_OUT(mlxn_device_wait_idle(device, TIMEOUT, &error));
#undef TIMES_OUT
    CHECK(mlxn_session_wait_all(s, 0, &error) == MLXN_ERR_TIMEOUT, "a wait of no time at all");
    CHECK(mlxn_timeline_wait(mlxn_session_timeline(s), 1, TIMEOUT, &error) == MLXN_ERR_TIMEOUT &&
              strstr(error.message, "value is 0 after 0.003 s, want 1"),
          "%s", error.message);
    OK(mlxn_session_stage_state(s, 1, &state, NULL));
    CHECK(state == MLXN_CB_COMMITTED, "under way");
    OK(mlxn_session_status(s, NULL)); /* a time-out is no failure of the session */
}

/* ---- a fence that nobody signals ---- */

static void test_fence(bool give_up) {
    uint64_t blocks = mlxn_alloc_live();
    mlxn_device *device = make_device();
    mlxn_timeline *never = NULL;
    mlxn_session *s = NULL, *behind = NULL;
    mlxn_buffer *a = floats(device, 4, (float[]){1, 2, 3, 4});
    OK(mlxn_timeline_create(device, &never, NULL));
    OK(mlxn_session_create(device, &s, NULL));
    OK(mlxn_session_begin_stage(s, "stuck stage"));
    OK(mlxn_encoder_wait(mlxn_session_encoder(s), never, 1));
    OK(add(mlxn_session_encoder(s), a, a, a, 4));
    OK(mlxn_session_fence_stage(s, NULL, NULL));
    check_waits(device, s, "stuck stage");
    /* Another session of the queue stands behind it, and says what it waits for. */
    mlxn_error error;
    OK(mlxn_session_create(device, &behind, NULL));
    OK(mlxn_session_fence_stage(behind, "behind", NULL));
    CHECK(mlxn_session_wait_all(behind, TIMEOUT, &error) == MLXN_ERR_TIMEOUT && strstr(error.message, "\"behind\""),
          "%s", error.message);
    mlxn_session_destroy(behind);
    mlxn_session_destroy(s); /* waits for nothing */
    mlxn_buffer_release(&a);
    mlxn_device_release(&device);
    CHECK(mlxn_alloc_live() > blocks, "the work in flight keeps what it needs");
    if (give_up)
        mlxn_timeline_fail(never, 1, "given up");
    else
        mlxn_timeline_signal(never, 1);
    mlxn_timeline_release(&never);
    CHECK(all_gone(blocks), "%d blocks are left", (int)(mlxn_alloc_live() - blocks));
}

/* ---- a kernel that does not return ---- */

static _Atomic bool held, entered, returned;

static void give_back(void *user, void *memory, uint64_t bytes) { atomic_store(&returned, true); }

static void hold(const mlxn_kernel_group *g) {
    float *x = g->slots[0];
    atomic_store(&entered, true);
    while (atomic_load(&held)) pause_ms(1);
    x[0] = 42;
}

static void launch(mlxn_device *device, mlxn_encoder *e, mlxn_buffer *x) {
    mlxn_registry *r = NULL;
    mlxn_kernel *kernel = NULL;
    OK(mlxn_registry_create(device, &r, NULL));
    OK(mlxn_registry_register_function(r, "hold", hold, NULL, NULL));
    OK(mlxn_registry_get(r, "hold", NULL, 0, &kernel, NULL));
    mlxn_kernel_arg arg = {.slot = 0, .role = MLXN_KERNEL_READ_WRITE, .buffer = x};
    mlxn_kernel_grid grid = {.size = {1, 1, 1}};
    OK(mlxn_encode_kernel(e, kernel, &arg, 1, &grid));
    mlxn_kernel_release(&kernel);
    mlxn_registry_destroy(r);
}

static void test_kernel(void) {
    uint64_t blocks = mlxn_alloc_live();
    mlxn_device *device = make_device();
    mlxn_session *s = NULL;
    mlxn_buffer *x = floats(device, 4, NULL), *y = floats(device, 4, (float[]){1, 1, 1, 1});
    float memory[4] = {0};
    mlxn_buffer *wrapped = NULL;
    mlxn_error error;
    OK(mlxn_buffer_wrap(device, memory, sizeof memory, give_back, NULL, &wrapped, NULL));
    atomic_store(&held, true);
    atomic_store(&entered, false);
    OK(mlxn_session_create(device, &s, NULL));
    launch(device, mlxn_session_encoder(s), x);
    OK(mlxn_encoder_copy(mlxn_session_encoder(s), x, 0, wrapped, 0, 16));
    OK(mlxn_session_fence_stage(s, "endless kernel", NULL));
    while (!atomic_load(&entered)) pause_ms(1); /* it runs, it does not merely wait */
    check_waits(device, s, "endless kernel");
    /* The threads of the device are taken: work of another queue waits too, and its waiter does not hang. */
    mlxn_queue *queue = NULL;
    mlxn_encoder *e = NULL;
    OK(mlxn_queue_create(device, &queue, NULL));
    OK(mlxn_encoder_create_on(queue, &e, NULL));
    OK(add(e, y, y, y, 4));
    OK(mlxn_encoder_commit(e, "another queue", NULL));
    CHECK(mlxn_queue_wait_idle(queue, TIMEOUT, &error) == MLXN_ERR_TIMEOUT && strstr(error.message, "another queue"),
          "%s", error.message);
    mlxn_session_destroy(s);
    mlxn_encoder_destroy(e);
    mlxn_queue_release(&queue);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_buffer_release(&wrapped);
    mlxn_device_release(&device);
    atomic_store(&held, false);
    CHECK(all_gone(blocks), "%d blocks are left", (int)(mlxn_alloc_live() - blocks));
    CHECK(atomic_load(&returned) && memory[0] == 42, "the stage ended as it was recorded: %g", memory[0]);
}

/* One that waits when it is destroyed: the wait ends with the stage. */
static void *let_go(void *user) {
    pause_ms(5);
    atomic_store(&held, false);
    return user;
}

static void test_wait_on_destroy(void) {
    uint64_t blocks = mlxn_alloc_live();
    mlxn_device *device = make_device();
    mlxn_session *s = NULL;
    mlxn_buffer *x = floats(device, 4, NULL);
    atomic_store(&held, true);
    mlxn_session_desc desc = {.struct_size = sizeof desc, .wait_on_destroy = true};
    OK(mlxn_session_create_with(device, &desc, &s, NULL));
    launch(device, mlxn_session_encoder(s), x);
    OK(mlxn_session_commit_stage(s, NULL));
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, let_go, NULL), "thread");
    mlxn_session_destroy(s);
    CHECK(!atomic_load(&held), "destroy waited");
    expect(x, 4, (float[]){42, 0, 0, 0});
    pthread_join(thread, NULL);
    mlxn_buffer_release(&x);
    mlxn_device_release(&device);
    CHECK(all_gone(blocks), "%d blocks are left", (int)(mlxn_alloc_live() - blocks)); /* the next test counts too */
}

int main(int argc, char **argv) {
    const char *devices[] = {"cpu", "null", "cuda"};
    for (int i = 0; i < 3; i++) {
        if (argc > 1 && strcmp(argv[1], devices[i])) continue;
        if (!device_is_there(devices[i])) continue;
        device_name = devices[i];
        test_fence(true);
        test_fence(false);
        if (i) continue; /* the other devices run no functions of the host */
        test_kernel();
        test_wait_on_destroy();
    }
    return TEST_DONE();
}
