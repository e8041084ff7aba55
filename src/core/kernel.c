/* kernel.c: the handle of a prepared kernel, and the message of one that did not compile. */
#include "core/kernel.h"

#include "core/core.h"

mlxn_kernel *mlxn_kernel_retain(mlxn_kernel *kernel) {
    if (kernel) atomic_fetch_add_explicit(&kernel->refs, 1, memory_order_relaxed);
    return kernel;
}

void mlxn_kernel_release(mlxn_kernel **handle) {
    if (!handle || !*handle) return;
    mlxn_kernel *kernel = *handle;
    *handle = NULL;
    if (atomic_fetch_sub_explicit(&kernel->refs, 1, memory_order_acq_rel) != 1) return;
    mlxn_device *device = kernel->device;
    if (kernel->prepared) device->backend->kernel_release(device->impl, kernel->prepared);
    mlxn_free(kernel->name);
    mlxn_free(kernel->label);
    mlxn_free(kernel->text);
    mlxn_free(kernel->constants);
    mlxn_free(kernel);
    mlxn_device_release(&device);
}

const char *mlxn_kernel_label(const mlxn_kernel *kernel) { return kernel ? kernel->label : ""; }
const char *mlxn_kernel_name(const mlxn_kernel *kernel) { return kernel ? kernel->name : ""; }

const mlxn_constant *mlxn_kernel_constant(const mlxn_kernel_group *group, uint32_t index) {
    if (!group) return NULL;
    uint32_t low = 0, high = group->n_constants;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (group->constants[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < group->n_constants && group->constants[low].index == index ? &group->constants[low] : NULL;
}

/* ---- messages of a compiler ---- */

enum { MAX_LABEL = 240 };

/* At most `length`, so that no UTF-8 character is cut in two. */
static size_t cut_at(const char *text, size_t length) {
    while (length && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
    return length;
}

static size_t line_length(const char *line) { return strcspn(line, "\r\n"); }

static const char *next_line(const char *line) {
    line += line_length(line);
    return line + strspn(line, "\r\n");
}

static bool speaks_of_error(const char *line, size_t length) {
    static const char word[] = "error";
    for (size_t i = 0; i + 5 <= length; i++) {
        size_t k = 0;
        while (k < 5 && (line[i + k] | 0x20) == word[k]) k++;
        if (k == 5) return true;
    }
    return false;
}

/* Lines joined by "; ", blanks squeezed; if it does not fit, cut between characters and closed by "...". */
static void join_lines(const char *text, char *out, size_t size) {
    size_t used = 0;
    bool gap = false, fresh_line = false;
    for (const char *c = text; *c; c++) {
        if (*c == '\n' || *c == '\r') fresh_line = true;
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            gap = true;
            continue;
        }
        const char *between = !used || !gap ? "" : fresh_line ? "; " : " ";
        size_t n = strlen(between);
        if (used + n + 1 >= size) {
            out[used] = 0;
            memcpy(out + cut_at(out, mlxn_min_u64(used, size - 4)), "...", 4);
            return;
        }
        memcpy(out + used, between, n);
        used += n;
        out[used++] = *c;
        gap = fresh_line = false;
    }
    out[used] = 0;
}

mlxn_status mlxn_kernel_compile_failed(const mlxn_kernel *kernel, int32_t driver_code, const char *text,
                                       mlxn_error *error) {
    if (!text || !*text) text = "the compiler gave no reason";
    const char *start = NULL;
    for (const char *line = text; *line; line = next_line(line)) {
        size_t length = line_length(line);
        mlxn_device_log(kernel->device, "mlxn: kernel \"%s\": %.*s", kernel->label, (int)mlxn_min_u64(length, 4096),
                        line);
        if (!start && speaks_of_error(line, length)) start = line;
    }
    /* A long label leaves half of the message to the reason. */
    size_t shown = strlen(kernel->label);
    if (shown > MAX_LABEL) shown = cut_at(kernel->label, MAX_LABEL);
    char joined[sizeof error->message];
    join_lines(start ? start : text, joined, sizeof joined - strlen("kernel \"\": ") - shown);
    return mlxn_fail_code(error, MLXN_ERR_COMPILE, driver_code, "kernel \"%.*s\": %s", (int)shown, kernel->label,
                          joined);
}
