/* Promise: models whose layers have recurrent states go on from any length that a context says it holds. Sequences
 * in one batch keep to themselves; going back by mlxn_context_reuse and computing the rest gives the bits of a
 * sequence that never went on; a length without a checkpoint is refused by truncate and changes nothing; a saved
 * sequence goes on with the same bits and has its checkpoints, and a damaged one is refused; a cancelled prompt
 * can be gone on with; speculation changes no token and no bit of what follows, and is refused without
 * checkpoints; the memory of checkpoints is counted; folders of mlx-lm may be quantized. */
#include "lm_folder.h"

#include "lm/lm_internal.h"

enum { VOCAB = 128, LENGTH = 150 };

static mlxn_device *device;
static const char *const names[] = {"qwen3_next", "qwen3_5"};

static mlxn_token token_at(uint32_t i) { return (mlxn_token)((i * 29 + i * i * 3 + 7) % VOCAB); }

static mlxn_context *make(mlxn_model *model, uint32_t n_sequences, uint32_t n_batch, uint32_t n, uint32_t every) {
    const mlxn_context_desc desc = {.struct_size = sizeof desc,
                                    .n_ctx = 256,
                                    .n_sequences = n_sequences,
                                    .n_batch = n_batch,
                                    .n_checkpoints = n,
                                    .checkpoint_every = every};
    mlxn_context *context = NULL;
    mlxn_error error = {0};
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    return context;
}

/* ids [from, to) in one call, or one by one; the logits of the last. */
static void feed_ids(mlxn_context *c, uint32_t seq, const mlxn_token *ids, uint32_t from, uint32_t to, bool at_once,
                     float *last) {
    mlxn_batch_row rows[LENGTH];
    const float *logits = NULL;
    mlxn_error error = {0};
    for (uint32_t i = from; i < to; i++) rows[i - from] = (mlxn_batch_row){ids[i], seq, i + 1 == to};
    for (uint32_t i = 0; i < to - from; i += at_once ? to - from : 1)
        CHECK(!mlxn_context_decode(c, rows + i, at_once ? to - from : 1, NULL, NULL, &logits, &error), "%s",
              error.message);
    if (logits && last) memcpy(last, logits, VOCAB * sizeof *last);
}

