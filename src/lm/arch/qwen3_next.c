/* qwen3_next.c: Qwen3-Next (Qwen Team 2025): three of four layers are gated delta net (delta.c), the others attention
 * whose output is gated, with norms of heads and a quarter of each head turned; a mixture of experts in every layer,
 * beside one that every token takes as far as its own gate lets it.
 *
 * Norms are stored as w - 1, but for that of gated delta net; folders that mlx-lm wrote have them as they are, which
 * shows in the shape of the convolution. The pass serves the whole family. */
#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR(NULL, "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.q_proj.weight", q, MLXN_LM_Q_TWICE, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_Q),
    MLXN_LM_VECTOR(NULL, "self_attn.q_norm.weight", q_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR(NULL, "self_attn.k_norm.weight", k_norm, MLXN_LM_HEAD),
    MLXN_LM_MATRIX(NULL, "linear_attn.in_proj_qkvz.weight", delta_qkvz, MLXN_LM_DELTA_QKVZ, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "linear_attn.in_proj_ba.weight", delta_ba, MLXN_LM_DELTA_HEADS_TWICE, MLXN_LM_EMBD),
    MLXN_LM_TAPS(NULL, "linear_attn.conv1d.weight", delta_conv, MLXN_LM_DELTA_QKV, MLXN_LM_DELTA_TAPS),
    MLXN_LM_CHANGED_VECTOR(NULL, "linear_attn.dt_bias", delta_dt_bias, MLXN_LM_DELTA_HEADS, MLXN_LM_KEEP),
    MLXN_LM_CHANGED_VECTOR(NULL, "linear_attn.A_log", delta_rate, MLXN_LM_DELTA_HEADS, MLXN_LM_NEGATIVE_EXP),
    MLXN_LM_CHANGED_VECTOR(NULL, "linear_attn.norm.weight", delta_norm, MLXN_LM_DELTA_VALUE, MLXN_LM_KEEP),
    MLXN_LM_MATRIX(NULL, "linear_attn.out_proj.weight", delta_out, MLXN_LM_EMBD, MLXN_LM_DELTA_VALUES),
    MLXN_LM_VECTOR(NULL, "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.gate.weight", router, MLXN_LM_EXPERTS, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "mlp.switch_mlp.gate_proj.weight", "mlp.experts.%u.gate_proj.weight",
                         "mlp.experts.gate_up_proj", 0, 2, gate_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "mlp.switch_mlp.up_proj.weight", "mlp.experts.%u.up_proj.weight",
                         "mlp.experts.gate_up_proj", 1, 2, up_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "mlp.switch_mlp.down_proj.weight", "mlp.experts.%u.down_proj.weight",
                         "mlp.experts.down_proj", 0, 1, down_experts, MLXN_LM_EMBD, MLXN_LM_FF_EXPERT),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert.gate_proj.weight", gate_shared, MLXN_LM_FF_SHARED, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert.up_proj.weight", up_shared, MLXN_LM_FF_SHARED, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert.down_proj.weight", down_shared, MLXN_LM_EMBD, MLXN_LM_FF_SHARED),
    MLXN_LM_MATRIX(NULL, "mlp.shared_expert_gate.weight", shared_gate, MLXN_LM_ONE, MLXN_LM_EMBD),
    MLXN_LM_END,
};

static bool begins(const char *text, const char *with) { return text && strncmp(text, with, strlen(with)) == 0; }

bool mlxn_lm_has_qwen_hybrid(const mlxn_model *model, const mlxn_lm_tensor_spec *spec, uint32_t layer) {
    const char *name = spec->names.folder;
    bool recurrent = model->layers[layer].recurrent;
    return begins(name, "linear_attn.") ? recurrent : begins(name, "self_attn.") ? !recurrent : true;
}

/* ---- configuration ---- */

/* "linear_attention" or "full_attention" for every layer, else every n-th has attention. */
static mlxn_status read_layers(mlxn_model *model, mlxn_error *error) {
    static const char *const words[] = {"full_attention", "linear_attention"};
    const mlxn_lm_names key = {NULL, "layer_types"};
    uint32_t every, n = model->shape.n_layers;
    mlxn_lm_value list, one;
    mlxn_status status = mlxn_lm_key_u32_or(model, MLXN_LM_KEY(NULL, "full_attention_interval"), 4, &every, error);
    if (status != MLXN_OK) return status;
    for (uint32_t i = 0; i < n; i++) model->layers[i].recurrent = (i + 1) % every != 0;
    if (!mlxn_lm_find(model, key, &list)) return MLXN_OK;
    if (list.type != MLXN_LM_LIST || list.v.count != n)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "has %llu elements, want %u (layers)",
                                list.type == MLXN_LM_LIST ? (unsigned long long)list.v.count : 0ULL, n);
    for (uint32_t i = 0; i < n; i++) {
        int which = -1;
        if (!model->source->c->element(model->source, &list, i, &one)) one.type = MLXN_LM_OTHER;
        for (int k = 0; k < 2 && one.type == MLXN_LM_STRING; k++)
            if (one.v.s.size == strlen(words[k]) && !memcmp(one.v.s.data, words[k], (size_t)one.v.s.size)) which = k;
        if (which < 0)
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "element %u is neither \"%s\" nor \"%s\"", i,
                                    words[0], words[1]);
        model->layers[i].recurrent = which == 1;
    }
    return MLXN_OK;
}

