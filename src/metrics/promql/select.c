#include "metrics/promql/histogram_math.h"

#include "base/alloc.h"
#include "base/cores.h"
#include "base/hot.h"

#include <errno.h>
#include <stdlib.h>

#define PARALLEL_MIN 24 /* series for each thread: with fewer it costs more than it saves */
#define STEPS_LIKE   64 /* steps that cost about as much as a series more */

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

#define COUNT_EVERY 64 /* series: the counts are shared by all threads */

static void work(void *ctx, size_t thread, size_t k)
{
    struct worker *w = (struct worker *)ctx + k;
    struct mem m = {.ev = w->ev};
    struct query_item item;
    size_t samples = 0;
    size_t series = 0;
    int r;

    (void)thread;
    while ((r = query_next(w->q, &item)) > 0) {
        samples += item.n;
        if (++series == COUNT_EVERY) {
            eval_count(w->ev, series, samples);
            series = samples = 0;
        }
        if (item.histograms != NULL && eval_counts_only(w->ev))
            item.histograms = told_resets(&m, &item, w->from_ms);
        r = w->visit->series(w->visit->ctx, &m, w->number, w->base + item.number, &item);
        if (r == 0)
            r = eval_check(w->ev);
        if (r < 0)
            break;
    }
    eval_count(w->ev, series, samples);
    w->r = r;
}

static size_t workers_for(size_t n_series, size_t steps)
{
    size_t n = n_series * (1 + steps / STEPS_LIKE) / PARALLEL_MIN;
    size_t cores;

    if (n < 2)
        return 1;
    cores = cores_count();
    n = n < cores ? n : cores;
    n = n < n_series ? n : n_series;
    return n < WORKERS_MAX ? n : WORKERS_MAX;
}

