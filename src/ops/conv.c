/* conv.c: convolutions of one to three dims and transposed convolutions of one and two, channels last. Fewer dims are
 * the case of depth 1 and of height 1: every view is taken as [N, D, H, W, C], which has more dims than a view may
 * have; three dims have images and depths in one. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

enum { CV_X, CV_W, CV_BIAS, CV_OUT };

/* Index 0 is the depth, 1 the height, 2 the width. */
typedef struct conv_shape {
    uint64_t n, c, o, groups;
    uint64_t in[3], kernel[3], out[3];
    uint64_t stride[3], pad[3], dilation[3];
    bool transposed;
} conv_shape;

static uint64_t dim(const mlxn_view *v, uint32_t axis) {
    return axis == 2 ? v->dims[v->rank - 2] : v->rank == 4 ? v->dims[1] : 1;
}

/* The parameters of one and of two dims, with those of a depth and a height of 1. */
static mlxn_conv3d_params wide1(const mlxn_conv1d_params *p) {
    return (mlxn_conv3d_params){1, 1, {1, 1, p->stride}, {0, 0, p->pad}, {1, 1, p->dilation}, p->groups};
}
static mlxn_conv3d_params wide2(const mlxn_conv2d_params *p) {
    mlxn_conv3d_params r = {1,        1, {1, p->stride[0], p->stride[1]}, {0}, {1, p->dilation[0], p->dilation[1]},
                            p->groups};
    memcpy(&r.pad[1], p->pad, sizeof p->pad);
    return r;
}

/* Depths that divide what they are of; the depth of out is what it should be. */
static conv_shape shape_of(const mlxn_view *args, const mlxn_conv3d_params *p, bool transposed) {
    const mlxn_view *x = &args[CV_X], *w = &args[CV_W], *out = &args[CV_OUT];
    conv_shape s = {.n = x->dims[0] / p->depth, .c = x->dims[x->rank - 1], .o = w->dims[0] / p->kernel_depth};
    s.transposed = transposed;
    s.groups = p->groups ? p->groups : 1;
    s.in[0] = p->depth;
    s.kernel[0] = p->kernel_depth;
    for (uint32_t a = 0; a < 3; a++) {
        s.stride[a] = p->stride[a] ? p->stride[a] : 1;
        s.pad[a] = p->pad[a];
        s.dilation[a] = p->dilation[a] ? p->dilation[a] : 1;
        if (!a) continue;
        s.in[a] = dim(x, a);
        s.kernel[a] = dim(w, a);
        s.out[a] = dim(out, a);
    }
    uint64_t span = s.dilation[0] * (s.kernel[0] - 1) + 1, room = s.in[0] + 2 * s.pad[0];
    s.out[0] = room < span ? 0 : (room - span) / s.stride[0] + 1;
    return s;
}

/* Element (z, y, x, c) of image or output channel n, of `depth` planes each. */
static double at5(const mlxn_view *v, uint64_t depth, uint64_t n, const uint64_t *at, uint64_t c) {
    n = n * depth + at[0];
    return mlxn_view_get(v, v->rank == 4 ? (uint64_t[]){n, at[1], at[2], c} : (uint64_t[]){n, at[2], c});
}

