/* profile_names.c: strings kept once, and rows of totals. */
#include "core/profile.h"

static uint32_t hash_text(const char *text) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

const char *mlxn_names_get(mlxn_names *names, const char *text) {
    if (!text || !*text) return "";
    uint32_t capacity = 1;
    while (capacity < 2 * names->most) capacity *= 2;
    if (!names->slots) names->slots = mlxn_alloc_array(capacity, sizeof *names->slots);
    if (!names->slots) return NULL;
    uint32_t at = hash_text(text) & (capacity - 1);
    for (; names->slots[at]; at = (at + 1) & (capacity - 1))
        if (!strcmp(names->slots[at], text)) return names->slots[at];
    if (names->count == names->most) return NULL;
    char *copy = mlxn_strdup(text);
    if (!copy) return NULL;
    names->slots[at] = copy;
    names->count++;
    return copy;
}

void mlxn_names_free(mlxn_names *names) {
    uint32_t capacity = 1;
    while (capacity < 2 * names->most) capacity *= 2;
    for (uint32_t i = 0; names->slots && i < capacity; i++) mlxn_free(names->slots[i]);
    mlxn_free(names->slots);
    names->slots = NULL;
    names->count = 0;
}

mlxn_profile_row *mlxn_row_find(mlxn_row_table *table, const char *a, const char *b) {
    const uint32_t mask = 2 * MLXN_PROFILE_ROWS - 1;
    uint64_t key = (uint64_t)(uintptr_t)a * 0x9e3779b97f4a7c15ull ^ (uint64_t)(uintptr_t)b * 0xc2b2ae3d27d4eb4full;
    uint32_t at = (uint32_t)(key >> 32) & mask;
    for (; table->slots[at]; at = (at + 1) & mask) {
        mlxn_profile_row *row = &table->rows[table->slots[at] - 1];
        if (row->op == a && row->kernel == b) return row;
    }
    if (table->count == MLXN_PROFILE_ROWS) return NULL;
    mlxn_profile_row *row = &table->rows[table->count++];
    table->slots[at] = (uint16_t)table->count;
    *row = (mlxn_profile_row){.op = a, .kernel = b, .label = "", .min_ns = UINT64_MAX};
    return row;
}

void mlxn_row_add(mlxn_profile_row *row, const mlxn_profile_event *event) {
    uint64_t ns = event->end_ns - event->start_ns;
    row->count++;
    row->total_ns += ns;
    row->busy_ns += event->busy_ns;
    row->min_ns = mlxn_min_u64(row->min_ns, ns);
    row->max_ns = mlxn_max_u64(row->max_ns, ns);
    row->bytes += event->bytes;
    row->flops += event->flops;
    row->int8_ops += event->int8_ops;
}

void mlxn_rows_clear(mlxn_row_table *table) {
    memset(table->slots, 0, sizeof table->slots);
    table->count = 0;
}
