/* Promise: speculation changes how fast a text comes and nothing else: the same tokens for greedy and random sampling
 * with penalties, with a draft that is always right, often wrong, too short, or with the text's own repetitions, in
 * both precisions, with sliding windows, up to the last position of a context; afterwards the sequence goes on with
 * the bits that it would have had. Rows that are decoded together have the bits that they have alone. */
#include "lm_tiny.h"

enum { PROMPT = 40, ANSWER = 60 };

static mlxn_context *make(mlxn_model *model, uint32_t n_ctx) {
    mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = n_ctx, .n_batch = 24};
    mlxn_context *context = NULL;
    mlxn_error error;
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    return context;
}

static mlxn_token token_at(uint32_t i) { return (mlxn_token)((i % 13 * 37 + 5) % TINY_VOCAB); }

/* Rows together against rows alone. */
static void test_rows(mlxn_model *model, const char *name) {
    for (uint32_t n = 2; n <= 9; n++) {
        mlxn_context *a = make(model, TINY_CTX), *b = make(model, TINY_CTX);
        const float *together = NULL, *alone = NULL;
        mlxn_batch_row rows[PROMPT + 9];
        for (uint32_t i = 0; i < PROMPT + n; i++) rows[i] = (mlxn_batch_row){token_at(i * i), 0, i >= PROMPT};
        for (int k = 0; k < 2; k++)
            CHECK(!mlxn_context_decode(k ? a : b, rows, PROMPT, NULL, NULL, NULL, NULL), "prompt");
        CHECK(!mlxn_context_decode(a, rows + PROMPT, n, NULL, NULL, &together, NULL), "rows");
        for (uint32_t i = 0; i < n; i++) {
            CHECK(!mlxn_context_decode(b, rows + PROMPT + i, 1, NULL, NULL, &alone, NULL), "row");
            CHECK(!memcmp(together + i * TINY_VOCAB, alone, TINY_VOCAB * sizeof *alone), "%s: row %u of %u", name, i,
                  n);
        }
        mlxn_context_destroy(a);
        mlxn_context_destroy(b);
    }
}

/* One answer, and the logits of one more token behind it. */
static mlxn_generate_result answer(mlxn_context *c, float temp, mlxn_generate_desc more, float next[TINY_VOCAB]) {
    mlxn_sampler_desc how = {
        .struct_size = sizeof how, .temp = temp, .top_k = 20, .seed = 11, .repeat_penalty = temp > 0 ? 1.2f : 1};
    mlxn_sampler *sampler = NULL;
    mlxn_generate_result result;
    mlxn_token prompt[PROMPT];
    mlxn_error error;
    more.struct_size = sizeof more;
    more.ignore_eos = true;
    for (uint32_t i = 0; i < PROMPT; i++) prompt[i] = token_at(i);
    CHECK(!mlxn_sampler_create(&how, TINY_VOCAB, &sampler, &error), "%s", error.message);
    CHECK(!mlxn_context_truncate(c, 0, 0, NULL), "empty");
    CHECK(!mlxn_generate(c, prompt, PROMPT, sampler, &more, &result, &error), "%s", error.message);
    mlxn_sampler_destroy(sampler);
    uint32_t length = mlxn_context_length(c, 0);
    CHECK(length == PROMPT + result.n_ids - 1 || length == mlxn_context_size(c), "length %u", length);
    memset(next, 0, TINY_VOCAB * sizeof *next);
    if (length < mlxn_context_size(c)) {
        const float *logits = NULL;
        CHECK(!mlxn_context_decode(c, &(mlxn_batch_row){9, 0, true}, 1, NULL, NULL, &logits, NULL), "next");
        if (logits) memcpy(next, logits, TINY_VOCAB * sizeof *next);
    }
    return result;
}

