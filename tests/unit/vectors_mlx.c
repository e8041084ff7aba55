/* Promise: the formats of MLX decode and encode to MLX's own bits, also for every byte of the 8-bit scales, and the
 * digests of packed rows are those of another implementation. tests/vectors/quant/make_mlx.py made the file and
 * describes it. */
#include "quant/mlx.h"

#include <math.h>
#include <mlxn/mlxn.h>

#include "test.h"

static const uint8_t *cursor, *end;

static const uint8_t *take(uint64_t bytes) {
    if (bytes > (uint64_t)(end - cursor)) {
        cursor = end;
        CHECK(false, "the file ends inside a record");
        exit(1);
    }
    cursor += bytes;
    return cursor - bytes;
}

static uint32_t number(void) { return mlxn_load_u32(take(4)); }

typedef struct blob {
    const uint8_t *data;
    uint32_t bytes;
} blob;

static blob read_blob(void) {
    uint32_t bytes = number();
    return (blob){take(bytes), bytes};
}

static float *floats(blob b) { /* at any address */
    float *copy = malloc(b.bytes + 4);
    memcpy(copy, b.data, b.bytes);
    return copy;
}

typedef struct record {
    char name[96];
    mlxn_format format;
    mlxn_group_info groups;
    mlxn_dtype dtype;
    float global_scale;
    uint32_t experts, rows, cols, tokens, top;
    blob w, codes, scales, biases, unpacked, x, ids, y;
} record;

static void read_record(record *r) {
    uint32_t length = number();
    const uint8_t *name = take(length);
    memset(r, 0, sizeof *r);
    memcpy(r->name, name, length < sizeof r->name ? length : sizeof r->name - 1);
    r->format = (mlxn_format)number();
    r->dtype = (mlxn_dtype)number();
    uint32_t bits = number();
    memcpy(&r->global_scale, &bits, 4);
    r->experts = number(), r->rows = number(), r->cols = number(), r->tokens = number(), r->top = number();
    r->w = read_blob(), r->codes = read_blob(), r->scales = read_blob(), r->biases = read_blob();
    r->unpacked = read_blob(), r->x = read_blob(), r->ids = read_blob(), r->y = read_blob();
    CHECK(mlxn_format_get_groups(r->format, &r->groups), "%s: format %d", r->name, (int)r->format);
}

static mlxn_group_row row_of(const record *r, uint64_t row) {
    uint64_t groups = r->cols / r->groups.group_size, size = mlxn_dtype_size(r->dtype);
    return (mlxn_group_row){
        .codes = (void *)(uintptr_t)(r->codes.data + row * r->cols * r->groups.bits / 8),
        .scales = (void *)(uintptr_t)(r->scales.data + row * groups * size),
        .biases = r->biases.bytes ? (void *)(uintptr_t)(r->biases.data + row * groups * size) : NULL,
        .scale_dtype = r->dtype,
        .global_scale = r->global_scale,
        .mlx_cpu = true};
}

static void check_decoding(const record *r) {
    float *want = floats(r->unpacked), *got = malloc(4 * r->cols);
    for (uint64_t row = 0; row < (uint64_t)r->experts * r->rows; row++) {
        mlxn_group_row src = row_of(r, row);
        mlxn_error error;
        CHECK(!mlxn_dequantize_groups(r->format, &src, r->cols, got, &error), "%s: %s", r->name, error.message);
        for (uint32_t k = 0; k < r->cols; k++) {
            float w = want[row * r->cols + k];
            CHECK(!memcmp(&w, &got[k], 4) || (isnan(w) && isnan(got[k])), "%s (dtype %d): [%u, %u] is %a, MLX has %a",
                  r->name, (int)r->dtype, (unsigned)row, k, got[k], w);
        }
    }
    free(want);
    free(got);
}

