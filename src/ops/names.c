/* names.c: the public lookups of operations by name and number. */
#include <string.h>

#include "ops/op.h"

mlxn_op mlxn_op_find(const char *name) {
    for (uint32_t op = 0; name && op < MLXN_OP_COUNT; op++)
        if (!strcmp(mlxn_op_get(op)->name, name)) return op;
    return UINT32_MAX;
}

uint32_t mlxn_op_count(void) { return MLXN_OP_COUNT; }

const char *mlxn_op_name(mlxn_op op) { return op < MLXN_OP_COUNT ? mlxn_op_get(op)->name : NULL; }
