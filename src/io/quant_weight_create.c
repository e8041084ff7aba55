/* quant_weight_create.c: a weight of the device from the tensors of a quantised module. */
#include "io/safetensors.h"

mlxn_status mlxn_quant_weight_create(const mlxn_quant_weight *from, mlxn_weight **out, mlxn_error *error) {
    *out = NULL;
    mlxn_weight_desc desc = {.struct_size = sizeof desc,
                             .rows = from->rank > 1 ? from->dims[from->rank - 2] : 1,
                             .cols = from->dims[from->rank - 1],
                             .experts = 1,
                             .data = from->weight.buffer,
                             .offset = from->weight.offset,
                             .scales = from->scales.buffer,
                             .scales_offset = from->scales.offset,
                             .biases = from->biases.buffer,
                             .biases_offset = from->biases.offset,
                             .scale_dtype = from->scales_dtype};
    for (uint32_t i = 0; i + 2 < from->rank; i++) desc.experts *= from->dims[i]; /* at most `elements` */
    mlxn_status status =
        mlxn_format_of_groups(from->params.mode, from->params.bits, from->params.group_size, &desc.format, error);
    if (!status && from->params.mode == MLXN_QUANT_AFFINE && !from->biases.buffer)
        status = mlxn_fail(error, MLXN_ERR_FORMAT, "mode affine without biases");
    if (!status) status = mlxn_weight_create(mlxn_buffer_device(from->weight.buffer), &desc, out, error);
    if (status) mlxn_error_prefix(error, "%s", from->name);
    return status;
}
