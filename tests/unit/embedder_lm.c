/* Promise: vectors of texts by models like Qwen3-Embedding (tokens see those before them; the last one's vector) and
 * EmbeddingGemma (tokens see all, or half a window on either side; mean; dense layers) are those of
 * sentence-transformers in float32 (tests/vectors/models), within 1e-5 of the largest element, plain and quantized; a
 * text's vector has the same bits whatever comes with it, on any number of threads and in passes of any size. Prompts
 * come before texts, and what a template puts behind a text stays when it is cut. Modules, prompts and files that do
 * not fit are refused by name. */
#include <mlxn/embed.h>

#include "unit/lm_embed.h"

enum { TEXTS = 5, MOST_WIDTH = 64 };

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

static uint32_t width_of(const fm *m) {
    return (uint32_t)json_array_size(json_array_get(json_object_get(m->root, "vectors"), 0));
}

static mlxn_device *open_device(mlxn_precision precision, uint32_t threads) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = precision, .threads = threads};
    mlxn_device *device = NULL;
    CHECK(!mlxn_device_create(&desc, &device, NULL), "device");
    return device;
}

static mlxn_embedder *load(mlxn_device *device, const char *path, mlxn_embedder_desc desc) {
    mlxn_embedder *m = NULL;
    mlxn_error error = {0};
    desc.struct_size = sizeof desc;
    CHECK(!mlxn_embedder_load(device, path, &desc, &m, &error), "%s", error.message);
    return m;
}

/* ---- vectors ---- */

static void run(mlxn_embedder *e, const texts *t, float *out) {
    mlxn_error error;
    memset(out, 0, TEXTS * MOST_WIDTH * sizeof *out);
    if (e) CHECK(!mlxn_embed_ids(e, t->ids, t->lengths, TEXTS, out, &error), "%s", error.message);
}

/* The largest difference as a part of the largest element. */
static double difference(const float *got, const fm *m) {
    double most = 0, size = 0;
    uint32_t width = width_of(m);
    for (size_t i = 0; i < TEXTS; i++) {
        json_t *want = json_array_get(json_object_get(m->root, "vectors"), i);
        for (size_t c = 0; c < width; c++) {
            double w = json_number_value(json_array_get(want, c)), d = fabs((double)got[i * width + c] - w);
            if (!(d <= most)) most = d;
            size = fmax(size, fabs(w));
        }
    }
    return most / size;
}

static void test_same(const char *name) {
    fm m;
    float got[TEXTS * MOST_WIDTH], before[TEXTS * MOST_WIDTH], one[MOST_WIDTH];
    if (!fm_open(&m, name)) return;
    const texts t = texts_of(&m);
    const uint32_t width = width_of(&m);
    const char *folder = fm_write_model(&m, NULL, NULL);
    for (uint32_t i = 0; i < 4; i++) {
        mlxn_device *device = open_device(i < 2 ? MLXN_PRECISION_F32 : MLXN_PRECISION_FAST, 1 + i % 2);
        mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){.n_batch = i % 2 ? 3 : 0});
        mlxn_embedder_info info = {.struct_size = sizeof info};
        CHECK(e && !mlxn_embedder_get_info(e, &info) && info.n_embd == width && info.normalized, "%s: info", name);
        run(e, &t, got);
        CHECK(difference(got, &m) < 1e-5, "%s: off by %g", name, difference(got, &m));
        if (i % 2) CHECK(!memcmp(got, before, sizeof got), "%s: threads or passes change bits", name);
        memcpy(before, got, sizeof before);
        size_t at = 0;
        for (size_t k = 0; e && k < TEXTS; at += t.lengths[k++]) {
            CHECK(!mlxn_embed_ids(e, t.ids + at, &t.lengths[k], 1, one, NULL), "text %zu", k);
            CHECK(!memcmp(one, got + k * width, width * sizeof *one), "%s: text %zu alone", name, k);
        }
        mlxn_embedder_destroy(e);
        mlxn_device_release(&device);
    }
    printf("%s: off by %.2g\n", name, difference(got, &m));
    fm_remove_model(folder);
    fm_close(&m);
}

static void test_quantized(const char *name) {
    fm m;
    float got[2][TEXTS * MOST_WIDTH];
    if (!fm_open(&m, name)) return;
    const texts t = texts_of(&m);
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 2);
    fm_quant quant = {MLXN_QUANT_AFFINE, 8, 32, MLXN_F16, false};
    for (int i = 0; i < 2; i++) {
        quant.dequantized = i;
        if (!i) json_object_set_new(m.config, "quantization", json_pack("{s:i,s:i}", "bits", 8, "group_size", 32));
        if (i) json_object_del(m.config, "quantization");
        const char *folder = fm_write_model(&m, fm_all, &quant);
        mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){0});
        run(e, &t, got[i]);
        mlxn_embedder_destroy(e);
        fm_remove_model(folder);
    }
    double most = 0;
    for (int i = 0; i < TEXTS * MOST_WIDTH; i++) most = fmax(most, fabs((double)got[0][i] - (double)got[1][i]));
    CHECK(most < 1e-5, "%s: quantized against dequantized: %g", name, most);
    mlxn_device_release(&device);
    fm_close(&m);
}

