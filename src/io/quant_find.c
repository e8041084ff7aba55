/* quant_find.c: the tensors of a quantised module of an MLX folder: weight, scales and biases, checked against the
 * config and one another. */
#include <stdio.h>

#include "io/safetensors.h"

/* "[4, 8]", for messages; after four numbers "...". */
typedef struct shape_text {
    char s[136];
} shape_text;

static shape_text shape_of(const mlxn_safetensors_tensor *tensor) {
    shape_text out = {"["};
    size_t at = 1;
    for (uint32_t i = 0; i < tensor->rank && i <= 4; i++) /* 4 numbers of at most 26 characters */
        at += (size_t)snprintf(out.s + at, sizeof out.s - at, "%s%s", i ? ", " : "",
                               i == 4 ? "..." : mlxn_gg_number(tensor->dims[i]).s);
    snprintf(out.s + at, sizeof out.s - at, "]");
    return out;
}

static mlxn_status bad(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_error *error,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));
static mlxn_status bad(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_error *error,
                       const char *format, ...) {
    char text[300];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor %s: %s", file->shards[tensor->shard].name,
                     mlxn_gg_quote(tensor->name).s, text);
}

/* Dims of weight and scales against the parameters; fills the logical shape. */
static mlxn_status check_shapes(const mlxn_safetensors *file, mlxn_quant_tensors *out, mlxn_error *error) {
    const mlxn_safetensors_tensor *weight = &out->weight, *scales = &out->scales;
    uint32_t bits = out->params.bits, group = out->params.group_size, last = weight->rank - 1;
    if (weight->rank < 1 || weight->rank > MLXN_MAX_RANK)
        return bad(file, weight, error, "rank is %u, want 1 to %d", weight->rank, MLXN_MAX_RANK);
    if (weight->elements == 0) return bad(file, weight, error, "is empty: %s", shape_of(weight).s);
    uint64_t stream, logical;
    if (!mlxn_mul_u64(weight->dims[last], 32, &stream) || stream % bits)
        return bad(file, weight, error, "rows of %s words hold no whole number of %u-bit values",
                   mlxn_gg_number(weight->dims[last]).s, bits);
    logical = stream / bits;
    out->rank = weight->rank;
    out->elements = 1;
    for (uint32_t i = 0; i < weight->rank; i++) {
        out->dims[i] = i == last ? logical : weight->dims[i];
        if (!mlxn_mul_u64(out->elements, out->dims[i], &out->elements))
            return bad(file, weight, error, "%s of %u bits pass 2^64 values", shape_of(weight).s, bits);
    }
    out->num_groups = logical / group + (logical % group != 0);
    bool fits = scales->rank == weight->rank && scales->dims[last] == out->num_groups;
    for (uint32_t i = 0; fits && i < last; i++) fits = scales->dims[i] == weight->dims[i];
    if (!fits)
        return bad(file, scales, error, "shape is %s; the weight is %s with %u bits in groups of %u: want rows of %s",
                   shape_of(scales).s, shape_of(weight).s, bits, group, mlxn_gg_number(out->num_groups).s);
    return MLXN_OK;
}

static bool is_scale_dtype(mlxn_quant_mode mode, mlxn_st_dtype dtype) {
    if (mode != MLXN_QUANT_AFFINE) return dtype == MLXN_ST_U8;
    return dtype == MLXN_ST_F32 || dtype == MLXN_ST_F16 || dtype == MLXN_ST_BF16;
}

static mlxn_status check(const mlxn_safetensors *file, mlxn_quant_tensors *out, mlxn_error *error) {
    const mlxn_safetensors_tensor *scales = &out->scales, *biases = &out->biases;
    bool affine = out->params.mode == MLXN_QUANT_AFFINE;
    if (out->weight.dtype != MLXN_ST_U32)
        return bad(file, &out->weight, error, "has scales, but its dtype is %s, want U32",
                   mlxn_gg_quote_text(out->weight.dtype_name).s);
    if (!is_scale_dtype(out->params.mode, scales->dtype))
        return bad(file, scales, error, "dtype is %s, want %s in mode %s", mlxn_gg_quote_text(scales->dtype_name).s,
                   affine ? "F32, F16 or BF16" : "U8", mlxn_quant_mode_name(out->params.mode));
    mlxn_status status = check_shapes(file, out, error);
    (void)mlxn_st_dtype_to_dtype(scales->dtype, &out->scales_dtype); /* each of the above has one */
    if (status || !out->biases.data) return status;
    if (!affine) return bad(file, biases, error, "mode %s has no biases", mlxn_quant_mode_name(out->params.mode));
    if (biases->dtype != scales->dtype)
        return bad(file, biases, error, "dtype is %s, but the scales are %s",
                   mlxn_gg_quote_text(biases->dtype_name).s, scales->dtype_name);
    if (biases->rank != scales->rank ||
        memcmp(biases->dims, scales->dims, (size_t)scales->rank * sizeof *scales->dims) != 0)
        return bad(file, biases, error, "shape is %s, but the scales are %s", shape_of(biases).s, shape_of(scales).s);
    return MLXN_OK;
}

mlxn_status mlxn_quant_tensors_find(const mlxn_safetensors *file, const mlxn_quant_config *config, const char *base,
                                    mlxn_quant_tensors *out, bool *found, mlxn_error *error) {
    static const char *const suffixes[] = {".scales", ".biases", ".weight", ""};
    mlxn_safetensors_tensor *const to[] = {&out->scales, &out->biases, &out->weight, &out->weight};
    bool there[4] = {false};
    size_t length = strlen(base);
    *found = false;
    memset(out, 0, sizeof *out);
    char *path = mlxn_alloc(length + sizeof ".weight");
    if (!path) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory for a name", file->shards[0].name);
    memcpy(path, base, length);
    for (int i = 0; i < 4; i++) {
        if (i == 3 && there[2]) break;
        memcpy(path + length, suffixes[i], strlen(suffixes[i]) + 1);
        there[i] = mlxn_safetensors_find_tensor(file, path, to[i]);
        if (i == 0 && !there[0]) break;
    }
    mlxn_free(path);
    if (!there[0]) return MLXN_OK;
    out->params = mlxn_quant_config_lookup(config, base);
    if (!out->params.quantized) return MLXN_OK;
    if (!there[2] && !there[3])
        return bad(file, &out->scales, error, "there is neither %s.weight nor %s", mlxn_gg_quote_text(base).s,
                   mlxn_gg_quote_text(base).s);
    mlxn_status status = check(file, out, error);
    *found = !status;
    return status;
}
