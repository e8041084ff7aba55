/* Promise: another name of a copy, of a gather, of an order or of a gradient does what its row says: the call that
 * the row describes (views of a tensor, values of parameters) gives, on the device, what the name means element by
 * element. */
#include "ops_alias_walk.h"

/* ---- copies ---- */

static void strided_copy(void) {
    mlxn_tensor x = filled(60), out = rows(MLXN_F32, 4, 5);
    mlxn_copy(encoder, view(x, 0, 2, D(4, 5), S(11, 2)), out);
    run(now);
    for (uint64_t i = 0; i < 20; i++) is(out, i, (double)f(x)[i / 5 * 11 + i % 5 * 2]);
}
static void slice_2d_cols(void) {
    mlxn_tensor x = filled(36), out = rows(MLXN_F32, 4, 5);
    mlxn_copy(encoder, view(x, 3, 2, D(4, 5), S(9, 1)), out);
    run(now);
    for (uint64_t i = 0; i < 20; i++) is(out, i, (double)f(x)[i / 5 * 9 + 3 + i % 5]);
}
static void copy_2d_cols_into(void) {
    mlxn_tensor x = filled(12), out = zeros(4, 9);
    mlxn_copy(encoder, view(x, 0, 2, D(4, 3), S(3, 1)), view(out, 2, 2, D(4, 3), S(9, 1)));
    run(now);
    for (uint64_t i = 0; i < 36; i++) is(out, i, i % 9 < 2 || i % 9 > 4 ? 0 : (double)f(x)[i / 9 * 3 + i % 9 - 2]);
}
static void parts(void) { /* qkv_split, split */
    static const uint64_t widths[] = {4, 2, 3};
    mlxn_tensor x = filled(5 * 9), out[3];
    for (uint64_t p = 0, at = 0; p < 3; at += widths[p++]) {
        out[p] = rows(MLXN_F32, 5, widths[p]);
        mlxn_copy(encoder, view(x, at, 2, D(5, widths[p]), S(9, 1)), out[p]);
    }
    run(now);
    for (uint64_t p = 0, at = 0; p < 3; at += widths[p++])
        for (uint64_t i = 0; i < 5 * widths[p]; i++)
            is(out[p], i, (double)f(x)[i / widths[p] * 9 + at + i % widths[p]]);
}
static void concat(void) {
    mlxn_tensor a = filled(10), b = filled(15), out = zeros(5, 5);
    mlxn_copy(encoder, view(a, 0, 2, D(5, 2), S(2, 1)), view(out, 0, 2, D(5, 2), S(5, 1)));
    mlxn_copy(encoder, view(b, 0, 2, D(5, 3), S(3, 1)), view(out, 2, 2, D(5, 3), S(5, 1)));
    run(now);
    for (uint64_t i = 0; i < 25; i++)
        is(out, i, (double)(i % 5 < 2 ? f(a)[i / 5 * 2 + i % 5] : f(b)[i / 5 * 3 + i % 5 - 2]));
}
static void set(void) {
    mlxn_tensor x = filled(6), out = zeros(6, 7);
    mlxn_copy(encoder, view(x, 0, 2, D(2, 3), S(3, 1)), view(out, 8, 2, D(2, 3), S(14, 2)));
    run(now);
    double want[42] = {0};
    for (int i = 0; i < 6; i++) want[8 + i / 3 * 14 + i % 3 * 2] = (double)f(x)[i];
    for (uint64_t i = 0; i < 42; i++) is(out, i, want[i]);
}
/* [H, W, C] in blocks of p x p, after a pad where p does not divide H or W. */
static void blocks(uint64_t p, uint64_t height, uint64_t width) {
    enum { C = 3 };
    uint64_t ph = (height + p - 1) / p * p, pw = (width + p - 1) / p * p;
    mlxn_tensor x = filled(height * width * C), padded = row(MLXN_F32, ph * pw * C), out = row(MLXN_F32, ph * pw * C);
    mlxn_pad_params pad = {.mode = MLXN_PAD_CONSTANT};
    mlxn_pad(encoder, mlxn_tensor_3d(memory, x.offset, MLXN_F32, height, width, C),
             mlxn_tensor_3d(memory, padded.offset, MLXN_F32, ph, pw, C), &pad);
    int64_t line = (int64_t)(pw * C), step = (int64_t)(p * C);
    mlxn_copy(encoder, view(padded, 0, 4, D(ph / p, pw / p, p, p * C), S((int64_t)p * line, step, line, 1)),
              mlxn_tensor_4d(memory, out.offset, MLXN_F32, ph / p, pw / p, p, p * C));
    run(now);
    for (uint64_t i = 0; i < ph * pw * C; i++) {
        uint64_t c = i % C, dx = i / C % p, dy = i / C / p % p, bx = i / C / p / p % (pw / p), by = i / C / p / pw;
        uint64_t at_y = by * p + dy, at_x = bx * p + dx;
        is(out, i, at_y < height && at_x < width ? (double)f(x)[(at_y * width + at_x) * C + c] : 0);
    }
}
static void window_partition(void) { blocks(3, 7, 8); }
static void block_merge(void) { blocks(2, 4, 6); }
static void patch_merge(void) { blocks(4, 8, 4); }
static void transpose_2d(void) {
    mlxn_tensor x = filled(28), out = rows(MLXN_F32, 7, 4);
    mlxn_copy(encoder, view(x, 0, 2, D(7, 4), S(1, 7)), out);
    run(now);
    for (uint64_t i = 0; i < 28; i++) is(out, i, (double)f(x)[i % 4 * 7 + i / 4]);
}
static void permute_021(void) {
    mlxn_tensor x = filled(24), out = cube(MLXN_F32, 3, 2, 4); /* [2, 3, 4] to [3, 2, 4] */
    mlxn_copy(encoder, view(x, 0, 3, D(3, 2, 4), S(4, 12, 1)), out);
    run(now);
    for (uint64_t i = 0; i < 24; i++) is(out, i, (double)f(x)[(i / 4 % 2 * 3 + i / 8) * 4 + i % 4]);
}
static void transpose_last2(void) {
    mlxn_tensor x = filled(24), out = cube(MLXN_F32, 2, 4, 3);
    mlxn_copy(encoder, view(x, 0, 3, D(2, 4, 3), S(12, 1, 4)), out);
    run(now);
    for (uint64_t i = 0; i < 24; i++) is(out, i, (double)f(x)[i / 12 * 12 + i % 3 * 4 + i / 3 % 4]);
}
static void repeat_tiled(void) { /* head h reads head h mod 2 */
    mlxn_tensor x = filled(3 * 2 * 4), out = block(MLXN_F32, 3, 3, 2, 4);
    mlxn_copy(encoder, view(x, 0, 4, D(3, 3, 2, 4), S(8, 0, 4, 1)), out);
    run(now);
    for (uint64_t t = 0; t < 3; t++)
        for (uint64_t head = 0; head < 6; head++)
            for (uint64_t k = 0; k < 4; k++)
                is(out, (t * 6 + head) * 4 + k, (double)f(x)[(t * 2 + head % 2) * 4 + k]);
}
static void repeat(void) { /* each row three times */
    mlxn_tensor x = filled(8), out = cube(MLXN_F32, 2, 3, 4);
    mlxn_copy(encoder, view(x, 0, 3, D(2, 3, 4), S(4, 0, 1)), out);
    run(now);
    for (uint64_t i = 0; i < 24; i++) is(out, i, (double)f(x)[i / 12 * 4 + i % 4]);
}
static void row_sum_backward(void) {
    mlxn_tensor dy = filled(5), dx = rows(MLXN_F32, 5, 6);
    mlxn_copy(encoder, view(dy, 0, 2, D(5, 6), S(1, 0)), dx);
    run(now);
    for (uint64_t i = 0; i < 30; i++) is(dx, i, (double)f(dy)[i / 6]);
}
static void gather_f16_seq(void) {
    mlxn_tensor x = row(MLXN_F16, 3), out = row(MLXN_F32, 3);
    h(x)[0] = 0x3c00, h(x)[1] = 0xc100, h(x)[2] = 0x0001; /* 1, -2.5, the smallest */
    mlxn_cast(encoder, x, out);
    run(now);
    is(out, 0, 1), is(out, 1, -2.5);
    CHECK(f(out)[2] == 0x1p-24f, "%g", (double)f(out)[2]);
}

