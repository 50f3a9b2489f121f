/* Blobs on their way in from another registry: one transfer for all who want the blob. The first
 * bytes go to the clients while the rest comes; the last ones only when the whole is what it should
 * be. Who is too slow for the window waits until it is stored. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "base/wait.h"
#include "images/mirror_internal.h"

#include <errno.h>
#include <stdio.h>

#define WINDOW   (2u << 20) /* of what came last, in memory */
#define HOLD     1u         /* bytes held back until the digest is checked */
#define PATIENCE_MS 5000    /* how long the transfer waits for who reads slowly */

enum state { CONNECTING, RECEIVING, STORED, FAILED };

struct reader {
    struct node_file file; /* first */
    struct fetch *fetch;
    struct blob *blob;     /* once it is stored */
    /* guarded by fetch->lock: */
    uint64_t at;           /* where it will read next */
    bool late;             /* it waits for the whole */
    struct reader *next;
};

struct fetch {
    UT_hash_handle hh;
    struct mirror *m;
    struct images *im;
    char *repo, *there;
    struct digest digest;
    unsigned refs;         /* guarded by m->home->lock, as hh */
    struct blob_stage *stage; /* the transfer's own */

    pthread_mutex_t lock;  /* guards all below */
    pthread_cond_t moved;
    enum state state;
    int err;               /* FAILED */
    char why[300];
    uint64_t length;       /* UINT64_MAX: not known */
    uint64_t got;
    char *window;          /* bytes got - WINDOW … got, at their place modulo WINDOW */
    struct reader *readers;
    char key[];            /* "<repo>@<digest>" */
};

static struct fetch *fetch_new(struct mirror *m, const char *repo, const char *there,
                               const struct digest *d, const char *key)
{
    struct fetch *f = xcalloc(1, sizeof *f + strlen(key) + 1);

    f->m = m;
    f->im = m->home->im;
    f->repo = xstrdup(repo);
    f->there = xstrdup(there);
    f->digest = *d;
    f->length = UINT64_MAX;
    memcpy(f->key, key, strlen(key) + 1);
    pthread_mutex_init(&f->lock, NULL);
    wait_init(&f->moved);
    return f;
}

static void fetch_unref(struct fetch *f)
{
    struct mirrors *ms = f->m->home;

    {
        guard(&ms->lock);
        if (--f->refs > 0)
            return;
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->moved);
    free(f->window);
    free(f->repo);
    free(f->there);
    free(f);
}

/* The transfer's side. */

static int on_begin(void *ctx, const struct upstream_request *rq)
{
    struct fetch *f = ctx;
    uint64_t limit = f->im->config->limits.blob_bytes;
    int r;

    if (rq->length != UINT64_MAX && rq->length > limit)
        return -EFBIG;
    r = blob_stage_begin(f->im->store, (enum digest_algorithm)f->digest.algorithm,
                         rq->length != UINT64_MAX ? rq->length : 0, &f->stage);
    if (r < 0)
        return r;
    guard(&f->lock);
    f->window = xmalloc(WINDOW);
    f->length = rq->length;
    f->state = RECEIVING;
    pthread_cond_broadcast(&f->moved);
    return 0;
}

/* The slowest that still reads from the window; UINT64_MAX: nobody does. */
static uint64_t slowest(const struct fetch *f)
{
    uint64_t at = UINT64_MAX;

    for (const struct reader *r = f->readers; r != NULL; r = r->next)
        if (!r->late && r->at < at && r->at <= f->got)
            at = r->at;
    return at;
}

static bool has_room(const struct fetch *f, size_t n)
{
    uint64_t at = slowest(f);

    return at == UINT64_MAX || f->got + n - at <= WINDOW;
}

/* Room in the window for n bytes: waits for who reads, but not for ever. The lock is held. */
static void make_room(struct fetch *f, size_t n)
{
    struct timespec until = wait_until(PATIENCE_MS);
    int r = 0;

    while (!has_room(f, n) && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&f->moved, &f->lock, &until);
    for (struct reader *reader = f->readers; reader != NULL; reader = reader->next)
        if (reader->at + WINDOW < f->got + n)
            reader->late = true;
}

static void add_to_window(struct fetch *f, const char *bytes, size_t n)
{
    while (n > 0) {
        size_t at = (size_t)(f->got % WINDOW), part = WINDOW - at;

        if (part > n)
            part = n;
        memcpy(f->window + at, bytes, part);
        f->got += part;
        bytes += part;
        n -= part;
    }
}