/* One axis: that the kernel fits, and the dim of out. `axis`: which dim of the views it is. */
static mlxn_status check_axis(const mlxn_view *args, const conv_shape *s, uint32_t a, uint32_t axis,
                              mlxn_error *error) {
    const mlxn_view *out = &args[CV_OUT];
    const uint64_t most = UINT32_MAX;
    if (s->in[a] > most || s->kernel[a] > most / s->dilation[a])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[%u] is %llu, want less than 2^32", axis,
                         (unsigned long long)s->in[a]);
    uint64_t span = s->dilation[a] * (s->kernel[a] - 1) + 1, want;
    if (s->transposed) {
        want = (s->in[a] - 1) * s->stride[a] + span;
        want = want > 2 * s->pad[a] ? want - 2 * s->pad[a] : 0;
        if (out->dims[axis] < want || out->dims[axis] >= want + s->stride[a])
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "out: dim[%u] is %llu, want %llu to %llu", axis,
                             (unsigned long long)out->dims[axis], (unsigned long long)want,
                             (unsigned long long)(want + s->stride[a] - 1));
        return MLXN_OK;
    }
    if (s->in[a] + 2 * s->pad[a] < span)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "w: dim[%u] spans %llu, want at most %llu (x with its padding)",
                         axis, (unsigned long long)span, (unsigned long long)(s->in[a] + 2 * s->pad[a]));
    if (a == 0)
        return mlxn_want_dim(error, "out", 0, out->dims[0], s->n * s->out[0],
                             "images times (depth + 2 pad - span) / stride + 1");
    want = (s->in[a] + 2 * s->pad[a] - span) / s->stride[a] + 1;
    return mlxn_want_dim(error, "out", axis, out->dims[axis], want, "(x + 2 pad - span) / stride + 1");
}

static mlxn_status check_conv(const mlxn_view *args, const mlxn_conv3d_params *p, bool transposed, bool volume,
                              mlxn_error *error) {
    const mlxn_view *x = &args[CV_X], *w = &args[CV_W], *bias = &args[CV_BIAS], *out = &args[CV_OUT];
    if (!p->depth || x->dims[0] % p->depth)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: depth is %u, want a divisor of %llu (dim[0] of x)",
                         p->depth, (unsigned long long)x->dims[0]);
    if (!p->kernel_depth || w->dims[0] % p->kernel_depth)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: kernel_depth is %u, want a divisor of %llu (dim[0] of w)",
                         p->kernel_depth, (unsigned long long)w->dims[0]);
    if ((p->dilation[0] ? p->dilation[0] : 1) > UINT32_MAX / p->kernel_depth)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: dilation[0] is %u, want at most %u (kernel_depth is %u)",
                         p->dilation[0], UINT32_MAX / p->kernel_depth, p->kernel_depth);
    conv_shape s = shape_of(args, p, transposed);
    uint32_t last = x->rank - 1;
    if (s.groups > s.c || s.c % s.groups || s.o % s.groups)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "params: groups is %llu, want a divisor of %llu and of %llu (channels)",
                         (unsigned long long)s.groups, (unsigned long long)s.c, (unsigned long long)s.o);
    mlxn_status status = mlxn_want_same_dtype(error, "out", out, "x", x);
    if (!status) status = mlxn_want_dim(error, "w", last, w->dims[last], s.c / s.groups, "last dim of x / groups");
    if (!status && !volume) status = mlxn_want_dim(error, "out", 0, out->dims[0], s.n, "dim[0] of x");
    if (!status) status = mlxn_want_dim(error, "out", last, out->dims[last], s.o, "output channels of w");
    if (!status && bias->present)
        status = mlxn_want_dim(error, "bias", 0, bias->dims[0], s.o, "output channels of w");
    for (uint32_t a = volume ? 0 : x->rank == 4 ? 1 : 2; !status && a < 3; a++)
        status = check_axis(args, &s, a, a + x->rank - 4, error);
    return status;
}

/* Which input meets output `at` through kernel element `k`; false where none does. */
static bool source(const conv_shape *s, uint32_t axis, uint64_t at, uint64_t k, uint64_t *in) {
    int64_t i = s->transposed ? (int64_t)(at + s->pad[axis]) - (int64_t)(k * s->dilation[axis])
                              : (int64_t)(at * s->stride[axis] + k * s->dilation[axis]) - (int64_t)s->pad[axis];
    if (i < 0) return false;
    *in = (uint64_t)i;
    if (s->transposed) {
        if (*in % s->stride[axis]) return false;
        *in /= s->stride[axis];
    }
    return *in < s->in[axis];
}

/* The three indices of place i, the last one fastest. */
static void split(const uint64_t *dims, uint64_t i, uint64_t *at) {
    for (uint32_t a = 3; a-- > 0; i /= dims[a]) at[a] = i % dims[a];
}

