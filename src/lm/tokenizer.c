/* tokenizer.c: the tokenizer's interface: life, encode (special tokens, then an engine), decode, questions about ids.
 */
#include "lm/tokenizer.h"

#include "lm/tok_internal.h"

mlxn_status mlxn_tokenizer_create(const mlxn_gguf *file, mlxn_tokenizer **out, mlxn_error *error) {
    *out = NULL;
    mlxn_tokenizer *tok = mlxn_alloc(sizeof *tok);
    if (!tok) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory");
    if (pthread_mutex_init(&tok->regex_lock, NULL)) {
        mlxn_free(tok);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for a lock");
    }
    mlxn_status status = mlxn_tok_load(tok, file, error);
    if (status != MLXN_OK) {
        mlxn_tokenizer_destroy(tok);
        return status;
    }
    *out = tok;
    return mlxn_succeed(error);
}

void mlxn_tokenizer_destroy(mlxn_tokenizer *tok) {
    if (!tok) return;
    mlxn_pretok_free(tok);
    pthread_mutex_destroy(&tok->regex_lock);
    mlxn_free(tok->tokens.items);
    mlxn_free(tok->tokens.table.slots);
    mlxn_free(tok->merges.items);
    mlxn_free(tok->merges.table.slots);
    mlxn_free(tok->piece_bytes);
    mlxn_free(tok->piece_ends);
    mlxn_free(tok->special);
    mlxn_free(tok);
}

bool mlxn_tok_push(mlxn_tok_ids *ids, mlxn_token id) {
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity ? ids->capacity * 2 : 64;
        mlxn_token *grown = mlxn_realloc_array(ids->data, capacity, sizeof *grown);
        if (!grown) return false;
        ids->data = grown;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
    return true;
}

static mlxn_status encode_parts(const mlxn_tokenizer *tok, const char *text, const mlxn_tok_part *parts, size_t n,
                                mlxn_tok_work *work, mlxn_tok_ids *out, mlxn_error *error) {
    bool after_special = true; /* the beginning counts as one */
    for (size_t i = 0; i < n; i++) {
        const mlxn_tok_part *part = &parts[i];
        uint32_t size = part->end - part->start;
        bool ok = true;
        if (part->token >= 0) {
            ok = mlxn_tok_push(out, part->token);
        } else if (tok->spm) {
            ok = mlxn_spm_encode(tok, work, text + part->start, size, tok->adds_space_prefix && after_special, out);
        } else {
            mlxn_status status = mlxn_bpe_encode(tok, work, text + part->start, size, out, error);
            if (status != MLXN_OK) return status;
        }
        if (!ok) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for %u bytes of text", size);
        after_special = part->token >= 0;
    }
    return MLXN_OK;
}

mlxn_status mlxn_tokenizer_encode(const mlxn_tokenizer *tok, const char *text, size_t bytes, uint32_t flags,
                                  mlxn_token **ids, size_t *n_ids, mlxn_error *error) {
    *ids = NULL;
    *n_ids = 0;
    bool want_bos = flags & MLXN_TOKENIZE_BOS, no_bos = flags & MLXN_TOKENIZE_NO_BOS;
    if (want_bos && no_bos)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: flags BOS and NO_BOS exclude each other");
    if (want_bos && tok->bos < 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: BOS asked for, but the model has no BOS token");
    if (bytes > MLXN_TOK_MAX_TEXT)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: text has %zu bytes, at most %zu", bytes,
                         MLXN_TOK_MAX_TEXT);
    mlxn_tok_ids out = {0};
    mlxn_tok_work work = {0};
    mlxn_tok_part *parts = NULL;
    size_t n_parts = 0;
    mlxn_status status = MLXN_OK;
    out.capacity = bytes / 4 + 16;
    out.data = mlxn_alloc_array(out.capacity, sizeof *out.data);
    bool ok = out.data != NULL;
    if (ok && (want_bos || (tok->adds_bos && !no_bos))) ok = mlxn_tok_push(&out, tok->bos);
    if (ok && bytes)
        ok = mlxn_tok_partition(tok, text, (uint32_t)bytes, flags & MLXN_TOKENIZE_NO_SPECIAL, &parts, &n_parts);
    status = ok ? encode_parts(tok, text, parts, n_parts, &work, &out, error)
                : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for %zu bytes of text", bytes);
    mlxn_tok_work_free(&work);
    mlxn_free(parts);
    if (status != MLXN_OK) {
        mlxn_free(out.data);
        return status;
    }
    *ids = out.data;
    *n_ids = out.count;
    return mlxn_succeed(error);
}

