/* turboquant_hb.c: the TurboQuant codec of KV caches: signs, transform, one byte per value, norms. */
#include "quant/turboquant.h"

#include <inttypes.h>
#include <math.h>

mlxn_status mlxn_turboquant_hb_check(const mlxn_turboquant_hb *codec, mlxn_error *error) {
    if (!codec) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb: codec is NULL, want a pointer");
    if (codec->dim != 256 && codec->dim != 512)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb: dim is %u, want 256 or 512", codec->dim);
    if (codec->bits != 5 && codec->bits != 6 && codec->bits != 8)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb: bits is %u, want 5, 6 or 8", codec->bits);
    if (!(codec->scale_factor >= 0 && isfinite(codec->scale_factor)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb: scale_factor is %g, want a finite number >= 0",
                         (double)codec->scale_factor);
    return MLXN_OK;
}

static uint32_t norms_of(const mlxn_turboquant_hb *codec) { return codec->dim / MLXN_TURBOQUANT_HB_BLOCK; }

/* What the coordinates of a block are divided by its norm and multiplied with before they are coded. */
static float code_scale(const mlxn_turboquant_hb *codec) {
    if (codec->dim == MLXN_TURBOQUANT_HB_BLOCK) return 16; /* sqrt(256): the norm is a length, not a mean */
    return codec->scale_factor != 0 ? codec->scale_factor : 1;
}

float mlxn_turboquant_hb_step(const mlxn_turboquant_hb *codec, float norm) { return norm / code_scale(codec); }

static mlxn_status check_sizes(const char *what, const mlxn_turboquant_hb *codec, uint64_t n, uint64_t code_bytes,
                               uint64_t norm_count, mlxn_error *error) {
    if (n != codec->dim)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb %s: got %" PRIu64 " floats, want dim = %u", what, n,
                         codec->dim);
    if (code_bytes != codec->dim)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb %s: codes has %" PRIu64 " bytes, want dim = %u",
                         what, code_bytes, codec->dim);
    if (norm_count != norms_of(codec))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb %s: got %" PRIu64 " norms, want %u for dim %u",
                         what, norm_count, norms_of(codec), codec->dim);
    return MLXN_OK;
}

static mlxn_status check_pointers(const char *what, const void *floats, const void *codes, const void *norms,
                                  mlxn_error *error) {
    if (floats && codes && norms) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb %s: %s is NULL, want a pointer", what,
                     !floats  ? "the vector"
                     : !codes ? "codes"
                              : "norms");
}

mlxn_status mlxn_turboquant_hb_norms(const mlxn_turboquant_hb *codec, uint32_t *out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant hb norms: out is NULL, want a pointer");
    mlxn_status status = mlxn_turboquant_hb_check(codec, error);
    if (status) return status;
    *out = norms_of(codec);
    return mlxn_succeed(error);
}

mlxn_status mlxn_turboquant_hb_encode(const mlxn_turboquant_hb *codec, const float *x, uint64_t n, uint8_t *codes,
                                      uint64_t code_bytes, float *norms, uint64_t norm_count, mlxn_error *error) {
    mlxn_status status = mlxn_turboquant_hb_check(codec, error);
    if (!status) status = check_sizes("encode", codec, n, code_bytes, norm_count, error);
    if (!status) status = check_pointers("encode", x, codes, norms, error);
    if (status) return status;
    float y[MLXN_TURBOQUANT_MAX_SIGNS];
    memcpy(y, x, n * sizeof *y);
    mlxn_turboquant_negate(y, n, mlxn_turboquant_signs());
    mlxn_turboquant_transform(y, n);
    const mlxn_turboquant_book *book = mlxn_turboquant_book_find(codec->bits);
    for (uint64_t b = 0; b < norm_count; b++) {
        const uint64_t at = b * MLXN_TURBOQUANT_HB_BLOCK;
        /* two norms are roots of means over 256 */
        norms[b] = mlxn_turboquant_code_block(book, y + at, MLXN_TURBOQUANT_HB_BLOCK, norm_count > 1 ? 16 : 1,
                                              (double)code_scale(codec), codes + at);
        if (!isfinite(norms[b]))
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "turboquant hb encode: norm %" PRIu64 " is %g, want a finite binary32", b,
                             (double)norms[b]);
    }
    return mlxn_succeed(error);
}

mlxn_status mlxn_turboquant_hb_decode(const mlxn_turboquant_hb *codec, const uint8_t *codes, uint64_t code_bytes,
                                      const float *norms, uint64_t norm_count, float *out, uint64_t n,
                                      mlxn_error *error) {
    mlxn_status status = mlxn_turboquant_hb_check(codec, error);
    if (!status) status = check_sizes("decode", codec, n, code_bytes, norm_count, error);
    if (!status) status = check_pointers("decode", out, codes, norms, error);
    if (status) return status;
    float table[256];
    mlxn_turboquant_book_expand(mlxn_turboquant_book_find(codec->bits), table);
    const uint32_t mask = (1u << codec->bits) - 1;
    for (uint64_t i = 0; i < n; i++)
        out[i] = table[codes[i] & mask] * mlxn_turboquant_hb_step(codec, norms[i / MLXN_TURBOQUANT_HB_BLOCK]);
    return mlxn_succeed(error);
}
