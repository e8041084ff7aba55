/* span.h: pieces of rows as float arrays, so that one loop of sixteen-float vectors serves every dtype and stride.
 *
 * A piece of an f32 row without gaps is used where it lies; others are converted into a buffer of SPAN floats in the
 * thread's first-level cache, and results back; functions of 16-bit numbers convert on the way. Each element is
 * computed the same way wherever it lies. */
#ifndef MLXN_SRC_CPU_SPAN_H
#define MLXN_SRC_CPU_SPAN_H

#include "backend/cpu/kernels/rows.h"

enum { SPAN = 1024 };

static inline float span_number(mlxn_dtype dtype, const void *row, int64_t i) {
    switch (dtype) {
        case MLXN_U8:
            return ((const uint8_t *)row)[i];
        case MLXN_U16:
            return ((const uint16_t *)row)[i];
        case MLXN_U32:
            return (float)((const uint32_t *)row)[i];
        case MLXN_I32:
            return (float)((const int32_t *)row)[i];
        default:
            return simd_get(dtype, row, i);
    }
}

/* to[j, j+n) = from[i, i+n), both without gaps; the dtypes are constants. */
SIMD_INLINE void span_convert(mlxn_dtype in, const void *from, uint64_t i, mlxn_dtype out, void *to, uint64_t j,
                              uint64_t n) {
    uint64_t k = 0;
    for (; k + 16 <= n; k += 16) v16_store_as(out, to, j + k, v16_load_as(in, from, i + k, 16), 16);
    if (k < n) v16_store_as(out, to, j + k, v16_load_as(in, from, i + k, n - k), n - k);
}

/* Elements [i, i+n) of a row, n <= SPAN: where they are, or in `buffer`. A stride of 0 repeats one element. */
static inline __attribute__((unused)) const float *span_in(mlxn_dtype dtype, const void *row, int64_t stride,
                                                           uint64_t i, uint64_t n, float *buffer) {
    if (stride == 1 && dtype == MLXN_F32) return (const float *)row + i;
    if (stride == 0) {
        v16 x = v16_set1(span_number(dtype, row, 0));
        for (uint64_t k = 0; k < n; k += 16) v16_store_as(MLXN_F32, buffer, k, x, simd_tail(k, n));
    } else if (stride == 1 && dtype == MLXN_F16) {
        span_convert(MLXN_F16, row, i, MLXN_F32, buffer, 0, n);
    } else if (stride == 1 && dtype == MLXN_BF16) {
        span_convert(MLXN_BF16, row, i, MLXN_F32, buffer, 0, n);
    } else if (dtype == MLXN_F32) {
        for (uint64_t k = 0; k < n; k++) buffer[k] = ((const float *)row)[(int64_t)(i + k) * stride];
    } else {
        for (uint64_t k = 0; k < n; k++) buffer[k] = span_number(dtype, row, (int64_t)(i + k) * stride);
    }
    return buffer;
}

/* Where to compute elements [i, i+n) of an output row; span_done brings them there. */
static inline __attribute__((unused)) float *span_out(mlxn_dtype dtype, void *row, int64_t stride, uint64_t i,
                                                      float *buffer) {
    return stride == 1 && dtype == MLXN_F32 ? (float *)row + i : buffer;
}
static inline __attribute__((unused)) void span_done(mlxn_dtype dtype, void *row, int64_t stride, uint64_t i,
                                                     uint64_t n, const float *buffer) {
    if (stride == 1 && dtype == MLXN_F32) return;
    if (stride == 1 && dtype == MLXN_F16) {
        span_convert(MLXN_F32, buffer, 0, MLXN_F16, row, i, n);
    } else if (stride == 1 && dtype == MLXN_BF16) {
        span_convert(MLXN_F32, buffer, 0, MLXN_BF16, row, i, n);
    } else if (dtype == MLXN_U8) {
        for (uint64_t k = 0; k < n; k++) ((uint8_t *)row)[(int64_t)(i + k) * stride] = (uint8_t)buffer[k];
    } else {
        for (uint64_t k = 0; k < n; k++) simd_set(dtype, row, (int64_t)(i + k) * stride, buffer[k]);
    }
}

