/* peak.c: what the device's threads reach together: floating-point and 8-bit operations per second with everything in
 * registers, and bytes per second read from memory. The best of several tries counts: anything slower was disturbed,
 * not limited. */
#include "backend/cpu/device.h"

#define DECLARE(level) extern uint64_t cpu_peak_f32_##level(uint64_t rounds), cpu_peak_int8_##level(uint64_t rounds);
DECLARE(base)
#if defined(__x86_64__) && !defined(MLXN_CPU_BASE_ONLY)
DECLARE(avx2)
DECLARE(avx512)
extern uint64_t cpu_peak_int8_vnni(uint64_t rounds);
#endif

typedef uint64_t (*peak_fn)(uint64_t rounds);

static void peak_kernels(uint32_t isa, peak_fn *f32, peak_fn *int8) {
    *f32 = cpu_peak_f32_base;
    *int8 = cpu_peak_int8_base;
#if defined(__x86_64__) && !defined(MLXN_CPU_BASE_ONLY)
    if (isa & MLXN_ISA_AVX2) *f32 = cpu_peak_f32_avx2, *int8 = cpu_peak_int8_avx2;
    if (isa & MLXN_ISA_AVX512) *f32 = cpu_peak_f32_avx512, *int8 = cpu_peak_int8_avx512;
    if (isa & MLXN_ISA_VNNI) *int8 = cpu_peak_int8_vnni;
#endif
}

static const uint64_t window_ns = 1000000, gather_ns = 2000000;
enum { COMPUTE_PASSES = 6, WINDOWS = 5, ROUNDS = 4096 };

typedef struct peak_pass {
    peak_fn fn;
    uint32_t threads;
    _Atomic uint32_t arrived;
    double *best; /* operations per second of each thread, over all passes so far */
} peak_pass;

/* Workers may still be waking up: all start together, or after a bounded wait without those who did not come. A pass
 * of some milliseconds is looked at in short windows, of which some are whole even where other processes take the
 * processor away in turn. */
static void peak_chunk(void *arg, uint64_t chunk) {
    peak_pass *pass = arg;
    atomic_fetch_add(&pass->arrived, 1);
    const uint64_t latest = mlxn_now_ns() + gather_ns;
    while (atomic_load(&pass->arrived) < pass->threads && mlxn_now_ns() < latest) continue;
    uint64_t now = mlxn_now_ns();
    for (int i = 0; i < WINDOWS; i++) {
        const uint64_t begun = now;
        uint64_t operations = 0;
        while (now - begun < window_ns) {
            operations += pass->fn(ROUNDS);
            now = mlxn_now_ns();
        }
        const double rate = (double)operations * 1e9 / (double)(now - begun);
        if (rate > pass->best[chunk]) pass->best[chunk] = rate;
    }
}

/* The sum of what each thread reached beside the others. Threads beyond the processors there are only took turns. */
static double best_rate(cpu_device *device, peak_fn fn, double *best) {
    for (uint32_t t = 0; t < device->n_threads; t++) best[t] = 0;
    for (int i = 0; i < COMPUTE_PASSES; i++) {
        peak_pass pass = {.fn = fn, .threads = device->n_threads, .best = best};
        cpu_parallel(device, device->n_threads, peak_chunk, &pass);
    }
    const uint32_t cores = cpu_available_cores();
    double sum = 0;
    for (uint32_t t = 0; t < device->n_threads; t++) sum += best[t];
    return cores < device->n_threads ? sum * cores / device->n_threads : sum;
}

mlxn_status cpu_measure_peak(cpu_device *device, double *f32_flops, double *int8_ops, mlxn_error *error) {
    peak_fn f32, int8;
    peak_kernels(device->isa, &f32, &int8);
    *f32_flops = *int8_ops = 0;
    double *best = mlxn_alloc_array(device->n_threads, sizeof *best);
    if (!best) return mlxn_fail(error, MLXN_ERR_MEMORY, "peak: out of memory for %u threads", device->n_threads);
    *f32_flops = best_rate(device, f32, best);
    *int8_ops = best_rate(device, int8, best);
    mlxn_free(best);
    return mlxn_succeed(error);
}

/* --- Bandwidth: more than the caches hold, in chunks that threads take as they come, as matmul kernels do. --- */

enum { READ_CHUNK = 1 << 20, READ_CHUNKS = 256, READ_PASSES = 4, WORDS_PER_LINE = 8 };

typedef struct read_pass {
    uint8_t *data;
    bool streams;
    _Atomic uint64_t sum; /* so that the reads cannot be left out */
} read_pass;

/* Real pages, not the shared zero page. */
static void write_chunk(void *arg, uint64_t chunk) {
    read_pass *pass = arg;
    memset(pass->data + chunk * READ_CHUNK, 1, READ_CHUNK);
}

/* One stream, or four at once, which lets more lines be under way on machines whose prefetcher follows each. Eight
 * sums, so that additions do not wait for each other. */
static void read_chunk(void *arg, uint64_t chunk) {
    read_pass *pass = arg;
    const uint64_t *words = (const uint64_t *)(const void *)(pass->data + chunk * READ_CHUNK);
    const size_t n = READ_CHUNK / sizeof *words, streams = pass->streams ? 4 : 1, part = n / streams;
    uint64_t s[WORDS_PER_LINE] = {0}, total = 0;
    if (pass->streams)
        for (size_t i = 0; i < part; i += WORDS_PER_LINE)
            for (size_t stream = 0; stream < 4; stream++)
                for (size_t j = 0; j < WORDS_PER_LINE; j++) s[j] += words[stream * part + i + j];
    else
        for (size_t i = 0; i < part; i += WORDS_PER_LINE)
            for (size_t j = 0; j < WORDS_PER_LINE; j++) s[j] += words[i + j];
    for (size_t j = 0; j < WORDS_PER_LINE; j++) total += s[j];
    atomic_fetch_add_explicit(&pass->sum, total, memory_order_relaxed);
}

mlxn_status cpu_measure_bandwidth(cpu_device *device, double *bytes_per_second, mlxn_error *error) {
    const uint64_t bytes = (uint64_t)READ_CHUNK * READ_CHUNKS;
    *bytes_per_second = 0;
    mlxn_status status = mlxn_device_account_as(device->owner, MLXN_MEMORY_SCRATCH, bytes, "bandwidth", error);
    if (status) return status;
    read_pass pass = {.data = cpu_pages_alloc(bytes, true)};
    if (!pass.data) {
        mlxn_device_unaccount_as(device->owner, MLXN_MEMORY_SCRATCH, bytes);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "bandwidth: out of memory for %llu bytes",
                         (unsigned long long)bytes);
    }
    cpu_parallel(device, READ_CHUNKS, write_chunk, &pass);
    for (int i = 0; i < 2 * READ_PASSES; i++) {
        pass.streams = i % 2 == 1;
        const uint64_t begun = mlxn_now_ns();
        cpu_parallel(device, READ_CHUNKS, read_chunk, &pass);
        const double rate = (double)bytes * 1e9 / (double)mlxn_max_u64(1, mlxn_now_ns() - begun);
        if (rate > *bytes_per_second) *bytes_per_second = rate;
    }
    cpu_pages_free(pass.data, bytes);
    mlxn_device_unaccount_as(device->owner, MLXN_MEMORY_SCRATCH, bytes);
    return mlxn_succeed(error);
}
