/* Promise: a stack of matrices is as good as its matrices one by one. Expert-routed products have the bits of plain
 * ones with the matrix alone, in both precisions, for any number of threads and however the ids lie; gaps between the
 * matrices are skipped; rows read back; what does not fit is refused. */
#include <mlxn/mlxn.h>

#include "base/base.h"
#include "test.h"

enum { EXPERTS = 5, ROWS = 37, COLS = 256, TOKENS = 23, TOP = 3, SLOTS = TOKENS * TOP, GAP = 24 };

static uint32_t state = 1;
static float noise(void) {
    state = state * 1664525u + 1013904223u;
    return ((float)(state >> 8) - 8388608.0f) / 8388608.0f;
}

static mlxn_buffer *fill(mlxn_device *device, const void *data, uint64_t bytes) {
    mlxn_buffer *buffer = NULL;
    mlxn_error error;
    CHECK(!mlxn_buffer_create(device, bytes, &buffer, &error) && !mlxn_buffer_write(buffer, 0, data, bytes, &error),
          "%s", error.message);
    return buffer;
}

/* The matrices as bytes: `stride` apart, scales and biases close together. */
typedef struct source {
    mlxn_format format;
    bool grouped;
    uint64_t row_bytes, stride;
    uint8_t data[EXPERTS * (ROWS * COLS * 4 + GAP)];
    uint16_t scales[EXPERTS * ROWS * COLS / 32], biases[EXPERTS * ROWS * COLS / 32];
    uint64_t groups; /* of a row */
} source;

static void make_source(source *s, mlxn_format format) {
    mlxn_group_info info;
    *s = (source){.format = format};
    s->grouped = mlxn_format_get_groups(format, &info);
    s->groups = s->grouped ? COLS / info.group_size : 0;
    CHECK(!mlxn_format_row_bytes(format, COLS, &s->row_bytes, NULL), "%d", (int)format);
    s->stride = ROWS * s->row_bytes + GAP;
    memset(s->data, 0xff, sizeof s->data);
    for (uint64_t r = 0; r < EXPERTS * ROWS; r++) {
        float row[COLS];
        for (int k = 0; k < COLS; k++) row[k] = noise();
        uint8_t *to = s->data + r / ROWS * s->stride + r % ROWS * s->row_bytes;
        mlxn_group_row parts = {to, s->scales + r * s->groups, s->biases + r * s->groups, MLXN_BF16, 0, false};
        mlxn_status status = s->grouped ? mlxn_quantize_groups(format, row, COLS, &parts, NULL)
                                        : mlxn_quantize_row(format, row, COLS, to, NULL);
        CHECK(!status, "%s", mlxn_format_name(format));
    }
}

/* Matrix `first` and those behind it, `experts` in all. */
static mlxn_weight *make_weight(mlxn_device *device, const source *s, uint64_t first, uint64_t experts) {
    mlxn_weight *weight = NULL;
    mlxn_error error;
    mlxn_buffer *data = fill(device, s->data, sizeof s->data);
    mlxn_buffer *scales = fill(device, s->scales, sizeof s->scales);
    mlxn_buffer *biases = fill(device, s->biases, sizeof s->biases);
    uint64_t at = first * ROWS * s->groups * 2;
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = s->format,
                             .rows = ROWS,
                             .cols = COLS,
                             .data = data,
                             .offset = first * s->stride,
                             .experts = experts,
                             .expert_stride = s->stride,
                             .scales = s->grouped ? scales : NULL,
                             .scales_offset = at,
                             .biases = s->grouped ? biases : NULL,
                             .biases_offset = at,
                             .scale_dtype = MLXN_BF16};
    CHECK(!mlxn_weight_create(device, &desc, &weight, &error), "%s", error.message);
    mlxn_buffer_release(&data);
    mlxn_buffer_release(&scales);
    mlxn_buffer_release(&biases);
    return weight;
}

static float x_values[SLOTS * COLS];
static uint32_t ids_values[SLOTS];

