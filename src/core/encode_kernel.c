/* encode_kernel.c: recording a launch of a user's own kernel: slots, ranges, aliasing and grid are checked here, for
 * every backend. */
#include "core/core.h"
#include "core/kernel.h"

#define FAIL(...) return mlxn_fail(failure, MLXN_ERR_ARGUMENT, __VA_ARGS__)

/* ---- arguments ---- */

static mlxn_status check_memory(const mlxn_encoder *encoder, const mlxn_kernel *kernel, const mlxn_kernel_arg *arg,
                                mlxn_kernel_binding *out, mlxn_error *failure) {
    const char *label = kernel->label;
    const mlxn_buffer *buffer = arg->buffer;
    if (buffer->device != encoder->device)
        FAIL("kernel \"%s\": slot %u: the buffer belongs to another device", label, arg->slot);
    uint64_t end = buffer->size;
    if (arg->offset >= end || (arg->bytes && !mlxn_add_u64(arg->offset, arg->bytes, &end)) || end > buffer->size)
        FAIL("kernel \"%s\": slot %u: range is %llu + %llu bytes, buffer has %llu", label, arg->slot,
             (unsigned long long)arg->offset, (unsigned long long)arg->bytes, (unsigned long long)buffer->size);
    out->memory = (mlxn_binding){arg->buffer, arg->offset, end};
    out->address = buffer->host ? buffer->host + arg->offset : NULL;
    out->bytes = end - arg->offset;
    return MLXN_OK;
}

static mlxn_status check_inline(const mlxn_kernel *kernel, const mlxn_kernel_arg *arg, mlxn_kernel_binding *out,
                                mlxn_error *failure) {
    const char *label = kernel->label;
    if (!arg->inline_bytes || arg->inline_bytes > MLXN_MAX_INLINE)
        FAIL("kernel \"%s\": slot %u: got %u inline bytes, want 1 to %d", label, arg->slot, arg->inline_bytes,
             MLXN_MAX_INLINE);
    if (arg->role == MLXN_KERNEL_WRITE || arg->role == MLXN_KERNEL_READ_WRITE)
        FAIL("kernel \"%s\": slot %u: inline bytes cannot be written", label, arg->slot);
    out->role = MLXN_KERNEL_READ;
    out->bytes = arg->inline_bytes;
    return MLXN_OK;
}

static mlxn_status check_argument(const mlxn_encoder *encoder, const mlxn_kernel *kernel, const mlxn_kernel_arg *arg,
                                  mlxn_kernel_binding *out, uint32_t *taken, mlxn_error *failure) {
    const char *label = kernel->label;
    if (arg->slot >= MLXN_MAX_SLOTS)
        FAIL("kernel \"%s\": slot is %u, want below %d", label, arg->slot, MLXN_MAX_SLOTS);
    if (*taken & (1u << arg->slot)) FAIL("kernel \"%s\": slot %u is bound twice", label, arg->slot);
    *taken |= 1u << arg->slot;
    if ((unsigned)arg->role > MLXN_KERNEL_READ_WRITE)
        FAIL("kernel \"%s\": slot %u: role is %d, which is none", label, arg->slot, (int)arg->role);
    if (!arg->buffer == !arg->data)
        FAIL("kernel \"%s\": slot %u: got %s, want one of them", label, arg->slot,
             arg->buffer ? "a buffer and inline data" : "neither a buffer nor inline data");
    *out = (mlxn_kernel_binding){.slot = arg->slot, .role = arg->role};
    return arg->buffer ? check_memory(encoder, kernel, arg, out, failure) : check_inline(kernel, arg, out, failure);
}

/* Memory that is written overlaps no other argument: threads of one launch run in any order. */
static mlxn_status check_alias(const mlxn_kernel *kernel, const mlxn_kernel_binding *b, uint32_t n,
                               mlxn_error *failure) {
    for (uint32_t w = 0; w < n; w++) {
        if (!b[w].memory.buffer || !(b[w].role & MLXN_KERNEL_WRITE)) continue;
        for (uint32_t i = 0; i < n; i++) {
            const mlxn_binding *x = &b[w].memory, *y = &b[i].memory;
            if (i == w || x->buffer != y->buffer || x->offset >= y->end || y->offset >= x->end) continue;
            FAIL("kernel \"%s\": slot %u, which is written, overlaps slot %u in bytes [%llu, %llu) of one buffer",
                 kernel->label, b[w].slot, b[i].slot, (unsigned long long)mlxn_max_u64(x->offset, y->offset),
                 (unsigned long long)mlxn_min_u64(x->end, y->end));
        }
    }
    return MLXN_OK;
}

/* ---- the grid ---- */

