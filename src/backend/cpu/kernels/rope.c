/* rope.c (CPU kernels): rotary position embedding, also of normed heads. Angles and their reduction to a quarter turn
 * are in double, so that positions of a million lose nothing; the rotation is in f32. Sines and cosines are computed
 * once per token and used for all its heads. A head is normed into f32 scratch and turned from there: the bits of
 * rms_norm and rope in turn. */
#include "backend/cpu/kernels/norm_row.h"

/* Pairs that lie as two runs of elements: [first, first + n) and [second, second + n). */
typedef struct rope_run {
    uint64_t first, second, n;
} rope_run;

typedef struct rope_plan {
    uint64_t pairs, group; /* group: tokens per chunk */
    bool interleaved;
    uint64_t offset;    /* of the first pair, where they are interleaved */
    rope_run runs[2];   /* of pairs, where they are not; the second may be empty */
    rope_run copies[2]; /* [first, first + n) passes through */
    double magnitude;
    double *freq;     /* radians per position */
    double *where;    /* the position that turns the pair, of the token in hand */
    uint8_t *axis;    /* row of `positions` */
    float *cos, *sin; /* of the token in hand; interleaved pairing: an entry per element, the even sines negated */
    float *head;      /* norm_rope: the head in hand, normed */
} rope_plan;

static mlxn_rope_multi_params rope_general(const mlxn_view *x, const mlxn_rope_params *p) {
    return (mlxn_rope_multi_params){.pairing = p->pairing,
                                    .rope_dims = p->rope_dims,
                                    .freq_dims = p->pairing == MLXN_ROPE_HEAD_HALF ? (uint32_t)x->dims[2] : 0,
                                    .base = p->base,
                                    .freq_scale = p->freq_scale};
}

static rope_plan rope_layout(const mlxn_view *args, const mlxn_rope_multi_params *p, void *local) {
    const mlxn_view *x = &args[0];
    uint64_t d = x->dims[2], dims = p->rope_dims ? p->rope_dims : d, row = x->dims[1] * d, o = p->offset,
             n = dims / 2;
    rope_plan r = {.pairs = n, .group = row < ROWS_PIECE ? ROWS_PIECE / row : 1, .offset = o};
    r.interleaved = p->pairing == MLXN_ROPE_INTERLEAVED;
    r.runs[0] = (rope_run){o, o + n, n};
    r.copies[0] = (rope_run){0, 0, o};
    r.copies[1] = (rope_run){o + dims, 0, d - o - dims};
    if (p->pairing == MLXN_ROPE_HEAD_HALF) {
        r.runs[0] = (rope_run){0, d / 2, n};
        r.copies[0] = (rope_run){n, 0, d / 2 - n};
        r.copies[1] = (rope_run){d / 2 + n, 0, d / 2 - n};
    } else if (p->pairing == MLXN_ROPE_QUARTER) {
        r.runs[0] = (rope_run){o, o + n / 2, n / 2};
        r.runs[1] = (rope_run){o + n, o + n + n / 2, n / 2};
    }
    double scale = p->freq_scale == 0.0f ? 1.0 : (double)p->freq_scale;
    r.magnitude = p->attn_factor == 0.0f ? 1.0 : (double)p->attn_factor;
    if (p->ext_factor != 0.0f) r.magnitude *= 1.0 + 0.1 * log(1.0 / scale);
    if (local) {
        r.freq = local;
        r.where = r.freq + n;
        r.cos = (float *)(r.where + n);
        r.sin = r.cos + 2 * n;
        r.head = r.sin + 2 * n;
        r.axis = (uint8_t *)(r.head + d);
    }
    return r;
}

static void rope_plan_of(const mlxn_view *args, const mlxn_rope_multi_params *p, cpu_plan *out) {
    rope_plan r = rope_layout(args, p, NULL);
    *out = (cpu_plan){
        .phases = 1,
        .chunks = {(args[0].dims[0] + r.group - 1) / r.group},
        .local_bytes = r.pairs * (2 * sizeof(double) + 4 * sizeof(float) + 1) + args[0].dims[2] * sizeof(float)};
}

