/* kv.c (CPU kernels): kv_write, new keys and values into the caches. Slot = position mod C; rows whose sequence does
 * not exist are skipped. Rounds to nearest even. */
#include "backend/cpu/kernels/rows.h"

static uint64_t kv_group(const mlxn_view *k) {
    uint64_t row = k->dims[1] * k->dims[2];
    return mlxn_max_u64(1, ROWS_PIECE / row);
}

static void plan_kv(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t group = kv_group(&args[0]);
    *out = (cpu_plan){.phases = 1, .chunks = {(args[0].dims[0] + group - 1) / group}};
}

SIMD_INLINE void kv_heads(mlxn_dtype dtype, const mlxn_view *x, const mlxn_view *cache, uint64_t t, uint64_t seq,
                          uint64_t slot) {
    const float *src = (const float *)x->data + (int64_t)t * x->strides[0];
    int64_t offset = (int64_t)seq * cache->strides[0] + (int64_t)slot * cache->strides[2];
    char *dst = (char *)cache->data + offset * (int64_t)rows_size(dtype);
    int64_t ss = rows_stride(x), ds = rows_stride(cache);
    for (uint64_t h = 0; h < x->dims[1]; h++) {
        uint64_t n = x->dims[2];
        for (uint64_t i = 0; i < n; i += 16) {
            uint64_t k = simd_tail(i, n);
            if (ss == 1 && ds == 1)
                v16_store_as(dtype, dst, i, v16_load_as(MLXN_F32, src, i, k), k);
            else
                rows_store(dtype, false, dst, ds, i, rows_load(MLXN_F32, false, src, ss, i, k), k);
        }
        src += x->strides[1];
        dst += cache->strides[1] * (int64_t)rows_size(dtype);
    }
}

static void kv_row(const mlxn_view *x, const mlxn_view *cache, uint64_t t, uint64_t seq, uint64_t slot) {
    if (cache->dtype == MLXN_F32)
        kv_heads(MLXN_F32, x, cache, t, seq, slot);
    else if (cache->dtype == MLXN_F16)
        kv_heads(MLXN_F16, x, cache, t, seq, slot);
    else
        kv_heads(MLXN_BF16, x, cache, t, seq, slot);
}

static void run_kv(cpu_run *run) {
    const mlxn_view *k = &run->args[0], *v = &run->args[1], *seqs = &run->args[2], *poss = &run->args[3];
    const mlxn_view *kc = &run->args[4], *vc = &run->args[5];
    uint64_t group = kv_group(k), chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * group, k->dims[0]);
        for (uint64_t t = chunk * group; t < end; t++) {
            uint64_t seq = ((const uint32_t *)seqs->data)[(int64_t)t * rows_stride(seqs)];
            uint64_t pos = ((const uint32_t *)poss->data)[(int64_t)t * rows_stride(poss)];
            if (seq >= kc->dims[0]) continue;
            kv_row(k, kc, t, seq, pos % kc->dims[2]);
            kv_row(v, vc, t, seq, pos % vc->dims[2]);
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_kv)[];
const cpu_kernel CPU_ISA(cpu_kernels_kv)[] = {
    {MLXN_OP_kv_write, "kv_write_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_kv, run_kv},
    {0},
};
