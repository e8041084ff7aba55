/* hazard.c: the range tracker of hazard.h.
 *
 * Invariant of a set: intervals are sorted and any two are at least one byte apart (touching ones are merged), and no
 * leaf is empty. So the leaves before the last one that begins at or before a byte end before that byte. */
#include "core/hazard.h"

#include "base/base.h"

/* ---- the table of buffers ---- */

static mlxn_hazard_slot *find(const mlxn_hazards *hazards, const void *key) {
    size_t mask = hazards->capacity - 1;
    size_t i = (size_t)(((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15ull) >> hazards->shift);
    for (;; i = (i + 1) & mask) {
        mlxn_hazard_slot *slot = &hazards->slots[i];
        if (slot->stamp != hazards->group + 1 || slot->key == key) return slot;
    }
}

static bool is_live(const mlxn_hazards *hazards, const mlxn_hazard_slot *slot) {
    return slot->stamp == hazards->group + 1;
}

static bool grow(mlxn_hazards *hazards) {
    size_t capacity = hazards->capacity ? hazards->capacity * 2 : 32;
    if (capacity > UINT32_MAX) return false;
    mlxn_hazard_entry *entries = mlxn_realloc_array(hazards->entries, capacity / 2, sizeof *entries);
    if (!entries) return false;
    hazards->entries = entries;
    mlxn_hazards next = *hazards;
    next.slots = mlxn_alloc_array(capacity, sizeof *next.slots);
    if (!next.slots) return false;
    next.capacity = capacity;
    next.shift = hazards->capacity ? hazards->shift - 1 : 64 - 5;
    for (size_t i = 0; i < hazards->capacity; i++)
        if (is_live(hazards, &hazards->slots[i])) *find(&next, hazards->slots[i].key) = hazards->slots[i];
    mlxn_free(hazards->slots);
    *hazards = next;
    return true;
}

static mlxn_hazard_entry *entry_of(mlxn_hazards *hazards, const void *key) {
    mlxn_hazard_slot *slot = hazards->capacity ? find(hazards, key) : NULL;
    if (slot && is_live(hazards, slot)) return &hazards->entries[slot->entry];
    if (hazards->used == hazards->capacity / 2) {
        if (!grow(hazards)) return NULL;
        slot = find(hazards, key);
    }
    *slot = (mlxn_hazard_slot){key, hazards->group + 1, hazards->used++};
    mlxn_hazard_entry *entry = &hazards->entries[slot->entry];
    entry->reads.count = entry->reads.index = entry->writes.count = entry->writes.index = 0;
    return entry;
}

/* ---- leaves ---- */

static mlxn_interval_leaf *take_leaf(mlxn_hazards *hazards) {
    mlxn_interval_leaf *leaf = hazards->free_leaf;
    if (leaf) {
        hazards->free_leaf = leaf->next_free;
        return leaf;
    }
    uint32_t chunk = hazards->leaves_used / MLXN_LEAVES_PER_CHUNK;
    if (chunk == hazards->n_chunks) {
        if (chunk == hazards->chunk_capacity) {
            uint32_t capacity = chunk ? chunk * 2 : 4;
            mlxn_interval_leaf **grown = mlxn_realloc_array(hazards->chunks, capacity, sizeof *grown);
            if (!grown) return NULL;
            hazards->chunks = grown;
            hazards->chunk_capacity = capacity;
        }
        hazards->chunks[chunk] = mlxn_alloc_array(MLXN_LEAVES_PER_CHUNK, sizeof *leaf);
        if (!hazards->chunks[chunk]) return NULL;
        hazards->n_chunks++;
    }
    return &hazards->chunks[chunk][hazards->leaves_used++ % MLXN_LEAVES_PER_CHUNK];
}

static void give_leaf(mlxn_hazards *hazards, mlxn_interval_leaf *leaf) {
    leaf->next_free = hazards->free_leaf;
    hazards->free_leaf = leaf;
}

/* Room for one more reference. */
static bool index_room(mlxn_leaf_index *index) {
    if (index->count < index->capacity) return true;
    uint32_t capacity = index->capacity ? index->capacity * 2 : 16;
    mlxn_leaf_ref *grown = mlxn_realloc_array(index->refs, capacity, sizeof *grown);
    if (!grown) return false;
    index->refs = grown;
    index->capacity = capacity;
    return true;
}

/* Moves the few intervals of a set into its first leaf. */
static bool make_leaves(mlxn_hazards *hazards, mlxn_interval_set *set) {
    if (hazards->indices_used == hazards->n_indices) {
        uint32_t n = hazards->n_indices ? hazards->n_indices * 2 : 4;
        mlxn_leaf_index *grown = mlxn_realloc_array(hazards->indices, n, sizeof *grown);
        if (!grown) return false;
        for (uint32_t i = hazards->n_indices; i < n; i++) grown[i] = (mlxn_leaf_index){0};
        hazards->indices = grown;
        hazards->n_indices = n;
    }
    mlxn_leaf_index *index = &hazards->indices[hazards->indices_used];
    mlxn_interval_leaf *leaf = index_room(index) ? take_leaf(hazards) : NULL;
    if (!leaf) return false;
    memcpy(leaf->items, set->few, set->count * sizeof *leaf->items);
    leaf->count = set->count;
    index->refs[0] = (mlxn_leaf_ref){leaf->items[0].start, leaf};
    index->count = 1;
    set->few[0].end = leaf->items[leaf->count - 1].end;
    set->index = ++hazards->indices_used;
    return true;
}

/* The last leaf that begins at or before `at`, or the first one. */
static uint32_t leaf_of(const mlxn_leaf_index *index, uint64_t at) {
    const mlxn_leaf_ref *refs = index->refs;
    uint32_t low = 0, n = index->count;
    if (refs[n - 1].start <= at) return n - 1;
    while (n > 1) {
        uint32_t half = n / 2;
        if (refs[low + half].start <= at) low += half;
        n -= half;
    }
    return low;
}

/* The first interval of a leaf that ends at or behind `at`; the number of intervals if none does. */
static uint32_t first_ending(const mlxn_interval_leaf *leaf, uint64_t at) {
    const mlxn_interval *items = leaf->items;
    uint32_t low = 0, n = leaf->count;
    if (items[n - 1].end < at) return n;
    while (n > 1) {
        uint32_t half = n / 2;
        if (items[low + half - 1].end < at) low += half;
        n -= half;
    }
    return low;
}

/* ---- sets ---- */

static bool overlaps_in_leaves(const mlxn_hazards *hazards, const mlxn_interval_set *set, uint64_t start,
                               uint64_t end) {
    const mlxn_leaf_index *index = &hazards->indices[set->index - 1];
    uint32_t at = leaf_of(index, start);
    const mlxn_interval_leaf *leaf = index->refs[at].leaf;
    uint32_t i = first_ending(leaf, start + 1); /* start < span end, so there is no wrap */
    if (i < leaf->count) return leaf->items[i].start < end;
    return at + 1 < index->count && index->refs[at + 1].start < end;
}

static inline bool overlaps(const mlxn_hazards *hazards, const mlxn_interval_set *set, uint64_t start, uint64_t end) {
    if (!set->index) {
        for (uint32_t i = 0; i < set->count; i++)
            if (set->few[i].start < end && start < set->few[i].end) return true;
        return false;
    }
    if (start >= set->few[0].end || end <= set->few[0].start) return false;
    return overlaps_in_leaves(hazards, set, start, end);
}

/* Puts an interval that touches nothing at place i of leaf number `at`. */
static bool place(mlxn_hazards *hazards, mlxn_leaf_index *index, uint32_t at, uint32_t i, mlxn_interval interval) {
    mlxn_interval_leaf *leaf = index->refs[at].leaf;
    if (leaf->count == MLXN_LEAF_INTERVALS) {
        if (!index_room(index)) return false;
        mlxn_interval_leaf *right = take_leaf(hazards);
        if (!right) return false;
        /* Ascending ranges fill their leaves; all others leave room on both sides. */
        uint32_t keep = at + 1 == index->count && i == leaf->count ? leaf->count : leaf->count / 2;
        right->count = leaf->count - keep;
        memcpy(right->items, &leaf->items[keep], right->count * sizeof *right->items);
        leaf->count = keep;
        memmove(&index->refs[at + 2], &index->refs[at + 1], (index->count - at - 1) * sizeof *index->refs);
        index->refs[at + 1] = (mlxn_leaf_ref){right->count ? right->items[0].start : interval.start, right};
        index->count++;
        if (i > keep || !right->count) {
            at++;
            leaf = right;
            i -= keep;
        }
    }
    memmove(&leaf->items[i + 1], &leaf->items[i], (leaf->count - i) * sizeof *leaf->items);
    leaf->items[i] = interval;
    leaf->count++;
    if (!i) index->refs[at].start = interval.start;
    return true;
}

/* Removes from leaf number `at`, beginning at place i, and from the leaves behind it the intervals that begin at or
 * before *end, which becomes the largest of their ends. */
static void swallow(mlxn_hazards *hazards, mlxn_leaf_index *index, uint32_t at, uint32_t i, uint64_t *end) {
    uint32_t first_gone = at + 1, gone = 0;
    for (; at < index->count; at++, i = 0) {
        mlxn_interval_leaf *leaf = index->refs[at].leaf;
        uint32_t k = i;
        for (; k < leaf->count && leaf->items[k].start <= *end; k++) *end = mlxn_max_u64(*end, leaf->items[k].end);
        bool more = k == leaf->count;
        if (k > i) {
            memmove(&leaf->items[i], &leaf->items[k], (leaf->count - k) * sizeof *leaf->items);
            leaf->count -= k - i;
        }
        if (leaf->count) {
            index->refs[at].start = leaf->items[0].start;
        } else {
            give_leaf(hazards, leaf);
            gone++;
        }
        if (!more) break;
    }
    if (!gone) return;
    memmove(&index->refs[first_gone], &index->refs[first_gone + gone],
            (index->count - first_gone - gone) * sizeof *index->refs);
    index->count -= gone;
}

static bool insert_in_leaves(mlxn_hazards *hazards, mlxn_interval_set *set, uint64_t start, uint64_t end) {
    mlxn_leaf_index *index = &hazards->indices[set->index - 1];
    if (start > set->few[0].end) { /* behind all others: ranges often come in ascending order */
        mlxn_interval_leaf *last = index->refs[index->count - 1].leaf;
        if (last->count < MLXN_LEAF_INTERVALS) {
            last->items[last->count++] = (mlxn_interval){start, end};
            set->few[0].end = end;
            return true;
        }
    }
    uint32_t at = leaf_of(index, start);
    mlxn_interval_leaf *leaf = index->refs[at].leaf;
    uint32_t i = first_ending(leaf, start);
    bool behind = i == leaf->count; /* of this leaf, yet the next one may touch */
    if (behind && at + 1 < index->count && index->refs[at + 1].start <= end) {
        leaf = index->refs[++at].leaf;
        i = 0;
        behind = false;
    }
    if (behind || leaf->items[i].start > end) {
        if (!place(hazards, index, at, i, (mlxn_interval){start, end})) return false;
    } else {
        mlxn_interval *into = &leaf->items[i];
        if (into->start <= start && into->end >= end) return true;
        start = mlxn_min_u64(into->start, start);
        end = mlxn_max_u64(into->end, end);
        /* What follows may be in reach only if the end moved. */
        if (end > into->end) swallow(hazards, index, at, i + 1, &end);
        *into = (mlxn_interval){start, end};
        if (!i) index->refs[at].start = start;
    }
    set->few[0].start = mlxn_min_u64(set->few[0].start, start);
    set->few[0].end = mlxn_max_u64(set->few[0].end, end);
    return true;
}

/* Merges with every interval that overlaps or touches. */
static bool insert(mlxn_hazards *hazards, mlxn_interval_set *set, uint64_t start, uint64_t end) {
    if (set->index) return insert_in_leaves(hazards, set, start, end);
    uint32_t first = 0, last;
    if (set->count && set->few[0].start <= start && set->few[0].end >= end) return true; /* a repeat */
    while (first < set->count && set->few[first].end < start) first++;
    for (last = first; last < set->count && set->few[last].start <= end; last++) {
        start = mlxn_min_u64(start, set->few[last].start);
        end = mlxn_max_u64(end, set->few[last].end);
    }
    if (first == last) {
        if (set->count == MLXN_INTERVALS_FEW)
            return make_leaves(hazards, set) && insert_in_leaves(hazards, set, start, end);
        for (uint32_t i = set->count++; i > first; i--) set->few[i] = set->few[i - 1];
    } else {
        uint32_t gone = last - first - 1;
        for (uint32_t i = last; i < set->count; i++) set->few[i - gone] = set->few[i];
        set->count -= gone;
    }
    set->few[first] = (mlxn_interval){start, end};
    return true;
}

/* ---- the tracker ---- */

bool mlxn_hazards_probe(const mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write,
                        uint32_t *entry) {
    *entry = 0;
    if (!hazards->used || start >= end) return false;
    const mlxn_hazard_slot *slot = find(hazards, key);
    if (!is_live(hazards, slot)) return false;
    *entry = slot->entry + 1;
    const mlxn_hazard_entry *e = &hazards->entries[slot->entry];
    return overlaps(hazards, &e->writes, start, end) || (write && overlaps(hazards, &e->reads, start, end));
}

bool mlxn_hazards_conflict(const mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write) {
    uint32_t entry;
    return mlxn_hazards_probe(hazards, key, start, end, write, &entry);
}

bool mlxn_hazards_add_at(mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write,
                         uint32_t entry) {
    if (start >= end) return true;
    mlxn_hazard_entry *e = entry ? &hazards->entries[entry - 1] : entry_of(hazards, key);
    if (!e || !insert(hazards, write ? &e->writes : &e->reads, start, end)) return false;
    hazards->ranges++;
    return true;
}

bool mlxn_hazards_add(mlxn_hazards *hazards, const void *key, uint64_t start, uint64_t end, bool write) {
    return mlxn_hazards_add_at(hazards, key, start, end, write, 0);
}

void mlxn_hazards_reset(mlxn_hazards *hazards) {
    if (!hazards->ranges && !hazards->used) return;
    hazards->used = hazards->leaves_used = hazards->indices_used = 0;
    hazards->free_leaf = NULL;
    hazards->ranges = 0;
    if (++hazards->group == UINT32_MAX) { /* stamps would repeat */
        memset(hazards->slots, 0, hazards->capacity * sizeof *hazards->slots);
        hazards->group = 0;
    }
}

void mlxn_hazards_free(mlxn_hazards *hazards) {
    for (uint32_t i = 0; i < hazards->n_indices; i++) mlxn_free(hazards->indices[i].refs);
    for (uint32_t i = 0; i < hazards->n_chunks; i++) mlxn_free(hazards->chunks[i]);
    mlxn_free(hazards->indices);
    mlxn_free(hazards->chunks);
    mlxn_free(hazards->entries);
    mlxn_free(hazards->slots);
    *hazards = (mlxn_hazards){0};
}
