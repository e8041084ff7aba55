/* Promise: a kernel of the user's own sees each thread of its grid exactly once, with its arguments, constants and
 * group memory, whatever the number of threads; it is ordered with operations and other kernels by the ranges and
 * roles of its arguments, and against everything where a role is unknown; it can be captured; misuse is refused by
 * name; whichever allocation or call fails, nothing leaks. */
#include <mlxn/mlxn.h>

#include "backend/fault/backend.h"
#include "base/base.h"
#include "test.h"

static mlxn_error error;

typedef struct setup {
    mlxn_device *device;
    mlxn_registry *registry;
    mlxn_encoder *e;
} setup;

static setup open_setup(const char *backend, uint32_t threads) {
    setup s = {0};
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = threads};
    CHECK(mlxn_device_create(&desc, &s.device, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_registry_create(s.device, &s.registry, &error) == MLXN_OK, "%s", error.message);
    CHECK(mlxn_encoder_create(s.device, &s.e, &error) == MLXN_OK, "%s", error.message);
    return s;
}

static void close_setup(setup *s) {
    mlxn_encoder_destroy(s->e);
    mlxn_registry_destroy(s->registry);
    mlxn_device_release(&s->device);
}

static mlxn_buffer *make(const setup *s, uint64_t bytes) {
    mlxn_buffer *b = NULL;
    CHECK(mlxn_buffer_create(s->device, bytes, &b, &error) == MLXN_OK, "%s", error.message);
    return b;
}

static mlxn_kernel *kernel(const setup *s, const char *name, mlxn_kernel_fn fn, const mlxn_constant *c, uint32_t n) {
    mlxn_kernel *k = NULL;
    CHECK(!mlxn_registry_register_function(s->registry, name, fn, NULL, &error), "%s", error.message);
    CHECK(!mlxn_registry_get(s->registry, name, c, n, &k, &error), "%s", error.message);
    return k;
}

static void run(const setup *s) { CHECK(!mlxn_encoder_commit_and_wait(s->e, NULL, &error), "%s", error.message); }

static mlxn_kernel_arg memory(uint32_t slot, mlxn_kernel_role role, mlxn_buffer *b, uint64_t offset, uint64_t bytes) {
    return (mlxn_kernel_arg){.slot = slot, .role = role, .buffer = b, .offset = offset, .bytes = bytes};
}
static mlxn_kernel_arg bytes(uint32_t slot, const void *data, uint32_t n) {
    return (mlxn_kernel_arg){.slot = slot, .role = MLXN_KERNEL_READ, .data = data, .inline_bytes = n};
}
static mlxn_kernel_grid line(uint64_t threads, uint32_t group) {
    return (mlxn_kernel_grid){MLXN_GRID_THREADS, {threads, 0, 0}, {group, 0, 0}, 0};
}

/* ---- kernels ---- */

/* out[i] = a[i] + b[i] + constant 3 */
static void add_vectors(const mlxn_kernel_group *g) {
    const float *a = g->slots[0], *b = g->slots[1];
    float *out = g->slots[2];
    const mlxn_constant *c = mlxn_kernel_constant(g, 3);
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) out[i] = a[i] + b[i] + (c ? c->v.f : 0);
}

/* Counts the visit of each thread, and checks what the group is told. */
typedef struct visit_expect {
    uint64_t threads[3];
    uint32_t group[3];
} visit_expect;
static void visit(const mlxn_kernel_group *g) {
    unsigned char *cells = g->slots[0];
    const visit_expect *want = g->slots[5];
    unsigned char wrong = g->n_slots != 6 || g->slots[1] || g->slot_bytes[5] != sizeof *want ||
                          ((uintptr_t)want & 15) || g->group_memory || g->group_memory_bytes;
    for (int i = 0; i < 3; i++) {
        wrong |= g->threads[i] != want->threads[i] || g->group_size[i] != want->group[i];
        wrong |= g->begin[i] != g->group[i] * want->group[i] || g->end[i] <= g->begin[i];
        uint64_t end = g->begin[i] + want->group[i];
        wrong |= g->end[i] != (end < want->threads[i] ? end : want->threads[i]);
    }
    for (uint64_t z = g->begin[2]; z < g->end[2]; z++)
        for (uint64_t y = g->begin[1]; y < g->end[1]; y++)
            for (uint64_t x = g->begin[0]; x < g->end[0]; x++)
                cells[(z * g->threads[1] + y) * g->threads[0] + x] += (unsigned char)(1 + 64 * wrong);
}

