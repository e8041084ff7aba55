/* iq.h: the grid formats as codes: what decoders (iq.c) and packers of weights share.
 *
 * A block of 256 elements is eight sub-blocks of 32. An element is d * unit * scale * value, with the block's
 * binary16 d, a power of two, an odd scale of each half of a sub-block, and a value of the format's list. The product
 * is exact in binary32, in any order. */
#ifndef MLXN_SRC_QUANT_IQ_H
#define MLXN_SRC_QUANT_IQ_H

#include <stdint.h>

#define MLXN_IQ1_UNIT 0.125f
#define MLXN_IQ2_UNIT 0.125f
#define MLXN_IQ3_XXS_UNIT 0.25f
#define MLXN_IQ3_S_UNIT 1.0f

/* Values in the order of codes: the places in the grid's list, then the same with the sign that stands apart. As
 * lists of v(number), so that other tables can be made of them; IQ2 uses three places of four. In IQ1 they are
 * eighths: -1, 0, 1 moved up or down by one eighth. */
#define MLXN_IQ2_VALUES(v) v(8), v(25), v(43), v(0), v(-8), v(-25), v(-43), v(0)
#define MLXN_IQ1_VALUES(v) v(-7), v(1), v(9), v(0), v(-9), v(-1), v(7), v(0)
#define MLXN_IQ3_XXS_VALUES(v)                                                                                    \
    v(4), v(12), v(20), v(28), v(36), v(44), v(52), v(62), v(-4), v(-12), v(-20), v(-28), v(-36), v(-44), v(-52), \
        v(-62)
#define MLXN_IQ3_S_VALUES(v) \
    v(1), v(3), v(5), v(7), v(9), v(11), v(13), v(15), v(-1), v(-3), v(-5), v(-7), v(-9), v(-11), v(-13), v(-15)

/* Sub-block `i` of a block: its codes, each place | sign << (bits of a place), and the scales of its halves. */
typedef void mlxn_iq_read(const uint8_t *block, uint32_t i, uint8_t codes[32], uint8_t scales[2]);
mlxn_iq_read mlxn_iq2_xxs_read, mlxn_iq2_xs_read, mlxn_iq2_s_read, mlxn_iq3_xxs_read, mlxn_iq3_s_read,
    mlxn_iq1_s_read, mlxn_iq1_m_read;

/* d of a block of IQ1_M, whose bits lie in the top nibbles of the four words of scales. */
uint16_t mlxn_iq1_m_scale(const uint8_t *block);

#endif
