/* Any bytes of a layer's archive: from the last point where its stream can be entered, unpacked
 * slice by slice into the cache. A stream that was left in the middle rests for a while: who reads
 * on goes on there. */
#include "images/rootfs/layer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>
#include <utlist.h>

#define KEPT_SLICES 4u /* before the one that is wanted */

struct decoder {
    struct decoder *prev, *next;
    struct unpack *unpack;
    struct layer_bytes *bytes;
    uint64_t layer_id;
    uint32_t point;
    size_t memory;
    int64_t rested_ms;
};

int layer_bytes_open(struct layers *ls, const struct digest *d, struct layer_bytes **ret)
{
    struct layer_bytes *b = xcalloc(1, sizeof *b);
    int r = blob_open(ls->store, d, &b->blob);

    if (r < 0) {
        free(b);
        return r;
    }
    b->refs = 1;
    *ret = b;
    return 0;
}

void layer_bytes_unref(struct layer_bytes *b)
{
    if (b == NULL || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    blob_close(b->blob);
    free(b);
}

static ssize_t read_blob(void *ctx, uint64_t offset, void *buf, size_t n)
{
    return blob_read(ctx, offset, buf, n);
}

static void decoder_free(struct decoder *d)
{
    if (d == NULL)
        return;
    unpack_free(d->unpack);
    layer_bytes_unref(d->bytes);
    free(d);
}

/* One that rests at or before the offset, behind the same point; NULL. And leave to work. */
static struct decoder *take_resting(struct layers *ls, uint64_t layer_id, uint32_t point,
                                    uint64_t offset)
{
    struct decoder *best = NULL, *d;
    guard(&ls->lock);

    while (ls->decoding == LAYER_DECODERS)
        pthread_cond_wait(&ls->changed, &ls->lock);
    ls->decoding++;
    DL_FOREACH(ls->resting, d)
        if (d->layer_id == layer_id && d->point == point && unpack_offset(d->unpack) <= offset &&
            (best == NULL || unpack_offset(d->unpack) > unpack_offset(best->unpack)))
            best = d;
    if (best != NULL)
        DL_DELETE(ls->resting, best);
    return best;
}

/* The decoder that rests longest, if there is too much at rest. */
static struct decoder *surplus(struct layers *ls)
{
    struct decoder *oldest = ls->resting, *d;
    size_t n = 0, bytes = 0;

    DL_FOREACH(ls->resting, d) {
        n++;
        bytes += d->memory;
    }
    if (n < 2 || (n <= LAYER_DECODERS && bytes <= LAYER_REST_BYTES))
        return NULL;
    DL_DELETE(ls->resting, oldest);
    return oldest;
}

/* Work is done; `d` may rest, NULL: it is gone. */
static void put_back(struct layers *ls, struct decoder *d)
{
    struct decoder *out = NULL;

    pthread_mutex_lock(&ls->lock);
    ls->decoding--;
    pthread_cond_broadcast(&ls->changed);
    if (d != NULL) {
        d->rested_ms = clock_monotonic_ms();
        d->memory = unpack_memory(d->unpack);
        DL_APPEND(ls->resting, d);
    }
    do {
        out = surplus(ls);
        pthread_mutex_unlock(&ls->lock);
        decoder_free(out);
        pthread_mutex_lock(&ls->lock);
    } while (out != NULL);
    pthread_mutex_unlock(&ls->lock);
}

void layers_rest(struct layers *ls, int64_t before_ms)
{
    struct decoder *d;

    do {
        pthread_mutex_lock(&ls->lock);
        d = ls->resting;
        if (d != NULL && d->rested_ms > before_ms)
            d = NULL;
        if (d != NULL)
            DL_DELETE(ls->resting, d);
        pthread_mutex_unlock(&ls->lock);
        decoder_free(d);
    } while (d != NULL);
}

/* What a slice is made from. */
struct wanted {
    struct layer *layer;
    struct layer_bytes *bytes;
    struct index_point at;
    uint32_t point;
    uint64_t end; /* of what belongs to the point */
};

static uint64_t slice_number(uint32_t point, uint64_t slice)
{
    return (uint64_t)point << 28 | slice;
}

static int enter(const struct wanted *w, struct decoder **ret)
{
    struct unpack_source source = {read_blob, w->bytes->blob, blob_size(w->bytes->blob)};
    struct decoder *d;
    autobuf window = {0};
    int r = layer_index_window_get(&w->layer->index, &w->at, &window);

    if (r < 0)
        return r;
    d = xcalloc(1, sizeof *d);
    __atomic_fetch_add(&w->bytes->refs, 1, __ATOMIC_RELAXED);
    d->bytes = w->bytes;
    d->layer_id = w->layer->id;
    d->point = w->point;
    d->unpack =
        unpack_new(&source, w->layer->index.foot.kind, &w->at.at, buf_slice(&window), false);
    *ret = d;
    return 0;
}

/* The slice that comes next. */
static int next_slice(struct decoder *d, size_t len, struct chunk **ret)
{
    struct chunk *c = chunk_new(len);
    size_t have = 0;
    ssize_t n = c != NULL ? 1 : -ENOMEM;

    while (n > 0 && have < len) {
        n = unpack_next(d->unpack, c->data + have, len - have);
        have += n > 0 ? (size_t)n : 0;
    }
    if (have == len) {
        *ret = c;
        return 0;
    }
    chunk_unref(c);
    /* It was good when it was indexed. */
    return n < 0 && n != -EBADMSG && n != -EFBIG ? (int)n : -EIO;
}

/* Unpacks up to the slice. Those just before it are kept: reads come a little out of order. */
static int decode(struct decoder *d, const struct wanted *w, uint64_t slice, struct chunk **ret)
{
    uint64_t start = w->at.at.out;
    int r = 0;

    while (r == 0 && *ret == NULL) {
        uint64_t offset = unpack_offset(d->unpack), i = (offset - start) / LAYER_SLICE_BYTES;
        uint64_t left = w->end - offset;
        struct chunk *c = NULL;

        r = next_slice(d, left < LAYER_SLICE_BYTES ? (size_t)left : LAYER_SLICE_BYTES, &c);
        if (r == 0 && i == slice)
            *ret = c;
        else if (r == 0 && i + KEPT_SLICES >= slice)
            chunks_put(w->layer->layers->chunks, 2 * w->layer->id + 1, slice_number(w->point, i),
                       c);
        else
            chunk_unref(c);
    }
    return r;
}

static int load_slice(void *ctx, uint64_t number, struct chunk **ret)
{
    const struct wanted *w = ctx;
    struct layers *ls = w->layer->layers;
    uint64_t slice = number & ((UINT64_C(1) << 28) - 1);
    struct decoder *d =
        take_resting(ls, w->layer->id, w->point, w->at.at.out + slice * LAYER_SLICE_BYTES);
    int r = d != NULL ? 0 : enter(w, &d);

    if (r == 0)
        r = decode(d, w, slice, ret);
    if (d != NULL && (r < 0 || unpack_offset(d->unpack) >= w->end)) {
        decoder_free(d);
        d = NULL;
    }
    put_back(ls, d);
    return r;
}

/* From one slice; how many bytes. */
static ssize_t read_some(struct layer *l, struct layer_bytes *bytes, uint64_t offset, void *buf,
                         size_t n)
{
    struct wanted w = {.layer = l, .bytes = bytes};
    struct chunk *c = NULL;
    uint64_t slice, within;
    int r = layer_index_point_find(&l->index, offset, &w.at, &w.point, &w.end);

    if (r < 0)
        return r;
    slice = (offset - w.at.at.out) / LAYER_SLICE_BYTES;
    within = (offset - w.at.at.out) % LAYER_SLICE_BYTES;
    if (slice >> 28 != 0)
        return -EIO;
    r = chunks_get(l->layers->chunks, 2 * l->id + 1, slice_number(w.point, slice), load_slice, &w,
                   &c);
    if (r < 0)
        return r;
    if (within >= c->len) {
        chunk_unref(c);
        return -EIO;
    }
    n = c->len - within < n ? c->len - (size_t)within : n;
    memcpy(buf, c->data + within, n);
    chunk_unref(c);
    return (ssize_t)n;
}

ssize_t layer_read(struct layer *l, struct layer_bytes *bytes, uint64_t offset, void *buf, size_t n)
{
    size_t done = 0;

    if (l->index.foot.kind == UNPACK_PLAIN)
        return blob_read(bytes->blob, offset, buf, n);
    while (done < n && offset + done < l->index.foot.stream_bytes) {
        ssize_t r = read_some(l, bytes, offset + done, (char *)buf + done, n - done);

        if (r < 0)
            return r == -EBADMSG ? -EIO : r;
        done += (size_t)r;
    }
    return (ssize_t)done;
}
