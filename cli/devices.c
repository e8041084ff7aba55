/* devices.c: `mlxn devices`: the backends of this build with what this machine has for them, the backends that are
 * not there with reason and cure, and with --env the variables that change behaviour. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name, *cure;
} planned[] = {
    {"metal", "use --device cpu; an Apple GPU is not used by this version"},
};

/* Of the program; those of the library are mlxn_gate_list's. */
static const mlxn_gate_info defaults[] = {
    {.name = "MLXN_MODEL", .meaning = "the model when -m is not given"},
    {.name = "MLXN_DEVICE", .meaning = "the device when --device is not given"},
    {.name = "MLXN_THREADS", .meaning = "the threads when -t is not given"},
    {.name = "MLXN_PRECISION", .meaning = "the precision when --precision is not given"},
    {.name = "MLXN_CTX_SIZE", .meaning = "the context size when -c is not given"},
    {.name = "MLXN_MEMORY_LIMIT", .meaning = "the memory limit when --memory-limit is not given"},
};

enum { N_PLANNED = sizeof planned / sizeof planned[0], N_DEFAULTS = sizeof defaults / sizeof defaults[0] };

/* Row i of all variables: first the library's, then the program's. */
static bool variable(uint32_t i, mlxn_gate_info *out) {
    if (mlxn_gate_list(i, out)) return true;
    uint32_t gates = 0;
    while (mlxn_gate_list(gates, NULL)) gates++;
    if (i - gates >= N_DEFAULTS) return false;
    *out = defaults[i - gates];
    out->value = getenv(out->name);
    out->on = out->value && out->value[0];
    return true;
}

static const char *isa_text(uint32_t isa, char out[48]) {
    out[0] = 0;
    if (isa & MLXN_ISA_AVX2) strcat(out, "avx2 ");
    if (isa & MLXN_ISA_AVX512) strcat(out, "avx512 ");
    if (isa & MLXN_ISA_VNNI) strcat(out, "vnni ");
    if (out[0]) out[strlen(out) - 1] = 0;
    return out;
}

static bool is_built(const char *name) {
    for (uint32_t i = 0; mlxn_backend_name(i); i++)
        if (!strcmp(mlxn_backend_name(i), name)) return true;
    return false;
}

/* ---- JSON ---- */

static json_t *device_json(const char *backend, uint32_t index, const mlxn_device_info *info) {
    char isa[48];
    return json_pack("{s:s,s:I,s:s,s:I,s:s,s:b,s:I,s:I}", "backend", backend, "index", (json_int_t)index, "name",
                     info->name, "threads", (json_int_t)info->threads, "isa", isa_text(info->isa, isa), "computes",
                     (int)info->computes, "memory_total", (json_int_t)info->memory_total, "memory_free",
                     (json_int_t)info->memory_free);
}

static json_t *variables_json(void) {
    json_t *array = json_array();
    mlxn_gate_info v;
    for (uint32_t i = 0; variable(i, &v); i++)
        json_array_append_new(array, json_pack("{s:s,s:o,s:b,s:s}", "name", v.name, "value",
                                               v.value ? cli_json_text(v.value, strlen(v.value)) : json_null(), "on",
                                               (int)v.on, "meaning", v.meaning));
    return array;
}

/* ---- one pass over the backends, printing or collecting ---- */

typedef struct listing {
    json_t *devices, *absent; /* NULL when printing text */
} listing;

static void add_device(listing *list, const char *backend, uint32_t index, const mlxn_device_info *info) {
    char isa[48], memory[32], free_memory[32];
    if (list->devices) {
        json_array_append_new(list->devices, device_json(backend, index, info));
        return;
    }
    printf("%s:%u  %s\n", backend, index, info->name);
    if (!info->computes) {
        printf("       for tests: its results are not values\n");
        return;
    }
    if (!strcmp(backend, "cpu"))
        printf("       %u threads, instruction sets: %s\n", info->threads,
               info->isa ? isa_text(info->isa, isa) : "base");
    else
        printf("       %u multiprocessors\n", info->threads);
    if (info->memory_total)
        printf("       memory %s, %s free\n", cli_bytes(info->memory_total, memory),
               cli_bytes(info->memory_free, free_memory));
}

static void add_absent(listing *list, const char *backend, const char *reason, const char *cure) {
    if (list->absent)
        json_array_append_new(list->absent,
                              json_pack("{s:s,s:s,s:s}", "backend", backend, "reason", reason, "cure", cure));
    else
        printf("%s: absent: %s; %s\n", backend, reason, cure);
}

static void add_backend(listing *list, const char *backend) {
    mlxn_error error = {0};
    uint32_t n = mlxn_backend_device_count(backend, &error);
    if (!n) add_absent(list, backend, error.message, "see the message, or use --device cpu");
    for (uint32_t i = 0; i < n; i++) {
        mlxn_device_desc desc = {.struct_size = sizeof desc, .backend = backend, .index = i};
        mlxn_device_info info = {.struct_size = sizeof info};
        mlxn_device *device = NULL;
        if (mlxn_device_create(&desc, &device, &error) || mlxn_device_get_info(device, &info))
            add_absent(list, backend, error.message, "see the message, or use --device cpu");
        else
            add_device(list, backend, i, &info);
        mlxn_device_release(&device);
    }
}

static void print_variables(void) {
    printf("\nenvironment (* = in effect)\n");
    mlxn_gate_info v;
    for (uint32_t i = 0; variable(i, &v); i++)
        printf("%c %-28s %-10s %s\n", v.on ? '*' : ' ', v.name,
               !v.value   ? "(unset)"
               : *v.value ? v.value
                          : "\"\"",
               v.meaning);
}

int cmd_devices(const cli_options *options) {
    listing list = {NULL, NULL};
    if (options->json) {
        list.devices = json_array();
        list.absent = json_array();
        if (!list.devices || !list.absent) return cli_print_json(NULL);
    }
    for (uint32_t i = 0; mlxn_backend_name(i); i++) add_backend(&list, mlxn_backend_name(i));
    for (int i = 0; i < N_PLANNED; i++)
        if (!is_built(planned[i].name))
            add_absent(&list, planned[i].name, "not built in this version", planned[i].cure);
    if (options->json) {
        json_t *root = json_pack("{s:o,s:o}", "devices", list.devices, "absent", list.absent);
        if (root && options->env) json_object_set_new(root, "environment", variables_json());
        return cli_print_json(root);
    }
    if (options->env) print_variables();
    return EXIT_GOOD;
}
