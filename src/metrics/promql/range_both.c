/* Functions over ranges that take floats and histograms alike. */
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/range.h"

#include <math.h>

void run_present(struct range_work *w)
{
    for (size_t i = 0; i < w->c->f->n; i++)
        if (floats_in(w, i) + histograms_in(w, i) > 0)
            w->out->v[i] = 1;
}

/* Of the coarse tier a sample stands for many. */
static double count_floats(const struct range_work *w, size_t i)
{
    double n = 0;

    if (!w->s.counted)
        return (double)floats_in(w, i);
    for (uint32_t k = w->from[i]; k < w->to[i]; k++)
        n += w->s.v[k];
    return n;
}

void run_count(struct range_work *w)
{
    for (size_t i = 0; i < w->c->f->n; i++)
        if (floats_in(w, i) + histograms_in(w, i) > 0)
            w->out->v[i] = count_floats(w, i) + (double)histograms_in(w, i);
}

void run_first(struct range_work *w)
{
    const struct readings *s = &w->s;

    for (size_t i = 0; i < w->c->f->n; i++) {
        bool float_there = floats_in(w, i) > 0;

        if (histograms_in(w, i) > 0 && !(float_there && s->ts[w->from[i]] < s->hts[w->hfrom[i]]))
            put_histogram(w, i, histogram_clone(w->m, s->h[w->hfrom[i]]));
        else if (float_there)
            w->out->v[i] = s->v[w->from[i]];
    }
}

void run_last(struct range_work *w)
{
    const struct readings *s = &w->s;

    for (size_t i = 0; i < w->c->f->n; i++) {
        bool float_there = floats_in(w, i) > 0;

        if (histograms_in(w, i) > 0 &&
            !(float_there && s->hts[w->hto[i] - 1] < s->ts[w->to[i] - 1]))
            put_histogram(w, i, histogram_clone(w->m, s->h[w->hto[i] - 1]));
        else if (float_there)
            w->out->v[i] = s->v[w->to[i] - 1];
    }
}

static double sum_of(const double *v, size_t n)
{
    double sum = 0;
    double c = 0;

    for (size_t k = 0; k < n; k++)
        kahan_add(v[k], &sum, &c);
    return isinf(sum) ? sum : sum + c;
}

/* A plain mean as long as the sum does not overflow, then an incremental one. */
static double avg_of(const double *v, size_t n)
{
    double sum = v[0];
    double c = 0;
    double mean = 0;
    bool incremental = false;

    for (size_t k = 1; k < n; k++) {
        double count = (double)(k + 1);
        double q;

        if (!incremental) {
            double new_sum = sum;
            double new_c = c;

            kahan_add(v[k], &new_sum, &new_c);
            if (!isinf(new_sum)) {
                sum = new_sum;
                c = new_c;
                continue;
            }
            incremental = true;
            mean = sum / (count - 1);
            c /= count - 1;
        }
        q = (count - 1) / count;
        mean *= q;
        c *= q;
        kahan_add(v[k] / count, &mean, &c);
    }
    return incremental ? mean + c : sum / (double)n + c / (double)n;
}

static void sum_window(struct range_work *w, size_t i, bool average)
{
    size_t n = floats_in(w, i);
    const double *v = w->s.v + w->from[i];

    if (n > 0 && histograms_in(w, i) > 0)
        note_mixed(w->c->ev, w->c->at, w->name);
    else if (n > 0)
        w->out->v[i] = average ? avg_of(v, n) : sum_of(v, n);
    else if (histograms_in(w, i) > 0)
        put_histogram(w, i, average ? avg_histograms(w, i) : sum_histograms(w, i));
}

static void run_sums(struct range_work *w, bool average)
{
    double most = most_of(w->s.v, w->s.n);

    for (size_t i = 0; i < w->c->f->n;) {
        size_t done = sum_lanes(w, i, average, most);

        if (done == 0)
            sum_window(w, i, average);
        for (size_t end = i + (done > 0 ? done : 1); i < end; i++)
            if (range_stops(w, i))
                return;
    }
}

