/* vectors_ops.c: the references of the operations, with which all kernels are compared, give what MLX, PyTorch, ggml,
 * numpy and gguf-py give; and mlxn_op_oracles names the libraries of each. The scripts in tests/vectors/ops hold the
 * cases, a file each; make.py describes the format. */
#include "../test.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>

#include "ops/op.h"

static const uint8_t *cursor, *end;
static bool short_file;

static const uint8_t *take(uint64_t bytes) {
    if (short_file || bytes > (uint64_t)(end - cursor)) {
        short_file = true;
        return NULL;
    }
    const uint8_t *at = cursor;
    cursor += bytes;
    return at;
}

static uint64_t number(uint64_t bytes) {
    uint64_t value = 0;
    const uint8_t *at = take(bytes);
    if (at) memcpy(&value, at, bytes);
    return value;
}

static double real(void) {
    double value = 0;
    const uint8_t *at = take(8);
    if (at) memcpy(&value, at, 8);
    return value;
}

static void string(char *out, size_t size) {
    uint64_t n = number(4);
    const uint8_t *at = take(n);
    size_t used = at && n < size ? (size_t)n : 0;
    if (used) memcpy(out, at, used);
    out[used] = 0;
}

typedef struct operand {
    mlxn_view view;
    mlxn_weight_view weight;
    uint8_t *copy;
} operand;

/* An argument of the file as a view of a copy of its bytes. */
static void read_operand(operand *o) {
    *o = (operand){0};
    uint64_t present = number(4), kind = number(4), type = number(4), rank = number(4), dims[4];
    for (int i = 0; i < 4; i++) dims[i] = number(8);
    uint64_t bytes = number(8), place[5] = {0}; /* of a view: first element, strides */
    if (kind == 2) {
        for (int i = 0; i < 5; i++) place[i] = number(8);
        bytes -= mlxn_min_u64(bytes, sizeof place);
    }
    const uint8_t *data = take(bytes);
    if (!present || !data || rank > MLXN_MAX_RANK) return;
    o->copy = mlxn_alloc_aligned(bytes + 1);
    if (!o->copy) return;
    memcpy(o->copy, data, bytes);
    o->view = (mlxn_view){.present = true, .dtype = (mlxn_dtype)type, .rank = (uint32_t)rank, .data = o->copy};
    int64_t stride = 1;
    for (uint32_t i = (uint32_t)rank; i-- > 0; stride *= (int64_t)dims[i]) {
        o->view.dims[i] = dims[i];
        o->view.strides[i] = stride;
    }
    if (kind == 2) {
        o->view.data = o->copy + place[0] * mlxn_dtype_size(o->view.dtype);
        for (uint32_t i = 0; i < rank; i++) o->view.strides[i] = (int64_t)place[i + 1];
    }
    if (kind != 1) return;
    o->view.dtype = MLXN_F32;
    o->view.data = NULL;
    bool stack = rank == 3;
    o->weight = (mlxn_weight_view){.format = (mlxn_format)type,
                                   .experts = stack ? dims[0] : 1,
                                   .rows = dims[stack],
                                   .cols = dims[stack + 1],
                                   .raw = o->copy,
                                   .read_row = mlxn_weight_view_read_raw};
    o->weight.row_bytes = bytes / (o->weight.experts * o->weight.rows);
    if (stack) {
        o->view.rank = 2;
        o->view.dims[0] = dims[1];
        o->view.dims[1] = dims[2];
    }
    o->view.weight = &o->weight;
}

/* Largest |got - want| / (absolute + relative * |want|); 0 / 0 counts as 0, so that tolerances of 0 ask for equality.
 */
static double distance(const mlxn_view *got, const mlxn_view *want, double absolute, double relative) {
    double worst = 0;
    uint64_t n = mlxn_view_elements(want), at[MLXN_MAX_RANK];
    for (uint64_t i = 0; i < n; i++) {
        mlxn_view_unravel(want, i, at);
        double g = mlxn_view_get(got, at), w = mlxn_view_get(want, at);
        if (g == w || (isnan(g) && isnan(w))) continue;
        double ratio = fabs(g - w) / (absolute + relative * fabs(w));
        if (!(ratio <= worst)) worst = isnan(ratio) ? INFINITY : ratio;
    }
    return worst;
}

/* The libraries of the files, in the order in which mlxn_op_oracles names them. */
static const char *const libraries[] = {"ggml", "gguf-py", "mlx", "numpy", "torch", "transformers"};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

/* "gguf-py and mlx 0.32.4": a bit for each library. */
static unsigned libraries_of(const char *source) {
    unsigned found = 0;
    while (*source) {
        size_t n = strcspn(source, " "), i = 0;
        while (i < LIBRARIES && (strlen(libraries[i]) != n || strncmp(libraries[i], source, n))) i++;
        CHECK(i < LIBRARIES, "%s: what library is this?", source);
        found |= 1u << i;
        const char *next = strstr(source, " and ");
        source = next ? next + 5 : "";
    }
    return found;
}

