/* norm_rows.h: the norm of one row in double and how far a binary32 kernel may be from it, for the definitions of the
 * norm family. */
#ifndef MLXN_SRC_OPS_NORM_ROWS_H
#define MLXN_SRC_OPS_NORM_ROWS_H

#include "ops/op.h"

typedef struct mlxn_norm_work {
    uint64_t n;
    double *t;   /* n values */
    double *off; /* what a kernel may be off by in each of them */
    double mean, inverse;
    double mean_off, inverse_off; /* absolute, relative */
} mlxn_norm_work;

/* MEMORY if there is none. */
mlxn_status mlxn_norm_work_create(uint64_t n, mlxn_norm_work *out);
void mlxn_norm_work_free(mlxn_norm_work *work);

/* Mean, inverse and their uncertainties from t and off. */
void mlxn_norm_measure(mlxn_norm_work *work, uint32_t kind, double eps);
static inline double mlxn_norm_value(const mlxn_norm_work *work, uint64_t k) {
    return (work->t[k] - work->mean) * work->inverse;
}
/* What a kernel's value may be off by. */
double mlxn_norm_off(const mlxn_norm_work *work, uint64_t k);

#endif
