/* profile.h: what the files of `mlxn profile` share: the two measured phases and how they are shown. */
#ifndef MLXN_CLI_PROFILE_H
#define MLXN_CLI_PROFILE_H

#include "cli.h"

/* One row of a phase: operations of one op and kernel. */
typedef struct profile_op {
    const char *op, *kernel;
    uint64_t calls;
    double ns; /* of the phase's time; where operations run side by side, each has an equal part of it */
    uint64_t busy_ns, min_ns, max_ns;
    double bytes, flops, int8_ops;
} profile_op;

typedef struct profile_stage {
    const char *label;
    uint64_t count, total_ns, min_ns, max_ns, busy_ns;
    double bytes, flops;
} profile_stage;

enum { PROFILE_PHASES = 2, PROFILE_MOST_OPS = 256, PROFILE_MOST_STAGES = 64 };

typedef struct profile_phase {
    const char *name;
    uint64_t tokens;
    uint64_t wall_ns, begun_ns; /* of the calls, on the host */
    uint64_t active_ns;         /* with at least one operation running; the rest of wall_ns are gaps */
    mlxn_profile_event *events; /* in order of start, command buffers before their operations */
    uint64_t n_events;
    profile_op ops[PROFILE_MOST_OPS]; /* largest time first */
    uint32_t n_ops;
    profile_stage stages[PROFILE_MOST_STAGES]; /* largest time first */
    uint32_t n_stages;
} profile_phase;

typedef struct profile_result {
    const cli_options *options;
    const cli_runtime *runtime;
    mlxn_device_info device;
    mlxn_device_roofs roofs;
    mlxn_profiler *profiler;
    uint64_t dropped;
    char date[32];
    profile_phase phases[PROFILE_PHASES];
} profile_result;

/* profile_sums.c: rows and stages from the events. False: out of memory. */
bool profile_sum(profile_phase *phase);
/* Seconds that the roofs allow at least: the larger of bytes at the bandwidth and operations at the peak of what the
 * kernel computes with. 0 if nothing is known. */
double profile_least_seconds(const profile_result *result, const profile_op *op);

/* profile_report.c */
void profile_print(const profile_result *result);
json_t *profile_json(const profile_result *result);

/* profile_page.c: one page with everything in it. Returns an exit code. */
int profile_write_page(const profile_result *result, const char *path);

#endif
