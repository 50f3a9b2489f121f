#include "metrics/api/result.h"

#include "base/alloc.h"
#include "base/negotiate.h"
#include "metrics/api/histogram_json.h"
#include "metrics/api/result_rows.h"

#include <errno.h>

#include <stdlib.h>

#define IN_MEMORY_BYTES (1u << 20)
#define PIECE_BYTES     (64u << 10)
/* Rows are printed before they are sent, of larger results some at a time. */
#define AT_ONCE_BYTES   (40u << 20)
#define ALL_BYTES       (256u << 20) /* that answers may take at once, all together */
#define BATCH_BYTES     (4u << 20)

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
    /* A matrix of floats goes another way. */
    struct metrics *m;
    struct row_times *times;
    struct rows_text rows;
    size_t piece, piece_sent; /* of rows */
    struct buf head;
    uint64_t counted; /* of m->answer_bytes */
};

static void printer_free(void *ctx)
{
    struct printer *p = ctx;

    result_done(&p->result);
    buf_done(&p->text);
    buf_done(&p->more);
    buf_done(&p->head);
    rows_text_done(&p->rows);
    row_times_free(p->times);
    __atomic_sub_fetch(&p->m->answer_bytes, p->counted, __ATOMIC_RELAXED);
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

static void begin_series(struct printer *p, const struct result_series *s)
{
    if (p->series > 0)
        buf_add_char(&p->text, ',');
    print_metric(&p->text, &s->labels);
}

/* An element of a vector has one point. */
static void print_element(struct printer *p, const struct result_series *s)
{
    const struct point *point = s->points;

    begin_series(p, s);
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
        begin_series(p, s);
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

/* In a worker: prints the next rows of a large matrix. */
static void print_batch(void *ctx)
{
    struct printer *p = ctx;
    size_t to = p->series;
    size_t bytes = 0;

    rows_text_done(&p->rows);
    p->piece = p->piece_sent = 0;
    for (; to < p->n && bytes < BATCH_BYTES; to++)
        bytes += rows_bytes(&p->result, to, to + 1);
    rows_print(&p->result, p->times, p->series, to, &p->rows);
    p->series = to;
    if (p->series == p->n) {
        buf_clear(&p->text);
        p->sent = 0;
        print_end(p);
    }
}

static ssize_t copy_out(struct slice from, size_t *sent, char *out, size_t max)
{
    size_t n = from.len - *sent < max ? from.len - *sent : max;

    memcpy(out, (const char *)from.data + *sent, n);
    *sent += n;
    return (ssize_t)n;
}

/* The text before the rows, the rows, the text behind. */
static ssize_t generate_rows(void *ctx, char *out, size_t max)
{
    struct printer *p = ctx;

    if (p->sent < p->text.len && !p->ended)
        return copy_out(buf_slice(&p->text), &p->sent, out, max);
    if (p->piece < p->rows.n && p->piece_sent == p->rows.pieces[p->piece].len) {
        p->piece++;
        p->piece_sent = 0;
    }
    if (p->piece < p->rows.n)
        return copy_out(p->rows.pieces[p->piece], &p->piece_sent, out, max);
    if (!p->ended)
        return -EAGAIN;
    return copy_out(buf_slice(&p->text), &p->sent, out, max);
}

static void send_stream(struct answer *a, struct printer *p,
                        ssize_t (*make)(void *ctx, char *out, size_t max))
{
    a->resp->status = 200;
    web_set_header(a->req, a->resp, "Content-Type", "application/json");
    a->resp->body = WEB_STREAM;
    a->resp->generate = make;
    a->resp->wait = make == generate_rows ? print_batch : NULL;
    a->resp->generate_free = printer_free;
    a->resp->generate_ctx = p;
}

static void begin_matrix(struct printer *p)
{
    p->begun = true;
    buf_printf(&p->text, "{\"resultType\":\"%s\",\"result\":[", value_type_text(VALUE_MATRIX));
    p->times = row_times_new(&p->result);
}

/* Is there room for all of it? Then it is taken. */
static bool take_room(struct printer *p, uint64_t bytes)
{
    if (bytes > AT_ONCE_BYTES)
        return false;
    p->counted = bytes;
    return __atomic_add_fetch(&p->m->answer_bytes, bytes, __ATOMIC_RELAXED) <= ALL_BYTES;
}

/* All printed, and sent from where it is. */
static void send_matrix(struct answer *a, struct printer *p)
{
    struct slice *pieces;
    size_t n = 0;

    rows_print(&p->result, p->times, 0, p->n, &p->rows);
    p->head = p->text;
    p->text = (struct buf){0};
    print_end(p);
    pieces = op_alloc(a->req->op, (p->rows.n + 2) * sizeof *pieces);
    pieces[n++] = buf_slice(&p->head);
    for (size_t i = 0; i < p->rows.n; i++)
        pieces[n++] = p->rows.pieces[i];
    pieces[n++] = buf_slice(&p->text);
    a->resp->status = 200;
    web_set_header(a->req, a->resp, "Content-Type", "application/json");
    a->resp->body = WEB_PIECES;
    a->resp->pieces = pieces;
    a->resp->n_pieces = n;
    a->resp->generate_free = printer_free;
    a->resp->generate_ctx = p;
}

/* A small one is joined: it may be compressed. */
static void send_joined(struct answer *a, struct printer *p)
{
    rows_print(&p->result, p->times, 0, p->n, &p->rows);
    buf_reserve(&p->text, p->rows.bytes + 256);
    for (size_t i = 0; i < p->rows.n; i++)
        buf_add_slice(&p->text, p->rows.pieces[i]);
    print_end(p);
    a->resp->compress = true;
    web_reply_buf(a->req, a->resp, 200, "application/json", &p->text);
    printer_free(p);
}

static bool takes_gzip(struct web_request *req)
{
    return negotiate_coding(slice_str(web_header(req, "Accept-Encoding")), SLICE("gzip"));
}

static void send_rows(struct answer *a, struct printer *p)
{
    size_t bytes = rows_bytes(&p->result, 0, p->n);

    begin_matrix(p);
    if (bytes < PIECE_BYTES || (bytes < IN_MEMORY_BYTES && takes_gzip(a->req)))
        send_joined(a, p);
    else if (take_room(p, bytes))
        send_matrix(a, p);
    else
        send_stream(a, p, generate_rows);
}

static size_t series_shown(const struct result *r, uint64_t limit)
{
    return limit > 0 && limit < r->n ? (size_t)limit : r->n;
}

uint64_t result_text_bytes(const struct result *r, uint64_t limit)
{
    size_t n = series_shown(r, limit);
    uint64_t bytes = rows_bytes(r, 0, n);

    if (n > 0 && rows_printable(r))
        return bytes <= AT_ONCE_BYTES ? bytes : BATCH_BYTES;
    return bytes <= IN_MEMORY_BYTES ? bytes : IN_MEMORY_BYTES;
}

int result_send(struct answer *a, struct result *result, int64_t at_ms, uint64_t limit,
                struct buf *more)
{
    struct printer *p = xcalloc(1, sizeof *p);

    *p = (struct printer){.result = *result, .at_ms = at_ms, .text = a->body, .more = *more};
    *result = (struct result){0};
    a->body = *more = (struct buf){0};
    p->n = series_shown(&p->result, limit);
    p->m = a->m;
    if (p->n > 0 && rows_printable(&p->result)) {
        send_rows(a, p);
        return 0;
    }
    print_until(p, IN_MEMORY_BYTES);
    if (p->ended) {
        a->resp->compress = true;
        web_reply_buf(a->req, a->resp, 200, "application/json", &p->text);
        printer_free(p);
        return 0;
    }
    send_stream(a, p, generate);
    return 0;
}
