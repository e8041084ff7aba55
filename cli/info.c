/* info.c: `mlxn info`: what a GGUF file says about itself, without loading the model: works for files that this build
 * cannot run, too. folder.c does the same for folders. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

enum { MAX_TYPES = 64, MAX_DEPTH = 8 };

typedef struct type_total {
    uint32_t type;
    uint64_t tensors, elements, bytes;
    bool known;
} type_total;

/* Totals by type in the order of first appearance; types beyond MAX_TYPES are added to the last row. */
static size_t count_types(const mlxn_gguf *file, type_total *totals, uint64_t *elements) {
    size_t n = 0;
    mlxn_gguf_tensor tensor;
    *elements = 0;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &tensor); i++) {
        size_t at = 0;
        while (at < n && totals[at].type != tensor.type) at++;
        if (at == n && n == MAX_TYPES) at = n - 1;
        if (at == n) totals[n++] = (type_total){.type = tensor.type, .known = tensor.known};
        totals[at].tensors++;
        totals[at].elements += tensor.elements;
        totals[at].bytes += tensor.bytes;
        *elements += tensor.elements;
    }
    return n;
}

/* "llama.context_length" for "context_length". */
static bool architecture_number(const mlxn_gguf *file, const char *name, uint64_t *out) {
    mlxn_string architecture;
    char key[192];
    if (mlxn_gguf_get_string(file, "general.architecture", &architecture, NULL)) return false;
    if (architecture.size > 100) return false;
    snprintf(key, sizeof key, "%.*s.%s", (int)architecture.size, architecture.data, name);
    return mlxn_gguf_get_u64(file, key, out, NULL) == MLXN_OK;
}

/* key of the file after the architecture, label; JSON uses the key */
static const char *const numbers[][2] = {{"block_count", "layers"},
                                         {"embedding_length", "embedding"},
                                         {"feed_forward_length", "feed forward"},
                                         {"attention.head_count", "heads"},
                                         {"attention.head_count_kv", "kv heads"},
                                         {"context_length", "context"},
                                         {"attention.sliding_window", "sliding window"}};
enum { N_NUMBERS = sizeof numbers / sizeof numbers[0] };

/* key of the file, label, name in JSON */
static const char *const strings[][3] = {{"general.architecture", "architecture", "architecture"},
                                         {"general.name", "name", "name"},
                                         {"tokenizer.ggml.model", "tokenizer", "tokenizer"},
                                         {"tokenizer.ggml.pre", "pre-tokenizer", "pre_tokenizer"}};
enum { N_STRINGS = sizeof strings / sizeof strings[0] };

/* ---- JSON ---- */

static json_t *value_json(const mlxn_gguf_value *value);

