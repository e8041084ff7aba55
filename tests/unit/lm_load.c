/* Promise: a model file with something wrong is refused with a message that names the thing and both values; a good
 * one gives the right information; loading can be watched and cancelled and leaves nothing behind. */
#include "base/base.h"
#include "lm_tiny.h"

static mlxn_device *device;

static void expect_nothing_left(const char *what) {
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    CHECK(info.memory_used == info.memory_scratch, "%s: %llu bytes of device memory are left", what,
          (unsigned long long)(info.memory_used - info.memory_scratch));
}

typedef struct refusal {
    tiny file;
    mlxn_status status;
    const char *names[3]; /* all must be in the message */
} refusal;

static const refusal refusals[] = {
    {{"llama", .drop = "general.architecture"}, MLXN_ERR_NOT_FOUND, {"general.architecture"}},
    {{.arch = "mamba"}, MLXN_ERR_UNSUPPORTED, {"mamba", "llama", "qwen2"}},
    {{"llama", .drop = "block_count"}, MLXN_ERR_NOT_FOUND, {"llama.block_count"}},
    {{"llama", .drop = "embedding_length"}, MLXN_ERR_NOT_FOUND, {"llama.embedding_length"}},
    {{"qwen2", .drop = "attention.layer_norm_rms_epsilon"},
     MLXN_ERR_NOT_FOUND,
     {"qwen2.attention.layer_norm_rms_epsilon"}},
    {{"gemma3", .drop = "attention.sliding_window"}, MLXN_ERR_NOT_FOUND, {"gemma3.attention.sliding_window"}},
    {{"llama", .key = "block_count", .value = 0}, MLXN_ERR_FORMAT, {"llama.block_count", "is 0"}},
    {{"llama", .key = "block_count", .value = 4000000000u}, MLXN_ERR_FORMAT, {"llama.block_count", "4000000000"}},
    {{"llama", .key = "block_count", .value = 1000000000u}, MLXN_ERR_FORMAT, {"block_count", "1000000000"}},
    {{"llama", .key = "block_count", .value = 4}, MLXN_ERR_NOT_FOUND, {"blk.3.attn_norm.weight"}},
    {{"llama", .key = "attention.head_count", .value = 0}, MLXN_ERR_FORMAT, {"attention.head_count", "is 0"}},
    {{"llama", .key = "attention.head_count", .value = 7}, MLXN_ERR_FORMAT, {"head_count", "7", "2"}},
    {{"qwen2", .key = "attention.head_count", .value = 6}, MLXN_ERR_FORMAT, {"embedding_length", "64", "6"}},
    {{"llama", .key = "attention.head_count_kv", .value = 3}, MLXN_ERR_FORMAT, {"head_count", "4", "3"}},
    {{"gemma3", .key = "attention.value_length", .value = 16}, MLXN_ERR_UNSUPPORTED, {"value_length", "16", "32"}},
    {{"llama", .key = "rope.dimension_count", .value = 7}, MLXN_ERR_FORMAT, {"rope.dimension_count", "7"}},
    {{"llama", .key = "rope.dimension_count", .value = 18}, MLXN_ERR_FORMAT, {"rope.dimension_count", "18", "16"}},
    {{"llama", .key = "expert_count", .value = 8}, MLXN_ERR_UNSUPPORTED, {"llama.expert_count", "8"}},
    {{"llama", .key = "feed_forward_length", .value = 128}, MLXN_ERR_FORMAT, {"ffn_gate.weight", "96", "128"}},
    {{"llama", .drop = "token_embd.weight"}, MLXN_ERR_NOT_FOUND, {"token_embd.weight"}},
    {{"llama", .drop = "output_norm.weight"}, MLXN_ERR_NOT_FOUND, {"output_norm.weight"}},
    {{"gemma3", .drop = "blk.6.post_ffw_norm.weight"}, MLXN_ERR_NOT_FOUND, {"blk.6.post_ffw_norm.weight"}},
    {{"qwen2", .drop = "blk.1.attn_k.bias"}, MLXN_ERR_NOT_FOUND, {"blk.1.attn_k.bias"}},
    {{"llama", .swap = "blk.2.ffn_down.weight"},
     MLXN_ERR_FORMAT,
     {"blk.2.ffn_down.weight", "dim[0] is 96", "want 64"}},
    {{"llama", .swap = "blk.0.ffn_gate.weight"}, MLXN_ERR_FORMAT, {"blk.0.ffn_gate.weight", "dim[0]", "want 96"}},
    {{"llama", .type_of = "blk.1.attn_q.weight", .type = 43}, MLXN_ERR_UNSUPPORTED, {"blk.1.attn_q.weight", "43"}},
};

