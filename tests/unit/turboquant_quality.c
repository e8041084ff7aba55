/* Promise: what the TurboQuant codecs lose is what theory says, on drawn vectors: relative errors per width, the
 * transform against a random rotation, the normal tables against those of the sphere, and the error of attention over
 * coded keys and values, which falls as bits rise. */
#include <math.h>

#include "quant/turboquant.h"
#include "test.h"
#include "turboquant_random.h"

static mlxn_error error;

static float packed_trip(const mlxn_turboquant_config *config, const float *x, float *out) {
    uint8_t packed[256];
    uint64_t bytes = 0;
    float norm = 0;
    mlxn_status status = mlxn_turboquant_packed_bytes(config, &bytes, &error);
    if (!status) status = mlxn_turboquant_quantize(config, x, config->dim, packed, bytes, &norm, &error);
    if (!status) status = mlxn_turboquant_dequantize(config, packed, bytes, norm, out, config->dim, &error);
    CHECK(status == MLXN_OK, "dim %u, width %d: %s", config->dim, (int)config->width, error.message);
    return norm;
}

static void test_widths(void) {
    static const struct {
        mlxn_turboquant_width width;
        double limit;
    } cases[] = {{MLXN_TURBOQUANT_2_BIT, 1.15 * 0.117},
                 {MLXN_TURBOQUANT_3_BIT, 1.15 * 0.030}, /* just below the 0.03455 of a normal variable: coordinates of
                                                           a sphere have lighter tails */
                 {MLXN_TURBOQUANT_4_BIT, 1.15 * 0.009},
                 {MLXN_TURBOQUANT_2_5_BIT, 0.2}};
    double last = 1;
    for (int c = 0; c < 4; c++) {
        const mlxn_turboquant_config config = {128, cases[c].width};
        uint64_t state = 42;
        double sum = 0;
        enum { VECTORS = 10000 };
        for (int k = 0; k < VECTORS; k++) {
            float x[128], out[128];
            random_fill(&state, x, 128);
            packed_trip(&config, x, out);
            sum += relative_error(x, out, 128);
        }
        CHECK(sum / VECTORS <= cases[c].limit, "width %d: error %g, limit %g", (int)cases[c].width, sum / VECTORS,
              cases[c].limit);
        if (c < 3) {
            CHECK(sum / VECTORS < last, "width %d: error %g is not below %g", (int)cases[c].width, sum / VECTORS,
                  last);
            last = sum / VECTORS;
        }
    }
    float x[128], out[128];
    uint64_t state = 1;
    random_fill(&state, x, 128);
    const mlxn_turboquant_config config = {128, MLXN_TURBOQUANT_4_BIT};
    float norm = packed_trip(&config, x, out);
    CHECK(fabs((double)norm - mlxn_turboquant_length(x, 128)) < 1e-5, "norm %g", (double)norm);
    CHECK(relative_error(x, out, 128) < 0.01, "one 4-bit trip: %g", relative_error(x, out, 128));
}

/* Squared error, relative to the length, of coding the coordinates of y with the table of `bits`. */
static double coding_error(const float *y, uint32_t n, uint32_t bits) {
    const mlxn_turboquant_book *book = mlxn_turboquant_book_find(bits);
    float c[256], out[512];
    mlxn_turboquant_book_expand(book, c);
    const double norm = mlxn_turboquant_length(y, n);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (float)((double)c[mlxn_turboquant_book_nearest(book, (float)((double)y[i] * sqrt(n) / norm))] *
                         norm / sqrt(n));
    return relative_error(y, out, n);
}

enum { D = 128 };

/* Rows of a random orthogonal matrix, by Gram and Schmidt. */
static void draw_rotation(uint64_t *state, double r[D][D]) {
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) r[i][j] = (double)random_normal(state);
        for (int pass = 0; pass < 2; pass++)
            for (int k = 0; k < i; k++) {
                double dot = 0;
                for (int j = 0; j < D; j++) dot += r[i][j] * r[k][j];
                for (int j = 0; j < D; j++) r[i][j] -= dot * r[k][j];
            }
        double length = 0;
        for (int j = 0; j < D; j++) length += r[i][j] * r[i][j];
        for (int j = 0; j < D; j++) r[i][j] /= sqrt(length);
    }
}

