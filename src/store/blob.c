/* Open blobs. Content is opened once and shared by all who read it; the last few that nobody reads
 * any more stay open, for the next reader. */
#include "store/blob_catalog.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <utlist.h>

#define IDLE_MAX    32
#define VERIFY_READ (256u << 10)

struct blob_pin {
    UT_hash_handle hh;
    uint8_t id[BLOB_ID];
    unsigned refs;
    struct content *content;
    bool doomed;                  /* delete the content after the last close */
    struct buf layout;            /* of a doomed one */
    struct blob_pin *prev, *next; /* among the idle, oldest first */
};

struct blob {
    struct store *store;
    struct blob_pin *pin;
    struct digest digest;
    uint64_t size_bytes;
};

static void pin_free(struct store *s, struct blob_pin *p)
{
    s->engine->content_close(p->content);
    buf_done(&p->layout);
    free(p);
}

/* All of these hold pin_lock. */
static void idle_remove(struct store *s, struct blob_pin *p)
{
    DL_DELETE(s->idle_first, p);
    s->n_idle--;
}

static struct blob_pin *pin_remove(struct store *s, struct blob_pin *p)
{
    HASH_DEL(s->pins, p);
    return p;
}

static int pin_get(struct store *s, const struct catalog_row *row, struct blob_pin **ret)
{
    struct blob_pin *p = NULL;
    struct content *content = NULL;
    int r;

    guard(&s->pin_lock);
    HASH_FIND(hh, s->pins, row->id, BLOB_ID, p);
    if (p == NULL) {
        r = s->engine->content_open(s, row->id, row->size_bytes, row->layout, &content);
        if (r < 0)
            return r;
        p = xcalloc(1, sizeof *p);
        memcpy(p->id, row->id, BLOB_ID);
        p->content = content;
        HASH_ADD(hh, s->pins, id, BLOB_ID, p);
    } else if (p->refs == 0) {
        idle_remove(s, p);
    }
    p->refs++;
    *ret = p;
    return 0;
}

/* What has to be freed, outside the lock; NULL: nothing. */
static struct blob_pin *pin_put(struct store *s, struct blob_pin *p)
{
    guard(&s->pin_lock);
    if (--p->refs > 0)
        return NULL;
    if (p->doomed)
        return pin_remove(s, p);
    DL_APPEND(s->idle_first, p);
    if (++s->n_idle <= IDLE_MAX)
        return NULL;
    p = s->idle_first;
    idle_remove(s, p);
    return pin_remove(s, p);
}

int blob_open(struct store *s, const struct digest *d, struct blob **ret)
{
    struct catalog_row row;
    struct blob_pin *pin = NULL;
    struct blob *b;
    int r;

    guard(digest_stripe(s, d)); /* the reaper does not come between the row and the pin */
    r = catalog_get(s, d, &row);
    if (r < 0)
        return r;
    r = pin_get(s, &row, &pin);
    catalog_release(&row);
    if (r < 0)
        return r == -ENOENT ? -EIO : r;
    b = xcalloc(1, sizeof *b);
    *b = (struct blob){.store = s, .pin = pin, .digest = *d, .size_bytes = row.size_bytes};
    *ret = b;
    return 0;
}

static void remove_doomed(struct store *s, struct blob_pin *p)
{
    struct buf layout = p->layout;
    uint8_t id[BLOB_ID];

    memcpy(id, p->id, BLOB_ID);
    p->layout = (struct buf){0};
    pin_free(s, p);
    (void)content_remove(s, id, buf_slice(&layout)); /* else the next reaping does it */
    buf_done(&layout);
}

void blob_close(struct blob *b)
{
    struct blob_pin *p;

    if (b == NULL)
        return;
    p = pin_put(b->store, b->pin);
    if (p != NULL && p->doomed)
        remove_doomed(b->store, p);
    else if (p != NULL)
        pin_free(b->store, p);
    free(b);
}

int content_doom(struct store *s, const uint8_t id[BLOB_ID], struct slice layout)
{
    struct blob_pin *p = NULL;

    pthread_mutex_lock(&s->pin_lock);
    HASH_FIND(hh, s->pins, id, BLOB_ID, p);
    if (p != NULL && p->refs > 0) {
        p->doomed = true;
        buf_clear(&p->layout);
        buf_add_slice(&p->layout, layout);
        pthread_mutex_unlock(&s->pin_lock);
        return 0;
    }
    if (p != NULL) {
        idle_remove(s, p);
        pin_remove(s, p);
    }
    pthread_mutex_unlock(&s->pin_lock);
    if (p != NULL)
        pin_free(s, p);
    return content_remove(s, id, layout);
}

