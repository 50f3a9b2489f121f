/* Values: what they are called, whether they are true, how Go prints them. */
#include "metrics/rules/template_internal.h"

#include "base/shim.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NS 1000000000ll

struct tpl_value tpl_string(struct slice s)
{
    return (struct tpl_value){.kind = TPL_STRING, .s = s};
}

struct tpl_value tpl_take(struct tpl *t, struct buf *b)
{
    struct tpl_value v = tpl_string(op_slice(t->op, buf_slice(b)));

    buf_done(b);
    return v;
}

struct tpl_value tpl_map_of(struct op *op, const struct labels *labels)
{
    struct tpl_map *map = op_alloc(op, sizeof *map);

    map->strings = true;
    map->n = labels->n;
    map->items = op_alloc(op, labels->n * sizeof *map->items);
    for (size_t i = 0; i < labels->n; i++)
        map->items[i] =
            (struct tpl_pair){labels->items[i].name, tpl_string(labels->items[i].value)};
    return (struct tpl_value){.kind = TPL_MAP, .map = map};
}

const struct tpl_value *tpl_map_get(const struct tpl_map *map, struct slice name)
{
    for (size_t i = 0; i < map->n; i++)
        if (slice_eq(map->items[i].name, name))
            return &map->items[i].value;
    return NULL;
}

bool tpl_true(const struct tpl_value *v)
{
    switch (v->kind) {
    case TPL_BOOL:
        return v->b;
    case TPL_INT:
    case TPL_DURATION:
        return v->i != 0;
    case TPL_FLOAT:
        return v->f != 0;
    case TPL_STRING:
        return v->s.len > 0;
    case TPL_MAP:
        return v->map->n > 0;
    case TPL_LIST:
        return v->list->n > 0;
    case TPL_STRUCT:
    case TPL_TIME:
        return true;
    case TPL_NIL:
        break;
    }
    return false;
}

const char *tpl_type(const struct tpl_value *v)
{
    static const char *const names[] = {
        [TPL_NIL] = "nil",           [TPL_BOOL] = "bool",
        [TPL_INT] = "int",           [TPL_FLOAT] = "float64",
        [TPL_STRING] = "string",     [TPL_MAP] = "map[string]string",
        [TPL_STRUCT] = "*sample",    [TPL_LIST] = "queryResult",
        [TPL_TIME] = "*time.Time",   [TPL_DURATION] = "*time.Duration",
    };

    return names[v->kind];
}

/* fmt's %v of a float64: the shortest digits; an exponent below 1e-04 and from 1e+06 on. */
void print_go_g(struct buf *out, double v)
{
    char text[DOUBLE_TEXT_MAX];
    double magnitude = fabs(v);
    int digits;

    if (isnan(v) || isinf(v) || v == 0 || (magnitude >= 1e-4 && magnitude < 1e6)) {
        buf_add(out, text, double_print(v, text));
        return;
    }
    for (digits = 0; digits < 17; digits++) { /* the shortest that reads back */
        snprintf(text, sizeof text, "%.*e", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_add_str(out, text);
}

void print_go_time(struct buf *out, int64_t unix_ns)
{
    time_t s = (time_t)(unix_ns / NS - (unix_ns % NS < 0));
    long ns = (long)(unix_ns - (int64_t)s * NS);
    struct tm tm;
    char text[16];
    size_t n;

    gmtime_r(&s, &tm);
    buf_printf(out, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
               tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (ns > 0) {
        n = (size_t)snprintf(text, sizeof text, ".%09ld", ns);
        while (text[n - 1] == '0')
            n--;
        buf_add(out, text, n);
    }
    buf_add_str(out, " +0000 UTC");
}

static void print_fraction(struct buf *out, uint64_t v, uint64_t unit)
{
    char text[32];
    size_t n;

    buf_add_u64(out, v / unit);
    if (v % unit == 0)
        return;
    n = (size_t)snprintf(text, sizeof text, "%.9f", (double)(v % unit) / (double)unit);
    while (text[n - 1] == '0')
        n--;
    buf_add(out, text + 1, n - 1);
}

/* time.Duration.String */
void print_go_duration(struct buf *out, int64_t ns)
{
    uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;

    if (ns < 0)
        buf_add_char(out, '-');
    if (v == 0) {
        buf_add_str(out, "0s");
    } else if (v < 1000) {
        buf_printf(out, "%" PRIu64 "ns", v);
    } else if (v < (uint64_t)NS) {
        print_fraction(out, v, v < 1000000 ? 1000 : 1000000);
        buf_add_str(out, v < 1000000 ? "µs" : "ms");
    } else {
        uint64_t minutes = v / (60 * (uint64_t)NS);

        if (minutes >= 60)
            buf_printf(out, "%" PRIu64 "h", minutes / 60);
        if (minutes > 0)
            buf_printf(out, "%" PRIu64 "m", minutes % 60);
        print_fraction(out, v % (60 * (uint64_t)NS), (uint64_t)NS);
        buf_add_char(out, 's');
    }
}

static void print_pairs(struct buf *out, const struct tpl_value *v)
{
    bool map = v->kind == TPL_MAP;

    buf_add_str(out, map ? "map[" : "{");
    for (size_t i = 0; i < v->map->n; i++) {
        if (i > 0)
            buf_add_char(out, ' ');
        if (map) {
            buf_add_slice(out, v->map->items[i].name);
            buf_add_char(out, ':');
        }
        tpl_print(out, &v->map->items[i].value);
    }
    buf_add_char(out, map ? ']' : '}');
}

void tpl_print(struct buf *out, const struct tpl_value *v)
{
    switch (v->kind) {
    case TPL_NIL:
        buf_add_str(out, "<no value>");
        break;
    case TPL_BOOL:
        buf_add_str(out, v->b ? "true" : "false");
        break;
    case TPL_INT:
        buf_printf(out, "%" PRId64, v->i);
        break;
    case TPL_FLOAT:
        print_go_g(out, v->f);
        break;
    case TPL_STRING:
        buf_add_slice(out, v->s);
        break;
    case TPL_MAP:
    case TPL_STRUCT:
        print_pairs(out, v);
        break;
    case TPL_LIST:
        buf_add_char(out, '[');
        for (size_t i = 0; i < v->list->n; i++) {
            if (i > 0)
                buf_add_char(out, ' ');
            tpl_print(out, &v->list->items[i]);
        }
        buf_add_char(out, ']');
        break;
    case TPL_TIME:
        print_go_time(out, v->i);
        break;
    case TPL_DURATION:
        print_go_duration(out, v->i);
        break;
    }
}

int tpl_float(struct tpl *t, const struct tpl_value *v, double *ret)
{
    if (v->kind == TPL_FLOAT)
        *ret = v->f;
    else if (v->kind == TPL_INT)
        *ret = (double)v->i;
    else if (v->kind == TPL_DURATION)
        *ret = (double)v->i / (double)NS;
    else if (v->kind == TPL_STRING) {
        char *copy = op_strndup(t->op, v->s.data, v->s.len), *end;

        *ret = strtod(copy, &end);
        if (copy[0] == 0 || *end != 0)
            return tpl_fail(t, "strconv.ParseFloat: parsing \"%s\": invalid syntax", copy);
    } else {
        return tpl_fail(t, "can't convert %s to float", tpl_type(v));
    }
    return 0;
}
