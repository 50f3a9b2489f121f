/* Sums of native histograms: zero buckets, schemas and custom bounds are brought together first. */
#include "metrics/promql/histogram_math.h"

#include "base/alloc.h"

#include <math.h>
#include <stdlib.h>

static void flat_need(struct flat *f, size_t n)
{
    if (n <= f->cap)
        return;
    f->cap = n + n / 2 + 8;
    f->index = xrealloc(f->index, f->cap * sizeof *f->index);
    f->v = xrealloc(f->v, f->cap * sizeof *f->v);
    f->c = xrealloc(f->c, f->cap * sizeof *f->c);
}

static void flat_done(struct flat *f)
{
    free(f->index);
    free(f->v);
    free(f->c);
}

static void flat_put(struct flat *f, int32_t index, double v, double c)
{
    flat_need(f, f->n + 1);
    f->index[f->n] = index;
    f->v[f->n] = v;
    f->c[f->n++] = c;
}

static void flat_load(struct flat *f, const struct histogram_side *side)
{
    struct histogram_walk w = {.side = side};

    f->n = 0;
    flat_need(f, side->n);
    while (histogram_walk_next(&w))
        flat_put(f, w.index, w.count, 0);
}

static void flat_copy(struct flat *to, const struct flat *from)
{
    flat_need(to, from->n);
    to->n = from->n;
    if (from->n == 0)
        return;
    memcpy(to->index, from->index, from->n * sizeof *from->index);
    memcpy(to->v, from->v, from->n * sizeof *from->v);
    memcpy(to->c, from->c, from->n * sizeof *from->c);
}

void histogram_sum_done(struct histogram_sum *s)
{
    flat_done(&s->positive);
    flat_done(&s->negative);
    flat_done(&s->other[0]);
    flat_done(&s->other[1]);
    flat_done(&s->spare);
    free(s->custom);
    *s = (struct histogram_sum){0};
}

static void set_custom(struct histogram_sum *s, const double *custom, size_t n)
{
    if (n > s->cap_custom) {
        s->cap_custom = n;
        s->custom = xrealloc(s->custom, n * sizeof *s->custom);
    }
    s->n_custom = n;
    if (n > 0)
        memmove(s->custom, custom, n * sizeof *custom);
}

void histogram_sum_set(struct histogram_sum *s, const struct histogram *h)
{
    s->started = true;
    s->schema = h->schema;
    s->reset = h->reset;
    s->zero_threshold = h->zero_threshold;
    s->zero = h->zero_count;
    s->count = h->count;
    s->sum = h->sum;
    s->zero_c = s->count_c = s->sum_c = 0;
    flat_load(&s->positive, &h->positive);
    flat_load(&s->negative, &h->negative);
    set_custom(s, h->custom, h->schema == HISTOGRAM_CUSTOM ? h->n_custom : 0);
}

void histogram_sum_copy(struct histogram_sum *to, const struct histogram_sum *from)
{
    to->started = from->started;
    to->schema = from->schema;
    to->reset = from->reset;
    to->zero_threshold = from->zero_threshold;
    to->zero = from->zero;
    to->zero_c = from->zero_c;
    to->count = from->count;
    to->count_c = from->count_c;
    to->sum = from->sum;
    to->sum_c = from->sum_c;
    flat_copy(&to->positive, &from->positive);
    flat_copy(&to->negative, &from->negative);
    set_custom(to, from->custom, from->n_custom);
}

static bool adjust_reset(struct histogram_sum *s, enum histogram_reset other)
{
    if (other == s->reset || s->reset == HISTOGRAM_GAUGE)
        return false;
    if (other == HISTOGRAM_GAUGE) {
        s->reset = HISTOGRAM_GAUGE;
        return false;
    }
    if (s->reset == HISTOGRAM_RESET_UNKNOWN)
        return false;
    s->reset = HISTOGRAM_RESET_UNKNOWN;
    return other != HISTOGRAM_RESET_UNKNOWN;
}

static double bound(int32_t schema, int32_t index)
{
    struct histogram h = {.schema = schema};

    return histogram_bound(&h, index);
}

/* The zero bucket of some histogram, while its threshold is raised. */
struct zero {
    double threshold, count, c;
};

/* Adds the buckets of a side that a larger zero bucket takes in; the threshold moves up to the end
 * of a populated bucket that it cuts. False: it moved, on the second side: all anew. */
