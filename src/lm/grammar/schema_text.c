/* schema_text.c: what is written and told on the way from a schema to a grammar: rules, the common ones among them,
 * and messages with the JSON pointer of what is being read. */
#include "lm/grammar/schema.h"

#include <stdarg.h>
#include <stdio.h>

/* Rules that several nodes share; added where they are named. `needs`: others, by their index. */
static const struct {
    const char *name;
    uint32_t needs;
    const char *body;
} common[] = {
    {"value", 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4,
     "object | array | string | number | \"true\" | \"false\" | \"null\""},
    {"object", 1u << 0 | 1u << 3 | 1u << 9,
     "\"{\" ws (string \":\" ws value (\",\" ws string \":\" ws value)* ws)? \"}\""},
    {"array", 1u << 0 | 1u << 9, "\"[\" ws (value (\",\" ws value)* ws)? \"]\""},
    {"string", 1u << 6, "\"\\\"\" char* \"\\\"\""},
    {"number", 0, "\"-\"? (\"0\" | [1-9] [0-9]{0,17}) (\".\" [0-9]{1,17})? ([eE] [-+]? [0-9]{1,2})?"},
    {"integer", 0, "\"0\" | \"-\"? [1-9] [0-9]{0,17}"},
    {"char", 1u << 7, "[^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" unicode)"},
    /* halves of surrogate pairs come in pairs, which are one character */
    {"unicode", 1u << 8,
     "[0-9a-cA-Ce-fE-F] hex{3} | [dD] [0-7] hex{2} | [dD] [89abAB] hex{2} \"\\\\u\" [dD] [c-fC-F] hex{2}"},
    {"hex", 0, "[0-9a-fA-F]"},
    {"ws", 0, "(\" \" | \"\\n\" [ \\t]{0,20})?"},
    {"tail", 1u << 6, "char* \"\\\"\""},
    {"date", 1u << 12 | 1u << 13,
     "year \"-\" ((\"0\" [13578] | \"1\" [02]) \"-\" (\"0\" [1-9] | [12] [0-9] | \"3\" [01]) | (\"0\" [469] | "
     "\"11\") \"-\" "
     "(\"0\" [1-9] | [12] [0-9] | \"30\") | \"02-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8])) | leap-year "
     "\"-02-29\""},
    {"year", 0, "[0-9]{3} [1-9] | [0-9]{2} [1-9] \"0\" | [0-9] [1-9] \"00\" | [1-9] \"000\""},
    {"leap-year", 0,
     "[0-9]{2} (\"0\" [48] | [2468] [048] | [13579] [26]) | (\"0\" [48] | [2468] [048] | [13579] [26]) \"00\""},
    {"time", 0,
     "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,9})? (\"Z\" | [+-] ([01] [0-9] | "
     "\"2\" "
     "[0-3]) \":\" [0-5] [0-9])"},
    {"date-time", 1u << 11 | 1u << 14, "date \"T\" time"},
    {"uuid", 1u << 8, "hex{8} (\"-\" hex{4}){3} \"-\" hex{12}"},
    {"ipv4", 1u << 18, "octet (\".\" octet){3}"},
    {"octet", 0, "\"25\" [0-5] | \"2\" [0-4] [0-9] | \"1\" [0-9]{2} | [1-9]? [0-9]"},
};
enum { N_COMMON = sizeof common / sizeof *common };

/* ---- text ---- */

void mlxn_sc_put_bytes(mlxn_sc_text *text, const char *bytes, size_t n) {
    if (text->failed) return;
    if (text->size + n + 1 > text->capacity) {
        size_t capacity = (text->size + n + 1) * 2;
        char *data = capacity < (size_t)MLXN_GR_MAX_TEXT * 4 ? mlxn_realloc_array(text->data, capacity, 1) : NULL;
        text->failed = data == NULL;
        if (!data) return;
        text->data = data;
        text->capacity = capacity;
    }
    memcpy(text->data + text->size, bytes, n);
    text->size += n;
    text->data[text->size] = 0;
}

void mlxn_sc_put(mlxn_sc_text *text, const char *format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof line)
        text->failed = true; /* callers put short pieces */
    else
        mlxn_sc_put_bytes(text, line, (size_t)n);
}

void mlxn_sc_put_quoted(mlxn_sc_text *text, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)bytes[i];
        if (c == '"' || c == '\\')
            mlxn_sc_put(text, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            mlxn_sc_put(text, "\\x%02X", c);
        else
            mlxn_sc_put_bytes(text, bytes + i, 1);
    }
}

/* ---- messages and the path ---- */

