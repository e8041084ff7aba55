/* backend.h: the fault backend: the CPU backend, whose k-th call that may fail does fail. For tests: it is not in the
 * list of backends, a test puts it into mlxn_backend_extra (core/backend.h). */
#ifndef MLXN_SRC_FAULT_BACKEND_H
#define MLXN_SRC_FAULT_BACKEND_H

#include "core/backend.h"

extern const mlxn_backend mlxn_backend_fault;

/* The k-th call from now fails with MLXN_ERR_DEVICE (1 = the next, 0 = none). Returns the number of calls so far. A
 * submission counts twice: as a call, and as the execution of that command buffer, which fails after its work was
 * accepted. */
uint64_t mlxn_fault_at(uint64_t k);

#endif
