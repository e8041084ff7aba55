/* tok_gguf.c: a tokenizer from the keys tokenizer.ggml.* of a GGUF file. Strings stay in the map of the file.
 *
 * "gpt2" is byte-level BPE with the expressions of tokenizer.ggml.pre; "llama" joins what scores highest and spells
 * characters without a token in bytes. */
#include <stdio.h>

#include "lm/tok_internal.h"

#define MAX_STRINGS (1u << 28)
#define MAX_STRING_BYTES ((1u << 28) - 1)

/* Notes where each string of the array lies. */
static mlxn_status list_strings(const mlxn_gguf_value *value, const char *key, mlxn_tok_strings *list,
                                mlxn_error *error) {
    if (value->type != MLXN_GGUF_ARRAY || value->v.array.element != MLXN_GGUF_STRING)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: not an array of strings", key);
    if (value->v.array.count > MAX_STRINGS)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: %llu strings, at most %u", key,
                         (unsigned long long)value->v.array.count, MAX_STRINGS);
    list->count = (uint32_t)value->v.array.count;
    list->items = mlxn_alloc_array(list->count, sizeof *list->items);
    if (!list->items || !mlxn_tok_table_create(&list->table, list->count))
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for %u strings", key, list->count);
    uint64_t cursor = 0;
    mlxn_string s;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!mlxn_gguf_next_string(value, &cursor, &s))
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: ends after %u strings, want %u", key, i, list->count);
        if (!i) list->base = s.data;
        uint64_t offset = (uint64_t)(s.data - list->base);
        if (s.size > MAX_STRING_BYTES || offset > UINT32_MAX)
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                             "%s: string %u has %llu bytes at %llu, at most %u bytes and 4 GiB in all", key, i,
                             (unsigned long long)s.size, (unsigned long long)offset, MAX_STRING_BYTES);
        list->items[i].offset = (uint32_t)offset;
        list->items[i].size = (uint32_t)s.size;
        list->items[i].type = MLXN_TOK_NORMAL;
    }
    return MLXN_OK;
}

static mlxn_status read_types(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.token_type";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value)) return MLXN_OK; /* then all are normal */
    if (value.type != MLXN_GGUF_ARRAY || value.v.array.count != tok->tokens.count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %llu entries, want one per token (%u)", key,
                         (unsigned long long)(value.type == MLXN_GGUF_ARRAY ? value.v.array.count : 0),
                         tok->tokens.count);
    bool packed = value.v.array.element == MLXN_GGUF_I32 || value.v.array.element == MLXN_GGUF_U32;
    for (uint32_t i = 0; i < tok->tokens.count; i++) {
        int64_t type;
        if (packed) {
            int32_t t;
            memcpy(&t, value.v.array.data + (size_t)i * 4, 4);
            type = t;
        } else if (!mlxn_gguf_array_i64(&value, i, &type)) {
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: entry %u is no integer", key, i);
        }
        /* 0 ("undefined") and values of later versions are read as normal. */
        if (type >= MLXN_TOK_NORMAL && type <= MLXN_TOK_BYTE) tok->tokens.items[i].type = (uint32_t)type;
    }
    return MLXN_OK;
}

static mlxn_status read_scores(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.scores";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: no such key, a \"llama\" tokenizer needs it", key);
    if (value.type != MLXN_GGUF_ARRAY || value.v.array.element != MLXN_GGUF_F32)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: not an array of float32", key);
    if (value.v.array.count != tok->tokens.count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %llu entries, want one per token (%u)", key,
                         (unsigned long long)value.v.array.count, tok->tokens.count);
    tok->scores = value.v.array.data;
    return MLXN_OK;
}

