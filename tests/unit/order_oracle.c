/* Promise: recording places a barrier exactly where one is needed. 100,000 random sequences of operations, kernels,
 * copies, fills, explicit barriers and signals (random buffers, ranges and roles; few and many buffers; handles that
 * go while their work is recorded; fresh and used encoders; command buffers and captures) go through the public calls
 * on the null device, and what was recorded is compared, pair by pair, with the byte ranges that the test asked for:
 * no two dispatches of one group conflict, each barrier of the tracker's stands before a dispatch that conflicts with
 * the group that it ends, and the statistics say the same. A record with a barrier too few or too many is caught. */
#include <inttypes.h>

#include "core/core.h"
#include "test.h"

enum { SEQUENCES = 100000, MOST_STEPS = 2000, MOST_BUFFERS = 160, MOST_TOUCHES = 6, BUFFER_BYTES = 64 << 10 };

static unsigned long long state = 7;
static unsigned below(unsigned n) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % n;
}

/* ---- what is asked for ---- */

typedef struct touch {
    uint64_t buffer; /* a number that no other buffer has */
    uint64_t start, end;
    bool write;
} touch;

typedef enum what { WORK, ASKED_BARRIER, SIGNAL, TRACKER_BARRIER } what;

typedef struct step {
    what kind;
    bool fence; /* it may touch anything */
    unsigned n;
    touch touches[MOST_TOUCHES];
} step;

static bool steps_conflict(const step *a, const step *b) {
    if (a->fence || b->fence) return true;
    for (unsigned i = 0; i < a->n; i++)
        for (unsigned k = 0; k < b->n; k++) {
            const touch *x = &a->touches[i], *y = &b->touches[k];
            if (x->buffer == y->buffer && (x->write || y->write) && x->start < y->end && y->start < x->end)
                return true;
        }
    return false;
}

/* ---- the oracle ---- */

typedef struct verdict {
    const char *wrong; /* NULL: all is as it must be */
    mlxn_encoder_stats stats;
} verdict;

/* Does `b` conflict with one of the dispatches first ... last - 1? */
static bool conflicts_with_any(const step *steps, const unsigned *work, unsigned first, unsigned last,
                               const step *b) {
    for (unsigned i = first; i < last; i++)
        if (steps_conflict(&steps[work[i]], b)) return true;
    return false;
}

static unsigned largest_group;
static void end_group(mlxn_encoder_stats *s, unsigned size) {
    if (!size) return;
    if (size > largest_group) largest_group = size;
    s->groups++;
    s->group_sizes[size > 8 ? 7 : size - 1]++;
}

/* `kinds` is what was recorded, in order. */
static verdict judge(const step *steps, unsigned n_steps, const what *kinds, unsigned n_kinds) {
    verdict v = {0};
    unsigned work[MOST_STEPS], n_work = 0, at = 0;
    unsigned group = 0;                 /* dispatch with which the group begins */
    unsigned sealed = 0, sealed_to = 0; /* dispatches before the explicit barrier that nothing has needed yet */
    bool sealing = false, after_tracker = false;
    for (unsigned i = 0; i < n_kinds; i++) {
        if (kinds[i] == TRACKER_BARRIER) {
            if (group == n_work) v.wrong = "a barrier of the tracker's ends an empty group";
            if (after_tracker) v.wrong = "two barriers of the tracker's";
            end_group(&v.stats, n_work - group);
            v.stats.barriers++;
            v.stats.hazard_barriers++;
            v.stats.barriers_redundant += sealing;
            sealing = false;
            after_tracker = true;
            sealed = group; /* for the check of the next dispatch */
            group = n_work;
            continue;
        }
        while (at < n_steps && steps[at].kind == ASKED_BARRIER && !n_work) at++; /* nothing to order: not recorded */
        if (at == n_steps || steps[at].kind != kinds[i]) {
            v.wrong = "the record is not what was asked for";
            return v;
        }
        const step *s = &steps[at];
        if (kinds[i] == WORK) {
            if (after_tracker && !conflicts_with_any(steps, work, sealed, n_work, s))
                v.wrong = "a superfluous barrier";
            if (conflicts_with_any(steps, work, group, n_work, s)) v.wrong = "a missed hazard";
            if (sealing && conflicts_with_any(steps, work, sealed, sealed_to, s)) {
                v.stats.barriers_needed++;
                sealing = false;
            }
            work[n_work++] = at;
            v.stats.dispatches++;
        } else {
            if (after_tracker) v.wrong = "a barrier of the tracker's before no dispatch";
            unsigned size = n_work - group;
            end_group(&v.stats, size);
            if (kinds[i] == ASKED_BARRIER) {
                v.stats.barriers++;
                if (!size) {
                    v.stats.barriers_redundant++;
                } else {
                    v.stats.barriers_redundant += sealing;
                    sealing = true;
                    sealed = group;
                    sealed_to = n_work;
                }
            } else {
                v.stats.barriers_redundant += sealing;
                sealing = false;
            }
            group = n_work;
        }
        after_tracker = false;
        at++;
    }
    end_group(&v.stats, n_work - group);
    if (after_tracker) v.wrong = "a barrier of the tracker's at the end";
    while (at < n_steps && steps[at].kind == ASKED_BARRIER && !n_work) at++;
    if (at != n_steps && !v.wrong) v.wrong = "the record ends too early";
    return v;
}

