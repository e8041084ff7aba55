/* mlxn/turboquant.h: the TurboQuant codec of key and value vectors on the host, and its attention reference.
 *
 * A vector is rotated by the normalised Walsh-Hadamard matrix H (natural order, H = H^T = H^-1), after which its
 * coordinates are close to normally distributed; each is then stored as the index of the nearest centroid of a fixed
 * table, and the length of the vector beside them (Zandieh et al. 2025; tables: Lloyd 1957, Max 1960).
 * docs/TURBOQUANT.md has the layouts and formulas.
 *
 * Two codecs share the tables and are not byte-compatible:
 *   packed  2, 2.5, 3 or 4 bits, any power of two, no signs, one bit string per vector, most significant bit first
 *   hb      5, 6 or 8 bits, one byte per value, dim 256 or 512, signs before the transform: what KV caches hold
 *
 * Pure functions of their arguments: any thread at any time; buffers are the caller's and, but for those that a
 * function changes in place, must not overlap. Sums that become a norm are taken in double. Errors: ARGUMENT for a
 * null pointer, a wrong size, a setting outside its list, NaN or infinity; MEMORY where it is said. On an error the
 * output is unspecified. */
#ifndef MLXN_TURBOQUANT_H
#define MLXN_TURBOQUANT_H

#include <mlxn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- transform and signs --- */

/* x <- H x, in place: for h = 1, 2, 4, ... < n: (a, b) at distance h -> (a + b, a - b); at last times n^-1/2. Its own
 * inverse. n: a power of two (1 changes nothing). Additions are binary32; values are not examined. */
MLXN_API mlxn_status mlxn_turboquant_fwht(float *x, uint64_t n, mlxn_error *error);

#define MLXN_TURBOQUANT_SIGN_BYTES 64 /* signs of 512 coordinates */

/* The sign mask of the codec: coordinate j is negated iff bit (j mod 8), least significant first, of byte j/8 is 1.
 * The first 32 bytes are the mask of dim 256. Never NULL. */
MLXN_API const uint8_t *mlxn_turboquant_signs(void);
/* Negates the coordinates whose bit is 1, in place; its own inverse. signs: sign_bytes >= n/8 rounded up. */
MLXN_API mlxn_status mlxn_turboquant_apply_signs(float *x, uint64_t n, const uint8_t *signs, uint64_t sign_bytes,
                                                 mlxn_error *error);
/* rotate: x <- H (s x), unrotate: x <- s (H x), s the codec's signs: what a query goes through before attention over
 * an hb cache, and the result after it. n: a power of two <= 512. */
MLXN_API mlxn_status mlxn_turboquant_rotate(float *x, uint64_t n, mlxn_error *error);
MLXN_API mlxn_status mlxn_turboquant_unrotate(float *x, uint64_t n, mlxn_error *error);

/* --- centroid tables; bits: 2, 3, 4, 5, 6 or 8 --- */

/* Of `index` the low `bits` bits count, as of a byte of a cache. Ascending, odd-symmetric. */
MLXN_API mlxn_status mlxn_turboquant_centroid(uint32_t bits, uint32_t index, float *out, mlxn_error *error);
/* The index of the nearest centroid in exact arithmetic, the lower one on a tie (so 0 -> 127 at 8 bits); infinities
 * go to the ends. ARGUMENT also for NaN. */
MLXN_API mlxn_status mlxn_turboquant_nearest(uint32_t bits, float value, uint32_t *out, mlxn_error *error);

/* --- the packed codec --- */

/* Values are tenths of bits. */
typedef enum mlxn_turboquant_width {
    MLXN_TURBOQUANT_2_BIT = 20,
    MLXN_TURBOQUANT_2_5_BIT = 25, /* the first dim/4 coordinates with 3 bits, the rest with 2 */
    MLXN_TURBOQUANT_3_BIT = 30,
    MLXN_TURBOQUANT_4_BIT = 40
} mlxn_turboquant_width;

typedef struct mlxn_turboquant_config {
    uint32_t dim; /* a power of two */
    mlxn_turboquant_width width;
} mlxn_turboquant_config;

/* Bytes of one packed vector; unused bits of the last byte are 0. */
MLXN_API mlxn_status mlxn_turboquant_packed_bytes(const mlxn_turboquant_config *config, uint64_t *out,
                                                  mlxn_error *error);
/* y = H x, norm = |y|, index_j = nearest(y_j sqrt(dim) / norm). norm < 1e-30: all indices and the norm are 0.
 * x: n = dim floats; packed: packed_bytes = what the query says. Also MEMORY. */
MLXN_API mlxn_status mlxn_turboquant_quantize(const mlxn_turboquant_config *config, const float *x, uint64_t n,
                                              uint8_t *packed, uint64_t packed_bytes, float *norm, mlxn_error *error);
/* out = H y with y_j = centroid(index_j) norm / sqrt(dim). norm: finite, >= 0; sizes as for quantize. */
MLXN_API mlxn_status mlxn_turboquant_dequantize(const mlxn_turboquant_config *config, const uint8_t *packed,
                                                uint64_t packed_bytes, float norm, float *out, uint64_t n,
                                                mlxn_error *error);