static void plan_rope(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    mlxn_rope_multi_params p = rope_general(args, params);
    rope_plan_of(args, &p, out);
}

static void plan_norm_rope(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    plan_rope(args, &((const mlxn_norm_rope_params *)params)->rope, n_threads, out);
}

static void plan_rope_multi(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rope_plan_of(args, params, out);
}

static uint8_t rope_axis(const mlxn_rope_multi_params *p, uint64_t pairs, uint64_t i) {
    const uint32_t *s = p->sections;
    if (p->pairing == MLXN_ROPE_QUARTER) return i >= pairs / 2;
    if (p->axes == MLXN_ROPE_AXES_ONE) return 0;
    if (p->axes == MLXN_ROPE_AXES_VISION) return i >= s[0];
    uint64_t ends[4] = {s[0]};
    for (int k = 1; k < 4; k++) ends[k] = ends[k - 1] + s[k];
    uint64_t sector = ends[3] ? i % ends[3] : 0;
    if (p->axes == MLXN_ROPE_AXES_INTERLEAVED)
        return (uint8_t)(sector < 3 * (uint64_t)s[sector % 3] ? sector % 3 : 3);
    uint8_t axis = 0;
    while (axis < 3 && sector >= ends[axis]) axis++;
    return axis;
}

/* freq[i] = scale * base^(-2k / freq_dims) / factors[i], where k is i, or starts anew with the second axis of images;
 * the powers by repeated multiplication in double. */
static void rope_frequencies(const rope_plan *r, const mlxn_rope_multi_params *p, const mlxn_view *factors) {
    bool twice = p->pairing == MLXN_ROPE_QUARTER || p->axes == MLXN_ROPE_AXES_VISION;
    uint64_t restart = !twice ? UINT64_MAX : p->pairing == MLXN_ROPE_QUARTER ? r->pairs / 2 : p->sections[0];
    double dims = p->freq_dims ? (double)p->freq_dims : twice ? (double)r->pairs : 2.0 * (double)r->pairs;
    double ratio = pow((double)p->base, -2.0 / dims), scale = p->freq_scale == 0.0f ? 1.0 : (double)p->freq_scale;
    double f = scale;
    for (uint64_t i = 0; i < r->pairs; i++) {
        if (i == restart) f = scale;
        r->freq[i] = f;
        r->axis[i] = rope_axis(p, r->pairs, i);
        f *= ratio;
    }
    double low = (double)p->ramp_low, width = (double)p->ramp_high - low;
    if (p->ext_factor != 0.0f)
        for (uint64_t i = 0; i < r->pairs; i++) {
            double along = ((double)i - low) / (width > 0.001 ? width : 0.001);
            double mix = (1.0 - (along < 0.0 ? 0.0 : along > 1.0 ? 1.0 : along)) * (double)p->ext_factor;
            r->freq[i] *= (scale * (1.0 - mix) + mix) / scale;
        }
    if (!factors->present) return;
    int64_t stride = rows_stride(factors);
    for (uint64_t i = 0; i < r->pairs; i++) r->freq[i] /= (double)((const float *)factors->data)[(int64_t)i * stride];
}

static double rope_position(const mlxn_view *positions, uint64_t axis, uint64_t t) {
    int64_t at = (int64_t)t * rows_stride(positions);
    if (positions->rank == 2) at += (int64_t)axis * positions->strides[0];
    return positions->dtype == MLXN_I32 ? (double)((const int32_t *)positions->data)[at]
                                        : (double)((const uint32_t *)positions->data)[at];
}

