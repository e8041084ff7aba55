/* Promise: whatever text is tokenized, and whatever vocabulary a file holds, the result is ids inside the vocabulary
 * whose bytes can be read, or an error with a text; vocabularies with a token for each byte give the text back. The
 * same bytes go through the UTF-8 stream and, as a template, as messages, tools and JSON, through the chat prompt.
 *
 * The first byte of the input chooses: a pre-tokenizer or "llama" with the rest as text, or the rest as a GGUF file.
 * Entry point for libFuzzer and for fuzz_driver.c. */
#include <mlxn/chat.h>

#include "unit/tok_tiny.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KINDS = 6 };

static const tiny_token bpe_tokens[] = {
    {"<s>", 3, 0}, {"<<", 4, 0}, {"<<<", 4, 0}, {"\n\n", 4, 0}, {"<|im_end|>", 1, 0}};
static const char *const merges[] = {"a b", "b c", "ab c", "\xc4\xa0 a", "\xc3\x83 \xc2\xa9", "a a", "aa aa", NULL};
static const tiny_token spm_tokens[] = {{"\xe2\x96\x81", 1, -4},
                                        {"a", 1, -1},
                                        {"b", 1, -2},
                                        {"ab", 1, -3},
                                        {"aa", 1, -5},
                                        {"\xe2\x96\x81"
                                         "a",
                                         1, -6},
                                        {"\n\n", 4, 0},
                                        {"<s>>", 3, 0},
                                        {"\xc3\xa9", 1, -7}};

static tiny *vocabulary(int kind) {
    static const char *const pres[KINDS - 1] = {"gpt-2", "smollm", "qwen2", "llama-bpe", "default"};
    static tiny made[KINDS];
    if (!made[kind].tok) {
        tiny_spec bpe = {.model = "gpt2", .tokens = bpe_tokens, .n_tokens = 5, .merges = merges, .add_bos = -1};
        tiny_spec spm = {.model = "llama", .tokens = spm_tokens, .n_tokens = 9, .add_bos = -1, .space_prefix = -1};
        if (kind < KINDS - 1) bpe.pre = pres[kind];
        made[kind] = tiny_make(kind < KINDS - 1 ? &bpe : &spm);
    }
    return &made[kind];
}

static void require(bool condition) {
    if (!condition) abort();
}

static void use(const mlxn_tokenizer *tok, const char *text, size_t n, uint32_t flags, bool gives_back) {
    mlxn_token *ids;
    size_t n_ids, n_back, bytes;
    char *back;
    mlxn_error error = {0};
    if (mlxn_tokenizer_encode(tok, text, n, flags, &ids, &n_ids, &error)) {
        require(error.message[0] && error.status != MLXN_ERR_INTERNAL && !gives_back);
        return;
    }
    for (size_t i = 0; i < n_ids; i++) {
        require(mlxn_tokenizer_token_bytes(tok, ids[i], &bytes) != NULL);
        (void)mlxn_tokenizer_is_end(tok, ids[i]);
    }
    require(!mlxn_tokenizer_decode(tok, ids, n_ids, true, &back, &n_back, &error));
    if (gives_back) require(n_back == n && memcmp(back, text, n) == 0);
    mlxn_free(ids);
    mlxn_free(back);
}

static bool has_spm_space(const char *s, size_t n) {
    for (; n >= 3; s++, n--)
        if (!memcmp(s, "\xe2\x96\x81", 3)) return true;
    return false;
}

static void stream(const char *text, size_t n) {
    mlxn_utf8_stream whole = {{0}, 0}, parts = {{0}, 0};
    char *a = malloc(3 * (n + 4) + 12), *b = malloc(3 * (n + 4) + 12);
    require(a && b);
    size_t size_a = mlxn_utf8_push(&whole, text, n, a), size_b = 0;
    size_a += mlxn_utf8_finish(&whole, a + size_a);
    for (size_t i = 0, step; i < n; i += step) {
        step = 1 + (uint8_t)text[i] % 5;
        if (step > n - i) step = n - i;
        size_b += mlxn_utf8_push(&parts, text + i, step, b + size_b);
    }
    size_b += mlxn_utf8_finish(&parts, b + size_b);
    require(size_a == size_b && memcmp(a, b, size_a) == 0);
    for (size_t i = 0, length; i < size_a; i += length) {
        length = mlxn_utf8_read(a + i, size_a - i, NULL, NULL);
        require(length > 0);
    }
    free(a);
    free(b);
}

static void render(const mlxn_tokenizer *tok, const mlxn_chat_desc *desc) {
    char *out;
    size_t bytes;
    mlxn_error error = {0};
    mlxn_status status = mlxn_chat_render(tok, desc, &out, &bytes, NULL, &error);
    require(status ? !out && error.message[0] && status != MLXN_ERR_INTERNAL : out && strlen(out) <= bytes);
    mlxn_free(out);
}

static void chat(const mlxn_tokenizer *tok, const char *text, size_t n) {
    char *copy = malloc(n + 1);
    require(copy != NULL);
    if (n) memcpy(copy, text, n);
    copy[n] = 0;
    mlxn_message messages[] = {{"system", copy}, {copy, copy}};
    mlxn_template *t = NULL;
    mlxn_chat_desc desc = {.struct_size = sizeof desc,
                           .add_generation_prompt = true,
                           .messages = messages,
                           .n_messages = 2,
                           .template_name = "gemma",
                           .max_steps = 50000,
                           .now = 1721995200};
    render(tok, &desc);
    (void)mlxn_template_compile(text, n, "fuzz", &t, NULL);
    desc.compiled = t;
    render(tok, &desc);
    desc.messages_json = desc.tools = desc.variables = copy;
    desc.messages_bytes = n;
    render(tok, &desc);
    desc.tools_bytes = desc.variables_bytes = n;
    desc.messages_json = desc.variables = NULL;
    render(tok, &desc);
    mlxn_template_destroy(&t);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    int kind = data[0] % 8;
    uint32_t flags = data[0] & 0x80 ? MLXN_TOKENIZE_NO_SPECIAL : 0;
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    if (kind < KINDS) {
        bool spm = kind == KINDS - 1;
        use(vocabulary(kind)->tok, text, n, flags, !spm || !has_spm_space(text, n));
        stream(text, n);
        chat(vocabulary(kind)->tok, text, n);
        return 0;
    }
    /* A file. Its first bytes may also be a whole file ("GGUF…"), so that seeds need no prefix. */
    if (data[0] == 'G') text--, n++;
    mlxn_gguf *file;
    mlxn_tokenizer *tok;
    mlxn_error error = {0};
    if (mlxn_gguf_open_memory(text, n, "fuzz", &file, &error)) return 0;
    if (!mlxn_tokenizer_create(file, &tok, &error)) {
        static const char sample[] = "ab  aab <s> \n\n\n caf\xc3\xa9 12 \xff\xe2\x82 <<<< it's";
        use(tok, sample, sizeof sample - 1, flags, false);
        (void)mlxn_tokenizer_name(tok);
        mlxn_tokenizer_destroy(tok);
    } else {
        require(error.message[0] && error.status != MLXN_ERR_INTERNAL);
    }
    mlxn_gguf_close(file);
    return 0;
}
