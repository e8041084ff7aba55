/* attention.cu: attention_<type of both caches>, and attention_any: a block has one head of one row. It goes along
 * the keys that the row sees, 64 at a time: their scores, the largest so far, and what the values add up to relative
 * to it (Milakov and Gimelshein 2018; Dao et al. 2022). Sums are binary32, in an order that depends on the shapes and
 * the number of keys alone. */
#include "backend/cuda/kernels/dialect.cuh"
/* The dialect comes before the bodies. */
#include <mlxn/op_params.h>

#include "backend/cuda/kernels/attention_args.h"
#include "kernels/move.h"

/* Elements of a cache whose type is known, or 0: known when the kernel runs. */
template <typename T>
struct cache_of {
    K_MEMBER float at(unsigned, const void *from, k_i64 i) { return k_float(((const T *)from)[i]); }
    static constexpr unsigned n = 16 / sizeof(T);
    K_MEMBER void pack(const void *from, k_i64 i, float *out) {
        k_pack<T> v = *(const k_pack<T> *)((const T *)from + i);
#pragma unroll
        for (unsigned k = 0; k < n; k++) out[k] = k_float(v.v[k]);
    }
};
struct cache_any {
    K_MEMBER float at(unsigned type, const void *from, k_i64 i) { return k_load_any(type, from, i); }
    static constexpr unsigned n = 1;
    K_MEMBER void pack(const void *, k_i64, float *out) { out[0] = 0.0f; } /* never called */
};

/* The slope of head h's linear bias (Press et al. 2022). */
static __device__ float alibi_slope(float max_bias, unsigned heads, unsigned h) {
    unsigned n = 1;
    while (2 * n <= heads) n *= 2;
    double exponent = h < n ? -(double)max_bias / n * (h + 1) : -(double)max_bias / (2.0 * n) * (2 * (h - n) + 1);
    return (float)exp2(exponent);
}

/* The keys [first, end) that a row sees. */
static __device__ __forceinline__ void visible_keys(const cuda_attention_args &args, k_u64 position, k_u64 *first,
                                                    k_u64 *end) {
    k_u64 span = args.slots;
    *end = position + 1;
    if (args.visible == MLXN_MASK_NONE) {
        *first = 0;
        *end = args.slots;
        return;
    }
    if (args.visible == MLXN_MASK_SYMMETRIC) {
        k_u64 half = args.window / 2;
        *end = position + half + 1 < args.slots ? position + half + 1 : args.slots;
        *first = position > half ? position - half : 0;
        if (*first > *end) *first = *end;
        return;
    }
    if (args.visible == MLXN_MASK_CHUNKED) {
        k_u64 own = position % args.window + 1;
        if (own < span) span = own;
    } else if (args.window && args.window < span) {
        span = args.window;
    }
    *first = *end > span ? *end - span : 0;
}

/* What the mask adds to a score. */
static __device__ __forceinline__ float mask_at(const cuda_attention_args &args, k_i64 at) {
    if (args.mask_type == 3) return ((const unsigned char *)args.mask)[at] ? 0.0f : -k_infinity();
    return k_load_any(args.mask_type, (const void *)args.mask, at);
}

