#include "metrics/scrape/nhcb.h"

#include "base/alloc.h"
#include "base/quote.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define BUCKETS_MAX 1000 /* of one histogram; with more it stays classic */

struct bucket {
    double bound, count; /* cumulative */
};

struct conversion {
    struct exposition x;
    struct op op;
    struct protobuf_text *marks, *ret;
    size_t at_mark;
    bool keep_classic;
    struct slice family; /* of the last TYPE line */
    bool is_histogram;
    /* The histogram at hand: */
    struct buf key; /* name and labels as they are written; empty: none */
    struct bucket buckets[BUCKETS_MAX];
    size_t n;
    bool has_count, has_sum, timed, ordered;
    double count, sum;
    int64_t ts_ms;
};

static struct protobuf_mark *mark_add(struct conversion *c)
{
    struct protobuf_text *t = c->ret;

    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 64 : 2 * t->cap;
        t->marks = xrealloc(t->marks, t->cap * sizeof *t->marks);
    }
    t->marks[t->n] = (struct protobuf_mark){.offset = t->text.len};
    return &t->marks[t->n++];
}

/* The entry just read, with what stands beside it. */
static void copy_entry(struct conversion *c, const char *body)
{
    size_t offset = (size_t)(c->x.start - body);
    struct protobuf_mark *m = c->at_mark < c->marks->n ? &c->marks->marks[c->at_mark] : NULL;

    if (m != NULL && m->offset == offset) {
        struct protobuf_mark *mine = mark_add(c);
        size_t at = mine->offset;

        *mine = *m;
        mine->offset = at;
        m->histogram = NULL; /* it moved */
        c->at_mark++;
    }
    buf_add(&c->ret->text, c->x.start, (size_t)(c->x.p - c->x.start));
    if (c->x.p == c->x.start || c->x.p[-1] != '\n')
        buf_add_char(&c->ret->text, '\n');
}

static bool is_whole(double v)
{
    return v >= 0 && v < 9007199254740992.0 && v == floor(v);
}

/* As Prometheus' convertnhcb: without a count the last bucket has it, and what lies above the last
 * bound is in a bucket of its own. NULL: these numbers make no histogram. */
static struct histogram *make(struct conversion *c)
{
    size_t n_bounds = c->n > 0 && isinf(c->buckets[c->n - 1].bound) ? c->n - 1 : c->n;
    struct histogram_shape shape = {
        .positive_spans = 1, .positive = n_bounds + 1, .custom = n_bounds};
    struct histogram *h;
    double before = 0;
    autobuf why = {0};

    if (!c->has_count)
        c->count = c->n > 0 ? c->buckets[c->n - 1].count : 0;
    if (!c->ordered || (c->n == 0 && !c->has_count && !c->has_sum))
        return NULL;
    h = histogram_new(&shape);
    if (h == NULL)
        return NULL;
    h->schema = HISTOGRAM_CUSTOM;
    h->count = c->count;
    h->sum = c->sum;
    h->integer = is_whole(c->count);
    h->positive.spans[0] = (struct histogram_span){0, (uint32_t)n_bounds + 1};
    for (size_t i = 0; i <= n_bounds; i++) {
        double upto = i < c->n ? c->buckets[i].count : c->count;

        if (i < n_bounds)
            h->custom[i] = c->buckets[i].bound;
        h->integer = h->integer && is_whole(upto);
        h->positive.counts[i] = upto - before;
        before = upto;
    }
    if (histogram_check(h, &why) == 0)
        return h;
    histogram_free(h);
    return NULL;
}

static void flush(struct conversion *c)
{
    struct histogram *h;
    struct protobuf_mark *m;

    if (c->key.len == 0)
        return;
    h = make(c);
    if (h != NULL) {
        m = mark_add(c);
        m->timed = c->timed;
        m->ts_ms = c->ts_ms;
        m->histogram = h;
        buf_add_slice(&c->ret->text, buf_slice(&c->key));
        buf_add_str(&c->ret->text, " 0\n");
    }
    buf_clear(&c->key);
    c->n = 0;
    c->has_count = c->has_sum = c->timed = false;
    c->ordered = true;
    c->count = c->sum = 0;
}

enum part { PART_NONE, PART_BUCKET, PART_SUM, PART_COUNT };

