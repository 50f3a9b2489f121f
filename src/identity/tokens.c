/* tokens.c: tokens by their text. What was looked up stays in memory under a keyed hash of the
 * text, so that the next request costs less than two microseconds. */
#include "identity/tokens.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/scope.h"
#include "base/wait.h"
#include "identity/cidr.h"
#include "identity/token_rows.h"
#include "identity/token_state.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

static void quick_of(const struct tokens *t, struct slice text, uint8_t ret[QUICK_BYTES])
{
    crypto_generichash(ret, QUICK_BYTES, text.data, text.len, t->key, sizeof t->key);
}

void token_id_of(const struct tokens *t, struct slice text, char ret[65])
{
    uint8_t mac[32];

    salt_hmac(t->ids->salt, text, mac);
    hex_encode(slice_of(mac, sizeof mac), ret);
}

void token_random(char *ret, size_t n)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    for (size_t i = 0; i < n; i++)
        ret[i] = letters[randombytes_uniform(sizeof letters - 1)];
    ret[n] = 0;
}

static void free_cached(struct cached *c)
{
    identity_unref(c->who);
    free(c->cidrs);
    free(c);
}

static void drop_cache(struct tokens *t)
{
    struct cached *c, *next;

    HASH_ITER(hh, t->cache, c, next) {
        HASH_DEL(t->cache, c);
        free_cached(c);
    }
}

void token_forget(struct tokens *t, const char *id)
{
    struct cached *c, *next;

    pthread_rwlock_wrlock(&t->lock);
    HASH_ITER(hh, t->cache, c, next) {
        if (strcmp(c->id, id) != 0)
            continue;
        HASH_DEL(t->cache, c);
        free_cached(c);
    }
    pthread_rwlock_unlock(&t->lock);
}

static bool is_from(const struct cached *c, const char *remote)
{
    for (size_t i = 0; i < c->n_cidrs; i++)
        if (cidr_has(&c->cidrs[i], remote))
            return true;
    return c->cidrs == NULL;
}

static struct identity *find_cached(struct tokens *t, const uint8_t quick[QUICK_BYTES],
                                    const char *remote)
{
    struct identity *who = NULL;
    struct cached *c;

    if (sodium_memcmp(quick, t->root.quick, QUICK_BYTES) == 0)
        return identity_ref(t->root.who);
    pthread_rwlock_rdlock(&t->lock);
    HASH_FIND(hh, t->cache, quick, QUICK_BYTES, c);
    if (c != NULL && (c->expire_unix_ms == 0 || c->expire_unix_ms > clock_unix_ms()) &&
        is_from(c, remote))
        who = identity_ref(c->who);
    pthread_rwlock_unlock(&t->lock);
    return who;
}

static struct identity *make_identity(struct tokens *t, const struct token_info *info)
{
    const char *name = info->user[0] != 0 ? info->user : info->display_name;
    const char *id = info->batch ? "" : info->id;
    struct policy_entity entity = info->entity;
    json_t *meta = json_loadb(info->meta.data, info->meta.len, 0, NULL);
    autofree struct policy_pair *pairs = xcalloc(json_object_size(meta) + 1, sizeof *pairs);
    struct identity *who;
    const char *key;
    json_t *value;

    entity.metadata = pairs;
    json_object_foreach(meta, key, value)
        if (json_is_string(value))
            pairs[entity.n_metadata++] = (struct policy_pair){key, json_string_value(value)};
    who = identity_new_for(t->ids, IDENTITY_TOKEN, name, info->policies, info->accessor, id,
                           entity.id[0] != 0 ? &entity : NULL);
    json_decref(meta);
    return who;
}

static void add_cached(struct tokens *t, const uint8_t quick[QUICK_BYTES],
                       const struct token_info *info, struct identity *who)
{
    struct cached *c = xcalloc(1, sizeof *c), *old;

    memcpy(c->quick, quick, QUICK_BYTES);
    snprintf(c->id, sizeof c->id, "%s", info->batch ? info->parent : info->id);
    c->expire_unix_ms = info->expire_unix_ms;
    for (size_t i = 0; info->cidrs != NULL && info->cidrs[i] != NULL; i++) {
        c->cidrs = xrealloc(c->cidrs, (i + 1) * sizeof *c->cidrs);
        if (cidr_parse(info->cidrs[i], &c->cidrs[c->n_cidrs]) == 0)
            c->n_cidrs++;
    }
    c->who = identity_ref(who);
    pthread_rwlock_wrlock(&t->lock);
    if (HASH_COUNT(t->cache) >= CACHE_MAX)
        drop_cache(t);
    HASH_REPLACE(hh, t->cache, quick, QUICK_BYTES, c, old);
    pthread_rwlock_unlock(&t->lock);
    if (old != NULL)
        free_cached(old);
}