static mlxn_status read_delta(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    const struct {
        const char *key;
        uint32_t *to, least, most;
    } keys[] = {{"linear_num_key_heads", &s->delta_k_heads, 1, 4096},
                {"linear_num_value_heads", &s->delta_v_heads, 1, 4096},
                {"linear_key_head_dim", &s->delta_k_dim, 1, 4096},
                {"linear_value_head_dim", &s->delta_v_dim, 1, 4096},
                {"linear_conv_kernel_dim", &s->delta_taps, 2, 64}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const mlxn_lm_names key = {NULL, keys[i].key};
        mlxn_status status = mlxn_lm_key_u32(model, key, keys[i].to, error);
        if (status != MLXN_OK) return status;
        if (*keys[i].to < keys[i].least || *keys[i].to > keys[i].most)
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %u, want %u to %u", *keys[i].to,
                                    keys[i].least, keys[i].most);
    }
    if (s->delta_v_heads % s->delta_k_heads == 0) return MLXN_OK;
    return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, MLXN_LM_KEY(NULL, keys[1].key), error,
                            "is %u, want a multiple of %s %u", s->delta_v_heads, keys[0].key, s->delta_k_heads);
}

/* Whether mlx-lm wrote the folder: then a convolution is [channels, taps, 1] and norms have their 1. */
static mlxn_status find_writer(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_source_class *source = model->source->c;
    mlxn_lm_tensor t;
    char name[160];
    bool found = false;
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; status == MLXN_OK && !found && i < model->shape.n_layers; i++) {
        if (!model->layers[i].recurrent ||
            !source->tensor_name(model->source, MLXN_LM_KEY(NULL, "linear_attn.conv1d.weight"), i, name, sizeof name))
            continue;
        status = source->tensor(model->source, name, &t, &found, error);
        if (status != MLXN_OK) mlxn_error_prefix(error, "%s", model->path_name);
    }
    model->shifted = status == MLXN_OK && found && t.rank == 3 && t.dims[2] == 1;
    return status;
}

mlxn_status mlxn_lm_configure_qwen_hybrid(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_gate = {NULL, "attn_output_gate"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_status status = read_layers(model, error);
    if (status == MLXN_OK) status = read_delta(model, error);
    if (status == MLXN_OK) status = mlxn_lm_key_bool_or(model, key_gate, true, &s->attention_gate, error);
    if (status == MLXN_OK && !s->attention_gate)
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_gate, error, "is false, want true");
    if (status == MLXN_OK) status = find_writer(model, error);
    if (status != MLXN_OK || !model->arch->experts) return status;

    const mlxn_lm_names key_shared = {NULL, "shared_expert_intermediate_size"};
    status = mlxn_lm_key_u32(model, key_shared, &s->n_ff_shared, error);
    if (status != MLXN_OK) return status;
    return mlxn_lm_key_bool_or(model, MLXN_LM_KEY(NULL, "norm_topk_prob"), true, &s->normalize_experts, error);
}

/* Layers without experts are possible in configs and in no published model. */
static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_step = {NULL, "decoder_sparse_step"}, key_dense = {NULL, "mlp_only_layers"};
    mlxn_lm_value dense;
    uint32_t step;
    mlxn_status status = mlxn_lm_key_u32_or(model, key_step, 1, &step, error);
    if (status == MLXN_OK && step != 1)
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_step, error, "is %u, want 1", step);
    if (status == MLXN_OK && mlxn_lm_find(model, key_dense, &dense) &&
        (dense.type != MLXN_LM_LIST || dense.v.count != 0))
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_dense, error, "is no empty list");
    return status != MLXN_OK ? status : mlxn_lm_configure_qwen_hybrid(model, error);
}

/* ---- pass ---- */

