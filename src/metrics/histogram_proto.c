#include "metrics/histogram_proto.h"

#include "base/codec.h"
#include "base/proto.h"
#include "metrics/head/decimal.h"
#include "metrics/labels.h"

#include <errno.h>

const struct histogram_fields histogram_remote = {
    .count_int = 1,
    .count_float = 2,
    .sum = 3,
    .schema = 4,
    .zero_threshold = 5,
    .zero_int = 6,
    .zero_float = 7,
    .negative_spans = 8,
    .negative_deltas = 9,
    .negative_counts = 10,
    .positive_spans = 11,
    .positive_deltas = 12,
    .positive_counts = 13,
    .reset = 14,
    .timestamp = 15,
    .custom = 16,
    .start = 17,
};

const struct histogram_fields histogram_client = {
    .count_int = 1,
    .sum = 2,
    .count_float = 4,
    .schema = 5,
    .zero_threshold = 6,
    .zero_int = 7,
    .zero_float = 8,
    .negative_spans = 9,
    .negative_deltas = 10,
    .negative_counts = 11,
    .positive_spans = 12,
    .positive_deltas = 13,
    .positive_counts = 14,
};

/* One side while it is measured, then while it is filled. */
struct side_numbers {
    size_t spans, deltas, counts;
    int64_t sum; /* of the deltas so far */
    struct histogram_side *to;
    size_t at_span, at;
    bool integer;
};

struct custom_numbers {
    size_t n, at;
    double *to;
};

struct reading {
    const struct histogram_fields *fields;
    struct histogram head; /* all but the sides */
    struct side_numbers positive, negative;
    struct custom_numbers custom;
    bool is_float;
    struct histogram_times times;
};

/* 1: the field belongs to this side. */
static int measure_side(struct side_numbers *s, const struct proto_field *f, unsigned spans,
                        unsigned deltas, unsigned counts)
{
    int64_t n;

    if (f->number == spans) {
        s->spans++;
        return f->wire == PROTO_BYTES ? 1 : -EINVAL;
    }
    if (f->number != deltas && f->number != counts)
        return 0;
    n = proto_count(f, f->number == deltas ? PROTO_VARINT : PROTO_FIXED64);
    if (n < 0)
        return -EINVAL;
    *(f->number == deltas ? &s->deltas : &s->counts) += (size_t)n;
    return 1;
}

static void read_number(struct reading *r, const struct proto_field *f)
{
    const struct histogram_fields *n = r->fields;
    struct histogram *h = &r->head;

    if (f->number == n->count_int)
        h->count = (double)f->value;
    else if (f->number == n->count_float)
        h->count = bits_double(f->value);
    else if (f->number == n->zero_int)
        h->zero_count = (double)f->value;
    else if (f->number == n->zero_float)
        h->zero_count = bits_double(f->value);
    else if (f->number == n->sum)
        h->sum = bits_double(f->value);
    else if (f->number == n->zero_threshold)
        h->zero_threshold = bits_double(f->value);
    else if (f->number == n->schema)
        h->schema = (int32_t)unzigzag(f->value);
    else if (f->number == n->reset && f->value <= HISTOGRAM_GAUGE)
        h->reset = (enum histogram_reset)f->value;
    else if (f->number == n->timestamp)
        r->times.ts_ms = (int64_t)f->value;
    else if (f->number == n->start)
        r->times.start_ms = (int64_t)f->value;
    if (f->number == n->count_float)
        r->is_float = true;
}

static int measure(struct reading *r, struct slice in)
{
    const struct histogram_fields *n = r->fields;
    struct proto_field f;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        int64_t more;

        e = measure_side(&r->positive, &f, n->positive_spans, n->positive_deltas,
                         n->positive_counts);
        if (e == 0)
            e = measure_side(&r->negative, &f, n->negative_spans, n->negative_deltas,
                             n->negative_counts);
        if (e < 0)
            return e;
        if (e > 0)
            continue;
        if (f.number != n->custom || n->custom == 0) {
            read_number(r, &f);
            continue;
        }
        more = proto_count(&f, PROTO_FIXED64);
        if (more < 0)
            return -EINVAL;
        r->custom.n += (size_t)more;
    }
    return e;
}

static int read_span(struct slice in, struct histogram_span *ret)
{
    struct proto_field f;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_VARINT)
            ret->offset = (int32_t)unzigzag(f.value);
        else if (f.number == 2 && f.wire == PROTO_VARINT)
            ret->length = (uint32_t)f.value;
    }
    return e;
}

static void take_delta(void *ctx, uint64_t v)
{
    struct side_numbers *s = ctx;

    s->sum = (int64_t)((uint64_t)s->sum + (uint64_t)unzigzag(v));
    if (s->at < s->to->n)
        s->to->counts[s->at++] = (double)s->sum;
}

static void take_count(void *ctx, uint64_t v)
{
    struct side_numbers *s = ctx;

    if (s->at < s->to->n)
        s->to->counts[s->at++] = bits_double(v);
}

static void take_custom(void *ctx, uint64_t v)
{
    struct custom_numbers *c = ctx;

    c->to[c->at++] = bits_double(v);
}

