/* deepseek_v2.c: DeepSeek-V2 (DeepSeek-AI 2024, arXiv:2405.04434).
 *
 * Latent attention: a token's keys and values are made of one short vector, and of a rotary part of the key that all
 * heads share; queries may go through a short vector too. Heads of values are shorter than those of keys. After the
 * first layers the feed-forward part is a mixture of experts beside some that every token takes. Rotary pairs are
 * neighbours in folders and in GGUF files. */
#include <math.h>
#include <stdio.h>

#include "lm/lm_internal.h"

static const mlxn_lm_tensor_spec layer_tensors[] = {
    MLXN_LM_VECTOR("attn_norm.weight", "input_layernorm.weight", attn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q.weight", "self_attn.q_proj.weight", q, MLXN_LM_Q, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("attn_q_a.weight", "self_attn.q_a_proj.weight", q_a, MLXN_LM_Q_RANK, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", q_a_norm, MLXN_LM_Q_RANK),
    MLXN_LM_MATRIX("attn_q_b.weight", "self_attn.q_b_proj.weight", q_b, MLXN_LM_Q, MLXN_LM_Q_RANK),
    MLXN_LM_MATRIX("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight", kv_a, MLXN_LM_KV_A, MLXN_LM_EMBD),
    MLXN_LM_VECTOR("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", kv_a_norm, MLXN_LM_KV_RANK),
    MLXN_LM_MATRIX("attn_kv_b.weight", "self_attn.kv_b_proj.weight", kv_b, MLXN_LM_KV_B, MLXN_LM_KV_RANK),
    MLXN_LM_MATRIX("attn_output.weight", "self_attn.o_proj.weight", o, MLXN_LM_EMBD, MLXN_LM_VALUES),
    MLXN_LM_VECTOR("ffn_norm.weight", "post_attention_layernorm.weight", ffn_norm, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_gate.weight", "mlp.gate_proj.weight", gate, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up.weight", "mlp.up_proj.weight", up, MLXN_LM_FF, MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down.weight", "mlp.down_proj.weight", down, MLXN_LM_EMBD, MLXN_LM_FF),
    MLXN_LM_MATRIX("ffn_gate_inp.weight", "mlp.gate.weight", router, MLXN_LM_EXPERTS, MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_gate_exps.weight", "mlp.switch_mlp.gate_proj.weight", "mlp.experts.%u.gate_proj.weight",
                  gate_experts, MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_up_exps.weight", "mlp.switch_mlp.up_proj.weight", "mlp.experts.%u.up_proj.weight", up_experts,
                  MLXN_LM_FF_EXPERT, MLXN_LM_EMBD),
    MLXN_LM_STACK("ffn_down_exps.weight", "mlp.switch_mlp.down_proj.weight", "mlp.experts.%u.down_proj.weight",
                  down_experts, MLXN_LM_EMBD, MLXN_LM_FF_EXPERT),
    MLXN_LM_MATRIX("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", gate_shared, MLXN_LM_FF_SHARED,
                   MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", up_shared, MLXN_LM_FF_SHARED,
                   MLXN_LM_EMBD),
    MLXN_LM_MATRIX("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", down_shared, MLXN_LM_EMBD,
                   MLXN_LM_FF_SHARED),
    MLXN_LM_END,
};

static bool has(const mlxn_model *model, const mlxn_lm_tensor_spec *spec, uint32_t layer) {
    const mlxn_lm_shape *s = &model->shape;
    size_t m = spec->member;
    bool dense = layer < s->n_dense_layers;
    if (m == offsetof(mlxn_lm_layer, q)) return !s->q_rank;
    if (m == offsetof(mlxn_lm_layer, q_a) || m == offsetof(mlxn_lm_layer, q_b) ||
        m == offsetof(mlxn_lm_layer, q_a_norm))
        return s->q_rank != 0;
    if (m == offsetof(mlxn_lm_layer, gate) || m == offsetof(mlxn_lm_layer, up) || m == offsetof(mlxn_lm_layer, down))
        return dense;
    if (m == offsetof(mlxn_lm_layer, gate_shared) || m == offsetof(mlxn_lm_layer, up_shared) ||
        m == offsetof(mlxn_lm_layer, down_shared))
        return !dense && s->n_ff_shared;
    if (m == offsetof(mlxn_lm_layer, router) || m == offsetof(mlxn_lm_layer, gate_experts) ||
        m == offsetof(mlxn_lm_layer, up_experts) || m == offsetof(mlxn_lm_layer, down_experts))
        return !dense;
    return true;
}

/* YaRN also makes scores larger: by the square of its factor for all dims. */
static mlxn_status read_scale(mlxn_model *model, mlxn_error *error) {
    static const char *const objects[] = {"rope_parameters", "rope_scaling"};
    mlxn_lm_shape *s = &model->shape;
    float factor = 1, all = 0;
    char key[64], key_all[64];
    mlxn_lm_value value;
    mlxn_status status = MLXN_OK;
    s->attention_scale = 1 / sqrtf((float)s->head_dim);
    if (!mlxn_lm_source_is_folder(model->source)) {
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("rope.scaling.yarn_log_multiplier", NULL), 0, &all, error);
        if (status == MLXN_OK)
            status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("rope.scaling.factor", NULL), 1, &factor, error);
        if (status == MLXN_OK && all > 0) s->rope_attn_factor = 1; /* it is in the scores */
        all *= 10;
    }
    for (size_t i = 0; status == MLXN_OK && i < 2; i++) {
        snprintf(key_all, sizeof key_all, "%s.mscale_all_dim", objects[i]);
        snprintf(key, sizeof key, "%s.factor", objects[i]);
        if (!mlxn_lm_find(model, MLXN_LM_KEY(NULL, key_all), &value)) continue;
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY(NULL, key_all), 0, &all, error);
        if (status == MLXN_OK) status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY(NULL, key), 1, &factor, error);
        break;
    }
    if (factor > 1) {
        double m = 0.1 * (double)all * log((double)factor) + 1;
        s->attention_scale *= (float)(m * m);
    }
    return status;
}

