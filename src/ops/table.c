/* table.c: the operation table by id, the check that every operation shares, and element access for references. */
#include <stdio.h>

#include "ops/op.h"

static const mlxn_op_def *const table[MLXN_OP_COUNT] = {
#define MLXN_OP(name, family, params) &mlxn_opdef_##name,
#include "ops/ops.def"
#undef MLXN_OP
};

const mlxn_op_def *mlxn_op_get(uint32_t op) { return table[op]; }

/* "f32, f16 or bf16" */
static void dtype_list(uint32_t bits, char *out, size_t size) {
    size_t used = 0;
    out[0] = 0;
    for (uint32_t d = 0; d < MLXN_DTYPE_COUNT; d++) {
        if (!(bits >> d & 1)) continue;
        uint32_t rest = bits >> d >> 1;
        int n = snprintf(out + used, size - used, "%s%s", mlxn_dtype_name((mlxn_dtype)d),
                         !rest               ? ""
                         : rest & (rest - 1) ? ", "
                                             : " or ");
        if (n < 0 || (size_t)n >= size - used) return;
        used += (size_t)n;
    }
}

static mlxn_status check_tensor(const mlxn_arg_spec *spec, const mlxn_view *view, mlxn_error *error) {
    if (view->weight) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is a weight, want a tensor", spec->name);
    if ((uint32_t)view->dtype >= MLXN_DTYPE_COUNT || !(spec->dtypes >> view->dtype & 1)) {
        char want[64];
        dtype_list(spec->dtypes, want, sizeof want);
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dtype is %s, want %s", spec->name,
                         mlxn_dtype_name(view->dtype), want);
    }
    if (view->rank < spec->min_rank || view->rank > spec->max_rank) {
        if (spec->min_rank == spec->max_rank)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: rank is %u, want %u", spec->name, view->rank,
                             spec->min_rank);
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: rank is %u, want %u to %u", spec->name, view->rank,
                         spec->min_rank, spec->max_rank);
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < view->rank; i++) {
        if (!view->dims[i])
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dim[%u] is 0, want 1 or more", spec->name, i);
        if (!mlxn_mul_u64(elements, view->dims[i], &elements) || elements > MLXN_MAX_ELEMENTS)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: the product of the dims is over 2^60", spec->name);
        if (view->dims[i] == 1) continue;
        if (view->strides[i] < 0)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: stride[%u] is %lld, want 0 or more", spec->name, i,
                             (long long)view->strides[i]);
        if (spec->role != MLXN_ROLE_IN && !view->strides[i])
            return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                             "%s: stride[%u] is 0 over %llu elements, want 1 or more (it is written)", spec->name, i,
                             (unsigned long long)view->dims[i]);
    }
    return MLXN_OK;
}

static mlxn_status check_specs(const mlxn_op_def *def, const mlxn_view *args, uint32_t n_args, const void *params,
                               uint32_t params_size, mlxn_error *error) {
    if (n_args != def->n_args)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "got %u arguments, want %u", n_args, def->n_args);
    if (params_size != def->params_size || (params_size && !params))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "params: got %u bytes, want %u", params ? params_size : 0,
                         def->params_size);
    for (uint32_t i = 0; i < n_args; i++) {
        const mlxn_arg_spec *spec = &def->args[i];
        const mlxn_view *view = &args[i];
        if (!view->present) {
            if (spec->optional) continue;
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is absent, want a %s", spec->name,
                             spec->is_weight ? "weight" : "tensor");
        }
        if (spec->is_weight) {
            if (!view->weight)
                return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is a tensor, want a weight", spec->name);
            continue;
        }
        mlxn_status status = check_tensor(spec, view, error);
        if (status) return status;
    }
    return MLXN_OK;
}

mlxn_status mlxn_op_check(const mlxn_op_def *def, const mlxn_view *args, uint32_t n_args, const void *params,
                          uint32_t params_size, mlxn_error *error) {
    mlxn_status status = check_specs(def, args, n_args, params, params_size, error);
    if (!status && def->check) status = def->check(args, params, error);
    if (!status) return mlxn_succeed(error);
    mlxn_error_prefix(error, "%s", def->name);
    return status;
}

static int64_t element_offset(const mlxn_view *view, const uint64_t *index) {
    int64_t at = 0;
    for (uint32_t i = 0; i < view->rank; i++) at += (int64_t)index[i] * view->strides[i];
    return at;
}

double mlxn_view_get(const mlxn_view *view, const uint64_t *index) {
    int64_t at = element_offset(view, index);
    switch (view->dtype) {
        case MLXN_F32:
            return ((const float *)view->data)[at];
        case MLXN_F16:
            return mlxn_f16_to_f32(((const uint16_t *)view->data)[at]);
        case MLXN_BF16:
            return mlxn_bf16_to_f32(((const uint16_t *)view->data)[at]);
        case MLXN_U8:
            return ((const uint8_t *)view->data)[at];
        case MLXN_U16:
            return ((const uint16_t *)view->data)[at];
        case MLXN_U32:
            return ((const uint32_t *)view->data)[at];
        case MLXN_I32:
            return ((const int32_t *)view->data)[at];
        default:
            return 0;
    }
}

