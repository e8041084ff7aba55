/* Promise: a folder with something wrong is refused with a message that names the file, the key or tensor and what is
 * wrong with it; nothing is left behind. Absurd sizes, missing keys, wrong types, shapes that do not fit, tensors
 * that the architecture does not have, truncated files, an index that names files which are not there. */
#include "lm_folder.h"

static mlxn_device *device;

static void expect_refused(const char *folder, const char *what, mlxn_status want, const char *const words[3]) {
    mlxn_model *model = (mlxn_model *)1;
    mlxn_error error = {0};
    mlxn_status status = mlxn_model_load(device, folder, NULL, &model, &error);
    CHECK(status == want && !model, "%s: status is %s, want %s: %s", what, mlxn_status_name(status),
          mlxn_status_name(want), error.message);
    const char *name = strrchr(folder, '/') + 1;
    CHECK(strncmp(error.message, name, strlen(name)) == 0, "%s: the message begins with the folder: %s", what,
          error.message);
    for (int i = 0; i < 3 && words[i]; i++)
        CHECK(strstr(error.message, words[i]), "%s: \"%s\" does not have \"%s\"", what, error.message, words[i]);
    if (status == MLXN_OK) mlxn_model_release(&model);
    mlxn_device_info info = {.struct_size = sizeof info};
    mlxn_device_get_info(device, &info);
    CHECK(info.memory_used == info.memory_scratch, "%s: device memory is left", what);
}

/* A key of the config that gets another value, or none. */
typedef struct edit {
    const char *model, *key, *value; /* value: JSON; NULL: the key is taken away */
    mlxn_status status;
    const char *words[3];
} edit;

