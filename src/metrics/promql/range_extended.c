/* Anchored and smoothed ranges: samples beyond the bounds say what the values at the bounds are. */
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/range.h"

struct edge {
    int64_t ts;
    double v;
};

/* Between two samples; a counter that fell in between is taken to have begun at zero. */
static double between(struct edge a, struct edge b, int64_t t, bool counter)
{
    if (counter && b.v < a.v)
        a.v = 0;
    return a.v + (b.v - a.v) * (double)(t - a.ts) / (double)(b.ts - a.ts);
}

static struct edge edge_at(const struct readings *s, size_t k)
{
    return (struct edge){s->ts[k], s->v[k]};
}

void extended_find(const int64_t *ts, size_t a, size_t b, int64_t start, int64_t end,
                   bool smoothed, size_t *ret_first, size_t *ret_last)
{
    size_t first = a;
    size_t last = b - 1;

    while (first + 1 < b && ts[first + 1] <= start)
        first++;
    /* As a search among all but the last does: the last is never passed over. */
    if (first == b - 1 && first > a)
        first--;
    if (smoothed)
        for (last = a; last + 1 < b && ts[last] < end; last++)
            ;
    *ret_first = first;
    *ret_last = last;
}

static double left_value(const struct readings *s, size_t first, int64_t start, bool smoothed,
                         bool counter)
{
    if (s->ts[first] >= start || !smoothed)
        return s->v[first];
    return between(edge_at(s, first), edge_at(s, first + 1), start, counter);
}

static double right_value(const struct readings *s, size_t a, size_t last, int64_t end,
                          bool smoothed, bool counter)
{
    if (s->ts[last] <= end || last == a)
        return s->v[last];
    return smoothed ? between(edge_at(s, last - 1), edge_at(s, last), end, counter)
                    : s->v[last - 1];
}

bool extended_edges(const struct readings *s, int64_t start, int64_t end, bool smoothed,
                    size_t *ret_first, size_t *ret_last, double *ret_left, double *ret_right)
{
    if (s->n == 0)
        return false;
    extended_find(s->ts, 0, s->n, start, end, smoothed, ret_first, ret_last);
    if (s->ts[*ret_last] <= start)
        return false;
    *ret_left = left_value(s, *ret_first, start, smoothed, false);
    *ret_right = right_value(s, 0, *ret_last, end, smoothed, false);
    return true;
}

static void extended_floats(struct range_work *w, size_t i, bool counter, double per_seconds)
{
    const struct readings *s = &w->s;
    int64_t end = range_end(w, i);
    int64_t start = range_start(w, i);
    size_t first;
    size_t last;
    double left;
    double right;
    double result;

    extended_find(s->ts, w->from[i], w->to[i], start, end, w->c->smoothed, &first, &last);
    if (s->ts[last] <= start || (w->c->smoothed && s->ts[first] > end))
        return;
    left = left_value(s, first, start, w->c->smoothed, counter);
    right = right_value(s, w->from[i], last, end, w->c->smoothed, counter);
    result = right - left;
    if (counter) {
        double correction = 0;
        double before = left;
        size_t stop = s->ts[last] >= end ? last : last + 1;

        for (size_t k = s->ts[first] <= start ? first + 1 : first; k < stop; k++) {
            if (s->v[k] < before)
                correction += before;
            before = s->v[k];
        }
        if (right < before)
            correction += before;
        result += correction;
    }
    w->out->v[i] = result / per_seconds;
}

void run_extended(struct range_work *w, bool counter, bool per_second)
{
    double per_seconds = per_second ? go_seconds(w->c->range_ms) : 1;

    for (size_t i = 0; i < w->c->f->n; i++) {
        size_t floats = floats_in(w, i);
        size_t histograms = histograms_in(w, i);

        if (floats > 0 && histograms > 0)
            note_mixed(w->c->ev, w->c->at, w->name);
        else if (histograms > 0)
            put_histogram(w, i, extended_histograms(w, i, counter, per_second));
        else if (floats > 0 && counter && w->s.st != NULL)
            extended_started(w, i, per_seconds);
        else if (floats > 0)
            extended_floats(w, i, counter, per_seconds);
    }
}

/* Of an instant selector: the value at the moment itself, between the samples around it. */
static void smooth_floats(struct range_work *w, size_t i, int64_t t)
{
    const struct readings *s = &w->s;
    size_t k = w->from[i];

    while (k < w->to[i] && s->ts[k] < t)
        k++;
    if (k < w->to[i] && s->ts[k] == t)
        w->out->v[i] = s->v[k];
    else if (k > w->from[i] && k < w->to[i])
        w->out->v[i] = between(edge_at(s, k - 1), edge_at(s, k), t, false);
    else if (k > w->from[i])
        w->out->v[i] = s->v[k - 1];
}

static void smooth_histograms(struct range_work *w, size_t i, int64_t t)
{
    const struct readings *s = &w->s;
    struct histogram *h;
    size_t k = w->hfrom[i];

    while (k < w->hto[i] && s->hts[k] < t)
        k++;
    if (k < w->hto[i] && s->hts[k] == t) {
        put_histogram(w, i, histogram_clone(w->m, s->h[k]));
    } else if (k > w->hfrom[i] && k < w->hto[i]) {
        bool counter = s->h[k - 1]->reset != HISTOGRAM_GAUGE || s->h[k]->reset != HISTOGRAM_GAUGE;
        const struct histogram *at[2] = {s->h[k - 1], s->h[k]};

        if (histogram_is_custom(at[0]) != histogram_is_custom(at[1])) {
            note_mixed_schemas(w->c->ev, w->c->at, w->name);
            return;
        }
        put_histogram(w, i, histogram_between(w, at, s->hts[k - 1], s->hts[k], t, counter));
    } else if (k > w->hfrom[i]) {
        h = histogram_clone(w->m, s->h[k - 1]);
        h->reset = HISTOGRAM_RESET_UNKNOWN;
        put_histogram(w, i, h);
    }
}

void run_smooth(struct range_work *w)
{
    for (size_t i = 0; i < w->c->f->n; i++) {
        if (floats_in(w, i) > 0 && histograms_in(w, i) > 0)
            note_mixed(w->c->ev, w->c->at, w->name);
        else if (floats_in(w, i) > 0)
            smooth_floats(w, i, range_end(w, i));
        else if (histograms_in(w, i) > 0)
            smooth_histograms(w, i, range_end(w, i));
    }
}