static int on_data(void *ctx, const void *bytes, size_t n)
{
    struct fetch *f = ctx;
    int r;

    if (blob_stage_size(f->stage) + n > f->im->config->limits.blob_bytes)
        return -EFBIG;
    r = blob_stage_write(f->stage, bytes, n);
    if (r < 0)
        return r;
    guard(&f->lock);
    make_room(f, n);
    add_to_window(f, bytes, n);
    pthread_cond_broadcast(&f->moved);
    return 0;
}

static int store_it(struct fetch *f, struct op *op)
{
    uint64_t size_bytes = blob_stage_size(f->stage);
    struct digest sealed;
    int r;

    if (f->length != UINT64_MAX && size_bytes != f->length)
        return op_fail(op, EHOSTUNREACH, "the transfer broke off");
    r = blob_seal_early(f->stage, &f->digest, &sealed); /* link_put() syncs */
    if (r == -EBADMSG)
        return op_fail(op, EHOSTUNREACH, "what came is not what its digest says");
    f->stage = NULL;
    return r < 0 ? r : link_put(op, f->im, f->repo, &f->digest, size_bytes);
}

static void finish(struct fetch *f, struct op *op, int r, const char *why)
{
    struct mirrors *ms = f->m->home;

    if (r < 0)
        log_event(LOG_WARN, op, "mirror.failed", "repo=%s digest=%s why=%s", f->repo,
                  strchr(f->key, '@') + 1, why != NULL ? why : op_why(op, r));
    {
        guard(&ms->lock);
        HASH_DEL(ms->fetches, f);
    }
    guard(&f->lock);
    f->state = r < 0 ? FAILED : STORED;
    f->err = r;
    snprintf(f->why, sizeof f->why, "%s", r == 0 ? "" : why != NULL ? why : op_why(op, r));
    pthread_cond_broadcast(&f->moved);
}

static void run(void *arg)
{
    struct fetch *f = arg;
    char text[DIGEST_TEXT_MAX], path[DIGEST_TEXT_MAX + 8];
    struct upstream_request rq = {
        .repo = f->there, .path = path, .begin = on_begin, .data = on_data, .ctx = f};
    autobuf why = {0};
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, NULL);
    snprintf(path, sizeof path, "blobs/%s", digest_print(&f->digest, text));
    r = upstream_ask(f->m->upstream, &rq, &why);
    if (r == 0 && rq.status == 200)
        r = store_it(f, &op);
    else if (r == 0 && rq.status == 404)
        r = op_fail(&op, ENOENT, "blob %s is not at %s", text, f->m->config->upstream);
    else if (r == 0)
        r = op_fail(&op, EHOSTUNREACH, "%s answered %ld", f->m->config->upstream, rq.status);
    blob_stage_drop(take(f->stage));
    finish(f, &op, r, why.len > 0 ? why.data : NULL);
    buf_done(&rq.body);
    op_done(&op);
    fetch_unref(f);
}

/* The reader's side. */

static void let_go(struct reader *r)
{
    struct fetch *f = r->fetch;

    {
        struct reader **at;
        guard(&f->lock);

        for (at = &f->readers; *at != NULL; at = &(*at)->next)
            if (*at == r) {
                *at = r->next;
                break;
            }
        pthread_cond_broadcast(&f->moved);
    }
    fetch_unref(f);
}

static void reader_close(struct node_file *file)
{
    struct reader *r = (struct reader *)file;

    let_go(r);
    blob_close(r->blob);
    free(r);
}

static bool in_window(const struct fetch *f, uint64_t offset)
{
    return offset + HOLD < f->got && offset + WINDOW >= f->got;
}

static ssize_t copy(const struct fetch *f, uint64_t offset, char *buf, size_t n)
{
    size_t at = (size_t)(offset % WINDOW);

    if (n > f->got - HOLD - offset)
        n = (size_t)(f->got - HOLD - offset);
    if (n > WINDOW - at)
        n = WINDOW - at;
    memcpy(buf, f->window + at, n);
    return (ssize_t)n;
}

/* Bytes; 0: it is stored now; a negative errno. */
static ssize_t wait_for_bytes(struct reader *r, uint64_t offset, void *buf, size_t n)
{
    struct fetch *f = r->fetch;

    guard(&f->lock);
    if (r->at != offset) {
        r->at = offset;
        pthread_cond_broadcast(&f->moved);
    }
    while (f->state == CONNECTING ||
           (f->state == RECEIVING && (r->late || !in_window(f, offset)))) {
        if (offset + WINDOW < f->got)
            r->late = true;
        pthread_cond_wait(&f->moved, &f->lock);
    }
    if (f->state == FAILED)
        return f->err;
    if (f->state == STORED)
        return 0;
    r->at = offset + (uint64_t)copy(f, offset, buf, n);
    pthread_cond_broadcast(&f->moved);
    return (ssize_t)(r->at - offset);
}

