/* folder.c: `mlxn info` and `mlxn check` on a folder of config.json and safetensors. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum { MAX_DEPTH = 32 };

typedef struct folder {
    mlxn_config *config;
    mlxn_safetensors *file;
    mlxn_quant_config *quant; /* NULL: config.json says nothing of quantization */
} folder;

static void close_folder(folder *f) {
    mlxn_quant_config_destroy(f->quant);
    mlxn_safetensors_close(f->file);
    mlxn_config_destroy(f->config);
}

static mlxn_status open_folder(const char *path, folder *out, mlxn_error *error) {
    size_t room = strlen(path) + sizeof "/config.json";
    char *name = malloc(room);
    memset(out, 0, sizeof *out);
    if (!name) {
        snprintf(error->message, sizeof error->message, "memory is short");
        return MLXN_ERR_MEMORY;
    }
    snprintf(name, room, "%s/config.json", path);
    mlxn_status status = mlxn_config_open(name, &out->config, error);
    free(name);
    if (!status) status = mlxn_safetensors_open(path, &out->file, error);
    if (status) return status;
    status = mlxn_quant_config_from_folder(path, &out->quant, error);
    return status == MLXN_ERR_NOT_FOUND ? MLXN_OK : status;
}

/* A value of the config, from the part about text where there is one. */
static bool find(const folder *f, const char *name, mlxn_config_value *out) {
    char inner[128];
    snprintf(inner, sizeof inner, "text_config.%s", name);
    return mlxn_config_find(f->config, inner, out) || mlxn_config_find(f->config, name, out);
}

static bool find_number(const folder *f, const char *name, int64_t *out) {
    mlxn_config_value value;
    if (!find(f, name, &value) || value.type != MLXN_CONFIG_INTEGER) return false;
    *out = value.v.i;
    return true;
}

/* key of the config, label; in JSON the key that GGUF files have for it, so that one reader serves both */
static const char *const numbers[][3] = {{"num_hidden_layers", "layers", "block_count"},
                                         {"hidden_size", "embedding", "embedding_length"},
                                         {"intermediate_size", "feed forward", "feed_forward_length"},
                                         {"num_attention_heads", "heads", "attention.head_count"},
                                         {"num_key_value_heads", "kv heads", "attention.head_count_kv"},
                                         {"max_position_embeddings", "context", "context_length"},
                                         {"sliding_window", "sliding window", "attention.sliding_window"},
                                         {"vocab_size", "vocabulary", "vocabulary"}};
enum { N_NUMBERS = sizeof numbers / sizeof numbers[0] };

/* The name of its tokenizer into `name`, and whether it has a chat template; false if there is none to be loaded. */
static bool find_tokenizer(const char *path, char *name, size_t room, bool *chat) {
    mlxn_tokenizer *tok = NULL;
    if (mlxn_tokenizer_load(path, &tok, NULL)) return false;
    snprintf(name, room, "%s", mlxn_tokenizer_name(tok));
    *chat = mlxn_tokenizer_chat_template(tok).size > 0;
    mlxn_tokenizer_destroy(tok);
    return true;
}

typedef struct totals {
    uint64_t tensors[MLXN_ST_DTYPE_COUNT], elements[MLXN_ST_DTYPE_COUNT], bytes[MLXN_ST_DTYPE_COUNT];
    uint64_t parameters, modules; /* modules: quantized ones */
} totals;

static bool has_suffix(mlxn_string name, const char *suffix) {
    size_t n = strlen(suffix);
    return name.size > n && memcmp(name.data + name.size - n, suffix, n) == 0;
}

/* The quantized module whose scales the tensor is; *found is false if it is none. */
static mlxn_status find_module(const folder *f, const mlxn_safetensors_tensor *scales, mlxn_quant_tensors *out,
                               bool *found, mlxn_error *error) {
    static const char suffix[] = ".scales";
    *found = false;
    if (!f->quant || !has_suffix(scales->name, suffix)) return MLXN_OK;
    size_t n = scales->name.size - (sizeof suffix - 1);
    char *base = malloc(n + 1);
    if (!base) {
        snprintf(error->message, sizeof error->message, "memory is short");
        return MLXN_ERR_MEMORY;
    }
    memcpy(base, scales->name.data, n);
    base[n] = 0;
    mlxn_status status = mlxn_quant_tensors_find(f->file, f->quant, base, out, found, error);
    free(base);
    return status;
}

