/* devices.c: the devices that kernels run on, one for each instruction-set level, precision and number of threads. */
#include "check.h"

static const uint32_t level_bits[] = {0, MLXN_ISA_AVX2, MLXN_ISA_AVX2 | MLXN_ISA_AVX512,
                                      MLXN_ISA_AVX2 | MLXN_ISA_AVX512 | MLXN_ISA_VNNI};
static mlxn_device *devices[4][2][CHECK_MAX_THREADS + 1];

static struct {
    mlxn_device *device;
    uint32_t op;
    const mlxn_kernel_row **own;
} forced;

mlxn_device *check_device(const check_options *options, uint32_t level, mlxn_precision precision, uint32_t threads) {
    mlxn_device **slot = &devices[level][precision][threads];
    if (*slot) return *slot;
    mlxn_device_desc desc = {.struct_size = sizeof desc,
                             .backend = options->backend,
                             .threads = threads,
                             .precision = precision,
                             .isa_mask = level_bits[level],
                             .no_isa = level == 0};
    mlxn_error error;
    if (mlxn_device_create(&desc, slot, &error)) fprintf(stderr, "check: %s\n", error.message);
    return *slot;
}

uint32_t check_machine_level(const check_options *options) {
    mlxn_device *device = check_device(options, 3, MLXN_PRECISION_FAST, 1);
    mlxn_device_info info = {.struct_size = sizeof info};
    if (!device || mlxn_device_get_info(device, &info)) return 0;
    uint32_t level = 0;
    while (level < 3 && (level_bits[level + 1] & ~info.isa) == 0) level++;
    return level;
}

uint32_t check_row_level(const mlxn_kernel_row *row) {
    uint32_t level = 0;
    while (level < 3 && (row->isa & ~level_bits[level])) level++;
    return level;
}

void check_force_row(mlxn_device *device, const mlxn_kernel_row *row) {
    if (forced.device) {
        mlxn_device *d = forced.device;
        mlxn_free(d->kernels);
        d->kernels = forced.own;
        for (uint32_t i = forced.op + 1; i <= MLXN_OP_COUNT; i++) d->first[i]--;
        forced.device = NULL;
    }
    if (!device || !row) return;
    /* The forced row goes in front; rows behind it are only reached where it does not fit, which callers look at. */
    uint32_t n = device->first[MLXN_OP_COUNT], at = device->first[row->op];
    const mlxn_kernel_row **rows = mlxn_alloc_array(n + 1, sizeof *rows);
    if (!rows) return;
    memcpy(rows, device->kernels, at * sizeof *rows);
    rows[at] = row;
    memcpy(rows + at + 1, device->kernels + at, (n - at) * sizeof *rows);
    forced.device = device;
    forced.op = row->op;
    forced.own = device->kernels;
    device->kernels = rows;
    for (uint32_t i = row->op + 1; i <= MLXN_OP_COUNT; i++) device->first[i]++;
}

void check_devices_close(void) {
    check_force_row(NULL, NULL);
    for (uint32_t l = 0; l < 4; l++)
        for (uint32_t p = 0; p < 2; p++)
            for (uint32_t t = 0; t <= CHECK_MAX_THREADS; t++) mlxn_device_release(&devices[l][p][t]);
}