static void check_encoding(const record *r) {
    if (!r->w.bytes) return;
    float *w = floats(r->w);
    uint64_t groups = r->cols / r->groups.group_size, size = mlxn_dtype_size(r->dtype);
    uint64_t bytes = r->cols * r->groups.bits / 8;
    uint8_t *codes = malloc(bytes), *scales = malloc(groups * size), *biases = malloc(groups * size);
    for (uint64_t row = 0; row < (uint64_t)r->experts * r->rows; row++) {
        mlxn_group_row want = row_of(r, row), got = want;
        got.codes = codes, got.scales = scales, got.biases = biases;
        mlxn_error error;
        CHECK(!mlxn_quantize_groups(r->format, w + row * r->cols, r->cols, &got, &error), "%s: %s", r->name,
              error.message);
        CHECK(!memcmp(codes, want.codes, bytes), "%s (dtype %d): row %u: other codes", r->name, (int)r->dtype,
              (unsigned)row);
        CHECK(!memcmp(scales, want.scales, groups * size), "%s (dtype %d): row %u: other scales", r->name,
              (int)r->dtype, (unsigned)row);
        if (want.biases)
            CHECK(!memcmp(biases, want.biases, groups * size), "%s (dtype %d): row %u: other biases", r->name,
                  (int)r->dtype, (unsigned)row);
    }
    free(w);
    free(codes);
    free(scales);
    free(biases);
}

/* Against MLX's product, which sums in binary32 too: within rounding of the sum of magnitudes. */
static void compare_product(const record *r, const float *y, uint32_t n) {
    float *want = floats(r->y), *x = floats(r->x), *w = floats(r->unpacked), *ids = floats(r->ids);
    for (uint32_t m = 0; m < r->tokens * r->top; m++)
        for (uint32_t j = 0; j < n; j++) {
            uint32_t expert = 0;
            if (r->ids.bytes) memcpy(&expert, &ids[m], 4);
            double size = 0;
            for (uint32_t k = 0; k < r->cols; k++)
                size += fabs((double)x[m / r->top * r->cols + k] * (double)w[(expert * n + j) * r->cols + k]);
            double off = fabs((double)y[m * n + j] - (double)want[m * n + j]);
            CHECK(off <= 1e-5 * size + 1e-37, "%s: product [%u, %u] is %g, MLX has %g", r->name, m, j, y[m * n + j],
                  want[m * n + j]);
        }
    free(want);
    free(x);
    free(w);
    free(ids);
}

static void check_product(mlxn_device *device, const record *r, mlxn_weight *weight) {
    mlxn_error error;
    mlxn_buffer *x = NULL, *y = NULL, *ids = NULL;
    mlxn_encoder *encoder = NULL;
    const mlxn_tensor none = {0};
    bool good = !mlxn_buffer_create(device, r->x.bytes, &x, &error) &&
                !mlxn_buffer_write(x, 0, r->x.data, r->x.bytes, &error) &&
                !mlxn_buffer_create(device, r->y.bytes, &y, &error) && !mlxn_encoder_create(device, &encoder, &error);
    mlxn_tensor tx = mlxn_tensor_2d(x, 0, MLXN_F32, r->tokens, r->cols);
    mlxn_tensor ty = mlxn_tensor_2d(y, 0, MLXN_F32, (uint64_t)r->tokens * r->top, r->rows);
    if (good && r->ids.bytes)
        good = !mlxn_buffer_create(device, r->ids.bytes, &ids, &error) &&
               !mlxn_buffer_write(ids, 0, r->ids.data, r->ids.bytes, &error) &&
               !mlxn_matmul_id(encoder, tx, weight, mlxn_tensor_2d(ids, 0, MLXN_U32, r->tokens, r->top), none, ty);
    else if (good)
        good = !mlxn_matmul(encoder, tx, weight, none, none, ty);
    good = good && !mlxn_encoder_commit_and_wait(encoder, "product", &error);
    CHECK(good, "%s: %s", r->name, error.message);
    if (good) compare_product(r, mlxn_buffer_contents(y), r->rows);
    mlxn_encoder_destroy(encoder);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    mlxn_buffer_release(&ids);
}

