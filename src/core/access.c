/* access.c: what a node touches, costs and is called: the one place that knows for every kind of node. */
#include "core/core.h"
#include "core/kernel.h"

static void add(mlxn_access_list *list, mlxn_buffer *buffer, uint64_t start, uint64_t end, bool write) {
    if (!buffer || start >= end) return;
    if (list->count == MLXN_MAX_ACCESS) {
        list->fence = true;
        return;
    }
    list->items[list->count++] = (mlxn_access){buffer, start, end, write};
}

static void dispatch_accesses(const mlxn_dispatch *d, mlxn_access_list *out) {
    for (uint32_t i = 0; i < d->n_args; i++)
        add(out, d->bindings[i].buffer, d->bindings[i].offset, d->bindings[i].end,
            (d->op->args[i].role & MLXN_ROLE_OUT) != 0);
}

static void kernel_accesses(const mlxn_kernel_launch *k, mlxn_access_list *out) {
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        const mlxn_kernel_binding *b = &k->bindings[i];
        if (!b->memory.buffer) continue;
        if (!b->role) out->fence = true; /* nobody said what it does with it */
        add(out, b->memory.buffer, b->memory.offset, b->memory.end, b->role != MLXN_ROLE_IN);
    }
}

void mlxn_node_accesses(const mlxn_node *node, mlxn_access_list *out) {
    out->count = 0;
    out->fence = false;
    switch (node->kind) {
        case MLXN_NODE_DISPATCH:
            dispatch_accesses(node->u.dispatch, out);
            break;
        case MLXN_NODE_KERNEL:
            kernel_accesses(node->u.kernel, out);
            break;
        case MLXN_NODE_COPY:
            add(out, node->u.copy.src, node->u.copy.src_offset, node->u.copy.src_offset + node->u.copy.bytes, false);
            add(out, node->u.copy.dst, node->u.copy.dst_offset, node->u.copy.dst_offset + node->u.copy.bytes, true);
            break;
        case MLXN_NODE_FILL:
            add(out, node->u.fill.dst, node->u.fill.offset, node->u.fill.offset + node->u.fill.bytes, true);
            break;
        default:
            out->fence = true;
    }
}

bool mlxn_accesses_conflict(const mlxn_access_list *a, const mlxn_access_list *b) {
    if (a->fence || b->fence) return true;
    for (size_t i = 0; i < a->count; i++)
        for (size_t k = 0; k < b->count; k++) {
            const mlxn_access *x = &a->items[i], *y = &b->items[k];
            if (x->buffer == y->buffer && (x->write || y->write) && x->start < y->end && y->start < x->end)
                return true;
        }
    return false;
}

bool mlxn_node_computes(const mlxn_node *node) { return node->kind <= MLXN_NODE_FILL; }

const char *mlxn_node_name(const mlxn_node *node) {
    switch (node->kind) {
        case MLXN_NODE_DISPATCH:
            return node->u.dispatch->op->name;
        case MLXN_NODE_KERNEL:
            return mlxn_kernel_name(node->u.kernel->kernel);
        case MLXN_NODE_COPY:
            return "copy_bytes";
        case MLXN_NODE_FILL:
            return "fill_bytes";
        case MLXN_NODE_BARRIER:
            return "barrier";
        case MLXN_NODE_SIGNAL:
            return "signal";
        case MLXN_NODE_WAIT:
            return "wait";
        case MLXN_NODE_LAUNCH:
            return "launch";
    }
    return "?";
}

mlxn_cost mlxn_node_cost(const mlxn_node *node) {
    mlxn_access_list list;
    mlxn_cost cost = {0};
    if (node->kind == MLXN_NODE_DISPATCH) {
        const mlxn_dispatch *d = node->u.dispatch;
        return d->op->cost ? d->op->cost(d->args, d->params) : cost;
    }
    mlxn_node_accesses(node, &list);
    for (size_t i = 0; i < list.count; i++) cost.bytes += (double)(list.items[i].end - list.items[i].start);
    return cost;
}
