/* Promise: a damaged file gives an error or a valid load, never a crash, in bounded memory: a small file cut at every
 * byte and with 10,000 random changes; the headers of the real models under models/, where present, cut at 200 places
 * and changed at 300. After each valid load everything is touched. */
#include <fcntl.h>
#include <glob.h>
#include <mlxn/io.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/gguf_walk.h"
#include "io/gguf_writer.h"
#include "test.h"

static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t next_random(void) { /* xorshift64 */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static volatile uint64_t sink;

/* True if it loaded. Whatever comes back must be consistent. */
static bool try_open(const uint8_t *data, uint64_t size, bool walk) {
    mlxn_gguf *file = (mlxn_gguf *)&sink;
    mlxn_error error;
    mlxn_status status = mlxn_gguf_open_memory(data, size, "damaged.gguf", &file, &error);
    if (status == MLXN_OK) {
        CHECK(file && error.status == MLXN_OK, "success needs a file");
        if (walk) sink += walk_file(file);
        mlxn_gguf_close(file);
        return true;
    }
    CHECK(!file && error.status == status && error.message[0], "an error needs a text");
    CHECK(status == MLXN_ERR_FORMAT || status == MLXN_ERR_ARGUMENT, "%s: %s", mlxn_status_name(status),
          error.message);
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
        CHECK(!try_open(copy, cut, true), "cut to %zu of %zu bytes", cut, w->size);
        free(copy);
    }
    CHECK(try_open(w->bytes, w->size, true), "the whole file is valid");
}

static long peak_kilobytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void test_flips(const gw *w) {
    int valid = 0, total = 10000;
    long before = peak_kilobytes();
    for (int i = 0; i < total; i++) {
        uint8_t *copy = copy_of(w->bytes, w->size);
        for (uint64_t n = 1 + next_random() % 3; n; n--) {
            uint64_t at = next_random() % w->size;
            /* A new byte, one bit, or an extreme: extremes find the overflows. */
            uint64_t kind = next_random() % 4, value = next_random();
            copy[at] = (uint8_t)(kind == 0 ? value : kind == 1 ? copy[at] ^ (1u << value % 8) : kind == 2 ? 0xff : 0);
        }
        valid += try_open(copy, w->size, true);
        free(copy);
    }
    fprintf(stderr, "%d changes: %d still valid, %d refused\n", total, valid, total - valid);
    CHECK(valid > 0 && valid < total, "both outcomes must occur: %d valid", valid);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which keep freed memory on purpose */
    CHECK(peak_kilobytes() - before < 32 * 1024, "memory grew by %ld KiB", peak_kilobytes() - before);
#else
    (void)before;
#endif
}

/* The header of a model ends where its first tensor's data begins. */
static uint64_t header_bytes(const uint8_t *data, uint64_t size) {
    mlxn_gguf *file = NULL;
    mlxn_error error;
    uint64_t end = size;
    mlxn_gguf_tensor tensor;
    CHECK(mlxn_gguf_open_memory(data, size, "model", &file, &error) == MLXN_OK, "%s", error.message);
    for (uint64_t i = 0; file && mlxn_gguf_tensor_at(file, i, &tensor); i++)
        if (tensor.offset < end) end = tensor.offset;
    mlxn_gguf_close(file);
    return end;
}

static void test_model(const char *path) {
    enum { CUTS = 200, CHANGES = 300 };
    int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info)) {
        CHECK(false, "%s cannot be read", path);
        return;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0); /* changes stay in this process */
    close(fd);
    CHECK(map != MAP_FAILED, "%s cannot be mapped", path);
    if (map == MAP_FAILED) return;
    uint64_t header = header_bytes(map, size);
    for (uint64_t i = 0; i < CUTS; i++) {
        uint64_t cut = header * i / CUTS;
        uint8_t *copy = copy_of(map, cut);
        CHECK(!try_open(copy, cut, false), "%s cut to %llu bytes", path, (unsigned long long)cut);
        free(copy);
    }
    int valid = 0;
    for (int i = 0; i < CHANGES; i++) {
        /* Half of them in the last part of the header, where the tensor records are; most of it is vocabulary. */
        uint64_t at = i % 2 ? header - 1 - next_random() % 16384 : next_random() % header;
        uint8_t old = map[at];
        map[at] = (uint8_t)next_random();
        valid += try_open(map, size, false);
        map[at] = old;
    }
    fprintf(stderr, "%s: %d cuts refused, %d changes: %d still valid\n", path, CUTS, CHANGES, valid);
    munmap(map, size);
}

int main(void) {
    gw w = {0};
    gw_sample(&w, 3);
    test_cuts(&w);
    test_flips(&w);
    gw_free(&w);
    glob_t models;
    if (glob("models/*.gguf", 0, NULL, &models) == 0) {
        for (size_t i = 0; i < models.gl_pathc; i++) test_model(models.gl_pathv[i]);
        globfree(&models);
    } else {
        fprintf(stderr, "no models/*.gguf: real headers left out\n");
        test_skips++;
    }
    return TEST_DONE();
}
