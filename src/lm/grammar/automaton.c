/* automaton.c: from a state and a byte to the next state; life; compaction. */
#include "lm/grammar/automaton_store.h"

enum { MAX_WORK = 1 << 25 }; /* places of one question */

static bool seen_room(mlxn_automaton *a) {
    if (a->seen && a->pending.count * 2 < a->seen_mask) return true;
    uint32_t more = a->seen ? a->seen_mask * 2 + 1 : 255;
    uint64_t *grown = mlxn_alloc_array((size_t)more + 1, sizeof *grown);
    if (!grown) return false;
    for (uint32_t i = 0; i < a->pending.count; i++) {
        uint32_t h = mlxn_au_hash(&a->pending.data[i], 1, 0);
        while (grown[h & more]) h++;
        grown[h & more] = (uint64_t)a->step << 32 | (i + 1);
    }
    mlxn_free(a->seen);
    a->seen = grown;
    a->seen_mask = more;
    return true;
}

/* A place that is reached without another byte. */
static bool reach(mlxn_automaton *a, uint32_t state, uint32_t context) {
    mlxn_au_item item = {state, context};
    uint32_t h = mlxn_au_hash(&item, 1, 0);
    if (!seen_room(a) || !MLXN_GR_ROOM(a->pending)) return mlxn_au_fail(a, MLXN_ERR_MEMORY), false;
    for (; a->seen[h & a->seen_mask] >> 32 == a->step; h++) {
        const mlxn_au_item *known = &a->pending.data[(uint32_t)a->seen[h & a->seen_mask] - 1];
        if (known->state == state && known->context == context) return true;
    }
    if (a->pending.count == MLXN_AU_MAX_PLACES || ++a->work > MAX_WORK) return mlxn_au_fail(a, MLXN_ERR_LIMIT), false;
    a->pending.data[a->pending.count++] = item;
    a->seen[h & a->seen_mask] = (uint64_t)a->step << 32 | a->pending.count;
    return true;
}

static bool follow_call(mlxn_automaton *a, uint32_t rule, uint32_t next, uint32_t context) {
    mlxn_au_called *r = &a->rules[rule];
    const mlxn_gr_call *call = &a->grammar->rules[rule];
    if (!MLXN_GR_ROOM(a->callers) || !MLXN_GR_ROOM(a->called)) return mlxn_au_fail(a, MLXN_ERR_MEMORY), false;
    a->callers.data[a->callers.count++] = (mlxn_au_caller){next, context, r->callers};
    bool first = r->callers == 0;
    r->callers = a->callers.count;
    if (first) {
        a->called.data[a->called.count++] = (uint64_t)call->rank << 32 | rule;
        if (!reach(a, call->entry, MLXN_AU_NEW_CALL | rule)) return false;
    }
    /* A rule that is called here and returns here has matched nothing: that is known beforehand. */
    return !call->nullable || reach(a, next, context);
}

static bool follow_return(mlxn_automaton *a, uint32_t context) {
    if (context & MLXN_AU_NEW_CALL) return true;
    mlxn_au_context c = a->contexts.data[context];
    for (uint32_t i = 0; i < c.count; i++) {
        mlxn_au_item pair = a->pairs.data[c.first + i];
        if (pair.state == MLXN_AU_PAIR_ACCEPT)
            a->accepts = true;
        else if (pair.state == MLXN_AU_PAIR_ESCAPE)
            a->escapes = true;
        else if (!reach(a, pair.state, pair.context))
            return false;
    }
    return true;
}

static bool follow(mlxn_automaton *a, mlxn_au_item at) {
    const mlxn_grammar *g = a->grammar;
    mlxn_gr_state s = g->states.data[at.state];
    switch ((mlxn_gr_op)s.op) {
        case MLXN_GR_RETURN:
            return follow_return(a, at.context);
        case MLXN_GR_BYTES:
            return mlxn_au_append(&a->found.data, &a->found.count, &a->found.capacity, &at, 1) ||
                   (mlxn_au_fail(a, MLXN_ERR_MEMORY), false);
        case MLXN_GR_BRANCH:
            for (uint32_t i = 0; i < s.count; i++)
                if (!reach(a, g->outs.data[s.first + i], at.context)) return false;
            return true;
        case MLXN_GR_CALL:
            return follow_call(a, s.count, s.first, at.context);
    }
    return true;
}

static uint32_t known_context(const mlxn_automaton *a, uint32_t context) {
    return context & MLXN_AU_NEW_CALL ? a->rules[context & ~MLXN_AU_NEW_CALL].context : context;
}

static int by_value(const void *x, const void *y) {
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return (a > b) - (a < b);
}

