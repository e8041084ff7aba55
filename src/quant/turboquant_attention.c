/* turboquant_attention.c: decode attention over an hb cache, the reference that kernels are measured against.
 *
 * One query row, every sum in binary32 from left to right: the result depends on the arguments only. */
#include "quant/turboquant.h"

#include <inttypes.h>
#include <math.h>

#define MASKED_SCORE -65504.0f /* the lowest finite binary16 */

static mlxn_status check_params(const mlxn_turboquant_attention *p, mlxn_error *error) {
    if (!p) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: params is NULL, want a pointer");
    mlxn_status status = mlxn_turboquant_hb_check(&p->codec, error);
    if (status) return status;
    if (p->heads == 0 || p->kv_heads == 0 || p->heads % p->kv_heads)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "turboquant attention: heads is %u with %u kv_heads, want a positive multiple", p->heads,
                         p->kv_heads);
    if (p->seq_len == 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: seq_len is 0, want at least 1");
    if (p->capacity < p->seq_len)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: capacity is %u, want at least seq_len = %u",
                         p->capacity, p->seq_len);
    if (p->ring_start >= p->capacity)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: ring_start is %u, want below capacity = %u",
                         p->ring_start, p->capacity);
    if (!isfinite(p->scale))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: scale is %g, want a finite number",
                         (double)p->scale);
    if (!(p->softcap >= 0 && isfinite(p->softcap)))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: softcap is %g, want a finite number >= 0",
                         (double)p->softcap);
    if (p->mask != MLXN_TURBOQUANT_MASK_NONE && p->mask != MLXN_TURBOQUANT_MASK_CAUSAL &&
        p->mask != MLXN_TURBOQUANT_MASK_WINDOW)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: mask is %d, want 0, 1 or 2", (int)p->mask);
    return MLXN_OK;
}

static mlxn_status check_rows(const char *name, const float *rows, uint64_t count, const mlxn_turboquant_attention *p,
                              mlxn_error *error) {
    const uint64_t want = (uint64_t)p->heads * p->codec.dim;
    if (!rows || count != want)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "turboquant attention: %s has %" PRIu64 " floats at %s, want %" PRIu64 " of %u heads", name,
                         count, rows ? "a pointer" : "NULL", want, p->heads);
    return MLXN_OK;
}

static mlxn_status check_cache(const char *name, const mlxn_turboquant_cache *cache,
                               const mlxn_turboquant_attention *p, mlxn_error *error) {
    if (!cache || !cache->codes || !cache->norms)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: %s %s is NULL, want a pointer", name,
                         !cache         ? "cache"
                         : cache->codes ? "norms"
                                        : "codes");
    const uint64_t slots = (uint64_t)p->kv_heads * p->capacity, norms = p->codec.dim / MLXN_TURBOQUANT_HB_BLOCK;
    uint64_t want;
    if (!mlxn_mul_u64(slots, p->codec.dim, &want))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "turboquant attention: %u kv_heads of %u slots of %u bytes pass 2^64 bytes", p->kv_heads,
                         p->capacity, p->codec.dim);
    if (cache->code_bytes != want)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "turboquant attention: %s codes has %" PRIu64 " bytes, want %" PRIu64, name,
                         cache->code_bytes, want);
    if (cache->norm_count != slots * norms)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "turboquant attention: got %" PRIu64 " %s norms, want %" PRIu64,
                         cache->norm_count, name, slots * norms);
    return MLXN_OK;
}

/* One slot of one kv head. */
typedef struct slot {
    const uint8_t *codes;
    float step[2]; /* per block */
} slot;

static slot slot_of(const mlxn_turboquant_attention *p, const mlxn_turboquant_cache *cache, uint64_t index) {
    const uint64_t norms = p->codec.dim / MLXN_TURBOQUANT_HB_BLOCK;
    slot s = {.codes = cache->codes + index * p->codec.dim};
    for (uint64_t b = 0; b < norms; b++)
        s.step[b] = mlxn_turboquant_hb_step(&p->codec, cache->norms[index * norms + b]);
    return s;
}

static bool is_attended(const mlxn_turboquant_attention *p, uint32_t index) {
    const uint64_t position = ((uint64_t)index + p->capacity - p->ring_start) % p->capacity;
    const bool has_window = p->mask == MLXN_TURBOQUANT_MASK_WINDOW && p->window > 0 && p->seq_len > p->window;
    return position < p->seq_len && (!has_window || position >= p->seq_len - p->window);
}

static void attend(const mlxn_turboquant_attention *p, const float *table, const float *q,
                   const mlxn_turboquant_cache *k, const mlxn_turboquant_cache *v, uint64_t first_slot, float *scores,
                   float *out) {
    const uint32_t dim = p->codec.dim, mask = (1u << p->codec.bits) - 1;
    memset(out, 0, dim * sizeof *out);
    float top = -INFINITY;
    bool any = false;
    for (uint32_t i = 0; i < p->seq_len; i++) {
        float score = MASKED_SCORE;
        if (is_attended(p, i)) {
            const slot s = slot_of(p, k, first_slot + i);
            float dot = 0;
            for (uint32_t j = 0; j < dim; j++)
                dot += q[j] * (table[s.codes[j] & mask] * s.step[j / MLXN_TURBOQUANT_HB_BLOCK]);
            score = p->scale * dot;
            if (p->softcap > 0) score = p->softcap * tanhf(score / p->softcap);
            any = true;
        }
        scores[i] = score;
        top = fmaxf(top, score);
    }
    if (!any) return;
    float sum = 0;
    for (uint32_t i = 0; i < p->seq_len; i++) {
        const float weight = expf(scores[i] - top);
        if (weight == 0) continue; /* so that what lies in a masked slot cannot reach the result */
        sum += weight;
        const slot s = slot_of(p, v, first_slot + i);
        for (uint32_t j = 0; j < dim; j++)
            out[j] += weight * (table[s.codes[j] & mask] * s.step[j / MLXN_TURBOQUANT_HB_BLOCK]);
    }
    for (uint32_t j = 0; j < dim; j++) out[j] /= sum;
}

mlxn_status mlxn_turboquant_hb_attention(const mlxn_turboquant_attention *params, const float *q, uint64_t q_count,
                                         const mlxn_turboquant_cache *k, const mlxn_turboquant_cache *v, float *out,
                                         uint64_t out_count, mlxn_error *error) {
    mlxn_status status = check_params(params, error);
    if (!status) status = check_rows("q", q, q_count, params, error);
    if (!status) status = check_rows("out", out, out_count, params, error);
    if (!status) status = check_cache("k", k, params, error);
    if (!status) status = check_cache("v", v, params, error);
    if (status) return status;
    float table[256];
    mlxn_turboquant_book_expand(mlxn_turboquant_book_find(params->codec.bits), table);
    float *scores = mlxn_alloc_array(params->seq_len, sizeof *scores);
    if (!scores)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "turboquant attention: no memory for %u scores", params->seq_len);
    const uint32_t group = params->heads / params->kv_heads;
    for (uint32_t h = 0; h < params->heads; h++)
        attend(params, table, q + (uint64_t)h * params->codec.dim, k, v, (uint64_t)(h / group) * params->capacity,
               scores, out + (uint64_t)h * params->codec.dim);
    mlxn_free(scores);
    return mlxn_succeed(error);
}
