/* pool.c: power-of-two recycling.
 *
 * Each bucket has two lists, linked through the buffers: `out`, handed out since the last reset and not given back,
 * oldest first; and `back`, the rest. The pool holds one handle of every buffer in them, and hands a buffer out only
 * when that handle is its only reference and no work in flight names it. So nothing aliases, whatever the caller does
 * with release and reset; what these two decide is where a buffer is looked for first, and what the statistics say.
 *
 * A hand-out looks at a bounded number of buffers. One that is found in use goes to the end of its list, so that the
 * next look falls on others. Buffers in `out` are looked at too, before the pool grows: a caller that drops its
 * handles and never resets does not make it grow without end. */
#include "core/core.h"

enum { BUCKETS = 64, LOOKS = 64, EPOCHS_KEPT = 64 };

typedef struct pool_list {
    mlxn_buffer *first, *last;
} pool_list;

struct mlxn_pool {
    mlxn_device *device;
    pool_list back[BUCKETS], out[BUCKETS];
    uint64_t epoch; /* resets so far */
    uint64_t bytes; /* of all buffers in the lists */
    uint64_t hits, misses, peak, trimmed, registrations;
};

/* ---- lists ---- */

static void unlink_buffer(pool_list *list, mlxn_buffer *b) {
    *(b->pool.before ? &b->pool.before->pool.after : &list->first) = b->pool.after;
    *(b->pool.after ? &b->pool.after->pool.before : &list->last) = b->pool.before;
}

static void put_first(pool_list *list, mlxn_buffer *b) {
    b->pool.before = NULL;
    b->pool.after = list->first;
    *(list->first ? &list->first->pool.before : &list->last) = b;
    list->first = b;
}

static void put_last(pool_list *list, mlxn_buffer *b) {
    b->pool.after = NULL;
    b->pool.before = list->last;
    *(list->last ? &list->last->pool.after : &list->first) = b;
    list->last = b;
}

static uint32_t bucket_of(uint64_t bytes) { return bytes <= 1 ? 0 : 64 - (uint32_t)__builtin_clzll(bytes - 1); }

static uint32_t handles(const mlxn_buffer *b) {
    return mlxn_buffer_handles_of(atomic_load_explicit(&b->counts, memory_order_acquire));
}

/* The pool's handle is all that is left of it. Nobody can get another but from the pool, so this stays true. */
static bool idle(const mlxn_buffer *b) { return handles(b) == 1 && !mlxn_buffer_has_work(b); }

/* ---- life ---- */

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

/* Gives up the pool's handle of a buffer that was taken off its list. */
static void forget(mlxn_pool *pool, mlxn_buffer *b) {
    pool->bytes -= b->size;
    atomic_store_explicit(&b->pool.owner, NULL, memory_order_relaxed);
    mlxn_buffer_release(&b);
}

void mlxn_pool_destroy(mlxn_pool *pool) {
    if (!pool) return;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        pool_list *lists[] = {&pool->back[i], &pool->out[i]};
        for (int k = 0; k < 2; k++)
            for (mlxn_buffer *b; (b = lists[k]->first);) {
                unlink_buffer(lists[k], b);
                forget(pool, b);
            }
    }
    if (pool->registrations) mlxn_residency_remove_all(pool->device, pool);
    mlxn_device_release(&pool->device);
    mlxn_free(pool);
}

/* ---- handing out ---- */

/* An idle buffer of the list, taken off it; NULL if the looks did not find one. */
static mlxn_buffer *take_idle(pool_list *list) {
    mlxn_buffer *b = list->first, *stop = list->last;
    if (b && !idle(b) && idle(stop)) { /* handed out last, and let go at once */
        unlink_buffer(list, stop);
        return stop;
    }
    for (int looks = 0; b && looks < LOOKS; looks++) {
        mlxn_buffer *after = b == stop ? NULL : b->pool.after;
        unlink_buffer(list, b);
        if (idle(b)) return b;
        put_last(list, b);
        b = after;
    }
    return NULL;
}

