/* Promise: conventions of rotary embeddings, attention, caches, recurrent mixers and routing on which checkpoints
 * depend are kept, and where the reference library errs at their edges, this one does what its documentation says. */
#include "ops_device.h"

static void fill(mlxn_tensor t, float from, float step) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < t.rank; i++) n *= t.dims[i];
    for (uint64_t i = 0; i < n; i++) f(t)[i] = from + step * (float)(i * 37 % 101);
}
static bool near(float got, double want, double far) { return fabs((double)got - want) <= far; }

/* Which elements turn together, and by which frequency, for each pairing; alone and behind a norm alike. */
static void test_pairings(void) {
    enum { D = 8, PART = 4 };
    static const struct {
        uint32_t pairing;
        int first[2], second[2];
        double exponent[2]; /* of the base */
    } modes[] = {{MLXN_ROPE_INTERLEAVED, {0, 2}, {1, 3}, {0, -2.0 / PART}},
                 {MLXN_ROPE_HALF, {0, 1}, {2, 3}, {0, -2.0 / PART}},
                 {MLXN_ROPE_HEAD_HALF, {0, 1}, {4, 5}, {0, -2.0 / D}}};
    for (int m = 0; m < 3; m++)
        for (int normed = 0; normed < 2; normed++) {
            mlxn_tensor x = cube(MLXN_F32, 1, 1, D), out = cube(MLXN_F32, 1, 1, D), at = row(MLXN_U32, 1), none = {0};
            double size = 0;
            for (int i = 0; i < D; i++) {
                f(x)[i] = (float)(i + 1);
                size += (i + 1) * (i + 1) / (double)D;
            }
            u(at)[0] = 3;
            mlxn_norm_rope_params p = {1e-6f, {modes[m].pairing, PART, 100, 0}};
            if (normed)
                mlxn_norm_rope(encoder, x, none, at, none, out, &p);
            else
                mlxn_rope(encoder, x, at, none, out, &p.rope);
            run("pairings");
            double want[D], by = normed ? 1 / sqrt(size + 1e-6) : 1;
            for (int i = 0; i < D; i++) want[i] = (i + 1) * by;
            for (int k = 0; k < 2; k++) {
                int a = modes[m].first[k], b = modes[m].second[k];
                double angle = 3 * pow(100, modes[m].exponent[k]), va = (a + 1) * by, vb = (b + 1) * by;
                want[a] = va * cos(angle) - vb * sin(angle);
                want[b] = va * sin(angle) + vb * cos(angle);
            }
            for (int i = 0; i < D; i++)
                CHECK(near(f(out)[i], want[i], 1e-5), "pairing %d, normed %d: element %d is %g, want %g", m, normed,
                      i, (double)f(out)[i], want[i]);
        }
}

/* A part of the head turns: pairs within that part, or half a head apart, with the frequencies of the part or of the
 * head. Checkpoints of Qwen want the first, other programs the second. */
static void test_rope_parts(void) {
    enum { D = 8, PART = 4 };
    static const struct {
        uint32_t pairing, freq_dims;
        int apart;
        double exponent;
    } modes[] = {{MLXN_ROPE_HALF, 0, PART / 2, -2.0 / PART},
                 {MLXN_ROPE_HALF, D, PART / 2, -2.0 / D},
                 {MLXN_ROPE_HEAD_HALF, PART, D / 2, -2.0 / PART},
                 {MLXN_ROPE_HEAD_HALF, D, D / 2, -2.0 / D}};
    for (int m = 0; m < 4; m++) {
        mlxn_tensor x = cube(MLXN_F32, 1, 1, D), out = cube(MLXN_F32, 1, 1, D), at = row(MLXN_U32, 1), none = {0};
        double want[D];
        for (int i = 0; i < D; i++) f(x)[i] = (float)(i + 1), want[i] = i + 1;
        u(at)[0] = 3;
        mlxn_rope_multi_params p = {
            .pairing = modes[m].pairing, .rope_dims = PART, .freq_dims = modes[m].freq_dims, .base = 100};
        mlxn_rope_multi(encoder, x, at, none, out, &p);
        run("parts");
        for (int k = 0; k < PART / 2; k++) {
            int b = k + modes[m].apart;
            double angle = 3 * pow(100, k * modes[m].exponent);
            want[k] = (k + 1) * cos(angle) - (b + 1) * sin(angle);
            want[b] = (k + 1) * sin(angle) + (b + 1) * cos(angle);
        }
        for (int i = 0; i < D; i++)
            CHECK(near(f(out)[i], want[i], 1e-5), "mode %d: element %d is %g, want %g", m, i, (double)f(out)[i],
                  want[i]);
    }
}

