/* copy.h: the body of cast and copy for devices: element i, counted row-major, of two operands with any strides. The
 * dialect that elementwise.h names stands before it. */
#ifndef MLXN_SRC_KERNELS_COPY_H
#define MLXN_SRC_KERNELS_COPY_H

#include "kernels/copy_shape.h"

/* Rounds once, to nearest, ties to even. */
struct k_convert {
    template <typename From, typename To>
    K_MEMBER void apply(K_GLOBAL To *to, From from) {
        k_store(to, k_float(from));
    }
};
/* Bits, not values. */
struct k_move {
    template <typename T>
    K_MEMBER void apply(K_GLOBAL T *to, T from) {
        *to = from;
    }
};

template <typename Fn, typename From, typename To>
K_FN void k_copy(K_ARGS const k_copy_shape &s, K_GLOBAL const From *x, K_GLOBAL To *out, k_u64 i) {
    k_i64 from = 0, to = 0;
    for (unsigned k = s.rank; k-- > 0;) {
        k_i64 at = (k_i64)(i % s.dims[k]);
        i /= s.dims[k];
        from += at * s.strides[0][k];
        to += at * s.strides[1][k];
    }
    Fn::apply(out + to, x[from]);
}

#endif
