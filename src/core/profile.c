/* profile.c: profilers, and how a command buffer is measured.
 *
 * A command buffer that is committed while somebody listens gets an array of samples, which the backend fills while
 * it executes; when it has finished, collect pairs the samples with the nodes. It keeps a reference of its profiler
 * until then, so that a profiler may be stopped and destroyed at any time. */
#include "core/profile.h"

#include "core/kernel.h"

enum { DEFAULT_EVENTS = 65536, MOST_NAMES = 1024 };
static const char other[] = "(other)";

_Atomic uint32_t mlxn_profile_listening = MLXN_LISTEN_UNKNOWN;
/* Guards which profiler a device has. Taken by commits only while somebody listens. */
static pthread_mutex_t listeners = PTHREAD_MUTEX_INITIALIZER;

/* ---- life ---- */

mlxn_status mlxn_profiler_create(mlxn_device *device, const mlxn_profiler_desc *user, mlxn_profiler **out,
                                 mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "profiler: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "profiler: device is NULL");
    mlxn_profiler_desc desc = {.struct_size = sizeof desc};
    if (user) {
        if (user->struct_size < sizeof desc.struct_size)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "profiler: struct_size is %u, want sizeof(mlxn_profiler_desc) = %zu", user->struct_size,
                             sizeof desc);
        memcpy(&desc, user, mlxn_min_u64(user->struct_size, sizeof desc));
    }
    uint64_t most = desc.max_events ? desc.max_events : DEFAULT_EVENTS;
    mlxn_profiler *profiler = mlxn_alloc(sizeof *profiler);
    mlxn_profile_event *events = most <= SIZE_MAX ? mlxn_alloc_array((size_t)most, sizeof *events) : NULL;
    if (!profiler || !events) {
        mlxn_free(profiler);
        mlxn_free(events);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "profiler: out of memory for %llu events", (unsigned long long)most);
    }
    atomic_init(&profiler->refs, 1);
    pthread_mutex_init(&profiler->lock, NULL);
    profiler->device = mlxn_device_retain(device);
    profiler->events = events;
    profiler->max_events = most;
    profiler->names.most = MOST_NAMES;
    *out = profiler;
    return mlxn_succeed(error);
}

static void drop(mlxn_profiler *profiler) {
    if (atomic_fetch_sub_explicit(&profiler->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_names_free(&profiler->names);
    mlxn_free(profiler->events);
    mlxn_free(profiler->path);
    pthread_mutex_destroy(&profiler->lock);
    mlxn_device_release(&profiler->device);
    mlxn_free(profiler);
}

mlxn_status mlxn_profiler_start(mlxn_profiler *profiler, mlxn_error *error) {
    if (!profiler) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "profiler start: profiler is NULL");
    pthread_mutex_lock(&listeners);
    mlxn_profiler *now = atomic_load(&profiler->device->profiler);
    if (!now) {
        atomic_store(&profiler->device->profiler, profiler);
        atomic_fetch_add(&mlxn_profile_listening, MLXN_LISTEN_PROFILER);
    }
    pthread_mutex_unlock(&listeners);
    if (now && now != profiler)
        return mlxn_fail(error, MLXN_ERR_STATE, "profiler start: another profiler listens to the device %s",
                         profiler->device->info.name ? profiler->device->info.name : "");
    return mlxn_succeed(error);
}

void mlxn_profiler_stop(mlxn_profiler *profiler) {
    if (!profiler) return;
    pthread_mutex_lock(&listeners);
    if (atomic_load(&profiler->device->profiler) == profiler) {
        atomic_store(&profiler->device->profiler, NULL);
        atomic_fetch_sub(&mlxn_profile_listening, MLXN_LISTEN_PROFILER);
    }
    pthread_mutex_unlock(&listeners);
}

void mlxn_profiler_reset(mlxn_profiler *profiler) {
    if (!profiler) return;
    pthread_mutex_lock(&profiler->lock);
    uint64_t in_flight = profiler->stats.in_flight;
    profiler->n_events = 0;
    profiler->stats = (mlxn_profiler_stats){.in_flight = in_flight};
    mlxn_rows_clear(&profiler->by_kernel);
    mlxn_rows_clear(&profiler->by_label);
    pthread_mutex_unlock(&profiler->lock);
}

void mlxn_profiler_destroy(mlxn_profiler *profiler) {
    if (!profiler) return;
    mlxn_profiler_stop(profiler);
    drop(profiler);
}

/* ---- before execution ---- */

uint32_t mlxn_profile_gates(void) {
    uint32_t word = atomic_load_explicit(&mlxn_profile_listening, memory_order_relaxed);
    if (word & MLXN_LISTEN_UNKNOWN) {
        uint32_t bits = (mlxn_gate_on(MLXN_GATE_PROFILE_CB) ? MLXN_LISTEN_CB : 0) |
                        (mlxn_gate_on(MLXN_GATE_PROFILE_DISPATCH) ? MLXN_LISTEN_DISPATCH : 0);
        atomic_fetch_or(&mlxn_profile_listening, bits);
        word = atomic_fetch_and(&mlxn_profile_listening, ~(uint32_t)MLXN_LISTEN_UNKNOWN) | bits;
    }
    return word & (MLXN_LISTEN_CB | MLXN_LISTEN_DISPATCH);
}

void mlxn_profile_forget_gates(void) {
    atomic_fetch_and(&mlxn_profile_listening, ~(uint32_t)(MLXN_LISTEN_CB | MLXN_LISTEN_DISPATCH));
    atomic_fetch_or(&mlxn_profile_listening, MLXN_LISTEN_UNKNOWN);
}

static size_t count_samples(const mlxn_node_list *list) {
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++) {
        const mlxn_node *node = &list->nodes[i];
        n += node->kind == MLXN_NODE_LAUNCH ? count_samples(&node->u.launch->list) : mlxn_node_computes(node);
    }
    return n;
}

