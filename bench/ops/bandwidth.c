/* bandwidth.c: every thread walks its own share of arrays far beyond the caches. Streaming variants write past the
 * caches, which saves reading what is overwritten; the others are plain loops. */
#include "ops/bandwidth.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum { READ, COPY, COPY_STREAMING, TRIAD, TRIAD_STREAMING, VARIANTS, TOUCH, STOP };

typedef float lanes __attribute__((vector_size(16)));
enum { LINE = 64, PER_LINE = LINE / sizeof(lanes), STREAMS = 4 };

struct bandwidth {
    uint32_t threads;
    size_t lanes_per_thread;
    lanes *a, *b, *c;
    size_t bytes; /* of each array */
    int variant;
    pthread_barrier_t barrier;
    struct walker {
        pthread_t thread;
        bandwidth *owner;
        uint32_t number;
        volatile float sum; /* so that reads cannot be left out */
    } * walkers;
};

static void put(lanes *to, lanes x, bool streaming) {
#if defined(__x86_64__)
    if (streaming) {
        _mm_stream_ps((float *)to, (__m128)x);
        return;
    }
#endif
    *to = x;
}

static void finish_streaming(void) {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

/* Four streams and four sums at once, so that neither additions nor a single prefetcher limit it. */
static float read_all(const lanes *a, size_t n) {
    lanes s[PER_LINE] = {{0}};
    size_t quarter = n / STREAMS;
    for (size_t i = 0; i < quarter; i += PER_LINE)
        for (size_t k = 0; k < STREAMS; k++)
            for (size_t j = 0; j < PER_LINE; j++) s[j] += a[k * quarter + i + j];
    lanes t = s[0] + s[1] + s[2] + s[3];
    return t[0] + t[1] + t[2] + t[3];
}

static inline void copy_all(lanes *restrict b, const lanes *restrict a, size_t n, bool streaming) {
    for (size_t i = 0; i < n; i += PER_LINE)
        for (size_t j = 0; j < PER_LINE; j++) put(&b[i + j], a[i + j], streaming);
    if (streaming) finish_streaming();
}

static inline void triad_all(lanes *restrict c, const lanes *restrict a, const lanes *restrict b, size_t n,
                             bool streaming) {
    for (size_t i = 0; i < n; i += PER_LINE)
        for (size_t j = 0; j < PER_LINE; j++) put(&c[i + j], a[i + j] + 3.0f * b[i + j], streaming);
    if (streaming) finish_streaming();
}

static void walk(struct walker *w) {
    bandwidth *o = w->owner;
    size_t n = o->lanes_per_thread, at = w->number * n;
    switch (o->variant) {
        case TOUCH:
            memset(o->a + at, 1, n * sizeof(lanes));
            memset(o->b + at, 1, n * sizeof(lanes));
            memset(o->c + at, 1, n * sizeof(lanes));
            break;
        case READ:
            w->sum = read_all(o->a + at, n);
            break;
        case COPY:
            copy_all(o->b + at, o->a + at, n, false);
            break;
        case COPY_STREAMING:
            copy_all(o->b + at, o->a + at, n, true);
            break;
        case TRIAD:
            triad_all(o->c + at, o->a + at, o->b + at, n, false);
            break;
        default:
            triad_all(o->c + at, o->a + at, o->b + at, n, true);
    }
}

static void *walker_main(void *argument) {
    struct walker *w = argument;
    for (;;) {
        pthread_barrier_wait(&w->owner->barrier);
        if (w->owner->variant == STOP) return NULL;
        walk(w);
        pthread_barrier_wait(&w->owner->barrier);
    }
}

static double run(bandwidth *o, int variant) {
    struct timespec begun, ended;
    o->variant = variant;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    pthread_barrier_wait(&o->barrier);
    walk(&o->walkers[0]);
    pthread_barrier_wait(&o->barrier);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
}

static lanes *pages(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
#if defined(MADV_HUGEPAGE)
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

bandwidth *bandwidth_create(uint32_t threads, uint64_t bytes) {
    bandwidth *o = calloc(1, sizeof *o);
    if (!o) return NULL;
    o->threads = threads ? threads : 1;
    o->lanes_per_thread = (size_t)(bytes / o->threads / (STREAMS * LINE) * STREAMS * PER_LINE);
    o->bytes = o->lanes_per_thread * sizeof(lanes) * o->threads;
    o->walkers = calloc(o->threads, sizeof *o->walkers);
    o->a = pages(o->bytes);
    o->b = pages(o->bytes);
    o->c = pages(o->bytes);
    bool good = o->walkers && o->a && o->b && o->c && !pthread_barrier_init(&o->barrier, NULL, o->threads);
    for (uint32_t t = 0; good && t < o->threads; t++) {
        o->walkers[t].owner = o;
        o->walkers[t].number = t;
        /* A barrier that lacks a thread would never open: there is no way on from here. */
        if (t && pthread_create(&o->walkers[t].thread, NULL, walker_main, &o->walkers[t])) abort();
    }
    if (!good) {
        if (o->a) munmap(o->a, o->bytes);
        if (o->b) munmap(o->b, o->bytes);
        if (o->c) munmap(o->c, o->bytes);
        free(o->walkers);
        free(o);
        return NULL;
    }
    run(o, TOUCH);
    return o;
}

void bandwidth_destroy(bandwidth *o) {
    if (!o) return;
    o->variant = STOP;
    pthread_barrier_wait(&o->barrier);
    for (uint32_t t = 1; t < o->threads; t++) pthread_join(o->walkers[t].thread, NULL);
    pthread_barrier_destroy(&o->barrier);
    munmap(o->a, o->bytes);
    munmap(o->b, o->bytes);
    munmap(o->c, o->bytes);
    free(o->walkers);
    free(o);
}

bandwidth_rates bandwidth_measure(bandwidth *o) {
    const double n = (double)o->bytes;
    bandwidth_rates r = {.read = n / run(o, READ),
                         .copy = 2 * n / run(o, COPY),
                         .copy_streaming = 2 * n / run(o, COPY_STREAMING),
                         .triad = 3 * n / run(o, TRIAD),
                         .triad_streaming = 3 * n / run(o, TRIAD_STREAMING)};
    const double all[] = {r.read, r.copy, r.copy_streaming, r.triad, r.triad_streaming};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] > r.best) r.best = all[i];
    return r;
}
