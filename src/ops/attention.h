/* attention.h: what the definition of attention and its cases share: arguments, and which keys a row sees. */
#ifndef MLXN_SRC_OPS_ATTENTION_H
#define MLXN_SRC_OPS_ATTENTION_H

#include "ops/kv_rows.h"

enum {
    MLXN_ATT_Q,
    MLXN_ATT_K_CACHE,
    MLXN_ATT_V_CACHE,
    MLXN_ATT_SEQUENCES,
    MLXN_ATT_POSITIONS,
    MLXN_ATT_SINKS,
    MLXN_ATT_MASK,
    MLXN_ATT_OUT
};

/* Positions [first, end) that a row at `position` sees before the mask argument. */
typedef struct mlxn_att_range {
    uint64_t first, end;
} mlxn_att_range;
mlxn_att_range mlxn_att_sees(const mlxn_view *args, const mlxn_attention_params *p, uint64_t position);

bool mlxn_case_attention(uint32_t i, mlxn_case *out);

#endif
