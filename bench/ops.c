/* ops.c: the speed of single operations against the memory bandwidth of the machine.
 *
 * Every case of ops/cases.c runs on tensors larger than the caches, one operation in a command buffer that is waited
 * for. Before each of its rounds the bandwidth is measured with as many threads (ops/bandwidth.h); the share of a
 * round is what the operation moved at least, per second, over the best of those rates. Medians over the rounds are
 * printed, with the largest less the smallest over the median as the spread; and the best single run of all against
 * the best bandwidth of all rounds, which other work on the machine disturbs less.
 *
 * Usage: ops [--json] [--threads N] [--megabytes N] [--rounds N] [--only TEXT] [--dtype NAME] [--serve | --list |
 * --about]
 *
 * --serve reads lines `name dtype` and answers each with a round as a line of JSON, so that another program can
 * measure something else in turn; --list prints the table: name, family, dtypes; --about
 * the version and the compiler. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ops/bandwidth.h"
#include "ops/cases.h"

enum { MAX_ROUNDS = 64, MAX_RUNS = 256, LEAST_RUNS = 3, ROUND_NS = 60000000 };

typedef struct options {
    bool json, serve, list, about;
    uint32_t threads, rounds;
    uint64_t bytes;
    const char *only, *dtype;
} options;

typedef struct round_result {
    double seconds, best, bandwidth;
} round_result;

static mlxn_device *device;
static mlxn_encoder *encoder;
static bandwidth *memory;
static mlxn_error error;

static void must(mlxn_status status, const char *what) {
    if (status == MLXN_OK) return;
    fprintf(stderr, "ops: %s: %s (%s)\n", what, error.message, mlxn_status_name(status));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t n) {
    qsort(values, n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double run_once(const bench_run *run) {
    const double begun = now();
    mlxn_encode(encoder, run->op, run->args, run->n_args, run->c->params, mlxn_op_params_size(run->op));
    must(mlxn_encoder_commit_and_wait(encoder, NULL, &error), run->c->name);
    return (now() - begun) * 1e-9;
}

static round_result run_round(const bench_run *run) {
    static double times[MAX_RUNS];
    round_result r = {.bandwidth = bandwidth_measure(memory).best};
    uint32_t n = 0;
    run_once(run); /* what the bandwidth left in the caches is not the operation's */
    for (const double begun = now(); n < LEAST_RUNS || (n < MAX_RUNS && now() - begun < ROUND_NS);)
        times[n++] = run_once(run);
    r.seconds = median(times, n);
    r.best = times[0]; /* median sorts */
    return r;
}

static void print_dims(const bench_run *run, uint32_t i) {
    if (run->weights[i]) {
        printf("{\"dtype\":\"f32\",\"dims\":[%llu,%llu]}", (unsigned long long)mlxn_weight_rows(run->weights[i]),
               (unsigned long long)mlxn_weight_cols(run->weights[i]));
        return;
    }
    const mlxn_tensor *t = &run->tensors[i];
    printf("{\"dtype\":\"%s\",\"dims\":[", mlxn_dtype_name(t->dtype));
    for (uint32_t d = 0; d < t->rank; d++) printf("%s%llu", d ? "," : "", (unsigned long long)t->dims[d]);
    printf("]}");
}

/* Of one round or several. */
typedef struct figures {
    double seconds, spread, share, best_seconds, best_share;
} figures;

static void print_json(const bench_run *run, const figures *f) {
    printf("{\"name\":\"%s\",\"family\":\"%s\",\"op\":\"%s\",\"dtype\":\"%s\",\"args\":[", run->c->name,
           run->c->family, run->c->op, mlxn_dtype_name(run->dtype));
    for (uint32_t i = 0; i < run->n_args; i++) {
        if (i) printf(",");
        if (run->buffers[i])
            print_dims(run, i);
        else
            printf("null");
    }
    printf(
        "],\"bytes\":%llu,\"seconds\":%.9f,\"spread\":%.4f,\"bandwidth_share\":%.4f,\"best_seconds\":%.9f,"
        "\"best_share\":%.4f}",
        (unsigned long long)run->bytes, f->seconds, f->spread, f->share, f->best_seconds, f->best_share);
}

