/* blocks.h: gpt-oss as it was published: the experts' matrices are tensors of u8, mlp.experts.<stored>_blocks
 * [experts, rows, groups, 16] and <stored>_scales [experts, rows, groups], which have MLX's mxfp4 codes and scales;
 * rows of gates and ups alternate. The table is in source_folder.c. */
#ifndef MLXN_LM_BLOCKS_H
#define MLXN_LM_BLOCKS_H

#include <mlxn/io.h>

typedef struct mlxn_lm_block_part {
    const char *name, *stored; /* as the architecture names it, after MLXN_LM_BLOCKS_PREFIX; as the file does */
    uint32_t first, step;      /* its rows (of biases: elements) are first, first + step, … */
    bool matrix;               /* else a vector for each expert, [experts, rows] of floats, which is stored plainly */
} mlxn_lm_block_part;

enum { MLXN_LM_BLOCK_PARTS = 6 };
extern const mlxn_lm_block_part mlxn_lm_block_parts[MLXN_LM_BLOCK_PARTS];
#define MLXN_LM_BLOCKS_PREFIX "mlp.experts."

/* Whether config.json says that experts are kept so. */
bool mlxn_lm_config_has_blocks(const mlxn_config *config);

#endif
