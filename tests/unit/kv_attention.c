/* Promise: attention over 4,096 keys in a quantized cache stays as close to attention over the exact keys and values
 * as the rows' own errors imply, for every type and head size; a cache that was written token by token gives the bits
 * of one that was written at once; one and two threads and every instruction-set level's kernels agree to rounding.
 */
#include <math.h>
#include <mlxn/mlxn.h>

#include "../test.h"
#include "turboquant_random.h"

enum { KEYS = 4096, HEADS = 2, KV_HEADS = 1 };

static mlxn_error error;

typedef struct rig {
    mlxn_device *device;
    mlxn_encoder *encoder;
    uint64_t d, row;
    mlxn_kv_type type;
    mlxn_tensor k, v, q, out, k_cache, v_cache, sequences, positions;
} rig;

static mlxn_tensor make(rig *r, mlxn_dtype dtype, uint64_t a, uint64_t b, uint64_t c) {
    mlxn_buffer *buffer = NULL;
    CHECK(!mlxn_buffer_create(r->device, a * b * c * mlxn_dtype_size(dtype), &buffer, &error), "%s", error.message);
    return mlxn_tensor_3d(buffer, 0, dtype, a, b, c);
}
static float *floats(const mlxn_tensor *t) { return mlxn_buffer_contents(t->buffer); }
static uint32_t *numbers(const mlxn_tensor *t) { return mlxn_buffer_contents(t->buffer); }
static mlxn_tensor vector(mlxn_tensor t, uint64_t first, uint64_t n) {
    return mlxn_tensor_1d(t.buffer, first * 4, t.dtype, n);
}
static mlxn_tensor rows(mlxn_tensor t, uint64_t first, uint64_t n) {
    uint64_t row = t.dims[1] * t.dims[2];
    return mlxn_tensor_3d(t.buffer, first * row * 4, t.dtype, n, t.dims[1], t.dims[2]);
}

static void open_rig(rig *r, uint32_t threads, uint32_t base, uint64_t d, mlxn_kv_type type) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .threads = threads, .no_isa = base};
    memset(r, 0, sizeof *r);
    r->d = d;
    r->type = type;
    CHECK(!mlxn_device_create(&desc, &r->device, &error), "%s", error.message);
    CHECK(!mlxn_kv_row_bytes(type, d, &r->row, &error), "%s", error.message);
    r->k = make(r, MLXN_F32, KEYS, KV_HEADS, d);
    r->v = make(r, MLXN_F32, KEYS, KV_HEADS, d);
    r->q = make(r, MLXN_F32, 1, HEADS, d);
    r->out = make(r, MLXN_F32, 1, HEADS, d);
    mlxn_tensor k = make(r, MLXN_U8, KV_HEADS, KEYS, r->row), v = make(r, MLXN_U8, KV_HEADS, KEYS, r->row);
    r->k_cache = mlxn_tensor_4d(k.buffer, 0, MLXN_U8, 1, KV_HEADS, KEYS, r->row);
    r->v_cache = mlxn_tensor_4d(v.buffer, 0, MLXN_U8, 1, KV_HEADS, KEYS, r->row);
    r->sequences = make(r, MLXN_U32, 1, 1, KEYS);
    r->positions = make(r, MLXN_U32, 1, 1, KEYS);
    uint64_t state = d;
    random_fill(&state, floats(&r->k), KEYS * KV_HEADS * d);
    random_fill(&state, floats(&r->v), KEYS * KV_HEADS * d);
    random_fill(&state, floats(&r->q), HEADS * d);
    for (uint32_t i = 0; i < KEYS; i++) {
        numbers(&r->sequences)[i] = 0;
        numbers(&r->positions)[i] = i;
    }
    CHECK(!mlxn_encoder_create(r->device, &r->encoder, &error), "%s", error.message);
}

