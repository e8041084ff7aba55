/* profile.h: what listens to command buffers: shared by the profiler, the process's tables and capture scopes. */
#ifndef MLXN_SRC_PROFILE_H
#define MLXN_SRC_PROFILE_H

#include "core/core.h"

/* A bounded set of strings that stay where they are until it is freed. */
typedef struct mlxn_names {
    char **slots; /* open-addressed */
    uint32_t count, most;
} mlxn_names;
/* NULL when there are too many or memory is short. `text` NULL counts as "". */
const char *mlxn_names_get(mlxn_names *names, const char *text);
void mlxn_names_free(mlxn_names *names);

enum { MLXN_PROFILE_ROWS = 512 };
/* Rows by two pointers of names: equal names have one pointer. */
typedef struct mlxn_row_table {
    mlxn_profile_row rows[MLXN_PROFILE_ROWS];
    uint16_t slots[2 * MLXN_PROFILE_ROWS]; /* row + 1 */
    uint32_t count;
} mlxn_row_table;
/* NULL when the table is full. */
mlxn_profile_row *mlxn_row_find(mlxn_row_table *table, const char *a, const char *b);
void mlxn_row_add(mlxn_profile_row *row, const mlxn_profile_event *event);
void mlxn_rows_clear(mlxn_row_table *table);

struct mlxn_profiler {
    _Atomic uint32_t refs; /* the caller's, and one of every command buffer that it measures */
    mlxn_device *device;
    pthread_mutex_t lock; /* all below */
    mlxn_profile_event *events;
    uint64_t n_events, max_events;
    mlxn_profiler_stats stats;
    mlxn_names names;
    mlxn_row_table by_kernel, by_label;
    char *path; /* of a capture that has ended: the last command buffer writes the trace */
};

/* What goes into the tables of the process; a bit set means that the gate is on. */
enum { MLXN_LISTEN_CB = 1u, MLXN_LISTEN_DISPATCH = 2u, MLXN_LISTEN_PROFILER = 4u, MLXN_LISTEN_UNKNOWN = 1u << 31 };
/* The bits, plus MLXN_LISTEN_PROFILER for each profiler that listens; UNKNOWN: the gates are still to be read. */
extern _Atomic uint32_t mlxn_profile_listening;
uint32_t mlxn_profile_gates(void);
/* For tests: the gates are read again. */
void mlxn_profile_forget_gates(void);

/* Before submission: readies cb->samples if anybody listens. */
void mlxn_profile_attach(mlxn_command_buffer *cb);
static inline void mlxn_profile_begin(mlxn_command_buffer *cb) {
    if (atomic_load_explicit(&mlxn_profile_listening, memory_order_relaxed)) mlxn_profile_attach(cb);
}
/* After execution, before the nodes are let go: hands the samples on. */
void mlxn_profile_collect(mlxn_command_buffer *cb);
/* It was not submitted after all. */
void mlxn_profile_detach(mlxn_command_buffer *cb);

/* Ends what a capture measured: writes now, or when nothing is in flight any more. Takes `path` (mlxn_alloc). */
mlxn_status mlxn_profiler_finish_to(mlxn_profiler *profiler, char *path, mlxn_error *error);

/* capture.c. The capture of the environment, begun; NULL if there is none or it cannot begin (then the log says why).
 */
mlxn_capture *mlxn_capture_begin_from_env(mlxn_device *device);
/* For tests: the process has its turn again. */
void mlxn_capture_reset_latch(void);

#endif
