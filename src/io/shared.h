/* shared.h: what the readers of GGUF and of safetensors have in common: how numbers and names appear in messages, and
 * sorted lists of names. */
#ifndef MLXN_SRC_IO_SHARED_H
#define MLXN_SRC_IO_SHARED_H

#include <mlxn/io.h>

#include "base/base.h"

/* Texts by value, for use as arguments of one call: mlxn_gg_number(n).s */
typedef struct mlxn_gg_number_text {
    char s[28];
} mlxn_gg_number_text;
typedef struct mlxn_gg_name_text {
    char s[272];
} mlxn_gg_name_text;
/* With thousands separators: "98,400,000". */
mlxn_gg_number_text mlxn_gg_number(uint64_t value);
/* In double quotes, at most 64 bytes of it; control characters and broken UTF-8 as \xNN. */
mlxn_gg_name_text mlxn_gg_quote(mlxn_string text);
mlxn_gg_name_text mlxn_gg_quote_text(const char *text);
/* Bytes of the UTF-8 character at `p`, of which `left` bytes are there; 0 for a broken sequence. */
unsigned mlxn_gg_utf8_length(const unsigned char *p, uint64_t left);

/* A sorted list of names. Binary search instead of hashing: no file can be built that makes it slow. */
typedef struct mlxn_gg_entry {
    mlxn_string name;
    uint32_t position;
} mlxn_gg_entry;
typedef struct mlxn_gg_index {
    mlxn_gg_entry *entries;
    uint64_t count;
} mlxn_gg_index;

/* Byte order; a name before those that it begins. */
int mlxn_gg_compare_names(mlxn_string a, mlxn_string b);
/* `records`: `count` (at most UINT32_MAX) records of `stride` bytes whose first member is the name. False if memory
 * is short. */
bool mlxn_gg_index_build(mlxn_gg_index *index, const void *records, uint64_t count, size_t stride);
/* Two positions of one name, the earlier first; false if all names differ. */
bool mlxn_gg_index_duplicate(const mlxn_gg_index *index, uint32_t *first, uint32_t *second);
bool mlxn_gg_index_find(const mlxn_gg_index *index, const char *name, uint64_t length, uint32_t *position);

#endif
