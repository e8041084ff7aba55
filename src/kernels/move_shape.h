/* move_shape.h: what the bodies of move.h are told, as host and device see it. Types of elements: mlxn_dtype. */
#ifndef MLXN_SRC_KERNELS_MOVE_SHAPE_H
#define MLXN_SRC_KERNELS_MOVE_SHAPE_H

#include "kernels/weight_shape.h"

typedef struct k_gather_shape {
    unsigned long long rows, n, d; /* of x; rows of out; elements of a row */
    long long x[2], index, out[2]; /* strides */
} k_gather_shape;

typedef struct k_embedding_shape {
    k_weight_shape table;
    unsigned long long tokens;
    long long ids, out[2]; /* strides */
    float scale;
} k_embedding_shape;

typedef struct k_kv_write_shape {
    unsigned long long tokens, heads, d, sequences, slots;
    long long x[3], cache[4], sequence, position; /* strides */
    unsigned x_type, cache_type;
} k_kv_write_shape;

#endif
