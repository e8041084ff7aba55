/* Promise: another name of attention, of a write into a cache or a read out of one, of a transform or a recurrent
 * mixer does what its row says: the call that the row describes gives, on the device, the name's formula in double.
 * Names of stages ("part of it") stand for the whole that has them inside. */
#include "ops_alias_walk.h"

#include <mlxn/kv.h>
#include <mlxn/turboquant.h>

static const mlxn_tensor none;

static double at(mlxn_tensor t, uint64_t i) { return (double)f(t)[i]; }
/* Numbers between -1 and 1, without a pattern. */
static void draw(mlxn_tensor t, uint64_t n, uint32_t seed) {
    for (uint64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        f(t)[i] = (float)(seed >> 8) * 0x1p-23f - 1;
    }
}
static mlxn_tensor drawn(uint64_t n, uint32_t seed) {
    mlxn_tensor t = row(MLXN_F32, n);
    draw(t, n, seed);
    return t;
}
/* The same memory as another shape. */
static mlxn_tensor as3(mlxn_tensor t, uint64_t d0, uint64_t d1, uint64_t d2) {
    return mlxn_tensor_3d(memory, t.offset, t.dtype, d0, d1, d2);
}
static mlxn_tensor as4(mlxn_tensor t, uint64_t d0, uint64_t d1, uint64_t d2, uint64_t d3) {
    return mlxn_tensor_4d(memory, t.offset, t.dtype, d0, d1, d2, d3);
}
static mlxn_tensor counted(uint64_t n, uint32_t from, uint32_t step) {
    mlxn_tensor t = row(MLXN_U32, n);
    for (uint32_t i = 0; i < n; i++) u(t)[i] = from + i * step;
    return t;
}
/* In `dtype`, and what remains of them in f32. */
static mlxn_tensor rounded(mlxn_tensor t, uint64_t n, mlxn_dtype dtype, mlxn_tensor *back) {
    mlxn_tensor out = row(dtype, n);
    *back = row(MLXN_F32, n);
    mlxn_cast(encoder, t, out), mlxn_cast(encoder, out, *back);
    return out;
}

/* ---- attention ---- */

enum { H = 4, HK = 2 };

/* T rows at positions first, first + 1, … over first + T keys of a ring of C slots. head_major: q and out lie as
 * [H, T, D]. masked: what is visible is said by a mask in memory instead. */
typedef struct scene {
    mlxn_dtype dtype;
    mlxn_kv_type type; /* of TurboQuant, or DEFAULT */
    uint64_t tokens, first, d;
    uint32_t window;
    bool head_major, masked;
} scene;

