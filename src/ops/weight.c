/* weight.c: rows of weights as they were before a device packed them, and what checks say of stacks. */
#include "ops/op.h"
#include "quant/mlx.h"

mlxn_group_row mlxn_weight_view_group_row(const mlxn_weight_view *w, uint64_t row) {
    mlxn_group_info groups;
    mlxn_group_row out = {.scale_dtype = w->scale_dtype, .global_scale = w->global_scale};
    if (!mlxn_format_get_groups(w->format, &groups)) return out;
    uint64_t at = row * (w->cols / groups.group_size) * mlxn_dtype_size(w->scale_dtype);
    out.codes = (void *)(uintptr_t)mlxn_weight_view_raw_row(w, row);
    out.scales = (void *)(uintptr_t)(w->scales + at);
    out.biases = w->biases ? (void *)(uintptr_t)(w->biases + at) : NULL;
    return out;
}

void mlxn_weight_view_read_raw(const mlxn_weight_view *w, uint64_t row, float *dst) {
    mlxn_group_info groups;
    if (mlxn_format_get_groups(w->format, &groups)) {
        mlxn_group_row src = mlxn_weight_view_group_row(w, row);
        mlxn_mlx_decode(&groups, &src, w->cols, dst);
    } else {
        mlxn_quant_find(w->format)->decode(mlxn_weight_view_raw_row(w, row), w->cols, dst);
    }
}

mlxn_weight_view mlxn_weight_view_expert(const mlxn_weight_view *w, uint64_t expert) {
    mlxn_weight_view one = *w;
    one.experts = 1;
    if (w->raw) one.raw = mlxn_weight_view_raw_row(w, expert * w->rows);
    if (w->scales) {
        mlxn_group_row row = mlxn_weight_view_group_row(w, expert * w->rows);
        one.scales = row.scales;
        one.biases = row.biases;
    }
    one.packed_bytes = w->packed_bytes / mlxn_weight_view_experts(w);
    if (w->packed) one.packed = (uint8_t *)w->packed + expert * one.packed_bytes;
    return one;
}

uint64_t mlxn_weight_view_bytes(const mlxn_weight_view *w) {
    if (w->packed_bytes) return w->packed_bytes;
    mlxn_group_info groups;
    uint64_t row = w->row_bytes;
    if (mlxn_format_get_groups(w->format, &groups))
        row += w->cols / groups.group_size * mlxn_dtype_size(w->scale_dtype) *
               (groups.mode == MLXN_QUANT_AFFINE ? 2 : 1);
    return mlxn_weight_view_experts(w) * w->rows * row;
}

mlxn_status mlxn_refuse_stack(mlxn_error *error, const char *arg, const mlxn_view *view) {
    return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is a stack of %llu matrices, want one", arg,
                     (unsigned long long)mlxn_weight_view_experts(view->weight));
}
