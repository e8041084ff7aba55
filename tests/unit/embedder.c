/* Promise: vectors of texts by BERT models are those of Hugging Face transformers in float32
 * (tests/vectors/models/bert*.json), within 1e-5 of the largest element, with every pooling, plain, in shards and
 * quantized by MLX; a text's vector has the same bits whatever comes with it, on any number of threads; what the
 * folder says of pooling and norm holds unless the caller says otherwise; wrong folders and calls get messages that
 * name the thing. */
#include <mlxn/embed.h>

#include "unit/lm_folder.h"

enum { WIDTH = 64, TEXTS = 5 };

typedef struct texts {
    mlxn_token ids[256];
    uint32_t lengths[TEXTS];
} texts;

static texts texts_of(const fm *m) {
    texts out = {.ids = {0}};
    size_t i, k, n = 0;
    json_t *text, *id;
    json_array_foreach(json_object_get(m->root, "texts"), i, text) {
        out.lengths[i] = (uint32_t)json_array_size(text);
        json_array_foreach(text, k, id) out.ids[n++] = (mlxn_token)json_integer_value(id);
    }
    return out;
}

static mlxn_device *open_device(mlxn_precision precision, uint32_t threads) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = precision, .threads = threads};
    mlxn_device *device = NULL;
    CHECK(!mlxn_device_create(&desc, &device, NULL), "device");
    return device;
}

static mlxn_embedder *load(mlxn_device *device, const char *path, mlxn_embedder_desc desc) {
    mlxn_embedder *m = NULL;
    mlxn_error error;
    desc.struct_size = sizeof desc;
    CHECK(!mlxn_embedder_load(device, path, &desc, &m, &error), "%s", error.message);
    return m;
}

static void run(mlxn_embedder *m, const texts *t, float *out) {
    mlxn_error error;
    memset(out, 0, TEXTS * WIDTH * sizeof *out);
    if (m) CHECK(!mlxn_embed_ids(m, t->ids, t->lengths, TEXTS, out, &error), "%s", error.message);
}

/* The largest difference as a part of the largest element; `unit`: the stored vectors brought to length 1. */
static double difference(const float *got, const fm *m, const char *kind, bool unit) {
    double most = 0, size = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        json_t *want = json_array_get(json_object_get(m->root, kind), i);
        double length = 0;
        for (size_t c = 0; c < WIDTH; c++) length += pow(json_number_value(json_array_get(want, c)), 2);
        length = unit ? sqrt(length) : 1;
        for (size_t c = 0; c < WIDTH; c++) {
            double w = json_number_value(json_array_get(want, c)) / length, d = fabs((double)got[i * WIDTH + c] - w);
            if (!(d <= most)) most = d;
            if (fabs(w) > size) size = fabs(w);
        }
    }
    return most / size;
}

static void test_same(const char *name) {
    fm m;
    float got[TEXTS * WIDTH], again[TEXTS * WIDTH];
    if (!fm_open(&m, name)) return;
    const texts t = texts_of(&m);
    for (int precision = 0; precision < 2; precision++)
        for (int shards = 0; shards < 2; shards++) {
            mlxn_device *device =
                open_device(precision ? MLXN_PRECISION_F32 : MLXN_PRECISION_FAST, 1 + (uint32_t)shards);
            const char *folder = fm_write(&m, shards ? 20000 : 0, NULL, NULL);
            mlxn_embedder *e =
                load(device, folder, (mlxn_embedder_desc){.pooling = MLXN_POOL_MEAN, .normalize = MLXN_NORMALIZE_NO});
            run(e, &t, got);
            CHECK(difference(got, &m, "mean", false) < 1e-5, "%s: mean, %g", name,
                  difference(got, &m, "mean", false));
            if (precision && shards) CHECK(!memcmp(got, again, sizeof got), "%s: threads", name);
            if (precision) memcpy(again, got, sizeof again);
            mlxn_embedder_destroy(e);
            e = load(device, folder,
                     (mlxn_embedder_desc){.pooling = MLXN_POOL_CLS, .normalize = MLXN_NORMALIZE_YES, .n_batch = 50});
            run(e, &t, got);
            CHECK(difference(got, &m, "cls", true) < 1e-5, "%s: first, %g", name, difference(got, &m, "cls", true));
            mlxn_embedder_destroy(e);
            fm_remove_folder(folder);
            mlxn_device_release(&device);
        }
    fm_close(&m);
}

