#include "metrics/promql/range.h"

#include "base/alloc.h"
#include "metrics/promql/calls.h"
#include "metrics/promql/labelset.h"

#include <errno.h>
#include <stdlib.h>

struct range_job {
    struct range_call c;
    range_run *run;
    bool drops_name;
    struct vector *ret;        /* NULL: rows go to `to` */
    const struct row_sink *to; /* or NULL */
    bool counts;               /* a name that is not a counter's is noted */
    struct range_work work[WORKERS_MAX];
};

static void work_init(struct range_work *w, const struct range_call *c)
{
    size_t n = c->f->n;

    *w = (struct range_work){.c = c};
    w->from = xcalloc(4 * n, sizeof *w->from);
    w->to = w->from + n;
    w->hfrom = w->to + n;
    w->hto = w->hfrom + n;
}

static void work_done(struct range_work *w)
{
    free(w->from);
    free(w->scratch);
    free(w->resets);
    free(w->known_ts);
    free(w->rates);
    if (w->spare.v != NULL)
        row_done(w->c->ev, &w->spare, w->c->f->n);
    series_room_done(&w->room);
}

double *range_scratch(struct range_work *w, size_t n)
{
    if (n > w->cap_scratch) {
        w->cap_scratch = n + n / 2;
        w->scratch = xrealloc(w->scratch, w->cap_scratch * sizeof *w->scratch);
    }
    return w->scratch;
}

void put_histogram(struct range_work *w, size_t i, const struct histogram *h)
{
    if (h == NULL)
        return;
    if (w->out->h == NULL)
        w->out->h = cells_histograms(w->c->ev, w->c->f->n);
    w->out->h[i] = h;
    w->out->v[i] = ABSENT;
}

/* Samples with low < time <= high, at each step; both bounds only move forward. */
static void find_windows(const struct range_call *c, const int64_t *ts, size_t n, uint32_t *from,
                         uint32_t *to)
{
    int64_t below = c->range_ms + (c->anchored || c->smoothed ? c->lookback_ms : 0);
    int64_t above = c->smoothed ? c->lookback_ms : 0;
    size_t a = 0;
    size_t b = 0;

    for (size_t i = 0; i < c->f->n; i++) {
        int64_t t = look_ms(&c->look, c->f, i);

        while (b < n && ts[b] <= t + above)
            b++;
        while (a < b && ts[a] <= t - below)
            a++;
        from[i] = (uint32_t)a;
        to[i] = (uint32_t)b;
    }
}

static void know_windows(struct range_work *w)
{
    const struct readings *s = &w->s;

    find_windows(w->c, s->ts, s->n, w->from, w->to);
    find_windows(w->c, s->hts, s->n_h, w->hfrom, w->hto);
    if (s->n > w->cap_known) {
        w->cap_known = s->n + s->n / 4;
        free(w->known_ts);
        w->known_ts = xmalloc(w->cap_known * sizeof *w->known_ts);
    }
    if (s->n > 0)
        memcpy(w->known_ts, s->ts, s->n * sizeof *s->ts);
    w->n_known = s->n;
    w->known = s->n_h == 0;
    w->rates_known = false;
    w->n_windows = 0;
    for (size_t i = 0; i < w->c->f->n; i++)
        w->n_windows += floats_in(w, i) + histograms_in(w, i);
}

static void prepare_windows(struct range_work *w)
{
    const struct readings *s = &w->s;

    if (!w->known || w->n_known != s->n || s->n_h > 0 ||
        (s->n > 0 && memcmp(w->known_ts, s->ts, s->n * sizeof *s->ts) != 0))
        know_windows(w);
    eval_looked(w->c->ev, w->n_windows);
}

static void run_windows(struct range_job *job, struct range_work *w, struct row *out)
{
    w->out = out;
    w->name = labels_get(&w->s.labels, LABEL_NAME);
    prepare_windows(w);
    job->run(w);
    out->drop_name = job->drops_name || w->s.drop_name;
}

