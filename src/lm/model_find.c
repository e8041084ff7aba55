/* model_find.c: the tensors that an architecture names, in the source: found, and checked against the shape. */
#include <stdio.h>

#include "lm/load.h"

uint64_t mlxn_lm_dim_value(const mlxn_lm_shape *shape, mlxn_lm_dim dim) {
    switch (dim) {
        case MLXN_LM_NONE:
            return 0;
        case MLXN_LM_EMBD:
            return shape->n_embd;
        case MLXN_LM_FF:
            return shape->n_ff;
        case MLXN_LM_HEAD:
            return shape->head_dim;
        case MLXN_LM_Q:
            return (uint64_t)shape->n_heads * shape->head_dim;
        case MLXN_LM_KV:
            return (uint64_t)shape->n_kv_heads * shape->head_dim;
        case MLXN_LM_VOCAB:
            return shape->n_vocab;
        case MLXN_LM_ROPE_PAIRS:
            return shape->rope_dims / 2;
        case MLXN_LM_HEADS:
            return shape->n_heads;
        case MLXN_LM_EXPERTS:
            return shape->n_experts;
        case MLXN_LM_FF_EXPERT:
            return shape->n_ff_expert;
        case MLXN_LM_FF_TWICE:
            return 2 * (uint64_t)shape->n_ff;
        case MLXN_LM_FF_SHARED:
            return shape->n_ff_shared;
        case MLXN_LM_VALUES:
            return (uint64_t)shape->n_heads * shape->v_head_dim;
        case MLXN_LM_Q_RANK:
            return shape->q_rank;
        case MLXN_LM_KV_RANK:
            return shape->kv_rank;
        case MLXN_LM_KV_A:
            return (uint64_t)shape->kv_rank + shape->rope_dims;
        case MLXN_LM_KV_B:
            return (uint64_t)shape->n_heads * (shape->head_dim - shape->rope_dims + shape->v_head_dim);
        case MLXN_LM_Q_KV:
            return ((uint64_t)shape->n_heads + shape->n_kv_heads) * shape->head_dim;
        case MLXN_LM_Q_KV_KV:
            return ((uint64_t)shape->n_heads + 2 * (uint64_t)shape->n_kv_heads) * shape->head_dim;
        case MLXN_LM_ONE:
            return 1;
        case MLXN_LM_Q_TWICE:
            return 2 * (uint64_t)shape->n_heads * shape->head_dim;
        case MLXN_LM_DELTA_QKVZ:
            return 2 * ((uint64_t)shape->delta_k_heads * shape->delta_k_dim +
                        (uint64_t)shape->delta_v_heads * shape->delta_v_dim);
        case MLXN_LM_DELTA_QKV:
            return 2 * (uint64_t)shape->delta_k_heads * shape->delta_k_dim +
                   (uint64_t)shape->delta_v_heads * shape->delta_v_dim;
        case MLXN_LM_DELTA_VALUES:
            return (uint64_t)shape->delta_v_heads * shape->delta_v_dim;
        case MLXN_LM_DELTA_HEADS_TWICE:
            return 2 * (uint64_t)shape->delta_v_heads;
        case MLXN_LM_DELTA_HEADS:
            return shape->delta_v_heads;
        case MLXN_LM_DELTA_VALUE:
            return shape->delta_v_dim;
        case MLXN_LM_DELTA_TAPS:
            return shape->delta_taps;
        case MLXN_LM_EMBD_LAYER:
            return shape->n_embd_layer;
        case MLXN_LM_EMBD_LAYERS:
            return (uint64_t)shape->n_layers * shape->n_embd_layer;
        case MLXN_LM_VOCAB_LAYER:
            return shape->n_vocab_layer;
        case MLXN_LM_KV_VALUES:
            return (uint64_t)shape->n_kv_heads * shape->v_head_dim;
    }
    return 0;
}

uint64_t mlxn_lm_layer_dim(const mlxn_model *model, uint32_t layer, mlxn_lm_dim dim) {
    const mlxn_lm_layer *l = &model->layers[layer];
    mlxn_lm_shape shape = model->shape;
    shape.n_kv_heads = l->n_kv_heads;
    shape.head_dim = l->head_dim;
    shape.v_head_dim = l->v_head_dim;
    shape.n_ff = l->n_ff;
    return mlxn_lm_dim_value(&shape, dim);
}

