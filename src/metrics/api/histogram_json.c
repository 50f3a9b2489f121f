#include "metrics/api/histogram_json.h"

#include "base/alloc.h"
#include "metrics/promql/print.h"

#include <stdlib.h>

static void positive_bucket(const struct histogram *h, const struct histogram_walk *w,
                            struct histogram_bucket *ret)
{
    *ret = (struct histogram_bucket){.lower = histogram_bound(h, w->index - 1),
                                     .upper = histogram_bound(h, w->index),
                                     .count = w->count};
    if (h->schema == HISTOGRAM_CUSTOM) {
        ret->lower_in = w->index == 0;
        ret->upper_in = true;
        return;
    }
    ret->lower_in = ret->lower < 0;
    ret->upper_in = ret->upper > 0;
    if (ret->lower < h->zero_threshold && ret->upper > h->zero_threshold)
        ret->lower = h->zero_threshold;
}

void histogram_buckets(const struct histogram *h,
                       void (*f)(void *ctx, const struct histogram_bucket *b), void *ctx)
{
    struct histogram_walk w = {.side = &h->negative};
    struct histogram_bucket *negative = xcalloc(h->negative.n + 1, sizeof *negative);
    struct histogram_bucket b;
    size_t n = 0;

    while (histogram_walk_next(&w)) {
        struct histogram_bucket *to = &negative[n++];

        *to = (struct histogram_bucket){.lower = -histogram_bound(h, w.index),
                                        .upper = -histogram_bound(h, w.index - 1),
                                        .count = w.count};
        to->lower_in = to->lower < 0;
        to->upper_in = to->upper > 0;
        if (to->upper > -h->zero_threshold && to->lower < -h->zero_threshold)
            to->upper = -h->zero_threshold;
    }
    while (n > 0)
        if (negative[--n].count != 0)
            f(ctx, &negative[n]);
    free(negative);
    if (h->zero_count > 0) {
        b = (struct histogram_bucket){-h->zero_threshold, h->zero_threshold, h->zero_count, true,
                                      true};
        f(ctx, &b);
    }
    w = (struct histogram_walk){.side = &h->positive};
    while (histogram_walk_next(&w)) {
        positive_bucket(h, &w, &b);
        if (b.count != 0)
            f(ctx, &b);
    }
}

struct bucket_list {
    struct buf *out;
    bool any;
};

static void add_json(void *ctx, const struct histogram_bucket *b)
{
    struct bucket_list *l = ctx;

    buf_add_str(l->out, l->any ? ",[" : ",\"buckets\":[[");
    l->any = true;
    buf_add_char(l->out, b->lower_in ? (b->upper_in ? '3' : '1') : b->upper_in ? '0' : '2');
    buf_add_str(l->out, ",\"");
    print_value(l->out, b->lower);
    buf_add_str(l->out, "\",\"");
    print_value(l->out, b->upper);
    buf_add_str(l->out, "\",\"");
    print_value(l->out, b->count);
    buf_add_str(l->out, "\"]");
}

void histogram_json(struct buf *out, const struct histogram *h)
{
    struct bucket_list l = {out, false};

    buf_add_str(out, "{\"count\":\"");
    print_value(out, h->count);
    buf_add_str(out, "\",\"sum\":\"");
    print_value(out, h->sum);
    buf_add_char(out, '"');
    histogram_buckets(h, add_json, &l);
    buf_add_str(out, l.any ? "]}" : "}");
}

static void add_text(void *ctx, const struct histogram_bucket *b)
{
    struct buf *out = ctx;

    buf_add_str(out, b->lower_in ? ", [" : ", (");
    print_value(out, b->lower);
    buf_add_char(out, ',');
    print_value(out, b->upper);
    buf_add_str(out, b->upper_in ? "]:" : "):");
    print_value(out, b->count);
}

void histogram_text(struct buf *out, const struct histogram *h)
{
    buf_add_str(out, "{count:");
    print_value(out, h->count);
    buf_add_str(out, ", sum:");
    print_value(out, h->sum);
    histogram_buckets(h, add_text, out);
    buf_add_char(out, '}');
}
