/* Promise: `mlxn_convert_folder` with a quantization gives, of a folder as Hugging Face publishes it, the folder that
 * MLX keeps: experts in stacks (one by one before, or gates and ups joined), routers in 8 bits, hybrids with norms
 * and convolutions in MLX's form; it loads, and its logits are those of the same weights dequantized. gpt-oss as it
 * was published becomes GGUF and MLX with the codes of its experts untouched. Damaged experts are refused by name. */
#include <mlxn/convert.h>

#include "lm_blocks.h"

static mlxn_device *device;
static const mlxn_convert_options again = {.struct_size = sizeof again, .overwrite = true};

static double difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)a[i]) < 1e30)) return INFINITY;
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

/* With MLXN_KEEP in the environment, folders stay for other programs to read. */
static void drop(const char *folder) {
    if (getenv("MLXN_KEEP"))
        printf("kept %s\n", folder);
    else
        fm_remove_folder(folder);
}

static bool ends(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* ---- what MLX quantizes, and how ---- */

typedef struct rule {
    fm_quant usual;
    bool router; /* it is quantized */
    bool blocks; /* experts are mxfp4 */
} rule;

static bool is_router(const fm_tensor *t) {
    return ends(t->name, "mlp.gate.weight") || ends(t->name, "shared_expert_gate.weight") ||
           ends(t->name, "router.weight") || ends(t->name, "router.proj.weight");
}

static const fm_quant *dequantized(const fm_tensor *t, const void *user) {
    static fm_quant out;
    const rule *r = user;
    bool joined = ends(t->name, "experts.gate_up_proj") || ends(t->name, "experts.down_proj");
    if (t->rank < 2 || (!joined && !ends(t->name, ".weight")) || strstr(t->name, "conv1d")) return NULL;
    if (is_router(t) && !r->router) return NULL;
    out = r->blocks && t->rank == 3 ? fm_expert_quant : r->usual;
    if (is_router(t)) out = (fm_quant){.mode = MLXN_QUANT_AFFINE, .bits = 8, .group = 64};
    if (t->dims[t->rank - 1] % out.group || t->dims[t->rank - 1] % r->usual.group) return NULL;
    if (out.mode == MLXN_QUANT_AFFINE) out.scale_dtype = !strcmp(t->dtype, "BF16") ? MLXN_BF16 : MLXN_F32;
    out.dequantized = true;
    return &out;
}

static float *run(const char *path, const fm *m) {
    mlxn_model *model = fm_load(device, path);
    float *logits = model ? fm_run(model, m, m->n_ids / 2, 0) : NULL;
    mlxn_model_release(&model);
    return logits;
}

static void expect_logits(const char *path, const fm *m, const float *want, const char *what) {
    float *have = run(path, m);
    double d = have && want ? difference(have, want, m->n_ids * 128) : INFINITY;
    CHECK(d < 1e-4, "%s, %s: logits are off by %g of the largest", m->name, what, d);
    printf("%s, %s: off by %.2g\n", m->name, what, d);
    free(have);
}

/* The layout: experts in stacks, convolutions as [channels, taps, 1], and what config.json says of routers. */
static void expect_layout(const char *path, const fm *m, bool router) {
    mlxn_safetensors *file = NULL;
    mlxn_safetensors_tensor t;
    mlxn_error error = {0};
    char name[400];
    bool stacks = false, parts = false, convolution = false, shape = true;
    CHECK(!mlxn_safetensors_open(path, &file, &error), "%s", error.message);
    for (uint64_t i = 0; file && mlxn_safetensors_tensor_at(file, i, &t); i++) {
        stacks |= t.rank == 3 && (strstr(t.name.data, "switch_mlp.gate_proj.scales") ||
                                  strstr(t.name.data, "switch_glu.gate_proj.scales") ||
                                  strstr(t.name.data, "experts.gate_proj.scales"));
        parts |= strstr(t.name.data, "experts.0.") || strstr(t.name.data, "gate_up_proj");
        if (strstr(t.name.data, "conv1d")) {
            convolution = true;
            shape &= t.rank == 3 && t.dims[2] == 1 && t.dims[1] > 1;
        }
    }
    mlxn_safetensors_close(file);
    json_t *config = NULL;
    snprintf(name, sizeof name, "%s/config.json", path);
    config = json_load_file(name, 0, NULL);
    int routers = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(config, "quantization"), key, value) routers +=
        (ends(key, ".gate") || ends(key, "router") || ends(key, "router.proj")) &&
        json_integer_value(json_object_get(value, "bits")) == 8;
    CHECK(stacks && !parts, "%s: experts are %sin stacks, %sapart", m->name, stacks ? "" : "not ",
          parts ? "" : "not ");
    CHECK(shape, "%s: %sconvolutions are not [channels, taps, 1]", m->name, convolution ? "" : "there are none; ");
    CHECK((routers > 0) == router, "%s: %d routers of 8 bits", m->name, routers);
    json_decref(config);
}

