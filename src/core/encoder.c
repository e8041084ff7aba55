/* encoder.c: recording. Every record is validated, its hazards resolved and its kernel chosen here, once. */
#include "core/core.h"

/* ---- life ---- */

mlxn_status mlxn_encoder_open(mlxn_encoder *encoder, mlxn_error *error) {
    if (encoder->open) return MLXN_OK;
    encoder->open = mlxn_cb_begin(encoder->device);
    if (!encoder->open) return mlxn_fail(error, MLXN_ERR_MEMORY, "encoder: out of memory for a command buffer");
    if (!encoder->capturing) mlxn_hazards_reset(&encoder->hazards);
    return MLXN_OK;
}

mlxn_status mlxn_encoder_create(mlxn_device *device, mlxn_encoder **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: device is NULL");
    mlxn_encoder *encoder = mlxn_alloc(sizeof *encoder);
    if (!encoder) return mlxn_fail(error, MLXN_ERR_MEMORY, "encoder: out of memory for its record");
    encoder->device = mlxn_device_retain(device);
    encoder->hazards.group = 1;
    mlxn_status status = mlxn_encoder_open(encoder, error);
    if (status) {
        mlxn_encoder_destroy(encoder);
        return status;
    }
    *out = encoder;
    return mlxn_succeed(error);
}

void mlxn_encoder_destroy(mlxn_encoder *encoder) {
    if (!encoder) return;
    if (encoder->open) mlxn_cb_discard(encoder->open);
    mlxn_command_buffer_release(&encoder->last);
    mlxn_list_free(&encoder->capture);
    mlxn_hazards_free(&encoder->hazards);
    mlxn_device_release(&encoder->device);
    mlxn_free(encoder);
}

mlxn_device *mlxn_encoder_device(const mlxn_encoder *encoder) { return encoder ? encoder->device : NULL; }

mlxn_status mlxn_encoder_status(const mlxn_encoder *encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: encoder is NULL");
    if (error) *error = encoder->error;
    return encoder->error.status;
}

void mlxn_encoder_get_stats(const mlxn_encoder *encoder, mlxn_encoder_stats *out) {
    if (!out) return;
    *out = (mlxn_encoder_stats){0};
    if (!encoder) return;
    out->tracked_ranges = encoder->hazards.ranges;
    if (encoder->open) {
        out->dispatches = encoder->open->dispatches;
        out->barriers = encoder->open->barriers;
        out->hazard_barriers = encoder->open->hazard_barriers;
    }
}

mlxn_command_buffer *mlxn_encoder_command_buffer(mlxn_encoder *encoder) {
    if (!encoder) return NULL;
    return encoder->open ? encoder->open : encoder->last;
}

void mlxn_encoder_set_label(mlxn_encoder *encoder, const char *label) {
    if (!encoder || encoder->error.status || mlxn_encoder_open(encoder, &encoder->error)) return;
    if (!mlxn_cb_set_label(encoder->open, label))
        mlxn_fail(&encoder->error, MLXN_ERR_MEMORY, "encoder: out of memory for a label");
}

/* ---- sticky errors ---- */

/* Keeps the first failure, with the label of the command buffer in front; returns its status. */
static mlxn_status stick(mlxn_encoder *encoder, const mlxn_error *failure) {
    if (!encoder->error.status) {
        encoder->error = *failure;
        const char *label = mlxn_command_buffer_label(encoder->open);
        if (*label) mlxn_error_prefix(&encoder->error, "\"%s\"", label);
    }
    return encoder->error.status;
}

static mlxn_status stick_memory(mlxn_encoder *encoder, const char *what) {
    mlxn_error failure;
    mlxn_fail(&failure, MLXN_ERR_MEMORY, "%s: out of memory for the record", what);
    return stick(encoder, &failure);
}

/* Readies the list that records go to; NULL after a sticky error. */
static mlxn_node_list *target(mlxn_encoder *encoder) {
    if (encoder->error.status) return NULL;
    if (encoder->capturing) return &encoder->capture;
    mlxn_error failure;
    if (mlxn_encoder_open(encoder, &failure)) {
        stick(encoder, &failure);
        return NULL;
    }
    return &encoder->open->list;
}

/* ---- barriers and hazards ---- */