uint64_t mlxn_lm_widest(const mlxn_model *model, mlxn_lm_dim dim) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < model->shape.n_layers; i++) most = mlxn_max_u64(most, mlxn_lm_layer_dim(model, i, dim));
    return most;
}

static const char *dim_text(const mlxn_model *model, mlxn_lm_dim dim) {
    bool folder = mlxn_lm_source_is_folder(model->source);
    switch (dim) {
        case MLXN_LM_NONE:
            return "";
        case MLXN_LM_EMBD:
            return folder ? "hidden_size" : "embedding_length";
        case MLXN_LM_FF:
            return folder ? "intermediate_size" : "feed_forward_length";
        case MLXN_LM_HEAD:
            return "length of a head";
        case MLXN_LM_Q:
            return "heads x their length";
        case MLXN_LM_KV:
            return "KV heads x their length";
        case MLXN_LM_VOCAB:
            return folder ? "vocab_size" : "tokens of the tokenizer";
        case MLXN_LM_ROPE_PAIRS:
            return "half of rope.dimension_count";
        case MLXN_LM_HEADS:
            return folder ? "num_attention_heads" : "attention.head_count";
        case MLXN_LM_EXPERTS:
            return folder ? "num_experts" : "expert_count";
        case MLXN_LM_FF_EXPERT:
            return folder ? "moe_intermediate_size" : "expert_feed_forward_length";
        case MLXN_LM_FF_TWICE:
            return folder ? "2 x intermediate_size" : "2 x feed_forward_length";
        case MLXN_LM_FF_SHARED:
            return "shared experts x their width";
        case MLXN_LM_VALUES:
            return "heads x the length of values";
        case MLXN_LM_Q_RANK:
            return folder ? "q_lora_rank" : "attention.q_lora_rank";
        case MLXN_LM_KV_RANK:
            return folder ? "kv_lora_rank" : "attention.kv_lora_rank";
        case MLXN_LM_KV_A:
            return "kv_lora_rank + rotary dims";
        case MLXN_LM_KV_B:
            return "heads x (dims of keys that do not turn + length of values)";
        case MLXN_LM_Q_KV:
        case MLXN_LM_Q_KV_KV:
            return "(heads + 2 x KV heads) x their length";
        case MLXN_LM_ONE:
            return "one number";
        case MLXN_LM_Q_TWICE:
            return "2 x heads x their length";
        case MLXN_LM_DELTA_QKVZ:
            return "queries, keys, values and gates of linear attention";
        case MLXN_LM_DELTA_QKV:
            return "queries, keys and values of linear attention";
        case MLXN_LM_DELTA_VALUES:
            return "linear_num_value_heads x linear_value_head_dim";
        case MLXN_LM_DELTA_HEADS_TWICE:
            return "2 x linear_num_value_heads";
        case MLXN_LM_DELTA_HEADS:
            return "linear_num_value_heads";
        case MLXN_LM_DELTA_VALUE:
            return "linear_value_head_dim";
        case MLXN_LM_DELTA_TAPS:
            return "linear_conv_kernel_dim";
        case MLXN_LM_EMBD_LAYER:
            return "hidden_size_per_layer_input";
        case MLXN_LM_EMBD_LAYERS:
            return "layers x hidden_size_per_layer_input";
        case MLXN_LM_VOCAB_LAYER:
            return "vocab_size_per_layer_input";
        case MLXN_LM_KV_VALUES:
            return "KV heads x the length of values";
    }
    return "";
}

/* Tensors of no layer. */
#define GLOBAL(gguf, folder, at, rows_, cols_, may_lack)                                           \
    {                                                                                              \
        .names = {gguf, folder}, .member = offsetof(mlxn_model, at), .rows = rows_, .cols = cols_, \
        .optional = may_lack                                                                       \
    }
static const mlxn_lm_tensor_spec globals[] = {
    GLOBAL("token_embd.weight", "model.embed_tokens.weight", token_embd, MLXN_LM_VOCAB, MLXN_LM_EMBD, false),
    GLOBAL("output.weight", "lm_head.weight", head, MLXN_LM_VOCAB, MLXN_LM_EMBD, true),
    GLOBAL("output_norm.weight", "model.norm.weight", output_norm, MLXN_LM_EMBD, MLXN_LM_NONE, false),
    GLOBAL("rope_freqs.weight", NULL, rope_factors[0], MLXN_LM_ROPE_PAIRS, MLXN_LM_NONE, true),
    GLOBAL("rope_factors_short.weight", NULL, rope_factors[0], MLXN_LM_ROPE_PAIRS, MLXN_LM_NONE, true),
    GLOBAL("rope_factors_long.weight", NULL, rope_factors[1], MLXN_LM_ROPE_PAIRS, MLXN_LM_NONE, true),
    MLXN_LM_END,
};

