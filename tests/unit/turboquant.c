/* Promise: the TurboQuant transform, tables and codecs give what the definitions say: every result is compared with
 * the definition computed another way (matrix in double, linear scan, one bit at a time) or with digests of cache
 * bytes that another implementation computed. Wrong arguments are refused with both values in the message. */
#include "quant/turboquant.h"

#include <math.h>

#include "test.h"
#include "turboquant_random.h"

static mlxn_error error;

#define REFUSED(call, text)                                                                                  \
    do {                                                                                                     \
        memset(&error, 0, sizeof error);                                                                     \
        mlxn_status refused_status = (call);                                                                 \
        CHECK(refused_status == MLXN_ERR_ARGUMENT && error.status == refused_status, "%s: status %d", #call, \
              (int)refused_status);                                                                          \
        CHECK(strstr(error.message, text), "%s: \"%s\" lacks \"%s\"", #call, error.message, text);           \
    } while (0)

static const uint32_t table_bits[] = {2, 3, 4, 5, 6, 8};
#define TABLES (sizeof table_bits / sizeof table_bits[0])

static void test_transform(void) {
    uint64_t state = 1;
    static float x[4096], y[4096];
    for (uint32_t n = 1; n <= 4096; n *= 2) {
        random_fill(&state, x, n);
        memcpy(y, x, n * sizeof *y);
        CHECK(mlxn_turboquant_fwht(y, n, &error) == MLXN_OK, "%s", error.message);
        for (uint32_t i = 0; i < n && n <= 512; i++) { /* H[i][j] = (-1)^|i & j| / sqrt(n) */
            double sum = 0;
            for (uint32_t j = 0; j < n; j++) sum += __builtin_popcount(i & j) % 2 ? -(double)x[j] : (double)x[j];
            sum /= sqrt((double)n);
            CHECK(fabs((double)y[i] - sum) <= 1e-5, "n %u, %u: got %g, want %g", n, i, (double)y[i], sum);
        }
        double before = mlxn_turboquant_length(x, n), after = mlxn_turboquant_length(y, n);
        CHECK(fabs(after - before) <= 1e-5 * before, "n %u: length %g became %g", n, before, after);
        CHECK(mlxn_turboquant_fwht(y, n, NULL) == MLXN_OK, "n %u", n);
        for (uint32_t i = 0; i < n; i++)
            CHECK(fabsf(y[i] - x[i]) <= 1e-4f, "twice is not the identity: n %u, %u: got %g, want %g", n, i,
                  (double)y[i], (double)x[i]);
    }
    REFUSED(mlxn_turboquant_fwht(x, 0, &error), "0, want a power of two");
    REFUSED(mlxn_turboquant_fwht(x, 3, &error), "3, want a power of two");
    REFUSED(mlxn_turboquant_fwht(x, 100, &error), "100, want a power of two");
    REFUSED(mlxn_turboquant_fwht(NULL, 4, &error), "NULL");
}

static void test_signs(void) {
    const uint8_t *signs = mlxn_turboquant_signs();
    static const uint8_t d256[8] = {0xa7, 0x3b, 0x91, 0xf4, 0x6d, 0xc2, 0x58, 0x0e};
    static const uint8_t d512[8] = {0xd3, 0x4e, 0xa8, 0x17, 0x9c, 0x5b, 0xe6, 0x31};
    CHECK(!memcmp(signs, d256, 8) && signs[31] == 0xdb, "first half of the mask");
    CHECK(!memcmp(signs + 32, d512, 8) && signs[63] == 0x85, "second half of the mask");
    float x[512], y[512];
    uint64_t state = 2;
    random_fill(&state, x, 512);
    memcpy(y, x, sizeof y);
    CHECK(mlxn_turboquant_apply_signs(y, 512, signs, 64, &error) == MLXN_OK, "%s", error.message);
    /* 0xa7 = 1010 0111: the lowest bit is coordinate 0 */
    static const int first[8] = {-1, -1, -1, 1, 1, -1, 1, -1};
    for (int i = 0; i < 8; i++) CHECK(y[i] == first[i] * x[i], "coordinate %d: got %g", i, (double)y[i]);
    CHECK(mlxn_turboquant_apply_signs(y, 512, signs, 64, &error) == MLXN_OK, "%s", error.message);
    CHECK(!memcmp(x, y, sizeof x), "twice is not the identity");
    static const uint8_t own[2] = {0x80, 0x01}; /* the mask is the caller's; lengths need not be multiples of 8 */
    CHECK(mlxn_turboquant_apply_signs(y, 9, own, 2, &error) == MLXN_OK, "%s", error.message);
    for (int i = 0; i < 10; i++) CHECK(y[i] == (i == 7 || i == 8 ? -x[i] : x[i]), "own mask, coordinate %d", i);
    CHECK(mlxn_turboquant_apply_signs(NULL, 0, NULL, 0, &error) == MLXN_OK, "nothing to do");
    REFUSED(mlxn_turboquant_apply_signs(y, 9, own, 1, &error), "got 1 bytes, want at least 2");
    REFUSED(mlxn_turboquant_apply_signs(y, 9, NULL, 2, &error), "signs is NULL");
    REFUSED(mlxn_turboquant_apply_signs(NULL, 9, own, 2, &error), "x is NULL");
}

static void test_rotation(void) {
    float x[512], y[512], z[512];
    uint64_t state = 3;
    for (uint32_t n = 64; n <= 512; n *= 2) {
        random_fill(&state, x, n);
        memcpy(y, x, sizeof y);
        memcpy(z, x, sizeof z);
        CHECK(mlxn_turboquant_rotate(y, n, &error) == MLXN_OK, "%s", error.message);
        mlxn_turboquant_apply_signs(z, n, mlxn_turboquant_signs(), 64, NULL);
        mlxn_turboquant_fwht(z, n, NULL);
        CHECK(!memcmp(y, z, n * sizeof *y), "rotate is not transform after signs, n %u", n);
        CHECK(mlxn_turboquant_unrotate(y, n, &error) == MLXN_OK, "%s", error.message);
        CHECK(nrmse(x, y, n) < 1e-6, "unrotate does not undo rotate: %g", nrmse(x, y, n));
    }
    REFUSED(mlxn_turboquant_rotate(x, 1024, &error), "1024, want at most 512");
    REFUSED(mlxn_turboquant_unrotate(x, 96, &error), "96, want a power of two");
}

/* SHA-256 of the tables as little-endian binary32, made from the printed digits by another program. */
static const char *const table_digests[TABLES] = {"6b3cafd715ba7e12", "d04bf4a5e5e09cb7", "87562063faf1e769",
                                                  "7480a54bdf3b8084", "98ba30b44dd4cfd8", "00d4d0f2551e2557"};

static void test_tables(void) {
    for (size_t t = 0; t < TABLES; t++) {
        const uint32_t bits = table_bits[t], levels = 1u << bits;
        float c[256], full[256], value;
        for (uint32_t i = 0; i < levels; i++)
            CHECK(mlxn_turboquant_centroid(bits, i, &c[i], &error) == MLXN_OK, "%s", error.message);
        mlxn_turboquant_book_expand(mlxn_turboquant_book_find(bits), full);
        CHECK(!memcmp(c, full, levels * sizeof *c), "%u bits: the expanded table differs", bits);
        uint8_t bytes[4 * 256], sum[32];
        char digest[17];
        for (uint32_t i = 0; i < levels; i++) {
            uint32_t word;
            memcpy(&word, &c[i], 4);
            for (int b = 0; b < 4; b++) bytes[4 * i + (uint32_t)b] = (uint8_t)(word >> 8 * b);
        }
        mlxn_sha256(bytes, 4 * levels, sum);
        for (int i = 0; i < 8; i++) sprintf(digest + 2 * i, "%02x", sum[i]);
        CHECK(!strcmp(digest, table_digests[t]), "%u bits: got %s, want %s", bits, digest, table_digests[t]);
        for (uint32_t i = 0; i < levels; i++) {
            CHECK(c[i] == -c[levels - 1 - i], "%u bits, %u: not symmetric", bits, i);
            CHECK(i == 0 || c[i] > c[i - 1], "%u bits, %u: not ascending", bits, i);
        }
        CHECK(mlxn_turboquant_centroid(bits, 5 * levels + 1, &value, NULL) == MLXN_OK && value == c[1],
              "%u bits: high bits of an index count", bits);
    }
    float value;
    static const uint32_t wrong[] = {0, 1, 7, 9, 16, 25, 32, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint32_t index;
        REFUSED(mlxn_turboquant_centroid(wrong[i], 0, &value, &error), "want 2, 3, 4, 5, 6 or 8");
        REFUSED(mlxn_turboquant_nearest(wrong[i], 0, &index, &error), "want 2, 3, 4, 5, 6 or 8");
    }
    REFUSED(mlxn_turboquant_centroid(8, 0, NULL, &error), "NULL");
}

/* What the definition says; exact in double for values that are 0 or not tiny. */
static uint32_t scan(const float *c, uint32_t levels, float value) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < levels; i++)
        if (fabs((double)value - (double)c[i]) < fabs((double)value - (double)c[best])) best = i;
    return best;
}