static mlxn_weight *make_weight(mlxn_device *device, const record *r) {
    mlxn_error error;
    mlxn_buffer *buffers[3] = {0};
    const blob parts[3] = {r->codes, r->scales, r->biases};
    bool good = true;
    for (int i = 0; i < 3 && good; i++)
        if (parts[i].bytes)
            good = !mlxn_buffer_create(device, parts[i].bytes, &buffers[i], &error) &&
                   !mlxn_buffer_write(buffers[i], 0, parts[i].data, parts[i].bytes, &error);
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = r->format,
                             .rows = r->rows,
                             .cols = r->cols,
                             .experts = r->experts,
                             .data = buffers[0],
                             .scales = buffers[1],
                             .biases = buffers[2],
                             .scale_dtype = r->dtype,
                             .global_scale = r->global_scale};
    mlxn_weight *weight = NULL;
    CHECK(good && !mlxn_weight_create(device, &desc, &weight, &error), "%s: %s", r->name, error.message);
    for (int i = 0; i < 3; i++) mlxn_buffer_release(&buffers[i]);
    return weight;
}

/* What the device packed gives the same bits back, and in 32-bit precision MLX's products. */
static void check_weight(mlxn_device *device, const record *r) {
    mlxn_weight *weight = make_weight(device, r);
    if (!weight) return;
    float *want = floats(r->unpacked), *got = malloc(4 * r->cols);
    for (uint64_t row = 0; row < (uint64_t)r->experts * r->rows; row++) {
        CHECK(!mlxn_weight_read_row(weight, row, got, NULL), "%s: row %u", r->name, (unsigned)row);
        for (uint32_t k = 0; k < r->cols; k++) {
            float w = want[row * r->cols + k];
            CHECK(!memcmp(&w, &got[k], 4) || (isnan(w) && isnan(got[k])), "%s (dtype %d), packed: [%u, %u] is %a",
                  r->name, (int)r->dtype, (unsigned)row, k, got[k]);
        }
    }
    free(want);
    free(got);
    if (r->x.bytes) check_product(device, r, weight);
    mlxn_weight_release(&weight);
}

/* Packed bytes of 64 values of a fixed generator, one row, and what the first scales and biases are. */
static const struct digest_case {
    mlxn_format format;
    const char *digest, *first;
    float scales[2], biases[2];
    const char *bytes; /* of 8-bit scales */
} digest_cases[] = {
    {MLXN_FORMAT_AFFINE2_G32,
     "0eb6ec6349b44321",
     "39e7e1f705a33e3a",
     {1.99676514f, 1.95593262f},
     {-3.99353027f, -3.91186523f},
     NULL},
    {MLXN_FORMAT_AFFINE3_G32,
     "35fd88e3999d8264",
     "9bd3f00a7dd55be0",
     {0.998382568f, 0.977966309f},
     {-3.99353027f, -3.91186523f},
     NULL},
    {MLXN_FORMAT_AFFINE4_G32,
     "513e61fce5afd6f7",
     "751c3be914b94fcb",
     {0.499191284f, 0.488983154f},
     {-3.99353027f, -3.91186523f},
     NULL},
    {MLXN_FORMAT_AFFINE5_G32,
     "5f63e1abe29e8c0b",
     "aa61618be44844fb",
     {0.249595642f, 0.244491577f},
     {-3.99353027f, -3.91186523f},
     NULL},
    {MLXN_FORMAT_AFFINE6_G32,
     "1b2f393621ce5d8c",
     "d41617ab32e25031",
     {0.124797821f, 0.122245789f},
     {-3.99353027f, -3.91186523f},
     NULL},
    {MLXN_FORMAT_AFFINE8_G32,
     "c8a6e9002d09ffb6",
     "516cc412af2a8ee1",
     {0.0309575982f, 0.0305614471f},
     {-3.99353027f, -3.91186523f},
     NULL},
    {MLXN_FORMAT_MLX_MXFP4, "3bdf39305c4a2e46", "bdf6f572fe51e765", {0}, {0}, "7e7e"},
    {MLXN_FORMAT_MLX_MXFP8, "bf0254e82fe6deaa", "f4ea78fe73fb657c", {0}, {0}, "7878"},
    {MLXN_FORMAT_MLX_NVFP4, "7f4f9117d0ec2d86", "acf5e461fd51d754", {0}, {0}, "32333232"},
};

