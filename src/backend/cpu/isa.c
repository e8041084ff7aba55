/* isa.c: what this machine's processor can do, and how it is called. */
#define _GNU_SOURCE
#include <stdio.h>
#include <unistd.h>

#include "backend/cpu/device.h"

#if defined(__linux__)
#include <sched.h>
#endif

uint32_t cpu_detect_isa(void) {
    uint32_t isa = 0;
#if defined(__x86_64__) && !defined(MLXN_CPU_BASE_ONLY)
    /* The compiler's run-time checks the operating system's support for the wide registers too. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
        __builtin_cpu_supports("f16c")) {
        isa |= MLXN_ISA_AVX2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
            isa |= MLXN_ISA_AVX512;
            if (__builtin_cpu_supports("avx512vnni")) isa |= MLXN_ISA_VNNI;
        }
    }
#endif
    return isa;
}

void cpu_detect_name(char *out, size_t size) {
    snprintf(out, size, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "model name", 10)) continue;
        char *value = strchr(line, ':');
        if (!value) continue;
        value += strspn(value, ": \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(out, size, "%s", value);
        break;
    }
    fclose(file);
}

uint32_t cpu_available_cores(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) {
        int n = CPU_COUNT(&set);
        if (n > 0) return (uint32_t)n;
    }
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

/* The system's figure, because processors name either the cache of a core complex or that of the whole package. */
static uint64_t cache_bytes(void) {
    uint64_t largest = 0;
#if defined(__linux__)
    for (int i = 0; i < 8; i++) {
        char path[96], unit = 0;
        unsigned long long n = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        FILE *file = fopen(path, "r");
        if (!file) break;
        const int found = fscanf(file, "%llu%c", &n, &unit);
        fclose(file);
        if (found < 1 || n > UINT64_MAX >> 20) continue;
        largest = mlxn_max_u64(largest, unit == 'M' ? n << 20 : unit == 'K' ? n << 10 : n);
    }
#endif
    return largest ? largest : (uint64_t)32 << 20;
}

uint64_t cpu_cache_bytes(void) {
    static _Atomic uint64_t known;
    uint64_t bytes = atomic_load_explicit(&known, memory_order_relaxed);
    if (!bytes) {
        bytes = cache_bytes();
        atomic_store_explicit(&known, bytes, memory_order_relaxed);
    }
    return bytes;
}
