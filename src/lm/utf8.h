/* utf8.h: strict reading of UTF-8 (Unicode 15, table 3-7): no surrogates, no overlong forms, nothing above U+10FFFF.
 */
#ifndef MLXN_LM_UTF8_H
#define MLXN_LM_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length (1..4) of the well-formed character at `s`, 0 if there is none. `n` bytes may be read, n > 0. *code (may be
 * NULL) receives the character. If 0, *bad (may be NULL) is the length of the longest beginning of a well-formed
 * character (at least 1): what one U+FFFD replaces; it equals n if more bytes could complete the character. */
uint32_t mlxn_utf8_read(const char *s, size_t n, uint32_t *code, uint32_t *bad);
/* Bytes written (1..4); `code` is a Unicode scalar value. */
uint32_t mlxn_utf8_write(uint32_t code, char out[4]);

#endif
