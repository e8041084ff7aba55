/* mlxn/lm.h: language models: load, tokenize, decode, sample, generate. Part of libmlxn-lm. */
#ifndef MLXN_LM_H
#define MLXN_LM_H

#include <mlxn/device.h>
#include <mlxn/kv.h>
#include <mlxn/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- model: immutable after load; any thread; counted ---- */

typedef struct mlxn_model mlxn_model;
typedef int32_t mlxn_token;

/* `done` of `total` bytes. Called on the loading thread. Return false to cancel (MLXN_ERR_CANCELLED). */
typedef bool (*mlxn_progress_fn)(void *user, uint64_t done, uint64_t total);

typedef struct mlxn_model_desc {
    uint32_t struct_size;
    bool vocab_only; /* tokenizer and metadata alone; contexts cannot be made */
    mlxn_progress_fn progress;
    void *progress_user;
} mlxn_model_desc;

/* `path` names a GGUF file (any part of a split model's first), or a folder with config.json and safetensors, as
 * Hugging Face and MLX write them. `device` may be NULL if vocab_only; `desc` may be NULL. Errors: IO, FORMAT,
 * UNSUPPORTED (architecture, tokenizer or tensor type; named), NOT_FOUND (tensor or key; named), MEMORY, LIMIT,
 * CANCELLED. */
MLXN_API mlxn_status mlxn_model_load(mlxn_device *device, const char *path, const mlxn_model_desc *desc,
                                     mlxn_model **out, mlxn_error *error);
MLXN_API mlxn_model *mlxn_model_retain(mlxn_model *model);
MLXN_API void mlxn_model_release(mlxn_model **model);

typedef struct mlxn_model_info {
    uint32_t struct_size;
    const char *architecture; /* "llama"; this and the next strings are valid while the model lives */
    const char *name;         /* general.name, or the file's or folder's name */
    const char *tokenizer;    /* mlxn_tokenizer_name; NULL: there is none, ids alone can be given */
    uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab;
    uint32_t n_ctx_train, sliding_window;
    uint64_t n_params;
    uint64_t file_bytes;
    uint64_t bytes_per_token; /* weight bytes that one decoded token reads */
    bool has_chat_template;
} mlxn_model_info;
MLXN_API mlxn_status mlxn_model_get_info(const mlxn_model *model, mlxn_model_info *out);
/* Borrowed. */
MLXN_API mlxn_device *mlxn_model_device(const mlxn_model *model);

/* ---- tokens ---- */

enum {
    MLXN_TOKENIZE_BOS = 1u << 0,        /* put BOS first, whatever the model says */
    MLXN_TOKENIZE_NO_BOS = 1u << 1,     /* never; default (neither bit): as the model says */
    MLXN_TOKENIZE_NO_SPECIAL = 1u << 2, /* text of special tokens is plain text */
};
/* Text (UTF-8; invalid bytes are taken as the tokenizer's byte tokens or U+FFFD) to ids. *ids is allocated, free it
 * with mlxn_free_memory. Errors: ARGUMENT, MEMORY, UNSUPPORTED. */
MLXN_API mlxn_status mlxn_tokenize(const mlxn_model *model, const char *text, size_t bytes, uint32_t flags,
                                   mlxn_token **ids, size_t *n_ids, mlxn_error *error);
/* Ids to text: the bytes of each token, special tokens too if `special`. Allocated, zero-terminated. */
MLXN_API mlxn_status mlxn_detokenize(const mlxn_model *model, const mlxn_token *ids, size_t n_ids, bool special,
                                     char **text, size_t *bytes, mlxn_error *error);
/* The bytes of one token, as it appears inside a text; valid while the model lives. NULL if out of range. */
MLXN_API const char *mlxn_token_bytes(const mlxn_model *model, mlxn_token id, size_t *bytes);
MLXN_API bool mlxn_token_is_special(const mlxn_model *model, mlxn_token id); /* control tokens */
/* End of text or any of the model's end-of-turn tokens. */
MLXN_API bool mlxn_token_is_end(const mlxn_model *model, mlxn_token id);
/* -1 if the model has none. */
MLXN_API mlxn_token mlxn_model_bos(const mlxn_model *model);
MLXN_API mlxn_token mlxn_model_eos(const mlxn_model *model);
MLXN_API bool mlxn_model_adds_bos(const mlxn_model *model);
MLXN_API void mlxn_free_memory(void *memory);

/* Streaming: keeps the bytes of an unfinished UTF-8 character back until it is complete. Any size of input. */
typedef struct mlxn_utf8_stream {
    uint8_t held[4];
    uint32_t n_held;
} mlxn_utf8_stream;
/* Appends complete characters to `out` (at least bytes + 4); invalid bytes become U+FFFD (3 bytes each: then out
 * needs 3 * (bytes + 4)). Returns the bytes written. */
