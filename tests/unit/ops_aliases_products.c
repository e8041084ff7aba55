/* Promise: another name of a product with weights or tensors, or of an embedding, does what its row says: the call
 * that the row describes gives, on the device, the sums in double of what the weight decodes to. */
#include "ops_alias_walk.h"
#include "ops_weights.h"

enum { T = 3, N = 20, E = 3, TOP = 2 };
static const double FAR = 0.02; /* of the sum of the terms' sizes: activations may be rounded to 8 bits */

/* x [T, K] of a dtype: numbers that 16-bit floats hold. */
static mlxn_tensor tokens(mlxn_dtype dtype, uint64_t n) {
    mlxn_tensor x = rows(MLXN_F32, n, K), out = rows(dtype, n, K);
    for (uint64_t i = 0; i < n * K; i++) f(x)[i] = (float)(i * 29 % 83) / 64 - 0.5f;
    mlxn_cast(encoder, x, out);
    return out;
}
static float token(uint64_t i) { return (float)(i * 29 % 83) / 64 - 0.5f; }

static void check_product(mlxn_tensor out, uint64_t at, const mlxn_weight *w, uint64_t row, uint64_t t) {
    float x[K];
    double size, want;
    for (uint64_t k = 0; k < K; k++) x[k] = token(t * K + k);
    want = product(w, row, x, &size);
    CHECK(fabs((double)f(out)[at] - want) <= FAR * size, "%s: element %u is %g, want %g", now, (unsigned)at,
          (double)f(out)[at], want);
}

/* ---- matmul ---- */

static void times(mlxn_format format, mlxn_dtype dtype, uint64_t n) {
    mlxn_weight *w = pack(format, 1, N, MLXN_BF16);
    mlxn_tensor x = tokens(dtype, n), out = rows(MLXN_F32, n, N), none = {0};
    mlxn_matmul(encoder, x, w, none, none, out);
    run(now);
    for (uint64_t i = 0; i < n * N; i++) check_product(out, i, w, i % N, i / N);
    mlxn_weight_release(&w);
}
static void matvec_f16(void) { times(MLXN_FORMAT_F16, MLXN_F32, 1); }
static void matvec_bf16(void) { times(MLXN_FORMAT_BF16, MLXN_F32, 1); }
static void matvec_f32(void) { times(MLXN_FORMAT_F32, MLXN_F32, 1); }
static void ggml(void) { /* of a token and of many */
    times(MLXN_FORMAT_Q4_0, MLXN_F32, 1), times(MLXN_FORMAT_Q6_K, MLXN_F32, 40);
}
static void mlx(void) { times(MLXN_FORMAT_AFFINE4_G64, MLXN_F32, 1), times(MLXN_FORMAT_AFFINE8_G32, MLXN_F32, 9); }
static void mlx_bf16(void) { times(MLXN_FORMAT_AFFINE4_G64, MLXN_BF16, T); }

/* Tokens of [heads, T, D] to rows of [T, heads D]. */
static void perm021(void) {
    enum { HEADS = 4 };
    mlxn_weight *w = pack(MLXN_FORMAT_Q8_0, 1, N, MLXN_BF16);
    mlxn_tensor heads = cube(MLXN_F32, HEADS, T, K / HEADS), x = rows(MLXN_F32, T, K), out = rows(MLXN_F32, T, N);
    for (uint64_t i = 0; i < T * K; i++) {
        uint64_t t = i / K, head = i % K / (K / HEADS), k = i % (K / HEADS);
        f(heads)[(head * T + t) * (K / HEADS) + k] = token(i);
    }
    mlxn_copy(encoder, view(heads, 0, 3, D(T, HEADS, K / HEADS), S(K / HEADS, T * K / HEADS, 1)),
              mlxn_tensor_3d(memory, x.offset, MLXN_F32, T, HEADS, K / HEADS));
    mlxn_matmul(encoder, x, w, (mlxn_tensor){0}, (mlxn_tensor){0}, out);
    run(now);
    for (uint64_t i = 0; i < T * N; i++) check_product(out, i, w, i % N, i / N);
    mlxn_weight_release(&w);
}

