/* gguf_wrap.c: an open file as a buffer of a device. The one place where io meets the core; apart, so that the parser
 * can be linked (and fuzzed) alone. */
#include "io/gguf.h"

mlxn_status mlxn_gguf_wrap(mlxn_gguf *file, uint32_t part, mlxn_device *device, mlxn_buffer **out,
                           mlxn_error *error) {
    *out = NULL;
    if (part >= file->part_count)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "%s: part is %u, want below %u", file->parts[0].name, part,
                         file->part_count);
    const mlxn_mapping *map = &file->parts[part].map;
    /* No free callback: the map belongs to the file. It is read-only; a kernel that wrote to it would fault. */
    return mlxn_buffer_wrap(device, (void *)(uintptr_t)map->data, map->size, NULL, NULL, out, error);
}
