/* Promise: every format decodes and encodes bit by bit as the block definitions say. Pseudo-random blocks are hashed
 * and compared with digests that were made by another implementation; plus exhaustive and edge cases by formula. */
#include "quant/quant.h"

#include <math.h>

#include "quant/iq_grids.h"
#include "test.h"

/* No field, and scales that are no binary16 at an offset (put_scales). */
enum { NONE = 999, F32, NIBBLES, E8M0, E4M3 };

static const struct decoder_case {
    mlxn_format format;
    uint32_t scale_at, min_at; /* byte offsets of the scale and of the minimum in a block; NONE if there is none */
    const char *digest;
    float first[4]; /* to six digits */
} decoder_cases[] = {
    {MLXN_FORMAT_Q4_0, 0, NONE, "1e08ad717c47237e", {-0.25f, 0.15625f, -0.03125f, 0.1875f}},
    {MLXN_FORMAT_Q4_1, 0, 2, "2cf9fc0c25140615", {0.0478516f, 0.391602f, 0.0791016f, 0.0791016f}},
    {MLXN_FORMAT_Q5_0, 0, NONE, "43f2493b26919534", {0.4375f, -0.40625f, 0.46875f, 0.40625f}},
    {MLXN_FORMAT_Q5_1, 0, 2, "5f29ea9921cd06bb", {0.0166016f, 0.329102f, 0.766602f, 0.735352f}},
    {MLXN_FORMAT_Q8_0, 0, NONE, "03a9a1ad5c1862e7", {2.375f, -0.3125f, -2.28125f, -3.1875f}},
    {MLXN_FORMAT_Q4_K, 0, 2, "8d5d723ebd662d38", {11.7539f, 14.8477f, 7.62891f, 9.69141f}},
    {MLXN_FORMAT_Q5_K, 0, 2, "50a63f85e54fe1e8", {4.18945f, 5.68945f, 7.56445f, 2.68945f}},
    {MLXN_FORMAT_Q6_K, 208, NONE, "567f1b360ccad923", {-12.5938f, 3.875f, -22.2812f, 0.96875f}},
    {MLXN_FORMAT_Q2_K, 80, 82, "f60c281dd82c8eb5", {0.450195f, 0.856445f, 0.856445f, 1.2627f}},
    {MLXN_FORMAT_Q3_K, 108, NONE, "634c864451045d23", {-2.53125f, 3.375f, 0.0f, -1.6875f}},
    {MLXN_FORMAT_Q8_K, F32, NONE, "c2658252034f4e0d", {3.03125f, -1.3125f, -1.53125f, 3.03125f}},
    {MLXN_FORMAT_IQ2_XXS, 0, NONE, "e5ea6b530a894e95", {-0.53125f, 0.53125f, -0.53125f, -1.66016f}},
    {MLXN_FORMAT_IQ2_XS, 0, NONE, "56c91aec165b4716", {0.21875f, -0.21875f, -0.683594f, 0.683594f}},
    {MLXN_FORMAT_IQ3_XXS, 0, NONE, "5541210a26f687c7", {-3.39062f, 0.21875f, -1.53125f, -0.21875f}},
    {MLXN_FORMAT_IQ1_S, 0, NONE, "1bdcb179783375b0", {0.0195312f, 0.0195312f, 0.0195312f, -0.136719f}},
    {MLXN_FORMAT_IQ4_NL, 0, NONE, "f602884f2e6e397b", {-2.03125f, 0.03125f, -0.6875f, -2.03125f}},
    {MLXN_FORMAT_IQ3_S, 0, NONE, "fe5709b594fcdb0a", {-0.03125f, 0.03125f, 0.15625f, -0.21875f}},
    {MLXN_FORMAT_IQ2_S, 0, NONE, "adca0bdfa1201c76", {-4.53516f, -2.63672f, 4.53516f, -0.84375f}},
    {MLXN_FORMAT_IQ4_XS, 0, NONE, "c6ea9d455697e979", {10.9375f, 3.125f, -11.875f, -16.5625f}},
    {MLXN_FORMAT_IQ1_M, NIBBLES, NONE, "d8542937e46b9a9d", {-0.457031f, -0.0507812f, 0.355469f, -0.0507812f}},
    {MLXN_FORMAT_TQ1_0, 52, NONE, "e09394acaf696220", {-0.03125f, 0.0f, -0.03125f, 0.03125f}},
    {MLXN_FORMAT_TQ2_0, 64, NONE, "a53f4e0c31df388b", {0.0625f, -0.03125f, -0.03125f, 0.03125f}},
    {MLXN_FORMAT_MXFP4, E8M0, NONE, "6c961f28635a845a", {0.0f, 0.1875f, -0.125f, 0.0f}},
    {MLXN_FORMAT_NVFP4, E4M3, NONE, "478b518eb11a3c49", {-1.0f, 6.0f, 3.0f, -0.5f}},
    {MLXN_FORMAT_Q1_0, 0, NONE, "b6267f7b0e20a2bf", {-0.03125f, -0.03125f, 0.03125f, -0.03125f}},
    {MLXN_FORMAT_Q2_0, 0, NONE, "c6139c1a3856e9ba", {0.0625f, -0.03125f, 0.0f, 0.03125f}},
};

