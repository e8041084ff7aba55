/* tok_file_vocab.c: the vocabulary of tokenizer.json: model.vocab (an object of ids, or a list of tokens with
 * scores), added_tokens, model.merges in both spellings. */
#include <math.h>
#include <stdio.h>

#include "io/json.h"
#include "lm/tok_json.h"

enum {
    MAX_ID = (1 << 24) - 1,
    MAX_TOKEN = 1 << 16, /* bytes of one token */
    MAX_HOLES = 1 << 20  /* ids without a token, beyond as many as there are tokens */
};

/* A token as it is read, before the greatest id is known. */
typedef struct entry {
    uint32_t id, offset, size;
    double score;
} entry;

typedef struct reader {
    mlxn_tokenizer *tok;
    const mlxn_tj *tj;
    const mlxn_tj_at *at; /* the vocabulary, for messages */
    mlxn_js js;
    char *base;
    entry *entries;
    uint32_t count, capacity;
} reader;

static mlxn_status add(reader *r, mlxn_string text, uint64_t id, double score) {
    int shown = (int)mlxn_min_u64(text.size, 40);
    if (id > MAX_ID)
        return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_LIMIT, "\"%.*s\" has the id %llu, at most %d", shown, text.data,
                            (unsigned long long)id, MAX_ID);
    if (text.size > MAX_TOKEN)
        return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_LIMIT, "\"%.*s...\" has %llu bytes, at most %d", shown, text.data,
                            (unsigned long long)text.size, MAX_TOKEN);
    if (r->count == r->capacity) {
        uint32_t capacity = r->capacity ? r->capacity * 2 : 1024;
        entry *grown = mlxn_realloc_array(r->entries, capacity, sizeof *grown);
        if (!grown) return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_MEMORY, "no memory for %u tokens", capacity);
        r->entries = grown;
        r->capacity = capacity;
    }
    r->entries[r->count++] = (entry){(uint32_t)id, (uint32_t)(text.data - r->base), (uint32_t)text.size, score};
    return MLXN_OK;
}

static mlxn_status read_object(reader *r) {
    bool first = true, more;
    mlxn_string name;
    uint64_t id;
    mlxn_status status = mlxn_js_enter(&r->js, '{');
    while (!status) {
        status = mlxn_js_member(&r->js, &first, &name, &more);
        if (status || !more) return status;
        status = mlxn_js_uint(&r->js, "model.vocab: an id", &id);
        if (!status) status = add(r, name, id, 0);
    }
    return status;
}

/* 10^n correctly rounded, n in 0..308: read from its text, which has no decimal point. */
static double power_of_ten(int64_t n) {
    char text[8];
    (void)snprintf(text, sizeof text, "1e%d", (int)n);
    return strtod(text, NULL);
}

/* Digits up to what 64 bits hold, rounded to a double, times or by a power of ten: that is how the library reads
 * scores (its JSON parser does not round correctly), and equal sums of scores are told apart by their last bits. */
static double score_of(const uint8_t *s, uint64_t n) {
    bool negative = *s == '-', point = false, full = false;
    uint64_t digits = 0, i = negative;
    int64_t exponent = 0, written = 0;
    for (; i < n && (s[i] | 0x20) != 'e'; i++) {
        if (s[i] == '.') {
            point = true;
            continue;
        }
        uint64_t d = (uint64_t)(s[i] - '0');
        full = full || digits > (UINT64_MAX - d) / 10;
        if (!full) digits = digits * 10 + d;
        exponent += full ? !point : -(int64_t)point;
    }
    bool down = i + 1 < n && s[i + 1] == '-';
    for (; i < n; i++)
        if (s[i] >= '0' && s[i] <= '9' && written < 100000) written = written * 10 + (s[i] - '0');
    exponent += down ? -written : written;
    double value = (double)digits;
    for (; exponent < -308 && value != 0; exponent += 308) value /= 1e308;
    value = exponent < 0     ? value / power_of_ten(-exponent)
            : exponent > 308 ? value * INFINITY
                             : value * power_of_ten(exponent);
    return negative ? -value : value;
}

