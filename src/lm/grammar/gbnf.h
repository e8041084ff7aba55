/* gbnf.h: what the two files of the parser share: the place in the text, and the nodes that are being put together.
 */
#ifndef MLXN_LM_GRAMMAR_GBNF_H
#define MLXN_LM_GRAMMAR_GBNF_H

#include "lm/grammar/grammar.h"

typedef struct mlxn_gb_parser {
    mlxn_gr_tree *tree;
    uint32_t at, nesting;
    MLXN_GR_ARRAY(uint32_t) pending; /* nodes of the sequences and alternatives that are being read */
    uint32_t *names;                 /* open addressing: rule + 1 */
    uint32_t names_mask;
    mlxn_error *error;
} mlxn_gb_parser;

#define MLXN_GB_FAIL(p, where, ...) mlxn_gr_fail((p)->tree, where, (p)->error, MLXN_ERR_FORMAT, __VA_ARGS__)
mlxn_status mlxn_gb_no_memory(const mlxn_gb_parser *p);
/* The byte `ahead` of the place, 0 at the end. */
static inline uint8_t mlxn_gb_peek(const mlxn_gb_parser *p, uint32_t ahead) {
    return p->at + ahead < p->tree->size ? (uint8_t)p->tree->text[p->at + ahead] : 0;
}

/* Blanks, line ends and comments. */
void mlxn_gb_skip_space(mlxn_gb_parser *p);
/* What the message about an unexpected character calls it. */
const char *mlxn_gb_shown(const mlxn_gb_parser *p, char out[16]);
mlxn_status mlxn_gb_add_node(mlxn_gb_parser *p, mlxn_gr_node node, uint32_t *out);
/* "text" and [class]: p->at is at the quote or the bracket. */
mlxn_status mlxn_gb_literal(mlxn_gb_parser *p, uint32_t *out);
mlxn_status mlxn_gb_class(mlxn_gb_parser *p, uint32_t *out);
/* A class of the ranges from `first` on; `start` is where it begins in the text. */
mlxn_status mlxn_gb_add_set(mlxn_gb_parser *p, uint32_t start, uint32_t first, bool negated, uint32_t *out);

#endif
