/* kv_listings.c: the names of large folders, sorted, as they were listed last, and those of folders
 * that are being filled. They are plain while unsealed, as are the names of folders, and wiped when
 * they go.
 *
 * A list stands for what is committed. A name that is added is put behind the others when its
 * batch ends, before anybody is answered; the next who reads them sorts. All else that changes a
 * name drops the list of its folder, both when its batch begins and when it ends, so that none is
 * put into a list from which an earlier batch has yet to take it. What was read from the store
 * while any such batch was under way is not kept. A folder that a batch makes has a list from then
 * on: nobody else knows its id before, and until the batch has ended nobody is served from it. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <uthash.h>

#define NAMES_LEAST 64u        /* shorter lists are read as fast, */
#define YOUNG_MOST  64u        /* and so kept of this many new folders only */
#define BYTES_MOST  (4u << 20) /* of all lists */
#define BYTES_FIRST 256u
#define NAME_HEAD   5u /* kind, be32 length */

struct listing {
    UT_hash_handle hh;
    uint8_t folder[KV_ID_BYTES];
    bool young;   /* in the table of those with fewer than NAMES_LEAST names */
    bool is_made; /* its folder is being made */
    bool is_sorted;
    size_t n, len, cap;
    uint8_t *bytes; /* n names: head, text */
};

struct kv_listings {
    unsigned refs;
    pthread_mutex_t lock; /* guards all below */
    struct listing *grown, *young; /* by folder */
    size_t bytes;                  /* of all of them */
    unsigned changing;             /* changes of a name that are under way */
    uint64_t changes;              /* of these, begun or ended so far */
    uint64_t forgotten;            /* how often all was */
};

struct kv_listings *kv_listings_new(void)
{
    struct kv_listings *l = xcalloc(1, sizeof *l);

    l->refs = 1;
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

struct kv_listings *kv_listings_ref(struct kv_listings *l)
{
    __atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
    return l;
}

static void listing_free(struct listing *one)
{
    if (one == NULL)
        return;
    if (one->bytes != NULL)
        explicit_bzero(one->bytes, one->cap);
    free(one->bytes);
    free(one);
}

/* The functions from here to kv_listings_unref are called with the lock. */
static struct listing *find(struct kv_listings *l, const uint8_t folder[KV_ID_BYTES])
{
    struct listing *one;

