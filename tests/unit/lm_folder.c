/* Promise: a folder of config.json and safetensors, of each architecture and in each spelling of its config, gives
 * the logits that Hugging Face transformers computed in float32 (tests/vectors/models), at once and token by token,
 * with prompts longer than the sliding window; however it is cut into shards, and loaded from GGUF, it gives the
 * same, and the same bits however a pass reaches the device. */
#include "lm_folder.h"

#include "lm/lm_internal.h"

static mlxn_device *device;

static const char *const names[] = {
    "llama",      "llama3",         "llama3-old", "llama-linear",  "llama-yarn",  "mistral",
    "qwen2",      "qwen3",          "qwen3_moe",  "qwen3_moe-mlx", "gemma2",      "gemma3",
    "gemma3-old", "phi3",           "phi3-short", "gpt_oss",       "deepseek_v2", "deepseek_v2-groups",
    "qwen3_next", "qwen3_next-mlx", "qwen3_5",    "qwen3_5-mlx",   "qwen3_5_moe", "gemma4",
    "gemma4-moe"};

/* The largest difference from the stored rows, over the largest logit. */
static double distance(const fm *m, const float *logits) {
    json_t *rows = json_object_get(m->root, "rows"), *stored = json_object_get(m->root, "logits");
    double worst = 0, largest = 0;
    for (size_t r = 0; r < json_array_size(rows); r++) {
        size_t row = (size_t)json_integer_value(json_array_get(rows, r));
        json_t *want = json_array_get(stored, r);
        size_t width = json_array_size(want);
        for (size_t i = 0; i < width; i++) {
            double w = json_number_value(json_array_get(want, i)), got = (double)logits[row * width + i];
            if (!(fabs(got) < 1e30)) return INFINITY;
            worst = fmax(worst, fabs(w - got));
            largest = fmax(largest, fabs(w));
        }
    }
    return worst / largest;
}

static void compare(const fm *m, mlxn_model *model, const char *how) {
    const struct {
        size_t first;
        uint32_t n_batch;
    } ways[] = {{m->n_ids, 0}, {m->n_ids, 5}, {1, 0}, {m->n_ids / 2, 16}};
    for (size_t i = 0; model && i < sizeof ways / sizeof *ways; i++) {
        float *logits = fm_run(model, m, ways[i].first, ways[i].n_batch);
        double d = distance(m, logits);
        CHECK(d < 1e-4, "%s, %s, way %zu: logits are off by %g of the largest", m->name, how, i, d);
        if (i == 0) printf("%s, %s: off by %.2g of the largest logit\n", m->name, how, d);
        free(logits);
    }
}

/* Only the last row's logits are wanted: layers beyond the last one that stores go on with that row alone. Then the
 * sequence is saved, restored in another context and continued. */
static void compare_last(const fm *m, mlxn_model *model) {
    float *all = fm_run(model, m, m->n_ids, 16), most = 0;
    const size_t half = m->n_ids / 2, width = 128;
    const mlxn_context_desc desc = {.struct_size = sizeof desc, .n_ctx = 256, .n_batch = 16};
    mlxn_context *contexts[2] = {NULL, NULL};
    mlxn_error error = {0};
    mlxn_batch_row rows[64];
    const float *logits = NULL;
    char path[64];
    snprintf(path, sizeof path, "/tmp/mlxn-lm-folder-%ld.safetensors", (long)getpid());
    for (size_t i = 0; i < m->n_ids * width; i++) most = fmaxf(most, fabsf(all[i]));
    for (size_t part = 0; part < 2; part++) {
        size_t from = part ? half : 0, n = part ? m->n_ids - half : half;
        CHECK(mlxn_context_create(model, &desc, &contexts[part], &error) == MLXN_OK, "%s", error.message);
        if (part)
            CHECK(mlxn_context_save(contexts[0], 0, path, &error) == MLXN_OK &&
                      mlxn_context_restore(contexts[1], 0, path, &error) == MLXN_OK,
                  "%s: %s", m->name, error.message);
        for (size_t i = 0; i < n; i++) rows[i] = (mlxn_batch_row){m->ids[from + i], 0, i + 1 == n};
        CHECK(mlxn_context_decode(contexts[part], rows, n, NULL, NULL, &logits, &error) == MLXN_OK, "%s",
              error.message);
        for (size_t i = 0; logits && i < width; i++)
            CHECK(fabsf(logits[i] - all[(from + n - 1) * width + i]) <= 1e-5f * most,
                  "%s: logit %zu of part %zu is %g, in a pass that wants all %g", m->name, i, part, (double)logits[i],
                  (double)all[(from + n - 1) * width + i]);
    }
    for (int i = 0; i < 2; i++) mlxn_context_destroy(contexts[i]);
    unlink(path);
    free(all);
}

