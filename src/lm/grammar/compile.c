/* compile.c: from the tree to the network. Every node is compiled towards the state that comes after it, so that no
 * edge has to be patched but those of loops. Characters become bytes here: a class is a small automaton over UTF-8.
 *
 * Small rules without calls and loops are copied to where they are used. Masks are computed per rule (constraint.c),
 * and a rule of a single character would make each of them depend on its caller. */
#include "lm/grammar/grammar.h"
#include "lm/utf8.h"

enum { CACHE_SLOTS = 4096 };

typedef struct compiler {
    mlxn_gr_tree *tree;
    mlxn_grammar *g;
    uint32_t *cache; /* [CACHE_SLOTS]: states of one arc, by their hash; 0 = none */
    mlxn_error *error;
} compiler;

static mlxn_status no_memory(compiler *c) {
    return mlxn_fail(c->error, MLXN_ERR_MEMORY, "grammar: no memory for %u states", c->g->states.count);
}

static mlxn_status add_state(compiler *c, mlxn_gr_op op, uint32_t first, uint32_t count, uint32_t *out) {
    mlxn_grammar *g = c->g;
    if (g->states.count == MLXN_GR_MAX_STATES || g->arcs.count > MLXN_GR_MAX_ARCS || g->outs.count > MLXN_GR_MAX_ARCS)
        return mlxn_fail(c->error, MLXN_ERR_LIMIT,
                         "grammar: it needs more than %u states; fewer or shorter repetitions would help",
                         MLXN_GR_MAX_STATES);
    if (!MLXN_GR_ROOM(g->states)) return no_memory(c);
    *out = g->states.count;
    g->states.data[g->states.count++] = (mlxn_gr_state){.op = op, .first = first, .count = count};
    return MLXN_OK;
}

static mlxn_status add_arc(compiler *c, uint8_t low, uint8_t high, uint32_t to) {
    if (!MLXN_GR_ROOM(c->g->arcs)) return no_memory(c);
    c->g->arcs.data[c->g->arcs.count++] = (mlxn_gr_arc){low, high, to};
    return MLXN_OK;
}

static mlxn_status add_out(compiler *c, uint32_t to) {
    if (!MLXN_GR_ROOM(c->g->outs)) return no_memory(c);
    c->g->outs.data[c->g->outs.count++] = to;
    return MLXN_OK;
}

/* The state that takes one byte of a range; the same one for the same question, as ends of characters often are. */
static mlxn_status byte_state(compiler *c, uint8_t low, uint8_t high, uint32_t to, uint32_t *out) {
    uint32_t *slot = &c->cache[((to * 31u + low) * 131u + high) % CACHE_SLOTS];
    if (*slot) {
        mlxn_gr_arc known = c->g->arcs.data[c->g->states.data[*slot].first];
        if (known.low == low && known.high == high && known.to == to) {
            *out = *slot;
            return MLXN_OK;
        }
    }
    uint32_t first = c->g->arcs.count;
    mlxn_status status = add_arc(c, low, high, to);
    if (!status) status = add_state(c, MLXN_GR_BYTES, first, 1, out);
    if (!status) *slot = *out;
    return status;
}

static mlxn_status compile_text(compiler *c, const mlxn_gr_node *n, uint32_t next, uint32_t *out) {
    for (uint32_t i = n->count; i-- > 0;) {
        char bytes[4];
        uint32_t size = mlxn_utf8_write(c->tree->codes.data[n->first + i], bytes);
        while (size-- > 0) {
            mlxn_status status = byte_state(c, (uint8_t)bytes[size], (uint8_t)bytes[size], next, &next);
            if (status) return status;
        }
    }
    *out = next;
    return MLXN_OK;
}

/* Characters low..high, whose encodings have the same length, as products of byte ranges: where all continuation
 * bytes behind one are free, that one may range. Appends the first bytes' arcs. */
static mlxn_status add_characters(compiler *c, uint32_t low, uint32_t high, uint32_t next, mlxn_gr_arc *arcs,
                                  uint32_t *n_arcs, uint32_t limit) {
    char a[4], b[4];
    uint32_t size = mlxn_utf8_write(low, a);
    mlxn_utf8_write(high, b);
    for (uint32_t k = 1; k < size; k++) { /* the last k bytes */
        uint32_t mask = (1u << (6 * k)) - 1;
        if ((low & ~mask) == (high & ~mask)) continue;
        uint32_t cut = (low & mask) ? low | mask : (high & mask) != mask ? (high & ~mask) - 1 : 0;
        if (!cut) continue;
        mlxn_status status = add_characters(c, low, cut, next, arcs, n_arcs, limit);
        return status ? status : add_characters(c, cut + 1, high, next, arcs, n_arcs, limit);
    }
    while (--size > 0) {
        mlxn_status status = byte_state(c, (uint8_t)a[size], (uint8_t)b[size], next, &next);
        if (status) return status;
    }
    if (*n_arcs == limit) return mlxn_fail(c->error, MLXN_ERR_LIMIT, "grammar: a class has too many ranges");
    arcs[(*n_arcs)++] = (mlxn_gr_arc){(uint8_t)a[0], (uint8_t)b[0], next};
    return MLXN_OK;
}

