/* roofs.c: what a device reaches at most, for profiles to relate their rates to. */
#include "core/core.h"

mlxn_status mlxn_device_measure(mlxn_device *device, mlxn_device_roofs *out, mlxn_error *error) {
    if (!device || !out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "measure: %s is NULL", device ? "out" : "device");
    if (out->struct_size < sizeof out->struct_size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "measure: struct_size is %u, want sizeof(mlxn_device_roofs) = %zu",
                         out->struct_size, sizeof *out);
    mlxn_device_roofs roofs = {.struct_size = out->struct_size};
    mlxn_status status = MLXN_OK;
    if (device->backend->measure)
        status =
            device->backend->measure(device->impl, &roofs.bytes_per_second, &roofs.f32_flops, &roofs.int8_ops, error);
    else
        status = mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "measure: the backend %s has no roofs to measure",
                           device->backend->name);
    memcpy(out, &roofs, mlxn_min_u64(out->struct_size, sizeof roofs));
    return status ? status : mlxn_succeed(error);
}
