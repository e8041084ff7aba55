/* gguf_tensors.c: the tensor records of one GGUF file: shape, type, and where the data lies. After this every known
 * tensor's bytes are inside the file, aligned, and shared with no other tensor. */
#include "io/gguf.h"

/* Type ids of the format by name, also those that this build cannot decode; retired ids must not be in a file. */
static const struct {
    const char *name;
    bool retired;
} tensor_types[] = {
    {"F32", false},    {"F16", false},       {"Q4_0", false},      {"Q4_1", false},      {"Q4_2", true},
    {"Q4_3", true},    {"Q5_0", false},      {"Q5_1", false},      {"Q8_0", false},      {"Q8_1", false},
    {"Q2_K", false},   {"Q3_K", false},      {"Q4_K", false},      {"Q5_K", false},      {"Q6_K", false},
    {"Q8_K", false},   {"IQ2_XXS", false},   {"IQ2_XS", false},    {"IQ3_XXS", false},   {"IQ1_S", false},
    {"IQ4_NL", false}, {"IQ3_S", false},     {"IQ2_S", false},     {"IQ4_XS", false},    {"I8", false},
    {"I16", false},    {"I32", false},       {"I64", false},       {"F64", false},       {"IQ1_M", false},
    {"BF16", false},   {"Q4_0_4_4", true},   {"Q4_0_4_8", true},   {"Q4_0_8_8", true},   {"TQ1_0", false},
    {"TQ2_0", false},  {"IQ4_NL_4_4", true}, {"IQ4_NL_4_8", true}, {"IQ4_NL_8_8", true}, {"MXFP4", false},
    {"NVFP4", false},  {"Q1_0", false},      {"Q2_0", false},
};
enum { TENSOR_TYPE_COUNT = sizeof tensor_types / sizeof tensor_types[0] };

const char *mlxn_gguf_tensor_type_name(uint32_t type) {
    return type < TENSOR_TYPE_COUNT ? tensor_types[type].name : "?";
}

static mlxn_status read_shape(mlxn_gg_reader *reader, mlxn_gguf_tensor *tensor) {
    uint64_t at = reader->at, dim;
    mlxn_status status = mlxn_gg_read_u32(reader, "rank", &tensor->rank);
    if (status) return status;
    if (tensor->rank > MLXN_MAX_RANK)
        return mlxn_gg_fail(reader, at, "rank is %s, want at most %d", mlxn_gg_number(tensor->rank).s, MLXN_MAX_RANK);
    tensor->elements = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        at = reader->at;
        status = mlxn_gg_read_u64(reader, "dim", &dim);
        if (status) return status;
        uint32_t axis = tensor->rank - 1 - i; /* the file lists the fastest axis first */
        if (dim == 0) return mlxn_gg_fail(reader, at, "dim[%u] is 0, want at least 1", axis);
        if (!mlxn_mul_u64(tensor->elements, dim, &tensor->elements))
            return mlxn_gg_fail(reader, at, "dim[%u] is %s, which takes the number of elements past 2^64", axis,
                                mlxn_gg_number(dim).s);
        tensor->dims[axis] = dim;
    }
    if (tensor->rank == 0) tensor->dims[tensor->rank++] = 1; /* a scalar is shown as one element of one axis */
    return MLXN_OK;
}

uint32_t mlxn_gg_plain_bytes(uint32_t type) {
    static const uint8_t sizes[] = {1, 2, 4, 8, 8}; /* I8, I16, I32, I64, F64: ids 24 to 28 */
    return type >= MLXN_GG_I8 && type <= MLXN_GG_F64 ? sizes[type - MLXN_GG_I8] : 0;
}

/* Sets `known` and `bytes`. */
static mlxn_status read_type(mlxn_gg_reader *reader, mlxn_gguf_tensor *tensor) {
    uint64_t at = reader->at;
    mlxn_format_info info;
    mlxn_status status = mlxn_gg_read_u32(reader, "type", &tensor->type);
    if (status) return status;
    if (tensor->type < TENSOR_TYPE_COUNT && tensor_types[tensor->type].retired)
        return mlxn_gg_fail(reader, at, "type %u (%s) was retired from the format; convert the model again",
                            tensor->type, tensor_types[tensor->type].name);
    tensor->known = tensor->type < TENSOR_TYPE_COUNT && mlxn_format_get_info((mlxn_format)tensor->type, &info);
    if (!tensor->known) {
        info = (mlxn_format_info){mlxn_gguf_tensor_type_name(tensor->type), 1, mlxn_gg_plain_bytes(tensor->type)};
        if (!info.block_bytes) return MLXN_OK;
    }
    uint64_t cols = tensor->dims[tensor->rank - 1];
    if (cols % info.block_values)
        return mlxn_gg_fail(reader, at, "dim[%u] is %s, want a multiple of %u (block of %s)", tensor->rank - 1,
                            mlxn_gg_number(cols).s, info.block_values, info.name);
    if (!mlxn_mul_u64(tensor->elements / info.block_values, info.block_bytes, &tensor->bytes))
        return mlxn_gg_fail(reader, at, "%s elements of %s pass 2^64 bytes", mlxn_gg_number(tensor->elements).s,
                            info.name);
    return MLXN_OK;
}