static void check_oracles(uint32_t op, unsigned found) {
    char names[128] = "";
    for (int i = 0; i < LIBRARIES; i++)
        if (found >> i & 1) {
            if (*names) strcat(names, ", ");
            strcat(names, libraries[i]);
        }
    const char *said = mlxn_op_oracles(op);
    CHECK(said && !strcmp(said, names), "%s: mlxn_op_oracles says \"%s\", the files have \"%s\"", mlxn_op_name(op),
          said ? said : "nothing", names);
}

static void run_case(unsigned *seen) {
    char op[64], source[96], name[128];
    string(op, sizeof op);
    string(source, sizeof source);
    string(name, sizeof name);
    uint64_t params_size = number(4), params[MLXN_MAX_PARAMS / 8] = {0};
    const uint8_t *bytes = take(params_size);
    if (bytes && params_size <= sizeof params) memcpy(params, bytes, params_size);
    double absolute = real(), relative = real();
    uint64_t n = number(4);
    operand operands[MLXN_MAX_ARGS * 2] = {0};
    for (uint64_t i = 0; i < n && i < MLXN_MAX_ARGS * 2; i++) read_operand(&operands[i]);
    CHECK(!short_file && n <= MLXN_MAX_ARGS * 2, "%s, %s: the file ends inside the case", op, name);
    const mlxn_op_def *def = NULL;
    for (uint32_t i = 0; i < MLXN_OP_COUNT; i++)
        if (!strcmp(mlxn_op_get(i)->name, op)) {
            def = mlxn_op_get(i);
            seen[i] |= libraries_of(source);
        }
    CHECK(def && n >= def->n_args, "%s: %s", op, def ? "too few arguments" : "no such operation");
    if (short_file || !def || n < def->n_args) return;

    mlxn_view args[MLXN_MAX_ARGS], want[MLXN_MAX_ARGS];
    uint8_t *fresh[MLXN_MAX_ARGS] = {0};
    uint64_t next = def->n_args;
    for (uint32_t i = 0; i < def->n_args; i++) {
        args[i] = operands[i].view;
        if (def->args[i].role == MLXN_ROLE_INOUT && args[i].present) want[i] = operands[next++].view;
        if (def->args[i].role != MLXN_ROLE_OUT) continue;
        want[i] = operands[i].view;
        size_t size = mlxn_view_bytes(&want[i]);
        fresh[i] = mlxn_alloc_aligned(size + 1);
        if (fresh[i]) memset(fresh[i], 0xff, size);
        args[i].data = fresh[i];
    }
    mlxn_error error;
    mlxn_status status = mlxn_op_check(def, args, def->n_args, params, (uint32_t)params_size, &error);
    CHECK(!status, "%s, %s: %s", op, name, error.message);
    if (!status) status = def->ref(args, params);
    CHECK(!status, "%s, %s: the reference failed", op, name);
    for (uint32_t i = 0; !status && i < def->n_args; i++) {
        if (def->args[i].role == MLXN_ROLE_IN || !args[i].present) continue;
        double far = distance(&args[i], &want[i], absolute, relative);
        CHECK(far <= 1, "%s, %s (%s): %s is off by %.3g times the tolerance", op, name, source, def->args[i].name,
              far);
    }
    for (int i = 0; i < MLXN_MAX_ARGS; i++) mlxn_free_aligned(fresh[i]);
    for (int i = 0; i < MLXN_MAX_ARGS * 2; i++) mlxn_free_aligned(operands[i].copy);
}

/* Every case of one file. */
static void run_file(const char *folder, const char *name, unsigned *seen) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    mlxn_mapping map;
    mlxn_error error;
    mlxn_status status = mlxn_map_file(path, &map, &error);
    CHECK(!status, "%s", error.message);
    if (status) return;
    short_file = false;
    cursor = map.data;
    end = map.data + map.size;
    const uint8_t *magic = take(8);
    CHECK(magic && !memcmp(magic, "MLXNVEC1", 8), "%s: another kind of file", name);
    while (!short_file && cursor < end) run_case(seen);
    mlxn_unmap_file(&map);
}

int main(void) {
    static const char folder[] = "tests/vectors/ops";
    unsigned seen[MLXN_OP_COUNT] = {0};
    DIR *dir = opendir(folder);
    CHECK(dir, "%s cannot be opened", folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (length > 4 && !strcmp(entry->d_name + length - 4, ".bin")) run_file(folder, entry->d_name, seen);
    }
    if (dir) closedir(dir);
    for (uint32_t i = 0; i < MLXN_OP_COUNT; i++) {
        CHECK(seen[i], "%s has no case", mlxn_op_get(i)->name);
        check_oracles(i, seen[i]);
    }
    return TEST_DONE();
}
