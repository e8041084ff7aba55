/* rope.c (CPU kernels): rotary position embedding, also of normed heads. Angles and their reduction to a quarter turn
 * are in double, so that positions of a million lose nothing; the rotation is in f32. Sines and cosines are computed
 * once per token and used for all its heads. A head is normed into f32 scratch and turned from there: the bits of
 * rms_norm and rope in turn. */
#include "backend/cpu/kernels/norm_row.h"

typedef struct rope_plan {
    uint64_t pairs, group; /* group: tokens per chunk */
    bool half;
    double *freq;     /* radians per position */
    float *cos, *sin; /* of the token in hand; interleaved pairing: an entry per element, the even sines negated */
    float *head;      /* norm_rope: the head in hand, normed */
} rope_plan;

static rope_plan rope_layout(const mlxn_view *args, const mlxn_rope_params *p, void *local) {
    const mlxn_view *x = &args[0];
    uint64_t dims = p->rope_dims ? p->rope_dims : x->dims[2], row = x->dims[1] * x->dims[2];
    rope_plan r = {.pairs = dims / 2, .group = row < ROWS_PIECE ? ROWS_PIECE / row : 1};
    r.half = p->pairing == MLXN_ROPE_HALF;
    if (local) {
        r.freq = local;
        r.cos = (float *)(r.freq + r.pairs);
        r.sin = r.cos + 2 * r.pairs;
        r.head = r.sin + 2 * r.pairs;
    }
    return r;
}

static void plan_rope(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rope_plan r = rope_layout(args, params, NULL);
    *out = (cpu_plan){.phases = 1,
                      .chunks = {(args[0].dims[0] + r.group - 1) / r.group},
                      .local_bytes = r.pairs * (sizeof(double) + 4 * sizeof(float))};
}

static void plan_norm_rope(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_rope(args, &((const mlxn_norm_rope_params *)params)->rope, n_threads, out);
    out->local_bytes += args[0].dims[2] * sizeof(float);
}

/* freq[i] = scale * base^(-i / pairs) / factors[i]; the powers by repeated multiplication in double. */
static void rope_frequencies(const rope_plan *r, const mlxn_rope_params *p, const mlxn_view *factors) {
    double ratio = pow((double)p->base, -1.0 / (double)r->pairs);
    double f = p->freq_scale == 0.0f ? 1.0 : (double)p->freq_scale;
    for (uint64_t i = 0; i < r->pairs; i++) {
        r->freq[i] = f;
        f *= ratio;
    }
    if (!factors->present) return;
    int64_t stride = rows_stride(factors);
    for (uint64_t i = 0; i < r->pairs; i++) r->freq[i] /= (double)((const float *)factors->data)[(int64_t)i * stride];
}

/* Plain C over doubles that the compiler turns into vectors. The angle less k quarter turns lies within pi/4 of zero,
 * where the polynomials (least-squares fits) are good to 1e-11. Adding 1.5 * 2^52 rounds to an integer and leaves it
 * in the low bits. */
static void rope_angles(const rope_plan *r, double position) {
    const double magic = 6755399441055744.0, quarter_hi = 1.57079632673412561417e+00;
    const double quarter_lo = 6.07710050650619224932e-11;
    for (uint64_t i = 0; i < r->pairs; i++) {
        double a = position * r->freq[i], t = a * 0.63661977236758134308 + magic, k = t - magic;
        double y = (a - k * quarter_hi) - k * quarter_lo, z = y * y;
        double s = -0.00019839334854086267 + z * 2.7183116677329325e-06;
        s = y + y * z * (-0.16666666641626995 + z * (0.008333329385944646 + z * s));
        double c = 2.4799520010035186e-05 + z * -2.721023791653126e-07;
        c = 1.0 - 0.5 * z + z * z * (0.04166666662282822 + z * (-0.0013888883753414697 + z * c));
        uint64_t q;
        memcpy(&q, &t, 8);
        double sine = q & 1 ? c : s, cosine = q & 1 ? s : c;
        r->sin[i] = (float)(q & 2 ? -sine : sine);
        r->cos[i] = (float)((q + 1) & 2 ? -cosine : cosine);
    }
    if (r->half) return;
    for (uint64_t i = r->pairs; i-- > 0;) {
        float c = r->cos[i], s = r->sin[i];
        r->cos[2 * i] = r->cos[2 * i + 1] = c;
        r->sin[2 * i] = -s;
        r->sin[2 * i + 1] = s;
    }
}

/* A row of a head; `unit`: the stride is 1. */
typedef struct rope_row {
    void *data;
    int64_t stride;
    mlxn_dtype dtype;
    bool unit;
} rope_row;

SIMD_INLINE v16 row_load(rope_row x, uint64_t i, uint64_t n) {
    return rows_load(x.dtype, x.unit, x.data, x.stride, i, n);
}
SIMD_INLINE void row_store(rope_row out, uint64_t i, v16 v, uint64_t n) {
    rows_store(out.dtype, out.unit, out.data, out.stride, i, v, n);
}