/* ---- by index ---- */

enum { INDICES = 4 };
static const uint32_t places[INDICES] = {2, 0, 4, 1};
static mlxn_tensor some_places(void) {
    mlxn_tensor t = row(MLXN_U32, INDICES);
    memcpy(u(t), places, sizeof places);
    return t;
}
static void take(void) { /* and relative_position_bias, whose index names rows of a table */
    mlxn_tensor x = filled(15), out = rows(MLXN_F32, INDICES, 3);
    mlxn_gather(encoder, view(x, 0, 2, D(5, 3), S(3, 1)), some_places(), out);
    run(now);
    for (uint64_t i = 0; i < INDICES * 3; i++) is(out, i, (double)f(x)[places[i / 3] * 3 + i % 3]);
}
static void set_rows(void) {
    mlxn_tensor x = filled(INDICES * 3), out = zeros(5, 3);
    mlxn_scatter(encoder, view(x, 0, 2, D(INDICES, 3), S(3, 1)), some_places(), out);
    run(now);
    double want[15] = {0};
    for (int i = 0; i < INDICES * 3; i++) want[places[i / 3] * 3 + (uint32_t)i % 3] = (double)f(x)[i];
    for (uint64_t i = 0; i < 15; i++) is(out, i, want[i]);
}
static void rows_backward(
    void) { /* get_rows_backward, embedding_backward: a row that came twice has both gradients */
    mlxn_tensor dy = filled((INDICES + 1) * 3), index = row(MLXN_U32, INDICES + 1), dx = zeros(5, 3);
    memcpy(u(index), places, sizeof places);
    u(index)[INDICES] = places[0];
    mlxn_scatter_add(encoder, view(dy, 0, 2, D(INDICES + 1, 3), S(3, 1)), index, dx);
    run(now);
    double want[15] = {0};
    for (uint32_t i = 0; i < (INDICES + 1) * 3; i++) want[u(index)[i / 3] * 3 + i % 3] += (double)f(dy)[i];
    for (uint64_t i = 0; i < 15; i++) is(dx, i, want[i]);
}