static const edit edits[] = {
    {"qwen3_next", "full_attention_interval", "0", MLXN_ERR_FORMAT, {"full_attention_interval", "is 0"}},
    {"qwen3_next",
     "full_attention_interval",
     "2",
     MLXN_ERR_NOT_FOUND,
     {"layers.1.self_attn.q_norm.weight", "missing"}},
    {"qwen3_next", "layer_types", "\"all\"", MLXN_ERR_FORMAT, {"layer_types", "want 4"}},
    {"qwen3_next", "layer_types", "[\"full_attention\"]", MLXN_ERR_FORMAT, {"layer_types", "has 1", "want 4"}},
    {"qwen3_next", "layer_types", "[1, 2, 3, 4]", MLXN_ERR_FORMAT, {"layer_types", "element 0", "linear_attention"}},
    {"qwen3_next", "linear_num_key_heads", "3", MLXN_ERR_FORMAT, {"linear_num_value_heads", "is 4", "heads 3"}},
    {"qwen3_next", "linear_num_key_heads", "1000000", MLXN_ERR_FORMAT, {"linear_num_key_heads", "1000000", "4096"}},
    {"qwen3_next", "linear_num_value_heads", "0", MLXN_ERR_FORMAT, {"linear_num_value_heads", "is 0"}},
    {"qwen3_next", "linear_key_head_dim", "32", MLXN_ERR_FORMAT, {"conv1d.weight", "dim[0] is 160", "want 224"}},
    {"qwen3_next", "linear_value_head_dim", "\"24\"", MLXN_ERR_FORMAT, {"linear_value_head_dim", "a string"}},
    {"qwen3_next", "linear_conv_kernel_dim", "1", MLXN_ERR_FORMAT, {"linear_conv_kernel_dim", "is 1", "want 2"}},
    {"qwen3_next", "linear_conv_kernel_dim", "5", MLXN_ERR_FORMAT, {"conv1d.weight", "is 4", "want 5"}},
    {"qwen3_next", "attn_output_gate", "false", MLXN_ERR_UNSUPPORTED, {"attn_output_gate", "want true"}},
    {"qwen3_next", "decoder_sparse_step", "2", MLXN_ERR_UNSUPPORTED, {"decoder_sparse_step", "is 2"}},
    {"qwen3_next", "mlp_only_layers", "[1]", MLXN_ERR_UNSUPPORTED, {"mlp_only_layers"}},
    {"qwen3_next", "shared_expert_intermediate_size", NULL, MLXN_ERR_NOT_FOUND, {"shared_expert_intermediate_size"}},
    {"llama", "model_type", NULL, MLXN_ERR_NOT_FOUND, {"config.json", "model_type"}},
    {"llama", "model_type", "17", MLXN_ERR_FORMAT, {"config.json", "model_type"}},
    {"llama", "model_type", "\"mamba\"", MLXN_ERR_UNSUPPORTED, {"mamba", "llama", "qwen3"}},
    {"llama", "num_hidden_layers", "1000000000", MLXN_ERR_FORMAT, {"config.json", "num_hidden_layers", "1000000000"}},
    {"llama",
     "num_hidden_layers",
     "9223372036854775807",
     MLXN_ERR_FORMAT,
     {"num_hidden_layers", "9223372036854775807"}},
    {"llama", "num_hidden_layers", "-3", MLXN_ERR_FORMAT, {"num_hidden_layers", "-3", "want 1"}},
    {"llama", "num_hidden_layers", "0", MLXN_ERR_FORMAT, {"num_hidden_layers", "is 0"}},
    {"llama", "num_hidden_layers", "\"3\"", MLXN_ERR_FORMAT, {"num_hidden_layers", "a string", "an integer"}},
    {"llama", "num_hidden_layers", "2.5", MLXN_ERR_FORMAT, {"num_hidden_layers", "a real number"}},
    {"llama", "num_hidden_layers", "[3]", MLXN_ERR_FORMAT, {"num_hidden_layers", "a list"}},
    {"llama", "num_hidden_layers", "null", MLXN_ERR_NOT_FOUND, {"num_hidden_layers"}},
    {"llama", "num_hidden_layers", NULL, MLXN_ERR_NOT_FOUND, {"config.json", "num_hidden_layers"}},
    {"llama", "num_hidden_layers", "4", MLXN_ERR_NOT_FOUND, {"model.layers.3.input_layernorm.weight", "missing"}},
    {"llama", "num_hidden_layers", "2", MLXN_ERR_FORMAT, {"layer 2", "num_hidden_layers is 2"}},
    {"llama", "hidden_size", "192", MLXN_ERR_FORMAT, {"model.safetensors", "128", "192 (hidden_size)"}},
    {"llama", "hidden_size", "130", MLXN_ERR_FORMAT, {"hidden_size", "130", "num_attention_heads 4"}},
    {"llama", "vocab_size", "2000000000", MLXN_ERR_FORMAT, {"model.embed_tokens.weight", "128", "2000000000"}},
    {"llama", "vocab_size", NULL, MLXN_ERR_NOT_FOUND, {"config.json", "vocab_size"}},
    {"llama", "intermediate_size", "2147483647", MLXN_ERR_FORMAT, {"mlp.gate_proj", "256", "2147483647"}},
    {"llama", "num_attention_heads", "2147483647", MLXN_ERR_FORMAT, {"num_attention_heads", "2147483647"}},
    {"llama", "num_key_value_heads", "3", MLXN_ERR_FORMAT, {"num_attention_heads", "4", "num_key_value_heads 3"}},
    {"llama", "head_dim", "2147483647", MLXN_ERR_FORMAT, {"2147483647"}},
    {"llama", "max_position_embeddings", "1e6", MLXN_ERR_FORMAT, {"max_position_embeddings", "a real number"}},
    {"llama", "rms_norm_eps", "0", MLXN_ERR_FORMAT, {"rms_norm_eps", "is 0"}},
    {"llama", "rms_norm_eps", "true", MLXN_ERR_FORMAT, {"rms_norm_eps", "true or false"}},
    {"llama", "rope_theta", "-1.5", MLXN_ERR_FORMAT, {"rope_theta", "-1.5"}},
    {"llama", "hidden_act", "\"gelu\"", MLXN_ERR_UNSUPPORTED, {"hidden_act", "gelu", "silu"}},
    {"llama", "tie_word_embeddings", "1", MLXN_ERR_FORMAT, {"tie_word_embeddings", "an integer"}},
    {"llama", "eos_token_id", "\"</s>\"", MLXN_ERR_FORMAT, {"config.json", "eos_token_id"}},
    {"llama",
     "rope_scaling",
     "{\"type\":\"dynamic\",\"factor\":2}",
     MLXN_ERR_UNSUPPORTED,
     {"rope_scaling", "dynamic"}},
    {"llama", "rope_scaling", "{\"type\":7}", MLXN_ERR_FORMAT, {"rope_scaling", "string"}},
    {"llama", "rope_scaling", "{\"type\":\"linear\",\"factor\":0}", MLXN_ERR_FORMAT, {"rope_scaling.factor", "is 0"}},
    {"llama",
     "rope_scaling",
     "{\"type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,\"high_freq_factor\":1}",
     MLXN_ERR_FORMAT,
     {"rope_scaling.high_freq_factor", "is 1", "4"}},
    {"llama", "quantization_config", "{\"quant_method\":\"gptq\",\"bits\":4}", MLXN_ERR_UNSUPPORTED, {"gptq"}},
    {"llama", "partial_rotary_factor", "1.5", MLXN_ERR_FORMAT, {"partial_rotary_factor", "1.5"}},
    {"llama3", "tie_word_embeddings", "false", MLXN_ERR_NOT_FOUND, {"lm_head.weight", "tie_word_embeddings"}},
    {"phi3",
     "rope_scaling",
     "{\"type\":\"longrope\",\"short_factor\":[1,2],\"long_factor\":[1,2]}",
     MLXN_ERR_FORMAT,
     {"rope_scaling.short_factor", "2", "want 4"}},
    {"phi3",
     "rope_scaling",
     "{\"type\":\"longrope\",\"short_factor\":[1,1,1,-2],\"long_factor\":[1,1,1,1]}",
     MLXN_ERR_FORMAT,
     {"short_factor", "element 3"}},
    {"qwen3_moe", "num_experts_per_tok", "9", MLXN_ERR_FORMAT, {"num_experts_per_tok", "is 9", "num_experts 8"}},
    {"qwen3_moe", "num_experts", "2147483647", MLXN_ERR_FORMAT, {"mlp.gate.weight", "8", "2147483647 (num_experts)"}},
    {"qwen3_moe", "moe_intermediate_size", "33", MLXN_ERR_FORMAT, {"experts.0.gate_proj", "32", "33"}},
    {"qwen3_moe", "mlp_only_layers", "[1]", MLXN_ERR_UNSUPPORTED, {"mlp_only_layers"}},
    {"qwen3_moe", "decoder_sparse_step", "2", MLXN_ERR_UNSUPPORTED, {"decoder_sparse_step", "is 2"}},
    {"qwen3_moe-mlx", "num_local_experts", NULL, MLXN_ERR_NOT_FOUND, {"num_experts"}},
    {"gemma3", "layer_types", "[\"sliding_attention\"]", MLXN_ERR_FORMAT, {"layer_types", "1", "7"}},
    {"gemma3",
     "layer_types",
     "[\"full_attention\",\"full_attention\",\"x\",\"y\",\"z\",\"a\",\"b\"]",
     MLXN_ERR_FORMAT,
     {"layer_types", "element 2"}},
    {"gemma3", "use_bidirectional_attention", "true", MLXN_ERR_UNSUPPORTED, {"use_bidirectional_attention"}},
    {"gemma3", "sliding_window", "-4", MLXN_ERR_FORMAT, {"sliding_window", "-4"}},
};