/* ---- prompts, and texts that are cut ---- */

/* The vocabulary of fm_write_tokenizer, with token 5 behind every text. */
static void write_tokenizer(const char *folder) {
    char path[600];
    fm_write_tokenizer(folder);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    json_t *root = json_load_file(path, 0, NULL);
    json_t *post =
        json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[], s:{s:{s:s, s:[i], s:[s]}}}", "type",
                  "TemplateProcessing", "single", "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id", "&",
                  "type_id", 0, "pair", "special_tokens", "&", "id", "&", "ids", 5, "tokens", "&");
    CHECK(root && post && !json_object_set_new(root, "post_processor", post) && !json_dump_file(root, path, 0), "%s",
          path);
    json_decref(root);
}

static void test_texts(void) {
    static const char *const text[] = {"abc", "xy: abc"};
    fm m;
    float got[2][MOST_WIDTH];
    size_t n_cut = 9;
    mlxn_error error = {0};
    if (!fm_open(&m, "qwen3-embedding")) return;
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 1);
    const char *folder = fm_write_model(&m, NULL, NULL);
    write_tokenizer(folder);
    json_t *prompts =
        json_pack("{s:{s:s, s:s}, s:s}", "prompts", "query", "xy:", "document", "", "default_prompt_name", "query");
    fm_write_json(folder, "config_sentence_transformers.json", prompts);
    json_decref(prompts);
    /* "xy:abc" by the default prompt, and as a text without one */
    mlxn_embedder *e = load(device, folder, (mlxn_embedder_desc){0}),
                  *plain = load(device, folder, (mlxn_embedder_desc){.prompt_name = ""}),
                  *document = load(device, folder, (mlxn_embedder_desc){.prompt_name = "document"});
    const char *whole = "xy:abc";
    CHECK(!mlxn_embed_texts(e, &text[0], NULL, 1, got[0], NULL, &error) &&
              !mlxn_embed_texts(plain, &whole, NULL, 1, got[1], &n_cut, &error),
          "%s", error.message);
    CHECK(!memcmp(got[0], got[1], sizeof got[0]) && n_cut == 0, "the default prompt");
    CHECK(!mlxn_embed_texts(document, &whole, NULL, 1, got[0], NULL, &error), "%s", error.message);
    CHECK(!memcmp(got[0], got[1], sizeof got[0]), "an empty prompt");
    mlxn_embedder_destroy(e);
    mlxn_embedder_destroy(document);
    e = NULL;
    mlxn_embedder_desc other = {.struct_size = sizeof other, .prompt_name = "passage"};
    CHECK(mlxn_embedder_load(device, folder, &other, &e, &error) == MLXN_ERR_NOT_FOUND && !e &&
              strstr(error.message, "\"passage\", want one of: document, query"),
          "%s", error.message);

    /* cut to 4 tokens: three letters and what the template adds */
    const mlxn_token ids[] = {'a' - '!', 'b' - '!', 'c' - '!', 5};
    const uint32_t four = 4;
    json_t *sentence = json_pack("{s:i}", "max_seq_length", 4);
    fm_write_json(folder, "sentence_bert_config.json", sentence);
    json_decref(sentence);
    e = load(device, folder, (mlxn_embedder_desc){.prompt_name = ""});
    const char *longer = "abcdefgh";
    CHECK(!mlxn_embed_texts(e, &longer, NULL, 1, got[0], &n_cut, &error) &&
              !mlxn_embed_ids(e, ids, &four, 1, got[1], &error),
          "%s", error.message);
    CHECK(n_cut == 1 && !memcmp(got[0], got[1], sizeof got[0]), "a text that is cut");
    mlxn_embedder_destroy(e);
    mlxn_embedder_destroy(plain);
    fm_remove_model(folder);
    mlxn_device_release(&device);
    fm_close(&m);
}

/* ---- what is refused ---- */

typedef struct refusal {
    const char *file, *key; /* of m->root.files, or "config.json" of the model */
    const char *json;
    mlxn_status want;
    const char *text;
} refusal;

