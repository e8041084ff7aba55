/* gguf_config.c: config.json of a GGUF model: keys of the one in words of the other. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "convert/source.h"
#include "io/out_file.h"
#include "lm/lm_internal.h"

/* One key. `arch` NULL: of every architecture. A key that the file lacks is left out. */
static const struct {
    const char *arch, *gguf, *folder;
} keys[] = {
    {NULL, "block_count", "num_hidden_layers"},
    {NULL, "embedding_length", "hidden_size"},
    {NULL, "feed_forward_length", "intermediate_size"},
    {NULL, "context_length", "max_position_embeddings"},
    {NULL, "attention.head_count", "num_attention_heads"},
    {NULL, "attention.head_count_kv", "num_key_value_heads"},
    {NULL, "attention.key_length", "head_dim"},
    {NULL, "attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {NULL, "rope.freq_base", "rope_theta"},
    {"gemma2", "attention.sliding_window", "sliding_window"},
    {"gemma2", "attn_logit_softcapping", "attn_logit_softcapping"},
    {"gemma2", "final_logit_softcapping", "final_logit_softcapping"},
    {"gemma3", "attention.sliding_window", "sliding_window"},
    {"gemma3", "rope.freq_base_swa", "rope_local_base_freq"},
    {"phi3", "attention.sliding_window", "sliding_window"},
    {"phi3", "rope.scaling.original_context_length", "original_max_position_embeddings"},
    {"gpt-oss", "attention.sliding_window", "sliding_window"},
    {"gpt-oss", "expert_count", "num_local_experts"},
    {"gpt-oss", "expert_used_count", "num_experts_per_tok"},
    {"gpt-oss", "expert_feed_forward_length", "moe_intermediate_size"},
    {"qwen3moe", "expert_count", "num_experts"},
    {"qwen3moe", "expert_used_count", "num_experts_per_tok"},
    {"qwen3moe", "expert_feed_forward_length", "moe_intermediate_size"},
    {"deepseek2", "expert_count", "n_routed_experts"},
    {"deepseek2", "expert_used_count", "num_experts_per_tok"},
    {"deepseek2", "expert_feed_forward_length", "moe_intermediate_size"},
    {"deepseek2", "expert_shared_count", "n_shared_experts"},
    {"deepseek2", "expert_group_count", "n_group"},
    {"deepseek2", "expert_group_used_count", "topk_group"},
    {"deepseek2", "expert_weights_scale", "routed_scaling_factor"},
    {"deepseek2", "leading_dense_block_count", "first_k_dense_replace"},
    {"deepseek2", "attention.kv_lora_rank", "kv_lora_rank"},
    {"deepseek2", "attention.value_length", "v_head_dim"},
    {"deepseek2", "rope.dimension_count", "qk_rope_head_dim"},
};

/* What an architecture's config has beside keys: JSON members, and its class in Hugging Face's library. */
static const struct {
    const char *arch, *class, *members;
} rest[] = {
    {"llama", "LlamaForCausalLM", "\"hidden_act\":\"silu\",\"attention_bias\":false,\"mlp_bias\":false"},
    {"qwen2", "Qwen2ForCausalLM", "\"hidden_act\":\"silu\",\"use_sliding_window\":false"},
    {"qwen3", "Qwen3ForCausalLM", "\"hidden_act\":\"silu\",\"attention_bias\":false,\"use_sliding_window\":false"},
    {"gemma2", "Gemma2ForCausalLM",
     "\"hidden_act\":\"gelu_pytorch_tanh\",\"hidden_activation\":\"gelu_pytorch_tanh\",\"attention_bias\":false"},
    {"gemma3", "Gemma3ForCausalLM",
     "\"hidden_activation\":\"gelu_pytorch_tanh\",\"attention_bias\":false,\"sliding_window_pattern\":6"},
    {"phi3", "Phi3ForCausalLM", "\"hidden_act\":\"silu\""},
    {"qwen3moe", "Qwen3MoeForCausalLM",
     "\"hidden_act\":\"silu\",\"attention_bias\":false,\"use_sliding_window\":false,"
     "\"decoder_sparse_step\":1,\"mlp_only_layers\":[]"},
    {"gpt-oss", "GptOssForCausalLM", "\"hidden_act\":\"silu\",\"attention_bias\":true"},
    {"deepseek2", "DeepseekV2ForCausalLM", "\"hidden_act\":\"silu\",\"attention_bias\":false"},
};

static void member(mlxn_bytes *to, const char *name) {
    mlxn_bytes_text(to, to->size > 1 ? "," : "");
    mlxn_bytes_json_string(to, name);
    mlxn_bytes_text(to, ":");
}

static void add_u64(mlxn_bytes *to, const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    member(to, name);
    mlxn_bytes_text(to, text);
}

/* With the fewest digits that give the same binary32: files hold 1e-05 as 9.99999975e-06. */
static void add_f32(mlxn_bytes *to, const char *name, double value) {
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if ((float)strtod(text, NULL) == (float)value) break;
    }
    member(to, name);
    mlxn_bytes_text(to, text);
    if (!strpbrk(text, ".e")) mlxn_bytes_text(to, ".0");
}

