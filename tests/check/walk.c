/* walk.c: operation x case x kernel, and the report. */
#include "check.h"

enum { MAX_ROWS = 4096, SHOWN = 3 };

static bool wanted(const char *filter, const char *name) { return !filter || strstr(name, filter); }

/* Quick runs take the cases that are not slow and, of long lists, those that a hash of the seed picks. */
static bool picked(const check_options *options, const mlxn_case *c, uint32_t op, uint32_t number) {
    if (options->number >= 0) return number == (uint32_t)options->number;
    if (!options->quick) return true;
    uint64_t h = (options->seed + 1) * 0x9e3779b97f4a7c15u ^ ((uint64_t)op << 32 | number) * 0xd6e8feb86659fd93u;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    return !c->slow && (h >> 33) % options->part == 0;
}

static void report(const mlxn_kernel_row *row, const check_tally *t) {
    char worst[64] = "exact";
    if (t->worst > 0) snprintf(worst, sizeof worst, "worst %.3f of the bound (case %u)", t->worst, t->worst_case);
    const char *precision = row->precision == 3 ? "any" : row->precision == 1 ? "fast" : "f32";
    printf("  %-32s %-4s %5llu cases %6llu runs  %s", row->name, precision, (unsigned long long)t->cases,
           (unsigned long long)t->runs, worst);
    if (t->failures) printf("  %llu FAILED", (unsigned long long)t->failures);
    printf("\n");
}

int check_walk(const check_options *options, bool list) {
    const mlxn_backend *backend = NULL;
    for (size_t b = 0; mlxn_backends[b]; b++)
        if (!strcmp(mlxn_backends[b]->name, options->backend)) backend = mlxn_backends[b];
    if (!backend) return fprintf(stderr, "check: this build has no device \"%s\"\n", options->backend), 2;
    mlxn_error absent = {0};
    if (!list && !mlxn_backend_device_count(options->backend, &absent))
        return printf("check: skipped: %s\n", absent.message), 77;
    size_t n_rows;
    const mlxn_kernel_row *rows = backend->kernels(&n_rows);
    static check_tally tallies[MAX_ROWS];
    if (n_rows > MAX_ROWS) return fprintf(stderr, "check: %zu rows, at most %d\n", n_rows, MAX_ROWS), 1;
    uint32_t top = check_machine_level(options);
    bool host = !strcmp(options->backend, "cpu");
    uint64_t runs = 0, failures = 0, kernels = 0, unserved = 0, cases = 0;
    for (uint32_t op = 0; op < MLXN_OP_COUNT; op++) {
        const mlxn_op_def *def = mlxn_op_get(op);
        if (options->op && strcmp(options->op, def->name)) continue;
        bool any = false;
        for (size_t k = 0; k < n_rows; k++) any = any || (rows[k].op == op && wanted(options->kernel, rows[k].name));
        if (!any && options->kernel) continue;
        printf("%s\n", def->name);
        uint64_t fallback = 0, seen = 0;
        mlxn_case c;
        for (uint32_t i = 0; def->make_case && def->make_case(i, &c); i++) {
            if (!picked(options, &c, op, i)) continue;
            seen++;
            if (list) {
                printf("  %5u %s%s\n", i, c.name, c.slow ? " (slow)" : "");
                continue;
            }
            if (!any && !host) { /* nothing to run: the reference's time is saved */
                fallback++;
                continue;
            }
            check_instance instance;
            if (!check_instantiate(&instance, op, i, &c, options->seed)) {
                printf("  case %u (%s): cannot be made\n", i, c.name);
                failures++;
                check_release(&instance);
                continue;
            }
            bool served = false;
            for (size_t k = 0; k < n_rows; k++) {
                const mlxn_kernel_row *row = &rows[k];
                uint32_t level = check_row_level(row);
                if (row->op != op || !wanted(options->kernel, row->name) || level > top) continue;
                if (options->isa >= 0 && level != (uint32_t)options->isa) continue;
                char text[600];
                check_result result = check_run_case(options, &instance, row, &tallies[k], text, sizeof text);
                if (result == CHECK_NOT_SERVED) continue;
                served = true;
                tallies[k].cases++;
                if (result == CHECK_PASSED || tallies[k].failures++ >= SHOWN) continue;
                printf("  FAILED %s, case %u (%s): %s\n", row->name, i, c.name, text);
                fflush(stdout);
            }
            fallback += !served;
            check_release(&instance);
        }
        cases += seen;
        if (list) continue;
        for (size_t k = 0; k < n_rows; k++) {
            if (rows[k].op != op || !wanted(options->kernel, rows[k].name) || check_row_level(&rows[k]) > top)
                continue;
            if (options->isa >= 0 && check_row_level(&rows[k]) != (uint32_t)options->isa) continue;
            report(&rows[k], &tallies[k]);
            kernels++;
            runs += tallies[k].runs;
            failures += tallies[k].failures;
        }
        if (fallback)
            printf("  %llu of %llu cases have no kernel: %s\n", (unsigned long long)fallback,
                   (unsigned long long)seen,
                   host ? "the reference serves them" : "recording them is an error of the commit");
        unserved += fallback;
        fflush(stdout);
    }
    if (!cases) return fprintf(stderr, "check: no case is called that\n"), 2;
    if (!list)
        printf("check: %llu kernels, %llu cases, %llu runs, %llu failed, %llu cases %s\n",
               (unsigned long long)kernels, (unsigned long long)cases, (unsigned long long)runs,
               (unsigned long long)failures, (unsigned long long)unserved,
               host ? "by reference only" : "without a kernel");
    return failures ? 1 : 0;
}