static int fill_side(struct side_numbers *s, const struct proto_field *f, unsigned spans,
                     unsigned deltas, unsigned counts)
{
    if (f->number == spans)
        return read_span(f->bytes, &s->to->spans[s->at_span++]);
    if (f->number == deltas && s->integer)
        proto_numbers(f, PROTO_VARINT, take_delta, s);
    else if (f->number == counts && !s->integer)
        proto_numbers(f, PROTO_FIXED64, take_count, s);
    return 0;
}

static int fill(struct reading *r, struct slice in)
{
    const struct histogram_fields *n = r->fields;
    struct proto_field f;
    int e = 0;

    while (e >= 0 && (e = proto_next(&in, &f)) > 0) {
        e = fill_side(&r->positive, &f, n->positive_spans, n->positive_deltas, n->positive_counts);
        if (e == 0)
            e = fill_side(&r->negative, &f, n->negative_spans, n->negative_deltas,
                          n->negative_counts);
        if (e == 0 && n->custom != 0 && f.number == n->custom)
            proto_numbers(&f, PROTO_FIXED64, take_custom, &r->custom);
    }
    return e;
}

int histogram_from_proto(struct slice message, const struct histogram_fields *fields,
                         struct histogram **ret, struct histogram_times *ret_times)
{
    struct reading r = {.fields = fields};
    struct histogram *h;
    int e = measure(&r, message);

    if (e < 0)
        return e;
    h = histogram_new(&(struct histogram_shape){
        r.positive.spans, r.is_float ? r.positive.counts : r.positive.deltas, r.negative.spans,
        r.is_float ? r.negative.counts : r.negative.deltas, r.custom.n});
    if (h == NULL)
        return -ENOMEM;
    h->schema = r.head.schema;
    h->reset = r.head.reset;
    h->integer = !r.is_float;
    h->zero_threshold = r.head.zero_threshold;
    h->zero_count = r.head.zero_count;
    h->count = r.head.count;
    h->sum = r.head.sum;
    r.positive.to = &h->positive;
    r.negative.to = &h->negative;
    r.positive.integer = r.negative.integer = h->integer;
    r.custom.to = h->custom;
    e = fill(&r, message);
    if (e < 0) {
        histogram_free(h);
        return e;
    }
    if (ret_times != NULL)
        *ret_times = r.times;
    *ret = h;
    return 0;
}

static void put_packed(struct buf *out, unsigned number, struct buf *packed)
{
    if (packed->len > 0)
        proto_put_bytes(out, number, buf_slice(packed));
    buf_clear(packed);
}

static void put_doubles(struct buf *out, unsigned number, const double *v, size_t n)
{
    autobuf packed = {0};

    for (size_t i = 0; i < n; i++) {
        uint64_t bits = double_bits(v[i]);

        for (unsigned k = 0; k < 8; k++)
            buf_add_char(&packed, (char)(bits >> 8 * k));
    }
    put_packed(out, number, &packed);
}

/* A count as a whole number; what is stored may be damaged. */
static int64_t whole(double v)
{
    return v >= 0x1p63 ? INT64_MAX : v > -0x1p63 ? (int64_t)v : 0;
}

static void put_side(struct buf *out, const struct histogram_side *s, bool integer, unsigned spans,
                     unsigned deltas, unsigned counts)
{
    autobuf packed = {0};

    for (size_t i = 0; i < s->n_spans; i++) {
        proto_put_varint(&packed, 1, zigzag(s->spans[i].offset));
        proto_put_varint(&packed, 2, s->spans[i].length);
        proto_put_bytes(out, spans, buf_slice(&packed));
        buf_clear(&packed);
    }
    if (!integer) {
        put_doubles(out, counts, s->counts, s->n);
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        uint64_t before = i > 0 ? (uint64_t)whole(s->counts[i - 1]) : 0;

        varint_put(&packed, zigzag((int64_t)((uint64_t)whole(s->counts[i]) - before)));
    }
    put_packed(out, deltas, &packed);
}

void histogram_to_proto(struct buf *out, const struct histogram *h, int64_t ts_ms)
{
    const struct histogram_fields *n = &histogram_remote;

    if (h->integer)
        proto_put_varint(out, n->count_int, (uint64_t)whole(h->count));
    else
        proto_put_fixed64(out, n->count_float, double_bits(h->count));
    proto_put_fixed64(out, n->sum, double_bits(h->sum));
    proto_put_varint(out, n->schema, zigzag(h->schema));
    proto_put_fixed64(out, n->zero_threshold, double_bits(h->zero_threshold));
    if (h->integer)
        proto_put_varint(out, n->zero_int, (uint64_t)whole(h->zero_count));
    else
        proto_put_fixed64(out, n->zero_float, double_bits(h->zero_count));
    put_side(out, &h->negative, h->integer, n->negative_spans, n->negative_deltas,
             n->negative_counts);
    put_side(out, &h->positive, h->integer, n->positive_spans, n->positive_deltas,
             n->positive_counts);
    proto_put_varint(out, n->reset, h->reset);
    proto_put_varint(out, n->timestamp, (uint64_t)ts_ms);
    put_doubles(out, n->custom, h->custom, h->n_custom);
}
