/* Promise: another name of a norm, a rotation, a piece of a mixture of experts or of images does what its row says:
 * the call that the row describes gives, on the device, the name's formula in double. */
#include "ops_alias_walk.h"

enum { R = 3, W = 40 };
static const double EPS = (double)1e-5f;
static const mlxn_tensor none;

static mlxn_tensor matrix(uint64_t n, uint64_t width, uint64_t from) {
    mlxn_tensor t = rows(MLXN_F32, n, width);
    for (uint64_t i = 0; i < n * width; i++) f(t)[i] = (float)((i + from) * 53 % 97) * 0.03f - 1.3f;
    return t;
}
static mlxn_tensor line(uint64_t n, uint64_t from) {
    mlxn_tensor t = matrix(1, n, from);
    return mlxn_tensor_1d(memory, t.offset, MLXN_F32, n);
}
static double at(mlxn_tensor t, uint64_t i) { return (double)f(t)[i]; }
static double half_at(mlxn_tensor t, uint64_t i) { /* of bf16 */
    uint32_t bits = (uint32_t)h(t)[i] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return (double)value;
}
/* x / sqrt(mean(x^2) + eps) for a row of doubles, in place. */
static void rms(double *x) {
    double sum = 0;
    for (int i = 0; i < W; i++) sum += x[i] * x[i];
    for (int i = 0; i < W; i++) x[i] /= sqrt(sum / W + EPS);
}
static void row_of(mlxn_tensor t, uint64_t r, double *out) {
    for (uint64_t i = 0; i < W; i++) out[i] = at(t, r * W + i);
}

/* ---- norms ---- */

static void no_scale(void) {
    mlxn_tensor x = matrix(R, W, 0), out = rows(MLXN_F32, R, W);
    mlxn_rms_norm(encoder, x, none, out, &(mlxn_rms_norm_params){1e-5f});
    run(now);
    for (uint64_t r = 0; r < R; r++) {
        double y[W];
        row_of(x, r, y), rms(y);
        for (uint64_t i = 0; i < W; i++) is(out, r * W + i, y[i]);
    }
}
/* With a copy in bf16: as it lies, or rows of [tokens, heads] to [heads, tokens]. */
static void no_scale_copy(bool turned) {
    enum { HEADS = 3, TOKENS = 2 };
    mlxn_tensor x = matrix(TOKENS * HEADS, W, 0), out = rows(MLXN_F32, TOKENS * HEADS, W), copy;
    copy = rows(MLXN_BF16, TOKENS * HEADS, W);
    mlxn_rms_norm(encoder, x, none, out, &(mlxn_rms_norm_params){1e-5f});
    if (turned)
        mlxn_cast(encoder, view(out, 0, 3, D(TOKENS, HEADS, W), S(HEADS * W, W, 1)),
                  view(copy, 0, 3, D(TOKENS, HEADS, W), S(W, TOKENS * W, 1)));
    else
        mlxn_cast(encoder, out, copy);
    run(now);
    for (uint64_t r = 0; r < TOKENS * HEADS; r++) {
        double y[W];
        uint64_t to = turned ? r % HEADS * TOKENS + r / HEADS : r;
        row_of(x, r, y), rms(y);
        for (uint64_t i = 0; i < W; i++) {
            is(out, r * W + i, y[i]);
            CHECK(fabs(half_at(copy, to * W + i) - y[i]) <= 0x1.02p-8 * fabs(y[i]), "%s: row %u, element %u", now,
                  (unsigned)r, (unsigned)i);
        }
    }
}
static void no_scale_dual(void) { no_scale_copy(false); }
static void no_scale_dual_perm(void) { no_scale_copy(true); }

