/* gates.c: the table of environment variables under the names of the system that mlxn matches.
 *
 * A flag is on when it is exactly "1". A switch is on when it is set, also to nothing, but not to 0, false or off in
 * any case of letters: "NAME=0" must mean off everywhere. */
#include "core/gates.h"

#include <errno.h>
#include <stdatomic.h>
#include <strings.h>

#include "base/base.h"

typedef enum gate_kind { FLAG, SWITCH, INTEGER, TEXT } gate_kind;

typedef struct gate_row {
    const char *name;
    gate_kind kind;
    bool once; /* cached at the first query */
    int64_t fallback, least, most;
    const char *meaning;
} gate_row;

static const gate_row rows[MLXN_GATE_COUNT] = {
    [MLXN_GATE_ENCODER_SESSION] = {"HF2Q_ENCODER_SESSION", FLAG, true, 0, 0, 0,
                                   "1: mlxn_device_encoder_session gives sessions and the session tests run"},
    [MLXN_GATE_NO_RESIDENCY] = {"HF2Q_NO_RESIDENCY", FLAG, true, 0, 0, 0, "1: devices have no residency set"},
    [MLXN_GATE_AUTO_BARRIER] = {"HF2Q_AUTO_BARRIER", FLAG, true, 0, 0, 0,
                                "1: tracked dispatches (mlxn_encode_tracked) count barriers placed and not placed"},
    [MLXN_GATE_FORCE_SERIAL] = {"HF2Q_FORCE_SERIAL_DISPATCH", FLAG, false, 0, 0, 0,
                                "1: no two operations of a command buffer overlap"},
    [MLXN_GATE_UNRETAINED] = {"MLX_UNRETAINED_REFS", FLAG, true, 0, 0, 0,
                              "1: command buffers hold no buffers; freeing waits for the work in flight instead"},
    [MLXN_GATE_PROFILE_BARRIERS] = {"MLX_PROFILE_BARRIERS", FLAG, true, 0, 0, 0,
                                    "1: the time of explicit barrier calls is counted (barrier_total_ns)"},
    [MLXN_GATE_PROFILE_CB] = {"MLX_PROFILE_CB", SWITCH, true, 0, 0, 0,
                              "set: times of labelled command buffers are kept by label (mlxn_profile_cb_row)"},
    [MLXN_GATE_PROFILE_DISPATCH] = {"MLX_PROFILE_DISPATCH", SWITCH, true, 0, 0, 0,
                                    "set: times of single operations are kept (mlxn_profile_dispatch_row)"},
    [MLXN_GATE_CAPTURE_PATH] = {"MLX_METAL_CAPTURE", TEXT, false, 0, 0, 0,
                                "a path: the first graph session of the process writes its trace there"},
    [MLXN_GATE_CAPTURE_ENABLED] = {"METAL_CAPTURE_ENABLED", FLAG, false, 0, 0, 0,
                                   "1: permits the trace of MLX_METAL_CAPTURE"},
    [MLXN_GATE_LOG_INIT] = {"MLX_NATIVE_LOG_INIT", FLAG, false, 0, 0, 0,
                            "1: creating a device logs a line about residency"},
    [MLXN_GATE_LOG_RESIDENCY] = {"HF2Q_PROFILE_RESIDENCY_ABORT", SWITCH, false, 0, 0, 0,
                                 "set: pools log each registration"},
    [MLXN_GATE_REORDER_DUMP] = {"HF2Q_REORDER_DUMP", SWITCH, false, 0, 0, 0, "set: each graph reorder logs a line"},
    [MLXN_GATE_TIMING] = {"HF2Q_MLX_TIMING", SWITCH, false, 0, 0, 0,
                          "set: an optimised finish logs why nodes could not be moved"},
    [MLXN_GATE_GRAPH_DIAG] = {"HF2Q_GRAPH_DIAG", SWITCH, false, 0, 0, 0,
                              "set: an optimised finish logs the time of its phases"},
    [MLXN_GATE_TENSOR_PROBE] = {"MLX_LOG_TENSOR_PROBE", SWITCH, false, 0, 0, 0,
                                "set: creating a device logs which matrix instructions it has"},
    [MLXN_GATE_NO_TENSOR_MM_ID] =
        {"HF2Q_DISABLE_TENSOR_MM_ID", SWITCH, true, 0, 0, 0,
         "set: no matrix instructions in expert matmul; the CPU has none there, set or not"},
    [MLXN_GATE_MM_ID_THRESHOLD] =
        {"HF2Q_MM_ID_ROUTING_THRESHOLD", INTEGER, true, 8, 0, INT32_MAX,
         "rows from which expert matmul sorts them by matrix instead of taking each by itself"},
    [MLXN_GATE_TQ_WORKGROUPS] =
        {"HF2Q_TQ_NWG", INTEGER, true, 0, 1, 32,
         "parts in which attention over a TurboQuant cache is computed; unset: one per 256 keys"},
};

static _Atomic int cached[MLXN_GATE_COUNT];       /* 0: not read yet; else 1 + the value of a flag or switch */
static _Atomic int64_t integers[MLXN_GATE_COUNT]; /* of integers that are read once */

static bool means_off(const char *value) {
    return !strcmp(value, "0") || !strcasecmp(value, "false") || !strcasecmp(value, "off");
}

static bool read_on(const gate_row *row) {
    const char *value = getenv(row->name);
    if (!value) return false;
    return row->kind == FLAG ? !strcmp(value, "1") : !means_off(value);
}

static int64_t read_integer(const gate_row *row) {
    const char *value = getenv(row->name);
    if (!value || !*value) return row->fallback;
    char *end;
    errno = 0;
    long long n = strtoll(value, &end, 10);
    return errno || *end || n < row->least || n > row->most ? row->fallback : n;
}

bool mlxn_gate_on(mlxn_gate gate) {
    const gate_row *row = &rows[gate];
    if (!row->once) return read_on(row);
    int state = atomic_load_explicit(&cached[gate], memory_order_relaxed);
    if (!state) {
        state = 1 + read_on(row);
        atomic_store_explicit(&cached[gate], state, memory_order_relaxed);
    }
    return state == 2;
}

int64_t mlxn_gate_integer(mlxn_gate gate) {
    const gate_row *row = &rows[gate];
    if (!row->once) return read_integer(row);
    if (!atomic_load_explicit(&cached[gate], memory_order_acquire)) {
        atomic_store_explicit(&integers[gate], read_integer(row), memory_order_relaxed);
        atomic_store_explicit(&cached[gate], 1, memory_order_release);
    }
    return atomic_load_explicit(&integers[gate], memory_order_relaxed);
}

const char *mlxn_gate_text(mlxn_gate gate) {
    const char *value = getenv(rows[gate].name);
    return value && *value ? value : NULL;
}

void mlxn_gates_forget(void) {
    for (int i = 0; i < MLXN_GATE_COUNT; i++) atomic_store(&cached[i], 0);
}

bool mlxn_gate_list(uint32_t i, mlxn_gate_info *out) {
    if (i >= MLXN_GATE_COUNT) return false;
    const gate_row *row = &rows[i];
    if (!out) return true;
    *out = (mlxn_gate_info){.name = row->name, .value = getenv(row->name), .meaning = row->meaning};
    switch (row->kind) {
        case FLAG:
        case SWITCH:
            out->on = mlxn_gate_on((mlxn_gate)i);
            break;
        case INTEGER:
            out->on = mlxn_gate_integer((mlxn_gate)i) != row->fallback;
            break;
        case TEXT:
            out->on = mlxn_gate_text((mlxn_gate)i) != NULL;
            break;
    }
    return true;
}
