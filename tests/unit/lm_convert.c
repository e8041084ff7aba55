/* Promise: a GGUF model that mlxn_convert_folder writes as a folder is the same model: its logits are those of the
 * file, for architectures whose rows, norms or heads lie differently in the two, in every dtype; the folder as a GGUF
 * file again has the same logits, tokens and ids; its config says what the file's keys say; a file with a tensor, an
 * architecture or a tokenizer that folders have no name for is refused by that name. */
#include <mlxn/config.h>
#include <mlxn/convert.h>

#include "../io/safetensors_writer.h"
#include "lm_tiny.h"

enum { TOKENS = 40 };

static mlxn_device *device;

static void run(const char *path, float *out) {
    mlxn_model *model = NULL;
    mlxn_context *c = NULL;
    mlxn_error error;
    mlxn_batch_row rows[TOKENS];
    const float *logits = NULL;
    CHECK(!mlxn_model_load(device, path, NULL, &model, &error), "%s", error.message);
    CHECK(!mlxn_context_create(model, &(mlxn_context_desc){.struct_size = sizeof(mlxn_context_desc), .n_ctx = 64}, &c,
                               &error),
          "%s", error.message);
    for (int i = 0; i < TOKENS; i++) rows[i] = (mlxn_batch_row){(mlxn_token)((i * 37 + i * i) % TINY_VOCAB), 0, true};
    CHECK(!mlxn_context_decode(c, rows, TOKENS, NULL, NULL, &logits, &error), "%s", error.message);
    if (logits) memcpy(out, logits, sizeof(float) * TOKENS * TINY_VOCAB);
    mlxn_context_destroy(c);
    mlxn_model_release(&model);
}

/* The largest difference, as a part of the largest logit. */
static double difference(const float *a, const float *b) {
    double most = 0, size = 0;
    for (int i = 0; i < TOKENS * TINY_VOCAB; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most)) most = d;
        if (fabs((double)b[i]) > size) size = fabs((double)b[i]);
    }
    return most / size;
}

static mlxn_status convert(const tiny *t, const char *dtype, const char *quantize, mlxn_error *error) {
    const mlxn_convert_options options = {
        .struct_size = sizeof options, .dtype = dtype, .quantize = quantize, .overwrite = true};
    const char *file = tiny_file(t);
    mlxn_status status = mlxn_convert_folder(file, st_folder, &options, NULL, error);
    unlink(file);
    return status;
}

static void config_is(const char *name, double want) {
    mlxn_config *config = NULL;
    mlxn_config_value v = {0};
    CHECK(!mlxn_config_open(st_path("config.json"), &config, NULL), "config.json");
    bool found = config && mlxn_config_find(config, name, &v);
    double have = v.type == MLXN_CONFIG_INTEGER ? (double)v.v.i
                  : v.type == MLXN_CONFIG_REAL  ? v.v.f
                  : v.type == MLXN_CONFIG_BOOL  ? v.v.b
                                                : NAN;
    CHECK(found && fabs(have - want) <= 1e-12 * fabs(want), "%s is %g, want %g", name, have, want);
    mlxn_config_destroy(config);
}

static mlxn_model *vocabulary(const char *path) {
    const mlxn_model_desc desc = {.struct_size = sizeof desc, .vocab_only = true};
    mlxn_model *model = NULL;
    mlxn_error error;
    CHECK(!mlxn_model_load(NULL, path, &desc, &model, &error), "%s", error.message);
    return model;
}