static mlxn_status read_score(reader *r, double *out) {
    mlxn_js *js = &r->js;
    uint8_t c = mlxn_js_peek(js);
    uint64_t begin = js->at;
    mlxn_status status = mlxn_js_skip(js);
    if (status) return status;
    bool number = c == '-' || (c >= '0' && c <= '9');
    *out = number ? score_of(js->data + begin, js->at - begin) : NAN;
    if (isfinite(*out)) return MLXN_OK;
    return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_FORMAT, "the score of token %u is no finite number", r->count);
}

static mlxn_status read_pairs(reader *r) {
    bool first = true, more, inner, any;
    mlxn_string text;
    double score;
    mlxn_status status = mlxn_js_enter(&r->js, '[');
    while (!status) {
        status = mlxn_js_next(&r->js, ']', &first, &more);
        if (status || !more) return status;
        inner = true;
        status = mlxn_js_enter(&r->js, '[');
        if (!status) status = mlxn_js_next(&r->js, ']', &inner, &any);
        if (!status && any) status = mlxn_js_string(&r->js, &text);
        if (!status && any) status = mlxn_js_next(&r->js, ']', &inner, &any);
        if (!status && any) status = read_score(r, &score);
        bool pair = !status && any;
        if (pair) status = mlxn_js_next(&r->js, ']', &inner, &any);
        if (!status && (!pair || any))
            return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_FORMAT, "entry %u is not a token and its score", r->count);
        if (!status) status = add(r, text, r->count, score);
    }
    return status;
}

/* An added token of the list, behind those of the model. */
static mlxn_status add_added(reader *r, const mlxn_tj_at *at) {
    mlxn_string text;
    uint64_t id = 0;
    mlxn_status status = mlxn_tj_string(r->tj, at, "content", true, &text);
    if (!status) status = mlxn_tj_uint(r->tj, at, "id", true, &id);
    if (status) return status;
    char *copy = r->js.strings;
    if (text.size) memcpy(copy, text.data, (size_t)text.size);
    r->js.strings += text.size;
    r->at = at;
    return add(r, (mlxn_string){copy, text.size}, id, 0);
}

/* The lists by id, as long as the greatest id wants. */
static mlxn_status make_lists(reader *r) {
    mlxn_tokenizer *tok = r->tok;
    mlxn_tok_strings *list = &tok->tokens;
    uint32_t greatest = 0;
    bool unigram = tok->model == MLXN_TOK_UNIGRAM;
    for (uint32_t i = 0; i < r->count; i++)
        if (r->entries[i].id > greatest) greatest = r->entries[i].id;
    if (!r->count) return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_FORMAT, "is empty");
    if (greatest > 2 * (uint64_t)r->count + MAX_HOLES)
        return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_LIMIT, "%u tokens have ids up to %u", r->count, greatest);
    list->base = r->base;
    list->count = greatest + 1;
    list->items = mlxn_alloc_array(list->count, sizeof *list->items);
    tok->added_flags = mlxn_alloc(list->count);
    if (unigram) tok->weights = mlxn_alloc_array(list->count, sizeof *tok->weights);
    if (!list->items || !tok->added_flags || (unigram && !tok->weights) ||
        !mlxn_tok_table_create(&list->table, list->count))
        return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_MEMORY, "no memory for %u tokens", list->count);
    for (uint32_t i = 0; i < list->count; i++) list->items[i].type = MLXN_TOK_UNUSED;
    return MLXN_OK;
}

static mlxn_status place_model(reader *r, uint32_t n) {
    mlxn_tokenizer *tok = r->tok;
    mlxn_tok_batch batch = {.list = &tok->tokens};
    for (uint32_t i = 0; i < n; i++) {
        const entry *e = &r->entries[i];
        mlxn_tok_string *item = &tok->tokens.items[e->id];
        if (item->type != MLXN_TOK_UNUSED)
            return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_FORMAT, "the id %u is given to \"%.*s\" and \"%.*s\"", e->id,
                                (int)mlxn_min_u64(item->size, 40), r->base + item->offset,
                                (int)mlxn_min_u64(e->size, 40), r->base + e->offset);
        *item = (mlxn_tok_string){.offset = e->offset, .size = e->size, .type = MLXN_TOK_NORMAL};
        if (tok->weights) tok->weights[e->id] = e->score;
        mlxn_tok_batch_add(&batch, e->id, mlxn_tok_hash(r->base + e->offset, e->size));
        if (e->size > tok->longest) tok->longest = e->size;
    }
    mlxn_tok_batch_flush(&batch);
    return MLXN_OK;
}

