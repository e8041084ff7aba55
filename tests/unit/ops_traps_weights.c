/* Promise: where the reference library errs in products with weights (ids that name no matrix, numbers of experts,
 * formats without a product of many tokens, the dtype of scales), this one does what its documentation says. */
#include "ops_device.h"

enum { K = 256 };

/* Bytes of `memory`, from its end on downwards, so that they do not meet the tensors of a run. */
static void *take(uint64_t bytes, uint64_t *end) {
    *end = (*end - bytes) / 64 * 64;
    return (char *)mlxn_buffer_contents(memory) + *end;
}

/* A stack of matrices [n, K] with numbers between -1 and 1, each other than the last. */
static mlxn_weight *pack(mlxn_format format, uint64_t experts, uint64_t n, mlxn_dtype scales) {
    mlxn_group_info groups;
    mlxn_error error = {0};
    uint64_t end = BYTES, bytes = 0, at[3] = {0}, all = experts * n, scale_bytes = 0;
    CHECK(!mlxn_format_row_bytes(format, K, &bytes, &error), "%s", error.message);
    const bool grouped = mlxn_format_get_groups(format, &groups);
    if (grouped) scale_bytes = K / groups.group_size * mlxn_dtype_size(scales);
    char *codes = take(all * bytes, &end);
    at[0] = end;
    char *s = take(all * scale_bytes, &end);
    at[1] = end;
    char *b = take(all * scale_bytes, &end);
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
static double product(const mlxn_weight *w, uint64_t row, const float *x, double *size) {
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

static void fill_rows(mlxn_tensor x, uint64_t tokens) {
    for (uint64_t i = 0; i < tokens * K; i++) f(x)[i] = (float)(i * 29 % 83) / 41 - 1;
}

/* A slot whose id names no matrix gives zeros, and its neighbours what they would. */
static void test_absent_matrices(void) {
    enum { N = 20, E = 3, T = 4 };
    static const uint32_t chosen[T] = {E, 1, UINT32_MAX, 2};
    mlxn_weight *w = pack(MLXN_FORMAT_AFFINE4_G64, E, N, MLXN_F16);
    mlxn_tensor x = rows(MLXN_F32, T, K), ids = rows(MLXN_U32, T, 1), out = rows(MLXN_F32, T, N), none = {0};
    fill_rows(x, T);
    memcpy(u(ids), chosen, sizeof chosen);
    for (int i = 0; i < T * N; i++) f(out)[i] = 7;
    mlxn_matmul_id(encoder, x, w, ids, none, out);
    run("absent matrices");
    for (uint64_t t = 0; t < T; t++)
        for (uint64_t j = 0; j < N; j++) {
            double size = 0, want = chosen[t] < E ? product(w, chosen[t] * N + j, f(x) + t * K, &size) : 0;
            CHECK(fabs((double)f(out)[t * N + j] - want) <= 1e-4 * size, "[%d, %d] is %g, want %g", (int)t, (int)j,
                  (double)f(out)[t * N + j], want);
        }
    mlxn_weight_release(&w);
}

/* Any number of experts per token, of many tokens. */
static void test_numbers_of_experts(void) {
    enum { N = 17, E = 16, T = 9 };
    static const uint64_t numbers[] = {1, 2, 3, 5, 8, 12};
    static const mlxn_format formats[] = {MLXN_FORMAT_Q4_0, MLXN_FORMAT_Q5_K, MLXN_FORMAT_AFFINE6_G64};
    for (int c = 0; c < 3; c++) {
        mlxn_weight *w = pack(formats[c], E, N, MLXN_BF16);
        for (int i = 0; i < 6; i++) {
            const uint64_t top = numbers[i];
            mlxn_tensor x = rows(MLXN_F32, T, K), ids = rows(MLXN_U32, T, top), out = rows(MLXN_F32, T * top, N),
                        none = {0};
            fill_rows(x, T);
            for (uint64_t s = 0; s < T * top; s++) u(ids)[s] = (uint32_t)((s / top * 7 + s % top * 3) % E);
            mlxn_matmul_id(encoder, x, w, ids, none, out);
            run("numbers of experts");
            for (uint64_t s = 0; s < T * top; s++)
                for (uint64_t j = 0; j < N; j++) {
                    double size, want = product(w, u(ids)[s] * N + j, f(x) + s / top * K, &size);
                    CHECK(fabs((double)f(out)[s * N + j] - want) <= 1e-4 * size, "%s, %d of them: %g, want %g",
                          mlxn_format_name(formats[c]), (int)top, (double)f(out)[s * N + j], want);
                }
        }
        mlxn_weight_release(&w);
    }
}

/* Formats that lacked a product of many tokens, or of few. */
static void test_formats(void) {
    enum { N = 33 };
    static const mlxn_format formats[] = {MLXN_FORMAT_Q4_K,        MLXN_FORMAT_Q5_K,        MLXN_FORMAT_Q6_K,
                                          MLXN_FORMAT_AFFINE6_G32, MLXN_FORMAT_AFFINE6_G64, MLXN_FORMAT_AFFINE6_G128};
    for (int c = 0; c < 6; c++) {
        mlxn_weight *w = pack(formats[c], 1, N, MLXN_F32);
        for (uint64_t tokens = 1; tokens < 30; tokens += 19) {
            mlxn_tensor x = rows(MLXN_F32, tokens, K), out = rows(MLXN_F32, tokens, N), none = {0};
            fill_rows(x, tokens);
            mlxn_matmul(encoder, x, w, none, none, out);
            run("formats");
            for (uint64_t i = 0; i < tokens * N; i++) {
                double size, want = product(w, i % N, f(x) + i / N * K, &size);
                CHECK(fabs((double)f(out)[i] - want) <= 1e-4 * size, "%s, %d tokens: %g, want %g",
                      mlxn_format_name(formats[c]), (int)tokens, (double)f(out)[i], want);
            }
        }
        mlxn_weight_release(&w);
    }
}

/* The dtype of scales is what the description says: 0x3c00 is 1 as f16 and 1/128 as bf16. */
static void test_scale_dtypes(void) {
    const mlxn_dtype dtypes[] = {MLXN_F16, MLXN_BF16};
    const float want[] = {3, 3.0f / 128};
    uint8_t codes[16];
    uint16_t one = 0x3c00, zero = 0;
    memset(codes, 0x33, sizeof codes);
    for (int i = 0; i < 2; i++) {
        float x[32];
        mlxn_group_row row = {codes, &one, &zero, dtypes[i], 0, false};
        mlxn_error error = {0};
        CHECK(!mlxn_dequantize_groups(MLXN_FORMAT_AFFINE4_G32, &row, 32, x, &error), "%s", error.message);
        for (int k = 0; k < 32; k++)
            CHECK(x[k] == want[i], "%s: %g, want %g", mlxn_dtype_name(dtypes[i]), (double)x[k], (double)want[i]);
    }
}

int main(void) {
    open_device();
    test_absent_matrices();
    test_numbers_of_experts();
    test_formats();
    test_scale_dtypes();
    close_device();
    return TEST_DONE();
}
