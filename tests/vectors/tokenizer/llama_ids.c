/* Prints the token ids that llama.cpp gives each line of a file: one line of comma-separated ids per input line, no
 * BOS, special tokens recognised. Built by make.py against the headers and libraries of a llama.cpp build; not part
 * of mlxn. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

static void quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)level, (void)text, (void)user;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: llama_ids MODEL LINES\n");
        return 2;
    }
    llama_log_set(quiet, NULL);
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(argv[1], params);
    FILE *lines = fopen(argv[2], "rb");
    if (!model || !lines) {
        fprintf(stderr, "cannot open %s\n", model ? argv[2] : argv[1]);
        return 1;
    }
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&text, &room, lines)) >= 0) {
        if (length > 0 && text[length - 1] == '\n') {
            length--;
        }
        int32_t limit = (int32_t)length + 16;
        llama_token *ids = malloc((size_t)limit * sizeof *ids);
        int32_t n = ids ? llama_tokenize(vocab, text, (int32_t)length, ids, limit, false, true) : -1;
        if (n < 0) {
            fprintf(stderr, "cannot tokenize a line of %zd bytes\n", length);
            return 1;
        }
        for (int32_t i = 0; i < n; i++) {
            printf("%s%d", i ? "," : "", ids[i]);
        }
        printf("\n");
        free(ids);
    }
    free(text);
    fclose(lines);
    llama_model_free(model);
    return 0;
}