/* One at a time, in any company, in passes of one text or of all. */
static void test_alone(void) {
    fm m;
    float all[TEXTS * WIDTH], one[WIDTH];
    if (!fm_open(&m, "bert")) return;
    const texts t = texts_of(&m);
    mlxn_device *device = open_device(MLXN_PRECISION_FAST, 2);
    const char *folder = fm_write(&m, 0, NULL, NULL);
    mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){0}),
                  *small = load(device, folder, (mlxn_embedder_desc){.n_batch = 1});
    run(e, &t, all);
    size_t at = 0;
    for (size_t i = 0; i < TEXTS; at += t.lengths[i++]) {
        CHECK(!mlxn_embed_ids(e, t.ids + at, &t.lengths[i], 1, one, NULL), "text %d", (int)i);
        CHECK(!memcmp(one, all + i * WIDTH, sizeof one), "text %d alone", (int)i);
    }
    float other[TEXTS * WIDTH];
    run(small, &t, other);
    CHECK(!memcmp(other, all, sizeof all), "passes of another size");
    mlxn_embedder_destroy(small);
    mlxn_embedder_destroy(e);
    fm_remove_folder(folder);
    mlxn_device_release(&device);
    fm_close(&m);
}

static void test_quantized(void) {
    fm m;
    float got[TEXTS * WIDTH], want[TEXTS * WIDTH];
    if (!fm_open(&m, "bert")) return;
    const texts t = texts_of(&m);
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 2);
    const fm_quant coded = {MLXN_QUANT_AFFINE, 8, 32, MLXN_F16, false};
    fm_quant plain = coded;
    plain.dequantized = true;
    for (int i = 0; i < 2; i++) {
        if (!i) {
            json_t *q = json_pack("{s:i,s:i}", "bits", 8, "group_size", 32);
            json_object_set_new(m.config, "quantization", q);
        } else {
            json_object_del(m.config, "quantization");
        }
        const char *folder = fm_write(&m, 0, fm_all, i ? &plain : &coded);
        mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){0});
        run(e, &t, i ? want : got);
        mlxn_embedder_destroy(e);
        fm_remove_folder(folder);
    }
    double most = 0;
    for (int i = 0; i < TEXTS * WIDTH; i++) most = fmax(most, fabs((double)got[i] - (double)want[i]));
    CHECK(most < 1e-5, "quantized against dequantized: %g", most);
    mlxn_device_release(&device);
    fm_close(&m);
}

/* The names of GGUF files. */
static void gguf_name(const char *name, char out[96]) {
    static const char *const names[][2] = {{"attention.self.query", "attn_q"},
                                           {"attention.self.key", "attn_k"},
                                           {"attention.self.value", "attn_v"},
                                           {"attention.output.dense", "attn_output"},
                                           {"attention.output.LayerNorm", "attn_output_norm"},
                                           {"intermediate.dense", "ffn_up"},
                                           {"output.LayerNorm", "layer_output_norm"},
                                           {"output.dense", "ffn_down"},
                                           {"word_embeddings", "token_embd"},
                                           {"position_embeddings", "position_embd"},
                                           {"token_type_embeddings", "token_types"},
                                           {"LayerNorm", "token_embd_norm"}};
    int layer = -1, used = 0;
    sscanf(name, "encoder.layer.%d.%n", &layer, &used);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *at = strstr(name, names[i][0]);
        if (!at) continue;
        snprintf(out, 96, layer >= 0 ? "blk.%d.%s%s" : "%.0d%s%s", layer >= 0 ? layer : 0, names[i][1],
                 at + strlen(names[i][0]));
        return;
    }
    CHECK(false, "no name for %s", name);
}

