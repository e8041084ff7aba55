/* convert_gguf.c: a model folder as a GGUF file: names, row order and norms as the tables of the architectures
 * (lm/arch) have them, keys from what the model layer reads of config.json, the tokenizer from tokenizer.json
 * (hf_tokenizer.c). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "convert/encode_rows.h"
#include "convert/hf_tokenizer.h"
#include "convert/quantize_types.h"
#include "convert/slab.h"
#include "convert/stacks.h"
#include "lm/lm_internal.h"

typedef struct job {
    const mlxn_convert_options *options;
    const char *path;               /* of the source */
    const mlxn_quantize_type *type; /* NULL: as they are */
    const mlxn_lm_arch *arch;
    mlxn_model *model;
    mlxn_cv_source source;
    mlxn_gguf_writer *writer;
    mlxn_cv_slab slab;
    bool tied;
    mlxn_quantize_result result;
} job;

/* ---- names ---- */

static bool is(const char *name, size_t n, const char *text) { return strlen(text) == n && !memcmp(name, text, n); }

static bool find_common(const char *name, char out[200], bool *vector) {
    static const struct {
        const char *gguf, *folder;
    } common[] = {{"token_embd.weight", "embed_tokens.weight"}, {"output_norm.weight", "norm.weight"}};
    *vector = false;
    if (!strcmp(name, "lm_head.weight")) return snprintf(out, 200, "output.weight") > 0;
    if (strncmp(name, "model.", 6) != 0) return false;
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(name + 6, common[i].folder) != 0) continue;
        *vector = i == 1;
        return snprintf(out, 200, "%s", common[i].gguf) > 0;
    }
    return false;
}

/* *expert is the number of one that has a tensor of its own, else -1. */
static const mlxn_lm_tensor_spec *find_layer(const mlxn_lm_arch *arch, const char *name, char out[200],
                                             int64_t *expert) {
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return NULL;
    const char *digits = name + sizeof prefix - 1;
    size_t n = strspn(digits, "0123456789");
    if (!n || n > 6 || digits[n] != '.') return NULL;
    for (const mlxn_lm_tensor_spec *spec = arch->layer_tensors; !mlxn_lm_spec_ends(spec); spec++) {
        if (!spec->names.gguf) continue;
        bool same = spec->names.folder && !strcmp(digits + n + 1, spec->names.folder);
        *expert = same ? -1 : mlxn_cv_expert_of(spec->each, digits + n + 1);
        if (!same && *expert < 0) continue;
        snprintf(out, 200, "blk.%.*s.%s", (int)n, digits, spec->names.gguf);
        return spec;
    }
    return NULL;
}

/* How much more than what readers of GGUF assume Gemma's queries are scaled; 0: they are right. */
static float query_factor(const job *j) {
    const mlxn_lm_shape *s = &j->model->shape;
    bool gemma2 = !strcmp(j->arch->gguf, "gemma2");
    if (!gemma2 && strcmp(j->arch->gguf, "gemma3") != 0) return 0;
    float width = s->n_layers == (gemma2 ? 46 : 62) ? (float)s->n_embd / (float)s->n_heads : (float)s->head_dim;
    double factor = (double)s->attention_scale * sqrt((double)width);
    return fabs(factor - 1) > 1e-6 ? (float)factor : 0;
}

