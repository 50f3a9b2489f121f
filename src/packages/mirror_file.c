/* mirror_file.c: the files of the index behind: fetched when they are first asked for, passed on
 * while they arrive, and kept once they are whole and what their page said they are.
 *
 * The last byte is not passed on before the content was verified: no reader ever has the whole of
 * something that is not it. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "base/wait.h"
#include "config.h"
#include "identity/identity.h"
#include "packages/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <uthash.h>

#define METADATA_LIMIT (16u << 20)
#define PASS_ON_BYTES  (1u << 20) /* a smaller file is answered when it is whole */

/* A file that is arriving, in a thread of its own. */
struct transfer {
    struct mirror *mirror;
    char name[PACKAGE_FILENAME_MAX + 1]; /* the key in mirror->transfers */
    char project[PROJECT_NAME_MAX + 1];
    char *url, *via;
    struct digest digest;
    UT_hash_handle hh;
    unsigned refs;        /* guarded by mirror->lock */
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t moved;
    struct blob_stage *stage; /* NULL: not begun, or being sealed, or over */
    uint64_t bytes;
    struct blob *blob; /* of the whole */
    int result;
    bool over;
    struct buf why;
};

/* One reader of it. */
struct download {
    struct transfer *t;
    uint64_t at;
};

static void free_transfer(struct transfer *t)
{
    blob_close(t->blob);
    blob_stage_drop(t->stage);
    pthread_cond_destroy(&t->moved);
    pthread_mutex_destroy(&t->lock);
    buf_done(&t->why);
    free(t->url);
    free(t->via);
    free(t);
}

static void unref(struct transfer *t)
{
    struct mirror *m = t->mirror;
    bool last;

    pthread_mutex_lock(&m->lock);
    last = --t->refs == 0;
    pthread_mutex_unlock(&m->lock);
    if (last)
        free_transfer(t);
}

static int take_bytes(void *ctx, const void *bytes, size_t n)
{
    struct transfer *t = ctx;
    int r;
    guard(&t->lock);

    r = blob_stage_write(t->stage, bytes, n);
    t->bytes += n;
    pthread_cond_broadcast(&t->moved);
    return r;
}

static int fetch_content(struct transfer *t, struct buf *why)
{
    struct fetch f = {
        .url = t->url,
        .via = t->via,
        .limit_bytes = t->mirror->pk->env.config->limits.package_bytes,
        .receive = take_bytes,
        .ctx = t,
    };
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, identity_internal(t->mirror->pk->env.identities));
    r = fetch_run(t->mirror, &f, why);
    if (r < 0 || f.status != 200) {
        r = mirror_fail(&op, t->mirror, r, &f, why->data);
        buf_clear(why);
        buf_add_str(why, op_why(&op, r));
    }
    fetch_done(&f);
    op_done(&op);
    return r;
}

/* Takes the stage. The hold comes before anybody is told that the blob is there. */
static int keep_content(struct transfer *t, struct blob_stage *stage, struct blob **ret,
                        struct buf *why)
{
    struct mirror *m = t->mirror;
    struct digest got;
    int r = blob_seal(stage, &t->digest, &got);

    if (r == -EBADMSG) {
        blob_stage_drop(stage);
        buf_printf(why, "the index behind this one sent another file than its page says ('%s')",
                   t->name);
        return -EHOSTUNREACH;
    }
    if (r == 0)
        r = kept_hold(m->kept, t->project, t->name, KEPT_CONTENT, &t->digest, t->bytes);
    if (r == 0)
        r = blob_open(m->pk->store, &t->digest, ret);
    if (r == -ENOENT)
        r = -EBUSY; /* it was reaped before it was held: with a grace of nothing, or by a rule */
    if (r < 0)
        buf_printf(why, "keeping '%s' failed: %s", t->name, strerror(-r));
    return r;
}

static void end_transfer(struct transfer *t, int r, struct blob *blob, struct buf *why)
{
    struct mirror *m = t->mirror;

    pthread_mutex_lock(&t->lock);
    t->result = r;
    t->blob = blob;
    t->over = true;
    buf_add_slice(&t->why, buf_slice(why));
    pthread_cond_broadcast(&t->moved);
    pthread_mutex_unlock(&t->lock);
    pthread_mutex_lock(&m->lock);
    HASH_DEL(m->transfers, t);
    if (r == 0)
        __atomic_add_fetch(&m->fetched, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&m->lock);
}

static void *run(void *arg)
{
    struct transfer *t = arg;
    struct mirror *m = t->mirror;
    struct blob_stage *stage;
    struct blob *blob = NULL;
    autobuf why = {0};
    int r = fetch_content(t, &why);

    pthread_mutex_lock(&t->lock);
    stage = take(t->stage);
    pthread_mutex_unlock(&t->lock);
    if (r == 0)
        r = keep_content(t, stage, &blob, &why);
    else
        blob_stage_drop(stage);
    if (r < 0)
        log_line(LOG_WARN, NULL, "packages.mirror", "file=%s error=%s", t->name, why.data);
    end_transfer(t, r, blob, &why);
    unref(t);
    pthread_mutex_lock(&m->lock);
    m->running--;
    pthread_cond_broadcast(&m->moved);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static struct transfer *new_transfer(struct mirror *m, const struct package_file *f,
                                     const char *via)
{
    struct transfer *t = xcalloc(1, sizeof *t);

    t->mirror = m;
    memcpy(t->name, f->name, strnlen(f->name, PACKAGE_FILENAME_MAX));
    memcpy(t->project, f->project, strnlen(f->project, PROJECT_NAME_MAX));
    t->url = xstrdup(f->url);
    t->via = xstrdup(via != NULL ? via : "");
    t->digest = f->digest;
    t->refs = 1;
    pthread_mutex_init(&t->lock, NULL);
    wait_init(&t->moved);
    return t;
}

/* With the mirror's lock held. */
static int start_thread(struct transfer *t)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, &attr, run, t);
    pthread_attr_destroy(&attr);
    return -r;
}