void run_sum(struct range_work *w)
{
    run_sums(w, false);
}

void run_avg(struct range_work *w)
{
    run_sums(w, true);
}

/* A sample of either kind, in the order of time. */
struct sample {
    int64_t ts;
    double v;
    const struct histogram *h; /* NULL: a float */
    int64_t start;
};

static int64_t start_at(const int64_t *st, size_t k)
{
    return st != NULL ? st[k] : 0;
}

struct merged {
    const struct readings *s;
    uint32_t f, f_end, h, h_end;
};

static bool merged_next(struct merged *x, struct sample *ret)
{
    const struct readings *s = x->s;

    if (x->f == x->f_end && x->h == x->h_end)
        return false;
    if (x->h == x->h_end || (x->f < x->f_end && s->ts[x->f] < s->hts[x->h])) {
        *ret = (struct sample){s->ts[x->f], s->v[x->f], NULL, start_at(s->st, x->f)};
        x->f++;
    } else {
        *ret = (struct sample){s->hts[x->h], 0, s->h[x->h], start_at(s->hst, x->h)};
        x->h++;
    }
    return true;
}

/* The samples of a window. In an anchored one of those at or before the start of the range only the
 * last counts. False: nothing lies in the range itself. */
static bool merged_window(const struct range_work *w, size_t i, struct merged *ret)
{
    const struct readings *s = &w->s;
    int64_t start = range_start(w, i);
    struct merged x = {s, w->from[i], w->to[i], w->hfrom[i], w->hto[i]};
    uint32_t f = x.f;
    uint32_t h = x.h;

    *ret = x;
    if (x.f == x.f_end && x.h == x.h_end)
        return false;
    if (!w->c->anchored)
        return true;
    while (f < x.f_end && s->ts[f] <= start)
        f++;
    while (h < x.h_end && s->hts[h] <= start)
        h++;
    if (f == x.f_end && h == x.h_end)
        return false;
    ret->f = f;
    ret->h = h;
    if (f > x.f && (h == x.h || s->ts[f - 1] >= s->hts[h - 1]))
        ret->f--;
    else if (h > x.h)
        ret->h--;
    return true;
}

typedef bool pair_fn(const struct sample *before, const struct sample *now);

static bool is_reset(const struct sample *before, const struct sample *now)
{
    if ((before->h == NULL) != (now->h == NULL) ||
        start_is_reset(before->start, before->ts, now->start, now->ts))
        return true;
    return now->h == NULL ? now->v < before->v : histogram_is_reset(now->h, before->h);
}

static bool is_change(const struct sample *before, const struct sample *now)
{
    if (before->h == NULL && now->h == NULL)
        return now->v != before->v && !(isnan(now->v) && isnan(before->v));
    if (before->h == NULL || now->h == NULL)
        return true;
    return !histogram_same(now->h, before->h);
}

static void run_pairs(struct range_work *w, pair_fn *counts)
{
    for (size_t i = 0; i < w->c->f->n && !range_stops(w, i); i++) {
        struct merged x;
        struct sample before;
        struct sample now;
        size_t n = 0;

        if (!merged_window(w, i, &x) || !merged_next(&x, &before))
            continue;
        while (merged_next(&x, &now)) {
            n += counts(&before, &now);
            before = now;
        }
        w->out->v[i] = (double)n;
    }
}

/* Floats of which no start is told: nothing but values to compare. */
static bool are_plain(const struct range_work *w)
{
    return w->s.n_h == 0 && w->s.st == NULL && !w->c->anchored;
}

static void plain_resets(struct range_work *w)
{
    const double *v = w->s.v;

    for (size_t i = 0; i < w->c->f->n && !range_stops(w, i); i++) {
        size_t n = 0;

        if (w->to[i] == w->from[i])
            continue;
        for (uint32_t k = w->from[i] + 1; k < w->to[i]; k++)
            n += v[k] < v[k - 1];
        w->out->v[i] = (double)n;
    }
}

