/* elementwise.c: rows of elementwise_add, elementwise_mul and scalar_mul: any strides; close together at multiples of
 * 16 bytes, whole packs. */
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/elementwise_args.h"

_Static_assert((int)MLXN_MAX_RANK <= (int)K_MAX_RANK, "shapes of kernels hold every rank");
_Static_assert(sizeof(cuda_elementwise_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

/* Copies the shape with axes joined that all operands step through as one, and those of one element left out. */
static void set_shape(k_elementwise_shape *s, const mlxn_view *const views[3]) {
    s->n = 1;
    for (uint32_t k = 0; k < views[2]->rank; k++) {
        uint64_t dim = views[2]->dims[k];
        s->n *= dim;
        if (dim == 1) continue;
        bool joins = s->rank > 0;
        for (int v = 0; v < 3 && joins; v++)
            joins = s->strides[v][s->rank - 1] == views[v]->strides[k] * (int64_t)dim;
        if (!joins) s->rank++;
        s->dims[s->rank - 1] = joins ? s->dims[s->rank - 1] * dim : dim;
        for (int v = 0; v < 3; v++) s->strides[v][s->rank - 1] = views[v]->strides[k];
    }
}

/* `base`: the first of the six kernels of an operation. */
static void plan(const mlxn_view *a, const mlxn_view *b, const mlxn_view *out, float scale, enum cuda_kernel_id base,
                 const cuda_device *device, cuda_launch *launch) {
    cuda_elementwise_args *args = (cuda_elementwise_args *)launch->arguments;
    *args = (cuda_elementwise_args){.shape.scale = scale};
    const mlxn_view *const views[3] = {a, b, out};
    set_shape(&args->shape, views);
    bool packed = args->shape.rank <= 1;
    for (int v = 0; v < 3; v++) {
        args->address[v] = (uintptr_t)views[v]->data;
        packed = packed && args->address[v] % 16 == 0 && (!args->shape.rank || args->shape.strides[v][0] == 1);
    }
    uint32_t dtype = out->dtype == MLXN_F32 ? 0 : out->dtype == MLXN_F16 ? 1 : 2;
    uint64_t items = args->shape.n;
    if (packed) {
        uint64_t per_pack = 16 / mlxn_dtype_size(out->dtype);
        items = (items + per_pack - 1) / per_pack;
    }
    launch->kernel = (enum cuda_kernel_id)((uint32_t)base + dtype + (packed ? 3 : 0));
    cuda_launch_threads(launch, items, device);
}

static void plan_add(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[1], &args[2], 1, CUDA_KERNEL_elementwise_add_f32, device, out);
}
static void plan_mul(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[1], &args[2], 1, CUDA_KERNEL_elementwise_mul_f32, device, out);
}
static void plan_scalar_mul(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[0], &args[1], ((const mlxn_scalar_mul_params *)params)->scale, CUDA_KERNEL_scalar_mul_f32,
         device, out);
}

const mlxn_kernel_row cuda_elementwise_rows[] = {
    CUDA_ROW(elementwise_add, "elementwise", NULL, plan_add),
    CUDA_ROW(elementwise_mul, "elementwise", NULL, plan_mul),
    CUDA_ROW(scalar_mul, "elementwise", NULL, plan_scalar_mul),
    {.name = NULL},
};