static const struct encoder_case {
    mlxn_format format;
    const char *digest, *first; /* of the encoded bytes, and the first 12 of them */
    double rmse;
} encoder_cases[] = {
    {MLXN_FORMAT_Q4_0, "700630d3a9616f48", "cbb7bc2825f9fa124b7f0ab9", 0.1477},
    {MLXN_FORMAT_Q4_1, "56bf9587d7c15464", "4038f0c374d925f7b08a6b90", 0.1428},
    {MLXN_FORMAT_Q5_0, "ea969926fc6d620d", "8733aaa69b6cf8ed0d53a06d", 0.0665},
    {MLXN_FORMAT_Q5_1, "47a334b5c9452746", "0334cdc3ba23aa8b38efa214", 0.0666},
    {MLXN_FORMAT_Q8_0, "5d4fe0a1b4e2e332", "ee27c792452bdce06616f34a", 0.0082},
    {MLXN_FORMAT_Q4_K, "2cc2820c668e18ef", "66201d2cf9f8fbfffbf6f9ff", 0.1253},
    {MLXN_FORMAT_Q5_K, "e4008e87483bf48c", "271c152cfffffefffdfebcff", 0.0633},
    {MLXN_FORMAT_Q6_K, "44f04307a07490e0", "2fc88736699831ac10793f3b", 0.0302},
    {MLXN_FORMAT_Q8_1, "bee23498b22b394d", "99273935c4a6f337819ad100", 0.0082},
    {MLXN_FORMAT_Q2_K, "19d888239ede875a", "d9cfd9e9caa9bac7ca76fab8", 0.5235},
    {MLXN_FORMAT_Q3_K, "7e74876eb82e5e05", "8d23bc281324672336fabf96", 0.2862},
    {MLXN_FORMAT_Q8_K, "57ae423c97d201aa", "f0f700bd38cbf19478e49782", 0.0091},
    {MLXN_FORMAT_IQ4_NL, "d85176c57cadf503", "cea7fceed0ff9bfb2f26f7c8", 0.1686},
    {MLXN_FORMAT_IQ4_XS, "d0d421e9a33e5287", "37940ff3bd203cff7ce9ff3d", 0.1512},
    {MLXN_FORMAT_TQ1_0, "5ab4d3a34409972c", "8c835f838dc8206c8384868d", 1.1268},
    {MLXN_FORMAT_TQ2_0, "08fedf6cb46d0579", "154195a151512555a0415018", 1.1562},
    {MLXN_FORMAT_MXFP4, "b859c967e6612a16", "7e7da777773f622ee7de52d7", 0.3798},
    {MLXN_FORMAT_NVFP4, "f3f0e7e9786540ea", "323332335d37c436b4ed7457", 0.2528},
    {MLXN_FORMAT_Q1_0, "042fd58752490bdc", "e83f8806789b4a03e021e4bd", 1.1445},
    {MLXN_FORMAT_Q2_0, "67f8a15c1f261e24", "f54381588551655541295458", 1.1337},
};