/* Along axis 0 of [5, 3], with 4 indices in each column: views have that axis last. */
static mlxn_tensor index_columns(bool twice) {
    mlxn_tensor index = rows(MLXN_U32, INDICES, 3);
    for (uint32_t i = 0; i < INDICES * 3; i++)
        u(index)[i] = twice && i / 3 == 3 ? places[0] : (places[i / 3] + i % 3) % 5;
    return view(index, 0, 2, D(3, INDICES), S(1, 3));
}
static void take_along_axis(void) {
    mlxn_tensor x = filled(15), index = index_columns(false), out = rows(MLXN_F32, INDICES, 3);
    mlxn_take_along(encoder, view(x, 0, 2, D(3, 5), S(1, 3)), index, view(out, 0, 2, D(3, INDICES), S(1, 3)));
    run(now);
    for (uint64_t i = 0; i < INDICES * 3; i++) is(out, i, (double)f(x)[u(index)[i] * 3 + i % 3]);
}
static void put_along_axis(void) {
    mlxn_tensor x = filled(INDICES * 3), index = index_columns(false), out = zeros(5, 3);
    mlxn_put_along(encoder, view(x, 0, 2, D(3, INDICES), S(1, 3)), index, view(out, 0, 2, D(3, 5), S(1, 3)));
    run(now);
    double want[15] = {0};
    for (uint32_t i = 0; i < INDICES * 3; i++) want[u(index)[i] * 3 + i % 3] = (double)f(x)[i];
    for (uint64_t i = 0; i < 15; i++) is(out, i, want[i]);
}
static void add_along_axis(void) { /* take_along_backward, scatter_add_axis: from zeros */
    mlxn_tensor x = filled(INDICES * 3), index = index_columns(true), out = zeros(5, 3);
    mlxn_put_along_add(encoder, view(x, 0, 2, D(3, INDICES), S(1, 3)), index, view(out, 0, 2, D(3, 5), S(1, 3)));
    run(now);
    double want[15] = {0};
    for (uint32_t i = 0; i < INDICES * 3; i++) want[u(index)[i] * 3 + i % 3] += (double)f(x)[i];
    for (uint64_t i = 0; i < 15; i++) is(out, i, want[i]);
}
static void diag(void) {
    mlxn_tensor x = filled(5), index = row(MLXN_U32, 5), out = zeros(5, 5);
    for (uint32_t i = 0; i < 5; i++) u(index)[i] = i;
    mlxn_put_along(encoder, view(x, 0, 2, D(5, 1), S(1, 1)), view(index, 0, 2, D(5, 1), S(1, 1)), out);
    run(now);
    for (uint64_t i = 0; i < 25; i++) is(out, i, i / 5 == i % 5 ? (double)f(x)[i / 5] : 0);
}

/* ---- values, masks, order ---- */

