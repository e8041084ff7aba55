/* kv.c (CPU kernels): kv_write, new keys and values into the caches, and kv_read, out of them. Slot = position mod C;
 * rows whose sequence does not exist are skipped. Of rows that name one slot only the last is written, so that it
 * does not matter which thread comes to them first. Rounds to nearest even. */
#include "backend/cpu/kernels/kv_row.h"
#include "backend/cpu/kernels/rows.h"

static uint64_t kv_group(const mlxn_view *k) {
    uint64_t row = k->dims[1] * k->dims[2];
    return mlxn_max_u64(1, ROWS_PIECE / row);
}

/* Up to so many rows each looks through those behind it; more go through a table first. */
enum { KV_FEW = 32 };

/* Entries of the table of slots: a power of two, at most half of them used. */
static uint64_t kv_entries(uint64_t rows) {
    uint64_t n = 4 * KV_FEW;
    while (n < 2 * rows) n *= 2;
    return n;
}

static void plan_kv(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t t = args[0].dims[0], group = kv_group(&args[0]), chunks = (t + group - 1) / group;
    uint64_t d = mlxn_max_u64(args[0].dims[2], args[1].dims[2]);
    if (t <= KV_FEW)
        *out = (cpu_plan){.phases = 1, .chunks = {chunks}, .local_bytes = 4 * (d + 16)};
    else /* the table, and a byte for each row */
        *out = (cpu_plan){.phases = 2,
                          .chunks = {1, chunks},
                          .shared_bytes = kv_entries(t) * sizeof(uint32_t) + t,
                          .local_bytes = 4 * (d + 16)};
}

/* Where row t goes; no sequence of the cache: nowhere. */
typedef struct kv_place {
    uint64_t sequence, slot;
} kv_place;

static kv_place kv_place_of(const cpu_run *run, uint64_t t) {
    const mlxn_view *seqs = &run->args[2], *poss = &run->args[3];
    return (kv_place){((const uint32_t *)seqs->data)[(int64_t)t * rows_stride(seqs)],
                      ((const uint32_t *)poss->data)[(int64_t)t * rows_stride(poss)] % run->args[4].dims[2]};
}
static bool kv_same(kv_place a, kv_place b) { return a.sequence == b.sequence && a.slot == b.slot; }

/* From the last row to the first: a row whose slot the table has already is written over by a later one. */
static void kv_find_last(const cpu_run *run, uint32_t *table, uint8_t *written_over) {
    uint64_t rows = run->args[0].dims[0], entries = kv_entries(rows);
    memset(table, 0, entries * sizeof *table);
    for (uint64_t t = rows; t-- > 0;) {
        kv_place place = kv_place_of(run, t);
        written_over[t] = 0;
        if (place.sequence >= run->args[4].dims[0]) continue;
        uint64_t key = place.sequence * run->args[4].dims[2] + place.slot;
        uint64_t at = (key * 0x9e3779b97f4a7c15u >> 32) & (entries - 1);
        while (table[at] && !kv_same(kv_place_of(run, table[at] - 1), place)) at = (at + 1) & (entries - 1);
        written_over[t] = table[at] != 0;
        if (!table[at]) table[at] = (uint32_t)t + 1;
    }
}

static bool kv_comes_again(const cpu_run *run, uint64_t t, kv_place place) {
    for (uint64_t i = t + 1; i < run->args[0].dims[0]; i++)
        if (kv_same(kv_place_of(run, i), place)) return true;
    return false;
}

SIMD_INLINE void kv_copy(mlxn_dtype from, mlxn_dtype to, bool unit, const void *src, int64_t ss, void *dst,
                         int64_t ds, uint64_t n) {
    for (uint64_t i = 0; i < n; i += 16) {
        uint64_t k = simd_tail(i, n);
        rows_store(to, unit, dst, ds, i, rows_load(from, unit, src, ss, i, k), k);
    }
}
static void kv_copy_row(mlxn_dtype from, mlxn_dtype to, const void *src, int64_t ss, void *dst, int64_t ds,
                        uint64_t n) {
    if (ss != 1 || ds != 1)
        kv_copy(from, to, false, src, ss, dst, ds, n);
    else if (from == MLXN_F32 && to == MLXN_F16)
        kv_copy(MLXN_F32, MLXN_F16, true, src, 1, dst, 1, n);
    else if (from == MLXN_F32 && to == MLXN_F32)
        kv_copy(MLXN_F32, MLXN_F32, true, src, 1, dst, 1, n);
    else if (from == MLXN_F32 && to == MLXN_BF16)
        kv_copy(MLXN_F32, MLXN_BF16, true, src, 1, dst, 1, n);
    else
        kv_copy(from, to, true, src, 1, dst, 1, n);
}

static uint64_t kv_size(const mlxn_view *v) { return v->dtype == MLXN_U8 ? 1 : rows_size(v->dtype); }

