/* dispatch.c: from the arguments of a caller to a checked dispatch: views, bounds, aliasing, kernel. Recording and
 * the patching of graphs both come here. */
#include "core/core.h"

/* Copies dims and strides of a tensor into a view and finds the byte behind the last element. */
static mlxn_status copy_shape(const mlxn_tensor *t, uint64_t size, mlxn_view *view, uint64_t *end, const char *op,
                              const char *name, mlxn_error *failure) {
    uint64_t last = 0;
    for (uint32_t i = 0; i < MLXN_MAX_RANK; i++) {
        uint64_t step;
        if (i >= t->rank) {
            view->dims[i] = 0;
            view->strides[i] = 0;
            continue;
        }
        view->dims[i] = t->dims[i];
        view->strides[i] = t->strides[i];
        if (!t->dims[i]) return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: dim[%u] is 0", op, name, i);
        if (t->strides[i] < 0)
            return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: stride[%u] is %lld, want 0 or more", op, name, i,
                             (long long)t->strides[i]);
        if (!mlxn_mul_u64(t->dims[i] - 1, (uint64_t)t->strides[i], &step) || !mlxn_add_u64(last, step, &last))
            goto overflow;
    }
    uint64_t bytes;
    if (!mlxn_add_u64(last, 1, &last) || !mlxn_mul_u64(last, size, &bytes) || !mlxn_add_u64(t->offset, bytes, end))
        goto overflow;
    return MLXN_OK;
overflow:
    return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: size in bytes overflows 64 bits", op, name);
}

mlxn_status mlxn_dispatch_argument(const mlxn_device *device, mlxn_dispatch *d, uint32_t i, const mlxn_arg *arg,
                                   mlxn_error *failure) {
    const mlxn_op_def *def = d->op;
    const mlxn_arg_spec *spec = &def->args[i];
    mlxn_view *view = &d->args[i];
    mlxn_binding *binding = &d->bindings[i];
    /* Field by field: clearing the record first would cost as much as all the checks. */
    view->data = NULL;
    view->weight = NULL;
    *binding = (mlxn_binding){0};
    d->weights[i] = arg->weight;
    if (arg->weight) {
        const mlxn_weight *w = arg->weight;
        if (w->device != device)
            return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", def->name, spec->name);
        *view = (mlxn_view){.present = true,
                            .rank = 2,
                            .dims = {w->view.rows, w->view.cols},
                            .weight = &w->view,
                            .strides = {(int64_t)w->view.cols, 1}};
        return MLXN_OK;
    }
    const mlxn_tensor *t = arg->tensor;
    if (!t || !t->buffer) { /* absent: the spec check decides */
        *view = (mlxn_view){0};
        return MLXN_OK;
    }
    if (t->buffer->device != device)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", def->name, spec->name);
    if (!t->rank || t->rank > MLXN_MAX_RANK)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: rank is %u, want 1 to %d", def->name, spec->name,
                         t->rank, MLXN_MAX_RANK);
    size_t size = mlxn_dtype_size(t->dtype);
    if (!size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: dtype is %d, which is none", def->name, spec->name,
                         (int)t->dtype);
    uint64_t end = 0;
    if (copy_shape(t, size, view, &end, def->name, spec->name, failure)) return failure->status;
    if (end > t->buffer->size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: view ends at byte %llu, its buffer at %llu", def->name,
                         spec->name, (unsigned long long)end, (unsigned long long)t->buffer->size);
    /* Sizes are powers of two; a temporary's place is aligned. */
    if ((t->buffer->host || t->buffer->capture) && (((uintptr_t)t->buffer->host + t->offset) & (size - 1)))
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT,
                         "%s: %s: byte offset %llu is not aligned to its %zu-byte elements", def->name, spec->name,
                         (unsigned long long)t->offset, size);
    view->present = true;
    view->dtype = t->dtype;
    view->rank = t->rank;
    view->data = t->buffer->host ? t->buffer->host + t->offset : NULL;
    *binding = (mlxn_binding){t->buffer, t->offset, end};
    return MLXN_OK;
}

/* Of two arguments in one buffer. */
static bool same_view(const mlxn_dispatch *d, uint32_t i, uint32_t k) {
    const mlxn_view *a = &d->args[i], *b = &d->args[k];
    if (d->bindings[i].offset != d->bindings[k].offset || a->dtype != b->dtype || a->rank != b->rank) return false;
    for (uint32_t x = 0; x < a->rank; x++)
        if (a->dims[x] != b->dims[x] || (a->dims[x] > 1 && a->strides[x] != b->strides[x])) return false;
    return true;
}

/* An output may be the same view as an input only where the op allows it, and overlap nothing else. */
static mlxn_status check_alias(const mlxn_dispatch *d, mlxn_error *failure) {
    const mlxn_op_def *def = d->op;
    for (uint32_t o = 0; o < d->n_args; o++) {
        const mlxn_binding *out = &d->bindings[o];
        if (!out->buffer || !(def->args[o].role & MLXN_ROLE_OUT)) continue;
        for (uint32_t i = 0; i < d->n_args; i++) {
            const mlxn_binding *in = &d->bindings[i];
            if (i == o || in->buffer != out->buffer || in->offset >= out->end || out->offset >= in->end) continue;
            bool allowed = def->args[o].role == MLXN_ROLE_OUT && (def->inplace & (1u << i)) && same_view(d, i, o);
            if (!allowed)
                return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s overlaps %s in bytes [%llu, %llu) of one buffer",
                                 def->name, def->args[o].name, def->args[i].name,
                                 (unsigned long long)mlxn_max_u64(in->offset, out->offset),
                                 (unsigned long long)mlxn_min_u64(in->end, out->end));
        }
    }
    return MLXN_OK;
}

mlxn_status mlxn_dispatch_check(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const void *params,
                                uint32_t params_size, mlxn_error *failure) {
    if (mlxn_op_check(d->op, d->args, d->n_args, params, params_size, failure) || check_alias(d, failure))
        return failure->status;
    if (params_size && params != d->params) memcpy(d->params, params, params_size);
    d->kernel = mlxn_device_select(device, op, d->args, d->params);
    return MLXN_OK;
}

mlxn_status mlxn_dispatch_build(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const mlxn_arg *args,
                                const void *params, uint32_t params_size, mlxn_error *failure) {
    for (uint32_t i = 0; i < d->n_args; i++)
        if (mlxn_dispatch_argument(device, d, i, &args[i], failure)) return failure->status;
    return mlxn_dispatch_check(device, d, op, params, params_size, failure);
}
