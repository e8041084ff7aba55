/* driver.h: the few functions and types of the CUDA driver that the backend uses, declared after the public
 * documentation of the CUDA Driver API, so that the host code builds without the toolkit. The library libcuda.so.1
 * belongs to the driver of the machine; it is opened at run time, once per process, and stays open. */
#ifndef MLXN_SRC_CUDA_DRIVER_H
#define MLXN_SRC_CUDA_DRIVER_H

#include <mlxn/base.h>
#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;

/* Values of the API's enumerations. */
enum {
    CUDA_OK = 0,                      /* CUDA_SUCCESS */
    CUDA_OUT_OF_MEMORY = 2,           /* CUDA_ERROR_OUT_OF_MEMORY */
    CUDA_NO_DEVICE = 100,             /* CUDA_ERROR_NO_DEVICE */
    CUDA_ATTRIBUTE_PROCESSORS = 16,   /* CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT */
    CUDA_ATTRIBUTE_MAJOR = 75,        /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR */
    CUDA_ATTRIBUTE_MINOR = 76,        /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR */
    CUDA_ATTRIBUTE_SHARED = 97,       /* CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN */
    CUDA_FUNCTION_SHARED = 8,         /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
    CUDA_STREAM_NON_BLOCKING = 1,     /* CU_STREAM_NON_BLOCKING */
    CUDA_HOST_REGISTER_PORTABLE = 1,  /* CU_MEMHOSTREGISTER_PORTABLE */
    CUDA_HOST_REGISTER_DEVICEMAP = 2, /* CU_MEMHOSTREGISTER_DEVICEMAP */
    CUDA_HOST_REGISTER_READ_ONLY = 8  /* CU_MEMHOSTREGISTER_READ_ONLY */
};

/* X(member, symbol, result, parameters) */
#define CUDA_DRIVER_FUNCTIONS(X)                                                                                   \
    X(init, cuInit, (unsigned flags))                                                                              \
    X(driver_version, cuDriverGetVersion, (int *version))                                                          \
    X(device_count, cuDeviceGetCount, (int *count))                                                                \
    X(device_get, cuDeviceGet, (CUdevice * device, int ordinal))                                                   \
    X(device_name, cuDeviceGetName, (char *name, int size, CUdevice device))                                       \
    X(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                        \
    X(context_retain, cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                            \
    X(context_release, cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                            \
    X(context_push, cuCtxPushCurrent_v2, (CUcontext context))                                                      \
    X(context_pop, cuCtxPopCurrent_v2, (CUcontext * context))                                                      \
    X(memory_info, cuMemGetInfo_v2, (size_t * free, size_t * total))                                               \
    X(memory_alloc, cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                          \
    X(memory_free, cuMemFree_v2, (CUdeviceptr address))                                                            \
    X(host_alloc, cuMemHostAlloc, (void **memory, size_t bytes, unsigned flags))                                   \
    X(host_free, cuMemFreeHost, (void *memory))                                                                    \
    X(host_register, cuMemHostRegister_v2, (void *memory, size_t bytes, unsigned flags))                           \
    X(host_unregister, cuMemHostUnregister, (void *memory))                                                        \
    X(host_address, cuMemHostGetDevicePointer_v2, (CUdeviceptr * address, void *memory, unsigned flags))           \
    X(copy_in, cuMemcpyHtoDAsync_v2, (CUdeviceptr dst, const void *src, size_t bytes, CUstream stream))            \
    X(copy_out, cuMemcpyDtoHAsync_v2, (void *dst, CUdeviceptr src, size_t bytes, CUstream stream))                 \
    X(copy_within, cuMemcpyDtoDAsync_v2, (CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream))        \
    X(fill, cuMemsetD8Async, (CUdeviceptr dst, unsigned char value, size_t bytes, CUstream stream))                \
    X(stream_create, cuStreamCreate, (CUstream * stream, unsigned flags))                                          \
    X(stream_destroy, cuStreamDestroy_v2, (CUstream stream))                                                       \
    X(stream_wait, cuStreamSynchronize, (CUstream stream))                                                         \
    X(event_create, cuEventCreate, (CUevent * event, unsigned flags))                                              \
    X(event_destroy, cuEventDestroy_v2, (CUevent event))                                                           \
    X(event_record, cuEventRecord, (CUevent event, CUstream stream))                                               \
    X(event_wait, cuEventSynchronize, (CUevent event))                                                             \
    X(event_elapsed, cuEventElapsedTime, (float *milliseconds, CUevent start, CUevent end))                        \
    X(module_load, cuModuleLoadData, (CUmodule * module, const void *image))                                       \
    X(module_unload, cuModuleUnload, (CUmodule module))                                                            \
    X(module_function, cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))            \
    X(function_set, cuFuncSetAttribute, (CUfunction function, int attribute, int value))                           \
    X(launch, cuLaunchKernel,                                                                                      \
      (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
       unsigned block_z, unsigned shared_bytes, CUstream stream, void **arguments, void **extra))                  \
    X(error_name, cuGetErrorName, (CUresult error, const char **text))                                             \
    X(error_text, cuGetErrorString, (CUresult error, const char **text))

typedef struct cuda_driver {
#define X(member, symbol, parameters) CUresult(*member) parameters;
    CUDA_DRIVER_FUNCTIONS(X)
#undef X
} cuda_driver;

/* Opens and starts the driver at the first call. NULL with a reason and its cure in *error if there is none. Any
 * thread. */
const cuda_driver *cuda_driver_open(mlxn_error *error);
/* `what` names the failed call of the backend; the status is MEMORY for lack of memory, else `status`. */
mlxn_status cuda_fail(const cuda_driver *driver, CUresult code, mlxn_status status, const char *what,
                      mlxn_error *error);

#endif
