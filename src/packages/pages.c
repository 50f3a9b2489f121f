#include "packages/pages.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/digest.h"
#include "base/scope.h"
#include "packages/mirror.h"
#include "packages/render.h"
#include "packages/state.h"

#include <errno.h>
#include <stdio.h>
#include <uthash.h>

#define STRIPES 256
#define RENDERS 32

const char *const page_types[PAGE_KINDS + 1] = {
    "text/html; charset=utf-8",
    "application/vnd.pypi.simple.v1+html",
    "application/vnd.pypi.simple.v1+json",
    NULL,
};

/* A project's own page has its name as key, one from the mirror MIRRORED and the name. */
#define MIRRORED "."
#define KEY_MAX  (PROJECT_NAME_MAX + sizeof MIRRORED)

struct entry {
    char key[KEY_MAX];
    int64_t until_ms; /* on the monotonic clock; 0: until it changes */
    struct web_page *page[PAGE_KINDS];
    UT_hash_handle hh; /* the table's own order is that of use: the first was used longest ago */
};

struct pages {
    struct packages *pk;
    /* By hash of the key: of many that want a page at once one renders it, the others wait. Taken
     * before `lock`, held while the store is read. */
    pthread_mutex_t render[RENDERS];
    pthread_mutex_t lock; /* guards: entries, bytes, changes */
    struct entry *entries;
    size_t bytes;
    /* Counts the changes of projects, by hash: a page is kept only if its project did not change
     * while it was rendered. */
    uint64_t changes[STRIPES];
    struct store_watch *watch;
};

static size_t stripe_of(const char *key)
{
    size_t h = 5381;

    for (; *key != 0; key++)
        h = h * 33 + (unsigned char)*key;
    return h % STRIPES;
}

static size_t weight(const struct web_page *page)
{
    return page->bytes.len + page->gzip.len + 512;
}

/* Call with the lock held. */
static void drop(struct pages *p, struct entry *e)
{
    HASH_DEL(p->entries, e);
    for (size_t i = 0; i < PAGE_KINDS; i++) {
        if (e->page[i] != NULL)
            p->bytes -= weight(e->page[i]);
        web_page_unref(e->page[i]);
    }
    p->bytes -= sizeof *e;
    free(e);
}

/* Call with the lock held. */
static void change_key(struct pages *p, const char *key)
{
    struct entry *e;

    p->changes[stripe_of(key)]++;
    HASH_FIND_STR(p->entries, key, e);
    if (e != NULL)
        drop(p, e);
}

/* A name may have become the team's. Call with the lock held. */
static void change_mirrored(struct pages *p)
{
    struct entry *e, *next;

    for (size_t i = 0; i < STRIPES; i++)
        p->changes[i]++;
    HASH_ITER(hh, p->entries, e, next)
        if (e->key[0] == MIRRORED[0])
            drop(p, e);
}

static void changed(void *ctx, struct slice part)
{
    static const struct slice mirror = {MIRROR_PREFIX, sizeof MIRROR_PREFIX - 1};
    struct slice name = slice_skip(part, strlen(INDEX_PARTITION));
    struct pages *p = ctx;
    bool mirrored;
    char key[KEY_MAX] = MIRRORED;

    if (name.len > 0)
        name = slice_skip(name, 1);
    mirrored = slice_starts(name, mirror);
    if (mirrored)
        name = slice_skip(name, mirror.len);
    if (name.len > PROJECT_NAME_MAX || (name.len > 0 && *(const char *)name.data == '.'))
        return;
    memcpy(key + strlen(MIRRORED), name.data, name.len);
    guard(&p->lock);
    if (!mirrored)
        change_key(p, key + strlen(MIRRORED));
    if (name.len > 0)
        change_key(p, key);
    else if (p->pk->mirror != NULL)
        change_mirrored(p);
}

