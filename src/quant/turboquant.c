/* turboquant.c: the TurboQuant transform and the codec that packs 2 to 4 bits per value into one bit string. */
#include "quant/turboquant.h"

#include <inttypes.h>
#include <math.h>

#define ZERO_NORM 1e-30f /* vectors shorter than this are stored as zero */

void mlxn_turboquant_transform(float *x, uint64_t n) {
    for (uint64_t h = 1; h < n; h *= 2)
        for (uint64_t i = 0; i < n; i += 2 * h)
            for (uint64_t j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
    const float scale = (float)(1 / sqrt((double)n));
    for (uint64_t i = 0; i < n; i++) x[i] *= scale;
}

void mlxn_turboquant_negate(float *x, uint64_t n, const uint8_t *signs) {
    for (uint64_t i = 0; i < n; i++)
        if (signs[i / 8] >> (i % 8) & 1) x[i] = -x[i];
}

double mlxn_turboquant_length(const float *x, uint64_t n) {
    double sum = 0; /* squares of binary32 numbers neither overflow nor vanish here */
    for (uint64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static mlxn_status check_power(const char *what, const void *x, uint64_t n, mlxn_error *error) {
    if (!x) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant %s: x is NULL, want %" PRIu64 " floats", what, n);
    if (!mlxn_turboquant_is_power(n))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant %s: length is %" PRIu64 ", want a power of two", what,
                         n);
    return MLXN_OK;
}

mlxn_status mlxn_turboquant_fwht(float *x, uint64_t n, mlxn_error *error) {
    mlxn_status status = check_power("fwht", x, n, error);
    if (status) return status;
    mlxn_turboquant_transform(x, n);
    return mlxn_succeed(error);
}

mlxn_status mlxn_turboquant_apply_signs(float *x, uint64_t n, const uint8_t *signs, uint64_t sign_bytes,
                                        mlxn_error *error) {
    if (n == 0) return mlxn_succeed(error);
    if (!x || !signs)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant signs: %s is NULL, want data of %" PRIu64 " values",
                         x ? "signs" : "x", n);
    const uint64_t want = (n - 1) / 8 + 1;
    if (sign_bytes < want)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "turboquant signs: got %" PRIu64 " bytes, want at least %" PRIu64 " for %" PRIu64 " values",
                         sign_bytes, want, n);
    mlxn_turboquant_negate(x, n, signs);
    return mlxn_succeed(error);
}

static mlxn_status check_rotation(const char *what, const float *x, uint64_t n, mlxn_error *error) {
    mlxn_status status = check_power(what, x, n, error);
    if (!status && n > MLXN_TURBOQUANT_MAX_SIGNS)
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant %s: length is %" PRIu64 ", want at most %d", what, n,
                           MLXN_TURBOQUANT_MAX_SIGNS);
    return status;
}

mlxn_status mlxn_turboquant_rotate(float *x, uint64_t n, mlxn_error *error) {
    mlxn_status status = check_rotation("rotate", x, n, error);
    if (status) return status;
    mlxn_turboquant_negate(x, n, mlxn_turboquant_signs());
    mlxn_turboquant_transform(x, n);
    return mlxn_succeed(error);
}

mlxn_status mlxn_turboquant_unrotate(float *x, uint64_t n, mlxn_error *error) {
    mlxn_status status = check_rotation("unrotate", x, n, error);
    if (status) return status;
    mlxn_turboquant_transform(x, n);
    mlxn_turboquant_negate(x, n, mlxn_turboquant_signs());
    return mlxn_succeed(error);
}

/* How a vector is cut: the first `split` coordinates with one table, the rest with another. */
typedef struct layout {
    uint64_t dim, split, bytes;
    const mlxn_turboquant_book *first, *rest;
} layout;

static mlxn_status find_layout(const mlxn_turboquant_config *config, layout *out, mlxn_error *error) {
    if (!config) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant: config is NULL, want a pointer");
    if (!mlxn_turboquant_is_power(config->dim))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant: dim is %u, want a power of two", config->dim);
    const mlxn_turboquant_width width = config->width;
    uint32_t first = 0, rest = 0;
    if (width == MLXN_TURBOQUANT_2_BIT || width == MLXN_TURBOQUANT_3_BIT || width == MLXN_TURBOQUANT_4_BIT)
        first = rest = (uint32_t)width / 10;
    else if (width == MLXN_TURBOQUANT_2_5_BIT)
        first = 3, rest = 2;
    if (first == 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant: width is %d tenths of a bit, want 20, 25, 30 or 40",
                         (int)config->width);
    *out = (layout){.dim = config->dim,
                    .split = config->dim / 4,
                    .first = mlxn_turboquant_book_find(first),
                    .rest = mlxn_turboquant_book_find(rest)};
    out->bytes = (out->split * first + (out->dim - out->split) * rest + 7) / 8;
    return MLXN_OK;
}

