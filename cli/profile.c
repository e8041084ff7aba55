/* profile.c: `mlxn profile`: where the time of prompt processing and of decoding goes, operation by operation.
 *
 * Both phases run once to warm up; then the prompt is processed and -n tokens are decoded greedily with a profiler
 * that listens. The schedule is that of any other run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "profile.h"

enum { MAX_EVENTS = 1 << 18, WARM_TOKENS = 2 };

static int fail_decode(mlxn_status status, const mlxn_error *error) {
    if (status == MLXN_ERR_CANCELLED || cli_interrupted()) return cli_fail_interrupted();
    return cli_fail(EXIT_FAILED, "profile: %s; a shorter prompt or a smaller -n may help", error->message);
}

/* The prompt of -p or -f, or --prompt-tokens ids that are the same in every run. */
static int make_prompt(const cli_options *options, const cli_runtime *runtime, mlxn_token **ids, size_t *n) {
    if (options->prompt || options->file) return cli_prompt_ids(options, runtime, NULL, ids, n);
    *n = (size_t)options->prompt_tokens;
    *ids = malloc(*n * sizeof **ids);
    if (!*ids) return cli_fail(EXIT_FAILED, "profile: out of memory; give fewer --prompt-tokens");
    for (size_t i = 0; i < *n; i++)
        (*ids)[i] = (mlxn_token)((i * UINT64_C(2654435761) + 12345) % runtime->info.n_vocab);
    return EXIT_GOOD;
}

static mlxn_token likeliest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (mlxn_token)best;
}

static int feed_prompt(const cli_runtime *runtime, const mlxn_token *ids, size_t n, mlxn_token *next) {
    mlxn_batch_row *rows = calloc(n, sizeof *rows);
    if (!rows) return cli_fail(EXIT_FAILED, "profile: out of memory; give a shorter prompt");
    for (size_t i = 0; i < n; i++) rows[i] = (mlxn_batch_row){ids[i], 0, i + 1 == n};
    mlxn_error error = {0};
    const float *logits = NULL;
    mlxn_status status = mlxn_context_decode(runtime->context, rows, n, NULL, NULL, &logits, &error);
    free(rows);
    if (status || cli_interrupted()) return fail_decode(status, &error);
    *next = likeliest(logits, runtime->info.n_vocab);
    return EXIT_GOOD;
}

static int decode_tokens(const cli_runtime *runtime, uint64_t n, mlxn_token token) {
    for (uint64_t i = 0; i < n; i++) {
        mlxn_batch_row row = {token, 0, true};
        mlxn_error error = {0};
        const float *logits = NULL;
        mlxn_status status = mlxn_context_decode(runtime->context, &row, 1, NULL, NULL, &logits, &error);
        if (status || cli_interrupted()) return fail_decode(status, &error);
        token = likeliest(logits, runtime->info.n_vocab);
    }
    return EXIT_GOOD;
}

/* Takes the events from number `first` on as those of the phase. */
static int take_events(const profile_result *result, profile_phase *phase, uint64_t first) {
    mlxn_profiler_stats stats;
    mlxn_device_wait_idle(result->runtime->device, UINT64_MAX, NULL);
    mlxn_profiler_get_stats(result->profiler, &stats);
    uint64_t n = stats.events - first;
    phase->events = calloc(n ? n : 1, sizeof *phase->events);
    if (phase->events) phase->n_events = mlxn_profiler_events(result->profiler, first, phase->events, n);
    if (phase->events && profile_sum(phase)) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED, "profile: out of memory for %llu events; give a smaller -n", (unsigned long long)n);
}

static int measure(profile_result *result, const mlxn_token *ids, size_t n) {
    const cli_runtime *runtime = result->runtime;
    profile_phase *prefill = &result->phases[0], *decode = &result->phases[1];
    mlxn_error error = {0};
    mlxn_token next = 0;
    int code = feed_prompt(runtime, ids, n, &next);
    if (!code) code = decode_tokens(runtime, WARM_TOKENS, next);
    if (!code && mlxn_context_truncate(runtime->context, 0, 0, &error)) code = fail_decode(MLXN_OK, &error);
    if (!code && mlxn_profiler_start(result->profiler, &error))
        code = cli_fail(EXIT_FAILED, "profile: %s; unset MLX_METAL_CAPTURE", error.message);
    if (code) return code;
    *prefill = (profile_phase){.name = "prefill", .tokens = n, .begun_ns = cli_now()};
    code = feed_prompt(runtime, ids, n, &next);
    prefill->wall_ns = cli_now() - prefill->begun_ns;
    if (!code) code = take_events(result, prefill, 0);
    if (code) return code;
    *decode =
        (profile_phase){.name = "decode", .tokens = (uint64_t)result->options->n_predict, .begun_ns = cli_now()};
    code = decode_tokens(runtime, decode->tokens, next);
    decode->wall_ns = cli_now() - decode->begun_ns;
    if (!code) code = take_events(result, decode, prefill->n_events);
    mlxn_profiler_stop(result->profiler);
    return code;
}

