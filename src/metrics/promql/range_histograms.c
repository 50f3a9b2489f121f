/* Histograms in ranges: sums, means, and what they rose by. */
#include "metrics/promql/histogram_math.h"
#include "metrics/promql/range.h"

void note_not_counter(struct evaluator *ev, struct span at, struct slice name)
{
    autobuf quoted = {0};

    quote_go(&quoted, name);
    note_add(ev, NOTE_WARNING, at, "this native histogram metric is not a counter: %s",
             quoted.data);
}

void note_not_gauge(struct evaluator *ev, struct span at, struct slice name)
{
    autobuf quoted = {0};

    quote_go(&quoted, name);
    note_add(ev, NOTE_WARNING, at, "this native histogram metric is not a gauge: %s", quoted.data);
}

/* Resets and their absence among the histograms of a window, for the note of a collision. */
static bool resets_collide(const struct histogram *const *h, size_t n)
{
    bool reset = false;
    bool none = false;

    for (size_t k = 0; k < n; k++) {
        reset |= h[k]->reset == HISTOGRAM_RESET;
        none |= h[k]->reset == HISTOGRAM_NO_RESET;
    }
    return reset && none;
}

static void note_window(struct range_work *w, const struct histogram *const *h, size_t n,
                        bool reconciled)
{
    if (resets_collide(h, n))
        note_collision(w->c->ev, w->c->at, "aggregation");
    if (reconciled)
        note_reconciled(w->c->ev, w->c->at, "aggregation");
}

const struct histogram *sum_histograms(struct range_work *w, size_t i)
{
    const struct histogram *const *h = w->s.h + w->hfrom[i];
    size_t n = histograms_in(w, i);
    bool reconciled = false;
    struct histogram_add how = {1, false, &reconciled, NULL};
    struct histogram_sum s = {0};
    struct histogram *result = NULL;
    bool fits = true;

    histogram_sum_set(&s, h[0]);
    for (size_t k = 1; k < n && fits; k++)
        fits = histogram_sum_add(&s, h[k], &how);
    if (fits)
        result = histogram_sum_take(w->m, &s, 1);
    histogram_sum_done(&s);
    if (fits)
        note_window(w, h, n, reconciled);
    else
        note_mixed_schemas(w->c->ev, w->c->at, w->name);
    return result;
}

const struct histogram *avg_histograms(struct range_work *w, size_t i)
{
    const struct histogram *const *h = w->s.h + w->hfrom[i];
    size_t n = histograms_in(w, i);
    bool reconciled = false;
    struct histogram_add how = {1, false, &reconciled, NULL};
    struct histogram_mean mean = {0};
    struct histogram *result = NULL;
    bool fits = true;

    for (size_t k = 0; k < n && fits; k++)
        fits = histogram_mean_add(w->m, &mean, h[k], &how);
    if (fits)
        result = histogram_mean_take(w->m, &mean);
    histogram_mean_done(&mean);
    if (fits)
        note_window(w, h, n, reconciled);
    else
        note_mixed_schemas(w->c->ev, w->c->at, w->name);
    return result;
}

/* The smallest schema of those that count; false: exponential and custom buckets are mixed. */
static bool check_schemas(struct range_work *w, const struct histogram *const *h, size_t n,
                          const struct histogram *first, bool counter, int32_t *ret)
{
    bool custom = histogram_is_custom(first);

    if (histogram_is_custom(h[n - 1]) != custom)
        return false;
    *ret = h[n - 1]->schema < first->schema ? h[n - 1]->schema : first->schema;
    for (size_t k = 1; k + 1 < n && counter; k++) {
        if (h[k]->reset == HISTOGRAM_GAUGE)
            note_not_counter(w->c->ev, w->c->at, w->name);
        if (h[k]->schema < *ret)
            *ret = h[k]->schema;
        if (histogram_is_custom(h[k]) != custom)
            return false;
    }
    return true;
}

/* The histograms of a window. */
struct rising {
    const struct histogram *const *h;
    const int64_t *ts, *st; /* st: NULL if none is told */
    size_t n;
};

