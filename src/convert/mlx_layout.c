/* mlx_layout.c: the tensors of a Hugging Face folder as mlx-lm's loaders arrange them before they quantize, which is
 * how MLX keeps quantized models: experts in stacks, gates and ups apart; norms and convolutions of hybrids in their
 * other form; text models inside others under MLX's names. And which matrices have another quantization than the
 * rest: routers, 8 bits in groups of 64. A folder of an architecture that the library does not have stays as it is.
 */
#include <inttypes.h>
#include <stdio.h>

#include "convert/stacks.h"
#include "lm/lm_internal.h"

typedef struct layout {
    mlxn_cv_source *source;
    const mlxn_lm_arch *arch;
    const char *path;
    const char *body, *head;       /* what stands for "model." and before "lm_head." in names */
    const char *to_body, *to_head; /* and shall stand */
    bool shifts;                   /* norms of a hybrid, as Hugging Face has them */
    mlxn_cv_stacks stacks;
} layout;

/* Where a tensor belongs. */
typedef struct place {
    uint64_t layer;
    const char *rest; /* of the name, after "layers.<layer>." */
    const mlxn_lm_tensor_spec *spec;
    int64_t expert; /* that it is of, where each has a tensor; -1 */
    bool joined;    /* several stacks in one */
} place;

static bool begins(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static const mlxn_cv_tensor *find(const mlxn_cv_source *s, const char *name) {
    for (uint64_t i = 0; i < s->n; i++)
        if (!strcmp(s->tensors[i].name, name)) return &s->tensors[i];
    return NULL;
}

static bool is_hybrid(const mlxn_lm_arch *arch) {
    for (const mlxn_lm_tensor_spec *spec = arch->layer_tensors; !mlxn_lm_spec_ends(spec); spec++)
        if (spec->taps) return true;
    return false;
}

static void find_prefixes(layout *l) {
    static const char *const prefixes[][2] = {
        {"model.", ""}, {"language_model.model.", "language_model."}, {"model.language_model.", ""}, {"", ""}};
    char name[96];
    l->body = l->to_body = prefixes[0][0];
    l->head = l->to_head = prefixes[0][1];
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i][0]);
        if (!find(l->source, name)) continue;
        l->body = l->to_body = prefixes[i][0];
        l->head = l->to_head = prefixes[i][1];
        break;
    }
    bool inside = !strcmp(l->body, prefixes[2][0]) && !strcmp(l->arch->name, "gemma4");
    if (inside || begins(l->arch->name, "qwen3_5")) {
        l->to_body = prefixes[1][0];
        l->to_head = prefixes[1][1];
    }
}

static bool find_place(const layout *l, const char *name, place *out) {
    static const char layers[] = "layers.";
    size_t body = strlen(l->body);
    if (strncmp(name, l->body, body) != 0 || !begins(name + body, layers)) return false;
    const char *digits = name + body + sizeof layers - 1;
    size_t n = strspn(digits, "0123456789");
    if (!n || n > 6 || digits[n] != '.') return false;
    *out = (place){.layer = strtoull(digits, NULL, 10), .rest = digits + n + 1, .expert = -1};
    for (const mlxn_lm_tensor_spec *spec = l->arch->layer_tensors; !mlxn_lm_spec_ends(spec); spec++) {
        if (!spec->names.folder) continue;
        out->spec = spec;
        if (!strcmp(out->rest, spec->names.folder)) return true;
        out->expert = mlxn_cv_expert_of(spec->each, out->rest);
        if (out->expert >= 0) return true;
        out->joined = spec->joined && !strcmp(out->rest, spec->joined);
        if (out->joined) return true;
    }
    out->spec = NULL;
    return true;
}

static mlxn_status no_memory(const layout *l, mlxn_error *error) {
    return mlxn_fail(error, MLXN_ERR_MEMORY, "%s: out of memory for names", l->path);
}

static mlxn_status rename_to(const layout *l, mlxn_cv_tensor *t, const char *front, const char *rest,
                             mlxn_error *error) {
    size_t size = strlen(front) + strlen(rest) + 1;
    char *copy = mlxn_alloc(size);
    if (!copy) return no_memory(l, error);
    snprintf(copy, size, "%s%s", front, rest);
    mlxn_free(t->name);
    t->name = copy;
    return MLXN_OK;
}

/* The stacks of which `t` is made: each is the same rows of every expert. The first takes its place. */
static mlxn_status split(layout *l, uint64_t index, const place *at, mlxn_error *error) {
    const mlxn_cv_tensor whole = l->source->tensors[index];
    bool first = true;
    for (const mlxn_lm_tensor_spec *spec = at->spec; !mlxn_lm_spec_ends(spec); spec++) {
        char name[200];
        if (!spec->joined || strcmp(spec->joined, at->spec->joined) != 0) continue;
        if (whole.rank != 3 || whole.parts || !whole.rows || whole.dims[1] % spec->joined_parts)
            return mlxn_fail(error, MLXN_ERR_FORMAT, "%s: tensor \"%.100s\": is no stack of matrices of %u parts",
                             l->path, whole.name, spec->joined_parts);
        mlxn_cv_tensor one = whole;
        uint64_t bytes = whole.bytes / whole.dims[0] / spec->joined_parts;
        snprintf(name, sizeof name, "%slayers.%" PRIu64 ".%s", l->to_body, at->layer, spec->names.folder);
        one.name = mlxn_strdup(name);
        one.dims[1] /= spec->joined_parts;
        one.rows /= spec->joined_parts;
        one.bytes /= spec->joined_parts;
        one.part_rows = one.dims[1];
        one.rule = MLXN_CV_STACK;
        one.parts = mlxn_alloc_array((size_t)one.dims[0], sizeof *one.parts);
        for (uint64_t e = 0; one.parts && e < one.dims[0]; e++)
            one.parts[e] =
                (mlxn_cv_part){whole.data + (e * spec->joined_parts + spec->joined_part) * bytes, whole.index};
        if (!one.name || !one.parts) {
            mlxn_free(one.name);
            mlxn_free(one.parts);
            return no_memory(l, error);
        }
        if (first) {
            mlxn_free(l->source->tensors[index].name);
            l->source->tensors[index] = one;
            l->source->bytes -= whole.bytes - one.bytes;
        } else if (!mlxn_cv_add(l->source, &one)) {
            mlxn_free(one.parts);
            return no_memory(l, error);
        }
        first = false;
    }
    return MLXN_OK;
}

