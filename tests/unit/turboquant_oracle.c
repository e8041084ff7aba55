/* Promise: attention over byte caches is what its definition says - layouts, ring, window, mask value, shared heads,
 * block norms, softcap - compared with a model in double that visits positions instead of slots; same bits in every
 * call; close to attention over the uncoded vectors; wrong arguments are refused with both values. */
#include <math.h>

#include "quant/turboquant.h"
#include "test.h"
#include "turboquant_random.h"

static mlxn_error error;

#define REFUSED(call, text)                                                                                  \
    do {                                                                                                     \
        memset(&error, 0, sizeof error);                                                                     \
        mlxn_status refused_status = (call);                                                                 \
        CHECK(refused_status == MLXN_ERR_ARGUMENT && error.status == refused_status, "%s: status %d", #call, \
              (int)refused_status);                                                                          \
        CHECK(strstr(error.message, text), "%s: \"%s\" lacks \"%s\"", #call, error.message, text);           \
    } while (0)

/* Queries, a coded cache, and the vectors that were coded: [kv_heads, capacity, dim], unrotated. */
typedef struct scene {
    mlxn_turboquant_attention params;
    uint32_t norms; /* per vector */
    float *q, *out, *k, *v, *k_norms, *v_norms;
    uint8_t *k_codes, *v_codes;
    mlxn_turboquant_cache k_cache, v_cache;
} scene;

static void *get(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) abort();
    return memory;
}

static void encode_slot(scene *s, uint32_t kv_head, uint32_t slot) {
    const uint32_t dim = s->params.codec.dim;
    const size_t row = (size_t)kv_head * s->params.capacity + slot;
    mlxn_status status = mlxn_turboquant_hb_encode(&s->params.codec, s->k + row * dim, dim, s->k_codes + row * dim,
                                                   dim, s->k_norms + row * s->norms, s->norms, &error);
    if (!status)
        status = mlxn_turboquant_hb_encode(&s->params.codec, s->v + row * dim, dim, s->v_codes + row * dim, dim,
                                           s->v_norms + row * s->norms, s->norms, &error);
    CHECK(status == MLXN_OK, "%s", error.message);
}

/* Everything drawn; queries are rotated. */
static scene make(uint32_t heads, uint32_t kv_heads, uint32_t dim, uint32_t bits, uint32_t seq_len, uint32_t capacity,
                  uint64_t seed) {
    const size_t rows = (size_t)kv_heads * capacity;
    scene s = {.params = {.codec = {dim, bits, 0},
                          .heads = heads,
                          .kv_heads = kv_heads,
                          .seq_len = seq_len,
                          .capacity = capacity,
                          .scale = 1 / sqrtf((float)dim)},
               .norms = dim / 256};
    s.q = get((size_t)heads * dim, sizeof(float));
    s.out = get((size_t)heads * dim, sizeof(float));
    s.k = get(rows * dim, sizeof(float));
    s.v = get(rows * dim, sizeof(float));
    s.k_norms = get(rows * s.norms, sizeof(float));
    s.v_norms = get(rows * s.norms, sizeof(float));
    s.k_codes = get(rows * dim, 1);
    s.v_codes = get(rows * dim, 1);
    random_fill(&seed, s.q, (size_t)heads * dim);
    random_fill(&seed, s.k, rows * dim);
    random_fill(&seed, s.v, rows * dim);
    for (uint32_t h = 0; h < heads; h++) mlxn_turboquant_rotate(s.q + (size_t)h * dim, dim, NULL);
    for (uint32_t h = 0; h < kv_heads; h++)
        for (uint32_t i = 0; i < capacity; i++) encode_slot(&s, h, i);
    s.k_cache = (mlxn_turboquant_cache){s.k_codes, rows * dim, s.k_norms, rows * s.norms};
    s.v_cache = (mlxn_turboquant_cache){s.v_codes, rows * dim, s.v_norms, rows * s.norms};
    return s;
}

static void drop(scene *s) {
    free(s->q), free(s->out), free(s->k), free(s->v);
    free(s->k_norms), free(s->v_norms), free(s->k_codes), free(s->v_codes);
}

static size_t count_of(const scene *s) { return (size_t)s->params.heads * s->params.codec.dim; }

