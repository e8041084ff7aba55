/* source_folder.c: a folder of config.json and safetensors as a source of a model.
 *
 * Hyper-parameters are looked up in "text_config" first, which configs of models of text and images have. Quantized
 * modules are three tensors, weight, scales and biases, and come out as one tensor in a format of MLX. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/base.h"
#include "lm/blocks.h"
#include "lm/source.h"

typedef struct folder_source {
    mlxn_lm_source base;
    mlxn_safetensors *file;
    mlxn_config *config;
    mlxn_quant_config *quant; /* NULL: nothing is quantized */
    bool blocks;              /* experts are kept as blocks of mxfp4, gates and ups in turns: see blocks.h */
    const char *body, *head;  /* what stands for "model." and before "lm_head." */
} folder_source;

static void close_source(mlxn_lm_source *source) {
    folder_source *f = (folder_source *)source;
    mlxn_safetensors_close(f->file);
    mlxn_config_destroy(f->config);
    mlxn_quant_config_destroy(f->quant);
    mlxn_free(f);
}

static mlxn_lm_value convert(const mlxn_config_value *from) {
    mlxn_lm_value out = {.type = MLXN_LM_OTHER, .list = {.node = from->node}};
    switch (from->type) {
        case MLXN_CONFIG_NULL:
            out.type = MLXN_LM_NULL;
            break;
        case MLXN_CONFIG_BOOL:
            out.type = MLXN_LM_BOOL;
            out.v.i = from->v.b;
            break;
        case MLXN_CONFIG_INTEGER:
            out.type = MLXN_LM_INTEGER;
            out.v.i = from->v.i;
            break;
        case MLXN_CONFIG_REAL:
            out.type = MLXN_LM_REAL;
            out.v.f = from->v.f;
            break;
        case MLXN_CONFIG_STRING:
            out.type = MLXN_LM_STRING;
            out.v.s = from->v.s;
            break;
        case MLXN_CONFIG_ARRAY:
            out.type = MLXN_LM_LIST;
            out.v.count = from->v.count;
            break;
        default:
            break;
    }
    return out;
}

static bool find_value(const mlxn_config *config, const char *name, mlxn_config_value *out) {
    static const char prefix[] = "text_config.";
    char inner[256];
    int n = snprintf(inner, sizeof inner, "%s%s", prefix, name);
    return (n > 0 && (size_t)n < sizeof inner && mlxn_config_find(config, inner, out)) ||
           mlxn_config_find(config, name, out);
}

static bool value(const mlxn_lm_source *source, const char *name, mlxn_lm_value *out) {
    mlxn_config_value found;
    if (!find_value(((const folder_source *)source)->config, name, &found)) return false;
    *out = convert(&found);
    return true;
}

static bool element(const mlxn_lm_source *source, const mlxn_lm_value *list, uint64_t i, mlxn_lm_value *out) {
    const mlxn_config_value array = {
        .type = MLXN_CONFIG_ARRAY, .node = list->list.node, .v = {.count = list->v.count}};
    mlxn_config_value found;
    if (list->type != MLXN_LM_LIST ||
        !mlxn_config_element(((const folder_source *)source)->config, &array, i, &found))
        return false;
    *out = convert(&found);
    return true;
}

static bool tensor_name(const mlxn_lm_source *source, mlxn_lm_names names, int64_t layer, char *out, size_t size) {
    static const char body[] = "model.";
    const folder_source *f = (const folder_source *)source;
    const char *name = names.folder;
    if (!name) return false;
    int n;
    if (layer >= 0)
        n = snprintf(out, size, "%slayers.%lld.%s", f->body, (long long)layer, name);
    else if (strncmp(name, body, sizeof body - 1) == 0)
        n = snprintf(out, size, "%s%s", f->body, name + sizeof body - 1);
    else
        n = snprintf(out, size, "%s%s", f->head, name);
    return n > 0 && (size_t)n < size;
}

static mlxn_lm_range range_of(const mlxn_safetensors_tensor *t) {
    return (mlxn_lm_range){t->shard, t->offset, t->bytes, t->data};
}

static void set_plain(mlxn_lm_tensor *out, const mlxn_safetensors_tensor *t) {
    static const struct {
        mlxn_st_dtype dtype;
        mlxn_format format;
    } plain[] = {{MLXN_ST_F32, MLXN_FORMAT_F32}, {MLXN_ST_F16, MLXN_FORMAT_F16}, {MLXN_ST_BF16, MLXN_FORMAT_BF16}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (plain[i].dtype != t->dtype) continue;
        out->known = true;
        out->format = plain[i].format;
    }
    out->rank = t->rank;
    for (uint32_t i = 0; i < t->rank && i < 4; i++) out->dims[i] = t->dims[i];
    out->elements = t->elements;
    out->data = range_of(t);
}