static int run_series(struct range_job *job, struct range_work *w, struct row *out)
{
    struct evaluator *ev = job->c.ev;
    const struct labels *l = &w->s.labels;

    out->v = cells_new(ev, job->c.f->n);
    if (out->v == NULL)
        return eval_check(ev);
    run_windows(job, w, out);
    if (row_is_empty(out, job->c.f->n)) {
        row_done(ev, out, job->c.f->n);
        return 0;
    }
    out->labels =
        ev->ev->eager_names && out->drop_name ? labels_bare(w->m, l) : mem_labels(w->m, l);
    return 0;
}

static bool note_counter(struct range_job *job, const struct row *row);

/* The row of one series to the sink; its cells serve the next one too. */
static int pass_series(struct range_job *job, struct range_work *w, unsigned worker)
{
    struct evaluator *ev = job->c.ev;
    struct row row = {.labels = w->s.labels, .v = w->spare.v};
    int r = 0;

    w->spare.v = NULL;
    if (row.v == NULL)
        row.v = cells_new(ev, job->c.f->n);
    else
        cells_fill(row.v, job->c.f->n);
    if (row.v == NULL)
        return eval_check(ev);
    run_windows(job, w, &row);
    if (job->counts && !slice_eq(w->name, w->noted) && note_counter(job, &row))
        w->noted = w->name;
    r = job->to->row(job->to->ctx, w->m, worker, &row);
    if (row.h != NULL)
        row_done(ev, &row, job->c.f->n);
    w->spare.v = row.v;
    return r;
}

static int job_begin(void *ctx, size_t n)
{
    struct range_job *job = ctx;

    if (job->ret == NULL)
        return 0;
    job->ret->rows = xcalloc(n + 1, sizeof *job->ret->rows);
    job->ret->n = job->ret->cap = n;
    return 0;
}

static int job_series(void *ctx, struct mem *m, unsigned worker, size_t i,
                      const struct query_item *item)
{
    struct range_job *job = ctx;
    struct range_work *w = &job->work[worker];

    if (w->c == NULL)
        work_init(w, &job->c);
    w->m = m;
    series_split(&w->room, item, &w->s);
    w->s.counted = item->window_ms > 0 && job->c.fn == FN_COUNT_OVER_TIME;
    return job->to != NULL ? pass_series(job, w, worker)
                           : run_series(job, w, &job->ret->rows[i]);
}

/* What a function wants to know of the samples that one of the coarse tier stands for. */
static enum coarse plane_of(enum function_id fn)
{
    switch (fn) {
    case FN_MIN_OVER_TIME:
        return COARSE_MIN;
    case FN_MAX_OVER_TIME:
        return COARSE_MAX;
    case FN_SUM_OVER_TIME:
        return COARSE_SUM;
    case FN_COUNT_OVER_TIME:
        return COARSE_COUNT;
    case FN_AVG_OVER_TIME:
        return COARSE_AVG;
    default:
        return COARSE_LAST;
    }
}

static int run_selector(struct range_job *job, const struct selector *s)
{
    const struct range_call *c = &job->c;
    struct select_visit visit = {
        job_begin, job_series, job,
        {plane_of(c->fn), look_step_ms(&c->look, c->f), c->range_ms, false}, c->f->n};
    int64_t lookback = c->anchored || c->smoothed ? c->lookback_ms : 0;
    int64_t from = look_ms(&c->look, c->f, 0) - c->range_ms - lookback + 1;
    int64_t to = look_ms(&c->look, c->f, c->f->n - 1) + (c->smoothed ? lookback : 0);
    bool starts = !c->ev->ev->ignore_starts &&
                  (c->fn == FN_RATE || c->fn == FN_INCREASE || c->fn == FN_IRATE ||
                   c->fn == FN_RESETS);
    int r;

    r = select_visit(c->ev, s->matchers, s->n_matchers, from, to, starts ? QUERY_STARTS : 0,
                     &visit);
    for (size_t i = 0; i < WORKERS_MAX; i++)
        if (job->work[i].c != NULL)
            work_done(&job->work[i]);
    return r;
}

/* Between the steps of a subquery samples may be missing, or come twice: what a histogram says of
 * the one before it does not hold. */
