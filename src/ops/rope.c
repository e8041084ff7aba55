/* rope.c: rotary position embedding, alone and after an RMS norm of each head.
 *
 * The frequency of a pair is computed in double and rounded to binary32 once; the angle is one binary32 product of
 * position and frequency. That product is part of the definition: at position 4,000 its rounding moves an angle
 * by up to 1e-4, so that a more exact angle would give other results than the models were made with. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

/* rope's parameters in the general form. */
static mlxn_rope_multi_params general(const mlxn_view *x, const mlxn_rope_params *p) {
    mlxn_rope_multi_params g = {
        .pairing = p->pairing, .rope_dims = p->rope_dims, .base = p->base, .freq_scale = p->freq_scale};
    if (p->pairing == MLXN_ROPE_HEAD_HALF) g.freq_dims = (uint32_t)x->dims[2];
    return g;
}

static uint64_t rope_dims(const mlxn_view *x, const mlxn_rope_multi_params *p) {
    return p->rope_dims ? p->rope_dims : x->dims[2];
}

/* What pair `i` of a head is: its two elements, the axis of its position, its place in the row of frequencies and
 * the length of that row. */
typedef struct rope_pair {
    uint64_t first, second, axis, index, dims;
} rope_pair;

static rope_pair pair_of(const mlxn_rope_multi_params *p, uint64_t d, uint64_t i) {
    uint64_t n = p->rope_dims ? p->rope_dims : d;
    rope_pair r = {p->offset + i, p->offset + i + n / 2, 0, i, p->freq_dims ? p->freq_dims : n};
    if (p->pairing == MLXN_ROPE_INTERLEAVED) {
        r.first = p->offset + 2 * i;
        r.second = r.first + 1;
    } else if (p->pairing == MLXN_ROPE_HEAD_HALF) {
        r.first = i;
        r.second = i + d / 2;
    } else if (p->pairing == MLXN_ROPE_QUARTER) {
        r.axis = i / (n / 4);
        r.index = i % (n / 4);
        r.first = p->offset + r.axis * (n / 2) + r.index;
        r.second = r.first + n / 4;
        if (!p->freq_dims) r.dims = n / 2;
    }
    const uint32_t *s = p->sections;
    uint64_t total = (uint64_t)s[0] + s[1] + (p->axes == MLXN_ROPE_AXES_VISION ? 0 : (uint64_t)s[2] + s[3]);
    uint64_t sector = i % (total ? total : 1);
    switch (p->axes) {
        case MLXN_ROPE_AXES_SECTIONS:
            r.axis = sector < s[0] ? 0 : sector < (uint64_t)s[0] + s[1] ? 1 : sector < total - s[3] ? 2 : 3;
            break;
        case MLXN_ROPE_AXES_INTERLEAVED:
            r.axis = sector < 3 * (uint64_t)s[sector % 3] ? sector % 3 : 3;
            break;
        case MLXN_ROPE_AXES_VISION:
            r.axis = sector >= s[0];
            r.index = r.axis ? sector - s[0] : sector;
            if (!p->freq_dims) r.dims = n / 2;
            break;
        default:
            break;
    }
    return r;
}

static mlxn_status check_geometry(const mlxn_view *x, const mlxn_rope_multi_params *p, mlxn_error *error) {
    uint64_t n = rope_dims(x, p), d = x->dims[2];
    if (p->pairing > MLXN_ROPE_QUARTER)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: pairing is %u, want %d (interleaved), %d (half), %d (half a head) or %d (quarter)",
                         p->pairing, MLXN_ROPE_INTERLEAVED, MLXN_ROPE_HALF, MLXN_ROPE_HEAD_HALF, MLXN_ROPE_QUARTER);
    uint64_t step = p->pairing == MLXN_ROPE_QUARTER ? 4 : 2;
    if (n > d || n % step)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: rope_dims is %llu, want %s up to %llu (last dim of x)",
                         (unsigned long long)n, step == 4 ? "a multiple of 4" : "an even number",
                         (unsigned long long)d);
    if (p->offset > d - n || (p->pairing == MLXN_ROPE_HEAD_HALF && (p->offset || d % 2)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: offset is %u, want at most %llu (last dim of x less rope_dims), and 0 in an even "
                         "head for pairs half a head apart",
                         p->offset, (unsigned long long)(d - n));
    return MLXN_OK;
}

