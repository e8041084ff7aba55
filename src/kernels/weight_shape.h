/* weight_shape.h: a weight in the layout of devices, as host and device see it.
 *
 * Formats of blocks: a block is cut into a body, whole units of 16 bytes that lie at multiples of 16, and a head, the
 * bytes that are left in their order; bodies and heads of all rows lie apart. Plain formats and codes of MLX formats
 * are bodies alone, each row at a multiple of 16 bytes; scales of MLX formats take the place of the heads, and biases
 * have one of their own. Row r of expert e is number e * rows + r. */
#ifndef MLXN_SRC_KERNELS_WEIGHT_SHAPE_H
#define MLXN_SRC_KERNELS_WEIGHT_SHAPE_H

/* The numbers of mlxn_format where that has them; all affine formats of MLX are one. */
enum k_format {
    K_FORMAT_F32 = 0,
    K_FORMAT_F16 = 1,
    K_FORMAT_Q4_0 = 2,
    K_FORMAT_Q4_1 = 3,
    K_FORMAT_Q5_0 = 6,
    K_FORMAT_Q5_1 = 7,
    K_FORMAT_Q8_0 = 8,
    K_FORMAT_Q8_1 = 9,
    K_FORMAT_Q2_K = 10,
    K_FORMAT_Q3_K = 11,
    K_FORMAT_Q4_K = 12,
    K_FORMAT_Q5_K = 13,
    K_FORMAT_Q6_K = 14,
    K_FORMAT_Q8_K = 15,
    K_FORMAT_IQ2_XXS = 16,
    K_FORMAT_IQ2_XS = 17,
    K_FORMAT_IQ3_XXS = 18,
    K_FORMAT_IQ1_S = 19,
    K_FORMAT_IQ4_NL = 20,
    K_FORMAT_IQ3_S = 21,
    K_FORMAT_IQ2_S = 22,
    K_FORMAT_IQ4_XS = 23,
    K_FORMAT_IQ1_M = 29,
    K_FORMAT_BF16 = 30,
    K_FORMAT_TQ1_0 = 34,
    K_FORMAT_TQ2_0 = 35,
    K_FORMAT_MXFP4 = 39,
    K_FORMAT_NVFP4 = 40,
    K_FORMAT_Q1_0 = 41,
    K_FORMAT_Q2_0 = 42,
    K_FORMAT_AFFINE = 1000,
    K_FORMAT_MLX_MXFP4 = 1100,
    K_FORMAT_MLX_MXFP8 = 1101,
    K_FORMAT_MLX_NVFP4 = 1102
};

/* Entries of the grids of the IQ formats in the table that a weight of such a format points to. */
enum {
    K_GRID_IQ2_XXS = 0,
    K_GRID_IQ2_XS = K_GRID_IQ2_XXS + 256,
    K_GRID_IQ2_S = K_GRID_IQ2_XS + 512,
    K_GRID_IQ3_XXS = K_GRID_IQ2_S + 1024,
    K_GRID_IQ3_S = K_GRID_IQ3_XXS + 256,
    K_GRID_IQ1_S = K_GRID_IQ3_S + 512,
    K_GRID_END = K_GRID_IQ1_S + 2048
};

typedef struct k_weight_shape {
    unsigned long long body, head, bias, grid;   /* addresses; 0 where there are none */
    unsigned long long body_stride, head_stride; /* bytes from row to row; heads, or scales and biases */
    unsigned long long rows, cols;               /* of one matrix */
    unsigned format;                             /* k_format */
    unsigned bits, group;                        /* of MLX formats: bits of a code, elements that share a scale */
    unsigned scale_type;                         /* of affine formats: 0 f32, 1 f16, 2 bf16 */
    float factor;                                /* of MLX_NVFP4: of every scale */
} k_weight_shape;

#endif
