/* rows.h: walking over tensors of up to four dims as rows of the last dim, shared out in chunks.
 *
 * Views that are all contiguous are taken as one long row. A chunk is a group of whole rows or a piece of one row of
 * at most ROWS_PIECE elements; its borders depend on the shape alone, and every element is computed the same way
 * wherever it lies, so results do not depend on the number of threads. Any strides are accepted: where the last one
 * is not 1, elements are collected into vectors one by one. */
#ifndef MLXN_SRC_CPU_ROWS_H
#define MLXN_SRC_CPU_ROWS_H

#include "backend/cpu/kernels/stream.h"

enum { ROWS_PIECE = 16384 };

typedef struct rows_shape {
    uint64_t rows, cols;
    uint64_t group;  /* rows per chunk */
    uint64_t pieces; /* chunks per row; 1 unless group is 1 */
    bool flat;
} rows_shape;

static inline bool rows_dense(const mlxn_view *v) {
    int64_t want = 1;
    for (uint32_t d = v->rank; d-- > 0;) {
        if (v->dims[d] != 1 && v->strides[d] != want) return false;
        want *= (int64_t)v->dims[d];
    }
    return true;
}

static inline uint64_t rows_count(const mlxn_view *v) {
    uint64_t n = 1;
    for (uint32_t d = 0; d + 1 < v->rank; d++) n *= v->dims[d];
    return n;
}

static inline uint64_t rows_cols(const mlxn_view *v) { return v->rank ? v->dims[v->rank - 1] : 1; }
/* A dim of 1 may carry any stride. */
static inline int64_t rows_stride(const mlxn_view *v) {
    return v->rank && v->dims[v->rank - 1] != 1 ? v->strides[v->rank - 1] : 1;
}

/* Rows of equal dims; `whole` keeps rows in one piece (for kernels that reduce over them). */
static inline rows_shape rows_of(const mlxn_view *const *views, uint32_t n, bool whole) {
    rows_shape s = {rows_count(views[0]), rows_cols(views[0]), 1, 1, false};
    if (!whole) {
        s.flat = true;
        for (uint32_t i = 0; i < n; i++) s.flat = s.flat && rows_dense(views[i]);
        if (s.flat) {
            s.cols *= s.rows;
            s.rows = 1;
        }
    }
    if (s.cols < ROWS_PIECE)
        s.group = ROWS_PIECE / s.cols;
    else if (!whole)
        s.pieces = (s.cols + ROWS_PIECE - 1) / ROWS_PIECE;
    return s;
}

static inline uint64_t rows_chunks(const rows_shape *s) { return (s->rows + s->group - 1) / s->group * s->pieces; }

typedef struct rows_part {
    uint64_t row, row_end; /* rows of this chunk */
    uint64_t begin, n;     /* elements of each row */
} rows_part;

static inline rows_part rows_chunk(const rows_shape *s, uint64_t chunk) {
    rows_part p;
    p.row = chunk / s->pieces * s->group;
    p.row_end = mlxn_min_u64(p.row + s->group, s->rows);
    p.begin = s->pieces == 1 ? 0 : chunk % s->pieces * ROWS_PIECE;
    p.n = s->pieces == 1 ? s->cols : mlxn_min_u64(ROWS_PIECE, s->cols - p.begin);
    return p;
}

/* First element of a row, `size` bytes per element. */
static inline void *rows_at(const mlxn_view *v, uint64_t row, size_t size) {
    int64_t offset = 0;
    for (uint32_t d = v->rank > 1 ? v->rank - 1 : 0; row && d-- > 1;) {
        offset += (int64_t)(row % v->dims[d]) * v->strides[d];
        row /= v->dims[d];
    }
    if (row) offset += (int64_t)row * v->strides[0]; /* what is left counts the first axis: no division */
    return (char *)v->data + offset * (int64_t)size;
}

static inline size_t rows_size(mlxn_dtype dtype) { return dtype == MLXN_F32 ? 4 : 2; }

/* Slow path for strides other than 1, kept out of line: element by element. */
static __attribute__((noinline, unused)) void rows_collect(mlxn_dtype dtype, const void *row, int64_t stride,
                                                           uint64_t i, uint64_t n, float out[16]) {
    for (uint64_t j = 0; j < 16; j++) out[j] = j < n ? simd_get(dtype, row, (int64_t)(i + j) * stride) : 0.0f;
}
static __attribute__((noinline, unused)) void rows_scatter(mlxn_dtype dtype, void *row, int64_t stride, uint64_t i,
                                                           uint64_t n, const float x[16]) {
    for (uint64_t j = 0; j < n; j++) simd_set(dtype, row, (int64_t)(i + j) * stride, x[j]);
}

