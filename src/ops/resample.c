/* resample.c: pooling, resizing and unfolding of images, channels last. */
#include "ops/resample.h"

#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

static mlxn_cost cost_both(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]),
                       4 * (double)mlxn_view_elements(&args[1])};
}

static mlxn_status check_ends(const mlxn_view *image, const char *name, const mlxn_view *other, mlxn_error *error) {
    mlxn_status status = mlxn_want_same_dtype(error, name, other, "x", image);
    if (!status) status = mlxn_want_dim(error, name, 0, other->dims[0], image->dims[0], "images");
    return status;
}

#define IMAGE_ARGS                                                \
    {                                                             \
        {"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 4, 4}, {   \
            "out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 4, 4 \
        }                                                         \
    }

/* --- pool2d --- */

mlxn_status mlxn_check_pool2d(const mlxn_pool2d_params *p, const mlxn_view *image, const char *name,
                              const mlxn_view *pooled, mlxn_error *error) {
    mlxn_status status = check_ends(image, name, pooled, error);
    if (!status) status = mlxn_want_dim(error, name, 3, pooled->dims[3], image->dims[3], "channels of the image");
    for (uint32_t a = 0; !status && a < 2; a++) {
        uint64_t kernel = p->kernel[a], stride = p->stride[a] ? p->stride[a] : kernel, pad = p->pad[a];
        uint64_t span = image->dims[1 + a] + 2 * pad;
        if (!kernel || kernel > span || pad > kernel / 2)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "params: kernel[%u] is %u with pad %u, want 1 to %llu, pad at most half", a,
                             p->kernel[a], p->pad[a], (unsigned long long)span);
        uint64_t down = (span - kernel) / stride + 1, up = (span - kernel + stride - 1) / stride + 1;
        if ((up - 1) * stride >= image->dims[1 + a] + pad) up = down; /* the last window would lie outside */
        if (pooled->dims[1 + a] != down && pooled->dims[1 + a] != up)
            status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dim[%u] is %llu, want %llu or %llu (rounded up)", name,
                               1 + a, (unsigned long long)pooled->dims[1 + a], (unsigned long long)down,
                               (unsigned long long)up);
    }
    if (!status && p->kind > MLXN_POOL_AVERAGE)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: kind is %u, want %d or %d", p->kind, MLXN_POOL_MAX,
                         MLXN_POOL_AVERAGE);
    return status;
}

static mlxn_status check_pool2d(const mlxn_view *args, const void *params, mlxn_error *error) {
    return mlxn_check_pool2d(params, &args[0], "out", &args[1], error);
}

static mlxn_status pool2d(const mlxn_view *args, const mlxn_pool2d_params *p, double *bound) {
    const mlxn_view *x = &args[0], *out = &args[1];
    uint64_t at[4];
    for (uint64_t i = 0; i < mlxn_view_elements(out); i++) {
        mlxn_view_unravel(out, i, at);
        int64_t begin[2], end[2];
        double places = 1, sum = 0, size = 0, best = -INFINITY;
        for (int a = 0; a < 2; a++) {
            int64_t stride = p->stride[a] ? p->stride[a] : p->kernel[a], pad = p->pad[a];
            int64_t from = (int64_t)at[1 + a] * stride - pad, to = from + p->kernel[a], in = (int64_t)x->dims[1 + a];
            if (to > in + pad) to = in + pad;
            begin[a] = from < 0 ? 0 : from;
            end[a] = to > in ? in : to;
            places *= (double)(p->count_padding ? to - from : end[a] - begin[a]);
        }
        for (int64_t y = begin[0]; y < end[0]; y++)
            for (int64_t z = begin[1]; z < end[1]; z++) {
                double v = mlxn_view_get(x, (uint64_t[]){at[0], (uint64_t)y, (uint64_t)z, at[3]});
                sum += v;
                size += fabs(v);
                if (v > best) best = v;
            }
        bool average = p->kind == MLXN_POOL_AVERAGE;
        if (bound)
            bound[i] =
                average ? MLXN_EPS * size / places * (places + 4) + mlxn_bound_unit(out->dtype, sum / places) + 1e-37
                        : 0;
        else
            mlxn_view_set(out, at, average ? sum / places : best);
    }
    return MLXN_OK;
}

