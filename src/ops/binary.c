/* binary.c: functions of two numbers with broadcasting: binary, compare, where, and glu, the gated products. */
#include <math.h>

#include "ops/bound.h"
#include "ops/case.h"

/* Dims are matched from the last one on; a dim that is missing or 1 is repeated. */
static mlxn_status want_broadcast(mlxn_error *error, const char *arg, const mlxn_view *view, const mlxn_view *out) {
    if (view->rank > out->rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: rank is %u, want at most %u (as out)", arg, view->rank,
                         out->rank);
    for (uint32_t i = 0; i < view->rank; i++) {
        uint64_t want = out->dims[i + out->rank - view->rank];
        if (view->dims[i] != want && view->dims[i] != 1)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dim[%u] is %llu, want %llu or 1 (as out)", arg, i,
                             (unsigned long long)view->dims[i], (unsigned long long)want);
    }
    return MLXN_OK;
}

/* out has the larger of each pair of dims, no more. */
static mlxn_status check_shapes(const mlxn_view *const *in, const char *const *names, uint32_t n,
                                const mlxn_view *out, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint32_t k = 0; k < n && !status; k++) status = want_broadcast(error, names[k], in[k], out);
    for (uint32_t i = 0; i < out->rank && !status; i++) {
        bool reached = out->dims[i] == 1;
        for (uint32_t k = 0; k < n; k++)
            reached =
                reached || (i + in[k]->rank >= out->rank && in[k]->dims[i + in[k]->rank - out->rank] == out->dims[i]);
        if (!reached)
            status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "out: dim[%u] is %llu, want 1 (as %s)", i,
                               (unsigned long long)out->dims[i], names[0]);
    }
    return status;
}

static void broadcast_index(const mlxn_view *view, const mlxn_view *out, const uint64_t *at, uint64_t *own) {
    for (uint32_t i = 0; i < view->rank; i++) own[i] = view->dims[i] == 1 ? 0 : at[i + out->rank - view->rank];
}
static double broadcast_get(const mlxn_view *view, const mlxn_view *out, const uint64_t *at) {
    uint64_t own[MLXN_MAX_RANK];
    broadcast_index(view, out, at, own);
    return mlxn_view_get(view, own);
}

static mlxn_status check_fn(uint32_t fn, uint32_t count, mlxn_error *error) {
    if (fn < count) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: fn is %u, want less than %u", fn, count);
}

static mlxn_status check_binary(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_status status = check_shapes((const mlxn_view *const[]){&args[0], &args[1]}, (const char *const[]){"a", "b"},
                                      2, &args[2], error);
    if (!status) status = mlxn_want_same_dtype(error, "b", &args[1], "a", &args[0]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[2], "a", &args[0]);
    return status ? status : check_fn(((const mlxn_binary_params *)params)->fn, MLXN_BINARY_COUNT, error);
}

static mlxn_status check_compare(const mlxn_view *args, const void *params, mlxn_error *error) {
    mlxn_status status = check_shapes((const mlxn_view *const[]){&args[0], &args[1]}, (const char *const[]){"a", "b"},
                                      2, &args[2], error);
    if (!status) status = mlxn_want_same_dtype(error, "b", &args[1], "a", &args[0]);
    return status ? status : check_fn(((const mlxn_compare_params *)params)->fn, MLXN_COMPARE_COUNT, error);
}

static mlxn_status check_where(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    mlxn_status status = check_shapes((const mlxn_view *const[]){&args[0], &args[1], &args[2]},
                                      (const char *const[]){"condition", "a", "b"}, 3, &args[3], error);
    if (!status) status = mlxn_want_same_dtype(error, "b", &args[2], "a", &args[1]);
    if (!status) status = mlxn_want_same_dtype(error, "out", &args[3], "a", &args[1]);
    return status;
}

static mlxn_status check_glu(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_glu_params *p = params;
    mlxn_status status = mlxn_want_like(error, "up", &args[1], "gate", &args[0]);
    if (!status) status = mlxn_want_like(error, "out", &args[2], "gate", &args[0]);
    if (!status) status = check_fn(p->fn, MLXN_GLU_COUNT, error);
    if (!status && p->fn == MLXN_GLU_SILU_CLAMPED && !(p->limit > 0))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: limit is %g, want a number above 0", (double)p->limit);
    return status;
}

