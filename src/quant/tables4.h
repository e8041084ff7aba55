/* tables4.h: what decoders (tables4.c) and encoders (encode_small.c) of 4-bit tables share. */
#ifndef MLXN_SRC_QUANT_TABLES4_H
#define MLXN_SRC_QUANT_TABLES4_H

#include <stdint.h>

extern const int8_t mlxn_iq4_values[16];  /* of IQ4_NL and IQ4_XS, ascending */
extern const int8_t mlxn_fp4_doubled[16]; /* twice the elements of E2M1; the negative zero counts as zero */

/* Unsigned E4M3; the patterns 0x00 and 0x7f are zero. */
float mlxn_ue4m3_to_f32(uint8_t code);
/* 2^(e - 128): half of the E8M0 scale, for the doubled elements. The two lowest are subnormal. */
float mlxn_half_e8m0(uint8_t e);

#endif
