/* fill.c (CPU kernels): fill_value, arange, pad, diag_mask, timestep_embedding. */
#include "backend/cpu/kernels/span.h"

static void plan_fill(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *o = &args[0];
    rows_shape shape = rows_of(&o, 1, false);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

/* The value's bits in one element. */
static uint32_t fill_bits(mlxn_dtype dtype, double value) {
    union {
        uint32_t u;
        int32_t i;
        float f;
    } bits = {0};
    mlxn_view one = {.present = true, .dtype = dtype, .rank = 1, .dims = {1}, .strides = {1}, .data = &bits};
    mlxn_view_set(&one, (const uint64_t[]){0}, value);
    return bits.u;
}

/* n bytes of the same word, past the caches. */
static void fill_stream(char *to, uint64_t n, uint32_t word) {
    uint32_t words[16];
    for (int i = 0; i < 16; i++) words[i] = word;
    float bits[16];
    memcpy(bits, words, sizeof bits);
    const v16 v = v16_load(bits);
    uint64_t i = 0;
    for (; i + 64 <= n; i += 64) v16_stream_as(MLXN_F32, to + i, 0, v);
    memcpy(to + i, words, n - i);
}

static void run_fill(cpu_run *run) {
    const mlxn_view *out = &run->args[0];
    rows_shape shape = rows_of(&out, 1, false);
    size_t size = mlxn_dtype_size(out->dtype);
    uint32_t bits = fill_bits(out->dtype, ((const mlxn_fill_value_params *)run->params)->value);
    int64_t step = shape.flat ? 1 : rows_stride(out);
    const bool streams = step == 1 && stream_fits(out, NULL, 0);
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part p = rows_chunk(&shape, chunk);
        for (uint64_t r = p.row; r < p.row_end; r++) {
            char *o = shape.flat ? out->data : rows_at(out, r, size);
            if (streams && stream_aligned(MLXN_F32, o + p.begin * size))
                fill_stream(o + p.begin * size, p.n * size,
                            size == 4   ? bits
                            : size == 2 ? bits * 0x10001u
                                        : bits * 0x1010101u);
            else if (size == 4)
                for (uint64_t i = p.begin; i < p.begin + p.n; i++) ((uint32_t *)o)[(int64_t)i * step] = bits;
            else if (size == 2)
                for (uint64_t i = p.begin; i < p.begin + p.n; i++)
                    ((uint16_t *)o)[(int64_t)i * step] = (uint16_t)bits;
            else
                for (uint64_t i = p.begin; i < p.begin + p.n; i++) ((uint8_t *)o)[(int64_t)i * step] = (uint8_t)bits;
        }
    }
    if (streams) stream_end();
}

static void plan_arange(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    *out = (cpu_plan){.phases = 1, .chunks = {(args[0].dims[0] + ROWS_PIECE - 1) / ROWS_PIECE}};
}

/* to[k] = start + step * (base + k); whole numbers in doubles are exact. */
static void arange_span(float *to, int32_t n, double start, double step, double base) {
    int32_t k = 0;
#if CPU_ISA_LEVEL >= 2
    const __m512d eight = _mm512_set1_pd(8), s = _mm512_set1_pd(step), first = _mm512_set1_pd(start);
    __m512d at = _mm512_add_pd(_mm512_set1_pd(base), _mm512_set_pd(7, 6, 5, 4, 3, 2, 1, 0));
    for (; k + 8 <= n; k += 8) {
        _mm256_storeu_ps(to + k, _mm512_cvtpd_ps(_mm512_add_pd(first, _mm512_mul_pd(s, at))));
        at = _mm512_add_pd(at, eight);
    }
#endif
    for (; k < n; k++) to[k] = (float)(start + step * (base + (double)k));
}

/* f32 without gaps in spans; others one by one, since they round from double once. */
static void run_arange(cpu_run *run) {
    const mlxn_view *out = &run->args[0];
    const mlxn_arange_params *p = run->params;
    const bool spans = out->dtype == MLXN_F32 && rows_stride(out) == 1;
    const bool streams = spans && stream_fits(out, NULL, 0) && stream_aligned(MLXN_F32, out->data);
    const double start = p->start, step = p->step;
    float buffer[SPAN] __attribute__((aligned(64)));
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        const uint64_t end = mlxn_min_u64((chunk + 1) * ROWS_PIECE, out->dims[0]);
        for (uint64_t i = chunk * ROWS_PIECE; !spans && i < end; i++)
            mlxn_view_set(out, &i, start + step * (double)i);
        for (uint64_t i = chunk * ROWS_PIECE; spans && i < end; i += SPAN) {
            const int32_t n = (int32_t)mlxn_min_u64(SPAN, end - i);
            const double base = (double)i;
            float *to = streams ? buffer : (float *)out->data + i;
            arange_span(to, n, start, step, base);
            if (streams) span_stream(MLXN_F32, out->data, i, (uint64_t)n, buffer);
        }
    }
    if (streams) stream_end();
}

static void put(void *row, int64_t at, size_t size, uint32_t bits) {
    if (size == 4)
        ((uint32_t *)row)[at] = bits;
    else if (size == 2)
        ((uint16_t *)row)[at] = (uint16_t)bits;
    else
        ((uint8_t *)row)[at] = (uint8_t)bits;
}
static uint32_t take(const void *row, int64_t at, size_t size) {
    return size == 4   ? ((const uint32_t *)row)[at]
           : size == 2 ? ((const uint16_t *)row)[at]
                       : ((const uint8_t *)row)[at];
}

