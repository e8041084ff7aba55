/* dispatch.c: from the arguments of a caller to a checked dispatch: views, bounds, aliasing, kernel. Recording and
 * the patching of graphs both come here. */
#include "core/core.h"

static mlxn_status wrong_shape(const mlxn_tensor *t, const char *op, const char *name, mlxn_error *failure) {
    for (uint32_t i = 0; i < t->rank; i++) {
        if (!t->dims[i]) return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: dim[%u] is 0", op, name, i);
        if (t->strides[i] < 0)
            return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: stride[%u] is %lld, want 0 or more", op, name, i,
                             (long long)t->strides[i]);
    }
    return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: size in bytes overflows 64 bits", op, name);
}

/* What copying a shape finds out besides. */
typedef struct shape_facts {
    uint64_t end;   /* the byte behind the last element */
    bool countable; /* the elements are few enough for kernels to count */
    bool repeats;   /* a stride of 0 over several elements */
} shape_facts;

/* Copies dims and strides of a tensor into a view. False: wrong_shape says why. */
static inline bool copy_shape(const mlxn_tensor *t, uint64_t size, mlxn_view *view, shape_facts *facts) {
    uint64_t last = 0, elements = 1;
    bool good = true, countable = true, repeats = false;
    memset(view->dims, 0, sizeof view->dims);
    memset(view->strides, 0, sizeof view->strides);
    for (uint32_t i = 0; i < t->rank; i++) {
        uint64_t dim = t->dims[i], stride = (uint64_t)t->strides[i], step;
        view->dims[i] = dim;
        view->strides[i] = (int64_t)stride;
        good &= dim && (int64_t)stride >= 0;
        good &= !__builtin_mul_overflow(dim - 1, stride, &step) & !__builtin_add_overflow(last, step, &last);
        countable &= !__builtin_mul_overflow(elements, dim, &elements);
        repeats |= !stride & (dim > 1);
    }
    uint64_t bytes;
    good &= !__builtin_add_overflow(last, 1, &last) & !__builtin_mul_overflow(last, size, &bytes) &
            !__builtin_add_overflow(t->offset, bytes, &facts->end);
    facts->countable = countable & (elements <= MLXN_MAX_ELEMENTS);
    facts->repeats = repeats;
    return good;
}

static mlxn_status take_weight(const mlxn_device *device, mlxn_dispatch *d, uint32_t i, const mlxn_weight *w,
                               mlxn_error *failure) {
    if (w->device != device)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", d->op->name,
                         d->op->args[i].name);
    d->args[i] = (mlxn_view){.present = true,
                             .rank = 2,
                             .dims = {w->view.rows, w->view.cols},
                             .weight = &w->view,
                             .strides = {(int64_t)w->view.cols, 1}};
    return MLXN_OK;
}

