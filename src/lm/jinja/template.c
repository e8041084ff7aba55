/* template.c: the public functions: compile a template, render it. */
#include "lm/jinja/internal.h"
#include "lm/lm_internal.h"

enum { MAX_TEMPLATE = 4 << 20, MAX_DEPTH = 500, PARSE_DEPTH = 200 };
#define PARSE_MEMORY ((uint64_t)1 << 30)

/* What a compilation and a rendering have in common: `work` runs until it returns or fails. */
static mlxn_status run(jn_run *r, void (*work)(jn_run *r, void *user), void *user) {
    if (setjmp(r->escape)) {
        mlxn_jn_free_blocks(r->blocks);
        r->blocks = NULL;
        return r->status;
    }
    work(r, user);
    return mlxn_succeed(r->error);
}

typedef struct source {
    const char *text, *name;
    size_t bytes;
    mlxn_template *made;
} source;

static void compile(jn_run *r, void *user) {
    source *s = user;
    mlxn_template *t = mlxn_jn_alloc(r, sizeof *t);
    t->name = mlxn_jn_string_copy(r, r->name, strlen(r->name) + 1).s->data;
    jn_parser p = {.r = r, .at = mlxn_jn_lex(r, s->text, s->bytes)};
    mlxn_jn_parse_template(&p, &t->body);
    t->names = p.names;
    t->n_names = p.n_names;
    t->blocks = r->blocks;
    s->made = t;
}

mlxn_status mlxn_template_compile(const char *text, size_t bytes, const char *name, mlxn_template **out,
                                  mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "template: out is NULL");
    *out = NULL;
    if (!text && bytes) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "template: text is NULL");
    if (bytes > MAX_TEMPLATE)
        return mlxn_fail(error, MLXN_ERR_LIMIT, "template: the text has %zu bytes, at most %d are allowed", bytes,
                         MAX_TEMPLATE);
    jn_run r = {.name = name ? name : "template",
                .error = error,
                .max_memory = PARSE_MEMORY,
                .max_output = MAX_TEMPLATE * (uint64_t)2,
                .max_steps = UINT64_MAX / 2,
                .max_depth = PARSE_DEPTH};
    source s = {.text = text ? text : "", .bytes = bytes};
    mlxn_status status = run(&r, compile, &s);
    *out = s.made;
    return status;
}

void mlxn_template_destroy(mlxn_template **t) {
    if (!t || !*t) return;
    mlxn_jn_free_blocks((*t)->blocks);
    *t = NULL;
}

bool mlxn_jn_uses(const mlxn_template *t, const char *name) {
    for (size_t i = 0; i < t->n_names; i++)
        if (mlxn_jn_is(t->names[i], name)) return true;
    return false;
}

typedef struct rendering {
    const mlxn_template *t;
    const mlxn_jn_context *context;
    const mlxn_template_desc *desc;
    jn_out out;
} rendering;

static jn_value messages(jn_run *r, const mlxn_jn_context *c) {
    const mlxn_message *m = c->messages;
    size_t n = m ? c->n_messages : 0;
    jn_value list = c->messages_json ? mlxn_jn_from_json(r, c->messages_json, c->messages_bytes, "the messages")
                                     : mlxn_jn_list_new(r, JN_ARRAY);
    if (list.type != JN_LIST) mlxn_jn_type_error(r, "the messages are %s, want a list", mlxn_jn_type_name(list));
    for (size_t i = 0; i < n; i++) {
        jn_value map = mlxn_jn_map_new(r);
        mlxn_jn_map_set(r, map.map, mlxn_jn_string_of(r, "role", 4),
                        mlxn_jn_string_of(r, m[i].role, strlen(m[i].role)));
        mlxn_jn_map_set(r, map.map, mlxn_jn_string_of(r, "content", 7),
                        mlxn_jn_string_of(r, m[i].content, strlen(m[i].content)));
        mlxn_jn_append(r, list, map);
    }
    return list;
}

static void set(jn_run *r, jn_scope *scope, const char *name, jn_value v) {
    mlxn_jn_scope_set(r, scope, mlxn_jn_text(r, name, strlen(name)), v);
}

static void render(jn_run *r, void *user) {
    rendering *w = user;
    jn_scope *scope = mlxn_jn_scope_new(r, NULL);
    const mlxn_jn_context *c = w->context;
    for (size_t i = 0; c && i < c->n_variables; i++)
        set(r, scope, c->variables[i].name, mlxn_jn_string_of(r, c->variables[i].text, c->variables[i].bytes));
    for (size_t i = 0; c && i < c->n_json; i++)
        set(r, scope, c->json[i].name, mlxn_jn_from_json(r, c->json[i].text, c->json[i].bytes, c->json[i].name));
    if (c && (c->messages || c->messages_json)) set(r, scope, "messages", messages(r, c));
    if (c && c->has_add_generation_prompt) set(r, scope, "add_generation_prompt", jn_bool(c->add_generation_prompt));
    if (w->desc->variables) {
        jn_value v = mlxn_jn_from_json(r, w->desc->variables, w->desc->variables_bytes, "the text of the variables");
        if (v.type != JN_MAP) mlxn_jn_type_error(r, "the variables are %s, want a JSON object", mlxn_jn_type_name(v));
        for (size_t i = 0; i < v.map->n; i++) mlxn_jn_scope_set(r, scope, v.map->v[i].key.s, v.map->v[i].value);
    }
    r->scope = mlxn_jn_scope_new(r, scope); /* what the template sets hides the context */
    r->out = &w->out;
    mlxn_jn_execute_body(r, &w->t->body);
}

mlxn_status mlxn_jn_render(const mlxn_template *t, const mlxn_jn_context *context, const mlxn_template_desc *desc,
                           char **text, size_t *bytes, mlxn_error *error) {
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "template: text is NULL");
    *text = NULL;
    if (bytes) *bytes = 0;
    if (!t) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "template: the template is NULL");
    mlxn_template_desc d;
    if (!mlxn_lm_copy_desc(&d, sizeof d, desc))
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "template: desc.struct_size is 0, want %zu", sizeof d);
    if (d.max_depth > MAX_DEPTH)
        return mlxn_fail(error, MLXN_ERR_ARGUMENT, "template: max_depth is %u, at most %d is allowed", d.max_depth,
                         MAX_DEPTH);
    jn_run r = {.name = t->name,
                .error = error,
                .max_memory = d.max_memory ? d.max_memory : (uint64_t)256 << 20,
                .max_output = d.max_output ? d.max_output : (uint64_t)32 << 20,
                .max_steps = d.max_steps ? d.max_steps : 20000000,
                .max_depth = d.max_depth ? d.max_depth : MAX_DEPTH,
                .now = d.now};
    rendering w = {.t = t, .context = context, .desc = &d};
    mlxn_status status = run(&r, render, &w);
    if (status != MLXN_OK) return status;
    *text = mlxn_strndup(w.out.size ? w.out.data : "", w.out.size);
    if (bytes && *text) *bytes = w.out.size;
    mlxn_jn_free_blocks(r.blocks);
    return *text ? MLXN_OK : mlxn_fail(error, MLXN_ERR_MEMORY, "template: no memory for the text");
}

mlxn_status mlxn_template_render(const mlxn_template *t, const mlxn_template_desc *desc, char **text, size_t *bytes,
                                 mlxn_error *error) {
    return mlxn_jn_render(t, NULL, desc, text, bytes, error);
}