static void rope_places(const rope_plan *r, const mlxn_view *positions, uint64_t t) {
    if (positions->rank == 1) {
        double position = rope_position(positions, 0, t);
        for (uint64_t i = 0; i < r->pairs; i++) r->where[i] = position;
    } else {
        for (uint64_t i = 0; i < r->pairs; i++) r->where[i] = rope_position(positions, r->axis[i], t);
    }
}

/* Plain C over doubles that the compiler turns into vectors. The angle less k quarter turns lies within pi/4 of zero,
 * where the polynomials (least-squares fits) are good to 1e-11. Adding 1.5 * 2^52 rounds to an integer and leaves it
 * in the low bits. */
static void rope_angles(const rope_plan *r, bool inverse) {
    const double magic = 6755399441055744.0, quarter_hi = 1.57079632673412561417e+00;
    const double quarter_lo = 6.07710050650619224932e-11, m = r->magnitude, ms = inverse ? -m : m;
    for (uint64_t i = 0; i < r->pairs; i++) {
        double a = r->where[i] * r->freq[i], t = a * 0.63661977236758134308 + magic, k = t - magic;
        double y = (a - k * quarter_hi) - k * quarter_lo, z = y * y;
        double s = -0.00019839334854086267 + z * 2.7183116677329325e-06;
        s = y + y * z * (-0.16666666641626995 + z * (0.008333329385944646 + z * s));
        double c = 2.4799520010035186e-05 + z * -2.721023791653126e-07;
        c = 1.0 - 0.5 * z + z * z * (0.04166666662282822 + z * (-0.0013888883753414697 + z * c));
        uint64_t q;
        memcpy(&q, &t, 8);
        double sine = q & 1 ? c : s, cosine = q & 1 ? s : c;
        r->sin[i] = (float)(ms * (q & 2 ? -sine : sine));
        r->cos[i] = (float)(m * ((q + 1) & 2 ? -cosine : cosine));
    }
    if (!r->interleaved) return;
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
    bool unit, streams; /* streams: as rows_put takes it */
} rope_row;

SIMD_INLINE v16 row_load(rope_row x, uint64_t i, uint64_t n) {
    return rows_load(x.dtype, x.unit, x.data, x.stride, i, n);
}
SIMD_INLINE void row_store(rope_row out, uint64_t i, v16 v, uint64_t n) {
    rows_put(out.dtype, out.unit, out.data, out.stride, i, v, n, out.streams);
}

SIMD_INLINE void rope_pairs(const rope_plan *r, const rope_run *run, uint64_t pair, rope_row x, rope_row out) {
    const float *cosines = r->cos + pair, *sines = r->sin + pair;
    for (uint64_t i = 0; i < run->n; i += 16) {
        uint64_t k = simd_tail(i, run->n);
        v16 c = v16_load_as(MLXN_F32, cosines, i, k), s = v16_load_as(MLXN_F32, sines, i, k);
        v16 a = row_load(x, run->first + i, k), b = row_load(x, run->second + i, k);
        row_store(out, run->first + i, v16_fnma(b, s, v16_mul(a, c)), k);
        row_store(out, run->second + i, v16_fma(a, s, v16_mul(b, c)), k);
    }
}

SIMD_INLINE void rope_head(const rope_plan *r, rope_row x, rope_row out) {
    if (!r->interleaved) {
        rope_pairs(r, &r->runs[0], 0, x, out);
        if (r->runs[1].n) rope_pairs(r, &r->runs[1], r->runs[0].n, x, out);
    } else {
        for (uint64_t i = 0; i < 2 * r->pairs; i += 16) {
            uint64_t k = simd_tail(i, 2 * r->pairs), at = r->offset + i;
            v16 c = v16_load_as(MLXN_F32, r->cos, i, k), s = v16_load_as(MLXN_F32, r->sin, i, k);
            v16 a = row_load(x, at, k);
            row_store(out, at, v16_fma(v16_swap_pairs(a), s, v16_mul(a, c)), k);
        }
    }
    if (x.data == out.data) return;
    for (int c = 0; c < 2; c++)
        for (uint64_t i = 0, n = r->copies[c].n, at = r->copies[c].first; i < n; i += 16) {
            uint64_t k = simd_tail(i, n);
            row_store(out, at + i, row_load(x, at + i, k), k);
        }
}