static const struct histogram *forget_reset(struct mem *m, const struct histogram *h)
{
    struct histogram *copy;

    if (h->reset != HISTOGRAM_RESET && h->reset != HISTOGRAM_NO_RESET)
        return h;
    copy = mem_get(m, sizeof *copy);
    *copy = *h;
    copy->reset = HISTOGRAM_RESET_UNKNOWN;
    return copy;
}

/* A row as the samples of a series. */
static void row_series(struct mem *m, struct series_room *room, struct row *row,
                       const struct frame *f, struct readings *ret)
{
    *ret = (struct readings){.labels = row->labels, .drop_name = row->drop_name};
    series_room_need(room, f->n);
    for (size_t i = 0; i < f->n; i++) {
        if (present(row->v[i])) {
            room->ts[ret->n] = frame_ms(f, i);
            room->v[ret->n++] = row->v[i];
        } else if (row->h != NULL && row->h[i] != NULL) {
            room->hts[ret->n_h] = frame_ms(f, i);
            room->h[ret->n_h++] = forget_reset(m, row->h[i]);
        }
    }
    ret->ts = room->ts;
    ret->v = room->v;
    ret->hts = room->hts;
    ret->h = room->h;
}

static int run_subquery(struct range_job *job, struct mem *m, const struct expr *e)
{
    struct evaluator *ev = job->c.ev;
    struct range_work *w = &job->work[0];
    struct vector inner = {0};
    struct frame f = {0};
    int r = subquery_rows(ev, m, e, job->c.f, &f, &inner);

    work_init(w, &job->c);
    w->m = m;
    if (r == 0)
        job_begin(job, inner.n);
    for (size_t i = 0; i < inner.n && r == 0; i++) {
        row_series(m, &w->room, &inner.rows[i], &f, &w->s);
        r = run_series(job, w, &job->ret->rows[i]);
        row_done(ev, &inner.rows[i], f.n);
        if (r == 0)
            r = eval_check(ev);
    }
    work_done(w);
    vector_done(ev, &inner, f.n);
    return r;
}

static const char *const counter_suffixes[] = {"_total", "_sum", "_count", "_bucket"};

static bool is_counter_name(struct slice name)
{
    for (size_t i = 0; i < 4; i++) {
        struct slice suffix = slice_str(counter_suffixes[i]);

        if (name.len >= suffix.len && slice_eq(slice_skip(name, name.len - suffix.len), suffix))
            return true;
    }
    return false;
}

/* False: a row without floats says nothing of its name. */
static bool note_counter(struct range_job *job, const struct row *row)
{
    struct slice name = labels_get(&row->labels, LABEL_NAME);
    bool floats = false;
    autobuf quoted = {0};

    if (name.len == 0 || is_counter_name(name))
        return true;
    for (size_t i = 0; i < job->c.f->n && !floats; i++)
        floats = present(row->v[i]);
    if (!floats)
        return false;
    quote_go(&quoted, name);
    note_add(job->c.ev, NOTE_INFO, job->c.at,
             "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: %s",
             quoted.data);
    return true;
}

static int check_extended(struct evaluator *ev, const struct range_call *c,
                          const struct function *f)
{
    bool rates = f->id == FN_RATE || f->id == FN_INCREASE || f->id == FN_DELTA;

    if (c->anchored && !rates && f->id != FN_CHANGES && f->id != FN_RESETS)
        return eval_fail(ev,
                         "anchored modifier can only be used with: changes, delta, increase, rate, "
                         "resets - not with %s",
                         f->name);
    if (c->smoothed && !rates)
        return eval_fail(ev,
                         "smoothed modifier can only be used with: delta, increase, rate - not "
                         "with %s",
                         f->name);
    return 0;
}

static void call_moment(struct range_call *c, const struct expr *arg)
{
    const struct selector *s;

    if (arg->kind == EXPR_SUBQUERY) { /* its place is lost once it is evaluated, as in Prometheus */
        c->look = look_of(&arg->subquery.moment);
        c->range_ms = arg->subquery.range_ms;
        return;
    }
    c->at = arg->at;
    s = arg->matrix.e->selector;
    c->look = look_of(&s->moment);
    c->range_ms = arg->matrix.range_ms;
    c->anchored = s->anchored;
    c->smoothed = s->smoothed;
}