/* One head of two channels over a cache of C slots that holds L keys; the rest is NaN, which must not be seen. */
static float attend(uint32_t window, float softcap, uint64_t length, uint32_t position, const float *scores) {
    enum { C = 40 };
    mlxn_tensor q = cube(MLXN_F32, 1, 1, 2), out = cube(MLXN_F32, 1, 1, 2), none = {0};
    mlxn_tensor k = block(MLXN_F32, 1, 1, C, 2), v = block(MLXN_F32, 1, 1, C, 2), s = row(MLXN_U32, 1),
                at = row(MLXN_U32, 1);
    f(q)[0] = 1, f(q)[1] = 0;
    for (uint64_t i = 0; i < C; i++) {
        bool there = i < length;
        f(k)[2 * i] = there ? scores[i] : NAN;
        f(k)[2 * i + 1] = there ? 5 : NAN;
        f(v)[2 * i] = there ? (float)i : NAN;
        f(v)[2 * i + 1] = there ? 1 : NAN;
    }
    u(s)[0] = 0, u(at)[0] = position;
    mlxn_attention_params p = {.scale = 1, .softcap = softcap, .window = window};
    mlxn_attention(encoder, q, k, v, s, at, none, none, out, &p);
    run("attention");
    CHECK(near(f(out)[1], 1, 1e-5), "weights sum to %g", (double)f(out)[1]);
    return f(out)[0];
}

static void test_windows(void) {
    float scores[40] = {0};
    /* equal scores: the mean of the places that are seen */
    CHECK(near(attend(0, 0, 11, 10, scores), 5, 1e-4), "all keys");
    CHECK(near(attend(1, 0, 11, 10, scores), 10, 1e-4), "a window of 1 is the row's own key");
    CHECK(near(attend(4, 0, 11, 10, scores), 8.5, 1e-4), "a window of 4 holds 4 keys");
    CHECK(near(attend(11, 0, 11, 10, scores), 5, 1e-4), "a window of all");
    CHECK(near(attend(10, 0, 11, 10, scores), 5.5, 1e-4), "a window without the first");
    CHECK(near(attend(0, 0, 1, 0, scores), 0, 1e-6), "one key of a cache that holds NaN");
    scores[0] = 100, scores[1] = 50;
    double a = exp(5 * tanh(20.0)), b = exp(5 * tanh(10.0));
    CHECK(near(attend(0, 5, 2, 1, scores), b / (a + b), 1e-4), "softcap bends the scores");
    CHECK(near(attend(0, 0, 2, 1, scores), 0, 1e-6), "without softcap the first key wins");
}

/* Positions past the capacity wrap; a batch of rows is what single rows are; ids of absent sequences write nothing.
 */
static void test_rings(void) {
    enum { C = 4, T = 4 };
    mlxn_tensor k = cube(MLXN_F32, T, 1, 2), v = cube(MLXN_F32, T, 1, 2), s = row(MLXN_U32, T), at = row(MLXN_U32, T);
    mlxn_tensor kc = block(MLXN_F32, 1, 1, C, 2), vc = block(MLXN_F32, 1, 1, C, 2);
    fill(k, 1, 1), fill(v, 2, 1), fill(kc, -1, 0), fill(vc, -1, 0);
    for (uint32_t t = 0; t < T; t++) u(s)[t] = t == 3 ? 1 : 0, u(at)[t] = 6 + t; /* slots 2, 3, 0; 1 is left out */
    mlxn_kv_write_params p = {0, 0};
    mlxn_kv_write(encoder, k, v, s, at, kc, vc, &p);
    run("ring");
    for (uint32_t t = 0; t < 3; t++)
        for (int i = 0; i < 2; i++)
            CHECK(f(kc)[(6 + t) % C * 2 + (uint32_t)i] == f(k)[2 * t + (uint32_t)i] &&
                      f(vc)[(6 + t) % C * 2 + (uint32_t)i] == f(v)[2 * t + (uint32_t)i],
                  "row %u is not in slot %u", t, (6 + t) % C);
    CHECK(f(kc)[2] == -1 && f(vc)[3] == -1, "slot 1 was written");
}