MLXN_API size_t mlxn_utf8_push(mlxn_utf8_stream *stream, const char *bytes, size_t n, char *out);
/* At the end: what was held, as U+FFFD. out needs 12 bytes. */
MLXN_API size_t mlxn_utf8_finish(mlxn_utf8_stream *stream, char *out);

typedef struct mlxn_message {
    const char *role; /* "system", "user", "assistant", or what else the template knows */
    const char *content;
} mlxn_message;
/* The prompt that the model's chat template makes of the messages; mlxn_chat_render of chat.h does more. Allocated,
 * zero-terminated. `add_generation_prompt` opens the assistant's turn. Special tokens appear as text, so tokenize
 * without NO_SPECIAL; and with NO_BOS, since the template says itself whether there is a BOS token (*has_bos, may be
 * NULL, tells that the text begins with it). Errors: UNSUPPORTED (no template), and those of mlxn_chat_render. */
MLXN_API mlxn_status mlxn_chat_prompt(const mlxn_model *model, const mlxn_message *messages, size_t n,
                                      bool add_generation_prompt, char **text, bool *has_bos, mlxn_error *error);

/* ---- context: the KV cache and work buffers of some sequences. One thread at a time, but cancel: any thread. ----
 */

typedef struct mlxn_context mlxn_context;

typedef struct mlxn_context_desc {
    uint32_t struct_size;
    uint32_t n_ctx;       /* tokens per sequence; 0 = min(the model's, 4096); MLXN_CTX_MODEL = the model's */
    uint32_t n_sequences; /* 0 = 1 */
    uint32_t n_batch;     /* largest number of rows of one step; 0 = 512 */
    /* How the cache stores keys and values; DEFAULT: F16 on a `fast` device, F32 on an `f32` one. The size of heads
     * must fit (kv.h). docs/KV-CACHES.md has what each costs in quality. */
    mlxn_kv_type k_type, v_type;
    uint32_t graph_flags; /* MLXN_LM_GRAPH_*; 0 = FUSE | REORDER. The logits have the same bits whatever they are */
    /* Of models with recurrent layers (docs/KV-CACHES.md): how many states each sequence keeps to go back to, 0 = 4,
     * MLXN_NO_CHECKPOINTS = none; and at least how many tokens apart, 0 = 512. */
    uint32_t n_checkpoints, checkpoint_every;
} mlxn_context_desc;
#define MLXN_NO_CHECKPOINTS UINT32_MAX
#define MLXN_CTX_MODEL UINT32_MAX

/* How passes reach the device: few rows replay a graph, others are recorded step by step. */
enum {
    MLXN_LM_GRAPH_PLAIN = 1,   /* graphs as they were captured, when neither of the next two is set */
    MLXN_LM_GRAPH_FUSE = 2,    /* MLXN_FUSE_EXACT (graph.h) */
    MLXN_LM_GRAPH_REORDER = 4, /* groups of the least number */
    MLXN_LM_GRAPH_NONE = 8,    /* no graphs: few rows are recorded like many */
    MLXN_LM_GRAPH_DUAL = 16    /* recorded steps are captured too, treated as above, and submitted in two parts */
};

/* `desc` may be NULL. Retains the model. Errors: ARGUMENT, MEMORY, LIMIT, UNSUPPORTED. */
MLXN_API mlxn_status mlxn_context_create(mlxn_model *model, const mlxn_context_desc *desc, mlxn_context **out,
                                         mlxn_error *error);
MLXN_API void mlxn_context_destroy(mlxn_context *context);
MLXN_API uint32_t mlxn_context_size(const mlxn_context *context);
MLXN_API uint64_t mlxn_context_kv_bytes(const mlxn_context *context);
/* Tokens that sequence `seq` holds. */
MLXN_API uint32_t mlxn_context_length(const mlxn_context *context, uint32_t seq);
/* Forgets everything from position `length` on. ARGUMENT if it is beyond the length, or if a sliding-window cache
 * no longer holds what would be needed, or if layers are recurrent and there is no checkpoint at `length`, which
 * is not 0 (mlxn_context_reuse goes to the nearest one). */
MLXN_API mlxn_status mlxn_context_truncate(mlxn_context *context, uint32_t seq, uint32_t length, mlxn_error *error);
/* The tokens that sequence `seq` holds, *n of them (NULL if there are none); valid until the context's next call that
 * changes the sequence. */
