/* move.h: bodies that bring rows from one place to another: gather, embedding, kv_write of plain caches. The dialect
 * that elementwise.h names stands before it. */
#ifndef MLXN_SRC_KERNELS_MOVE_H
#define MLXN_SRC_KERNELS_MOVE_H

#include "kernels/move_shape.h"
#include "kernels/weight.h"

/* Elements of a float type that is known when a kernel runs: 0 f32, 1 f16, 2 bf16. */
K_FN float k_load_any(unsigned type, K_GLOBAL const void *from, k_i64 i) {
    if (type == 0) return ((K_GLOBAL const float *)from)[i];
    if (type == 1) return k_float(((K_GLOBAL const k_f16 *)from)[i]);
    return k_float(((K_GLOBAL const k_bf16 *)from)[i]);
}
K_FN void k_store_any(unsigned type, K_GLOBAL void *to, k_i64 i, float x) {
    if (type == 0)
        k_store((K_GLOBAL float *)to + i, x);
    else if (type == 1)
        k_store((K_GLOBAL k_f16 *)to + i, x);
    else
        k_store((K_GLOBAL k_bf16 *)to + i, x);
}

/* Element i of out, counted row-major. */
template <typename T>
K_FN void k_gather(K_ARGS const k_gather_shape &s, K_GLOBAL const T *x, K_GLOBAL const unsigned *index,
                   K_GLOBAL T *out, k_u64 i) {
    k_i64 row = (k_i64)(i / s.d), k = (k_i64)(i % s.d);
    k_u64 from = index[row * s.index];
    if (from >= s.rows) from = s.rows - 1;
    out[row * s.out[0] + k * s.out[1]] = x[(k_i64)from * s.x[0] + k * s.x[1]];
}

/* Unit i of out, counted row-major. */
K_FN void k_embed(K_ARGS const k_embedding_shape &s, K_GLOBAL const unsigned *ids, K_GLOBAL float *out, k_u64 i) {
    unsigned units = (unsigned)((s.table.cols + K_UNIT - 1) / K_UNIT), unit = (unsigned)(i % units);
    k_i64 t = (k_i64)(i / units);
    k_u64 row = ids[t * s.ids];
    if (row >= s.table.rows) row = s.table.rows - 1;
    float values[K_UNIT];
    k_unit_any(s.table, row, unit, values);
    for (unsigned k = 0; k < K_UNIT && (k_u64)unit * K_UNIT + k < s.table.cols; k++)
        out[t * s.out[0] + (k_i64)((k_u64)unit * K_UNIT + k) * s.out[1]] = s.scale * values[k];
}

/* The row of token t, by a group of threads. Rows of sequences that the cache has not are left out, and those whose
 * slot a later row names: groups run in any order. */
K_FN void k_kv_write(K_ARGS const k_kv_write_shape &s, K_GLOBAL const void *x, K_GLOBAL const unsigned *sequences,
                     K_GLOBAL const unsigned *positions, K_GLOBAL void *cache, k_u64 t) {
    unsigned sequence = sequences[(k_i64)t * s.sequence], again = 0;
    k_u64 slot = positions[(k_i64)t * s.position] % s.slots;
    if (sequence >= s.sequences) return;
    for (k_u64 i = t + 1 + K_THREAD; i < s.tokens; i += K_THREADS)
        if (sequences[(k_i64)i * s.sequence] == sequence && positions[(k_i64)i * s.position] % s.slots == slot)
            again = 1;
    if (t + 1 < s.tokens && k_group_sum(again)) return;
    for (k_u64 i = K_THREAD; i < s.heads * s.d; i += K_THREADS) {
        k_i64 k = (k_i64)(i % s.d), h = (k_i64)(i / s.d);
        float v = k_load_any(s.x_type, x, (k_i64)t * s.x[0] + h * s.x[1] + k * s.x[2]);
        k_i64 to = (k_i64)sequence * s.cache[0] + h * s.cache[1] + (k_i64)slot * s.cache[2] + k * s.cache[3];
        k_store_any(s.cache_type, cache, to, v);
    }
}

#endif
