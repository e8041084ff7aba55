/* kv_types.c: the row types of key and value caches (kv.h): names, sizes, and the scalar codec of each. */
#include "quant/kv_types.h"

#include <inttypes.h>
#include <math.h>
#include <strings.h>

#include "quant/turboquant.h"

static const mlxn_kv_row rows[MLXN_KV_TYPE_COUNT] = {
    [MLXN_KV_F32] = {"f32", MLXN_F32, MLXN_FORMAT_F32, 0},
    [MLXN_KV_F16] = {"f16", MLXN_F16, MLXN_FORMAT_F16, 0},
    [MLXN_KV_BF16] = {"bf16", MLXN_BF16, MLXN_FORMAT_BF16, 0},
    [MLXN_KV_Q8_0] = {"q8_0", MLXN_U8, MLXN_FORMAT_Q8_0, 0},
    [MLXN_KV_Q4_0] = {"q4_0", MLXN_U8, MLXN_FORMAT_Q4_0, 0},
    [MLXN_KV_Q4_1] = {"q4_1", MLXN_U8, MLXN_FORMAT_Q4_1, 0},
    [MLXN_KV_Q5_0] = {"q5_0", MLXN_U8, MLXN_FORMAT_Q5_0, 0},
    [MLXN_KV_Q5_1] = {"q5_1", MLXN_U8, MLXN_FORMAT_Q5_1, 0},
    [MLXN_KV_TQ4] = {"tq4", MLXN_U8, MLXN_FORMAT_F32, 4},
    [MLXN_KV_TQ5] = {"tq5", MLXN_U8, MLXN_FORMAT_F32, 5},
    [MLXN_KV_TQ6] = {"tq6", MLXN_U8, MLXN_FORMAT_F32, 6},
    [MLXN_KV_TQ8] = {"tq8", MLXN_U8, MLXN_FORMAT_F32, 8},
};

const mlxn_kv_row *mlxn_kv_find(uint32_t type) {
    return type > MLXN_KV_DEFAULT && type < MLXN_KV_TYPE_COUNT ? &rows[type] : NULL;
}

mlxn_kv_type mlxn_kv_resolve(uint32_t type, mlxn_dtype dtype) {
    if (type != MLXN_KV_DEFAULT) return (mlxn_kv_type)type;
    return dtype == MLXN_F32    ? MLXN_KV_F32
           : dtype == MLXN_F16  ? MLXN_KV_F16
           : dtype == MLXN_BF16 ? MLXN_KV_BF16
                                : MLXN_KV_DEFAULT;
}

const char *mlxn_kv_type_name(mlxn_kv_type type) {
    const mlxn_kv_row *row = mlxn_kv_find(type);
    return row ? row->name : "?";
}

bool mlxn_kv_type_rotated(mlxn_kv_type type) {
    const mlxn_kv_row *row = mlxn_kv_find(type);
    return row && row->bits;
}

mlxn_status mlxn_kv_type_parse(const char *name, size_t size, mlxn_kv_type *out, mlxn_error *error) {
    if (!name || !out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kv type: name or out is NULL");
    for (uint32_t i = 1; i < MLXN_KV_TYPE_COUNT; i++)
        if (strlen(rows[i].name) == size && strncasecmp(rows[i].name, name, size) == 0) {
            *out = (mlxn_kv_type)i;
            return mlxn_succeed(error);
        }
    return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                     "kv type: \"%.*s\" is none; there are f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, tq4, tq5, "
                     "tq6 and tq8",
                     (int)mlxn_min_u64(size, 64), name);
}

static uint64_t tq_bytes(uint32_t bits, uint64_t d) { return 4 * mlxn_kv_norms(d) + d * bits / 8; }

mlxn_status mlxn_kv_row_bytes(mlxn_kv_type type, uint64_t d, uint64_t *out, mlxn_error *error) {
    const mlxn_kv_row *row = mlxn_kv_find(type);
    if (!row)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kv type: %d is none, want 1 to %d", (int)type,
                         MLXN_KV_TYPE_COUNT - 1);
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kv type: out is NULL");
    if (row->bits) {
        if (d != 64 && d != 128 && d != 256 && d != 512)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "kv type %s: a row has %" PRIu64 " values, want 64, 128, 256 or 512", row->name, d);
        *out = tq_bytes(row->bits, d);
        return mlxn_succeed(error);
    }
    mlxn_status status = mlxn_format_row_bytes(row->format, d, out, error);
    if (status) mlxn_error_prefix(error, "kv type");
    return status;
}

void mlxn_kv_rotate(float *x, uint64_t d) {
    mlxn_turboquant_negate(x, d, mlxn_turboquant_signs());
    mlxn_turboquant_transform(x, d);
}

void mlxn_kv_unrotate(float *x, uint64_t d) {
    mlxn_turboquant_transform(x, d);
    mlxn_turboquant_negate(x, d, mlxn_turboquant_signs());
}

/* Places a code of coordinate i, on top of zeros. */
static void put_code(uint32_t bits, uint8_t *codes, uint64_t d, uint64_t i, uint32_t code) {
    if (bits == 8) {
        codes[i] = (uint8_t)code;
        return;
    }
    codes[i / 32 * 16 + i % 16] |= (uint8_t)((code & 15) << (i % 32 >= 16 ? 4 : 0));
    for (uint32_t b = 4; b < bits; b++) {
        uint8_t *plane = codes + d / 2 + (b - 4) * (d / 8);
        plane[i / 8] |= (uint8_t)((code >> b & 1) << i % 8);
    }
}

