/* memory.c: memory of the device from a pool of freed blocks, wrapped memory of the host, and copies through two
 * pinned pieces of staging memory, one filled or emptied while the other is on its way. */
#include <inttypes.h>
#include <stdio.h>

#include "backend/cuda/device.h"

enum { GRAIN = 512, LARGE = 2 << 20 };
#define POOL_LIMIT ((uint64_t)512 << 20) /* bytes that free blocks may hold back */

/* Small blocks have sizes of powers of two, large ones whole units of the driver, so that blocks fit again. */
static uint64_t room_for(uint64_t bytes) {
    uint64_t room = GRAIN;
    if (bytes >= LARGE) return bytes > UINT64_MAX - LARGE ? 0 : (bytes + LARGE - 1) / LARGE * LARGE;
    while (room < bytes) room *= 2;
    return room;
}

/* The smallest free block of at least `room` bytes that wastes at most an eighth; NULL if there is none. */
static cuda_memory *take(cuda_device *device, uint64_t room) {
    cuda_memory **best = NULL;
    pthread_mutex_lock(&device->pool_lock);
    for (cuda_memory **at = &device->pool; *at; at = &(*at)->next)
        if ((*at)->room >= room && (*at)->room - room <= room / 8 && (!best || (*at)->room < (*best)->room))
            best = at;
    cuda_memory *found = best ? *best : NULL;
    if (found) {
        *best = found->next;
        device->pool_bytes -= found->room;
    }
    pthread_mutex_unlock(&device->pool_lock);
    return found;
}

/* Gives all free blocks back to the driver; in the context. */
static void empty_pool(cuda_device *device) {
    pthread_mutex_lock(&device->pool_lock);
    cuda_memory *list = device->pool;
    device->pool = NULL;
    device->pool_bytes = 0;
    pthread_mutex_unlock(&device->pool_lock);
    while (list) {
        cuda_memory *next = list->next;
        device->driver->memory_free(list->address);
        mlxn_free(list);
        list = next;
    }
}

static mlxn_status allocate(cuda_device *device, uint64_t room, cuda_memory **out, mlxn_error *error) {
    *out = take(device, room);
    if (*out) return MLXN_OK;
    cuda_memory *memory = mlxn_alloc(sizeof *memory);
    if (!memory) return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer: out of memory for its record");
    CUresult code = room ? device->driver->memory_alloc(&memory->address, (size_t)room) : CUDA_OUT_OF_MEMORY;
    if (code == CUDA_OUT_OF_MEMORY && room) {
        empty_pool(device);
        code = device->driver->memory_alloc(&memory->address, (size_t)room);
    }
    if (code) {
        mlxn_free(memory);
        char what[96];
        snprintf(what, sizeof what, "buffer: %" PRIu64 " bytes of the device", room);
        return cuda_fail(device->driver, code, MLXN_ERR_DEVICE, what, error);
    }
    memory->room = room;
    *out = memory;
    return MLXN_OK;
}

static mlxn_status clear(cuda_device *device, CUdeviceptr address, uint64_t bytes, mlxn_error *error) {
    pthread_mutex_lock(&device->transfer_lock);
    CUresult code = device->driver->fill(address, 0, (size_t)bytes, device->transfer);
    if (!code) code = device->driver->stream_wait(device->transfer);
    pthread_mutex_unlock(&device->transfer_lock);
    return code ? cuda_fail(device->driver, code, MLXN_ERR_DEVICE, "buffer: clearing it", error) : MLXN_OK;
}

mlxn_status cuda_memory_create(void *impl, uint64_t bytes, void **storage, void **host, mlxn_error *error) {
    cuda_device *device = impl;
    *storage = *host = NULL;
    mlxn_status status = cuda_enter(device, error);
    if (status) return status;
    cuda_memory *memory;
    status = allocate(device, room_for(bytes), &memory, error);
    if (!status) {
        memory->bytes = bytes;
        status = clear(device, memory->address, bytes, error);
        if (status) {
            device->driver->memory_free(memory->address);
            mlxn_free(memory);
        } else {
            *storage = memory;
        }
    }
    cuda_leave(device);
    return status;
}

void cuda_memory_destroy(void *impl, void *storage, uint64_t bytes) {
    cuda_device *device = impl;
    cuda_memory *memory = storage;
    pthread_mutex_lock(&device->pool_lock);
    bool keep = memory->room <= POOL_LIMIT - device->pool_bytes;
    if (keep) {
        memory->next = device->pool;
        device->pool = memory;
        device->pool_bytes += memory->room;
    }
    pthread_mutex_unlock(&device->pool_lock);
    if (keep) return;
    if (!cuda_enter(device, NULL)) {
        device->driver->memory_free(memory->address);
        cuda_leave(device);
    }
    mlxn_free(memory);
}

mlxn_status cuda_memory_wrap(void *impl, void *host_memory, uint64_t bytes, void **storage, void **host,
                             mlxn_error *error) {
    cuda_memory *memory = mlxn_alloc(sizeof *memory);
    *storage = *host = NULL;
    if (!memory) return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer: out of memory for its record");
    memory->host = host_memory;
    memory->bytes = bytes;
    *storage = memory;
    *host = host_memory;
    return MLXN_OK;
}

