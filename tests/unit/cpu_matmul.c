/* cpu_matmul.c: what the CPU's weights and matmul kernels promise beyond the error bounds that `check` holds them to:
 *  - a packed row decodes to the bits of the original row, in every format, whatever the bytes;
 *  - an output element has the same bits for any number of tokens beside it and any number of threads;
 *  - the fast precision keeps 16 bits of each activation, so it is far nearer than its documented 8-bit bound;
 *  - NaN in one token makes that token's outputs NaN and no other's. */
#include "../test.h"

#include <math.h>
#include <mlxn/mlxn.h>

#include "base/base.h"

/* Every format of GGUF and where its binary16 numbers are; those of one byte and IQ1_M's are tamed by hand. */
static const struct {
    mlxn_format format;
    int first, second; /* -1: none */
} formats[] = {{MLXN_FORMAT_F32, -1, -1},   {MLXN_FORMAT_F16, -1, -1},   {MLXN_FORMAT_BF16, -1, -1},
               {MLXN_FORMAT_Q4_0, 0, -1},   {MLXN_FORMAT_Q4_1, 0, 2},    {MLXN_FORMAT_Q5_0, 0, -1},
               {MLXN_FORMAT_Q5_1, 0, 2},    {MLXN_FORMAT_Q8_0, 0, -1},   {MLXN_FORMAT_Q8_1, 0, 2},
               {MLXN_FORMAT_Q2_K, 80, 82},  {MLXN_FORMAT_Q3_K, 108, -1}, {MLXN_FORMAT_Q4_K, 0, 2},
               {MLXN_FORMAT_Q5_K, 0, 2},    {MLXN_FORMAT_Q6_K, 208, -1}, {MLXN_FORMAT_Q8_K, 2, -1},
               {MLXN_FORMAT_IQ4_NL, 0, -1}, {MLXN_FORMAT_IQ4_XS, 0, -1}, {MLXN_FORMAT_MXFP4, -1, -1},
               {MLXN_FORMAT_NVFP4, -1, -1}, {MLXN_FORMAT_TQ1_0, 52, -1}, {MLXN_FORMAT_TQ2_0, 64, -1},
               {MLXN_FORMAT_Q1_0, 0, -1},   {MLXN_FORMAT_Q2_0, 0, -1},   {MLXN_FORMAT_IQ2_XXS, 0, -1},
               {MLXN_FORMAT_IQ2_XS, 0, -1}, {MLXN_FORMAT_IQ2_S, 0, -1},  {MLXN_FORMAT_IQ3_XXS, 0, -1},
               {MLXN_FORMAT_IQ3_S, 0, -1},  {MLXN_FORMAT_IQ1_S, 0, -1},  {MLXN_FORMAT_IQ1_M, -1, -1}};
enum { FORMATS = sizeof formats / sizeof formats[0], MAX_TOKENS = 37, ROWS = 83, COLS = 1536 };

