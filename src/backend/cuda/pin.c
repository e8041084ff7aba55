/* pin.c: pinned ranges of host memory, counted. They belong to the process as the driver's own list does: one memory
 * may be wrapped for several devices. */
#include "backend/cuda/pin.h"

#include <pthread.h>

#include "base/base.h"

struct cuda_pin {
    uint8_t *start, *end;
    uint32_t refs;
    cuda_pin *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cuda_pin *pins;

/* With the lock held. */
static CUresult pin(const cuda_driver *driver, uint8_t *memory, uint64_t bytes, cuda_pin **out) {
    for (cuda_pin *p = pins; p; p = p->next)
        if (p->start <= memory && memory + bytes <= p->end) {
            p->refs++;
            *out = p;
            return CUDA_OK;
        }
    cuda_pin *fresh = mlxn_alloc(sizeof *fresh);
    if (!fresh) return CUDA_OUT_OF_MEMORY;
    unsigned flags = CUDA_HOST_REGISTER_PORTABLE | CUDA_HOST_REGISTER_DEVICEMAP;
    CUresult code = driver->host_register(memory, (size_t)bytes, flags);
    /* Pages that the process may only read, such as those of a mapped file. */
    if (code && code != CUDA_OUT_OF_MEMORY)
        code = driver->host_register(memory, (size_t)bytes, flags | CUDA_HOST_REGISTER_READ_ONLY);
    if (code) {
        mlxn_free(fresh);
        return code;
    }
    *fresh = (cuda_pin){.start = memory, .end = memory + bytes, .refs = 1, .next = pins};
    *out = pins = fresh;
    return CUDA_OK;
}

/* With the lock held. */
static void unpin(const cuda_driver *driver, cuda_pin *p) {
    if (--p->refs) return;
    cuda_pin **at = &pins;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    driver->host_unregister(p->start);
    mlxn_free(p);
}

mlxn_status cuda_pin_acquire(const cuda_driver *driver, void *memory, uint64_t bytes, cuda_pin **out,
                             CUdeviceptr *address, mlxn_error *error) {
    *out = NULL;
    pthread_mutex_lock(&lock);
    CUresult code = pin(driver, memory, bytes, out);
    if (!code) {
        code = driver->host_address(address, memory, 0);
        if (code) {
            unpin(driver, *out);
            *out = NULL;
        }
    }
    pthread_mutex_unlock(&lock);
    if (!code) return MLXN_OK;
    return cuda_fail(driver, code, MLXN_ERR_DEVICE,
                     "wrapped memory cannot be mapped for the device; copy it into a buffer of the device", error);
}

void cuda_pin_release(const cuda_driver *driver, cuda_pin *p) {
    pthread_mutex_lock(&lock);
    unpin(driver, p);
    pthread_mutex_unlock(&lock);
}
