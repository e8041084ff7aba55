/* driver.c: opens the CUDA driver. */
#include "backend/cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>

#include "base/base.h"

static struct {
    pthread_once_t once;
    bool good;
    cuda_driver calls;
    mlxn_error error;
} opened = {.once = PTHREAD_ONCE_INIT};

static void open_once(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        mlxn_fail(
            &opened.error, MLXN_ERR_DEVICE,
            "cuda: libcuda.so.1 cannot be opened (%s): install the driver of the NVIDIA GPU, or use the cpu device",
            dlerror());
        return;
    }
    const char *missing = NULL;
    /* POSIX lets an object pointer hold a function's address. */
#define X(member, symbol, parameters)                                 \
    *(void **)(void *)&opened.calls.member = dlsym(library, #symbol); \
    if (!opened.calls.member && !missing) missing = #symbol;
    CUDA_DRIVER_FUNCTIONS(X)
#undef X
    if (missing) {
        mlxn_fail(&opened.error, MLXN_ERR_DEVICE,
                  "cuda: libcuda.so.1 has no function %s: the driver is too old, update it, or use the cpu device",
                  missing);
        return;
    }
    CUresult code = opened.calls.init(0);
    if (code == CUDA_NO_DEVICE) {
        mlxn_fail_code(
            &opened.error, MLXN_ERR_DEVICE, code,
            "cuda: the driver finds no NVIDIA GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use the "
            "cpu device");
        return;
    }
    if (code) {
        cuda_fail(&opened.calls, code, MLXN_ERR_DEVICE, "the driver does not start (look at nvidia-smi)",
                  &opened.error);
        return;
    }
    opened.good = true;
}

const cuda_driver *cuda_driver_open(mlxn_error *error) {
    pthread_once(&opened.once, open_once);
    if (opened.good) return &opened.calls;
    if (error) *error = opened.error;
    return NULL;
}

mlxn_status cuda_fail(const cuda_driver *driver, CUresult code, mlxn_status status, const char *what,
                      mlxn_error *error) {
    const char *name = NULL, *text = NULL;
    if (driver->error_name(code, &name) || !name) name = "an unknown error";
    if (driver->error_text(code, &text) || !text) text = "no text";
    if (code == CUDA_OUT_OF_MEMORY) status = MLXN_ERR_MEMORY;
    return mlxn_fail_code(error, status, code, "cuda: %s: %s (%s)", what, name, text);
}
