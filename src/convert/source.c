/* source.c: tensors as folders have them, and those of a folder. */
#include "convert/source.h"

#include <inttypes.h>
#include <math.h>

#include "convert/folder_files.h"
#include "lm/blocks.h"

bool mlxn_cv_add(mlxn_cv_source *s, const mlxn_cv_tensor *t) {
    if (s->n == s->room) {
        uint64_t room = s->room ? 2 * s->room : 256;
        void *grown = mlxn_realloc_array(s->tensors, (size_t)room, sizeof *s->tensors);
        if (!grown) {
            mlxn_free(t->name);
            return false;
        }
        s->tensors = grown;
        s->room = room;
    }
    s->tensors[s->n++] = *t;
    s->bytes += t->bytes;
    return t->name != NULL;
}

void mlxn_cv_close(mlxn_cv_source *s) {
    for (uint64_t i = 0; i < s->n; i++) {
        mlxn_free(s->tensors[i].name);
        mlxn_free(s->tensors[i].parts);
    }
    mlxn_free(s->tensors);
    mlxn_gguf_close(s->gguf);
    mlxn_safetensors_close(s->folder);
    mlxn_config_destroy(s->config);
    *s = (mlxn_cv_source){0};
}

void mlxn_cv_release_pages(mlxn_cv_source *s, const mlxn_cv_tensor *t) {
    mlxn_gguf_tensor gguf;
    mlxn_safetensors_tensor folder;
    if (s->gguf && mlxn_gguf_tensor_at(s->gguf, t->index, &gguf)) mlxn_gguf_release_pages(s->gguf, &gguf);
    uint64_t n = t->parts ? t->rows / t->part_rows : 1;
    for (uint64_t i = 0; s->folder && i < n; i++)
        if (mlxn_safetensors_tensor_at(s->folder, t->parts ? t->parts[i].index : t->index, &folder))
            mlxn_safetensors_release_pages(s->folder, &folder);
    if (t->scales && mlxn_safetensors_tensor_at(s->folder, t->scales_index, &folder))
        mlxn_safetensors_release_pages(s->folder, &folder);
}

/* Where number `i` of the result lies in the source: from pairs to halves, or the other way. */
static uint64_t place_of(const mlxn_cv_tensor *t, uint64_t i) {
    uint64_t first = i / t->head * t->head, within = i % t->head, half = t->head / 2;
    if (t->pairs) return first + (within % 2) * half + within / 2;
    return first + (within < half ? 2 * within : 2 * (within - half) + 1);
}

static const uint8_t *scales_of(const mlxn_cv_tensor *t, uint64_t row) {
    return t->scales ? t->scales + row * (t->row_step ? t->row_step : 1) * (t->cols / 32) : NULL;
}

/* MLX has elements 2i and 2i + 1 in byte i, GGUF elements i and i + 16. */
void mlxn_cv_row_blocks(const mlxn_cv_tensor *t, uint64_t row, uint8_t *blocks) {
    uint64_t row_bytes = t->bytes / t->rows;
    const uint8_t *codes = t->data + row * (t->row_step ? t->row_step : 1) * row_bytes, *scales = scales_of(t, row);
    for (uint64_t g = 0; g < t->cols / 32; g++, codes += 16, blocks += 17) {
        blocks[0] = scales[g];
        for (int i = 0; i < 16; i++) {
            int low = codes[i / 2] >> 4 * (i % 2) & 15, high = codes[8 + i / 2] >> 4 * (i % 2) & 15;
            blocks[1 + i] = (uint8_t)(low | high << 4);
        }
    }
}