/* The tokens, and the ids of a text. */
static void check_vocabulary(const char *path, const tiny *t) {
    static const char text[] = "word265word299 and more, \xc3\xa9!";
    const char *file = tiny_file(t);
    mlxn_model *a = vocabulary(file), *b = vocabulary(path);
    mlxn_token *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    for (mlxn_token i = 0; a && b && i < TINY_VOCAB; i++) {
        size_t p = 0, q = 0;
        const char *one = mlxn_token_bytes(a, i, &p), *other = mlxn_token_bytes(b, i, &q);
        CHECK(p == q && (!p || !memcmp(one, other, p)) && mlxn_token_is_special(a, i) == mlxn_token_is_special(b, i),
              "%s: token %d", t->arch, i);
    }
    CHECK(!mlxn_tokenize(a, text, strlen(text), 0, &x, &n, NULL) &&
              !mlxn_tokenize(b, text, strlen(text), 0, &y, &m, NULL),
          "ids");
    CHECK(n == m && n > 5 && !memcmp(x, y, n * sizeof *x), "%s: ids of a text", t->arch);
    CHECK(mlxn_model_bos(a) == mlxn_model_bos(b) && mlxn_model_eos(a) == mlxn_model_eos(b) &&
              mlxn_model_adds_bos(a) == mlxn_model_adds_bos(b),
          "%s: special tokens", t->arch);
    mlxn_free_memory(x);
    mlxn_free_memory(y);
    mlxn_model_release(&a);
    mlxn_model_release(&b);
    unlink(file);
}

static void test_same(const char *arch) {
    static float want[TOKENS * TINY_VOCAB], got[TOKENS * TINY_VOCAB];
    static const struct {
        const char *dtype;
        double bound; /* weights of the files are f32, f16 and quantized */
    } cases[] = {{NULL, 1e-5}, {"f32", 1e-5}, {"f16", 1e-2}, {"bf16", 1e-1}};
    mlxn_error error;
    const tiny t = {.arch = arch, .drop = "rope_freqs.weight"}; /* which are no Llama's here */
    const char *file = tiny_file(&t);
    run(file, want);
    unlink(file);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(!convert(&t, cases[i].dtype, NULL, &error), "%s: %s", arch, error.message);
        run(st_folder, got);
        double d = difference(got, want);
        CHECK(d < cases[i].bound, "%s %s: logits differ by %g of the largest", arch,
              cases[i].dtype ? cases[i].dtype : "-", d);
    }
    /* And back: the file has the same rows again, and the same bits come out. */
    const mlxn_convert_options back = {.struct_size = sizeof back, .overwrite = true};
    CHECK(!convert(&t, "f32", NULL, &error), "%s: %s", arch, error.message);
    run(st_folder, got);
    char file_name[512];
    snprintf(file_name, sizeof file_name, "%s-back.gguf", st_folder);
    CHECK(!mlxn_convert_gguf(st_folder, file_name, &back, NULL, &error), "%s: %s", arch, error.message);
    run(file_name, got);
    CHECK(difference(got, want) < 1e-5, "%s: back: logits differ by %g of the largest", arch, difference(got, want));
    check_vocabulary(file_name, &t);
    unlink(file_name);
    config_is("hidden_size", TINY_EMBD);
    config_is("num_key_value_heads", TINY_KV_HEADS);
    config_is("vocab_size", TINY_VOCAB);
    CHECK(!convert(&t, NULL, "affine8g32", &error), "%s: %s", arch, error.message);
    run(st_folder, got);
    CHECK(difference(got, want) < 0.1, "%s: 8 bits", arch);
    config_is("quantization.bits", 8);
}

static void refuses(const tiny *t, mlxn_status want, const char *text) {
    mlxn_error error = {0};
    mlxn_status status = convert(t, NULL, NULL, &error);
    CHECK(status == want && strstr(error.message, text), "%d: %s: want \"%s\"", (int)status, error.message, text);
}

int main(void) {
    static const char *const archs[] = {"llama", "qwen2", "gemma3"};
    st_make_folder();
    device = tiny_device(MLXN_PRECISION_F32, 2);
    for (size_t i = 0; i < 3; i++) test_same(archs[i]);
    refuses(&(tiny){.arch = "llama"}, MLXN_ERR_UNSUPPORTED, "rope_freqs.weight");
    refuses(&(tiny){.arch = "mamba"}, MLXN_ERR_UNSUPPORTED, "\"mamba\"");
    refuses(&(tiny){.arch = "llama", .drop = "token_embd.weight"}, MLXN_ERR_FORMAT, "token_embd.weight");
    refuses(&(tiny){.arch = "llama", .type_of = "blk.0.attn_q.weight", .type = 43}, MLXN_ERR_UNSUPPORTED,
            "blk.0.attn_q.weight");
    mlxn_device_release(&device);
    st_remove_folder();
    return TEST_DONE();
}
