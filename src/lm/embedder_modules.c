/* embedder_modules.c: what sentence-transformers writes beside a model: how the vectors of tokens become one
 * (Pooling), layers behind that (Dense), whether vectors get length 1 (Normalize), where texts are cut, and prompts.
 *
 * modules.json lists them in order. What it does not say of pooling, the folder 1_Pooling may; without modules.json
 * vectors get length 1. */
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "lm/embedder.h"

enum { MOST_DENSE = 16, MOST_WIDTH = 1 << 20, ROWS_AT_ONCE = 64 };

static bool is(mlxn_string s, const char *text) {
    return s.size == strlen(text) && !memcmp(s.data, text, (size_t)s.size);
}

/* "<folder>/<sub>/<name>"; `sub` may be "". */
static char *path_of(const char *folder, const char *sub, const char *name) {
    size_t n = strlen(folder) + strlen(sub) + strlen(name) + 3;
    char *path = mlxn_alloc(n);
    if (path) snprintf(path, n, "%s/%s%s%s", folder, sub, *sub ? "/" : "", name);
    return path;
}

/* *out is NULL if there is no such file. */
static mlxn_status open_config(const mlxn_embedder *m, const char *folder, const char *sub, const char *name,
                               mlxn_config **out, mlxn_error *error) {
    char *path = path_of(folder, sub, name);
    struct stat info;
    *out = NULL;
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", name);
    mlxn_status status = stat(path, &info) ? MLXN_OK : mlxn_config_open(path, out, error);
    mlxn_free(path);
    if (status) mlxn_error_prefix(error, "%s", m->path_name);
    return status;
}

static bool is_true(const mlxn_config *config, const char *name) {
    mlxn_config_value v;
    return mlxn_config_find(config, name, &v) && v.type == MLXN_CONFIG_BOOL && v.v.b;
}

/* ---- pooling ---- */

static mlxn_status no_pooling(const mlxn_embedder *m, const char *name, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: pooling is \"%.60s\", want mean, cls or lasttoken alone",
                     m->path_name, name);
}

/* One mode in words, or a flag for each. */
static mlxn_status read_mode(mlxn_embedder *m, const mlxn_config *config, mlxn_error *error) {
    static const struct {
        const char *word, *flag;
        mlxn_pooling pooling; /* MODEL: it cannot be done */
    } modes[] = {{"mean", "pooling_mode_mean_tokens", MLXN_POOL_MEAN},
                 {"cls", "pooling_mode_cls_token", MLXN_POOL_CLS},
                 {"lasttoken", "pooling_mode_lasttoken", MLXN_POOL_LAST},
                 {"max", "pooling_mode_max_tokens", MLXN_POOL_MODEL},
                 {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", MLXN_POOL_MODEL},
                 {"weightedmean", "pooling_mode_weightedmean_tokens", MLXN_POOL_MODEL}};
    mlxn_config_value v;
    const char *word = NULL;
    if (mlxn_config_find(config, "pooling_mode", &v)) {
        mlxn_config_value list = v;
        if (list.type == MLXN_CONFIG_ARRAY && list.v.count == 1) mlxn_config_element(config, &list, 0, &v);
        if (v.type != MLXN_CONFIG_STRING) return no_pooling(m, "several", error);
        word = v.v.s.data;
    }
    int found = 0;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (word ? strcmp(word, modes[i].word) != 0 : !is_true(config, modes[i].flag)) continue;
        if (modes[i].pooling == MLXN_POOL_MODEL) return no_pooling(m, modes[i].word, error);
        m->pooling = modes[i].pooling;
        found++;
    }
    if (found > 1) return no_pooling(m, "several", error);
    return word && !found ? no_pooling(m, word, error) : MLXN_OK;
}

