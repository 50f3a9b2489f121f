#include "images/rootfs/layer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "images/rootfs/build.h"

#include <errno.h>
#include <stdio.h>
#include <utlist.h>

#define ROW_VERSION 2 /* one more whenever the same layer gives another index */
#define PAGE_BYTES  (32u << 10)
#define WHY_MAX     500u

enum row_state { ROW_INDEXED = 1, ROW_REFUSED = 2 };

/* A layer that is being opened, for those who wait for it. */
struct opening {
    struct opening *prev, *next;
    struct digest digest;
    unsigned waiting;
    bool done;
    int result;
    char why[WHY_MAX];
};

struct layers *layers_new(struct store *store)
{
    struct layers *ls = xcalloc(1, sizeof *ls);

    ls->store = store;
    ls->chunks = chunks_new(LAYER_CACHE_BYTES);
    pthread_mutex_init(&ls->lock, NULL);
    pthread_cond_init(&ls->changed, NULL);
    return ls;
}

void layers_stop(struct layers *ls)
{
    __atomic_store_n(&ls->stop, true, __ATOMIC_RELAXED);
}

void layers_free(struct layers *ls)
{
    if (ls == NULL)
        return;
    layers_rest(ls, INT64_MAX);
    chunks_free(ls->chunks);
    pthread_cond_destroy(&ls->changed);
    pthread_mutex_destroy(&ls->lock);
    free(ls);
}

/* Rows. The key is a digest, a byte for the algorithm and its bytes; the value: version, state, and
 * the digest of the index; or the errno and the reason. */

struct row {
    bool current; /* of our version */
    enum row_state state;
    struct digest index;
    int err; /* positive */
    char why[WHY_MAX];
};

static size_t digest_put(const struct digest *d, uint8_t bytes[65])
{
    size_t n = digest_length(d->algorithm);

    bytes[0] = d->algorithm;
    memcpy(bytes + 1, d->bytes, n);
    return 1 + n;
}

static int digest_get(struct slice bytes, struct digest *ret)
{
    const uint8_t *p = bytes.data;

    *ret = (struct digest){0};
    if (bytes.len == 0 || (p[0] != DIGEST_SHA256 && p[0] != DIGEST_SHA512) ||
        bytes.len != 1 + digest_length(p[0]))
        return -EBADMSG;
    ret->algorithm = p[0];
    memcpy(ret->bytes, p + 1, bytes.len - 1);
    return 0;
}

static int row_parse(struct slice value, struct row *ret)
{
    const uint8_t *p = value.data;

    *ret = (struct row){0};
    if (value.len < 3)
        return -EBADMSG;
    ret->current = p[0] == ROW_VERSION;
    ret->state = p[1];
    if (p[1] == ROW_INDEXED)
        return digest_get(slice_skip(value, 2), &ret->index);
    if (p[1] != ROW_REFUSED || value.len - 3 >= WHY_MAX)
        return -EBADMSG;
    ret->err = p[2];
    memcpy(ret->why, p + 3, value.len - 3);
    return ret->err > 0 ? 0 : -EBADMSG;
}

static int row_get(struct layers *ls, const struct digest *d, struct row *ret)
{
    struct store_value v = {0};
    uint8_t key[65];
    int r = store_get(ls->store, PART_LAYERS, slice_of(key, digest_put(d, key)), &v);

    if (r == 0)
        r = row_parse(v.data, ret);
    store_value_release(&v);
    return r;
}

static int row_put(struct layers *ls, const struct digest *d, struct slice value)
{
    struct store_batch *batch = store_batch_new(ls->store, PART_LAYERS);
    uint8_t key[65];

    store_batch_put(batch, slice_of(key, digest_put(d, key)), value);
    return store_commit(batch, STORE_DURABLE);
}

static int row_put_index(struct layers *ls, const struct digest *d, const struct digest *index)
{
    uint8_t value[2 + 65] = {ROW_VERSION, ROW_INDEXED};

    return row_put(ls, d, slice_of(value, 2 + digest_put(index, value + 2)));
}