/* ---- asking ---- */

static mlxn_error error;

typedef struct world {
    mlxn_device *device;
    mlxn_kernel *kernel;
    mlxn_timeline *timeline;
    uint64_t signalled, next_number;
    mlxn_buffer *buffers[MOST_BUFFERS];
    uint64_t numbers[MOST_BUFFERS];
    unsigned n_buffers, span; /* in use by the present sequence, and bytes of each */
    bool sparse;              /* short ranges alone, so that groups become large */
    mlxn_encoder *e;
    bool capturing;
    step steps[MOST_STEPS];
    unsigned n;
} world;

/* Another buffer in the place of number i; the work that is recorded keeps the old one. */
static void renew(world *w, unsigned i) {
    mlxn_buffer_release(&w->buffers[i]);
    CHECK(mlxn_buffer_create(w->device, BUFFER_BYTES, &w->buffers[i], &error) == MLXN_OK, "%s", error.message);
    w->numbers[i] = ++w->next_number;
}

static bool clashes(const step *s, const touch *t) {
    for (unsigned i = 0; i < s->n; i++)
        if (s->touches[i].buffer == t->buffer && (t->write || s->touches[i].write) && t->start < s->touches[i].end &&
            s->touches[i].start < t->end)
            return true;
    return false;
}

/* A range of `bytes` at a multiple of `align` that is legal beside the other arguments; false if none was found. */
static bool draw_range(world *w, step *s, uint64_t bytes, unsigned align, bool write, unsigned *buffer,
                       uint64_t *offset) {
    for (int tries = 0; tries < 12; tries++) {
        *buffer = below(w->n_buffers);
        *offset = below((unsigned)((w->span - bytes) / align + 1)) * (uint64_t)align;
        touch t = {w->numbers[*buffer], *offset, *offset + bytes, write};
        if (clashes(s, &t)) continue;
        s->touches[s->n++] = t;
        return true;
    }
    return false;
}

static uint64_t draw_length(const world *w, unsigned most) { return 1 + below(w->sparse || below(4) ? 12 : most); }

/* A contiguous view of n elements as an argument of an operation. */
static bool draw_view(world *w, step *s, mlxn_dtype dtype, uint64_t n, bool write, mlxn_tensor *out) {
    unsigned buffer, size = (unsigned)mlxn_dtype_size(dtype);
    uint64_t offset;
    if (!draw_range(w, s, n * size, size, write, &buffer, &offset)) return false;
    *out = mlxn_tensor_1d(w->buffers[buffer], offset, dtype, n);
    return true;
}