/* One row of x per token, or per slot. */
static void run_routed(mlxn_device *device, mlxn_weight *w, bool per_slot, float *out) {
    mlxn_error error;
    mlxn_encoder *encoder = NULL;
    mlxn_buffer *x = fill(device, x_values, sizeof x_values), *ids = fill(device, ids_values, sizeof ids_values);
    mlxn_buffer *y = fill(device, x_values, SLOTS * ROWS * sizeof(float));
    CHECK(!mlxn_encoder_create(device, &encoder, &error) &&
              !mlxn_matmul_id(encoder, mlxn_tensor_2d(x, 0, MLXN_F32, per_slot ? SLOTS : TOKENS, COLS), w,
                              mlxn_tensor_2d(ids, 0, MLXN_U32, TOKENS, TOP), (mlxn_tensor){0},
                              mlxn_tensor_2d(y, 0, MLXN_F32, SLOTS, ROWS)) &&
              !mlxn_encoder_commit_and_wait(encoder, "routed", &error),
          "%s", error.message);
    CHECK(!mlxn_buffer_read(y, 0, out, SLOTS * ROWS * sizeof(float), &error), "%s", error.message);
    mlxn_encoder_destroy(encoder);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&ids);
    mlxn_buffer_release(&y);
}

/* All rows of x times one matrix. */
static void run_plain(mlxn_device *device, mlxn_weight *w, float *out) {
    mlxn_error error;
    mlxn_encoder *encoder = NULL;
    mlxn_buffer *x = fill(device, x_values, sizeof x_values),
                *y = fill(device, x_values, SLOTS * ROWS * sizeof(float));
    CHECK(!mlxn_encoder_create(device, &encoder, &error) &&
              !mlxn_matmul(encoder, mlxn_tensor_2d(x, 0, MLXN_F32, SLOTS, COLS), w, (mlxn_tensor){0},
                           (mlxn_tensor){0}, mlxn_tensor_2d(y, 0, MLXN_F32, SLOTS, ROWS)) &&
              !mlxn_encoder_commit_and_wait(encoder, "plain", &error),
          "%s", error.message);
    CHECK(!mlxn_buffer_read(y, 0, out, SLOTS * ROWS * sizeof(float), &error), "%s", error.message);
    mlxn_encoder_destroy(encoder);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
}

static void check_bits(mlxn_device *device, const source *s, const char *what) {
    static float plain[EXPERTS][SLOTS * ROWS], routed[SLOTS * ROWS];
    float row[COLS], alone[COLS];
    mlxn_weight *stack = make_weight(device, s, 0, EXPERTS);
    CHECK(mlxn_weight_experts(stack) == EXPERTS && mlxn_weight_rows(stack) == ROWS, "%s: shape", what);
    for (uint64_t e = 0; e < EXPERTS; e++) {
        mlxn_weight *one = make_weight(device, s, e, 1);
        run_plain(device, one, plain[e]);
        for (uint64_t r = 0; r < ROWS; r++)
            CHECK(!mlxn_weight_read_row(stack, e * ROWS + r, row, NULL) &&
                      !mlxn_weight_read_row(one, r, alone, NULL) && !memcmp(row, alone, sizeof row),
                  "%s: row %u of matrix %u", what, (unsigned)r, (unsigned)e);
        mlxn_weight_release(&one);
    }
    for (int per_slot = 0; per_slot < 2; per_slot++) {
        run_routed(device, stack, per_slot, routed);
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            uint32_t id = ids_values[slot], x_row = per_slot ? slot : slot / TOP;
            for (uint32_t n = 0; n < ROWS; n++) {
                float want = id < EXPERTS ? plain[id][x_row * ROWS + n] : 0.0f, got = routed[slot * ROWS + n];
                CHECK(!memcmp(&want, &got, 4), "%s: slot %u (matrix %u), row %u: %a, want %a", what, slot, id, n, got,
                      want);
            }
        }
    }
    CHECK(mlxn_weight_read_row(stack, EXPERTS * ROWS, row, NULL) == MLXN_ERR_ARGUMENT, "%s: past the end", what);
    mlxn_weight_release(&stack);
}