/* "<file>: tensor "<name>": <text>" */
static mlxn_status fail(const folder_source *f, mlxn_status status, const mlxn_safetensors_tensor *t,
                        mlxn_error *error, const char *text) {
    return mlxn_fail(error, status, "%s: tensor \"%.*s\": %s", mlxn_safetensors_shard_name(f->file, t->shard),
                     (int)mlxn_min_u64(t->name.size, 128), t->name.data, text);
}

static mlxn_status set_quantized(const folder_source *f, mlxn_lm_tensor *out, const mlxn_quant_tensors *q,
                                 mlxn_error *error) {
    out->known = true;
    out->rank = q->rank;
    for (uint32_t i = 0; i < q->rank && i < 4; i++) out->dims[i] = q->dims[i];
    out->elements = q->elements;
    out->data = range_of(&q->weight);
    out->scales = range_of(&q->scales);
    out->scale_dtype = q->scales_dtype;
    mlxn_status status =
        mlxn_format_of_groups(q->params.mode, q->params.bits, q->params.group_size, &out->format, error);
    if (status != MLXN_OK) {
        mlxn_error_prefix(error, "%s: tensor \"%.*s\"", out->file, (int)mlxn_min_u64(out->name.size, 128),
                          out->name.data);
        return status;
    }
    if (q->biases.data)
        out->biases = range_of(&q->biases);
    else if (q->params.mode == MLXN_QUANT_AFFINE)
        return fail(f, MLXN_ERR_FORMAT, &q->weight, error, "mode affine, but there are no biases");
    return MLXN_OK;
}

/* The tensor of a module "<base>.weight"; others are never quantized. */
static mlxn_status find_quantized(const folder_source *f, const char *name, mlxn_quant_tensors *out, bool *found,
                                  mlxn_error *error) {
    static const char suffix[] = ".weight";
    char base[256];
    size_t length = strlen(name);
    *found = false;
    if (length < sizeof suffix || length >= sizeof base || strcmp(name + length - sizeof suffix + 1, suffix) != 0)
        return MLXN_OK;
    snprintf(base, sizeof base, "%.*s", (int)(length - sizeof suffix + 1), name);
    if (f->quant) return mlxn_quant_tensors_find(f->file, f->quant, base, out, found, error);
    mlxn_safetensors_tensor scales;
    snprintf(base + strlen(base), sizeof base - strlen(base), ".scales");
    if (!mlxn_safetensors_find_tensor(f->file, base, &scales)) return MLXN_OK;
    return fail(f, MLXN_ERR_FORMAT, &scales, error, "there are scales, but config.json has no \"quantization\"");
}

const mlxn_lm_block_part mlxn_lm_block_parts[MLXN_LM_BLOCK_PARTS] = {
    {"gate_proj.weight", "gate_up_proj", 0, 2, true},   {"up_proj.weight", "gate_up_proj", 1, 2, true},
    {"down_proj.weight", "down_proj", 0, 1, true},      {"gate_proj.bias", "gate_up_proj_bias", 0, 2, false},
    {"up_proj.bias", "gate_up_proj_bias", 1, 2, false}, {"down_proj.bias", "down_proj_bias", 0, 1, false},
};
static const char experts_prefix[] = MLXN_LM_BLOCKS_PREFIX;

bool mlxn_lm_config_has_blocks(const mlxn_config *config) {
    mlxn_config_value method;
    return mlxn_config_find(config, "quantization_config.quant_method", &method) &&
           method.type == MLXN_CONFIG_STRING && strcmp(method.v.s.data, "mxfp4") == 0;
}

/* Every step-th row from `first` on; `rows` are those of the whole. */
static void take_every(mlxn_lm_range *range, uint64_t rows, const mlxn_lm_block_part *part) {
    uint64_t row = range->bytes / rows;
    range->offset += part->first * row;
    range->data += part->first * row;
    range->bytes = rows / part->step * row;
}