/* a, b and out, which may be a or b. */
static bool ask_binary(world *w, step *s) {
    mlxn_tensor a, b, out;
    uint64_t n = draw_length(w, w->span / 4);
    if (!draw_view(w, s, MLXN_F32, n, false, &a) || !draw_view(w, s, MLXN_F32, n, false, &b)) return false;
    if (below(4) == 0) {
        const touch *x = &s->touches[0], *y = &s->touches[1];
        bool same = x->buffer == y->buffer && x->start == y->start;
        if (x->buffer == y->buffer && !same && x->start < y->end && y->start < x->end) return false;
        out = a;
        s->touches[2] = *x;
        s->touches[2].write = true;
        s->n = 3;
    } else if (!draw_view(w, s, MLXN_F32, n, true, &out)) {
        return false;
    }
    CHECK(!(below(2) ? mlxn_elementwise_add : mlxn_elementwise_mul)(w->e, a, b, out), "encode");
    return true;
}

/* Rows with gaps: the range goes from the first to the last element. */
static bool ask_rows(world *w, step *s) {
    uint64_t rows = 1 + below(5), cols = 1 + below(8), gap = below(6);
    mlxn_tensor x, out;
    if (!draw_view(w, s, MLXN_F32, (rows - 1) * (cols + gap) + cols, false, &x) ||
        !draw_view(w, s, MLXN_F16, rows * cols, true, &out))
        return false;
    x.rank = out.rank = 2;
    x.dims[0] = out.dims[0] = rows;
    x.dims[1] = out.dims[1] = cols;
    x.strides[0] = (int64_t)(cols + gap);
    out.strides[0] = (int64_t)cols;
    x.strides[1] = out.strides[1] = 1;
    CHECK(!mlxn_cast(w->e, x, out), "encode");
    return true;
}

/* An operation with arguments that are read and written. */
static bool ask_kv(world *w, step *s) {
    enum { T = 2, D = 4, C = 4 };
    mlxn_tensor k, v, sequences, positions, k_cache, v_cache;
    if (!draw_view(w, s, MLXN_F32, T * D, false, &k) || !draw_view(w, s, MLXN_F32, T * D, false, &v) ||
        !draw_view(w, s, MLXN_U32, T, false, &sequences) || !draw_view(w, s, MLXN_U32, T, false, &positions) ||
        !draw_view(w, s, MLXN_F16, C * D, true, &k_cache) || !draw_view(w, s, MLXN_F16, C * D, true, &v_cache))
        return false;
    k = mlxn_tensor_3d(k.buffer, k.offset, MLXN_F32, T, 1, D);
    v = mlxn_tensor_3d(v.buffer, v.offset, MLXN_F32, T, 1, D);
    k_cache = mlxn_tensor_4d(k_cache.buffer, k_cache.offset, MLXN_F16, 1, 1, C, D);
    v_cache = mlxn_tensor_4d(v_cache.buffer, v_cache.offset, MLXN_F16, 1, 1, C, D);
    CHECK(!mlxn_kv_write(w->e, k, v, sequences, positions, k_cache, v_cache,
                         &(mlxn_kv_write_params){0, 0}),
          "encode");
    return true;
}

static bool ask_kernel(world *w, step *s) {
    mlxn_kernel_arg args[4] = {{0}};
    unsigned n = 1 + below(4);
    for (unsigned i = 0; i < n; i++) {
        uint64_t bytes = draw_length(w, 200), offset;
        unsigned buffer, role = w->sparse || below(40) ? 1 + below(3) : 0;
        if (!draw_range(w, s, bytes, 1, role != MLXN_KERNEL_READ, &buffer, &offset)) return false;
        args[i] = (mlxn_kernel_arg){.slot = i,
                                    .role = (mlxn_kernel_role)role,
                                    .buffer = w->buffers[buffer],
                                    .offset = offset,
                                    .bytes = bytes};
        s->fence = s->fence || !role;
    }
    mlxn_kernel_grid grid = {.size = {1}};
    CHECK(!mlxn_encode_kernel(w->e, w->kernel, args, n, &grid), "encode");
    return true;
}

