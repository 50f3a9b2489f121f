/* Links of blobs to repositories. The link's row is what every change of it is compared with: who
 * takes a blob into use, or lets it go, changes the row, so that the other one notices. */
#include "base/clock.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "images/state.h"

#include <errno.h>

static int read_link(struct images *im, struct slice part, const struct row_key *key,
                     struct link_row *ret, uint8_t bytes[LINK_ROW_BYTES])
{
    struct store_value v = {0};
    int r;

    r = store_get(im->store, part, key_slice(key), &v);
    if (r < 0)
        return r;
    r = link_row_parse(v.data, ret);
    if (r == 0)
        memcpy(bytes, v.data.data, LINK_ROW_BYTES);
    store_value_release(&v);
    return r;
}

static int damaged(struct op *op, const char *repo, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];

    return images_damaged(op, repo, digest_print(d, text));
}

int link_get(struct op *op, struct images *im, const char *repo, const struct digest *d,
             uint64_t *ret_size_bytes)
{
    struct row_key key = key_link(d);
    uint8_t bytes[LINK_ROW_BYTES];
    char text[DIGEST_TEXT_MAX];
    struct link_row row;
    struct part p;
    int r;

    r = read_link(im, part_of(repo, &p), &key, &row, bytes);
    if (r == -EBADMSG)
        return damaged(op, repo, d);
    if (r == -ENOENT)
        return op_fail(op, ENOENT, "blob %s is not in '%s'", digest_print(d, text), repo);
    if (r == 0)
        *ret_size_bytes = row.size_bytes;
    return r;
}

/* Writes `row` over `old` (NULL: where there is none). */
static int write_link(struct images *im, struct slice part, const struct row_key *key,
                      const uint8_t *old, const struct link_row *row, unsigned flags)
{
    struct store_batch *batch = store_batch_new(im->store, part);
    uint8_t bytes[LINK_ROW_BYTES];

    if (old != NULL)
        store_batch_expect(batch, key_slice(key), slice_of(old, LINK_ROW_BYTES));
    else
        store_batch_expect_absent(batch, key_slice(key));
    if (row != NULL)
        store_batch_put(batch, key_slice(key), link_row_print(row, bytes));
    else
        store_batch_delete(batch, key_slice(key));
    return store_commit(batch, flags);
}

static void release(struct images *im, const char *repo, const struct digest *d, uint64_t nonce)
{
    char text[HOLDER_MAX];

    if (blob_release(im->store, d, holder_print(repo, nonce, text)) < 0)
        __atomic_store_n(&im->held, true, __ATOMIC_RELAXED);
}

/* One try to take the blob in; -EAGAIN if somebody was faster. */
static int link_new(struct images *im, const char *repo, struct slice part,
                    const struct row_key *key, const struct digest *d, uint64_t size_bytes)
{
    struct link_row row = {
        .size_bytes = size_bytes,
        .expires_unix_ms = clock_unix_ms() + LINK_IDLE_MS,
        .nonce = images_nonce(im),
    };
    char text[HOLDER_MAX];
    int r;

    r = blob_hold(im->store, d, holder_print(repo, row.nonce, text));
    if (r < 0)
        return r;
    r = write_link(im, part, key, NULL, &row, STORE_DURABLE);
    if (r < 0)
        release(im, repo, d, row.nonce);
    return r;
}

/* Makes a link that is there stay long enough. */
static int link_prolong(struct images *im, struct slice part, const struct row_key *key,
                        const uint8_t *old, struct link_row row, unsigned flags)
{
    int64_t now = clock_unix_ms();

    if (row.expires_unix_ms == LINK_NEEDED || row.expires_unix_ms > now + LINK_IDLE_MS / 2)
        return 0;
    row.expires_unix_ms = now + LINK_IDLE_MS;
    return write_link(im, part, key, old, &row, flags);
}

int link_put(struct op *op, struct images *im, const char *repo, const struct digest *d,
             uint64_t size_bytes)
{
    struct row_key key = key_link(d);
    char text[DIGEST_TEXT_MAX];
    struct part p;
    struct slice part = part_of(repo, &p);
    autoturn turn = NULL;
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        uint8_t bytes[LINK_ROW_BYTES];
        struct link_row row;

        retry_in_turn(im, part, i, &turn);
        r = read_link(im, part, &key, &row, bytes);
        if (r == -ENOENT)
            r = link_new(im, repo, part, &key, d, size_bytes);
        else if (r == 0)
            r = link_prolong(im, part, &key, bytes, row, STORE_DURABLE);
    }
    if (r == -EBADMSG)
        return damaged(op, repo, d);
    if (r == -ENOENT)
        return op_fail(op, ENOENT, "blob %s is no longer stored; upload it again",
                       digest_print(d, text));
    if (r == 0)
        op_changed(op, CHANGE_ENTRY, "/images/@blobs/%s/%s", digest_name(d->algorithm),
                   digest_print(d, text) + strlen(digest_name(d->algorithm)) + 1);
    return r;
}

