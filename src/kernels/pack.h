/* pack.h: as many elements as one load of 16 bytes brings, for bodies of kernels. */
#ifndef MLXN_SRC_KERNELS_PACK_H
#define MLXN_SRC_KERNELS_PACK_H

template <typename T>
struct alignas(16) k_pack {
    T v[16 / sizeof(T)];
};

#endif