/* The heads of the values and those of the keys in both orders; the log-decay is what is added, not subtracted; and
 * 64 tokens give what one at a time do. */
static void test_delta_heads(void) {
    enum { T = 64, HK = 2, H = 4, D = 16 };
    for (uint32_t map = 0; map < 2; map++) {
        mlxn_tensor q = block(MLXN_F32, 1, T, HK, D), k = block(MLXN_F32, 1, T, HK, D),
                    v = block(MLXN_F32, 1, T, H, D);
        mlxn_tensor g = cube(MLXN_F32, 1, T, H), beta = cube(MLXN_F32, 1, T, H), none = {0};
        mlxn_tensor state = block(MLXN_F32, 1, H, D, D), out = block(MLXN_F32, 1, T, H, D);
        mlxn_tensor state1 = block(MLXN_F32, 1, H, D, D), out1 = block(MLXN_F32, 1, T, H, D);
        fill(q, -0.4f, 0.008f), fill(k, 0.4f, -0.008f), fill(v, -1, 0.02f), fill(g, -0.5f, 0.004f);
        fill(beta, 0.1f, 0.005f), fill(state, 0, 0), fill(state1, 0, 0);
        mlxn_gated_delta_net_params p = {1, map, 0};
        mlxn_gated_delta_net(encoder, q, k, v, g, beta, none, state, out, &p);
        for (uint64_t t = 0; t < T; t++) {
            mlxn_tensor step[6] = {q, k, v, g, beta, out1};
            for (int i = 0; i < 6; i++) {
                step[i].dims[1] = 1;
                step[i].offset += t * (uint64_t)step[i].strides[1] * 4;
            }
            mlxn_gated_delta_net(encoder, step[0], step[1], step[2], step[3], step[4], none, state1, step[5], &p);
        }
        run("delta heads");
        for (int i = 0; i < T * H * D; i++)
            CHECK(near(f(out)[i], (double)f(out1)[i], 2e-5), "map %u: element %d is %g in a chunk and %g alone", map,
                  i, (double)f(out)[i], (double)f(out1)[i]);
        /* the first token: M = beta v k^T, out = beta v (k . q) */
        for (int head = 0; head < H; head++) {
            int from = map == MLXN_HEADS_TILED ? head % HK : head / (H / HK);
            double kq = 0;
            for (int i = 0; i < D; i++) kq += (double)f(k)[from * D + i] * (double)f(q)[from * D + i];
            for (int i = 0; i < D; i++)
                CHECK(near(f(out)[head * D + i], (double)f(beta)[head] * (double)f(v)[head * D + i] * kq, 1e-5),
                      "map %u, head %d reads another head of the keys", map, head);
        }
    }
    /* no change (beta 0): out = e^g M q */
    mlxn_tensor q = block(MLXN_F32, 1, 1, 1, 16), k = block(MLXN_F32, 1, 1, 1, 16), v = block(MLXN_F32, 1, 1, 1, 16);
    mlxn_tensor g = cube(MLXN_F32, 1, 1, 1), beta = cube(MLXN_F32, 1, 1, 1), state = block(MLXN_F32, 1, 1, 16, 16);
    mlxn_tensor out = block(MLXN_F32, 1, 1, 1, 16), none = {0};
    fill(q, 0, 0), fill(k, 0, 0), fill(v, 0, 0), fill(g, -2, 0), fill(beta, 0, 0), fill(state, 3, 0);
    f(q)[5] = 1;
    mlxn_gated_delta_net_params p = {1, 0, 0};
    mlxn_gated_delta_net(encoder, q, k, v, g, beta, none, state, out, &p);
    run("decay");
    CHECK(near(f(out)[0], 3 * exp(-2), 1e-6), "decayed to %g", (double)f(out)[0]);
}

