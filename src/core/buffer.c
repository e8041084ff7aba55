/* buffer.c: buffers. A public handle and a use in flight are counted apart: the residency counters follow the
 * handles, memory follows both. */
#include "core/core.h"

static mlxn_status new_buffer(mlxn_device *device, uint64_t bytes, mlxn_buffer **out, mlxn_error *error) {
    *out = NULL;
    mlxn_buffer *buffer = mlxn_alloc(sizeof *buffer);
    if (!buffer)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer of %llu bytes: out of memory for its record",
                         (unsigned long long)bytes);
    atomic_init(&buffer->counts, MLXN_BUFFER_HANDLE | MLXN_BUFFER_REF);
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
    if (device->residency) mlxn_residency_add(buffer, NULL);
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

void mlxn_buffer_hold(mlxn_buffer *buffer) {
    atomic_fetch_add_explicit(&buffer->counts, MLXN_BUFFER_REF, memory_order_relaxed);
}

void mlxn_buffer_destroy(mlxn_buffer *buffer) {
    if (buffer->capture) {
        mlxn_temporary_free(buffer);
        return;
    }
    mlxn_device *device = buffer->device;
    if (device->residency) mlxn_residency_leave(buffer);
    if (device->checked) mlxn_access_forget(buffer);
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

void mlxn_buffer_drop(mlxn_buffer *buffer) {
    uint64_t before = atomic_fetch_sub_explicit(&buffer->counts, MLXN_BUFFER_REF, memory_order_acq_rel);
    if (mlxn_buffer_refs_of(before) != 1) return;
    if (atomic_load_explicit(&buffer->last_use, memory_order_relaxed) && mlxn_live_defer(buffer->device, buffer))
        return;
    mlxn_buffer_destroy(buffer);
}

bool mlxn_buffer_has_work(const mlxn_buffer *buffer) {
    uint64_t counts = atomic_load_explicit(&buffer->counts, memory_order_acquire);
    return mlxn_buffer_refs_of(counts) > mlxn_buffer_handles_of(counts) ||
           mlxn_live_uses(buffer->device, atomic_load_explicit(&buffer->last_use, memory_order_relaxed));
}

mlxn_buffer *mlxn_buffer_retain(mlxn_buffer *buffer) {
    if (buffer)
        atomic_fetch_add_explicit(&buffer->counts, MLXN_BUFFER_HANDLE | MLXN_BUFFER_REF, memory_order_relaxed);
    return buffer;
}

void mlxn_buffer_release(mlxn_buffer **handle) {
    if (!handle || !*handle) return;
    mlxn_buffer *buffer = *handle;
    *handle = NULL;
    uint64_t before = atomic_fetch_sub_explicit(&buffer->counts, MLXN_BUFFER_HANDLE, memory_order_acq_rel);
    if (mlxn_buffer_handles_of(before) == 1 && buffer->device->residency) mlxn_residency_last_handle(buffer);
    mlxn_buffer_drop(buffer);
}

uint64_t mlxn_buffer_size(const mlxn_buffer *buffer) { return buffer ? buffer->size : 0; }
mlxn_device *mlxn_buffer_device(const mlxn_buffer *buffer) { return buffer ? buffer->device : NULL; }
