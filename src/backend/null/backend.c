/* backend.c: the null device. Memory is host memory, order and timelines are real, operations only leave a line of
 * text, so that streams of commands can be compared with golden ones and core can run where no kernel does. */
#include "backend/null/backend.h"

#include <inttypes.h>
#include <stdio.h>

#include "backend/null/kernel.h"
#include "core/host_queue.h"

typedef struct null_device {
    pthread_mutex_t lock; /* the text: queues write whole lines into it in turns */
    bool silent;
    char *text;
    size_t used, capacity;
    bool lost; /* out of memory: the text is incomplete and says so */
} null_device;

static uint32_t device_count(mlxn_error *error) {
    mlxn_succeed(error);
    return 1;
}

static void put(null_device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(null_device *device, const char *format, ...) {
    if (device->lost) return;
    for (int attempt = 0; attempt < 2; attempt++) {
        va_list args;
        va_start(args, format);
        size_t room = device->capacity - device->used;
        int n = vsnprintf(device->text ? device->text + device->used : NULL, device->text ? room : 0, format, args);
        va_end(args);
        if (n < 0) return;
        if ((size_t)n < room) {
            device->used += (size_t)n;
            return;
        }
        size_t capacity = (device->capacity + (size_t)n + 1) * 2;
        char *grown = mlxn_realloc_array(device->text, capacity, 1);
        if (!grown) {
            device->lost = true;
            if (device->text) device->text[device->used] = 0;
            return;
        }
        device->text = grown;
        device->capacity = capacity;
    }
}

static void put_args(null_device *device, const mlxn_dispatch *d) {
    for (uint32_t i = 0; i < d->n_args; i++) {
        const mlxn_view *v = &d->args[i];
        put(device, " %s=", d->op->args[i].name);
        if (!v->present) {
            put(device, "-");
        } else if (v->weight) {
            put(device, "%s[%" PRIu64 ",%" PRIu64 "]", mlxn_format_name(v->weight->format), v->dims[0], v->dims[1]);
        } else {
            put(device, "b%" PRIu64 "+%" PRIu64 ":%s[", d->bindings[i].buffer->id, d->bindings[i].offset,
                mlxn_dtype_name(v->dtype));
            for (uint32_t k = 0; k < v->rank; k++) put(device, "%s%" PRIu64, k ? "," : "", v->dims[k]);
            put(device, "]");
        }
    }
}

static void put_kernel(null_device *device, const mlxn_kernel_launch *k) {
    put(device, "kernel %s", mlxn_kernel_label(k->kernel));
    for (uint32_t i = 0; i < k->n_bindings; i++) {
        const mlxn_kernel_binding *b = &k->bindings[i];
        if (b->memory.buffer)
            put(device, " %u=b%" PRIu64 "+%" PRIu64 ":%" PRIu64, b->slot, b->memory.buffer->id, b->memory.offset,
                b->bytes);
        else
            put(device, " %u=inline:%" PRIu64, b->slot, b->bytes);
    }
    put(device, " grid=%" PRIu64 ",%" PRIu64 ",%" PRIu64 " group=%u,%u,%u", k->threads[0], k->threads[1],
        k->threads[2], k->group[0], k->group[1], k->group[2]);
    if (k->group_memory) put(device, " memory=%" PRIu64, k->group_memory);
    put(device, "\n");
}

static void put_node(null_device *device, const mlxn_node *node) {
    switch (node->kind) {
        case MLXN_NODE_DISPATCH:
            put(device, "dispatch %s", node->u.dispatch->op->name);
            put_args(device, node->u.dispatch);
            put(device, "\n");
            break;
        case MLXN_NODE_KERNEL:
            put_kernel(device, node->u.kernel);
            break;
        case MLXN_NODE_COPY:
            put(device, "copy b%" PRIu64 "+%" PRIu64 " -> b%" PRIu64 "+%" PRIu64 " bytes=%" PRIu64 "\n",
                node->u.copy.src->id, node->u.copy.src_offset, node->u.copy.dst->id, node->u.copy.dst_offset,
                node->u.copy.bytes);
            break;
        case MLXN_NODE_FILL:
            put(device, "fill b%" PRIu64 "+%" PRIu64 " bytes=%" PRIu64 " value=%u\n", node->u.fill.dst->id,
                node->u.fill.offset, node->u.fill.bytes, node->u.fill.value);
            break;
        case MLXN_NODE_LAUNCH: {
            const mlxn_graph_instance *graph = node->u.launch;
            put(device, "launch dispatches=%" PRIu64 " {\n", graph->dispatches);
            for (size_t i = 0; i < graph->list.count; i++) put_node(device, &graph->list.nodes[i]);
            put(device, "}\n");
            break;
        }
        case MLXN_NODE_SIGNAL:
        case MLXN_NODE_WAIT:
            put(device, "%s value=%" PRIu64 "\n", mlxn_node_name(node), node->u.sync.value);
            break;
        default:
            put(device, "%s\n", mlxn_node_name(node));
    }
}

static void put_locked(null_device *device, const mlxn_node *node) {
    if (device->silent) return;
    pthread_mutex_lock(&device->lock);
    put_node(device, node);
    pthread_mutex_unlock(&device->lock);
}

static void put_line(null_device *device, const char *format, const char *word) {
    if (device->silent) return;
    pthread_mutex_lock(&device->lock);
    put(device, format, word);
    pthread_mutex_unlock(&device->lock);
}

/* Nothing takes time here: a sample is the moment at which its node came up. */
static void sample_nodes(mlxn_command_buffer *cb, const mlxn_node *nodes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (nodes[i].kind == MLXN_NODE_LAUNCH)
            sample_nodes(cb, nodes[i].u.launch->list.nodes, nodes[i].u.launch->list.count);
        if (!mlxn_node_computes(&nodes[i])) continue;
        mlxn_sample *sample = mlxn_cb_take_samples(cb, 1);
        if (sample) sample->start_ns = sample->end_ns = mlxn_now_ns();
    }
}

