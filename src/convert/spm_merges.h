/* spm_merges.h: the merges that a SentencePiece vocabulary with scores stands for. */
#ifndef MLXN_SRC_CONVERT_SPM_MERGES_H
#define MLXN_SRC_CONVERT_SPM_MERGES_H

#include <mlxn/io.h>

#include "io/out_file.h"

/* Appends the pairs as JSON, ["left","right"],…: of every token each way to make it of two others; in the order in
 * which they are joined: by score, then the longer left side, then the longer right side. Errors: FORMAT (no scores),
 * MEMORY. */
mlxn_status mlxn_spm_merges(const mlxn_gguf *file, const mlxn_string *tokens, uint64_t n, mlxn_bytes *to,
                            mlxn_error *error);

#endif
