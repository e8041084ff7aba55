/* Promise: rows of quantized key and value caches hold what kv.h says: sizes, names, the bits of the GGUF blocks and
 * of the TurboQuant codec where that defines the pair, NaN that shows; and TurboQuant loses, for every head size and
 * width, what integrating its table over a coordinate of the sphere predicts, to one percent. With the argument
 * --full on 1,000,000 vectors each. */
#include <math.h>
#include <mlxn/mlxn.h>

#include "quant/kv_types.h"
#include "quant/turboquant.h"
#include "test.h"
#include "turboquant_random.h"

static mlxn_error error;
static const uint32_t dims[] = {64, 128, 256, 512};
enum { DIMS = sizeof dims / sizeof *dims };

static void test_names(void) {
    for (uint32_t i = 1; i < MLXN_KV_TYPE_COUNT; i++) {
        const char *name = mlxn_kv_type_name((mlxn_kv_type)i);
        mlxn_kv_type back = MLXN_KV_DEFAULT;
        CHECK(!mlxn_kv_type_parse(name, strlen(name), &back, &error) && back == i, "%s", name);
    }
    mlxn_kv_type type;
    CHECK(!mlxn_kv_type_parse("Q8_0,rest", 4, &type, NULL) && type == MLXN_KV_Q8_0, "case and size");
    CHECK(mlxn_kv_type_parse("tq", 2, &type, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "\"tq\"") &&
              strstr(error.message, "tq8"),
          "%s", error.message);
    CHECK(!strcmp(mlxn_kv_type_name(MLXN_KV_DEFAULT), "?") && !strcmp(mlxn_kv_type_name((mlxn_kv_type)99), "?"),
          "names of no type");
    CHECK(mlxn_kv_type_rotated(MLXN_KV_TQ5) && !mlxn_kv_type_rotated(MLXN_KV_Q5_1), "rotated");
}

