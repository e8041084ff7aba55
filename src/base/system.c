/* system.c: what base needs from the operating system: read-only file maps, environment gates, the clock.
 *
 * A map is valid as long as nobody shortens the file; a file that shrinks under a map is outside every promise of the
 * library, as for any program that maps files. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

bool mlxn_env_is_one(const char *name) {
    const char *value = getenv(name);
    return value && value[0] == '1' && !value[1];
}

uint64_t mlxn_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void mlxn_short_lock_init(pthread_mutex_t *lock) {
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
#else
    pthread_mutex_init(lock, NULL);
#endif
}

mlxn_status mlxn_fail_errno(mlxn_error *error, const char *path, const char *what) {
    int code = errno;
    char text[128];
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    const char *reason = strerror_r(code, text, sizeof text);
#else
    const char *reason = strerror_r(code, text, sizeof text) ? "unknown error" : text;
#endif
    return mlxn_fail_code(error, MLXN_ERR_IO, code, "%s: %s: %s (errno %d)", path, what, reason, code);
}

static mlxn_status map_descriptor(int fd, const char *path, mlxn_mapping *out, mlxn_error *error) {
    struct stat info;
    if (fstat(fd, &info)) return mlxn_fail_errno(error, path, "cannot read its size");
    if (S_ISDIR(info.st_mode)) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is a folder, want a file", path);
    if (!S_ISREG(info.st_mode)) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is not a regular file", path);
    if (info.st_size <= 0) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is empty", path);
    uint64_t size = (uint64_t)info.st_size;
    if (size > SIZE_MAX) return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "%s: too large to map on this machine", path);
    void *data = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return mlxn_fail_errno(error, path, "cannot map");
    out->data = data;
    out->size = size;
    return mlxn_succeed(error);
}

mlxn_status mlxn_map_file(const char *path, mlxn_mapping *out, mlxn_error *error) {
    out->data = NULL;
    out->size = 0;
    if (!path || !path[0]) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "file path is empty");
    int fd;
    do {
        /* Non-blocking, so that a named pipe is refused below instead of waited for. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) return mlxn_fail_errno(error, path, "cannot open");
    mlxn_status status = map_descriptor(fd, path, out, error);
    close(fd);
    return status;
}

void mlxn_unmap_file(mlxn_mapping *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, (size_t)map->size);
    map->data = NULL;
    map->size = 0;
}

static void advise(const mlxn_mapping *map, uint64_t offset, uint64_t bytes, int advice) {
    if (!map->data || offset >= map->size || bytes == 0) return;
    uint64_t end = offset + mlxn_min_u64(bytes, map->size - offset);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = offset & ~(page - 1); /* the map itself starts on a page */
    int saved = errno;
    (void)madvise((void *)(uintptr_t)(map->data + begin), (size_t)(end - begin), advice);
    errno = saved;
}

/* Whole pages outward: a neighbour's bytes on the edge pages are read again too, which is merely a minor fault. */
void mlxn_map_release_pages(const mlxn_mapping *map, uint64_t offset, uint64_t bytes) {
    advise(map, offset, bytes, MADV_DONTNEED);
}

void mlxn_map_prefetch(const mlxn_mapping *map, uint64_t offset, uint64_t bytes) {
    advise(map, offset, bytes, MADV_WILLNEED);
}