static void test_refusals(void) {
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *r = &refusals[i];
        mlxn_model *model = (mlxn_model *)1;
        mlxn_error error = {0};
        const char *path = tiny_file(&r->file);
        mlxn_status status = mlxn_model_load(device, path, NULL, &model, &error);
        unlink(path);
        CHECK(status == r->status && !model, "case %zu: status is %s, want %s: %s", i, mlxn_status_name(status),
              mlxn_status_name(r->status), error.message);
        for (int k = 0; k < 3 && r->names[k]; k++) {
            CHECK(strstr(error.message, r->names[k]), "case %zu: \"%s\" does not name %s", i, error.message,
                  r->names[k]);
        }
        if (status == MLXN_OK) mlxn_model_release(&model);
        expect_nothing_left(r->file.arch);
    }
}

static void test_arguments(void) {
    mlxn_model *model = NULL;
    mlxn_error error;
    CHECK(mlxn_model_load(device, "does-not-exist.gguf", NULL, &model, &error) == MLXN_ERR_IO &&
              strstr(error.message, "does-not-exist.gguf"),
          "%s", error.message);
    CHECK(mlxn_model_load(device, "", NULL, &model, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_model_load(device, NULL, NULL, &model, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_model_load(NULL, "x.gguf", NULL, &model, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    CHECK(mlxn_model_load(device, "x.gguf", NULL, NULL, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    mlxn_model_desc desc = {0};
    CHECK(mlxn_model_load(device, "x.gguf", &desc, &model, &error) == MLXN_ERR_ARGUMENT, "%s", error.message);
    mlxn_model_release(NULL);
    mlxn_model_release(&model);
}

static void test_info(void) {
    mlxn_model *model = tiny_load(device, "gemma3");
    mlxn_model_info info = {.struct_size = sizeof info};
    CHECK(mlxn_model_get_info(model, &info) == MLXN_OK, "info");
    CHECK(strcmp(info.architecture, "gemma3") == 0 && strncmp(info.name, "mlxn-tiny-", 10) == 0 &&
              strcmp(info.tokenizer, "llama") == 0,
          "%s, %s, %s", info.architecture, info.name, info.tokenizer);
    CHECK(info.n_layers == 7 && info.n_embd == TINY_EMBD && info.n_ff == TINY_FF && info.n_heads == TINY_HEADS &&
              info.n_kv_heads == TINY_KV_HEADS && info.head_dim == 32 && info.n_vocab == TINY_VOCAB,
          "%u layers of %u, %u heads of %u", info.n_layers, info.n_embd, info.n_heads, info.head_dim);
    CHECK(info.n_ctx_train == TINY_CTX && info.sliding_window == TINY_WINDOW && !info.has_chat_template, "context");
    uint64_t layer = 64 * 4 + 32 * 2 + 64 * (128 + 64 + 64 + 128 + 3 * 96);
    CHECK(info.n_params == TINY_VOCAB * 64 + 64 + 7 * layer, "%llu parameters", (unsigned long long)info.n_params);
    CHECK(info.bytes_per_token > info.n_params / 2 && info.bytes_per_token < 6 * info.n_params,
          "%llu bytes per token", (unsigned long long)info.bytes_per_token);
    CHECK(info.file_bytes > info.n_params / 2, "%llu bytes", (unsigned long long)info.file_bytes);
    CHECK(mlxn_model_device(model) == device, "device");
    /* A caller of an older version gets its own size of the record and nothing beyond. */
    struct {
        mlxn_model_info info;
        uint8_t guard;
    } small = {.guard = 7};
    memset(&small.info, 0xee, sizeof small.info);
    small.info.struct_size = offsetof(mlxn_model_info, n_layers) + 4;
    CHECK(mlxn_model_get_info(model, &small.info) == MLXN_OK && small.info.n_layers == 7, "short record");
    CHECK(small.info.n_embd == 0xeeeeeeee, "beyond struct_size nothing is written");
    mlxn_model *again = mlxn_model_retain(model);
    mlxn_model_release(&model);
    CHECK(!model && mlxn_model_bos(again) == 1 && mlxn_model_eos(again) == 2 && mlxn_token_is_end(again, 2), "ends");
    mlxn_model_release(&again);
    expect_nothing_left("info");
}

typedef struct watcher {
    uint64_t calls, done, total, stop_at;
} watcher;

static bool watch(void *user, uint64_t done, uint64_t total) {
    watcher *w = user;
    w->calls++;
    CHECK(done > w->done && done <= total && (!w->total || w->total == total), "from %d to %d of %d", (int)w->done,
          (int)done, (int)total);
    w->done = done;
    w->total = total;
    return w->calls < w->stop_at;
}

static void test_progress(void) {
    watcher w = {.stop_at = UINT64_MAX};
    mlxn_model_desc desc = {.struct_size = sizeof desc, .progress = watch, .progress_user = &w};
    mlxn_model *model = NULL;
    mlxn_error error;
    const char *path = tiny_file(&(tiny){.arch = "llama"});
    CHECK(mlxn_model_load(device, path, &desc, &model, &error) == MLXN_OK, "%s", error.message);
    CHECK(w.done == w.total && w.calls == 3 + 3 * 9, "%d of %d bytes in %d calls", (int)w.done, (int)w.total,
          (int)w.calls);
    mlxn_model_release(&model);
    w = (watcher){.stop_at = 5};
    CHECK(mlxn_model_load(device, path, &desc, &model, &error) == MLXN_ERR_CANCELLED && !model, "%s", error.message);
    CHECK(w.calls == 5, "%d calls", (int)w.calls);
    expect_nothing_left("cancelled");
    desc = (mlxn_model_desc){.struct_size = sizeof desc, .vocab_only = true};
    CHECK(mlxn_model_load(NULL, path, &desc, &model, &error) == MLXN_OK, "%s", error.message);
    mlxn_context *context = NULL;
    CHECK(mlxn_context_create(model, NULL, &context, &error) == MLXN_ERR_ARGUMENT && !context, "%s", error.message);
    mlxn_model_release(&model);
    unlink(path);
}

/* Norms in f16 are decoded to the same values up to f16's rounding. */
static void test_other_norm_type(void) {
    float first[TINY_VOCAB];
    for (int half = 0; half < 2; half++) {
        tiny t = {"llama", .type_of = half ? "blk.1.ffn_norm.weight" : NULL, .type = MLXN_FORMAT_F16};
        const char *path = tiny_file(&t);
        mlxn_model *model = NULL;
        mlxn_context *context = NULL;
        mlxn_error error;
        CHECK(mlxn_model_load(device, path, NULL, &model, &error) == MLXN_OK, "%s", error.message);
        CHECK(mlxn_context_create(model, NULL, &context, &error) == MLXN_OK, "%s", error.message);
        unlink(path);
        mlxn_batch_row rows[2] = {{7, 0, false}, {9, 0, true}};
        const float *logits = NULL;
        CHECK(mlxn_context_decode(context, rows, 2, NULL, NULL, &logits, &error) == MLXN_OK, "%s", error.message);
        double worst = 0;
        for (int i = 0; logits && i < TINY_VOCAB; i++) {
            if (half)
                worst = fmax(worst, fabs((double)logits[i] - (double)first[i]));
            else
                first[i] = logits[i];
        }
        CHECK(half ? worst > 0 && worst < 0.05 : 1, "an f16 norm moves logits by %g", worst);
        mlxn_context_destroy(context);
        mlxn_model_release(&model);
    }
    expect_nothing_left("norms");
}

int main(void) {
    device = tiny_device(MLXN_PRECISION_F32, 1);
    test_refusals();
    test_arguments();
    test_info();
    test_progress();
    test_other_norm_type();
    mlxn_device_release(&device);
    return TEST_DONE();
}
