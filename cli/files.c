/* files.c: reading prompts, printing JSON and text, writing .npy files. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static int read_stream(FILE *file, const char *path, char **text, size_t *bytes) {
    size_t used = 0, room = 1u << 16;
    char *data = malloc(room);
    while (data) {
        size_t got = fread(data + used, 1, room - used - 1, file);
        used += got;
        if (used + 1 < room) break;
        char *more = room < SIZE_MAX / 2 ? realloc(data, room * 2) : NULL;
        if (!more) free(data);
        data = more;
        room *= 2;
    }
    if (!data) return cli_fail(EXIT_FAILED, "%s does not fit into memory; give a smaller file", path);
    if (ferror(file)) {
        int reason = errno;
        free(data);
        return cli_fail(EXIT_FAILED, "%s cannot be read: %s; give a text file", path, strerror(reason));
    }
    data[used] = 0;
    *text = data;
    *bytes = used;
    return EXIT_GOOD;
}

int cli_read_file(const char *option, const char *path, char **text, size_t *bytes) {
    if (!strcmp(path, "-")) return read_stream(stdin, "standard input", text, bytes);
    FILE *file = fopen(path, "rb");
    if (!file)
        return cli_fail(EXIT_FAILED, "file \"%s\" cannot be opened: %s; check the path given to %s", path,
                        strerror(errno), option);
    int code = read_stream(file, path, text, bytes);
    fclose(file);
    return code;
}

int cli_read_prompt(const cli_options *options, const char *what, char **text, size_t *bytes) {
    if (options->prompt && options->file)
        return cli_fail(EXIT_USAGE, "%s: both -p and -f are given; leave one out", options->command);
    if (options->file) return cli_read_file("-f", options->file, text, bytes);
    if (!options->prompt)
        return cli_fail(EXIT_USAGE, "%s: there is no %s; give -p TEXT, or -f FILE (- is standard input)",
                        options->command, what);
    *bytes = strlen(options->prompt);
    *text = malloc(*bytes + 1);
    if (!*text) return cli_fail(EXIT_FAILED, "out of memory; close other programs");
    memcpy(*text, options->prompt, *bytes + 1);
    return EXIT_GOOD;
}

/* ---- JSON and text ---- */

int cli_print_json(json_t *json) {
    if (!json)
        return cli_fail(EXIT_FAILED, "out of memory for the JSON result; ask for less, or close other programs");
    int failed = json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(json);
    putchar('\n');
    return failed ? cli_fail(EXIT_FAILED, "the JSON result could not be written; is the disk full?") : EXIT_GOOD;
}

json_t *cli_json_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *cli_json_ids(const mlxn_token *ids, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n && array; i++) {
        if (json_array_append_new(array, json_integer(ids[i]))) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

/* UTF-8 with U+FFFD for what is none; malloc, *out_bytes long. */
static char *clean_text(const char *bytes, size_t n, size_t *out_bytes) {
    if (n > SIZE_MAX / 3 - 16) return NULL;
    char *out = malloc(3 * (n + 4) + 12);
    if (!out) return NULL;
    mlxn_utf8_stream stream = {{0}, 0};
    size_t used = mlxn_utf8_push(&stream, bytes, n, out);
    used += mlxn_utf8_finish(&stream, out + used);
    *out_bytes = used;
    return out;
}

json_t *cli_json_text(const char *bytes, size_t n) {
    size_t used = 0;
    char *clean = clean_text(bytes, n, &used);
    json_t *json = clean ? json_stringn_nocheck(clean, used) : NULL;
    free(clean);
    return json;
}

void cli_print_text(const char *bytes, size_t n, size_t limit) {
    size_t used = 0, take = n < limit ? n : limit;
    while (take < n && take > 0 && ((unsigned char)bytes[take] & 0xc0) == 0x80) take--; /* no half character */
    char *clean = clean_text(bytes, take, &used);
    for (size_t i = 0; clean && i < used; i++) {
        unsigned char c = (unsigned char)clean[i];
        if (c == '\n') {
            fputs("\\n", stdout);
        } else if (c < 0x20 || c == 0x7f) {
            printf("\\x%02x", c);
        } else {
            putchar(c);
        }
    }
    if (take < n) printf("... (%zu bytes)", n);
    free(clean);
}

const char *cli_bytes(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1000 && unit < 4) value /= 1000, unit++;
    snprintf(out, 32, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
    return out;
}

/* ---- .npy: magic, version 1.0, a Python literal padded so that the data begin at a multiple of 64, the data ---- */

int cli_npy_open(cli_npy *npy, const char *path, uint64_t rows, uint64_t cols) {
    char header[192];
    int n =
        snprintf(header + 10, sizeof header - 10, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
                 (unsigned long long)rows, (unsigned long long)cols);
    size_t total = ((size_t)n + 10 + 1 + 63) / 64 * 64;
    memset(header + 10 + n, ' ', total - 10 - (size_t)n);
    header[total - 1] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)((total - 10) & 0xff);
    header[9] = (char)((total - 10) >> 8);
    npy->path = path;
    npy->file = fopen(path, "wb");
    if (!npy->file)
        return cli_fail(EXIT_FAILED, "file \"%s\" cannot be written: %s; check the path given to --all", path,
                        strerror(errno));
    if (fwrite(header, 1, total, npy->file) == total) return EXIT_GOOD;
    cli_npy_close(npy, false);
    return cli_fail(EXIT_FAILED, "file \"%s\" cannot be written; is the disk full?", path);
}

int cli_npy_write(cli_npy *npy, const float *values, uint64_t n) {
    if (fwrite(values, sizeof *values, n, npy->file) == n) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED, "file \"%s\" cannot be written: %s; is the disk full?", npy->path, strerror(errno));
}

int cli_npy_close(cli_npy *npy, bool keep) {
    if (!npy->file) return EXIT_GOOD;
    int failed = fclose(npy->file);
    npy->file = NULL;
    if (!keep || failed) remove(npy->path);
    if (keep && failed)
        return cli_fail(EXIT_FAILED, "file \"%s\" cannot be written: %s; is the disk full?", npy->path,
                        strerror(errno));
    return EXIT_GOOD;
}