/* ((norm(x + residual) w) + add) scale, each of them or not; `mean` for layer norms. */
static void normed(uint32_t kind, mlxn_tensor residual, mlxn_tensor w, mlxn_tensor add, mlxn_tensor scale, bool sum) {
    mlxn_tensor x = matrix(R, W, 0), out = rows(MLXN_F32, R, W), sum_out = rows(MLXN_F32, R, W);
    mlxn_row_norm_params p = {kind, 1e-5f, 0, 0};
    mlxn_row_norm(encoder, x, residual, w, none, add, scale, sum ? sum_out : none, out, &p);
    run(now);
    for (uint64_t r = 0; r < R; r++) {
        double y[W], mean = 0, squares = 0;
        row_of(x, r, y);
        for (uint64_t i = 0; i < W; i++) {
            y[i] += residual.buffer ? at(residual, r * W + i) : 0;
            mean += kind == MLXN_NORM_LAYER ? y[i] / W : 0;
            if (sum) is(sum_out, r * W + i, y[i]);
        }
        for (uint64_t i = 0; i < W; i++) squares += (y[i] - mean) * (y[i] - mean);
        double by = kind == MLXN_NORM_L2_SUM   ? sqrt(squares + EPS)
                    : kind == MLXN_NORM_L2_MAX ? fmax(sqrt(squares), EPS)
                                               : sqrt(squares / W + EPS);
        for (uint64_t i = 0; i < W; i++) {
            double want = (y[i] - mean) / by * (w.buffer ? at(w, i) : 1) + (add.buffer ? at(add, r * W + i) : 0);
            if (scale.buffer) want *= at(scale, scale.rank > 1 ? r * W + i : scale.dims[0] == 1 ? 0 : i);
            is(out, r * W + i, want);
        }
    }
}
static void norm_mul(void) { normed(MLXN_NORM_RMS, none, line(W, 3), none, matrix(R, W, 5), false); }
static void norm_add_scalar(void) {
    normed(MLXN_NORM_RMS, none, line(W, 3), matrix(R, W, 7), line(1, 9), false);
    normed(MLXN_NORM_RMS, none, line(W, 3), matrix(R, W, 7), line(W, 9), false);
}
static void residual_norm(void) {
    normed(MLXN_NORM_RMS, matrix(R, W, 11), line(W, 3), none, none, true);
    normed(MLXN_NORM_RMS, matrix(R, W, 11), line(W, 3), none, none, false);
}
static void residual_norm_scalar(void) {
    normed(MLXN_NORM_RMS, matrix(R, W, 11), line(W, 3), none, line(1, 9), false);
    normed(MLXN_NORM_RMS, matrix(R, W, 11), line(W, 3), none, line(W, 9), false);
}
static void l2(void) {
    normed(MLXN_NORM_L2_SUM, none, none, none, none, false);
    normed(MLXN_NORM_L2_MAX, none, none, none, none, false);
}
static void layer(void) { normed(MLXN_NORM_LAYER, none, line(W, 3), none, none, false); }

/* residual + norm(x) w */
static void add_norm(bool weighted) {
    mlxn_tensor x = matrix(R, W, 0), w = weighted ? line(W, 3) : none, residual = matrix(R, W, 7),
                out = rows(MLXN_F32, R, W);
    mlxn_norm_add(encoder, x, w, residual, out, &(mlxn_rms_norm_params){1e-5f});
    run(now);
    for (uint64_t r = 0; r < R; r++) {
        double y[W];
        row_of(x, r, y), rms(y);
        for (uint64_t i = 0; i < W; i++)
            is(out, r * W + i, at(residual, r * W + i) + y[i] * (weighted ? at(w, i) : 1));
    }
}
static void add_norm_weight(void) { add_norm(true); }
static void add_norm_no_weight(void) { add_norm(false); }

/* r = residual + norm(x) post, or x; three norms of r. */
static void three(bool after) {
    mlxn_tensor x = matrix(R, W, 0), post = after ? line(W, 2) : none, residual = after ? matrix(R, W, 7) : none;
    mlxn_tensor w = matrix(3, W, 4), sum = rows(MLXN_F32, R, W), out = cube(MLXN_F32, 3, R, W);
    mlxn_norm_multi(encoder, x, post, residual, w, after ? sum : none, out, &(mlxn_norm_multi_params){1e-5f});
    run(now);
    for (uint64_t r = 0; r < R; r++) {
        double y[W];
        row_of(x, r, y);
        if (after) {
            rms(y);
            for (uint64_t i = 0; i < W; i++) {
                y[i] = at(residual, r * W + i) + y[i] * at(post, i);
                is(sum, r * W + i, y[i]);
            }
        }
        rms(y);
        for (uint64_t i = 0; i < 3 * W; i++) is(out, (i / W * R + r) * W + i % W, y[i % W] * at(w, i));
    }
}
static void norm_triple(void) { three(false); }
static void post_triple(void) { three(true); }