static void attend(scene s) {
    const uint64_t c = s.first + s.tokens, n = s.tokens * H * s.d, keys = HK * c * s.d;
    const double scale = 0.25;
    mlxn_tensor q0 = drawn(n, 1), k0 = drawn(keys, 2), v0 = drawn(keys, 3), q, k, v, result = row(s.dtype, n);
    mlxn_tensor qi = rounded(q0, n, s.dtype, &q), ki = rounded(k0, keys, s.dtype, &k),
                vi = rounded(v0, keys, s.dtype, &v);
    mlxn_tensor wide = row(MLXN_F32, n), positions = counted(s.tokens, (uint32_t)s.first, 1),
                sequences = counted(s.tokens, 0, 0);
    mlxn_tensor mask = s.masked ? rows(MLXN_F32, s.tokens, c) : none;
    mlxn_attention_params p = {.scale = (float)scale, .window = s.masked ? 0 : s.window};
    if (s.masked) {
        p.visible = MLXN_MASK_NONE;
        for (uint64_t i = 0; i < s.tokens * c; i++) {
            uint64_t pos = s.first + i / c, key = i % c;
            f(mask)[i] = key <= pos && (!s.window || key + s.window > pos) ? 0 : -INFINITY;
        }
    }
    ki = as4(ki, 1, HK, c, s.d), vi = as4(vi, 1, HK, c, s.d);
    if (s.type) { /* written from rows [c, HK, D]: the keys as they lie, seen by tokens */
        uint64_t bytes = 0;
        mlxn_kv_row_bytes(s.type, s.d, &bytes, NULL);
        mlxn_tensor all = counted(c, 0, 1), seq = counted(c, 0, 0), kt = block(MLXN_U8, 1, HK, c, bytes),
                    vt = block(MLXN_U8, 1, HK, c, bytes);
        const uint64_t *dims = D(c, HK, s.d);
        const int64_t *strides = S((int64_t)s.d, (int64_t)(c * s.d), 1);
        mlxn_kv_write(encoder, view(k, 0, 3, dims, strides), view(v, 0, 3, dims, strides), seq, all, kt, vt,
                      &(mlxn_kv_write_params){s.type, s.type});
        mlxn_kv_read_params r = {s.type, 0};
        mlxn_kv_read(encoder, kt, seq, all, view(k, 0, 3, dims, strides), &r);
        mlxn_kv_read(encoder, vt, seq, all, view(v, 0, 3, dims, strides), &r);
        p.k_type = p.v_type = s.type;
        ki = kt, vi = vt;
    }
    const int64_t *by =
        s.head_major ? S((int64_t)s.d, (int64_t)(s.tokens * s.d), 1) : S((int64_t)(H * s.d), (int64_t)s.d, 1);
    const uint64_t *shape = D(s.tokens, H, s.d);
    mlxn_attention(encoder, view(qi, 0, 3, shape, by), ki, vi, sequences, positions, none, mask,
                   view(result, 0, 3, shape, by), &p);
    mlxn_cast(encoder, result, wide);
    run(now);
    for (uint64_t t = 0; t < s.tokens; t++)
        for (uint64_t head = 0; head < H; head++) {
            double score[256], top = -INFINITY, sum = 0;
            uint64_t pos = s.first + t, row0 = t * (uint64_t)by[0] + head * (uint64_t)by[1],
                     lines = head / (H / HK) * c;
            uint64_t low = s.window && pos + 1 > s.window ? pos + 1 - s.window : 0;
            CHECK(c <= 256, "too many keys");
            for (uint64_t i = low; i <= pos; i++) {
                score[i] = 0;
                for (uint64_t j = 0; j < s.d; j++) score[i] += scale * at(q, row0 + j) * at(k, (lines + i) * s.d + j);
                top = fmax(top, score[i]);
            }
            for (uint64_t i = low; i <= pos; i++) score[i] = exp(score[i] - top), sum += score[i];
            for (uint64_t j = 0; j < s.d; j++) {
                double want = 0;
                for (uint64_t i = low; i <= pos; i++) want += score[i] / sum * at(v, (lines + i) * s.d + j);
                is_near(wide, row0 + j, want, s.dtype == MLXN_F32 ? 2e-5 : 0x1p-8);
            }
        }
}
static void sdpa(void) { /* a call for each of two batches */
    attend((scene){MLXN_F32, 0, 7, 0, 64, 0, true, false}), attend((scene){MLXN_F32, 0, 7, 0, 80, 0, true, false});
}
static void sdpa_sliding(void) { attend((scene){MLXN_F32, 0, 9, 4, 64, 3, true, false}); }
static void one_row(void) {
    attend((scene){MLXN_F32, 0, 1, 33, 256, 0, false, false}),
        attend((scene){MLXN_F32, 0, 1, 200, 128, 0, false, false});
}
static void prefill(uint64_t d) {
    attend((scene){MLXN_BF16, 0, 40, 0, d, 0, true, false}), attend((scene){MLXN_BF16, 0, 40, 0, d, 9, false, true});
}
static void prefill_64(void) { prefill(64); }
static void prefill_256(void) { prefill(256); }
static void prefill_512(void) { prefill(512); }
static void resume(void) { attend((scene){MLXN_BF16, 0, 20, 31, 256, 0, true, false}); }
static void mask(void) { /* the same, said by parameters and by a mask */
    attend((scene){MLXN_F32, 0, 30, 10, 64, 7, true, false}), attend((scene){MLXN_F32, 0, 30, 10, 64, 7, true, true});
}
static void over_tq4(void) {
    attend((scene){MLXN_F32, MLXN_KV_TQ4, 1, 50, 256, 0, false, false}),
        attend((scene){MLXN_F32, MLXN_KV_TQ4, 1, 50, 512, 12, false, false});
}
static void over_hb(void) {
    for (int type = MLXN_KV_TQ5; type <= MLXN_KV_TQ8; type++)
        attend((scene){MLXN_F32, (mlxn_kv_type)type, 1, 50, 256, 0, false, false});
}

