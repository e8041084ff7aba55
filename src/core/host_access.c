/* host_access.c: host access to buffers: copies, mappings, and their conflicts with committed work.
 *
 * On a checked device a copy or mapping is entered into a list of the device while it lasts, under the lock of the
 * live list. Entering looks for committed work that conflicts, and committing looks for entries that conflict, under
 * that same lock: of two that meet, one is refused. */
#include "core/core.h"

/* ---- ranges ---- */

static mlxn_status check_range(const mlxn_buffer *buffer, const char *verb, uint64_t offset, const void *memory,
                               uint64_t bytes, mlxn_error *error) {
    uint64_t end;
    if (!buffer) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer %s: buffer is NULL", verb);
    if (buffer->capture)
        return mlxn_fail(error, MLXN_ERR_STATE,
                         "buffer %s: it is a temporary of a graph, which the host cannot access", verb);
    if (!memory && bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer %s: host memory is NULL", verb);
    if (!mlxn_add_u64(offset, bytes, &end) || end > buffer->size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer %s: range ends at %llu + %llu bytes, buffer at %llu", verb,
                         (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)buffer->size);
    return MLXN_OK;
}

static bool meets(const mlxn_mapping_record *r, const mlxn_access *a) {
    return a->buffer == r->buffer && (a->write || r->write) && a->start < r->end && r->start < a->end;
}

/* The first access among nodes, launched graphs included, that conflicts with the record. */
static bool find_in_nodes(const mlxn_node *nodes, size_t n, const mlxn_mapping_record *r, const mlxn_node **node,
                          mlxn_access *access) {
    mlxn_access_list list;
    for (size_t i = 0; i < n; i++) {
        if (nodes[i].kind == MLXN_NODE_LAUNCH) {
            const mlxn_node_list *inner = &nodes[i].u.launch->list;
            if (find_in_nodes(inner->nodes, inner->count, r, node, access)) return true;
            continue;
        }
        mlxn_node_accesses(&nodes[i], &list);
        for (size_t k = 0; k < list.count; k++) {
            if (!meets(r, &list.items[k])) continue;
            *node = &nodes[i];
            *access = list.items[k];
            return true;
        }
    }
    return false;
}

/* With the lock of the live list held: nodes of committed command buffers do not change, and live until those
 * are retired. */
static mlxn_status meet_work(const mlxn_device *device, const mlxn_mapping_record *r, const char *verb,
                             mlxn_error *error) {
    for (const mlxn_command_buffer *cb = device->live.first; cb; cb = cb->live_after) {
        const mlxn_node *node;
        mlxn_access access;
        if (cb->retired || mlxn_command_buffer_state(cb) != MLXN_CB_COMMITTED ||
            !find_in_nodes(cb->list.nodes, cb->list.count, r, &node, &access))
            continue;
        return mlxn_fail(error, MLXN_ERR_STATE,
                         "buffer %s of bytes [%llu, %llu): command buffer \"%s\" in flight %s bytes [%llu, %llu) "
                         "with %s; wait for it first",
                         verb, (unsigned long long)r->start, (unsigned long long)r->end,
                         mlxn_command_buffer_label(cb), access.write ? "writes" : "reads",
                         (unsigned long long)access.start, (unsigned long long)access.end, mlxn_node_name(node));
    }
    return MLXN_OK;
}

/* ---- entries ---- */

mlxn_status mlxn_access_begin(mlxn_mapping_record *record, const char *verb, mlxn_error *error) {
    mlxn_device *device = record->buffer->device;
    pthread_mutex_lock(&device->live.lock);
    mlxn_status status = meet_work(device, record, verb, error);
    if (!status) {
        record->next = device->live.maps;
        device->live.maps = record;
    }
    pthread_mutex_unlock(&device->live.lock);
    return status;
}

void mlxn_access_end(mlxn_mapping_record *record) {
    mlxn_live_list *live = &record->buffer->device->live;
    pthread_mutex_lock(&live->lock);
    mlxn_mapping_record **at = &live->maps;
    while (*at && *at != record) at = &(*at)->next;
    if (*at) *at = record->next;
    pthread_mutex_unlock(&live->lock);
}

void mlxn_access_forget(mlxn_buffer *buffer) {
    mlxn_live_list *live = &buffer->device->live;
    mlxn_mapping_record *gone = NULL;
    pthread_mutex_lock(&live->lock);
    for (mlxn_mapping_record **at = &live->maps; *at;) {
        mlxn_mapping_record *record = *at;
        if (record->buffer != buffer || !record->owned) {
            at = &record->next;
            continue;
        }
        *at = record->next;
        record->next = gone;
        gone = record;
    }
    pthread_mutex_unlock(&live->lock);
    while (gone) {
        mlxn_mapping_record *next = gone->next;
        mlxn_device_log(
            buffer->device, "mlxn: a buffer of %llu bytes died while bytes [%llu, %llu) of it were mapped",
            (unsigned long long)buffer->size, (unsigned long long)gone->start, (unsigned long long)gone->end);
        mlxn_free(gone);
        gone = next;
    }
}

mlxn_status mlxn_access_commit(mlxn_command_buffer *cb, mlxn_error *error) {
    mlxn_device *device = cb->device;
    mlxn_status status = MLXN_OK;
    if (device->checked) {
        pthread_mutex_lock(&device->live.lock);
        for (const mlxn_mapping_record *r = device->live.maps; r && !status; r = r->next) {
            const mlxn_node *node;
            mlxn_access access;
            if (!find_in_nodes(cb->list.nodes, cb->list.count, r, &node, &access)) continue;
            status =
                mlxn_fail(error, MLXN_ERR_STATE,
                          "commit: %s %s bytes [%llu, %llu) of a buffer of which the host %s [%llu, %llu) to %s; "
                          "unmap it first",
                          mlxn_node_name(node), access.write ? "writes" : "reads", (unsigned long long)access.start,
                          (unsigned long long)access.end, r->owned ? "has mapped" : "is copying",
                          (unsigned long long)r->start, (unsigned long long)r->end, r->write ? "write" : "read");
        }
        if (!status) atomic_store_explicit(&cb->state, MLXN_CB_COMMITTED, memory_order_release);
        pthread_mutex_unlock(&device->live.lock);
    } else {
        atomic_store_explicit(&cb->state, MLXN_CB_COMMITTED, memory_order_release);
    }
    return status;
}

/* ---- copies ---- */

mlxn_status mlxn_buffer_write(mlxn_buffer *buffer, uint64_t offset, const void *src, uint64_t bytes,
                              mlxn_error *error) {
    mlxn_status status = check_range(buffer, "write", offset, src, bytes, error);
    if (status || !bytes) return status ? status : mlxn_succeed(error);
    mlxn_device *device = buffer->device;
    mlxn_mapping_record record = {.buffer = buffer, .start = offset, .end = offset + bytes, .write = true};
    if (device->checked && (status = mlxn_access_begin(&record, "write", error))) return status;
    mlxn_succeed(error);
    status = device->backend->memory_write(device->impl, buffer->storage, offset, src, bytes, error);
    if (device->checked) mlxn_access_end(&record);
    return status;
}

mlxn_status mlxn_buffer_read(mlxn_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes, mlxn_error *error) {
    mlxn_status status = check_range(buffer, "read", offset, dst, bytes, error);
    if (status || !bytes) return status ? status : mlxn_succeed(error);
    mlxn_device *device = buffer->device;
    mlxn_mapping_record record = {.buffer = buffer, .start = offset, .end = offset + bytes};
    if (device->checked && (status = mlxn_access_begin(&record, "read", error))) return status;
    mlxn_succeed(error);
    status = device->backend->memory_read(device->impl, buffer->storage, offset, dst, bytes, error);
    if (device->checked) mlxn_access_end(&record);
    return status;
}

/* ---- pointers ---- */

void *mlxn_buffer_contents(mlxn_buffer *buffer) {
    if (!buffer) return NULL;
    mlxn_device *device = buffer->device;
    if (!device->checked || !buffer->host) return buffer->host;
    mlxn_error error;
    mlxn_mapping_record record = {.buffer = buffer, .end = buffer->size};
    pthread_mutex_lock(&device->live.lock);
    mlxn_status status = meet_work(device, &record, "contents", &error);
    pthread_mutex_unlock(&device->live.lock);
    if (!status) return buffer->host;
    mlxn_device_log(device, "mlxn: %s", error.message);
    return NULL;
}

mlxn_status mlxn_buffer_map(mlxn_buffer *buffer, uint64_t offset, uint64_t bytes, mlxn_map_access access, void **out,
                            mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer map: out is NULL");
    *out = NULL;
    mlxn_status status = check_range(buffer, "map", offset, out, bytes, error);
    if (status) return status;
    if (!bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer map: range is 0 bytes, want at least 1");
    if (access < MLXN_MAP_READ || access > MLXN_MAP_READ_WRITE)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer map: access is %d, want 1 to 3", (int)access);
    mlxn_device *device = buffer->device;
    if (!buffer->host)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "buffer map: memory of the %s device is not host-visible",
                         device->backend->name);
    if (device->checked) {
        mlxn_mapping_record *record = mlxn_alloc(sizeof *record);
        if (!record) return mlxn_fail(error, MLXN_ERR_MEMORY, "buffer map: out of memory for its record");
        *record = (mlxn_mapping_record){.buffer = buffer,
                                        .start = offset,
                                        .end = offset + bytes,
                                        .write = (access & MLXN_MAP_WRITE) != 0,
                                        .owned = true};
        status = mlxn_access_begin(record, "map", error);
        if (status) {
            mlxn_free(record);
            return status;
        }
    }
    *out = buffer->host + offset;
    return mlxn_succeed(error);
}

mlxn_status mlxn_buffer_unmap(mlxn_buffer *buffer, const void *pointer, mlxn_error *error) {
    if (!buffer || !pointer)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer unmap: %s is NULL", buffer ? "pointer" : "buffer");
    uintptr_t at = (uintptr_t)pointer, base = (uintptr_t)buffer->host;
    if (!base || at < base || at - base >= buffer->size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "buffer unmap: the pointer is outside the buffer of %llu bytes",
                         (unsigned long long)buffer->size);
    if (!buffer->device->checked) return mlxn_succeed(error);
    mlxn_live_list *live = &buffer->device->live;
    pthread_mutex_lock(&live->lock);
    mlxn_mapping_record **link = &live->maps, *found;
    while ((found = *link) && !(found->owned && found->buffer == buffer && found->start == at - base))
        link = &found->next;
    if (found) *link = found->next;
    pthread_mutex_unlock(&live->lock);
    if (!found)
        return mlxn_fail(error, MLXN_ERR_STATE, "buffer unmap: nothing is mapped at byte %llu",
                         (unsigned long long)(at - base));
    mlxn_free(found);
    return mlxn_succeed(error);
}

mlxn_status mlxn_tensor_map(const mlxn_tensor *tensor, mlxn_map_access access, void **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor map: out is NULL");
    *out = NULL;
    if (!tensor || !tensor->buffer)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor map: %s is NULL", tensor ? "buffer" : "tensor");
    uint64_t elements = mlxn_tensor_elements(tensor), size = mlxn_dtype_size(tensor->dtype), bytes;
    if (!elements || !size || !mlxn_mul_u64(elements, size, &bytes))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor map: %llu elements of %llu bytes, want neither 0 nor 2^64",
                         (unsigned long long)elements, (unsigned long long)size);
    if (!mlxn_tensor_is_contiguous(tensor))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor map: the tensor is not contiguous");
    if (((uintptr_t)tensor->buffer->host + tensor->offset) % size)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "tensor map: byte %llu is not aligned to elements of %llu bytes",
                         (unsigned long long)tensor->offset, (unsigned long long)size);
    mlxn_status status = mlxn_buffer_map(tensor->buffer, tensor->offset, bytes, access, out, error);
    if (status) mlxn_error_prefix(error, "tensor map");
    return status;
}
