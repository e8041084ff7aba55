/* Promise: a folder as MLX quantizes it, in every format and with parameters of single modules in both spellings of
 * the config, gives the logits of the same weights dequantized; also where rows of one tensor are several matrices,
 * where the embedding is quantized and is the head, where names have a prefix, and where experts are kept as
 * gpt-oss was published. */
#include "lm_blocks.h"

static mlxn_device *device;

static double difference(const float *a, const float *b, size_t n) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)a[i]) < 1e30)) return INFINITY;
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

static json_t *section_of(const fm_quant *q) {
    json_t *out = json_pack("{s:i,s:i}", "group_size", (int)q->group, "bits", (int)q->bits);
    if (q->mode != MLXN_QUANT_AFFINE) json_object_set_new(out, "mode", json_string(mlxn_quant_mode_name(q->mode)));
    return out;
}

/* Logits of the folder that `rule` makes; free() them. */
static float *logits_of(const fm *m, fm_rule rule, const void *user) {
    const char *folder = fm_write(m, 0, rule, user);
    mlxn_model *model = fm_load(device, folder);
    fm_remove_folder(folder);
    float *logits = model ? fm_run(model, m, m->n_ids / 2, 0) : NULL;
    mlxn_model_release(&model);
    return logits;
}

static void compare(fm *m, fm_quant quant, const char *what) {
    json_object_set_new(m->config, "quantization", section_of(&quant));
    float *packed = logits_of(m, fm_all, &quant);
    quant.dequantized = true;
    json_object_del(m->config, "quantization");
    float *plain = logits_of(m, fm_all, &quant);
    double d = packed && plain ? difference(packed, plain, m->n_ids * 128) : INFINITY;
    CHECK(d < 1e-4, "%s, %s: logits are off by %g of the largest", m->name, what, d);
    free(packed);
    free(plain);
}

static void test_formats(void) {
    static const uint32_t bits[] = {2, 3, 4, 5, 6, 8}, groups[] = {32, 64, 128};
    static const mlxn_dtype scales[] = {MLXN_F16, MLXN_BF16, MLXN_F32};
    fm m;
    char what[64];
    if (!fm_open(&m, "llama")) return;
    for (int b = 0; b < 6; b++) {
        for (int g = 0; g < 3; g++) {
            mlxn_dtype dtype = scales[(b + g) % 3];
            snprintf(what, sizeof what, "affine %u bits by %u, scales %s", bits[b], groups[g],
                     mlxn_dtype_name(dtype));
            compare(&m, (fm_quant){MLXN_QUANT_AFFINE, bits[b], groups[g], dtype, false}, what);
        }
    }
    compare(&m, (fm_quant){MLXN_QUANT_MXFP4, 4, 32, MLXN_U8, false}, "mxfp4");
    compare(&m, (fm_quant){MLXN_QUANT_MXFP8, 8, 32, MLXN_U8, false}, "mxfp8");
    compare(&m, (fm_quant){MLXN_QUANT_NVFP4, 4, 16, MLXN_U8, false}, "nvfp4");
    fm_close(&m);
    /* slices; a prefix; a tied head; stacks of experts */
    static const char *const others[] = {"phi3", "gemma3-old", "llama3", "qwen3_moe-mlx", "gpt_oss"};
    for (int i = 0; i < 5; i++) {
        if (!fm_open(&m, others[i])) return;
        compare(&m, (fm_quant){MLXN_QUANT_AFFINE, 4, 32, MLXN_BF16, false}, "affine 4 bits by 32");
        fm_close(&m);
    }
}

/* ---- parameters of single modules ---- */

static const fm_quant usual = {MLXN_QUANT_AFFINE, 4, 64, MLXN_F16, false};
static const fm_quant finer = {MLXN_QUANT_AFFINE, 8, 32, MLXN_F16, false};
static const fm_quant other = {MLXN_QUANT_MXFP4, 4, 32, MLXN_U8, false};

/* user: not NULL: dequantized */
static const fm_quant *mixed(const fm_tensor *t, const void *user) {
    static fm_quant out;
    if (t->rank != 2 || strstr(t->name, "layers.0.self_attn.q_proj")) return NULL;
    out = strstr(t->name, "embed_tokens") ? finer : strstr(t->name, "layers.1.mlp.down_proj.") ? other : usual;
    out.dequantized = user != NULL;
    return &out;
}

static void test_modules(void) {
    fm m;
    if (!fm_open(&m, "llama")) return;
    json_t *section = section_of(&usual);
    json_object_set_new(section, "model.embed_tokens", section_of(&finer));
    json_object_set_new(section, "model.layers.1.mlp.down_proj", section_of(&other));
    json_object_set_new(section, "model.layers.0.self_attn.q_proj", json_false());
    static const char *const spellings[] = {"quantization", "quantization_config"};
    float *logits[3] = {NULL};
    for (int i = 0; i < 2; i++) {
        json_object_set(m.config, spellings[i], section);
        logits[i] = logits_of(&m, mixed, NULL);
        json_object_del(m.config, spellings[i]);
    }
    logits[2] = logits_of(&m, mixed, &m);
    json_decref(section);
    if (logits[0] && logits[1] && logits[2]) {
        CHECK(memcmp(logits[0], logits[1], m.n_ids * 128 * sizeof **logits) == 0, "the spelling changes logits");
        double d = difference(logits[0], logits[2], m.n_ids * 128);
        CHECK(d < 1e-4, "modules of their own parameters: logits are off by %g of the largest", d);
    }
    for (int i = 0; i < 3; i++) free(logits[i]);
    fm_close(&m);
}

/* ---- experts as gpt-oss was published ---- */

static void test_blocks(void) {
    fm m;
    if (!fm_open(&m, "gpt_oss")) return;
    float *plain = logits_of(&m, fm_experts_alone, &m);
    json_object_set_new(m.config, "quantization_config", json_pack("{s:s}", "quant_method", "mxfp4"));
    const char *folder = fm_write_blocks(&m);
    mlxn_model *model = fm_load(device, folder);
    fm_remove_folder(folder);
    float *blocks = model ? fm_run(model, &m, m.n_ids / 2, 0) : NULL;
    mlxn_model_release(&model);
    double d = plain && blocks ? difference(blocks, plain, m.n_ids * 128) : INFINITY;
    CHECK(d < 1e-4, "experts in blocks: logits are off by %g of the largest", d);
    free(plain);
    free(blocks);
    fm_close(&m);
}

int main(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 2};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    test_formats();
    test_modules();
    test_blocks();
    mlxn_device_release(&device);
    return TEST_DONE();
}