/* The tensors of the folder become those of the file, in place. */
static mlxn_status rename_tensors(job *j, mlxn_error *error) {
    mlxn_cv_stacks stacks = {.source = &j->source, .path = j->path, .experts = j->model->shape.n_experts};
    uint32_t head = j->model->shape.head_dim;
    for (uint64_t i = 0; i < j->source.n; i++) {
        mlxn_cv_tensor *t = &j->source.tensors[i];
        char name[200];
        bool vector;
        const mlxn_lm_tensor_spec *spec = NULL;
        int64_t expert = -1;
        if (!find_common(t->name, name, &vector)) {
            spec = find_layer(j->arch, t->name, name, &expert);
            if (!spec)
                return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                                 "%s: tensor \"%.100s\": GGUF files of architecture %s have no name for it", j->path,
                                 t->name, j->arch->gguf);
            vector = spec->cols == MLXN_LM_NONE;
        }
        if ((int)t->format < 0 || t->rank > 4)
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: tensor \"%.100s\": is %s, want F32, F16 or BF16",
                             j->path, t->name, mlxn_st_dtype_name(t->dtype));
        size_t m = spec ? spec->member : 0;
        bool turned = spec && j->arch->gguf_pairing == MLXN_ROPE_INTERLEAVED &&
                      (m == offsetof(mlxn_lm_layer, q) || m == offsetof(mlxn_lm_layer, k) ||
                       m == offsetof(mlxn_lm_layer, q_bias) || m == offsetof(mlxn_lm_layer, k_bias));
        if (turned && (head > 1024 || (vector ? t->cols : t->rows) % head))
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%.100s\": its rows are no whole heads of %u",
                             j->path, t->name, head);
        t->head = turned ? head : 0;
        t->pairs = true;
        if (vector) t->shift = j->arch->folder_vector_shift;
        if (spec && m == offsetof(mlxn_lm_layer, q_norm)) t->factor = query_factor(j); /* of Gemma 3 */
        t->vectors = vector && t->rank == 2;
        if (expert >= 0) {
            mlxn_status status = mlxn_cv_stacks_add(&stacks, t, name, (uint64_t)expert, error);
            if (status) return status;
            continue;
        }
        char *copy = mlxn_strdup(name);
        if (!copy) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for names", j->path);
        mlxn_free(t->name);
        t->name = copy;
    }
    return mlxn_cv_stacks_close(&stacks, error);
}

/* ---- keys ---- */

static mlxn_status set_u32(job *j, const char *name, uint32_t value, mlxn_error *error) {
    char key[160];
    snprintf(key, sizeof key, "%s.%s", j->arch->gguf, name);
    return mlxn_gguf_writer_set_u32(j->writer, key, value, error);
}

static mlxn_status set_f32(job *j, const char *name, float value, mlxn_error *error) {
    char key[160];
    snprintf(key, sizeof key, "%s.%s", j->arch->gguf, name);
    return mlxn_gguf_writer_set_f32(j->writer, key, value, error);
}

/* Keys of single architectures: a number of config.json as it is. */
static mlxn_status set_own(job *j, mlxn_error *error) {
    static const struct {
        const char *arch, *folder, *gguf;
        bool real;
    } keys[] = {{"gemma2", "sliding_window", "attention.sliding_window", false},
                {"gemma2", "attn_logit_softcapping", "attn_logit_softcapping", true},
                {"gemma2", "final_logit_softcapping", "final_logit_softcapping", true},
                {"gemma3", "sliding_window", "attention.sliding_window", false},
                {"gemma3", "rope_local_base_freq", "rope.freq_base_swa", true},
                {"gemma3", "rope_parameters.sliding_attention.rope_theta", "rope.freq_base_swa", true},
                {"gpt-oss", "sliding_window", "attention.sliding_window", false},
                {"phi3", "sliding_window", "attention.sliding_window", false}};
    const mlxn_lm_shape *s = &j->model->shape;
    mlxn_status status = MLXN_OK;
    if (!strcmp(j->arch->gguf, "gemma2") && query_factor(j) != 0)
        status = set_f32(j, "attention.scale", s->attention_scale, error);
    for (size_t i = 0; !status && i < sizeof keys / sizeof keys[0]; i++) {
        mlxn_config_value v;
        if (strcmp(keys[i].arch, j->arch->gguf) != 0 || !mlxn_config_find(j->source.config, keys[i].folder, &v))
            continue;
        double f = v.type == MLXN_CONFIG_INTEGER ? (double)v.v.i : v.type == MLXN_CONFIG_REAL ? v.v.f : -1;
        if (f < 0 || f > 2147483647) continue; /* null: there is none */
        status =
            keys[i].real ? set_f32(j, keys[i].gguf, (float)f, error) : set_u32(j, keys[i].gguf, (uint32_t)f, error);
    }
    return status;
}