/* Parameters are what is stored, but of quantized modules what the codes stand for. */
static mlxn_status count(const folder *f, totals *out, mlxn_error *error) {
    mlxn_safetensors_tensor t;
    memset(out, 0, sizeof *out);
    for (uint64_t i = 0; mlxn_safetensors_tensor_at(f->file, i, &t); i++) {
        mlxn_quant_tensors q;
        bool found;
        out->tensors[t.dtype]++;
        out->elements[t.dtype] += t.elements;
        out->bytes[t.dtype] += t.bytes;
        out->parameters += t.elements;
        mlxn_status status = find_module(f, &t, &q, &found, error);
        if (status) return status;
        if (!found) continue;
        out->modules++;
        out->parameters += q.elements - q.weight.elements - q.scales.elements - q.biases.elements;
    }
    return MLXN_OK;
}

/* ---- info ---- */

/* Nesting is bounded by what a config may have. */
static json_t *config_json(const folder *f, const mlxn_config_value *value) {
    json_t *out = NULL;
    mlxn_config_value one;
    mlxn_string name;
    switch (value->type) {
        case MLXN_CONFIG_NULL:
            return json_null();
        case MLXN_CONFIG_BOOL:
            return json_boolean(value->v.b);
        case MLXN_CONFIG_INTEGER:
            return json_integer(value->v.i);
        case MLXN_CONFIG_REAL:
            return cli_json_real(value->v.f);
        case MLXN_CONFIG_STRING:
            return cli_json_text(value->v.s.data, value->v.s.size);
        case MLXN_CONFIG_ARRAY:
            out = json_array();
            for (uint64_t i = 0; out && mlxn_config_element(f->config, value, i, &one); i++)
                json_array_append_new(out, config_json(f, &one));
            return out;
        case MLXN_CONFIG_OBJECT:
            out = json_object();
            for (uint64_t i = 0; out && mlxn_config_member(f->config, value, i, &name, &one); i++) {
                json_t *key = cli_json_text(name.data, name.size);
                if (key) json_object_set_new_nocheck(out, json_string_value(key), config_json(f, &one));
                json_decref(key);
            }
            return out;
    }
    return NULL;
}

static json_t *tensors_json(const folder *f) {
    json_t *out = json_array();
    mlxn_safetensors_tensor t;
    for (uint64_t i = 0; out && mlxn_safetensors_tensor_at(f->file, i, &t); i++) {
        json_t *dims = json_array();
        for (uint32_t d = 0; d < t.rank; d++) json_array_append_new(dims, json_integer((json_int_t)t.dims[d]));
        json_array_append_new(
            out, json_pack("{s:o,s:s,s:o,s:I,s:s,s:I}", "name", cli_json_text(t.name.data, t.name.size), "type",
                           mlxn_st_dtype_name(t.dtype), "dims", dims, "bytes", (json_int_t)t.bytes, "file",
                           mlxn_safetensors_shard_name(f->file, t.shard), "offset", (json_int_t)t.offset));
    }
    return out;
}

static json_t *quant_json(const folder *f, const totals *sums) {
    mlxn_quant_params params = mlxn_quant_config_defaults(f->quant);
    return json_pack("{s:s,s:i,s:i,s:I,s:I}", "mode", mlxn_quant_mode_name(params.mode), "bits", (int)params.bits,
                     "group_size", (int)params.group_size, "modules", (json_int_t)sums->modules, "overrides",
                     (json_int_t)mlxn_quant_config_override_count(f->quant));
}

