/* lexer.c: from the text of a template to tokens; white space control happens here.
 *
 * As chat templates are run: trim_blocks (a line end after a block or a comment goes) and lstrip_blocks (blanks
 * before a block or a comment that begins its line go), one line end at the end of the template goes, every line end
 * is "\n".
 */
#include "lm/jinja/internal.h"

typedef struct lexer {
    jn_run *r;
    const char *s;
    size_t n, at;
    bool line_start; /* the last thing read ended with a line end, or nothing has been read */
    size_t counted;  /* line and column of r are those of this byte */
    jn_token *tokens;
    size_t n_tokens, room;
} lexer;

static void locate(lexer *x, size_t at) {
    if (at < x->counted) {
        x->counted = 0;
        x->r->line = x->r->column = 1;
    }
    while (x->counted < at) {
        if (x->s[x->counted] == '\n') {
            x->r->line++;
            x->r->column = 1;
            x->counted++;
        } else {
            x->counted += mlxn_jn_next_char(x->s + x->counted, x->n - x->counted, NULL);
            x->r->column++;
        }
    }
}

static jn_token *emit(lexer *x, jn_token_type type, size_t at) {
    locate(x, at);
    mlxn_jn_charge(x->r, 0);
    x->tokens = mlxn_jn_grow(x->r, x->tokens, x->n_tokens, &x->room, sizeof *x->tokens);
    jn_token *t = &x->tokens[x->n_tokens++];
    *t = (jn_token){.type = type, .line = x->r->line, .column = x->r->column};
    return t;
}

static void emit_text(lexer *x, size_t start, size_t end) {
    if (start >= end) return;
    jn_token *t = emit(x, JN_T_TEXT, start);
    t->text = mlxn_jn_text(x->r, x->s + start, end - start);
}

static bool here(const lexer *x, size_t at, const char *what) {
    size_t n = strlen(what);
    return x->n - at >= n && !memcmp(x->s + at, what, n);
}

static size_t skip_space(const lexer *x, size_t at) {
    while (at < x->n) {
        uint32_t code, n = mlxn_jn_next_char(x->s + at, x->n - at, &code);
        if (!mlxn_jn_is_space(code)) break;
        at += n;
    }
    return at;
}

/* The text before a mark: all of its end that is white space goes before '-', and what begins the line does before a
 * block or a comment. */
static size_t text_end(const lexer *x, size_t start, size_t end, char sign, bool lstrip) {
    if (sign == '-') {
        mlxn_jn_strip(x->s, &start, &end, NULL, JN_STRIP_RIGHT);
        return end;
    }
    if (!lstrip || sign == '+') return end;
    size_t line = end;
    while (line > start && x->s[line - 1] != '\n') line--;
    if (line == start && !x->line_start) return end;
    return skip_space(x, line) >= end ? line : end;
}

/* After the mark that closes a block or comment and whose sign is known. */
static void close_mark(lexer *x, size_t at, char sign, bool trim) {
    size_t end = at;
    if (sign == '-')
        end = skip_space(x, at);
    else if (trim && sign != '+' && end < x->n && x->s[end] == '\n')
        end++;
    x->line_start = end > at && x->s[end - 1] == '\n';
    x->at = end;
}

static char sign_at(const lexer *x, size_t at) {
    return at < x->n && (x->s[at] == '-' || x->s[at] == '+') ? x->s[at] : 0;
}

static void comment(lexer *x, size_t open) {
    size_t at = open + 2 + (sign_at(x, open + 2) != 0), end = at;
    while (end < x->n && !here(x, end, "#}")) end++;
    if (end >= x->n) {
        locate(x, open);
        mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the comment does not end, want \"#}\"");
    }
    close_mark(x, end + 2, end > at ? sign_at(x, end - 1) : 0, true);
}

/* "{% word %}" at `at`: the place after it, or 0. *close is the sign of its end, *open that of its beginning. */
static size_t lone_block(const lexer *x, size_t at, const char *word, char *open, char *close) {
    if (!here(x, at, "{%")) return 0;
    *open = sign_at(x, at + 2);
    at = skip_space(x, at + 2 + (*open != 0));
    if (!here(x, at, word)) return 0;
    at = skip_space(x, at + strlen(word));
    *close = sign_at(x, at);
    at += *close != 0;
    return here(x, at, "%}") ? at + 2 : 0;
}