static mlxn_status ref_pool2d(const mlxn_view *args, const void *params) { return pool2d(args, params, NULL); }
static mlxn_status bound_pool2d(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    return pool2d(args, params, out);
}

static bool case_pool2d(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t x[4], out[2];
        mlxn_pool2d_params p;
    } sizes[] = {{{1, 8, 9, 33}, {4, 3}, {0, {2, 3}, {0, 0}, {0, 0}, 0}},
                 {{2, 7, 7, 16}, {4, 4}, {0, {3, 3}, {2, 2}, {1, 1}, 0}},
                 {{1, 5, 6, 5}, {3, 3}, {0, {2, 2}, {2, 2}, {0, 0}, 0}},
                 {{2, 1, 30, 17}, {1, 10}, {0, {1, 3}, {1, 3}, {0, 0}, 1}},
                 {{1, 14, 14, 40}, {1, 1}, {0, {14, 14}, {0, 0}, {0, 0}, 0}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), kind = mlxn_case_digit(&i, 2);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    uint64_t o[] = {sizes[s].x[0], sizes[s].out[0], sizes[s].out[1], sizes[s].x[3]};
    out->args[0] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, sizes[s].x), layout, 1);
    out->args[1] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, o), layout, 3);
    if (!kind && !layout) out->args[0].fill = MLXN_FILL_SPECIAL;
    mlxn_pool2d_params p = sizes[s].p;
    p.kind = kind;
    p.count_padding = s % 2;
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, ", %s %ux%u", kind ? "average" : "max", p.kernel[0], p.kernel[1]);
    return true;
}

const mlxn_op_def mlxn_opdef_pool2d = {
    .name = "pool2d",
    .family = "resample",
    .doc =
        "The largest or the average of each window. x: [N, H, W, C]; out: [N, OH, OW, C], same dtype (f32, f16, "
        "bf16); OH is (H + 2 "
        "pad - kernel) / stride + 1, rounded down or up, where the last window still begins inside. The padding is "
        "never the "
        "largest; NaN are passed over by max (-inf where nothing else is there). One dim: H = 1.",
    .n_args = 2,
    .args = IMAGE_ARGS,
    .params_size = sizeof(mlxn_pool2d_params),
    .params_type = "mlxn_pool2d_params",
    .check = check_pool2d,
    .ref = ref_pool2d,
    .bound = bound_pool2d,
    .cost = cost_both,
    .make_case = case_pool2d,
};

/* --- resize2d --- */

static mlxn_status check_resize2d(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_resize2d_params *p = params;
    mlxn_status status = check_ends(&args[0], "out", &args[1], error);
    if (!status) status = mlxn_want_dim(error, "out", 3, args[1].dims[3], args[0].dims[3], "last dim of x");
    if (!status && p->mode > MLXN_RESIZE_ANTIALIAS)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: mode is %u, want 0 to %d", p->mode,
                         MLXN_RESIZE_ANTIALIAS);
    if (!status && p->align_corners && p->mode != MLXN_RESIZE_BILINEAR && p->mode != MLXN_RESIZE_BICUBIC)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: align_corners is %u, want 0 (mode is %u)",
                         p->align_corners, p->mode);
    return status;
}