static mlxn_status set_blocks(const folder_source *f, const mlxn_lm_block_part *part, const char *stored,
                              const mlxn_safetensors_tensor *t, mlxn_lm_tensor *out, mlxn_error *error) {
    char name[256];
    mlxn_safetensors_tensor scales;
    snprintf(name, sizeof name, "%s_scales", stored);
    if (!mlxn_safetensors_find_tensor(f->file, name, &scales))
        return fail(f, MLXN_ERR_FORMAT, t, error, "there are no scales for it");
    bool fits = t->dtype == MLXN_ST_U8 && scales.dtype == MLXN_ST_U8 && t->rank == 4 && scales.rank == 3 &&
                t->dims[3] == 16 && t->elements > 0 && t->dims[1] % part->step == 0;
    for (uint32_t i = 0; fits && i < 3; i++) fits = t->dims[i] == scales.dims[i];
    if (!fits)
        return fail(f, MLXN_ERR_FORMAT, t, error,
                    "want U8 [experts, rows, groups, 16], and scales of U8 [experts, rows, groups]");
    out->known = true;
    out->format = MLXN_FORMAT_MLX_MXFP4;
    out->rank = 3;
    out->dims[0] = t->dims[0];
    out->dims[1] = t->dims[1] / part->step;
    out->dims[2] = t->dims[2] * 32; /* at most 2 values in a byte that is there */
    out->elements = 2 * t->elements / part->step;
    out->data = range_of(t);
    out->scales = range_of(&scales);
    out->scale_dtype = MLXN_U8;
    take_every(&out->data, t->dims[0] * t->dims[1], part);
    take_every(&out->scales, t->dims[0] * t->dims[1], part);
    out->row_step = part->step > 1 ? part->step : 0;
    return MLXN_OK;
}

/* A tensor of an expert that is kept so. *found is false if `name` is none. */
static mlxn_status find_blocks(const folder_source *f, const char *name, mlxn_lm_tensor *out, bool *found,
                               mlxn_error *error) {
    char stored[220], full[256];
    const char *at = strstr(name, experts_prefix);
    mlxn_safetensors_tensor t;
    *found = false;
    for (size_t i = 0; at && i < MLXN_LM_BLOCK_PARTS; i++) {
        const mlxn_lm_block_part *part = &mlxn_lm_block_parts[i];
        if (strcmp(at + sizeof experts_prefix - 1, part->name) != 0) continue;
        int front = (int)(at - name + (int)sizeof experts_prefix - 1);
        snprintf(stored, sizeof stored, "%.*s%s", front, name, part->stored);
        snprintf(full, sizeof full, "%s%s", stored, part->matrix ? "_blocks" : "");
        *found = mlxn_safetensors_find_tensor(f->file, full, &t);
        if (!*found) return MLXN_OK;
        *out = (mlxn_lm_tensor){
            .name = t.name, .file = mlxn_safetensors_shard_name(f->file, t.shard), .type_name = t.dtype_name};
        if (part->matrix) return set_blocks(f, part, stored, &t, out, error);
        set_plain(out, &t);
        if (t.rank != 2 || t.elements == 0 || t.dims[1] % part->step != 0)
            return fail(f, MLXN_ERR_FORMAT, &t, error, "want biases [experts, rows]");
        out->dims[1] /= part->step;
        out->elements /= part->step;
        take_every(&out->data, t.elements, part);
        out->row_step = part->step > 1 ? part->step : 0;
        return MLXN_OK;
    }
    return MLXN_OK;
}

static mlxn_status tensor(const mlxn_lm_source *source, const char *name, mlxn_lm_tensor *out, bool *found,
                          mlxn_error *error) {
    const folder_source *f = (const folder_source *)source;
    mlxn_safetensors_tensor t;
    mlxn_quant_tensors q;
    bool quantized = false;
    *found = mlxn_safetensors_find_tensor(f->file, name, &t);
    if (!*found) return f->blocks ? find_blocks(f, name, out, found, error) : MLXN_OK;
    *out = (mlxn_lm_tensor){
        .name = t.name, .file = mlxn_safetensors_shard_name(f->file, t.shard), .type_name = t.dtype_name};
    mlxn_status status = find_quantized(f, name, &q, &quantized, error);
    if (status != MLXN_OK) return status;
    if (quantized) return set_quantized(f, out, &q, error);
    set_plain(out, &t);
    return MLXN_OK;
}

static mlxn_status wrap(mlxn_lm_source *source, uint32_t part, mlxn_device *device, mlxn_buffer **out,
                        mlxn_error *error) {
    return mlxn_safetensors_wrap(((folder_source *)source)->file, part, device, out, error);
}

static void release_pages(mlxn_lm_source *source, const mlxn_lm_range *range) {
    const mlxn_safetensors_tensor slice = {.shard = range->part, .offset = range->offset, .bytes = range->bytes};
    mlxn_safetensors_release_pages(((folder_source *)source)->file, &slice);
}

