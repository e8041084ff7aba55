/* hf_tokenizer.c: tokenizer.json as the keys of a GGUF file. */
#include "convert/hf_tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

#include "convert/pretokenizers.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6, MOST_BYTES = 200000000 };

typedef struct tokenizer {
    json_t *root, *config; /* tokenizer.json; tokenizer_config.json or NULL */
    char *template;        /* chat_template.jinja or NULL */
    const char **tokens;   /* [n]; NULL: no token has the id */
    int32_t *types;
    float *scores;
    uint32_t n;
    bool byte_fallback;
    const mlxn_cv_pretokenizer *pretokenizer;
} tokenizer;

static mlxn_status fail(mlxn_error *error, const char *text) {
    return mlxn_fail(error, MLXN_ERR_FORMAT, "tokenizer.json: %s", text);
}

/* ---- files ---- */

/* NULL and OK if there is no such file. */
static mlxn_status read_file(const char *folder, const char *name, char **out, size_t *bytes, mlxn_error *error) {
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = mlxn_alloc(n);
    struct stat info;
    mlxn_mapping map = {0};
    *out = NULL;
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", name);
    snprintf(path, n, "%s/%s", folder, name);
    mlxn_status status = MLXN_OK;
    bool there = !stat(path, &info) && info.st_size > 0;
    if (there && info.st_size > MOST_BYTES)
        status = mlxn_fail(error, MLXN_ERR_LIMIT, "%s: more than %d bytes", path, MOST_BYTES);
    else if (there)
        status = mlxn_map_file(path, &map, error);
    if (!status && there) {
        *out = mlxn_strndup((const char *)map.data, (size_t)map.size);
        *bytes = (size_t)map.size;
        if (!*out) status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", path);
    }
    mlxn_unmap_file(&map);
    mlxn_free(path);
    return status;
}

static mlxn_status read_json(const char *folder, const char *name, json_t **out, mlxn_error *error) {
    char *text;
    size_t bytes = 0;
    json_error_t where;
    mlxn_status status = read_file(folder, name, &text, &bytes, error);
    if (status || !text) return status;
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!*out)
        status = mlxn_fail(error, MLXN_ERR_FORMAT, "%s: cannot parse the JSON: %s (line %d, column %d)", name,
                           where.text, where.line, where.column);
    mlxn_free(text);
    return status;
}

/* ---- the pre-tokenizer ---- */

/* Of a pre-tokenizer, or of each in a sequence: the expression it splits by, and whether digits stand alone. */
static void look(const json_t *one, const char **regex, bool *digits, bool *bytes, int *others) {
    const char *type = json_string_value(json_object_get(one, "type"));
    if (!type) return;
    if (!strcmp(type, "Sequence")) {
        size_t i;
        json_t *inner;
        json_array_foreach(json_object_get(one, "pretokenizers"), i, inner) look(inner, regex, digits, bytes, others);
    } else if (!strcmp(type, "Split") && !*regex) {
        *regex = json_string_value(json_object_get(json_object_get(one, "pattern"), "Regex"));
    } else if (!strcmp(type, "Digits")) {
        *digits = json_is_true(json_object_get(one, "individual_digits"));
    } else if (!strcmp(type, "ByteLevel")) {
        *bytes = true;
    } else {
        ++*others;
    }
}

static mlxn_status find_pretokenizer(tokenizer *t, mlxn_error *error) {
    const char *regex = NULL;
    bool digits = false, bytes = false;
    int others = 0;
    look(json_object_get(t->root, "pre_tokenizer"), &regex, &digits, &bytes, &others);
    for (const mlxn_cv_pretokenizer *p = mlxn_cv_pretokenizers; bytes && !others && p->name; p++) {
        if (digits != p->digits || !regex != !p->regex || (regex && strcmp(regex, p->regex) != 0)) continue;
        t->pretokenizer = p;
        return MLXN_OK;
    }
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "tokenizer.json: pre_tokenizer: GGUF has no name here for one that splits by \"%.200s\"",
                     regex ? regex : "no expression");
}

/* ---- the vocabulary ---- */

static mlxn_status put(tokenizer *t, json_int_t id, const char *token, int32_t type, mlxn_error *error) {
    if (!token || id < 0 || id >= (json_int_t)t->n)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "tokenizer.json: token \"%.60s\": id is %lld, want 0 to %u",
                         token ? token : "", (long long)id, t->n - 1);
    t->tokens[id] = token;
    t->types[id] = type;
    return MLXN_OK;
}

