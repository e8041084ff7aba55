/* Promise: key and value caches, and attention over them, keep what the reference library loses: more tokens than a
 * cache has slots leave the last ones, rows of TurboQuant have the norms, signs and order of bits of one codec at
 * every length, every kind of cache and mask reaches every length of heads, and in how many parts attention is
 * computed cannot be seen. */
#include "ops_device.h"

#include <mlxn/kv.h>
#include <mlxn/turboquant.h>

static uint32_t state = 1;
/* In -1 to 1. */
static float draw(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) * 0x1p-23f - 1;
}
static void fill(mlxn_tensor t) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < t.rank; i++) n *= t.dims[i];
    for (uint64_t i = 0; i < n; i++) f(t)[i] = draw();
}

static bool of_bytes(mlxn_kv_type type) { return type >= MLXN_KV_Q8_0; }
static mlxn_tensor cache_of(mlxn_kv_type type, uint64_t sequences, uint64_t heads, uint64_t slots, uint64_t d) {
    uint64_t size = 0;
    mlxn_kv_row_bytes(type, d, &size, NULL);
    mlxn_dtype dtype = of_bytes(type)         ? MLXN_U8
                       : type == MLXN_KV_F32  ? MLXN_F32
                       : type == MLXN_KV_BF16 ? MLXN_BF16
                                              : MLXN_F16;
    return block(dtype, sequences, heads, slots, of_bytes(type) ? size : d);
}
static uint64_t bytes_of(mlxn_tensor t) {
    uint64_t n = t.dtype == MLXN_U8 ? 1 : t.dtype == MLXN_F32 ? 4 : 2;
    for (uint32_t i = 0; i < t.rank; i++) n *= t.dims[i];
    return n;
}

/* More tokens than slots, in one call: the cache is what it is after a call for each token in their order. So it is
 * where a position comes twice. Numbers of rows below and above that from which a kernel makes a table. */
static void test_more_than_slots(void) {
    enum { C = 5, H = 2, D = 256, S = 2 };
    static const uint64_t counts[] = {2, 11, 30, 33, 300};
    static const mlxn_kv_type types[] = {MLXN_KV_F32, MLXN_KV_F16, MLXN_KV_Q8_0, MLXN_KV_TQ4};
    for (int c = 0; c < 5; c++)
        for (int y = 0; y < 4; y++)
            for (int time = 0; time < 10; time++) { /* threads meet otherwise each time */
                uint64_t n = counts[c];
                mlxn_tensor k = cube(MLXN_F32, n, H, D), v = cube(MLXN_F32, n, H, D), s = row(MLXN_U32, n),
                            at = row(MLXN_U32, n), cache[2][2];
                fill(k), fill(v);
                for (uint64_t t = 0; t < n; t++) {
                    u(s)[t] = t % 7 == 3 ? S : (uint32_t)(t % 3 == 1); /* some rows have no sequence */
                    u(at)[t] = time % 2 ? (uint32_t)(t * t % 13) : 3 + (uint32_t)t;
                }
                mlxn_kv_write_params p = {types[y], types[y]};
                for (int i = 0; i < 4; i++) {
                    cache[i / 2][i % 2] = cache_of(types[y], S, H, C, D);
                    memset(raw(cache[i / 2][i % 2]), 0, bytes_of(cache[i / 2][i % 2]));
                }
                mlxn_kv_write(encoder, k, v, s, at, cache[0][0], cache[0][1], &p);
                for (uint64_t t = 0; t < n; t++) {
                    mlxn_tensor one[4] = {k, v, s, at};
                    for (int i = 0; i < 4; i++)
                        one[i].dims[0] = 1, one[i].offset += t * (uint64_t)one[i].strides[0] * 4;
                    mlxn_kv_write(encoder, one[0], one[1], one[2], one[3], cache[1][0], cache[1][1], &p);
                }
                run("more than slots");
                for (int i = 0; i < 2; i++)
                    CHECK(!memcmp(raw(cache[0][i]), raw(cache[1][i]), bytes_of(cache[0][i])),
                          "%llu tokens of type %s: the cache of %s is not what the last ones leave",
                          (unsigned long long)n, mlxn_kv_type_name(types[y]), i ? "values" : "keys");
            }
}