static const mlxn_lm_source_class class = {close_source, value, element, tensor_name, tensor, wrap, release_pages};

/* Experts in blocks, which are used under other names. */
static bool is_block(const folder_source *f, const char *name) {
    if (!f->blocks || strncmp(name, experts_prefix, sizeof experts_prefix - 1) != 0) return false;
    const char *stored = name + sizeof experts_prefix - 1;
    for (size_t k = 0; k < MLXN_LM_BLOCK_PARTS; k++) {
        const char *end = stored + strlen(mlxn_lm_block_parts[k].stored);
        if (strncmp(stored, mlxn_lm_block_parts[k].stored, (size_t)(end - stored)) == 0 &&
            (mlxn_lm_block_parts[k].matrix ? strcmp(end, "_blocks") == 0 || strcmp(end, "_scales") == 0 : !*end))
            return true;
    }
    return false;
}

bool mlxn_lm_folder_tensor_name(const mlxn_lm_source *source, uint64_t i, mlxn_lm_folder_name *out) {
    static const char layers[] = "layers.", head[] = "lm_head.";
    const folder_source *f = (const folder_source *)source;
    const char *name = mlxn_safetensors_name(f->file, i).data; /* a zero follows it */
    size_t body = strlen(f->body), before_head = strlen(f->head);
    *out = (mlxn_lm_folder_name){.layer = -1};
    if (strncmp(name, f->head, before_head) == 0 && strncmp(name + before_head, head, sizeof head - 1) == 0) {
        snprintf(out->text, sizeof out->text, "%s", name + before_head);
        return true;
    }
    if (strncmp(name, f->body, body) != 0) return false;
    name += body;
    size_t digits =
        strncmp(name, layers, sizeof layers - 1) == 0 ? strspn(name + sizeof layers - 1, "0123456789") : 0;
    if (digits > 0 && digits < 10 && name[sizeof layers - 1 + digits] == '.') {
        name += sizeof layers - 1;
        out->layer = (int64_t)strtoull(name, NULL, 10);
        name += digits + 1;
        snprintf(out->text, sizeof out->text, "%s", name);
        return !is_block(f, name);
    }
    snprintf(out->text, sizeof out->text, "model.%s", name);
    return body > 0; /* without a prefix, anything may lie beside the text model */
}

/* Models of text alone, and the text part of models of text and images as two generations of files name it. */
static void find_prefixes(folder_source *f) {
    static const char *const prefixes[][2] = {
        {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {"", ""}};
    char name[96];
    mlxn_safetensors_tensor t;
    f->body = prefixes[0][0];
    f->head = prefixes[0][1];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i][0]);
        if (!mlxn_safetensors_find_tensor(f->file, name, &t)) continue;
        f->body = prefixes[i][0];
        f->head = prefixes[i][1];
        return;
    }
}

static mlxn_status open_files(folder_source *f, const char *path, mlxn_error *error) {
    size_t length = strlen(path) + sizeof "/config.json";
    char *name = mlxn_alloc(length);
    if (!name) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", path);
    snprintf(name, length, "%s/config.json", path);
    mlxn_status status = mlxn_config_open(name, &f->config, error);
    mlxn_free(name);
    if (status == MLXN_OK) status = mlxn_safetensors_open(path, &f->file, error);
    if (status != MLXN_OK) return status;
    f->blocks = mlxn_lm_config_has_blocks(f->config);
    if (f->blocks) return MLXN_OK; /* everything but the blocks is plain */
    mlxn_error none;
    status = mlxn_quant_config_from_folder(path, &f->quant, &none);
    if (status == MLXN_OK || status == MLXN_ERR_NOT_FOUND) return MLXN_OK;
    return mlxn_fail_code(error, status, none.driver_code, "%s", none.message);
}

mlxn_status mlxn_lm_source_open_folder(const char *path, mlxn_lm_source **out, mlxn_error *error) {
    *out = NULL;
    folder_source *f = mlxn_alloc(sizeof *f);
    if (!f) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", path);
    f->base = (mlxn_lm_source){.c = &class, .values_file = "config.json"};
    mlxn_status status = open_files(f, path, error);
    if (status != MLXN_OK) {
        close_source(&f->base);
        return status;
    }
    find_prefixes(f);
    f->base.tensor_count = mlxn_safetensors_tensor_count(f->file);
    f->base.file_bytes = mlxn_safetensors_file_size(f->file);
    f->base.part_count = mlxn_safetensors_shard_count(f->file);
    *out = &f->base;
    return MLXN_OK;
}
