/* turboquant_random.h: normal numbers for the TurboQuant tests, the same on every machine that rounds as IEEE 754
 * does up to the last bits of libm: SplitMix64 and the polar-free form of Box and Muller. */
#ifndef MLXN_TESTS_TURBOQUANT_RANDOM_H
#define MLXN_TESTS_TURBOQUANT_RANDOM_H

#include <math.h>
#include <stdint.h>

static inline uint64_t random_bits(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* In (0, 1). */
static inline double random_unit(uint64_t *state) { return ((double)(random_bits(state) >> 12) + 0.5) * 0x1p-52; }

static inline float random_normal(uint64_t *state) {
    double radius = sqrt(-2 * log(random_unit(state)));
    return (float)(radius * cos(6.283185307179586 * random_unit(state)));
}

static inline void random_fill(uint64_t *state, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = random_normal(state);
}

/* |a - b|^2 / |a|^2 */
static inline double relative_error(const float *a, const float *b, size_t n) {
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)a[i] * (double)a[i];
    }
    return error / size;
}

static inline double nrmse(const float *a, const float *b, size_t n) { return sqrt(relative_error(a, b, n)); }

#endif