/* The weighted sum of experts, normed, and base or its norm. */
static void sum_norm(bool norm_base) {
    enum { K = 4 };
    mlxn_tensor e = matrix(R * K, W, 0), weights = matrix(R, K, 1), w = line(W, 3), base = matrix(R, W, 7), base_w;
    mlxn_tensor out = rows(MLXN_F32, R, W);
    base_w = norm_base ? line(W, 5) : none;
    mlxn_moe_sum_norm(encoder, mlxn_tensor_3d(memory, e.offset, MLXN_F32, R, K, W), weights, w, base, base_w, out,
                      &(mlxn_moe_sum_norm_params){1e-5f, norm_base});
    run(now);
    for (uint64_t r = 0; r < R; r++) {
        double y[W] = {0}, b[W];
        for (uint64_t i = 0; i < K * W; i++) y[i % W] += at(e, r * K * W + i) * at(weights, r * K + i / W);
        row_of(base, r, b), rms(y);
        if (norm_base) rms(b);
        for (uint64_t i = 0; i < W; i++)
            is_near(out, r * W + i, b[i] * (norm_base ? at(base_w, i) : 1) + y[i] * at(w, i), 4e-6);
    }
}
static void wsum_norm(void) { sum_norm(false); }
static void wsum_dnorm(void) { sum_norm(true); }

/* ---- rotations ---- */

enum { HEADS = 2, HEAD = 16 };
/* Pair (i, i + HEAD/2) by pos 100^(-2i/HEAD), for the first `pairs` pairs; `back` turns the other way. */
static void turn(double *x, uint64_t pos, uint64_t pairs, bool back) {
    for (uint64_t i = 0; i < pairs; i++) {
        double angle = (double)pos * pow(100, -2.0 * (double)i / HEAD) * (back ? -1 : 1), a = x[i],
               b = x[i + HEAD / 2];
        x[i] = a * cos(angle) - b * sin(angle);
        x[i + HEAD / 2] = a * sin(angle) + b * cos(angle);
    }
}
static mlxn_tensor places(uint64_t n) {
    mlxn_tensor t = row(MLXN_U32, n);
    for (uint32_t i = 0; i < n; i++) u(t)[i] = 3 + 2 * i;
    return t;
}
static void heads(bool norm, bool multi, uint64_t tokens) {
    enum { PART = 8 };
    mlxn_tensor x = matrix(tokens * HEADS, HEAD, 0), w = line(HEAD, 3), pos = places(tokens),
                out = rows(MLXN_F32, tokens * HEADS, HEAD);
    mlxn_tensor x3 = mlxn_tensor_3d(memory, x.offset, MLXN_F32, tokens, HEADS, HEAD), out3 = x3;
    out3.offset = out.offset;
    mlxn_norm_rope_params p = {1e-5f, {MLXN_ROPE_HEAD_HALF, PART, 100, 0}};
    mlxn_rope_multi_params back = {.pairing = MLXN_ROPE_HALF, .base = 100, .inverse = 1};
    if (norm)
        mlxn_norm_rope(encoder, x3, w, pos, none, out3, &p);
    else if (multi)
        mlxn_rope_multi(encoder, x3, pos, none, out3, &back);
    else
        mlxn_rope(encoder, x3, pos, none, out3, &p.rope);
    run(now);
    for (uint64_t r = 0; r < tokens * HEADS; r++) {
        double y[HEAD], sum = 0;
        for (uint64_t i = 0; i < HEAD; i++) y[i] = at(x, r * HEAD + i), sum += y[i] * y[i];
        for (uint64_t i = 0; i < HEAD && norm; i++) y[i] *= at(w, i) / sqrt(sum / HEAD + EPS);
        turn(y, u(pos)[r / HEADS], multi ? HEAD / 2 : PART / 2, multi);
        for (uint64_t i = 0; i < HEAD; i++) is_near(out, r * HEAD + i, y[i], 4e-6);
    }
}
static void rope_neox(void) { heads(false, false, 4); }
static void rope_backward(void) { heads(false, true, 4); }
static void norm_rope(void) { heads(true, false, 1); }
static void norm_rope_batch(void) { heads(true, false, 4); }
static void vision(void) { /* either half by its own coordinate, frequencies of half a head */
    mlxn_tensor x = matrix(3 * HEADS, HEAD, 0), out = rows(MLXN_F32, 3 * HEADS, HEAD), pos = rows(MLXN_U32, 2, 3);
    mlxn_tensor x3 = mlxn_tensor_3d(memory, x.offset, MLXN_F32, 3, HEADS, HEAD), out3 = x3;
    out3.offset = out.offset;
    for (uint32_t i = 0; i < 6; i++) u(pos)[i] = 2 + 5 * i % 7;
    mlxn_rope_multi(encoder, x3, pos, none, out3,
                    &(mlxn_rope_multi_params){.pairing = MLXN_ROPE_QUARTER, .base = 100});
    run(now);
    for (uint64_t r = 0; r < 3 * HEADS; r++)
        for (uint64_t i = 0; i < HEAD / 2; i++) {
            uint64_t half = i / (HEAD / 4), k = i % (HEAD / 4), first = r * HEAD + half * HEAD / 2 + k;
            double angle = u(pos)[half * 3 + r / HEADS] * pow(100, -2.0 * (double)k / (HEAD / 2));
            double a = at(x, first), b = at(x, first + HEAD / 4);
            is_near(out, first, a * cos(angle) - b * sin(angle), 2e-6);
            is_near(out, first + HEAD / 4, a * sin(angle) + b * cos(angle), 2e-6);
        }
}