static mlxn_status read_route(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_shared = {"expert_shared_count", "n_shared_experts"}, key_method = {NULL, "topk_method"};
    const mlxn_lm_names key_groups = {"expert_group_count", "n_group"};
    const mlxn_lm_names key_top = {"expert_group_used_count", "topk_group"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value method;
    uint32_t shared = 0;
    mlxn_status status = MLXN_OK;
    if (mlxn_lm_find(model, key_shared, &method)) status = mlxn_lm_key_u32(model, key_shared, &shared, error);
    if (status == MLXN_OK && shared > 1024)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_shared, error, "is %u, want at most 1024", shared);
    s->n_ff_shared = shared * s->n_ff_expert;
    if (status == MLXN_OK)
        status = mlxn_lm_key_f32_or(model, MLXN_LM_KEY("expert_weights_scale", "routed_scaling_factor"), 1,
                                    &s->route_factor, error);
    if (status != MLXN_OK) return status;
    bool grouped = mlxn_lm_find(model, key_groups, &method); /* in GGUF files; config.json names the method */
    if (mlxn_lm_source_is_folder(model->source)) {
        bool found = mlxn_lm_find(model, key_method, &method), text = found && method.type == MLXN_LM_STRING;
        grouped = text && method.v.s.size == 20 && !memcmp(method.v.s.data, "group_limited_greedy", 20);
        if (found && !grouped && !(text && method.v.s.size == 6 && !memcmp(method.v.s.data, "greedy", 6)))
            return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED, key_method, error,
                                    "is \"%.*s\", want \"greedy\" or \"group_limited_greedy\"",
                                    text ? (int)mlxn_min_u64(method.v.s.size, 40) : 0, text ? method.v.s.data : "");
    }
    if (!grouped) return MLXN_OK;
    status = mlxn_lm_key_u32(model, key_groups, &s->route_groups, error);
    if (status == MLXN_OK) status = mlxn_lm_key_u32(model, key_top, &s->route_top_groups, error);
    if (status == MLXN_OK && (s->n_experts % s->route_groups || s->route_top_groups > s->route_groups))
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_groups, error,
                                "is %u, want a divisor of %u experts, and at least as many as are taken, %u",
                                s->route_groups, s->n_experts, s->route_top_groups);
    return status;
}

/* How many of the first layers have no experts: a number that may be 0. */
static mlxn_status read_dense_layers(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key = {"leading_dense_block_count", "first_k_dense_replace"};
    mlxn_lm_value value;
    if (!mlxn_lm_find(model, key, &value)) return MLXN_OK;
    if (value.type != MLXN_LM_INTEGER || value.v.i < 0 || value.v.i > model->shape.n_layers)
        return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key, error, "is %lld, want 0 to %u",
                                value.type == MLXN_LM_INTEGER ? (long long)value.v.i : -1, model->shape.n_layers);
    model->shape.n_dense_layers = (uint32_t)value.v.i;
    return MLXN_OK;
}