static mlxn_status check_numbers(const mlxn_rope_multi_params *p, mlxn_error *error) {
    const struct {
        const char *name;
        float value;
    } numbers[] = {{"freq_scale", p->freq_scale},
                   {"ext_factor", p->ext_factor},
                   {"attn_factor", p->attn_factor},
                   {"ramp_low", p->ramp_low},
                   {"ramp_high", p->ramp_high}};
    if (!(p->base > 0 && isfinite(p->base)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: base is %g, want a number above 0", (double)p->base);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isfinite(numbers[i].value))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: %s is %g, want a number", numbers[i].name,
                             (double)numbers[i].value);
    if (p->ext_factor != 0 && p->freq_scale < 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: freq_scale is %g, want it above 0 (ext_factor is %g)",
                         (double)p->freq_scale, (double)p->ext_factor);
    return MLXN_OK;
}

static mlxn_status check_shapes(const mlxn_view *args, const mlxn_rope_multi_params *p, mlxn_error *error) {
    const mlxn_view *x = &args[0], *positions = &args[1], *factors = &args[2], *out = &args[3];
    mlxn_status status = mlxn_want_same_dims(error, "out", out, "x", x);
    if (!status) status = mlxn_want_same_dtype(error, "out", out, "x", x);
    uint32_t tokens = positions->rank - 1;
    if (!status)
        status = mlxn_want_dim(error, "positions", tokens, positions->dims[tokens], x->dims[0], "dim[0] of x");
    if (!status) status = check_geometry(x, p, error);
    if (!status) status = check_numbers(p, error);
    if (!status && factors->present)
        status = mlxn_want_dim(error, "factors", 0, factors->dims[0], rope_dims(x, p) / 2, "rope_dims / 2");
    return status;
}

static mlxn_status check_rope(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_rope_params *p = params;
    if (p->pairing > MLXN_ROPE_HEAD_HALF)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: pairing is %u, want %d (interleaved), %d (half) or %d (half a head)", p->pairing,
                         MLXN_ROPE_INTERLEAVED, MLXN_ROPE_HALF, MLXN_ROPE_HEAD_HALF);
    mlxn_rope_multi_params g = general(&args[0], p);
    return check_shapes(args, &g, error);
}

static float frequency(const mlxn_view *factors, const mlxn_rope_multi_params *p, const rope_pair *r, uint64_t i) {
    double scale = p->freq_scale == 0 ? 1 : (double)p->freq_scale;
    if (p->ext_factor != 0) { /* YaRN: from the scaled frequency to the plain one, along the ramp */
        double low = (double)p->ramp_low, high = (double)p->ramp_high;
        double along = ((double)i - low) / fmax(0.001, high - low);
        double mix = (1 - fmin(1, fmax(0, along))) * (double)p->ext_factor;
        scale = scale * (1 - mix) + mix;
    }
    double f = scale * pow((double)p->base, -2.0 * (double)r->index / (double)r->dims);
    return (float)(factors->present ? f / mlxn_view_get(factors, &i) : f);
}

static double magnitude(const mlxn_rope_multi_params *p) {
    double m = p->attn_factor == 0 ? 1 : (double)p->attn_factor;
    double scale = p->freq_scale == 0 ? 1 : (double)p->freq_scale;
    return p->ext_factor != 0 ? m * (1 + 0.1 * log(1 / scale)) : m;
}

/* The angle of pair i at token t. */
static float angle_of(const mlxn_view *args, const mlxn_rope_multi_params *p, const rope_pair *r, uint64_t t,
                      uint64_t i) {
    uint64_t at[2] = {args[1].rank == 1 ? t : r->axis, t};
    float angle = (float)mlxn_view_get(&args[1], at) * frequency(&args[2], p, r, i);
    return p->inverse ? -angle : angle;
}