/* However a pass reaches the device, its logits have the same bits. */
static void compare_ways(const fm *m, mlxn_model *model) {
    static const uint32_t flags[] = {MLXN_LM_GRAPH_NONE, MLXN_LM_GRAPH_PLAIN, MLXN_LM_GRAPH_FUSE, 0,
                                     MLXN_LM_GRAPH_DUAL};
    float *want = NULL;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        float *got = fm_run_as(model, m, m->n_ids / 2, 16, flags[i]);
        if (want)
            CHECK(memcmp(got, want, m->n_ids * 128 * sizeof *got) == 0, "%s: graph flags %u change logits", m->name,
                  flags[i]);
        free(want);
        want = got;
    }
    free(want);
}

static void test_transformers(void) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fm m;
        if (!fm_open(&m, names[i])) continue;
        const char *folder = fm_write(&m, 0, NULL, NULL);
        mlxn_model *model = fm_load(device, folder);
        fm_remove_folder(folder); /* the maps stay */
        compare(&m, model, "folder");
        if (model) compare_ways(&m, model);
        if (model) compare_last(&m, model);
        mlxn_model_release(&model);
        fm_close(&m);
    }
}

static void test_shards(void) {
    fm m;
    if (!fm_open(&m, "gemma3")) return;
    const char *folders[2] = {fm_write(&m, 0, NULL, NULL), fm_write(&m, 40000, NULL, NULL)};
    float *logits[2];
    for (int i = 0; i < 2; i++) {
        mlxn_model *model = fm_load(device, folders[i]);
        if (i) CHECK(model && model->source->part_count > 3, "shards");
        logits[i] = fm_run(model, &m, m.n_ids, 0);
        mlxn_model_release(&model);
        fm_remove_folder(folders[i]);
    }
    CHECK(memcmp(logits[0], logits[1], m.n_ids * 128 * sizeof **logits) == 0, "shards change logits");
    free(logits[0]);
    free(logits[1]);
    fm_close(&m);
}

/* A saved sequence of one model is refused by another that differs in its rope scaling alone. */
static void test_state(void) {
    fm m;
    char saved[320];
    mlxn_error error = {0};
    if (!fm_open(&m, "llama3")) return;
    for (int i = 0; i < 2; i++) {
        if (i) json_object_set_new(json_object_get(m.config, "rope_parameters"), "factor", json_real(4));
        const char *folder = fm_write(&m, 0, NULL, NULL);
        mlxn_model *model = fm_load(device, folder);
        mlxn_context *context = NULL;
        mlxn_batch_row row = {5, 0, true};
        if (!i) snprintf(saved, sizeof saved, "%s.safetensors", folder);
        CHECK(mlxn_context_create(model, NULL, &context, &error) == MLXN_OK, "%s", error.message);
        if (!i) {
            CHECK(mlxn_context_decode(context, &row, 1, NULL, NULL, NULL, &error) == MLXN_OK &&
                      mlxn_context_save(context, 0, saved, &error) == MLXN_OK &&
                      mlxn_context_restore(context, 0, saved, &error) == MLXN_OK,
                  "%s", error.message);
        } else {
            CHECK(mlxn_context_restore(context, 0, saved, &error) != MLXN_OK, "a sequence of another rope is taken");
        }
        mlxn_context_destroy(context);
        mlxn_model_release(&model);
        fm_remove_folder(folder);
    }
    unlink(saved);
    fm_close(&m);
}

/* ---- the same weights as GGUF ---- */

