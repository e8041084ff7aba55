/* levels.h: the group in which a node may run at the earliest.
 *
 * For every byte of every buffer: the group of its last write and the latest group that read it since. Ranges are
 * kept as sorted disjoint segments per buffer, so that a question is a binary search. Groups count from 1; 0: none.
 */
#ifndef MLXN_SRC_LEVELS_H
#define MLXN_SRC_LEVELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mlxn_level_segment {
    uint64_t start, end;
    uint32_t write, read;
} mlxn_level_segment;

typedef struct mlxn_level_set {
    const void *key;
    uint64_t epoch; /* valid in this epoch only */
    mlxn_level_segment *items;
    size_t count, capacity;
} mlxn_level_set;

typedef struct mlxn_level_map {
    mlxn_level_set *sets; /* open addressing, capacity a power of two */
    size_t capacity, used;
    uint64_t epoch;
} mlxn_level_map;

/* Forgets everything, keeps the memory. To be called first. */
void mlxn_levels_reset(mlxn_level_map *map);
void mlxn_levels_free(mlxn_level_map *map);
/* The latest group that an access of [start, end) has to come after. */
uint32_t mlxn_levels_before(const mlxn_level_map *map, const void *key, uint64_t start, uint64_t end, bool write);
/* Notes the access in group `level`, which is later than all that it has to come after. False: out of memory. */
bool mlxn_levels_note(mlxn_level_map *map, const void *key, uint64_t start, uint64_t end, bool write, uint32_t level);

#endif
