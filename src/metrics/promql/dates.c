/* Dates of floats, for any of them: what does not fit an integer is the least one, as Go has it. */
#include "metrics/promql/calls.h"

#include <math.h>

/* Days are counted from the first of March of this year, a multiple of 400 before all seconds. */
#define FIRST_YEAR   (-292277022400ll)
#define CYCLE_DAYS   146097ull /* of 400 years */
#define DAYS_TO_1970 (730692556ull * CYCLE_DAYS + 719468ull)
#define DAY_S        86400ull

struct date {
    int64_t year;
    unsigned month, day;  /* from 1 */
    unsigned day_of_week; /* 0: Sunday */
    unsigned second_of_day;
};

static struct date date_of(double v)
{
    int64_t unix_s = v >= -0x1p63 && v < 0x1p63 ? (int64_t)v : INT64_MIN;
    uint64_t seconds = (uint64_t)unix_s + DAYS_TO_1970 * DAY_S;
    uint64_t days = seconds / DAY_S;
    uint64_t in_cycle = days % CYCLE_DAYS;
    uint64_t year = (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    uint64_t in_year = in_cycle - (365 * year + year / 4 - year / 100);
    uint64_t march = (5 * in_year + 2) / 153; /* months since March */
    struct date d = {
        .year = FIRST_YEAR + (int64_t)(days / CYCLE_DAYS * 400 + year),
        .month = (unsigned)(march < 10 ? march + 3 : march - 9),
        .day = (unsigned)(in_year - (153 * march + 2) / 5 + 1),
        .day_of_week = (unsigned)((days + 3) % 7), /* it was a Wednesday */
        .second_of_day = (unsigned)(seconds % DAY_S),
    };

    d.year += d.month <= 2;
    return d;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

double date_minute(double v)
{
    return date_of(v).second_of_day / 60 % 60;
}

double date_hour(double v)
{
    return date_of(v).second_of_day / 3600;
}

double date_day_of_week(double v)
{
    return date_of(v).day_of_week;
}

double date_day_of_month(double v)
{
    return date_of(v).day;
}

double date_day_of_year(double v)
{
    static const unsigned before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    struct date d = date_of(v);

    return before[d.month - 1] + d.day + (d.month > 2 && is_leap(d.year));
}

double date_days_in_month(double v)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date d = date_of(v);

    return days[d.month - 1] + (d.month == 2 && is_leap(d.year));
}

double date_month(double v)
{
    return date_of(v).month;
}

double date_year(double v)
{
    return (double)date_of(v).year;
}