/* The specs of the tensor that a folder calls `name`, as GGUF calls it; layers come in as "model.layers.<i>.". */
static bool gguf_name(const mlxn_lm_arch *arch, const char *name, char *out, size_t size) {
    static const char *const fixed[][2] = {{"model.embed_tokens.weight", "token_embd.weight"},
                                           {"lm_head.weight", "output.weight"},
                                           {"model.norm.weight", "output_norm.weight"}};
    unsigned layer;
    int at = 0;
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(name, fixed[i][0]) != 0) continue;
        snprintf(out, size, "%s", fixed[i][1]);
        return true;
    }
    if (sscanf(name, "model.layers.%u.%n", &layer, &at) != 1 || !at) return false;
    for (const mlxn_lm_tensor_spec *t = arch->layer_tensors; !mlxn_lm_spec_ends(t); t++) {
        if (strcmp(t->names.folder, name + at) != 0) continue;
        snprintf(out, size, "blk.%u.%s", layer, t->names.gguf);
        return true;
    }
    return false;
}

/* GGUF keeps rows of queries and keys of some architectures so that rotary pairs are neighbours. */
static void interleave(float *values, const fm_tensor *t, uint64_t head_dim) {
    uint64_t cols = t->rank == 2 ? t->dims[1] : 1, half = head_dim / 2;
    float *old = malloc(t->elements * sizeof *old);
    memcpy(old, values, t->elements * sizeof *old);
    for (uint64_t r = 0; r < t->dims[0]; r++) {
        uint64_t in_head = r % head_dim, from = r - in_head + in_head / 2 + in_head % 2 * half;
        memcpy(values + r * cols, old + from * cols, cols * sizeof *old);
    }
    free(old);
}

static void write_tokens(mlxn_gguf_writer *w) {
    mlxn_error error = {0};
    char texts[128][8];
    mlxn_string tokens[128];
    float scores[128];
    int32_t types[128];
    for (int i = 0; i < 128; i++) {
        snprintf(texts[i], sizeof texts[i], i == 0 ? "<unk>" : i == 1 ? "<s>" : i == 2 ? "</s>" : "w%d", i);
        tokens[i] = (mlxn_string){texts[i], strlen(texts[i])};
        scores[i] = (float)-i;
        types[i] = i == 0 ? 2 : i < 3 ? 3 : 1;
    }
    mlxn_gguf_value value = {.type = MLXN_GGUF_ARRAY};
    value.v.array.element = MLXN_GGUF_F32;
    value.v.array.count = 128;
    value.v.array.data = (const uint8_t *)scores;
    value.v.array.bytes = sizeof scores;
    CHECK(!mlxn_gguf_writer_set_text(w, "tokenizer.ggml.model", "llama", &error) &&
              !mlxn_gguf_writer_set_strings(w, "tokenizer.ggml.tokens", tokens, 128, &error) &&
              !mlxn_gguf_writer_set(w, "tokenizer.ggml.scores", &value, &error),
          "%s", error.message);
    value.v.array.element = MLXN_GGUF_I32;
    value.v.array.data = (const uint8_t *)types;
    CHECK(!mlxn_gguf_writer_set(w, "tokenizer.ggml.token_type", &value, &error), "%s", error.message);
}

static void set_u32(mlxn_gguf_writer *w, const mlxn_lm_arch *arch, const char *key, uint64_t value) {
    char name[128];
    mlxn_error error = {0};
    snprintf(name, sizeof name, "%s.%s", arch->gguf, key);
    CHECK(!mlxn_gguf_writer_set_u32(w, name, (uint32_t)value, &error), "%s", error.message);
}

static void set_f32(mlxn_gguf_writer *w, const mlxn_lm_arch *arch, const char *key, double value) {
    char name[128];
    mlxn_error error = {0};
    snprintf(name, sizeof name, "%s.%s", arch->gguf, key);
    CHECK(!mlxn_gguf_writer_set_f32(w, name, (float)value, &error), "%s", error.message);
}

