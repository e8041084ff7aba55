/* matmul.cu: products with weights: matvec1_<format> and matvec4_<format> for one and up to four rows of x,
 * matmat_<format> for more. <format> is one of those that have kernels of their own, or any.
 *
 * matvec: a block keeps rows of x as binary32 in shared memory; a warp takes a row of w at a time, its lanes pieces
 * of it. matmat: a block has a tile of 64 rows of x by 64 of w, and goes along them 64 columns at a time, decoded
 * into shared memory. Sums are binary32, in an order that depends on the shapes alone. */
#include "backend/cuda/kernels/dialect.cuh"
/* The dialect comes before the bodies. */
#include "backend/cuda/kernels/matmul_args.h"
#include "kernels/move.h"

/* How a format comes in: `n` elements at a time for matvec (the last piece filled up with zeros), units of 32 for
 * matmat; `cell`: floats that a piece of x takes in shared memory. */
template <typename T>
struct matmul_plain {
    static constexpr unsigned n = 16 / sizeof(T), cell = n;
    K_MEMBER void piece(const k_weight_shape &w, k_u64 row, unsigned i, float *out) {
        const T *at = (const T *)((const unsigned char *)w.body + row * w.body_stride) + (k_u64)i * n;
        k_pack<T> v = *(const k_pack<T> *)at; /* rows end at multiples of 16 bytes, with zeros */
#pragma unroll
        for (unsigned k = 0; k < n; k++) out[k] = k_float(v.v[k]);
    }
    K_MEMBER void unit(const k_weight_shape &w, k_u64 row, unsigned i, float *out) {
        k_unit_plain<T>(w, row, i, out);
    }
};
#define MATMUL_UNITS(name, call)                                                                                  \
    struct name {                                                                                                 \
        static constexpr unsigned n = K_UNIT, cell = CUDA_MATVEC_PADDED;                                          \
        K_MEMBER void piece(const k_weight_shape &w, k_u64 row, unsigned i, float *out) { unit(w, row, i, out); } \
        K_MEMBER void unit(const k_weight_shape &w, k_u64 row, unsigned i, float *out) { call(w, row, i, out); }  \
    };
/* One function for all formats that have no kernels of their own. */
static __device__ __noinline__ void any_unit(const k_weight_shape &w, k_u64 row, unsigned i, float *out) {
    k_unit_any(w, row, i, out);
}
MATMUL_UNITS(matmul_q4_0, (k_unit_small<false, false>))
MATMUL_UNITS(matmul_q4_1, (k_unit_small<false, true>))
MATMUL_UNITS(matmul_q5_0, (k_unit_small<true, false>))
MATMUL_UNITS(matmul_q5_1, (k_unit_small<true, true>))
MATMUL_UNITS(matmul_q8_0, k_unit_q8<2>)
MATMUL_UNITS(matmul_q4_k, k_unit_q45_k<false>)
MATMUL_UNITS(matmul_q5_k, k_unit_q45_k<true>)
MATMUL_UNITS(matmul_q6_k, k_unit_q6_k)
MATMUL_UNITS(matmul_affine4, k_unit_affine<4>)
MATMUL_UNITS(matmul_affine8, k_unit_affine<8>)
MATMUL_UNITS(matmul_any, any_unit)

static __device__ __forceinline__ void matmul_store(const cuda_matmul_args &args, k_u64 i, k_u64 j, float sum) {
    if (args.residual) sum += ((const float *)args.residual)[(k_i64)i * args.rs[0] + (k_i64)j * args.rs[1]];
    if (args.bias) sum += ((const float *)args.bias)[(k_i64)j * args.bs];
    ((float *)args.out)[(k_i64)i * args.os[0] + (k_i64)j * args.os[1]] = sum;
}

/* Rows [y * Rows, y * Rows + Rows) of x, as far as there are any. */
template <typename Format, unsigned Rows>
static __device__ __forceinline__ void matvec(const cuda_matmul_args &args) {
    constexpr unsigned n = Format::n, cell = Format::cell, warps = CUDA_MATVEC_BLOCK / 32;
    K_DYNAMIC_SHARED(memory);
    float *x = (float *)memory;
    unsigned cols = (unsigned)args.w.cols, pieces = (cols + n - 1) / n, lane = threadIdx.x % 32;
    k_u64 first = (k_u64)blockIdx.y * Rows;
    for (unsigned r = 0; r < Rows; r++) {
        bool there = first + r < args.m;
        for (unsigned k = threadIdx.x; k < pieces * n; k += CUDA_MATVEC_BLOCK) {
            float v = 0.0f;
            if (there && k < cols)
                v = k_load_any(args.x_type, (const void *)args.x,
                               (k_i64)(first + r) * args.xs[0] + (k_i64)k * args.xs[1]);
            x[r * pieces * cell + k / n * cell + k % n] = v;
        }
    }
    __syncthreads();
    k_u64 step = (k_u64)gridDim.x * warps;
    for (k_u64 row = (k_u64)blockIdx.x * warps + threadIdx.x / 32; row < args.w.rows; row += step) {
        float sum[Rows][4];
#pragma unroll
        for (unsigned r = 0; r < Rows; r++) sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = 0.0f;
        for (unsigned i = lane; i < pieces; i += 32) {
            float w[n];
            Format::piece(args.w, row, i, w);
#pragma unroll
            for (unsigned r = 0; r < Rows; r++) {
                const k_pack<float> *at = (const k_pack<float> *)(x + (r * pieces + i) * cell);
#pragma unroll
                for (unsigned k = 0; k < n / 4; k++) {
                    k_pack<float> four = at[k];
#pragma unroll
                    for (unsigned c = 0; c < 4; c++) sum[r][c] = k_fma(w[4 * k + c], four.v[c], sum[r][c]);
                }
            }
        }
#pragma unroll
        for (unsigned r = 0; r < Rows; r++) {
            float all = k_warp_all<k_sum_of>((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]));
            if (lane == r && first + r < args.m) matmul_store(args, first + r, row, all);
        }
    }
}