static bool raw(lexer *x, size_t open) {
    char sign, close, end_open;
    size_t start = lone_block(x, open, "raw", &sign, &close);
    if (!start || close == '+') return false;
    close_mark(x, start, close, false);
    start = x->at;
    size_t at = start, after = 0;
    while (at < x->n && !(after = lone_block(x, at, "endraw", &end_open, &close))) at++;
    if (!after && start == x->n) { /* as in Jinja2, a block that opens at the very end is empty */
        x->at = start;
        return true;
    }
    if (!after) {
        locate(x, open);
        mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the raw block does not end, want \"{%% endraw %%}\"");
    }
    emit_text(x, start, text_end(x, start, at, end_open, true));
    close_mark(x, after, close, true);
    return true;
}

static bool is_name_byte(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static uint32_t hex(lexer *x, size_t at, int digits, size_t end) {
    uint32_t code = 0;
    for (int i = 0; i < digits; i++) {
        char c = at + (size_t)i < end ? x->s[at + (size_t)i] : 0, low = c | 32;
        if (!is_digit(c) && !(low >= 'a' && low <= 'f')) {
            locate(x, at);
            mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the escape wants %d hexadecimal digits", digits);
        }
        code = code << 4 | (uint32_t)(is_digit(c) ? c - '0' : low - 'a' + 10);
    }
    return code;
}

/* An escape of a string literal, from after its backslash; its length. */
static size_t escape(lexer *x, jn_out *out, size_t at, size_t end) {
    static const char simple[] = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
    char c = x->s[at];
    if (c == '\n') return 1;
    for (const char *p = simple; *p; p += 2)
        if (*p == c) {
            mlxn_jn_put(x->r, out, p + 1, 1);
            return 1;
        }
    if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        size_t n = 0;
        for (; n < 3 && at + n < end && x->s[at + n] >= '0' && x->s[at + n] <= '7'; n++)
            code = code * 8 + (uint32_t)(x->s[at + n] - '0');
        mlxn_jn_put_code(x->r, out, code);
        return n;
    }
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits) {
        uint32_t code = hex(x, at + 1, digits, end);
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            locate(x, at);
            mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the escape stands for U+%04X, which is no character", code);
        }
        mlxn_jn_put_code(x->r, out, code);
        return 1 + (size_t)digits;
    }
    if (c == 'N') {
        locate(x, at);
        mlxn_jn_fail(x->r, MLXN_ERR_UNSUPPORTED, "escapes by name (\\N{...}) are not supported, give \\uXXXX");
    }
    mlxn_jn_put(x->r, out, "\\", 1);
    return 0;
}

static void string(lexer *x) {
    size_t open = x->at, end = open + 1;
    char quote = x->s[open];
    while (end < x->n && x->s[end] != quote) end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->n) {
        locate(x, open);
        mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the string does not end, want %c", quote);
    }
    jn_out out = {0};
    for (size_t i = open + 1; i < end;) {
        const char *slash = memchr(x->s + i, '\\', end - i);
        size_t stop = slash ? (size_t)(slash - x->s) : end;
        mlxn_jn_put(x->r, &out, x->s + i, stop - i);
        i = stop;
        if (i < end) i += 1 + escape(x, &out, i + 1, end);
    }
    const jn_string *text = mlxn_jn_out_string(x->r, &out).s;
    emit(x, JN_T_STRING, open)->text = text;
    x->at = end + 1;
}

static size_t digits(const lexer *x, size_t at) {
    while (at < x->n && (is_digit(x->s[at]) || (x->s[at] == '_' && at + 1 < x->n && is_digit(x->s[at + 1])))) at++;
    return at;
}

static void number(lexer *x) {
    size_t start = x->at, end = digits(x, start);
    char next = end < x->n ? x->s[end] | 32 : 0;
    int base = 10;
    if (end == start + 1 && x->s[start] == '0' && (next == 'x' || next == 'o' || next == 'b')) {
        base = next == 'x' ? 16 : next == 'o' ? 8 : 2;
        end++;
        while (end < x->n && x->s[end] != '.' && is_name_byte(x->s[end]) && !(x->s[end] & 0x80)) end++;
    }
    size_t whole = end;
    if (base == 10) {
        if (end + 1 < x->n && x->s[end] == '.' && is_digit(x->s[end + 1])) end = digits(x, end + 1);
        size_t e = end;
        if (e < x->n && (x->s[e] | 32) == 'e') {
            e++;
            if (e < x->n && (x->s[e] == '+' || x->s[e] == '-')) e++;
            if (e < x->n && is_digit(x->s[e])) end = digits(x, e);
        }
    }
    jn_token *t = emit(x, JN_T_NUMBER, start);
    int64_t i = 0;
    double f = 0;
    bool good = end == whole ? mlxn_jn_parse_int(x->s + start, end - start, base, &i)
                             : mlxn_jn_parse_double(x->s + start, end - start, &f);
    if (!good)
        mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the number %.*s is malformed or does not fit into 64 bits",
                     (int)mlxn_min_u64(end - start, 60), x->s + start);
    t->value = end == whole ? jn_int(i) : jn_float(f);
    x->at = end;
}

