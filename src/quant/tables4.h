/* tables4.h: what decoders (tables4.c) and encoders (encode_small.c) of 4-bit tables share. */
#ifndef MLXN_SRC_QUANT_TABLES4_H
#define MLXN_SRC_QUANT_TABLES4_H

#include <stdint.h>

/* The tables as lists of v(number), so that others can be made of them. */
#define MLXN_IQ4_VALUES(v)                                                                                     \
    v(-127), v(-104), v(-83), v(-65), v(-49), v(-35), v(-22), v(-10), v(1), v(13), v(25), v(38), v(53), v(69), \
        v(89), v(113)
#define MLXN_FP4_DOUBLED(v) \
    v(0), v(1), v(2), v(3), v(4), v(6), v(8), v(12), v(0), v(-1), v(-2), v(-3), v(-4), v(-6), v(-8), v(-12)
extern const int8_t mlxn_iq4_values[16];  /* of IQ4_NL and IQ4_XS, ascending */
extern const int8_t mlxn_fp4_doubled[16]; /* twice the elements of E2M1; the negative zero counts as zero */

/* Unsigned E4M3; the patterns 0x00 and 0x7f are zero. */
float mlxn_ue4m3_to_f32(uint8_t code);
/* 2^(e - 128): half of the E8M0 scale, for the doubled elements. The two lowest are subnormal. */
float mlxn_half_e8m0(uint8_t e);
/* The ternary digits, 0 to 2, of a block of TQ1_0 in the order of its elements. */
void mlxn_tq1_0_codes(const uint8_t *block, uint8_t codes[256]);

#endif
