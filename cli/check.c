/* check.c: `mlxn check`: validates GGUF files. Opening one checks its whole structure; --data also decodes every
 * tensor and reports the first value that is no finite number. */
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

static int print_good(const cli_options *options, const mlxn_gguf *file, const char *path) {
    uint64_t keys = mlxn_gguf_key_count(file), tensors = mlxn_gguf_tensor_count(file);
    uint64_t unknown = unknown_tensors(file);
    if (options->json)
        return cli_print_json(json_pack("{s:o,s:b,s:I,s:I,s:I}", "file", cli_json_text(path, strlen(path)), "ok", 1,
                                        "keys", (json_int_t)keys, "tensors", (json_int_t)tensors, "tensors_unknown",
                                        (json_int_t)unknown));
    printf("%s: ok (%" PRIu64 " keys, %" PRIu64 " tensors%s)\n", path, keys, tensors,
           options->data ? ", all values finite" : "");
    if (unknown) printf("%s: note: %" PRIu64 " tensors have a type that this build cannot decode\n", path, unknown);
    return EXIT_GOOD;
}

static int check_one(const cli_options *options, const char *path) {
    mlxn_error error = {0};
    mlxn_gguf *file = NULL;
    char problem[800] = "";
    int code = cli_check_model_path(path);
    if (code) return code;
    if (mlxn_gguf_open(path, &file, &error))
        snprintf(problem, sizeof problem, "%s", cli_without_name(path, error.message));
    if (file && options->data) data_is_finite(file, problem, sizeof problem);
    if (!problem[0]) {
        code = print_good(options, file, path);
    } else if (options->json) {
        code = cli_print_json(json_pack("{s:o,s:b,s:o}", "file", cli_json_text(path, strlen(path)), "ok", 0, "error",
                                        cli_json_text(problem, strlen(problem))));
        code = code ? code : EXIT_FAILED;
    } else {
        code = cli_fail_file(EXIT_FAILED, path, problem, "fetch or convert the file again");
    }
    mlxn_gguf_close(file);
    return code;
}

int cmd_check(const cli_options *options) {
    if (!options->n_rest) return cli_fail(EXIT_USAGE, "check: there is no file; write mlxn check FILE");
    int code = EXIT_GOOD;
    for (int i = 0; i < options->n_rest; i++) {
        int one = check_one(options, options->rest[i]);
        code = one > code ? one : code;
    }
    return code;
}
