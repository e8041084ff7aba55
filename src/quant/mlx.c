/* mlx.c: the formats of MLX: affine codes of 2 to 8 bits, and the small floats mxfp4, mxfp8 and nvfp4.
 *
 * A row's codes are one stream of bits, element k in bits k * bits up from the lowest. Every group of elements has a
 * scale (and a bias in the affine mode). Every product and sum is one binary32 operation, never fused; encoders work
 * with the unrounded scale and bias, which are rounded to their dtype only where they are stored. */
#include "quant/mlx.h"

#include <inttypes.h>
#include <math.h>

#define AFFINE(bits, group)                                                                                        \
    {                                                                                                              \
        MLXN_FORMAT_AFFINE##bits##_G##group, {"affine" #bits "_g" #group, group, group * bits / 8}, NULL, NULL, 0, \
            NULL                                                                                                   \
    }
#define AFFINE_GROUPS(bits) AFFINE(bits, 32), AFFINE(bits, 64), AFFINE(bits, 128)
static const mlxn_quant_format formats[] = {
    AFFINE_GROUPS(2),
    AFFINE_GROUPS(3),
    AFFINE_GROUPS(4),
    AFFINE_GROUPS(5),
    AFFINE_GROUPS(6),
    AFFINE_GROUPS(8),
    {MLXN_FORMAT_MLX_MXFP4, {"mlx_mxfp4", 32, 16}, NULL, NULL, 0, NULL},
    {MLXN_FORMAT_MLX_MXFP8, {"mlx_mxfp8", 32, 32}, NULL, NULL, 0, NULL},
    {MLXN_FORMAT_MLX_NVFP4, {"mlx_nvfp4", 16, 8}, NULL, NULL, 0, NULL},
};

const mlxn_quant_format *mlxn_mlx_find(mlxn_format format) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].format == format) return &formats[i];
    return NULL;
}

bool mlxn_format_get_groups(mlxn_format format, mlxn_group_info *out) {
    const mlxn_quant_format *row = mlxn_mlx_find(format);
    if (!row) return false;
    *out = (mlxn_group_info){.mode = format == MLXN_FORMAT_MLX_MXFP4   ? MLXN_QUANT_MXFP4
                                     : format == MLXN_FORMAT_MLX_MXFP8 ? MLXN_QUANT_MXFP8
                                     : format == MLXN_FORMAT_MLX_NVFP4 ? MLXN_QUANT_NVFP4
                                                                       : MLXN_QUANT_AFFINE,
                             .bits = row->info.block_bytes * 8 / row->info.block_values,
                             .group_size = row->info.block_values};
    return true;
}

mlxn_status mlxn_format_of_groups(mlxn_quant_mode mode, uint32_t bits, uint32_t group_size, mlxn_format *out,
                                  mlxn_error *error) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        mlxn_group_info info;
        mlxn_format_get_groups(formats[i].format, &info);
        if (info.mode != mode || info.bits != bits || info.group_size != group_size) continue;
        *out = formats[i].format;
        return mlxn_succeed(error);
    }
    return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "no format has %u bits in groups of %u in quantization mode %d",
                     bits, group_size, (int)mode);
}

/* --- The small floats. --- */