static mlxn_string key_of(const mlxn_lm_arch *arch, const char *name, char out[160]) {
    int n = snprintf(out, 160, "%s.%s", arch->gguf, name);
    return (mlxn_string){out, (uint64_t)(n > 0 ? n : 0)};
}

static void add_keys(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch) {
    char key[160];
    bool latent = !strcmp(arch->gguf, "deepseek2");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        mlxn_gguf_value value;
        uint64_t u;
        double f;
        if (latent && !strcmp(keys[i].folder, "head_dim")) continue; /* it has two parts: add_latent */
        if ((keys[i].arch && strcmp(keys[i].arch, arch->gguf) != 0) ||
            !mlxn_gguf_find(file, key_of(arch, keys[i].gguf, key).data, &value))
            continue;
        bool real = value.type == MLXN_GGUF_F32 || value.type == MLXN_GGUF_F64;
        if (real && !mlxn_gguf_get_f64(file, key, &f, NULL) && isfinite(f)) add_f32(to, keys[i].folder, f);
        if (!real && !mlxn_gguf_get_u64(file, key, &u, NULL)) add_u64(to, keys[i].folder, u);
    }
}

/* Latent attention: heads have a part that turns and one that does not; queries may have a rank. */
static void add_latent(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch) {
    char key[160];
    uint64_t head = 0, turned = 0, rank = 0, groups = 0;
    if (strcmp(arch->gguf, "deepseek2") != 0) return;
    mlxn_gguf_get_u64(file, key_of(arch, "attention.key_length", key).data, &head, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "rope.dimension_count", key).data, &turned, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "attention.q_lora_rank", key).data, &rank, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "expert_group_count", key).data, &groups, NULL);
    if (head > turned) add_u64(to, "qk_nope_head_dim", head - turned);
    if (rank) add_u64(to, "q_lora_rank", rank);
    if (!rank) mlxn_bytes_text(to, ",\"q_lora_rank\":null");
    mlxn_bytes_text(to, groups ? ",\"topk_method\":\"group_limited_greedy\"" : ",\"topk_method\":\"greedy\"");
}

/* Of phi3: a part of a head turns, and LongRoPE's two sets of factors are tensors. */
static mlxn_status add_long(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch, mlxn_error *error) {
    static const char *const names[][2] = {{"rope_factors_short.weight", "short_factor"},
                                           {"rope_factors_long.weight", "long_factor"}};
    enum { MOST = 512 };
    float factors[MOST];
    char key[160], text[64];
    uint64_t head = 0, turned = 0;
    double attention = 1;
    mlxn_gguf_tensor t;
    mlxn_gguf_get_u64(file, key_of(arch, "attention.key_length", key).data, &head, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "rope.dimension_count", key).data, &turned, NULL);
    if (turned && turned < head && strcmp(arch->gguf, "deepseek2") != 0) {
        member(to, "partial_rotary_factor");
        snprintf(text, sizeof text, "%.9g", (double)turned / (double)head);
        mlxn_bytes_text(to, text);
    }
    if (!mlxn_gguf_find_tensor(file, names[1][0], &t)) return MLXN_OK;
    mlxn_gguf_get_f64(file, key_of(arch, "rope.scaling.attn_factor", key).data, &attention, NULL);
    member(to, "rope_scaling");
    snprintf(text, sizeof text, "{\"rope_type\":\"longrope\",\"type\":\"longrope\"");
    mlxn_bytes_text(to, text);
    for (size_t i = 0; i < 2; i++) {
        if (!mlxn_gguf_find_tensor(file, names[i][0], &t) || t.rank != 1 || t.elements > MOST ||
            mlxn_dequantize_row((mlxn_format)t.type, t.data, t.elements, factors, NULL))
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "convert: tensor \"%s\" is no vector of up to %d",
                             names[i][0], MOST);
        snprintf(text, sizeof text, ",\"%s\":[", names[i][1]);
        mlxn_bytes_text(to, text);
        for (uint64_t k = 0; k < t.elements; k++) {
            if (!isfinite(factors[k]))
                return mlxn_fail(error, MLXN_ERR_FORMAT, "convert: tensor \"%s\": element %" PRIu64 " is no number",
                                 names[i][0], k);
            snprintf(text, sizeof text, "%s%.9g", k ? "," : "", (double)factors[k]);
            mlxn_bytes_text(to, text);
        }
        mlxn_bytes_text(to, "]");
    }
    if (!isfinite(attention)) attention = 1;
    snprintf(text, sizeof text, ",\"attention_factor\":%.9g}", attention);
    mlxn_bytes_text(to, text);
    return MLXN_OK;
}

