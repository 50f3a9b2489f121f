/* mirror_kept.c: what is kept of the files of the index behind, since when nobody asked for it, and
 * what goes by rule: packages.mirror_keep and packages.mirror_size.
 *
 * Rows of KEPT_PARTITION: <project> NUL <file> -> when it was last asked for (ms, 8 bytes), then
 * for the content and for the core metadata: is it there (1 byte), its SHA-256 (32), its bytes (8).
 * A row comes before the holds it tells of, and goes after them: what is held always has a row.
 *
 * That a file was asked for is noted in memory and written once a minute, not synced: a crash may
 * forget the last minutes. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "config.h"
#include "identity/identity.h"
#include "packages/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <uthash.h>

#define KEPT_PARTITION SLICE("packages/.kept")
#define COUNTED_KEY    SLICE(".counted") /* what was kept before there were rows has them now */
#define KEY_MAX        (PROJECT_NAME_MAX + PACKAGE_FILENAME_MAX + 2)
#define OWNER_MAX      (sizeof "packages/" MIRROR_PREFIX + KEY_MAX)
#define PART_BYTES     (1 + 32 + 8)
#define ROW_BYTES      (8 + KEPT_PARTS * PART_BYTES)
#define NOTES_MAX      65536u /* then what is asked for is not noted until the next minute */

struct part {
    bool there;
    struct digest digest;
    uint64_t bytes;
};

struct row {
    int64_t asked_unix_ms;
    struct part parts[KEPT_PARTS];
};

struct note {
    UT_hash_handle hh;
    struct row row;
    size_t len;
    char key[];
};

struct kept {
    struct packages *pk;
    pthread_mutex_t notes_lock; /* guards: notes */
    struct note *notes;
    /* One at a time changes a row and its holds, so that what is let go of is not what just came;
     * held over commits that are not synced. */
    pthread_mutex_t lock;
};

struct kept *kept_new(struct packages *pk)
{
    struct kept *k = xcalloc(1, sizeof *k);

    k->pk = pk;
    pthread_mutex_init(&k->notes_lock, NULL);
    pthread_mutex_init(&k->lock, NULL);
    return k;
}

static struct slice key_of(const char *project, const char *file, char key[KEY_MAX])
{
    size_t n = strnlen(project, PROJECT_NAME_MAX), m = strnlen(file, PACKAGE_FILENAME_MAX);

    memcpy(key, project, n);
    key[n] = 0;
    memcpy(key + n + 1, file, m);
    return slice_of(key, n + 1 + m);
}

/* "packages/.mirror/<project>/<file>". */
static struct slice owner_of(struct slice key, char text[OWNER_MAX])
{
    const char *project = key.data;
    size_t n = strnlen(project, key.len), m = n < key.len ? key.len - n - 1 : 0;
    int len = snprintf(text, OWNER_MAX, "packages/" MIRROR_PREFIX "%.*s/%.*s", (int)n, project,
                       (int)m, project + n + 1);

    return slice_of(text, (size_t)len);
}

static void encode(const struct row *row, uint8_t bytes[ROW_BYTES])
{
    uint8_t *p = bytes + 8;

    memset(bytes, 0, ROW_BYTES);
    be64_put(bytes, (uint64_t)row->asked_unix_ms);
    for (size_t i = 0; i < KEPT_PARTS; i++, p += PART_BYTES) {
        p[0] = row->parts[i].there;
        memcpy(p + 1, row->parts[i].digest.bytes, 32);
        be64_put(p + 33, row->parts[i].bytes);
    }
}

static int decode(struct slice value, struct row *ret)
{
    const uint8_t *p = value.data;

    if (value.len < ROW_BYTES)
        return -EIO;
    *ret = (struct row){.asked_unix_ms = (int64_t)be64_get(p)};
    p += 8;
    for (size_t i = 0; i < KEPT_PARTS; i++, p += PART_BYTES) {
        ret->parts[i].there = p[0];
        ret->parts[i].digest.algorithm = DIGEST_SHA256;
        memcpy(ret->parts[i].digest.bytes, p + 1, 32);
        ret->parts[i].bytes = be64_get(p + 33);
    }
    return 0;
}

