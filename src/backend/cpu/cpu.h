/* cpu.h: how kernels of the CPU backend look and how they share work.
 *
 * A kernel is one row: op, name, instruction sets, a `fits` test, a plan and a body. The body runs on every thread
 * that helps, once per phase, and takes chunks of work with cpu_next until none are left; a barrier separates
 * phases. Results must not depend on which thread takes which chunk. */
#ifndef MLXN_SRC_CPU_H
#define MLXN_SRC_CPU_H

#include <stdatomic.h>

#include "ops/op.h"

enum { CPU_MAX_PHASES = 3 };

typedef struct cpu_plan {
    uint32_t phases;                 /* 1 to CPU_MAX_PHASES */
    uint64_t chunks[CPU_MAX_PHASES]; /* pieces of work per phase; 1 = not worth sharing */
    uint64_t shared_bytes;           /* scratch seen by all threads, kept over the phases, 64-byte aligned */
    uint64_t local_bytes;            /* scratch of each thread, 64-byte aligned, undefined at the start of a phase */
} cpu_plan;

typedef struct cpu_run {
    const mlxn_view *args; /* in the order of the op's argument table; absent optionals have present == false */
    const void *params;
    uint32_t thread, n_threads, phase;
    void *shared;
    void *local;
    uint64_t chunks; /* of this phase */
    _Atomic uint64_t *next;
    /* A reference that runs out of memory stores its name and its mlxn_status here, in this order. */
    const char *_Atomic *failed_operation;
    _Atomic int *failure;
} cpu_run;

/* Takes one chunk: true and its number, false when the phase has none left. */
static inline bool cpu_next(cpu_run *run, uint64_t *chunk) {
    uint64_t c = atomic_fetch_add_explicit(run->next, 1, memory_order_relaxed);
    *chunk = c;
    return c < run->chunks;
}

/* Bytes of the last-level cache that the first processor sees, 32 MiB where the system does not say. */
uint64_t cpu_cache_bytes(void);

/* The gate HF2Q_TQ_NWG (docs/ENVIRONMENT.md): splits of attention over TurboQuant caches, 0 = by length alone. */
uint32_t cpu_tq_groups(void);
/* HF2Q_MM_ID_ROUTING_THRESHOLD: rows of an expert-routed product from which they are sorted by matrix. */
uint32_t cpu_mm_id_threshold(void);

/* Bits of `precision`: which device settings the row may serve. */
enum { CPU_FAST = 1, CPU_F32 = 2, CPU_ANY = 3 };

typedef struct cpu_kernel {
    uint32_t op;        /* MLXN_OP_… */
    const char *name;   /* "rms_norm_avx512" */
    uint32_t isa;       /* MLXN_ISA_* bits that must be present */
    uint32_t precision; /* CPU_FAST, CPU_F32 or CPU_ANY */
    bool (*fits)(const mlxn_view *args, const void *params);
    void (*plan)(const mlxn_view *args, const void *params, uint32_t n_threads, cpu_plan *out);
    void (*run)(cpu_run *run);
} cpu_kernel;

/* A table of rows, fastest first; tables end with a row whose name is NULL. Kernel files under kernels/ are compiled
 * once per instruction-set level with CPU_ISA_LEVEL defined as 0 (base), 1 (AVX2) or 2 (AVX-512 F/BW/DQ/VL) and
 * 3 (level 2 + VNNI, matmul files only); CPU_ISA(name) gives each copy its own symbol. */
#define CPU_CAT2(a, b) a##b
#define CPU_CAT(a, b) CPU_CAT2(a, b)
#if defined(CPU_ISA_LEVEL)
#if CPU_ISA_LEVEL == 0
#define CPU_ISA(name) name##_base
#define CPU_ISA_BITS 0
#define CPU_ISA_SUFFIX "base"
#elif CPU_ISA_LEVEL == 1
#define CPU_ISA(name) name##_avx2
#define CPU_ISA_BITS MLXN_ISA_AVX2
#define CPU_ISA_SUFFIX "avx2"
#elif CPU_ISA_LEVEL == 2
#define CPU_ISA(name) name##_avx512
#define CPU_ISA_BITS (MLXN_ISA_AVX2 | MLXN_ISA_AVX512)
#define CPU_ISA_SUFFIX "avx512"
#elif CPU_ISA_LEVEL == 3
#define CPU_ISA(name) name##_vnni
#define CPU_ISA_BITS (MLXN_ISA_AVX2 | MLXN_ISA_AVX512 | MLXN_ISA_VNNI)
#define CPU_ISA_SUFFIX "vnni"
#endif
#endif

/* Weights (weight.c): builds the packed layout that the matmul and embedding kernels read. `raw` describes the
 * source; fills packed, packed_bytes and read_row of *out. `parallel` runs fn(arg, chunk) for every chunk on the
 * device's threads and returns when all are done. */
typedef struct cpu_device cpu_device;
void cpu_parallel(cpu_device *device, uint64_t chunks, void (*fn)(void *arg, uint64_t chunk), void *arg);
/* Large zeroed memory for packed weights; huge pages where the system grants them. */
void *cpu_slab_alloc(cpu_device *device, uint64_t bytes, void **slab);
void cpu_slab_free(cpu_device *device, void *slab);
struct mlxn_weight_progress;
mlxn_status cpu_weight_pack(cpu_device *device, const mlxn_weight_view *raw,
                            const struct mlxn_weight_progress *progress, mlxn_weight_view *out, void **slab,
                            mlxn_error *error);
/* The bytes that packing takes. */
mlxn_status cpu_weight_bytes(const mlxn_weight_view *raw, uint64_t *out, mlxn_error *error);

#endif