static mlxn_status check_sizes(const char *what, const layout *l, uint64_t n, uint64_t packed_bytes,
                               mlxn_error *error) {
    if (n != l->dim)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant %s: got %" PRIu64 " floats, want dim = %" PRIu64, what,
                         n, l->dim);
    if (packed_bytes != l->bytes)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant %s: packed has %" PRIu64 " bytes, want %" PRIu64, what,
                         packed_bytes, l->bytes);
    return MLXN_OK;
}

mlxn_status mlxn_turboquant_packed_bytes(const mlxn_turboquant_config *config, uint64_t *out, mlxn_error *error) {
    layout l = {0};
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant packed bytes: out is NULL, want a pointer");
    mlxn_status status = find_layout(config, &l, error);
    if (status) return status;
    *out = l.bytes;
    return mlxn_succeed(error);
}

static void pack(const layout *l, const float *y, float scale, uint8_t *packed) {
    uint32_t pending = 0, count = 0; /* `count` low bits wait, the oldest highest */
    for (uint64_t i = 0; i < l->dim; i++) {
        const mlxn_turboquant_book *book = i < l->split ? l->first : l->rest;
        pending = pending << book->bits | mlxn_turboquant_book_nearest(book, y[i] * scale);
        count += book->bits;
        if (count >= 8) {
            count -= 8;
            *packed++ = (uint8_t)(pending >> count);
        }
    }
    if (count) *packed = (uint8_t)(pending << (8 - count));
}

static void unpack(const layout *l, const uint8_t *packed, float scale, float *y) {
    float first[16], rest[16];
    mlxn_turboquant_book_expand(l->first, first);
    mlxn_turboquant_book_expand(l->rest, rest);
    uint32_t pending = 0, count = 0;
    for (uint64_t i = 0; i < l->dim; i++) {
        const bool is_first = i < l->split;
        const uint32_t bits = is_first ? l->first->bits : l->rest->bits;
        if (count < bits) {
            pending = pending << 8 | *packed++;
            count += 8;
        }
        count -= bits;
        y[i] = (is_first ? first : rest)[pending >> count & ((1u << bits) - 1)] * scale;
    }
}

mlxn_status mlxn_turboquant_quantize(const mlxn_turboquant_config *config, const float *x, uint64_t n,
                                     uint8_t *packed, uint64_t packed_bytes, float *norm, mlxn_error *error) {
    layout l = {0};
    mlxn_status status = find_layout(config, &l, error);
    if (!status) status = check_sizes("quantize", &l, n, packed_bytes, error);
    if (status) return status;
    if (!x || !packed || !norm)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant quantize: %s is NULL, want a pointer",
                         !x        ? "x"
                         : !packed ? "packed"
                                   : "norm");
    float *y = mlxn_alloc_array((size_t)n, sizeof *y);
    if (!y) return mlxn_fail(error, MLXN_ERR_MEMORY, "turboquant quantize: no memory for %" PRIu64 " floats", n);
    memcpy(y, x, (size_t)n * sizeof *y);
    mlxn_turboquant_transform(y, n);
    const double length = mlxn_turboquant_length(y, n);
    const float rounded = (float)length;
    if (!isfinite(rounded)) {
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant quantize: the norm is %g, want a finite binary32",
                           length);
    } else if (rounded < ZERO_NORM) {
        memset(packed, 0, (size_t)l.bytes);
        *norm = 0;
    } else {
        pack(&l, y, (float)(sqrt((double)n) / length), packed);
        *norm = rounded;
    }
    mlxn_free(y);
    return status ? status : mlxn_succeed(error);
}

mlxn_status mlxn_turboquant_dequantize(const mlxn_turboquant_config *config, const uint8_t *packed,
                                       uint64_t packed_bytes, float norm, float *out, uint64_t n, mlxn_error *error) {
    layout l = {0};
    mlxn_status status = find_layout(config, &l, error);
    if (!status) status = check_sizes("dequantize", &l, n, packed_bytes, error);
    if (status) return status;
    if (!packed || !out)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant dequantize: %s is NULL, want a pointer",
                         packed ? "out" : "packed");
    if (!(norm >= 0 && isfinite(norm)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant dequantize: norm is %g, want a finite number >= 0",
                         (double)norm);
    unpack(&l, packed, (float)((double)norm / sqrt((double)n)), out);
    mlxn_turboquant_transform(out, n);
    return mlxn_succeed(error);
}