/* The memory stays with the command buffer, which is reused. */
static bool reserve(mlxn_command_buffer *cb, size_t n) {
    if (n > cb->sample_capacity || !cb->sample_memory) {
        size_t capacity = cb->sample_capacity ? cb->sample_capacity : 64;
        while (capacity < n) capacity *= 2;
        mlxn_sample *grown = mlxn_realloc_array(cb->sample_memory, capacity, sizeof *grown);
        if (!grown) return false;
        cb->sample_memory = grown;
        cb->sample_capacity = capacity;
    }
    memset(cb->sample_memory, 0, n * sizeof *cb->sample_memory);
    return true;
}

void mlxn_profile_attach(mlxn_command_buffer *cb) {
    bool tables = mlxn_profile_gates() && *mlxn_command_buffer_label(cb);
    pthread_mutex_lock(&listeners);
    mlxn_profiler *profiler = atomic_load(&cb->device->profiler);
    if (profiler) atomic_fetch_add_explicit(&profiler->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&listeners);
    if (!profiler && !tables) return;
    size_t n = count_samples(&cb->list);
    bool good = reserve(cb, n);
    if (profiler) {
        pthread_mutex_lock(&profiler->lock);
        if (good)
            profiler->stats.in_flight++;
        else
            profiler->stats.unmeasured++;
        pthread_mutex_unlock(&profiler->lock);
    }
    if (!good) {
        if (profiler) drop(profiler);
        return;
    }
    cb->profiler = profiler;
    cb->samples = cb->sample_memory;
    cb->n_samples = n;
    cb->sample = 0;
    cb->start_ns = cb->end_ns = 0;
    cb->commit_ns = mlxn_now_ns();
}

void mlxn_profile_detach(mlxn_command_buffer *cb) {
    mlxn_profiler *profiler = cb->profiler;
    cb->samples = NULL;
    cb->profiler = NULL;
    if (!profiler) return;
    pthread_mutex_lock(&profiler->lock);
    char *path = NULL;
    if (!--profiler->stats.in_flight) {
        path = profiler->path;
        profiler->path = NULL;
    }
    pthread_mutex_unlock(&profiler->lock);
    mlxn_error error;
    if (path && mlxn_profiler_write_trace(profiler, path, &error))
        mlxn_device_log(profiler->device, "mlxn: capture: %s", error.message);
    mlxn_free(path);
    drop(profiler);
}

