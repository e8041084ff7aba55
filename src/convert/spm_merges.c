/* spm_merges.c: the merges that a SentencePiece vocabulary with scores stands for. */
#include "convert/spm_merges.h"

typedef struct pair {
    double score;
    uint32_t left, right, whole; /* ids */
    uint64_t n_left, n_right;
} pair;

typedef struct pairs {
    pair *list;
    uint64_t n, room;
} pairs;

static bool append(pairs *p, const pair *one) {
    if (p->n == p->room) {
        uint64_t room = p->room ? 2 * p->room : 4096;
        void *grown = mlxn_realloc_array(p->list, (size_t)room, sizeof *p->list);
        if (!grown) return false;
        p->list = grown;
        p->room = room;
    }
    p->list[p->n++] = *one;
    return true;
}

static int compare(const void *left, const void *right) {
    const pair *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    if (a->n_left != b->n_left) return a->n_left > b->n_left ? -1 : 1;
    if (a->n_right != b->n_right) return a->n_right > b->n_right ? -1 : 1;
    return (a->whole > b->whole) - (a->whole < b->whole);
}

static bool collect(pairs *out, const mlxn_gg_index *index, const mlxn_gguf_value *scores, const mlxn_string *tokens,
                    uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
        const unsigned char *text = (const unsigned char *)tokens[i].data;
        pair one = {.whole = (uint32_t)i};
        mlxn_gguf_array_f64(scores, i, &one.score);
        /* A token that is its own only part has no split; the longest has 255 bytes or so. */
        for (uint64_t at = 1; at < tokens[i].size; at++) {
            if ((text[at] & 0xc0) == 0x80) continue; /* within a character */
            if (!mlxn_gg_index_find(index, tokens[i].data, at, &one.left) ||
                !mlxn_gg_index_find(index, tokens[i].data + at, tokens[i].size - at, &one.right))
                continue;
            one.n_left = at;
            one.n_right = tokens[i].size - at;
            if (!append(out, &one)) return false;
        }
    }
    return true;
}

static void add_text(mlxn_bytes *to, mlxn_string token) {
    char *text = mlxn_strndup(token.data, (size_t)token.size);
    if (text)
        mlxn_bytes_json_string(to, text);
    else
        to->failed = true;
    mlxn_free(text);
}

mlxn_status mlxn_spm_merges(const mlxn_gguf *file, const mlxn_string *tokens, uint64_t n, mlxn_bytes *to,
                            mlxn_error *error) {
    mlxn_gguf_value scores;
    mlxn_gg_index index = {0};
    pairs found = {0};
    if (!mlxn_gguf_find(file, "tokenizer.ggml.scores", &scores) || scores.type != MLXN_GGUF_ARRAY ||
        scores.v.array.count != n)
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "convert: key \"tokenizer.ggml.scores\" is no list of a number for each token");
    bool good = mlxn_gg_index_build(&index, tokens, n, sizeof *tokens) && collect(&found, &index, &scores, tokens, n);
    mlxn_free(index.entries);
    if (found.n) qsort(found.list, (size_t)found.n, sizeof *found.list, compare);
    for (uint64_t i = 0; good && i < found.n; i++) {
        mlxn_bytes_text(to, i ? ",[" : "[");
        add_text(to, tokens[found.list[i].left]);
        mlxn_bytes_text(to, ",");
        add_text(to, tokens[found.list[i].right]);
        mlxn_bytes_text(to, "]");
    }
    mlxn_free(found.list);
    return good ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for merges");
}