/* A member of the object that scales rope, under either of its names. */
static bool find_rope(const job *j, const char *name, mlxn_config_value *out) {
    static const char *const objects[] = {"rope_parameters", "rope_scaling"};
    char path[96];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s.%s", objects[i], name);
        if (mlxn_config_find(j->source.config, path, out) && out->type != MLXN_CONFIG_NULL) return true;
    }
    return false;
}

static double rope_number(const job *j, const char *name, double otherwise) {
    mlxn_config_value v;
    if (!find_rope(j, name, &v)) return otherwise;
    return v.type == MLXN_CONFIG_INTEGER ? (double)v.v.i : v.type == MLXN_CONFIG_REAL ? v.v.f : otherwise;
}

static bool rope_is(const job *j, const char *type) {
    mlxn_config_value v;
    return (find_rope(j, "rope_type", &v) || find_rope(j, "type", &v)) && v.type == MLXN_CONFIG_STRING &&
           !strcmp(v.v.s.data, type);
}

static mlxn_status no_form(const job *j, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: config.json: its rope scaling has no form in GGUF", j->path);
}

/* Readers multiply by 0.1 ln(factor) + 1 themselves; the key holds what differs from it. DeepSeek's scores are made
 * larger instead, as a key of its own says. */
static mlxn_status set_yarn(job *j, mlxn_error *error) {
    const mlxn_lm_shape *s = &j->model->shape;
    double factor = rope_number(j, "factor", 0), all = rope_number(j, "mscale_all_dim", 0);
    double context = rope_number(j, "original_max_position_embeddings", s->n_ctx_train);
    double fast = rope_number(j, "beta_fast", 32), slow = rope_number(j, "beta_slow", 1);
    if (!(factor > 0)) factor = (double)s->n_ctx_train / context;
    double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1, attention = (double)s->rope_attn_factor / usual;
    mlxn_config_value v;
    bool fractions = find_rope(j, "truncate", &v) && v.type == MLXN_CONFIG_BOOL && !v.v.b;
    bool latent = s->kv_rank && all > 0;
    if (fractions != j->arch->yarn_fractions || (latent && fabs((double)s->rope_attn_factor - 1) > 1e-6))
        return no_form(j, error);
    char key[160];
    snprintf(key, sizeof key, "%s.rope.scaling.type", j->arch->gguf);
    mlxn_status status = mlxn_gguf_writer_set_text(j->writer, key, "yarn", error);
    if (!status) status = set_f32(j, "rope.scaling.factor", (float)factor, error);
    if (!status) status = set_u32(j, "rope.scaling.original_context_length", (uint32_t)context, error);
    if (!status) status = set_f32(j, "rope.scaling.yarn_beta_fast", (float)fast, error);
    if (!status) status = set_f32(j, "rope.scaling.yarn_beta_slow", (float)slow, error);
    if (!status && latent) return set_f32(j, "rope.scaling.yarn_log_multiplier", (float)(0.1 * all), error);
    if (!status && fabs(attention - 1) > 1e-6)
        status = set_f32(j, "rope.scaling.attn_factor", (float)attention, error);
    return status;
}

static mlxn_status set_scaling(job *j, mlxn_error *error) {
    const mlxn_lm_shape *s = &j->model->shape;
    char key[160];
    if (rope_is(j, "yarn") && !j->arch->yarn_is_long) return set_yarn(j, error);
    if (j->model->rope_values[1]) { /* LongRoPE: the factors are tensors */
        mlxn_status status = set_f32(j, "rope.scaling.attn_factor", s->rope_attn_factor, error);
        return status ? status : set_u32(j, "rope.scaling.original_context_length", s->rope_long_from, error);
    }
    if (s->rope_attn_factor != 0 && s->rope_attn_factor != 1) return no_form(j, error);
    if (s->rope_freq_scale == 1) return MLXN_OK;
    snprintf(key, sizeof key, "%s.rope.scaling.type", j->arch->gguf);
    mlxn_status status = mlxn_gguf_writer_set_text(j->writer, key, "linear", error);
    return status ? status : set_f32(j, "rope.scaling.factor", 1 / s->rope_freq_scale, error);
}