static int row_put_refusal(struct layers *ls, const struct digest *d, int err, struct slice why)
{
    uint8_t value[3 + WHY_MAX] = {ROW_VERSION, ROW_REFUSED, (uint8_t)err};
    size_t n = why.len < WHY_MAX - 1 ? why.len : WHY_MAX - 1;

    if (n > 0)
        memcpy(value + 3, why.data, n);
    return row_put(ls, d, slice_of(value, 3 + n));
}

/* "images-layers#sha256:…": the layer whose index it is. */
static struct slice holder_of(const struct digest *layer, char text[DIGEST_TEXT_MAX + 16])
{
    char digest[DIGEST_TEXT_MAX];
    int n = snprintf(text, DIGEST_TEXT_MAX + 16, "images-layers#%s", digest_print(layer, digest));

    return slice_of(text, (size_t)n);
}

/* Open layers. */

static int load_page(void *ctx, uint64_t number, struct chunk **ret)
{
    struct layer *l = ctx;
    uint64_t offset = number * PAGE_BYTES, size = blob_size(l->blob);
    size_t n = size - offset < PAGE_BYTES ? (size_t)(size - offset) : PAGE_BYTES;
    struct chunk *c = chunk_new(n);
    ssize_t got = c != NULL ? blob_read(l->blob, offset, c->data, n) : -ENOMEM;

    if (got == (ssize_t)n) {
        *ret = c;
        return 0;
    }
    chunk_unref(c);
    return got < 0 ? (int)got : -EIO;
}

static int read_index(void *ctx, uint64_t offset, void *buf, size_t n)
{
    struct layer *l = ctx;
    uint8_t *to = buf;

    if (offset > blob_size(l->blob) || n > blob_size(l->blob) - offset)
        return -EBADMSG;
    while (n > 0) {
        uint64_t page = offset / PAGE_BYTES;
        size_t within = (size_t)(offset % PAGE_BYTES);
        size_t piece = PAGE_BYTES - within < n ? PAGE_BYTES - within : n;
        struct chunk *c = NULL;
        int r = chunks_get(l->layers->chunks, 2 * l->id, page, load_page, l, &c);

        if (r < 0)
            return r;
        memcpy(to, c->data + within, piece);
        chunk_unref(c);
        to += piece;
        offset += piece;
        n -= piece;
    }
    return 0;
}

static uint64_t next_id(struct layers *ls)
{
    guard(&ls->lock);

    return ++ls->last_id;
}

static void layer_free(struct layer *l)
{
    blob_close(l->blob);
    free(l);
}

/* Opens the index; -ENOENT, -EBADMSG: it is lost or damaged. */
static int attach(struct layers *ls, const struct digest *d, const struct digest *index,
                  struct layer **ret)
{
    struct layer *l = xcalloc(1, sizeof *l);
    struct index_inode top;
    int r = blob_open(ls->store, index, &l->blob);

