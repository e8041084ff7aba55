/* lm_tiny.h: tiny random models of each architecture, as GGUF files in a temporary folder; right ones, and ones with
 * a single thing wrong. Every value is a pure function of the tensor's name and the element. */
#ifndef MLXN_TESTS_LM_TINY_H
#define MLXN_TESTS_LM_TINY_H

#include <math.h>
#include <mlxn/lm.h>
#include <mlxn/quant.h>
#include <unistd.h>

#include "../io/gguf_writer.h"
#include "lm/philox.h"
#include "test.h"

enum {
    TINY_VOCAB = 300,
    TINY_EMBD = 64,
    TINY_FF = 96,
    TINY_HEADS = 4,
    TINY_KV_HEADS = 2,
    TINY_CTX = 256,
    TINY_WINDOW = 8
};

typedef struct tiny {
    const char *arch; /* "llama", "qwen2", "gemma3" */
    const char *drop; /* tensor or key to leave out */
    const char *swap; /* matrix whose dims are exchanged */
    const char *key;  /* u32 key (without prefix) that gets `value` */
    uint32_t value;
    const char *type_of; /* tensor whose type id is `type`: unknown types, norms in f16 */
    uint32_t type;
} tiny;

typedef struct tiny_writer {
    const tiny *t;
    gw infos, data, keys;
    uint64_t n_tensors, n_keys;
    char name[64];
} tiny_writer;

static inline bool tiny_is_gemma(const tiny *t) { return strcmp(t->arch, "gemma3") == 0; }
static inline uint32_t tiny_layers(const tiny *t) { return tiny_is_gemma(t) ? 7 : 3; }
static inline uint32_t tiny_head_dim(const tiny *t) { return tiny_is_gemma(t) ? 32 : 16; }

/* Gaussian by sum of uniforms, seeded by the tensor's name. */
static inline float tiny_value(const char *name, uint64_t i) {
    uint64_t seed = 1469598103934665603u;
    for (const char *c = name; *c; c++) seed = (seed ^ (uint8_t)*c) * 1099511628211u;
    double sum = 0;
    for (int j = 0; j < 4; j++) sum += mlxn_philox_uniform(seed, 4 * i + (uint64_t)j) - 0.5;
    return (float)(sum * 1.73);
}

/* A tensor of `rows` x `cols` (cols 0: a vector) with values mean + spread * gaussian. */
static inline void tiny_tensor(tiny_writer *w, const char *name, uint64_t rows, uint64_t cols, mlxn_format format,
                               float mean, float spread) {
    if (w->t->drop && strcmp(w->t->drop, name) == 0) return;
    uint32_t type = (uint32_t)format;
    if (w->t->type_of && strcmp(w->t->type_of, name) == 0) {
        type = w->t->type;
        if (type == MLXN_FORMAT_F16) format = MLXN_FORMAT_F16;
    }
    bool swap = w->t->swap && strcmp(w->t->swap, name) == 0;
    uint64_t n = cols ? cols : rows, lines = cols ? rows : 1, bytes = 0;
    uint64_t dims[2] = {swap ? rows : n, swap ? n : rows};
    gw_align(&w->data, 32);
    gw_tensor(&w->infos, name, cols ? 2 : 1, dims, type, w->data.size);
    w->n_tensors++;
    CHECK(mlxn_format_row_bytes(format, n, &bytes, NULL) == MLXN_OK, "%s", name);
    float line[512];
    uint8_t coded[2048];
    for (uint64_t r = 0; r < lines; r++) {
        for (uint64_t c = 0; c < n; c++) line[c] = mean + spread * tiny_value(name, r * n + c);
        CHECK(mlxn_quantize_row(format, line, n, coded, NULL) == MLXN_OK, "%s", name);
        gw_bytes(&w->data, coded, bytes);
    }
}

static inline const char *tiny_blk(tiny_writer *w, uint32_t i, const char *name) {
    snprintf(w->name, sizeof w->name, "blk.%u.%s", i, name);
    return w->name;
}

