#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

int64_t clock_unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_unix_ms(void)
{
    return clock_unix_ns() / 1000000;
}

int64_t clock_monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

#define LEAP_MS  60000ll
#define SOBER_MS 3600000ll

int64_t clock_sober(struct sober_clock *c, int64_t unix_ms, int64_t monotonic_ms)
{
    int64_t offset_ms = unix_ms - monotonic_ms;

    if (offset_ms > c->offset_ms + LEAP_MS) {
        if (offset_ms > c->leap_ms + LEAP_MS || offset_ms < c->leap_ms - LEAP_MS) {
            c->leap_ms = offset_ms;
            c->leaped_at_ms = monotonic_ms;
        }
        if (monotonic_ms - c->leaped_at_ms < SOBER_MS)
            return c->offset_ms + monotonic_ms;
    }
    c->leap_ms = c->offset_ms = offset_ms;
    return unix_ms;
}

char *clock_print_ns(int64_t unix_ns, unsigned digits, char text[CLOCK_TEXT_MAX])
{
    int64_t ns = unix_ns % 1000000000;
    time_t seconds = (time_t)(unix_ns / 1000000000);
    struct tm tm;
    char decimals[12];
    size_t len;

    if (ns < 0) {
        ns += 1000000000;
        seconds--;
    }
    gmtime_r(&seconds, &tm);
    len = strftime(text, CLOCK_TEXT_MAX - 12, "%Y-%m-%dT%H:%M:%S", &tm);
    if (digits > 0) {
        snprintf(decimals, sizeof decimals, ".%09d", (int)ns);
        memcpy(text + len, decimals, digits + 1);
        len += digits + 1;
    }
    text[len] = 'Z';
    text[len + 1] = 0;
    return text;
}

/* Reads exactly n digits at *p. */
static int fixed_digits(const char **p, const char *end, int n, int *ret)
{
    int v = 0;

    if (end - *p < n)
        return -EINVAL;
    for (int i = 0; i < n; i++) {
        char c = (*p)[i];

        if (c < '0' || c > '9')
            return -EINVAL;
        v = v * 10 + (c - '0');
    }
    *p += n;
    *ret = v;
    return 0;
}

static int expect(const char **p, const char *end, const char *any)
{
    if (*p == end || strchr(any, **p) == NULL || **p == 0)
        return -EINVAL;
    return (unsigned char)*(*p)++;
}

static int parse_fraction(const char **p, const char *end, int64_t *ret_ns)
{
    int64_t scale = 100000000;
    int64_t ns = 0;
    int digits = 0;

    while (*p < end && **p >= '0' && **p <= '9' && digits < 9) {
        ns += (**p - '0') * scale;
        scale /= 10;
        digits++;
        (*p)++;
    }
    *ret_ns = ns;
    return digits > 0 ? 0 : -EINVAL;
}

static int parse_zone(const char **p, const char *end, int *ret_seconds)
{
    int sign = expect(p, end, "Zz+-");
    int hours, minutes;

    *ret_seconds = 0;
    if (sign < 0)
        return sign;
    if (sign == 'Z' || sign == 'z')
        return 0;
    if (fixed_digits(p, end, 2, &hours) < 0 || expect(p, end, ":") < 0 ||
        fixed_digits(p, end, 2, &minutes) < 0 || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_seconds = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
    return 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

int clock_parse(struct slice text, int64_t *ret_unix_ns)
{
    const char *p = text.data;
    const char *end = p + text.len;
    struct tm tm = {0};
    int64_t ns = 0;
    int zone;

    if (fixed_digits(&p, end, 4, &tm.tm_year) < 0 || expect(&p, end, "-") < 0 ||
        fixed_digits(&p, end, 2, &tm.tm_mon) < 0 || expect(&p, end, "-") < 0 ||
        fixed_digits(&p, end, 2, &tm.tm_mday) < 0 || expect(&p, end, "Tt ") < 0 ||
        fixed_digits(&p, end, 2, &tm.tm_hour) < 0 || expect(&p, end, ":") < 0 ||
        fixed_digits(&p, end, 2, &tm.tm_min) < 0 || expect(&p, end, ":") < 0 ||
        fixed_digits(&p, end, 2, &tm.tm_sec) < 0)
        return -EINVAL;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > days_in_month(tm.tm_year, tm.tm_mon) || tm.tm_hour > 23 || tm.tm_min > 59 ||
        tm.tm_sec > 59)
        return -EINVAL;
    if (p < end && *p == '.') {
        p++;
        if (parse_fraction(&p, end, &ns) < 0)
            return -EINVAL;
    }
    if (parse_zone(&p, end, &zone) < 0 || p != end)
        return -EINVAL;
    if (tm.tm_year > 2261 || tm.tm_year < 1678)
        return -ERANGE;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *ret_unix_ns = ((int64_t)timegm(&tm) - zone) * 1000000000 + ns;
    return 0;
}

char *clock_print_http(int64_t unix_ms, char text[CLOCK_TEXT_MAX])
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    snprintf(text, CLOCK_TEXT_MAX, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
             tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return text;
}

int clock_parse_http(struct slice text, int64_t *ret_unix_ms)
{
    char copy[CLOCK_TEXT_MAX];
    struct tm tm = {0};
    const char *end;

    if (text.len >= sizeof copy)
        return -EINVAL;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    end = strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != 0)
        return -EINVAL;
    *ret_unix_ms = (int64_t)timegm(&tm) * 1000;
    return 0;
}

static const struct {
    const char *name;
    int64_t ms;
} units[] = {{"y", 365LL * 86400000}, {"w", 7LL * 86400000}, {"d", 86400000}, {"h", 3600000},
             {"m", 60000},            {"s", 1000},           {"ms", 1}};

int duration_parse_ms(struct slice text, int64_t *ret_ms)
{
    const char *p = text.data;
    const char *end = p + text.len;
    size_t next_unit = 0;
    int64_t total = 0;

    if (slice_eq(text, SLICE("0"))) {
        *ret_ms = 0;
        return 0;
    }
    if (p == end)
        return -EINVAL;
    while (p < end) {
        int64_t v = 0;
        size_t name_len = 0;
        size_t u;

        if (*p < '0' || *p > '9')
            return -EINVAL;
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
                return -ERANGE;
        while (p + name_len < end && p[name_len] >= 'a' && p[name_len] <= 'z')
            name_len++;
        for (u = next_unit; u < sizeof units / sizeof units[0]; u++)
            if (slice_eq(slice_of(p, name_len), slice_str(units[u].name)))
                break;
        if (u == sizeof units / sizeof units[0])
            return -EINVAL;
        if (__builtin_mul_overflow(v, units[u].ms, &v) || __builtin_add_overflow(total, v, &total))
            return -ERANGE;
        next_unit = u + 1;
        p += name_len;
    }
    *ret_ms = total;
    return 0;
}
