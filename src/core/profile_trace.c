/* profile_trace.c: a profiler's events in the trace event format of Chrome, which Perfetto opens too: JSON objects
 * with "ph" (X: an event with a duration, i: an instant, M: a name), "ts" and "dur" in microseconds.
 *
 * Events of one track must not overlap, so the operations of a queue spread over as many tracks as run side by side.
 */
#include <stdio.h>

#include "core/profile.h"

enum { MOST_LANES = 64, TRACKS = MOST_LANES + 1 };

/* A JSON string. What is no UTF-8 becomes U+FFFD: labels hold whatever their caller put there. */
static void put_text(FILE *file, const char *text) {
    putc('"', file);
    for (const uint8_t *c = (const uint8_t *)text; *c;) {
        if (*c == '"' || *c == '\\') {
            fprintf(file, "\\%c", *c++);
        } else if (*c < 0x20 || *c == 0x7f || *c == '<') { /* '<' so that a page may hold the trace in a script */
            fprintf(file, "\\u%04x", *c++);
        } else if (*c < 0x80) {
            putc(*c++, file);
        } else {
            uint32_t n = *c >= 0xf0 && *c < 0xf5 ? 4 : *c >= 0xe0 && *c < 0xf0 ? 3 : *c >= 0xc2 && *c < 0xe0 ? 2 : 0;
            bool good = n != 0;
            for (uint32_t i = 1; good && i < n; i++) good = (c[i] & 0xc0) == 0x80; /* the final zero ends it */
            if (good && n == 3) good = !(c[0] == 0xe0 && c[1] < 0xa0) && !(c[0] == 0xed && c[1] > 0x9f);
            if (good && n == 4) good = !(c[0] == 0xf0 && c[1] < 0x90) && !(c[0] == 0xf4 && c[1] > 0x8f);
            if (good) {
                fwrite(c, 1, n, file);
                c += n;
            } else {
                fputs("\\ufffd", file);
                c++;
            }
        }
    }
    putc('"', file);
}

static void put_us(FILE *file, const char *key, uint64_t ns) {
    fprintf(file, ",\"%s\":%llu.%03u", key, (unsigned long long)(ns / 1000), (unsigned)(ns % 1000));
}

