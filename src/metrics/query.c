#include "metrics/query.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdlib.h>

/* A place in one run; ids are asked in ascending order. */
struct cursor {
    struct store_scan *scan;
    struct store_scan *payloads; /* NULL: the run has none */
    struct since_reader *since;  /* NULL: it has none, or none is asked for */
    struct group *group;         /* NULL: none loaded */
    bool tier;
    enum coarse plane;
    uint64_t first, last;
    bool ended;
};

struct wanted {
    uint64_t id;
    uint32_t ref;
};

struct query {
    struct db *db;
    int64_t from_ms, to_ms;
    unsigned flags;
    struct wanted *series;
    size_t n_series, at;
    struct cursor *cursors;
    size_t n_cursors;
    uint64_t flushes;      /* db->flushes when the cursors were opened */
    uint64_t head_flushes; /* when the head was read */
    bool opened;
    struct query_grain grain;
    int64_t window_ms;      /* of the tier that the cursors read; 0: none */
    bool windows;           /* raw samples by windows too */
    struct samples head; /* of the series at hand: what the head has; read first, but the newest */
    struct samples samples, coarse, counts;
    struct payload_list payloads; /* of the series at hand, encoded */
    struct since_list since;      /* of the series at hand, of one source */
    struct since_list told;       /* start of each sample of the sources that tell any */
    bool has_starts;              /* the series at hand has */
    int64_t *starts;
    size_t cap_starts;
    struct histogram **histograms;
    size_t n_histograms, cap_histograms;
    struct labels labels; /* of the series at hand, in room */
    struct label room[LABELS_MAX + 1];
};