/* x w + 0.5 (x a) b: the first product is added as the residual of the scaled second. */
static void lora(void) {
    enum { R = 4 };
    mlxn_weight *w = pack(MLXN_FORMAT_F32, 1, N, MLXN_F32);
    mlxn_tensor x = tokens(MLXN_F32, T), base = rows(MLXN_F32, T, N), a = rows(MLXN_F32, R, K),
                b = rows(MLXN_F32, N, R);
    mlxn_tensor low = rows(MLXN_F32, T, R), high = rows(MLXN_F32, T, N), out = rows(MLXN_F32, T, N), none = {0};
    fill(a, R * K), fill(b, N * R);
    mlxn_matmul(encoder, x, w, none, none, base);
    mlxn_dense_matmul(encoder, x, a, low);
    mlxn_dense_matmul(encoder, low, b, high);
    mlxn_scalar_mul(encoder, high, high, &(mlxn_scalar_mul_params){0.5f});
    mlxn_binary(encoder, base, high, out, &(mlxn_binary_params){MLXN_BINARY_ADD});
    run(now);
    for (uint64_t i = 0; i < T * N; i++) {
        float line[K];
        double size, want;
        for (uint64_t k = 0; k < K; k++) line[k] = token(i / N * K + k);
        want = product(w, i % N, line, &size);
        for (uint64_t r = 0; r < R; r++) {
            double sum = 0;
            for (uint64_t k = 0; k < K; k++) sum += (double)line[k] * (double)f(a)[r * K + k];
            want += 0.5 * sum * (double)f(b)[i % N * R + r];
        }
        is_near(out, i, want, 1e-3);
    }
    mlxn_weight_release(&w);
}

/* ---- matmul_id ---- */

static const uint32_t chosen[T * TOP] = {2, 0, 1, 1, 0, 2};

/* Each token's row times the matrices of its experts, or, with a row for each slot, each slot's row. */
static void routed(mlxn_format format, mlxn_dtype dtype, bool slots) {
    mlxn_weight *w = pack(format, E, N, MLXN_F16);
    mlxn_tensor x = tokens(dtype, slots ? T * TOP : T),
                ids = slots ? rows(MLXN_U32, T * TOP, 1) : rows(MLXN_U32, T, TOP);
    mlxn_tensor out = rows(MLXN_F32, T * TOP, N), none = {0};
    memcpy(u(ids), chosen, sizeof chosen);
    mlxn_matmul_id(encoder, x, w, ids, none, out);
    run(now);
    for (uint64_t i = 0; i < T * TOP * N; i++)
        check_product(out, i, w, chosen[i / N] * N + i % N, slots ? i / N : i / N / TOP);
    mlxn_weight_release(&w);
}
static void routed_mlx(void) { routed(MLXN_FORMAT_AFFINE4_G64, MLXN_F32, false); }
static void routed_ggml(void) { routed(MLXN_FORMAT_Q4_0, MLXN_F32, false), routed(MLXN_FORMAT_Q5_K, MLXN_F32, true); }
static void routed_plain(void) {
    routed(MLXN_FORMAT_F16, MLXN_F32, false), routed(MLXN_FORMAT_BF16, MLXN_F32, false);
}
static void one_expert(void) { /* the same matrix of the stack for every token */
    mlxn_weight *w = pack(MLXN_FORMAT_AFFINE4_G64, E, N, MLXN_BF16);
    mlxn_tensor x = tokens(MLXN_BF16, T), ids = row(MLXN_U32, T), out = rows(MLXN_F32, T, N), none = {0};
    for (int t = 0; t < T; t++) u(ids)[t] = 1;
    mlxn_matmul_id(encoder, x, w, ids, none, out);
    run(now);
    for (uint64_t i = 0; i < T * N; i++) check_product(out, i, w, N + i % N, i / N);
    mlxn_weight_release(&w);
}
static void routed_swiglu(void) { /* rows per slot are silu(gate) up */
    mlxn_weight *w = pack(MLXN_FORMAT_Q4_0, E, N, MLXN_F16);
    mlxn_tensor gate = tokens(MLXN_F32, T), up = rows(MLXN_F32, T, K), hidden = rows(MLXN_F32, T, K),
                ids = rows(MLXN_U32, T, 1);
    mlxn_tensor out = rows(MLXN_F32, T, N), none = {0};
    fill(up, T * K);
    memcpy(u(ids), chosen, T * sizeof *chosen);
    mlxn_silu_mul(encoder, gate, up, hidden);
    mlxn_matmul_id(encoder, hidden, w, ids, none, out);
    run(now);
    for (uint64_t i = 0; i < T * N; i++) {
        float line[K];
        double size;
        for (uint64_t k = 0; k < K; k++) {
            double g = (double)token(i / N * K + k);
            line[k] = (float)(g / (1 + exp(-g)) * (double)f(up)[i / N * K + k]);
        }
        double want = product(w, chosen[i / N] * N + i % N, line, &size);
        CHECK(fabs((double)f(out)[i] - want) <= FAR * size, "%s: element %u is %g, want %g", now, (unsigned)i,
              (double)f(out)[i], want);
    }
    mlxn_weight_release(&w);
}