/* Sum of each group by a tree in its memory, as a GPU would do it. */
static void tree_sum(const mlxn_kernel_group *g) {
    const float *in = g->slots[0];
    float *out = g->slots[1], *tree = g->group_memory;
    bool good = g->group_memory_bytes == 4 * (uint64_t)g->group_size[0] && !((uintptr_t)tree & 63);
    for (uint32_t i = 0; i < g->group_size[0]; i++) tree[i] = g->begin[0] + i < g->end[0] ? in[g->begin[0] + i] : 0;
    for (uint32_t step = g->group_size[0] / 2; step; step /= 2)
        for (uint32_t i = 0; i < step; i++) tree[i] += tree[i + step];
    out[g->group[0]] = good ? tree[0] : -1;
}

/* x[i] = x[i] * 2 + y[i] */
static void twice_plus(const mlxn_kernel_group *g) {
    float *x = g->slots[0];
    const float *y = g->slots[1];
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) x[i] = x[i] * 2 + y[i];
}

static void scale(const mlxn_kernel_group *g) {
    float *x = g->slots[0];
    const float *factor = g->slots[1];
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) x[i] *= *factor;
}

/* ---- grids ---- */

static void test_add(uint32_t threads) {
    setup s = open_setup("cpu", threads);
    enum { N = 1000 };
    mlxn_buffer *a = make(&s, 4 * N), *b = make(&s, 4 * N), *out = make(&s, 4 * (N + 64));
    float *pa = mlxn_buffer_contents(a), *pb = mlxn_buffer_contents(b), *po = mlxn_buffer_contents(out);
    for (int i = 0; i < N; i++) pa[i] = (float)i, pb[i] = (float)(2 * i);
    mlxn_constant c = {.index = 3, .kind = MLXN_CONSTANT_FLOAT, .v.f = 0.5f};
    mlxn_kernel *plain = kernel(&s, "add", add_vectors, NULL, 0), *more = NULL;
    CHECK(!mlxn_registry_get(s.registry, "add", &c, 1, &more, &error), "%s", error.message);
    mlxn_kernel_arg args[3] = {memory(2, MLXN_KERNEL_WRITE, out, 0, 0), memory(0, MLXN_KERNEL_READ, a, 0, 0),
                               memory(1, MLXN_KERNEL_READ, b, 0, 0)};
    const uint32_t groups[] = {0, 1, 7, 64, 999, 1000, 1001, 1024};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        for (uint64_t n = 1; n <= N; n = n < 990 ? n * 3 + 1 : n + 1) {
            for (int k = 0; k < N + 64; k++) po[k] = -7;
            mlxn_kernel_grid grid = line(n, groups[i]);
            CHECK(!mlxn_encode_kernel(s.e, i & 1 ? more : plain, args, 3, &grid), "encode");
            run(&s);
            uint64_t wrong = 0;
            for (uint64_t k = 0; k < N + 64; k++)
                wrong += po[k] != (k < n ? (float)(3 * k) + (i & 1 ? 0.5f : 0) : -7);
            CHECK(!wrong, "%u threads, grid %d by %u: %d wrong", threads, (int)n, groups[i], (int)wrong);
        }
    /* In groups nothing is ragged: 15 groups of 64 are 960 threads. */
    for (int k = 0; k < N + 64; k++) po[k] = -7;
    mlxn_kernel_grid grid = {MLXN_GRID_GROUPS, {15, 0, 0}, {64, 0, 0}, 0};
    CHECK(!mlxn_encode_kernel(s.e, plain, args, 3, &grid), "encode");
    mlxn_kernel_release(&plain); /* the recorded launch keeps it */
    mlxn_registry_register_function(s.registry, "add", scale, NULL, NULL);
    run(&s);
    uint64_t wrong = 0;
    for (int k = 0; k < N + 64; k++) wrong += po[k] != (k < 960 ? (float)(3 * k) : -7);
    CHECK(!wrong, "%d wrong", (int)wrong);
    mlxn_kernel_release(&more);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&out);
    close_setup(&s);
}

