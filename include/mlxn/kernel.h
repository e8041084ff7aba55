/* mlxn/kernel.h: kernels of your own, beside the operations of ops.h.
 *
 * A registry belongs to a device. It holds what you registered under a name, source text for devices that compile
 * (CUDA C, MSL) or a C function for those that run on the host, and prepares a kernel when it is first asked for.
 * Constants specialise a kernel: each set of values is a variant of its own, prepared once, whatever the order in
 * which they are given. A kernel that was handed out stays valid when its name is registered again; the next lookup
 * gives a new one.
 *
 * Thread rule: any thread, also at the same time; a lookup of a kernel that another thread prepares waits for it. */
#ifndef MLXN_KERNEL_H
#define MLXN_KERNEL_H

#include <mlxn/encoder.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mlxn_registry mlxn_registry;
typedef struct mlxn_kernel mlxn_kernel;

/* ---- constants ---- */

typedef enum mlxn_constant_kind {
    MLXN_CONSTANT_BOOL = 0,
    MLXN_CONSTANT_INT = 1,  /* 32 bits, signed */
    MLXN_CONSTANT_FLOAT = 2 /* binary32 */
} mlxn_constant_kind;

typedef struct mlxn_constant {
    uint32_t index; /* the name of the constant: no two of a set have the same */
    mlxn_constant_kind kind;
    union {
        bool b;
        int32_t i;
        float f;
    } v;
} mlxn_constant;

/* ---- C functions ---- */

/* One group of threads of a launch, as a C function sees it. The function is called once for each group, by several
 * threads of the device at the same time, and walks the threads [begin, end) of the group itself: at the ragged edge
 * of a grid they are fewer than the group size. */
typedef struct mlxn_kernel_group {
    uint64_t begin[3], end[3]; /* threads of this group, counted over the whole grid */
    uint64_t group[3];         /* which group */
    uint64_t threads[3];       /* of the whole grid */
    uint32_t group_size[3];
    uint32_t n_slots;
    void *const *slots; /* by slot: the first byte of the argument; NULL where nothing is bound */
    const uint64_t *slot_bytes;
    void *group_memory; /* of this group, 64-byte aligned, undefined at its start */
    uint64_t group_memory_bytes;
    const mlxn_constant *constants; /* by ascending index */
    uint32_t n_constants;
    void *user; /* of register_function */
} mlxn_kernel_group;
typedef void (*mlxn_kernel_fn)(const mlxn_kernel_group *group);

/* The constant of that index, NULL if there is none. */
MLXN_API const mlxn_constant *mlxn_kernel_constant(const mlxn_kernel_group *group, uint32_t index);

/* ---- registry ---- */

/* Retains the device. Errors: ARGUMENT, MEMORY. */
MLXN_API mlxn_status mlxn_registry_create(mlxn_device *device, mlxn_registry **out, mlxn_error *error);
/* Kernels that were handed out stay valid. No lookup may be under way in another thread. */
MLXN_API void mlxn_registry_destroy(mlxn_registry *registry);
/* Registers (or replaces) `name`; all prepared variants of it are forgotten, and a lookup that begins after this call
 * sees the new text. The text is copied; the entry point is the function called `name`. Errors: ARGUMENT (name empty,
 * longer than 255 bytes, or with '|' or a control character in it; NULL text), MEMORY: what was registered before
 * stays. */
MLXN_API mlxn_status mlxn_registry_register_source(mlxn_registry *registry, const char *name, const char *text,
                                                   mlxn_error *error);
/* `user` must stay valid while the registry or any kernel of this name lives. A name may have text and a function:
 * each device takes what it can run. Registering one keeps the other. Errors: as register_source. */
MLXN_API mlxn_status mlxn_registry_register_function(mlxn_registry *registry, const char *name, mlxn_kernel_fn fn,
                                                     void *user, mlxn_error *error);
/* The kernel `name`, specialised by `constants` (may be NULL if n is 0; at most 64): prepared now, or the same object
 * as before. A hit allocates nothing. Several threads that ask for one kernel prepare it once and get the same object
 * or the same error; different kernels are prepared side by side. The caller owns a reference. Errors: NOT_FOUND
 * ("kernel \"name\": nothing is registered under that name"), COMPILE (label and the compiler's text from its first
 * line that speaks of an error, cut to what a message holds; the whole text goes to the device's log), UNSUPPORTED
 * (text on a device that runs functions, or the reverse), ARGUMENT (two constants of one index), MEMORY. A failure
 * leaves the cache as it was. */
MLXN_API mlxn_status mlxn_registry_get(mlxn_registry *registry, const char *name, const mlxn_constant *constants,
                                       uint32_t n, mlxn_kernel **out, mlxn_error *error);
/* Prepares the unspecialised kernel of every name (names NULL) or of the `n` names given, so that no first use
 * stalls. Goes on after a failure; returns the first. *prepared (may be NULL) counts those that are ready. */
