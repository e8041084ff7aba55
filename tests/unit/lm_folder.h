/* lm_folder.h: the tiny models of tests/vectors/models, written as folders (plain, in shards, quantized as MLX does,
 * dequantized again) and as GGUF files. Weights are a pure function of the tensor's name and the element, the same as
 * in make_models.py. */
#ifndef MLXN_TESTS_LM_FOLDER_H
#define MLXN_TESTS_LM_FOLDER_H

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <mlxn/lm.h>
#include <mlxn/write.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "test.h"

typedef struct fm_tensor {
    const char *name, *dtype;
    uint32_t rank;
    uint64_t dims[3], elements;
    double mean, spread;
} fm_tensor;

/* A model of tests/vectors/models. */
typedef struct fm {
    const char *name;
    json_t *root, *config; /* the config may be edited */
    fm_tensor tensors[200];
    size_t n_tensors;
    mlxn_token ids[64];
    size_t n_ids;
} fm;

static inline bool fm_open(fm *m, const char *name) {
    char path[128];
    memset(m, 0, sizeof *m);
    m->name = name;
    snprintf(path, sizeof path, "tests/vectors/models/%s.json", name);
    m->root = json_load_file(path, 0, NULL);
    CHECK(m->root, "cannot read %s", path);
    if (!m->root) return false;
    m->config = json_object_get(m->root, "config");
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(m->root, "tensors"), i, one) {
        fm_tensor *t = &m->tensors[m->n_tensors++];
        json_t *dims = json_array_get(one, 1);
        *t = (fm_tensor){.name = json_string_value(json_array_get(one, 0)),
                         .dtype = json_string_value(json_array_get(one, 2)),
                         .rank = (uint32_t)json_array_size(dims),
                         .elements = 1,
                         .mean = json_number_value(json_array_get(one, 3)),
                         .spread = json_number_value(json_array_get(one, 4))};
        for (uint32_t k = 0; k < t->rank; k++) {
            t->dims[k] = (uint64_t)json_integer_value(json_array_get(dims, k));
            t->elements *= t->dims[k];
        }
    }
    json_array_foreach(json_object_get(m->root, "ids"), i, one) m->ids[m->n_ids++] =
        (mlxn_token)json_integer_value(one);
    return true;
}

static inline void fm_close(fm *m) { json_decref(m->root); }

/* The config of the text model, also where it is nested. */
static inline json_t *fm_text_config(const fm *m) {
    json_t *text = json_object_get(m->config, "text_config");
    return text ? text : m->config;
}

/* Elements as the folder stores them, decoded; free() them. */
static inline float *fm_values(const fm_tensor *t) {
    float *out = malloc((t->elements ? t->elements : 1) * sizeof *out);
    uint64_t seed = 14695981039346656037u;
    for (const char *c = t->name; *c; c++) seed = (seed ^ (uint8_t)*c) * 1099511628211u;
    for (uint64_t i = 0; i < t->elements; i++) {
        uint64_t x = seed + (i + 1) * 0x9e3779b97f4a7c15u, sum = 0;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        x ^= x >> 31;
        for (int s = 0; s < 64; s += 16) sum += x >> s & 0xffff;
        float v = (float)(t->mean + t->spread * (((double)sum - 131070.0) / 65536.0));
        if (strcmp(t->dtype, "F16") == 0) v = mlxn_f16_to_f32(mlxn_f32_to_f16(v));
        if (strcmp(t->dtype, "BF16") == 0) v = mlxn_bf16_to_f32(mlxn_f32_to_bf16(v));
        out[i] = v;
    }
    return out;
}

/* A byte-level vocabulary of 128 tokens, which the models do not need, but GGUF files do. */
static inline void fm_write_tokenizer(const char *folder) {
    char path[400];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    json_t *vocab = json_object(), *root;
    for (int i = 0; i < 128; i++) {
        char token[8];
        snprintf(token, sizeof token, i < 94 ? "%c" : "t%d", i < 94 ? '!' + i : i);
        json_object_set_new(vocab, token, json_integer(i));
    }
    root =
        json_pack("{s:s, s:[], s:n, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:b, s:b, s:b}, s:{s:s, s:o, s:[]}}", "version",
                  "1.0", "added_tokens", "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                  "trim_offsets", 1, "use_regex", 1, "decoder", "type", "ByteLevel", "add_prefix_space", 0,
                  "trim_offsets", 1, "use_regex", 1, "model", "type", "BPE", "vocab", vocab, "merges");
    CHECK(root && !json_dump_file(root, path, 0), "%s", path);
    json_decref(root);
}

/* How matrices are quantized, or that they are rounded to what such a quantization holds and stored as F32. */
typedef struct fm_quant {
    mlxn_quant_mode mode;
    uint32_t bits, group;
    mlxn_dtype scale_dtype;
    bool dequantized;
} fm_quant;