/* The rows of a token in a cache. */
static char *kv_slot(const mlxn_view *cache, uint64_t sequence, uint64_t slot) {
    int64_t offset = (int64_t)sequence * cache->strides[0] + (int64_t)slot * cache->strides[2];
    return (char *)cache->data + offset * (int64_t)kv_size(cache);
}

static void kv_put(const mlxn_view *x, const mlxn_view *cache, const kv_codec *codec, uint64_t t, uint64_t seq,
                   uint64_t slot, float *row) {
    const char *src = (const char *)x->data + (int64_t)t * x->strides[0] * (int64_t)rows_size(x->dtype);
    char *dst = kv_slot(cache, seq, slot);
    for (uint64_t h = 0; h < x->dims[1]; h++) {
        if (mlxn_kv_plain(codec->type)) {
            kv_copy_row(x->dtype, cache->dtype, src, rows_stride(x), dst, rows_stride(cache), x->dims[2]);
        } else {
            kv_copy_row(x->dtype, MLXN_F32, src, rows_stride(x), row, 1, x->dims[2]);
            kv_write_row(codec, row, x->dims[2], (uint8_t *)dst);
        }
        src += x->strides[1] * (int64_t)rows_size(x->dtype);
        dst += cache->strides[1] * (int64_t)kv_size(cache);
    }
}

static void run_kv(cpu_run *run) {
    const mlxn_view *k = &run->args[0], *v = &run->args[1], *kc = &run->args[4], *vc = &run->args[5];
    const mlxn_kv_write_params *p = run->params;
    kv_codec codecs[2];
    kv_codec_write(&codecs[0], mlxn_kv_resolve(p->k_type, kc->dtype));
    kv_codec_write(&codecs[1], mlxn_kv_resolve(p->v_type, vc->dtype));
    bool few = k->dims[0] <= KV_FEW;
    uint8_t *written_over = few ? NULL : (uint8_t *)run->shared + kv_entries(k->dims[0]) * sizeof(uint32_t);
    uint64_t group = kv_group(k), chunk;
    while (cpu_next(run, &chunk)) {
        if (!few && run->phase == 0) {
            kv_find_last(run, run->shared, written_over);
            continue;
        }
        uint64_t end = mlxn_min_u64((chunk + 1) * group, k->dims[0]);
        for (uint64_t t = chunk * group; t < end; t++) {
            kv_place place = kv_place_of(run, t);
            if (place.sequence >= kc->dims[0] || (few ? kv_comes_again(run, t, place) : written_over[t])) continue;
            kv_put(k, kc, &codecs[0], t, place.sequence, place.slot, run->local);
            kv_put(v, vc, &codecs[1], t, place.sequence, place.slot, run->local);
        }
    }
}

static void plan_kv_read(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t group = kv_group(&args[3]);
    *out = (cpu_plan){
        .phases = 1, .chunks = {(args[3].dims[0] + group - 1) / group}, .local_bytes = 4 * (args[3].dims[2] + 16)};
}

static void run_kv_read(cpu_run *run) {
    const mlxn_view *cache = &run->args[0], *seqs = &run->args[1], *poss = &run->args[2], *out = &run->args[3];
    const mlxn_kv_read_params *p = run->params;
    kv_codec codec;
    kv_codec_read(&codec, mlxn_kv_resolve(p->type, cache->dtype));
    float *row = run->local;
    uint64_t group = kv_group(out), d = out->dims[2], size = rows_size(out->dtype), chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * group, out->dims[0]);
        for (uint64_t t = chunk * group; t < end; t++) {
            uint64_t seq = ((const uint32_t *)seqs->data)[(int64_t)t * rows_stride(seqs)];
            uint64_t pos = ((const uint32_t *)poss->data)[(int64_t)t * rows_stride(poss)];
            char *dst = (char *)out->data + (int64_t)t * out->strides[0] * (int64_t)size;
            for (uint64_t h = 0; h < out->dims[1]; h++, dst += out->strides[1] * (int64_t)size) {
                const void *src = row;
                int64_t step = 1;
                mlxn_dtype from = MLXN_F32;
                if (seq >= cache->dims[0]) {
                    memset(row, 0, d * 4);
                } else {
                    src = kv_slot(cache, seq, pos % cache->dims[2]) +
                          (int64_t)h * cache->strides[1] * (int64_t)kv_size(cache);
                    if (mlxn_kv_plain(codec.type)) {
                        step = rows_stride(cache);
                        from = cache->dtype;
                    } else {
                        kv_read_row(&codec, src, d, row);
                        src = row;
                        if (codec.bits && !p->rotated) {
                            kv_transform(row, d);
                            kv_signs(row, d);
                        }
                    }
                }
                kv_copy_row(from, out->dtype, src, step, dst, rows_stride(out), d);
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_kv)[];
const cpu_kernel CPU_ISA(cpu_kernels_kv)[] = {
    {MLXN_OP_kv_write, "kv_write_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_kv, run_kv},
    {MLXN_OP_kv_read, "kv_read_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_kv_read, run_kv_read},
    {0},
};
