/* kernels.cc: the CUDA kernels, compiled for the host. */
#include "gpu/emulate.h"
/* The words of the language come before the kernels. */
#include "backend/cuda/kernels.cu"