static void test_grids(uint32_t threads) {
    setup s = open_setup("cpu", threads);
    mlxn_kernel *k = kernel(&s, "visit", visit, NULL, 0);
    const struct {
        uint64_t size[3];
        uint32_t group[3];
    } cases[] = {
        {{1, 1, 1}, {1, 1, 1}},   {{17, 5, 3}, {4, 4, 2}},    {{16, 4, 4}, {4, 4, 2}},
        {{1, 1, 100}, {1, 1, 7}}, {{3, 200, 1}, {8, 16, 1}},  {{31, 1, 9}, {1, 1, 1}},
        {{2, 3, 5}, {2, 8, 64}},  {{40000, 1, 1}, {1, 1, 1}}, {{1000, 3, 2}, {256, 2, 2}},
        {{0, 9, 0}, {0, 2, 0}},   {{7, 11, 13}, {7, 11, 13}}, {{123, 45, 6}, {1024, 1, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int unit = 0; unit < 2; unit++) {
            visit_expect want;
            mlxn_kernel_grid grid = {(mlxn_grid_unit)unit, {0}, {0}, 0};
            uint64_t total = 1;
            for (int x = 0; x < 3; x++) {
                uint64_t size = cases[i].size[x] ? cases[i].size[x] : 1;
                want.group[x] = cases[i].group[x] ? cases[i].group[x] : 1;
                uint64_t groups = (size + want.group[x] - 1) / want.group[x];
                grid.size[x] = unit ? groups : cases[i].size[x];
                grid.group[x] = cases[i].group[x];
                want.threads[x] = unit ? groups * want.group[x] : size;
                total *= want.threads[x];
            }
            mlxn_buffer *cells = make(&s, total + 1);
            mlxn_kernel_arg args[2] = {memory(0, MLXN_KERNEL_WRITE, cells, 0, total), bytes(5, &want, sizeof want)};
            CHECK(!mlxn_encode_kernel(s.e, k, args, 2, &grid), "encode");
            memset(&want, 0xff, sizeof want); /* it was copied */
            run(&s);
            const unsigned char *p = mlxn_buffer_contents(cells);
            uint64_t wrong = p[total] != 0;
            for (uint64_t t = 0; t < total; t++) wrong += p[t] != 1;
            CHECK(!wrong, "case %d, unit %d, %u threads: %d of %d wrong", (int)i, unit, threads, (int)wrong,
                  (int)total);
            mlxn_buffer_release(&cells);
        }
    mlxn_kernel_release(&k);
    close_setup(&s);
}

static void test_group_memory(uint32_t threads) {
    setup s = open_setup("cpu", threads);
    enum { N = 100000, G = 256, GROUPS = (N + G - 1) / G };
    mlxn_buffer *in = make(&s, 4 * N), *out = make(&s, 4 * GROUPS);
    float *pi = mlxn_buffer_contents(in);
    const float *po = mlxn_buffer_contents(out);
    for (int i = 0; i < N; i++) pi[i] = (float)(i % 97);
    mlxn_kernel *k = kernel(&s, "tree_sum", tree_sum, NULL, 0);
    mlxn_kernel_arg args[2] = {memory(0, MLXN_KERNEL_READ, in, 0, 0), memory(1, MLXN_KERNEL_WRITE, out, 0, 0)};
    mlxn_kernel_grid grid = line(N, G);
    grid.group_memory = 4 * G;
    CHECK(!mlxn_encode_kernel(s.e, k, args, 2, &grid), "encode");
    run(&s);
    for (int g = 0; g < GROUPS; g++) {
        float want = 0;
        for (int i = g * G; i < N && i < (g + 1) * G; i++) want += (float)(i % 97); /* exact */
        CHECK(po[g] == want, "group %d: got %g, want %g", g, po[g], want);
    }
    mlxn_kernel_release(&k);
    mlxn_buffer_release(&in);
    mlxn_buffer_release(&out);
    close_setup(&s);
}

/* ---- order ---- */

static void check_all(mlxn_buffer *b, uint64_t n, float want, const char *what) {
    const float *p = mlxn_buffer_contents(b);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < n; i++) wrong += p[i] != want;
    CHECK(!wrong, "%s: %d of %d wrong, the first is %g, want %g", what, (int)wrong, (int)n, p[0], want);
}

/* Kernels and operations in turn, each reading what the one before wrote. `role` is what x and y are said to be. */
static void record_chain(const setup *s, mlxn_kernel *k, mlxn_buffer *x, mlxn_buffer *y, uint64_t n, bool known) {
    mlxn_kernel_role read = known ? MLXN_KERNEL_READ : MLXN_KERNEL_UNKNOWN,
                     both = known ? MLXN_KERNEL_READ_WRITE : MLXN_KERNEL_UNKNOWN;
    mlxn_tensor tx = mlxn_tensor_1d(x, 0, MLXN_F32, n), ty = mlxn_tensor_1d(y, 0, MLXN_F32, n);
    mlxn_kernel_grid grid = line(n, 32);
    for (int i = 0; i < 5; i++) {
        mlxn_kernel_arg args[2] = {memory(0, both, x, 0, 0), memory(1, read, y, 0, 0)};
        CHECK(!mlxn_encode_kernel(s->e, k, args, 2, &grid), "x = 2 x + y");
        CHECK(!mlxn_elementwise_add(s->e, tx, ty, ty), "y = x + y");
        args[0].buffer = y, args[1].buffer = x;
        CHECK(!mlxn_encode_kernel(s->e, k, args, 2, &grid), "y = 2 y + x");
    }
}

static void expect_chain(float *x, float *y) {
    for (int i = 0; i < 5; i++) {
        *x = 2 * *x + *y;
        *y = *x + *y;
        *y = 2 * *y + *x;
    }
}

static void set_all(mlxn_buffer *b, uint64_t n, float value) {
    float *p = mlxn_buffer_contents(b);
    for (uint64_t i = 0; i < n; i++) p[i] = value;
}

static void test_order(uint32_t threads) {
    setup s = open_setup("cpu", threads);
    enum { N = 5000 };
    mlxn_buffer *x = make(&s, 4 * N), *y = make(&s, 4 * N);
    mlxn_kernel *k = kernel(&s, "twice_plus", twice_plus, NULL, 0);
    mlxn_encoder_stats stats;
    mlxn_counters before, after;
    for (int known = 0; known < 2; known++) {
        float wx = 1, wy = 1;
        set_all(x, N, wx);
        set_all(y, N, wy);
        mlxn_encoder_counters(s.e, &before);
        record_chain(&s, k, x, y, N, known);
        mlxn_encoder_get_stats(s.e, &stats);
        mlxn_encoder_counters(s.e, &after);
        CHECK(stats.dispatches == 15 && stats.hazard_barriers == 14, "%d barriers", (int)stats.hazard_barriers);
        CHECK(after.dispatch_count - before.dispatch_count == 15, "each is a dispatch");
        run(&s);
        expect_chain(&wx, &wy);
        check_all(x, N, wx, "x");
        check_all(y, N, wy, "y");
        /* Captured and launched twice: the same again, from where it stands. */
        CHECK(!mlxn_encoder_start_capture(s.e, &error), "%s", error.message);
        record_chain(&s, k, x, y, N, known);
        mlxn_graph *graph = NULL;
        CHECK(!mlxn_encoder_take_capture(s.e, &graph, &error), "%s", error.message);
        check_all(x, N, wx, "capturing runs nothing");
        CHECK(mlxn_graph_dispatch_count(graph) == 15 && mlxn_graph_barrier_count(graph) == 14, "graph");
        wx = wy = 0.5f;
        set_all(x, N, wx);
        set_all(y, N, wy);
        CHECK(!mlxn_encoder_launch(s.e, graph) && !mlxn_encoder_launch(s.e, graph), "launch");
        if (known) mlxn_kernel_release(&k); /* the graph keeps it */
        run(&s);
        mlxn_graph_destroy(graph);
        expect_chain(&wx, &wy);
        expect_chain(&wx, &wy);
        check_all(x, N, wx, "x of the graph");
        check_all(y, N, wy, "y of the graph");
    }
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    close_setup(&s);
}

/* Where barriers stand, read off the null device's stream. */
static void test_stream(void) {
    setup s = open_setup("null", 0);
    mlxn_buffer *a = make(&s, 256), *b = make(&s, 256), *c = make(&s, 256);
    mlxn_kernel *k = NULL;
    mlxn_constant n = {.index = 1, .kind = MLXN_CONSTANT_INT, .v.i = 4};
    CHECK(!mlxn_registry_register_source(s.registry, "mine", "text", &error), "%s", error.message);
    CHECK(!mlxn_registry_get(s.registry, "mine", &n, 1, &k, &error), "%s", error.message);
    mlxn_kernel_grid grid = {MLXN_GRID_THREADS, {100, 2, 0}, {64, 0, 0}, 512};
    float f = 2;
    mlxn_kernel_arg args[3] = {memory(0, MLXN_KERNEL_READ, a, 0, 0), memory(1, MLXN_KERNEL_WRITE, b, 0, 128),
                               bytes(4, &f, sizeof f)};
    mlxn_encode_kernel(s.e, k, args, 3, &grid);
    args[1].offset = 128;
    mlxn_encode_kernel(s.e, k, args, 3, &grid); /* disjoint writes: no barrier */
    mlxn_encoder_fill(s.e, c, 0, 256, 1);       /* nor here */
    args[0] = memory(0, MLXN_KERNEL_READ, b, 100, 40);
    args[1] = memory(1, MLXN_KERNEL_WRITE, a, 0, 64);
    grid = (mlxn_kernel_grid){MLXN_GRID_GROUPS, {2, 3, 4}, {8, 4, 2}, 0};
    mlxn_encode_kernel(s.e, k, args, 2, &grid); /* reads both halves, writes what was read */
    grid = line(1, 1);
    args[0] = memory(31, MLXN_KERNEL_UNKNOWN, c, 252, 0);
    mlxn_encode_kernel(s.e, k, args, 1, &grid); /* a fence: before it ... */
    mlxn_encoder_fill(s.e, b, 0, 1, 1);         /* ... and behind it */
    mlxn_encode_kernel(s.e, k, NULL, 0, &grid); /* touches nothing: no fence */
    run(&s);
    const char *want =
        "begin \"\"\n"
        "kernel mine|1:i4 0=b0+0:256 1=b1+0:128 4=inline:4 grid=100,2,1 group=64,1,1 memory=512\n"
        "kernel mine|1:i4 0=b0+0:256 1=b1+128:128 4=inline:4 grid=100,2,1 group=64,1,1 memory=512\n"
        "fill b2+0 bytes=256 value=1\n"
        "barrier\n"
        "kernel mine|1:i4 0=b1+100:40 1=b0+0:64 grid=16,12,8 group=8,4,2\n"
        "barrier\n"
        "kernel mine|1:i4 31=b2+252:4 grid=1,1,1 group=1,1,1\n"
        "barrier\n"
        "fill b1+0 bytes=1 value=1\n"
        "kernel mine|1:i4 grid=1,1,1 group=1,1,1\n"
        "end\n";
    CHECK(!strcmp(mlxn_device_command_stream(s.device), want), "stream is\n%s", mlxn_device_command_stream(s.device));
    mlxn_kernel_release(&k);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&c);
    close_setup(&s);
}