/* Numbers of experts that are no power of two, more than eight of them, equal logits. */
static void test_routes(void) {
    static const uint64_t experts[] = {1, 3, 100, 128, 300};
    for (int e = 0; e < 5; e++) {
        uint64_t n = experts[e], top = n < 12 ? n : 12;
        mlxn_tensor logits = rows(MLXN_F32, 1, n), ids = rows(MLXN_U32, 1, top), w = rows(MLXN_F32, 1, top),
                    none = {0};
        for (uint64_t i = 0; i < n; i++) f(logits)[i] = i % 2 ? 2 : 1; /* odd ones first, then even ones */
        mlxn_moe_route_params p = {.score = MLXN_ROUTE_SOFTMAX};
        mlxn_moe_route(encoder, logits, none, none, ids, w, &p);
        run("routes");
        uint64_t odd = n / 2;
        double all = (double)odd * exp(2) + (double)(n - odd) * exp(1);
        for (uint64_t j = 0; j < top; j++) {
            uint64_t want = j < odd ? 2 * j + 1 : 2 * (j - odd);
            CHECK(u(ids)[j] == want && near(f(w)[j], exp(j < odd ? 2 : 1) / all, 1e-6),
                  "of %llu experts number %llu is %u with %g", (unsigned long long)n, (unsigned long long)j,
                  u(ids)[j], (double)f(w)[j]);
        }
    }
}

/* A row's largest logit and the sum that takes its place in memory do not meet: many rows on all threads, again and
 * again, give what one row at a time does. */
static void test_routes_again(void) {
    enum { ROWS = 96, EXPERTS = 128, TOP = 8, TIMES = 30 };
    static uint32_t ids[ROWS * TOP];
    static float weights[ROWS * TOP];
    mlxn_moe_route_params p = {.score = MLXN_ROUTE_SOFTMAX, .normalize = MLXN_ROUTE_NORMALIZE, .factor = 1};
    for (int time = 0; time <= TIMES; time++) {
        mlxn_tensor logits = rows(MLXN_F32, ROWS, EXPERTS), id = rows(MLXN_U32, ROWS, TOP),
                    w = rows(MLXN_F32, ROWS, TOP), none = {0};
        for (int i = 0; i < ROWS * EXPERTS; i++) f(logits)[i] = (float)(i * 7919 % 4093) * 0.004f - 8;
        for (uint64_t r = 0; r < (time ? 1 : ROWS); r++) { /* the first time a call for each row */
            mlxn_tensor parts[3] = {logits, id, w};
            for (int k = 0; k < 3 && !time; k++)
                parts[k].dims[0] = 1, parts[k].offset += r * (uint64_t)parts[k].strides[0] * 4;
            mlxn_moe_route(encoder, parts[0], none, none, parts[1], parts[2], &p);
        }
        run("routes again");
        if (!time) {
            memcpy(ids, u(id), sizeof ids), memcpy(weights, f(w), sizeof weights);
            double sum = 0, all = 0;
            for (int j = 0; j < TOP; j++) sum += (double)weights[j], all += exp((double)f(logits)[ids[j]]);
            for (int j = 0; j < TOP; j++)
                CHECK(near(weights[j], exp((double)f(logits)[ids[j]]) / all, 1e-6), "weight %d is %g", j,
                      (double)weights[j]);
            CHECK(near((float)sum, 1, 1e-6), "weights sum to %g", sum);
        }
        CHECK(!memcmp(ids, u(id), sizeof ids) && !memcmp(weights, f(w), sizeof weights), "time %d differs", time);
    }
}

