/* fatbin.c: stands in for the machine code of the kernels, which the stand-in driver does not look at; a build
 * without nvcc runs these tests too. */
#include "backend/cuda/device.h"

const void *cuda_fatbin(void) { return "emulated"; }
