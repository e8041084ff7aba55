/* source.h: where a model's hyper-parameters and tensors come from: a GGUF file, or a folder with config.json and
 * safetensors (Hugging Face's, or MLX's with quantized weights).
 *
 * Architectures name a thing once, as a pair of its name in GGUF and its name in folders; the rest of the model layer
 * asks a source and knows no file format. Everything that a source hands out points into its maps and is valid until
 * it is closed. After opening, any thread. */
#ifndef MLXN_LM_SOURCE_H
#define MLXN_LM_SOURCE_H

#include <mlxn/io.h>

/* The two names of a hyper-parameter or a tensor; NULL where that kind of source has none. GGUF keys are without
 * their prefix "<architecture>.", GGUF tensors of a layer without "blk.<i>.", folder tensors of a layer without
 * "model.layers.<i>."; other folder tensors are named as a model of text alone names them ("model.norm.weight",
 * "lm_head.weight"). */
typedef struct mlxn_lm_names {
    const char *gguf, *folder;
} mlxn_lm_names;

typedef enum mlxn_lm_value_type {
    MLXN_LM_INTEGER,
    MLXN_LM_REAL,
    MLXN_LM_BOOL,
    MLXN_LM_STRING,
    MLXN_LM_LIST,
    MLXN_LM_NULL, /* of folders: given, but as nothing */
    MLXN_LM_OTHER /* an object; an integer of 2^63 or more */
} mlxn_lm_value_type;

/* A hyper-parameter as the source has it. */
typedef struct mlxn_lm_value {
    mlxn_lm_value_type type;
    union {
        int64_t i; /* INTEGER, BOOL */
        double f;  /* REAL */
        mlxn_string s;
        uint64_t count; /* of a LIST */
    } v;
    union { /* the source's own, for its elements */
        mlxn_gguf_value gguf;
        uint32_t node;
    } list;
} mlxn_lm_value;

/* Bytes of one file of the source. */
typedef struct mlxn_lm_range {
    uint32_t part; /* which file, 0-based */
    uint64_t offset, bytes;
    const uint8_t *data;
} mlxn_lm_range;

typedef struct mlxn_lm_tensor {
    mlxn_string name; /* as the file has it */
    const char *file; /* of a folder: the file that holds it; NULL for GGUF */
    bool known;       /* `format` is one that this build can decode */
    mlxn_format format;
    const char *type_name; /* as the file calls it, "I64" or "43" */
    uint32_t rank;
    uint64_t dims[4]; /* logical, outermost first */
    uint64_t elements;
    mlxn_lm_range data;           /* of MLX formats: the codes */
    mlxn_lm_range scales, biases; /* MLX formats; bytes == 0 if there are none */
    mlxn_dtype scale_dtype;
    bool apart; /* see mlxn_lm_find_tensor */
    /* Not 0: the ranges begin at the tensor's first row and have the bytes of its rows, but these lie so many rows
     * apart: between them lie those of another tensor. Of vectors, a row is one element. */
    uint32_t row_step;
} mlxn_lm_tensor;

typedef struct mlxn_lm_source mlxn_lm_source;

typedef struct mlxn_lm_source_class {
    void (*close)(mlxn_lm_source *source);
    /* The value of a hyper-parameter's full name; false if it is absent. */
    bool (*value)(const mlxn_lm_source *source, const char *name, mlxn_lm_value *out);
    /* Element i of a LIST; false past its end. */
    bool (*element)(const mlxn_lm_source *source, const mlxn_lm_value *list, uint64_t i, mlxn_lm_value *out);
    /* Full name of a tensor: of layer `layer`, or of no layer (-1). False if it has none or does not fit. */
    bool (*tensor_name)(const mlxn_lm_source *source, mlxn_lm_names names, int64_t layer, char *out, size_t size);
    /* By full name. *found is false, and the result OK, if it is absent. Errors: FORMAT, UNSUPPORTED (parts that do
     * not fit one another), which name file and tensor. */
    mlxn_status (*tensor)(const mlxn_lm_source *source, const char *name, mlxn_lm_tensor *out, bool *found,
                          mlxn_error *error);
    mlxn_status (*wrap)(mlxn_lm_source *source, uint32_t part, mlxn_device *device, mlxn_buffer **out,
                        mlxn_error *error);
    void (*release_pages)(mlxn_lm_source *source, const mlxn_lm_range *range);
} mlxn_lm_source_class;

struct mlxn_lm_source {
    const mlxn_lm_source_class *c;
    mlxn_gguf *gguf;         /* of GGUF sources; NULL: a folder */
    const char *values_file; /* of a folder, "config.json": where the values are, for messages */
    uint64_t tensor_count, file_bytes;
    uint32_t part_count;
};

/* *out is the caller's to close; NULL after an error. Errors: as the readers of the formats have them. */
mlxn_status mlxn_lm_source_open_gguf(const char *path, mlxn_lm_source **out, mlxn_error *error);
mlxn_status mlxn_lm_source_open_folder(const char *path, mlxn_lm_source **out, mlxn_error *error);
/* A tensor of a folder by the names that architectures use. */
typedef struct mlxn_lm_folder_name {
    int64_t layer; /* -1: of none */
    char text[200];
} mlxn_lm_folder_name;
/* That of the i-th tensor (below tensor_count); false if it is not of the text model, or is used under other names.
 */
bool mlxn_lm_folder_tensor_name(const mlxn_lm_source *source, uint64_t i, mlxn_lm_folder_name *out);
static inline void mlxn_lm_source_close(mlxn_lm_source *source) {
    if (source) source->c->close(source);
}
static inline bool mlxn_lm_source_is_folder(const mlxn_lm_source *source) { return !source->gguf; }

#endif
