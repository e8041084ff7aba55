/* tok_tiny.h: small vocabularies as GGUF files in memory, for the tokenizer's tests: nothing from outside is needed.
 */
#ifndef MLXN_TESTS_TOK_TINY_H
#define MLXN_TESTS_TOK_TINY_H

#include "base/base.h"
#include "io/gguf_writer.h"
#include "lm/tok_internal.h"
#include "lm/tokenizer.h"
#include "lm/utf8.h"

typedef struct tiny_token {
    const char *text;
    int type; /* of tokenizer.ggml.token_type */
    float score;
} tiny_token;

typedef struct tiny {
    gw bytes; /* the file: lives as long as the tokenizer */
    mlxn_gguf *file;
    mlxn_tokenizer *tok;
} tiny;

typedef struct tiny_spec {
    const char *model, *pre;  /* pre NULL: no such key */
    const tiny_token *tokens; /* after those that the functions below make */
    size_t n_tokens;
    const char *const *merges; /* "gpt2": "left right"; ends with NULL */
    int bos, eos, unknown;     /* 0: no such key (no test wants token 0) */
    int add_bos, space_prefix; /* 0: no such key, 1: true, -1: false */
    uint32_t missing_byte;     /* "gpt2": this byte's token gets another name; 0: none */
} tiny_spec;

static inline void tiny_flag(gw *w, const char *key, int value) {
    gw_key(w, key, 7);
    gw_u8(w, value > 0);
}

/* "gpt2": tokens 0..255 are the bytes, then one per merge, then `tokens`. "llama": 0 <unk>, 1 <s>, 2 </s>, 3..258 the
 * bytes, then `tokens`. */
static inline void tiny_write(gw *w, const tiny_spec *spec) {
    int bpe = strcmp(spec->model, "gpt2") == 0;
    size_t merges = 0;
    while (bpe && spec->merges && spec->merges[merges]) merges++;
    size_t n = (bpe ? 256 + merges : 259) + spec->n_tokens;
    uint64_t keys = 5 + (spec->pre != NULL) + (spec->bos > 0) + (spec->eos > 0) + (spec->unknown > 0) +
                    (spec->add_bos != 0) + (spec->space_prefix != 0);
    char text[64];
    gw_header(w, 3, 0, keys);
    gw_key_text(w, "general.architecture", "llama");
    gw_key_text(w, "tokenizer.ggml.model", spec->model);
    if (spec->pre) gw_key_text(w, "tokenizer.ggml.pre", spec->pre);
    gw_key(w, "tokenizer.ggml.tokens", 9), gw_array(w, 8, n);
    if (bpe) {
        for (uint32_t b = 0; b < 256; b++) {
            text[mlxn_utf8_write(mlxn_bpe_char_of_byte((uint8_t)b), text)] = 0;
            gw_text(w, b && b == spec->missing_byte ? "missing" : text);
        }
        for (size_t i = 0; i < merges; i++) {
            const char *space = strchr(spec->merges[i], ' ');
            snprintf(text, sizeof text, "%.*s%s", (int)(space - spec->merges[i]), spec->merges[i], space + 1);
            gw_text(w, text);
        }
    } else {
        gw_text(w, "<unk>"), gw_text(w, "<s>"), gw_text(w, "</s>");
        for (int b = 0; b < 256; b++) {
            snprintf(text, sizeof text, "<0x%02X>", b);
            gw_text(w, text);
        }
    }
    for (size_t i = 0; i < spec->n_tokens; i++) gw_text(w, spec->tokens[i].text);
    gw_key(w, "tokenizer.ggml.token_type", 9), gw_array(w, 5, n);
    for (size_t i = 0; i < n - spec->n_tokens; i++)
        gw_u32(w, bpe ? 1 : i == 0 ? MLXN_TOK_UNKNOWN : i < 3 ? MLXN_TOK_CONTROL : MLXN_TOK_BYTE);
    for (size_t i = 0; i < spec->n_tokens; i++) gw_u32(w, (uint32_t)spec->tokens[i].type);
    if (bpe) {
        gw_key(w, "tokenizer.ggml.merges", 9), gw_array(w, 8, merges);
        for (size_t i = 0; i < merges; i++) gw_text(w, spec->merges[i]);
    } else {
        gw_key(w, "tokenizer.ggml.scores", 9), gw_array(w, 6, n);
        for (size_t i = 0; i < n - spec->n_tokens; i++) gw_f32(w, 0);
        for (size_t i = 0; i < spec->n_tokens; i++) gw_f32(w, spec->tokens[i].score);
    }
    if (spec->bos) gw_key_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)spec->bos);
    if (spec->eos) gw_key_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)spec->eos);
    if (spec->unknown) gw_key_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)spec->unknown);
    if (spec->add_bos) tiny_flag(w, "tokenizer.ggml.add_bos_token", spec->add_bos);
    if (spec->space_prefix) tiny_flag(w, "tokenizer.ggml.add_space_prefix", spec->space_prefix);
}

static inline tiny tiny_make(const tiny_spec *spec) {
    tiny t = {{0}, NULL, NULL};
    mlxn_error error = {0};
    tiny_write(&t.bytes, spec);
    if (mlxn_gguf_open_memory(t.bytes.bytes, t.bytes.size, "tiny", &t.file, &error) ||
        mlxn_tokenizer_create(t.file, &t.tok, &error)) {
        fprintf(stderr, "tiny vocabulary: %s\n", error.message);
        exit(1);
    }
    return t;
}

static inline void tiny_free(tiny *t) {
    mlxn_tokenizer_destroy(t->tok);
    mlxn_gguf_close(t->file);
    gw_free(&t->bytes);
}

/* Ids as "1 2 3", in a buffer of four that are used in turn. */
static inline const char *tiny_ids(const mlxn_tokenizer *tok, const char *text, size_t n, uint32_t flags) {
    static char buffers[4][2048];
    static int turn;
    char *out = buffers[turn++ % 4];
    mlxn_token *ids;
    size_t n_ids, at = 0;
    mlxn_error error = {0};
    out[0] = 0;
    if (mlxn_tokenizer_encode(tok, text, n, flags, &ids, &n_ids, &error)) {
        snprintf(out, 2048, "error: %.500s", error.message);
        return out;
    }
    for (size_t i = 0; i < n_ids && at < 2000; i++)
        at += (size_t)snprintf(out + at, 2048 - at, "%s%d", i ? " " : "", (int)ids[i]);
    mlxn_free(ids);
    return out;
}

#define CHECK_IDS(tok, text, flags, want)                                                  \
    do {                                                                                   \
        const char *got_ids = tiny_ids(tok, text, sizeof(text) - 1, flags);                \
        CHECK(strcmp(got_ids, want) == 0, "\"%s\": got %s, want %s", text, got_ids, want); \
    } while (0)

/* True if the text comes back from its ids. */
static inline int tiny_round_trip(const mlxn_tokenizer *tok, const char *text, size_t n, uint32_t flags) {
    mlxn_token *ids = NULL;
    char *back = NULL;
    size_t n_ids = 0, n_back = 0;
    int same = !mlxn_tokenizer_encode(tok, text, n, flags, &ids, &n_ids, NULL) &&
               !mlxn_tokenizer_decode(tok, ids, n_ids, true, &back, &n_back, NULL) && n_back == n &&
               memcmp(back, text, n) == 0;
    mlxn_free(ids);
    mlxn_free(back);
    return same;
}

#endif
