/* bound.h: units of rounding, from which the error bounds of the operations are built. */
#ifndef MLXN_SRC_OPS_BOUND_H
#define MLXN_SRC_OPS_BOUND_H

#include "ops/op.h"

/* Half the distance from 1 to the next binary32. */
#define MLXN_EPS 5.9604644775390625e-8

/* The distance between neighbours of `dtype` at `value` (an upper bound of it): what two correct roundings of nearly
 * equal values may differ by. */
double mlxn_bound_unit(mlxn_dtype dtype, double value);

/* Rounding units that a binary32 sum of `n` terms may lose against the sum of the terms' magnitudes: kernels keep at
 * least 16 partial sums (or blocks of 16), or their errors are as random as those of n/16 rounded steps. */
static inline double mlxn_bound_sum(uint64_t n) { return 8 + (double)n / 16; }

#endif