static bool ask_bytes(world *w, step *s) {
    uint64_t bytes = draw_length(w, 300), src_offset, dst_offset;
    unsigned src, dst;
    if (below(2)) {
        if (!draw_range(w, s, bytes, 1, true, &dst, &dst_offset)) return false;
        CHECK(!mlxn_encoder_fill(w->e, w->buffers[dst], dst_offset, bytes, 1), "fill");
        return true;
    }
    if (!draw_range(w, s, bytes, 1, false, &src, &src_offset) || !draw_range(w, s, bytes, 1, true, &dst, &dst_offset))
        return false;
    CHECK(!mlxn_encoder_copy(w->e, w->buffers[src], src_offset, w->buffers[dst], dst_offset, bytes), "copy");
    return true;
}

static void ask(world *w) {
    static bool (*const kinds[])(world *, step *) = {ask_binary, ask_binary, ask_binary, ask_rows,
                                                     ask_kv,     ask_kernel, ask_bytes};
    step *s = &w->steps[w->n];
    *s = (step){.kind = WORK};
    unsigned dice = below(w->sparse ? 800 : 24);
    if (dice == 0) {
        s->kind = ASKED_BARRIER;
        mlxn_encoder_barrier(w->e);
    } else if (dice == 1 && !w->capturing && below(3) == 0) {
        s->kind = SIGNAL;
        CHECK(!mlxn_encoder_signal(w->e, w->timeline, ++w->signalled), "signal");
    } else if (!kinds[below(sizeof kinds / sizeof *kinds)](w, s)) {
        return; /* no legal arguments were found */
    }
    w->n++;
}

/* ---- looking at what was recorded ---- */

static unsigned kinds_of(const mlxn_node_list *list, what *out) {
    unsigned n = 0;
    for (size_t i = 0; i < list->count && n < 2 * MOST_STEPS; i++) {
        const mlxn_node *node = &list->nodes[i];
        out[n++] = mlxn_node_computes(node)          ? WORK
                   : node->kind != MLXN_NODE_BARRIER ? SIGNAL
                   : node->u.asked                   ? ASKED_BARRIER
                                                     : TRACKER_BARRIER;
    }
    return n;
}

static void check_stats(const world *w, const mlxn_encoder_stats *want) {
    mlxn_encoder_stats got;
    mlxn_encoder_get_stats(w->e, &got);
    CHECK(got.dispatches == want->dispatches && got.barriers == want->barriers && got.groups == want->groups &&
              (w->capturing || got.hazard_barriers == want->hazard_barriers),
          "%d dispatches, %d barriers, %d groups; want %d, %d, %d", (int)got.dispatches, (int)got.barriers,
          (int)got.groups, (int)want->dispatches, (int)want->barriers, (int)want->groups);
    CHECK(!memcmp(got.group_sizes, want->group_sizes, sizeof got.group_sizes), "histogram");
    CHECK(got.barriers_needed == want->barriers_needed && got.barriers_redundant == want->barriers_redundant,
          "%d needed, %d redundant; want %d, %d", (int)got.barriers_needed, (int)got.barriers_redundant,
          (int)want->barriers_needed, (int)want->barriers_redundant);
}

/* The judge must see one barrier less, and one more where nothing conflicts. Returns what it caught. */
static unsigned check_judge(const world *w, const what *kinds, unsigned n, unsigned *tried) {
    static what changed[2 * MOST_STEPS + 1];
    unsigned caught = 0;
    for (unsigned i = 0; i < n; i++) {
        bool remove = kinds[i] == TRACKER_BARRIER, insert = i && kinds[i] == WORK && kinds[i - 1] == WORK;
        if (!remove && !insert) continue;
        memcpy(changed, kinds, i * sizeof *kinds);
        if (insert) changed[i] = TRACKER_BARRIER;
        memcpy(changed + i + insert, kinds + i + remove, (n - i - remove) * sizeof *kinds);
        ++*tried;
        caught += judge(w->steps, w->n, changed, n + insert - remove).wrong != NULL;
    }
    return caught;
}

