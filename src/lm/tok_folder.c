/* tok_folder.c: a tokenizer from a path: a folder with tokenizer.json, such a file itself, or a GGUF file; and what
 * the files beside tokenizer.json say: tokenizer_config.json, chat_template.jinja,
 * chat_template.json. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lm/tok_json.h"

enum { MAX_TEMPLATE = 1 << 22 };

/* ---- tokenizer_config.json ---- */

/* "bos_token": "<s>" or {"content": "<s>", ...} or null. */
static mlxn_status token_of(const mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root, const char *name,
                            mlxn_token *out) {
    mlxn_tj_at own;
    mlxn_string text = {NULL, 0};
    if (!mlxn_tj_member(tj, root, name, &own)) return MLXN_OK;
    mlxn_status status = own.value.type == MLXN_CONFIG_OBJECT ? mlxn_tj_string(tj, &own, "content", true, &text)
                                                              : mlxn_tj_string(tj, root, name, true, &text);
    if (status) return status;
    mlxn_token id = mlxn_tokenizer_find(tok, text.data, (size_t)text.size);
    if (id >= 0) *out = id; /* configs may name tokens that the vocabulary does not have */
    return MLXN_OK;
}

static mlxn_status keep_template(mlxn_tokenizer *tok, mlxn_string name, mlxn_string text, mlxn_error *error) {
    if (!name.size || !text.size) return MLXN_OK;
    mlxn_status status = mlxn_tok_keep_string(tok, name, &name, error);
    if (!status) status = mlxn_tok_keep_string(tok, text, &text, error);
    return status ? status : mlxn_tok_set_chat_template(tok, name, text, error);
}

static const mlxn_string usual_name = {"default", 7};

/* "chat_template": a string, or [{"name": "default", "template": "..."}, ...]. */
static mlxn_status template_of(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root) {
    mlxn_tj_at own, one;
    mlxn_string text = {NULL, 0}, name = {NULL, 0};
    mlxn_status status = MLXN_OK;
    if (!mlxn_tj_member(tj, root, "chat_template", &own)) return MLXN_OK;
    if (own.value.type != MLXN_CONFIG_ARRAY) {
        status = mlxn_tj_string(tj, root, "chat_template", true, &text);
        return status ? status : keep_template(tok, usual_name, text, tj->error);
    }
    for (uint64_t i = 0; !status && mlxn_tj_element(tj, &own, i, &one); i++) {
        text = name = (mlxn_string){NULL, 0};
        status = mlxn_tj_string(tj, &one, "name", true, &name);
        if (!status) status = mlxn_tj_string(tj, &one, "template", true, &text);
        if (!status) status = keep_template(tok, name, text, tj->error);
    }
    return status;
}

/* Classes of tokenizers that build their template from the two flags, whatever tokenizer.json says. */
static bool obeys_flags(const mlxn_tj *tj, const mlxn_tj_at *root) {
    static const char *const classes[] = {"LlamaTokenizer",         "LlamaTokenizerFast", "CodeLlamaTokenizer",
                                          "CodeLlamaTokenizerFast", "GemmaTokenizer",     "GemmaTokenizerFast",
                                          "CohereTokenizer",        "CohereTokenizerFast"};
    mlxn_tj_at own;
    if (!mlxn_tj_member(tj, root, "tokenizer_class", &own)) return false;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (mlxn_tj_is(&own, classes[i])) return true;
    return false;
}

static mlxn_status flags_of(mlxn_tokenizer *tok, const mlxn_tj *tj, const mlxn_tj_at *root) {
    mlxn_tj_at own;
    bool bos = false, eos = false;
    if (!mlxn_tj_member(tj, root, "add_bos_token", &own) || !obeys_flags(tj, root)) return MLXN_OK;
    mlxn_status status = mlxn_tj_bool(tj, root, "add_bos_token", &bos);
    if (!status) status = mlxn_tj_bool(tj, root, "add_eos_token", &eos);
    return status ? status : mlxn_tok_set_template(tok, bos ? tok->bos : -1, eos ? tok->eos : -1, tj->error);
}

