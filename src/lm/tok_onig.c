/* tok_onig.c: regular expressions from Oniguruma's Ruby syntax to PCRE2's.
 *
 * What differs and is translated: \s, \w, \h and their opposites, \b, \v, POSIX brackets and properties (other sets
 * of characters there); (?m) is "dot matches line ends"; an option in the middle of a group covers the alternatives
 * that follow; {n,m}+ is no possessive repeat; {n}? is optional; {,n}; repeats of repeats; classes inside classes and
 * their intersections; ^ and $ always stand at lines (an option of the compiler). What has no counterpart is refused.
 */
#include <stdio.h>

#include "lm/tok_onig.h"
#include "lm/utf8.h"

static void begin_atom(mlxn_onig *t) {
    t->atom = t->out.size;
    t->has_atom = true;
    t->repeated = false;
}

static mlxn_status escape(mlxn_onig *t) {
    if (++t->at >= t->n) return mlxn_onig_refuse(t, "ends with a backslash");
    char c = t->s[t->at];
    begin_atom(t);
    switch (c) {
        case 'b':
            t->at++;
            return mlxn_onig_put(t, &t->out,
                                 "(?:(?<=[" WORD_ALONE "])(?![" WORD_ALONE "])|(?<![" WORD_ALONE "])(?=[" WORD_ALONE
                                 "]))");
        case 'B':
            t->at++;
            return mlxn_onig_put(t, &t->out,
                                 "(?:(?<=[" WORD_ALONE "])(?=[" WORD_ALONE "])|(?<![" WORD_ALONE "])(?![" WORD_ALONE
                                 "]))");
        case 'w':
        case 'W':
            t->at++;
            return mlxn_onig_put(t, &t->out, c == 'w' ? "[" WORD_ALONE "]" : "[^" WORD_ALONE "]");
        case 'O':
            t->at++;
            return mlxn_onig_put(t, &t->out, "(?s:.)");
        case 'N':
            t->at++;
            return mlxn_onig_put(t, &t->out, "[^\\n]");
        case 'y':
        case 'Y':
            return mlxn_onig_refuse(t, "the escape \\%c", c);
        default:
            break;
    }
    /* The same in both: anchors, line ends, grapheme clusters, references. */
    if (strchr("AzZGRXKkg123456789", c)) {
        size_t begin = t->at++ - 1;
        const char *close =
            (c == 'k' || c == 'g') && mlxn_onig_next_is(t, "<") ? memchr(t->s + t->at, '>', t->n - t->at) : NULL;
        if (close) t->at = (size_t)(close - t->s) + 1;
        return mlxn_tok_append(&t->out, t->s + begin, t->at - begin) ? MLXN_OK : mlxn_onig_no_memory(t);
    }
    mlxn_tok_bytes set = {0};
    mlxn_onig_item kind;
    uint32_t code = 0;
    mlxn_status status = mlxn_onig_class_escape(t, false, &set, &kind, &code);
    if (status == MLXN_OK && kind == MLXN_ONIG_CHARACTER) status = mlxn_onig_put_code(t, &t->out, code);
    if (status == MLXN_OK && kind != MLXN_ONIG_CHARACTER)
        status = mlxn_onig_put(t, &t->out, kind == MLXN_ONIG_SET ? "[" : "[^") == MLXN_OK &&
                         mlxn_tok_append(&t->out, set.data, set.size) && mlxn_tok_append(&t->out, "]", 1)
                     ? MLXN_OK
                     : mlxn_onig_no_memory(t);
    mlxn_free(set.data);
    return status;
}