static bool take_in(const struct flat *f, int32_t schema, double *threshold, struct zero *z,
                    bool again)
{
    for (size_t i = 0; i < f->n; i++) {
        if (bound(schema, f->index[i] - 1) >= *threshold)
            return true;
        kahan_add(f->v[i], &z->count, &z->c);
        kahan_add(f->c[i], &z->count, &z->c);
        if (bound(schema, f->index[i]) > *threshold) {
            if (f->v[i] == 0)
                return true;
            *threshold = bound(schema, f->index[i]);
            return !again;
        }
    }
    return true;
}

static void raise_zero(const struct flat *positive, const struct flat *negative, int32_t schema,
                       double threshold, struct zero *z)
{
    double count = z->count;

    if (threshold == z->threshold)
        return;
    do {
        z->count = count;
        take_in(positive, schema, &threshold, z, false);
    } while (!take_in(negative, schema, &threshold, z, true));
    z->threshold = threshold;
}

/* Buckets that are in the zero bucket now. */
static void drop_below(struct flat *f, int32_t schema, double threshold)
{
    size_t from = 0;

    while (from < f->n && bound(schema, f->index[from] - 1) < threshold)
        from++;
    if (from == 0)
        return;
    f->n -= from;
    memmove(f->index, f->index + from, f->n * sizeof *f->index);
    memmove(f->v, f->v + from, f->n * sizeof *f->v);
    memmove(f->c, f->c + from, f->n * sizeof *f->c);
}

static struct zero reconcile_zero(struct histogram_sum *s, const struct histogram *h)
{
    struct zero mine = {s->zero_threshold, s->zero, s->zero_c};
    struct zero other = {h->zero_threshold, h->zero_count, 0};

    while (other.threshold != mine.threshold) {
        if (mine.threshold > other.threshold)
            raise_zero(&s->other[0], &s->other[1], h->schema, mine.threshold, &other);
        if (other.threshold > mine.threshold) {
            raise_zero(&s->positive, &s->negative, s->schema, other.threshold, &mine);
            drop_below(&s->positive, s->schema, mine.threshold);
            drop_below(&s->negative, s->schema, mine.threshold);
        }
        if (isnan(other.threshold) || isnan(mine.threshold))
            break;
    }
    s->zero_threshold = mine.threshold;
    s->zero = mine.count;
    s->zero_c = mine.c;
    return other;
}

static void reduce(struct flat *f, int32_t from, int32_t to, bool plain)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++) {
        int32_t index = ((f->index[i] - 1) >> (from - to)) + 1;

        if (n > 0 && f->index[n - 1] == index && plain) {
            f->v[n - 1] += f->v[i];
        } else if (n > 0 && f->index[n - 1] == index) {
            double v = f->v[i];
            double c = f->c[i];

            kahan_add(v, &f->v[n - 1], &f->c[n - 1]);
            kahan_add(c, &f->v[n - 1], &f->c[n - 1]);
        } else {
            f->index[n] = index;
            f->v[n] = f->v[i];
            f->c[n++] = f->c[i];
        }
    }
    f->n = n;
}

void histogram_sum_coarsen(struct histogram_sum *s, int32_t schema)
{
    if (schema >= s->schema)
        return;
    reduce(&s->positive, s->schema, schema, true);
    reduce(&s->negative, s->schema, schema, true);
    s->schema = schema;
}

/* The union of both; leading buckets of b up to the threshold are in the zero bucket already. */
static void merge(struct histogram_sum *s, struct flat *a, const struct flat *b,
                  const struct histogram_add *how)
{
    struct flat *to = &s->spare;
    struct flat swap;
    size_t i = 0;
    size_t j = 0;

    to->n = 0;
    flat_need(to, a->n + b->n);
    while (s->schema != HISTOGRAM_CUSTOM && j < b->n &&
           bound(s->schema, b->index[j]) <= s->zero_threshold)
        j++;
    while (i < a->n || j < b->n) {
        if (j == b->n || (i < a->n && a->index[i] < b->index[j])) {
            flat_put(to, a->index[i], a->v[i], a->c[i]);
            i++;
            continue;
        }
        if (i == a->n || b->index[j] < a->index[i]) {
            flat_put(to, b->index[j], how->sign * b->v[j], how->sign * b->c[j]);
            j++;
            continue;
        }
        flat_put(to, a->index[i], a->v[i], a->c[i]);
        if (how->plain) {
            to->v[to->n - 1] += how->sign * b->v[j];
        } else {
            kahan_add(how->sign * b->v[j], &to->v[to->n - 1], &to->c[to->n - 1]);
            if (b->c[j] != 0)
                kahan_add(how->sign * b->c[j], &to->v[to->n - 1], &to->c[to->n - 1]);
        }
        i++;
        j++;
    }
    swap = *a;
    *a = *to;
    *to = swap;
}

