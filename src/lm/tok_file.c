/* tok_file.c: a tokenizer from the text of a tokenizer.json: the file as a whole and its model. */
#include <math.h>
#include <stdio.h>

#include "lm/tok_json.h"

static mlxn_status keep(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *name, bool wanted,
                        mlxn_string *out) {
    mlxn_string text = {"", 0};
    mlxn_status status = mlxn_tj_string(tj, at, name, wanted, &text);
    return status ? status : mlxn_tok_keep_string(tok, text, out, tj->error);
}

static mlxn_status affix(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *name,
                         mlxn_string *out) {
    mlxn_tj_at own;
    mlxn_status status = keep(tok, tj, at, name, false, out);
    (void)mlxn_tj_member(tj, at, name, &own);
    if (!status && tok->model == MLXN_TOK_BPE && out->size > MLXN_TOK_MAX_AFFIX)
        return mlxn_tj_fail(tj, &own, MLXN_ERR_LIMIT, "has %llu bytes, at most %d", (unsigned long long)out->size,
                            MLXN_TOK_MAX_AFFIX);
    return status;
}

typedef struct model_kind {
    const char *type, *name;
    mlxn_tok_model model;
} model_kind;

static const model_kind kinds[] = {{"BPE", "json/bpe", MLXN_TOK_BPE},
                                   {"WordPiece", "json/wordpiece", MLXN_TOK_WORDPIECE},
                                   {"WordLevel", "json/wordlevel", MLXN_TOK_WORDLEVEL},
                                   {"Unigram", "json/unigram", MLXN_TOK_UNIGRAM}};

/* Files of early versions have no type: merges tell BPE, a list for a vocabulary Unigram, a limit of characters
 * WordPiece. */
static mlxn_status kind_of(const mlxn_tj *tj, const mlxn_tj_at *at, const model_kind **out) {
    mlxn_tj_at own;
    mlxn_string type = {NULL, 0};
    mlxn_status status = mlxn_tj_string(tj, at, "type", false, &type);
    if (status) return status;
    *out = NULL;
    if (!type.data) {
        bool list = tj->vocab.size && tj->text[tj->vocab.begin] == '[';
        *out = tj->merges.size                                            ? &kinds[0]
               : list                                                     ? &kinds[3]
               : mlxn_tj_member(tj, at, "max_input_chars_per_word", &own) ? &kinds[1]
                                                                          : &kinds[2];
    }
    for (size_t i = 0; type.data && i < sizeof kinds / sizeof *kinds; i++)
        if (mlxn_tok_is(type, kinds[i].type)) *out = &kinds[i];
    if (*out) return MLXN_OK;
    (void)mlxn_tj_member(tj, at, "type", &own);
    return mlxn_tj_fail(tj, &own, MLXN_ERR_UNSUPPORTED, "\"%.*s\" is none of BPE, WordPiece, WordLevel, Unigram",
                        (int)mlxn_min_u64(type.size, 40), type.data);
}

mlxn_status mlxn_tf_model(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at) {
    const model_kind *kind;
    mlxn_status status = kind_of(tj, at, &kind);
    if (status) return status;
    tok->model = kind->model;
    (void)snprintf(tok->name, sizeof tok->name, "%s", kind->name);
    tok->resolves_first = true;
    tok->fuses_unknown = kind->model == MLXN_TOK_UNIGRAM;
    tok->max_chars = 100;
    if (kind->model == MLXN_TOK_WORDPIECE) tok->prefix = (mlxn_string){"##", 2};
    mlxn_tj_at own;
    if (mlxn_tj_member(tj, at, "continuing_subword_prefix", &own))
        status = affix(tok, tj, at, "continuing_subword_prefix", &tok->prefix);
    if (!status) status = affix(tok, tj, at, "end_of_word_suffix", &tok->suffix);
    if (!status) status = mlxn_tj_bool(tj, at, "byte_fallback", &tok->byte_fallback);
    if (!status && kind->model == MLXN_TOK_BPE) status = mlxn_tj_bool(tj, at, "fuse_unk", &tok->fuses_unknown);
    if (!status) status = mlxn_tj_bool(tj, at, "ignore_merges", &tok->ignores_merges);
    if (!status) status = mlxn_tj_uint(tj, at, "max_input_chars_per_word", false, &tok->max_chars);
    return status;
}

static mlxn_status find_unknown(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *model) {
    mlxn_tj_at own;
    if (tok->model == MLXN_TOK_UNIGRAM) {
        uint64_t id = UINT64_MAX;
        mlxn_status status = mlxn_tj_uint(tj, model, "unk_id", false, &id);
        if (status || id == UINT64_MAX) return status;
        (void)mlxn_tj_member(tj, model, "unk_id", &own);
        if (id >= tok->tokens.count || !tok->tokens.items[id].size)
            return mlxn_tj_fail(tj, &own, MLXN_ERR_FORMAT, "is %llu, the vocabulary has %u tokens",
                                (unsigned long long)id, tok->tokens.count);
        tok->unknown = (mlxn_token)id;
        return MLXN_OK;
    }
    mlxn_string text = {"[UNK]", tok->model == MLXN_TOK_WORDPIECE ? 5u : 0};
    mlxn_status status = mlxn_tj_string(tj, model, "unk_token", false, &text);
    if (status || !text.size) return status;
    tok->unknown = mlxn_tok_find(tok, text.data, (size_t)text.size);
    tok->names_unknown = true;
    return MLXN_OK;
}