/* A whole layer of two experts: matrices 0 and 1 of the stack are gates, 2 and 3 go up, 4 and 5 down. */
static void dispatch(void) {
    mlxn_weight *w = pack(MLXN_FORMAT_F32, 6, K, MLXN_F32);
    mlxn_tensor x = rows(MLXN_F32, T, K), ids[3], part[3], slots = rows(MLXN_U32, T * TOP, 1), none = {0};
    mlxn_tensor weights = rows(MLXN_F32, T, TOP), out = rows(MLXN_F32, T, K), hidden = rows(MLXN_F32, T * TOP, K);
    for (uint64_t i = 0; i < T * K; i++) f(x)[i] = token(i) * 0.25f;
    for (int s = 0; s < 3; s++) {
        ids[s] = rows(MLXN_U32, T, TOP), part[s] = rows(MLXN_F32, T * TOP, K);
        for (uint32_t i = 0; i < T * TOP; i++) u(ids[s])[i] = 2 * (uint32_t)s + (i + i / TOP) % 2;
    }
    memcpy(u(slots), u(ids[2]), T * TOP * 4);
    for (int i = 0; i < T * TOP; i++) f(weights)[i] = 0.25f + 0.1f * (float)i;
    mlxn_matmul_id(encoder, x, w, ids[0], none, part[0]);
    mlxn_matmul_id(encoder, x, w, ids[1], none, part[1]);
    mlxn_gelu_mul(encoder, part[0], part[1], hidden);
    mlxn_matmul_id(encoder, hidden, w, slots, none, part[2]);
    mlxn_moe_sum(encoder, mlxn_tensor_3d(memory, part[2].offset, MLXN_F32, T, TOP, K), weights, none, none, none,
                 out);
    run(now);
    for (uint64_t t = 0; t < T; t++) {
        double want[K] = {0}, sizes[K] = {0};
        for (uint64_t j = 0; j < TOP; j++) {
            float between[K];
            double size;
            for (uint64_t i = 0; i < K; i++) {
                double g = product(w, u(ids[0])[t * TOP + j] * K + i, f(x) + t * K, &size);
                double up = product(w, u(ids[1])[t * TOP + j] * K + i, f(x) + t * K, &size);
                between[i] = (float)(g / 2 * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * up);
            }
            for (uint64_t i = 0; i < K; i++) {
                double by = (double)f(weights)[t * TOP + j];
                want[i] += by * product(w, u(slots)[t * TOP + j] * K + i, between, &size);
                sizes[i] += by * size;
            }
        }
        for (uint64_t i = 0; i < K; i++)
            CHECK(fabs((double)f(out)[t * K + i] - want[i]) <= 1e-5 * sizes[i], "%s: [%u, %u] is %g, want %g", now,
                  (unsigned)t, (unsigned)i, (double)f(out)[t * K + i], want[i]);
    }
    mlxn_weight_release(&w);
}

/* ---- dense_matmul ---- */

static void dense(mlxn_dtype a, mlxn_dtype b, mlxn_dtype result) {
    enum { M = 3, C = 33, P = 5 };
    mlxn_tensor x = rows(MLXN_F32, M, C), y = rows(MLXN_F32, P, C), out = rows(MLXN_F32, M, P);
    mlxn_tensor xa = rows(a, M, C), yb = rows(b, P, C), z = rows(result, M, P);
    for (uint64_t i = 0; i < M * C; i++) f(x)[i] = (float)(i % 7) - 3;
    for (uint64_t i = 0; i < P * C; i++) f(y)[i] = (float)(i % 11) / 4 - 1;
    mlxn_cast(encoder, x, xa), mlxn_cast(encoder, y, yb);
    mlxn_dense_matmul(encoder, xa, yb, z);
    mlxn_cast(encoder, z, out);
    run(now);
    for (uint64_t i = 0; i < M * P; i++) { /* whole quarters: nothing is rounded but the result */
        double want = 0;
        for (uint64_t k = 0; k < C; k++) want += (double)f(x)[i / P * C + k] * (double)f(y)[i % P * C + k];
        is_near(out, i, want, result == MLXN_F32 ? 1e-6 : 0x1p-10);
    }
}
static void dense_f16(void) { dense(MLXN_F16, MLXN_F16, MLXN_F16); }
static void dense_bf16_f32(void) { dense(MLXN_F32, MLXN_BF16, MLXN_F32); }
static void dense_f16_f32(void) { dense(MLXN_F32, MLXN_F16, MLXN_F32); }
static void dense_f32(void) { dense(MLXN_F32, MLXN_F32, MLXN_F32); }