/* ---- experts ---- */

enum { EXPERTS = 7, TOP = 3 };
/* score, scale: as in the parameters; rows of logits. */
static void route(uint32_t score, uint32_t normalize, bool scaled, uint64_t tokens) {
    mlxn_tensor logits = matrix(tokens, EXPERTS, 0), scale = scaled ? line(EXPERTS, 60) : none;
    mlxn_tensor ids = rows(MLXN_U32, tokens, TOP), weights = rows(MLXN_F32, tokens, TOP);
    mlxn_moe_route_params p = {.score = score, .normalize = normalize};
    for (uint64_t i = 0; i < EXPERTS && scaled; i++) f(scale)[i] = 0.5f + (float)i * 0.25f;
    mlxn_moe_route(encoder, logits, none, scale, ids, weights, &p);
    run(now);
    for (uint64_t t = 0; t < tokens; t++) {
        uint64_t order[EXPERTS];
        double top[TOP], sum = 0, scaled_sum = 0;
        for (uint64_t e = 0; e < EXPERTS; e++) { /* no two logits are equal */
            uint64_t before = 0;
            for (uint64_t o = 0; o < EXPERTS; o++)
                before += at(logits, t * EXPERTS + o) > at(logits, t * EXPERTS + e);
            order[before] = e;
        }
        for (uint64_t j = 0; j < TOP; j++) { /* softmax of all or of the selected: the quotients are the same */
            top[j] = exp(at(logits, t * EXPERTS + order[j]));
            sum += top[j], scaled_sum += top[j] * (scaled ? at(scale, order[j]) : 1);
        }
        for (uint64_t j = 0; j < TOP; j++) {
            double by = scaled ? at(scale, order[j]) : 1;
            CHECK(u(ids)[t * TOP + j] == order[j], "%s: token %u, place %u", now, (unsigned)t, (unsigned)j);
            is(weights, t * TOP + j, top[j] * by / (normalize == MLXN_ROUTE_SCALE_THEN_NORMALIZE ? scaled_sum : sum));
        }
    }
}
static void softmax_topk(void) { route(MLXN_ROUTE_SOFTMAX, MLXN_ROUTE_NORMALIZE, false, 4); }
static void routing(void) { route(MLXN_ROUTE_SOFTMAX, MLXN_ROUTE_NORMALIZE, true, 1); }
static void routing_batch(void) { route(MLXN_ROUTE_SOFTMAX, MLXN_ROUTE_NORMALIZE, true, 4); }
static void gate(void) { route(MLXN_ROUTE_SELECTED_SOFTMAX, MLXN_ROUTE_SCALE_THEN_NORMALIZE, true, 4); }

