/* lm_internal.h: what the files of the model layer share: a loaded model, its architecture row, a context.
 *
 * An architecture is one file in arch/ and one row in arch/table.c: it reads its own metadata keys, lists the tensors
 * of a layer, and records the forward pass with public operations. Everything else here is common to all of them. */
#ifndef MLXN_SRC_LM_INTERNAL_H
#define MLXN_SRC_LM_INTERNAL_H

#include <mlxn/executor.h>
#include <mlxn/io.h>
#include <mlxn/kv.h>
#include <mlxn/lm.h>
#include <mlxn/ops.h>
#include <stdatomic.h>

#include "base/base.h"
#include "lm/source.h"
#include "lm/tokenizer.h"

/* ---- model ---- */

typedef struct mlxn_lm_shape {
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_ctx_train;
    uint32_t v_head_dim;                             /* of values; head_dim is of queries and keys */
    uint32_t n_experts, n_experts_used, n_ff_expert; /* 0: no mixture of experts */
    uint32_t n_embd_layer, n_vocab_layer;            /* numbers that each layer gets of a token by itself; 0: none */
    uint32_t n_dense_layers, n_ff_shared;    /* first layers without experts; of experts that every token takes */
    float route_factor;                      /* multiplies the weights of experts; 0: nothing */
    uint32_t route_groups, route_top_groups; /* experts are taken from the best groups; 0: from all */
    uint32_t q_rank,
        kv_rank;            /* latent attention: queries (0: directly), keys and values go through so many numbers */
    bool normalize_experts; /* the weights of the chosen ones add up to 1 */
    bool route_selected;    /* they are a softmax over the chosen ones alone */
    float glu_alpha, glu_limit;       /* of the experts' clamped SwiGLU; 0: the usual one */
    uint32_t rope_dims, rope_pairing; /* mlxn_rope_pairing */
    uint32_t window;                  /* of the sliding layers; 0 = every layer is global */
    float norm_eps;
    float rope_base;
    float rope_freq_scale;   /* 1 / the linear scaling factor */
    float rope_attn_factor;  /* multiplies sines and cosines */
    uint32_t rope_long_from; /* contexts longer than this take the second set of factors, if there is one */
    float rope_base_window;  /* of the sliding layers, whose frequencies are then not scaled; 0: as all others */
    float embedding_scale;   /* 0 = 1 */
    float attention_scale;   /* multiplies q.k */
    float attention_softcap, logit_softcap; /* 0: none */
    bool both_ways;      /* tokens see those behind them too: it embeds texts, and does not continue them */
    bool attention_gate; /* queries come with a gate for what attention gives */
    /* Of layers of gated delta net: heads of keys and of values, their lengths, taps of the convolution; 0: none. */
    uint32_t delta_k_heads, delta_v_heads, delta_k_dim, delta_v_dim, delta_taps;
} mlxn_lm_shape;

/* Vectors are f32 views (buffer NULL if the architecture or the file has none), matrices are weights. */
typedef struct mlxn_lm_layer {
    bool sliding;
    bool recurrent; /* it has a state instead of keys and values */
    /* As the shape has them, unless configure sets others for the layer. */
    uint32_t n_kv_heads, head_dim, v_head_dim, n_ff;
    uint32_t cache; /* the layer, this one or one before it, whose keys and values it sees */
    mlxn_tensor attn_norm, q_norm, k_norm, post_attn_norm, ffn_norm, post_ffn_norm;
    mlxn_tensor q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
    mlxn_weight *q, *k, *v, *o, *gate, *up, *down;
    /* A mixture of experts has these instead; the biases are optional, [experts] and [experts, width]. */
    mlxn_weight *router, *gate_experts, *up_experts, *down_experts;
    mlxn_tensor router_bias, gate_experts_bias, up_experts_bias, down_experts_bias;
    mlxn_weight *gate_shared, *up_shared, *down_shared;
    mlxn_weight *q_a, *q_b, *kv_a, *kv_b; /* latent attention */
    mlxn_tensor q_a_norm, kv_a_norm;
    mlxn_weight *shared_gate; /* of the experts that every token takes: one row; NULL: they count as they are */
    /* Gated delta net: the projections in one matrix and a small one, head by head, or in four. */
    mlxn_weight *delta_qkvz, *delta_ba, *delta_qkv, *delta_z, *delta_b, *delta_a, *delta_out;
    mlxn_tensor delta_conv, delta_dt_bias, delta_rate, delta_norm; /* conv: [channels, taps]; rate: -e^A_log */
    mlxn_tensor router_norm, router_scale, post_mlp_norm, ffn_norm_experts, post_experts_norm;
    mlxn_weight *embd_gate, *embd_out; /* of the layer's own input from tokens */
    mlxn_tensor post_embd_norm;
    mlxn_tensor scalar; /* [1], multiplies what the layer gives */
    mlxn_tensor sinks;  /* optional, [n_heads]: one more score in the sum that each head's weights are divided by */
} mlxn_lm_layer;