/* What the config says, in the keys of GGUF; the loaded folder's shape has the numbers that follow from it. */
static void write_keys(mlxn_gguf_writer *w, const fm *m, const mlxn_model *model) {
    const mlxn_lm_arch *arch = model->arch;
    const mlxn_lm_shape *s = &model->shape;
    json_t *c = fm_text_config(m), *value, *rope = json_object_get(c, "rope_parameters");
    mlxn_error error = {0};
    CHECK(!mlxn_gguf_writer_set_text(w, "general.architecture", arch->gguf, &error), "%s", error.message);
    set_u32(w, arch, "block_count", s->n_layers);
    set_u32(w, arch, "embedding_length", s->n_embd);
    set_u32(w, arch, "feed_forward_length", s->n_ff);
    set_u32(w, arch, "context_length", s->n_ctx_train);
    set_u32(w, arch, "attention.head_count", s->n_heads);
    set_u32(w, arch, "attention.head_count_kv", s->n_kv_heads);
    set_u32(w, arch, "attention.key_length", s->head_dim);
    set_u32(w, arch, "attention.value_length", s->v_head_dim);
    set_u32(w, arch, "rope.dimension_count", s->rope_dims);
    set_f32(w, arch, "attention.layer_norm_rms_epsilon", (double)s->norm_eps);
    set_f32(w, arch, "rope.freq_base", (double)s->rope_base);
    if (s->n_experts) {
        set_u32(w, arch, "expert_count", s->n_experts);
        set_u32(w, arch, "expert_used_count", s->n_experts_used);
        set_u32(w, arch, "expert_feed_forward_length", s->n_ff_expert);
    }
    if (s->kv_rank) {
        set_u32(w, arch, "attention.kv_lora_rank", s->kv_rank);
        set_u32(w, arch, "attention.q_lora_rank", s->q_rank);
        set_u32(w, arch, "leading_dense_block_count", s->n_dense_layers);
        set_u32(w, arch, "expert_shared_count", s->n_ff_shared / s->n_ff_expert);
        set_f32(w, arch, "expert_weights_scale", (double)s->route_factor);
        set_u32(w, arch, "expert_group_count", s->route_groups);
        set_u32(w, arch, "expert_group_used_count", s->route_top_groups);
    }
    if (s->window) set_u32(w, arch, "attention.sliding_window", s->window);
    if ((value = json_object_get(c, "sliding_window_pattern")))
        set_u32(w, arch, "attention.sliding_window_pattern", (uint64_t)json_integer_value(value));
    if ((value = json_object_get(c, "query_pre_attn_scalar")))
        set_f32(w, arch, "attention.scale", 1 / sqrt(json_number_value(value)));
    if (s->attention_softcap > 0) set_f32(w, arch, "attn_logit_softcapping", (double)s->attention_softcap);
    if (s->logit_softcap > 0) set_f32(w, arch, "final_logit_softcapping", (double)s->logit_softcap);
    char name[64];
    if (s->rope_freq_scale != 1) {
        snprintf(name, sizeof name, "%s.rope.scaling.type", arch->gguf);
        CHECK(!mlxn_gguf_writer_set_text(w, name, "linear", &error), "%s", error.message);
        set_f32(w, arch, "rope.scaling.factor", 1 / (double)s->rope_freq_scale);
    }
    if (model->rope_factors[1].buffer) {
        set_f32(w, arch, "rope.scaling.attn_factor", (double)s->rope_attn_factor);
        set_u32(w, arch, "rope.scaling.original_context_length", s->rope_long_from);
    }
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (type && !strcmp(type, "yarn")) {
        snprintf(name, sizeof name, "%s.rope.scaling.type", arch->gguf);
        CHECK(!mlxn_gguf_writer_set_text(w, name, "yarn", &error), "%s", error.message);
        set_f32(w, arch, "rope.scaling.factor", json_number_value(json_object_get(rope, "factor")));
        set_f32(w, arch, "rope.scaling.yarn_beta_fast", json_number_value(json_object_get(rope, "beta_fast")));
        set_u32(w, arch, "rope.scaling.original_context_length",
                (uint64_t)json_integer_value(json_object_get(rope, "original_max_position_embeddings")));
    }
    write_tokens(w);
}

