/* automaton_store.c: tables of contexts and states. */
#include "lm/grammar/automaton_store.h"

/* Within one question; between questions the owner compacts far earlier. */
#define MAX_BYTES ((uint64_t)1 << 30)

uint32_t mlxn_au_fail(mlxn_automaton *a, mlxn_status status) {
    if (!a->status)
        a->status =
            status == MLXN_ERR_MEMORY
                ? mlxn_fail(&a->error, status, "grammar: no memory for %u states", a->states.count)
                : mlxn_fail(&a->error, status,
                            "grammar: it is too ambiguous: following the text takes more than the allowed time "
                            "or memory");
    return MLXN_AU_FAILED;
}

static int by_context(const void *x, const void *y) {
    const mlxn_au_item *a = x, *b = y;
    if (a->context != b->context) return a->context < b->context ? -1 : 1;
    return (a->state > b->state) - (a->state < b->state);
}

uint32_t mlxn_au_sort(mlxn_au_item *items, uint32_t n) {
    uint32_t kept = 0;
    if (n > 1) qsort(items, n, sizeof *items, by_context);
    for (uint32_t i = 0; i < n; i++)
        if (!kept || by_context(&items[i], &items[kept - 1])) items[kept++] = items[i];
    return kept;
}

uint32_t mlxn_au_hash(const mlxn_au_item *items, uint32_t n, uint32_t seed) {
    uint64_t h = seed * 0x9e3779b97f4a7c15u + n;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ ((uint64_t)items[i].context << 32 | items[i].state)) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

bool mlxn_au_append(mlxn_au_item **to, uint32_t *count, uint32_t *capacity, const mlxn_au_item *items, uint32_t n) {
    uint64_t want = (uint64_t)*count + n;
    if (want > UINT32_MAX / 2) return false;
    while (*capacity < want)
        if (!mlxn_gr_grow(to, capacity, *capacity, sizeof **to)) return false;
    if (n) memcpy(*to + *count, items, n * sizeof *items);
    *count += n;
    return true;
}

/* Doubles a table of ids when it is half full; `hash` gives that of an id. */
static bool table_room(const mlxn_automaton *a, uint32_t **table, uint32_t *mask, uint32_t count,
                       uint32_t (*hash)(const mlxn_automaton *a, uint32_t id)) {
    if (*table && count * 2 < *mask) return true;
    uint32_t more = *table ? *mask * 2 + 1 : 1023;
    uint32_t *grown = mlxn_alloc_array((size_t)more + 1, sizeof *grown);
    if (!grown) return false;
    for (uint32_t id = 0; id < count; id++) {
        uint32_t h = hash(a, id);
        while (grown[h & more]) h++;
        grown[h & more] = id + 1;
    }
    mlxn_free(*table);
    *table = grown;
    *mask = more;
    return true;
}

static uint32_t context_hash(const mlxn_automaton *a, uint32_t id) {
    return mlxn_au_hash(a->pairs.data + a->contexts.data[id].first, a->contexts.data[id].count, 0);
}
static uint32_t state_hash(const mlxn_automaton *a, uint32_t id) { return a->states.data[id].hash; }

uint32_t mlxn_au_intern_context(mlxn_automaton *a, const mlxn_au_item *pairs, uint32_t n) {
    if (!table_room(a, &a->context_table, &a->context_mask, a->contexts.count, context_hash))
        return mlxn_au_fail(a, MLXN_ERR_MEMORY);
    uint32_t h = mlxn_au_hash(pairs, n, 0);
    for (; a->context_table[h & a->context_mask]; h++) {
        uint32_t id = a->context_table[h & a->context_mask] - 1;
        const mlxn_au_context *c = &a->contexts.data[id];
        if (c->count == n && !memcmp(a->pairs.data + c->first, pairs, n * sizeof *pairs)) return id;
    }
    uint32_t id = a->contexts.count, first = a->pairs.count;
    if (id >= MLXN_AU_NEW_CALL - 1 || !MLXN_GR_ROOM(a->contexts) ||
        !mlxn_au_append(&a->pairs.data, &a->pairs.count, &a->pairs.capacity, pairs, n))
        return mlxn_au_fail(a, MLXN_ERR_MEMORY);
    a->contexts.data[a->contexts.count++] = (mlxn_au_context){first, n, UINT32_MAX};
    a->context_table[h & a->context_mask] = id + 1;
    return id;
}

static bool rows_room(mlxn_automaton *a) {
    if (a->states.count < a->rows_capacity) return true;
    uint32_t more = a->rows_capacity ? a->rows_capacity * 2 : 64;
    uint32_t *rows = mlxn_realloc_array(a->rows, (size_t)more * a->grammar->n_classes, sizeof *rows);
    if (!rows) return false;
    a->rows = rows;
    a->rows_capacity = more;
    return true;
}

uint32_t mlxn_au_intern_state(mlxn_automaton *a, const mlxn_au_item *items, uint32_t n, bool accepts, bool escapes) {
    if (!n && !accepts && !escapes && a->states.count) return MLXN_AU_DEAD;
    if (!table_room(a, &a->state_table, &a->state_mask, a->states.count, state_hash))
        return mlxn_au_fail(a, MLXN_ERR_MEMORY);
    uint32_t hash = mlxn_au_hash(items, n, 1u + accepts + 2u * escapes), h = hash;
    for (; a->state_table[h & a->state_mask]; h++) {
        uint32_t id = a->state_table[h & a->state_mask] - 1;
        const mlxn_au_state *s = &a->states.data[id];
        if (s->hash == hash && s->count == n && s->accepts == accepts && s->escapes == escapes &&
            !memcmp(a->items.data + s->first, items, n * sizeof *items))
            return id;
    }
    uint32_t id = a->states.count, first = a->items.count;
    if (!MLXN_GR_ROOM(a->states) || !rows_room(a) ||
        !mlxn_au_append(&a->items.data, &a->items.count, &a->items.capacity, items, n))
        return mlxn_au_fail(a, MLXN_ERR_MEMORY);
    if (mlxn_au_bytes(a) > MAX_BYTES) return mlxn_au_fail(a, MLXN_ERR_LIMIT);
    a->states.data[a->states.count++] = (mlxn_au_state){
        .first = first, .count = n, .hash = hash, .accepts = accepts, .escapes = escapes, .run_next = UINT32_MAX};
    a->state_table[h & a->state_mask] = id + 1;
    memset(a->rows + (size_t)id * a->grammar->n_classes, n ? 0xff : 0, a->grammar->n_classes * sizeof *a->rows);
    return id;
}

uint64_t mlxn_au_bytes(const mlxn_automaton *a) {
    return (uint64_t)a->contexts.capacity * sizeof *a->contexts.data +
           (uint64_t)a->pairs.capacity * sizeof(mlxn_au_item) +
           (uint64_t)a->states.capacity * sizeof *a->states.data +
           (uint64_t)a->items.capacity * sizeof(mlxn_au_item) +
           (uint64_t)a->rows_capacity * a->grammar->n_classes * sizeof *a->rows + a->memo_bytes;
}

void mlxn_au_free_store(mlxn_automaton *a) {
    for (uint32_t i = 0; i < a->states.count; i++)
        if (a->states.data[i].memo) a->free_memo(a->states.data[i].memo);
    mlxn_free(a->contexts.data);
    mlxn_free(a->pairs.data);
    mlxn_free(a->states.data);
    mlxn_free(a->items.data);
    mlxn_free(a->rows);
    mlxn_free(a->context_table);
    mlxn_free(a->state_table);
}