/* The id is that of the model's token of the same text if there is one. */
static mlxn_status place_added(reader *r, const entry *e, const mlxn_tj_at *at) {
    static const char *const names[] = {"single_word", "lstrip", "rstrip", "normalized"}; /* bits 0 to 3 */
    mlxn_tokenizer *tok = r->tok;
    int32_t known = mlxn_tok_find(tok, r->base + e->offset, e->size);
    uint32_t id = known >= 0 ? (uint32_t)known : e->id;
    mlxn_tok_string *item = &tok->tokens.items[id];
    bool special = false, flags[4] = {false, false, false, false};
    mlxn_status status = mlxn_tj_bool(r->tj, at, "special", &special);
    flags[3] = !special; /* unless the file says otherwise */
    for (int k = 0; k < 4 && !status; k++) status = mlxn_tj_bool(r->tj, at, names[k], &flags[k]);
    if (status || !e->size) return status; /* the library passes over empty ones */
    bool same = item->size == e->size && !memcmp(r->base + item->offset, r->base + e->offset, e->size);
    if (item->type != MLXN_TOK_UNUSED && !same)
        return mlxn_tj_fail(r->tj, at, MLXN_ERR_FORMAT, "the id %u is that of \"%.*s\"", id,
                            (int)mlxn_min_u64(item->size, 40), r->base + item->offset);
    *item = (mlxn_tok_string){
        .offset = e->offset, .size = e->size, .type = special ? MLXN_TOK_CONTROL : MLXN_TOK_USER_DEFINED};
    tok->added_flags[id] = MLXN_ADDED;
    for (int k = 0; k < 4; k++) tok->added_flags[id] |= flags[k] ? (uint8_t)(1u << k) : 0;
    return MLXN_OK;
}

/* Of equal names the table holds the last. Lists of Unigram may repeat a text: then that counts. */
static mlxn_status check_twice(const reader *r, uint32_t n_model) {
    for (uint32_t i = 0; i < n_model; i++) {
        const entry *e = &r->entries[i];
        int32_t found = e->size ? mlxn_tok_find(r->tok, r->base + e->offset, e->size) : (int32_t)e->id;
        if (found != (int32_t)e->id && r->tok->model != MLXN_TOK_UNIGRAM)
            return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_FORMAT, "\"%.*s\" is given twice: as %u and as %d",
                                (int)mlxn_min_u64(e->size, 40), r->base + e->offset, e->id, (int)found);
    }
    return MLXN_OK;
}

/* Of a text that a list of Unigram repeats, all are special if the one that counts is. */
static void same_kind(mlxn_tokenizer *tok, uint32_t id) {
    mlxn_tok_string *item = &tok->tokens.items[id];
    if (item->type != MLXN_TOK_NORMAL || !item->size) return;
    int32_t counts = mlxn_tok_find(tok, mlxn_tok_text(&tok->tokens, id), item->size);
    if (counts >= 0 && tok->tokens.items[counts].type == MLXN_TOK_CONTROL) item->type = MLXN_TOK_CONTROL;
}

