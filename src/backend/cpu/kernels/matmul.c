/* matmul.c (CPU kernels): the rows of matmul, matmul_id and dense_matmul, and those that take any strides.
 *
 * matmul_i8 multiplies quantized weights with 8-bit activations (matmul_i8.c), matmul_f32 any weights in binary32
 * (matmul_f32.c); both want unit strides along rows. matmul_any reads weights row by row, at the base level only. */
#include "backend/cpu/kernels/matmul_experts.h"

#if CPU_ISA_LEVEL < 3
static bool fits_dense(const mlxn_view *args, const void *params) { return true; }
#endif

#if CPU_ISA_LEVEL == 0
enum { ANY_ROWS = 8 }; /* outputs features per chunk */

static bool fits_any(const mlxn_view *args, const void *params) { return true; }

static void plan_any(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t n = args[MM_W].weight->rows, k = args[MM_W].weight->cols;
    *out = (cpu_plan){.phases = 1, .chunks = {(n + ANY_ROWS - 1) / ANY_ROWS}, .local_bytes = k * sizeof(float)};
}

static void run_any(cpu_run *run) {
    const mlxn_view *x = &run->args[MM_X], *out = &run->args[MM_OUT];
    const mlxn_view *bias = &run->args[MM_BIAS], *residual = &run->args[MM_RESIDUAL];
    const mlxn_weight_view *w = run->args[MM_W].weight;
    float *row = run->local;
    size_t size = x->dtype == MLXN_F32 ? 4 : 2;
    uint64_t chunk;
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * ANY_ROWS, w->rows);
        for (uint64_t n = chunk * ANY_ROWS; n < end; n++) {
            w->read_row(w, n, row);
            for (uint64_t m = 0; m < x->dims[0]; m++) {
                const char *xm = (const char *)x->data + (int64_t)m * x->strides[0] * (int64_t)size;
                double sum = 0;
                for (uint64_t k = 0; k < w->cols; k++)
                    sum += (double)simd_get(x->dtype, xm, (int64_t)k * x->strides[1]) * (double)row[k];
                float y = (float)sum;
                if (bias->present) y += ((const float *)bias->data)[(int64_t)n * bias->strides[0]];
                if (residual->present)
                    y += ((const float *)
                              residual->data)[(int64_t)m * residual->strides[0] + (int64_t)n * residual->strides[1]];
                ((float *)out->data)[(int64_t)m * out->strides[0] + (int64_t)n * out->strides[1]] = y;
            }
        }
    }
}

/* Expert-routed: a chunk is some features of all slots. */
static void plan_id_any(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    uint64_t n = args[ID_W].weight->rows, k = args[ID_W].weight->cols;
    *out = (cpu_plan){.phases = 1, .chunks = {(n + ANY_ROWS - 1) / ANY_ROWS}, .local_bytes = k * sizeof(float)};
}

/* Feature n of one slot, with the matrix of its id. */
static float id_value(const mlxn_view *args, uint64_t slot, uint32_t id, uint64_t n, float *row) {
    const mlxn_view *x = &args[ID_X], *bias = &args[ID_BIAS];
    const mlxn_weight_view *w = args[ID_W].weight;
    uint64_t slots = args[ID_OUT].dims[0], m = slot / (slots / x->dims[0]);
    const char *xm = (const char *)x->data + (int64_t)m * x->strides[0] * (x->dtype == MLXN_F32 ? 4 : 2);
    w->read_row(w, (uint64_t)id * w->rows + n, row);
    double sum = 0;
    for (uint64_t k = 0; k < w->cols; k++)
        sum += (double)simd_get(x->dtype, xm, (int64_t)k * x->strides[1]) * (double)row[k];
    float y = (float)sum;
    if (bias->present)
        y += ((const float *)bias->data)[(int64_t)id * bias->strides[0] + (int64_t)n * bias->strides[1]];
    return y;
}

static void run_id_any(cpu_run *run) {
    const mlxn_view *out = &run->args[ID_OUT];
    const mlxn_weight_view *w = run->args[ID_W].weight;
    uint64_t chunk, experts = mlxn_weight_view_experts(w);
    while (cpu_next(run, &chunk)) {
        uint64_t end = mlxn_min_u64((chunk + 1) * ANY_ROWS, w->rows);
        for (uint64_t n = chunk * ANY_ROWS; n < end; n++)
            for (uint64_t slot = 0; slot < out->dims[0]; slot++) {
                uint32_t id = mm_route_id(&run->args[ID_IDS], slot);
                float y = id < experts ? id_value(run->args, slot, id, n, run->local) : 0.0f;
                ((float *)out->data)[(int64_t)slot * out->strides[0] + (int64_t)n * out->strides[1]] = y;
            }
    }
}
#endif

/* One body serves both ways; two rows tell which one ran. */
#if CPU_ISA_LEVEL > 0
static bool fits_i8_each(const mlxn_view *args, const void *params) {
    return mm_route_each(args) && CPU_ISA(mm_i8_id_fits)(args, params);
}
static bool fits_i8_sorted(const mlxn_view *args, const void *params) {
    return !mm_route_each(args) && CPU_ISA(mm_i8_id_fits)(args, params);
}
#endif
#if CPU_ISA_LEVEL < 3
static bool fits_f32_each(const mlxn_view *args, const void *params) {
    return mm_route_each(args) && CPU_ISA(mm_f32_id_fits)(args, params);
}
static bool fits_f32_sorted(const mlxn_view *args, const void *params) {
    return !mm_route_each(args) && CPU_ISA(mm_f32_id_fits)(args, params);
}
#endif

extern const cpu_kernel CPU_ISA(cpu_kernels_matmul)[];
const cpu_kernel CPU_ISA(cpu_kernels_matmul)[] = {
#if CPU_ISA_LEVEL > 0
    {MLXN_OP_matmul, "matmul_i8_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_FAST, CPU_ISA(mm_i8_fits), CPU_ISA(mm_i8_plan),
     CPU_ISA(mm_i8_run)},
    {MLXN_OP_matmul_id, "matmul_id_i8_each_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_FAST, fits_i8_each,
     CPU_ISA(mm_i8_id_plan), CPU_ISA(mm_i8_id_run)},
    {MLXN_OP_matmul_id, "matmul_id_i8_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_FAST, fits_i8_sorted,
     CPU_ISA(mm_i8_id_plan), CPU_ISA(mm_i8_id_run)},
#endif
#if CPU_ISA_LEVEL < 3 /* VNNI has nothing for floats */
    {MLXN_OP_matmul, "matmul_f32_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, CPU_ISA(mm_f32_fits), CPU_ISA(mm_f32_plan),
     CPU_ISA(mm_f32_run)},
    {MLXN_OP_matmul_id, "matmul_id_f32_each_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_f32_each,
     CPU_ISA(mm_f32_id_plan), CPU_ISA(mm_f32_id_run)},
    {MLXN_OP_matmul_id, "matmul_id_f32_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_f32_sorted,
     CPU_ISA(mm_f32_id_plan), CPU_ISA(mm_f32_id_run)},
    {MLXN_OP_dense_matmul, "dense_matmul_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_dense, CPU_ISA(mm_dense_plan),
     CPU_ISA(mm_dense_run)},
#endif
#if CPU_ISA_LEVEL == 0
    {MLXN_OP_matmul, "matmul_any_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_any, plan_any, run_any},
    {MLXN_OP_matmul_id, "matmul_id_any_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, fits_any, plan_id_any, run_id_any},
#endif
    {0},
};