static double cubic(double d) {
    const double a = -0.75;
    d = fabs(d);
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/* The weight of input j, before the borders are repeated and, for antialias, before the sum is made 1. */
static double weight(const mlxn_resize2d_params *p, uint64_t in, uint64_t out, uint64_t i, int64_t j) {
    double scale = (double)in / (double)out, at = ((double)i + 0.5) * scale - 0.5;
    if (p->align_corners) at = out > 1 ? (double)i * (double)(in - 1) / (double)(out - 1) : 0;
    switch (p->mode) {
        case MLXN_RESIZE_NEAREST:
            return j == (int64_t)(i * in / out);
        case MLXN_RESIZE_BILINEAR:
            if (at < 0) at = 0;
            return fmax(0, 1 - fabs((double)j - at));
        case MLXN_RESIZE_BICUBIC:
            return cubic((double)j - at);
        default:
            return fmax(0, 1 - fabs((double)j - at) / fmax(1, scale));
    }
}

/* weights[i * in + j]: what input j gives to output i. */
static void weights_of(const mlxn_resize2d_params *p, uint64_t in, uint64_t out, double *weights) {
    for (uint64_t i = 0; i < out; i++) {
        double sum = 0;
        for (int64_t j = -3; j < (int64_t)in + 3; j++) {
            bool outside = j < 0 || j >= (int64_t)in;
            if (outside && p->mode == MLXN_RESIZE_ANTIALIAS) continue;
            double w = weight(p, in, out, i, j);
            weights[i * in + (uint64_t)(j < 0 ? 0 : outside ? (int64_t)in - 1 : j)] += w;
            sum += w;
        }
        for (uint64_t j = 0; p->mode == MLXN_RESIZE_ANTIALIAS && j < in; j++) weights[i * in + j] /= sum;
    }
}

static mlxn_status resize2d(const mlxn_view *args, const mlxn_resize2d_params *p, double *bound) {
    const mlxn_view *x = &args[0], *out = &args[1];
    uint64_t h = x->dims[1], w = x->dims[2], oh = out->dims[1], ow = out->dims[2], at[4];
    double *rows = mlxn_alloc_array(h * oh + w * ow, sizeof *rows), *columns = rows ? rows + h * oh : NULL;
    if (!rows) return MLXN_ERR_MEMORY;
    weights_of(p, h, oh, rows);
    weights_of(p, w, ow, columns);
    for (uint64_t i = 0; i < mlxn_view_elements(out); i++) {
        mlxn_view_unravel(out, i, at);
        double sum = 0, size = 0;
        for (uint64_t y = 0; y < h; y++)
            for (uint64_t z = 0; z < w; z++) {
                double share = rows[at[1] * h + y] * columns[at[2] * w + z];
                if (share == 0) continue;
                double v = mlxn_view_get(x, (uint64_t[]){at[0], y, z, at[3]});
                sum += share * v;
                size += fabs(v);
            }
        /* weights are good to some units of 1 each; half a step beside a corner they vanish or begin */
        if (!bound)
            mlxn_view_set(out, at, sum);
        else if (p->mode == MLXN_RESIZE_NEAREST)
            bound[i] = 0;
        else
            bound[i] = MLXN_EPS * 8 * size + mlxn_bound_unit(out->dtype, sum) + 1e-37;
    }
    mlxn_free(rows);
    return MLXN_OK;
}

static mlxn_status ref_resize2d(const mlxn_view *args, const void *params) { return resize2d(args, params, NULL); }
static mlxn_status bound_resize2d(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    return resize2d(args, params, out);
}

static bool case_resize2d(uint32_t i, mlxn_case *out) {
    static const uint64_t sizes[][6] = {
        {1, 5, 7, 20, 10, 14}, {2, 9, 6, 3, 4, 11}, {1, 1, 16, 33, 1, 5}, {1, 12, 12, 16, 5, 1}, {1, 3, 3, 1, 3, 8}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 5), form = mlxn_case_digit(&i, 6);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    const uint64_t *n = sizes[s];
    out->args[0] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, n), layout, 1);
    mlxn_case_arg o = mlxn_case_tensor(mlxn_case_float(dtype), 4, (uint64_t[]){n[0], n[4], n[5], n[3]});
    out->args[1] = mlxn_case_spread(o, layout, 3);
    mlxn_resize2d_params p = {form % 4, form >= 4};
    if (form >= 4) p.mode = form == 4 ? MLXN_RESIZE_BILINEAR : MLXN_RESIZE_BICUBIC;
    memcpy(out->params, &p, sizeof p);
    static const char *const names[] = {"nearest", "bilinear", "bicubic", "antialias"};
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, ", %s%s ", names[p.mode], p.align_corners ? ", corners" : "");
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

const mlxn_op_def mlxn_opdef_resize2d = {
    .name = "resize2d",
    .family = "resample",
    .doc =
        "An image in another size: nearest, bilinear or bicubic neighbours (the border is repeated), or bilinear "
        "with antialias: "
        "the mean under a triangle max(1, H / OH) wide on either side. x: [N, H, W, C]; out: [N, OH, OW, C], same "
        "dtype (f32, f16, "
        "bf16).",
    .n_args = 2,
    .args = IMAGE_ARGS,
    .params_size = sizeof(mlxn_resize2d_params),
    .params_type = "mlxn_resize2d_params",
    .check = check_resize2d,
    .ref = ref_resize2d,
    .bound = bound_resize2d,
    .cost = cost_both,
    .make_case = case_resize2d,
};

/* --- im2col --- */

