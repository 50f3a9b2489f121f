#include "metrics/api/result.h"

#include "base/alloc.h"

#include <stdlib.h>

#define IN_MEMORY_BYTES (1u << 20)
#define PIECE_BYTES     (64u << 10)

struct printer {
    struct result result;
    enum result_type type;
    size_t n;             /* series to print */
    size_t series, point; /* what comes next */
    bool ended;
    struct buf text;
    size_t sent; /* of text */
};

static void printer_free(void *ctx)
{
    struct printer *p = ctx;

    result_done(&p->result);
    buf_done(&p->text);
    free(p);
}

void result_point(struct buf *out, int64_t ts_ms, double v)
{
    buf_add_char(out, '[');
    print_time(out, ts_ms);
    buf_add_str(out, ",\"");
    print_value(out, v);
    buf_add_str(out, "\"]");
}

static void print_head(struct printer *p, const struct result_series *s)
{
    buf_add_str(&p->text, p->series > 0 ? ",{\"metric\":{" : "{\"metric\":{");
    for (size_t i = 0; i < s->n_labels; i++) {
        buf_add_str(&p->text, i > 0 ? ",\"" : "\"");
        json_escape(&p->text, s->labels[i].name);
        buf_add_str(&p->text, "\":\"");
        json_escape(&p->text, s->labels[i].value);
        buf_add_char(&p->text, '"');
    }
    buf_add_str(&p->text, p->type == RESULT_MATRIX ? "},\"values\":[" : "},\"value\":");
}

/* Prints on until there are so many bytes, or all. */
static void print_until(struct printer *p, size_t bytes)
{
    while (p->series < p->n && p->text.len < bytes) {
        const struct result_series *s = &p->result.series[p->series];

        if (p->point == 0)
            print_head(p, s);
        for (; p->point < s->n_points && p->text.len < bytes; p->point++) {
            if (p->point > 0)
                buf_add_char(&p->text, ',');
            result_point(&p->text, s->points[p->point].ts_ms, s->points[p->point].v);
        }
        if (p->point < s->n_points)
            return;
        buf_add_str(&p->text, p->type == RESULT_MATRIX ? "]}" : "}");
        p->series++;
        p->point = 0;
    }
    if (p->series < p->n || p->ended)
        return;
    p->ended = true;
    buf_add_str(&p->text, "]}");
    if (p->n < p->result.n)
        buf_add_str(&p->text, ",\"warnings\":[\"results truncated due to limit\"]");
    buf_add_char(&p->text, '}');
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
    memcpy(out, p->text.data + p->sent, n);
    p->sent += n;
    return (ssize_t)n;
}

int result_send(struct answer *a, struct result *result, enum result_type type, uint64_t limit)
{
    struct printer *p = xcalloc(1, sizeof *p);

    *p = (struct printer){.result = *result, .type = type, .text = a->body};
    *result = (struct result){0};
    a->body = (struct buf){0};
    p->n = limit > 0 && limit < p->result.n ? (size_t)limit : p->result.n;
    buf_printf(&p->text, "{\"resultType\":\"%s\",\"result\":[",
               type == RESULT_MATRIX ? "matrix" : "vector");
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
