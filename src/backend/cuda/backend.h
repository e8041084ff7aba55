/* backend.h: the CUDA backend, for backends.c alone. */
#ifndef MLXN_SRC_CUDA_BACKEND_H
#define MLXN_SRC_CUDA_BACKEND_H

#include "core/backend.h"

extern const mlxn_backend mlxn_backend_cuda;

#endif