/* The element of an axis of x for element i of out, -1 for none. */
static int64_t pad_from(const mlxn_pad_params *p, uint32_t axis, uint64_t i, uint64_t n) {
    int64_t count = (int64_t)n, k = (int64_t)i - (int64_t)p->before[axis], last = count - 1;
    if (k < 0 || k > last) switch ((mlxn_pad_mode)p->mode) {
            case MLXN_PAD_CONSTANT:
                return -1;
            case MLXN_PAD_EDGE:
                k = k < 0 ? 0 : last;
                break;
            case MLXN_PAD_REFLECT:
                k = k < 0 ? -k : 2 * last - k;
                break;
            case MLXN_PAD_WRAP:
                k %= count;
                if (k < 0) k += count;
        }
    return p->flip >> axis & 1 ? last - k : k;
}

static void plan_pad(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    const mlxn_view *o = &args[1];
    rows_shape shape = rows_of(&o, 1, true);
    *out = (cpu_plan){.phases = 1, .chunks = {rows_chunks(&shape)}};
}

/* Where x runs through a row of out, it is copied in one piece. */
static void run_pad(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_pad_params *p = run->params;
    rows_shape shape = rows_of(&out, 1, true);
    size_t size = mlxn_dtype_size(out->dtype);
    uint32_t axis = out->rank - 1, bits = p->mode == MLXN_PAD_CONSTANT ? fill_bits(out->dtype, p->value) : 0;
    int64_t sx = x->strides[axis], so = out->strides[axis];
    uint64_t chunk, n = x->dims[axis], begin = mlxn_min_u64(p->before[axis], shape.cols);
    uint64_t end = mlxn_min_u64(begin + n, shape.cols);
    bool block = ((sx == 1 && so == 1) || end - begin == 1) && !(p->flip >> axis & 1);
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            uint64_t rest = r;
            int64_t offset = 0;
            bool inside = true;
            for (uint32_t a = axis; a-- > 0; rest /= out->dims[a]) {
                int64_t from = pad_from(p, a, rest % out->dims[a], x->dims[a]);
                inside = inside && from >= 0;
                offset += from * x->strides[a];
            }
            const char *src = inside ? (const char *)x->data + offset * (int64_t)size : NULL;
            char *dst = rows_at(out, r, size);
            for (uint64_t i = 0; i < shape.cols; i++) {
                if (inside && block && i == begin && end > begin) {
                    memcpy(dst + (int64_t)i * so * (int64_t)size, src, (end - begin) * size);
                    i = end - 1;
                    continue;
                }
                int64_t from = inside ? pad_from(p, axis, i, n) : -1;
                put(dst, (int64_t)i * so, size, from < 0 ? bits : take(src, from * sx, size));
            }
        }
    }
}

static void run_diag(cpu_run *run) {
    const mlxn_view *x = &run->args[0], *out = &run->args[1];
    const mlxn_diag_mask_params *p = run->params;
    rows_shape shape = rows_of(&out, 1, true);
    size_t size = rows_size(out->dtype);
    uint32_t bits = fill_bits(out->dtype, (double)p->value);
    int64_t sx = rows_stride(x), so = rows_stride(out), cols = (int64_t)shape.cols;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            const void *src = rows_at(x, r, size);
            void *dst = rows_at(out, r, size);
            int64_t on = (int64_t)(r % out->dims[out->rank - 2]) + p->diagonal;
            /* what stays is [begin, end) */
            int64_t begin = p->upper ? on : 0, end = p->upper ? cols : on + 1;
            begin = begin < 0 ? 0 : begin > cols ? cols : begin;
            end = end < begin ? begin : end > cols ? cols : end;
            for (int64_t i = 0; i < begin; i++) put(dst, i * so, size, bits);
            for (int64_t i = begin; i < end; i++) put(dst, i * so, size, take(src, i * sx, size));
            for (int64_t i = end; i < cols; i++) put(dst, i * so, size, bits);
        }
    }
}

static void run_timestep(cpu_run *run) {
    const mlxn_view *t = &run->args[0], *out = &run->args[1];
    double slope = -log((double)((const mlxn_timestep_embedding_params *)run->params)->max_period);
    rows_shape shape = rows_of(&out, 1, true);
    uint64_t chunk, half = shape.cols / 2;
    int64_t so = rows_stride(out);
    while (cpu_next(run, &chunk)) {
        rows_part part = rows_chunk(&shape, chunk);
        for (uint64_t r = part.row; r < part.row_end; r++) {
            double time = (double)((const float *)t->data)[(int64_t)r * rows_stride(t)];
            float *dst = rows_at(out, r, 4);
            for (uint64_t j = 0; j < half; j++) {
                double angle = time * exp(slope * (double)j / (double)half);
                dst[(int64_t)j * so] = (float)cos(angle);
                dst[(int64_t)(half + j) * so] = (float)sin(angle);
            }
            if (shape.cols % 2) dst[(int64_t)(2 * half) * so] = 0;
        }
    }
}

extern const cpu_kernel CPU_ISA(cpu_kernels_fill)[];
const cpu_kernel CPU_ISA(cpu_kernels_fill)[] = {
    {MLXN_OP_fill_value, "fill_value_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_fill, run_fill},
    {MLXN_OP_arange, "arange_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_arange, run_arange},
    {MLXN_OP_pad, "pad_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_pad, run_pad},
    {MLXN_OP_diag_mask, "diag_mask_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_pad, run_diag},
    {MLXN_OP_timestep_embedding, "timestep_embedding_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_pad,
     run_timestep},
    {0},
};
