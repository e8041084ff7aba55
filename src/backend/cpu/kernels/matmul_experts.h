/* matmul_experts.h: what the kernels of expert-routed products share: slots (rows of the output) sorted by matrix.
 *
 * Three phases: sort the slots; bring the activations into the form that is multiplied, in blocks of tokens of one
 * matrix; multiply, a chunk being some tiles of a matrix times all of its tokens. So a matrix is read once, however
 * the ids lie. Few slots are not worth sorting: each is multiplied by itself, with the same bits. Which matrices have
 * slots is known only after the first phase: later ones plan for the most there can be and find some chunks empty. */
#ifndef MLXN_SRC_CPU_MATMUL_EXPERTS_H
#define MLXN_SRC_CPU_MATMUL_EXPERTS_H

#include "backend/cpu/kernels/matmul.h"

enum { ID_X, ID_W, ID_IDS, ID_BIAS, ID_OUT };

/* Upper bounds, from the shapes alone. */
typedef struct mm_route_shape {
    uint64_t slots, experts, active, blocks, panel_tiles, panels, bytes;
    uint64_t slots_per_row; /* of x */
    bool each;              /* every slot by itself */
} mm_route_shape;

/* Lies in the shared memory; all but `counts` is filled by the first phase. Matrix number i of those with slots is
 * expert[i]; its slots are slots[begin[i]] to slots[begin[i + 1] - 1], its blocks block[i] to block[i + 1] - 1. */
typedef struct mm_route {
    uint32_t *active, *expert, *begin, *block, *counts, *slots;
} mm_route;

/* Whether slots are few enough to go one by one, as HF2Q_MM_ID_ROUTING_THRESHOLD says. */
static inline bool mm_route_each(const mlxn_view *args) { return args[ID_OUT].dims[0] < cpu_mm_id_threshold(); }

static inline mm_route_shape mm_route_shape_of(const mlxn_view *args, uint32_t n_threads, uint32_t tiles,
                                               uint32_t block) {
    enum { CHUNKS_PER_THREAD = 8, CHUNK_BYTES = 128 << 10, MIN_BYTES = 8 << 10 };
    const mlxn_weight_view *w = args[ID_W].weight;
    mm_route_shape s = {.slots = args[ID_OUT].dims[0], .experts = mlxn_weight_view_experts(w)};
    s.each = mm_route_each(args);
    s.active = s.each ? s.slots : mlxn_min_u64(s.slots, s.experts);
    s.blocks = s.slots / block + s.active;
    uint64_t count = cpu_tile_count(w), tile_bytes = mlxn_max_u64(1, cpu_expert_bytes(w) / count);
    uint64_t bytes = s.active * cpu_expert_bytes(w) / (CHUNKS_PER_THREAD * (uint64_t)n_threads);
    bytes = mlxn_max_u64(MIN_BYTES, mlxn_min_u64(CHUNK_BYTES, bytes));
    s.panel_tiles = (mlxn_max_u64(1, bytes / tile_bytes) + tiles - 1) / tiles * tiles;
    s.panels = (count + s.panel_tiles - 1) / s.panel_tiles;
    s.bytes = ((1 + s.active + 2 * (s.active + 1) + s.experts + s.slots) * sizeof(uint32_t) + 63) / 64 * 64;
    s.slots_per_row = args[ID_X].dims[0] == s.slots ? 1 : s.slots / args[ID_X].dims[0];
    return s;
}

static inline mm_route mm_route_in(const mm_route_shape *s, void *shared) {
    mm_route r = {.active = shared};
    r.expert = r.active + 1;
    r.begin = r.expert + s->active;
    r.block = r.begin + s->active + 1;
    r.counts = r.block + s->active + 1;
    r.slots = r.counts + s->experts;
    return r;
}

static inline uint32_t mm_route_id(const mlxn_view *ids, uint64_t slot) {
    uint64_t k = ids->rank == 2 ? ids->dims[1] : 1;
    int64_t at = (int64_t)(slot / k) * ids->strides[0] + (ids->rank == 2 ? (int64_t)(slot % k) * ids->strides[1] : 0);
    return ((const uint32_t *)ids->data)[at];
}

/* Sorts the slots (those of one matrix stay in order); rows whose id names no matrix become zeros. */
static inline void mm_route_build(const mlxn_view *args, const mm_route_shape *s, uint32_t tokens_per_block,
                                  const mm_route *r) {
    const mlxn_view *ids = &args[ID_IDS], *out = &args[ID_OUT];
    memset(r->counts, 0, s->experts * sizeof *r->counts);
    for (uint64_t slot = 0; slot < s->slots; slot++) {
        uint32_t id = mm_route_id(ids, slot);
        if (id < s->experts)
            r->counts[id]++;
        else
            memset((float *)out->data + (int64_t)slot * out->strides[0], 0, out->dims[1] * sizeof(float));
    }
    uint32_t active = 0, at = 0, block = 0;
    for (uint64_t slot = 0; s->each && slot < s->slots; slot++) {
        uint32_t id = mm_route_id(ids, slot);
        if (id >= s->experts) continue;
        r->expert[active] = id;
        r->begin[active] = r->block[active] = active;
        r->slots[active++] = (uint32_t)slot;
    }
    if (s->each) {
        r->begin[active] = r->block[active] = *r->active = active;
        return;
    }
    for (uint32_t e = 0; e < s->experts; e++) {
        uint32_t count = r->counts[e];
        if (!count) continue;
        r->expert[active] = e;
        r->begin[active] = at;
        r->block[active++] = block;
        r->counts[e] = at;
        at += count;
        block += (count + tokens_per_block - 1) / tokens_per_block;
    }
    r->begin[active] = at;
    r->block[active] = block;
    *r->active = active;
    for (uint64_t slot = 0; slot < s->slots; slot++) {
        uint32_t id = mm_route_id(ids, slot);
        if (id < s->experts) r->slots[r->counts[id]++] = (uint32_t)slot;
    }
}

/* Which matrix a block belongs to. */
static inline uint32_t mm_route_matrix(const mm_route *r, uint64_t block) {
    uint32_t low = 0, high = *r->active;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (r->block[middle] <= block)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static inline mm_target mm_route_target(const mlxn_view *args, const mm_route *r, uint32_t i) {
    const mlxn_view *bias = &args[ID_BIAS], *out = &args[ID_OUT];
    return (mm_target){
        .out = out->data,
        .bias = bias->present ? (const float *)bias->data + (int64_t)r->expert[i] * bias->strides[0] : NULL,
        .out_step = out->strides[0],
        .rows = out->dims[1],
        .slots = r->slots + r->begin[i]};
}

static inline bool mm_route_fits(const mlxn_view *args) {
    return args[ID_W].weight->packed && args[ID_OUT].dims[0] <= UINT32_MAX / 2 && mm_dense_rows(&args[ID_X]) &&
           mm_dense_rows(&args[ID_BIAS]) && mm_dense_rows(&args[ID_OUT]);
}

#endif
