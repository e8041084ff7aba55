/* Promise: single tensors of a GGUF file load as buffers of exactly their bytes, or decoded to F32: Q5_K within 1e-5
 * of an independent decoder and to known values for blocks made by hand, plain integers exactly. Type ids are those
 * of the published list: 25 is I16, 17 is IQ2_XS; one of a later version is refused. */
#include <math.h>
#include <mlxn/io.h>

#include "base/base.h"
#include "io/gguf_writer.h"
#include "test.h"

enum { Q5_BYTES = 176, Q5_VALUES = 256 };

static mlxn_device *device;

static uint64_t used(void) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    return info.memory_used;
}

/* A file with one tensor "t". */
static mlxn_gguf *open_one(gw *w, uint32_t type, uint32_t rank, const uint64_t *dims, const void *data, size_t size) {
    mlxn_gguf *file = NULL;
    mlxn_error error;
    gw_header(w, 3, 1, 0);
    gw_tensor(w, "t", rank, dims, type, 0);
    gw_align(w, 32);
    gw_bytes(w, data, size);
    CHECK(mlxn_gguf_open_memory(w->bytes, w->size, "t.gguf", &file, &error) == MLXN_OK, "%s", error.message);
    if (!file) exit(1);
    return file;
}

/* Loads "t" decoded; the caller frees. */
static float *load_f32(uint32_t type, uint32_t rank, const uint64_t *dims, const void *data, size_t size,
                       uint64_t count) {
    gw w = {0};
    mlxn_gguf *file = open_one(&w, type, rank, dims, data, size);
    mlxn_buffer *buffer = NULL;
    mlxn_error error;
    float *out = calloc((size_t)count, sizeof *out);
    if (!out) exit(3);
    CHECK(mlxn_gguf_load_tensor_f32(file, "t", device, &buffer, &error) == MLXN_OK, "type %u: %s", type,
          error.message);
    mlxn_gguf_close(file); /* the buffer does not need it */
    gw_free(&w);
    if (!buffer) return out;
    CHECK(mlxn_buffer_size(buffer) == count * 4, "type %u: %llu bytes", type,
          (unsigned long long)mlxn_buffer_size(buffer));
    CHECK(mlxn_buffer_read(buffer, 0, out, count * 4, &error) == MLXN_OK, "%s", error.message);
    mlxn_buffer_release(&buffer);
    return out;
}

/* Q5_K by the book, in double: eight sub-blocks of 32; value = d * scale * q - dmin * min. Written from the layout
 * alone: nothing of the library but the f16 conversion is used. */
static void decode_q5_k(const uint8_t *block, double *out) {
    double d = mlxn_f16_to_f32((uint16_t)(block[0] | block[1] << 8));
    double dmin = mlxn_f16_to_f32((uint16_t)(block[2] | block[3] << 8));
    const uint8_t *scales = block + 4, *high = block + 16, *low = block + 48;
    for (int e = 0; e < Q5_VALUES; e++) {
        int sub = e / 32, lane = e % 32, sc, mn;
        if (sub < 4) {
            sc = scales[sub] % 64;
            mn = scales[sub + 4] % 64;
        } else {
            sc = scales[sub + 4] % 16 + 16 * (scales[sub - 4] / 64);
            mn = scales[sub + 4] / 16 + 16 * (scales[sub] / 64);
        }
        int byte = low[sub / 2 * 32 + lane];
        int q = (sub % 2 ? byte / 16 : byte % 16) + 16 * ((high[lane] >> sub) % 2);
        out[e] = d * sc * q - dmin * mn;
    }
}

/* d = 1, dmin = `dmin`, all scales `sc`, all minima `mn` (both below 16), all codes `q`. */
static void make_block(uint8_t *block, bool dmin, int sc, int mn, int q) {
    memset(block, 0, Q5_BYTES);
    block[1] = 0x3c; /* f16 1.0 */
    if (dmin) block[3] = 0x3c;
    for (int j = 0; j < 4; j++) {
        block[4 + j] = (uint8_t)sc;
        block[8 + j] = (uint8_t)mn;
        block[12 + j] = (uint8_t)(sc | mn << 4);
    }
    memset(block + 16, q & 16 ? 0xff : 0, 32);
    memset(block + 48, (q & 15) | (q & 15) << 4, 128);
}

