/* ops_weights.h: stacks of weights of every format at the end of the memory of ops_device.h, for tests of products.
 */
#ifndef MLXN_TESTS_OPS_WEIGHTS_H
#define MLXN_TESTS_OPS_WEIGHTS_H

#include "ops_device.h"

enum { K = 256 }; /* columns */

/* Bytes of `memory`, from its end on downwards, so that they do not meet the tensors of a run. */
static inline void *take_end(uint64_t bytes, uint64_t *end) {
    *end = (*end - bytes) / 64 * 64;
    return (char *)mlxn_buffer_contents(memory) + *end;
}

/* A stack of matrices [n, K] with numbers between -1 and 1, each other than the last. */
static inline mlxn_weight *pack(mlxn_format format, uint64_t experts, uint64_t n, mlxn_dtype scales) {
    mlxn_group_info groups;
    mlxn_error error = {0};
    uint64_t end = BYTES, bytes = 0, at[3] = {0}, all = experts * n, scale_bytes = 0;
    CHECK(!mlxn_format_row_bytes(format, K, &bytes, &error), "%s", error.message);
    const bool grouped = mlxn_format_get_groups(format, &groups);
    if (grouped) scale_bytes = K / groups.group_size * mlxn_dtype_size(scales);
    char *codes = take_end(all * bytes, &end);
    at[0] = end;
    char *s = take_end(all * scale_bytes, &end);
    at[1] = end;
    char *b = take_end(all * scale_bytes, &end);
    at[2] = end;
    for (uint64_t r = 0; r < all; r++) {
        float x[K];
        for (uint64_t k = 0; k < K; k++) x[k] = (float)((r * 53 + k * 37) % 101) / 50 - 1;
        mlxn_group_row to = {codes + r * bytes, s + r * scale_bytes, b + r * scale_bytes, scales, 0, false};
        mlxn_status status = grouped ? mlxn_quantize_groups(format, x, K, &to, &error)
                                     : mlxn_quantize_row(format, x, K, (uint8_t *)codes + r * bytes, &error);
        CHECK(!status, "%s", error.message);
    }
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = format,
                             .rows = n,
                             .cols = K,
                             .experts = experts,
                             .data = memory,
                             .offset = at[0],
                             .scales = memory,
                             .scales_offset = at[1],
                             .biases = memory,
                             .biases_offset = at[2],
                             .scale_dtype = scales};
    mlxn_weight *weight = NULL;
    CHECK(!mlxn_weight_create(device, &desc, &weight, &error), "%s", error.message);
    return weight;
}

/* Row `row` of the stack times x, and the sum of the terms' magnitudes. */
static inline double product(const mlxn_weight *w, uint64_t row, const float *x, double *size) {
    float values[K];
    double sum = 0;
    *size = 0;
    CHECK(!mlxn_weight_read_row(w, row, values, NULL), "row %llu", (unsigned long long)row);
    for (int k = 0; k < K; k++) {
        sum += (double)values[k] * (double)x[k];
        *size += fabs((double)values[k] * (double)x[k]);
    }
    return sum;
}

static inline void fill_rows(mlxn_tensor x, uint64_t tokens) {
    for (uint64_t i = 0; i < tokens * K; i++) f(x)[i] = (float)(i * 29 % 83) / 41 - 1;
}

#endif