static mlxn_status read_pooling(mlxn_embedder *m, const char *folder, const char *sub, bool asked,
                                mlxn_error *error) {
    mlxn_config *config;
    mlxn_config_value v;
    m->pooled = true;
    mlxn_status status = open_config(m, folder, sub, "config.json", &config, error);
    if (!status && config && !asked) status = read_mode(m, config, error);
    m->without_prompt =
        config && mlxn_config_find(config, "include_prompt", &v) && v.type == MLXN_CONFIG_BOOL && !v.v.b;
    mlxn_config_destroy(config);
    return status;
}

/* ---- dense layers ---- */

static mlxn_status read_width(const mlxn_embedder *m, const mlxn_config *config, const char *sub, const char *key,
                              uint32_t *out, mlxn_error *error) {
    mlxn_config_value v = {.type = MLXN_CONFIG_NULL};
    if (mlxn_config_find(config, key, &v) && v.type == MLXN_CONFIG_INTEGER && v.v.i >= 1 && v.v.i <= MOST_WIDTH) {
        *out = (uint32_t)v.v.i;
        return MLXN_OK;
    }
    return mlxn_fail(error, MLXN_ERR_FORMAT,
                     "%s: %.60s/config.json: key \"%s\" is %lld, want an integer from 1 to %d", m->path_name, sub,
                     key, v.type == MLXN_CONFIG_INTEGER ? (long long)v.v.i : 0LL, MOST_WIDTH);
}

/* By the name of its class in PyTorch. */
static mlxn_status read_activation(const mlxn_embedder *m, const mlxn_config *config, const char *sub,
                                   mlxn_emb_dense *d, mlxn_error *error) {
    static const struct {
        const char *name;
        uint32_t fn;
    } rows[] = {{"Tanh", MLXN_UNARY_TANH},
                {"GELU", MLXN_UNARY_GELU_ERF},
                {"ReLU", MLXN_UNARY_RELU},
                {"Sigmoid", MLXN_UNARY_SIGMOID},
                {"SiLU", MLXN_UNARY_SILU}};
    mlxn_config_value v;
    const char *name = "Tanh"; /* that of the class */
    if (mlxn_config_find(config, "activation_function", &v)) name = v.type == MLXN_CONFIG_STRING ? v.v.s.data : "?";
    const char *point = strrchr(name, '.');
    if (point) name = point + 1;
    d->plain = !strcmp(name, "Identity");
    if (d->plain) return MLXN_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(name, rows[i].name) != 0) continue;
        d->activation = rows[i].fn;
        return MLXN_OK;
    }
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "%s: %.60s/config.json: activation_function is \"%.60s\", want Identity, Tanh, GELU, ReLU, "
                     "Sigmoid or SiLU",
                     m->path_name, sub, name);
}

static mlxn_status find_linear(const mlxn_embedder *m, const mlxn_emb_dense *d, const char *sub, const char *name,
                               uint32_t rank, mlxn_safetensors_tensor *out, mlxn_format *format, mlxn_error *error) {
    if (!mlxn_safetensors_find_tensor(d->file, name, out))
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: %.60s: tensor \"%s\" is missing", m->path_name, sub, name);
    *format = out->dtype == MLXN_ST_F16    ? MLXN_FORMAT_F16
              : out->dtype == MLXN_ST_BF16 ? MLXN_FORMAT_BF16
                                           : MLXN_FORMAT_F32;
    bool plain = out->dtype == MLXN_ST_F32 || out->dtype == MLXN_ST_F16 || out->dtype == MLXN_ST_BF16;
    if (plain && out->rank == rank && out->dims[0] == d->out && (rank == 1 || out->dims[1] == d->in)) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_FORMAT,
                     "%s: %.60s: tensor \"%s\" is %s of rank %u, want F32, F16 or BF16 of rank %u, [%u%s%.0u]",
                     m->path_name, sub, name, out->dtype_name, out->rank, rank, d->out, rank == 2 ? ", " : "",
                     rank == 2 ? d->in : 0);
}

