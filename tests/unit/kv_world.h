/* kv_world.h: a KV engine on a store in memory, and an op. Included after cmocka.h. */
#ifndef KV_WORLD_H
#define KV_WORLD_H

#include "base/scope.h"
#include "secrets/kv.h"
#include "secrets/kv_internal.h"

#include <stdlib.h>

static const uint8_t unseal_key[KEYRING_KEY_BYTES] = {7};
static const uint8_t mount_id[KV_ID_BYTES] = {1};

struct world {
    struct store *store;
    struct keyring *keyring;
    struct kv_listings *listings;
    struct kv *kv;
    struct op op;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct kv_config config = {0};
    autobuf why = {0};

    assert_int_equal(store_open("mem:", NULL, &w->store, &why), 0);
    w->keyring = keyring_new(w->store);
    assert_int_equal(keyring_init(w->keyring, unseal_key, NULL), 0);
    w->listings = kv_listings_new();
    w->kv = kv_new(w->store, w->keyring, w->listings, mount_id, &config, 1 << 20);
    op_init(&w->op, DOOR_INTERNAL, NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    op_done(&w->op);
    kv_free(w->kv);
    kv_listings_unref(w->listings);
    keyring_free(w->keyring);
    store_close(w->store);
    free(w);
    return 0;
}

#endif
