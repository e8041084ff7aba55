/* print.c: prints include/mlxn/ops.h and src/core/ops_typed.c from the operation table, so that neither can differ
 * from it. The text is what clang-format would leave alone: at most 118 columns. */
#include <string.h>

#include "check.h"

enum { COLUMNS = 118 };

static const char header_top[] =
    "/* mlxn/ops.h: one typed function per operation. Printed by `check --print-ops-h`; do not edit by hand.\n"
    " *\n"
    " * Every function records one operation into `encoder` (encoder.h holds the error and thread rules). Tensors "
    "are "
    "views\n"
    " * (buffer.h); the memory behind them is kept alive until the work has completed. \"optional\" tensors are "
    "absent "
    "when\n"
    " * their buffer is NULL. Shapes are written [outermost, …, innermost]; R stands for any leading dims. */\n"
    "#ifndef MLXN_OPS_H\n"
    "#define MLXN_OPS_H\n"
    "\n"
    "#include <mlxn/encoder.h>\n"
    "#include <mlxn/op_params.h>\n"
    "#include <mlxn/quant.h>\n"
    "\n"
    "#ifdef __cplusplus\n"
    "extern \"C\" {\n"
    "#endif\n"
    "\n";

static const char header_bottom[] =
    "/* The generic form that all of the above end in: `args` in the order of the operation's argument table\n"
    " * (`mlxn ops --json`), `params` of exactly `params_size` bytes (NULL and 0 if the operation has none). */\n"
    "typedef struct mlxn_arg {\n"
    "    const mlxn_tensor *tensor; /* exactly one of the two is set; both NULL = absent optional argument */\n"
    "    mlxn_weight *weight;\n"
    "} mlxn_arg;\n"
    "\n"
    "typedef uint32_t mlxn_op;\n"
    "\n"
    "MLXN_API mlxn_status mlxn_encode(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t n_args,\n"
    "                                 const void *params, uint32_t params_size);\n"
    "/* The same. With the gate HF2Q_AUTO_BARRIER on (exactly \"1\", read once) it also counts whether a barrier was "
    "placed\n"
    " * before it (auto_barrier_count) or it may run beside what precedes (auto_barrier_concurrent_count). Hazards "
    "are\n"
    " * resolved either way; captured operations are not counted. */\n"
    "MLXN_API mlxn_status mlxn_encode_tracked(mlxn_encoder *encoder, mlxn_op op, const mlxn_arg *args, uint32_t "
    "n_args,\n"
    "                                         const void *params, uint32_t params_size);\n"
    "/* UINT32_MAX if there is no operation of that name. */\n"
    "MLXN_API mlxn_op mlxn_op_find(const char *name);\n"
    "MLXN_API uint32_t mlxn_op_count(void);\n"
    "/* NULL past the end. */\n"
    "MLXN_API const char *mlxn_op_name(mlxn_op op);\n"
    "\n"
    "typedef struct mlxn_op_arg_info {\n"
    "    const char *name;\n"
    "    bool input, output; /* both: read and written */\n"
    "    bool weight, optional;\n"
    "    uint32_t dtypes;             /* bit (1 << mlxn_dtype) of each that is allowed; 0 for weights */\n"
    "    uint32_t min_rank, max_rank; /* 0 for weights */\n"
    "} mlxn_op_arg_info;\n"
    "/* Row i of an operation's argument table; false past the last, or if there is no such operation. */\n"
    "MLXN_API bool mlxn_op_arg(mlxn_op op, uint32_t i, mlxn_op_arg_info *out);\n"
    "/* Bytes of its parameter struct; 0 if it has none, or if there is no such operation. */\n"
    "MLXN_API uint32_t mlxn_op_params_size(mlxn_op op);\n"
    "\n"
    "typedef struct mlxn_op_alias_info {\n"
    "    const char *name; /* as a reference library calls it */\n"
    "    mlxn_op op;       /* which does the same here */\n"
    "    const char *how;  /* what the call looks like, \"\" where it is the same */\n"
    "} mlxn_op_alias_info;\n"
    "/* Row i of the table of other names; false past the last. */\n"
    "MLXN_API bool mlxn_op_alias(uint32_t i, mlxn_op_alias_info *out);\n"
    "/* The libraries whose results the operation's reference was compared with, \"mlx, torch\"; NULL if there is "
    "no\n"
    " * such operation. The results are files of tests/vectors/ops. */\n"
    "MLXN_API const char *mlxn_op_oracles(mlxn_op op);\n"
    "\n"
    "/* For mlxn_rope_multi_params: between which pairs YaRN's ramp lies, for a model trained on `context` "
    "positions:\n"
    " * c(beta) = dims ln(context / (2 pi beta)) / (2 ln base), low = c(beta_fast), high = c(beta_slow), rounded "
    "down and\n"
    " * up where `whole` is set, kept within [0, dims - 1]. Usual betas: 32 and 1. */\n"
    "MLXN_API void mlxn_rope_yarn_ramp(uint32_t dims, double base, double context, double beta_fast, double "
    "beta_slow,\n"
    "                                  bool whole, float *low, float *high);\n"
    "/* The base of NTK scaling by `scale`: base * scale^(dims / (dims - 2)); dims > 2. */\n"
    "MLXN_API double mlxn_rope_ntk_base(uint32_t dims, double base, double scale);\n"
    "\n"
    "typedef struct mlxn_kernel_info {\n"
    "    const char *op, *backend, *kernel, *needs; /* needs: \"\" or instruction sets, \"avx512+vnni\" */\n"
    "} mlxn_kernel_info;\n"
    "/* Rows of the op x backend x kernel matrix, fastest first within an operation; false past the end. */\n"
    "MLXN_API bool mlxn_kernel_list(uint32_t i, mlxn_kernel_info *out);\n"
    "\n"
    "#ifdef __cplusplus\n"
    "}\n"
    "#endif\n"
    "#endif\n";

