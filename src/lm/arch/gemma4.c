/* gemma4.c: Gemma 4, text, from folders (Google 2026; as transformers 5 computes it).
 *
 * As Gemma 3, but norms multiply by w alone and scores are not scaled; values are normed too; global layers have
 * heads of another length, may have fewer KV heads, whose keys then are their values, and turn some pairs of the
 * whole head; the last layers see keys and values of the last layer of their kind that has some. Each layer may get
 * numbers of the token by itself, and a mixture of experts beside its feed-forward part. What a layer gives is
 * multiplied by a number. */
#include <math.h>
#include <stdio.h>

#include "lm/lm_internal.h"

#define MODEL_TENSOR(folder, at, rows_, cols_) \
    { .names = {NULL, folder}, .member = offsetof(mlxn_model, at), .rows = rows_, .cols = cols_ }
static const mlxn_lm_tensor_spec model_tensors[] = {
    MODEL_TENSOR("model.embed_tokens_per_layer.weight", layer_embd, MLXN_LM_VOCAB_LAYER, MLXN_LM_EMBD_LAYERS),
    MODEL_TENSOR("model.per_layer_model_projection.weight", layer_projection, MLXN_LM_EMBD_LAYERS, MLXN_LM_EMBD),
    MODEL_TENSOR("model.per_layer_projection_norm.weight", layer_norm, MLXN_LM_EMBD_LAYER, MLXN_LM_NONE),
    MLXN_LM_END,
};

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR(NULL, "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.k_proj.weight", k, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.v_proj.weight", v, MLXN_LM_KV, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_VALUES),
    MLXN_LM_VECTOR(NULL, "self_attn.q_norm.weight", q_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR(NULL, "self_attn.k_norm.weight", k_norm, MLXN_LM_HEAD),
    MLXN_LM_VECTOR(NULL, "post_attention_layernorm.weight", post_attn_norm, MLXN_LM_EMBD),
    MLXN_LM_VECTOR(NULL, "pre_feedforward_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_VECTOR(NULL, "post_feedforward_layernorm.weight", post_ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_VECTOR(NULL, "layer_scalar", scalar, MLXN_LM_ONE),
    /* mixtures of experts */
    MLXN_LM_VECTOR(NULL, "router.scale", router_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "router.proj.weight", router, MLXN_LM_EXPERTS, MLXN_LM_EMBD),
    MLXN_LM_VECTOR(NULL, "router.per_expert_scale", router_scale, MLXN_LM_EXPERTS),
    MLXN_LM_JOINED_STACK(NULL, "experts.switch_glu.gate_proj.weight", "experts.%u.gate_proj.weight",
                         "experts.gate_up_proj", 0, 2, gate_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "experts.switch_glu.up_proj.weight", "experts.%u.up_proj.weight",
                         "experts.gate_up_proj", 1, 2, up_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_JOINED_STACK(NULL, "experts.switch_glu.down_proj.weight", "experts.%u.down_proj.weight",
                         "experts.down_proj", 0, 1, down_experts, MLXN_LM_EMBD, MLXN_LM_FF_EXPERT),
    MLXN_LM_VECTOR(NULL, "post_feedforward_layernorm_1.weight", post_mlp_norm, MLXN_LM_EMBD),
    MLXN_LM_VECTOR(NULL, "pre_feedforward_layernorm_2.weight", ffn_norm_experts, MLXN_LM_EMBD),
    MLXN_LM_VECTOR(NULL, "post_feedforward_layernorm_2.weight", post_experts_norm, MLXN_LM_EMBD),
    /* the layer's own input */
    MLXN_LM_MATRIX(NULL, "per_layer_input_gate.weight", embd_gate, MLXN_LM_EMBD_LAYER, MLXN_LM_EMBD),
    MLXN_LM_MATRIX(NULL, "per_layer_projection.weight", embd_out, MLXN_LM_EMBD, MLXN_LM_EMBD_LAYER),
    MLXN_LM_VECTOR(NULL, "post_per_layer_input_norm.weight", post_embd_norm, MLXN_LM_EMBD),
    MLXN_LM_END,
};

static bool keys_are_values(const mlxn_model *model, uint32_t layer) {
    bool same = false;
    mlxn_error ignored; /* configure has read the key */
    (void)mlxn_lm_key_bool_or(model, MLXN_LM_KEY(NULL, "attention_k_eq_v"), false, &same, &ignored);
    return same && !model->layers[layer].sliding;
}

static bool has(const mlxn_model *model, const mlxn_lm_tensor_spec *spec, uint32_t layer) {
    const mlxn_lm_shape *s = &model->shape;
    size_t m = spec->member;
    if (layer == MLXN_LM_NO_LAYER) return s->n_embd_layer != 0;
    if (m == offsetof(mlxn_lm_layer, k) || m == offsetof(mlxn_lm_layer, k_norm))
        return model->layers[layer].cache == layer;
    if (m == offsetof(mlxn_lm_layer, v)) return model->layers[layer].cache == layer && !keys_are_values(model, layer);
    if (m == offsetof(mlxn_lm_layer, embd_gate) || m == offsetof(mlxn_lm_layer, embd_out) ||
        m == offsetof(mlxn_lm_layer, post_embd_norm))
        return s->n_embd_layer != 0;
    if (m == offsetof(mlxn_lm_layer, router_norm) || m == offsetof(mlxn_lm_layer, router) ||
        m == offsetof(mlxn_lm_layer, router_scale) || m == offsetof(mlxn_lm_layer, gate_experts) ||
        m == offsetof(mlxn_lm_layer, up_experts) || m == offsetof(mlxn_lm_layer, down_experts) ||
        m == offsetof(mlxn_lm_layer, post_mlp_norm) || m == offsetof(mlxn_lm_layer, ffn_norm_experts) ||
        m == offsetof(mlxn_lm_layer, post_experts_norm))
        return s->n_experts != 0;
    return true;
}

/* A number that may be absent, null or 0: then 0. */
static mlxn_status read_count(const mlxn_model *model, const char *name, uint32_t most, uint32_t *out,
                              mlxn_error *error) {
    const mlxn_lm_names key = {NULL, name};
    mlxn_lm_value value;
    *out = 0;
    if (!mlxn_lm_find(model, key, &value) || (value.type == MLXN_LM_INTEGER && value.v.i == 0)) return MLXN_OK;
    mlxn_status status = mlxn_lm_key_u32(model, key, out, error);
    if (status == MLXN_OK && *out > most)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %u, want at most %u", *out, most);
    return status;
}

/* "per_layer_config" names heads layer by layer; configs without it have one length for all global layers. */
static mlxn_status read_heads(mlxn_model *model, uint32_t layer, bool same, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_layer *l = &model->layers[layer];
    char dim[64], heads[64];
    mlxn_lm_value value;
    snprintf(dim, sizeof dim, "per_layer_config.%u.head_dim", layer);
    snprintf(heads, sizeof heads, "per_layer_config.%u.num_key_value_heads", layer);
    mlxn_lm_names key_dim = {NULL, dim}, key_heads = {NULL, heads};
    l->head_dim = s->head_dim;
    l->n_kv_heads = s->n_kv_heads;
    if (!l->sliding && !mlxn_lm_find(model, key_dim, &value)) key_dim.folder = "global_head_dim";
    if (!l->sliding && same && !mlxn_lm_find(model, key_heads, &value))
        key_heads.folder = "num_global_key_value_heads";
    mlxn_status status = mlxn_lm_key_u32_or(model, key_dim, l->head_dim, &l->head_dim, error);
    if (status == MLXN_OK && (l->head_dim > 4096 || l->head_dim % 2))
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_dim, error, "is %u, want an even number up to 4096",
                                l->head_dim);
    if (status == MLXN_OK) status = mlxn_lm_key_u32_or(model, key_heads, l->n_kv_heads, &l->n_kv_heads, error);
    if (status == MLXN_OK && s->n_heads % l->n_kv_heads)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_heads, error, "is %u, want a divisor of %u (heads)",
                                l->n_kv_heads, s->n_heads);
    l->v_head_dim = l->head_dim;
    return status;
}

/* Which layers have keys and values, and whose the others see. */
static mlxn_status read_sharing(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_shared = {NULL, "num_kv_shared_layers"};
    mlxn_lm_shape *s = &model->shape;
    uint32_t shared;
    bool wide;
    mlxn_status status = read_count(model, key_shared.folder, s->n_layers - 1, &shared, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_bool_or(model, MLXN_LM_KEY(NULL, "use_double_wide_mlp"), false, &wide, error);
    for (uint32_t i = s->n_layers - shared; status == MLXN_OK && i < s->n_layers; i++) {
        mlxn_lm_layer *l = &model->layers[i];
        uint32_t from = s->n_layers - shared;
        while (from > 0 && model->layers[from - 1].sliding != l->sliding) from--;
        if (from == 0)
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_shared, error,
                                    "is %u, but no layer before those is of the kind of layer %u", shared, i);
        l->cache = from - 1;
        if (l->head_dim != model->layers[l->cache].head_dim || l->n_kv_heads != model->layers[l->cache].n_kv_heads)
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_shared, error,
                                    "is %u, but layers %u and %u have other heads", shared, l->cache, i);
        if (wide) l->n_ff = 2 * s->n_ff;
    }
    return status;
}