static int visit_all(struct evaluator *ev, struct query *q, const struct select_visit *visit,
                     int64_t from_ms)
{
    size_t n = query_series(q);
    size_t n_workers = workers_for(n, visit->steps);
    struct worker w[WORKERS_MAX] = {{0}};
    int r = 0;

    for (size_t k = n_workers; k-- > 0;) { /* from the end: each takes the last of what is left */
        w[k] = (struct worker){.ev = ev, .visit = visit, .q = q, .from_ms = from_ms};
        w[k].number = (unsigned)k;
        w[k].base = n * k / n_workers;
        if (k > 0)
            w[k].q = query_split(q, w[k].base);
    }
    cores_run(n_workers, n_workers, work, w);
    for (size_t k = 1; k < n_workers; k++)
        query_close(w[k].q);
    for (size_t k = 0; k < n_workers && r == 0; k++)
        r = w[k].r;
    return r;
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

/* One worker's: which sample each step sees, kept while the next series has the same times. */
struct seen {
    uint32_t *at; /* by step; the number of samples: none */
    int64_t *ts;
    size_t n, cap;
    int64_t lookback_ms;
    size_t found;
    struct row spare; /* of a flow: used for one series after the other */
};

struct instant {
    struct evaluator *ev;
    const struct frame *f;
    const struct look *look;
    enum select_what what;
    struct vector *ret;        /* NULL: rows go to `to` */
    const struct row_sink *to; /* or NULL */
    struct seen seen[WORKERS_MAX];
};

static int instant_begin(void *ctx, size_t n)
{
    struct vector *v = ((struct instant *)ctx)->ret;

    if (v == NULL)
        return 0;
    v->rows = xcalloc(n + 1, sizeof *v->rows);
    v->n = v->cap = n;
    return 0;
}

static void see(const struct instant *x, struct seen *s, const struct query_item *item)
{
    int64_t lookback = x->ev->ev->lookback_ms + item->window_ms;
    size_t at = 0;

    if (s->at == NULL)
        s->at = xcalloc(x->f->n, sizeof *s->at);
    if (s->n == item->n && s->lookback_ms == lookback &&
        memcmp(s->ts, item->ts, item->n * sizeof *s->ts) == 0)
        return;
    s->found = 0;
    for (size_t i = 0; i < x->f->n; i++) {
        int64_t t = look_ms(x->look, x->f, i);

        while (at + 1 < item->n && item->ts[at + 1] <= t)
            at++;
        if (item->ts[at] > t || item->ts[at] <= t - lookback) {
            s->at[i] = (uint32_t)item->n;
            continue;
        }
        s->at[i] = (uint32_t)at;
        s->found++;
    }
    if (s->cap < item->n) {
        s->cap = item->n + item->n / 4;
        free(s->ts);
        s->ts = xmalloc(s->cap * sizeof *s->ts);
    }
    memcpy(s->ts, item->ts, item->n * sizeof *s->ts);
    s->n = item->n;
    s->lookback_ms = lookback;
}

/* The newest sample of the lookback at each step; a stale marker is no value of a row either. */
HOT static void pick_values(double *restrict v, const uint64_t *bits, const uint32_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = bits_double(bits[at[i]]);
}

static size_t count_present(const double *v, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += present(v[i]);
    return count;
}

static size_t put_times(const struct instant *x, const struct seen *s,
                        const struct query_item *item, struct row *row)
{
    size_t found = 0;

    for (size_t i = 0; i < x->f->n; i++) {
        uint32_t at = s->at[i];

        if (item->bits[at] == VALUE_STALE_BITS)
            continue;
        if (x->what != SELECT_FLOAT_TIMES || item->histograms == NULL ||
            item->histograms[at] == NULL) {
            row->v[i] = (double)(x->what != SELECT_STARTS ? item->ts[at]
                                 : item->starts != NULL   ? item->starts[at]
                                                          : 0);
            found++;
        }
    }
    return found;
}

static size_t put_histograms(const struct instant *x, struct mem *m, const struct seen *s,
                             const struct query_item *item, struct row *row)
{
    size_t last = SIZE_MAX;
    size_t found = 0;

    row->h = cells_histograms(x->ev, x->f->n);
    for (size_t i = 0; i < x->f->n; i++) {
        uint32_t at = s->at[i];

        if (item->bits[at] == VALUE_STALE_BITS || item->histograms[at] == NULL)
            continue;
        row->v[i] = ABSENT;
        row->h[i] = at == last ? row->h[i - 1] : histogram_clone(m, item->histograms[at]);
        last = at;
        found++;
    }
    return found;
}

static size_t fill_row(const struct instant *x, struct mem *m, const struct seen *s,
                       const struct query_item *item, struct row *row)
{
    size_t found = 0;

    if (x->what == SELECT_VALUES) {
        pick_values(row->v, item->bits, s->at, x->f->n);
        found = item->histograms == NULL ? count_present(row->v, x->f->n) : 0;
        for (size_t i = 0; i < x->f->n && item->histograms != NULL; i++)
            found += s->at[i] < item->n && item->histograms[s->at[i]] == NULL && present(row->v[i]);
    } else {
        cells_fill(row->v, x->f->n);
        found = put_times(x, s, item, row);
    }
    if (item->histograms != NULL && (x->what == SELECT_VALUES || x->what == SELECT_FLOAT_TIMES))
        found += put_histograms(x, m, s, item, row);
    return found;
}

static int instant_series(void *ctx, struct mem *m, unsigned worker, size_t number,
                          const struct query_item *item)
{
    struct instant *x = ctx;
    struct seen *s = &x->seen[worker];
    struct row row = s->spare;
    size_t found;
    int r = 0;

    see(x, s, item);
    if (s->found == 0)
        return 0;
    if (row.v == NULL)
        row.v = cells_new(x->ev, x->f->n);
    if (row.v == NULL)
        return eval_check(x->ev);
    s->spare = (struct row){0};
    found = fill_row(x, m, s, item, &row);
    eval_looked(x->ev, found);
    if (x->to != NULL) {
        row.labels = item->labels;
        r = found > 0 ? x->to->row(x->to->ctx, m, worker, &row) : 0;
        if (row.h != NULL)
            row_done(x->ev, &row, x->f->n);
        s->spare.v = row.v;
    } else if (found > 0) {
        row.labels = mem_labels(m, &item->labels);
        x->ret->rows[number] = row;
    } else {
        row_done(x->ev, &row, x->f->n);
    }
    return r;
}

static int select_instants(struct instant *x, const struct matcher *matchers, size_t n)
{
    struct evaluator *ev = x->ev;
    struct select_visit visit = {
        instant_begin, instant_series, x,
        {.step_ms = look_step_ms(x->look, x->f), .instant = true}, x->f->n};
    int64_t from = look_ms(x->look, x->f, 0) - ev->ev->lookback_ms + 1;
    int64_t to = look_ms(x->look, x->f, x->f->n - 1);
    bool last = to - from < ev->ev->lookback_ms && !eval_counts_only(ev);
    unsigned flags = (last ? QUERY_LAST : 0) | (x->what == SELECT_STARTS ? QUERY_STARTS : 0);
    int r = select_visit(ev, matchers, n, from, to, flags, &visit);

    for (size_t k = 0; k < WORKERS_MAX; k++) {
        struct seen *s = &x->seen[k];

        if (s->spare.v != NULL)
            row_done(ev, &s->spare, x->f->n);
        free(s->at);
        free(s->ts);
    }
    return r;
}

int select_rows(struct evaluator *ev, const struct matcher *matchers, size_t n,
                const struct look *look, enum select_what what, const struct frame *f,
                struct vector *ret)
{
    struct instant x = {.ev = ev, .f = f, .look = look, .what = what, .ret = ret};
    int r = select_instants(&x, matchers, n);

    if (r == 0)
        vector_compact(ev, ret, f->n);
    return r;
}

int select_flow(struct evaluator *ev, const struct expr *e, const struct frame *f,
                const struct row_sink *to)
{
    const struct selector *s = e->selector;
    struct look look = look_of(&s->moment);
    struct instant x = {.ev = ev, .f = f, .look = &look, .what = SELECT_VALUES, .to = to};

    return select_instants(&x, s->matchers, s->n_matchers);
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
    free(room->st);
    free(room->hst);
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

static void starts_split(struct series_room *room, const struct query_item *item,
                         struct readings *ret)
{
    size_t n = 0;
    size_t n_h = 0;

    if (room->cap_st < item->n) {
        room->cap_st = item->n + item->n / 4;
        room->st = xrealloc(room->st, room->cap_st * sizeof *room->st);
        room->hst = xrealloc(room->hst, room->cap_st * sizeof *room->hst);
    }
    for (size_t i = 0; i < item->n; i++) {
        if (item->bits[i] == VALUE_STALE_BITS)
            continue;
        if (item->histograms == NULL || item->histograms[i] == NULL)
            room->st[n++] = item->starts[i];
        else
            room->hst[n_h++] = item->starts[i];
    }
    ret->st = n > 0 ? room->st : NULL;
    ret->hst = n_h > 0 ? room->hst : NULL;
}

void series_split(struct series_room *room, const struct query_item *item, struct readings *ret)
{
    size_t stale = 0;

    *ret = (struct readings){.labels = item->labels};
    series_room_need(room, item->n);
    if (item->starts != NULL)
        starts_split(room, item, ret);
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
