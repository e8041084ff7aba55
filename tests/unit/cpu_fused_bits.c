/* Promise: on the CPU a fused operation gives the bits of the operations that it stands for, run one after another
 * with a binary32 tensor between them: rms_norm and elementwise_mul (rms_norm with w), rms_norm and elementwise_add
 * (norm_add), silu or gelu and elementwise_mul (silu_mul, gelu_mul), rms_norm and rope (norm_rope), matmul and
 * elementwise_add (matmul with a residual). At every instruction-set level of this machine, with one thread and two,
 * over odd sizes, strides and alignments; matmul in every weight format and both precisions. */
#include "../test.h"

#include <math.h>
#include <mlxn/mlxn.h>

static uint64_t state = 88172645463325252u;
static uint32_t draw(void) { /* xorshift (Marsaglia 2003) */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 21);
}

/* One device, and a buffer from which tensors are cut in turn. */
typedef struct rig {
    mlxn_device *device;
    mlxn_buffer *buffer;
    mlxn_encoder *encoder;
    uint64_t used;
    char where[48];
} rig;
enum { RIG_BYTES = 8 << 20 };

/* A dense tensor of unset contents; successive ones lie on different alignments. */
static mlxn_tensor cut(rig *r, uint64_t d0, uint64_t d1, uint64_t d2, mlxn_dtype dtype) {
    mlxn_tensor t = mlxn_tensor_3d(r->buffer, r->used, dtype, d0, d1, d2);
    r->used += 4 * (d0 * d1 * d2 + 1 + draw() % 5);
    CHECK(r->used <= RIG_BYTES, "%s: the test's buffer is too small", r->where);
    return t;
}
static float *floats(const mlxn_tensor *t) {
    return (float *)(void *)((uint8_t *)mlxn_buffer_contents(t->buffer) + t->offset);
}
/* Numbers of all sizes; with `extremes` also zeros, subnormals, infinities and what overflows. */
static mlxn_tensor random_tensor(rig *r, uint64_t d0, uint64_t d1, uint64_t d2, double scale, bool extremes) {
    static const float odd[] = {0.0f, -0.0f, 1e-41f, -1e-41f, 88.0f, -88.5f, 104.0f, -110.0f, 3e38f, -3e38f, 1e-20f};
    mlxn_tensor t = cut(r, d0, d1, d2, MLXN_F32);
    float *f = floats(&t);
    for (uint64_t i = 0; i < d0 * d1 * d2; i++) {
        f[i] = (float)(scale * ((double)(draw() % 200001) - 100000) * 1e-5);
        if (extremes && draw() % 7 == 0) f[i] = odd[draw() % (sizeof odd / sizeof odd[0])];
    }
    return t;
}
static mlxn_tensor result(rig *r, const mlxn_tensor *like, int byte) {
    mlxn_tensor t = cut(r, like->dims[0], like->dims[1], like->dims[2], MLXN_F32);
    memset(floats(&t), byte, mlxn_tensor_elements(&t) * 4);
    return t;
}
static mlxn_tensor matrix(mlxn_tensor t) { /* [1, m, n] as [m, n] */
    return mlxn_tensor_2d(t.buffer, t.offset, t.dtype, t.dims[1], t.dims[2]);
}
static mlxn_tensor vector(mlxn_tensor t) { return mlxn_tensor_1d(t.buffer, t.offset, t.dtype, t.dims[2]); }
/* A [d] vector seen under every row of `like`. */
static mlxn_tensor spread(mlxn_tensor w, const mlxn_tensor *like) {
    mlxn_tensor t = *like;
    t.offset = w.offset;
    for (uint32_t i = 0; i + 1 < t.rank; i++) t.strides[i] = 0;
    t.strides[t.rank - 1] = 1;
    return t;
}
/* The same dims with `gap` floats between the rows and, with `inner`, every second float only. */
static mlxn_tensor strided(rig *r, uint64_t d0, uint64_t d1, uint64_t d2, bool inner, double scale) {
    uint64_t step = inner ? 2 : 1, row = d2 * step + 3;
    mlxn_tensor t = random_tensor(r, d0, d1, row, scale, false);
    t.dims[2] = d2;
    t.strides[0] = (int64_t)(d1 * row);
    t.strides[1] = (int64_t)row;
    t.strides[2] = (int64_t)step;
    return t;
}

