/* user_kernel.c: kernels of the user's own on the CPU: a C function, called once for each group.
 *
 * Groups are numbered x first. A chunk is a run of them: as many chunks as keep the threads evenly busy and no more,
 * so that a launch of many tiny groups does not pay for a handover each. Which thread runs a group changes nothing
 * but the address of its memory. */
#include "backend/cpu/device.h"
#include "core/core.h"
#include "core/kernel.h"

enum { CHUNKS_PER_THREAD = 8 };

mlxn_status cpu_kernel_prepare(void *impl, const mlxn_kernel *kernel, const void *cached, uint64_t cached_bytes,
                               void **prepared, void **blob, uint64_t *blob_bytes, mlxn_error *error) {
    if (!kernel->fn)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "kernel \"%s\": it has source text alone, which the %s backend does not compile: register a "
                         "C function",
                         kernel->label, kernel->device->backend->name);
    *prepared = (void *)kernel; /* nothing to prepare: the launch calls its function */
    return MLXN_OK;
}

void cpu_kernel_release(void *impl, void *prepared) {}

static uint64_t group_count(const mlxn_kernel_launch *launch) {
    return launch->groups[0] * launch->groups[1] * launch->groups[2]; /* core has checked the product */
}

static uint64_t groups_per_chunk(uint64_t groups, uint32_t n_threads) {
    uint64_t chunks = n_threads > 1 ? (uint64_t)n_threads * CHUNKS_PER_THREAD : 1;
    return groups <= chunks ? 1 : (groups - 1) / chunks + 1;
}

void cpu_user_kernel_plan(const mlxn_kernel_launch *launch, uint32_t n_threads, cpu_plan *out) {
    uint64_t groups = group_count(launch), each = groups_per_chunk(groups, n_threads);
    *out = (cpu_plan){.phases = 1, .chunks = {(groups - 1) / each + 1}, .local_bytes = launch->group_memory};
}

static void run_group(const mlxn_kernel_launch *launch, mlxn_kernel_group *group) {
    for (int i = 0; i < 3; i++) {
        group->begin[i] = group->group[i] * launch->group[i];
        group->end[i] = mlxn_min_u64(group->begin[i] + launch->group[i], launch->threads[i]);
    }
    launch->kernel->fn(group);
}

void cpu_user_kernel_run(cpu_run *run) {
    uint64_t chunk;
    if (!cpu_next(run, &chunk)) return;
    const mlxn_kernel_launch *launch = run->params;
    const mlxn_kernel *kernel = launch->kernel;
    void *slots[MLXN_MAX_SLOTS] = {0};
    uint64_t slot_bytes[MLXN_MAX_SLOTS] = {0};
    mlxn_kernel_group group = {
        .slots = slots,
        .slot_bytes = slot_bytes,
        .group_memory = launch->group_memory ? run->local : NULL,
        .group_memory_bytes = launch->group_memory,
        .constants = kernel->constants,
        .n_constants = kernel->n_constants,
        .user = kernel->user,
    };
    for (uint32_t i = 0; i < launch->n_bindings; i++) {
        const mlxn_kernel_binding *b = &launch->bindings[i];
        slots[b->slot] = b->address;
        slot_bytes[b->slot] = b->bytes;
        if (b->slot >= group.n_slots) group.n_slots = b->slot + 1;
    }
    for (int i = 0; i < 3; i++) {
        group.threads[i] = launch->threads[i];
        group.group_size[i] = launch->group[i];
    }
    uint64_t groups = group_count(launch), each = groups_per_chunk(groups, run->n_threads);
    do {
        uint64_t at = chunk * each, last = mlxn_min_u64(at + each, groups);
        group.group[0] = at % launch->groups[0];
        group.group[1] = at / launch->groups[0] % launch->groups[1];
        group.group[2] = at / launch->groups[0] / launch->groups[1];
        for (; at < last; at++) {
            run_group(launch, &group);
            if (++group.group[0] < launch->groups[0]) continue;
            group.group[0] = 0;
            if (++group.group[1] < launch->groups[1]) continue;
            group.group[1] = 0;
            group.group[2]++;
        }
    } while (cpu_next(run, &chunk));
}