static void gradients(void) { /* dV = P' dO, dS = P (dO V' - sum(dO O)), dQ = scale dS K, dK = scale dS' Q */
    enum { T = 5, N = 7, DK = 8, DV = 6 };
    const double scale = 0.5;
    mlxn_tensor q = drawn(T * DK, 1), k = drawn(N * DK, 2), v = drawn(N * DV, 3), dout = drawn(T * DV, 4);
    mlxn_tensor dq = row(MLXN_F32, T * DK), dk = row(MLXN_F32, N * DK), dv = row(MLXN_F32, N * DV);
    mlxn_attention_backward(encoder, as3(q, 1, T, DK), as3(k, 1, N, DK), as3(v, 1, N, DV), as3(dout, 1, T, DV), none,
                            as3(dq, 1, T, DK), as3(dk, 1, N, DK), as3(dv, 1, N, DV),
                            &(mlxn_attention_backward_params){(float)scale, 1});
    run(now);
    double want_q[T * DK] = {0}, want_k[N * DK] = {0}, want_v[N * DV] = {0};
    for (uint64_t t = 0; t < T; t++) {
        double p[N] = {0}, dp[N] = {0}, sum = 0, both = 0;
        uint64_t seen = t + N - T + 1;
        for (uint64_t i = 0; i < seen; i++) {
            for (uint64_t j = 0; j < DK; j++) p[i] += scale * at(q, t * DK + j) * at(k, i * DK + j);
            p[i] = exp(p[i]), sum += p[i];
            for (uint64_t j = 0; j < DV; j++) dp[i] += at(dout, t * DV + j) * at(v, i * DV + j);
        }
        for (uint64_t i = 0; i < seen; i++) p[i] /= sum, both += p[i] * dp[i];
        for (uint64_t i = 0; i < seen; i++) {
            double ds = p[i] * (dp[i] - both) * scale;
            for (uint64_t j = 0; j < DV; j++) want_v[i * DV + j] += p[i] * at(dout, t * DV + j);
            for (uint64_t j = 0; j < DK; j++)
                want_q[t * DK + j] += ds * at(k, i * DK + j), want_k[i * DK + j] += ds * at(q, t * DK + j);
        }
    }
    for (uint64_t i = 0; i < T * DK; i++) is(dq, i, want_q[i]);
    for (uint64_t i = 0; i < N * DK; i++) is(dk, i, want_k[i]);
    for (uint64_t i = 0; i < N * DV; i++) is(dv, i, want_v[i]);
}

/* ---- transforms ---- */

static void transform(uint32_t signs, uint64_t d) {
    mlxn_tensor x = drawn(2 * d, 5), out = rows(MLXN_F32, 2, d);
    const uint8_t *bits = mlxn_turboquant_signs();
    mlxn_hadamard(encoder, mlxn_tensor_2d(memory, x.offset, MLXN_F32, 2, d), out, &(mlxn_hadamard_params){signs});
    run(now);
    for (uint64_t i = 0; i < 2 * d; i++) {
        double sum = 0;
        for (uint64_t j = 0; j < d; j++) {
            bool minus = signs == MLXN_HADAMARD_SIGNS_FIRST && bits[j / 8] >> j % 8 & 1;
            sum += at(x, i / d * d + j) * (__builtin_popcountll((i % d) & j) % 2 != minus ? -1 : 1);
        }
        if (signs == MLXN_HADAMARD_SIGNS_LAST && bits[i % d / 8] >> i % d % 8 & 1) sum = -sum;
        is_near(out, i, sum / sqrt((double)d), 2e-6);
    }
}
static void plain_transform(void) { transform(MLXN_HADAMARD_PLAIN, 64), transform(MLXN_HADAMARD_PLAIN, 2048); }
static void fwht(void) { transform(MLXN_HADAMARD_PLAIN, 256), transform(MLXN_HADAMARD_PLAIN, 512); }
static void premult(void) { transform(MLXN_HADAMARD_SIGNS_FIRST, 256), transform(MLXN_HADAMARD_SIGNS_FIRST, 512); }
static void undo(void) { transform(MLXN_HADAMARD_SIGNS_LAST, 256), transform(MLXN_HADAMARD_SIGNS_LAST, 512); }

/* ---- caches ---- */

