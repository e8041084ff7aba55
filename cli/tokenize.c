/* tokenize.c: `mlxn tokenize`: text to ids, for the whole text or line by line. Loads the vocabulary only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static int print_ids(const cli_options *options, const mlxn_token *ids, size_t n) {
    if (options->json) return cli_print_json(json_pack("{s:o}", "ids", cli_json_ids(ids, n)));
    for (size_t i = 0; i < n; i++) printf(i ? ",%d" : "%d", (int)ids[i]);
    putchar('\n');
    return EXIT_GOOD;
}

static int tokenize(const cli_options *options, const cli_runtime *runtime, const char *text, size_t bytes) {
    uint32_t flags = (options->bos ? MLXN_TOKENIZE_BOS : 0) | (options->no_bos ? MLXN_TOKENIZE_NO_BOS : 0) |
                     (options->no_special ? MLXN_TOKENIZE_NO_SPECIAL : 0);
    mlxn_token *ids = NULL;
    size_t n = 0;
    mlxn_error error = {0};
    if (mlxn_tokenize(runtime->model, text, bytes, flags, &ids, &n, &error))
        return cli_fail(EXIT_FAILED, "the text cannot be tokenized: %s; `mlxn info` tells about the tokenizer",
                        error.message);
    int code = print_ids(options, ids, n);
    mlxn_free_memory(ids);
    return code;
}

/* Lines end at '\n', which is no part of them; a last line without one counts too. */
static int tokenize_lines(const cli_options *options, const cli_runtime *runtime, const char *text, size_t bytes) {
    int code = EXIT_GOOD;
    for (size_t at = 0; at < bytes && !code;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t n = end ? (size_t)(end - (text + at)) : bytes - at;
        code = tokenize(options, runtime, text + at, n);
        at += n + 1;
    }
    return code;
}

int cmd_tokenize(const cli_options *options) {
    if (options->bos && options->no_bos)
        return cli_fail(EXIT_USAGE, "tokenize: both --bos and --no-bos are given; leave one out");
    cli_runtime runtime = {0};
    char *text = NULL;
    size_t bytes = 0;
    int code = cli_read_prompt(options, "text", &text, &bytes);
    if (!code) code = cli_open_model(options, true, &runtime);
    if (!code)
        code = options->lines ? tokenize_lines(options, &runtime, text, bytes)
                              : tokenize(options, &runtime, text, bytes);
    free(text);
    cli_runtime_close(&runtime);
    return code;
}