static mlxn_status run(scene *s) {
    memset(s->out, 0xff, count_of(s) * sizeof *s->out); /* NaN: what is not written shows */
    return mlxn_turboquant_hb_attention(&s->params, s->q, count_of(s), &s->k_cache, &s->v_cache, s->out, count_of(s),
                                        &error);
}

static void run_well(scene *s) {
    mlxn_status status = run(s);
    CHECK(status == MLXN_OK, "%s", error.message);
}

/* Slot -> the decoded vector, by the formulas and the public table lookup. */
static void decode(const scene *s, const uint8_t *codes, const float *norms, size_t row, double *out) {
    const mlxn_turboquant_hb *codec = &s->params.codec;
    for (uint32_t j = 0; j < codec->dim; j++) {
        float c;
        mlxn_turboquant_centroid(codec->bits, codes[row * codec->dim + j], &c, NULL);
        if (codec->dim == 256)
            out[j] = (double)c * (double)norms[row] / 16;
        else
            out[j] = (double)c * (double)norms[2 * row + j / 256] /
                     (codec->scale_factor != 0 ? (double)codec->scale_factor : 1);
    }
}

/* The definition, position after position; no position that counts gives zeros. */
static void model(const scene *s, float *out) {
    const mlxn_turboquant_attention *p = &s->params;
    const uint32_t dim = p->codec.dim;
    double *scores = get(p->capacity, sizeof *scores);
    for (uint32_t h = 0; h < p->heads; h++) {
        const size_t first = (size_t)(h / (p->heads / p->kv_heads)) * p->capacity;
        uint32_t from = 0;
        if (p->mask == MLXN_TURBOQUANT_MASK_WINDOW && p->window && p->window < p->seq_len)
            from = p->seq_len - p->window;
        double top = -INFINITY, sum = 0, o[512] = {0}, row[512];
        for (int pass = 0; pass < 2; pass++)
            for (uint32_t position = from; position < p->seq_len; position++) {
                const uint32_t slot = (uint32_t)(((uint64_t)p->ring_start + position) % p->capacity);
                if (slot >= p->seq_len) continue; /* only slots below seq_len are in use */
                if (pass == 0) {
                    decode(s, s->k_codes, s->k_norms, first + slot, row);
                    double dot = 0;
                    for (uint32_t j = 0; j < dim; j++) dot += (double)s->q[(size_t)h * dim + j] * row[j];
                    dot *= (double)p->scale;
                    if (p->softcap > 0) dot = (double)p->softcap * tanh(dot / (double)p->softcap);
                    scores[position] = dot;
                    top = fmax(top, dot);
                } else {
                    decode(s, s->v_codes, s->v_norms, first + slot, row);
                    const double w = exp(scores[position] - top);
                    sum += w;
                    for (uint32_t j = 0; j < dim; j++) o[j] += w * row[j];
                }
            }
        for (uint32_t j = 0; j < dim; j++) out[(size_t)h * dim + j] = sum > 0 ? (float)(o[j] / sum) : 0;
    }
    free(scores);
}

static void check_model(scene *s, const char *what) {
    float *want = get(count_of(s), sizeof *want);
    run_well(s);
    model(s, want);
    double got = nrmse(want, s->out, count_of(s));
    CHECK(got < 2e-6, "%s, dim %u, %u bits: nrmse %g against the model", what, s->params.codec.dim,
          s->params.codec.bits, got);
    free(want);
}

static void test_against_model(void) {
    for (uint32_t dim = 256; dim <= 512; dim += 256)
        for (uint32_t bits = 5; bits <= 8; bits += bits == 6 ? 2 : 1) {
            scene s = make(4, 2, dim, bits, 37, 50, 100 + bits);
            check_model(&s, "all of a part of the cache");
            s.params.mask = MLXN_TURBOQUANT_MASK_WINDOW;
            s.params.window = 10;
            check_model(&s, "window");
            s.params.ring_start = 3; /* not full: some positions fall on slots that are not in use */
            check_model(&s, "ring that is not full");
            s.params.seq_len = 50;
            s.params.ring_start = 17;
            check_model(&s, "full ring and window");
            s.params.mask = MLXN_TURBOQUANT_MASK_NONE;
            check_model(&s, "full ring");
            s.params.scale = 1;
            s.params.softcap = 5;
            check_model(&s, "softcap");
            drop(&s);
        }
}