/* A dimension of a tensor, in terms of the shape. */
typedef enum mlxn_lm_dim {
    MLXN_LM_NONE = 0, /* vectors have no columns; begin: the first row */
    MLXN_LM_EMBD,
    MLXN_LM_FF,
    MLXN_LM_HEAD, /* head_dim */
    MLXN_LM_Q,    /* n_heads x head_dim */
    MLXN_LM_KV,   /* n_kv_heads x head_dim */
    MLXN_LM_VOCAB,
    MLXN_LM_ROPE_PAIRS,
    MLXN_LM_HEADS,
    MLXN_LM_EXPERTS,
    MLXN_LM_FF_EXPERT,
    MLXN_LM_FF_TWICE,
    MLXN_LM_FF_SHARED,
    MLXN_LM_VALUES, /* n_heads x v_head_dim */
    MLXN_LM_Q_RANK,
    MLXN_LM_KV_RANK,
    MLXN_LM_KV_A,    /* the latent, and the rotary part of keys, which all heads share */
    MLXN_LM_KV_B,    /* of each head the rest of its keys, and its values */
    MLXN_LM_Q_KV,    /* queries and keys */
    MLXN_LM_Q_KV_KV, /* and values */
    MLXN_LM_ONE,
    MLXN_LM_Q_TWICE,           /* queries and gates */
    MLXN_LM_DELTA_QKVZ,        /* of gated delta net: queries, keys, values and gates */
    MLXN_LM_DELTA_QKV,         /* what its convolution goes over */
    MLXN_LM_DELTA_VALUES,      /* heads of values x their length */
    MLXN_LM_DELTA_HEADS_TWICE, /* heads of values, */
    MLXN_LM_DELTA_HEADS,
    MLXN_LM_DELTA_VALUE, /* length of one */
    MLXN_LM_DELTA_TAPS,
    MLXN_LM_EMBD_LAYER,  /* a layer's own numbers of a token */
    MLXN_LM_EMBD_LAYERS, /* of all layers */
    MLXN_LM_VOCAB_LAYER,
    MLXN_LM_KV_VALUES /* n_kv_heads x v_head_dim */
} mlxn_lm_dim;

/* What becomes of a vector's elements. */
typedef enum mlxn_lm_change {
    MLXN_LM_SHIFT = 0, /* folder_vector_shift is added */
    MLXN_LM_KEEP,
    MLXN_LM_NEGATIVE_EXP /* -e^x in folders; GGUF has it so */
} mlxn_lm_change;

/* One tensor: it goes to the member at `member` of mlxn_lm_layer, or of mlxn_model for those of no layer. cols ==
 * NONE: a vector. */
typedef struct mlxn_lm_tensor_spec {
    mlxn_lm_names names; /* both NULL end a list */
    size_t member;
    mlxn_lm_dim rows, cols;
    bool optional;
    mlxn_lm_dim whole,
        begin;           /* not NONE: the tensor has `whole` rows, and the member gets those from row `begin` on */
    mlxn_lm_dim experts; /* not NONE: a stack of matrices, */
    const char *each;    /* which folders may also keep one by one, with %u for the number, */
    const char *joined;  /* or in a stack of matrices of `joined_parts` times the rows, of which these are part */
    uint32_t joined_part, joined_parts;
    mlxn_lm_dim taps;      /* not NONE: a vector for each row, in folders with a dim of 1 beside */
    mlxn_lm_change change; /* of vectors */
} mlxn_lm_tensor_spec;
#define MLXN_LM_MATRIX(gguf, folder, at, rows_, cols_) \
    { .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = rows_, .cols = cols_ }