mlxn_status mlxn_cv_row(const mlxn_cv_tensor *t, uint64_t row, float *values, mlxn_error *error) {
    bool vector = t->rank < 2;
    uint64_t row_bytes = t->bytes / t->rows, from = t->head && !vector ? place_of(t, row) : row;
    const uint8_t *data = t->data + from * (t->row_step ? t->row_step : 1) * row_bytes;
    if (t->parts) data = t->parts[from / t->part_rows].data + from % t->part_rows * row_bytes;
    const mlxn_group_row groups = {
        .codes = (void *)data, .scales = (void *)scales_of(t, from), .scale_dtype = MLXN_U8};
    mlxn_status status = t->scales ? mlxn_dequantize_groups(t->format, &groups, t->cols, values, error)
                                   : mlxn_dequantize_row(t->format, data, t->cols, values, error);
    if (status) return status;
    if (t->head && vector) {
        float head[1024];
        for (uint64_t at = 0; at + t->head <= t->cols && t->head <= 1024; at += t->head) {
            memcpy(head, values + at, t->head * sizeof *head);
            for (uint32_t i = 0; i < t->head; i++) values[at + i] = head[place_of(t, i)];
        }
    }
    for (uint64_t i = 0; t->shift != 0 && i < t->cols; i++) values[i] += t->shift;
    for (uint64_t i = 0; t->factor != 0 && i < t->cols; i++) values[i] *= t->factor;
    return MLXN_OK;
}

static mlxn_format plain_format(mlxn_st_dtype dtype) {
    return dtype == MLXN_ST_F32    ? MLXN_FORMAT_F32
           : dtype == MLXN_ST_F16  ? MLXN_FORMAT_F16
           : dtype == MLXN_ST_BF16 ? MLXN_FORMAT_BF16
                                   : (mlxn_format)-1;
}

static bool ends(mlxn_string name, const char *end) {
    size_t n = strlen(end);
    return name.size >= n && !memcmp(name.data + name.size - n, end, n);
}

mlxn_status mlxn_cv_open_folder(const char *path, mlxn_cv_source *out, mlxn_error *error) {
    mlxn_config_value value;
    mlxn_status status = mlxn_folder_config(path, &out->config, error);
    out->blocks = !status && mlxn_config_find(out->config, "model_type", &value) &&
                  value.type == MLXN_CONFIG_STRING && !strcmp(value.v.s.data, "gpt_oss") &&
                  mlxn_lm_config_has_blocks(out->config);
    if (!status && !out->blocks &&
        (mlxn_config_find(out->config, "quantization", &value) ||
         mlxn_config_find(out->config, "quantization_config", &value)))
        status = mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: config.json: the model is quantized already", path);
    if (!status) status = mlxn_safetensors_open(path, &out->folder, error);
    if (status) return status;
    bool tied =
        mlxn_config_find(out->config, "tie_word_embeddings", &value) && value.type == MLXN_CONFIG_BOOL && value.v.b;
    mlxn_safetensors_tensor t;
    for (uint64_t i = 0; mlxn_safetensors_tensor_at(out->folder, i, &t); i++) {
        /* Tables that older files carry and that follow from config.json; the output matrix where it is the
         * embeddings. */
        if (ends(t.name, "rotary_emb.inv_freq") || (tied && !strcmp(t.name.data, "lm_head.weight"))) continue;
        if (t.rank > MLXN_CV_MAX_RANK)
            return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: tensor \"%.100s\": rank is %u, want at most %d", path,
                             t.name.data, t.rank, MLXN_CV_MAX_RANK);
        mlxn_cv_tensor to = {.dtype = t.dtype,
                             .format = plain_format(t.dtype),
                             .rank = t.rank,
                             .bytes = t.bytes,
                             .data = t.data,
                             .index = i};
        if (t.rank) memcpy(to.dims, t.dims, t.rank * sizeof *t.dims);
        to.cols = t.rank ? t.dims[t.rank - 1] : 1;
        to.rows = to.cols ? t.elements / to.cols : 0;
        if (!t.rank || !t.elements) to.format = (mlxn_format)-1;
        bool taken;
        status = mlxn_cv_add_blocks(out, path, &t, &to, &taken, error);
        if (status) return status;
        if (taken) continue;
        to.name = mlxn_strdup(t.name.data);
        if (!mlxn_cv_add(out, &to))
            return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its tensors", path);
    }
    return MLXN_OK;
}