/* ---- misuse ---- */

static void refuse(const setup *s, mlxn_kernel *k, const mlxn_kernel_arg *args, uint32_t n,
                   const mlxn_kernel_grid *grid, const char *want) {
    mlxn_encoder *e = NULL;
    mlxn_encoder_stats stats;
    CHECK(!mlxn_encoder_create(s->device, &e, &error), "%s", error.message);
    CHECK(mlxn_encode_kernel(e, k, args, n, grid) == MLXN_ERR_ARGUMENT, "%s", want);
    CHECK(mlxn_encoder_status(e, &error) == MLXN_ERR_ARGUMENT, "it sticks");
    CHECK(!strcmp(error.message, want), "got \"%s\", want \"%s\"", error.message, want);
    mlxn_encoder_get_stats(e, &stats);
    CHECK(!stats.dispatches && !stats.tracked_ranges, "nothing is recorded");
    mlxn_encoder_destroy(e);
}

static void test_misuse(void) {
    setup s = open_setup("cpu", 1), other = open_setup("cpu", 1);
    mlxn_buffer *a = make(&s, 256), *b = make(&s, 256), *foreign = make(&other, 256);
    mlxn_kernel *k = kernel(&s, "k", add_vectors, NULL, 0), *alien = kernel(&other, "k", add_vectors, NULL, 0);
    mlxn_kernel_grid grid = line(4, 4), bad;
    mlxn_kernel_arg args[40];
    for (uint32_t i = 0; i < 40; i++) args[i] = memory(i, MLXN_KERNEL_READ, a, 0, 0);
#define REFUSE(n, want) refuse(&s, k, args, n, &grid, want)
    refuse(&s, NULL, args, 1, &grid, "kernel: kernel is NULL");
    refuse(&s, alien, args, 1, &grid, "kernel \"k\": it belongs to another device");
    refuse(&s, k, NULL, 2, &grid, "kernel \"k\": got 2 arguments at NULL, want at most 32");
    REFUSE(33, "kernel \"k\": got 33 arguments, want at most 32");
    refuse(&s, k, args, 1, NULL, "kernel \"k\": grid is NULL");
    args[1].slot = 0;
    REFUSE(2, "kernel \"k\": slot 0 is bound twice");
    args[1].slot = 32;
    REFUSE(2, "kernel \"k\": slot is 32, want below 32");
    args[1] = memory(1, (mlxn_kernel_role)4, b, 0, 0);
    REFUSE(2, "kernel \"k\": slot 1: role is 4, which is none");
    args[1] = memory(1, MLXN_KERNEL_READ, foreign, 0, 0);
    REFUSE(2, "kernel \"k\": slot 1: the buffer belongs to another device");
    args[1] = memory(1, MLXN_KERNEL_READ, b, 200, 57);
    REFUSE(2, "kernel \"k\": slot 1: range is 200 + 57 bytes, buffer has 256");
    args[1] = memory(1, MLXN_KERNEL_READ, b, 256, 0);
    REFUSE(2, "kernel \"k\": slot 1: range is 256 + 0 bytes, buffer has 256");
    args[1] = memory(1, MLXN_KERNEL_READ, b, 8, UINT64_MAX);
    REFUSE(2, "kernel \"k\": slot 1: range is 8 + 18446744073709551615 bytes, buffer has 256");
    args[1] = memory(1, MLXN_KERNEL_READ, NULL, 0, 0);
    REFUSE(2, "kernel \"k\": slot 1: got neither a buffer nor inline data, want one of them");
    static const char data[4097];
    args[1] = bytes(1, data, 4097);
    REFUSE(2, "kernel \"k\": slot 1: got 4097 inline bytes, want 1 to 4096");
    args[1] = bytes(1, data, 0);
    REFUSE(2, "kernel \"k\": slot 1: got 0 inline bytes, want 1 to 4096");
    args[1] = bytes(1, data, 4);
    args[1].role = MLXN_KERNEL_WRITE;
    REFUSE(2, "kernel \"k\": slot 1: inline bytes cannot be written");
    args[1].buffer = b;
    REFUSE(2, "kernel \"k\": slot 1: got a buffer and inline data, want one of them");
    args[1] = memory(1, MLXN_KERNEL_WRITE, a, 40, 8);
    REFUSE(2, "kernel \"k\": slot 1, which is written, overlaps slot 0 in bytes [40, 48) of one buffer");
    args[0].role = MLXN_KERNEL_UNKNOWN;
    REFUSE(2, "kernel \"k\": slot 1, which is written, overlaps slot 0 in bytes [40, 48) of one buffer");
    bad = (mlxn_kernel_grid){MLXN_GRID_THREADS, {1, 1, 1}, {32, 32, 2}, 0};
    refuse(&s, k, args, 1, &bad, "kernel \"k\": grid: group is 32 x 32 x 2, want at most 1024 threads");
    bad = (mlxn_kernel_grid){MLXN_GRID_THREADS, {1, 1, 1}, {UINT32_MAX, UINT32_MAX, UINT32_MAX}, 0};
    refuse(&s, k, args, 1, &bad,
           "kernel \"k\": grid: group is 4294967295 x 4294967295 x 4294967295, want at most 1024 threads");
    bad = (mlxn_kernel_grid){MLXN_GRID_GROUPS, {UINT64_MAX / 2, 1, 1}, {4, 1, 1}, 0};
    refuse(&s, k, args, 1, &bad, "kernel \"k\": grid: 9223372036854775807 x 1 x 1 groups overflow 63 bits");
    bad = (mlxn_kernel_grid){MLXN_GRID_THREADS, {1ull << 32, 1ull << 31, 1}, {1, 1, 1}, 0};
    refuse(&s, k, args, 1, &bad, "kernel \"k\": grid: 4294967296 x 2147483648 x 1 threads overflow 63 bits");
    bad = (mlxn_kernel_grid){(mlxn_grid_unit)2, {1, 1, 1}, {1, 1, 1}, 0};
    refuse(&s, k, args, 1, &bad, "kernel \"k\": grid: unit is 2, want threads (0) or groups (1)");
    bad = (mlxn_kernel_grid){MLXN_GRID_THREADS, {1, 1, 1}, {1, 1, 1}, (1 << 20) + 1};
    refuse(&s, k, args, 1, &bad, "kernel \"k\": grid: group_memory is 1048577, want at most 1048576");
    CHECK(mlxn_encode_kernel(NULL, k, args, 1, &grid) == MLXN_ERR_ARGUMENT, "no encoder");

    /* What is allowed: the same range read twice, written ranges that touch, all 32 slots, the largest group. */
    static float zero;
    for (uint32_t i = 0; i < 32; i++) args[i] = i < 3 ? args[i] : bytes(i, &zero, sizeof zero);
    args[0] = memory(0, MLXN_KERNEL_READ, a, 0, 64);
    args[1] = memory(1, MLXN_KERNEL_READ, a, 32, 32);
    args[2] = memory(2, MLXN_KERNEL_WRITE, a, 64, 64);
    grid = line(4, 1024);
    grid.group_memory = 1 << 20;
    CHECK(!mlxn_encode_kernel(s.e, k, args, 32, &grid), "%s", (mlxn_encoder_status(s.e, &error), error.message));
    run(&s);
    mlxn_kernel_release(&k);
    mlxn_kernel_release(&alien);
    mlxn_buffer_release(&a);
    mlxn_buffer_release(&b);
    mlxn_buffer_release(&foreign);
    close_setup(&s);
    close_setup(&other);
}