/* Runs what is recorded, compares, and gives the rig's memory back. */
static void compare(rig *r, mlxn_tensor fused, mlxn_tensor parts, const char *what, uint64_t rows, uint64_t cols) {
    mlxn_error error = {0};
    mlxn_status status = mlxn_encoder_commit_and_wait(r->encoder, what, &error);
    CHECK(!status, "%s, %s: %s", r->where, what, error.message);
    const float *a = floats(&fused), *b = floats(&parts);
    uint64_t n = mlxn_tensor_elements(&fused), i = 0;
    while (i < n && (!memcmp(a + i, b + i, 4) || (isnan(a[i]) && isnan(b[i])))) i++;
    CHECK(i == n, "%s, %s of %d x %d: element %d is %a, the parts give %a", r->where, what, (int)rows, (int)cols,
          (int)i, (double)a[i], (double)b[i]);
    r->used = 4;
}

/* The fused result starts as NaN and that of the parts as zero, so that equal bits mean that both were written. */
enum { FUSED = 0xff, PARTS = 0 };

static void check_gates(rig *r, uint64_t rows, uint64_t cols) {
    for (int gelu = 0; gelu < 2; gelu++) {
        mlxn_tensor gate = random_tensor(r, 1, rows, cols, 5, true), up = random_tensor(r, 1, rows, cols, 2, false);
        mlxn_tensor fused = result(r, &gate, FUSED), middle = result(r, &gate, PARTS);
        mlxn_tensor parts = result(r, &gate, PARTS);
        (gelu ? mlxn_gelu_mul : mlxn_silu_mul)(r->encoder, gate, up, fused);
        (gelu ? mlxn_gelu : mlxn_silu)(r->encoder, gate, middle);
        mlxn_elementwise_mul(r->encoder, middle, up, parts);
        compare(r, fused, parts, gelu ? "gelu_mul" : "silu_mul", rows, cols);
    }
}

static void check_norms(rig *r, uint64_t rows, uint64_t cols, int layout) {
    mlxn_rms_norm_params p = {layout ? 1e-5f : 1e-6f};
    for (int add = 0; add < 2; add++)
        for (int weight = !add; weight < 2; weight++) {
            mlxn_tensor x =
                layout ? strided(r, 1, rows, cols, layout == 2, 30) : random_tensor(r, 1, rows, cols, 30, 0);
            mlxn_tensor w = random_tensor(r, 1, 1, cols, 2, false),
                        residual = random_tensor(r, 1, rows, cols, 3, false);
            mlxn_tensor fused = result(r, &x, FUSED), middle = result(r, &x, PARTS), parts = result(r, &x, PARTS);
            mlxn_tensor none = {0}, v = weight ? vector(w) : none;
            if (add) {
                mlxn_norm_add(r->encoder, x, v, residual, fused, &p);
                mlxn_rms_norm(r->encoder, x, v, middle, &p);
                mlxn_elementwise_add(r->encoder, middle, residual, parts);
            } else {
                mlxn_rms_norm(r->encoder, x, v, fused, &p);
                mlxn_rms_norm(r->encoder, x, none, middle, &p);
                mlxn_elementwise_mul(r->encoder, middle, spread(w, &x), parts);
            }
            compare(r, fused, parts, add ? "norm_add" : "rms_norm with w", rows, cols);
        }
}

static void check_norm_rope(rig *r, uint64_t tokens, uint64_t heads, uint64_t d, uint32_t dims, int layout) {
    for (uint32_t form = 0; form < 8; form++) {
        uint64_t turned = dims ? dims : d;
        mlxn_tensor none = {0}, x = layout ? strided(r, tokens, heads, d, layout == 2, 20)
                                           : random_tensor(r, tokens, heads, d, 20, false);
        mlxn_tensor w = vector(random_tensor(r, 1, 1, d, 2, false));
        mlxn_tensor factors = vector(random_tensor(r, 1, 1, turned / 2, 1, false));
        for (uint64_t i = 0; i < turned / 2; i++) floats(&factors)[i] = 1 + (float)(draw() % 1000) * 0.01f;
        mlxn_tensor positions = vector(cut(r, 1, 1, tokens, MLXN_U32));
        for (uint64_t t = 0; t < tokens; t++) ((uint32_t *)(void *)floats(&positions))[t] = draw() % 40000;
        mlxn_tensor fused = result(r, &x, FUSED), middle = result(r, &x, PARTS), parts = result(r, &x, PARTS);
        mlxn_norm_rope_params p = {1e-6f, {form & 1, dims, 1e4f + 100 * (float)form, form & 4 ? 0.25f : 0}};
        mlxn_rms_norm_params norm = {p.eps};
        if (!(form & 2)) w = none;
        if (!(form & 4)) factors = none;
        mlxn_norm_rope(r->encoder, x, w, positions, factors, fused, &p);
        mlxn_rms_norm(r->encoder, x, w, middle, &norm);
        mlxn_rope(r->encoder, middle, positions, factors, parts, &p.rope);
        compare(r, fused, parts, form & 1 ? "norm_rope, half" : "norm_rope, interleaved", tokens * heads, d);
    }
}

