/* test.h: the few macros that test programs share. A program ends with `return TEST_DONE();`: exit 0 if all passed.
 */
#ifndef MLXN_TESTS_TEST_H
#define MLXN_TESTS_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_failures, test_checks, test_skips;

/* CHECK(condition) or CHECK(condition, format, ...): the space keeps compilers from warning of an empty format. */
#define CHECK(cond, ...)                                                      \
    do {                                                                      \
        test_checks++;                                                        \
        if (!(cond)) {                                                        \
            test_failures++;                                                  \
            fprintf(stderr, "%s:%d: FAILED: %s:", __FILE__, __LINE__, #cond); \
            fprintf(stderr, " " __VA_ARGS__);                                 \
            fprintf(stderr, "\n");                                            \
        }                                                                     \
    } while (0)

#define TEST_DONE()                                                                                 \
    (fprintf(stderr, "%d checks, %d failed, %d skipped\n", test_checks, test_failures, test_skips), \
     test_failures ? 1 : 0)

#endif