/* What a kernel does to every head of a token; `norm` is NULL where heads are only turned. */
typedef struct rope_call {
    const mlxn_view *x, *positions, *factors, *out;
    mlxn_rope_multi_params params;
    norm_row *norm;
    bool streams;
} rope_call;

/* dtype is a constant where `unit` is true. */
SIMD_INLINE void rope_token(const rope_plan *r, const rope_call *c, bool normed, mlxn_dtype dtype, bool unit,
                            uint64_t t) {
    const int64_t size = (int64_t)rows_size(dtype);
    rope_row x = {(char *)c->x->data + (int64_t)t * c->x->strides[0] * size, rows_stride(c->x), dtype, unit, false};
    rope_row out = {(char *)c->out->data + (int64_t)t * c->out->strides[0] * size, rows_stride(c->out), dtype, unit,
                    c->streams};
    for (uint64_t h = 0; h < c->x->dims[1]; h++) {
        if (normed) {
            c->norm->x = x.data;
            c->norm->ahead = (const char *)x.data + c->x->strides[1] * size;
            norm_one(c->norm, dtype, MLXN_F32, unit);
            rope_head(r, (rope_row){r->head, 1, MLXN_F32, true, false}, out);
        } else {
            rope_head(r, x, out);
        }
        x.data = (char *)x.data + c->x->strides[1] * size;
        out.data = (char *)out.data + c->out->strides[1] * size;
    }
}

SIMD_INLINE void rope_tokens(cpu_run *run, rope_call *c, rope_plan *r, bool normed, bool unit) {
    const mlxn_view *x = c->x, *positions = c->positions;
    bool ready = false;
    uint64_t chunk;
    c->streams = stream_fits(c->out, &x, 1);
    while (cpu_next(run, &chunk)) {
        if (!ready) rope_frequencies(r, &c->params, c->factors);
        ready = true;
        uint64_t end = mlxn_min_u64((chunk + 1) * r->group, x->dims[0]);
        for (uint64_t t = chunk * r->group; t < end; t++) {
            rope_places(r, positions, t);
            rope_angles(r, c->params.inverse);
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
    if (c->streams) stream_end();
}

static void run_rope(cpu_run *run) {
    const mlxn_view *a = run->args;
    rope_call c = {&a[0], &a[1], &a[2], &a[3], rope_general(&a[0], run->params), NULL, false};
    rope_plan r = rope_layout(a, &c.params, run->local);
    rope_tokens(run, &c, &r, false, rows_stride(c.x) == 1 && rows_stride(c.out) == 1);
}

static void run_rope_multi(cpu_run *run) {
    const mlxn_view *a = run->args;
    rope_call c = {&a[0], &a[1], &a[2], &a[3], *(const mlxn_rope_multi_params *)run->params, NULL, false};
    rope_plan r = rope_layout(a, &c.params, run->local);
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
    rope_call c = {&a[0], &a[2], &a[3], &a[4], rope_general(&a[0], &p->rope), &norm, false};
    rope_plan r = rope_layout(a, &c.params, run->local);
    norm.out = r.head;
    rope_tokens(run, &c, &r, true, norm.sx == 1 && norm.sw == 1 && rows_stride(c.out) == 1);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_rope)[];
const cpu_kernel CPU_ISA(cpu_kernels_rope)[] = {
    {MLXN_OP_rope, "rope_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rope, run_rope},
    {MLXN_OP_norm_rope, "norm_rope_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_norm_rope,
     run_norm_rope},
    {MLXN_OP_rope_multi, "rope_multi_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rope_multi,
     run_rope_multi},
    {0},
};