static void test_one_key(void) {
    scene s = make(2, 1, 256, 8, 1, 4, 1);
    run_well(&s);
    float v[256];
    mlxn_turboquant_hb_decode(&s.params.codec, s.v_codes, 256, s.v_norms, 1, v, 256, &error);
    for (int j = 0; j < 256; j++)
        CHECK(s.out[j] == v[j] && s.out[256 + j] == v[j], "%d: got %g, want %g", j, (double)s.out[j], (double)v[j]);
    drop(&s);
}

static void test_shared_heads(void) {
    scene s = make(6, 3, 256, 8, 5, 8, 2);
    for (uint32_t h = 0; h < 3; h++) /* all values of a head are one vector: so is every mean of them */
        for (uint32_t i = 0; i < 8; i++) {
            for (int j = 0; j < 256; j++) s.v[((size_t)h * 8 + i) * 256 + j] = (float)(h + 1) * (j % 2 ? 1.0f : 0.5f);
            encode_slot(&s, h, i);
        }
    run_well(&s);
    for (uint32_t h = 0; h < 6; h++) {
        float v[256];
        const size_t row = (size_t)(h / 2) * 8;
        mlxn_turboquant_hb_decode(&s.params.codec, s.v_codes + row * 256, 256, s.v_norms + row, 1, v, 256, NULL);
        CHECK(nrmse(v, s.out + 256 * h, 256) < 1e-6, "head %u does not read kv head %u", h, h / 2);
    }
    drop(&s);
}

static void test_ring(void) {
    /* The same positions, shifted by 5 slots round the ring: only the order of the sums differs. */
    scene a = make(2, 2, 256, 6, 16, 16, 3), b = make(2, 2, 256, 6, 16, 16, 3);
    b.params.ring_start = 5;
    for (uint32_t h = 0; h < 2; h++)
        for (uint32_t i = 0; i < 16; i++) {
            const size_t from = ((size_t)h * 16 + i) * 256, to = ((size_t)h * 16 + (i + 5) % 16) * 256;
            memcpy(b.k + to, a.k + from, 256 * sizeof(float));
            memcpy(b.v + to, a.v + from, 256 * sizeof(float));
        }
    for (uint32_t h = 0; h < 2; h++)
        for (uint32_t i = 0; i < 16; i++) encode_slot(&b, h, i);
    for (uint32_t window = 0; window <= 16; window += 4) {
        a.params.mask = b.params.mask = window ? MLXN_TURBOQUANT_MASK_WINDOW : MLXN_TURBOQUANT_MASK_NONE;
        a.params.window = b.params.window = window;
        run_well(&a);
        run_well(&b);
        CHECK(nrmse(a.out, b.out, 512) < 1e-6, "window %u: nrmse %g", window, nrmse(a.out, b.out, 512));
    }
    drop(&a), drop(&b);
}

static void test_window(void) {
    scene s = make(1, 1, 256, 8, 12, 12, 4);
    float all[256];
    run_well(&s);
    memcpy(all, s.out, sizeof all);
    static const struct {
        mlxn_turboquant_mask mask;
        uint32_t window;
    } open[] = {{MLXN_TURBOQUANT_MASK_CAUSAL, 0},  {MLXN_TURBOQUANT_MASK_CAUSAL, 3},
                {MLXN_TURBOQUANT_MASK_NONE, 3},    {MLXN_TURBOQUANT_MASK_WINDOW, 0},
                {MLXN_TURBOQUANT_MASK_WINDOW, 12}, {MLXN_TURBOQUANT_MASK_WINDOW, UINT32_MAX}};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        s.params.mask = open[i].mask;
        s.params.window = open[i].window;
        run_well(&s);
        CHECK(!memcmp(all, s.out, sizeof all), "mask %d, window %u masks something", (int)open[i].mask,
              open[i].window);
    }
    s.params.mask = MLXN_TURBOQUANT_MASK_WINDOW;
    s.params.window = 1; /* the newest alone */
    run_well(&s);
    float v[256];
    mlxn_turboquant_hb_decode(&s.params.codec, s.v_codes + 11 * 256, 256, s.v_norms + 11, 1, v, 256, NULL);
    CHECK(!memcmp(v, s.out, sizeof v), "window 1 is not the newest slot");
    drop(&s);
}