/* Rows that the device writes: norms of blocks of very different lengths (|x| up to 256 values; of 512 the root mean
 * square of each half), the first D signs at every length, and codes in the order of kv.h. */
static void test_turboquant_rows(void) {
    for (uint64_t d = 64; d <= 512; d *= 2) {
        mlxn_tensor x = cube(MLXN_F32, 1, 1, d), s = row(MLXN_U32, 1), at = row(MLXN_U32, 1);
        mlxn_tensor k = cache_of(MLXN_KV_TQ8, 1, 1, 1, d), v = cache_of(MLXN_KV_TQ8, 1, 1, 1, d);
        const uint8_t *signs = mlxn_turboquant_signs();
        double turned[512], squares[2] = {0};
        for (uint64_t i = 0; i < d; i++) turned[i] = (double)draw() * (i < 256 ? 100 : 1);
        for (uint64_t i = 0; i < d; i++) { /* x = s (H turned), rounded */
            double sum = 0;
            for (uint64_t j = 0; j < d; j++) sum += __builtin_popcountll(i & j) % 2 ? -turned[j] : turned[j];
            f(x)[i] = (float)((signs[i / 8] >> i % 8 & 1 ? -sum : sum) / sqrt((double)d));
        }
        for (uint64_t i = 0; i < d; i++) squares[i / 256] += turned[i] * turned[i];
        u(s)[0] = 0, u(at)[0] = 0;
        mlxn_kv_write_params p = {MLXN_KV_TQ8, MLXN_KV_TQ8};
        mlxn_kv_write(encoder, x, x, s, at, k, v, &p);
        run("rows of TurboQuant");
        uint64_t norms = d > 256 ? 2 : 1;
        double got[2] = {0};
        for (uint64_t b = 0; b < norms; b++) {
            float norm;
            memcpy(&norm, raw(k) + 4 * b, 4);
            double want = sqrt(d > 256 ? squares[b] / 256 : squares[b]);
            CHECK(fabs((double)norm - want) < 1e-5 * want, "D = %u: norm %u is %g, want %g", (unsigned)d, (unsigned)b,
                  (double)norm, want);
            got[b] = (double)norm / (d > 256 ? 1 : sqrt((double)d));
        }
        for (uint64_t i = 0; i < d; i++) {
            float centroid;
            mlxn_turboquant_centroid(8, raw(k)[4 * norms + i], &centroid, NULL);
            /* 256 centroids: steps of 0.1 at the ends of the table, far less inside */
            CHECK(fabs((double)centroid * got[i / 256] - turned[i]) < 0.05 * got[i / 256],
                  "D = %u: coordinate %u is %g, want %g", (unsigned)d, (unsigned)i, (double)centroid * got[i / 256],
                  turned[i]);
        }
    }
}

/* One row of one head in double: keys and values [n, d] of a head, `seen` or not. */
static void want_row(const float *q, const float *k, const float *v, const uint8_t *seen, uint64_t n, uint64_t d,
                     double scale, double *out) {
    double *score = calloc(n, sizeof *score), top = -INFINITY, sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        for (uint64_t j = 0; j < d; j++) score[i] += (double)q[j] * (double)k[i * d + j];
        score[i] *= scale;
        if (seen[i]) top = fmax(top, score[i]);
    }
    memset(out, 0, d * sizeof *out);
    for (uint64_t i = 0; i < n; i++) {
        double w = seen[i] ? exp(score[i] - top) : 0;
        sum += w;
        for (uint64_t j = 0; j < d; j++) out[j] += w * (double)v[i * d + j];
    }
    for (uint64_t j = 0; j < d; j++) out[j] /= sum;
    free(score);
}