static bool is_reset(const struct rising *x, size_t k, const struct histogram *before)
{
    return (x->st != NULL &&
            start_is_reset(x->st[k - 1], x->ts[k - 1], x->st[k], x->ts[k])) ||
           histogram_is_reset(x->h[k], before);
}

/* last - first, and what stood before each reset. */
static bool rise(struct histogram_sum *s, const struct rising *x, const struct histogram *first,
                 bool counter, bool reconciled[2])
{
    struct histogram_add minus = {-1, true, &reconciled[0], NULL};
    struct histogram_add plus = {1, true, &reconciled[1], NULL};
    const struct histogram *before = first;

    if (!histogram_sum_add(s, first, &minus))
        return false;
    for (size_t k = 1; k < x->n && counter; k++) {
        if (is_reset(x, k, before) && !histogram_sum_add(s, before, &plus))
            return false;
        before = x->h[k];
    }
    return true;
}

const struct histogram *rate_histograms(struct range_work *w, size_t i, bool counter)
{
    struct evaluator *ev = w->c->ev;
    const struct histogram *const *h = w->s.h + w->hfrom[i];
    size_t n = histograms_in(w, i);
    struct rising x = {h, w->s.hts + w->hfrom[i],
                       w->s.hst != NULL ? w->s.hst + w->hfrom[i] : NULL, n};
    bool reconciled[2] = {false, false};
    struct histogram empty = {
        .schema = h[1]->schema, .custom = h[1]->custom, .n_custom = h[1]->n_custom};
    const struct histogram *first = h[0];
    struct histogram_sum s = {0};
    struct histogram *result = NULL;
    int32_t schema = 0;

    if (counter && (h[0]->reset == HISTOGRAM_GAUGE || h[n - 1]->reset == HISTOGRAM_GAUGE))
        note_not_counter(ev, w->c->at, w->name);
    if (counter && is_reset(&x, 1, h[0]))
        first = &empty;
    if (!check_schemas(w, h, n, first, counter, &schema)) {
        note_mixed_schemas(ev, w->c->at, w->name);
        return NULL;
    }
    histogram_sum_set(&s, h[n - 1]);
    histogram_sum_coarsen(&s, schema);
    if (rise(&s, &x, first, counter, reconciled))
        result = histogram_sum_take(w->m, &s, 1);
    histogram_sum_done(&s);
    if (result == NULL) {
        note_mixed_schemas(ev, w->c->at, w->name);
        return NULL;
    }
    if (reconciled[0])
        note_reconciled(ev, w->c->at, "subtraction");
    if (reconciled[1])
        note_reconciled(ev, w->c->at, "addition");
    if (!counter && (h[0]->reset != HISTOGRAM_GAUGE || h[n - 1]->reset != HISTOGRAM_GAUGE))
        note_not_gauge(ev, w->c->at, w->name);
    if (counter && x.st != NULL)
        note_overlaps(w, x.ts, x.st, n);
    result->reset = HISTOGRAM_GAUGE;
    histogram_compact(result);
    return result;
}

struct histogram *combine_histograms(struct range_work *w, const struct histogram *a,
                                     const struct histogram *b, int sign)
{
    bool reconciled = false;
    struct histogram *h = histogram_combine(w->m, a, b, sign, &reconciled, NULL);

    if (h == NULL)
        note_mixed_schemas(w->c->ev, w->c->at, w->name);
    else if (reconciled)
        note_reconciled(w->c->ev, w->c->at, sign < 0 ? "subtraction" : "addition");
    return h;
}

const struct histogram *histogram_between(struct range_work *w, const struct histogram *const at[2],
                                          int64_t t0, int64_t t1, int64_t t, bool counter)
{
    double fraction = (double)(t - t0) / (double)(t1 - t0);
    struct histogram *h;

    if (t == t0 || t == t1)
        return histogram_clone(w->m, at[t == t1]);
    if (counter && histogram_is_reset(at[1], at[0]))
        return histogram_scaled(w->m, at[1], fraction);
    h = combine_histograms(w, at[1], at[0], -1);
    if (h == NULL)
        return NULL;
    histogram_multiply(h, fraction);
    return combine_histograms(w, h, at[0], 1);
}