/* In place: the fused kernel has read a head before it writes it. */
static void check_norm_rope_in_place(rig *r) {
    mlxn_tensor x = random_tensor(r, 5, 3, 96, 20, false), positions = vector(cut(r, 1, 1, 5, MLXN_U32));
    for (uint32_t t = 0; t < 5; t++) ((uint32_t *)(void *)floats(&positions))[t] = 7 * t;
    mlxn_tensor none = {0}, parts = result(r, &x, PARTS);
    mlxn_norm_rope_params p = {1e-6f, {MLXN_ROPE_HALF, 64, 1e6f, 0}};
    mlxn_norm_rope(r->encoder, x, none, positions, none, parts, &p);
    mlxn_norm_rope(r->encoder, x, none, positions, none, x, &p);
    compare(r, x, parts, "norm_rope in place", 15, 96);
}

/* --- matmul --- */

enum { ROWS = 83, COLS = 768 };

/* Random codes; scales of blocks and plain values have magnitudes near 0.01. */
static void fill_weight(mlxn_format format, uint8_t *bytes, uint64_t n) {
    mlxn_format_info info;
    mlxn_format_get_info(format, &info);
    for (uint64_t i = 0; i < n; i++) bytes[i] = (uint8_t)draw();
    for (uint64_t block = 0; block < n; block += info.block_bytes) {
        uint8_t *head = bytes + block + (format == MLXN_FORMAT_Q6_K ? 208 : 0);
        int halves = info.block_bytes == 2 || format == MLXN_FORMAT_Q4_0 || format == MLXN_FORMAT_Q5_0 ||
                             format == MLXN_FORMAT_Q8_0 || format == MLXN_FORMAT_Q6_K
                         ? 1
                         : 2;
        for (int i = 0; i < halves; i++) head[2 * i + 1] = (uint8_t)(0x20 | (draw() & 0x83));
        if (format == MLXN_FORMAT_BF16) head[1] = (uint8_t)(0x3c | (draw() & 0x80));
        if (format == MLXN_FORMAT_F32) head[3] = (uint8_t)(0x3c | (draw() & 0x80));
    }
}

static mlxn_weight *make_weight(rig *r, mlxn_format format) {
    uint64_t row = 0;
    mlxn_error error = {0};
    mlxn_buffer *buffer = NULL;
    mlxn_weight *weight = NULL;
    mlxn_format_row_bytes(format, COLS, &row, NULL);
    CHECK(!mlxn_buffer_create(r->device, row * ROWS, &buffer, &error), "%s", error.message);
    if (!buffer) return NULL;
    fill_weight(format, mlxn_buffer_contents(buffer), row * ROWS);
    mlxn_weight_desc desc = {
        .struct_size = sizeof desc, .format = format, .rows = ROWS, .cols = COLS, .data = buffer};
    CHECK(!mlxn_weight_create(r->device, &desc, &weight, &error), "%s", error.message);
    mlxn_buffer_release(&buffer);
    return weight;
}

