/* Promise: where the reference library errs in products with weights (ids that name no matrix, numbers of experts,
 * formats without a product of many tokens, the dtype of scales), this one does what its documentation says. */
#include "ops_weights.h"

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