static void hex(const uint8_t *bytes, int count, char *text) {
    for (int i = 0; i < count; i++) sprintf(text + 2 * i, "%02x", bytes[i]);
}

static void check_digests(void) {
    float x[64];
    uint32_t state = 200;
    for (int i = 0; i < 64; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ((float)(state >> 16) - 32768.0f) / 8192.0f;
    }
    for (size_t c = 0; c < sizeof digest_cases / sizeof digest_cases[0]; c++) {
        const struct digest_case *t = &digest_cases[c];
        uint8_t codes[64], sum[32];
        float scales[4] = {0}, biases[2];
        mlxn_group_row row = {.codes = codes, .scales = scales, .biases = biases};
        row.scale_dtype = t->bytes ? MLXN_U8 : MLXN_F32;
        CHECK(!mlxn_quantize_groups(t->format, x, 64, &row, NULL), "%s", mlxn_format_name(t->format));
        uint64_t bytes = 0;
        CHECK(!mlxn_format_row_bytes(t->format, 64, &bytes, NULL), "%s", mlxn_format_name(t->format));
        char text[33];
        mlxn_sha256(codes, bytes, sum);
        hex(sum, 8, text);
        CHECK(!strcmp(text, t->digest), "%s: got %s, want %s", mlxn_format_name(t->format), text, t->digest);
        hex(codes, 8, text);
        CHECK(!strcmp(text, t->first), "%s: got %s, want %s", mlxn_format_name(t->format), text, t->first);
        hex((const uint8_t *)scales, 4, text);
        if (t->bytes)
            CHECK(!strncmp(text, t->bytes, strlen(t->bytes)), "%s: scales %s, want %s", mlxn_format_name(t->format),
                  text, t->bytes);
        else
            for (int i = 0; i < 2; i++)
                CHECK(scales[i] == t->scales[i] && biases[i] == t->biases[i], "%s: group %d: %.9g, %.9g",
                      mlxn_format_name(t->format), i, scales[i], biases[i]);
    }
}

/* All codes of the small floats come back; halfway values go to the even code, or to zero's side. */
static void check_small_floats(void) {
    for (int code = 0; code < 256; code++) {
        uint8_t c = (uint8_t)code;
        if ((c & 0x7f) != 0x7f) CHECK(mlxn_f32_to_e4m3(mlxn_e4m3_to_f32(c)) == c, "E4M3 %02x", code);
        if (code && code < 255) CHECK(mlxn_f32_to_e8m0(mlxn_e8m0_to_f32(c), code % 2) == c, "E8M0 %02x", code);
        if (code < 16) CHECK(mlxn_f32_to_e2m1(mlxn_e2m1_to_f32(c), false) == c, "E2M1 %02x", code);
        uint8_t low = c & 0x7f;
        if (low < 0x7e) {
            float middle = (mlxn_e4m3_to_f32(low) + mlxn_e4m3_to_f32(low + 1)) / 2;
            CHECK(mlxn_f32_to_e4m3(middle) == low + (low & 1), "E4M3 between %02x and its neighbour", low);
        }
        if (code < 7) {
            float middle = (mlxn_e2m1_to_f32(c) + mlxn_e2m1_to_f32(c + 1)) / 2;
            CHECK(mlxn_f32_to_e2m1(-middle, false) == (8 | (c + (c & 1))), "E2M1 below %x", code);
            CHECK(mlxn_f32_to_e2m1(-middle, true) == (c ? 8 | c : 0), "E2M1 between %x and its neighbour", code);
        }
    }
    CHECK(mlxn_f32_to_e4m3(NAN) == 0x7e && mlxn_f32_to_e4m3(-1e9f) == 0xfe && isnan(mlxn_e4m3_to_f32(0x7f)));
    CHECK(mlxn_f32_to_e8m0(INFINITY, false) == 255 && mlxn_f32_to_e8m0(0.0f, true) == 0 &&
          mlxn_f32_to_e8m0(1.25f, false) == 127 && mlxn_f32_to_e8m0(1.25f, true) == 128 &&
          mlxn_e8m0_to_f32(0) == 0x1p-127f);
}