static mlxn_status turn(const mlxn_view *args, const mlxn_rope_multi_params *p) {
    const mlxn_view *x = &args[0], *out = &args[3];
    uint64_t d = x->dims[2], pairs = rope_dims(x, p) / 2;
    bool *turned = mlxn_alloc_array(d, sizeof *turned);
    if (!turned) return MLXN_ERR_MEMORY;
    double m = magnitude(p);
    for (uint64_t t = 0; t < x->dims[0]; t++) {
        for (uint64_t i = 0; i < pairs; i++) {
            rope_pair r = pair_of(p, d, i);
            double angle = (double)angle_of(args, p, &r, t, i), c = m * cos(angle), s = m * sin(angle);
            turned[r.first] = turned[r.second] = true;
            for (uint64_t h = 0; h < x->dims[1]; h++) {
                double a = mlxn_view_get(x, (uint64_t[]){t, h, r.first});
                double b = mlxn_view_get(x, (uint64_t[]){t, h, r.second});
                mlxn_view_set(out, (uint64_t[]){t, h, r.first}, a * c - b * s);
                mlxn_view_set(out, (uint64_t[]){t, h, r.second}, a * s + b * c);
            }
        }
        for (uint64_t h = 0; h < x->dims[1]; h++)
            for (uint64_t k = 0; k < d; k++)
                if (!turned[k]) mlxn_view_set(out, (uint64_t[]){t, h, k}, mlxn_view_get(x, (uint64_t[]){t, h, k}));
    }
    mlxn_free(turned);
    return MLXN_OK;
}

static mlxn_status ref_rope(const mlxn_view *args, const void *params) {
    mlxn_rope_multi_params g = general(&args[0], params);
    return turn(args, &g);
}

/* Sine and cosine to a few units of 1, one unit of the angle where a library's pow differs in the last bit of the
 * frequency, and the two products. Elements that pass through are exact. */
static void bound_turn(const mlxn_view *args, const mlxn_rope_multi_params *p, uint32_t arg, double *out) {
    const mlxn_view *x = &args[0];
    uint64_t heads = x->dims[1], d = x->dims[2], pairs = rope_dims(x, p) / 2;
    double m = fabs(magnitude(p));
    for (uint64_t k = 0; k < x->dims[0] * heads * d; k++) out[k] = 0;
    for (uint64_t t = 0; t < x->dims[0]; t++)
        for (uint64_t i = 0; i < pairs; i++) {
            rope_pair r = pair_of(p, d, i);
            double angle = fabs((double)angle_of(args, p, &r, t, i));
            uint64_t at[2] = {r.first, r.second};
            for (uint64_t h = 0; h < heads; h++) {
                double *row = out + (t * heads + h) * d;
                double size = m * (fabs(mlxn_view_get(x, (uint64_t[]){t, h, at[0]})) +
                                   fabs(mlxn_view_get(x, (uint64_t[]){t, h, at[1]})));
                for (int k = 0; k < 2; k++) {
                    row[at[k]] = size * MLXN_EPS * (8 + 2 * angle) + 1e-40;
                    if (args[arg].dtype != MLXN_F32)
                        row[at[k]] +=
                            mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], (uint64_t[]){t, h, at[k]}));
                }
            }
        }
}

static mlxn_status bound_rope(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    mlxn_rope_multi_params g = general(&args[0], params);
    bound_turn(args, &g, arg, out);
    return MLXN_OK;
}

static mlxn_cost cost_rope(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       3 * (double)mlxn_view_elements(&args[0])};
}

static const char *const pairing_names[] = {"interleaved", "half", "head half", "quarter"};