static void test_masked_slots(void) {
    /* What lies in slots that do not count cannot reach the result. */
    scene s = make(2, 1, 512, 5, 9, 12, 5);
    s.params.mask = MLXN_TURBOQUANT_MASK_WINDOW;
    s.params.window = 4;
    float want[1024];
    run_well(&s);
    memcpy(want, s.out, sizeof want);
    for (uint32_t i = 0; i < 12; i++) {
        if (i >= 5 && i < 9) continue;
        s.k_norms[2 * i] = s.k_norms[2 * i + 1] = s.v_norms[2 * i] = s.v_norms[2 * i + 1] = NAN;
        memset(s.k_codes + 512 * i, 0xff, 512);
        memset(s.v_codes + 512 * i, 0xff, 512);
    }
    for (uint32_t i = 5; i < 9; i++) /* nor can high bits of the codes that do */
        for (int j = 0; j < 512; j++)
            s.k_codes[512 * i + (uint32_t)j] |= 0xe0, s.v_codes[512 * i + (uint32_t)j] |= 0x60;
    run_well(&s);
    CHECK(!memcmp(want, s.out, sizeof want), "masked slots or high bits reach the result");
    /* Slots 0 and 1 hold positions 4 and 5 of a ring of 8, of which 2 are in use. */
    scene none = make(2, 1, 256, 8, 2, 8, 6);
    none.params.ring_start = 4;
    run_well(&none);
    for (int j = 0; j < 512; j++)
        CHECK(none.out[j] == 0 && !signbit(none.out[j]), "%d: got %g, want 0", j, (double)none.out[j]);
    drop(&s), drop(&none);
}

static void test_mask_value(void) {
    /* A masked slot has the score -65504: of no weight beside usual scores, but above a score of -131008. */
    scene s = make(1, 1, 256, 8, 2, 2, 7);
    s.params.mask = MLXN_TURBOQUANT_MASK_WINDOW;
    s.params.window = 1;
    double row[256], dot = 0;
    decode(&s, s.k_codes, s.k_norms, 1, row);
    for (int j = 0; j < 256; j++) dot += (double)s.q[j] * row[j];
    float v[2][256];
    for (int i = 0; i < 2; i++)
        mlxn_turboquant_hb_decode(&s.params.codec, s.v_codes + 256 * i, 256, s.v_norms + i, 1, v[i], 256, NULL);
    s.params.scale = (float)(-60000 / dot);
    run_well(&s);
    CHECK(!memcmp(s.out, v[1], sizeof v[1]), "score -60000 is not above the mask");
    s.params.scale = (float)(-131008 / dot);
    run_well(&s);
    CHECK(!memcmp(s.out, v[0], sizeof v[0]), "score -131008 is not below the mask");
    s.params.scale = (float)(-65504 / dot);
    run_well(&s);
    for (int j = 0; j < 256; j++) v[0][j] = 0.5f * (v[0][j] + v[1][j]);
    CHECK(nrmse(v[0], s.out, 256) < 0.02, "score -65504 is not that of the mask: nrmse %g", nrmse(v[0], s.out, 256));
    drop(&s);
}

static void test_block_norms(void) {
    scene s = make(1, 1, 512, 8, 1, 1, 8);
    float before[512];
    run_well(&s);
    memcpy(before, s.out, sizeof before);
    s.v_norms[1] *= 2; /* the second block alone */
    run_well(&s);
    for (int j = 0; j < 512; j++)
        CHECK(s.out[j] == (j < 256 ? 1 : 2) * before[j], "%d: got %g from %g", j, (double)s.out[j],
              (double)before[j]);
    s.params.codec.scale_factor = 4;
    run_well(&s);
    for (int j = 0; j < 512; j++)
        CHECK(s.out[j] == (j < 256 ? 0.25f : 0.5f) * before[j], "factor, %d: got %g", j, (double)s.out[j]);
    drop(&s);
}

static void test_same_bits(void) {
    scene s = make(8, 2, 256, 5, 100, 128, 9);
    float first[8 * 256];
    run_well(&s);
    memcpy(first, s.out, sizeof first);
    for (int i = 0; i < 3; i++) {
        run_well(&s);
        CHECK(!memcmp(first, s.out, sizeof first), "call %d differs", i);
    }
    drop(&s);
}