/* WordPiece and Unigram look their tokens up in a tree; Unigram wants the least score, too. */
static mlxn_status build_words(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *model) {
    mlxn_trie_entry *entries = mlxn_alloc_array(tok->tokens.count, sizeof *entries);
    uint32_t n = 0;
    double least = INFINITY;
    for (uint32_t i = 0; entries && i < tok->tokens.count; i++) {
        const mlxn_tok_string item = tok->tokens.items[i];
        const char *text = mlxn_tok_text(&tok->tokens, i);
        /* Added tokens that are none of the model are not in its table. */
        int32_t id = item.size ? mlxn_tok_find(tok, text, item.size) : -1;
        if (id >= 0 && tok->weights && tok->weights[i] < least) least = tok->weights[i];
        if (id == (int32_t)i) entries[n++] = (mlxn_trie_entry){text, item.size, id};
    }
    tok->unknown_weight = (isfinite(least) ? least : 0) - 10;
    bool ok = entries && mlxn_trie_build(&tok->words, entries, n);
    mlxn_free(entries);
    return ok ? MLXN_OK : mlxn_tj_fail(tj, model, MLXN_ERR_MEMORY, "no memory for %u tokens", tok->tokens.count);
}

static mlxn_status load_model(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root) {
    mlxn_tj_at model;
    if (!mlxn_tj_member(tj, root, "model", &model)) return mlxn_tj_fail(tj, &model, MLXN_ERR_NOT_FOUND, "is missing");
    mlxn_status status = mlxn_tf_model(tok, tj, &model);
    if (!status) status = mlxn_tf_vocabulary(tok, tj, root);
    if (!status) status = find_unknown(tok, tj, &model);
    if (status) return status;
    bool words = tok->model == MLXN_TOK_WORDPIECE || tok->model == MLXN_TOK_UNIGRAM;
    if (tok->model == MLXN_TOK_BPE) status = mlxn_tf_merges(tok, tj, &model);
    return !status && words ? build_words(tok, tj, &model) : status;
}

typedef mlxn_status (*part_fn)(mlxn_tokenizer *, const mlxn_tj *, const mlxn_tj_at *, int);

static mlxn_status load_parts(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root) {
    static const struct {
        const char *name;
        part_fn load;
    } parts[] = {{"normalizer", mlxn_tf_normalizer},
                 {"pre_tokenizer", mlxn_tf_pre_tokenizer},
                 {"decoder", mlxn_tf_decoder},
                 {"post_processor", mlxn_tf_post_processor}};
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !status; i++) {
        mlxn_tj_at at;
        if (mlxn_tj_member(tj, root, parts[i].name, &at)) status = parts[i].load(tok, tj, &at, 0);
    }
    return status;
}

/* Steps whose result for a list of tokens is that for each, one after the other. */
static bool by_pieces(const mlxn_tok_steps *decoders) {
    for (uint32_t i = 0; i < decoders->count; i++) {
        const mlxn_tok_step *step = &decoders->items[i];
        bool each = step->op == MLXN_DECODE_BYTE_LEVEL || step->op == MLXN_DECODE_BYTE_FALLBACK ||
                    step->op == MLXN_DECODE_REPLACE || (step->op == MLXN_DECODE_FUSE && i + 1 == decoders->count);
        bool after_bytes = i > 0 && decoders->items[i - 1].op == MLXN_DECODE_BYTE_FALLBACK;
        if (!each || (after_bytes && step->op != MLXN_DECODE_FUSE)) return false;
    }
    return true;
}

mlxn_status mlxn_tok_load_json(mlxn_tokenizer *tok, const char *json, uint64_t size, const char *name,
                               mlxn_error *error) {
    mlxn_tj tj;
    mlxn_tj_at root;
    mlxn_status status = mlxn_tj_open(&tj, json, size, name, error);
    if (!status) {
        mlxn_tj_root(&tj, &root);
        status = load_model(tok, &tj, &root);
    }
    if (!status) status = load_parts(tok, &tj, &root);
    mlxn_tj_close(&tj);
    if (status) return status;
    bool byte_level = false;
    for (uint32_t i = 0; i < tok->splitters.count; i++)
        byte_level |= tok->splitters.items[i].op == MLXN_SPLIT_BYTE_LEVEL;
    for (uint32_t i = 0; i < tok->normalizers.count; i++)
        byte_level |= tok->normalizers.items[i].op == MLXN_NORM_BYTE_LEVEL;
    uint32_t named = mlxn_tok_find_bytes(tok, true);
    tok->keeps_bytes = byte_level || (tok->byte_fallback && named == 256);
    tok->joins_with_spaces = !tok->decoders.count;
    tok->decodes_pieces = !tok->joins_with_spaces && by_pieces(&tok->decoders);
    return mlxn_tok_finish(tok, error);
}
