/* Promise: computed codebooks are the optimum: they meet Lloyd's two conditions in closed form, agree with plain
 * Lloyd iteration, with known exact cases and with the codec's tables where those are optimal; the other tables are
 * as far from it as is written down. Every number of levels and dims in range settles. */
#include <math.h>

#include "quant/turboquant.h"
#include "test.h"
#include "turboquant_random.h"

static mlxn_error error;

static double density(double x) { return isinf(x) ? 0 : exp(-0.5 * x * x) / sqrt(6.283185307179586); }

/* Mass of a normal variable between a and b, without cancellation in the tails. */
static double mass(double a, double b) {
    if (a > 0) return 0.5 * (erfc(a / sqrt(2)) - erfc(b / sqrt(2)));
    if (b < 0) return 0.5 * (erfc(-b / sqrt(2)) - erfc(-a / sqrt(2)));
    return 0.5 * (erf(b / sqrt(2)) - erf(a / sqrt(2)));
}

static double edge(const double *c, uint32_t n, uint32_t i) { /* below cell i */
    return i == 0 ? -INFINITY : i == n ? INFINITY : 0.5 * (c[i - 1] + c[i]);
}

/* Largest distance of a centroid from the mean of its cell. */
static double residual(const double *c, uint32_t n) {
    double worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        double a = edge(c, n, i), b = edge(c, n, i + 1);
        worst = fmax(worst, fabs(c[i] - (density(a) - density(b)) / mass(a, b)));
    }
    return worst;
}

/* Mean squared error of a normal variable. */
static double distortion(const double *c, uint32_t n) {
    double sum = 1;
    for (uint32_t i = 0; i < n; i++) {
        double a = edge(c, n, i), b = edge(c, n, i + 1);
        sum += c[i] * c[i] * mass(a, b) - 2 * c[i] * (density(a) - density(b));
    }
    return sum;
}

static void test_normal(void) {
    static double c[1024];
    for (uint32_t n = 1; n <= 1024; n += n < 40 ? 1 : 41) {
        CHECK(mlxn_turboquant_lloyd_max(n, c, &error) == MLXN_OK, "%u levels: %s", n, error.message);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(c[i] == -c[n - 1 - i], "%u levels, %u: not symmetric", n, i);
            CHECK(i == 0 || c[i] > c[i - 1], "%u levels, %u: not ascending", n, i);
        }
        CHECK(residual(c, n) < 1e-11, "%u levels: residual %g", n, residual(c, n));
    }
    CHECK(mlxn_turboquant_lloyd_max(2, c, NULL) == MLXN_OK && fabs(c[1] - sqrt(2 / acos(-1.0))) < 1e-13, "2 levels");
    for (uint32_t n = 2; n <= 16; n++) {
        double plain[16];
        for (uint32_t i = 0; i < n; i++) plain[i] = -2 + 4.0 * i / (n - 1);
        for (int round = 0; round < 3000; round++) {
            double next[16];
            for (uint32_t i = 0; i < n; i++) {
                double a = edge(plain, n, i), b = edge(plain, n, i + 1);
                next[i] = (density(a) - density(b)) / mass(a, b);
            }
            memcpy(plain, next, n * sizeof *plain);
        }
        mlxn_turboquant_lloyd_max(n, c, NULL);
        for (uint32_t i = 0; i < n; i++)
            CHECK(fabs(c[i] - plain[i]) < 1e-11, "%u levels, %u: got %.15g, want %.15g", n, i, c[i], plain[i]);
    }
    CHECK(mlxn_turboquant_lloyd_max(0, c, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "levels is 0"), "%s",
          error.message);
    CHECK(mlxn_turboquant_lloyd_max(1025, c, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "1 to 1024"), "%s",
          error.message);
    CHECK(mlxn_turboquant_lloyd_max(2, NULL, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "NULL"), "%s",
          error.message);
    mlxn_alloc_fail_at(1);
    CHECK(mlxn_turboquant_lloyd_max(8, c, &error) == MLXN_ERR_MEMORY && strstr(error.message, "8 levels"), "%s",
          error.message);
    mlxn_alloc_fail_at(0);
}

static const struct table_case {
    uint32_t bits;
    double least, most;    /* largest distance from the optimum lies between */
    double error, optimal; /* mean squared error of the table and of the optimum, */
    double digits;         /* to within */
} table_cases[] = {
    /* Seven digits, half an ulp of binary32 more. */
    {2, 0, 5e-8 + 0x1p-24, 0.117482, 0.117482, 5e-7},   {3, 0, 5e-8 + 0x1p-23, 0.034548, 0.034548, 5e-7},
    {4, 0, 5e-8 + 0x1p-23, 0.0095010, 0.0095010, 5e-8}, {5, 6e-5, 7e-5, 0.0025047, 0.0025047, 5e-8},
    {6, 1e-2, 1e-1, 6.4865e-4, 6.44e-4, 5e-7},          {8, 1e-1, 1, 6.274e-5, 4.12e-5, 5e-8},
};