static uint32_t lcg(uint32_t *state) { return *state = *state * 1664525u + 1013904223u; }

static void hex(const uint8_t *bytes, int count, char *out) {
    for (int i = 0; i < count; i++) sprintf(out + 2 * i, "%02x", bytes[i]);
}

static void digest16(const void *data, size_t bytes, char out[17]) {
    uint8_t sum[32];
    mlxn_sha256(data, bytes, sum);
    hex(sum, 8, out);
}

/* Scales of 0.03125 and the like, in the place and manner of the format. */
static void put_scales(const struct decoder_case *t, uint8_t *block) {
    static const uint8_t nibbles[4] = {0x00, 0x00, 0x80, 0x20}, e4m3[4] = {0x38, 0x01, 0x7e, 0x45};
    if (t->scale_at < NONE) mlxn_store_u16(block + t->scale_at, 0x2800);
    if (t->scale_at == F32) mlxn_store_u32(block, 0x3d000000);
    if (t->scale_at == E8M0) block[0] = 123;
    for (int i = 0; i < 4; i++) {
        if (t->scale_at == E4M3) block[i] = e4m3[i];
        if (t->scale_at == NIBBLES) block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | nibbles[i]);
    }
}

static void test_decoders(void) {
    for (size_t c = 0; c < sizeof decoder_cases / sizeof decoder_cases[0]; c++) {
        const struct decoder_case *t = &decoder_cases[c];
        mlxn_format_info info;
        CHECK(mlxn_format_get_info(t->format, &info), "format %d", t->format);
        uint8_t raw[1 + 4 * 292];
        uint8_t *blocks = raw + 1; /* an odd address: fields must be read byte by byte */
        uint32_t state = (uint32_t)t->format;
        for (uint32_t i = 0; i < 4 * info.block_bytes; i++) blocks[i] = (uint8_t)(lcg(&state) >> 24);
        for (uint32_t b = 0; b < 4; b++) {
            put_scales(t, blocks + b * info.block_bytes);
            if (t->min_at != NONE) mlxn_store_u16(blocks + b * info.block_bytes + t->min_at, 0xa380);
        }
        float values[4 * 256];
        uint64_t n = 4 * info.block_values;
        CHECK(mlxn_dequantize_row(t->format, blocks, n, values, NULL) == MLXN_OK, "%s", info.name);
        for (int i = 0; i < 4; i++)
            CHECK(fabsf(values[i] - t->first[i]) <= 1e-5f * fabsf(t->first[i]), "%s value %d: got %g, want %g",
                  info.name, i, values[i], t->first[i]);
        for (uint64_t i = 0; i < n; i++)
            if (values[i] == 0) values[i] = 0; /* -0 to +0 */
        char digest[17];
        digest16(values, n * 4, digest);
        CHECK(!strcmp(digest, t->digest), "%s: got %s, want %s", info.name, digest, t->digest);
    }
}

/* Lanes of `bits` bits, each a place in `values`; the digest is of the values as bytes, lane 0 first. */
static void check_grid(const char *name, const uint16_t *grid, int entries, int bits, const int8_t *values,
                       const char *want) {
    static uint8_t lanes[2048 * 8];
    int n = 0;
    for (int i = 0; i < entries; i++)
        for (int j = 0; j < (bits == 2 ? 8 : 4); j++)
            lanes[n++] = (uint8_t)values[grid[i] >> bits * j & ((1 << bits) - 1)];
    char digest[17];
    digest16(lanes, (size_t)n, digest);
    CHECK(!strcmp(digest, want), "%s: got %s, want %s", name, digest, want);
}