static bool case_rope(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t t, h, d;
        uint32_t rope_dims;
        float base;
        double start;
    } shapes[] = {{1, 9, 64, 0, 1e4f, 0},     {1, 3, 64, 0, 1e5f, 4095},  {7, 9, 64, 0, 1e4f, 100},
                  {5, 4, 256, 0, 1e6f, 8000}, {3, 12, 128, 0, 1e6f, 131}, {33, 2, 128, 64, 1e4f, 0},
                  {2, 1, 6, 0, 1e4f, 32000},  {64, 3, 64, 0, 1e4f, 0},    {4, 3, 80, 32, 1e4f, 17},
                  {3, 2, 34, 30, 10000, 2}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), pairing = mlxn_case_digit(&i, 3), factors = mlxn_case_digit(&i, 2);
    uint32_t s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]), layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 3, (uint64_t[]){shapes[s].t, shapes[s].h, shapes[s].d});
    out->args[1] = mlxn_case_tensor(MLXN_U32, 1, &shapes[s].t);
    out->args[1].fill = MLXN_FILL_POSITION;
    out->args[1].lo = shapes[s].start;
    out->args[1].hi = 1000;
    out->args[1].n = layout ? 3 : 1;
    uint64_t n = shapes[s].rope_dims ? shapes[s].rope_dims : shapes[s].d, half = n / 2;
    out->args[2] = mlxn_case_tensor(MLXN_F32, 1, &half);
    out->args[2].present = factors;
    out->args[2].fill = MLXN_FILL_UNIFORM;
    out->args[2].lo = 1;
    out->args[2].hi = 8;
    out->args[3] = out->args[0];
    if (layout) {
        out->args[0].layout = layout == 1 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_OUTER;
        out->args[3].layout = layout == 1 ? MLXN_LAYOUT_OUTER : MLXN_LAYOUT_INNER;
        out->args[0].shift = 1;
        out->args[1].layout = layout == 2 ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    }
    mlxn_rope_params p = {pairing, shapes[s].rope_dims, shapes[s].base, factors ? 0.125f : 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, ", %s %llu", pairing_names[pairing], (unsigned long long)n);
    if (factors) mlxn_case_name(out, ", factors");
    if (layout) mlxn_case_name_arg(out, "out", 3);
    return true;
}

const mlxn_op_def mlxn_opdef_rope = {
    .name = "rope",
    .family = "rope",
    .doc =
        "Rotary position embedding (Su et al. 2021). x, out: [T, H, D] f32/f16/bf16; positions: [T] u32; factors: "
        "optional [rope_dims/2] f32, divides the angle of each pair. Pair i turns by position * f[i], one f32 "
        "product, "
        "with f[i] = freq_scale * base^(-2i/rope_dims) / factors[i] computed in double and rounded to f32; elements "
        "beyond rope_dims pass through. Pairing HEAD_HALF turns (i, i + D/2), i < rope_dims/2, by frequencies of "
        "base^(-2i/D). out may be x.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"factors", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_rope_params),
    .params_type = "mlxn_rope_params",
    .check = check_rope,
    .ref = ref_rope,
    .bound = bound_rope,
    .cost = cost_rope,
    .make_case = case_rope,
    .inplace = 1u << 0,
};

/* --- rope_multi --- */

static mlxn_status check_rope_multi(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_rope_multi_params *p = params;
    const mlxn_view *x = &args[0], *positions = &args[1];
    if (p->axes > MLXN_ROPE_AXES_VISION)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: axes is %u, want 0 to %d", p->axes,
                         MLXN_ROPE_AXES_VISION);
    if (p->axes && p->pairing == MLXN_ROPE_QUARTER)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: axes is %u, want 0 (pairing quarter has its own two)",
                         p->axes);
    mlxn_status status = check_shapes(args, p, error);
    if (status) return status;
    uint64_t pairs = rope_dims(x, p) / 2, most = 0;
    if (p->axes == MLXN_ROPE_AXES_VISION && (uint64_t)p->sections[0] + p->sections[1] != pairs)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: sections[0] + sections[1] is %llu, want %llu (rope_dims / 2)",
                         (unsigned long long)p->sections[0] + p->sections[1], (unsigned long long)pairs);
    for (uint64_t i = 0; i < pairs; i++) most = mlxn_max_u64(most, pair_of(p, x->dims[2], i).axis);
    if (most && (positions->rank == 1 || positions->dims[0] <= most))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "positions: has %llu axes, want %llu or more (axes is %u)",
                         positions->rank == 1 ? 1ull : (unsigned long long)positions->dims[0],
                         (unsigned long long)most + 1, p->axes);
    return MLXN_OK;
}

static mlxn_status ref_rope_multi(const mlxn_view *args, const void *params) { return turn(args, params); }

