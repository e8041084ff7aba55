/* Promise: whichever allocation or backend call fails while kernels of the user's own are registered, specialised,
 * prewarmed, kept on disk and launched: the call says so and changes nothing (what was registered and prepared stays,
 * the same lookup then succeeds), nothing leaks, and the same work then gives the same bytes. */
#include "torture/torture.h"

#include <dirent.h>
#include <sys/stat.h>

enum { N = 256 };
static char folder[64];

static void scale(const mlxn_kernel_group *g) {
    const mlxn_constant *by = mlxn_kernel_constant(g, 3);
    const float *x = g->slots[0], *plus = g->slots[2];
    float *y = g->slots[1], *sum = g->group_memory;
    for (uint64_t i = g->begin[0]; i < g->end[0]; i++) {
        *sum = x[i] * (by ? by->v.f : 1);
        y[i] = *sum + plus[0];
    }
}

/* A backend call that fails leaves the cache as it was: the lookup that follows succeeds. */
static mlxn_status get(mlxn_registry *r, const char *name, const mlxn_constant *c, uint32_t n, mlxn_kernel **out,
                       mlxn_error *error) {
    uint32_t before = mlxn_registry_cached_count(r);
    mlxn_status status = mlxn_registry_get(r, name, c, n, out, error);
    if (!status) return status;
    mlxn_error later;
    CHECK(!*out && mlxn_registry_cached_count(r) == before, "a failed lookup prepares nothing");
    CHECK(strstr(error->message, name) || strstr(error->message, "as asked"), "names the kernel: %s", error->message);
    mlxn_kernel *again = NULL;
    CHECK(mlxn_registry_get(r, name, c, n, &again, &later) == MLXN_OK, "the same lookup: %s", later.message);
    mlxn_kernel_release(&again);
    return status;
}

static mlxn_status prepare(mlxn_registry *r, mlxn_kernel *kernels[3], mlxn_error *error) {
    char name[32];
    mlxn_status status = MLXN_OK;
    for (int i = 0; i < 70; i++) { /* more names than the table has room for at first */
        snprintf(name, sizeof name, "scale_%d", i);
        STEP(mlxn_registry_register_function(r, name, scale, NULL, error));
        if (i % 16 == 0) STEP(mlxn_registry_register_source(r, name, "y = a * x", error));
    }
    if (!status) CHECK(mlxn_registry_source_count(r) == 70, "all names");
    STEP(mlxn_registry_set_cache_folder(r, folder, error));
    for (int i = 0; i < 3; i++) {
        mlxn_constant c[2] = {{.index = 9, .kind = MLXN_CONSTANT_INT, .v.i = 1},
                              {.index = 3, .kind = MLXN_CONSTANT_FLOAT, .v.f = (float)i}};
        STEP(get(r, "scale_16", c, 2, &kernels[i], error));
    }
    const char *names[] = {"scale_1", "scale_2", "scale_16"};
    uint32_t prepared = 0;
    STEP(mlxn_registry_prewarm(r, names, 3, &prepared, error));
    STEP(mlxn_registry_prewarm(r, NULL, 0, &prepared, error));
    if (!status) CHECK(prepared == 70 && mlxn_registry_cached_count(r) == 73, "prepared %u", prepared);
    STEP(mlxn_registry_register_function(r, "scale_16", scale, NULL, error)); /* those in use stay */
    return status;
}

static mlxn_status work(mlxn_device *device, uint8_t *out, mlxn_error *error) {
    mlxn_registry *r = NULL;
    mlxn_kernel *kernels[3] = {NULL, NULL, NULL};
    mlxn_encoder *e = NULL;
    mlxn_buffer *x = NULL, *y = NULL;
    float values[N], plus[4] = {0.5f};
    for (int i = 0; i < N; i++) values[i] = (float)i;
    mlxn_status status = mlxn_registry_create(device, &r, error);
    STEP(prepare(r, kernels, error));
    STEP(mlxn_buffer_create(device, sizeof values, &x, error));
    STEP(mlxn_buffer_create(device, 3 * sizeof values, &y, error));
    STEP(mlxn_buffer_write(x, 0, values, sizeof values, error));
    STEP(mlxn_encoder_create(device, &e, error));
    for (uint64_t i = 0; !status && i < 3; i++) {
        mlxn_kernel_arg args[] = {
            {.slot = 0, .role = i == 2 ? MLXN_KERNEL_UNKNOWN : MLXN_KERNEL_READ, .buffer = x},
            {.slot = 1, .role = MLXN_KERNEL_WRITE, .buffer = y, .offset = i * sizeof values, .bytes = sizeof values},
            {.slot = 2, .data = plus, .inline_bytes = sizeof plus}};
        mlxn_kernel_grid grid = {.size = {N, 1, 1}, .group = {16, 1, 1}, .group_memory = 64};
        RECORD(e, mlxn_encode_kernel(e, kernels[i], args, 3, &grid));
    }
    STEP(mlxn_encoder_commit_and_wait(e, "kernels", error));
    STEP(mlxn_buffer_read(y, 0, out, 3 * sizeof values, error));
    mlxn_encoder_destroy(e);
    for (int i = 0; i < 3; i++) mlxn_kernel_release(&kernels[i]);
    mlxn_registry_destroy(r);
    mlxn_buffer_release(&x);
    mlxn_buffer_release(&y);
    return status;
}

/* The null backend keeps text on disk; a file that could not be written or read whole counts as none. */
static void remove_folder(void) {
    DIR *d = opendir(folder);
    char path[512];
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (entry->d_name[0] == '.') continue;
        CHECK(!strstr(entry->d_name, ".tmp"), "half-written file is left: %s", entry->d_name);
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

int main(void) {
    snprintf(folder, sizeof folder, "%s/mlxn-torture-XXXXXX", P_tmpdir);
    if (!mkdtemp(folder)) return 3;
    torture_all("registry", work, NULL, 40);
    remove_folder();
    return TEST_DONE();
}