/* The transfer of the file, begun if it is not under way. *ret is a reference. */
static int join_transfer(struct op *op, struct mirror *m, const struct package_file *f,
                         const char *via, struct transfer **ret)
{
    struct transfer *t;
    int r;
    guard(&m->lock);

    HASH_FIND_STR(m->transfers, f->name, t);
    if (t == NULL) {
        if (m->running >= DOWNLOADS_MAX || __atomic_load_n(&m->closing, __ATOMIC_RELAXED))
            return op_fail(op, EBUSY, "%d files are on their way already; try again",
                           DOWNLOADS_MAX);
        t = new_transfer(m, f, via);
        r = blob_stage_begin(m->pk->store, DIGEST_SHA256, f->size_bytes, &t->stage);
        if (r == 0)
            r = start_thread(t);
        if (r < 0) {
            free_transfer(t);
            return op_fail(op, -r, "'%s' cannot be received now", f->name);
        }
        m->running++;
        HASH_ADD_STR(m->transfers, name, t);
    }
    t->refs++;
    *ret = t;
    return 0;
}

static void wait_second(struct transfer *t)
{
    struct timespec until = wait_until(1000);

    pthread_cond_timedwait(&t->moved, &t->lock, &until);
}

/* Until it is over, or, unless all of it is wanted, some of it is there. True: over. */
static bool wait_for_content(struct transfer *t, bool whole)
{
    guard(&t->lock);
    while (!t->over && (whole || t->bytes < PASS_ON_BYTES))
        wait_second(t);
    return t->over;
}

int mirror_content(struct op *op, struct packages *pk, const struct package_file *f,
                   const char *via, bool whole, struct download **ret)
{
    struct mirror *m = pk->mirror;
    struct transfer *t = NULL;
    struct download *d;
    bool over = false;
    int r = mirror_check_via(op, m, via);

    *ret = NULL;
    if (r == 0)
        r = mirror_enter(op, m);
    if (r < 0)
        return r;
    r = join_transfer(op, m, f, via, &t);
    if (r == 0)
        over = wait_for_content(t, whole);
    mirror_leave(m);
    if (over && t->result < 0)
        r = op_fail(op, -t->result, "%s", t->why.data);
    if (r < 0 || over) {
        if (t != NULL)
            unref(t);
        return r;
    }
    d = xcalloc(1, sizeof *d);
    d->t = t;
    *ret = d;
    return 0;
}

/* In the server's thread: where the lock is not free at once it is tried again later. */
ssize_t download_read(void *ctx, char *buf, size_t max)
{
    struct download *d = ctx;
    struct transfer *t = d->t;
    ssize_t n = -EAGAIN;

    if (pthread_mutex_trylock(&t->lock) != 0)
        return -EAGAIN;
    if (t->over && t->result < 0) {
        n = t->result;
    } else if (t->over) {
        n = blob_read(t->blob, d->at, buf, max);
    } else if (t->stage != NULL && t->bytes > d->at + 1) {
        uint64_t left = t->bytes - d->at - 1;

        n = blob_stage_read(t->stage, d->at, buf, left < max ? (size_t)left : max);
    }
    pthread_mutex_unlock(&t->lock);
    if (n > 0)
        d->at += (uint64_t)n;
    return n;
}

void download_wait(void *ctx)
{
    struct download *d = ctx;
    struct transfer *t = d->t;
    guard(&t->lock);

    if (!t->over && (t->stage == NULL || t->bytes <= d->at + 1))
        wait_second(t);
}

void download_close(void *ctx)
{
    struct download *d = ctx;

    unref(d->t);
    free(d);
}

static int take_text(void *ctx, const void *bytes, size_t n)
{
    buf_add(ctx, bytes, n);
    return 0;
}

static int keep_metadata(struct op *op, struct packages *pk, const struct package_file *f,
                         struct slice text)
{
    struct digest got;
    int r;

    digest_of(DIGEST_SHA256, text.data != NULL ? text.data : "", text.len, &got);
    if (!digest_eq(&got, &f->metadata.digest))
        return op_fail(op, EHOSTUNREACH,
                       "the index behind this one sent other metadata than its page says ('%s')",
                       f->name);
    r = blob_put(pk->store, DIGEST_SHA256, text.data, text.len, &got);
    if (r == 0)
        r = kept_hold(pk->mirror->kept, f->project, f->name, KEPT_METADATA, &got, text.len);
    return r < 0 ? op_fail(op, -r, "keeping the metadata of '%s' failed: %s", f->name, strerror(-r))
                 : 0;
}

int mirror_metadata(struct op *op, struct packages *pk, const struct package_file *f,
                    const char *via)
{
    struct mirror *m = pk->mirror;
    autobuf url = {0}, text = {0}, why = {0};
    struct fetch fetch = {.via = via,
                          .limit_bytes = METADATA_LIMIT,
                          .page = true,
                          .receive = take_text,
                          .ctx = &text};
    int r = mirror_check_via(op, m, via);

    if (r == 0)
        r = mirror_enter(op, m);
    if (r < 0)
        return r;
    buf_printf(&url, "%s.metadata", f->url);
    fetch.url = url.data;
    r = fetch_run(m, &fetch, &why);
    if (r < 0 || fetch.status != 200)
        r = mirror_fail(op, m, r, &fetch, why.data);
    else
        r = keep_metadata(op, pk, f, buf_slice(&text));
    fetch_done(&fetch);
    mirror_leave(m);
    return r;
}