static void check_nearest(uint32_t bits, const float *c, float value) {
    uint32_t got = UINT32_MAX, want = scan(c, 1u << bits, value);
    mlxn_status status = mlxn_turboquant_nearest(bits, value, &got, NULL);
    CHECK(status == MLXN_OK && got == want, "%u bits, %.9g: got %u, want %u", bits, (double)value, got, want);
}

static void test_nearest(void) {
    for (size_t t = 0; t < TABLES; t++) {
        const uint32_t bits = table_bits[t], levels = 1u << bits;
        float c[256];
        mlxn_turboquant_book_expand(mlxn_turboquant_book_find(bits), c);
        for (uint32_t i = 0; i < levels; i++) {
            check_nearest(bits, c, c[i]);
            if (i + 1 == levels) break;
            float edge = (float)(0.5 * ((double)c[i] + (double)c[i + 1]));
            check_nearest(bits, c, edge);
            if (edge == 0) continue;
            check_nearest(bits, c, nextafterf(edge, 10));
            check_nearest(bits, c, nextafterf(edge, -10));
        }
        for (int i = -7000; i <= 7000; i++) check_nearest(bits, c, (float)i * 0.001f);
        uint32_t got;
        mlxn_turboquant_nearest(bits, 0.0f, &got, NULL);
        CHECK(got == levels / 2 - 1, "%u bits: 0 ties to the lower index, got %u", bits, got);
        mlxn_turboquant_nearest(bits, -0.0f, &got, NULL);
        CHECK(got == levels / 2 - 1, "%u bits: -0 ties to the lower index, got %u", bits, got);
        mlxn_turboquant_nearest(bits, 1e-45f, &got, NULL);
        CHECK(got == levels / 2, "%u bits: the smallest number is above 0, got %u", bits, got);
        mlxn_turboquant_nearest(bits, 1e30f, &got, NULL);
        CHECK(got == levels - 1, "%u bits: 1e30, got %u", bits, got);
        mlxn_turboquant_nearest(bits, INFINITY, &got, NULL);
        CHECK(got == levels - 1, "%u bits: infinity, got %u", bits, got);
        mlxn_turboquant_nearest(bits, -INFINITY, &got, NULL);
        CHECK(got == 0, "%u bits: -infinity, got %u", bits, got);
        REFUSED(mlxn_turboquant_nearest(bits, NAN, &got, &error), "NaN");
    }
    REFUSED(mlxn_turboquant_nearest(8, 0, NULL, &error), "NULL");
}

