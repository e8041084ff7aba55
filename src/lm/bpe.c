/* bpe.c: byte-pair encoding: a piece is cut into characters, adjacent ones are joined as the vocabulary says, and
 * what is left are tokens. Byte-level vocabularies spell each byte as one of 256 characters. */
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

/* An unknown token that has not become a symbol yet, because the next one may be fused with it. */
typedef struct builder {
    const mlxn_tokenizer *tok;
    mlxn_tok_work *work;
    bool unknown;
    bool lacks_unknown; /* the text needs the unknown token that the file names, and there is none */
} builder;

static bool add_symbol(builder *b, const char *s, uint32_t n) {
    size_t start = b->work->text.size;
    return start + n <= UINT32_MAX && mlxn_tok_append(&b->work->text, s, n) &&
           mlxn_tok_work_symbol(b->work, (uint32_t)start, n);
}

static bool flush_unknown(builder *b) {
    if (!b->unknown) return true;
    b->unknown = false;
    return add_symbol(b, mlxn_tok_text(&b->tok->tokens, (uint32_t)b->tok->unknown),
                      b->tok->tokens.items[b->tok->unknown].size);
}

static bool add_bytes(builder *b, const char *s, uint32_t n, bool *done) {
    *done = b->tok->byte_fallback;
    for (uint32_t i = 0; *done && i < n; i++) *done = b->tok->byte_ids[(uint8_t)s[i]] >= 0;
    for (uint32_t i = 0; *done && i < n; i++) {
        uint32_t id = (uint32_t)b->tok->byte_ids[(uint8_t)s[i]];
        if (!add_symbol(b, mlxn_tok_text(&b->tok->tokens, id), b->tok->tokens.items[id].size)) return false;
    }
    return true;
}

/* A character as the vocabulary spells it at its place, or what stands for it: its bytes, the unknown token, or
 * nothing if the file names no such token. */
static bool add_character(builder *b, const char *s, uint32_t n, bool first, bool last) {
    const mlxn_tokenizer *tok = b->tok;
    char spelled[2 * MLXN_TOK_MAX_AFFIX + 4];
    uint32_t size = first ? 0 : (uint32_t)tok->prefix.size, suffix = last ? (uint32_t)tok->suffix.size : 0;
    bool done;
    if (size) memcpy(spelled, tok->prefix.data, size);
    memcpy(spelled + size, s, n);
    size += n;
    if (suffix) memcpy(spelled + size, tok->suffix.data, suffix);
    size += suffix;
    if (mlxn_tok_find(tok, spelled, size) >= 0) return flush_unknown(b) && add_symbol(b, spelled, size);
    if (!add_bytes(b, spelled, size, &done)) return false;
    if (done) return true;
    if (tok->unknown < 0) {
        b->lacks_unknown |= tok->names_unknown;
        return true;
    }
    if (b->unknown && !tok->fuses_unknown && !flush_unknown(b)) return false;
    b->unknown = true;
    return true;
}

static bool build(builder *b, const char *text, uint32_t n) {
    const mlxn_tokenizer *tok = b->tok;
    b->work->n_symbols = 0;
    b->work->text.size = 0;
    for (uint32_t i = 0; i < n;) {
        /* An ill-formed byte is a symbol of its own: it stays out of joins. */
        uint32_t length = mlxn_utf8_read(text + i, n - i, NULL, NULL);
        if (!length) length = 1;
        bool ok = tok->resolves_first ? add_character(b, text + i, length, i == 0, i + length == n)
                                      : add_symbol(b, text + i, length);
        if (!ok) return false;
        i += length;
    }
    return flush_unknown(b);
}

/* A symbol that is no token: "llama": its bytes; byte-level: its characters. */
static bool push_parts(const mlxn_tokenizer *tok, const char *s, uint32_t n, mlxn_tok_ids *out) {
    for (uint32_t i = 0, length = 1; i < n; i += length) {
        int32_t byte = (uint8_t)s[i];
        if (tok->model == MLXN_TOK_BPE) {
            uint32_t code = 0;
            length = mlxn_utf8_read(s + i, n - i, &code, NULL);
            byte = length ? mlxn_bpe_byte_of_char(code) : -1;
            if (!length) length = 1;
        }
        int32_t id = byte < 0 ? -1 : tok->byte_ids[byte];
        if (id >= 0 && !mlxn_tok_push(out, id)) return false;
    }
    return true;
}

mlxn_status mlxn_bpe_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n,
                            mlxn_tok_ids *out, mlxn_error *error) {
    int32_t whole = tok->ignores_merges ? mlxn_tok_find(tok, text, n) : -1;
    if (whole >= 0) return mlxn_tok_push(out, whole) ? MLXN_OK : mlxn_tok_no_memory(n, error);
    builder b = {.tok = tok, .work = work};
    bool ok = build(&b, text, n);
    if (b.lacks_unknown) return mlxn_tok_no_unknown(text, n, error);
    ok = ok && mlxn_tok_join(tok, work);
    for (uint32_t i = work->n_symbols ? 0 : MLXN_TOK_NIL; ok && i != MLXN_TOK_NIL; i = work->symbols[i].next) {
        const mlxn_tok_symbol *symbol = &work->symbols[i];
        const char *s = work->text.data + symbol->start;
        int32_t id = mlxn_tok_find(tok, s, symbol->size);
        ok = id >= 0 ? mlxn_tok_push(out, id) : push_parts(tok, s, symbol->size, out);
    }
    return ok ? MLXN_OK : mlxn_tok_no_memory(n, error);
}
