/* Promise: each gradient operation is the derivative of its forward operation: the references' gradients equal
 * central differences, extrapolated to step 0, of the double sum of what the forward reference gives. */
#include "../test.h"

#include <math.h>

#include "ops/op.h"

enum { ROWS = 3, COLS = 12, COUNT = ROWS * COLS };

static uint64_t state = 12345;
static float draw(void) { /* xorshift (Marsaglia 2003), uniform between -1 and 1 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) * 0x1p-52 - 1);
}

static mlxn_view matrix(void *data, uint64_t rows, uint64_t cols) {
    return (mlxn_view){.present = true,
                       .dtype = MLXN_F32,
                       .rank = 2,
                       .dims = {rows, cols},
                       .strides = {(int64_t)cols, 1},
                       .data = data};
}
static mlxn_view vector(void *data, uint64_t n, mlxn_dtype dtype) {
    return (mlxn_view){.present = true, .dtype = dtype, .rank = 1, .dims = {n}, .strides = {1}, .data = data};
}

/* A forward operation whose result is weighted with dy and added up. args[out] is the result. `own`: the sum itself,
 * where the operation computes more than the gradient is of. */
typedef struct forward {
    const mlxn_op_def *def;
    mlxn_view args[MLXN_MAX_ARGS];
    const void *params;
    uint32_t out;
    const float *dy;
    double (*own)(void);
} forward;

static double loss(const forward *k) {
    if (k->own) return k->own();
    const mlxn_view *y = &k->args[k->out];
    double sum = 0;
    CHECK(!k->def->ref(k->args, k->params), "%s failed", k->def->name);
    for (uint64_t i = 0; i < mlxn_view_elements(y); i++)
        sum += (double)k->dy[i] * (double)((const float *)y->data)[i];
    return sum;
}

/* The steps as they are in binary32, which is what the operation sees. */
static double difference(const forward *k, float *x, float step) {
    float was = *x, up = was + step, down = was - step;
    *x = up;
    double high = loss(k);
    *x = down;
    double low = loss(k);
    *x = was;
    return (high - low) / ((double)up - (double)down);
}

static void compare(const forward *k, float *x, const float *gradient, uint64_t n, const char *what, uint32_t fn) {
    double size = 0;
    for (uint64_t i = 0; i < n; i++) size = fmax(size, fabs((double)gradient[i]));
    for (uint64_t i = 0; i < n; i++) {
        double wide = difference(k, &x[i], 0x1p-5f), narrow = difference(k, &x[i], 0x1p-6f);
        double want = (4 * narrow - wide) / 3;
        CHECK(fabs((double)gradient[i] - want) <= 5e-4 * (size + 1), "%s %u: element %llu is %g, want %g", what, fn,
              (unsigned long long)i, (double)gradient[i], want);
    }
}

static float x[COUNT], up[COUNT], dy[COUNT], y[COUNT], dx[COUNT], more[COUNT], w[COLS], inverse[ROWS];

static void fresh(void) {
    for (int i = 0; i < COUNT; i++) x[i] = 2 * draw(), up[i] = 2 * draw(), dy[i] = draw();
    for (int i = 0; i < COLS; i++) w[i] = 1 + draw() / 2;
}

/* Away from where a function bends or has no value. */
static void smooth(uint32_t fn) {
    bool positive = fn == MLXN_UNARY_SQRT || fn == MLXN_UNARY_RSQRT || fn == MLXN_UNARY_RECIPROCAL ||
                    (fn >= MLXN_UNARY_LOG && fn <= MLXN_UNARY_LOG1P);
    for (int i = 0; i < COUNT; i++) {
        float frac = x[i] - floorf(x[i]);
        if (positive)
            x[i] = 1 + fabsf(x[i]);
        else if (frac < 0.1f || frac > 0.9f || fabsf(frac - 0.5f) < 0.1f)
            x[i] = floorf(x[i]) + 0.25f;
    }
}

static void unary(void) {
    for (uint32_t fn = 0; fn < MLXN_UNARY_COUNT; fn++) {
        fresh();
        smooth(fn);
        mlxn_unary_params p = {fn, fn == MLXN_UNARY_CLAMP ? -1.5f : 0.75f, 0.5f, 0.25f, -1e-6f};
        mlxn_view vx = matrix(x, ROWS, COLS), vy = matrix(y, ROWS, COLS), vd = matrix(dy, ROWS, COLS);
        forward k = {&mlxn_opdef_unary, {vx, vy}, &p, 1, dy, NULL};
        mlxn_view args[] = {vx, vd, matrix(dx, ROWS, COLS)};
        CHECK(!mlxn_opdef_unary_backward.ref(args, &p), "unary_backward failed");
        compare(&k, x, dx, COUNT, "unary", fn);
    }
}

static void gates(void) {
    for (uint32_t fn = 0; fn < MLXN_GLU_COUNT; fn++) {
        fresh();
        smooth(MLXN_UNARY_RELU);
        mlxn_glu_params p = {fn, 1.702f, 7};
        mlxn_view vx = matrix(x, ROWS, COLS), vu = matrix(up, ROWS, COLS), vd = matrix(dy, ROWS, COLS);
        forward k = {&mlxn_opdef_glu, {vx, vu, matrix(y, ROWS, COLS)}, &p, 2, dy, NULL};
        mlxn_view args[] = {vx, vu, vd, matrix(dx, ROWS, COLS), matrix(more, ROWS, COLS)};
        CHECK(!mlxn_opdef_glu_backward.ref(args, &p), "glu_backward failed");
        compare(&k, x, dx, COUNT, "gate of glu", fn);
        compare(&k, up, more, COUNT, "up of glu", fn);
    }
}

static void softmax(void) {
    fresh();
    mlxn_softmax_params p = {1, 0};
    mlxn_view none = {0}, vy = matrix(y, ROWS, COLS);
    forward k = {&mlxn_opdef_softmax, {matrix(x, ROWS, COLS), none, vy}, &p, 2, dy, NULL};
    loss(&k); /* y */
    memcpy(more, y, sizeof y);
    mlxn_view args[] = {matrix(more, ROWS, COLS), matrix(dy, ROWS, COLS), matrix(dx, ROWS, COLS)};
    CHECK(!mlxn_opdef_softmax_backward.ref(args, NULL), "softmax_backward failed");
    compare(&k, x, dx, COUNT, "softmax", 0);
}

static void norm(void) {
    fresh();
    mlxn_rms_norm_params p = {1e-3f};
    mlxn_reduce_params r = {MLXN_REDUCE_RMS_INV, 1, 1e-3f};
    mlxn_view vx = matrix(x, ROWS, COLS), vw = vector(w, COLS, MLXN_F32), vr = vector(inverse, ROWS, MLXN_F32);
    mlxn_view vd = matrix(dy, ROWS, COLS), none = {0};
    CHECK(!mlxn_opdef_reduce.ref((mlxn_view[]){vx, vr}, &r), "reduce failed");
    for (int weighted = 0; weighted < 2; weighted++) {
        forward k = {&mlxn_opdef_rms_norm, {vx, weighted ? vw : none, matrix(y, ROWS, COLS)}, &p, 2, dy, NULL};
        mlxn_view args[] = {vx, weighted ? vw : none, vd, vr, matrix(dx, ROWS, COLS)};
        CHECK(!mlxn_opdef_rms_norm_backward_dx.ref(args, NULL), "rms_norm_backward_dx failed");
        compare(&k, x, dx, COUNT, "x of rms_norm", (uint32_t)weighted);
        if (!weighted) continue;
        CHECK(!mlxn_opdef_rms_norm_backward_dw.ref((mlxn_view[]){vx, vd, vr, vector(more, COLS, MLXN_F32)}, NULL),
              "rms_norm_backward_dw failed");
        compare(&k, w, more, COLS, "w of rms_norm", 0);
    }
}

static void cross_entropy(void) {
    fresh();
    uint32_t targets[ROWS] = {0, COLS - 1, 5};
    mlxn_view vx = matrix(x, ROWS, COLS), vt = vector(targets, ROWS, MLXN_U32);
    forward k = {&mlxn_opdef_cross_entropy, {vx, vt, vector(y, ROWS, MLXN_F32)}, NULL, 2, dy, NULL};
    mlxn_view args[] = {vx, vt, vector(dy, ROWS, MLXN_F32), matrix(dx, ROWS, COLS)};
    CHECK(!mlxn_opdef_cross_entropy_backward.ref(args, NULL), "cross_entropy_backward failed");
    compare(&k, x, dx, COUNT, "cross_entropy", 0);
}

static mlxn_view tensor(void *data, uint32_t rank, uint64_t d0, uint64_t d1, uint64_t d2, uint64_t d3) {
    mlxn_view v = {.present = true, .dtype = MLXN_F32, .rank = rank, .dims = {d0, d1, d2, d3}, .data = data};
    int64_t stride = 1;
    for (uint32_t i = rank; i-- > 0; stride *= (int64_t)v.dims[i]) v.strides[i] = stride;
    return v;
}

enum { WIDE = 256 };
static float wide_y[WIDE], wide_dy[WIDE];

/* Numbers further apart than the steps of the differences, so that no step changes which is the largest. */
static void spaced(void) {
    for (int i = 0; i < COUNT; i++) x[i] = 0.125f * (float)(i * 7 % COUNT - COUNT / 2);
    for (int i = 0; i < WIDE; i++) wide_dy[i] = draw();
}

static void pool(void) {
    spaced();
    for (uint32_t i = 0; i < 6; i++) {
        mlxn_pool2d_params p = {i % 2, {2, 2 + i % 3 / 2}, {1 + i / 4, 1}, {0, i / 2 == 1}, i == 3};
        uint64_t oh = (3 - p.kernel[0]) / p.stride[0] + 1, ow = 4 + 2 * (uint64_t)p.pad[1] - p.kernel[1] + 1;
        mlxn_view vx = tensor(x, 4, 1, 3, 4, 3), vy = tensor(wide_y, 4, 1, oh, ow, 3), vd = vy;
        vd.data = wide_dy;
        forward k = {&mlxn_opdef_pool2d, {vx, vy}, &p, 1, wide_dy, NULL};
        mlxn_error error;
        const mlxn_view args[] = {vx, vd, tensor(dx, 4, 1, 3, 4, 3)};
        CHECK(!mlxn_op_check(&mlxn_opdef_pool2d_backward, args, 3, &p, sizeof p, &error), "%s", error.message);
        CHECK(!mlxn_opdef_pool2d_backward.ref(args, &p), "pool2d_backward failed");
        compare(&k, x, dx, COUNT, "pool2d", i);
    }
}

static void unfold(void) {
    spaced();
    mlxn_im2col_params p = {{2, 2}, {1, 2}, {1, 0}, {2, 1}};
    mlxn_view vx = tensor(x, 4, 1, 3, 4, 3), vy = tensor(wide_y, 4, 1, 3, 2, 12), vd = vy;
    vd.data = wide_dy;
    forward k = {&mlxn_opdef_im2col, {vx, vy}, &p, 1, wide_dy, NULL};
    mlxn_error error;
    const mlxn_view args[] = {vd, tensor(dx, 4, 1, 3, 4, 3)};
    CHECK(!mlxn_op_check(&mlxn_opdef_col2im, args, 2, &p, sizeof p, &error), "%s", error.message);
    CHECK(!mlxn_opdef_col2im.ref(args, &p), "col2im failed");
    compare(&k, x, dx, COUNT, "im2col", 0);
}

/* Rows and elements that are read more than once, and some that are not read. */
static void places(void) {
    fresh();
    uint32_t rows[5] = {2, 0, 2, 2, 0}, elements[ROWS * 4] = {0, 3, 3, 11, 5, 5, 5, 5, 1, 2, 1, 2};
    mlxn_view vx = matrix(x, ROWS, COLS), vr = vector(rows, 5, MLXN_U32), ve = matrix(elements, ROWS, 4);
    ve.dtype = MLXN_U32;
    for (int i = 0; i < WIDE; i++) wide_dy[i] = draw();
    memset(dx, 0, sizeof dx);
    forward g = {&mlxn_opdef_gather, {vx, vr, matrix(wide_y, 5, COLS)}, NULL, 2, wide_dy, NULL};
    CHECK(!mlxn_opdef_scatter_add.ref((mlxn_view[]){matrix(wide_dy, 5, COLS), vr, matrix(dx, ROWS, COLS)}, NULL),
          "scatter_add failed");
    compare(&g, x, dx, COUNT, "gather", 0);
    memset(dx, 0, sizeof dx);
    forward t = {&mlxn_opdef_take_along, {vx, ve, matrix(wide_y, ROWS, 4)}, NULL, 2, wide_dy, NULL};
    CHECK(!mlxn_opdef_put_along_add.ref((mlxn_view[]){matrix(wide_dy, ROWS, 4), ve, matrix(dx, ROWS, COLS)}, NULL),
          "put_along_add failed");
    compare(&t, x, dx, COUNT, "take_along", 0);
}

static void layer_norm(void) {
    fresh();
    static float bias[COLS], dw[COLS], db[COLS];
    mlxn_row_norm_params p = {MLXN_NORM_LAYER, 1e-3f, 0, 0};
    mlxn_rms_norm_params b = {1e-3f};
    mlxn_view vx = matrix(x, ROWS, COLS), vw = vector(w, COLS, MLXN_F32), none = {0};
    forward k = {&mlxn_opdef_row_norm,
                 {vx, none, vw, vector(bias, COLS, MLXN_F32), none, none, none, matrix(y, ROWS, COLS)},
                 &p,
                 7,
                 dy,
                 NULL};
    const mlxn_view args[] = {vx,
                              vw,
                              matrix(dy, ROWS, COLS),
                              vector(dw, COLS, MLXN_F32),
                              vector(db, COLS, MLXN_F32),
                              matrix(dx, ROWS, COLS)};
    mlxn_error error;
    CHECK(!mlxn_op_check(&mlxn_opdef_layer_norm_backward, args, 6, &b, sizeof b, &error), "%s", error.message);
    CHECK(!mlxn_opdef_layer_norm_backward.ref(args, &b), "layer_norm_backward failed");
    compare(&k, x, dx, COUNT, "x of layer_norm", 0);
    compare(&k, w, dw, COLS, "w of layer_norm", 0);
    compare(&k, bias, db, COLS, "b of layer_norm", 0);
}

/* [1, T, C] without a past. */
static double causal_loss(void) {
    double sum = 0;
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < 4; c++)
            for (int l = 0; l < 3; l++)
                if (t - 2 + l >= 0)
                    sum += (double)dy[t * 4 + c] * (double)w[c * 3 + l] * (double)x[(t - 2 + l) * 4 + c];
    return sum;
}
static void causal(void) {
    fresh();
    forward k = {.own = causal_loss};
    const mlxn_view args[] = {tensor(x, 3, 1, 9, 4, 0), tensor(w, 2, 4, 3, 0, 0), tensor(dy, 3, 1, 9, 4, 0),
                              tensor(more, 2, 4, 3, 0, 0), tensor(dx, 3, 1, 9, 4, 0)};
    mlxn_error error;
    CHECK(!mlxn_op_check(&mlxn_opdef_conv1d_causal_backward, args, 5, NULL, 0, &error), "%s", error.message);
    CHECK(!mlxn_opdef_conv1d_causal_backward.ref(args, NULL), "conv1d_causal_backward failed");
    compare(&k, x, dx, COUNT, "x of conv1d_causal", 0);
    compare(&k, w, more, COLS, "w of conv1d_causal", 0);
}