enum { SLOTS = 6, WIDTH = 8 };
/* n rows from position 4 on into six slots, keys and values together. */
static void store(mlxn_dtype dtype, mlxn_dtype cache, uint64_t n) {
    const uint64_t all = HK * SLOTS * WIDTH;
    mlxn_tensor x[2], in[2], c[2], wide[2];
    for (int i = 0; i < 2; i++) {
        in[i] = rounded(drawn(n * HK * WIDTH, 7 + (uint32_t)i), n * HK * WIDTH, dtype, &x[i]);
        c[i] = row(cache, all), wide[i] = row(MLXN_F32, all);
        mlxn_fill_value(encoder, c[i], &(mlxn_fill_value_params){5});
    }
    mlxn_kv_write(encoder, as3(in[0], n, HK, WIDTH), as3(in[1], n, HK, WIDTH), counted(n, 0, 0), counted(n, 4, 1),
                  as4(c[0], 1, HK, SLOTS, WIDTH), as4(c[1], 1, HK, SLOTS, WIDTH), &(mlxn_kv_write_params){0, 0});
    for (int i = 0; i < 2; i++) mlxn_cast(encoder, c[i], wide[i]);
    run(now);
    for (uint64_t i = 0; i < 2 * all; i++) {
        uint64_t e = i % all, head = e / (SLOTS * WIDTH), slot = e / WIDTH % SLOTS, t = (slot + SLOTS - 4) % SLOTS;
        double want = t < n ? at(x[i / all], (t * HK + head) * WIDTH + e % WIDTH) : 5;
        is_near(wide[i / all], e, want, cache == MLXN_F16 ? 0x1p-11 : 0);
    }
}
static void store_f32(void) { store(MLXN_F32, MLXN_F32, 4); }
static void store_copy(void) { store(MLXN_F32, MLXN_F32, 4), store(MLXN_F16, MLXN_F16, 4); }
static void store_one(void) { store(MLXN_F32, MLXN_F32, 1); }
static void store_one_f16(void) { store(MLXN_F32, MLXN_F16, 1); }
static void store_f16(void) { store(MLXN_F32, MLXN_F16, 4); }
static void store_bf16(void) { store(MLXN_BF16, MLXN_F32, 4); }

/* Rows of TurboQuant: the bytes of mlxn_kv_encode_row; and read again, with and without the rotation. */
static void quantize(mlxn_kv_type type, uint64_t d, uint64_t n) {
    uint64_t bytes = 0;
    mlxn_error error = {0};
    CHECK(!mlxn_kv_row_bytes(type, d, &bytes, &error), "%s", error.message);
    mlxn_tensor x = drawn(n * HK * d, 9), k = block(MLXN_U8, 1, HK, SLOTS, bytes),
                v = block(MLXN_U8, 1, HK, SLOTS, bytes);
    mlxn_tensor seq = counted(n, 0, 0), pos = counted(n, 4, 1), turned = row(MLXN_F32, n * HK * d),
                back = row(MLXN_F32, n * HK * d);
    mlxn_kv_write(encoder, as3(x, n, HK, d), as3(x, n, HK, d), seq, pos, k, v, &(mlxn_kv_write_params){type, type});
    mlxn_kv_read(encoder, k, seq, pos, as3(turned, n, HK, d), &(mlxn_kv_read_params){type, 1});
    mlxn_kv_read(encoder, v, seq, pos, as3(back, n, HK, d), &(mlxn_kv_read_params){type, 0});
    run(now);
    for (uint64_t r = 0; r < n * HK; r++) {
        uint8_t want[600];
        float values[512];
        const uint64_t slot = (4 + r / HK) % SLOTS, place = (r % HK * SLOTS + slot) * bytes;
        CHECK(!mlxn_kv_encode_row(type, f(x) + r * d, d, want, bytes, &error) &&
                  !mlxn_kv_decode_row(type, want, bytes, values, d, &error),
              "%s", error.message);
        CHECK(!memcmp(raw(k) + place, want, bytes) && !memcmp(raw(v) + place, want, bytes), "%s: row %u of %s", now,
              (unsigned)r, mlxn_kv_type_name(type));
        CHECK(!memcmp(f(turned) + r * d, values, d * 4), "%s: row %u read otherwise", now, (unsigned)r);
        mlxn_turboquant_unrotate(values, d, NULL);
        for (uint64_t i = 0; i < d; i++) is_near(back, r * d + i, (double)values[i], 2e-6);
    }
}
static void quantize_one(void) { quantize(MLXN_KV_TQ4, 128, 1), quantize(MLXN_KV_TQ4, 256, 1); }
static void quantize_seq(void) { quantize(MLXN_KV_TQ4, 128, 4), quantize(MLXN_KV_TQ4, 512, 4); }
static void quantize_hb(void) {
    for (int type = MLXN_KV_TQ5; type <= MLXN_KV_TQ8; type++)
        quantize((mlxn_kv_type)type, 256, 2), quantize((mlxn_kv_type)type, 512, 1);
}