/* The same weights as a GGUF file: the same bits. */
static void test_gguf(void) {
    static const char *const numbers[][2] = {{"block_count", "num_hidden_layers"},
                                             {"embedding_length", "hidden_size"},
                                             {"feed_forward_length", "intermediate_size"},
                                             {"attention.head_count", "num_attention_heads"},
                                             {"context_length", "max_position_embeddings"}};
    fm m;
    float want[TEXTS * WIDTH], got[TEXTS * WIDTH];
    mlxn_gguf_writer *w = NULL;
    mlxn_error error;
    char key[96], path[600];
    if (!fm_open(&m, "bert")) return;
    const texts t = texts_of(&m);
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 2);
    const char *folder = fm_write(&m, 0, NULL, NULL);
    mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){.pooling = MLXN_POOL_LAST});
    run(e, &t, want);
    mlxn_embedder_destroy(e);
    snprintf(path, sizeof path, "%s/bert.gguf", folder);
    CHECK(!mlxn_gguf_writer_create(path, false, &w, &error), "%s", error.message);
    mlxn_gguf_writer_set_text(w, "general.architecture", "bert", NULL);
    for (size_t i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "bert.%s", numbers[i][0]);
        mlxn_gguf_writer_set_u32(w, key, (uint32_t)json_integer_value(json_object_get(m.config, numbers[i][1])),
                                 NULL);
    }
    mlxn_gguf_writer_set_f32(w, "bert.attention.layer_norm_epsilon", 1e-12f, NULL);
    mlxn_gguf_writer_set_u32(w, "bert.pooling_type", 3, NULL);
    for (size_t i = 0; i < m.n_tensors; i++) {
        gguf_name(m.tensors[i].name, key);
        CHECK(!mlxn_gguf_writer_add_tensor(w, key, 0, m.tensors[i].rank, m.tensors[i].dims, &error), "%s",
              error.message);
    }
    for (size_t i = 0; i < m.n_tensors; i++) {
        float *values = fm_values(&m.tensors[i]);
        CHECK(!mlxn_gguf_writer_write(w, values, m.tensors[i].elements * 4, &error), "%s", error.message);
        free(values);
    }
    CHECK(!mlxn_gguf_writer_finish(&w, &error), "%s", error.message);
    e = load(device, path, (mlxn_embedder_desc){0});
    run(e, &t, got);
    CHECK(!memcmp(got, want, sizeof got), "from GGUF");
    const char *text = "x";
    CHECK(mlxn_embed_texts(e, &text, NULL, 1, got, NULL, &error) == MLXN_ERR_NOT_FOUND &&
              strstr(error.message, "tokenizer"),
          "%s", error.message);
    mlxn_embedder_destroy(e);
    unlink(path);
    fm_remove_folder(folder);
    mlxn_device_release(&device);
    fm_close(&m);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f), "%s", path);
}

static void test_modules(void) {
    static const struct {
        const char *pooling, *modules;
        mlxn_pooling want;
        bool normalized;
    } cases[] = {{NULL, NULL, MLXN_POOL_MEAN, true},
                 {"{\"pooling_mode_cls_token\":true}", "[{\"type\":\"a.Transformer\"}]", MLXN_POOL_CLS, false},
                 {"{\"pooling_mode_lasttoken\":true}", "[{\"type\":\"a.Pooling\"},{\"type\":\"a.Normalize\"}]",
                  MLXN_POOL_LAST, true},
                 {"{\"pooling_mode_mean_tokens\":true}", "[]", MLXN_POOL_MEAN, false}};
    fm m;
    if (!fm_open(&m, "bert")) return;
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *folder = fm_write(&m, 0, NULL, NULL);
        char sub[600];
        snprintf(sub, sizeof sub, "%s/1_Pooling", folder);
        if (cases[i].pooling) CHECK(!mkdir(sub, 0777), "%s", sub);
        if (cases[i].pooling) write_text(sub, "config.json", cases[i].pooling);
        if (cases[i].modules) write_text(folder, "modules.json", cases[i].modules);
        mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){0});
        mlxn_embedder_info info = {.struct_size = sizeof info};
        CHECK(!mlxn_embedder_get_info(e, &info) && info.pooling == cases[i].want &&
                  info.normalized == cases[i].normalized,
              "case %d", (int)i);
        CHECK(
            info.n_embd == WIDTH && info.n_ctx == 48 && info.n_vocab == 96 && info.n_layers == 3 && info.n_heads == 4,
            "shape");
        mlxn_embedder_destroy(e);
        snprintf(sub, sizeof sub, "%s/1_Pooling/config.json", folder);
        unlink(sub);
        snprintf(sub, sizeof sub, "%s/1_Pooling", folder);
        rmdir(sub);
        fm_remove_folder(folder);
    }
    mlxn_device_release(&device);
    fm_close(&m);
}