static void test_experts(const char *name, bool router) {
    fm m;
    char quantized[300], file[300], back[300];
    mlxn_error error = {0};
    mlxn_convert_options options = again;
    rule r = {.usual = {.mode = MLXN_QUANT_AFFINE, .bits = 4, .group = 32}, .router = router};
    if (!fm_open(&m, name)) return;
    const char *reference = fm_write(&m, 0, dequantized, &r), *folder = fm_write(&m, 0, NULL, NULL);
    float *want = run(reference, &m);
    snprintf(quantized, sizeof quantized, "%s.mlx", folder);
    options.quantize = "affine4g32";
    CHECK(!mlxn_convert_folder(folder, quantized, &options, NULL, &error), "%s: %s", name, error.message);
    expect_layout(quantized, &m, router);
    expect_logits(quantized, &m, want, "quantized");
    if (!strcmp(name, "qwen3_moe")) { /* and by way of GGUF, which has stacks */
        fm_write_tokenizer(folder);
        snprintf(file, sizeof file, "%s.gguf", folder);
        snprintf(back, sizeof back, "%s.back", folder);
        CHECK(!mlxn_convert_gguf(folder, file, &again, NULL, &error), "%s: %s", name, error.message);
        options.dtype = "bf16"; /* of its scales, as before */
        CHECK(!mlxn_convert_folder(file, back, &options, NULL, &error), "%s: %s", name, error.message);
        expect_layout(back, &m, router);
        expect_logits(back, &m, want, "quantized by way of GGUF");
        unlink(file);
        drop(back);
    }
    free(want);
    drop(reference);
    drop(folder);
    drop(quantized);
    fm_close(&m);
}

/* ---- Gemma 4 without experts: inputs of single layers, shared caches, heads of two lengths ---- */

static void test_gemma4(void) {
    fm m;
    char quantized[300], path[400];
    mlxn_error error = {0};
    mlxn_safetensors *file = NULL;
    mlxn_safetensors_tensor t;
    mlxn_convert_options options = again;
    rule r = {.usual = {.mode = MLXN_QUANT_AFFINE, .bits = 4, .group = 64}};
    if (!fm_open(&m, "gemma4")) return;
    const char *reference = fm_write(&m, 0, dequantized, &r), *folder = fm_write(&m, 0, NULL, NULL);
    float *want = run(reference, &m), *whole = run(folder, &m);
    snprintf(quantized, sizeof quantized, "%s.mlx", folder);
    options.quantize = "affine4g64";
    CHECK(!mlxn_convert_folder(folder, quantized, &options, NULL, &error), "%s", error.message);
    expect_logits(quantized, &m, want, "affine4g64");
    /* Final logits are capped at 50; four bits change them, and do not make others of them. */
    double d = whole && want ? difference(want, whole, m.n_ids * 128) : INFINITY;
    CHECK(d > 1e-4 && d < 1, "quantized logits are off by %g of the largest", d);
    for (size_t i = 0; want && i < m.n_ids * 128; i++)
        CHECK(fabs((double)want[i]) <= 50, "logit %zu is %g, want at most 50", i, (double)want[i]);
    snprintf(path, sizeof path, "%s/model.safetensors", quantized);
    CHECK(!mlxn_safetensors_open(path, &file, &error), "%s", error.message);
    CHECK(file && mlxn_safetensors_find_tensor(file, "model.per_layer_model_projection.scales", &t) &&
              mlxn_safetensors_find_tensor(file, "model.layers.0.mlp.down_proj.weight", &t) &&
              t.dtype == MLXN_ST_BF16, /* rows of 96 are no whole groups */
          "what is quantized");
    mlxn_safetensors_close(file);
    free(want);
    free(whole);
    drop(reference);
    drop(folder);
    drop(quantized);
    fm_close(&m);
}

/* ---- gpt-oss as it was published ---- */

static void set_published(fm *m) {
    json_object_set_new(m->config, "quantization_config",
                        json_pack("{s:s,s:[s]}", "quant_method", "mxfp4", "modules_to_not_convert", "lm_head"));
}

/* All matrices of experts are mxfp4, and no others are. */
static void expect_mxfp4(const char *path) {
    mlxn_gguf *file = NULL;
    mlxn_gguf_tensor t;
    mlxn_error error = {0};
    int experts = 0;
    CHECK(!mlxn_gguf_open(path, &file, &error), "%s", error.message);
    for (uint64_t i = 0; file && mlxn_gguf_tensor_at(file, i, &t); i++) {
        bool is_expert = t.rank == 3;
        experts += is_expert;
        CHECK(is_expert == (t.type == MLXN_FORMAT_MXFP4), "%.*s: type is %u", (int)t.name.size, t.name.data, t.type);
    }
    CHECK(experts == 9, "%d stacks of experts, want 9", experts);
    mlxn_gguf_close(file);
}