static void test_configs(void) {
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const edit *e = &edits[i];
        char what[200];
        fm m;
        if (!fm_open(&m, e->model)) continue;
        snprintf(what, sizeof what, "%s: %s = %s", e->model, e->key, e->value ? e->value : "nothing");
        if (e->value) {
            json_t *value = json_loads(e->value, JSON_DECODE_ANY, NULL);
            CHECK(value, "%s: the test's own JSON is wrong", what);
            json_object_set_new(m.config, e->key, value);
        } else {
            json_object_del(m.config, e->key);
        }
        const char *folder = fm_write(&m, 0, NULL, NULL);
        expect_refused(folder, what, e->status, e->words);
        fm_remove_folder(folder);
        fm_close(&m);
    }
}

/* ---- tensors ---- */

static fm_tensor *named(fm *m, const char *name) {
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensors[i].name, name)) return &m->tensors[i];
    CHECK(false, "no tensor %s", name);
    return &m->tensors[0];
}

static void expect_tensors_refused(const fm *m, const char *what, mlxn_status want, const char *a, const char *b,
                                   const char *c) {
    const char *folder = fm_write(m, 0, NULL, NULL), *const words[3] = {a, b, c};
    expect_refused(folder, what, want, words);
    fm_remove_folder(folder);
}

