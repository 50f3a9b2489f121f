/* blob_catalog.h: the rows about blobs, all in one partition, so that one batch changes several.
 * Private to src/store. Their form is in README.md. */
#ifndef STORE_BLOB_CATALOG_H
#define STORE_BLOB_CATALOG_H

#include "store/engine.h"

struct catalog_row {
    uint64_t size_bytes;
    int64_t sealed_unix_ms;   /* or offered again: grace counts from here */
    int64_t released_unix_ms; /* when its last owner let go; 0 */
    uint8_t id[BLOB_ID];      /* of its content */
    struct slice layout;      /* the engine's; lent by `value` */
    struct store_value value;
};

int catalog_get(struct store *s, const struct digest *d, struct catalog_row *ret); /* release it */
void catalog_release(struct catalog_row *row);
int catalog_decode(struct slice value, struct catalog_row *ret); /* -EIO; lends from value */
void catalog_put(struct store_batch *b, const struct digest *d, const struct catalog_row *row);
void catalog_delete(struct store_batch *b, const struct digest *d);
int catalog_held(struct store *s, const struct digest *d); /* 1, 0 */
struct store_batch *catalog_batch(struct store *s);
/* Rows whose key begins with a letter and `rest`; row keys are lent without the letter. */
int catalog_scan(struct store *s, char letter, struct slice rest, struct store_scan **ret);
int catalog_key_digest(struct slice key, struct digest *ret); /* of a 'c' row; -EIO */
/* One row, by letter and key. */
void catalog_row_put(struct store_batch *b, char letter, struct slice key, struct slice value);
void catalog_row_delete(struct store_batch *b, char letter, struct slice key);
int catalog_row_get(struct store *s, char letter, struct slice key, struct store_value *ret);

#define ROW_CONTENT 'c' /* digest -> struct catalog_row */
#define ROW_DOOMED  'd' /* content id -> layout: to be deleted when nobody reads it */
#define ROW_OWNER   'o' /* digest, owner */
#define ROW_STAGE   's' /* stage id -> struct stage_row */

#define DIGEST_KEY_MAX 65
struct slice digest_key(const struct digest *d, uint8_t key[DIGEST_KEY_MAX]);
pthread_mutex_t *digest_stripe(struct store *s, const struct digest *d);

enum stage_state { STAGE_SUSPENDED = 1, STAGE_SEALING = 2 };
struct stage_row {
    uint8_t state;     /* enum stage_state */
    uint8_t algorithm; /* enum digest_algorithm */
    int64_t touched_unix_ms;
    struct slice engine; /* its own state; lent */
};
int stage_row_decode(struct slice value, struct stage_row *ret); /* -EIO */
void stage_row_put(struct store_batch *b, const uint8_t id[BLOB_ID], const struct stage_row *row);

/* Before the first bytes of content that a later batch will make count: should that batch never
 * come, the next start deletes them. The engine calls it in staging_finish. */
int stage_mark_sealing(struct store *s, const uint8_t id[BLOB_ID]);
void stage_unmark(struct store_batch *b, const uint8_t id[BLOB_ID]);

/* Frees content whose rows are gone already, now or when its last reader closes. */
int content_doom(struct store *s, const uint8_t id[BLOB_ID], struct slice layout);
int content_remove(struct store *s, const uint8_t id[BLOB_ID], struct slice layout);

/* Takes a stage's id for one holder. -EBUSY: it is open. Inserts an empty one if there is none. */
int stage_claim(struct store *s, const uint8_t id[BLOB_ID], struct blob_stage **ret);
void stage_forget(struct blob_stage *stage);

#endif
