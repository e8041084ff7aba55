/* internal.h: what the files of the template engine share: memory, values, the syntax tree, a run.
 *
 * All memory of a compilation or a run comes from one arena that is freed at its end. Errors leave by longjmp to
 * where the run began, so that no function below has an error return; none of them may own anything outside the
 * arena. */
#ifndef MLXN_LM_JINJA_INTERNAL_H
#define MLXN_LM_JINJA_INTERNAL_H

#include <setjmp.h>
#include <stdio.h>

#include "base/base.h"
#include "lm/jinja/jinja.h"

/* ---- values ---- */

typedef enum jn_type {
    JN_UNDEFINED = 0,
    JN_NONE,
    JN_BOOL,
    JN_INT,
    JN_FLOAT,
    JN_STRING,
    JN_LIST,
    JN_MAP,
    JN_OBJECT,
    JN_FUNCTION,
    JN_MISSING /* an argument that was not given; no expression has this value */
} jn_type;

typedef struct jn_string {
    const char *data; /* UTF-8, but bytes that are not are kept, each as one character */
    size_t size;
    size_t n_chars;
    bool safe; /* was escaped, or is not to be (Jinja2's Markup) */
} jn_string;

/* What Python has different types for. Those after JN_TUPLE have no elements by index; JN_GENERATOR can be walked
 * once, is always true and has no length. */
typedef enum jn_list_kind { JN_ARRAY, JN_TUPLE, JN_RANGE, JN_KEYS, JN_VALUES, JN_ITEMS, JN_GENERATOR } jn_list_kind;

typedef struct jn_list jn_list;
typedef struct jn_map jn_map;
typedef struct jn_object jn_object;
typedef struct jn_function jn_function;
typedef struct jn_value {
    jn_type type;
    union {
        bool b;
        int64_t i;
        double f;
        const jn_string *s;
        jn_list *list;
        jn_map *map;
        jn_object *object;
        const jn_function *function;
        const char *why; /* UNDEFINED: what a use of it says; NULL: a plain "undefined" */
    };
} jn_value;

struct jn_list {
    jn_value *v;
    size_t n, room;
    jn_list_kind kind;
    bool consumed;    /* GENERATOR */
    bool group;       /* a TUPLE with members grouper and list */
    int64_t range[3]; /* RANGE: start, stop, step */
};

typedef struct jn_entry {
    uint32_t hash;
    jn_value key, value;
} jn_entry;
struct jn_map { /* keeps the order of insertion */
    jn_entry *v;
    size_t n, room;
};

/* ---- syntax tree ---- */

typedef enum jn_kind {
    /* expressions */
    JN_CONST,
    JN_NAME,      /* name */
    JN_LISTING,   /* items */
    JN_TUPLING,   /* items */
    JN_MAPPING,   /* items: key, value, key, value… */
    JN_UNARY,     /* op, a */
    JN_BINARY,    /* op, a, b */
    JN_COMPARE,   /* a; items are operands with op */
    JN_CONCAT,    /* items */
    JN_CONDITION, /* a if b else c; c may be NULL */
    JN_MEMBER,    /* a . name */
    JN_INDEX,     /* a [b] */
    JN_SLICE,     /* a [items: start, stop, step, each may be NULL] */
    JN_CALL,      /* a (items) */
    JN_FILTER,    /* name, items; a may be NULL in a filter block */
    JN_TEST,      /* name, items, a; op '!' if negated */
    JN_ARGUMENT,  /* name = a; op '*' and '2' for *a and **a; op 0 without name: positional */
    /* statements */
    JN_TEXT,   /* value */
    JN_OUTPUT, /* a */
    JN_IF,     /* items: branches with a (NULL: else) and body */
    JN_BRANCH,
    JN_FOR,          /* a: target, b: iterable, c: filter; body, other; op 'r' if recursive */
    JN_SET,          /* a: target, b: value */
    JN_SET_BLOCK,    /* a: target, b: filters or NULL; body */
    JN_WITH,         /* items: targets (a) and values (b); body */
    JN_MACRO,        /* name; items: parameters with name and default (a); body; op: MACRO_* */
    JN_CALL_BLOCK,   /* a: call, b: macro */
    JN_FILTER_BLOCK, /* b: filters; body */
    JN_SCOPE,        /* body */
    JN_BREAK,
    JN_CONTINUE
} jn_kind;