static mlxn_status read_rope(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_local = {NULL, "rope_parameters.sliding_attention.rope_theta"};
    const mlxn_lm_names key_local_type = {NULL, "rope_parameters.sliding_attention.rope_type"};
    const mlxn_lm_names key_type = {NULL, "rope_parameters.full_attention.rope_type"};
    const mlxn_lm_names key_part = {NULL, "rope_parameters.full_attention.partial_rotary_factor"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value value;
    float part = 0.25f;
    mlxn_status status = mlxn_lm_key_f32_or(model, key_local, 10000, &s->rope_base_window, error);
    if (status != MLXN_OK) return status;
    if (mlxn_lm_find(model, key_local_type, &value) &&
        (value.type != MLXN_LM_STRING || value.v.s.size != 7 || memcmp(value.v.s.data, "default", 7) != 0))
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_local_type, error, "is not \"default\"");
    if (model->rope_values[0] || s->rope_attn_factor != 1)
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_type, error,
                                "is neither \"default\" nor \"linear\" nor \"proportional\"");
    if (mlxn_lm_find(model, key_type, &value)) {
        part = 1;
        if (s->rope_pairing == MLXN_ROPE_HEAD_HALF) status = mlxn_lm_key_f32_or(model, key_part, 1, &part, error);
    }
    if (status == MLXN_OK && part > 1)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_part, error, "is %g, want at most 1", (double)part);
    s->rope_pairing = MLXN_ROPE_HEAD_HALF;
    uint32_t length = s->head_dim;
    for (uint32_t i = 0; i < s->n_layers; i++)
        if (!model->layers[i].sliding) length = model->layers[i].head_dim;
    s->rope_dims = 2 * (uint32_t)((double)part * length / 2);
    if (status == MLXN_OK && s->rope_dims == 0)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_part, error, "is %g, which turns nothing", (double)part);
    return status;
}