static void fill_with(double value) {
    mlxn_tensor out = filled(20);
    mlxn_fill_value_params p = {value};
    mlxn_fill_value(encoder, out, &p);
    run(now);
    for (uint64_t i = 0; i < 20; i++) is(out, i, value);
}
static void fill_any(void) { fill_with(2.5); }
static void fill_zero(void) { fill_with(0); }
static void roll(void) {
    mlxn_tensor x = filled(20), out = rows(MLXN_F32, 4, 5);
    mlxn_pad_params p = {.mode = MLXN_PAD_WRAP, .before = {1, 3}};
    mlxn_pad(encoder, view(x, 0, 2, D(4, 5), S(5, 1)), out, &p);
    run(now);
    for (uint64_t i = 0; i < 20; i++) is(out, (i / 5 + 1) % 4 * 5 + (i % 5 + 3) % 5, (double)f(x)[i]);
}
static void flip(void) {
    mlxn_tensor x = filled(20), out = rows(MLXN_F32, 4, 5);
    mlxn_pad_params p = {.mode = MLXN_PAD_CONSTANT, .flip = 2};
    mlxn_pad(encoder, view(x, 0, 2, D(4, 5), S(5, 1)), out, &p);
    run(now);
    for (uint64_t i = 0; i < 20; i++) is(out, i, (double)f(x)[i / 5 * 5 + 4 - i % 5]);
}
static void below(float value, int32_t diagonal) {
    mlxn_tensor x = filled(24), out = rows(MLXN_F32, 4, 6);
    mlxn_diag_mask_params p = {.diagonal = diagonal, .value = value};
    mlxn_diag_mask(encoder, view(x, 0, 2, D(4, 6), S(6, 1)), out, &p);
    run(now);
    for (int64_t i = 0; i < 24; i++) is(out, (uint64_t)i, i % 6 > i / 6 + diagonal ? (double)value : (double)f(x)[i]);
}
static void diag_mask_inf(void) { below(-INFINITY, 2); }
static void tri(void) { below(0, 0); }
static void argsort_desc(void) {
    mlxn_tensor x = filled(30), out = rows(MLXN_U32, 2, 15);
    mlxn_argsort_params p = {1};
    mlxn_argsort(encoder, view(x, 0, 2, D(2, 15), S(15, 1)), out, &p);
    run(now);
    for (uint32_t i = 0; i < 30; i++) {
        const float *line = f(x) + i / 15 * 15;
        CHECK(u(out)[i] < 15 && (i % 15 == 0 || line[u(out)[i - 1]] >= line[u(out)[i]]), "%s: element %u", now, i);
    }
}
static void argpartition(void) { /* the indices of the 4 largest; sorted as well */
    mlxn_tensor x = filled(15), out = rows(MLXN_U32, 1, 4), none = {0};
    mlxn_top_k(encoder, view(x, 0, 2, D(1, 15), S(15, 1)), out, none);
    run(now);
    for (uint32_t i = 0; i < 15; i++) {
        uint32_t larger = 0, found = 4;
        for (uint32_t j = 0; j < 15; j++) larger += f(x)[j] > f(x)[i];
        for (uint32_t j = 0; j < 4; j++) found = u(out)[j] == i ? j : found;
        CHECK(found == (larger < 4 ? larger : 4), "%s: element %u stands in place %u of 4", now, i, found);
    }
}
static void softmax_of(bool masked) {
    mlxn_tensor x = filled(24), mask = rows(MLXN_F32, 3, 4), out = cube(MLXN_F32, 2, 3, 4), none = {0};
    for (int i = 0; i < 12; i++) f(mask)[i] = i % 5 == 4 ? -INFINITY : (float)i * 0.1f;
    mlxn_softmax_params p = {masked ? 0.3f : 1, !masked};
    mlxn_softmax(encoder, view(x, 0, 3, D(2, 3, 4), S(12, 4, 1)), masked ? mask : none, out, &p);
    run(now);
    for (uint64_t i = 0; i < 24; i++) {
        double v[4], sum = 0;
        for (uint64_t j = 0; j < 4; j++) {
            v[j] = (double)p.scale * (double)f(x)[i / 4 * 4 + j] + (masked ? (double)f(mask)[i % 12 / 4 * 4 + j] : 0);
            sum += exp(v[j]);
        }
        is(out, i, masked ? exp(v[i % 4]) / sum : v[i % 4] - log(sum));
    }
}
static void scale_mask_softmax(void) { softmax_of(true); }
static void log_softmax(void) { softmax_of(false); }

/* ---- calibration, training ---- */