mlxn_status mlxn_tf_vocabulary(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root) {
    mlxn_tj_at model, vocab, added, one;
    (void)mlxn_tj_member(tj, root, "model", &model);
    (void)mlxn_tj_member(tj, &model, "vocab", &vocab);
    bool has_added = mlxn_tj_member(tj, root, "added_tokens", &added);
    if (!tj->vocab.size) return mlxn_tj_fail(tj, &vocab, MLXN_ERR_NOT_FOUND, "is missing");
    if (has_added && added.value.type != MLXN_CONFIG_ARRAY)
        return mlxn_tj_fail(tj, &added, MLXN_ERR_FORMAT, "is no array");
    reader r = {.tok = tok, .tj = tj, .at = &vocab};
    /* Decoded strings are never longer than they are written. */
    r.base = mlxn_tok_keep(tok, (size_t)tj->size + 2);
    if (!r.base) return mlxn_tj_fail(tj, &vocab, MLXN_ERR_MEMORY, "no memory for its strings");
    r.js = (mlxn_js){.data = (const uint8_t *)tj->text + tj->vocab.begin,
                     .size = tj->vocab.size,
                     .base = tj->vocab.begin,
                     .file = tj->file,
                     .strings = r.base,
                     .error = tj->error};
    mlxn_status status = tok->model == MLXN_TOK_UNIGRAM ? read_pairs(&r) : read_object(&r);
    uint32_t n_model = r.count;
    for (uint64_t i = 0; !status && has_added && mlxn_tj_element(tj, &added, i, &one); i++)
        status = add_added(&r, &one);
    r.at = &vocab;
    if (!status) status = make_lists(&r);
    if (!status) status = place_model(&r, n_model);
    if (!status) status = check_twice(&r, n_model);
    for (uint32_t i = n_model; !status && i < r.count; i++) {
        (void)mlxn_tj_element(tj, &added, i - n_model, &one);
        status = place_added(&r, &r.entries[i], &one);
    }
    for (uint32_t i = 0; !status && tok->weights && i < tok->tokens.count; i++) same_kind(tok, i);
    mlxn_free(r.entries);
    return status;
}

/* ---- merges ---- */

typedef struct merge_reader {
    mlxn_tokenizer *tok;
    const mlxn_tj *tj;
    const mlxn_tj_at *at;
    mlxn_js js;
    uint32_t capacity;
    mlxn_tok_bytes joined;
} merge_reader;

static mlxn_status merge_fail(const merge_reader *r, const char *reason, mlxn_string text) {
    mlxn_tj_at at = *r->at;
    size_t n = strlen(at.path);
    (void)snprintf(at.path + n, sizeof at.path - n, "[%u]", r->tok->merges.count);
    return mlxn_tj_fail(r->tj, &at, MLXN_ERR_FORMAT, "\"%.*s\" %s", (int)mlxn_min_u64(text.size, 40), text.data,
                        reason);
}

/* Both parts and what they make must be tokens. Right parts that carry the prefix lose it. */
static mlxn_status check_merge(merge_reader *r, mlxn_string left, mlxn_string right) {
    const mlxn_tokenizer *tok = r->tok;
    uint64_t prefix = tok->prefix.size;
    static const char missing[] = "is no token of the vocabulary";
    if (mlxn_tok_find(tok, left.data, (size_t)left.size) < 0) return merge_fail(r, missing, left);
    if (mlxn_tok_find(tok, right.data, (size_t)right.size) < 0) return merge_fail(r, missing, right);
    if (right.size < prefix) return merge_fail(r, "is shorter than the prefix", right);
    r->joined.size = 0;
    if (!mlxn_tok_append(&r->joined, left.data, (size_t)left.size) ||
        !mlxn_tok_append(&r->joined, right.data + prefix, (size_t)(right.size - prefix)))
        return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_MEMORY, "no memory for its strings");
    if (mlxn_tok_find(tok, r->joined.data, r->joined.size) < 0)
        return merge_fail(r, missing, (mlxn_string){r->joined.data, r->joined.size});
    return MLXN_OK;
}

/* "left right", or ["left", "right"] which is laid out the same. */
static mlxn_status read_merge(merge_reader *r, mlxn_string *whole, uint64_t *left) {
    bool first = true, more = false;
    mlxn_string right;
    mlxn_status status;
    if (mlxn_js_peek(&r->js) != '[') {
        status = mlxn_js_string(&r->js, whole);
        const char *space = status ? NULL : memchr(whole->data, ' ', (size_t)whole->size);
        *left = space ? (uint64_t)(space - whole->data) : 0;
        if (!status && (!space || memchr(space + 1, ' ', (size_t)(whole->size - *left - 1))))
            return merge_fail(r, "is not two tokens with one space between", *whole);
        return status;
    }
    status = mlxn_js_enter(&r->js, '[');
    if (!status) status = mlxn_js_next(&r->js, ']', &first, &more);
    if (!status && !more) return merge_fail(r, "is not two tokens", (mlxn_string){"", 0});
    if (!status) status = mlxn_js_string(&r->js, whole);
    if (status) return status;
    r->js.strings[-1] = ' '; /* where the zero of the left part stands */
    status = mlxn_js_next(&r->js, ']', &first, &more);
    if (!status && !more) return merge_fail(r, "stands alone, want two tokens", *whole);
    if (!status) status = mlxn_js_string(&r->js, &right);
    if (!status) status = mlxn_js_next(&r->js, ']', &first, &more);
    if (status) return status;
    if (more) return merge_fail(r, "begins more than two tokens", *whole);
    *left = whole->size;
    whole->size += 1 + right.size;
    return MLXN_OK;
}

