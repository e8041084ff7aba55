/* Promise: base does what base.h says: messages are one valid line, arithmetic reports overflow, allocations can be
 * made to fail, binary16 and bfloat16 are exact, SHA-256 is right, files map and give pages back. */
#include "base/base.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "test.h"

static void test_errors(void) {
    mlxn_error error;
    CHECK(mlxn_fail(&error, MLXN_ERR_STATE, "x: got %d, want %s", 5, "six") == MLXN_ERR_STATE, "status comes back");
    CHECK(error.status == MLXN_ERR_STATE && error.driver_code == 0, "record");
    CHECK(!strcmp(error.message, "x: got 5, want six"), "%s", error.message);
    mlxn_error_prefix(&error, "layer %d", 3);
    CHECK(!strcmp(error.message, "layer 3: x: got 5, want six"), "%s", error.message);
    CHECK(mlxn_fail(&error, MLXN_ERR_IO, "again: %s", error.message) == MLXN_ERR_IO, "own message as argument");
    CHECK(!strcmp(error.message, "again: layer 3: x: got 5, want six"), "%s", error.message);
    CHECK(mlxn_fail_code(&error, MLXN_ERR_IO, 17, "a\nb\x7f") == MLXN_ERR_IO && error.driver_code == 17, "code");
    CHECK(!strcmp(error.message, "a?b?"), "one line: %s", error.message);
    CHECK(mlxn_succeed(&error) == MLXN_OK && error.status == MLXN_OK && !error.message[0] && !error.driver_code,
          "ok");
    CHECK(mlxn_fail(NULL, MLXN_ERR_LIMIT, "x") == MLXN_ERR_LIMIT && mlxn_succeed(NULL) == MLXN_OK, "NULL record");
    mlxn_error_prefix(NULL, "x");
    /* A cut must not leave half a character, at any position. */
    for (int shift = 0; shift < 4; shift++) {
        char text[700];
        int at = 0;
        for (; at < shift; at++) text[at] = 'x';
        for (; at < 690; at += 4) memcpy(text + at, "\xf0\x9f\x98\x80", 4);
        text[at] = 0;
        mlxn_fail(&error, MLXN_ERR_IO, "%s", text);
        size_t length = strlen(error.message);
        CHECK(length <= 503 && length > 499 && (length - (size_t)shift) % 4 == 0, "shift %d length %zu", shift,
              length);
    }
}

static void test_arithmetic(void) {
    uint64_t r = 7;
    CHECK(!mlxn_add_u64(UINT64_MAX, 1, &r) && r == 7, "sum");
    CHECK(mlxn_add_u64(UINT64_MAX, 0, &r) && r == UINT64_MAX, "sum");
    CHECK(!mlxn_mul_u64((uint64_t)1 << 32, (uint64_t)1 << 32, &r) && r == UINT64_MAX, "product");
    CHECK(mlxn_mul_u64((uint64_t)1 << 32, 3, &r) && r == (uint64_t)3 << 32, "product");
    CHECK(mlxn_align_u64(65, 64, &r) && r == 128, "align");
    CHECK(!mlxn_align_u64(UINT64_MAX - 5, 64, &r) && r == 128, "align");
}

static bool all_zero(const uint8_t *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (p[i]) return false;
    return true;
}

