/* driver.cc: a stand-in for the CUDA driver, libcuda.so.1: one device whose memory is the host's and whose kernels
 * run in emulate.cc, at once and one at a time. With it the tests of the CUDA backend, planner and kernels alike, run
 * on a machine without a GPU. It proves what kernels compute and where they write; not that a device runs them. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/emulate_launch.h"

namespace {

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, ALIGN = 256 };
const unsigned long long TOTAL = 16ull << 30;

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
int handle; /* what contexts, modules and streams point to */

double now_ms() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

template <typename T>
int give(T **out) {
    *out = reinterpret_cast<T *>(&handle);
    return OK;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {
int cuInit(unsigned) { return OK; }
int cuDriverGetVersion(int *version) { return *version = 13000, OK; }
int cuDeviceGetCount(int *count) { return *count = 1, OK; }
int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, ordinal ? INVALID : OK; }
int cuDeviceGetName(char *name, int size, int) {
    if (size < 16) return INVALID;
    strcpy(name, "emulated device");
    return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int) {
    *value = attribute == 16 ? 4 : attribute == 75 ? 9 : attribute == 97 ? 227 << 10 : 0;
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int) { return give(context); }
int cuDevicePrimaryCtxRelease_v2(int) { return OK; }
int cuCtxPushCurrent_v2(void *) { return OK; }
int cuCtxPopCurrent_v2(void **context) { return give(context); }
int cuMemGetInfo_v2(size_t *free, size_t *total) { return *free = *total = TOTAL, OK; }
int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
    void *memory = nullptr;
    if (bytes > TOTAL || posix_memalign(&memory, ALIGN, bytes)) return OUT_OF_MEMORY;
    memset(memory, 0xff, bytes);
    *address = (unsigned long long)memory;
    return OK;
}
int cuMemFree_v2(unsigned long long address) { return free((void *)address), OK; }
int cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    return posix_memalign(memory, ALIGN, bytes) ? OUT_OF_MEMORY : OK;
}
int cuMemFreeHost(void *memory) { return free(memory), OK; }
int cuMemHostRegister_v2(void *, size_t, unsigned) { return OK; }
int cuMemHostUnregister(void *) { return OK; }
int cuMemHostGetDevicePointer_v2(unsigned long long *address, void *memory, unsigned) {
    *address = (unsigned long long)memory;
    return OK;
}
int cuMemcpyHtoDAsync_v2(unsigned long long dst, const void *src, size_t bytes, void *) {
    return memcpy((void *)dst, src, bytes), OK;
}
int cuMemcpyDtoHAsync_v2(void *dst, unsigned long long src, size_t bytes, void *) {
    return memcpy(dst, (const void *)src, bytes), OK;
}
int cuMemcpyDtoDAsync_v2(unsigned long long dst, unsigned long long src, size_t bytes, void *) {
    return memmove((void *)dst, (const void *)src, bytes), OK;
}
int cuMemsetD8Async(unsigned long long dst, unsigned char value, size_t bytes, void *) {
    return memset((void *)dst, value, bytes), OK;
}
int cuStreamCreate(void **stream, unsigned) { return give(stream); }
int cuStreamDestroy_v2(void *) { return OK; }
int cuStreamSynchronize(void *) { return OK; }
int cuEventCreate(double **event, unsigned) { return *event = new double(0), OK; }
int cuEventDestroy_v2(double *event) { return delete event, OK; }
int cuEventRecord(double *event, void *) { return *event = now_ms(), OK; }
int cuEventSynchronize(double *) { return OK; }
int cuEventElapsedTime(float *milliseconds, const double *start, const double *end) {
    return *milliseconds = (float)(*end - *start), OK;
}
int cuModuleLoadData(void **module, const void *) { return give(module); }
int cuModuleUnload(void *) { return OK; }
int cuModuleGetFunction(void **function, void *, const char *name) {
    Dl_info self;
    if (!dladdr(&handle, &self)) return NOT_FOUND;
    void *library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *function = library ? dlsym(library, name) : nullptr;
    return *function ? OK : NOT_FOUND;
}
int cuFuncSetAttribute(void *, int, int) { return OK; }
int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, void *, void **arguments, void **) {
    const unsigned grid[3] = {grid_x, grid_y, grid_z}, block[3] = {block_x, block_y, block_z};
    pthread_mutex_lock(&lock);
    bool good = emulate_launch((void (*)(const void *))function, arguments[0], grid, block, shared_bytes);
    pthread_mutex_unlock(&lock);
    return good ? OK : INVALID;
}
int cuGetErrorName(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
    return OK;
}
int cuGetErrorString(int, const char **text) { return *text = "of the stand-in driver", OK; }
}
