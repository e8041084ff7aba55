/* safetensors_writer.h: builds small safetensors files in memory and folders of them; nothing is checked, so that
 * wrong files can be written too. */
#ifndef MLXN_TESTS_SAFETENSORS_WRITER_H
#define MLXN_TESTS_SAFETENSORS_WRITER_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/gguf_writer.h"

/* The header's text as it is, then `data_bytes` bytes 0, 1, 2, … */
static inline void st_write(gw *w, const char *header, size_t data_bytes) {
    gw_u64(w, strlen(header));
    gw_bytes(w, header, strlen(header));
    for (size_t i = 0; i < data_bytes; i++) gw_u8(w, (uint8_t)i);
}

/* A builder of right files: tensors one behind the other, zeros as data. */
typedef struct st_builder {
    char header[8192];
    size_t length, bytes;
} st_builder;

static inline void st_add(st_builder *b, const char *name, const char *dtype, const char *shape, size_t bytes) {
    int n = snprintf(b->header + b->length, sizeof b->header - b->length,
                     "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", b->length ? "," : "{",
                     name, dtype, shape, b->bytes, b->bytes + bytes);
    if (n < 0 || (size_t)n >= sizeof b->header - b->length) exit(3);
    b->length += (size_t)n;
    b->bytes += bytes;
}
static inline void st_finish(st_builder *b, gw *w) {
    memcpy(b->header + b->length, "}", 2);
    st_write(w, b->length ? b->header : "{}", b->bytes);
    memset(b, 0, sizeof *b);
}

/* A file with every dtype of the format, scalars, empty tensors, an unknown dtype, escapes and metadata. */
static inline void st_sample(gw *w) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"mlx\",\"caf\\u00e9\":\"a\\nb \\ud83d\\ude00\"},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"a.bias\":{\"shape\":[3],\"data_offsets\":[24,30],\"dtype\":\"BF16\",\"later\":[{\"x\":null},-1.5e+3]},"
        "\"none\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[30,30]},"
        "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[30,32]},"
        "\"f4\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[32,34]},"
        "\"f6\":{\"dtype\":\"F6_E2M3\",\"shape\":[8],\"data_offsets\":[34,40]},"
        "\"f6b\":{\"dtype\":\"F6_E3M2\",\"shape\":[4],\"data_offsets\":[40,43]},"
        "\"u8\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[43,44]},"
        "\"i8\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[44,45]},"
        "\"f8a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[45,46]},"
        "\"f8b\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[46,47]},"
        "\"f8c\":{\"dtype\":\"F8_E8M0\",\"shape\":[1],\"data_offsets\":[47,48]},"
        "\"f8d\":{\"dtype\":\"F8_E4M3FNUZ\",\"shape\":[1],\"data_offsets\":[48,49]},"
        "\"f8e\":{\"dtype\":\"F8_E5M2FNUZ\",\"shape\":[1],\"data_offsets\":[49,50]},"
        "\"i16\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[50,52]},"
        "\"u16\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[52,56]},"
        "\"f16\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[56,58]},"
        "\"i32\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[58,62]},"
        "\"u32\":{\"dtype\":\"U32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[62,66]},"
        "\"c64\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[66,74]},"
        "\"f64\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[74,82]},"
        "\"i64\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[82,90]},"
        "\"u64\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[90,98]},"
        "\"new\":{\"dtype\":\"X7\",\"shape\":[3],\"data_offsets\":[98,109]}}   ";
    st_write(w, header, 109);
}

/* A folder of its own for the files of one test program. */
static char st_folder[160];

static inline void st_make_folder(void) {
    const char *base = getenv("TMPDIR");
    snprintf(st_folder, sizeof st_folder, "%s/mlxn-st-XXXXXX", base && base[0] ? base : "/tmp");
    if (!mkdtemp(st_folder)) {
        perror(st_folder);
        exit(3);
    }
}
static inline const char *st_path(const char *name) {
    static char path[2][512];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", st_folder, name);
    return path[turn];
}
static inline void st_save(gw *w, const char *name) {
    FILE *f = fopen(st_path(name), "wb");
    if (!f || (w->size && fwrite(w->bytes, 1, w->size, f) != w->size) || fclose(f)) {
        perror(name);
        exit(3);
    }
    gw_free(w);
}
static inline void st_save_text(const char *text, const char *name) {
    gw w = {0};
    gw_bytes(&w, text, strlen(text));
    st_save(&w, name);
}
/* With all files in it. */
static inline void st_remove_folder(void) {
    DIR *dir = opendir(st_folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.') unlink(st_path(e->d_name));
    if (dir) closedir(dir);
    rmdir(st_folder);
}

#endif
