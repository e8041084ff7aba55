/* tok_file_post.c: post_processor of tokenizer.json as templates: what stands around one text and around two. */
#include "lm/tok_json.h"

enum { MAX_ITEMS = 4096, MAX_NESTING = 8 };

typedef struct items {
    int32_t data[MAX_ITEMS];
    uint32_t count;
} items;

static bool add(items *list, int32_t item) {
    if (list->count == MAX_ITEMS) return false;
    list->data[list->count++] = item;
    return true;
}

static mlxn_status take(mlxn_tok_template *out, const items *list, mlxn_error *error) {
    mlxn_free(out->items);
    *out = (mlxn_tok_template){mlxn_alloc_array(list->count + 1, sizeof *out->items), list->count};
    if (!out->items) return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for its template");
    memcpy(out->items, list->data, list->count * sizeof *out->items);
    return MLXN_OK;
}

static mlxn_status check_id(const mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, uint64_t id) {
    if (id < tok->tokens.count) return MLXN_OK;
    return mlxn_tj_fail(tj, at, MLXN_ERR_FORMAT, "the id %llu, the vocabulary has %u tokens", (unsigned long long)id,
                        tok->tokens.count);
}

/* "special_tokens": {"[CLS]": {"ids": [101], ...}} */
static mlxn_status add_special(const mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *specials,
                               const mlxn_tj_at *piece, items *list) {
    mlxn_tj_at own, ids, id;
    mlxn_string name;
    char text[200];
    mlxn_status status = mlxn_tj_string(tj, piece, "id", true, &name);
    if (status) return status;
    if (name.size >= sizeof text || memchr(name.data, 0, (size_t)name.size))
        return mlxn_tj_fail(tj, piece, MLXN_ERR_FORMAT, "the name of a special token has %llu bytes",
                            (unsigned long long)name.size);
    memcpy(text, name.data, (size_t)name.size);
    text[name.size] = 0;
    if (!mlxn_tj_member(tj, specials, text, &own))
        return mlxn_tj_fail(tj, piece, MLXN_ERR_FORMAT, "\"%s\" is not among the special_tokens", text);
    status = mlxn_tj_array(tj, &own, "ids", &ids);
    for (uint64_t i = 0; !status && mlxn_tj_element(tj, &ids, i, &id); i++) {
        if (id.value.type != MLXN_CONFIG_INTEGER || id.value.v.i < 0)
            return mlxn_tj_fail(tj, &id, MLXN_ERR_FORMAT, "is no id");
        status = check_id(tok, tj, &id, (uint64_t)id.value.v.i);
        if (!status && !add(list, (int32_t)id.value.v.i))
            status = mlxn_tj_fail(tj, &id, MLXN_ERR_LIMIT, "more than %d tokens", MAX_ITEMS);
    }
    return status;
}

/* A list of {"SpecialToken": {"id": ...}} and {"Sequence": {"id": "A"}}. */
static mlxn_status read_template(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *name,
                                 items *list, mlxn_tok_template *out) {
    mlxn_tj_at all, one, specials, piece, id;
    mlxn_status status = mlxn_tj_array(tj, at, name, &all);
    (void)mlxn_tj_member(tj, at, "special_tokens", &specials);
    list->count = 0;
    for (uint64_t i = 0; !status && mlxn_tj_element(tj, &all, i, &one); i++) {
        if (mlxn_tj_member(tj, &one, "SpecialToken", &piece)) {
            status = add_special(tok, tj, &specials, &piece, list);
            continue;
        }
        bool text = mlxn_tj_member(tj, &one, "Sequence", &piece) && mlxn_tj_member(tj, &piece, "id", &id);
        if (!text || !(mlxn_tj_is(&id, "A") || mlxn_tj_is(&id, "B")))
            return mlxn_tj_fail(tj, &one, MLXN_ERR_FORMAT, "is neither a SpecialToken nor the Sequence A or B");
        if (!add(list, mlxn_tj_is(&id, "A") ? MLXN_TEMPLATE_A : MLXN_TEMPLATE_B))
            return mlxn_tj_fail(tj, &one, MLXN_ERR_LIMIT, "more than %d tokens", MAX_ITEMS);
    }
    return status ? status : take(out, list, tj->error);
}