static double difference(const float *a, const float *b) {
    double worst = 0, largest = 0;
    for (int i = 0; i < VOCAB; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

static void fill(mlxn_token ids[LENGTH]) {
    for (uint32_t i = 0; i < LENGTH; i++) ids[i] = token_at(i);
}

/* ---- sequences ---- */

static void test_sequences(mlxn_model *model) {
    enum { SEQUENCES = 3, EACH = 40 };
    mlxn_token ids[SEQUENCES][LENGTH];
    mlxn_batch_row rows[SEQUENCES * EACH];
    float want[SEQUENCES][VOCAB], got[VOCAB];
    const float *logits = NULL;
    mlxn_error error = {0};
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        mlxn_context *alone = make(model, 1, 64, 2, 8);
        for (uint32_t i = 0; i < LENGTH; i++) ids[s][i] = token_at(i + 1000 * s);
        feed_ids(alone, 0, ids[s], 0, EACH + 1, true, want[s]);
        mlxn_context_destroy(alone);
    }
    for (uint32_t batch = 7; batch <= 120; batch += 113) {
        mlxn_context *c = make(model, SEQUENCES, batch, 2, 8);
        feed_ids(c, 1, ids[2], 0, 20, true, NULL); /* what it held before is forgotten */
        CHECK(!mlxn_context_truncate(c, 1, 0, &error), "%s", error.message);
        for (uint32_t i = 0; i < SEQUENCES * EACH; i++)
            rows[i] = (mlxn_batch_row){ids[i % SEQUENCES][i / SEQUENCES], i % SEQUENCES, i % 5 == 0};
        CHECK(!mlxn_context_decode(c, rows, SEQUENCES * EACH, NULL, NULL, &logits, &error), "%s", error.message);
        for (uint32_t s = SEQUENCES; s-- > 0;) {
            feed_ids(c, s, ids[s], EACH, EACH + 1, true, got);
            CHECK(difference(got, want[s]) < 1e-5, "sequence %u of %u, steps of %u: off by %g", s, SEQUENCES, batch,
                  difference(got, want[s]));
        }
        mlxn_context_destroy(c);
    }
}

/* ---- going back ---- */

static void test_reuse(mlxn_model *model) {
    mlxn_token ids[LENGTH], other[LENGTH];
    float want[VOCAB], got[VOCAB];
    mlxn_error error = {0};
    uint32_t kept = 0, found = 0;
    fill(ids);
    mlxn_context *c = make(model, 2, 16, 3, 8);
    feed_ids(c, 1, ids, 0, LENGTH, false, NULL);
    for (uint32_t length = LENGTH - 1; length > 2; length -= length > 20 ? 9 : 4) {
        memcpy(other, ids, sizeof ids);
        other[length] = (ids[length] + 1) % VOCAB;
        CHECK(!mlxn_context_reuse(c, 1, other, length + 2, &kept, &error), "%s", error.message);
        CHECK(kept <= length && kept == mlxn_context_length(c, 1), "kept %u of %u", kept, length);
        CHECK(c->sequences[1].n_checkpoints <= 3, "%u checkpoints", c->sequences[1].n_checkpoints);
        found += kept > 0;
        feed_ids(c, 1, other, kept, length + 1, false, got);
        mlxn_context *plain = make(model, 1, 16, MLXN_NO_CHECKPOINTS, 0);
        feed_ids(plain, 0, other, 0, length + 1, false, want);
        CHECK(!memcmp(got, want, sizeof want), "back from %u to %u, on to %u: other logits", LENGTH, kept,
              length + 1);
        mlxn_context_destroy(plain);
        feed_ids(c, 1, ids, length + 1, LENGTH, false, NULL);
    }
    CHECK(found > 10, "only %u times was a checkpoint found", found);
    mlxn_context_destroy(c);
}

/* The prompt of before again, and one that begins with it: only its end is computed. */
static void test_prompt_again(mlxn_model *model) {
    enum { PROMPT = 90 };
    mlxn_token ids[LENGTH];
    float want[VOCAB], got[VOCAB];
    uint32_t kept = 0;
    mlxn_error error = {0};
    fill(ids);
    mlxn_context *c = make(model, 1, 32, 0, 0);
    feed_ids(c, 0, ids, 0, PROMPT, true, want);
    feed_ids(c, 0, ids, PROMPT, PROMPT + 10, false, NULL);
    CHECK(!mlxn_context_reuse(c, 0, ids, PROMPT, &kept, &error) && kept == PROMPT - 1, "kept %u", kept);
    feed_ids(c, 0, ids, kept, PROMPT, true, got);
    CHECK(!memcmp(got, want, sizeof want), "the same prompt again: other logits");
    ids[PROMPT] = (ids[PROMPT] + 1) % VOCAB;
    feed_ids(c, 0, ids, PROMPT, PROMPT + 3, false, NULL);
    CHECK(!mlxn_context_reuse(c, 0, ids, PROMPT + 20, &kept, &error) && kept == PROMPT + 3, "kept %u", kept);
    mlxn_context_destroy(c);
    c = make(model, 1, 32, MLXN_NO_CHECKPOINTS, 0);
    feed_ids(c, 0, ids, 0, PROMPT, true, NULL);
    CHECK(!mlxn_context_reuse(c, 0, ids, PROMPT, &kept, &error) && kept == 0, "kept %u without checkpoints", kept);
    mlxn_context_destroy(c);
}

static void test_truncate(mlxn_model *model) {
    mlxn_token ids[LENGTH];
    float want[VOCAB], got[VOCAB];
    mlxn_error error = {0};
    fill(ids);
    mlxn_context *c = make(model, 1, 16, 4, 16), *plain = make(model, 1, 16, 4, 16);
    feed_ids(plain, 0, ids, 0, 60, true, NULL);
    feed_ids(plain, 0, ids, 60, 61, true, want);
    feed_ids(c, 0, ids, 0, 60, true, NULL);
    CHECK(mlxn_context_truncate(c, 0, 37, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "37") &&
              strstr(error.message, "nearest before it at 32"),
          "%s", error.message);
    CHECK(mlxn_context_length(c, 0) == 60, "a refused truncate changes the length");
    feed_ids(c, 0, ids, 60, 61, true, got);
    CHECK(!memcmp(got, want, sizeof want), "a refused truncate changes the state");
    CHECK(!mlxn_context_truncate(c, 0, 32, &error), "%s", error.message);
    CHECK(!mlxn_context_truncate(c, 0, 16, &error), "twice: %s", error.message);
    feed_ids(c, 0, ids, 16, 60, true, NULL);
    feed_ids(c, 0, ids, 60, 61, true, got);
    CHECK(difference(got, want) < 1e-5, "from 16 on: off by %g", difference(got, want));
    CHECK(!mlxn_context_truncate(c, 0, 0, &error), "%s", error.message);
    feed_ids(c, 0, ids, 0, 60, true, NULL);
    feed_ids(c, 0, ids, 60, 61, true, got);
    CHECK(!memcmp(got, want, sizeof want), "from the beginning: other logits");
    mlxn_context_destroy(c);
    mlxn_context_destroy(plain);
}

static bool stop_at_half(void *user, uint64_t done, uint64_t total) {
    (void)user;
    return done < total / 2;
}

static void test_cancel(mlxn_model *model) {
    mlxn_token ids[LENGTH];
    mlxn_batch_row rows[LENGTH];
    float want[VOCAB], got[VOCAB];
    mlxn_error error = {0};
    fill(ids);
    mlxn_context *c = make(model, 1, 16, 4, 16), *plain = make(model, 1, 16, 4, 16);
    feed_ids(plain, 0, ids, 0, LENGTH, true, want);
    for (uint32_t i = 0; i < LENGTH; i++) rows[i] = (mlxn_batch_row){ids[i], 0, false};
    CHECK(mlxn_context_decode(c, rows, LENGTH, stop_at_half, NULL, NULL, &error) == MLXN_ERR_CANCELLED, "%s",
          error.message);
    uint32_t length = mlxn_context_length(c, 0);
    CHECK(length >= LENGTH / 2 && length < LENGTH, "%u tokens after a cancel", length);
    feed_ids(c, 0, ids, length, LENGTH, true, got);
    CHECK(difference(got, want) < 1e-5, "after a cancel: off by %g", difference(got, want));
    mlxn_context_destroy(c);
    mlxn_context_destroy(plain);
}

/* ---- saved sequences ---- */

/* Four bytes of a tensor of the file become `value`. */
static void patch(const char *path, const char *name, uint64_t element, int32_t value) {
    mlxn_safetensors *file = NULL;
    mlxn_safetensors_tensor t;
    mlxn_error error = {0};
    CHECK(!mlxn_safetensors_open(path, &file, &error), "%s", error.message);
    CHECK(mlxn_safetensors_find_tensor(file, name, &t) && element < t.elements, "no %s[%u]", name, (unsigned)element);
    uint64_t at = t.offset + 4 * element;
    mlxn_safetensors_close(file);
    FILE *stream = fopen(path, "r+b");
    CHECK(stream && !fseek(stream, (long)at, SEEK_SET) && fwrite(&value, 4, 1, stream) == 1 && !fclose(stream),
          "cannot patch %s", path);
}

static void test_state(mlxn_model *model) {
    enum { HELD = 100 };
    const char *folder = fm_new_folder();
    char path[300];
    mlxn_token ids[LENGTH];
    float want[VOCAB], got[VOCAB];
    uint32_t kept = 0;
    mlxn_error error = {0};
    snprintf(path, sizeof path, "%s/state.safetensors", folder);
    fill(ids);
    mlxn_context *c = make(model, 2, 16, 4, 16);
    feed_ids(c, 1, ids, 0, HELD, true, NULL);
    CHECK(!mlxn_context_save(c, 1, path, &error), "%s", error.message);
    feed_ids(c, 1, ids, HELD, LENGTH, false, want);
    for (uint32_t n = 0; n < 6; n++) {
        mlxn_context *d = make(model, 1 + n % 2, 8, n ? n : MLXN_NO_CHECKPOINTS, 16);
        feed_ids(d, n % 2, ids, 5, 50, true, NULL);
        CHECK(!mlxn_context_restore(d, n % 2, path, &error), "%s", error.message);
        feed_ids(d, n % 2, ids, HELD, LENGTH, false, got);
        CHECK(!memcmp(got, want, sizeof want), "restored with room for %u checkpoints: other logits", n);
        CHECK(!mlxn_context_restore(d, n % 2, path, &error), "%s", error.message);
        CHECK(!mlxn_context_reuse(d, n % 2, ids, HELD, &kept, &error) && kept == (n ? 96 : 0), "%u kept", kept);
        feed_ids(d, n % 2, ids, kept, LENGTH, false, got);
        CHECK(difference(got, want) < 1e-5, "restored and gone back to %u: off by %g", kept, difference(got, want));
        mlxn_context_destroy(d);
    }
    /* A sequence that went back and has not gone on yet is saved as what it is now. */
    CHECK(!mlxn_context_reuse(c, 1, ids, HELD, &kept, &error) && kept > 0 && kept < HELD, "%u kept", kept);
    CHECK(!mlxn_context_save(c, 1, path, &error), "%s", error.message);
    CHECK(!mlxn_context_truncate(c, 1, 0, &error) && !mlxn_context_restore(c, 0, path, &error), "%s", error.message);
    feed_ids(c, 0, ids, kept, LENGTH, false, got);
    CHECK(difference(got, want) < 1e-5, "saved after going back: off by %g", difference(got, want));

    const int32_t bad[][2] = {{0, 0}, {0, -5}, {3, 101}, {1, 3}}; /* which checkpoint is at which position */
    CHECK(!mlxn_context_truncate(c, 1, 0, &error), "%s", error.message);
    feed_ids(c, 1, ids, 0, HELD, true, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(!mlxn_context_save(c, 1, path, &error), "%s", error.message);
        patch(path, "checkpoints", (uint64_t)bad[i][0], bad[i][1]);
        CHECK(mlxn_context_restore(c, 0, path, &error) == MLXN_ERR_FORMAT && strstr(error.message, "checkpoint"),
              "a checkpoint at %d is taken: %s", bad[i][1], error.message);
    }
    CHECK(mlxn_context_length(c, 0) == LENGTH, "a refused file changes the sequence");
    mlxn_context_destroy(c);
    fm_remove_folder(folder);
}

/* Files without states, or with those of fewer checkpoints than they say: a writer of the test's own makes them. */
static void test_incomplete(mlxn_model *model) {
    const char *folder = fm_new_folder();
    char path[300], damaged[300];
    mlxn_token ids[LENGTH];
    mlxn_safetensors *file = NULL;
    mlxn_error error = {0};
    snprintf(path, sizeof path, "%s/state.safetensors", folder);
    snprintf(damaged, sizeof damaged, "%s/damaged.safetensors", folder);
    fill(ids);
    mlxn_context *c = make(model, 1, 16, 4, 16);
    feed_ids(c, 0, ids, 0, 80, true, NULL);
    CHECK(!mlxn_context_save(c, 0, path, &error), "%s", error.message);
    CHECK(!mlxn_safetensors_open(path, &file, &error), "%s", error.message);
    static const char *const victims[] = {"checkpoints", "layers.0.convolution", "layers.1.states"};
    static const char *const keys[] = {"format", "version", "model", "keys", "values"};
    for (int way = 0; way < 6; way++) {
        const char *victim = victims[way % 3];
        mlxn_safetensors_writer *w = NULL;
        mlxn_safetensors_tensor t;
        CHECK(!mlxn_safetensors_writer_create(damaged, 0, true, &w, &error), "%s", error.message);
        for (int k = 0; k < 5; k++) {
            mlxn_string value;
            char text[80];
            CHECK(mlxn_safetensors_metadata(file, keys[k], &value), "no %s", keys[k]);
            snprintf(text, sizeof text, "%.*s", (int)value.size, value.data);
            CHECK(!mlxn_safetensors_writer_metadata(w, keys[k], text, &error), "%s", error.message);
        }
        for (int pass = 0; pass < 2; pass++)
            for (uint64_t i = 0; i < mlxn_safetensors_tensor_count(file); i++) {
                char name[64];
                snprintf(name, sizeof name, "%s", mlxn_safetensors_name(file, i).data);
                CHECK(mlxn_safetensors_find_tensor(file, name, &t), "%s", name);
                uint64_t dims[4], bytes = t.bytes;
                memcpy(dims, t.dims, sizeof dims);
                if (!strcmp(name, victim)) {
                    if (way < 3) continue; /* missing, or one too few */
                    bytes = bytes / dims[0] * (dims[0] - 1);
                    dims[0]--;
                }
                mlxn_status status = pass ? mlxn_safetensors_writer_write(w, t.data, bytes, &error)
                                          : mlxn_safetensors_writer_add(w, name, t.dtype, t.rank, dims, &error);
                CHECK(!status, "%s", error.message);
            }
        CHECK(!mlxn_safetensors_writer_finish(&w, &error), "%s", error.message);
        const char *named = way == 3 ? "layers.0.convolution" : victim; /* a checkpoint less than states */
        CHECK(mlxn_context_restore(c, 0, damaged, &error) == MLXN_ERR_FORMAT && strstr(error.message, named),
              "way %d: %s", way, error.message);
        unlink(damaged);
    }
    CHECK(mlxn_context_length(c, 0) == 80, "a refused file changes the sequence");
    mlxn_safetensors_close(file);
    mlxn_context_destroy(c);
    fm_remove_folder(folder);
}

/* ---- options ---- */

static void test_memory(mlxn_model *model) {
    const mlxn_lm_shape *s = &model->shape;
    uint64_t bytes[3], recurrent = 0;
    const uint32_t n[3] = {MLXN_NO_CHECKPOINTS, 1, 5};
    for (int i = 0; i < 3; i++) {
        mlxn_context *c = make(model, 2, 16, n[i], 0);
        bytes[i] = mlxn_context_kv_bytes(c);
        mlxn_context_destroy(c);
    }
    for (uint32_t i = 0; i < s->n_layers; i++) recurrent += model->layers[i].recurrent;
    uint64_t channels = 2 * s->delta_k_heads * s->delta_k_dim + s->delta_v_heads * s->delta_v_dim;
    uint64_t one = 4 * recurrent *
                   (channels * (s->delta_taps - 1) + s->delta_v_heads * s->delta_v_dim * (uint64_t)s->delta_k_dim);
    CHECK(bytes[1] - bytes[0] == 2 * one && bytes[2] - bytes[0] == 10 * one,
          "a checkpoint of 2 sequences takes %llu bytes, five %llu, want %llu and 5 times as many",
          (unsigned long long)(bytes[1] - bytes[0]), (unsigned long long)(bytes[2] - bytes[0]),
          (unsigned long long)(2 * one));
    mlxn_context *c = NULL;
    mlxn_error error = {0};
    const mlxn_context_desc desc = {.struct_size = sizeof desc, .n_checkpoints = 5000};
    CHECK(mlxn_context_create(model, &desc, &c, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "5000"), "%s",
          error.message);
}

/* One answer, and the logits of one more token behind it. */
static mlxn_generate_result answer(mlxn_context *c, float temp, mlxn_generate_desc more, float *next) {
    enum { PROMPT = 40 };
    const mlxn_sampler_desc how = {.struct_size = sizeof how, .temp = temp, .top_k = 20, .seed = 11};
    mlxn_sampler *sampler = NULL;
    mlxn_generate_result result = {0};
    mlxn_token prompt[PROMPT];
    const float *logits = NULL;
    mlxn_error error = {0};
    more.struct_size = sizeof more;
    more.ignore_eos = true;
    more.n_predict = 60;
    for (uint32_t i = 0; i < PROMPT; i++) prompt[i] = token_at(i % 9);
    CHECK(!mlxn_context_truncate(c, 0, 0, &error), "%s", error.message);
    CHECK(!mlxn_sampler_create(&how, VOCAB, &sampler, &error), "%s", error.message);
    CHECK(!mlxn_generate(c, prompt, PROMPT, sampler, &more, &result, &error), "%s", error.message);
    mlxn_sampler_destroy(sampler);
    CHECK(mlxn_context_length(c, 0) == PROMPT + result.n_ids - 1, "length %u", mlxn_context_length(c, 0));
    CHECK(!mlxn_context_decode(c, &(mlxn_batch_row){9, 0, true}, 1, NULL, NULL, &logits, &error), "%s",
          error.message);
    if (logits) memcpy(next, logits, VOCAB * sizeof *next);
    return result;
}

static void test_speculation(mlxn_model *model, mlxn_model *other) {
    float want_next[VOCAB], next[VOCAB];
    uint64_t drafted = 0, accepted = 0;
    mlxn_context *c = make(model, 1, 16, 2, 0), *same = make(model, 1, 16, 2, 8), *wrong = make(other, 1, 16, 2, 8);
    const mlxn_generate_desc ways[] = {{.lookup = true},
                                       {.draft = same},
                                       {.draft = wrong},
                                       {.draft = wrong, .lookup = true, .draft_max = 3},
                                       {.draft = same, .draft_max = 32}};
    for (int random = 0; random < 2; random++) {
        mlxn_generate_result want = answer(c, (float)random, (mlxn_generate_desc){0}, want_next);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            mlxn_generate_result got = answer(c, (float)random, ways[i], next);
            CHECK(got.n_ids == want.n_ids && !memcmp(got.ids, want.ids, want.n_ids * sizeof *want.ids),
                  "way %zu: other tokens", i);
            CHECK(!memcmp(next, want_next, sizeof next), "way %zu: other logits behind the answer", i);
            drafted += got.n_drafted;
            accepted += got.n_accepted;
            mlxn_free_memory(got.ids);
        }
        mlxn_free_memory(want.ids);
    }
    CHECK(accepted > 60 && drafted > accepted + 60, "%d of %d guesses were right", (int)accepted, (int)drafted);
    mlxn_context_destroy(c);
    mlxn_context_destroy(same);
    mlxn_context_destroy(wrong);

    c = make(model, 1, 16, MLXN_NO_CHECKPOINTS, 0);
    const mlxn_token prompt[] = {1, 2, 3};
    mlxn_error error = {0};
    mlxn_generate_result result = {0};
    mlxn_sampler_desc greedy = {.struct_size = sizeof greedy};
    mlxn_sampler *sampler = NULL;
    const mlxn_generate_desc desc = {.struct_size = sizeof desc, .n_predict = 4, .lookup = true};
    CHECK(!mlxn_sampler_create(&greedy, VOCAB, &sampler, &error), "%s", error.message);
    CHECK(mlxn_generate(c, prompt, 3, sampler, &desc, &result, &error) == MLXN_ERR_UNSUPPORTED &&
              strstr(error.message, "recurrent"),
          "%s", error.message);
    mlxn_sampler_destroy(sampler);
    mlxn_context_destroy(c);
}