/* Is `name` the pattern, in which %u stands for any number? */
static bool matches(const char *pattern, const char *name) {
    const char *number = pattern ? strstr(pattern, "%u") : NULL;
    if (!number) return pattern && strcmp(pattern, name) == 0;
    size_t front = (size_t)(number - pattern);
    if (strncmp(pattern, name, front) != 0) return false;
    size_t digits = strspn(name + front, "0123456789");
    return digits > 0 && strcmp(number + 2, name + front + digits) == 0;
}

/* Is the tensor of a folder's layer the spec's, or one of the parts of the spec's quantized matrix? */
static bool covers(const mlxn_lm_tensor_spec *spec, const char *name) {
    static const char *const suffixes[] = {".scales", ".biases"};
    char weight[160];
    if (matches(spec->names.folder, name) || matches(spec->each, name) || matches(spec->joined, name)) return true;
    size_t length = strlen(name), end = strlen(suffixes[0]);
    for (int i = 0; i < 2; i++) {
        if (length <= end || length >= sizeof weight || strcmp(name + length - end, suffixes[i]) != 0) continue;
        snprintf(weight, sizeof weight, "%.*s.weight", (int)(length - end), name);
        return matches(spec->names.folder, weight);
    }
    return false;
}

mlxn_status mlxn_lm_walk(mlxn_lm_loader *ld, mlxn_lm_spec_fn each) {
    mlxn_status status = MLXN_OK;
    for (const mlxn_lm_tensor_spec *s = globals; status == MLXN_OK && !mlxn_lm_spec_ends(s); s++)
        status = each(ld, s, -1);
    const mlxn_lm_arch *arch = ld->model->arch;
    for (const mlxn_lm_tensor_spec *s = arch->model_tensors; s && status == MLXN_OK && !mlxn_lm_spec_ends(s); s++)
        if (!arch->has || arch->has(ld->model, s, MLXN_LM_NO_LAYER)) status = each(ld, s, -1);
    for (int64_t i = 0; status == MLXN_OK && i < ld->model->shape.n_layers; i++) {
        for (const mlxn_lm_tensor_spec *s = ld->model->arch->layer_tensors;
             status == MLXN_OK && !mlxn_lm_spec_ends(s); s++) {
            if (ld->model->arch->has && !ld->model->arch->has(ld->model, s, (uint32_t)i)) continue;
            status = each(ld, s, i);
        }
    }
    return status;
}

mlxn_status mlxn_lm_tensor_fail(mlxn_lm_loader *ld, mlxn_status status, const mlxn_lm_tensor *t, const char *format,
                                ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    return mlxn_fail(ld->error, status, "%s%s%s: tensor \"%.*s\": %s", ld->model->path_name, t->file ? ": " : "",
                     t->file ? t->file : "", (int)mlxn_min_u64(t->name.size, 128), t->name.data, text);
}

void mlxn_lm_tensor_prefix(mlxn_lm_loader *ld, const mlxn_lm_tensor *t) {
    mlxn_error_prefix(ld->error, "%s%s%s: tensor \"%.*s\"", ld->model->path_name, t->file ? ": " : "",
                      t->file ? t->file : "", (int)mlxn_min_u64(t->name.size, 128), t->name.data);
}

/* The tensor of a spec by one of its names, whatever its dims. */
static mlxn_status look_up(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, mlxn_lm_names names, int64_t layer,
                           bool optional, mlxn_lm_tensor *out, bool *found) {
    const mlxn_model *m = ld->model;
    char name[160];
    *found = false;
    if ((m->tied || m->headless) && layer < 0 && spec->member == offsetof(mlxn_model, head)) return MLXN_OK;
    if (!m->source->c->tensor_name(m->source, names, layer, name, sizeof name)) return MLXN_OK;
    mlxn_status status = m->source->c->tensor(m->source, name, out, found, ld->error);
    if (status != MLXN_OK) mlxn_error_prefix(ld->error, "%s", m->path_name);
    if (status != MLXN_OK || *found || optional) return status;
    return mlxn_fail(ld->error, MLXN_ERR_NOT_FOUND, "%s: tensor \"%s\" is missing", m->path_name, name);
}