static json_t *array_json(const mlxn_gguf_value *value) {
    json_t *array = json_array();
    uint64_t cursor = 0;
    for (uint64_t i = 0; i < value->v.array.count && array; i++) {
        json_t *entry = NULL;
        mlxn_string text;
        double real = 0;
        int64_t integer = 0;
        if (value->v.array.element == MLXN_GGUF_STRING)
            entry = mlxn_gguf_next_string(value, &cursor, &text) ? cli_json_text(text.data, text.size) : json_null();
        else if (value->v.array.element == MLXN_GGUF_BOOL)
            entry = json_boolean(mlxn_gguf_array_i64(value, i, &integer) && integer);
        else if (value->v.array.element == MLXN_GGUF_F32 || value->v.array.element == MLXN_GGUF_F64)
            entry = mlxn_gguf_array_f64(value, i, &real) ? cli_json_real(real) : json_null();
        else
            entry = mlxn_gguf_array_i64(value, i, &integer) ? json_integer(integer) : json_null();
        if (json_array_append_new(array, entry)) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static json_t *value_json(const mlxn_gguf_value *value) {
    switch (value->type) {
        case MLXN_GGUF_STRING:
            return cli_json_text(value->v.s.data, value->v.s.size);
        case MLXN_GGUF_ARRAY:
            return array_json(value);
        case MLXN_GGUF_BOOL:
            return json_boolean(value->v.u != 0);
        case MLXN_GGUF_F32:
        case MLXN_GGUF_F64:
            return cli_json_real(value->v.f);
        case MLXN_GGUF_I8:
        case MLXN_GGUF_I16:
        case MLXN_GGUF_I32:
        case MLXN_GGUF_I64:
            return json_integer(value->v.i);
        default:
            return json_integer((json_int_t)value->v.u);
    }
}

static json_t *tensor_json(const mlxn_gguf_tensor *tensor) {
    json_t *dims = json_array();
    for (uint32_t i = 0; i < tensor->rank; i++)
        json_array_append_new(dims, json_integer((json_int_t)tensor->dims[i]));
    return json_pack("{s:o,s:s,s:o,s:I,s:I}", "name", cli_json_text(tensor->name.data, tensor->name.size), "type",
                     mlxn_gguf_tensor_type_name(tensor->type), "dims", dims, "bytes", (json_int_t)tensor->bytes,
                     "offset", (json_int_t)tensor->offset);
}

static int add_everything(const mlxn_gguf *file, json_t *root) {
    json_t *keys = json_object(), *tensors = json_array();
    bool failed = !keys || !tensors;
    for (uint64_t i = 0; i < mlxn_gguf_key_count(file) && !failed; i++) {
        mlxn_string key = mlxn_gguf_key(file, i);
        mlxn_gguf_value value = mlxn_gguf_value_at(file, i);
        json_t *name = cli_json_text(key.data, key.size);
        failed = !name || json_object_set_new_nocheck(keys, json_string_value(name), value_json(&value));
        json_decref(name);
    }
    mlxn_gguf_tensor tensor;
    for (uint64_t i = 0; !failed && mlxn_gguf_tensor_at(file, i, &tensor); i++)
        failed = json_array_append_new(tensors, tensor_json(&tensor)) != 0;
    failed = json_object_set_new(root, "keys", keys) || failed;
    failed = json_object_set_new(root, "tensor_list", tensors) || failed;
    return failed;
}

static int print_json(const cli_options *options, const mlxn_gguf *file, const char *path) {
    type_total totals[MAX_TYPES];
    uint64_t elements = 0, value = 0;
    size_t n = count_types(file, totals, &elements);
    json_t *types = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            types, json_pack("{s:s,s:I,s:I,s:I}", "type", mlxn_gguf_tensor_type_name(totals[i].type), "tensors",
                             (json_int_t)totals[i].tensors, "elements", (json_int_t)totals[i].elements, "bytes",
                             (json_int_t)totals[i].bytes));
    json_t *root =
        json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:o}", "file", cli_json_text(path, strlen(path)), "bytes",
                  (json_int_t)mlxn_gguf_file_size(file), "version", (json_int_t)mlxn_gguf_version(file), "keys_total",
                  (json_int_t)mlxn_gguf_key_count(file), "tensors_total", (json_int_t)mlxn_gguf_tensor_count(file),
                  "parameters", (json_int_t)elements, "types", types);
    bool failed = root == NULL;
    for (int i = 0; i < N_STRINGS && !failed; i++) {
        mlxn_string text;
        if (!mlxn_gguf_get_string(file, strings[i][0], &text, NULL))
            failed = json_object_set_new(root, strings[i][2], cli_json_text(text.data, text.size)) != 0;
    }
    for (int i = 0; i < N_NUMBERS && !failed; i++)
        if (architecture_number(file, numbers[i][0], &value))
            failed = json_object_set_new(root, numbers[i][0], json_integer((json_int_t)value)) != 0;
    mlxn_gguf_value tokens;
    if (!failed && mlxn_gguf_find(file, "tokenizer.ggml.tokens", &tokens) && tokens.type == MLXN_GGUF_ARRAY)
        failed = json_object_set_new(root, "vocabulary", json_integer((json_int_t)tokens.v.array.count)) != 0;
    if (!failed && options->all_keys) failed = add_everything(file, root) != 0;
    if (failed) {
        json_decref(root);
        root = NULL;
    }
    return cli_print_json(root);
}

/* ---- text ---- */

static void print_value(const mlxn_gguf_value *value, int depth) {
    enum { SHOWN = 5 };
    switch (value->type) {
        case MLXN_GGUF_STRING:
            cli_print_text(value->v.s.data, value->v.s.size, 100);
            return;
        case MLXN_GGUF_BOOL:
            printf("%s", value->v.u ? "true" : "false");
            return;
        case MLXN_GGUF_F32:
        case MLXN_GGUF_F64:
            printf("%.9g", value->v.f);
            return;
        case MLXN_GGUF_I8:
        case MLXN_GGUF_I16:
        case MLXN_GGUF_I32:
        case MLXN_GGUF_I64:
            printf("%" PRId64, value->v.i);
            return;
        case MLXN_GGUF_ARRAY:
            break;
        default:
            printf("%" PRIu64, value->v.u);
            return;
    }
    uint64_t cursor = 0, count = value->v.array.count;
    printf("[%" PRIu64 "]", count);
    for (uint64_t i = 0; i < count && i < SHOWN && depth < MAX_DEPTH; i++) {
        mlxn_string text;
        double real;
        putchar(' ');
        if (value->v.array.element == MLXN_GGUF_STRING && mlxn_gguf_next_string(value, &cursor, &text))
            cli_print_text(text.data, text.size, 30);
        else if (mlxn_gguf_array_f64(value, i, &real))
            printf("%.9g", real);
        else
            putchar('?');
    }
    if (count > SHOWN) printf(" ...");
}

