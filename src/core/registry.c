/* registry.c: kernels of the user's own: names, variants, preparation. */
#include "core/core.h"
#include "core/kernel.h"

mlxn_kernel *mlxn_kernel_retain(mlxn_kernel *kernel) {
    if (kernel) atomic_fetch_add_explicit(&kernel->refs, 1, memory_order_relaxed);
    return kernel;
}

void mlxn_kernel_release(mlxn_kernel **handle) {
    if (!handle || !*handle) return;
    mlxn_kernel *kernel = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&kernel->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = kernel->device;
    if (kernel->prepared) device->backend->kernel_release(device->impl, kernel->prepared);
    mlxn_free(kernel->name);
    mlxn_free(kernel->label);
    mlxn_free(kernel->text);
    mlxn_free(kernel->constants);
    mlxn_free(kernel);
    mlxn_device_release(&device);
}

const char *mlxn_kernel_label(const mlxn_kernel *kernel) { return kernel ? kernel->label : ""; }
const char *mlxn_kernel_name(const mlxn_kernel *kernel) { return kernel ? kernel->name : ""; }
