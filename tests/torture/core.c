/* Promise: whichever allocation or backend call fails, from the opening of a device to the release of its last
 * object, the core reports it, leaks nothing and goes on working. A thread that the system refuses is told with its
 * number and the system's code. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include <pthread.h>

#include "torture/torture.h"

static const char *backend;

/* Every object of the runtime once, the device included. */
static mlxn_status work(mlxn_device *unused, uint8_t *out, mlxn_error *error) {
    mlxn_device *device = NULL;
    mlxn_buffer *a = NULL, *b = NULL, *large = NULL, *wrapped = NULL;
    mlxn_weight *w = NULL;
    mlxn_encoder *e = NULL;
    mlxn_timeline *t = NULL;
    static float memory[16];
    float values[1024];
    for (int i = 0; i < 1024; i++) values[i] = (float)(i % 37) - 18;
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = 3};
    mlxn_status status = mlxn_device_create(&desc, &device, error);
    STEP(mlxn_buffer_create(device, 4096, &a, error));
    STEP(mlxn_buffer_create(device, 4096, &b, error));
    STEP(mlxn_buffer_create(device, 1 << 20, &large, error)); /* pages of the system */
    STEP(mlxn_buffer_wrap(device, memory, sizeof memory, NULL, NULL, &wrapped, error));
    STEP(mlxn_buffer_write(a, 0, values, 4096, error));
    mlxn_weight_desc wd = {.struct_size = sizeof wd, .format = MLXN_FORMAT_F32, .rows = 16, .cols = 64, .data = a};
    STEP(mlxn_weight_create(device, &wd, &w, error));
    STEP(mlxn_timeline_create(device, &t, error));
    STEP(mlxn_encoder_create(device, &e, error));
    if (!status) {
        mlxn_tensor ta = mlxn_tensor_2d(a, 0, MLXN_F32, 16, 64), tb = mlxn_tensor_2d(b, 0, MLXN_F32, 16, 64);
        mlxn_tensor product = mlxn_tensor_2d(large, 0, MLXN_F32, 16, 16);
        RECORD(e, mlxn_elementwise_add(e, ta, tb, tb));
        RECORD(e, mlxn_matmul(e, ta, w, (mlxn_tensor){0}, (mlxn_tensor){0}, product));
        RECORD(e, mlxn_encoder_fill(e, wrapped, 0, 64, 7));
        RECORD(e, mlxn_encoder_signal(e, t, 1));
        STEP(mlxn_encoder_commit(e, "one", error));
        RECORD(e, mlxn_encoder_wait(e, t, 1));
        RECORD(e, mlxn_encoder_copy(e, large, 0, b, 1024, 1024));
        STEP(mlxn_encoder_commit_and_wait(e, "two", error));
        STEP(mlxn_buffer_read(b, 0, out, 4096, error));
    }
    mlxn_encoder_destroy(e);
    mlxn_timeline_release(&t);
    mlxn_weight_release(&w);
    mlxn_buffer_release(&wrapped);
    mlxn_buffer_release(&large);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    if (device) mlxn_device_wait_idle(device, UINT64_MAX, NULL);
    mlxn_device_release(&device);
    return status;
}

#if defined(__GLIBC__)
/* Stacks that no address space holds: from the first thread that is asked for, the system refuses. */
static void test_refused_threads(void) {
    const char *backends[] = {"cpu", "null"};
    const char *texts[] = {"worker thread 1 of 2 could not be started", "its thread could not be started"};
    pthread_attr_t usual, huge;
    CHECK(!pthread_getattr_default_np(&usual), "the default of the system");
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, (size_t)1 << 46);
    for (int i = 0; i < 2; i++) {
        uint64_t blocks = mlxn_alloc_live();
        mlxn_device *device = NULL;
        mlxn_error error = {0};
        mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backends[i], .threads = 3};
        CHECK(!pthread_setattr_default_np(&huge), "stacks of 2^46 bytes");
        mlxn_status status = mlxn_device_create(&desc, &device, &error);
        CHECK(!pthread_setattr_default_np(&usual), "as before");
        CHECK(status == MLXN_ERR_DEVICE && !device, "%s: %s", backends[i], mlxn_status_name(status));
        CHECK(error.driver_code && strstr(error.message, texts[i]), "%s: code %d, %s", backends[i], error.driver_code,
              error.message);
        CHECK(mlxn_alloc_live() == blocks, "%s: %d blocks are left", backends[i], (int)(mlxn_alloc_live() - blocks));
        CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s: afterwards: %s", backends[i],
              error.message);
        mlxn_device_release(&device);
    }
    pthread_attr_destroy(&huge);
    pthread_attr_destroy(&usual);
}
#endif

int main(void) {
    for (size_t i = 0; i < sizeof torture_kinds / sizeof *torture_kinds; i++) {
        backend = torture_kinds[i].backend;
        torture_one_kind(&torture_kinds[i], "core", work, NULL, 12);
    }
#if defined(__GLIBC__)
    test_refused_threads();
#endif
    return TEST_DONE();
}
