/* store.h: what infrafs asks of a store.
 *
 * A PARTITION is a short name: "secrets/kv", "images/team/app", "samples/2026112412". It holds an
 * ordered map key -> value. A batch is atomic inside ONE partition, never across: that is what an
 * embedded store and a cluster can both promise. What spans partitions is written in an order that
 * leaves only harmless rows behind when it is cut short: content first, then the row that makes it
 * visible, then derived rows; deleting goes the other way.
 * BLOBS (store/blob.h) are immutable, content-addressed, shared, and live outside partitions.
 *
 * Every call returns 0 (or a count) or a negative errno; none aborts, none throws. All are thread
 * safe. "lent" memory belongs to the store until the matching release. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/slice.h"

struct store;
struct store_batch;
struct store_scan;
struct store_bulk;
struct store_watch;

#define STORE_VALUE_MAX (64u << 10) /* larger content is a blob */

struct store_options {
    uint64_t memory_bytes;  /* caches and write buffers together; 0: 32 MiB */
    uint64_t reserve_bytes; /* free disk below which writes are -ENOSPC; 0: 64 MiB. Reads and
                               deletes go on */
    uint64_t stage_idle_s;  /* unfinished uploads older than this are swept; 0: 24 h */
};

/* Life. url: "rocks:DIR", "mem:" (tests). On failure a reason for a person is appended to why:
 * -EBUSY another process has it open, -EPROTO written by an unknown version of the layout. */
int store_open(const char *url, const struct store_options *options, struct store **ret,
               struct buf *why);
void store_close(struct store *s); /* drains iterators and pending commits; NULL is fine */

/* Rows. */
struct store_value {
    struct slice data; /* lent */
    void *owner;       /* private */
};
int store_get(struct store *s, struct slice part, struct slice key, struct store_value *ret);
void store_value_release(struct store_value *v); /* also of a zeroed one */

enum store_scan_flags { STORE_REVERSE = 1, STORE_KEYS_ONLY = 2 };
/* Rows with from <= key < to, in key order (STORE_REVERSE: from the last down). An empty `to` is
 * the end of the partition. The whole scan is one moment in time. */
int store_scan(struct store *s, struct slice part, struct slice from, struct slice to,
               unsigned flags, struct store_scan **ret);
int store_scan_next(struct store_scan *c, struct slice *ret_key,
                    struct slice *ret_value); /* 1 row, 0 end; lent until next */
/* Moves on to the first row at or after key (at or before it in reverse). */
void store_scan_seek(struct store_scan *c, struct slice key);
void store_scan_free(struct store_scan *c);
/* The names of partitions that begin with prefix, each once, in order, through f; f's non-zero
 * result ends it and is returned. Cheap: one seek a partition. */
int store_partitions(struct store *s, struct slice prefix, int (*f)(void *ctx, struct slice part),
                     void *ctx);

/* Batch: all or nothing in one partition, in the order added. Guards make it a compare-and-set:
 * -EAGAIN if one does not hold when it is applied. */
struct store_batch *store_batch_new(struct store *s, struct slice part); /* returns new */
void store_batch_free(struct store_batch *b);                            /* an unused one */
void store_batch_put(struct store_batch *b, struct slice key, struct slice value);
void store_batch_delete(struct store_batch *b, struct slice key);
void store_batch_expect(struct store_batch *b, struct slice key,
                        struct slice value); /* exactly this value */
void store_batch_expect_absent(struct store_batch *b, struct slice key);
/* f is called once, and must not block: with the result of the commit, before whoever waits for it
 * hears of it; or with -ECANCELED, if the batch is freed unused. Several may be added. */
void store_batch_on_end(struct store_batch *b, void (*f)(void *ctx, int r), void *ctx);
enum store_commit_flags {
    STORE_DURABLE = 1, /* on disk when it returns: one sync, shared by all that wait */
};
/* Takes the batch, on failure too. */
int store_commit(struct store_batch *b, unsigned flags);
/* The same without waiting: `done` is called once with the result from the committer's thread (or
 * before this returns); it must not block. */
void store_commit_async(struct store_batch *b, unsigned flags, void (*done)(void *ctx, int r),
                        void *ctx);

/* Bulk: a sorted, immutable run of rows, ingested whole. Keys strictly ascending. */
enum store_space { STORE_SAMPLES = 1 };
int store_bulk_begin(struct store *s, enum store_space space, struct slice part,
                     struct store_bulk **ret);
int store_bulk_add(struct store_bulk *b, struct slice key, struct slice value);
int store_bulk_commit(struct store_bulk *b); /* takes it, on failure too; durable on return */
void store_bulk_free(struct store_bulk *b);  /* an uncommitted one */
int store_bulk_get(struct store *s, enum store_space space, struct slice part, struct slice key,
                   struct store_value *ret);
int store_bulk_scan(struct store *s, enum store_space space, struct slice part, struct slice from,
                    struct slice to, unsigned flags, struct store_scan **ret);
int store_bulk_partitions(struct store *s, enum store_space space, struct slice prefix,
                          int (*f)(void *ctx, struct slice part), void *ctx);
int store_bulk_drop(struct store *s, enum store_space space,
                    struct slice part); /* space back at once */

/* A log: an append-only sequence of records, for state that is rebuilt from it at start (the head
 * of the metrics). Appends are ordered; store_log_sync makes all before it durable. */
struct store_log;
int store_log_open(struct store *s, const char *name, struct store_log **ret);
int store_log_append(struct store_log *l, struct slice record, uint64_t *ret_seq); /* up to 1 MiB */
int store_log_sync(struct store_log *l);
/* Reads records with sequence >= from, oldest first; f's non-zero result ends it and is returned.
 */
int store_log_replay(struct store_log *l, uint64_t from,
                     int (*f)(void *ctx, uint64_t seq, struct slice record), void *ctx);
int store_log_trim(struct store_log *l, uint64_t before); /* forget records below */
/* Gives the disk back what was trimmed, which comes by itself only with more writing. It may read
 * all of that once: for when there is little else to do. Nobody who appends waits. */
int store_log_tidy(struct store_log *l);
void store_log_close(struct store_log *l);

/* Drops all rows of a partition. */
int store_drop(struct store *s, struct slice part);

/* Change feed: after each commit, `f` is called with its partition, if that begins with
 * part_prefix, before the commit returns; from the committing or the committer's thread. f must not
 * block. */
typedef void store_watch_fn(void *ctx, struct slice part);
int store_watch(struct store *s, struct slice part_prefix, store_watch_fn *f, void *ctx,
                struct store_watch **ret);
void store_unwatch(struct store_watch *w); /* no call is under way when it returns */

/* One holder of a name at a time (one reaper, one scraper of a target): -EBUSY if another owner
 * holds it; the same owner prolongs. */
int store_lease(struct store *s, struct slice name, struct slice owner, unsigned ms);

int store_checkpoint(struct store *s,
                     const char *dir); /* consistent copy of everything; dir must not exist */

struct store_usage {
    uint64_t live_bytes; /* what the store takes on disk */
    uint64_t disk_bytes, disk_free_bytes;
    uint64_t blobs, blob_bytes; /* sealed and not reaped */
};
int store_usage(struct store *s, struct store_usage *ret);

/* Tests: the writes after the next n fail with -err (positive: ENOSPC, EIO) until it is called
 * again; err 0 ends it. A write is a commit, a stage write, a seal, a bulk or log append. */
void store_fault(struct store *s, unsigned n, int err);

#endif
