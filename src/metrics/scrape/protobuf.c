#include "metrics/scrape/protobuf.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/proto.h"
#include "base/quote.h"
#include "base/shim.h"
#include "base/utf8.h"
#include "metrics/histogram_proto.h"
#include "metrics/labels.h"
#include "metrics/scrape/exposition.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* io.prometheus.client.MetricType */
enum { TYPE_COUNTER, TYPE_GAUGE, TYPE_SUMMARY, TYPE_UNTYPED, TYPE_HISTOGRAM, TYPE_GAUGE_HISTOGRAM };

struct family {
    struct slice name, help, unit;
    uint64_t type;
};

struct metric {
    struct slice message;
    struct slice value; /* its Gauge, Counter, … */
    bool timed;
    int64_t ts_ms;
    int64_t start_ms; /* 0: not told, or not asked for */
};

struct writer {
    struct protobuf_text *out;
    const struct family *family;
    const struct metric *metric;
    unsigned flags;
};

bool protobuf_is(const char *type)
{
    return type != NULL && strncmp(type, "application/vnd.google.protobuf", 31) == 0 &&
           strstr(type, "encoding=delimited") != NULL;
}

void protobuf_done(struct protobuf_text *t)
{
    for (size_t i = 0; i < t->n; i++)
        histogram_free(t->marks[i].histogram);
    free(t->marks);
    buf_done(&t->text);
    *t = (struct protobuf_text){0};
}

static void put_value(struct buf *out, double v)
{
    char text[DOUBLE_TEXT_MAX];

    if (isnan(v) || isinf(v))
        buf_add_str(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
    else
        buf_add(out, text, double_print(v, text));
}

static void put_name(struct buf *out, struct slice name, bool metric)
{
    bool plain = metric ? metric_name_legacy(name) : label_name_legacy(name);

    if (!plain)
        buf_add_char(out, '"');
    quote_escape(out, name);
    if (!plain)
        buf_add_char(out, '"');
}

static void put_pair(struct buf *out, bool *first, struct slice name, struct slice value)
{
    if (!*first)
        buf_add_char(out, ',');
    *first = false;
    put_name(out, name, false);
    buf_add_str(out, "=\"");
    quote_escape(out, value);
    buf_add_char(out, '"');
}

/* The LabelPairs in field 1. */
static int put_pairs(struct buf *out, struct slice message, bool *first)
{
    struct proto_field f;
    int e;

    while ((e = proto_next(&message, &f)) > 0) {
        struct slice in = f.bytes;
        struct slice name = SLICE("");
        struct slice value = SLICE("");

        if (f.number != 1 || f.wire != PROTO_BYTES)
            continue;
        while ((e = proto_next(&in, &f)) > 0) {
            if (f.number == 1)
                name = f.bytes;
            else if (f.number == 2)
                value = f.bytes;
        }
        if (e < 0)
            return e;
        put_pair(out, first, name, value);
    }
    return e;
}

static void add_mark(struct writer *w, size_t offset, struct histogram *h)
{
    struct protobuf_text *t = w->out;

    if (h == NULL && !w->metric->timed && w->metric->start_ms == 0)
        return;
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 64 : 2 * t->cap;
        t->marks = xrealloc(t->marks, t->cap * sizeof *t->marks);
    }
    t->marks[t->n++] = (struct protobuf_mark){offset, w->metric->timed, w->metric->ts_ms, h,
                                              w->metric->start_ms};
}

/* Seconds and nanoseconds of a google.protobuf.Timestamp, in ms. */
static int read_time(struct slice in, int64_t *ret_ms)
{
    struct proto_field f;
    int64_t seconds = 0;
    int64_t ns = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1)
            seconds = (int64_t)f.value;
        else if (f.number == 2)
            ns = (int64_t)f.value;
    }
    *ret_ms = seconds > 0 && seconds < 253402300800 ? seconds * 1000 + ns / 1000000 : 0;
    return e;
}

/* ` # {labels} value time`; half a ms later, so that no rounding takes one away. */
static int put_exemplar(struct buf *out, struct slice message)
{
    struct slice in = message;
    struct proto_field f;
    bool first = true;
    double v = 0;
    int64_t ts_ms = 0;
    int e;

    if (message.len == 0)
        return 0;
    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 2)
            v = bits_double(f.value);
        else if (f.number == 3 && f.wire == PROTO_BYTES && read_time(f.bytes, &ts_ms) < 0)
            return -EINVAL;
    }
    if (e < 0)
        return e;
    buf_add_str(out, " # {");
    e = put_pairs(out, message, &first);
    buf_add_str(out, "} ");
    put_value(out, v);
    if (ts_ms > 0)
        buf_printf(out, " %lld.%03d5", (long long)(ts_ms / 1000), (int)(ts_ms % 1000));
    return e;
}

