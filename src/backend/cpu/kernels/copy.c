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

/* --- Transposing copies: the last axis of out is not the one along which x is dense. A block of out, TURN_ROWS rows
 * of TURN_BYTES, is gathered in the first-level cache by tiles that are turned in registers, and goes from there to
 * memory row by row: single lines to many rows would each open a page of the memory anew. --- */

enum { TURN = 16, TURN_ROWS = 64, TURN_BYTES = 256, TURN_NONE = UINT32_MAX };

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

/* Whole tiles into a block: block[i * TURN_BYTES] = sixteen words src[j * ss + i] of consecutive j, or 32 halves. Two
 * rows of halves are taken as one of words: the turned words are pairs of them in their order. Functions of their own
 * keep the registers. */
static __attribute__((noinline)) void turn_words(char *block, const uint32_t *src, int64_t ss) {
    v16 t[TURN];
#pragma GCC unroll 16
    for (int64_t j = 0; j < TURN; j++) t[j] = v16_load((const float *)(const void *)(src + j * ss));
    v16_transpose(t);
#pragma GCC unroll 16
    for (int64_t i = 0; i < TURN; i++) v16_store((float *)(void *)(block + i * TURN_BYTES), t[i]);
}
SIMD_INLINE v16 turn_pairs(const uint16_t *a, const uint16_t *b) {
    uint32_t t[TURN];
    float bits[TURN];
    for (int i = 0; i < TURN; i++) t[i] = a[i] | (uint32_t)b[i] << 16;
    memcpy(bits, t, sizeof bits);
    return v16_load(bits);
}
static __attribute__((noinline)) void turn_halves(char *block, const uint16_t *src, int64_t ss) {
    v16 t[TURN];
#pragma GCC unroll 16
    for (int64_t j = 0; j < TURN; j++) t[j] = turn_pairs(src + 2 * j * ss, src + (2 * j + 1) * ss);
    v16_transpose(t);
#pragma GCC unroll 16
    for (int64_t i = 0; i < TURN; i++) v16_store((float *)(void *)(block + i * TURN_BYTES), t[i]);
}

/* The same for i < rows, j < cols, where they make no whole tile. */
static void turn_rest(size_t size, char *block, const char *src, int64_t ss, uint64_t rows, uint64_t cols) {
    for (int64_t i = 0; i < (int64_t)rows; i++)
        for (int64_t j = 0; j < (int64_t)cols; j++)
            memcpy(block + i * TURN_BYTES + j * (int64_t)size, src + (j * ss + i) * (int64_t)size, size);
}

/* The rows of x for a tile: `cols` rows from src on, of which `rows` elements are wanted. The ones after them are
 * fetched meanwhile: a column of tiles is too short for the hardware to see a stream. */
static void turn_tiles(size_t size, char *block, const char *src, int64_t ss, uint64_t rows, uint64_t cols,
                       uint64_t after) {
    const int64_t row_bytes = ss * (int64_t)size;
    const char *next = src + (int64_t)cols * row_bytes;
    for (uint64_t j = 0; j < after; j++)
        for (uint64_t at = 0; at < rows * size; at += 64)
            __builtin_prefetch(next + (int64_t)j * row_bytes + at, 0, 2);
    for (uint64_t i = 0; i < rows; i += TURN) {
        char *to = block + i * TURN_BYTES;
        const char *from = src + i * size;
        if (i + TURN > rows || cols * size != 64)
            turn_rest(size, to, from, ss, mlxn_min_u64(TURN, rows - i), cols);
        else if (size == 4)
            turn_words(to, (const uint32_t *)(const void *)from, ss);
        else
            turn_halves(to, (const uint16_t *)(const void *)from, ss);
    }
}

static void run_turn(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    uint32_t axis = turn_axis(x), last = x->rank - 1;
    size_t size = mlxn_dtype_size(x->dtype);
    uint64_t a = x->dims[axis], b = x->dims[last], blocks = (a + TURN_ROWS - 1) / TURN_ROWS, chunk;
    const bool streams = stream_fits(out, &x, 1);
    char block[TURN_ROWS * TURN_BYTES] __attribute__((aligned(64)));
    while (cpu_next(run, &chunk)) {
        uint64_t rest = chunk / blocks, begin = chunk % blocks * TURN_ROWS, rows = mlxn_min_u64(TURN_ROWS, a - begin);
        int64_t from = 0, to = 0;
        for (uint32_t d = last; d-- > 0;) {
            if (d == axis) continue;
            from += (int64_t)(rest % x->dims[d]) * x->strides[d];
            to += (int64_t)(rest % x->dims[d]) * out->strides[d];
            rest /= x->dims[d];
        }
        const int64_t sx = x->strides[last], so = out->strides[axis], bytes = (int64_t)size;
        const uint64_t tile = 64 / size, wide = TURN_BYTES / size;
        const char *src = (const char *)x->data + (from + (int64_t)begin) * bytes;
        for (uint64_t j = 0; j < b; j += wide) {
            const uint64_t end = mlxn_min_u64(j + wide, b);
            for (uint64_t k = j; k < end; k += tile) {
                const uint64_t cols = mlxn_min_u64(tile, end - k), after = mlxn_min_u64(tile, b - k - cols);
                turn_tiles(size, block + (k - j) * size, src + (int64_t)k * sx * bytes, sx, rows, cols, after);
            }
            for (uint64_t i = 0; i < rows; i++) {
                char *dst = (char *)out->data + (to + (int64_t)(begin + i) * so + (int64_t)j) * bytes;
                stream_copy(dst, block + i * TURN_BYTES, (end - j) * size, streams && stream_aligned(MLXN_F32, dst));
            }
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