/* Factors that GGUF files carry as tensors: those of Llama 3, and the two sets of LongRoPE. */
static int factor_tensors(const mlxn_model *model, const char *names_out[2]) {
    bool two = model->rope_factors[1].buffer != NULL;
    if (!model->rope_factors[0].buffer || model->shape.rope_attn_factor != 1) {
        if (!two) return 0; /* none, or YaRN, which keys describe */
    }
    names_out[0] = two ? "rope_factors_short.weight" : "rope_freqs.weight";
    names_out[1] = "rope_factors_long.weight";
    return two ? 2 : 1;
}

static void write_gguf(const fm *m, const mlxn_model *model, const char *path) {
    mlxn_gguf_writer *w = NULL;
    mlxn_error error = {0};
    char name[96];
    const char *prefix = json_object_get(m->config, "text_config") ? "language_model." : "", *factors[2];
    int n_factors = factor_tensors(model, factors);
    uint64_t pairs = model->shape.rope_dims / 2;
    CHECK(!mlxn_gguf_writer_create(path, true, &w, &error), "%s", error.message);
    write_keys(w, m, model);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fm_tensor *t = &m->tensors[i];
        CHECK(gguf_name(model->arch, t->name + strlen(prefix), name, sizeof name), "%s has no name in GGUF", t->name);
        CHECK(!mlxn_gguf_writer_add_tensor(w, name, MLXN_FORMAT_F32, t->rank, t->dims, &error), "%s", error.message);
    }
    for (int i = 0; i < n_factors; i++)
        CHECK(!mlxn_gguf_writer_add_tensor(w, factors[i], MLXN_FORMAT_F32, 1, &pairs, &error), "%s", error.message);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const fm_tensor *t = &m->tensors[i];
        float *values = fm_values(t);
        bool turned = strstr(t->name, "q_proj") || strstr(t->name, "k_proj");
        if (turned && model->arch->gguf_pairing == MLXN_ROPE_INTERLEAVED)
            interleave(values, t, model->shape.head_dim);
        for (uint64_t k = 0; t->rank == 1 && k < t->elements; k++) values[k] += model->arch->folder_vector_shift;
        CHECK(!mlxn_gguf_writer_write(w, values, t->elements * sizeof *values, &error), "%s", error.message);
        free(values);
    }
    for (int i = 0; i < n_factors; i++) {
        float values[64];
        const mlxn_tensor *from = &model->rope_factors[i];
        CHECK(!mlxn_buffer_read(from->buffer, from->offset, values, pairs * sizeof *values, &error) &&
                  !mlxn_gguf_writer_write(w, values, pairs * sizeof *values, &error),
              "%s", error.message);
    }
    CHECK(!mlxn_gguf_writer_finish(&w, &error), "%s", error.message);
}

/* Windows of Mistral and Qwen2 are not in their GGUF files, whose runners have none; experts there are always in
 * stacks; Gemma 4 is read from folders alone.
 */
static void test_gguf(void) {
    static const char *const left_out[] = {"mistral", "qwen2", "qwen3_moe", "deepseek_v2", "gemma4", "gemma4-moe"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fm m;
        char path[300];
        bool skip = false;
        skip = strstr(names[i], "qwen3_next") || strstr(names[i], "qwen3_5"); /* GGUF has other names: not read yet */
        for (size_t k = 0; k < sizeof left_out / sizeof *left_out; k++) skip |= !strcmp(names[i], left_out[k]);
        if (skip || !fm_open(&m, names[i])) continue;
        const char *folder = fm_write(&m, 0, NULL, NULL);
        mlxn_model *model = fm_load(device, folder);
        snprintf(path, sizeof path, "%s/model.gguf", folder);
        if (model) write_gguf(&m, model, path);
        mlxn_model_release(&model);
        model = fm_load(device, path);
        fm_remove_folder(folder);
        compare(&m, model, "GGUF");
        mlxn_model_release(&model);
        fm_close(&m);
    }
}

int main(void) {
    mlxn_device_desc desc = {.struct_size = sizeof desc, .precision = MLXN_PRECISION_F32, .threads = 2};
    mlxn_error error;
    CHECK(mlxn_device_create(&desc, &device, &error) == MLXN_OK, "%s", error.message);
    test_transformers();
    test_shards();
    test_state();
    test_gguf();
    mlxn_device_release(&device);
    return TEST_DONE();
}