/* One line: the name with a suffix, the labels and one more (NULL: none), a value. */
static int put_line(struct writer *w, const char *suffix, const char *label, double bound, double v,
                    struct slice exemplar, struct histogram *h)
{
    struct buf *out = &w->out->text;
    size_t offset = out->len;
    autobuf name = {0};
    bool plain;
    bool first;
    int e;

    buf_add_slice(&name, w->family->name);
    buf_add_str(&name, suffix);
    plain = metric_name_legacy(buf_slice(&name));
    if (plain)
        buf_add_slice(out, buf_slice(&name));
    buf_add_char(out, '{');
    if (!plain)
        put_name(out, buf_slice(&name), true);
    first = plain;
    e = put_pairs(out, w->metric->message, &first);
    if (label != NULL) {
        char text[40];
        size_t n = value_print_openmetrics(bound, text);

        put_pair(out, &first, slice_str(label), slice_of(text, n));
    }
    buf_add_str(out, "} ");
    put_value(out, v);
    if (e == 0)
        e = put_exemplar(out, exemplar);
    buf_add_char(out, '\n');
    add_mark(w, offset, h);
    return e;
}

static int put_simple(struct writer *w)
{
    struct slice in = w->metric->value;
    struct slice exemplar = SLICE("");
    struct proto_field f;
    double v = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_FIXED64)
            v = bits_double(f.value);
        else if (f.number == 2 && f.wire == PROTO_BYTES && w->family->type == TYPE_COUNTER)
            exemplar = f.bytes;
    }
    return e < 0 ? e : put_line(w, "", NULL, 0, v, exemplar, NULL);
}

static int put_quantile(struct writer *w, struct slice in)
{
    struct proto_field f;
    double quantile = 0;
    double v = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1)
            quantile = bits_double(f.value);
        else if (f.number == 2)
            v = bits_double(f.value);
    }
    return e < 0 ? e : put_line(w, "", "quantile", quantile, v, SLICE(""), NULL);
}

static int put_summary(struct writer *w)
{
    struct slice in = w->metric->value;
    struct proto_field f;
    double count = 0;
    double sum = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_VARINT)
            count = (double)f.value;
        else if (f.number == 2 && f.wire == PROTO_FIXED64)
            sum = bits_double(f.value);
        else if (f.number == 3 && f.wire == PROTO_BYTES && (e = put_quantile(w, f.bytes)) < 0)
            return e;
    }
    if (e == 0)
        e = put_line(w, "_sum", NULL, 0, sum, SLICE(""), NULL);
    return e < 0 ? e : put_line(w, "_count", NULL, 0, count, SLICE(""), NULL);
}

static int put_bucket(struct writer *w, struct slice in, bool *ret_infinite)
{
    struct slice exemplar = SLICE("");
    struct proto_field f;
    double count = 0;
    double bound = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_VARINT)
            count = (double)f.value;
        else if (f.number == 4 && f.wire == PROTO_FIXED64)
            count = bits_double(f.value);
        else if (f.number == 2 && f.wire == PROTO_FIXED64)
            bound = bits_double(f.value);
        else if (f.number == 3 && f.wire == PROTO_BYTES)
            exemplar = f.bytes;
    }
    *ret_infinite = *ret_infinite || bound == INFINITY;
    return e < 0 ? e : put_line(w, "_bucket", "le", bound, count, exemplar, NULL);
}

static int put_classic(struct writer *w, const struct histogram *h)
{
    struct slice in = w->metric->value;
    struct proto_field f;
    bool infinite = false;
    int e;

    while ((e = proto_next(&in, &f)) > 0)
        if (f.number == 3 && f.wire == PROTO_BYTES && (e = put_bucket(w, f.bytes, &infinite)) < 0)
            return e;
    if (e == 0 && !infinite)
        e = put_line(w, "_bucket", "le", INFINITY, h->count, SLICE(""), NULL);
    if (e == 0)
        e = put_line(w, "_sum", NULL, 0, h->sum, SLICE(""), NULL);
    return e < 0 ? e : put_line(w, "_count", NULL, 0, h->count, SLICE(""), NULL);
}

/* The newest of those that a native histogram brings by themselves (field 16). */
static struct slice own_exemplar(struct slice in)
{
    struct proto_field f;
    struct slice last = SLICE("");

    while (proto_next(&in, &f) > 0)
        if (f.number == 16 && f.wire == PROTO_BYTES)
            last = f.bytes;
    return last;
}

static int put_histogram(struct writer *w, struct buf *why)
{
    struct histogram *h = NULL;
    bool native;
    int e = histogram_from_proto(w->metric->value, &histogram_client, &h, NULL);

    if (e < 0)
        return e;
    native = (w->flags & PROTOBUF_NATIVE) != 0 &&
             (h->positive.n_spans + h->negative.n_spans > 0 || h->zero_threshold > 0 ||
              h->zero_count > 0);
    if (!native || (w->flags & PROTOBUF_CLASSIC) != 0)
        e = put_classic(w, h);
    if (!native || e < 0) {
        histogram_free(h);
        return e;
    }
    h->reset = w->family->type == TYPE_GAUGE_HISTOGRAM ? HISTOGRAM_GAUGE : HISTOGRAM_RESET_UNKNOWN;
    if (histogram_admit(h, why) < 0) {
        histogram_free(h);
        return -EINVAL;
    }
    return put_line(w, "", NULL, 0, 0, own_exemplar(w->metric->value), h);
}

