/* kv_internal.h: what the kv_*.c files share. */
#ifndef SECRETS_KV_INTERNAL_H
#define SECRETS_KV_INTERNAL_H

#include "secrets/kv.h"

#include <pthread.h>

#define ROW_ENTRY      'e'
#define ROW_NAME       'n'
#define VERSION_BYTES  23
#define CHUNK_BYTES    60000u
#define FOLDERS_CACHED 4096

struct folder_cache;

struct kv {
    struct store *store;
    struct keyring *keyring;
    struct slice part;
    char part_text[64];
    uint8_t root[KV_ID_BYTES];
    uint64_t field_limit_bytes;
    pthread_mutex_t config_lock; /* guards: config */
    struct kv_config config;
    pthread_rwlock_t folders_lock; /* guards: folders, generation */
    /* Path to row, of folders without HIDDEN and DYING. Whoever changes such a row commits it, then
     * empties this; so a row found here is at most a moment old, and guards see to the rest. */
    struct folder_cache *folders;
    struct kv_reads *reads;
    struct kv_listings *listings;
    unsigned generation; /* how often it was emptied: what was read before is not put in */
};

/* kv_rows.c: rows and their bytes. */
int kv_row_key(struct kv *kv, const uint8_t parent[KV_ID_BYTES], enum kv_kind kind,
               struct slice name, uint8_t ret[KV_ROW_KEY_BYTES]);
int kv_row_get(struct op *op, struct kv *kv, const uint8_t parent[KV_ID_BYTES], enum kv_kind kind,
               struct slice name, struct kv_entry *ret); /* -ENOENT: key and name are set */
int kv_row_parse(struct op *op, struct kv *kv, struct slice key, struct slice raw,
                 struct kv_entry *ret);
/* Encrypts the entry under e->key and adds the put. */
int kv_row_put(struct kv *kv, struct store_batch *batch, const struct kv_entry *e);
/* Beside each entry stands a row with its name alone, written once: the entry's own row has a new
 * version in the store for each version of the secret, and a list would read them all. */
int kv_name_put(struct kv *kv, struct store_batch *batch, const struct kv_entry *e);
void kv_name_delete(struct kv *kv, struct store_batch *batch, const struct kv_entry *e);
/* *ret_name points into plain, of raw.len bytes. */
int kv_name_parse(struct op *op, struct kv *kv, struct slice key, struct slice raw, uint8_t *plain,
                  struct kv_name *ret);
void kv_version_pack(const struct kv_version *v, uint8_t ret[VERSION_BYTES]);

/* kv_content.c: contents of versions. */
int kv_content_put(struct op *op, struct kv *kv, struct store_batch *batch,
                   const uint8_t id[KV_ID_BYTES], struct kv_version *version,
                   const struct kv_content *content); /* sets version->chunks */
void kv_content_delete(struct store_batch *batch, const uint8_t id[KV_ID_BYTES],
                       const struct kv_version *version);

/* kv_reads.c: when secrets were read. */
struct kv_reads *kv_reads_new(void);
void kv_reads_free(struct kv *kv); /* writes what was not written */
void kv_reads_delete(struct kv *kv, struct store_batch *batch, const uint8_t id[KV_ID_BYTES]);

/* kv_listings.c: the names of large folders, as they were listed last and added to since. */
enum kv_listing { KV_LISTING_NONE, KV_LISTING_UNSORTED, KV_LISTING_SORTED };
struct kv_listings *kv_listings_ref(struct kv_listings *l);
/* The list of a folder, if one was kept: it is in the op then. *ret_moment is for keeping one. */
enum kv_listing kv_listings_get(struct op *op, struct kv *kv, const uint8_t folder[KV_ID_BYTES],
                                struct kv_name **ret, size_t *ret_n, uint64_t *ret_moment);
/* Keeps it, sorted, unless names changed since that moment. */
void kv_listings_keep(struct kv *kv, const uint8_t folder[KV_ID_BYTES], const struct kv_name *list,
                      size_t n, uint64_t moment);
/* The batch makes this folder, with a new id; adds a name to it, which is not there; or takes one
 * away. Said before the batch is committed, and a name's before it is encrypted. */
void kv_listings_make(struct kv *kv, struct store_batch *batch, const uint8_t folder[KV_ID_BYTES]);
void kv_listings_add(struct kv *kv, struct store_batch *batch, const uint8_t folder[KV_ID_BYTES],
                     struct slice name, enum kv_kind kind);
void kv_listings_remove(struct kv *kv, struct store_batch *batch,
                        const uint8_t folder[KV_ID_BYTES]);

/* kv_folder.c: paths. */
struct chain {
    struct kv_entry *folders; /* from the first below the root to the last */
    size_t n;
    size_t n_existing; /* those behind it are not stored: key, name and a new id are set */
};
int kv_chain_walk(struct op *op, struct kv *kv, const char *folder, struct chain *ret);
const uint8_t *kv_chain_last_id(const struct kv *kv, const struct chain *c);
/* Adds what must hold, and be made, for an entry to be added at the end of the chain: each folder
 * is still what it was; those that are missing are made; hidden and dying ones are taken back. */
int kv_chain_claim(struct kv *kv, struct store_batch *batch, const struct chain *c);
/* The id of a folder. -ENOENT. */
int kv_folder_id(struct op *op, struct kv *kv, const char *folder, uint8_t ret[KV_ID_BYTES]);
void kv_folders_forget(struct kv *kv);
/* Is any entry in the folder? 1, 0. With `visible`, only those that the tree shows count. */
int kv_folder_has(struct op *op, struct kv *kv, const uint8_t id[KV_ID_BYTES], bool visible);

struct slice kv_path_name(const char *path); /* the last component */
void kv_new_id(uint8_t ret[KV_ID_BYTES]);

#endif
