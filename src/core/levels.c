/* levels.c: the earliest groups of levels.h. */
#include "core/levels.h"

#include "base/base.h"

static mlxn_level_set *find(const mlxn_level_map *map, const void *key) {
    uint64_t x = ((uint64_t)(uintptr_t)key >> 4) * 0x9e3779b97f4a7c15ull;
    for (size_t i = (size_t)(x >> 32) & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        mlxn_level_set *set = &map->sets[i];
        if (!set->key || set->key == key) return set;
    }
}

void mlxn_levels_reset(mlxn_level_map *map) {
    map->epoch++;
    if (map->used * 4 <= map->capacity) return;
    /* Many buffers are of earlier times: begin with an empty table, which may be searched without end otherwise. */
    for (size_t i = 0; i < map->capacity; i++) {
        mlxn_free(map->sets[i].items);
        map->sets[i] = (mlxn_level_set){0};
    }
    map->used = 0;
}

void mlxn_levels_free(mlxn_level_map *map) {
    for (size_t i = 0; i < map->capacity; i++) mlxn_free(map->sets[i].items);
    mlxn_free(map->sets);
    *map = (mlxn_level_map){0};
}

static bool grow(mlxn_level_map *map) {
    mlxn_level_map next = {
        .capacity = map->capacity ? map->capacity * 2 : 32, .used = map->used, .epoch = map->epoch};
    next.sets = mlxn_alloc_array(next.capacity, sizeof *next.sets);
    if (!next.sets) return false;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->sets[i].key) *find(&next, map->sets[i].key) = map->sets[i];
    mlxn_free(map->sets);
    *map = next;
    return true;
}

/* Index of the first segment that ends behind `at`. */
static size_t first_after(const mlxn_level_set *set, uint64_t at) {
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (set->items[mid].end > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

uint32_t mlxn_levels_before(const mlxn_level_map *map, const void *key, uint64_t start, uint64_t end, bool write) {
    if (!map->capacity) return 0;
    const mlxn_level_set *set = find(map, key);
    if (!set->key || set->epoch != map->epoch) return 0;
    uint32_t level = 0;
    for (size_t i = first_after(set, start); i < set->count && set->items[i].start < end; i++) {
        const mlxn_level_segment *s = &set->items[i];
        if (s->write > level) level = s->write;
        if (write && s->read > level) level = s->read;
    }
    return level;
}

static bool insert(mlxn_level_set *set, size_t at, mlxn_level_segment segment) {
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? set->capacity * 2 : 4;
        mlxn_level_segment *grown = mlxn_realloc_array(set->items, capacity, sizeof *grown);
        if (!grown) return false;
        set->items = grown;
        set->capacity = capacity;
    }
    memmove(&set->items[at + 1], &set->items[at], (set->count - at) * sizeof *set->items);
    set->items[at] = segment;
    set->count++;
    return true;
}

/* Makes `at` a border of segments where one covers it. */
static bool split(mlxn_level_set *set, uint64_t at) {
    size_t i = first_after(set, at);
    if (i == set->count || set->items[i].start >= at) return true;
    mlxn_level_segment left = set->items[i];
    left.end = at;
    if (!insert(set, i, left)) return false;
    set->items[i + 1].start = at;
    return true;
}

static bool note_write(mlxn_level_set *set, uint64_t start, uint64_t end, uint32_t level) {
    size_t first = first_after(set, start), last = first;
    while (last < set->count && set->items[last].start < end) last++;
    mlxn_level_segment segment = {start, end, level, 0};
    if (first == last) return insert(set, first, segment);
    set->items[first] = segment;
    memmove(&set->items[first + 1], &set->items[last], (set->count - last) * sizeof *set->items);
    set->count -= last - first - 1;
    return true;
}

static bool note_read(mlxn_level_set *set, uint64_t start, uint64_t end, uint32_t level) {
    uint64_t at = start;
    for (size_t i = first_after(set, start); at < end; i++) {
        mlxn_level_segment *s = i < set->count ? &set->items[i] : NULL;
        if (s && s->start == at) {
            if (level > s->read) s->read = level;
            at = s->end;
        } else { /* bytes that nobody touched yet */
            uint64_t until = s && s->start < end ? s->start : end;
            if (!insert(set, i, (mlxn_level_segment){at, until, 0, level})) return false;
            at = until;
        }
    }
    return true;
}

bool mlxn_levels_note(mlxn_level_map *map, const void *key, uint64_t start, uint64_t end, bool write,
                      uint32_t level) {
    if (start >= end) return true;
    if ((map->used + 1) * 2 > map->capacity && !grow(map)) return false;
    mlxn_level_set *set = find(map, key);
    if (!set->key) {
        set->key = key;
        map->used++;
    }
    if (set->epoch != map->epoch) {
        set->epoch = map->epoch;
        set->count = 0;
    }
    if (!split(set, start) || !split(set, end)) return false;
    return write ? note_write(set, start, end, level) : note_read(set, start, end, level);
}
