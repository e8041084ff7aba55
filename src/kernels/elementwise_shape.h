/* elementwise_shape.h: what the bodies of elementwise.h are told, as host and device see it. */
#ifndef MLXN_SRC_KERNELS_ELEMENTWISE_SHAPE_H
#define MLXN_SRC_KERNELS_ELEMENTWISE_SHAPE_H

enum { K_MAX_RANK = 4 };

typedef struct k_elementwise_shape {
    unsigned long long n; /* elements */
    unsigned long long dims[K_MAX_RANK];
    long long strides[3][K_MAX_RANK]; /* elements; of a, b and out */
    unsigned rank;
    float scale; /* of scalar_mul */
} k_elementwise_shape;

#endif