static mlxn_cv_rule rule_of(const layout *l, const mlxn_lm_tensor_spec *spec) {
    size_t m = spec->member;
    if (spec->experts && spec->cols) return MLXN_CV_STACK;
    if (m == offsetof(mlxn_lm_layer, shared_gate)) return MLXN_CV_FINE;
    /* DeepSeek's is no linear layer in MLX, and never quantized. */
    if (m == offsetof(mlxn_lm_layer, router))
        return strcmp(l->arch->name, "deepseek_v2") ? MLXN_CV_FINE : MLXN_CV_WHOLE;
    if (spec->change == MLXN_LM_NEGATIVE_EXP) return MLXN_CV_AS_IS;
    return spec->cols ? MLXN_CV_USUAL : MLXN_CV_WHOLE;
}

static mlxn_status arrange(layout *l, uint64_t index, mlxn_error *error) {
    mlxn_cv_tensor *t = &l->source->tensors[index];
    size_t body = strlen(l->body), head = strlen(l->head);
    place at;
    if (find_place(l, t->name, &at)) {
        if (at.spec && at.joined) return split(l, index, &at, error);
        if (at.spec) {
            t->rule = rule_of(l, at.spec);
            if (l->shifts && !at.spec->cols && !at.spec->taps && at.spec->change == MLXN_LM_SHIFT)
                t->shift += l->arch->folder_vector_shift;
            if (at.spec->taps && t->rank == 3 && t->dims[1] == 1) { /* the same bytes */
                t->dims[1] = t->dims[2];
                t->dims[2] = 1;
                t->rule = MLXN_CV_WHOLE;
            }
        }
        if (at.expert >= 0) {
            char name[200];
            snprintf(name, sizeof name, "%slayers.%" PRIu64 ".%s", l->to_body, at.layer, at.spec->names.folder);
            return mlxn_cv_stacks_add(&l->stacks, t, name, (uint64_t)at.expert, error);
        }
        return rename_to(l, t, l->to_body, t->name + body, error);
    }
    if (l->shifts && !strncmp(t->name, l->body, body) && !strcmp(t->name + body, "norm.weight"))
        t->shift += l->arch->folder_vector_shift;
    if (!strncmp(t->name, l->head, head) && begins(t->name + head, "lm_head."))
        return rename_to(l, t, l->to_head, t->name + head, error);
    return body && begins(t->name, l->body) ? rename_to(l, t, l->to_body, t->name + body, error) : MLXN_OK;
}

/* Heads that guess further tokens, which MLX leaves out. */
static bool is_left_out(const layout *l, const char *name) {
    return is_hybrid(l->arch) && (begins(name, "mtp.") || strstr(name, ".mtp."));
}

static const mlxn_lm_arch *find_arch(const mlxn_config *config) {
    mlxn_config_value value;
    if (!mlxn_config_find(config, "model_type", &value) || value.type != MLXN_CONFIG_STRING) return NULL;
    return mlxn_lm_arch_find(value.v.s, true);
}

mlxn_status mlxn_cv_mlx_layout(mlxn_cv_source *source, const char *path, mlxn_error *error) {
    layout l = {.source = source,
                .arch = find_arch(source->config),
                .path = path,
                .stacks = {.source = source, .path = path}};
    place at;
    if (!l.arch) return MLXN_OK;
    find_prefixes(&l);
    for (uint64_t i = 0; i < source->n; i++) {
        const mlxn_cv_tensor *t = &source->tensors[i];
        if (!find_place(&l, t->name, &at) || !at.spec) continue;
        if (at.expert >= 0) l.stacks.experts = mlxn_max_u64(l.stacks.experts, (uint64_t)at.expert + 1);
        if (at.spec->taps && t->rank == 3 && t->dims[2] != 1) l.shifts = true;
    }
    mlxn_status status = MLXN_OK;
    uint64_t n = source->n; /* what splits add needs nothing more */
    for (uint64_t i = 0; !status && i < n; i++) {
        if (!is_left_out(&l, source->tensors[i].name)) {
            status = arrange(&l, i, error);
            continue;
        }
        source->bytes -= source->tensors[i].bytes;
        mlxn_free(source->tensors[i].name);
        source->tensors[i].name = NULL;
    }
    return status ? status : mlxn_cv_stacks_close(&l.stacks, error);
}