static mlxn_status read_experts(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_used = {NULL, "top_k_experts"};
    mlxn_lm_shape *s = &model->shape;
    bool experts;
    mlxn_status status = mlxn_lm_key_bool_or(model, MLXN_LM_KEY(NULL, "enable_moe_block"), false, &experts, error);
    if (status != MLXN_OK || !experts) return status;
    status = mlxn_lm_key_u32(model, MLXN_LM_KEY(NULL, "num_experts"), &s->n_experts, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, key_used, &s->n_experts_used, error);
    if (status == MLXN_OK && s->n_experts_used > s->n_experts)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_used, error, "is %u, want at most num_experts %u",
                                s->n_experts_used, s->n_experts);
    return status != MLXN_OK
               ? status
               : mlxn_lm_key_u32(model, MLXN_LM_KEY(NULL, "moe_intermediate_size"), &s->n_ff_expert, error);
}

static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    mlxn_lm_shape *s = &model->shape;
    bool same;
    mlxn_status status = mlxn_lm_key_bool_or(model, MLXN_LM_KEY(NULL, "attention_k_eq_v"), false, &same, error);
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY(NULL, "final_logit_softcapping"), 0, &s->logit_softcap, error);
    if (status == MLXN_OK) status = mlxn_lm_read_window(model, MLXN_LM_SLIDE_ALL_BUT_NTH, 6, error);
    if (status != MLXN_OK) return status;
    s->embedding_scale = sqrtf((float)s->n_embd);
    s->attention_scale = 1;
    model->layers[s->n_layers - 1].sliding = false; /* whatever the config says of it */
    for (uint32_t i = 0; status == MLXN_OK && i < s->n_layers; i++) status = read_heads(model, i, same, error);
    if (status == MLXN_OK) status = read_sharing(model, error);
    if (status == MLXN_OK) status = read_rope(model, error);
    if (status == MLXN_OK) status = read_experts(model, error);
    if (status == MLXN_OK)
        status = read_count(model, "hidden_size_per_layer_input", 1 << 16, &s->n_embd_layer, error);
    if (status != MLXN_OK || !s->n_embd_layer) return status;
    return mlxn_lm_key_u32(model, MLXN_LM_KEY(NULL, "vocab_size_per_layer_input"), &s->n_vocab_layer, error);
}

