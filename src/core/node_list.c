/* node_list.c: recorded nodes, the arena of their arguments, and the objects that they keep alive, each once. */
#include "core/core.h"
#include "core/kernel.h"

struct mlxn_arena_block {
    mlxn_arena_block *next;
    size_t size; /* of data */
    _Alignas(16) uint8_t data[];
};

enum { BLOCK_BYTES = 32 << 10 };

void *mlxn_list_alloc(mlxn_node_list *list, size_t bytes) {
    bytes = (bytes + 15) & ~(size_t)15;
    if (list->block && list->block->size - list->used >= bytes) {
        void *memory = list->block->data + list->used;
        list->used += bytes;
        return memory;
    }
    /* Blocks behind the one in use are free: of an earlier use of the list. */
    mlxn_arena_block *next = list->block ? list->block->next : list->blocks;
    if (!next || next->size < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        mlxn_arena_block *fresh = mlxn_alloc(sizeof *fresh + size);
        if (!fresh) return NULL;
        fresh->size = size;
        fresh->next = next;
        *(list->block ? &list->block->next : &list->blocks) = fresh;
        next = fresh;
    }
    list->block = next;
    list->used = bytes;
    return next->data;
}

mlxn_dispatch *mlxn_list_dispatch(mlxn_node_list *list, const mlxn_op_def *op, uint32_t n_args) {
    size_t params = (op->params_size + 7) & ~(size_t)7;
    size_t each = sizeof(mlxn_view) + sizeof(mlxn_binding) + sizeof(mlxn_weight *);
    uint8_t *memory = mlxn_list_alloc(list, sizeof(mlxn_dispatch) + n_args * each + params);
    if (!memory) return NULL;
    mlxn_dispatch *d = (mlxn_dispatch *)memory;
    d->op = op;
    d->kernel = NULL;
    d->n_args = n_args;
    d->args = (mlxn_view *)(d + 1);
    d->bindings = (mlxn_binding *)(d->args + n_args);
    d->weights = (mlxn_weight **)(d->bindings + n_args);
    d->params = (uint64_t *)(d->weights + n_args);
    return d;
}

bool mlxn_list_grow(mlxn_node_list *list) {
    size_t capacity = list->capacity ? list->capacity * 2 : 16;
    mlxn_node *grown = mlxn_realloc_array(list->nodes, capacity, sizeof *grown);
    if (!grown) return false;
    list->nodes = grown;
    list->capacity = capacity;
    return true;
}

/* Objects are aligned to 16, so the kind fits in the low bits. */
static void *tag(void *object, mlxn_keep_kind kind) { return (void *)((uintptr_t)object | (uintptr_t)kind); }

static void **slot_of(void **slots, size_t capacity, void *tagged) {
    size_t i = (size_t)(((uint64_t)(uintptr_t)tagged * 0x9e3779b97f4a7c15ull) >> 32) & (capacity - 1);
    while (slots[i] && slots[i] != tagged) i = (i + 1) & (capacity - 1);
    return &slots[i];
}

bool mlxn_list_keep(mlxn_node_list *list, void *object, mlxn_keep_kind kind) {
    struct mlxn_keep *keep = &list->keep;
    if ((keep->count + 1) * 2 > keep->capacity) {
        size_t capacity = keep->capacity ? keep->capacity * 2 : 32;
        void **slots = mlxn_alloc_array(capacity, sizeof *slots);
        void **order = mlxn_realloc_array(keep->order, capacity / 2, sizeof *order);
        if (order) keep->order = order;
        if (!slots || !order) {
            mlxn_free(slots);
            return false;
        }
        for (size_t i = 0; i < keep->count; i++) *slot_of(slots, capacity, keep->order[i]) = keep->order[i];
        mlxn_free(keep->slots);
        keep->slots = slots;
        keep->capacity = capacity;
    }
    void *tagged = tag(object, kind), **slot = slot_of(keep->slots, keep->capacity, tagged);
    if (*slot) return true;
    *slot = tagged;
    keep->order[keep->count++] = tagged;
    switch (kind) {
        case MLXN_KEEP_BUFFER:
            mlxn_buffer_hold(object);
            break;
        case MLXN_KEEP_WEIGHT:
            mlxn_weight_retain(object);
            break;
        case MLXN_KEEP_TIMELINE:
            mlxn_timeline_retain(object);
            break;
        case MLXN_KEEP_GRAPH:
            mlxn_graph_instance_hold(object);
            break;
        case MLXN_KEEP_KERNEL:
            mlxn_kernel_retain(object);
            break;
    }
    return true;
}

static bool keep_binding(mlxn_node_list *list, mlxn_buffer *buffer) {
    return !buffer || mlxn_list_keep(list, buffer, MLXN_KEEP_BUFFER);
}

bool mlxn_list_keep_node(mlxn_node_list *list, const mlxn_node *node) {
    bool good = true;
    switch (node->kind) {
        case MLXN_NODE_DISPATCH: {
            const mlxn_dispatch *d = node->u.dispatch;
            for (uint32_t i = 0; good && i < d->n_args; i++)
                good = keep_binding(list, d->bindings[i].buffer) &&
                       (!d->weights[i] || mlxn_list_keep(list, d->weights[i], MLXN_KEEP_WEIGHT));
            return good;
        }
        case MLXN_NODE_KERNEL: {
            const mlxn_kernel_launch *k = node->u.kernel;
            good = mlxn_list_keep(list, k->kernel, MLXN_KEEP_KERNEL);
            for (uint32_t i = 0; good && i < k->n_bindings; i++)
                good = keep_binding(list, k->bindings[i].memory.buffer);
            return good;
        }
        case MLXN_NODE_COPY:
            return keep_binding(list, node->u.copy.src) && keep_binding(list, node->u.copy.dst);
        case MLXN_NODE_FILL:
            return keep_binding(list, node->u.fill.dst);
        default:
            return true;
    }
}

static void release(void *tagged) {
    mlxn_keep_kind kind = (mlxn_keep_kind)((uintptr_t)tagged & 15);
    void *object = (void *)((uintptr_t)tagged & ~(uintptr_t)15);
    switch (kind) {
        case MLXN_KEEP_BUFFER:
            mlxn_buffer_drop(object);
            break;
        case MLXN_KEEP_WEIGHT: {
            mlxn_weight *weight = object;
            mlxn_weight_release(&weight);
            break;
        }
        case MLXN_KEEP_TIMELINE: {
            mlxn_timeline *timeline = object;
            mlxn_timeline_release(&timeline);
            break;
        }
        case MLXN_KEEP_GRAPH:
            mlxn_graph_instance_drop(object);
            break;
        case MLXN_KEEP_KERNEL: {
            mlxn_kernel *kernel = object;
            mlxn_kernel_release(&kernel);
            break;
        }
    }
}

void mlxn_list_clear(mlxn_node_list *list) {
    for (size_t i = 0; i < list->keep.count; i++) {
        void *tagged = list->keep.order[i];
        release(tagged);
    }
    if (list->keep.count) memset(list->keep.slots, 0, list->keep.capacity * sizeof *list->keep.slots);
    list->keep.count = 0;
    list->count = 0;
    list->block = NULL;
    list->used = 0;
}

void mlxn_list_free(mlxn_node_list *list) {
    mlxn_list_clear(list);
    mlxn_free(list->nodes);
    while (list->blocks) {
        mlxn_arena_block *next = list->blocks->next;
        mlxn_free(list->blocks);
        list->blocks = next;
    }
    mlxn_free(list->keep.slots);
    mlxn_free(list->keep.order);
    *list = (mlxn_node_list){0};
}
