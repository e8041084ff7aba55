/* kernels.c: gathers the kernel tables of all files and instruction-set levels into the rows that core chooses from.
 * To add a kernel file: one line in CPU_KERNEL_FILES. */
#include "backend/cpu/device.h"

#define CPU_KERNEL_FILES(X) \
    X(elementwise) X(copy) X(gather) X(reduce) X(activation) X(norm) X(rope) X(kv) X(attention) X(matmul) X(norm_rows)

#define DECLARE_BASE(file) extern const cpu_kernel cpu_kernels_##file##_base[];
CPU_KERNEL_FILES(DECLARE_BASE)
#if defined(__x86_64__)
#define DECLARE_X86(file) extern const cpu_kernel cpu_kernels_##file##_avx2[], cpu_kernels_##file##_avx512[];
CPU_KERNEL_FILES(DECLARE_X86)
extern const cpu_kernel cpu_kernels_matmul_vnni[];
#endif

/* Fastest level first. */
static const cpu_kernel *const tables[] = {
#if defined(__x86_64__)
    cpu_kernels_matmul_vnni,
#define ROW_AVX512(file) cpu_kernels_##file##_avx512,
    CPU_KERNEL_FILES(ROW_AVX512)
#define ROW_AVX2(file) cpu_kernels_##file##_avx2,
        CPU_KERNEL_FILES(ROW_AVX2)
#endif
#define ROW_BASE(file) cpu_kernels_##file##_base,
            CPU_KERNEL_FILES(ROW_BASE)};

enum { MAX_ROWS = 512 };
static mlxn_kernel_row rows[MAX_ROWS];
static size_t n_rows;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void gather(void) {
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const cpu_kernel *k = tables[t]; k->name && n_rows < MAX_ROWS; k++) {
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
