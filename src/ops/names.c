/* names.c: the public lookups of operations by name and number, their argument tables, other names, and the libraries
 * that their references were compared with. */
#include <string.h>

#include "ops/op.h"

mlxn_op mlxn_op_find(const char *name) {
    for (uint32_t op = 0; name && op < MLXN_OP_COUNT; op++)
        if (!strcmp(mlxn_op_get(op)->name, name)) return op;
    return UINT32_MAX;
}

uint32_t mlxn_op_count(void) { return MLXN_OP_COUNT; }

const char *mlxn_op_name(mlxn_op op) { return op < MLXN_OP_COUNT ? mlxn_op_get(op)->name : NULL; }

bool mlxn_op_arg(mlxn_op op, uint32_t i, mlxn_op_arg_info *out) {
    if (op >= MLXN_OP_COUNT || i >= mlxn_op_get(op)->n_args || !out) return false;
    const mlxn_arg_spec *spec = &mlxn_op_get(op)->args[i];
    *out = (mlxn_op_arg_info){.name = spec->name,
                              .input = spec->role & MLXN_ROLE_IN,
                              .output = spec->role & MLXN_ROLE_OUT,
                              .weight = spec->is_weight,
                              .optional = spec->optional,
                              .dtypes = spec->is_weight ? 0 : spec->dtypes,
                              .min_rank = spec->is_weight ? 0 : spec->min_rank,
                              .max_rank = spec->is_weight ? 0 : spec->max_rank};
    return true;
}

uint32_t mlxn_op_params_size(mlxn_op op) { return op < MLXN_OP_COUNT ? mlxn_op_get(op)->params_size : 0; }

bool mlxn_op_alias(uint32_t i, mlxn_op_alias_info *out) {
    static const mlxn_op_alias_info aliases[] = {
#define MLXN_ALIAS(name, op, how) {name, MLXN_OP_##op, how},
#include "ops/aliases.def"
#undef MLXN_ALIAS
    };
    if (i >= sizeof aliases / sizeof aliases[0] || !out) return false;
    *out = aliases[i];
    return true;
}

const char *mlxn_op_oracles(mlxn_op op) {
    static const char *const oracles[MLXN_OP_COUNT] = {
#define MLXN_ORACLES(op, libraries) [MLXN_OP_##op] = libraries,
#include "ops/oracles.def"
#undef MLXN_ORACLES
    };
    return op < MLXN_OP_COUNT ? oracles[op] : NULL;
}