    l->digest = *d;
    l->layers = ls;
    l->id = next_id(ls);
    l->refs = 1;
    if (r == 0) {
        l->index =
            (struct layer_index){.read = read_index, .ctx = l, .size_bytes = blob_size(l->blob)};
        r = layer_index_open(&l->index);
    }
    if (r == 0)
        r = layer_index_inode_get(&l->index, 0, &top);
    if (r == 0 && top.type != INDEX_FOLDER)
        r = -EBADMSG;
    if (r < 0) {
        layer_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

/* Making an index. */

static int write_stage(void *ctx, const void *bytes, size_t n)
{
    return blob_stage_write(ctx, bytes, n);
}

static ssize_t read_blob(void *ctx, uint64_t offset, void *buf, size_t n)
{
    return blob_read(ctx, offset, buf, n);
}

static void begin_build(struct layers *ls)
{
    guard(&ls->lock);

    while (ls->building == LAYER_BUILDS)
        pthread_cond_wait(&ls->changed, &ls->lock);
    ls->building++;
}

static void end_build(struct layers *ls)
{
    guard(&ls->lock);

    ls->building--;
    pthread_cond_broadcast(&ls->changed);
}

static int build_index(struct op *op, struct layers *ls, struct blob *layer, struct digest *ret,
                       struct buf *why)
{
    struct unpack_source source = {read_blob, layer, blob_size(layer)};
    struct blob_stage *stage;
    struct layer_index_sink sink;
    int64_t began_ms = clock_monotonic_ms();
    char text[DIGEST_TEXT_MAX];
    int r = blob_stage_begin(ls->store, DIGEST_SHA256, 0, &stage);

    if (r < 0)
        return r;
    sink = (struct layer_index_sink){.write = write_stage, .ctx = stage};
    r = layer_index_build(&source, &layer_limits, &ls->stop, &sink, why);
    if (r < 0) {
        blob_stage_drop(stage);
        return r;
    }
    r = blob_seal_early(stage, NULL, ret);
    log_event(LOG_INFO, op, "images.indexed", "layer=%s index_bytes=%" PRIu64 " ms=%" PRId64,
              digest_print(blob_digest(layer), text), sink.offset, clock_monotonic_ms() - began_ms);
    return r;
}

/* The row comes before the hold: cut in between, the index is reaped, and made anew when next
 * looked for; the other way round a hold would stay for ever. */
static int build(struct op *op, struct layers *ls, const struct digest *d, struct layer **ret)
{
    char holder[DIGEST_TEXT_MAX + 16], text[DIGEST_TEXT_MAX];
    struct digest index;
    struct blob *blob;
    autobuf why = {0};
    int r = blob_open(ls->store, d, &blob);

    if (r < 0)
        return r == -ENOENT ? op_fail(op, ENOENT, "layer %s is not stored", digest_print(d, text))
                            : r;
    begin_build(ls);
    r = build_index(op, ls, blob, &index, &why);
    end_build(ls);
    blob_close(blob);
    if ((r == -EBADMSG || r == -EFBIG) && why.len > 0) {
        log_event(LOG_WARN, op, "images.layer_refused", "layer=%s why=\"%s\"",
                  digest_print(d, text), why.data);
        row_put_refusal(ls, d, -r, buf_slice(&why));
        return op_fail(op, -r, "layer %s cannot be shown: %s", digest_print(d, text), why.data);
    }
    if (r == 0)
        r = row_put_index(ls, d, &index);
    if (r == 0)
        r = blob_hold(ls->store, &index, holder_of(d, holder));
    if (r == 0)
        r = attach(ls, d, &index, ret);
    return r < 0 ? op_fail(op, -r, "the index of layer %s cannot be made: %s",
                           digest_print(d, text), strerror(-r))
                 : 0;
}

/* An index of an earlier version: nobody reads it any more. -ENOENT. */
static int drop_old(struct layers *ls, const struct digest *d, const struct row *row)
{
    char holder[DIGEST_TEXT_MAX + 16];
    int r = row->state == ROW_INDEXED ? blob_release(ls->store, &row->index, holder_of(d, holder))
                                      : 0;

    return r < 0 ? r : -ENOENT;
}

static int load(struct op *op, struct layers *ls, const struct digest *d, struct layer **ret)
{
    char text[DIGEST_TEXT_MAX];
    struct row row;
    int r = row_get(ls, d, &row);

    if (r == 0 && row.current && row.state == ROW_REFUSED)
        return op_fail(op, row.err, "layer %s cannot be shown: %s", digest_print(d, text), row.why);
    if (r == 0 && row.current)
        r = attach(ls, d, &row.index, ret);
    else if (r == 0)
        r = drop_old(ls, d, &row);
    if (r == 0)
        return 0;
    if (r == -EBADMSG)
        log_event(LOG_WARN, op, "images.index_damaged", "layer=%s", digest_print(d, text));
    return r == -ENOENT || r == -EBADMSG ? build(op, ls, d, ret) : r;
}

/* With the lock held. */
static struct layer *find_open(struct layers *ls, const struct digest *d)
{
    struct layer *l = NULL;

    HASH_FIND(hh, ls->open, d, sizeof *d, l);
    if (l != NULL)
        l->refs++;
    return l;
}

static struct opening *find_opening(struct layers *ls, const struct digest *d)
{
    struct opening *o;

    DL_FOREACH(ls->opening, o)
        if (digest_eq(&o->digest, d))
            return o;
    return NULL;
}

/* Waits for who opens it already. The last one frees what they waited for. */
static int wait_for(struct op *op, struct layers *ls, struct opening *o)
{
    int r;

    o->waiting++;
    while (!o->done)
        pthread_cond_wait(&ls->changed, &ls->lock);
    r = o->result;
    if (r < 0)
        op_fail(op, -r, "%s", o->why);
    if (--o->waiting == 0)
        free(o);
    return r;
}

static int open_first(struct op *op, struct layers *ls, struct opening *o, struct layer **ret)
{
    int r = load(op, ls, &o->digest, ret);

    guard(&ls->lock);
    if (r == 0)
        HASH_ADD(hh, ls->open, digest, sizeof(*ret)->digest, *ret);
    DL_DELETE(ls->opening, o);
    o->done = true;
    o->result = r;
    if (r < 0)
        snprintf(o->why, sizeof o->why, "%s", op_why(op, r));
    if (o->waiting == 0)
        free(o);
    pthread_cond_broadcast(&ls->changed);
    return r;
}

int layer_open(struct op *op, struct layers *ls, const struct digest *d, struct layer **ret)
{
    struct opening *o;
    int r = 0;

    pthread_mutex_lock(&ls->lock);
    *ret = NULL;
    while (r == 0 && (*ret = find_open(ls, d)) == NULL) {
        o = find_opening(ls, d);
        if (o != NULL) {
            r = wait_for(op, ls, o);
            continue;
        }
        o = xcalloc(1, sizeof *o);
        o->digest = *d;
        DL_APPEND(ls->opening, o);
        pthread_mutex_unlock(&ls->lock);
        return open_first(op, ls, o, ret);
    }
    pthread_mutex_unlock(&ls->lock);
    return r;
}

void layer_unref(struct layer *l)
{
    struct layers *ls = l->layers;
    bool last;

    pthread_mutex_lock(&ls->lock);
    last = --l->refs == 0;
    if (last)
        HASH_DEL(ls->open, l);
    pthread_mutex_unlock(&ls->lock);
    if (last)
        layer_free(l);
}

/* The index goes after its layer. */
static int drop_row(struct layers *ls, const struct digest *d, const struct row *row)
{
    struct store_batch *batch;
    char holder[DIGEST_TEXT_MAX + 16];
    uint8_t key[65];
    int r = 0;

    if (row->state == ROW_INDEXED)
        r = blob_release(ls->store, &row->index, holder_of(d, holder));
    if (r < 0 && r != -ENOENT)
        return r;
    batch = store_batch_new(ls->store, PART_LAYERS);
    store_batch_delete(batch, slice_of(key, digest_put(d, key)));
    return store_commit(batch, 0);
}

static int sweep_row(struct layers *ls, struct slice key, struct slice value)
{
    struct blob_stat st;
    struct digest d;
    struct row row = {0};
    int r;

    if (digest_get(key, &d) < 0)
        return 0;
    if (row_parse(value, &row) < 0)
        row.state = ROW_REFUSED; /* damaged: nothing to release */
    r = blob_stat(ls->store, &d, &st);
    return r == -ENOENT ? drop_row(ls, &d, &row) : r;
}

int layers_sweep(struct layers *ls)
{
    struct slice key, value;
    struct store_scan *scan;
    int r = store_scan(ls->store, PART_LAYERS, (struct slice){0}, (struct slice){0}, 0, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        r = sweep_row(ls, key, value);
        if (r < 0)
            break;
    }
    store_scan_free(scan);
    return r;
}