/* The operation or, where `bound` is given, its bound. */
static mlxn_status conv(const mlxn_view *args, const mlxn_conv3d_params *p, bool transposed, double *bound) {
    conv_shape s = shape_of(args, p, transposed);
    const mlxn_view *x = &args[CV_X], *w = &args[CV_W], *bias = &args[CV_BIAS], *out = &args[CV_OUT];
    uint64_t elements = s.kernel[0] * s.kernel[1] * s.kernel[2], places = s.out[0] * s.out[1] * s.out[2];
    uint64_t each = s.c / s.groups, per = s.o / s.groups, terms = each * elements;
    for (uint64_t i = 0; i < s.n * places * s.o; i++) {
        uint64_t o = i % s.o, n = i / s.o / places, first = o / per * each, at[3], k[3], from[3];
        split(s.out, i / s.o % places, at);
        double sum = bias->present ? mlxn_view_get(bias, &o) : 0, size = fabs(sum);
        for (uint64_t e = 0; e < elements; e++) {
            split(s.kernel, e, k);
            bool meets = true;
            for (uint32_t a = 0; a < 3; a++) meets = meets && source(&s, a, at[a], k[a], &from[a]);
            for (uint64_t c = 0; meets && c < each; c++) {
                double term = at5(x, s.in[0], n, from, first + c) * at5(w, s.kernel[0], o, k, c);
                sum += term;
                size += fabs(term);
            }
        }
        uint64_t plane = n * s.out[0] + at[0];
        if (bound)
            bound[i] = MLXN_EPS * size * (mlxn_bound_sum(terms) + 2) + mlxn_bound_unit(out->dtype, sum) + 1e-37;
        else
            mlxn_view_set(out, out->rank == 4 ? (uint64_t[]){plane, at[1], at[2], o} : (uint64_t[]){plane, at[2], o},
                          sum);
    }
    return MLXN_OK;
}

static mlxn_cost cost(const mlxn_view *args) {
    mlxn_cost c = {0, 2 * (double)mlxn_view_elements(&args[CV_OUT]) * (double)mlxn_view_elements(&args[CV_W]) /
                          (double)args[CV_OUT].dims[args[CV_OUT].rank - 1]};
    for (int i = 0; i <= CV_OUT; i++) c.bytes += (double)mlxn_view_bytes(&args[i]);
    return c;
}

