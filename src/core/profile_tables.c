/* profile_tables.c: the tables of the process under the names of the system that mlxn matches: times of labelled
 * command buffers by label, and of their operations. Bounded: what does not fit is counted. */
#include <stdio.h>

#include "core/profile.h"

enum { MOST_LABELS = 1024, MOST_DISPATCHES = 65536 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below */

/* ---- command buffers ---- */

static mlxn_names cb_names = {.most = MOST_LABELS};
static mlxn_profile_cb_entry cb_rows[MOST_LABELS]; /* sorted when asked for */
static uint32_t cb_count;
static bool cb_sorted;
static uint64_t cb_lost;

static uint64_t saturating(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

bool mlxn_profile_cb_enabled(void) { return (mlxn_profile_gates() & MLXN_LISTEN_CB) != 0; }

void mlxn_profile_cb_record(const char *label, uint64_t ns) {
    pthread_mutex_lock(&lock);
    const char *name = mlxn_names_get(&cb_names, label);
    uint32_t i = 0;
    while (i < cb_count && cb_rows[i].label != name) i++; /* few labels, the hot ones first */
    if (!name || i == MOST_LABELS) {
        cb_lost++;
    } else {
        if (i == cb_count) cb_rows[cb_count++] = (mlxn_profile_cb_entry){name, 0, 0, UINT64_MAX, 0};
        mlxn_profile_cb_entry *row = &cb_rows[i];
        row->count++;
        row->total_ns = saturating(row->total_ns, ns);
        row->min_ns = mlxn_min_u64(row->min_ns, ns);
        row->max_ns = mlxn_max_u64(row->max_ns, ns);
        cb_sorted = false;
    }
    pthread_mutex_unlock(&lock);
}

/* Largest total first; equal ones by label, so that the order does not depend on the sort. */
static int compare_cb(const void *a, const void *b) {
    const mlxn_profile_cb_entry *x = a, *y = b;
    if (x->total_ns != y->total_ns) return x->total_ns < y->total_ns ? 1 : -1;
    return strcmp(x->label, y->label);
}

static bool cb_row(uint32_t i, mlxn_profile_cb_entry *out) {
    if (i >= cb_count) return false;
    if (!cb_sorted) qsort(cb_rows, cb_count, sizeof *cb_rows, compare_cb);
    cb_sorted = true;
    *out = cb_rows[i];
    return true;
}

bool mlxn_profile_cb_row(uint32_t i, mlxn_profile_cb_entry *out) {
    mlxn_profile_cb_entry row;
    pthread_mutex_lock(&lock);
    bool there = cb_row(i, &row);
    pthread_mutex_unlock(&lock);
    if (there && out) *out = row;
    return there;
}

uint64_t mlxn_profile_cb_lost(void) {
    pthread_mutex_lock(&lock);
    uint64_t n = cb_lost;
    pthread_mutex_unlock(&lock);
    return n;
}

void mlxn_profile_cb_reset(void) {
    pthread_mutex_lock(&lock);
    cb_count = 0;
    cb_lost = 0;
    mlxn_names_free(&cb_names);
    pthread_mutex_unlock(&lock);
}

/* ---- operations ---- */

typedef struct dispatch_row {
    mlxn_profile_dispatch_entry entry;
    uint32_t next; /* of the same label, + 1 */
} dispatch_row;

/* Labels in the order in which they came. */
typedef struct dispatch_label {
    const char *label;
    uint32_t first, last, count; /* rows, + 1 */
} dispatch_label;

static mlxn_names d_names = {.most = 2 * MOST_LABELS}; /* labels and names of operations */
static dispatch_row *d_rows;
static uint32_t d_count, d_capacity;
static dispatch_label d_labels[MOST_LABELS];
static uint32_t d_n_labels;
static uint64_t d_lost;
static struct { uint32_t i, label, row; /* number i is row `row` (+ 1; 0: unknown) of that label */ } d_cursor;

bool mlxn_profile_dispatch_enabled(void) { return (mlxn_profile_gates() & MLXN_LISTEN_DISPATCH) != 0; }

static bool dispatch_room(void) {
    if (d_count < d_capacity) return true;
    if (d_count == MOST_DISPATCHES) return false;
    uint32_t capacity = d_capacity ? 2 * d_capacity : 1024;
    dispatch_row *grown = mlxn_realloc_array(d_rows, capacity, sizeof *grown);
    if (!grown) return false;
    d_rows = grown;
    d_capacity = capacity;
    return true;
}

static dispatch_label *label_of(const char *name) {
    for (uint32_t i = d_n_labels; i--;) /* the latest is the likeliest */
        if (d_labels[i].label == name) return &d_labels[i];
    if (d_n_labels == MOST_LABELS) return NULL;
    d_labels[d_n_labels] = (dispatch_label){.label = name};
    return &d_labels[d_n_labels++];
}

void mlxn_profile_dispatch_record(const mlxn_profile_dispatch_entry *entry) {
    if (!entry) return;
    pthread_mutex_lock(&lock);
    const char *name = mlxn_names_get(&d_names, entry->label), *op = mlxn_names_get(&d_names, entry->op);
    dispatch_label *label = name && op && dispatch_room() ? label_of(name) : NULL;
    if (label) {
        dispatch_row *row = &d_rows[d_count++];
        *row = (dispatch_row){*entry, 0};
        row->entry.label = name;
        row->entry.op = op;
        if (label->count++)
            d_rows[label->last - 1].next = d_count;
        else
            label->first = d_count;
        label->last = d_count;
        d_cursor.row = 0;
    } else {
        d_lost++;
    }
    pthread_mutex_unlock(&lock);
}

static bool dispatch_at(uint32_t i, mlxn_profile_dispatch_entry *out) {
    if (i >= d_count) return false;
    if (!d_cursor.row || d_cursor.i > i) {
        d_cursor.i = d_cursor.label = 0;
        d_cursor.row = d_labels[0].first;
    }
    while (d_cursor.i < i) {
        d_cursor.i++;
        d_cursor.row = d_rows[d_cursor.row - 1].next;
        if (!d_cursor.row) d_cursor.row = d_labels[++d_cursor.label].first;
    }
    *out = d_rows[d_cursor.row - 1].entry;
    return true;
}

bool mlxn_profile_dispatch_row(uint32_t i, mlxn_profile_dispatch_entry *out) {
    mlxn_profile_dispatch_entry entry;
    pthread_mutex_lock(&lock);
    bool there = dispatch_at(i, &entry);
    pthread_mutex_unlock(&lock);
    if (there && out) *out = entry;
    return there;
}

uint64_t mlxn_profile_dispatch_lost(void) {
    pthread_mutex_lock(&lock);
    uint64_t n = d_lost;
    pthread_mutex_unlock(&lock);
    return n;
}

void mlxn_profile_dispatch_reset(void) {
    pthread_mutex_lock(&lock);
    mlxn_free(d_rows);
    d_rows = NULL;
    d_count = d_capacity = d_n_labels = d_cursor.row = 0;
    d_lost = 0;
    mlxn_names_free(&d_names);
    pthread_mutex_unlock(&lock);
}

/* ---- text ---- */

typedef struct text {
    char *out;
    size_t size, used;
} text;

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t room = t->used < t->size ? t->size - t->used : 0;
    int n = vsnprintf(room ? t->out + t->used : NULL, room, format, args);
    va_end(args);
    if (n > 0) t->used += (size_t)n;
}

size_t mlxn_profile_cb_text(char *out, size_t size) {
    text t = {out, out ? size : 0, 0};
    if (t.size) out[0] = 0;
    mlxn_profile_cb_entry row;
    pthread_mutex_lock(&lock);
    put(&t, "%-40s %10s %14s %12s %12s\n", "command buffer", "count", "total ms", "min us", "max us");
    for (uint32_t i = 0; cb_row(i, &row); i++)
        put(&t, "%-40s %10llu %14.3f %12.3f %12.3f\n", *row.label ? row.label : "(no label)",
            (unsigned long long)row.count, (double)row.total_ns * 1e-6, (double)row.min_ns * 1e-3,
            (double)row.max_ns * 1e-3);
    if (cb_lost) put(&t, "%llu more under further labels\n", (unsigned long long)cb_lost);
    pthread_mutex_unlock(&lock);
    return t.used;
}

size_t mlxn_profile_dispatch_text(char *out, size_t size) {
    text t = {out, out ? size : 0, 0};
    if (t.size) out[0] = 0;
    mlxn_profile_dispatch_entry row;
    const char *label = NULL;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; dispatch_at(i, &row); i++) {
        if (row.label != label) put(&t, "%s\n", *row.label ? row.label : "(no label)");
        label = row.label;
        put(&t, "  %6u %-24s %12.3f us\n", row.index, row.op, (double)row.duration_ns * 1e-3);
    }
    if (d_lost) put(&t, "%llu more\n", (unsigned long long)d_lost);
    pthread_mutex_unlock(&lock);
    return t.used;
}