static void expect_all(const uint8_t *block, float want) {
    float *got = load_f32(13, 1, (uint64_t[]){Q5_VALUES}, block, Q5_BYTES, Q5_VALUES);
    for (int e = 0; e < Q5_VALUES; e++) CHECK(got[e] == want, "value %d is %g, want %g", e, got[e], want);
    free(got);
}

static void test_q5_k_by_hand(void) {
    uint8_t block[Q5_BYTES];
    memset(block, 0, sizeof block);
    expect_all(block, 0);
    make_block(block, false, 1, 0, 31); /* the largest code: 31 needs the fifth bit */
    expect_all(block, 31);
    make_block(block, false, 2, 0, 31);
    expect_all(block, 62);
    make_block(block, true, 2, 3, 31); /* less the minimum */
    expect_all(block, 59);
    make_block(block, false, 1, 0, 15); /* without the fifth bit */
    expect_all(block, 15);
    make_block(block, false, 0, 0, 1); /* the largest scale, 63, in all eight sub-blocks: their high bits too */
    memset(block + 4, 0xff, 12);
    expect_all(block, 63);
    make_block(block, true, 0, 0, 0); /* the largest minimum, 63 */
    memset(block + 4, 0xff, 12);
    expect_all(block, -63);
}

/* One bit of the plane of fifth bits for each sub-block: the bit of sub-block s is bit s of each byte. */
static void test_q5_k_planes(void) {
    uint8_t block[Q5_BYTES];
    for (int s = 0; s < 8; s++) {
        make_block(block, false, 1, 0, 0);
        memset(block + 16, 1 << s, 32);
        float *got = load_f32(13, 1, (uint64_t[]){Q5_VALUES}, block, Q5_BYTES, Q5_VALUES);
        for (int e = 0; e < Q5_VALUES; e++)
            CHECK(got[e] == (e / 32 == s ? 16 : 0), "plane %d, value %d: %g", s, e, got[e]);
        free(got);
    }
}

static void test_q5_k_independent(void) {
    enum { ROWS = 5, COLS = 2, BLOCKS = ROWS * COLS };
    static uint8_t data[BLOCKS * Q5_BYTES];
    uint32_t seed = 13;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
    for (int b = 0; b < BLOCKS; b++) { /* scales of the size that models have: 0.0313 and -0.0146 */
        static const uint8_t head[4] = {0x00, 0x28, 0x80, 0xa3};
        memcpy(data + b * Q5_BYTES, head, 4);
    }
    uint64_t count = (uint64_t)BLOCKS * Q5_VALUES;
    float *got = load_f32(13, 2, (uint64_t[]){COLS * Q5_VALUES, ROWS}, data, sizeof data, count);
    double worst = 0;
    for (int b = 0; b < BLOCKS; b++) {
        double want[Q5_VALUES];
        decode_q5_k(data + b * Q5_BYTES, want);
        for (int e = 0; e < Q5_VALUES; e++) {
            double off = fabs(got[b * Q5_VALUES + e] - want[e]) / fmax(1, fabs(want[e]));
            worst = fmax(worst, off);
        }
    }
    CHECK(worst <= 1e-5, "worst error %g, want at most 1e-5", worst);
    free(got);
}