static const mlxn_turboquant_width widths[] = {MLXN_TURBOQUANT_2_BIT, MLXN_TURBOQUANT_2_5_BIT, MLXN_TURBOQUANT_3_BIT,
                                               MLXN_TURBOQUANT_4_BIT};

static uint32_t bits_at(mlxn_turboquant_width width, uint32_t dim, uint32_t i) {
    return width == MLXN_TURBOQUANT_2_5_BIT ? (i < dim / 4 ? 3 : 2) : (uint32_t)width / 10;
}

/* Packs and unpacks one bit at a time, with the transform as a matrix in double. */
static void test_packed(void) {
    uint64_t state = 4;
    for (size_t w = 0; w < 4; w++)
        for (uint32_t dim = 1; dim <= 512; dim *= 2) {
            const mlxn_turboquant_config config = {dim, widths[w]};
            uint64_t bytes = 0, total = 0, at = 0;
            for (uint32_t i = 0; i < dim; i++) total += bits_at(widths[w], dim, i);
            CHECK(mlxn_turboquant_packed_bytes(&config, &bytes, &error) == MLXN_OK, "%s", error.message);
            CHECK(bytes == (total + 7) / 8, "dim %u, width %d: got %d bytes", dim, (int)widths[w], (int)bytes);
            float x[512], out[512], norm = -1;
            double y[512], decoded[512], length = 0;
            random_fill(&state, x, dim);
            for (uint32_t i = 0; i < dim; i++) {
                y[i] = 0;
                for (uint32_t j = 0; j < dim; j++)
                    y[i] += __builtin_popcount(i & j) % 2 ? -(double)x[j] : (double)x[j];
                y[i] /= sqrt((double)dim);
                length += y[i] * y[i];
            }
            length = sqrt(length);
            uint8_t want[257] = {0}, got[257];
            for (uint32_t i = 0; i < dim; i++) {
                const uint32_t bits = bits_at(widths[w], dim, i);
                float c[16];
                mlxn_turboquant_book_expand(mlxn_turboquant_book_find(bits), c);
                const uint32_t code = scan(c, 1u << bits, (float)(y[i] * sqrt((double)dim) / length));
                for (uint32_t b = bits; b-- > 0; at++)
                    if (code >> b & 1) want[at / 8] |= (uint8_t)(0x80 >> at % 8);
                decoded[i] = (double)c[code] * length / sqrt((double)dim);
            }
            memset(got, 0xee, sizeof got);
            CHECK(mlxn_turboquant_quantize(&config, x, dim, got, bytes, &norm, &error) == MLXN_OK, "%s",
                  error.message);
            CHECK(!memcmp(got, want, bytes), "dim %u, width %d: packed bytes differ", dim, (int)widths[w]);
            CHECK(got[bytes] == 0xee, "dim %u, width %d: wrote past the end", dim, (int)widths[w]);
            CHECK(fabs((double)norm - length) <= 1e-5 * length, "norm: got %g, want %g", (double)norm, length);
            CHECK(mlxn_turboquant_dequantize(&config, got, bytes, norm, out, dim, &error) == MLXN_OK, "%s",
                  error.message);
            for (uint32_t i = 0; i < dim; i++) {
                double sum = 0;
                for (uint32_t j = 0; j < dim; j++) sum += __builtin_popcount(i & j) % 2 ? -decoded[j] : decoded[j];
                sum /= sqrt((double)dim);
                CHECK(fabs((double)out[i] - sum) <= 1e-5, "dim %u, width %d, %u: got %g, want %g", dim,
                      (int)widths[w], i, (double)out[i], sum);
            }
        }
}