mlxn_status mlxn_profiler_finish_to(mlxn_profiler *profiler, char *path, mlxn_error *error) {
    mlxn_profiler_stop(profiler);
    pthread_mutex_lock(&profiler->lock);
    bool later = profiler->stats.in_flight != 0;
    if (later) profiler->path = path;
    pthread_mutex_unlock(&profiler->lock);
    if (later) return mlxn_succeed(error);
    mlxn_error failure;
    mlxn_status status = mlxn_profiler_write_trace(profiler, path, &failure);
    if (status) mlxn_device_log(profiler->device, "mlxn: capture: %s", failure.message);
    if (error) *error = failure;
    mlxn_free(path);
    return status;
}

/* ---- after execution ---- */

typedef struct collection {
    mlxn_command_buffer *cb;
    mlxn_profiler *profiler; /* locked; NULL: none */
    mlxn_profile_event all;  /* of the command buffer */
    uint32_t tables;
    size_t sample;
    uint32_t index;
} collection;

static const char *intern(mlxn_profiler *profiler, const char *text) {
    const char *name = mlxn_names_get(&profiler->names, text);
    if (name) return name;
    profiler->stats.other_names++;
    return other;
}

static void keep(mlxn_profiler *profiler, const mlxn_profile_event *event) {
    if (profiler->n_events < profiler->max_events)
        profiler->events[profiler->n_events++] = *event;
    else
        profiler->stats.dropped++;
}

static void add_to(mlxn_profiler *profiler, mlxn_row_table *table, const char *a, const char *b,
                   const mlxn_profile_event *event) {
    mlxn_profile_row *row = mlxn_row_find(table, a, b);
    if (row) {
        mlxn_row_add(row, event);
    } else {
        profiler->stats.other_names++;
    }
}

/* Kernels of the user's own may be gone before the profile is read: their names are copied. */
static void name_event(mlxn_profiler *profiler, const mlxn_node *node, mlxn_profile_event *event) {
    event->op = mlxn_node_name(node);
    event->kernel = profiler->device->info.computes ? "reference" : "none";
    if (node->kind == MLXN_NODE_KERNEL) {
        event->op = intern(profiler, event->op);
        event->kernel = intern(profiler, mlxn_kernel_label(node->u.kernel->kernel));
    } else if (node->kind == MLXN_NODE_COPY || node->kind == MLXN_NODE_FILL) {
        event->kernel = event->op;
    } else if (node->u.dispatch->kernel) {
        event->kernel = node->u.dispatch->kernel->name;
        event->int8_ops = event->flops * node->u.dispatch->kernel->int8_passes;
    }
}

static void collect_node(collection *c, const mlxn_node *node) {
    const mlxn_sample *sample = &c->cb->samples[c->sample++];
    uint32_t index = c->index++;
    if (!sample->start_ns) return; /* it did not run */
    mlxn_profile_event event = c->all;
    event.kind = MLXN_PROFILE_OPERATION;
    event.index = index;
    event.start_ns = sample->start_ns;
    event.end_ns = mlxn_max_u64(sample->end_ns, sample->start_ns);
    event.busy_ns = sample->busy_ns;
    if (c->tables & MLXN_LISTEN_DISPATCH)
        mlxn_profile_dispatch_record(&(mlxn_profile_dispatch_entry){
            .label = mlxn_command_buffer_label(c->cb),
            .op = mlxn_node_name(node),
            .index = index,
            .duration_ns = event.end_ns - event.start_ns,
            .start_ns = event.start_ns,
            .end_ns = event.end_ns,
        });
    if (!c->profiler) return;
    mlxn_cost cost = mlxn_node_cost(node);
    event.bytes = cost.bytes;
    event.flops = cost.flops;
    event.int8_ops = 0;
    name_event(c->profiler, node, &event);
    keep(c->profiler, &event);
    add_to(c->profiler, &c->profiler->by_kernel, event.op, event.kernel, &event);
    c->profiler->stats.operations++;
    c->all.busy_ns += event.busy_ns;
    c->all.bytes += event.bytes;
    c->all.flops += event.flops;
    c->all.int8_ops += event.int8_ops;
}