/* The codes, scales and biases of a matrix; all in one block, free(codes). */
typedef struct fm_coded {
    uint8_t *codes, *scales, *biases;
    uint64_t row_bytes, groups, scale_bytes;
} fm_coded;

static inline uint64_t fm_cols(const fm_tensor *t) { return t->dims[t->rank - 1]; }
static inline uint64_t fm_rows(const fm_tensor *t) { return t->elements / fm_cols(t); }

static inline fm_coded fm_encode(const fm_tensor *t, const fm_quant *q, float *values) {
    mlxn_format format = 0;
    fm_coded c = {.groups = fm_cols(t) / q->group, .scale_bytes = mlxn_dtype_size(q->scale_dtype)};
    CHECK(mlxn_format_of_groups(q->mode, q->bits, q->group, &format, NULL) == MLXN_OK &&
              mlxn_format_row_bytes(format, fm_cols(t), &c.row_bytes, NULL) == MLXN_OK,
          "%s: %u bits in groups of %u", t->name, q->bits, q->group);
    uint64_t row_scales = c.groups * c.scale_bytes;
    c.codes = calloc(fm_rows(t), c.row_bytes + 2 * row_scales);
    c.scales = c.codes + fm_rows(t) * c.row_bytes;
    c.biases = c.scales + fm_rows(t) * row_scales;
    for (uint64_t r = 0; r < fm_rows(t); r++) {
        mlxn_group_row row = {.codes = c.codes + r * c.row_bytes,
                              .scales = c.scales + r * row_scales,
                              .biases = q->mode == MLXN_QUANT_AFFINE ? c.biases + r * row_scales : NULL,
                              .scale_dtype = q->scale_dtype};
        float *x = values + r * fm_cols(t);
        CHECK(mlxn_quantize_groups(format, x, fm_cols(t), &row, NULL) == MLXN_OK, "%s: encode", t->name);
        CHECK(mlxn_dequantize_groups(format, &row, fm_cols(t), x, NULL) == MLXN_OK, "%s: decode", t->name);
    }
    return c;
}

static inline const char *fm_part_name(const fm_tensor *t, const char *suffix) {
    static char name[160];
    size_t n = strlen(t->name) - strlen(".weight");
    snprintf(name, sizeof name, "%.*s%s", (int)n, t->name, suffix);
    return name;
}

static inline mlxn_st_dtype fm_st_dtype(mlxn_dtype dtype) {
    return dtype == MLXN_F32    ? MLXN_ST_F32
           : dtype == MLXN_F16  ? MLXN_ST_F16
           : dtype == MLXN_BF16 ? MLXN_ST_BF16
                                : MLXN_ST_U8;
}

/* What holds for one tensor; NULL: it is not quantized. `user` is the caller's. */
typedef const fm_quant *(*fm_rule)(const fm_tensor *t, const void *user);
static inline const fm_quant *fm_all(const fm_tensor *t, const void *user) {
    return t->rank >= 2 && strstr(t->name, ".weight") ? user : NULL;
}

static inline void fm_declare(mlxn_safetensors_writer *w, const fm_tensor *t, const fm_quant *q) {
    mlxn_error error = {0};
    mlxn_st_dtype plain = !strcmp(t->dtype, "F32")   ? MLXN_ST_F32
                          : !strcmp(t->dtype, "F16") ? MLXN_ST_F16
                                                     : MLXN_ST_BF16;
    if (!q || q->dequantized) {
        mlxn_st_dtype dtype = q ? MLXN_ST_F32 : plain;
        CHECK(!mlxn_safetensors_writer_add(w, t->name, dtype, t->rank, t->dims, &error), "%s", error.message);
        return;
    }
    uint64_t words[3], groups[3];
    memcpy(words, t->dims, sizeof words);
    memcpy(groups, t->dims, sizeof groups);
    words[t->rank - 1] = fm_cols(t) * q->bits / 32;
    groups[t->rank - 1] = fm_cols(t) / q->group;
    mlxn_st_dtype scale = fm_st_dtype(q->scale_dtype);
    CHECK(!mlxn_safetensors_writer_add(w, t->name, MLXN_ST_U32, t->rank, words, &error) &&
              !mlxn_safetensors_writer_add(w, fm_part_name(t, ".scales"), scale, t->rank, groups, &error) &&
              (q->mode != MLXN_QUANT_AFFINE ||
               !mlxn_safetensors_writer_add(w, fm_part_name(t, ".biases"), scale, t->rank, groups, &error)),
          "%s", error.message);
}

