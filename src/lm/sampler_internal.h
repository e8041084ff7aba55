/* sampler_internal.h: what the files of the sampler share: its state, candidates and their order. */
#ifndef MLXN_SRC_LM_SAMPLER_INTERNAL_H
#define MLXN_SRC_LM_SAMPLER_INTERNAL_H

#include <mlxn/grammar.h>

#include "base/base.h"
#include "lm/lm_internal.h"

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

struct mlxn_sampler {
    mlxn_sampler_desc desc; /* windows of 0 are replaced by what they stand for */
    uint32_t n_vocab;
    uint64_t draws;
    mlxn_token *recent; /* ring of n_ring tokens */
    uint64_t n_ring, n_recent;
    float *penalized;            /* [n_vocab], only if something changes logits */
    uint8_t *breaks;             /* [n_vocab], only with DRY: 1 for tokens that end a repetition */
    uint32_t *dry;               /* [2 x dry_window]: the reversed context, and lengths of matches */
    candidate *found;            /* [n_vocab] */
    double *weights;             /* [n_vocab] */
    double mirostat_mu;          /* the surprise that mirostat allows, in bits */
    mlxn_constraint *constraint; /* borrowed; NULL: none */
    bool no_end;                 /* with a constraint: end tokens are not allowed either */
    float *allowed;              /* [n_vocab], once there was a constraint: logits, NaN where it forbids */
    size_t n_kept;               /* of the last draw: the first n_kept of `found` with their weights */
    double total;                /* and the sum of these; n_kept == 0: `last` was certain */
    mlxn_token last;
};

/* sampler.c */
static inline bool mlxn_candidate_is_better(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}
/* Best first, in place. */
void mlxn_candidates_sort(candidate *items, size_t n);
/* The k best of all logits, best first, into s->found; returns how many there are (fewer when logits are NaN). */
size_t mlxn_sampler_select(mlxn_sampler *s, const float *logits, size_t k);
/* Draws from the first n of s->found by softmax at the sampler's temperature; returns the place. */
size_t mlxn_sampler_draw(mlxn_sampler *s, size_t n, float max);
/* The next uniform number in [0, 1). */
double mlxn_sampler_uniform(mlxn_sampler *s);

/* grammar/constraint.c: the logits with NaN for what the constraint forbids; NULL if it allows nothing or fails. */
const float *mlxn_sampler_constrain(mlxn_sampler *s, const float *logits);

/* sampler_penalty.c */
/* Checks the options and allocates; what was allocated belongs to the sampler. */
mlxn_status mlxn_sampler_penalty_init(mlxn_sampler *s, mlxn_error *error);
/* The logits with all penalties, or `logits` itself if there is none. */
const float *mlxn_sampler_penalize(mlxn_sampler *s, const float *logits);

/* sampler_filter.c: each leaves `n` or fewer of the candidates, sorted best first, and never none. */
size_t mlxn_sampler_typical(mlxn_sampler *s, size_t n);
size_t mlxn_sampler_xtc(mlxn_sampler *s, size_t n);
/* The place of the drawn token in s->found. */
size_t mlxn_sampler_mirostat(mlxn_sampler *s, const float *logits);

#endif
