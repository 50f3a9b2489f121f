#include "metrics/promql/histogram_math.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>

#define PARALLEL_MIN 48 /* series: below, a second thread costs more than it saves */

struct look look_of(const struct moment *m)
{
    return (struct look){m->at != AT_NONE, m->at_ms, m->offset_ms};
}

struct worker {
    struct evaluator *ev;
    const struct select_visit *visit;
    struct query *q;
    size_t base; /* place of its first series */
    int64_t from_ms;
    unsigned number;
    int r;
    pthread_t thread;
};

/* The histograms of a series with what each says of the one before it, where it does not yet. Of
 * the first in the range itself only that it follows no reset is told: Prometheus has it from the
 * chunk, and a chunk that begins with a reset does not say so. */
static const struct histogram *const *told_resets(struct mem *m, const struct query_item *item,
                                                  int64_t from_ms)
{
    const struct histogram **told = mem_get(m, item->n * sizeof *told);
    const struct histogram *before = NULL;
    bool first = true;

    for (size_t i = 0; i < item->n; i++) {
        const struct histogram *h = item->histograms[i];
        struct histogram *copy;

        told[i] = h;
        if (h == NULL || item->bits[i] == VALUE_STALE_BITS)
            continue;
        if (before != NULL && h->reset == HISTOGRAM_RESET_UNKNOWN) {
            copy = mem_get(m, sizeof *copy);
            *copy = *h;
            if (!histogram_is_reset(h, before))
                copy->reset = HISTOGRAM_NO_RESET;
            else if (!first)
                copy->reset = HISTOGRAM_RESET;
            told[i] = copy;
        }
        first = first && item->ts[i] < from_ms;
        before = h;
    }
    return told;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct mem m = {.ev = w->ev};
    struct query_item item;
    int r;

    while ((r = query_next(w->q, &item)) > 0) {
        eval_count(w->ev, item.n);
        if (item.histograms != NULL && eval_counts_only(w->ev))
            item.histograms = told_resets(&m, &item, w->from_ms);
        r = w->visit->series(w->visit->ctx, &m, w->number, w->base + item.number, &item);
        if (r == 0)
            r = eval_check(w->ev);
        if (r < 0)
            break;
    }
    w->r = r;
    return NULL;
}

static int visit_all(struct evaluator *ev, struct query *q, const struct select_visit *visit,
                     int64_t from_ms)
{
    size_t n = query_series(q);
    struct worker w[WORKERS_MAX] = {{.ev = ev, .visit = visit, .q = q, .from_ms = from_ms}};
    struct query *second = NULL;

    if (n >= PARALLEL_MIN) {
        size_t half = n - n / 2;

        second = query_split(q, half);
        w[1] = w[0];
        w[1].q = second;
        w[1].base = half;
        w[1].number = 1;
        if (pthread_create(&w[1].thread, NULL, work, &w[1]) != 0) {
            work(&w[0]);
            work(&w[1]);
            query_close(second);
            return w[0].r < 0 ? w[0].r : w[1].r;
        }
    }
    work(&w[0]);
    if (second != NULL) {
        pthread_join(w[1].thread, NULL);
        query_close(second);
    }
    return w[0].r < 0 ? w[0].r : w[1].r;
}

int select_visit(struct evaluator *ev, const struct matcher *matchers, size_t n, int64_t from_ms,
                 int64_t to_ms, unsigned flags, const struct select_visit *visit)
{
    struct query *q = NULL;
    int64_t before = eval_counts_only(ev) ? ev->ev->lookback_ms : 0; /* for told_resets */
    int r = query_open(ev->ev->db, matchers, n, from_ms - before, to_ms, flags, &q);

    if (r == 0) {
        query_grain(q, &visit->grain);
        r = visit->begin(visit->ctx, query_series(q));
    }
    if (r == 0)
        r = visit_all(ev, q, visit, from_ms);
    query_close(q);
    return r < 0 ? r : 0;
}

struct instant {
    struct evaluator *ev;
    const struct frame *f;
    const struct look *look;
    enum select_what what;
    struct vector *ret;
};

static int instant_begin(void *ctx, size_t n)
{
    struct vector *v = ((struct instant *)ctx)->ret;

    v->rows = xcalloc(n + 1, sizeof *v->rows);
    v->n = v->cap = n;
    return 0;
}

