/* rows_args.h: the one argument of the kernels of rows, as host and device see it. */
#ifndef MLXN_SRC_CUDA_ROWS_ARGS_H
#define MLXN_SRC_CUDA_ROWS_ARGS_H

#include "kernels/rows_shape.h"

typedef struct cuda_rows_args {
    k_rows_shape shape;
    unsigned long long address[K_ROW_VIEWS]; /* 0: absent */
} cuda_rows_args;

#endif