/* --- the hb codec --- */

typedef struct mlxn_turboquant_hb {
    uint32_t dim;       /* 256: one norm, |y|; 512: one per 256 coordinates, sqrt(sum y^2 / 256) */
    uint32_t bits;      /* 5, 6 or 8 */
    float scale_factor; /* f of dim 512; 0 = 1; not used by dim 256 */
} mlxn_turboquant_hb;

/* Norms per vector: 1 or 2. */
MLXN_API mlxn_status mlxn_turboquant_hb_norms(const mlxn_turboquant_hb *codec, uint32_t *out, mlxn_error *error);
/* y = H (s x); code_j = nearest(y_j 16 / norm) (dim 256) or nearest(y_j f / norm of the block) (dim 512); a norm
 * <= 1e-10 codes its coordinates as 0. x: n = dim floats; codes: code_bytes = dim; norms: norm_count = hb_norms. */
MLXN_API mlxn_status mlxn_turboquant_hb_encode(const mlxn_turboquant_hb *codec, const float *x, uint64_t n,
                                               uint8_t *codes, uint64_t code_bytes, float *norms, uint64_t norm_count,
                                               mlxn_error *error);
/* out_j = centroid(code_j) norm / 16, or centroid(code_j) norm_block / f: still rotated (mlxn_turboquant_unrotate).
 */
MLXN_API mlxn_status mlxn_turboquant_hb_decode(const mlxn_turboquant_hb *codec, const uint8_t *codes,
                                               uint64_t code_bytes, const float *norms, uint64_t norm_count,
                                               float *out, uint64_t n, mlxn_error *error);

/* --- codebooks --- */

/* The centroids of least mean squared error for a standard normal variable, ascending, exactly odd-symmetric.
 * levels: 1 to 1024; out: `levels` doubles. Accurate to about 1e-12. Also MEMORY; INTERNAL if the iteration does not
 * settle. */
MLXN_API mlxn_status mlxn_turboquant_lloyd_max(uint32_t levels, double *out, mlxn_error *error);
/* The same for one coordinate of a uniformly random unit vector in `dim` dimensions, density ~ (1-t^2)^((dim-3)/2) on
 * [-1, 1]: times sqrt(dim) they approach those of the normal variable. dim: 3 to 2^20. */
MLXN_API mlxn_status mlxn_turboquant_lloyd_max_beta(uint32_t dim, uint32_t levels, double *out, mlxn_error *error);

/* --- attention over an hb cache: the reference --- */

typedef enum mlxn_turboquant_mask {
    MLXN_TURBOQUANT_MASK_NONE = 0,
    MLXN_TURBOQUANT_MASK_CAUSAL = 1, /* of one query at the end: the same as none */
    MLXN_TURBOQUANT_MASK_WINDOW = 2  /* the newest `window` positions; 0 = all */
} mlxn_turboquant_mask;

typedef struct mlxn_turboquant_attention {
    mlxn_turboquant_hb codec;
    uint32_t heads, kv_heads; /* head h reads kv head h / (heads / kv_heads); heads a multiple of kv_heads */
    uint32_t seq_len;         /* slots in use, >= 1 */
    uint32_t capacity;        /* slots per kv head, >= seq_len */
    float scale;              /* of the scores */
    float softcap;            /* scores s become softcap tanh(s / softcap); 0 = none */
    mlxn_turboquant_mask mask;
    uint32_t window;
    uint32_t ring_start; /* < capacity: the slot of the oldest position once the ring has wrapped, else 0 */
} mlxn_turboquant_attention;

/* Keys or values of all heads. codes: [kv_heads, capacity, dim] bytes; norms: [kv_heads, capacity] floats, for dim
 * 512 [kv_heads, capacity, 2]. */
typedef struct mlxn_turboquant_cache {
    const uint8_t *codes;
    uint64_t code_bytes;
    const float *norms;
    uint64_t norm_count;
} mlxn_turboquant_cache;

/* out_h = sum over slots p < seq_len of softmax(scale q_h . K_p)_p V_p, K and V as hb_decode gives them, in serial
 * binary32 arithmetic: the same bits in every call. Slot p holds position (p - ring_start) mod capacity; it counts
 * iff window start <= position < seq_len; otherwise its score is -65504 and its data is not read unless that score
 * has a weight. A head without any position gives zeros. q: [heads, dim], rotated; out: [heads, dim], still rotated;
 * counts are in floats. Data in the caches is not examined. Also MEMORY. */
MLXN_API mlxn_status mlxn_turboquant_hb_attention(const mlxn_turboquant_attention *params, const float *q,
                                                  uint64_t q_count, const mlxn_turboquant_cache *k,
                                                  const mlxn_turboquant_cache *v, float *out, uint64_t out_count,
                                                  mlxn_error *error);

#ifdef __cplusplus
}
#endif
#endif
