/* profile_report.c: a profile as tables for people and as JSON. */
#include <stdio.h>
#include <string.h>

#include "profile.h"

static double ms(double ns) { return ns * 1e-6; }
static double part(double a, double b) { return b > 0 ? a / b : 0; }

/* "12.3" with three figures or so, "-" for nothing. */
static const char *figure(double value, char out[24]) {
    if (!(value > 0))
        strcpy(out, "-");
    else
        snprintf(out, 24, value < 10 ? "%.2f" : value < 1000 ? "%.1f" : "%.0f", value);
    return out;
}

static void print_ops(const profile_result *result, const profile_phase *phase) {
    uint32_t shown =
        result->options->top && result->options->top < phase->n_ops ? (uint32_t)result->options->top : phase->n_ops;
    printf("  %-18s %-24s %7s %10s %7s %8s %8s %9s %8s\n", "op", "kernel", "calls", "ms", "share", "GB/s", "GFLOP/s",
           "flop/byte", "of roof");
    double rest = 0;
    for (uint32_t i = shown; i < phase->n_ops; i++) rest += phase->ops[i].ns;
    for (uint32_t i = 0; i < shown; i++) {
        const profile_op *op = &phase->ops[i];
        char bytes[24], flops[24], intensity[24], roof[24];
        double least = profile_least_seconds(result, op) * 1e9;
        figure(least > 0 ? 100 * part(least, op->ns) : 0, roof);
        printf("  %-18s %-24s %7llu %10.3f %5.1f %% %8s %8s %9s %8s\n", op->op, op->kernel,
               (unsigned long long)op->calls, ms(op->ns), 100 * part(op->ns, (double)phase->wall_ns),
               figure(part(op->bytes, op->ns), bytes), figure(part(op->flops, op->ns), flops),
               figure(part(op->flops, op->bytes), intensity), strcmp(roof, "-") ? strcat(roof, " %") : roof);
    }
    if (shown < phase->n_ops)
        printf("  %-18s %-24s %7u %10.3f %5.1f %%\n", "(other rows)", "--top 0 shows them", phase->n_ops - shown,
               ms(rest), 100 * part(rest, (double)phase->wall_ns));
    double gaps = (double)phase->wall_ns - (double)phase->active_ns;
    printf("  %-18s %-24s %7s %10.3f %5.1f %%\n", "(gaps)", "nothing runs", "", ms(gaps),
           100 * part(gaps, (double)phase->wall_ns));
}

static void print_phase(const profile_result *result, const profile_phase *phase) {
    double bytes = 0, flops = 0, busy = 0;
    for (uint32_t i = 0; i < phase->n_ops; i++) {
        bytes += phase->ops[i].bytes;
        flops += phase->ops[i].flops;
        busy += (double)phase->ops[i].busy_ns;
    }
    printf("\n%s: %llu tokens in %.3f ms (%.1f tokens/s); %.2f GB/s, %.1f GFLOP/s; %.2f of %u threads busy\n\n",
           phase->name, (unsigned long long)phase->tokens, ms((double)phase->wall_ns),
           cli_rate(phase->tokens, phase->wall_ns), part(bytes, (double)phase->wall_ns),
           part(flops, (double)phase->wall_ns), part(busy, (double)phase->wall_ns), result->device.threads);
    print_ops(result, phase);
    printf("\n  %-43s %7s %10s %10s %10s %8s\n", "stage", "count", "ms", "min ms", "max ms", "GB/s");
    for (uint32_t i = 0; i < phase->n_stages; i++) {
        const profile_stage *s = &phase->stages[i];
        char rate[24];
        printf("  %-43.43s %7llu %10.3f %10.3f %10.3f %8s\n", *s->label ? s->label : "(no label)",
               (unsigned long long)s->count, ms((double)s->total_ns), ms((double)s->min_ns), ms((double)s->max_ns),
               figure(part(s->bytes, (double)s->total_ns), rate));
    }
}

