/* ops.c: `mlxn ops`: which kernels serve which operation on which backend, fastest first. An operation without a
 * kernel row of its own on a backend runs by its scalar reference there. With them, the libraries that the reference
 * was compared with; below them, the names that a reference library uses for the same. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static json_t *kernels_json(const char *op) {
    json_t *array = json_array();
    mlxn_kernel_info row;
    for (uint32_t i = 0; mlxn_kernel_list(i, &row) && array; i++) {
        if (strcmp(row.op, op)) continue;
        json_t *entry = json_pack("{s:s,s:s,s:s}", "backend", row.backend, "kernel", row.kernel, "needs", row.needs);
        if (json_array_append_new(array, entry)) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

/* The table of arguments, in the order that mlxn_encode takes them. */
static json_t *arguments_json(uint32_t op) {
    json_t *array = json_array();
    mlxn_op_arg_info arg;
    for (uint32_t i = 0; mlxn_op_arg(op, i, &arg) && array; i++) {
        json_t *dtypes = json_array();
        for (uint32_t d = 0; d < MLXN_DTYPE_COUNT; d++)
            if (arg.dtypes >> d & 1) json_array_append_new(dtypes, json_string(mlxn_dtype_name((mlxn_dtype)d)));
        json_t *entry = json_pack("{s:s,s:s,s:b,s:b,s:o,s:I,s:I}", "name", arg.name, "role",
                                  arg.input ? (arg.output ? "in-out" : "in") : "out", "weight", (int)arg.weight,
                                  "optional", (int)arg.optional, "dtypes", dtypes, "min_rank",
                                  (json_int_t)arg.min_rank, "max_rank", (json_int_t)arg.max_rank);
        if (json_array_append_new(array, entry)) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

/* "mlx, torch" as an array. */
static json_t *oracles_json(const char *names) {
    json_t *array = json_array();
    while (*names && array) {
        size_t n = strcspn(names, ",");
        json_array_append_new(array, json_stringn(names, n));
        names += n + strspn(names + n, ", ");
    }
    return array;
}

static json_t *aliases_json(void) {
    json_t *array = json_array();
    mlxn_op_alias_info alias;
    for (uint32_t i = 0; mlxn_op_alias(i, &alias) && array; i++) {
        json_t *entry =
            json_pack("{s:s,s:s,s:s}", "name", alias.name, "op", mlxn_op_name(alias.op), "how", alias.how);
        if (json_array_append_new(array, entry)) {
            json_decref(array);
            array = NULL;
        }
    }
    return array;
}

static int print_json(void) {
    json_t *ops = json_array();
    for (uint32_t op = 0; op < mlxn_op_count() && ops; op++) {
        json_t *entry = json_pack("{s:I,s:s,s:o,s:I,s:o,s:o}", "id", (json_int_t)op, "name", mlxn_op_name(op), "args",
                                  arguments_json(op), "params_size", (json_int_t)mlxn_op_params_size(op), "kernels",
                                  kernels_json(mlxn_op_name(op)), "oracles", oracles_json(mlxn_op_oracles(op)));
        if (json_array_append_new(ops, entry)) {
            json_decref(ops);
            ops = NULL;
        }
    }
    return cli_print_json(json_pack("{s:o,s:o}", "ops", ops, "aliases", aliases_json()));
}

int cmd_ops(const cli_options *options) {
    if (options->json) return print_json();
    printf("%-18s %-8s %-30s %s\n", "operation", "backend", "kernel", "needs");
    for (uint32_t op = 0; op < mlxn_op_count(); op++) {
        const char *name = mlxn_op_name(op);
        mlxn_kernel_info row;
        bool found = false;
        for (uint32_t i = 0; mlxn_kernel_list(i, &row); i++) {
            if (strcmp(row.op, name)) continue;
            printf("%-18s %-8s %-30s %s\n", found ? "" : name, row.backend, row.kernel, row.needs);
            found = true;
        }
        if (!found) printf("%-18s %-8s %-30s\n", name, "-", "(reference)");
    }
    printf("\n%-25s %s\n", "operation", "reference compared with");
    for (uint32_t op = 0; op < mlxn_op_count(); op++) printf("%-25s %s\n", mlxn_op_name(op), mlxn_op_oracles(op));
    mlxn_op_alias_info alias;
    printf("\n%-34s %-18s %s\n", "other name", "operation", "how");
    for (uint32_t i = 0; mlxn_op_alias(i, &alias); i++)
        printf("%-34s %-18s %s\n", alias.name, mlxn_op_name(alias.op), alias.how);
    return EXIT_GOOD;
}
