/* fuse.c: pairs of operations that are one operation: a table of rules, and the proof that nobody sees the
 * difference.
 *
 * A rule says what the pair is called, which argument of the first is the intermediate, where the arguments of the
 * result come from. The result stands in the place of the second. It is built like a recorded dispatch, so shapes,
 * dtypes and aliases that the fused operation does not take keep the pair as it is. */
#include "core/graph.h"

/* Where an argument of the result comes from. */
enum { NONE = 0, FIRST = 0x10, SECOND = 0x20, OTHER = 0x30, KIND = 0x30, ARG = 0x0f };

typedef struct fuse_pair {
    const mlxn_dispatch *first, *second;
    uint32_t in; /* the argument of the second that is the intermediate */
} fuse_pair;

typedef struct fuse_rule {
    uint32_t first, second, result;
    uint32_t out;   /* the intermediate, as argument of the first */
    uint32_t takes; /* arguments of the second that it may be, as bits; with two the other one is OTHER */
    uint8_t map[MLXN_MAX_ARGS];
    bool (*fits)(const fuse_pair *pair, mlxn_stack_dispatch *result); /* may change arguments; NULL: always */
    void (*params)(const fuse_pair *pair, void *out);                 /* NULL: there are none */
} fuse_rule;

/* ---- conditions and parameters of rules ---- */

/* A factor that is the same for every row is a weight: one row of D elements, or rows that are all at one place. */
static bool weighs(const fuse_pair *pair, mlxn_stack_dispatch *result) {
    mlxn_view *w = &result->args[1];
    if (pair->first->args[1].present) return false;
    for (uint32_t i = 0; i + 1 < w->rank; i++)
        if (w->dims[i] != 1 && w->strides[i] != 0) return false;
    if (w->strides[w->rank - 1] != 1) return false;
    *w = (mlxn_view){.present = true,
                     .dtype = w->dtype,
                     .rank = 1,
                     .dims = {w->dims[w->rank - 1]},
                     .strides = {1},
                     .data = w->data};
    return true;
}

static bool has_no_residual(const fuse_pair *pair, mlxn_stack_dispatch *result) {
    return !pair->first->args[3].present;
}

static void params_of_first(const fuse_pair *pair, void *out) {
    memcpy(out, pair->first->params, pair->first->op->params_size);
}

static void params_of_norm_rope(const fuse_pair *pair, void *out) {
    mlxn_norm_rope_params p = {.eps = ((const mlxn_rms_norm_params *)pair->first->params)->eps};
    memcpy(&p.rope, pair->second->params, sizeof p.rope);
    memcpy(out, &p, sizeof p);
}

#define OP(name) MLXN_OP_##name
static const fuse_rule rules[] = {
    /* x · w is the norm's own weight. */
    {OP(rms_norm), OP(elementwise_mul), OP(rms_norm), 2, 3, {FIRST | 0, OTHER, SECOND | 2}, weighs, params_of_first},
    {OP(rms_norm),
     OP(elementwise_add),
     OP(norm_add),
     2,
     3,
     {FIRST | 0, FIRST | 1, OTHER, SECOND | 2},
     NULL,
     params_of_first},
    {OP(silu), OP(elementwise_mul), OP(silu_mul), 1, 3, {FIRST | 0, OTHER, SECOND | 2}, NULL, NULL},
    {OP(gelu), OP(elementwise_mul), OP(gelu_mul), 1, 3, {FIRST | 0, OTHER, SECOND | 2}, NULL, NULL},
    {OP(rms_norm),
     OP(rope),
     OP(norm_rope),
     2,
     1,
     {FIRST | 0, FIRST | 1, SECOND | 1, SECOND | 2, SECOND | 3},
     NULL,
     params_of_norm_rope},
    {OP(matmul),
     OP(elementwise_add),
     OP(matmul),
     4,
     3,
     {FIRST | 0, FIRST | 1, FIRST | 2, OTHER, SECOND | 2},
     has_no_residual,
     NULL},
};

/* ---- who sees the intermediate ---- */

typedef struct fuser {
    const mlxn_device *device;
    mlxn_graph_source *source;
    mlxn_node_list *list;
    const mlxn_graph_desc *desc;
    bool *gone; /* nodes that were fused into a later one */
} fuser;

static bool overlap(const mlxn_binding *range, const mlxn_access *a) {
    return a->buffer == range->buffer && a->start < range->end && range->offset < a->end;
}

static bool covers(const mlxn_binding *range, const mlxn_buffer *buffer, uint64_t start, uint64_t end) {
    return buffer == range->buffer && start <= range->offset && range->end <= end;
}

