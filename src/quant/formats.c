/* formats.c: the table of formats and the public functions over it. */
#include "quant/mlx.h"

#include <inttypes.h>
#include <math.h>

/* One row each. SEARCHED: there is a search for weights too; GRID: cannot be written. */
#define PLAIN(NAME, name, values, bytes, limit) \
    { MLXN_FORMAT_##NAME, {#NAME, values, bytes}, mlxn_decode_##name, mlxn_encode_##name, limit, NULL }
#define SEARCHED(NAME, name, values, bytes, limit)                                                 \
    {                                                                                              \
        MLXN_FORMAT_##NAME, {#NAME, values, bytes}, mlxn_decode_##name, mlxn_encode_##name, limit, \
            mlxn_encode_weighted_##name                                                            \
    }
#define GRID(NAME, name, bytes) \
    { MLXN_FORMAT_##NAME, {#NAME, 256, bytes}, mlxn_decode_##name, NULL, 0, NULL }
static const mlxn_quant_format formats[] = {
    PLAIN(F32, f32, 1, 4, 0),
    PLAIN(F16, f16, 1, 2, 0),
    PLAIN(BF16, bf16, 1, 2, 0),
    SEARCHED(Q4_0, q4_0, 32, 18, 8 * 65520.0f),
    SEARCHED(Q4_1, q4_1, 32, 20, 65520.0f),
    SEARCHED(Q5_0, q5_0, 32, 22, 16 * 65520.0f),
    SEARCHED(Q5_1, q5_1, 32, 24, 65520.0f),
    PLAIN(Q8_0, q8_0, 32, 34, 127 * 65520.0f),
    SEARCHED(Q4_K, q4_k, 256, 144, 32 * 65520.0f),
    SEARCHED(Q5_K, q5_k, 256, 176, 32 * 65520.0f),
    SEARCHED(Q6_K, q6_k, 256, 210, 2048 * 65520.0f),
    PLAIN(Q8_1, q8_1, 32, 36, 2047.0f),
    SEARCHED(Q2_K, q2_k, 256, 84, 8 * 65520.0f),
    SEARCHED(Q3_K, q3_k, 256, 110, 64 * 65520.0f),
    PLAIN(Q8_K, q8_k, 256, 292, 0x1p127f),
    GRID(IQ2_XXS, iq2_xxs, 66),
    GRID(IQ2_XS, iq2_xs, 74),
    GRID(IQ2_S, iq2_s, 82),
    GRID(IQ3_XXS, iq3_xxs, 98),
    GRID(IQ3_S, iq3_s, 110),
    GRID(IQ1_S, iq1_s, 50),
    GRID(IQ1_M, iq1_m, 56),
    SEARCHED(IQ4_NL, iq4_nl, 32, 18, 64 * 65520.0f),
    SEARCHED(IQ4_XS, iq4_xs, 256, 136, 2048 * 65520.0f),
    PLAIN(TQ1_0, tq1_0, 256, 54, 65520.0f),
    PLAIN(TQ2_0, tq2_0, 256, 66, 65520.0f),
    PLAIN(MXFP4, mxfp4, 32, 17, INFINITY),
    PLAIN(NVFP4, nvfp4, 64, 36, INFINITY),
    PLAIN(Q1_0, q1_0, 128, 18, 65504.0f),
    PLAIN(Q2_0, q2_0, 64, 18, 65520.0f),
};

const mlxn_quant_format *mlxn_quant_find(mlxn_format format) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].format == format) return &formats[i];
    return mlxn_mlx_find(format);
}

bool mlxn_format_get_info(mlxn_format format, mlxn_format_info *out) {
    const mlxn_quant_format *row = mlxn_quant_find(format);
    if (!row) return false;
    *out = row->info;
    return true;
}

const char *mlxn_format_name(mlxn_format format) {
    const mlxn_quant_format *row = mlxn_quant_find(format);
    return row ? row->info.name : "?";
}

