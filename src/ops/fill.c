/* fill.c: tensors made from numbers, or around another: fill_value, arange, pad, diag_mask, timestep_embedding. */
#include <math.h>

#include "ops/case.h"

static double largest(mlxn_dtype dtype) {
    return dtype == MLXN_U8 ? UINT8_MAX : dtype == MLXN_U16 ? UINT16_MAX : dtype == MLXN_U32 ? UINT32_MAX : INT32_MAX;
}

static mlxn_status check_fill(const mlxn_view *args, const void *params, mlxn_error *error) {
    double value = ((const mlxn_fill_value_params *)params)->value;
    mlxn_dtype dtype = args[0].dtype;
    double least = dtype == MLXN_I32 ? INT32_MIN : 0, most = largest(dtype);
    if (MLXN_FLOATS >> dtype & 1 || (value == trunc(value) && value >= least && value <= most)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                     "params: value is %g, want a whole number from %.0f to %.0f (out is %s)", value, least, most,
                     mlxn_dtype_name(dtype));
}

static mlxn_status ref_fill(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[0]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[0], i, at);
        mlxn_view_set(&args[0], at, ((const mlxn_fill_value_params *)params)->value);
    }
    return MLXN_OK;
}

static mlxn_cost cost_fill(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]), 0};
}

static bool case_fill(uint32_t i, mlxn_case *out) {
    static const double values[] = {0, 1, 255, 0.1, 1e30};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), v = mlxn_case_digit(&i, 5);
    if (!mlxn_cases_unary(9 * i + 3 * v, out)) return false;
    out->args[0] = out->args[1];
    out->args[1] = (mlxn_case_arg){0};
    out->args[0].dtype = (mlxn_dtype)dtype;
    mlxn_fill_value_params p = {v > 2 && !(MLXN_FLOATS >> dtype & 1) ? 7 : values[v]};
    memcpy(out->params, &p, sizeof p);
    out->name[0] = 0;
    mlxn_case_name_arg(out, "out", 0);
    mlxn_case_name(out, " value %g", p.value);
    return true;
}

const mlxn_op_def mlxn_opdef_fill_value = {
    .name = "fill_value",
    .family = "fill",
    .doc = "out = value, everywhere. out: any dtype, any strides.",
    .n_args = 1,
    .args = {{"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_fill_value_params),
    .params_type = "mlxn_fill_value_params",
    .check = check_fill,
    .ref = ref_fill,
    .cost = cost_fill,
    .make_case = case_fill,
};

static mlxn_status check_arange(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_arange_params *p = params;
    mlxn_dtype dtype = args[0].dtype;
    double last = p->start + p->step * (double)(args[0].dims[0] - 1);
    double least = dtype == MLXN_I32 ? INT32_MIN : 0, most = largest(dtype);
    if (MLXN_FLOATS >> dtype & 1) return MLXN_OK;
    if (p->start != trunc(p->start) || p->step != trunc(p->step))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: start is %g and step %g, want whole numbers (out is %s)",
                         p->start, p->step, mlxn_dtype_name(dtype));
    if (fmin(p->start, last) < least || fmax(p->start, last) > most)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: %g to %g, want numbers from %.0f to %.0f (out is %s)",
                         p->start, last, least, most, mlxn_dtype_name(dtype));
    return MLXN_OK;
}

static mlxn_status ref_arange(const mlxn_view *args, const void *params) {
    const mlxn_arange_params *p = params;
    for (uint64_t i = 0; i < args[0].dims[0]; i++) mlxn_view_set(&args[0], &i, p->start + p->step * (double)i);
    return MLXN_OK;
}

static bool case_arange(uint32_t i, mlxn_case *out) {
    static const double starts[] = {0, 5, 250}, steps[] = {1, 3, -1};
    static const uint64_t n[] = {1, 2, 33};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), s = mlxn_case_digit(&i, 3), c = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[0] = mlxn_case_tensor((mlxn_dtype)dtype, 1, &n[s]);
    out->args[0].layout = c ? MLXN_LAYOUT_INNER : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_arange_params p = {starts[c], steps[c]};
    if (MLXN_FLOATS >> dtype & 1) p.step *= 0.1;
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "out", 0);
    return true;
}

