/* tok_finish.c: what is derived from a vocabulary once it is loaded: the bytes of each token, the simple templates.
 */
#include "lm/tok_internal.h"

/* Texts of GGUF files are decoded by type: those of control and user-defined tokens stand for themselves. */
static bool is_decoded(const mlxn_tokenizer *tok, uint32_t id) {
    uint32_t type = tok->tokens.items[id].type;
    return tok->added_flags || type == MLXN_TOK_NORMAL || type == MLXN_TOK_NAMED ||
           (type == MLXN_TOK_BYTE && tok->model == MLXN_TOK_SCORES);
}

static bool get(const void *user, uint32_t i, mlxn_string *text) {
    const mlxn_tokenizer *tok = user;
    *text = (mlxn_string){mlxn_tok_text(&tok->tokens, i), tok->tokens.items[i].size};
    return is_decoded(tok, i);
}

/* What stands between the texts of tokens that no decoder joins stands before each. */
static bool add_spaces(mlxn_tokenizer *tok, mlxn_tok_bytes *pieces) {
    mlxn_tok_bytes spaced = {0};
    uint32_t start = 0;
    bool ok = true;
    for (uint32_t i = 0; ok && i < tok->tokens.count; i++) {
        uint32_t end = tok->piece_ends[i];
        ok = mlxn_tok_append(&spaced, " ", 1) && mlxn_tok_append(&spaced, pieces->data + start, end - start) &&
             spaced.size <= UINT32_MAX;
        tok->piece_ends[i] = (uint32_t)spaced.size;
        start = end;
    }
    mlxn_tok_swap(pieces, &spaced);
    mlxn_free(spaced.data);
    return ok;
}

mlxn_status mlxn_tok_finish(mlxn_tokenizer *tok, mlxn_error *error) {
    const mlxn_tok_each each = {get, tok, tok->tokens.count};
    mlxn_tok_bytes pieces = {0};
    tok->piece_ends = mlxn_alloc_array(tok->tokens.count, sizeof *tok->piece_ends);
    bool ok = tok->piece_ends && mlxn_tok_bytes_room(&pieces, 6 * (size_t)tok->tokens.count);
    mlxn_status status = ok ? mlxn_tok_decode_each(&tok->decoders, &each, &pieces, tok->piece_ends, error)
                            : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for the texts of its tokens");
    if (status == MLXN_OK && tok->joins_with_spaces && !add_spaces(tok, &pieces))
        status = mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for the texts of its tokens");
    tok->piece_bytes = pieces.data;
    return status == MLXN_OK ? mlxn_tok_added_build(tok, error) : status;
}

static bool set(mlxn_tok_template *out, const int32_t *items, uint32_t n) {
    mlxn_free(out->items);
    *out = (mlxn_tok_template){mlxn_alloc_array(n, sizeof *items), n};
    if (out->items) memcpy(out->items, items, n * sizeof *items);
    return out->items != NULL;
}

mlxn_status mlxn_tok_set_template(mlxn_tokenizer *tok, mlxn_token bos, mlxn_token eos, mlxn_error *error) {
    int32_t items[6];
    uint32_t n = 0, single = 0;
    for (int32_t text = MLXN_TEMPLATE_A; text >= MLXN_TEMPLATE_B; text--) {
        if (bos >= 0) items[n++] = bos;
        items[n++] = text;
        if (eos >= 0) items[n++] = eos;
        if (!single) single = n;
    }
    return set(&tok->single, items, single) && set(&tok->pair, items, n)
               ? MLXN_OK
               : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for its template");
}
