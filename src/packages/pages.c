#include "packages/pages.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/digest.h"
#include "base/scope.h"
#include "packages/render.h"
#include "packages/state.h"

#include <errno.h>
#include <uthash.h>

#define STRIPES 256

const char *const page_types[PAGE_KINDS + 1] = {
    "text/html; charset=utf-8",
    "application/vnd.pypi.simple.v1+html",
    "application/vnd.pypi.simple.v1+json",
    NULL,
};

struct entry {
    char project[PROJECT_NAME_MAX + 1];
    struct web_page *page[PAGE_KINDS];
    UT_hash_handle hh; /* the table's own order is that of use: the first was used longest ago */
};

struct pages {
    pthread_mutex_t lock; /* guards: entries, bytes, changes */
    struct entry *entries;
    size_t bytes;
    /* Counts the changes of projects, by hash: a page is kept only if its project did not change
     * while it was rendered. */
    uint64_t changes[STRIPES];
    struct store_watch *watch;
};

static size_t stripe_of(const char *project)
{
    size_t h = 5381;

    for (; *project != 0; project++)
        h = h * 33 + (unsigned char)*project;
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

static void changed(void *ctx, struct slice part)
{
    struct pages *p = ctx;
    char project[PROJECT_NAME_MAX + 1] = "";
    struct entry *e;

    if (part.len > strlen(INDEX_PARTITION) + 1) {
        struct slice name = slice_skip(part, strlen(INDEX_PARTITION) + 1);

        if (name.len > PROJECT_NAME_MAX || *(const char *)name.data == '.')
            return;
        memcpy(project, name.data, name.len);
    }
    guard(&p->lock);
    p->changes[stripe_of(project)]++;
    HASH_FIND_STR(p->entries, project, e);
    if (e != NULL)
        drop(p, e);
}

int pages_new(struct packages *pk, struct pages **ret)
{
    struct pages *p = xcalloc(1, sizeof *p);
    int r;

    pthread_mutex_init(&p->lock, NULL);
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
    free(p);
}

int pages_peek(struct packages *pk, const char *project, enum page_kind kind, struct web_page **ret)
{
    struct pages *p = pk->pages;
    struct entry *e;

    guard(&p->lock);
    HASH_FIND_STR(p->entries, project, e);
    if (e == NULL || e->page[kind] == NULL)
        return -EAGAIN;
    if (e->hh.next != NULL) { /* used last: to the end */
        HASH_DEL(p->entries, e);
        HASH_ADD_STR(p->entries, project, e);
    }
    *ret = web_page_ref(e->page[kind]);
    return 0;
}

static void keep(struct pages *p, const char *project, enum page_kind kind, struct web_page *page,
                 uint64_t changes)
{
    struct entry *e;

    guard(&p->lock);
    if (p->changes[stripe_of(project)] != changes || weight(page) > PAGE_BYTES_MAX / 2)
        return;
    HASH_FIND_STR(p->entries, project, e);
    if (e == NULL) {
        e = xcalloc(1, sizeof *e);
        memcpy(e->project, project, strlen(project) + 1);
        HASH_ADD_STR(p->entries, project, e);
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
    pthread_mutex_lock(&p->lock);
    changes = p->changes[stripe_of(project)];
    pthread_mutex_unlock(&p->lock);
    if (project[0] == 0)
        r = render_root(op, pk, kind, false, &text);
    else
        r = render_project(op, pk, project, kind, &text);
    if (r < 0)
        return r;
    *ret = make_page(buf_slice(&text), kind);
    keep(p, project, kind, *ret, changes);
    return 0;
}