static uint64_t state = 88172645463325252u;
static uint32_t draw(void) { /* xorshift (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 21);
}

static mlxn_device *open_device(mlxn_precision precision, uint32_t threads, uint32_t isa, bool base) {
    mlxn_device_desc desc = {.struct_size = sizeof desc,
                             .backend = "cpu",
                             .threads = threads,
                             .precision = precision,
                             .isa_mask = isa,
                             .no_isa = base};
    mlxn_device *device = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_device_create(&desc, &device, &error), "%s", error.message);
    return device;
}

static mlxn_weight *make_weight(mlxn_device *device, mlxn_format format, const uint8_t *bytes, uint64_t rows,
                                uint64_t cols) {
    uint64_t row_bytes = 0;
    mlxn_error error = {0};
    mlxn_buffer *buffer = NULL;
    mlxn_weight *weight = NULL;
    mlxn_format_row_bytes(format, cols, &row_bytes, NULL);
    CHECK(!mlxn_buffer_create(device, rows * row_bytes + 1, &buffer, &error), "%s", error.message);
    if (!buffer) return NULL;
    CHECK(!mlxn_buffer_write(buffer, 1, bytes, rows * row_bytes, &error), "%s", error.message);
    mlxn_weight_desc desc = {
        .struct_size = sizeof desc, .format = format, .rows = rows, .cols = cols, .data = buffer, .offset = 1};
    CHECK(!mlxn_weight_create(device, &desc, &weight, &error), "%s", error.message);
    mlxn_buffer_release(&buffer);
    return weight;
}

/* A binary16 of any sign with an exponent of 2^-7 to 2^-6; as the upper half of a binary32 it is near 1e-2, too. */
static void tame_half(uint8_t *at, uint8_t exponent) { at[1] = (uint8_t)(exponent | (draw() & 0x83)); }

/* Random bytes; with `tame`, every scale has a magnitude near 0.01. */
static uint8_t *make_bytes(int f, uint64_t rows, uint64_t cols, bool tame) {
    const mlxn_format format = formats[f].format;
    mlxn_format_info info;
    if (!mlxn_format_get_info(format, &info)) return NULL;
    uint64_t n = rows * cols / info.block_values * info.block_bytes;
    uint8_t *bytes = malloc(n);
    for (uint64_t i = 0; bytes && i < n; i++) bytes[i] = (uint8_t)draw();
    if (!bytes || !tame) return bytes;
    for (uint8_t *block = bytes; block < bytes + n; block += info.block_bytes) {
        if (formats[f].first >= 0) tame_half(block + formats[f].first, format == MLXN_FORMAT_Q8_K ? 0x3c : 0x20);
        if (formats[f].second >= 0) tame_half(block + formats[f].second, 0x20);
        if (format == MLXN_FORMAT_MXFP4) block[0] = (uint8_t)(120 + draw() % 4);
        for (int i = 0; i < 4 && format == MLXN_FORMAT_NVFP4; i++) block[i] = (uint8_t)(draw() % 24);
        if (format == MLXN_FORMAT_IQ1_M) block[55] = (uint8_t)((block[55] & 0x0f) | (draw() % 2 ? 0xa0 : 0x20));
    }
    return bytes;
}

static void check_rows(void) {
    mlxn_device *device = open_device(MLXN_PRECISION_FAST, 2, 0, false);
    static const uint64_t shapes[][2] = {{1, 1}, {15, 2}, {16, 1}, {17, 5}, {40, 3}};
    for (int f = 0; device && f < FORMATS; f++)
        for (int s = 0; s < 5; s++) {
            mlxn_format_info info;
            mlxn_format_get_info(formats[f].format, &info);
            uint64_t rows = shapes[s][0], cols = shapes[s][1] * info.block_values, row_bytes;
            mlxn_format_row_bytes(formats[f].format, cols, &row_bytes, NULL);
            uint8_t *bytes = make_bytes(f, rows, cols, false);
            float *want = malloc(cols * 4), *got = malloc(cols * 4);
            mlxn_weight *weight =
                bytes && want && got ? make_weight(device, formats[f].format, bytes, rows, cols) : NULL;
            for (uint64_t r = 0; weight && r < rows; r++) {
                mlxn_dequantize_row(formats[f].format, bytes + r * row_bytes, cols, want, NULL);
                mlxn_weight_read_row(weight, r, got, NULL);
                uint64_t k = 0;
                while (k < cols && (!memcmp(want + k, got + k, 4) || (isnan(want[k]) && isnan(got[k])))) k++;
                CHECK(k == cols, "%s: row %d column %d is %g, want %g", info.name, (int)r, (int)k, (double)got[k],
                      (double)want[k]);
            }
            mlxn_weight_release(&weight);
            free(got), free(want), free(bytes);
        }
    mlxn_device_release(&device);
}

/* out = x W^T for tokens [first, first + n) */
static void multiply(mlxn_device *device, mlxn_weight *weight, const float *x, uint64_t first, uint64_t n,
                     float *out) {
    mlxn_buffer *in = NULL, *to = NULL;
    mlxn_encoder *encoder = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_buffer_create(device, n * COLS * 4, &in, &error) &&
              !mlxn_buffer_create(device, n * ROWS * 4, &to, &error) &&
              !mlxn_encoder_create(device, &encoder, &error),
          "%s", error.message);
    if (encoder) {
        mlxn_buffer_write(in, 0, x + first * COLS, n * COLS * 4, &error);
        mlxn_matmul(encoder, mlxn_tensor_2d(in, 0, MLXN_F32, n, COLS), weight, (mlxn_tensor){0}, (mlxn_tensor){0},
                    mlxn_tensor_2d(to, 0, MLXN_F32, n, ROWS));
        CHECK(!mlxn_encoder_commit_and_wait(encoder, "matmul", &error), "%s", error.message);
        mlxn_buffer_read(to, 0, out + first * ROWS, n * ROWS * 4, &error);
    }
    mlxn_encoder_destroy(encoder);
    mlxn_buffer_release(&to);
    mlxn_buffer_release(&in);
}

