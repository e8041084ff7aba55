/* tensor.c: tensor values. Pure functions; bounds against the buffer are checked when a command uses the tensor. */
#include "core/core.h"

_Static_assert(MLXN_MAX_RANK == 4, "make and mlxn_tensor_reshape name every rank");

/* Inlined with a constant rank: recording makes several of these per operation, and a loop over a copy would cost
 * more than the rest of it. A wrapped product is caught by the bounds check, which multiplies checked. */
__attribute__((always_inline)) static inline mlxn_tensor make(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype,
                                                              uint32_t rank, uint64_t d0, uint64_t d1, uint64_t d2,
                                                              uint64_t d3) {
    return (mlxn_tensor){
        .buffer = buffer,
        .offset = offset,
        .dtype = dtype,
        .rank = rank,
        .dims = {d0, rank > 1 ? d1 : 0, rank > 2 ? d2 : 0, rank > 3 ? d3 : 0},
        .strides = {(int64_t)(rank > 3   ? d1 * d2 * d3
                              : rank > 2 ? d1 * d2
                              : rank > 1 ? d1
                                         : 1),
                    (int64_t)(rank > 3   ? d2 * d3
                              : rank > 2 ? d2
                                         : rank > 1),
                    (int64_t)(rank > 3 ? d3 : rank > 2), rank > 3},
    };
}

mlxn_tensor mlxn_tensor_1d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0) {
    return make(buffer, offset, dtype, 1, d0, 0, 0, 0);
}
mlxn_tensor mlxn_tensor_2d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0, uint64_t d1) {
    return make(buffer, offset, dtype, 2, d0, d1, 0, 0);
}
mlxn_tensor mlxn_tensor_3d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0, uint64_t d1,
                           uint64_t d2) {
    return make(buffer, offset, dtype, 3, d0, d1, d2, 0);
}
mlxn_tensor mlxn_tensor_4d(mlxn_buffer *buffer, uint64_t offset, mlxn_dtype dtype, uint64_t d0, uint64_t d1,
                           uint64_t d2, uint64_t d3) {
    return make(buffer, offset, dtype, 4, d0, d1, d2, d3);
}

mlxn_status mlxn_tensor_slice(const mlxn_tensor *tensor, uint32_t axis, uint64_t begin, uint64_t count,
                              mlxn_tensor *out, mlxn_error *error) {
    if (!tensor || !out)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor slice: %s is NULL", tensor ? "out" : "in");
    if (axis >= tensor->rank)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor slice: axis is %u, rank %u", axis, tensor->rank);
    uint64_t end;
    if (!count || !mlxn_add_u64(begin, count, &end) || end > tensor->dims[axis])
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor slice: elements %llu + %llu of axis %u, which has %llu",
                         (unsigned long long)begin, (unsigned long long)count, axis,
                         (unsigned long long)tensor->dims[axis]);
    if (tensor->strides[axis] < 0)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor slice: stride of axis %u is %lld, want 0 or more", axis,
                         (long long)tensor->strides[axis]);
    uint64_t skip, offset;
    if (!mlxn_mul_u64(begin, (uint64_t)tensor->strides[axis], &skip) ||
        !mlxn_mul_u64(skip, mlxn_dtype_size(tensor->dtype), &skip) || !mlxn_add_u64(tensor->offset, skip, &offset))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor slice: offset overflows 64 bits");
    mlxn_tensor t = *tensor;
    t.offset = offset;
    t.dims[axis] = count;
    *out = t;
    return mlxn_succeed(error);
}

mlxn_status mlxn_tensor_reshape(const mlxn_tensor *tensor, uint32_t rank, const uint64_t *dims, mlxn_tensor *out,
                                mlxn_error *error) {
    if (!tensor || !out || !dims) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor reshape: an argument is NULL");
    if (!rank || rank > MLXN_MAX_RANK)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor reshape: rank is %u, want 1 to %d", rank, MLXN_MAX_RANK);
    if (!mlxn_tensor_is_contiguous(tensor))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor reshape: the tensor is not contiguous");
    uint64_t d[MLXN_MAX_RANK] = {0};
    for (uint32_t i = 0; i < rank; i++) d[i] = dims[i];
    mlxn_tensor t = rank == 1   ? mlxn_tensor_1d(tensor->buffer, tensor->offset, tensor->dtype, d[0])
                    : rank == 2 ? mlxn_tensor_2d(tensor->buffer, tensor->offset, tensor->dtype, d[0], d[1])
                    : rank == 3
                        ? mlxn_tensor_3d(tensor->buffer, tensor->offset, tensor->dtype, d[0], d[1], d[2])
                        : mlxn_tensor_4d(tensor->buffer, tensor->offset, tensor->dtype, d[0], d[1], d[2], d[3]);
    uint64_t want = mlxn_tensor_elements(tensor), got = mlxn_tensor_elements(&t);
    if (got != want)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor reshape: new shape has %llu elements, tensor %llu",
                         (unsigned long long)got, (unsigned long long)want);
    *out = t;
    return mlxn_succeed(error);
}

uint64_t mlxn_tensor_elements(const mlxn_tensor *tensor) {
    if (!tensor || !tensor->rank || tensor->rank > MLXN_MAX_RANK) return 0;
    uint64_t n = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (!mlxn_mul_u64(n, tensor->dims[i], &n)) return UINT64_MAX;
    return n;
}

bool mlxn_tensor_is_contiguous(const mlxn_tensor *tensor) {
    if (!tensor || tensor->rank > MLXN_MAX_RANK) return false;
    int64_t stride = 1;
    for (uint32_t i = tensor->rank; i-- > 0;) {
        if (tensor->dims[i] != 1 && tensor->strides[i] != stride) return false;
        if (__builtin_mul_overflow(stride, (int64_t)tensor->dims[i], &stride)) return false;
    }
    return true;
}