/* (?imx-imx) and (?imx-imx: with t->at at the first letter. */
static mlxn_status options(mlxn_onig *t, mlxn_onig_group *g, bool *isolated) {
    char text[24] = "(?";
    size_t n = 2;
    bool off = false;
    for (; t->at < t->n && t->s[t->at] != ':' && t->s[t->at] != ')'; t->at++) {
        char c = t->s[t->at];
        if (!strchr("imx-", c) || n + 4 > sizeof text) return mlxn_onig_refuse(t, "the option \"%c\"", c);
        if (c == 'x') g->extended = !off;
        if (c == '-') off = true;
        text[n++] = c == 'm' ? 's' : c;
    }
    if (t->at >= t->n) return mlxn_onig_refuse(t, "a group is not closed");
    *isolated = t->s[t->at++] == ')';
    text[n++] = ':';
    text[n] = 0;
    return mlxn_onig_put(t, &t->out, text);
}

static mlxn_status open_group(mlxn_onig *t) {
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (t->depth + 1 >= MLXN_ONIG_MAX_DEPTH) return mlxn_onig_refuse(t, "nested deeper than %d", MLXN_ONIG_MAX_DEPTH);
    mlxn_onig_group g = {.start = t->out.size, .extended = t->groups[t->depth].extended};
    const char *text = NULL;
    for (size_t i = 0; !text && i < sizeof same / sizeof *same; i++)
        if (mlxn_onig_next_is(t, same[i])) text = same[i];
    mlxn_status status;
    if (mlxn_onig_next_is(t, "(?#")) {
        const char *close = memchr(t->s + t->at, ')', t->n - t->at);
        if (!close) return mlxn_onig_refuse(t, "a comment is not closed");
        t->at = (size_t)(close - t->s) + 1;
        return MLXN_OK;
    }
    t->has_atom = false;
    if (text) {
        t->at += strlen(text);
        status = mlxn_onig_put(t, &t->out, text);
    } else if (mlxn_onig_next_is(t, "(?<")) {
        const char *close = memchr(t->s + t->at, '>', t->n - t->at);
        if (!close) return mlxn_onig_refuse(t, "the name of a group is not closed");
        size_t n = (size_t)(close - t->s) + 1 - t->at;
        if (!mlxn_tok_append(&t->out, t->s + t->at, n)) return mlxn_onig_no_memory(t);
        t->at += n;
        status = MLXN_OK;
    } else if (mlxn_onig_next_is(t, "(?")) {
        bool isolated = false;
        t->at += 2;
        if (t->at < t->n && !strchr("imx-", t->s[t->at])) return mlxn_onig_refuse(t, "the group (?%c", t->s[t->at]);
        status = options(t, &g, &isolated);
        if (status == MLXN_OK && isolated) { /* covers the rest of the group that it stands in */
            t->groups[t->depth].extended = g.extended;
            t->groups[t->depth].opened++;
            return MLXN_OK;
        }
    } else if (mlxn_onig_next_is(t, "(*")) {
        return mlxn_onig_refuse(t, "the group (*");
    } else {
        t->at++;
        status = mlxn_onig_put(t, &t->out, "(");
    }
    t->groups[++t->depth] = g;
    return status;
}

static mlxn_status close_group(mlxn_onig *t) {
    mlxn_status status = MLXN_OK;
    for (uint32_t i = t->groups[t->depth].opened; i > 0 && status == MLXN_OK; i--)
        status = mlxn_onig_put(t, &t->out, ")");
    return status;
}

/* {n}, {n,}, {,n}, {n,m}; false in *is: the brace is itself. `exact`: {n}. */
static bool interval(mlxn_onig *t, char *text, size_t room, bool *exact) {
    size_t begin = t->at++;
    int low_count, high_count = 0;
    uint32_t low = mlxn_onig_digits(t, 10, 6, &low_count), high = 0;
    bool comma = mlxn_onig_next_is(t, ",");
    if (comma) {
        t->at++;
        high = mlxn_onig_digits(t, 10, 6, &high_count);
    }
    if (!mlxn_onig_next_is(t, "}") || (!low_count && !high_count)) {
        t->at = begin;
        return false;
    }
    t->at++;
    *exact = !comma;
    if (high_count)
        (void)snprintf(text, room, "{%u,%u}", low, high);
    else
        (void)snprintf(text, room, comma ? "{%u,}" : "{%u}", low);
    return true;
}

