/* bench.c: `mlxn bench`: tokens per second of prompt processing (pp) and of decoding (tg).
 *
 * Each test is run once to warm up, then measured -r times; the median counts. What is timed is the model alone:
 * decode calls with the logits of the last row, no sampling and no text. The bytes that a token reads are the weights
 * (once per pass, shared by all rows of the pass) and the cache at the mean depth of the test; the share of the
 * bandwidth relates bytes per second to what this machine's threads can read (bandwidth.c), measured in the same run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef struct test {
    char name[48];
    bool decode; /* tg, else pp */
    uint32_t tokens, depth, batch;
    double median, min, max; /* tokens per second over all sequences */
    double bytes_per_token, share;
} test;

typedef struct bench {
    const cli_options *options;
    cli_runtime *runtime;
    mlxn_device_info device;
    double bandwidth; /* bytes per second */
    test *tests;
    size_t n_tests;
} bench;

static int fail_decode(mlxn_status status, const mlxn_error *error) {
    if (status == MLXN_ERR_CANCELLED || cli_interrupted()) return cli_fail_interrupted();
    return cli_fail(EXIT_FAILED, "bench: %s; smaller -p, -n, -d or -b may help", error->message);
}

/* The content of the tokens does not change the work; a fixed sequence makes runs alike. */
static mlxn_token token_at(const cli_runtime *runtime, uint64_t i) {
    return (mlxn_token)((i * UINT64_C(2654435761) + 12345) % runtime->info.n_vocab);
}

/* Appends `tokens` tokens to each of `batch` sequences in one call. */
static int feed(const bench *b, uint32_t tokens, uint32_t batch, mlxn_batch_row *rows) {
    uint64_t n = (uint64_t)tokens * batch;
    for (uint64_t i = 0; i < n; i++)
        rows[i] = (mlxn_batch_row){token_at(b->runtime, i), (uint32_t)(i % batch), i + batch >= n};
    mlxn_error error = {0};
    const float *logits = NULL;
    mlxn_status status = mlxn_context_decode(b->runtime->context, rows, n, NULL, NULL, &logits, &error);
    return status || cli_interrupted() ? fail_decode(status, &error) : EXIT_GOOD;
}

/* Every sequence holds exactly `depth` tokens. A sliding-window cache may not be able to go back: then it is filled
 * again, outside the measured time. */
static int set_depth(const bench *b, const test *t, mlxn_batch_row *rows) {
    mlxn_context *context = b->runtime->context;
    mlxn_error error = {0};
    for (uint32_t pass = 0; pass < 2; pass++) {
        bool ready = true;
        for (uint32_t seq = 0; seq < t->batch; seq++) {
            bool back = mlxn_context_length(context, seq) >= t->depth &&
                        !mlxn_context_truncate(context, seq, t->depth, &error);
            ready = ready && back;
        }
        if (ready) return EXIT_GOOD;
        for (uint32_t seq = 0; seq < t->batch; seq++)
            if (mlxn_context_truncate(context, seq, 0, &error)) return fail_decode(MLXN_OK, &error);
        int code = feed(b, t->depth, t->batch, rows);
        if (code) return code;
    }
    return EXIT_GOOD;
}