static bool is_byte(const char *token) {
    unsigned value;
    int used = 0;
    return sscanf(token, "<0x%2X>%n", &value, &used) == 1 && used == 6 && !token[6];
}

static mlxn_status read_vocabulary(tokenizer *t, mlxn_error *error) {
    json_t *model = json_object_get(t->root, "model"), *vocab = json_object_get(model, "vocab"), *value, *added;
    const char *name, *unknown = json_string_value(json_object_get(model, "unk_token"));
    mlxn_status status = MLXN_OK;
    size_t i;
    json_object_foreach(vocab, name, value) {
        int32_t type = t->byte_fallback && is_byte(name)   ? BYTE
                       : unknown && !strcmp(unknown, name) ? UNKNOWN
                                                           : NORMAL;
        status = put(t, json_is_integer(value) ? json_integer_value(value) : -1, name, type, error);
        if (status) return status;
    }
    json_array_foreach(json_object_get(t->root, "added_tokens"), i, added) {
        json_t *id = json_object_get(added, "id");
        name = json_string_value(json_object_get(added, "content"));
        bool special = json_is_true(json_object_get(added, "special"));
        int32_t type = unknown && name && !strcmp(unknown, name) ? UNKNOWN : special ? CONTROL : USER;
        status = put(t, json_is_integer(id) ? json_integer_value(id) : -1, name, type, error);
        if (status) return status;
    }
    return MLXN_OK;
}

/* The two halves of a merge, in either spelling. *left is the caller's to free. */
static bool split_merge(const json_t *merge, char **left, const char **right) {
    const char *text = json_string_value(merge), *first = json_string_value(json_array_get(merge, 0));
    *left = NULL;
    if (text) {
        const char *space = text[0] ? strchr(text + 1, ' ') : NULL;
        if (!space) return false;
        *left = mlxn_strndup(text, (size_t)(space - text));
        *right = space + 1;
        return *left != NULL;
    }
    *right = json_string_value(json_array_get(merge, 1));
    if (!first || !*right || json_array_size(merge) != 2) return false;
    *left = mlxn_strdup(first);
    return *left != NULL;
}

/* SentencePiece joins by the score of the result: minus the rank of its first merge. */
static mlxn_status read_scores(tokenizer *t, mlxn_error *error) {
    json_t *model = json_object_get(t->root, "model"), *vocab = json_object_get(model, "vocab"), *merge;
    size_t i;
    json_array_foreach(json_object_get(model, "merges"), i, merge) {
        char *left;
        const char *right;
        if (!split_merge(merge, &left, &right)) return fail(error, "model.merges: an element is no pair of tokens");
        size_t n = strlen(left), m = strlen(right);
        char *whole = mlxn_alloc(n + m + 1);
        if (whole) {
            memcpy(whole, left, n);
            memcpy(whole + n, right, m + 1);
        }
        json_t *id = whole ? json_object_get(vocab, whole) : NULL;
        json_int_t at = json_is_integer(id) ? json_integer_value(id) : -1;
        if (at >= 0 && at < (json_int_t)t->n && t->scores[at] == 0) t->scores[at] = -(float)(i + 1);
        mlxn_free(whole);
        mlxn_free(left);
    }
    return MLXN_OK;
}

static mlxn_status set_merges(const tokenizer *t, mlxn_gguf_writer *w, mlxn_error *error) {
    json_t *merges = json_object_get(json_object_get(t->root, "model"), "merges"), *merge;
    size_t n = json_array_size(merges), i, made = 0;
    mlxn_string *list = mlxn_alloc_array(n, sizeof *list);
    mlxn_status status =
        list ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer.json: out of memory for merges");
    for (i = 0; !status && i < n; i++) {
        char *left;
        const char *right;
        merge = json_array_get(merges, i);
        if (!split_merge(merge, &left, &right)) {
            status = fail(error, "model.merges: an element is no pair of tokens");
            break;
        }
        size_t a = strlen(left), b = strlen(right);
        char *text = mlxn_alloc(a + b + 2);
        if (text) {
            memcpy(text, left, a);
            text[a] = ' ';
            memcpy(text + a + 1, right, b);
        }
        mlxn_free(left);
        list[made++] = (mlxn_string){text, a + b + 1};
        if (!text) status = mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer.json: out of memory for merges");
    }
    if (!status) status = mlxn_gguf_writer_set_strings(w, "tokenizer.ggml.merges", list, n, error);
    for (i = 0; i < made; i++) mlxn_free((void *)(uintptr_t)list[i].data);
    mlxn_free(list);
    return status;
}