mlxn_sc_result mlxn_sc_fail(mlxn_schema *s, mlxn_status status, const char *format, ...) {
    char text[400];
    va_list list;
    if (s->status) return MLXN_SC_ERROR;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    int shown = s->path_size > 100 ? 100 : (int)s->path_size;
    s->status = mlxn_fail(s->error, status, "JSON schema at #%.*s%s: %s", shown, s->path,
                          (size_t)shown < s->path_size ? "…" : "", text);
    return MLXN_SC_ERROR;
}

mlxn_sc_result mlxn_sc_no_memory(mlxn_schema *s) { return mlxn_sc_fail(s, MLXN_ERR_MEMORY, "no memory"); }

mlxn_sc_result mlxn_sc_work(mlxn_schema *s, size_t a, size_t b) {
    s->work += (uint64_t)(a + 1) * (b + 1); /* sizes of a document of 4 MiB: no overflow */
    if (s->work <= MLXN_SC_MAX_WORK) return MLXN_SC_OK;
    return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "too many names and values have to be compared");
}

mlxn_sc_result mlxn_sc_unsupported(mlxn_schema *s, const char *keyword, const char *why) {
    return mlxn_sc_fail(s, MLXN_ERR_UNSUPPORTED, "keyword \"%s\" is not supported%s%s", keyword, why ? ": " : "",
                        why ? why : "");
}

static void add_step(mlxn_schema *s, const char *step) {
    size_t size = s->path_size;
    if (size + 2 < sizeof s->path) s->path[size++] = '/';
    for (; *step && size + 3 < sizeof s->path; step++) { /* RFC 6901 */
        if (*step == '~' || *step == '/') {
            s->path[size++] = '~';
            s->path[size++] = *step == '~' ? '0' : '1';
        } else {
            s->path[size++] = *step;
        }
    }
    s->path_size = size;
}

size_t mlxn_sc_enter(mlxn_schema *s, const char *keyword, const char *name) {
    size_t size = s->path_size;
    add_step(s, keyword);
    if (name) add_step(s, name);
    return size;
}

size_t mlxn_sc_enter_index(mlxn_schema *s, const char *keyword, size_t index) {
    char text[24];
    snprintf(text, sizeof text, "%zu", index);
    return mlxn_sc_enter(s, keyword, text);
}

void mlxn_sc_leave(mlxn_schema *s, size_t size) { s->path_size = size; }

json_t *mlxn_sc_keep(mlxn_schema *s, json_t *made) {
    if (made && !json_array_append_new(s->kept, made)) return made;
    mlxn_sc_no_memory(s);
    return NULL;
}

/* ---- rules ---- */

void mlxn_sc_new_rule(mlxn_schema *s, char name[MLXN_SC_EXPRESSION]) {
    int n = snprintf(name, MLXN_SC_EXPRESSION, "r%u", s->n_rules++);
    size_t at = s->path_size;
    while (at > 0 && s->path[at - 1] != '/') at--;
    for (size_t i = at; i < s->path_size && n < 40; i++) {
        char c = s->path[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (i == at) name[n++] = '-';
        name[n++] = plain ? c : '-';
    }
    name[n] = 0;
}

mlxn_sc_result mlxn_sc_add_rule(mlxn_schema *s, const char *name, mlxn_sc_text *body) {
    mlxn_sc_put(&s->rules, "%s ::= ", name);
    if (body->size) mlxn_sc_put_bytes(&s->rules, body->data, body->size);
    mlxn_sc_put(&s->rules, "\n");
    bool failed = body->failed || s->rules.failed;
    mlxn_free(body->data);
    *body = (mlxn_sc_text){0};
    if (s->rules.size > MLXN_GR_MAX_TEXT)
        return mlxn_sc_fail(s, MLXN_ERR_LIMIT, "the grammar of the schema is longer than %d bytes", MLXN_GR_MAX_TEXT);
    return failed ? mlxn_sc_no_memory(s) : MLXN_SC_OK;
}

const char *mlxn_sc_common(mlxn_schema *s, const char *name) {
    for (uint32_t i = 0; i < N_COMMON; i++)
        if (!strcmp(common[i].name, name)) s->used |= 1u << i;
    return name;
}

void mlxn_sc_add_common_rules(mlxn_schema *s) {
    for (uint32_t before = 0; before != s->used;) {
        before = s->used;
        for (uint32_t i = 0; i < N_COMMON; i++)
            if (s->used >> i & 1) s->used |= common[i].needs;
    }
    for (uint32_t i = 0; i < N_COMMON; i++)
        if (s->used >> i & 1) mlxn_sc_put(&s->rules, "%s ::= %s\n", common[i].name, common[i].body);
}
