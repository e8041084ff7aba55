/* backend.h: the CPU backend. */
#ifndef MLXN_SRC_CPU_BACKEND_H
#define MLXN_SRC_CPU_BACKEND_H

#include "core/backend.h"

extern const mlxn_backend mlxn_backend_cpu;

#endif
