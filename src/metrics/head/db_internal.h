/* db_internal.h: for the files of the database. */
#ifndef METRICS_HEAD_DB_INTERNAL_H
#define METRICS_HEAD_DB_INTERNAL_H

#include "metrics/head/db.h"

#include "base/clock.h"
#include "base/scope.h"
#include "metrics/head/coarse.h"
#include "metrics/head/group_cache.h"
#include "metrics/head/payload.h"
#include "metrics/head/since.h"
#include "store/store.h"

#define RUN_NAME_MAX   72
#define DAY_MS         (12 * BUCKET_MS)
#define RUN_PREFIX     "samples/"
#define SETTLE_MS      (20 * 60 * 1000ll) /* a bucket is over so long after its end */
#define SERIES_PART    "metrics/series"
#define PAYLOAD_PREFIX "histograms/"
#define SINCE_PREFIX   "starts/"

/* What stands in runs of its own beside one of samples. */
enum run_beside { BESIDE_PAYLOADS = 1, BESIDE_STARTS = 2 };

/* A sorted run on disk: of a bucket, or, of the coarse tier, one plane of a day. runs.c */
struct run {
    char part[RUN_NAME_MAX];
    int64_t start_ms, end_ms;
    int64_t tier_ms; /* the window of which one sample stands here; 0: all samples, raw */
    enum coarse plane;
    uint32_t source; /* of a tier: what the raw runs of its day hashed to */
    uint32_t rules;  /* of retention that were applied, as a hash; 0: none */
    unsigned beside; /* enum run_beside: what there is */
};

/* The runs of one day, which stand together. */
struct day {
    int64_t start_ms;
    size_t first, n, n_raw, n_tier;
    uint32_t hash; /* of the names of the raw runs */
    int64_t tier_ms;
    uint32_t rules;
    bool whole;   /* the tier's planes are all there and of one making */
    bool current; /* and of the raw runs that are there */
};

struct db {
    struct store *store;
    struct db_options options;
    struct store_log *log;

    pthread_mutex_t append; /* one appender at a time; taken before lock */
    uint32_t n_logged;      /* series up to this ref are in the log or saved */
    uint32_t n_saved;       /* series up to this ref have their row */
    int64_t bucket;         /* newest bucket (its number) with a sample */
    uint64_t bucket_seq;    /* first record of the log that has one of it */
    uint64_t bucket_bytes;  /* of the log before it */
    uint64_t next_seq;
    uint64_t log_bytes;     /* written atomically: db_stats() has only the other lock */
    uint64_t series_bytes;  /* of it, records of new series */
    struct buf record, payload_record;

    pthread_mutex_t pending_lock; /* guards: the next five */
    pthread_cond_t pending_room;
    struct db_pending *pending, **pending_last;
    size_t pending_samples;
    bool pending_led; /* somebody writes them, and looks for more before it ends */

    pthread_rwlock_t lock; /* guards: index with its streams, payloads, sinces, runs, counters below */
    struct index *index;
    struct payloads *payloads;
    struct sinces *sinces;
    struct group_cache *groups; /* what queries read; has its own lock */
    struct run *runs; /* by start */
    size_t n_runs;
    uint64_t flushes;      /* runs changed so many times */
    int64_t oldest_bucket; /* of what is in the head; INT64_MAX: empty */
    int64_t min_ms, max_ms;
    uint64_t head_bytes, head_samples;
    uint64_t appended, duplicate, out_of_order;
    uint64_t forgotten; /* series; atomic */
    bool buckets_known; /* series.bucket is true also of the runs from before the start */

    pthread_mutex_t flushing; /* one flush at a time; taken before append */
    bool dirty;               /* appended to since the last sync; atomic */
    bool deleting;            /* a delete was cut short; under flushing */
    bool filtered;            /* rules took something: series may have ended; of the compactor */
    int64_t retry_ms, retention_checked_ms;
    bool untidy;            /* the log was trimmed, and the disk has not got all of it back; atomic */
    int64_t flushed_ms;     /* when the head became runs last, or the start; monotonic, atomic */
    uint64_t appended_seen; /* appended, at the last look of db_maintain */
    unsigned quiet;         /* so many looks saw next to nothing come in */

    pthread_mutex_t sober_lock; /* guards: sober */
    struct sober_clock sober;