mlxn_status mlxn_tokenizer_decode(const mlxn_tokenizer *tok, const mlxn_token *ids, size_t n_ids, bool special,
                                  char **text, size_t *bytes, mlxn_error *error) {
    *text = NULL;
    if (bytes) *bytes = 0;
    size_t total = 0, size;
    for (size_t i = 0; i < n_ids; i++) {
        if (!mlxn_tokenizer_token_bytes(tok, ids[i], &size))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "detokenize: token %zu is %d, the vocabulary has %u tokens", i,
                             (int)ids[i], tok->tokens.count);
        if (!special && mlxn_tokenizer_is_special(tok, ids[i])) continue;
        if (__builtin_add_overflow(total, size, &total))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "detokenize: the text of %zu tokens is too long", n_ids);
    }
    char *out = total < SIZE_MAX ? mlxn_alloc(total + 1) : NULL;
    if (!out) return mlxn_fail(error, MLXN_ERR_MEMORY, "detokenize: no memory for %zu bytes of text", total);
    size_t at = 0;
    for (size_t i = 0; i < n_ids; i++) {
        if (!special && mlxn_tokenizer_is_special(tok, ids[i])) continue;
        const char *piece = mlxn_tokenizer_token_bytes(tok, ids[i], &size);
        memcpy(out + at, piece, size);
        at += size;
    }
    out[at] = 0;
    *text = out;
    if (bytes) *bytes = at;
    return mlxn_succeed(error);
}

static bool in_range(const mlxn_tokenizer *tok, mlxn_token id) { return id >= 0 && (uint32_t)id < tok->tokens.count; }

const char *mlxn_tokenizer_token_bytes(const mlxn_tokenizer *tok, mlxn_token id, size_t *bytes) {
    if (bytes) *bytes = 0;
    if (!in_range(tok, id)) return NULL;
    uint32_t start = id ? tok->piece_ends[id - 1] : 0;
    if (bytes) *bytes = tok->piece_ends[id] - start;
    return tok->piece_bytes + start;
}

bool mlxn_tokenizer_is_special(const mlxn_tokenizer *tok, mlxn_token id) {
    if (!in_range(tok, id)) return false;
    uint32_t type = tok->tokens.items[id].type;
    return type == MLXN_TOK_CONTROL || type == MLXN_TOK_UNKNOWN;
}

bool mlxn_tokenizer_is_end(const mlxn_tokenizer *tok, mlxn_token id) {
    for (uint32_t i = 0; i < tok->n_ends; i++)
        if (tok->ends[i] == id) return true;
    return false;
}

mlxn_token mlxn_tokenizer_find(const mlxn_tokenizer *tok, const char *text, size_t bytes) {
    return bytes ? mlxn_tok_find(tok, text, bytes) : -1;
}
mlxn_token mlxn_tokenizer_bos(const mlxn_tokenizer *tok) { return tok->bos; }
mlxn_token mlxn_tokenizer_eos(const mlxn_tokenizer *tok) { return tok->eos; }
bool mlxn_tokenizer_adds_bos(const mlxn_tokenizer *tok) { return tok->adds_bos; }
uint32_t mlxn_tokenizer_size(const mlxn_tokenizer *tok) { return tok->tokens.count; }
const char *mlxn_tokenizer_name(const mlxn_tokenizer *tok) { return tok->name; }