enum { JN_USES_CALLER = 1, JN_USES_KWARGS = 2, JN_USES_VARARGS = 4 };

typedef struct jn_node jn_node;
typedef struct jn_nodes {
    jn_node **v;
    size_t n, room;
} jn_nodes;
struct jn_node {
    jn_kind kind;
    int op;
    uint32_t line, column;
    jn_node *a, *b, *c;
    const jn_string *name;
    jn_value value;
    jn_nodes items, body, other;
};

/* Operators, beside the characters that stand for themselves. */
enum {
    JN_OP_FLOORDIV = 256,
    JN_OP_POW,
    JN_OP_EQ,
    JN_OP_NE,
    JN_OP_LE,
    JN_OP_GE,
    JN_OP_AND,
    JN_OP_OR,
    JN_OP_NOT,
    JN_OP_IN,
    JN_OP_NOT_IN
};

/* ---- runs ---- */

typedef struct jn_variable {
    const jn_string *name;
    jn_value value;
} jn_variable;
typedef struct jn_scope {
    struct jn_scope *parent;
    jn_variable *v;
    size_t n, room;
} jn_scope;

typedef struct jn_out { /* a text that grows; what has been written is always one piece */
    char *data;
    size_t size, room;
} jn_out;

typedef struct jn_run {
    struct jn_block *blocks;
    uint64_t bytes, max_memory, max_output, steps, max_steps;
    uint32_t depth, max_depth;
    uint32_t line, column; /* of what is parsed or evaluated now */
    const char *name;
    mlxn_error *error;
    mlxn_status status;
    jmp_buf escape;
    jn_scope *scope;
    jn_out *out;
    int64_t now;
} jn_run;

struct mlxn_template {
    struct jn_block *blocks;
    const char *name;
    jn_nodes body;
    const jn_string **names; /* every name of an expression, once or more often */
    size_t n_names;
};