static double binary(uint32_t fn, double a, double b) {
    bool nan = isnan(a) || isnan(b);
    switch ((mlxn_binary_fn)fn) {
        case MLXN_BINARY_ADD:
            return a + b;
        case MLXN_BINARY_SUB:
            return a - b;
        case MLXN_BINARY_MUL:
            return a * b;
        case MLXN_BINARY_DIV:
            return a / b;
        case MLXN_BINARY_MIN:
            return nan ? NAN : a < b ? a : b;
        case MLXN_BINARY_MAX:
            return nan ? NAN : a > b ? a : b;
        case MLXN_BINARY_POW:
            return nan ? NAN : pow(a, b);
        case MLXN_BINARY_REMAINDER: {
            double r = fmod(a, b);
            return r != 0 && (r < 0) != (b < 0) ? r + b : r;
        }
        case MLXN_BINARY_ATAN2:
            return atan2(a, b);
        default:
            if (nan) return NAN;
            if (isinf(a) || isinf(b)) return a > b ? a : b;
            return fmax(a, b) + log1p(exp(-fabs(a - b)));
    }
}

static bool compare(uint32_t fn, double a, double b) {
    switch ((mlxn_compare_fn)fn) {
        case MLXN_COMPARE_EQ:
            return a == b;
        case MLXN_COMPARE_NE:
            return a != b;
        case MLXN_COMPARE_LT:
            return a < b;
        case MLXN_COMPARE_LE:
            return a <= b;
        case MLXN_COMPARE_GT:
            return a > b;
        case MLXN_COMPARE_GE:
            return a >= b;
        case MLXN_COMPARE_AND:
            return a != 0 && b != 0;
        case MLXN_COMPARE_OR:
            return a != 0 || b != 0;
        default:
            return (a != 0) != (b != 0);
    }
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static double glu(const mlxn_glu_params *p, double g, double u) {
    double alpha = (double)p->alpha, limit = (double)p->limit;
    switch ((mlxn_glu_fn)p->fn) {
        case MLXN_GLU_SIGMOID:
            return sigmoid(g) * u;
        case MLXN_GLU_RELU:
            return (g < 0 ? 0 : g) * u;
        case MLXN_GLU_SILU:
            return g * sigmoid(g) * u;
        case MLXN_GLU_GELU:
            return g / 2 * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) * u;
        case MLXN_GLU_GELU_ERF:
            return g / 2 * erfc(-g / sqrt(2)) * u;
        case MLXN_GLU_GELU_QUICK:
            return g * sigmoid(1.702 * g) * u;
        default:
            g = g > limit ? limit : g;
            u = u > limit ? limit : u < -limit ? -limit : u;
            return g * sigmoid(alpha * g) * (u + 1);
    }
}

static mlxn_status ref_binary(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        double a = broadcast_get(&args[0], &args[2], at), b = broadcast_get(&args[1], &args[2], at);
        mlxn_view_set(&args[2], at, binary(((const mlxn_binary_params *)params)->fn, a, b));
    }
    return MLXN_OK;
}

static mlxn_status ref_compare(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        double a = broadcast_get(&args[0], &args[2], at), b = broadcast_get(&args[1], &args[2], at);
        mlxn_view_set(&args[2], at, compare(((const mlxn_compare_params *)params)->fn, a, b));
    }
    return MLXN_OK;
}

/* Bytes, not values: NaN payloads survive. */
static mlxn_status ref_where(const mlxn_view *args, const void *params) {
    (void)params;
    const mlxn_view *out = &args[3];
    uint64_t n = mlxn_view_elements(out), at[MLXN_MAX_RANK], own[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(out, i, at);
        const mlxn_view *from = broadcast_get(&args[0], out, at) != 0 ? &args[1] : &args[2];
        broadcast_index(from, out, at, own);
        mlxn_view_copy(out, at, from, own);
    }
    return MLXN_OK;
}

