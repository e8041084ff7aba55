/* kernels.c: the kernel rows of all families, in one table. */
#include <assert.h>

#include "backend/cuda/device.h"

enum { MAX_ROWS = 1024 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static mlxn_kernel_row table[MAX_ROWS];
static size_t n_rows;

static void join(void) {
    const mlxn_kernel_row *const families[] = {cuda_attention_rows, cuda_elementwise_rows, cuda_copy_rows,
                                               cuda_map_rows,       cuda_matmul_rows,      cuda_move_rows,
                                               cuda_rope_rows,      cuda_row_rows};
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (const mlxn_kernel_row *row = families[f]; row->name; row++) {
            assert(n_rows < MAX_ROWS);
            table[n_rows++] = *row;
        }
}

const mlxn_kernel_row *cuda_kernel_rows(size_t *count) {
    pthread_once(&once, join);
    *count = n_rows;
    return table;
}
