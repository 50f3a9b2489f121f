#include "metrics/promql/promql.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/shim.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void result_done(struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->series[i].labels);
        free(r->series[i].points);
    }
    free(r->series);
    *r = (struct result){0};
}

static struct result_series *add_series(struct result *r, const struct labels *labels, size_t room)
{
    struct result_series *s;

    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 16 : 2 * r->cap;
        r->series = xrealloc(r->series, r->cap * sizeof *r->series);
    }
    s = &r->series[r->n++];
    *s = (struct result_series){.n_labels = labels->n};
    s->labels = xmalloc((labels->n + 1) * sizeof *s->labels);
    memcpy(s->labels, labels->items, labels->n * sizeof *s->labels);
    s->points = xmalloc((room + 1) * sizeof *s->points);
    return s;
}

static int by_labels(const void *a, const void *b)
{
    const struct result_series *x = a;
    const struct result_series *y = b;

    return labels_cmp(&(struct labels){x->labels, x->n_labels},
                      &(struct labels){y->labels, y->n_labels});
}

/* All samples of a range that are no stale markers. */
static void take_range(struct result *r, const struct query_item *item)
{
    struct result_series *s = add_series(r, &item->labels, item->n);

    for (size_t i = 0; i < item->n; i++)
        if (item->bits[i] != VALUE_STALE_BITS)
            s->points[s->n_points++] = (struct point){item->ts[i], bits_double(item->bits[i])};
}

/* At each step the newest sample of the lookback, unless it is a stale marker. `shift` is what to
 * add to a step for the time that is looked at; `fixed`: every step looks at the end of the range.
 */
static void take_steps(const struct eval *ev, struct result *r, const struct query_item *item,
                       int64_t shift, bool fixed)
{
    size_t steps = ev->step_ms > 0 ? (size_t)((ev->end_ms - ev->start_ms) / ev->step_ms) + 1 : 1;
    struct result_series *s = add_series(r, &item->labels, steps);
    size_t at = 0;

    for (size_t k = 0; k < steps; k++) {
        int64_t ts = ev->start_ms + (int64_t)k * ev->step_ms;
        int64_t look = fixed ? shift : ts + shift;

        while (at + 1 < item->n && item->ts[at + 1] <= look)
            at++;
        if (item->ts[at] <= look && item->ts[at] > look - ev->lookback_ms &&
            item->bits[at] != VALUE_STALE_BITS)
            s->points[s->n_points++] =
                (struct point){ev->keep_times ? item->ts[at] : ts, bits_double(item->bits[at])};
    }
}

static int check(const struct eval *ev, const struct result *r)
{
    if (r->samples > ev->samples_max)
        return -E2BIG;
    if (ev->deadline_ms > 0 && clock_monotonic_ms() > ev->deadline_ms)
        return -ETIMEDOUT;
    return 0;
}

int promql_eval(const struct eval *ev, const struct expr *e, struct result *ret)
{
    bool range = e->kind == EXPR_RANGE;
    bool fixed = e->at != AT_NONE;
    int64_t at = e->at == AT_START ? ev->start_ms : e->at == AT_END ? ev->end_ms : e->at_ms;
    int64_t from = (fixed ? at : ev->start_ms) - e->offset_ms;
    int64_t to = (fixed ? at : ev->end_ms) - e->offset_ms;
    struct query *q = NULL;
    struct query_item item;
    int r;

    *ret = (struct result){0};
    from -= (range ? e->range_ms : ev->lookback_ms) - 1;
    r = query_open(ev->db, e->matchers, e->n_matchers, from, to,
                   range || (from < to - ev->lookback_ms + 1) ? 0 : QUERY_LAST, &q);
    while (r >= 0 && (r = query_next(q, &item)) > 0) {
        ret->samples += item.n;
        if (range)
            take_range(ret, &item);
        else
            take_steps(ev, ret, &item, fixed ? to : -e->offset_ms, fixed);
        if (ret->series[ret->n - 1].n_points == 0) {
            ret->n--;
            free(ret->series[ret->n].labels);
            free(ret->series[ret->n].points);
        }
        r = check(ev, ret);
    }
    query_close(q);
    if (r < 0) {
        result_done(ret);
        return r;
    }
    if (ret->n > 1)
        qsort(ret->series, ret->n, sizeof *ret->series, by_labels);
    return 0;
}

/* Go's strconv 'f', with an exponent below 1e-6 and from 1e21 on. */
void print_value(struct buf *out, double v)
{
    double magnitude = fabs(v);
    char text[DOUBLE_TEXT_MAX];
    const char *e;
    size_t n;

    if (v >= 0 && v < 1e15 && v == (double)(uint64_t)v && !signbit(v)) {
        buf_add_u64(out, (uint64_t)v);
        return;
    }
    n = double_print(v, text);
    e = magnitude > 0 && magnitude < 1e-4 ? memchr(text, 'e', n) : NULL;
    if (e == NULL || magnitude < 1e-6) {
        buf_add(out, text, n);
        return;
    }
    buf_add_str(out, v < 0 ? "-0." : "0.");
    for (long zeros = strtol(e + 2, NULL, 10) - 1; zeros > 0; zeros--)
        buf_add_char(out, '0');
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            buf_add_char(out, *p);
}

void print_time(struct buf *out, int64_t ts_ms)
{
    int64_t part = ts_ms % 1000;

    if (ts_ms < 0)
        buf_add_char(out, '-');
    buf_add_u64(out, (uint64_t)(ts_ms < 0 ? -(ts_ms / 1000) : ts_ms / 1000));
    if (part != 0) {
        unsigned p = (unsigned)(part < 0 ? -part : part);
        char text[4] = {'.', (char)('0' + p / 100), (char)('0' + p / 10 % 10),
                        (char)('0' + p % 10)};

        buf_add(out, text, sizeof text);
    }
}
