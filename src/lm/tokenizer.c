/* tokenizer.c: the tokenizer's interface: life, encode (the pipeline), decode, questions about ids. */
#include "lm/tokenizer.h"

#include "lm/tok_internal.h"
#include "lm/utf8.h"

typedef struct mlxn_tok_block {
    struct mlxn_tok_block *next;
    char data[];
} mlxn_tok_block;

void *mlxn_tok_keep(mlxn_tokenizer *tok, size_t bytes) {
    mlxn_tok_block *block = bytes < SIZE_MAX / 2 ? mlxn_alloc(sizeof *block + bytes) : NULL;
    if (!block) return NULL;
    block->next = tok->kept;
    tok->kept = block;
    return block->data;
}

mlxn_status mlxn_tok_keep_string(mlxn_tokenizer *tok, mlxn_string text, mlxn_string *out, mlxn_error *error) {
    char *copy = mlxn_tok_keep(tok, (size_t)text.size + 1);
    if (!copy) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory");
    if (text.size) memcpy(copy, text.data, (size_t)text.size);
    *out = (mlxn_string){copy, text.size};
    return MLXN_OK;
}

mlxn_status mlxn_tokenizer_create(const mlxn_gguf *file, mlxn_tokenizer **out, mlxn_error *error) {
    *out = NULL;
    mlxn_tokenizer *tok = mlxn_tok_new(error);
    if (!tok) return MLXN_ERR_MEMORY;
    mlxn_status status = mlxn_tok_load_gguf(tok, file, error);
    if (status != MLXN_OK) {
        mlxn_tokenizer_destroy(tok);
        return status;
    }
    *out = tok;
    return mlxn_succeed(error);
}

mlxn_tokenizer *mlxn_tok_new(mlxn_error *error) {
    mlxn_tokenizer *tok = mlxn_alloc(sizeof *tok);
    if (!tok)
        (void)mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory");
    else
        tok->bos = tok->eos = tok->pad = tok->unknown = -1;
    return tok;
}

void mlxn_tokenizer_destroy(mlxn_tokenizer *tok) {
    if (!tok) return;
    mlxn_free(tok->tokens.items);
    mlxn_free(tok->tokens.table.slots);
    mlxn_free(tok->merges.items);
    mlxn_free(tok->merges.table.slots);
    mlxn_free(tok->piece_bytes);
    mlxn_free(tok->piece_ends);
    mlxn_free(tok->weights);
    mlxn_free(tok->added_flags);
    mlxn_free(tok->single.items);
    mlxn_free(tok->pair.items);
    mlxn_trie_free(&tok->words);
    mlxn_trie_free(&tok->added);
    mlxn_trie_free(&tok->added_normalized);
    mlxn_tok_steps_free(&tok->normalizers);
    mlxn_tok_steps_free(&tok->splitters);
    mlxn_tok_steps_free(&tok->decoders);
    while (tok->kept) {
        mlxn_tok_block *next = tok->kept->next;
        mlxn_free(tok->kept);
        tok->kept = next;
    }
    mlxn_gguf_close(tok->file);
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

/* ---- encode ---- */

typedef struct encoder {
    const mlxn_tokenizer *tok;
    bool no_special;
    mlxn_tok_work work;
    mlxn_tok_ids *out;
    mlxn_error *error;
} encoder;

static mlxn_status encode_piece(encoder *e, const char *text, uint32_t n) {
    switch (e->tok->model) {
        case MLXN_TOK_WORDPIECE:
            return mlxn_wordpiece_encode(e->tok, text, n, e->out, e->error);
        case MLXN_TOK_WORDLEVEL:
            return mlxn_wordlevel_encode(e->tok, text, n, e->out, e->error);
        case MLXN_TOK_UNIGRAM:
            return mlxn_unigram_encode(e->tok, &e->work, text, n, e->out, e->error);
        default:
            return mlxn_bpe_encode(e->tok, &e->work, text, n, e->out, e->error);
    }
}

/* Normalized text without added tokens. */
static mlxn_status encode_plain(encoder *e, const char *text, uint32_t n, bool first) {
    mlxn_status status = mlxn_tok_split(&e->tok->splitters, &e->work, text, n, first, e->error);
    for (size_t i = 0; status == MLXN_OK && i < e->work.cuts.count; i++) {
        mlxn_tok_cut cut = e->work.cuts.data[i];
        if (cut.end > cut.start) status = encode_piece(e, e->work.pieces.data + cut.start, cut.end - cut.start);
    }
    return status;
}

/* Finds the added tokens of a set; the text between them goes to the other function. */
static mlxn_status encode_set(encoder *e, const mlxn_trie *set, const char *text, uint32_t n, bool first,
                              mlxn_status (*rest)(encoder *, const char *, uint32_t, bool)) {
    if (!set->count || !set->nodes[0].count) return rest(e, text, n, first);
    mlxn_tok_part *parts;
    size_t n_parts;
    if (!mlxn_tok_partition(e->tok, set, text, n, e->no_special, &parts, &n_parts))
        return mlxn_tok_no_memory(n, e->error);
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; status == MLXN_OK && i < n_parts; i++) {
        const mlxn_tok_part *part = &parts[i];
        if (part->token < 0)
            status = rest(e, text + part->start, part->end - part->start, first && !part->start);
        else if (!mlxn_tok_push(e->out, part->token))
            status = mlxn_tok_no_memory(n, e->error);
    }
    mlxn_free(parts);
    return status;
}

