/* qdq.c (CPU kernels): qdq. The legacy blocks of 32 are computed in place, without their bytes: loops that compilers
 * turn into vectors; all other formats that can be encoded go through their bytes, block by block. */
#include "backend/cpu/kernels/span.h"
#include "quant/quant.h"

enum { QDQ_BLOCK = 32, QDQ_BYTES = 4 * SPAN }; /* of a piece: no format takes more bytes than f32 */

/* Toward zero, within 0 to `most`; NaN is 0. */
static inline float qdq_cut(float x, float most) {
    float low = x >= 1.0f ? x : 0.0f;
    return (float)(int)(low < most ? low : most);
}

static inline float qdq_reciprocal(float d) { return d != 0.0f ? 1.0f / d : 0.0f; }
/* As a file holds it. */
static inline float qdq_kept(float x) { return mlxn_f16_to_f32(mlxn_f32_to_f16(x)); }

/* Codes by the unrounded scale, values by the scale that a file holds. */
static void qdq_8_0(const float *x, float *out) {
    float most = 0.0f;
    for (int i = 0; i < QDQ_BLOCK; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    float d = most / 127.0f, inverse = qdq_reciprocal(d), kept = qdq_kept(d);
    for (int i = 0; i < QDQ_BLOCK; i++) {
        float t = x[i] * inverse, whole = truncf(t);
        if (fabsf(t - whole) >= 0.5f) whole += t < 0 ? -1.0f : 1.0f; /* halves away from zero */
        out[i] = (float)(int8_t)whole * kept;
    }
}

/* `half` 8: Q4_0, 16: Q5_0. The largest magnitude, the first of equal ones, is the lowest code. */
static inline void qdq_signed(const float *x, float *out, float half) {
    float most = 0.0f, peak = 0.0f;
    for (int i = 0; i < QDQ_BLOCK; i++)
        if (fabsf(x[i]) > most) most = fabsf(x[i]), peak = x[i];
    float d = peak / -half, inverse = qdq_reciprocal(d), kept = qdq_kept(d);
    for (int i = 0; i < QDQ_BLOCK; i++)
        out[i] = (qdq_cut(x[i] * inverse + (half + 0.5f), 2.0f * half - 1.0f) - half) * kept;
}
static void qdq_4_0(const float *x, float *out) { qdq_signed(x, out, 8.0f); }
static void qdq_5_0(const float *x, float *out) { qdq_signed(x, out, 16.0f); }

/* `most` 15: Q4_1, 31: Q5_1. The least is code 0. */
static inline void qdq_range(const float *x, float *out, float most) {
    float low = x[0], high = x[0];
    for (int i = 1; i < QDQ_BLOCK; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float d = (high - low) / most, inverse = qdq_reciprocal(d), kept = qdq_kept(d), least = qdq_kept(low);
    for (int i = 0; i < QDQ_BLOCK; i++) out[i] = kept * qdq_cut((x[i] - low) * inverse + 0.5f, most) + least;
}
static void qdq_4_1(const float *x, float *out) { qdq_range(x, out, 15.0f); }
static void qdq_5_1(const float *x, float *out) { qdq_range(x, out, 31.0f); }

typedef void (*qdq_fn)(const float *x, float *out);

static qdq_fn qdq_block(uint32_t format) {
    switch (format) {
        case MLXN_FORMAT_Q8_0:
            return qdq_8_0;
        case MLXN_FORMAT_Q4_0:
            return qdq_4_0;
        case MLXN_FORMAT_Q5_0:
            return qdq_5_0;
        case MLXN_FORMAT_Q4_1:
            return qdq_4_1;
        case MLXN_FORMAT_Q5_1:
            return qdq_5_1;
        default:
            return NULL;
    }
}

static bool fits_qdq(const mlxn_view *args, const void *params) {
    return qdq_block(((const mlxn_qdq_params *)params)->format) != NULL;
}

/* Blocks that fit the buffers. */
static bool fits_qdq_bytes(const mlxn_view *args, const void *params) {
    const mlxn_quant_format *q = mlxn_quant_find((mlxn_format)((const mlxn_qdq_params *)params)->format);
    return q && q->encode && q->decode && SPAN % q->info.block_values == 0 &&
           SPAN / q->info.block_values * q->info.block_bytes <= QDQ_BYTES;
}

/* Whether the format can hold all of a block. */
static inline bool qdq_holds(const mlxn_quant_format *q, const float *x, uint64_t n) {
    bool all = true;
    for (uint64_t i = 0; i < n; i++) all &= fabsf(x[i]) < q->limit;
    return all || q->limit == 0.0f;
}

/* n values, whole blocks. */
static void qdq_piece(const mlxn_quant_format *q, qdq_fn block, const float *x, float *out, uint64_t n,
                      uint8_t *bytes) {
    uint64_t step = q->limit == 0.0f ? n : q->info.block_values;
    for (uint64_t i = 0; i < n; i += step) {
        if (!qdq_holds(q, x + i, step)) {
            for (uint64_t k = i; k < i + step; k++) out[k] = NAN;
        } else if (block) {
            block(x + i, out + i);
        } else {
            q->encode(x + i, step, bytes);
            q->decode(bytes, step, out + i);
        }
    }
}

static void plan_qdq(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *x = &args[0];
    rows_shape shape = rows_of(&x, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

static void run_qdq(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    mlxn_format format = (mlxn_format)((const mlxn_qdq_params *)run->params)->format;
    qdq_fn block = qdq_block(format);
    const mlxn_quant_format *q = mlxn_quant_find(format);
    rows_shape shape = rows_of(&x, 1, true);
    float a[SPAN] __attribute__((aligned(64))), b[SPAN] __attribute__((aligned(64)));
    uint8_t bytes[QDQ_BYTES];
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *px = rows_at(x, r, 4);
            void *to = rows_at(out, r, 4);
            for (uint64_t i = 0; i < shape.cols; i += SPAN) {
                uint64_t n = mlxn_min_u64(SPAN, shape.cols - i);
                const float *v = span_in(MLXN_F32, px, rows_stride(x), i, n, a);
                float *o = span_out(MLXN_F32, to, rows_stride(out), i, b);
                qdq_piece(q, block, v, o, n, bytes);
                span_done(MLXN_F32, to, rows_stride(out), i, n, o);
            }
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_qdq)[];
const cpu_kernel CPU_ISA(cpu_kernels_qdq)[] = {
    {MLXN_OP_qdq, "qdq_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_qdq, plan_qdq, run_qdq},
    {MLXN_OP_qdq, "qdq_bytes_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_qdq_bytes, plan_qdq, run_qdq},
    {0},
};