/* Where element i of an axis of out comes from in an axis of n; false: from nowhere. */
static bool pad_source(uint32_t mode, uint64_t i, uint64_t before, uint64_t n, uint64_t *from) {
    int64_t k = (int64_t)i - (int64_t)before, count = (int64_t)n;
    if (k < 0 || k >= count) {
        if (mode == MLXN_PAD_CONSTANT) return false;
        if (mode == MLXN_PAD_EDGE) k = k < 0 ? 0 : count - 1;
        if (mode == MLXN_PAD_REFLECT) k = k < 0 ? -k : 2 * (count - 1) - k;
        if (mode == MLXN_PAD_WRAP) k = (k % count + count) % count;
    }
    *from = (uint64_t)k;
    return true;
}

static mlxn_status check_pad(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_pad_params *p = params;
    const mlxn_view *x = &args[0], *out = &args[1];
    mlxn_fill_value_params fill = {p->value};
    if (p->mode > MLXN_PAD_WRAP)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: mode is %u, want at most %d", p->mode, MLXN_PAD_WRAP);
    if (out->rank != x->rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "out: rank is %u, want %u (as x)", out->rank, x->rank);
    mlxn_status status = mlxn_want_same_dtype(error, "out", out, "x", x);
    for (uint32_t a = 0; a < x->rank && !status; a++) {
        uint64_t n = x->dims[a], before = p->before[a], total = out->dims[a];
        uint64_t after = total > before + n ? total - before - n : 0;
        if (p->mode != MLXN_PAD_WRAP && total < before + n)
            status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "out: dim[%u] is %llu, want at least %llu (before and x)", a,
                               (unsigned long long)total, (unsigned long long)(before + n));
        else if (p->mode == MLXN_PAD_REFLECT && (before >= n || after >= n))
            status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "x: dim[%u] is %llu, want more than %llu (to be mirrored)",
                               a, (unsigned long long)n, (unsigned long long)(before > after ? before : after));
    }
    return status || p->mode ? status : check_fill(&args[1], &fill, error);
}

static mlxn_status ref_pad(const mlxn_view *args, const void *params) {
    const mlxn_pad_params *p = params;
    const mlxn_view *x = &args[0], *out = &args[1];
    uint64_t n = mlxn_view_elements(out), at[MLXN_MAX_RANK], from = 0;
    size_t size = mlxn_dtype_size(x->dtype);
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(out, i, at);
        bool inside = true;
        int64_t src = 0, dst = 0;
        for (uint32_t a = 0; a < out->rank && inside; a++) {
            inside = pad_source(p->mode, at[a], p->before[a], x->dims[a], &from);
            if (p->flip >> a & 1) from = x->dims[a] - 1 - from;
            src += (int64_t)from * x->strides[a];
            dst += (int64_t)at[a] * out->strides[a];
        }
        if (inside)
            memcpy((uint8_t *)out->data + dst * (int64_t)size, (const uint8_t *)x->data + src * (int64_t)size, size);
        else
            mlxn_view_set(out, at, p->value);
    }
    return MLXN_OK;
}

static mlxn_cost cost_pad(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[0]) + (double)mlxn_view_bytes(&args[1]), 0};
}