static void refused(mlxn_status got, mlxn_status want, const mlxn_error *error, const char *text) {
    CHECK(got == want && strstr(error->message, text), "got %s: %s", mlxn_status_name(got), error->message);
}

static void check_errors(void) {
    float x[64] = {0};
    uint8_t bytes[64];
    mlxn_error error;
    mlxn_format format = MLXN_FORMAT_F32;
    mlxn_group_row row = {.codes = bytes, .scales = bytes, .biases = bytes, .scale_dtype = MLXN_F16};
    CHECK(!mlxn_format_of_groups(MLXN_QUANT_AFFINE, 5, 128, &format, &error) && format == MLXN_FORMAT_AFFINE5_G128);
    CHECK(!strcmp(mlxn_format_name(format), "affine5_g128"));
    refused(mlxn_format_of_groups(MLXN_QUANT_AFFINE, 7, 64, &format, &error), MLXN_ERR_UNSUPPORTED, &error, "7 bits");
    refused(mlxn_dequantize_row(MLXN_FORMAT_AFFINE4_G32, bytes, 32, x, &error), MLXN_ERR_UNSUPPORTED, &error,
            "dequantize affine4_g32: scales lie apart");
    refused(mlxn_quantize_row(MLXN_FORMAT_MLX_NVFP4, x, 32, bytes, &error), MLXN_ERR_UNSUPPORTED, &error, "apart");
    refused(mlxn_quantize_groups(MLXN_FORMAT_AFFINE4_G64, x, 32, &row, &error), MLXN_ERR_ARGUMENT, &error,
            "cols is 32, want a multiple of 64");
    refused(mlxn_quantize_groups(MLXN_FORMAT_MLX_MXFP4, x, 32, &row, &error), MLXN_ERR_ARGUMENT, &error,
            "dtype of the scales is f16, want u8");
    refused(mlxn_quantize_groups(MLXN_FORMAT_Q4_0, x, 32, &row, &error), MLXN_ERR_ARGUMENT, &error, "has no groups");
    x[5] = 70000.0f;
    refused(mlxn_quantize_groups(MLXN_FORMAT_AFFINE4_G32, x, 32, &row, &error), MLXN_ERR_ARGUMENT, &error,
            "element 5 is 70000");
    row.biases = NULL;
    refused(mlxn_dequantize_groups(MLXN_FORMAT_AFFINE4_G32, &row, 32, x, &error), MLXN_ERR_ARGUMENT, &error,
            "biases is NULL");
    row.scale_dtype = MLXN_U8, row.global_scale = 2;
    refused(mlxn_dequantize_groups(MLXN_FORMAT_MLX_MXFP8, &row, 32, x, &error), MLXN_ERR_ARGUMENT, &error,
            "global_scale is 2");
}

int main(void) {
    check_digests();
    check_small_floats();
    check_errors();
    mlxn_mapping map;
    mlxn_error error;
    if (mlxn_map_file("tests/vectors/quant/mlx.bin", &map, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    cursor = map.data;
    end = map.data + map.size;
    CHECK(!memcmp(take(8), "MLXNQNT1", 8), "another kind of file");
    mlxn_device *device = NULL;
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 1};
    CHECK(!mlxn_device_create(&desc, &device, &error), "%s", error.message);
    unsigned records = 0;
    for (; cursor < end; records++) {
        record r;
        read_record(&r);
        check_decoding(&r);
        check_encoding(&r);
        check_weight(device, &r);
    }
    CHECK(records > 36, "only %u records", records);
    mlxn_device_release(&device);
    mlxn_unmap_file(&map);
    return TEST_DONE();
}