static mlxn_status bound_rope_multi(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    bound_turn(args, params, arg, out);
    return MLXN_OK;
}

static bool case_rope_multi(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t t, h, d;
        const char *name;
        mlxn_rope_multi_params p;
    } forms[] = {
        {3, 5, 64, "sections", {.pairing = 1, .rope_dims = 32, .base = 1e6f, .axes = 1, .sections = {4, 4, 5, 3}}},
        {4, 2, 256, "imrope", {.pairing = 1, .rope_dims = 64, .base = 1e7f, .axes = 2, .sections = {11, 11, 10, 0}}},
        {5,
         3,
         256,
         "head half",
         {.pairing = 2, .rope_dims = 64, .base = 1e7f, .axes = 2, .sections = {11, 11, 10, 0}}},
        {3, 4, 80, "vision", {.pairing = 1, .base = 1e4f, .axes = 3, .sections = {20, 20, 0, 0}}},
        {6, 2, 72, "quarter", {.pairing = 3, .base = 1e4f}},
        {2, 3, 96, "offset", {.pairing = 1, .rope_dims = 32, .offset = 64, .base = 1e4f}},
        {3, 2, 70, "offset, interleaved", {.pairing = 0, .rope_dims = 22, .offset = 40, .base = 5e5f}},
        {9,
         2,
         128,
         "yarn",
         {.pairing = 1,
          .base = 1e4f,
          .freq_scale = 0.125f,
          .ext_factor = 1,
          .attn_factor = 0,
          .ramp_low = 20,
          .ramp_high = 46}},
        {3,
         7,
         64,
         "yarn, interleaved",
         {.pairing = 0,
          .rope_dims = 48,
          .base = 1e6f,
          .freq_scale = 0.25f,
          .ext_factor = 0.5f,
          .attn_factor = 1.5f,
          .ramp_low = 3,
          .ramp_high = 3}},
        {4, 3, 64, "inverse", {.pairing = 1, .base = 1e4f, .inverse = 1}},
        {65, 1, 128, "of 64", {.pairing = 2, .rope_dims = 32, .freq_dims = 128, .base = 1e6f, .inverse = 1}},
    };
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), f = mlxn_case_digit(&i, sizeof forms / sizeof *forms);
    uint32_t factors = mlxn_case_digit(&i, 2), layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    uint64_t t = forms[f].t, d = forms[f].d;
    mlxn_rope_multi_params p = forms[f].p;
    uint64_t half = (p.rope_dims ? p.rope_dims : d) / 2;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), 3, (uint64_t[]){t, forms[f].h, d});
    out->args[1] = mlxn_case_tensor(layout == 1 ? MLXN_I32 : MLXN_U32, 2, (uint64_t[]){4, t});
    if (!p.axes && p.pairing != MLXN_ROPE_QUARTER && layout) out->args[1] = mlxn_case_tensor(MLXN_U32, 1, &t);
    out->args[1].fill = MLXN_FILL_INDEX;
    out->args[1].lo = layout == 1 ? 0 : 100;
    out->args[1].hi = 4000;
    out->args[2] = mlxn_case_tensor(MLXN_F32, 1, &half);
    out->args[2].present = factors;
    out->args[2].fill = MLXN_FILL_UNIFORM;
    out->args[2].lo = 1;
    out->args[2].hi = 8;
    out->args[3] = out->args[0];
    if (layout == 1) {
        out->args[0].layout = out->args[1].layout = MLXN_LAYOUT_GAPS;
        out->args[3].layout = MLXN_LAYOUT_OUTER;
        out->args[0].shift = out->args[2].shift = 3;
    } else if (layout == 2) {
        out->args[0].layout = MLXN_LAYOUT_INNER;
        out->args[1].layout = out->args[2].layout = MLXN_LAYOUT_INNER;
    }
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, ", %s, %s %llu%s", forms[f].name, pairing_names[p.pairing], 2 * (unsigned long long)half,
                   factors ? ", factors" : "");
    if (layout) mlxn_case_name_arg(out, "out", 3);
    return true;
}