int token_bad(struct op *op)
{
    return op_fail(op, EPERM, "bad token");
}

static int commit(struct op *op, struct store_batch *batch, unsigned flags)
{
    int r = store_commit(batch, flags);

    return r < 0 ? op_fail(op, -r, "the token was not stored: %s", strerror(-r)) : 0;
}

/* Loads a token that is alive. write_lock need not be held. */
static int load_alive(struct tokens *t, struct op *op, const char *id, struct token_record *ret)
{
    int r = token_record_load(t->ids->store, id, ret);

    if (r == -ENOENT)
        return token_bad(op);
    if (r < 0)
        return op_fail(op, -r, "the token could not be read: %s", strerror(-r));
    if (ret->info.expire_unix_ms == 0 || ret->info.expire_unix_ms > clock_unix_ms())
        return 0;
    token_record_done(ret);
    return token_bad(op);
}

/* Where a token whose last use is under way ends: its request may still look at it. */
#define SPENT_MS 5000

/* One use less; the last one ends the token when it is over. */
static int count_use(struct tokens *t, struct op *op, const char *id)
{
    struct token_record record;
    struct store_batch *batch;
    int r;

    guard(&t->write_lock);
    r = load_alive(t, op, id, &record);
    if (r < 0)
        return r;
    if (record.info.num_uses < 0) { /* somebody else had the last one */
        token_record_done(&record);
        return token_bad(op);
    }
    batch = store_batch_new(t->ids->store, TOKEN_PARTITION);
    if (--record.info.num_uses == 0) {
        record.info.num_uses = -1;
        record.info.spent_unix_ms = clock_unix_ms() + SPENT_MS;
    }
    token_rows_put(batch, &record.info, record.info.expire_unix_ms);
    r = commit(op, batch, 0);
    token_record_done(&record);
    return r;
}

static int use_batch(struct tokens *t, struct op *op, struct slice token,
                     const uint8_t quick[QUICK_BYTES], struct identity **ret)
{
    struct token_info info;
    int r;

    guard(&t->write_lock);
    r = token_batch_open(t, op, token, &info);
    if (r == 0 && !cidrs_have(info.cidrs, op->remote))
        r = token_bad(op);
    if (r < 0)
        return r;
    *ret = make_identity(t, &info);
    add_cached(t, quick, &info, *ret);
    return 0;
}

int identity_token(struct identities *ids, struct op *op, struct slice token, struct identity **ret)
{
    struct tokens *t = ids->tokens;
    uint8_t quick[QUICK_BYTES];
    struct token_record record;
    char id[65];
    int r;

    if (token.len == 0 || token.len > TEXT_MAX)
        return token_bad(op);
    if (scoped_looks_like(token))
        return scoped_verify(ids, op, token, ret);
    quick_of(t, token, quick);
    *ret = find_cached(t, quick, op->remote);
    if (*ret != NULL)
        return 0;
    if (token_is_batch(token))
        return use_batch(t, op, token, quick, ret);
    token_id_of(t, token, id);
    pthread_mutex_lock(&t->write_lock); /* no revocation between reading and remembering */
    r = load_alive(t, op, id, &record);
    if (r == 0 && (record.info.num_uses < 0 || !cidrs_have(record.info.cidrs, op->remote))) {
        token_record_done(&record);
        r = token_bad(op);
    }
    if (r == 0) {
        *ret = make_identity(t, &record.info);
        if (record.info.num_uses == 0)
            add_cached(t, quick, &record.info, *ret);
    }
    pthread_mutex_unlock(&t->write_lock);
    if (r < 0)
        return r;
    if (record.info.num_uses > 0)
        r = count_use(t, op, id);
    token_record_done(&record);
    if (r < 0)
        identity_unref(take(*ret));
    return r;
}

static void root_info(const struct tokens *t, struct op *op, struct token_info *ret)
{
    static const char *const root[] = {"root", NULL};

    *ret = (struct token_info){
        .id = ID_ROOT,
        .accessor = op_strdup(op, t->root_accessor),
        .policies = root,
        .parent = "",
        .display_name = "root",
        .path = "auth/token/root",
        .user = "",
        .role = "",
        .lease = "",
        .entity = {.id = "", .name = "", .alias_accessor = "", .alias_name = ""},
        .created_unix_s = t->started_unix_s,
    };
}