static void test_allocation(void) {
    static const size_t sizes[] = {0, 1, 63, 64, 4095, 1 << 20, (4 << 20) - 1, 4 << 20, (9 << 20) + 3};
    for (int round = 0; round < 2; round++) { /* the second round gets used memory */
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            uint8_t *p = mlxn_alloc_aligned(sizes[i]);
            CHECK(p && (uintptr_t)p % 64 == 0, "%zu bytes", sizes[i]);
            if (!p) continue;
            CHECK(all_zero(p, sizes[i]), "%zu bytes must be zero", sizes[i]);
            memset(p, 0xff, sizes[i]);
            mlxn_free_aligned(p);
            p = mlxn_alloc(sizes[i]);
            CHECK(p && all_zero(p, sizes[i]), "%zu bytes", sizes[i]);
            if (p) memset(p, 0xff, sizes[i]);
            mlxn_free(p);
        }
    }
    mlxn_free(NULL);
    mlxn_free_aligned(NULL);
    CHECK(!mlxn_alloc_array(SIZE_MAX / 2, 3) && !mlxn_realloc_array(NULL, SIZE_MAX / 2, 3), "overflow");
    CHECK(!mlxn_alloc_aligned(SIZE_MAX - 10), "all memory");
    char *copy = mlxn_strndup("hello", 4);
    CHECK(copy && !strcmp(copy, "hell"), "strndup");
    mlxn_free(copy);
    uint64_t before = mlxn_alloc_fail_at(2);
    char *first = mlxn_strdup("a"), *second = mlxn_strdup("b"), *third = mlxn_strdup("c");
    CHECK(first && !second && third, "exactly the second fails");
    CHECK(mlxn_alloc_count() == before + 3, "all are counted");
    CHECK(mlxn_alloc_fail_at(1) == before + 3 && !mlxn_alloc_aligned(8), "aligned");
    mlxn_alloc_fail_at(1);
    CHECK(!mlxn_realloc_array(first, 100, 1), "realloc");
    mlxn_alloc_fail_at(1);
    mlxn_alloc_fail_at(0);
    first = mlxn_realloc_array(first, 100, 1);
    CHECK(first && first[0] == 'a', "off again, and the old block lives");
    mlxn_free(first);
    mlxn_free(third);
}

static void *allocate_many(void *failures) {
    for (int i = 0; i < 10000; i++) {
        void *p = mlxn_alloc(16);
        if (!p) ++*(int *)failures;
        mlxn_free(p);
    }
    return NULL;
}

/* Of all threads together exactly one allocation fails. */
static void test_allocation_threads(void) {
    pthread_t threads[4];
    int failures[4] = {0}, started = 0;
    uint64_t before = mlxn_alloc_fail_at(12345);
    for (; started < 4; started++)
        if (pthread_create(&threads[started], NULL, allocate_many, &failures[started])) break;
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    CHECK(started == 4 && failures[0] + failures[1] + failures[2] + failures[3] == 1, "one failure");
    CHECK(mlxn_alloc_count() == before + 40000, "all are counted");
    mlxn_alloc_fail_at(0);
}

/* The value of a binary16 pattern by its definition, in binary64, where all of them are exact. */
static double f16_value(uint32_t bits) {
    int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    double magnitude = exponent == 31  ? (double)INFINITY
                       : exponent == 0 ? ldexp(mantissa, -24)
                                       : ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static void test_f16(void) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = mlxn_f16_to_f32((uint16_t)bits);
        uint16_t back = mlxn_f32_to_f16(value);
        if ((bits & 0x7fff) > 0x7c00) {
            CHECK(isnan(value) && back == (bits | 0x200), "NaN %04x came back as %04x", bits, back);
            continue;
        }
        CHECK((double)value == f16_value(bits) && !signbit(value) == !(bits & 0x8000), "%04x is %g", bits, value);
        CHECK(back == bits, "%04x came back as %04x", bits, back);
    }
    /* Between each two neighbours: just below the middle, the middle (to even), just above. */
    for (uint32_t bits = 0; bits < 0x7c00; bits++) {
        double low = f16_value(bits), high = bits == 0x7bff ? 65536.0 : f16_value(bits + 1);
        float middle = (float)((low + high) / 2); /* exact: one bit more than binary16 */
        uint16_t even = (uint16_t)(bits & 1 ? bits + 1 : bits);
        for (int sign = 0; sign < 2; sign++) {
            float s = sign ? -1.0f : 1.0f;
            uint16_t m = sign ? 0x8000 : 0;
            CHECK(mlxn_f32_to_f16(s * middle) == (even | m), "middle above %04x", bits);
            CHECK(mlxn_f32_to_f16(s * nextafterf(middle, 0)) == (bits | m), "below the middle above %04x", bits);
            CHECK(mlxn_f32_to_f16(s * nextafterf(middle, INFINITY)) == ((bits + 1) | m), "above %04x", bits);
        }
    }
    CHECK(mlxn_f32_to_f16(INFINITY) == 0x7c00 && mlxn_f32_to_f16(-3e38f) == 0xfc00, "overflow");
    CHECK(mlxn_f32_to_f16(1e-45f) == 0 && mlxn_f32_to_f16(-1e-45f) == 0x8000, "underflow keeps the sign");
}

