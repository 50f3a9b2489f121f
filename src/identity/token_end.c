/* token_end.c: how tokens end: revoked or expired, with all that came from them. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "base/wait.h"
#include "identity/token_rows.h"
#include "identity/token_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

struct ending {
    struct tokens *t;
    struct store_batch *batch;
    char (*ids)[65];
    size_t n;
};

static int end_one(void *ctx, const char *id)
{
    struct ending *e = ctx;

    e->ids = xrealloc(e->ids, (e->n + 1) * sizeof *e->ids);
    snprintf(e->ids[e->n++], sizeof *e->ids, "%s", id);
    return 0;
}

static int orphan_one(void *ctx, const char *id)
{
    struct ending *e = ctx;
    int r = token_rows_orphan(e->t->ids->store, e->batch, id);

    return r == -ENOENT ? 0 : r;
}

/* Deletes a token, and all that came from it, in one batch. write_lock is held. */
static int end_locked(struct tokens *t, const char *id, bool orphan_children, unsigned flags)
{
    struct store *s = t->ids->store;
    struct ending e = {.t = t, .batch = store_batch_new(s, TOKEN_PARTITION)};
    int r = end_one(&e, id);

    for (size_t i = 0; r == 0 && i < e.n; i++) { /* grows while it is walked */
        struct token_record record;
        char from[96], to[96];

        snprintf(from, sizeof from, "c/%s/", e.ids[i]);
        snprintf(to, sizeof to, "c/%s0", e.ids[i]); /* '0' follows '/' */
        r = token_rows_each(s, from, to, orphan_children ? orphan_one : end_one, &e);
        if (r == 0)
            r = token_record_load(s, e.ids[i], &record);
        if (r == 0) {
            token_rows_delete(e.batch, &record.info);
            token_record_done(&record);
        }
        r = r == -ENOENT ? 0 : r;
    }
    if (r == 0)
        r = store_commit(e.batch, flags);
    else
        store_batch_free(e.batch);
    for (size_t i = 0; i < e.n; i++) {
        token_forget(t, e.ids[i]);
        if (r == 0 && t->on_end != NULL)
            t->on_end(t->on_end_ctx, e.ids[i]);
    }
    free(e.ids);
    return r;
}

int token_revoke(struct identities *ids, struct op *op, const char *id, bool orphan_children)
{
    struct tokens *t = ids->tokens;
    int r;

    if (strcmp(id, ID_ROOT) == 0)
        return op_fail(op, EINVAL,
                       "the root token lives in DATA/root-token: delete the file and "
                       "restart to have a new one");
    guard(&t->write_lock);
    r = end_locked(t, id, orphan_children, STORE_DURABLE);
    return r < 0 ? op_fail(op, -r, "the token was not revoked: %s", strerror(-r)) : 0;
}

int token_consume(struct identities *ids, struct op *op, const char *id)
{
    struct tokens *t = ids->tokens;
    struct token_record record;
    int r;

    guard(&t->write_lock);
    r = token_record_load(ids->store, id, &record);
    if (r == -ENOENT)
        return token_bad(op);
    if (r == 0) {
        token_record_done(&record);
        r = end_locked(t, id, false, STORE_DURABLE);
    }
    return r < 0 ? op_fail(op, -r, "the token was not ended: %s", strerror(-r)) : 0;
}

int token_each_lease(struct identities *ids, const char *prefix,
                     int (*f)(void *ctx, const char *lease, const char *id), void *ctx)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    autobuf from = {0};
    struct slice key, value;
    int more, r = 0;

    buf_printf(&from, "l/%s", prefix);
    more = store_scan(ids->store, TOKEN_PARTITION, buf_slice(&from), SLICE("l0"), 0, &scan);
    while (more >= 0 && r == 0 && (more = store_scan_next(scan, &key, &value)) > 0 &&
           slice_starts(key, buf_slice(&from))) {
        autofree char *lease = xmemdup((const char *)key.data + 2, key.len - 2);
        autofree char *id = xmemdup(value.data, value.len);

        r = f(ctx, lease, id);
    }
    return more < 0 ? more : r;
}

/* Ends what has expired; returns how long to sleep until the next. */
static int64_t sweep(struct tokens *t)
{
    const int64_t longest = 60000;
    char now[32];
    struct store_scan *scan;
    struct slice key, value;
    struct ending e = {.t = t};
    int64_t next = longest;

    snprintf(now, sizeof now, "e/%016llx", (unsigned long long)clock_unix_ms());
    token_rows_each(t->ids->store, "e/", now, end_one, &e);
    for (size_t i = 0; i < e.n; i++) {
        guard(&t->write_lock);
        end_locked(t, e.ids[i], false, 0);
    }
    free(e.ids);
    if (store_scan(t->ids->store, TOKEN_PARTITION, slice_str(now), SLICE("e0"), STORE_KEYS_ONLY,
                   &scan) < 0)
        return longest;
    if (store_scan_next(scan, &key, &value) > 0 && key.len > 18) {
        autofree char *text = xmemdup((const char *)key.data + 2, 16);

        next = (int64_t)strtoull(text, NULL, 16) - clock_unix_ms() + 1;
    }
    store_scan_free(scan);
    return next < 10 ? 10 : next < longest ? next : longest;
}

void *token_sweeper(void *arg)
{
    struct tokens *t = arg;

    pthread_setname_np(pthread_self(), "tokens");
    pthread_mutex_lock(&t->sleep_lock);
    while (!t->stop) {
        int64_t ms;
        struct timespec until;

        t->made = false;
        pthread_mutex_unlock(&t->sleep_lock);
        ms = sweep(t);
        pthread_mutex_lock(&t->sleep_lock);
        until = wait_until(ms);
        if (!t->stop && !t->made)
            pthread_cond_timedwait(&t->sleep, &t->sleep_lock, &until);
    }
    pthread_mutex_unlock(&t->sleep_lock);
    return NULL;
}