static void put_name(FILE *file, const char *what, uint64_t track, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void put_name(FILE *file, const char *what, uint64_t track, const char *format, ...) {
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    fprintf(file,
            "{\"ph\":\"M\",\"pid\":1,\"tid\":%llu,\"name\":\"%s\",\"args\":{\"name\":", (unsigned long long)track,
            what);
    put_text(file, name);
    fputs("}},\n", file);
    if (!track) return;
    fprintf(file,
            "{\"ph\":\"M\",\"pid\":1,\"tid\":%llu,\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%llu}},\n",
            (unsigned long long)track, (unsigned long long)track);
}

static void put_event(FILE *file, const mlxn_profile_event *e, uint64_t track, uint64_t origin) {
    bool op = e->kind == MLXN_PROFILE_OPERATION;
    uint64_t ns = e->end_ns - e->start_ns;
    const char *name = op ? e->op : *e->label ? e->label : "(no label)";
    if (!op) {
        fputs("{\"ph\":\"i\",\"s\":\"t\",\"cat\":\"commit\",\"name\":\"commit\",\"pid\":1", file);
        fprintf(file, ",\"tid\":%llu", (unsigned long long)track);
        put_us(file, "ts", e->commit_ns - origin);
        fprintf(file, ",\"args\":{\"command buffer\":%llu}},\n", (unsigned long long)e->command_buffer);
    }
    fprintf(file, "{\"ph\":\"X\",\"cat\":\"%s\",\"name\":", op ? "operation" : "command buffer");
    put_text(file, name);
    fprintf(file, ",\"pid\":1,\"tid\":%llu", (unsigned long long)track);
    put_us(file, "ts", e->start_ns - origin);
    put_us(file, "dur", ns);
    fputs(",\"args\":{\"label\":", file);
    put_text(file, e->label);
    if (op) {
        fputs(",\"kernel\":", file);
        put_text(file, e->kernel);
    }
    fprintf(file, ",\"command buffer\":%llu,\"%s\":%u,\"bytes\":%.0f,\"flops\":%.0f",
            (unsigned long long)e->command_buffer, op ? "index" : "operations", e->index, e->bytes, e->flops);
    if (ns)
        fprintf(file, ",\"GB/s\":%.3f,\"GFLOP/s\":%.3f,\"threads busy\":%.2f", e->bytes / (double)ns,
                e->flops / (double)ns, (double)e->busy_ns / (double)ns);
    fputs("}},\n", file);
}

static int by_queue_and_start(const void *a, const void *b) {
    const mlxn_profile_event *x = a, *y = b;
    if (x->queue != y->queue) return x->queue < y->queue ? -1 : 1;
    if (x->start_ns != y->start_ns) return x->start_ns < y->start_ns ? -1 : 1;
    if (x->command_buffer != y->command_buffer) return x->command_buffer < y->command_buffer ? -1 : 1;
    return x->kind != y->kind ? (x->kind > y->kind ? -1 : 1) : x->index < y->index ? -1 : x->index > y->index;
}

static void put_events(FILE *file, const mlxn_profile_event *events, uint64_t n, uint64_t origin) {
    uint64_t lane_end[MOST_LANES] = {0}, base = 0;
    uint32_t lanes = 0;
    for (uint64_t i = 0; i < n; i++) {
        const mlxn_profile_event *e = &events[i];
        if (!i || e->queue != events[i - 1].queue) {
            base = 1 + e->queue * TRACKS;
            lanes = 0;
            put_name(file, "thread_name", base, "queue %llu: command buffers", (unsigned long long)e->queue);
        }
        if (e->kind == MLXN_PROFILE_COMMAND_BUFFER) {
            put_event(file, e, base, origin);
            continue;
        }
        uint32_t lane = 0;
        while (lane < lanes && lane_end[lane] > e->start_ns) lane++;
        if (lane == MOST_LANES) lane = MOST_LANES - 1;
        if (lane == lanes) {
            lanes++;
            put_name(file, "thread_name", base + 1 + lane,
                     lane ? "queue %llu: operations (%u)" : "queue %llu: operations", (unsigned long long)e->queue,
                     lane + 1);
        }
        lane_end[lane] = e->end_ns;
        put_event(file, e, base + 1 + lane, origin);
    }
}

/* The events, sorted: a copy, so that work goes on meanwhile. */
static mlxn_profile_event *sorted_copy(mlxn_profiler *profiler, uint64_t *n, uint64_t *dropped) {
    pthread_mutex_lock(&profiler->lock);
    *n = profiler->n_events;
    *dropped = profiler->stats.dropped;
    mlxn_profile_event *events = mlxn_alloc_array(*n ? (size_t)*n : 1, sizeof *events);
    if (events && *n) memcpy(events, profiler->events, (size_t)*n * sizeof *events);
    pthread_mutex_unlock(&profiler->lock);
    if (events && *n) qsort(events, (size_t)*n, sizeof *events, by_queue_and_start);
    return events;
}

mlxn_status mlxn_profiler_write_trace(mlxn_profiler *profiler, const char *path, mlxn_error *error) {
    if (!profiler || !path)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "trace: %s is NULL", profiler ? "path" : "profiler");
    uint64_t n, dropped, origin = UINT64_MAX;
    mlxn_profile_event *events = sorted_copy(profiler, &n, &dropped);
    if (!events)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "trace: out of memory for %llu events", (unsigned long long)n);
    for (uint64_t i = 0; i < n; i++) origin = mlxn_min_u64(origin, events[i].commit_ns);
    FILE *file = fopen(path, "wb");
    if (!file) {
        mlxn_free(events);
        return mlxn_fail_errno(error, path, "cannot be opened for the trace");
    }
    fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", file);
    put_events(file, events, n, origin);
    put_name(file, "process_name", 0, "%s: %s", profiler->device->backend->name,
             profiler->device->info.name ? profiler->device->info.name : "");
    /* The list above ends with a comma; this is its last element. */
    fprintf(file,
            "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_sort_index\",\"args\":{\"sort_index\":0}}],\n"
            "\"otherData\":{\"mlxn\":\"%s\",\"origin_ns\":%llu,\"dropped\":%llu}}\n",
            mlxn_version(), (unsigned long long)(n ? origin : 0), (unsigned long long)dropped);
    mlxn_free(events);
    bool bad = fflush(file) != 0 || ferror(file); /* errno is that of the flush */
    mlxn_status status = bad ? mlxn_fail_errno(error, path, "the trace could not be written") : mlxn_succeed(error);
    if (fclose(file) && !bad) status = mlxn_fail_errno(error, path, "the trace could not be written");
    return status;
}
