/* embedder.h: the insides of an encoder model: its shape, its tensors, and the buffers of a pass. */
#ifndef MLXN_LM_EMBEDDER_H
#define MLXN_LM_EMBEDDER_H

#include <mlxn/embed.h>
#include <mlxn/ops.h>
#include <mlxn/tokenizer.h>

#include "base/base.h"
#include "lm/source.h"

typedef struct mlxn_emb_linear {
    mlxn_weight *w;
    mlxn_tensor bias;
} mlxn_emb_linear;
typedef struct mlxn_emb_norm {
    mlxn_tensor w, bias;
} mlxn_emb_norm;
typedef struct mlxn_emb_layer {
    mlxn_emb_linear q, k, v, o, up, down;
    mlxn_emb_norm attention, out; /* each behind its branch */
} mlxn_emb_layer;

typedef struct mlxn_emb_shape {
    uint32_t n_layers, n_embd, n_ff, n_heads, n_vocab, n_ctx;
    uint32_t first_position; /* of a text: the row of the table; n_ctx are those from it on */
    float eps;
    uint32_t activation; /* mlxn_unary_fn */
} mlxn_emb_shape;

struct mlxn_embedder {
    mlxn_device *device;
    mlxn_lm_source *source;
    char *path_name; /* for messages */
    mlxn_emb_shape shape;
    mlxn_tokenizer *tokenizer; /* NULL: there is none */
    uint32_t max_length;
    mlxn_pooling pooling;
    bool normalize;
    mlxn_buffer **parts;  /* the mapped files */
    mlxn_buffer *vectors; /* biases, norms and positions, f32 */
    mlxn_weight *tokens;
    mlxn_tensor positions; /* [n_ctx, n_embd], with the vector of the first token type in each row */
    mlxn_emb_norm norm;
    mlxn_emb_layer *layers;
    uint64_t n_params;
    /* ---- a pass of up to n_batch tokens ---- */
    uint32_t n_batch;
    uint32_t *staging;                                   /* [3, n_batch] */
    mlxn_buffer *inputs;                                 /* u32 [3, n_batch]: tokens, positions, zeros */
    mlxn_buffer *x, *h, *q, *k, *v, *kc, *vc, *att, *up; /* f32 [n_batch, …] */
    mlxn_encoder *encoder;
};

/* embedder_load.c: shape, pooling and tensors of embedder->source. */
mlxn_status mlxn_emb_load(mlxn_embedder *embedder, const char *path, mlxn_error *error);

#endif
