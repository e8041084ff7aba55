/* bpe.c: byte-level BPE. Each byte of a piece is written as one of 256 printable characters, in which the vocabulary
 * and the merges are spelled; the merges then join them, lowest rank first. */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

/* Bytes that are printable in Latin-1 stand for themselves, the 68 others, in order, for U+0100 and up (the mapping
 * that GPT-2 published). */
static bool is_itself(uint32_t code) {
    return (code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xac) || (code >= 0xae && code <= 0xff);
}

uint32_t mlxn_bpe_char_of_byte(uint8_t byte) {
    if (is_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    return 0x143u; /* 0xad */
}

int32_t mlxn_bpe_byte_of_char(uint32_t code) {
    if (is_itself(code)) return (int32_t)code;
    if (code < 0x100 || code > 0x143) return -1;
    code -= 0x100;
    return (int32_t)(code <= 0x20 ? code : code == 0x43 ? 0xad : 0x7f + (code - 0x21));
}

/* A symbol that is no token: its characters one by one. */
static bool push_bytes(const mlxn_tokenizer *tok, const char *s, uint32_t n, mlxn_tok_ids *out) {
    for (uint32_t i = 0, length; i < n; i += length) {
        uint32_t code = 0;
        length = mlxn_utf8_read(s + i, n - i, &code, NULL);
        int32_t id = tok->byte_ids[mlxn_bpe_byte_of_char(code)];
        if (id >= 0 && !mlxn_tok_push(out, id)) return false;
    }
    return true;
}

static bool encode_piece(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                         mlxn_tok_ids *out) {
    if (!mlxn_tok_work_text(work, 2 * (size_t)n)) return false;
    work->n_symbols = 0;
    uint32_t size = 0;
    for (uint32_t i = 0; i < n; i++) {
        char encoded[4];
        uint32_t length = mlxn_utf8_write(mlxn_bpe_char_of_byte((uint8_t)text[i]), encoded);
        memcpy(work->text + size, encoded, length);
        if (!mlxn_tok_work_symbol(work, size, length)) return false;
        size += length;
    }
    if (mlxn_pretok_ignores_merges(tok->pretok)) {
        int32_t id = mlxn_tok_find(tok, work->text, size);
        if (id >= 0) return mlxn_tok_push(out, id);
    }
    if (!mlxn_tok_join(tok, work)) return false;
    for (uint32_t i = 0; i != MLXN_TOK_NIL; i = work->symbols[i].next) {
        const mlxn_tok_symbol *symbol = &work->symbols[i];
        int32_t id = mlxn_tok_find(tok, work->text + symbol->start, symbol->size);
        bool ok = id >= 0 ? mlxn_tok_push(out, id) : push_bytes(tok, work->text + symbol->start, symbol->size, out);
        if (!ok) return false;
    }
    return true;
}

mlxn_status mlxn_bpe_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                            mlxn_tok_ids *out, mlxn_error *error) {
    uint32_t *ends;
    size_t n_ends;
    /* The compiled expressions are a cache behind a lock: the tokenizer stays constant to its users. */
    mlxn_status status = mlxn_pretok_split((mlxn_tokenizer *)tok, text, n, &ends, &n_ends, error);
    if (status != MLXN_OK) return status;
    bool ok = true;
    uint32_t start = 0;
    for (size_t i = 0; ok && i < n_ends; start = ends[i++])
        ok = encode_piece(tok, work, text + start, ends[i] - start, out);
    mlxn_free(ends);
    return ok ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for %u bytes of text", n);
}
