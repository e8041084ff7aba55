/* norm_rows.c (CPU kernels): the norms of src/ops/norm_rows.c. A row, or a group of one, is gathered into f32 scratch
 * with what is added to it first; sums are taken there, in the order of norm_row.h; then it is scaled and stored. The
 * row is read as a whole before it is written, so that out may be an input. */
#include "backend/cpu/kernels/norm_row.h"

/* An operand's piece of a row in hand; data NULL: absent. */
typedef struct nr_ptr {
    const void *data;
    int64_t stride;
    mlxn_dtype dtype;
    bool streams; /* as rows_put takes it; of results alone */
} nr_ptr;

static nr_ptr nr_at(const mlxn_view *v, uint64_t row, uint64_t first) {
    if (!v->present) return (nr_ptr){0};
    nr_ptr p = {rows_at(v, row, rows_size(v->dtype)), rows_stride(v), v->dtype, false};
    p.data = (const char *)p.data + (int64_t)first * p.stride * (int64_t)rows_size(v->dtype);
    return p;
}

SIMD_INLINE v16 nr_load(nr_ptr p, bool unit, mlxn_dtype dtype, uint64_t i, uint64_t n) {
    return rows_load(unit ? dtype : p.dtype, unit, p.data, p.stride, i, n);
}
SIMD_INLINE void nr_store(nr_ptr p, bool unit, mlxn_dtype dtype, uint64_t i, v16 v, uint64_t n) {
    rows_put(unit ? dtype : p.dtype, unit, (void *)p.data, p.stride, i, v, n, p.streams);
}

SIMD_INLINE v16 nr_silu(v16 z) { return v16_div(z, v16_add(v16_set1(1.0f), v16_exp(v16_sub(v16_zero(), z)))); }

/* One group: what becomes of n elements. Scratch rows are f32 and padded to a multiple of 16 floats. */
typedef struct nr_row {
    nr_ptr x, residual, gate_in, sum, add, scale, gate_out, out;
    const float *w, *bias, *add32; /* or NULL */
    float scalar;                  /* what everything is multiplied by in the end; 1 = nothing */
    float *t;
    uint64_t n;
    float total, squares; /* of t as it was gathered */
    float mean, inverse;
    const void *ahead; /* x's next row, fetched while this one is emitted; NULL: t */
    const void *later; /* what emit is going to read, fetched while this row is gathered; NULL: t */
} nr_row;

/* t = x [+ residual] [* silu(gate_in)]; sum = t. The sum of t into s, that of its squares into q. */
SIMD_INLINE void nr_gather_part(const nr_row *a, bool unit, mlxn_dtype dtype, uint64_t i, uint64_t k, v16 *s,
                                v16 *q) {
    v16 v = nr_load(a->x, unit, dtype, i, k);
    if (a->residual.data) v = v16_add(v, nr_load(a->residual, unit, dtype, i, k));
    if (a->gate_in.data) v = v16_mul(v, nr_silu(nr_load(a->gate_in, unit, dtype, i, k)));
    v16_store(a->t + i, v);
    if (a->sum.data) nr_store(a->sum, unit, dtype, i, v, k);
    *s = v16_add(*s, v);
    *q = v16_fma(v, v, *q);
}
SIMD_INLINE float nr_lanes(const v16 s[4]) { return v16_hsum(v16_add(v16_add(s[0], s[1]), v16_add(s[2], s[3]))); }

/* The row by value: what is stored could lie over it for all that the compiler knows. The squares are those of
 * sum_of_squares, in its order. */
SIMD_INLINE void nr_gather(const nr_row a, bool unit, mlxn_dtype dtype, float *total, float *squares) {
    v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()}, q[4] = {s[0], s[0], s[0], s[0]};
    uint64_t i = 0;
    for (; i + 64 <= a.n; i += 64) {
#pragma GCC unroll 4
        for (uint64_t k = 0; k < 4; k++) {
            rows_fetch(dtype, a.later, i + 16 * k);
            nr_gather_part(&a, unit, dtype, i + 16 * k, 16, &s[k], &q[k]);
        }
    }
    for (; i + 16 <= a.n; i += 16) nr_gather_part(&a, unit, dtype, i, 16, &s[0], &q[0]);
    if (i < a.n) nr_gather_part(&a, unit, dtype, i, a.n - i, &s[1], &q[1]);
    *total = nr_lanes(s);
    *squares = nr_lanes(q);
}

