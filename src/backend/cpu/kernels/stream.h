/* stream.h: stores that go past the caches. A store into memory that no cache holds first reads the line that it is
 * about to overwrite; a streaming store does not, which takes a third off the traffic of a copy. What it wrote is in
 * no cache afterwards, so it serves results alone that no cache could have kept (stream_fits). */
#ifndef MLXN_SRC_CPU_STREAM_H
#define MLXN_SRC_CPU_STREAM_H

#include "backend/cpu/kernels/simd.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/* Whether `out` is larger than the last-level cache and none of the n inputs: where an input is written over, its
 * lines are in the cache already. Inputs may be absent. */
static inline __attribute__((unused)) bool stream_fits(const mlxn_view *out, const mlxn_view *const *inputs,
                                                       uint32_t n) {
#if defined(__x86_64__)
    uint64_t bytes = mlxn_dtype_size(out->dtype);
    for (uint32_t d = 0; d < out->rank; d++) bytes *= out->dims[d];
    for (uint32_t i = 0; i < n; i++)
        if (inputs[i] && inputs[i]->present && inputs[i]->data == out->data) return false;
    return bytes > cpu_cache_bytes();
#else
    return false;
#endif
}

/* Whether v16_stream_as can begin at a row: vectors of it must not cross lines. */
SIMD_INLINE bool stream_aligned(mlxn_dtype dtype, const void *row) {
    return ((uintptr_t)row & (dtype == MLXN_F32 ? 63 : 31)) == 0;
}

/* Called by each thread behind its last streaming store: others see those in no order of their own. */
SIMD_INLINE void stream_end(void) {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

/* v16_store_as of sixteen elements to a place as stream_aligned wants it. */
SIMD_INLINE void v16_stream_as(mlxn_dtype dtype, void *row, uint64_t i, v16 x) {
#if CPU_ISA_LEVEL >= 2
    if (dtype == MLXN_F32)
        _mm512_stream_ps((float *)row + i, x);
    else
        _mm256_stream_si256((void *)((uint16_t *)row + i), dtype == MLXN_F16 ? v16_to_f16(x) : v16_to_bf16(x));
#elif defined(__x86_64__)
    float t[16] __attribute__((aligned(64)));
    v16_store_as(dtype, t, 0, x, 16);
    const int n = dtype == MLXN_F32 ? 4 : 2;
    __m128i *to = (void *)((char *)row + i * (dtype == MLXN_F32 ? 4 : 2));
#pragma GCC unroll 4
    for (int k = 0; k < n; k++) _mm_stream_si128(to + k, _mm_load_si128((const __m128i *)(const void *)t + k));
#else
    v16_store_as(dtype, row, i, x, 16);
#endif
}

/* v16_store_as, past the caches where `streams` is true and a whole vector lies right for it. */
SIMD_INLINE void v16_put_as(mlxn_dtype dtype, void *row, uint64_t i, v16 x, uint64_t n, bool streams) {
    const char *place = (const char *)row + i * (dtype == MLXN_F32 ? 4 : 2);
    if (streams && n == 16 && stream_aligned(dtype, place))
        v16_stream_as(dtype, row, i, x);
    else
        v16_store_as(dtype, row, i, x, n);
}

/* n bytes, past the caches where `streams` is true, to a multiple of 64, or of 32 if n is 32. */
SIMD_INLINE void stream_copy(void *to, const void *from, uint64_t n, bool streams) {
    const char *source = from;
    uint64_t i = 0;
    if (streams) {
        for (; i + 64 <= n; i += 64)
            v16_stream_as(MLXN_F32, (char *)to + i, 0, v16_load((const float *)(const void *)(source + i)));
#if defined(__x86_64__)
        for (; i + 16 <= n && n == 32; i += 16)
            _mm_stream_si128((void *)((char *)to + i), _mm_loadu_si128((const void *)(source + i)));
#endif
    }
    memcpy((char *)to + i, source + i, n - i);
}

#endif