/* What YaRN has beside its factor; readers of GGUF multiply by 0.1 ln(factor) + 1 themselves. */
static void add_yarn(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch, double factor) {
    char key[160], text[120];
    double fast = 32, slow = 1, attention = 1, all = 0;
    mlxn_gguf_get_f64(file, key_of(arch, "rope.scaling.yarn_beta_fast", key).data, &fast, NULL);
    mlxn_gguf_get_f64(file, key_of(arch, "rope.scaling.yarn_beta_slow", key).data, &slow, NULL);
    mlxn_gguf_get_f64(file, key_of(arch, "rope.scaling.yarn_log_multiplier", key).data, &all, NULL);
    bool scaled = !mlxn_gguf_get_f64(file, key_of(arch, "rope.scaling.attn_factor", key).data, &attention, NULL);
    if (isfinite(fast) && isfinite(slow)) {
        snprintf(text, sizeof text, ",\"beta_fast\":%.9g,\"beta_slow\":%.9g", fast, slow);
        mlxn_bytes_text(to, text);
    }
    if (arch->yarn_fractions) mlxn_bytes_text(to, ",\"truncate\":false");
    if (isfinite(all) && all > 0) {
        snprintf(text, sizeof text, ",\"mscale\":%.7g,\"mscale_all_dim\":%.7g", 10 * all, 10 * all);
        mlxn_bytes_text(to, text);
    } else if (scaled && isfinite(attention) && attention != 1) {
        double usual = factor > 1 ? 0.1 * log(factor) + 1 : 1;
        snprintf(text, sizeof text, ",\"attention_factor\":%.9g", attention * usual);
        mlxn_bytes_text(to, text);
    }
}

/* Linear and YaRN scaling have keys. */
static mlxn_status add_scaling(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch, mlxn_error *error) {
    char key[160], text[160];
    mlxn_string type;
    double factor = 1;
    uint64_t context = 0;
    key_of(arch, "rope.scaling.type", key);
    if (mlxn_gguf_get_string(file, key, &type, NULL) || (type.size == 4 && !memcmp(type.data, "none", 4)))
        return MLXN_OK;
    bool linear = type.size == 6 && !memcmp(type.data, "linear", 6),
         yarn = type.size == 4 && !memcmp(type.data, "yarn", 4);
    if (!linear && !yarn)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "convert: key \"%s\" is \"%.*s\", want linear or yarn", key,
                         (int)mlxn_min_u64(type.size, 40), type.data);
    mlxn_status status = mlxn_gguf_get_f64(file, key_of(arch, "rope.scaling.factor", key).data, &factor, error);
    if (status) return status;
    member(to, "rope_scaling");
    snprintf(text, sizeof text, "{\"rope_type\":\"%s\",\"type\":\"%s\",\"factor\":%.9g", linear ? "linear" : "yarn",
             linear ? "linear" : "yarn", factor);
    mlxn_bytes_text(to, text);
    key_of(arch, "rope.scaling.original_context_length", key);
    if (!mlxn_gguf_get_u64(file, key, &context, NULL)) {
        snprintf(text, sizeof text, ",\"original_max_position_embeddings\":%" PRIu64, context);
        mlxn_bytes_text(to, text);
    }
    if (yarn) add_yarn(to, file, arch, factor);
    mlxn_bytes_text(to, "}");
    return MLXN_OK;
}

