/* matmul_args.h: the one argument of the kernels of matmul, as host and device see it. */
#ifndef MLXN_SRC_CUDA_MATMUL_ARGS_H
#define MLXN_SRC_CUDA_MATMUL_ARGS_H

#include "kernels/weight_shape.h"

enum {
    CUDA_MATVEC_BLOCK = 256,
    CUDA_MATVEC_PADDED =
        36,                /* floats that 32 elements of x take in shared memory, so that lanes meet no bank twice */
    CUDA_MATMAT_TILE = 64, /* rows of x, and of w, that a block has */
    CUDA_MATMAT_BLOCK = 256
};

typedef struct cuda_matmul_args {
    k_weight_shape w;
    unsigned long long x, bias, residual, out; /* addresses; 0: absent */
    unsigned long long m;                      /* rows of x */
    long long xs[2], bs, rs[2], os[2];         /* strides */
    unsigned x_type;                           /* 0 f32, 1 f16, 2 bf16 */
} cuda_matmul_args;

#endif