static mlxn_status configure(mlxn_model *model, mlxn_error *error) {
    const mlxn_lm_names key_q = {"attention.q_lora_rank", "q_lora_rank"}, key_nope = {NULL, "qk_nope_head_dim"};
    mlxn_lm_shape *s = &model->shape;
    mlxn_lm_value value;
    uint32_t nope = 0;
    mlxn_status status =
        mlxn_lm_key_u32(model, MLXN_LM_KEY("attention.kv_lora_rank", "kv_lora_rank"), &s->kv_rank, error);
    if (status == MLXN_OK && mlxn_lm_find(model, key_q, &value))
        status = mlxn_lm_key_u32(model, key_q, &s->q_rank, error);
    if (status == MLXN_OK && mlxn_lm_source_is_folder(model->source)) {
        status = mlxn_lm_key_u32(model, key_nope, &nope, error);
        if (status == MLXN_OK)
            status = mlxn_lm_key_u32(model, MLXN_LM_KEY(NULL, "v_head_dim"), &s->v_head_dim, error);
        if (status == MLXN_OK && (nope > 4096 || s->v_head_dim > 4096 || s->kv_rank > 1 << 20 || s->q_rank > 1 << 20))
            return mlxn_lm_key_fail(model, MLXN_ERR_FORMAT, key_nope, error,
                                    "is %u, and values have %u dims, want at most 4096 of each", nope, s->v_head_dim);
        s->head_dim = nope + s->rope_dims; /* the rotary part is what was read as a head */
    }
    if (status != MLXN_OK) return status;
    if (s->n_kv_heads != s->n_heads || s->head_dim <= s->rope_dims)
        return mlxn_lm_key_fail(model, MLXN_ERR_UNSUPPORTED,
                                MLXN_LM_KEY("attention.head_count_kv", "num_key_value_heads"), error,
                                "is %u, with heads of %u dims of which %u turn, want as many as heads, %u",
                                s->n_kv_heads, s->head_dim, s->rope_dims, s->n_heads);
    s->rope_pairing = MLXN_ROPE_INTERLEAVED;
    status = read_dense_layers(model, error);
    if (status == MLXN_OK) status = read_scale(model, error);
    return status != MLXN_OK ? status : read_route(model, error);
}

/* Dims [first, first + count) of each head of rows whose heads are `width` long, and whose rows are `row` long. */
static mlxn_tensor part(mlxn_buffer *buffer, uint64_t n, uint32_t heads, uint64_t row, uint64_t width, uint64_t first,
                        uint64_t count) {
    mlxn_tensor t = mlxn_tensor_3d(buffer, first * sizeof(float), MLXN_F32, n, heads, count);
    t.strides[0] = (int64_t)row;
    t.strides[1] = (int64_t)width;
    return t;
}

