/* weight.c: weight objects: checked, repacked by the backend, immutable. */
#include "core/core.h"

/* What the device's own layout takes; `plain` bytes where it has none. */
static mlxn_status device_bytes(mlxn_device *device, const mlxn_weight_view *raw, uint64_t plain, uint64_t *out,
                                mlxn_error *error) {
    *out = plain;
    return device->backend->weight_bytes ? device->backend->weight_bytes(device->impl, raw, out, error) : MLXN_OK;
}

mlxn_status mlxn_weight_device_bytes(mlxn_device *device, mlxn_format format, uint64_t rows, uint64_t cols,
                                     uint64_t *out, mlxn_error *error) {
    if (!device || !out)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight bytes: %s is NULL", device ? "out" : "device");
    if (!rows || !cols)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight bytes: shape is [%llu, %llu], want no zero dimension",
                         (unsigned long long)rows, (unsigned long long)cols);
    mlxn_weight_view raw = {.format = format, .rows = rows, .cols = cols};
    uint64_t plain = 0;
    mlxn_status status = mlxn_format_row_bytes(format, cols, &raw.row_bytes, error);
    if (!status && !mlxn_mul_u64(raw.row_bytes, rows, &plain))
        status = mlxn_fail(error, MLXN_ERR_LIMIT, "[%llu, %llu] passes 2^64 bytes", (unsigned long long)rows,
                           (unsigned long long)cols);
    if (!status) status = device_bytes(device, &raw, plain, out, error);
    if (!status) return mlxn_succeed(error);
    mlxn_error_prefix(error, "weight bytes");
    return status;
}

mlxn_status mlxn_weight_create(mlxn_device *device, const mlxn_weight_desc *user, mlxn_weight **out,
                               mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: out is NULL");
    *out = NULL;
    if (!device || !user)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: %s is NULL", device ? "desc" : "device");
    mlxn_weight_desc desc = {0};
    if (user->struct_size < offsetof(mlxn_weight_desc, keep_source))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: struct_size is %u, want sizeof(mlxn_weight_desc) = %zu",
                         user->struct_size, sizeof desc);
    memcpy(&desc, user, mlxn_min_u64(user->struct_size, sizeof desc));
    if (!desc.data) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: data is NULL");
    if (desc.data->device != device)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: data belongs to another device");
    if (!desc.rows || !desc.cols)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight: shape is [%llu, %llu], want no zero dimension",
                         (unsigned long long)desc.rows, (unsigned long long)desc.cols);
    if (!desc.data->host)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "weight: data is not host-visible on the %s device",
                         device->backend->name);
    mlxn_weight_view raw = {.format = desc.format, .rows = desc.rows, .cols = desc.cols};
    mlxn_status status = mlxn_format_row_bytes(desc.format, desc.cols, &raw.row_bytes, error);
    if (status) {
        mlxn_error_prefix(error, "weight");
        return status;
    }
    uint64_t bytes, end;
    if (!mlxn_mul_u64(raw.row_bytes, desc.rows, &bytes) || !mlxn_add_u64(desc.offset, bytes, &end) ||
        end > desc.data->size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "weight: %s [%llu, %llu] at byte %llu does not fit its buffer of %llu bytes",
                         mlxn_format_name(desc.format), (unsigned long long)desc.rows, (unsigned long long)desc.cols,
                         (unsigned long long)desc.offset, (unsigned long long)desc.data->size);
    raw.raw = desc.data->host + desc.offset;
    mlxn_weight *weight = mlxn_alloc(sizeof *weight);
    if (!weight) return mlxn_fail(error, MLXN_ERR_MEMORY, "weight: out of memory for its record");
    atomic_init(&weight->refs, 1);
    weight->view = raw;
    status = device_bytes(device, &raw, bytes, &bytes, error);
    if (!status) status = mlxn_device_account_as(device, MLXN_MEMORY_WEIGHT, bytes, "weight", error);
    if (!status) {
        weight->accounted = bytes;
        mlxn_weight_progress progress = {desc.packed, desc.packed_user};
        status =
            device->backend->weight_prepare(device->impl, &raw, &progress, &weight->view, &weight->storage, error);
        if (status) mlxn_device_unaccount_as(device, MLXN_MEMORY_WEIGHT, bytes);
    }
    if (status) {
        mlxn_free(weight);
        return status;
    }
    weight->device = mlxn_device_retain(device);
    weight->view.raw = NULL;
    if (desc.keep_source) {
        weight->source = mlxn_buffer_retain(desc.data);
        weight->view.raw = raw.raw;
    }
    *out = weight;
    return mlxn_succeed(error);
}

mlxn_weight *mlxn_weight_retain(mlxn_weight *weight) {
    if (weight) atomic_fetch_add_explicit(&weight->refs, 1, memory_order_relaxed);
    return weight;
}

void mlxn_weight_release(mlxn_weight **handle) {
    if (!handle || !*handle) return;
    mlxn_weight *weight = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&weight->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = weight->device;
    device->backend->weight_destroy(device->impl, weight->storage);
    mlxn_device_unaccount_as(device, MLXN_MEMORY_WEIGHT, weight->accounted);
    mlxn_buffer_release(&weight->source);
    mlxn_free(weight);
    mlxn_device_release(&device);
}

mlxn_format mlxn_weight_format(const mlxn_weight *weight) { return weight ? weight->view.format : MLXN_FORMAT_F32; }
uint64_t mlxn_weight_rows(const mlxn_weight *weight) { return weight ? weight->view.rows : 0; }
uint64_t mlxn_weight_cols(const mlxn_weight *weight) { return weight ? weight->view.cols : 0; }
uint64_t mlxn_weight_bytes(const mlxn_weight *weight) {
    if (!weight) return 0;
    return weight->view.packed_bytes ? weight->view.packed_bytes : weight->view.rows * weight->view.row_bytes;
}

mlxn_status mlxn_weight_read_row(const mlxn_weight *weight, uint64_t row, float *dst, mlxn_error *error) {
    if (!weight || !dst)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight read: %s is NULL", weight ? "dst" : "weight");
    if (row >= weight->view.rows)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "weight read: row is %llu, weight has %llu",
                         (unsigned long long)row, (unsigned long long)weight->view.rows);
    if (!weight->view.read_row)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "weight read: the %s device keeps no weights",
                         weight->device->backend->name);
    weight->view.read_row(&weight->view, row, dst);
    return mlxn_succeed(error);
}