static void measure_case(const options *o, const bench_case *c, mlxn_dtype dtype, bool first) {
    bench_run run;
    double seconds[MAX_ROUNDS], shares[MAX_ROUNDS], best = INFINITY, most = 0;
    must(bench_run_create(device, c, dtype, o->bytes, &run, &error), c->name);
    run_once(&run);
    for (uint32_t i = 0; i < o->rounds; i++) {
        const round_result r = run_round(&run);
        seconds[i] = r.seconds;
        shares[i] = (double)run.bytes / r.seconds / r.bandwidth;
        best = fmin(best, r.best);
        most = fmax(most, r.bandwidth);
    }
    const double m = median(seconds, o->rounds), bytes = (double)run.bytes;
    const figures f = {.seconds = m,
                       .spread = (seconds[o->rounds - 1] - seconds[0]) / m,
                       .share = median(shares, o->rounds),
                       .best_seconds = best,
                       .best_share = bytes / best / most};
    if (o->json) {
        printf(first ? "\n" : ",\n");
        print_json(&run, &f);
    } else {
        printf("| %s | %s | %s | %.2f ms | %.0f %% | %.1f GB/s | %.0f %% | %.2f ms | %.0f %% |\n", c->family, c->name,
               mlxn_dtype_name(dtype), m * 1e3, f.spread * 100, bytes / m * 1e-9, f.share * 100, best * 1e3,
               f.best_share * 100);
    }
    fflush(stdout);
    bench_run_destroy(&run);
}

static void measure_all(const options *o, uint32_t threads) {
    bool first = true;
    const bandwidth_rates b = bandwidth_measure(memory);
    if (o->json)
        printf("{\"version\":\"%s\",\"threads\":%u,\"rounds\":%u,\"megabytes\":%llu,\"cases\":[", mlxn_version(),
               threads, o->rounds, (unsigned long long)(o->bytes >> 20));
    else
        printf(
            "mlxn %s, cpu device with %u threads; tensors of %llu MiB; medians of %u rounds.\n"
            "Memory in the first round, GB/s: read %.1f, copy %.1f, streaming copy %.1f, triad %.1f, streaming "
            "triad %.1f.\n\n"
            "| family | case | dtype | time | spread | speed | of the bandwidth | best "
            "| of the best bandwidth |\n|---|---|---|---:|---:|---:|---:|---:|---:|\n",
            mlxn_version(), threads, (unsigned long long)(o->bytes >> 20), o->rounds, b.read * 1e-9, b.copy * 1e-9,
            b.copy_streaming * 1e-9, b.triad * 1e-9, b.triad_streaming * 1e-9);
    for (uint32_t i = 0; i < bench_case_count; i++) {
        const bench_case *c = &bench_cases[i];
        if (o->only && !strstr(c->name, o->only) && !strstr(c->family, o->only)) continue;
        for (mlxn_dtype dtype = MLXN_F32; dtype <= MLXN_BF16; dtype++) {
            if (!bench_has_dtype(c, dtype) || (o->dtype && strcmp(o->dtype, mlxn_dtype_name(dtype)))) continue;
            measure_case(o, c, dtype, first);
            first = false;
        }
    }
    if (o->json) printf("\n]}\n");
}

#if defined(__clang__)
#define COMPILER __VERSION__ /* begins with its name */
#else
#define COMPILER "gcc " __VERSION__
#endif
static int print_about(void) {
    printf("mlxn %s, %s\n", mlxn_version(), COMPILER);
    return 0;
}

