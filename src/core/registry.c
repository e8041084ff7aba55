/* registry.c: names, what is registered under them, and the variants that were prepared.
 *
 * A variant enters the table before it is prepared, so that a second lookup finds it and waits. Who registers the
 * name again takes its variants out of the table; those that are being prepared then go to their waiters alone.
 * Kernels are prepared, and released, without the lock. */
#include "core/core.h"
#include "core/kernel.h"

typedef struct registry_variant {
    struct registry_variant *next;
    uint64_t hash;
    uint32_t refs; /* the table's, and those of lookups that prepare it or wait for it */
    bool listed;   /* in the table */
    bool ready;    /* prepared, or failed */
    mlxn_kernel *kernel;
    mlxn_error failure;
    char key[];
} registry_variant;

typedef struct registry_name {
    struct registry_name *next;
    uint64_t hash;
    char *name;
    char *text; /* may be NULL, as may fn */
    uint8_t text_digest[32];
    mlxn_kernel_fn fn;
    void *user;
    registry_variant *variants;
} registry_name;

struct mlxn_registry {
    mlxn_device *device;
    pthread_mutex_t lock; /* all that follows */
    pthread_cond_t ready; /* a variant became ready */
    registry_name **buckets;
    size_t n_buckets; /* a power of two */
    uint32_t n_names;
    mlxn_cache *cache;
};

enum { FIRST_BUCKETS = 64 };

static uint64_t hash_of(const char *text, size_t length) { /* FNV-1a */
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3ull;
    return hash;
}

/* ---- names ---- */

static registry_name *find_name(const mlxn_registry *r, const char *name, size_t length) {
    uint64_t hash = hash_of(name, length);
    registry_name *n = r->buckets[hash & (r->n_buckets - 1)];
    while (n && (n->hash != hash || strlen(n->name) != length || memcmp(n->name, name, length))) n = n->next;
    return n;
}

/* Longer chains are no failure, so neither is want of memory here. */
static void grow(mlxn_registry *r) {
    size_t count = r->n_buckets * 2;
    registry_name **buckets = mlxn_alloc_array(count, sizeof *buckets);
    if (!buckets) return;
    for (size_t i = 0; i < r->n_buckets; i++)
        for (registry_name *n = r->buckets[i], *next; n; n = next) {
            next = n->next;
            n->next = buckets[n->hash & (count - 1)];
            buckets[n->hash & (count - 1)] = n;
        }
    mlxn_free(r->buckets);
    r->buckets = buckets;
    r->n_buckets = count;
}

static registry_name *add_name(mlxn_registry *r, const char *name) {
    registry_name *n = mlxn_alloc(sizeof *n);
    char *copy = mlxn_strdup(name);
    if (!n || !copy) {
        mlxn_free(n);
        mlxn_free(copy);
        return NULL;
    }
    if (r->n_names >= r->n_buckets) grow(r);
    n->name = copy;
    n->hash = hash_of(name, strlen(name));
    n->next = r->buckets[n->hash & (r->n_buckets - 1)];
    r->buckets[n->hash & (r->n_buckets - 1)] = n;
    r->n_names++;
    return n;
}

/* ---- variants ---- */

static registry_variant *find_variant(const registry_name *n, const char *key) {
    uint64_t hash = hash_of(key, strlen(key));
    registry_variant *v = n->variants;
    while (v && (v->hash != hash || strcmp(v->key, key))) v = v->next;
    return v;
}

/* Drops a reference with the lock held; what is left over goes to *gone, to be freed without it. */
static void drop(registry_variant *v, registry_variant **gone) {
    if (--v->refs) return;
    v->next = *gone;
    *gone = v;
}

static void unlist(registry_name *n, registry_variant *v, registry_variant **gone) {
    registry_variant **at = &n->variants;
    while (*at != v) at = &(*at)->next;
    *at = v->next;
    v->listed = false;
    drop(v, gone);
}

static void forget_variants(registry_name *n, registry_variant **gone) {
    while (n->variants) unlist(n, n->variants, gone);
}

static void free_variants(registry_variant *v) {
    for (registry_variant *next; v; v = next) {
        next = v->next;
        mlxn_kernel_release(&v->kernel);
        mlxn_free(v);
    }
}

/* ---- life ---- */