static void test_arguments(void) {
    scene good = make(4, 2, 256, 8, 3, 4, 10), s = good;
#define WRONG(field, value, text) \
    do {                          \
        s = good;                 \
        s.field = (value);        \
        REFUSED(run(&s), text);   \
    } while (0)
    WRONG(params.codec.dim, 128, "dim is 128, want 256 or 512");
    WRONG(params.codec.bits, 4, "bits is 4, want 5, 6 or 8");
    WRONG(params.codec.bits, 7, "bits is 7, want 5, 6 or 8");
    WRONG(params.codec.scale_factor, -1, "scale_factor is -1");
    WRONG(params.heads, 0, "heads is 0");
    WRONG(params.heads, 3, "heads is 3 with 2 kv_heads");
    WRONG(params.kv_heads, 0, "0 kv_heads");
    WRONG(params.kv_heads, 3, "heads is 4 with 3 kv_heads");
    WRONG(params.seq_len, 0, "seq_len is 0");
    WRONG(params.seq_len, 5, "capacity is 4, want at least seq_len = 5");
    WRONG(params.ring_start, 4, "ring_start is 4, want below capacity = 4");
    WRONG(params.scale, NAN, "scale is nan");
    WRONG(params.softcap, -2, "softcap is -2");
    WRONG(params.mask, (mlxn_turboquant_mask)3, "mask is 3");
    WRONG(k_cache.code_bytes, 2047, "k codes has 2047 bytes, want 2048");
    WRONG(v_cache.code_bytes, 2049, "v codes has 2049 bytes, want 2048");
    WRONG(k_cache.norm_count, 7, "got 7 k norms, want 8");
    WRONG(v_cache.norm_count, 16, "got 16 v norms, want 8");
    WRONG(k_cache.codes, NULL, "k codes is NULL");
    WRONG(v_cache.norms, NULL, "v norms is NULL");
    s = good;
    s.params.kv_heads = s.params.heads = s.params.capacity = UINT32_MAX; /* sizes pass 2^64 */
    REFUSED(mlxn_turboquant_hb_attention(&s.params, s.q, (uint64_t)UINT32_MAX * 256, &s.k_cache, &s.v_cache, s.out,
                                         (uint64_t)UINT32_MAX * 256, &error),
            "pass 2^64 bytes");
    REFUSED(mlxn_turboquant_hb_attention(NULL, s.q, 1024, &s.k_cache, &s.v_cache, s.out, 1024, &error), "NULL");
    s = good;
    REFUSED(mlxn_turboquant_hb_attention(&s.params, s.q, 1023, &s.k_cache, &s.v_cache, s.out, 1024, &error),
            "q has 1023 floats");
    REFUSED(mlxn_turboquant_hb_attention(&s.params, s.q, 1024, &s.k_cache, &s.v_cache, s.out, 512, &error),
            "out has 512 floats at a pointer, want 1024 of 4 heads");
    REFUSED(mlxn_turboquant_hb_attention(&s.params, NULL, 1024, &s.k_cache, &s.v_cache, s.out, 1024, &error), "NULL");
    REFUSED(mlxn_turboquant_hb_attention(&s.params, s.q, 1024, &s.k_cache, &s.v_cache, NULL, 1024, &error), "NULL");
    REFUSED(mlxn_turboquant_hb_attention(&s.params, s.q, 1024, NULL, &s.v_cache, s.out, 1024, &error), "k cache");
    REFUSED(mlxn_turboquant_hb_attention(&s.params, s.q, 1024, &s.k_cache, NULL, s.out, 1024, &error), "v cache");
    mlxn_alloc_fail_at(1);
    CHECK(run(&s) == MLXN_ERR_MEMORY && strstr(error.message, "3 scores"), "%s", error.message);
    mlxn_alloc_fail_at(0);
    run_well(&s);
    drop(&good);
}

