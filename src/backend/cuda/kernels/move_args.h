/* move_args.h: the arguments of the kernels of move.cu and rope.cu, as host and device see them. */
#ifndef MLXN_SRC_CUDA_MOVE_ARGS_H
#define MLXN_SRC_CUDA_MOVE_ARGS_H

#include "kernels/move_shape.h"
#include "kernels/rope_shape.h"

typedef struct cuda_gather_args {
    k_gather_shape shape;
    unsigned long long x, index, out;
} cuda_gather_args;

typedef struct cuda_embedding_args {
    k_embedding_shape shape;
    unsigned long long ids, out;
} cuda_embedding_args;

typedef struct cuda_kv_write_args {
    k_kv_write_shape shape[2]; /* k and v */
    unsigned long long x[2], cache[2], sequences, positions;
} cuda_kv_write_args;

typedef struct cuda_rope_args {
    k_rope_shape shape;
    unsigned long long x, positions, factors, weights, out; /* 0: absent */
} cuda_rope_args;

#endif