/* Cases: in, channels, out channels, kernel, then stride, padding, dilation, groups. */
static const struct {
    uint64_t n, in[2], c, o, kernel[2];
    mlxn_conv2d_params p;
} sizes[] = {{1, {9, 11}, 3, 20, {3, 3}, {{1, 1}, {1, 1}, {1, 1}, 1}},
             {2, {8, 7}, 16, 33, {3, 2}, {{2, 3}, {1, 0}, {1, 2}, 1}},
             {1, {6, 6}, 12, 8, {3, 3}, {{1, 2}, {2, 1}, {2, 1}, 4}},
             {1, {5, 13}, 40, 40, {3, 5}, {{1, 1}, {1, 2}, {1, 1}, 40}},
             {2, {4, 4}, 17, 5, {1, 1}, {{0, 0}, {0, 0}, {0, 0}, 0}},
             {1, {8, 8}, 3, 24, {4, 4}, {{4, 4}, {0, 0}, {1, 1}, 1}},
             {1, {3, 4}, 18, 36, {2, 2}, {{2, 2}, {0, 1}, {1, 1}, 18}}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static bool case_conv(uint32_t i, mlxn_case *out, uint32_t rank, bool transposed) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), k = mlxn_case_digit(&i, N_SIZES), bias = mlxn_case_digit(&i, 2);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    mlxn_conv2d_params p = sizes[k].p;
    uint64_t out_dims[2], groups = p.groups ? p.groups : 1;
    for (int a = 0; a < 2; a++) {
        uint64_t stride = p.stride[a] ? p.stride[a] : 1, dilation = p.dilation[a] ? p.dilation[a] : 1;
        uint64_t span = dilation * (sizes[k].kernel[a] - 1) + 1, pad = p.pad[a];
        out_dims[a] = transposed ? (sizes[k].in[a] - 1) * stride + span - 2 * pad + (stride > 1 && a)
                                 : (sizes[k].in[a] + 2 * pad - span) / stride + 1;
    }
    uint64_t x[] = {sizes[k].n, sizes[k].in[0], sizes[k].in[1], sizes[k].c};
    uint64_t w[] = {sizes[k].o, sizes[k].kernel[0], sizes[k].kernel[1], sizes[k].c / groups};
    uint64_t o[] = {sizes[k].n, out_dims[0], out_dims[1], sizes[k].o};
    if (rank == 3)
        for (int d = 2; d < 4; d++) {
            x[d - 1] = x[d];
            w[d - 1] = w[d];
            o[d - 1] = o[d];
        }
    mlxn_dtype type = mlxn_case_float(dtype), other = mlxn_case_float(dtype + layout);
    out->args[CV_X] = mlxn_case_spread(mlxn_case_tensor(type, rank, x), layout, 1);
    out->args[CV_W] = mlxn_case_spread(mlxn_case_tensor(other, rank, w), layout, 2);
    out->args[CV_BIAS] = mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 1, w), layout, 3);
    out->args[CV_BIAS].present = bias;
    out->args[CV_OUT] = mlxn_case_spread(mlxn_case_tensor(type, rank, o), layout, 5);
    if (rank == 4) {
        memcpy(out->params, &p, sizeof p);
    } else {
        mlxn_conv1d_params one = {p.stride[1], p.pad[1], p.dilation[1], p.groups};
        memcpy(out->params, &one, sizeof one);
    }
    mlxn_case_name_arg(out, "x", CV_X);
    mlxn_case_name_arg(out, "w", CV_W);
    mlxn_case_name(out, "%s", bias ? ", bias" : "");
    return true;
}

#define CONV_ARGS(rank)                                                 \
    {                                                                   \
        {"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, rank, rank},     \
            {"w", MLXN_ROLE_IN, false, false, MLXN_FLOATS, rank, rank}, \
            {"bias", MLXN_ROLE_IN, false, true, MLXN_FLOATS, 1, 1}, {   \
            "out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, rank, rank \
        }                                                               \
    }

/* --- conv2d --- */

static mlxn_status check_conv2d(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_conv3d_params p = wide2(params);
    return check_conv(args, &p, false, false, error);
}
static mlxn_status ref_conv2d(const mlxn_view *args, const void *params) {
    mlxn_conv3d_params p = wide2(params);
    return conv(args, &p, false, NULL);
}
static mlxn_status bound_conv2d(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    mlxn_conv3d_params p = wide2(params);
    return conv(args, &p, false, out);
}
static mlxn_cost cost_conv(const mlxn_view *args, const void *params) {
    (void)params;
    return cost(args);
}
static bool case_conv2d(uint32_t i, mlxn_case *out) { return case_conv(i, out, 4, false); }

const mlxn_op_def mlxn_opdef_conv2d = {
    .name = "conv2d",
    .family = "conv",
    .doc =
        "out[n, y, x, o] = bias[o] + sum over ky, kx, c of w[o, ky, kx, c] in[n, y sy + ky dy - py, x sx + kx dx - "
        "px, c], zeros "
        "outside. x: [N, H, W, C]; w: [O, KH, KW, C / groups]; bias: optional [O]; out: [N, OH, OW, O], dtype of x; "
        "output "
        "channel o reads the channels of its group. Other orders of the dims are views.",
    .n_args = 4,
    .args = CONV_ARGS(4),
    .params_size = sizeof(mlxn_conv2d_params),
    .params_type = "mlxn_conv2d_params",
    .check = check_conv2d,
    .ref = ref_conv2d,
    .bound = bound_conv2d,
    .cost = cost_conv,
    .make_case = case_conv2d,
};

/* --- conv1d --- */

