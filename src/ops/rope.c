/* rope.c: rotary position embedding, alone and after an RMS norm of each head.
 *
 * The frequency of a pair is computed in double and rounded to binary32 once; the angle is one binary32 product of
 * position and frequency. That product is part of the definition: at position 4,000 its rounding moves an angle
 * by up to 1e-4, so that a more exact angle would give other results than the models were made with. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static uint64_t rope_dims(const mlxn_view *x, const mlxn_rope_params *p) {
    return p->rope_dims ? p->rope_dims : x->dims[2];
}

static mlxn_status check_rope(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_rope_params *p = params;
    const mlxn_view *x = &args[0], *positions = &args[1], *factors = &args[2], *out = &args[3];
    mlxn_status status = mlxn_want_same_dims(error, "out", out, "x", x);
    if (!status) status = mlxn_want_same_dtype(error, "out", out, "x", x);
    if (!status) status = mlxn_want_dim(error, "positions", 0, positions->dims[0], x->dims[0], "dim[0] of x");
    if (status) return status;
    uint64_t n = rope_dims(x, p);
    if (n > x->dims[2] || n % 2)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: rope_dims is %llu, want an even number up to %llu "
                         "(last dim of x)",
                         (unsigned long long)n, (unsigned long long)x->dims[2]);
    if (p->pairing > MLXN_ROPE_HALF)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: pairing is %u, want %d (interleaved) or %d (half)",
                         p->pairing, MLXN_ROPE_INTERLEAVED, MLXN_ROPE_HALF);
    if (!(p->base > 0 && isfinite(p->base)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: base is %g, want a number above 0", (double)p->base);
    if (!isfinite(p->freq_scale))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: freq_scale is %g, want a number", (double)p->freq_scale);
    if (factors->present) return mlxn_want_dim(error, "factors", 0, factors->dims[0], n / 2, "rope_dims / 2");
    return MLXN_OK;
}

static float frequency(const mlxn_view *factors, const mlxn_rope_params *p, uint64_t n, uint64_t pair) {
    double scale = p->freq_scale == 0 ? 1 : (double)p->freq_scale;
    double f = scale * pow((double)p->base, -2.0 * (double)pair / (double)n);
    return (float)(factors->present ? f / mlxn_view_get(factors, &pair) : f);
}

static void pair_elements(const mlxn_rope_params *p, uint64_t n, uint64_t pair, uint64_t *first, uint64_t *second) {
    *first = p->pairing == MLXN_ROPE_HALF ? pair : 2 * pair;
    *second = p->pairing == MLXN_ROPE_HALF ? pair + n / 2 : 2 * pair + 1;
}

static mlxn_status ref_rope(const mlxn_view *args, const void *params) {
    const mlxn_rope_params *p = params;
    const mlxn_view *x = &args[0], *out = &args[3];
    uint64_t n = rope_dims(x, p);
    for (uint64_t t = 0; t < x->dims[0]; t++) {
        float position = (float)mlxn_view_u32(&args[1], t);
        for (uint64_t i = 0; i < n / 2; i++) {
            float angle = position * frequency(&args[2], p, n, i);
            double c = cos((double)angle), s = sin((double)angle);
            uint64_t first, second;
            pair_elements(p, n, i, &first, &second);
            for (uint64_t h = 0; h < x->dims[1]; h++) {
                double a = mlxn_view_get(x, (uint64_t[]){t, h, first});
                double b = mlxn_view_get(x, (uint64_t[]){t, h, second});
                mlxn_view_set(out, (uint64_t[]){t, h, first}, a * c - b * s);
                mlxn_view_set(out, (uint64_t[]){t, h, second}, a * s + b * c);
            }
        }
        for (uint64_t h = 0; h < x->dims[1]; h++)
            for (uint64_t k = n; k < x->dims[2]; k++)
                mlxn_view_set(out, (uint64_t[]){t, h, k}, mlxn_view_get(x, (uint64_t[]){t, h, k}));
    }
    return MLXN_OK;
}

/* Sine and cosine to a few units of 1, one unit of the angle where a library's pow differs in the last bit of the
 * frequency, and the two products. Elements that pass through are exact. */
static mlxn_status bound_rope(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    const mlxn_rope_params *p = params;
    const mlxn_view *x = &args[0];
    uint64_t n = rope_dims(x, p), heads = x->dims[1], d = x->dims[2];
    for (uint64_t t = 0; t < x->dims[0]; t++)
        for (uint64_t h = 0; h < heads; h++) {
            double *row = out + (t * heads + h) * d;
            for (uint64_t k = n; k < d; k++) row[k] = 0;
            for (uint64_t i = 0; i < n / 2; i++) {
                double angle = (double)mlxn_view_u32(&args[1], t) * (double)frequency(&args[2], p, n, i);
                uint64_t at[2];
                pair_elements(p, n, i, &at[0], &at[1]);
                double size = fabs(mlxn_view_get(x, (uint64_t[]){t, h, at[0]})) +
                              fabs(mlxn_view_get(x, (uint64_t[]){t, h, at[1]}));
                for (int k = 0; k < 2; k++) {
                    row[at[k]] = size * MLXN_EPS * (8 + 2 * fabs(angle)) + 1e-40;
                    if (args[arg].dtype != MLXN_F32)
                        row[at[k]] +=
                            mlxn_bound_unit(args[arg].dtype, mlxn_view_get(&args[arg], (uint64_t[]){t, h, at[k]}));
                }
            }
        }
    return MLXN_OK;
}

static mlxn_cost cost_rope(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       3 * (double)mlxn_view_elements(&args[0])};
}

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
    uint32_t dtype = mlxn_case_digit(&i, 3), pairing = mlxn_case_digit(&i, 2), factors = mlxn_case_digit(&i, 2);
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
    mlxn_case_name(out, ", %s %llu", pairing == MLXN_ROPE_HALF ? "half" : "interleaved", (unsigned long long)n);
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
        "beyond rope_dims pass through. out may be x.",
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
    uint64_t rows = args[NR_X].dims[0] * args[NR_X].dims[1], d = args[NR_X].dims[2],
             n = rope_dims(&args[NR_X], &p->rope);
    double *off = mlxn_alloc_array(rows * d, sizeof *off);
    if (!status && !off) status = MLXN_ERR_MEMORY;
    norm_rope_parts parts = parts_of(args, &middle, &middle);
    if (!status) status = mlxn_opdef_rms_norm.bound(parts.norm, &norm, fast, 2, off);
    if (!status) status = bound_rope(parts.rope, &p->rope, fast, 3, out);
    for (uint64_t r = 0; !status && r < rows; r++) {
        for (uint64_t i = 0; i < n / 2; i++) {
            uint64_t first, second;
            pair_elements(&p->rope, n, i, &first, &second);
            double both = off[r * d + first] + off[r * d + second];
            out[r * d + first] += both;
            out[r * d + second] += both;
        }
        for (uint64_t k = n; k < d; k++) {
            out[r * d + k] += off[r * d + k];
            if (args[arg].dtype != MLXN_F32)
                out[r * d + k] += mlxn_bound_unit(
                    args[arg].dtype,
                    mlxn_view_get(&args[arg], (uint64_t[]){r / args[NR_X].dims[1], r % args[NR_X].dims[1], k}));
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
