/* rocks.h: shared between the files of the RocksDB engine. README.md has the layout on disk. */
#ifndef STORE_ROCKS_H
#define STORE_ROCKS_H

#include "store/engine.h"
#include "store/rocks_rows.h"

#include <rocksdb/c.h>

#define LAYOUT_VERSION 1

enum rocks_cf { CF_DEFAULT, CF_META, CF_BLOB, CF_SMALL, CF_SAMPLES, CF_HEAD, N_CF };

#define CHUNK_BIG   (1u << 20)    /* of a part */
#define CHUNK_SMALL (128u << 10)  /* in blob_small */
#define PART_CHUNKS 256u          /* of a whole part */
#define CHUNK_KEY   (BLOB_ID + 8) /* id, be64 number of the chunk */

struct rocks_file;
struct rocks {
    struct store *store;
    char *dir, *db_dir, *uploads;
    int lock_fd, uploads_fd;
    bool direct; /* uploads/ can be written around the page cache */

    /* The database. Whoever touches it is between rocks_enter and rocks_leave, so that it can be
     * closed, or opened anew after an error that RocksDB does not recover from. */
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cf[N_CF];
    atomic_uint users;
    atomic_bool shut;
    pthread_mutex_t gate; /* guards reopening; with gate_open */
    pthread_cond_t gate_open;

    rocksdb_options_t *options, *cf_options[N_CF];
    rocksdb_cache_t *cache;
    struct rows *rows; /* of SPACE_META */
    rocksdb_envoptions_t *env;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *read_once; /* keeps no block of data: `rows` keeps the row, and what lies
                                         beside it is asked for by chance */
    rocksdb_writeoptions_t *write, *write_sync;
    rocksdb_ingestexternalfileoptions_t *ingest_new, *ingest;

    pthread_mutex_t write_lock;  /* held from the check of guards to the end of the write */
    rocksdb_writebatch_t *group; /* under write_lock */
    atomic_int broken;           /* a write failed with this errno: see rocks_mend */
    pthread_mutex_t queue_lock;  /* guards the next five */
    pthread_cond_t queue_filled;
    struct store_batch *first, **last;
    atomic_size_t queued;
    bool stopping;
    pthread_t committer;
    atomic_size_t unflushed; /* bytes written since meta was flushed for want of work */
    bool untrimmed;          /* the committer's: memory may be given back */

    /* Free space, looked at once a second or after some MiB. */
    atomic_llong room_until_ms;
    atomic_llong room_bytes;

    pthread_mutex_t files_lock; /* guards files */
    struct rocks_file *files;   /* which file holds a part */

    struct found_content *found; /* has parts since open, and no row has named it yet */
};

/* Errors: frees text, logs it, returns a negative errno; 0 for NULL. */
int rocks_error(char *text);

int rocks_enter(struct rocks *r); /* -EIO: the database could not be opened again */
void rocks_leave(struct rocks *r);

/* rocks_db.c */
void rocks_options_new(struct rocks *r);
void rocks_options_free(struct rocks *r);
int rocks_db_open(struct rocks *r, struct buf *why);
void rocks_db_close(struct rocks *r);
void rocks_drain(struct rocks *r); /* waits for users; then nobody enters */
void rocks_mend(struct rocks *r);  /* after a failed write: opens anew if nobody is inside */
rocksdb_column_family_handle_t *rocks_cf(struct rocks *r, enum space space);

/* rocks_room.c: -ENOSPC under the reserve; n bytes are about to be written. */
int rocks_room(struct rocks *r, size_t n);
int rocks_usage(struct store *s, struct store_usage *ret);
void rocks_reclaim(struct store *s);

/* rocks_commit.c */
void rocks_commit_start(struct rocks *r);
void rocks_commit_stop(struct rocks *r);
void rocks_submit(struct store *s, struct store_batch *b, bool waited);
int rocks_sync(struct store *s);

/* rocks_read.c */
int rocks_get(struct store *s, enum space space, struct slice key, struct store_value *ret);
int rocks_cursor_new(struct store *s, enum space space, struct slice lower, struct slice upper,
                     struct cursor **ret);
void rocks_cursor_seek(struct cursor *c, struct slice key);
void rocks_cursor_seek_back(struct cursor *c, struct slice key);
void rocks_cursor_last(struct cursor *c);
void rocks_cursor_step(struct cursor *c, bool back);
int rocks_cursor_row(struct cursor *c, struct slice *ret_key, struct slice *ret_value);
void rocks_cursor_free(struct cursor *c);