static const float e2m1[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

float mlxn_e2m1_to_f32(uint8_t code) { return code & 8 ? -e2m1[code & 7] : e2m1[code & 7]; }

uint8_t mlxn_f32_to_e2m1(float value, bool mlx_cpu) {
    float a = fabsf(value);
    uint8_t code = isnan(value) ? 7 : 0;
    for (uint8_t c = 1; c < 8; c++) {
        float middle = (e2m1[c - 1] + e2m1[c]) / 2;
        if (a > middle || (a == middle && !mlx_cpu && c % 2 == 0)) code = c;
    }
    if (mlx_cpu && !code) return 0;
    return signbit(value) && !isnan(value) ? code | 8 : code;
}

float mlxn_e4m3_to_f32(uint8_t code) {
    int exponent = code >> 3 & 15, mantissa = code & 7;
    if ((code & 0x7f) == 0x7f) return NAN;
    float a = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    return code & 0x80 ? -a : a;
}

uint8_t mlxn_f32_to_e4m3(float value) {
    uint8_t sign = signbit(value) ? 0x80 : 0;
    float a = fabsf(value);
    if (!(a < 448.0f)) return sign | 0x7e;
    if (a < 0x1p-6f) return sign | (uint8_t)rintf(a * 512.0f); /* 8 is the smallest normal number */
    int exponent;
    float mantissa = frexpf(a, &exponent); /* a = mantissa * 2^exponent, mantissa in [0.5, 1) */
    uint32_t sixteenths = (uint32_t)rintf(mantissa * 16.0f);
    return sign | (uint8_t)(((uint32_t)(exponent + 6) << 3) + sixteenths - 8);
}

float mlxn_e8m0_to_f32(uint8_t code) { return code == 255 ? INFINITY : ldexpf(1.0f, (int)code - 127); }

uint8_t mlxn_f32_to_e8m0(float value, bool mlx_cpu) {
    if (!isfinite(value)) return 255;
    if (!(value > 0.0f)) return 0;
    float n = mlx_cpu ? ceilf(log2f(value)) : roundf(log2f(value));
    return (uint8_t)((n < -127.0f ? -127 : n > 127.0f ? 127 : (int)n) + 127);
}

/* --- Decoding. --- */

static float load(mlxn_dtype dtype, const void *from, uint64_t i) {
    const uint8_t *at = from;
    if (dtype == MLXN_F16) return mlxn_load_f16(at + 2 * i);
    if (dtype == MLXN_BF16) return mlxn_bf16_to_f32(mlxn_load_u16(at + 2 * i));
    uint32_t bits = mlxn_load_u32(at + 4 * i);
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void store(mlxn_dtype dtype, float value, void *to, uint64_t i) {
    uint8_t *at = to;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (dtype == MLXN_F16)
        mlxn_store_u16(at + 2 * i, mlxn_f32_to_f16(value));
    else if (dtype == MLXN_BF16)
        mlxn_store_u16(at + 2 * i, mlxn_f32_to_bf16(value));
    else
        mlxn_store_u32(at + 4 * i, bits);
}

/* The largest numbers of the element and of the scale, which a global scale maps to the tensor's largest. */
static const float nvfp4_range = 448.0f * 6.0f;

float mlxn_mlx_scale(const mlxn_group_info *groups, mlxn_dtype dtype, const void *scales, uint64_t i,
                     float global_scale) {
    if (groups->mode == MLXN_QUANT_AFFINE) return load(dtype, scales, i);
    uint8_t byte = ((const uint8_t *)scales)[i];
    if (groups->mode != MLXN_QUANT_NVFP4) return mlxn_e8m0_to_f32(byte);
    float scale = mlxn_e4m3_to_f32(byte);
    return global_scale != 0.0f ? scale * (global_scale / nvfp4_range) : scale;
}

void mlxn_mlx_decode(const mlxn_group_info *groups, const mlxn_group_row *src, uint64_t cols, float *dst) {
    const uint8_t *codes = src->codes;
    bool affine = groups->mode == MLXN_QUANT_AFFINE;
    for (uint64_t k = 0; k < cols; k += 8, codes += groups->bits) {
        uint64_t g = k / groups->group_size;
        float scale = mlxn_mlx_scale(groups, src->scale_dtype, src->scales, g, src->global_scale);
        float bias = affine ? load(src->scale_dtype, src->biases, g) : 0.0f;
        uint8_t eight[8];
        mlxn_mlx_codes(codes, groups->bits, eight);
        for (int i = 0; i < 8; i++) {
            if (affine)
                dst[k + i] = scale * (float)eight[i] + bias;
            else
                dst[k + i] = (groups->bits == 8 ? mlxn_e4m3_to_f32(eight[i]) : mlxn_e2m1_to_f32(eight[i])) * scale;
        }
    }
}

/* --- Encoding. --- */

static void store_codes(const uint8_t *codes, uint64_t n, uint32_t bits, uint8_t *stream) {
    for (uint64_t k = 0; k < n; k += 8, codes += 8, stream += bits) {
        uint64_t word = 0;
        for (uint32_t i = 0; i < 8; i++) word |= (uint64_t)codes[i] << bits * i;
        for (uint32_t i = 0; i < bits; i++) stream[i] = (uint8_t)(word >> 8 * i);
    }
}

/* The end of the range with the larger magnitude is met exactly, and zero where it is a whole number of steps away.
 */
static void encode_affine(const mlxn_group_info *groups, const float *x, uint8_t *codes, float *scale, float *bias) {
    float low = INFINITY, high = -INFINITY, most = (float)((1u << groups->bits) - 1);
    for (uint32_t i = 0; i < groups->group_size; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    bool from_low = fabsf(low) > fabsf(high);
    float s = fmaxf((high - low) / most, 1e-7f), edge = from_low ? low : high, b = 0.0f;
    if (!from_low) s = -s;
    float steps = rintf(edge / s);
    if (steps != 0.0f) {
        s = edge / steps;
        b = edge;
    }
    for (uint32_t i = 0; i < groups->group_size; i++)
        codes[i] = (uint8_t)fminf(fmaxf(rintf((x[i] - b) / s), 0.0f), most);
    *scale = s;
    *bias = b;
}

/* Returns the byte of the scale. */
static uint8_t encode_float(const mlxn_group_info *groups, const mlxn_group_row *dst, const float *x,
                            uint8_t *codes) {
    float most = 0.0f;
    for (uint32_t i = 0; i < groups->group_size; i++) most = fmaxf(most, fabsf(x[i]));
    float scale = most / (groups->bits == 8 ? 448.0f : 6.0f);
    if (dst->global_scale != 0.0f) scale *= nvfp4_range / dst->global_scale;
    uint8_t byte = groups->mode == MLXN_QUANT_NVFP4 ? mlxn_f32_to_e4m3(scale) : mlxn_f32_to_e8m0(scale, dst->mlx_cpu);
    float decoded = mlxn_mlx_scale(groups, MLXN_U8, &byte, 0, dst->global_scale);
    for (uint32_t i = 0; i < groups->group_size; i++) {
        float value = decoded == 0.0f ? 0.0f : x[i] / decoded;
        codes[i] = groups->bits == 8 ? mlxn_f32_to_e4m3(value) : mlxn_f32_to_e2m1(value, dst->mlx_cpu);
    }
    return byte;
}

static mlxn_status check_row(const char *what, mlxn_format format, const mlxn_group_row *row, uint64_t cols,
                             mlxn_group_info *groups, mlxn_error *error) {
    const char *name = mlxn_format_name(format);
    if (!mlxn_format_get_groups(format, groups))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: format %s (%d) has no groups", what, name, (int)format);
    bool affine = groups->mode == MLXN_QUANT_AFFINE;
    if (!row || !row->codes || !row->scales || (affine && !row->biases))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: %s is NULL", what, name,
                         !row           ? "the row"
                         : !row->codes  ? "codes"
                         : !row->scales ? "scales"
                                        : "biases");
    if (!cols || cols % groups->group_size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: cols is %" PRIu64 ", want a multiple of %u", what, name,
                         cols, groups->group_size);
    mlxn_dtype d = row->scale_dtype;
    if (affine ? d != MLXN_F32 && d != MLXN_F16 && d != MLXN_BF16 : d != MLXN_U8)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: dtype of the scales is %s, want %s", what, name,
                         mlxn_dtype_name(d), affine ? "f32, f16 or bf16" : "u8");
    if (row->global_scale != 0.0f &&
        (groups->mode != MLXN_QUANT_NVFP4 || !(row->global_scale > 0.0f) || isinf(row->global_scale)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s %s: global_scale is %g, want 0%s", what, name,
                         (double)row->global_scale,
                         groups->mode == MLXN_QUANT_NVFP4 ? " or a positive number" : ", it is for nvfp4");
    return MLXN_OK;
}

mlxn_status mlxn_dequantize_groups(mlxn_format format, const mlxn_group_row *src, uint64_t cols, float *dst,
                                   mlxn_error *error) {
    mlxn_group_info groups;
    mlxn_status status = check_row("dequantize", format, src, cols, &groups, error);
    if (status) return status;
    mlxn_mlx_decode(&groups, src, cols, dst);
    return mlxn_succeed(error);
}

mlxn_status mlxn_quantize_groups(mlxn_format format, const float *src, uint64_t cols, const mlxn_group_row *dst,
                                 mlxn_error *error) {
    mlxn_group_info groups;
    mlxn_status status = check_row("quantize", format, dst, cols, &groups, error);
    if (status) return status;
    float limit = dst->scale_dtype == MLXN_F16 ? 65520.0f : dst->scale_dtype == MLXN_BF16 ? 3.3e38f : INFINITY;
    for (uint64_t i = 0; i < cols; i++)
        if (!(fabsf(src[i]) < limit)) /* also true for NaN */
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "quantize %s: element %" PRIu64 " is %g, want a number of magnitude below %g",
                             mlxn_format_name(format), i, (double)src[i], (double)limit);
    for (uint64_t k = 0, g = 0; k < cols; k += groups.group_size, g++) {
        uint8_t codes[128];
        if (groups.mode == MLXN_QUANT_AFFINE) {
            float scale, bias;
            encode_affine(&groups, src + k, codes, &scale, &bias);
            store(dst->scale_dtype, scale, dst->scales, g);
            store(dst->scale_dtype, bias, dst->biases, g);
        } else {
            ((uint8_t *)dst->scales)[g] = encode_float(&groups, dst, src + k, codes);
        }
        store_codes(codes, groups.group_size, groups.bits, (uint8_t *)dst->codes + k / 8 * groups.bits);
    }
    return mlxn_succeed(error);
}