/* Llama 3's scaling is a tensor of factors in GGUF, made of four numbers: the largest factor is one; of the others
 * factors show only what a context of one turn more does, so that they are known up to a common measure. */
typedef struct llama3 {
    double factor, low, high, context;
} llama3;

static double llama3_factor(const llama3 *l, double base, uint64_t i, uint64_t n) {
    double turns = l->context * pow(base, -(double)i / (double)n) / (2 * 3.14159265358979323846);
    double mix = fmin(fmax((turns - l->low) / (l->high - l->low), 0), 1);
    return 1 / ((1 - mix) / l->factor + mix);
}

/* The first element that the numbers do not give; n: they give all. */
static uint64_t llama3_differs(const llama3 *l, double base, const float *factors, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (!(fabs((double)factors[i] / llama3_factor(l, base, i, n) - 1) <= 1e-4)) return i;
    return n;
}

/* Two elements between the extremes give the line that mixes them: low is taken as 1. */
static bool llama3_fit(llama3 *l, double base, const float *factors, uint64_t n) {
    double x[2], mix[2];
    uint64_t found[2] = {0, 0}, count = 0;
    for (uint64_t i = 0; i < n; i++) {
        double m = (1 / (double)factors[i] - 1 / l->factor) / (1 - 1 / l->factor);
        if (!(m > 1e-3 && m < 1 - 1e-3)) continue;
        uint64_t at = count ? 1 : 0;
        found[at] = i;
        x[at] = pow(base, -(double)i / (double)n) / (2 * 3.14159265358979323846);
        mix[at] = m;
        count++;
    }
    if (count ==
        1) { /* many do: with the usual distance of low and high, a whole context, and high as that wants it */
        l->low = 1;
        l->context = round((3 * mix[0] + 1) / x[0]);
        l->high = 1 + (l->context * x[0] - 1) / mix[0];
        return l->high > 1 && l->context >= 1 && l->context < 1e9;
    }
    if (count < 2) return false;
    double slope = (mix[0] - mix[1]) / (x[0] - x[1]), zero = slope * x[0] - mix[0]; /* mix = slope x - zero */
    if (!(slope > 0 && zero > 0) || found[0] == found[1]) return false;
    l->low = 1;
    l->high = 1 + 1 / zero;
    l->context = round(slope / zero);
    return l->context >= 1 && l->context < 1e9;
}

static mlxn_status add_llama3(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch, mlxn_error *error) {
    enum { MOST = 512 };
    llama3 l = {1, 1, 4, 8192}, fitted;
    mlxn_gguf_tensor t;
    float factors[MOST];
    double base = 10000;
    char key[160], text[200];
    if (!mlxn_gguf_find_tensor(file, "rope_freqs.weight", &t)) return MLXN_OK;
    if (t.rank != 1 || t.elements > MOST ||
        mlxn_dequantize_row((mlxn_format)t.type, t.data, t.elements, factors, NULL))
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "convert: tensor \"rope_freqs.weight\" is no vector of up to %d", MOST);
    mlxn_gguf_get_f64(file, key_of(arch, "rope.freq_base", key).data, &base, NULL);
    for (uint64_t i = 0; i < t.elements; i++) l.factor = fmax(l.factor, (double)factors[i]);
    uint64_t differs = llama3_differs(&l, base, factors, t.elements);
    if (differs < t.elements) {
        fitted = l;
        if (llama3_fit(&fitted, base, factors, t.elements) &&
            llama3_differs(&fitted, base, factors, t.elements) == t.elements) {
            l = fitted;
            differs = t.elements;
        }
    }
    if (differs < t.elements)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                         "convert: tensor \"rope_freqs.weight\": element %" PRIu64
                         " is %g, want %g as in Llama 3, "
                         "and no other numbers of that scaling give them all",
                         differs, (double)factors[differs], llama3_factor(&l, base, differs, t.elements));
    member(to, "rope_scaling");
    snprintf(text, sizeof text,
             "{\"rope_type\":\"llama3\",\"factor\":%.9g,\"low_freq_factor\":%.1f,\"high_freq_factor\":%.7g,"
             "\"original_max_position_embeddings\":%.0f}",
             l.factor, l.low, l.high, l.context);
    mlxn_bytes_text(to, text);
    return MLXN_OK;
}