/* Mixtures of experts and latent attention. */
static mlxn_status set_experts(job *j, mlxn_error *error) {
    const mlxn_lm_shape *s = &j->model->shape;
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"expert_count", s->n_experts},
                   {"expert_used_count", s->n_experts_used},
                   {"expert_feed_forward_length", s->n_ff_expert},
                   {"expert_shared_count", s->n_ff_expert ? s->n_ff_shared / s->n_ff_expert : 0},
                   {"expert_group_count", s->route_groups},
                   {"expert_group_used_count", s->route_top_groups},
                   {"attention.q_lora_rank", s->q_rank},
                   {"attention.kv_lora_rank", s->kv_rank}};
    char key[160];
    mlxn_status status = MLXN_OK;
    if (!s->n_experts) return MLXN_OK;
    if (!strcmp(j->arch->gguf, "qwen3moe") && !s->normalize_experts) { /* without the key they do */
        snprintf(key, sizeof key, "%s.expert_weights_norm", j->arch->gguf);
        status = mlxn_gguf_writer_set_bool(j->writer, key, false, error);
    }
    for (size_t i = 0; !status && i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].value) status = set_u32(j, numbers[i].name, numbers[i].value, error);
    if (!status && s->kv_rank) status = set_u32(j, "leading_dense_block_count", s->n_dense_layers, error);
    if (!status && s->route_factor > 0) status = set_f32(j, "expert_weights_scale", s->route_factor, error);
    return status;
}

static mlxn_status set_keys(job *j, mlxn_error *error) {
    const mlxn_lm_shape *s = &j->model->shape;
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"block_count", s->n_layers},           {"context_length", s->n_ctx_train},
                   {"embedding_length", s->n_embd},        {"feed_forward_length", s->n_ff},
                   {"attention.head_count", s->n_heads},   {"attention.head_count_kv", s->n_kv_heads},
                   {"attention.key_length", s->head_dim},  {"attention.value_length", s->v_head_dim},
                   {"rope.dimension_count", s->rope_dims}, {"vocab_size", s->n_vocab}};
    mlxn_gguf_writer *w = j->writer;
    mlxn_status status = mlxn_gguf_writer_set_text(w, "general.architecture", j->arch->gguf, error);
    if (!status) status = mlxn_gguf_writer_set_text(w, "general.type", "model", error);
    if (!status) status = mlxn_gguf_writer_set_text(w, "general.name", j->model->name, error);
    for (size_t i = 0; !status && i < sizeof numbers / sizeof numbers[0]; i++)
        status = set_u32(j, numbers[i].name, numbers[i].value, error);
    if (!status) status = set_f32(j, "attention.layer_norm_rms_epsilon", s->norm_eps, error);
    if (!status) status = set_f32(j, "rope.freq_base", s->rope_base, error);
    if (!status) status = set_scaling(j, error);
    if (!status) status = set_experts(j, error);
    if (!status) status = set_own(j, error);
    const mlxn_quantize_type *mostly = j->type ? j->type : j->source.blocks ? mlxn_quantize_type_find("mxfp4") : NULL;
    if (!status && mostly) status = mlxn_gguf_writer_set_u32(w, "general.file_type", mostly->file_type, error);
    if (!status) status = mlxn_gguf_writer_set_u32(w, "general.quantization_version", 2, error);
    return status;
}

/* ---- tensors ---- */

