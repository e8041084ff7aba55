/* kernel.h: a prepared kernel of the user's own, as core and backends see it. */
#ifndef MLXN_SRC_KERNEL_H
#define MLXN_SRC_KERNEL_H

#include <mlxn/kernel.h>
#include <stdatomic.h>

struct mlxn_kernel {
    _Atomic uint32_t refs;
    mlxn_device *device; /* retained */
    char *name, *label;
    char *text;        /* source, NULL if there is none */
    mlxn_kernel_fn fn; /* NULL if there is none */
    void *user;
    mlxn_constant *constants; /* by ascending index */
    uint32_t n_constants;
    void *prepared; /* the backend's */
};

enum { MLXN_MAX_SLOTS = 32, MLXN_MAX_INLINE = 4096, MLXN_MAX_GROUP = 1024 };

#endif
