/* weight_grids.c (CPU backend): blocks of the grid formats into the packed layout, whose codes are places in the list
 * of the grid's values and signs (quant/iq.h). Every function packs one block of one row (weight_pack.h). */
#include "backend/cpu/weight_pack.h"
#include "quant/iq.h"

/* `d` is the block's scale times the format's unit, which binary16 might not hold. */
static inline void pack_grid(mlxn_iq_read *read, uint32_t bits, bool halves, float d, const uint8_t *raw,
                             uint8_t *packed, uint32_t lane) {
    const uint32_t scale_bytes = halves ? 2 * CPU_TILE : CPU_TILE,
                   group_bytes = scale_bytes + (bits == 3 ? 192 : 256);
    uint32_t word;
    memcpy(&word, &d, 4);
    put_word(packed, lane, word);
    packed += 4 * CPU_TILE;
    for (uint32_t g = 0; g < 8; g++, packed += group_bytes) {
        uint8_t codes[CPU_GROUP], scales[2];
        read(raw, g, codes, scales);
        packed[lane] = scales[0];
        if (halves) packed[CPU_TILE + lane] = scales[1];
        pack_codes(bits, codes, packed + scale_bytes, lane);
    }
}

#define PACK(name, bits, halves, d)                                               \
    static void pack_##name(const uint8_t *raw, uint8_t *packed, uint32_t lane) { \
        pack_grid(mlxn_##name##_read, bits, halves, d, raw, packed, lane);        \
    }                                                                             \
    CPU_PACK_LOOP(name)
PACK(iq1_s, 3, false, mlxn_load_f16(raw) * MLXN_IQ1_UNIT)
PACK(iq1_m, 3, true, mlxn_f16_to_f32(mlxn_iq1_m_scale(raw)) * MLXN_IQ1_UNIT)
PACK(iq2_xxs, 3, false, mlxn_load_f16(raw) * MLXN_IQ2_UNIT)
PACK(iq2_xs, 3, true, mlxn_load_f16(raw) * MLXN_IQ2_UNIT)
PACK(iq2_s, 3, true, mlxn_load_f16(raw) * MLXN_IQ2_UNIT)
PACK(iq3_xxs, 4, false, mlxn_load_f16(raw) * MLXN_IQ3_XXS_UNIT)
PACK(iq3_s, 4, false, mlxn_load_f16(raw) * MLXN_IQ3_S_UNIT)