static mlxn_status compile_set(compiler *c, const mlxn_gr_node *n, uint32_t next, uint32_t *out) {
    static const uint32_t last[] = {0x7f, 0x7ff, 0xffff, 0x10ffff};
    uint32_t limit = 64 + n->count * 16, n_arcs = 0;
    mlxn_gr_arc *arcs = mlxn_alloc_array(limit, sizeof *arcs);
    if (!arcs) return no_memory(c);
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; i < n->count && !status; i++) {
        mlxn_gr_range r = c->tree->ranges.data[n->first + i];
        for (uint32_t size = 0; size < 4 && !status; size++) {
            uint32_t low = (uint32_t)mlxn_max_u64(r.low, size ? last[size - 1] + 1 : 0);
            uint32_t high = (uint32_t)mlxn_min_u64(r.high, last[size]);
            if (low <= high) status = add_characters(c, low, high, next, arcs, &n_arcs, limit);
        }
        c->tree->steps += 1;
    }
    uint32_t first = c->g->arcs.count;
    for (uint32_t i = 0; i < n_arcs && !status; i++) status = add_arc(c, arcs[i].low, arcs[i].high, arcs[i].to);
    mlxn_free(arcs);
    return status ? status : add_state(c, MLXN_GR_BYTES, first, n_arcs, out);
}

static mlxn_status compile_node(compiler *c, uint32_t id, uint32_t next, uint32_t *out);

static mlxn_status compile_choice(compiler *c, uint32_t a, uint32_t b, uint32_t *out) {
    uint32_t first = c->g->outs.count;
    mlxn_status status = add_out(c, a);
    if (!status) status = add_out(c, b);
    return status ? status : add_state(c, MLXN_GR_BRANCH, first, 2, out);
}

static mlxn_status compile_repeat(compiler *c, const mlxn_gr_node *n, uint32_t next, uint32_t *out) {
    mlxn_status status = MLXN_OK;
    uint32_t at = next, body;
    if (n->max == MLXN_GR_UNBOUNDED) { /* a loop, whose body comes back to it */
        status = compile_choice(c, next, next, &at);
        uint32_t back = status ? 0 : c->g->states.data[at].first;
        if (!status) status = compile_node(c, n->first, at, &body);
        if (!status) c->g->outs.data[back] = body;
    } else { /* each optional copy may be left to what follows them all */
        for (uint32_t i = n->min; i < n->max && !status; i++) {
            status = compile_node(c, n->first, at, &body);
            if (!status) status = compile_choice(c, body, next, &at);
        }
    }
    for (uint32_t i = 0; i < n->min && !status; i++) status = compile_node(c, n->first, at, &at);
    *out = at;
    return status;
}

static mlxn_status compile_alternatives(compiler *c, const mlxn_gr_node *n, uint32_t next, uint32_t *out) {
    uint32_t *entries = mlxn_alloc_array(n->count, sizeof *entries);
    if (!entries) return no_memory(c);
    mlxn_status status = MLXN_OK;
    for (uint32_t i = 0; i < n->count && !status; i++)
        status = compile_node(c, c->tree->kids.data[n->first + i], next, &entries[i]);
    uint32_t first = c->g->outs.count;
    for (uint32_t i = 0; i < n->count && !status; i++) status = add_out(c, entries[i]);
    mlxn_free(entries);
    return status ? status : add_state(c, MLXN_GR_BRANCH, first, n->count, out);
}

