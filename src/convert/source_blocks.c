/* source_blocks.c: the experts of a folder of gpt-oss as it was published (lm/blocks.h), under the names and in the
 * order that MLX has: gates and ups apart, the codes and scales as they are. */
#include <stdio.h>

#include "convert/source.h"
#include "lm/blocks.h"

static mlxn_status fail(const char *path, const mlxn_safetensors_tensor *t, mlxn_error *error, const char *text) {
    return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%.*s\": %s", path, (int)mlxn_min_u64(t->name.size, 100),
                     t->name.data, text);
}

static mlxn_status set_codes(mlxn_cv_source *s, const char *path, const mlxn_lm_block_part *part,
                             const mlxn_safetensors_tensor *t, const char *scales_name, mlxn_cv_tensor *to,
                             mlxn_error *error) {
    mlxn_safetensors_tensor scales, other;
    if (!mlxn_safetensors_find_tensor(s->folder, scales_name, &scales))
        return fail(path, t, error, "there are no scales for it");
    bool fits = t->dtype == MLXN_ST_U8 && scales.dtype == MLXN_ST_U8 && t->rank == 4 && scales.rank == 3 &&
                t->dims[3] == 16 && t->elements > 0 && t->dims[1] % part->step == 0;
    for (uint32_t i = 0; fits && i < 3; i++) fits = t->dims[i] == scales.dims[i];
    if (!fits)
        return fail(path, t, error, "want U8 [experts, rows, groups, 16], and scales of U8 [experts, rows, groups]");
    while (mlxn_safetensors_tensor_at(s->folder, to->scales_index, &other) && other.data != scales.data)
        to->scales_index++;
    to->dtype = MLXN_ST_UNKNOWN;
    to->format = MLXN_FORMAT_MLX_MXFP4;
    to->rank = 3;
    to->dims[0] = t->dims[0];
    to->dims[1] = t->dims[1] / part->step;
    to->dims[2] = to->cols = 32 * t->dims[2]; /* 2 elements of a byte that is there */
    to->rows = to->dims[0] * to->dims[1];
    to->bytes = t->bytes / part->step;
    to->data = t->data + part->first * (t->dims[2] * 16);
    to->scales = scales.data + part->first * t->dims[2];
    to->row_step = part->step;
    return MLXN_OK;
}

/* Elements are rows of one: those of gates and ups alternate. */
static mlxn_status set_biases(const char *path, const mlxn_lm_block_part *part, const mlxn_safetensors_tensor *t,
                              mlxn_cv_tensor *to, mlxn_error *error) {
    if ((int)to->format < 0 || t->rank != 2 || !t->elements || t->dims[1] % part->step)
        return fail(path, t, error, "want biases [experts, rows] of F32, F16 or BF16");
    to->dims[0] = t->dims[0];
    to->dims[1] = t->dims[1] / part->step;
    to->rows = t->elements / part->step;
    to->cols = 1;
    to->bytes = t->bytes / part->step;
    to->data = t->data + part->first * (t->bytes / t->elements);
    to->row_step = part->step;
    return MLXN_OK;
}

mlxn_status mlxn_cv_add_blocks(mlxn_cv_source *s, const char *path, const mlxn_safetensors_tensor *t,
                               const mlxn_cv_tensor *plain, bool *taken, mlxn_error *error) {
    const char *at = strstr(t->name.data, MLXN_LM_BLOCKS_PREFIX);
    *taken = false;
    if (!s->blocks || !at) return MLXN_OK;
    at += strlen(MLXN_LM_BLOCKS_PREFIX);
    for (size_t i = 0; i < MLXN_LM_BLOCK_PARTS; i++) {
        const mlxn_lm_block_part *part = &mlxn_lm_block_parts[i];
        size_t n = strlen(part->stored);
        char name[300];
        if (strncmp(at, part->stored, n) != 0) continue;
        int front = (int)(at - t->name.data);
        if (part->matrix && !strcmp(at + n, "_scales")) *taken = true; /* with the codes */
        if (strcmp(at + n, part->matrix ? "_blocks" : "") != 0 || t->name.size > 250) continue;
        mlxn_cv_tensor to = *plain;
        snprintf(name, sizeof name, "%.*s%s_scales", front, t->name.data, part->stored);
        mlxn_status status =
            part->matrix ? set_codes(s, path, part, t, name, &to, error) : set_biases(path, part, t, &to, error);
        if (status) return status;
        snprintf(name, sizeof name, "%.*s%s", front, t->name.data, part->name);
        to.name = mlxn_strdup(name);
        *taken = true;
        if (!mlxn_cv_add(s, &to)) return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its tensors", path);
    }
    return MLXN_OK;
}
