/* functions_shape.h: what the bodies of functions.h are told, as host and device see it. */
#ifndef MLXN_SRC_KERNELS_FUNCTIONS_SHAPE_H
#define MLXN_SRC_KERNELS_FUNCTIONS_SHAPE_H

#include "kernels/elementwise_shape.h"

enum { K_MAP_VIEWS = 4, K_UNARY_SOFTCAP = 1000 };

typedef struct k_map_shape {
    unsigned long long n; /* elements */
    unsigned long long dims[K_MAX_RANK];
    long long strides[K_MAP_VIEWS][K_MAX_RANK]; /* elements */
    unsigned rank;
    unsigned fn;      /* mlxn_unary_fn, mlxn_binary_fn, mlxn_glu_fn or mlxn_compare_fn; or K_UNARY_SOFTCAP */
    float a, b, c, d; /* parameters */
} k_map_shape;

#endif