static void test_transform_as_rotation(void) {
    static double r[D][D];
    uint64_t state = 7;
    draw_rotation(&state, r);
    for (uint32_t bits = 2; bits <= 4; bits++) {
        double with_transform = 0, with_rotation = 0;
        for (int k = 0; k < 500; k++) {
            float x[D], y[D], z[D];
            /* Some coordinates are much larger than others, as in keys. */
            for (int i = 0; i < D; i++) x[i] = random_normal(&state) * (i % 16 == 3 ? 8.0f : 1.0f);
            memcpy(y, x, sizeof y);
            mlxn_turboquant_fwht(y, D, NULL);
            for (int i = 0; i < D; i++) {
                double sum = 0;
                for (int j = 0; j < D; j++) sum += r[i][j] * (double)x[j];
                z[i] = (float)sum;
            }
            with_transform += coding_error(y, D, bits);
            with_rotation += coding_error(z, D, bits);
        }
        CHECK(with_transform <= 1.2 * with_rotation, "%u bits: transform %g, random rotation %g", bits,
              with_transform / 500, with_rotation / 500);
    }
}

static void test_normal_table_on_the_sphere(void) {
    uint64_t state = 8;
    for (uint32_t bits = 2; bits <= 4; bits++) {
        double beta[16], with_normal = 0, with_beta = 0;
        const uint32_t n = 1u << bits;
        CHECK(mlxn_turboquant_lloyd_max_beta(D, n, beta, &error) == MLXN_OK, "%s", error.message);
        for (int k = 0; k < 2000; k++) {
            float x[D];
            random_fill(&state, x, D);
            with_normal += coding_error(x, D, bits);
            const double norm = mlxn_turboquant_length(x, D);
            for (int i = 0; i < D; i++) {
                double least = INFINITY;
                for (uint32_t c = 0; c < n; c++) least = fmin(least, fabs((double)x[i] / norm - beta[c]));
                with_beta += least * least;
            }
        }
        CHECK(with_normal <= 1.05 * with_beta, "%u bits: normal table %g, table of the sphere %g", bits,
              with_normal / 2000, with_beta / 2000);
        CHECK(with_beta <= 1.01 * with_normal, "%u bits: the table of the sphere is not better: %g, %g", bits,
              with_beta / 2000, with_normal / 2000);
    }
}

/* 2.5 bits give the first quarter of the coordinates more bits, whatever the vector: right only if large coordinates
 * are spread evenly by the transform. */
static void test_large_coordinates_spread(void) {
    uint64_t state = 9;
    int count[D] = {0};
    for (int k = 0; k < 2000; k++) {
        float x[D];
        for (int i = 0; i < D; i++) x[i] = random_normal(&state) * (i < 6 ? 10.0f : 1.0f);
        mlxn_turboquant_fwht(x, D, NULL);
        for (int i = 0; i < D; i++) {
            int larger = 0;
            for (int j = 0; j < D; j++) larger += fabsf(x[j]) > fabsf(x[i]);
            count[i] += larger < D / 4;
        }
    }
    double mean = 0, variance = 0;
    for (int i = 0; i < D; i++) mean += (double)count[i] / D;
    for (int i = 0; i < D; i++) variance += (count[i] - mean) * (count[i] - mean) / D;
    CHECK(fabs(mean - 2000.0 / 4) < 1, "a quarter is in the top quarter: got %g of 2000", mean);
    CHECK(sqrt(variance) / mean < 0.5, "coefficient of variation %g", sqrt(variance) / mean);
}

/* Codes and decodes one vector of 256 in the rotated domain, then rotates back. 4 bits: the packed codec. */
static void trip(uint32_t bits, const float *x, float *out) {
    if (bits == 4) {
        const mlxn_turboquant_config config = {256, MLXN_TURBOQUANT_4_BIT};
        packed_trip(&config, x, out);
        return;
    }
    const mlxn_turboquant_hb codec = {256, bits, 0};
    uint8_t codes[256];
    float norm;
    mlxn_status status = mlxn_turboquant_hb_encode(&codec, x, 256, codes, 256, &norm, 1, &error);
    if (!status) status = mlxn_turboquant_hb_decode(&codec, codes, 256, &norm, 1, out, 256, &error);
    if (!status) status = mlxn_turboquant_unrotate(out, 256, &error);
    CHECK(status == MLXN_OK, "%u bits: %s", bits, error.message);
}