static void check_matmul(rig *r) {
    static const mlxn_format formats[] = {MLXN_FORMAT_F32,  MLXN_FORMAT_F16,  MLXN_FORMAT_BF16, MLXN_FORMAT_Q4_0,
                                          MLXN_FORMAT_Q4_1, MLXN_FORMAT_Q5_0, MLXN_FORMAT_Q5_1, MLXN_FORMAT_Q8_0,
                                          MLXN_FORMAT_Q4_K, MLXN_FORMAT_Q5_K, MLXN_FORMAT_Q6_K};
    static const uint64_t tokens[] = {1, 3, 16, 40};
    for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
        mlxn_weight *weight = make_weight(r, formats[f]);
        for (int i = 0; weight && i < 4; i++)
            for (int form = 0; form < 3; form++) { /* with a bias; with strides that only the plain kernel takes */
                mlxn_tensor x = form == 2 ? strided(r, 1, tokens[i], COLS, true, 1)
                                          : random_tensor(r, 1, tokens[i], COLS, 1, false);
                mlxn_tensor xm = matrix(x);
                xm.strides[0] = x.strides[1];
                xm.strides[1] = x.strides[2];
                mlxn_tensor residual = matrix(random_tensor(r, 1, tokens[i], ROWS, 3, false));
                mlxn_tensor bias = form == 1 ? vector(random_tensor(r, 1, 1, ROWS, 1, false)) : (mlxn_tensor){0};
                mlxn_tensor out = random_tensor(r, 1, tokens[i], ROWS, 1, false);
                mlxn_tensor fused = matrix(result(r, &out, FUSED)), middle = matrix(result(r, &out, PARTS));
                mlxn_tensor parts = matrix(result(r, &out, PARTS));
                mlxn_matmul(r->encoder, xm, weight, bias, residual, fused);
                mlxn_matmul(r->encoder, xm, weight, bias, (mlxn_tensor){0}, middle);
                mlxn_elementwise_add(r->encoder, middle, residual, parts);
                compare(r, fused, parts, mlxn_format_name(formats[f]), tokens[i], ROWS);
                bool finite = true;
                for (uint64_t k = 0; k < tokens[i] * ROWS; k++) finite = finite && isfinite(floats(&fused)[k]);
                CHECK(finite, "%s, %s: the products are no numbers", r->where, mlxn_format_name(formats[f]));
            }
        mlxn_weight_release(&weight);
    }
}

static void check_device(const mlxn_device_desc *desc, const char *level) {
    rig r = {.used = 4};
    mlxn_error error = {0};
    snprintf(r.where, sizeof r.where, "%s, %u threads, %s", level, desc->threads,
             desc->precision == MLXN_PRECISION_F32 ? "f32" : "fast");
    CHECK(!mlxn_device_create(desc, &r.device, &error) &&
              !mlxn_buffer_create(r.device, RIG_BYTES, &r.buffer, &error) &&
              !mlxn_encoder_create(r.device, &r.encoder, &error),
          "%s: %s", r.where, error.message);
    mlxn_device_info info = {.struct_size = sizeof info};
    if (r.encoder) mlxn_device_get_info(r.device, &info);
    if (r.encoder && desc->isa_mask && info.isa != desc->isa_mask) {
        fprintf(stderr, "%s: not on this machine\n", level);
        test_skips++;
    } else if (r.encoder) {
        static const uint64_t sizes[][2] = {{1, 1},   {1, 15},  {3, 16},   {2, 33},   {5, 65},   {1, 576},
                                            {7, 640}, {3, 100}, {2, 8961}, {40, 576}, {64, 1023}};
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            check_gates(&r, sizes[i][0], sizes[i][1]);
            for (int layout = 0; layout < 3; layout++) check_norms(&r, sizes[i][0], sizes[i][1], layout);
        }
        static const struct {
            uint64_t tokens, heads, d;
            uint32_t dims;
        } ropes[] = {{1, 9, 64, 0}, {7, 3, 64, 0}, {2, 1, 6, 0}, {3, 2, 34, 30}, {5, 4, 80, 32}, {33, 4, 256, 0}};
        for (size_t i = 0; i < sizeof ropes / sizeof ropes[0]; i++)
            for (int layout = 0; layout < 3; layout++)
                check_norm_rope(&r, ropes[i].tokens, ropes[i].heads, ropes[i].d, ropes[i].dims, layout);
        check_norm_rope_in_place(&r);
        check_matmul(&r);
    }
    mlxn_encoder_destroy(r.encoder);
    mlxn_buffer_release(&r.buffer);
    mlxn_device_release(&r.device);
}

int main(void) {
    static const struct {
        const char *name;
        uint32_t isa, no_isa;
    } levels[] = {{"base", 0, 1},
                  {"avx2", MLXN_ISA_AVX2, 0},
                  {"avx512", MLXN_ISA_AVX2 | MLXN_ISA_AVX512, 0},
                  {"vnni", MLXN_ISA_AVX2 | MLXN_ISA_AVX512 | MLXN_ISA_VNNI, 0}};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        for (uint32_t threads = 1; threads <= 2; threads++)
            for (int f32 = 0; f32 < 2; f32++) {
                mlxn_device_desc desc = {.struct_size = sizeof desc,
                                         .backend = "cpu",
                                         .threads = threads,
                                         .precision = f32 ? MLXN_PRECISION_F32 : MLXN_PRECISION_FAST,
                                         .isa_mask = levels[i].isa,
                                         .no_isa = levels[i].no_isa};
                check_device(&desc, levels[i].name);
            }
    return TEST_DONE();
}
