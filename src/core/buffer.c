/* buffer.c: buffers. A public handle and a use in flight are counted apart: residency follows the handles, memory
 * follows both. */
#include "core/core.h"

static mlxn_status new_buffer(mlxn_device *device, uint64_t bytes, mlxn_buffer **out, mlxn_error *error) {
    *out = NULL;
    mlxn_buffer *buffer = mlxn_alloc(sizeof *buffer);
    if (!buffer)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer of %llu bytes: out of memory for its record",
                         (unsigned long long)bytes);
    atomic_init(&buffer->refs, 1);
    atomic_init(&buffer->handles, 1);
    atomic_init(&buffer->resident, false);
    buffer->size = bytes;
    buffer->id = atomic_fetch_add_explicit(&device->next_buffer_id, 1, memory_order_relaxed);
    *out = buffer;
    return MLXN_OK;
}

mlxn_status mlxn_buffer_create(mlxn_device *device, uint64_t bytes, mlxn_buffer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer: device is NULL");
    if (!bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer: size is 0 bytes, want at least 1");
    mlxn_buffer *buffer;
    mlxn_status status = new_buffer(device, bytes, &buffer, error);
    if (status) return status;
    status = mlxn_device_account(device, bytes, "buffer", error);
    if (status) {
        mlxn_free(buffer);
        return status;
    }
    void *host = NULL;
    status = device->backend->memory_create(device->impl, bytes, &buffer->storage, &host, error);
    if (status) {
        mlxn_device_unaccount(device, bytes);
        mlxn_free(buffer);
        return status;
    }
    buffer->host = host;
    buffer->device = mlxn_device_retain(device);
    if (device->residency) {
        atomic_store(&buffer->resident, true);
        mlxn_residency_stage(true);
    }
    *out = buffer;
    return mlxn_succeed(error);
}

mlxn_status mlxn_buffer_wrap(mlxn_device *device, void *memory, uint64_t bytes, mlxn_free_fn free_fn, void *user,
                             mlxn_buffer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer: out is NULL");
    *out = NULL;
    if (!device || !memory)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer: %s is NULL", device ? "memory" : "device");
    if (!bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer: size is 0 bytes, want at least 1");
    if (!device->backend->memory_wrap)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "buffer: the %s device cannot use host memory in place",
                         device->backend->name);
    mlxn_buffer *buffer;
    mlxn_status status = new_buffer(device, bytes, &buffer, error);
    if (status) return status;
    void *host = NULL;
    status = device->backend->memory_wrap(device->impl, memory, bytes, &buffer->storage, &host, error);
    if (status) {
        mlxn_free(buffer);
        return status;
    }
    buffer->host = host;
    buffer->wrapped = true;
    buffer->free_fn = free_fn;
    buffer->free_user = user;
    buffer->free_memory = memory;
    buffer->device = mlxn_device_retain(device);
    *out = buffer;
    return mlxn_succeed(error);
}

void mlxn_buffer_hold(mlxn_buffer *buffer) { atomic_fetch_add_explicit(&buffer->refs, 1, memory_order_relaxed); }

void mlxn_buffer_drop(mlxn_buffer *buffer) {
    if (atomic_fetch_sub_explicit(&buffer->refs, 1, memory_order_acq_rel) != 1) return;
    if (buffer->capture) {
        mlxn_temporary_free(buffer);
        return;
    }
    mlxn_device *device = buffer->device;
    if (atomic_load(&buffer->resident)) mlxn_residency_pending(-1);
    if (buffer->wrapped) {
        device->backend->memory_unwrap(device->impl, buffer->storage);
        if (buffer->free_fn) buffer->free_fn(buffer->free_user, buffer->free_memory, buffer->size);
    } else {
        device->backend->memory_destroy(device->impl, buffer->storage, buffer->size);
        mlxn_device_unaccount(device, buffer->size);
    }
    mlxn_free(buffer);
    mlxn_device_release(&device);
}

mlxn_buffer *mlxn_buffer_retain(mlxn_buffer *buffer) {
    if (buffer) {
        atomic_fetch_add_explicit(&buffer->handles, 1, memory_order_relaxed);
        mlxn_buffer_hold(buffer);
    }
    return buffer;
}

void mlxn_buffer_release(mlxn_buffer **handle) {
    if (!handle || !*handle) return;
    mlxn_buffer *buffer = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&buffer->handles, 1, memory_order_acq_rel) == 1 && atomic_load(&buffer->resident)) {
        mlxn_residency_stage(false);
        mlxn_residency_pending(1); /* until the last use in flight ends */
    }
    mlxn_buffer_drop(buffer);
}

uint64_t mlxn_buffer_size(const mlxn_buffer *buffer) { return buffer ? buffer->size : 0; }
mlxn_device *mlxn_buffer_device(const mlxn_buffer *buffer) { return buffer ? buffer->device : NULL; }
void *mlxn_buffer_contents(mlxn_buffer *buffer) { return buffer ? buffer->host : NULL; }

static mlxn_status check_range(const mlxn_buffer *buffer, const char *verb, uint64_t offset, const void *memory,
                               uint64_t bytes, mlxn_error *error) {
    uint64_t end;
    if (!buffer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer %s: buffer is NULL", verb);
    if (buffer->capture)
        return mlxn_fail(error, MLXN_ERR_STATE,
                         "buffer %s: it is a temporary of a graph, which the host cannot access", verb);
    if (!memory && bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer %s: host memory is NULL", verb);
    if (!mlxn_add_u64(offset, bytes, &end) || end > buffer->size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer %s: range ends at %llu + %llu bytes, buffer at %llu", verb,
                         (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)buffer->size);
    return MLXN_OK;
}

mlxn_status mlxn_buffer_write(mlxn_buffer *buffer, uint64_t offset, const void *src, uint64_t bytes,
                              mlxn_error *error) {
    mlxn_status status = check_range(buffer, "write", offset, src, bytes, error);
    if (status) return status;
    mlxn_succeed(error);
    return bytes ? buffer->device->backend->memory_write(buffer->device->impl, buffer->storage, offset, src, bytes,
                                                         error)
                 : MLXN_OK;
}

mlxn_status mlxn_buffer_read(mlxn_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes, mlxn_error *error) {
    mlxn_status status = check_range(buffer, "read", offset, dst, bytes, error);
    if (status) return status;
    mlxn_succeed(error);
    return bytes ? buffer->device->backend->memory_read(buffer->device->impl, buffer->storage, offset, dst, bytes,
                                                        error)
                 : MLXN_OK;
}
