/* kv_rows.c: rows of key and value caches for checks, references and cases. */
#include "ops/kv_rows.h"

#include <math.h>
#include <mlxn/turboquant.h>

mlxn_status mlxn_want_cache(mlxn_error *error, const char *what, const mlxn_view *cache, uint32_t type, uint64_t d,
                            mlxn_kv_type *out) {
    *out = mlxn_kv_resolve(type, cache->dtype);
    const mlxn_kv_row *row = mlxn_kv_find(*out);
    if (!row)
        return type == MLXN_KV_DEFAULT
                   ? mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dtype is u8, want a type of its rows in params (kv.h)",
                               what)
                   : mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: the type of %s is %u, want 0 to %d", what, type,
                               MLXN_KV_TYPE_COUNT - 1);
    if (cache->dtype != row->dtype)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dtype is %s, want %s (rows of type %s)", what,
                         mlxn_dtype_name(cache->dtype), mlxn_dtype_name(row->dtype), row->name);
    if (mlxn_kv_plain(*out)) return mlxn_want_dim(error, what, 3, cache->dims[3], d, "values of a row");
    uint64_t bytes;
    mlxn_status status = mlxn_kv_row_bytes(*out, d, &bytes, error);
    if (status) {
        mlxn_error_prefix(error, "%s", what);
        return status;
    }
    if (cache->dims[3] != bytes)
        return mlxn_fail(
            error, MLXN_ERR_ARGUMENT, "%s: dim[3] is %llu, want %llu (bytes of a row of %llu values, %s)", what,
            (unsigned long long)cache->dims[3], (unsigned long long)bytes, (unsigned long long)d, row->name);
    if (cache->strides[3] != 1)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: stride[3] is %lld, want 1 (rows of type %s)", what,
                         (long long)cache->strides[3], row->name);
    return MLXN_OK;
}

static uint8_t *bytes_at(const mlxn_view *cache, uint64_t sequence, uint64_t head, uint64_t slot) {
    return (uint8_t *)cache->data + (int64_t)sequence * cache->strides[0] + (int64_t)head * cache->strides[1] +
           (int64_t)slot * cache->strides[2];
}

void mlxn_cache_get(const mlxn_view *cache, mlxn_kv_type type, uint64_t sequence, uint64_t head, uint64_t slot,
                    uint64_t d, double *out) {
    if (mlxn_kv_plain(type)) {
        uint64_t at[] = {sequence, head, slot, 0};
        for (at[3] = 0; at[3] < d; at[3]++) out[at[3]] = mlxn_view_get(cache, at);
        return;
    }
    const uint8_t *row = bytes_at(cache, sequence, head, slot);
    float part[MLXN_KV_MAX_TQ]; /* TurboQuant rows are no longer than this; the others are cut between blocks */
    for (uint64_t i = 0, bytes; i < d; i += MLXN_KV_MAX_TQ, row += bytes) {
        uint64_t n = mlxn_min_u64(d - i, MLXN_KV_MAX_TQ);
        if (mlxn_kv_row_bytes(type, n, &bytes, NULL)) return;
        mlxn_kv_decode(type, row, n, part);
        for (uint64_t j = 0; j < n; j++) out[i + j] = part[j];
    }
}

void mlxn_cache_set(const mlxn_view *cache, mlxn_kv_type type, uint64_t sequence, uint64_t head, uint64_t slot,
                    uint64_t d, const float *x) {
    if (mlxn_kv_plain(type)) {
        uint64_t at[] = {sequence, head, slot, 0};
        for (at[3] = 0; at[3] < d; at[3]++) mlxn_view_set(cache, at, x[at[3]]);
        return;
    }
    mlxn_kv_encode(type, x, d, bytes_at(cache, sequence, head, slot));
}

static void transform(double *x, uint64_t d) {
    for (uint64_t h = 1; h < d; h *= 2)
        for (uint64_t i = 0; i < d; i++)
            if (!(i & h)) {
                double a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
    for (uint64_t i = 0; i < d; i++) x[i] /= sqrt((double)d);
}

static void flip(double *x, uint64_t d) {
    const uint8_t *signs = mlxn_turboquant_signs();
    for (uint64_t i = 0; i < d; i++)
        if (signs[i / 8] >> (i % 8) & 1) x[i] = -x[i];
}

void mlxn_cache_rotate(double *x, uint64_t d) {
    flip(x, d);
    transform(x, d);
}

void mlxn_cache_unrotate(double *x, uint64_t d) {
    transform(x, d);
    flip(x, d);
}

mlxn_case_arg mlxn_case_cache(mlxn_kv_type type, uint64_t sequences, uint64_t heads, uint64_t slots, uint64_t d) {
    uint64_t x = d;
    if (!mlxn_kv_plain(type) && mlxn_kv_row_bytes(type, d, &x, NULL)) x = 0;
    mlxn_case_arg arg = mlxn_case_tensor(mlxn_kv_find(type)->dtype, 4, (uint64_t[]){sequences, heads, slots, x});
    if (!mlxn_kv_plain(type)) arg.fill = MLXN_FILL_BYTES;
    return arg;
}

void mlxn_case_fill_cache(const mlxn_view *cache, mlxn_kv_type type, uint64_t d, float deviation, uint64_t seed) {
    float row[MLXN_KV_MAX_TQ];
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    if (mlxn_kv_plain(type) || d > MLXN_KV_MAX_TQ) return;
    for (uint64_t s = 0; s < cache->dims[0]; s++)
        for (uint64_t h = 0; h < cache->dims[1]; h++)
            for (uint64_t c = 0; c < cache->dims[2]; c++) {
                for (uint64_t i = 0; i < d; i++) { /* a sum of four uniform numbers is normal enough */
                    float sum = -2;
                    for (int k = 0; k < 4; k++) {
                        state = state * 6364136223846793005u + 1442695040888963407u;
                        sum += (float)(state >> 40) * 0x1p-24f;
                    }
                    row[i] = sum * 1.7320508f * deviation;
                }
                mlxn_cache_set(cache, type, s, h, c, d, row);
            }
}

void mlxn_case_poison(const mlxn_view *cache, uint64_t sequence, uint64_t head, uint64_t slot) {
    uint64_t at[] = {sequence, head, slot, 0};
    for (at[3] = 0; at[3] < cache->dims[3]; at[3]++) mlxn_view_set(cache, at, cache->dtype == MLXN_U8 ? 255 : NAN);
}