static bool case_pad(uint32_t i, mlxn_case *out) {
    static const struct {
        uint32_t rank;
        uint64_t dims[4];
        uint32_t before[4], after[4];
    } shapes[] = {{1, {5}, {2}, {3}},
                  {2, {3, 17}, {0, 4}, {1, 0}},
                  {3, {2, 3, 33}, {1, 0, 5}, {0, 2, 9}},
                  {4, {2, 3, 4, 5}, {1, 2, 0, 3}, {1, 0, 3, 4}}};
    *out = (mlxn_case){0};
    uint32_t mode = mlxn_case_digit(&i, 4), dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT);
    uint32_t s = mlxn_case_digit(&i, 4), flip = mlxn_case_digit(&i, 3);
    if (i) return false;
    uint64_t dims[4];
    mlxn_pad_params p = {mode, flip * 3, {0}, dtype < 3 ? -1.5 : 7};
    for (uint32_t a = 0; a < shapes[s].rank; a++) {
        p.before[a] = shapes[s].before[a];
        dims[a] = shapes[s].dims[a] + p.before[a] + shapes[s].after[a];
        if (mode == MLXN_PAD_WRAP && flip == 1) dims[a] = shapes[s].dims[a]; /* a rotation */
    }
    out->args[0] = mlxn_case_tensor((mlxn_dtype)dtype, shapes[s].rank, shapes[s].dims);
    out->args[1] = mlxn_case_tensor((mlxn_dtype)dtype, shapes[s].rank, dims);
    if (mode == MLXN_PAD_REFLECT)
        for (uint32_t a = 0; a < shapes[s].rank; a++) {
            if (p.before[a] >= shapes[s].dims[a]) p.before[a] = 0;
            if (out->args[1].dims[a] - p.before[a] > 2 * shapes[s].dims[a] - 1)
                out->args[1].dims[a] = p.before[a] + 2 * shapes[s].dims[a] - 1;
        }
    out->args[0].fill = MLXN_FILL_BYTES;
    out->args[0].layout = flip ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].layout = flip == 2 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " mode %u flip %u", mode, p.flip);
    return true;
}

static mlxn_status check_diag(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    return mlxn_want_like(error, "out", &args[1], "x", &args[0]);
}

static mlxn_status ref_diag(const mlxn_view *args, const void *params) {
    const mlxn_diag_mask_params *p = params;
    uint64_t n = mlxn_view_elements(&args[1]), at[MLXN_MAX_RANK];
    uint32_t rank = args[1].rank;
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[1], i, at);
        int64_t off = (int64_t)at[rank - 1] - (int64_t)at[rank - 2] - p->diagonal;
        bool hidden = p->upper ? off < 0 : off > 0;
        mlxn_view_set(&args[1], at, hidden ? (double)p->value : mlxn_view_get(&args[0], at));
    }
    return MLXN_OK;
}

static bool case_diag(uint32_t i, mlxn_case *out) {
    static const struct {
        uint32_t rank;
        uint64_t dims[4];
    } shapes[] = {{2, {1, 1}}, {2, {5, 33}}, {3, {2, 40, 17}}, {4, {2, 2, 3, 64}}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, 4), kind = mlxn_case_digit(&i, 4);
    if (i) return false;
    for (uint32_t k = 0; k < 2; k++)
        out->args[k] = mlxn_case_tensor(mlxn_case_float(dtype), shapes[s].rank, shapes[s].dims);
    out->args[0].layout = kind == 1 ? MLXN_LAYOUT_INNER : kind == 2 ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    out->args[1].layout = kind == 3 ? MLXN_LAYOUT_GAPS : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_diag_mask_params p = {(int32_t[]){0, 3, -2, 30}[kind], kind & 1, kind < 2 ? -INFINITY : 0};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "x", 0);
    mlxn_case_name(out, " diagonal %d", p.diagonal);
    return true;
}

static mlxn_status check_timestep(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_timestep_embedding_params *p = params;
    mlxn_status status = mlxn_want_dim(error, "out", 0, args[1].dims[0], args[0].dims[0], "elements of t");
    if (!status && !(p->max_period > 0 && isfinite(p->max_period)))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: max_period is %g, want a number above 0",
                           (double)p->max_period);
    return status;
}

