/* perplexity.c: `mlxn perplexity`: the mean negative log-likelihood of a text.
 *
 * The text is tokenized once, without BOS, and cut into windows of -c tokens that do not overlap. A window of a model
 * that wants BOS begins with it, so it holds one token of text less. Every token is scored that has one before it in
 * its window: nll = log(sum(exp(logits))) - logits[token], summed in double. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef struct score {
    cli_runtime *runtime;
    const mlxn_token *ids; /* of the text */
    size_t n;
    uint32_t window; /* tokens per window, BOS included */
    bool bos;
    FILE *per_token;
    cli_progress progress;
    size_t scored;
    double sum;
} score;

/* Adds what `logits` say about token `i` of the text. */
static int score_token(score *s, const float *logits, size_t i) {
    double nll = cli_log_sum_exp(logits, s->runtime->info.n_vocab) - (double)logits[s->ids[i]];
    s->sum += nll;
    s->scored++;
    if (s->per_token && fprintf(s->per_token, "%zu\t%d\t%.9g\n", i, (int)s->ids[i], nll) < 0)
        return cli_fail(EXIT_FAILED, "the file of --per-token cannot be written: %s; is the disk full?",
                        strerror(errno));
    return EXIT_GOOD;
}

/* One window: tokens [begin, end) of the text. */
static int score_window(score *s, size_t begin, size_t end, mlxn_batch_row *rows, uint32_t step) {
    mlxn_error error = {0};
    mlxn_token bos = mlxn_model_bos(s->runtime->model);
    if (mlxn_context_truncate(s->runtime->context, 0, 0, &error))
        return cli_fail(EXIT_FAILED, "the context could not be emptied: %s; please report this", error.message);
    size_t first = s->bos ? 1 : 0, total = end - begin + first;
    for (size_t at = 0; at < total; at += step) {
        size_t count = total - at < step ? total - at : step;
        for (size_t i = 0; i < count; i++) {
            size_t place = at + i;
            mlxn_token token = s->bos && place == 0 ? bos : s->ids[begin + place - first];
            rows[i] = (mlxn_batch_row){token, 0, place + 1 < total};
        }
        const float *logits = NULL;
        mlxn_status status = mlxn_context_decode(s->runtime->context, rows, count, NULL, NULL, &logits, &error);
        if (status == MLXN_ERR_CANCELLED || cli_interrupted()) return cli_fail_interrupted();
        if (status)
            return cli_fail(EXIT_FAILED, "the text could not be computed: %s; a smaller -c may help", error.message);
        for (size_t i = 0; i < count && at + i + 1 < total; i++) {
            /* the row at place p predicts the token at place p + 1 */
            int code = score_token(s, logits + i * s->runtime->info.n_vocab, begin + at + i + 1 - first);
            if (code) return code;
        }
        if (!cli_progress_step(&s->progress, begin + at + count, s->n + 1)) return cli_fail_interrupted();
    }
    return EXIT_GOOD;
}

static int score_all(const cli_options *options, score *s) {
    uint32_t step = cli_rows_with_logits(s->runtime);
    mlxn_batch_row *rows = calloc(step, sizeof *rows);
    if (!rows) return cli_fail(EXIT_FAILED, "out of memory; close other programs");
    cli_progress_begin(&s->progress, "scoring", options->quiet);
    cli_interrupt_arm(s->runtime->context);
    size_t body = s->window - (s->bos ? 1 : 0);
    int code = EXIT_GOOD;
    for (size_t begin = 0; begin < s->n && !code; begin += body)
        code = score_window(s, begin, s->n - begin < body ? s->n : begin + body, rows, step);
    cli_interrupt_disarm();
    cli_progress_end(&s->progress);
    free(rows);
    return code;
}

static int print_score(const cli_options *options, const score *s) {
    if (!s->scored)
        return cli_fail(EXIT_FAILED, "the text has %zu tokens, of which none has one before it; give a longer text",
                        s->n);
    double nll = s->sum / (double)s->scored;
    if (options->json)
        return cli_print_json(json_pack("{s:I,s:I,s:o,s:o}", "tokens", (json_int_t)s->n, "scored",
                                        (json_int_t)s->scored, "nll", cli_json_real(nll), "ppl",
                                        cli_json_real(exp(nll))));
    printf("perplexity %.4f (mean nll %.6f over %zu of %zu tokens, windows of %u)\n", exp(nll), nll, s->scored, s->n,
           s->window);
    return EXIT_GOOD;
}

static int run(const cli_options *options, cli_runtime *runtime, const mlxn_token *ids, size_t n) {
    score s = {.runtime = runtime, .ids = ids, .n = n};
    s.bos = mlxn_model_adds_bos(runtime->model) && mlxn_model_bos(runtime->model) >= 0;
    s.window = mlxn_context_size(runtime->context);
    if (options->per_token) {
        s.per_token = fopen(options->per_token, "w");
        if (!s.per_token)
            return cli_fail(EXIT_FAILED, "file \"%s\" cannot be written: %s; check the path given to --per-token",
                            options->per_token, strerror(errno));
    }
    uint64_t begun = cli_now();
    int code = score_all(options, &s);
    if (s.per_token && fclose(s.per_token) && !code)
        code = cli_fail(EXIT_FAILED, "file \"%s\" cannot be written: %s; is the disk full?", options->per_token,
                        strerror(errno));
    if (!code) code = print_score(options, &s);
    if (!code) cli_note(options->quiet, "%.1f tokens/s", cli_rate(n, cli_now() - begun));
    return code;
}

int cmd_perplexity(const cli_options *options) {
    cli_runtime runtime = {0};
    char *text = NULL;
    size_t bytes = 0, n = 0;
    mlxn_token *ids = NULL;
    mlxn_error error = {0};
    if (options->ctx_size == 1)
        return cli_fail(EXIT_USAGE, "-c: a window of 1 token scores nothing; give at least 2");
    int code = cli_read_prompt(options, "text", &text, &bytes);
    if (!code && !bytes) code = cli_fail(EXIT_USAGE, "the text is empty; give a file with some text after -f");
    if (!code) code = cli_open_model(options, false, &runtime);
    if (!code && mlxn_tokenize(runtime.model, text, bytes, MLXN_TOKENIZE_NO_BOS, &ids, &n, &error))
        code = cli_fail(EXIT_FAILED, "the text cannot be tokenized: %s; `mlxn info` tells about the tokenizer",
                        error.message);
    free(text);
    uint32_t trained = runtime.info.n_ctx_train;
    uint32_t usual = trained && trained < 2048 ? trained : 2048;
    if (!code) code = cli_open_context(options, options->ctx_size < 0 ? usual : cli_ctx_size(options), 1, &runtime);
    if (!code) code = run(options, &runtime, ids, n);
    mlxn_free_memory(ids);
    cli_runtime_close(&runtime);
    return code;
}