/* rocks_run.c */
int rocks_run_new(struct store *s, struct run **ret);
int rocks_run_add(struct run *run, struct slice key, struct slice value);
int rocks_run_commit(struct run *run);
void rocks_run_free(struct run *run);
int rocks_run_drop(struct store *s, struct slice lower, struct slice upper);
int rocks_log_drop(struct store *s, struct slice lower, struct slice upper);
int rocks_log_tidy(struct store *s, struct slice lower, struct slice upper);

/* rocks_file.c: the files of parts. */
struct part {
    uint32_t file_no; /* in uploads/, while staged */
    uint32_t chunks;
    uint64_t bytes;
    uint64_t first_chunk; /* its number */
    /* Offsets of values in the file: of the first chunk, from one to the next, of the last. first
     * is 0 if they are not where they should be: then RocksDB reads them. */
    uint64_t first, stride, last;
};

/* Each stored file of chunks: its first key (CHUNK_KEY bytes) and RocksDB's name of it. -EIO: the
 * database could not be opened again. */
int rocks_each_part(struct rocks *r, void (*f)(struct rocks *r, const char *key, const char *name));
void chunk_key(uint8_t key[CHUNK_KEY], const uint8_t id[BLOB_ID], uint64_t chunk);
uint64_t part_value_offset(const struct part *p, uint32_t chunk); /* the chunk-th of the part */
uint64_t part_chunk_bytes(const struct part *p, uint32_t chunk);
bool part_fits(uint64_t chunks, uint64_t bytes); /* all but the last chunk are whole */
void part_set_offsets(struct part *p);           /* by the formula */
/* The entry of a chunk stands where its offset says: 1, 0, or a negative errno. */
int part_check(int fd, const struct part *p, const uint8_t id[BLOB_ID], uint32_t chunk);
ssize_t part_read(int fd, const struct part *p, uint64_t offset, void *buf, size_t n);
int file_of_part(struct rocks *r, const uint8_t id[BLOB_ID], const struct part *p, int *ret_fd);
void file_forget(struct rocks *r, const uint8_t id[BLOB_ID], const struct part *p);
void files_free(struct rocks *r);

/* A layout: of small content, or of parts. */
enum layout_kind { LAYOUT_SMALL = 1, LAYOUT_PARTS = 2 };
void layout_small(struct buf *b);
void layout_parts(struct buf *b, const struct part *parts, size_t n);
/* parts: returns new. -EIO. */
int layout_decode(struct slice layout, enum layout_kind *ret_kind, struct part **ret_parts,
                  size_t *ret_n);

/* rocks_stage.c, rocks_upload.c */
int rocks_staging_new(struct store *s, const uint8_t id[BLOB_ID], uint64_t hint,
                      struct staging **ret);
void rocks_staging_expect(struct staging *g, uint64_t size_bytes);
int rocks_staging_write(struct staging *g, const void *bytes, size_t n);
ssize_t rocks_staging_read(struct staging *g, uint64_t offset, void *buf, size_t n);
int rocks_staging_suspend(struct staging *g, struct buf *state, uint64_t *ret_durable_bytes);
int rocks_staging_resume(struct store *s, const uint8_t id[BLOB_ID], struct slice state,
                         struct staging **ret, uint64_t *ret_durable_bytes);
int rocks_staging_finish(struct staging *g, struct store_batch *b, struct buf *layout);
void rocks_staging_free(struct staging *g, enum staging_end end);
void rocks_staging_discard(struct store *s, const uint8_t id[BLOB_ID], struct slice state);
int rocks_sweep(struct store *s);
bool rocks_sweep_keep(struct store *s, const uint8_t id[BLOB_ID]);
void rocks_sweep_end(struct store *s, bool all_seen);

/* rocks_blob.c */
int rocks_content_open(struct store *s, const uint8_t id[BLOB_ID], uint64_t size_bytes,
                       struct slice layout, struct content **ret);
ssize_t rocks_content_read(struct content *c, uint64_t offset, void *buf, size_t n);
int rocks_content_lend(struct content *c, uint64_t offset, size_t n, struct blob_loan *ret);
void rocks_content_unlend(const struct iovec *iov, size_t n);
void rocks_content_close(struct content *c);
int rocks_content_delete(struct store *s, const uint8_t id[BLOB_ID], struct slice layout);
int parts_delete(struct rocks *r, const uint8_t id[BLOB_ID]);

#endif