const mlxn_op_def mlxn_opdef_rope_multi = {
    .name = "rope_multi",
    .family = "rope",
    .doc =
        "Rotary position embedding in all its forms: rope with several position axes, a range of channels, any "
        "length of "
        "the row of frequencies, YaRN (Peng et al. 2023) and the inverse rotation, which is also the gradient. x, "
        "out: "
        "[T, H, D] f32/f16/bf16; positions: [T], or [A, T] with an axis per row, u32 or i32; factors: optional "
        "[rope_dims/2] f32, divides the angle of each pair (Llama 3, LongRoPE; 1e30 stops a pair). The frequency of "
        "a "
        "pair is computed in double and rounded to f32, the angle is one f32 product. out may be x.",
    .n_args = 4,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32 | 1u << MLXN_I32, 1, 2},
             {"factors", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_rope_multi_params),
    .params_type = "mlxn_rope_multi_params",
    .check = check_rope_multi,
    .ref = ref_rope_multi,
    .bound = bound_rope_multi,
    .cost = cost_rope,
    .make_case = case_rope_multi,
    .inplace = 1u << 0,
};

void mlxn_rope_yarn_ramp(uint32_t dims, double base, double context, double beta_fast, double beta_slow, bool whole,
                         float *low, float *high) {
    const double pi = 3.14159265358979323846;
    double a = dims * log(context / (2 * pi * beta_fast)) / (2 * log(base));
    double b = dims * log(context / (2 * pi * beta_slow)) / (2 * log(base));
    *low = (float)fmax(0, whole ? floor(a) : a);
    *high = (float)fmin((double)dims - 1, whole ? ceil(b) : b);
}

double mlxn_rope_ntk_base(uint32_t dims, double base, double scale) {
    return base * pow(scale, (double)dims / ((double)dims - 2));
}

/* --- norm_rope --- */

enum { NR_X, NR_W, NR_POSITIONS, NR_FACTORS, NR_OUT };

/* Its parts, in the order of the tables of rms_norm and rope, with `middle` between them. */
typedef struct norm_rope_parts {
    mlxn_view norm[3], rope[4];
} norm_rope_parts;

static norm_rope_parts parts_of(const mlxn_view *args, const mlxn_view *middle_out, const mlxn_view *middle_in) {
    return (norm_rope_parts){{args[NR_X], args[NR_W], *middle_out},
                             {*middle_in, args[NR_POSITIONS], args[NR_FACTORS], args[NR_OUT]}};
}

static mlxn_status check_norm_rope(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_norm_rope_params *p = params;
    mlxn_rms_norm_params norm = {p->eps};
    norm_rope_parts parts = parts_of(args, &args[NR_OUT], &args[NR_X]);
    mlxn_status status = mlxn_opdef_rms_norm.check(parts.norm, &norm, error);
    return status ? status : check_rope(parts.rope, &p->rope, error);
}

/* Dense binary32 memory of x's dims, holding rms_norm(x, w): the value between the two parts is not rounded to the
 * dtype of x. */
static mlxn_status normed(const mlxn_view *args, const mlxn_norm_rope_params *p, mlxn_view *middle) {
    const mlxn_view *x = &args[NR_X];
    *middle = *x;
    middle->dtype = MLXN_F32;
    middle->strides[2] = 1;
    middle->strides[1] = (int64_t)x->dims[2];
    middle->strides[0] = (int64_t)(x->dims[1] * x->dims[2]);
    middle->data = mlxn_alloc_array(mlxn_view_elements(x), sizeof(float));
    if (!middle->data) return MLXN_ERR_MEMORY;
    mlxn_rms_norm_params norm = {p->eps};
    norm_rope_parts parts = parts_of(args, middle, middle);
    return mlxn_opdef_rms_norm.ref(parts.norm, &norm);
}

static mlxn_status ref_norm_rope(const mlxn_view *args, const void *params) {
    const mlxn_norm_rope_params *p = params;
    mlxn_view middle;
    mlxn_status status = normed(args, p, &middle);
    if (!status) status = ref_rope(parts_of(args, &middle, &middle).rope, &p->rope);
    mlxn_free(middle.data);
    return status;
}

/* The bound of rope on the normed values, and what the norm may be off by: a rotated element takes in the errors of
 * its pair, one that passes through its own. */