static const char typed_top[] =
    "/* ops_typed.c: the typed functions of mlxn/ops.h: each lists its arguments in the order of the operation's "
    "argument\n"
    " * table and ends in mlxn_encode. Printed by `check --print-ops-typed`; do not edit by hand. */\n"
    "#include \"ops/op.h\"\n"
    "\n"
    "static mlxn_arg arg(const mlxn_tensor *t) { return (mlxn_arg){.tensor = t}; }\n"
    "static mlxn_arg opt(const mlxn_tensor *t) { return (mlxn_arg){.tensor = t->buffer ? t : NULL}; }\n"
    "static mlxn_arg weight(mlxn_weight *w) { return (mlxn_arg){.weight = w}; }\n";

/* Columns of `bytes` bytes of UTF-8. */
static size_t columns(const char *text, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Prints pieces that `separator` divides (a piece ends with its separator), breaking lines before a piece that would
 * pass the margin and starting the next line with `indent`. */
static void wrapped(FILE *out, const char *text, char separator, size_t column, const char *indent, size_t reserve) {
    bool glue = separator == ',' && *text != '{'; /* the first piece follows a parenthesis */
    while (*text) {
        const char *end = strchr(text, separator);
        size_t bytes = end ? (size_t)(end - text) + (separator == ',') : strlen(text);
        const char *next = text + bytes;
        while (*next == ' ') next++;
        size_t width = columns(text, bytes), last = *next ? 0 : reserve;
        if (column + !glue + width + last > COLUMNS) {
            fprintf(out, "\n%s", indent);
            column = columns(indent, strlen(indent));
            fprintf(out, "%.*s", (int)bytes, text);
            column += width;
        } else {
            fprintf(out, "%s%.*s", glue ? "" : " ", (int)bytes, text);
            column += width + !glue;
        }
        glue = false;
        text = next;
    }
}

static void print_doc(FILE *out, const mlxn_op_def *def) {
    fputs("/*", out);
    wrapped(out, def->doc, ' ', 2, " * ", 3);
    fputs(" */\n", out);
}

/* "mlxn_status mlxn_add(mlxn_encoder *encoder, …)" without what follows. */
static void print_signature(FILE *out, const mlxn_op_def *def, const char *prefix, size_t reserve) {
    char head[128], list[1024] = "", indent[128];
    int n = snprintf(head, sizeof head, "%smlxn_status mlxn_%s(", prefix, def->name);
    snprintf(indent, sizeof indent, "%*s", n, "");
    snprintf(list, sizeof list, "(mlxn_encoder *encoder");
    for (uint32_t i = 0; i < def->n_args; i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, ", %s%s", def->args[i].is_weight ? "mlxn_weight *" : "mlxn_tensor ",
                 def->args[i].name);
    }
    if (def->params_type) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, ", const %s *params", def->params_type);
    }
    fputs(head, out);
    wrapped(out, list + 1, ',', (size_t)n, indent, reserve + 1);
    fputc(')', out);
}