/* Elements i to i+n of a row with any stride; `unit` says that the stride is 1. */
SIMD_INLINE v16 rows_load(mlxn_dtype dtype, bool unit, const void *row, int64_t stride, uint64_t i, uint64_t n) {
    if (unit) return v16_load_as(dtype, row, i, n);
    float t[16];
    rows_collect(dtype, row, stride, i, n, t);
    return v16_load(t);
}
SIMD_INLINE void rows_store(mlxn_dtype dtype, bool unit, void *row, int64_t stride, uint64_t i, v16 x, uint64_t n) {
    if (unit) {
        v16_store_as(dtype, row, i, x, n);
        return;
    }
    float t[16];
    v16_store(t, x);
    rows_scatter(dtype, row, stride, i, n, t);
}

/* rows_store, past the caches where `streams` is true and the elements lie right for it. */
SIMD_INLINE void rows_put(mlxn_dtype dtype, bool unit, void *row, int64_t stride, uint64_t i, v16 x, uint64_t n,
                          bool streams) {
    if (unit)
        v16_put_as(dtype, row, i, x, n, streams);
    else
        rows_store(dtype, false, row, stride, i, x, n);
}

/* Kernels that walk a row twice fetch the next row while they are at the second pass, in which memory would be idle:
 * `ahead` is that row, or one that is in the cache, and i the element in hand. */
SIMD_INLINE void rows_fetch(mlxn_dtype dtype, const void *ahead, uint64_t i) {
    __builtin_prefetch((const char *)ahead + i * (dtype == MLXN_F32 ? 4 : 2), 0, 3);
}

static inline bool rows_always(const mlxn_view *args, const void *params) { return true; }

/* --- Elementwise kernels: out = fn(a, b, s); unary ones leave b out (NULL) and get a twice. --- */

typedef v16 (*map_fn)(v16 a, v16 b, float s);

/* `streams`: o is as stream_aligned wants it. */
SIMD_INLINE void map_span(map_fn fn, float s, mlxn_dtype in, mlxn_dtype to, bool unit, bool streams, const void *a,
                          int64_t sa, const void *b, int64_t sb, void *o, int64_t so, uint64_t i, uint64_t end) {
    for (; i + 16 <= end; i += 16) {
        v16 x = rows_load(in, unit, a, sa, i, 16), y = b ? rows_load(in, unit, b, sb, i, 16) : x;
        if (streams)
            v16_stream_as(to, o, i, fn(x, y, s));
        else
            rows_store(to, unit, o, so, i, fn(x, y, s), 16);
    }
    if (i < end) {
        v16 x = rows_load(in, unit, a, sa, i, end - i), y = b ? rows_load(in, unit, b, sb, i, end - i) : x;
        rows_store(to, unit, o, so, i, fn(x, y, s), end - i);
    }
}

/* `unit` (all last strides are 1) and, where it is true, the dtypes must be constants. */
SIMD_INLINE void map_typed(cpu_run *run, map_fn fn, float s, mlxn_dtype in, mlxn_dtype to, bool unit,
                           const mlxn_view *a, const mlxn_view *b, const mlxn_view *out) {
    const mlxn_view *views[3] = {a, out, b};
    rows_shape shape = rows_of(views, b ? 3 : 2, false);
    size_t ni = rows_size(in), no = rows_size(to);
    int64_t sa = rows_stride(a), sb = b ? rows_stride(b) : 1, so = rows_stride(out);
    bool streams = unit && stream_fits(out, (const mlxn_view *const[2]){a, b}, 2);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const void *pa = shape.flat ? a->data : rows_at(a, r, ni);
            const void *pb = !b ? NULL : shape.flat ? b->data : rows_at(b, r, ni);
            void *po = shape.flat ? out->data : rows_at(out, r, no);
            if (streams && stream_aligned(to, po))
                map_span(fn, s, in, to, unit, true, pa, sa, pb, sb, po, so, p.begin, p.begin + p.n);
            else
                map_span(fn, s, in, to, unit, false, pa, sa, pb, sb, po, so, p.begin, p.begin + p.n);
        }
    }
    if (streams) stream_end();
}

/* The same dtype on all sides. */
SIMD_INLINE void map_run(cpu_run *run, map_fn fn, float s, bool binary) {
    const mlxn_view *a = &run->args[0], *b = binary ? &run->args[1] : NULL, *out = &run->args[binary ? 2 : 1];
    bool unit = rows_stride(a) == 1 && rows_stride(out) == 1 && (!b || rows_stride(b) == 1);
    if (!unit)
        map_typed(run, fn, s, out->dtype, out->dtype, false, a, b, out);
    else if (out->dtype == MLXN_F32)
        map_typed(run, fn, s, MLXN_F32, MLXN_F32, true, a, b, out);
    else if (out->dtype == MLXN_F16)
        map_typed(run, fn, s, MLXN_F16, MLXN_F16, true, a, b, out);
    else
        map_typed(run, fn, s, MLXN_BF16, MLXN_BF16, true, a, b, out);
}

static inline void map_plan(const mlxn_view *args, uint32_t n, cpu_plan *out) {
    const mlxn_view *views[3] = {&args[0], &args[1], &args[n - 1]};
    rows_shape shape = rows_of(views, n, false);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

#endif