static mlxn_run_result run(void *impl, mlxn_command_buffer *cb, mlxn_timeline **timeline, mlxn_error *error) {
    null_device *device = impl;
    if (!cb->started) put_line(device, "begin \"%s\"\n", mlxn_command_buffer_label(cb));
    cb->started = true;
    for (; cb->cursor < cb->list.count; cb->cursor++) {
        const mlxn_node *node = &cb->list.nodes[cb->cursor];
        if (node->kind == MLXN_NODE_SIGNAL || node->kind == MLXN_NODE_WAIT) {
            mlxn_run_result result = mlxn_host_queue_sync(cb, node, timeline, error);
            if (result != MLXN_RUN_DONE) return result;
        }
        if (cb->samples) {
            cb->end_ns = mlxn_now_ns();
            if (!cb->start_ns) cb->start_ns = cb->end_ns;
            sample_nodes(cb, node, 1);
        }
        put_locked(device, node);
    }
    if (cb->samples) {
        cb->end_ns = mlxn_now_ns();
        if (!cb->start_ns) cb->start_ns = cb->end_ns;
    }
    put_line(device, "%s", "end\n");
    return MLXN_RUN_DONE;
}

static mlxn_status open_device(mlxn_device *owner, const mlxn_device_desc *desc, void **impl, mlxn_error *error) {
    null_device *device = mlxn_alloc(sizeof *device);
    if (!device) return mlxn_fail(error, MLXN_ERR_MEMORY, "device: out of memory for the null device");
    pthread_mutex_init(&device->lock, NULL);
    device->silent = desc->no_stream;
    *impl = device;
    return MLXN_OK;
}

static void close_device(void *impl) {
    null_device *device = impl;
    pthread_mutex_destroy(&device->lock);
    mlxn_free(device->text);
    mlxn_free(device);
}

static void info(void *impl, mlxn_device_info *out) {
    out->name = "null device (records commands, computes nothing)";
    out->threads = 1;
    out->host_visible = true;
}

static mlxn_status memory_create(void *impl, uint64_t bytes, void **storage, void **host, mlxn_error *error) {
    *storage = *host = bytes <= SIZE_MAX ? mlxn_alloc_aligned((size_t)bytes) : NULL;
    if (!*storage) return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer: %" PRIu64 " bytes: out of memory", bytes);
    return MLXN_OK;
}
static void memory_destroy(void *impl, void *storage, uint64_t bytes) { mlxn_free_aligned(storage); }
static mlxn_status memory_wrap(void *impl, void *memory, uint64_t bytes, void **storage, void **host,
                               mlxn_error *error) {
    *storage = *host = memory;
    return MLXN_OK;
}
static void memory_unwrap(void *impl, void *storage) {}
static mlxn_status memory_read(void *impl, void *storage, uint64_t offset, void *dst, uint64_t bytes,
                               mlxn_error *error) {
    memcpy(dst, (const uint8_t *)storage + offset, bytes);
    return MLXN_OK;
}
static mlxn_status memory_write(void *impl, void *storage, uint64_t offset, const void *src, uint64_t bytes,
                                mlxn_error *error) {
    memcpy((uint8_t *)storage + offset, src, bytes);
    return MLXN_OK;
}
static mlxn_status weight_prepare(void *impl, const mlxn_weight_view *raw, const mlxn_weight_progress *progress,
                                  mlxn_weight_view *out, void **storage, mlxn_error *error) {
    *out = *raw;
    *storage = NULL;
    return MLXN_OK;
}
static void weight_destroy(void *impl, void *storage) {}

static const mlxn_kernel_row *kernels(size_t *count) {
    *count = 0;
    return NULL;
}
static mlxn_status program_create(void *impl, const mlxn_node *nodes, size_t n, void **program, mlxn_error *error) {
    return MLXN_OK; /* nodes are read as they are */
}
static void program_destroy(void *impl, void *program) {}
static mlxn_status queue_create(void *impl, void **queue, mlxn_error *error) {
    return mlxn_host_queue_create(run, impl, queue, error);
}
static const char *stream_text(void *impl) {
    null_device *device = impl;
    pthread_mutex_lock(&device->lock);
    const char *text = device->lost ? "(text lost: out of memory)\n" : device->text ? device->text : "";
    pthread_mutex_unlock(&device->lock);
    return text;
}
static void stream_clear(void *impl) {
    null_device *device = impl;
    pthread_mutex_lock(&device->lock);
    device->used = 0;
    device->lost = false;
    if (device->text) device->text[0] = 0;
    pthread_mutex_unlock(&device->lock);
}

const mlxn_backend mlxn_backend_null = {
    .name = "null",
    .device_count = device_count,
    .open = open_device,
    .close = close_device,
    .info = info,
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .memory_wrap = memory_wrap,
    .memory_unwrap = memory_unwrap,
    .memory_read = memory_read,
    .memory_write = memory_write,
    .weight_prepare = weight_prepare,
    .weight_destroy = weight_destroy,
    .kernels = kernels,
    .program_create = program_create,
    .program_destroy = program_destroy,
    .queue_create = queue_create,
    .queue_destroy = mlxn_host_queue_destroy,
    .submit = mlxn_host_queue_submit,
    .wait = mlxn_host_queue_wait,
    .kernel_prepare = null_kernel_prepare,
    .kernel_release = null_kernel_release,
    .stream_text = stream_text,
    .stream_clear = stream_clear,
};
