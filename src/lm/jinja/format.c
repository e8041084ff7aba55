/* format.c: "%s" % v and "{}".format(v): the conversions and fields of Python that act on data. */
#include <math.h>

#include "lm/jinja/internal.h"

typedef struct spec {
    char fill[5]; /* one character */
    char align;   /* '<', '>', '^', '=' or 0 */
    char sign;    /* '+', ' ' or 0 */
    bool alternate, comma;
    int64_t width, precision; /* -1: none */
    char type;
} spec;

enum { MAX_WIDTH = 100000, MAX_PRECISION = 300 };

static void pad(jn_run *r, jn_out *out, const spec *s, const char *text, size_t n, bool number) {
    int64_t missing = s->width - (int64_t)mlxn_jn_count_chars(text, n), left = 0;
    char align = s->align ? s->align : number ? '>' : '<';
    if (missing < 0) missing = 0;
    if (align == '>') left = missing;
    if (align == '^') left = missing / 2;
    if (align == '=') { /* between the sign and the digits */
        size_t sign = n && (text[0] == '-' || text[0] == '+' || text[0] == ' ');
        mlxn_jn_put(r, out, text, sign);
        text += sign, n -= sign;
        left = missing;
    }
    for (int64_t i = 0; i < left; i++) jn_puts(r, out, s->fill);
    mlxn_jn_put(r, out, text, n);
    for (int64_t i = left; i < missing; i++) jn_puts(r, out, s->fill);
}

static void group_digits(char *text, size_t room) {
    char *digits = text + strspn(text, "+- ");
    size_t n = strspn(digits, "0123456789"), size = strlen(text);
    for (size_t k = 3; k < n && size + 1 < room; k += 3, size++) {
        char *at = digits + n - k;
        memmove(at + 1, at, strlen(at) + 1);
        *at = ',';
    }
}

/* e, f and g print as C does, apart from the decimal point of the locale. */
static void print_double(char *out, size_t room, const spec *s, char type, double v) {
    char form[16];
    snprintf(form, sizeof form, "%%%s%s.*%c", s->alternate ? "#" : "",
             s->sign == '+' ? "+"
             : s->sign      ? " "
                            : "",
             type);
    snprintf(out, room, form, (int)(s->precision < 0 ? 6 : s->precision), v);
    if (isfinite(v))
        for (char *c = out; *c; c++)
            if (*c == ',') *c = '.';
}

static void put_float(jn_run *r, jn_out *out, const spec *s, double v) {
    char text[800];
    if (s->type == '%') {
        spec fixed = *s;
        print_double(text, sizeof text - 2, &fixed, 'f', v * 100);
        strcat(text, "%");
    } else if (!s->type && s->precision < 0) {
        text[0] = s->sign;
        mlxn_jn_number_text(v, text + (s->sign && !signbit(v)));
    } else {
        print_double(text, sizeof text, s, s->type ? s->type : 'g', v);
    }
    if (s->comma) group_digits(text, sizeof text);
    pad(r, out, s, text, strlen(text), true);
}

