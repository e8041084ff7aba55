/* device.h: the CUDA device, its memory, queues and programs, shared by the files of this folder. */
#ifndef MLXN_SRC_CUDA_DEVICE_H
#define MLXN_SRC_CUDA_DEVICE_H

#include "backend/cuda/pin.h"
#include "core/host_queue.h"

/* The kernels of the library, in the order of kernels.def. */
enum cuda_kernel_id {
#define CUDA_KERNEL(name) CUDA_KERNEL_##name,
#include "backend/cuda/kernels.def"
#undef CUDA_KERNEL
    CUDA_KERNEL_COUNT
};

enum { CUDA_ARGUMENT_BYTES = 2560, CUDA_BLOCK = 256, CUDA_STAGING_BYTES = 4 << 20 };

/* One launch: the kernel takes one struct by value. */
typedef struct cuda_launch {
    enum cuda_kernel_id kernel;
    uint32_t grid[3], block[3], shared_bytes;
    _Alignas(16) uint8_t arguments[CUDA_ARGUMENT_BYTES];
} cuda_launch;

typedef struct cuda_device cuda_device;
/* The entry of a row: plans a launch. args are the views of a dispatch whose data are addresses of the device. */
typedef void (*cuda_plan_fn)(const mlxn_view *args, const void *params, const cuda_device *device, cuda_launch *out);

/* A row that serves both precisions; every row of this backend computes in binary32. */
#define CUDA_ROW(op_name, row_name, fits_fn, plan_fn)                                                     \
    {                                                                                                     \
        .op = MLXN_OP_##op_name, .name = row_name, .fits = fits_fn,                                       \
        .precision = 1u << MLXN_PRECISION_FAST | 1u << MLXN_PRECISION_F32, .entry = (const void *)plan_fn \
    }
/* The rows of the families; each list ends with a row without a name. */
extern const mlxn_kernel_row cuda_attention_rows[], cuda_copy_rows[], cuda_elementwise_rows[], cuda_map_rows[],
    cuda_matmul_rows[], cuda_move_rows[], cuda_rope_rows[], cuda_row_rows[];

/* The storage of a buffer. Of memory that was wrapped, `address` is found at its first use by the device. */
typedef struct cuda_memory {
    CUdeviceptr address;      /* 0: none yet */
    uint8_t *host;            /* wrapped memory, else NULL */
    uint64_t bytes;           /* as asked for */
    uint64_t room;            /* of the block; 0 if wrapped */
    cuda_pin *pin;            /* of wrapped memory that the device reaches */
    struct cuda_memory *next; /* in the pool */
} cuda_memory;

struct cuda_device {
    mlxn_device *owner;
    const cuda_driver *driver;
    CUdevice ordinal;
    CUcontext context; /* the primary one, retained */
    CUmodule module;
    CUfunction functions[CUDA_KERNEL_COUNT];
    uint32_t processors;
    uint32_t shared_bytes; /* that the threads of a block may share */
    char name[160];
    uint64_t memory_total;

    pthread_mutex_t pool_lock; /* the pool, and registrations of wrapped memory */
    cuda_memory *pool;         /* free blocks */
    uint64_t pool_bytes;

    pthread_mutex_t transfer_lock; /* what follows: copies between host and device, outside queues */
    CUstream transfer;
    uint8_t *staging[2]; /* pinned, CUDA_STAGING_BYTES each; NULL until the first copy */
    CUevent staged[2];

    pthread_mutex_t grid_lock;
    cuda_memory *grids; /* tables of the IQ formats (weight.c); NULL until a weight wants them */
};

/* Threads for `items` pieces of work of a kernel that goes on where a grid ends. */
static inline void cuda_launch_threads(cuda_launch *launch, uint64_t items, const cuda_device *device) {
    launch->block[0] = CUDA_BLOCK;
    launch->grid[0] =
        (uint32_t)mlxn_min_u64((items + CUDA_BLOCK - 1) / CUDA_BLOCK, (uint64_t)device->processors * 32);
}

typedef struct cuda_item {
    const mlxn_node *node;
    cuda_launch launch; /* of dispatches */
} cuda_item;

typedef struct cuda_program {
    cuda_item *items; /* one for each node */
    size_t count, capacity;
} cuda_program;

typedef struct cuda_queue {
    cuda_device *device;
    CUstream stream;
    CUevent before, after; /* of the node that is timed */
    void *host;            /* the software queue, which orders command buffers and waits for timelines */
} cuda_queue;

/* Makes the device's context the thread's until cuda_leave. Errors: DEVICE. */
mlxn_status cuda_enter(const cuda_device *device, mlxn_error *error);
void cuda_leave(const cuda_device *device);

/* memory.c: the functions of the backend (backend.h) */
mlxn_status cuda_memory_create(void *impl, uint64_t bytes, void **storage, void **host, mlxn_error *error);
void cuda_memory_destroy(void *impl, void *storage, uint64_t bytes);
mlxn_status cuda_memory_wrap(void *impl, void *memory, uint64_t bytes, void **storage, void **host,
                             mlxn_error *error);
void cuda_memory_unwrap(void *impl, void *storage);
mlxn_status cuda_memory_read(void *impl, void *storage, uint64_t offset, void *dst, uint64_t bytes,
                             mlxn_error *error);
mlxn_status cuda_memory_write(void *impl, void *storage, uint64_t offset, const void *src, uint64_t bytes,
                              mlxn_error *error);
/* Lets the device reach the memory: pins and maps what was wrapped. Errors: DEVICE, MEMORY. */
mlxn_status cuda_memory_reach(cuda_device *device, cuda_memory *memory, mlxn_error *error);
void cuda_memory_close(cuda_device *device); /* frees the pool and the staging memory; in the context */

/* program.c */
mlxn_status cuda_program_create(void *impl, const mlxn_node *nodes, size_t n, void **program, mlxn_error *error);
void cuda_program_destroy(void *impl, void *program);

/* kernels.c */
const mlxn_kernel_row *cuda_kernel_rows(size_t *count);
/* fatbin.c: the machine code of all kernels; NULL if the build had no nvcc. */
const void *cuda_fatbin(void);

#endif
