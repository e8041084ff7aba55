/* formats.c: the table of formats and the public functions over it. */
#include "quant/mlx.h"

#include <inttypes.h>
#include <math.h>

static const mlxn_quant_format formats[] = {
    {MLXN_FORMAT_F32, {"F32", 1, 4}, mlxn_decode_f32, mlxn_encode_f32, 0},
    {MLXN_FORMAT_F16, {"F16", 1, 2}, mlxn_decode_f16, mlxn_encode_f16, 0},
    {MLXN_FORMAT_BF16, {"BF16", 1, 2}, mlxn_decode_bf16, mlxn_encode_bf16, 0},
    {MLXN_FORMAT_Q4_0, {"Q4_0", 32, 18}, mlxn_decode_q4_0, mlxn_encode_q4_0, 8 * 65520.0f},
    {MLXN_FORMAT_Q4_1, {"Q4_1", 32, 20}, mlxn_decode_q4_1, mlxn_encode_q4_1, 65520.0f},
    {MLXN_FORMAT_Q5_0, {"Q5_0", 32, 22}, mlxn_decode_q5_0, mlxn_encode_q5_0, 16 * 65520.0f},
    {MLXN_FORMAT_Q5_1, {"Q5_1", 32, 24}, mlxn_decode_q5_1, mlxn_encode_q5_1, 65520.0f},
    {MLXN_FORMAT_Q8_0, {"Q8_0", 32, 34}, mlxn_decode_q8_0, mlxn_encode_q8_0, 127 * 65520.0f},
    {MLXN_FORMAT_Q4_K, {"Q4_K", 256, 144}, mlxn_decode_q4_k, mlxn_encode_q4_k, 32 * 65520.0f},
    {MLXN_FORMAT_Q5_K, {"Q5_K", 256, 176}, mlxn_decode_q5_k, mlxn_encode_q5_k, 32 * 65520.0f},
    {MLXN_FORMAT_Q6_K, {"Q6_K", 256, 210}, mlxn_decode_q6_k, mlxn_encode_q6_k, 2048 * 65520.0f},
    {MLXN_FORMAT_Q8_1, {"Q8_1", 32, 36}, mlxn_decode_q8_1, mlxn_encode_q8_1, 2047.0f},
    {MLXN_FORMAT_Q2_K, {"Q2_K", 256, 84}, mlxn_decode_q2_k, mlxn_encode_q2_k, 8 * 65520.0f},
    {MLXN_FORMAT_Q3_K, {"Q3_K", 256, 110}, mlxn_decode_q3_k, mlxn_encode_q3_k, 64 * 65520.0f},
    {MLXN_FORMAT_Q8_K, {"Q8_K", 256, 292}, mlxn_decode_q8_k, mlxn_encode_q8_k, 0x1p127f},
    {MLXN_FORMAT_IQ2_XXS, {"IQ2_XXS", 256, 66}, mlxn_decode_iq2_xxs, NULL, 0},
    {MLXN_FORMAT_IQ2_XS, {"IQ2_XS", 256, 74}, mlxn_decode_iq2_xs, NULL, 0},
    {MLXN_FORMAT_IQ2_S, {"IQ2_S", 256, 82}, mlxn_decode_iq2_s, NULL, 0},
    {MLXN_FORMAT_IQ3_XXS, {"IQ3_XXS", 256, 98}, mlxn_decode_iq3_xxs, NULL, 0},
    {MLXN_FORMAT_IQ3_S, {"IQ3_S", 256, 110}, mlxn_decode_iq3_s, NULL, 0},
    {MLXN_FORMAT_IQ1_S, {"IQ1_S", 256, 50}, mlxn_decode_iq1_s, NULL, 0},
    {MLXN_FORMAT_IQ1_M, {"IQ1_M", 256, 56}, mlxn_decode_iq1_m, NULL, 0},
    {MLXN_FORMAT_IQ4_NL, {"IQ4_NL", 32, 18}, mlxn_decode_iq4_nl, mlxn_encode_iq4_nl, 64 * 65520.0f},
    {MLXN_FORMAT_IQ4_XS, {"IQ4_XS", 256, 136}, mlxn_decode_iq4_xs, mlxn_encode_iq4_xs, 2048 * 65520.0f},
    {MLXN_FORMAT_TQ1_0, {"TQ1_0", 256, 54}, mlxn_decode_tq1_0, mlxn_encode_tq1_0, 65520.0f},
    {MLXN_FORMAT_TQ2_0, {"TQ2_0", 256, 66}, mlxn_decode_tq2_0, mlxn_encode_tq2_0, 65520.0f},
    {MLXN_FORMAT_MXFP4, {"MXFP4", 32, 17}, mlxn_decode_mxfp4, mlxn_encode_mxfp4, INFINITY},
    {MLXN_FORMAT_NVFP4, {"NVFP4", 64, 36}, mlxn_decode_nvfp4, mlxn_encode_nvfp4, INFINITY},
    {MLXN_FORMAT_Q1_0, {"Q1_0", 128, 18}, mlxn_decode_q1_0, mlxn_encode_q1_0, 65504.0f},
    {MLXN_FORMAT_Q2_0, {"Q2_0", 64, 18}, mlxn_decode_q2_0, mlxn_encode_q2_0, 65520.0f},
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

mlxn_status mlxn_quantize_row(mlxn_format format, const float *src, uint64_t cols, void *dst, mlxn_error *error) {
    const mlxn_quant_format *row = NULL;
    uint64_t bytes;
    mlxn_status status = find_for_row("quantize", format, cols, &row, &bytes, error);
    if (status) return status;
    if (!row->decode) return refuse_groups("quantize", row, error);
    if (!row->encode)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "quantize %s: this build has no encoder for the format",
                         row->info.name);
    for (uint64_t i = 0; row->limit != 0 && i < cols; i++)
        if (!(fabsf(src[i]) < row->limit)) /* also true for NaN */
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "quantize %s: element %" PRIu64 " is %g, want a number of magnitude below %g",
                             row->info.name, i, (double)src[i], (double)row->limit);
    row->encode(src, cols, dst);
    return mlxn_succeed(error);
}