static float nr_variation(const float *t, uint64_t n, float mean) {
    v16 s[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()}, m = v16_set1(mean);
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64)
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            v16 v = v16_sub(v16_load(t + i + 16 * k), m);
            s[k] = v16_fma(v, v, s[k]);
        }
    for (; i < n; i += 16) {
        uint64_t k = simd_tail(i, n);
        v16 v = v16_range(v16_zero(), v16_sub(v16_load_as(MLXN_F32, t, i, k), m), 0, k);
        s[0] = v16_fma(v, v, s[0]);
    }
    return nr_lanes(s);
}

static void nr_measure(nr_row *a, uint32_t kind, float eps) {
    double n = (double)a->n, squares;
    a->mean = 0.0f;
    if (kind == MLXN_NORM_LAYER) {
        a->mean = (float)((double)a->total / n);
        squares = (double)nr_variation(a->t, a->n, a->mean) / n;
    } else {
        squares = (double)a->squares;
        if (kind == MLXN_NORM_RMS) squares /= n;
    }
    if (kind == MLXN_NORM_L2_MAX) {
        double length = sqrt(squares);
        a->inverse = (float)(1.0 / (length > (double)eps || length != length ? length : (double)eps));
    } else {
        a->inverse = (float)(1.0 / sqrt(squares + (double)eps));
    }
}

/* out = ((t - mean) * inverse [* w] [+ bias] [+ add] [+ add32]) [* scale] [* scalar] [* silu(gate_out)] */
SIMD_INLINE void nr_emit_part(const nr_row *a, bool unit, mlxn_dtype dtype, uint64_t i, uint64_t k) {
    v16 v = v16_mul(v16_sub(v16_load(a->t + i), v16_set1(a->mean)), v16_set1(a->inverse));
    if (a->w) v = v16_mul(v, v16_load_as(MLXN_F32, a->w, i, k));
    if (a->bias) v = v16_add(v, v16_load_as(MLXN_F32, a->bias, i, k));
    if (a->add.data) v = v16_add(v, nr_load(a->add, unit, dtype, i, k));
    if (a->add32) v = v16_add(v, v16_load(a->add32 + i));
    if (a->scale.data) v = v16_mul(v, rows_load(a->scale.dtype, unit, a->scale.data, a->scale.stride, i, k));
    if (a->gate_out.data) v = v16_mul(v, nr_silu(nr_load(a->gate_out, unit, dtype, i, k)));
    nr_store(a->out, unit, dtype, i, v16_mul(v, v16_set1(a->scalar)), k);
}
SIMD_INLINE void nr_emit(const nr_row a, bool unit, mlxn_dtype dtype) {
    uint64_t i = 0;
    for (; i + 16 <= a.n; i += 16) {
        rows_fetch(dtype, a.ahead, i);
        nr_emit_part(&a, unit, dtype, i, 16);
    }
    if (i < a.n) nr_emit_part(&a, unit, dtype, i, a.n - i);
}

/* Both with the dtype as a constant where all strides are 1. */
static void nr_gather_any(nr_row *a, bool unit) {
    if (!a->later) a->later = a->t;
    if (!unit)
        nr_gather(*a, false, a->x.dtype, &a->total, &a->squares);
    else if (a->x.dtype == MLXN_F32)
        nr_gather(*a, true, MLXN_F32, &a->total, &a->squares);
    else if (a->x.dtype == MLXN_F16)
        nr_gather(*a, true, MLXN_F16, &a->total, &a->squares);
    else
        nr_gather(*a, true, MLXN_BF16, &a->total, &a->squares);
}
static void nr_emit_any(const nr_row *row, bool unit) {
    nr_row a = *row;
    if (!a.ahead) a.ahead = a.t;
    if (!unit)
        nr_emit(a, false, a.out.dtype);
    else if (a.out.dtype == MLXN_F32)
        nr_emit(a, true, MLXN_F32);
    else if (a.out.dtype == MLXN_F16)
        nr_emit(a, true, MLXN_F16);
    else
        nr_emit(a, true, MLXN_BF16);
}

