/* rope.c (CPU kernels): rotary position embedding. Angles and their reduction to a quarter turn are in double, so
 * that positions of a million lose nothing; the rotation is in f32. Sines and cosines are computed once per token and
 * used for all its heads. */
#include "backend/cpu/kernels/rows.h"

typedef struct rope_plan {
    uint64_t pairs, group; /* group: tokens per chunk */
    bool half;
    double *freq;     /* radians per position */
    float *cos, *sin; /* of the token in hand; interleaved pairing: an entry per element, the even sines negated */
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
    }
    return r;
}

static void plan_rope(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    rope_plan r = rope_layout(args, params, NULL);
    *out = (cpu_plan){.phases = 1,
                      .chunks = {(args[0].dims[0] + r.group - 1) / r.group},
                      .local_bytes = r.pairs * (sizeof(double) + 4 * sizeof(float))};
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

SIMD_INLINE void rope_head(const rope_plan *r, mlxn_dtype dtype, bool unit, const void *x, int64_t sx, void *out,
                           int64_t so, uint64_t d) {
    uint64_t n = r->pairs;
    if (r->half) {
        for (uint64_t i = 0; i < n; i += 16) {
            uint64_t k = simd_tail(i, n);
            v16 c = v16_load_as(MLXN_F32, r->cos, i, k), s = v16_load_as(MLXN_F32, r->sin, i, k);
            v16 a = rows_load(dtype, unit, x, sx, i, k), b = rows_load(dtype, unit, x, sx, n + i, k);
            rows_store(dtype, unit, out, so, i, v16_fnma(b, s, v16_mul(a, c)), k);
            rows_store(dtype, unit, out, so, n + i, v16_fma(a, s, v16_mul(b, c)), k);
        }
    } else {
        for (uint64_t i = 0; i < 2 * n; i += 16) {
            uint64_t k = simd_tail(i, 2 * n);
            v16 c = v16_load_as(MLXN_F32, r->cos, i, k), s = v16_load_as(MLXN_F32, r->sin, i, k);
            v16 a = rows_load(dtype, unit, x, sx, i, k);
            rows_store(dtype, unit, out, so, i, v16_fma(v16_swap_pairs(a), s, v16_mul(a, c)), k);
        }
    }
    if (x == out) return;
    for (uint64_t i = 2 * n; i < d; i += 16) {
        uint64_t k = simd_tail(i, d);
        rows_store(dtype, unit, out, so, i, rows_load(dtype, unit, x, sx, i, k), k);
    }
}

/* dtype is a constant where `unit` is true. */
SIMD_INLINE void rope_token(const rope_plan *r, mlxn_dtype dtype, bool unit, const mlxn_view *x, const mlxn_view *out,
                            uint64_t t) {
    int64_t size = (int64_t)rows_size(dtype);
    const char *src = (const char *)x->data + (int64_t)t * x->strides[0] * size;
    char *dst = (char *)out->data + (int64_t)t * out->strides[0] * size;
    for (uint64_t h = 0; h < x->dims[1]; h++) {
        rope_head(r, dtype, unit, src, rows_stride(x), dst, rows_stride(out), x->dims[2]);
        src += x->strides[1] * size;
        dst += out->strides[1] * size;
    }
}

static void run_rope(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *positions = &run->args[1], *out = &run->args[3];
    rope_plan r = rope_layout(run->args, run->params, run->local);
    bool unit = rows_stride(x) == 1 && rows_stride(out) == 1, ready = false;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        if (!ready) rope_frequencies(&r, run->params, &run->args[2]);
        ready = true;
        uint64_t end = mlxn_min_u64((chunk + 1) * r.group, x->dims[0]);
        for (uint64_t t = chunk * r.group; t < end; t++) {
            rope_angles(&r, (double)((const uint32_t *)positions->data)[(int64_t)t * rows_stride(positions)]);
            if (!unit)
                rope_token(&r, x->dtype, false, x, out, t);
            else if (x->dtype == MLXN_F32)
                rope_token(&r, MLXN_F32, true, x, out, t);
            else if (x->dtype == MLXN_F16)
                rope_token(&r, MLXN_F16, true, x, out, t);
            else
                rope_token(&r, MLXN_BF16, true, x, out, t);
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_rope)[];
const cpu_kernel CPU_ISA(cpu_kernels_rope)[] = {
    {MLXN_OP_rope, "rope_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_rope, run_rope},
    {0},
};