/* ---- quantized folders ---- */

/* As mlx-lm quantizes: every matrix whose rows are whole groups, and no convolution. */
static const fm_quant *matrices(const fm_tensor *t, const void *user) {
    bool fits = t->rank >= 2 && fm_cols(t) % 32 == 0 && !strstr(t->name, "conv1d") && strstr(t->name, ".weight");
    return fits ? user : NULL;
}

/* A folder of mlx-lm in 4 and 8 bits gives what its weights give when they are stored as f32. */
static void test_quantized(const char *name) {
    const size_t width = VOCAB;
    for (uint32_t bits = 4; bits <= 8; bits += 4) {
        fm m;
        float *logits[2];
        double worst = 0, largest = 0;
        for (int plain = 0; plain < 2; plain++) {
            const fm_quant quant = {MLXN_QUANT_AFFINE, bits, 32, MLXN_BF16, plain};
            if (!fm_open(&m, name)) return;
            if (!plain)
                json_object_set_new(m.config, "quantization",
                                    json_pack("{s:i,s:i}", "bits", (int)bits, "group_size", 32));
            const char *folder = fm_write(&m, 0, matrices, &quant);
            mlxn_model *model = fm_load(device, folder);
            fm_remove_folder(folder);
            logits[plain] = fm_run(model, &m, m.n_ids, 0);
            mlxn_model_release(&model);
            fm_close(&m);
        }
        for (size_t i = 0; i < m.n_ids * width; i++) {
            worst = fmax(worst, fabs((double)logits[0][i] - (double)logits[1][i]));
            largest = fmax(largest, fabs((double)logits[1][i]));
        }
        CHECK(worst < 1e-4 * largest, "%s in %u bits: off by %g", name, bits, worst / largest);
        free(logits[0]);
        free(logits[1]);
    }
}

