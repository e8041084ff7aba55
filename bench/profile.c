/* profile.c: what profiling costs: a prompt and decoding with nobody listening and with a profiler, in turns.
 *
 * Each round measures both, so that a machine that changes its speed changes both. Printed are times of a token, the
 * least of all rounds: by the clock, and of the processor, which says more on a machine that does other things too
 * (with one thread: more threads spin while they wait). The schedule is the same, so what is lost is the cost of
 * reading the clock and of the sums.
 *
 * Usage: bench_profile MODEL.gguf [ROUNDS [THREADS]] */
#include <mlxn/lm.h>
#include <mlxn/mlxn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PROMPT = 128, DECODED = 32, MOST_ROUNDS = 1000, EVENTS = 1 << 20 };
enum { NOBODY, PROFILER, WAYS };
static const char *const names[] = {"nobody listens", "a profiler"};

static mlxn_error error;

static void must(mlxn_status status, const char *what) {
    if (status == MLXN_OK) return;
    fprintf(stderr, "profile: %s: %s (%s)\n", what, error.message, mlxn_status_name(status));
    exit(1);
}
#define MUST(call) must(call, #call)

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Microseconds of a token: of the prompt, of the fastest step of decoding. */
typedef struct times {
    double wall[2], cpu[2];
} times;

static void keep(double *least, double value) {
    if (*least == 0 || value < *least) *least = value;
}

static void step(mlxn_context *context, const mlxn_batch_row *rows, uint32_t n, int phase, times *least) {
    const float *logits = NULL;
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    MUST(mlxn_context_decode(context, rows, n, NULL, NULL, &logits, &error));
    keep(&least->wall[phase], (now(CLOCK_MONOTONIC) - wall) / n);
    keep(&least->cpu[phase], (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / n);
}

static void run(mlxn_context *context, uint32_t n_vocab, times *least) {
    mlxn_batch_row rows[PROMPT];
    MUST(mlxn_context_truncate(context, 0, 0, &error));
    for (uint32_t i = 0; i < PROMPT; i++)
        rows[i] = (mlxn_batch_row){(mlxn_token)((i * 2654435761u + 12345) % n_vocab), 0, i + 1 == PROMPT};
    step(context, rows, PROMPT, 0, least);
    for (uint32_t i = 0; i < DECODED; i++)
        step(context, &(mlxn_batch_row){(mlxn_token)(i % n_vocab), 0, true}, 1, 1, least);
}

int main(int argc, char **argv) {
    int rounds = argc > 2 ? atoi(argv[2]) : 10, threads = argc > 3 ? atoi(argv[3]) : 0;
    if (argc < 2 || argc > 4 || threads < 0 || rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: %s MODEL.gguf [ROUNDS from 1 to %d [THREADS]]\n", argv[0], (int)MOST_ROUNDS);
        return 2;
    }
    mlxn_device *device = NULL;
    mlxn_model *model = NULL;
    mlxn_context *context = NULL;
    mlxn_profiler *profiler = NULL;
    mlxn_model_info info = {.struct_size = sizeof info};
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = PROMPT + DECODED};
    mlxn_profiler_desc events = {.struct_size = sizeof events, .max_events = EVENTS};
    mlxn_device_desc on = {.struct_size = sizeof on, .threads = (uint32_t)threads};
    MUST(mlxn_device_create(&on, &device, &error));
    MUST(mlxn_model_load(device, argv[1], NULL, &model, &error));
    MUST(mlxn_context_create(model, &desc, &context, &error));
    MUST(mlxn_profiler_create(device, &events, &profiler, &error));
    mlxn_model_get_info(model, &info);
    times warm, least[WAYS];
    memset(&warm, 0, sizeof warm);
    memset(least, 0, sizeof least);
    run(context, info.n_vocab, &warm);
    for (int r = 0; r < rounds; r++)
        for (int k = 0; k < WAYS; k++) {
            int way = r % 2 ? WAYS - 1 - k : k; /* neither is always the first */
            mlxn_profiler_reset(profiler);
            if (way == PROFILER) MUST(mlxn_profiler_start(profiler, &error));
            run(context, info.n_vocab, &least[way]);
            mlxn_profiler_stop(profiler);
        }
    printf("| us per token, least of %d | %s | %s | ratio |\n|---|---|---|---|\n", rounds, names[0], names[1]);
    for (int phase = 0; phase < 2; phase++)
        for (int cpu = 0; cpu < 2; cpu++) {
            double without = cpu ? least[NOBODY].cpu[phase] : least[NOBODY].wall[phase];
            double with = cpu ? least[PROFILER].cpu[phase] : least[PROFILER].wall[phase];
            printf("| %s, %s | %.2f | %.2f | %.4f |\n", phase ? "decoding" : "prompt of 128",
                   cpu ? "processor" : "clock", without, with, with / without);
        }
    mlxn_profiler_destroy(profiler);
    mlxn_context_destroy(context);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return 0;
}