static mlxn_status check_grid(const mlxn_kernel *kernel, const mlxn_kernel_grid *grid, mlxn_kernel_launch *out,
                              mlxn_error *failure) {
    const char *label = kernel->label;
    if (!grid) FAIL("kernel \"%s\": grid is NULL", label);
    if (grid->unit != MLXN_GRID_THREADS && grid->unit != MLXN_GRID_GROUPS)
        FAIL("kernel \"%s\": grid: unit is %d, want threads (0) or groups (1)", label, (int)grid->unit);
    if (grid->group_memory > MLXN_MAX_GROUP_MEMORY)
        FAIL("kernel \"%s\": grid: group_memory is %u, want at most %d", label, grid->group_memory,
             MLXN_MAX_GROUP_MEMORY);
    out->group_memory = grid->group_memory;
    uint64_t in_group = 1, groups = 1, threads = 1;
    bool fits = true;
    for (int i = 0; i < 3; i++) {
        uint64_t size = grid->size[i] ? grid->size[i] : 1;
        out->group[i] = grid->group[i] ? grid->group[i] : 1;
        if (!mlxn_mul_u64(in_group, out->group[i], &in_group) || in_group > MLXN_MAX_GROUP)
            FAIL("kernel \"%s\": grid: group is %u x %u x %u, want at most %d threads", label, grid->group[0],
                 grid->group[1], grid->group[2], MLXN_MAX_GROUP);
        if (grid->unit == MLXN_GRID_THREADS) {
            out->threads[i] = size;
            out->groups[i] = (size - 1) / out->group[i] + 1;
        } else {
            out->groups[i] = size;
            fits = fits && mlxn_mul_u64(size, out->group[i], &out->threads[i]);
        }
        fits =
            fits && mlxn_mul_u64(groups, out->groups[i], &groups) && mlxn_mul_u64(threads, out->threads[i], &threads);
    }
    /* Half the range, so that counters may run past the end. */
    if (!fits || threads > INT64_MAX || groups > INT64_MAX)
        FAIL("kernel \"%s\": grid: %llu x %llu x %llu %s overflow 63 bits", label, (unsigned long long)grid->size[0],
             (unsigned long long)grid->size[1], (unsigned long long)grid->size[2],
             grid->unit == MLXN_GRID_THREADS ? "threads" : "groups");
    return MLXN_OK;
}

/* ---- recording ---- */

static mlxn_status build(const mlxn_encoder *encoder, mlxn_kernel_launch *launch, const mlxn_kernel_arg *args,
                         uint32_t n_args, const mlxn_kernel_grid *grid, mlxn_error *failure) {
    const mlxn_kernel *kernel = launch->kernel;
    uint32_t taken = 0;
    for (uint32_t i = 0; i < n_args; i++)
        if (check_argument(encoder, kernel, &args[i], &launch->bindings[i], &taken, failure)) return failure->status;
    if (check_alias(kernel, launch->bindings, n_args, failure) || check_grid(kernel, grid, launch, failure))
        return failure->status;
    return MLXN_OK;
}

mlxn_status mlxn_encode_kernel(mlxn_encoder *encoder, mlxn_kernel *kernel, const mlxn_kernel_arg *args,
                               uint32_t n_args, const mlxn_kernel_grid *grid) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = mlxn_encoder_target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure = {0};
    if (!kernel)
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "kernel: kernel is NULL");
    else if (kernel->device != encoder->device)
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "kernel \"%s\": it belongs to another device", kernel->label);
    else if (n_args > MLXN_MAX_SLOTS || (n_args && !args))
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "kernel \"%s\": got %u arguments%s, want at most %d", kernel->label,
                  n_args, args ? "" : " at NULL", MLXN_MAX_SLOTS);
    if (failure.status) return mlxn_encoder_stick(encoder, &failure);

    mlxn_kernel_launch *launch = mlxn_list_alloc(list, sizeof *launch + n_args * sizeof *launch->bindings);
    if (!launch) return mlxn_encoder_stick_memory(encoder, kernel->label);
    launch->kernel = kernel;
    launch->n_bindings = n_args;
    launch->bindings = (mlxn_kernel_binding *)(launch + 1);
    if (build(encoder, launch, args, n_args, grid, &failure)) return mlxn_encoder_stick(encoder, &failure);

    mlxn_access used[MLXN_MAX_SLOTS];
    size_t n_used = 0;
    bool fence = false;
    if (!mlxn_list_keep(list, kernel, MLXN_KEEP_KERNEL)) return mlxn_encoder_stick_memory(encoder, kernel->label);
    for (uint32_t i = 0; i < n_args; i++) {
        mlxn_kernel_binding *b = &launch->bindings[i];
        if (b->memory.buffer) {
            if (!mlxn_encoder_keep(encoder, list, b->memory.buffer))
                return mlxn_encoder_stick_memory(encoder, kernel->label);
            fence = fence || b->role == MLXN_KERNEL_UNKNOWN;
            used[n_used++] =
                (mlxn_access){b->memory.buffer, b->memory.offset, b->memory.end, b->role != MLXN_KERNEL_READ};
        } else {
            b->address = mlxn_list_alloc(list, b->bytes);
            if (!b->address) return mlxn_encoder_stick_memory(encoder, kernel->label);
            memcpy(b->address, args[i].data, b->bytes);
        }
    }
    mlxn_node *node;
    if (!mlxn_encoder_order(encoder, list, used, n_used, fence) || !(node = mlxn_list_add(list, MLXN_NODE_KERNEL)))
        return mlxn_encoder_stick_memory(encoder, kernel->label);
    node->u.kernel = launch;
    mlxn_encoder_note_work(encoder);
    MLXN_COUNT(encoder, dispatch);
    return MLXN_OK;
}
