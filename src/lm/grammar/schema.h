/* schema.h: what the files that turn JSON schemas into grammars share.
 *
 * A schema becomes GBNF text: one rule for each of its nodes that is more than a plain type. The grammar may describe
 * less than the schema allows (members come in the schema's order, numbers have bounded lengths), never more; a
 * keyword that cannot be obeyed is an error. docs/CONSTRAINED.md has the list. */
#ifndef MLXN_LM_GRAMMAR_SCHEMA_H
#define MLXN_LM_GRAMMAR_SCHEMA_H

#include <jansson.h>

#include "lm/grammar/grammar.h"

enum {
    MLXN_SC_MAX_BYTES = 4 << 20, /* of a schema */
    MLXN_SC_MAX_DEPTH = 100,     /* schemas within schemas */
    MLXN_SC_MAX_NODES = 100000,  /* schemas that are converted or merged */
    MLXN_SC_MAX_WORK = 1 << 26,  /* comparisons of names and values, members that are merged */
    MLXN_SC_MAX_LENGTH = 8192,   /* characters of a string whose length is bounded */
    MLXN_SC_MAX_ITEMS = 65535,   /* items of an array whose length is bounded */
    MLXN_SC_MAX_BOTHS = 4096,    /* pairs of schemas that must hold together */
    MLXN_SC_EXPRESSION = 96      /* bytes of the expression that stands for a node */
};

/* What comes of a node. */
typedef enum mlxn_sc_result {
    MLXN_SC_OK,
    MLXN_SC_NEVER, /* no value satisfies it */
    MLXN_SC_ERROR  /* told */
} mlxn_sc_result;

/* Types as bits. */
enum {
    MLXN_SC_NULL = 1,
    MLXN_SC_BOOLEAN = 2,
    MLXN_SC_OBJECT = 4,
    MLXN_SC_ARRAY = 8,
    MLXN_SC_NUMBER = 16,
    MLXN_SC_STRING = 32,
    MLXN_SC_INTEGER = 64,
    MLXN_SC_ALL = 63 /* integers are numbers */
};

