/* rows.c: rows of rms_norm, norm_add, softmax, reduce, argmax and argmin: any strides; a block of threads has a row
 * of the tensor at a time. */
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/rows_args.h"

_Static_assert(sizeof(cuda_rows_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

enum { IN, SECOND, THIRD, RESULT };

/* The shape of x, of whose rows the last `inner` axes are. */
static cuda_rows_args *set_shape(const mlxn_view *x, uint32_t inner, cuda_launch *launch) {
    cuda_rows_args *args = (cuda_rows_args *)launch->arguments;
    *args = (cuda_rows_args){.shape = {.rows = 1, .n = 1, .rank = x->rank, .inner = inner, .scale = 1}};
    for (uint32_t k = 0; k < x->rank; k++) {
        args->shape.dims[k] = x->dims[k];
        *(k < x->rank - inner ? &args->shape.rows : &args->shape.n) *= x->dims[k];
    }
    return args;
}

/* Operand `v`, whose axes are the last ones of the shape, or its first ones; missing ones and those of 1 repeat. */
static void set_view(cuda_rows_args *args, uint32_t v, const mlxn_view *view, bool first) {
    if (!view->present) return;
    args->address[v] = (uintptr_t)view->data;
    for (uint32_t k = 0; k < view->rank; k++)
        args->shape.strides[v][first ? k : args->shape.rank - view->rank + k] =
            view->dims[k] == 1 ? 0 : view->strides[k];
}

/* One thread for about four elements. */
static void set_grid(const cuda_rows_args *args, uint32_t most, const cuda_device *device, cuda_launch *launch) {
    uint32_t block = 32;
    while (block < most && block * 4 < args->shape.n) block *= 2;
    launch->block[0] = block;
    launch->grid[0] = (uint32_t)mlxn_min_u64(args->shape.rows, (uint64_t)device->processors * 64);
}

static uint32_t float_number(mlxn_dtype dtype) { return dtype == MLXN_F32 ? 0 : dtype == MLXN_F16 ? 1 : 2; }

static void plan_norm(const mlxn_view *x, const mlxn_view *w, const mlxn_view *residual, const mlxn_view *out,
                      float eps, const cuda_device *device, cuda_launch *launch) {
    cuda_rows_args *args = set_shape(x, 1, launch);
    set_view(args, IN, x, false);
    set_view(args, SECOND, w, false);
    if (residual) set_view(args, THIRD, residual, false);
    set_view(args, RESULT, out, false);
    args->shape.eps = eps;
    launch->kernel = (enum cuda_kernel_id)(CUDA_KERNEL_norm_f32 + float_number(x->dtype));
    set_grid(args, 512, device, launch);
}
static void plan_rms_norm(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan_norm(&args[0], &args[1], NULL, &args[2], ((const mlxn_rms_norm_params *)params)->eps, device, out);
}
static void plan_norm_add(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan_norm(&args[0], &args[1], &args[2], &args[3], ((const mlxn_rms_norm_params *)params)->eps, device, out);
}

static void plan_softmax(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const mlxn_softmax_params *p = params;
    cuda_rows_args *own = set_shape(&args[0], 1, out);
    set_view(own, IN, &args[0], false);
    set_view(own, SECOND, &args[1], false);
    set_view(own, RESULT, &args[2], false);
    if (p->scale != 0) own->shape.scale = p->scale;
    own->shape.fn = p->log;
    own->shape.mask_type = args[1].present ? 1 + float_number(args[1].dtype) : 0;
    out->kernel = (enum cuda_kernel_id)(CUDA_KERNEL_softmax_f32 + float_number(args[0].dtype));
    set_grid(own, 1024, device, out);
}

static void plan_reduce(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const mlxn_reduce_params *p = params;
    cuda_rows_args *own = set_shape(&args[0], p->axes ? p->axes : 1, out);
    set_view(own, IN, &args[0], false);
    set_view(own, RESULT, &args[1], true);
    own->shape.fn = p->fn;
    own->shape.eps = p->eps;
    bool same = args[1].dtype != MLXN_F32;
    out->kernel = args[0].dtype == MLXN_F32   ? CUDA_KERNEL_reduce_f32_f32
                  : args[0].dtype == MLXN_F16 ? (same ? CUDA_KERNEL_reduce_f16_f16 : CUDA_KERNEL_reduce_f16_f32)
                                              : (same ? CUDA_KERNEL_reduce_bf16_bf16 : CUDA_KERNEL_reduce_bf16_f32);
    set_grid(own, 1024, device, out);
}

static void plan_extreme(const mlxn_view *args, bool least, const cuda_device *device, cuda_launch *out) {
    cuda_rows_args *own = set_shape(&args[0], 1, out);
    set_view(own, IN, &args[0], false);
    set_view(own, RESULT, &args[1], true);
    own->shape.fn = least;
    out->kernel = CUDA_KERNEL_extreme;
    set_grid(own, 1024, device, out);
}
static void plan_argmax(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan_extreme(args, false, device, out);
}
static void plan_argmin(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan_extreme(args, true, device, out);
}

const mlxn_kernel_row cuda_row_rows[] = {
    CUDA_ROW(rms_norm, "rows", NULL, plan_rms_norm),
    CUDA_ROW(norm_add, "rows", NULL, plan_norm_add),
    CUDA_ROW(softmax, "rows", NULL, plan_softmax),
    CUDA_ROW(reduce, "rows", NULL, plan_reduce),
    CUDA_ROW(argmax, "rows", NULL, plan_argmax),
    CUDA_ROW(argmin, "rows", NULL, plan_argmin),
    {.name = NULL},
};
