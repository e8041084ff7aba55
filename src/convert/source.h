/* source.h: the tensors of a model under the names of the result, wherever they come from. */
#ifndef MLXN_SRC_CONVERT_SOURCE_H
#define MLXN_SRC_CONVERT_SOURCE_H

#include <mlxn/config.h>
#include <mlxn/io.h>

#include "base/base.h"

enum { MLXN_CV_MAX_RANK = 8 };

typedef struct mlxn_cv_part {
    const uint8_t *data;
    uint64_t index; /* in its file */
} mlxn_cv_part;

typedef enum mlxn_cv_rule {
    MLXN_CV_USUAL, /* if it is a matrix ".weight" */
    MLXN_CV_STACK, /* a stack of matrices, like a matrix */
    MLXN_CV_FINE,  /* 8 bits in groups of 64, whatever others get */
    MLXN_CV_WHOLE, /* not quantized */
    MLXN_CV_AS_IS  /* nor cast */
} mlxn_cv_rule;

typedef struct mlxn_cv_tensor {
    char *name;
    mlxn_st_dtype dtype; /* as a folder has it; UNKNOWN: in a format of GGUF */
    mlxn_format format;  /* of its rows; -1: no floats, or a scalar: it can only be copied */
    uint32_t rank;
    uint64_t dims[MLXN_CV_MAX_RANK];
    uint64_t rows, cols, bytes; /* rows * cols elements */
    const uint8_t *data;
    /* What is different in the result. Of each `head` rows (of a vector: elements) those that belong together are
     * neighbours in GGUF files of some architectures, and half a head apart in folders; 0: nothing. `pairs`: the
     * result is the GGUF file. */
    uint32_t head;
    bool pairs;
    float shift;  /* added to every element, */
    float factor; /* which is then multiplied by it; 0: it is not */
    bool vectors; /* of rank 2, but one vector for each expert: f32 in GGUF files */
    /* A stack of matrices that lie in tensors of their own: where each begins; NULL: they lie together. */
    struct mlxn_cv_part *parts;
    uint64_t part_rows; /* rows of one */
    /* Rows lie so many rows apart, as between them lie those of another tensor; 0: they lie together. `bytes` are
     * those of its own. */
    uint32_t row_step;
    /* Of MLX's mxfp4, which has the codes in `data`: one scale for each 32 elements, rows as far apart as those of
     * the codes. NULL: another format. */
    const uint8_t *scales;
    uint64_t index, scales_index; /* in its file */
    /* How MLX quantizes it (mlx_layout.c). */
    mlxn_cv_rule rule;
} mlxn_cv_tensor;

typedef struct mlxn_cv_source {
    mlxn_gguf *gguf; /* one of these two */
    mlxn_safetensors *folder;
    mlxn_config *config; /* what config.json says, or would say */
    mlxn_cv_tensor *tensors;
    uint64_t n, room, bytes;
    bool blocks; /* a folder of gpt-oss as it was published: its experts are blocks of mxfp4 already */
} mlxn_cv_source;

/* Errors: IO, FORMAT, UNSUPPORTED (an architecture, tensor or tokenizer that folders have no name for), MEMORY,
 * LIMIT. mlxn_cv_close in any case. */
mlxn_status mlxn_cv_open_folder(const char *path, mlxn_cv_source *out, mlxn_error *error);
mlxn_status mlxn_cv_open_gguf(const char *path, mlxn_cv_source *out, mlxn_error *error);
void mlxn_cv_close(mlxn_cv_source *source);

/* source_blocks.c: adds what becomes of `t`, which would be `plain`, if it is of experts in blocks (*taken). FORMAT,
 * MEMORY. */
mlxn_status mlxn_cv_add_blocks(mlxn_cv_source *source, const char *path, const mlxn_safetensors_tensor *t,
                               const mlxn_cv_tensor *plain, bool *taken, mlxn_error *error);
/* Appends; takes `t->name` over, also without memory (false). */
bool mlxn_cv_add(mlxn_cv_source *source, const mlxn_cv_tensor *t);
/* Row `row` as the result has it: cols floats. */
mlxn_status mlxn_cv_row(const mlxn_cv_tensor *t, uint64_t row, float *values, mlxn_error *error);
/* The bytes of row `row` of a tensor with scales, as GGUF has mxfp4: blocks of a scale and 16 bytes. */
void mlxn_cv_row_blocks(const mlxn_cv_tensor *t, uint64_t row, uint8_t *blocks);
/* The bytes can be copied as they are. */
static inline bool mlxn_cv_is_plain(const mlxn_cv_tensor *t) {
    return t->dtype != MLXN_ST_UNKNOWN && !t->head && t->shift == 0 && t->factor == 0 && !t->parts && !t->row_step &&
           !t->scales;
}
void mlxn_cv_release_pages(mlxn_cv_source *source, const mlxn_cv_tensor *t);

/* mlx_layout.c: the tensors become those of MLX's quantized folders; before any is read. Errors: FORMAT (experts that
 * are no stack), NOT_FOUND (one that is missing), MEMORY. */
mlxn_status mlxn_cv_mlx_layout(mlxn_cv_source *source, const char *path, mlxn_error *error);

/* gguf_config.c: what config.json would say of a GGUF model. `vocab` rows of the embeddings; `tied`: they are the
 * output matrix too. */
mlxn_status mlxn_cv_gguf_config(const mlxn_gguf *file, uint64_t vocab, bool tied, mlxn_config **out,
                                mlxn_error *error);

#endif
