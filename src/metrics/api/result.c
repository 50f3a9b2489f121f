#include "metrics/api/result.h"

#include "base/alloc.h"
#include "metrics/api/histogram_json.h"

#include <stdlib.h>

#define IN_MEMORY_BYTES (1u << 20)
#define PIECE_BYTES     (64u << 10)

struct printer {
    struct result result;
    int64_t at_ms;        /* of a string */
    size_t n;             /* series to print */
    size_t series, point; /* what comes next */
    bool named;           /* the labels of the series at hand are printed */
    bool histograms;      /* of the series at hand, in its second pass */
    bool any;             /* a point of this pass was printed */
    bool begun, ended;
    struct buf text, more;
    size_t sent; /* of text */
};

static void printer_free(void *ctx)
{
    struct printer *p = ctx;

    result_done(&p->result);
    buf_done(&p->text);
    buf_done(&p->more);
    free(p);
}

#define FLOAT_TEXT_MAX (TIME_TEXT_MAX + VALUE_TEXT_MAX + 8)

static char *put_float(char *at, const struct point *p)
{
    *at++ = '[';
    at = time_put(at, p->ts_ms);
    *at++ = ',';
    *at++ = '"';
    at = value_put(at, p->v);
    *at++ = '"';
    *at++ = ']';
    return at;
}

static void print_float(struct buf *out, const struct point *p)
{
    char text[FLOAT_TEXT_MAX];

    buf_add(out, text, (size_t)(put_float(text, p) - text));
}

static void print_histogram(struct buf *out, const struct point *p)
{
    buf_add_char(out, '[');
    print_time(out, p->ts_ms);
    buf_add_char(out, ',');
    histogram_json(out, p->h);
    buf_add_char(out, ']');
}

static void print_metric(struct printer *p, const struct result_series *s)
{
    buf_add_str(&p->text, p->series > 0 ? ",{\"metric\":{" : "{\"metric\":{");
    for (size_t i = 0; i < s->labels.n; i++) {
        buf_add_str(&p->text, i > 0 ? ",\"" : "\"");
        json_escape(&p->text, s->labels.items[i].name);
        buf_add_str(&p->text, "\":\"");
        json_escape(&p->text, s->labels.items[i].value);
        buf_add_char(&p->text, '"');
    }
    buf_add_char(&p->text, '}');
}

/* An element of a vector has one point. */
static void print_element(struct printer *p, const struct result_series *s)
{
    const struct point *point = s->points;

    print_metric(p, s);
    if (s->n_points > 0 && point->h != NULL) {
        buf_add_str(&p->text, ",\"histogram\":");
        print_histogram(&p->text, point);
    } else if (s->n_points > 0) {
        buf_add_str(&p->text, ",\"value\":");
        print_float(&p->text, point);
    }
    buf_add_char(&p->text, '}');
    p->series++;
}

/* Floats up to a histogram, or the number of bytes. */
static void print_floats(struct printer *p, const struct result_series *s, size_t bytes)
{
    size_t room = p->text.len < bytes ? bytes - p->text.len : 0;
    char *at;
    char *end;

    buf_reserve(&p->text, room + FLOAT_TEXT_MAX);
    at = p->text.data + p->text.len;
    end = at + room;
    for (; p->point < s->n_points && at < end; p->point++) {
        if (s->points[p->point].h != NULL)
            break;
        if (p->any)
            *at++ = ',';
        p->any = true;
        at = put_float(at, &s->points[p->point]);
    }
    *at = 0;
    p->text.len = (size_t)(at - p->text.data);
}

/* One pass over the points of a row, floats or histograms: true when it is over. */
static bool print_pass(struct printer *p, const struct result_series *s, size_t bytes)
{
    for (; p->point < s->n_points && p->text.len < bytes; p->point++) {
        const struct point *point = &s->points[p->point];

        if ((point->h != NULL) != p->histograms)
            continue;
        if (p->any)
            buf_add_char(&p->text, ',');
        else
            buf_add_str(&p->text, p->histograms ? ",\"histograms\":[" : ",\"values\":[");
        p->any = true;
        if (p->histograms) {
            print_histogram(&p->text, point);
            continue;
        }
        print_float(&p->text, point);
        p->point++;
        print_floats(p, s, bytes);
        p->point--;
    }
    return p->point == s->n_points;
}