static void log_registration(mlxn_pool *pool, const mlxn_buffer *b, bool duplicate) {
    if (mlxn_gate_on(MLXN_GATE_LOG_RESIDENCY))
        mlxn_device_log(pool->device, "mlxn: pool registration %llu: host address %p, object %p, %llu bytes%s",
                        (unsigned long long)(pool->misses + pool->registrations), (void *)b->host, (const void *)b,
                        (unsigned long long)b->size, duplicate ? ", duplicate" : "");
}

static mlxn_status grow(mlxn_pool *pool, uint32_t bucket, mlxn_buffer **out, mlxn_error *error) {
    uint64_t bytes = (uint64_t)1 << bucket;
    mlxn_status status = mlxn_buffer_create(pool->device, bytes, out, error);
    /* What lies free in other buckets is given up before a refusal. */
    if ((status == MLXN_ERR_LIMIT || status == MLXN_ERR_MEMORY) && mlxn_pool_trim(pool, 0))
        status = mlxn_buffer_create(pool->device, bytes, out, error);
    if (status) return status;
    atomic_store_explicit(&(*out)->pool.owner, pool, memory_order_relaxed);
    pool->misses++;
    pool->bytes += bytes;
    pool->peak = mlxn_max_u64(pool->peak, pool->bytes);
    if (pool->device->residency) log_registration(pool, *out, false);
    return MLXN_OK;
}

mlxn_status mlxn_pool_alloc(mlxn_pool *pool, uint64_t bytes, mlxn_buffer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: out is NULL");
    *out = NULL;
    if (!pool) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: pool is NULL");
    if (!bytes || bytes > (uint64_t)1 << 62)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool: size is %llu bytes, want 1 to 2^62",
                         (unsigned long long)bytes);
    uint32_t bucket = bucket_of(bytes);
    mlxn_buffer *b = take_idle(&pool->back[bucket]);
    if (!b) b = take_idle(&pool->out[bucket]);
    if (b) {
        pool->hits++;
    } else {
        mlxn_status status = grow(pool, bucket, &b, error);
        if (status) return status;
    }
    b->pool.requested = bytes;
    b->pool.epoch = pool->epoch;
    b->pool.given = false;
    put_last(&pool->out[bucket], b);
    *out = mlxn_buffer_retain(b);
    return mlxn_succeed(error);
}

mlxn_status mlxn_pool_alloc_batch(mlxn_pool *pool, uint32_t n, const uint64_t *bytes, mlxn_buffer **out,
                                  mlxn_error *error) {
    if (!pool) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool batch: pool is NULL");
    if (n && (!bytes || !out))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool batch: %s is NULL", bytes ? "out" : "bytes");
    for (uint32_t i = 0; i < n; i++) out[i] = NULL;
    uint64_t hits = pool->hits, misses = pool->misses;
    for (uint32_t i = 0; i < n; i++) {
        mlxn_status status = mlxn_pool_alloc(pool, bytes[i], &out[i], error);
        if (!status) continue;
        mlxn_error_prefix(error, "item %u of %u", i, n);
        while (i--) mlxn_pool_release(pool, &out[i], NULL);
        pool->hits = hits; /* nothing was handed out; what was made stays free in the pool */
        return status;
    }
    if (pool->misses > misses) mlxn_residency_flush(pool->device);
    return mlxn_succeed(error);
}

/* ---- taking back ---- */

mlxn_status mlxn_pool_release(mlxn_pool *pool, mlxn_buffer **handle, mlxn_error *error) {
    if (!pool || !handle || !*handle)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool release: %s is NULL", pool ? "buffer" : "pool");
    mlxn_buffer *b = *handle;
    if (atomic_load_explicit(&b->pool.owner, memory_order_relaxed) != pool)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool release: the buffer of %llu bytes is not of this pool",
                         (unsigned long long)b->size);
    if (b->pool.given)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool release: the buffer of %llu bytes was released before",
                         (unsigned long long)b->size);
    uint32_t bucket = bucket_of(b->size);
    /* Not given back, so it is out, unless a reset took it back meanwhile. */
    unlink_buffer(b->pool.epoch == pool->epoch ? &pool->out[bucket] : &pool->back[bucket], b);
    b->pool.given = true;
    mlxn_buffer_release(handle);
    if (idle(b))
        put_first(&pool->back[bucket], b); /* still in the caches */
    else
        put_last(&pool->back[bucket], b);
    return mlxn_succeed(error);
}

