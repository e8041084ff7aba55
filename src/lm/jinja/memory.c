/* memory.c: the arena of a run, its limits, how it fails, and texts that grow. */
#include <stdarg.h>

#include "lm/jinja/internal.h"
#include "lm/utf8.h"

typedef struct jn_block {
    struct jn_block *next;
    size_t size, used;
    _Alignas(16) char data[];
} jn_block;

enum { BLOCK_BYTES = 32 * 1024 };

_Noreturn static void leave(jn_run *r, mlxn_status status, const char *format, va_list list) {
    char text[420];
    if (vsnprintf(text, sizeof text, format, list) < 0) text[0] = 0;
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
    r->status = r->line ? mlxn_fail(r->error, status, "%s: line %u, column %u: %s", r->name, r->line, r->column, text)
                        : mlxn_fail(r->error, status, "%s: %s", r->name, text);
    longjmp(r->escape, 1);
}

_Noreturn void mlxn_jn_fail(jn_run *r, mlxn_status status, const char *format, ...) {
    va_list list;
    va_start(list, format);
    leave(r, status, format, list);
}

_Noreturn void mlxn_jn_type_error(jn_run *r, const char *format, ...) {
    va_list list;
    va_start(list, format);
    leave(r, MLXN_ERR_ARGUMENT, format, list);
}

void *mlxn_jn_alloc(jn_run *r, size_t bytes) {
    size_t want;
    if (__builtin_add_overflow(bytes, (size_t)15, &want)) mlxn_jn_fail(r, MLXN_ERR_LIMIT, "a value is too large");
    want &= ~(size_t)15;
    jn_block *b = r->blocks;
    if (!b || b->size - b->used < want) {
        size_t size = want > BLOCK_BYTES / 4 ? want : BLOCK_BYTES;
        if (size > r->max_memory || r->bytes > r->max_memory - size)
            mlxn_jn_fail(r, MLXN_ERR_LIMIT, "the template needs more memory than its limit of %llu bytes",
                         (unsigned long long)r->max_memory);
        jn_block *fresh = mlxn_alloc(sizeof *fresh + size);
        if (!fresh) mlxn_jn_fail(r, MLXN_ERR_MEMORY, "no memory for %zu bytes", size);
        r->bytes += size;
        fresh->size = size;
        if (b && size == want && b->size > b->used) { /* a large piece of its own: the open block stays first */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            r->blocks = fresh;
        }
        b = fresh;
    }
    void *at = b->data + b->used;
    b->used += want;
    return at;
}

void mlxn_jn_free_blocks(jn_block *b) {
    while (b) {
        jn_block *next = b->next;
        mlxn_free(b);
        b = next;
    }
}

void *mlxn_jn_grow(jn_run *r, void *old, size_t n, size_t *room, size_t size) {
    if (n < *room) return old;
    size_t more = *room ? *room * 2 : 4, bytes;
    if (__builtin_mul_overflow(more, size, &bytes)) mlxn_jn_fail(r, MLXN_ERR_LIMIT, "a list is too long");
    void *fresh = mlxn_jn_alloc(r, bytes);
    if (n) memcpy(fresh, old, n * size);
    *room = more;
    return fresh;
}

void mlxn_jn_charge(jn_run *r, uint64_t bytes) {
    r->steps += 1 + bytes / 32;
    if (r->steps > r->max_steps)
        mlxn_jn_fail(r, MLXN_ERR_LIMIT, "the template takes more steps than its limit of %llu: it may loop for ever",
                     (unsigned long long)r->max_steps);
}

void mlxn_jn_enter(jn_run *r) {
    if (r->depth >= r->max_depth)
        mlxn_jn_fail(r, MLXN_ERR_LIMIT, "nested deeper than the limit of %u levels", r->max_depth);
    r->depth++;
}

void mlxn_jn_put(jn_run *r, jn_out *out, const char *data, size_t size) {
    if (!size) return;
    if (size > r->max_output || out->size > r->max_output - size)
        mlxn_jn_fail(r, MLXN_ERR_LIMIT, "a text gets longer than the limit of %llu bytes",
                     (unsigned long long)r->max_output);
    if (out->room - out->size < size) {
        size_t room = (out->size + size) * 2 + 32;
        char *fresh = mlxn_jn_alloc(r, room);
        if (out->size) memcpy(fresh, out->data, out->size);
        out->data = fresh;
        out->room = room;
    }
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

void mlxn_jn_put_code(jn_run *r, jn_out *out, uint32_t code) {
    char text[4];
    mlxn_jn_put(r, out, text, mlxn_utf8_write(code, text));
}

char *mlxn_jn_print(jn_run *r, const char *format, ...) {
    char text[400];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (n < 0) text[0] = 0;
    size_t size = strlen(text) + 1;
    return memcpy(mlxn_jn_alloc(r, size), text, size);
}
