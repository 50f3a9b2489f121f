/* The database: its options, its life, and what its errors mean. */
#include "store/rocks.h"

#include "base/log.h"
#include "base/scope.h"

#include <errno.h>
#include <time.h>

static const char *const cf_names[N_CF] = {"default",    "meta",    "blob",
                                           "blob_small", "samples", "head"};

/* RocksDB tells errors as text only. */
static const struct {
    const char *text;
    int err;
} known_errors[] = {
    {"No space left", ENOSPC},
    {"Space limit reached", ENOSPC},
    {"Disk quota exceeded", ENOSPC},
    {"lock hold by current process", EBUSY},
    {"Resource temporarily unavailable", EBUSY},
    {"Permission denied", EACCES},
    {"Read-only file system", EROFS},
};

int rocks_error(char *text)
{
    int err = EIO;

    if (text == NULL)
        return 0;
    for (size_t i = array_size(known_errors); i-- > 0;)
        if (strstr(text, known_errors[i].text) != NULL)
            err = known_errors[i].err;
    log_line(err == EIO ? LOG_ERROR : LOG_WARN, NULL, "store.rocksdb", "error=%s", text);
    rocksdb_free(text);
    return -err;
}

rocksdb_column_family_handle_t *rocks_cf(struct rocks *r, enum space space)
{
    static const enum rocks_cf of[] = {
        [SPACE_META] = CF_META,
        [SPACE_SAMPLES] = CF_SAMPLES,
        [SPACE_HEAD] = CF_HEAD,
        [SPACE_CHUNKS] = CF_SMALL,
    };

    return r->cf[of[space]];
}

/* More would be kept in memory, and be read again from the log at a start, than it saves writing. */
#define META_BUFFER_MAX (6u << 20)

static size_t clamp(uint64_t v, size_t low, size_t high)
{
    return v < low ? low : v > high ? high : (size_t)v;
}

static rocksdb_options_t *db_options(const struct rocks *r, uint64_t memory)
{
    rocksdb_options_t *o = rocksdb_options_create();
    uint64_t reserve = r->store->options.reserve_bytes, buffers = memory / 2;

    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_open_files(o, 512);
    rocksdb_options_set_max_file_opening_threads(o, 2);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    /* What is in memory must find room on the disk when writing stops at the reserve. */
    if (buffers > reserve / 2)
        buffers = reserve / 2;
    rocksdb_options_set_db_write_buffer_size(o, clamp(buffers, 8u << 20, 256u << 20));
    rocksdb_options_set_max_total_wal_size(o, clamp(memory * 2, 32u << 20, 512u << 20));
    rocksdb_options_set_max_manifest_file_size(o, 16u << 20);
    rocksdb_options_set_manifest_preallocation_size(o, 64u << 10); /* it holds no more, mostly */
    /* Only what is fatal: its own log is on the disk that may be full, and Debian's build aborts
     * when it cannot be written. What matters comes back as an error, and is logged by us. */
    rocksdb_options_set_info_log_level(o, 4);
    rocksdb_options_set_keep_log_file_num(o, 1);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_bytes_per_sync(o, 1u << 20);
    return o;
}

static void set_table(const struct rocks *r, enum rocks_cf cf, rocksdb_options_t *o)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_block_based_options_set_checksum(t, 4); /* xxh3 */
    if (cf == CF_BLOB) {
        rocksdb_block_based_options_set_no_block_cache(t, 1);
    } else {
        rocksdb_block_based_options_set_block_cache(t, r->cache);
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
        rocksdb_block_based_options_set_block_size(t, cf == CF_META ? 4096 : 16384);
    }
    if (cf == CF_META)
        rocksdb_block_based_options_set_filter_policy(t,
                                                      rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
}

/* ttl and periodic compaction would rewrite ingested files every 30 days, and have no setter. */
static rocksdb_options_t *without_ageing(rocksdb_options_t *o)
{
    rocksdb_options_t *result = rocksdb_options_create();
    char *err = NULL;

    rocksdb_get_options_from_string(o, "ttl=0;periodic_compaction_seconds=0", result, &err);
    if (rocks_error(err) < 0) {
        rocksdb_options_destroy(result);
        return o;
    }
    rocksdb_options_destroy(o);
    return result;
}

static rocksdb_options_t *cf_options(const struct rocks *r, enum rocks_cf cf, uint64_t memory)
{
    rocksdb_options_t *o = rocksdb_options_create();
    bool ingested = cf == CF_BLOB || cf == CF_SAMPLES;
    size_t buffer = clamp(memory / 8, 1u << 20, cf == CF_META ? META_BUFFER_MAX : 64u << 20);

    rocksdb_options_set_write_buffer_size(o, ingested || cf == CF_DEFAULT ? 64u << 10 : buffer);
    rocksdb_options_set_arena_block_size(o, 64u << 10);
    rocksdb_options_set_target_file_size_base(o, 16u << 20);
    rocksdb_options_set_compression(o, cf == CF_META || cf == CF_HEAD ? rocksdb_lz4_compression
                                                                      : rocksdb_no_compression);
    if (ingested)
        rocksdb_options_set_disable_auto_compactions(o, 1);
    set_table(r, cf, o);
    return without_ageing(o);
}