static mlxn_status load_dense(mlxn_embedder *m, const char *folder, const char *sub, const mlxn_config *config,
                              mlxn_emb_dense *d, mlxn_error *error) {
    mlxn_safetensors_tensor w, b;
    mlxn_format format;
    mlxn_config_value v;
    mlxn_status status = read_width(m, config, sub, "in_features", &d->in, error);
    if (!status) status = read_width(m, config, sub, "out_features", &d->out, error);
    if (!status) status = read_activation(m, config, sub, d, error);
    if (!status && d->in != m->width)
        status = mlxn_fail(error, MLXN_ERR_FORMAT, "%s: %.60s/config.json: key \"in_features\" is %u, want %u",
                           m->path_name, sub, d->in, m->width);
    if (!status && is_true(config, "use_residual"))
        status = mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: %.60s/config.json: key \"use_residual\" is true",
                           m->path_name, sub);
    char *path = path_of(folder, "", sub);
    if (!status && !path) status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", sub);
    if (!status) {
        status = mlxn_safetensors_open(path, &d->file, error);
        if (status) mlxn_error_prefix(error, "%s", m->path_name);
    }
    mlxn_free(path);
    if (!status) status = find_linear(m, d, sub, "linear.weight", 2, &w, &format, error);
    if (!status) status = mlxn_safetensors_wrap(d->file, w.shard, m->device, &d->data, error);
    if (status) return status;
    const mlxn_weight_desc desc = {.struct_size = sizeof desc,
                                   .format = format,
                                   .rows = d->out,
                                   .cols = d->in,
                                   .data = d->data,
                                   .offset = w.offset};
    status = mlxn_weight_create(m->device, &desc, &d->w, error);
    m->n_params += w.elements;
    m->width = d->out;
    bool biased = !mlxn_config_find(config, "bias", &v) || v.type != MLXN_CONFIG_BOOL || v.v.b;
    if (status || !biased) return status;
    status = find_linear(m, d, sub, "linear.bias", 1, &b, &format, error);
    float *values = status ? NULL : mlxn_alloc_array(d->out, sizeof *values);
    if (!status && !values) status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", sub);
    if (!status) status = mlxn_dequantize_row(format, b.data, d->out, values, error);
    if (!status) status = mlxn_buffer_create(m->device, (uint64_t)d->out * 4, &d->bias, error);
    if (!status) status = mlxn_buffer_write(d->bias, 0, values, (uint64_t)d->out * 4, error);
    m->n_params += d->out;
    mlxn_free(values);
    return status;
}

static mlxn_status add_dense(mlxn_embedder *m, const char *folder, const char *sub, mlxn_error *error) {
    mlxn_config *config;
    if (m->n_dense == MOST_DENSE)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "%s: modules.json: more than %d dense layers", m->path_name,
                         MOST_DENSE);
    mlxn_status status = open_config(m, folder, sub, "config.json", &config, error);
    if (!status && !config)
        status = mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: %.60s/config.json is missing", m->path_name, sub);
    mlxn_emb_dense *grown = status ? NULL : mlxn_realloc_array(m->dense, m->n_dense + 1, sizeof *grown);
    if (!status && !grown) status = mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", sub);
    if (!status) {
        m->dense = grown;
        grown[m->n_dense] = (mlxn_emb_dense){.in = 0};
        status = load_dense(m, folder, sub, config, &grown[m->n_dense++], error);
    }
    mlxn_config_destroy(config);
    return status;
}

/* For a group of texts: input and result of a layer. */
static mlxn_status make_buffers(mlxn_embedder *m, mlxn_error *error) {
    uint32_t widest = m->shape.n_embd;
    for (uint32_t i = 0; i < m->n_dense; i++) widest = (uint32_t)mlxn_max_u64(widest, m->dense[i].out);
    mlxn_status status = MLXN_OK;
    for (int i = 0; !status && m->n_dense && i < 2; i++)
        status = mlxn_buffer_create(m->device, (uint64_t)ROWS_AT_ONCE * 4 * widest, &m->dense_rows[i], error);
    return status;
}

