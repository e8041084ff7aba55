/* philox.c: Philox 4x32-10, see philox.h. */
#include "lm/philox.h"

enum { PHILOX_ROUNDS = 10 };

void mlxn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    /* The multipliers are the paper's; the key grows by the golden ratio and by sqrt(3) - 1, both as 32-bit
     * fractions. */
    const uint64_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u;
    const uint32_t w0 = 0x9E3779B9u, w1 = 0xBB67AE85u;
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p = m0 * a, q = m1 * c;
        uint32_t na = (uint32_t)(q >> 32) ^ b ^ k0;
        uint32_t nc = (uint32_t)(p >> 32) ^ d ^ k1;
        b = (uint32_t)q;
        d = (uint32_t)p;
        a = na;
        c = nc;
        k0 += w0;
        k1 += w1;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

double mlxn_philox_uniform(uint64_t seed, uint64_t n) {
    uint32_t counter[4] = {(uint32_t)n, (uint32_t)(n >> 32), 0, 0};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    mlxn_philox(counter, key, r);
    uint64_t bits = (uint64_t)(r[0] >> 5) << 26 | r[1] >> 6; /* 27 + 26 bits fill a double's significand */
    return (double)bits * 0x1p-53;
}
