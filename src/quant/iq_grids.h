/* iq_grids.h: grids of the IQ formats. Lanes are packed: 2 bits each in grids of eight lanes, which stand for 8, 25,
 * 43 (IQ2) or -1, 0, 1 (IQ1); 3 bits each in grids of four lanes, which stand for 4, 12, 20, 28, 36, 44, 52, 62
 * (IQ3_XXS) or 1, 3, 5, ... 15 (IQ3_S). */
#ifndef MLXN_SRC_IQ_GRIDS_H
#define MLXN_SRC_IQ_GRIDS_H

#include <stdint.h>

extern const uint16_t mlxn_iq2xxs_grid[256];
extern const uint16_t mlxn_iq2xs_grid[512];
extern const uint16_t mlxn_iq2s_grid[1024];
extern const uint16_t mlxn_iq3xxs_grid[256];
extern const uint16_t mlxn_iq3s_grid[512];
extern const uint16_t mlxn_iq1s_grid[2048];

#endif
