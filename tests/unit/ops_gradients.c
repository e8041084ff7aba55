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

/* A forward operation whose result is weighted with dy and added up. args[out] is the result. */
typedef struct forward {
    const mlxn_op_def *def;
    mlxn_view args[MLXN_MAX_ARGS];
    const void *params;
    uint32_t out;
    const float *dy;
} forward;

static double loss(const forward *k) {
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
        forward k = {&mlxn_opdef_unary, {vx, vy}, &p, 1, dy};
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
        forward k = {&mlxn_opdef_glu, {vx, vu, matrix(y, ROWS, COLS)}, &p, 2, dy};
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
    forward k = {&mlxn_opdef_softmax, {matrix(x, ROWS, COLS), none, vy}, &p, 2, dy};
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
        forward k = {&mlxn_opdef_rms_norm, {vx, weighted ? vw : none, matrix(y, ROWS, COLS)}, &p, 2, dy};
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
    forward k = {&mlxn_opdef_cross_entropy, {vx, vt, vector(y, ROWS, MLXN_F32)}, NULL, 2, dy};
    mlxn_view args[] = {vx, vt, vector(dy, ROWS, MLXN_F32), matrix(dx, ROWS, COLS)};
    CHECK(!mlxn_opdef_cross_entropy_backward.ref(args, NULL), "cross_entropy_backward failed");
    compare(&k, x, dx, COUNT, "cross_entropy", 0);
}

int main(void) {
    unary();
    gates();
    softmax();
    norm();
    cross_entropy();
    return TEST_DONE();
}