/* f->h to queries, keys and values. */
static void project(const mlxn_lm_forward *f, uint32_t i) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_lm_layer *l = &f->model->layers[i];
    const mlxn_lm_work *w = f->work;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const uint32_t turned = s->rope_dims, still = s->head_dim - turned, n = f->n, heads = s->n_heads;
    const uint64_t a = s->kv_rank + (uint64_t)turned, both = still + (uint64_t)s->v_head_dim;
    mlxn_encoder *e = f->encoder;
    mlxn_tensor kv_a = mlxn_tensor_2d(w->kv_a, 0, MLXN_F32, n, a), compressed = kv_a;
    mlxn_tensor latent = mlxn_tensor_2d(w->latent, 0, MLXN_F32, n, s->kv_rank);
    if (s->q_rank) {
        mlxn_tensor q_a = mlxn_tensor_2d(w->q_a, 0, MLXN_F32, n, s->q_rank);
        mlxn_matmul(e, f->h, l->q_a, none, none, q_a);
        mlxn_rms_norm(e, q_a, l->q_a_norm, q_a, &norm);
        mlxn_matmul(e, q_a, l->q_b, none, none, f->q);
    } else {
        mlxn_matmul(e, f->h, l->q, none, none, f->q);
    }
    mlxn_matmul(e, f->h, l->kv_a, none, none, kv_a);
    compressed.dims[1] = s->kv_rank;
    mlxn_rms_norm(e, compressed, l->kv_a_norm, latent, &norm);
    mlxn_matmul(e, latent, l->kv_b, none, none, mlxn_tensor_2d(w->kv_b, 0, MLXN_F32, n, heads * both));
    mlxn_lm_rope(f, i, part(f->q.buffer, n, heads, heads * (uint64_t)s->head_dim, s->head_dim, still, turned));
    mlxn_lm_rope(f, i, part(w->kv_a, n, 1, a, a, s->kv_rank, turned));
    /* Keys: each head's own part, and the one that turned. */
    const uint64_t row = heads * (uint64_t)s->head_dim;
    mlxn_copy(e, part(w->kv_b, n, heads, heads * both, both, 0, still),
              part(f->k.buffer, n, heads, row, s->head_dim, 0, still));
    mlxn_copy(e, part(w->kv_a, n, heads, a, 0, s->kv_rank, turned),
              part(f->k.buffer, n, heads, row, s->head_dim, still, turned));
    mlxn_copy(e, part(w->kv_b, n, heads, heads * both, both, still, s->v_head_dim), mlxn_lm_heads(f->v, heads));
}

static void feed_forward(const mlxn_lm_forward *f, mlxn_weight *gate, mlxn_weight *up, mlxn_weight *down,
                         uint64_t width) {
    const mlxn_tensor none = {0};
    mlxn_tensor g = mlxn_tensor_2d(f->gate.buffer, 0, MLXN_F32, f->n, width);
    mlxn_tensor u = mlxn_tensor_2d(f->up.buffer, 0, MLXN_F32, f->n, width);
    mlxn_matmul(f->encoder, f->h, gate, none, none, g);
    mlxn_matmul(f->encoder, f->h, up, none, none, u);
    mlxn_silu_mul(f->encoder, g, u, g);
    mlxn_matmul(f->encoder, g, down, none, f->x, f->x);
}

static void forward(mlxn_lm_forward *f) {
    const mlxn_lm_shape *s = &f->model->shape;
    const mlxn_tensor none = {0};
    const mlxn_rms_norm_params norm = {.eps = s->norm_eps};
    const mlxn_attention_params attention = {.scale = s->attention_scale};
    const mlxn_embedding_params embedding = {.scale = s->embedding_scale};
    mlxn_encoder *e = f->encoder;

    mlxn_embedding(e, f->tokens, f->model->token_embd, f->x, &embedding);
    for (uint32_t i = 0; i < s->n_layers; i++) {
        const mlxn_lm_layer *l = &f->model->layers[i];
        mlxn_rms_norm(e, f->x, l->attn_norm, f->h, &norm);
        project(f, i);
        mlxn_lm_store(f, i);
        if (i + 1 == s->n_layers && !mlxn_lm_keep_outputs(f)) return;
        mlxn_lm_attend(f, i, &attention);
        mlxn_matmul(e, f->att, l->o, none, f->x, f->x);

        mlxn_rms_norm(e, f->x, l->ffn_norm, f->h, &norm);
        if (l->router) {
            mlxn_lm_experts(f, l);
            if (l->gate_shared) feed_forward(f, l->gate_shared, l->up_shared, l->down_shared, s->n_ff_shared);
        } else {
            feed_forward(f, l->gate, l->up, l->down, s->n_ff);
        }
    }
    mlxn_lm_head(f);
}

/* config.json of the first published files leaves out what the class has as default. */
static const mlxn_lm_default folder_defaults[] = {
    {"qk_rope_head_dim", 64}, {"qk_nope_head_dim", 128}, {"v_head_dim", 128}, {"kv_lora_rank", 512}, {NULL, 0}};

const mlxn_lm_arch mlxn_lm_arch_deepseek_v2 = {
    .name = "deepseek_v2",
    .gguf = "deepseek2",
    .folder = "deepseek_v2",
    .folder_defaults = folder_defaults,
    .gguf_pairing = MLXN_ROPE_HALF, /* rows lie as in folders: configure says how */
    .folder_rotary = "qk_rope_head_dim",
    .activation = "silu",
    .experts = true,
    .values_differ = true,
    .has = has,
    .configure = configure,
    .layer_tensors = layer_tensors,
    .forward = forward,
};