/* The part of a window that an extended range is measured between. */
struct stretch {
    size_t first, last; /* samples */
    int64_t start, end;
};

static bool find_stretch(const struct range_work *w, size_t i, struct stretch *ret)
{
    const struct readings *s = &w->s;
    size_t a = w->hfrom[i];
    size_t b = w->hto[i];
    struct stretch x = {a, b - 1, range_start(w, i), range_end(w, i)};

    while (x.first + 1 < b && s->hts[x.first + 1] <= x.start)
        x.first++;
    if (x.first == b - 1 && x.first > a)
        x.first--;
    if (w->c->smoothed)
        for (x.last = a; x.last + 1 < b && s->hts[x.last] < x.end; x.last++)
            ;
    *ret = x;
    return s->hts[x.last] > x.start && !(w->c->smoothed && s->hts[x.first] > x.end);
}

static bool check_stretch(struct range_work *w, const struct stretch *x, bool counter)
{
    const struct histogram *const *h = w->s.h;

    for (size_t k = x->first; k <= x->last; k++) {
        if (histogram_is_custom(h[k]) != histogram_is_custom(h[x->first])) {
            note_mixed_schemas(w->c->ev, w->c->at, w->name);
            return false;
        }
        if (counter && h[k]->reset == HISTOGRAM_GAUGE)
            note_not_counter(w->c->ev, w->c->at, w->name);
    }
    return true;
}

/* What stood before each reset between the bounds. False: they do not mix. */
static bool add_resets(struct range_work *w, const struct stretch *x, const struct histogram *left,
                       const struct histogram *right, const struct histogram **ret)
{
    const struct readings *s = &w->s;
    const struct histogram *before = left;
    const struct histogram *sum = NULL;
    size_t k = x->first + 1;

    *ret = NULL;
    if (w->c->smoothed && s->hts[x->first] < x->start &&
        histogram_is_reset(s->h[x->first + 1], s->h[x->first])) {
        before = s->h[x->first + 1];
        k++;
    }
    if (k > x->last)
        return true;
    for (; k <= x->last; k++) {
        const struct histogram *now = k < x->last ? s->h[k] : right;

        if (histogram_is_reset(now, before)) {
            sum = sum == NULL ? before : combine_histograms(w, sum, before, 1);
            if (sum == NULL)
                return false;
        }
        before = now;
    }
    *ret = sum;
    return true;
}

const struct histogram *extended_histograms(struct range_work *w, size_t i, bool counter,
                                            bool per_second)
{
    const struct readings *s = &w->s;
    const struct histogram *left;
    const struct histogram *right;
    const struct histogram *resets;
    struct histogram *h;
    struct stretch x;

    if (!find_stretch(w, i, &x) || !check_stretch(w, &x, counter))
        return NULL;
    left = s->h[x.first];
    if (w->c->smoothed && s->hts[x.first] < x.start)
        left = histogram_between(w, s->h + x.first, s->hts[x.first], s->hts[x.first + 1], x.start,
                                 counter);
    right = s->h[x.last];
    if (left != NULL && w->c->smoothed && x.last > w->hfrom[i] && s->hts[x.last] > x.end)
        right = histogram_between(w, s->h + x.last - 1, s->hts[x.last - 1], s->hts[x.last], x.end,
                                  counter);
    if (left == NULL || right == NULL)
        return NULL;
    if (!counter && (left->reset != HISTOGRAM_GAUGE || right->reset != HISTOGRAM_GAUGE))
        note_not_gauge(w->c->ev, w->c->at, w->name);
    h = combine_histograms(w, right, left, -1);
    if (h == NULL || (counter && !add_resets(w, &x, left, right, &resets)))
        return NULL;
    if (counter && resets != NULL)
        h = combine_histograms(w, h, resets, 1);
    if (h == NULL)
        return NULL;
    if (per_second)
        histogram_divide(h, go_seconds(w->c->range_ms));
    h->reset = HISTOGRAM_GAUGE;
    histogram_compact(h);
    return h;
}
