/* Promise: a saved sequence, restored into a context of the same or another size, batch or number of sequences, goes
 * on with the bits that it would have had without; files of another model or cache type, too long, damaged or
 * incomplete are refused with a message, and then the sequence is what it was; a prefix is reused exactly as far as
 * the caches allow. For a tiny model of every architecture and several cache types. */
#include "../io/safetensors_writer.h"
#include "lm_tiny.h"

#include <mlxn/write.h>

enum { HELD = 100, MORE = 30 };

static mlxn_device *device;

typedef struct shape {
    uint32_t n_ctx, n_sequences, n_batch;
    mlxn_kv_type k, v;
} shape;

static mlxn_context *make(mlxn_model *model, shape s) {
    mlxn_context_desc desc = {.struct_size = sizeof desc,
                              .n_ctx = s.n_ctx,
                              .n_sequences = s.n_sequences,
                              .n_batch = s.n_batch,
                              .k_type = s.k,
                              .v_type = s.v};
    mlxn_context *context = NULL;
    mlxn_error error;
    CHECK(mlxn_context_create(model, &desc, &context, &error) == MLXN_OK, "%s", error.message);
    return context;
}

static mlxn_token token_at(uint32_t i) { return (mlxn_token)((i * 37 + i * i) % TINY_VOCAB); }

/* Tokens [from, to) one by one; the logits of the last. */
static void feed(mlxn_context *c, uint32_t seq, uint32_t from, uint32_t to, float last[TINY_VOCAB]) {
    const float *logits = NULL;
    mlxn_error error;
    for (uint32_t i = from; i < to; i++) {
        mlxn_batch_row row = {token_at(i), seq, true};
        CHECK(!mlxn_context_decode(c, &row, 1, NULL, NULL, &logits, &error), "%s", error.message);
    }
    if (logits && last) memcpy(last, logits, TINY_VOCAB * sizeof *last);
}

static void test_goes_on(mlxn_model *model, const char *arch, mlxn_kv_type k, mlxn_kv_type v) {
    const shape from = {TINY_CTX, 2, 32, k, v};
    const shape to[] = {from, {HELD + MORE, 1, 32, k, v}, {TINY_CTX, 3, 1, k, v}, {TINY_CTX, 1, 100, k, v}};
    float want[TINY_VOCAB], got[TINY_VOCAB];
    mlxn_error error;
    mlxn_context *c = make(model, from);
    feed(c, 1, 0, HELD, NULL);
    CHECK(!mlxn_context_save(c, 1, st_path("state.safetensors"), &error), "%s", error.message);
    feed(c, 1, HELD, HELD + MORE, want);
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        mlxn_context *d = make(model, to[i]);
        uint32_t seq = to[i].n_sequences - 1, n = 0;
        feed(d, seq, 3, 60, NULL); /* what it held before is forgotten */
        CHECK(!mlxn_context_restore(d, seq, st_path("state.safetensors"), &error), "%s: %s", arch, error.message);
        CHECK(mlxn_context_length(d, seq) == HELD, "%s: length %u", arch, mlxn_context_length(d, seq));
        const mlxn_token *ids = mlxn_context_tokens(d, seq, &n);
        bool same = n == HELD;
        for (uint32_t t = 0; same && t < HELD; t++) same = ids[t] == token_at(t);
        CHECK(same, "%s: tokens", arch);
        feed(d, seq, HELD, HELD + MORE, got);
        CHECK(!memcmp(got, want, sizeof want), "%s, context %d: other logits", arch, (int)i);
        mlxn_context_destroy(d);
    }
    /* Saved again from where it was restored. */
    mlxn_context *d = make(model, to[3]);
    CHECK(!mlxn_context_restore(d, 0, st_path("state.safetensors"), &error), "%s", error.message);
    CHECK(!mlxn_context_save(d, 0, st_path("again.safetensors"), &error), "%s", error.message);
    CHECK(!mlxn_context_restore(c, 0, st_path("again.safetensors"), &error), "%s", error.message);
    feed(c, 0, HELD, HELD + MORE, got);
    CHECK(!memcmp(got, want, sizeof want), "%s: saved twice, other logits", arch);
    /* Nothing is something too. */
    mlxn_context_truncate(c, 0, 0, NULL);
    CHECK(!mlxn_context_save(c, 0, st_path("empty.safetensors"), &error), "%s", error.message);
    CHECK(!mlxn_context_restore(d, 0, st_path("empty.safetensors"), &error), "%s", error.message);
    CHECK(mlxn_context_length(d, 0) == 0 && !mlxn_context_tokens(d, 0, NULL), "empty");
    mlxn_context_destroy(d);
    mlxn_context_destroy(c);
}