static mlxn_status add_merge(merge_reader *r, mlxn_string whole) {
    mlxn_tok_strings *list = &r->tok->merges;
    if (whole.size >= 1u << 28) return merge_fail(r, "is too long", whole);
    if (list->count == r->capacity) {
        uint32_t capacity = r->capacity ? r->capacity * 2 : 1024;
        mlxn_tok_string *grown = mlxn_realloc_array(list->items, capacity, sizeof *grown);
        if (!grown) return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_MEMORY, "no memory for %u merges", capacity);
        list->items = grown;
        r->capacity = capacity;
    }
    list->items[list->count++] = (mlxn_tok_string){
        .offset = (uint32_t)(whole.data - list->base), .size = (uint32_t)whole.size, .type = MLXN_TOK_NORMAL};
    return MLXN_OK;
}

/* Of equal merges the library keeps the last. */
static mlxn_status read_merges(merge_reader *r, uint64_t **hashes) {
    bool first = true, more;
    mlxn_string whole;
    uint64_t left = 0, room = 0;
    mlxn_status status = mlxn_js_enter(&r->js, '[');
    while (!status) {
        status = mlxn_js_next(&r->js, ']', &first, &more);
        if (status || !more) return status;
        status = read_merge(r, &whole, &left);
        if (status) return status;
        mlxn_string parts[] = {{whole.data, left}, {whole.data + left + 1, whole.size - left - 1}};
        status = check_merge(r, parts[0], parts[1]);
        if (!status && r->tok->merges.count >= room) {
            room = room ? 2 * room : 1024;
            uint64_t *grown = mlxn_realloc_array(*hashes, (size_t)room, sizeof *grown);
            if (!grown) return mlxn_tj_fail(r->tj, r->at, MLXN_ERR_MEMORY, "no memory for its merges");
            *hashes = grown;
        }
        if (status) return status;
        (*hashes)[r->tok->merges.count] = mlxn_tok_hash_pair(mlxn_tok_hash(parts[0].data, (size_t)parts[0].size),
                                                             mlxn_tok_hash(parts[1].data, (size_t)parts[1].size));
        status = add_merge(r, whole);
    }
    return status;
}

mlxn_status mlxn_tf_merges(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *model) {
    mlxn_tj_at at;
    (void)mlxn_tj_member(tj, model, "merges", &at);
    if (!tj->merges.size) return mlxn_tj_fail(tj, &at, MLXN_ERR_NOT_FOUND, "is missing");
    char *base = mlxn_tok_keep(tok, (size_t)tj->merges.size + 2);
    if (!base) return mlxn_tj_fail(tj, &at, MLXN_ERR_MEMORY, "no memory for its strings");
    tok->merges.base = base;
    merge_reader r = {.tok = tok, .tj = tj, .at = &at};
    r.js = (mlxn_js){.data = (const uint8_t *)tj->text + tj->merges.begin,
                     .size = tj->merges.size,
                     .base = tj->merges.begin,
                     .file = tj->file,
                     .strings = base,
                     .error = tj->error};
    uint64_t *hashes = NULL;
    mlxn_status status = read_merges(&r, &hashes);
    if (!status && !mlxn_tok_table_create(&tok->merges.table, tok->merges.count))
        status = mlxn_tj_fail(tj, &at, MLXN_ERR_MEMORY, "no memory for %u merges", tok->merges.count);
    mlxn_tok_batch batch = {.list = &tok->merges};
    for (uint32_t i = 0; !status && i < tok->merges.count; i++) mlxn_tok_batch_add(&batch, i, hashes[i]);
    if (!status) mlxn_tok_batch_flush(&batch);
    mlxn_free(hashes);
    mlxn_free(r.joined.data);
    return status;
}
