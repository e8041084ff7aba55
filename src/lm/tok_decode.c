/* tok_decode.c: the decoders: from the texts of tokens to the text that they stand for. */
#include "lm/tok_internal.h"
#include "lm/utf8.h"

void mlxn_tok_texts_free(mlxn_tok_texts *texts) {
    mlxn_free(texts->bytes.data);
    mlxn_free(texts->cuts.data);
    memset(texts, 0, sizeof *texts);
}

/* Byte-level: the bytes that the characters stand for. A text with another character in it is itself. */
static bool from_byte_level(const char *s, uint32_t n, mlxn_tok_bytes *out) {
    size_t begin = out->size;
    if (!mlxn_tok_bytes_room(out, n)) return false;
    for (uint32_t i = 0, length; i < n; i += length) {
        uint32_t code = (uint8_t)s[i];
        length = code < 0x80 ? 1 : mlxn_utf8_read(s + i, n - i, &code, NULL);
        int32_t byte = length ? mlxn_bpe_byte_of_char(code) : -1;
        if (byte < 0) {
            out->size = begin;
            return mlxn_tok_append(out, s, n);
        }
        out->data[out->size++] = (char)byte;
    }
    return true;
}

static bool replace_text(const char *s, size_t n, const char *from, const char *to, mlxn_tok_bytes *out) {
    const mlxn_tok_step step = {.text = {from, strlen(from)}, .content = {to, strlen(to)}};
    return mlxn_tok_replace(&step, NULL, s, (uint32_t)n, out, NULL) == MLXN_OK;
}

/* What English writes without a space. */
static bool clean_up(mlxn_tok_bytes *text, mlxn_tok_bytes *spare) {
    static const char *const rules[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        spare->size = 0;
        if (!replace_text(text->data, text->size, rules[i][0], rules[i][1], spare)) return false;
        mlxn_tok_swap(text, spare);
    }
    return true;
}

static bool strip(const mlxn_tok_step *step, const char *s, uint32_t n, mlxn_tok_bytes *out) {
    uint32_t size = (uint32_t)step->text.size, start = 0, end = n;
    for (uint64_t i = 0; i < step->number && end - start >= size && !memcmp(s + start, step->text.data, size); i++)
        start += size;
    for (uint64_t i = 0; i < step->number2 && end - start >= size && !memcmp(s + end - size, step->text.data, size);
         i++)
        end -= size;
    return mlxn_tok_append(out, s + start, end - start);
}

/* Where a text stands among the others. */
typedef struct place {
    bool first, last;
} place;

typedef struct decoder {
    mlxn_tok_bytes one, spare; /* work on one text */
    mlxn_regex_work regex;
} decoder;

static void free_decoder(decoder *d) {
    mlxn_free(d->one.data);
    mlxn_free(d->spare.data);
    mlxn_regex_work_free(&d->regex);
}

static bool wordpiece(decoder *d, const mlxn_tok_step *step, bool first, const char *s, uint32_t n,
                      mlxn_tok_bytes *out) {
    uint32_t prefix = (uint32_t)step->text.size;
    bool ok = true;
    d->one.size = 0;
    if (!first && n >= prefix && memcmp(s, step->text.data, prefix) == 0)
        ok = mlxn_tok_append(&d->one, s + prefix, n - prefix);
    else
        ok = mlxn_tok_append(&d->one, " ", !first) && mlxn_tok_append(&d->one, s, n);
    if (ok && step->flag[0]) ok = clean_up(&d->one, &d->spare);
    return ok && mlxn_tok_append(out, d->one.data, d->one.size);
}

static bool ctc(decoder *d, const mlxn_tok_step *step, const char *s, uint32_t n, mlxn_tok_bytes *out) {
    d->one.size = d->spare.size = 0;
    const mlxn_tok_step remove = {.text = step->text}, space = {.text = step->content, .content = {" ", 1}};
    if (mlxn_tok_replace(&remove, &d->regex, s, n, &d->one, NULL) != MLXN_OK) return false;
    if (step->flag[0]) {
        if (!clean_up(&d->one, &d->spare)) return false;
        d->spare.size = 0;
        if (mlxn_tok_replace(&space, &d->regex, d->one.data, (uint32_t)d->one.size, &d->spare, NULL) != MLXN_OK)
            return false;
        mlxn_tok_swap(&d->one, &d->spare);
    }
    return mlxn_tok_append(out, d->one.data, d->one.size);
}

