/* copy_shape.h: what the body of copy.h is told, as host and device see it. */
#ifndef MLXN_SRC_KERNELS_COPY_SHAPE_H
#define MLXN_SRC_KERNELS_COPY_SHAPE_H

#include "kernels/elementwise_shape.h"

typedef struct k_copy_shape {
    unsigned long long n; /* elements */
    unsigned long long dims[K_MAX_RANK];
    long long strides[2][K_MAX_RANK]; /* elements; of x and out */
    unsigned rank;
} k_copy_shape;

#endif