static void put_int(jn_run *r, jn_out *out, const spec *s, int64_t v) {
    char digits[80], text[200];
    uint64_t size = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    int base = s->type == 'x' || s->type == 'X' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10, n = 0;
    do digits[n++] = (s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[size % (unsigned)base];
    while (size /= (unsigned)base);
    char *t = text;
    if (v < 0 || s->sign) *t++ = v < 0 ? '-' : s->sign;
    if (s->alternate && base != 10) *t++ = '0', *t++ = s->type;
    while (n) *t++ = digits[--n];
    *t = 0;
    if (s->comma) group_digits(text, sizeof text);
    pad(r, out, s, text, strlen(text), true);
}

static void put_text(jn_run *r, jn_out *out, const spec *s, const jn_string *text) {
    size_t n = text->size;
    if (s->precision >= 0 && (uint64_t)s->precision < text->n_chars)
        n = mlxn_jn_char_offset(text, (size_t)s->precision);
    pad(r, out, s, text->data, n, false);
}

static int64_t read_number(jn_run *r, const jn_string *f, size_t *at, int64_t most) {
    int64_t n = 0;
    while (*at < f->size && f->data[*at] >= '0' && f->data[*at] <= '9') {
        n = n * 10 + (f->data[(*at)++] - '0');
        if (n > most)
            mlxn_jn_type_error(r, "the format asks for %lld or more characters, at most %lld", (long long)n,
                               (long long)most);
    }
    return n;
}

static jn_value next_argument(jn_run *r, const jn_value *v, size_t n, size_t *at) {
    if (*at >= n) mlxn_jn_type_error(r, "not enough arguments for format string");
    return v[(*at)++];
}

/* One conversion, from after the '%'. */
static void percent_one(jn_run *r, jn_out *out, const jn_string *f, size_t *at, const jn_value *v, size_t n,
                        const jn_map *named, size_t *used) {
    spec s = {.fill = " ", .width = 0, .precision = -1};
    jn_value value = {.type = JN_MISSING};
    if (*at < f->size && f->data[*at] == '(') {
        if (!named) mlxn_jn_type_error(r, "format requires a mapping");
        const char *close = memchr(f->data + *at, ')', f->size - *at);
        if (!close) mlxn_jn_type_error(r, "incomplete format key");
        size_t start = *at + 1, end = (size_t)(close - f->data);
        jn_value *found = mlxn_jn_map_get(r, named, mlxn_jn_string_of(r, f->data + start, end - start));
        if (!found)
            mlxn_jn_type_error(r, "the format's key '%.*s' is not there", (int)(end - start), f->data + start);
        value = *found;
        *used = n;
        *at = end + 1;
    }
    bool zero = false, left = false;
    for (; *at < f->size && f->data[*at] && strchr("-+ 0#", f->data[*at]); ++*at) {
        char c = f->data[*at];
        left |= c == '-';
        zero |= c == '0';
        s.alternate |= c == '#';
        if (c == '+' || (c == ' ' && !s.sign)) s.sign = c;
    }
    if (*at < f->size && f->data[*at] == '*') {
        ++*at;
        s.width = mlxn_jn_need_int(r, next_argument(r, v, n, used), "* of a format");
        if (s.width < 0) left = true, s.width = s.width < -MAX_WIDTH ? MAX_WIDTH + 1 : -s.width;
        if (s.width > MAX_WIDTH) mlxn_jn_type_error(r, "the format asks for more than %d characters", MAX_WIDTH);
    } else {
        s.width = read_number(r, f, at, MAX_WIDTH);
    }
    if (*at < f->size && f->data[*at] == '.') {
        ++*at;
        s.precision = read_number(r, f, at, MAX_PRECISION);
    }
    while (*at < f->size && (f->data[*at] == 'l' || f->data[*at] == 'h' || f->data[*at] == 'L')) ++*at;
    if (*at >= f->size) mlxn_jn_type_error(r, "incomplete format");
    s.type = f->data[(*at)++];
    s.align = left ? '<' : '>';
    if (s.type == '%') {
        jn_puts(r, out, "%");
        return;
    }
    if (!strchr("srdiufFeEgGxXoca", s.type)) mlxn_jn_type_error(r, "unsupported format character '%c'", s.type);
    if (jn_missing(value)) value = next_argument(r, v, n, used);
    if (zero && !left && !strchr("src", s.type)) s.align = '=', s.fill[0] = '0';
    if (strchr("sra", s.type)) {
        jn_out text = {0};
        (s.type == 's' ? mlxn_jn_put_str : mlxn_jn_put_repr)(r, &text, value);
        put_text(r, out, &s, mlxn_jn_out_string(r, &text).s);
    } else if (s.type == 'c') {
        if (value.type == JN_STRING && value.s->n_chars == 1) {
            put_text(r, out, &s, value.s);
        } else {
            int64_t code = jn_is_int(value) ? jn_int_of(value) : -1;
            if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
                mlxn_jn_type_error(r, "%%c requires an int in range(0x110000) or a unicode character");
            mlxn_jn_put_code(r, out, (uint32_t)code);
        }
    } else {
        if (value.type == JN_UNDEFINED) mlxn_jn_fail_undefined(r, value);
        bool real = strchr("fFeEgG", s.type) != NULL;
        if (!jn_is_number(value) && real)
            mlxn_jn_type_error(r, "must be real number, not %s", mlxn_jn_type_name(value));
        if (!jn_is_number(value))
            mlxn_jn_type_error(r, "%%%c format: a real number is required, not %s", s.type, mlxn_jn_type_name(value));
        if (real) {
            put_float(r, out, &s, jn_double_of(value));
        } else {
            if (value.type == JN_FLOAT && !(fabs(value.f) < 9.2e18))
                mlxn_jn_type_error(r, "cannot convert the float to an int of 64 bits");
            if (value.type == JN_FLOAT && strchr("xXo", s.type))
                mlxn_jn_type_error(r, "%%%c format: an integer is required, not float", s.type);
            put_int(r, out, &s, value.type == JN_FLOAT ? (int64_t)value.f : jn_int_of(value));
        }
    }
}

jn_value mlxn_jn_percent(jn_run *r, const jn_string *f, const jn_value *v, size_t n, const jn_map *named) {
    jn_out out = {0};
    size_t used = 0;
    for (size_t i = 0; i < f->size;) {
        const char *mark = memchr(f->data + i, '%', f->size - i);
        size_t end = mark ? (size_t)(mark - f->data) : f->size;
        mlxn_jn_put(r, &out, f->data + i, end - i);
        if (!mark) break;
        i = end + 1;
        mlxn_jn_charge(r, 0);
        percent_one(r, &out, f, &i, v, n, named, &used);
    }
    if (used < n && !named) mlxn_jn_type_error(r, "not all arguments converted during string formatting");
    return mlxn_jn_out_string(r, &out);
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static spec read_spec(jn_run *r, const jn_string *f) {
    spec s = {.fill = " ", .precision = -1};
    size_t at = 0, first = f->size ? mlxn_jn_next_char(f->data, f->size, NULL) : 0;
    if (first < f->size && strchr("<>^=", f->data[first])) {
        memset(s.fill, 0, sizeof s.fill);
        memcpy(s.fill, f->data, first);
        s.align = f->data[first];
        at = first + 1;
    } else if (f->size && strchr("<>^=", f->data[0])) {
        s.align = f->data[0];
        at = 1;
    }
    if (at < f->size && strchr("+- ", f->data[at])) s.sign = f->data[at] == '-' ? 0 : f->data[at], at++;
    if (at < f->size && f->data[at] == '#') s.alternate = true, at++;
    if (at < f->size && f->data[at] == '0') {
        if (!s.align) s.align = '=', s.fill[0] = '0', s.fill[1] = 0;
        at++;
    }
    s.width = read_number(r, f, &at, MAX_WIDTH);
    if (at < f->size && f->data[at] == ',') s.comma = true, at++;
    if (at < f->size && f->data[at] == '.') at++, s.precision = read_number(r, f, &at, MAX_PRECISION);
    if (at < f->size) s.type = f->data[at++];
    if (at < f->size || (s.type && !strchr("sdfFeEgGxXob%", s.type)))
        mlxn_jn_type_error(r, "Invalid format specifier '%.*s'", (int)mlxn_min_u64(f->size, 60), f->data);
    return s;
}

static void put_field(jn_run *r, jn_out *out, jn_value v, const jn_string *format) {
    spec s = read_spec(r, format);
    if (v.type == JN_STRING || (!format->size && !jn_is_number(v))) {
        if (s.type && s.type != 's')
            mlxn_jn_type_error(r, "Unknown format code '%c' for object of type '%s'", s.type, mlxn_jn_type_name(v));
        put_text(r, out, &s, mlxn_jn_str(r, v));
    } else if (v.type == JN_BOOL && !s.type) {
        put_text(r, out, &s, mlxn_jn_str(r, v));
    } else if (jn_is_int(v) && (!s.type || strchr("dxXob", s.type))) {
        if (!s.type) s.type = 'd';
        put_int(r, out, &s, jn_int_of(v));
    } else if (jn_is_number(v) && (!s.type || strchr("fFeEgG%", s.type))) {
        put_float(r, out, &s, jn_double_of(v));
    } else if (jn_is_number(v)) {
        mlxn_jn_type_error(r, "Unknown format code '%c' for object of type '%s'", s.type, mlxn_jn_type_name(v));
    } else {
        mlxn_jn_type_error(r, "unsupported format string passed to %s.__format__", mlxn_jn_type_name(v));
    }
}

/* The value that a field's name, "0", "name", "a.b" or "a[b]", stands for. */
static jn_value field_value(jn_run *r, const char *name, size_t n, const jn_args *args, size_t *next) {
    size_t end = 0;
    while (end < n && name[end] != '.' && name[end] != '[') end++;
    int64_t index = 0;
    jn_value v;
    if (!end || mlxn_jn_parse_int(name, end, 10, &index)) {
        size_t at = end ? (size_t)index : (*next)++;
        if (at >= args->n) mlxn_jn_type_error(r, "Replacement index %zu out of range for positional args tuple", at);
        v = args->v[at];
    } else {
        jn_value *found = args->named ? mlxn_jn_map_get(r, args->named, mlxn_jn_string_of(r, name, end)) : NULL;
        if (!found) mlxn_jn_type_error(r, "the format's field '%.*s' is not there", (int)mlxn_min_u64(end, 60), name);
        v = *found;
    }
    while (end < n) {
        bool member = name[end] == '.';
        size_t start = ++end;
        while (end < n && (member ? name[end] != '.' && name[end] != '[' : name[end] != ']')) end++;
        if (member)
            v = mlxn_jn_member(r, v, mlxn_jn_text(r, name + start, end - start));
        else
            v = mlxn_jn_index(r, v,
                              mlxn_jn_parse_int(name + start, end - start, 10, &index)
                                  ? jn_int(index)
                                  : mlxn_jn_string_of(r, name + start, end - start));
        if (!member) end++;
    }
    return v;
}

jn_value mlxn_jn_brace_format(jn_run *r, const jn_string *f, const jn_args *args) {
    jn_out out = {0};
    size_t next = 0;
    for (size_t i = 0; i < f->size; i++) {
        char c = f->data[i];
        if ((c == '{' || c == '}') && i + 1 < f->size && f->data[i + 1] == c) {
            mlxn_jn_put(r, &out, &c, 1);
            i++;
            continue;
        }
        if (c == '}') mlxn_jn_type_error(r, "Single '}' encountered in format string");
        if (c != '{') {
            mlxn_jn_put(r, &out, &c, 1);
            continue;
        }
        size_t start = i + 1, end = start;
        while (end < f->size && f->data[end] != '}' && f->data[end] != '{') end++;
        if (end == f->size) mlxn_jn_type_error(r, "expected '}' before end of string");
        if (f->data[end] == '{') mlxn_jn_type_error(r, "a field inside the format of a field is not supported");
        size_t colon = start;
        while (colon < end && f->data[colon] != ':') colon++;
        size_t name = colon;
        char conversion = 0;
        if (name - start >= 2 && f->data[name - 2] == '!') conversion = f->data[name - 1], name -= 2;
        jn_value v = field_value(r, f->data + start, name - start, args, &next);
        if (conversion && conversion != 'r' && conversion != 's')
            mlxn_jn_type_error(r, "Unknown conversion specifier '%c'", conversion);
        if (conversion) {
            jn_out text = {0};
            (conversion == 'r' ? mlxn_jn_put_repr : mlxn_jn_put_str)(r, &text, v);
            v = mlxn_jn_out_string(r, &text);
        }
        size_t spec_at = colon < end ? colon + 1 : end;
        put_field(r, &out, v, mlxn_jn_text(r, f->data + spec_at, end - spec_at));
        i = end;
    }
    return mlxn_jn_out_string(r, &out);
}