template <typename Format>
static __device__ __forceinline__ void matmat(const cuda_matmul_args &args) {
    constexpr unsigned tile = CUDA_MATMAT_TILE, depth = 2 * K_UNIT, pitch = tile + 4;
    __shared__ float ws[depth][pitch], xs[depth][pitch];
    unsigned cols = (unsigned)args.w.cols, units = (cols + K_UNIT - 1) / K_UNIT, t = threadIdx.x;
    k_u64 first_m = (k_u64)blockIdx.y * tile, first_n = (k_u64)blockIdx.x * tile;
    float sum[4][4];
#pragma unroll
    for (unsigned a = 0; a < 4; a++)
#pragma unroll
        for (unsigned b = 0; b < 4; b++) sum[a][b] = 0.0f;
    for (unsigned unit = 0; unit < units; unit += 2) {
        if (t < 2 * tile) { /* half of the threads decode a unit of w each, */
            unsigned j = t % tile, u = t / tile;
            float w[K_UNIT];
            if (first_n + j < args.w.rows && unit + u < units) {
                Format::unit(args.w, first_n + j, unit + u, w);
#pragma unroll
                for (unsigned k = 0; k < K_UNIT; k++) ws[u * K_UNIT + k][j] = w[k];
            } else {
#pragma unroll
                for (unsigned k = 0; k < K_UNIT; k++) ws[u * K_UNIT + k][j] = 0.0f;
            }
        } else { /* the others bring x, each a column of the tile */
            unsigned k = t % depth, col = unit * K_UNIT + k;
            for (unsigned i = (t - 2 * tile) / depth; i < tile; i += 2) {
                float v = 0.0f;
                if (first_m + i < args.m && col < cols)
                    v = k_load_any(args.x_type, (const void *)args.x,
                                   (k_i64)(first_m + i) * args.xs[0] + (k_i64)col * args.xs[1]);
                xs[k][i] = v;
            }
        }
        __syncthreads();
        unsigned at_m = t / 16 * 4, at_n = t % 16 * 4;
#pragma unroll 8
        for (unsigned k = 0; k < depth; k++) {
            k_pack<float> x = *(const k_pack<float> *)&xs[k][at_m], w = *(const k_pack<float> *)&ws[k][at_n];
#pragma unroll
            for (unsigned a = 0; a < 4; a++)
#pragma unroll
                for (unsigned b = 0; b < 4; b++) sum[a][b] = k_fma(x.v[a], w.v[b], sum[a][b]);
        }
        __syncthreads();
    }
#pragma unroll
    for (unsigned a = 0; a < 4; a++)
#pragma unroll
        for (unsigned b = 0; b < 4; b++) {
            k_u64 i = first_m + t / 16 * 4 + a, j = first_n + t % 16 * 4 + b;
            if (i < args.m && j < args.w.rows) matmul_store(args, i, j, sum[a][b]);
        }
}

#define MATMUL_KERNELS(name, Format)                                        \
    K_KERNEL(matvec1_##name, cuda_matmul_args) { matvec<Format, 1>(args); } \
    K_KERNEL(matvec4_##name, cuda_matmul_args) { matvec<Format, 4>(args); } \
    K_KERNEL(matmat_##name, cuda_matmul_args) { matmat<Format>(args); }
MATMUL_KERNELS(f32, matmul_plain<float>)
MATMUL_KERNELS(f16, matmul_plain<k_f16>)
MATMUL_KERNELS(bf16, matmul_plain<k_bf16>)
MATMUL_KERNELS(q4_0, matmul_q4_0)
MATMUL_KERNELS(q4_1, matmul_q4_1)
MATMUL_KERNELS(q5_0, matmul_q5_0)
MATMUL_KERNELS(q5_1, matmul_q5_1)
MATMUL_KERNELS(q8_0, matmul_q8_0)
MATMUL_KERNELS(q4_k, matmul_q4_k)
MATMUL_KERNELS(q5_k, matmul_q5_k)
MATMUL_KERNELS(q6_k, matmul_q6_k)
MATMUL_KERNELS(affine4, matmul_affine4)
MATMUL_KERNELS(affine8, matmul_affine8)
MATMUL_KERNELS(any, matmul_any)
