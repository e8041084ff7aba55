/* grammar.h: what the files of constrained generation share.
 *
 * A grammar text becomes a tree (gbnf.c), is checked (check.c) and compiled (compile.c) to a network of states over
 * bytes in which one rule calls another. The automaton (automaton.h) runs that network. A compiled grammar never
 * changes, so any number of automatons on any threads may use it. */
#ifndef MLXN_LM_GRAMMAR_H
#define MLXN_LM_GRAMMAR_H

#include <mlxn/grammar.h>
#include <mlxn/io.h>
#include <stdatomic.h>

#include "base/base.h"

/* Limits that keep time and memory bounded, whatever the text is. */
enum {
    MLXN_GR_MAX_TEXT = 8 << 20,   /* bytes of a grammar */
    MLXN_GR_MAX_RULES = 1 << 16,  /* rules */
    MLXN_GR_MAX_NESTING = 200,    /* groups within groups */
    MLXN_GR_MAX_POSTFIX = 8,      /* repetitions of one element, as in a?+* */
    MLXN_GR_MAX_REPEAT = 65535,   /* the largest number in {m,n} */
    MLXN_GR_MAX_STATES = 1 << 20, /* states of the network, */
    MLXN_GR_MAX_ARCS = 4 << 20,   /* and arcs between them */
    MLXN_GR_MAX_STEPS = 16 << 20, /* steps of the checks and of the compiler */
    MLXN_GR_INLINE_STATES = 64, /* a rule without calls and loops that is no larger is copied to where it is used, */
    MLXN_GR_INLINE_DEPTH = 8    /* and such rules may name each other so deep */
};

/* Makes room for one more element behind `count`; false: no memory. */
bool mlxn_gr_grow(void *array, uint32_t *capacity, uint32_t count, size_t element);
#define MLXN_GR_ROOM(a) mlxn_gr_grow(&(a).data, &(a).capacity, (a).count, sizeof *(a).data)
#define MLXN_GR_ARRAY(type)       \
    struct {                      \
        type *data;               \
        uint32_t count, capacity; \
    }

/* ---- the tree ---- */

typedef enum mlxn_gr_kind {
    MLXN_GR_EMPTY,
    MLXN_GR_TEXT,  /* codes[first .. first + count) */
    MLXN_GR_SET,   /* one character of ranges[first .. first + count), which are sorted and apart */
    MLXN_GR_REF,   /* rule `first` */
    MLXN_GR_SEQ,   /* kids[first .. first + count) one after the other */
    MLXN_GR_ALT,   /* any of kids[first .. first + count) */
    MLXN_GR_REPEAT /* node `first`, `min` to `max` times */
} mlxn_gr_kind;
#define MLXN_GR_UNBOUNDED UINT32_MAX

typedef struct mlxn_gr_node {
    mlxn_gr_kind kind;
    uint32_t first, count;
    uint32_t min, max;
} mlxn_gr_node;

typedef struct mlxn_gr_range {
    uint32_t low, high; /* code points, both included */
} mlxn_gr_range;

typedef struct mlxn_gr_rule {
    mlxn_string name;           /* in the text */
    uint32_t body;              /* a node; UINT32_MAX: not defined */
    uint32_t at;                /* where it is defined, or first used: a byte of the text */
    uint32_t first_ref, n_refs; /* the rules that it names: refs[first_ref .. first_ref + n_refs) */
    bool reachable, nullable, productive, inlined;
} mlxn_gr_rule;

typedef struct mlxn_gr_tree {
    const char *text; /* the caller's, valid while the tree is */
    uint32_t size;
    MLXN_GR_ARRAY(mlxn_gr_node) nodes;
    MLXN_GR_ARRAY(mlxn_gr_rule) rules;
    MLXN_GR_ARRAY(mlxn_gr_range) ranges;
    MLXN_GR_ARRAY(uint32_t) kids;
    MLXN_GR_ARRAY(uint32_t) codes;
    MLXN_GR_ARRAY(uint32_t) refs;
    MLXN_GR_ARRAY(uint32_t) order; /* check: reachable rules, callees that come first in a caller before it */
    uint32_t root;
    uint64_t steps; /* of MLXN_GR_MAX_STEPS */
} mlxn_gr_tree;

/* gbnf.c. The text need not end with a zero. Errors: FORMAT ("grammar line 3, column 5: …"), LIMIT, MEMORY. */
mlxn_status mlxn_gr_parse(const char *text, size_t bytes, mlxn_gr_tree *tree, mlxn_error *error);
void mlxn_gr_tree_free(mlxn_gr_tree *tree);
/* "grammar line 3, column 5: …" for byte `at`. */
mlxn_status mlxn_gr_fail(const mlxn_gr_tree *tree, uint32_t at, mlxn_error *error, mlxn_status status,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Sorts and joins ranges[first..], takes surrogates out, and the complement if `negated`. false: no memory. */
bool mlxn_gr_set_finish(mlxn_gr_tree *tree, uint32_t first, bool negated);

/* check.c: marks rules, finds those that can never end, that begin with themselves, or that are not defined. */
mlxn_status mlxn_gr_check(mlxn_gr_tree *tree, mlxn_error *error);

/* ---- the network ---- */

typedef enum mlxn_gr_op {
    MLXN_GR_RETURN, /* the rule is complete */
    MLXN_GR_BYTES,  /* arcs[first .. first + count) */
    MLXN_GR_BRANCH, /* goes on at any of outs[first .. first + count) */
    MLXN_GR_CALL    /* rule `count`, and then state `first` */
} mlxn_gr_op;

typedef struct mlxn_gr_state {
    uint32_t op : 2, first : 30;
    uint32_t count;
} mlxn_gr_state;

typedef struct mlxn_gr_arc {
    uint8_t low, high;
    uint32_t to;
} mlxn_gr_arc;

typedef struct mlxn_gr_call {
    uint32_t entry; /* state; UINT32_MAX: the rule was copied to where it is used, or cannot be reached */
    uint32_t rank;  /* a rule that another one begins with has the higher rank */
    bool nullable;
} mlxn_gr_call;

struct mlxn_grammar {
    atomic_uint references;
    MLXN_GR_ARRAY(mlxn_gr_state) states; /* state 0 returns */
    MLXN_GR_ARRAY(mlxn_gr_arc) arcs;
    MLXN_GR_ARRAY(uint32_t) outs;
    mlxn_gr_call *rules;
    uint32_t n_rules, root;
    uint8_t byte_class[256]; /* bytes that no state tells apart have the same class */
    uint8_t class_byte[256]; /* one byte of each class */
    uint32_t n_classes;
};

/* compile.c. Errors: LIMIT, MEMORY. */
mlxn_status mlxn_gr_compile(mlxn_gr_tree *tree, mlxn_grammar *out, mlxn_error *error);

/* grammar.c: all of the above. `what` begins the messages: "grammar", "JSON schema". */
mlxn_status mlxn_gr_create(const char *text, size_t bytes, mlxn_grammar **out, mlxn_error *error);

#endif