static inline void tiny_layer(tiny_writer *w, uint32_t i) {
    bool gemma = tiny_is_gemma(w->t), qwen = strcmp(w->t->arch, "qwen2") == 0;
    uint32_t d = tiny_head_dim(w->t), q = TINY_HEADS * d, kv = TINY_KV_HEADS * d;
    const mlxn_format f32 = MLXN_FORMAT_F32, q8 = MLXN_FORMAT_Q8_0, q41 = MLXN_FORMAT_Q4_1, f16 = MLXN_FORMAT_F16;
    tiny_tensor(w, tiny_blk(w, i, "attn_norm.weight"), TINY_EMBD, 0, f32, 1, 0.2f);
    tiny_tensor(w, tiny_blk(w, i, "attn_q.weight"), q, TINY_EMBD, q8, 0, 0.35f);
    tiny_tensor(w, tiny_blk(w, i, "attn_k.weight"), kv, TINY_EMBD, q8, 0, 0.35f);
    tiny_tensor(w, tiny_blk(w, i, "attn_v.weight"), kv, TINY_EMBD, f16, 0, 0.2f);
    tiny_tensor(w, tiny_blk(w, i, "attn_output.weight"), TINY_EMBD, q, q41, 0, 0.1f);
    if (qwen) {
        tiny_tensor(w, tiny_blk(w, i, "attn_q.bias"), q, 0, f32, 0, 0.5f);
        tiny_tensor(w, tiny_blk(w, i, "attn_k.bias"), kv, 0, f32, 0, 0.5f);
        tiny_tensor(w, tiny_blk(w, i, "attn_v.bias"), kv, 0, f32, 0, 0.5f);
    }
    if (gemma) {
        tiny_tensor(w, tiny_blk(w, i, "attn_q_norm.weight"), d, 0, f32, 1, 0.2f);
        tiny_tensor(w, tiny_blk(w, i, "attn_k_norm.weight"), d, 0, f32, 1, 0.2f);
        tiny_tensor(w, tiny_blk(w, i, "post_attention_norm.weight"), TINY_EMBD, 0, f32, 1, 0.2f);
        tiny_tensor(w, tiny_blk(w, i, "post_ffw_norm.weight"), TINY_EMBD, 0, f32, 1, 0.2f);
    }
    tiny_tensor(w, tiny_blk(w, i, "ffn_norm.weight"), TINY_EMBD, 0, f32, 1, 0.2f);
    tiny_tensor(w, tiny_blk(w, i, "ffn_gate.weight"), TINY_FF, TINY_EMBD, q41, 0, 0.15f);
    tiny_tensor(w, tiny_blk(w, i, "ffn_up.weight"), TINY_FF, TINY_EMBD, q8, 0, 0.15f);
    tiny_tensor(w, tiny_blk(w, i, "ffn_down.weight"), TINY_EMBD, TINY_FF, f32, 0, 0.1f);
}

static inline bool tiny_dropped(const tiny_writer *w, const char *name) {
    return w->t->drop && strcmp(w->t->drop, name) == 0;
}

static inline void tiny_key_u32(tiny_writer *w, const char *key, uint32_t value) {
    if (tiny_dropped(w, key)) return;
    if (w->t->key && strcmp(w->t->key, key) == 0) value = w->t->value;
    char name[128];
    snprintf(name, sizeof name, "%s.%s", w->t->arch, key);
    gw_key_u32(&w->keys, name, value);
    w->n_keys++;
}