static void sum_experts(mlxn_dtype dtype, uint64_t k, bool shared, bool residual) {
    mlxn_tensor e = matrix(R * k, W, 0), cast = rows(dtype, R * k, W), back = rows(MLXN_F32, R * k, W);
    mlxn_tensor weights = matrix(R, k, 1), s = shared ? matrix(R, W, 5) : none, z = shared ? line(R, 8) : none;
    mlxn_tensor before = residual ? matrix(R, W, 7) : none, out = rows(MLXN_F32, R, W);
    mlxn_cast(encoder, e, cast), mlxn_cast(encoder, cast, back);
    mlxn_moe_sum(encoder, mlxn_tensor_3d(memory, cast.offset, dtype, R, k, W), weights, s, z, before, out);
    run(now);
    for (uint64_t r = 0; r < R; r++)
        for (uint64_t i = 0; i < W; i++) {
            double want = residual ? at(before, r * W + i) : 0;
            for (uint64_t j = 0; j < k; j++) want += at(back, (r * k + j) * W + i) * at(weights, r * k + j);
            if (shared) want += at(s, r * W + i) / (1 + exp(-at(z, r)));
            is(out, r * W + i, want);
        }
}
static void weighted_sum(void) { sum_experts(MLXN_F32, 4, false, false); }
static void weighted_sum_bf16(void) { sum_experts(MLXN_BF16, 4, false, false); }
static void weighted_reduce(void) { sum_experts(MLXN_F32, 4, true, true), sum_experts(MLXN_F32, 4, true, false); }
static void accumulate(void) { sum_experts(MLXN_F32, 1, false, true); }