/* Gemma 3 scales queries by the head, but for the 27B model, which is known by its depth. */
static void add_gemma(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch) {
    char key[160];
    uint64_t layers = 0, width = 0, heads = 1, head = 0, deep = !strcmp(arch->gguf, "gemma3") ? 62 : 46;
    if (strcmp(arch->gguf, "gemma3") != 0 && strcmp(arch->gguf, "gemma2") != 0) return;
    mlxn_gguf_get_u64(file, key_of(arch, "block_count", key).data, &layers, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "embedding_length", key).data, &width, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "attention.head_count", key).data, &heads, NULL);
    mlxn_gguf_get_u64(file, key_of(arch, "attention.key_length", key).data, &head, NULL);
    if (layers == deep && heads) head = width / heads;
    double scale = 0;
    if (!mlxn_gguf_get_f64(file, key_of(arch, "attention.scale", key).data, &scale, NULL) && scale > 0 &&
        isfinite(1 / (scale * scale)))
        head = (uint64_t)fmin(round(1 / (scale * scale)), 1e9);
    if (head) add_u64(to, "query_pre_attn_scalar", head);
    mlxn_gguf_value value;
    if (!strcmp(arch->gguf, "gemma3") && !mlxn_gguf_find(file, key_of(arch, "rope.freq_base_swa", key).data, &value))
        add_f32(to, "rope_local_base_freq", 10000);
}

/* What a file leaves out because it is GGUF's default, and folders have another. */
static void add_defaults(mlxn_bytes *to, const mlxn_gguf *file, const mlxn_lm_arch *arch) {
    mlxn_gguf_value value;
    char key[160];
    bool normalize = true;
    if (!strcmp(arch->gguf, "qwen3moe")) {
        mlxn_gguf_get_bool(file, key_of(arch, "expert_weights_norm", key).data, &normalize, NULL);
        member(to, "norm_topk_prob");
        mlxn_bytes_text(to, normalize ? "true" : "false");
    }
    if (!mlxn_gguf_find(file, key_of(arch, "rope.freq_base", key).data, &value)) add_f32(to, "rope_theta", 10000);
}

static void add_tokens(mlxn_bytes *to, const mlxn_gguf *file) {
    static const char *const names[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                           {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                           {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
    uint64_t id;
    for (size_t i = 0; i < 3; i++)
        if (!mlxn_gguf_get_u64(file, names[i][0], &id, NULL)) add_u64(to, names[i][1], id);
}

mlxn_status mlxn_cv_gguf_config(const mlxn_gguf *file, uint64_t vocab, bool tied, mlxn_config **out,
                                mlxn_error *error) {
    mlxn_string name;
    mlxn_status status = mlxn_gguf_get_string(file, "general.architecture", &name, error);
    if (status) return status;
    const mlxn_lm_arch *arch = mlxn_lm_arch_find(name, false); /* there is one: the tensors had names */
    char type[64];
    snprintf(type, sizeof type, "%.*s", (int)strcspn(arch->folder, " "), arch->folder);
    mlxn_bytes text = {0};
    mlxn_bytes_text(&text, "{");
    member(&text, "model_type");
    mlxn_bytes_json_string(&text, type);
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        if (strcmp(rest[i].arch, arch->gguf) != 0) continue;
        member(&text, "architectures");
        mlxn_bytes_text(&text, "[");
        mlxn_bytes_json_string(&text, rest[i].class);
        mlxn_bytes_text(&text, "],");
        mlxn_bytes_text(&text, rest[i].members);
    }
    add_keys(&text, file, arch);
    add_defaults(&text, file, arch);
    add_gemma(&text, file, arch);
    add_latent(&text, file, arch);
    add_tokens(&text, file);
    add_u64(&text, "vocab_size", vocab);
    member(&text, "tie_word_embeddings");
    mlxn_bytes_text(&text, tied ? "true" : "false");
    member(&text, "torch_dtype");
    mlxn_bytes_text(&text, "\"float32\"");
    status = add_scaling(&text, file, arch, error);
    if (!status) status = add_llama3(&text, file, arch, error);
    if (!status) status = add_long(&text, file, arch, error);
    mlxn_bytes_text(&text, "}");
    if (!status && text.failed) status = mlxn_fail(error, MLXN_ERR_MEMORY, "convert: out of memory for config.json");
    if (!status) status = mlxn_config_from_json((const char *)text.data, text.size, "config.json", out, error);
    mlxn_bytes_free(&text);
    return status;
}