static void refuses(mlxn_device *device, fm *m, const char *key, json_t *value, mlxn_status want, const char *text) {
    json_t *old = json_incref(json_object_get(m->config, key));
    if (value)
        json_object_set_new(m->config, key, value);
    else
        json_object_del(m->config, key);
    const char *folder = fm_write(m, 0, NULL, NULL);
    mlxn_embedder *e = NULL;
    mlxn_error error = {0};
    mlxn_status status = mlxn_embedder_load(device, folder, NULL, &e, &error);
    CHECK(status == want && !e && strstr(error.message, text), "%s: %d: %s: want \"%s\"", key, (int)status,
          error.message, text);
    mlxn_embedder_destroy(e);
    fm_remove_folder(folder);
    if (old)
        json_object_set_new(m->config, key, old);
    else
        json_object_del(m->config, key);
}

static void test_refusals(void) {
    fm m;
    mlxn_error error;
    if (!fm_open(&m, "bert")) return;
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 1);
    refuses(device, &m, "model_type", json_string("distilbert"), MLXN_ERR_UNSUPPORTED,
            "\"distilbert\", want \"bert\", \"roberta\", \"xlm-roberta\" or one of");
    refuses(device, &m, "model_type", NULL, MLXN_ERR_NOT_FOUND, "model_type");
    refuses(device, &m, "hidden_act", json_string("mish"), MLXN_ERR_UNSUPPORTED, "\"mish\"");
    refuses(device, &m, "num_hidden_layers", json_integer(2000000000), MLXN_ERR_FORMAT, "2000000000");
    refuses(device, &m, "num_hidden_layers", json_integer(900), MLXN_ERR_FORMAT, "900 layers");
    refuses(device, &m, "num_hidden_layers", json_integer(4), MLXN_ERR_NOT_FOUND, "encoder.layer.3.");
    refuses(device, &m, "num_attention_heads", json_integer(3), MLXN_ERR_FORMAT, "3");
    refuses(device, &m, "intermediate_size", json_integer(95), MLXN_ERR_FORMAT, "[96, 64] of rank 2, want [95, 64]");
    refuses(device, &m, "max_position_embeddings", json_integer(1 << 20), MLXN_ERR_FORMAT, "position_embeddings");
    refuses(device, &m, "layer_norm_eps", json_real(-1), MLXN_ERR_FORMAT, "layer_norm_eps");
    refuses(device, &m, "position_embedding_type", json_string("relative_key"), MLXN_ERR_UNSUPPORTED, "relative_key");

    const char *folder = fm_write(&m, 0, NULL, NULL);
    mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){0});
    const mlxn_token ids[] = {1, 2, 96};
    const uint32_t lengths[] = {2, 1}, none[] = {0}, many[] = {49};
    float out[2 * WIDTH];
    CHECK(mlxn_embed_ids(e, ids, lengths, 2, out, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "text 1: token 0 is 96, want 0 to 95"),
          "%s", error.message);
    CHECK(mlxn_embed_ids(e, ids, none, 1, out, &error) == MLXN_ERR_ARGUMENT &&
              strstr(error.message, "0 tokens, want 1 to 48"),
          "%s", error.message);
    CHECK(mlxn_embed_ids(e, ids, many, 1, out, &error) == MLXN_ERR_ARGUMENT && strstr(error.message, "49 tokens"),
          "%s", error.message);
    CHECK(!mlxn_embed_ids(e, NULL, NULL, 0, NULL, &error), "no texts: %s", error.message);
    CHECK(mlxn_embed_ids(NULL, ids, lengths, 1, out, &error) == MLXN_ERR_ARGUMENT, "NULL");
    mlxn_embedder_desc wrong = {.struct_size = sizeof wrong, .pooling = (mlxn_pooling)4};
    mlxn_embedder *none_made = NULL;
    CHECK(mlxn_embedder_load(device, folder, &wrong, &none_made, &error) == MLXN_ERR_ARGUMENT && !none_made, "%s",
          error.message);
    CHECK(mlxn_embedder_load(device, "/absent/x", NULL, &none_made, &error) == MLXN_ERR_IO, "%s", error.message);
    mlxn_embedder_destroy(e);
    fm_remove_folder(folder);
    mlxn_device_release(&device);
    fm_close(&m);
}

int main(void) {
    test_same("bert");
    test_same("bert-prefix");
    test_same("roberta");
    test_same("xlm-roberta");
    test_alone();
    test_quantized();
    test_gguf();
    test_modules();
    test_refusals();
    return TEST_DONE();
}