static mlxn_status ref_glu(const mlxn_view *args, const void *params) {
    uint64_t n = mlxn_view_elements(&args[2]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[2], i, at);
        mlxn_view_set(&args[2], at, glu(params, mlxn_view_get(&args[0], at), mlxn_view_get(&args[1], at)));
    }
    return MLXN_OK;
}

/* Sums, products, quotients and extremes are rounded once, as in the reference. pow is the C library's; the remainder
 * of a large quotient is exact in the reference and in kernels, up to the last sum; logaddexp has units of its terms.
 */
static mlxn_status bound_binary(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    uint32_t fn = ((const mlxn_binary_params *)params)->fn;
    const mlxn_view *o = &args[arg];
    uint64_t n = mlxn_view_elements(o), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(o, i, at);
        double ref = mlxn_view_get(o, at);
        double a = fabs(broadcast_get(&args[0], o, at)), b = fabs(broadcast_get(&args[1], o, at));
        bool half = o->dtype != MLXN_F32;
        out[i] = 0;
        if (fn == MLXN_BINARY_POW || fn == MLXN_BINARY_ATAN2) out[i] = 4 * MLXN_EPS * fabs(ref) + 1e-44;
        if (fn == MLXN_BINARY_REMAINDER) out[i] = MLXN_EPS * b;
        if (fn == MLXN_BINARY_LOGADDEXP) out[i] = 8 * MLXN_EPS * (a + b + 1);
        if (half && fn != MLXN_BINARY_MIN && fn != MLXN_BINARY_MAX) out[i] += mlxn_bound_unit(o->dtype, ref);
    }
    return MLXN_OK;
}

/* As for the activations: a few units of the result, or of |gate up| where terms cancel. */
static mlxn_status bound_glu(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *out) {
    (void)fast;
    const mlxn_glu_params *p = params;
    bool cancel = p->fn >= MLXN_GLU_GELU;
    uint64_t n = mlxn_view_elements(&args[arg]), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(&args[arg], i, at);
        double g = fabs(mlxn_view_get(&args[0], at)), u = fabs(mlxn_view_get(&args[1], at));
        double ref = mlxn_view_get(&args[arg], at);
        if (p->fn == MLXN_GLU_SILU_CLAMPED) u += 1;
        out[i] = 16 * MLXN_EPS * fabs(ref) + (cancel ? 8 * MLXN_EPS * g * u : 0) + 1e-36 * (1 + g) * (1 + u);
        if (args[arg].dtype != MLXN_F32) out[i] += mlxn_bound_unit(args[arg].dtype, ref);
    }
    return MLXN_OK;
}

static mlxn_cost cost_of(const mlxn_view *args, uint32_t n_args, double flops) {
    double bytes = 0;
    for (uint32_t i = 0; i < n_args; i++) bytes += (double)mlxn_view_bytes(&args[i]);
    return (mlxn_cost){bytes, flops * (double)mlxn_view_elements(&args[n_args - 1])};
}
static mlxn_cost cost_binary(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_of(args, 3, 1);
}
static mlxn_cost cost_where(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_of(args, 4, 0);
}
static mlxn_cost cost_glu(const mlxn_view *args, const void *params) {
    (void)params;
    return cost_of(args, 3, 14);
}

/* Pairs of shapes and their result: equal, a row, a column, one number, an outer product, fewer dims. */
static const struct {
    uint32_t ra, rb;
    uint64_t a[4], b[4], out[4];
} pairs[] = {{2, 2, {7, 65}, {7, 65}, {7, 65}},
             {2, 1, {5, 33}, {33}, {5, 33}},
             {2, 2, {9, 17}, {9, 1}, {9, 17}},
             {1, 1, {1031}, {1}, {1031}},
             {2, 2, {4, 1}, {1, 19}, {4, 19}},
             {1, 3, {16}, {2, 3, 1}, {2, 3, 16}},
             {4, 4, {2, 1, 3, 5}, {1, 4, 1, 5}, {2, 4, 3, 5}},
             {3, 3, {2, 3, 40}, {2, 1, 40}, {2, 3, 40}}};
enum { N_PAIRS = sizeof pairs / sizeof pairs[0] };