/* The norms of the encoder, from the matrix in double; and what a trip through the codec keeps. */
static void test_encoder(void) {
    uint64_t state = 11;
    for (uint32_t dim = 256; dim <= 512; dim += 256)
        for (uint32_t bits = 5; bits <= 8; bits += bits == 6 ? 2 : 1)
            for (int draw = 0; draw < 4; draw++) {
                float x[512], out[512], norms[2];
                uint8_t codes[512];
                const mlxn_turboquant_hb codec = {dim, bits, 1};
                random_fill(&state, x, dim);
                for (uint32_t i = 0; i < dim / 2; i++)
                    x[i] *= 3; /* so that the blocks would differ without rotation */
                CHECK(mlxn_turboquant_hb_encode(&codec, x, dim, codes, dim, norms, dim / 256, &error) == MLXN_OK,
                      "%s", error.message);
                double squares[2] = {0, 0};
                const uint8_t *signs = mlxn_turboquant_signs();
                for (uint32_t i = 0; i < dim; i++) {
                    double sum = 0;
                    for (uint32_t j = 0; j < dim; j++)
                        sum += (__builtin_popcount(i & j) + (signs[j / 8] >> j % 8 & 1)) % 2 ? -(double)x[j]
                                                                                             : (double)x[j];
                    squares[i / 256] += sum * sum / dim;
                }
                for (uint32_t b = 0; b < dim / 256; b++) {
                    double want = sqrt(dim == 512 ? squares[b] / 256 : squares[b]);
                    CHECK(fabs((double)norms[b] - want) < 1e-5 * want, "dim %u, norm %u: got %g, want %g", dim, b,
                          (double)norms[b], want);
                }
                mlxn_turboquant_hb_decode(&codec, codes, dim, norms, dim / 256, out, dim, NULL);
                mlxn_turboquant_unrotate(out, dim, NULL);
                double dot = 0;
                for (uint32_t i = 0; i < dim; i++) dot += (double)x[i] * (double)out[i];
                dot /= mlxn_turboquant_length(x, dim) * mlxn_turboquant_length(out, dim);
                CHECK(dot >= 0.998, "dim %u, %u bits: cosine %g", dim, bits, dot);
            }
}

static void dense(const scene *s, const float *q, uint32_t h, float *out) {
    const mlxn_turboquant_attention *p = &s->params;
    const uint32_t dim = p->codec.dim;
    const size_t first = (size_t)(h / (p->heads / p->kv_heads)) * p->capacity * dim;
    double *scores = get(p->seq_len, sizeof *scores), o[512] = {0}, top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < p->seq_len; i++) {
        for (uint32_t j = 0; j < dim; j++) scores[i] += (double)q[j] * (double)s->k[first + (size_t)i * dim + j];
        scores[i] *= (double)p->scale;
        top = fmax(top, scores[i]);
    }
    for (uint32_t i = 0; i < p->seq_len; i++) {
        const double w = exp(scores[i] - top);
        sum += w;
        for (uint32_t j = 0; j < dim; j++) o[j] += w * (double)s->v[first + (size_t)i * dim + j];
    }
    for (uint32_t j = 0; j < dim; j++) out[j] = (float)(o[j] / sum);
    free(scores);
}

static void test_against_dense(void) {
    static const uint32_t shapes[][4] = {{2, 1, 256, 64}, {8, 2, 512, 128}, {32, 4, 256, 1024}};
    for (size_t c = 0; c < sizeof shapes / sizeof shapes[0]; c++) {
        double last = 0;
        for (uint32_t bits = 8; bits >= 5; bits -= bits == 8 ? 2 : 1) {
            const uint32_t heads = shapes[c][0], dim = shapes[c][2];
            scene s = make(heads, shapes[c][1], dim, bits, shapes[c][3], shapes[c][3], 12);
            float *want = get(count_of(&s), sizeof *want), q[512];
            run_well(&s);
            for (uint32_t h = 0; h < heads; h++) {
                memcpy(q, s.q + (size_t)h * dim, dim * sizeof *q);
                mlxn_turboquant_unrotate(q, dim, NULL); /* dense attention knows nothing of rotations */
                mlxn_turboquant_unrotate(s.out + (size_t)h * dim, dim, NULL);
                dense(&s, q, h, want + (size_t)h * dim);
            }
            double got = nrmse(want, s.out, count_of(&s));
            CHECK(got <= 0.15, "%u heads, dim %u, %u bits: nrmse %g", heads, dim, bits, got);
            CHECK(got > last, "%u heads, dim %u: %u bits are not worse than more: %g, %g", heads, dim, bits, got,
                  last);
            last = got;
            free(want);
            drop(&s);
        }
    }
}

int main(void) {
    test_against_model();
    test_one_key();
    test_shared_heads();
    test_ring();
    test_window();
    test_masked_slots();
    test_mask_value();
    test_block_norms();
    test_same_bits();
    test_arguments();
    test_encoder();
    test_against_dense();
    return TEST_DONE();
}