    pthread_t thread;
    pthread_mutex_t thread_lock;
    pthread_cond_t thread_wake;
    bool stopping, running;
    pthread_t compactor;
    bool compact_stop, compacting; /* the first atomic */
};

static inline int64_t bucket_of(int64_t ts_ms)
{
    return ts_ms / BUCKET_MS;
}

static inline int64_t day_of(int64_t ts_ms)
{
    return ts_ms / DAY_MS;
}

/* The start times of a batch that were not come to yet. */
struct start_cursor {
    const struct db_start *next;
    size_t left;
};
static inline int64_t start_of(struct start_cursor *c, size_t sample)
{
    if (c->left == 0 || c->next->sample != sample)
        return 0;
    c->left--;
    return (c->next++)->start_ms;
}

/* log.c */
void log_put_series(struct db *db, struct buf *record);
/* Puts as many of the samples from `done` on as a record holds; how many. */
size_t log_put_samples(struct db *db, const struct db_batch *batch, size_t done,
                       const struct start_cursor *starts, struct buf *record);
/* Adds a payload; is the record full? */
bool log_put_payload(struct db *db, const struct db_sample *s, struct slice payload,
                     struct buf *record);
void log_put_anew(struct buf *record);
int log_write(struct db *db, struct buf *record); /* append.c; empties it */
int log_replay(struct db *db);
/* append.c: under both locks, or alone. payload: for HISTOGRAM_BITS; NULL: it is stored already. */
void db_seal(struct series *s);
enum db_verdict db_apply(struct db *db, const struct db_sample *s, const struct slice *payload,
                         int64_t start_ms);
/* Samples go to series all over the memory: fetches what those behind sample i will need. */
void db_apply_ahead(const struct db *db, const struct db_sample *s, size_t n, size_t i);
/* payload_run.c: the payloads of a run, and its start times. */
/* The name of a run beside it. */
void beside_name(char name[RUN_NAME_MAX], enum run_beside what, const char *run_part);
/* Those of a bucket, as a run, if there are any; they are marked. */
int payload_run_write(struct db *db, int64_t bucket, const char *run_part, bool *ret_any);
/* Drops those whose run was never finished, and says which runs have one. */
int beside_load(struct db *db, enum run_beside what);
/* flush.c */
int series_load(struct db *db);
/* All before the bucket. FLUSH_ANEW: all, and what comes next is behind nothing: the clock was set
 * back, and nothing would be taken before it has caught up. */
#define FLUSH_ALL  (INT64_MAX - 1)
#define FLUSH_ANEW INT64_MAX
int flush_until(struct db *db, int64_t bucket);
void streams_begin_anew(struct db *db); /* under both locks, or alone */
/* runs.c: the list is changed under the lock */
int runs_load(struct db *db);
int run_parse(const char *part, struct run *ret); /* a name */
/* A name that no run has: of what `like` is, and by whom it is made: 0 flushes, 'c', 'd'. */
void run_name_new(const struct db *db, const struct run *like, char maker,
                  char part[RUN_NAME_MAX]);
void run_add(struct db *db, const char *part, unsigned beside);
uint32_t run_identity(const struct run *run); /* the same while it holds the same, of a raw run */
size_t run_place(const struct db *db, const struct run *run); /* n_runs: it is not there */
void run_take(struct db *db, size_t i);                      /* only off the list */
int run_erase(struct db *db, const struct run *run);         /* its rows, once it is off it */
void day_look(const struct db *db, size_t first, struct day *ret); /* that begins with this run */
/* retain.c */
void runs_retain(struct db *db, int64_t now_ms);
uint8_t *keep_rules_of(struct db *db, size_t *ret_n); /* by ref: 0, or 1 + the rule; returns new */
/* Has what this rule, as above, keeps of a run passed its time? */
bool keep_expired(const struct db *db, uint8_t rule, const struct run *run, int64_t now_ms);
/* The rules that take something of the run by now, as a hash; 0: none does. */
uint32_t keep_state(const struct db *db, const struct run *run, int64_t now_ms);
bool keep_raw_over(const struct db *db, int64_t end_ms, int64_t now_ms); /* for every rule */
/* forget.c: drops the series of which nothing is left; under db->flushing */
void series_forget(struct db *db, int64_t now_ms);
void series_remove(struct db *db, const struct refs *refs);
/* delete.c: ends the deletes that were cut short; under db->flushing, or alone */
void deletes_resume(struct db *db);

#endif
