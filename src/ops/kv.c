/* kv.c: kv_write and kv_read, rows of keys and values into the slots of ring caches and out of them. */
#include <math.h>

#include "ops/bound.h"
#include "ops/kv_rows.h"

enum { K, V, SEQUENCES, POSITIONS, K_CACHE, V_CACHE };

static mlxn_status check_kv_write(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_kv_write_params *p = params;
    const mlxn_view *k = &args[K], *v = &args[V], *cache = &args[K_CACHE];
    mlxn_kv_type type;
    mlxn_status status = mlxn_want_dim(error, "v", 0, v->dims[0], k->dims[0], "dim[0] of k");
    if (!status) status = mlxn_want_dim(error, "v", 1, v->dims[1], k->dims[1], "heads of k");
    if (!status) status = mlxn_want_dim(error, "sequences", 0, args[SEQUENCES].dims[0], k->dims[0], "dim[0] of k");
    if (!status) status = mlxn_want_dim(error, "positions", 0, args[POSITIONS].dims[0], k->dims[0], "dim[0] of k");
    if (!status) status = mlxn_want_dim(error, "k_cache", 1, cache->dims[1], k->dims[1], "heads of k");
    for (uint32_t i = 0; i < 3 && !status; i++)
        status = mlxn_want_dim(error, "v_cache", i, args[V_CACHE].dims[i], cache->dims[i], "as k_cache");
    if (!status) status = mlxn_want_cache(error, "k_cache", cache, p->k_type, k->dims[2], &type);
    if (!status) status = mlxn_want_cache(error, "v_cache", &args[V_CACHE], p->v_type, v->dims[2], &type);
    return status;
}

static mlxn_status write_rows(const mlxn_view *args, const mlxn_view *x, const mlxn_view *cache, uint32_t type) {
    uint64_t d = x->dims[2];
    float *row = mlxn_alloc_array(d, sizeof *row);
    if (!row) return MLXN_ERR_MEMORY;
    for (uint64_t t = 0; t < x->dims[0]; t++) {
        uint64_t sequence = mlxn_view_u32(&args[SEQUENCES], t);
        if (sequence >= cache->dims[0]) continue;
        uint64_t slot = mlxn_view_u32(&args[POSITIONS], t) % cache->dims[2];
        for (uint64_t h = 0; h < x->dims[1]; h++) {
            for (uint64_t i = 0; i < d; i++) row[i] = (float)mlxn_view_get(x, (uint64_t[]){t, h, i});
            mlxn_cache_set(cache, mlxn_kv_resolve(type, cache->dtype), sequence, h, slot, d, row);
        }
    }
    mlxn_free(row);
    return MLXN_OK;
}

static mlxn_status ref_kv_write(const mlxn_view *args, const void *params) {
    const mlxn_kv_write_params *p = params;
    mlxn_status status = write_rows(args, &args[K], &args[K_CACHE], p->k_type);
    return status ? status : write_rows(args, &args[V], &args[V_CACHE], p->v_type);
}

static double rows_bytes(const mlxn_view *rows, const mlxn_view *cache) {
    return (double)(rows->dims[0] * rows->dims[1] * cache->dims[3] * mlxn_dtype_size(cache->dtype));
}

static mlxn_cost cost_kv_write(const mlxn_view *args, const void *params) {
    (void)params;
    double read = (double)mlxn_view_bytes(&args[K]) + (double)mlxn_view_bytes(&args[V]);
    return (mlxn_cost){read + rows_bytes(&args[K], &args[K_CACHE]) + rows_bytes(&args[V], &args[V_CACHE]), 0};
}

static const struct {
    uint64_t t, heads, d, slots;
    uint32_t n, sequences; /* rows name n sequences, the cache has `sequences` */
    double start;
} shapes[] = {{1, 3, 64, 64, 1, 1, 0},
              {1, 1, 256, 32, 1, 1, 77},
              {7, 3, 64, 16, 1, 2, 13},
              {12, 2, 128, 40, 3, 4, 30},
              {33, 3, 64, 33, 1, 1, 20},
              {10, 2, 31, 8, 5, 3, 6},
              {64, 1, 256, 64, 1, 1, 0},
              {16, 2, 128, 17, 4, 4, 9},
              {2, 5, 1, 4, 2, 2, 4000000},
              /* more tokens than slots, few and many */
              {30, 2, 64, 7, 2, 2, 9},
              {200, 1, 64, 11, 3, 2, 3}};

