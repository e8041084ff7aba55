/* Promise: where the reference library errs at the edge of an operation of these families (order of equal elements,
 * infinities against padding, a draw of 0, hidden rows, double rounding, limits of length, ids past the end), this
 * one does what its documentation says, on the device; and where models rely on a convention, it is kept. */
#include "ops_device.h"

/* Equal elements: lowest index first, whatever the number of lanes; -infinity is an element like any other. */
static void test_order(void) {
    enum { N = 700 }; /* past 256, and no power of two */
    mlxn_tensor x = rows(MLXN_F32, 1, N), sorted = rows(MLXN_U32, 1, N), top = rows(MLXN_U32, 1, 200);
    mlxn_tensor most = row(MLXN_U32, 1), least = row(MLXN_U32, 1), none = {0};
    for (int i = 0; i < N; i++) f(x)[i] = i % 3 == 0 ? 5 : i % 3 == 1 ? -INFINITY : 5;
    mlxn_argsort_params down = {1};
    mlxn_argsort(encoder, x, sorted, &down);
    mlxn_top_k(encoder, x, top, none);
    mlxn_argmax(encoder, x, most);
    mlxn_argmin(encoder, x, least);
    run("order");
    uint32_t fives = 0, bad = 0;
    for (uint32_t i = 0; i < N; i++)
        if (i % 3 != 1) {
            bad += u(sorted)[fives] != i || (fives < 200 && u(top)[fives] != i);
            fives++;
        }
    for (uint32_t i = 1; i < N; i += 3) bad += u(sorted)[fives++] != i;
    CHECK(!bad, "%u of the sorted indices are wrong", bad);
    CHECK(u(most)[0] == 0 && u(least)[0] == 1, "extremes at %u and %u", u(most)[0], u(least)[0]);
}

/* A row that ends in -infinity and is no power of two long: every index is one of the row. */
static void test_padding(void) {
    mlxn_tensor x = rows(MLXN_F32, 1, 5), sorted = rows(MLXN_U32, 1, 5);
    static const float v[] = {-INFINITY, 1, -INFINITY, 2, -INFINITY};
    static const uint32_t want[] = {3, 1, 0, 2, 4};
    memcpy(f(x), v, sizeof v);
    mlxn_argsort_params down = {1};
    mlxn_argsort(encoder, x, sorted, &down);
    run("padding");
    CHECK(!memcmp(u(sorted), want, sizeof want), "%u %u %u %u %u", u(sorted)[0], u(sorted)[1], u(sorted)[2],
          u(sorted)[3], u(sorted)[4]);
}