/* The arguments beside the range, at each step. */
static int call_scalars(struct range_call *c, struct mem *m, const struct expr *e, size_t arg)
{
    size_t n = 0;

    for (size_t i = 0; i < e->call.n_args && n < RANGE_SCALARS_MAX; i++) {
        int r;

        if (i == arg)
            continue;
        c->strategy = e->call.args[i]->at;
        r = eval_scalar(c->ev, m, e->call.args[i], c->f, &c->scalars[n]);
        if (r < 0)
            return r;
        if (c->scalars[n] != NULL)
            n++;
    }
    return 0;
}

/* Instead of what is there: 1 wherever no series has anything. */
static int absent_steps(struct range_job *job, struct mem *m, const struct expr *arg)
{
    struct evaluator *ev = job->c.ev;
    size_t n = job->c.f->n;
    struct row row = {.labels = absent_labels(m, arg), .v = cells_new(ev, n), .drop_name = true};

    if (row.v == NULL)
        return eval_check(ev);
    for (size_t i = 0; i < n; i++) {
        bool any = false;

        for (size_t k = 0; k < job->ret->n && !any; k++)
            any = job->ret->rows[k].v != NULL && row_has(&job->ret->rows[k], i);
        if (!any)
            row.v[i] = 1;
    }
    vector_done(ev, job->ret, n);
    vector_push(job->ret, row);
    vector_compact(ev, job->ret, n);
    return 0;
}

static int eval_job(struct range_job *job, struct mem *m, const struct expr *e, size_t arg)
{
    struct evaluator *ev = job->c.ev;
    const struct expr *range = expr_bare(e->call.args[arg]);
    int r;

    call_moment(&job->c, range);
    r = check_extended(ev, &job->c, e->call.f);
    if (r == 0)
        r = call_scalars(&job->c, m, e, arg);
    if (r == 0)
        r = range->kind == EXPR_SUBQUERY ? run_subquery(job, m, range)
                                         : run_selector(job, range->matrix.e->selector);
    for (size_t i = 0; i < RANGE_SCALARS_MAX; i++)
        if (job->c.scalars[i] != NULL)
            cells_free(ev, job->c.scalars[i], job->c.f->n);
    return r;
}

static struct range_job job_of(struct evaluator *ev, const struct expr *e, const struct frame *f)
{
    enum function_id fn = e->call.f->id;

    return (struct range_job){
        .c = {.ev = ev, .f = f, .fn = fn, .lookback_ms = ev->ev->lookback_ms},
        .run = range_find(fn),
        .drops_name = fn != FN_LAST_OVER_TIME && fn != FN_FIRST_OVER_TIME,
        .counts = fn == FN_RATE || fn == FN_INCREASE,
    };
}

int eval_range_call(struct evaluator *ev, struct mem *m, const struct expr *e, size_t arg,
                    const struct frame *f, struct vector *ret)
{
    struct range_job job = job_of(ev, e, f);
    int r;

    job.ret = ret;
    r = eval_job(&job, m, e, arg);
    if (r < 0)
        return r;
    if (e->call.f->id == FN_ABSENT_OVER_TIME)
        return absent_steps(&job, m, expr_bare(e->call.args[arg]));
    vector_compact(ev, ret, f->n);
    for (size_t k = 0; k < ret->n && job.counts; k++)
        note_counter(&job, &ret->rows[k]);
    return ev->ev->eager_names ? vector_merge(ev, ret, f->n) : 0;
}

int range_flow(struct evaluator *ev, struct mem *m, const struct expr *e, size_t arg,
               const struct frame *f, const struct row_sink *to)
{
    struct range_job job = job_of(ev, e, f);

    job.to = to;
    return eval_job(&job, m, e, arg);
}

int select_smoothed(struct evaluator *ev, const struct expr *e, const struct frame *f,
                    struct vector *ret)
{
    struct range_job job = {
        .c = {.ev = ev,
              .f = f,
              .at = e->at,
              .look = look_of(&e->selector->moment),
              .lookback_ms = ev->ev->lookback_ms,
              .smoothed = true},
        .run = run_smooth,
        .ret = ret,
    };
    int r = run_selector(&job, e->selector);

    if (r == 0)
        vector_compact(ev, ret, f->n);
    return r;
}