static void qdq(mlxn_format format, uint64_t row_bytes) {
    mlxn_tensor x = filled(64), out = row(MLXN_F32, 64);
    mlxn_qdq_params p = {format};
    mlxn_qdq(encoder, x, out, &p);
    run(now);
    uint8_t packed[128];
    float want[64];
    mlxn_error error = {0};
    CHECK(row_bytes <= sizeof packed && !mlxn_quantize_row(format, f(x), 64, packed, &error) &&
              !mlxn_dequantize_row(format, packed, 64, want, &error),
          "%s", error.message);
    CHECK(!memcmp(want, f(out), sizeof want), "%s: other bits than those of a row", now);
    CHECK(memcmp(want, f(x), sizeof want), "%s: nothing is rounded", now);
}
static void qdq_q4_0(void) { qdq(MLXN_FORMAT_Q4_0, 36); }
static void qdq_q8_0(void) { qdq(MLXN_FORMAT_Q8_0, 68); }
static void adam_update(void) {
    mlxn_tensor grad = filled(9), m = filled(9), second = filled(9), p = filled(9);
    for (int i = 0; i < 9; i++) f(second)[i] = (float)(i + 1), f(p)[i] = (float)i;
    float m0[9], v0[9];
    memcpy(m0, f(m), sizeof m0), memcpy(v0, f(second), sizeof v0);
    mlxn_adamw_params a = {
        .lr = 0.5f, .beta1 = 0.75f, .beta2 = 0.875f, .eps = 0.125f, .correction1 = 0.25f, .correction2 = 0.5f};
    mlxn_adamw(encoder, grad, m, second, p, &a);
    run(now);
    for (uint64_t i = 0; i < 9; i++) {
        double g = (double)f(grad)[i], mi = 0.75 * (double)m0[i] + 0.25 * g,
               vi = 0.875 * (double)v0[i] + 0.125 * g * g;
        is(m, i, mi), is(second, i, vi);
        is(p, i, (double)i - 0.5 * (mi / 0.25) / (sqrt(vi / 0.5) + 0.125));
    }
}

static const alias_case cases[] = {
    {"strided_copy", "strides {sr, sc}", strided_copy},
    {"slice_2d_cols", "x is the slice", slice_2d_cols},
    {"copy_2d_cols_into", "out is the slice", copy_2d_cols_into},
    {"qkv_split", "three copies", parts},
    {"split", "a copy per slice", parts},
    {"concat", "into slices of out", concat},
    {"set", "strided view of the tensor", set},
    {"window_partition", "[H/w, W/w, w, w C] by strides, after pad", window_partition},
    {"block_merge_2x2", "[H/2, W/2, 2, 2 C] by strides", block_merge},
    {"patch_merge", "[H/p, W/p, p, p C] by strides", patch_merge},
    {"transpose_2d", "two strides exchanged", transpose_2d},
    {"permute_021", "the first two axes exchanged", permute_021},
    {"transpose_last2", "the last two axes exchanged", transpose_last2},
    {"repeat_tiled", "[T, H/hg, hg, K] with stride 0 on axis 1", repeat_tiled},
    {"repeat", "stride 0 on the repeated axis", repeat},
    {"row_sum_backward", "d_out with stride 0 on axis 1", row_sum_backward},
    {"gather_f16_seq", "f16 to f32", gather_f16_seq},
    {"take", "", take},
    {"relative_position_bias", "of the table's rows", take},
    {"set_rows", "", set_rows},
    {"get_rows_backward", "", rows_backward},
    {"embedding_backward", "", rows_backward},
    {"take_along_axis", "a view that has it last", take_along_axis},
    {"put_along_axis", "a view that has it last", put_along_axis},
    {"take_along_backward", "out starts as zeros", add_along_axis},
    {"scatter_add_axis", "a view that has it last", add_along_axis},
    {"diag", "x: [N, 1] into zeros of [N, N], index r in row r", diag},
    {"fill", "", fill_any},
    {"zero_buffer", "value 0", fill_zero},
    {"roll", "mode WRAP", roll},
    {"flip", "flip", flip},
    {"diag_mask_inf", "value -infinity, diagonal = n_past", diag_mask_inf},
    {"tri", "value 0", tri},
    {"argsort_desc", "descending", argsort_desc},
    {"argpartition", "sorted as well", argpartition},
    {"scale_mask_softmax", "mask: [seq_q, cols]; x as [.., seq_q, cols]", scale_mask_softmax},
    {"log_softmax", "log = 1", log_softmax},
    {"qdq_q4_0", "format Q4_0", qdq_q4_0},
    {"qdq_q8_0", "format Q8_0", qdq_q8_0},
    {"adam_update", "weight_decay 0", adam_update},
};

int main(void) {
    open_device();
    walk_aliases(VIEWS, cases, sizeof cases / sizeof *cases);
    close_device();
    return TEST_DONE();
}