static void print_everything(const mlxn_gguf *file) {
    printf("\nkeys\n");
    for (uint64_t i = 0; i < mlxn_gguf_key_count(file); i++) {
        mlxn_string key = mlxn_gguf_key(file, i);
        mlxn_gguf_value value = mlxn_gguf_value_at(file, i);
        printf("  ");
        cli_print_text(key.data, key.size, 200);
        printf(" = ");
        print_value(&value, 0);
        putchar('\n');
    }
    printf("\ntensors\n");
    mlxn_gguf_tensor tensor;
    for (uint64_t i = 0; mlxn_gguf_tensor_at(file, i, &tensor); i++) {
        printf("  ");
        cli_print_text(tensor.name.data, tensor.name.size, 200);
        printf(" %s [", mlxn_gguf_tensor_type_name(tensor.type));
        for (uint32_t d = 0; d < tensor.rank; d++) printf(d ? ", %" PRIu64 : "%" PRIu64, tensor.dims[d]);
        printf("] at byte %" PRIu64 "\n", tensor.offset);
    }
}

static int print_text(const cli_options *options, const mlxn_gguf *file, const char *path) {
    type_total totals[MAX_TYPES];
    char bytes[32];
    uint64_t elements = 0, value = 0;
    size_t n = count_types(file, totals, &elements);
    printf("%-16s %s (GGUF version %" PRIu32 ", %s)\n", "file", path, mlxn_gguf_version(file),
           cli_bytes(mlxn_gguf_file_size(file), bytes));
    for (int i = 0; i < N_STRINGS; i++) {
        mlxn_string text;
        if (mlxn_gguf_get_string(file, strings[i][0], &text, NULL)) continue;
        printf("%-16s ", strings[i][1]);
        cli_print_text(text.data, text.size, 100);
        putchar('\n');
    }
    printf("%-16s %.1f million\n", "parameters", (double)elements / 1e6);
    for (int i = 0; i < N_NUMBERS; i++)
        if (architecture_number(file, numbers[i][0], &value)) printf("%-16s %" PRIu64 "\n", numbers[i][1], value);
    mlxn_gguf_value tokens;
    if (mlxn_gguf_find(file, "tokenizer.ggml.tokens", &tokens) && tokens.type == MLXN_GGUF_ARRAY)
        printf("%-16s %" PRIu64 "\n", "vocabulary", tokens.v.array.count);
    printf("%-16s %" PRIu64 " (`--all` lists them)\n", "keys", mlxn_gguf_key_count(file));
    printf("%-16s %" PRIu64 "\n", "tensors", mlxn_gguf_tensor_count(file));
    for (size_t i = 0; i < n; i++)
        printf("  %-14s %6" PRIu64 " tensors, %s%s\n", mlxn_gguf_tensor_type_name(totals[i].type), totals[i].tensors,
               totals[i].known ? cli_bytes(totals[i].bytes, bytes) : "?",
               totals[i].known ? "" : " (this build cannot decode it)");
    if (options->all_keys) print_everything(file);
    return EXIT_GOOD;
}

int cmd_info(const cli_options *options) {
    const char *path = options->n_rest ? options->rest[0] : options->model;
    if (!path) return cli_fail(EXIT_USAGE, "info: there is no model; write mlxn info MODEL");
    int code = cli_check_model_path(path);
    if (code) return code;
    if (cli_is_folder(path)) return cli_info_folder(options, path);
    mlxn_error error = {0};
    mlxn_gguf *file = NULL;
    if (mlxn_gguf_open(path, &file, &error))
        return cli_fail_file(EXIT_FAILED, path, error.message,
                             "give a .gguf file, fetched or converted again if this one is broken");
    code = options->json ? print_json(options, file, path) : print_text(options, file, path);
    mlxn_gguf_close(file);
    return code;
}