static void test_tensors(void) {
    fm m;
    if (!fm_open(&m, "llama")) return;
    fm_tensor *t = named(&m, "model.layers.1.mlp.up_proj.weight"), old = *t;
    t->dims[0] = 128, t->dims[1] = 256;
    expect_tensors_refused(&m, "exchanged dims", MLXN_ERR_FORMAT, old.name, "dim[0] is 128", "want 256");
    *t = old;
    t->rank = 1, t->dims[0] = old.elements;
    expect_tensors_refused(&m, "a flat matrix", MLXN_ERR_FORMAT, old.name, "rank is 1", "want 2");
    *t = old;
    t->name = "model.layers.1.mlp.up_proj.lora_A.weight";
    expect_tensors_refused(&m, "an unknown tensor", MLXN_ERR_UNSUPPORTED, "mlp.up_proj.lora_A.weight", "layer 1",
                           "llama");
    t->name = "model.layers.9.mlp.up_proj.weight";
    expect_tensors_refused(&m, "a layer too many", MLXN_ERR_FORMAT, "mlp.up_proj.weight", "layer 9",
                           "num_hidden_layers is 3");
    t->name = "vision.layers.1.mlp.up_proj.weight";
    expect_tensors_refused(&m, "a missing tensor", MLXN_ERR_NOT_FOUND, old.name, "missing", NULL);
    *t = old;
    fm_tensor *norm = named(&m, "model.layers.1.input_layernorm.weight"), old_norm = *norm;
    static const char *const others[] = {"lm_head.bias", "model.norm.bias", "model.embed_positions.weight"};
    for (size_t i = 0; i < 3; i++) {
        m.tensors[m.n_tensors] = old_norm;
        m.tensors[m.n_tensors++].name = others[i];
        expect_tensors_refused(&m, others[i], MLXN_ERR_UNSUPPORTED, others[i], "llama", NULL);
        m.n_tensors--;
    }
    t->name = "model.layers.1.mlp.up_proj.scales";
    fm_tensor weight = old;
    m.tensors[m.n_tensors++] = weight;
    expect_tensors_refused(&m, "scales, but no config of them", MLXN_ERR_FORMAT, t->name, "quantization", NULL);
    json_object_set_new(m.config, "quantization", json_pack("{s:i,s:i}", "bits", 4, "group_size", 64));
    expect_tensors_refused(&m, "scales of a plain weight", MLXN_ERR_FORMAT, old.name, "F32", "U32");
    fm_close(&m);
}

/* A key taken away, or given a value, for one load. */
static void expect_edit_refused(fm *m, const char *key, json_t *value, mlxn_status want, const char *word) {
    json_t *old = json_incref(json_object_get(m->config, key));
    if (value)
        json_object_set_new(m->config, key, value);
    else
        json_object_del(m->config, key);
    expect_tensors_refused(m, key, want, word, NULL, NULL);
    json_object_set_new(m->config, key, old);
}

