/* Start times: since when the counter of a sample counts. As Prometheus 3.16 has it. */
#include "metrics/promql/range.h"

bool start_is_reset(int64_t before_start, int64_t before_ms, int64_t start, int64_t ts_ms)
{
    /* The same, not told, not known (as OpenTelemetry says it: the time of the sample), or wrong */
    if (start == before_start || start == 0 || start >= ts_ms || start < before_ms)
        return false;
    if (start > before_ms)
        return true;
    /* It counts since the sample before: the next of differences, or, where of that one it was not
     * known, a counter of which it is not known. */
    return before_start != 0 && before_start < before_ms;
}

bool start_is_after(int64_t after_ms, int64_t start, int64_t ts_ms)
{
    return start > after_ms && ts_ms > after_ms &&
           start_is_reset(after_ms, after_ms, start, ts_ms);
}

void note_overlaps(struct range_work *w, const int64_t *ts, const int64_t *st, size_t n)
{
    for (size_t k = 1; k < n; k++)
        if (st[k] != 0 && st[k] < ts[k - 1] && st[k] != st[k - 1]) {
            note_overlap(w->c->ev, w->c->at, w->name);
            return;
        }
}

/* A value at a bound of the range, and since when it counts. */
struct bound {
    int64_t start;
    double v;
};

/* One extended window. */
struct extended {
    const struct readings *s;
    size_t from; /* its first sample */
    size_t first, last;
    int64_t start_ms, end_ms, lookback_ms; /* of the range; of what is seen before it */
    bool smoothed;
};

struct edge {
    int64_t ts;
    double v;
};

/* Between two samples; a counter that fell in between is taken to have begun at zero. */
static double between(struct edge a, struct edge b, int64_t t)
{
    if (b.v < a.v)
        a.v = 0;
    return a.v + (b.v - a.v) * (double)(t - a.ts) / (double)(b.ts - a.ts);
}

static struct edge edge_at(const struct readings *s, size_t k)
{
    return (struct edge){s->ts[k], s->v[k]};
}

/* At a bound before which there is no sample, of the one behind it. */
static double before_first(const struct extended *x, size_t k, int64_t bound_ms)
{
    struct edge at = edge_at(x->s, k);
    int64_t start = x->s->st[k];

    if (!start_is_after(x->lookback_ms, start, at.ts))
        return at.v;
    if (start_is_after(bound_ms, start, at.ts) || !x->smoothed)
        return 0;
    return between((struct edge){start, 0}, at, bound_ms);
}

static struct bound left_bound(const struct extended *x)
{
    const struct readings *s = x->s;
    size_t k = x->first;
    struct edge at = edge_at(s, k);
    struct bound b = {s->st[k] > x->start_ms ? 0 : s->st[k], at.v};
    struct edge next;

    if (at.ts == x->start_ms)
        return (struct bound){s->st[k], at.v};
    if (at.ts > x->start_ms) {
        b.v = before_first(x, k, x->start_ms);
        return b;
    }
    next = edge_at(s, k + 1);
    if (start_is_after(x->start_ms, s->st[k + 1], next.ts)) {
        next = (struct edge){s->st[k + 1], 0};
    } else if (start_is_reset(s->st[k], at.ts, s->st[k + 1], next.ts)) {
        at = (struct edge){s->st[k + 1], 0};
        b.start = s->st[k + 1];
    }
    b.v = x->smoothed ? between(at, next, x->start_ms) : at.v;
    return b;
}

static struct bound right_bound(const struct extended *x)
{
    const struct readings *s = x->s;
    size_t k = x->last;
    struct edge at = edge_at(s, k);
    struct bound b = {s->st[k] > x->end_ms ? 0 : s->st[k], at.v};
    struct edge before;

    if (at.ts <= x->end_ms)
        return b;
    if (k == x->from) {
        b.v = before_first(x, k, x->end_ms);
        return b;
    }
    before = edge_at(s, k - 1);
    if (start_is_after(x->end_ms, s->st[k], at.ts)) {
        at = (struct edge){s->st[k], 0};
        b.start = s->st[k - 1];
    } else if (start_is_reset(s->st[k - 1], before.ts, s->st[k], at.ts)) {
        before = (struct edge){s->st[k], 0};
    }
    b.v = x->smoothed ? between(before, at, x->end_ms) : before.v;
    return b;
}

/* What stood before each reset between the bounds. */
static double corrections(const struct extended *x, const struct bound *left,
                          const struct bound *right)
{
    const struct readings *s = x->s;
    size_t k = s->ts[x->first] <= x->start_ms ? x->first + 1 : x->first;
    size_t stop = s->ts[x->last] >= x->end_ms ? x->last : x->last + 1;
    struct edge before = {x->start_ms, left->v};
    int64_t start = left->start;
    double sum = 0;

    for (; k < stop; k++) {
        if (s->v[k] < before.v || start_is_reset(start, before.ts, s->st[k], s->ts[k]))
            sum += before.v;
        before = edge_at(s, k);
        start = s->st[k];
    }
    if (right->v < before.v || start_is_reset(start, before.ts, right->start, x->end_ms))
        sum += before.v;
    return sum;
}

void extended_started(struct range_work *w, size_t i, double per_seconds)
{
    const struct readings *s = &w->s;
    struct extended x = {.s = s,
                         .from = w->from[i],
                         .start_ms = range_start(w, i),
                         .end_ms = range_end(w, i),
                         .smoothed = w->c->smoothed};
    struct bound left;
    struct bound right;

    x.lookback_ms = x.start_ms - w->c->lookback_ms;
    extended_find(s->ts, w->from[i], w->to[i], x.start_ms, x.end_ms, x.smoothed, &x.first,
                  &x.last);
    if (s->ts[x.last] <= x.start_ms)
        return;
    if (x.smoothed && s->ts[x.first] > x.end_ms &&
        (!start_is_after(x.lookback_ms, s->st[x.first], s->ts[x.first]) ||
         start_is_after(x.end_ms, s->st[x.first], s->ts[x.first])))
        return; /* all that is there is behind the range */
    left = left_bound(&x);
    right = right_bound(&x);
    w->out->v[i] = (right.v - left.v + corrections(&x, &left, &right)) / per_seconds;
}