static void test_codec_tables(void) {
    for (size_t t = 0; t < sizeof table_cases / sizeof table_cases[0]; t++) {
        const struct table_case *k = &table_cases[t];
        const uint32_t n = 1u << k->bits;
        double best[256], table[256], worst = 0;
        float c[256];
        mlxn_turboquant_book_expand(mlxn_turboquant_book_find(k->bits), c);
        CHECK(mlxn_turboquant_lloyd_max(n, best, &error) == MLXN_OK, "%s", error.message);
        for (uint32_t i = 0; i < n; i++) {
            table[i] = (double)c[i];
            worst = fmax(worst, fabs(best[i] - table[i]));
        }
        CHECK(worst >= k->least && worst <= k->most, "%u bits: %g from the optimum", k->bits, worst);
        double got = distortion(table, n), least = distortion(best, n);
        CHECK(fabs(got - k->error) <= k->digits, "%u bits: error of the table %.8g, want %g", k->bits, got, k->error);
        CHECK(fabs(least - k->optimal) <= k->digits, "%u bits: least error %.8g, want %g", k->bits, least,
              k->optimal);
        CHECK(least <= got + 1e-14, "%u bits: the optimum has error %g, the table %g", k->bits, least, got);
    }
}

static void test_sphere(void) {
    static double c[1024], reference[1024];
    /* Three dims: uniform on [-1, 1]. */
    for (uint32_t n = 1; n <= 256; n += n < 9 ? 1 : 13) {
        CHECK(mlxn_turboquant_lloyd_max_beta(3, n, c, &error) == MLXN_OK, "%s", error.message);
        for (uint32_t i = 0; i < n; i++) {
            double want = -1 + (2 * i + 1.0) / n;
            CHECK(fabs(c[i] - want) < 1e-11, "dim 3, %u levels, %u: got %.15g, want %.15g", n, i, c[i], want);
        }
    }
    /* Two levels: the mean of |t|, Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)). */
    for (uint32_t dim = 3; dim < 5000; dim = dim * 3 / 2) {
        CHECK(mlxn_turboquant_lloyd_max_beta(dim, 2, c, &error) == MLXN_OK, "%s", error.message);
        double want = exp(lgamma(0.5 * dim) - lgamma(0.5 * (dim + 1))) / sqrt(acos(-1.0));
        CHECK(fabs(c[1] - want) < 1e-10 * want, "dim %u: got %.15g, want %.15g", dim, c[1], want);
    }
    /* Many dims: the normal variable. */
    mlxn_turboquant_lloyd_max_beta(1u << 20, 64, c, &error);
    mlxn_turboquant_lloyd_max(64, reference, NULL);
    for (int i = 0; i < 64; i++)
        CHECK(fabs(1024 * c[i] - reference[i]) < 1e-4, "dim 2^20, %d: got %g, want %g", i, 1024 * c[i], reference[i]);
    static const uint32_t dims[] = {3, 4, 5, 8, 64, 128, 256, 512, 4096, 1u << 20};
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
        for (uint32_t n = 1; n <= 1024; n = n * 2 + (n > 4)) {
            CHECK(mlxn_turboquant_lloyd_max_beta(dims[d], n, c, &error) == MLXN_OK, "dim %u, %u levels: %s", dims[d],
                  n, error.message);
            for (uint32_t i = 0; i < n; i++) {
                CHECK(c[i] == -c[n - 1 - i], "dim %u, %u levels, %u: not symmetric", dims[d], n, i);
                CHECK((i == 0 || c[i] > c[i - 1]) && fabs(c[i]) < 1, "dim %u, %u levels, %u: %g", dims[d], n, i,
                      c[i]);
            }
        }
    /* The centroid condition on drawn vectors: the mean of what falls into a cell is its centroid. */
    enum { DIM = 8, LEVELS = 5, DRAWS = 200000 };
    double sum[LEVELS] = {0}, count[LEVELS] = {0};
    mlxn_turboquant_lloyd_max_beta(DIM, LEVELS, c, NULL);
    uint64_t state = 11;
    for (int k = 0; k < DRAWS; k++) {
        float x[DIM];
        random_fill(&state, x, DIM);
        double t = (double)x[0] / mlxn_turboquant_length(x, DIM);
        int cell = 0;
        while (cell + 1 < LEVELS && t > 0.5 * (c[cell] + c[cell + 1])) cell++;
        sum[cell] += t;
        count[cell]++;
    }
    for (int i = 0; i < LEVELS; i++)
        CHECK(fabs(sum[i] / count[i] - c[i]) < 3e-3, "cell %d: mean %g, centroid %g", i, sum[i] / count[i], c[i]);
    CHECK(mlxn_turboquant_lloyd_max_beta(2, 4, c, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "dim is 2"),
          "%s", error.message);
    CHECK(mlxn_turboquant_lloyd_max_beta((1u << 20) + 1, 4, c, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_turboquant_lloyd_max_beta(128, 0, c, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
}

int main(void) {
    test_normal();
    test_codec_tables();
    test_sphere();
    return TEST_DONE();
}
