/* profile_sums.c: from the events of a phase to its rows, stages and gaps. */
#include <stdlib.h>
#include <string.h>

#include "profile.h"

/* A moment at which an operation begins or ends. */
typedef struct moment {
    uint64_t ns;
    uint32_t event;
    bool end;
} moment;

static int compare_moments(const void *a, const void *b) {
    const moment *x = a, *y = b;
    if (x->ns != y->ns) return x->ns < y->ns ? -1 : 1;
    return (int)x->end - (int)y->end; /* of no length: begins before it ends */
}

/* Equal names have one pointer within a profiler, but for literals of kernels, which may not: compare the text. */
static profile_op *find_op(profile_phase *phase, const mlxn_profile_event *e) {
    for (uint32_t i = 0; i < phase->n_ops; i++)
        if (!strcmp(phase->ops[i].op, e->op) && !strcmp(phase->ops[i].kernel, e->kernel)) return &phase->ops[i];
    if (phase->n_ops == PROFILE_MOST_OPS) return &phase->ops[PROFILE_MOST_OPS - 1];
    profile_op *op = &phase->ops[phase->n_ops++];
    *op = (profile_op){.op = e->op, .kernel = e->kernel, .min_ns = UINT64_MAX};
    return op;
}

static void add_op(profile_phase *phase, const mlxn_profile_event *e, double ns) {
    profile_op *op = find_op(phase, e);
    uint64_t length = e->end_ns - e->start_ns;
    op->calls++;
    op->ns += ns;
    op->busy_ns += e->busy_ns;
    op->min_ns = length < op->min_ns ? length : op->min_ns;
    op->max_ns = length > op->max_ns ? length : op->max_ns;
    op->bytes += e->bytes;
    op->flops += e->flops;
    op->int8_ops += e->int8_ops;
}

static void add_stage(profile_phase *phase, const mlxn_profile_event *e) {
    uint32_t i = 0;
    while (i < phase->n_stages && strcmp(phase->stages[i].label, e->label) != 0) i++;
    if (i == PROFILE_MOST_STAGES) i--; /* the last one holds the rest */
    if (i == phase->n_stages) {
        phase->n_stages++;
        phase->stages[i] =
            (profile_stage){.label = i + 1 < PROFILE_MOST_STAGES ? e->label : "(other)", .min_ns = UINT64_MAX};
    }
    profile_stage *stage = &phase->stages[i];
    uint64_t length = e->end_ns - e->start_ns;
    stage->count++;
    stage->total_ns += length;
    stage->busy_ns += e->busy_ns;
    stage->min_ns = length < stage->min_ns ? length : stage->min_ns;
    stage->max_ns = length > stage->max_ns ? length : stage->max_ns;
    stage->bytes += e->bytes;
    stage->flops += e->flops;
}

static int compare_ops(const void *a, const void *b) {
    const profile_op *x = a, *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

static int compare_stages(const void *a, const void *b) {
    const profile_stage *x = a, *y = b;
    return x->total_ns < y->total_ns ? 1 : x->total_ns > y->total_ns ? -1 : 0;
}

static int compare_events(const void *a, const void *b) {
    const mlxn_profile_event *x = a, *y = b;
    if (x->start_ns != y->start_ns) return x->start_ns < y->start_ns ? -1 : 1;
    if (x->kind != y->kind) return x->kind == MLXN_PROFILE_COMMAND_BUFFER ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Walks through time: while k operations run, each gets a k-th of what passes. */
static void share_time(profile_phase *phase, const moment *moments, size_t n, double *at_start) {
    double given = 0; /* to every operation that ran all the time so far */
    uint64_t running = 0, last = 0;
    for (size_t i = 0; i < n; i++) {
        const moment *m = &moments[i];
        if (running) {
            given += (double)(m->ns - last) / (double)running;
            phase->active_ns += m->ns - last;
        }
        last = m->ns;
        if (m->end) {
            running--;
            add_op(phase, &phase->events[m->event], given - at_start[m->event]);
        } else {
            running++;
            at_start[m->event] = given;
        }
    }
}

bool profile_sum(profile_phase *phase) {
    uint64_t n = phase->n_events;
    moment *moments = calloc(n ? 2 * n : 1, sizeof *moments);
    double *at_start = calloc(n ? n : 1, sizeof *at_start);
    if (moments && at_start) {
        if (n) qsort(phase->events, n, sizeof *phase->events, compare_events);
        size_t used = 0;
        for (uint64_t i = 0; i < n; i++) {
            const mlxn_profile_event *e = &phase->events[i];
            if (e->kind == MLXN_PROFILE_COMMAND_BUFFER) {
                add_stage(phase, e);
                continue;
            }
            moments[used++] = (moment){e->start_ns, (uint32_t)i, false};
            moments[used++] = (moment){e->end_ns, (uint32_t)i, true};
        }
        qsort(moments, used, sizeof *moments, compare_moments);
        share_time(phase, moments, used, at_start);
        qsort(phase->ops, phase->n_ops, sizeof *phase->ops, compare_ops);
        qsort(phase->stages, phase->n_stages, sizeof *phase->stages, compare_stages);
    }
    bool good = moments && at_start;
    free(moments);
    free(at_start);
    return good;
}

double profile_least_seconds(const profile_result *result, const profile_op *op) {
    const mlxn_device_roofs *roofs = &result->roofs;
    double memory = roofs->bytes_per_second > 0 ? op->bytes / roofs->bytes_per_second : 0, compute = 0;
    if (op->int8_ops > 0 && roofs->int8_ops > 0)
        compute = op->int8_ops / roofs->int8_ops;
    else if (roofs->f32_flops > 0)
        compute = op->flops / roofs->f32_flops;
    return memory > compute ? memory : compute;
}
