/* logits.c: `mlxn logits`: the largest logits after a prompt, and with --all those of every position as .npy.
 *
 * The prompt is computed in batches, or with --step-by-step one token at a time as when generating; both are the same
 * function of the prompt within the bounds of the precision, which is what the option is there to show. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef struct best {
    mlxn_token id;
    float logit;
} best;

/* Largest first, the lower id first where equal; NaN last. */
static int compare(const void *a, const void *b) {
    const best *x = a, *y = b;
    bool x_nan = isnan(x->logit), y_nan = isnan(y->logit);
    if (x_nan != y_nan) return x_nan ? 1 : -1;
    if (!x_nan && x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static int print_top(const cli_options *options, const cli_runtime *runtime, const float *logits) {
    uint32_t n_vocab = runtime->info.n_vocab;
    uint32_t n = options->top < n_vocab ? (uint32_t)options->top : n_vocab;
    best *top = malloc(n_vocab * sizeof *top);
    if (!top) return cli_fail(EXIT_FAILED, "out of memory; close other programs");
    for (uint32_t i = 0; i < n_vocab; i++) top[i] = (best){(mlxn_token)i, logits[i]};
    qsort(top, n_vocab, sizeof *top, compare);
    int code = EXIT_GOOD;
    if (options->json) {
        json_t *array = json_array();
        for (uint32_t i = 0; i < n && array; i++) {
            json_t *entry = json_pack("{s:i,s:o}", "id", (int)top[i].id, "logit", cli_json_real(top[i].logit));
            if (json_array_append_new(array, entry)) {
                json_decref(array);
                array = NULL;
            }
        }
        code = cli_print_json(json_pack("{s:o}", "top", array));
    } else {
        for (uint32_t i = 0; i < n; i++) {
            size_t bytes = 0;
            const char *text = mlxn_token_bytes(runtime->model, top[i].id, &bytes);
            printf("%8d %12.6f ", (int)top[i].id, (double)top[i].logit);
            if (text) cli_print_text(text, bytes, 60);
            putchar('\n');
        }
    }
    free(top);
    return code;
}

/* Computes the prompt; *last are the logits after it, in memory of the context. */
static int decode(const cli_options *options, cli_runtime *runtime, const mlxn_token *ids, size_t n, cli_npy *npy,
                  const float **last) {
    uint32_t n_vocab = runtime->info.n_vocab;
    bool all = options->all_file != NULL;
    size_t step = options->step_by_step ? 1 : all ? cli_rows_with_logits(runtime) : n;
    mlxn_batch_row *rows = calloc(step < n ? step : n, sizeof *rows);
    if (!rows) return cli_fail(EXIT_FAILED, "out of memory; give a shorter prompt");
    cli_progress progress;
    cli_progress_begin(&progress, "computing", options->quiet);
    int code = EXIT_GOOD;
    cli_interrupt_arm(runtime->context);
    for (size_t at = 0; at < n && !code; at += step) {
        size_t count = n - at < step ? n - at : step;
        for (size_t i = 0; i < count; i++) rows[i] = (mlxn_batch_row){ids[at + i], 0, all || at + i + 1 == n};
        mlxn_error error = {0};
        const float *logits = NULL;
        mlxn_status status = mlxn_context_decode(runtime->context, rows, count, step < n ? NULL : cli_progress_step,
                                                 &progress, &logits, &error);
        if (!status && step < n) cli_progress_step(&progress, at + count, n);
        if (status == MLXN_ERR_CANCELLED || cli_interrupted())
            code = cli_fail_interrupted();
        else if (status)
            code =
                cli_fail(EXIT_FAILED, "the prompt could not be computed: %s; a smaller -c may help", error.message);
        else if (all)
            code = cli_npy_write(npy, logits, (uint64_t)count * n_vocab);
        if (!code && at + count == n) *last = logits + (all ? (count - 1) * (size_t)n_vocab : 0);
    }
    cli_interrupt_disarm();
    cli_progress_end(&progress);
    free(rows);
    return code;
}

int cmd_logits(const cli_options *options) {
    cli_runtime runtime = {0};
    cli_npy npy = {0};
    mlxn_token *ids = NULL;
    size_t n = 0;
    const float *last = NULL;
    int code = cli_open_model(options, false, &runtime);
    if (!code) code = cli_prompt_ids(options, &runtime, NULL, &ids, &n);
    if (!code) code = cli_open_context(options, cli_ctx_size(options), 1, &runtime);
    if (!code && n > mlxn_context_size(runtime.context)) code = cli_fail_too_long(&runtime, n);
    if (!code && options->all_file) code = cli_npy_open(&npy, options->all_file, n, runtime.info.n_vocab);
    if (!code) code = decode(options, &runtime, ids, n, &npy, &last);
    if (!code) code = print_top(options, &runtime, last);
    int closed = cli_npy_close(&npy, code == EXIT_GOOD);
    free(ids);
    cli_runtime_close(&runtime);
    return code ? code : closed;
}
