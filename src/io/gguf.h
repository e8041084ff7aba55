/* gguf.h: the insides of an open GGUF file: its parts, records, name indexes, and how errors in it are worded.
 *
 * Only records and indexes are allocated; strings, arrays and tensor data stay in the map. The number of records is
 * bounded by the bytes of the file (a key takes at least 13, a tensor at least 24) and by MLXN_GG_MAX_RECORDS. */
#ifndef MLXN_SRC_IO_GGUF_H
#define MLXN_SRC_IO_GGUF_H

#include "io/shared.h"

enum {
    MLXN_GG_MAX_RECORDS = 1000000, /* keys, and tensors: far above any model, and keeps memory bounded */
    MLXN_GG_MAX_NAME = 65535,      /* bytes of a key or of a tensor name */
    MLXN_GG_MAX_DEPTH = 4,         /* arrays in arrays */
    MLXN_GG_MAX_PARTS = 99999,     /* five digits in the file name */
    MLXN_GG_DEFAULT_ALIGNMENT = 32
};

typedef struct mlxn_gg_key {
    mlxn_string name; /* first: see mlxn_gg_index_build */
    mlxn_gguf_value value;
    uint64_t at; /* byte offset of the record in its part, for messages */
} mlxn_gg_key;

typedef struct mlxn_gg_tensor {
    mlxn_gguf_tensor info; /* first: its first member is the name */
    uint64_t at;
} mlxn_gg_tensor;

/* One file. */
typedef struct mlxn_gg_part {
    mlxn_mapping map;
    bool mapped; /* the map is ours to undo and to advise on; false for memory of the caller */
    char *name;  /* last component of the path, for messages */
    uint32_t version;
    mlxn_gg_key *keys;
    uint64_t key_count;
    mlxn_gg_index key_index;
    mlxn_gg_tensor *tensors; /* handed to the whole after the last part is read */
    uint64_t tensor_count;
} mlxn_gg_part;

struct mlxn_gguf {
    mlxn_gg_part *parts; /* the keys of parts[0] are the file's */
    uint32_t part_count;
    uint64_t size;
    mlxn_gg_tensor *tensors;
    uint64_t tensor_count;
    mlxn_gg_index tensor_index;
};

/* Where reading is, and what is being read: the subject of error messages. */
typedef struct mlxn_gg_reader {
    const uint8_t *data;
    uint64_t size, at;
    const char *file;
    const char *kind; /* "header", "key", "tensor" */
    bool numbered;    /* the subject has an index */
    uint64_t index;
    mlxn_string name; /* of the subject; data NULL while it is not read yet */
    mlxn_error *error;
} mlxn_gg_reader;

/* "<file>: key 5 "general.name": <text> (byte 1,204)"; returns FORMAT. */
mlxn_status mlxn_gg_fail(const mlxn_gg_reader *reader, uint64_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Bytes of one element of a fixed-size type; 0 for strings, arrays and numbers outside the list. */
uint32_t mlxn_gg_type_size(uint32_t type);
/* "u32", "string", "array", …; "?" outside the list. */
const char *mlxn_gg_type_name(uint32_t type);
/* Type ids of tensors of plain numbers that are no weight format. */
enum { MLXN_GG_I8 = 24, MLXN_GG_I16 = 25, MLXN_GG_I32 = 26, MLXN_GG_I64 = 27, MLXN_GG_F64 = 28 };
/* Bytes of one element of those; 0 for any other type. */
uint32_t mlxn_gg_plain_bytes(uint32_t type);
/* Reads one fixed-size value at any address. */
mlxn_gguf_value mlxn_gg_scalar(mlxn_gguf_type type, const uint8_t *p);

static inline uint32_t mlxn_gg_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t mlxn_gg_u64(const uint8_t *p) { return mlxn_gg_u32(p) | (uint64_t)mlxn_gg_u32(p + 4) << 32; }

/* Reads and checks the header and all records of `part` (map and name are set). What was allocated belongs to the
 * part also after an error. */
mlxn_status mlxn_gg_parse(mlxn_gg_part *part, uint32_t part_number, mlxn_error *error);
/* The tensor records: called by mlxn_gg_parse with the reader behind the last key. */
mlxn_status mlxn_gg_parse_tensors(mlxn_gg_reader *reader, mlxn_gg_part *part, uint32_t part_number,
                                  uint64_t alignment);
mlxn_status mlxn_gg_read_u32(mlxn_gg_reader *reader, const char *what, uint32_t *out);
mlxn_status mlxn_gg_read_u64(mlxn_gg_reader *reader, const char *what, uint64_t *out);
mlxn_status mlxn_gg_read_name(mlxn_gg_reader *reader);

/* An unsigned integer of any width; false if absent. FORMAT (with the key's offset) if it is something else. */
mlxn_status mlxn_gg_part_u64(const mlxn_gg_part *part, const char *key, bool *present, uint64_t *out,
                             mlxn_error *error);

#endif