static void refuses(mlxn_device *device, fm *m, const refusal *r) {
    json_t *files = json_object_get(m->root, "files");
    json_t *at = strcmp(r->file, "config.json") ? json_object_get(files, r->file) : m->config;
    json_t *old = json_incref(r->key ? json_object_get(at, r->key) : at);
    json_t *value = json_loads(r->json, JSON_DECODE_ANY, NULL);
    json_object_set_new(r->key ? at : files, r->key ? r->key : r->file, value);
    const char *folder = fm_write_model(m, NULL, NULL);
    mlxn_embedder *e = NULL;
    mlxn_error error = {0};
    mlxn_status status = mlxn_embedder_load(device, folder, NULL, &e, &error);
    CHECK(status == r->want && !e && strstr(error.message, r->text), "%s: %d: \"%s\", want \"%s\"", r->file,
          (int)status, error.message, r->text);
    mlxn_embedder_destroy(e);
    fm_remove_model(folder);
    if (old)
        json_object_set_new(r->key ? at : files, r->key ? r->key : r->file, old);
    else
        json_object_del(at, r->key);
}

static void test_refusals(void) {
    static const refusal all[] = {
        {"modules.json", NULL, "[{\"type\":\"x.models.WeightedLayerPooling\",\"path\":\"1\"}]", MLXN_ERR_UNSUPPORTED,
         "module \"WeightedLayerPooling\""},
        {"modules.json", NULL, "[{\"type\":\"x.Dense\",\"path\":\"../2_Dense\"}]", MLXN_ERR_FORMAT, "\"../2_Dense\""},
        {"modules.json", NULL, "[{\"type\":\"x.Dense\",\"path\":\"/etc\"}]", MLXN_ERR_FORMAT, "\"/etc\""},
        {"modules.json", NULL, "[{\"type\":\"x.Dense\",\"path\":\"9_Dense\"}]", MLXN_ERR_NOT_FOUND,
         "9_Dense/config.json is missing"},
        {"modules.json", NULL, "[{\"type\":\"Normalize\"},{\"type\":\"x.Dense\",\"path\":\"2_Dense\"}]",
         MLXN_ERR_UNSUPPORTED, "Dense comes after Normalize"},
        {"1_Pooling/config.json", "pooling_mode", "\"max\"", MLXN_ERR_UNSUPPORTED, "\"max\""},
        {"1_Pooling/config.json", "pooling_mode", "[\"mean\",\"cls\"]", MLXN_ERR_UNSUPPORTED, "\"several\""},
        {"1_Pooling/config.json", NULL, "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}",
         MLXN_ERR_UNSUPPORTED, "\"several\""},
        {"2_Dense/config.json", "in_features", "63", MLXN_ERR_FORMAT, "is 63, want 64"},
        {"2_Dense/config.json", "out_features", "95", MLXN_ERR_FORMAT, "[95, 64]"},
        {"2_Dense/config.json", "out_features", "0", MLXN_ERR_FORMAT, "is 0, want an integer"},
        {"2_Dense/config.json", "bias", "true", MLXN_ERR_NOT_FOUND, "\"linear.bias\" is missing"},
        {"2_Dense/config.json", "use_residual", "true", MLXN_ERR_UNSUPPORTED, "use_residual"},
        {"2_Dense/config.json", "activation_function", "\"torch.nn.modules.activation.Mish\"", MLXN_ERR_UNSUPPORTED,
         "\"Mish\""},
        {"config.json", "num_hidden_layers", "9", MLXN_ERR_NOT_FOUND, "layers.7."},
        {"config.json", "use_bidirectional_attention", "3", MLXN_ERR_FORMAT, "use_bidirectional_attention"},
    };
    fm m;
    mlxn_device *device = open_device(MLXN_PRECISION_F32, 1);
    if (!fm_open(&m, "embeddinggemma")) return;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) refuses(device, &m, &all[i]);
    fm_close(&m);

    /* A model with recurrent layers; and one that sees both ways cannot continue a text. */
    mlxn_embedder *e = NULL;
    mlxn_model *model = NULL;
    mlxn_error error = {0};
    if (!fm_open(&m, "qwen3_5")) return;
    const char *folder = fm_write(&m, 0, NULL, NULL);
    CHECK(mlxn_embedder_load(device, folder, NULL, &e, &error) == MLXN_ERR_UNSUPPORTED && !e &&
              strstr(error.message, "is recurrent"),
          "%s", error.message);
    fm_remove_folder(folder);
    fm_close(&m);
    if (!fm_open(&m, "embeddinggemma")) return;
    folder = fm_write_model(&m, NULL, NULL);
    CHECK(mlxn_model_load(device, folder, NULL, &model, &error) == MLXN_ERR_UNSUPPORTED && !model &&
              strstr(error.message, "use_bidirectional_attention"),
          "%s", error.message);
    fm_remove_model(folder);
    fm_close(&m);
    mlxn_device_release(&device);
}

int main(void) {
    test_same("qwen3-embedding");
    test_same("embeddinggemma");
    test_quantized("qwen3-embedding");
    test_quantized("embeddinggemma");
    test_texts();
    test_refusals();
    return TEST_DONE();
}