static uint64_t nr_pad(uint64_t n) { return (n + 15) & ~(uint64_t)15; }

/* A vector as f32 with stride 1: itself, or a copy in scratch. */
static const float *nr_vector(const mlxn_view *v, uint64_t row, float offset, float *scratch) {
    if (!v->present) return NULL;
    nr_ptr p = nr_at(v, row, 0);
    uint64_t n = rows_cols(v);
    if (p.dtype == MLXN_F32 && p.stride == 1 && offset == 0.0f) return p.data;
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t k = simd_tail(i, n);
        v16 x = rows_load(p.dtype, p.stride == 1, p.data, p.stride, i, k);
        v16_store(scratch + i, v16_add(x, v16_set1(offset)));
    }
    return scratch;
}

static float nr_first(const mlxn_view *v) { return simd_get(v->dtype, v->data, 0); }

static bool nr_unit(const mlxn_view *args, uint32_t n) {
    bool unit = true;
    for (uint32_t i = 0; i < n; i++) unit = unit && (!args[i].present || rows_stride(&args[i]) == 1);
    return unit;
}

static void nr_plan(const mlxn_view *x, uint64_t scratch_rows, cpu_plan *out) {
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1,
                      .chunks = {rows_chunks(&shape)},
                      .local_bytes = scratch_rows * nr_pad(rows_cols(x)) * sizeof(float)};
}

/* --- row_norm and ssm_norm_gate --- */

static void plan_row_norm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    nr_plan(&args[0], 3, out);
}

/* As row_norm's arguments; z for ssm_norm_gate. */
typedef struct nr_call {
    const mlxn_view *x, *residual, *w, *bias, *add, *scale, *sum, *z, *out;
    uint32_t kind, groups;
    float eps, offset;
    bool gate_first;
} nr_call;

static void nr_rows(cpu_run *run, const nr_call *c, bool unit) {
    const mlxn_view absent = {0}, *x = c->x, *scale = c->scale ? c->scale : &absent;
    const mlxn_view *gate_in = c->gate_first ? c->z : &absent, *gate_out = c->z && !c->gate_first ? c->z : &absent;
    const mlxn_view *residual = c->residual ? c->residual : &absent, *sum = c->sum ? c->sum : &absent;
    const mlxn_view *add = c->add ? c->add : &absent;
    rows_shape shape = rows_of(&x, 1, true);
    uint64_t d = rows_cols(x), n = d / (c->groups ? c->groups : 1), pad = nr_pad(d), chunk;
    float *t = run->local;
    bool one = scale->present && scale->rank == 1 && scale->dims[0] == 1, ready = false;
    const float *w = NULL, *bias = NULL;
    nr_row a = {.n = n, .t = t, .scalar = one ? nr_first(scale) : 1.0f};
    bool streams = stream_fits(c->out, (const mlxn_view *const[4]){x, residual, add, c->z}, 4);
    while (cpu_next(run, &chunk)) {
        if (!ready) {
            w = nr_vector(c->w, 0, c->offset, t + pad);
            bias = c->bias ? nr_vector(c->bias, 0, 0.0f, t + 2 * pad) : NULL;
            ready = true;
        }
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++)
            for (uint64_t first = 0; first < d; first += n) {
                a.x = nr_at(x, r, first);
                a.residual = nr_at(residual, r, first);
                a.gate_in = nr_at(gate_in, r, first);
                a.sum = nr_at(sum, r, first);
                a.add = nr_at(add, r, first);
                a.scale = one ? (nr_ptr){0} : nr_at(scale, scale->rank > 1 ? r : 0, first);
                a.gate_out = nr_at(gate_out, r, first);
                a.out = nr_at(c->out, r, first);
                a.out.streams = streams;
                a.sum.streams = streams;
                a.later = unit && a.gate_out.data ? a.gate_out.data : unit && a.add.data ? a.add.data : t;
                a.ahead = unit && r + 1 < p.row_end ? nr_at(x, r + 1, first).data : a.x.data;
                a.w = w ? w + first : NULL;
                a.bias = bias ? bias + first : NULL;
                nr_gather_any(&a, unit);
                nr_measure(&a, c->kind, c->eps);
                nr_emit_any(&a, unit);
            }
    }
    if (streams) stream_end();
}

