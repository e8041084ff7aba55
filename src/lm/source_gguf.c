/* source_gguf.c: a GGUF file as a source of a model. */
#include <stdio.h>

#include "base/base.h"
#include "lm/source.h"

static void close_source(mlxn_lm_source *source) {
    mlxn_gguf_close(source->gguf);
    mlxn_free(source);
}

static mlxn_lm_value convert(const mlxn_gguf_value *from) {
    mlxn_lm_value out = {.type = MLXN_LM_OTHER};
    switch (from->type) {
        case MLXN_GGUF_BOOL:
            out.type = MLXN_LM_BOOL;
            out.v.i = from->v.u != 0;
            break;
        case MLXN_GGUF_U8:
        case MLXN_GGUF_U16:
        case MLXN_GGUF_U32:
        case MLXN_GGUF_U64:
            if (from->v.u > INT64_MAX) break;
            out.type = MLXN_LM_INTEGER;
            out.v.i = (int64_t)from->v.u;
            break;
        case MLXN_GGUF_I8:
        case MLXN_GGUF_I16:
        case MLXN_GGUF_I32:
        case MLXN_GGUF_I64:
            out.type = MLXN_LM_INTEGER;
            out.v.i = from->v.i;
            break;
        case MLXN_GGUF_F32:
        case MLXN_GGUF_F64:
            out.type = MLXN_LM_REAL;
            out.v.f = from->v.f;
            break;
        case MLXN_GGUF_STRING:
            out.type = MLXN_LM_STRING;
            out.v.s = from->v.s;
            break;
        case MLXN_GGUF_ARRAY:
            out.type = MLXN_LM_LIST;
            out.v.count = from->v.array.count;
            out.list.gguf = *from;
            break;
    }
    return out;
}

static bool value(const mlxn_lm_source *source, const char *name, mlxn_lm_value *out) {
    mlxn_gguf_value found;
    if (!mlxn_gguf_find(source->gguf, name, &found)) return false;
    *out = convert(&found);
    return true;
}

/* Lists of texts and of lists are no hyper-parameters. */
static bool element(const mlxn_lm_source *source, const mlxn_lm_value *list, uint64_t i, mlxn_lm_value *out) {
    *out = (mlxn_lm_value){.type = MLXN_LM_INTEGER};
    if (mlxn_gguf_array_i64(&list->list.gguf, i, &out->v.i)) return true;
    out->type = MLXN_LM_REAL;
    return mlxn_gguf_array_f64(&list->list.gguf, i, &out->v.f);
}

static bool tensor_name(const mlxn_lm_source *source, mlxn_lm_names names, int64_t layer, char *out, size_t size) {
    if (!names.gguf) return false;
    int n = layer < 0 ? snprintf(out, size, "%s", names.gguf)
                      : snprintf(out, size, "blk.%lld.%s", (long long)layer, names.gguf);
    return n > 0 && (size_t)n < size;
}

static mlxn_status tensor(const mlxn_lm_source *source, const char *name, mlxn_lm_tensor *out, bool *found,
                          mlxn_error *error) {
    mlxn_gguf_tensor t;
    *found = mlxn_gguf_find_tensor(source->gguf, name, &t);
    if (!*found) return MLXN_OK;
    *out = (mlxn_lm_tensor){.name = t.name,
                            .known = t.known,
                            .format = (mlxn_format)t.type,
                            .type_name = mlxn_gguf_tensor_type_name(t.type),
                            .rank = t.rank,
                            .elements = t.elements,
                            .data = {t.part, t.offset, t.bytes, t.data}};
    memcpy(out->dims, t.dims, sizeof out->dims);
    return MLXN_OK;
}

static mlxn_status wrap(mlxn_lm_source *source, uint32_t part, mlxn_device *device, mlxn_buffer **out,
                        mlxn_error *error) {
    return mlxn_gguf_wrap(source->gguf, part, device, out, error);
}

static void release_pages(mlxn_lm_source *source, const mlxn_lm_range *range) {
    const mlxn_gguf_tensor slice = {.part = range->part, .offset = range->offset, .bytes = range->bytes};
    mlxn_gguf_release_pages(source->gguf, &slice);
}

static const mlxn_lm_source_class class = {close_source, value, element, tensor_name, tensor, wrap, release_pages};

mlxn_status mlxn_lm_source_open_gguf(const char *path, mlxn_lm_source **out, mlxn_error *error) {
    *out = NULL;
    mlxn_lm_source *source = mlxn_alloc(sizeof *source);
    if (!source) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: no memory", path);
    source->c = &class;
    mlxn_status status = mlxn_gguf_open(path, &source->gguf, error);
    if (status != MLXN_OK) {
        mlxn_free(source);
        return status;
    }
    source->tensor_count = mlxn_gguf_tensor_count(source->gguf);
    source->file_bytes = mlxn_gguf_file_size(source->gguf);
    source->part_count = mlxn_gguf_part_count(source->gguf);
    *out = source;
    return MLXN_OK;
}