/* Half `which` of each head's queries and gates, [n, heads, head_dim]. */
static mlxn_tensor half_of(const mlxn_lm_forward *f, mlxn_buffer *wide, uint32_t which) {
    const mlxn_lm_shape *s = &f->model->shape;
    mlxn_tensor t =
        mlxn_tensor_3d(wide, (uint64_t)which * s->head_dim * sizeof(float), MLXN_F32, f->n, s->n_heads, s->head_dim);
    t.strides[0] = 2 * (int64_t)s->n_heads * s->head_dim;
    t.strides[1] = 2 * (int64_t)s->head_dim;
    return t;
}

static mlxn_tensor wide_of(const mlxn_lm_shape *s, mlxn_buffer *buffer, uint32_t n) {
    return mlxn_tensor_2d(buffer, 0, MLXN_F32, n, mlxn_lm_dim_value(s, MLXN_LM_Q_TWICE));
}

/* false: the pass is complete. */
static bool attend(mlxn_lm_forward *f, uint32_t i) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_layer *l = &f->model->layers[i];
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_attention_params attention = {.scale = s->attention_scale};
    const mlxn_glu_params gate = {.fn = MLXN_GLU_SIGMOID};
    mlxn_encoder *e = f->encoder;
    mlxn_buffer *wide = f->work->wide;
    mlxn_tensor q = mlxn_lm_heads(f->q, s->n_heads), k = mlxn_lm_heads(f->k, s->n_kv_heads);

    mlxn_matmul(e, f->h, l->q, none, none, wide_of(s, wide, f->n));
    mlxn_matmul(e, f->h, l->k, none, none, f->k);
    mlxn_matmul(e, f->h, l->v, none, none, f->v);
    mlxn_rms_norm(e, half_of(f, wide, 0), l->q_norm, q, &norm);
    mlxn_rms_norm(e, k, l->k_norm, k, &norm);
    mlxn_lm_rope(f, i, q);
    mlxn_lm_rope(f, i, k);
    mlxn_lm_store(f, i);
    if (i + 1 == s->n_layers) {
        if (f->n_out > 0 && f->n_out < f->n) {
            wide = f->work->out_wide;
            mlxn_gather(e, wide_of(s, f->work->wide, f->n), f->out_rows, wide_of(s, wide, f->n_out));
        }
        if (!mlxn_lm_keep_outputs(f)) return false;
    }
    mlxn_lm_attend(f, i, &attention);
    mlxn_tensor att = mlxn_lm_heads(f->att, s->n_heads);
    mlxn_glu(e, half_of(f, wide, 1), att, att, &gate);
    mlxn_matmul(e, f->att, l->o, none, f->x, f->x);
    return true;
}

void mlxn_lm_forward_qwen_hybrid(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_embedding_params embedding = {.scale = s->embedding_scale};
    mlxn_encoder *e = f->encoder;

    mlxn_embedding(e, f->tokens, f->model->token_embd, f->x, &embedding);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_lm_layer *l = &f->model->layers[i];
        mlxn_rms_norm(e, f->x, l->attn_norm, f->h, &norm);
        if (!l->recurrent) {
            if (!attend(f, i)) return;
        } else {
            mlxn_lm_delta(f, i);
            if (i + 1 == s->n_layers && !mlxn_lm_keep_outputs(f)) return;
        }
        mlxn_rms_norm(e, f->x, l->ffn_norm, f->h, &norm);
        if (l->router) {
            mlxn_lm_experts(f, l);
            continue;
        }
        mlxn_matmul(e, f->h, l->gate, none, none, f->gate);
        mlxn_matmul(e, f->h, l->up, none, none, f->up);
        mlxn_silu_mul(e, f->gate, f->up, f->gate);
        mlxn_matmul(e, f->gate, l->down, none, f->x, f->x);
    }
    mlxn_lm_head(f);
}

static const mlxn_lm_default folder_defaults[] = {{"head_dim", 256},
                                                  {"partial_rotary_factor", 0.25},
                                                  {"linear_num_key_heads", 16},
                                                  {"linear_key_head_dim", 128},
                                                  {"linear_num_value_heads", 32},
                                                  {"linear_value_head_dim", 128},
                                                  {"linear_conv_kernel_dim", 4},
                                                  {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_qwen3_next = {
    .name = "qwen3_next",
    .folder = "qwen3_next",
    .folder_defaults = folder_defaults,
    .gguf_pairing = MLXN_ROPE_HALF,
    .activation = "silu",
    .folder_vector_shift = 1,
    .experts = true,
    .configure = configure,
    .has = mlxn_lm_has_qwen_hybrid,
    .layer_tensors = layer_tensors,
    .forward = mlxn_lm_forward_qwen_hybrid,
};
