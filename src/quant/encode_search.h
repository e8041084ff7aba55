/* encode_search.h: searches for the scale (and minimum) with which a short run of values is coded with least error.
 * Sums are binary32 in the order of the elements, so that codes come out the same everywhere. */
#ifndef MLXN_SRC_QUANT_ENCODE_SEARCH_H
#define MLXN_SRC_QUANT_ENCODE_SEARCH_H

#include <math.h>

#include "quant/quant.h"

enum { MLXN_SEARCH_MAX = 32 }; /* longest run */

/* Below this largest magnitude a run counts as zeros: squares of its values would vanish. */
#define MLXN_SEARCH_EPSILON 1e-15f

/* Nearest integer, ties to even, held in low … high; NaN gives low. */
static inline int mlxn_round_clamp(float value, int low, int high) {
    if (!(value > (float)low)) return low;
    return value < (float)high ? (int)rintf(value) : high;
}

/* 1 / d, and 0 for 0. */
static inline float mlxn_reciprocal(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }

/* The element of largest magnitude, with its sign; the first one on a tie. */
float mlxn_extreme(const float *x, int n);

typedef struct mlxn_affine_search {
    int n, nmax; /* run length; codes are 0 … nmax */
    float first, step;
    int steps;    /* inverse scales tried: (first + step * t + nmax) / range for t = 0 … steps */
    bool squares; /* error: weighted squares, otherwise weighted magnitudes */
} mlxn_affine_search;

/* x ≈ scale * q - minimum with minimum ≥ 0; returns the scale. */
float mlxn_search_affine(const mlxn_affine_search *rule, const float *x, const float *w, uint8_t *q, float *minimum);

/* x ≈ scale * (q - nmax), q in 0 … 2 nmax - 1, weights w, or x² if it is NULL. Nineteen inverse scales are tried. A
 * run of zeros gives scale 0 and codes 0. */
float mlxn_search_symmetric(int n, int nmax, const float *x, const float *w, uint8_t *q);

/* As before with the weights x², but one inverse scale, and then single codes are moved while that lowers the error.
 */
float mlxn_search_descent(int n, int nmax, const float *x, uint8_t *q);

/* x ≈ scale * q for x ≥ 0 and q in 0 … nmax. Nine inverse scales are tried, and then single codes are moved. */
float mlxn_search_positive(int n, int nmax, const float *x, const float *w, uint8_t *q);

/* Weights of a run of at most MLXN_SEARCH_MAX values: importance * sqrt(variance + x²). Values of which none has
 * importance still get codes: all of them then count the same, and next to nothing beside other runs. Returns the
 * sum. */
float mlxn_weigh_run(int n, const float *x, const float *importance, float variance, float *w);
/* Mean of the squares, summed in binary32 in order. */
float mlxn_mean_square(const float *x, uint64_t n);

#endif