static bool add_barrier(mlxn_encoder *encoder, mlxn_node_list *list) {
    if (!mlxn_list_add(list, MLXN_NODE_BARRIER)) return false;
    if (encoder->capturing)
        encoder->capture_barriers++;
    else
        encoder->open->barriers++;
    mlxn_hazards_reset(&encoder->hazards);
    return true;
}

static bool has_dispatch(const mlxn_encoder *encoder) {
    return encoder->capturing ? encoder->capture_has_dispatch : encoder->open && encoder->open->has_dispatch;
}

static void note_dispatch(mlxn_encoder *encoder) {
    if (encoder->capturing) {
        encoder->capture_has_dispatch = true;
        encoder->capture_dispatches++;
    } else {
        encoder->open->has_dispatch = true;
        encoder->open->dispatches++;
    }
}

void mlxn_encoder_barrier(mlxn_encoder *encoder) {
    if (!encoder) return;
    mlxn_node_list *list = target(encoder);
    if (!list || !has_dispatch(encoder)) return;
    if (!add_barrier(encoder, list)) {
        stick_memory(encoder, "barrier");
        return;
    }
    if (!encoder->capturing) MLXN_COUNT(barrier);
}

typedef struct mlxn_access {
    mlxn_buffer *buffer;
    uint64_t start, end;
    bool write;
} mlxn_access;

/* Puts a barrier before the next node if it conflicts with the group, then adds its accesses to the group. */
static bool order(mlxn_encoder *encoder, mlxn_node_list *list, const mlxn_access *access, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!mlxn_hazards_conflict(&encoder->hazards, access[i].buffer, access[i].start, access[i].end,
                                   access[i].write))
            continue;
        if (!add_barrier(encoder, list)) return false;
        if (!encoder->capturing) encoder->open->hazard_barriers++;
        MLXN_COUNT(hazard);
        break;
    }
    for (size_t i = 0; i < n; i++)
        if (!mlxn_hazards_add(&encoder->hazards, access[i].buffer, access[i].start, access[i].end, access[i].write))
            return false;
    return true;
}

/* ---- copies, fills, waits, signals ---- */

static mlxn_status check_span(const mlxn_encoder *encoder, const char *what, const char *name,
                              const mlxn_buffer *buffer, uint64_t offset, uint64_t bytes, mlxn_error *failure) {
    uint64_t end;
    if (!buffer) return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s is NULL", what, name);
    if (buffer->device != encoder->device)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", what, name);
    if (!mlxn_add_u64(offset, bytes, &end) || end > buffer->size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: range is %llu + %llu bytes, buffer has %llu", what,
                         name, (unsigned long long)offset, (unsigned long long)bytes,
                         (unsigned long long)buffer->size);
    return MLXN_OK;
}

mlxn_status mlxn_encoder_copy(mlxn_encoder *encoder, mlxn_buffer *src, uint64_t src_offset, mlxn_buffer *dst,
                              uint64_t dst_offset, uint64_t bytes) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (check_span(encoder, "copy", "src", src, src_offset, bytes, &failure) ||
        check_span(encoder, "copy", "dst", dst, dst_offset, bytes, &failure))
        return stick(encoder, &failure);
    if (src == dst && src_offset < dst_offset + bytes && dst_offset < src_offset + bytes) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "copy: source at %llu and destination at %llu overlap over %llu bytes",
                  (unsigned long long)src_offset, (unsigned long long)dst_offset, (unsigned long long)bytes);
        return stick(encoder, &failure);
    }
    if (!bytes) return MLXN_OK;
    mlxn_access access[2] = {{src, src_offset, src_offset + bytes, false},
                             {dst, dst_offset, dst_offset + bytes, true}};
    mlxn_node *node;
    if (!order(encoder, list, access, 2) || !mlxn_list_keep(list, src, MLXN_KEEP_BUFFER) ||
        !mlxn_list_keep(list, dst, MLXN_KEEP_BUFFER) || !(node = mlxn_list_add(list, MLXN_NODE_COPY)))
        return stick_memory(encoder, "copy");
    node->u.copy.src = src;
    node->u.copy.dst = dst;
    node->u.copy.src_offset = src_offset;
    node->u.copy.dst_offset = dst_offset;
    node->u.copy.bytes = bytes;
    note_dispatch(encoder);
    return MLXN_OK;
}