static void test_bf16(void) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t back = mlxn_f32_to_bf16(mlxn_bf16_to_f32((uint16_t)bits));
        uint32_t want = (bits & 0x7fff) > 0x7f80 ? bits | 0x40 : bits;
        CHECK(back == want, "%04x came back as %04x", bits, back);
    }
    CHECK(mlxn_f32_to_bf16(1.00390625f) == 0x3f80, "tie to even, down"); /* 1 + 2^-8 */
    CHECK(mlxn_f32_to_bf16(1.01171875f) == 0x3f82, "tie to even, up");   /* 1 + 3 * 2^-8 */
    CHECK(mlxn_f32_to_bf16(3.4e38f) == 0x7f80, "overflow");
}

static void check_sha(const char *text, size_t repeat, const char *want) {
    size_t length = strlen(text) * repeat;
    char *data = malloc(length + 1), got[65];
    uint8_t sum[32];
    if (!data) exit(3);
    for (size_t i = 0; i < repeat; i++) memcpy(data + i * strlen(text), text, strlen(text));
    mlxn_sha256(data, length, sum);
    for (int i = 0; i < 32; i++) snprintf(got + 2 * i, 3, "%02x", sum[i]);
    CHECK(!strcmp(got, want), "%zu bytes: %s", length, got);
    free(data);
}

static void test_sha256(void) { /* the examples of FIPS 180 */
    check_sha("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_sha("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_sha("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_map(void) {
    char path[160];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/mlxn-map-XXXXXX", base && strlen(base) < 100 ? base : P_tmpdir);
    int fd = mkstemp(path);
    if (fd < 0) {
        perror(path);
        exit(3);
    }
    mlxn_mapping map;
    mlxn_error error;
    CHECK(mlxn_map_file(path, &map, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "is empty"), "%s",
          error.message);
    uint8_t page[5000];
    for (size_t i = 0; i < sizeof page; i++) page[i] = (uint8_t)(i * 7);
    CHECK(write(fd, page, sizeof page) == (ssize_t)sizeof page, "written");
    close(fd);
    CHECK(mlxn_map_file(path, &map, &error) == MLXN_OK && map.size == sizeof page, "%s", error.message);
    CHECK(map.data && !memcmp(map.data, page, sizeof page), "content");
    mlxn_map_prefetch(&map, 0, map.size);
    mlxn_map_release_pages(&map, 10, UINT64_MAX);
    mlxn_map_release_pages(&map, UINT64_MAX, 1); /* outside: nothing */
    CHECK(!memcmp(map.data, page, sizeof page), "content after the pages were given back");
    mlxn_unmap_file(&map);
    CHECK(!map.data && !map.size, "unmapped");
    unlink(path);
    CHECK(mlxn_map_file(path, &map, &error) == MLXN_ERR_IO && error.driver_code == ENOENT, "%s", error.message);
    CHECK(strstr(error.message, path) && !map.data, "%s", error.message);
    CHECK(mlxn_map_file(P_tmpdir, &map, NULL) == MLXN_ERR_ARGUMENT, "a folder");
}

static void test_environment(void) {
    static const struct {
        const char *value;
        bool want;
    } cases[] = {{"1", true}, {"0", false}, {"", false}, {"11", false}, {" 1", false}, {"true", false}};
    unsetenv("MLXN_TEST_GATE");
    CHECK(!mlxn_env_is_one("MLXN_TEST_GATE"), "unset");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("MLXN_TEST_GATE", cases[i].value, 1);
        CHECK(mlxn_env_is_one("MLXN_TEST_GATE") == cases[i].want, "\"%s\"", cases[i].value);
    }
    uint64_t before = mlxn_now_ns();
    usleep(2000);
    uint64_t after = mlxn_now_ns();
    CHECK(after - before >= 2000000 && after - before < 5000000000u, "%llu ns", (unsigned long long)(after - before));
}

int main(void) {
    test_errors();
    test_arithmetic();
    test_allocation();
    test_allocation_threads();
    test_f16();
    test_bf16();
    test_sha256();
    test_map();
    test_environment();
    return TEST_DONE();
}
