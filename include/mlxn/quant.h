/* mlxn/quant.h: number formats of weights, and weight objects.
 *
 * A weight matrix W[rows, cols] is stored row by row: one row is the inputs of one output feature, y = x W^T. Block
 * layouts and decoding formulas follow the GGUF/ggml block definitions; every product or sum is one binary32
 * operation, left to right, without fused multiply-add. */
#ifndef MLXN_QUANT_H
#define MLXN_QUANT_H

#include <mlxn/buffer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_format_info {
    const char *name;      /* "Q4_K" */
    uint32_t block_values; /* elements per block, 1 for plain types */
    uint32_t block_bytes;
} mlxn_format_info;

/* false if the format is unknown to this build. Pure, any thread. */
MLXN_API bool mlxn_format_get_info(mlxn_format format, mlxn_format_info *out);
/* "Q4_K", or "?" */
MLXN_API const char *mlxn_format_name(mlxn_format format);
/* Bytes of one row of `cols` elements. ARGUMENT if cols is 0 or no multiple of the block, or on overflow. */
MLXN_API mlxn_status mlxn_format_row_bytes(mlxn_format format, uint64_t cols, uint64_t *out, mlxn_error *error);
/* Decodes `cols` elements from `src` (byte-aligned) to `dst`: the bit-exact scalar reference.
 * Errors: ARGUMENT (see row_bytes), UNSUPPORTED (unknown format). */
MLXN_API mlxn_status mlxn_dequantize_row(mlxn_format format, const void *src, uint64_t cols, float *dst,
                                         mlxn_error *error);
/* Encodes by the formats' reference rules ("ref" variants, no importance matrix): F32, F16, BF16, Q4_0, Q4_1, Q5_0,
 * Q5_1, Q8_0. Errors: ARGUMENT, UNSUPPORTED. */
MLXN_API mlxn_status mlxn_quantize_row(mlxn_format format, const float *src, uint64_t cols, void *dst,
                                       mlxn_error *error);

/* A weight: the device's own (repacked) form of a matrix. Counted; any thread; immutable after creation. */
typedef struct mlxn_weight mlxn_weight;

typedef struct mlxn_weight_desc {
    uint32_t struct_size;
    mlxn_format format;
    uint64_t rows, cols;
    mlxn_buffer *data; /* where the matrix lies; borrowed for the call, or kept if keep_source is set */
    uint64_t offset;   /* bytes, any alignment */
    bool keep_source;  /* also keep `data`, so that mlxn_weight_read_row decodes from the original bytes */
    /* Called while a large matrix is packed, from the calling thread: the first `rows` rows of `data` are not read
     * any more (unless keep_source is set), so that their pages can go before the rest is packed. May be NULL;
     * devices that pack at one go do not call it. */
    void (*packed)(void *user, uint64_t rows);
    void *packed_user;
} mlxn_weight_desc;

/* Checks the range and repacks for the device. Errors: ARGUMENT, UNSUPPORTED, MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_weight_create(mlxn_device *device, const mlxn_weight_desc *desc, mlxn_weight **out,
                                        mlxn_error *error);
MLXN_API mlxn_weight *mlxn_weight_retain(mlxn_weight *weight);
MLXN_API void mlxn_weight_release(mlxn_weight **weight);
MLXN_API mlxn_format mlxn_weight_format(const mlxn_weight *weight);
MLXN_API uint64_t mlxn_weight_rows(const mlxn_weight *weight);
MLXN_API uint64_t mlxn_weight_cols(const mlxn_weight *weight);
/* The device memory that a weight of this shape takes. Errors: ARGUMENT, UNSUPPORTED, LIMIT. */
MLXN_API mlxn_status mlxn_weight_device_bytes(mlxn_device *device, mlxn_format format, uint64_t rows, uint64_t cols,
                                              uint64_t *out, mlxn_error *error);
/* Bytes that one pass over the weight reads. */
MLXN_API uint64_t mlxn_weight_bytes(const mlxn_weight *weight);
/* Decodes one row to `dst` (cols floats) from the device's layout. Errors: ARGUMENT (row out of range). */
MLXN_API mlxn_status mlxn_weight_read_row(const mlxn_weight *weight, uint64_t row, float *dst, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
