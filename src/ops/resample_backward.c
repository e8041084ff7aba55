/* resample_backward.c: the gradients of pool2d and of im2col, channels last. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"
#include "ops/resample.h"

/* What is added up at every element of an image: the sum, the sum of magnitudes, how many terms. */
typedef struct sums {
    double *sum, *size, *terms;
} sums;

static mlxn_status sums_create(uint64_t n, sums *out) {
    double *memory = mlxn_alloc_array(3 * n, sizeof *memory);
    *out = (sums){memory, memory + n, memory + 2 * n};
    for (uint64_t i = 0; memory && i < 3 * n; i++) memory[i] = 0;
    return memory ? MLXN_OK : MLXN_ERR_MEMORY;
}

static void sums_add(sums *s, const mlxn_view *image, const uint64_t at[4], double v) {
    const uint64_t *d = image->dims;
    uint64_t i = ((at[0] * d[1] + at[1]) * d[2] + at[2]) * d[3] + at[3];
    s->sum[i] += v;
    s->size[i] += fabs(v);
    s->terms[i]++;
}

/* The sums into the image or, where `bounds` is given, their bounds: a binary32 rounding per term and `more` of each
 * term itself. Frees the sums. */
static void sums_finish(sums *s, const mlxn_view *image, double more, double *bounds) {
    uint64_t at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < mlxn_view_elements(image); i++) {
        mlxn_view_unravel(image, i, at);
        double rounds = more + (s->terms[i] > 1 ? s->terms[i] : 0);
        if (!bounds)
            mlxn_view_set(image, at, s->sum[i]);
        else
            bounds[i] = MLXN_EPS * rounds * s->size[i] +
                        (image->dtype == MLXN_F32 ? 0 : mlxn_bound_unit(image->dtype, s->sum[i]));
    }
    mlxn_free(s->sum);
}

static mlxn_cost cost_image(const mlxn_view *args, const void *params) {
    (void)params;
    mlxn_cost c = {0, 0};
    for (uint32_t i = 0; i < 3; i++) c.bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){c.bytes, c.bytes};
}

/* --- pool2d_backward --- */

static mlxn_status check_pool(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_pool2d_params *p = params;
    const mlxn_view *x = &args[0], *dx = &args[2];
    if (!x->present && p->kind == MLXN_POOL_MAX)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: is absent, want a tensor (kind is %u, the largest)", p->kind);
    mlxn_status status = x->present ? mlxn_want_like(error, "x", x, "dx", dx) : MLXN_OK;
    return status ? status : mlxn_check_pool2d(p, dx, "dy", &args[1], error);
}

static mlxn_status pool_backward(const mlxn_view *args, const mlxn_pool2d_params *p, double *bounds) {
    const mlxn_view *x = &args[0], *dy = &args[1], *dx = &args[2];
    bool average = p->kind == MLXN_POOL_AVERAGE;
    sums s;
    mlxn_status status = sums_create(mlxn_view_elements(dx), &s);
    uint64_t at[MLXN_MAX_RANK];
    for (uint64_t i = 0; !status && i < mlxn_view_elements(dy); i++) {
        mlxn_view_unravel(dy, i, at);
        int64_t begin[2], end[2];
        double places = 1, best = -INFINITY, g = mlxn_view_get(dy, at);
        for (int a = 0; a < 2; a++) {
            int64_t stride = p->stride[a] ? p->stride[a] : p->kernel[a], pad = p->pad[a];
            int64_t from = (int64_t)at[1 + a] * stride - pad, to = from + p->kernel[a], in = (int64_t)dx->dims[1 + a];
            if (to > in + pad) to = in + pad;
            begin[a] = from < 0 ? 0 : from;
            end[a] = to > in ? in : to;
            places *= (double)(p->count_padding ? to - from : end[a] - begin[a]);
        }
        uint64_t first[] = {at[0], (uint64_t)begin[0], (uint64_t)begin[1], at[3]};
        for (int64_t y = begin[0]; y < end[0]; y++)
            for (int64_t z = begin[1]; z < end[1]; z++) {
                const uint64_t here[] = {at[0], (uint64_t)y, (uint64_t)z, at[3]};
                if (average) {
                    sums_add(&s, dx, here, g / places);
                } else if (mlxn_view_get(x, here) > best) {
                    best = mlxn_view_get(x, here);
                    memcpy(first, here, sizeof first);
                }
            }
        if (!average) sums_add(&s, dx, first, g);
    }
    if (!status) sums_finish(&s, dx, average ? 2 : 0, bounds);
    return status;
}

static mlxn_status ref_pool(const mlxn_view *args, const void *params) { return pool_backward(args, params, NULL); }
static mlxn_status bound_pool(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast, (void)arg;
    return pool_backward(args, params, out);
}