static uint32_t get_code(uint32_t bits, const uint8_t *codes, uint64_t d, uint64_t i) {
    if (bits == 8) return codes[i];
    uint32_t code = codes[i / 32 * 16 + i % 16] >> (i % 32 >= 16 ? 4 : 0) & 15u;
    for (uint32_t b = 4; b < bits; b++) code |= (codes[d / 2 + (b - 4) * (d / 8) + i / 8] >> i % 8 & 1u) << b;
    return code;
}

static void encode_tq(uint32_t bits, const float *x, uint64_t d, uint8_t *row) {
    float y[MLXN_KV_MAX_TQ];
    uint8_t codes[MLXN_KV_MAX_TQ];
    uint64_t n_norms = mlxn_kv_norms(d), block = d / n_norms;
    memcpy(y, x, d * sizeof *y);
    mlxn_kv_rotate(y, d);
    for (uint64_t b = 0; b < n_norms; b++) {
        /* two norms are roots of means over 256 */
        float norm =
            mlxn_turboquant_code_block(mlxn_turboquant_book_find(bits), y + b * block, (uint32_t)block,
                                       n_norms > 1 ? 16 : 1, n_norms > 1 ? 1 : sqrt((double)d), codes + b * block);
        uint32_t raw;
        if (!isfinite(norm)) norm = NAN; /* what cannot be stored shows */
        memcpy(&raw, &norm, 4);
        mlxn_store_u32(row + 4 * b, raw);
    }
    memset(row + 4 * n_norms, 0, d * bits / 8);
    for (uint64_t i = 0; i < d; i++) put_code(bits, row + 4 * n_norms, d, i, codes[i]);
}

static void decode_tq(uint32_t bits, const uint8_t *row, uint64_t d, float *out) {
    float table[256];
    uint64_t n_norms = mlxn_kv_norms(d), block = d / n_norms;
    mlxn_turboquant_book_expand(mlxn_turboquant_book_find(bits), table);
    for (uint64_t i = 0; i < d; i++) {
        uint32_t raw = mlxn_load_u32(row + 4 * (i / block));
        float norm;
        memcpy(&norm, &raw, 4);
        out[i] = table[get_code(bits, row + 4 * n_norms, d, i)] * mlxn_kv_step(d, norm);
    }
}

/* Block formats cannot hold every number: a block that their encoder must not see gets a scale that is NaN. */
static void encode_blocks(const mlxn_quant_format *format, const float *x, uint64_t d, uint8_t *row) {
    uint64_t n = format->info.block_values, bytes = format->info.block_bytes;
    for (; d; d -= n, x += n, row += bytes) {
        bool good = true;
        for (uint64_t i = 0; i < n; i++) good = good && fabsf(x[i]) < format->limit;
        if (good) {
            format->encode(x, n, row);
        } else {
            memset(row, 0, bytes);
            mlxn_store_u16(row, 0x7e00);
        }
    }
}

void mlxn_kv_encode(mlxn_kv_type type, const float *x, uint64_t d, uint8_t *row) {
    if (rows[type].bits)
        encode_tq(rows[type].bits, x, d, row);
    else if (mlxn_kv_plain(type))
        mlxn_quant_find(rows[type].format)->encode(x, d, row);
    else
        encode_blocks(mlxn_quant_find(rows[type].format), x, d, row);
}

void mlxn_kv_decode(mlxn_kv_type type, const uint8_t *row, uint64_t d, float *out) {
    if (rows[type].bits)
        decode_tq(rows[type].bits, row, d, out);
    else
        mlxn_quant_find(rows[type].format)->decode(row, d, out);
}

static mlxn_status check_row(mlxn_kv_type type, const void *x, const void *row, uint64_t d, uint64_t bytes,
                             mlxn_error *error) {
    uint64_t want;
    mlxn_status status = mlxn_kv_row_bytes(type, d, &want, error);
    if (status) return status;
    if (!x || !row)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kv type %s: %s is NULL", rows[type].name,
                         x ? "row" : "the vector");
    if (bytes != want)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "kv type %s: a row has %" PRIu64 " bytes, want %" PRIu64 " for %" PRIu64 " values",
                         rows[type].name, bytes, want, d);
    return MLXN_OK;
}

mlxn_status mlxn_kv_encode_row(mlxn_kv_type type, const float *x, uint64_t d, void *row, uint64_t bytes,
                               mlxn_error *error) {
    mlxn_status status = check_row(type, x, row, d, bytes, error);
    if (status) return status;
    mlxn_kv_encode(type, x, d, row);
    return mlxn_succeed(error);
}

mlxn_status mlxn_kv_decode_row(mlxn_kv_type type, const void *row, uint64_t bytes, float *out, uint64_t d,
                               mlxn_error *error) {
    mlxn_status status = check_row(type, out, row, d, bytes, error);
    if (status) return status;
    mlxn_kv_decode(type, row, d, out);
    return mlxn_succeed(error);
}
