/* attention_tile.h: the inner loops of attention: a register-blocked product of a few queries with a panel, and the
 * loading of key and value blocks as f32.
 *
 * Every sum is one chain of multiply-adds in ascending order of its index, whatever the tile: results for a row do
 * not depend on which rows or keys share its tile. */
#ifndef MLXN_SRC_CPU_ATTENTION_TILE_H
#define MLXN_SRC_CPU_ATTENTION_TILE_H

#include "backend/cpu/kernels/kv_row.h"
#include "backend/cpu/kernels/rows.h"

enum {
    ATT_ROWS = 6,   /* queries of a tile */
    ATT_KEYS = 64,  /* keys of a block */
    ATT_SPLIT = 256 /* keys of a split, a multiple of ATT_KEYS */
};

/* Vectors per tile: with 6 rows, 24 sums and 4 panel vectors fill 32 registers of 512 bits; 6 rows of one v16 fill 16
 * registers of 256 bits. */
#if CPU_ISA_LEVEL >= 2
enum { ATT_VECTORS = 4 };
#else
enum { ATT_VECTORS = 1 };
#endif

/* b is a panel of f32, or rows of a cache in their own dtype, widened on the way.
 * c[i][j] = (alpha ? alpha[i] * c[i][j] : 0) + sum over k of a[i][k] * b[k][j], with a[i][k] at a[i*ai + k*ak]. */
SIMD_INLINE void att_product(int rows, int vectors, const float *a, size_t ai, size_t ak, mlxn_dtype dtype,
                             const void *b, int64_t ldb, uint64_t n, float *c, size_t ldc, const float *alpha) {
    v16 sum[ATT_ROWS][ATT_VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            sum[i][j] =
                alpha ? v16_mul(v16_set1(alpha[i]), v16_load(c + (size_t)i * ldc + 16 * (size_t)j)) : v16_zero();
    }
    for (uint64_t k = 0; k < n; k++) {
        v16 panel[ATT_VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) panel[j] = v16_load_as(dtype, b, 16 * (uint64_t)j, 16);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            v16 x = v16_set1(a[(size_t)i * ai]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] = v16_fma(x, panel[j], sum[i][j]);
        }
        a += ak;
        b = (const char *)b + ldb * (int64_t)rows_size(dtype);
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) v16_store(c + (size_t)i * ldc + 16 * (size_t)j, sum[i][j]);
    }
}

/* Scores of `rows` queries, packed as q[d][ATT_ROWS], against `vectors` (1 to ATT_VECTORS) groups of 16 keys. */
SIMD_INLINE void att_scores_rows(int rows, int vectors, const float *q, const float *keys, uint64_t d, float *s) {
    att_product(rows, vectors, q, 1, ATT_ROWS, MLXN_F32, keys, ATT_KEYS, d, s, ATT_KEYS, NULL);
}
SIMD_INLINE void att_scores_vectors(int vectors, int rows, const float *q, const float *keys, uint64_t d, float *s) {
    switch (rows) {
        case 1:
            att_scores_rows(1, vectors, q, keys, d, s);
            break;
        case 2:
            att_scores_rows(2, vectors, q, keys, d, s);
            break;
        case 3:
            att_scores_rows(3, vectors, q, keys, d, s);
            break;
        case 4:
            att_scores_rows(4, vectors, q, keys, d, s);
            break;
        case 5:
            att_scores_rows(5, vectors, q, keys, d, s);
            break;
        default:
            att_scores_rows(6, vectors, q, keys, d, s);
            break;
    }
}
/* s[i][key] for keys [16 * first, 16 * last) of the block; keys[d][ATT_KEYS]. */
static void att_scores(int rows, uint64_t first, uint64_t last, const float *q, const float *keys, uint64_t d,
                       float *s) {
    for (uint64_t j = first; j < last;) {
        const float *k = keys + 16 * j;
        float *out = s + 16 * j;
#if CPU_ISA_LEVEL >= 2
        if (last - j >= 4) {
            att_scores_vectors(4, rows, q, k, d, out);
            j += 4;
            continue;
        }
        if (last - j >= 2) {
            att_scores_vectors(2, rows, q, k, d, out);
            j += 2;
            continue;
        }
#endif
        att_scores_vectors(1, rows, q, k, d, out);
        j++;
    }
}

/* Values of a block: row i begins at v + i * ldv elements. */
typedef struct att_values_view {
    mlxn_dtype dtype;
    const char *v;
    int64_t ldv;
} att_values_view;

