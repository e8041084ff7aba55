/* matmul.h: what the matmul kernels share: arguments, the strides they want, and how results are written. */
#ifndef MLXN_SRC_CPU_MATMUL_H
#define MLXN_SRC_CPU_MATMUL_H

#include "backend/cpu/kernels/simd.h"
#include "backend/cpu/weight.h"

enum { MM_X, MM_W, MM_BIAS, MM_RESIDUAL, MM_OUT };

#endif
