/* ops_device.h: operations on small tensors of one device, for tests: tensors are cut from a buffer that starts anew
 * after every run. */
#ifndef MLXN_TESTS_OPS_DEVICE_H
#define MLXN_TESTS_OPS_DEVICE_H

#include "../test.h"

#include <math.h>
#include <mlxn/mlxn.h>
#include <stdlib.h>

static mlxn_device *device;
static mlxn_buffer *memory;
static mlxn_encoder *encoder;
static uint64_t used;
enum { BYTES = 160 << 20 };

/* threads: 0 = one for each processor. */
static inline void open_threads(uint32_t threads) {
    mlxn_error error = {0};
    mlxn_device_desc desc = {.struct_size = sizeof desc, .threads = threads};
    CHECK(!mlxn_device_create(&desc, &device, &error) && !mlxn_buffer_create(device, BYTES, &memory, &error) &&
              !mlxn_encoder_create(device, &encoder, &error),
          "%s", error.message);
}
static inline void open_device(void) { open_threads(0); }
static inline void close_device(void) {
    mlxn_encoder_destroy(encoder);
    mlxn_buffer_release(&memory);
    mlxn_device_release(&device);
}

static inline mlxn_tensor rows(mlxn_dtype dtype, uint64_t d0, uint64_t d1) {
    mlxn_tensor t = mlxn_tensor_2d(memory, used, dtype, d0, d1);
    used += (d0 * d1 * 4 + 63) / 64 * 64;
    CHECK(used <= BYTES, "the test's buffer is too small");
    return t;
}
static inline mlxn_tensor row(mlxn_dtype dtype, uint64_t d0) {
    mlxn_tensor t = rows(dtype, 1, d0);
    return mlxn_tensor_1d(memory, t.offset, dtype, d0);
}
static inline mlxn_tensor cube(mlxn_dtype dtype, uint64_t d0, uint64_t d1, uint64_t d2) {
    mlxn_tensor t = rows(dtype, d0 * d1, d2);
    return mlxn_tensor_3d(memory, t.offset, dtype, d0, d1, d2);
}
static inline mlxn_tensor block(mlxn_dtype dtype, uint64_t d0, uint64_t d1, uint64_t d2, uint64_t d3) {
    mlxn_tensor t = rows(dtype, d0 * d1 * d2, d3);
    return mlxn_tensor_4d(memory, t.offset, dtype, d0, d1, d2, d3);
}
static inline float *f(mlxn_tensor t) { return (float *)(void *)((char *)mlxn_buffer_contents(memory) + t.offset); }
static inline uint32_t *u(mlxn_tensor t) {
    return (uint32_t *)(void *)((char *)mlxn_buffer_contents(memory) + t.offset);
}
static inline uint16_t *h(mlxn_tensor t) {
    return (uint16_t *)(void *)((char *)mlxn_buffer_contents(memory) + t.offset);
}
static inline uint8_t *raw(mlxn_tensor t) { return (uint8_t *)mlxn_buffer_contents(memory) + t.offset; }

static inline void run(const char *what) {
    mlxn_error error = {0};
    CHECK(mlxn_encoder_commit_and_wait(encoder, what, &error) == MLXN_OK, "%s: %s", what, error.message);
    used = 0;
}

#endif
