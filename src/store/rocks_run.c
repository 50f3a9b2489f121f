/* Bulk runs: an SST file in uploads/, ingested whole. */
#include "store/rocks.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

struct run {
    struct rocks *rocks;
    rocksdb_sstfilewriter_t *writer;
    char *path;
};

int rocks_run_new(struct store *s, struct run **ret)
{
    struct rocks *r = s->self;
    struct run *run = xcalloc(1, sizeof *run);
    uint8_t id[BLOB_ID];
    char name[2 * BLOB_ID + 1];
    char *err = NULL;
    int e;

    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        abort();
    hex_encode(slice_of(id, sizeof id), name);
    if (asprintf(&run->path, "%s/%s.run.sst", r->uploads, name) < 0)
        abort();
    run->rocks = r;
    run->writer = rocksdb_sstfilewriter_create(r->env, r->cf_options[CF_SAMPLES]);
    rocksdb_sstfilewriter_open(run->writer, run->path, &err);
    e = rocks_error(err);
    if (e < 0) {
        rocks_run_free(run);
        return e;
    }
    *ret = run;
    return 0;
}

int rocks_run_add(struct run *run, struct slice key, struct slice value)
{
    char *err = NULL;
    int e = rocks_room(run->rocks, key.len + value.len);

    if (e < 0)
        return e;
    rocksdb_sstfilewriter_put(run->writer, key.data, key.len, value.data, value.len, &err);
    return rocks_error(err);
}

int rocks_run_commit(struct run *run)
{
    struct rocks *r = run->rocks;
    const char *paths[] = {run->path};
    char *err = NULL;
    int e;

    rocksdb_sstfilewriter_finish(run->writer, &err);
    e = rocks_error(err);
    if (e == 0)
        e = rocks_enter(r);
    if (e < 0)
        return e;
    rocksdb_ingest_external_file_cf(r->db, r->cf[CF_SAMPLES], paths, 1, r->ingest, &err);
    rocks_leave(r);
    return rocks_error(err);
}

void rocks_run_free(struct run *run)
{
    rocksdb_sstfilewriter_destroy(run->writer);
    unlink(run->path); /* an ingested one is gone already */
    free(run->path);
    free(run);
}

static int is_empty(struct store *s, struct slice lower, struct slice upper)
{
    struct cursor *c = NULL;
    struct slice key, value;
    int e = rocks_cursor_new(s, SPACE_SAMPLES, lower, upper, &c);

    if (e < 0)
        return e;
    rocks_cursor_seek(c, lower);
    e = rocks_cursor_row(c, &key, &value);
    rocks_cursor_free(c);
    return e < 0 ? e : e == 0;
}

/* Runs that overlap many times end up in level 0, which is not dropped by file. */
static int drop_rest(struct rocks *r, struct slice lower, struct slice upper)
{
    char *err = NULL;

    rocksdb_delete_range_cf(r->db, r->write_sync, r->cf[CF_SAMPLES], lower.data, lower.len,
                            upper.data, upper.len, &err);
    if (err == NULL)
        rocksdb_compact_range_cf(r->db, r->cf[CF_SAMPLES], lower.data, lower.len, upper.data,
                                 upper.len);
    return rocks_error(err);
}

static int drop_files(struct rocks *r, enum rocks_cf cf, struct slice lower, struct slice upper)
{
    char *err = NULL;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    rocksdb_delete_file_in_range_cf(r->db, r->cf[cf], lower.data, lower.len, upper.data, upper.len,
                                    &err);
    rocks_leave(r);
    return rocks_error(err);
}

int rocks_log_drop(struct store *s, struct slice lower, struct slice upper)
{
    return drop_files(s->self, CF_HEAD, lower, upper);
}

/* RocksDB's own log goes once nothing in memory needs it: rows of meta beside those of the head. */
static int flush_memory(struct rocks *r)
{
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    char *err = NULL;

    rocksdb_flush_cf(r->db, options, r->cf[CF_META], &err);
    if (err == NULL)
        rocksdb_flush_cf(r->db, options, r->cf[CF_HEAD], &err);
    rocksdb_flushoptions_destroy(options);
    return rocks_error(err);
}

int rocks_log_tidy(struct store *s, struct slice lower, struct slice upper)
{
    struct rocks *r = s->self;
    int e = rocks_room(r, 0); /* flushing writes */

    if (e == 0)
        e = rocks_enter(r);
    if (e < 0)
        return e;
    e = flush_memory(r);
    if (e == 0)
        rocksdb_compact_range_cf(r->db, r->cf[CF_HEAD], lower.data, lower.len, upper.data,
                                 upper.len);
    rocks_leave(r);
    return e;
}

int rocks_run_drop(struct store *s, struct slice lower, struct slice upper)
{
    struct rocks *r = s->self;
    int e = drop_files(r, CF_SAMPLES, lower, upper);

    if (e == 0)
        e = is_empty(s, lower, upper);
    if (e != 0)
        return e < 0 ? e : 0;
    e = rocks_enter(r);
    if (e < 0)
        return e;
    e = drop_rest(r, lower, upper);
    rocks_leave(r);
    return e;
}
