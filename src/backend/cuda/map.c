/* map.c: rows of the functions of one and two numbers: activations, unary, binary, glu, unary_backward, compare and
 * where: any strides; close together at multiples of 16 bytes, whole packs. */
#include "backend/cuda/device.h"
#include "backend/cuda/kernels/map_args.h"

_Static_assert(sizeof(cuda_map_args) <= CUDA_ARGUMENT_BYTES, "the argument fits a launch");

enum { A, B, RESULT, CONDITION };

/* A view with the dims of the result: axes that are repeated have no stride. */
static mlxn_view spread(const mlxn_view *view, const mlxn_view *out) {
    mlxn_view wide = *view;
    wide.rank = out->rank;
    for (uint32_t i = 0; i < out->rank; i++) {
        uint32_t missing = out->rank - view->rank;
        wide.dims[i] = out->dims[i];
        wide.strides[i] = i < missing || view->dims[i - missing] == 1 ? 0 : view->strides[i - missing];
    }
    return wide;
}

/* Fills in shape and addresses; axes that all views step through as one are one. `condition` may be NULL. */
static cuda_map_args *set_views(const mlxn_view *a, const mlxn_view *b, const mlxn_view *out,
                                const mlxn_view *condition, cuda_launch *launch) {
    const mlxn_view views[K_MAP_VIEWS] = {spread(a, out), spread(b, out), *out,
                                          spread(condition ? condition : a, out)};
    cuda_map_args *args = (cuda_map_args *)launch->arguments;
    *args = (cuda_map_args){.shape.n = 1};
    k_map_shape *s = &args->shape;
    for (uint32_t k = 0; k < out->rank; k++) {
        uint64_t dim = out->dims[k];
        s->n *= dim;
        if (dim == 1) continue;
        bool joins = s->rank > 0;
        for (int v = 0; v < K_MAP_VIEWS && joins; v++)
            joins = s->strides[v][s->rank - 1] == views[v].strides[k] * (int64_t)dim;
        if (!joins) s->rank++;
        s->dims[s->rank - 1] = joins ? s->dims[s->rank - 1] * dim : dim;
        for (int v = 0; v < K_MAP_VIEWS; v++) s->strides[v][s->rank - 1] = views[v].strides[k];
    }
    for (int v = 0; v < K_MAP_VIEWS; v++) args->address[v] = (uintptr_t)views[v].data;
    return args;
}

static uint32_t float_number(mlxn_dtype dtype) { return dtype == MLXN_F32 ? 0 : dtype == MLXN_F16 ? 1 : 2; }

/* `base`: the first of the six kernels of a family. */
static cuda_map_args *plan(const mlxn_view *a, const mlxn_view *b, const mlxn_view *out, enum cuda_kernel_id base,
                           uint32_t fn, const cuda_device *device, cuda_launch *launch) {
    cuda_map_args *args = set_views(a, b, out, NULL, launch);
    k_map_shape *s = &args->shape;
    s->fn = fn;
    bool packed = s->rank <= 1;
    for (int v = A; v <= RESULT; v++)
        packed = packed && args->address[v] % 16 == 0 && (!s->rank || s->strides[v][0] == 1);
    uint64_t per_pack = 16 / mlxn_dtype_size(out->dtype), items = packed ? (s->n + per_pack - 1) / per_pack : s->n;
    launch->kernel = (enum cuda_kernel_id)((uint32_t)base + float_number(out->dtype) + (packed ? 3 : 0));
    cuda_launch_threads(launch, items, device);
    return args;
}

static void set_params(k_map_shape *s, const mlxn_unary_params *p) {
    s->a = p->a;
    s->b = p->b;
    s->c = p->c;
    s->d = p->d;
}

static void plan_unary(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const mlxn_unary_params *p = params;
    set_params(&plan(&args[0], &args[0], &args[1], CUDA_KERNEL_map_unary_f32, p->fn, device, out)->shape, p);
}
static void plan_unary_backward(const mlxn_view *args, const void *params, const cuda_device *device,
                                cuda_launch *out) {
    const mlxn_unary_params *p = params;
    set_params(&plan(&args[0], &args[1], &args[2], CUDA_KERNEL_map_slope_f32, p->fn, device, out)->shape, p);
}
static void plan_softcap(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[0], &args[1], CUDA_KERNEL_map_unary_f32, K_UNARY_SOFTCAP, device, out)->shape.a =
        ((const mlxn_softcap_params *)params)->cap;
}
static void plan_silu(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[0], &args[1], CUDA_KERNEL_map_unary_f32, MLXN_UNARY_SILU, device, out);
}
static void plan_gelu(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[0], &args[1], CUDA_KERNEL_map_unary_f32, MLXN_UNARY_GELU, device, out);
}
static void plan_silu_mul(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[1], &args[2], CUDA_KERNEL_map_glu_f32, MLXN_GLU_SILU, device, out);
}
static void plan_gelu_mul(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[1], &args[2], CUDA_KERNEL_map_glu_f32, MLXN_GLU_GELU, device, out);
}
static void plan_glu(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    const mlxn_glu_params *p = params;
    k_map_shape *s = &plan(&args[0], &args[1], &args[2], CUDA_KERNEL_map_glu_f32, p->fn, device, out)->shape;
    s->a = p->alpha;
    s->b = p->limit;
}
static void plan_binary(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    plan(&args[0], &args[1], &args[2], CUDA_KERNEL_map_binary_f32, ((const mlxn_binary_params *)params)->fn, device,
         out);
}
static void plan_compare(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    cuda_map_args *own = set_views(&args[0], &args[1], &args[2], NULL, out);
    own->shape.fn = ((const mlxn_compare_params *)params)->fn;
    out->kernel = (enum cuda_kernel_id)(CUDA_KERNEL_compare_f32 + (uint32_t)args[0].dtype);
    cuda_launch_threads(out, own->shape.n, device);
}
static void plan_where(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out) {
    cuda_map_args *own = set_views(&args[1], &args[2], &args[3], &args[0], out);
    size_t size = mlxn_dtype_size(args[1].dtype);
    out->kernel = size == 1 ? CUDA_KERNEL_where_1 : size == 2 ? CUDA_KERNEL_where_2 : CUDA_KERNEL_where_4;
    cuda_launch_threads(out, own->shape.n, device);
}

const mlxn_kernel_row cuda_map_rows[] = {
    CUDA_ROW(softcap, "map", NULL, plan_softcap),
    CUDA_ROW(silu, "map", NULL, plan_silu),
    CUDA_ROW(gelu, "map", NULL, plan_gelu),
    CUDA_ROW(silu_mul, "map", NULL, plan_silu_mul),
    CUDA_ROW(gelu_mul, "map", NULL, plan_gelu_mul),
    CUDA_ROW(unary, "map", NULL, plan_unary),
    CUDA_ROW(unary_backward, "map", NULL, plan_unary_backward),
    CUDA_ROW(binary, "map", NULL, plan_binary),
    CUDA_ROW(compare, "map", NULL, plan_compare),
    CUDA_ROW(where, "map", NULL, plan_where),
    CUDA_ROW(glu, "map", NULL, plan_glu),
    {.name = NULL},
};