mlxn_status mlxn_tok_load_config(mlxn_tokenizer *tok, const char *json, uint64_t size, const char *name,
                                 mlxn_error *error) {
    mlxn_tj tj = {.text = json, .size = size, .file = name, .error = error};
    mlxn_tj_at root;
    mlxn_token unknown = -1;
    mlxn_status status = mlxn_config_from_json(json, size, name, &tj.config, error);
    if (status) return status;
    mlxn_tj_root(&tj, &root);
    if (root.value.type != MLXN_CONFIG_OBJECT) status = mlxn_tj_fail(&tj, &root, MLXN_ERR_FORMAT, "is no object");
    if (!status) status = token_of(tok, &tj, &root, "bos_token", &tok->bos);
    if (!status) status = token_of(tok, &tj, &root, "eos_token", &tok->eos);
    if (!status) status = token_of(tok, &tj, &root, "pad_token", &tok->pad);
    if (!status) status = token_of(tok, &tj, &root, "unk_token", &unknown);
    if (!status) status = template_of(tok, &tj, &root);
    if (!status) status = flags_of(tok, &tj, &root);
    mlxn_tj_close(&tj);
    return status;
}

/* ---- life ---- */

/* What no file said: tokens that are known by their names. */
static void use_names(mlxn_tokenizer *tok) {
    static const char *const begins[] = {"<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]"},
                             *const ends[] = {"</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "[SEP]"};
    for (size_t i = 0; tok->bos < 0 && tok->single.count && i < sizeof begins / sizeof *begins; i++) {
        mlxn_token id = mlxn_tokenizer_find(tok, begins[i], strlen(begins[i]));
        if (id >= 0 && tok->single.items[0] == id) tok->bos = id;
    }
    for (size_t i = 0; tok->eos < 0 && i < sizeof ends / sizeof *ends; i++)
        tok->eos = mlxn_tokenizer_find(tok, ends[i], strlen(ends[i]));
    mlxn_tok_add_end(tok, tok->eos);
    for (const char *const *name = mlxn_tok_end_names; *name; name++) {
        mlxn_token id = mlxn_tokenizer_find(tok, *name, strlen(*name));
        if (id >= 0 && tok->added_flags[id]) mlxn_tok_add_end(tok, id);
    }
}

static mlxn_status finish(mlxn_tokenizer *tok, mlxn_status status, mlxn_tokenizer **out, mlxn_error *error) {
    if (status) {
        mlxn_tokenizer_destroy(tok);
        return status;
    }
    *out = tok;
    return mlxn_succeed(error);
}

mlxn_status mlxn_tokenizer_from_json(const char *json, uint64_t size, const char *config, uint64_t config_size,
                                     mlxn_tokenizer **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenizer: out is NULL");
    *out = NULL;
    if (!json) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenizer: json is NULL");
    mlxn_tokenizer *tok = mlxn_tok_new(error);
    if (!tok) return MLXN_ERR_MEMORY;
    mlxn_status status = mlxn_tok_load_json(tok, json, size, "tokenizer.json", error);
    if (!status && config) status = mlxn_tok_load_config(tok, config, config_size, "tokenizer_config.json", error);
    if (!status) use_names(tok);
    return finish(tok, status, out, error);
}

/* The file of that name beside another; empty if there is none. */
static mlxn_status map_beside(const char *path, const char *name, mlxn_mapping *out, mlxn_error *error) {
    char beside[4096];
    struct stat info;
    const char *slash = strrchr(path, '/');
    int n = snprintf(beside, sizeof beside, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path, name);
    *out = (mlxn_mapping){NULL, 0};
    if (n < 0 || (size_t)n >= sizeof beside || stat(beside, &info) || !info.st_size) return MLXN_OK;
    return mlxn_map_file(beside, out, error);
}

static mlxn_status load_jinja(mlxn_tokenizer *tok, const char *path, mlxn_error *error) {
    mlxn_mapping map;
    mlxn_status status = map_beside(path, "chat_template.jinja", &map, error);
    if (status || !map.data) return status;
    if (map.size > MAX_TEMPLATE)
        status = mlxn_fail(error, MLXN_ERR_LIMIT, "chat_template.jinja: has %llu bytes, at most %d",
                           (unsigned long long)map.size, MAX_TEMPLATE);
    else
        status = keep_template(tok, usual_name, (mlxn_string){(const char *)map.data, map.size}, error);
    mlxn_unmap_file(&map);
    return status;
}

/* What processors' folders have: {"chat_template": "..."}. Read when no other file has a template. */
static mlxn_status load_template_json(mlxn_tokenizer *tok, const char *path, mlxn_error *error) {
    static const char name[] = "chat_template.json";
    mlxn_mapping map;
    mlxn_tj_at root;
    mlxn_status status = tok->n_templates ? MLXN_OK : map_beside(path, name, &map, error);
    if (status || tok->n_templates || !map.data) return status;
    mlxn_tj tj = {.text = (const char *)map.data, .size = map.size, .file = name, .error = error};
    status = mlxn_config_from_json(tj.text, tj.size, name, &tj.config, error);
    if (!status) {
        mlxn_tj_root(&tj, &root);
        status = root.value.type == MLXN_CONFIG_OBJECT ? template_of(tok, &tj, &root)
                                                       : mlxn_tj_fail(&tj, &root, MLXN_ERR_FORMAT, "is no object");
        mlxn_tj_close(&tj);
    }
    mlxn_unmap_file(&map);
    return status;
}

static mlxn_status load_json_file(const char *path, mlxn_tokenizer **out, mlxn_error *error) {
    mlxn_mapping map, config;
    mlxn_status status = mlxn_map_file(path, &map, error);
    if (status) return status;
    mlxn_tokenizer *tok = mlxn_tok_new(error);
    status = tok ? map_beside(path, "tokenizer_config.json", &config, error) : MLXN_ERR_MEMORY;
    if (!status) {
        const char *slash = strrchr(path, '/');
        status = mlxn_tok_load_json(tok, (const char *)map.data, map.size, slash ? slash + 1 : path, error);
        if (!status && config.data)
            status =
                mlxn_tok_load_config(tok, (const char *)config.data, config.size, "tokenizer_config.json", error);
        if (!status) status = load_jinja(tok, path, error);
        if (!status) status = load_template_json(tok, path, error);
        if (!status) use_names(tok);
        if (config.data) mlxn_unmap_file(&config);
    }
    mlxn_unmap_file(&map);
    return finish(tok, status, out, error);
}

static mlxn_status load_gguf_file(const char *path, mlxn_tokenizer **out, mlxn_error *error) {
    mlxn_gguf *file = NULL;
    mlxn_tokenizer *tok = mlxn_tok_new(error);
    mlxn_status status = tok ? mlxn_gguf_open(path, &file, error) : MLXN_ERR_MEMORY;
    if (!status) {
        tok->file = file;
        status = mlxn_tok_load_gguf(tok, file, error);
    }
    return finish(tok, status, out, error);
}

mlxn_status mlxn_tokenizer_load_folder(const char *folder, mlxn_tokenizer **out, mlxn_error *error) {
    char path[4096];
    struct stat info;
    *out = NULL;
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    int size = snprintf(path, sizeof path, "%.*s/tokenizer.json", (int)n, folder);
    if (size < 0 || (size_t)size >= sizeof path)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenizer: the path has %zu bytes, at most %zu", n,
                         sizeof path - 20);
    if (stat(path, &info))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: there is no tokenizer.json in it", folder);
    return load_json_file(path, out, error);
}

/* GGUF files begin with four letters, JSON with white space or a brace. */
static mlxn_status is_gguf(const char *path, bool *out, mlxn_error *error) {
    char magic[4] = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return mlxn_fail_errno(error, path, "cannot be opened");
    size_t n = fread(magic, 1, sizeof magic, file);
    (void)fclose(file);
    *out = n == 4 && memcmp(magic, "GGUF", 4) == 0;
    return MLXN_OK;
}

mlxn_status mlxn_tokenizer_load(const char *path, mlxn_tokenizer **out, mlxn_error *error) {
    struct stat info;
    bool gguf = false;
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenizer: out is NULL");
    *out = NULL;
    if (!path || !*path) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tokenizer: the path is empty");
    if (stat(path, &info)) return mlxn_fail_errno(error, path, "cannot be opened");
    if (S_ISDIR(info.st_mode)) return mlxn_tokenizer_load_folder(path, out, error);
    mlxn_status status = is_gguf(path, &gguf, error);
    if (status) return status;
    return gguf ? load_gguf_file(path, out, error) : load_json_file(path, out, error);
}