void cuda_memory_unwrap(void *impl, void *storage) {
    cuda_device *device = impl;
    cuda_memory *memory = storage;
    if (memory->pin && !cuda_enter(device, NULL)) {
        cuda_pin_release(device->driver, memory->pin);
        cuda_leave(device);
    }
    mlxn_free(memory);
}

mlxn_status cuda_memory_reach(cuda_device *device, cuda_memory *memory, mlxn_error *error) {
    pthread_mutex_lock(&device->pool_lock);
    mlxn_status status = MLXN_OK;
    if (!memory->pin)
        status = cuda_pin_acquire(device->driver, memory->host, memory->bytes, &memory->pin, &memory->address, error);
    pthread_mutex_unlock(&device->pool_lock);
    return status;
}

/* ---- copies between host and device ---- */

/* With the lock held. */
static mlxn_status ready_staging(cuda_device *device, mlxn_error *error) {
    for (int i = 0; i < 2; i++) {
        if (device->staging[i]) continue;
        void *memory = NULL;
        CUresult code = device->driver->host_alloc(&memory, CUDA_STAGING_BYTES, 0);
        if (code) return cuda_fail(device->driver, code, MLXN_ERR_DEVICE, "pinned memory for copies", error);
        device->staging[i] = memory;
    }
    return MLXN_OK;
}

static uint64_t piece(uint64_t bytes, uint64_t at) { return mlxn_min_u64(CUDA_STAGING_BYTES, bytes - at); }

static CUresult send(cuda_device *device, CUdeviceptr to, const uint8_t *from, uint64_t bytes) {
    const cuda_driver *driver = device->driver;
    CUresult code = CUDA_OK;
    for (uint64_t at = 0, i = 0; at < bytes && !code; at += CUDA_STAGING_BYTES, i++) {
        uint32_t slot = i & 1;
        uint64_t n = piece(bytes, at);
        if (i >= 2) code = driver->event_wait(device->staged[slot]);
        if (code) break;
        memcpy(device->staging[slot], from + at, (size_t)n);
        code = driver->copy_in(to + at, device->staging[slot], (size_t)n, device->transfer);
        if (!code) code = driver->event_record(device->staged[slot], device->transfer);
    }
    CUresult last = driver->stream_wait(device->transfer);
    return code ? code : last;
}

static CUresult receive(cuda_device *device, uint8_t *to, CUdeviceptr from, uint64_t bytes) {
    const cuda_driver *driver = device->driver;
    CUresult code = CUDA_OK;
    uint64_t pieces = (bytes + CUDA_STAGING_BYTES - 1) / CUDA_STAGING_BYTES;
    /* Piece i is asked for while piece i - 1 is taken. */
    for (uint64_t i = 0; i <= pieces && !code; i++) {
        if (i < pieces) {
            uint64_t at = i * CUDA_STAGING_BYTES;
            code = driver->copy_out(device->staging[i & 1], from + at, (size_t)piece(bytes, at), device->transfer);
            if (!code) code = driver->event_record(device->staged[i & 1], device->transfer);
        }
        if (code || !i) continue;
        uint64_t at = (i - 1) * CUDA_STAGING_BYTES;
        code = driver->event_wait(device->staged[(i - 1) & 1]);
        if (!code) memcpy(to + at, device->staging[(i - 1) & 1], (size_t)piece(bytes, at));
    }
    CUresult last = driver->stream_wait(device->transfer);
    return code ? code : last;
}

static mlxn_status transfer(cuda_device *device, cuda_memory *memory, uint64_t offset, void *to, const void *from,
                            uint64_t bytes, mlxn_error *error) {
    mlxn_status status = cuda_enter(device, error);
    if (status) return status;
    pthread_mutex_lock(&device->transfer_lock);
    status = ready_staging(device, error);
    if (!status) {
        CUresult code = from ? send(device, memory->address + offset, from, bytes)
                             : receive(device, to, memory->address + offset, bytes);
        if (code)
            status = cuda_fail(device->driver, code, MLXN_ERR_DEVICE, from ? "buffer: write" : "buffer: read", error);
    }
    pthread_mutex_unlock(&device->transfer_lock);
    cuda_leave(device);
    return status;
}

mlxn_status cuda_memory_read(void *impl, void *storage, uint64_t offset, void *dst, uint64_t bytes,
                             mlxn_error *error) {
    cuda_memory *memory = storage;
    if (!memory->host) return transfer(impl, memory, offset, dst, NULL, bytes, error);
    memcpy(dst, memory->host + offset, (size_t)bytes);
    return MLXN_OK;
}

mlxn_status cuda_memory_write(void *impl, void *storage, uint64_t offset, const void *src, uint64_t bytes,
                              mlxn_error *error) {
    cuda_memory *memory = storage;
    if (!memory->host) return transfer(impl, memory, offset, NULL, src, bytes, error);
    memcpy(memory->host + offset, src, (size_t)bytes);
    return MLXN_OK;
}

void cuda_memory_close(cuda_device *device) {
    empty_pool(device);
    for (int i = 0; i < 2; i++)
        if (device->staging[i]) device->driver->host_free(device->staging[i]);
}