int token_lookup_id(struct identities *ids, struct op *op, const char *id, struct token_info *ret)
{
    struct token_record record;
    int r;

    if (strcmp(id, ID_ROOT) == 0) {
        root_info(ids->tokens, op, ret);
        return 0;
    }
    r = load_alive(ids->tokens, op, id, &record);
    if (r < 0)
        return r;
    token_record_copy(op, &record.info, ret);
    token_record_done(&record);
    return 0;
}

int token_lookup(struct identities *ids, struct op *op, struct slice token, struct token_info *ret)
{
    struct tokens *t = ids->tokens;
    uint8_t quick[QUICK_BYTES];
    char id[65];

    if (token.len == 0 || token.len > TEXT_MAX)
        return token_bad(op);
    quick_of(t, token, quick);
    if (sodium_memcmp(quick, t->root.quick, QUICK_BYTES) == 0)
        return token_lookup_id(ids, op, ID_ROOT, ret);
    if (token_is_batch(token)) {
        guard(&t->write_lock);
        return token_batch_open(t, op, token, ret);
    }
    token_id_of(t, token, id);
    return token_lookup_id(ids, op, id, ret);
}

int token_lookup_accessor(struct identities *ids, struct op *op, const char *accessor,
                          struct token_info *ret)
{
    const char *id = ID_ROOT;
    int r = 0;

    if (strcmp(accessor, ids->tokens->root_accessor) != 0)
        r = token_rows_by_accessor(ids->store, op, accessor, &id);
    if (r == -ENOENT)
        return op_fail(op, ENOENT, "invalid accessor");
    return r < 0 ? r : token_lookup_id(ids, op, id, ret);
}

struct identity *tokens_find(struct identities *ids, struct op *op, const char *accessor)
{
    struct token_info info;

    if (accessor[0] == 0 || token_lookup_accessor(ids, op, accessor, &info) < 0 ||
        info.num_uses < 0 || !cidrs_have(info.cidrs, op->remote))
        return NULL;
    return make_identity(ids->tokens, &info);
}

static int renew_locked(struct tokens *t, struct op *op, const char *id, int64_t increment_s,
                        struct token_info *ret)
{
    int64_t now_ms = clock_unix_ms(), old, end, most;
    struct token_record record;
    struct store_batch *batch;
    int r = load_alive(t, op, id, &record);

    if (r < 0)
        return r;
    if (!record.info.renewable || record.info.expire_unix_ms == 0) {
        token_record_done(&record);
        return op_fail(op, EINVAL, "lease is not renewable");
    }
    if (record.info.period_s != 0)
        increment_s = record.info.period_s;
    else if (increment_s <= 0)
        increment_s = record.info.creation_ttl_s;
    old = record.info.expire_unix_ms;
    most = record.info.max_ttl_s != 0 ? record.info.max_ttl_s : TOKEN_TTL_S;
    end = record.info.created_unix_s + most; /* without a period */
    if (record.info.explicit_max_ttl_s != 0 &&
        (record.info.period_s != 0 || record.info.explicit_max_ttl_s < most))
        end = record.info.created_unix_s + record.info.explicit_max_ttl_s;
    if (increment_s > most && record.info.period_s == 0)
        increment_s = most;
    record.info.expire_unix_ms = now_ms + increment_s * 1000;
    if ((record.info.period_s == 0 || record.info.explicit_max_ttl_s != 0) &&
        record.info.expire_unix_ms > end * 1000)
        record.info.expire_unix_ms = end * 1000;
    record.info.renewed_unix_s = now_ms / 1000;
    batch = store_batch_new(t->ids->store, TOKEN_PARTITION);
    token_rows_put(batch, &record.info, old);
    r = commit(op, batch, STORE_DURABLE);
    if (r == 0)
        token_record_copy(op, &record.info, ret);
    token_record_done(&record);
    return r;
}

int token_renew(struct identities *ids, struct op *op, const char *id, int64_t increment_s,
                struct token_info *ret)
{
    struct tokens *t = ids->tokens;
    int r;

    if (strcmp(id, ID_ROOT) == 0)
        return op_fail(op, EINVAL, "lease is not renewable");
    guard(&t->write_lock);
    r = renew_locked(t, op, id, increment_s, ret);
    if (r == 0)
        token_forget(t, id);
    return r;
}

int identity_accessor(struct identities *ids, struct op *op, const char *accessor,
                      struct identity **ret)
{
    struct token_info info;
    int r = token_lookup_accessor(ids, op, accessor, &info);

