/* Promise: Philox 4x32-10 gives the published known answers, and the n-th uniform draw is a pure, uniform function of
 * (seed, n) that never reaches 1. */
#include "lm/philox.h"

#include <math.h>

#include "test.h"

typedef struct answer {
    uint32_t counter[4], key[2], out[4];
} answer;

/* The known answers that the authors published with their library (Random123, kat_vectors, philox4x32 10). */
static const answer answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void test_known_answers(void) {
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        uint32_t out[4];
        mlxn_philox(answers[i].counter, answers[i].key, out);
        CHECK(memcmp(out, answers[i].out, sizeof out) == 0, "vector %zu: got %08x %08x %08x %08x", i, out[0], out[1],
              out[2], out[3]);
    }
}

static void test_uniform(void) {
    enum { N = 100000, BINS = 20 };
    uint32_t bins[BINS] = {0};
    double sum = 0;
    for (uint64_t n = 0; n < N; n++) {
        double u = mlxn_philox_uniform(42, n);
        if (!(u >= 0 && u < 1)) {
            CHECK(0, "draw %llu is %g", (unsigned long long)n, u);
            return;
        }
        sum += u;
        bins[(int)(u * BINS)]++;
    }
    CHECK(fabs(sum / N - 0.5) < 0.005, "mean is %g", sum / N);
    double chi = 0, expected = (double)N / BINS;
    for (int i = 0; i < BINS; i++) chi += (bins[i] - expected) * (bins[i] - expected) / expected;
    CHECK(chi < 43.8, "chi square of %d bins is %g, want below 43.8 (p = 0.001)", BINS, chi);
}

static void test_pure(void) {
    CHECK(mlxn_philox_uniform(7, 1000) == mlxn_philox_uniform(7, 1000), "the same draw twice");
    CHECK(mlxn_philox_uniform(7, 1000) != mlxn_philox_uniform(8, 1000), "seeds differ");
    CHECK(mlxn_philox_uniform(7, 1) != mlxn_philox_uniform(7, 1ull << 32), "the high word of n counts");
    CHECK(mlxn_philox_uniform(7, 0) != mlxn_philox_uniform(7 + (1ull << 32), 0), "the high word of the seed counts");
}

int main(void) {
    test_known_answers();
    test_uniform();
    test_pure();
    return TEST_DONE();
}