static mlxn_status check_conv1d(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_conv3d_params p = wide1(params);
    return check_conv(args, &p, false, false, error);
}
static mlxn_status ref_conv1d(const mlxn_view *args, const void *params) {
    mlxn_conv3d_params p = wide1(params);
    return conv(args, &p, false, NULL);
}
static mlxn_status bound_conv1d(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    mlxn_conv3d_params p = wide1(params);
    return conv(args, &p, false, out);
}
static bool case_conv1d(uint32_t i, mlxn_case *out) { return case_conv(i, out, 3, false); }

const mlxn_op_def mlxn_opdef_conv1d = {
    .name = "conv1d",
    .family = "conv",
    .doc = "conv2d of height 1. x: [N, L, C]; w: [O, K, C / groups]; bias: optional [O]; out: [N, OL, O].",
    .n_args = 4,
    .args = CONV_ARGS(3),
    .params_size = sizeof(mlxn_conv1d_params),
    .params_type = "mlxn_conv1d_params",
    .check = check_conv1d,
    .ref = ref_conv1d,
    .bound = bound_conv1d,
    .cost = cost_conv,
    .make_case = case_conv1d,
};

/* --- conv_transpose2d --- */

static mlxn_status check_transpose2d(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_conv3d_params p = wide2(params);
    return check_conv(args, &p, true, false, error);
}
static mlxn_status ref_transpose2d(const mlxn_view *args, const void *params) {
    mlxn_conv3d_params p = wide2(params);
    return conv(args, &p, true, NULL);
}
static mlxn_status bound_transpose2d(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                     double *out) {
    (void)fast;
    (void)arg;
    mlxn_conv3d_params p = wide2(params);
    return conv(args, &p, true, out);
}
static bool case_transpose2d(uint32_t i, mlxn_case *out) { return case_conv(i, out, 4, true); }

const mlxn_op_def mlxn_opdef_conv_transpose2d = {
    .name = "conv_transpose2d",
    .family = "conv",
    .doc =
        "The transposed convolution: in[n, y, x, c] adds w[o, ky, kx, c] times itself to out[n, y sy + ky dy - py, x "
        "sx + kx dx - "
        "px, o]. Arguments as in conv2d; OH is (H - 1) sy - 2 py + dy (KH - 1) + 1, or up to sy - 1 more, OW the "
        "same.",
    .n_args = 4,
    .args = CONV_ARGS(4),
    .params_size = sizeof(mlxn_conv2d_params),
    .params_type = "mlxn_conv2d_params",
    .check = check_transpose2d,
    .ref = ref_transpose2d,
    .bound = bound_transpose2d,
    .cost = cost_conv,
    .make_case = case_transpose2d,
};

/* --- conv_transpose1d --- */

static mlxn_status check_transpose1d(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_conv3d_params p = wide1(params);
    return check_conv(args, &p, true, false, error);
}
static mlxn_status ref_transpose1d(const mlxn_view *args, const void *params) {
    mlxn_conv3d_params p = wide1(params);
    return conv(args, &p, true, NULL);
}
static mlxn_status bound_transpose1d(const mlxn_view *args, const void *params, bool fast, uint32_t arg,
                                     double *out) {
    (void)fast;
    (void)arg;
    mlxn_conv3d_params p = wide1(params);
    return conv(args, &p, true, out);
}
static bool case_transpose1d(uint32_t i, mlxn_case *out) { return case_conv(i, out, 3, true); }

const mlxn_op_def mlxn_opdef_conv_transpose1d = {
    .name = "conv_transpose1d",
    .family = "conv",
    .doc = "conv_transpose2d of height 1. x: [N, L, C]; w: [O, K, C / groups]; bias: optional [O]; out: [N, OL, O].",
    .n_args = 4,
    .args = CONV_ARGS(3),
    .params_size = sizeof(mlxn_conv1d_params),
    .params_type = "mlxn_conv1d_params",
    .check = check_transpose1d,
    .ref = ref_transpose1d,
    .bound = bound_transpose1d,
    .cost = cost_conv,
    .make_case = case_transpose1d,
};

