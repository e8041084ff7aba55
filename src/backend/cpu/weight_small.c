/* weight_small.c (CPU backend): blocks of one and two bits into the packed layout. Every function packs one block of
 * one row (weight_pack.h). */
#include "backend/cpu/weight_pack.h"
#include "quant/tables4.h"

/* A group of two bits per code, in a layout without bytes. */
enum { GROUP2 = 128 };

static void pack_tq1_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    uint8_t codes[256];
    mlxn_tq1_0_codes(raw, codes);
    put_half(packed, lane, raw + 52);
    for (uint32_t g = 0; g < 8; g++) pack_codes(2, codes + CPU_GROUP * g, packed + 32 + GROUP2 * g, lane);
}

static void pack_tq2_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw + 64);
    for (uint32_t g = 0; g < 8; g++) {
        uint8_t codes[CPU_GROUP];
        for (uint32_t j = 0; j < CPU_QUADS; j++)
            mlxn_store_u32(codes + 4 * j, mlxn_load_u32(raw + 32 * (g / 4) + 4 * j) >> 2 * (g % 4) & 0x03030303u);
        pack_codes(2, codes, packed + 32 + GROUP2 * g, lane);
    }
}

/* A bit is a code of the layout as it is. */
static void pack_q1_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    for (uint32_t g = 0; g < 4; g++) put_bits(packed + 32 + 64 * g, lane, mlxn_load_u32(raw + 2 + 4 * g));
}

static void pack_q2_0(const uint8_t *raw, uint8_t *packed, uint32_t lane) {
    put_half(packed, lane, raw);
    for (uint32_t g = 0; g < 2; g++) {
        uint8_t codes[CPU_GROUP];
        for (uint32_t k = 0; k < CPU_GROUP; k++) codes[k] = raw[2 + 8 * g + k / 4] >> 2 * (k % 4) & 3;
        pack_codes(2, codes, packed + 32 + GROUP2 * g, lane);
    }
}

CPU_PACK_LOOP(tq1_0)
CPU_PACK_LOOP(tq2_0)
CPU_PACK_LOOP(q1_0)
CPU_PACK_LOOP(q2_0)