/* A repeat of what was written last; one that is repeated already becomes a group. */
static mlxn_status repeat(mlxn_onig *t, const char *text) {
    if (!t->has_atom) return mlxn_onig_refuse(t, "nothing to repeat");
    if (t->repeated) {
        size_t n = t->out.size - t->atom;
        if (!mlxn_tok_bytes_room(&t->out, 4)) return mlxn_onig_no_memory(t);
        memmove(t->out.data + t->atom + 3, t->out.data + t->atom, n);
        memcpy(t->out.data + t->atom, "(?:", 3);
        t->out.data[t->atom + 3 + n] = ')';
        t->out.size += 4;
    }
    t->repeated = true;
    return mlxn_onig_put(t, &t->out, text);
}

static mlxn_status quantifier(mlxn_onig *t, bool *is) {
    char text[32] = {t->s[t->at], 0};
    bool exact = false, braces = text[0] == '{';
    *is = braces ? interval(t, text, sizeof text - 2, &exact) : strchr("*+?", text[0]) != NULL;
    if (!*is) return MLXN_OK;
    t->at += !braces;
    char c = t->at < t->n ? t->s[t->at] : 0;
    if ((c == '?' && !exact) || (c == '+' && !braces)) {
        size_t n = strlen(text);
        text[n] = c;
        text[n + 1] = 0;
        t->at++;
    }
    return repeat(t, text);
}

static mlxn_status element(mlxn_onig *t) {
    char c = t->s[t->at];
    bool is = false;
    if (t->groups[t->depth].extended) {
        if (strchr(" \t\r\n\f\v", c)) {
            t->at++;
            return MLXN_OK;
        }
        if (c == '#') {
            while (t->at < t->n && t->s[t->at] != '\n') t->at++;
            return MLXN_OK;
        }
    }
    if (strchr("*+?{", c)) {
        mlxn_status status = quantifier(t, &is);
        if (status != MLXN_OK || is) return status;
    }
    if (c == '(') return open_group(t);
    if (c == ')') {
        if (!t->depth) return mlxn_onig_refuse(t, "a ) without its (");
        mlxn_status status = close_group(t);
        t->atom = t->groups[t->depth--].start;
        t->has_atom = true;
        t->repeated = false;
        t->at++;
        return status == MLXN_OK ? mlxn_onig_put(t, &t->out, ")") : status;
    }
    if (c == '|') {
        t->has_atom = false;
        t->at++;
        return mlxn_onig_put(t, &t->out, "|");
    }
    if (c == '\\') return escape(t);
    begin_atom(t);
    if (c == '[') return mlxn_onig_class(t, &t->out);
    if (strchr("^$.", c)) {
        char text[] = {c, 0};
        t->at++;
        return mlxn_onig_put(t, &t->out, text);
    }
    uint32_t code = 0;
    t->at += mlxn_utf8_read(t->s + t->at, t->n - t->at, &code, NULL);
    return mlxn_onig_put_code(t, &t->out, code);
}

mlxn_status mlxn_regex_translate(mlxn_string source, const char *where, char **out, mlxn_error *error) {
    mlxn_onig *t = mlxn_alloc(sizeof *t);
    *out = NULL;
    if (!t) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for the regular expression", where);
    t->s = source.data;
    t->n = (size_t)source.size;
    t->where = where;
    t->error = error;
    mlxn_status status = memchr(t->s, 0, t->n) ? mlxn_onig_refuse(t, "holds a zero byte") : MLXN_OK;
    while (status == MLXN_OK && t->at < t->n) status = element(t);
    if (status == MLXN_OK && t->depth) status = mlxn_onig_refuse(t, "a group is not closed");
    if (status == MLXN_OK) status = close_group(t);
    if (status == MLXN_OK && !mlxn_tok_append(&t->out, "", 1)) status = mlxn_onig_no_memory(t);
    if (status == MLXN_OK)
        *out = t->out.data;
    else
        mlxn_free(t->out.data);
    mlxn_free(t);
    return status;
}
