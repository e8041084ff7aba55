/* out_file.c: files that appear under their name when they are complete. */
#include "io/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITE_MOST = 1 << 28 }; /* bytes of one write call: some systems take less than 2^31 */

char *mlxn_path_in(const char *folder, const char *name) {
    size_t a = strlen(folder), b = strlen(name);
    char *path = mlxn_alloc(a + b + 2);
    if (!path) return NULL;
    memcpy(path, folder, a);
    path[a] = '/';
    memcpy(path + a + 1, name, b + 1);
    return path;
}

static int descriptor(const mlxn_out_file *file) { return file->fd_plus_one - 1; }

static mlxn_status exists(const char *path, mlxn_error *error) {
    return mlxn_fail_code(error, MLXN_ERR_IO, EEXIST, "%s: is there already, and is not to be overwritten", path);
}

/* The lock is the file's own: it is gone when its owner is, however that ended, so that a file which was left by a
 * crash is taken over. */
static mlxn_status lock(mlxn_out_file *file, mlxn_error *error) {
    for (;;) {
        int fd = open(file->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EINTR) continue;
        if (fd < 0) return mlxn_fail_errno(error, file->partial, "cannot be written");
        file->fd_plus_one = fd + 1;
        if (flock(fd, LOCK_EX | LOCK_NB))
            return errno == EWOULDBLOCK ? mlxn_fail_code(error, MLXN_ERR_IO, EWOULDBLOCK,
                                                         "%s: another process is writing it", file->partial)
                                        : mlxn_fail_errno(error, file->partial, "cannot be locked");
        /* Between open and lock its former owner may have given it its name, or removed it. */
        struct stat held, named;
        bool ours = !fstat(fd, &held) && !stat(file->partial, &named) && held.st_ino == named.st_ino &&
                    held.st_dev == named.st_dev;
        if (ours && held.st_nlink == 1) break;
        if (ours) unlink(file->partial); /* a crash between its two names: the other one keeps the bytes */
        close(fd);
        file->fd_plus_one = 0;
    }
    return ftruncate(descriptor(file), 0) ? mlxn_fail_errno(error, file->partial, "cannot be written") : MLXN_OK;
}

mlxn_status mlxn_out_open(mlxn_out_file *file, const char *path, bool overwrite, mlxn_error *error) {
    *file = (mlxn_out_file){.overwrite = overwrite};
    if (!path || !path[0]) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "output: the path is empty");
    struct stat info;
    if (!stat(path, &info)) {
        if (!S_ISREG(info.st_mode)) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: is no regular file", path);
        if (!overwrite) return exists(path, error);
    }
    size_t n = strlen(path);
    file->path = mlxn_strdup(path);
    file->partial = mlxn_alloc(n + sizeof ".partial");
    if (!file->path || !file->partial) {
        mlxn_out_abandon(file);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for its name", path);
    }
    memcpy(file->partial, path, n);
    memcpy(file->partial + n, ".partial", sizeof ".partial");
    mlxn_status status = lock(file, error);
    if (!status) return mlxn_succeed(error);
    if (file->fd_plus_one) close(descriptor(file)); /* it is another's: not to be removed */
    file->fd_plus_one = 0;
    mlxn_out_abandon(file);
    return status;
}

mlxn_status mlxn_out_write(mlxn_out_file *file, const void *data, uint64_t bytes, mlxn_error *error) {
    const uint8_t *from = data;
    while (bytes) {
        ssize_t n = write(descriptor(file), from, (size_t)mlxn_min_u64(bytes, WRITE_MOST));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mlxn_fail_errno(error, file->partial, "cannot be written");
        from += n;
        bytes -= (uint64_t)n;
        file->at += (uint64_t)n;
    }
    return mlxn_succeed(error);
}

mlxn_status mlxn_out_pad(mlxn_out_file *file, uint64_t align, mlxn_error *error) {
    static const uint8_t zeros[4096];
    return mlxn_out_write(file, zeros, (align - file->at % align) % align, error);
}

mlxn_status mlxn_out_sync(mlxn_out_file *file, mlxn_error *error) {
    if (fsync(descriptor(file))) return mlxn_fail_errno(error, file->partial, "cannot be written");
    return mlxn_succeed(error);
}

/* A hard link fails where the name is taken, in one step; where the file system has none, a look and a rename do. */
static mlxn_status name(mlxn_out_file *file, mlxn_error *error) {
    if (!file->overwrite) {
        if (!link(file->partial, file->path)) {
            unlink(file->partial);
            return MLXN_OK;
        }
        struct stat info;
        if (errno == EEXIST || !stat(file->path, &info)) return exists(file->path, error);
    }
    if (rename(file->partial, file->path)) return mlxn_fail_errno(error, file->path, "cannot get its name");
    return MLXN_OK;
}

/* So that the name outlives a power failure too. Not every file system can do this, and the data is safe already. */
static void sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? mlxn_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mlxn_strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    mlxn_free(folder);
}

mlxn_status mlxn_out_name(mlxn_out_file *file, mlxn_error *error) {
    mlxn_status status = name(file, error);
    if (!status) {
        sync_folder(file->path);
        close(descriptor(file)); /* its bytes are on the disk */
        file->fd_plus_one = 0;
    }
    mlxn_out_abandon(file);
    return status ? status : mlxn_succeed(error);
}

void mlxn_out_abandon(mlxn_out_file *file) {
    if (file->fd_plus_one) {
        unlink(file->partial); /* before the lock goes */
        close(descriptor(file));
    }
    mlxn_free(file->path);
    mlxn_free(file->partial);
    *file = (mlxn_out_file){0};
}

/* ---- bytes ---- */

void mlxn_bytes_add(mlxn_bytes *to, const void *data, uint64_t size) {
    uint64_t need;
    if (to->failed || !size) return;
    if (!mlxn_add_u64(to->size, size, &need) || need > SIZE_MAX / 2) {
        to->failed = true;
        return;
    }
    if (need > to->room) {
        uint64_t room = mlxn_max_u64(256, need + need / 2);
        void *grown = mlxn_realloc_array(to->data, (size_t)room, 1);
        if (!grown) {
            to->failed = true;
            return;
        }
        to->data = grown;
        to->room = room;
    }
    memcpy(to->data + to->size, data, (size_t)size);
    to->size = need;
}

void mlxn_bytes_int(mlxn_bytes *to, uint64_t value, unsigned size) {
    uint8_t p[8];
    for (unsigned i = 0; i < size; i++) p[i] = (uint8_t)(value >> 8 * i);
    mlxn_bytes_add(to, p, size);
}

void mlxn_bytes_text(mlxn_bytes *to, const char *text) { mlxn_bytes_add(to, text, strlen(text)); }

void mlxn_bytes_json_string(mlxn_bytes *to, const char *text) {
    mlxn_bytes_text(to, "\"");
    for (const char *p = text; *p; p++) {
        char escape[8];
        if ((unsigned char)*p < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*p);
            mlxn_bytes_text(to, escape);
            continue;
        }
        if (*p == '"' || *p == '\\') mlxn_bytes_text(to, "\\");
        mlxn_bytes_add(to, p, 1);
    }
    mlxn_bytes_text(to, "\"");
}

void mlxn_bytes_free(mlxn_bytes *bytes) {
    mlxn_free(bytes->data);
    *bytes = (mlxn_bytes){0};
}