static void test_packed_edges(void) {
    mlxn_turboquant_config config = {128, MLXN_TURBOQUANT_4_BIT};
    float x[128] = {0}, out[128], norm = -1;
    uint8_t packed[64];
    memset(packed, 0xff, sizeof packed);
    CHECK(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, &error) == MLXN_OK, "%s", error.message);
    CHECK(norm == 0, "norm of zero: got %g", (double)norm);
    for (int i = 0; i < 64; i++) CHECK(packed[i] == 0, "zero, byte %d: got %d", i, packed[i]);
    CHECK(mlxn_turboquant_dequantize(&config, packed, 64, norm, out, 128, &error) == MLXN_OK, "%s", error.message);
    for (int i = 0; i < 128; i++) CHECK(out[i] == 0, "zero, %d: got %g", i, (double)out[i]);
    x[5] = 1e-31f; /* below the threshold */
    CHECK(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, NULL) == MLXN_OK && norm == 0, "tiny");
    x[5] = 1e-29f; /* above it: squares would vanish in binary32 */
    CHECK(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, NULL) == MLXN_OK, "small");
    CHECK(fabsf(norm - 1e-29f) < 1e-34f, "small: norm is %g", (double)norm);
    for (int i = 0; i < 128; i++) x[i] = 1e30f; /* squares would overflow in binary32 */
    CHECK(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, NULL) == MLXN_OK, "large");
    CHECK(fabsf(norm / 1e30f - sqrtf(128)) < 1e-4f, "large: norm is %g", (double)norm);

    uint64_t bytes;
    REFUSED(mlxn_turboquant_quantize(&config, x, 127, packed, 64, &norm, &error), "got 127 floats, want dim = 128");
    REFUSED(mlxn_turboquant_quantize(&config, x, 128, packed, 63, &norm, &error), "63 bytes, want 64");
    REFUSED(mlxn_turboquant_quantize(&config, NULL, 128, packed, 64, &norm, &error), "x is NULL");
    REFUSED(mlxn_turboquant_quantize(&config, x, 128, NULL, 64, &norm, &error), "packed is NULL");
    REFUSED(mlxn_turboquant_quantize(&config, x, 128, packed, 64, NULL, &error), "norm is NULL");
    REFUSED(mlxn_turboquant_quantize(NULL, x, 128, packed, 64, &norm, &error), "config is NULL");
    x[3] = NAN;
    REFUSED(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, &error), "nan, want a finite");
    x[3] = INFINITY;
    REFUSED(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, &error), "want a finite");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 32, 1, out, 128, &error), "32 bytes, want 64");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 64, 1, out, 64, &error), "got 64 floats, want dim = 128");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 64, -1, out, 128, &error), "norm is -1");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 64, NAN, out, 128, &error), "norm is nan");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 64, INFINITY, out, 128, &error), "norm is inf");
    REFUSED(mlxn_turboquant_dequantize(&config, NULL, 64, 1, out, 128, &error), "packed is NULL");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 64, 1, NULL, 128, &error), "out is NULL");
    config.dim = 100;
    REFUSED(mlxn_turboquant_packed_bytes(&config, &bytes, &error), "dim is 100, want a power of two");
    REFUSED(mlxn_turboquant_quantize(&config, out, 100, packed, 50, &norm, &error), "dim is 100");
    REFUSED(mlxn_turboquant_dequantize(&config, packed, 50, 1, out, 100, &error), "dim is 100");
    config.dim = 0;
    REFUSED(mlxn_turboquant_packed_bytes(&config, &bytes, &error), "dim is 0");
    config = (mlxn_turboquant_config){128, (mlxn_turboquant_width)50};
    REFUSED(mlxn_turboquant_packed_bytes(&config, &bytes, &error), "width is 50");
    config.width = (mlxn_turboquant_width)0;
    REFUSED(mlxn_turboquant_packed_bytes(&config, &bytes, &error), "width is 0");
    config = (mlxn_turboquant_config){1u << 31, MLXN_TURBOQUANT_4_BIT};
    CHECK(mlxn_turboquant_packed_bytes(&config, &bytes, NULL) == MLXN_OK && bytes == 1u << 30, "largest dim");
    REFUSED(mlxn_turboquant_packed_bytes(&config, NULL, &error), "NULL");

    config.dim = 128;
    memset(x, 0, sizeof x);
    mlxn_alloc_fail_at(1);
    CHECK(mlxn_turboquant_quantize(&config, x, 128, packed, 64, &norm, &error) == MLXN_ERR_MEMORY, "no memory: %s",
          error.message);
    mlxn_alloc_fail_at(0);
}