void rocks_options_new(struct rocks *r)
{
    uint64_t memory = r->store->options.memory_bytes;

    r->cache = rocksdb_cache_create_lru(clamp(memory / 2, 4u << 20, SIZE_MAX / 2));
    r->rows = rows_new(clamp(memory / 4, 4u << 20, 64u << 20));
    r->options = db_options(r, memory);
    for (int i = 0; i < N_CF; i++)
        r->cf_options[i] = cf_options(r, (enum rocks_cf)i, memory);
    r->env = rocksdb_envoptions_create();
    r->read = rocksdb_readoptions_create();
    r->read_once = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(r->read_once, 0);
    r->write = rocksdb_writeoptions_create();
    r->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->write_sync, 1);
    r->ingest = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(r->ingest, 1);
    /* Parts have keys that nobody has seen: no snapshot can miss them. */
    r->ingest_new = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(r->ingest_new, 1);
    rocksdb_ingestexternalfileoptions_set_snapshot_consistency(r->ingest_new, 0);
    r->group = rocksdb_writebatch_create();
}

void rocks_options_free(struct rocks *r)
{
    rocksdb_writebatch_destroy(r->group);
    rocksdb_ingestexternalfileoptions_destroy(r->ingest_new);
    rocksdb_ingestexternalfileoptions_destroy(r->ingest);
    rocksdb_writeoptions_destroy(r->write_sync);
    rocksdb_writeoptions_destroy(r->write);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_readoptions_destroy(r->read_once);
    rocksdb_envoptions_destroy(r->env);
    for (int i = 0; i < N_CF; i++)
        rocksdb_options_destroy(r->cf_options[i]);
    rocksdb_options_destroy(r->options);
    rocksdb_cache_destroy(r->cache);
    rows_free(r->rows);
}

int rocks_db_open(struct rocks *r, struct buf *why)
{
    char *err = NULL;

    r->db =
        rocksdb_open_column_families(r->options, r->db_dir, N_CF, cf_names,
                                     (const rocksdb_options_t *const *)r->cf_options, r->cf, &err);
    if (err == NULL)
        return 0;
    r->db = NULL;
    if (why != NULL)
        buf_printf(why, "store '%s': %s", r->dir, err);
    return rocks_error(err);
}

void rocks_db_close(struct rocks *r)
{
    if (r->db == NULL)
        return;
    for (int i = 0; i < N_CF; i++)
        rocksdb_column_family_handle_destroy(r->cf[i]);
    rocksdb_close(r->db);
    r->db = NULL;
}

int rocks_enter(struct rocks *r)
{
    for (;;) {
        atomic_fetch_add(&r->users, 1);
        if (!atomic_load(&r->shut))
            break;
        atomic_fetch_sub(&r->users, 1);
        guard(&r->gate);
        while (atomic_load(&r->shut))
            pthread_cond_wait(&r->gate_open, &r->gate);
    }
    if (r->db != NULL)
        return 0;
    rocks_leave(r);
    return -EIO;
}

void rocks_leave(struct rocks *r)
{
    atomic_fetch_sub(&r->users, 1);
}

void rocks_drain(struct rocks *r)
{
    static const struct timespec pause = {.tv_nsec = 1000000};

    for (int ms = 0; atomic_load(&r->users) > 0 && ms < 10000; ms++)
        nanosleep(&pause, NULL);
    if (atomic_load(&r->users) > 0)
        log_line(LOG_ERROR, NULL, "store.close", "still_reading=%u", atomic_load(&r->users));
}

/* RocksDB resumes by itself after a full disk; after other failed writes it stays read-only, and
 * only a new open helps. It is done the moment nobody is inside, a scan least of all; else the next
 * write tries. Called under write_lock, not entered. */
void rocks_mend(struct rocks *r)
{
    guard(&r->gate);
    atomic_store(&r->shut, true);
    if (atomic_load(&r->users) == 0) {
        rocks_db_close(r);
        rows_clear(r->rows);
        if (rocks_db_open(r, NULL) == 0) {
            atomic_store(&r->broken, 0);
            log_line(LOG_WARN, NULL, "store.reopened", "dir=%s", r->dir);
        }
    }
    atomic_store(&r->shut, false);
    pthread_cond_broadcast(&r->gate_open);
}
