/* utf8.c: strict UTF-8 reading, and the streaming form that never hands out half a character. */
#include "lm/utf8.h"

#include <mlxn/lm.h>
#include <string.h>

/* What may follow a lead byte: length and the range of the second byte (the only one that is restricted). 0 = no
 * lead. */
static uint32_t lead(uint8_t b, uint8_t *low, uint8_t *high) {
    *low = 0x80;
    *high = 0xbf;
    if (b < 0x80) return 1;
    if (b < 0xc2 || b > 0xf4) return 0;
    if (b < 0xe0) return 2;
    if (b == 0xe0) *low = 0xa0;
    if (b == 0xed) *high = 0x9f;
    if (b < 0xf0) return 3;
    if (b == 0xf0) *low = 0x90;
    if (b == 0xf4) *high = 0x8f;
    return 4;
}

uint32_t mlxn_utf8_read(const char *s, size_t n, uint32_t *code, uint32_t *bad) {
    const uint8_t *u = (const uint8_t *)s;
    if (u[0] < 0x80) {
        if (code) *code = u[0];
        return 1;
    }
    uint8_t low, high;
    uint32_t length = lead(u[0], &low, &high);
    uint32_t value = length ? u[0] & (0x7fu >> length) : 0;
    for (uint32_t i = 1; i < length; i++) {
        if (i == n || u[i] < low || u[i] > high) {
            if (bad) *bad = i;
            return 0;
        }
        value = value << 6 | (u[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    if (!length && bad) *bad = 1;
    if (length && code) *code = value;
    return length;
}

uint32_t mlxn_utf8_write(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    uint32_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (uint32_t i = length - 1; i; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00u >> length & 0xff) | code);
    return length;
}

static size_t put_replacement(char *out) {
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

/* True if the bad beginning of `bad` bytes could still become a character with bytes that come later. */
static bool could_continue(const char *s, size_t n, uint32_t bad) {
    uint8_t low, high;
    return bad == n && lead((uint8_t)s[0], &low, &high) > bad;
}

size_t mlxn_utf8_push(mlxn_utf8_stream *stream, const char *bytes, size_t n, char *out) {
    size_t at = 0, written = 0;
    uint32_t bad;
    /* What was held is completed byte by byte, so that the rest is read in place. */
    while (stream->n_held && at < n) {
        char joined[4];
        memcpy(joined, stream->held, stream->n_held);
        joined[stream->n_held] = bytes[at];
        uint32_t have = stream->n_held + 1, length = mlxn_utf8_read(joined, have, NULL, &bad);
        if (length) {
            memcpy(out + written, joined, length);
            written += length;
            stream->n_held = 0;
            at++;
        } else if (could_continue(joined, have, bad)) {
            stream->held[stream->n_held++] = (uint8_t)bytes[at++];
        } else { /* the new byte does not belong to what was held: it starts something of its own */
            written += put_replacement(out + written);
            stream->n_held = 0;
        }
    }
    while (at < n) {
        uint32_t length = mlxn_utf8_read(bytes + at, n - at, NULL, &bad);
        if (length) {
            memcpy(out + written, bytes + at, length);
            written += length;
            at += length;
        } else if (could_continue(bytes + at, n - at, bad)) {
            stream->n_held = bad;
            memcpy(stream->held, bytes + at, bad);
            at = n;
        } else {
            written += put_replacement(out + written);
            at += bad;
        }
    }
    return written;
}

size_t mlxn_utf8_finish(mlxn_utf8_stream *stream, char *out) {
    if (!stream->n_held) return 0;
    stream->n_held = 0;
    return put_replacement(out);
}
