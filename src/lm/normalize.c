/* normalize.c: the normalizers. Each reads a text and writes another; bytes that are no character stay as they are.
 */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

/* Characters one by one: how many of out[0..2) stand for `c`. */
typedef uint32_t (*map_fn)(uint32_t c, uint32_t out[2]);

static bool map_characters(const char *s, size_t n, map_fn map, mlxn_tok_bytes *out) {
    for (size_t i = 0; i < n;) {
        uint32_t code, mapped[2], length = mlxn_utf8_read(s + i, n - i, &code, NULL);
        if (!length) {
            if (!mlxn_tok_append(out, s + i++, 1)) return false;
            continue;
        }
        uint32_t count = map(code, mapped);
        for (uint32_t k = 0; k < count; k++)
            if (!mlxn_tok_append_char(out, mapped[k])) return false;
        i += length;
    }
    return true;
}

static uint32_t without_marks(uint32_t c, uint32_t out[2]) {
    out[0] = c;
    return !mlxn_char_is_mark(c);
}

static uint32_t without_nonspacing(uint32_t c, uint32_t out[2]) {
    out[0] = c;
    return !mlxn_char_is_nonspacing_mark(c);
}

/* The table of SentencePiece's NMT rule. */
static uint32_t nmt(uint32_t c, uint32_t out[2]) {
    bool removed = (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
    bool space = c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
                 c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd;
    out[0] = space ? ' ' : c;
    return !removed;
}

static uint32_t clean(uint32_t c, uint32_t out[2]) {
    bool line = c == '\t' || c == '\n' || c == '\r';
    out[0] = line || mlxn_char_is_white(c) ? ' ' : c;
    return line || !mlxn_char_is_control(c);
}

static bool space_around_han(const char *s, size_t n, mlxn_tok_bytes *out) {
    for (size_t i = 0; i < n;) {
        uint32_t code, length = mlxn_utf8_read(s + i, n - i, &code, NULL);
        bool han = length && mlxn_char_is_han(code);
        if (!length) length = 1;
        if (!mlxn_tok_append(out, " ", han) || !mlxn_tok_append(out, s + i, length) ||
            !mlxn_tok_append(out, " ", han))
            return false;
        i += length;
    }
    return true;
}

/* The four parts of BertNormalizer, each into `spare` and back. */
static bool bert(const mlxn_tok_step *step, mlxn_tok_bytes *text, mlxn_tok_bytes *spare) {
    for (int part = 0; part < 5; part++) {
        bool on = part < 2 ? step->flag[part] : step->flag[part < 4 ? 2 : 3], ok = true;
        if (!on) continue;
        spare->size = 0;
        if (part == 0) ok = map_characters(text->data, text->size, clean, spare);
        if (part == 1) ok = space_around_han(text->data, text->size, spare);
        if (part == 2) ok = mlxn_tok_unicode_form(false, false, text->data, text->size, spare);
        if (part == 3) ok = map_characters(text->data, text->size, without_nonspacing, spare);
        if (part == 4) ok = map_characters(text->data, text->size, mlxn_char_lower, spare);
        if (!ok) return false;
        mlxn_tok_swap(text, spare);
    }
    return true;
}

static bool strip(const mlxn_tok_step *step, const char *s, size_t n, mlxn_tok_bytes *out) {
    size_t start = 0, end = n;
    uint32_t code, length;
    while (step->flag[0] && start < end && (length = mlxn_utf8_read(s + start, end - start, &code, NULL)) &&
           mlxn_char_is_white(code))
        start += length;
    while (step->flag[1] && end > start) {
        size_t last = end - 1;
        while (last > start && end - last < 4 && ((uint8_t)s[last] & 0xc0) == 0x80) last--;
        if (mlxn_utf8_read(s + last, end - last, &code, NULL) != end - last || !mlxn_char_is_white(code)) break;
        end = last;
    }
    return mlxn_tok_append(out, s + start, end - start);
}

static bool byte_level(const char *s, size_t n, mlxn_tok_bytes *out) {
    for (size_t i = 0; i < n; i++)
        if (!mlxn_tok_append_char(out, mlxn_bpe_char_of_byte((uint8_t)s[i]))) return false;
    return true;
}

/* From `text` to `spare`; REPLACE is apart, because only it can fail for other reasons than memory. */
static bool apply(const mlxn_tok_step *step, const mlxn_tok_bytes *text, mlxn_tok_bytes *spare) {
    const char *s = text->size ? text->data : "";
    size_t n = text->size;
    bool before = step->op == MLXN_NORM_PREPEND && n, behind = step->op == MLXN_NORM_APPEND && n;
    switch (step->op) {
        case MLXN_NORM_NFC:
        case MLXN_NORM_NFD:
            return mlxn_tok_unicode_form(false, step->op == MLXN_NORM_NFC, s, n, spare);
        case MLXN_NORM_NFKC:
        case MLXN_NORM_NFKD:
            return mlxn_tok_unicode_form(true, step->op == MLXN_NORM_NFKC, s, n, spare);
        case MLXN_NORM_LOWERCASE:
            return map_characters(s, n, mlxn_char_lower, spare);
        case MLXN_NORM_STRIP_ACCENTS:
            return map_characters(s, n, without_marks, spare);
        case MLXN_NORM_NMT:
            return map_characters(s, n, nmt, spare);
        case MLXN_NORM_STRIP:
            return strip(step, s, n, spare);
        case MLXN_NORM_CHARSMAP:
            return mlxn_charsmap_apply(step, s, n, spare);
        case MLXN_NORM_BYTE_LEVEL:
            return byte_level(s, n, spare);
        default:
            return mlxn_tok_append(spare, step->content.data, before ? (size_t)step->content.size : 0) &&
                   mlxn_tok_append(spare, s, n) &&
                   mlxn_tok_append(spare, step->content.data, behind ? (size_t)step->content.size : 0);
    }
}

mlxn_status mlxn_tok_normalize(const mlxn_tok_steps *steps, mlxn_tok_work *work, const char *text, uint32_t n,
                               mlxn_error *error) {
    mlxn_tok_bytes *now = &work->normal, *spare = &work->spare;
    now->size = 0;
    bool ok = mlxn_tok_append(now, text, n);
    for (uint32_t i = 0; ok && i < steps->count; i++) {
        const mlxn_tok_step *step = &steps->items[i];
        spare->size = 0;
        if (step->op == MLXN_NORM_BERT) {
            ok = bert(step, now, spare);
            continue;
        }
        if (step->op == MLXN_NORM_REPLACE) {
            mlxn_status status = mlxn_tok_replace(step, &work->regex, now->data, (uint32_t)now->size, spare, error);
            if (status != MLXN_OK) return status;
        } else {
            ok = apply(step, now, spare);
        }
        mlxn_tok_swap(now, spare);
        if (ok && now->size > 4 * MLXN_TOK_MAX_TEXT)
            return mlxn_fail(error, MLXN_ERR_LIMIT,
                             "tokenize: %u bytes of text become %zu when normalized, at most %zu", n, now->size,
                             4 * MLXN_TOK_MAX_TEXT);
    }
    return ok ? MLXN_OK : mlxn_tok_no_memory(n, error);
}