MLXN_API const mlxn_token *mlxn_context_tokens(const mlxn_context *context, uint32_t seq, uint32_t *n);
/* Keeps of sequence `seq` what it has in common with the beginning of `ids`, all but the last id at most, so that
 * decoding the others gives logits; of models with recurrent layers what lies before the last checkpoint in it;
 * nothing where a sliding-window cache no longer holds what the rest would need. *kept is the length that is left.
 * Errors: ARGUMENT. */
MLXN_API mlxn_status mlxn_context_reuse(mlxn_context *context, uint32_t seq, const mlxn_token *ids, size_t n,
                                        uint32_t *kept, mlxn_error *error);
/* Writes what sequence `seq` holds, tokens, keys and values, to the file `path` (.safetensors; docs/KV-CACHES.md). It
 * appears when it is complete, in place of what had the name. Errors: ARGUMENT, IO, MEMORY. */
MLXN_API mlxn_status mlxn_context_save(mlxn_context *context, uint32_t seq, const char *path, mlxn_error *error);
/* Sequence `seq` becomes what was saved, with the same bits; what it held is forgotten. The file is checked in
 * full before anything changes: model (shape and samples of its weights), cache types, sizes, tokens, checkpoints
 * (the last ones are kept that there is room for). Contexts of another size or batch can restore it if it fits.
 * Errors: ARGUMENT (another model or cache type: both are named), FORMAT, IO, LIMIT (more tokens than the context
 * holds), MEMORY, EXECUTION (then the sequence is empty). */
MLXN_API mlxn_status mlxn_context_restore(mlxn_context *context, uint32_t seq, const char *path, mlxn_error *error);

typedef struct mlxn_batch_row {
    mlxn_token token;
    uint32_t seq;
    bool logits; /* compute logits of this row */
} mlxn_batch_row;
/* Appends each row's token to its sequence, in order, and computes. Long batches are cut into steps of n_batch;
 * each is one stage of an encoder session; `progress` (may be NULL) is told after each. Logits of the rows that
 * asked lie, in order, in memory of the context until its next call: n_rows_with_logits x n_vocab floats. Errors:
 * ARGUMENT (token, sequence), LIMIT (context full; nothing was changed), EXECUTION, CANCELLED. What was computed
 * before a failure stays; of models with recurrent layers, after EXECUTION, what lies before a checkpoint. */
MLXN_API mlxn_status mlxn_context_decode(mlxn_context *context, const mlxn_batch_row *rows, size_t n,
                                         mlxn_progress_fn progress, void *progress_user, const float **logits,
                                         mlxn_error *error);
/* Makes a decode or generate that runs (or the next one) return MLXN_ERR_CANCELLED soon. Async-signal-safe. */
MLXN_API void mlxn_context_cancel(mlxn_context *context);

/* ---- sampling ---- */

typedef struct mlxn_sampler mlxn_sampler;
typedef struct mlxn_sampler_desc {
    uint32_t struct_size;
    float temp;           /* <= 0: greedy, no other option matters but the penalties */
    uint32_t top_k;       /* 0 = all */
    float top_p;          /* >= 1 or 0: off */
    float min_p;          /* 0: off */
    float repeat_penalty; /* 0 or 1: off; a positive logit of a recent token is divided by it, another multiplied */
    uint64_t seed;        /* Philox 4x32-10 key; the n-th draw is a pure function of (seed, n) */
    uint32_t penalty_window; /* tokens that the penalties on repetition, frequency and presence see; 0 = 64 */
    float frequency_penalty; /* taken off a logit for each time that its token occurred; 0: off */
    float presence_penalty;  /* taken off the logits of tokens that occurred; 0: off */
    float typical_p;         /* 0 or 1: off; locally typical sampling (Meister et al. 2023) */
    float xtc_probability;   /* 0: off; how often the likeliest of the tokens at xtc_threshold are left out */
    float xtc_threshold;     /* their least probability; above 0.5: off */
    uint32_t mirostat;       /* 1 or 2: instead of all cuts (Basu et al. 2021); 0: off */
    float mirostat_tau;      /* the surprise aimed at, in bits */
    float mirostat_eta;      /* how fast it is approached */
    float dry_multiplier;    /* 0: off; penalty on tokens that prolong a repetition, multiplier * base^(length - */
    float dry_base;          /* allowed length) */
    uint32_t dry_allowed_length;
    uint32_t dry_window;            /* tokens that are searched; 0 = 1024 */
    const mlxn_token *dry_breakers; /* tokens that end a phrase; read by create alone */
    size_t n_dry_breakers;
} mlxn_sampler_desc;
/* Order: constraint (grammar.h), penalties, top-k, typical, top-p, min-p, XTC, temperature, draw. `desc` may be NULL:
 * greedy. Errors: ARGUMENT (an option out of its range), MEMORY. */