static void test_sampling(void) {
    mlxn_tensor x = rows(MLXN_F32, 3, 4), draw = row(MLXN_F32, 3), token = row(MLXN_U32, 3), logp = row(MLXN_F32, 3);
    static const float v[] = {-INFINITY, 0, 0, -INFINITY, 1, 1, 1, 1, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    memcpy(f(x), v, sizeof v);
    f(draw)[0] = 0;    /* token 0 has no probability */
    f(draw)[1] = 0.5f; /* the sum of the first two is not above it */
    f(draw)[2] = 0;
    mlxn_softmax_sample_params p = {1};
    mlxn_softmax_sample(encoder, x, draw, token, logp, &p);
    run("sampling");
    CHECK(u(token)[0] == 1 && fabsf(f(logp)[0] + 0.6931472f) < 1e-6f, "%u, %g", u(token)[0], (double)f(logp)[0]);
    CHECK(u(token)[1] == 2 && fabsf(f(logp)[1] + 1.3862944f) < 1e-6f, "%u, %g", u(token)[1], (double)f(logp)[1]);
    CHECK(u(token)[2] == 0 && f(logp)[2] == -INFINITY, "%u, %g", u(token)[2], (double)f(logp)[2]);
}

static void test_hidden_rows(void) {
    mlxn_tensor x = rows(MLXN_F32, 4, 40), mask = rows(MLXN_BF16, 2, 40), out = rows(MLXN_F32, 4, 40);
    for (int i = 0; i < 160; i++) f(x)[i] = (float)i;
    for (int i = 0; i < 80; i++) h(mask)[i] = i < 40 ? 0xff80 : 0; /* the first row of each pair is hidden */
    /* [heads, rows, cols] under a mask of [rows, cols] */
    mlxn_tensor x3 = mlxn_tensor_3d(memory, x.offset, MLXN_F32, 2, 2, 40), out3 = x3;
    out3.offset = out.offset;
    mlxn_softmax_params p = {1, 0};
    mlxn_softmax(encoder, x3, mask, out3, &p);
    run("hidden rows");
    for (int r = 0; r < 4; r++) {
        double sum = 0;
        for (int i = 0; i < 40; i++) sum += (double)f(out)[r * 40 + i];
        CHECK(r % 2 ? fabs(sum - 1) < 1e-5 : sum == 0, "row %d sums to %g", r, sum);
    }
}

/* Half a unit of bf16 at most, which exponentials rounded on the way would not keep. */
static void test_rounded_once(void) {
    mlxn_tensor x = rows(MLXN_BF16, 1, 3), out = rows(MLXN_BF16, 1, 3), none = {0};
    h(x)[0] = 0x3f80, h(x)[1] = 0x3e99, h(x)[2] = 0xbf33; /* 1, 0.298828125, -0.69921875 */
    mlxn_softmax_params p = {1, 0};
    mlxn_softmax(encoder, x, none, out, &p);
    run("rounded once");
    double e[3] = {exp(1 - 1.0), exp(0.298828125 - 1), exp(-0.69921875 - 1)}, sum = e[0] + e[1] + e[2];
    for (int i = 0; i < 3; i++) {
        uint32_t bits = (uint32_t)h(out)[i] << 16;
        float got;
        memcpy(&got, &bits, 4);
        int exponent;
        frexp(e[i] / sum, &exponent);
        double off = fabs((double)got - e[i] / sum), unit = ldexp(1, exponent - 8);
        CHECK(off <= 0.501 * unit, "%g, want %g", (double)got, e[i] / sum);
    }
}

/* Lengths past every limit of the reference; indices and counts past 2^24, which binary32 cannot hold. */
static void test_lengths(void) {
    enum { LONG = (1 << 24) + 7, SCAN = 20000 };
    mlxn_tensor x = rows(MLXN_F32, 1, LONG), most = row(MLXN_U32, 1);
    for (int i = 0; i < LONG; i++) f(x)[i] = 1;
    f(x)[LONG - 2] = 2;
    mlxn_reduce_params mean = {MLXN_REDUCE_MEAN, 1, 0};
    mlxn_tensor out = rows(MLXN_F32, 1, 1);
    mlxn_argmax(encoder, x, most);
    mlxn_reduce(encoder, x, mlxn_tensor_1d(memory, out.offset, MLXN_F32, 1), &mean);
    run("lengths");
    CHECK(u(most)[0] == LONG - 2, "argmax at %u", u(most)[0]);
    CHECK(fabsf(f(out)[0] - 1) < 2e-7f, "mean %.9g", (double)f(out)[0]);
    x = rows(MLXN_F32, 1, SCAN), out = rows(MLXN_F32, 1, SCAN);
    for (int i = 0; i < SCAN; i++) f(x)[i] = 0.1f;
    mlxn_scan_params sum = {MLXN_SCAN_SUM, 0, 0};
    mlxn_scan(encoder, x, out, &sum);
    run("scan");
    CHECK(f(out)[SCAN - 1] == (float)(SCAN * (double)0.1f), "the sum of %d is %.9g", SCAN, (double)f(out)[SCAN - 1]);
}

/* Ids past the end: the last row is read, and nothing is written. */
static void test_ids(void) {
    mlxn_tensor x = rows(MLXN_F32, 3, 2), index = row(MLXN_U32, 2), out = rows(MLXN_F32, 2, 2),
                target = rows(MLXN_F32, 3, 2);
    for (int i = 0; i < 6; i++) f(x)[i] = (float)i, f(target)[i] = -1;
    u(index)[0] = 3, u(index)[1] = UINT32_MAX;
    mlxn_gather(encoder, x, index, out);
    mlxn_scatter(encoder, out, index, target);
    mlxn_scatter_add(encoder, out, index, target);
    run("ids");
    for (int i = 0; i < 4; i++) CHECK(f(out)[i] == (float)(4 + i % 2), "gathered %g", (double)f(out)[i]);
    for (int i = 0; i < 6; i++) CHECK(f(target)[i] == -1, "element %d was written", i);
}

/* The permutation that models know as "021" exchanges the first two axes. */
static void test_exchanged_axes(void) {
    mlxn_tensor flat = row(MLXN_F32, 24), moved = row(MLXN_F32, 24);
    for (int i = 0; i < 24; i++) f(flat)[i] = (float)i;
    mlxn_tensor x = mlxn_tensor_3d(memory, flat.offset, MLXN_F32, 3, 2, 4); /* [B, A, C], seen from out */
    mlxn_tensor out = mlxn_tensor_3d(memory, moved.offset, MLXN_F32, 3, 2, 4);
    x.strides[0] = 4, x.strides[1] = 12; /* of a [2, 3, 4] tensor */
    mlxn_copy(encoder, x, out);
    run("exchanged axes");
    for (int b = 0; b < 3; b++)
        for (int a = 0; a < 2; a++)
            for (int c = 0; c < 4; c++)
                CHECK(f(moved)[(b * 2 + a) * 4 + c] == (float)((a * 3 + b) * 4 + c), "[%d, %d, %d]", b, a, c);
}

/* A sum over the middle axis, which a view puts last; in several planes, each wider than one piece of the kernel. */
static void test_middle_axis(void) {
    enum { PLANES = 3, ROWS = 41, COLS = 300 };
    mlxn_tensor flat = row(MLXN_F32, PLANES * ROWS * COLS), sums = row(MLXN_F32, PLANES * COLS);
    for (int i = 0; i < PLANES * ROWS * COLS; i++) f(flat)[i] = (float)((i * 37) % 101 - 50);
    mlxn_tensor x = mlxn_tensor_3d(memory, flat.offset, MLXN_F32, PLANES, COLS, ROWS);
    x.strides[0] = ROWS * COLS, x.strides[1] = 1, x.strides[2] = COLS;
    mlxn_reduce_params p = {MLXN_REDUCE_SUM, 1, 0};
    mlxn_reduce(encoder, x, mlxn_tensor_2d(memory, sums.offset, MLXN_F32, PLANES, COLS), &p);
    run("middle axis");
    for (int a = 0; a < PLANES; a++)
        for (int c = 0; c < COLS; c++) {
            float want = 0;
            for (int b = 0; b < ROWS; b++) want += f(flat)[(a * ROWS + b) * COLS + c];
            CHECK(f(sums)[a * COLS + c] == want, "[%d, %d] is %g, want %g", a, c, (double)f(sums)[a * COLS + c],
                  (double)want);
        }
}

int main(void) {
    open_device();
    test_order();
    test_padding();
    test_sampling();
    test_hidden_rows();
    test_rounded_once();
    test_lengths();
    test_ids();
    test_exchanged_axes();
    test_middle_axis();
    close_device();
    return TEST_DONE();
}