void check_print_header(FILE *out) {
    fputs(header_top, out);
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++) {
        const mlxn_op_def *def = mlxn_op_get(op);
        print_doc(out, def);
        print_signature(out, def, "MLXN_API ", 1);
        fputs(";\n\n", out);
    }
    fputs(header_bottom, out);
}

void check_print_typed(FILE *out) {
    fputs(typed_top, out);
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++) {
        const mlxn_op_def *def = mlxn_op_get(op);
        char list[1024] = "{", call[256];
        for (uint32_t i = 0; i < def->n_args; i++) {
            const mlxn_arg_spec *spec = &def->args[i];
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s(%s%s)", i ? ", " : "",
                     spec->is_weight  ? "weight"
                     : spec->optional ? "opt"
                                      : "arg",
                     spec->is_weight ? "" : "&", spec->name);
        }
        snprintf(call, sizeof call, "(encoder, MLXN_OP_%s, args, %u, %s", def->name, def->n_args,
                 def->params_type ? "params, params ? sizeof *params : 0" : "NULL, 0");
        fputc('\n', out);
        print_signature(out, def, "", 2);
        fputs(" {\n    const mlxn_arg args[] =", out);
        size_t column = strlen("    const mlxn_arg args[] =");
        wrapped(out, list, ',', column, "                             ", 2);
        fputs("};\n    return mlxn_encode(", out);
        wrapped(out, call + 1, ',', strlen("    return mlxn_encode("), "                       ", 2);
        fputs(");\n}\n", out);
    }
}

static int compare(const char *path, void (*print)(FILE *), const char *option) {
    char *want = NULL, *have = NULL;
    size_t want_size = 0, have_size = 0;
    FILE *memory = open_memstream(&want, &want_size);
    FILE *file = fopen(path, "rb");
    int differs = 1;
    if (!memory || !file) {
        fprintf(stderr, "check: %s: cannot be opened\n", path);
        if (memory) fclose(memory);
    } else {
        print(memory);
        fclose(memory);
        have = malloc(want_size + 2);
        have_size = have ? fread(have, 1, want_size + 1, file) : 0;
        size_t line = 1, i = 0;
        while (i < want_size && i < have_size && want[i] == have[i]) line += want[i++] == '\n';
        differs = have_size != want_size || i < want_size;
        if (differs)
            fprintf(stderr, "check: %s: line %zu is not what `check %s` prints\n", path, line, option);
        else
            printf("%s is current\n", path);
    }
    if (file) fclose(file);
    free(have);
    free(want);
    return differs;
}

int check_verify_header(const char *source) {
    char path[2048];
    snprintf(path, sizeof path, "%s/include/mlxn/ops.h", source);
    int differs = compare(path, check_print_header, "--print-ops-h");
    snprintf(path, sizeof path, "%s/src/core/ops_typed.c", source);
    return differs | compare(path, check_print_typed, "--print-ops-typed");
}