/* Whatever is taken back after a restore, either the next logits are right or it is refused. */
static void test_truncate(mlxn_model *model, const char *arch, bool sliding) {
    const shape s = {TINY_CTX, 1, 16, MLXN_KV_F32, MLXN_KV_F32}, wide = {TINY_CTX, 1, 120, MLXN_KV_F32, MLXN_KV_F32};
    mlxn_context *c = make(model, s), *plain = make(model, s);
    float want[TINY_VOCAB], got[TINY_VOCAB];
    int refused = 0;
    feed(c, 0, 0, HELD, NULL);
    CHECK(!mlxn_context_save(c, 0, st_path("state.safetensors"), NULL), "save");
    for (uint32_t length = 0; length <= HELD; length += 10) {
        mlxn_context *d = make(model, wide);
        CHECK(!mlxn_context_restore(d, 0, st_path("state.safetensors"), NULL), "restore");
        if (mlxn_context_truncate(d, 0, length, NULL)) {
            refused++;
        } else {
            mlxn_context_truncate(plain, 0, 0, NULL);
            feed(plain, 0, 0, length + 1, want);
            feed(d, 0, length, length + 1, got);
            CHECK(!memcmp(got, want, sizeof want), "%s: back to %u", arch, length);
        }
        mlxn_context_destroy(d);
    }
    CHECK(sliding ? refused > 0 && refused < 10 : refused == 0, "%s: %d refused", arch, refused);
    mlxn_context_destroy(plain);
    mlxn_context_destroy(c);
}

static void test_reuse(mlxn_model *model, const char *arch, bool sliding) {
    const shape s = {TINY_CTX, 1, 16, 0, 0};
    mlxn_context *c = make(model, s);
    mlxn_token ids[HELD];
    uint32_t kept = 99;
    for (uint32_t i = 0; i < HELD; i++) ids[i] = token_at(i);
    CHECK(!mlxn_context_reuse(c, 0, ids, HELD, &kept, NULL) && kept == 0, "nothing held");
    feed(c, 0, 0, HELD, NULL);
    CHECK(!mlxn_context_reuse(c, 0, ids, HELD, &kept, NULL) && kept == HELD - 1, "%s: all but the last", arch);
    ids[95]++;
    CHECK(!mlxn_context_reuse(c, 0, ids, HELD, &kept, NULL) && kept == 95, "%s: a near prefix, %u", arch, kept);
    ids[20]++;
    CHECK(!mlxn_context_reuse(c, 0, ids, HELD, &kept, NULL), "far");
    CHECK(kept == (sliding ? 0 : 20) && mlxn_context_length(c, 0) == kept, "%s: a far prefix, %u", arch, kept);
    CHECK(!mlxn_context_reuse(c, 0, NULL, 0, &kept, NULL) && kept == 0, "no ids");
    CHECK(mlxn_context_reuse(c, 1, ids, 1, &kept, NULL) == MLXN_ERR_ARGUMENT, "no such sequence");
    mlxn_context_destroy(c);
}

/* ---- refusals ---- */

typedef struct change {
    const char *what, *key, *value; /* metadata */
    const char *tensor;             /* to leave out */
    int64_t token;                  /* the first one, -2: as it is */
    int positions;                  /* more of each layer */
    const char *message;
} change;

/* The saved file again, with one thing changed. */
static void rewrite(const char *from, const char *to, const change *ch) {
    mlxn_safetensors *file = NULL;
    mlxn_safetensors_writer *w = NULL;
    mlxn_error error;
    mlxn_string key, value;
    CHECK(!mlxn_safetensors_open(st_path(from), &file, &error), "%s", error.message);
    CHECK(!mlxn_safetensors_writer_create(st_path(to), 0, true, &w, &error), "%s", error.message);
    for (uint64_t i = 0; mlxn_safetensors_metadata_at(file, 0, i, &key, &value); i++)
        if (!ch->key || strcmp(ch->key, key.data) != 0 || ch->value)
            mlxn_safetensors_writer_metadata(w, key.data,
                                             ch->key && !strcmp(ch->key, key.data) ? ch->value : value.data, NULL);
    for (int pass = 0; pass < 2; pass++) {
        mlxn_safetensors_tensor t;
        for (uint64_t i = 0; mlxn_safetensors_tensor_at(file, i, &t); i++) {
            uint64_t dims[3] = {0};
            if (ch->tensor && !strcmp(ch->tensor, t.name.data)) continue;
            memcpy(dims, t.dims, t.rank * sizeof *dims);
            if (t.rank == 3) dims[1] += (uint64_t)(int64_t)ch->positions;
            uint64_t bytes = t.rank == 3 ? t.bytes / t.dims[1] * dims[1] : t.bytes;
            uint8_t *data = calloc(bytes + t.bytes, 1);
            memcpy(data, t.data, t.bytes);
            int32_t id = (int32_t)ch->token;
            if (t.rank == 1 && ch->token != -2) memcpy(data, &id, 4);
            if (pass)
                CHECK(!mlxn_safetensors_writer_write(w, data, bytes, &error), "%s", error.message);
            else
                CHECK(!mlxn_safetensors_writer_add(w, t.name.data, t.dtype, t.rank, dims, &error), "%s",
                      error.message);
            free(data);
        }
    }
    CHECK(!mlxn_safetensors_writer_finish(&w, &error), "%s", error.message);
    mlxn_safetensors_close(file);
}