static mlxn_model *load_other(const char *name) {
    fm m;
    if (!fm_open(&m, name)) return NULL;
    const char *folder = fm_write(&m, 0, NULL, NULL);
    mlxn_model *model = fm_load(device, folder);
    fm_remove_folder(folder);
    fm_close(&m);
    return model;
}

int main(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 2};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fm m;
        if (!fm_open(&m, names[i])) continue;
        const char *folder = fm_write(&m, 0, NULL, NULL);
        mlxn_model *model = fm_load(device, folder), *other = NULL;
        fm_remove_folder(folder);
        other = load_other(names[!i]);
        if (model && other) {
            test_sequences(model);
            test_reuse(model);
            test_prompt_again(model);
            test_truncate(model);
            test_cancel(model);
            test_state(model);
            test_incomplete(model);
            test_memory(model);
            test_speculation(model, other);
        }
        mlxn_model_release(&model);
        mlxn_model_release(&other);
        fm_close(&m);
    }
    mlxn_device_release(&device);
    desc.precision = MLXN_PRECISION_FAST;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    mlxn_model *fast = load_other("qwen3_next"), *other = load_other("qwen3_5");
    if (fast && other) test_speculation(fast, other);
    mlxn_model_release(&fast);
    mlxn_model_release(&other);
    mlxn_device_release(&device);
    desc.precision = MLXN_PRECISION_F32;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    test_quantized("qwen3_next-mlx");
    test_quantized("qwen3_5-mlx");
    mlxn_device_release(&device);
    return TEST_DONE();
}
