/* embedder.h: the insides of an embedder: the shape and the tensors of an encoder, or the model that is one, what
 * comes behind it, and the buffers of a pass. */
#ifndef MLXN_LM_EMBEDDER_H
#define MLXN_LM_EMBEDDER_H

#include <mlxn/embed.h>
#include <mlxn/ops.h>
#include <mlxn/tokenizer.h>

#include "lm/lm_internal.h"

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

/* A linear layer behind pooling, with an activation unless it is plain. */
typedef struct mlxn_emb_dense {
    mlxn_safetensors *file;
    mlxn_buffer *data, *bias; /* the file, wrapped; f32 [out], or NULL */
    mlxn_weight *w;           /* [out, in] */
    uint32_t in, out, activation;
    bool plain;
} mlxn_emb_dense;

struct mlxn_embedder {
    mlxn_device *device;
    mlxn_lm_source *source; /* of BERT, else NULL */
    mlxn_model *lm;         /* another model's; NULL: the tensors are those below */
    char *path_name;        /* for messages */
    mlxn_emb_shape shape;
    mlxn_tokenizer *tokenizer; /* BERT's; NULL: there is none */
    uint32_t max_length;
    mlxn_pooling pooling;
    bool normalize;
    uint32_t width; /* of results */
    mlxn_emb_dense *dense;
    uint32_t n_dense;
    mlxn_buffer *dense_rows[2];
    char *prompt;                /* before each text; NULL: none */
    bool pooled, without_prompt; /* pooling was read; the prompt's tokens would be left out of it */
    mlxn_buffer **parts;         /* the mapped files */
    mlxn_buffer *vectors;        /* biases, norms and positions, f32 */
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
    mlxn_lm_work work; /* of embedder->lm, which has of those above kc and vc alone */
    mlxn_encoder *encoder;
};

/* embedder_load.c: shape, tokenizer and tensors of embedder->source. */
mlxn_status mlxn_emb_load(mlxn_embedder *embedder, const char *path, mlxn_error *error);

/* embedder_lm.c: embedder->lm and its shape; its work; a pass whose rows' vectors come to lie in the result. */
mlxn_status mlxn_emb_load_lm(mlxn_embedder *embedder, const char *path, mlxn_error *error);
mlxn_status mlxn_emb_make_lm_work(mlxn_embedder *embedder, mlxn_error *error);
mlxn_buffer *mlxn_emb_record_lm(mlxn_embedder *embedder, const uint32_t *lengths, size_t n_texts, uint32_t n);

/* embedder_modules.c, of a folder: pooling, normalize, max_length, width, dense layers and prompt; once the shape is
 * known. Errors: FORMAT, UNSUPPORTED (a module, a pooling), NOT_FOUND (a file, the prompt), IO, MEMORY, LIMIT. */
mlxn_status mlxn_emb_read_modules(mlxn_embedder *embedder, const char *folder, const mlxn_embedder_desc *desc,
                                  mlxn_error *error);
/* The dense layers: [n, n_embd] to [n, width]. */
mlxn_status mlxn_emb_dense_run(mlxn_embedder *embedder, const float *pooled, size_t n, float *out, mlxn_error *error);
void mlxn_emb_free_modules(mlxn_embedder *embedder);

#endif
