/* kernels.cu: all kernels as one translation unit, which is one module of the driver. */
#include "backend/cuda/kernels/attention.cu"
#include "backend/cuda/kernels/copy.cu"
#include "backend/cuda/kernels/elementwise.cu"
#include "backend/cuda/kernels/map.cu"
#include "backend/cuda/kernels/matmul.cu"
#include "backend/cuda/kernels/move.cu"
#include "backend/cuda/kernels/rows.cu"