static void case_pair(uint32_t s, uint32_t dtype, bool special, mlxn_case *out) {
    uint32_t rank = pairs[s].ra > pairs[s].rb ? pairs[s].ra : pairs[s].rb;
    out->args[0] = mlxn_case_tensor(mlxn_case_float(dtype), pairs[s].ra, pairs[s].a);
    out->args[1] = mlxn_case_tensor(mlxn_case_float(dtype), pairs[s].rb, pairs[s].b);
    out->args[2] = mlxn_case_tensor(mlxn_case_float(dtype), rank, pairs[s].out);
    if (special) {
        out->args[0].fill = out->args[1].fill = MLXN_FILL_SPECIAL;
    } else if (s % 2) {
        out->args[0].layout = MLXN_LAYOUT_GAPS;
        out->args[1].layout = MLXN_LAYOUT_INNER;
        out->args[2].layout = MLXN_LAYOUT_GAPS;
        out->args[0].shift = 1;
        out->args[2].shift = 3;
    }
    mlxn_case_name_arg(out, "a", 0);
    mlxn_case_name_arg(out, "b", 1);
}

static bool case_binary(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t fn = mlxn_case_digit(&i, MLXN_BINARY_COUNT), dtype = mlxn_case_digit(&i, 3);
    uint32_t s = mlxn_case_digit(&i, N_PAIRS), special = mlxn_case_digit(&i, 2);
    if (i) return false;
    case_pair(s, dtype, special, out);
    if (fn == MLXN_BINARY_POW && !special && s % 2 == 0) {
        out->args[0].fill = MLXN_FILL_UNIFORM;
        out->args[0].hi = 5;
    }
    if (!special && s % 4 == 0) out->args[1].fill = MLXN_FILL_TIES;
    mlxn_case_name(out, " fn %u%s", fn, special ? " special" : "");
    mlxn_binary_params p = {fn};
    memcpy(out->params, &p, sizeof p);
    return true;
}

static bool case_compare(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t fn = mlxn_case_digit(&i, MLXN_COMPARE_COUNT), dtype = mlxn_case_digit(&i, 7);
    uint32_t s = mlxn_case_digit(&i, N_PAIRS), special = mlxn_case_digit(&i, 2);
    if (i) return false;
    case_pair(s, dtype < 3 ? dtype : 0, special && dtype < 3, out);
    if (!special) out->args[0].fill = out->args[1].fill = MLXN_FILL_TIES;
    if (dtype >= 3) { /* of 32 bits, small ones and any: their neighbours are one f32 */
        static const mlxn_dtype whole[] = {MLXN_U8, MLXN_U16, MLXN_U32, MLXN_I32};
        out->args[0].dtype = out->args[1].dtype = whole[dtype - 3];
        out->args[0].fill = out->args[1].fill = MLXN_FILL_INDEX;
        out->args[0].lo = out->args[1].lo = dtype == 6 ? -2 : 0;
        out->args[0].hi = out->args[1].hi = special ? 255 : 2;
        if (special && dtype > 4) {
            out->args[0].lo = out->args[1].lo = 0x7ffffff0;
            out->args[0].hi = out->args[1].hi = dtype == 5 ? 0x80000010u : 0x7fffffff;
            if (s % 2) out->args[0].fill = MLXN_FILL_BYTES;
        }
    }
    out->args[2].dtype = MLXN_U8;
    mlxn_case_name(out, " %s fn %u", mlxn_dtype_name(out->args[0].dtype), fn);
    mlxn_compare_params p = {fn};
    memcpy(out->params, &p, sizeof p);
    return true;
}

static bool case_where(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, MLXN_DTYPE_COUNT), s = mlxn_case_digit(&i, N_PAIRS);
    uint32_t turn = mlxn_case_digit(&i, 3);
    if (i) return false;
    case_pair(s, 0, false, out);
    mlxn_case_arg full = out->args[2], a = out->args[0], b = out->args[1];
    full.dtype = a.dtype = b.dtype = (mlxn_dtype)dtype;
    full.fill = a.fill = b.fill = MLXN_FILL_BYTES;
    out->args[0] = turn == 0 ? full : turn == 1 ? a : b;
    out->args[1] = turn == 0 ? a : turn == 1 ? b : full;
    out->args[2] = turn == 0 ? b : turn == 1 ? full : a;
    out->args[3] = full;
    out->args[3].fill = MLXN_FILL_NORMAL;
    out->args[0].dtype = MLXN_U8;
    out->args[0].fill = MLXN_FILL_INDEX;
    out->args[0].hi = 2;
    out->name[0] = 0;
    mlxn_case_name_arg(out, "condition", 0);
    mlxn_case_name_arg(out, "a", 1);
    mlxn_case_name_arg(out, "b", 2);
    return true;
}

