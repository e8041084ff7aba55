/* Promise: a vocabulary that is damaged or of an unknown kind gives an error that names the key and the values, and a
 * failing allocation at any place of create, encode or decode gives a clean error and leaks nothing. */
#include "test.h"
#include "unit/tok_tiny.h"

static void expect(gw *w, mlxn_status status, const char *text1, const char *text2) {
    mlxn_gguf *file;
    mlxn_tokenizer *tok = (mlxn_tokenizer *)w;
    mlxn_error error = {0};
    if (mlxn_gguf_open_memory(w->bytes, w->size, "file", &file, &error)) {
        CHECK(0, "open: %s", error.message);
    } else {
        mlxn_status got = mlxn_tokenizer_create(file, &tok, &error);
        CHECK(got == status && error.status == status && !tok, "got %d, want %d: %s", got, status, error.message);
        CHECK(strstr(error.message, text1) && strstr(error.message, text2), "\"%s\" lacks \"%s\" or \"%s\"",
              error.message, text1, text2);
        mlxn_tokenizer_destroy(tok);
        mlxn_gguf_close(file);
    }
    gw_free(w);
}

static void strings(gw *w, const char *key, size_t n, const char *const *texts) {
    gw_key(w, key, 9), gw_array(w, 8, n);
    for (size_t i = 0; i < n; i++) gw_text(w, texts[i]);
}

#define TOKENS "tokenizer.ggml.tokens"
#define MODEL "tokenizer.ggml.model"

static void test_errors(void) {
    static const char *const abc[] = {"a", "b", "a b"};
    gw w = {0};
    gw_header(&w, 3, 0, 1), gw_key_text(&w, "general.architecture", "llama");
    expect(&w, MLXN_ERR_NOT_FOUND, MODEL, "");

    gw_header(&w, 3, 0, 1), gw_key_u32(&w, MODEL, 7);
    expect(&w, MLXN_ERR_FORMAT, MODEL, "");

    gw_header(&w, 3, 0, 1), gw_key_text(&w, MODEL, "bert");
    expect(&w, MLXN_ERR_UNSUPPORTED, "bert", "gpt2");

    gw_header(&w, 3, 0, 2), gw_key_text(&w, MODEL, "gpt2"), gw_key_text(&w, "tokenizer.ggml.pre", "tekken");
    expect(&w, MLXN_ERR_UNSUPPORTED, "tekken", "smollm");

    gw_header(&w, 3, 0, 1), gw_key_text(&w, MODEL, "gpt2");
    expect(&w, MLXN_ERR_NOT_FOUND, TOKENS, "");

    gw_header(&w, 3, 0, 2), gw_key_text(&w, MODEL, "gpt2"), gw_key_u32(&w, TOKENS, 3);
    expect(&w, MLXN_ERR_FORMAT, TOKENS, "strings");

    gw_header(&w, 3, 0, 2), gw_key_text(&w, MODEL, "llama"), strings(&w, TOKENS, 0, NULL);
    expect(&w, MLXN_ERR_FORMAT, TOKENS, "empty");

    gw_header(&w, 3, 0, 2), gw_key_text(&w, MODEL, "gpt2"), strings(&w, TOKENS, 2, abc);
    expect(&w, MLXN_ERR_NOT_FOUND, "tokenizer.ggml.merges", "");

    gw_header(&w, 3, 0, 3), gw_key_text(&w, MODEL, "gpt2"), strings(&w, TOKENS, 2, abc);
    strings(&w, "tokenizer.ggml.merges", 3, abc);
    expect(&w, MLXN_ERR_FORMAT, "tokenizer.ggml.merges", "entry 0 is \"a\"");

    gw_header(&w, 3, 0, 2), gw_key_text(&w, MODEL, "llama"), strings(&w, TOKENS, 2, abc);
    expect(&w, MLXN_ERR_NOT_FOUND, "tokenizer.ggml.scores", "");

    gw_header(&w, 3, 0, 3), gw_key_text(&w, MODEL, "llama"), strings(&w, TOKENS, 2, abc);
    gw_key(&w, "tokenizer.ggml.scores", 9), gw_array(&w, 6, 1), gw_f32(&w, 0);
    expect(&w, MLXN_ERR_FORMAT, "1 entries", "(2)");

    gw_header(&w, 3, 0, 3), gw_key_text(&w, MODEL, "llama"), strings(&w, TOKENS, 2, abc);
    gw_key(&w, "tokenizer.ggml.scores", 9), gw_array(&w, 4, 2), gw_u32(&w, 0), gw_u32(&w, 0);
    expect(&w, MLXN_ERR_FORMAT, "tokenizer.ggml.scores", "float32");

    gw_header(&w, 3, 0, 3), gw_key_text(&w, MODEL, "llama"), strings(&w, TOKENS, 2, abc);
    gw_key(&w, "tokenizer.ggml.token_type", 9), gw_array(&w, 5, 3), gw_u32(&w, 1), gw_u32(&w, 1), gw_u32(&w, 1);
    expect(&w, MLXN_ERR_FORMAT, "3 entries", "(2)");

    gw_header(&w, 3, 0, 4), gw_key_text(&w, MODEL, "gpt2"), strings(&w, TOKENS, 2, abc);
    strings(&w, "tokenizer.ggml.merges", 0, NULL), gw_key_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    expect(&w, MLXN_ERR_FORMAT, "eos_token_id: is 2", "2 tokens");

    gw_header(&w, 3, 0, 4), gw_key_text(&w, MODEL, "gpt2"), strings(&w, TOKENS, 2, abc);
    strings(&w, "tokenizer.ggml.merges", 0, NULL), gw_key_u32(&w, "tokenizer.ggml.add_bos_token", 2);
    expect(&w, MLXN_ERR_FORMAT, "tokenizer.ggml.add_bos_token", "");

    /* "llama" without byte tokens and without an unknown token has nothing to say about most text. */
    gw_header(&w, 3, 0, 4), gw_key_text(&w, MODEL, "llama"), strings(&w, TOKENS, 2, abc);
    gw_key(&w, "tokenizer.ggml.scores", 9), gw_array(&w, 6, 2), gw_f32(&w, 0), gw_f32(&w, 0);
    gw_key_u32(&w, "tokenizer.ggml.unknown_token_id", UINT32_MAX);
    expect(&w, MLXN_ERR_FORMAT, TOKENS, "<0x00>");
}