static int run_once(const bench *b, const test *t, mlxn_batch_row *rows, double *rate) {
    int code = set_depth(b, t, rows);
    uint64_t begun = cli_now();
    if (!t->decode) {
        if (!code) code = feed(b, t->tokens, t->batch, rows);
    } else {
        for (uint32_t i = 0; i < t->tokens && !code; i++) code = feed(b, 1, t->batch, rows);
    }
    *rate = cli_rate((uint64_t)t->tokens * t->batch, cli_now() - begun);
    return code;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void fill_costs(const bench *b, test *t) {
    double rows = (double)t->tokens * t->batch;
    double pass_rows = t->decode ? t->batch : rows < 512 ? rows : 512;
    double cache = (double)mlxn_context_kv_bytes(b->runtime->context) /
                   ((double)mlxn_context_size(b->runtime->context) * t->batch);
    double depth = t->depth + t->tokens / 2.0;
    /* Rows of one prompt pass share what they read of the cache; decoded tokens read all of it for themselves. */
    double cache_bytes = t->decode ? cache * depth : cache * depth * t->batch / pass_rows;
    t->bytes_per_token = (double)b->runtime->info.bytes_per_token / pass_rows + cache_bytes;
    t->share = b->bandwidth > 0 ? t->bytes_per_token * t->median / b->bandwidth : 0;
}

static int run_test(bench *b, test *t, double *rates, mlxn_batch_row *rows) {
    int code = cli_open_context(b->options, t->depth + t->tokens, t->batch, b->runtime);
    if (code) return code;
    cli_interrupt_arm(b->runtime->context);
    double ignored = 0;
    code = run_once(b, t, rows, &ignored);
    int n = (int)b->options->repetitions;
    for (int i = 0; i < n && !code; i++) code = run_once(b, t, rows, &rates[i]);
    cli_interrupt_disarm();
    if (!code) {
        qsort(rates, (size_t)n, sizeof *rates, compare);
        t->median = n % 2 ? rates[n / 2] : (rates[n / 2 - 1] + rates[n / 2]) / 2;
        t->min = rates[0];
        t->max = rates[n - 1];
        fill_costs(b, t);
    }
    mlxn_context_destroy(b->runtime->context);
    b->runtime->context = NULL;
    return code;
}

/* ---- printing ---- */

static json_t *test_json(const bench *b, const test *t) {
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:s,s:s,s:I,s:o,s:o,s:o,s:o,s:o,s:o}", "test", t->name, "model",
                     b->runtime->info.name ? b->runtime->info.name : "", "tokens", (json_int_t)t->tokens, "depth",
                     (json_int_t)t->depth, "batch", (json_int_t)t->batch, "repetitions",
                     (json_int_t)b->options->repetitions, "backend", b->device.backend, "precision",
                     b->device.precision == MLXN_PRECISION_F32 ? "f32" : "fast", "threads",
                     (json_int_t)b->device.threads, "median", cli_json_real(t->median), "min", cli_json_real(t->min),
                     "max", cli_json_real(t->max), "bytes_per_token", cli_json_real(t->bytes_per_token), "bandwidth",
                     b->bandwidth > 0 ? cli_json_real(b->bandwidth) : json_null(), "bandwidth_fraction",
                     b->bandwidth > 0 ? cli_json_real(t->share) : json_null());
}

static void print_table_head(const bench *b) {
    char memory[32];
    printf("model: %s, %s, %u threads, %s; measured read bandwidth %s/s\n\n",
           b->runtime->info.name ? b->runtime->info.name : "?", b->device.backend, b->device.threads,
           b->device.precision == MLXN_PRECISION_F32 ? "f32" : "fast", cli_bytes((uint64_t)b->bandwidth, memory));
    printf(
        "| test               | tokens/s |      min |      max | bytes/token | of bandwidth |\n"
        "|--------------------|---------:|---------:|---------:|------------:|-------------:|\n");
}

static int print_test(const bench *b, const test *t) {
    const char *form = b->options->format;
    char bytes[32];
    if (!strcmp(form, "md")) {
        printf("| %-18s | %8.2f | %8.2f | %8.2f | %11s | %10.1f %% |\n", t->name, t->median, t->min, t->max,
               cli_bytes((uint64_t)t->bytes_per_token, bytes), t->share * 100);
    } else if (!strcmp(form, "csv")) {
        printf("%s,%u,%u,%u,%lld,%s,%s,%u,%.6f,%.6f,%.6f,%.1f,%.1f,%.6f\n", t->name, t->tokens, t->depth, t->batch,
               (long long)b->options->repetitions, b->device.backend,
               b->device.precision == MLXN_PRECISION_F32 ? "f32" : "fast", b->device.threads, t->median, t->min,
               t->max, t->bytes_per_token, b->bandwidth, t->share);
    } else if (!strcmp(form, "jsonl")) {
        return cli_print_json(test_json(b, t));
    }
    fflush(stdout);
    return EXIT_GOOD;
}

