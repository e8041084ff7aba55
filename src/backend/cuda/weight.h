/* weight.h: weights in the memory of a device. */
#ifndef MLXN_SRC_CUDA_WEIGHT_H
#define MLXN_SRC_CUDA_WEIGHT_H

#include "backend/cuda/device.h"
#include "kernels/weight_shape.h"

/* The layout behind mlxn_weight_view.layout. */
typedef struct cuda_weight {
    cuda_device *device;
    void *memory; /* a buffer's storage (memory.c) */
    uint64_t bytes;
    k_weight_shape shape;
} cuda_weight;

static inline const k_weight_shape *cuda_weight_shape(const mlxn_view *view) {
    return &((const cuda_weight *)view->weight->layout)->shape;
}

/* The functions of the backend (backend.h). */
mlxn_status cuda_weight_prepare(void *impl, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                                mlxn_weight_view *out, void **storage, mlxn_error *error);
mlxn_status cuda_weight_bytes(void *impl, const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error);
void cuda_weight_destroy(void *impl, void *storage);

#endif