/* Exactly the same elements of the same memory. */
static bool same_elements(const mlxn_dispatch *a, uint32_t i, const mlxn_dispatch *b, uint32_t k) {
    const mlxn_view *x = &a->args[i], *y = &b->args[k];
    if (!a->bindings[i].buffer || a->bindings[i].buffer != b->bindings[k].buffer) return false;
    if (a->bindings[i].offset != b->bindings[k].offset || x->dtype != y->dtype || x->rank != y->rank) return false;
    for (uint32_t d = 0; d < x->rank; d++)
        if (x->dims[d] != y->dims[d] || (x->dims[d] > 1 && x->strides[d] != y->strides[d])) return false;
    return true;
}

/* Does the node give every byte of the range a new value, whatever was there? */
static bool overwrites(const mlxn_node *node, const mlxn_binding *range) {
    if (node->kind == MLXN_NODE_COPY) {
        uint64_t start = node->u.copy.dst_offset;
        return covers(range, node->u.copy.dst, start, start + node->u.copy.bytes);
    }
    if (node->kind == MLXN_NODE_FILL) {
        uint64_t start = node->u.fill.offset;
        return covers(range, node->u.fill.dst, start, start + node->u.fill.bytes);
    }
    if (node->kind != MLXN_NODE_DISPATCH) return false; /* a kernel may leave bytes as they are */
    const mlxn_dispatch *d = node->u.dispatch;
    for (uint32_t i = 0; i < d->n_args; i++)
        if (d->op->args[i].role == MLXN_ROLE_OUT && mlxn_view_contiguous(&d->args[i]) &&
            covers(range, d->bindings[i].buffer, d->bindings[i].offset, d->bindings[i].end))
            return true;
    return false;
}

/* After node `second` nobody reads the range before all of it has been written, in this launch or later. */
static bool is_dead_after(const fuser *f, uint32_t second, const mlxn_binding *range) {
    mlxn_access_list list;
    for (uint32_t i = second + 1; i < f->source->count; i++) {
        if (f->gone[i]) continue;
        mlxn_node_accesses(&f->source->nodes[i], &list);
        if (list.fence) return false;
        for (size_t k = 0; k < list.count; k++)
            if (!list.items[k].write && overlap(range, &list.items[k])) return false;
        if (f->source->nodes[i].kind == MLXN_NODE_DISPATCH) {
            const mlxn_dispatch *d = f->source->nodes[i].u.dispatch;
            for (uint32_t a = 0; a < d->n_args; a++) {
                const mlxn_binding *b = &d->bindings[a];
                mlxn_access access = {b->buffer, b->offset, b->end, true};
                if (d->op->args[a].role == MLXN_ROLE_INOUT && overlap(range, &access)) return false;
            }
        } else if (f->source->nodes[i].kind == MLXN_NODE_KERNEL) {
            for (size_t k = 0; k < list.count; k++)
                if (overlap(range, &list.items[k])) return false; /* it may read what it writes */
        }
        if (overwrites(&f->source->nodes[i], range)) return true;
    }
    if (range->buffer->capture) return true;
    for (uint32_t i = 0; i < f->desc->n_dead; i++) {
        const mlxn_range *r = &f->desc->dead[i];
        if (covers(range, r->buffer, r->offset, r->bytes ? r->offset + r->bytes : r->buffer->size)) return true;
    }
    return false;
}

/* The node whose output argument in[] of `second` is, if it is the last that touched those bytes; else count. */
static uint32_t find_first(const fuser *f, const fuse_rule *rule, uint32_t second, uint32_t in) {
    const mlxn_dispatch *b = f->source->nodes[second].u.dispatch;
    const mlxn_binding *range = &b->bindings[in];
    mlxn_access_list list;
    for (uint32_t i = second; range->buffer && i-- > 0;) {
        if (f->gone[i]) continue;
        const mlxn_node *node = &f->source->nodes[i];
        mlxn_node_accesses(node, &list);
        if (list.fence) break;
        bool touches = false;
        for (size_t k = 0; k < list.count; k++) touches = touches || overlap(range, &list.items[k]);
        if (!touches) continue;
        if (node->kind == MLXN_NODE_DISPATCH && node->u.dispatch->op == mlxn_op_get(rule->first) &&
            same_elements(node->u.dispatch, rule->out, b, in))
            return i;
        break;
    }
    return f->source->count;
}

/* Nothing between the two writes what the first reads: it may read that later. */
static bool inputs_stay(const fuser *f, uint32_t first, uint32_t second) {
    const mlxn_dispatch *a = f->source->nodes[first].u.dispatch;
    mlxn_access_list list;
    for (uint32_t i = first + 1; i < second; i++) {
        if (f->gone[i]) continue;
        mlxn_node_accesses(&f->source->nodes[i], &list);
        for (size_t k = 0; k < list.count; k++)
            for (uint32_t arg = 0; list.items[k].write && arg < a->n_args; arg++)
                if (overlap(&a->bindings[arg], &list.items[k])) return false;
    }
    return true;
}

/* The second reads the intermediate as argument `in` alone. *replaced: it writes exactly those elements, so that they
 * are gone afterwards. */
