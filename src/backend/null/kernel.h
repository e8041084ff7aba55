/* kernel.h: kernels of the user's own on the null device, as its table of functions needs them. */
#ifndef MLXN_SRC_NULL_KERNEL_H
#define MLXN_SRC_NULL_KERNEL_H

#include "core/backend.h"

mlxn_status null_kernel_prepare(void *impl, const struct mlxn_kernel *kernel, const void *cached,
                                uint64_t cached_bytes, void **prepared, void **blob, uint64_t *blob_bytes,
                                mlxn_error *error);
void null_kernel_release(void *impl, void *prepared);

#endif