static void rope(const mlxn_lm_forward *f, uint32_t layer, mlxn_tensor x) {
    const mlxn_lm_shape *s = &f->model->shape;
    bool local = f->model->layers[layer].sliding;
    const mlxn_tensor none = {0};
    const mlxn_rope_params params = {.pairing = MLXN_ROPE_HEAD_HALF,
                                     .rope_dims = local ? (uint32_t)x.dims[2] : s->rope_dims,
                                     .base = local ? s->rope_base_window : s->rope_base,
                                     .freq_scale = local ? 1 : s->rope_freq_scale};
    mlxn_rope(f->encoder, x, f->positions, none, x, &params);
}

/* What layers get of tokens by themselves: a row of a table and a projection of the embedding, to layer_inputs. */
static void make_layer_inputs(const mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_tensor none = {0};
    const mlxn_scalar_mul_params project = {1 / sqrtf((float)s->n_embd)}, mean = {(float)sqrt(0.5)};
    const mlxn_embedding_params embedding = {.scale = sqrtf((float)s->n_embd_layer)};
    uint64_t width = mlxn_lm_dim_value(s, MLXN_LM_EMBD_LAYERS);
    mlxn_tensor table = mlxn_tensor_2d(f->work->layer_inputs, 0, MLXN_F32, f->n, width);
    mlxn_tensor made = mlxn_tensor_2d(f->work->layer_scratch, 0, MLXN_F32, f->n, width);
    mlxn_tensor layers = mlxn_lm_heads(made, s->n_layers);
    mlxn_encoder *e = f->encoder;
    mlxn_matmul(e, f->x, f->model->layer_projection, none, none, made);
    mlxn_scalar_mul(e, made, made, &project);
    mlxn_rms_norm(e, layers, f->model->layer_norm, layers, &norm);
    mlxn_embedding(e, f->tokens, f->model->layer_embd, table, &embedding);
    mlxn_elementwise_add(e, table, made, table);
    mlxn_scalar_mul(e, table, table, &mean);
}