void profile_print(const profile_result *result) {
    const char *name = result->runtime->info.name;
    printf("model: %s; %s, %u threads, %s\n", name ? name : "?", result->device.name ? result->device.name : "?",
           result->device.threads, result->device.precision == MLXN_PRECISION_F32 ? "f32" : "fast");
    printf("roofs: %.2f GB/s, %.1f GFLOP/s in f32, %.1f Gop/s in 8 bits (measured now)\n",
           result->roofs.bytes_per_second * 1e-9, result->roofs.f32_flops * 1e-9, result->roofs.int8_ops * 1e-9);
    for (int i = 0; i < PROFILE_PHASES; i++) print_phase(result, &result->phases[i]);
    printf(
        "\nof roof: the time that memory bandwidth and peak arithmetic allow at least, as a part of the time taken;\n"
        "above 100 %% where operands come from caches. Attention counts every slot of the cache.\n");
}

/* ---- JSON ---- */

static json_t *op_json(const profile_result *result, const profile_phase *phase, const profile_op *op) {
    double least = profile_least_seconds(result, op) * 1e9;
    return json_pack("{s:s,s:s,s:I,s:o,s:o,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "op", op->op, "kernel",
                     op->kernel, "calls", (json_int_t)op->calls, "time_ns", cli_json_real(op->ns), "share",
                     cli_json_real(part(op->ns, (double)phase->wall_ns)), "busy_ns", (json_int_t)op->busy_ns,
                     "min_ns", (json_int_t)op->min_ns, "max_ns", (json_int_t)op->max_ns, "bytes",
                     cli_json_real(op->bytes), "flops", cli_json_real(op->flops), "int8_ops",
                     cli_json_real(op->int8_ops), "bytes_per_second", cli_json_real(1e9 * part(op->bytes, op->ns)),
                     "flops_per_second", cli_json_real(1e9 * part(op->flops, op->ns)), "intensity",
                     op->bytes > 0 ? cli_json_real(op->flops / op->bytes) : json_null(), "roof_fraction",
                     least > 0 && op->ns > 0 ? cli_json_real(least / op->ns) : json_null());
}

static json_t *phase_json(const profile_result *result, const profile_phase *phase) {
    json_t *ops = json_array(), *stages = json_array();
    for (uint32_t i = 0; i < phase->n_ops; i++) json_array_append_new(ops, op_json(result, phase, &phase->ops[i]));
    for (uint32_t i = 0; i < phase->n_stages; i++) {
        const profile_stage *s = &phase->stages[i];
        json_array_append_new(
            stages,
            json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "label", cli_json_text(s->label, strlen(s->label)),
                      "count", (json_int_t)s->count, "total_ns", (json_int_t)s->total_ns, "min_ns",
                      (json_int_t)s->min_ns, "max_ns", (json_int_t)s->max_ns, "busy_ns", (json_int_t)s->busy_ns,
                      "bytes", cli_json_real(s->bytes), "flops", cli_json_real(s->flops)));
    }
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "phase", phase->name, "tokens", (json_int_t)phase->tokens,
                     "wall_ns", (json_int_t)phase->wall_ns, "active_ns", (json_int_t)phase->active_ns, "gap_ns",
                     (json_int_t)phase->wall_ns - (json_int_t)phase->active_ns, "tokens_per_second",
                     cli_json_real(cli_rate(phase->tokens, phase->wall_ns)), "operations", ops, "stages", stages);
}

json_t *profile_json(const profile_result *result) {
    json_t *phases = json_array();
    for (int i = 0; i < PROFILE_PHASES; i++) json_array_append_new(phases, phase_json(result, &result->phases[i]));
    const char *name = result->runtime->info.name ? result->runtime->info.name : "";
    const char *device = result->device.name ? result->device.name : "";
    return json_pack("{s:o,s:s,s:o,s:I,s:s,s:s,s:s,s:I,s:{s:o,s:o,s:o},s:o}", "model",
                     cli_json_text(name, strlen(name)), "backend", result->device.backend, "device",
                     cli_json_text(device, strlen(device)), "threads", (json_int_t)result->device.threads,
                     "precision", result->device.precision == MLXN_PRECISION_F32 ? "f32" : "fast", "date",
                     result->date, "version", mlxn_version(), "dropped", (json_int_t)result->dropped, "roofs",
                     "bytes_per_second", cli_json_real(result->roofs.bytes_per_second), "f32_flops",
                     cli_json_real(result->roofs.f32_flops), "int8_ops", cli_json_real(result->roofs.int8_ops),
                     "phases", phases);
}