/* Every entry of the grids: random blocks meet only some. */
static void test_grids(void) {
    static const int8_t two[4] = {8, 25, 43}, one[4] = {-1, 0, 1}, xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    static const int8_t s[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    check_grid("iq2xxs", mlxn_iq2xxs_grid, 256, 2, two, "05826b5d3e472a3a");
    check_grid("iq2xs", mlxn_iq2xs_grid, 512, 2, two, "06e47aaca60b4dc1");
    check_grid("iq2s", mlxn_iq2s_grid, 1024, 2, two, "e1aa1473412b0552");
    check_grid("iq3xxs", mlxn_iq3xxs_grid, 256, 3, xxs, "46e35f5a997efdee");
    check_grid("iq3s", mlxn_iq3s_grid, 512, 3, s, "bd1af4945a1717c6");
    check_grid("iq1s", mlxn_iq1s_grid, 2048, 2, one, "07540ffc1aeaf6ad");
}

static void test_encoders(void) {
    for (size_t c = 0; c < sizeof encoder_cases / sizeof encoder_cases[0]; c++) {
        const struct encoder_case *t = &encoder_cases[c];
        mlxn_format_info info;
        CHECK(mlxn_format_get_info(t->format, &info), "format %d", t->format);
        float x[4 * 256], y[4 * 256];
        uint8_t raw[4 * 292 + 2];
        memset(raw, 0xee, sizeof raw);
        uint64_t n = 4 * info.block_values, bytes = 4 * info.block_bytes;
        uint32_t state = 100 + (uint32_t)t->format;
        for (uint64_t i = 0; i < n; i++) x[i] = ((float)(lcg(&state) >> 16) - 32768.0f) / 8192.0f;
        CHECK(mlxn_quantize_row(t->format, x, n, raw + 1, NULL) == MLXN_OK, "%s", info.name);
        CHECK(raw[0] == 0xee && raw[1 + bytes] == 0xee, "%s wrote outside its row", info.name);
        char digest[17], first[25];
        digest16(raw + 1, bytes, digest);
        hex(raw + 1, 12, first);
        CHECK(!strcmp(digest, t->digest), "%s: got %s, want %s", info.name, digest, t->digest);
        CHECK(!strcmp(first, t->first), "%s: got %s, want %s", info.name, first, t->first);
        CHECK(mlxn_dequantize_row(t->format, raw + 1, n, y, NULL) == MLXN_OK, "%s", info.name);
        double sum = 0;
        for (uint64_t i = 0; i < n; i++) sum += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
        double rmse = sqrt(sum / (double)n);
        CHECK(fabs(rmse - t->rmse) < 6e-5, "%s: rmse %.5f, want %.4f", info.name, rmse, t->rmse);
    }
}

/* IQ4_NL is the one format whose search for weights differs from the reference rule also without an importance. */
static void test_offline_iq4_nl(void) {
    float x[128];
    uint8_t raw[4 * 18];
    uint32_t state = 100 + MLXN_FORMAT_IQ4_NL;
    for (int i = 0; i < 128; i++) x[i] = ((float)(lcg(&state) >> 16) - 32768.0f) / 8192.0f;
    CHECK(mlxn_quantize_row_weighted(MLXN_FORMAT_IQ4_NL, x, NULL, 128, raw, NULL) == MLXN_OK);
    char digest[17], first[25];
    digest16(raw, sizeof raw, digest);
    hex(raw, 12, first);
    CHECK(!strcmp(digest, "5b40b3e80dc5ee75") && !strcmp(first, "ada7fceed0ff9bfb2f16f7c8"), "got %s, %s", digest,
          first);
}

/* Columns without importance do not turn into zeros where they share a scale with none that has some, nor does their
 * number change another run's codes. An importance of one column alone codes that column as well as the format can.
 */
static void test_importance(void) {
    static const mlxn_format searched[] = {MLXN_FORMAT_Q4_0, MLXN_FORMAT_Q4_1,   MLXN_FORMAT_Q5_0,  MLXN_FORMAT_Q5_1,
                                           MLXN_FORMAT_Q2_K, MLXN_FORMAT_Q3_K,   MLXN_FORMAT_Q4_K,  MLXN_FORMAT_Q5_K,
                                           MLXN_FORMAT_Q6_K, MLXN_FORMAT_IQ4_NL, MLXN_FORMAT_IQ4_XS};
    float x[256], none[256] = {0}, uneven[256], y[2][256];
    uint32_t state = 11;
    for (int i = 0; i < 256; i++) x[i] = ((float)(lcg(&state) >> 16) - 32768.0f) / 8192.0f;
    for (size_t c = 0; c < sizeof searched / sizeof searched[0]; c++) {
        const char *name = mlxn_format_name(searched[c]);
        uint8_t raw[292];
        double error[2] = {0, 0}, power = 0;
        for (int pass = 0; pass < 2; pass++) {
            none[77] = pass ? 1e6f : 0.0f;
            CHECK(mlxn_quantize_row_weighted(searched[c], x, none, 256, raw, NULL) == MLXN_OK, "%s", name);
            CHECK(mlxn_dequantize_row(searched[c], raw, 256, y[pass], NULL) == MLXN_OK, "%s", name);
        }
        for (int i = 0; i < 256; i++) {
            error[0] += pow((double)x[i] - (double)y[0][i], 2);
            if (i / 32 != 77 / 32) error[1] += pow((double)x[i] - (double)y[1][i], 2);
            power += pow((double)x[i], 2);
        }
        CHECK(error[0] < 0.1 * power, "%s without importance: %g of %g", name, error[0], power);
        CHECK(error[1] < 0.25 * power, "%s beside one column of importance: %g of %g", name, error[1], power);
        for (int i = 0; i < 256; i++) uneven[i] = i % 5 == 0 ? 20.0f : 0.1f;
        for (int pass = 0; pass < 2; pass++) {
            const float *importance = pass ? uneven : NULL;
            CHECK(mlxn_quantize_row_weighted(searched[c], x, importance, 256, raw, NULL) == MLXN_OK, "%s", name);
            CHECK(mlxn_dequantize_row(searched[c], raw, 256, y[0], NULL) == MLXN_OK, "%s", name);
            error[pass] = 0;
            for (int i = 0; i < 256; i++) error[pass] += (double)uneven[i] * pow((double)x[i] - (double)y[0][i], 2);
        }
        CHECK(error[1] < 0.97 * error[0], "%s: importance lowers the error from %g to %g", name, error[0], error[1]);
    }
}

/* The largest values that the search takes, where only the smallest one counts: scales stay finite. */
static void test_importance_limits(void) {
    for (size_t c = 0; c < sizeof encoder_cases / sizeof encoder_cases[0]; c++) {
        const mlxn_quant_format *row = mlxn_quant_find(encoder_cases[c].format);
        if (!row->encode_weighted) continue;
        float x[256], importance[256] = {0}, y[256], most = row->limit / 8 * 0.999f;
        uint8_t raw[292];
        for (int small = 1; small <= 64; small++) {
            for (int i = 0; i < 256; i++) {
                x[i] = i % 16 == 3 ? most : i % 16 == 4 ? -most : most * (float)(small * (1 + i % 3)) / 256.0f;
                importance[i] = i % 16 > 4 ? 1e6f : 0.0f;
            }
            CHECK(mlxn_quantize_row_weighted(row->format, x, importance, 256, raw, NULL) == MLXN_OK, "%s",
                  row->info.name);
            CHECK(mlxn_dequantize_row(row->format, raw, 256, y, NULL) == MLXN_OK, "%s", row->info.name);
            for (int i = 0; i < 256; i++)
                CHECK(isfinite(y[i]), "%s: element %d is %g (step %d)", row->info.name, i, y[i], small);
        }
    }
}

/* All 65,536 scales and all code bytes of one block, against the formula written with the scale taken on its own. */
static void test_all_scales(void) {
    uint8_t block[34];
    float out[32];
    for (uint32_t bits = 0; bits < 65536; bits++) {
        mlxn_store_u16(block, (uint16_t)bits);
        for (int e = 0; e < 32; e++) block[2 + e] = (uint8_t)(bits * 7 + (uint32_t)e * 8);
        float d = mlxn_f16_to_f32((uint16_t)bits);
        mlxn_decode_q8_0(block, 32, out);
        for (int e = 0; e < 32; e++) {
            float want = d * (float)(int8_t)block[2 + e];
            CHECK(memcmp(&want, &out[e], 4) == 0 || (isnan(want) && isnan(out[e])), "scale %04x element %d", bits, e);
        }
    }
    for (int byte = 0; byte < 256; byte++) { /* scale 1: the code itself */
        mlxn_store_u16(block, 0x3c00);
        memset(block + 2, byte, 16);
        mlxn_decode_q4_0(block, 32, out);
        CHECK(out[5] == (float)((byte & 15) - 8) && out[21] == (float)((byte >> 4) - 8), "Q4_0 byte %d", byte);
    }
}

static void test_plain(void) {
    const float x[5] = {0.0f, -0.0f, 1.0f / 3.0f, -65504.0f, INFINITY};
    float y[5];
    uint8_t raw[24];
    CHECK(mlxn_quantize_row(MLXN_FORMAT_F32, x, 5, raw + 1, NULL) == MLXN_OK);
    CHECK(mlxn_dequantize_row(MLXN_FORMAT_F32, raw + 1, 5, y, NULL) == MLXN_OK);
    CHECK(memcmp(x, y, sizeof x) == 0);
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value;
        uint8_t in[2] = {(uint8_t)bits, (uint8_t)(bits >> 8)}, out[2];
        for (int k = 0; k < 2; k++) {
            mlxn_format format = k ? MLXN_FORMAT_BF16 : MLXN_FORMAT_F16;
            CHECK(mlxn_dequantize_row(format, in, 1, &value, NULL) == MLXN_OK);
            CHECK(mlxn_quantize_row(format, &value, 1, out, NULL) == MLXN_OK);
            bool same = in[0] == out[0] && in[1] == out[1];
            CHECK(same || isnan(value), "format %d bits %04x came back as %02x%02x", format, bits, out[1], out[0]);
        }
    }
}

