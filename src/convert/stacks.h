/* stacks.h: experts' matrices that lie in tensors of their own, as one tensor. */
#ifndef MLXN_SRC_CONVERT_STACKS_H
#define MLXN_SRC_CONVERT_STACKS_H

#include "convert/source.h"

typedef struct mlxn_cv_stacks {
    mlxn_cv_source *source;
    const char *path; /* before messages */
    uint64_t experts; /* of every stack */
    uint64_t last;    /* the stack that was found last; 0 to begin with */
} mlxn_cv_stacks;

/* The number that stands for %u in the pattern (which may be NULL); -1: `name` is none of it. */
int64_t mlxn_cv_expert_of(const char *pattern, const char *name);
/* `t`, a matrix of one expert and one of the source's tensors, becomes a part of the stack `name`, which stands where
 * the first of its tensors was; the others lose their names. Errors: FORMAT (no matrix; not like the first; a number
 * that is too large or there already), MEMORY. */
mlxn_status mlxn_cv_stacks_add(mlxn_cv_stacks *stacks, mlxn_cv_tensor *t, const char *name, uint64_t expert,
                               mlxn_error *error);
/* Drops what has no name any more; every stack is whole, or NOT_FOUND. */
mlxn_status mlxn_cv_stacks_close(mlxn_cv_stacks *stacks, mlxn_error *error);

#endif
