/* pool.c: power-of-two recycling. The pool keeps one handle of every buffer that it made; a buffer is free for reuse
 * when that handle is the only reference left, which covers user handles and work in flight alike. */
#include "core/core.h"

typedef struct mlxn_pool_entry {
    mlxn_buffer *buffer;
    bool free;
} mlxn_pool_entry;

struct mlxn_pool {
    mlxn_device *device;
    mlxn_pool_entry *entries;
    size_t count, capacity;
    uint64_t hits, misses, bytes, peak;
};

static bool idle(const mlxn_pool_entry *entry) {
    return atomic_load_explicit(&entry->buffer->refs, memory_order_acquire) == 1;
}

mlxn_status mlxn_pool_create(mlxn_device *device, mlxn_pool **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: device is NULL");
    mlxn_pool *pool = mlxn_alloc(sizeof *pool);
    if (!pool) return mlxn_fail(error, MLXN_ERR_MEMORY, "pool: out of memory for its record");
    pool->device = mlxn_device_retain(device);
    *out = pool;
    return mlxn_succeed(error);
}

mlxn_status mlxn_pool_alloc(mlxn_pool *pool, uint64_t bytes, mlxn_buffer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: out is NULL");
    *out = NULL;
    if (!pool) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: pool is NULL");
    if (!bytes || bytes > (uint64_t)1 << 62)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: size is %llu bytes, want 1 to 2^62",
                         (unsigned long long)bytes);
    uint64_t bucket = 1;
    while (bucket < bytes) bucket <<= 1;
    for (size_t i = pool->count; i-- > 0;) { /* the most recent first: it is still in the caches */
        mlxn_pool_entry *entry = &pool->entries[i];
        if (!entry->free || entry->buffer->size != bucket || !idle(entry)) continue;
        entry->free = false;
        pool->hits++;
        *out = mlxn_buffer_retain(entry->buffer);
        return mlxn_succeed(error);
    }
    if (pool->count == pool->capacity) {
        size_t capacity = pool->capacity ? pool->capacity * 2 : 16;
        mlxn_pool_entry *grown = mlxn_realloc_array(pool->entries, capacity, sizeof *grown);
        if (!grown) return mlxn_fail(error, MLXN_ERR_MEMORY, "pool: out of memory for its list");
        pool->entries = grown;
        pool->capacity = capacity;
    }
    mlxn_buffer *buffer;
    mlxn_status status = mlxn_buffer_create(pool->device, bucket, &buffer, error);
    if (status) return status;
    pool->entries[pool->count++] = (mlxn_pool_entry){buffer, false};
    pool->misses++;
    pool->bytes += bucket;
    if (pool->bytes > pool->peak) pool->peak = pool->bytes;
    *out = mlxn_buffer_retain(buffer);
    return mlxn_succeed(error);
}

mlxn_status mlxn_pool_release(mlxn_pool *pool, mlxn_buffer **handle, mlxn_error *error) {
    if (!pool || !handle || !*handle)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool release: %s is NULL", pool ? "buffer" : "pool");
    for (size_t i = 0; i < pool->count; i++) {
        if (pool->entries[i].buffer != *handle) continue;
        if (pool->entries[i].free)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool release: the buffer of %llu bytes was released before",
                             (unsigned long long)mlxn_buffer_size(*handle));
        pool->entries[i].free = true;
        mlxn_buffer_release(handle);
        return mlxn_succeed(error);
    }
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool release: the buffer of %llu bytes is not of this pool",
                     (unsigned long long)mlxn_buffer_size(*handle));
}

void mlxn_pool_reset(mlxn_pool *pool) {
    for (size_t i = 0; pool && i < pool->count; i++)
        if (!pool->entries[i].free && idle(&pool->entries[i])) pool->entries[i].free = true;
}

void mlxn_pool_clear(mlxn_pool *pool) {
    if (!pool) return;
    size_t kept = 0;
    for (size_t i = 0; i < pool->count; i++) {
        mlxn_pool_entry entry = pool->entries[i];
        if (!entry.free) {
            pool->entries[kept++] = entry;
            continue;
        }
        pool->bytes -= entry.buffer->size;
        mlxn_buffer_release(&entry.buffer);
    }
    pool->count = kept;
}

void mlxn_pool_get_stats(const mlxn_pool *pool, mlxn_pool_stats *out) {
    if (!out) return;
    *out = (mlxn_pool_stats){0};
    if (!pool) return;
    for (size_t i = 0; i < pool->count; i++) {
        const mlxn_pool_entry *entry = &pool->entries[i];
        *(entry->free ? &out->free_count : &out->in_use_count) += 1;
        *(entry->free ? &out->free_bytes : &out->in_use_bytes) += entry->buffer->size;
    }
    out->hits = pool->hits;
    out->misses = pool->misses;
    out->peak_bytes = pool->peak;
}

void mlxn_pool_destroy(mlxn_pool *pool) {
    if (!pool) return;
    for (size_t i = 0; i < pool->count; i++) mlxn_buffer_release(&pool->entries[i].buffer);
    mlxn_free(pool->entries);
    mlxn_device_release(&pool->device);
    mlxn_free(pool);
}
