/* check.h: what the files of the program `check` share. */
#ifndef MLXN_TESTS_CHECK_H
#define MLXN_TESTS_CHECK_H

#include <stdio.h>

#include "core/core.h"
#include "ops/case.h"

/* print.c */
void check_print_header(FILE *out);
void check_print_typed(FILE *out);
int check_verify_header(const char *source); /* 0 if both files are current */

#endif
