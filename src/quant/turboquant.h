/* turboquant.h: the tables of the TurboQuant codec and its unchecked steps, for any power of two up to 512.
 *
 * The one place of the centroids and signs: a kernel takes them from here. The checked entry points are those of
 * <mlxn/turboquant.h>. */
#ifndef MLXN_SRC_QUANT_TURBOQUANT_H
#define MLXN_SRC_QUANT_TURBOQUANT_H

#include <mlxn/turboquant.h>

#include "base/base.h"

#define MLXN_TURBOQUANT_MAX_SIGNS (8 * MLXN_TURBOQUANT_SIGN_BYTES)
#define MLXN_TURBOQUANT_HB_BLOCK 256 /* coordinates that share a norm when dim is 512 */

/* Tables are odd-symmetric: index half + k holds positive[k], index half - 1 - k its negative. */
typedef struct mlxn_turboquant_book {
    uint32_t bits, half;
    const float *positive; /* half values, ascending */
} mlxn_turboquant_book;

/* NULL if there is no table of that many bits. */
const mlxn_turboquant_book *mlxn_turboquant_book_find(uint32_t bits);
/* As above; fills *error (ARGUMENT) if there is none. */
const mlxn_turboquant_book *mlxn_turboquant_book_get(uint32_t bits, mlxn_error *error);
/* All 2 * half centroids in ascending order. */
void mlxn_turboquant_book_expand(const mlxn_turboquant_book *book, float *out);
/* The number of midpoints between neighbours that are below `value`. NaN gives the index just below zero. */
uint32_t mlxn_turboquant_book_nearest(const mlxn_turboquant_book *book, float value);

/* Codes of n coordinates that share a norm, and that norm: |y| / divisor. A coordinate is coded as
 * nearest(y * factor / norm), in a norm up to 1e-10 as nearest(0). A norm that is no finite binary32 is returned as
 * it is (infinite or NaN), with the codes of zero. */
float mlxn_turboquant_code_block(const mlxn_turboquant_book *book, const float *y, uint32_t n, double divisor,
                                 double factor, uint8_t *codes);

/* n: a power of two. */
void mlxn_turboquant_transform(float *x, uint64_t n);
void mlxn_turboquant_negate(float *x, uint64_t n, const uint8_t *signs);
/* Euclidean length, summed in double; infinite or NaN if an element is. */
double mlxn_turboquant_length(const float *x, uint64_t n);
/* ARGUMENT unless dim is 256 or 512, bits 5, 6 or 8 and the scale factor a number >= 0. */
mlxn_status mlxn_turboquant_hb_check(const mlxn_turboquant_hb *codec, mlxn_error *error);
/* What a centroid is multiplied with to give a coordinate of the block with this norm. */
float mlxn_turboquant_hb_step(const mlxn_turboquant_hb *codec, float norm);

static inline bool mlxn_turboquant_is_power(uint64_t n) { return n && !(n & (n - 1)); }

#endif
