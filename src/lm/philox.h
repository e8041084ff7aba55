/* philox.h: the counter-based generator Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011). Pure: the same counter and key give the same four words, on every machine. */
#ifndef MLXN_SRC_LM_PHILOX_H
#define MLXN_SRC_LM_PHILOX_H

#include <stdint.h>

void mlxn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Draw number `n` of the stream `seed`: uniform in [0, 1), 53 random bits. */
double mlxn_philox_uniform(uint64_t seed, uint64_t n);

#endif
