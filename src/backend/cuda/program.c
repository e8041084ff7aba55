/* program.c: plans the launches of a list of nodes. A stream runs its work in order, so that barriers need nothing.
 */
#include "backend/cuda/device.h"

static mlxn_status reach(cuda_device *device, mlxn_buffer *buffer, mlxn_error *error) {
    cuda_memory *memory = buffer->storage;
    return memory->address ? MLXN_OK : cuda_memory_reach(device, memory, error);
}

static mlxn_status plan_dispatch(cuda_device *device, const mlxn_dispatch *d, cuda_launch *out, mlxn_error *error) {
    if (!d->kernel)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "%s: the cuda device has no kernel for it with these arguments; use the cpu device",
                         d->op->name);
    mlxn_view args[MLXN_MAX_ARGS];
    for (uint32_t i = 0; i < d->n_args; i++) {
        args[i] = d->args[i];
        mlxn_buffer *buffer = d->bindings[i].buffer;
        if (!buffer) continue;
        mlxn_status status = reach(device, buffer, error);
        if (status) {
            mlxn_error_prefix(error, "%s: %s", d->op->name, d->op->args[i].name);
            return status;
        }
        const cuda_memory *memory = buffer->storage;
        args[i].data = (void *)(uintptr_t)(memory->address + d->bindings[i].offset);
    }
    out->grid[0] = out->grid[1] = out->grid[2] = 1;
    out->block[0] = out->block[1] = out->block[2] = 1;
    out->shared_bytes = 0;
    ((cuda_plan_fn)d->kernel->entry)(args, d->params, device, out);
    return MLXN_OK;
}

static mlxn_status plan_node(cuda_device *device, const mlxn_node *node, cuda_launch *out, mlxn_error *error) {
    mlxn_status status = MLXN_OK;
    switch (node->kind) {
        case MLXN_NODE_DISPATCH:
            return plan_dispatch(device, node->u.dispatch, out, error);
        case MLXN_NODE_COPY:
            status = reach(device, node->u.copy.src, error);
            return status ? status : reach(device, node->u.copy.dst, error);
        case MLXN_NODE_FILL:
            return reach(device, node->u.fill.dst, error);
        case MLXN_NODE_KERNEL:
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "kernel: the cuda device runs none of the user's own");
        default:
            return MLXN_OK;
    }
}

mlxn_status cuda_program_create(void *impl, const mlxn_node *nodes, size_t n, void **handle, mlxn_error *error) {
    cuda_device *device = impl;
    cuda_program *program = *handle;
    if (!program) program = *handle = mlxn_alloc(sizeof *program);
    if (!program) return mlxn_fail(error, MLXN_ERR_MEMORY, "program: out of memory for its record");
    program->count = 0;
    if (n > program->capacity) {
        cuda_item *grown = mlxn_realloc_array(program->items, n, sizeof *grown);
        if (!grown) return mlxn_fail(error, MLXN_ERR_MEMORY, "program: out of memory for %zu commands", n);
        program->items = grown;
        program->capacity = n;
    }
    mlxn_status status = cuda_enter(device, error);
    if (status) return status;
    for (size_t i = 0; i < n && !status; i++) {
        program->items[i].node = &nodes[i];
        status = plan_node(device, &nodes[i], &program->items[i].launch, error);
    }
    cuda_leave(device);
    if (!status) program->count = n;
    return status;
}

void cuda_program_destroy(void *impl, void *handle) {
    cuda_program *program = handle;
    if (!program) return;
    mlxn_free(program->items);
    mlxn_free(program);
}
