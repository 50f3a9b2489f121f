#include "secrets/kv.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <time.h>

struct kv *kv_new(struct store *store, struct keyring *keyring, struct kv_listings *listings,
                  const uint8_t id[KV_ID_BYTES], const struct kv_config *config,
                  uint64_t field_limit_bytes)
{
    struct kv *kv = xcalloc(1, sizeof *kv);
    char hex[2 * KV_ID_BYTES + 1];

    kv->store = store;
    kv->keyring = keyring;
    kv->field_limit_bytes = field_limit_bytes;
    memcpy(kv->root, id, KV_ID_BYTES);
    hex_encode(slice_of(id, KV_ID_BYTES), hex);
    snprintf(kv->part_text, sizeof kv->part_text, "secrets/kv/%s", hex);
    kv->part = slice_str(kv->part_text);
    kv->config = *config;
    kv->reads = kv_reads_new();
    kv->listings = kv_listings_ref(listings);
    pthread_mutex_init(&kv->config_lock, NULL);
    pthread_rwlock_init(&kv->folders_lock, NULL);
    return kv;
}

void kv_free(struct kv *kv)
{
    if (kv == NULL)
        return;
    kv_folders_forget(kv);
    kv_reads_free(kv);
    kv_listings_unref(kv->listings);
    pthread_mutex_destroy(&kv->config_lock);
    pthread_rwlock_destroy(&kv->folders_lock);
    free(kv);
}

struct kv_config kv_get_config(struct kv *kv)
{
    guard(&kv->config_lock);

    return kv->config;
}

void kv_set_config(struct kv *kv, const struct kv_config *config)
{
    guard(&kv->config_lock);

    kv->config = *config;
}

int kv_drop(struct kv *kv)
{
    kv_forget(kv);
    return store_drop(kv->store, kv->part);
}

int kv_commit(struct store_batch *batch)
{
    return batch != NULL ? store_commit(batch, STORE_DURABLE) : 0;
}

#define TRIES       300 /* of eight writers who sync at once one loses 60 times now and then */
#define BACKOFF_MAX 6 /* doublings */
#define BACKOFF_NS  100000

bool kv_again(int r, unsigned *tries)
{
    unsigned doublings = *tries < BACKOFF_MAX ? *tries : BACKOFF_MAX;
    struct timespec pause = {0, (long)randombytes_uniform(BACKOFF_NS << doublings)};

    if (r != -EAGAIN || ++*tries == TRIES)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

int kv_version_find(const struct kv_entry *e, uint32_t number, struct kv_version *ret)
{
    if (number == 0)
        number = e->current;
    for (size_t i = e->n_versions; i-- > 0;) { /* the newest is asked for most */
        kv_version_at(e, i, ret);
        if (ret->number == number)
            return 0;
        if (ret->number < number)
            break;
    }
    return -ENOENT;
}

int kv_check_unprotected(struct op *op, const struct kv_entry *secret)
{
    if (!secret->is_protected)
        return 0;
    return op_fail(op, EPERM,
                   "the secret is protected; write {\"protect\": false} to its @meta first");
}

bool kv_version_is_live(const struct kv_version *v)
{
    return !v->destroyed && (v->deletion_ns == 0 || v->deletion_ns > clock_unix_ns());
}

bool kv_is_live(const struct kv_entry *e)
{
    struct kv_version v;

    return e->kind == KV_SECRET && kv_version_find(e, 0, &v) == 0 && kv_version_is_live(&v);
}