/* span_done past the caches, to a row of stride 1 that stream_aligned accepts; i is a multiple of 16. */
SIMD_INLINE void span_stream_as(mlxn_dtype dtype, void *row, uint64_t i, uint64_t n, const float *buffer) {
    uint64_t k = 0;
    for (; k + 16 <= n; k += 16) v16_stream_as(dtype, row, i + k, v16_load(buffer + k));
    if (k < n) v16_store_as(dtype, row, i + k, v16_load_as(MLXN_F32, buffer, k, n - k), n - k);
}
static inline __attribute__((unused)) void span_stream(mlxn_dtype dtype, void *row, uint64_t i, uint64_t n,
                                                       const float *buffer) {
    if (dtype == MLXN_F32)
        span_stream_as(MLXN_F32, row, i, n, buffer);
    else if (dtype == MLXN_F16)
        span_stream_as(MLXN_F16, row, i, n, buffer);
    else
        span_stream_as(MLXN_BF16, row, i, n, buffer);
}

/* A view with the dims of `like`: dims that are missing or 1 get stride 0, so that rows_at repeats them. */
static inline __attribute__((unused)) mlxn_view span_broadcast(const mlxn_view *v, const mlxn_view *like) {
    mlxn_view r = *v;
    r.rank = like->rank;
    for (uint32_t d = 0; d < like->rank; d++) {
        uint32_t gap = like->rank - v->rank;
        bool own = d >= gap && v->dims[d - gap] == like->dims[d];
        r.dims[d] = like->dims[d];
        r.strides[d] = own ? v->strides[d - gap] : 0;
    }
    return r;
}

/* How a piece lies in memory: inputs and result of the same dtype without gaps; SPAN_PAST: the result goes past the
 * caches and lies as stream_aligned wants it. */
typedef enum span_form { SPAN_F32, SPAN_F32_PAST, SPAN_F16, SPAN_F16_PAST, SPAN_BF16, SPAN_BF16_PAST } span_form;

/* out[i] = fn(inputs[0][i], …): n_in views (1 to 3) with the dims of out. `fn` may be called on any piece. */
typedef void (*span_fn)(void *out, const void *const in[3], uint64_t n, const float *p, span_form form);

static inline __attribute__((unused)) void span_plan(const mlxn_view *const views[4], uint32_t n, cpu_plan *plan) {
    rows_shape shape = rows_of(views, n, false);
    *plan = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

/* Whether `fn` reads and writes 16-bit numbers where they lie; without instructions that convert them it would gain
 * nothing and be large. */
static inline __attribute__((unused)) bool span_halves(const mlxn_view *out, const mlxn_view *const in[3],
                                                       uint32_t n_in) {
    if (CPU_ISA_LEVEL == 0) return false;
    bool all = (out->dtype == MLXN_F16 || out->dtype == MLXN_BF16) && rows_stride(out) == 1;
    for (uint32_t a = 0; a < n_in; a++) {
        int64_t stride = rows_stride(in[a]);
        all = all && in[a]->dtype == out->dtype && (stride == 1 || stride == 0);
    }
    return all;
}
/* Elements [i, i+n) of a row of 16-bit numbers: where they are, or one of them repeated. */
static inline __attribute__((unused)) const void *span_half(const void *row, int64_t stride, uint64_t i, uint64_t n,
                                                            void *buffer) {
    if (stride != 0) return (const uint16_t *)row + i;
    for (uint64_t k = 0; k < n; k++) ((uint16_t *)buffer)[k] = *(const uint16_t *)row;
    return buffer;
}

static inline __attribute__((unused)) void span_run(cpu_run *run, span_fn fn, const float *p, uint32_t n_in,
                                                    const mlxn_view *const in[3], const mlxn_view *out) {
    const mlxn_view *views[4] = {out};
    for (uint32_t a = 0; a < n_in; a++) views[a + 1] = in[a];
    rows_shape shape = rows_of(views, n_in + 1, false);
    size_t so = mlxn_dtype_size(out->dtype);
    const bool streams = so != 1 && (shape.flat || rows_stride(out) == 1) && stream_fits(out, in, n_in);
    const bool halves = span_halves(out, in, n_in);
    float buffers[4][SPAN] __attribute__((aligned(64)));
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *row[3] = {0};
            int64_t stride[3] = {0};
            for (uint32_t a = 0; a < n_in; a++) {
                row[a] = shape.flat ? in[a]->data : rows_at(in[a], r, mlxn_dtype_size(in[a]->dtype));
                stride[a] = shape.flat ? 1 : rows_stride(in[a]);
            }
            void *o = shape.flat ? out->data : rows_at(out, r, so);
            int64_t os = shape.flat ? 1 : rows_stride(out);
            const bool past = streams && stream_aligned(out->dtype, o);
            for (uint64_t i = part.begin; i < part.begin + part.n; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, part.begin + part.n - i);
                const void *x[3] = {0};
                if (halves) {
                    const span_form form = out->dtype == MLXN_F16 ? SPAN_F16 : SPAN_BF16;
                    for (uint32_t a = 0; a < n_in; a++) x[a] = span_half(row[a], stride[a], i, n, buffers[a]);
                    fn((uint16_t *)o + i, x, n, p, past ? form + 1 : form);
                    continue;
                }
                for (uint32_t a = 0; a < n_in; a++) x[a] = span_in(in[a]->dtype, row[a], stride[a], i, n, buffers[a]);
                if (past && out->dtype == MLXN_F32) {
                    fn((float *)o + i, x, n, p, SPAN_F32_PAST);
                    continue;
                }
                float *y = span_out(out->dtype, o, os, i, buffers[3]);
                fn(y, x, n, p, SPAN_F32);
                span_done(out->dtype, o, os, i, n, y);
            }
        }
    }
    if (streams) stream_end();
}