static void put_sample(struct instant *x, struct mem *m, struct row *row, size_t i,
                       const struct query_item *item, size_t at)
{
    const struct histogram *h = item->histograms != NULL ? item->histograms[at] : NULL;

    if (x->what == SELECT_TIMES || (x->what == SELECT_FLOAT_TIMES && h == NULL)) {
        row->v[i] = (double)item->ts[at];
        return;
    }
    if (h == NULL) {
        row->v[i] = bits_double(item->bits[at]);
        return;
    }
    if (row->h == NULL)
        row->h = cells_histograms(x->ev, x->f->n);
    row->h[i] = histogram_clone(m, h);
}

/* At each step the newest sample of the lookback, unless it is a stale marker. */
static int instant_series(void *ctx, struct mem *m, unsigned worker, size_t number,
                          const struct query_item *item)
{
    struct instant *x = ctx;
    struct row row = {.v = cells_new(x->ev, x->f->n)};
    int64_t lookback = x->ev->ev->lookback_ms + item->window_ms;
    size_t at = 0;
    size_t last = SIZE_MAX;
    size_t found = 0;

    (void)worker;
    if (row.v == NULL)
        return eval_check(x->ev);
    for (size_t i = 0; i < x->f->n; i++) {
        int64_t t = look_ms(x->look, x->f, i);

        while (at + 1 < item->n && item->ts[at + 1] <= t)
            at++;
        if (item->ts[at] > t || item->ts[at] <= t - lookback || item->bits[at] == VALUE_STALE_BITS)
            continue;
        if (at == last && row.h != NULL && row.h[i - 1] != NULL)
            row.h[i] = row.h[i - 1];
        else
            put_sample(x, m, &row, i, item, at);
        last = at;
        found++;
    }
    eval_looked(x->ev, found);
    if (found == 0) {
        row_done(x->ev, &row, x->f->n);
        return 0;
    }
    row.labels = mem_labels(m, &item->labels);
    x->ret->rows[number] = row;
    return 0;
}

int select_rows(struct evaluator *ev, const struct matcher *matchers, size_t n,
                const struct look *look, enum select_what what, const struct frame *f,
                struct vector *ret)
{
    struct instant x = {ev, f, look, what, ret};
    struct select_visit visit = {
        instant_begin, instant_series, &x,
        {.step_ms = look_step_ms(look, f), .instant = true}};
    int64_t from = look_ms(look, f, 0) - ev->ev->lookback_ms + 1;
    int64_t to = look_ms(look, f, f->n - 1);
    bool last = to - from < ev->ev->lookback_ms && !eval_counts_only(ev);
    int r = select_visit(ev, matchers, n, from, to, last ? QUERY_LAST : 0, &visit);

    if (r == 0)
        vector_compact(ev, ret, f->n);
    return r;
}

int select_instant(struct evaluator *ev, const struct expr *e, const struct frame *f,
                   struct vector *ret)
{
    const struct selector *s = e->selector;
    struct look look = look_of(&s->moment);

    if (s->smoothed)
        return select_smoothed(ev, e, f, ret);
    return select_rows(ev, s->matchers, s->n_matchers, &look, SELECT_VALUES, f, ret);
}

void series_room_done(struct series_room *room)
{
    free(room->v);
    free(room->ts);
    free(room->hts);
    free(room->h);
    *room = (struct series_room){0};
}

void series_room_need(struct series_room *room, size_t n)
{
    if (n <= room->cap)
        return;
    series_room_done(room);
    room->cap = n + n / 4;
    room->v = xmalloc(room->cap * sizeof *room->v);
    room->ts = xmalloc(room->cap * sizeof *room->ts);
    room->hts = xmalloc(room->cap * sizeof *room->hts);
    room->h = xmalloc(room->cap * sizeof *room->h);
}

void series_split(struct series_room *room, const struct query_item *item, struct readings *ret)
{
    size_t stale = 0;

    *ret = (struct readings){.labels = item->labels};
    series_room_need(room, item->n);
    for (size_t i = 0; i < item->n; i++)
        stale += item->bits[i] == VALUE_STALE_BITS;
    if (stale == 0 && item->histograms == NULL) {
        memcpy(room->v, item->bits, item->n * sizeof *room->v);
        ret->ts = item->ts;
        ret->v = room->v;
        ret->n = item->n;
        return;
    }
    for (size_t i = 0; i < item->n; i++) {
        const struct histogram *h = item->histograms != NULL ? item->histograms[i] : NULL;

        if (item->bits[i] == VALUE_STALE_BITS)
            continue;
        if (h == NULL) {
            room->ts[ret->n] = item->ts[i];
            room->v[ret->n++] = bits_double(item->bits[i]);
        } else {
            room->hts[ret->n_h] = item->ts[i];
            room->h[ret->n_h++] = h;
        }
    }
    ret->ts = room->ts;
    ret->v = room->v;
    ret->hts = room->hts;
    ret->h = room->h;
}
