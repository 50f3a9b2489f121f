#include "store/engine.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

static const struct engine *const engines[] = {&rocks_engine, &mem_engine};

static const struct engine *engine_of(const char *url, const char **ret_where)
{
    for (size_t i = 0; i < array_size(engines); i++) {
        size_t n = strlen(engines[i]->scheme);

        if (strncmp(url, engines[i]->scheme, n) == 0 && url[n] == ':') {
            *ret_where = url + n + 1;
            return engines[i];
        }
    }
    return NULL;
}

static struct store *new_store(const struct engine *engine, const struct store_options *options)
{
    struct store *s = xcalloc(1, sizeof *s);

    s->engine = engine;
    if (options != NULL)
        s->options = *options;
    if (s->options.memory_bytes == 0)
        s->options.memory_bytes = 32u << 20;
    if (s->options.reserve_bytes == 0)
        s->options.reserve_bytes = 64u << 20;
    if (s->options.stage_idle_s == 0)
        s->options.stage_idle_s = 24 * 3600;
    pthread_rwlock_init(&s->watch_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->pin_lock, NULL);
    pthread_mutex_init(&s->count_lock, NULL);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_init(&s->stripes[i], NULL);
    return s;
}

static void free_store(struct store *s)
{
    store_leases_free(s);
    pthread_rwlock_destroy(&s->watch_lock);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->pin_lock);
    pthread_mutex_destroy(&s->count_lock);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_destroy(&s->stripes[i]);
    free(s);
}

int store_open(const char *url, const struct store_options *options, struct store **ret,
               struct buf *why)
{
    const char *where = NULL;
    const struct engine *engine = engine_of(url, &where);
    struct store *s;
    int r;

    if (engine == NULL) {
        buf_printf(why, "store '%s': unknown kind; use rocks:DIR", url);
        return -EINVAL;
    }
    s = new_store(engine, options);
    r = engine->open(s, where, why);
    if (r < 0) {
        free_store(s);
        return r;
    }
    r = blobs_recover(s);
    if (r < 0) {
        buf_printf(why, "store '%s': its list of blobs cannot be read: %s", url, strerror(-r));
        store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    atomic_store(&s->count_stop, true);
    blobs_counted(s);
    blobs_close(s);
    s->engine->close(s);
    free_store(s);
}

bool part_is_valid(struct slice part)
{
    return part.len > 0 && part.len < KEY_MAX && *(const uint8_t *)part.data >= 0x20 &&
           memchr(part.data, 0, part.len) == NULL;
}

void key_build(struct buf *b, struct slice part, struct slice key)
{
    buf_add_slice(b, part);
    buf_add_char(b, 0);
    buf_add_slice(b, key);
}

void key_build_end(struct buf *b, struct slice part)
{
    buf_add_slice(b, part);
    buf_add_char(b, 1);
}

static int get(struct store *s, enum space space, struct slice part, struct slice key,
               struct store_value *ret)
{
    char small[512];
    autobuf large = {0};
    size_t n = part.len + 1 + key.len;

    if (n <= sizeof small) {
        memcpy(small, part.data, part.len);
        small[part.len] = 0;
        if (key.len > 0)
            memcpy(small + part.len + 1, key.data, key.len);
        return s->engine->get(s, space, slice_of(small, n), ret);
    }
    key_build(&large, part, key);
    return s->engine->get(s, space, buf_slice(&large), ret);
}

int store_get(struct store *s, struct slice part, struct slice key, struct store_value *ret)
{
    return part_is_valid(part) ? get(s, SPACE_META, part, key, ret) : -EINVAL;
}

int store_bulk_get(struct store *s, enum store_space space, struct slice part, struct slice key,
                   struct store_value *ret)
{
    if (space != STORE_SAMPLES || !part_is_valid(part))
        return -EINVAL;
    return get(s, SPACE_SAMPLES, part, key, ret);
}

void store_value_release(struct store_value *v)
{
    free(v->owner);
    *v = (struct store_value){0};
}

int store_checkpoint(struct store *s, const char *dir)
{
    return s->engine->checkpoint(s, dir);
}

int store_usage(struct store *s, struct store_usage *ret)
{
    struct store_usage usage = {0};
    int r;

    blobs_counted(s);
    r = s->engine->usage(s, &usage);
    if (r < 0)
        return r;
    usage.blobs = atomic_load(&s->blobs);
    usage.blob_bytes = atomic_load(&s->blob_bytes);
    *ret = usage;
    return 0;
}

void store_fault(struct store *s, unsigned n, int err)
{
    guard(&s->lock);
    s->fault_left = n;
    atomic_store(&s->fault_err, err);
}

int store_write_check(struct store *s)
{
    if (atomic_load_explicit(&s->fault_err, memory_order_relaxed) == 0)
        return 0;
    guard(&s->lock);
    if (s->fault_left > 0) {
        s->fault_left--;
        return 0;
    }
    return -atomic_load(&s->fault_err);
}