    HASH_FIND(hh, l->grown, folder, KV_ID_BYTES, one);
    if (one == NULL)
        HASH_FIND(hh, l->young, folder, KV_ID_BYTES, one);
    return one;
}

static void take_out(struct kv_listings *l, struct listing *one)
{
    if (one->young)
        HASH_DEL(l->young, one);
    else
        HASH_DEL(l->grown, one);
    l->bytes -= one->cap;
}

static void drop(struct kv_listings *l, struct listing *one)
{
    if (one == NULL)
        return;
    take_out(l, one);
    listing_free(one);
}

static void drop_all(struct kv_listings *l)
{
    while (l->grown != NULL)
        drop(l, l->grown);
    while (l->young != NULL)
        drop(l, l->young);
}

/* Takes `one`. */
static void put_in(struct kv_listings *l, struct listing *one)
{
    if (l->bytes + one->cap > BYTES_MOST)
        drop_all(l);
    one->young = one->n < NAMES_LEAST;
    l->bytes += one->cap;
    if (!one->young)
        HASH_ADD(hh, l->grown, folder, KV_ID_BYTES, one);
    else
        HASH_ADD(hh, l->young, folder, KV_ID_BYTES, one);
    if (HASH_COUNT(l->young) > YOUNG_MOST)
        drop(l, l->young); /* the oldest */
}

void kv_listings_unref(struct kv_listings *l)
{
    if (l == NULL || __atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    drop_all(l);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void kv_listings_forget(struct kv_listings *l)
{
    guard(&l->lock);

    l->changes++;   /* what is being read is not kept, */
    l->forgotten++; /* nor what is being written */
    drop_all(l);
}

static void unpack(struct op *op, const struct listing *one, struct kv_name *ret)
{
    uint8_t *p = op_alloc(op, one->len + 1);

    op->wiped = true;
    if (one->len > 0)
        memcpy(p, one->bytes, one->len);
    for (size_t i = 0; i < one->n; i++) {
        size_t len = be32_get(p + 1);

        ret[i] = (struct kv_name){slice_of(p + NAME_HEAD, len), p[0]};
        p += NAME_HEAD + len;
    }
}

enum kv_listing kv_listings_get(struct op *op, struct kv *kv, const uint8_t folder[KV_ID_BYTES],
                                struct kv_name **ret, size_t *ret_n, uint64_t *ret_moment)
{
    struct kv_listings *l = kv->listings;
    struct listing *one;

    guard(&l->lock);
    *ret_moment = l->changes;
    one = find(l, folder);
    if (one == NULL || one->is_made)
        return KV_LISTING_NONE;
    *ret = op_alloc(op, (one->n + 1) * sizeof **ret);
    *ret_n = one->n;
    unpack(op, one, *ret);
    return one->is_sorted ? KV_LISTING_SORTED : KV_LISTING_UNSORTED;
}

/* Room for more bytes; what they were in before is wiped. */
static void grow(struct listing *one, size_t more)
{
    size_t cap = one->cap > 0 ? one->cap : BYTES_FIRST;
    uint8_t *bytes;

    while (cap < one->len + more)
        cap *= 2;
    if (cap == one->cap)
        return;
    bytes = xmalloc(cap);
    if (one->len > 0) {
        memcpy(bytes, one->bytes, one->len);
        explicit_bzero(one->bytes, one->cap);
    }
    free(one->bytes);
    one->bytes = bytes;
    one->cap = cap;
}

static void append(struct listing *one, struct slice name, enum kv_kind kind)
{
    uint8_t *p;

    grow(one, NAME_HEAD + name.len);
    p = one->bytes + one->len;
    p[0] = (uint8_t)kind;
    be32_put(p + 1, (uint32_t)name.len);
    memcpy(p + NAME_HEAD, name.data, name.len);
    one->len += NAME_HEAD + name.len;
    one->n++;
}

static struct listing *pack(const uint8_t folder[KV_ID_BYTES], const struct kv_name *list, size_t n)
{
    struct listing *one;
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += NAME_HEAD + list[i].name.len;
    if (n < NAMES_LEAST || len > BYTES_MOST)
        return NULL;
    one = xcalloc(1, sizeof *one);
    memcpy(one->folder, folder, KV_ID_BYTES);
    one->is_sorted = true;
    grow(one, len);
    for (size_t i = 0; i < n; i++)
        append(one, list[i].name, list[i].kind);
    return one;
}

void kv_listings_keep(struct kv *kv, const uint8_t folder[KV_ID_BYTES], const struct kv_name *list,
                      size_t n, uint64_t moment)
{
    struct kv_listings *l = kv->listings;
    struct listing *one = pack(folder, list, n);

    if (one == NULL)
        return;
    guard(&l->lock);
    if (l->changing > 0 || l->changes != moment) {
        listing_free(one);
        return;
    }
    drop(l, find(l, folder));
    put_in(l, one);
}

enum change_kind { CHANGE_MAKE, CHANGE_ADD, CHANGE_REMOVE };

/* A batch that changes a name, from the moment it knows of it to its end. */
struct change {
    struct kv_listings *listings;
    uint64_t forgotten; /* the listings' at its begin */
    enum change_kind what;
    uint8_t folder[KV_ID_BYTES];
    enum kv_kind kind;
    size_t len;
    uint8_t name[];
};

/* Called with the lock. */
static void add(struct kv_listings *l, struct listing *one, const struct change *c)
{
    take_out(l, one);
    append(one, slice_of(c->name, c->len), c->kind);
    one->is_sorted = false;
    if (one->len > BYTES_MOST)
        listing_free(one);
    else
        put_in(l, one);
}

static void end_change(void *ctx, int r)
{
    struct change *c = ctx;
    struct kv_listings *l = c->listings;
    struct listing *one;

    pthread_mutex_lock(&l->lock);
    l->changing--;
    l->changes++;
    one = find(l, c->folder);
    if (r < 0 || c->what == CHANGE_REMOVE || c->forgotten != l->forgotten)
        drop(l, one); /* a write that failed may be there, too */
    else if (one != NULL && c->what == CHANGE_ADD)
        add(l, one, c);
    else if (one != NULL)
        one->is_made = false;
    pthread_mutex_unlock(&l->lock);
    kv_listings_unref(l);
    explicit_bzero(c->name, c->len);
    free(c);
}

static void begin_change(struct kv *kv, struct store_batch *batch, enum change_kind what,
                         const uint8_t folder[KV_ID_BYTES], struct slice name, enum kv_kind kind)
{
    struct kv_listings *l = kv_listings_ref(kv->listings);
    struct change *c = xcalloc(1, sizeof *c + name.len);

    c->listings = l;
    c->what = what;
    memcpy(c->folder, folder, KV_ID_BYTES);
    c->kind = kind;
    c->len = name.len;
    if (name.len > 0)
        memcpy(c->name, name.data, name.len);
    pthread_mutex_lock(&l->lock);
    l->changing++;
    l->changes++;
    c->forgotten = l->forgotten;
    if (what != CHANGE_ADD)
        drop(l, find(l, folder));
    if (what == CHANGE_MAKE) {
        struct listing *one = xcalloc(1, sizeof *one);

        memcpy(one->folder, folder, KV_ID_BYTES);
        one->is_made = true;
        put_in(l, one);
    }
    pthread_mutex_unlock(&l->lock);
    store_batch_on_end(batch, end_change, c);
}

void kv_listings_make(struct kv *kv, struct store_batch *batch, const uint8_t folder[KV_ID_BYTES])
{
    begin_change(kv, batch, CHANGE_MAKE, folder, SLICE(""), KV_FOLDER);
}

void kv_listings_add(struct kv *kv, struct store_batch *batch, const uint8_t folder[KV_ID_BYTES],
                     struct slice name, enum kv_kind kind)
{
    begin_change(kv, batch, CHANGE_ADD, folder, name, kind);
}

void kv_listings_remove(struct kv *kv, struct store_batch *batch, const uint8_t folder[KV_ID_BYTES])
{
    begin_change(kv, batch, CHANGE_REMOVE, folder, SLICE(""), KV_FOLDER);
}
