/* stacks.c: experts' matrices that lie in tensors of their own, as one tensor: see stacks.h. */
#include "convert/stacks.h"

#include <inttypes.h>

int64_t mlxn_cv_expert_of(const char *pattern, const char *name) {
    const char *number = pattern ? strstr(pattern, "%u") : NULL;
    if (!number || strncmp(pattern, name, (size_t)(number - pattern)) != 0) return -1;
    const char *digits = name + (number - pattern);
    size_t n = strspn(digits, "0123456789");
    return n && n < 7 && !strcmp(number + 2, digits + n) ? (int64_t)strtoll(digits, NULL, 10) : -1;
}

static mlxn_status begin(mlxn_cv_stacks *s, mlxn_cv_tensor *t, const char *name, uint64_t expert, mlxn_error *error) {
    char *copy = mlxn_strdup(name);
    t->parts = mlxn_alloc_array((size_t)s->experts, sizeof *t->parts);
    if (!copy || !t->parts) {
        mlxn_free(copy);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for experts", s->path);
    }
    mlxn_free(t->name);
    t->name = copy;
    t->part_rows = t->rows;
    t->rank = 3;
    t->dims[2] = t->cols;
    t->dims[1] = t->rows;
    t->dims[0] = s->experts;
    t->parts[expert] = (mlxn_cv_part){t->data, t->index};
    if (!mlxn_mul_u64(t->rows, s->experts, &t->rows) || !mlxn_mul_u64(t->bytes, s->experts, &t->bytes))
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%s\": does not fit 64 bits", s->path, name);
    s->last = (uint64_t)(t - s->source->tensors);
    return MLXN_OK;
}

mlxn_status mlxn_cv_stacks_add(mlxn_cv_stacks *s, mlxn_cv_tensor *t, const char *name, uint64_t expert,
                               mlxn_error *error) {
    mlxn_cv_tensor *stack = NULL;
    if (expert >= s->experts || s->experts > s->source->n || t->rank != 2 || t->parts)
        return mlxn_fail(error, MLXN_ERR_FORMAT,
                         "%s: tensor \"%.100s\": is of rank %u and expert %" PRIu64
                         ", want a matrix of one of %" PRIu64,
                         s->path, t->name, t->rank, expert, s->experts);
    for (uint64_t i = 0; i < s->source->n && !stack; i++) { /* the one of before, mostly */
        mlxn_cv_tensor *at = &s->source->tensors[(s->last + i) % s->source->n];
        if (at->parts && at->name && !strcmp(at->name, name)) stack = at;
    }
    if (!stack) return begin(s, t, name, expert, error);
    if (stack->format != t->format || stack->part_rows != t->rows || stack->cols != t->cols ||
        stack->parts[expert].data)
        return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%.100s\": is not like that of the first expert",
                         s->path, t->name);
    stack->parts[expert] = (mlxn_cv_part){t->data, t->index};
    s->last = (uint64_t)(stack - s->source->tensors);
    mlxn_free(t->name);
    t->name = NULL;
    return MLXN_OK;
}

mlxn_status mlxn_cv_stacks_close(mlxn_cv_stacks *s, mlxn_error *error) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < s->source->n; i++) {
        mlxn_cv_tensor t = s->source->tensors[i];
        if (!t.name) continue;
        for (uint64_t e = 0; t.parts && e < t.dims[0]; e++)
            if (!t.parts[e].data)
                return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "%s: tensor \"%.100s\": expert %" PRIu64 " is missing",
                                 s->path, t.name, e);
        s->source->tensors[i].name = NULL; /* it moves */
        s->source->tensors[i].parts = NULL;
        s->source->tensors[n++] = t;
    }
    s->source->n = n;
    return MLXN_OK;
}