static void map_bounds(struct flat *to, const struct flat *from, const double *bounds, size_t n,
                       const double *common, size_t n_common, int sign)
{
    for (size_t i = 0; i < from->n; i++) {
        size_t at = n_common;

        if (from->index[i] >= 0 && (size_t)from->index[i] < n)
            for (at = 0; at < n_common && common[at] < bounds[from->index[i]]; at++)
                ;
        kahan_add(sign * from->v[i], &to->v[at], &to->c[at]);
        if (sign > 0)
            kahan_add(from->c[i], &to->v[at], &to->c[at]);
    }
}

/* Bounds that both have stay; what is between goes into the bucket above. */
static void merge_bounds(struct histogram_sum *s, const struct histogram *h, int sign)
{
    double *common = xmalloc((s->n_custom + 1) * sizeof *common);
    struct flat *to = &s->spare;
    struct flat swap;
    size_t n = 0;
    size_t kept = 0;

    for (size_t i = 0, j = 0; i < s->n_custom && j < h->n_custom;) {
        if (s->custom[i] == h->custom[j]) {
            common[n++] = s->custom[i++];
            j++;
        } else if (s->custom[i] < h->custom[j]) {
            i++;
        } else {
            j++;
        }
    }
    to->n = 0;
    for (size_t i = 0; i <= n; i++)
        flat_put(to, (int32_t)i, 0, 0);
    map_bounds(to, &s->positive, s->custom, s->n_custom, common, n, 1);
    map_bounds(to, &s->other[0], h->custom, h->n_custom, common, n, sign);
    for (size_t i = 0; i < to->n; i++) {
        if (to->v[i] == 0 && to->c[i] == 0)
            continue;
        to->index[kept] = to->index[i];
        to->v[kept] = to->v[i];
        to->c[kept++] = to->c[i];
    }
    to->n = kept;
    swap = s->positive;
    s->positive = *to;
    *to = swap;
    set_custom(s, common, n);
    free(common);
}

static bool same_bounds(const struct histogram_sum *s, const struct histogram *h)
{
    return s->n_custom == h->n_custom &&
           (s->n_custom == 0 || memcmp(s->custom, h->custom, s->n_custom * sizeof(double)) == 0);
}

static void add_part(double v, double *sum, double *c, bool plain)
{
    if (plain)
        *sum += v;
    else
        kahan_add(v, sum, c);
}

static void add_exponential(struct histogram_sum *s, const struct histogram *h,
                            const struct histogram_add *how)
{
    if (h->schema < s->schema) {
        reduce(&s->positive, s->schema, h->schema, how->plain);
        reduce(&s->negative, s->schema, h->schema, how->plain);
        s->schema = h->schema;
    } else if (h->schema > s->schema) {
        reduce(&s->other[0], h->schema, s->schema, how->plain);
        reduce(&s->other[1], h->schema, s->schema, how->plain);
    }
    merge(s, &s->positive, &s->other[0], how);
    merge(s, &s->negative, &s->other[1], how);
}

bool histogram_sum_add(struct histogram_sum *s, const struct histogram *h,
                       const struct histogram_add *how)
{
    bool custom = s->schema == HISTOGRAM_CUSTOM;
    bool collides;

    if (custom != histogram_is_custom(h))
        return false;
    collides = adjust_reset(s, h->reset);
    if (collides && how->collision != NULL)
        *how->collision = true;
    flat_load(&s->other[0], &h->positive);
    flat_load(&s->other[1], &h->negative);
    if (!custom) {
        struct zero other = reconcile_zero(s, h);

        if (how->plain)
            s->zero_c = 0;
        add_part(how->sign * other.count, &s->zero, &s->zero_c, how->plain);
        if (!how->plain)
            kahan_add(how->sign * other.c, &s->zero, &s->zero_c);
    }
    add_part(how->sign * h->count, &s->count, &s->count_c, how->plain);
    add_part(how->sign * h->sum, &s->sum, &s->sum_c, how->plain);
    if (!custom) {
        add_exponential(s, h, how);
    } else if (same_bounds(s, h)) {
        merge(s, &s->positive, &s->other[0], how);
    } else {
        merge_bounds(s, h, how->sign);
        if (how->plain)
            for (size_t i = 0; i < s->positive.n; i++)
                s->positive.c[i] = 0;
        if (how->reconciled != NULL)
            *how->reconciled = true;
    }
    return true;
}

