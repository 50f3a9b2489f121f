/* Numbers for people (prometheus/template/template.go). */
#include "metrics/rules/template_internal.h"

#include <math.h>
#include <stdlib.h>

/* %.4g, as Go prints it. */
static void put_short(struct buf *out, double v)
{
    if (isnan(v))
        buf_add_str(out, "NaN");
    else if (isinf(v))
        buf_add_str(out, v > 0 ? "+Inf" : "-Inf");
    else
        buf_printf(out, "%.4g", v);
}

static bool is_odd(double v)
{
    return isnan(v) || isinf(v);
}

static void put_small(struct buf *out, double v, const char *unit)
{
    static const char *const prefixes[] = {"m", "u", "n", "p", "f", "a", "z", "y"};
    const char *prefix = "";

    for (size_t i = 0; i < 8 && fabs(v) < 1; i++) {
        prefix = prefixes[i];
        v *= 1000;
    }
    put_short(out, v);
    buf_printf(out, "%s%s", prefix, unit);
}

static void put_large(struct buf *out, double v, double step, const char *const *prefixes)
{
    const char *prefix = "";

    for (size_t i = 0; i < 8 && fabs(v) >= step; i++) {
        prefix = prefixes[i];
        v /= step;
    }
    put_short(out, v);
    buf_add_str(out, prefix);
}

static int humanize_(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret)
{
    static const char *const prefixes[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
    struct buf out = {0};
    double v = 0;
    int r = tpl_float(t, &args[0], &v);

    (void)n;
    if (v == 0 || is_odd(v))
        put_short(&out, v);
    else if (fabs(v) >= 1)
        put_large(&out, v, 1000, prefixes);
    else
        put_small(&out, v, "");
    *ret = tpl_take(t, &out);
    return r;
}

static int humanize1024_(struct tpl *t, const struct tpl_value *args, size_t n,
                         struct tpl_value *ret)
{
    static const char *const prefixes[] = {"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"};
    struct buf out = {0};
    double v = 0;
    int r = tpl_float(t, &args[0], &v);

    (void)n;
    if (fabs(v) <= 1 || is_odd(v))
        put_short(&out, v);
    else
        put_large(&out, v, 1024, prefixes);
    *ret = tpl_take(t, &out);
    return r;
}

static void put_duration(struct buf *out, double v)
{
    int64_t d = fabs(v) < 9e18 ? (int64_t)fabs(v) : INT64_MAX;
    int64_t seconds = d % 60, minutes = d / 60 % 60, hours = d / 3600 % 24, days = d / 86400;
    const char *sign = v < 0 ? "-" : "";

    if (days != 0)
        buf_printf(out, "%s%" PRId64 "d %" PRId64 "h %" PRId64 "m %" PRId64 "s", sign, days, hours,
                   minutes, seconds);
    else if (hours != 0)
        buf_printf(out, "%s%" PRId64 "h %" PRId64 "m %" PRId64 "s", sign, hours, minutes, seconds);
    else if (minutes != 0)
        buf_printf(out, "%s%" PRId64 "m %" PRId64 "s", sign, minutes, seconds);
    else
        buf_printf(out, "%s%.4gs", sign, fabs(v)); /* the fraction only where there are no minutes */
}

static int humanizeDuration_(struct tpl *t, const struct tpl_value *args, size_t n,
                             struct tpl_value *ret)
{
    struct buf out = {0};
    double v = 0;
    int r = tpl_float(t, &args[0], &v);

    (void)n;
    if (is_odd(v)) {
        put_short(&out, v);
    } else if (v == 0) {
        buf_add_str(&out, "0s");
    } else if (fabs(v) >= 1) {
        put_duration(&out, v);
    } else {
        put_small(&out, v, "s");
    }
    *ret = tpl_take(t, &out);
    return r;
}

static int humanizePercentage_(struct tpl *t, const struct tpl_value *args, size_t n,
                               struct tpl_value *ret)
{
    struct buf out = {0};
    double v = 0;
    int r = tpl_float(t, &args[0], &v);

    (void)n;
    put_short(&out, v * 100);
    buf_add_char(&out, '%');
    *ret = tpl_take(t, &out);
    return r;
}

static int humanizeTimestamp_(struct tpl *t, const struct tpl_value *args, size_t n,
                              struct tpl_value *ret)
{
    struct buf out = {0};
    double v = 0;
    int r = tpl_float(t, &args[0], &v);

    (void)n;
    if (r == 0 && !is_odd(v) && fabs(v) * 1e9 >= 9.2e18)
        r = tpl_fail(t, "%g cannot be represented as a nanoseconds timestamp since it overflows "
                        "int64", v);
    if (is_odd(v))
        put_short(&out, v);
    else if (r == 0)
        print_go_time(&out, (int64_t)(v * 1e9));
    *ret = tpl_take(t, &out);
    return r;
}

const struct tpl_function tpl_human[] = {
    {"humanize", 1, 1, humanize_},
    {"humanize1024", 1, 1, humanize1024_},
    {"humanizeDuration", 1, 1, humanizeDuration_},
    {"humanizePercentage", 1, 1, humanizePercentage_},
    {"humanizeTimestamp", 1, 1, humanizeTimestamp_},
    {0},
};
