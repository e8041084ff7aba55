/* check.c: `mlxn check`: validates GGUF files, and with folder.c folders. Opening a file checks its whole structure;
 * --data also decodes every tensor and reports the first value that is no finite number. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Names come from the file: as much of one as a message has room for. */
static int name_width(const mlxn_gguf_tensor *tensor) {
    return tensor->name.size < 200 ? (int)tensor->name.size : 200;
}

/* Decodes row by row. A message in `problem` when a value is NaN or infinite or memory is short. */
static bool tensor_is_finite(const mlxn_gguf_tensor *tensor, char *problem, size_t room) {
    uint64_t cols = tensor->rank ? tensor->dims[tensor->rank - 1] : 1, row_bytes = 0;
    mlxn_error error = {0};
    mlxn_status status = mlxn_format_row_bytes((mlxn_format)tensor->type, cols, &row_bytes, &error);
    float *row = status || cols > SIZE_MAX / sizeof(float) ? NULL : malloc(cols * sizeof *row);
    if (!row) {
        snprintf(problem, room, "tensor \"%.*s\": %s", name_width(tensor), tensor->name.data,
                 status ? error.message : "a row does not fit into memory");
        return false;
    }
    bool good = true;
    for (uint64_t r = 0; good && r < tensor->elements / cols; r++) {
        status = mlxn_dequantize_row((mlxn_format)tensor->type, tensor->data + r * row_bytes, cols, row, &error);
        if (status) {
            snprintf(problem, room, "tensor \"%.*s\": %s", name_width(tensor), tensor->name.data, error.message);
            good = false;
        }
        for (uint64_t c = 0; good && c < cols; c++) {
            if (isfinite(row[c])) continue;
            snprintf(problem, room,
                     "tensor \"%.*s\": row %" PRIu64 ", column %" PRIu64 " is %s (row data begin at byte %" PRIu64
                     ")",
                     name_width(tensor), tensor->name.data, r, c, isnan(row[c]) ? "not a number" : "infinite",
                     tensor->offset + r * row_bytes);
            good = false;
        }
    }
    free(row);
    return good;
}

static bool data_is_finite(const mlxn_gguf *file, char *problem, size_t room) {
    mlxn_gguf_tensor tensor;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &tensor); i++)
        if (tensor.known && tensor.elements && !tensor_is_finite(&tensor, problem, room)) return false;
    return true;
}

static uint64_t unknown_tensors(const mlxn_gguf *file) {
    uint64_t n = 0;
    mlxn_gguf_tensor tensor;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &tensor); i++) n += !tensor.known;
    return n;
}

/* What was found. */
typedef struct report {
    int64_t keys; /* -1: a folder, whose config is no list of them */
    uint64_t tensors, unknown;
    char problem[800], note[840]; /* empty: there is none */
} report;

static int print_good(const cli_options *options, const report *r, const char *path) {
    if (options->json) {
        json_t *root = json_pack("{s:o,s:b,s:I}", "file", cli_json_text(path, strlen(path)), "ok", 1, "tensors",
                                 (json_int_t)r->tensors);
        if (r->keys >= 0) {
            json_object_set_new(root, "keys", json_integer((json_int_t)r->keys));
            json_object_set_new(root, "tensors_unknown", json_integer((json_int_t)r->unknown));
        }
        if (r->note[0]) json_object_set_new(root, "note", cli_json_text(r->note, strlen(r->note)));
        return cli_print_json(root);
    }
    printf("%s: ok (", path);
    if (r->keys >= 0) printf("%" PRId64 " keys, ", r->keys);
    printf("%" PRIu64 " tensors%s)\n", r->tensors, options->data ? ", all values finite" : "");
    if (r->note[0]) {
        printf("%s: note: ", path);
        cli_print_text(r->note, strlen(r->note), sizeof r->note);
        putchar('\n');
    }
    return EXIT_GOOD;
}

static void check_file(const cli_options *options, const char *path, report *out) {
    mlxn_error error = {0};
    mlxn_gguf *file = NULL;
    if (mlxn_gguf_open(path, &file, &error)) {
        snprintf(out->problem, sizeof out->problem, "%s", cli_without_name(path, error.message));
        return;
    }
    out->unknown = unknown_tensors(file);
    out->keys = (int64_t)mlxn_gguf_key_count(file);
    out->tensors = mlxn_gguf_tensor_count(file);
    if (out->unknown)
        snprintf(out->note, sizeof out->note, "%" PRIu64 " tensors have a type that this build cannot decode",
                 out->unknown);
    if (options->data) data_is_finite(file, out->problem, sizeof out->problem);
    mlxn_gguf_close(file);
}

static void check_folder(const cli_options *options, const char *path, report *out) {
    cli_folder_report folder;
    cli_check_folder(options, path, &folder);
    out->keys = -1;
    out->tensors = folder.tensors;
    memcpy(out->problem, folder.problem, sizeof out->problem);
    if (folder.note[0]) snprintf(out->note, sizeof out->note, "this build cannot run it: %s", folder.note);
}

static int check_one(const cli_options *options, const char *path) {
    report r = {0};
    int code = cli_check_model_path(path);
    if (code) return code;
    if (cli_is_folder(path))
        check_folder(options, path, &r);
    else
        check_file(options, path, &r);
    if (!r.problem[0]) return print_good(options, &r, path);
    if (!options->json) return cli_fail_file(EXIT_FAILED, path, r.problem, "fetch or convert the model again");
    code = cli_print_json(json_pack("{s:o,s:b,s:o}", "file", cli_json_text(path, strlen(path)), "ok", 0, "error",
                                    cli_json_text(r.problem, strlen(r.problem))));
    return code ? code : EXIT_FAILED;
}

int cmd_check(const cli_options *options) {
    if (!options->n_rest) return cli_fail(EXIT_USAGE, "check: there is no model; write mlxn check MODEL");
    int code = EXIT_GOOD;
    for (int i = 0; i < options->n_rest; i++) {
        int one = check_one(options, options->rest[i]);
        code = one > code ? one : code;
    }
    return code;
}