#define MLXN_LM_SLICE(gguf, folder, at, rows_, cols_, whole_, begin_)                                 \
    {                                                                                                 \
        .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = rows_, .cols = cols_, \
        .whole = whole_, .begin = begin_                                                              \
    }
#define MLXN_LM_STACK(gguf, folder, each_, at, rows_, cols_)                                          \
    {                                                                                                 \
        .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = rows_, .cols = cols_, \
        .experts = MLXN_LM_EXPERTS, .each = each_                                                     \
    }
#define MLXN_LM_VECTOR(gguf, folder, at, dim) \
    { .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = dim }
#define MLXN_LM_OPTIONAL_VECTOR(gguf, folder, at, dim) \
    { .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = dim, .optional = true }
#define MLXN_LM_JOINED_STACK(gguf, folder, each_, joined_, part, parts, at, rows_, cols_)                        \
    {                                                                                                            \
        .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = rows_, .cols = cols_,            \
        .experts = MLXN_LM_EXPERTS, .each = each_, .joined = joined_, .joined_part = part, .joined_parts = parts \
    }
#define MLXN_LM_CHANGED_VECTOR(gguf, folder, at, dim, change_) \
    { .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = dim, .change = change_ }
#define MLXN_LM_TAPS(gguf, folder, at, dim, taps_)                                                  \
    {                                                                                               \
        .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = dim, .taps = taps_, \
        .change = MLXN_LM_KEEP                                                                      \
    }
/* A vector for each expert. */
#define MLXN_LM_VECTORS(gguf, folder, at, dim) \
    { .names = {gguf, folder}, .member = offsetof(mlxn_lm_layer, at), .rows = dim, .experts = MLXN_LM_EXPERTS }
#define MLXN_LM_END             \
    {                           \
        .names = { NULL, NULL } \
    }
static inline bool mlxn_lm_spec_ends(const mlxn_lm_tensor_spec *spec) {
    return !spec->names.gguf && !spec->names.folder;
}

typedef struct mlxn_lm_default {
    const char *key;
    double value; /* an integer if it is one */
} mlxn_lm_default;

typedef struct mlxn_lm_forward mlxn_lm_forward;

enum { MLXN_LM_NO_LAYER = INT32_MAX };

typedef struct mlxn_lm_arch {
    const char *name;
    const char *gguf;   /* general.architecture; NULL: there are no such files */
    const char *folder; /* values of model_type in config.json, separated by spaces */
    /* Values of keys that a config.json may leave out; ends with a NULL. */
    const mlxn_lm_default *folder_defaults;
    uint32_t gguf_pairing;     /* how GGUF files order the rows of q and k: mlxn_rope_pairing; folders: HALF */
    const char *activation;    /* of the feed-forward part, as config.json names it */
    float folder_vector_shift; /* added to every vector of a folder: 1 where norms are stored as w - 1 */
    bool tied;                 /* the head is the embedding unless config.json says otherwise */
    bool proportional;         /* rope of type "proportional": some pairs of the whole head turn */
    bool yarn_is_long;         /* old folders call LongRoPE "yarn" */
    bool yarn_fractions;       /* YaRN's ramp lies between fractions of pairs where a file does not say */
    bool experts;              /* the feed-forward part is a mixture of experts */
    /* After the common keys are in model->shape: the architecture's own ones, and which layers slide. May be NULL. */
    mlxn_status (*configure)(mlxn_model *model, mlxn_error *error);
    const mlxn_lm_tensor_spec *layer_tensors;
    const mlxn_lm_tensor_spec *model_tensors; /* of no layer, beside those that all have; NULL: none */
    /* Whether a layer has a tensor of the list, or the model (layer MLXN_LM_NO_LAYER); NULL: all have all. */
    bool (*has)(const mlxn_model *model, const mlxn_lm_tensor_spec *spec, uint32_t layer);
    const char *folder_rotary; /* the key for how many dims of a head turn; NULL: those of "head_dim" */
    bool values_differ;        /* values may have another length than keys */
    /* Records one pass. Errors stick to the encoder. */
    void (*forward)(mlxn_lm_forward *f);
} mlxn_lm_arch;

