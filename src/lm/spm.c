/* spm.c: SentencePiece-style BPE: characters are joined as long as the joined text is a token, highest score first.
 */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

bool mlxn_spm_encode(const mlxn_tokenizer *tok, mlxn_tok_work *work, const char *text, uint32_t n, bool space_prefix,
                     mlxn_tok_ids *out) {
    size_t spaces = space_prefix;
    for (uint32_t i = 0; i < n; i++) spaces += text[i] == ' ';
    if (!mlxn_tok_work_text(work, n + 3 * spaces)) return false;
    work->n_symbols = 0;
    uint32_t size = 0;
    for (uint32_t i = 0; i < n;) {
        /* An ill-formed byte is a symbol of its own: it stays out of joins and becomes a byte token. */
        uint32_t length = 1;
        if (space_prefix || text[i] == ' ') {
            memcpy(work->text + size, "\xe2\x96\x81", 3);
            if (!mlxn_tok_work_symbol(work, size, 3)) return false;
            size += 3;
            i += !space_prefix;
            space_prefix = false;
            continue;
        }
        uint32_t whole = mlxn_utf8_read(text + i, n - i, NULL, NULL);
        if (whole) length = whole;
        memcpy(work->text + size, text + i, length);
        if (!mlxn_tok_work_symbol(work, size, length)) return false;
        size += length;
        i += length;
    }
    if (!mlxn_tok_join(tok, work)) return false;
    for (uint32_t i = 0; i != MLXN_TOK_NIL; i = work->symbols[i].next) {
        const char *s = work->text + work->symbols[i].start;
        uint32_t bytes = work->symbols[i].size;
        int32_t id = mlxn_tok_find(tok, s, bytes);
        if (id >= 0) {
            if (!mlxn_tok_push(out, id)) return false;
            continue;
        }
        for (uint32_t k = 0; k < bytes; k++)
            if (!mlxn_tok_push(out, tok->byte_ids[(uint8_t)s[k]])) return false;
    }
    return true;
}