int content_remove(struct store *s, const uint8_t id[BLOB_ID], struct slice layout)
{
    struct store_batch *b;
    int r = s->engine->content_delete(s, id, layout);

    if (r < 0)
        return r;
    b = catalog_batch(s);
    catalog_row_delete(b, ROW_DOOMED, slice_of(id, BLOB_ID));
    return store_commit(b, 0);
}

void blobs_close(struct store *s)
{
    struct blob_pin *p, *next;

    HASH_ITER(hh, s->pins, p, next)
        pin_free(s, pin_remove(s, p));
    while (s->stages != NULL) {
        struct blob_stage *stage = s->stages;

        stage_forget(stage);
    }
}

uint64_t blob_size(const struct blob *b)
{
    return b->size_bytes;
}

const struct digest *blob_digest(const struct blob *b)
{
    return &b->digest;
}

ssize_t blob_read(struct blob *b, uint64_t offset, void *buf, size_t n)
{
    if (offset >= b->size_bytes || n == 0)
        return 0;
    if (n > b->size_bytes - offset)
        n = (size_t)(b->size_bytes - offset);
    return b->store->engine->content_read(b->pin->content, offset, buf, n);
}

int blob_lend(struct blob *b, uint64_t offset, size_t n, struct blob_loan *ret)
{
    int r;

    *ret = (struct blob_loan){0};
    if (offset > b->size_bytes || n > b->size_bytes - offset)
        return -EINVAL;
    r = b->store->engine->content_lend(b->pin->content, offset, n, ret);
    if (r == 0)
        ret->owner = b->store;
    return r;
}

void blob_unlend(struct blob_loan *loan)
{
    const struct store *s = loan->owner;

    if (s != NULL && s->engine->content_unlend != NULL)
        s->engine->content_unlend(loan->iov, loan->n_iov);
    free(loan->iov);
    *loan = (struct blob_loan){0};
}

int blob_stat(struct store *s, const struct digest *d, struct blob_stat *ret)
{
    struct catalog_row row;
    int r = catalog_get(s, d, &row);

    if (r < 0)
        return r;
    catalog_release(&row);
    r = catalog_held(s, d);
    if (r < 0)
        return r;
    *ret = (struct blob_stat){row.size_bytes, row.sealed_unix_ms, r == 1};
    return 0;
}

static int each_row(struct store *s, struct slice key, struct slice value,
                    int (*f)(void *ctx, const struct digest *d, const struct blob_stat *st),
                    void *ctx)
{
    struct catalog_row row;
    struct blob_stat st;
    struct digest d;
    int r = catalog_decode(value, &row);

    if (r == 0)
        r = catalog_key_digest(slice_skip(key, 1), &d);
    if (r == 0)
        r = catalog_held(s, &d);
    if (r < 0)
        return r;
    st = (struct blob_stat){row.size_bytes, row.sealed_unix_ms, r == 1};
    return f(ctx, &d, &st);
}

int blob_each(struct store *s,
              int (*f)(void *ctx, const struct digest *d, const struct blob_stat *st), void *ctx)
{
    return blob_each_after(s, NULL, f, ctx);
}

int blob_each_after(struct store *s, const struct digest *after,
                    int (*f)(void *ctx, const struct digest *d, const struct blob_stat *st),
                    void *ctx)
{
    struct store_scan *scan = NULL;
    struct slice key, value;
    int r = catalog_scan(s, ROW_CONTENT, (struct slice){0}, &scan);

    if (r < 0)
        return r;
    if (after != NULL) {
        uint8_t text[1 + DIGEST_KEY_MAX + 1] = {ROW_CONTENT};

        store_scan_seek(scan, slice_of(text, 1 + digest_key(after, text + 1).len + 1));
    }
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        r = each_row(s, key, value, f, ctx);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

static int hash_blob(struct blob *b, struct hash *h)
{
    autofree char *bytes = xmalloc(VERIFY_READ);
    uint64_t done = 0;

    while (done < b->size_bytes) {
        ssize_t n = blob_read(b, done, bytes, VERIFY_READ);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        hash_update(h, bytes, (size_t)n);
        done += (uint64_t)n;
    }
    return 0;
}

int blob_verify(struct store *s, const struct digest *d)
{
    struct digest got = {.algorithm = d->algorithm};
    struct blob *b = NULL;
    struct hash *h;
    int r = blob_open(s, d, &b);

    if (r < 0)
        return r;
    h = hash_new(hash_kind_of((enum digest_algorithm)d->algorithm));
    r = hash_blob(b, h);
    hash_final(h, got.bytes);
    hash_free(h);
    blob_close(b);
    if (r == 0 && !digest_eq(d, &got))
        r = -EIO;
    return r;
}