/* ---- keys ---- */

static mlxn_status set_numbers(mlxn_gguf_writer *w, const char *key, mlxn_gguf_type type, const void *data,
                               uint32_t n, mlxn_error *error) {
    mlxn_gguf_value v = {.type = MLXN_GGUF_ARRAY};
    v.v.array.element = type;
    v.v.array.count = n;
    v.v.array.data = data; /* four bytes each, little endian as this machine */
    v.v.array.bytes = 4 * (uint64_t)n;
    return mlxn_gguf_writer_set(w, key, &v, error);
}

static mlxn_status set_tokens(const tokenizer *t, mlxn_gguf_writer *w, mlxn_error *error) {
    mlxn_string *list = mlxn_alloc_array(t->n, sizeof *list);
    char(*pads)[24] = mlxn_alloc_array(t->n, sizeof *pads);
    mlxn_status status = list && pads ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer.json: out of memory");
    for (uint32_t i = 0; !status && i < t->n; i++) {
        if (!t->tokens[i]) snprintf(pads[i], sizeof pads[i], "[PAD%u]", i);
        const char *text = t->tokens[i] ? t->tokens[i] : pads[i];
        if (!t->tokens[i]) t->types[i] = UNUSED;
        list[i] = (mlxn_string){text, strlen(text)};
    }
    if (!status) status = mlxn_gguf_writer_set_strings(w, "tokenizer.ggml.tokens", list, t->n, error);
    if (!status) status = set_numbers(w, "tokenizer.ggml.token_type", MLXN_GGUF_I32, t->types, t->n, error);
    mlxn_free(list);
    mlxn_free(pads);
    return status;
}

static int64_t id_of(const tokenizer *t, const char *token) {
    for (uint32_t i = 0; token && i < t->n; i++)
        if (t->tokens[i] && !strcmp(t->tokens[i], token)) return i;
    return -1;
}

/* A special token: what tokenizer_config.json calls it, text or object; else the id that config.json has. */
static int64_t special(const tokenizer *t, const mlxn_config *config, const char *name) {
    char key[32], key_id[40];
    mlxn_config_value v, first;
    snprintf(key, sizeof key, "%s_token", name);
    snprintf(key_id, sizeof key_id, "%s_token_id", name);
    json_t *token = json_object_get(t->config, key);
    const char *text = json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    int64_t id = id_of(t, text);
    if (id >= 0) return id;
    if (!mlxn_config_find(config, key_id, &v)) return -1;
    if (v.type == MLXN_CONFIG_ARRAY && mlxn_config_element(config, &v, 0, &first)) v = first;
    return v.type == MLXN_CONFIG_INTEGER && v.v.i >= 0 && v.v.i < t->n ? v.v.i : -1;
}

/* The post-processor puts the token first. */
static bool puts_first(const tokenizer *t, int64_t bos) {
    json_t *post = json_object_get(t->root, "post_processor"), *inner, *steps = json_object_get(post, "processors");
    size_t i, n = json_is_array(steps) ? json_array_size(steps) : 1;
    for (i = 0; i < n && bos >= 0; i++) {
        inner = json_is_array(steps) ? json_array_get(steps, i) : post;
        json_t *first = json_object_get(json_array_get(json_object_get(inner, "single"), 0), "SpecialToken");
        const char *id = json_string_value(json_object_get(first, "id"));
        if (id && t->tokens[bos] && !strcmp(id, t->tokens[bos])) return true;
    }
    return json_is_true(json_object_get(t->config, "add_bos_token"));
}

