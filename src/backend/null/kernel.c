/* kernel.c: kernels of the user's own on the null device. Nothing runs, but text is "compiled": lines that begin with
 * #error are errors, everything else is good. The result, and the blob of a disk cache, are the canonical bytes of
 * the kernel, so that a blob of another kernel, or a damaged one, is told from the right one. */
#include <stdio.h>

#include "backend/null/kernel.h"
#include "core/core.h"
#include "core/kernel.h"

typedef struct null_kernel {
    size_t bytes;
    char canonical[];
} null_kernel;

/* "line 3: #error ...", one per line; "" if there is none. NULL: out of memory. */
static char *compile(const char *text) {
    size_t lines = 1;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    size_t size = strlen(text) + lines * 32 + 1, used = 0, number = 1;
    char *errors = mlxn_alloc(size);
    for (const char *line = text; errors && *line; number++) {
        size_t length = strcspn(line, "\n");
        const char *word = line + strspn(line, " \t");
        if (!strncmp(word, "#error", 6))
            used += (size_t)snprintf(errors + used, size - used, "line %zu: %.*s\n", number,
                                     (int)(length - (size_t)(word - line)), word);
        line += length + (line[length] == '\n');
    }
    return errors;
}

/* Label, kind and text: equal for equal kernels alone. */
static null_kernel *make(const mlxn_kernel *kernel) {
    const char *text = kernel->text ? kernel->text : "";
    size_t size = strlen(kernel->label) + strlen(text) + 64;
    null_kernel *made = mlxn_alloc(sizeof *made + size);
    if (made)
        made->bytes = (size_t)snprintf(made->canonical, size, "mlxn null kernel 1\n%s\n%s\n%s", kernel->label,
                                       kernel->text ? "text" : "function", text);
    return made;
}

static mlxn_status no_memory(const mlxn_kernel *kernel, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "kernel \"%s\": out of memory while it is prepared", kernel->label);
}

mlxn_status null_kernel_prepare(void *impl, const mlxn_kernel *kernel, const void *cached, uint64_t cached_bytes,
                                void **prepared, void **blob, uint64_t *blob_bytes, mlxn_error *error) {
    null_kernel *made = make(kernel);
    if (!made) return no_memory(kernel, error);
    if (cached && cached_bytes == made->bytes && !memcmp(cached, made->canonical, made->bytes)) {
        *prepared = made; /* compiled before */
        return MLXN_OK;
    }
    char *errors = compile(kernel->text ? kernel->text : "");
    mlxn_status status = errors ? MLXN_OK : no_memory(kernel, error);
    if (!status && *errors) status = mlxn_kernel_compile_failed(kernel, 0, errors, error);
    mlxn_free(errors);
    if (status) {
        mlxn_free(made);
        return status;
    }
    *prepared = made;
    if (!blob) return MLXN_OK;
    *blob = mlxn_alloc(made->bytes); /* without it the kernel is good all the same */
    if (*blob) memcpy(*blob, made->canonical, made->bytes);
    *blob_bytes = made->bytes;
    return MLXN_OK;
}

void null_kernel_release(void *impl, void *prepared) { mlxn_free(prepared); }
