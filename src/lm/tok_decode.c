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

typedef struct decoder {
    const mlxn_tok_step *step;
    const mlxn_tok_texts *in;
    mlxn_tok_texts out;
    mlxn_tok_bytes one, spare; /* work on one text */
    mlxn_regex_work regex;
    bool inside;
} decoder;

static const char *text_of(const decoder *d, size_t i, uint32_t *n) {
    *n = d->in->cuts.data[i].end - d->in->cuts.data[i].start;
    return d->in->bytes.data + d->in->cuts.data[i].start;
}

static bool wordpiece(decoder *d, size_t i, const char *s, uint32_t n) {
    uint32_t prefix = (uint32_t)d->step->text.size;
    bool first = i == 0 && !d->inside, ok = true;
    d->one.size = 0;
    if (!first && n >= prefix && memcmp(s, d->step->text.data, prefix) == 0)
        ok = mlxn_tok_append(&d->one, s + prefix, n - prefix);
    else
        ok = mlxn_tok_append(&d->one, " ", !first) && mlxn_tok_append(&d->one, s, n);
    if (ok && d->step->flag[0]) ok = clean_up(&d->one, &d->spare);
    return ok && mlxn_tok_append(&d->out.bytes, d->one.data, d->one.size);
}

static bool ctc(decoder *d, const char *s, uint32_t n) {
    const mlxn_tok_step *step = d->step;
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
    return mlxn_tok_append(&d->out.bytes, d->one.data, d->one.size);
}

static bool metaspace(const decoder *d, size_t i, const char *s, uint32_t n, mlxn_tok_bytes *out) {
    uint32_t size = (uint32_t)d->step->text.size;
    bool drop = i == 0 && !d->inside && d->step->flag[0], ok = true;
    for (uint32_t k = 0; ok && k < n;) {
        bool space = n - k >= size && memcmp(s + k, d->step->text.data, size) == 0;
        ok = space ? mlxn_tok_append(out, " ", !drop) : mlxn_tok_append(out, s + k, 1);
        k += space ? size : 1;
    }
    return ok;
}

static mlxn_status decode_one(decoder *d, size_t i, mlxn_error *error) {
    const mlxn_tok_step *step = d->step;
    mlxn_tok_bytes *out = &d->out.bytes;
    uint32_t n;
    const char *s = text_of(d, i, &n);
    bool ok = true;
    switch (step->op) {
        case MLXN_DECODE_BYTE_LEVEL:
            ok = from_byte_level(s, n, out);
            break;
        case MLXN_DECODE_WORDPIECE:
            ok = wordpiece(d, i, s, n);
            break;
        case MLXN_DECODE_METASPACE:
            ok = metaspace(d, i, s, n, out);
            break;
        case MLXN_DECODE_STRIP:
            ok = strip(step, s, n, out);
            break;
        case MLXN_DECODE_BPE: {
            bool last = i + 1 == d->in->cuts.count && !d->inside;
            const mlxn_tok_step space = {.text = step->text, .content = {" ", !last}};
            return mlxn_tok_replace(&space, &d->regex, s, n, out, error);
        }
        case MLXN_DECODE_REPLACE:
            return mlxn_tok_replace(step, &d->regex, s, n, out, error);
        case MLXN_DECODE_CTC:
            ok = ctc(d, s, n);
            break;
        default:
            ok = mlxn_tok_append(out, s, n);
            break;
    }
    return ok ? MLXN_OK : mlxn_tok_no_memory(n, error);
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

static bool close_text(decoder *d, size_t start) {
    return d->out.bytes.size <= UINT32_MAX &&
           mlxn_tok_cut_add(&d->out.cuts, (mlxn_tok_cut){(uint32_t)start, (uint32_t)d->out.bytes.size, false, false});
}

/* Byte tokens that follow each other become one text. */
static bool byte_fallback(decoder *d) {
    bool last = false;
    for (size_t i = 0; i < d->in->cuts.count; i++) {
        uint32_t n;
        const char *s = text_of(d, i, &n);
        int byte = named_byte(s, n);
        char c = (char)byte;
        size_t start = d->out.bytes.size;
        if (!mlxn_tok_append(&d->out.bytes, byte < 0 ? s : &c, byte < 0 ? n : 1)) return false;
        if (byte >= 0 && last && !d->inside)
            d->out.cuts.data[d->out.cuts.count - 1].end = (uint32_t)d->out.bytes.size;
        else if (!close_text(d, start))
            return false;
        last = byte >= 0;
    }
    return true;
}

static mlxn_status run(decoder *d, mlxn_error *error) {
    size_t total = d->in->bytes.size;
    mlxn_tok_op op = d->step->op;
    if (op == MLXN_DECODE_BYTE_FALLBACK) return byte_fallback(d) ? MLXN_OK : mlxn_tok_no_memory(total, error);
    for (size_t i = 0; i < d->in->cuts.count; i++) {
        if (op == MLXN_DECODE_CTC && i && !d->inside) { /* repeated tokens are one */
            uint32_t n, before;
            const char *s = text_of(d, i, &n), *last = text_of(d, i - 1, &before);
            if (n == before && memcmp(s, last, n) == 0) continue;
        }
        size_t start = d->out.bytes.size;
        mlxn_status status = decode_one(d, i, error);
        if (status != MLXN_OK) return status;
        if (op == MLXN_DECODE_FUSE && i + 1 < d->in->cuts.count) continue;
        if (op == MLXN_DECODE_CTC && !d->inside && d->out.bytes.size == start) continue;
        if (!close_text(d, op == MLXN_DECODE_FUSE ? 0 : start)) return mlxn_tok_no_memory(total, error);
    }
    return MLXN_OK;
}

mlxn_status mlxn_tok_decode_steps(const mlxn_tok_steps *steps, mlxn_tok_texts *texts, bool inside,
                                  mlxn_error *error) {
    decoder d = {.in = texts, .inside = inside};
    mlxn_status status =
        mlxn_regex_begin(&d.regex, texts->bytes.size) ? MLXN_OK : mlxn_tok_no_memory(texts->bytes.size, error);
    for (uint32_t i = 0; status == MLXN_OK && i < steps->count; i++) {
        d.step = &steps->items[i];
        if (inside && d.step->op == MLXN_DECODE_FUSE) break;
        d.out.bytes.size = d.out.cuts.count = 0;
        status = run(&d, error);
        mlxn_tok_texts swap = *texts;
        *texts = d.out;
        d.out = swap;
    }
    mlxn_tok_texts_free(&d.out);
    mlxn_free(d.one.data);
    mlxn_free(d.spare.data);
    mlxn_regex_work_free(&d.regex);
    return status;
}
