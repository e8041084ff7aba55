/* resample.h: checks that operations on windows of images share with their gradients. */
#ifndef MLXN_SRC_OPS_RESAMPLE_H
#define MLXN_SRC_OPS_RESAMPLE_H

#include "ops/op.h"

/* That `pooled`, called so in messages, has the dims that pool2d gives for `image`: [N, H, W, C]. */
mlxn_status mlxn_check_pool2d(const mlxn_pool2d_params *p, const mlxn_view *image, const char *name,
                              const mlxn_view *pooled, mlxn_error *error);
/* That `columns`, called so in messages, has the dims that im2col gives for `image`: [N, H, W, C]. */
mlxn_status mlxn_check_im2col(const mlxn_im2col_params *p, const mlxn_view *image, const char *name,
                              const mlxn_view *columns, mlxn_error *error);

#endif