/* ---- failures ---- */

static mlxn_status scenario(const char *backend) {
    mlxn_device *device = NULL;
    mlxn_registry *r = NULL;
    mlxn_encoder *e = NULL;
    mlxn_kernel *k = NULL;
    mlxn_buffer *x = NULL, *y = NULL;
    mlxn_graph *graph = NULL;
    mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .threads = 2};
    mlxn_status status = mlxn_device_create(&desc, &device, &error);
#define STEP(call) \
    if (!status) status = (call)
    STEP(mlxn_registry_create(device, &r, &error));
    STEP(mlxn_registry_register_function(r, "k", twice_plus, NULL, &error));
    STEP(mlxn_registry_get(r, "k", NULL, 0, &k, &error));
    STEP(mlxn_buffer_create(device, 4096, &x, &error));
    STEP(mlxn_buffer_create(device, 4096, &y, &error));
    STEP(mlxn_encoder_create(device, &e, &error));
    mlxn_kernel_arg args[3] = {memory(0, MLXN_KERNEL_READ_WRITE, x, 0, 0), memory(1, MLXN_KERNEL_UNKNOWN, y, 0, 0),
                               bytes(2, desc.backend, 1)};
    mlxn_kernel_grid grid = line(1024, 16);
    grid.group_memory = 4096;
    STEP(mlxn_encode_kernel(e, k, args, 3, &grid));
    STEP(mlxn_encode_kernel(e, k, args, 3, &grid));
    STEP(mlxn_encoder_commit_and_wait(e, "one", &error));
    STEP(mlxn_encoder_start_capture(e, &error));
    STEP(mlxn_encode_kernel(e, k, args, 3, &grid));
    STEP(mlxn_encoder_take_capture(e, &graph, &error));
    STEP(mlxn_encoder_launch(e, graph));
    STEP(mlxn_encoder_commit_and_wait(e, "two", &error));
    mlxn_graph_destroy(graph);
    mlxn_encoder_destroy(e);
    mlxn_buffer_release(&x);
    mlxn_kernel_release(&k);
    mlxn_registry_destroy(r);
    mlxn_buffer_release(&y);
    mlxn_device_release(&device);
    return status;
}

