/* backend.h: the null backend: records what it is told as text and computes nothing. */
#ifndef MLXN_SRC_NULL_BACKEND_H
#define MLXN_SRC_NULL_BACKEND_H

#include "core/backend.h"

extern const mlxn_backend mlxn_backend_null;

#endif
