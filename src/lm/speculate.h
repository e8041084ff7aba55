/* speculate.h: several tokens in one pass. What probably comes next is guessed (by a smaller model, or from what the
 * text repeats), decoded together with the token that is certain, and kept as far as sampling agrees. Every row of a
 * pass has the bits that it has alone, so the text is the same as without, whatever the sampler. */
#ifndef MLXN_LM_SPECULATE_H
#define MLXN_LM_SPECULATE_H

#include "lm/lm_internal.h"

enum { MLXN_LM_MOST_DRAFTED = 32 };

typedef struct mlxn_lm_speculator {
    mlxn_context *c, *draft; /* of sequence 0; draft may be NULL */
    uint32_t most;           /* tokens guessed at a time, at most MLXN_LM_MOST_DRAFTED; 0: none */
    bool lookup;
    uint32_t wanted;                          /* how many to guess next */
    mlxn_token guessed[MLXN_LM_MOST_DRAFTED]; /* rows of the last pass behind its first */
    uint32_t n_guessed, n_kept, base;         /* of them; agreed with so far; tokens before the pass */
    const float *logits;                      /* of the last pass */
    mlxn_token *text;                         /* what the sequence holds, and the next token */
    uint64_t drafted, accepted;
} mlxn_lm_speculator;

/* Errors: ARGUMENT (draft and target do not share a vocabulary), MEMORY. mlxn_lm_speculator_end in any case. */
mlxn_status mlxn_lm_speculator_begin(mlxn_lm_speculator *s, mlxn_context *c, const mlxn_generate_desc *desc,
                                     mlxn_error *error);
/* Logits of the position behind `token`, which follows what the sequence holds. Errors: those of decode. */
mlxn_status mlxn_lm_speculator_next(mlxn_lm_speculator *s, mlxn_token token, const float **logits, mlxn_error *error);
/* Tokens that the sequence holds, without guesses. */
uint32_t mlxn_lm_speculator_length(const mlxn_lm_speculator *s);
/* The sequence forgets guesses. Errors: ARGUMENT is impossible by the size of rings. */
void mlxn_lm_speculator_end(mlxn_lm_speculator *s);

#endif
