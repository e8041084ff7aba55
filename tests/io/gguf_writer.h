/* gguf_writer.h: builds small GGUF files in memory, right or wrong ones: nothing is checked, every call appends. */
#ifndef MLXN_TESTS_GGUF_WRITER_H
#define MLXN_TESTS_GGUF_WRITER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct gw {
    uint8_t *bytes;
    size_t size, capacity;
} gw;

static inline void gw_bytes(gw *w, const void *data, size_t size) {
    if (w->size + size > w->capacity) {
        w->capacity = 2 * (w->size + size) + 256;
        w->bytes = realloc(w->bytes, w->capacity);
        if (!w->bytes) exit(3);
    }
    if (size) memcpy(w->bytes + w->size, data, size);
    w->size += size;
}
static inline void gw_int(gw *w, uint64_t value, int size) {
    uint8_t p[8];
    for (int i = 0; i < size; i++) p[i] = (uint8_t)(value >> 8 * i);
    gw_bytes(w, p, (size_t)size);
}
static inline void gw_u8(gw *w, uint8_t value) { gw_int(w, value, 1); }
static inline void gw_u16(gw *w, uint16_t value) { gw_int(w, value, 2); }
static inline void gw_u32(gw *w, uint32_t value) { gw_int(w, value, 4); }
static inline void gw_u64(gw *w, uint64_t value) { gw_int(w, value, 8); }
static inline void gw_f32(gw *w, float value) {
    uint32_t u;
    memcpy(&u, &value, 4);
    gw_u32(w, u);
}
static inline void gw_f64(gw *w, double value) {
    uint64_t u;
    memcpy(&u, &value, 8);
    gw_u64(w, u);
}
static inline void gw_text(gw *w, const char *text) {
    gw_u64(w, strlen(text));
    gw_bytes(w, text, strlen(text));
}
static inline void gw_header(gw *w, uint32_t version, uint64_t tensors, uint64_t keys) {
    gw_bytes(w, "GGUF", 4);
    gw_u32(w, version);
    gw_u64(w, tensors);
    gw_u64(w, keys);
}
/* Name and value type; the value follows. */
static inline void gw_key(gw *w, const char *name, uint32_t type) {
    gw_text(w, name);
    gw_u32(w, type);
}
static inline void gw_key_u32(gw *w, const char *name, uint32_t value) {
    gw_key(w, name, 4);
    gw_u32(w, value);
}
static inline void gw_key_u16(gw *w, const char *name, uint16_t value) {
    gw_key(w, name, 2);
    gw_u16(w, value);
}
static inline void gw_key_text(gw *w, const char *name, const char *value) {
    gw_key(w, name, 8);
    gw_text(w, value);
}
static inline void gw_array(gw *w, uint32_t element, uint64_t count) {
    gw_u32(w, element);
    gw_u64(w, count);
}
/* Dims in file order: the fastest first. Returns where the record begins. */
static inline size_t gw_tensor(gw *w, const char *name, uint32_t rank, const uint64_t *dims, uint32_t type,
                               uint64_t offset) {
    size_t at = w->size;
    gw_text(w, name);
    gw_u32(w, rank);
    for (uint32_t i = 0; i < rank; i++) gw_u64(w, dims[i]);
    gw_u32(w, type);
    gw_u64(w, offset);
    return at;
}
static inline void gw_align(gw *w, size_t alignment) {
    while (w->size % alignment) gw_u8(w, 0);
}
static inline void gw_zeros(gw *w, size_t count) {
    while (count--) gw_u8(w, 0);
}
static inline void gw_free(gw *w) {
    free(w->bytes);
    memset(w, 0, sizeof *w);
}

/* A small file with everything in it: all value types, arrays, nested arrays, four tensors, one of unknown type. */
static inline void gw_sample(gw *w, uint32_t version) {
    gw_header(w, version, 4, 17);
    gw_key_text(w, "general.architecture", "llama");
    gw_key_u32(w, "general.alignment", 64);
    gw_key(w, "t.u8", 0), gw_u8(w, 200);
    gw_key(w, "t.i8", 1), gw_u8(w, (uint8_t)-100);
    gw_key(w, "t.u16", 2), gw_u16(w, 60000);
    gw_key(w, "t.i16", 3), gw_u16(w, (uint16_t)-30000);
    gw_key(w, "t.u32", 4), gw_u32(w, 4000000000u);
    gw_key(w, "t.i32", 5), gw_u32(w, (uint32_t)-2000000000);
    gw_key(w, "t.f32", 6), gw_f32(w, 0.5f);
    gw_key(w, "t.bool", 7), gw_u8(w, 1);
    gw_key(w, "t.u64", 10), gw_u64(w, UINT64_MAX);
    gw_key(w, "t.i64", 11), gw_u64(w, (uint64_t)INT64_MIN);
    gw_key(w, "t.f64", 12), gw_f64(w, 1e-5);
    gw_key(w, "t.tokens", 9), gw_array(w, 8, 3);
    gw_text(w, "a"), gw_text(w, ""), gw_text(w, "\xc3\xa9t\xc3\xa9");
    gw_key(w, "t.scores", 9), gw_array(w, 6, 3);
    gw_f32(w, -1.5f), gw_f32(w, 0), gw_f32(w, 2.25f);
    gw_key(w, "t.types", 9), gw_array(w, 5, 2);
    gw_u32(w, 7), gw_u32(w, (uint32_t)-7);
    gw_key(w, "t.nested", 9), gw_array(w, 9, 2);
    gw_array(w, 0, 3), gw_u8(w, 1), gw_u8(w, 2), gw_u8(w, 3);
    gw_array(w, 8, 1), gw_text(w, "deep");
    gw_tensor(w, "a.weight", 2, (uint64_t[]){64, 3}, 2, 0); /* Q4_0: 3 rows of 2 blocks, 108 bytes */
    gw_tensor(w, "b.bias", 1, (uint64_t[]){5}, 0, 192);     /* F32 */
    gw_tensor(w, "c.odd", 1, (uint64_t[]){256}, 43,
              256);                            /* of a later version of the format: valid, but not decoded here */
    gw_tensor(w, "d.scalar", 0, NULL, 1, 320); /* F16 */
    gw_align(w, 64);
    for (int i = 0; i < 322; i++) gw_u8(w, (uint8_t)i);
}

#endif