/* The row of a general.architecture, or of a folder's model_type; NULL if there is none. */
const mlxn_lm_arch *mlxn_lm_arch_find(mlxn_string name, bool folder);
/* "gemma3, llama, qwen2", for messages. */
const char *mlxn_lm_arch_names(void);

struct mlxn_model {
    atomic_uint references;
    mlxn_device *device; /* NULL if vocab_only */
    mlxn_lm_source *source;
    char *path_name; /* the file's or folder's name without the folders above it, for messages */
    char *name;
    const mlxn_lm_arch *arch;
    mlxn_tokenizer *tokenizer;
    _Atomic(struct mlxn_token_trie *) trie; /* token_trie.h; NULL until it is needed */
    bool vocab_only;
    mlxn_lm_shape shape;
    mlxn_lm_layer *layers;
    mlxn_buffer **parts;  /* the mapped files, one wrapped buffer for each */
    mlxn_buffer *vectors; /* norms and biases that cannot be views of the file: other types, or unaligned */
    uint64_t vectors_used;
    mlxn_weight *token_embd, *head; /* head == token_embd if tied (then counted once) */
    mlxn_tensor output_norm;
    mlxn_weight *layer_embd, *layer_projection; /* what layers get of tokens by themselves */
    mlxn_tensor layer_norm;
    mlxn_tensor
        rope_factors[2];   /* divide frequencies; the second, if there is one, in contexts over rope_long_from */
    float *rope_values[2]; /* those that were computed, until they are on the device */
    bool shifted;          /* a folder whose norms have folder_vector_shift already */
    bool tied;             /* the head is the embedding, whatever else the files hold */
    bool headless;         /* what a pass gives are the last norm's rows: no head is loaded */
    bool untied;           /* it must be a tensor of its own */
    mlxn_token *ends;      /* of a folder: the end tokens that its configs name */
    size_t n_ends;
    uint64_t n_params, bytes_per_token;
};

/* Hyper-parameters. The `or` forms take a default when the key is absent. Errors name file, key and value. u32
 * rejects 0; f32 rejects what is not a positive finite number. */
mlxn_status mlxn_lm_key_u32(const mlxn_model *model, mlxn_lm_names key, uint32_t *out, mlxn_error *error);
mlxn_status mlxn_lm_key_u32_or(const mlxn_model *model, mlxn_lm_names key, uint32_t otherwise, uint32_t *out,
                               mlxn_error *error);
mlxn_status mlxn_lm_key_f32(const mlxn_model *model, mlxn_lm_names key, float *out, mlxn_error *error);
mlxn_status mlxn_lm_key_f32_or(const mlxn_model *model, mlxn_lm_names key, float otherwise, float *out,
                               mlxn_error *error);
mlxn_status mlxn_lm_key_bool_or(const mlxn_model *model, mlxn_lm_names key, bool otherwise, bool *out,
                                mlxn_error *error);