/* -ENOENT; a damaged row counts as none, and is written anew. */
static int get_row(struct kept *k, struct slice key, struct row *ret)
{
    struct store_value value = {0};
    int r = store_get(k->pk->store, KEPT_PARTITION, key, &value);

    *ret = (struct row){0};
    if (r == 0 && decode(value.data, ret) < 0)
        r = -ENOENT;
    store_value_release(&value);
    return r;
}

/* Takes what `is` says into the row, then holds it; lets go of what stood there before. */
static int keep(struct kept *k, struct slice key, const struct row *is)
{
    struct store *store = k->pk->store;
    struct store_batch *batch;
    struct row row, was;
    uint8_t bytes[ROW_BYTES];
    char text[OWNER_MAX];
    struct slice owner = owner_of(key, text);
    int r;
    guard(&k->lock);

    r = get_row(k, key, &was);
    if (r < 0 && r != -ENOENT)
        return r;
    row = was;
    if (row.asked_unix_ms < is->asked_unix_ms)
        row.asked_unix_ms = is->asked_unix_ms;
    for (size_t i = 0; i < KEPT_PARTS; i++)
        if (is->parts[i].there)
            row.parts[i] = is->parts[i];
    encode(&row, bytes);
    batch = store_batch_new(store, KEPT_PARTITION);
    store_batch_put(batch, key, slice_of(bytes, sizeof bytes));
    r = store_commit(batch, 0);
    for (size_t i = 0; r == 0 && i < KEPT_PARTS; i++)
        if (is->parts[i].there)
            r = blob_hold(store, &is->parts[i].digest, owner);
    for (size_t i = 0; r == 0 && i < KEPT_PARTS; i++)
        if (was.parts[i].there && !digest_eq(&was.parts[i].digest, &row.parts[i].digest))
            r = blob_release(store, &was.parts[i].digest, owner);
    return r;
}

int kept_hold(struct kept *k, const char *project, const char *file, enum kept_part part,
              const struct digest *digest, uint64_t bytes)
{
    struct row row = {.asked_unix_ms = clock_unix_ms()};
    char key[KEY_MAX];

    row.parts[part] = (struct part){true, *digest, bytes};
    return keep(k, key_of(project, file, key), &row);
}

void kept_note(struct kept *k, const char *project, const char *file, enum kept_part part,
               const struct digest *digest, uint64_t bytes)
{
    char text[KEY_MAX];
    struct slice key = key_of(project, file, text);
    struct note *note;
    guard(&k->notes_lock);

    HASH_FIND(hh, k->notes, key.data, key.len, note);
    if (note == NULL) {
        if (HASH_COUNT(k->notes) >= NOTES_MAX)
            return;
        note = xcalloc(1, sizeof *note + key.len);
        memcpy(note->key, key.data, key.len);
        note->len = key.len;
        HASH_ADD_KEYPTR(hh, k->notes, note->key, note->len, note);
    }
    note->row.asked_unix_ms = clock_unix_ms();
    note->row.parts[part] = (struct part){true, *digest, bytes};
}

static bool is_noted(struct kept *k, struct slice key)
{
    struct note *note;
    guard(&k->notes_lock);

    HASH_FIND(hh, k->notes, key.data, key.len, note);
    return note != NULL;
}

/* What was noted is taken into the rows. What was let go of meanwhile is held again, unless it is
 * gone: then it is fetched again when it is wanted again. */
static int write_notes(struct kept *k)
{
    struct note *notes, *note, *next;
    int r = 0;

    pthread_mutex_lock(&k->notes_lock);
    notes = take(k->notes);
    pthread_mutex_unlock(&k->notes_lock);
    HASH_ITER(hh, notes, note, next) {
        int e = keep(k, slice_of(note->key, note->len), &note->row);

        if (e < 0 && e != -ENOENT)
            r = e;
        HASH_DEL(notes, note);
        free(note);
    }
    return r;
}

