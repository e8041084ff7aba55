/* embedder_lm.c: models that continue texts, or were made of such, as embedders: the last norm's rows of a pass in
 * which each text attends within itself. Qwen3-Embedding (Zhang et al. 2025) is one, whose tokens see those before
 * them; EmbeddingGemma (Vera et al. 2025) another, whose tokens see those behind them too. */
#include "lm/embedder.h"

mlxn_status mlxn_emb_load_lm(mlxn_embedder *m, const char *path, mlxn_error *error) {
    mlxn_status status = mlxn_lm_load_headless(m->device, path, &m->lm, error);
    if (status) return status;
    const mlxn_lm_shape *s = &m->lm->shape;
    mlxn_model_info info = {.struct_size = sizeof info};
    for (uint32_t i = 0; i < s->n_layers; i++) {
        bool recurrent = m->lm->layers[i].recurrent;
        if (recurrent || m->lm->layers[i].cache != i)
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: layer %u %s, which embedders do not have",
                             m->path_name, i, recurrent ? "is recurrent" : "shares another's keys");
    }
    mlxn_model_get_info(m->lm, &info);
    m->n_params = info.n_params;
    m->shape = (mlxn_emb_shape){.n_layers = s->n_layers,
                                .n_embd = s->n_embd,
                                .n_ff = s->n_ff,
                                .n_heads = s->n_heads,
                                .n_vocab = s->n_vocab,
                                .n_ctx = s->n_ctx_train};
    return MLXN_OK;
}

mlxn_status mlxn_emb_make_lm_work(mlxn_embedder *m, mlxn_error *error) {
    uint64_t n = m->n_batch, kv = mlxn_lm_widest(m->lm, MLXN_LM_KV),
             values = mlxn_lm_widest(m->lm, MLXN_LM_KV_VALUES);
    mlxn_status status = mlxn_lm_work_create(m->lm, m->n_batch, &m->work, error);
    if (!status) status = mlxn_buffer_create(m->device, n * 4 * kv, &m->kc, error);
    return status ? status : mlxn_buffer_create(m->device, n * 4 * values, &m->vc, error);
}

mlxn_buffer *mlxn_emb_record_lm(mlxn_embedder *m, const uint32_t *lengths, size_t n_texts, uint32_t n) {
    const mlxn_lm_texts texts = {.lengths = lengths, .n = n_texts, .k = m->kc, .v = m->vc};
    mlxn_lm_forward f = {.encoder = m->encoder,
                         .model = m->lm,
                         .work = &m->work,
                         .texts = &texts,
                         .n = n,
                         .n_out = n,
                         .one_sequence = n_texts == 1,
                         .long_context = m->max_length > m->lm->shape.rope_long_from,
                         .tokens = mlxn_tensor_1d(m->inputs, 0, MLXN_U32, n),
                         .positions = mlxn_tensor_1d(m->inputs, (uint64_t)m->n_batch * 4, MLXN_U32, n),
                         .sequences = mlxn_tensor_1d(m->inputs, (uint64_t)m->n_batch * 8, MLXN_U32, n)};
    mlxn_lm_set_rows(&f);
    m->lm->arch->forward(&f);
    return m->work.h;
}
