/* mlxn/kv.h: how key and value caches store their rows: plain numbers, quantized blocks, or TurboQuant.
 *
 * A row is the key or the value of one position and head, D values. In a cache tensor [S, Hk, C, x] the plain types
 * have x = D elements of their dtype; the others are bytes (MLXN_U8) and have x = mlxn_kv_row_bytes. Keys and values
 * choose their types independently. docs/KV-CACHES.md has the layouts.
 *
 * Q8_0 to Q5_1 are the GGML block formats of the same names. TQn is TurboQuant with n bits: signs, Walsh-Hadamard
 * transform, the nearest of 2^n fixed centroids for every coordinate, and the length of the vector (turboquant.h):
 *
 *     float32 norm   little-endian, |x|; for D = 512 two, each sqrt(sum of y^2 / 256) of its 256 coordinates
 *     low            TQ4, TQ5, TQ6: D/2 bytes; byte j of the k-th 16 holds the low four bits of the codes of
 *                    coordinates 32k + j (low nibble) and 32k + 16 + j (high nibble). TQ8: D bytes, one code each
 *     bit 4          TQ5, TQ6: D/8 bytes, bit j mod 8 of byte j/8 is that of coordinate j
 *     bit 5          TQ6: the same
 *
 * D is 64, 128, 256 or 512; the signs are the first D of the codec's table. A code counts
 * centroid * norm / sqrt(D) (D = 512: centroid * norm of its block). Attention rotates queries and undoes the
 * rotation of results, so a cache row is never rotated back (Zandieh et al. 2025). */
#ifndef MLXN_KV_H
#define MLXN_KV_H

#include <mlxn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are stable. */
typedef enum mlxn_kv_type {
    MLXN_KV_DEFAULT = 0, /* of an operation: the dtype of the cache tensor; of a context: by the device's precision */
    MLXN_KV_F32 = 1,
    MLXN_KV_F16 = 2,
    MLXN_KV_BF16 = 3,
    MLXN_KV_Q8_0 = 4,
    MLXN_KV_Q4_0 = 5,
    MLXN_KV_Q4_1 = 6,
    MLXN_KV_Q5_0 = 7,
    MLXN_KV_Q5_1 = 8,
    MLXN_KV_TQ4 = 9,
    MLXN_KV_TQ5 = 10,
    MLXN_KV_TQ6 = 11,
    MLXN_KV_TQ8 = 12,
    MLXN_KV_TYPE_COUNT = 13
} mlxn_kv_type;

/* Pure functions of their arguments: any thread at any time. */

/* "f16", "q8_0", "tq4", …; "?" if there is none. */
MLXN_API const char *mlxn_kv_type_name(mlxn_kv_type type);
/* One name, of `size` characters, without regard to case. Errors: ARGUMENT, with the names that there are. */
MLXN_API mlxn_status mlxn_kv_type_parse(const char *name, size_t size, mlxn_kv_type *out, mlxn_error *error);
/* True of TQ4 to TQ8: rows hold rotated vectors. */
MLXN_API bool mlxn_kv_type_rotated(mlxn_kv_type type);
/* Bytes of a row of d values. Errors: ARGUMENT (unknown type, d that does not fit it). */
MLXN_API mlxn_status mlxn_kv_row_bytes(mlxn_kv_type type, uint64_t d, uint64_t *out, mlxn_error *error);
/* x: d floats -> row: `bytes` = row_bytes. A block (of TQ: the row) with NaN, infinity or values whose scale does not
 * fit is stored so that it decodes to NaN or infinity: bad values show. Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_kv_encode_row(mlxn_kv_type type, const float *x, uint64_t d, void *row, uint64_t bytes,
                                        mlxn_error *error);
/* The reference of what a row holds, d floats, still rotated where the type is. Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_kv_decode_row(mlxn_kv_type type, const void *row, uint64_t bytes, float *out, uint64_t d,
                                        mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