static void run_row_norm(cpu_run *run) {
    const mlxn_view *a = run->args;
    const mlxn_row_norm_params *p = run->params;
    nr_call c = {.x = &a[0],
                 .residual = &a[1],
                 .w = &a[2],
                 .bias = &a[3],
                 .add = &a[4],
                 .scale = &a[5],
                 .sum = &a[6],
                 .out = &a[7],
                 .kind = p->kind,
                 .groups = p->groups,
                 .eps = p->eps,
                 .offset = p->weight_offset};
    bool unit = nr_unit(&a[0], 2) && nr_unit(&a[4], 4);
    nr_rows(run, &c, unit);
}

static void run_norm_gate(cpu_run *run) {
    const mlxn_view *a = run->args;
    const mlxn_norm_gate_params *p = run->params;
    nr_call c = {.x = &a[0],
                 .w = &a[1],
                 .z = &a[2],
                 .out = &a[3],
                 .groups = p->groups,
                 .eps = p->eps,
                 .gate_first = p->gate_first};
    nr_rows(run, &c, nr_unit(&a[0], 1) && nr_unit(&a[2], 2));
}

/* --- norm_multi --- */

static void plan_norm_multi(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    nr_plan(&args[0], 3, out);
}

static void run_norm_multi(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *post = &run->args[1], *residual = &run->args[2], *w = &run->args[3];
    const mlxn_view *sum = &run->args[4], *out = &run->args[5];
    float eps = ((const mlxn_norm_multi_params *)run->params)->eps;
    rows_shape shape = rows_of(&x, 1, true);
    uint64_t d = rows_cols(x), pad = nr_pad(d), rows = rows_count(x), chunk;
    bool unit = nr_unit(run->args, 1) && nr_unit(&run->args[2], 1) && nr_unit(&run->args[4], 2);
    float *t = run->local;
    const mlxn_view row_of_w = {.present = true,
                                .dtype = w->dtype,
                                .rank = 2,
                                .dims = {w->dims[0], d},
                                .strides = {w->strides[0], w->strides[1]},
                                .data = w->data};
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            nr_row a = {.n = d, .t = t, .scalar = 1.0f, .x = nr_at(x, r, 0)};
            nr_gather_any(&a, unit);
            if (post->present) { /* t = residual + norm(t): the residual goes to scratch first */
                nr_row b = {.n = d, .t = t + pad, .x = nr_at(residual, r, 0)};
                nr_gather_any(&b, unit);
                nr_measure(&a, MLXN_NORM_RMS, eps);
                a.w = nr_vector(post, 0, 0.0f, t + 2 * pad);
                a.add32 = t + pad;
                a.out = (nr_ptr){t, 1, MLXN_F32, false};
                nr_emit_any(&a, true);
                a.add32 = NULL;
                a.squares = sum_of_squares(MLXN_F32, true, t, 1, d);
            }
            if (sum->present) {
                nr_row s = {.n = d, .x = {t, 1, MLXN_F32, false}, .t = t, .scalar = 1.0f, .inverse = 1.0f};
                s.out = nr_at(sum, r, 0);
                nr_emit_any(&s, unit);
            }
            nr_measure(&a, MLXN_NORM_RMS, eps);
            for (uint64_t j = 0; j < out->dims[0]; j++) {
                a.w = nr_vector(&row_of_w, j, 0.0f, t + pad);
                a.out = nr_at(out, j * rows + r, 0);
                nr_emit_any(&a, unit);
            }
        }
    }
}

/* --- moe_sum_norm --- */

static void plan_moe_sum_norm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    nr_plan(&args[5], 4, out);
}

SIMD_INLINE void nr_add_expert(float *t, nr_ptr e, bool unit, mlxn_dtype dtype, float w, bool first, uint64_t n) {
    for (uint64_t i = 0; i < n; i += 16) {
        v16 v = v16_mul(nr_load(e, unit, dtype, i, simd_tail(i, n)), v16_set1(w));
        v16_store(t + i, first ? v : v16_add(v16_load(t + i), v));
    }
}

