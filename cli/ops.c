/* ops.c: `mlxn ops`: which kernels serve which operation on which backend, fastest first. An operation without a
 * kernel row of its own on a backend runs by its scalar reference there. */
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

static int print_json(void) {
    json_t *ops = json_array();
    for (uint32_t op = 0; op < mlxn_op_count() && ops; op++) {
        json_t *entry = json_pack("{s:I,s:s,s:o}", "id", (json_int_t)op, "name", mlxn_op_name(op), "kernels",
                                  kernels_json(mlxn_op_name(op)));
        if (json_array_append_new(ops, entry)) {
            json_decref(ops);
            ops = NULL;
        }
    }
    return cli_print_json(json_pack("{s:o}", "ops", ops));
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
    return EXIT_GOOD;
}
