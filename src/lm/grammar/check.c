/* check.c: what a grammar must be before it is compiled: every rule that can be reached is defined, can end, and does
 * not begin with itself. */
#include "lm/grammar/grammar.h"

/* One of a walk's rules, and which of its references is looked at next. */
typedef struct visit {
    uint32_t rule, next;
} visit;

static mlxn_status no_memory(const mlxn_gr_tree *t, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "grammar: no memory for %u rules", t->rules.count);
}

static int shown_size(const mlxn_gr_rule *r) { return (int)mlxn_min_u64(r->name.size, 64); }

static mlxn_status too_long(mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_LIMIT, "grammar: it is too large or too tangled to be checked");
}

/* Marks what the root reaches and lists it, users behind what they use (cycles aside). */
static mlxn_status find_reachable(mlxn_gr_tree *t, visit *stack, mlxn_error *error) {
    uint32_t depth = 0;
    stack[depth++] = (visit){t->root, 0};
    t->rules.data[t->root].reachable = true;
    while (depth) {
        visit *v = &stack[depth - 1];
        mlxn_gr_rule *r = &t->rules.data[v->rule];
        if (v->next == r->n_refs) {
            if (!MLXN_GR_ROOM(t->order)) return no_memory(t, error);
            t->order.data[t->order.count++] = v->rule;
            depth--;
            continue;
        }
        uint32_t to = t->refs.data[r->first_ref + v->next++];
        mlxn_gr_rule *used = &t->rules.data[to];
        if (used->body == UINT32_MAX)
            return mlxn_gr_fail(t, used->at, error, MLXN_ERR_FORMAT, "rule %.*s is not defined", shown_size(used),
                                used->name.data);
        if (used->reachable) continue;
        used->reachable = true;
        stack[depth++] = (visit){to, 0};
    }
    return MLXN_OK;
}

/* Whether a node can match nothing at all (`nullable`), or anything finite. */
static bool holds(mlxn_gr_tree *t, uint32_t id, bool nullable) {
    const mlxn_gr_node *n = &t->nodes.data[id];
    t->steps++;
    switch (n->kind) {
        case MLXN_GR_EMPTY:
            return true;
        case MLXN_GR_TEXT:
        case MLXN_GR_SET:
            return !nullable;
        case MLXN_GR_REF:
            return nullable ? t->rules.data[n->first].nullable : t->rules.data[n->first].productive;
        case MLXN_GR_REPEAT:
            return n->min == 0 || holds(t, n->first, nullable);
        case MLXN_GR_SEQ:
            for (uint32_t i = 0; i < n->count; i++)
                if (!holds(t, t->kids.data[n->first + i], nullable)) return false;
            return true;
        case MLXN_GR_ALT:
            for (uint32_t i = 0; i < n->count; i++)
                if (holds(t, t->kids.data[n->first + i], nullable)) return true;
    }
    return false;
}

/* The least fixed point of nullable and productive; few rounds, because users come behind what they use. */
static mlxn_status find_properties(mlxn_gr_tree *t, mlxn_error *error) {
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < t->order.count; i++) {
            mlxn_gr_rule *r = &t->rules.data[t->order.data[i]];
            if (!r->nullable && holds(t, r->body, true)) r->nullable = changed = true;
            if (!r->productive && holds(t, r->body, false)) r->productive = changed = true;
            if (t->steps > MLXN_GR_MAX_STEPS) return too_long(error);
        }
    }
    for (uint32_t i = 0; i < t->order.count; i++) {
        const mlxn_gr_rule *r = &t->rules.data[t->order.data[i]];
        if (!r->productive)
            return mlxn_gr_fail(t, r->at, error, MLXN_ERR_FORMAT,
                                "rule %.*s can never end: each of its alternatives "
                                "needs a rule that does not end",
                                shown_size(r), r->name.data);
    }
    return MLXN_OK;
}