/* How far 16-bit activations and binary32 sums may be from the exact sum. */
static void check_precision(mlxn_format format, const uint8_t *bytes, const float *x, const float *got,
                            const char *where) {
    uint64_t row_bytes;
    float row[COLS];
    mlxn_format_row_bytes(format, COLS, &row_bytes, NULL);
    double worst = 0;
    for (int r = 0; r < ROWS; r++) {
        mlxn_dequantize_row(format, bytes + (uint64_t)r * row_bytes, COLS, row, NULL);
        for (int m = 0; m < MAX_TOKENS; m++) {
            double sum = 0, size = 0, limit = 0;
            for (int g = 0; g < COLS; g += 32) {
                double most = 0, weights = 0, largest = 0, terms = 0;
                for (int k = g; k < g + 32; k++) {
                    double v = (double)x[m * COLS + k], w = (double)row[k];
                    sum += v * w;
                    terms += fabs(v);
                    weights += fabs(w);
                    most = fmax(most, fabs(v));
                    largest = fmax(largest, fabs(w));
                }
                limit += most / 32512 * 0.51 * weights;
                size += 3 * terms * largest;
            }
            worst = fmax(worst, fabs((double)got[m * ROWS + r] - sum) / (limit + 64 * 6e-8 * size));
        }
    }
    CHECK(worst <= 1, "%s %s: error is %g of what 16-bit activations allow", mlxn_format_name(format), where, worst);
}

static bool same_bits(const float *a, const float *b, uint64_t n) { return !memcmp(a, b, n * sizeof *a); }

static void check_products(mlxn_precision precision, uint32_t isa, bool base, const char *where) {
    mlxn_device *one = open_device(precision, 1, isa, base), *three = open_device(precision, 3, isa, base);
    float *x = malloc(sizeof(float) * COLS * MAX_TOKENS), *all = malloc(sizeof(float) * ROWS * MAX_TOKENS);
    float *part = malloc(sizeof(float) * ROWS * MAX_TOKENS);
    if (!one || !three || !x || !all || !part) {
        CHECK(false, "%s: out of memory", where);
        return;
    }
    for (int i = 0; i < COLS * MAX_TOKENS; i++) x[i] = (float)((int)(draw() % 20001) - 10000) * 1e-4f;
    for (int m = 0; m < MAX_TOKENS; m++) x[m * COLS + (int)(draw() % COLS)] = 60; /* as models have them */
    for (int f = 0; f < FORMATS; f++) {
        mlxn_format format = formats[f].format;
        if (format == MLXN_FORMAT_F32 || format == MLXN_FORMAT_F16 || format == MLXN_FORMAT_BF16) continue;
        uint8_t *bytes = make_bytes(f, ROWS, COLS, true);
        mlxn_weight *a = make_weight(one, format, bytes, ROWS, COLS);
        mlxn_weight *b = make_weight(three, format, bytes, ROWS, COLS);
        if (a && b) {
            multiply(one, a, x, 0, MAX_TOKENS, all);
            check_precision(format, bytes, x, all, where);
            multiply(three, b, x, 0, MAX_TOKENS, part);
            CHECK(same_bits(all, part, ROWS * MAX_TOKENS), "%s %s: 3 threads", mlxn_format_name(format), where);
            for (uint64_t n = 1; n < 16; n += 1 + (n > 8)) {
                memset(part, 0xff, sizeof(float) * ROWS * MAX_TOKENS);
                for (uint64_t m = 0; m < MAX_TOKENS; m += n)
                    multiply(three, b, x, m, m + n > MAX_TOKENS ? MAX_TOKENS - m : n, part);
                CHECK(same_bits(all, part, ROWS * MAX_TOKENS), "%s %s: %d tokens at a time", mlxn_format_name(format),
                      where, (int)n);
            }
            float kept = x[5 * COLS + 40];
            x[5 * COLS + 40] = NAN;
            multiply(one, a, x, 0, MAX_TOKENS, part);
            bool nan = true;
            for (int r = 0; r < ROWS; r++) nan = nan && isnan(part[5 * ROWS + r]);
            CHECK(nan, "%s %s: NaN does not reach its token", mlxn_format_name(format), where);
            CHECK(
                same_bits(all, part, 5 * ROWS) && same_bits(all + 6 * ROWS, part + 6 * ROWS, (MAX_TOKENS - 6) * ROWS),
                "%s %s: NaN reaches other tokens", mlxn_format_name(format), where);
            x[5 * COLS + 40] = kept;
        }
        mlxn_weight_release(&a);
        mlxn_weight_release(&b);
        free(bytes);
    }
    free(part), free(all), free(x);
    mlxn_device_release(&three);
    mlxn_device_release(&one);
}

int main(void) {
    check_rows();
    static const struct {
        const char *name;
        uint32_t isa;
        bool base;
    } levels[] = {{"base", 0, true},
                  {"avx2", MLXN_ISA_AVX2, false},
                  {"avx512", MLXN_ISA_AVX2 | MLXN_ISA_AVX512, false},
                  {"all", 0, false}};
    for (int i = 0; i < 4; i++) {
        char where[32];
        snprintf(where, sizeof where, "fast %s", levels[i].name);
        check_products(MLXN_PRECISION_FAST, levels[i].isa, levels[i].base, where);
        snprintf(where, sizeof where, "f32 %s", levels[i].name);
        check_products(MLXN_PRECISION_F32, levels[i].isa, levels[i].base, where);
    }
    return TEST_DONE();
}
