/* rows_shape.h: what the bodies of rows.h are told, as host and device see it. */
#ifndef MLXN_SRC_KERNELS_ROWS_SHAPE_H
#define MLXN_SRC_KERNELS_ROWS_SHAPE_H

#include "kernels/elementwise_shape.h"

enum { K_ROW_VIEWS = 4 };

/* Rows of `n` elements that lie in the last axes; strides count elements. */
typedef struct k_rows_shape {
    unsigned long long rows, n;
    unsigned long long dims[K_MAX_RANK]; /* of all axes */
    long long strides[K_ROW_VIEWS][K_MAX_RANK];
    unsigned rank, inner; /* axes, and how many of the last ones a row has */
    unsigned fn;          /* mlxn_reduce_fn; of softmax: 1 for logarithms; of argmax: 1 for the least */
    unsigned mask_type;   /* of softmax: 0 none, 1 f32, 2 f16, 3 bf16 */
    float eps, scale;
} k_rows_shape;

#endif