static ssize_t reader_read(struct op *op, struct node_file *file, uint64_t offset, void *buf,
                           size_t n)
{
    struct reader *r = (struct reader *)file;
    ssize_t got;
    int opened;

    (void)op;
    if (r->blob == NULL) {
        got = wait_for_bytes(r, offset, buf, n);
        if (got != 0)
            return got;
        opened = blob_open(r->fetch->im->store, &r->fetch->digest, &r->blob);
        if (opened < 0)
            return opened;
    }
    return blob_read(r->blob, offset, buf, n);
}

/* Waits for the first of it. */
static int reader_begin(struct op *op, struct reader *r)
{
    struct fetch *f = r->fetch;
    const char *why;

    guard(&f->lock);
    while (f->state == CONNECTING)
        pthread_cond_wait(&f->moved, &f->lock);
    why = op_strdup(op, f->why);
    if (f->state == FAILED)
        return op_fail(op, -f->err, "%s", why);
    r->file.size_bytes = f->length != UINT64_MAX ? f->length : f->state == STORED ? f->got : 0;
    if (f->length == UINT64_MAX && f->state != STORED)
        r->file.flags |= NODE_COMPUTED;
    return 0;
}

static struct reader *join(struct mirror *m, const char *repo, const char *there,
                           const struct digest *d)
{
    static const struct node_file_ops ops = {.read = reader_read, .close = reader_close};
    struct reader *r = xcalloc(1, sizeof *r);
    struct mirrors *ms = m->home;
    char text[DIGEST_TEXT_MAX], key[IMAGES_NAME_MAX + DIGEST_TEXT_MAX + 2];
    struct fetch *f;

    r->file.ops = &ops;
    r->file.flags = NODE_SLOW;
    snprintf(key, sizeof key, "%s@%s", repo, digest_print(d, text));
    {
        guard(&ms->lock);
        HASH_FIND_STR(ms->fetches, key, f);
        if (f == NULL) {
            f = fetch_new(m, repo, there, d, key);
            HASH_ADD_KEYPTR(hh, ms->fetches, f->key, strlen(f->key), f);
            f->refs = 1;
            pool_submit(ms->pool, run, f);
        }
        f->refs++;
    }
    r->fetch = f;
    guard(&f->lock);
    r->next = f->readers;
    f->readers = r;
    return r;
}

static int ask_size(struct op *op, struct mirror *m, const char *repo, const struct digest *d,
                    uint64_t *ret_size_bytes)
{
    char text[DIGEST_TEXT_MAX];
    struct upstream_request rq = {
        .repo = mirror_repo_there(op, m, repo),
        .path = op_printf(op, "blobs/%s", digest_print(d, text)),
        .head = true,
    };
    autobuf why = {0};
    int r = upstream_ask(m->upstream, &rq, &why);

    buf_done(&rq.body);
    if (r == 0 && rq.status == 404)
        return op_fail(op, ENOENT, "blob %s is not in '%s' at %s", text, repo, m->config->upstream);
    if (r < 0 || rq.status != 200 || rq.length == UINT64_MAX)
        return mirror_failed(op, m, repo, why.data, rq.status);
    *ret_size_bytes = rq.length;
    return 0;
}

int mirror_blob_size(struct op *op, struct mirror *m, const char *repo, const struct digest *d,
                     uint64_t *ret_size_bytes)
{
    return ask_size(op, m, repo, d, ret_size_bytes);
}

int mirror_blob(struct op *op, struct images *im, struct mirror *m, const char *repo,
                const struct digest *d, struct node_file **ret)
{
    const char *there = mirror_repo_there(op, m, repo);
    struct blob_stat st;
    struct reader *r;
    uint64_t size;
    int result;

    *ret = NULL;
    /* Another repository has the bytes: it is enough that they are there too. */
    if (blob_stat(im->store, d, &st) == 0) {
        result = ask_size(op, m, repo, d, &size);
        if (result < 0)
            return result;
        if (size == st.size_bytes && link_put(op, im, repo, d, size) == 0)
            return 0;
        op_forgive(op);
    }
    r = join(m, repo, there, d);
    result = reader_begin(op, r);
    if (result < 0) {
        reader_close(&r->file);
        return result;
    }
    *ret = &r->file;
    return 0;
}