static uint64_t dim(const mlxn_lm_loader *ld, int64_t layer, mlxn_lm_dim which) {
    if (layer >= 0) return mlxn_lm_layer_dim(ld->model, (uint32_t)layer, which);
    return mlxn_lm_dim_value(&ld->model->shape, which);
}

/* The rows of a spec's slice alone. All parts of a tensor have as many rows. */
static void take_rows(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, mlxn_lm_tensor *t) {
    mlxn_lm_range *ranges[] = {&t->data, &t->scales, &t->biases};
    uint64_t begin = dim(ld, layer, spec->begin), rows = dim(ld, layer, spec->rows), whole = t->dims[0];
    for (int i = 0; i < 3; i++) {
        if (!ranges[i]->bytes) continue;
        uint64_t row = ranges[i]->bytes / whole; /* whole rows: the readers have checked it */
        ranges[i]->offset += begin * row;
        ranges[i]->data += begin * row;
        ranges[i]->bytes = rows * row;
    }
    t->elements = t->elements / whole * rows;
    t->dims[0] = rows;
}

/* `stacked`: with the dim of experts before the others, where the spec has one. */
static mlxn_status check(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, bool stacked,
                         const mlxn_lm_tensor *t) {
    mlxn_lm_dim want[3];
    uint32_t rank = 0;
    if (spec->experts && stacked) want[rank++] = spec->experts;
    want[rank++] = spec->whole ? spec->whole : spec->rows;
    if (spec->cols || spec->taps) want[rank++] = spec->cols ? spec->cols : spec->taps;
    if (t->rank != rank) return mlxn_lm_tensor_fail(ld, MLXN_ERR_FORMAT, t, "rank is %u, want %u", t->rank, rank);
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t n = dim(ld, layer, want[i]);
        if (t->dims[i] == n) continue;
        return mlxn_lm_tensor_fail(ld, MLXN_ERR_FORMAT, t, "dim[%u] is %llu, want %llu (%s)", i,
                                   (unsigned long long)t->dims[i], (unsigned long long)n,
                                   dim_text(ld->model, want[i]));
    }
    if (t->known) return MLXN_OK;
    if (t->file)
        return mlxn_lm_tensor_fail(ld, MLXN_ERR_UNSUPPORTED, t, "dtype is %s, want F32, F16 or BF16", t->type_name);
    return mlxn_lm_tensor_fail(ld, MLXN_ERR_UNSUPPORTED, t, "type %u (%s) cannot be decoded", (unsigned)t->format,
                               t->type_name);
}

/* Folders keep the taps of a convolution as [channels, 1, taps] or, of MLX, [channels, taps, 1]: the same bytes. */
static void squeeze(mlxn_lm_tensor *t) {
    if (t->rank != 3) return;
    uint32_t one = t->dims[1] == 1 ? 1 : 2;
    if (t->dims[one] != 1) return;
    t->dims[1] = t->dims[3 - one];
    t->rank = 2;
}

/* A matrix of one expert, of a stack of matrices in which several lie one behind the other. *found is false if there
 * is no such stack. */
static mlxn_status find_joined(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, uint64_t expert,
                               mlxn_lm_tensor *t, bool *found) {
    *found = false;
    if (!spec->joined) return MLXN_OK;
    mlxn_status status = look_up(ld, spec, MLXN_LM_KEY(NULL, spec->joined), layer, true, t, found);
    if (status != MLXN_OK || !*found) return status;
    uint64_t experts = dim(ld, layer, spec->experts), rows = dim(ld, layer, spec->rows),
             cols = dim(ld, layer, spec->cols);
    if (t->rank != 3 || t->dims[0] != experts || t->dims[1] != rows * spec->joined_parts || t->dims[2] != cols)
        return mlxn_lm_tensor_fail(ld, MLXN_ERR_FORMAT, t,
                                   "is of rank %u [%llu, %llu, %llu], want [%llu, %llu, %llu]", t->rank,
                                   (unsigned long long)t->dims[0], (unsigned long long)(t->rank > 1 ? t->dims[1] : 0),
                                   (unsigned long long)(t->rank > 2 ? t->dims[2] : 0), (unsigned long long)experts,
                                   (unsigned long long)(rows * spec->joined_parts), (unsigned long long)cols);
    if (t->scales.bytes)
        return mlxn_lm_tensor_fail(ld, MLXN_ERR_UNSUPPORTED, t, "is quantized, want F32, F16 or BF16");
    uint64_t part = t->data.bytes / experts / spec->joined_parts,
             at = expert * spec->joined_parts + spec->joined_part;
    t->data.offset += at * part;
    t->data.data += at * part;
    t->data.bytes = part;
    t->elements = rows * cols;
    t->rank = 2;
    t->dims[0] = rows;
    t->dims[1] = cols;
    return MLXN_OK;
}

