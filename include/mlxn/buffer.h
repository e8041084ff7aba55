/* mlxn/buffer.h: memory of a device, views of it, and the pool.
 *
 * Buffers are counted handles to one allocation. Work in flight holds its own references, so a buffer may be released
 * as soon as the commands that use it are recorded. Handles may be retained, released and passed between threads
 * freely; the *content* is unsynchronised: reading or writing it while committed work uses it is the caller's error.
 */
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
/* Host address of the first byte, valid while the buffer lives; NULL where memory is not host-visible. */
MLXN_API void *mlxn_buffer_contents(mlxn_buffer *buffer);
/* Copies between host and buffer; do not overlap them with work in flight on the same bytes.
 * Errors: ARGUMENT (range outside the buffer), EXECUTION. */
MLXN_API mlxn_status mlxn_buffer_write(mlxn_buffer *buffer, uint64_t offset, const void *src, uint64_t bytes,
                                       mlxn_error *error);
MLXN_API mlxn_status mlxn_buffer_read(mlxn_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes,
                                      mlxn_error *error);

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

/* Pool: recycles power-of-two allocations. One thread at a time. Memory that work in flight uses is never handed out
 * again before that work completes, and two live handles never share memory. */
typedef struct mlxn_pool mlxn_pool;

typedef struct mlxn_pool_stats {
    uint64_t free_count, free_bytes; /* ready to be handed out */
    uint64_t in_use_count, in_use_bytes;
    uint64_t hits, misses, peak_bytes;
} mlxn_pool_stats;

MLXN_API mlxn_status mlxn_pool_create(mlxn_device *device, mlxn_pool **out, mlxn_error *error);
/* A buffer of at least `bytes` bytes (exactly the power of two above). Fresh memory is zero, recycled memory is not.
 * The caller owns a reference. Errors: ARGUMENT (0), MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_pool_alloc(mlxn_pool *pool, uint64_t bytes, mlxn_buffer **out, mlxn_error *error);
/* Gives one buffer back and sets *buffer to NULL; it is recycled once its last user is done.
 * ARGUMENT if the buffer is not one that this pool handed out. */
MLXN_API mlxn_status mlxn_pool_release(mlxn_pool *pool, mlxn_buffer **buffer, mlxn_error *error);
/* Recycles every buffer whose other handles are gone and whose work has completed; others stay in use. */
MLXN_API void mlxn_pool_reset(mlxn_pool *pool);
/* Drops all free buffers. */
MLXN_API void mlxn_pool_clear(mlxn_pool *pool);
MLXN_API void mlxn_pool_get_stats(const mlxn_pool *pool, mlxn_pool_stats *out);
MLXN_API void mlxn_pool_destroy(mlxn_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
