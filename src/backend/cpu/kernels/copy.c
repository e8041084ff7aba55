/* copy.c (CPU kernels): cast (f32, f16, bf16 in any pairing, round to nearest even) and copy (any dtype and strides,
 * bit for bit). */
#include "backend/cpu/kernels/rows.h"

static void plan_unary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    map_plan(args, 2, out);
}

SIMD_INLINE v16 fn_same(v16 x, v16 unused, float s) { return x; }

SIMD_INLINE void cast_from(cpu_run *run, mlxn_dtype in) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    if (out->dtype == MLXN_F32)
        map_typed(run, fn_same, 0.0f, in, MLXN_F32, true, x, NULL, out);
    else if (out->dtype == MLXN_F16)
        map_typed(run, fn_same, 0.0f, in, MLXN_F16, true, x, NULL, out);
    else
        map_typed(run, fn_same, 0.0f, in, MLXN_BF16, true, x, NULL, out);
}
static void run_cast(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    mlxn_dtype in = x->dtype;
    bool unit = rows_stride(x) == 1 && rows_stride(out) == 1;
    if (!unit)
        map_typed(run, fn_same, 0.0f, in, out->dtype, false, x, NULL, out);
    else if (in == MLXN_F32)
        cast_from(run, MLXN_F32);
    else if (in == MLXN_F16)
        cast_from(run, MLXN_F16);
    else
        cast_from(run, MLXN_BF16);
}

static void copy_elements(size_t size, char *dst, int64_t ds, const char *src, int64_t ss, uint64_t n, bool streams) {
    if (ds == 1 && ss == 1)
        stream_copy(dst, src, n * size, streams && stream_aligned(MLXN_F32, dst));
    else if (size == 4)
        for (uint64_t i = 0; i < n; i++)
            ((uint32_t *)dst)[(int64_t)i * ds] = ((const uint32_t *)src)[(int64_t)i * ss];
    else if (size == 2)
        for (uint64_t i = 0; i < n; i++)
            ((uint16_t *)dst)[(int64_t)i * ds] = ((const uint16_t *)src)[(int64_t)i * ss];
    else
        for (uint64_t i = 0; i < n; i++) dst[(int64_t)i * ds] = src[(int64_t)i * ss];
}

/* Short rows with gaps between them are no stream that the hardware sees: their first bytes are fetched ahead. */
enum { COPY_AHEAD = 4, COPY_FETCH = 512 };

static void run_copy(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1], *views[2] = {x, out};
    rows_shape shape = rows_of(views, 2, false);
    size_t size = mlxn_dtype_size(x->dtype);
    int64_t ss = shape.flat ? 1 : rows_stride(x), ds = shape.flat ? 1 : rows_stride(out);
    bool streams = stream_fits(out, &x, 1);
    const uint64_t fetched = mlxn_min_u64(shape.cols * size, COPY_FETCH);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const char *src = shape.flat ? x->data : rows_at(x, r, size);
            char *dst = shape.flat ? out->data : rows_at(out, r, size);
            int64_t step = (int64_t)p.begin * (int64_t)size;
            if (ss == 1 && r + COPY_AHEAD < p.row_end) {
                const char *next = rows_at(x, r + COPY_AHEAD, size);
                for (uint64_t i = 0; i < fetched; i += 64) __builtin_prefetch(next + i);
            }
            copy_elements(size, dst + step * ds, ds, src + step * ss, ss, p.n, streams);
        }
    }
    if (streams) stream_end();
}

/* --- Transposing copies: the last axis of out is not the one along which x is dense. Tiles of 16 by 16 elements are
 * read along one axis and written along the other. --- */

enum { TURN = 16, TURN_ROWS = 128, TURN_NONE = UINT32_MAX };

/* The axis along which x is dense; the last one is not. */
static uint32_t turn_axis(const mlxn_view *x) {
    for (uint32_t d = 0; d + 1 < x->rank; d++)
        if (x->strides[d] == 1 && x->dims[d] >= TURN) return d;
    return TURN_NONE;
}

static bool turn_fits(const mlxn_view *args, const void *params) {
    const mlxn_view *x = &args[0], *out = &args[1];
    uint32_t last = x->rank - 1;
    return x->rank > 1 && mlxn_dtype_size(x->dtype) != 1 && x->dims[last] >= TURN && x->strides[last] != 1 &&
           out->strides[last] == 1 && turn_axis(x) != TURN_NONE;
}

static void plan_turn(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    uint64_t a = x->dims[turn_axis(x)], rest = rows_count(x) / a;
    *out = (cpu_plan){.phases = 1, .chunks = {rest * ((a + TURN_ROWS - 1) / TURN_ROWS)}};
}

/* Sixteen 16-bit elements in the lanes of sixteen 32-bit ones, and back. */
SIMD_INLINE v16 turn_widen(const uint16_t *p) {
    uint32_t t[TURN];
    float bits[TURN];
    for (int i = 0; i < TURN; i++) t[i] = p[i];
    memcpy(bits, t, sizeof bits);
    return v16_load(bits);
}
SIMD_INLINE void turn_narrow(uint16_t *p, v16 x, bool streams) {
    uint32_t t[TURN];
    float bits[TURN];
    uint16_t halves[TURN] __attribute__((aligned(32)));
    v16_store(bits, x);
    memcpy(t, bits, sizeof t);
    for (int i = 0; i < TURN; i++) halves[i] = (uint16_t)t[i];
    stream_copy(p, halves, sizeof halves, streams);
}