mlxn_status mlxn_emb_dense_run(mlxn_embedder *m, const float *pooled, size_t n, float *out, mlxn_error *error) {
    const mlxn_tensor none = {0};
    for (size_t first = 0; first < n; first += ROWS_AT_ONCE) {
        uint64_t rows = mlxn_min_u64(ROWS_AT_ONCE, n - first), width = m->shape.n_embd;
        mlxn_status status =
            mlxn_buffer_write(m->dense_rows[0], 0, pooled + first * width, rows * width * sizeof *pooled, error);
        if (status) return status;
        for (uint32_t i = 0; i < m->n_dense; i++) {
            const mlxn_emb_dense *d = &m->dense[i];
            const mlxn_unary_params activation = {.fn = d->activation};
            mlxn_tensor x = mlxn_tensor_2d(m->dense_rows[i % 2], 0, MLXN_F32, rows, d->in),
                        y = mlxn_tensor_2d(m->dense_rows[1 - i % 2], 0, MLXN_F32, rows, d->out);
            mlxn_matmul(m->encoder, x, d->w, d->bias ? mlxn_tensor_1d(d->bias, 0, MLXN_F32, d->out) : none, none, y);
            if (!d->plain) mlxn_unary(m->encoder, y, y, &activation);
        }
        status = mlxn_encoder_commit_and_wait(m->encoder, "embed: dense", error);
        if (!status)
            status = mlxn_buffer_read(m->dense_rows[m->n_dense % 2], 0, out + first * m->width,
                                      rows * m->width * sizeof *out, error);
        if (status) return status;
    }
    return MLXN_OK;
}

void mlxn_emb_free_modules(mlxn_embedder *m) {
    for (uint32_t i = 0; i < m->n_dense; i++) {
        mlxn_weight_release(&m->dense[i].w);
        mlxn_buffer_release(&m->dense[i].bias);
        mlxn_buffer_release(&m->dense[i].data);
        mlxn_safetensors_close(m->dense[i].file); /* last: the buffer points into it */
    }
    for (int i = 0; i < 2; i++) mlxn_buffer_release(&m->dense_rows[i]);
    mlxn_free(m->dense);
    mlxn_free(m->prompt);
}

/* ---- lengths and prompts ---- */

static mlxn_status read_length(mlxn_embedder *m, const char *folder, mlxn_error *error) {
    static const char *const places[][2] = {{"sentence_bert_config.json", "max_seq_length"},
                                            {"tokenizer_config.json", "model_max_length"}};
    m->max_length = m->shape.n_ctx;
    for (size_t i = 0; i < 2; i++) {
        mlxn_config *config;
        mlxn_config_value v;
        mlxn_status status = open_config(m, folder, "", places[i][0], &config, error);
        if (status) return status;
        bool there = config && mlxn_config_find(config, places[i][1], &v) && v.type == MLXN_CONFIG_INTEGER;
        if (there && v.v.i >= 2 && v.v.i < m->shape.n_ctx) m->max_length = (uint32_t)v.v.i;
        mlxn_config_destroy(config);
        if (there) break;
    }
    return MLXN_OK;
}

static mlxn_status take_prompt(mlxn_embedder *m, const mlxn_config *config, const char *name, mlxn_error *error) {
    mlxn_config_value prompts, text;
    mlxn_string key;
    char names[200] = "";
    bool there = config && mlxn_config_find(config, "prompts", &prompts) && prompts.type == MLXN_CONFIG_OBJECT;
    for (uint64_t i = 0; there && mlxn_config_member(config, &prompts, i, &key, &text); i++) {
        size_t n = strlen(names);
        if (!is(key, name)) {
            snprintf(names + n, sizeof names - n, "%s%.*s", n ? ", " : "", (int)mlxn_min_u64(key.size, 60), key.data);
            continue;
        }
        bool empty = text.type != MLXN_CONFIG_STRING || !text.v.s.size;
        if (!empty && m->without_prompt)
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                             "%s: pooling leaves the tokens of prompts out (\"include_prompt\" is false)",
                             m->path_name);
        if (empty) return MLXN_OK;
        m->prompt = mlxn_strndup(text.v.s.data, (size_t)text.v.s.size);
        return m->prompt ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory", m->path_name);
    }
    return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: there is no prompt \"%.60s\", want one of: %s", m->path_name,
                     name, *names ? names : "(none)");
}