static mlxn_status ref_timestep(const mlxn_view *args, const void *params) {
    double period = (double)((const mlxn_timestep_embedding_params *)params)->max_period;
    uint64_t half = args[1].dims[1] / 2;
    for (uint64_t r = 0; r < args[1].dims[0]; r++)
        for (uint64_t j = 0; j < args[1].dims[1]; j++) {
            uint64_t k = j % (half ? half : 1);
            double angle = mlxn_view_get(&args[0], &r) * exp(-log(period) * (double)k / (double)half);
            double v = j >= 2 * half ? 0 : j < half ? cos(angle) : sin(angle);
            mlxn_view_set(&args[1], (const uint64_t[]){r, j}, v);
        }
    return MLXN_OK;
}

static bool case_timestep(uint32_t i, mlxn_case *out) {
    static const uint64_t dims[][2] = {{1, 1}, {5, 33}, {3, 320}};
    *out = (mlxn_case){0};
    uint32_t s = mlxn_case_digit(&i, 3), kind = mlxn_case_digit(&i, 2);
    if (i) return false;
    out->args[0] = mlxn_case_tensor(MLXN_F32, 1, dims[s]);
    out->args[0].fill = MLXN_FILL_UNIFORM;
    out->args[0].hi = 1000;
    out->args[1] = mlxn_case_tensor(MLXN_F32, 2, dims[s]);
    out->args[1].layout = kind ? MLXN_LAYOUT_TRANSPOSED : MLXN_LAYOUT_CONTIGUOUS;
    mlxn_timestep_embedding_params p = {10000};
    memcpy(out->params, &p, sizeof p);
    mlxn_case_name_arg(out, "out", 1);
    return true;
}

const mlxn_op_def mlxn_opdef_arange = {
    .name = "arange",
    .family = "fill",
    .doc = "out[i] = start + i step, computed in double. out: [n], any dtype.",
    .n_args = 1,
    .args = {{"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 1, 1}},
    .params_size = sizeof(mlxn_arange_params),
    .params_type = "mlxn_arange_params",
    .check = check_arange,
    .ref = ref_arange,
    .cost = cost_fill,
    .make_case = case_arange,
};

const mlxn_op_def mlxn_opdef_pad = {
    .name = "pad",
    .family = "fill",
    .doc =
        "out with x at the index `before`, and around it a value, the nearest element, x mirrored or x repeated "
        "(mlxn_pad_mode); axes of x may be read backwards. Same rank and dtype (any). WRAP rotates where out has the "
        "dims of x: out[i] = x[(i - before) mod n].",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_pad_params),
    .params_type = "mlxn_pad_params",
    .check = check_pad,
    .ref = ref_pad,
    .cost = cost_pad,
    .make_case = case_pad,
};

const mlxn_op_def mlxn_opdef_diag_mask = {
    .name = "diag_mask",
    .family = "fill",
    .doc =
        "out = x, but value above (upper: below) the diagonal j = i + diagonal of the last two axes. Same dims and "
        "dtype (f32, f16, bf16). -infinity makes a causal mask, 0 a triangle. out may be x.",
    .n_args = 2,
    .args = {{"x", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 2, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 2, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_diag_mask_params),
    .params_type = "mlxn_diag_mask_params",
    .check = check_diag,
    .ref = ref_diag,
    .cost = cost_pad,
    .make_case = case_diag,
    .inplace = 1u << 0,
};

const mlxn_op_def mlxn_opdef_timestep_embedding = {
    .name = "timestep_embedding",
    .family = "fill",
    .doc =
        "out[n, :] = cos(t[n] f), sin(t[n] f), f[j] = max_period^(-j / half), half = D / 2; 0 in an odd last place. "
        "Angles in double. t: [N] f32; out: [N, D] f32.",
    .n_args = 2,
    .args = {{"t", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_F32, 2, 2}},
    .params_size = sizeof(mlxn_timestep_embedding_params),
    .params_type = "mlxn_timestep_embedding_params",
    .check = check_timestep,
    .ref = ref_timestep,
    .cost = cost_pad,
    .make_case = case_timestep,
};
