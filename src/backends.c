/* backends.c: the one file that names concrete backends, in order of preference. */
#include "backend/cpu/backend.h"
#include "backend/cuda/backend.h"
#include "backend/null/backend.h"

const mlxn_backend *const mlxn_backends[] = {&mlxn_backend_cpu, &mlxn_backend_cuda, &mlxn_backend_null, NULL};