    if (r == 0)
        *ret = make_identity(ids->tokens, &info);
    return r;
}

int token_by_lease(struct identities *ids, struct op *op, const char *lease,
                   struct token_info *ret)
{
    const char *id;
    int r = token_rows_by_lease(ids->store, op, lease, &id);

    return r < 0 ? r : token_lookup_id(ids, op, id, ret);
}

void tokens_seal_with(struct identities *ids, const struct token_sealer *sealer)
{
    guard(&ids->tokens->write_lock);

    ids->tokens->sealer = sealer != NULL ? *sealer : (struct token_sealer){0};
}

struct accessors {
    struct op *op;
    int (*f)(void *ctx, const char *accessor);
    void *ctx;
};

static int give_accessor(void *ctx, const char *accessor)
{
    struct accessors *a = ctx;

    return a->f(a->ctx, accessor);
}

int token_each_accessor(struct identities *ids, struct op *op,
                        int (*f)(void *ctx, const char *accessor), void *ctx)
{
    struct accessors a = {.op = op, .f = f, .ctx = ctx};
    int r = f(ctx, ids->tokens->root_accessor);

    return r != 0 ? r : token_rows_each(ids->store, "a/", "a0", give_accessor, &a);
}

void tokens_on_end(struct identities *ids, void (*f)(void *ctx, const char *id), void *ctx)
{
    guard(&ids->tokens->write_lock); /* no call is under way when this returns */

    ids->tokens->on_end = f;
    ids->tokens->on_end_ctx = ctx;
}

/* DATA/root-token: made at the first start; a new one when somebody removed it. */
static int open_root(struct tokens *t, struct buf *why)
{
    autofree char *path = NULL;
    autobuf text = {0};
    char made[28] = "s.";
    char id[65];
    int r;

    if (asprintf(&path, "%s/root-token", t->ids->config->data) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    r = file_read(path, TEXT_MAX, &text);
    while (text.len > 0 && (unsigned char)text.data[text.len - 1] <= ' ')
        text.data[--text.len] = 0;
    if (r == -ENOENT || (r == 0 && text.len == 0)) {
        token_random(made + 2, 24);
        buf_clear(&text);
        buf_printf(&text, "%s\n", made);
        r = file_replace(path, buf_slice(&text), 0600);
        text.data[--text.len] = 0;
    }
    if (r < 0) {
        buf_printf(why, "%s: %s", path, strerror(-r));
        return r;
    }
    quick_of(t, buf_slice(&text), t->root.quick);
    token_id_of(t, buf_slice(&text), id);
    memcpy(t->root_accessor, id, 24);
    t->root.who = identity_new(t->ids, IDENTITY_TOKEN, "root", (const char *const[]){"root", NULL},
                               t->root_accessor, ID_ROOT);
    explicit_bzero(text.data, text.cap);
    explicit_bzero(made, sizeof made);
    return 0;
}

int tokens_open(struct identities *ids, struct buf *why)
{
    struct tokens *t = xcalloc(1, sizeof *t);
    int r;

    ids->tokens = t;
    t->ids = ids;
    t->started_unix_s = clock_unix_ms() / 1000;
    pthread_rwlock_init(&t->lock, NULL);
    pthread_mutex_init(&t->write_lock, NULL);
    pthread_mutex_init(&t->sleep_lock, NULL);
    wait_init(&t->sleep);
    if (getrandom(t->key, sizeof t->key, 0) != (ssize_t)sizeof t->key)
        return -EIO;
    r = open_root(t, why);
    if (r < 0)
        return r;
    if (pthread_create(&t->thread, NULL, token_sweeper, t) != 0)
        return -EAGAIN;
    t->started = true;
    return 0;
}

void tokens_close(struct identities *ids)
{
    struct tokens *t = ids->tokens;

    if (t == NULL)
        return;
    pthread_mutex_lock(&t->sleep_lock);
    t->stop = true;
    pthread_cond_signal(&t->sleep);
    pthread_mutex_unlock(&t->sleep_lock);
    if (t->started)
        pthread_join(t->thread, NULL);
    drop_cache(t);
    identity_unref(t->root.who);
    pthread_rwlock_destroy(&t->lock);
    pthread_mutex_destroy(&t->write_lock);
    pthread_mutex_destroy(&t->sleep_lock);
    pthread_cond_destroy(&t->sleep);
    explicit_bzero(t->key, sizeof t->key);
    free(t);
    ids->tokens = NULL;
}