static void scale_flat(struct flat *f, double factor, double divisor)
{
    for (size_t i = 0; i < f->n; i++) {
        f->v[i] = f->v[i] * factor / divisor;
        f->c[i] = f->c[i] * factor / divisor;
    }
}

static void scale(struct histogram_sum *s, double factor, double divisor)
{
    double *parts[] = {&s->zero, &s->zero_c, &s->count, &s->count_c, &s->sum, &s->sum_c};

    for (size_t i = 0; i < 6; i++)
        *parts[i] = *parts[i] * factor / divisor;
    scale_flat(&s->positive, factor, divisor);
    scale_flat(&s->negative, factor, divisor);
}

void histogram_sum_multiply(struct histogram_sum *s, double factor)
{
    scale(s, factor, 1);
}

void histogram_sum_divide(struct histogram_sum *s, double divisor)
{
    scale(s, 1, divisor);
}

static bool flat_overflows(const struct flat *f)
{
    for (size_t i = 0; i < f->n; i++)
        if (isinf(f->v[i]))
            return true;
    return false;
}

bool histogram_sum_overflows(const struct histogram_sum *s)
{
    return isinf(s->zero) || isinf(s->count) || isinf(s->sum) || flat_overflows(&s->positive) ||
           flat_overflows(&s->negative);
}

static void take_side(struct mem *m, const struct flat *f, double divisor,
                      struct histogram_side *side)
{
    side->counts = mem_get(m, (f->n + 1) * sizeof *side->counts);
    side->spans = mem_get(m, (f->n + 1) * sizeof *side->spans);
    side->n = f->n;
    for (size_t i = 0; i < f->n; i++) {
        side->counts[i] = f->v[i] / divisor + f->c[i] / divisor;
        if (i > 0 && f->index[i] == f->index[i - 1] + 1) {
            side->spans[side->n_spans - 1].length++;
            continue;
        }
        side->spans[side->n_spans++] =
            (struct histogram_span){i > 0 ? f->index[i] - f->index[i - 1] - 1 : f->index[i], 1};
    }
}

struct histogram *histogram_sum_take(struct mem *m, const struct histogram_sum *s, double divisor)
{
    struct histogram *h = mem_get(m, sizeof *h);

    h->schema = s->schema;
    h->reset = s->reset;
    h->zero_threshold = s->zero_threshold;
    h->zero_count = s->zero / divisor + s->zero_c / divisor;
    h->count = s->count / divisor + s->count_c / divisor;
    h->sum = s->sum / divisor + s->sum_c / divisor;
    take_side(m, &s->positive, divisor, &h->positive);
    take_side(m, &s->negative, divisor, &h->negative);
    h->custom = mem_get(m, (s->n_custom + 1) * sizeof *h->custom);
    h->n_custom = s->n_custom;
    if (s->n_custom > 0)
        memcpy(h->custom, s->custom, s->n_custom * sizeof *s->custom);
    return h;
}

void histogram_mean_done(struct histogram_mean *x)
{
    histogram_sum_done(&x->sum);
    histogram_sum_done(&x->trial);
}

bool histogram_mean_add(struct mem *m, struct histogram_mean *x, const struct histogram *h,
                        const struct histogram_add *how)
{
    struct histogram *part;
    double q;

    x->count++;
    if (!x->sum.started) {
        histogram_sum_set(&x->sum, h);
        return true;
    }
    if (!x->incremental) {
        struct histogram_sum swap;

        histogram_sum_copy(&x->trial, &x->sum);
        if (!histogram_sum_add(&x->trial, h, how))
            return false;
        if (!histogram_sum_overflows(&x->trial)) {
            swap = x->sum;
            x->sum = x->trial;
            x->trial = swap;
            return true;
        }
        x->incremental = true;
        histogram_sum_divide(&x->sum, x->count - 1);
    }
    q = (x->count - 1) / x->count;
    histogram_sum_multiply(&x->sum, q);
    part = histogram_clone(m, h);
    histogram_divide(part, x->count);
    return histogram_sum_add(&x->sum, part, how);
}

struct histogram *histogram_mean_take(struct mem *m, const struct histogram_mean *x)
{
    return histogram_sum_take(m, &x->sum, x->incremental ? 1 : x->count);
}