static void collect_list(collection *c, const mlxn_node_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        const mlxn_node *node = &list->nodes[i];
        if (node->kind == MLXN_NODE_LAUNCH)
            collect_list(c, &node->u.launch->list);
        else if (mlxn_node_computes(node))
            collect_node(c, node);
    }
}

void mlxn_profile_collect(mlxn_command_buffer *cb) {
    mlxn_profiler *profiler = cb->profiler;
    const char *label = mlxn_command_buffer_label(cb);
    collection c = {.cb = cb, .profiler = profiler, .tables = *label ? mlxn_profile_gates() : 0};
    c.all = (mlxn_profile_event){.kind = MLXN_PROFILE_COMMAND_BUFFER,
                                 .op = "",
                                 .kernel = "",
                                 .label = "",
                                 .queue = cb->queue->id,
                                 .command_buffer = cb->serial,
                                 .commit_ns = cb->commit_ns,
                                 .start_ns = cb->start_ns,
                                 .end_ns = mlxn_max_u64(cb->end_ns, cb->start_ns)};
    bool ran = cb->start_ns != 0;
    if (ran && (c.tables & MLXN_LISTEN_CB)) mlxn_profile_cb_record(label, c.all.end_ns - c.all.start_ns);
    if (profiler) {
        pthread_mutex_lock(&profiler->lock);
        c.all.label = intern(profiler, label);
    }
    uint64_t place = profiler ? profiler->n_events : 0;
    mlxn_profile_event whole = c.all;
    if (profiler && ran) keep(profiler, &whole);
    if (ran) collect_list(&c, &cb->list);
    if (profiler && ran) {
        /* The sums are known only now. */
        c.all.index = c.index;
        if (place < profiler->max_events) profiler->events[place] = c.all;
        add_to(profiler, &profiler->by_label, c.all.label, "", &c.all);
        profiler->stats.command_buffers++;
    }
    if (profiler) pthread_mutex_unlock(&profiler->lock);
    mlxn_profile_detach(cb);
}

/* ---- reading ---- */

uint64_t mlxn_profiler_events(mlxn_profiler *profiler, uint64_t first, mlxn_profile_event *out, uint64_t n) {
    if (!profiler || !out) return 0;
    pthread_mutex_lock(&profiler->lock);
    uint64_t there = first < profiler->n_events ? profiler->n_events - first : 0;
    if (n > there) n = there;
    if (n) memcpy(out, profiler->events + first, n * sizeof *out);
    pthread_mutex_unlock(&profiler->lock);
    return n;
}

void mlxn_profiler_get_stats(mlxn_profiler *profiler, mlxn_profiler_stats *out) {
    if (!out) return;
    *out = (mlxn_profiler_stats){0};
    if (!profiler) return;
    pthread_mutex_lock(&profiler->lock);
    *out = profiler->stats;
    out->events = profiler->n_events;
    pthread_mutex_unlock(&profiler->lock);
}

static int by_total(const void *a, const void *b) {
    const mlxn_profile_row *x = a, *y = b;
    return x->total_ns < y->total_ns ? 1 : x->total_ns > y->total_ns ? -1 : 0;
}

uint32_t mlxn_profiler_rows(mlxn_profiler *profiler, mlxn_profile_group group, mlxn_profile_row *out, uint32_t n) {
    if (!profiler) return 0;
    mlxn_row_table *table = group == MLXN_PROFILE_BY_LABEL ? &profiler->by_label : &profiler->by_kernel;
    pthread_mutex_lock(&profiler->lock);
    uint32_t count = table->count, order[MLXN_PROFILE_ROWS];
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    for (uint32_t i = 0; out && i < n && i < count; i++) { /* the next largest: n is small where it is called often */
        uint32_t best = i;
        for (uint32_t k = i + 1; k < count; k++)
            if (by_total(&table->rows[order[best]], &table->rows[order[k]]) > 0) best = k;
        uint32_t row = order[best];
        order[best] = order[i];
        order[i] = row;
        out[i] = table->rows[row];
        if (group == MLXN_PROFILE_BY_LABEL) {
            out[i].label = out[i].op;
            out[i].op = "";
        }
    }
    pthread_mutex_unlock(&profiler->lock);
    return count;
}
