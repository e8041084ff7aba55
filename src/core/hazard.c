/* hazard.c: the range tracker of hazard.h. */
#include "core/hazard.h"

#include "base/base.h"

static size_t hash_key(const void *key, size_t capacity) {
    uint64_t x = (uint64_t)(uintptr_t)key >> 4;
    x *= 0x9e3779b97f4a7c15ull;
    return (size_t)(x >> 32) & (capacity - 1);
}

static mlxn_hazard_entry *find(const mlxn_hazards *hazards, const void *key) {
    if (!hazards->capacity) return NULL;
    for (size_t i = hash_key(key, hazards->capacity);; i = (i + 1) & (hazards->capacity - 1)) {
        mlxn_hazard_entry *e = &hazards->entries[i];
        if (!e->key || e->key == key) return e;
    }
}

/* Index of the first interval that ends behind `start`. */
static size_t first_after(const mlxn_interval_set *set, uint64_t start) {
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (set->items[mid].end > start)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static bool overlaps(const mlxn_interval_set *set, uint64_t start, uint64_t end) {
    size_t i = first_after(set, start);
    return i < set->count && set->items[i].start < end;
}

/* Merges with every interval that overlaps or touches, so that the set stays sorted and disjoint. */
static bool insert(mlxn_interval_set *set, uint64_t start, uint64_t end) {
    size_t first = first_after(set, start ? start - 1 : 0), last = first;
    while (last < set->count && set->items[last].start <= end) {
        if (set->items[last].start < start) start = set->items[last].start;
        if (set->items[last].end > end) end = set->items[last].end;
        last++;
    }
    if (first == last) {
        if (set->count == set->capacity) {
            size_t capacity = set->capacity ? set->capacity * 2 : 4;
            mlxn_interval *grown = mlxn_realloc_array(set->items, capacity, sizeof *grown);
            if (!grown) return false;
            set->items = grown;
            set->capacity = capacity;
        }
        memmove(&set->items[first + 1], &set->items[first], (set->count - first) * sizeof *set->items);
        set->count++;
    } else if (last - first > 1) {
        memmove(&set->items[first + 1], &set->items[last], (set->count - last) * sizeof *set->items);
        set->count -= last - first - 1;
    }
    set->items[first] = (mlxn_interval){start, end};
    return true;
}

static void free_entry(mlxn_hazard_entry *entry) {
    mlxn_free(entry->reads.items);
    mlxn_free(entry->writes.items);
}

/* Makes room: rehashes what belongs to the present group. */
static bool grow(mlxn_hazards *hazards) {
    size_t live = 0, capacity = hazards->capacity ? hazards->capacity : 32;
    for (size_t i = 0; i < hazards->capacity; i++)
        live += hazards->entries[i].key && hazards->entries[i].group == hazards->group;
    if (live * 4 > capacity) capacity *= 2; /* else dropping the entries of earlier groups makes room enough */
    mlxn_hazards next = {.capacity = capacity, .group = hazards->group, .ranges = hazards->ranges};
    next.entries = mlxn_alloc_array(capacity, sizeof *next.entries);
    if (!next.entries) return false;
    for (size_t i = 0; i < hazards->capacity; i++) {
        mlxn_hazard_entry *e = &hazards->entries[i];
        if (!e->key) continue;
        if (e->group != hazards->group) { /* stale: a buffer of an earlier group */
            free_entry(e);
            continue;
        }
        *find(&next, e->key) = *e;
        next.used++;
    }
    mlxn_free(hazards->entries);
    *hazards = next;
    return true;
}

bool mlxn_hazards_conflict(const mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write) {
    const mlxn_hazard_entry *e = find(hazards, key);
    if (!e || !e->key || e->group != hazards->group) return false;
    return overlaps(&e->writes, start, end) || (write && overlaps(&e->reads, start, end));
}

bool mlxn_hazards_add(mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write) {
    if (start >= end) return true;
    if ((hazards->used + 1) * 2 > hazards->capacity && !grow(hazards)) return false;
    mlxn_hazard_entry *e = find(hazards, key);
    if (!e->key) {
        e->key = key;
        hazards->used++;
    }
    if (e->group != hazards->group) {
        e->group = hazards->group;
        e->reads.count = e->writes.count = 0;
    }
    if (!insert(write ? &e->writes : &e->reads, start, end)) return false;
    hazards->ranges++;
    return true;
}

void mlxn_hazards_reset(mlxn_hazards *hazards) {
    hazards->group++;
    hazards->ranges = 0;
}

void mlxn_hazards_free(mlxn_hazards *hazards) {
    for (size_t i = 0; i < hazards->capacity; i++) free_entry(&hazards->entries[i]);
    mlxn_free(hazards->entries);
    *hazards = (mlxn_hazards){0};
}
