/* run.c: runs kernels on cases: outputs within the bound, nothing else written, inputs unchanged, the same bits on
 * every run and for every number of threads, in place where the operation allows it. */
#include "check.h"

bool check_set_create(check_set *set, mlxn_device *device, const check_instance *instance, uint32_t in_place,
                      mlxn_error *error) {
    const mlxn_op_def *def = instance->def;
    *set = (check_set){0};
    for (uint32_t i = 0; i < def->n_args; i++) {
        const check_operand *operand = &instance->operands[i];
        if (!operand->init) continue;
        if (in_place != UINT32_MAX && i + 1 == def->n_args) {
            set->tensors[i] = set->tensors[in_place];
            set->args[i].tensor = &set->tensors[i];
            continue;
        }
        bool weight = operand->view.weight;
        if (mlxn_buffer_create(device, operand->bytes, &set->buffers[i], error) ||
            mlxn_buffer_write(set->buffers[i], 0, operand->init, operand->bytes, error))
            return false;
        if (weight) {
            const mlxn_weight_view *w = &operand->weight;
            mlxn_weight_desc desc = {.struct_size = sizeof desc,
                                     .format = w->format,
                                     .rows = w->rows,
                                     .cols = w->cols,
                                     .data = set->buffers[i],
                                     .experts = w->experts,
                                     .scales = w->scales ? set->buffers[i] : NULL,
                                     .scales_offset = w->scales ? (uint64_t)(w->scales - w->raw) : 0,
                                     .biases = w->biases ? set->buffers[i] : NULL,
                                     .biases_offset = w->biases ? (uint64_t)(w->biases - w->raw) : 0,
                                     .scale_dtype = w->scale_dtype,
                                     .global_scale = w->global_scale};
            if (mlxn_weight_create(device, &desc, &set->weights[i], error)) return false;
            set->args[i].weight = set->weights[i];
            continue;
        }
        mlxn_tensor *t = &set->tensors[i];
        *t = (mlxn_tensor){.buffer = set->buffers[i],
                           .offset = operand->first,
                           .dtype = operand->view.dtype,
                           .rank = operand->view.rank};
        memcpy(t->dims, operand->view.dims, sizeof t->dims);
        memcpy(t->strides, operand->view.strides, sizeof t->strides);
        set->args[i].tensor = t;
    }
    return true;
}

void check_set_release(check_set *set) {
    for (uint32_t i = 0; i < MLXN_MAX_ARGS; i++) {
        mlxn_weight_release(&set->weights[i]);
        mlxn_buffer_release(&set->buffers[i]);
        mlxn_free(set->copies[i]);
    }
}

/* Reads what the host cannot see. False: that failed. */
static bool fetch(check_set *set, char *text, size_t size) {
    for (uint32_t i = 0; i < MLXN_MAX_ARGS; i++) {
        mlxn_buffer *buffer = set->buffers[i];
        if (!buffer || mlxn_buffer_contents(buffer)) continue;
        uint64_t bytes = mlxn_buffer_size(buffer);
        mlxn_error error = {0};
        if (!set->copies[i]) set->copies[i] = mlxn_alloc((size_t)bytes);
        if (set->copies[i] && !mlxn_buffer_read(buffer, 0, set->copies[i], bytes, &error)) continue;
        snprintf(text, size, "cannot be read back: %s", error.status ? error.message : "out of memory");
        return false;
    }
    return true;
}

static uint8_t *region_of(const check_set *set, uint32_t i) {
    uint8_t *host = mlxn_buffer_contents(set->buffers[i]);
    return host ? host : set->copies[i];
}

const mlxn_kernel_row *check_last_row(const mlxn_encoder *encoder) {
    const mlxn_node_list *list = &encoder->open->list;
    for (size_t i = list->count; i-- > 0;)
        if (list->nodes[i].kind == MLXN_NODE_DISPATCH) return list->nodes[i].u.dispatch->kernel;
    return NULL;
}

