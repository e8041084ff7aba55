/* node_list.c: recorded nodes and the objects that they keep alive, each once. */
#include "core/core.h"

mlxn_node *mlxn_list_add(mlxn_node_list *list, mlxn_node_kind kind) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 16;
        mlxn_node *grown = mlxn_realloc_array(list->nodes, capacity, sizeof *grown);
        if (!grown) return NULL;
        list->nodes = grown;
        list->capacity = capacity;
    }
    mlxn_node *node = &list->nodes[list->count++];
    node->kind = kind;
    return node;
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
            mlxn_graph_hold(object);
            break;
    }
    return true;
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
            mlxn_graph_drop(object);
            break;
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
}

void mlxn_list_free(mlxn_node_list *list) {
    mlxn_list_clear(list);
    mlxn_free(list->nodes);
    mlxn_free(list->keep.slots);
    mlxn_free(list->keep.order);
    *list = (mlxn_node_list){0};
}
