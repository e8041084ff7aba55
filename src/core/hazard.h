/* hazard.h: which byte ranges the current group of dispatches reads and writes.
 *
 * Exact half-open ranges [start, end), keyed by buffer, as sorted disjoint intervals: a check is a binary search. */
#ifndef MLXN_SRC_HAZARD_H
#define MLXN_SRC_HAZARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mlxn_interval {
    uint64_t start, end;
} mlxn_interval;

typedef struct mlxn_interval_set {
    mlxn_interval *items;
    size_t count, capacity;
} mlxn_interval_set;

typedef struct mlxn_hazard_entry {
    const void *key;
    uint64_t group; /* entry is valid in this group only */
    mlxn_interval_set reads, writes;
} mlxn_hazard_entry;

typedef struct mlxn_hazards {
    mlxn_hazard_entry *entries; /* open addressing, capacity a power of two */
    size_t capacity, used;
    uint64_t group;
    uint64_t ranges;
} mlxn_hazards;

/* Does an access of [start, end) conflict with the group? read/read never does. */
bool mlxn_hazards_conflict(const mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write);
/* Adds to the group; false when out of memory. */
bool mlxn_hazards_add(mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write);
/* Begins a new, empty group. */
void mlxn_hazards_reset(mlxn_hazards *hazards);
void mlxn_hazards_free(mlxn_hazards *hazards);

#endif