/* Text without the added tokens that are found before normalizing. */
static mlxn_status encode_raw(encoder *e, const char *text, uint32_t n, bool first) {
    const mlxn_tokenizer *tok = e->tok;
    if (!tok->normalizers.count) return encode_set(e, &tok->added_normalized, text, n, first, encode_plain);
    mlxn_status status = mlxn_tok_normalize(&tok->normalizers, &e->work, text, n, e->error);
    if (status != MLXN_OK || !e->work.normal.size) return status;
    return encode_set(e, &tok->added_normalized, e->work.normal.data, (uint32_t)e->work.normal.size, first,
                      encode_plain);
}

/* For vocabularies that spell no bytes: each ill-formed part as U+FFFD. *copy is NULL if all is well-formed. */
static bool make_well_formed(const char *text, size_t n, char **copy, size_t *size) {
    size_t at = 0;
    for (uint32_t length; at < n; at += length) {
        length = mlxn_utf8_read(text + at, n - at, NULL, NULL);
        if (!length) break;
    }
    *copy = NULL;
    if (at == n) return true;
    mlxn_utf8_stream stream = {{0}, 0};
    *copy = mlxn_alloc(3 * (n + 4) + 12);
    if (!*copy) return false;
    *size = mlxn_utf8_push(&stream, text, n, *copy);
    *size += mlxn_utf8_finish(&stream, *copy + *size);
    return true;
}

static mlxn_status encode_text(const mlxn_tokenizer *tok, const char *text, size_t bytes, bool no_special,
                               mlxn_tok_ids *out, mlxn_error *error) {
    encoder e = {.tok = tok, .no_special = no_special, .out = out, .error = error};
    char *copy = NULL;
    bool ok = mlxn_regex_begin(&e.work.regex, bytes);
    if (ok && !tok->keeps_bytes) ok = make_well_formed(text, bytes, &copy, &bytes);
    mlxn_status status = ok ? MLXN_OK : mlxn_tok_no_memory(bytes, error);
    if (ok && bytes) status = encode_set(&e, &tok->added, copy ? copy : text, (uint32_t)bytes, true, encode_raw);
    mlxn_tok_work_free(&e.work);
    mlxn_free(copy);
    return status;
}

typedef struct text_of {
    const char *data;
    size_t bytes;
} text_of;