/* Found out before the work, not after it. The file that is there is kept until then. */
static int check_path(const char *option, const char *path) {
    if (!path) return EXIT_GOOD;
    if (!*path) return cli_fail(EXIT_USAGE, "%s: the path is empty; give the name of a file to write", option);
    bool is_new = access(path, F_OK) != 0;
    FILE *file = fopen(path, "ab");
    if (!file)
        return cli_fail(EXIT_FAILED, "%s: \"%s\": %s; give a path that can be written", option, path,
                        strerror(errno));
    fclose(file);
    if (is_new) remove(path);
    return EXIT_GOOD;
}

static int check_options(const cli_options *options) {
    if (options->prompt && !*options->prompt)
        return cli_fail(EXIT_USAGE, "the prompt is empty; give some text after -p or in the file of -f");
    if (options->trace_file && options->html_file && !strcmp(options->trace_file, options->html_file))
        return cli_fail(EXIT_USAGE, "--trace and --html: both are \"%s\"; give two names", options->html_file);
    int code = check_path("--trace", options->trace_file);
    return code ? code : check_path("--html", options->html_file);
}

static int write_files(const profile_result *result) {
    const cli_options *options = result->options;
    mlxn_error error = {0};
    if (options->trace_file && mlxn_profiler_write_trace(result->profiler, options->trace_file, &error))
        return cli_fail(EXIT_FAILED, "--trace: %s; give a path that can be written", error.message);
    if (options->trace_file)
        cli_note(options->quiet, "trace: %s (open it in ui.perfetto.dev or chrome://tracing)", options->trace_file);
    int code = options->html_file ? profile_write_page(result, options->html_file) : EXIT_GOOD;
    if (!code && options->html_file) cli_note(options->quiet, "page: %s", options->html_file);
    return code;
}

static int profile(profile_result *result) {
    const cli_options *options = result->options;
    const cli_runtime *runtime = result->runtime;
    mlxn_error error = {0};
    mlxn_token *ids = NULL;
    size_t n = 0;
    int code = make_prompt(options, runtime, &ids, &n);
    uint64_t need = n + (uint64_t)(options->n_predict > WARM_TOKENS ? options->n_predict : WARM_TOKENS);
    if (!code && need > INT32_MAX)
        code = cli_fail(EXIT_FAILED, "profile: %llu tokens; give a smaller -n", (unsigned long long)need);
    if (!code) code = cli_open_context(options, (uint32_t)need, 1, (cli_runtime *)result->runtime);
    mlxn_profiler_desc desc = {.struct_size = sizeof desc, .max_events = MAX_EVENTS};
    if (!code && mlxn_profiler_create(runtime->device, &desc, &result->profiler, &error))
        code = cli_fail(EXIT_FAILED, "profile: %s; close other programs", error.message);
    if (!code) {
        result->roofs.struct_size = sizeof result->roofs;
        if (mlxn_device_measure(runtime->device, &result->roofs, &error))
            cli_note(options->quiet, "no roofs: %s", error.message);
        cli_interrupt_arm(runtime->context);
        code = measure(result, ids, n);
        cli_interrupt_disarm();
    }
    free(ids);
    if (code) return code;
    mlxn_profiler_stats stats;
    mlxn_profiler_get_stats(result->profiler, &stats);
    result->dropped = stats.dropped;
    if (stats.dropped)
        cli_note(options->quiet, "%llu events beyond the first %d were dropped; give a smaller -n",
                 (unsigned long long)stats.dropped, (int)MAX_EVENTS);
    code = write_files(result);
    if (code) return code;
    if (options->json) return cli_print_json(profile_json(result));
    profile_print(result);
    return EXIT_GOOD;
}

int cmd_profile(const cli_options *options) {
    cli_runtime runtime = {0};
    int code = check_options(options);
    if (code) return code;
    profile_result *result = calloc(1, sizeof *result);
    if (!result) return cli_fail(EXIT_FAILED, "profile: out of memory; close other programs");
    result->options = options;
    result->runtime = &runtime;
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(result->date, sizeof result->date, "%Y-%m-%d %H:%M UTC", &utc);
    code = cli_open_model(options, false, &runtime);
    if (!code) {
        result->device.struct_size = sizeof result->device;
        mlxn_device_get_info(runtime.device, &result->device);
        code = profile(result);
    }
    for (int i = 0; i < PROFILE_PHASES; i++) free(result->phases[i].events);
    mlxn_profiler_destroy(result->profiler);
    cli_runtime_close(&runtime);
    free(result);
    return code;
}
