/* elementwise_args.h: the one argument of the element-wise kernels, as host and device see it. */
#ifndef MLXN_SRC_CUDA_ELEMENTWISE_ARGS_H
#define MLXN_SRC_CUDA_ELEMENTWISE_ARGS_H

#include "kernels/elementwise_shape.h"

typedef struct cuda_elementwise_args {
    k_elementwise_shape shape;
    unsigned long long address[3]; /* of a, b (0: absent) and out */
} cuda_elementwise_args;

#endif