static mlxn_status encode_template(const mlxn_tokenizer *tok, const mlxn_tok_template *template, const text_of *texts,
                                   uint32_t flags, mlxn_tok_ids *out, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    bool begins = template->count && template->items[0] == tok->bos;
    if ((flags & MLXN_TOKENIZE_BOS) && !begins && !mlxn_tok_push(out, tok->bos)) return mlxn_tok_no_memory(4, error);
    for (uint32_t i = 0; status == MLXN_OK && i < template->count; i++) {
        int32_t item = template->items[i];
        if (item < 0) {
            const text_of *text = &texts[item == MLXN_TEMPLATE_B];
            status = encode_text(tok, text->data, text->bytes, flags & MLXN_TOKENIZE_NO_SPECIAL, out, error);
        } else if (!mlxn_tok_push(out, item)) {
            status = mlxn_tok_no_memory(4, error);
        }
    }
    return status;
}

static mlxn_status encode(const mlxn_tokenizer *tok, const text_of *texts, uint32_t n_texts, uint32_t flags,
                          mlxn_token **ids, size_t *n_ids, mlxn_error *error) {
    static int32_t plain[] = {MLXN_TEMPLATE_A, MLXN_TEMPLATE_B};
    *ids = NULL;
    *n_ids = 0;
    bool want_bos = flags & MLXN_TOKENIZE_BOS, no_bos = flags & MLXN_TOKENIZE_NO_BOS;
    if (want_bos && no_bos)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: flags BOS and NO_BOS exclude each other");
    if (want_bos && tok->bos < 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: BOS asked for, but the model has no BOS token");
    for (uint32_t i = 0; i < n_texts; i++)
        if (texts[i].bytes > MLXN_TOK_MAX_TEXT)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenize: text has %zu bytes, at most %zu", texts[i].bytes,
                             MLXN_TOK_MAX_TEXT);
    mlxn_tok_template template = n_texts == 1 ? tok->single : tok->pair;
    if (no_bos || !template.count) template = (mlxn_tok_template){plain, n_texts};
    mlxn_tok_ids out = {.capacity = texts[0].bytes / 4 + 16};
    out.data = mlxn_alloc_array(out.capacity, sizeof *out.data);
    if (!out.data) return mlxn_tok_no_memory(texts[0].bytes, error);
    mlxn_status status = encode_template(tok, &template, texts, flags, &out, error);
    if (status != MLXN_OK) {
        mlxn_free(out.data);
        return status;
    }
    *ids = out.data;
    *n_ids = out.count;
    return mlxn_succeed(error);
}

mlxn_status mlxn_tokenizer_encode(const mlxn_tokenizer *tok, const char *text, size_t bytes, uint32_t flags,
                                  mlxn_token **ids, size_t *n_ids, mlxn_error *error) {
    return encode(tok, &(text_of){text, bytes}, 1, flags, ids, n_ids, error);
}

mlxn_status mlxn_tokenizer_encode_pair(const mlxn_tokenizer *tok, const char *first, size_t first_bytes,
                                       const char *second, size_t second_bytes, uint32_t flags, mlxn_token **ids,
                                       size_t *n_ids, mlxn_error *error) {
    const text_of texts[] = {{first, first_bytes}, {second, second_bytes}};
    return encode(tok, texts, 2, flags, ids, n_ids, error);
}

/* ---- decode ---- */

/* Joins texts. */
static mlxn_status finish_text(mlxn_tok_texts *texts, bool spaces, char **text, size_t *bytes, mlxn_error *error) {
    mlxn_tok_bytes out = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < texts->cuts.count; i++) {
        const mlxn_tok_cut *cut = &texts->cuts.data[i];
        ok = mlxn_tok_append(&out, " ", spaces && i) &&
             (cut->start == cut->end || mlxn_tok_append(&out, texts->bytes.data + cut->start, cut->end - cut->start));
    }
    if (!ok || !mlxn_tok_append(&out, "", 1)) {
        mlxn_free(out.data);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "detokenize: no memory for %zu bytes of text", texts->bytes.size);
    }
    *text = out.data;
    if (bytes) *bytes = out.size - 1;
    return mlxn_succeed(error);
}

