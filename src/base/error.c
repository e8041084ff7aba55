/* error.c: filling error records. A message is always one line of valid length: control characters become '?', a cut
 * never leaves half a UTF-8 character. Arguments may point into the record that is being filled. */
#include "base/base.h"

#include <stdio.h>

/* The length of `text` without an incomplete UTF-8 character at its end. */
static size_t whole_characters(const char *text, size_t length) {
    size_t back = 0;
    while (back < 3 && back < length && ((unsigned char)text[length - 1 - back] & 0xc0) == 0x80) back++;
    if (back == length) return length;
    unsigned char lead = (unsigned char)text[length - 1 - back];
    size_t want = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    return want > back ? length - 1 - back : length;
}

/* Takes over `text`, which vsnprintf may have cut to the record's size. */
static void store_message(mlxn_error *error, char *text) {
    size_t length = strnlen(text, sizeof error->message - 1);
    if (length == sizeof error->message - 1) length = whole_characters(text, length);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) text[i] = '?';
    }
    memcpy(error->message, text, length);
    memset(error->message + length, 0, sizeof error->message - length);
}

static mlxn_status fail(mlxn_error *error, mlxn_status status, int32_t code, const char *format, va_list args) {
    if (!error) return status;
    char text[sizeof error->message];
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    error->status = status;
    error->driver_code = code;
    store_message(error, text);
    return status;
}

mlxn_status mlxn_fail(mlxn_error *error, mlxn_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(error, status, 0, format, args);
    va_end(args);
    return status;
}

mlxn_status mlxn_fail_code(mlxn_error *error, mlxn_status status, int32_t driver_code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(error, status, driver_code, format, args);
    va_end(args);
    return status;
}

void mlxn_error_prefix(mlxn_error *error, const char *format, ...) {
    if (!error) return;
    char text[sizeof error->message];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length < 0) return;
    size_t used = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    int added = snprintf(text + used, sizeof text - used, ": %s", error->message);
    if (added >= 0) store_message(error, text);
}