/* f->x += the layer's own input, gated. */
static void add_layer_input(const mlxn_lm_forward *f, uint32_t layer, mlxn_buffer *inputs) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_layer *l = &f->model->layers[layer];
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_glu_params gelu = {.fn = MLXN_GLU_GELU};
    const mlxn_tensor none = {0};
    mlxn_tensor gate = mlxn_tensor_2d(f->gate.buffer, 0, MLXN_F32, f->n, s->n_embd_layer);
    mlxn_tensor own =
        mlxn_tensor_2d(inputs, layer * sizeof(float) * s->n_embd_layer, MLXN_F32, f->n, s->n_embd_layer);
    own.strides[0] = (int64_t)mlxn_lm_dim_value(s, MLXN_LM_EMBD_LAYERS);
    mlxn_matmul(f->encoder, f->x, l->embd_gate, none, none, gate);
    mlxn_glu(f->encoder, gate, own, gate, &gelu);
    mlxn_matmul(f->encoder, gate, l->embd_out, none, none, f->h);
    mlxn_norm_add(f->encoder, f->h, l->post_embd_norm, f->x, f->x, &norm);
}

/* f->h, the feed-forward part, becomes its norm plus that of a mixture of experts of f->x. */
static void add_experts(const mlxn_lm_forward *f, const mlxn_lm_layer *l, mlxn_tensor scratch) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_work *w = f->work;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_scalar_mul_params scale = {1 / sqrtf((float)s->n_embd)};
    const mlxn_moe_route_params route = {.score = MLXN_ROUTE_SOFTMAX, .normalize = MLXN_ROUTE_NORMALIZE};
    uint64_t n = f->n, used = s->n_experts_used;
    mlxn_tensor router = mlxn_tensor_2d(w->router, 0, MLXN_F32, n, s->n_experts);
    mlxn_tensor ids = mlxn_tensor_2d(w->expert_ids, 0, MLXN_U32, n, used);
    mlxn_tensor weights = mlxn_tensor_2d(w->expert_weights, 0, MLXN_F32, n, used);
    mlxn_tensor gate = mlxn_tensor_2d(w->expert_gate, 0, MLXN_F32, n * used, s->n_ff_expert);
    mlxn_tensor up = mlxn_tensor_2d(w->expert_up, 0, MLXN_F32, n * used, s->n_ff_expert);
    mlxn_tensor out = mlxn_tensor_2d(w->expert_out, 0, MLXN_F32, n * used, s->n_embd);
    mlxn_encoder *e = f->encoder;

    mlxn_rms_norm(e, f->x, l->router_norm, scratch, &norm);
    mlxn_matmul(e, scratch, l->router, none, none, router);
    mlxn_scalar_mul(e, router, router, &scale);
    mlxn_moe_route(e, router, none, l->router_scale, ids, weights, &route);
    mlxn_rms_norm(e, f->x, l->ffn_norm_experts, scratch, &norm);
    mlxn_matmul_id(e, scratch, l->gate_experts, ids, none, gate);
    mlxn_matmul_id(e, scratch, l->up_experts, ids, none, up);
    mlxn_gelu_mul(e, gate, up, gate);
    mlxn_matmul_id(e, gate, l->down_experts, ids, none, out);
    const mlxn_moe_sum_norm_params sum = {.eps = s->norm_eps, .norm_base = true};
    mlxn_moe_sum_norm(e, mlxn_tensor_3d(w->expert_out, 0, MLXN_F32, n, used, s->n_embd), weights,
                      l->post_experts_norm, f->h, l->post_mlp_norm, f->h, &sum);
}