static void test_experts(void) {
    fm m;
    if (!fm_open(&m, "qwen3_moe")) return;
    fm_tensor *t = named(&m, "model.layers.1.mlp.experts.5.up_proj.weight"), old = *t;
    t->name = "model.layers.1.mlp.experts.50.up_proj.weight";
    expect_tensors_refused(&m, "a missing expert", MLXN_ERR_NOT_FOUND, old.name, "missing", NULL);
    *t = old;
    t->dtype = "F32";
    expect_tensors_refused(&m, "an expert of another dtype", MLXN_ERR_UNSUPPORTED, old.name, "F32", "BF16");
    *t = old;
    t->dims[0] = 64, t->dims[1] = 32;
    expect_tensors_refused(&m, "an expert of another shape", MLXN_ERR_FORMAT, old.name, "64", "32");
    fm_close(&m);
    if (!fm_open(&m, "gpt_oss")) return;
    expect_edit_refused(&m, "rope_parameters", NULL, MLXN_ERR_NOT_FOUND, "rope_parameters");
    json_object_set_new(m.config, "quantization_config", json_pack("{s:s}", "quant_method", "mxfp4"));
    t = named(&m, "model.layers.2.mlp.experts.down_proj.weight");
    t->name = "model.layers.2.mlp.experts.down_proj_blocks";
    expect_tensors_refused(&m, "blocks without scales", MLXN_ERR_FORMAT, t->name, "scales", NULL);
    fm_tensor scales = *t;
    scales.name = "model.layers.2.mlp.experts.down_proj_scales";
    m.tensors[m.n_tensors++] = scales;
    expect_tensors_refused(&m, "blocks of another shape", MLXN_ERR_FORMAT, t->name, "groups, 16", NULL);
    fm_close(&m);
}

/* ---- files ---- */

/* Stacks in which gates and ups lie together, and the taps of a convolution. */
static void test_hybrid(void) {
    static const uint64_t stacks[][3] = {{8, 62, 64}, {7, 64, 64}, {8, 64, 32}};
    fm m;
    if (!fm_open(&m, "qwen3_5_moe")) return;
    fm_tensor *t = named(&m, "model.language_model.layers.1.mlp.experts.gate_up_proj"), old = *t;
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
        memcpy(t->dims, stacks[i], sizeof stacks[i]);
        t->elements = t->dims[0] * t->dims[1] * t->dims[2];
        expect_tensors_refused(&m, "stack of gates and ups", MLXN_ERR_FORMAT, "experts.gate_up_proj",
                               "want [8, 64, 64]", NULL);
    }
    *t = old;
    t->rank = 2;
    t->dims[0] = 8 * 64;
    t->dims[1] = 64;
    expect_tensors_refused(&m, "stack of rank 2", MLXN_ERR_FORMAT, "experts.gate_up_proj", "rank 2", NULL);
    *t = old;
    t = named(&m, "model.language_model.layers.0.linear_attn.conv1d.weight");
    old = *t;
    t->dims[1] = 2;
    t->elements *= 2;
    expect_tensors_refused(&m, "convolution of two columns", MLXN_ERR_FORMAT, "conv1d.weight", "rank is 3", NULL);
    *t = old;
    t->name = "model.language_model.layers.0.linear_attn.conv1d.bias";
    expect_tensors_refused(&m, "bias of a convolution", MLXN_ERR_UNSUPPORTED, "conv1d.bias", "none that architecture",
                           NULL);
    *t = old;
    fm_close(&m);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "cannot write %s", path);
}

static void cut(const char *folder, const char *name, long bytes) {
    char path[400];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(stat(path, &info) == 0 && truncate(path, bytes < 0 ? info.st_size + bytes : bytes) == 0, "cannot cut %s",
          path);
}

static const char *first_shard(const char *folder) {
    static char name[300];
    DIR *dir = opendir(folder);
    name[0] = 0;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (!strncmp(e->d_name, "model-00001-of-", 15)) snprintf(name, sizeof name, "%s", e->d_name);
    if (dir) closedir(dir);
    CHECK(name[0], "no shards in %s", folder);
    return name;
}