static void test_every_failure(void) {
    mlxn_backend_extra = &mlxn_backend_fault;
    const struct {
        const char *backend;
        uint64_t (*at)(uint64_t k);
        int least;
    } ways[] = {{"cpu", mlxn_alloc_fail_at, 20}, {"null", mlxn_alloc_fail_at, 15}, {"fault", mlxn_fault_at, 8}};
    for (int w = 0; w < 3; w++) {
        CHECK(scenario(ways[w].backend) == MLXN_OK, "%s", error.message); /* what is made once is made */
        int failed = 0;
        mlxn_status status = MLXN_ERR_MEMORY;
        for (uint64_t k = 1; k < 200 && status; k++) {
            ways[w].at(k);
            status = scenario(ways[w].backend);
            ways[w].at(0);
            failed += status != 0;
            /* A worker that cannot be started is the device's failure, for want of memory too. */
            bool meant = w < 2 ? status == MLXN_ERR_MEMORY || strstr(error.message, "worker thread")
                               : status == MLXN_ERR_DEVICE || status == MLXN_ERR_EXECUTION;
            CHECK(!status || meant, "%s %d: %s", ways[w].backend, (int)k, mlxn_status_name(status));
            CHECK(scenario(ways[w].backend) == MLXN_OK, "after failure %d of %s: %s", (int)k, ways[w].backend,
                  error.message);
        }
        CHECK(!status && failed >= ways[w].least, "%s: %d failures", ways[w].backend, failed);
    }
    mlxn_backend_extra = NULL;
}

int main(void) {
    const uint32_t threads[] = {1, 2, 5};
    for (int i = 0; i < 3; i++) {
        test_add(threads[i]);
        test_grids(threads[i]);
        test_group_memory(threads[i]);
        test_order(threads[i]);
    }
    test_stream();
    test_misuse();
    test_every_failure();
    return TEST_DONE();
}
