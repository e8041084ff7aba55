/* emulate.h: what the CUDA kernels need of their language, in plain C++: the words of the compiler, the functions of
 * the device, and threads of a block that meet at barriers (emulate.cc). Included before all of kernels.cu.
 *
 * A block's threads are fibers of one thread of the host, so that shared memory is what is static in a kernel. */
#ifndef MLXN_TESTS_GPU_EMULATE_H
#define MLXN_TESTS_GPU_EMULATE_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static

/* A kernel is called with a pointer to its argument. */
#define K_KERNEL(name, Args)                                                                  \
    static void name##_body(const Args &args);                                                \
    extern "C" void name(const void *args) { name##_body(*static_cast<const Args *>(args)); } \
    static void name##_body(const Args &args)
#define K_DYNAMIC_SHARED(name) unsigned char *name = emulated_shared()

struct emulated_index {
    unsigned x, y, z;
};
extern emulated_index threadIdx, blockIdx, blockDim, gridDim;

unsigned char *emulated_shared();
void emulated_barrier();
/* Every thread of the warp gives a value and gets that of `lane`. */
uint64_t emulated_shuffle(uint64_t value, unsigned lane);

static inline void __syncthreads() { emulated_barrier(); }
static inline void __syncwarp() { emulated_shuffle(0, 0); }
static inline unsigned emulated_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}
template <typename T>
static inline T __shfl_xor_sync(unsigned, T value, int mask) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emulated_shuffle(bits, emulated_lane() ^ (unsigned)mask);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
template <typename T>
static inline T __shfl_sync(unsigned, T value, int lane) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = emulated_shuffle(bits, (unsigned)lane % 32);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline unsigned __popc(unsigned x) { return (unsigned)__builtin_popcount(x); }
using std::max;
using std::min;

#endif