static void test_round_trips(void) {
    static const struct {
        uint32_t bits;
        double least, most; /* root of the mean squared error; 0.09747 is that of the 4-bit table */
    } cases[] = {{4, 0.085, 0.11}, {5, 0.047, 0.056}, {6, 0.024, 0.032}};
    enum { VECTORS = 400 };
    static float x[VECTORS * 256], out[VECTORS * 256];
    uint64_t state = 10;
    random_fill(&state, x, VECTORS * 256);
    for (int c = 0; c < 3; c++) {
        for (int k = 0; k < VECTORS; k++) trip(cases[c].bits, x + 256 * k, out + 256 * k);
        double got = nrmse(x, out, VECTORS * 256);
        CHECK(got >= cases[c].least && got <= cases[c].most, "%u bits: nrmse %g, want %g to %g", cases[c].bits, got,
              cases[c].least, cases[c].most);
    }
    memcpy(out, x, sizeof out);
    double with_transform = 0, without = 0;
    for (int k = 0; k < VECTORS; k++) {
        float *y = out + 256 * k;
        without += coding_error(y, 256, 4);
        mlxn_turboquant_fwht(y, 256, NULL);
        with_transform += coding_error(y, 256, 4);
        mlxn_turboquant_fwht(y, 256, NULL);
    }
    CHECK(nrmse(x, out, VECTORS * 256) < 1e-5, "transform alone: nrmse %g", nrmse(x, out, VECTORS * 256));
    double ratio = sqrt(with_transform / without); /* normal numbers need no rotation: it must not hurt them */
    CHECK(ratio >= 0.90 && ratio <= 1.10, "error with the transform over error without: %g", ratio);
}

/* A smooth vector has few large Walsh coefficients, which the ends of the table cut off; signs spread it. */
static void test_signs_spread_smooth_vectors(void) {
    float x[256], out[256];
    for (int i = 0; i < 256; i++) x[i] = sinf(0.1f * (float)i) + 0.01f * (float)i;
    trip(4, x, out);
    double packed = relative_error(x, out, 256);
    trip(5, x, out);
    double hb = relative_error(x, out, 256);
    CHECK(packed > 0.1, "without signs: %g", packed);
    CHECK(hb < 0.005, "with signs: %g", hb);
}

enum { KEYS = 256, HEADS = 16 };

static void attend(const float *q, const float *k, const float *v, float *out) {
    static double s[KEYS];
    double top = -INFINITY, sum = 0, o[256] = {0};
    for (int p = 0; p < KEYS; p++) {
        s[p] = 0;
        for (int j = 0; j < 256; j++) s[p] += (double)q[j] * (double)k[256 * p + j];
        top = fmax(top, s[p]);
    }
    for (int p = 0; p < KEYS; p++) {
        double w = exp(s[p] - top);
        sum += w;
        for (int j = 0; j < 256; j++) o[j] += w * (double)v[256 * p + j];
    }
    for (int j = 0; j < 256; j++) out[j] = (float)(o[j] / sum);
}

/* The worst of some heads whose scores have a deviation of 2.5, so that few keys have most of the weight. */
static void test_attention_by_bits(void) {
    static const struct {
        uint32_t bits;
        double least, most;
    } cases[] = {{4, 0.28, 0.50}, {5, 0.15, 0.28}, {6, 0.07, 0.14}, {8, 0, 0.07}};
    static float k[KEYS * 256], v[KEYS * 256], coded_k[KEYS * 256], coded_v[KEYS * 256];
    double last = INFINITY;
    for (int c = 0; c < 4; c++) {
        uint64_t state = 12;
        double worst = 0;
        for (int h = 0; h < HEADS; h++) {
            float q[256], want[256], got[256];
            random_fill(&state, q, 256);
            for (int j = 0; j < 256; j++) q[j] *= 2.5f / 16;
            random_fill(&state, k, KEYS * 256);
            random_fill(&state, v, KEYS * 256);
            for (int p = 0; p < KEYS; p++) {
                trip(cases[c].bits, k + 256 * p, coded_k + 256 * p);
                trip(cases[c].bits, v + 256 * p, coded_v + 256 * p);
            }
            attend(q, k, v, want);
            attend(q, coded_k, coded_v, got);
            worst = fmax(worst, nrmse(want, got, 256));
        }
        CHECK(worst > cases[c].least && worst < cases[c].most, "%u bits: worst nrmse %g, want %g to %g",
              cases[c].bits, worst, cases[c].least, cases[c].most);
        CHECK(worst < last, "%u bits: %g is not below %g", cases[c].bits, worst, last);
        last = worst;
    }
}

int main(void) {
    test_widths();
    test_transform_as_rotation();
    test_normal_table_on_the_sphere();
    test_large_coordinates_spread();
    test_round_trips();
    test_signs_spread_smooth_vectors();
    test_attention_by_bits();
    return TEST_DONE();
}
