/* kernels.c: gathers the kernel tables of all files and instruction-set levels into the rows that core chooses from.
 * To add a kernel file: one line in kernels/files.def. */
#include <assert.h>

#include "backend/cpu/device.h"
#include "core/gates.h"

#if defined(__x86_64__) && !defined(MLXN_CPU_BASE_ONLY)
#define CPU_KERNEL_FILE(file) \
    extern const cpu_kernel cpu_kernels_##file##_base[], cpu_kernels_##file##_avx2[], cpu_kernels_##file##_avx512[];
#include "backend/cpu/kernels/files.def"
#undef CPU_KERNEL_FILE
extern const cpu_kernel cpu_kernels_matmul_vnni[];
#else
#define CPU_KERNEL_FILE(file) extern const cpu_kernel cpu_kernels_##file##_base[];
#include "backend/cpu/kernels/files.def"
#undef CPU_KERNEL_FILE
#endif

/* Fastest level first. */
static const cpu_kernel *const tables[] = {
#if defined(__x86_64__) && !defined(MLXN_CPU_BASE_ONLY)
    cpu_kernels_matmul_vnni,
#define CPU_KERNEL_FILE(file) cpu_kernels_##file##_avx512,
#include "backend/cpu/kernels/files.def"
#undef CPU_KERNEL_FILE
#define CPU_KERNEL_FILE(file) cpu_kernels_##file##_avx2,
#include "backend/cpu/kernels/files.def"
#undef CPU_KERNEL_FILE
#endif
#define CPU_KERNEL_FILE(file) cpu_kernels_##file##_base,
#include "backend/cpu/kernels/files.def"
#undef CPU_KERNEL_FILE
};

enum { MAX_ROWS = 4096 };
static mlxn_kernel_row rows[MAX_ROWS];
static size_t n_rows;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void gather(void) {
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const cpu_kernel *k = tables[t]; k->name; k++) {
            assert(n_rows < MAX_ROWS);
            uint32_t precision = 0;
            if (k->precision & CPU_FAST) precision |= 1u << MLXN_PRECISION_FAST;
            if (k->precision & CPU_F32) precision |= 1u << MLXN_PRECISION_F32;
            rows[n_rows++] = (mlxn_kernel_row){k->op, k->name, k->isa, precision, k->fits, k,
                                               /* activations in two bytes: two products for each of the op's */
                                               strstr(k->name, "_i8_") ? 2 : 0};
        }
}

const mlxn_kernel_row *cpu_kernel_rows(size_t *count) {
    pthread_once(&once, gather);
    *count = n_rows;
    return rows;
}

uint32_t cpu_tq_groups(void) { return (uint32_t)mlxn_gate_integer(MLXN_GATE_TQ_WORKGROUPS); }
uint32_t cpu_mm_id_threshold(void) { return (uint32_t)mlxn_gate_integer(MLXN_GATE_MM_ID_THRESHOLD); }