static double gelu(double x) { return x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
/* Halves of rows of both, or two tensors. */
static void geglu(mlxn_dtype dtype, bool halves) {
    mlxn_tensor x = matrix(R, 2 * W, 0), in = rows(dtype, R, 2 * W), wide = rows(MLXN_F32, R, 2 * W);
    mlxn_tensor out = rows(dtype, R, W), back = rows(MLXN_F32, R, W);
    mlxn_cast(encoder, x, in), mlxn_cast(encoder, in, wide);
    /* without halves the two lie one behind the other */
    const int64_t apart = halves ? 2 * W : W;
    mlxn_gelu_mul(encoder, view(in, 0, 2, D(R, W), S(apart, 1)),
                  view(in, halves ? W : R * W, 2, D(R, W), S(apart, 1)), out);
    mlxn_cast(encoder, out, back);
    run(now);
    for (uint64_t i = 0; i < R * W; i++) {
        uint64_t g = halves ? i / W * 2 * W + i % W : i, up = halves ? g + W : R * W + i;
        is_near(back, i, gelu(at(wide, g)) * at(wide, up), dtype == MLXN_F32 ? 1e-6 : 0x1p-8);
    }
}
static void geglu_halves(void) { geglu(MLXN_F32, true); }
static void geglu_halves_bf16(void) { geglu(MLXN_BF16, true); }
static void geglu_bf16(void) { geglu(MLXN_BF16, false); }

/* ---- convolutions and images ---- */

static void depthwise(void) {
    enum { T = 6, C = 5, K = 4 };
    mlxn_tensor x = cube(MLXN_F32, 1, T, C), w = matrix(C, K, 3), state = zeros(C, K - 1),
                out = cube(MLXN_F32, 1, T, C);
    fill(x, T * C);
    mlxn_ssm_conv(encoder, x, w, none, none, mlxn_tensor_3d(memory, state.offset, MLXN_F32, 1, C, K - 1), out,
                  &(mlxn_ssm_conv_params){0});
    run(now);
    for (uint64_t i = 0; i < T * C; i++) {
        double want = 0;
        for (uint64_t k = 0; k < K; k++)
            if (i / C + k + 1 >= K) want += at(w, i % C * K + k) * at(x, (i / C + k + 1 - K) * C + i % C);
        is_near(out, i, want, 4e-6);
    }
}
static void depthwise_backward(void) {
    enum { T = 6, C = 5, K = 4 };
    mlxn_tensor x = cube(MLXN_F32, 1, T, C), dy = cube(MLXN_F32, 1, T, C), dx = cube(MLXN_F32, 1, T, C);
    mlxn_tensor w = matrix(C, K, 3), dw = rows(MLXN_F32, C, K);
    double want_x[T * C] = {0}, want_w[C * K] = {0};
    fill(x, T * C);
    for (int i = 0; i < T * C; i++) f(dy)[i] = (float)(i % 7) * 0.5f - 1;
    mlxn_conv1d_causal_backward(encoder, x, w, dy, dw, dx);
    run(now);
    for (uint64_t i = 0; i < T * C; i++)
        for (uint64_t k = 0; k < K; k++)
            if (i / C + k + 1 >= K) {
                uint64_t from = (i / C + k + 1 - K) * C + i % C;
                want_x[from] += at(w, i % C * K + k) * at(dy, i);
                want_w[i % C * K + k] += at(x, from) * at(dy, i);
            }
    for (uint64_t i = 0; i < T * C; i++) is_near(dx, i, want_x[i], 4e-6);
    for (uint64_t i = 0; i < C * K; i++) is_near(dw, i, want_w[i], 4e-6);
}
static void upscale(void) {
    mlxn_tensor x = block(MLXN_F32, 1, 3, 4, 2), out = block(MLXN_F32, 1, 6, 12, 2);
    fill(x, 24);
    mlxn_resize2d(encoder, x, out, &(mlxn_resize2d_params){MLXN_RESIZE_NEAREST, 0});
    run(now);
    for (uint64_t i = 0; i < 144; i++) is(out, i, at(x, (i / 24 / 2 * 4 + i / 2 % 12 / 3) * 2 + i % 2));
}
/* Samples at (dst + 1/2) / sf, a triangle max(1, 1 / sf) wide, weights of sum 1. */
static double triangle(uint64_t dst, uint64_t src, uint64_t from, uint64_t to) {
    double sf = (double)to / (double)from, wide = fmax(1, 1 / sf), centre = ((double)dst + 0.5) / sf, sum = 0;
    for (uint64_t i = 0; i < from; i++) sum += fmax(0, 1 - fabs((double)i + 0.5 - centre) / wide);
    return fmax(0, 1 - fabs((double)src + 0.5 - centre) / wide) / sum;
}
static void bilinear(void) {
    static const uint64_t to[][2] = {{3, 4}, {13, 9}};
    for (int c = 0; c < 2; c++) {
        mlxn_tensor x = block(MLXN_F32, 1, 7, 8, 1), out = block(MLXN_F32, 1, to[c][0], to[c][1], 1);
        fill(x, 56);
        mlxn_resize2d(encoder, x, out, &(mlxn_resize2d_params){MLXN_RESIZE_ANTIALIAS, 0});
        run(now);
        for (uint64_t i = 0; i < to[c][0] * to[c][1]; i++) {
            double want = 0;
            for (uint64_t k = 0; k < 56; k++)
                want += triangle(i / to[c][1], k / 8, 7, to[c][0]) * triangle(i % to[c][1], k % 8, 8, to[c][1]) *
                        at(x, k);
            is_near(out, i, want, 2e-6);
        }
    }
}
static void stft(void) { /* 16 samples, 5 frequencies, a hop of 8, half a window of padding ahead and behind */
    enum { L = 64, N = 16, BINS = 9, HOP = 8, FRAMES = L / HOP + 1 };
    mlxn_tensor x = row(MLXN_F32, L), padded = row(MLXN_F32, L + N), w = rows(MLXN_F32, 2 * BINS, N),
                out = rows(MLXN_F32, FRAMES, 2 * BINS);
    for (int i = 0; i < L; i++) f(x)[i] = (float)sin(i * 0.9) + (float)(i % 5) * 0.1f;
    for (int i = 0; i < 2 * BINS * N; i++) {
        double angle = 2 * 3.14159265358979323846 * (i / N % BINS) * (i % N) / N,
               window = 0.5 - 0.5 * cos(2 * 3.14159265358979323846 * (i % N) / N);
        f(w)[i] = (float)(window * (i / N < BINS ? cos(angle) : -sin(angle)));
    }
    mlxn_pad_params p = {.mode = MLXN_PAD_REFLECT, .before = {N / 2}};
    mlxn_pad(encoder, x, padded, &p);
    mlxn_conv1d(encoder, mlxn_tensor_3d(memory, padded.offset, MLXN_F32, 1, L + N, 1),
                mlxn_tensor_3d(memory, w.offset, MLXN_F32, 2 * BINS, N, 1), none,
                mlxn_tensor_3d(memory, out.offset, MLXN_F32, 1, FRAMES, 2 * BINS),
                &(mlxn_conv1d_params){.stride = HOP});
    run(now);
    for (uint64_t i = 0; i < FRAMES * 2 * BINS; i++) {
        double want = 0;
        for (int n = 0; n < N; n++) {
            int sample = (int)(i / (2 * BINS)) * HOP + n - N / 2;
            sample = sample < 0 ? -sample : sample >= L ? 2 * (L - 1) - sample : sample;
            want += at(w, i % (2 * BINS) * N + (uint64_t)n) * at(x, (uint64_t)sample);
        }
        is_near(out, i, want, 4e-6);
    }
}
static void pool1d(void) {
    mlxn_tensor x = block(MLXN_F32, 1, 1, 9, 2), out = block(MLXN_F32, 1, 1, 3, 2);
    fill(x, 18);
    mlxn_pool2d(encoder, x, out, &(mlxn_pool2d_params){.kind = MLXN_POOL_AVERAGE, .kernel = {1, 3}});
    run(now);
    for (uint64_t i = 0; i < 6; i++) {
        uint64_t first = i / 2 * 6 + i % 2;
        is(out, i, (at(x, first) + at(x, first + 2) + at(x, first + 4)) / 3);
    }
}
static void pool_backward(void) {
    mlxn_tensor x = block(MLXN_F32, 1, 4, 4, 1), dy = block(MLXN_F32, 1, 2, 2, 1), dx = block(MLXN_F32, 1, 4, 4, 1);
    fill(x, 16), fill(dy, 4);
    mlxn_pool2d_backward(encoder, x, dy, dx, &(mlxn_pool2d_params){.kind = MLXN_POOL_MAX, .kernel = {2, 2}});
    run(now);
    for (uint64_t i = 0; i < 16; i++) {
        uint64_t corner = i / 8 * 8 + i % 4 / 2 * 2, best = corner;
        const uint64_t others[] = {corner + 1, corner + 4, corner + 5};
        for (int k = 0; k < 3; k++) best = at(x, others[k]) > at(x, best) ? others[k] : best;
        is(dx, i, i == best ? at(dy, i / 8 * 2 + i % 4 / 2) : 0);
    }
}
/* The sum of what im2col took from each element: windows of 3 (and 2 rows, or 1), a stride of 1. */
static void columns_back(uint64_t height) {
    const uint64_t kh = height > 1 ? 2 : 1, oh = height - kh + 1, ow = 4, per = 2 * kh * 3;
    mlxn_tensor x = block(MLXN_F32, 1, oh, ow, per), out = block(MLXN_F32, 1, height, 6, 2);
    double want[64] = {0};
    fill(x, oh * ow * per);
    mlxn_col2im(encoder, x, out, &(mlxn_im2col_params){.kernel = {(uint32_t)kh, 3}});
    run(now);
    for (uint64_t i = 0; i < oh * ow * per; i++) {
        uint64_t kx = i % 3, ky = i / 3 % kh, c = i / 3 / kh % 2, ox = i / per % ow, oy = i / per / ow;
        want[((oy + ky) * 6 + ox + kx) * 2 + c] += at(x, i);
    }
    for (uint64_t i = 0; i < height * 12; i++) is(out, i, want[i]);
}
static void im2col_backward(void) { columns_back(4); }
static void col2im_1d(void) { columns_back(1); }

static const alias_case cases[] = {
    {"rms_norm_no_scale", "w absent", no_scale},
    {"rms_norm_no_scale_dual", "w absent; cast makes the bf16 copy", no_scale_dual},
    {"rms_norm_no_scale_dual_perm", "w absent; cast to a head-major view", no_scale_dual_perm},
    {"rms_norm_mul", "kind RMS; scale of x's dims", norm_mul},
    {"rms_norm_f32_triple", "w: [3, D]; post_w and residual absent", norm_triple},
    {"fused_post_attn_triple_norm", "w: [3, D]; post_w, residual and sum_out", post_triple},
    {"fused_norm_add", "", add_norm_weight},
    {"fused_norm_add_no_weight", "w absent", add_norm_no_weight},
    {"fused_norm_add_scalar", "kind RMS; add is the residual; scale: [1] or [D]", norm_add_scalar},
    {"fused_residual_norm", "kind RMS; residual; sum_out where the sum is wanted", residual_norm},
    {"fused_residual_norm_scalar", "kind RMS; residual; scale: [1] or [D]", residual_norm_scalar},
    {"fused_moe_wsum_norm_add", "norm_base = 0", wsum_norm},
    {"fused_moe_wsum_dnorm_add", "norm_base = 1", wsum_dnorm},
    {"l2_norm", "kind L2_SUM (eps added to the sum) or L2_MAX", l2},
    {"layer_norm", "kind LAYER", layer},
    {"rope_neox", "pairing HEAD_HALF", rope_neox},
    {"rope_backward", "inverse = 1", rope_backward},
    {"vision_2d_rope", "pairing QUARTER; positions: [2, T]", vision},
    {"fused_head_norm_rope", "one token; pairing HEAD_HALF", norm_rope},
    {"fused_head_norm_rope_batch", "pairing HEAD_HALF", norm_rope_batch},
    {"moe_softmax_topk", "score SOFTMAX, normalize 1", softmax_topk},
    {"fused_moe_routing", "score SOFTMAX, normalize 1, scale", routing},
    {"fused_moe_routing_batch", "score SOFTMAX, normalize 1, scale", routing_batch},
    {"moe_gate", "score SELECTED_SOFTMAX, scale, normalize 2", gate},
    {"moe_gather_topk_weights", "from the logits", routing},
    {"moe_weighted_sum", "", weighted_sum},
    {"moe_weighted_sum_seq", "", weighted_sum},
    {"moe_weighted_sum_seq_bf16_input", "experts BF16, out F32", weighted_sum_bf16},
    {"moe_weighted_reduce", "shared, gate, residual", weighted_reduce},
    {"moe_accumulate", "K = 1; residual is the sum so far", accumulate},
    {"moe_swiglu_fused", "gate and up are views of the two halves", geglu_halves},
    {"moe_swiglu_batch", "gate and up are views of the two halves", geglu_halves},
    {"moe_swiglu_seq", "gate and up are views of the two halves", geglu_halves},
    {"moe_swiglu_seq_bf16", "gate and up are views of the two halves", geglu_halves_bf16},
    {"fused_gelu_mul_bf16", "", geglu_bf16},
    {"conv1d_depthwise_causal", "a state of zeros, without silu", depthwise},
    {"conv1d_depthwise_causal_backward", "dx and dw in one call", depthwise_backward},
    {"upscale", "", upscale},
    {"bilinear_resize", "mode ANTIALIAS", bilinear},
    {"stft", "w: rows of window times cosine and minus sine; stride is the hop, pad ahead of it", stft},
    {"pool1d", "H = 1", pool1d},
    {"pool_backward", "", pool_backward},
    {"im2col_backward", "", im2col_backward},
    {"col2im_1d", "H = 1", col2im_1d},
};

int main(void) {
    open_device();
    walk_aliases(LAYERS, cases, sizeof cases / sizeof *cases);
    close_device();
    return TEST_DONE();
}
