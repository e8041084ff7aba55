/* counters.c: the process-wide counters. */
#include "core/core.h"

mlxn_counter_cells mlxn_counter;

#define LOAD(cell) atomic_load_explicit(&(cell), memory_order_relaxed)
#define STORE(cell, v) atomic_store_explicit(&(cell), v, memory_order_relaxed)

void mlxn_counter_cells_read(const mlxn_counter_cells *cells, mlxn_counters *out) {
    *out = (mlxn_counters){
        .sync_count = LOAD(cells->sync),
        .dispatch_count = LOAD(cells->dispatch),
        .cmd_buf_count = LOAD(cells->cmd_buf),
        .barrier_count = LOAD(cells->barrier),
        .auto_barrier_count = LOAD(cells->auto_barrier),
        .auto_barrier_concurrent_count = LOAD(cells->auto_concurrent),
        .hazard_barrier_count = LOAD(cells->hazard),
        .graph_launch_count = LOAD(cells->launch),
        .barrier_total_ns = LOAD(cells->barrier_ns),
    };
}

void mlxn_counters_read(mlxn_counters *out) {
    if (out) mlxn_counter_cells_read(&mlxn_counter, out);
}

void mlxn_counters_reset(void) {
    STORE(mlxn_counter.sync, 0);
    STORE(mlxn_counter.dispatch, 0);
    STORE(mlxn_counter.cmd_buf, 0);
    STORE(mlxn_counter.barrier, 0);
    STORE(mlxn_counter.barrier_ns, 0);
    STORE(mlxn_counter.auto_barrier, 0);
    STORE(mlxn_counter.auto_concurrent, 0);
    STORE(mlxn_counter.hazard, 0);
    STORE(mlxn_counter.launch, 0);
}