mlxn_status mlxn_lm_find_expert(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, uint64_t expert,
                                const mlxn_lm_tensor *first, mlxn_lm_tensor *out) {
    char name[128];
    bool found;
    const char *number = strstr(spec->each, "%u");
    snprintf(name, sizeof name, "%.*s%llu%s", (int)(number - spec->each), spec->each, (unsigned long long)expert,
             number + 2);
    mlxn_status status = find_joined(ld, spec, layer, expert, out, &found);
    if (status == MLXN_OK && !found) status = look_up(ld, spec, MLXN_LM_KEY(NULL, name), layer, false, out, &found);
    if (status == MLXN_OK) status = check(ld, spec, layer, false, out);
    if (status != MLXN_OK || !first) return status;
    if (out->scales.bytes || out->format != first->format) {
        return mlxn_lm_tensor_fail(ld, MLXN_ERR_UNSUPPORTED, out,
                                   "is %s, want %s as in the first expert, not quantized", out->type_name,
                                   first->type_name);
    }
    return MLXN_OK;
}

mlxn_status mlxn_lm_find_tensor(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer,
                                mlxn_lm_tensor *out, bool *found) {
    bool apart = spec->each && mlxn_lm_source_is_folder(ld->model->source);
    mlxn_status status = look_up(ld, spec, spec->names, layer, spec->optional || apart, out, found);
    if (status != MLXN_OK) return status;
    if (*found) {
        if (spec->taps) squeeze(out);
        status = check(ld, spec, layer, true, out);
        if (status == MLXN_OK && spec->whole) take_rows(ld, spec, layer, out);
        return status;
    }
    if (!apart) return MLXN_OK;
    status = mlxn_lm_find_expert(ld, spec, layer, 0, NULL, out);
    if (status != MLXN_OK) return status;
    uint64_t experts = dim(ld, layer, spec->experts);
    out->apart = *found = true;
    out->rank = 3;
    out->dims[2] = out->dims[1];
    out->dims[1] = out->dims[0];
    out->dims[0] = experts;
    if (mlxn_mul_u64(out->elements, experts, &out->elements)) return MLXN_OK;
    return mlxn_lm_tensor_fail(ld, MLXN_ERR_FORMAT, out, "%llu experts do not fit 64 bits",
                               (unsigned long long)experts);
}

/* Is `name` what one of the specs names? Old folders also keep frequencies, which follow from the config. */
static bool is_used(const mlxn_lm_tensor_spec *specs, const char *name) {
    static const char frequencies[] = "rotary_emb.inv_freq";
    size_t length = strlen(name), end = sizeof frequencies - 1;
    if (length >= end && strcmp(name + length - end, frequencies) == 0) return true;
    while (specs && !mlxn_lm_spec_ends(specs) && !covers(specs, name)) specs++;
    return specs && !mlxn_lm_spec_ends(specs);
}

mlxn_status mlxn_lm_refuse_unused(mlxn_lm_loader *ld) {
    const mlxn_model *m = ld->model;
    mlxn_lm_folder_name name;
    for (uint64_t i = 0; mlxn_lm_source_is_folder(m->source) && i < m->source->tensor_count; i++) {
        if (!mlxn_lm_folder_tensor_name(m->source, i, &name)) continue;
        if (name.layer >= (int64_t)m->shape.n_layers) {
            return mlxn_fail(ld->error, MLXN_ERR_FORMAT,
                             "%s: tensor \"%.128s\" is of layer %lld, but num_hidden_layers is %u", m->path_name,
                             name.text, (long long)name.layer, m->shape.n_layers);
        }
        if (is_used(name.layer < 0 ? globals : m->arch->layer_tensors, name.text)) continue;
        if (name.layer < 0 && is_used(m->arch->model_tensors, name.text)) continue;
        char where[32] = "";
        if (name.layer >= 0) snprintf(where, sizeof where, " of layer %lld", (long long)name.layer);
        return mlxn_fail(ld->error, MLXN_ERR_UNSUPPORTED, "%s: tensor \"%.128s\"%s is none that architecture %s has",
                         m->path_name, name.text, where, m->arch->name);
    }
    return MLXN_OK;
}