mlxn_status mlxn_tokenizer_decode(const mlxn_tokenizer *tok, const mlxn_token *ids, size_t n_ids, bool special,
                                  char **text, size_t *bytes, mlxn_error *error) {
    *text = NULL;
    if (bytes) *bytes = 0;
    mlxn_tok_texts texts = {0};
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; status == MLXN_OK && i < n_ids; i++) {
        size_t size = 0, start = texts.bytes.size;
        const char *piece = mlxn_tokenizer_token_bytes(tok, ids[i], &size);
        if (!piece) {
            status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "detokenize: token %zu is %d, the vocabulary has %u tokens",
                               i, (int)ids[i], tok->tokens.count);
            break;
        }
        if (!special && mlxn_tokenizer_is_special(tok, ids[i])) continue;
        if (!tok->decodes_pieces) {
            piece = mlxn_tok_text(&tok->tokens, (uint32_t)ids[i]);
            size = tok->tokens.items[ids[i]].size;
        }
        if (start + size > UINT32_MAX || !mlxn_tok_append(&texts.bytes, piece, size) ||
            !mlxn_tok_cut_add(&texts.cuts, (mlxn_tok_cut){(uint32_t)start, (uint32_t)(start + size), false, false}))
            status = mlxn_fail(error, MLXN_ERR_MEMORY, "detokenize: no memory for the text of %zu tokens", n_ids);
    }
    if (status == MLXN_OK && !tok->decodes_pieces) status = mlxn_tok_decode_steps(&tok->decoders, &texts, error);
    if (status == MLXN_OK) status = finish_text(&texts, tok->joins_with_spaces, text, bytes, error);
    mlxn_tok_texts_free(&texts);
    return status;
}

/* ---- questions ---- */

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
    if (!bytes) return -1;
    for (uint32_t i = 0; tok->added_flags && i < tok->tokens.count; i++)
        if (tok->added_flags[i] && tok->tokens.items[i].size == bytes &&
            !memcmp(mlxn_tok_text(&tok->tokens, i), text, bytes))
            return (mlxn_token)i;
    return mlxn_tok_find(tok, text, bytes);
}

mlxn_token mlxn_tokenizer_bos(const mlxn_tokenizer *tok) { return tok->bos; }
mlxn_token mlxn_tokenizer_eos(const mlxn_tokenizer *tok) { return tok->eos; }
mlxn_token mlxn_tokenizer_pad(const mlxn_tokenizer *tok) { return tok->pad; }
mlxn_token mlxn_tokenizer_unknown(const mlxn_tokenizer *tok) { return tok->unknown; }
bool mlxn_tokenizer_adds_bos(const mlxn_tokenizer *tok) {
    return tok->bos >= 0 && tok->single.count && tok->single.items[0] == tok->bos;
}
uint32_t mlxn_tokenizer_size(const mlxn_tokenizer *tok) { return tok->tokens.count; }
const char *mlxn_tokenizer_name(const mlxn_tokenizer *tok) { return tok->name; }
mlxn_status mlxn_tok_set_chat_template(mlxn_tokenizer *tok, mlxn_string name, mlxn_string text, mlxn_error *error) {
    uint32_t i = 0;
    while (i < tok->n_templates && (tok->templates[i].name.size != name.size ||
                                    memcmp(tok->templates[i].name.data, name.data, name.size) != 0))
        i++;
    if (i == MLXN_TOK_MAX_TEMPLATES)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "the tokenizer has more than %d chat templates",
                         MLXN_TOK_MAX_TEMPLATES);
    tok->templates[i] = (mlxn_tok_named){name, text};
    if (i == tok->n_templates) tok->n_templates++;
    return MLXN_OK;
}

bool mlxn_tokenizer_chat_template_at(const mlxn_tokenizer *tok, uint32_t i, mlxn_string *name, mlxn_string *text) {
    if (i >= tok->n_templates) return false;
    if (name) *name = tok->templates[i].name;
    if (text) *text = tok->templates[i].text;
    return true;
}

mlxn_string mlxn_tokenizer_chat_template(const mlxn_tokenizer *tok) {
    static const char usual[] = "default";
    for (uint32_t i = 0; i < tok->n_templates; i++)
        if (tok->templates[i].name.size == sizeof usual - 1 &&
            !memcmp(tok->templates[i].name.data, usual, sizeof usual - 1))
            return tok->templates[i].text;
    return tok->n_templates ? tok->templates[0].text : (mlxn_string){NULL, 0};
}