static void operator(lexer *x, int *open) {
    static const struct {
        const char *text;
        int op;
    } table[] = {{"//", JN_OP_FLOORDIV}, {"**", JN_OP_POW}, {"==", JN_OP_EQ},
                 {"!=", JN_OP_NE},       {"<=", JN_OP_LE},  {">=", JN_OP_GE}};
    size_t at = x->at;
    char c = x->s[at];
    int op = 0, n = 1;
    for (size_t i = 0; !op && i < sizeof table / sizeof *table; i++)
        if (here(x, at, table[i].text)) op = table[i].op, n = 2;
    if (!op && c && strchr("+-/*%~[](){}<>=.:|,;", c)) op = c;
    if (!op) {
        locate(x, at);
        uint32_t length = mlxn_jn_next_char(x->s + at, x->n - at, NULL);
        mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "unexpected character '%.*s'", (int)length, x->s + at);
    }
    if (op < 128 && strchr("([{", op)) ++*open;
    if (op < 128 && strchr(")]}", op) && --*open < 0) {
        locate(x, at);
        mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "unexpected '%c'", op);
    }
    jn_token *t = emit(x, JN_T_OP, at);
    t->op = op;
    t->text = mlxn_jn_text(x->r, x->s + at, (size_t)n);
    x->at = at + (size_t)n;
}

/* What stands between "{{" and "}}" or "{%" and "%}". */
static void inside(lexer *x, size_t start, bool block) {
    const char *mark = block ? "%}" : "}}";
    int open = 0;
    emit(x, block ? JN_T_BLOCK : JN_T_PRINT, start);
    for (;;) {
        x->at = skip_space(x, x->at);
        if (x->at >= x->n) {
            locate(x, start);
            mlxn_jn_fail(x->r, MLXN_ERR_FORMAT, "the tag does not end, want \"%s\"", mark);
        }
        char sign = sign_at(x, x->at);
        if (sign == '+' && !block) sign = 0;
        if (!open && here(x, x->at + (sign != 0), mark)) {
            emit(x, block ? JN_T_BLOCK_END : JN_T_PRINT_END, x->at);
            close_mark(x, x->at + (sign != 0) + 2, sign, block);
            return;
        }
        char c = x->s[x->at];
        if (is_digit(c)) {
            number(x);
        } else if (is_name_byte(c)) {
            size_t end = x->at;
            while (end < x->n && is_name_byte(x->s[end])) {
                uint32_t code, n = mlxn_jn_next_char(x->s + end, x->n - end, &code);
                if (mlxn_jn_is_space(code)) break;
                end += n;
            }
            jn_token *t = emit(x, JN_T_NAME, x->at);
            t->text = mlxn_jn_text(x->r, x->s + x->at, end - x->at);
            x->at = end;
        } else if (c == '"' || c == '\'') {
            string(x);
        } else {
            operator(x, &open);
        }
    }
}

/* Every line end becomes "\n", and the last one goes. */
static void normalize(lexer *x, const char *text, size_t size) {
    char *copy = mlxn_jn_alloc(x->r, size + 1);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        copy[n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < size && text[i + 1] == '\n') i++;
    }
    if (n && copy[n - 1] == '\n') n--;
    x->s = copy;
    x->n = n;
}

jn_token *mlxn_jn_lex(jn_run *r, const char *text, size_t size) {
    lexer x = {.r = r, .line_start = true};
    r->line = r->column = 1;
    normalize(&x, text, size);
    while (x.at < x.n) {
        size_t start = x.at, open = start;
        while (open < x.n && !(x.s[open] == '{' && open + 1 < x.n && strchr("{%#", x.s[open + 1]) && x.s[open + 1]))
            open++;
        if (open >= x.n) {
            emit_text(&x, start, x.n);
            break;
        }
        bool print = x.s[open + 1] == '{';
        char sign = sign_at(&x, open + 2);
        emit_text(&x, start, text_end(&x, start, open, sign, !print));
        if (x.s[open + 1] == '#') {
            comment(&x, open);
        } else if (print || !raw(&x, open)) {
            x.at = open + 2 + (sign != 0);
            inside(&x, open, !print);
        }
    }
    emit(&x, JN_T_END, x.n);
    return x.tokens;
}