/* Argument i from the caller's. *fits becomes false if it breaks the rules of its spec: mlxn_op_check says which. */
static inline mlxn_status take_argument(const mlxn_device *device, mlxn_dispatch *d, uint32_t i, const mlxn_arg *arg,
                                        bool *fits, mlxn_error *failure) {
    const mlxn_op_def *def = d->op;
    const mlxn_arg_spec *spec = &def->args[i];
    mlxn_view *view = &d->args[i];
    mlxn_binding *binding = &d->bindings[i];
    d->weights[i] = arg->weight;
    const mlxn_tensor *t = arg->tensor;
    if (arg->weight || !t || !t->buffer) {
        *binding = (mlxn_binding){0};
        *fits &= arg->weight ? spec->is_weight : spec->optional;
        if (arg->weight) return take_weight(device, d, i, arg->weight, failure);
        *view = (mlxn_view){0};
        return MLXN_OK;
    }
    const mlxn_buffer *buffer = t->buffer;
    if (buffer->device != device)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", def->name, spec->name);
    if (!t->rank || t->rank > MLXN_MAX_RANK)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: rank is %u, want 1 to %d", def->name, spec->name,
                         t->rank, MLXN_MAX_RANK);
    if ((uint32_t)t->dtype >= MLXN_DTYPE_COUNT)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: dtype is %d, which is none", def->name, spec->name,
                         (int)t->dtype);
    const uint64_t size = mlxn_dtype_bytes[t->dtype];
    shape_facts facts;
    if (!copy_shape(t, size, view, &facts)) return wrong_shape(t, def->name, spec->name, failure);
    if (facts.end > buffer->size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: view ends at byte %llu, its buffer at %llu", def->name,
                         spec->name, (unsigned long long)facts.end, (unsigned long long)buffer->size);
    /* Sizes are powers of two; a temporary's place and memory that the host does not see are aligned. */
    if (((uintptr_t)buffer->host + t->offset) & (size - 1))
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT,
                         "%s: %s: byte offset %llu is not aligned to its %u-byte elements", def->name, spec->name,
                         (unsigned long long)t->offset, (unsigned)size);
    view->present = true;
    view->dtype = t->dtype;
    view->rank = t->rank;
    view->data = buffer->host ? buffer->host + t->offset : NULL;
    view->weight = NULL;
    *binding = (mlxn_binding){t->buffer, t->offset, facts.end};
    *fits &= (!spec->is_weight) & (spec->dtypes >> t->dtype & 1) & (t->rank >= spec->min_rank) &
             (t->rank <= spec->max_rank) & facts.countable & (spec->role == MLXN_ROLE_IN || !facts.repeats);
    return MLXN_OK;
}

mlxn_status mlxn_dispatch_argument(const mlxn_device *device, mlxn_dispatch *d, uint32_t i, const mlxn_arg *arg,
                                   mlxn_error *failure) {
    bool fits = true; /* mlxn_dispatch_check asks again */
    return take_argument(device, d, i, arg, &fits, failure);
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
static inline mlxn_status check_alias(const mlxn_dispatch *d, mlxn_error *failure) {
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

/* The row that serves these arguments, fastest first; NULL: the reference. */
static inline const mlxn_kernel_row *select_kernel(const mlxn_device *device, uint32_t op, const mlxn_view *args,
                                                   const void *params) {
    for (uint32_t i = device->first[op]; i < device->first[op + 1]; i++) {
        const mlxn_kernel_row *row = device->kernels[i];
        if (!row->fits || row->fits(args, params)) return row;
    }
    return NULL;
}

/* What is left once the rules of the operation hold. */
static inline mlxn_status complete(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const void *params,
                                   uint32_t params_size, mlxn_error *failure) {
    if (check_alias(d, failure)) return failure->status;
    if (params_size && params != d->params) memcpy(d->params, params, params_size);
    d->kernel = select_kernel(device, op, d->args, d->params);
    return MLXN_OK;
}

mlxn_status mlxn_dispatch_check(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const void *params,
                                uint32_t params_size, mlxn_error *failure) {
    if (mlxn_op_check(d->op, d->args, d->n_args, params, params_size, failure)) return failure->status;
    return complete(device, d, op, params, params_size, failure);
}

mlxn_status mlxn_dispatch_build(const mlxn_device *device, mlxn_dispatch *d, uint32_t op, const mlxn_arg *args,
                                const void *params, uint32_t params_size, mlxn_error *failure) {
    const mlxn_op_def *def = d->op;
    /* The rules of the specs are checked on the way, without their messages; where one is broken, all are checked
     * again for the message. */
    bool fits = params_size == def->params_size && (!params_size || params);
    for (uint32_t i = 0; i < d->n_args; i++)
        if (take_argument(device, d, i, &args[i], &fits, failure)) return failure->status;
    if (!fits || (def->check && def->check(d->args, params, failure)))
        return mlxn_dispatch_check(device, d, op, params, params_size, failure);
    return complete(device, d, op, params, params_size, failure);
}
