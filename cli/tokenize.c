/* tokenize.c: `mlxn tokenize`: text to ids and back, for the whole text or line by line. Loads the vocabulary only:
 * of a GGUF file, a folder with a tokenizer.json, or such a file itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static int print_ids(const cli_options *options, const mlxn_token *ids, size_t n) {
    if (options->json) return cli_print_json(json_pack("{s:o}", "ids", cli_json_ids(ids, n)));
    for (size_t i = 0; i < n; i++) printf(i ? ",%d" : "%d", (int)ids[i]);
    putchar('\n');
    return EXIT_GOOD;
}

static int encode(const cli_options *options, const mlxn_tokenizer *tok, const char *text, size_t bytes) {
    uint32_t flags = (options->bos ? MLXN_TOKENIZE_BOS : 0) | (options->no_bos ? MLXN_TOKENIZE_NO_BOS : 0) |
                     (options->no_special ? MLXN_TOKENIZE_NO_SPECIAL : 0);
    mlxn_token *ids = NULL;
    size_t n = 0;
    mlxn_error error = {0};
    if (mlxn_tokenizer_encode(tok, text, bytes, flags, &ids, &n, &error))
        return cli_fail(EXIT_FAILED, "the text cannot be tokenized: %s; `mlxn info` tells about the tokenizer",
                        error.message);
    int code = print_ids(options, ids, n);
    mlxn_free_memory(ids);
    return code;
}

static int print_text(const cli_options *options, const char *text, size_t bytes) {
    if (options->json) return cli_print_json(json_pack("{s:o}", "text", cli_json_text(text, bytes)));
    (void)fwrite(text, 1, bytes, stdout);
    putchar('\n');
    return EXIT_GOOD;
}

static int decode(const cli_options *options, const mlxn_tokenizer *tok, const char *list, size_t bytes) {
    mlxn_token *ids = NULL;
    size_t n = 0, size = 0;
    char *copy = strndup(list, bytes), *text = NULL;
    mlxn_error error = {0};
    if (!copy) return cli_fail(EXIT_FAILED, "out of memory; give fewer ids");
    int code = cli_parse_ids("--decode", mlxn_tokenizer_size(tok), copy, &ids, &n);
    free(copy);
    if (code) return code;
    if (mlxn_tokenizer_decode(tok, ids, n, !options->no_special, &text, &size, &error))
        code = cli_fail(EXIT_FAILED, "the ids cannot be decoded: %s; give ids of this vocabulary", error.message);
    else
        code = print_text(options, text, size);
    mlxn_free_memory(text);
    free(ids);
    return code;
}

static int convert(const cli_options *options, const mlxn_tokenizer *tok, const char *text, size_t bytes) {
    return options->decode ? decode(options, tok, text, bytes) : encode(options, tok, text, bytes);
}

/* Lines end at '\n', which is no part of them; a last line without one counts too. */
static int convert_lines(const cli_options *options, const mlxn_tokenizer *tok, const char *text, size_t bytes) {
    int code = EXIT_GOOD;
    for (size_t at = 0; at < bytes && !code;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t n = end ? (size_t)(end - (text + at)) : bytes - at;
        code = convert(options, tok, text + at, n);
        at += n + 1;
    }
    return code;
}

static int load(const cli_options *options, mlxn_tokenizer **out) {
    const char *path = options->model;
    struct stat status;
    mlxn_error error = {0};
    if (!path) return cli_fail(EXIT_USAGE, "tokenize: there is no model; give -m FILE or set MLXN_MODEL");
    if (!*path) return cli_fail(EXIT_USAGE, "the model's path is empty; give -m a .gguf file or a model's folder");
    if (stat(path, &status))
        return cli_fail(EXIT_FAILED, "model \"%s\": %s; give -m a .gguf file, a folder or a tokenizer.json", path,
                        strerror(errno));
    if (mlxn_tokenizer_load(path, out, &error))
        return cli_fail(
            EXIT_FAILED,
            "the tokenizer cannot be loaded: %s; give -m a .gguf file, a folder with a tokenizer.json, or "
            "that file itself",
            error.message);
    return EXIT_GOOD;
}

int cmd_tokenize(const cli_options *options) {
    if (options->bos && options->no_bos)
        return cli_fail(EXIT_USAGE, "tokenize: both --bos and --no-bos are given; leave one out");
    if (options->decode && (options->bos || options->no_bos))
        return cli_fail(EXIT_USAGE, "tokenize: --decode takes ids as they are; leave --bos and --no-bos out");
    mlxn_tokenizer *tok = NULL;
    char *text = NULL;
    size_t bytes = 0;
    int code = cli_read_prompt(options, "text", &text, &bytes);
    if (!code) code = load(options, &tok);
    if (!code) code = options->lines ? convert_lines(options, tok, text, bytes) : convert(options, tok, text, bytes);
    free(text);
    mlxn_tokenizer_destroy(tok);
    return code;
}
