/* base.h: what every layer may use: error records, checked arithmetic, allocation, conversions, locks. libc only. */
#ifndef MLXN_SRC_BASE_H
#define MLXN_SRC_BASE_H

#include <mlxn/base.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Fills *error (if not NULL) and returns `status`: `return mlxn_fail(error, MLXN_ERR_…, "x: got %u, want %u", …);` */
mlxn_status mlxn_fail(mlxn_error *error, mlxn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
mlxn_status mlxn_fail_code(mlxn_error *error, mlxn_status status, int32_t driver_code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* MLXN_ERR_IO from errno: "<path>: <what>: <the system's text> (errno n)". */
mlxn_status mlxn_fail_errno(mlxn_error *error, const char *path, const char *what);
/* Puts "<prefix>: " before the message that *error holds. */
void mlxn_error_prefix(mlxn_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline mlxn_status mlxn_succeed(mlxn_error *error) {
    if (error) {
        error->status = MLXN_OK;
        error->driver_code = 0;
        error->message[0] = 0;
    }
    return MLXN_OK;
}

/* Checked 64-bit arithmetic: false on overflow, *out untouched. */
static inline bool mlxn_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline bool mlxn_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
/* Rounds up to a power of two `align`; false on overflow. */
static inline bool mlxn_align_u64(uint64_t a, uint64_t align, uint64_t *out) {
    uint64_t r;
    if (!mlxn_add_u64(a, align - 1, &r)) return false;
    *out = r & ~(align - 1);
    return true;
}
static inline uint64_t mlxn_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t mlxn_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* All memory of the library comes from here, so that tests can make the k-th allocation fail. NULL on failure.
 * mlxn_alloc zeroes. Sizes of 0 return a valid pointer. */
void *mlxn_alloc(size_t bytes);
void *mlxn_alloc_array(size_t count, size_t size); /* checked product, zeroed */
void *mlxn_realloc_array(void *old, size_t count, size_t size);
char *mlxn_strdup(const char *text);
char *mlxn_strndup(const char *text, size_t length);
void mlxn_free(void *memory);
/* 64-byte aligned, zeroed. */
void *mlxn_alloc_aligned(size_t bytes);
void mlxn_free_aligned(void *memory);
/* Test hook: the k-th allocation from now fails (1 = the next); 0 = off. Returns the number of allocations so far. */
uint64_t mlxn_alloc_fail_at(uint64_t k);
uint64_t mlxn_alloc_count(void);
/* Blocks that are allocated now: what does not come back to where it was has leaked. */
uint64_t mlxn_alloc_live(void);
/* For memory that comes from the system itself (maps): take before it is asked for, which counts one allocation and
 * answers false if that one is to fail; give when it is given back, or was refused. */
bool mlxn_alloc_take(size_t bytes);
void mlxn_alloc_give(void);

/* IEEE binary16 and bfloat16. Decoding is exact; encoding rounds to nearest even, overflow becomes infinity. */
float mlxn_f16_to_f32(uint16_t bits);
uint16_t mlxn_f32_to_f16(float value);
static inline float mlxn_bf16_to_f32(uint16_t bits) {
    uint32_t u = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint16_t mlxn_f32_to_bf16(float value) {
    uint32_t u;
    memcpy(&u, &value, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40); /* NaN stays NaN */
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

/* Bytes of an element, by dtype. */
extern const uint8_t mlxn_dtype_bytes[MLXN_DTYPE_COUNT];

/* True iff the environment variable is exactly "1". */
bool mlxn_env_is_one(const char *name);

/* A read-only map of a whole file. Errors: IO (driver_code errno), ARGUMENT (not a regular file, empty). */
typedef struct mlxn_mapping {
    const uint8_t *data;
    uint64_t size;
} mlxn_mapping;
mlxn_status mlxn_map_file(const char *path, mlxn_mapping *out, mlxn_error *error);
void mlxn_unmap_file(mlxn_mapping *map);
/* Gives back the resident pages of [offset, offset+bytes): they are read again from the file when touched. */
void mlxn_map_release_pages(const mlxn_mapping *map, uint64_t offset, uint64_t bytes);
/* Tells the system that the range will be read soon. */
void mlxn_map_prefetch(const mlxn_mapping *map, uint64_t offset, uint64_t bytes);

/* SHA-256 of `bytes` bytes (FIPS 180-4). */
void mlxn_sha256(const void *data, size_t bytes, uint8_t out[32]);

/* Monotonic clock in nanoseconds. */
uint64_t mlxn_now_ns(void);

/* For locks that are held for less than a thread switch takes: who finds one taken spins a little before it sleeps,
 * where the system's threads library can do that. */
void mlxn_short_lock_init(pthread_mutex_t *lock);
/* Tells the processor that this is a loop that waits for another thread. */
static inline void mlxn_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