/* Rows of another head size in v, and pairs of types: the plain ones with both sides alike come first. */
static const struct {
    mlxn_kv_type k, v;
    uint64_t dk, dv;
    mlxn_dtype rows;
} typed[] = {{MLXN_KV_F16, MLXN_KV_F16, 192, 128, MLXN_F16},  {MLXN_KV_BF16, MLXN_KV_F32, 40, 40, MLXN_BF16},
             {MLXN_KV_Q8_0, MLXN_KV_Q8_0, 64, 64, MLXN_F32},  {MLXN_KV_Q4_0, MLXN_KV_Q4_1, 96, 96, MLXN_F32},
             {MLXN_KV_Q5_0, MLXN_KV_Q5_1, 128, 64, MLXN_F16}, {MLXN_KV_TQ8, MLXN_KV_TQ4, 64, 64, MLXN_F32},
             {MLXN_KV_TQ4, MLXN_KV_TQ5, 128, 128, MLXN_F32},  {MLXN_KV_TQ6, MLXN_KV_TQ6, 256, 256, MLXN_F32},
             {MLXN_KV_TQ5, MLXN_KV_TQ8, 512, 512, MLXN_BF16}, {MLXN_KV_TQ4, MLXN_KV_TQ6, 512, 64, MLXN_F32},
             {MLXN_KV_Q8_0, MLXN_KV_TQ4, 256, 256, MLXN_F32}, {MLXN_KV_F16, MLXN_KV_TQ8, 128, 128, MLXN_F16}};

static void case_rows(mlxn_case *out, uint32_t arg, mlxn_dtype dtype, uint32_t s, uint64_t d) {
    out->args[arg] = mlxn_case_tensor(dtype, 3, (uint64_t[]){shapes[s].t, shapes[s].heads, d});
    out->args[arg].hi = s % 2 ? 1 : 300;
}

static void case_places(mlxn_case *out, uint32_t sequences, uint32_t positions, uint32_t s) {
    out->args[sequences] = mlxn_case_tensor(MLXN_U32, 1, &shapes[s].t);
    out->args[sequences].fill = MLXN_FILL_SEQUENCE;
    out->args[sequences].n = shapes[s].n;
    out->args[positions] = out->args[sequences];
    out->args[positions].fill = MLXN_FILL_POSITION;
    out->args[positions].lo = shapes[s].start;
    out->args[positions].hi = 5;
}

enum { SHAPES = sizeof shapes / sizeof shapes[0], TYPED = sizeof typed / sizeof typed[0], PLAIN = 3 * SHAPES * 3 };

static void name_types(mlxn_case *out, mlxn_kv_type k, mlxn_kv_type v) {
    mlxn_case_name(out, ", %s and %s", mlxn_kv_type_name(k), mlxn_kv_type_name(v));
}

static bool case_kv_write(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t s, layout = 0;
    if (i < PLAIN) {
        mlxn_kv_type type = mlxn_kv_resolve(0, mlxn_case_float(mlxn_case_digit(&i, 3)));
        s = mlxn_case_digit(&i, SHAPES);
        layout = mlxn_case_digit(&i, 3);
        case_rows(out, K, MLXN_F32, s, shapes[s].d);
        out->args[V] = out->args[K];
        out->args[K_CACHE] =
            mlxn_case_cache(type, shapes[s].sequences, shapes[s].heads, shapes[s].slots, shapes[s].d);
        out->args[V_CACHE] = out->args[K_CACHE];
    } else {
        i -= PLAIN;
        static const uint32_t some[] = {0, 1, 2, 3, 4, SHAPES - 2, SHAPES - 1};
        uint32_t y = mlxn_case_digit(&i, TYPED);
        s = some[mlxn_case_digit(&i, 7)]; /* one with infinities and NaN among the values */
        if (i) return false;
        case_rows(out, K, typed[y].rows, s, typed[y].dk);
        case_rows(out, V, typed[y].rows, s, typed[y].dv);
        if (s == 3) out->args[K].fill = out->args[V].fill = MLXN_FILL_SPECIAL;
        if (s == 2) out->args[K].layout = MLXN_LAYOUT_INNER;
        out->args[K_CACHE] =
            mlxn_case_cache(typed[y].k, shapes[s].sequences, shapes[s].heads, shapes[s].slots, typed[y].dk);
        out->args[V_CACHE] =
            mlxn_case_cache(typed[y].v, shapes[s].sequences, shapes[s].heads, shapes[s].slots, typed[y].dv);
        if (s == 1) out->args[K_CACHE].layout = out->args[V_CACHE].layout = MLXN_LAYOUT_GAPS;
        mlxn_kv_write_params p = {typed[y].k, typed[y].v};
        memcpy(out->params, &p, sizeof p);
    }
    case_places(out, SEQUENCES, POSITIONS, s);
    if (layout == 1) {
        out->args[K].layout = MLXN_LAYOUT_GAPS;
        out->args[K_CACHE].layout = out->args[V_CACHE].layout = MLXN_LAYOUT_GAPS;
    } else if (layout == 2) {
        out->args[V].layout = MLXN_LAYOUT_OUTER;
        out->args[K].shift = 1;
        out->args[K_CACHE].layout = MLXN_LAYOUT_OUTER;
        out->args[V_CACHE].shift = 3;
        out->args[POSITIONS].layout = MLXN_LAYOUT_INNER;
    }
    mlxn_case_name_arg(out, "k", K);
    mlxn_case_name_arg(out, "k_cache", K_CACHE);
    const mlxn_kv_write_params *p = (const void *)out->params;
    if (p->k_type) name_types(out, p->k_type, p->v_type);
    mlxn_case_name(out, ", %u sequences from %g", shapes[s].n, shapes[s].start);
    return true;
}