static void close_rig(rig *r) {
    mlxn_tensor *all[] = {&r->k, &r->v, &r->q, &r->out, &r->k_cache, &r->v_cache, &r->sequences, &r->positions};
    mlxn_encoder_destroy(r->encoder);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mlxn_buffer_release(&all[i]->buffer);
    mlxn_device_release(&r->device);
}

static void write_cache(rig *r, uint64_t first, uint64_t n) {
    const mlxn_kv_write_params types = {r->type, r->type};
    mlxn_kv_write(r->encoder, rows(r->k, first, n), rows(r->v, first, n), vector(r->sequences, first, n),
                  vector(r->positions, first, n), r->k_cache, r->v_cache, &types);
}

static void attend(rig *r) {
    const mlxn_attention_params p = {.scale = 1 / sqrtf((float)r->d), .k_type = r->type, .v_type = r->type};
    mlxn_attention(r->encoder, r->q, r->k_cache, r->v_cache, vector(r->sequences, 0, 1),
                   vector(r->positions, KEYS - 1, 1), (mlxn_tensor){0}, (mlxn_tensor){0}, r->out, &p);
    CHECK(!mlxn_encoder_commit_and_wait(r->encoder, "kv", &error), "%s", error.message);
}

/* What a row of the cache stands for, in double, rotated back. */
static void decoded(const rig *r, const mlxn_tensor *cache, uint64_t head, uint64_t slot, float *out) {
    const uint8_t *bytes = (const uint8_t *)mlxn_buffer_contents(cache->buffer) + (head * KEYS + slot) * r->row;
    mlxn_kv_decode_row(r->type, bytes, r->row, out, r->d, NULL);
    if (mlxn_kv_type_rotated(r->type)) mlxn_turboquant_unrotate(out, r->d, NULL);
}

/* |out' - out| for one head, and a bound of it. With d_j the error of score j and e_j that of value j, weights change
 * by a factor within exp(+-2 max|d|), so |out' - out| <= (exp(2 max|d|) - 1) sum w_j |v_j - out| + exp(2 max|d|) sum
 * w_j |e_j|. The second figure is what independent errors give: sqrt(sum w^2) (rms d |v - out| + |e|). */
static void check_head(const rig *r, uint32_t h, double *errors, double *sizes) {
    uint64_t d = r->d, head = h / (HEADS / KV_HEADS);
    const float *q = floats(&r->q) + h * d, *k = floats(&r->k), *v = floats(&r->v), *got = floats(&r->out) + h * d;
    double *w = calloc(KEYS, sizeof *w), *want = calloc(d, sizeof *want), top = -INFINITY, total = 0, most = 0;
    float row[512];
    for (uint64_t j = 0; j < KEYS; j++) {
        double s = 0, s2 = 0;
        decoded(r, &r->k_cache, head, j, row);
        for (uint64_t i = 0; i < d; i++) {
            s += (double)q[i] * (double)k[(j * KV_HEADS + head) * d + i];
            s2 += (double)q[i] * (double)row[i];
        }
        w[j] = s / sqrt((double)d);
        most = fmax(most, fabs(s2 - s) / sqrt((double)d));
        top = fmax(top, w[j]);
    }
    for (uint64_t j = 0; j < KEYS; j++) total += w[j] = exp(w[j] - top);
    for (uint64_t j = 0; j < KEYS; j++) {
        w[j] /= total;
        for (uint64_t i = 0; i < d; i++) want[i] += w[j] * (double)v[(j * KV_HEADS + head) * d + i];
    }
    double spread = 0, lost = 0, off = 0, size = 0;
    for (uint64_t j = 0; j < KEYS; j++) {
        double a = 0, b = 0;
        decoded(r, &r->v_cache, head, j, row);
        for (uint64_t i = 0; i < d; i++) {
            double x = (double)v[(j * KV_HEADS + head) * d + i];
            a += (x - want[i]) * (x - want[i]);
            b += (x - (double)row[i]) * (x - (double)row[i]);
        }
        spread += w[j] * sqrt(a);
        lost += w[j] * sqrt(b);
    }
    for (uint64_t i = 0; i < d; i++) {
        off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += want[i] * want[i];
    }
    double bound = (exp(2 * most) - 1) * spread + exp(2 * most) * lost + 1e-5 * sqrt(size);
    CHECK(sqrt(off) <= bound, "%s, dim %llu, head %u: off by %g, bound %g", mlxn_kv_type_name(r->type),
          (unsigned long long)d, h, sqrt(off), bound);
    *errors += off;
    *sizes += size;
    free(w);
    free(want);
}