/* Codes and norms that another implementation computed in binary64. */
static const struct digest_case {
    uint32_t dim, bits;
    float norms[2];
    const char *digest, *first;
} digest_cases[] = {
    {256, 4, {37.729262f, 0}, "8a83c1039e9bc61f", "48b25b264af365e87a6695aab6771d68"},
    {256, 5, {37.729262f, 0}, "fee847978752a5d1", "10080517160a0c051409061d0b0d101d"},
    {256, 6, {37.729262f, 0}, "51246a968f7b0ffb", "2111092e2d14180b29120d3b171a203b"},
    {256, 8, {37.729262f, 0}, "7e6b2a37e6485cbe", "845b42a4a2636e49975f4fda6b7280d6"},
    {512, 4, {2.289297f, 2.370391f}, "3cc8b6c13ee56f5f", "36d2382466c64aba8eb7c27a55274879"},
    {512, 5, {2.289297f, 2.370391f}, "0a2c9af84a4383b2", "0d06051a100708050c0c0d1813081516"},
    {512, 6, {2.289297f, 2.370391f}, "6ef514eedbf700c2", "1a0c0a34200e100a19171b3128102b2c"},
    {512, 8, {2.289297f, 2.370391f}, "e727021f63c573f8", "744e46b882525946706d75ac935a9c9f"},
};

