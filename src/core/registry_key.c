/* registry_key.c: what tells kernels apart: canonical constants, keys of variants, names in a disk cache. */
#include <stdio.h>

#include "core/core.h"
#include "core/kernel.h"

mlxn_status mlxn_kernel_name_check(const char *name, mlxn_error *error) {
    if (!name || !*name) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel: name is %s", name ? "empty" : "NULL");
    size_t length = strlen(name);
    if (length > MLXN_MAX_KERNEL_NAME)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%.32s...\": name has %zu bytes, want at most %d", name,
                         length, MLXN_MAX_KERNEL_NAME);
    for (const char *c = name; *c; c++)
        if (*c == '|' || (unsigned char)*c < ' ' || *c == 0x7f)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": byte %d of the name is '%c' (0x%02x)", name,
                             (int)(c - name), *c, (unsigned)(unsigned char)*c);
    return MLXN_OK;
}

/* Only the member that the kind names is read; the other bytes are 0. */
static mlxn_constant canonical(const mlxn_constant *from) {
    mlxn_constant c;
    memset(&c, 0, sizeof c);
    c.index = from->index;
    c.kind = from->kind;
    switch (from->kind) {
        case MLXN_CONSTANT_BOOL:
            c.v.b = from->v.b;
            break;
        case MLXN_CONSTANT_INT:
            c.v.i = from->v.i;
            break;
        case MLXN_CONSTANT_FLOAT:
            c.v.f = from->v.f;
            break;
    }
    return c;
}

static size_t print_constant(char *out, size_t room, const mlxn_constant *c) {
    uint32_t bits;
    switch (c->kind) {
        case MLXN_CONSTANT_BOOL:
            return (size_t)snprintf(out, room, "|%u:b%d", c->index, c->v.b);
        case MLXN_CONSTANT_INT:
            return (size_t)snprintf(out, room, "|%u:i%d", c->index, (int)c->v.i);
        case MLXN_CONSTANT_FLOAT:
            memcpy(&bits, &c->v.f, 4);
            return (size_t)snprintf(out, room, "|%u:f%08x", c->index, bits);
    }
    return 0;
}

mlxn_status mlxn_kernel_id_make(const char *name, const mlxn_constant *constants, uint32_t n, mlxn_kernel_id *out,
                                mlxn_error *error) {
    if (mlxn_kernel_name_check(name, error)) return MLXN_ERR_ARGUMENT;
    if (n && !constants)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": constants is NULL, but n is %u", name, n);
    if (n > MLXN_MAX_CONSTANTS)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": got %u constants, want at most %d", name, n,
                         MLXN_MAX_CONSTANTS);
    for (uint32_t i = 0; i < n; i++) {
        if ((unsigned)constants[i].kind > MLXN_CONSTANT_FLOAT)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": constant %u: kind is %d, which is none", name,
                             constants[i].index, (int)constants[i].kind);
        uint32_t at = i;
        for (; at && out->constants[at - 1].index > constants[i].index; at--)
            out->constants[at] = out->constants[at - 1];
        if (at && out->constants[at - 1].index == constants[i].index)
            return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": two constants have the index %u", name,
                             constants[i].index);
        out->constants[at] = canonical(&constants[i]);
    }
    out->n_constants = n;
    size_t used = strlen(name);
    memcpy(out->key, name, used + 1);
    for (uint32_t i = 0; i < n; i++)
        used += print_constant(out->key + used, sizeof out->key - used, &out->constants[i]);
    return MLXN_OK;
}

/* At most `room` characters of `from`, those that no file system minds. */
static size_t plain(char *out, size_t room, const char *from) {
    size_t n = 0;
    for (; from[n] && n < room; n++) {
        char c = from[n];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        out[n] = good ? c : '_';
    }
    return n;
}

void mlxn_kernel_cache_key(const mlxn_kernel *kernel, const uint8_t text_digest[32], char out[MLXN_CACHE_KEY]) {
    const mlxn_device *device = kernel->device;
    const char *device_name = device->info.name ? device->info.name : "";
    /* Fixed sizes first and the one text last, so that no two sets of parts give the same bytes. */
    uint8_t bytes[32 + 32 + 32 + 4 + MLXN_MAX_KEY], digest[32];
    size_t used = 0, label = strlen(kernel->label);
    mlxn_sha256(mlxn_version(), strlen(mlxn_version()), bytes);
    mlxn_sha256(device_name, strlen(device_name), bytes + 32);
    memcpy(bytes + 64, text_digest, 32);
    for (used = 96; used < 100; used++) bytes[used] = (uint8_t)(device->info.isa >> (8 * (used - 96)));
    memcpy(bytes + used, kernel->label, label);
    mlxn_sha256(bytes, used + label, digest);
    size_t n = plain(out, 16, device->backend->name);
    out[n++] = '-';
    n += plain(out + n, 48, kernel->name);
    out[n++] = '-';
    for (int i = 0; i < 32; i++) n += (size_t)snprintf(out + n, MLXN_CACHE_KEY - n, "%02x", digest[i]);
}