static int print_array(const bench *b) {
    json_t *array = json_array();
    for (size_t i = 0; i < b->n_tests && array; i++) {
        if (json_array_append_new(array, test_json(b, &b->tests[i]))) {
            json_decref(array);
            array = NULL;
        }
    }
    return cli_print_json(array);
}

/* ---- the list of tests ---- */

static void add_tests(bench *b, const cli_list *tokens, bool decode, uint32_t depth, uint32_t batch) {
    for (uint32_t i = 0; i < tokens->n; i++) {
        if (!tokens->values[i]) continue;
        test *t = &b->tests[b->n_tests++];
        *t = (test){.decode = decode, .tokens = tokens->values[i], .depth = depth, .batch = batch};
        int n = snprintf(t->name, sizeof t->name, "%s%u", decode ? "tg" : "pp", t->tokens);
        if (batch > 1) n += snprintf(t->name + n, sizeof t->name - (size_t)n, " x%u", batch);
        if (depth) snprintf(t->name + n, sizeof t->name - (size_t)n, " @ d%u", depth);
    }
}

static int run_tests(bench *b) {
    uint64_t most = 1;
    for (size_t i = 0; i < b->n_tests; i++) {
        const test *t = &b->tests[i];
        uint64_t rows = (uint64_t)(t->depth > t->tokens ? t->depth : t->tokens) * t->batch;
        most = rows > most ? rows : most;
    }
    mlxn_batch_row *rows = calloc(most, sizeof *rows);
    double *rates = calloc((size_t)b->options->repetitions, sizeof *rates);
    int code = rows && rates ? EXIT_GOOD : cli_fail(EXIT_FAILED, "bench: out of memory; give a smaller -p or -d");
    cli_progress progress;
    cli_progress_begin(&progress, "measuring", b->options->quiet);
    for (size_t i = 0; i < b->n_tests && !code; i++) {
        cli_progress_step(&progress, i, b->n_tests);
        code = run_test(b, &b->tests[i], rates, rows);
        cli_progress_end(&progress);
        if (!code) code = print_test(b, &b->tests[i]);
    }
    free(rows);
    free(rates);
    return code;
}

int cmd_bench(const cli_options *options) {
    static test tests[2 * CLI_MAX_LIST * CLI_MAX_LIST * CLI_MAX_LIST];
    cli_runtime runtime = {0};
    bench b = {.options = options, .runtime = &runtime, .tests = tests};
    for (uint32_t k = 0; k < options->batches.n; k++) {
        for (uint32_t d = 0; d < options->depths.n; d++) {
            add_tests(&b, &options->prompts, false, options->depths.values[d], options->batches.values[k]);
            add_tests(&b, &options->generated, true, options->depths.values[d], options->batches.values[k]);
        }
    }
    if (!b.n_tests) return cli_fail(EXIT_USAGE, "bench: nothing to measure; give -p or -n a number above 0");
    int code = cli_open_model(options, false, &runtime);
    if (!code) {
        b.device.struct_size = sizeof b.device;
        mlxn_device_get_info(runtime.device, &b.device);
        b.bandwidth = cli_read_bandwidth(b.device.threads);
        if (!strcmp(options->format, "md")) print_table_head(&b);
        if (!strcmp(options->format, "csv"))
            printf(
                "test,tokens,depth,batch,repetitions,backend,precision,threads,median,min,max,bytes_per_token,"
                "bandwidth,bandwidth_fraction\n");
        code = run_tests(&b);
    }
    if (!code && !strcmp(options->format, "json")) code = print_array(&b);
    cli_runtime_close(&runtime);
    return code;
}