static void segments(void) { /* out[s] = a[:, part s] b[:, part s]', parts of 4, 1 and 7 columns */
    static const uint64_t from[] = {0, 4, 5, 12};
    mlxn_tensor a = filled(2 * 12), b = filled(3 * 12), out = cube(MLXN_F32, 3, 2, 3);
    for (uint64_t s = 0; s < 3; s++) {
        uint64_t n = from[s + 1] - from[s];
        mlxn_dense_matmul(encoder, view(a, from[s], 2, D(2, n), S(12, 1)), view(b, from[s], 2, D(3, n), S(12, 1)),
                          view(out, s * 6, 2, D(2, 3), S(3, 1)));
    }
    run(now);
    for (uint64_t i = 0; i < 18; i++) {
        double want = 0;
        for (uint64_t k = from[i / 6]; k < from[i / 6 + 1]; k++)
            want += (double)f(a)[i % 6 / 3 * 12 + k] * (double)f(b)[i % 3 * 12 + k];
        is_near(out, i, want, 1e-5);
    }
}
static void masked_blocks(void) { /* blocks of 2 x 4 of a count or do not */
    enum { M = 4, C = 8, P = 3 };
    mlxn_tensor a = filled(M * C), b = filled(P * C), mask = row(MLXN_U8, 4), zero = row(MLXN_F32, 1);
    mlxn_tensor kept = rows(MLXN_F32, M, C), out = rows(MLXN_F32, M, P);
    static const uint8_t blocks[] = {1, 0, 0, 1};
    memcpy(raw(mask), blocks, 4);
    f(zero)[0] = 0;
    mlxn_where(encoder, view(mask, 0, 4, D(2, 2, 2, 4), S(2, 0, 1, 0)), view(a, 0, 4, D(2, 2, 2, 4), S(16, 8, 4, 1)),
               zero, view(kept, 0, 4, D(2, 2, 2, 4), S(16, 8, 4, 1)));
    mlxn_dense_matmul(encoder, kept, view(b, 0, 2, D(P, C), S(C, 1)), out);
    run(now);
    for (uint64_t i = 0; i < M * P; i++) {
        double want = 0;
        for (uint64_t k = 0; k < C; k++)
            if (blocks[i / P / 2 * 2 + k / 4]) want += (double)f(a)[i / P * C + k] * (double)f(b)[i % P * C + k];
        is_near(out, i, want, 1e-5);
    }
}
static void mel(void) { /* power spectrum times filters, then the logarithm */
    mlxn_tensor power = rows(MLXN_F32, 2, 9), filters = rows(MLXN_F32, 4, 9), out = rows(MLXN_F32, 2, 4);
    for (int i = 0; i < 18; i++) f(power)[i] = (float)(i % 5 + 1);
    for (int i = 0; i < 36; i++) f(filters)[i] = (float)fmax(0, 1 - abs(i % 9 - 2 * (i / 9) - 1) / 2.0);
    mlxn_dense_matmul(encoder, power, filters, out);
    mlxn_unary(encoder, out, out, &(mlxn_unary_params){.fn = MLXN_UNARY_LOG10});
    run(now);
    for (uint64_t i = 0; i < 8; i++) {
        double sum = 0;
        for (uint64_t k = 0; k < 9; k++) sum += (double)f(power)[i / 4 * 9 + k] * (double)f(filters)[i % 4 * 9 + k];
        is(out, i, log10(sum));
    }
}

/* ---- embedding ---- */