static enum part part_of(const struct conversion *c, struct slice metric)
{
    static const struct {
        const char *suffix;
        enum part part;
    } parts[] = {{"_bucket", PART_BUCKET}, {"_sum", PART_SUM}, {"_count", PART_COUNT}};
    struct slice rest;

    if (!c->is_histogram || metric.len <= c->family.len ||
        memcmp(metric.data, c->family.data, c->family.len) != 0)
        return PART_NONE;
    rest = slice_skip(metric, c->family.len);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (slice_eq(rest, slice_str(parts[i].suffix)))
            return parts[i].part;
    return PART_NONE;
}

static void add_bucket(struct conversion *c, struct slice le, double v)
{
    double bound = 0;
    autobuf why = {0};

    if (value_parse(le, &bound, &why) < 0 || isnan(bound) || c->n == BUCKETS_MAX ||
        (c->n > 0 && (bound <= c->buckets[c->n - 1].bound || v < c->buckets[c->n - 1].count))) {
        c->ordered = false;
        return;
    }
    c->buckets[c->n++] = (struct bucket){bound, v};
}

/* One line of a classic histogram. */
static int take_part(struct conversion *c, enum part part)
{
    struct exposition *x = &c->x;
    struct labels l;
    struct slice le = SLICE("");
    autobuf key = {0};
    int r = exposition_labels(x, &c->op, &l);

    if (r < 0)
        return r;
    buf_add_char(&key, '{');
    quote_put(&key, c->family);
    for (size_t i = 0; i < l.n; i++) {
        if (slice_eq(l.items[i].name, LABEL_NAME))
            continue;
        if (slice_eq(l.items[i].name, SLICE("le"))) {
            le = l.items[i].value;
            continue;
        }
        buf_add_char(&key, ',');
        quote_put(&key, l.items[i].name);
        buf_add_char(&key, '=');
        quote_put(&key, l.items[i].value);
    }
    buf_add_char(&key, '}');
    if (!slice_eq(buf_slice(&key), buf_slice(&c->key))) {
        flush(c);
        buf_add_slice(&c->key, buf_slice(&key));
    }
    if (x->has_timestamp) {
        c->timed = true;
        c->ts_ms = x->timestamp_ms;
    }
    if (part == PART_BUCKET)
        add_bucket(c, le, x->value);
    c->has_sum = c->has_sum || part == PART_SUM;
    c->has_count = c->has_count || part == PART_COUNT;
    if (part == PART_SUM)
        c->sum = x->value;
    if (part == PART_COUNT)
        c->count = x->value;
    return 0;
}

static int convert(struct conversion *c, const char *body)
{
    int e;

    while ((e = exposition_next(&c->x)) > 0) {
        size_t offset = (size_t)(c->x.start - body);
        enum part part = PART_NONE;

        if (e == EXPOSITION_TYPE) {
            flush(c);
            c->family = c->x.name;
            c->is_histogram = c->x.type == METRIC_HISTOGRAM;
        } else if (e == EXPOSITION_SAMPLE) {
            part = part_of(c, c->x.metric);
            if (part == PART_NONE)
                flush(c);
            else
                e = take_part(c, part);
        }
        if (e < 0)
            return e;
        if (part == PART_NONE || c->keep_classic)
            copy_entry(c, body);
        else if (c->at_mark < c->marks->n && c->marks->marks[c->at_mark].offset == offset)
            c->at_mark++; /* its time is that of the whole */
    }
    flush(c);
    return e;
}

int nhcb_convert(enum exposition_format format, struct slice body, struct protobuf_text *marks,
                 bool keep_classic, struct protobuf_text *ret, struct buf *why)
{
    struct conversion *c = xcalloc(1, sizeof *c);
    int r;

    *ret = (struct protobuf_text){0};
    c->marks = marks;
    c->ret = ret;
    c->keep_classic = keep_classic;
    c->ordered = true;
    op_init(&c->op, DOOR_INTERNAL, NULL);
    exposition_init(&c->x, format, body);
    r = convert(c, body.data);
    if (r == 0 && format == EXPOSITION_OPENMETRICS)
        buf_add_str(&ret->text, "# EOF\n");
    if (r < 0)
        buf_add_slice(why, buf_slice(&c->x.why));
    exposition_done(&c->x);
    op_done(&c->op);
    buf_done(&c->key);
    free(c);
    return r;
}