/* The error of the whole result relative to its length. Errors of scores and values are nearly independent from key
 * to key, so relative to the result's own randomness (a mean of random values) they add as sqrt(2) times the relative
 * error of a row. */
static void test_type(mlxn_kv_type type, double row_error) {
    static const uint64_t dims[] = {64, 128, 256, 512};
    for (int i = 0; i < 4; i++) {
        rig r;
        open_rig(&r, 2, 0, dims[i], type);
        write_cache(&r, 0, KEYS);
        attend(&r);
        double off = 0, size = 0;
        for (uint32_t h = 0; h < HEADS; h++) check_head(&r, h, &off, &size);
        double relative = sqrt(off / size), likely = sqrt(2) * row_error;
        CHECK(relative < 1.5 * likely, "%s, dim %llu: relative error %g, likely %g", mlxn_kv_type_name(type),
              (unsigned long long)dims[i], relative, likely);
        printf("%-4s dim %3llu  relative error of 4096 keys %.5f, expected about %.5f\n", mlxn_kv_type_name(type),
               (unsigned long long)dims[i], relative, likely);
        close_rig(&r);
    }
}

static void test_same_bits(void) {
    static const mlxn_kv_type types[] = {MLXN_KV_TQ4, MLXN_KV_TQ6, MLXN_KV_Q8_0, MLXN_KV_Q5_1};
    for (int i = 0; i < 4; i++) {
        rig a, b, c;
        open_rig(&a, 1, 0, 128, types[i]);
        open_rig(&b, 2, 0, 128, types[i]);
        open_rig(&c, 2, 1, 128, types[i]);
        write_cache(&a, 0, KEYS);
        write_cache(&c, 0, KEYS);
        for (uint64_t at = 0, n = 1; at < KEYS; at += n, n = n * 2 < KEYS - at - n ? n * 2 : 1)
            write_cache(&b, at, n);
        attend(&a);
        attend(&b);
        attend(&c);
        uint64_t bytes = KV_HEADS * KEYS * a.row;
        CHECK(!memcmp(mlxn_buffer_contents(a.k_cache.buffer), mlxn_buffer_contents(b.k_cache.buffer), bytes) &&
                  !memcmp(mlxn_buffer_contents(a.v_cache.buffer), mlxn_buffer_contents(b.v_cache.buffer), bytes) &&
                  !memcmp(mlxn_buffer_contents(a.v_cache.buffer), mlxn_buffer_contents(c.v_cache.buffer), bytes),
              "%s: the cache's bytes", mlxn_kv_type_name(types[i]));
        CHECK(!memcmp(floats(&a.out), floats(&b.out), HEADS * 128 * 4), "%s: results", mlxn_kv_type_name(types[i]));
        close_rig(&a);
        close_rig(&b);
        close_rig(&c);
    }
}

int main(void) {
    test_type(MLXN_KV_TQ8, sqrt(0.0000628));
    test_type(MLXN_KV_TQ6, sqrt(0.000649));
    test_type(MLXN_KV_TQ5, sqrt(0.00251));
    test_type(MLXN_KV_TQ4, sqrt(0.0095));
    test_type(MLXN_KV_Q8_0, 0.0055);
    test_type(MLXN_KV_Q4_0, 0.09);
    test_same_bits();
    return TEST_DONE();
}
