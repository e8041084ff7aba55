/* emulate_launch.h: runs a kernel on the host. */
#ifndef MLXN_TESTS_GPU_EMULATE_LAUNCH_H
#define MLXN_TESTS_GPU_EMULATE_LAUNCH_H

/* All blocks, one after the other; one launch at a time. False: a size that no device takes. */
bool emulate_launch(void (*kernel)(const void *), const void *args, const unsigned grid[3], const unsigned block[3],
                    unsigned shared_bytes);

#endif