/* Of the free buffers that were not handed out for `epochs` resets, drops those beyond `bytes`. */
static uint64_t drop_free(mlxn_pool *pool, uint64_t bytes, uint64_t epochs) {
    uint64_t freed = 0, left = 0;
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (const mlxn_buffer *b = pool->back[i].first; b; b = b->pool.after)
            if (handles(b) == 1 && pool->epoch - b->pool.epoch >= epochs) left += b->size;
    for (uint32_t i = BUCKETS; i-- > 0;) /* the largest go first */
        for (mlxn_buffer *b = pool->back[i].last, *before; b && left > bytes; b = before) {
            before = b->pool.before;
            if (handles(b) > 1 || pool->epoch - b->pool.epoch < epochs) continue;
            left -= b->size;
            freed += b->size;
            unlink_buffer(&pool->back[i], b);
            forget(pool, b);
        }
    pool->trimmed += freed;
    return freed;
}

void mlxn_pool_reset(mlxn_pool *pool) {
    if (!pool) return;
    pool->epoch++;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        pool_list *out = &pool->out[i], *back = &pool->back[i];
        if (!out->first) continue;
        out->first->pool.before = back->last;
        *(back->last ? &back->last->pool.after : &back->first) = out->first;
        back->last = out->last;
        *out = (pool_list){0};
    }
    if (pool->epoch % EPOCHS_KEPT == 0) drop_free(pool, 0, EPOCHS_KEPT);
}

uint64_t mlxn_pool_trim(mlxn_pool *pool, uint64_t bytes) { return pool ? drop_free(pool, bytes, 0) : 0; }
void mlxn_pool_clear(mlxn_pool *pool) { mlxn_pool_trim(pool, 0); }

/* ---- buffers made elsewhere ---- */

mlxn_status mlxn_pool_register_existing(mlxn_pool *pool, mlxn_buffer *buffer, mlxn_error *error) {
    if (!pool || !buffer)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "pool register: %s is NULL", pool ? "buffer" : "pool");
    if (buffer->device != pool->device && (buffer->device->residency || pool->device->residency))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "pool register: cannot mix residency-enabled devices: the buffer of %llu bytes belongs to "
                         "another device than the pool",
                         (unsigned long long)buffer->size);
    if (!pool->device->residency) return mlxn_succeed(error);
    bool duplicate = mlxn_residency_is_member(buffer);
    if (!duplicate) {
        mlxn_residency_add(buffer, pool);
        pool->registrations++;
    }
    log_registration(pool, buffer, duplicate);
    return mlxn_succeed(error);
}

/* ---- statistics ---- */

uint64_t mlxn_pool_requested_bytes(const mlxn_pool *pool, const mlxn_buffer *buffer) {
    if (!pool || !buffer || atomic_load_explicit(&buffer->pool.owner, memory_order_relaxed) != pool) return 0;
    return buffer->pool.requested;
}

void mlxn_pool_get_stats(const mlxn_pool *pool, mlxn_pool_stats *out) {
    if (!out) return;
    *out = (mlxn_pool_stats){0};
    if (!pool) return;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        for (const mlxn_buffer *b = pool->out[i].first; b; b = b->pool.after) {
            out->in_use_count++;
            out->in_use_bytes += b->size;
            out->requested_bytes += b->pool.requested;
        }
        for (const mlxn_buffer *b = pool->back[i].first; b; b = b->pool.after) {
            if (handles(b) > 1) { /* somebody holds on to it */
                out->in_use_count++;
                out->in_use_bytes += b->size;
                out->requested_bytes += b->pool.requested;
                continue;
            }
            out->free_count++;
            out->free_bytes += b->size;
            if (mlxn_buffer_has_work(b)) {
                out->waiting_count++;
                out->waiting_bytes += b->size;
            }
        }
    }
    out->hits = pool->hits;
    out->misses = pool->misses;
    out->hit_rate = pool->hits + pool->misses ? (double)pool->hits / (double)(pool->hits + pool->misses) : 0;
    out->peak_bytes = pool->peak;
    out->resets = pool->epoch;
    out->trimmed_bytes = pool->trimmed;
    out->registrations = pool->registrations;
}