/* Text that grows; `failed`: memory ran out, or it became too long. */
typedef struct mlxn_sc_text {
    char *data;
    size_t size, capacity;
    bool failed;
} mlxn_sc_text;
void mlxn_sc_put(mlxn_sc_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mlxn_sc_put_bytes(mlxn_sc_text *text, const char *bytes, size_t n);
/* What stands inside of a GBNF literal for the bytes, without its quotes. */
void mlxn_sc_put_quoted(mlxn_sc_text *text, const char *bytes, size_t n);

typedef struct mlxn_sc_memo {
    const json_t *node;
    bool never, open, named; /* open: being converted; named: by itself, meanwhile */
    char expression[MLXN_SC_EXPRESSION];
} mlxn_sc_memo;

/* Two schemas and the one that demands both. */
typedef struct mlxn_sc_both {
    const json_t *a, *b;
    json_t *both;
} mlxn_sc_both;

typedef struct mlxn_schema {
    json_t *root;
    json_t *kept; /* array: what was made on the way lives as long, so that addresses stay unique */
    mlxn_sc_text rules;
    MLXN_GR_ARRAY(mlxn_sc_memo) memos;
    MLXN_GR_ARRAY(mlxn_sc_both) boths;
    uint32_t *memo_table; /* open addressing over memos: index + 1 */
    uint32_t memo_mask;
    uint32_t n_rules, n_nodes, depth;
    uint64_t work;
    uint32_t used;    /* bits of the common rules that are named */
    bool ids_checked; /* no schema inside of the document has a base of its own */
    char path[400];
    size_t path_size;
    mlxn_error *error;
    mlxn_status status;
} mlxn_schema;

/* ---- schema_text.c ---- */

/* "JSON schema at #/properties/a: …"; the first message stays. Returns MLXN_SC_ERROR. */
mlxn_sc_result mlxn_sc_fail(mlxn_schema *s, mlxn_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
mlxn_sc_result mlxn_sc_no_memory(mlxn_schema *s);
/* Before a * b things are done: LIMIT if all of them together become too many. */
mlxn_sc_result mlxn_sc_work(mlxn_schema *s, size_t a, size_t b);
/* "keyword: … is not supported". */
mlxn_sc_result mlxn_sc_unsupported(mlxn_schema *s, const char *keyword, const char *why);
/* Adds a step to the path, and another one if `name` is not NULL; returns the size to go back to. */
size_t mlxn_sc_enter(mlxn_schema *s, const char *keyword, const char *name);
size_t mlxn_sc_enter_index(mlxn_schema *s, const char *keyword, size_t index);
void mlxn_sc_leave(mlxn_schema *s, size_t size);
/* Hands a new value over, so that it lives as long as the conversion. NULL: no memory (told). */
json_t *mlxn_sc_keep(mlxn_schema *s, json_t *made);
/* A fresh rule's name: "r12" and what tells a reader where it comes from. */
void mlxn_sc_new_rule(mlxn_schema *s, char name[MLXN_SC_EXPRESSION]);
/* Appends "name ::= body\n" and frees the body. */
mlxn_sc_result mlxn_sc_add_rule(mlxn_schema *s, const char *name, mlxn_sc_text *body);
/* Names a common rule: "value", "object", "array", "string", "number", "integer", "char", "ws". */
const char *mlxn_sc_common(mlxn_schema *s, const char *name);
/* Appends the common rules that were named. */
void mlxn_sc_add_common_rules(mlxn_schema *s);

/* ---- schema.c ---- */

/* The expression, one element, for a node. */
mlxn_sc_result mlxn_sc_convert(mlxn_schema *s, json_t *node, char expression[MLXN_SC_EXPRESSION]);
/* The types of the keyword "type"; all if there is none. */
mlxn_sc_result mlxn_sc_types(mlxn_schema *s, const json_t *flat, uint32_t *types);
/* A count such as minItems: false in *given if it is absent. */
mlxn_sc_result mlxn_sc_count(mlxn_schema *s, const json_t *flat, const char *keyword, bool *given, uint64_t *out);

/* ---- schema_flatten.c ---- */

/* The node without $ref and allOf: what they demand is merged. Booleans come back as they are. *path_of: see enter.
 */
mlxn_sc_result mlxn_sc_flatten(mlxn_schema *s, json_t *node, uint32_t depth, json_t **out);
/* The node that a reference names. */
mlxn_sc_result mlxn_sc_resolve(mlxn_schema *s, const json_t *reference, json_t **out);
/* What demands both, of flat nodes. */
mlxn_sc_result mlxn_sc_merge(mlxn_schema *s, json_t *a, json_t *b, json_t **out);
/* A keyword that has no bearing on what is valid. */
bool mlxn_sc_is_annotation(const char *keyword);

/* ---- one per kind of value; `flat` is an object ---- */

mlxn_sc_result mlxn_sc_object(mlxn_schema *s, json_t *flat, char expression[MLXN_SC_EXPRESSION]);
mlxn_sc_result mlxn_sc_array(mlxn_schema *s, json_t *flat, char expression[MLXN_SC_EXPRESSION]);
mlxn_sc_result mlxn_sc_string(mlxn_schema *s, json_t *flat, char expression[MLXN_SC_EXPRESSION]);
mlxn_sc_result mlxn_sc_number(mlxn_schema *s, json_t *flat, bool integer, char expression[MLXN_SC_EXPRESSION]);
/* Any of the values. `flat` has const or enum. */
mlxn_sc_result mlxn_sc_values(mlxn_schema *s, json_t *flat, char expression[MLXN_SC_EXPRESSION]);
/* anyOf or oneOf: `keyword`. */
mlxn_sc_result mlxn_sc_union(mlxn_schema *s, json_t *flat, const char *keyword, char expression[MLXN_SC_EXPRESSION]);

/* Equal as JSON schemas have it: 1 is 1.0. */
bool mlxn_sc_same_value(const json_t *a, const json_t *b);
/* A JSON string's text between its quotes, as one spells it with the fewest escapes. */
void mlxn_sc_put_json_text(mlxn_sc_text *text, const char *bytes, size_t n);
/* A number as JSON, shortest. */
void mlxn_sc_put_json_number(mlxn_sc_text *text, const json_t *number);
/* schema_pattern.c: the expression for strings, without quotes, that a regular expression finds itself in; *least and
 * *most are the numbers of characters that they may have (UINT64_MAX: no end). */
mlxn_sc_result mlxn_sc_pattern(mlxn_schema *s, const char *pattern, mlxn_sc_text *out, uint64_t *least,
                               uint64_t *most);
/* schema_key.c: a rule for a string, with its quotes, that is none of the n names. */
mlxn_sc_result mlxn_sc_other_key(mlxn_schema *s, const char *const *names, size_t n,
                                 char expression[MLXN_SC_EXPRESSION]);

#endif