static void run_moe_sum_norm(cpu_run *run) {
    const mlxn_view *e = &run->args[0], *weights = &run->args[1], *w = &run->args[2], *base = &run->args[3];
    const mlxn_view *base_w = &run->args[4], *out = &run->args[5];
    const mlxn_moe_sum_norm_params *params = run->params;
    rows_shape shape = rows_of(&out, 1, true);
    uint64_t d = rows_cols(out), pad = nr_pad(d), chunk;
    bool unit = nr_unit(run->args, 1) && nr_unit(base, 1) && nr_unit(out, 1);
    float *t = run->local;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            for (uint64_t j = 0; j < e->dims[1]; j++) {
                nr_ptr x = nr_at(e, r * e->dims[1] + j, 0);
                float factor = *((const float *)weights->data + (int64_t)r * weights->strides[0] +
                                 (int64_t)j * rows_stride(weights));
                if (unit && x.dtype == MLXN_F32)
                    nr_add_expert(t, x, true, MLXN_F32, factor, !j, d);
                else
                    nr_add_expert(t, x, unit, x.dtype, factor, !j, d);
            }
            nr_row b = {.n = d, .t = t + pad, .x = nr_at(base, r, 0), .scalar = 1.0f};
            nr_gather_any(&b, unit);
            if (params->norm_base) {
                nr_measure(&b, MLXN_NORM_RMS, params->eps);
                b.w = nr_vector(base_w, 0, 0.0f, t + 2 * pad);
                b.out = (nr_ptr){b.t, 1, MLXN_F32, false};
                nr_emit_any(&b, true);
            }
            nr_row a = {.n = d, .t = t, .scalar = 1.0f, .add32 = b.t, .out = nr_at(out, r, 0)};
            a.squares = sum_of_squares(MLXN_F32, true, t, 1, d);
            a.w = nr_vector(w, 0, 0.0f, t + 3 * pad);
            nr_measure(&a, MLXN_NORM_RMS, params->eps);
            nr_emit_any(&a, unit);
        }
    }
}

/* --- group_norm: a chunk is one group of one batch entry; its channels are rows, read and measured one by one --- */

static uint64_t gn_each(const mlxn_view *x, const mlxn_group_norm_params *p) {
    return (x->dims[1] + p->groups - 1) / p->groups;
}

/* A channel's own mean, and the sums of the differences from it and of their squares. */
typedef struct gn_sums {
    double mean, off, squares;
} gn_sums;

static void plan_group_norm(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_group_norm_params *p = params;
    *out =
        (cpu_plan){.phases = 1,
                   .chunks = {args[0].dims[0] * p->groups},
                   .local_bytes = gn_each(&args[0], p) * (nr_pad(args[0].dims[2]) * sizeof(float) + sizeof(gn_sums))};
}

static float gn_value(const mlxn_view *v, uint64_t c, float otherwise) {
    return v->present ? simd_get(v->dtype, v->data, (int64_t)c * rows_stride(v)) : otherwise;
}

/* Taken while the channel is in the first-level cache; `ahead` of a dtype, for rows_fetch. */
SIMD_INLINE gn_sums gn_measure(const float *t, uint64_t n, float mean, mlxn_dtype dtype, const void *ahead) {
    v16 o[4] = {v16_zero(), v16_zero(), v16_zero(), v16_zero()}, s[4] = {o[0], o[0], o[0], o[0]};
    const v16 m = v16_set1(mean);
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64)
#pragma GCC unroll 4
        for (uint64_t k = 0; k < 4; k++) {
            rows_fetch(dtype, ahead, i + 16 * k);
            v16 v = v16_sub(v16_load(t + i + 16 * k), m);
            o[k] = v16_add(o[k], v);
            s[k] = v16_fma(v, v, s[k]);
        }
    for (; i < n; i += 16) {
        uint64_t k = simd_tail(i, n);
        v16 v = v16_range(v16_zero(), v16_sub(v16_load_as(MLXN_F32, t, i, k), m), 0, k);
        o[0] = v16_add(o[0], v);
        s[0] = v16_fma(v, v, s[0]);
    }
    return (gn_sums){(double)mean, (double)nr_lanes(o), (double)nr_lanes(s)};
}
static gn_sums gn_measure_any(const nr_row *a, bool unit, const void *next) {
    const float mean = (float)((double)a->total / (double)a->n);
    if (!unit || !next) return gn_measure(a->t, a->n, mean, MLXN_F32, a->t);
    return gn_measure(a->t, a->n, mean, a->x.dtype, next);
}