mlxn_status mlxn_registry_create(mlxn_device *device, mlxn_registry **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: out is NULL");
    *out = NULL;
    if (!device) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: device is NULL");
    mlxn_registry *r = mlxn_alloc(sizeof *r);
    registry_name **buckets = mlxn_alloc_array(FIRST_BUCKETS, sizeof *buckets);
    if (!r || !buckets) {
        mlxn_free(r);
        mlxn_free(buckets);
        return mlxn_fail(error, MLXN_ERR_MEMORY, "registry: out of memory for its record");
    }
    r->device = mlxn_device_retain(device);
    r->buckets = buckets;
    r->n_buckets = FIRST_BUCKETS;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->ready, NULL);
    *out = r;
    return mlxn_succeed(error);
}

void mlxn_registry_destroy(mlxn_registry *r) {
    if (!r) return;
    registry_variant *gone = NULL;
    for (size_t i = 0; i < r->n_buckets; i++)
        for (registry_name *n = r->buckets[i], *next; n; n = next) {
            next = n->next;
            forget_variants(n, &gone);
            mlxn_free(n->name);
            mlxn_free(n->text);
            mlxn_free(n);
        }
    free_variants(gone);
    mlxn_cache_release(r->cache);
    mlxn_free(r->buckets);
    pthread_cond_destroy(&r->ready);
    pthread_mutex_destroy(&r->lock);
    mlxn_device_release(&r->device);
    mlxn_free(r);
}

/* ---- registering ---- */

/* Takes over `text`, which is NULL when a function is registered. */
static mlxn_status put(mlxn_registry *r, const char *name, char *text, mlxn_kernel_fn fn, void *user,
                       mlxn_error *error) {
    uint8_t digest[32];
    if (text) mlxn_sha256(text, strlen(text), digest);
    registry_variant *gone = NULL;
    pthread_mutex_lock(&r->lock);
    registry_name *n = find_name(r, name, strlen(name));
    if (!n) n = add_name(r, name);
    if (n) {
        forget_variants(n, &gone);
        if (text) {
            char *old = n->text;
            n->text = text;
            text = old;
            memcpy(n->text_digest, digest, sizeof digest);
        } else {
            n->fn = fn;
            n->user = user;
        }
    }
    pthread_mutex_unlock(&r->lock);
    mlxn_free(text);
    free_variants(gone);
    return n ? mlxn_succeed(error)
             : mlxn_fail(error, MLXN_ERR_MEMORY, "kernel \"%s\": out of memory for its record", name);
}

mlxn_status mlxn_registry_register_source(mlxn_registry *r, const char *name, const char *text, mlxn_error *error) {
    if (!r) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: registry is NULL");
    if (mlxn_kernel_name_check(name, error)) return MLXN_ERR_ARGUMENT;
    if (!text) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": text is NULL", name);
    char *copy = mlxn_strdup(text);
    if (!copy)
        return mlxn_fail(error, MLXN_ERR_MEMORY, "kernel \"%s\": out of memory for %zu bytes of text", name,
                         strlen(text));
    return put(r, name, copy, NULL, NULL, error);
}

mlxn_status mlxn_registry_register_function(mlxn_registry *r, const char *name, mlxn_kernel_fn fn, void *user,
                                            mlxn_error *error) {
    if (!r) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: registry is NULL");
    if (mlxn_kernel_name_check(name, error)) return MLXN_ERR_ARGUMENT;
    if (!fn) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel \"%s\": fn is NULL", name);
    return put(r, name, NULL, fn, user, error);
}

/* ---- lookups ---- */

/* What is registered now, not yet prepared. */
static mlxn_kernel *make_kernel(mlxn_registry *r, const registry_name *n, const mlxn_kernel_id *id) {
    mlxn_kernel *k = mlxn_alloc(sizeof *k);
    if (!k) return NULL;
    atomic_init(&k->refs, 1);
    k->device = mlxn_device_retain(r->device);
    k->name = mlxn_strdup(n->name);
    k->label = mlxn_strdup(id->key);
    k->text = n->text ? mlxn_strdup(n->text) : NULL;
    k->fn = n->fn;
    k->user = n->user;
    k->n_constants = id->n_constants;
    k->constants = mlxn_alloc_array(id->n_constants, sizeof *k->constants);
    if (!k->name || !k->label || (n->text && !k->text) || !k->constants)
        mlxn_kernel_release(&k);
    else if (id->n_constants)
        memcpy(k->constants, id->constants, id->n_constants * sizeof *k->constants);
    return k;
}