static bool case_pool(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t x[4], y[2];
        mlxn_pool2d_params p;
    } sizes[] = {{{1, 8, 9, 33}, {4, 3}, {0, {2, 3}, {0, 0}, {0, 0}, 0}},
                 {{2, 7, 7, 16}, {4, 4}, {0, {3, 3}, {2, 2}, {1, 1}, 1}},
                 {{1, 5, 6, 5}, {3, 3}, {0, {2, 2}, {2, 2}, {0, 0}, 0}},
                 {{2, 1, 30, 17}, {1, 10}, {0, {1, 3}, {1, 3}, {0, 0}, 1}},
                 {{1, 9, 10, 40}, {7, 7}, {0, {3, 4}, {1, 1}, {0, 0}, 0}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), k = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 2);
    uint32_t layout = mlxn_case_digit(&i, 4), fill = mlxn_case_digit(&i, 2);
    if (i) return false;
    uint64_t y[] = {sizes[k].x[0], sizes[k].y[0], sizes[k].y[1], sizes[k].x[3]};
    mlxn_dtype type = mlxn_case_float(dtype);
    out->args[0] = mlxn_case_spread(mlxn_case_tensor(type, 4, sizes[k].x), layout, 1);
    out->args[0].fill = kind ? MLXN_FILL_NORMAL : fill ? MLXN_FILL_SPECIAL : MLXN_FILL_TIES;
    out->args[0].present = !kind || fill;
    out->args[1] = mlxn_case_spread(mlxn_case_tensor(type, 4, y), layout, 3);
    out->args[2] = mlxn_case_spread(mlxn_case_tensor(type, 4, sizes[k].x), layout, 5);
    mlxn_pool2d_params p = sizes[k].p;
    p.kind = kind;
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "dx", 2);
    mlxn_case_name(out, ", %s %ux%u", kind ? "average" : "max", p.kernel[0], p.kernel[1]);
    return true;
}

const mlxn_op_def mlxn_opdef_pool2d_backward = {
    .name = "pool2d_backward",
    .family = "resample_backward",
    .doc =
        "The gradient of pool2d with the same parameters: dx = the sum over the windows that hold an element of what "
        "falls to it: dy / places of averages, all of dy to the first of the largest (to the first of a window that "
        "has none). x, dx: [N, H, W, C]; dy: [N, OH, OW, C], one dtype (f32, f16, bf16); x may be absent for "
        "averages.",
    .n_args = 3,
    .args = {{"x", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 4, 4},
             {"dy", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 4, 4},
             {"dx", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 4, 4}},
    .params_size = sizeof(mlxn_pool2d_params),
    .params_type = "mlxn_pool2d_params",
    .check = check_pool,
    .ref = ref_pool,
    .bound = bound_pool,
    .cost = cost_image,
    .make_case = case_pool,
};

/* --- col2im --- */

static mlxn_status check_col2im(const mlxn_view *args, const void *params, mlxn_error *error) {
    return mlxn_check_im2col(params, &args[1], "x", &args[0], error);
}

static mlxn_status col2im(const mlxn_view *args, const mlxn_im2col_params *p, double *bounds) {
    const mlxn_view *x = &args[0], *out = &args[1];
    sums s;
    mlxn_status status = sums_create(mlxn_view_elements(out), &s);
    uint64_t at[MLXN_MAX_RANK];
    for (uint64_t i = 0; !status && i < mlxn_view_elements(x); i++) {
        mlxn_view_unravel(x, i, at);
        uint64_t element[2] = {at[3] / p->kernel[1] % p->kernel[0], at[3] % p->kernel[1]};
        uint64_t to[4] = {at[0], 0, 0, at[3] / p->kernel[1] / p->kernel[0]};
        bool inside = true;
        for (int a = 0; a < 2; a++) {
            uint64_t stride = p->stride[a] ? p->stride[a] : 1, dilation = p->dilation[a] ? p->dilation[a] : 1;
            uint64_t place = at[1 + a] * stride + element[a] * dilation;
            inside = inside && place >= p->pad[a] && place - p->pad[a] < out->dims[1 + a];
            to[1 + a] = place - p->pad[a];
        }
        if (inside) sums_add(&s, out, to, mlxn_view_get(x, at));
    }
    if (!status) sums_finish(&s, out, 0, bounds);
    return status;
}

static mlxn_status ref_col2im(const mlxn_view *args, const void *params) { return col2im(args, params, NULL); }
static mlxn_status bound_col2im(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast, (void)arg;
    return col2im(args, params, out);
}

static mlxn_cost cost_col2im(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       (double)mlxn_view_elements(&args[0])};
}

/* The cases of im2col with input and output exchanged. */
static bool case_col2im(uint32_t i, mlxn_case *out) {
    if (!mlxn_opdef_im2col.make_case(i, out)) return false;
    mlxn_case_arg image = out->args[0];
    out->args[0] = out->args[1];
    out->args[1] = image;
    out->name[0] = 0;
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

const mlxn_op_def mlxn_opdef_col2im = {
    .name = "col2im",
    .family = "resample_backward",
    .doc =
        "The gradient of im2col: out[n, y sy + ky dy - py, x sx + kx dx - px, c] = the sum of in[n, y, x, (c KH + "
        "ky) "
        "KW + kx] over all that fall there, in f32, rounded once. x: [N, OH, OW, C KH KW]; out: [N, H, W, C], same "
        "dtype (f32, f16, bf16); H and W say how large the image was.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 4, 4},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 4, 4}},
    .params_size = sizeof(mlxn_im2col_params),
    .params_type = "mlxn_im2col_params",
    .check = check_col2im,
    .ref = ref_col2im,
    .bound = bound_col2im,
    .cost = cost_col2im,
    .make_case = case_col2im,
};
