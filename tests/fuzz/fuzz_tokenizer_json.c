/* Promise: whatever a tokenizer.json holds, loading gives a tokenizer or an error with a text, and whatever text such
 * a tokenizer gets, the result is ids inside the vocabulary whose bytes can be read and that decode, or an error; in
 * bounded time. The input is the file; behind a zero byte a tokenizer_config.json or, behind another, a text. */
#include "base/base.h"
#include "lm/tok_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) abort();
}

static void use(const mlxn_tokenizer *tok, const char *text, size_t n, uint32_t flags) {
    mlxn_token *ids = NULL;
    size_t n_ids = 0, n_back = 0, bytes;
    char *back = NULL;
    mlxn_error error = {0};
    if (mlxn_tokenizer_encode_pair(tok, text, n, text, n / 2, flags, &ids, &n_ids, &error)) {
        require(error.message[0] && error.status != MLXN_ERR_INTERNAL && !ids);
        return;
    }
    for (size_t i = 0; i < n_ids; i++) {
        require(mlxn_tokenizer_token_bytes(tok, ids[i], &bytes) != NULL);
        (void)mlxn_tokenizer_is_end(tok, ids[i]);
    }
    if (mlxn_tokenizer_decode(tok, ids, n_ids, true, &back, &n_back, &error))
        require(error.message[0] && error.status != MLXN_ERR_INTERNAL);
    else
        require(back && back[n_back] == 0);
    mlxn_free(ids);
    mlxn_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char sample[] =
        "ab  aab <s> \n\n\n caf\xc3\xa9 e\xcc\x81 12 \xff\xe2\x82 \xe4\xbd\xa0\xe5\xa5\xbd it's XaX";
    const char *json = (const char *)data;
    const char *config = size ? memchr(json, 0, size) : NULL;
    size_t n_json = config ? (size_t)(config - json) : size;
    size_t n_config = config ? size - n_json - 1 : 0;
    if (config) config++;
    const char *text = config ? memchr(config, 0, n_config) : NULL;
    size_t n_text = text ? n_config - (size_t)(text - config) - 1 : 0;
    if (text) n_config -= n_text + 1;
    mlxn_tokenizer *tok = NULL;
    mlxn_error error = {0};
    if (mlxn_tokenizer_from_json(n_json ? json : "", n_json, config, n_config, &tok, &error)) {
        require(!tok && error.message[0] && error.status != MLXN_ERR_INTERNAL);
        return 0;
    }
    use(tok, sample, sizeof sample - 1, 0);
    use(tok, sample, sizeof sample - 1, MLXN_TOKENIZE_NO_SPECIAL | MLXN_TOKENIZE_NO_BOS);
    if (text) use(tok, text + 1, n_text, 0);
    (void)mlxn_tokenizer_find(tok, "ab", 2);
    require(mlxn_tokenizer_name(tok)[0]);
    mlxn_tokenizer_destroy(tok);
    return 0;
}