const mlxn_op_def mlxn_opdef_kv_write = {
    .name = "kv_write",
    .family = "kv",
    .doc =
        "k_cache[sequences[t], h, positions[t] mod C, :] = k[t, h, :], the same for v. k, v: [T, Hk, Dk] and [T, Hk, "
        "Dv], f32, f16 or bf16; sequences, positions: [T] u32; caches: [S, Hk, C, D] f32, f16 or bf16, or [S, Hk, C, "
        "bytes] u8 of the types in params (kv.h). Rows whose sequence is >= S are skipped. Of rows that name the "
        "same "
        "slot the last one is kept: of more than C tokens the last C.",
    .n_args = 6,
    .args = {{"k", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"v", MLXN_ROLE_IN, false, false, MLXN_FLOATS, 3, 3},
             {"sequences", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"k_cache", MLXN_ROLE_INOUT, false, false, MLXN_CACHE_DTYPES, 4, 4},
             {"v_cache", MLXN_ROLE_INOUT, false, false, MLXN_CACHE_DTYPES, 4, 4}},
    .params_size = sizeof(mlxn_kv_write_params),
    .params_type = "mlxn_kv_write_params",
    .check = check_kv_write,
    .ref = ref_kv_write,
    .cost = cost_kv_write,
    .make_case = case_kv_write,
};

/* ---- kv_read ---- */

enum { R_CACHE, R_SEQUENCES, R_POSITIONS, R_OUT };

static mlxn_status check_kv_read(const mlxn_view *args, const void *params, mlxn_error *error) {
    const mlxn_kv_read_params *p = params;
    const mlxn_view *out = &args[R_OUT];
    mlxn_kv_type type;
    mlxn_status status = mlxn_want_dim(error, "out", 1, out->dims[1], args[R_CACHE].dims[1], "heads of cache");
    if (!status)
        status = mlxn_want_dim(error, "sequences", 0, args[R_SEQUENCES].dims[0], out->dims[0], "dim[0] of out");
    if (!status)
        status = mlxn_want_dim(error, "positions", 0, args[R_POSITIONS].dims[0], out->dims[0], "dim[0] of out");
    if (!status) status = mlxn_want_cache(error, "cache", &args[R_CACHE], p->type, out->dims[2], &type);
    return status;
}

static bool turns_back(const mlxn_view *args, const mlxn_kv_read_params *p) {
    return !p->rotated && mlxn_kv_type_rotated(mlxn_kv_resolve(p->type, args[R_CACHE].dtype));
}

static mlxn_status ref_kv_read(const mlxn_view *args, const void *params) {
    const mlxn_kv_read_params *p = params;
    const mlxn_view *out = &args[R_OUT], *cache = &args[R_CACHE];
    uint64_t d = out->dims[2];
    double *row = mlxn_alloc_array(d, sizeof *row);
    if (!row) return MLXN_ERR_MEMORY;
    for (uint64_t t = 0; t < out->dims[0]; t++)
        for (uint64_t h = 0; h < out->dims[1]; h++) {
            uint64_t sequence = mlxn_view_u32(&args[R_SEQUENCES], t);
            memset(row, 0, d * sizeof *row);
            if (sequence < cache->dims[0]) {
                mlxn_cache_get(cache, mlxn_kv_resolve(p->type, cache->dtype), sequence, h,
                               mlxn_view_u32(&args[R_POSITIONS], t) % cache->dims[2], d, row);
                if (turns_back(args, p)) mlxn_cache_unrotate(row, d);
            }
            for (uint64_t i = 0; i < d; i++) mlxn_view_set(out, (uint64_t[]){t, h, i}, row[i]);
        }
    mlxn_free(row);
    return MLXN_OK;
}