mlxn_status mlxn_check_im2col(const mlxn_im2col_params *p, const mlxn_view *image, const char *name,
                              const mlxn_view *columns, mlxn_error *error) {
    mlxn_status status = check_ends(image, name, columns, error);
    for (uint32_t a = 0; !status && a < 2; a++) {
        uint64_t stride = p->stride[a] ? p->stride[a] : 1, dilation = p->dilation[a] ? p->dilation[a] : 1;
        uint64_t in = image->dims[1 + a] + 2 * (uint64_t)p->pad[a];
        if (!p->kernel[a] || dilation * (p->kernel[a] - 1) + 1 > in)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "params: kernel[%u] is %u, want 1 or more within %llu (the image with its padding)", a,
                             p->kernel[a], (unsigned long long)in);
        uint64_t want = (in - dilation * (p->kernel[a] - 1) - 1) / stride + 1;
        status = mlxn_want_dim(error, name, 1 + a, columns->dims[1 + a], want, "places of the kernel");
    }
    uint64_t want = image->dims[3] * p->kernel[0] * p->kernel[1];
    return status ? status : mlxn_want_dim(error, name, 3, columns->dims[3], want, "channels times kernel");
}

static mlxn_status check_im2col(const mlxn_view *args, const void *params, mlxn_error *error) {
    return mlxn_check_im2col(params, &args[0], "out", &args[1], error);
}

static mlxn_status ref_im2col(const mlxn_view *args, const void *params) {
    const mlxn_im2col_params *p = params;
    const mlxn_view *x = &args[0], *out = &args[1];
    uint64_t at[4];
    for (uint64_t i = 0; i < mlxn_view_elements(out); i++) {
        mlxn_view_unravel(out, i, at);
        uint64_t element[2] = {at[3] / p->kernel[1] % p->kernel[0], at[3] % p->kernel[1]}, from[2];
        bool inside = true;
        for (int a = 0; a < 2; a++) {
            uint64_t stride = p->stride[a] ? p->stride[a] : 1, dilation = p->dilation[a] ? p->dilation[a] : 1;
            uint64_t place = at[1 + a] * stride + element[a] * dilation;
            inside = inside && place >= p->pad[a] && place - p->pad[a] < x->dims[1 + a];
            from[a] = place - p->pad[a];
        }
        uint64_t channel = at[3] / p->kernel[1] / p->kernel[0];
        mlxn_view_set(out, at, inside ? mlxn_view_get(x, (uint64_t[]){at[0], from[0], from[1], channel}) : 0);
    }
    return MLXN_OK;
}

static bool case_im2col(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t x[4], out[2];
        mlxn_im2col_params p;
    } sizes[] = {{{1, 8, 9, 3}, {8, 9}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}}},
                 {{2, 6, 6, 17}, {3, 2}, {{2, 3}, {2, 2}, {0, 0}, {0, 0}}},
                 {{1, 1, 40, 5}, {1, 19}, {{1, 3}, {1, 2}, {0, 1}, {1, 2}}},
                 {{1, 4, 4, 2}, {4, 4}, {{1, 1}, {0, 0}, {0, 0}, {0, 0}}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 4), layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    uint64_t k = sizes[s].x[3] * sizes[s].p.kernel[0] * sizes[s].p.kernel[1];
    uint64_t o[] = {sizes[s].x[0], sizes[s].out[0], sizes[s].out[1], k};
    out->args[0] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, sizes[s].x), layout, 1);
    out->args[1] = mlxn_case_spread(mlxn_case_tensor(mlxn_case_float(dtype), 4, o), layout, 3);
    memcpy(out->params, &sizes[s].p, sizeof sizes[s].p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

const mlxn_op_def mlxn_opdef_im2col = {
    .name = "im2col",
    .family = "resample",
    .doc =
        "out[n, y, x, (c KH + ky) KW + kx] = in[n, y sy + ky dy - py, x sx + kx dx - px, c], zeros outside: the rows "
        "that a "
        "convolution multiplies. x: [N, H, W, C]; out: [N, OH, OW, C KH KW], same dtype (f32, f16, bf16).",
    .n_args = 2,
    .args = IMAGE_ARGS,
    .params_size = sizeof(mlxn_im2col_params),
    .params_type = "mlxn_im2col_params",
    .check = check_im2col,
    .ref = ref_im2col,
    .cost = cost_both,
    .make_case = case_im2col,
};