MLXN_API mlxn_status mlxn_sampler_create(const mlxn_sampler_desc *desc, uint32_t n_vocab, mlxn_sampler **out,
                                         mlxn_error *error);
MLXN_API void mlxn_sampler_destroy(mlxn_sampler *sampler);
/* A token; -1 if a constraint allows none. */
MLXN_API mlxn_token mlxn_sampler_sample(mlxn_sampler *sampler, const float *logits);
/* The natural logarithm of the probability with which the last call of sample drew `token`: after constraint,
 * penalties, cuts and temperature. 0 where there was no choice (temp <= 0), -INFINITY for what had been left out. */
MLXN_API float mlxn_sampler_logprob(const mlxn_sampler *sampler, mlxn_token token);
/* Tells the penalty what was emitted (sampled tokens are accepted by the caller too). */
MLXN_API void mlxn_sampler_accept(mlxn_sampler *sampler, mlxn_token token);

/* ---- generation on sequence 0 ---- */

/* A token with its text (complete characters only; may be empty). Return false to stop (finish is then CANCELLED).
 * Bytes of a character that never became complete come at the end as U+FFFD, with token -1 (the answer is ignored).
 */
typedef bool (*mlxn_token_fn)(void *user, mlxn_token token, const char *text, size_t bytes);

/* Natural logarithms of a token's probability. `logprob` is the model's: softmax of all logits as they are, before
 * constraint, penalties, cuts and temperature; `sampled` is the one with which it was drawn, after these
 * (mlxn_sampler_logprob). */
typedef struct mlxn_logprob {
    mlxn_token token;
    float logprob, sampled;
} mlxn_logprob;
/* The token that was chosen, and the n_top likeliest of the model, best first; valid during the call. */
typedef void (*mlxn_logprobs_fn)(void *user, const mlxn_logprob *chosen, const mlxn_logprob *top, uint32_t n_top);

typedef enum mlxn_finish { MLXN_FINISH_STOP = 0, MLXN_FINISH_LENGTH = 1, MLXN_FINISH_CANCELLED = 2 } mlxn_finish;

typedef struct mlxn_generate_desc {
    uint32_t struct_size;
    uint32_t n_predict; /* 0 = until the end token or the context is full */
    bool ignore_eos;
    mlxn_token_fn on_token; /* may be NULL */
    void *on_token_user;
    mlxn_progress_fn on_prompt; /* rows of the prompt done, total; may be NULL */
    void *on_prompt_user;
    /* Speculation: the text is the same bit for bit, and comes faster where guesses are often right. `draft`: a
     * context of a smaller model with the same vocabulary, whose sequence 0 is used; `lookup`: what followed the last
     * tokens when they stood in the text before. With both, the text is asked first. */
    /* Models with recurrent layers need checkpoints for it, else UNSUPPORTED. */
    mlxn_context *draft;
    bool lookup;
    uint32_t draft_max; /* guesses of a pass, at most 32; 0 = 8 */
    /* What the tokens must follow (grammar.h), from where it is; NULL: nothing. It moves on with each token. The end
     * is reached (finish STOP) when nothing of the grammar can follow. With ignore_eos end tokens are not allowed. */
    struct mlxn_constraint *constraint;
    mlxn_logprobs_fn on_logprobs; /* called before on_token for the tokens that on_token gets; may be NULL */
    void *on_logprobs_user;
    uint32_t n_logprobs; /* n_top of these calls; at most n_vocab */
} mlxn_generate_desc;

typedef struct mlxn_generate_result {
    mlxn_token *ids; /* allocated; free with mlxn_free_memory; without the end token that stopped it */
    size_t n_ids;
    mlxn_finish finish;
    uint64_t prompt_ns, decode_ns;
    uint64_t n_prompt, n_decode;    /* tokens computed in each phase */
    uint64_t n_drafted, n_accepted; /* guesses of speculation, and those that were right */
} mlxn_generate_result;

/* Appends the prompt to sequence 0 and generates. CANCELLED is not an error here: finish tells. Errors: ARGUMENT
 * (empty prompt), LIMIT (prompt longer than what is left of the context), STATE (no token of the vocabulary fits
 * the constraint), and those of decode and mlxn_constraint_mask. */
MLXN_API mlxn_status mlxn_generate(mlxn_context *context, const mlxn_token *prompt, size_t n_prompt,
                                   mlxn_sampler *sampler, const mlxn_generate_desc *desc,
                                   mlxn_generate_result *result, mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