/* memory.c */
void *mlxn_jn_alloc(jn_run *r, size_t bytes); /* zeroed */
/* Makes room for one more element of `size` bytes in an array of the arena. */
void *mlxn_jn_grow(jn_run *r, void *old, size_t n, size_t *room, size_t size);
void mlxn_jn_free_blocks(struct jn_block *blocks);
_Noreturn void mlxn_jn_fail(jn_run *r, mlxn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void mlxn_jn_type_error(jn_run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mlxn_jn_charge(jn_run *r, uint64_t bytes); /* one step, and what looking at so many bytes costs */
void mlxn_jn_enter(jn_run *r);                  /* one level deeper */
static inline void jn_leave(jn_run *r) { r->depth--; }
void mlxn_jn_put(jn_run *r, jn_out *out, const char *data, size_t size);
static inline void jn_puts(jn_run *r, jn_out *out, const char *text) { mlxn_jn_put(r, out, text, strlen(text)); }
void mlxn_jn_put_code(jn_run *r, jn_out *out, uint32_t code);
char *mlxn_jn_print(jn_run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* text.c */
uint32_t mlxn_jn_next_char(const char *s, size_t n, uint32_t *code); /* its length; bytes that are none are U+FFFD */
size_t mlxn_jn_count_chars(const char *s, size_t n);
size_t mlxn_jn_char_offset(const jn_string *s, size_t index); /* in bytes */
bool mlxn_jn_is_space(uint32_t code);
bool mlxn_jn_is_printable(uint32_t code);
bool mlxn_jn_is_word_char(uint32_t code); /* letters, digits, '_' */
enum { JN_STRIP_LEFT = 1, JN_STRIP_RIGHT = 2 };
/* [*start, *end) without white space, or without the characters of `set` if it is not NULL. */
void mlxn_jn_strip(const char *s, size_t *start, size_t *end, const jn_string *set, int sides);
size_t mlxn_jn_find(jn_run *r, const char *s, size_t n, size_t from, const char *what,
                    size_t m);                                           /* SIZE_MAX: not there */
const jn_string *mlxn_jn_text(jn_run *r, const char *data, size_t size); /* does not copy */
jn_value mlxn_jn_string_of(jn_run *r, const char *data, size_t size);    /* does not copy */
jn_value mlxn_jn_string_copy(jn_run *r, const char *data, size_t size);
jn_value mlxn_jn_out_string(jn_run *r, const jn_out *out);
bool mlxn_jn_is(const jn_string *s, const char *text);
typedef enum jn_case { JN_UPPER, JN_LOWER, JN_TITLE, JN_CAPITALIZE, JN_SWAP } jn_case;
jn_value mlxn_jn_change_case(jn_run *r, const jn_string *s, jn_case to);
jn_value mlxn_jn_escape(jn_run *r, jn_value v);
const char *mlxn_jn_number_text(double value, char out[40]);     /* as Python's repr */
bool mlxn_jn_parse_double(const char *s, size_t n, double *out); /* the whole text, digits with underscores allowed */
bool mlxn_jn_parse_int(const char *s, size_t n, int base, int64_t *out);

/* value.c */
static inline jn_value jn_undefined(const char *why) { return (jn_value){.type = JN_UNDEFINED, .why = why}; }
static inline jn_value jn_none(void) { return (jn_value){.type = JN_NONE}; }
static inline jn_value jn_bool(bool b) { return (jn_value){.type = JN_BOOL, .b = b}; }
static inline jn_value jn_int(int64_t i) { return (jn_value){.type = JN_INT, .i = i}; }
static inline jn_value jn_float(double f) { return (jn_value){.type = JN_FLOAT, .f = f}; }
static inline bool jn_missing(jn_value v) { return v.type == JN_MISSING; }
static inline bool jn_is_number(jn_value v) { return v.type == JN_BOOL || v.type == JN_INT || v.type == JN_FLOAT; }
static inline bool jn_is_int(jn_value v) { return v.type == JN_BOOL || v.type == JN_INT; }
static inline int64_t jn_int_of(jn_value v) { return v.type == JN_BOOL ? v.b : v.i; }
static inline double jn_double_of(jn_value v) { return v.type == JN_FLOAT ? v.f : (double)jn_int_of(v); }
jn_value mlxn_jn_list_new(jn_run *r, jn_list_kind kind);
void mlxn_jn_append(jn_run *r, jn_value list, jn_value v);
jn_value mlxn_jn_pair(jn_run *r, jn_value a, jn_value b); /* a tuple */
jn_value mlxn_jn_map_new(jn_run *r);
void mlxn_jn_map_set(jn_run *r, jn_map *map, jn_value key, jn_value value);
jn_value *mlxn_jn_map_get(jn_run *r, const jn_map *map, jn_value key); /* NULL: not there */
jn_value *mlxn_jn_map_get_text(jn_run *r, const jn_map *map, const char *key);
const char *mlxn_jn_type_name(jn_value v); /* Python's name of the type */
bool mlxn_jn_truth(jn_value v);
bool mlxn_jn_equal(jn_run *r, jn_value a, jn_value b);
int mlxn_jn_order(jn_run *r, jn_value a, jn_value b, const char *op); /* <0, 0, >0; NaN: 2 */
bool mlxn_jn_contains(jn_run *r, jn_value container, jn_value v);
int64_t mlxn_jn_length(jn_run *r, jn_value v);
bool mlxn_jn_iterable(jn_value v);
/* The elements of a list, the keys of a map, the characters of a string. */
jn_list *mlxn_jn_elements(jn_run *r, jn_value v);
const jn_string *mlxn_jn_need_string(jn_run *r, jn_value v, const char *what);
int64_t mlxn_jn_need_int(jn_run *r, jn_value v, const char *what);
_Noreturn void mlxn_jn_fail_undefined(jn_run *r, jn_value v);

/* print.c */
void mlxn_jn_put_str(jn_run *r, jn_out *out, jn_value v);  /* Python's str() */
void mlxn_jn_put_repr(jn_run *r, jn_out *out, jn_value v); /* Python's repr() */
const jn_string *mlxn_jn_str(jn_run *r, jn_value v);

/* json.c */
typedef struct jn_json_style {
    bool ascii, sort, indented;
    const jn_string *indent, *item, *key;
} jn_json_style;
void mlxn_jn_put_json(jn_run *r, jn_out *out, jn_value v, const jn_json_style *style);
jn_value mlxn_jn_from_json(jn_run *r, const char *text, size_t bytes, const char *what);

/* arith.c */
jn_value mlxn_jn_binary(jn_run *r, int op, jn_value a, jn_value b);
jn_value mlxn_jn_negate(jn_run *r, jn_value v);

/* format.c */
jn_value mlxn_jn_percent(jn_run *r, const jn_string *format, const jn_value *v, size_t n, const jn_map *named);
struct jn_args;
jn_value mlxn_jn_brace_format(jn_run *r, const jn_string *format, const struct jn_args *args);

/* lexer.c */
typedef enum jn_token_type {
    JN_T_END,
    JN_T_TEXT,
    JN_T_PRINT,     /* {{ */
    JN_T_PRINT_END, /* }} */
    JN_T_BLOCK,     /* {% */
    JN_T_BLOCK_END, /* %} */
    JN_T_NAME,
    JN_T_STRING,
    JN_T_NUMBER,
    JN_T_OP
} jn_token_type;
typedef struct jn_token {
    jn_token_type type;
    int op; /* T_OP: a character or JN_OP_* */
    uint32_t line, column;
    const jn_string *text; /* TEXT, NAME, STRING: decoded; OP: as written */
    jn_value value;        /* NUMBER */
} jn_token;
jn_token *mlxn_jn_lex(jn_run *r, const char *text, size_t size); /* the last one has type END */

/* parser.c, statements.c */
typedef struct jn_parser {
    jn_run *r;
    const jn_token *at;
    int uses; /* JN_USES_* since the innermost macro began */
    const jn_string **names;
    size_t n_names, names_room;
    uint32_t loops; /* around the current statement */
} jn_parser;
jn_node *mlxn_jn_node_new(jn_parser *p, jn_kind kind, const jn_token *at);
void mlxn_jn_add_node(jn_parser *p, jn_nodes *list, jn_node *node);
_Noreturn void mlxn_jn_unexpected(jn_parser *p, const char *want);
bool mlxn_jn_at_name(const jn_parser *p, const char *name);
bool mlxn_jn_skip_name(jn_parser *p, const char *name);
bool mlxn_jn_at_op(const jn_parser *p, int op);
bool mlxn_jn_skip_op(jn_parser *p, int op);
void mlxn_jn_expect_op(jn_parser *p, int op, const char *want);
const jn_token *mlxn_jn_expect_name(jn_parser *p, const char *what);
jn_node *mlxn_jn_parse_expression(jn_parser *p);
/* Expressions with commas between them are a tuple. `condition`: "a if b" is allowed in each. */
jn_node *mlxn_jn_parse_tuple(jn_parser *p, bool condition, const char *end_name);
jn_node *mlxn_jn_parse_filters(jn_parser *p, jn_node *value, bool inline_start);
void mlxn_jn_parse_template(jn_parser *p, jn_nodes *out);

/* evaluate.c, interpret.c, call.c */
typedef struct jn_args {
    jn_value *v;
    size_t n;
    jn_map *named; /* NULL: none */
} jn_args;
/* `a` has the value that a filter, test or method is applied to, then one value per name in `params`. */
typedef jn_value (*jn_builtin_fn)(jn_run *r, const jn_value *a, const jn_args *args);
typedef struct jn_builtin {
    const char *name;
    jn_builtin_fn fn;
    const char *params; /* names with blanks between; NULL: the function reads `args` itself */
    uint32_t required;  /* so many must be given */
} jn_builtin;
enum { JN_MAX_PARAMS = 8 };
struct jn_function {
    enum { JN_GLOBAL, JN_METHOD, JN_MACRO_FN, JN_LOOP_FN } kind;
    const jn_builtin *builtin; /* GLOBAL, METHOD */
    jn_value self;             /* METHOD, LOOP_FN */
    const jn_node *macro;
    jn_scope *scope;
};
jn_value mlxn_jn_evaluate(jn_run *r, const jn_node *node);
jn_value mlxn_jn_member(jn_run *r, jn_value v, const jn_string *name);
jn_value mlxn_jn_index(jn_run *r, jn_value v, jn_value index);
jn_value mlxn_jn_call(jn_run *r, jn_value function, const jn_args *args);
jn_value mlxn_jn_call_builtin(jn_run *r, const char *what, const jn_builtin *b, jn_value self, const jn_args *args);
jn_value mlxn_jn_apply_filter(jn_run *r, const jn_string *name, jn_value v, const jn_args *args);
bool mlxn_jn_apply_test(jn_run *r, const jn_string *name, jn_value v, const jn_args *args);
jn_value mlxn_jn_apply_filters(jn_run *r, const jn_node *filters, jn_value v);
jn_args mlxn_jn_evaluate_args(jn_run *r, const jn_nodes *items);
jn_value mlxn_jn_call_macro(jn_run *r, const jn_function *macro, const jn_args *args);
jn_value mlxn_jn_make_macro(jn_run *r, const jn_node *node);
jn_value mlxn_jn_make_method(jn_run *r, const jn_builtin *b, jn_value self);
void mlxn_jn_execute_body(jn_run *r, const jn_nodes *body);
/* The text that the statements give in a scope of their own below `parent`. */
jn_value mlxn_jn_capture(jn_run *r, const jn_nodes *body, jn_scope *scope);
jn_scope *mlxn_jn_scope_new(jn_run *r, jn_scope *parent);
void mlxn_jn_scope_set(jn_run *r, jn_scope *scope, const jn_string *name, jn_value v);
jn_value *mlxn_jn_scope_get(jn_run *r, jn_scope *scope, const jn_string *name);
/* "a.b.0": members and indices of members. */
jn_value mlxn_jn_attribute(jn_run *r, jn_value v, jn_value attribute);
jn_value mlxn_jn_loop_again(jn_run *r, jn_value loop, jn_value iterable);
const jn_builtin *mlxn_jn_find_builtin(const jn_builtin *table, const jn_string *name);

/* objects.c: namespaces, loops, cyclers and joiners */
typedef enum jn_object_kind { JN_NAMESPACE, JN_LOOP, JN_CYCLER, JN_JOINER } jn_object_kind;
struct jn_object {
    jn_object_kind kind;
    jn_map *members;     /* NAMESPACE */
    jn_list *items;      /* LOOP: what it walks; CYCLER: what it hands out */
    size_t at;           /* LOOP, CYCLER */
    uint32_t nesting;    /* LOOP: depth0 */
    const jn_node *node; /* LOOP, recursive */
    jn_scope *scope;     /* LOOP: where it stands */
    jn_value last;       /* LOOP: the arguments of changed(); JOINER: the separator */
    bool used;           /* JOINER */
};
jn_value mlxn_jn_object_new(jn_run *r, jn_object_kind kind);
bool mlxn_jn_object_member(jn_run *r, jn_value v, const jn_string *name, jn_value *out);
jn_value mlxn_jn_object_call(jn_run *r, jn_value v, const jn_args *args);

/* Tables; the last row has no name. */
extern const jn_builtin mlxn_jn_globals[], mlxn_jn_filters_text[], mlxn_jn_filters_list[], mlxn_jn_filters_data[],
    mlxn_jn_tests[], mlxn_jn_string_methods[], mlxn_jn_list_methods[], mlxn_jn_map_methods[];
/* Names that would change a list or a map, which a template may not. */
extern const char *const mlxn_jn_list_changers[], *const mlxn_jn_map_changers[];

#endif