/* Vectors are f32 in GGUF files, whatever they were. */
static mlxn_format format_of(const job *j, const mlxn_cv_tensor *t) {
    if (t->rank < 2 || t->vectors) return MLXN_FORMAT_F32;
    if (t->scales) { /* they are not encoded a second time */
        mlxn_format to = j->type ? j->type->format : MLXN_FORMAT_MXFP4;
        return to == MLXN_FORMAT_F32 || to == MLXN_FORMAT_BF16 || to == MLXN_FORMAT_F16 ? to : MLXN_FORMAT_MXFP4;
    }
    if (!j->type) return t->format;
    const mlxn_gguf_tensor as = {.name = {t->name, strlen(t->name)}, .type = (uint32_t)t->format, .rank = t->rank};
    return mlxn_quantize_fallback(mlxn_quantize_format_of(j->type, &as, j->model->shape.n_layers, j->tied), t->cols);
}

static mlxn_status declare(job *j, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    const uint64_t pairs[] = {j->model->shape.rope_dims / 2};
    /* Llama 3's and LongRoPE's factors are tensors, YaRN's follow from keys. */
    float *const *values = j->model->rope_values;
    bool yarn = rope_is(j, "yarn") && !j->arch->yarn_is_long;
    uint64_t factors = yarn || !values[0] ? 0 : values[1] ? 2 : 1;
    const char *names[] = {factors == 2 ? "rope_factors_short.weight" : "rope_freqs.weight",
                           "rope_factors_long.weight"};
    for (uint64_t i = 0; !status && i < factors; i++)
        status = mlxn_gguf_writer_add_tensor(j->writer, names[i], 0, 1, pairs, error);
    for (uint64_t i = 0; !status && i < j->source.n; i++) {
        const mlxn_cv_tensor *t = &j->source.tensors[i];
        mlxn_format format = format_of(j, t);
        status = mlxn_gguf_writer_add_tensor(j->writer, t->name, (uint32_t)format, t->rank, t->dims, error);
        j->result.bytes += mlxn_gguf_writer_tensor_bytes(j->writer, i + factors);
        j->result.quantized += format != t->format && t->rank > 1 && !t->scales;
    }
    j->result.tensors = j->source.n;
    j->result.source_bytes = j->source.bytes;
    for (uint64_t i = 0; !status && i < factors; i++)
        status = mlxn_gguf_writer_write(j->writer, values[i], 4 * pairs[0], error);
    return status;
}

typedef struct rows_job {
    const mlxn_cv_tensor *t;
    mlxn_format to;
    uint64_t first, out_bytes;
    uint8_t *out;
} rows_job;

static mlxn_status encode(const void *argument, uint64_t row, float *values, mlxn_error *error) {
    const rows_job *g = argument;
    if (g->t->scales && g->to == MLXN_FORMAT_MXFP4) {
        mlxn_cv_row_blocks(g->t, g->first + row, g->out + row * g->out_bytes);
        return MLXN_OK;
    }
    mlxn_status status = mlxn_cv_row(g->t, g->first + row, values, error);
    return status ? status : mlxn_quantize_row(g->to, values, g->t->cols, g->out + row * g->out_bytes, error);
}

static mlxn_status write_tensor(job *j, const mlxn_cv_tensor *t, mlxn_error *error) {
    const mlxn_convert_options *o = j->options;
    rows_job g = {.t = t, .to = format_of(j, t)};
    mlxn_status status = mlxn_format_row_bytes(g.to, t->cols, &g.out_bytes, error);
    if (status) return status;
    uint64_t at_once = mlxn_cv_rows_at_once(t->rows, g.out_bytes), count = 0;
    status = mlxn_cv_reserve(&j->slab, at_once * g.out_bytes, error);
    g.out = j->slab.data;
    for (uint64_t row = 0; !status && row < t->rows; row += count) {
        count = mlxn_min_u64(at_once, t->rows - row);
        g.first = row;
        status = mlxn_each_row(encode, &g, count, t->cols, o->threads, error);
        if (!status) status = mlxn_gguf_writer_write(j->writer, g.out, count * g.out_bytes, error);
        if (!status) status = mlxn_cv_step(&j->slab, count * (t->bytes / t->rows), j->source.bytes, error);
    }
    return status;
}

