/* wordpiece.c: WordPiece (from the left, the longest token at each place; those inside a word carry a prefix) and
 * WordLevel (the piece is a token). What cannot be spelled is one unknown token. */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

mlxn_status mlxn_tok_no_unknown(const char *text, uint32_t n, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "tokenize: the vocabulary has neither tokens for \"%.*s\" nor an unknown token",
                     (int)(n < 40 ? n : 40), text);
}

static mlxn_status push_unknown(const mlxn_tokenizer *tok, const char *text, uint32_t n, mlxn_tok_ids *out,
                                mlxn_error *error) {
    if (tok->unknown < 0) return mlxn_tok_no_unknown(text, n, error);
    return mlxn_tok_push(out, tok->unknown) ? MLXN_OK : mlxn_tok_no_memory(n, error);
}

mlxn_status mlxn_wordlevel_encode(const mlxn_tokenizer *tok, const char *text, uint32_t n, mlxn_tok_ids *out,
                                  mlxn_error *error) {
    int32_t id = mlxn_tok_find(tok, text, n);
    if (id < 0) return push_unknown(tok, text, n, out, error);
    return mlxn_tok_push(out, id) ? MLXN_OK : mlxn_tok_no_memory(n, error);
}

static uint64_t characters(const char *s, uint32_t n) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < n; i++) count += ((uint8_t)s[i] & 0xc0) != 0x80;
    return count;
}

/* The node that the prefix leads to; 0: no token begins with it (a prefix of no bytes leads to the root). */
static uint32_t after_prefix(const mlxn_tokenizer *tok, bool *none) {
    uint32_t node = 0;
    for (uint64_t i = 0; i < tok->prefix.size && !*none; i++) {
        node = mlxn_trie_step(&tok->words, node, (uint8_t)tok->prefix.data[i]);
        *none = !node;
    }
    return node;
}

mlxn_status mlxn_wordpiece_encode(const mlxn_tokenizer *tok, const char *text, uint32_t n, mlxn_tok_ids *out,
                                  mlxn_error *error) {
    if (characters(text, n) > tok->max_chars) return push_unknown(tok, text, n, out, error);
    size_t before = out->count;
    bool none = false;
    uint32_t inside = after_prefix(tok, &none);
    for (uint32_t at = 0; at < n;) {
        uint32_t node = at ? inside : 0, end = at;
        int32_t id = -1;
        for (uint32_t i = at; i < n && !(at && none); i++) {
            node = mlxn_trie_step(&tok->words, node, (uint8_t)text[i]);
            if (!node) break;
            if (tok->words.nodes[node].value < 0) continue;
            id = tok->words.nodes[node].value;
            end = i + 1;
        }
        if (id < 0) {
            out->count = before;
            return push_unknown(tok, text, n, out, error);
        }
        if (!mlxn_tok_push(out, id)) return mlxn_tok_no_memory(n, error);
        at = end;
    }
    return MLXN_OK;
}
