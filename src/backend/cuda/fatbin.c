/* fatbin.c: the machine code of the kernels, as nvcc made it, in the read-only data of the library. */
#include "backend/cuda/device.h"

#ifdef MLXN_CUDA_FATBIN
__asm__(
    ".pushsection .rodata\n"
    ".balign 64\n"
    ".globl mlxn_cuda_fatbin_data\n"
    ".hidden mlxn_cuda_fatbin_data\n"
    "mlxn_cuda_fatbin_data:\n"
    ".incbin \"" MLXN_CUDA_FATBIN
    "\"\n"
    ".popsection\n");
extern const uint8_t mlxn_cuda_fatbin_data[];
const void *cuda_fatbin(void) { return mlxn_cuda_fatbin_data; }
#else
const void *cuda_fatbin(void) { return NULL; }
#endif