static void test_answers(mlxn_model *model, mlxn_model *other, const char *name) {
    mlxn_context *same = make(model, TINY_CTX), *wrong = make(other, TINY_CTX), *small = make(model, PROMPT + 10);
    const mlxn_generate_desc ways[] = {{.draft = same},
                                       {.draft = wrong},
                                       {.draft = small},
                                       {.lookup = true},
                                       {.lookup = true, .draft = wrong, .draft_max = 3},
                                       {.draft = same, .draft_max = 1},
                                       {.draft = same, .draft_max = 32}};
    for (int random = 0; random < 2; random++)
        for (int full = 0; full < 2; full++) {
            float want_next[TINY_VOCAB], next[TINY_VOCAB], temp = random ? 1.0f : 0;
            mlxn_context *c = make(model, full ? PROMPT + ANSWER / 2 : TINY_CTX);
            mlxn_generate_result want = answer(c, temp, (mlxn_generate_desc){.n_predict = ANSWER}, want_next);
            CHECK(want.n_ids > 20 && want.n_drafted == 0, "%s: %d tokens", name, (int)want.n_ids);
            for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                mlxn_generate_desc desc = ways[i];
                desc.n_predict = ANSWER;
                mlxn_generate_result got = answer(c, temp, desc, next);
                CHECK(got.n_ids == want.n_ids && !memcmp(got.ids, want.ids, want.n_ids * sizeof *want.ids),
                      "%s, way %d, %s: other tokens", name, (int)i, random ? "random" : "greedy");
                CHECK(!memcmp(next, want_next, sizeof next), "%s, way %d: other logits behind it", name, (int)i);
                CHECK(got.n_accepted <= got.n_drafted && got.finish == want.finish, "%s, way %d", name, (int)i);
                if (desc.draft) CHECK(got.n_drafted > 0, "%s, way %d: no guesses", name, (int)i);
                if (i == 0 && !random) /* but those of the last pass, which lie behind the end */
                    CHECK(got.n_accepted + 8 >= got.n_drafted && got.n_accepted > 8, "%s: its own guesses are right",
                          name);
                mlxn_free_memory(got.ids);
            }
            mlxn_free_memory(want.ids);
            mlxn_context_destroy(c);
        }
    mlxn_context_destroy(same);
    mlxn_context_destroy(wrong);
    mlxn_context_destroy(small);
}

static void test_refusals(mlxn_model *model) {
    mlxn_sampler_desc how = {.struct_size = sizeof how};
    mlxn_sampler *sampler = NULL;
    mlxn_generate_result result;
    mlxn_error error;
    const mlxn_token prompt[] = {1, 2};
    mlxn_context *c = make(model, TINY_CTX);
    CHECK(!mlxn_sampler_create(&how, TINY_VOCAB, &sampler, NULL), "sampler");
    mlxn_generate_desc desc = {.struct_size = sizeof desc, .n_predict = 3, .draft = c};
    CHECK(mlxn_generate(c, prompt, 2, sampler, &desc, &result, &error) == MLXN_ERR_ARGUMENT, "itself");
    CHECK(strstr(error.message, "the context itself") && !result.ids, "%s", error.message);
    CHECK(mlxn_context_length(c, 0) == 0, "nothing was decoded");
    mlxn_sampler_destroy(sampler);
    mlxn_context_destroy(c);
}

int main(void) {
    static const char *const archs[] = {"llama", "qwen2", "gemma3"};
    static const mlxn_precision precisions[] = {MLXN_PRECISION_F32, MLXN_PRECISION_FAST};
    for (size_t p = 0; p < 2; p++) {
        mlxn_device *device = tiny_device(precisions[p], 2);
        for (size_t i = 0; i < 3; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s, precision %d", archs[i], (int)precisions[p]);
            mlxn_model *model = tiny_load(device, archs[i]), *other = tiny_load(device, archs[(i + 1) % 3]);
            test_rows(model, name);
            test_answers(model, other, name);
            if (i == 0) test_refusals(model);
            mlxn_model_release(&model);
            mlxn_model_release(&other);
        }
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