MLXN_API mlxn_status mlxn_registry_prewarm(mlxn_registry *registry, const char *const *names, uint32_t n,
                                           uint32_t *prepared, mlxn_error *error);
/* `key` is a kernel's label: the name, then for each constant by ascending index "|index:b0", "|index:b1",
 * "|index:i<decimal>" or "|index:f<8 hex digits of the bits>". */
MLXN_API bool mlxn_registry_is_cached(const mlxn_registry *registry, const char *key);
MLXN_API uint32_t mlxn_registry_cached_count(const mlxn_registry *registry);
MLXN_API uint32_t mlxn_registry_source_count(const mlxn_registry *registry);

/* Where prepared kernels are kept from one process to the next. `key` names device, kernel, constants and the text's
 * digest, in characters that a file name may hold (letters, digits, '-', '_'; at most 140). load: false if there is
 * none; *data is given back to free_data. store: false if it could not; nothing follows from that. load and store may
 * be NULL. Called from any thread that looks a kernel up, without a lock of the registry; they must not look up the
 * same kernel. Kernels that have no text are not kept. */
typedef struct mlxn_kernel_cache {
    uint32_t struct_size;
    bool (*load)(void *user, const char *key, void **data, uint64_t *bytes);
    void (*free_data)(void *user, void *data);
    bool (*store)(void *user, const char *key, const void *data, uint64_t bytes);
    void *user;
} mlxn_kernel_cache;
/* Copied; NULL = none (the default). `user` stays valid until the registry is destroyed. A blob that the device
 * refuses is prepared anew and stored over. Errors: ARGUMENT, MEMORY. */
MLXN_API mlxn_status mlxn_registry_set_cache(mlxn_registry *registry, const mlxn_kernel_cache *cache,
                                             mlxn_error *error);
/* The same with one file per kernel in a folder, which must exist. Files are written under another name and renamed,
 * so that processes may share the folder; a damaged file counts as none. What lies there runs on your device: use a
 * folder that nobody else can write. Errors: ARGUMENT, IO, MEMORY. */
MLXN_API mlxn_status mlxn_registry_set_cache_folder(mlxn_registry *registry, const char *path, mlxn_error *error);

/* ---- kernels: counted, immutable, any thread ---- */

MLXN_API mlxn_kernel *mlxn_kernel_retain(mlxn_kernel *kernel);
MLXN_API void mlxn_kernel_release(mlxn_kernel **kernel);
/* The key (see is_cached); valid while the kernel lives. */
MLXN_API const char *mlxn_kernel_label(const mlxn_kernel *kernel);
MLXN_API const char *mlxn_kernel_name(const mlxn_kernel *kernel);

/* ---- launching ---- */

typedef enum mlxn_kernel_role {
    MLXN_KERNEL_UNKNOWN = 0, /* the launch is ordered against everything before and after */
    MLXN_KERNEL_READ = 1,
    MLXN_KERNEL_WRITE = 2,
    MLXN_KERNEL_READ_WRITE = 3
} mlxn_kernel_role;

/* Either memory (buffer set) or bytes, which are copied at once. */
typedef struct mlxn_kernel_arg {
    uint32_t slot; /* below 32; no two alike */
    mlxn_kernel_role role;
    mlxn_buffer *buffer;
    uint64_t offset, bytes; /* bytes 0 = to the end of the buffer; hazards are tracked over this range */
    const void *data;       /* inline bytes, of inline_bytes 1 to 4096; read only; 16-byte aligned in the kernel */
    uint32_t inline_bytes;
} mlxn_kernel_arg;

typedef enum mlxn_grid_unit { MLXN_GRID_THREADS = 0, MLXN_GRID_GROUPS = 1 } mlxn_grid_unit;

typedef struct mlxn_kernel_grid {
    mlxn_grid_unit unit;   /* what `size` counts */
    uint64_t size[3];      /* a 0 counts as 1 */
    uint32_t group[3];     /* threads of a group; a 0 counts as 1; at most 1024 in all */
    uint32_t group_memory; /* bytes shared by the threads of a group; at most 1 MiB, a GPU may have less */
} mlxn_kernel_grid;

/* Records one launch; kernel and buffers are kept until it has completed. Errors stick to the encoder: ARGUMENT
 * (slot, range, group size, overlap of a written range with another argument), STATE, MEMORY. Counts as a dispatch;
 * may be captured. A kernel must touch nothing but its arguments and must stay within what their roles say: hazards
 * with other work, and so its order, are resolved from these alone. */
MLXN_API mlxn_status mlxn_encode_kernel(mlxn_encoder *encoder, mlxn_kernel *kernel, const mlxn_kernel_arg *args,
                                        uint32_t n_args, const mlxn_kernel_grid *grid);

#ifdef __cplusplus
}
#endif
#endif