static void rows_of_table(mlxn_format format, uint64_t n, float scale) {
    static const uint32_t names[] = {7, 0, 19, 7};
    mlxn_weight *w = pack(format, 1, N, MLXN_F16);
    mlxn_tensor ids = row(MLXN_U32, n), out = rows(MLXN_F32, n, K);
    memcpy(u(ids), names, n * sizeof *names);
    mlxn_embedding(encoder, ids, w, out, &(mlxn_embedding_params){scale});
    run(now);
    for (uint64_t t = 0; t < n; t++) {
        float want[K];
        CHECK(!mlxn_weight_read_row(w, names[t], want, NULL), "row %u", names[t]);
        for (uint64_t k = 0; k < K; k++) is(out, t * K + k, (double)scale * (double)want[k]);
    }
    mlxn_weight_release(&w);
}
static void get_rows(void) { /* of any format; of tensors by gather */
    rows_of_table(MLXN_FORMAT_Q5_0, 4, 1);
    mlxn_tensor x = filled(12), index = row(MLXN_U32, 2), out = rows(MLXN_F32, 2, 4);
    u(index)[0] = 2, u(index)[1] = 1;
    mlxn_gather(encoder, view(x, 0, 2, D(3, 4), S(4, 1)), index, out);
    run(now);
    for (uint64_t i = 0; i < 8; i++) is(out, i, (double)f(x)[u(index)[i / 4] * 4 + i % 4]);
}
static void scaled_row(void) { rows_of_table(MLXN_FORMAT_F16, 1, 16); }
static void scaled_rows(void) { rows_of_table(MLXN_FORMAT_F32, 4, 16); }
static void affine_rows(void) { rows_of_table(MLXN_FORMAT_AFFINE4_G64, 4, 1); }

static const alias_case cases[] = {
    {"dense_matvec_f16w_f32io", "w F16, M = 1", matvec_f16},
    {"dense_matvec_bf16w_f32io", "w BF16, M = 1", matvec_bf16},
    {"dense_matvec_f32", "w F32, M = 1", matvec_f32},
    {"dense_gemm_f16", "a, b, out f16", dense_f16},
    {"dense_gemv_bf16_f32", "a f32, b bf16, out f32", dense_bf16_f32},
    {"dense_matmul_bf16_f32_tensor", "b bf16, out f32", dense_bf16_f32},
    {"dense_matmul_f16_f32_tensor", "b f16, out f32", dense_f16_f32},
    {"dense_matmul_f32_f32_tensor", "a, b, out f32", dense_f32},
    {"quantized_matmul_ggml", "w of any block format; one operation for a token and for many", ggml},
    {"segmented_mm", "a call per segment, a and b as slices", segments},
    {"block_masked_mm", "where(mask with stride 0 inside a block, a, 0)", masked_blocks},
    {"lora", "twice, then binary with fn ADD of the scaled result", lora},
    {"quantized_matmul", "w in an MLX format", mlx},
    {"quantized_matmul_simd", "w in an MLX format", mlx},
    {"quantized_matmul_simd_bf16", "w in an MLX format, x bf16", mlx_bf16},
    {"simd_bf16", "w in an MLX format, x bf16", mlx_bf16},
    {"quantized_matmul_simd_bf16_expert", "w a stack in an MLX format, ids of one expert", one_expert},
    {"simd_bf16_expert", "w a stack in an MLX format, ids of one expert", one_expert},
    {"quantized_matmul_id", "w a stack in an MLX format", routed_mlx},
    {"quantized_matmul_id_ggml", "w a stack in a block format; ids of one column for rows per slot", routed_ggml},
    {"quantized_matmul_id_ggml_pooled", "scratch memory is the device's", routed_ggml},
    {"quantized_matmul_id_swiglu_q4_0", "of silu_mul(gate, up), ids of one column", routed_swiglu},
    {"quantized_matmul_mm_tensor_perm021", "x a copy of the head-major view", perm021},
    {"quantized_matmul_ggml_mm_tensor_perm021", "x a copy of the head-major view", perm021},
    {"moe_dispatch", "gate and up; down of gelu_mul of them", dispatch},
    {"mul_mat_id", "any number of experts per row", routed_ggml},
    {"gather_mm", "w a stack of f32, f16 or bf16", routed_plain},
    {"gather_qmm", "w a stack in an MLX format", routed_mlx},
    {"mel filter bank", "of the power spectrum and the filters, then unary with fn LOG10", mel},
    {"get_rows", "table of any format; gather of f32, f16 and bf16 rows", get_rows},
    {"embedding_gather_scale", "one id", scaled_row},
    {"embedding_gather_scale_batch", "", scaled_rows},
    {"embedding_gather", "table of an MLX affine format; scale 1", affine_rows},
};

int main(void) {
    open_device();
    walk_aliases(PRODUCTS, cases, sizeof cases / sizeof *cases);
    close_device();
    return TEST_DONE();
}