static bool case_glu(uint32_t i, mlxn_case *out) {
    uint32_t fn = mlxn_case_digit(&i, MLXN_GLU_COUNT);
    if (!mlxn_cases_binary(7 * i + fn, out)) return false;
    mlxn_glu_params p = {fn, 1.702f, 7};
    memcpy(out->params, &p, sizeof p);
    if (i % 4 == 3) out->args[0] = (mlxn_case_arg){0}, out->args[0] = out->args[1];
    if (i % 4 == 3) out->args[0].fill = MLXN_FILL_UNIFORM, out->args[0].lo = -100, out->args[0].hi = 100;
    if (i % 4 == 1) out->args[1].hi = 9;
    mlxn_case_name(out, ", fn %u", fn);
    return true;
}

const mlxn_op_def mlxn_opdef_binary = {
    .name = "binary",
    .family = "binary",
    .doc =
        "out = fn(a, b), elementwise, fn of mlxn_binary_fn. Dims of a and b are matched from the last one on and "
        "repeated where they are missing or 1. One dtype (f32, f16, bf16; computed in f32, rounded once). out may be "
        "the one that has all of its dims.",
    .n_args = 3,
    .args = {{"a", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"b", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_binary_params),
    .params_type = "mlxn_binary_params",
    .check = check_binary,
    .ref = ref_binary,
    .bound = bound_binary,
    .cost = cost_binary,
    .make_case = case_binary,
    .inplace = 1u << 0 | 1u << 1,
};

const mlxn_op_def mlxn_opdef_compare = {
    .name = "compare",
    .family = "binary",
    .doc =
        "out = 1 where fn(a, b) holds, else 0; fn of mlxn_compare_fn. Dims as in binary; a and b of one dtype "
        "(any), out u8. Comparisons with NaN do not hold, but for \"not equal\".",
    .n_args = 3,
    .args = {{"a", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"b", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, 1u << MLXN_U8, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_compare_params),
    .params_type = "mlxn_compare_params",
    .check = check_compare,
    .ref = ref_compare,
    .cost = cost_binary,
    .make_case = case_compare,
    .inplace = 1u << 0 | 1u << 1,
};

const mlxn_op_def mlxn_opdef_where = {
    .name = "where",
    .family = "binary",
    .doc =
        "out = a where condition is not 0, else b, bit for bit. condition: u8; a, b, out: one dtype (any). Dims as "
        "in binary. out may be a or b.",
    .n_args = 4,
    .args = {{"condition", MLXN_ROLE_IN, false, false, 1u << MLXN_U8, 1, MLXN_MAX_RANK},
             {"a", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"b", MLXN_ROLE_IN, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_ANY_DTYPE, 1, MLXN_MAX_RANK}},
    .check = check_where,
    .ref = ref_where,
    .cost = cost_where,
    .make_case = case_where,
    .inplace = 1u << 1 | 1u << 2,
};

const mlxn_op_def mlxn_opdef_glu = {
    .name = "glu",
    .family = "binary",
    .doc =
        "out = fn(gate) * up, fn of mlxn_glu_fn. Same dims and dtype (f32, f16, bf16); halves of one tensor are "
        "views of it. out may be gate or up.",
    .n_args = 3,
    .args = {{"gate", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"up", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 1, MLXN_MAX_RANK}},
    .params_size = sizeof(mlxn_glu_params),
    .params_type = "mlxn_glu_params",
    .check = check_glu,
    .ref = ref_glu,
    .bound = bound_glu,
    .cost = cost_glu,
    .make_case = case_glu,
    .inplace = 1u << 0 | 1u << 1,
};