/* Values are exact, but for the transform: log2(D) additions, each of numbers no larger than the row is long, and
 * the rounding to the output's dtype. */
static mlxn_status bound_kv_read(const mlxn_view *args, const void *params, bool fast, uint32_t arg, double *bound) {
    (void)fast;
    const mlxn_view *out = &args[arg];
    uint64_t d = out->dims[2], rows = out->dims[0] * out->dims[1];
    bool turned = turns_back(args, params);
    for (uint64_t r = 0; r < rows; r++) {
        double length = 0;
        for (uint64_t i = 0; i < d; i++) {
            double x = mlxn_view_get(out, (uint64_t[]){r / out->dims[1], r % out->dims[1], i});
            length += x * x;
        }
        for (uint64_t i = 0; i < d; i++) {
            double x = mlxn_view_get(out, (uint64_t[]){r / out->dims[1], r % out->dims[1], i});
            double unit = out->dtype == MLXN_F32 ? 0 : mlxn_bound_unit(out->dtype, x);
            bound[r * d + i] = unit + (turned ? MLXN_EPS * (log2((double)d) + 2) * sqrt(length) : 0);
        }
    }
    return MLXN_OK;
}

static mlxn_cost cost_kv_read(const mlxn_view *args, const void *params) {
    (void)params;
    return (mlxn_cost){(double)mlxn_view_bytes(&args[R_OUT]) + rows_bytes(&args[R_OUT], &args[R_CACHE]), 0};
}

static void fill_kv_read(const mlxn_view *args, const void *params) {
    const mlxn_kv_read_params *p = params;
    mlxn_kv_type type = mlxn_kv_resolve(p->type, args[R_CACHE].dtype);
    mlxn_case_fill_cache(&args[R_CACHE], type, args[R_OUT].dims[2], 2, args[R_OUT].dims[0]);
}

static bool case_kv_read(uint32_t i, mlxn_case *out) {
    *out = (mlxn_case){0};
    uint32_t y = mlxn_case_digit(&i, TYPED), side = mlxn_case_digit(&i, 2), s = mlxn_case_digit(&i, 4);
    uint32_t rotated = mlxn_case_digit(&i, 2);
    if (i) return false;
    mlxn_kv_type type = side ? typed[y].v : typed[y].k;
    uint64_t d = side ? typed[y].dv : typed[y].dk;
    mlxn_kv_read_params p = {type, rotated};
    memcpy(out->params, &p, sizeof p);
    out->args[R_CACHE] = mlxn_case_cache(type, shapes[s].sequences, shapes[s].heads, shapes[s].slots, d);
    case_places(out, R_SEQUENCES, R_POSITIONS, s);
    case_rows(out, R_OUT, rotated ? MLXN_F32 : mlxn_case_float(s), s, d);
    if (s == 1) out->args[R_CACHE].layout = MLXN_LAYOUT_GAPS;
    if (s == 2) out->args[R_OUT].layout = MLXN_LAYOUT_OUTER;
    if (s == 3) out->args[R_OUT].layout = MLXN_LAYOUT_INNER;
    out->prepare = fill_kv_read;
    mlxn_case_name(out, "%s, ", mlxn_kv_type_name(type));
    mlxn_case_name_arg(out, "out", R_OUT);
    if (rotated) mlxn_case_name(out, ", rotated");
    return true;
}

const mlxn_op_def mlxn_opdef_kv_read = {
    .name = "kv_read",
    .family = "kv",
    .doc =
        "out[t, h, :] = cache[sequences[t], h, positions[t] mod C, :] as numbers. cache: as in kv_write, params.type "
        "that of its rows; rows of a TQ type are rotated back unless params.rotated is set. sequences, positions: "
        "[T] "
        "u32; out: [T, Hk, D] f32, f16 or bf16. Rows whose sequence is >= S give zeros.",
    .n_args = 4,
    .args = {{"cache", MLXN_ROLE_IN, false, false, MLXN_CACHE_DTYPES, 4, 4},
             {"sequences", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"out", MLXN_ROLE_OUT, false, false, MLXN_FLOATS, 3, 3}},
    .params_size = sizeof(mlxn_kv_read_params),
    .params_type = "mlxn_kv_read_params",
    .check = check_kv_read,
    .ref = ref_kv_read,
    .bound = bound_kv_read,
    .cost = cost_kv_read,
    .make_case = case_kv_read,
};
