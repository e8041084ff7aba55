/* safetensors.h: the insides of open safetensors files: shards, records, the list of all tensors, the parsed index.
 *
 * Layout of a file: 8 bytes little endian, the length n of the header; n bytes of JSON, an object of name -> {dtype,
 * shape, data_offsets} and __metadata__; then the data section, which the tensors fill without hole or overlap. */
#ifndef MLXN_SRC_IO_SAFETENSORS_H
#define MLXN_SRC_IO_SAFETENSORS_H

#include "io/json.h"

enum { MLXN_ST_MAX_SHARDS = 10000 };

typedef struct mlxn_st_record {
    mlxn_string name; /* first: see mlxn_gg_index_build */
    const char *dtype_name;
    mlxn_st_dtype dtype;
    uint32_t rank;
    uint64_t dims_at; /* in the shard's dims */
    uint64_t elements;
    uint64_t begin, end; /* in the data section */
    uint64_t at;         /* where the record begins in the header, for messages */
    uint32_t shard;
} mlxn_st_record;

typedef struct mlxn_st_pair {
    mlxn_string name; /* first */
    mlxn_string value;
} mlxn_st_pair;

/* One file. */
typedef struct mlxn_st_shard {
    mlxn_mapping map;
    bool mapped; /* the map is ours to undo and to advise on; false for memory of the caller */
    char *name;  /* last component of the path */
    uint64_t data_begin;
    char *strings; /* all strings of the header */
    uint64_t *dims;
    uint64_t dim_count, dim_room;
    mlxn_st_record *records; /* handed to the whole after the last shard is read */
    uint64_t record_count, record_room;
    mlxn_st_pair *metadata; /* in byte order of the names */
    uint64_t metadata_count, metadata_room;
} mlxn_st_shard;

struct mlxn_safetensors {
    mlxn_st_shard *shards;
    uint32_t shard_count;
    uint64_t size;
    mlxn_st_record *records;
    uint64_t record_count;
    mlxn_gg_index index;
};

/* Reads and checks the header of `shard` (map and name are set). What was allocated belongs to the shard also after
 * an error. The records come out sorted by where their data lies. */
mlxn_status mlxn_st_parse(mlxn_st_shard *shard, mlxn_error *error);
mlxn_st_dtype mlxn_st_dtype_parse(mlxn_string name);

/* A parsed index: which file is said to hold each tensor. */
typedef struct mlxn_st_place {
    mlxn_string file; /* first: sorted by it, then by tensor */
    mlxn_string tensor;
    uint64_t at; /* in the index, for messages */
} mlxn_st_place;
typedef struct mlxn_st_map {
    char *strings;
    mlxn_st_place *places;
    uint64_t count, room;
} mlxn_st_map;

/* `map` starts as zeros; what was allocated belongs to it also after an error. Every file name that comes out names a
 * file of the index's own folder. */
mlxn_status mlxn_st_map_parse(mlxn_st_map *map, const void *text, uint64_t size, const char *name, mlxn_error *error);
void mlxn_st_map_free(mlxn_st_map *map);

/* A fresh buffer with the tensor's bytes: mlxn_safetensors_load_tensor without the look-up. */
mlxn_status mlxn_st_load(const mlxn_safetensors *file, const mlxn_safetensors_tensor *tensor, mlxn_device *device,
                         mlxn_buffer **out, mlxn_error *error);

/* Makes room for one more element of an array that doubles; false if memory is short. */
bool mlxn_st_grow(void **array, uint64_t count, uint64_t *room, size_t size);

#endif