static bool metaspace(const mlxn_tok_step *step, bool first, const char *s, uint32_t n, mlxn_tok_bytes *out) {
    uint32_t size = (uint32_t)step->text.size;
    bool drop = first && step->flag[0], ok = true;
    for (uint32_t k = 0; ok && k < n;) {
        bool space = n - k >= size && memcmp(s + k, step->text.data, size) == 0;
        ok = space ? mlxn_tok_append(out, " ", !drop) : mlxn_tok_append(out, s + k, 1);
        k += space ? size : 1;
    }
    return ok;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte of "<0xE2>"; -1: another text. */
static int named_byte(const char *s, uint32_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    int high = hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool byte_or_text(const char *s, uint32_t n, mlxn_tok_bytes *out) {
    int byte = named_byte(s, n);
    char c = (char)byte;
    return byte < 0 ? mlxn_tok_append(out, s, n) : mlxn_tok_append(out, &c, 1);
}

/* One step on one text. */
static mlxn_status decode_one(decoder *d, const mlxn_tok_step *step, place at, const char *s, uint32_t n,
                              mlxn_tok_bytes *out, mlxn_error *error) {
    bool ok = true;
    switch (step->op) {
        case MLXN_DECODE_BYTE_LEVEL:
            ok = from_byte_level(s, n, out);
            break;
        case MLXN_DECODE_WORDPIECE:
            ok = wordpiece(d, step, at.first, s, n, out);
            break;
        case MLXN_DECODE_METASPACE:
            ok = metaspace(step, at.first, s, n, out);
            break;
        case MLXN_DECODE_BYTE_FALLBACK:
            ok = byte_or_text(s, n, out);
            break;
        case MLXN_DECODE_STRIP:
            ok = strip(step, s, n, out);
            break;
        case MLXN_DECODE_BPE: {
            const mlxn_tok_step space = {.text = step->text, .content = {" ", !at.last}};
            return mlxn_tok_replace(&space, &d->regex, s, n, out, error);
        }
        case MLXN_DECODE_REPLACE:
            return mlxn_tok_replace(step, &d->regex, s, n, out, error);
        case MLXN_DECODE_CTC:
            ok = ctc(d, step, s, n, out);
            break;
        default:
            ok = mlxn_tok_append(out, s, n);
            break;
    }
    return ok ? MLXN_OK : mlxn_tok_no_memory(n, error);
}

/* ---- lists of texts ---- */

static const char *text_of(const mlxn_tok_texts *texts, size_t i, uint32_t *n) {
    *n = texts->cuts.data[i].end - texts->cuts.data[i].start;
    return *n ? texts->bytes.data + texts->cuts.data[i].start : "";
}

/* Whether text i is not one of its own: byte tokens that follow each other become one text, repeated tokens of CTC
 * are one, and after a fuse step all are. */
static bool joins(mlxn_tok_op op, const mlxn_tok_texts *in, size_t i) {
    uint32_t n, before;
    if (!i) return false;
    const char *s = text_of(in, i, &n), *last = text_of(in, i - 1, &before);
    if (op == MLXN_DECODE_BYTE_FALLBACK) return named_byte(s, n) >= 0 && named_byte(last, before) >= 0;
    return op == MLXN_DECODE_FUSE || (op == MLXN_DECODE_CTC && n == before && memcmp(s, last, n) == 0);
}

static mlxn_status run(decoder *d, const mlxn_tok_step *step, const mlxn_tok_texts *in, mlxn_tok_texts *out,
                       mlxn_error *error) {
    bool ctc = step->op == MLXN_DECODE_CTC;
    for (size_t i = 0; i < in->cuts.count; i++) {
        uint32_t n;
        const char *s = text_of(in, i, &n);
        bool joined = joins(step->op, in, i);
        if (joined && ctc) continue;
        size_t start = out->bytes.size;
        place at = {i == 0, i + 1 == in->cuts.count};
        mlxn_status status = decode_one(d, step, at, s, n, &out->bytes, error);
        if (status != MLXN_OK) return status;
        if (out->bytes.size > UINT32_MAX) return mlxn_tok_no_memory(out->bytes.size, error);
        if (ctc && out->bytes.size == start) continue;
        if (joined)
            out->cuts.data[out->cuts.count - 1].end = (uint32_t)out->bytes.size;
        else if (!mlxn_tok_cut_add(&out->cuts,
                                   (mlxn_tok_cut){(uint32_t)start, (uint32_t)out->bytes.size, false, false}))
            return mlxn_tok_no_memory(out->bytes.size, error);
    }
    return MLXN_OK;
}

mlxn_status mlxn_tok_decode_steps(const mlxn_tok_steps *steps, mlxn_tok_texts *texts, mlxn_error *error) {
    decoder d = {0};
    mlxn_tok_texts out = {0};
    mlxn_status status =
        mlxn_regex_begin(&d.regex, texts->bytes.size) ? MLXN_OK : mlxn_tok_no_memory(texts->bytes.size, error);
    for (uint32_t i = 0; status == MLXN_OK && i < steps->count; i++) {
        out.bytes.size = out.cuts.count = 0;
        status = run(&d, &steps->items[i], texts, &out, error);
        mlxn_tok_texts swap = *texts;
        *texts = out;
        out = swap;
    }
    mlxn_tok_texts_free(&out);
    free_decoder(&d);
    return status;
}

/* ---- texts in the middle of others ---- */

/* Most tokens of most vocabularies pass most steps as they are. */
static bool is_unchanged(const mlxn_tok_step *step, const char *s, uint32_t n) {
    if (step->op == MLXN_DECODE_BYTE_FALLBACK) return n != 6 || s[0] != '<';
    return step->op == MLXN_DECODE_REPLACE && !step->regex && step->text.size &&
           (n < step->text.size || !memchr(s, step->text.data[0], n));
}

static mlxn_status decode_inside(decoder *d, const mlxn_tok_steps *steps, const char *s, uint32_t n,
                                 mlxn_tok_bytes turns[2], mlxn_tok_bytes *out, mlxn_error *error) {
    for (uint32_t i = 0; i < steps->count && steps->items[i].op != MLXN_DECODE_FUSE; i++) {
        if (is_unchanged(&steps->items[i], s, n)) continue;
        mlxn_tok_bytes *to = &turns[i % 2];
        if (s == turns[i % 2].data) to = &turns[(i + 1) % 2];
        to->size = 0;
        mlxn_status status = decode_one(d, &steps->items[i], (place){false, false}, s, n, to, error);
        if (status != MLXN_OK) return status;
        n = (uint32_t)to->size;
        s = n ? to->data : "";
    }
    return mlxn_tok_append(out, s, n) ? MLXN_OK : mlxn_tok_no_memory(n, error);
}

mlxn_status mlxn_tok_decode_each(const mlxn_tok_steps *steps, const mlxn_tok_each *each, mlxn_tok_bytes *out,
                                 uint32_t *ends, mlxn_error *error) {
    decoder d = {0};
    mlxn_tok_bytes turns[2] = {{0}};
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; status == MLXN_OK && i < each->count; i++) {
        mlxn_string text;
        bool decoded = each->get(each->user, i, &text);
        if (decoded)
            status = mlxn_regex_begin(&d.regex, text.size)
                         ? decode_inside(&d, steps, text.data, (uint32_t)text.size, turns, out, error)
                         : mlxn_tok_no_memory(text.size, error);
        else if (!mlxn_tok_append(out, text.data, (size_t)text.size))
            status = mlxn_tok_no_memory(text.size, error);
        if (out->size > UINT32_MAX) status = mlxn_tok_no_memory(out->size, error);
        ends[i] = (uint32_t)out->size;
    }
    mlxn_free(turns[0].data);
    mlxn_free(turns[1].data);
    free_decoder(&d);
    return status;
}
