/* pin.h: memory of the host that the devices reach in place. */
#ifndef MLXN_SRC_CUDA_PIN_H
#define MLXN_SRC_CUDA_PIN_H

#include "backend/cuda/driver.h"

typedef struct cuda_pin cuda_pin;

/* Pins `bytes` at `memory` and maps them for all devices; *address is the device's. The driver pins a range once for
 * the whole process, so that ranges that were pinned before are shared, and counted here. In a context. */
mlxn_status cuda_pin_acquire(const cuda_driver *driver, void *memory, uint64_t bytes, cuda_pin **out,
                             CUdeviceptr *address, mlxn_error *error);
void cuda_pin_release(const cuda_driver *driver, cuda_pin *pin); /* in a context */

#endif
