/* profile_page.c: a profile as one page of HTML: profile.html, which the build turns into profile_page.inc, with the
 * data put in as JSON in place of its one line that says so. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static const char page[] = {
#include "profile_page.inc"
    , 0};
static const char mark[] = "@DATA@";

/* The timeline shows whole command buffers: all of a prompt, the first few steps of decoding, up to a bound, which
 * cuts only the first of them. So a page stays below a megabyte or so. */
enum { MOST_SHOWN = 8000, STEPS_SHOWN = 6 };

/* [kind, row of ops or label of a command buffer, queue, start, length, busy, command buffer], ns from the beginning
 */
static json_t *event_json(const profile_phase *phase, const mlxn_profile_event *e) {
    bool is_op = e->kind == MLXN_PROFILE_OPERATION;
    json_int_t row = 0;
    for (uint32_t i = 0; is_op && i < phase->n_ops; i++)
        if (!strcmp(phase->ops[i].op, e->op) && !strcmp(phase->ops[i].kernel, e->kernel)) row = i;
    return json_pack("[i,o,I,I,I,I,I]", (int)!is_op,
                     is_op ? json_integer(row) : cli_json_text(e->label, strlen(e->label)), (json_int_t)e->queue,
                     (json_int_t)e->start_ns - (json_int_t)phase->begun_ns, (json_int_t)(e->end_ns - e->start_ns),
                     (json_int_t)e->busy_ns, (json_int_t)e->command_buffer);
}

static json_t *events_json(const profile_phase *phase, bool decode) {
    json_t *array = json_array();
    uint64_t steps = 0, n = 0;
    for (uint64_t i = 0; array && i < phase->n_events; i++) {
        const mlxn_profile_event *e = &phase->events[i];
        bool next = e->kind == MLXN_PROFILE_COMMAND_BUFFER && n;
        if (n == MOST_SHOWN || (next && ((decode && steps == STEPS_SHOWN) || n + e->index >= MOST_SHOWN))) break;
        steps += e->kind == MLXN_PROFILE_COMMAND_BUFFER;
        n++;
        json_array_append_new(array, event_json(phase, e));
    }
    return array;
}

/* In a script no "</" may stand; '<' is in strings only, so that its escape means the same. */
static int put_data(FILE *file, const char *text) {
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, "<");
        if (fwrite(at, 1, n, file) != n) return -1;
        at += n;
        if (*at == '<' && fputs("\\u003c", file) < 0) return -1;
        at += *at == '<';
    }
    return 0;
}

int profile_write_page(const profile_result *result, const char *path) {
    json_t *root = profile_json(result), *phases = json_object_get(root, "phases");
    for (size_t i = 0; i < json_array_size(phases); i++)
        json_object_set_new(json_array_get(phases, i), "events", events_json(&result->phases[i], i > 0));
    char *data = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!data) return cli_fail(EXIT_FAILED, "--html: out of memory for the page; give a smaller -n");
    const char *place = strstr(page, mark);
    errno = 0;
    FILE *file = fopen(path, "wb");
    bool good = file && place;
    if (good)
        good = fwrite(page, 1, (size_t)(place - page), file) == (size_t)(place - page) && !put_data(file, data) &&
               fputs(place + strlen(mark), file) >= 0;
    if (file && fclose(file)) good = false;
    free(data);
    if (good) return EXIT_GOOD;
    return cli_fail(EXIT_FAILED, "--html: \"%s\" could not be written: %s; give a path that can be written", path,
                    errno ? strerror(errno) : "write error");
}
