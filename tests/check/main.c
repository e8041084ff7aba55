/* main.c: the program `check`: every kernel against its operation's reference, and the files printed from the table.
 */
#include <errno.h>

#include "check.h"

static const char usage[] =
    "usage: check [options]\n"
    "  --op NAME        only this operation\n"
    "  --kernel TEXT    only kernels whose name contains TEXT\n"
    "  --case N         only this case of each operation\n"
    "  --isa LEVEL      only kernels of this level: base, avx2, avx512, vnni\n"
    "  --device NAME    backend to run on (default cpu)\n"
    "  --seed N         other contents, and other cases of a quick run (default 1)\n"
    "  --quick          a quarter of the cases that are not slow\n"
    "  --part N         quick, and one case in N instead of a quarter\n"
    "  --list           name the cases and stop\n"
    "  --bench          time kernels instead\n"
    "  --self-test      kernels that are broken on purpose must be reported\n"
    "  --print-ops-h, --print-ops-typed, --verify-header [SOURCE]\n";

static bool number(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !errno && end != text && !*end && text[0] != '-';
}

int main(int argc, char **argv) {
    check_options options = {.backend = "cpu", .source = ".", .seed = 1, .number = -1, .isa = -1, .part = 4};
    static const char *const levels[] = {"base", "avx2", "avx512", "vnni"};
    enum { WALK, LIST, BENCH, SELF_TEST, PRINT_H, PRINT_TYPED, VERIFY } mode = WALK;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t n;
        bool good = true;
        if (!strcmp(name, "--op") && value) {
            options.op = argv[++i];
            bool known = false;
            for (uint32_t op = 0; op < MLXN_OP_COUNT; op++)
                known = known || !strcmp(mlxn_op_get(op)->name, options.op);
            if (!known) return fprintf(stderr, "check: no operation is called \"%s\"\n", options.op), 2;
        } else if (!strcmp(name, "--kernel") && value) {
            options.kernel = argv[++i];
        } else if (!strcmp(name, "--case") && value && number(value, &n) && n < UINT32_MAX) {
            options.number = (long)n;
            i++;
        } else if (!strcmp(name, "--seed") && value && number(value, &n)) {
            options.seed = n;
            i++;
        } else if (!strcmp(name, "--device") && value) {
            options.backend = argv[++i];
        } else if (!strcmp(name, "--isa") && value) {
            for (long l = 0; l < 4; l++)
                if (!strcmp(value, levels[l])) options.isa = l;
            good = options.isa >= 0;
            i++;
        } else if (!strcmp(name, "--quick")) {
            options.quick = true;
        } else if (!strcmp(name, "--part") && value && number(value, &n) && n) {
            options.quick = true;
            options.part = n;
            i++;
        } else if (!strcmp(name, "--list")) {
            mode = LIST;
        } else if (!strcmp(name, "--bench")) {
            mode = BENCH;
        } else if (!strcmp(name, "--self-test")) {
            mode = SELF_TEST;
        } else if (!strcmp(name, "--print-ops-h")) {
            mode = PRINT_H;
        } else if (!strcmp(name, "--print-ops-typed")) {
            mode = PRINT_TYPED;
        } else if (!strcmp(name, "--verify-header")) {
            mode = VERIFY;
            if (value) options.source = argv[++i];
        } else if (!strcmp(name, "--help")) {
            fputs(usage, stdout);
            return 0;
        } else {
            good = false;
        }
        if (!good) return fprintf(stderr, "check: %s: not understood\n%s", name, usage), 2;
    }
    int result = 0;
    switch (mode) {
        case PRINT_H:
            check_print_header(stdout);
            break;
        case PRINT_TYPED:
            check_print_typed(stdout);
            break;
        case VERIFY:
            result = check_verify_header(options.source);
            break;
        case SELF_TEST:
            result = check_self_test(&options);
            break;
        case BENCH:
            result = check_bench(&options);
            break;
        default:
            result = check_walk(&options, mode == LIST);
            break;
    }
    check_devices_close();
    return result;
}