/* o[i][d] = alpha[i] * o[i][d] + sum of p[i][key] * v[key][d] for the first `n` keys and d < dp, a multiple of 16. */
SIMD_INLINE void att_values_rows(int rows, int vectors, mlxn_dtype dtype, const float *p, const void *v, int64_t ldv,
                                 uint64_t n, float *o, uint64_t dp, const float *alpha) {
    att_product(rows, vectors, p, ATT_KEYS, 1, dtype, v, ldv, n, o, dp, alpha);
}
SIMD_INLINE void att_values_vectors(int vectors, int rows, mlxn_dtype dtype, const float *p, const void *v,
                                    int64_t ldv, uint64_t n, float *o, uint64_t dp, const float *alpha) {
    switch (rows) {
        case 1:
            att_values_rows(1, vectors, dtype, p, v, ldv, n, o, dp, alpha);
            break;
        case 2:
            att_values_rows(2, vectors, dtype, p, v, ldv, n, o, dp, alpha);
            break;
        case 3:
            att_values_rows(3, vectors, dtype, p, v, ldv, n, o, dp, alpha);
            break;
        case 4:
            att_values_rows(4, vectors, dtype, p, v, ldv, n, o, dp, alpha);
            break;
        case 5:
            att_values_rows(5, vectors, dtype, p, v, ldv, n, o, dp, alpha);
            break;
        default:
            att_values_rows(6, vectors, dtype, p, v, ldv, n, o, dp, alpha);
            break;
    }
}
SIMD_INLINE void att_values_typed(mlxn_dtype dtype, int rows, const float *p, const char *v, int64_t ldv, uint64_t n,
                                  float *o, uint64_t dp, const float *alpha) {
    size_t size = rows_size(dtype);
    for (uint64_t j = 0; j < dp;) {
#if CPU_ISA_LEVEL >= 2
        if (dp - j >= 64) {
            att_values_vectors(4, rows, dtype, p, v + j * size, ldv, n, o + j, dp, alpha);
            j += 64;
            continue;
        }
#endif
        att_values_vectors(1, rows, dtype, p, v + j * size, ldv, n, o + j, dp, alpha);
        j += 16;
    }
}
static void att_values(const att_values_view *v, uint64_t first, int rows, const float *p, uint64_t n, float *o,
                       uint64_t dp, const float *alpha) {
    const char *at = v->v + (int64_t)first * v->ldv * (int64_t)rows_size(v->dtype);
    if (v->dtype == MLXN_F32)
        att_values_typed(MLXN_F32, rows, p, at, v->ldv, n, o, dp, alpha);
    else if (v->dtype == MLXN_F16)
        att_values_typed(MLXN_F16, rows, p, at, v->ldv, n, o, dp, alpha);
    else
        att_values_typed(MLXN_BF16, rows, p, at, v->ldv, n, o, dp, alpha);
}

/* Where the keys or values of one sequence and head lie. */
typedef struct att_cache {
    const char *base;      /* slot 0 */
    mlxn_dtype dtype;      /* u8: rows of codec->type */
    const kv_codec *codec; /* of both kinds */
    int64_t row;           /* bytes between slots */
    int64_t step;          /* elements between elements of a head */
    uint64_t slots, d;
} att_cache;

#if CPU_ISA_LEVEL >= 2
/* Elements d to d+32 of sixteen rows of f16 or bf16, keys as lanes: turned while they are still 16 bits wide, which
 * halves the shuffles. */
