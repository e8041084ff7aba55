/* copy_args.h: the one argument of the kernels of cast and copy, as host and device see it. */
#ifndef MLXN_SRC_CUDA_COPY_ARGS_H
#define MLXN_SRC_CUDA_COPY_ARGS_H

#include "kernels/copy_shape.h"

typedef struct cuda_copy_args {
    k_copy_shape shape;
    unsigned long long address[2]; /* of x and out */
} cuda_copy_args;

#endif