/* Puts the regions back to what they were, except weights, which nothing changes. */
static bool restore(check_set *set, const check_instance *instance) {
    for (uint32_t i = 0; i < instance->def->n_args; i++) {
        const check_operand *operand = &instance->operands[i];
        if (!set->buffers[i] || operand->view.weight) continue;
        if (mlxn_buffer_write(set->buffers[i], 0, operand->init, operand->bytes, NULL)) return false;
    }
    return true;
}

/* Records and runs once. NOT_SERVED if another row would take the case. */
static check_result run_once(mlxn_device *device, const check_instance *instance, check_set *set,
                             const mlxn_kernel_row *row, char *text, size_t size) {
    const mlxn_op_def *def = instance->def;
    mlxn_encoder *encoder = NULL;
    mlxn_error error;
    check_result result = CHECK_FAILED;
    if (mlxn_encoder_create(device, &encoder, &error) ||
        mlxn_encode(encoder, instance->op, set->args, def->n_args, def->params_size ? instance->c.params : NULL,
                    def->params_size)) {
        if (encoder) mlxn_encoder_status(encoder, &error);
        snprintf(text, size, "cannot be recorded: %s", error.message);
    } else if (check_last_row(encoder) != row) {
        result = CHECK_NOT_SERVED;
    } else if (mlxn_encoder_commit_and_wait(encoder, "check", &error)) {
        snprintf(text, size, "execution failed: %s", error.message);
    } else if (fetch(set, text, size)) {
        result = CHECK_PASSED;
    }
    mlxn_encoder_destroy(encoder);
    return result;
}

/* Everything about one finished run but the comparison with other runs. */
static bool verify(check_instance *instance, const check_set *set, bool fast, uint32_t in_place, check_tally *tally,
                   char *text, size_t size) {
    const mlxn_op_def *def = instance->def;
    for (uint32_t i = 0; i < def->n_args; i++) {
        const check_operand *operand = &instance->operands[i];
        if (!operand->init) continue;
        bool output = def->args[i].role != MLXN_ROLE_IN, shared = in_place != UINT32_MAX && i + 1 == def->n_args;
        uint32_t home = shared ? in_place : i;
        const uint8_t *region = region_of(set, home);
        const check_operand *holder = &instance->operands[home];
        if (!output) {
            if (i == in_place || !memcmp(region, operand->init, operand->bytes)) continue;
            size_t at = 0;
            while (region[at] == operand->init[at]) at++;
            snprintf(text, size, "%s was changed: it is only read (byte %lld from the first element)",
                     def->args[i].name, (long long)at - (long long)operand->first);
            return false;
        }
        mlxn_view got = holder->view;
        got.data = region_of(set, home) + holder->first;
        double worst = 0;
        char why[400];
        if (!check_output(instance, i, &got, fast, &worst, why, sizeof why) ||
            !check_surroundings(holder, region, why, sizeof why)) {
            snprintf(text, size, "%s%s%s", shared ? "in place: " : "", why[0] == 'b' ? def->args[i].name : "",
                     why[0] == 'b' ? ": " : "");
            size_t used = strlen(text);
            snprintf(text + used, size - used, "%s", why);
            return false;
        }
        if (worst > tally->worst) {
            tally->worst = worst;
            tally->worst_case = instance->number;
        }
    }
    return true;
}

/* The outputs of this run equal those of the first one, bit by bit. */
static bool same_bits(const check_instance *instance, const check_set *set, uint8_t **first, const char *what,
                      char *text, size_t size) {
    for (uint32_t i = 0; i < instance->def->n_args; i++) {
        const check_operand *operand = &instance->operands[i];
        if (!operand->ref) continue;
        const uint8_t *region = region_of(set, i);
        if (!first[i]) {
            first[i] = mlxn_alloc(operand->bytes);
            if (!first[i]) return snprintf(text, size, "out of memory"), false;
            memcpy(first[i], region, operand->bytes);
        } else if (memcmp(first[i], region, operand->bytes)) {
            size_t at = 0;
            while (region[at] == first[i][at]) at++;
            snprintf(text, size, "%s: other bits %s (element at offset %lld)", instance->def->args[i].name, what,
                     ((long long)at - (long long)operand->first) / (long long)mlxn_dtype_size(operand->view.dtype));
            return false;
        }
    }
    return true;
}

