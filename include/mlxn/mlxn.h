/* mlxn/mlxn.h: the whole of libmlxn. Model files (io.h) and language models (lm.h) are in libmlxn-lm. */
#ifndef MLXN_MLXN_H
#define MLXN_MLXN_H

#include <mlxn/base.h>
#include <mlxn/buffer.h>
#include <mlxn/device.h>
#include <mlxn/encoder.h>
#include <mlxn/executor.h>
#include <mlxn/graph.h>
#include <mlxn/kernel.h>
#include <mlxn/kv.h>
#include <mlxn/ops.h>
#include <mlxn/profile.h>
#include <mlxn/quant.h>
#include <mlxn/session.h>
#include <mlxn/turboquant.h>

#endif