static inline void tiny_keys(tiny_writer *w) {
    const tiny *t = w->t;
    bool gemma = tiny_is_gemma(t);
    if (!tiny_dropped(w, "general.architecture")) {
        gw_key_text(&w->keys, "general.architecture", t->arch);
        w->n_keys++;
    }
    tiny_key_u32(w, "block_count", tiny_layers(t));
    tiny_key_u32(w, "context_length", TINY_CTX);
    tiny_key_u32(w, "embedding_length", TINY_EMBD);
    tiny_key_u32(w, "feed_forward_length", TINY_FF);
    tiny_key_u32(w, "attention.head_count", TINY_HEADS);
    tiny_key_u32(w, "attention.head_count_kv", TINY_KV_HEADS);
    if (gemma) {
        tiny_key_u32(w, "attention.key_length", tiny_head_dim(t));
        tiny_key_u32(w, "attention.value_length", tiny_head_dim(t));
        tiny_key_u32(w, "attention.sliding_window", TINY_WINDOW);
    }
    if (t->key && strcmp(t->key, "expert_count") == 0) tiny_key_u32(w, "expert_count", t->value);
    if (t->key && strcmp(t->key, "rope.dimension_count") == 0) tiny_key_u32(w, "rope.dimension_count", t->value);
    char name[128];
    if (!tiny_dropped(w, "attention.layer_norm_rms_epsilon")) {
        snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", t->arch);
        gw_key(&w->keys, name, 6);
        gw_f32(&w->keys, 1e-5f);
        w->n_keys++;
    }
    gw_key_text(&w->keys, "tokenizer.ggml.model", "llama");
    gw_key(&w->keys, "tokenizer.ggml.tokens", 9);
    gw_array(&w->keys, 8, TINY_VOCAB);
    for (int i = 0; i < TINY_VOCAB; i++) {
        const char *fixed[3] = {"<unk>", "<s>", "</s>"};
        if (i < 3)
            snprintf(name, sizeof name, "%s", fixed[i]);
        else if (i < 259)
            snprintf(name, sizeof name, "<0x%02X>", i - 3);
        else
            snprintf(name, sizeof name, "word%d", i);
        gw_text(&w->keys, name);
    }
    gw_key(&w->keys, "tokenizer.ggml.scores", 9);
    gw_array(&w->keys, 6, TINY_VOCAB);
    for (int i = 0; i < TINY_VOCAB; i++) gw_f32(&w->keys, (float)-i);
    gw_key(&w->keys, "tokenizer.ggml.token_type", 9);
    gw_array(&w->keys, 5, TINY_VOCAB);
    for (int i = 0; i < TINY_VOCAB; i++) gw_u32(&w->keys, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    gw_key_u32(&w->keys, "tokenizer.ggml.bos_token_id", 1);
    gw_key_u32(&w->keys, "tokenizer.ggml.eos_token_id", 2);
    w->n_keys += 6;
}

/* The whole file in memory. */
static inline gw tiny_bytes(const tiny *t) {
    tiny_writer w = {.t = t};
    tiny_keys(&w);
    tiny_tensor(&w, "token_embd.weight", TINY_VOCAB, TINY_EMBD, MLXN_FORMAT_Q8_0, 0, tiny_is_gemma(t) ? 0.125f : 1);
    if (strcmp(t->arch, "qwen2") == 0) { /* the others have a tied head */
        tiny_tensor(&w, "output.weight", TINY_VOCAB, TINY_EMBD, MLXN_FORMAT_F16, 0, 0.4f);
    }
    tiny_tensor(&w, "output_norm.weight", TINY_EMBD, 0, MLXN_FORMAT_F32, 1, 0.2f);
    if (strcmp(t->arch, "llama") == 0) tiny_tensor(&w, "rope_freqs.weight", 8, 0, MLXN_FORMAT_F32, 2, 0.5f);
    for (uint32_t i = 0; i < tiny_layers(t); i++) tiny_layer(&w, i);
    gw file = {0};
    gw_header(&file, 3, w.n_tensors, w.n_keys);
    gw_bytes(&file, w.keys.bytes, w.keys.size);
    gw_bytes(&file, w.infos.bytes, w.infos.size);
    gw_align(&file, 32);
    gw_bytes(&file, w.data.bytes, w.data.size);
    gw_free(&w.keys);
    gw_free(&w.infos);
    gw_free(&w.data);
    return file;
}

/* Writes the file and returns its path in a static buffer; unlink it when loaded (the map stays). */
static inline const char *tiny_file(const tiny *t) {
    static char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/mlxn-tiny-XXXXXX", folder && strlen(folder) < 200 ? folder : P_tmpdir);
    gw file = tiny_bytes(t);
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, file.bytes, file.size) == (ssize_t)file.size, "cannot write %s", path);
    if (fd >= 0) close(fd);
    gw_free(&file);
    return path;
}

static inline mlxn_model *tiny_load(mlxn_device *device, const char *arch) {
    mlxn_model *model = NULL;
    mlxn_error error;
    const char *path = tiny_file(&(tiny){.arch = arch});
    CHECK(mlxn_model_load(device, path, NULL, &model, &error) == MLXN_OK, "%s: %s", arch, error.message);
    unlink(path);
    return model;
}

static inline mlxn_device *tiny_device(mlxn_precision precision, uint32_t threads) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = precision, .threads = threads};
    mlxn_device *device = NULL;
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    return device;
}

#endif
