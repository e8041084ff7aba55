/* elementwise.c (CPU kernels): elementwise_add, elementwise_mul, scalar_mul. Computed in f32, rounded once. */
#include "backend/cpu/kernels/rows.h"

static void plan_unary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    map_plan(args, 2, out);
}
static void plan_binary(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out) {
    map_plan(args, 3, out);
}

SIMD_INLINE v16 fn_add(v16 a, v16 b, float s) { return v16_add(a, b); }
SIMD_INLINE v16 fn_mul(v16 a, v16 b, float s) { return v16_mul(a, b); }
SIMD_INLINE v16 fn_scale(v16 a, v16 b, float s) { return v16_mul(a, v16_set1(s)); }

static void run_add(cpu_run *run) { map_run(run, fn_add, 0.0f, true); }
static void run_mul(cpu_run *run) { map_run(run, fn_mul, 0.0f, true); }
static void run_scale(cpu_run *run) {
    map_run(run, fn_scale, ((const mlxn_scalar_mul_params *)run->params)->scale, false);
}

extern const cpu_kernel CPU_ISA(cpu_kernels_elementwise)[];
const cpu_kernel CPU_ISA(cpu_kernels_elementwise)[] = {
    {MLXN_OP_elementwise_add, "elementwise_add_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_binary,
     run_add},
    {MLXN_OP_elementwise_mul, "elementwise_mul_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_binary,
     run_mul},
    {MLXN_OP_scalar_mul, "scalar_mul_" CPU_ISA_SUFFIX, CPU_ISA_BITS, CPU_ANY, rows_always, plan_unary, run_scale},
    {0},
};