/* Blocks whose scale vanishes or whose reciprocal is infinite must still give defined bytes. */
static void test_degenerate_blocks(void) {
    for (size_t c = 0; c < sizeof encoder_cases / sizeof encoder_cases[0]; c++) {
        mlxn_format format = encoder_cases[c].format;
        mlxn_format_info info;
        CHECK(mlxn_format_get_info(format, &info), "format %d", format);
        int n = (int)info.block_values;
        float x[256] = {0}, y[256];
        uint8_t raw[292 + 1];
        memset(raw, 0xee, sizeof raw);
        CHECK(mlxn_quantize_row(format, x, info.block_values, raw, NULL) == MLXN_OK);
        CHECK(mlxn_dequantize_row(format, raw, info.block_values, y, NULL) == MLXN_OK);
        for (int i = 0; i < n; i++) CHECK(y[i] == 0, "%s of zeros", info.name);
        for (int i = 0; i < n; i++) x[i] = (float)(i % 32 - 16) * 1.4e-45f;
        CHECK(mlxn_quantize_row(format, x, info.block_values, raw, NULL) == MLXN_OK);
        CHECK(mlxn_dequantize_row(format, raw, info.block_values, y, NULL) == MLXN_OK);
        for (int i = 0; i < n; i++) CHECK(y[i] == 0, "%s of subnormals: %g", info.name, y[i]);
        CHECK(raw[info.block_bytes] == 0xee, "%s wrote outside its block", info.name);
    }
}