/* Adds the rules that a node can begin with to `out`; *nullable: what follows the node can be first too. */
static bool first_rules(mlxn_gr_tree *t, uint32_t id, uint32_t **out, uint32_t *count, uint32_t *capacity,
                        bool *nullable) {
    const mlxn_gr_node *n = &t->nodes.data[id];
    t->steps++;
    *nullable = n->kind == MLXN_GR_EMPTY;
    bool inner = false, ok = true;
    switch (n->kind) {
        case MLXN_GR_EMPTY:
        case MLXN_GR_TEXT:
        case MLXN_GR_SET:
            return true;
        case MLXN_GR_REF:
            *nullable = t->rules.data[n->first].nullable;
            if (!mlxn_gr_grow(out, capacity, *count, sizeof **out)) return false;
            (*out)[(*count)++] = n->first;
            return true;
        case MLXN_GR_REPEAT:
            ok = first_rules(t, n->first, out, count, capacity, &inner);
            *nullable = n->min == 0 || inner;
            return ok;
        case MLXN_GR_SEQ:
            *nullable = true;
            for (uint32_t i = 0; i < n->count && ok && *nullable; i++)
                ok = first_rules(t, t->kids.data[n->first + i], out, count, capacity, nullable);
            return ok;
        case MLXN_GR_ALT:
            for (uint32_t i = 0; i < n->count && ok; i++) {
                ok = first_rules(t, t->kids.data[n->first + i], out, count, capacity, &inner);
                *nullable = *nullable || inner;
            }
    }
    return ok;
}

typedef struct begins {
    uint32_t *rules; /* of all, one list after the other */
    uint32_t count, capacity;
    uint32_t *first; /* [n_rules + 1 in t->order's order]: where the list of each begins */
    uint32_t *place; /* [n_rules]: place in t->order */
    uint8_t *color;  /* [n_rules]: 0 not seen, 1 on the way, 2 done */
} begins;

/* Visits rules along what they can begin with; a rule met on the way to itself is left-recursive. The order in which
 * they are done replaces t->order: what a rule begins with comes before it. */
static mlxn_status walk_begins(mlxn_gr_tree *t, begins *b, visit *stack, uint32_t *done, mlxn_error *error) {
    uint32_t n = t->order.count, n_done = 0;
    for (uint32_t i = n; i-- > 0;) {
        uint32_t depth = 0;
        if (b->color[t->order.data[i]]) continue;
        stack[depth++] = (visit){t->order.data[i], b->first[i]};
        b->color[t->order.data[i]] = 1;
        while (depth) {
            visit *v = &stack[depth - 1];
            if (v->next == b->first[b->place[v->rule] + 1]) {
                b->color[v->rule] = 2;
                done[n_done++] = v->rule;
                depth--;
                continue;
            }
            uint32_t to = b->rules[v->next++];
            const mlxn_gr_rule *r = &t->rules.data[to];
            if (b->color[to] == 1)
                return mlxn_gr_fail(t, r->at, error, MLXN_ERR_FORMAT,
                                    "rule %.*s is left-recursive: it can begin with itself; write it with * or put "
                                    "the recursion last",
                                    shown_size(r), r->name.data);
            if (b->color[to]) continue;
            b->color[to] = 1;
            stack[depth++] = (visit){to, b->first[b->place[to]]};
        }
    }
    memcpy(t->order.data, done, n * sizeof *done);
    return MLXN_OK;
}

static mlxn_status find_left_recursion(mlxn_gr_tree *t, visit *stack, mlxn_error *error) {
    uint32_t n = t->rules.count;
    begins b = {.first = mlxn_alloc_array((size_t)n + 1, sizeof *b.first),
                .place = mlxn_alloc_array(n, sizeof *b.place),
                .color = mlxn_alloc_array(n, 1)};
    uint32_t *done = mlxn_alloc_array(n, sizeof *done);
    bool ok = b.first && b.place && b.color && done;
    for (uint32_t i = 0; ok && i < t->order.count; i++) {
        bool nullable;
        b.place[t->order.data[i]] = i;
        ok = first_rules(t, t->rules.data[t->order.data[i]].body, &b.rules, &b.count, &b.capacity, &nullable);
        b.first[i + 1] = b.count;
    }
    mlxn_status status = ok ? walk_begins(t, &b, stack, done, error) : no_memory(t, error);
    mlxn_free(b.rules);
    mlxn_free(b.first);
    mlxn_free(b.place);
    mlxn_free(b.color);
    mlxn_free(done);
    return status;
}

mlxn_status mlxn_gr_check(mlxn_gr_tree *tree, mlxn_error *error) {
    visit *stack = mlxn_alloc_array(tree->rules.count, sizeof *stack);
    if (!stack) return no_memory(tree, error);
    mlxn_status status = find_reachable(tree, stack, error);
    if (!status) status = find_properties(tree, error);
    if (!status) status = find_left_recursion(tree, stack, error);
    mlxn_free(stack);
    return status;
}