/* A row of a matrix, as far as there is room. False: it goes on. */
static bool print_row(struct printer *p, const struct result_series *s, size_t bytes)
{
    if (!p->named)
        print_metric(p, s);
    p->named = true;
    for (;;) {
        if (!print_pass(p, s, bytes))
            return false;
        if (p->any)
            buf_add_char(&p->text, ']');
        p->any = false;
        p->point = 0;
        if (p->histograms)
            break;
        p->histograms = true;
    }
    buf_add_char(&p->text, '}');
    p->histograms = false;
    p->named = false;
    p->series++;
    return true;
}

static void print_list(struct buf *out, const char *name, char **texts, size_t n, const char *first)
{
    bool any = false;

    if (n == 0 && first == NULL)
        return;
    buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        buf_add_str(out, any ? ",\"" : "\"");
        json_escape(out, slice_str(texts[i]));
        buf_add_char(out, '"');
        any = true;
    }
    if (first != NULL)
        buf_printf(out, "%s\"%s\"", any ? "," : "", first);
    buf_add_char(out, ']');
}

static void print_end(struct printer *p)
{
    const struct result *r = &p->result;

    p->ended = true;
    if (r->type == VALUE_VECTOR || r->type == VALUE_MATRIX)
        buf_add_char(&p->text, ']');
    buf_add_slice(&p->text, buf_slice(&p->more));
    buf_add_char(&p->text, '}');
    print_list(&p->text, "warnings", r->warnings, r->n_warnings,
               p->n < r->n ? "results truncated due to limit" : NULL);
    print_list(&p->text, "infos", r->infos, r->n_infos, NULL);
    buf_add_char(&p->text, '}');
}

/* [time,"text"] of a scalar or a string. */
static void print_single(struct printer *p)
{
    const struct result *r = &p->result;

    if (r->type == VALUE_SCALAR) {
        print_float(&p->text, &r->series[0].points[0]);
        return;
    }
    buf_add_char(&p->text, '[');
    print_time(&p->text, p->at_ms);
    buf_add_str(&p->text, ",\"");
    json_escape(&p->text, r->string);
    buf_add_str(&p->text, "\"]");
}

/* Prints on until there are so many bytes, or all. */
static void print_until(struct printer *p, size_t bytes)
{
    const struct result *r = &p->result;

    if (p->ended)
        return;
    if (!p->begun) {
        p->begun = true;
        buf_printf(&p->text, "{\"resultType\":\"%s\",\"result\":", value_type_text(r->type));
        if (r->type == VALUE_VECTOR || r->type == VALUE_MATRIX)
            buf_add_char(&p->text, '[');
        else
            print_single(p);
    }
    while ((r->type == VALUE_VECTOR || r->type == VALUE_MATRIX) && p->series < p->n) {
        const struct result_series *s = &r->series[p->series];

        if (p->text.len >= bytes)
            return;
        if (r->type == VALUE_VECTOR)
            print_element(p, s);
        else if (!print_row(p, s, bytes))
            return;
    }
    print_end(p);
}

static ssize_t generate(void *ctx, char *out, size_t max)
{
    struct printer *p = ctx;
    size_t n;

    if (p->sent == p->text.len) {
        buf_clear(&p->text);
        p->sent = 0;
        print_until(p, PIECE_BYTES);
    }
    n = p->text.len - p->sent;
    if (n > max)
        n = max;
    if (n > 0)
        memcpy(out, p->text.data + p->sent, n);
    p->sent += n;
    return (ssize_t)n;
}

int result_send(struct answer *a, struct result *result, int64_t at_ms, uint64_t limit,
                struct buf *more)
{
    struct printer *p = xcalloc(1, sizeof *p);

    *p = (struct printer){.result = *result, .at_ms = at_ms, .text = a->body, .more = *more};
    *result = (struct result){0};
    a->body = *more = (struct buf){0};
    p->n = limit > 0 && limit < p->result.n ? (size_t)limit : p->result.n;
    print_until(p, IN_MEMORY_BYTES);
    if (p->ended) {
        a->resp->compress = true;
        web_reply_buf(a->req, a->resp, 200, "application/json", &p->text);
        printer_free(p);
        return 0;
    }
    a->resp->status = 200;
    web_set_header(a->req, a->resp, "Content-Type", "application/json");
    a->resp->body = WEB_STREAM;
    a->resp->generate = generate;
    a->resp->generate_free = printer_free;
    a->resp->generate_ctx = p;
    return 0;
}