static void test_published(void) {
    fm m;
    char path[300];
    mlxn_error error = {0};
    mlxn_convert_options options = again;
    rule r = {.usual = {.mode = MLXN_QUANT_AFFINE, .bits = 8, .group = 32}, .router = true, .blocks = true};
    if (!fm_open(&m, "gpt_oss")) return;
    const char *plain = fm_write(&m, 0, fm_experts_alone, &m), *less = fm_write(&m, 0, dequantized, &r);
    float *want = run(plain, &m), *want_less = run(less, &m);
    set_published(&m);
    const char *folder = fm_write_blocks(&m);
    fm_write_tokenizer(folder);

    snprintf(path, sizeof path, "%s.gguf", folder);
    CHECK(!mlxn_convert_gguf(folder, path, &again, NULL, &error), "%s", error.message);
    expect_mxfp4(path);
    expect_logits(path, &m, want, "published, as GGUF");
    options.quantize = "q8_0"; /* of the others */
    CHECK(!mlxn_convert_gguf(folder, path, &options, NULL, &error), "%s", error.message);
    expect_mxfp4(path);
    unlink(path);

    snprintf(path, sizeof path, "%s.mlx", folder);
    CHECK(!mlxn_convert_folder(folder, path, &again, NULL, &error), "%s", error.message);
    expect_layout(path, &m, false);
    expect_logits(path, &m, want, "published, as MLX");
    options.quantize = "affine8g32";
    CHECK(!mlxn_convert_folder(folder, path, &options, NULL, &error), "%s", error.message);
    expect_layout(path, &m, true);
    expect_logits(path, &m, want_less, "published, as MLX, the rest quantized");
    drop(path);
    drop(plain);
    drop(less);
    drop(folder);
    free(want);
    free(want_less);
    fm_close(&m);
}

/* ---- what is refused ---- */

static void expect_refused(const char *folder, const char *text) {
    char path[300];
    mlxn_error error = {0};
    mlxn_convert_options options = again;
    options.quantize = "affine4g32";
    snprintf(path, sizeof path, "%s.bad", folder);
    mlxn_status status = mlxn_convert_folder(folder, path, &options, NULL, &error);
    CHECK(status && strstr(error.message, text), "status %d: \"%s\", want \"%s\"", status, error.message, text);
    snprintf(path, sizeof path, "%s.bad/model.safetensors", folder);
    CHECK(access(path, F_OK) != 0, "weights were left");
    snprintf(path, sizeof path, "%s.bad", folder);
    rmdir(path);
}

static fm_tensor *find(fm *m, const char *part) {
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strstr(m->tensors[i].name, part)) return &m->tensors[i];
    CHECK(false, "%s: no tensor %s", m->name, part);
    return &m->tensors[0];
}

static void test_refused(void) {
    fm m;
    if (!fm_open(&m, "qwen3_moe")) return;
    fm_tensor *t = find(&m, "layers.1.mlp.experts.2.up_proj"), saved = *t;
    t->name = "model.layers.1.mlp.experts.9.up_proj.weight"; /* one is missing, and one too many is there */
    const char *folder = fm_write(&m, 0, NULL, NULL);
    expect_refused(folder, "is missing");
    fm_remove_folder(folder);
    t->name = "model.layers.1.mlp.experts.999999.up_proj.weight"; /* more than there are tensors */
    folder = fm_write(&m, 0, NULL, NULL);
    expect_refused(folder, "want a matrix of one of");
    fm_remove_folder(folder);
    *t = saved;
    t->dims[0] /= 2;
    t->elements /= 2;
    folder = fm_write(&m, 0, NULL, NULL);
    expect_refused(folder, "is not like that of the first expert");
    fm_remove_folder(folder);
    fm_close(&m);

    if (!fm_open(&m, "qwen3_5_moe")) return;
    t = find(&m, "experts.gate_up_proj");
    t->dims[1]--;
    t->elements = t->dims[0] * t->dims[1] * t->dims[2];
    folder = fm_write(&m, 0, NULL, NULL);
    expect_refused(folder, "is no stack of matrices of 2 parts");
    fm_remove_folder(folder);
    fm_close(&m);

    if (!fm_open(&m, "gpt_oss")) return;
    set_published(&m);
    folder = fm_new_folder(); /* codes without scales */
    mlxn_safetensors_writer *w = NULL;
    mlxn_error error = {0};
    const uint64_t dims[] = {1, 2, 1, 16};
    uint8_t codes[32] = {0};
    CHECK(!mlxn_safetensors_writer_create(folder, 0, false, &w, &error) &&
              !mlxn_safetensors_writer_add(w, "model.layers.0.mlp.experts.gate_up_proj_blocks", MLXN_ST_U8, 4, dims,
                                           &error) &&
              !mlxn_safetensors_writer_write(w, codes, sizeof codes, &error) &&
              !mlxn_safetensors_writer_finish(&w, &error),
          "%s", error.message);
    fm_write_config(&m, folder);
    expect_refused(folder, "there are no scales for it");
    fm_remove_folder(folder);
    fm_close(&m);
}

int main(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 2};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    static const char *const names[] = {"qwen3_moe",   "qwen3_moe-mlx", "qwen3_next",
                                        "qwen3_5_moe", "gpt_oss",       "gemma4-moe"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) test_experts(names[i], true);
    test_experts("deepseek_v2", false);
    test_experts("deepseek_v2-groups", false);
    test_gemma4();
    test_published();
    test_refused();
    mlxn_device_release(&device);
    return TEST_DONE();
}
