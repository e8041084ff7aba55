/* common.h: what the session tests share: devices, float buffers, the add op, guard lines. */
#ifndef MLXN_TESTS_SESSION_COMMON_H
#define MLXN_TESTS_SESSION_COMMON_H

#include <mlxn/mlxn.h>

#include "test.h"

/* "cpu" or "null": second command-line argument. */
static const char *device_name = "cpu";

static inline mlxn_device *make_device(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = device_name};
    mlxn_device *device = NULL;
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    return device;
}

/* False, with a line that says why, on a machine that has no such device. */
static inline bool device_is_there(const char *name) {
    mlxn_error error = {0};
    if (mlxn_backend_device_count(name, &error)) return true;
    fprintf(stderr, "skipped: %s\n", error.message); /* it begins with the name */
    test_skips++;
    return false;
}

static inline bool device_computes(mlxn_device *device) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.computes;
}

static inline mlxn_buffer *floats(mlxn_device *device, uint64_t n, const float *values) {
    mlxn_buffer *buffer = NULL;
    mlxn_error error;
    CHECK(mlxn_buffer_create(device, 4 * n, &buffer, &error) == MLXN_OK, "%s", error.message);
    if (values) CHECK(mlxn_buffer_write(buffer, 0, values, 4 * n, &error) == MLXN_OK, "%s", error.message);
    return buffer;
}

static inline mlxn_status add(mlxn_encoder *encoder, mlxn_buffer *a, mlxn_buffer *b, mlxn_buffer *out, uint64_t n) {
    return mlxn_elementwise_add(encoder, mlxn_tensor_1d(a, 0, MLXN_F32, n), mlxn_tensor_1d(b, 0, MLXN_F32, n),
                                mlxn_tensor_1d(out, 0, MLXN_F32, n));
}

/* Exact comparison; on the null device values are not read. */
static inline void expect(mlxn_buffer *buffer, uint64_t n, const float *want) {
    if (!device_computes(mlxn_buffer_device(buffer))) return;
    float got[16];
    mlxn_error error;
    CHECK(mlxn_buffer_read(buffer, 0, got, 4 * n, &error) == MLXN_OK, "%s", error.message);
    for (uint64_t i = 0; i < n; i++) CHECK(got[i] == want[i], "element %d is %g, want %g", (int)i, got[i], want[i]);
}

#define OK(call)                                                               \
    do {                                                                       \
        mlxn_status status_ = (call);                                          \
        CHECK(status_ == MLXN_OK, "%s: %s", #call, mlxn_status_name(status_)); \
    } while (0)

#endif