static mlxn_status write_data(job *j, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 0; !status && i < j->source.n; i++) {
        const mlxn_cv_tensor *t = &j->source.tensors[i];
        status = write_tensor(j, t, error);
        if (status == MLXN_ERR_ARGUMENT) mlxn_error_prefix(error, "tensor \"%.100s\"", t->name);
        mlxn_cv_release_pages(&j->source, t);
    }
    return status;
}

/* ---- the whole ---- */

static mlxn_status find_arch(job *j, mlxn_error *error) {
    const mlxn_lm_arch *arch = j->model->arch;
    mlxn_config_value v;
    bool window = mlxn_config_find(j->source.config, "sliding_window", &v) && v.type == MLXN_CONFIG_INTEGER;
    /* Mistral without a window is a Llama there. */
    if (!arch->gguf && arch->layer_tensors == mlxn_lm_llama_tensors && !window)
        arch = mlxn_lm_arch_find((mlxn_string){"llama", 5}, false);
    if (!arch->gguf)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: architecture %s cannot be written as GGUF%s", j->path,
                         arch->name, window ? " with its sliding window" : "");
    j->arch = arch;
    return MLXN_OK;
}

static mlxn_status convert(job *j, const char *path, mlxn_error *error) {
    const mlxn_model_desc vocabulary = {.struct_size = sizeof vocabulary, .vocab_only = true};
    if (j->options->quantize && !(j->type = mlxn_quantize_type_find(j->options->quantize)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "convert: quantization is \"%.60s\", want a type of mlxn quantize, such as q4_k_m",
                         j->options->quantize);
    if (!j->type && j->options->dtype && !(j->type = mlxn_quantize_type_find(j->options->dtype)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "convert: dtype is \"%.60s\", want f32, f16 or bf16",
                         j->options->dtype);
    mlxn_status status = mlxn_cv_open_folder(j->path, &j->source, error);
    if (!status) status = mlxn_model_load(NULL, j->path, &vocabulary, &j->model, error);
    if (!status) status = find_arch(j, error);
    if (!status) status = mlxn_lm_read_layers(j->model, error);
    if (!status) status = rename_tensors(j, error);
    if (status) return status;
    j->tied = true;
    for (uint64_t i = 0; i < j->source.n; i++)
        j->tied = j->tied && !is(j->source.tensors[i].name, strlen(j->source.tensors[i].name), "output.weight");
    status = mlxn_gguf_writer_create(path, j->options->overwrite, &j->writer, error);
    if (!status) status = set_keys(j, error);
    if (!status)
        status = mlxn_hf_tokenizer_keys(j->path, j->source.config, j->model->shape.n_vocab, j->writer, error);
    if (!status) status = declare(j, error);
    if (!status) status = write_data(j, error);
    if (!status) status = mlxn_gguf_writer_finish(&j->writer, error);
    return status;
}

mlxn_status mlxn_convert_gguf(const char *source, const char *path, const mlxn_convert_options *given,
                              mlxn_quantize_result *result, mlxn_error *error) {
    mlxn_convert_options options = {0};
    mlxn_error failure = {0};
    mlxn_status status = mlxn_cv_begin("convert", source, path, given, &options, sizeof options, result, error);
    if (status) return status;
    job j = {.options = &options,
             .path = source,
             .slab = {.what = "convert", .progress = options.progress, .progress_user = options.progress_user}};
    status = convert(&j, path, &failure);
    mlxn_gguf_writer_destroy(j.writer);
    mlxn_model_release(&j.model);
    mlxn_cv_close(&j.source);
    mlxn_free(j.slab.data);
    return mlxn_cv_end(status, &failure, &j.result, result, error);
}
