/* map_args.h: the one argument of the kernels that map functions, as host and device see it. */
#ifndef MLXN_SRC_CUDA_MAP_ARGS_H
#define MLXN_SRC_CUDA_MAP_ARGS_H

#include "kernels/functions_shape.h"

typedef struct cuda_map_args {
    k_map_shape shape;
    unsigned long long address[K_MAP_VIEWS]; /* a, b, out and condition; 0: absent */
} cuda_map_args;

#endif