void link_touch(struct op *op, struct images *im, const char *repo, const struct digest *d)
{
    struct row_key key = key_link(d);
    uint8_t bytes[LINK_ROW_BYTES];
    struct link_row row;
    struct part p;

    (void)op;
    if (read_link(im, part_of(repo, &p), &key, &row, bytes) == 0)
        link_prolong(im, p.name, &key, bytes, row, 0);
}

int link_each(struct op *op, struct images *im, const char *repo,
              int (*f)(void *ctx, const struct digest *d, uint64_t size_bytes), void *ctx)
{
    struct store_scan *scan;
    struct slice key, value;
    struct part p;
    int r;

    r = store_scan(im->store, part_of(repo, &p), SLICE("b"), SLICE("c"), 0, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        struct link_row row;
        struct digest d;

        if (key_last_digest(key, &d) < 0 || link_row_parse(value, &row) < 0) {
            r = images_damaged(op, repo, "link");
            break;
        }
        r = f(ctx, &d, row.size_bytes);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

int link_delete(struct op *op, struct images *im, const char *repo, const struct digest *d)
{
    struct row_key key = key_link(d);
    char text[DIGEST_TEXT_MAX];
    struct link_row row;
    struct part p;
    struct slice part = part_of(repo, &p);
    autoturn turn = NULL;
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        uint8_t bytes[LINK_ROW_BYTES];

        retry_in_turn(im, part, i, &turn);
        r = read_link(im, part, &key, &row, bytes);
        if (r == 0)
            r = write_link(im, part, &key, bytes, NULL, STORE_DURABLE);
    }
    if (r == -EBADMSG)
        return damaged(op, repo, d);
    if (r == -ENOENT)
        return op_fail(op, ENOENT, "blob %s is not in '%s'", digest_print(d, text), repo);
    if (r < 0)
        return r;
    release(im, repo, d, row.nonce);
    op_changed(op, CHANGE_ENTRY, "/images/@blobs/%s/%s", digest_name(d->algorithm),
               digest_print(d, text) + strlen(digest_name(d->algorithm)) + 1);
    return 0;
}

struct finder {
    struct op *op;
    struct images *im;
    const struct digest *digest;
    const char *repo;
    uint64_t size_bytes;
};

static int find_in_owner(void *ctx, struct slice owner)
{
    struct finder *f = ctx;
    uint8_t bytes[LINK_ROW_BYTES];
    struct row_key key = key_link(f->digest);
    struct link_row row;
    struct holder h;
    struct part p;
    char *repo;

    if (holder_parse(owner, &h) < 0 || h.repo.len > IMAGES_NAME_MAX)
        return 0;
    repo = op_strndup(f->op, h.repo.data, h.repo.len);
    if (!identity_may(f->op, POLICY_READ, "images/%s", repo) ||
        read_link(f->im, part_of(repo, &p), &key, &row, bytes) < 0)
        return 0;
    f->repo = repo;
    f->size_bytes = row.size_bytes;
    return 1;
}

const char *link_find(struct op *op, struct images *im, const struct digest *d,
                      uint64_t *ret_size_bytes)
{
    struct finder f = {.op = op, .im = im, .digest = d};

    if (blob_owners(im->store, d, find_in_owner, &f) < 0 || f.repo == NULL)
        return NULL;
    *ret_size_bytes = f.size_bytes;
    return f.repo;
}

/* Does a manifest of the repository need the blob? */
static int is_needed(struct images *im, struct slice part, const struct digest *d)
{
    struct row_key from = key_need(d, NULL);
    struct row_key to = key_after(from);
    struct store_scan *scan;
    struct slice key, value;
    int r;

    r = store_scan(im->store, part, key_slice(&from), key_slice(&to), STORE_KEYS_ONLY, &scan);
    if (r < 0)
        return r;
    r = store_scan_next(scan, &key, &value);
    store_scan_free(scan);
    return r;
}

struct sweep {
    struct images *im;
    int64_t now_unix_ms;
    uint64_t dropped;
};

/* A link whose time is over: it goes, unless a manifest came to need it. */
static int sweep_link(struct sweep *s, const char *repo, struct slice part, const struct digest *d,
                      struct link_row row, const uint8_t *old)
{
    struct row_key key = key_link(d);
    int r = is_needed(s->im, part, d);

    if (r < 0)
        return r;
    if (r > 0) {
        row.expires_unix_ms = LINK_NEEDED;
        r = write_link(s->im, part, &key, old, &row, 0);
        return r == -EAGAIN ? 0 : r;
    }
    r = write_link(s->im, part, &key, old, NULL, 0);
    if (r < 0)
        return r == -EAGAIN ? 0 : r;
    release(s->im, repo, d, row.nonce);
    s->dropped++;
    return 0;
}

static int sweep_repo(void *ctx, struct slice part)
{
    struct sweep *s = ctx;
    struct store_scan *scan;
    struct slice key, value;
    char repo[IMAGES_NAME_MAX + 1];
    int r;

    if (part.len <= 7 || part.len - 7 > IMAGES_NAME_MAX)
        return 0;
    memcpy(repo, (const char *)part.data + 7, part.len - 7);
    repo[part.len - 7] = 0;
    r = store_scan(s->im->store, part, SLICE("b"), SLICE("c"), 0, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        struct link_row row;
        struct digest d;
        uint8_t old[LINK_ROW_BYTES];

        if (link_row_parse(value, &row) < 0 || key_last_digest(key, &d) < 0 ||
            row.expires_unix_ms > s->now_unix_ms)
            continue;
        memcpy(old, value.data, sizeof old);
        r = sweep_link(s, repo, part, &d, row, old);
        if (r < 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

int links_sweep(struct images *im, int64_t now_unix_ms, uint64_t *ret_dropped)
{
    struct sweep s = {.im = im, .now_unix_ms = now_unix_ms};
    int r;

    r = store_partitions(im->store, PART_REPOSITORIES, sweep_repo, &s);
    *ret_dropped = s.dropped;
    return r;
}

int links_sweep_repo(struct images *im, const char *repo, int64_t now_unix_ms)
{
    struct sweep s = {.im = im, .now_unix_ms = now_unix_ms};
    struct part p;

    return sweep_repo(&s, part_of(repo, &p));
}

/* Does a row name this hold? */
static bool is_named(struct images *im, const struct digest *d, const char *repo, uint64_t nonce)
{
    struct row_key key = key_link(d);
    struct store_value v = {0};
    struct manifest_row manifest;
    uint8_t bytes[LINK_ROW_BYTES];
    struct link_row row;
    struct part p;
    bool named;
    int r;

    r = read_link(im, part_of(repo, &p), &key, &row, bytes);
    if (r != -ENOENT && (r < 0 || row.nonce == nonce))
        return true;
    key = key_manifest(d);
    r = store_get(im->store, p.name, key_slice(&key), &v);
    named =
        r < 0 ? r != -ENOENT : manifest_row_parse(v.data, &manifest) < 0 || manifest.nonce == nonce;
    store_value_release(&v);
    return named;
}

struct mend {
    struct images *im;
    const struct digest *digest;
    char repo[IMAGES_NAME_MAX + 1];
    uint64_t nonce;
    bool found;
};

static int mend_owner(void *ctx, struct slice owner)
{
    struct mend *m = ctx;
    struct holder h;

    if (holder_parse(owner, &h) < 0 || h.repo.len > IMAGES_NAME_MAX || h.nonce >> 32 == m->im->life)
        return 0;
    memcpy(m->repo, h.repo.data, h.repo.len);
    m->repo[h.repo.len] = 0;
    if (is_named(m->im, m->digest, m->repo, h.nonce))
        return 0;
    m->nonce = h.nonce;
    m->found = true;
    return 1;
}

static int mend_blob(void *ctx, const struct digest *d, const struct blob_stat *st)
{
    struct images *im = ctx;
    struct mend m;

    (void)st;
    do {
        m = (struct mend){.im = im, .digest = d};
        if (blob_owners(im->store, d, mend_owner, &m) < 0)
            break;
        if (m.found)
            release(im, m.repo, d, m.nonce);
    } while (m.found);
    guard(&im->lock);
    return im->stopping;
}

int links_mend(struct images *im)
{
    return blob_each(im->store, mend_blob, im);
}
