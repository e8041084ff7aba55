/* encoder.c: the life of an encoder, its sticky error, and submission. Recording is in record.c and order.c. */
#include "core/core.h"

/* ---- life ---- */

mlxn_status mlxn_encoder_open(mlxn_encoder *encoder, mlxn_error *error) {
    if (encoder->open) return MLXN_OK;
    encoder->open = mlxn_cb_begin(encoder->queue);
    if (!encoder->open) return mlxn_fail(error, MLXN_ERR_MEMORY, "encoder: out of memory for a command buffer");
    MLXN_COUNT(encoder, cmd_buf);
    if (encoder->capturing) return MLXN_OK;
    mlxn_encoder_restart_stats(encoder);
    encoder->serial = mlxn_gate_on(MLXN_GATE_FORCE_SERIAL);
    return MLXN_OK;
}

static mlxn_status create(mlxn_queue *queue, mlxn_encoder **out, mlxn_error *error) {
    mlxn_encoder *encoder = mlxn_alloc(sizeof *encoder);
    if (!encoder) return mlxn_fail(error, MLXN_ERR_MEMORY, "encoder: out of memory for its record");
    encoder->queue = mlxn_queue_retain(queue);
    encoder->device = mlxn_device_retain(queue->device);
    encoder->hazards.group = encoder->before.group = 1;
    mlxn_counters_join(encoder->device, &encoder->counters);
    mlxn_status status = mlxn_encoder_open(encoder, error);
    if (status) {
        mlxn_encoder_destroy(encoder);
        return status;
    }
    *out = encoder;
    return mlxn_succeed(error);
}

mlxn_status mlxn_encoder_create(mlxn_device *device, mlxn_encoder **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: device is NULL");
    return create(device->queue, out, error);
}

mlxn_status mlxn_encoder_create_on(mlxn_queue *queue, mlxn_encoder **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: out is NULL");
    *out = NULL;
    if (!queue) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: queue is NULL");
    return create(queue, out, error);
}

void mlxn_encoder_destroy(mlxn_encoder *encoder) {
    if (!encoder) return;
    if (encoder->open) mlxn_cb_discard(encoder->open);
    mlxn_command_buffer_release(&encoder->last);
    mlxn_list_free(&encoder->capture);
    mlxn_free(encoder->temporaries);
    mlxn_hazards_free(&encoder->hazards);
    mlxn_hazards_free(&encoder->before);
    mlxn_counters_leave(encoder->device, &encoder->counters);
    mlxn_queue_release(&encoder->queue);
    mlxn_device_release(&encoder->device);
    mlxn_free(encoder);
}

mlxn_device *mlxn_encoder_device(const mlxn_encoder *encoder) { return encoder ? encoder->device : NULL; }
mlxn_queue *mlxn_encoder_queue(const mlxn_encoder *encoder) { return encoder ? encoder->queue : NULL; }

mlxn_status mlxn_encoder_status(const mlxn_encoder *encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "encoder: encoder is NULL");
    if (error) *error = encoder->error;
    return encoder->error.status;
}

void mlxn_encoder_counters(const mlxn_encoder *encoder, mlxn_counters *out) {
    if (!out) return;
    *out = (mlxn_counters){0};
    if (encoder) mlxn_counter_cells_read(&encoder->counters, out);
}

mlxn_command_buffer *mlxn_encoder_command_buffer(mlxn_encoder *encoder) {
    if (!encoder) return NULL;
    return encoder->open ? encoder->open : encoder->last;
}

void mlxn_encoder_set_label(mlxn_encoder *encoder, const char *label) {
    if (!encoder || encoder->error.status || encoder->drained) return;
    mlxn_error failure;
    if (mlxn_encoder_open(encoder, &failure))
        mlxn_encoder_stick(encoder, &failure);
    else if (!mlxn_cb_set_label(encoder->open, label))
        mlxn_encoder_stick_memory(encoder, "label");
}

/* ---- sticky errors ---- */