/* ---- recurrent mixers: a matrix [DV, DK] for each of two heads ---- */

enum { DK = 16, DV = 8, NH = 2 };
typedef enum mixer { DELTA, KIMI, GLA, WKV6, WKV7 } mixer;

static void mix(mixer kind, uint64_t t) {
    const uint64_t n = t * NH * DK, values = t * NH * DV, states = NH * DV * DK;
    mlxn_tensor q = drawn(n, 1), k = drawn(n, 2), v = drawn(values, 3), g = drawn(kind == DELTA ? t * NH : n, 4),
                beta = drawn(t * NH, 5);
    mlxn_tensor a = drawn(n, 6), b = drawn(n, 7), bonus = drawn(NH * DK, 8), state = drawn(states, 9),
                out = row(MLXN_F32, values);
    double m[NH * DV * DK];
    for (uint64_t i = 0; i < states; i++) m[i] = at(state, i);
    for (uint64_t i = 0; i < n; i++) f(k)[i] *= 0.3f, f(a)[i] *= 0.2f, f(b)[i] *= 0.2f;
    for (uint64_t i = 0; i < (kind == DELTA ? t * NH : n); i++) /* a log-decay below 0, or a factor up to 1 */
        f(g)[i] = kind == DELTA || kind == KIMI ? f(g)[i] * 0.5f - 0.5f : f(g)[i] * 0.5f + 0.5f;
    for (uint64_t i = 0; i < t * NH; i++) f(beta)[i] = f(beta)[i] * 0.5f + 0.5f;
    const mlxn_tensor q4 = as4(q, 1, t, NH, DK), k4 = as4(k, 1, t, NH, DK), v4 = as4(v, 1, t, NH, DV),
                      out4 = as4(out, 1, t, NH, DV);
    const mlxn_tensor g4 = kind == DELTA ? as3(g, 1, t, NH) : as4(g, 1, t, NH, DK), m4 = as4(state, 1, NH, DV, DK);
    if (kind == DELTA || kind == KIMI)
        mlxn_gated_delta_net(encoder, q4, k4, v4, g4, as3(beta, 1, t, NH), none, m4, out4,
                             &(mlxn_gated_delta_net_params){1, 0, 0});
    if (kind == GLA) mlxn_gla(encoder, q4, k4, v4, g4, none, m4, out4, &(mlxn_gla_params){1});
    if (kind == WKV6)
        mlxn_wkv6(encoder, q4, k4, v4, g4, mlxn_tensor_2d(memory, bonus.offset, MLXN_F32, NH, DK), none, m4, out4);
    if (kind == WKV7) mlxn_wkv7(encoder, q4, g4, k4, v4, as4(a, 1, t, NH, DK), as4(b, 1, t, NH, DK), m4, out4);
    run(now);
    for (uint64_t token = 0; token < t; token++)
        for (uint64_t r = 0; r < NH * DV; r++) { /* a row of a head's matrix */
            uint64_t head = r / DV, keys = (token * NH + head) * DK;
            double *line = m + r * DK, value = at(v, token * NH * DV + r), seen = 0, want = 0;
            for (uint64_t i = 0; i < DK && kind == WKV6; i++)
                want += at(q, keys + i) * (line[i] + at(bonus, head * DK + i) * at(k, keys + i) * value);
            for (uint64_t i = 0; i < DK && kind == WKV7; i++) seen += at(a, keys + i) * line[i];
            for (uint64_t i = 0; i < DK; i++)
                line[i] *= kind == DELTA  ? exp(at(g, token * NH + head))
                           : kind == KIMI ? exp(at(g, keys + i))
                                          : at(g, keys + i);
            if (kind == DELTA || kind == KIMI) {
                for (uint64_t i = 0; i < DK; i++) seen += line[i] * at(k, keys + i);
                value = (value - seen) * at(beta, token * NH + head);
            }
            for (uint64_t i = 0; i < DK; i++) {
                line[i] += value * at(k, keys + i) + (kind == WKV7 ? seen * at(b, keys + i) : 0);
                if (kind != WKV6) want += line[i] * at(q, keys + i);
            }
            is_near(out, token * NH * DV + r, want, 2e-5);
        }
    for (uint64_t i = 0; i < states; i++) is_near(state, i, m[i], 2e-5);
}
static void delta_one(void) { mix(DELTA, 1); }
static void delta_chunks(void) { mix(DELTA, 64), mix(DELTA, 150); }
static void kimi(void) { mix(KIMI, 1), mix(KIMI, 70); }
static void gla(void) { mix(GLA, 9); }
static void wkv6(void) { mix(WKV6, 9); }
static void wkv7(void) { mix(WKV7, 9); }

