/* kv_rows.h: cache arguments of operations: checks, and rows as the references read and write them. */
#ifndef MLXN_SRC_OPS_KV_ROWS_H
#define MLXN_SRC_OPS_KV_ROWS_H

#include "ops/case.h"
#include "quant/kv_types.h"

enum { MLXN_CACHE_DTYPES = MLXN_FLOATS | 1u << MLXN_U8 };

/* Whether `cache` [S, Hk, C, x] can hold rows of d values of `type`; the messages name `what`. *out: the type meant.
 */
mlxn_status mlxn_want_cache(mlxn_error *error, const char *what, const mlxn_view *cache, uint32_t type, uint64_t d,
                            mlxn_kv_type *out);
/* Row (sequence, head, slot): d values, still rotated if the type is. */
void mlxn_cache_get(const mlxn_view *cache, mlxn_kv_type type, uint64_t sequence, uint64_t head, uint64_t slot,
                    uint64_t d, double *out);
void mlxn_cache_set(const mlxn_view *cache, mlxn_kv_type type, uint64_t sequence, uint64_t head, uint64_t slot,
                    uint64_t d, const float *x);
/* The transforms of kv_types.h in double, straight from their definition. */
void mlxn_cache_rotate(double *x, uint64_t d);
void mlxn_cache_unrotate(double *x, uint64_t d);

/* For cases: a cache of the type, for rows of d values; and its contents, normal numbers of deviation `deviation`. */
mlxn_case_arg mlxn_case_cache(mlxn_kv_type type, uint64_t sequences, uint64_t heads, uint64_t slots, uint64_t d);
void mlxn_case_fill_cache(const mlxn_view *cache, mlxn_kv_type type, uint64_t d, float deviation, uint64_t seed);
/* What decodes to NaN, in every element. */
void mlxn_case_poison(const mlxn_view *cache, uint64_t sequence, uint64_t head, uint64_t slot);

#endif