static void test_sizes(void) {
    static const struct {
        mlxn_kv_type type;
        uint64_t d, bytes; /* 0: does not fit */
    } cases[] = {{MLXN_KV_F32, 80, 320},  {MLXN_KV_F16, 80, 160},  {MLXN_KV_Q8_0, 96, 102}, {MLXN_KV_Q4_0, 64, 36},
                 {MLXN_KV_Q4_1, 64, 40},  {MLXN_KV_Q5_0, 64, 44},  {MLXN_KV_Q5_1, 64, 48},  {MLXN_KV_Q8_0, 80, 0},
                 {MLXN_KV_TQ4, 64, 36},   {MLXN_KV_TQ4, 128, 68},  {MLXN_KV_TQ4, 512, 264}, {MLXN_KV_TQ5, 128, 84},
                 {MLXN_KV_TQ6, 256, 196}, {MLXN_KV_TQ8, 256, 260}, {MLXN_KV_TQ8, 512, 520}, {MLXN_KV_TQ8, 96, 0},
                 {MLXN_KV_TQ4, 1024, 0},  {MLXN_KV_DEFAULT, 64, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes = 0;
        mlxn_status status = mlxn_kv_row_bytes(cases[i].type, cases[i].d, &bytes, &error);
        CHECK(cases[i].bytes ? !status && bytes == cases[i].bytes : status == MLXN_ERR_ARGUMENT,
              "%s of %llu: status %d, %llu bytes", mlxn_kv_type_name(cases[i].type), (unsigned long long)cases[i].d,
              (int)status, (unsigned long long)bytes);
    }
    float x[64] = {0};
    uint8_t row[64];
    CHECK(mlxn_kv_encode_row(MLXN_KV_Q4_0, x, 64, row, 35, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "35") && strstr(error.message, "36"),
          "%s", error.message);
    CHECK(mlxn_kv_decode_row(MLXN_KV_Q4_0, NULL, 36, x, 64, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
}

/* The block types are the GGUF formats. */
static void test_blocks(void) {
    static const struct {
        mlxn_kv_type type;
        mlxn_format format;
    } pairs[] = {{MLXN_KV_Q8_0, MLXN_FORMAT_Q8_0},
                 {MLXN_KV_Q4_0, MLXN_FORMAT_Q4_0},
                 {MLXN_KV_Q4_1, MLXN_FORMAT_Q4_1},
                 {MLXN_KV_Q5_0, MLXN_FORMAT_Q5_0},
                 {MLXN_KV_Q5_1, MLXN_FORMAT_Q5_1}};
    uint64_t state = 7;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        float x[256], a[256], b[256];
        uint8_t ours[512], theirs[512];
        uint64_t bytes = 0;
        random_fill(&state, x, 256);
        mlxn_kv_row_bytes(pairs[i].type, 256, &bytes, NULL);
        CHECK(!mlxn_kv_encode_row(pairs[i].type, x, 256, ours, bytes, &error) &&
                  !mlxn_quantize_row(pairs[i].format, x, 256, theirs, &error) && !memcmp(ours, theirs, bytes),
              "%s: bytes", mlxn_kv_type_name(pairs[i].type));
        CHECK(!mlxn_kv_decode_row(pairs[i].type, ours, bytes, a, 256, &error) &&
                  !mlxn_dequantize_row(pairs[i].format, theirs, 256, b, &error) && !memcmp(a, b, sizeof a),
              "%s: values", mlxn_kv_type_name(pairs[i].type));
    }
}

/* Where the codec of turboquant.h has the pair, codes, norms and values are its. */
static void test_codec(void) {
    static const struct {
        mlxn_kv_type type;
        uint32_t bits;
    } types[] = {{MLXN_KV_TQ5, 5}, {MLXN_KV_TQ6, 6}, {MLXN_KV_TQ8, 8}};
    uint64_t state = 3;
    for (int t = 0; t < 3; t++)
        for (uint32_t d = 256; d <= 512; d += 256) {
            const mlxn_turboquant_hb codec = {d, types[t].bits, 0};
            float x[512], ours[512], theirs[512], norms[2];
            uint8_t codes[512], row[520];
            uint64_t bytes = 0;
            random_fill(&state, x, d);
            mlxn_kv_row_bytes(types[t].type, d, &bytes, NULL);
            CHECK(!mlxn_kv_encode_row(types[t].type, x, d, row, bytes, &error) &&
                      !mlxn_kv_decode_row(types[t].type, row, bytes, ours, d, &error),
                  "%s", error.message);
            CHECK(!mlxn_turboquant_hb_encode(&codec, x, d, codes, d, norms, d / 256, &error) &&
                      !mlxn_turboquant_hb_decode(&codec, codes, d, norms, d / 256, theirs, d, &error),
                  "%s", error.message);
            CHECK(!memcmp(norms, row, d / 256 * 4), "norms of %u bits, dim %u", types[t].bits, d);
            CHECK(!memcmp(ours, theirs, d * 4), "values of %u bits, dim %u", types[t].bits, d);
            if (types[t].bits == 8) CHECK(!memcmp(codes, row + d / 64, d), "codes of dim %u", d);
        }
}

/* The layout of kv.h, bit by bit: the codes of a row whose rotated form is known. */
static void test_layout(void) {
    for (mlxn_kv_type type = MLXN_KV_TQ4; type <= MLXN_KV_TQ6; type = (mlxn_kv_type)(type + 1)) {
        uint32_t bits = type == MLXN_KV_TQ4 ? 4 : type == MLXN_KV_TQ5 ? 5 : 6;
        enum { D = 64 };
        uint8_t row[4 + D];
        float norm = 8, out[D]; /* step 1 */
        memset(row, 0, sizeof row);
        memcpy(row, &norm, 4);
        for (uint32_t i = 0; i < D; i++) {
            uint32_t code = (i * 37 + 11) & ((1u << bits) - 1);
            row[4 + i / 32 * 16 + i % 16] |= (uint8_t)((code & 15) << (i / 16 % 2 ? 4 : 0));
            if (code & 16) row[4 + D / 2 + i / 8] |= (uint8_t)(1u << i % 8);
            if (code & 32) row[4 + D / 2 + D / 8 + i / 8] |= (uint8_t)(1u << i % 8);
        }
        uint64_t bytes = 0;
        mlxn_kv_row_bytes(type, D, &bytes, NULL);
        CHECK(!mlxn_kv_decode_row(type, row, bytes, out, D, &error), "%s", error.message);
        for (uint32_t i = 0; i < D; i++) {
            float want = 0;
            mlxn_turboquant_centroid(bits, (i * 37 + 11) & ((1u << bits) - 1), &want, NULL);
            CHECK(out[i] == want, "%u bits, coordinate %u: %g, want %g", bits, i, (double)out[i], (double)want);
        }
    }
}

static void test_bad_values(void) {
    static const float bad[] = {INFINITY, -INFINITY, NAN, 3e38f};
    uint64_t state = 5;
    for (uint32_t type = MLXN_KV_Q8_0; type < MLXN_KV_TYPE_COUNT; type++)
        for (int b = 0; b < 4; b++) {
            float x[64], out[64];
            uint8_t row[256];
            uint64_t bytes = 0;
            random_fill(&state, x, 64);
            x[37] = bad[b];
            mlxn_kv_row_bytes((mlxn_kv_type)type, 64, &bytes, NULL);
            CHECK(!mlxn_kv_encode_row((mlxn_kv_type)type, x, 64, row, bytes, &error) &&
                      !mlxn_kv_decode_row((mlxn_kv_type)type, row, bytes, out, 64, &error),
                  "%s", error.message);
            bool rotated = mlxn_kv_type_rotated((mlxn_kv_type)type);
            if (rotated && b == 3) continue; /* a length of 3e38 can be held */
            CHECK(isnan(out[37]), "%s: %g became %g", mlxn_kv_type_name((mlxn_kv_type)type), (double)bad[b],
                  (double)out[37]);
            CHECK(isnan(out[0]) == rotated, "%s: the block beside it", mlxn_kv_type_name((mlxn_kv_type)type));
        }
    float vast[64], back[64];
    for (int i = 0; i < 64; i++) vast[i] = i % 2 ? 2e38f : -2e38f; /* every number fits, the length does not */
    uint8_t long_row[68];
    CHECK(!mlxn_kv_encode_row(MLXN_KV_TQ8, vast, 64, long_row, 68, &error) &&
              !mlxn_kv_decode_row(MLXN_KV_TQ8, long_row, 68, back, 64, &error) && isnan(back[0]) && isnan(back[63]),
          "a length beyond binary32 shows");
    float zero[128] = {0}, out[128];
    uint8_t row[256];
    uint64_t bytes = 0;
    mlxn_kv_row_bytes(MLXN_KV_TQ8, 128, &bytes, NULL);
    mlxn_kv_encode_row(MLXN_KV_TQ8, zero, 128, row, bytes, NULL);
    mlxn_kv_decode_row(MLXN_KV_TQ8, row, bytes, out, 128, NULL);
    for (int i = 0; i < 128; i++) CHECK(out[i] == 0, "zero became %g", (double)out[i]);
}

/* D times the mean of (t - c(t sqrt(D)) / sqrt(D))^2 for one coordinate t of a random unit vector in D dimensions,
 * density ~ (1 - t^2)^((D - 3) / 2): the squared error over the squared length. Trapezoids in float64. */
static double predicted(uint32_t d, uint32_t bits) {
    enum { STEPS = 400000 };
    const mlxn_turboquant_book *book = mlxn_turboquant_book_find(bits);
    float table[256];
    mlxn_turboquant_book_expand(book, table);
    double sum = 0, weight = 0, root = sqrt(d), widest = fmin(1, 8 / root);
    for (int i = 1; i < STEPS; i++) {
        double t = widest * (2.0 * i / STEPS - 1), w = pow(1 - t * t, (d - 3) / 2.0);
        double c = (double)table[mlxn_turboquant_book_nearest(book, (float)(t * root))] / root;
        sum += w * (t - c) * (t - c);
        weight += w;
    }
    return d * sum / weight;
}

static void check_quality(const char *name, uint32_t d, double got, double want, uint64_t vectors) {
    CHECK(fabs(got / want - 1) < 0.01, "%s, dim %u: error %g, want %g, of %llu vectors", name, d, got, want,
          (unsigned long long)vectors);
    printf("%-5s dim %3u  error %.4e  predicted %.4e  ratio %.4f\n", name, d, got, want, got / want);
}

/* As many coordinates for every head size. */
static void test_quality(uint64_t most) {
    static const uint32_t bits[] = {4, 5, 6, 8};
    for (int i = 0; i < DIMS; i++) {
        uint32_t d = dims[i], block = d > 256 ? 256 : d;
        double sums[4] = {0}, packed_sums[2] = {0};
        uint64_t state = 1000 + d, vectors = most * 512 / d;
        for (uint64_t v = 0; v < vectors; v++) {
            float x[512], turned[512], out[512];
            uint8_t row[520];
            random_fill(&state, x, d);
            memcpy(turned, x, d * 4);
            mlxn_turboquant_rotate(turned, d, NULL);
            for (uint32_t t = 0; t < 4; t++) {
                mlxn_kv_encode((mlxn_kv_type)(MLXN_KV_TQ4 + t), x, d, row);
                mlxn_kv_decode((mlxn_kv_type)(MLXN_KV_TQ4 + t), row, d, out);
                sums[t] += relative_error(turned, out, d);
            }
            for (uint32_t w = 0; w < 2; w++) {
                const mlxn_turboquant_config config = {d, w ? MLXN_TURBOQUANT_3_BIT : MLXN_TURBOQUANT_2_BIT};
                uint64_t bytes = 0;
                float norm;
                mlxn_turboquant_packed_bytes(&config, &bytes, NULL);
                mlxn_turboquant_quantize(&config, x, d, row, bytes, &norm, NULL);
                mlxn_turboquant_dequantize(&config, row, bytes, norm, out, d, NULL);
                packed_sums[w] += relative_error(x, out, d);
            }
        }
        for (uint32_t t = 0; t < 4; t++)
            check_quality(mlxn_kv_type_name((mlxn_kv_type)(MLXN_KV_TQ4 + t)), d, sums[t] / (double)vectors,
                          predicted(block, bits[t]), vectors);
        for (uint32_t w = 0; w < 2; w++)
            check_quality(w ? "3 bit" : "2 bit", d, packed_sums[w] / (double)vectors, predicted(d, 2 + w), vectors);
    }
}

int main(int argc, char **argv) {
    test_names();
    test_sizes();
    test_blocks();
    test_codec();
    test_layout();
    test_bad_values();
    test_quality(argc > 1 && !strcmp(argv[1], "--full") ? 1000000 : 3000);
    return TEST_DONE();
}
