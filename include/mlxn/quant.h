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
/* Encodes by the formats' reference rules ("ref" variants, no importance matrix): every format but the IQ1,
 * IQ2, IQ3 ones and those of MLX. Errors: ARGUMENT (see row_bytes; values too large), UNSUPPORTED. */
MLXN_API mlxn_status mlxn_quantize_row(mlxn_format format, const float *src, uint64_t cols, void *dst,
                                       mlxn_error *error);
/* Encodes as is done once for the weights of a model, with a wider search where a format has one (the block formats
 * of 4 and 5 bits, the K formats, IQ4_NL, IQ4_XS; all others: as mlxn_quantize_row). importance: how much an error in
 * each of the `cols` columns counts, such as the mean square of that input of the matrix; numbers of 0 … 1e6 of which
 * only the ratios matter; columns that share a scale and have no importance at all count the same. NULL: no
 * importance, and only IQ4_NL differs from mlxn_quantize_row. Pure, any thread. Errors: as mlxn_quantize_row, with an
 * eighth of its largest value where the importance is used; ARGUMENT (importance out of its range). */
MLXN_API mlxn_status mlxn_quantize_row_weighted(mlxn_format format, const float *src, const float *importance,
                                                uint64_t cols, void *dst, mlxn_error *error);

/* How MLX packs a weight: formulas in MLX's documentation of mlx.core.quantize. */
typedef enum mlxn_quant_mode {
    MLXN_QUANT_AFFINE = 0, /* q * scale + bias, unsigned q; defaults 4 bits, groups of 64 */
    MLXN_QUANT_MXFP4 = 1,  /* E2M1, scales E8M0; 4 bits, groups of 32 */
    MLXN_QUANT_MXFP8 = 2,  /* E4M3, scales E8M0; 8 bits, groups of 32 */
    MLXN_QUANT_NVFP4 = 3   /* E2M1, scales E4M3; 4 bits, groups of 16 */
} mlxn_quant_mode;

/* What an MLX format is; false for all other formats. */
typedef struct mlxn_group_info {
    mlxn_quant_mode mode;
    uint32_t bits;       /* of a code */
    uint32_t group_size; /* elements that share a scale (and, in the affine mode, a bias) */
} mlxn_group_info;
MLXN_API bool mlxn_format_get_groups(mlxn_format format, mlxn_group_info *out);
/* The format of a mode, bits and group size. Errors: UNSUPPORTED (affine: 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64
 * or 128; each other mode has one size). */
MLXN_API mlxn_status mlxn_format_of_groups(mlxn_quant_mode mode, uint32_t bits, uint32_t group_size, mlxn_format *out,
                                           mlxn_error *error);

/* One row in an MLX format, which mlxn_dequantize_row and mlxn_quantize_row refuse. codes: cols * bits / 8 bytes, one
 * stream of bits, the lowest first (mlxn_format_row_bytes); scales: cols / group_size elements; biases: as many, in
 * the affine mode. Any alignment. */
typedef struct mlxn_group_row {
    void *codes, *scales, *biases;
    mlxn_dtype scale_dtype; /* of scales and biases: F32, F16 or BF16 in the affine mode, else U8 */
    float global_scale;     /* nvfp4: multiplies every scale by global_scale / 2688; 0: there is none */
    bool mlx_cpu;           /* encoding of mxfp4, mxfp8 and nvfp4: see mlxn_quantize_groups */
} mlxn_group_row;
/* affine: q * scale + bias; else element * scale (docs/FORMATS-MLX.md). Only reads from `src`. Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_dequantize_groups(mlxn_format format, const mlxn_group_row *src, uint64_t cols, float *dst,
                                            mlxn_error *error);
/* Encodes. affine: as MLX does on the CPU (ties to even). mxfp4, mxfp8, nvfp4: scale exponents are rounded to the
 * nearest and E2M1 elements to even, signs of zeros kept, as MLX does on GPUs; with mlx_cpu as its CPU back end does
 * since 0.32.1: exponents rounded up (no element saturates), E2M1 halfway to zero, no negative zero. Errors: ARGUMENT
 * (also an element that is not finite, or of more magnitude than the scale's dtype holds). */
MLXN_API mlxn_status mlxn_quantize_groups(mlxn_format format, const float *src, uint64_t cols,
                                          const mlxn_group_row *dst, mlxn_error *error);

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
    /* A stack of matrices, as expert-routed products take: `rows` is of one of them. */
    uint64_t experts;       /* 0 counts as 1 */
    uint64_t expert_stride; /* bytes from one matrix to the next in `data`; 0: they lie close together */
    /* MLX formats (`data` then holds the codes): scales, and in the affine mode biases, of all rows of all experts,
     * close together. See mlxn_group_row for the dtype and the global scale. */
    mlxn_buffer *scales, *biases; /* borrowed or kept, as data is */
    uint64_t scales_offset, biases_offset;
    mlxn_dtype scale_dtype;
    float global_scale;
} mlxn_weight_desc;

/* Checks the range and repacks for the device. Errors: ARGUMENT, UNSUPPORTED, MEMORY, LIMIT. */
MLXN_API mlxn_status mlxn_weight_create(mlxn_device *device, const mlxn_weight_desc *desc, mlxn_weight **out,
                                        mlxn_error *error);
MLXN_API mlxn_weight *mlxn_weight_retain(mlxn_weight *weight);
MLXN_API void mlxn_weight_release(mlxn_weight **weight);
MLXN_API mlxn_format mlxn_weight_format(const mlxn_weight *weight);
MLXN_API uint64_t mlxn_weight_rows(const mlxn_weight *weight); /* of one matrix */
MLXN_API uint64_t mlxn_weight_cols(const mlxn_weight *weight);
MLXN_API uint64_t mlxn_weight_experts(const mlxn_weight *weight); /* matrices, at least 1 */
/* The device memory that a weight of this shape (one matrix; scales of MLX formats bf16) takes. Errors: ARGUMENT,
 * UNSUPPORTED, LIMIT. */
MLXN_API mlxn_status mlxn_weight_device_bytes(mlxn_device *device, mlxn_format format, uint64_t rows, uint64_t cols,
                                              uint64_t *out, mlxn_error *error);
/* Bytes that one pass over the weight reads. */
MLXN_API uint64_t mlxn_weight_bytes(const mlxn_weight *weight);
/* Decodes one row to `dst` (cols floats) from the device's layout; row r of expert e is number e * rows + r. Errors:
 * ARGUMENT (row out of range). */
MLXN_API mlxn_status mlxn_weight_read_row(const mlxn_weight *weight, uint64_t row, float *dst, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