static void test_files(void) {
    static const char index_file[] = "model.safetensors.index.json";
    fm m;
    if (!fm_open(&m, "llama3")) return;
    static const long cuts[] = {-1, -40000, 9000, 100, 8, 3};
    const char *folder;
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        folder = fm_write(&m, 0, NULL, NULL);
        cut(folder, "model.safetensors", cuts[i]);
        expect_refused(folder, "truncated", MLXN_ERR_FORMAT, (const char *[3]){"model.safetensors"});
        fm_remove_folder(folder);
    }
    folder = fm_write(&m, 40000, NULL, NULL);
    cut(folder, first_shard(folder), -100);
    expect_refused(folder, "a truncated shard", MLXN_ERR_FORMAT, (const char *[3]){first_shard(folder)});
    char path[700], shard[300];
    snprintf(shard, sizeof shard, "%s", first_shard(folder));
    snprintf(path, sizeof path, "%s/%s", folder, shard);
    unlink(path);
    expect_refused(folder, "an absent shard", MLXN_ERR_IO, (const char *[3]){shard});
    write_text(folder, index_file, "{\"weight_map\":{\"model.norm.weight\":\"../other.safetensors\"}}");
    expect_refused(folder, "a shard outside", MLXN_ERR_FORMAT, (const char *[3]){index_file, "../other.safetensors"});
    write_text(folder, index_file, "{\"weight_map\":");
    expect_refused(folder, "half an index", MLXN_ERR_FORMAT, (const char *[3]){index_file, "JSON"});
    fm_remove_folder(folder);

    static const char *const texts[] = {"",        "{", "[]", "{\"a\":1,\"a\":2}", "{\"a\":01}", "{\"a\":\"\xff\"}",
                                        "nonsense"};
    folder = fm_write(&m, 0, NULL, NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_text(folder, "config.json", texts[i]);
        mlxn_status want = i == 0 ? MLXN_ERR_IO : MLXN_ERR_FORMAT;
        expect_refused(folder, texts[i], want, (const char *[3]){"config.json"});
    }
    char *deep = calloc(1, 3000);
    memset(deep, '[', 2000);
    write_text(folder, "config.json", deep);
    expect_refused(folder, "deep", MLXN_ERR_FORMAT, (const char *[3]){"config.json", "nested"});
    free(deep);
    cut(folder, "config.json", 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    expect_refused(folder, "no config", MLXN_ERR_IO, (const char *[3]){"config.json"});
    fm_write_config(&m, folder);
    write_text(folder, "generation_config.json", "{\"eos_token_id\":[2,-7]}");
    expect_refused(folder, "an end token", MLXN_ERR_FORMAT,
                   (const char *[3]){"generation_config.json", "eos_token_id"});
    write_text(folder, "generation_config.json", "{\"eos_token_id\":[2,9]}");
    write_text(folder, "tokenizer.json", "{\"model\":{\"type\":\"Babel\"}}");
    expect_refused(folder, "a tokenizer", MLXN_ERR_UNSUPPORTED, (const char *[3]){"tokenizer.json", "Babel"});
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    unlink(path);
    mlxn_model *model = fm_load(device, folder);
    mlxn_token *ids = NULL;
    size_t n = 0;
    mlxn_error error = {0};
    CHECK(mlxn_tokenize(model, "text", 4, 0, &ids, &n, &error) == MLXN_ERR_UNSUPPORTED && !ids &&
              strstr(error.message, "no tokenizer"),
          "%s", error.message);
    CHECK(mlxn_model_bos(model) == -1 && mlxn_model_eos(model) == 2 && !mlxn_token_bytes(model, 5, NULL),
          "no tokens");
    CHECK(mlxn_token_is_end(model, 2) && mlxn_token_is_end(model, 9) && !mlxn_token_is_end(model, 7), "end tokens");
    mlxn_model_release(&model);
    fm_remove_folder(folder);
    fm_close(&m);
}

int main(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 1};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    test_configs();
    test_tensors();
    test_experts();
    test_hybrid();
    test_files();
    mlxn_device_release(&device);
    return TEST_DONE();
}