static mlxn_status compile_node(compiler *c, uint32_t id, uint32_t next, uint32_t *out) {
    mlxn_gr_node n = c->tree->nodes.data[id];
    if (++c->tree->steps > MLXN_GR_MAX_STEPS)
        return mlxn_fail(c->error, MLXN_ERR_LIMIT, "grammar: too many repetitions within repetitions");
    switch (n.kind) {
        case MLXN_GR_EMPTY:
            *out = next;
            return MLXN_OK;
        case MLXN_GR_TEXT:
            return compile_text(c, &n, next, out);
        case MLXN_GR_SET:
            return compile_set(c, &n, next, out);
        case MLXN_GR_REF:
            if (c->tree->rules.data[n.first].inlined)
                return compile_node(c, c->tree->rules.data[n.first].body, next, out);
            return add_state(c, MLXN_GR_CALL, next, n.first, out);
        case MLXN_GR_REPEAT:
            return compile_repeat(c, &n, next, out);
        case MLXN_GR_SEQ: {
            mlxn_status status = MLXN_OK;
            for (uint32_t i = n.count; i-- > 0 && !status;)
                status = compile_node(c, c->tree->kids.data[n.first + i], next, &next);
            *out = next;
            return status;
        }
        case MLXN_GR_ALT:
            return compile_alternatives(c, &n, next, out);
    }
    return MLXN_OK;
}

/* About how many states a node takes, at least 1; MLXN_GR_UNBOUNDED if they are many, or it has a loop or a call. */
static uint32_t size_of(mlxn_gr_tree *t, uint32_t id, uint32_t depth) {
    const mlxn_gr_node *n = &t->nodes.data[id];
    const mlxn_gr_rule *r;
    uint64_t size = 1;
    switch (n->kind) {
        case MLXN_GR_EMPTY:
            break;
        case MLXN_GR_TEXT:
            size = n->count;
            break;
        case MLXN_GR_SET:
            size = t->ranges.data[n->first + n->count - 1].high > 0x7f ? 8 : 1;
            break;
        case MLXN_GR_REF:
            r = &t->rules.data[n->first];
            size = r->inlined && depth < MLXN_GR_INLINE_DEPTH ? size_of(t, r->body, depth + 1) : MLXN_GR_UNBOUNDED;
            break;
        case MLXN_GR_REPEAT:
            size = n->max == MLXN_GR_UNBOUNDED ? MLXN_GR_UNBOUNDED : size_of(t, n->first, depth);
            size *= n->max;
            break;
        case MLXN_GR_SEQ:
        case MLXN_GR_ALT:
            for (uint32_t i = 0; i < n->count && size <= MLXN_GR_INLINE_STATES; i++)
                size += size_of(t, t->kids.data[n->first + i], depth);
    }
    return size > MLXN_GR_INLINE_STATES ? MLXN_GR_UNBOUNDED : (uint32_t)size;
}

static void find_classes(mlxn_grammar *g) {
    bool begins[257] = {false};
    for (uint32_t i = 0; i < g->arcs.count; i++)
        begins[g->arcs.data[i].low] = begins[g->arcs.data[i].high + 1] = true;
    uint32_t class = 0;
    for (uint32_t b = 0; b < 256; b++) {
        class += b > 0 && begins[b];
        g->byte_class[b] = (uint8_t) class;
        g->class_byte[class] = (uint8_t)b;
    }
    g->n_classes = class + 1;
}

static mlxn_status compile_rules(compiler *c) {
    mlxn_gr_tree *t = c->tree;
    mlxn_grammar *g = c->g;
    uint32_t n = t->order.count, ignored;
    for (int round = 0; round < MLXN_GR_INLINE_DEPTH; round++)
        for (uint32_t i = 0; i < n; i++) {
            mlxn_gr_rule *r = &t->rules.data[t->order.data[i]];
            r->inlined = r->inlined || (t->order.data[i] != t->root && size_of(t, r->body, 0) != MLXN_GR_UNBOUNDED);
        }
    mlxn_status status = add_state(c, MLXN_GR_RETURN, 0, 0, &ignored);
    for (uint32_t i = 0; i < t->rules.count; i++) g->rules[i].entry = UINT32_MAX;
    for (uint32_t i = 0; i < n && !status; i++) {
        uint32_t id = t->order.data[i];
        g->rules[id].rank = n - 1 - i;
        g->rules[id].nullable = t->rules.data[id].nullable;
        if (!t->rules.data[id].inlined) status = compile_node(c, t->rules.data[id].body, 0, &g->rules[id].entry);
    }
    return status;
}

mlxn_status mlxn_gr_compile(mlxn_gr_tree *tree, mlxn_grammar *out, mlxn_error *error) {
    compiler c = {.tree = tree, .g = out, .error = error};
    tree->steps = 0;
    out->root = tree->root;
    out->n_rules = tree->rules.count;
    out->rules = mlxn_alloc_array(tree->rules.count, sizeof *out->rules);
    c.cache = mlxn_alloc_array(CACHE_SLOTS, sizeof *c.cache);
    mlxn_status status = out->rules && c.cache ? compile_rules(&c) : no_memory(&c);
    mlxn_free(c.cache);
    if (!status) find_classes(out);
    return status;
}