/* --- conv3d --- */

static mlxn_status check_conv3d(const mlxn_view *args, const void *params, mlxn_error *error) {
    return check_conv(args, params, false, true, error);
}
static mlxn_status ref_conv3d(const mlxn_view *args, const void *params) { return conv(args, params, false, NULL); }
static mlxn_status bound_conv3d(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    (void)arg;
    return conv(args, params, false, out);
}

static bool case_conv3d(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t n, in[3], c, o, kernel[3];
        mlxn_conv3d_params p;
    } volumes[] = {{1, {4, 5, 6}, 3, 20, {3, 3, 3}, {4, 3, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 1}},
                   {2, {5, 6, 4}, 16, 33, {2, 3, 2}, {5, 2, {2, 1, 3}, {1, 0, 1}, {1, 2, 1}, 1}},
                   {2, {3, 4, 4}, 12, 8, {1, 2, 2}, {3, 1, {1, 2, 2}, {0, 0, 0}, {0, 1, 1}, 4}},
                   {1, {6, 5, 5}, 18, 18, {3, 3, 3}, {6, 3, {0, 1, 1}, {0, 1, 1}, {2, 1, 1}, 18}},
                   {2, {2, 8, 8}, 3, 24, {2, 4, 4}, {2, 2, {2, 4, 4}, {0, 0, 0}, {1, 1, 1}, 1}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), k = mlxn_case_digit(&i, 5), bias = mlxn_case_digit(&i, 2);
    uint32_t layout = mlxn_case_digit(&i, 4);
    if (i) return false;
    mlxn_conv3d_params p = volumes[k].p;
    uint64_t places[3];
    for (uint32_t a = 0; a < 3; a++) {
        uint64_t stride = p.stride[a] ? p.stride[a] : 1, dilation = p.dilation[a] ? p.dilation[a] : 1;
        places[a] =
            (volumes[k].in[a] + 2 * (uint64_t)p.pad[a] - dilation * (volumes[k].kernel[a] - 1) - 1) / stride + 1;
    }
    const uint64_t *in = volumes[k].in, *kernel = volumes[k].kernel, o = volumes[k].o, n = volumes[k].n;
    uint64_t x[] = {n * in[0], in[1], in[2], volumes[k].c}, w[] = {o * kernel[0], kernel[1], kernel[2], 0};
    w[3] = volumes[k].c / p.groups;
    uint64_t to[] = {n * places[0], places[1], places[2], o};
    mlxn_dtype type = mlxn_case_float(dtype), other = mlxn_case_float(dtype + layout);
    out->args[CV_X] = mlxn_case_spread(mlxn_case_tensor(type, 4, x), layout, 1);
    out->args[CV_W] = mlxn_case_spread(mlxn_case_tensor(other, 4, w), layout, 2);
    out->args[CV_BIAS] = mlxn_case_spread(mlxn_case_tensor(MLXN_F32, 1, &o), layout, 3);
    out->args[CV_BIAS].present = bias;
    out->args[CV_OUT] = mlxn_case_spread(mlxn_case_tensor(type, 4, to), layout, 5);
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", CV_X);
    mlxn_case_name_arg(out, "w", CV_W);
    mlxn_case_name(out, "%s", bias ? ", bias" : "");
    return true;
}

const mlxn_op_def mlxn_opdef_conv3d = {
    .name = "conv3d",
    .family = "conv",
    .doc =
        "conv2d with a depth: x: [N D, H, W, C], D planes per image one after another, D in the parameters; w: [O "
        "KD, "
        "KH, KW, C / groups], KD in the parameters; bias: optional [O]; out: [N OD, OH, OW, O], dtype of x.",
    .n_args = 4,
    .args = CONV_ARGS(4),
    .params_size = sizeof(mlxn_conv3d_params),
    .params_type = "mlxn_conv3d_params",
    .check = check_conv3d,
    .ref = ref_conv3d,
    .bound = bound_conv3d,
    .cost = cost_conv,
    .make_case = case_conv3d,
};
