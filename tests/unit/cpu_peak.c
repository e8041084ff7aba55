/* Promise: the CPU device's figures for profiles (operations per second in registers, bytes per second from memory)
 * are numbers that a machine can have, at every instruction-set level and with any number of threads; out of memory
 * is reported, with figures of 0. */
#include "../test.h"

#include <math.h>

#include "backend/cpu/device.h"
#include "core/core.h"

static bool plausible(double x) { return isfinite(x) && x > 1e6 && x < 1e15; }

static mlxn_device *open_device(uint32_t threads, uint32_t isa, uint32_t no_isa) {
    mlxn_device_desc desc = {
        .struct_size = sizeof desc, .backend = "cpu", .threads = threads, .isa_mask = isa, .no_isa = no_isa};
    mlxn_device *device = NULL;
    mlxn_error error = {0};
    CHECK(!mlxn_device_create(&desc, &device, &error), "%s", error.message);
    return device;
}

int main(void) {
    static const struct {
        const char *name;
        uint32_t isa, no_isa;
    } levels[] = {
        {"base", 0, 1}, {"avx2", MLXN_ISA_AVX2, 0}, {"avx512", MLXN_ISA_AVX2 | MLXN_ISA_AVX512, 0}, {"all", 0, 0}};
    mlxn_error error = {0};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        for (uint32_t threads = 1; threads <= 3; threads++) { /* three: more than some machines run at once */
            mlxn_device *device = open_device(threads, levels[i].isa, levels[i].no_isa);
            if (!device) continue;
            double f32 = -1, int8 = -1;
            CHECK(!cpu_measure_peak(device->impl, &f32, &int8, &error), "%s", error.message);
            CHECK(plausible(f32) && plausible(int8), "%s, %u threads: %g flop/s, %g 8-bit op/s", levels[i].name,
                  threads, f32, int8);
            fprintf(stderr, "%s, %u threads: %.4g flop/s, %.4g 8-bit op/s\n", levels[i].name, threads, f32, int8);
            mlxn_device_release(&device);
        }
    for (uint32_t threads = 1; threads <= 2; threads++) {
        mlxn_device *device = open_device(threads, 0, 0);
        if (!device) continue;
        double rate = -1;
        CHECK(!cpu_measure_bandwidth(device->impl, &rate, &error), "%s", error.message);
        CHECK(plausible(rate), "%u threads: %g B/s", threads, rate);
        fprintf(stderr, "%u threads: %.4g B/s\n", threads, rate);
        mlxn_device_release(&device);
    }
    mlxn_device *device = open_device(2, 0, 0);
    if (device) {
        double f32 = -1, int8 = -1;
        mlxn_alloc_fail_at(1);
        mlxn_status status = cpu_measure_peak(device->impl, &f32, &int8, &error);
        mlxn_alloc_fail_at(0);
        CHECK(status == MLXN_ERR_MEMORY && f32 == 0 && int8 == 0, "status %d, %g, %g", status, f32, int8);
        mlxn_device_release(&device);
    }
    return TEST_DONE();
}