static mlxn_status load_tokens(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.tokens";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value)) return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: no such key", key);
    mlxn_status status = list_strings(&value, key, &tok->tokens, error);
    if (status == MLXN_OK && !tok->tokens.count) status = mlxn_fail(error, MLXN_ERR_FORMAT, "%s: is empty", key);
    if (status == MLXN_OK) status = read_types(tok, file, error);
    if (status != MLXN_OK) return status;
    mlxn_tok_batch batch = {.list = &tok->tokens};
    for (uint32_t i = 0; i < tok->tokens.count; i++) {
        uint32_t size = tok->tokens.items[i].size;
        mlxn_tok_batch_add(&batch, i, mlxn_tok_hash(mlxn_tok_text(&tok->tokens, i), size));
        if (size > tok->longest) tok->longest = size;
    }
    mlxn_tok_batch_flush(&batch);
    return MLXN_OK;
}

static mlxn_status load_merges(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const char key[] = "tokenizer.ggml.merges";
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: no such key, a \"gpt2\" tokenizer needs it", key);
    mlxn_status status = list_strings(&value, key, &tok->merges, error);
    if (status != MLXN_OK) return status;
    mlxn_tok_batch batch = {.list = &tok->merges, .keep_first = true};
    for (uint32_t i = 0; i < tok->merges.count; i++) {
        const char *s = mlxn_tok_text(&tok->merges, i);
        uint32_t size = tok->merges.items[i].size;
        /* The separator is the first space after the first byte. Without one there are no two halves to join. */
        const char *space = size > 2 ? memchr(s + 1, ' ', size - 1) : NULL;
        uint32_t left = space ? (uint32_t)(space - s) : size;
        if (left + 1 >= size)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: entry %u is \"%.*s\", want two parts and a space between",
                             key, i, size > 60 ? 60 : (int)size, s);
        uint64_t hash = mlxn_tok_hash_pair(mlxn_tok_hash(s, left), mlxn_tok_hash(space + 1, size - left - 1));
        mlxn_tok_batch_add(&batch, i, hash);
    }
    mlxn_tok_batch_flush(&batch);
    return MLXN_OK;
}

/* A token id of the file. -1 if the key is absent or holds the "none" that some converters write (all ones). */
static mlxn_status read_id(const mlxn_tokenizer *tok, const mlxn_gguf *file, const char *key, mlxn_token *out,
                           mlxn_error *error) {
    mlxn_gguf_value value;
    if (!mlxn_gguf_find(file, key, &value)) return MLXN_OK;
    bool is_signed = value.type == MLXN_GGUF_I8 || value.type == MLXN_GGUF_I16 || value.type == MLXN_GGUF_I32 ||
                     value.type == MLXN_GGUF_I64;
    if (is_signed ? value.v.i == -1 : value.type == MLXN_GGUF_U32 && value.v.u == UINT32_MAX) {
        *out = -1;
        return MLXN_OK;
    }
    uint64_t id;
    mlxn_status status = mlxn_gguf_get_u64(file, key, &id, error);
    if (status != MLXN_OK) return status;
    if (id >= tok->tokens.count)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: is %llu, the vocabulary has %u tokens", key,
                         (unsigned long long)id, tok->tokens.count);
    *out = (mlxn_token)id;
    return MLXN_OK;
}

/* Converters that know no better mark such tokens as plain; a prompt that spells them means them all the same. */
static mlxn_token find_named(mlxn_tokenizer *tok, const char *name) {
    mlxn_token id = mlxn_tok_find(tok, name, strlen(name));
    if (id < 0) return -1;
    mlxn_tok_string *item = &tok->tokens.items[id];
    if (item->type == MLXN_TOK_NORMAL || item->type == MLXN_TOK_USER_DEFINED) item->type = MLXN_TOK_NAMED;
    return id;
}