/* The start in a Counter, Summary or Histogram; the other types have none. */
static int read_start(const struct family *family, struct slice in, int64_t *ret_ms)
{
    static const uint32_t numbers[] = {[TYPE_COUNTER] = 3,
                                       [TYPE_SUMMARY] = 4,
                                       [TYPE_HISTOGRAM] = 15,
                                       [TYPE_GAUGE_HISTOGRAM] = 15};
    uint32_t number = family->type <= TYPE_GAUGE_HISTOGRAM ? numbers[family->type] : 0;
    struct proto_field f;
    int e = 0;

    while (number > 0 && (e = proto_next(&in, &f)) > 0)
        if (f.number == number && f.wire == PROTO_BYTES && read_time(f.bytes, ret_ms) < 0)
            return -EINVAL;
    return e;
}

static int put_metric(struct writer *w, struct slice message, struct buf *why)
{
    struct metric m = {.message = message};
    struct slice in = message;
    struct proto_field f;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 6 && f.wire == PROTO_VARINT) {
            m.timed = f.value != 0;
            m.ts_ms = (int64_t)f.value;
        } else if (f.wire == PROTO_BYTES && f.number >= 2) {
            m.value = f.bytes;
        }
    }
    if (e == 0 && (w->flags & PROTOBUF_STARTS) != 0)
        e = read_start(w->family, m.value, &m.start_ms);
    if (e < 0)
        return e;
    w->metric = &m;
    switch (w->family->type) {
    case TYPE_SUMMARY:
        return put_summary(w);
    case TYPE_HISTOGRAM:
    case TYPE_GAUGE_HISTOGRAM:
        return put_histogram(w, why);
    default:
        return put_simple(w);
    }
}

static void put_metadata(struct writer *w)
{
    static const char *const types[] = {"counter", "gauge",     "summary",
                                        "unknown", "histogram", "gaugehistogram"};
    struct buf *out = &w->out->text;
    const struct family *f = w->family;

    if (f->help.len > 0) {
        buf_add_str(out, "# HELP ");
        put_name(out, f->name, true);
        buf_add_char(out, ' ');
        quote_escape(out, f->help);
        buf_add_char(out, '\n');
    }
    buf_add_str(out, "# TYPE ");
    put_name(out, f->name, true);
    buf_printf(out, " %s\n", types[f->type <= TYPE_GAUGE_HISTOGRAM ? f->type : TYPE_UNTYPED]);
}

static int put_family(struct protobuf_text *out, struct slice message, unsigned flags,
                      struct buf *why)
{
    struct family family = {.name = SLICE(""), .help = SLICE("")};
    struct writer w = {.out = out, .family = &family, .flags = flags};
    struct slice in = message;
    struct proto_field f;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_BYTES)
            family.name = f.bytes;
        else if (f.number == 2 && f.wire == PROTO_BYTES)
            family.help = f.bytes;
        else if (f.number == 3 && f.wire == PROTO_VARINT)
            family.type = f.value;
    }
    if (e < 0 || family.name.len == 0 || !utf8_valid(family.name) || !utf8_valid(family.help)) {
        buf_add_str(why, "invalid metric name");
        return -EINVAL;
    }
    put_metadata(&w);
    while (e == 0 && (e = proto_next(&message, &f)) > 0) {
        e = f.number == 4 && f.wire == PROTO_BYTES ? put_metric(&w, f.bytes, why) : 0;
        if (out->text.failed)
            e = -EINVAL;
    }
    return e;
}

int protobuf_read(struct slice body, unsigned flags, struct protobuf_text *ret, struct buf *why)
{
    int e = 0;

    *ret = (struct protobuf_text){.text = {.limit_bytes = PROTOBUF_TEXT_MAX}};
    while (e == 0 && body.len > 0) {
        uint64_t n = 0;

        if (varint_get(&body, &n) < 0 || n > body.len) {
            e = -EINVAL;
            break;
        }
        e = put_family(ret, slice_of(body.data, (size_t)n), flags, why);
        body = slice_skip(body, (size_t)n);
    }
    buf_add_str(&ret->text, "# EOF\n");
    if (e == 0 && !ret->text.failed)
        return 0;
    if (ret->text.failed)
        buf_add_str(why, "body size limit exceeded");
    else if (why->len == 0)
        buf_add_str(why, "the body is no sequence of io.prometheus.client.MetricFamily");
    return -EINVAL;
}