/* The context of a rule that was called, when those of its callers are known. */
static bool make_context(mlxn_automaton *a, uint32_t rule) {
    uint32_t base = a->found.count;
    bool ok = true;
    for (uint32_t i = a->rules[rule].callers; i && ok; i = a->callers.data[i - 1].other) {
        mlxn_au_caller caller = a->callers.data[i - 1];
        uint32_t context = known_context(a, caller.context);
        if (caller.next == 0) { /* it returns at once: its callers are ours */
            mlxn_au_context c = a->contexts.data[context];
            ok =
                mlxn_au_append(&a->found.data, &a->found.count, &a->found.capacity, a->pairs.data + c.first, c.count);
            a->work += c.count;
        } else {
            mlxn_au_item pair = {caller.next, context};
            ok = mlxn_au_append(&a->found.data, &a->found.count, &a->found.capacity, &pair, 1);
        }
        if (ok && a->found.count - base > MLXN_AU_MAX_PLACES) return mlxn_au_fail(a, MLXN_ERR_LIMIT), false;
    }
    if (!ok) return mlxn_au_fail(a, MLXN_ERR_MEMORY), false;
    uint32_t n = mlxn_au_sort(a->found.data + base, a->found.count - base);
    a->rules[rule].context = mlxn_au_intern_context(a, a->found.data + base, n);
    a->found.count = base;
    return a->rules[rule].context != MLXN_AU_FAILED;
}

static void begin(mlxn_automaton *a) {
    a->pending.count = a->found.count = a->callers.count = a->called.count = 0;
    a->accepts = a->escapes = false;
    if (++a->step == 0) { /* stamps of four thousand million steps ago could be taken for new ones */
        a->step = 1;
        if (a->seen) memset(a->seen, 0, ((size_t)a->seen_mask + 1) * sizeof *a->seen);
    }
}

/* From the places that are reached to the state that they are. */
static uint32_t finish(mlxn_automaton *a, bool ok) {
    for (uint32_t i = 0; ok && i < a->pending.count; i++) ok = follow(a, a->pending.data[i]);
    if (ok && a->called.count > 1) qsort(a->called.data, a->called.count, sizeof *a->called.data, by_value);
    for (uint32_t i = 0; ok && i < a->called.count; i++) ok = make_context(a, (uint32_t)a->called.data[i]);
    for (uint32_t i = 0; ok && i < a->found.count; i++)
        a->found.data[i].context = known_context(a, a->found.data[i].context);
    for (uint32_t i = 0; i < a->called.count; i++) a->rules[(uint32_t)a->called.data[i]] = (mlxn_au_called){0};
    if (!ok) return MLXN_AU_FAILED;
    uint32_t n = mlxn_au_sort(a->found.data, a->found.count);
    return mlxn_au_intern_state(a, a->found.data, n, a->accepts, a->escapes);
}

uint32_t mlxn_au_step_slow(mlxn_automaton *a, uint32_t state, uint32_t class) {
    const mlxn_grammar *g = a->grammar;
    mlxn_au_state from = a->states.data[state];
    uint8_t byte = g->class_byte[class];
    bool ok = a->status == MLXN_OK;
    begin(a);
    for (uint32_t i = 0; ok && i < from.count; i++) {
        mlxn_au_item item = a->items.data[from.first + i];
        mlxn_gr_state s = g->states.data[item.state];
        a->work += s.count >> 3;
        for (uint32_t k = 0; ok && k < s.count; k++) {
            mlxn_gr_arc arc = g->arcs.data[s.first + k];
            if (arc.low <= byte && byte <= arc.high) ok = reach(a, arc.to, item.context);
        }
    }
    uint32_t next = finish(a, ok);
    if (next != MLXN_AU_FAILED) a->rows[(size_t)state * g->n_classes + class] = next;
    return next;
}

uint32_t mlxn_au_pop(mlxn_automaton *a, uint32_t context) {
    if (a->contexts.data[context].popped != UINT32_MAX) return a->contexts.data[context].popped;
    begin(a);
    uint32_t state = finish(a, !a->status && reach(a, 0, context));
    if (state != MLXN_AU_FAILED) a->contexts.data[context].popped = state;
    return state;
}

uint32_t mlxn_au_open(mlxn_automaton *a, uint32_t first, uint32_t count) {
    begin(a);
    if (!mlxn_au_append(&a->found.data, &a->found.count, &a->found.capacity, a->items.data + first, count))
        return mlxn_au_fail(a, MLXN_ERR_MEMORY);
    for (uint32_t i = 0; i < count; i++) a->found.data[i].context = MLXN_AU_OPEN;
    return mlxn_au_intern_state(a, a->found.data, count, false, false);
}

/* ---- life ---- */