static const alias_case cases[] = {
    {"gated_delta_net_decode", "T = 1", delta_one},
    {"gated_delta_net_chunked", "from 32 tokens on in chunks of 64; g is the log-decay", delta_chunks},
    {"chunk_local_cumsum", "part of it", delta_chunks},
    {"chunk_kkt", "part of it", delta_chunks},
    {"chunk_invert", "part of it", delta_chunks},
    {"chunk_recompute_w_u", "part of it", delta_chunks},
    {"chunk_inter_state", "part of it", delta_chunks},
    {"chunk_output", "part of it", delta_chunks},
    {"kimi_delta_attention", "g: [S, T, H, Dk], a decay per key channel", kimi},
    {"rwkv6", "", wkv6},
    {"rwkv7", "", wkv7},
    {"gated_linear_attention", "", gla},
    {"sdpa", "visible CAUSAL; one call per batch, q as [S, H, D] by strides", sdpa},
    {"sdpa_sliding", "window: so many keys", sdpa_sliding},
    {"sdpa_decode", "T = 1", one_row},
    {"flash_attn_vec", "T = 1", one_row},
    {"flash_attn_vec_reduce", "part of it", one_row},
    {"flash_attn_prefill_bf16_d64", "any D; mask or visible", prefill_64},
    {"flash_attn_prefill_bf16_d256", "any D; mask or visible", prefill_256},
    {"flash_attn_prefill_bf16_d512", "any D; mask or visible", prefill_512},
    {"flash_attn_prefill_resume", "positions say where the rows stand", resume},
    {"flash_attn_prefill_mask", "visible and window, without a mask in memory", mask},
    {"flash_attn_prefill_blk", "blocks that no row sees are not visited", mask},
    {"flash_attn_vec_tq", "k_type, v_type TQ4", over_tq4},
    {"flash_attn_vec_tq_hb", "k_type, v_type TQ5, TQ6 or TQ8", over_hb},
    {"hadamard_transform", "", plain_transform},
    {"fwht", "", fwht},
    {"fwht_sign_premult", "signs FIRST", premult},
    {"fwht_sign_undo", "signs LAST", undo},
    {"hadamard_quantize_kv", "types TQ4; keys and values in one call", quantize_one},
    {"hadamard_quantize_kv_seq", "types TQ4; one row per token", quantize_seq},
    {"hadamard_quantize_kv_hb", "types TQ5, TQ6 or TQ8", quantize_hb},
    {"tq_dequantize_kv", "type TQ4; rotated = 1 leaves the rotation", quantize_seq},
    {"tq_dequantize_hb_kv", "types TQ5, TQ6, TQ8; rotated = 1", quantize_hb},
    {"kv_cache_copy", "", store_copy},
    {"kv_cache_copy_f32", "", store_f32},
    {"kv_cache_copy_batch_f32", "positions count modulo the capacity", store_one},
    {"kv_cache_copy_batch_f32_to_f16", "caches F16", store_one_f16},
    {"kv_cache_copy_seq_f32", "", store_f32},
    {"kv_cache_copy_seq_f32_to_f16", "caches F16", store_f16},
    {"kv_cache_copy_seq_bf16", "rows BF16, caches F32", store_bf16},
    {"kv_cache_copy_seq_f32_dual", "keys and values are written together", store_f32},
    {"kv_cache_copy_seq_f32_to_f16_dual", "keys and values are written together", store_f16},
    {"flash attention backward", "", gradients},
};

int main(void) {
    open_device();
    walk_aliases(ATTENTION, cases, sizeof cases / sizeof *cases);
    close_device();
    return TEST_DONE();
}
