/* fuzz_driver.c SECONDS FILE…: stands in for libFuzzer where clang is absent: runs the entry point on every file,
 * then for SECONDS on changed copies of them. The same files give the same sequence of inputs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct input {
    uint8_t *data;
    size_t size;
} input;

static uint64_t state = 88172645463325252u;

static uint64_t next_random(uint64_t below) { /* xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static input load(const char *path) {
    input in = {NULL, 0};
    FILE *f = fopen(path, "rb");
    if (f && !fseek(f, 0, SEEK_END)) {
        long size = ftell(f);
        rewind(f);
        in.data = malloc(size > 0 ? (size_t)size : 1);
        if (size > 0 && in.data) in.size = fread(in.data, 1, (size_t)size, f);
    }
    if (f) fclose(f);
    if (!in.data) {
        perror(path);
        exit(2);
    }
    return in;
}

/* A copy with 1 to 8 changes: bytes, bits, extreme integers, a cut, a piece moved over another. */
static input mutate(const input *from) {
    input out = {malloc(from->size ? from->size : 1), from->size};
    if (!out.data) exit(2);
    memcpy(out.data, from->data, from->size);
    for (uint64_t n = 1 + next_random(8); n && out.size > 8; n--) {
        size_t at = (size_t)next_random(out.size - 7), other = (size_t)next_random(out.size - 7);
        static const uint64_t extremes[] = {0, 1, 0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX, (uint64_t)1 << 61};
        switch (next_random(6)) {
            case 0:
                out.data[at] = (uint8_t)next_random(256);
                break;
            case 1:
                out.data[at] ^= (uint8_t)(1u << next_random(8));
                break;
            case 2:
                memcpy(out.data + at, &extremes[next_random(7)], 8);
                break;
            case 3:
                memcpy(out.data + at, &extremes[next_random(4)], 4);
                break;
            case 4:
                memmove(out.data + at, out.data + other, 8);
                break;
            default:
                if (n == 1 && next_random(4) == 0) out.size -= (size_t)next_random(out.size);
                break;
        }
    }
    uint8_t *exact = realloc(out.data, out.size ? out.size : 1); /* so that tools see a read past the end */
    if (exact) out.data = exact;
    return out;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s SECONDS FILE...\n", argv[0]);
        return 2;
    }
    int count = argc - 2;
    input *files = calloc((size_t)count, sizeof *files);
    if (!files) return 2;
    for (int i = 0; i < count; i++) {
        files[i] = load(argv[i + 2]);
        LLVMFuzzerTestOneInput(files[i].data, files[i].size);
    }
    time_t end = time(NULL) + atoi(argv[1]);
    unsigned long runs = 0;
    while (time(NULL) < end) {
        for (int k = 0; k < 1000; k++, runs++) {
            input in = mutate(&files[next_random((uint64_t)count)]);
            LLVMFuzzerTestOneInput(in.data, in.size);
            free(in.data);
        }
    }
    printf("%d files, %lu changed inputs\n", count, runs);
    for (int i = 0; i < count; i++) free(files[i].data);
    free(files);
    return 0;
}
