/* registry_cache.c: where prepared kernels outlive the process: the caller's calls, or a folder.
 *
 * A file of the folder is a magic number, the SHA-256 of the blob, and the blob. It is written under a name of its
 * own and renamed, so a reader sees a whole file or none; one that is damaged all the same counts as absent. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"
#include "core/kernel.h"

static const char magic[8] = {'M', 'L', 'X', 'N', 'K', 'R', 'N', '1'};
enum { HEAD_BYTES = 40 };
static const uint64_t max_bytes = (uint64_t)1 << 30;

/* ---- a folder ---- */

static char *path_of(const char *folder, const char *key, const char *end) {
    size_t size = strlen(folder) + strlen(key) + strlen(end) + 2;
    char *path = mlxn_alloc(size);
    if (path) snprintf(path, size, "%s/%s%s", folder, key, end);
    return path;
}

static bool read_all(int file, uint8_t *to, uint64_t bytes) {
    while (bytes) {
        ssize_t got = read(file, to, (size_t)bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        bytes -= (uint64_t)got;
    }
    return true;
}

static bool write_all(int file, const uint8_t *from, uint64_t bytes) {
    while (bytes) {
        ssize_t put = write(file, from, (size_t)bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        from += put;
        bytes -= (uint64_t)put;
    }
    return true;
}

static bool folder_load(void *user, const char *key, void **data, uint64_t *bytes) {
    const mlxn_cache *cache = user;
    char *path = path_of(cache->folder, key, "");
    /* Non-blocking, so that a pipe under this name does not stop us before fstat tells what it is. */
    int file = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    mlxn_free(path);
    if (file < 0) return false;
    uint8_t head[HEAD_BYTES], digest[32], *blob = NULL;
    struct stat stat;
    bool good = !fstat(file, &stat) && S_ISREG(stat.st_mode) && stat.st_size >= HEAD_BYTES &&
                (uint64_t)stat.st_size - HEAD_BYTES <= max_bytes && read_all(file, head, sizeof head) &&
                !memcmp(head, magic, sizeof magic);
    if (good) {
        *bytes = (uint64_t)stat.st_size - HEAD_BYTES;
        blob = mlxn_alloc((size_t)*bytes);
        good = blob && read_all(file, blob, *bytes);
    }
    close(file);
    if (good) {
        mlxn_sha256(blob, (size_t)*bytes, digest);
        good = !memcmp(digest, head + sizeof magic, sizeof digest);
    }
    if (!good) mlxn_free(blob);
    *data = good ? blob : NULL;
    return good;
}

static void folder_free_data(void *user, void *data) {
    (void)user;
    mlxn_free(data);
}

static bool folder_store(void *user, const char *key, const void *data, uint64_t bytes) {
    static _Atomic uint32_t serial;
    const mlxn_cache *cache = user;
    if (bytes > max_bytes) return false;
    char end[80];
    snprintf(end, sizeof end, ".%ld-%u-%llu.tmp", (long)getpid(), atomic_fetch_add(&serial, 1),
             (unsigned long long)mlxn_now_ns());
    char *path = path_of(cache->folder, key, ""), *fresh = path_of(cache->folder, key, end);
    int file = path && fresh ? open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
    bool good = file >= 0;
    if (good) {
        uint8_t head[HEAD_BYTES];
        memcpy(head, magic, sizeof magic);
        mlxn_sha256(data, (size_t)bytes, head + sizeof magic);
        good = write_all(file, head, sizeof head) && write_all(file, data, bytes);
        good = !close(file) && good && !rename(fresh, path);
        if (!good) unlink(fresh);
    }
    mlxn_free(fresh);
    mlxn_free(path);
    return good;
}

/* ---- either kind ---- */

static mlxn_cache *new_cache(mlxn_error *error) {
    mlxn_cache *cache = mlxn_alloc(sizeof *cache);
    if (!cache)
        mlxn_fail(error, MLXN_ERR_MEMORY, "kernel cache: out of memory for its record");
    else
        atomic_init(&cache->refs, 1);
    return cache;
}

mlxn_status mlxn_cache_create(const mlxn_kernel_cache *calls, mlxn_cache **out, mlxn_error *error) {
    if (calls->struct_size < sizeof *calls)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT,
                         "kernel cache: struct_size is %u, want sizeof(mlxn_kernel_cache) = %zu", calls->struct_size,
                         sizeof *calls);
    if (calls->load && !calls->free_data)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel cache: free_data is NULL, but load is set");
    mlxn_cache *cache = new_cache(error);
    if (!cache) return MLXN_ERR_MEMORY;
    cache->calls = *calls;
    *out = cache;
    return MLXN_OK;
}

mlxn_status mlxn_cache_create_folder(const char *path, mlxn_cache **out, mlxn_error *error) {
    struct stat info;
    if (stat(path, &info)) {
        int code = errno;
        return mlxn_fail_code(error, MLXN_ERR_IO, code, "kernel cache: folder \"%s\" cannot be opened (error %d)",
                              path, code);
    }
    if (!S_ISDIR(info.st_mode))
        return mlxn_fail_code(error, MLXN_ERR_IO, ENOTDIR, "kernel cache: \"%s\" is no folder", path);
    mlxn_cache *cache = new_cache(error);
    if (!cache) return MLXN_ERR_MEMORY;
    cache->folder = mlxn_strdup(path);
    if (!cache->folder) {
        mlxn_cache_release(cache);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "kernel cache: out of memory for the folder's name");
    }
    cache->calls = (mlxn_kernel_cache){sizeof cache->calls, folder_load, folder_free_data, folder_store, cache};
    *out = cache;
    return MLXN_OK;
}

mlxn_cache *mlxn_cache_retain(mlxn_cache *cache) {
    if (cache) atomic_fetch_add_explicit(&cache->refs, 1, memory_order_relaxed);
    return cache;
}

void mlxn_cache_release(mlxn_cache *cache) {
    if (!cache || atomic_fetch_sub_explicit(&cache->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_free(cache->folder);
    mlxn_free(cache);
}
