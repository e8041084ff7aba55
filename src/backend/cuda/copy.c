/* copy.c: rows of cast and copy: any strides. */
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/copy_args.h"

_Static_assert(sizeof(cuda_copy_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

static void plan(const mlxn_view *args, const cuda_device *device, cuda_launch *launch) {
    cuda_copy_args *out = (cuda_copy_args *)launch->arguments;
    *out = (cuda_copy_args){.shape.n = 1};
    k_copy_shape *s = &out->shape;
    for (uint32_t k = 0; k < args[1].rank; k++) {
        uint64_t dim = args[1].dims[k];
        s->n *= dim;
        if (dim == 1) continue;
        /* Axes that both operands step through as one are one. */
        bool joins = s->rank > 0;
        for (int v = 0; v < 2 && joins; v++) joins = s->strides[v][s->rank - 1] == args[v].strides[k] * (int64_t)dim;
        if (!joins) s->rank++;
        s->dims[s->rank - 1] = joins ? s->dims[s->rank - 1] * dim : dim;
        for (int v = 0; v < 2; v++) s->strides[v][s->rank - 1] = args[v].strides[k];
    }
    for (int v = 0; v < 2; v++) out->address[v] = (uintptr_t)args[v].data;
    cuda_launch_threads(launch, s->n, device);
}

static uint32_t float_number(mlxn_dtype dtype) { return dtype == MLXN_F32 ? 0 : dtype == MLXN_F16 ? 1 : 2; }

static void plan_cast(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(args, device, out);
    uint32_t number = 3 * float_number(args[0].dtype) + float_number(args[1].dtype);
    out->kernel = (enum cuda_kernel_id)(CUDA_KERNEL_cast_f32_f32 + number);
}

static bool fits_copy(const mlxn_view *args, const void *params) { return mlxn_dtype_size(args[0].dtype) <= 4; }
static void plan_copy(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(args, device, out);
    size_t size = mlxn_dtype_size(args[0].dtype);
    out->kernel = size == 1 ? CUDA_KERNEL_copy_1 : size == 2 ? CUDA_KERNEL_copy_2 : CUDA_KERNEL_copy_4;
}

const mlxn_kernel_row cuda_copy_rows[] = {
    CUDA_ROW(cast, "cast", NULL, plan_cast),
    CUDA_ROW(copy, "copy", fits_copy, plan_copy),
    {.name = NULL},
};