static void refuses(mlxn_context *c, const char *name, mlxn_status want, const char *text) {
    mlxn_error error = {0};
    mlxn_status status = mlxn_context_restore(c, 0, st_path(name), &error);
    CHECK(status == want && strstr(error.message, text), "%s: %s: want \"%s\"", name, error.message, text);
    CHECK(mlxn_context_length(c, 0) == 10, "the sequence is as it was");
}

static void test_refusals(mlxn_model *model, mlxn_model *other) {
    const shape s = {TINY_CTX, 1, 16, MLXN_KV_F16, MLXN_KV_BF16}, keys = {TINY_CTX, 1, 16, MLXN_KV_F32, MLXN_KV_BF16},
                small = {HELD - 1, 1, 16, MLXN_KV_F16, MLXN_KV_BF16};
    mlxn_error e;
    mlxn_context *c = make(model, s);
    feed(c, 0, 0, HELD, NULL);
    CHECK(!mlxn_context_save(c, 0, st_path("state.safetensors"), NULL), "save");
    CHECK(mlxn_context_save(c, 0, st_path("state.bin"), &e) == MLXN_ERR_ARGUMENT && strstr(e.message, ".safetensors"),
          "%s", e.message);
    CHECK(mlxn_context_save(c, 1, st_path("x.safetensors"), &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(mlxn_context_save(c, 0, st_path("none/x.safetensors"), &e) == MLXN_ERR_IO, "%s", e.message);
    CHECK(mlxn_context_restore(c, 1, st_path("state.safetensors"), &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    mlxn_context_truncate(c, 0, 10, NULL);
    refuses(c, "absent.safetensors", MLXN_ERR_IO, "absent");
    mlxn_context *d = make(other, s);
    feed(d, 0, 0, 10, NULL);
    refuses(d, "state.safetensors", MLXN_ERR_ARGUMENT, "model is");
    mlxn_context_destroy(d);
    d = make(model, keys);
    feed(d, 0, 0, 10, NULL);
    refuses(d, "state.safetensors", MLXN_ERR_ARGUMENT, "keys is \"f16\", want \"f32\"");
    mlxn_context_destroy(d);
    d = make(model, small);
    feed(d, 0, 0, 10, NULL);
    refuses(d, "state.safetensors", MLXN_ERR_LIMIT, "100 tokens, the context holds 99");
    mlxn_context_destroy(d);
    static const change changes[] = {
        {"nothing", NULL, NULL, NULL, -2, 0, NULL},
        {"no format", "format", NULL, NULL, -2, 0, "is no saved cache"},
        {"format", "format", "pt", NULL, -2, 0, "format is \"pt\""},
        {"version", "version", "2", NULL, -2, 0, "version is \"2\", want \"1\""},
        {"token", NULL, NULL, NULL, TINY_VOCAB, 0, "token 0 is 300, want 0 to 299"},
        {"negative", NULL, NULL, NULL, -1, 0, "token 0 is -1"},
        {"no tokens", NULL, NULL, "tokens", -2, 0, "\"tokens\""},
        {"no layer", NULL, NULL, "layers.1.values", -2, 0, "tensor \"layers.1.values\" is missing"},
        {"more positions", NULL, NULL, NULL, -2, 1, "[2, 101, 16]"},
        {"fewer positions", NULL, NULL, NULL, -2, -1, "want F16 [2, 100 to 100, 16]"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        rewrite("state.safetensors", "changed.safetensors", &changes[i]);
        if (changes[i].message)
            refuses(c, "changed.safetensors", MLXN_ERR_FORMAT, changes[i].message);
        else
            CHECK(!mlxn_context_restore(c, 0, st_path("changed.safetensors"), &e), "%s", e.message);
        mlxn_context_truncate(c, 0, 10, NULL);
    }
    mlxn_context_destroy(c);
}

int main(void) {
    static const char *const archs[] = {"llama", "qwen2", "gemma3"};
    static const struct { mlxn_kv_type k, v; } types[] = {{MLXN_KV_F32, MLXN_KV_F32}, {MLXN_KV_F16, MLXN_KV_BF16}};
    st_make_folder();
    device = tiny_device(MLXN_PRECISION_F32, 2);
    mlxn_model *models[3];
    for (int i = 0; i < 3; i++) {
        bool sliding = i == 2;
        models[i] = tiny_load(device, archs[i]);
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            test_goes_on(models[i], archs[i], types[t].k, types[t].v);
        if (sliding) test_goes_on(models[i], archs[i], MLXN_KV_Q8_0, MLXN_KV_Q4_0); /* heads of 32 */
        test_truncate(models[i], archs[i], sliding);
        test_reuse(models[i], archs[i], sliding);
    }
    test_refusals(models[0], models[1]);
    for (int i = 0; i < 3; i++) mlxn_model_release(&models[i]);
    mlxn_device_release(&device);
    st_remove_folder();
    return TEST_DONE();
}