/* The table row, after checking that `cols` fits its block. */
static mlxn_status find_for_row(const char *what, mlxn_format format, uint64_t cols, const mlxn_quant_format **out,
                                uint64_t *bytes, mlxn_error *error) {
    const mlxn_quant_format *row = mlxn_quant_find(format);
    if (!row)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: format %d is unknown to this build", what, (int)format);
    const mlxn_format_info *info = &row->info;
    if (cols == 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: cols is 0, want at least 1", what, info->name);
    if (cols % info->block_values)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: cols is %" PRIu64 ", want a multiple of %u", what,
                         info->name, cols, info->block_values);
    if (!mlxn_mul_u64(cols / info->block_values, info->block_bytes, bytes))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: a row of %" PRIu64 " elements passes 2^64 bytes", what,
                         info->name, cols);
    *out = row;
    return MLXN_OK;
}

mlxn_status mlxn_format_row_bytes(mlxn_format format, uint64_t cols, uint64_t *out, mlxn_error *error) {
    const mlxn_quant_format *row = NULL;
    mlxn_status status = find_for_row("row of", format, cols, &row, out, error);
    return status ? status : mlxn_succeed(error);
}

static mlxn_status refuse_groups(const char *what, const mlxn_quant_format *row, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED,
                     "%s %s: scales lie apart from the codes, which is what mlxn_%s_groups is for", what,
                     row->info.name, what);
}

mlxn_status mlxn_dequantize_row(mlxn_format format, const void *src, uint64_t cols, float *dst, mlxn_error *error) {
    const mlxn_quant_format *row = NULL;
    uint64_t bytes;
    mlxn_status status = find_for_row("dequantize", format, cols, &row, &bytes, error);
    if (status) return status;
    if (!row->decode) return refuse_groups("dequantize", row, error);
    row->decode(src, cols, dst);
    return mlxn_succeed(error);
}

/* The table row of a format that can be encoded so, after checking that every value is below the limit times
 * `part`. */
static mlxn_status check_values(mlxn_format format, const float *src, float part, uint64_t cols,
                                const mlxn_quant_format **out, mlxn_error *error) {
    const mlxn_quant_format *row = NULL;
    uint64_t bytes;
    mlxn_status status = find_for_row("quantize", format, cols, &row, &bytes, error);
    if (status) return status;
    if (!row->decode) return refuse_groups("quantize", row, error);
    if (!row->encode)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "quantize %s: this build has no encoder for the format",
                         row->info.name);
    float limit = row->limit * part;
    for (uint64_t i = 0; limit != 0 && i < cols; i++)
        if (!(fabsf(src[i]) < limit)) /* also true for NaN */
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "quantize %s: element %" PRIu64 " is %g, want a number of magnitude below %g",
                             row->info.name, i, (double)src[i], (double)limit);
    *out = row;
    return MLXN_OK;
}

mlxn_status mlxn_quantize_row(mlxn_format format, const float *src, uint64_t cols, void *dst, mlxn_error *error) {
    const mlxn_quant_format *row = NULL;
    mlxn_status status = check_values(format, src, 1.0f, cols, &row, error);
    if (status) return status;
    row->encode(src, cols, dst);
    return mlxn_succeed(error);
}

mlxn_status mlxn_quantize_row_weighted(mlxn_format format, const float *src, const float *importance, uint64_t cols,
                                       void *dst, mlxn_error *error) {
    const mlxn_quant_format *row = mlxn_quant_find(format);
    /* A scale follows the elements that count, and these may be coded by the smallest values of a format: an eighth
     * of the limit keeps it finite whatever the importance. */
    float part = importance && row && row->encode_weighted ? 0.125f : 1.0f;
    mlxn_status status = check_values(format, src, part, cols, &row, error);
    if (status) return status;
    for (uint64_t i = 0; importance && i < cols; i++)
        if (!(importance[i] >= 0.0f && importance[i] <= 1e6f))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "quantize %s: importance of column %" PRIu64 " is %g, want a number of 0 … 1e6",
                             row->info.name, i, (double)importance[i]);
    if (row->encode_weighted)
        row->encode_weighted(src, importance, cols, dst);
    else
        row->encode(src, cols, dst);
    return mlxn_succeed(error);
}
