/* embed.c: `mlxn embed`: a vector for each text. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* The texts of -p, then the lines of -f. */
typedef struct texts {
    const char **all;
    char *file;
    size_t n;
} texts;

static int add_lines(texts *t, char *file, size_t bytes) {
    size_t lines = 0;
    for (size_t i = 0; i < bytes; i++) lines += file[i] == '\n';
    const char **all = realloc(t->all, (t->n + lines + 1) * sizeof *all);
    if (!all) return cli_fail(EXIT_FAILED, "out of memory; give fewer texts");
    t->all = all;
    for (char *at = file, *end = file + bytes; at < end;) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        char *next = stop ? stop + 1 : end;
        if (!stop) stop = end; /* a zero is there */
        if (stop > at && stop[-1] == '\r') stop--;
        *stop = 0;
        t->all[t->n++] = at;
        at = next;
    }
    return EXIT_GOOD;
}

static int collect(const cli_options *options, texts *t) {
    size_t bytes = 0;
    if (options->texts.n) {
        t->all = malloc(options->texts.n * sizeof *t->all);
        if (!t->all) return cli_fail(EXIT_FAILED, "out of memory; give fewer texts");
        memcpy(t->all, options->texts.all, options->texts.n * sizeof *t->all);
        t->n = options->texts.n;
    }
    int code = options->file ? cli_read_file("-f", options->file, &t->file, &bytes) : EXIT_GOOD;
    if (!code && t->file) code = add_lines(t, t->file, bytes);
    if (!code && !t->n)
        code = cli_fail(EXIT_USAGE, "embed: there is no text; give -p TEXT, or -f FILE (- is standard input)");
    return code;
}

static uint32_t place(const char *word, const char *choices) {
    uint32_t i = 0;
    size_t n = strlen(word);
    for (const char *at = choices; *at; at += strcspn(at, "|"), at += *at == '|', i++)
        if (!strncmp(at, word, n) && (at[n] == '|' || !at[n])) return i;
    return 0;
}

static int print_json(const float *vectors, size_t n, uint32_t width) {
    json_t *all = json_array();
    bool good = all != NULL;
    for (size_t i = 0; good && i < n; i++) {
        json_t *one = json_array();
        good = one && !json_array_append_new(all, one);
        for (uint32_t c = 0; good && c < width; c++)
            good = !json_array_append_new(one, cli_json_real((double)vectors[i * width + c]));
    }
    if (!good) {
        json_decref(all);
        return cli_print_json(NULL);
    }
    return cli_print_json(json_pack("{s:o}", "embeddings", all));
}

/* How alike the first text is to each other: what one looks at first. */
static void print_text(const texts *t, const float *vectors, uint32_t width) {
    for (size_t i = 0; i < t->n; i++) {
        double dot = 0, a = 0, b = 0;
        for (uint32_t c = 0; c < width; c++) {
            double x = (double)vectors[c], y = (double)vectors[i * width + c];
            dot += x * y, a += x * x, b += y * y;
        }
        printf("%.4f  ", a > 0 && b > 0 ? dot / sqrt(a * b) : 0.0);
        cli_print_text(t->all[i], strlen(t->all[i]), 100);
        putchar('\n');
    }
}

static int embed(const cli_options *options, cli_runtime *runtime, const texts *t) {
    const mlxn_embedder_desc desc = {.struct_size = sizeof desc,
                                     .pooling = (mlxn_pooling)place(options->pooling, "model|mean|cls|last"),
                                     .normalize = (mlxn_normalize)place(options->normalize, "model|yes|no"),
                                     .prompt_name = options->prompt_name};
    mlxn_embedder *model = NULL;
    mlxn_embedder_info info = {.struct_size = sizeof info};
    mlxn_error error = {0};
    size_t n_cut = 0;
    uint64_t begun = cli_now();
    if (mlxn_embedder_load(runtime->device, options->model, &desc, &model, &error))
        return cli_fail_file(EXIT_FAILED, options->model, error.message,
                             "give a folder of a model that embeds texts");
    uint64_t loaded = cli_now();
    mlxn_embedder_get_info(model, &info);
    float *vectors = calloc(t->n, info.n_embd * sizeof *vectors);
    int code = vectors ? EXIT_GOOD : cli_fail(EXIT_FAILED, "out of memory; give fewer texts");
    if (!code && mlxn_embed_texts(model, t->all, NULL, t->n, vectors, &n_cut, &error))
        code = cli_fail(EXIT_FAILED, "%s; change that text", error.message);
    if (!code) {
        cli_note(options->quiet, "%zu texts, %.1f texts/s (load %.0f ms)", t->n, cli_rate(t->n, cli_now() - loaded),
                 (double)(loaded - begun) / 1e6);
        if (n_cut) cli_note(options->quiet, "%zu texts had more than %u tokens and were cut", n_cut, info.max_length);
        if (options->json)
            code = print_json(vectors, t->n, info.n_embd);
        else
            print_text(t, vectors, info.n_embd);
    }
    free(vectors);
    mlxn_embedder_destroy(model);
    return code;
}

int cmd_embed(const cli_options *options) {
    texts t = {NULL, NULL, 0};
    cli_runtime runtime = {0};
    int code = EXIT_GOOD;
    if (!options->model) code = cli_fail(EXIT_USAGE, "embed: there is no model; give -m FOLDER or set MLXN_MODEL");
    if (!code) code = collect(options, &t);
    if (!code) code = cli_check_model_path(options->model);
    if (!code) code = cli_open_device(options, &runtime);
    if (!code) code = embed(options, &runtime, &t);
    cli_runtime_close(&runtime);
    free(t.all);
    free(t.file);
    return code;
}