static mlxn_status set_specials(const tokenizer *t, const mlxn_config *config, mlxn_gguf_writer *w,
                                mlxn_error *error) {
    static const char *const names[][2] = {{"bos", "tokenizer.ggml.bos_token_id"},
                                           {"eos", "tokenizer.ggml.eos_token_id"},
                                           {"pad", "tokenizer.ggml.padding_token_id"},
                                           {"unk", "tokenizer.ggml.unknown_token_id"}};
    mlxn_status status = MLXN_OK;
    for (size_t i = 0; !status && i < sizeof names / sizeof names[0]; i++) {
        int64_t id = special(t, config, names[i][0]);
        if (id >= 0) status = mlxn_gguf_writer_set_u32(w, names[i][1], (uint32_t)id, error);
    }
    if (!status)
        status = mlxn_gguf_writer_set_bool(w, "tokenizer.ggml.add_bos_token",
                                           puts_first(t, special(t, config, "bos")), error);
    const char *text = t->template ? t->template : json_string_value(json_object_get(t->config, "chat_template"));
    if (!status && text) status = mlxn_gguf_writer_set_text(w, "tokenizer.chat_template", text, error);
    return status;
}

/* A normalizer that begins with a space's stand-in. */
static bool prepends_space(const json_t *normalizer) {
    const char *type = json_string_value(json_object_get(normalizer, "type"));
    json_t *inner;
    size_t i;
    if (type && !strcmp(type, "Prepend")) return true;
    json_array_foreach(json_object_get(normalizer, "normalizers"), i, inner) if (prepends_space(inner)) return true;
    return false;
}

static mlxn_status set_keys(tokenizer *t, const mlxn_config *config, mlxn_gguf_writer *w, mlxn_error *error) {
    const char *model = t->byte_fallback ? "llama" : "gpt2",
               *pre = t->byte_fallback ? "default" : t->pretokenizer->name;
    mlxn_status status = mlxn_gguf_writer_set_text(w, "tokenizer.ggml.model", model, error);
    if (!status) status = mlxn_gguf_writer_set_text(w, "tokenizer.ggml.pre", pre, error);
    if (!status) status = read_vocabulary(t, error);
    if (!status) status = set_tokens(t, w, error);
    if (!status && t->byte_fallback) {
        status = read_scores(t, error);
        if (!status) status = set_numbers(w, "tokenizer.ggml.scores", MLXN_GGUF_F32, t->scores, t->n, error);
        bool prefix = prepends_space(json_object_get(t->root, "normalizer"));
        if (!status) status = mlxn_gguf_writer_set_bool(w, "tokenizer.ggml.add_space_prefix", prefix, error);
    } else if (!status) {
        status = set_merges(t, w, error);
    }
    return status ? status : set_specials(t, config, w, error);
}

static mlxn_status prepare(tokenizer *t, uint32_t n_vocab, mlxn_error *error) {
    json_t *model = json_object_get(t->root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (!json_is_object(json_object_get(model, "vocab")) || (type && strcmp(type, "BPE") != 0) ||
        !json_is_array(json_object_get(model, "merges")))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "tokenizer.json: model is \"%.40s\", want \"BPE\" with vocab and merges", type ? type : "?");
    t->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    t->n = n_vocab;
    t->tokens = mlxn_alloc_array(n_vocab, sizeof *t->tokens);
    t->types = mlxn_alloc_array(n_vocab, sizeof *t->types);
    t->scores = mlxn_alloc_array(n_vocab, sizeof *t->scores);
    if (!t->tokens || !t->types || !t->scores)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer.json: out of memory for %u tokens", n_vocab);
    return t->byte_fallback ? MLXN_OK : find_pretokenizer(t, error);
}

mlxn_status mlxn_hf_tokenizer_keys(const char *folder, const mlxn_config *config, uint32_t n_vocab,
                                   mlxn_gguf_writer *writer, mlxn_error *error) {
    tokenizer t = {0};
    size_t bytes;
    mlxn_status status = read_json(folder, "tokenizer.json", &t.root, error);
    if (!status && !t.root)
        status = mlxn_fail(error, MLXN_ERR_IO,
                           "%s/tokenizer.json: is not there, and GGUF files have the tokenizer in them", folder);
    if (!status) status = read_json(folder, "tokenizer_config.json", &t.config, error);
    if (!status) status = read_file(folder, "chat_template.jinja", &t.template, &bytes, error);
    if (!status) status = prepare(&t, n_vocab, error);
    if (!status) status = set_keys(&t, config, writer, error);
    json_decref(t.root);
    json_decref(t.config);
    mlxn_free(t.template);
    mlxn_free(t.tokens);
    mlxn_free(t.types);
    mlxn_free(t.scores);
    return status;
}
