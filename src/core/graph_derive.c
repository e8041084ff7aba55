/* graph_derive.c: from the source of a graph to what runs: groups, order, barriers, program. */
#include "core/graph.h"

typedef struct derivation {
    mlxn_level_map *map;
    uint32_t top, floor; /* the latest group so far; no later node may be in an earlier group than this */
    uint64_t fences;
} derivation;

/* The group of one node. In order of capture no node comes before the one before it; reordered, nothing but what it
 * has to come after keeps it back. */
static bool find_level(derivation *d, const mlxn_graph_source *source, uint32_t i) {
    mlxn_access_list list;
    mlxn_node_accesses(&source->nodes[i], &list);
    d->fences += list.fence;
    bool fence = list.fence || source->serial;
    uint32_t level = source->reorder || !d->top ? 1 : d->top;
    if (!source->reorder && source->barriers[i] && d->top) d->floor = d->top + 1;
    if (d->floor > level) level = d->floor;
    for (size_t k = 0; k < list.count; k++) {
        const mlxn_access *a = &list.items[k];
        uint32_t before = mlxn_levels_before(d->map, a->buffer, a->start, a->end, a->write);
        if (before >= level) level = before + 1;
    }
    if (fence && d->top >= level) level = d->top + 1;
    if (fence) d->floor = level + 1;
    if (level > d->top) d->top = level;
    source->level[i] = level;
    for (size_t k = 0; k < list.count; k++) {
        const mlxn_access *a = &list.items[k];
        if (!mlxn_levels_note(d->map, a->buffer, a->start, a->end, a->write, level)) return false;
    }
    return true;
}

static bool reserve(mlxn_graph_source *source, size_t need) {
    if (need <= source->spare_capacity) return true;
    mlxn_node *grown = mlxn_realloc_array(source->spare, need, sizeof *grown);
    if (!grown) return false;
    source->spare = grown;
    source->spare_capacity = need;
    return true;
}

static void put_barrier(mlxn_node *nodes, size_t *n, bool asked) {
    nodes[*n].kind = MLXN_NODE_BARRIER;
    nodes[(*n)++].u.asked = asked;
}

/* The nodes with barriers, in order of capture. */
static size_t emit_in_order(mlxn_graph_source *source) {
    size_t n = 0;
    for (uint32_t i = 0; i <= source->count; i++) {
        for (uint32_t k = 0; k < source->barriers[i]; k++) put_barrier(source->spare, &n, true);
        if (i == source->count) break;
        if (i && !source->barriers[i] && source->level[i] != source->level[i - 1])
            put_barrier(source->spare, &n, false);
        source->ordinal[i] = i;
        source->place[i] = (uint32_t)n;
        source->spare[n++] = source->nodes[i];
    }
    return n;
}

/* Group by group; a group keeps the order of capture: a counting sort whose counters are in place[]. */
static size_t emit_by_level(mlxn_graph_source *source, uint32_t groups, uint32_t *first) {
    for (uint32_t i = 0; i < source->count; i++) first[source->level[i]]++;
    for (uint32_t g = 1, sum = 0; g <= groups; g++) {
        uint32_t here = first[g];
        first[g] = sum;
        sum += here;
    }
    for (uint32_t i = 0; i < source->count; i++) {
        uint32_t level = source->level[i], ordinal = first[level]++;
        source->ordinal[i] = ordinal;
        source->place[i] = ordinal + level - 1; /* a barrier before every group but the first */
        source->spare[source->place[i]] = source->nodes[i];
        source->moved += ordinal != i;
    }
    for (uint32_t g = 1; g < groups; g++) {
        size_t at = (size_t)first[g] + g - 1;
        put_barrier(source->spare, &at, false);
    }
    return source->count + (groups ? groups - 1 : 0);
}

static mlxn_status no_memory(const mlxn_graph_source *source, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "graph: out of memory for the order of %u nodes", source->count);
}

/* Levels, places of temporaries and the node list in source->spare. */
static mlxn_status arrange(mlxn_graph_instance *instance, derivation *d, size_t *count, mlxn_error *error) {
    mlxn_graph_source *source = instance->source;
    size_t asked = 0;
    mlxn_levels_reset(d->map);
    for (uint32_t i = 0; i < source->count; i++)
        if (!find_level(d, source, i)) return no_memory(source, error);
    for (uint32_t i = 0; i <= source->count; i++) asked += source->barriers[i];
    if (!reserve(source, (size_t)2 * source->count + asked + 1)) return no_memory(source, error);
    uint32_t *first = source->reorder ? mlxn_alloc_array((size_t)d->top + 1, sizeof *first) : NULL;
    if (source->reorder && !first) return no_memory(source, error);
    mlxn_status status = mlxn_temporaries_plan(instance->device, source, error);
    if (!status) {
        mlxn_temporaries_bind(source);
        source->moved = 0;
        *count = source->reorder ? emit_by_level(source, d->top, first) : emit_in_order(source);
    }
    mlxn_free(first);
    return status;
}

mlxn_status mlxn_graph_derive(mlxn_graph_instance *instance, mlxn_level_map *levels, bool program,
                              mlxn_error *error) {
    mlxn_graph_source *source = instance->source;
    derivation d = {.map = levels, .floor = 1};
    size_t count = 0;
    mlxn_temporaries_unbind(source);
    mlxn_status status = arrange(instance, &d, &count, error);
    if (status) {
        mlxn_temporaries_bind(source);
        return status;
    }
    if (program) {
        const mlxn_backend *backend = instance->device->backend;
        status =
            backend->program_create(instance->device->impl, source->spare, count, &instance->program, error);
        if (status) return status;
    }
    mlxn_node *old = instance->list.nodes;
    size_t capacity = instance->list.capacity;
    instance->list.nodes = source->spare;
    instance->list.capacity = source->spare_capacity;
    instance->list.count = count;
    source->spare = old;
    source->spare_capacity = capacity;
    instance->dispatches = source->count;
    instance->barriers = count - source->count;
    source->groups = d.top;
    source->fences = d.fences;
    source->stale_order = false;
    source->stale_program = !program;
    if (source->reorder && mlxn_gate_on(MLXN_GATE_REORDER_DUMP))
        mlxn_device_log(instance->device, "mlxn: reorder: %u nodes, %llu moved, %llu groups, %llu kept in place",
                        source->count, (unsigned long long)source->moved, (unsigned long long)source->groups,
                        (unsigned long long)d.fences);
    return MLXN_OK;
}

mlxn_status mlxn_graph_program(mlxn_graph_instance *instance, mlxn_error *error) {
    const mlxn_backend *backend = instance->device->backend;
    mlxn_status status = backend->program_create(instance->device->impl, instance->list.nodes, instance->list.count,
                                                 &instance->program, error);
    if (!status) instance->source->stale_program = false;
    return status;
}