/* Whole tiles, dst[i * ds + j] = src[j * ss + i]: sixteen columns of f32; of 16-bit elements twice as many, since
 * streaming stores want both halves of a line one after the other. Functions of their own keep the registers. */
static __attribute__((noinline)) void turn_words(uint32_t *dst, int64_t ds, const uint32_t *src, int64_t ss,
                                                 bool streams) {
    v16 t[TURN];
#pragma GCC unroll 16
    for (int64_t j = 0; j < TURN; j++) t[j] = v16_load((const float *)(const void *)(src + j * ss));
    v16_transpose(t);
    const bool past = streams && stream_aligned(MLXN_F32, dst) && ds % TURN == 0;
#pragma GCC unroll 16
    for (int64_t i = 0; i < TURN; i++)
        if (past)
            v16_stream_as(MLXN_F32, dst + i * ds, 0, t[i]);
        else
            v16_store((float *)(void *)(dst + i * ds), t[i]);
}
static __attribute__((noinline)) void turn_halves(uint16_t *dst, int64_t ds, const uint16_t *src, int64_t ss,
                                                  bool streams) {
    v16 t[TURN], u[TURN];
    for (int64_t j = 0; j < TURN; j++) t[j] = turn_widen(src + j * ss);
    v16_transpose(t);
    for (int64_t j = 0; j < TURN; j++) u[j] = turn_widen(src + (TURN + j) * ss);
    v16_transpose(u);
    const bool past = streams && stream_aligned(MLXN_F32, dst) && ds % (2 * TURN) == 0;
    for (int64_t i = 0; i < TURN; i++) {
        turn_narrow(dst + i * ds, t[i], past);
        turn_narrow(dst + i * ds + TURN, u[i], past);
    }
}

/* The same for i < rows, j < cols. */
static void turn_tile(size_t size, char *dst, int64_t ds, const char *src, int64_t ss, uint64_t rows, uint64_t cols,
                      bool streams) {
    if (size == 4 && rows == TURN && cols == TURN)
        turn_words((uint32_t *)dst, ds, (const uint32_t *)src, ss, streams);
    else if (size == 2 && rows == TURN && cols == 2 * TURN)
        turn_halves((uint16_t *)dst, ds, (const uint16_t *)src, ss, streams);
    else if (size == 4)
        for (int64_t i = 0; i < (int64_t)rows; i++)
            for (int64_t j = 0; j < (int64_t)cols; j++)
                ((uint32_t *)dst)[i * ds + j] = ((const uint32_t *)src)[j * ss + i];
    else
        for (int64_t i = 0; i < (int64_t)rows; i++)
            for (int64_t j = 0; j < (int64_t)cols; j++)
                ((uint16_t *)dst)[i * ds + j] = ((const uint16_t *)src)[j * ss + i];
}

/* The rows that come after these, of one line each: a column of tiles is too short for the hardware to see a stream.
 */
static void turn_fetch(const char *src, int64_t row_bytes, uint64_t rows) {
    for (uint64_t j = 0; j < rows; j++) __builtin_prefetch(src + (int64_t)j * row_bytes);
}

static void run_turn(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    uint32_t axis = turn_axis(x), last = x->rank - 1;
    size_t size = mlxn_dtype_size(x->dtype);
    uint64_t a = x->dims[axis], b = x->dims[last], blocks = (a + TURN_ROWS - 1) / TURN_ROWS, chunk;
    const bool streams = stream_fits(out, &x, 1);
    while (cpu_next(run, &chunk)) {
        uint64_t rest = chunk / blocks, begin = chunk % blocks * TURN_ROWS, end = mlxn_min_u64(begin + TURN_ROWS, a);
        int64_t from = 0, to = 0;
        for (uint32_t d = last; d-- > 0;) {
            if (d == axis) continue;
            from += (int64_t)(rest % x->dims[d]) * x->strides[d];
            to += (int64_t)(rest % x->dims[d]) * out->strides[d];
            rest /= x->dims[d];
        }
        const int64_t sx = x->strides[last], so = out->strides[axis], bytes = (int64_t)size;
        const uint64_t wide = size == 4 ? TURN : 2 * TURN; /* a row of a tile of out is a line */
        for (uint64_t j = 0; j < b; j += wide)
            for (uint64_t i = begin; i < end; i += TURN) {
                const char *src = (const char *)x->data + (from + (int64_t)j * sx + (int64_t)i) * bytes;
                char *dst = (char *)out->data + (to + (int64_t)i * so + (int64_t)j) * bytes;
                const uint64_t next = j + wide;
                if (next < b) turn_fetch(src + (int64_t)wide * sx * bytes, sx * bytes, mlxn_min_u64(wide, b - next));
                turn_tile(size, dst, so, src, sx, mlxn_min_u64(TURN, end - i), mlxn_min_u64(wide, b - j), streams);
            }
    }
    if (streams) stream_end();
}

extern const cpu_kernel CPU_ISA(cpu_kernels_copy)[];
const cpu_kernel CPU_ISA(cpu_kernels_copy)[] = {
    {MLXN_OP_cast, "cast_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_cast},
    {MLXN_OP_copy, "copy_transpose_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, turn_fits, plan_turn, run_turn},
    {MLXN_OP_copy, "copy_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_copy},
    {0},
};