static void run(world *w, unsigned number, unsigned most_steps, uint64_t *barriers) {
    static what kinds[2 * MOST_STEPS];
    w->n = 0;
    if (w->capturing) CHECK(!mlxn_encoder_start_capture(w->e, &error), "%s", error.message);
    unsigned n = w->sparse ? most_steps : 2 + below(most_steps - 1);
    for (unsigned i = 0; i < n; i++) {
        if (below(30) == 0) renew(w, below(w->n_buffers));
        ask(w);
    }
    const mlxn_node_list *list = mlxn_encoder_target(w->e);
    CHECK(list != NULL, "%s", (mlxn_encoder_status(w->e, &error), error.message));
    if (!list) return;
    unsigned n_kinds = kinds_of(list, kinds);
    verdict v = judge(w->steps, w->n, kinds, n_kinds);
    CHECK(!v.wrong, "sequence %u: %s", number, v.wrong);
    check_stats(w, &v.stats);
    *barriers += v.stats.hazard_barriers;
    if (number % 1000 == 500 && !w->sparse) {
        unsigned tried = 0, caught = check_judge(w, kinds, n_kinds, &tried);
        CHECK(caught == tried, "sequence %u: %u of %u wrong records were caught", number, caught, tried);
    }
}

/* Gives the encoder's work away: discarded with it, as a graph, or committed. */
static void finish(world *w) {
    if (w->capturing || below(8) == 0) {
        mlxn_encoder_destroy(w->e);
        w->e = NULL;
        CHECK(!mlxn_encoder_create(w->device, &w->e, &error), "%s", error.message);
    } else {
        CHECK(!mlxn_encoder_commit(w->e, NULL, &error), "%s", error.message);
    }
}

static void open_world(world *w) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = "null", .no_stream = true};
    mlxn_registry *registry = NULL;
    CHECK(!mlxn_device_create(&desc, &w->device, &error), "%s", error.message);
    CHECK(!mlxn_registry_create(w->device, &registry, &error), "%s", error.message);
    CHECK(!mlxn_registry_register_source(registry, "any", "any", &error), "%s", error.message);
    CHECK(!mlxn_registry_get(registry, "any", NULL, 0, &w->kernel, &error), "%s", error.message);
    CHECK(!mlxn_timeline_create(w->device, &w->timeline, &error), "%s", error.message);
    CHECK(!mlxn_encoder_create(w->device, &w->e, &error), "%s", error.message);
    mlxn_registry_destroy(registry);
    for (unsigned i = 0; i < MOST_BUFFERS; i++) renew(w, i);
}

static void close_world(world *w) {
    mlxn_encoder_destroy(w->e);
    mlxn_kernel_release(&w->kernel);
    mlxn_timeline_release(&w->timeline);
    for (unsigned i = 0; i < MOST_BUFFERS; i++) mlxn_buffer_release(&w->buffers[i]);
    mlxn_device_release(&w->device);
}

int main(void) {
    static world w;
    open_world(&w);
    uint64_t barriers = 0, steps = 0;
    for (unsigned i = 0; i < SEQUENCES && test_failures < 20; i++) {
        /* Most are short and dense; some have many buffers; a few have groups of hundreds. */
        bool large = below(50) == 0;
        w.sparse = i % 2500 == 0;
        w.n_buffers = w.sparse ? 1u + below(MOST_BUFFERS) : large ? 1 + below(MOST_BUFFERS) : 1 + below(8);
        w.span = w.sparse ? BUFFER_BYTES : 1024;
        w.capturing = below(4) == 0;
        run(&w, i, w.sparse ? MOST_STEPS : large ? 160 : 24, &barriers);
        steps += w.n;
        finish(&w);
    }
    CHECK(!mlxn_device_wait_idle(w.device, UINT64_MAX, &error), "%s", error.message);
    fprintf(stderr, "%d sequences, %" PRIu64 " steps, %" PRIu64 " barriers of the tracker's, largest group %u\n",
            SEQUENCES, steps, barriers, largest_group);
    CHECK(largest_group > 300 && barriers > SEQUENCES, "the sequences are what they are meant to be");
    close_world(&w);
    return TEST_DONE();
}
