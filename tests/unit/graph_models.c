/* Promise: however a pass reaches the device, its logits have the same bits: recorded directly, as a graph in order
 * of capture, fused, reordered, both, and captured and submitted in two parts. For a tiny random model of every
 * architecture, in both precisions, with one thread and several; fusion finds pairs where an architecture has them.
 */
#include "lm_tiny.h"

#include "base/base.h"
#include "core/graph.h"
#include "lm/lm_internal.h"

enum { PROMPT = 40, TOKENS = 30, ALL = PROMPT + TOKENS };

static mlxn_context *make(mlxn_model *model, uint32_t flags) {
    mlxn_context_desc desc = {
        .struct_size = sizeof desc, .n_ctx = TINY_CTX, .n_sequences = 2, .n_batch = 16, .graph_flags = flags};
    mlxn_context *context = NULL;
    mlxn_error error;
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    return context;
}

static void decode(mlxn_context *c, const mlxn_batch_row *rows, size_t n, float *out) {
    const float *logits = NULL;
    mlxn_error error;
    CHECK(mlxn_context_decode(c, rows, n, NULL, NULL, &logits, &error) == MLXN_OK, "%s", error.message);
    if (logits) memcpy(out, logits, n * TINY_VOCAB * sizeof *out);
}

/* A prompt in steps of 16, then tokens by twos: one of each of two sequences. */
static float *run(mlxn_model *model, uint32_t flags, mlxn_graph_info *info) {
    mlxn_context *c = make(model, flags);
    float *out = calloc((size_t)2 * ALL * TINY_VOCAB, sizeof *out), *at = out;
    mlxn_batch_row rows[2 * PROMPT];
    for (uint32_t i = 0; i < 2 * PROMPT; i++)
        rows[i] = (mlxn_batch_row){(mlxn_token)((i * 37 + 11) % TINY_VOCAB), i % 2, true};
    decode(c, rows, sizeof rows / sizeof *rows, at);
    at += (size_t)2 * PROMPT * TINY_VOCAB;
    for (uint32_t i = 0; i < TOKENS; i++, at += 2 * TINY_VOCAB) {
        for (uint32_t s = 0; s < 2; s++)
            rows[s] = (mlxn_batch_row){(mlxn_token)((i * i + 7 * s) % TINY_VOCAB), s, true};
        decode(c, rows, 2, at);
    }
    *info = (mlxn_graph_info){.struct_size = sizeof *info};
    if (!(flags & MLXN_LM_GRAPH_NONE))
        CHECK(mlxn_graph_get_info(c->graphs[1][1], info) == MLXN_OK, "the graph of two rows is there");
    else
        CHECK(!c->graphs[1][1], "no graph was made");
    mlxn_context_destroy(c);
    return out;
}

int main(void) {
    static const struct {
        const char *arch;
        bool fuses;
    } archs[] = {{"llama", false}, {"qwen2", false}, {"gemma3", true}};
    static const struct {
        const char *name;
        uint32_t flags;
    } modes[] = {{"direct", MLXN_LM_GRAPH_NONE},
                 {"graph", MLXN_LM_GRAPH_PLAIN},
                 {"fused", MLXN_LM_GRAPH_FUSE},
                 {"reordered", MLXN_LM_GRAPH_REORDER},
                 {"default", 0},
                 {"dual", MLXN_LM_GRAPH_DUAL | MLXN_LM_GRAPH_NONE},
                 {"dual, all", MLXN_LM_GRAPH_DUAL | MLXN_LM_GRAPH_FUSE | MLXN_LM_GRAPH_REORDER}};
    for (uint32_t round = 0; round < 4; round++) {
        mlxn_device *device = tiny_device(round % 2 ? MLXN_PRECISION_FAST : MLXN_PRECISION_F32, 1 + round);
        for (size_t a = 0; a < sizeof archs / sizeof *archs; a++) {
            mlxn_model *model = tiny_load(device, archs[a].arch);
            float *want = NULL;
            mlxn_graph_info plain = {0}, info;
            for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
                float *got = run(model, modes[m].flags, &info);
                if (!want) {
                    want = got;
                    continue;
                }
                CHECK(!memcmp(got, want, (size_t)2 * ALL * TINY_VOCAB * sizeof *got), "%s, %s: logits differ",
                      archs[a].arch, modes[m].name);
                free(got);
                if (m == 1) plain = info;
                if (modes[m].flags == MLXN_LM_GRAPH_FUSE)
                    CHECK((info.fusions > 0) == archs[a].fuses && info.nodes + info.fusions == plain.nodes,
                          "%s: %d fusions", archs[a].arch, (int)info.fusions);
                if (modes[m].flags == MLXN_LM_GRAPH_REORDER)
                    CHECK(info.groups <= plain.groups && info.nodes == plain.nodes, "%s: %d groups, %d in order",
                          archs[a].arch, (int)info.groups, (int)plain.groups);
                if (!round && m < 5)
                    fprintf(stderr, "%s, %s: %d nodes, %d groups, %d fused, %d moved\n", archs[a].arch, modes[m].name,
                            (int)info.nodes, (int)info.groups, (int)info.fusions, (int)info.moved);
            }
            free(want);
            mlxn_model_release(&model);
        }
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
