/* charsmap.c: the Precompiled normalizer: SentencePiece's map from strings to their replacements.
 *
 * Layout (little endian): the size in bytes of a double array as 32 bits; the array, of 32-bit units; the
 * replacements, each closed by a zero. A unit is a node: bits 0-7 its label, bit 8 tells that one of its children is
 * a leaf, bits 10-30 the offset of its children (shifted left by 8 if bit 9 is set), which is xor-ed to its own place
 * and to the label of the child. A leaf (bit 31 set) holds where the replacement begins. */
#include <utf8proc.h>

#include "base/base.h"
#include "lm/tok_steps.h"
#include "lm/utf8.h"

static uint32_t unit_at(const mlxn_tok_step *step, uint64_t i) {
    const uint8_t *p = (const uint8_t *)step->text.data + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

mlxn_status mlxn_charsmap_check(mlxn_string map, mlxn_tok_step *step, const char *where, mlxn_error *error) {
    const uint8_t *p = (const uint8_t *)map.data;
    if (map.size < 4)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: has %llu bytes, want at least 4", where,
                         (unsigned long long)map.size);
    uint32_t size = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (size > map.size - 4 || size % 4 || size == 0)
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: an array of %u bytes in a map of %llu, want units of 4 that fit", where, size,
                         (unsigned long long)map.size);
    step->text = (mlxn_string){map.data + 4, size};
    step->content = (mlxn_string){map.data + 4 + size, map.size - 4 - size};
    return MLXN_OK;
}

/* The replacement of the shortest beginning of s[0..n) that has one: that is what the library takes, also where a
 * longer one has its own. Whatever the array holds, no unit outside of it is read. */
static bool find(const mlxn_tok_step *step, const char *s, size_t n, mlxn_string *out) {
    uint64_t units = step->text.size / 4;
    uint64_t at = offset_of(unit_at(step, 0));
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];
        at ^= c;
        if (!c || at >= units) return false;
        uint32_t unit = unit_at(step, at);
        if ((unit & 0x800000ffu) != c) return false;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= units) return false;
        uint64_t start = unit_at(step, at) & 0x7fffffffu;
        if (start >= step->content.size) return false;
        const char *text = step->content.data + start;
        const char *zero = memchr(text, 0, (size_t)(step->content.size - start));
        *out = (mlxn_string){text, zero ? (uint64_t)(zero - text) : step->content.size - start};
        return true;
    }
    return false;
}

/* A grapheme cluster of less than six bytes is looked up as a whole first, then its characters one by one. */
static bool cluster(const mlxn_tok_step *step, const char *s, size_t n, mlxn_tok_bytes *out) {
    mlxn_string found;
    if (n < 6 && find(step, s, n, &found)) return mlxn_tok_append(out, found.data, (size_t)found.size);
    for (size_t i = 0; i < n;) {
        uint32_t length = mlxn_utf8_read(s + i, n - i, NULL, NULL);
        bool ok = find(step, s + i, length, &found) ? mlxn_tok_append(out, found.data, (size_t)found.size)
                                                    : mlxn_tok_append(out, s + i, length);
        if (!ok) return false;
        i += length;
    }
    return true;
}

bool mlxn_charsmap_apply(const mlxn_tok_step *step, const char *s, size_t n, mlxn_tok_bytes *out) {
    size_t start = 0;
    utf8proc_int32_t state = 0;
    uint32_t last = 0, code = 0, length;
    for (size_t i = 0; i < n; i += length) {
        length = mlxn_utf8_read(s + i, n - i, &code, NULL);
        bool breaks = !length || (i > start && utf8proc_grapheme_break_stateful((utf8proc_int32_t)last,
                                                                                (utf8proc_int32_t)code, &state));
        if (breaks) {
            if (!cluster(step, s + start, i - start, out)) return false;
            start = i;
        }
        if (!length) {
            if (!mlxn_tok_append(out, s + i, 1)) return false;
            length = 1;
            start = i + 1;
            state = 0;
        }
        last = code;
    }
    return cluster(step, s + start, n - start, out);
}