void run_resets(struct range_work *w)
{
    if (are_plain(w))
        plain_resets(w);
    else
        run_pairs(w, is_reset);
}

void run_changes(struct range_work *w)
{
    run_pairs(w, is_change);
}

/* The last two samples of the window, of whatever kind; false if there are not two. */
static bool last_two(const struct range_work *w, size_t i, struct sample last[2])
{
    const struct readings *s = &w->s;
    uint32_t f = w->to[i];
    uint32_t h = w->hto[i];

    if (floats_in(w, i) + histograms_in(w, i) < 2)
        return false;
    for (int k = 1; k >= 0; k--) {
        bool has_float = f > w->from[i];
        bool has_histogram = h > w->hfrom[i];

        if (has_float && (!has_histogram || s->ts[f - 1] > s->hts[h - 1])) {
            f--;
            last[k] = (struct sample){s->ts[f], s->v[f], NULL, start_at(s->st, f)};
        } else {
            h--;
            last[k] = (struct sample){s->hts[h], 0, s->h[h], start_at(s->hst, h)};
        }
    }
    return last[1].ts != last[0].ts;
}

static const struct histogram *instant_histogram(struct range_work *w, const struct sample last[2],
                                                 bool rate)
{
    struct evaluator *ev = w->c->ev;
    struct histogram *h = histogram_clone(w->m, last[1].h);
    bool gauges = last[0].h->reset == HISTOGRAM_GAUGE && last[1].h->reset == HISTOGRAM_GAUGE;
    bool gauge = last[0].h->reset == HISTOGRAM_GAUGE || last[1].h->reset == HISTOGRAM_GAUGE;
    bool reconciled = false;

    if (rate && gauge)
        note_not_counter(ev, w->c->at, w->name);
    if (!rate && !gauges)
        note_not_gauge(ev, w->c->at, w->name);
    if (!rate || !is_reset(&last[0], &last[1])) {
        h = histogram_combine(w->m, h, last[0].h, -1, &reconciled, NULL);
        if (h == NULL) {
            note_mixed_schemas(ev, w->c->at, w->name);
            return NULL;
        }
        if (reconciled)
            note_reconciled(ev, w->c->at, "subtraction");
    }
    h->reset = HISTOGRAM_GAUGE;
    histogram_compact(h);
    if (rate)
        histogram_divide(h, (double)(last[1].ts - last[0].ts) / 1000);
    return h;
}

static void plain_instants(struct range_work *w, bool rate)
{
    const double *v = w->s.v;
    const int64_t *ts = w->s.ts;

    for (size_t i = 0; i < w->c->f->n; i++) {
        uint32_t k = w->to[i] - 1;
        double rise;

        if (floats_in(w, i) < 2)
            continue;
        rise = rate && v[k] < v[k - 1] ? v[k] : v[k] - v[k - 1];
        w->out->v[i] = rate ? rise / ((double)(ts[k] - ts[k - 1]) / 1000) : rise;
    }
}

static void run_instant(struct range_work *w, bool rate)
{
    if (are_plain(w)) {
        plain_instants(w, rate);
        return;
    }
    for (size_t i = 0; i < w->c->f->n; i++) {
        struct sample last[2];
        double v;

        if (!last_two(w, i, last))
            continue;
        if ((last[0].h == NULL) != (last[1].h == NULL)) {
            note_mixed(w->c->ev, w->c->at, w->name);
            continue;
        }
        if (last[0].h != NULL) {
            put_histogram(w, i, instant_histogram(w, last, rate));
            continue;
        }
        v = rate && is_reset(&last[0], &last[1]) ? last[1].v : last[1].v - last[0].v;
        w->out->v[i] = rate ? v / ((double)(last[1].ts - last[0].ts) / 1000) : v;
    }
}

void run_irate(struct range_work *w)
{
    run_instant(w, true);
}

void run_idelta(struct range_work *w)
{
    run_instant(w, false);
}