static bool may_alias(const check_instance *instance, uint32_t input) {
    const check_operand *a = &instance->operands[input], *out = &instance->operands[instance->def->n_args - 1];
    return instance->def->inplace >> input & 1 && a->init && a->view.dtype == out->view.dtype &&
           mlxn_view_same_dims(&a->view, &out->view);
}

static check_result run_on(const check_options *options, check_instance *instance, const mlxn_kernel_row *row,
                           uint32_t level, mlxn_precision precision, bool force, check_tally *tally, char *text,
                           size_t size) {
    bool fast = !(row->precision & 1u << MLXN_PRECISION_F32);
    uint8_t *first[MLXN_MAX_ARGS] = {0};
    check_result result = CHECK_PASSED;
    if (!check_bounds(instance, fast)) return snprintf(text, size, "the bound failed"), CHECK_FAILED;
    for (uint32_t threads = 1; threads <= (options->quick ? 2 : CHECK_MAX_THREADS); threads++) {
        mlxn_device *device = check_device(options, level, precision, threads);
        if (!device) return snprintf(text, size, "no device"), CHECK_FAILED;
        check_force_row(device, force ? row : NULL);
        check_set set;
        mlxn_error error;
        if (!check_set_create(&set, device, instance, UINT32_MAX, &error)) {
            snprintf(text, size, "cannot be set up: %s", error.message);
            result = CHECK_FAILED;
        }
        for (uint32_t repeat = 0; result == CHECK_PASSED && repeat < (threads == 2 ? 2 : 1); repeat++) {
            char what[64];
            snprintf(what, sizeof what, repeat ? "on a second run" : "with %u threads than with 1", threads);
            if (repeat && !restore(&set, instance)) result = CHECK_FAILED;
            if (result == CHECK_PASSED) result = run_once(device, instance, &set, row, text, size);
            if (result != CHECK_PASSED) break;
            tally->runs++;
            if (!verify(instance, &set, fast, UINT32_MAX, tally, text, size) ||
                !same_bits(instance, &set, first, what, text, size))
                result = CHECK_FAILED;
        }
        check_set_release(&set);
        for (uint32_t i = 0; result == CHECK_PASSED && threads == 2 && i < instance->def->n_args; i++) {
            if (!may_alias(instance, i)) continue;
            if (!check_set_create(&set, device, instance, i, &error)) {
                snprintf(text, size, "cannot be set up: %s", error.message);
                result = CHECK_FAILED;
            }
            if (result == CHECK_PASSED) {
                result = run_once(device, instance, &set, row, text, size);
                if (result == CHECK_PASSED && !verify(instance, &set, fast, i, tally, text, size))
                    result = CHECK_FAILED;
                tally->runs += result != CHECK_NOT_SERVED;
                if (result == CHECK_NOT_SERVED) result = CHECK_PASSED; /* another row takes that layout */
            }
            check_set_release(&set);
        }
        check_force_row(NULL, NULL);
        if (result != CHECK_PASSED) break;
    }
    for (uint32_t i = 0; i < MLXN_MAX_ARGS; i++) mlxn_free(first[i]);
    return result;
}

check_result check_run_case(const check_options *options, check_instance *instance, const mlxn_kernel_row *row,
                            check_tally *tally, char *text, size_t size) {
    text[0] = 0;
    uint32_t level = check_row_level(row), top = check_machine_level(options);
    check_result all = CHECK_NOT_SERVED;
    for (int p = 0; p < 2; p++) {
        mlxn_precision precision = p ? MLXN_PRECISION_F32 : MLXN_PRECISION_FAST;
        if (!(row->precision & 1u << precision)) continue;
        /* At its own level, and on a device with all levels where the row is what that device chooses. */
        check_result result = run_on(options, instance, row, level, precision, true, tally, text, size);
        if (result == CHECK_NOT_SERVED) continue;
        if (result == CHECK_PASSED && level < top)
            result = run_on(options, instance, row, top, precision, false, tally, text, size);
        if (result == CHECK_FAILED) return CHECK_FAILED;
        all = CHECK_PASSED;
        if (options->quick) break;
    }
    return all;
}