#define MLXN_LM_KEY(gguf, folder) ((mlxn_lm_names){gguf, folder})
typedef struct mlxn_lm_full_name {
    char s[160];
} mlxn_lm_full_name;
/* As the source spells it: "<architecture>.<key>" in GGUF files. */
mlxn_lm_full_name mlxn_lm_key_name(const mlxn_model *model, mlxn_lm_names key);
/* false if the key is absent, or null, and the architecture has no default for it (which null does not take). */
bool mlxn_lm_find(const mlxn_model *model, mlxn_lm_names key, mlxn_lm_value *out);
/* "<file>: key "<name>" <text>", where the file is that which holds the keys. */
mlxn_status mlxn_lm_key_fail(const mlxn_model *model, mlxn_status status, mlxn_lm_names key, mlxn_error *error,
                             const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Of a folder: name, end tokens, tokenizer, chat template. */
mlxn_status mlxn_lm_prepare_folder(mlxn_model *model, const char *path, mlxn_error *error);
/* Reads and checks every key that all architectures share, then calls the row's configure. */
mlxn_status mlxn_lm_read_shape(mlxn_model *model, mlxn_error *error);
/* The part of it that goes over layers, which a model of vocabulary alone is without. */
mlxn_status mlxn_lm_read_layers(mlxn_model *model, mlxn_error *error);
/* How many experts, how many of them for a token, and how wide. */
mlxn_status mlxn_lm_read_experts(mlxn_model *model, mlxn_error *error);
/* The part of it that concerns rope. */
mlxn_status mlxn_lm_read_rope(mlxn_model *model, mlxn_error *error);
/* Sliding windows: their width, and which layers have one, where the source does not say it layer by layer. A folder
 * without a width has none. */
typedef enum mlxn_lm_slide {
    MLXN_LM_SLIDE_ALL,
    MLXN_LM_SLIDE_ALL_BUT_NTH, /* n, 2n, ... counted from 1 */
    MLXN_LM_SLIDE_FROM         /* layer n, counted from 0 */
} mlxn_lm_slide;
mlxn_status mlxn_lm_read_window(mlxn_model *model, mlxn_lm_slide rule, uint32_t n, mlxn_error *error);
/* Creates weights and vectors. */
mlxn_status mlxn_lm_load_tensors(mlxn_model *model, const mlxn_model_desc *desc, mlxn_error *error);
uint64_t mlxn_lm_dim_value(const mlxn_lm_shape *shape, mlxn_lm_dim dim);
/* The same where layers may differ: of one layer; the largest of all. */
uint64_t mlxn_lm_layer_dim(const mlxn_model *model, uint32_t layer, mlxn_lm_dim dim);
uint64_t mlxn_lm_widest(const mlxn_model *model, mlxn_lm_dim dim);

/* Copies a caller's descriptor of any version into a zeroed one of `size` bytes; NULL gives all zeros. false if its
 * struct_size is 0. */
static inline bool mlxn_lm_copy_desc(void *to, size_t size, const void *from) {
    memset(to, 0, size);
    if (!from) return true;
    uint32_t given;
    memcpy(&given, from, sizeof given);
    if (given == 0) return false;
    memcpy(to, from, given < size ? given : size);
    return true;
}

/* ---- log-probabilities (logprobs.c) ---- */

/* Fills chosen->logprob, and the tokens and log-probabilities of the n likeliest, best first, the lower id first
 * among equals; returns how many there are (fewer when logits are NaN). */
uint32_t mlxn_lm_logprobs(const float *logits, uint32_t n_vocab, mlxn_logprob *chosen, mlxn_logprob *top, uint32_t n);

/* ---- KV cache ---- */

typedef struct mlxn_lm_kv_layer {
    mlxn_buffer *k, *v; /* [n_sequences, n_kv_heads, capacity] rows of head_dim values, as the types store them */
    uint32_t capacity;  /* positions p live in slot p mod capacity; 0: a recurrent layer, which has no k and v, but */
    /* states, f32: the last inputs of the convolution, [n_states, channels, taps - 1], and a matrix for each head of
     * values, [n_states, heads, v_dim, k_dim]. State i < n_sequences is that of sequence i now, then come
     * checkpoints: see checkpoints.c. */
    mlxn_buffer *conv, *state;
} mlxn_lm_kv_layer;

typedef struct mlxn_lm_kv {
    mlxn_lm_kv_layer *layers;
    uint32_t n_layers, n_sequences;
    uint32_t n_states; /* 0: no layer is recurrent */
    mlxn_kv_type k_type, v_type;
    uint64_t conv_floats, state_floats; /* of one state of one layer */
    uint64_t bytes;
} mlxn_lm_kv;

/* Calls of so many rows of a sequence are prompts, which leave a checkpoint before their last row. Fewer rows have
 * the bits that each has alone: chunks of gated delta net begin at so many. */
enum { MLXN_LM_LONG_PROMPT = 32 };

/* What a cache is made for. */
typedef struct mlxn_lm_kv_desc {
    uint32_t n_ctx, n_sequences, n_batch, n_states;
    mlxn_kv_type k_type, v_type;
} mlxn_lm_kv_desc;

/* Sliding layers keep a ring of window + n_batch positions, which is what a step of n_batch rows can look back on. */
mlxn_status mlxn_lm_kv_create(const mlxn_model *model, const mlxn_lm_kv_desc *desc, mlxn_lm_kv *out,
                              mlxn_error *error);
/* What create will take of the device. */
mlxn_status mlxn_lm_kv_bytes(const mlxn_model *model, const mlxn_lm_kv_desc *desc, uint64_t *out, mlxn_error *error);
void mlxn_lm_kv_destroy(mlxn_lm_kv *kv);
/* True if a row at position `length` still finds all that its window needs, when positions from `first` to below
 * `written` have been stored. */
bool mlxn_lm_kv_holds(const mlxn_lm_kv *kv, const mlxn_model *model, uint32_t length, uint32_t first,
                      uint32_t written);

/* ---- context ---- */

/* Activations of one step, all [n_batch, ...] f32. */
typedef struct mlxn_lm_work {
    mlxn_buffer *x, *h, *q, *k, *v, *att, *gate, *up;
    mlxn_buffer *out_x, *out_q; /* the rows whose logits are wanted, in the last layer */
    /* Of mixtures of experts: [n_batch, experts] scores, [n_batch, used] numbers (u32) and weights, [n_batch x used,
     * ...] */
    mlxn_buffer *q_a, *kv_a, *latent, *kv_b; /* of latent attention */
    mlxn_buffer *wide, *out_wide;            /* queries with gates */
    mlxn_buffer *delta_fused, *delta_mix, *delta_z, *delta_ba, *delta_a, *delta_b, *delta_g, *delta_beta, *delta_out;
    mlxn_buffer *shared, *shared_score;        /* of experts that every token takes */
    mlxn_buffer *layer_inputs, *layer_scratch; /* [n_batch, layers x n_embd_layer] */
    mlxn_buffer *router, *expert_ids, *expert_weights, *expert_gate, *expert_up, *expert_out;
} mlxn_lm_work;

/* Makes the buffers for steps of n rows; destroy also after an error. bytes: what create will take, added to *sum. */
mlxn_status mlxn_lm_work_create(const mlxn_model *model, uint32_t n, mlxn_lm_work *work, mlxn_error *error);
mlxn_status mlxn_lm_work_bytes(const mlxn_model *model, uint32_t n, uint64_t *sum, mlxn_error *error);
void mlxn_lm_work_destroy(const mlxn_model *model, mlxn_lm_work *work);

/* Texts whose tokens are the rows of one step, one text behind the other. Each attends within itself: there is no
 * cache, and the step ends with the last norm, in f->h. */
typedef struct mlxn_lm_texts {
    const uint32_t *lengths;
    size_t n;
    mlxn_buffer *k, *v; /* f32, as large as the step's */
} mlxn_lm_texts;

/* What architectures see of one step of n rows, n_out of which want logits. */
struct mlxn_lm_forward {
    mlxn_encoder *encoder;
    const mlxn_model *model;
    const mlxn_lm_kv *kv;
    const mlxn_lm_work *work;
    const mlxn_lm_texts *texts; /* NULL: a context's step */
    uint32_t n, n_out;
    bool one_sequence;                                      /* all rows are of one */
    bool long_context;                                      /* the second set of rope factors holds */
    mlxn_tensor tokens, positions, sequences;               /* [n] u32 */
    mlxn_tensor out_rows, out_positions, out_sequences;     /* [n_out] u32 */
    mlxn_tensor x, h, q, k, v, att, gate, up, out_x, out_q; /* [n, width]; out_*: [n_out, width] */
    mlxn_tensor logits;                                     /* [n_out, n_vocab] */
};

/* The same rows of `t` seen as [n, heads, length of a head]. */
mlxn_tensor mlxn_lm_heads(mlxn_tensor t, uint32_t heads);
/* Sets f->q, k, v, att, gate and up to what layer `layer` has, where layers differ. */
void mlxn_lm_enter_layer(mlxn_lm_forward *f, uint32_t layer);
/* Turns the heads of `x` as the layer's positions say, in place. */
void mlxn_lm_rope(const mlxn_lm_forward *f, uint32_t layer, mlxn_tensor x);
/* Stores the keys and values of layer `layer`, in f->k and f->v, in the cache. */
void mlxn_lm_store(const mlxn_lm_forward *f, uint32_t layer);
/* Queries in f->q attend to the cache of the layer; the result goes to f->att. Of `params` the types and the window
 * are filled in. */
void mlxn_lm_attend(const mlxn_lm_forward *f, uint32_t layer, const mlxn_attention_params *params);
/* Called once, in the last layer that stores keys and values, after that: goes on with the rows that want logits
 * alone, in f->x and f->q. false if there are none: then the pass is complete. */
bool mlxn_lm_keep_outputs(mlxn_lm_forward *f);
/* Gated delta net of f->h, added to f->x (delta.c). */
void mlxn_lm_delta(const mlxn_lm_forward *f, uint32_t layer);
/* Adds a mixture of experts of f->h to f->x, and where there is a shared_gate what every token takes. */
void mlxn_lm_experts(const mlxn_lm_forward *f, const mlxn_lm_layer *layer);
/* Of llama.c: tensors and pass, for architectures whose layers have the same form; absent biases and norms are left
 * out. */
extern const mlxn_lm_tensor_spec mlxn_lm_llama_tensors[];
void mlxn_lm_forward_llama(mlxn_lm_forward *f);
/* Of qwen2.c: the windows of that family. */
mlxn_status mlxn_lm_configure_qwen(mlxn_model *model, mlxn_error *error);
/* What the rows of Gemma 2 and 3 have in common. */
#define MLXN_LM_GEMMA_ROW                                                                                  \
    .folder_defaults = folder_defaults, .gguf_pairing = MLXN_ROPE_HALF, .activation = "gelu_pytorch_tanh", \
    .folder_vector_shift = 1, .tied = true, .configure = configure, .layer_tensors = layer_tensors,        \
    .forward = mlxn_lm_forward_gemma
/* Of gemma3.c: the scales of embeddings and queries (`deep`: how many layers the variant has that scales queries by
 * the width of the model) and the windows of the family, and the pass; absent norms are left out. */
mlxn_status mlxn_lm_configure_gemma(mlxn_model *model, uint32_t deep, uint32_t every, mlxn_error *error);
void mlxn_lm_forward_gemma(mlxn_lm_forward *f);
/* Of qwen3_next.c: which layers are recurrent, and their sizes, and the pass, for that family. */
mlxn_status mlxn_lm_configure_qwen_hybrid(mlxn_model *model, mlxn_error *error);
bool mlxn_lm_has_qwen_hybrid(const mlxn_model *model, const mlxn_lm_tensor_spec *spec, uint32_t layer);
void mlxn_lm_forward_qwen_hybrid(mlxn_lm_forward *f);
/* Final norm and head: f->x to f->logits. */
void mlxn_lm_head(mlxn_lm_forward *f);
/* f->n rows of f->work, the members that are views of it; all rows go on to the end. */
void mlxn_lm_set_rows(mlxn_lm_forward *f);
/* A model without its head, which embeds texts. Errors: as mlxn_model_load. */
mlxn_status mlxn_lm_load_headless(mlxn_device *device, const char *path, mlxn_model **out, mlxn_error *error);

enum { MLXN_LM_GRAPH_ROWS = 8 }; /* steps of up to this many rows (and sequences) replay a recorded graph */

/* States of one position, kept to go back to: number `state` of every recurrent layer's. */
typedef struct mlxn_lm_checkpoint {
    uint32_t position, state;
} mlxn_lm_checkpoint;

typedef struct mlxn_lm_sequence {
    uint32_t length;    /* tokens it holds */
    uint32_t written;   /* 1 + the largest position ever stored since it was last empty */
    uint32_t added;     /* scratch of decode: rows of this call */
    uint32_t oldest;    /* sliding layers hold no position below it: what a saved cache did not have */
    mlxn_token *tokens; /* [n_ctx], `length` of which count */
    /* Of models with recurrent layers (checkpoints.c): */
    uint32_t n_checkpoints;
    mlxn_lm_checkpoint *checkpoints; /* [the context's n_checkpoints], by position, all at most `length` */
    uint32_t submitted;              /* position of the state when all that was submitted is done */
    bool stale; /* the state is that of another position: before the next row it becomes that of `source`, or 0 */
    bool from_zero;
    uint32_t source;
    bool asked;  /* the next step takes a checkpoint */
    bool taking; /* the step that is recorded takes `next` */
    mlxn_lm_checkpoint next;
    bool seen;                     /* scratch */
    uint32_t step_rows, last_rows; /* of the step that is recorded, and of the one before */
} mlxn_lm_sequence;

struct mlxn_context {
    mlxn_model *model;
    mlxn_device *device;
    uint32_t n_ctx, n_sequences, n_batch, graph_flags;
    uint32_t n_checkpoints, checkpoint_every; /* of each sequence; tokens between two; 0 without recurrent layers */
    mlxn_executor *executor;                  /* MLXN_LM_GRAPH_DUAL, else NULL */
    mlxn_lm_kv kv;
    mlxn_lm_work work;
    mlxn_lm_sequence *sequences;
    mlxn_session *session; /* NULL after a failure: the next decode makes a new one */
    atomic_int cancelled;

    /* Steps of few rows: fixed inputs and logits, so that a recorded graph can be launched unchanged. */
    uint32_t graph_rows;
    mlxn_graph *graphs[MLXN_LM_GRAPH_ROWS][2]; /* [rows - 1][logits wanted] */
    mlxn_buffer *graph_inputs;                 /* u32 [3, graph_rows]: tokens, positions, sequences */
    mlxn_buffer *graph_logits;                 /* f32 [graph_rows, n_vocab] */

    /* All other steps: inputs of a whole call, written once before its first step; they grow with the calls. */
    uint64_t input_rows;
    uint32_t *staging;   /* u32 [6, input_rows], the host's copy */
    mlxn_buffer *inputs; /* tokens, positions, sequences, out_rows, out_positions, out_sequences */
    uint64_t logits_rows;
    mlxn_buffer *logits; /* f32 [logits_rows, n_vocab] */
    float *host_logits;  /* where device memory is not host-visible: what decode returns */
    uint64_t host_logits_rows;
};

/* ---- checkpoints (checkpoints.c); all are for contexts with recurrent layers, and do nothing in others ---- */

/* The longest length, at most `length`, that the sequence can go back to; `length` in other contexts. */
uint32_t mlxn_lm_checkpoint_before(const mlxn_context *c, const mlxn_lm_sequence *s, uint32_t length);
/* The state becomes that of `length`, which mlxn_lm_checkpoint_before gave, before the next row. */
void mlxn_lm_checkpoint_return(mlxn_context *c, mlxn_lm_sequence *s, uint32_t length);
/* Records what must happen to states before a step of these rows: going back, and keeping checkpoints. */
void mlxn_lm_checkpoint_record(mlxn_context *c, mlxn_encoder *encoder, const mlxn_batch_row *rows, uint64_t n);
/* That step is submitted. */
void mlxn_lm_checkpoint_submitted(mlxn_context *c, const mlxn_batch_row *rows, uint64_t n);
/* A call failed, and nothing runs any more: sequences whose state is not that of their length go back. */
void mlxn_lm_checkpoint_failed(mlxn_context *c);
/* The next step takes a checkpoint of the sequence before it, if there is none. */
void mlxn_lm_checkpoint_ask(mlxn_context *c, mlxn_lm_sequence *s);
/* Where the state of a sequence is, for saving. */
uint32_t mlxn_lm_state_of(const mlxn_context *c, uint32_t seq, bool *zero);

/* mlxn_context_restore of a file that is open; `path` is for messages, and the sequence is there. */
mlxn_status mlxn_lm_restore(mlxn_context *context, uint32_t seq, const mlxn_safetensors *file, const char *path,
                            mlxn_error *error);

#endif