template <typename K, typename V>
static __device__ __forceinline__ void attend(const cuda_attention_args &args) {
    constexpr unsigned block = CUDA_ATTENTION_BLOCK, keys = CUDA_ATTENTION_KEYS, share = 8;
    constexpr unsigned most = CUDA_ATTENTION_VALUES / CUDA_ATTENTION_BLOCK;
    __shared__ float q[CUDA_ATTENTION_QUERY], scores[keys], parts[block];
    unsigned tid = threadIdx.x, h = blockIdx.x % args.heads;
    k_i64 t = blockIdx.x / args.heads, cache_head = h / args.group;
    k_i64 out = t * args.os[0] + (k_i64)h * args.os[1];
    k_u64 sequence = ((const unsigned *)args.sequences)[t * args.sequence];
    k_u64 position = ((const unsigned *)args.positions)[t * args.position], first = 0, end = 0;
    if (sequence < args.n_sequences) visible_keys(args, position, &first, &end);
    for (unsigned i = tid; i < args.dk; i += block)
        q[i] = k_load_any(args.q_type, (const void *)args.q, t * args.qs[0] + (k_i64)h * args.qs[1] + i * args.qs[2]);
    k_i64 k_base = (k_i64)sequence * args.ks[0] + cache_head * args.ks[1];
    k_i64 v_base = (k_i64)sequence * args.vs[0] + cache_head * args.vs[1];
    float slope = args.alibi_max_bias > 0.0f ? alibi_slope(args.alibi_max_bias, args.heads, h) : 0.0f;
    float top = -k_infinity(), total = 0.0f, sum[most];
    if (args.sinks && end > first) {
        top = ((const float *)args.sinks)[(k_i64)h * args.sink];
        total = top == -k_infinity() ? 0.0f : 1.0f;
    }
#pragma unroll
    for (unsigned r = 0; r < most; r++) sum[r] = 0.0f;
    unsigned channel = tid % args.dv_threads, part = tid / args.dv_threads, n_parts = block / args.dv_threads;
    __syncthreads();
    for (k_u64 tile = first; tile < end; tile += keys) {
        unsigned n = end - tile < keys ? (unsigned)(end - tile) : keys, lane = tid % share;
        for (unsigned j = tid / share; j < keys; j += block / share) { /* eight threads have a key */
            float dot = 0.0f;
            k_u64 key = tile + j, slot = key % args.slots;
            if (j < n) {
                k_i64 row = k_base + (k_i64)slot * args.ks[2];
                if (args.k_packed) {
                    for (unsigned i = lane * K::n; i < args.dk; i += share * K::n) {
                        float four[K::n];
                        K::pack((const void *)args.k, row + i, four);
#pragma unroll
                        for (unsigned c = 0; c < K::n; c++) dot = k_fma(q[i + c], four[c], dot);
                    }
                } else {
                    for (unsigned i = lane; i < args.dk; i += share)
                        dot = k_fma(q[i], K::at(args.k_type, (const void *)args.k, row + i * args.ks[3]), dot);
                }
            }
#pragma unroll
            for (int m = share / 2; m; m /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, m);
            if (lane) continue;
            float s = -k_infinity();
            if (j < n) {
                s = args.scale * dot;
                if (args.softcap > 0.0f) s = args.softcap * tanhf(s / args.softcap);
                if (slope != 0.0f) s -= slope * (float)(key > position ? key - position : position - key);
                if (args.mask) s += mask_at(args, t * args.ms[0] + (k_i64)h * args.ms[1] + (k_i64)slot * args.ms[2]);
            }
            scores[j] = s;
        }
        __syncthreads();
        float own = scores[tid % keys], high = top;
        float largest = k_warp_all<k_max_of>(own > scores[(tid + 32) % keys] ? own : scores[(tid + 32) % keys]);
        if (largest > high) high = largest;
        if (high == -k_infinity()) { /* nothing is seen yet, by every thread alike */
            __syncthreads();
            continue;
        }
        float scaled = expf(top - high), weight = expf(own - high);
        __syncthreads();
        if (tid < keys) scores[tid] = weight;
        __syncthreads();
        total = total * scaled + k_warp_all<k_sum_of>(scores[tid % 32] + scores[tid % 32 + 32]);
        top = high;
#pragma unroll
        for (unsigned r = 0; r < most; r++) sum[r] *= scaled;
        for (unsigned j = part; j < n; j += n_parts) {
            float p = scores[j];
            if (p == 0.0f) continue; /* values of keys that are not seen may be anything */
            k_i64 row = v_base + (k_i64)((tile + j) % args.slots) * args.vs[2];
#pragma unroll
            for (unsigned r = 0; r < most; r++) {
                unsigned i = channel + r * args.dv_threads;
                if (i < args.dv)
                    sum[r] = k_fma(p, V::at(args.v_type, (const void *)args.v, row + i * args.vs[3]), sum[r]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (unsigned r = 0; r < most; r++) {
        __syncthreads();
        parts[tid] = sum[r];
        __syncthreads();
        unsigned i = channel + r * args.dv_threads;
        if (part || i >= args.dv) continue;
        float all = parts[tid];
        for (unsigned p = 1; p < n_parts; p++) all += parts[tid + p * args.dv_threads];
        k_store_any(args.q_type, (void *)args.out, out + i * args.os[2], total > 0.0f ? all / total : 0.0f);
    }
}

K_KERNEL(attention_f32, cuda_attention_args) { attend<cache_of<float>, cache_of<float>>(args); }
K_KERNEL(attention_f16, cuda_attention_args) { attend<cache_of<k_f16>, cache_of<k_f16>>(args); }
K_KERNEL(attention_bf16, cuda_attention_args) { attend<cache_of<k_bf16>, cache_of<k_bf16>>(args); }
K_KERNEL(attention_any, cuda_attention_args) { attend<cache_any, cache_any>(args); }