static void check_refused(mlxn_device *device, const source *s) {
    mlxn_error error;
    mlxn_weight *weight = NULL;
    mlxn_buffer *data = fill(device, s->data, sizeof s->data);
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .format = s->format,
                             .rows = ROWS,
                             .cols = COLS,
                             .data = data,
                             .experts = EXPERTS,
                             .expert_stride = s->stride - GAP - 1};
    CHECK(mlxn_weight_create(device, &desc, &weight, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "expert_stride is"),
          "%s", error.message);
    desc.expert_stride = sizeof s->data;
    CHECK(mlxn_weight_create(device, &desc, &weight, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "does not fit its buffer"),
          "%s", error.message);
    desc.experts = UINT64_MAX;
    CHECK(mlxn_weight_create(device, &desc, &weight, &error) == MLXN_ERR_LIMIT, "%s", error.message);
    desc.experts = 1, desc.format = MLXN_FORMAT_AFFINE4_G64, desc.scale_dtype = MLXN_BF16;
    CHECK(mlxn_weight_create(device, &desc, &weight, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "scales is NULL"),
          "%s", error.message);
    desc.scales = data, desc.scale_dtype = MLXN_U8;
    CHECK(mlxn_weight_create(device, &desc, &weight, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "dtype of the scales is u8"),
          "%s", error.message);
    mlxn_buffer_release(&data);
    /* A stack is no matrix. */
    mlxn_encoder *encoder = NULL;
    mlxn_weight *stack = make_weight(device, s, 0, EXPERTS);
    mlxn_buffer *x = fill(device, x_values, sizeof x_values);
    CHECK(!mlxn_encoder_create(device, &encoder, &error), "%s", error.message);
    mlxn_matmul(encoder, mlxn_tensor_2d(x, 0, MLXN_F32, 1, COLS), stack, (mlxn_tensor){0}, (mlxn_tensor){0},
                mlxn_tensor_2d(x, 4096, MLXN_F32, 1, ROWS));
    CHECK(mlxn_encoder_status(encoder, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "w: is a stack of 5 matrices, want one"),
          "%s", error.message);
    mlxn_encoder_destroy(encoder);
    mlxn_weight_release(&stack);
    mlxn_buffer_release(&x);
}

int main(void) {
    static const mlxn_format formats[] = {MLXN_FORMAT_F32,         MLXN_FORMAT_F16,        MLXN_FORMAT_BF16,
                                          MLXN_FORMAT_Q4_0,        MLXN_FORMAT_Q5_1,       MLXN_FORMAT_Q8_0,
                                          MLXN_FORMAT_AFFINE4_G64, MLXN_FORMAT_AFFINE3_G32};
    static source s;
    for (int i = 0; i < SLOTS * COLS; i++) x_values[i] = noise();
    for (uint32_t i = 0; i < SLOTS; i++) { /* most slots to one matrix, some to a matrix that is not there */
        state = state * 1664525u + 1013904223u;
        uint32_t r = state >> 24;
        ids_values[i] = r < 128 ? 2 : r % (EXPERTS + 1);
    }
    for (uint32_t precision = 0; precision < 2; precision++)
        for (uint32_t threads = 1; threads <= 2; threads++) {
            mlxn_device *device = NULL;
            mlxn_error error;
            mlxn_device_desc desc = {.struct_size = sizeof desc,
                                     .threads = threads,
                                     .precision = precision ? MLXN_PRECISION_F32 : MLXN_PRECISION_FAST};
            CHECK(!mlxn_device_create(&desc, &device, &error), "%s", error.message);
            if (!device) return TEST_DONE();
            state = 7;
            for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
                make_source(&s, formats[f]);
                check_bits(device, &s, mlxn_format_name(formats[f]));
            }
            make_source(&s, MLXN_FORMAT_Q4_0);
            if (precision && threads == 1) check_refused(device, &s);
            mlxn_device_release(&device);
        }
    return TEST_DONE();
}
