/* counters.c: the counters of encoders, and from them those of devices and of the process.
 *
 * Only the owner of an encoder moves its cells, so that counting a dispatch is one addition without a locked
 * instruction. A device knows its encoders and what those that are gone had counted; the process knows its devices.
 * Sums are formed when somebody asks. */
#include "core/core.h"

#define LOAD(cell) atomic_load_explicit(&(cell), memory_order_relaxed)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* what follows */
static mlxn_device *devices;
static mlxn_counters gone;  /* of devices that are gone */
static mlxn_counters begun; /* the sum at the last reset */

static void add(mlxn_counters *sum, const mlxn_counters *more) {
    sum->sync_count += more->sync_count;
    sum->dispatch_count += more->dispatch_count;
    sum->cmd_buf_count += more->cmd_buf_count;
    sum->barrier_count += more->barrier_count;
    sum->auto_barrier_count += more->auto_barrier_count;
    sum->auto_barrier_concurrent_count += more->auto_barrier_concurrent_count;
    sum->hazard_barrier_count += more->hazard_barrier_count;
    sum->graph_launch_count += more->graph_launch_count;
    sum->barrier_total_ns += more->barrier_total_ns;
}

static mlxn_counters less(mlxn_counters sum, const mlxn_counters *part) {
    sum.sync_count -= part->sync_count;
    sum.dispatch_count -= part->dispatch_count;
    sum.cmd_buf_count -= part->cmd_buf_count;
    sum.barrier_count -= part->barrier_count;
    sum.auto_barrier_count -= part->auto_barrier_count;
    sum.auto_barrier_concurrent_count -= part->auto_barrier_concurrent_count;
    sum.hazard_barrier_count -= part->hazard_barrier_count;
    sum.graph_launch_count -= part->graph_launch_count;
    sum.barrier_total_ns -= part->barrier_total_ns;
    return sum;
}

void mlxn_counter_cells_read(const mlxn_counter_cells *cells, mlxn_counters *out) {
    *out = (mlxn_counters){
        .sync_count = LOAD(cells->sync),
        .dispatch_count = LOAD(cells->dispatch),
        .cmd_buf_count = LOAD(cells->cmd_buf),
        .barrier_count = LOAD(cells->barrier),
        .auto_barrier_count = LOAD(cells->auto_barrier),
        .auto_barrier_concurrent_count = LOAD(cells->auto_concurrent),
        .hazard_barrier_count = LOAD(cells->hazard),
        .graph_launch_count = LOAD(cells->launch),
        .barrier_total_ns = LOAD(cells->barrier_ns),
    };
}

/* ---- encoders of a device ---- */

void mlxn_counters_join(mlxn_device *device, mlxn_counter_cells *cells) {
    mlxn_counter_book *book = &device->counters;
    pthread_mutex_lock(&book->lock);
    cells->next = book->first;
    cells->link = &book->first;
    if (cells->next) cells->next->link = &cells->next;
    book->first = cells;
    pthread_mutex_unlock(&book->lock);
}

void mlxn_counters_leave(mlxn_device *device, mlxn_counter_cells *cells) {
    mlxn_counter_book *book = &device->counters;
    mlxn_counters last;
    mlxn_counter_cells_read(cells, &last);
    pthread_mutex_lock(&book->lock);
    *cells->link = cells->next;
    if (cells->next) cells->next->link = cells->link;
    add(&book->gone, &last);
    pthread_mutex_unlock(&book->lock);
}

void mlxn_device_counters(mlxn_device *device, mlxn_counters *out) {
    if (!out) return;
    *out = (mlxn_counters){0};
    if (!device) return;
    mlxn_counter_book *book = &device->counters;
    pthread_mutex_lock(&book->lock);
    *out = book->gone;
    for (const mlxn_counter_cells *cells = book->first; cells; cells = cells->next) {
        mlxn_counters of_encoder;
        mlxn_counter_cells_read(cells, &of_encoder);
        add(out, &of_encoder);
    }
    pthread_mutex_unlock(&book->lock);
}

/* ---- devices of the process ---- */

void mlxn_counters_open(mlxn_device *device) {
    mlxn_counter_book *book = &device->counters;
    mlxn_short_lock_init(&book->lock);
    pthread_mutex_lock(&lock);
    book->after = devices;
    book->link = &devices;
    if (devices) devices->counters.link = &book->after;
    devices = device;
    pthread_mutex_unlock(&lock);
}

void mlxn_counters_close(mlxn_device *device) {
    mlxn_counter_book *book = &device->counters;
    pthread_mutex_lock(&lock);
    *book->link = book->after;
    if (book->after) book->after->counters.link = book->link;
    add(&gone, &book->gone);
    pthread_mutex_unlock(&lock);
    pthread_mutex_destroy(&book->lock);
}

/* With the lock held: since the process began. */
static mlxn_counters total(void) {
    mlxn_counters sum = gone;
    for (mlxn_device *device = devices; device; device = device->counters.after) {
        mlxn_counters of_device;
        mlxn_device_counters(device, &of_device);
        add(&sum, &of_device);
    }
    return sum;
}

void mlxn_counters_read(mlxn_counters *out) {
    if (!out) return;
    pthread_mutex_lock(&lock);
    *out = less(total(), &begun);
    pthread_mutex_unlock(&lock);
}

void mlxn_counters_reset(void) {
    pthread_mutex_lock(&lock);
    begun = total();
    pthread_mutex_unlock(&lock);
}
