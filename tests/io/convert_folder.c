/* Promise: `mlxn_convert_folder` gives every tensor the bytes that mlx_lm.convert gives it, for every quantization
 * and source dtype (tests/vectors/convert/digests.txt), in one file or in shards, with any number of threads;
 * config.json says how it was quantized and keeps what else it said; tokenizer files come along, tied and derived
 * tensors go; a source that is quantized already, the source's own folder and wrong options are refused; errors and
 * cancelling leave no weights. */
#include <mlxn/config.h>
#include <mlxn/convert.h>

#include "base/base.h"
#include "io/safetensors_writer.h"
#include "test.h"

enum { HIDDEN = 128, FF = 256, VOCAB = 96, LINE = 400 };

static const struct {
    const char *name;
    uint32_t rank;
    uint64_t dims[2];
} tensors[] = {
    {"model.embed_tokens.weight", 2, {VOCAB, HIDDEN}},
    {"lm_head.weight", 2, {VOCAB, HIDDEN}},
    {"model.norm.weight", 1, {HIDDEN}},
    {"model.layers.0.input_layernorm.weight", 1, {HIDDEN}},
    {"model.layers.0.post_attention_layernorm.weight", 1, {HIDDEN}},
    {"model.layers.0.self_attn.q_proj.weight", 2, {HIDDEN, HIDDEN}},
    {"model.layers.0.self_attn.k_proj.weight", 2, {HIDDEN / 2, HIDDEN}},
    {"model.layers.0.self_attn.v_proj.weight", 2, {HIDDEN / 2, HIDDEN}},
    {"model.layers.0.self_attn.o_proj.weight", 2, {HIDDEN, HIDDEN}},
    {"model.layers.0.mlp.gate_proj.weight", 2, {FF, HIDDEN}},
    {"model.layers.0.mlp.up_proj.weight", 2, {FF, HIDDEN}},
    {"model.layers.0.mlp.down_proj.weight", 2, {HIDDEN, FF}},
};
enum { TENSORS = sizeof tensors / sizeof tensors[0] };

static char to[512], from[512]; /* folders */

/* That of make_convert.py. */
static float value_at(uint32_t tensor, uint64_t i) {
    uint32_t hashed = (uint32_t)(i * 2654435761u + tensor * 97531u);
    return (float)((int32_t)(hashed >> 8) - (1 << 23)) / 16777216.0f;
}

static void write_source(const char *dtype, const char *more_config, bool derived) {
    mlxn_st_dtype type = !strcmp(dtype, "float16")    ? MLXN_ST_F16
                         : !strcmp(dtype, "bfloat16") ? MLXN_ST_BF16
                                                      : MLXN_ST_F32;
    mlxn_format format = type == MLXN_ST_F16    ? MLXN_FORMAT_F16
                         : type == MLXN_ST_BF16 ? MLXN_FORMAT_BF16
                                                : MLXN_FORMAT_F32;
    mlxn_safetensors_writer *w = NULL;
    mlxn_error e;
    CHECK(!mlxn_safetensors_writer_create(from, 0, true, &w, &e), "%s", e.message);
    for (int i = 0; i < TENSORS; i++)
        CHECK(!mlxn_safetensors_writer_add(w, tensors[i].name, type, tensors[i].rank, tensors[i].dims, &e), "%s",
              e.message);
    if (derived)
        CHECK(!mlxn_safetensors_writer_add(w, "model.layers.0.self_attn.rotary_emb.inv_freq", MLXN_ST_F32, 1,
                                           (uint64_t[]){16}, &e),
              "%s", e.message);
    if (derived)
        CHECK(!mlxn_safetensors_writer_add(w, "counts", MLXN_ST_I64, 1, (uint64_t[]){3}, &e), "%s", e.message);
    for (uint32_t i = 0; i < TENSORS; i++) {
        uint64_t n = tensors[i].dims[0] * (tensors[i].rank > 1 ? tensors[i].dims[1] : 1);
        float *values = malloc(n * sizeof *values);
        uint8_t *bytes = malloc(n * sizeof *values);
        for (uint64_t k = 0; k < n; k++) values[k] = value_at(i, k);
        CHECK(!mlxn_quantize_row(format, values, n, bytes, &e), "%s", e.message);
        CHECK(!mlxn_safetensors_writer_write(w, bytes, n * (type == MLXN_ST_F32 ? 4 : 2), &e), "%s", e.message);
        free(values);
        free(bytes);
    }
    if (derived) CHECK(!mlxn_safetensors_writer_write(w, (float[16]){0}, 64, &e), "%s", e.message);
    if (derived) CHECK(!mlxn_safetensors_writer_write(w, (int64_t[]){5, 6, 7}, 24, &e), "%s", e.message);
    CHECK(!mlxn_safetensors_writer_finish(&w, &e), "%s", e.message);
    char config[800];
    snprintf(config, sizeof config,
             "{\"torch_dtype\":\"%s\",\"model_type\":\"llama\",\"rms_norm_eps\":1e-05,\"rope\":{\"f\":[1.5,2,"
             "\"\\u00e9\\\"\"],\"z\":null},"
             "\"big\":10000.0,\"_name_or_path\":\"/home\"%s}",
             dtype, more_config);
    gw text = {0};
    gw_bytes(&text, config, strlen(config));
    st_save(&text, "from/config.json");
    st_save_text("{\"version\": \"1.0\"}", "from/tokenizer.json");
    st_save_text("{{ x }}", "from/chat_template.jinja");
    st_save_text("not for others", "from/notes.md");
}