/* Rows of f16 under a mask of bytes, for every length of heads. */
static void test_half_under_mask(void) {
    enum { T = 5, C = 70 };
    static const uint64_t dims[] = {64, 80, 96, 128, 256, 512};
    for (int c = 0; c < 6; c++) {
        uint64_t d = dims[c];
        mlxn_tensor x[3] = {cube(MLXN_F32, T, 1, d), block(MLXN_F32, 1, 1, C, d), block(MLXN_F32, 1, 1, C, d)},
                    half[3];
        mlxn_tensor out = cube(MLXN_F16, T, 1, d), wide = cube(MLXN_F32, T, 1, d), mask = rows(MLXN_U8, T, C);
        mlxn_tensor s = row(MLXN_U32, T), at = row(MLXN_U32, T), none = {0};
        half[0] = cube(MLXN_F16, T, 1, d);
        half[1] = block(MLXN_F16, 1, 1, C, d), half[2] = block(MLXN_F16, 1, 1, C, d);
        for (int i = 0; i < 3; i++) {
            fill(x[i]);
            mlxn_cast(encoder, x[i], half[i]);
            mlxn_cast(encoder, half[i], x[i]); /* what the rounded values are */
        }
        for (uint32_t t = 0; t < T; t++) u(s)[t] = 0, u(at)[t] = t;
        for (uint32_t i = 0; i < T * C; i++) raw(mask)[i] = i * 31 % 7 < 3 ? (uint8_t)(1 + i % 255) : 0;
        mlxn_attention_params p = {.scale = 0.2f, .visible = MLXN_MASK_NONE};
        mlxn_attention(encoder, half[0], half[1], half[2], s, at, none, mask, out, &p);
        mlxn_cast(encoder, out, wide);
        run("a mask of bytes");
        for (uint64_t t = 0; t < T; t++) {
            double want[512];
            want_row(f(x[0]) + t * d, f(x[1]), f(x[2]), raw(mask) + t * C, C, d, (double)0.2f, want);
            for (uint64_t j = 0; j < d; j++) /* the result is rounded to f16 */
                CHECK(fabs((double)f(wide)[t * d + j] - want[j]) < 2e-5 + 0x1p-11 * fabs(want[j]),
                      "D = %u, row %u: element %u is %g, want %g", (unsigned)d, (unsigned)t, (unsigned)j,
                      (double)f(wide)[t * d + j], want[j]);
        }
    }
}

/* One row, and several, over TurboQuant caches of every length of rows and width: what attention over the decoded
 * rows gives. */
static void test_turboquant_caches(void) {
    enum { C = 40 };
    for (mlxn_kv_type type = MLXN_KV_TQ4; type <= MLXN_KV_TQ8; type = (mlxn_kv_type)(type + 1))
        for (uint64_t d = 64; d <= 512; d *= 2)
            for (uint64_t n = 1; n <= 3; n += 2) {
                mlxn_tensor q = cube(MLXN_F32, n, 1, d), out = cube(MLXN_F32, n, 1, d),
                            rows_in = cube(MLXN_F32, C, 1, d);
                mlxn_tensor k = cache_of(type, 1, 1, C, d), v = cache_of(type, 1, 1, C, d), none = {0};
                mlxn_tensor read[2] = {cube(MLXN_F32, C, 1, d), cube(MLXN_F32, C, 1, d)};
                mlxn_tensor s = row(MLXN_U32, C), at = row(MLXN_U32, C), last = row(MLXN_U32, n),
                            first = row(MLXN_U32, n);
                fill(q), fill(rows_in);
                for (uint32_t i = 0; i < C; i++) u(s)[i] = 0, u(at)[i] = i;
                for (uint64_t t = 0; t < n; t++) u(first)[t] = 0, u(last)[t] = (uint32_t)(C - n + t);
                mlxn_kv_write_params p = {type, type};
                mlxn_kv_read_params r = {type, 0};
                mlxn_attention_params a = {.scale = 0.3f, .k_type = type, .v_type = type};
                mlxn_kv_write(encoder, rows_in, rows_in, s, at, k, v, &p);
                mlxn_kv_read(encoder, k, s, at, read[0], &r);
                mlxn_kv_read(encoder, v, s, at, read[1], &r);
                mlxn_attention(encoder, q, k, v, first, last, none, none, out, &a);
                run("TurboQuant caches");
                for (uint64_t t = 0; t < n; t++) {
                    double want[512];
                    uint8_t seen[C];
                    for (uint32_t i = 0; i < C; i++) seen[i] = i <= u(last)[t];
                    want_row(f(q) + t * d, f(read[0]), f(read[1]), seen, C, d, (double)0.3f, want);
                    for (uint64_t j = 0; j < d; j++)
                        CHECK(fabs((double)f(out)[t * d + j] - want[j]) < 5e-5,
                              "%s, D = %u, %u rows: element %u is %g, want %g", mlxn_kv_type_name(type), (unsigned)d,
                              (unsigned)n, (unsigned)j, (double)f(out)[t * d + j], want[j]);
                }
            }
}