void kept_free(struct kept *k)
{
    if (k == NULL)
        return;
    write_notes(k); /* if it fails, the last minute is forgotten */
    pthread_mutex_destroy(&k->notes_lock);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* What was kept before there were rows: each file of a project whose content is here. */
struct count {
    struct kept *k;
    struct op *op;
};

static int count_part(struct kept *k, const struct package_file *f, enum kept_part part,
                      const struct digest *digest)
{
    struct blob_stat st;
    struct row row;
    char key[KEY_MAX];
    int r = get_row(k, key_of(f->project, f->name, key), &row);

    if (r == 0 && row.parts[part].there)
        return 0;
    r = blob_stat(k->pk->store, digest, &st);
    if (r == 0)
        r = kept_hold(k, f->project, f->name, part, digest, st.size_bytes);
    return r == -ENOENT ? 0 : r;
}

static int count_project(void *ctx, struct slice part)
{
    struct count *c = ctx;
    struct slice project = slice_skip(part, sizeof "packages/" MIRROR_PREFIX - 1);
    struct store_scan *scan;
    struct slice key, value;
    struct package_file f;
    int r = store_scan(c->k->pk->store, part, SLICE(FIRST_FILE), SLICE(""), 0, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        struct op op;

        op_init(&op, DOOR_INTERNAL, c->op->who);
        r = record_decode(&op, op_strndup(&op, project.data, project.len),
                          op_strndup(&op, key.data, key.len), value, &f);
        if (r == 0)
            r = count_part(c->k, &f, KEPT_CONTENT, &f.digest);
        if (r == 0 && f.metadata.size_bytes > 0)
            r = count_part(c->k, &f, KEPT_METADATA, &f.metadata.digest);
        op_done(&op);
        if (r < 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

static int count_old(struct kept *k, struct op *op)
{
    struct count c = {k, op};
    struct store_value value = {0};
    struct store_batch *batch;
    int r = store_get(k->pk->store, KEPT_PARTITION, COUNTED_KEY, &value);

    store_value_release(&value);
    if (r != -ENOENT)
        return r;
    r = store_partitions(k->pk->store, SLICE("packages/" MIRROR_PREFIX), count_project, &c);
    if (r < 0)
        return r;
    batch = store_batch_new(k->pk->store, KEPT_PARTITION);
    store_batch_put(batch, COUNTED_KEY, SLICE("1"));
    return store_commit(batch, 0);
}

/* A file, while it is decided what goes. */
struct entry {
    int64_t asked_unix_ms;
    uint64_t bytes;
    char *key;
    size_t len;
};

struct entries {
    struct entry *all;
    size_t n, room;
    uint64_t bytes;
};

static int by_age(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->asked_unix_ms < y->asked_unix_ms ? -1 : x->asked_unix_ms > y->asked_unix_ms;
}

static void add_entry(struct entries *es, struct slice key, const struct row *row)
{
    struct entry *e;

    if (es->n == es->room) {
        es->room = es->room == 0 ? 256 : es->room * 2;
        es->all = xrealloc(es->all, es->room * sizeof *es->all);
    }
    e = &es->all[es->n++];
    *e = (struct entry){.asked_unix_ms = row->asked_unix_ms, .len = key.len};
    e->key = xmalloc(key.len);
    memcpy(e->key, key.data, key.len);
    for (size_t i = 0; i < KEPT_PARTS; i++)
        if (row->parts[i].there)
            e->bytes += row->parts[i].bytes;
    es->bytes += e->bytes;
}

static void free_entries(struct entries *es)
{
    for (size_t i = 0; i < es->n; i++)
        free(es->all[i].key);
    free(es->all);
}

static int read_entries(struct kept *k, struct entries *ret)
{
    struct store_scan *scan;
    struct slice key, value;
    struct row row;
    int r = store_scan(k->pk->store, KEPT_PARTITION, SLICE(FIRST_FILE), SLICE(""), 0, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1)
        if (decode(value, &row) == 0)
            add_entry(ret, key, &row);
    store_scan_free(scan);
    if (ret->n > 0)
        qsort(ret->all, ret->n, sizeof *ret->all, by_age);
    return r;
}

/* Lets go of one, unless it was asked for meanwhile: -EAGAIN. */
static int let_go(struct kept *k, const struct entry *e)
{
    struct slice key = slice_of(e->key, e->len);
    struct store_batch *batch;
    char text[OWNER_MAX];
    struct row row;
    int r;
    guard(&k->lock);

    r = get_row(k, key, &row);
    if (r == -ENOENT || (r == 0 && row.asked_unix_ms != e->asked_unix_ms) || is_noted(k, key))
        return -EAGAIN;
    for (size_t i = 0; r == 0 && i < KEPT_PARTS; i++)
        if (row.parts[i].there)
            r = blob_release(k->pk->store, &row.parts[i].digest, owner_of(key, text));
    if (r < 0)
        return r;
    batch = store_batch_new(k->pk->store, KEPT_PARTITION);
    store_batch_delete(batch, key);
    return store_commit(batch, 0);
}

static void tell(struct op *op, const struct entry *e, bool dry_run, struct buf *out)
{
    const char *file = e->key + strnlen(e->key, e->len) + 1;
    int len = (int)(e->key + e->len - file);
    char time[CLOCK_TEXT_MAX];

    clock_print_ns(e->asked_unix_ms * 1000000, 0, time);
    if (out != NULL)
        buf_printf(out, "%s mirrored file %.*s of %" PRIu64 " bytes, last asked for %s\n",
                   dry_run ? "would remove" : "removed", len, file, e->bytes, time);
    if (!dry_run)
        log_event(LOG_INFO, op, "packages.mirror.let_go", "file=%.*s bytes=%" PRIu64 " asked=%s",
                  len, file, e->bytes, time);
}

/* The oldest first: what nobody asked for within mirror_keep, then what is over mirror_size. */
static int apply_rules(struct op *op, struct kept *k, const struct entries *es, bool dry_run,
                       struct buf *out, struct entries *ret_gone)
{
    const struct config *c = k->pk->env.config;
    int64_t until_ms = clock_unix_ms() - c->packages_mirror_keep_ms;
    uint64_t limit = c->packages_mirror_size_bytes, left = es->bytes;

    for (size_t i = 0; i < es->n; i++) {
        const struct entry *e = &es->all[i];
        bool old = c->packages_mirror_keep_ms > 0 && e->asked_unix_ms < until_ms;
        int r = 0;

        if (!old && (limit == 0 || left <= limit))
            break;
        if (!dry_run)
            r = let_go(k, e);
        if (r == -EAGAIN)
            continue;
        if (r < 0)
            return r;
        left -= e->bytes;
        ret_gone->n++;
        ret_gone->bytes += e->bytes;
        tell(op, e, dry_run, out);
    }
    return 0;
}

int kept_tidy(struct kept *k, struct op *op, bool dry_run, struct buf *out)
{
    const struct config *c = k->pk->env.config;
    struct entries es = {0}, gone = {0};
    int r = write_notes(k);

    if (c->packages_mirror_keep_ms == 0 && c->packages_mirror_size_bytes == 0)
        return r;
    if (r == 0)
        r = count_old(k, op);
    if (r == 0)
        r = read_entries(k, &es);
    if (r == 0)
        r = apply_rules(op, k, &es, dry_run, out, &gone);
    if (r == 0 && out != NULL)
        buf_printf(out,
                   "packages: %s %zu mirrored files of %" PRIu64 " bytes by rule; %zu of %" PRIu64
                   " bytes stay\n",
                   dry_run ? "would remove" : "removed", gone.n, gone.bytes, es.n - gone.n,
                   es.bytes - gone.bytes);
    free_entries(&es);
    return r;
}
