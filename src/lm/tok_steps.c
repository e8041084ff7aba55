/* tok_steps.c: lists of steps, growing buffers, and the search that patterns of all kinds of steps share. */
#define _GNU_SOURCE /* memmem */
#include "lm/tok_steps.h"

#include "base/base.h"
#include "lm/utf8.h"

mlxn_status mlxn_tok_steps_add(mlxn_tok_steps *steps, const mlxn_tok_step *step, mlxn_error *error) {
    if (steps->count == steps->capacity) {
        uint32_t capacity = steps->capacity ? steps->capacity * 2 : 8;
        mlxn_tok_step *grown = mlxn_realloc_array(steps->items, capacity, sizeof *grown);
        if (!grown) {
            mlxn_regex_destroy(step->regex);
            return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenizer: no memory for its steps");
        }
        steps->items = grown;
        steps->capacity = capacity;
    }
    steps->items[steps->count++] = *step;
    return MLXN_OK;
}

void mlxn_tok_steps_free(mlxn_tok_steps *steps) {
    for (uint32_t i = 0; i < steps->count; i++) mlxn_regex_destroy(steps->items[i].regex);
    mlxn_free(steps->items);
    memset(steps, 0, sizeof *steps);
}

bool mlxn_tok_bytes_room(mlxn_tok_bytes *bytes, size_t more) {
    if (bytes->capacity - bytes->size >= more) return true;
    size_t want, capacity;
    if (__builtin_add_overflow(bytes->size, more, &want)) return false;
    if (__builtin_add_overflow(want, want / 2 + 64, &capacity)) return false;
    char *grown = mlxn_realloc_array(bytes->data, capacity, 1);
    if (!grown) return false;
    bytes->data = grown;
    bytes->capacity = capacity;
    return true;
}

bool mlxn_tok_append_char(mlxn_tok_bytes *bytes, uint32_t code) {
    if (!mlxn_tok_bytes_room(bytes, 4)) return false;
    bytes->size += mlxn_utf8_write(code, bytes->data + bytes->size);
    return true;
}

void mlxn_tok_swap(mlxn_tok_bytes *a, mlxn_tok_bytes *b) {
    mlxn_tok_bytes swap = *a;
    *a = *b;
    *b = swap;
}

bool mlxn_tok_cut_add(mlxn_tok_cuts *cuts, mlxn_tok_cut cut) {
    if (cuts->count == cuts->capacity) {
        size_t capacity = cuts->capacity ? cuts->capacity * 2 : 256;
        mlxn_tok_cut *grown = mlxn_realloc_array(cuts->data, capacity, sizeof *grown);
        if (!grown) return false;
        cuts->data = grown;
        cuts->capacity = capacity;
    }
    cuts->data[cuts->count++] = cut;
    return true;
}

/* Short texts, which nearly all are, byte by byte; memmem is linear for long ones, but slow to begin. */
static const char *find_text(const char *s, size_t n, const char *text, size_t size) {
    if (size > 16) return memmem(s, n, text, size);
    const char *end = s + n - size + 1;
    while (s < end && (s = memchr(s, text[0], (size_t)(end - s)))) {
        if (memcmp(s, text, size) == 0) return s;
        s++;
    }
    return NULL;
}

mlxn_status mlxn_tok_find_pattern(const mlxn_tok_step *step, mlxn_regex_work *regex, const char *s, uint32_t n,
                                  uint32_t at, uint32_t *start, uint32_t *end, mlxn_error *error) {
    if (step->regex) return mlxn_regex_next(step->regex, regex, s, n, at, start, end, error);
    *start = *end = UINT32_MAX;
    size_t size = (size_t)step->text.size;
    if (!size) { /* the empty text is everywhere */
        *start = *end = at;
        return MLXN_OK;
    }
    const char *found = n - at >= size ? find_text(s + at, n - at, step->text.data, size) : NULL;
    if (!found) return MLXN_OK;
    *start = (uint32_t)(found - s);
    *end = *start + (uint32_t)size;
    return MLXN_OK;
}

static mlxn_status replace_run(const mlxn_tok_step *step, mlxn_regex_work *regex, const char *s, uint32_t n,
                               mlxn_tok_bytes *out, mlxn_error *error) {
    uint32_t at = 0, done = 0;
    int64_t last = -1;
    bool ok = true;
    while (at <= n && ok) {
        uint32_t start, end;
        mlxn_status status = mlxn_tok_find_pattern(step, regex, s, n, at, &start, &end, error);
        if (status != MLXN_OK) return status;
        if (start == UINT32_MAX) break;
        bool again = start == end && (int64_t)end == last;
        at = end;
        if (start == end) {
            uint32_t length = end < n ? mlxn_utf8_read(s + end, n - end, NULL, NULL) : 1;
            at += length ? length : 1;
        }
        if (again) continue;
        ok = mlxn_tok_append(out, s + done, start - done) &&
             mlxn_tok_append(out, step->content.data, (size_t)step->content.size);
        last = done = end;
    }
    ok = ok && mlxn_tok_append(out, s + done, n - done);
    return ok ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for %u bytes of text", n);
}

mlxn_status mlxn_tok_replace(const mlxn_tok_step *step, mlxn_regex_work *regex, const char *s, uint32_t n,
                             mlxn_tok_bytes *out, mlxn_error *error) {
    if (!n) s = "";
    if (!step->regex && step->text.size) return replace_run(step, regex, s, n, out, error);
    uint32_t start = 0;
    for (uint32_t i = 0, length; i < n; i += length) {
        length = mlxn_utf8_read(s + i, n - i, NULL, NULL);
        if (length) continue;
        length = 1;
        mlxn_status status = i > start ? replace_run(step, regex, s + start, i - start, out, error) : MLXN_OK;
        if (status != MLXN_OK) return status;
        if (!mlxn_tok_append(out, s + i, 1))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "tokenize: no memory for %u bytes of text", n);
        start = i + 1;
    }
    return start < n ? replace_run(step, regex, s + start, n - start, out, error) : MLXN_OK;
}
