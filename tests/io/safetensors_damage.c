/* Promise: a damaged safetensors file gives an error or a valid load, never a crash, in bounded time and memory: cut
 * at every byte, 10,000 random changes, headers made to be expensive; and when any allocation fails the call returns
 * MEMORY, leaks nothing, and the next try works. */
#include <mlxn/io.h>
#include <sys/resource.h>

#include "base/base.h"
#include "io/safetensors_walk.h"
#include "io/safetensors_writer.h"
#include "test.h"

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void) { /* xorshift64 */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static volatile uint64_t sink;

/* True if it loaded. Whatever comes back must be consistent. */
static bool try_open(const uint8_t *data, uint64_t size) {
    mlxn_safetensors *file = (mlxn_safetensors *)&sink;
    mlxn_error error;
    mlxn_status status = mlxn_safetensors_open_memory(data, size, "damaged.safetensors", &file, &error);
    if (status == MLXN_OK) {
        CHECK(file && error.status == MLXN_OK, "success needs a file");
        sink += walk_safetensors(file);
        mlxn_safetensors_close(file);
        return true;
    }
    CHECK(!file && error.status == status && error.message[0], "an error needs a text");
    CHECK(status == MLXN_ERR_FORMAT, "%s: %s", mlxn_status_name(status), error.message);
    for (const char *c = error.message; *c; c++)
        CHECK((unsigned char)*c >= 0x20 && *c != 0x7f, "control character in \"%s\"", error.message);
    return false;
}

static uint8_t *copy_of(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1); /* exactly as large, so that the sanitizer sees a read past the end */
    if (!copy) exit(3);
    if (size) memcpy(copy, data, size);
    return copy;
}

static void test_cuts(const gw *w) {
    for (size_t cut = 0; cut < w->size; cut++) {
        uint8_t *copy = copy_of(w->bytes, cut);
        CHECK(!try_open(copy, cut), "cut to %zu of %zu bytes", cut, w->size);
        free(copy);
    }
    CHECK(try_open(w->bytes, w->size), "the whole file is valid");
}

static long peak_kilobytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void check_memory(long before, long limit, const char *what) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which keep freed memory on purpose */
    CHECK(peak_kilobytes() - before < limit, "%s: memory grew by %ld KiB", what, peak_kilobytes() - before);
#else
    (void)before, (void)limit, (void)what;
#endif
}

static void test_changes(const gw *w) {
    int valid = 0, total = 10000;
    long before = peak_kilobytes();
    for (int i = 0; i < total; i++) {
        uint8_t *copy = copy_of(w->bytes, w->size);
        for (uint64_t n = 1 + next_random() % 3; n; n--) {
            static const char telling[] = "{}[]\",:\\0919-.eu \n\x00\xff";
            uint64_t at = next_random() % w->size, kind = next_random() % 3, value = next_random();
            copy[at] = (uint8_t)(kind == 0   ? value
                                 : kind == 1 ? copy[at] ^ (1u << value % 8)
                                             : (uint8_t)telling[value % (sizeof telling - 1)]);
        }
        valid += try_open(copy, w->size);
        free(copy);
    }
    fprintf(stderr, "%d changes: %d still valid, %d refused\n", total, valid, total - valid);
    CHECK(valid > 0 && valid < total, "both outcomes must occur: %d valid", valid);
    check_memory(before, 32 * 1024, "changes");
}

/* `piece` again and again between two texts, as a header of about `bytes` bytes. */
static void repeat(gw *w, const char *before, const char *piece, const char *after, size_t bytes) {
    size_t count = bytes / strlen(piece);
    gw_u64(w, strlen(before) + count * strlen(piece) + strlen(after));
    gw_bytes(w, before, strlen(before));
    for (size_t i = 0; i < count; i++) gw_bytes(w, piece, strlen(piece));
    gw_bytes(w, after, strlen(after));
}

/* Headers that a reader which builds a tree, hashes names or recurses would choke on. */
static void test_expensive(void) {
    enum { BYTES = 4000000 };
    static const struct {
        const char *before, *piece, *after;
        bool valid;
    } cases[] = {
        {"{\"a\":{\"x\":[0", ",{}", "]}}", false}, /* skipped, then: no dtype */
        {"{\"a\":{\"x\":", "[", "", false},
        {"{\"a\":{\"x\":[", "[[[[[]]]]],", "0]}}", false},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[0", ",1", "]}}", true}, /* two million axes */
        {"{\"", "a", "\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[0]}}", true},
        {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[0]}",
         ",\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0],\"shape\":[0]}", "}", false},
        {"{\"__metadata__\":{\"a\":\"\"", ",\"a\":\"\"", "}}", false},
        {"{\"__metadata__\":{\"a\":\"", "\\u0000", "\"}}", true},
        {"{", " ", "}", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gw w = {0};
        repeat(&w, cases[i].before, cases[i].piece, cases[i].after, BYTES);
        long before = peak_kilobytes();
        uint64_t begin = mlxn_now_ns();
        bool valid = try_open(w.bytes, w.size);
        double seconds = (double)(mlxn_now_ns() - begin) / 1e9;
        CHECK(valid == cases[i].valid, "case %zu", i);
        CHECK(seconds < 5, "case %zu took %.1f s", i, seconds);
        check_memory(before, 10 * (BYTES / 1024), cases[i].piece);
        gw_free(&w);
    }
}

static void test_allocations(const gw *w) {
    uint64_t failures = 0;
    for (uint64_t k = 1; k < 1000; k++) {
        mlxn_safetensors *file = NULL;
        mlxn_error error;
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_safetensors_open_memory(w->bytes, w->size, "s.safetensors", &file, &error);
        mlxn_alloc_fail_at(0);
        mlxn_safetensors_close(file);
        if (status == MLXN_OK) break;
        failures++;
        CHECK(status == MLXN_ERR_MEMORY && !file, "allocation %llu: %s", (unsigned long long)k, error.message);
        CHECK(strstr(error.message, "s.safetensors: no memory") != NULL, "%s", error.message);
    }
    CHECK(failures >= 8, "only %llu allocations were seen", (unsigned long long)failures);
    CHECK(try_open(w->bytes, w->size), "after all failures");
}

int main(void) {
    gw w = {0};
    st_sample(&w);
    test_cuts(&w);
    test_changes(&w);
    test_allocations(&w);
    test_expensive();
    gw_free(&w);
    return TEST_DONE();
}