static mlxn_status convert(const char *quantize, mlxn_convert_options more, mlxn_quantize_result *result,
                           mlxn_error *error) {
    more.struct_size = sizeof more;
    more.quantize = quantize && strcmp(quantize, "none") ? quantize : NULL;
    return mlxn_convert_folder(from, to, &more, result, error);
}

static void hex_of(const void *data, size_t bytes, char out[65]) {
    uint8_t sum[32];
    mlxn_sha256(data, bytes, sum);
    for (int i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", sum[i]);
}

/* The lines of one dtype and kind against the folder. Returns how many there were. */
static int compare(const char *dtype, const char *kind) {
    FILE *f = fopen("tests/vectors/convert/digests.txt", "r");
    char line[LINE], a[32], b[32], name[200], type[16], want[80], have[65];
    mlxn_safetensors *file = NULL;
    mlxn_error e;
    int n = 0;
    CHECK(f != NULL, "tests/vectors/convert/digests.txt");
    CHECK(!mlxn_safetensors_open(to, &file, &e), "%s", e.message);
    while (f && file && fgets(line, sizeof line, f)) {
        mlxn_safetensors_tensor t;
        if (sscanf(line, "%31s %31s %199s %15s %79s", a, b, name, type, want) != 5) continue;
        if (strcmp(a, dtype) || strcmp(b, kind)) continue;
        n++;
        bool found = mlxn_safetensors_find_tensor(file, name, &t);
        if (found) hex_of(t.data, t.bytes, have);
        CHECK(found && !strcmp(t.dtype_name, type) && !strcmp(have, want), "%s %s %s", dtype, kind, name);
    }
    CHECK(!file || mlxn_safetensors_tensor_count(file) == (uint64_t)n, "%s %s: no other tensors", dtype, kind);
    mlxn_safetensors_close(file);
    if (f) fclose(f);
    return n;
}

static void test_bytes(void) {
    static const char *const dtypes[] = {"float32", "float16", "bfloat16"}, *const modes[] = {"none", "mxfp4",
                                                                                              "mxfp8", "nvfp4"};
    char kind[32];
    int lines = 0;
    mlxn_error e;
    for (size_t d = 0; d < 3; d++) {
        write_source(dtypes[d], "", false);
        for (size_t k = 0; k < 4; k++) {
            CHECK(!convert(modes[k], (mlxn_convert_options){.overwrite = true}, NULL, &e), "%s", e.message);
            lines += compare(dtypes[d], modes[k]);
        }
        for (int bits = 2; bits <= 8; bits++)
            for (int group = 32; group <= 128 && bits != 7; group *= 2) {
                mlxn_quantize_result r;
                mlxn_convert_options more = {
                    .overwrite = true, .threads = (uint32_t)(1 + bits % 3), .shard_bytes = bits == 3 ? 20000 : 0};
                snprintf(kind, sizeof kind, "affine%dg%d", bits, group);
                CHECK(!convert(kind, more, &r, &e), "%s: %s", kind, e.message);
                CHECK(r.tensors == TENSORS && r.quantized == 9 && r.bytes < r.source_bytes, "%s", kind);
                lines += compare(dtypes[d], kind);
            }
    }
    CHECK(lines == 3 * (12 + 18 * 30 + 30 - 9 + 30 - 9 + 30 - 9), "%d lines", lines);
}

static void config_is(const char *path, mlxn_config_type type, const char *text) {
    char file[600], have[64] = "";
    mlxn_config *config = NULL;
    mlxn_config_value v;
    mlxn_error e;
    snprintf(file, sizeof file, "%s/config.json", to);
    CHECK(!mlxn_config_open(file, &config, &e), "%s", e.message);
    bool found = config && mlxn_config_find(config, path, &v);
    CHECK(found == (text != NULL), "%s", path);
    if (found && v.type == MLXN_CONFIG_STRING) snprintf(have, sizeof have, "%s", v.v.s.data);
    if (found && v.type == MLXN_CONFIG_INTEGER) snprintf(have, sizeof have, "%d", (int)v.v.i);
    if (found && v.type == MLXN_CONFIG_REAL) snprintf(have, sizeof have, "%g", v.v.f);
    if (found) CHECK(v.type == type && !strcmp(have, text), "%s: \"%s\", want \"%s\"", path, have, text);
    mlxn_config_destroy(config);
}

static void test_other_files(void) {
    mlxn_error e;
    mlxn_quantize_result r;
    mlxn_safetensors *file = NULL;
    mlxn_safetensors_tensor t;
    write_source("float32", ",\"tie_word_embeddings\":true", true);
    CHECK(!convert("affine4g64", (mlxn_convert_options){.overwrite = true, .dtype = "f16"}, &r, &e), "%s", e.message);
    CHECK(r.tensors == TENSORS && r.quantized == 8, "%d quantized", (int)r.quantized);
    CHECK(!mlxn_safetensors_open(to, &file, &e), "%s", e.message);
    CHECK(!mlxn_safetensors_find_tensor(file, "lm_head.weight", &t), "tied");
    CHECK(!mlxn_safetensors_find_tensor(file, "model.layers.0.self_attn.rotary_emb.inv_freq", &t), "derived");
    CHECK(mlxn_safetensors_find_tensor(file, "counts", &t) && t.dtype == MLXN_ST_I64 && t.data[8] == 6, "no floats");
    CHECK(mlxn_safetensors_find_tensor(file, "model.norm.weight", &t) && t.dtype == MLXN_ST_F16, "cast");
    CHECK(mlxn_safetensors_find_tensor(file, "model.embed_tokens.scales", &t) && t.dtype == MLXN_ST_F16, "scales");
    mlxn_safetensors_close(file);
    config_is("quantization.bits", MLXN_CONFIG_INTEGER, "4");
    config_is("quantization_config.group_size", MLXN_CONFIG_INTEGER, "64");
    config_is("quantization.mode", MLXN_CONFIG_STRING, "affine");
    config_is("torch_dtype", MLXN_CONFIG_STRING, "float16");
    config_is("rms_norm_eps", MLXN_CONFIG_REAL, "1e-05");
    config_is("big", MLXN_CONFIG_REAL, "10000");
    config_is("model_type", MLXN_CONFIG_STRING, "llama");
    config_is("_name_or_path", MLXN_CONFIG_STRING, NULL);
    CHECK(!access(st_path("to/tokenizer.json"), F_OK) && !access(st_path("to/chat_template.jinja"), F_OK), "files");
    CHECK(access(st_path("to/notes.md"), F_OK), "not every file");
    /* Both are the objects that the reader of quantisations takes. */
    mlxn_quant_config *config = NULL;
    CHECK(!mlxn_quant_config_from_model_file(st_path("to/config.json"), &config, &e), "%s", e.message);
    CHECK(mlxn_quant_config_lookup(config, "model.embed_tokens.weight").bits == 4, "bits");
    mlxn_quant_config_destroy(config);
}

static bool stop(void *user, uint64_t done, uint64_t total) {
    CHECK(done <= total, "%d of %d", (int)done, (int)total);
    return --*(int *)user > 0;
}

static void empty(const char *folder) {
    DIR *dir = opendir(folder);
    char path[900];
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (dir) closedir(dir);
    rmdir(folder);
}

static void test_refusals(void) {
    mlxn_error e;
    int steps = 4;
    static const char *const wrong[] = {"affine4", "affine7g64", "affine4g16", "affine4g640", "affine4g64x", "q4_0",
                                        ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(convert(wrong[i], (mlxn_convert_options){0}, NULL, &e) == MLXN_ERR_ARGUMENT, "%s", wrong[i]);
        CHECK(strstr(e.message, wrong[i]) && strstr(e.message, "affineBgS"), "%s", e.message);
    }
    CHECK(convert(NULL, (mlxn_convert_options){.dtype = "f8"}, NULL, &e) == MLXN_ERR_ARGUMENT &&
              strstr(e.message, "\"f8\""),
          "%s", e.message);
    CHECK(
        convert("mxfp4", (mlxn_convert_options){0}, NULL, &e) == MLXN_ERR_IO && strstr(e.message, "is there already"),
        "%s", e.message);
    CHECK(mlxn_convert_folder(from, from, NULL, NULL, &e) == MLXN_ERR_ARGUMENT && strstr(e.message, "source itself"),
          "%s", e.message);
    CHECK(mlxn_convert_folder("", to, NULL, NULL, &e) == MLXN_ERR_ARGUMENT, "%s", e.message);
    CHECK(mlxn_convert_folder(st_path("absent"), to, NULL, NULL, &e) == MLXN_ERR_IO, "%s", e.message);
    CHECK(mlxn_convert_folder(to, st_path("again"), NULL, NULL, &e) == MLXN_ERR_ARGUMENT &&
              strstr(e.message, "quantized already"),
          "%s", e.message);
    empty(to);
    mlxn_convert_options cancel = {.progress = stop, .progress_user = &steps};
    CHECK(convert("mxfp4", cancel, NULL, &e) == MLXN_ERR_CANCELLED && steps == 0, "%s", e.message);
    mlxn_safetensors *file = NULL;
    CHECK(mlxn_safetensors_open(to, &file, &e) == MLXN_ERR_IO, "no weights are left");
    CHECK(!convert("mxfp4", (mlxn_convert_options){0}, NULL, &e), "then it works: %s", e.message);
}

int main(void) {
    st_make_folder();
    snprintf(to, sizeof to, "%s/to", st_folder);
    snprintf(from, sizeof from, "%s/from", st_folder);
    CHECK(!mkdir(from, 0777), "%s", from);
    test_bytes();
    test_other_files();
    test_refusals();
    empty(to);
    empty(from);
    st_remove_folder();
    return TEST_DONE();
}