static void expect(mlxn_status got, mlxn_status want, const mlxn_error *error, const char *text) {
    CHECK(got == want && error->status == want, "got %s: %s", mlxn_status_name(got), error->message);
    CHECK(strstr(error->message, text) != NULL, "\"%s\" lacks \"%s\"", error->message, text);
}

static void test_errors(void) {
    mlxn_error error;
    uint64_t bytes = 0;
    float x[256] = {0};
    uint8_t raw[1024];
    mlxn_format_info info;
    CHECK(mlxn_format_row_bytes(MLXN_FORMAT_Q4_K, 512, &bytes, &error) == MLXN_OK && bytes == 288);
    CHECK(error.status == MLXN_OK && error.message[0] == 0);
    CHECK(!mlxn_format_get_info((mlxn_format)4, &info) && !strcmp(mlxn_format_name((mlxn_format)4), "?"));
    CHECK(!strcmp(mlxn_format_name(MLXN_FORMAT_Q6_K), "Q6_K"));
    expect(mlxn_format_row_bytes(MLXN_FORMAT_Q4_K, 100, &bytes, &error), MLXN_ERR_ARGUMENT, &error,
           "row of Q4_K: cols is 100, want a multiple of 256");
    expect(mlxn_format_row_bytes(MLXN_FORMAT_F32, 0, &bytes, &error), MLXN_ERR_ARGUMENT, &error, "cols is 0");
    expect(mlxn_format_row_bytes(MLXN_FORMAT_F32, UINT64_MAX, &bytes, &error), MLXN_ERR_ARGUMENT, &error, "2^64");
    expect(mlxn_dequantize_row((mlxn_format)99, raw, 32, x, &error), MLXN_ERR_UNSUPPORTED, &error, "format 99");
    expect(mlxn_quantize_row(MLXN_FORMAT_IQ2_S, x, 256, raw, &error), MLXN_ERR_UNSUPPORTED, &error, "no encoder");
    float importance[256] = {0};
    importance[9] = -1.0f;
    expect(mlxn_quantize_row_weighted(MLXN_FORMAT_Q4_K, x, importance, 256, raw, &error), MLXN_ERR_ARGUMENT, &error,
           "importance of column 9 is -1, want a number of 0 … 1e6");
    importance[9] = 0.0f, importance[200] = NAN;
    expect(mlxn_quantize_row_weighted(MLXN_FORMAT_TQ1_0, x, importance, 256, raw, &error), MLXN_ERR_ARGUMENT, &error,
           "importance of column 200 is");
    x[3] = 65520.0f;
    expect(mlxn_quantize_row_weighted(MLXN_FORMAT_Q4_0, x, importance, 32, raw, &error), MLXN_ERR_ARGUMENT, &error,
           "element 3 is 65520, want a number of magnitude below 65520");
    CHECK(mlxn_quantize_row_weighted(MLXN_FORMAT_Q4_0, x, NULL, 32, raw, &error) == MLXN_OK, "%s", error.message);
    x[3] = 0.0f;
    x[17] = NAN;
    expect(mlxn_quantize_row(MLXN_FORMAT_Q8_0, x, 32, raw, &error), MLXN_ERR_ARGUMENT, &error, "element 17 is");
    x[17] = 65520.0f;
    expect(mlxn_quantize_row(MLXN_FORMAT_Q4_1, x, 32, raw, &error), MLXN_ERR_ARGUMENT, &error, "is 65520, want");
    for (size_t c = 0; c < sizeof encoder_cases / sizeof encoder_cases[0]; c++) { /* just below: a finite scale */
        const mlxn_quant_format *row = mlxn_quant_find(encoder_cases[c].format);
        x[17] = nextafterf(row->limit, 0);
        x[18] = -x[17];
        CHECK(mlxn_quantize_row(row->format, x, row->info.block_values, raw, NULL) == MLXN_OK, "%s", row->info.name);
        float y[256];
        row->decode(raw, row->info.block_values, y);
        CHECK(isfinite(y[17]) && isfinite(y[18]), "%s: %g %g", row->info.name, y[17], y[18]);
    }
    CHECK(mlxn_quantize_row(MLXN_FORMAT_Q4_0, NULL, 33, NULL, NULL) == MLXN_ERR_ARGUMENT, "an error may be NULL");
}

int main(void) {
    test_decoders();
    test_grids();
    test_encoders();
    test_offline_iq4_nl();
    test_importance();
    test_importance_limits();
    test_all_scales();
    test_plain();
    test_degenerate_blocks();
    test_errors();
    return TEST_DONE();
}
