/* Promise: on real models a pass gives the same bits however it reaches the device: recorded directly, as a graph in
 * order of capture, fused (models keep intermediates in f32), reordered, both, and captured and submitted in two
 * parts. And once a context is warm, a token costs no allocation, in the library or anywhere else in the process, and
 * no patch of a graph.
 *
 *     graphs MODEL...      each a .gguf file; ends with "N checks, N failed, N skipped" */
#include <mlxn/mlxn.h>
#include <stdatomic.h>

#include "../test.h"
#include "base/base.h"
#include "lm/lm_internal.h"

/* ---- the process's allocator, counted ---- */

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 1
static atomic_ullong n_allocated;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size) {
    atomic_fetch_add_explicit(&n_allocated, 1, memory_order_relaxed);
    return __libc_malloc(size);
}
void *calloc(size_t n, size_t size) {
    atomic_fetch_add_explicit(&n_allocated, 1, memory_order_relaxed);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t size) {
    atomic_fetch_add_explicit(&n_allocated, 1, memory_order_relaxed);
    return __libc_realloc(p, size);
}
static uint64_t allocated(void) { return atomic_load(&n_allocated); }
#else
#define COUNTS_MALLOC 0
static uint64_t allocated(void) { return mlxn_alloc_count(); }
#endif

enum { PROMPT = 75, TOKENS = 20, WARM = 4, MEASURED = 50 };

static mlxn_error error;

static mlxn_token token_at(const mlxn_model_info *info, uint32_t i) {
    return (mlxn_token)((i * 7919u + 13) % info->n_vocab);
}

static mlxn_context *make(mlxn_model *model, uint32_t flags) {
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 256, .n_batch = 64, .graph_flags = flags};
    mlxn_context *context = NULL;
    CHECK(!mlxn_context_create(model, &desc, &context, &error), "%s", error.message);
    return context;
}

static const float *decode(mlxn_context *c, const mlxn_batch_row *rows, size_t n) {
    const float *logits = NULL;
    CHECK(!mlxn_context_decode(c, rows, n, NULL, NULL, &logits, &error), "%s", error.message);
    return logits;
}

/* The logits of a prompt (taken in two steps), of its last row, and of the tokens after it, one by one. */
static float *run(mlxn_model *model, const mlxn_model_info *info, uint32_t flags, uint64_t *fusions) {
    mlxn_context *c = make(model, flags);
    float *out = calloc((size_t)(1 + TOKENS) * info->n_vocab, sizeof *out);
    mlxn_batch_row rows[PROMPT];
    for (uint32_t i = 0; i < PROMPT; i++) rows[i] = (mlxn_batch_row){token_at(info, i), 0, i + 1 == PROMPT};
    for (uint32_t i = 0; c && out && i <= TOKENS; i++) {
        mlxn_batch_row one = {token_at(info, PROMPT + i), 0, true};
        const float *logits = i == 0 ? decode(c, rows, PROMPT) : decode(c, &one, 1);
        if (logits) memcpy(out + (size_t)i * info->n_vocab, logits, info->n_vocab * sizeof *out);
    }
    mlxn_graph_info graph = {.struct_size = sizeof graph};
    bool wants_graph = !(flags & MLXN_LM_GRAPH_NONE);
    CHECK(c && (c->graphs[0][1] != NULL) == wants_graph, "a graph where one is wanted, and only there");
    if (c && c->graphs[0][1] && !mlxn_graph_get_info(c->graphs[0][1], &graph)) *fusions = graph.fusions;
    mlxn_context_destroy(c);
    return out;
}

static void test_bits(const char *path, mlxn_model *model, const mlxn_model_info *info, const char *precision) {
    static const struct {
        const char *name;
        uint32_t flags;
    } modes[] = {{"in order", MLXN_LM_GRAPH_PLAIN},
                 {"fused", MLXN_LM_GRAPH_FUSE},
                 {"reordered", MLXN_LM_GRAPH_REORDER},
                 {"fused and reordered", MLXN_LM_GRAPH_FUSE | MLXN_LM_GRAPH_REORDER},
                 {"in two parts", MLXN_LM_GRAPH_DUAL | MLXN_LM_GRAPH_NONE},
                 {"fused, reordered, in two parts", MLXN_LM_GRAPH_DUAL | MLXN_LM_GRAPH_FUSE | MLXN_LM_GRAPH_REORDER}};
    uint64_t none = 0;
    float *want = run(model, info, MLXN_LM_GRAPH_NONE, &none);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        uint64_t fusions = 0;
        float *got = run(model, info, modes[i].flags, &fusions);
        size_t bytes = (size_t)(1 + TOKENS) * info->n_vocab * sizeof *got;
        CHECK(got && want && !memcmp(got, want, bytes), "%s, %s, %s: other logits than directly", path, precision,
              modes[i].name);
        printf("%s %s: %s: %u logits the same, %d pairs fused\n", path, precision, modes[i].name,
               (1 + TOKENS) * info->n_vocab, (int)fusions);
        free(got);
    }
    free(want);
}

static void test_costs(const char *path, mlxn_model *model, const mlxn_model_info *info) {
    mlxn_context *c = make(model, 0);
    for (uint32_t i = 0; i < WARM; i++) decode(c, &(mlxn_batch_row){token_at(info, i), 0, true}, 1);
    uint64_t library = mlxn_alloc_count(), process = allocated();
    for (uint32_t i = 0; i < MEASURED; i++) decode(c, &(mlxn_batch_row){token_at(info, i), 0, true}, 1);
    library = mlxn_alloc_count() - library;
    process = allocated() - process;
    mlxn_graph_info graph = {.struct_size = sizeof graph};
    CHECK(c->graphs[0][1] && !mlxn_graph_get_info(c->graphs[0][1], &graph), "%s: tokens launch no graph", path);
    CHECK(library == 0, "%s: %d allocations of the library in %d tokens", path, (int)library, MEASURED);
    CHECK(process == 0, "%s: %d allocations of the process in %d tokens", path, (int)process, MEASURED);
    CHECK(graph.patches == 0, "%s: %d patches in %d tokens", path, (int)graph.patches, MEASURED);
    printf("%s: %d tokens: %d allocations of the library, %d of the %s, %d patches\n", path, MEASURED, (int)library,
           (int)process, COUNTS_MALLOC ? "process" : "library again", (int)graph.patches);
    mlxn_context_destroy(c);
}

int main(int argc, char **argv) {
    if (argc < 2) test_skips++;
    for (int i = 1; i < argc; i++)
        for (int fast = 0; fast < 2; fast++) {
            mlxn_device_desc desc = {.struct_size = sizeof desc,
                                     .precision = fast ? MLXN_PRECISION_FAST : MLXN_PRECISION_F32};
            mlxn_device *device = NULL;
            mlxn_model *model = NULL;
            mlxn_model_info info = {.struct_size = sizeof info};
            CHECK(!mlxn_device_create(&desc, &device, &error), "%s", error.message);
            CHECK(!mlxn_model_load(device, argv[i], NULL, &model, &error), "%s", error.message);
            if (model) {
                mlxn_model_get_info(model, &info);
                test_bits(argv[i], model, &info, fast ? "fast" : "f32");
                test_costs(argv[i], model, &info);
            }
            mlxn_model_release(&model);
            mlxn_device_release(&device);
        }
    return TEST_DONE();
}