static mlxn_status read_special_ids(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    if (tok->model == MLXN_TOK_SCORES) { /* what SentencePiece files mean when they say nothing */
        tok->unknown = 0;
        tok->bos = tok->tokens.count > 1 ? 1 : -1;
        tok->eos = tok->tokens.count > 2 ? 2 : -1;
    }
    mlxn_token eot = -1, eom = -1;
    mlxn_status status = read_id(tok, file, "tokenizer.ggml.bos_token_id", &tok->bos, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.eos_token_id", &tok->eos, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.unknown_token_id", &tok->unknown, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.eot_token_id", &eot, error);
    if (status == MLXN_OK) status = read_id(tok, file, "tokenizer.ggml.eom_token_id", &eom, error);
    if (status != MLXN_OK) return status;
    mlxn_tok_add_end(tok, tok->eos);
    mlxn_tok_add_end(tok, eot);
    mlxn_tok_add_end(tok, eom);
    for (const char *const *name = mlxn_tok_end_names; *name; name++) mlxn_tok_add_end(tok, find_named(tok, *name));
    /* llama.cpp finds "</s>" in text whatever its type. It is an end only where eos_token_id says so: in vocabularies
     * of other families it is what closes struck-out HTML. */
    (void)find_named(tok, "</s>");
    return MLXN_OK;
}

static mlxn_status read_flag(const mlxn_gguf *file, const char *key, bool *out, mlxn_error *error) {
    mlxn_gguf_value value;
    return mlxn_gguf_find(file, key, &value) ? mlxn_gguf_get_bool(file, key, out, error) : MLXN_OK;
}

/* "llama": a byte without a token of its own is the character's token, or the unknown one. */
static mlxn_status find_bytes(mlxn_tokenizer *tok, mlxn_error *error) {
    bool named = tok->model == MLXN_TOK_SCORES;
    (void)mlxn_tok_find_bytes(tok, named);
    for (int b = 0; named && b < 256; b++) {
        char raw = (char)b;
        if (tok->byte_ids[b] < 0) tok->byte_ids[b] = mlxn_tok_find(tok, &raw, 1);
        if (tok->byte_ids[b] < 0) tok->byte_ids[b] = tok->unknown;
        if (tok->byte_ids[b] < 0)
            return mlxn_fail(error, MLXN_ERR_FORMAT,
                             "tokenizer.ggml.tokens: neither a token for byte <0x%02X> nor an unknown token", b);
    }
    return MLXN_OK;
}

static mlxn_status add_step(mlxn_tok_steps *steps, mlxn_tok_op op, const char *text, const char *content,
                            mlxn_error *error) {
    const mlxn_tok_step step = {.op = op, .text = {text, strlen(text)}, .content = {content, strlen(content)}};
    return mlxn_tok_steps_add(steps, &step, error);
}

/* "llama": spaces are written as U+2581, and one stands in front of the text if the file says so. */
static mlxn_status install_llama(mlxn_tokenizer *tok, bool space_prefix, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    if (space_prefix) status = add_step(&tok->normalizers, MLXN_NORM_PREPEND, "", MLXN_TOK_SPACE, error);
    if (status == MLXN_OK) status = add_step(&tok->normalizers, MLXN_NORM_REPLACE, " ", MLXN_TOK_SPACE, error);
    if (status == MLXN_OK) status = add_step(&tok->decoders, MLXN_DECODE_REPLACE, MLXN_TOK_SPACE, " ", error);
    if (status == MLXN_OK) status = add_step(&tok->decoders, MLXN_DECODE_BYTE_FALLBACK, "", "", error);
    return status;
}

static bool is(mlxn_string s, const char *text) {
    return s.size == strlen(text) && memcmp(s.data, text, s.size) == 0;
}

/* Which model and, for gpt2, which pre-tokenizer. */
static mlxn_status choose(mlxn_tokenizer *tok, const mlxn_gguf *file, const mlxn_pretok **pretok, bool *adds_bos,
                          mlxn_error *error) {
    mlxn_string model, pre = {"default", 7};
    mlxn_status status = mlxn_gguf_get_string(file, "tokenizer.ggml.model", &model, error);
    if (status != MLXN_OK) return status;
    if (is(model, "llama")) {
        tok->model = MLXN_TOK_SCORES;
        snprintf(tok->name, sizeof tok->name, "llama");
        *adds_bos = true;
        return MLXN_OK;
    }
    if (!is(model, "gpt2"))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "tokenizer.ggml.model: \"%.*s\" is not supported, only \"gpt2\" and \"llama\"",
                         model.size > 60 ? 60 : (int)model.size, model.data);
    mlxn_gguf_value value;
    if (mlxn_gguf_find(file, "tokenizer.ggml.pre", &value)) {
        status = mlxn_gguf_get_string(file, "tokenizer.ggml.pre", &pre, error);
        if (status != MLXN_OK) return status;
    }
    *pretok = mlxn_pretok_find(pre);
    if (!*pretok) {
        char names[300];
        mlxn_pretok_names(names, sizeof names);
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "tokenizer.ggml.pre: \"%.*s\" is not supported, only %s",
                         pre.size > 60 ? 60 : (int)pre.size, pre.data, names);
    }
    tok->model = MLXN_TOK_BPE;
    snprintf(tok->name, sizeof tok->name, "gpt2/%s", mlxn_pretok_name(*pretok));
    *adds_bos = mlxn_pretok_adds_bos(*pretok);
    tok->ignores_merges = mlxn_pretok_ignores_merges(*pretok);
    return MLXN_OK;
}