/* Two heads of queries on one of keys; three rows, four keys, causal; q and k of three channels, v of two. */
enum { HEADS = 2, TOKENS = 3, KEYS = 4, DK = 3, DV = 2 };
static float aq[HEADS * TOKENS * DK], ak[KEYS * DK], av[KEYS * DV], ado[HEADS * TOKENS * DV];
static double attention_loss(void) {
    double sum = 0;
    for (int h = 0; h < HEADS * TOKENS; h++) {
        double e[KEYS], all = 0;
        for (int j = 0; j < KEYS; j++) {
            double s = 0;
            for (int i = 0; i < DK; i++) s += (double)aq[h * DK + i] * (double)ak[j * DK + i];
            e[j] = j <= h % TOKENS + KEYS - TOKENS ? exp(0.5 * s) : 0;
            all += e[j];
        }
        for (int j = 0; j < KEYS; j++)
            for (int i = 0; i < DV; i++) sum += (double)ado[h * DV + i] * e[j] / all * (double)av[j * DV + i];
    }
    return sum;
}
static void attention(void) {
    static float dq[HEADS * TOKENS * DK], dk[KEYS * DK], dv[KEYS * DV];
    for (int i = 0; i < HEADS * TOKENS * DK; i++) aq[i] = draw();
    for (int i = 0; i < KEYS * DK; i++) ak[i] = draw();
    for (int i = 0; i < KEYS * DV; i++) av[i] = draw();
    for (int i = 0; i < HEADS * TOKENS * DV; i++) ado[i] = draw();
    mlxn_attention_backward_params p = {0.5f, 1};
    const mlxn_view args[] = {tensor(aq, 3, HEADS, TOKENS, DK, 0),
                              tensor(ak, 3, 1, KEYS, DK, 0),
                              tensor(av, 3, 1, KEYS, DV, 0),
                              tensor(ado, 3, HEADS, TOKENS, DV, 0),
                              {0},
                              tensor(dq, 3, HEADS, TOKENS, DK, 0),
                              tensor(dk, 3, 1, KEYS, DK, 0),
                              tensor(dv, 3, 1, KEYS, DV, 0)};
    mlxn_error error;
    CHECK(!mlxn_op_check(&mlxn_opdef_attention_backward, args, 8, &p, sizeof p, &error), "%s", error.message);
    CHECK(!mlxn_opdef_attention_backward.ref(args, &p), "attention_backward failed");
    forward k = {.own = attention_loss};
    compare(&k, aq, dq, HEADS * TOKENS * DK, "q of attention", 0);
    compare(&k, ak, dk, KEYS * DK, "k of attention", 0);
    compare(&k, av, dv, KEYS * DV, "v of attention", 0);
}

int main(void) {
    unary();
    gates();
    softmax();
    norm();
    cross_entropy();
    pool();
    unfold();
    places();
    layer_norm();
    causal();
    attention();
    return TEST_DONE();
}