typedef struct gn_row {
    float mean, inverse, scale, shift;
} gn_row;

/* (t - mean) * inverse * scale + shift */
SIMD_INLINE void gn_emit(nr_ptr o, bool unit, mlxn_dtype dtype, const float *t, uint64_t n, gn_row g) {
    v16 mean = v16_set1(g.mean), inverse = v16_set1(g.inverse), scale = v16_set1(g.scale), shift = v16_set1(g.shift);
    for (uint64_t i = 0; i < n; i += 16) {
        v16 v = v16_mul(v16_mul(v16_sub(v16_load(t + i), mean), inverse), scale);
        nr_store(o, unit, dtype, i, v16_add(v, shift), simd_tail(i, n));
    }
}

static void run_group_norm(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *w = &run->args[1], *bias = &run->args[2], *out = &run->args[3];
    const mlxn_group_norm_params *p = run->params;
    uint64_t channels = x->dims[1], len = x->dims[2], each = gn_each(x, p), pad = nr_pad(len), chunk;
    bool unit = rows_stride(x) == 1 && rows_stride(out) == 1, streams = stream_fits(out, &x, 1);
    float *t = run->local;
    gn_sums *sums = (gn_sums *)(void *)(t + pad * each);
    while (cpu_next(run, &chunk)) {
        uint64_t b = chunk / p->groups, first = chunk % p->groups * each;
        uint64_t rows = mlxn_min_u64(each, channels - first);
        nr_row a = {.n = len, .scalar = 1.0f};
        double sum = 0, squares = 0, n = (double)(rows * len);
        for (uint64_t c = 0; c < rows; c++) {
            a.t = t + c * pad;
            a.x = nr_at(x, b * channels + first + c, 0);
            nr_gather_any(&a, unit);
            sums[c] = gn_measure_any(&a, unit, c + 1 < rows ? nr_at(x, b * channels + first + c + 1, 0).data : NULL);
            sum += (double)a.total;
        }
        float mean = (float)(sum / n);
        for (uint64_t c = 0; c < rows; c++) { /* from the channel's mean to the group's */
            const double gap = sums[c].mean - (double)mean;
            squares += sums[c].squares + gap * (2 * sums[c].off + gap * (double)len);
        }
        double inverse = 1.0 / sqrt(squares / n + (double)p->eps);
        for (uint64_t c = 0; c < rows; c++) {
            nr_ptr o = nr_at(out, b * channels + first + c, 0);
            const gn_row g = {mean, (float)inverse, gn_value(w, first + c, 1.0f), gn_value(bias, first + c, 0.0f)};
            o.streams = streams;
            if (o.stride != 1)
                gn_emit(o, false, o.dtype, t + c * pad, len, g);
            else if (o.dtype == MLXN_F32)
                gn_emit(o, true, MLXN_F32, t + c * pad, len, g);
            else if (o.dtype == MLXN_F16)
                gn_emit(o, true, MLXN_F16, t + c * pad, len, g);
            else
                gn_emit(o, true, MLXN_BF16, t + c * pad, len, g);
        }
    }
    if (streams) stream_end();
}

extern const cpu_kernel CPU_ISA(cpu_kernels_norm_rows)[];
const cpu_kernel CPU_ISA(cpu_kernels_norm_rows)[] = {
    {MLXN_OP_row_norm, "row_norm_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_row_norm, run_row_norm},
    {MLXN_OP_norm_multi, "norm_multi_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_norm_multi,
     run_norm_multi},
    {MLXN_OP_moe_sum_norm, "moe_sum_norm_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_moe_sum_norm,
     run_moe_sum_norm},
    {MLXN_OP_ssm_norm_gate, "ssm_norm_gate_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_row_norm,
     run_norm_gate},
    {MLXN_OP_group_norm, "group_norm_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_group_norm,
     run_group_norm},
    {0},
};