static mlxn_status read_record(mlxn_gg_reader *reader, mlxn_gg_tensor *record, uint64_t alignment) {
    mlxn_gguf_tensor *tensor = &record->info;
    record->at = reader->at;
    mlxn_status status = mlxn_gg_read_name(reader);
    if (!status) status = read_shape(reader, tensor);
    if (!status) status = read_type(reader, tensor);
    if (status) return status;
    tensor->name = reader->name;
    uint64_t at = reader->at;
    status = mlxn_gg_read_u64(reader, "offset", &tensor->offset);
    if (status) return status;
    if (tensor->offset % alignment)
        return mlxn_gg_fail(reader, at, "offset is %s, want a multiple of %s (general.alignment)",
                            mlxn_gg_number(tensor->offset).s, mlxn_gg_number(alignment).s);
    return MLXN_OK;
}

/* Turns the offset in the data section into one in the file, and checks that the data lies inside. */
static mlxn_status place(mlxn_gg_reader *reader, mlxn_gg_tensor *record, uint64_t data_begin) {
    mlxn_gguf_tensor *tensor = &record->info;
    uint64_t begin, end;
    if (!mlxn_add_u64(data_begin, tensor->offset, &begin) || !mlxn_add_u64(begin, tensor->bytes, &end))
        return mlxn_gg_fail(reader, record->at, "data at offset %s of %s bytes ends past 2^64",
                            mlxn_gg_number(tensor->offset).s, mlxn_gg_number(tensor->bytes).s);
    if (end > reader->size)
        return mlxn_gg_fail(reader, record->at, "data %s at %s, file at %s", tensor->bytes ? "ends" : "begins",
                            mlxn_gg_number(end).s, mlxn_gg_number(reader->size).s);
    tensor->offset = begin;
    tensor->data = tensor->bytes ? reader->data + begin : NULL;
    return MLXN_OK;
}

typedef struct extent {
    uint64_t begin, end, index;
} extent;

static int compare_extents(const void *left, const void *right) {
    const extent *a = left, *b = right;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

/* A tensor of unknown type counts as one byte: its size is not known, but it has at least one. */
static mlxn_status check_overlaps(mlxn_gg_reader *reader, const mlxn_gg_part *part) {
    extent *extents = mlxn_alloc_array((size_t)part->tensor_count, sizeof *extents);
    if (!extents)
        return mlxn_fail(reader->error, MLXN_ERR_MEMORY, "%s: no memory to check %s tensors", reader->file,
                         mlxn_gg_number(part->tensor_count).s);
    for (uint64_t i = 0; i < part->tensor_count; i++) {
        const mlxn_gguf_tensor *tensor = &part->tensors[i].info;
        extents[i] = (extent){tensor->offset, tensor->offset + (tensor->bytes ? tensor->bytes : 1), i};
    }
    qsort(extents, (size_t)part->tensor_count, sizeof *extents, compare_extents);
    mlxn_status status = MLXN_OK;
    for (uint64_t i = 1; !status && i < part->tensor_count; i++) {
        const extent *a = &extents[i - 1], *b = &extents[i];
        if (a->end <= b->begin) continue;
        const mlxn_gg_tensor *before = &part->tensors[a->index], *after = &part->tensors[b->index];
        reader->index = b->index;
        reader->name = after->info.name;
        status = mlxn_gg_fail(reader, after->at, "data begins at %s, inside tensor %s %s, which ends at %s",
                              mlxn_gg_number(b->begin).s, mlxn_gg_number(a->index).s,
                              mlxn_gg_quote(before->info.name).s, mlxn_gg_number(a->end).s);
    }
    mlxn_free(extents);
    return status;
}

mlxn_status mlxn_gg_parse_tensors(mlxn_gg_reader *reader, mlxn_gg_part *part, uint32_t part_number,
                                  uint64_t alignment) {
    uint64_t data_begin;
    mlxn_status status = MLXN_OK;
    reader->kind = "tensor";
    reader->numbered = true;
    for (uint64_t i = 0; !status && i < part->tensor_count; i++) {
        reader->index = i;
        reader->name = (mlxn_string){NULL, 0};
        part->tensors[i].info.part = part_number;
        status = read_record(reader, &part->tensors[i], alignment);
    }
    if (status || part->tensor_count == 0) return status;
    if (!mlxn_align_u64(reader->at, alignment, &data_begin))
        return mlxn_gg_fail(reader, reader->at, "the data section would begin past 2^64");
    for (uint64_t i = 0; !status && i < part->tensor_count; i++) {
        reader->index = i;
        reader->name = part->tensors[i].info.name;
        status = place(reader, &part->tensors[i], data_begin);
    }
    return status ? status : check_overlaps(reader, part);
}
