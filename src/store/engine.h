/* engine.h: what an engine provides, and what the common half of the store keeps. Private to
 * src/store.
 *
 * An engine is three ordered maps (spaces), applied to in atomic batches, and a place for content
 * under a 16-byte id. Partitions, guards' wording, scans, logs, the catalog of blobs, their owners
 * and their reaping are common code above it.
 *
 * A row's full key is `<partition> 0x00 <key>`. Partitions whose name begins with a byte under
 * 0x20 are the store's own. */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include "base/digest.h"
#include "store/blob.h"
#include "store/store.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <uthash.h>

enum space { SPACE_META, SPACE_SAMPLES, SPACE_HEAD, SPACE_CHUNKS };

#define KEY_MAX      (64u << 10)
#define LOG_MAX      (1u << 20)
#define BIG_BLOB     (4u << 20) /* from here on content is mapped and lent */
#define BLOB_ID      BLOB_STAGE_ID_BYTES
#define CATALOG_PART "\001blobs"
#define LOGS_PART    "\001logs"

enum batch_kind {
    BATCH_PUT,
    BATCH_DELETE,
    BATCH_DELETE_RANGE, /* key up to, not including, value */
    BATCH_EXPECT,
    BATCH_EXPECT_ABSENT,
};

struct batch_op {
    uint8_t kind;  /* enum batch_kind */
    uint8_t space; /* enum space */
    uint32_t key_len, value_len;
    size_t at;     /* of the full key in bytes; the value follows it */
    uint64_t hash; /* of the key: finds an earlier write of it in a group */
};

struct batch_end {
    struct batch_end *next;
    void (*f)(void *ctx, int r);
    void *ctx;
};

struct store_batch {
    struct store *store;
    char *part;
    size_t part_len;
    struct buf bytes;
    struct batch_op *ops;
    size_t n_ops, cap_ops;
    bool has_guards, deletes_only;
    int err;        /* what a builder found wrong; commit returns it */
    bool doubtful;  /* after a failure: it may yet be found applied after a restart */
    unsigned flags; /* enum store_commit_flags */
    void (*done)(void *ctx, int r); /* NULL: somebody waits on `waiting` */
    void *ctx;
    sem_t waiting;
    int result;
    struct batch_end *ends;   /* to be called, then gone */
    struct store_batch *next; /* the engine's queue */
};

struct slice batch_key(const struct store_batch *b, const struct batch_op *op);
struct slice batch_value(const struct store_batch *b, const struct batch_op *op);
uint64_t store_key_hash(struct slice key); /* of a full key, as in batch_op */
/* Adds an op with a full key, in any space. */
void batch_add(struct store_batch *b, enum batch_kind kind, enum space space, struct slice key,
               struct slice value);
struct store_batch *batch_new_internal(struct store *s, struct slice part);
/* The engine calls it once for each batch it took: tells watchers, then the waiter. */
void batch_complete(struct store_batch *b, int r);
/* Commits; the caller keeps the batch and frees it. */
int batch_commit(struct store_batch *b, unsigned flags);

struct cursor;  /* an engine's position in one space, at one moment */
struct staging; /* an engine's half of a stage */
struct content; /* an engine's half of an open blob */
struct run;     /* an engine's half of a bulk */

enum staging_end {
    STAGING_DROPPED,   /* all its bytes go; none are left of a finished one */
    STAGING_SUSPENDED, /* the state that suspend gave is durable: what is older goes */
    STAGING_FAILED,    /* the state of an earlier suspend still counts */
};

struct engine {
    const char *scheme; /* "mem" */
    int (*open)(struct store *s, const char *where, struct buf *why);
    void (*close)(struct store *s);
    int (*usage)(struct store *s, struct store_usage *ret);
    int (*checkpoint)(struct store *s, const char *dir);
    void (*reclaim)(struct store *s); /* much was deleted: if the disk is short, make it room */

    int (*get)(struct store *s, enum space space, struct slice key, struct store_value *ret);
    /* Takes a batch until batch_complete. `waited`: the caller will wait, it may run here. */
    void (*submit)(struct store *s, struct store_batch *b, bool waited);
    int (*sync)(struct store *s); /* all that was committed is on disk */
    /* Rows with lower <= key < upper. The bounds are copied. */
    int (*cursor_new)(struct store *s, enum space space, struct slice lower, struct slice upper,
                      struct cursor **ret);
    void (*cursor_seek)(struct cursor *c, struct slice key);      /* first at or after */
    void (*cursor_seek_back)(struct cursor *c, struct slice key); /* last at or before */
    void (*cursor_last)(struct cursor *c);
    void (*cursor_step)(struct cursor *c, bool back);
    int (*cursor_row)(struct cursor *c, struct slice *ret_key, struct slice *ret_value); /* 1, 0 */
    void (*cursor_free)(struct cursor *c);