SIMD_INLINE void rope_head(const rope_plan *r, rope_row x, rope_row out, uint64_t d) {
    uint64_t n = r->pairs;
    if (r->half) {
        for (uint64_t i = 0; i < n; i += 16) {
            uint64_t k = simd_tail(i, n);
            v16 c = v16_load_as(MLXN_F32, r->cos, i, k), s = v16_load_as(MLXN_F32, r->sin, i, k);
            v16 a = row_load(x, i, k), b = row_load(x, n + i, k);
            row_store(out, i, v16_fnma(b, s, v16_mul(a, c)), k);
            row_store(out, n + i, v16_fma(a, s, v16_mul(b, c)), k);
        }
    } else {
        for (uint64_t i = 0; i < 2 * n; i += 16) {
            uint64_t k = simd_tail(i, 2 * n);
            v16 c = v16_load_as(MLXN_F32, r->cos, i, k), s = v16_load_as(MLXN_F32, r->sin, i, k);
            v16 a = row_load(x, i, k);
            row_store(out, i, v16_fma(v16_swap_pairs(a), s, v16_mul(a, c)), k);
        }
    }
    if (x.data == out.data) return;
    for (uint64_t i = 2 * n; i < d; i += 16) {
        uint64_t k = simd_tail(i, d);
        row_store(out, i, row_load(x, i, k), k);
    }
}

/* What a kernel does to every head of a token; `norm` is NULL where heads are only turned. */
typedef struct rope_call {
    const mlxn_view *x, *positions, *factors, *out;
    const mlxn_rope_params *params;
    norm_row *norm;
} rope_call;

/* dtype is a constant where `unit` is true. */
SIMD_INLINE void rope_token(const rope_plan *r, const rope_call *c, bool normed, mlxn_dtype dtype, bool unit,
                            uint64_t t) {
    const int64_t size = (int64_t)rows_size(dtype);
    rope_row x = {(char *)c->x->data + (int64_t)t * c->x->strides[0] * size, rows_stride(c->x), dtype, unit};
    rope_row out = {(char *)c->out->data + (int64_t)t * c->out->strides[0] * size, rows_stride(c->out), dtype, unit};
    for (uint64_t h = 0; h < c->x->dims[1]; h++) {
        if (normed) {
            c->norm->x = x.data;
            norm_one(c->norm, dtype, MLXN_F32, unit);
            rope_head(r, (rope_row){r->head, 1, MLXN_F32, true}, out, c->x->dims[2]);
        } else {
            rope_head(r, x, out, c->x->dims[2]);
        }
        x.data = (char *)x.data + c->x->strides[1] * size;
        out.data = (char *)out.data + c->out->strides[1] * size;
    }
}

SIMD_INLINE void rope_tokens(cpu_run *run, const rope_call *c, rope_plan *r, bool normed, bool unit) {
    const mlxn_view *x = c->x, *positions = c->positions;
    bool ready = false;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (!ready) rope_frequencies(r, c->params, c->factors);
        ready = true;
        uint64_t end = mlxn_min_u64((chunk + 1) * r->group, x->dims[0]);
        for (uint64_t t = chunk * r->group; t < end; t++) {
            rope_angles(r, (double)((const uint32_t *)positions->data)[(int64_t)t * rows_stride(positions)]);
            if (!unit)
                rope_token(r, c, normed, x->dtype, false, t);
            else if (x->dtype == MLXN_F32)
                rope_token(r, c, normed, MLXN_F32, true, t);
            else if (x->dtype == MLXN_F16)
                rope_token(r, c, normed, MLXN_F16, true, t);
            else
                rope_token(r, c, normed, MLXN_BF16, true, t);
        }
    }
}

static void run_rope(cpu_run *run) {
    const mlxn_view *a = run->args;
    rope_call c = {&a[0], &a[1], &a[2], &a[3], run->params, NULL};
    rope_plan r = rope_layout(a, c.params, run->local);
    rope_tokens(run, &c, &r, false, rows_stride(c.x) == 1 && rows_stride(c.out) == 1);
}

static void run_norm_rope(cpu_run *run) {
    const mlxn_view *a = run->args, *w = &a[1];
    const mlxn_norm_rope_params *p = run->params;
    norm_row norm = {.w = w->present ? w->data : NULL,
                     .sx = rows_stride(&a[0]),
                     .sr = 1,
                     .sw = w->present ? rows_stride(w) : 1,
                     .so = 1,
                     .n = a[0].dims[2],
                     .eps = p->eps};
    rope_call c = {&a[0], &a[2], &a[3], &a[4], &p->rope, &norm};
    rope_plan r = rope_layout(a, c.params, run->local);
    norm.out = r.head;
    rope_tokens(run, &c, &r, true, norm.sx == 1 && norm.sw == 1 && rows_stride(c.out) == 1);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_rope)[];
const cpu_kernel CPU_ISA(cpu_kernels_rope)[] = {
    {MLXN_OP_rope, "rope_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rope, run_rope},
    {MLXN_OP_norm_rope, "norm_rope_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_norm_rope,
     run_norm_rope},
    {0},
};