/* Four bits have no host encoder (caches keep two such codes per byte): built here from the codec's steps. */
static void encode_nibbles(uint32_t dim, const float *x, uint8_t *codes, float *norms) {
    float y[512];
    memcpy(y, x, dim * sizeof *y);
    mlxn_turboquant_rotate(y, dim, NULL);
    const mlxn_turboquant_book *book = mlxn_turboquant_book_find(4);
    for (uint32_t b = 0; b < dim / 256; b++) {
        double norm = mlxn_turboquant_length(y + 256 * b, 256), scale = 16 / norm;
        norms[b] = (float)(dim == 256 ? norm : norm / 16);
        for (uint32_t i = 256 * b; i < 256 * b + 256; i += 2)
            codes[i / 2] = (uint8_t)(mlxn_turboquant_book_nearest(book, y[i] * (float)scale) |
                                     mlxn_turboquant_book_nearest(book, y[i + 1] * (float)scale) << 4);
    }
}

static void test_hb_digests(void) {
    for (size_t t = 0; t < sizeof digest_cases / sizeof digest_cases[0]; t++) {
        const struct digest_case *d = &digest_cases[t];
        float x[512], norms[2];
        uint8_t codes[512], sum[32];
        uint32_t s = 7;
        for (uint32_t i = 0; i < d->dim; i++) {
            s = s * 1664525u + 1013904223u;
            x[i] = ((float)(s >> 16) - 32768) / 8192;
        }
        const mlxn_turboquant_hb codec = {d->dim, d->bits, 1};
        if (d->bits == 4)
            encode_nibbles(d->dim, x, codes, norms);
        else
            CHECK(mlxn_turboquant_hb_encode(&codec, x, d->dim, codes, d->dim, norms, d->dim / 256, &error) == MLXN_OK,
                  "%s", error.message);
        for (uint32_t b = 0; b < d->dim / 256; b++)
            CHECK(fabsf(norms[b] - d->norms[b]) < 1e-5f, "dim %u, %u bits: norm %u is %.8g, want %.8g", d->dim,
                  d->bits, b, (double)norms[b], (double)d->norms[b]);
        char first[33], digest[17];
        mlxn_sha256(codes, d->bits == 4 ? d->dim / 2 : d->dim, sum);
        for (int i = 0; i < 16; i++) sprintf(first + 2 * i, "%02x", codes[i]);
        for (int i = 0; i < 8; i++) sprintf(digest + 2 * i, "%02x", sum[i]);
        CHECK(!strcmp(first, d->first), "dim %u, %u bits: got %s, want %s", d->dim, d->bits, first, d->first);
        CHECK(!strcmp(digest, d->digest), "dim %u, %u bits: got %s, want %s", d->dim, d->bits, digest, d->digest);
    }
}

