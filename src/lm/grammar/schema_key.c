/* schema_key.c: keys of members that are not described: any string but the described names.
 *
 * A name could be spelled with escapes. As long as a key agrees with a name, it may have those escapes alone that
 * have to be; once it is different from all names, anything goes. */
#include <stdio.h>

#include "lm/grammar/schema.h"
#include "lm/utf8.h"

enum { MAX_DEPTH = 200 }; /* characters; keys that agree with a name for longer are left out */

typedef struct keys {
    mlxn_schema *s;
    const char **names; /* sorted */
    char rule[MLXN_SC_EXPRESSION];
    uint32_t n_rules;
} keys;

static int by_bytes(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_next(const keys *k, size_t from, size_t end, size_t at, char c) {
    for (size_t i = from; i < end; i++)
        if (k->names[i][at] == c) return true;
    return false;
}

/* Characters that no name has next, and then anything; raw ones and those that need an escape. */
static void put_others(const keys *k, size_t from, size_t end, size_t at, mlxn_sc_text *body) {
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    mlxn_sc_put(body, "[^\"\\\\\\x00-\\x1F");
    for (size_t i = from; i < end;) {
        uint32_t code = 0, size = mlxn_utf8_read(k->names[i] + at, strlen(k->names[i] + at) + 1, &code, NULL);
        if (code >= 0x20) mlxn_sc_put(body, "\\U%08X", code);
        size_t same = i;
        while (i < end && !strncmp(k->names[i] + at, k->names[same] + at, size ? size : 1)) i++;
    }
    mlxn_sc_put(body, "] %s", mlxn_sc_common(k->s, "tail"));
    bool any = false;
    for (size_t i = 0; i < sizeof codes - 1; i++) {
        if (is_next(k, from, end, at, codes[i])) continue;
        mlxn_sc_put(body, any ? "%s%c" : " | \"\\\\\" [%s%c", letters[i] == '\\' ? "\\" : "", letters[i]);
        any = true;
    }
    if (any) mlxn_sc_put(body, "] tail");
}

/* names[from..end) agree in their first `at` bytes, and so does the key so far. */
static mlxn_sc_result add_node(keys *k, size_t from, size_t end, size_t at, uint32_t depth, const char *name) {
    mlxn_sc_text body = {0};
    mlxn_sc_result result = MLXN_SC_OK;
    bool terminal = false;
    put_others(k, from, end, at, &body);
    while (from < end && !result) {
        size_t first = from;
        const char *next = k->names[from] + at;
        if (!*next) {
            terminal = true;
            from++;
            continue;
        }
        uint32_t size = mlxn_utf8_read(next, strlen(next), NULL, NULL);
        if (!size) size = 1; /* not met: the parser has checked the text */
        while (from < end && !strncmp(k->names[from] + at, next, size)) from++;
        bool escapable = (uint8_t)*next >= 0x20 || strchr("\b\f\n\r\t", *next);
        if (!escapable || depth == MAX_DEPTH) continue;
        char child[MLXN_SC_EXPRESSION];
        mlxn_sc_text json = {0};
        snprintf(child, sizeof child, "%.60s-k%u", k->rule, k->n_rules++);
        mlxn_sc_put_json_text(&json, next, size);
        mlxn_sc_put(&body, " | \"");
        if (json.size) mlxn_sc_put_quoted(&body, json.data, json.size);
        mlxn_sc_put(&body, "\" %s", child);
        body.failed = body.failed || json.failed;
        mlxn_free(json.data);
        result = add_node(k, first, from, at + size, depth + 1, child);
    }
    if (!terminal) mlxn_sc_put(&body, " | \"\\\"\"");
    if (!result) return mlxn_sc_add_rule(k->s, name, &body);
    mlxn_free(body.data);
    return result;
}

mlxn_sc_result mlxn_sc_other_key(mlxn_schema *s, const char *const *names, size_t n, char out[MLXN_SC_EXPRESSION]) {
    if (!n) {
        strcpy(out, mlxn_sc_common(s, "string"));
        return MLXN_SC_OK;
    }
    keys k = {.s = s, .names = mlxn_alloc_array(n, sizeof *k.names)};
    if (!k.names) return mlxn_sc_no_memory(s);
    memcpy(k.names, names, n * sizeof *names);
    qsort(k.names, n, sizeof *k.names, by_bytes);
    mlxn_sc_new_rule(s, k.rule);
    strcpy(out, k.rule);
    char first[MLXN_SC_EXPRESSION];
    snprintf(first, sizeof first, "%.60s-k", k.rule);
    mlxn_sc_result result = add_node(&k, 0, n, 0, 0, first);
    mlxn_free(k.names);
    mlxn_sc_text body = {0};
    mlxn_sc_put(&body, "\"\\\"\" %s", first);
    if (!result) return mlxn_sc_add_rule(s, k.rule, &body);
    mlxn_free(body.data);
    return result;
}