mlxn_status mlxn_encoder_fill(mlxn_encoder *encoder, mlxn_buffer *dst, uint64_t offset, uint64_t bytes,
                              uint8_t value) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (check_span(encoder, "fill", "dst", dst, offset, bytes, &failure)) return stick(encoder, &failure);
    if (!bytes) return MLXN_OK;
    mlxn_access access = {dst, offset, offset + bytes, true};
    mlxn_node *node;
    if (!order(encoder, list, &access, 1) || !mlxn_list_keep(list, dst, MLXN_KEEP_BUFFER) ||
        !(node = mlxn_list_add(list, MLXN_NODE_FILL)))
        return stick_memory(encoder, "fill");
    node->u.fill.dst = dst;
    node->u.fill.offset = offset;
    node->u.fill.bytes = bytes;
    node->u.fill.value = value;
    note_dispatch(encoder);
    return MLXN_OK;
}

static mlxn_status sync(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value, mlxn_node_kind kind,
                        const char *what) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (!timeline) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "%s: timeline is NULL", what);
        return stick(encoder, &failure);
    }
    if (encoder->capturing) {
        mlxn_fail(&failure, MLXN_ERR_STATE, "%s: cannot be captured into a graph; record it around the launch", what);
        return stick(encoder, &failure);
    }
    mlxn_node *node;
    if (!mlxn_list_keep(list, timeline, MLXN_KEEP_TIMELINE) || !(node = mlxn_list_add(list, kind)))
        return stick_memory(encoder, what);
    node->u.sync.timeline = timeline;
    node->u.sync.value = value;
    mlxn_hazards_reset(&encoder->hazards); /* both order everything before against everything after */
    return MLXN_OK;
}

mlxn_status mlxn_encoder_wait(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value) {
    return sync(encoder, timeline, value, MLXN_NODE_WAIT, "wait");
}

mlxn_status mlxn_encoder_signal(mlxn_encoder *encoder, mlxn_timeline *timeline, uint64_t value) {
    return sync(encoder, timeline, value, MLXN_NODE_SIGNAL, "signal");
}

mlxn_status mlxn_encoder_launch(mlxn_encoder *encoder, mlxn_graph *graph) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (!graph || graph->device != encoder->device || encoder->capturing) {
        mlxn_fail(&failure, graph && encoder->capturing ? MLXN_ERR_STATE : MLXN_ERR_ARGUMENT, "launch: %s",
                  !graph               ? "graph is NULL"
                  : encoder->capturing ? "a launch cannot be captured into another graph"
                                       : "graph belongs to another device");
        return stick(encoder, &failure);
    }
    mlxn_node *node;
    if (!mlxn_list_keep(list, graph, MLXN_KEEP_GRAPH) || !(node = mlxn_list_add(list, MLXN_NODE_LAUNCH)))
        return stick_memory(encoder, "launch");
    node->u.launch = graph;
    mlxn_hazards_reset(&encoder->hazards);
    encoder->open->has_dispatch = true;
    MLXN_COUNT(launch);
    return MLXN_OK;
}

/* ---- operations ---- */

