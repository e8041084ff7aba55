/* bench.c: time, bandwidth and arithmetic rate of each kernel on its cases, best of several rounds. */
#include "check.h"

enum { ROUNDS = 7 };

/* Nanoseconds per operation, 0 if the row does not serve the case. */
static double time_case(mlxn_device *device, const check_instance *instance, const mlxn_kernel_row *row) {
    const mlxn_op_def *def = instance->def;
    check_set set;
    mlxn_error error;
    double best = 0;
    if (check_set_create(&set, device, instance, UINT32_MAX, &error)) {
        uint32_t count = 1;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            mlxn_encoder *encoder = NULL;
            if (mlxn_encoder_create(device, &encoder, &error)) break;
            for (uint32_t i = 0; i < count; i++)
                mlxn_encode(encoder, instance->op, set.args, def->n_args,
                            def->params_size ? instance->c.params : NULL, def->params_size);
            bool served = !mlxn_encoder_status(encoder, NULL) && check_last_row(encoder) == row;
            uint64_t start = mlxn_now_ns();
            if (!served || mlxn_encoder_commit_and_wait(encoder, "bench", &error)) {
                mlxn_encoder_destroy(encoder);
                break;
            }
            double each = (double)(mlxn_now_ns() - start) / count;
            mlxn_encoder_destroy(encoder);
            if (!round) { /* the first round only finds out how often is enough: some 5 ms */
                count = each > 5e6 ? 1 : (uint32_t)(5e6 / (each + 1)) + 1;
                if (count > 2000) count = 2000;
            } else if (best == 0 || each < best) {
                best = each;
            }
        }
    }
    check_set_release(&set);
    return best;
}

int check_bench(const check_options *options) {
    const mlxn_backend *backend = NULL;
    for (size_t b = 0; mlxn_backends[b]; b++)
        if (!strcmp(mlxn_backends[b]->name, options->backend)) backend = mlxn_backends[b];
    if (!backend) return fprintf(stderr, "check: this build has no device \"%s\"\n", options->backend), 2;
    mlxn_error absent = {0};
    if (!mlxn_backend_device_count(options->backend, &absent))
        return printf("check: skipped: %s\n", absent.message), 77;
    size_t n_rows;
    const mlxn_kernel_row *rows = backend->kernels(&n_rows);
    uint32_t top = check_machine_level(options);
    printf("%-32s %12s %9s %9s  case\n", "kernel", "us", "GB/s", "Gflop/s");
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++) {
        const mlxn_op_def *def = mlxn_op_get(op);
        mlxn_case c;
        if (options->op && strcmp(options->op, def->name)) continue;
        bool any = false;
        for (size_t k = 0; k < n_rows; k++) any = any || rows[k].op == op;
        if (!any) continue;
        for (uint32_t i = 0; def->make_case(i, &c); i++) {
            if (options->number >= 0 ? i != (uint32_t)options->number : options->quick && c.slow) continue;
            check_instance instance;
            if (!check_instantiate(&instance, op, i, &c, options->seed)) return 1;
            mlxn_cost cost = def->cost(instance.ref_args, c.params);
            for (size_t k = 0; k < n_rows; k++) {
                uint32_t level = check_row_level(&rows[k]);
                if (rows[k].op != op || level > top || (options->kernel && !strstr(rows[k].name, options->kernel)))
                    continue;
                if (options->isa >= 0 && level != (uint32_t)options->isa) continue;
                bool fast = rows[k].precision & 1u << MLXN_PRECISION_FAST;
                mlxn_device *device = check_device(options, level, fast ? MLXN_PRECISION_FAST : MLXN_PRECISION_F32,
                                                   CHECK_BENCH_THREADS);
                if (!device) return 1;
                check_force_row(device, &rows[k]);
                double ns = time_case(device, &instance, &rows[k]);
                check_force_row(NULL, NULL);
                if (ns > 0)
                    printf("%-32s %12.2f %9.2f %9.2f  %u %s\n", rows[k].name, ns / 1e3, cost.bytes / ns,
                           cost.flops / ns, i, c.name);
            }
            check_release(&instance);
        }
    }
    return 0;
}