static void test_integers(void) {
    static const int16_t i16[5] = {0, 1, -1, 32767, -32768};
    static const int8_t i8[3] = {0, 127, -128};
    static const int32_t i32[3] = {-7, 16777217, INT32_MIN};
    static const int64_t i64[2] = {-9, INT64_MAX};
    static const double f64[3] = {0.1, -2.5, 1e300};
    float *got = load_f32(25, 1, (uint64_t[]){5}, i16, sizeof i16, 5);
    for (int i = 0; i < 5; i++) CHECK(got[i] == (float)i16[i], "I16: %g, want %d", got[i], i16[i]);
    free(got);
    got = load_f32(24, 1, (uint64_t[]){3}, i8, sizeof i8, 3);
    for (int i = 0; i < 3; i++) CHECK(got[i] == (float)i8[i], "I8: %g, want %d", got[i], i8[i]);
    free(got);
    got = load_f32(26, 1, (uint64_t[]){3}, i32, sizeof i32, 3);
    for (int i = 0; i < 3; i++) CHECK(got[i] == (float)i32[i], "I32: %g, want %d", got[i], i32[i]);
    free(got);
    got = load_f32(27, 1, (uint64_t[]){2}, i64, sizeof i64, 2);
    CHECK(got[0] == -9.0f && got[1] == 9223372036854775808.0f, "I64: %g %g", got[0], got[1]);
    free(got);
    got = load_f32(28, 1, (uint64_t[]){3}, f64, sizeof f64, 3);
    CHECK(got[0] == 0.1f && got[1] == -2.5f && isinf(got[2]), "F64: %g %g %g", got[0], got[1], got[2]);
    free(got);
    /* A row longer than one piece of the decoder. */
    enum { LONG = 200001 };
    int16_t *many = malloc(LONG * sizeof *many);
    if (!many) exit(3);
    for (int i = 0; i < LONG; i++) many[i] = (int16_t)(i * 7);
    got = load_f32(25, 1, (uint64_t[]){LONG}, many, LONG * sizeof *many, LONG);
    int wrong = 0;
    for (int i = 0; i < LONG; i++) wrong += got[i] != (float)many[i];
    CHECK(wrong == 0, "%d of %d values are wrong", wrong, LONG);
    free(got);
    free(many);
}

/* Raw loads: exact lengths, also odd ones, and the file's own bytes. */
static void test_raw(void) {
    static const struct {
        uint32_t type;
        uint64_t elements, bytes;
    } cases[] = {{0, 256, 1024}, {0, 257, 1028}, {13, 512, 352}, {25, 3, 6}, {30, 5, 10}, {2, 32, 18}};
    uint8_t data[1028];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37 + 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gw w = {0};
        mlxn_gguf *file =
            open_one(&w, cases[i].type, 1, (uint64_t[]){cases[i].elements}, data, (size_t)cases[i].bytes);
        mlxn_buffer *buffer = NULL;
        mlxn_error error;
        CHECK(mlxn_gguf_load_tensor(file, "t", device, &buffer, &error) == MLXN_OK, "%s", error.message);
        mlxn_gguf_close(file);
        gw_free(&w);
        if (!buffer) continue;
        CHECK(mlxn_buffer_size(buffer) == cases[i].bytes && used() == cases[i].bytes, "type %u: exact size",
              cases[i].type);
        CHECK(!memcmp(mlxn_buffer_contents(buffer), data, (size_t)cases[i].bytes), "type %u: its bytes",
              cases[i].type);
        mlxn_buffer_release(&buffer);
    }
}

/* Loaded for a pool: exact sizes, a member of the residency set once, not the pool's to count or to end. */
static void test_into_pool(void) {
    static const uint8_t data[1028];
    for (uint64_t elements = 256; elements <= 257; elements++) {
        gw w = {0};
        mlxn_gguf *file = open_one(&w, 0, 1, (uint64_t[]){elements}, data, (size_t)(4 * elements));
        mlxn_buffer *buffer = NULL;
        mlxn_pool *pool = NULL;
        mlxn_pool_stats stats;
        mlxn_error error;
        CHECK(mlxn_pool_create(device, &pool, &error) == MLXN_OK, "%s", error.message);
        mlxn_residency_reset_counters();
        CHECK(mlxn_gguf_load_tensor(file, "t", device, &buffer, &error) == MLXN_OK, "%s", error.message);
        CHECK(mlxn_pool_register_existing(pool, buffer, &error) == MLXN_OK, "%s", error.message);
        mlxn_pool_get_stats(pool, &stats);
        CHECK(mlxn_buffer_size(buffer) == 4 * elements && mlxn_residency_allocation_count() == 1, "one member of %d",
              (int)mlxn_buffer_size(buffer));
        CHECK(stats.in_use_count == 0 && stats.free_count == 0, "not the pool's");
        mlxn_pool_destroy(pool);
        CHECK(!memcmp(mlxn_buffer_contents(buffer), data, (size_t)(4 * elements)), "it outlives the pool");
        mlxn_buffer_release(&buffer);
        CHECK(mlxn_residency_allocation_count() == 0, "the last handle counts");
        mlxn_gguf_close(file);
        gw_free(&w);
    }
}