static int print_json(const cli_options *options, const folder *f, const totals *sums, const char *path) {
    mlxn_config_value value;
    int64_t number;
    char tokenizer[64];
    bool chat;
    json_t *types = json_array();
    for (int i = 0; i < MLXN_ST_DTYPE_COUNT; i++) {
        if (!sums->tensors[i]) continue;
        json_array_append_new(types, json_pack("{s:s,s:I,s:I,s:I}", "type", mlxn_st_dtype_name((mlxn_st_dtype)i),
                                               "tensors", (json_int_t)sums->tensors[i], "elements",
                                               (json_int_t)sums->elements[i], "bytes", (json_int_t)sums->bytes[i]));
    }
    json_t *root = json_pack("{s:o,s:I,s:I,s:I,s:I,s:o}", "file", cli_json_text(path, strlen(path)), "bytes",
                             (json_int_t)mlxn_safetensors_file_size(f->file), "files",
                             (json_int_t)mlxn_safetensors_shard_count(f->file), "tensors_total",
                             (json_int_t)mlxn_safetensors_tensor_count(f->file), "parameters",
                             (json_int_t)sums->parameters, "types", types);
    if (find(f, "model_type", &value) && value.type == MLXN_CONFIG_STRING)
        json_object_set_new(root, "architecture", cli_json_text(value.v.s.data, value.v.s.size));
    for (int i = 0; i < N_NUMBERS; i++)
        if (find_number(f, numbers[i][0], &number)) json_object_set_new(root, numbers[i][2], json_integer(number));
    if (f->quant) json_object_set_new(root, "quantization", quant_json(f, sums));
    if (find_tokenizer(path, tokenizer, sizeof tokenizer, &chat)) {
        json_object_set_new(root, "tokenizer", json_string(tokenizer));
        json_object_set_new(root, "chat_template", json_boolean(chat));
    }
    if (options->all_keys && mlxn_config_find(f->config, "", &value)) {
        json_object_set_new(root, "keys", config_json(f, &value));
        json_object_set_new(root, "tensor_list", tensors_json(f));
    }
    return cli_print_json(root);
}

/* Members and elements on lines of their own, under the path to them. */
static void print_config(const folder *f, const mlxn_config_value *value, const char *path, int depth) {
    mlxn_config_value one;
    mlxn_string name;
    char inner[300];
    if (value->type == MLXN_CONFIG_OBJECT && depth < MAX_DEPTH) {
        for (uint64_t i = 0; mlxn_config_member(f->config, value, i, &name, &one); i++) {
            snprintf(inner, sizeof inner, "%s%s%.*s", path, *path ? "." : "", name.size < 100 ? (int)name.size : 100,
                     name.data);
            print_config(f, &one, inner, depth + 1);
        }
        return;
    }
    printf("  ");
    cli_print_text(path, strlen(path), 200);
    printf(" = ");
    json_t *json = config_json(f, value);
    char *text = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    cli_print_text(text ? text : "?", text ? strlen(text) : 1, 100);
    putchar('\n');
    free(text);
    json_decref(json);
}

static void print_everything(const folder *f) {
    mlxn_config_value whole;
    mlxn_safetensors_tensor t;
    printf("\nkeys\n");
    if (mlxn_config_find(f->config, "", &whole)) print_config(f, &whole, "", 0);
    printf("\ntensors\n");
    for (uint64_t i = 0; mlxn_safetensors_tensor_at(f->file, i, &t); i++) {
        printf("  ");
        cli_print_text(t.name.data, t.name.size, 200);
        printf(" %s [", mlxn_st_dtype_name(t.dtype));
        for (uint32_t d = 0; d < t.rank; d++) printf(d ? ", %" PRIu64 : "%" PRIu64, t.dims[d]);
        printf("] at byte %" PRIu64 " of %s\n", t.offset, mlxn_safetensors_shard_name(f->file, t.shard));
    }
}

static int print_text(const cli_options *options, const folder *f, const totals *sums, const char *path) {
    mlxn_config_value value;
    int64_t number;
    char bytes[32], tokenizer[64];
    bool chat;
    uint32_t files = mlxn_safetensors_shard_count(f->file);
    printf("%-16s %s (%" PRIu32 " safetensors file%s, %s)\n", "folder", path, files, files == 1 ? "" : "s",
           cli_bytes(mlxn_safetensors_file_size(f->file), bytes));
    if (find(f, "model_type", &value) && value.type == MLXN_CONFIG_STRING) {
        printf("%-16s ", "architecture");
        cli_print_text(value.v.s.data, value.v.s.size, 100);
        putchar('\n');
    }
    if (f->quant) {
        mlxn_quant_params params = mlxn_quant_config_defaults(f->quant);
        printf("%-16s %s, %u bits in groups of %u (%" PRIu64 " modules, %" PRIu64 " with parameters of their own)\n",
               "quantization", mlxn_quant_mode_name(params.mode), params.bits, params.group_size, sums->modules,
               mlxn_quant_config_override_count(f->quant));
    }
    printf("%-16s %.1f million\n", "parameters", (double)sums->parameters / 1e6);
    for (int i = 0; i < N_NUMBERS; i++)
        if (find_number(f, numbers[i][0], &number)) printf("%-16s %" PRId64 "\n", numbers[i][1], number);
    if (find_tokenizer(path, tokenizer, sizeof tokenizer, &chat))
        printf("%-16s %s%s\n", "tokenizer", tokenizer, chat ? ", with a chat template" : "");
    printf("%-16s %" PRIu64 " (`--all` lists them)\n", "tensors", mlxn_safetensors_tensor_count(f->file));
    for (int i = 0; i < MLXN_ST_DTYPE_COUNT; i++) {
        if (!sums->tensors[i]) continue;
        printf("  %-14s %6" PRIu64 " tensors, %s\n", mlxn_st_dtype_name((mlxn_st_dtype)i), sums->tensors[i],
               cli_bytes(sums->bytes[i], bytes));
    }
    if (options->all_keys) print_everything(f);
    return EXIT_GOOD;
}

