/* unigram.c: the Unigram model: of all ways to spell a piece in tokens the one whose log probabilities have the
 * greatest sum (Viterbi; Kudo 2018, "Subword regularization"). A character that no token of its own covers may be the
 * unknown token, ten below the least score. Linear in the text for a given vocabulary: from each place the trie is
 * followed as far as a token could reach. */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

static bool room(mlxn_tok_work *work, uint32_t n) {
    if (work->path_capacity > n) return true;
    mlxn_tok_path *grown = mlxn_realloc_array(work->paths, (size_t)n + n / 2 + 64, sizeof *grown);
    if (!grown) return false;
    work->paths = grown;
    work->path_capacity = (size_t)n + n / 2 + 64;
    return true;
}

static inline void offer(mlxn_tok_path *path, double weight, uint32_t start, int32_t id) {
    if (path->start != MLXN_TOK_NIL && weight <= path->weight) return;
    *path = (mlxn_tok_path){weight, start, id};
}

/* Fills work->paths[0..n]. An ill-formed byte counts as a character. */
static mlxn_status forward(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                           mlxn_error *error) {
    mlxn_tok_path *paths = work->paths;
    for (uint32_t i = 0; i <= n; i++) paths[i] = (mlxn_tok_path){0, MLXN_TOK_NIL, -1};
    for (uint32_t at = 0, length; at < n; at += length) {
        length = mlxn_utf8_read(text + at, n - at, NULL, NULL);
        if (!length) length = 1;
        double here = paths[at].weight;
        bool single = false;
        uint32_t node = 0;
        for (uint32_t i = at; i < n; i++) {
            node = mlxn_trie_step(&tok->words, node, (uint8_t)text[i]);
            if (!node) break;
            int32_t id = tok->words.nodes[node].value;
            if (id < 0) continue;
            offer(&paths[i + 1], here + tok->weights[id], at, id);
            single |= i + 1 - at == length;
        }
        if (single) continue;
        if (tok->unknown < 0) return mlxn_tok_no_unknown(text + at, length, error);
        offer(&paths[at + length], here + tok->unknown_weight, at, tok->unknown);
    }
    return MLXN_OK;
}

/* What is no token as a whole: bytes if all of them have tokens, else one unknown token. */
static bool push_text(const mlxn_tokenizer *tok, const char *s, uint32_t n, mlxn_tok_ids *out) {
    int32_t id = mlxn_tok_find(tok, s, n);
    if (id >= 0) return mlxn_tok_push(out, id);
    bool bytes = tok->byte_fallback;
    for (uint32_t i = 0; bytes && i < n; i++) bytes = tok->byte_ids[(uint8_t)s[i]] >= 0;
    if (!bytes) return mlxn_tok_push(out, tok->unknown);
    for (uint32_t i = 0; i < n; i++)
        if (!mlxn_tok_push(out, tok->byte_ids[(uint8_t)s[i]])) return false;
    return true;
}

mlxn_status mlxn_unigram_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                                mlxn_tok_ids *out, mlxn_error *error) {
    if (!room(work, n)) return mlxn_tok_no_memory(n, error);
    mlxn_status status = forward(tok, work, text, n, error);
    if (status != MLXN_OK) return status;
    /* Turn the path round: paths[start].start becomes the end of the token that begins there. */
    mlxn_tok_path *paths = work->paths;
    uint32_t next = n, next_end = MLXN_TOK_NIL;
    int32_t next_id = -1;
    for (uint32_t end = n;;) {
        mlxn_tok_path path = paths[end];
        paths[end].start = next_end;
        paths[end].id = next_id;
        if (!end) break;
        next = path.start;
        next_end = end;
        next_id = path.id;
        end = next;
    }
    bool ok = true;
    for (uint32_t at = 0; ok && at < n;) {
        uint32_t end = paths[at].start;
        int32_t id = paths[at].id;
        while (tok->fuses_unknown && id == tok->unknown && end < n && paths[end].id == tok->unknown)
            end = paths[end].start;
        ok = id == tok->unknown ? push_text(tok, text + at, end - at, out) : mlxn_tok_push(out, id);
        at = end;
    }
    return ok ? MLXN_OK : mlxn_tok_no_memory(n, error);
}
