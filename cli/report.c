/* report.c: messages, the clock, the progress bar, and what Ctrl-C does. Everything here goes to stderr. */
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

/* A message stays one line whatever a file name or a file's own text puts into it. */
static void print_line(const char *prefix, const char *format, va_list arguments) {
    char line[1200];
    vsnprintf(line, sizeof line, format, arguments);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    fprintf(stderr, "%s%s\n", prefix, line);
}

int cli_fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line("mlxn: ", format, arguments);
    va_end(arguments);
    return code;
}

const char *cli_without_name(const char *path, const char *problem) {
    size_t all = strlen(path), end = all;
    while (end > 1 && path[end - 1] == '/') end--; /* of a folder */
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    const char *name = path + begin;
    size_t n = end - begin;
    if (all && !strncmp(problem, path, all) && !strncmp(problem + all, ": ", 2)) return problem + all + 2;
    if (n && !strncmp(problem, name, n) && !strncmp(problem + n, ": ", 2)) return problem + n + 2;
    return problem;
}

int cli_fail_file(int code, const char *path, const char *problem, const char *cure) {
    return cli_fail(code, "%s: %s; %s", path, cli_without_name(path, problem), cure);
}

void cli_note(bool quiet, const char *format, ...) {
    if (quiet) return;
    va_list arguments;
    va_start(arguments, format);
    print_line("", format, arguments);
    va_end(arguments);
}

uint64_t cli_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t started;

void cli_mark_start(void) { started = cli_now(); }

uint64_t cli_started(void) { return started; }

double cli_rate(uint64_t count, uint64_t ns) { return ns ? (double)count * 1e9 / (double)ns : 0.0; }

/* ---- progress ---- */

void cli_progress_begin(cli_progress *progress, const char *what, bool quiet) {
    memset(progress, 0, sizeof *progress);
    progress->what = what;
    progress->enabled = !quiet && isatty(STDERR_FILENO);
    progress->begun = progress->last = cli_now();
}

bool cli_progress_step(void *user, uint64_t done, uint64_t total) {
    enum { WIDTH = 30 };
    const uint64_t quick = 150000000u, frame = 50000000u, steady = 2000000000u;
    cli_progress *progress = user;
    uint64_t now = cli_now();
    if (progress->enabled && total && now - progress->begun > quick && now - progress->last > frame) {
        char bar[WIDTH + 1];
        double part = (double)done / (double)total;
        int full = (int)(part * WIDTH);
        for (int i = 0; i < WIDTH; i++) bar[i] = i < full ? '#' : '.';
        bar[WIDTH] = 0;
        fprintf(stderr, "\r%s [%s] %3d%%", progress->what, bar, (int)(part * 100));
        if (now - progress->begun > steady && done)
            fprintf(stderr, ", %.0f s left ", (double)(now - progress->begun) * 1e-9 * (1 / part - 1));
        fflush(stderr);
        progress->shown = true;
        progress->last = now;
    }
    return !cli_interrupted();
}

void cli_progress_end(cli_progress *progress) {
    if (progress->shown) fprintf(stderr, "\r\033[K");
    progress->shown = false;
}

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;
static _Atomic(mlxn_context *) running;

static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
    mlxn_context *context = atomic_load(&running);
    if (context) mlxn_context_cancel(context); /* async-signal-safe by its contract */
}

static void set_handler(void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

void cli_interrupt_arm(mlxn_context *context) {
    interrupted = 0;
    atomic_store(&running, context);
    set_handler(on_interrupt, (int)SA_RESETHAND); /* the second Ctrl-C meets the default action: the end */
}

void cli_interrupt_disarm(void) {
    set_handler(SIG_DFL, 0);
    atomic_store(&running, NULL);
}

bool cli_interrupted(void) { return interrupted != 0; }

int cli_fail_interrupted(void) {
    return cli_fail(EXIT_INTERRUPTED, "interrupted; run it again for the whole result");
}