/* Bytes from the first to behind the last element of a view: [*start, *end). */
static mlxn_status extent(const mlxn_tensor *t, uint64_t *start, uint64_t *end, const char *op, const char *name,
                          mlxn_error *failure) {
    uint64_t last = 0, size = mlxn_dtype_size(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++) {
        uint64_t step;
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
    *start = t->offset;
    return MLXN_OK;
overflow:
    return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: size in bytes overflows 64 bits", op, name);
}

static mlxn_status view_of(const mlxn_encoder *encoder, const mlxn_op_def *def, uint32_t i, const mlxn_arg *arg,
                           mlxn_view *view, mlxn_access *access, mlxn_error *failure) {
    const mlxn_arg_spec *spec = &def->args[i];
    *view = (mlxn_view){0};
    access->buffer = NULL;
    if (arg->weight) {
        const mlxn_weight *w = arg->weight;
        if (w->device != encoder->device)
            return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", def->name, spec->name);
        *view = (mlxn_view){.present = true,
                            .rank = 2,
                            .dims = {w->view.rows, w->view.cols},
                            .weight = &w->view,
                            .strides = {(int64_t)w->view.cols, 1}};
        return MLXN_OK;
    }
    const mlxn_tensor *t = arg->tensor;
    if (!t || !t->buffer) return MLXN_OK; /* absent: the spec check decides */
    if (t->buffer->device != encoder->device)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s belongs to another device", def->name, spec->name);
    if (!t->rank || t->rank > MLXN_MAX_RANK)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: rank is %u, want 1 to %d", def->name, spec->name,
                         t->rank, MLXN_MAX_RANK);
    size_t size = mlxn_dtype_size(t->dtype);
    if (!size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: dtype is %d, which is none", def->name, spec->name,
                         (int)t->dtype);
    uint64_t start = 0, end = 0;
    if (extent(t, &start, &end, def->name, spec->name, failure)) return failure->status;
    if (end > t->buffer->size)
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s: view ends at byte %llu, its buffer at %llu", def->name,
                         spec->name, (unsigned long long)end, (unsigned long long)t->buffer->size);
    if (t->buffer->host && ((uintptr_t)(t->buffer->host + t->offset) % size))
        return mlxn_fail(failure, MLXN_ERR_ARGUMENT,
                         "%s: %s: byte offset %llu is not aligned to its %zu-byte elements", def->name, spec->name,
                         (unsigned long long)t->offset, size);
    view->present = true;
    view->dtype = t->dtype;
    view->rank = t->rank;
    for (uint32_t d = 0; d < t->rank; d++) {
        view->dims[d] = t->dims[d];
        view->strides[d] = t->strides[d];
    }
    view->data = t->buffer->host ? t->buffer->host + t->offset : NULL;
    *access = (mlxn_access){t->buffer, start, end, (spec->role & MLXN_ROLE_OUT) != 0};
    return MLXN_OK;
}

static bool same_view(const mlxn_tensor *a, const mlxn_tensor *b) {
    if (a->offset != b->offset || a->dtype != b->dtype || a->rank != b->rank) return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i] || (a->dims[i] > 1 && a->strides[i] != b->strides[i])) return false;
    return true;
}

/* An output may be the same view as an input only where the op allows it, and overlap nothing else. */
static mlxn_status check_alias(const mlxn_op_def *def, const mlxn_arg *args, const mlxn_access *access,
                               mlxn_error *failure) {
    for (uint32_t o = 0; o < def->n_args; o++) {
        if (!access[o].buffer || !access[o].write) continue;
        for (uint32_t i = 0; i < def->n_args; i++) {
            if (i == o || access[i].buffer != access[o].buffer || access[i].start >= access[o].end ||
                access[o].start >= access[i].end)
                continue;
            bool allowed = def->args[o].role == MLXN_ROLE_OUT && (def->inplace & (1u << i)) &&
                           same_view(args[i].tensor, args[o].tensor);
            if (!allowed)
                return mlxn_fail(failure, MLXN_ERR_ARGUMENT, "%s: %s overlaps %s in bytes [%llu, %llu) of one buffer",
                                 def->name, def->args[o].name, def->args[i].name,
                                 (unsigned long long)mlxn_max_u64(access[i].start, access[o].start),
                                 (unsigned long long)mlxn_min_u64(access[i].end, access[o].end));
        }
    }
    return MLXN_OK;
}