static void test_hb_edges(void) {
    float x[512] = {0}, norms[2] = {-1, -1}, out[512];
    uint8_t codes[512];
    uint32_t count;
    for (uint32_t dim = 256; dim <= 512; dim += 256)
        for (uint32_t bits = 5; bits <= 8; bits += bits == 6 ? 2 : 1) {
            const mlxn_turboquant_hb codec = {dim, bits, 0};
            CHECK(mlxn_turboquant_hb_norms(&codec, &count, &error) == MLXN_OK && count == dim / 256, "norm count");
            CHECK(mlxn_turboquant_hb_encode(&codec, x, dim, codes, dim, norms, count, &error) == MLXN_OK, "%s",
                  error.message);
            for (uint32_t i = 0; i < dim; i++)
                CHECK(codes[i] == (1u << (bits - 1)) - 1, "zero is just below the middle: got %d", codes[i]);
            CHECK(norms[0] == 0 && norms[count - 1] == 0, "zero has norm 0");
            CHECK(mlxn_turboquant_hb_decode(&codec, codes, dim, norms, count, out, dim, &error) == MLXN_OK, "%s",
                  error.message);
            for (uint32_t i = 0; i < dim; i++) CHECK(out[i] == 0, "zero decodes to %g", (double)out[i]);
        }

    /* The scale factor changes the codes of dim 512 and cancels in decoding. */
    uint64_t state = 5;
    random_fill(&state, x, 512);
    mlxn_turboquant_hb codec = {512, 8, 0.5f};
    float y[512], plain[512];
    memcpy(y, x, sizeof y);
    mlxn_turboquant_rotate(y, 512, NULL);
    CHECK(mlxn_turboquant_hb_encode(&codec, x, 512, codes, 512, norms, 2, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_turboquant_hb_decode(&codec, codes, 512, norms, 2, out, 512, &error) == MLXN_OK, "%s", error.message);
    CHECK(nrmse(y, out, 512) < 0.02, "scale factor 0.5: nrmse %g", nrmse(y, out, 512));
    codec.scale_factor = 0; /* = 1 */
    mlxn_turboquant_hb_encode(&codec, x, 512, codes, 512, norms, 2, NULL);
    mlxn_turboquant_hb_decode(&codec, codes, 512, norms, 2, plain, 512, NULL);
    codec.scale_factor = 1;
    CHECK(mlxn_turboquant_hb_decode(&codec, codes, 512, norms, 2, out, 512, NULL) == MLXN_OK, "factor 1");
    CHECK(!memcmp(plain, out, sizeof out), "0 is not 1");
    codec = (mlxn_turboquant_hb){256, 8, 0.25f};
    mlxn_turboquant_hb_encode(&codec, x, 256, codes, 256, norms, 1, NULL);
    memcpy(y, x, sizeof y);
    mlxn_turboquant_rotate(y, 256, NULL);
    mlxn_turboquant_hb_decode(&codec, codes, 256, norms, 1, out, 256, NULL);
    CHECK(nrmse(y, out, 256) < 0.02, "dim 256 uses the factor: nrmse %g", nrmse(y, out, 256));

    codec = (mlxn_turboquant_hb){256, 5, 0};
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)(i & 31);
    mlxn_turboquant_hb_decode(&codec, codes, 256, norms, 1, plain, 256, NULL);
    for (int i = 0; i < 256; i++) codes[i] |= 0xe0;
    mlxn_turboquant_hb_decode(&codec, codes, 256, norms, 1, out, 256, NULL);
    CHECK(!memcmp(plain, out, 256 * sizeof *out), "high bits of a code count");

    REFUSED(mlxn_turboquant_hb_encode(&codec, x, 128, codes, 256, norms, 1, &error),
            "got 128 floats, want dim = 256");
    REFUSED(mlxn_turboquant_hb_encode(&codec, x, 256, codes, 255, norms, 1, &error), "255 bytes, want dim = 256");
    REFUSED(mlxn_turboquant_hb_encode(&codec, x, 256, codes, 256, norms, 2, &error), "got 2 norms, want 1");
    REFUSED(mlxn_turboquant_hb_encode(&codec, NULL, 256, codes, 256, norms, 1, &error), "NULL");
    REFUSED(mlxn_turboquant_hb_encode(&codec, x, 256, NULL, 256, norms, 1, &error), "codes is NULL");
    REFUSED(mlxn_turboquant_hb_encode(&codec, x, 256, codes, 256, NULL, 1, &error), "norms is NULL");
    REFUSED(mlxn_turboquant_hb_decode(&codec, codes, 256, norms, 1, out, 128, &error), "got 128 floats");
    REFUSED(mlxn_turboquant_hb_encode(NULL, x, 256, codes, 256, norms, 1, &error), "codec is NULL");
    REFUSED(mlxn_turboquant_hb_norms(&codec, NULL, &error), "out is NULL");
    x[9] = NAN;
    REFUSED(mlxn_turboquant_hb_encode(&codec, x, 256, codes, 256, norms, 1, &error), "want a finite binary32");
    static const uint32_t wrong_bits[] = {0, 2, 3, 4, 7, 9};
    for (size_t i = 0; i < sizeof wrong_bits / sizeof wrong_bits[0]; i++) {
        codec.bits = wrong_bits[i];
        REFUSED(mlxn_turboquant_hb_norms(&codec, &count, &error), "want 5, 6 or 8");
    }
    static const uint32_t wrong_dims[] = {0, 64, 128, 255, 1024};
    for (size_t i = 0; i < sizeof wrong_dims / sizeof wrong_dims[0]; i++) {
        codec = (mlxn_turboquant_hb){wrong_dims[i], 8, 0};
        REFUSED(mlxn_turboquant_hb_norms(&codec, &count, &error), "want 256 or 512");
    }
    codec = (mlxn_turboquant_hb){512, 8, -1};
    REFUSED(mlxn_turboquant_hb_norms(&codec, &count, &error), "scale_factor is -1");
    codec.scale_factor = NAN;
    REFUSED(mlxn_turboquant_hb_norms(&codec, &count, &error), "scale_factor is nan");
}

int main(void) {
    test_transform();
    test_signs();
    test_rotation();
    test_tables();
    test_nearest();
    test_packed();
    test_packed_edges();
    test_hb_digests();
    test_hb_edges();
    return TEST_DONE();
}