/* Rows of bf16 longer than a group of lanes; eps within the root of the sum, and as the least length. */
static void test_norms(void) {
    enum { D = 700 };
    mlxn_tensor x = rows(MLXN_BF16, 1, D), r = rows(MLXN_BF16, 1, D), out = rows(MLXN_BF16, 1, D), none = {0};
    for (int i = 0; i < D; i++) h(x)[i] = 0x3f80, h(r)[i] = i % 2 ? 0x4000 : 0xc080; /* 1; 2 or -4 */
    mlxn_row_norm_params p = {MLXN_NORM_RMS, 1e-6f, 0, 0};
    mlxn_row_norm(encoder, x, r, none, none, none, none, none, out, &p);
    mlxn_tensor two = rows(MLXN_F32, 2, 4), sum = rows(MLXN_F32, 2, 4), most = rows(MLXN_F32, 2, 4);
    for (int i = 0; i < 8; i++) f(two)[i] = i < 4 ? 2 : 0.01f;
    mlxn_row_norm_params in_sum = {MLXN_NORM_L2_SUM, 0.5f, 0, 0}, at_least = {MLXN_NORM_L2_MAX, 0.5f, 0, 0};
    mlxn_row_norm(encoder, two, none, none, none, none, none, none, sum, &in_sum);
    mlxn_row_norm(encoder, two, none, none, none, none, none, none, most, &at_least);
    run("norms");
    /* t is 3 or -3: exactly 1 or -1 */
    for (int i = 0; i < D; i++) CHECK(h(out)[i] == (i % 2 ? 0x3f80 : 0xbf80), "element %d is %x", i, h(out)[i]);
    CHECK(near(f(sum)[0], 2 / sqrt(16.5), 1e-6) && near(f(sum)[4], 0.01 / sqrt(0.5004), 1e-6), "%g %g",
          (double)f(sum)[0], (double)f(sum)[4]);
    CHECK(near(f(most)[0], 0.5, 1e-6) && near(f(most)[4], 0.02, 1e-6), "%g %g", (double)f(most)[0],
          (double)f(most)[4]);
}

/* Rows of any length, none of whose last elements is lost. */
static void test_odd_lengths(void) {
    for (uint64_t k = 1; k < 40; k++)
        for (uint64_t m = 1; m < 6; m += 4) {
            mlxn_tensor a = rows(MLXN_F32, m, k), b = rows(MLXN_F32, 3, k), out = rows(MLXN_F32, m, 3);
            for (uint64_t i = 0; i < m * k; i++) f(a)[i] = (float)(i % 5) + 1;
            for (uint64_t i = 0; i < 3 * k; i++) f(b)[i] = (float)(i % 7) - 2;
            mlxn_dense_matmul(encoder, a, b, out);
            run("odd lengths");
            for (uint64_t i = 0; i < m * 3; i++) {
                float want = 0;
                for (uint64_t l = 0; l < k; l++) want += f(a)[i / 3 * k + l] * f(b)[i % 3 * k + l];
                CHECK(f(out)[i] == want, "K = %llu: element %llu is %g, want %g", (unsigned long long)k,
                      (unsigned long long)i, (double)f(out)[i], (double)want);
            }
        }
}

/* Halves that are called "swiglu" go through gelu. */
static void test_gelu_halves(void) {
    mlxn_tensor both = rows(MLXN_F32, 1, 2), out = rows(MLXN_F32, 1, 1);
    f(both)[0] = 1, f(both)[1] = 3;
    mlxn_tensor gate = mlxn_tensor_2d(memory, both.offset, MLXN_F32, 1, 1), up = gate;
    up.offset += 4;
    mlxn_gelu_mul(encoder, gate, up, out);
    run("halves");
    CHECK(near(f(out)[0], 3 * 0.8411919906, 1e-5), "%g", (double)f(out)[0]);
}

int main(void) {
    open_device();
    test_pairings();
    test_rope_parts();
    test_windows();
    test_rings();
    test_delta_heads();
    test_routes();
    test_routes_again();
    test_norms();
    test_odd_lengths();
    test_gelu_halves();
    close_device();
    return TEST_DONE();
}