static void forward(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_attention_params attention = {.scale = s->attention_scale};
    const mlxn_embedding_params embedding = {.scale = s->embedding_scale};
    const mlxn_binary_params times = {.fn = MLXN_BINARY_MUL};
    mlxn_buffer *inputs = f->work->layer_inputs;
    mlxn_encoder *e = f->encoder;
    uint32_t last = s->n_layers - 1;
    while (f->model->layers[last].cache != last) last--; /* that stores; beyond it few rows may go on */

    mlxn_embedding(e, f->tokens, f->model->token_embd, f->x, &embedding);
    if (s->n_embd_layer) make_layer_inputs(f);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_lm_layer *l = &f->model->layers[i];
        mlxn_lm_enter_layer(f, i);
        mlxn_tensor q = mlxn_lm_heads(f->q, s->n_heads);
        mlxn_rms_norm(e, f->x, l->attn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->q, none, none, f->q);
        mlxn_rms_norm(e, q, l->q_norm, q, &norm);
        rope(f, i, q);
        if (l->cache == i) {
            mlxn_tensor k = mlxn_lm_heads(f->k, l->n_kv_heads), v = mlxn_lm_heads(f->v, l->n_kv_heads);
            mlxn_matmul(e, f->h, l->k, none, none, f->k);
            if (l->v) mlxn_matmul(e, f->h, l->v, none, none, f->v);
            mlxn_rms_norm(e, l->v ? v : k, none, v, &norm);
            mlxn_rms_norm(e, k, l->k_norm, k, &norm);
            rope(f, i, k);
            mlxn_lm_store(f, i);
        }
        if (i == last) {
            uint32_t n = f->n;
            if (!mlxn_lm_keep_outputs(f)) return;
            if (f->n != n && s->n_embd_layer) {
                uint64_t width = mlxn_lm_dim_value(s, MLXN_LM_EMBD_LAYERS);
                mlxn_tensor kept = mlxn_tensor_2d(f->work->layer_scratch, 0, MLXN_F32, f->n, width);
                mlxn_gather(e, mlxn_tensor_2d(inputs, 0, MLXN_F32, n, width), f->out_rows, kept);
                inputs = f->work->layer_scratch;
            }
        }
        mlxn_lm_attend(f, i, &attention);
        mlxn_matmul(e, f->att, l->o, none, none, f->h);
        mlxn_norm_add(e, f->h, l->post_attn_norm, f->x, f->x, &norm);

        mlxn_rms_norm(e, f->x, l->ffn_norm, f->h, &norm);
        mlxn_matmul(e, f->h, l->gate, none, none, f->gate);
        mlxn_matmul(e, f->h, l->up, none, none, f->up);
        mlxn_gelu_mul(e, f->gate, f->up, f->gate);
        mlxn_matmul(e, f->gate, l->down, none, none, f->h);
        if (l->router) add_experts(f, l, mlxn_tensor_2d(f->work->att, 0, MLXN_F32, f->n, s->n_embd));
        mlxn_norm_add(e, f->h, l->post_ffn_norm, f->x, f->x, &norm);
        if (s->n_embd_layer) add_layer_input(f, i, inputs);
        mlxn_binary(e, f->x, l->scalar, f->x, &times);
    }
    mlxn_lm_head(f);
}

/* Configs leave out what the class has as default. */
static const mlxn_lm_default folder_defaults[] = {{"vocab_size", 262144},
                                                  {"num_attention_heads", 8},
                                                  {"num_key_value_heads", 4},
                                                  {"head_dim", 256},
                                                  {"global_head_dim", 512},
                                                  {"max_position_embeddings", 131072},
                                                  {"rms_norm_eps", 1e-6},
                                                  {"sliding_window", 512},
                                                  {"rope_theta", 1000000},
                                                  {"hidden_size_per_layer_input", 256},
                                                  {"vocab_size_per_layer_input", 262144},
                                                  {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_gemma4 = {
    .name = "gemma4",
    .folder = "gemma4_text gemma4",
    .folder_defaults = folder_defaults,
    .activation = "gelu_pytorch_tanh",
    .tied = true,
    .proportional = true,
    .configure = configure,
    .layer_tensors = layer_tensors,
    .model_tensors = model_tensors,
    .has = has,
    .forward = forward,
};