static void test_refused(void) {
    gw w = {0};
    static const uint8_t zeros[74];
    mlxn_gguf *file = open_one(&w, 17, 1, (uint64_t[]){256}, zeros, sizeof zeros);
    mlxn_buffer *buffer = NULL;
    mlxn_error error;
    CHECK(mlxn_gguf_load_tensor(file, "t", device, &buffer, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_buffer_size(buffer) == sizeof zeros, "17 is no I16: %d bytes", (int)mlxn_buffer_size(buffer));
    mlxn_buffer_release(&buffer);
    mlxn_gguf_close(file);
    gw_free(&w);
    static const char want[] = "t.gguf: tensor \"t\": type 43 (?) cannot be loaded";
    file = open_one(&w, 43, 1, (uint64_t[]){256}, zeros, sizeof zeros);
    buffer = (mlxn_buffer *)&w;
    CHECK(mlxn_gguf_load_tensor(file, "t", device, &buffer, &error) == MLXN_ERR_UNSUPPORTED && !buffer,
          "no such type");
    CHECK(!strcmp(error.message, want), "%s", error.message);
    CHECK(mlxn_gguf_load_tensor_f32(file, "t", device, &buffer, &error) == MLXN_ERR_UNSUPPORTED && !buffer,
          "nor here");
    CHECK(!strcmp(error.message, want), "%s", error.message);
    CHECK(mlxn_gguf_load_tensor(file, "u", device, &buffer, &error) == MLXN_ERR_NOT_FOUND && !buffer,
          "no such tensor");
    CHECK(!strcmp(error.message, "t.gguf: there is no tensor \"u\""), "%s", error.message);
    CHECK(mlxn_gguf_load_tensor_f32(file, "u", device, &buffer, &error) == MLXN_ERR_NOT_FOUND && !buffer, "nor here");
    mlxn_gguf_close(file);
    gw_free(&w);
    /* A tensor without elements does not get past open; neither does an I16 tensor that the file cuts. */
    gw_header(&w, 3, 1, 0), gw_tensor(&w, "t", 1, (uint64_t[]){0}, 0, 0), gw_align(&w, 32);
    CHECK(mlxn_gguf_open_memory(w.bytes, w.size, "t.gguf", &file, &error) == MLXN_ERR_FORMAT, "zero elements");
    gw_free(&w);
    gw_header(&w, 3, 1, 0), gw_tensor(&w, "t", 1, (uint64_t[]){5}, 25, 0), gw_align(&w, 32), gw_zeros(&w, 9);
    CHECK(mlxn_gguf_open_memory(w.bytes, w.size, "t.gguf", &file, &error) == MLXN_ERR_FORMAT &&
              strstr(error.message, "data ends at"),
          "%s", error.message);
    gw_free(&w);
}

static void test_allocations(void) {
    gw w = {0};
    static const int16_t values[4] = {1, 2, 3, 4};
    mlxn_gguf *file = open_one(&w, 25, 1, (uint64_t[]){4}, values, sizeof values);
    for (int decoded = 0; decoded < 2; decoded++) {
        uint64_t failures = 0;
        for (uint64_t k = 1; k < 100; k++) {
            mlxn_buffer *buffer = NULL;
            mlxn_error error;
            mlxn_alloc_fail_at(k);
            mlxn_status status = decoded ? mlxn_gguf_load_tensor_f32(file, "t", device, &buffer, &error)
                                         : mlxn_gguf_load_tensor(file, "t", device, &buffer, &error);
            mlxn_alloc_fail_at(0);
            mlxn_buffer_release(&buffer);
            CHECK(used() == 0, "bytes are left");
            if (status == MLXN_OK) break;
            failures++;
            CHECK(status == MLXN_ERR_MEMORY && strstr(error.message, "tensor \"t\""), "%s", error.message);
        }
        CHECK(failures >= 1 + (uint64_t)decoded && failures < 99, "%llu allocations", (unsigned long long)failures);
    }
    mlxn_gguf_close(file);
    gw_free(&w);
}

int main(void) {
    mlxn_error error;
    CHECK(mlxn_device_create(NULL, &device, &error) == MLXN_OK, "%s", error.message);
    if (!device) return TEST_DONE();
    test_q5_k_by_hand();
    test_q5_k_planes();
    test_q5_k_independent();
    test_integers();
    test_raw();
    test_into_pool();
    test_refused();
    test_allocations();
    CHECK(used() == 0, "nothing is left");
    mlxn_device_release(&device);
    return TEST_DONE();
}