/* The contexts and states that are always there. */
static bool add_first(mlxn_automaton *a) {
    static const mlxn_au_item root = {MLXN_AU_PAIR_ACCEPT, MLXN_AU_ROOT}, open = {MLXN_AU_PAIR_ESCAPE, MLXN_AU_ROOT};
    if (mlxn_au_intern_context(a, &root, 1) != MLXN_AU_ROOT || mlxn_au_intern_context(a, &open, 1) != MLXN_AU_OPEN)
        return false;
    if (mlxn_au_intern_state(a, NULL, 0, false, false) != MLXN_AU_DEAD) return false;
    begin(a);
    return finish(a, reach(a, a->grammar->rules[a->grammar->root].entry, MLXN_AU_ROOT)) == MLXN_AU_START;
}

mlxn_status mlxn_au_init(mlxn_automaton *a, const mlxn_grammar *grammar, void (*free_memo)(void *),
                         mlxn_error *error) {
    *a = (mlxn_automaton){.grammar = grammar, .free_memo = free_memo};
    a->rules = mlxn_alloc_array(grammar->n_rules, sizeof *a->rules);
    if (!a->rules)
        mlxn_au_fail(a, MLXN_ERR_MEMORY);
    else
        add_first(a);
    if (a->status && error) *error = a->error;
    return a->status;
}

void mlxn_au_free(mlxn_automaton *a) {
    mlxn_au_free_store(a);
    mlxn_free(a->pending.data);
    mlxn_free(a->found.data);
    mlxn_free(a->callers.data);
    mlxn_free(a->called.data);
    mlxn_free(a->rules);
    mlxn_free(a->seen);
    memset(a, 0, sizeof *a);
}

/* The contexts that states need, by way of the contexts that these need: callers have lower ids. */
static void mark_contexts(const mlxn_automaton *a, const uint32_t *states, size_t n, uint8_t *marks) {
    for (size_t i = 0; i < n; i++) {
        mlxn_au_state s = a->states.data[states[i]];
        for (uint32_t k = 0; k < s.count; k++) marks[a->items.data[s.first + k].context] = 1;
    }
    for (uint32_t id = a->contexts.count; id-- > 0;) {
        mlxn_au_context c = a->contexts.data[id];
        for (uint32_t k = 0; marks[id] && k < c.count; k++) marks[a->pairs.data[c.first + k].context] = 1;
    }
}

/* Items or pairs of the old store with the new ids of their contexts, into a->found. */
static bool translate(mlxn_automaton *a, const mlxn_au_item *items, uint32_t n, const uint32_t *ids) {
    a->found.count = 0;
    if (!mlxn_au_append(&a->found.data, &a->found.count, &a->found.capacity, items, n))
        return mlxn_au_fail(a, MLXN_ERR_MEMORY), false;
    for (uint32_t k = 0; k < n; k++) a->found.data[k].context = ids[a->found.data[k].context];
    mlxn_au_sort(a->found.data, n);
    return true;
}

static bool copy_live(mlxn_automaton *a, const mlxn_automaton *old, uint32_t *states, size_t n, const uint8_t *marks,
                      uint32_t *ids) {
    if (!add_first(a)) return false;
    for (uint32_t id = 0; id < old->contexts.count; id++) {
        mlxn_au_context c = old->contexts.data[id];
        ids[id] = id;
        if (id <= MLXN_AU_OPEN || !marks[id]) continue;
        if (!translate(a, old->pairs.data + c.first, c.count, ids)) return false;
        ids[id] = mlxn_au_intern_context(a, a->found.data, c.count);
        if (ids[id] == MLXN_AU_FAILED) return false;
    }
    for (size_t i = 0; i < n; i++) {
        mlxn_au_state s = old->states.data[states[i]];
        if (!translate(a, old->items.data + s.first, s.count, ids)) return false;
        uint32_t id = mlxn_au_intern_state(a, a->found.data, s.count, s.accepts, s.escapes);
        if (id == MLXN_AU_FAILED) return false;
        states[i] = id;
    }
    return true;
}

mlxn_status mlxn_au_compact(mlxn_automaton *a, uint32_t *states, size_t n, mlxn_error *error) {
    uint8_t *marks = mlxn_alloc_array(a->contexts.count, 1);
    uint32_t *ids = mlxn_alloc_array(a->contexts.count, sizeof *ids);
    mlxn_automaton old = *a;
    bool ok = marks && ids;
    if (ok) {
        mark_contexts(a, states, n, marks);
        memset(&a->contexts, 0, sizeof a->contexts);
        memset(&a->pairs, 0, sizeof a->pairs);
        memset(&a->states, 0, sizeof a->states);
        memset(&a->items, 0, sizeof a->items);
        a->rows = a->context_table = a->state_table = NULL;
        a->rows_capacity = 0;
        a->memo_bytes = a->work = 0;
        ok = copy_live(a, &old, states, n, marks, ids);
        mlxn_au_free_store(&old);
    }
    if (!ok) mlxn_au_fail(a, MLXN_ERR_MEMORY);
    mlxn_free(marks);
    mlxn_free(ids);
    if (a->status && error) *error = a->error;
    return a->status;
}
