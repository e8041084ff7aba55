/* mlxn/buffer.h: memory of a device, views of it, and the pool.
 *
 * Buffers are counted handles to one allocation. Work in flight holds its own references, so a buffer may be released
 * as soon as the commands that use it are recorded. Handles may be retained, released and passed between threads
 * freely; the *content* is unsynchronised: reading or writing it while committed work uses it is the caller's error,
 * which a device made with `checked` reports. */
#ifndef MLXN_BUFFER_H
#define MLXN_BUFFER_H

#include <mlxn/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MLXN_MAX_RANK 4

typedef struct mlxn_buffer mlxn_buffer;

/* `bytes` zero-filled bytes, aligned to 64. Errors: ARGUMENT (0 bytes), MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_buffer_create(mlxn_device *device, uint64_t bytes, mlxn_buffer **out, mlxn_error *error);

typedef void (*mlxn_free_fn)(void *user, void *memory, uint64_t bytes);

/* A handle to the caller's memory, which must stay valid until `free_fn` (may be NULL) is called, after the last
 * handle is released and the last work that uses it has completed. Not registered for residency. Element alignment
 * is enough. Errors: ARGUMENT, UNSUPPORTED (the device cannot see host memory). On an error free_fn is not called. */
MLXN_API mlxn_status mlxn_buffer_wrap(mlxn_device *device, void *memory, uint64_t bytes, mlxn_free_fn free_fn,
                                      void *user, mlxn_buffer **out, mlxn_error *error);

MLXN_API mlxn_buffer *mlxn_buffer_retain(mlxn_buffer *buffer);
MLXN_API void mlxn_buffer_release(mlxn_buffer **buffer);

MLXN_API uint64_t mlxn_buffer_size(const mlxn_buffer *buffer);
/* Borrowed. */
MLXN_API mlxn_device *mlxn_buffer_device(const mlxn_buffer *buffer);
/* True while the buffer is a member of its device's residency set, also while a removal waits for work in flight. */
MLXN_API bool mlxn_buffer_is_resident(mlxn_buffer *buffer);
/* Host address of the first byte, valid while the buffer lives; NULL where memory is not host-visible. Checked
 * devices also answer NULL, and log why, while a committed command buffer writes any byte of it. */
MLXN_API void *mlxn_buffer_contents(mlxn_buffer *buffer);
/* Copies between host and buffer; do not overlap them with work in flight on the same bytes. Checked devices refuse
 * that with STATE, naming the command buffer, its operation and both ranges: a write that meets any access, a read
 * that meets a write. Errors: ARGUMENT (range outside the buffer), STATE, EXECUTION. */
MLXN_API mlxn_status mlxn_buffer_write(mlxn_buffer *buffer, uint64_t offset, const void *src, uint64_t bytes,
                                       mlxn_error *error);
MLXN_API mlxn_status mlxn_buffer_read(mlxn_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes,
                                      mlxn_error *error);

typedef enum mlxn_map_access {
    MLXN_MAP_READ = 1,
    MLXN_MAP_WRITE = 2, /* the bytes keep their values until you write them */
    MLXN_MAP_READ_WRITE = 3
} mlxn_map_access;

/* The checked way to a host pointer: the bytes [offset, offset + bytes), of which there is at least one. On a checked
 * device it is refused (STATE) while committed work conflicts with it, and committing work that conflicts is refused
 * (STATE, at commit, naming both) until it is unmapped; buffers may be mapped several times. On other devices nothing
 * is remembered and only the range is checked. A mapping holds no reference: it ends with the buffer at the latest.
 * Errors: ARGUMENT, UNSUPPORTED (not host-visible), STATE, MEMORY. */
MLXN_API mlxn_status mlxn_buffer_map(mlxn_buffer *buffer, uint64_t offset, uint64_t bytes, mlxn_map_access access,
                                     void **out, mlxn_error *error);
/* `pointer` as map gave it; of several mappings that begin there, the latest. Errors: ARGUMENT (outside the buffer),
 * STATE (nothing is mapped there; checked devices only). */
MLXN_API mlxn_status mlxn_buffer_unmap(mlxn_buffer *buffer, const void *pointer, mlxn_error *error);

/* A view of a buffer: a value, which owns nothing and borrows `buffer`. Row-major: dims[rank-1] varies fastest.
 * strides are in elements. buffer == NULL means "absent" for optional arguments. */
typedef struct mlxn_tensor {
    mlxn_buffer *buffer;
    uint64_t offset; /* bytes from the start of the buffer */
    mlxn_dtype dtype;
    uint32_t rank; /* 1 to MLXN_MAX_RANK */
    uint64_t dims[MLXN_MAX_RANK];
    int64_t strides[MLXN_MAX_RANK];
} mlxn_tensor;

/* Contiguous views at byte `offset`. They are pure: the first command that uses one checks its bounds. */
MLXN_API mlxn_tensor mlxn_tensor_1d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0);
MLXN_API mlxn_tensor mlxn_tensor_2d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0, uint64_t d1);
MLXN_API mlxn_tensor mlxn_tensor_3d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0, uint64_t d1,
                                    uint64_t d2);
MLXN_API mlxn_tensor mlxn_tensor_4d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0, uint64_t d1,
                                    uint64_t d2, uint64_t d3);
