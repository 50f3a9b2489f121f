/* Did a counter histogram begin anew? */
#include "metrics/promql/histogram_math.h"

#include <math.h>
#include <stdlib.h>

/* A place of `before` that is missing in `now`, or fell. Both are of one schema; places up to the
 * threshold are in the zero bucket. */
static bool fell(const struct flat *now, const struct flat *before, int32_t schema,
                 double threshold)
{
    struct histogram h = {.schema = schema};
    size_t j = 0;

    for (size_t i = 0; i < before->n; i++) {
        int32_t index = before->index[i];

        if (schema != HISTOGRAM_CUSTOM && histogram_bound(&h, index) <= threshold)
            continue;
        while (j < now->n && now->index[j] < index)
            j++;
        if (j < now->n && now->index[j] == index ? now->v[j] < before->v[i] : before->v[i] != 0)
            return true;
    }
    return false;
}

/* Custom bounds that differ: between those that both have. */
static bool fell_between(const struct histogram *now, const struct histogram *before)
{
    struct histogram_sum a = {0};
    struct histogram_sum b = {0};
    struct histogram empty_now = {
        .schema = HISTOGRAM_CUSTOM, .custom = now->custom, .n_custom = now->n_custom};
    struct histogram empty_before = {
        .schema = HISTOGRAM_CUSTOM, .custom = before->custom, .n_custom = before->n_custom};
    struct histogram_add how = {1, true, NULL, NULL};
    bool result;

    histogram_sum_set(&a, now);
    histogram_sum_set(&b, before);
    histogram_sum_add(&a, &empty_before, &how);
    histogram_sum_add(&b, &empty_now, &how);
    result = fell(&a.positive, &b.positive, HISTOGRAM_CUSTOM, 0);
    histogram_sum_done(&a);
    histogram_sum_done(&b);
    return result;
}

/* What `before` is at the schema and the zero bucket of `now`. */
static bool fell_exponential(const struct histogram *now, const struct histogram *before)
{
    struct histogram empty = {
        .schema = before->schema,
        .zero_threshold = now->zero_threshold,
        .reset = before->reset,
        .custom = before->custom, /* other bounds would merge its buckets */
        .n_custom = before->n_custom,
    };
    struct histogram_add how = {1, true, NULL, NULL};
    struct histogram_sum a = {0};
    struct histogram_sum b = {0};
    bool result;

    histogram_sum_set(&b, before);
    histogram_sum_add(&b, &empty, &how);
    histogram_sum_set(&a, now);
    result = b.zero_threshold != now->zero_threshold || now->zero_count < b.zero;
    if (!result) {
        histogram_sum_coarsen(&b, now->schema);
        result = fell(&a.positive, &b.positive, now->schema, now->zero_threshold) ||
                 fell(&a.negative, &b.negative, now->schema, now->zero_threshold);
    }
    histogram_sum_done(&a);
    histogram_sum_done(&b);
    return result;
}

bool histogram_is_reset(const struct histogram *now, const struct histogram *before)
{
    bool custom = histogram_is_custom(now);

    if (now->reset == HISTOGRAM_RESET || now->reset == HISTOGRAM_NO_RESET)
        return now->reset == HISTOGRAM_RESET;
    if (now->count < before->count)
        return true;
    if (custom && !histogram_is_custom(before))
        return true;
    if (custom && (now->n_custom != before->n_custom ||
                   (now->n_custom > 0 &&
                    memcmp(now->custom, before->custom, now->n_custom * sizeof *now->custom) != 0)))
        return fell_between(now, before);
    if (!custom && histogram_is_custom(before))
        return now->schema > before->schema;
    if (now->schema > before->schema || now->zero_threshold < before->zero_threshold)
        return true;
    return fell_exponential(now, before);
}