/* tokenizer.chat_template, and those that tokenizer.chat_templates names: tokenizer.chat_template.NAME. What is no
 * text or empty is none. */
static mlxn_status load_templates(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    static const mlxn_string usual = {"default", 7};
    mlxn_string text, name;
    mlxn_gguf_value list;
    mlxn_status status = MLXN_OK;
    if (!mlxn_gguf_get_string(file, "tokenizer.chat_template", &text, NULL) && text.size)
        status = mlxn_tok_set_chat_template(tok, usual, text, error);
    if (!mlxn_gguf_find(file, "tokenizer.chat_templates", &list) || list.type != MLXN_GGUF_ARRAY) return status;
    for (uint64_t cursor = 0; !status && mlxn_gguf_next_string(&list, &cursor, &name);) {
        char key[160];
        int n =
            snprintf(key, sizeof key, "tokenizer.chat_template.%.*s", (int)mlxn_min_u64(name.size, 120), name.data);
        if (name.size > 120 || n < 0 || mlxn_gguf_get_string(file, key, &text, NULL) || !text.size) continue;
        status = mlxn_tok_set_chat_template(tok, name, text, error);
    }
    return status;
}

mlxn_status mlxn_tok_load_gguf(mlxn_tokenizer *tok, const mlxn_gguf *file, mlxn_error *error) {
    const mlxn_pretok *pretok = NULL;
    bool space_prefix = true, adds_bos = false;
    tok->longest_first = tok->keeps_bytes = true;
    mlxn_status status = choose(tok, file, &pretok, &adds_bos, error);
    bool llama = tok->model == MLXN_TOK_SCORES;
    if (status == MLXN_OK) status = load_tokens(tok, file, error);
    if (status == MLXN_OK) status = llama ? read_scores(tok, file, error) : load_merges(tok, file, error);
    if (status == MLXN_OK) status = read_special_ids(tok, file, error);
    if (status == MLXN_OK) status = read_flag(file, "tokenizer.ggml.add_bos_token", &adds_bos, error);
    if (status == MLXN_OK && llama) status = read_flag(file, "tokenizer.ggml.add_space_prefix", &space_prefix, error);
    if (status == MLXN_OK) status = find_bytes(tok, error);
    if (status == MLXN_OK)
        status = llama ? install_llama(tok, space_prefix, error) : mlxn_pretok_install(tok, pretok, error);
    if (status == MLXN_OK && !llama) status = add_step(&tok->decoders, MLXN_DECODE_BYTE_LEVEL, "", "", error);
    if (status == MLXN_OK && adds_bos) status = mlxn_tok_set_template(tok, tok->bos, -1, error);
    if (status != MLXN_OK) return status;
    tok->decodes_pieces = true;
    status = load_templates(tok, file, error);
    return status == MLXN_OK ? mlxn_tok_finish(tok, error) : status;
}