/* A norm without weights and its copy in bf16, which the reference has as one operation that nothing reaches. */
static void test_norm_without_weights(void) {
    enum { D = 300 };
    mlxn_tensor x = rows(MLXN_F32, 2, D), out = rows(MLXN_F32, 2, D), copy = rows(MLXN_BF16, 2, D), none = {0};
    fill(x);
    mlxn_rms_norm_params p = {1e-6f};
    mlxn_rms_norm(encoder, x, none, out, &p);
    mlxn_cast(encoder, out, copy);
    run("a norm without weights");
    for (int r = 0; r < 2; r++) {
        double sum = 0;
        for (int i = 0; i < D; i++) sum += (double)f(x)[r * D + i] * (double)f(x)[r * D + i];
        for (int i = 0; i < D; i++) {
            double want = (double)f(x)[r * D + i] / sqrt(sum / D + 1e-6);
            uint32_t bits = (uint32_t)h(copy)[r * D + i] << 16;
            float rounded;
            memcpy(&rounded, &bits, 4);
            CHECK(fabs((double)f(out)[r * D + i] - want) < 1e-6 * (1 + fabs(want)) &&
                      fabs((double)rounded - want) <= 0x1.02p-8 * fabs(want),
                  "row %d, element %d is %g and %g, want %g", r, i, (double)f(out)[r * D + i], (double)rounded, want);
        }
    }
}

/* Long caches are computed in parts, by several threads: the same bits for every number of threads, and what one sum
 * in double gives. */
static void test_parts(void) {
    enum { C = 3000, D = 64, H = 3 };
    static const uint32_t threads[] = {1, 2, 3, 7};
    static float before[H * D];
    for (int i = 0; i < 4; i++) {
        close_device();
        open_threads(threads[i]);
        state = 77;
        mlxn_tensor q = cube(MLXN_F32, 1, H, D), out = cube(MLXN_F32, 1, H, D), s = row(MLXN_U32, 1),
                    at = row(MLXN_U32, 1);
        mlxn_tensor k = block(MLXN_F32, 1, 1, C, D), v = block(MLXN_F32, 1, 1, C, D), none = {0};
        fill(q), fill(k), fill(v);
        u(s)[0] = 0, u(at)[0] = C - 1;
        mlxn_attention_params p = {.scale = 1};
        mlxn_attention(encoder, q, k, v, s, at, none, none, out, &p);
        run("parts");
        if (i) CHECK(!memcmp(before, f(out), sizeof before), "%u threads give other bits", threads[i]);
        memcpy(before, f(out), sizeof before);
        static uint8_t seen[C];
        memset(seen, 1, sizeof seen);
        for (int head = 0; head < H && !i; head++) {
            double want[D];
            want_row(f(q) + head * D, f(k), f(v), seen, C, D, 1, want);
            for (int j = 0; j < D; j++)
                CHECK(fabs((double)before[head * D + j] - want[j]) < 1e-5, "head %d, element %d is %g, want %g", head,
                      j, (double)before[head * D + j], want[j]);
        }
    }
}

int main(void) {
    open_device();
    test_more_than_slots();
    test_turboquant_rows();
    test_half_under_mask();
    test_turboquant_caches();
    test_norm_without_weights();
    test_parts();
    close_device();
    return TEST_DONE();
}
