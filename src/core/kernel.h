/* kernel.h: a prepared kernel of the user's own, as core and backends see it, and what the files of the registry
 * share. */
#ifndef MLXN_SRC_KERNEL_H
#define MLXN_SRC_KERNEL_H

#include <mlxn/kernel.h>
#include <stdatomic.h>

enum {
    MLXN_MAX_SLOTS = 32,
    MLXN_MAX_INLINE = 4096,
    MLXN_MAX_GROUP = 1024,
    MLXN_MAX_GROUP_MEMORY = 1 << 20,
    MLXN_MAX_KERNEL_NAME = 255,
    MLXN_MAX_CONSTANTS = 64,
    /* The name and "|4294967295:i-2147483648" for each constant. */
    MLXN_MAX_KEY = MLXN_MAX_KERNEL_NAME + MLXN_MAX_CONSTANTS * 24 + 1,
    MLXN_CACHE_KEY = 160 /* room for a name in the disk cache */
};

struct mlxn_kernel {
    _Atomic uint32_t refs;
    mlxn_device *device; /* retained */
    char *name, *label;
    char *text;        /* source, NULL if there is none; kernel_prepare alone sees it, then it is freed */
    mlxn_kernel_fn fn; /* NULL if there is none */
    void *user;
    mlxn_constant *constants; /* by ascending index, bytes outside the value are 0 */
    uint32_t n_constants;
    void *prepared; /* the backend's */
};

/* kernel.c */
/* For kernel_prepare: COMPILE with the kernel's label and the compiler's text on one line, from its first line that
 * speaks of an error; what does not fit is cut. The whole text goes to the device's log, line by line. */
mlxn_status mlxn_kernel_compile_failed(const mlxn_kernel *kernel, int32_t driver_code, const char *text,
                                       mlxn_error *error);

/* registry_key.c: what tells kernels apart */
typedef struct mlxn_kernel_id {
    char key[MLXN_MAX_KEY];
    mlxn_constant constants[MLXN_MAX_CONSTANTS]; /* by ascending index */
    uint32_t n_constants;
} mlxn_kernel_id;
mlxn_status mlxn_kernel_name_check(const char *name, mlxn_error *error);
/* The same id for every order of the same constants. Errors: ARGUMENT. */
mlxn_status mlxn_kernel_id_make(const char *name, const mlxn_constant *constants, uint32_t n, mlxn_kernel_id *out,
                                mlxn_error *error);
/* The name of a prepared kernel in a disk cache: device, kernel, and a digest of device, library version, label and
 * text. Letters, digits, '-' and '_' only. */
void mlxn_kernel_cache_key(const mlxn_kernel *kernel, const uint8_t text_digest[32], char out[MLXN_CACHE_KEY]);

/* registry_cache.c: the caches of the disk, counted because a lookup uses one without the registry's lock */
typedef struct mlxn_cache {
    _Atomic uint32_t refs;
    mlxn_kernel_cache calls;
    char *folder; /* of a cache folder */
} mlxn_cache;
mlxn_status mlxn_cache_create(const mlxn_kernel_cache *calls, mlxn_cache **out, mlxn_error *error);
mlxn_status mlxn_cache_create_folder(const char *path, mlxn_cache **out, mlxn_error *error);
mlxn_cache *mlxn_cache_retain(mlxn_cache *cache);
void mlxn_cache_release(mlxn_cache *cache);

#endif