/* Elements [begin, begin+count) of one axis; views compose. Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_tensor_slice(const mlxn_tensor *tensor, uint32_t axis, uint64_t begin, uint64_t count,
                                       mlxn_tensor *out, mlxn_error *error);
/* The same elements of a contiguous tensor under other dims. Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_tensor_reshape(const mlxn_tensor *tensor, uint32_t rank, const uint64_t *dims,
                                         mlxn_tensor *out, mlxn_error *error);
/* Product of dims; 0 for rank 0. Saturates at UINT64_MAX. */
MLXN_API uint64_t mlxn_tensor_elements(const mlxn_tensor *tensor);
MLXN_API bool mlxn_tensor_is_contiguous(const mlxn_tensor *tensor);
/* A host view of exactly the elements of a contiguous tensor: mlxn_buffer_map of its bytes, aligned to its elements.
 * End it by mlxn_buffer_unmap(tensor->buffer, pointer). Errors: ARGUMENT (not contiguous, not aligned, outside the
 * buffer), and those of mlxn_buffer_map. */
MLXN_API mlxn_status mlxn_tensor_map(const mlxn_tensor *tensor, mlxn_map_access access, void **out,
                                     mlxn_error *error);

/* Pool: recycles power-of-two allocations. One thread at a time; the handles that it gives are as free as any.
 *
 * One rule excludes aliasing: a buffer is handed out only while nobody else holds a handle of it, no graph holds it
 * and no recorded or running work uses it. So a handle that you keep keeps its buffer out, whatever else you call,
 * and every handle that alloc gave has to be released, by mlxn_pool_release or mlxn_buffer_release, before its memory
 * comes round again; the pool's own handle keeps the memory until it is trimmed. Use it in either way, or both:
 *   release  gives one buffer back at once;
 *   reset    takes back every buffer handed out since the last reset (an arena: drop your handles, then reset).
 * A pool whose caller drops its handles and does neither recycles all the same.
 *
 * Sizes round up to a power of two: weights and other large buffers that stay belong into mlxn_buffer_create. */
typedef struct mlxn_pool mlxn_pool;

typedef struct mlxn_pool_stats {
    uint64_t free_count, free_bytes;     /* given back or taken back, and nobody holds a handle */
    uint64_t in_use_count, in_use_bytes; /* the others */
    uint64_t hits, misses;               /* hand-outs of recycled and of fresh memory */
    uint64_t peak_bytes;                 /* the most that the pool has held, free and in use */
    double hit_rate;                     /* hits / (hits + misses), 0 at first */
    uint64_t requested_bytes;            /* asked for, of those in use: in_use_bytes less this is lost to rounding */
    uint64_t waiting_count, waiting_bytes; /* those of the free ones that work in flight still uses */
    uint64_t resets;
    uint64_t trimmed_bytes; /* given back to the device by trim, clear, age, or for want of memory */
    uint64_t registrations; /* buffers that register_existing made members */
} mlxn_pool_stats;

MLXN_API mlxn_status mlxn_pool_create(mlxn_device *device, mlxn_pool **out, mlxn_error *error);
/* A buffer of at least `bytes` bytes (exactly the power of two above). Fresh memory is zero, recycled memory is not.
 * The caller owns a handle. Constant time: at most 64 buffers of the size are looked at before the pool grows. A
 * refusal of memory is answered by dropping all free buffers and asking again. Errors: ARGUMENT (0), MEMORY, LIMIT.
 */
MLXN_API mlxn_status mlxn_pool_alloc(mlxn_pool *pool, uint64_t bytes, mlxn_buffer **out, mlxn_error *error);
/* One buffer per element of `bytes`, or none: on an error all of `out` is NULL, and what was made stays free in the
 * pool. If memory was fresh, changes of the residency set are committed once, at the end. n may be 0. */
MLXN_API mlxn_status mlxn_pool_alloc_batch(mlxn_pool *pool, uint32_t n, const uint64_t *bytes, mlxn_buffer **out,
                                           mlxn_error *error);
/* Gives one buffer back, releases your handle of it and sets *buffer to NULL; it is recycled once its last user is
 * done. Also after a reset took it back. ARGUMENT if the pool did not hand it out, or it was given back before. */
MLXN_API mlxn_status mlxn_pool_release(mlxn_pool *pool, mlxn_buffer **buffer, mlxn_error *error);
/* Takes back every buffer handed out since the last reset, in constant time; each is recycled once its handles are
 * gone and its work has completed. Free buffers that were not handed out for 64 resets are dropped now and then. */
MLXN_API void mlxn_pool_reset(mlxn_pool *pool);
/* Drops free buffers, the largest first, until at most `bytes` of them are left. Returns the bytes dropped; those
 * that work in flight uses follow when it has completed. */
MLXN_API uint64_t mlxn_pool_trim(mlxn_pool *pool, uint64_t bytes);
/* Drops all free buffers. */
MLXN_API void mlxn_pool_clear(mlxn_pool *pool);
/* Makes a buffer from elsewhere a member of the device's residency set, until its last handle goes or the pool is
 * destroyed. Nothing else: the pool neither keeps it alive nor recycles or counts it. A buffer that is a member
 * already, and a device without a set: nothing to do. ARGUMENT for a buffer of another device ("cannot mix
 * residency-enabled devices"). HF2Q_PROFILE_RESIDENCY_ABORT logs every registration. */
MLXN_API mlxn_status mlxn_pool_register_existing(mlxn_pool *pool, mlxn_buffer *buffer, mlxn_error *error);
/* The bytes that the last hand-out of the buffer asked for; 0 if it is not of this pool. */
MLXN_API uint64_t mlxn_pool_requested_bytes(const mlxn_pool *pool, const mlxn_buffer *buffer);
MLXN_API void mlxn_pool_get_stats(const mlxn_pool *pool, mlxn_pool_stats *out);
/* Buffers that are still held live on. */
MLXN_API void mlxn_pool_destroy(mlxn_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
