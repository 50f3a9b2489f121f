/* db.h: the samples: a head in memory with its log, and sorted runs in the store.
 *
 * What is appended is in the log before it counts, and on disk at the latest a second later;
 * db_sync makes it so at once. Every two hours of data become a run (store_bulk), and the log is
 * trimmed. See README.md for rows and keys. Any thread. */
#ifndef METRICS_HEAD_DB_H
#define METRICS_HEAD_DB_H

#include "metrics/head/index.h"

struct store;
struct db;

#define BUCKET_MS (2 * 3600 * 1000ll)
/* What stands in the place of a histogram among the bits of floats. A float of these very bits can
 * be stored too. */
#define HISTOGRAM_BITS 0x7ff5686973746f67ull

/* Series that meet all matchers are kept for keep_ms; of several rules the first counts. */
struct db_keep {
    const struct matcher *matchers;
    size_t n;
    int64_t keep_ms;
    const char *text; /* as written: another text applies the rule anew */
};
#define DB_KEEPS_MAX 32

struct db_options {
    int64_t retention_ms;     /* 0: for ever */
    const struct db_keep *keeps; /* borrows, with what they point to; at most DB_KEEPS_MAX */
    size_t n_keeps;
    /* Of days that are over there is also a tier, of one sample in so long; 0: none. It is what is
     * left behind retention_ms. */
    int64_t downsample_ms;
    int64_t downsample_keep_ms; /* how long the tier stays */
    uint64_t retention_bytes; /* 0: no limit; of the whole store */
    int64_t out_of_order_ms;  /* how far behind its series' newest sample one may be */
    uint64_t log_bytes_max;   /* beyond it all of the head becomes a run; 0: 128 MiB */
    bool no_thread;           /* tests: the caller calls db_maintain */
};

int db_open(struct store *store, const struct db_options *options, struct db **ret,
            struct buf *why);
void db_close(struct db *db);

struct db_sample {
    uint32_t ref;
    int64_t ts_ms;
    uint64_t bits;
};
struct db_result {
    size_t added;
    size_t duplicate;    /* another value at the time of the series' newest sample */
    size_t out_of_order; /* further behind than is allowed, or no time at all */
};

/* The series with these labels (sorted, none empty); made if there is none. */
uint32_t db_series(struct db *db, const struct labels *labels);
uint32_t db_find(struct db *db, const struct labels *labels); /* SERIES_NONE */
/* Between a ref and the id, which outlives the daemon. 0, SERIES_NONE: there is no such series. */
uint64_t db_series_id(struct db *db, uint32_t ref);
uint32_t db_series_ref(struct db *db, uint64_t id);
/* Changes when series were forgotten because retention took their last sample: refs that were kept
 * from before must be asked for again. */
uint64_t db_forgotten(struct db *db);
/* All that fit; the rest is counted in ret. -ENOSPC, -EIO: nothing was added. */
int db_append(struct db *db, const struct db_sample *samples, size_t n, struct db_result *ret);

/* Since when the counter of a sample counts; see since.h. */
struct db_start {
    size_t sample; /* which of a batch */
    int64_t start_ms;
};

enum db_verdict { DB_NEW, DB_SAME, DB_DUPLICATE, DB_TOO_OLD };
struct db_batch {
    const struct db_sample *samples;
    size_t n;
    /* Each sample whose bits are HISTOGRAM_BITS takes the next one. It is the bytes of a histogram
     * (histogram_encode), or empty for a float of these bits. NULL: all are such floats. */
    const struct slice *payloads;
    bool whole;        /* if one is refused, nothing is added */
    uint8_t *verdicts; /* NULL, or room for n: what became of each */
    const struct db_start *starts; /* ascending; of the samples of which it is known */
    size_t n_starts;
};
int db_append_batch(struct db *db, const struct db_batch *batch, struct db_result *ret);
/* A batch that is on disk when `done` hears of it, with all that came while the one before was
 * written: one sync for all of them. r: 0, or why nothing is certain. done is called once, from any
 * thread, perhaps before db_append_durable returns, and keeps the rest waiting while it runs. */
struct db_pending {
    struct db_batch batch;
    struct db_result result;
    void (*done)(struct db_pending *p, int r);
    struct db_pending *next; /* private, as is r */
    int r;
};
void db_append_durable(struct db *db, struct db_pending *p); /* borrows p until done is called */
/* May a zero at start_ms go before a series' sample at ts_ms? It must be behind all that the series
 * has, and at most an hour before the newest sample of all. */
bool db_may_start(struct db *db, uint32_t ref, int64_t start_ms, int64_t ts_ms);
int db_sync(struct db *db);

/* What falls due: sync, runs, retention. sober_ms: the time for what is dropped because of its age
 * (clock_sober). */
void db_maintain(struct db *db, int64_t now_ms, int64_t sober_ms);
int db_flush(struct db *db); /* all of the head, now */
/* Makes one run of several, or a coarser one, where that is due: 1; 0: nothing is. */
int db_compact(struct db *db, int64_t now_ms);

/* Deletes the samples of the series (ascending) with from <= time <= to from disk: when it returns
 * 0 they are gone, and come back from no log. INT64_MIN to INT64_MAX: the series too. A delete that
 * is cut short by a crash goes on at the next start. */
int db_delete(struct db *db, const struct refs *refs, int64_t from_ms, int64_t to_ms);

/* A look at the index; f runs under its lock. */
void db_look(struct db *db, void (*f)(void *ctx, const struct index *ix), void *ctx);

/* f for each run, oldest first: its name, times (the end is not in it), window (0: raw). */
struct db_run {
    const char *name;
    int64_t start_ms, end_ms, window_ms;
};
void db_runs(struct db *db, void (*f)(void *ctx, const struct db_run *run), void *ctx);

struct db_stats {
    uint64_t series, symbol_bytes, head_bytes, head_samples, log_bytes, runs, label_pairs;
    uint64_t group_bytes; /* what queries read of the runs lately, kept */
    uint64_t appended, duplicate, out_of_order;
    int64_t min_ms, max_ms; /* of the head; 0 if it is empty */
    int64_t oldest_ms;      /* start of the oldest run */
};
void db_stats(struct db *db, struct db_stats *ret);

#endif