SIMD_INLINE void span_put(mlxn_dtype dtype, bool past, void *out, uint64_t i, v16 v) {
    if (past)
        v16_stream_as(dtype, out, i, v);
    else
        v16_store_as(dtype, out, i, v, 16);
}

/* f with the dtype as a constant. */
#if CPU_ISA_LEVEL >= 1
#define SPAN_FORM_CALLS(f, form)                      \
    if (form == SPAN_F32)                             \
        f(MLXN_F32, false, out, in, n, p);            \
    else if (form == SPAN_F32_PAST)                   \
        f(MLXN_F32, true, out, in, n, p);             \
    else if (form <= SPAN_F16_PAST)                   \
        f(MLXN_F16, form != SPAN_F16, out, in, n, p); \
    else                                              \
        f(MLXN_BF16, form != SPAN_BF16, out, in, n, p);
#else
#define SPAN_FORM_CALLS(f, form) f(MLXN_F32, form == SPAN_F32_PAST, out, in, n, p);
#endif

/* span_fn from expressions over vectors x, y, z and the parameters p[]. */
#define SPAN_FN_LOAD(inputs, i, k)                            \
    v16 x = v16_load_as(dtype, in[0], i, k);                  \
    v16 y = inputs > 1 ? v16_load_as(dtype, in[1], i, k) : x; \
    v16 z = inputs > 2 ? v16_load_as(dtype, in[2], i, k) : x; \
    (void)y, (void)z;
#define SPAN_FN(name, inputs, expression)                                                                   \
    SIMD_INLINE void name##_as(mlxn_dtype dtype, bool past, void *out, const void *const in[3], uint64_t n, \
                               const float *p) {                                                            \
        (void)p;                                                                                            \
        uint64_t at = 0;                                                                                    \
        for (; at + 16 <= n; at += 16) {                                                                    \
            SPAN_FN_LOAD(inputs, at, 16)                                                                    \
            span_put(dtype, past, out, at, expression);                                                     \
        }                                                                                                   \
        if (at == n) return;                                                                                \
        SPAN_FN_LOAD(inputs, at, n - at)                                                                    \
        v16_store_as(dtype, out, at, expression, n - at);                                                   \
    }                                                                                                       \
    static void name(void *out, const void *const ins[3], uint64_t n, const float *p, span_form form) {     \
        const void *const in[3] = {ins[0], ins[1], ins[2]};                                                 \
        SPAN_FORM_CALLS(name##_as, form)                                                                    \
    }

#endif