mlxn_status mlxn_encoder_stick(mlxn_encoder *encoder, const mlxn_error *failure) {
    if (!encoder->error.status) {
        encoder->error = *failure;
        const char *label = mlxn_command_buffer_label(mlxn_encoder_command_buffer(encoder));
        if (!*label && encoder->stage) label = encoder->stage;
        if (*label) mlxn_error_prefix(&encoder->error, "\"%s\"", label);
    }
    return encoder->error.status;
}

mlxn_status mlxn_encoder_stick_memory(mlxn_encoder *encoder, const char *what) {
    mlxn_error failure;
    mlxn_fail(&failure, MLXN_ERR_MEMORY, "%s: out of memory for the record", what);
    return mlxn_encoder_stick(encoder, &failure);
}

mlxn_node_list *mlxn_encoder_ready_target(mlxn_encoder *encoder) {
    if (encoder->error.status) return NULL;
    if (encoder->capturing) return &encoder->capture;
    mlxn_error failure;
    if (encoder->drained) {
        mlxn_fail(&failure, MLXN_ERR_STATE,
                  "record: the stage of this session is submitted already, reset_for_next_stage opens the next");
        mlxn_encoder_stick(encoder, &failure);
        return NULL;
    }
    if (mlxn_encoder_open(encoder, &failure)) {
        mlxn_encoder_stick(encoder, &failure);
        return NULL;
    }
    return &encoder->open->list;
}

/* ---- submission ---- */

mlxn_status mlxn_encoder_submit(mlxn_encoder *encoder, const char *label, bool will_wait, mlxn_error *error) {
    if (!encoder->error.status) {
        mlxn_error failure;
        if (encoder->capturing) {
            mlxn_fail(&failure, MLXN_ERR_STATE, "commit: the encoder is capturing, take_capture comes first");
            mlxn_encoder_stick(encoder, &failure);
        } else if (mlxn_encoder_open(encoder, &failure)) {
            mlxn_encoder_stick(encoder, &failure);
        } else if (!mlxn_cb_set_label(encoder->open, label)) {
            mlxn_encoder_stick_memory(encoder, "commit");
        } else if (mlxn_cb_submit(encoder->open, will_wait, &failure)) {
            mlxn_encoder_stick(encoder, &failure);
        }
    }
    if (encoder->error.status) {
        if (error) *error = encoder->error;
        return encoder->error.status;
    }
    mlxn_command_buffer_release(&encoder->last);
    encoder->last = encoder->open;
    encoder->open = NULL;
    return mlxn_succeed(error);
}

mlxn_status mlxn_encoder_submit_and_wait(mlxn_encoder *encoder, const char *label, mlxn_error *error) {
    mlxn_status status = mlxn_encoder_submit(encoder, label, true, error);
    if (status) return status;
    MLXN_COUNT(encoder, sync);
    return mlxn_encoder_wait_completed(encoder, error);
}

/* An encoder that a session lends out is committed by the session alone: else its state would not be true. */
static mlxn_status check_commit(mlxn_encoder *encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "commit: encoder is NULL");
    if (!encoder->owned) return MLXN_OK;
    mlxn_error failure;
    mlxn_fail(&failure, MLXN_ERR_STATE,
              "commit: the encoder is a session's, which commits it by fence or commit_stage");
    mlxn_encoder_stick(encoder, &failure);
    if (error) *error = encoder->error;
    return encoder->error.status;
}

mlxn_status mlxn_encoder_commit(mlxn_encoder *encoder, const char *label, mlxn_error *error) {
    mlxn_status status = check_commit(encoder, error);
    return status ? status : mlxn_encoder_submit(encoder, label, false, error);
}

mlxn_status mlxn_encoder_commit_and_wait(mlxn_encoder *encoder, const char *label, mlxn_error *error) {
    mlxn_status status = check_commit(encoder, error);
    return status ? status : mlxn_encoder_submit_and_wait(encoder, label, error);
}

mlxn_status mlxn_encoder_wait_completed(mlxn_encoder *encoder, mlxn_error *error) {
    if (!encoder) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "wait: encoder is NULL");
    return encoder->last ? mlxn_command_buffer_wait(encoder->last, UINT64_MAX, error) : mlxn_succeed(error);
}