/* What is unusual but right. */
static void test_unusual(void) {
    static const char *const texts[] = {"", "a", "b", "ab", "ab", "<s>"}, *const joins[] = {"a b", "a b"};
    gw w = {0};
    mlxn_gguf *file;
    mlxn_tokenizer *tok;
    mlxn_error error = {0};
    gw_header(&w, 3, 0, 5), gw_key_text(&w, MODEL, "gpt2"), strings(&w, TOKENS, 6, texts);
    strings(&w, "tokenizer.ggml.merges", 2, joins);
    gw_key_u32(&w, "tokenizer.ggml.bos_token_id", UINT32_MAX), tiny_flag(&w, "tokenizer.ggml.add_bos_token", 1);
    CHECK(!mlxn_gguf_open_memory(w.bytes, w.size, "file", &file, &error), "%s", error.message);
    CHECK(!mlxn_tokenizer_create(file, &tok, &error), "%s", error.message);
    CHECK(mlxn_tokenizer_bos(tok) == -1 && !mlxn_tokenizer_adds_bos(tok), "all ones is no token");
    CHECK(!strcmp(mlxn_tokenizer_name(tok), "gpt2/default"), "%s", mlxn_tokenizer_name(tok));
    CHECK_IDS(tok, "ab", 0, "4"); /* of two tokens with one text the last */
    CHECK_IDS(tok, "axb<s>", 0, "1 2");
    size_t size = 9;
    CHECK(mlxn_tokenizer_token_bytes(tok, 0, &size) && size == 0, "the empty token");
    mlxn_tokenizer_destroy(tok);
    mlxn_gguf_close(file);
    gw_free(&w);
}

/* The k-th allocation fails, for every k until nothing fails any more. */
static void test_no_memory(const char *model) {
    static const tiny_token tokens[] = {{"<a>", 3, 0}, {"<<", 4, 0}, {"ab", 1, 1}};
    static const char *const merges[] = {"a b", "b c", NULL};
    tiny_spec spec = {.model = model, .pre = "smollm", .tokens = tokens, .n_tokens = 3, .merges = merges};
    static const char text[] =
        "ab <a>abc 12<<< \xc3\xa9 a few more words, so that something grows: ab ab ab ab ab ab ab";
    gw w = {0};
    mlxn_gguf *file;
    mlxn_error error = {0};
    tiny_write(&w, &spec);
    CHECK(!mlxn_gguf_open_memory(w.bytes, w.size, "file", &file, &error), "%s", error.message);
    int done = 0;
    uint64_t k = 1;
    for (; !done && k < 500; k++) {
        mlxn_tokenizer *tok = NULL;
        mlxn_token *ids = NULL;
        char *back = NULL;
        size_t n, bytes;
        error = (mlxn_error){0};
        mlxn_alloc_fail_at(k);
        mlxn_status status = mlxn_tokenizer_create(file, &tok, &error);
        if (!status) status = mlxn_tokenizer_encode(tok, text, sizeof text - 1, 0, &ids, &n, &error);
        if (!status) status = mlxn_tokenizer_decode(tok, ids, n, true, &back, &bytes, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status == MLXN_OK || status == MLXN_ERR_MEMORY, "%s, k = %d: %s", model, (int)k, error.message);
        CHECK(status == MLXN_OK || error.message[0], "%s, k = %d: no text", model, (int)k);
        if (tok && status) { /* still usable */
            mlxn_free(ids);
            ids = NULL;
            CHECK(!mlxn_tokenizer_encode(tok, text, sizeof text - 1, 0, &ids, &n, &error), "%s", error.message);
        }
        done = status == MLXN_OK;
        mlxn_free(ids);
        mlxn_free(back);
        mlxn_tokenizer_destroy(tok);
    }
    CHECK(done && k > 10, "%s: %d failing allocations", model, (int)k);
    mlxn_gguf_close(file);
    gw_free(&w);
}

int main(void) {
    test_errors();
    test_unusual();
    test_no_memory("gpt2");
    test_no_memory("llama");
    return TEST_DONE();
}
