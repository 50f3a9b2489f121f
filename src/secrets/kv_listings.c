/* kv_listings.c: the names of large folders, sorted, as they were listed last. They are plain while
 * unsealed, as are the names of folders, and wiped when they go.
 *
 * A list stands for what is committed: it is dropped when a batch that changes a name of its folder
 * ends, before anybody is answered; and one that was read while such a batch was under way is not
 * kept. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <uthash.h>

#define NAMES_LEAST 64u         /* shorter lists are read as fast */
#define BYTES_MOST  (4u << 20)  /* of all lists */
#define NAME_HEAD   5u          /* kind, be32 length */

struct listing {
    UT_hash_handle hh;
    uint8_t folder[KV_ID_BYTES];
    size_t n, len;
    uint8_t bytes[]; /* n names: head, text */
};

struct kv_listings {
    unsigned refs;
    pthread_mutex_t lock; /* guards all below */
    struct listing *kept;
    size_t bytes;         /* of the kept ones */
    unsigned changing;    /* batches under way that change a name */
    uint64_t changes;     /* of these, begun or ended so far */
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

/* Called with the lock. */
static void drop(struct kv_listings *l, struct listing *one)
{
    HASH_DEL(l->kept, one);
    l->bytes -= one->len;
    explicit_bzero(one->bytes, one->len);
    free(one);
}

static void drop_all(struct kv_listings *l)
{
    struct listing *one, *next;

    HASH_ITER(hh, l->kept, one, next)
        drop(l, one);
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

    l->changes++; /* what is being read is not kept */
    drop_all(l);
}

static void unpack(struct op *op, const struct listing *one, struct kv_name *ret)
{
    uint8_t *p = op_alloc(op, one->len);

    op->wiped = true;
    memcpy(p, one->bytes, one->len);
    for (size_t i = 0; i < one->n; i++) {
        size_t len = be32_get(p + 1);

        ret[i] = (struct kv_name){slice_of(p + NAME_HEAD, len), p[0]};
        p += NAME_HEAD + len;
    }
}

int kv_listings_get(struct op *op, struct kv *kv, const uint8_t folder[KV_ID_BYTES],
                    struct kv_name **ret, size_t *ret_n, uint64_t *ret_moment)
{
    struct kv_listings *l = kv->listings;
    struct listing *one;

    guard(&l->lock);
    *ret_moment = l->changes;
    HASH_FIND(hh, l->kept, folder, KV_ID_BYTES, one);
    if (one == NULL)
        return 0;
    *ret = op_alloc(op, (one->n + 1) * sizeof **ret);
    *ret_n = one->n;
    unpack(op, one, *ret);
    return 1;
}

static struct listing *pack(const uint8_t folder[KV_ID_BYTES], const struct kv_name *list, size_t n)
{
    struct listing *one;
    size_t len = 0;
    uint8_t *p;

    for (size_t i = 0; i < n; i++)
        len += NAME_HEAD + list[i].name.len;
    if (n < NAMES_LEAST || len > BYTES_MOST)
        return NULL;
    one = xcalloc(1, sizeof *one + len);
    memcpy(one->folder, folder, KV_ID_BYTES);
    one->n = n;
    one->len = len;
    p = one->bytes;
    for (size_t i = 0; i < n; i++) {
        p[0] = (uint8_t)list[i].kind;
        be32_put(p + 1, (uint32_t)list[i].name.len);
        memcpy(p + NAME_HEAD, list[i].name.data, list[i].name.len);
        p += NAME_HEAD + list[i].name.len;
    }
    return one;
}

void kv_listings_keep(struct kv *kv, const uint8_t folder[KV_ID_BYTES], const struct kv_name *list,
                      size_t n, uint64_t moment)
{
    struct kv_listings *l = kv->listings;
    struct listing *one = pack(folder, list, n), *old;

    if (one == NULL)
        return;
    guard(&l->lock);
    if (l->changing > 0 || l->changes != moment) {
        explicit_bzero(one->bytes, one->len);
        free(one);
        return;
    }
    HASH_FIND(hh, l->kept, folder, KV_ID_BYTES, old);
    if (old != NULL)
        drop(l, old);
    if (l->bytes + one->len > BYTES_MOST)
        drop_all(l);
    HASH_ADD(hh, l->kept, folder, KV_ID_BYTES, one);
    l->bytes += one->len;
}

struct change {
    struct kv_listings *listings;
    uint8_t folder[KV_ID_BYTES];
};

static void end_change(void *ctx, int r)
{
    autofree struct change *c = ctx;
    struct kv_listings *l = c->listings;
    struct listing *one;

    (void)r; /* a write that failed may be there, too */
    pthread_mutex_lock(&l->lock);
    l->changing--;
    l->changes++;
    HASH_FIND(hh, l->kept, c->folder, KV_ID_BYTES, one);
    if (one != NULL)
        drop(l, one);
    pthread_mutex_unlock(&l->lock);
    kv_listings_unref(l);
}

void kv_listings_change(struct kv *kv, struct store_batch *batch,
                        const uint8_t folder[KV_ID_BYTES])
{
    struct change *c = xcalloc(1, sizeof *c);

    c->listings = kv_listings_ref(kv->listings);
    memcpy(c->folder, folder, KV_ID_BYTES);
    pthread_mutex_lock(&kv->listings->lock);
    kv->listings->changing++;
    kv->listings->changes++;
    pthread_mutex_unlock(&kv->listings->lock);
    store_batch_on_end(batch, end_change, c);
}