mlxn_status mlxn_encode(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args, const void *params,
                        uint32_t params_size) {
    if (!encoder) return MLXN_ERR_ARGUMENT;
    mlxn_node_list *list = target(encoder);
    if (!list) return encoder->error.status;
    mlxn_error failure;
    if (op >= MLXN_OP_COUNT) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "encode: op is %u, the table has %d", op, (int)MLXN_OP_COUNT);
        return stick(encoder, &failure);
    }
    const mlxn_op_def *def = mlxn_op_get(op);
    if (n_args != def->n_args || !args) {
        mlxn_fail(&failure, MLXN_ERR_ARGUMENT, "%s: got %u arguments, want %u", def->name, args ? n_args : 0,
                  def->n_args);
        return stick(encoder, &failure);
    }
    mlxn_dispatch d = {.op = def, .n_args = n_args};
    mlxn_access access[MLXN_MAX_ARGS];
    for (uint32_t i = 0; i < n_args; i++)
        if (view_of(encoder, def, i, &args[i], &d.args[i], &access[i], &failure)) return stick(encoder, &failure);
    if (mlxn_op_check(def, d.args, n_args, params, params_size, &failure) || check_alias(def, args, access, &failure))
        return stick(encoder, &failure);
    if (params_size) memcpy(d.params, params, params_size);
    d.kernel = mlxn_device_select(encoder->device, op, d.args, d.params);

    mlxn_access used[MLXN_MAX_ARGS * 2];
    size_t n_used = 0;
    for (uint32_t i = 0; i < n_args; i++) {
        if (args[i].weight) {
            if (!mlxn_list_keep(list, args[i].weight, MLXN_KEEP_WEIGHT)) return stick_memory(encoder, def->name);
        } else if (access[i].buffer) {
            if (!mlxn_list_keep(list, access[i].buffer, MLXN_KEEP_BUFFER)) return stick_memory(encoder, def->name);
            d.buffers[i] = access[i].buffer;
            d.offsets[i] = access[i].start;
            used[n_used++] = access[i]; /* a write conflicts with reads too, so in-out needs no second entry */
        }
    }
    mlxn_node *node;
    if (!order(encoder, list, used, n_used) || !(node = mlxn_list_add(list, MLXN_NODE_DISPATCH)))
        return stick_memory(encoder, def->name);
    node->u.dispatch = d;
    note_dispatch(encoder);
    MLXN_COUNT(dispatch);
    return MLXN_OK;
}

static bool auto_barrier_gate(void) {
    static _Atomic int cached; /* 0 unknown, 1 on, 2 off */
    int state = atomic_load_explicit(&cached, memory_order_relaxed);
    if (!state) {
        state = mlxn_env_is_one("HF2Q_AUTO_BARRIER") ? 1 : 2;
        atomic_store_explicit(&cached, state, memory_order_relaxed);
    }
    return state == 1;
}

mlxn_status mlxn_encode_tracked(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args,
                                const void *params, uint32_t params_size) {
    uint64_t before = encoder && encoder->open ? encoder->open->hazard_barriers : 0;
    mlxn_status status = mlxn_encode(encoder, op, args, n_args, params, params_size);
    if (status || encoder->capturing || !auto_barrier_gate()) return status;
    if (encoder->open->hazard_barriers > before)
        MLXN_COUNT(auto_barrier);
    else
        MLXN_COUNT(auto_concurrent);
    return status;
}

/* ---- submission ---- */

static mlxn_status submit(mlxn_encoder *encoder, const char *label, bool will_wait, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "commit: encoder is NULL");
    if (!encoder->error.status) {
        mlxn_error failure;
        if (encoder->capturing) {
            mlxn_fail(&failure, MLXN_ERR_STATE, "commit: the encoder is capturing, take_capture comes first");
            stick(encoder, &failure);
        } else if (mlxn_encoder_open(encoder, &failure)) {
            stick(encoder, &failure);
        } else if (!mlxn_cb_set_label(encoder->open, label)) {
            stick_memory(encoder, "commit");
        } else if (mlxn_cb_submit(encoder->open, will_wait, &failure)) {
            stick(encoder, &failure);
        }
    }
    if (encoder->error.status) {
        if (error) *error = encoder->error;
        return encoder->error.status;
    }
    mlxn_command_buffer_release(&encoder->last);
    encoder->last = encoder->open;
    encoder->open = NULL;
    return mlxn_succeed(error);
}

mlxn_status mlxn_encoder_commit(mlxn_encoder *encoder, const char *label, mlxn_error *error) {
    return submit(encoder, label, false, error);
}

mlxn_status mlxn_encoder_commit_and_wait(mlxn_encoder *encoder, const char *label, mlxn_error *error) {
    mlxn_status status = submit(encoder, label, true, error);
    if (status) return status;
    MLXN_COUNT(sync);
    return mlxn_encoder_wait_completed(encoder, error);
}

mlxn_status mlxn_encoder_wait_completed(mlxn_encoder *encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "wait: encoder is NULL");
    return encoder->last ? mlxn_command_buffer_wait(encoder->last, UINT64_MAX, error) : mlxn_succeed(error);
}
