/* load.h: what finding a model's tensors (model_find.c) and loading them (model_tensors.c) share. */
#ifndef MLXN_LM_LOAD_H
#define MLXN_LM_LOAD_H

#include "lm/lm_internal.h"

typedef struct mlxn_lm_loader {
    mlxn_model *model;
    const mlxn_model_desc *desc;
    uint64_t done, total;                /* bytes of tensor data */
    uint64_t vector_bytes, weight_bytes; /* that the model takes of the device */
    uint64_t staging_bytes;              /* the most that one weight takes beside, while it is made */
    mlxn_error *error;
} mlxn_lm_loader;

typedef mlxn_status (*mlxn_lm_spec_fn)(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer);
/* Calls `each` for the specs of no layer (-1), then for those of every layer in turn, until one fails. */
mlxn_status mlxn_lm_walk(mlxn_lm_loader *ld, mlxn_lm_spec_fn each);

/* The tensor of a spec with rank, dims and format checked, and cut to the spec's rows. *found is false (and the
 * result OK) if it is absent and optional. Experts that lie in tensors of their own come out as a stack with `apart`
 * set, with the ranges of the first. */
mlxn_status mlxn_lm_find_tensor(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer,
                                mlxn_lm_tensor *out, bool *found);
/* One of these, with the same checks, and that its format is that of the first. */
mlxn_status mlxn_lm_find_expert(mlxn_lm_loader *ld, const mlxn_lm_tensor_spec *spec, int64_t layer, uint64_t expert,
                                const mlxn_lm_tensor *first, mlxn_lm_tensor *out);
/* Refuses a folder with a tensor in a layer that the architecture does not have: nothing is left out in silence. */
mlxn_status mlxn_lm_refuse_unused(mlxn_lm_loader *ld);

/* "<model>: [<file>: ]tensor "<name>": <text>" */
mlxn_status mlxn_lm_tensor_fail(mlxn_lm_loader *ld, mlxn_status status, const mlxn_lm_tensor *t, const char *format,
                                ...) __attribute__((format(printf, 4, 5)));
/* Puts all of that but the text before the message. */
void mlxn_lm_tensor_prefix(mlxn_lm_loader *ld, const mlxn_lm_tensor *t);

#endif