/* ["[SEP]", 102] */
static mlxn_status token_of(const mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, const char *name,
                            int32_t *out) {
    mlxn_tj_at pair, id;
    mlxn_status status = mlxn_tj_array(tj, at, name, &pair);
    if (status) return status;
    if (!mlxn_tj_element(tj, &pair, 1, &id) || id.value.type != MLXN_CONFIG_INTEGER || id.value.v.i < 0)
        return mlxn_tj_fail(tj, &pair, MLXN_ERR_FORMAT, "is not a token and its id");
    *out = (int32_t)mlxn_min_u64((uint64_t)id.value.v.i, INT32_MAX);
    return check_id(tok, tj, &id, (uint64_t)id.value.v.i);
}

/* cls A sep, and cls A sep B sep or cls A sep sep B sep. */
static mlxn_status bert(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, bool roberta, items *list) {
    int32_t sep = 0, cls = 0;
    mlxn_status status = token_of(tok, tj, at, "sep", &sep);
    if (!status) status = token_of(tok, tj, at, "cls", &cls);
    if (status) return status;
    list->count = 0;
    (void)(add(list, cls) && add(list, MLXN_TEMPLATE_A) && add(list, sep));
    status = take(&tok->single, list, tj->error);
    if (roberta) (void)add(list, sep);
    (void)(add(list, MLXN_TEMPLATE_B) && add(list, sep));
    return status ? status : take(&tok->pair, list, tj->error);
}

static mlxn_status read_one(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, mlxn_string type,
                            items *list) {
    mlxn_tj_at own;
    if (tok->single.items) return mlxn_tj_fail(tj, at, MLXN_ERR_UNSUPPORTED, "a second template in one sequence");
    if (mlxn_tok_is(type, "BertProcessing")) return bert(tok, tj, at, false, list);
    if (mlxn_tok_is(type, "RobertaProcessing")) return bert(tok, tj, at, true, list);
    if (!mlxn_tok_is(type, "TemplateProcessing")) {
        (void)mlxn_tj_member(tj, at, "type", &own);
        return mlxn_tj_fail(tj, &own, MLXN_ERR_UNSUPPORTED, "\"%.*s\" is not supported",
                            (int)mlxn_min_u64(type.size, 40), type.data);
    }
    mlxn_status status = read_template(tok, tj, at, "single", list, &tok->single);
    return status ? status : read_template(tok, tj, at, "pair", list, &tok->pair);
}

mlxn_status mlxn_tf_post_processor(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *at, int depth) {
    mlxn_tj_at all, one;
    mlxn_string type;
    mlxn_status status = mlxn_tj_string(tj, at, "type", true, &type);
    if (status) return status;
    if (mlxn_tok_is(type, "ByteLevel")) return MLXN_OK; /* moves offsets, which are not kept here */
    if (mlxn_tok_is(type, "Sequence")) {
        status = mlxn_tj_array(tj, at, "processors", &all);
        if (!status && depth >= MAX_NESTING)
            return mlxn_tj_fail(tj, at, MLXN_ERR_LIMIT, "nested deeper than %d", MAX_NESTING);
        for (uint64_t i = 0; !status && mlxn_tj_element(tj, &all, i, &one); i++)
            status = mlxn_tf_post_processor(tok, tj, &one, depth + 1);
        return status;
    }
    items *list = mlxn_alloc(sizeof *list);
    if (!list) return mlxn_fail(tj->error, MLXN_ERR_MEMORY, "tokenizer: no memory for its template");
    status = read_one(tok, tj, at, type, list);
    mlxn_free(list);
    return status;
}