static int list_cases(void) {
    for (uint32_t i = 0; i < bench_case_count; i++)
        printf("%s\t%s\t%s\n", bench_cases[i].name, bench_cases[i].family,
               bench_cases[i].dtypes ? bench_cases[i].dtypes : "f32 f16 bf16");
    return 0;
}

/* Answers until the input ends; the case in hand stays in memory. */
static void serve(const options *o) {
    char line[128], name[64], dtype_name[16];
    bench_run run = {0};
    while (fgets(line, sizeof line, stdin)) {
        const bench_case *c = NULL;
        mlxn_dtype dtype = MLXN_F32;
        const bool good = sscanf(line, "%63s %15s", name, dtype_name) == 2 && mlxn_dtype_parse(dtype_name, &dtype);
        for (uint32_t i = 0; good && i < bench_case_count && !c; i++)
            if (!strcmp(bench_cases[i].name, name)) c = &bench_cases[i];
        if (!c || !bench_has_dtype(c, dtype)) {
            printf("{\"error\":\"want a line `name dtype` of the table\"}\n");
            fflush(stdout);
            continue;
        }
        if (c != run.c || dtype != run.dtype) {
            bench_run_destroy(&run);
            must(bench_run_create(device, c, dtype, o->bytes, &run, &error), c->name);
            run_once(&run);
        }
        const round_result r = run_round(&run);
        const double bytes = (double)run.bytes;
        const figures f = {r.seconds, 0, bytes / r.seconds / r.bandwidth, r.best, bytes / r.best / r.bandwidth};
        print_json(&run, &f);
        printf("\n");
        fflush(stdout);
    }
    bench_run_destroy(&run);
}

static bool number(const char *text, uint64_t least, uint64_t most, uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 10);
    return *text && !*end && *out >= least && *out <= most;
}

static bool parse(int argc, char **argv, options *o) {
    for (int i = 1; i < argc; i++) {
        uint64_t n = 0;
        if (!strcmp(argv[i], "--json"))
            o->json = true;
        else if (!strcmp(argv[i], "--serve"))
            o->serve = true;
        else if (!strcmp(argv[i], "--list"))
            o->list = true;
        else if (!strcmp(argv[i], "--about"))
            o->about = true;
        else if (i + 1 == argc)
            return false;
        else if (!strcmp(argv[i], "--only"))
            o->only = argv[++i];
        else if (!strcmp(argv[i], "--dtype"))
            o->dtype = argv[++i];
        else if (!strcmp(argv[i], "--threads") && number(argv[++i], 1, 1024, &n))
            o->threads = (uint32_t)n;
        else if (!strcmp(argv[i], "--rounds") && number(argv[++i], 1, MAX_ROUNDS, &n))
            o->rounds = (uint32_t)n;
        else if (!strcmp(argv[i], "--megabytes") && number(argv[++i], 1, 1 << 16, &n))
            o->bytes = n << 20;
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv) {
    options o = {.rounds = 5, .bytes = 64 << 20};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr,
                "usage: ops [--json] [--threads N] [--megabytes N] [--rounds 1..%d] [--only TEXT] "
                "[--dtype NAME] [--serve | --list | --about]\n",
                MAX_ROUNDS);
        return 2;
    }
    if (o.list) return list_cases();
    if (o.about) return print_about();
    const mlxn_device_desc desc = {.struct_size = sizeof desc, .threads = o.threads};
    must(mlxn_device_create(&desc, &device, &error), "device");
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    must(mlxn_encoder_create(device, &encoder, &error), "encoder");
    memory = bandwidth_create(info.threads, 64 << 20);
    if (!memory) {
        fprintf(stderr, "ops: out of memory for the arrays of the bandwidth\n");
        return 1;
    }
    if (o.serve)
        serve(&o);
    else
        measure_all(&o, info.threads);
    bandwidth_destroy(memory);
    mlxn_encoder_destroy(encoder);
    mlxn_device_release(&device);
    return 0;
}
