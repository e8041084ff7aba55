/* gguf_text.c: how errors in a GGUF file are worded: numbers with separators, names with everything unprintable
 * escaped, the subject in front and the byte offset behind. */
#include <stdio.h>

#include "io/gguf.h"

mlxn_gg_number_text mlxn_gg_number(uint64_t value) {
    mlxn_gg_number_text out = {{0}};
    char digits[20];
    int count = 0, at = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (count) {
        out.s[at++] = digits[--count];
        if (count && count % 3 == 0) out.s[at++] = ',';
    }
    return out;
}

unsigned mlxn_gg_utf8_length(const unsigned char *p, uint64_t left) {
    if (p[0] < 0x80) return 1;
    unsigned length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < length) return 0;
    for (unsigned i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90)) return 0;   /* longer than needed */
    if ((p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90)) return 0; /* surrogate, past U+10FFFF */
    return length;
}

/* The same; 0 also for control characters (C0, DEL, C1). */
static unsigned printable(const unsigned char *p, uint64_t left) {
    if (p[0] < 0x20 || p[0] == 0x7f) return 0;
    unsigned length = mlxn_gg_utf8_length(p, left);
    return length == 2 && p[0] == 0xc2 && p[1] < 0xa0 ? 0 : length;
}

mlxn_gg_name_text mlxn_gg_quote(mlxn_string text) {
    enum { SHOWN = 64 }; /* four characters per byte at most, two quotes, an ellipsis and the zero fit the record */
    mlxn_gg_name_text out = {{0}};
    char *to = out.s;
    *to++ = '"';
    uint64_t i = 0;
    while (i < text.size && i < SHOWN) {
        const unsigned char *p = (const unsigned char *)text.data + i;
        unsigned length = printable(p, text.size - i);
        if (i + length > SHOWN) break;
        if (length == 0) {
            to += sprintf(to, "\\x%02x", p[0]);
            length = 1;
        } else {
            if (*p == '"' || *p == '\\') *to++ = '\\';
            memcpy(to, p, length);
            to += length;
        }
        i += length;
    }
    *to++ = '"';
    if (i < text.size) memcpy(to, "…", strlen("…"));
    return out;
}

mlxn_gg_name_text mlxn_gg_quote_text(const char *text) { return mlxn_gg_quote((mlxn_string){text, strlen(text)}); }

mlxn_status mlxn_gg_fail(const mlxn_gg_reader *reader, uint64_t at, const char *format, ...) {
    char text[400], number[32] = "";
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    if (reader->numbered) snprintf(number, sizeof number, " %s", mlxn_gg_number(reader->index).s);
    mlxn_gg_name_text name = {{0}};
    if (reader->name.data) name = mlxn_gg_quote(reader->name);
    return mlxn_fail(reader->error, MLXN_ERR_FORMAT, "%s: %s%s%s%s: %s (byte %s)", reader->file, reader->kind, number,
                     name.s[0] ? " " : "", name.s, text, mlxn_gg_number(at).s);
}