    int (*run_new)(struct store *s, struct run **ret);
    int (*run_add)(struct run *r, struct slice key, struct slice value);
    int (*run_commit)(struct run *r); /* does not free */
    void (*run_free)(struct run *r);
    int (*run_drop)(struct store *s, struct slice lower, struct slice upper);
    /* Whole files of a log that nobody will read again: what it leaves is deleted after it.
     * Both bounds are included. */
    int (*log_drop)(struct store *s, struct slice lower, struct slice upper);
    /* What was deleted there, both bounds included, gives its room on disk back now. */
    int (*log_tidy)(struct store *s, struct slice lower, struct slice upper);

    int (*staging_new)(struct store *s, const uint8_t id[BLOB_ID], uint64_t hint,
                       struct staging **ret);
    void (*staging_expect)(struct staging *g, uint64_t size_bytes); /* in all; may be NULL */
    int (*staging_write)(struct staging *g, const void *bytes, size_t n);
    ssize_t (*staging_read)(struct staging *g, uint64_t offset, void *buf, size_t n);
    /* Makes it durable and appends what resume needs to `state`. */
    int (*staging_suspend)(struct staging *g, struct buf *state, uint64_t *ret_durable_bytes);
    int (*staging_resume)(struct store *s, const uint8_t id[BLOB_ID], struct slice state,
                          struct staging **ret, uint64_t *ret_durable_bytes);
    /* Puts the content in its place; what the batch lacks for that is added to it, `layout` says
     * how to find it. The content counts once the batch is committed. */
    int (*staging_finish)(struct staging *g, struct store_batch *b, struct buf *layout);
    void (*staging_free)(struct staging *g, enum staging_end end);
    /* Frees what a suspended stage has on disk. */
    void (*staging_discard)(struct store *s, const uint8_t id[BLOB_ID], struct slice state);
    /* At open, before anybody is in: drops what was staged and is not suspended. Content that no row
     * of the catalog names goes later, beside what goes on: each that has a row is kept (NULL: no
     * need), then it ends, and deletes the rest if all rows were seen. One thread does this. */
    int (*sweep)(struct store *s);
    bool (*sweep_keep)(struct store *s, const uint8_t id[BLOB_ID]);
    void (*sweep_end)(struct store *s, bool all_seen);

    int (*content_open)(struct store *s, const uint8_t id[BLOB_ID], uint64_t size_bytes,
                        struct slice layout, struct content **ret);
    ssize_t (*content_read)(struct content *c, uint64_t offset, void *buf, size_t n);
    int (*content_lend)(struct content *c, uint64_t offset, size_t n, struct blob_loan *ret);
    void (*content_unlend)(const struct iovec *iov, size_t n); /* NULL: nothing to do */
    void (*content_close)(struct content *c);
    int (*content_delete)(struct store *s, const uint8_t id[BLOB_ID], struct slice layout);
};

extern const struct engine mem_engine;
extern const struct engine rocks_engine;

#define STRIPES 64

struct store {
    const struct engine *engine;
    void *self; /* the engine's */
    struct store_options options;

    pthread_rwlock_t watch_lock; /* guards watches; held for reading while they are called */
    struct store_watch *watches;

    pthread_mutex_t lock; /* guards leases, fault_left, stages */
    struct lease *leases;
    unsigned fault_left;
    atomic_int fault_err;
    struct blob_stage *stages; /* open ones, by id */
    atomic_uint helpers;       /* threads of blob_pipe.c */

    pthread_mutex_t stripes[STRIPES]; /* by digest: seal, hold, release and reap of it are serial */
    pthread_mutex_t pin_lock;         /* guards pins and each pin's refs; taken inside a stripe */
    struct blob_pin *pins;            /* open content, by id */
    struct blob_pin *idle_first, *idle_last;
    unsigned n_idle;
    atomic_ullong blobs, blob_bytes; /* whole once blobs_counted() has returned */

    pthread_mutex_t count_lock; /* guards counting */
    bool counting;              /* the thread has not been joined */
    pthread_t counter;
    struct store_scan *count;   /* the counter's: of the moment of opening */
    atomic_bool count_stop;
};

/* 0, or the error that store_fault() asked for. */
int store_write_check(struct store *s);
void store_tell(struct store *s, struct slice part);
void store_leases_free(struct store *s);

/* `<part> 0x00 <key>` and the end of that partition; appended. */
void key_build(struct buf *b, struct slice part, struct slice key);
void key_build_end(struct buf *b, struct slice part);
/* Turns a prefix into the least key above all that begin with it. */
void key_successor(struct buf *prefix);
bool part_is_valid(struct slice part); /* a client's: not empty, no NUL, not the store's own */

int scan_new(struct store *s, enum space space, struct slice part, struct slice from,
             struct slice to, unsigned flags, struct store_scan **ret);
int partitions_each(struct store *s, enum space space, struct slice prefix,
                    int (*f)(void *ctx, struct slice part), void *ctx);

/* Blobs: recovery after open, and release of what is cached before close. They are counted beside
 * what goes on, and content without a row swept: who needs the number waits for both. */
int blobs_recover(struct store *s);
void blobs_counted(struct store *s);
void blobs_close(struct store *s);

#endif
