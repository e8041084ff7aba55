/* tok_finish.c: what is derived from a vocabulary once it is loaded: the bytes of each token, the simple templates.
 */
#include "lm/tok_internal.h"

/* Texts of GGUF files are decoded by type: those of control and user-defined tokens stand for themselves. */
static bool is_decoded(const mlxn_tokenizer *tok, uint32_t id) {
    uint32_t type = tok->tokens.items[id].type;
    return tok->added_flags || type == MLXN_TOK_NORMAL || type == MLXN_TOK_NAMED ||
           (type == MLXN_TOK_BYTE && tok->model == MLXN_TOK_SCORES);
}

static mlxn_status decode_all(mlxn_tokenizer *tok, mlxn_tok_texts *texts, mlxn_error *error) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < tok->tokens.count; i++) total += tok->tokens.items[i].size;
    bool ok = total < UINT32_MAX / 4 && mlxn_tok_bytes_room(&texts->bytes, (size_t)total);
    for (uint32_t i = 0; ok && i < tok->tokens.count; i++) {
        size_t start = texts->bytes.size;
        if (is_decoded(tok, i))
            ok = mlxn_tok_append(&texts->bytes, mlxn_tok_text(&tok->tokens, i), tok->tokens.items[i].size);
        ok = ok && mlxn_tok_cut_add(&texts->cuts,
                                    (mlxn_tok_cut){(uint32_t)start, (uint32_t)texts->bytes.size, false, false});
    }
    if (!ok) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for the texts of its tokens");
    return mlxn_tok_decode_steps(&tok->decoders, texts, true, error);
}

static mlxn_status take_pieces(mlxn_tokenizer *tok, const mlxn_tok_texts *texts, mlxn_error *error) {
    mlxn_tok_bytes pieces = {0};
    bool ok = mlxn_tok_bytes_room(&pieces, texts->bytes.size + 1);
    tok->piece_ends = mlxn_alloc_array(tok->tokens.count, sizeof *tok->piece_ends);
    ok = ok && tok->piece_ends;
    for (uint32_t i = 0; ok && i < tok->tokens.count; i++) {
        const mlxn_tok_cut *cut = &texts->cuts.data[i];
        bool decoded = is_decoded(tok, i);
        ok = mlxn_tok_append(&pieces, " ", tok->joins_with_spaces) &&
             mlxn_tok_append(&pieces, decoded ? texts->bytes.data + cut->start : mlxn_tok_text(&tok->tokens, i),
                             decoded ? cut->end - cut->start : tok->tokens.items[i].size) &&
             pieces.size <= UINT32_MAX;
        tok->piece_ends[i] = (uint32_t)pieces.size;
    }
    tok->piece_bytes = pieces.data;
    return ok ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for the texts of its tokens");
}

mlxn_status mlxn_tok_finish(mlxn_tokenizer *tok, mlxn_error *error) {
    mlxn_tok_texts texts = {0};
    mlxn_status status = decode_all(tok, &texts, error);
    if (status == MLXN_OK) status = take_pieces(tok, &texts, error);
    mlxn_tok_texts_free(&texts);
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