int pages_new(struct packages *pk, struct pages **ret)
{
    struct pages *p = xcalloc(1, sizeof *p);
    int r;

    p->pk = pk;
    pthread_mutex_init(&p->lock, NULL);
    for (size_t i = 0; i < RENDERS; i++)
        pthread_mutex_init(&p->render[i], NULL);
    r = store_watch(pk->store, SLICE(INDEX_PARTITION), changed, p, &p->watch);
    if (r < 0) {
        pages_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void pages_free(struct pages *p)
{
    if (p == NULL)
        return;
    if (p->watch != NULL)
        store_unwatch(p->watch);
    while (p->entries != NULL)
        drop(p, p->entries);
    pthread_mutex_destroy(&p->lock);
    for (size_t i = 0; i < RENDERS; i++)
        pthread_mutex_destroy(&p->render[i]);
    free(p);
}

int pages_peek(struct packages *pk, const char *key, enum page_kind kind, struct web_page **ret)
{
    struct pages *p = pk->pages;
    struct entry *e;

    guard(&p->lock);
    HASH_FIND_STR(p->entries, key, e);
    if (e != NULL && e->until_ms > 0 && e->until_ms <= clock_monotonic_ms()) {
        drop(p, e);
        e = NULL;
    }
    if (e == NULL || e->page[kind] == NULL)
        return -EAGAIN;
    if (e->hh.next != NULL) { /* used last: to the end */
        HASH_DEL(p->entries, e);
        HASH_ADD_STR(p->entries, key, e);
    }
    *ret = web_page_ref(e->page[kind]);
    return 0;
}

static void mirrored_key(const char *project, char key[KEY_MAX])
{
    snprintf(key, KEY_MAX, MIRRORED "%s", project);
}

int pages_peek_mirrored(struct packages *pk, const char *project, enum page_kind kind,
                        struct web_page **ret)
{
    char key[KEY_MAX];

    mirrored_key(project, key);
    return pages_peek(pk, key, kind, ret);
}

static void keep(struct pages *p, const char *key, enum page_kind kind, struct web_page *page,
                 uint64_t changes, int64_t until_ms)
{
    struct entry *e;

    guard(&p->lock);
    if (p->changes[stripe_of(key)] != changes || weight(page) > PAGE_BYTES_MAX / 2)
        return;
    HASH_FIND_STR(p->entries, key, e);
    if (e == NULL) {
        e = xcalloc(1, sizeof *e);
        memcpy(e->key, key, strlen(key) + 1);
        e->until_ms = until_ms;
        HASH_ADD_STR(p->entries, key, e);
        p->bytes += sizeof *e;
    }
    if (e->page[kind] != NULL)
        return;
    e->page[kind] = web_page_ref(page);
    p->bytes += weight(page);
    while (p->bytes > PAGE_BYTES_MAX && p->entries != e)
        drop(p, p->entries);
}

static struct web_page *make_page(struct slice bytes, enum page_kind kind)
{
    static const char marks[PAGE_KINDS] = {'t', 'h', 'j'};
    struct digest d;
    char etag[1 + 32 + 2 + 1 + 1];

    digest_of(DIGEST_SHA256, bytes.data, bytes.len, &d);
    etag[0] = '"';
    hex_encode(slice_of(d.bytes, 16), etag + 1);
    etag[33] = '-';
    etag[34] = marks[kind]; /* both kinds of HTML have the same bytes */
    etag[35] = '"';
    etag[36] = 0;
    return web_page_new(bytes, page_types[kind], etag, true);
}

static uint64_t changes_of(struct pages *p, const char *key)
{
    guard(&p->lock);
    return p->changes[stripe_of(key)];
}

int pages_get(struct op *op, struct packages *pk, const char *project, enum page_kind kind,
              bool may_wait, struct web_page **ret)
{
    struct pages *p = pk->pages;
    autobuf text = {0};
    uint64_t changes;
    int r = pages_peek(pk, project, kind, ret);

    if (r == 0)
        return 0;
    if (!may_wait)
        return -EINPROGRESS;
    guard(&p->render[stripe_of(project) % RENDERS]);
    if (pages_peek(pk, project, kind, ret) == 0)
        return 0;
    changes = changes_of(p, project);
    if (project[0] == 0)
        r = render_root(op, pk, kind, false, &text);
    else
        r = render_project(op, pk, project, false, kind, &text);
    if (r < 0)
        return r;
    *ret = make_page(buf_slice(&text), kind);
    keep(p, project, kind, *ret, changes, 0);
    return 0;
}

int pages_mirrored(struct op *op, struct packages *pk, const char *project, enum page_kind kind,
                   const char *via, bool may_wait, struct web_page **ret)
{
    struct pages *p = pk->pages;
    autobuf text = {0};
    char key[KEY_MAX];
    uint64_t changes;
    int64_t until_ms;
    int r = pages_peek_mirrored(pk, project, kind, ret);

    if (r == 0)
        return 0;
    if (!may_wait)
        return -EINPROGRESS;
    r = mirror_refresh(op, pk, project, via, &until_ms);
    if (r < 0)
        return r;
    mirrored_key(project, key);
    guard(&p->render[stripe_of(key) % RENDERS]);
    if (pages_peek(pk, key, kind, ret) == 0)
        return 0;
    changes = changes_of(p, key);
    if (!mirror_covers(op, pk, project)) /* it became the team's meanwhile */
        return op_fail(op, EBUSY, "project '%s' is being published; try again", project);
    r = render_project(op, pk, project, true, kind, &text);
    if (r < 0)
        return r;
    *ret = make_page(buf_slice(&text), kind);
    keep(p, key, kind, *ret, changes, until_ms);
    return 0;
}