SIMD_INLINE void att_turn_halves(mlxn_dtype dtype, const char *const rows[16], uint64_t d, float *out, size_t ldo) {
    __m512i r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(rows[i] + 2 * d);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) { /* pairs of keys */
        t[i] = _mm512_unpacklo_epi16(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi16(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* fours: r[i+c] has elements 2c and 2c+1 of every eight */
        r[i] = _mm512_unpacklo_epi32(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi32(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi32(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 16; i += 8) { /* eights: t[i+j] has element j of every eight, a quarter each */
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            t[i + 2 * c] = _mm512_unpacklo_epi64(r[i + c], r[i + c + 4]);
            t[i + 2 * c + 1] = _mm512_unpackhi_epi64(r[i + c], r[i + c + 4]);
        }
    }
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
    out += d * ldo;
#pragma GCC unroll 8
    for (uint64_t j = 0; j < 8; j++) {
        __m512i a = _mm512_permutex2var_epi64(t[j], low, t[j + 8]),
                b = _mm512_permutex2var_epi64(t[j], high, t[j + 8]);
        __m256i q[4] = {_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1), _mm512_castsi512_si256(b),
                        _mm512_extracti64x4_epi64(b, 1)};
#pragma GCC unroll 4
        for (uint64_t k = 0; k < 4; k++)
            v16_store(out + (8 * k + j) * ldo, dtype == MLXN_F16 ? v16_from_f16(q[k]) : v16_from_bf16(q[k]));
    }
}
#endif

/* Sixteen keys, rows of the cache in its own dtype, of which the first `n` exist; keys as lanes: out[d][ldo]. Missing
 * keys read as zero. dtype is a constant where `unit` is true. */
SIMD_INLINE void att_turn_keys(mlxn_dtype dtype, bool unit, const char *const rows[16], int64_t step, uint64_t size,
                               uint64_t n, float *out, size_t ldo) {
    uint64_t d = 0;
#if CPU_ISA_LEVEL >= 2
    if (n == 16 && unit && dtype != MLXN_F32)
        for (; d + 32 <= size; d += 32) att_turn_halves(dtype, rows, d, out, ldo);
#endif
    if (n == 16)
        for (; d + 16 <= size; d += 16) {
            v16 r[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) r[i] = rows_load(dtype, unit, rows[i], step, d, 16);
            v16_transpose(r);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) v16_store(out + (d + (uint64_t)i) * ldo, r[i]);
        }
    for (; d < size; d += 16) {
        uint64_t k = simd_tail(d, size);
        v16 r[16];
        for (uint64_t i = 0; i < 16; i++) r[i] = i < n ? rows_load(dtype, unit, rows[i], step, d, k) : v16_zero();
        v16_transpose(r);
        for (uint64_t i = 0; i < k; i++) v16_store(out + (d + i) * ldo, r[i]);
    }
}

/* Keys [begin, end) of a block into out[d][ATT_KEYS], groups of 16 complete; `slot` is the slot of the block's key 0
 * when its position is taken modulo the capacity. `decoded`: room for 16 rows of d, of which kinds other than numbers
 * make use. */
static void att_load_keys(const att_cache *c, uint64_t slot, uint64_t begin, uint64_t end, float *decoded,
                          float *out) {
    for (uint64_t g = begin & ~(uint64_t)15; g < end; g += 16) {
        const char *rows[16];
        uint64_t n = simd_tail(g, end), at = (slot + g) % c->slots;
        for (uint64_t i = 0; i < n; i++) {
            rows[i] = c->base + (int64_t)at * c->row;
            if (++at == c->slots) at = 0;
        }
        if (c->dtype == MLXN_U8) {
            for (uint64_t i = 0; i < n; i++) {
                kv_read_row(c->codec, (const uint8_t *)rows[i], c->d, decoded + i * c->d);
                rows[i] = (const char *)(decoded + i * c->d);
            }
            att_turn_keys(MLXN_F32, true, rows, 1, c->d, n, out + g, ATT_KEYS);
        } else if (c->step != 1) {
            att_turn_keys(c->dtype, false, rows, c->step, c->d, n, out + g, ATT_KEYS);
        } else if (c->dtype == MLXN_F32) {
            att_turn_keys(MLXN_F32, true, rows, 1, c->d, n, out + g, ATT_KEYS);
        } else if (c->dtype == MLXN_F16) {
            att_turn_keys(MLXN_F16, true, rows, 1, c->d, n, out + g, ATT_KEYS);
        } else {
            att_turn_keys(MLXN_BF16, true, rows, 1, c->d, n, out + g, ATT_KEYS);
        }
    }
}

/* Values [begin, end) of a block into out[key][dp], zero beyond d. */
SIMD_INLINE void att_load_values_typed(mlxn_dtype dtype, bool unit, const att_cache *c, uint64_t slot, uint64_t begin,
                                       uint64_t end, uint64_t dp, float *out) {
    uint64_t at = (slot + begin) % c->slots;
    for (uint64_t i = begin; i < end; i++) {
        const char *row = c->base + (int64_t)at * c->row;
        if (++at == c->slots) at = 0;
        uint64_t d = 0;
        for (; d + 16 <= c->d; d += 16) v16_store(out + i * dp + d, rows_load(dtype, unit, row, c->step, d, 16));
        if (d < c->d) v16_store(out + i * dp + d, rows_load(dtype, unit, row, c->step, d, c->d - d));
    }
}
static void att_load_values(const att_cache *c, uint64_t slot, uint64_t begin, uint64_t end, uint64_t dp,
                            float *out) {
    uint64_t at = (slot + begin) % c->slots;
    if (c->dtype == MLXN_U8)
        for (uint64_t i = begin; i < end; i++) {
            kv_read_row(c->codec, (const uint8_t *)c->base + (int64_t)at * c->row, c->d, out + i * dp);
            if (++at == c->slots) at = 0;
        }
    else if (c->step != 1)
        att_load_values_typed(c->dtype, false, c, slot, begin, end, dp, out);
    else if (c->dtype == MLXN_F32)
        att_load_values_typed(MLXN_F32, true, c, slot, begin, end, dp, out);
    else if (c->dtype == MLXN_F16)
        att_load_values_typed(MLXN_F16, true, c, slot, begin, end, dp, out);
    else
        att_load_values_typed(MLXN_BF16, true, c, slot, begin, end, dp, out);
}

#endif
