/* gguf_index.c: names in sorted order, for look-ups and for finding duplicates. */
#include "io/shared.h"

int mlxn_gg_compare_names(mlxn_string a, mlxn_string b) {
    uint64_t shared = mlxn_min_u64(a.size, b.size);
    int order = shared ? memcmp(a.data, b.data, (size_t)shared) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_entries(const void *left, const void *right) {
    const mlxn_gg_entry *a = left, *b = right;
    int order = mlxn_gg_compare_names(a->name, b->name);
    return order ? order : (a->position > b->position) - (a->position < b->position);
}

bool mlxn_gg_index_build(mlxn_gg_index *index, const void *records, uint64_t count, size_t stride) {
    mlxn_gg_entry *entries = mlxn_alloc_array((size_t)count, sizeof *entries);
    if (!entries) return false;
    for (uint64_t i = 0; i < count; i++) {
        memcpy(&entries[i].name, (const char *)records + i * stride, sizeof entries[i].name);
        entries[i].position = (uint32_t)i;
    }
    qsort(entries, (size_t)count, sizeof *entries, compare_entries);
    index->entries = entries;
    index->count = count;
    return true;
}

bool mlxn_gg_index_duplicate(const mlxn_gg_index *index, uint32_t *first, uint32_t *second) {
    for (uint64_t i = 1; i < index->count; i++) {
        const mlxn_gg_entry *a = &index->entries[i - 1], *b = &index->entries[i];
        if (mlxn_gg_compare_names(a->name, b->name) == 0) {
            *first = a->position;
            *second = b->position;
            return true;
        }
    }
    return false;
}

bool mlxn_gg_index_find(const mlxn_gg_index *index, const char *name, uint64_t length, uint32_t *position) {
    uint64_t low = 0, high = index->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const mlxn_gg_entry *entry = &index->entries[middle];
        int order = mlxn_gg_compare_names(entry->name, (mlxn_string){name, length});
        if (order == 0) {
            *position = entry->position;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}