static mlxn_status prepare(mlxn_kernel *k, const mlxn_cache *cache, const uint8_t text_digest[32],
                           mlxn_error *error) {
    const mlxn_backend *backend = k->device->backend;
    if (!backend->kernel_prepare)
        return mlxn_fail(error, MLXN_ERR_UNSUPPORTED, "kernel \"%s\": the %s backend runs no kernels of one's own",
                         k->label, backend->name);
    const mlxn_kernel_cache *calls = cache && k->text ? &cache->calls : NULL;
    char key[MLXN_CACHE_KEY];
    void *cached = NULL, *blob = NULL;
    uint64_t cached_bytes = 0, blob_bytes = 0;
    if (calls) mlxn_kernel_cache_key(k, text_digest, key);
    if (calls && calls->load && !calls->load(calls->user, key, &cached, &cached_bytes)) cached = NULL;
    bool keep = calls && calls->store;
    mlxn_status status = backend->kernel_prepare(k->device->impl, k, cached, cached ? cached_bytes : 0, &k->prepared,
                                                 keep ? &blob : NULL, keep ? &blob_bytes : NULL, error);
    if (!status && blob) calls->store(calls->user, key, blob, blob_bytes);
    mlxn_free(blob);
    if (cached) calls->free_data(calls->user, cached);
    mlxn_free(k->text);
    k->text = NULL;
    return status;
}

/* Lists a variant that this thread is going to prepare; a reference for the table and one for the thread. */
static registry_variant *list_variant(registry_name *n, const char *key) {
    size_t length = strlen(key);
    registry_variant *v = mlxn_alloc(sizeof *v + length + 1);
    if (!v) return NULL;
    memcpy(v->key, key, length + 1);
    v->hash = hash_of(key, length);
    v->refs = 2;
    v->listed = true;
    v->next = n->variants;
    n->variants = v;
    return v;
}

/* With the lock held, which it gives up meanwhile. */
static void prepare_variant(mlxn_registry *r, registry_name *n, registry_variant *v, const mlxn_kernel_id *id,
                            registry_variant **gone) {
    mlxn_kernel *k = make_kernel(r, n, id);
    mlxn_cache *cache = mlxn_cache_retain(r->cache);
    uint8_t digest[32];
    memcpy(digest, n->text_digest, sizeof digest);
    pthread_mutex_unlock(&r->lock);
    if (!k)
        mlxn_fail(&v->failure, MLXN_ERR_MEMORY, "kernel \"%s\": out of memory for its record", id->key);
    else if (prepare(k, cache, digest, &v->failure))
        mlxn_kernel_release(&k);
    mlxn_cache_release(cache);
    pthread_mutex_lock(&r->lock);
    v->kernel = k;
    v->ready = true;
    if (!k && v->listed) unlist(n, v, gone);
    pthread_cond_broadcast(&r->ready);
}

mlxn_status mlxn_registry_get(mlxn_registry *r, const char *name, const mlxn_constant *constants, uint32_t n,
                              mlxn_kernel **out, mlxn_error *error) {
    if (!out) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel: out is NULL");
    *out = NULL;
    if (!r) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: registry is NULL");
    mlxn_kernel_id id;
    if (mlxn_kernel_id_make(name, constants, n, &id, error)) return MLXN_ERR_ARGUMENT;
    registry_variant *gone = NULL;
    pthread_mutex_lock(&r->lock);
    registry_name *found = find_name(r, name, strlen(name));
    if (!found) {
        pthread_mutex_unlock(&r->lock);
        return mlxn_fail(error, MLXN_ERR_NOT_FOUND, "kernel \"%s\": nothing is registered under that name", name);
    }
    registry_variant *v = find_variant(found, id.key);
    if (v) {
        v->refs++;
        while (!v->ready) pthread_cond_wait(&r->ready, &r->lock);
    } else {
        v = list_variant(found, id.key);
        if (!v) {
            pthread_mutex_unlock(&r->lock);
            return mlxn_fail(error, MLXN_ERR_MEMORY, "kernel \"%s\": out of memory for its record", id.key);
        }
        prepare_variant(r, found, v, &id, &gone);
    }
    mlxn_status status = v->kernel ? mlxn_succeed(error) : v->failure.status;
    if (status && error) *error = v->failure;
    *out = mlxn_kernel_retain(v->kernel);
    drop(v, &gone);
    pthread_mutex_unlock(&r->lock);
    free_variants(gone);
    return status;
}