static mlxn_status read_prompt(mlxn_embedder *m, const char *folder, const char *name, mlxn_error *error) {
    mlxn_config *config;
    mlxn_config_value v;
    mlxn_status status = open_config(m, folder, "", "config_sentence_transformers.json", &config, error);
    if (status) return status;
    if (!name && config && mlxn_config_find(config, "default_prompt_name", &v) && v.type == MLXN_CONFIG_STRING)
        name = v.v.s.data;
    if (name && *name) status = take_prompt(m, config, name, error);
    mlxn_config_destroy(config);
    return status;
}

/* ---- the list ---- */

/* A folder below the model's: neither elsewhere nor above. */
static bool is_inside(const char *sub) {
    return *sub && *sub != '/' && strlen(sub) < 200 && strcmp(sub, "..") != 0 && strncmp(sub, "../", 3) != 0 &&
           !strstr(sub, "/..");
}

static mlxn_status read_module(mlxn_embedder *m, const char *folder, const mlxn_config *config,
                               const mlxn_config_value *module, bool asked, mlxn_error *error) {
    mlxn_config_value v;
    mlxn_string name;
    const char *type = "", *sub = "";
    for (uint64_t k = 0; mlxn_config_member(config, module, k, &name, &v); k++) {
        if (v.type == MLXN_CONFIG_STRING && is(name, "type")) type = v.v.s.data;
        if (v.type == MLXN_CONFIG_STRING && is(name, "path")) sub = v.v.s.data;
    }
    const char *point = strrchr(type, '.');
    if (point) type = point + 1;
    if (!strcmp(type, "Transformer")) return MLXN_OK;
    if (!strcmp(type, "Normalize")) {
        m->normalize = true;
        return MLXN_OK;
    }
    bool pooling = !strcmp(type, "Pooling"), dense = !strcmp(type, "Dense");
    if (!pooling && !dense)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "%s: modules.json: module \"%.60s\", want Transformer, Pooling, Dense or Normalize",
                         m->path_name, type);
    if (pooling && !*sub) sub = "1_Pooling";
    if (!is_inside(sub))
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: modules.json: \"%.60s\" is no folder of the model's",
                         m->path_name, sub);
    if (m->normalize || (pooling && m->n_dense))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: modules.json: %s comes after %s", m->path_name, type,
                         m->normalize ? "Normalize" : "Dense");
    return pooling ? read_pooling(m, folder, sub, asked, error) : add_dense(m, folder, sub, error);
}

mlxn_status mlxn_emb_read_modules(mlxn_embedder *m, const char *folder, const mlxn_embedder_desc *desc,
                                  mlxn_error *error) {
    mlxn_config *modules;
    mlxn_config_value list, one;
    bool asked = desc->pooling != MLXN_POOL_MODEL;
    m->pooling = MLXN_POOL_MEAN;
    m->width = m->shape.n_embd;
    mlxn_status status = read_length(m, folder, error);
    if (!status) status = open_config(m, folder, "", "modules.json", &modules, error);
    if (status) return status;
    if (modules && mlxn_config_find(modules, "", &list) && list.type == MLXN_CONFIG_ARRAY) {
        for (uint64_t i = 0; !status && mlxn_config_element(modules, &list, i, &one); i++)
            status = read_module(m, folder, modules, &one, asked, error);
    } else {
        m->normalize = true;
    }
    if (!status && !m->pooled) status = read_pooling(m, folder, "1_Pooling", asked, error);
    mlxn_config_destroy(modules);
    if (!status) status = make_buffers(m, error);
    return status ? status : read_prompt(m, folder, desc->prompt_name, error);
}
