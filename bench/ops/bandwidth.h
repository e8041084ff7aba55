/* bandwidth.h: what the memory of this machine moves, for the operations to be measured against. */
#ifndef BENCH_OPS_BANDWIDTH_H
#define BENCH_OPS_BANDWIDTH_H

#include <stdint.h>

typedef struct bandwidth bandwidth;

/* Bytes per second, counted as STREAM does: each byte that is read or written counts once. */
typedef struct bandwidth_rates {
    double read, copy, copy_streaming, triad, triad_streaming;
    double best;
} bandwidth_rates;

/* Three arrays of `bytes` each, every thread's share touched first by that thread, and threads - 1 waiting threads.
 * NULL if there is not memory for it. */
bandwidth *bandwidth_create(uint32_t threads, uint64_t bytes);
void bandwidth_destroy(bandwidth *b);

/* One pass of each variant. */
bandwidth_rates bandwidth_measure(bandwidth *b);

#endif