/* A double to a 16-bit float in one rounding: binary32 on the way would round twice. Rounding the double to odd at 24
 * bits first keeps what the second rounding needs to know. */
static float round_to_odd(double value) {
    float f = (float)value;
    if ((double)f == value || f != f) return f;
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7f800000u) == 0x7f800000u) return f; /* overflow */
    bool toward_zero = (value > 0) == ((double)f < value);
    if (!toward_zero) u--; /* one step to zero; never from zero, whose neighbours are reached below */
    u |= 1;
    memcpy(&f, &u, 4);
    return f;
}

void mlxn_view_set(const mlxn_view *view, const uint64_t *index, double value) {
    int64_t at = element_offset(view, index);
    switch (view->dtype) {
        case MLXN_F32:
            ((float *)view->data)[at] = (float)value;
            break;
        case MLXN_F16:
            ((uint16_t *)view->data)[at] = mlxn_f32_to_f16(round_to_odd(value));
            break;
        case MLXN_BF16:
            ((uint16_t *)view->data)[at] = mlxn_f32_to_bf16(round_to_odd(value));
            break;
        case MLXN_U8:
            ((uint8_t *)view->data)[at] = (uint8_t)value;
            break;
        case MLXN_U16:
            ((uint16_t *)view->data)[at] = (uint16_t)value;
            break;
        case MLXN_U32:
            ((uint32_t *)view->data)[at] = (uint32_t)value;
            break;
        case MLXN_I32:
            ((int32_t *)view->data)[at] = (int32_t)value;
            break;
        default:
            break;
    }
}

void mlxn_view_copy(const mlxn_view *to, const uint64_t *at, const mlxn_view *from, const uint64_t *own) {
    int64_t size = (int64_t)mlxn_dtype_size(to->dtype);
    memcpy((uint8_t *)to->data + element_offset(to, at) * size,
           (const uint8_t *)from->data + element_offset(from, own) * size, (size_t)size);
}

uint64_t mlxn_view_elements(const mlxn_view *view) {
    uint64_t n = view->present ? 1 : 0;
    for (uint32_t i = 0; i < view->rank; i++) n *= view->dims[i];
    return n;
}

void mlxn_view_unravel(const mlxn_view *view, uint64_t linear, uint64_t *index) {
    for (uint32_t i = view->rank; i-- > 0;) {
        index[i] = linear % view->dims[i];
        linear /= view->dims[i];
    }
}

bool mlxn_view_contiguous(const mlxn_view *view) {
    int64_t stride = 1;
    for (uint32_t i = view->rank; i-- > 0;) {
        if (view->dims[i] != 1 && view->strides[i] != stride) return false;
        stride *= (int64_t)view->dims[i];
    }
    return true;
}

uint64_t mlxn_view_bytes(const mlxn_view *view) {
    if (!view->present) return 0;
    if (view->weight) return mlxn_weight_view_bytes(view->weight);
    return mlxn_view_elements(view) * mlxn_dtype_size(view->dtype);
}

uint32_t mlxn_view_u32(const mlxn_view *view, uint64_t i) {
    return ((const uint32_t *)view->data)[(int64_t)i * view->strides[0]];
}

mlxn_status mlxn_want_dim(mlxn_error *error, const char *arg, uint32_t axis, uint64_t got, uint64_t want,
                          const char *why) {
    if (got == want) return MLXN_OK;
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dim[%u] is %llu, want %llu (%s)", arg, axis,
                     (unsigned long long)got, (unsigned long long)want, why);
}

mlxn_status mlxn_refuse_dims(mlxn_error *error, const char *arg, const mlxn_view *view, const char *like_name,
                             const mlxn_view *like) {
    if (view->rank != like->rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: rank is %u, want %u (as %s)", arg, view->rank, like->rank,
                         like_name);
    for (uint32_t i = 0; i < view->rank; i++)
        if (view->dims[i] != like->dims[i])
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dim[%u] is %llu, want %llu (as %s)", arg, i,
                             (unsigned long long)view->dims[i], (unsigned long long)like->dims[i], like_name);
    return MLXN_OK;
}

mlxn_status mlxn_refuse_dtype(mlxn_error *error, const char *arg, const mlxn_view *view, const char *like_name,
                              const mlxn_view *like) {
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: dtype is %s, want %s (as %s)", arg, mlxn_dtype_name(view->dtype),
                     mlxn_dtype_name(like->dtype), like_name);
}
