/* matmul.c: rows of matmul: few rows of x as vectors, more as tiles; any strides of what is no weight. */
#include "backend/cuda/kernels/matmul_args.h"
#include "backend/cuda/weight.h"

_Static_assert(sizeof(cuda_matmul_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

enum { X, W, BIAS, RESIDUAL, OUT, FEW = 8, VECTOR_COLS = 20480 };

/* The first of the three kernels of a format. */
static enum cuda_kernel_id kernels_of(const k_weight_shape *w) {
    static const struct {
        unsigned format, bits;
        enum cuda_kernel_id first;
    } own[] = {{K_FORMAT_F32, 0, CUDA_KERNEL_matvec1_f32},       {K_FORMAT_F16, 0, CUDA_KERNEL_matvec1_f16},
               {K_FORMAT_BF16, 0, CUDA_KERNEL_matvec1_bf16},     {K_FORMAT_Q4_0, 0, CUDA_KERNEL_matvec1_q4_0},
               {K_FORMAT_Q4_1, 0, CUDA_KERNEL_matvec1_q4_1},     {K_FORMAT_Q5_0, 0, CUDA_KERNEL_matvec1_q5_0},
               {K_FORMAT_Q5_1, 0, CUDA_KERNEL_matvec1_q5_1},     {K_FORMAT_Q8_0, 0, CUDA_KERNEL_matvec1_q8_0},
               {K_FORMAT_Q4_K, 0, CUDA_KERNEL_matvec1_q4_k},     {K_FORMAT_Q5_K, 0, CUDA_KERNEL_matvec1_q5_k},
               {K_FORMAT_Q6_K, 0, CUDA_KERNEL_matvec1_q6_k},     {K_FORMAT_AFFINE, 4, CUDA_KERNEL_matvec1_affine4},
               {K_FORMAT_AFFINE, 8, CUDA_KERNEL_matvec1_affine8}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].format == w->format && (!own[i].bits || own[i].bits == w->bits)) return own[i].first;
    return CUDA_KERNEL_matvec1_any;
}

static cuda_matmul_args *set_args(const mlxn_view *args, cuda_launch *launch) {
    cuda_matmul_args *own = (cuda_matmul_args *)launch->arguments;
    *own = (cuda_matmul_args){.w = *cuda_weight_shape(&args[W]),
                              .x = (uintptr_t)args[X].data,
                              .out = (uintptr_t)args[OUT].data,
                              .m = args[X].dims[0],
                              .x_type = args[X].dtype};
    if (args[BIAS].present) {
        own->bias = (uintptr_t)args[BIAS].data;
        own->bs = args[BIAS].strides[0];
    }
    if (args[RESIDUAL].present) own->residual = (uintptr_t)args[RESIDUAL].data;
    for (int i = 0; i < 2; i++) {
        own->xs[i] = args[X].strides[i];
        own->os[i] = args[OUT].strides[i];
        own->rs[i] = args[RESIDUAL].present ? args[RESIDUAL].strides[i] : 0;
    }
    return own;
}

static uint64_t ceiling(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

static bool fits_few(const mlxn_view *args, const void *params) {
    return args[X].dims[0] <= FEW && args[X].dims[1] <= VECTOR_COLS;
}
static void plan_few(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const cuda_matmul_args *own = set_args(args, out);
    uint64_t row = ceiling(own->w.cols, 32) * CUDA_MATVEC_PADDED * sizeof(float);
    bool one = own->m == 1 || 4 * row > device->shared_bytes;
    out->kernel = (enum cuda_kernel_id)((uint32_t)kernels_of(&own->w) + (one ? 0 : 1));
    out->shared_bytes = (uint32_t)(one ? row : 4 * row);
    out->block[0] = CUDA_MATVEC_BLOCK;
    out->grid[0] =
        (uint32_t)mlxn_min_u64(ceiling(own->w.rows, CUDA_MATVEC_BLOCK / 32), (uint64_t)device->processors * 8);
    out->grid[1] = (uint32_t)ceiling(own->m, one ? 1 : 4);
}

static bool fits_many(const mlxn_view *args, const void *params) {
    return ceiling(args[X].dims[0], CUDA_MATMAT_TILE) <= 65535 &&
           ceiling(args[W].dims[0], CUDA_MATMAT_TILE) < 1u << 31;
}
static void plan_many(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const cuda_matmul_args *own = set_args(args, out);
    out->kernel = (enum cuda_kernel_id)((uint32_t)kernels_of(&own->w) + 2);
    out->block[0] = CUDA_MATMAT_BLOCK;
    out->grid[0] = (uint32_t)ceiling(own->w.rows, CUDA_MATMAT_TILE);
    out->grid[1] = (uint32_t)ceiling(own->m, CUDA_MATMAT_TILE);
}

const mlxn_kernel_row cuda_matmul_rows[] = {
    CUDA_ROW(matmul, "few", fits_few, plan_few),
    CUDA_ROW(matmul, "tiles", fits_many, plan_many),
    {.name = NULL},
};
