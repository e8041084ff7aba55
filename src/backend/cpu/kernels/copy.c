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

static void run_copy(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1], *views[2] = {x, out};
    rows_shape shape = rows_of(views, 2, false);
    size_t size = mlxn_dtype_size(x->dtype);
    int64_t ss = shape.flat ? 1 : rows_stride(x), ds = shape.flat ? 1 : rows_stride(out);
    bool streams = stream_fits(out, &x, 1);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            const char *src = shape.flat ? x->data : rows_at(x, r, size);
            char *dst = shape.flat ? out->data : rows_at(out, r, size);
            int64_t step = (int64_t)p.begin * (int64_t)size;
            copy_elements(size, dst + step * ds, ds, src + step * ss, ss, p.n, streams);
        }
    }
    if (streams) stream_end();
}

/* --- Transposing copies: the last axis of out is not the one along which x is dense. Tiles of 16 by 16 elements are
 * read along one axis and written along the other. --- */

enum { TURN = 16, TURN_ROWS = 64, TURN_NONE = UINT32_MAX };

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

/* dst[i * ds + j] = src[j * ss + i] for i < rows, j < cols. */
static void turn_tile(size_t size, char *dst, int64_t ds, const char *src, int64_t ss, uint64_t rows, uint64_t cols) {
    if (size == 4 && rows == TURN && cols == TURN) {
        v16 t[TURN];
        for (int64_t j = 0; j < TURN; j++) t[j] = v16_load((const float *)src + j * ss);
        v16_transpose(t);
        for (int64_t i = 0; i < TURN; i++) v16_store((float *)dst + i * ds, t[i]);
    } else if (size == 4) {
        for (int64_t i = 0; i < (int64_t)rows; i++)
            for (int64_t j = 0; j < (int64_t)cols; j++)
                ((uint32_t *)dst)[i * ds + j] = ((const uint32_t *)src)[j * ss + i];
    } else {
        for (int64_t i = 0; i < (int64_t)rows; i++)
            for (int64_t j = 0; j < (int64_t)cols; j++)
                ((uint16_t *)dst)[i * ds + j] = ((const uint16_t *)src)[j * ss + i];
    }
}

static void run_turn(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    uint32_t axis = turn_axis(x), last = x->rank - 1;
    size_t size = mlxn_dtype_size(x->dtype);
    uint64_t a = x->dims[axis], b = x->dims[last], blocks = (a + TURN_ROWS - 1) / TURN_ROWS, chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t rest = chunk / blocks, begin = chunk % blocks * TURN_ROWS, end = mlxn_min_u64(begin + TURN_ROWS, a);
        int64_t from = 0, to = 0;
        for (uint32_t d = last; d-- > 0;) {
            if (d == axis) continue;
            from += (int64_t)(rest % x->dims[d]) * x->strides[d];
            to += (int64_t)(rest % x->dims[d]) * out->strides[d];
            rest /= x->dims[d];
        }
        for (uint64_t j = 0; j < b; j += TURN)
            for (uint64_t i = begin; i < end; i += TURN) {
                int64_t src = from + (int64_t)j * x->strides[last] + (int64_t)i;
                int64_t dst = to + (int64_t)i * out->strides[axis] + (int64_t)j;
                turn_tile(size, (char *)out->data + dst * (int64_t)size, out->strides[axis],
                          (const char *)x->data + src * (int64_t)size, x->strides[last], mlxn_min_u64(TURN, end - i),
                          mlxn_min_u64(TURN, b - j));
            }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_copy)[];
const cpu_kernel CPU_ISA(cpu_kernels_copy)[] = {
    {MLXN_OP_cast, "cast_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_cast},
    {MLXN_OP_copy, "copy_transpose_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, turn_fits, plan_turn, run_turn},
    {MLXN_OP_copy, "copy_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_copy},
    {0},
};
