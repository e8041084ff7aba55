/* rope_shape.h: what the bodies of rope.h are told, as host and device see it. */
#ifndef MLXN_SRC_KERNELS_ROPE_SHAPE_H
#define MLXN_SRC_KERNELS_ROPE_SHAPE_H

enum { K_ROPE_PAIRS = 256 };

typedef struct k_rope_shape {
    unsigned long long tokens, heads;
    long long strides[2][3];               /* elements; of x and out */
    long long position[2], factor, weight; /* strides of positions by axis and token, of factors, of the norm's w */
    unsigned d, pairs, offset;             /* of a head; pairs that turn, from this channel on */
    unsigned pairing, axes, sections[4];   /* mlxn_rope_pairing, mlxn_rope_axes */
    unsigned is_signed;                    /* positions are i32 */
    float magnitude;                       /* of sines and cosines; negative sines: sign */
    float sign;                            /* -1 turns back */
    float eps;                             /* above 0: heads are normed first */
    double frequency[K_ROPE_PAIRS];        /* per pair, before its factor */
} k_rope_shape;

#endif