static mlxn_status bound_norm_rope(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    const mlxn_norm_rope_params *p = params;
    mlxn_rms_norm_params norm = {p->eps};
    mlxn_view middle;
    mlxn_status status = normed(args, p, &middle);
    mlxn_rope_multi_params g = general(&args[NR_X], &p->rope);
    uint64_t rows = args[NR_X].dims[0] * args[NR_X].dims[1], d = args[NR_X].dims[2];
    uint64_t pairs = rope_dims(&args[NR_X], &g) / 2;
    double *off = mlxn_alloc_array(rows * d, sizeof *off);
    if (!status && !off) status = MLXN_ERR_MEMORY;
    norm_rope_parts parts = parts_of(args, &middle, &middle);
    if (!status) status = mlxn_opdef_rms_norm.bound(parts.norm, &norm, fast, 2, off);
    if (!status) bound_turn(parts.rope, &g, 3, out);
    for (uint64_t r = 0; !status && r < rows; r++) {
        double *row = out + r * d, *mine = off + r * d;
        for (uint64_t i = 0; i < pairs; i++) {
            rope_pair at = pair_of(&g, d, i);
            mine[at.first] = mine[at.second] = mine[at.first] + mine[at.second];
        }
        for (uint64_t k = 0; k < d; k++) {
            uint64_t index[3] = {r / args[NR_X].dims[1], r % args[NR_X].dims[1], k};
            if (row[k] == 0 && args[arg].dtype != MLXN_F32)
                row[k] = mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], index));
            row[k] += mine[k];
        }
    }
    mlxn_free(off);
    mlxn_free(middle.data);
    return status;
}

static mlxn_cost cost_norm_rope(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[NR_X]) + (double)mlxn_view_bytes(&args[NR_W]) +
                           (double)mlxn_view_bytes(&args[NR_POSITIONS]),
                       7 * (double)mlxn_view_elements(&args[NR_X])};
}

/* The cases of rope, each with and without w. */
static bool case_norm_rope(uint32_t i, mlxn_case *out) {
    mlxn_case rope;
    uint32_t weight = mlxn_case_digit(&i, 2);
    if (!case_rope(i, &rope)) return false;
    *out = rope;
    bool strided = rope.args[0].layout != MLXN_LAYOUT_CONTIGUOUS;
    out->args[NR_W] = mlxn_case_tensor(MLXN_F32, 1, &rope.args[0].dims[2]);
    out->args[NR_W].present = weight;
    out->args[NR_W].lo = 1;
    out->args[NR_W].hi = 0.5;
    out->args[NR_W].shift = strided ? 2 : 0;
    if (rope.args[0].layout == MLXN_LAYOUT_OUTER) out->args[NR_W].layout = MLXN_LAYOUT_INNER;
    out->args[NR_X].hi = i % 5 ? 1 : 0.01 + 20 * (double)weight;
    out->args[NR_POSITIONS] = rope.args[1];
    out->args[NR_FACTORS] = rope.args[2];
    out->args[NR_OUT] = rope.args[3];
    mlxn_norm_rope_params p = {.eps = i % 2 ? 1e-5f : 1e-6f};
    memcpy(&p.rope, rope.params, sizeof p.rope);
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name(out, weight ? ", w" : ", no w");
    return true;
}

const mlxn_op_def mlxn_opdef_norm_rope = {
    .name = "norm_rope",
    .family = "rope",
    .doc =
        "out = rope(rms_norm(x, w)): each head x[t, h, :] normed, then turned. x, out: [T, H, D] f32/f16/bf16, same "
        "dtype; w: optional [D] f32; positions, factors: as in rope. The normed values are f32. out may be x.",
    .n_args = 5,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"w", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"factors", MLXN_ROLE_IN, false, true, 1u << MLXN_F32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_norm_rope_params),
    .params_type = "mlxn_norm_rope_params",
    .check = check_norm_rope,
    .ref = ref_norm_rope,
    .bound = bound_norm_rope,
    .cost = cost_norm_rope,
    .make_case = case_norm_rope,
    .inplace = 1u << NR_X,
};