static inline void fm_store(mlxn_safetensors_writer *w, const fm_tensor *t, const fm_quant *q) {
    mlxn_error error = {0};
    float *values = fm_values(t);
    mlxn_status status = MLXN_OK;
    fm_coded c = {0};
    if (q) c = fm_encode(t, q, values);
    if (q && !q->dequantized) {
        uint64_t scales = fm_rows(t) * c.groups * c.scale_bytes;
        status = mlxn_safetensors_writer_write(w, c.codes, fm_rows(t) * c.row_bytes, &error);
        if (!status) status = mlxn_safetensors_writer_write(w, c.scales, scales, &error);
        if (!status && q->mode == MLXN_QUANT_AFFINE)
            status = mlxn_safetensors_writer_write(w, c.biases, scales, &error);
    } else if (q || strcmp(t->dtype, "F32") == 0) {
        status = mlxn_safetensors_writer_write(w, values, t->elements * sizeof *values, &error);
    } else {
        bool half = strcmp(t->dtype, "F16") == 0;
        uint16_t *small = malloc(t->elements * sizeof *small);
        for (uint64_t i = 0; i < t->elements; i++)
            small[i] = half ? mlxn_f32_to_f16(values[i]) : mlxn_f32_to_bf16(values[i]);
        status = mlxn_safetensors_writer_write(w, small, t->elements * sizeof *small, &error);
        free(small);
    }
    CHECK(status == MLXN_OK, "%s: %s", t->name, error.message);
    free(c.codes);
    free(values);
}

/* Writes folder/config.json with the config as it is now. */
static inline void fm_write_config(const fm *m, const char *folder) {
    char path[320];
    snprintf(path, sizeof path, "%s/config.json", folder);
    CHECK(json_dump_file(m->config, path, JSON_INDENT(2)) == 0, "cannot write %s", path);
}

/* A new folder below TMPDIR, in a static buffer. */
static inline const char *fm_new_folder(void) {
    static char path[4][256];
    static unsigned next;
    const char *tmp = getenv("TMPDIR");
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/mlxn-folder-XXXXXX", tmp && strlen(tmp) < 200 ? tmp : P_tmpdir);
    CHECK(mkdtemp(out), "cannot make %s", out);
    return out;
}

static inline void fm_remove_folder(const char *folder) {
    DIR *dir = opendir(folder);
    char path[560];
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (dir) closedir(dir);
    CHECK(rmdir(folder) == 0, "%s is not empty", folder);
}

/* A new folder with the model; `rule` may be NULL. */
static inline const char *fm_write(const fm *m, uint64_t shard_bytes, fm_rule rule, const void *user) {
    const char *folder = fm_new_folder();
    mlxn_safetensors_writer *w = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_safetensors_writer_create(folder, shard_bytes, false, &w, &error), "%s", error.message);
    for (size_t i = 0; i < m->n_tensors; i++) fm_declare(w, &m->tensors[i], rule ? rule(&m->tensors[i], user) : NULL);
    for (size_t i = 0; i < m->n_tensors; i++) fm_store(w, &m->tensors[i], rule ? rule(&m->tensors[i], user) : NULL);
    CHECK(!mlxn_safetensors_writer_finish(&w, &error), "%s", error.message);
    fm_write_config(m, folder);
    return folder;
}

static inline mlxn_model *fm_load(mlxn_device *device, const char *path) {
    mlxn_model *model = NULL;
    mlxn_error error = {0};
    CHECK(mlxn_model_load(device, path, NULL, &model, &error) == MLXN_OK, "%s", error.message);
    return model;
}

/* Logits of all positions: `first` ids at once in steps of n_batch rows, then one by one. free() them. */
static inline float *fm_run_as(mlxn_model *model, const fm *m, size_t first, uint32_t n_batch, uint32_t graph_flags) {
    mlxn_model_info info = {.struct_size = sizeof info};
    mlxn_model_get_info(model, &info);
    mlxn_context_desc desc = {
        .struct_size = sizeof desc, .n_ctx = 256, .n_batch = n_batch, .graph_flags = graph_flags};
    mlxn_context *context = NULL;
    mlxn_error error = {0};
    mlxn_batch_row rows[64];
    size_t width = info.n_vocab;
    float *out = calloc(m->n_ids * width, sizeof *out);
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    for (size_t at = 0; context && at < m->n_ids;) {
        size_t n = at == 0 ? first : 1;
        const float *logits = NULL;
        for (size_t i = 0; i < n; i++) rows[i] = (mlxn_batch_row){m->ids[at + i], 0, true};
        CHECK(mlxn_context_decode(context, rows, n, NULL, NULL, &logits, &error) == MLXN_OK, "%s", error.message);
        if (!logits) break;
        memcpy(out + at * width, logits, n * width * sizeof *out);
        at += n;
    }
    mlxn_context_destroy(context);
    return out;
}
static inline float *fm_run(mlxn_model *model, const fm *m, size_t first, uint32_t n_batch) {
    return fm_run_as(model, m, first, n_batch, 0);
}

#endif
