/* counters.c: the process-wide counters and the residency gate with its counters. */
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

/* Residency. The set is a hint that this system's host memory does not need; the calls, counters and flags behave as
 * on one that does. Counters count calls: an add counts at once, also a second one of the same buffer. */
static _Atomic uint64_t residency_allocations, residency_commits, residency_waiting;
static _Atomic bool residency_staged;

void mlxn_residency_stage(bool add) {
    if (add) {
        atomic_fetch_add_explicit(&residency_allocations, 1, memory_order_relaxed);
    } else {
        uint64_t now = LOAD(residency_allocations);
        while (now && !atomic_compare_exchange_weak_explicit(&residency_allocations, &now, now - 1,
                                                             memory_order_relaxed, memory_order_relaxed)) {
        }
    }
    atomic_store_explicit(&residency_staged, true, memory_order_relaxed);
}

void mlxn_residency_flush(void) {
    if (atomic_exchange_explicit(&residency_staged, false, memory_order_relaxed))
        atomic_fetch_add_explicit(&residency_commits, 1, memory_order_relaxed);
}

void mlxn_residency_pending(int delta) {
    atomic_fetch_add_explicit(&residency_waiting, (uint64_t)(int64_t)delta, memory_order_relaxed);
}

uint64_t mlxn_residency_allocation_count(void) { return LOAD(residency_allocations); }
uint64_t mlxn_residency_commit_count(void) { return LOAD(residency_commits); }
uint64_t mlxn_residency_pending_count(void) { return LOAD(residency_waiting); }
void mlxn_residency_reset_counters(void) {
    STORE(residency_allocations, 0);
    STORE(residency_commits, 0);
}
