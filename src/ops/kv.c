/* kv.c: kv_write, rows into the slots of a ring cache. */
#include "ops/case.h"

enum { K, V, SEQUENCES, POSITIONS, K_CACHE, V_CACHE };

static mlxn_status check_kv_write(const mlxn_view *args, const void *params, mlxn_error *error) {
    (void)params;
    const mlxn_view *k = &args[K], *cache = &args[K_CACHE];
    mlxn_status status = mlxn_want_same_dims(error, "v", &args[V], "k", k);
    if (!status) status = mlxn_want_dim(error, "sequences", 0, args[SEQUENCES].dims[0], k->dims[0], "dim[0] of k");
    if (!status) status = mlxn_want_dim(error, "positions", 0, args[POSITIONS].dims[0], k->dims[0], "dim[0] of k");
    if (!status) status = mlxn_want_dim(error, "k_cache", 1, cache->dims[1], k->dims[1], "heads of k");
    if (!status) status = mlxn_want_dim(error, "k_cache", 3, cache->dims[3], k->dims[2], "last dim of k");
    if (!status) status = mlxn_want_same_dims(error, "v_cache", &args[V_CACHE], "k_cache", cache);
    if (!status) status = mlxn_want_same_dtype(error, "v_cache", &args[V_CACHE], "k_cache", cache);
    return status;
}

static mlxn_status ref_kv_write(const mlxn_view *args, const void *params) {
    (void)params;
    uint64_t rows = args[K].dims[0], heads = args[K].dims[1], d = args[K].dims[2];
    for (uint64_t t = 0; t < rows; t++) {
        uint64_t sequence = mlxn_view_u32(&args[SEQUENCES], t);
        if (sequence >= args[K_CACHE].dims[0]) continue;
        uint64_t slot = mlxn_view_u32(&args[POSITIONS], t) % args[K_CACHE].dims[2];
        for (uint64_t h = 0; h < heads; h++)
            for (uint64_t i = 0; i < d; i++) {
                uint64_t from[] = {t, h, i}, to[] = {sequence, h, slot, i};
                mlxn_view_set(&args[K_CACHE], to, mlxn_view_get(&args[K], from));
                mlxn_view_set(&args[V_CACHE], to, mlxn_view_get(&args[V], from));
            }
    }
    return MLXN_OK;
}

static mlxn_cost cost_kv_write(const mlxn_view *args, const void *params) {
    (void)params;
    double written = 2 * (double)mlxn_view_elements(&args[K]) * (double)mlxn_dtype_size(args[K_CACHE].dtype);
    return (mlxn_cost){2 * (double)mlxn_view_bytes(&args[K]) + written, 0};
}

static bool case_kv_write(uint32_t i, mlxn_case *out) {
    static const struct {
        uint64_t t, heads, d, slots;
        uint32_t n, sequences; /* rows name n sequences, the cache has `sequences` */
        double start;
    } shapes[] = {{1, 3, 64, 64, 1, 1, 0},    {1, 1, 256, 32, 1, 1, 77}, {7, 3, 64, 16, 1, 2, 13},
                  {12, 2, 128, 40, 3, 4, 30}, {33, 3, 64, 33, 1, 1, 20}, {10, 2, 31, 8, 5, 3, 6},
                  {64, 1, 256, 64, 1, 1, 0},  {16, 2, 128, 17, 4, 4, 9}, {2, 5, 1, 4, 2, 2, 4000000}};
    *out = (mlxn_case){0};
    uint32_t dtype = mlxn_case_digit(&i, 3), s = mlxn_case_digit(&i, sizeof shapes / sizeof shapes[0]);
    uint32_t layout = mlxn_case_digit(&i, 3);
    if (i) return false;
    out->args[K] = mlxn_case_tensor(MLXN_F32, 3, (uint64_t[]){shapes[s].t, shapes[s].heads, shapes[s].d});
    out->args[K].hi = s % 2 ? 1 : 300;
    out->args[V] = out->args[K];
    out->args[SEQUENCES] = mlxn_case_tensor(MLXN_U32, 1, &shapes[s].t);
    out->args[SEQUENCES].fill = MLXN_FILL_SEQUENCE;
    out->args[SEQUENCES].n = shapes[s].n;
    out->args[POSITIONS] = out->args[SEQUENCES];
    out->args[POSITIONS].fill = MLXN_FILL_POSITION;
    out->args[POSITIONS].lo = shapes[s].start;
    out->args[POSITIONS].hi = 5;
    out->args[K_CACHE] = mlxn_case_tensor(
        mlxn_case_float(dtype), 4, (uint64_t[]){shapes[s].sequences, shapes[s].heads, shapes[s].slots, shapes[s].d});
    out->args[V_CACHE] = out->args[K_CACHE];
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
    mlxn_case_name(out, ", %u sequences from %g", shapes[s].n, shapes[s].start);
    return true;
}

const mlxn_op_def mlxn_opdef_kv_write = {
    .name = "kv_write",
    .family = "kv",
    .doc =
        "k_cache[sequences[t], h, positions[t] mod C, :] = k[t, h, :], the same for v. k, v: [T, Hk, D] f32; "
        "sequences, positions: [T] u32; caches: [S, Hk, C, D] f32, f16 or bf16. Rows whose sequence is >= S are "
        "skipped. Two rows must not name the same slot.",
    .n_args = 6,
    .args = {{"k", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 3, 3},
             {"v", MLXN_ROLE_IN, false, false, 1u << MLXN_F32, 3, 3},
             {"sequences", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"positions", MLXN_ROLE_IN, false, false, 1u << MLXN_U32, 1, 1},
             {"k_cache", MLXN_ROLE_INOUT, false, false, MLXN_FLOATS, 4, 4},
             {"v_cache", MLXN_ROLE_INOUT, false, false, MLXN_FLOATS, 4, 4}},
    .check = check_kv_write,
    .ref = ref_kv_write,
    .cost = cost_kv_write,
    .make_case = case_kv_write,
};
