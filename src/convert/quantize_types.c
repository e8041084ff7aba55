/* quantize_types.c: the table of types, and which format each tensor gets. */
#include "convert/quantize_types.h"

#include <stdio.h>
#include <strings.h>

/* A type that uses one format throughout. */
#define PLAIN(name, about, file_type, format) \
    { name, about, file_type, MLXN_FORMAT_##format, MLXN_FORMAT_##format }

static const mlxn_quantize_type types[] = {
    {"q4_k_m", "4.8 bits: Q4_K, and Q6_K where it matters; the usual choice", 15, MLXN_FORMAT_Q4_K, MLXN_FORMAT_Q6_K},
    {"q5_k_m", "5.7 bits: Q5_K, and Q6_K where it matters", 17, MLXN_FORMAT_Q5_K, MLXN_FORMAT_Q6_K},
    {"q3_k_m", "3.9 bits: Q3_K, and Q5_K where it matters", 12, MLXN_FORMAT_Q3_K, MLXN_FORMAT_Q5_K},
    {"q2_k_m", "3.0 bits: Q2_K, and Q4_K where it matters", 10, MLXN_FORMAT_Q2_K, MLXN_FORMAT_Q4_K},
    PLAIN("q8_0", "8.5 bits, nothing to be seen of the loss", 7, Q8_0),
    PLAIN("q6_k", "6.6 bits", 18, Q6_K),
    PLAIN("q5_k", "5.5 bits", 16, Q5_K),
    PLAIN("q4_k", "4.5 bits", 14, Q4_K),
    PLAIN("q3_k", "3.4 bits", 11, Q3_K),
    PLAIN("q2_k", "2.6 bits", 10, Q2_K),
    PLAIN("q5_1", "6 bits", 9, Q5_1),
    PLAIN("q5_0", "5.5 bits", 8, Q5_0),
    PLAIN("q4_1", "5 bits", 3, Q4_1),
    PLAIN("q4_0", "4.5 bits", 2, Q4_0),
    PLAIN("iq4_nl", "4.5 bits, codes not evenly spaced", 25, IQ4_NL),
    PLAIN("iq4_xs", "4.25 bits, codes not evenly spaced", 30, IQ4_XS),
    PLAIN("mxfp4", "4.25 bits, floats of four bits", 38, MXFP4),
    PLAIN("nvfp4", "4.5 bits, floats of four bits", 39, NVFP4),
    PLAIN("tq2_0", "2.06 bits, for models that were trained ternary", 37, TQ2_0),
    PLAIN("tq1_0", "1.69 bits, for models that were trained ternary", 36, TQ1_0),
    PLAIN("bf16", "16 bits, the range of f32", 32, BF16),
    PLAIN("f16", "16 bits", 1, F16),
    PLAIN("f32", "32 bits", 0, F32),
};
enum { N_TYPES = sizeof types / sizeof types[0] };

bool mlxn_quantize_type_at(uint32_t i, const char **name, const char **about) {
    if (i >= N_TYPES) return false;
    if (name) *name = types[i].name;
    if (about) *about = types[i].about;
    return true;
}

const mlxn_quantize_type *mlxn_quantize_type_find(const char *name) {
    for (size_t i = 0; name && i < N_TYPES; i++)
        if (!strcasecmp(types[i].name, name)) return &types[i];
    return NULL;
}

/* ---- tensors ---- */

static bool has(mlxn_string name, const char *part) {
    size_t n = strlen(part);
    for (uint64_t i = 0; i + n <= name.size; i++)
        if (!memcmp(name.data + i, part, n)) return true;
    return false;
}
static bool ends(mlxn_string name, const char *end) {
    size_t n = strlen(end);
    return name.size >= n && !memcmp(name.data + name.size - n, end, n);
}
static bool is(mlxn_string name, const char *text) { return name.size == strlen(text) && ends(name, text); }

/* Matrices that are small, and that a model is sensitive to: routers, convolutions, positions, decays. */
static const char *const kept[] = {"_norm",         "ffn_gate_inp", "ssm_conv1d",          "shortconv",
                                   "position_embd", "token_types",  "time_mix_",           "attn_rel_b",
                                   "altup",         "laurel",       "per_layer_model_proj"};

mlxn_tensor_use mlxn_quantize_use_of(const mlxn_gguf_tensor *t) {
    if (t->rank < 2 || !ends(t->name, ".weight")) return MLXN_USE_KEEP;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (has(t->name, kept[i])) return MLXN_USE_KEEP;
    if (is(t->name, "output.weight")) return MLXN_USE_OUTPUT;
    return is(t->name, "token_embd.weight") ? MLXN_USE_EMBEDDING : MLXN_USE_MATRIX;
}

/* The number of the layer in "blk.<i>."; false if there is none. */
static bool layer_of(mlxn_string name, uint64_t *layer) {
    static const char prefix[] = "blk.";
    uint64_t i = sizeof prefix - 1, value = 0;
    if (name.size < i || memcmp(name.data, prefix, (size_t)i)) return false;
    for (; i < name.size && name.data[i] >= '0' && name.data[i] <= '9' && value < 1000000; i++)
        value = 10 * value + (uint64_t)(name.data[i] - '0');
    *layer = value;
    return i < name.size && name.data[i] == '.';
}

/* The first and last eighth of the layers, and every third of the others: the choice that the K mixes of GGUF files
 * are known for. */
static bool more_bits(uint64_t layer, uint64_t n_layers) {
    uint64_t eighth = n_layers / 8;
    return layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2;
}

mlxn_format mlxn_quantize_format_of(const mlxn_quantize_type *type, const mlxn_gguf_tensor *tensor, uint64_t n_layers,
                                    bool tied) {
    uint64_t layer;
    switch (mlxn_quantize_use_of(tensor)) {
        case MLXN_USE_KEEP:
            return (mlxn_format)tensor->type;
        case MLXN_USE_OUTPUT:
            return type->more;
        case MLXN_USE_EMBEDDING:
            return tied ? type->more : type->format;
        case MLXN_USE_MATRIX:
            break;
    }
    if ((has(tensor->name, "attn_v") || has(tensor->name, "ffn_down")) && layer_of(tensor->name, &layer) &&
        more_bits(layer, n_layers))
        return type->more;
    return type->format;
}

static bool fits(mlxn_format format, uint64_t cols) {
    mlxn_format_info info;
    return mlxn_format_get_info(format, &info) && cols % info.block_values == 0;
}

mlxn_format mlxn_quantize_fallback(mlxn_format format, uint64_t cols) {
    if (fits(format, cols)) return format;
    static const struct {
        mlxn_format format, smaller;
    } rows[] = {
        {MLXN_FORMAT_Q6_K, MLXN_FORMAT_Q8_0},    {MLXN_FORMAT_Q5_K, MLXN_FORMAT_Q5_1},
        {MLXN_FORMAT_Q4_K, MLXN_FORMAT_Q5_0},    {MLXN_FORMAT_Q3_K, MLXN_FORMAT_IQ4_NL},
        {MLXN_FORMAT_Q2_K, MLXN_FORMAT_IQ4_NL},  {MLXN_FORMAT_IQ4_XS, MLXN_FORMAT_IQ4_NL},
        {MLXN_FORMAT_TQ1_0, MLXN_FORMAT_IQ4_NL}, {MLXN_FORMAT_TQ2_0, MLXN_FORMAT_IQ4_NL},
        {MLXN_FORMAT_NVFP4, MLXN_FORMAT_MXFP4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].format == format && fits(rows[i].smaller, cols)) return rows[i].smaller;
    return MLXN_FORMAT_F16;
}
