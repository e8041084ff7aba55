/* gates.h: the environment variables that change behaviour, each read at the place and time that its row states. */
#ifndef MLXN_SRC_GATES_H
#define MLXN_SRC_GATES_H

#include <mlxn/device.h>

typedef enum mlxn_gate {
    MLXN_GATE_ENCODER_SESSION,
    MLXN_GATE_NO_RESIDENCY,
    MLXN_GATE_AUTO_BARRIER,
    MLXN_GATE_FORCE_SERIAL,
    MLXN_GATE_UNRETAINED,
    MLXN_GATE_PROFILE_BARRIERS,
    MLXN_GATE_PROFILE_CB,
    MLXN_GATE_PROFILE_DISPATCH,
    MLXN_GATE_CAPTURE_PATH,
    MLXN_GATE_CAPTURE_ENABLED,
    MLXN_GATE_LOG_INIT,
    MLXN_GATE_LOG_RESIDENCY,
    MLXN_GATE_REORDER_DUMP,
    MLXN_GATE_TIMING,
    MLXN_GATE_GRAPH_DIAG,
    MLXN_GATE_TENSOR_PROBE,
    MLXN_GATE_NO_TENSOR_MM_ID,
    MLXN_GATE_MM_ID_THRESHOLD,
    MLXN_GATE_TQ_WORKGROUPS,
    MLXN_GATE_COUNT
} mlxn_gate;

/* Flags and switches. Those read once are cached at the first call, the others are read anew. */
bool mlxn_gate_on(mlxn_gate gate);
/* Integers: the value, or the default where unset, no number or out of range. */
int64_t mlxn_gate_integer(mlxn_gate gate);
/* Texts: NULL if unset or empty. */
const char *mlxn_gate_text(mlxn_gate gate);
/* For tests: what was cached is read again. */
void mlxn_gates_forget(void);

#endif