static bool reads_once(const mlxn_dispatch *b, uint32_t in, bool *replaced) {
    *replaced = false;
    for (uint32_t arg = 0; arg < b->n_args; arg++) {
        mlxn_access access = {b->bindings[arg].buffer, b->bindings[arg].offset, b->bindings[arg].end, false};
        if (arg == in || !overlap(&b->bindings[in], &access)) continue;
        if (b->op->args[arg].role != MLXN_ROLE_OUT || !same_elements(b, arg, b, in)) return false;
        *replaced = true;
    }
    return true;
}

/* ---- building the result ---- */

static bool build(const fuser *f, const fuse_rule *rule, const fuse_pair *pair, mlxn_stack_dispatch *out) {
    const mlxn_op_def *op = mlxn_op_get(rule->result);
    *out = (mlxn_stack_dispatch){.op = rule->result};
    out->d = (mlxn_dispatch){.op = op,
                             .n_args = op->n_args,
                             .args = out->args,
                             .bindings = out->bindings,
                             .weights = out->weights,
                             .params = out->params};
    for (uint32_t i = 0; i < op->n_args; i++) {
        uint32_t kind = rule->map[i] & KIND, arg = kind == OTHER ? 1 - pair->in : rule->map[i] & ARG;
        if (kind == NONE) continue;
        const mlxn_dispatch *from = kind == FIRST ? pair->first : pair->second;
        out->args[i] = from->args[arg];
        out->bindings[i] = from->bindings[arg];
        out->weights[i] = from->weights[arg];
    }
    if (rule->fits && !rule->fits(pair, out)) return false;
    if (rule->params) rule->params(pair, out->params);
    mlxn_error refusal;
    return !mlxn_dispatch_check(f->device, &out->d, rule->result, op->params_size ? out->params : NULL,
                                op->params_size, &refusal);
}

typedef enum outcome { KEPT, FUSED, NO_MEMORY } outcome;

static outcome try_rule(fuser *f, const fuse_rule *rule, uint32_t second, uint32_t in) {
    const mlxn_dispatch *b = f->source->nodes[second].u.dispatch;
    uint32_t first = find_first(f, rule, second, in);
    if (first == f->source->count) return KEPT;
    fuse_pair pair = {f->source->nodes[first].u.dispatch, b, in};
    if (f->desc->fuse == MLXN_FUSE_EXACT && b->args[in].dtype != MLXN_F32) return KEPT;
    bool replaced;
    if (!reads_once(b, in, &replaced) || !inputs_stay(f, first, second)) return KEPT;
    if (!replaced && !is_dead_after(f, second, &b->bindings[in])) return KEPT;
    mlxn_stack_dispatch result;
    if (!build(f, rule, &pair, &result)) return KEPT;
    mlxn_dispatch *fused = mlxn_dispatch_copy(f->list, &result.d);
    if (!fused) return NO_MEMORY;
    f->source->nodes[second].u.dispatch = fused;
    f->gone[first] = true;
    f->source->fusions++;
    return FUSED;
}

static outcome try_node(fuser *f, uint32_t second) {
    const mlxn_node *node = &f->source->nodes[second];
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        const fuse_rule *rule = &rules[r];
        if (node->kind != MLXN_NODE_DISPATCH || node->u.dispatch->op != mlxn_op_get(rule->second)) continue;
        for (uint32_t in = 0; in < 2; in++) {
            outcome o = rule->takes & (1u << in) ? try_rule(f, rule, second, in) : KEPT;
            if (o != KEPT) return o;
        }
    }
    return KEPT;
}

static void drop_gone(fuser *f) {
    mlxn_graph_source *source = f->source;
    uint32_t n = 0, carried = 0;
    for (uint32_t i = 0; i <= source->count; i++) {
        carried += source->barriers[i];
        if (i < source->count && f->gone[i]) continue;
        source->barriers[n] = n ? carried : 0; /* what stands before the first node orders nothing */
        carried = 0;
        if (i < source->count) source->nodes[n++] = source->nodes[i];
    }
    source->count = n;
}

bool mlxn_graph_fuse(const mlxn_device *device, mlxn_graph_source *source, mlxn_node_list *list,
                     const mlxn_graph_desc *desc) {
    fuser f = {.device = device, .source = source, .list = list, .desc = desc};
    f.gone = mlxn_alloc_array((size_t)source->count + 1, sizeof *f.gone);
    if (!f.gone) return false;
    outcome last = KEPT;
    bool again = true;
    while (again && last != NO_MEMORY) {
        again = false;
        for (uint32_t i = 0; i < source->count && last != NO_MEMORY; i++) {
            if (f.gone[i]) continue;
            last = try_node(&f, i);
            again = again || last == FUSED;
        }
    }
    drop_gone(&f);
    mlxn_free(f.gone);
    return last != NO_MEMORY;
}
