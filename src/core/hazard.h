/* hazard.h: which byte ranges the current group of dispatches reads and writes.
 *
 * Exact half-open ranges [start, end), keyed by buffer: two accesses conflict when they share a byte and one of them
 * writes. The ranges of a buffer are sorted disjoint intervals, apart by at least one byte; the first few lie in the
 * buffer's record, more of them in leaves of up to 32 under a sorted index. A check is two binary searches, an
 * insertion moves at most one leaf, so the cost per dispatch does not grow with the size of the group in any order of
 * ranges. A new group forgets everything in constant time and keeps the memory: once warm nothing is allocated. */
#ifndef MLXN_SRC_HAZARD_H
#define MLXN_SRC_HAZARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mlxn_interval {
    uint64_t start, end;
} mlxn_interval;

enum { MLXN_INTERVALS_FEW = 2, MLXN_LEAF_INTERVALS = 32, MLXN_LEAVES_PER_CHUNK = 16 };

typedef struct mlxn_interval_leaf {
    uint32_t count;
    struct mlxn_interval_leaf *next_free;
    mlxn_interval items[MLXN_LEAF_INTERVALS];
} mlxn_interval_leaf;

/* start is that of the first interval of the leaf. */
typedef struct mlxn_leaf_ref {
    uint64_t start;
    mlxn_interval_leaf *leaf;
} mlxn_leaf_ref;

typedef struct mlxn_leaf_index {
    mlxn_leaf_ref *refs;
    uint32_t count, capacity;
} mlxn_leaf_index;

/* Intervals in `few`, or in the leaves of index number `index` - 1; then few[0] is the span of them all. */
typedef struct mlxn_interval_set {
    uint32_t count; /* of `few` */
    uint32_t index; /* 0: none */
    mlxn_interval few[MLXN_INTERVALS_FEW];
} mlxn_interval_set;

typedef struct mlxn_hazard_entry {
    mlxn_interval_set reads, writes;
} mlxn_hazard_entry;

/* Valid in the group whose stamp it has; every other slot is as good as empty. */
typedef struct mlxn_hazard_slot {
    const void *key;
    uint32_t stamp, entry;
} mlxn_hazard_slot;

/* Starts as zeros. */
typedef struct mlxn_hazards {
    mlxn_hazard_slot *slots; /* open addressing, capacity a power of two, at most half of it live */
    size_t capacity;
    uint32_t shift;             /* of the hash */
    uint32_t group;             /* number of the group; live slots have the stamp group + 1 */
    mlxn_hazard_entry *entries; /* capacity / 2 of them, those of the group first */
    uint32_t used;
    /* Leaves and indices of the group, taken from the front. */
    mlxn_interval_leaf **chunks;
    uint32_t n_chunks, chunk_capacity, leaves_used;
    mlxn_interval_leaf *free_leaf; /* emptied by merging in this group */
    mlxn_leaf_index *indices;
    uint32_t n_indices, indices_used;
    uint64_t ranges; /* added to the group, repeats included */
} mlxn_hazards;

/* Does an access of [start, end) conflict with the group? read/read never does. */
bool mlxn_hazards_conflict(const mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write);
/* Adds to the group; false when out of memory. */
bool mlxn_hazards_add(mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write);
/* The same pair with one look-up: probe sets *entry to the buffer's entry, or to 0 if the group does not know the
 * buffer; add_at takes it as long as the group lasts. */
bool mlxn_hazards_probe(const mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write,
                        uint32_t *entry);
bool mlxn_hazards_add_at(mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write,
                         uint32_t entry);
/* Begins a new, empty group. */
void mlxn_hazards_reset(mlxn_hazards *hazards);
void mlxn_hazards_free(mlxn_hazards *hazards);

#endif
