/* bandwidth.c: the memory bandwidth that decoding is measured against.
 *
 * Every thread reads its own share of one buffer of at least 256 MB (far beyond the caches), several times, with the
 * plain loops below; the best pass counts, because anything slower was disturbed, not limited. The sums go into a
 * volatile variable, so that the reads cannot be left out. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { PASSES = 4, WORDS_PER_LINE = 8 };

/* Threads stop at the gate until all of them exist: a barrier that never fills would hold them for ever. */
typedef struct start_gate {
    pthread_mutex_t mutex;
    pthread_barrier_t barrier;
    bool stop;
} start_gate;

typedef struct reader {
    pthread_t thread;
    start_gate *gate;
    const uint64_t *data;
    size_t words; /* a multiple of 8 * 64 */
    uint64_t begun[2][PASSES], ended[2][PASSES];
    volatile uint64_t sum;
} reader;

/* Variant 0: one stream through the share. Eight sums, so that additions do not wait for each other. */
static uint64_t read_one_stream(const uint64_t *data, size_t words) {
    uint64_t s[WORDS_PER_LINE] = {0};
    for (size_t i = 0; i < words; i += WORDS_PER_LINE)
        for (int j = 0; j < WORDS_PER_LINE; j++) s[j] += data[i + (size_t)j];
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

/* Variant 1: four streams at once, which lets more lines be under way on machines whose prefetcher follows each. */
static uint64_t read_four_streams(const uint64_t *data, size_t words) {
    uint64_t s[WORDS_PER_LINE] = {0};
    size_t quarter = words / 4;
    for (size_t i = 0; i < quarter; i += WORDS_PER_LINE)
        for (size_t stream = 0; stream < 4; stream++)
            for (int j = 0; j < WORDS_PER_LINE; j++) s[j] += data[stream * quarter + i + (size_t)j];
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static void read_all(reader *r) {
    for (int variant = 0; variant < 2; variant++) {
        for (int pass = 0; pass < PASSES; pass++) {
            pthread_barrier_wait(&r->gate->barrier);
            r->begun[variant][pass] = cli_now();
            r->sum += variant ? read_four_streams(r->data, r->words) : read_one_stream(r->data, r->words);
            r->ended[variant][pass] = cli_now();
        }
    }
}

static void *reader_main(void *argument) {
    reader *r = argument;
    pthread_mutex_lock(&r->gate->mutex);
    bool stop = r->gate->stop;
    pthread_mutex_unlock(&r->gate->mutex);
    if (!stop) read_all(r);
    return NULL;
}

static double best_pass(const reader *readers, uint32_t threads, double bytes) {
    double best = 0;
    for (int variant = 0; variant < 2; variant++) {
        for (int pass = 0; pass < PASSES; pass++) {
            uint64_t begun = UINT64_MAX, ended = 0;
            for (uint32_t t = 0; t < threads; t++) {
                uint64_t b = readers[t].begun[variant][pass], e = readers[t].ended[variant][pass];
                begun = b < begun ? b : begun;
                ended = e > ended ? e : ended;
            }
            double rate = ended > begun ? bytes * 1e9 / (double)(ended - begun) : 0;
            best = rate > best ? rate : best;
        }
    }
    return best;
}

static bool run_readers(start_gate *gate, reader *readers, uint32_t threads) {
    uint32_t made = 1;
    pthread_mutex_lock(&gate->mutex);
    while (made < threads && !pthread_create(&readers[made].thread, NULL, reader_main, &readers[made])) made++;
    gate->stop = made < threads;
    pthread_mutex_unlock(&gate->mutex);
    if (!gate->stop) read_all(&readers[0]);
    for (uint32_t t = 1; t < made; t++) pthread_join(readers[t].thread, NULL);
    return !gate->stop;
}

double cli_read_bandwidth(uint32_t threads) {
    const size_t total = (size_t)256 << 20, unit = 8 * 4096;
    if (threads < 1) threads = 1;
    size_t share = (total / threads / unit + 1) * unit;
    uint8_t *data = aligned_alloc(4096, share * threads);
    reader *readers = calloc(threads, sizeof *readers);
    start_gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    double result = 0;
    if (data && readers && !pthread_barrier_init(&gate.barrier, NULL, threads)) {
        memset(data, 1, share * threads); /* real pages, not the shared zero page */
        for (uint32_t t = 0; t < threads; t++) {
            readers[t].gate = &gate;
            readers[t].data = (const uint64_t *)(const void *)(data + share * t);
            readers[t].words = share / sizeof(uint64_t);
        }
        if (run_readers(&gate, readers, threads)) result = best_pass(readers, threads, (double)share * threads);
        pthread_barrier_destroy(&gate.barrier);
    }
    free(readers);
    free(data);
    return result;
}