/* The names as of now; a later registration does not move them. */
static char **copy_names(mlxn_registry *r, uint32_t *n) {
    pthread_mutex_lock(&r->lock);
    char **names = mlxn_alloc_array(r->n_names, sizeof *names);
    uint32_t count = 0;
    bool good = names != NULL;
    for (size_t i = 0; good && i < r->n_buckets; i++)
        for (const registry_name *at = r->buckets[i]; good && at; at = at->next)
            good = (names[count] = mlxn_strdup(at->name)) != NULL && ++count;
    pthread_mutex_unlock(&r->lock);
    *n = count;
    if (good) return names;
    while (count) mlxn_free(names[--count]);
    mlxn_free(names);
    return NULL;
}

mlxn_status mlxn_registry_prewarm(mlxn_registry *r, const char *const *names, uint32_t n, uint32_t *prepared,
                                  mlxn_error *error) {
    if (prepared) *prepared = 0;
    if (!r) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: registry is NULL");
    if (n && !names) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "prewarm: names is NULL, but n is %u", n);
    char **all = NULL;
    if (!names) {
        all = copy_names(r, &n);
        if (!all) return mlxn_fail(error, MLXN_ERR_MEMORY, "prewarm: out of memory for the list of names");
    }
    mlxn_error first = {0}, failure;
    uint32_t good = 0;
    for (uint32_t i = 0; i < n; i++) {
        mlxn_kernel *kernel = NULL;
        if (!mlxn_registry_get(r, all ? all[i] : names[i], NULL, 0, &kernel, &failure))
            good++;
        else if (!first.status)
            first = failure;
        mlxn_kernel_release(&kernel);
    }
    for (uint32_t i = 0; all && i < n; i++) mlxn_free(all[i]);
    mlxn_free(all);
    if (prepared) *prepared = good;
    if (error) *error = first;
    return first.status;
}

/* ---- statistics ---- */

bool mlxn_registry_is_cached(const mlxn_registry *registry, const char *key) {
    mlxn_registry *r = (mlxn_registry *)registry; /* the lock alone changes */
    if (!r || !key) return false;
    pthread_mutex_lock(&r->lock);
    const registry_name *n = find_name(r, key, strcspn(key, "|"));
    const registry_variant *v = n ? find_variant(n, key) : NULL;
    bool cached = v && v->kernel;
    pthread_mutex_unlock(&r->lock);
    return cached;
}

uint32_t mlxn_registry_cached_count(const mlxn_registry *registry) {
    mlxn_registry *r = (mlxn_registry *)registry;
    uint32_t count = 0;
    if (!r) return 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n_buckets; i++)
        for (const registry_name *n = r->buckets[i]; n; n = n->next)
            for (const registry_variant *v = n->variants; v; v = v->next) count += v->kernel != NULL;
    pthread_mutex_unlock(&r->lock);
    return count;
}

uint32_t mlxn_registry_source_count(const mlxn_registry *registry) {
    mlxn_registry *r = (mlxn_registry *)registry;
    if (!r) return 0;
    pthread_mutex_lock(&r->lock);
    uint32_t count = r->n_names;
    pthread_mutex_unlock(&r->lock);
    return count;
}

/* ---- the cache of the disk ---- */

static void set_cache(mlxn_registry *r, mlxn_cache *cache) {
    pthread_mutex_lock(&r->lock);
    mlxn_cache *old = r->cache;
    r->cache = cache;
    pthread_mutex_unlock(&r->lock);
    mlxn_cache_release(old);
}

mlxn_status mlxn_registry_set_cache(mlxn_registry *r, const mlxn_kernel_cache *calls, mlxn_error *error) {
    if (!r) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: registry is NULL");
    mlxn_cache *cache = NULL;
    mlxn_status status = calls ? mlxn_cache_create(calls, &cache, error) : MLXN_OK;
    if (status) return status;
    set_cache(r, cache);
    return mlxn_succeed(error);
}

mlxn_status mlxn_registry_set_cache_folder(mlxn_registry *r, const char *path, mlxn_error *error) {
    if (!r) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "registry: registry is NULL");
    if (!path) return mlxn_fail(error, MLXN_ERR_ARGUMENT, "kernel cache: path is NULL");
    mlxn_cache *cache = NULL;
    mlxn_status status = mlxn_cache_create_folder(path, &cache, error);
    if (status) return status;
    set_cache(r, cache);
    return mlxn_succeed(error);
}