int cli_info_folder(const cli_options *options, const char *path) {
    folder f;
    totals sums;
    mlxn_error error = {0};
    mlxn_status status = open_folder(path, &f, &error);
    if (!status) status = count(&f, &sums, &error);
    int code =
        status ? cli_fail_file(EXIT_FAILED, path, error.message, "fetch or convert the folder again if it is broken")
        : options->json ? print_json(options, &f, &sums, path)
                        : print_text(options, &f, &sums, path);
    close_folder(&f);
    return code;
}

/* ---- check ---- */

static mlxn_format plain_format(mlxn_st_dtype dtype) {
    return dtype == MLXN_ST_F16 ? MLXN_FORMAT_F16 : dtype == MLXN_ST_BF16 ? MLXN_FORMAT_BF16 : MLXN_FORMAT_F32;
}

/* Decodes in pieces. A message in `problem` at the first value that is NaN or infinite. */
static bool tensor_is_finite(const mlxn_safetensors_tensor *t, char *problem, size_t room) {
    enum { PIECE = 1024 };
    float values[PIECE];
    uint64_t size = mlxn_st_dtype_bits(t->dtype) / 8;
    if (t->dtype != MLXN_ST_F16 && t->dtype != MLXN_ST_BF16 && t->dtype != MLXN_ST_F32) return true;
    for (uint64_t at = 0; at < t->elements; at += PIECE) {
        uint64_t n = t->elements - at < PIECE ? t->elements - at : PIECE;
        if (mlxn_dequantize_row(plain_format(t->dtype), t->data + at * size, n, values, NULL)) return true;
        for (uint64_t i = 0; i < n; i++) {
            if (isfinite(values[i])) continue;
            snprintf(problem, room, "tensor \"%.*s\": element %" PRIu64 " is %s (byte %" PRIu64 ")",
                     t->name.size < 200 ? (int)t->name.size : 200, t->name.data, at + i,
                     isnan(values[i]) ? "not a number" : "infinite", t->offset + (at + i) * size);
            return false;
        }
    }
    return true;
}

/* Everything that loading looks at, on the device that keeps no weights. */
static mlxn_status load_nowhere(const char *path, mlxn_error *error) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "null"};
    mlxn_device *device = NULL;
    mlxn_model *model = NULL;
    mlxn_status status = mlxn_device_create(&desc, &device, error);
    if (!status) status = mlxn_model_load(device, path, NULL, &model, error);
    mlxn_model_release(&model);
    mlxn_device_release(&device);
    return status;
}

void cli_check_folder(const cli_options *options, const char *path, cli_folder_report *out) {
    folder f;
    totals sums;
    mlxn_error error = {0};
    mlxn_safetensors_tensor t;
    memset(out, 0, sizeof *out);
    mlxn_status status = open_folder(path, &f, &error);
    if (!status) status = count(&f, &sums, &error);
    if (!status) {
        out->tensors = mlxn_safetensors_tensor_count(f.file);
        status = load_nowhere(path, &error);
    }
    /* What this build cannot run may be right all the same. */
    char *text = status == MLXN_ERR_UNSUPPORTED && f.file ? out->note : out->problem;
    if (status) snprintf(text, sizeof out->problem, "%s", cli_without_name(path, error.message));
    for (uint64_t i = 0; options->data && !out->problem[0] && mlxn_safetensors_tensor_at(f.file, i, &t); i++)
        (void)tensor_is_finite(&t, out->problem, sizeof out->problem);
    close_folder(&f);
}