static int wanted_cmp(const void *a, const void *b)
{
    const struct wanted *x = a;
    const struct wanted *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

int query_open(struct db *db, const struct matcher *matchers, size_t n, int64_t from_ms,
               int64_t to_ms, unsigned flags, struct query **ret)
{
    struct query *q = xcalloc(1, sizeof *q);
    struct refs refs;

    *q = (struct query){.db = db, .from_ms = from_ms, .to_ms = to_ms, .flags = flags};
    pthread_rwlock_rdlock(&db->lock);
    index_select(db->index, matchers, n, &refs);
    q->series = xmalloc((refs.n + 1) * sizeof *q->series);
    for (size_t i = 0; i < refs.n; i++)
        q->series[i] = (struct wanted){index_series(db->index, refs.items[i])->id, refs.items[i]};
    pthread_rwlock_unlock(&db->lock);
    q->n_series = refs.n;
    refs_done(&refs);
    qsort(q->series, q->n_series, sizeof *q->series, wanted_cmp);
    *ret = q;
    return 0;
}

static void cursors_close(struct query *q)
{
    for (size_t i = 0; i < q->n_cursors; i++) {
        group_free(q->cursors[i].group);
        store_scan_free(q->cursors[i].scan);
        store_scan_free(q->cursors[i].payloads);
        since_reader_free(q->cursors[i].since);
    }
    free(q->cursors);
    q->cursors = NULL;
    q->n_cursors = 0;
}

static void histograms_drop(struct query *q)
{
    for (size_t i = 0; i < q->n_histograms; i++)
        histogram_free(q->histograms[i]);
    q->n_histograms = 0;
}

void query_close(struct query *q)
{
    if (q == NULL)
        return;
    cursors_close(q);
    histograms_drop(q);
    free(q->histograms);
    payload_list_done(&q->payloads);
    since_list_done(&q->since);
    since_list_done(&q->told);
    free(q->starts);
    samples_done(&q->head);
    samples_done(&q->samples);
    samples_done(&q->coarse);
    samples_done(&q->counts);
    free(q->series);
    free(q);
}

void query_grain(struct query *q, const struct query_grain *grain)
{
    q->grain = *grain;
}

size_t query_series(const struct query *q)
{
    return q->n_series;
}

static int cursor_open(struct query *q, const struct run *run)
{
    struct cursor *c = &q->cursors[q->n_cursors];
    char beside[RUN_NAME_MAX];
    int r = store_bulk_scan(q->db->store, STORE_SAMPLES, slice_str(run->part), SLICE(""),
                            SLICE(""), 0, &c->scan);

    c->tier = run->tier_ms > 0;
    c->plane = run->plane;
    if (r == 0 && (run->beside & BESIDE_PAYLOADS) != 0) {
        beside_name(beside, BESIDE_PAYLOADS, run->part);
        r = store_bulk_scan(q->db->store, STORE_SAMPLES, slice_str(beside), SLICE(""), SLICE(""),
                            0, &c->payloads);
    }
    if (r == 0 && (run->beside & BESIDE_STARTS) != 0 && (q->flags & QUERY_STARTS) != 0) {
        beside_name(beside, BESIDE_STARTS, run->part);
        r = since_reader_new(q->db->store, beside, &c->since);
    }
    if (r < 0) {
        store_scan_free(c->scan);
        store_scan_free(c->payloads);
        *c = (struct cursor){0};
    }
    if (r == -ENOENT)
        return 0; /* dropped by retention meanwhile */
    q->n_cursors += r == 0;
    return r;
}

struct query *query_split(struct query *q, size_t n)
{
    struct query *rest = xcalloc(1, sizeof *rest);

    *rest = (struct query){
        .db = q->db, .from_ms = q->from_ms, .to_ms = q->to_ms, .flags = q->flags,
        .grain = q->grain};
    rest->n_series = q->n_series - n;
    rest->series = xmemdup(q->series + n, rest->n_series * sizeof *q->series);
    q->n_series = n;
    return rest;
}

#define STEP_WINDOWS  5  /* so many in a step: then the tier will do (as Thanos' auto-downsampling) */
#define RANGE_WINDOWS 4  /* and so many in a range */
#define MIXED_WINDOWS 12 /* a range as long as this weighs all its samples the same */

static bool is_coarse(const struct query *q, int64_t window_ms)
{
    const struct query_grain *g = &q->grain;

    return g->step_ms >= STEP_WINDOWS * window_ms &&
           (g->range_ms == 0 || g->range_ms >= RANGE_WINDOWS * window_ms);
}

/* Of a day: the tier, the raw runs, or, while one is not of the other, both. */
static bool reads(const struct query *q, const struct day *day, const struct run *run)
{
    enum coarse plane = q->grain.plane;

    if (run->start_ms > q->to_ms ||
        run->end_ms <= q->from_ms - (q->grain.instant ? run->tier_ms : 0))
        return false;
    if ((q->flags & (QUERY_RAW | QUERY_WINDOWS)) == QUERY_WINDOWS)
        return run->tier_ms == 0 || run->plane == plane || run->plane == COARSE_LAST;
    if (run->tier_ms == 0)
        return (q->flags & QUERY_RAW) != 0 || day->n_tier == 0 || !day->current ||
               !is_coarse(q, day->tier_ms);
    if ((q->flags & QUERY_RAW) != 0 ||
        (day->current && day->n_raw > 0 && !is_coarse(q, day->tier_ms)))
        return false;
    return run->plane == COARSE_LAST || run->plane == plane ||
           (plane == COARSE_AVG && (run->plane == COARSE_SUM || run->plane == COARSE_COUNT));
}

/* Which runs there are to read; under the lock. */
static size_t choose_runs(struct query *q, struct run *runs)
{
    struct db *db = q->db;
    struct day day;
    size_t n = 0;

    q->window_ms = 0;
    q->windows = (q->flags & QUERY_WINDOWS) != 0;
    for (size_t i = 0; i < db->n_runs; i += day.n) {
        day_look(db, i, &day);
        for (size_t k = i; k < i + day.n; k++) {
            if (!reads(q, &day, &db->runs[k]))
                continue;
            runs[n++] = db->runs[k];
            if (db->runs[k].tier_ms == 0)
                continue;
            q->window_ms = db->runs[k].tier_ms;
            q->windows = q->windows || (day.n_raw > 0 && !day.current);
        }
    }
    q->windows = q->windows ||
                 (q->window_ms > 0 && (is_coarse(q, q->window_ms) ||
                                       q->grain.range_ms >= MIXED_WINDOWS * q->window_ms));
    if ((q->flags & QUERY_WINDOWS) != 0)
        q->window_ms = db->options.downsample_ms;
    return n;
}

static int cursors_open(struct query *q)
{
    struct db *db = q->db;
    struct run *runs;
    size_t n;
    int r = 0;

    cursors_close(q);
    pthread_rwlock_rdlock(&db->lock);
    runs = xmalloc((db->n_runs + 1) * sizeof *runs);
    n = choose_runs(q, runs);
    q->flushes = db->flushes;
    pthread_rwlock_unlock(&db->lock);
    q->opened = true;
    q->cursors = xcalloc(n + 1, sizeof *q->cursors);
    for (size_t i = 0; i < n && r >= 0; i++)
        r = cursor_open(q, &runs[i]);
    free(runs);
    return r;
}

static int cursor_load(struct query *q, struct cursor *c)
{
    struct slice key;
    struct slice value;
    const uint64_t *ids;
    size_t n = 0;
    int r = store_scan_next(c->scan, &key, &value);

    group_free(c->group);
    c->group = NULL;
    if (r <= 0) {
        c->ended = true;
        return r;
    }
    r = group_cache_open(q->db->groups, value, &c->group);
    if (r < 0)
        return r;
    ids = group_ids(c->group, &n);
    if (n == 0)
        return -EIO;
    c->first = ids[0];
    c->last = ids[n - 1];
    return 0;
}

/* Moves to the first group that may hold id: its key is the last id in it. */
static int cursor_find(struct query *q, struct cursor *c, uint64_t id)
{
    bool fresh = c->group == NULL;
    uint8_t key[8];
    int r;

    if (c->ended || (!fresh && c->last >= id))
        return 0;
    if (!fresh) {
        r = cursor_load(q, c); /* often the very next */
        if (r < 0 || c->ended || c->last >= id)
            return r;
    }
    be64_put(key, id);
    store_scan_seek(c->scan, slice_of(key, sizeof key));
    return cursor_load(q, c);
}

/* The starts in `since` are those of the samples from `first` on. */
static void tell_starts(struct query *q, const struct samples *s, size_t first)
{
    struct since_list *t = &q->told;

    if (q->since.n == 0 || first == s->n)
        return;
    q->has_starts = true;
    if (t->cap - t->n < s->n - first) {
        t->cap = (uint32_t)(t->n + 2 * (s->n - first));
        t->items = xrealloc(t->items, t->cap * sizeof *t->items);
    }
    for (size_t i = first; i < s->n; i++)
        t->items[t->n++] = (struct since){s->ts[i], since_at(&q->since, s->ts[i])};
}

static int cursor_starts(struct query *q, struct cursor *c, uint64_t id, const struct samples *s,
                         size_t first)
{
    int r = s->n > first ? since_reader_get(c->since, id, &q->since) : 0;

    if (r == 0 && s->n > first)
        tell_starts(q, s, first);
    return r;
}

static int cursor_read(struct query *q, struct cursor *c, uint64_t id, struct samples *out)
{
    size_t first = out->n;
    int64_t from_ms = q->from_ms - (c->tier && q->grain.instant ? q->window_ms : 0);
    int r = cursor_find(q, c, id);

    while (r == 0 && !c->ended && c->first <= id) {
        group_read(c->group, id, from_ms, q->to_ms, out);
        if (c->last > id)
            break;
        r = cursor_load(q, c); /* a long series goes on in the next group */
    }
    return r == 0 && c->since != NULL ? cursor_starts(q, c, id, out, first) : r;
}

static void read_stream(struct query *q, const struct stream *s)
{
    if (s->count == 0 || s->first_ms > q->to_ms || s->last_ms < q->from_ms)
        return;
    if ((q->flags & QUERY_LAST) != 0 && s->last_ms <= q->to_ms) {
        samples_add(&q->head, s->last_ms, s->last_bits);
        return;
    }
    stream_take(s, q->from_ms, q->to_ms, &q->head);
}

static void head_starts(struct query *q, uint32_t ref)
{
    const struct since_list *l = sinces_of(q->db->sinces, ref);
    struct since_list own = q->since;

    if (l == NULL)
        return;
    q->since = *l;
    tell_starts(q, &q->head, 0);
    q->since = own;
}

/* The head first and then the runs: a flush in between shows a sample twice, never not at all. */
static bool read_head(struct query *q, uint32_t ref)
{
    const struct series *s;
    bool enough;

    pthread_rwlock_rdlock(&q->db->lock);
    s = index_series(q->db->index, ref);
    for (const struct sealed *p = s->sealed; p != NULL; p = p->next)
        read_stream(q, &p->stream);
    read_stream(q, &s->open);
    payloads_read(q->db->payloads, ref, q->from_ms, q->to_ms, &q->payloads);
    if (s->since && (q->flags & QUERY_STARTS) != 0)
        head_starts(q, ref);
    enough = (q->flags & QUERY_LAST) != 0 && s->open.count > 0 && s->open.last_ms <= q->to_ms &&
             s->open.last_ms >= q->from_ms;
    q->labels = index_labels(q->db->index, s, q->room);
    q->head_flushes = q->db->flushes;
    pthread_rwlock_unlock(&q->db->lock);
    return enough;
}

/* A plane of the tier, and behind it what is raw, which counts where both have a time. */
static int read_plane(struct query *q, uint64_t id, enum coarse plane, struct samples *out)
{
    size_t n_tier;
    int r = 0;

    out->n = 0;
    for (size_t i = 0; i < q->n_cursors && r == 0; i++)
        if (q->cursors[i].tier && q->cursors[i].plane == plane)
            r = cursor_read(q, &q->cursors[i], id, out);
    if (out->n == 0 && plane != COARSE_LAST) /* histograms stand there alone */
        for (size_t i = 0; i < q->n_cursors && r == 0; i++)
            if (q->cursors[i].tier && q->cursors[i].plane == COARSE_LAST)
                r = cursor_read(q, &q->cursors[i], id, out);
    n_tier = out->n;
    if (q->windows)
        coarse_add(plane, q->window_ms, &q->samples, out);
    if (q->windows && plane != COARSE_LAST)
        coarse_supersede(q->window_ms, out, n_tier);
    for (size_t i = 0; i < q->samples.n && !q->windows; i++) {
        uint64_t bits = q->samples.bits[i];
        bool counts = plane == COARSE_COUNT && bits != VALUE_STALE_BITS && bits != HISTOGRAM_BITS;

        samples_add(out, q->samples.ts[i], counts ? double_bits(1) : bits);
    }
    samples_order(out);
    return r;
}

/* The raw samples that were read become those of the plane, among the tier's. */
static int read_tier(struct query *q, uint64_t id)
{
    bool average = q->grain.plane == COARSE_AVG;
    struct samples raw = q->samples;
    int r = read_plane(q, id, average ? COARSE_SUM : q->grain.plane, &q->coarse);

    if (r == 0 && average)
        r = read_plane(q, id, COARSE_COUNT, &q->counts);
    if (r == 0 && average)
        coarse_divide(&q->coarse, &q->counts);
    q->samples = q->coarse;
    q->coarse = raw;
    return r;
}

static int read_series(struct query *q, const struct wanted *w)
{
    bool enough;
    int r = 0;

    q->samples.n = q->head.n = 0;
    payload_list_clear(&q->payloads);
    q->told.n = 0;
    q->has_starts = false;
    enough = read_head(q, w->ref);
    if (!enough && (!q->opened || q->head_flushes != q->flushes))
        r = cursors_open(q);
    for (size_t i = 0; i < q->n_cursors && r >= 0 && !enough; i++)
        if (!q->cursors[i].tier)
            r = cursor_read(q, &q->cursors[i], w->id, &q->samples);
    if (r < 0)
        return r;
    samples_append(&q->samples, &q->head);
    samples_order(&q->samples);
    return q->window_ms > 0 ? read_tier(q, w->id) : 0;
}

/* Payloads of runs, where the head has not all that is needed. */
static int payloads_load(struct query *q, uint64_t id, size_t skip)
{
    struct slice bytes;
    int r = 0;

    for (; skip < q->samples.n; skip++)
        if (q->samples.bits[skip] == HISTOGRAM_BITS &&
            !payload_list_get(&q->payloads, q->samples.ts[skip], &bytes))
            break;
    if (skip == q->samples.n)
        return 0;
    if (!q->opened || q->head_flushes != q->flushes)
        r = cursors_open(q);
    for (size_t i = 0; i < q->n_cursors && r >= 0; i++)
        if (q->cursors[i].payloads != NULL)
            r = payload_rows_read(q->cursors[i].payloads, id, q->samples.ts[skip], q->to_ms,
                                  &q->payloads);
    return r < 0 ? r : 0;
}

static int histogram_read(struct query *q, size_t at, struct histogram **ret)
{
    struct slice bytes;
    int r;

    *ret = NULL;
    if (!payload_list_get(&q->payloads, q->samples.ts[at], &bytes))
        return -EIO;
    if (bytes.len == 0)
        return 0;
    r = histogram_decode(&bytes, ret);
    if (r == 0 && histogram_stale(*ret))
        q->samples.bits[at] = VALUE_STALE_BITS;
    return r;
}

/* The histograms among the samples from `skip` on, in an array beside them; none: no array. */
static int histograms_load(struct query *q, uint64_t id, size_t skip)
{
    size_t n = q->samples.n - skip;
    size_t first = skip;
    int r;

    histograms_drop(q);
    while (first < q->samples.n && q->samples.bits[first] != HISTOGRAM_BITS)
        first++;
    if (first == q->samples.n)
        return 0;
    r = payloads_load(q, id, first);
    if (r < 0)
        return r;
    if (q->cap_histograms < n) {
        q->cap_histograms = n;
        q->histograms = xrealloc(q->histograms, n * sizeof *q->histograms);
    }
    for (size_t i = 0; i < n; i++)
        q->histograms[i] = NULL;
    q->n_histograms = n;
    for (size_t i = first; i < q->samples.n && r == 0; i++)
        if (q->samples.bits[i] == HISTOGRAM_BITS)
            r = histogram_read(q, i, &q->histograms[i - skip]);
    return r;
}

static int told_cmp(const void *a, const void *b)
{
    const struct since *x = a;
    const struct since *y = b;

    return x->ts_ms < y->ts_ms ? -1 : x->ts_ms > y->ts_ms;
}

/* The starts of the samples from `skip` on. */
static const int64_t *starts_load(struct query *q, size_t skip)
{
    struct since_list *t = &q->told;
    bool sorted = true;
    uint32_t at = 0;

    if (!q->has_starts)
        return NULL;
    for (uint32_t i = 1; i < t->n; i++)
        sorted = sorted && t->items[i - 1].ts_ms <= t->items[i].ts_ms;
    if (!sorted)
        qsort(t->items, t->n, sizeof *t->items, told_cmp);
    if (q->cap_starts < q->samples.n) {
        q->cap_starts = q->samples.n + q->samples.n / 4;
        free(q->starts);
        q->starts = xmalloc(q->cap_starts * sizeof *q->starts);
    }
    for (size_t i = skip; i < q->samples.n; i++) {
        while (at < t->n && t->items[at].ts_ms < q->samples.ts[i])
            at++;
        q->starts[i] =
            at < t->n && t->items[at].ts_ms == q->samples.ts[i] ? t->items[at].start_ms : 0;
    }
    return q->starts + skip;
}

int query_next(struct query *q, struct query_item *ret)
{
    while (q->at < q->n_series) {
        const struct wanted *w = &q->series[q->at++];
        int r = read_series(q, w);
        size_t skip;

        if (r < 0)
            return r;
        if (q->samples.n == 0)
            continue;
        skip = (q->flags & QUERY_LAST) != 0 ? q->samples.n - 1 : 0;
        r = histograms_load(q, w->id, skip);
        if (r < 0)
            return r;
        samples_need(&q->samples, 1);
        q->samples.bits[q->samples.n] = VALUE_STALE_BITS;
        *ret = (struct query_item){
            .ref = w->ref,
            .labels = q->labels,
            .ts = q->samples.ts + skip,
            .bits = q->samples.bits + skip,
            .histograms = q->n_histograms > 0
                              ? (const struct histogram *const *)q->histograms
                              : NULL,
            .n = q->samples.n - skip,
            .starts = starts_load(q, skip),
            .window_ms = q->window_ms,
            .number = q->at - 1,
        };
        return 1;
    }
    return 0;
}
