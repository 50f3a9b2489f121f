/* POST /api/v1/read: remote read, as samples or as a stream of chunks. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/proto.h"
#include "identity/identity.h"
#include "metrics/api/api.h"
#include "metrics/api/histogram_chunk.h"
#include "metrics/api/remote.h"
#include "metrics/api/xor_chunk.h"
#include "metrics/histogram_proto.h"
#include "metrics/query.h"

#include <errno.h>
#include <stdlib.h>

#define MATCHERS_MAX 128
#define FRAME_BYTES  (1u << 20)

enum { CHUNK_XOR = 1 };                        /* prometheus.Chunk.Encoding; of histograms: kind */
/* prometheus.ReadRequest.ResponseType, and none of them */
enum { RESPONSE_SAMPLES, RESPONSE_XOR_CHUNKS, RESPONSE_NONE };

/* One series of the answer; its bytes stand in the answer's room. */
struct part {
    struct labels labels;
    size_t offset, len;
};

struct reading {
    struct web_request *req;
    struct metrics *m;
    const struct jobs *jobs;
    bool chunks;
    uint64_t samples;
    uint64_t query; /* its number */
    struct part *parts;
    size_t n_parts, cap_parts;
    struct buf room; /* of the parts */
    struct buf out;
};

/* CRC-32C (Castagnoli), RFC 3720 appendix B.4, reflected. */
static uint32_t crc32c(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0x82f63b78u & (0 - (crc & 1)));
    }
    return ~crc;
}

static int read_matcher(struct op *op, struct slice in, struct matcher *ret)
{
    static const enum match_op ops[] = {MATCH_EQ, MATCH_NE, MATCH_RE, MATCH_NRE};
    struct slice name = SLICE("");
    struct slice value = SLICE("");
    struct proto_field f;
    autobuf why = {0};
    uint64_t kind = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_VARINT)
            kind = f.value;
        else if (f.number == 2 && f.wire == PROTO_BYTES)
            name = f.bytes;
        else if (f.number == 3 && f.wire == PROTO_BYTES)
            value = f.bytes;
    }
    if (e < 0 || kind > 3)
        return op_fail(op, EINVAL, "invalid matcher type");
    if (matcher_init(ret, ops[kind], name, value, &why) < 0)
        return op_fail(op, EINVAL, "%s", why.data);
    return 0;
}

struct read_query {
    int64_t from_ms, to_ms;
    struct matcher matchers[MATCHERS_MAX];
    size_t n;
};

static void query_done(struct read_query *q)
{
    for (size_t i = 0; i < q->n; i++)
        matcher_done(&q->matchers[i]);
    q->n = 0;
}

/* A matcher that external labels meet says nothing about what is stored. */
static bool is_external(const struct reading *r, const struct matcher *m)
{
    const char *value = NULL;

    for (size_t i = 0; i < r->jobs->external_labels.n; i++)
        if (slice_eq(slice_str(r->jobs->external_labels.items[i].name), slice_str(m->name)))
            value = r->jobs->external_labels.items[i].value;
    return value != NULL && m->op == MATCH_EQ && strcmp(value, m->value) == 0;
}

static int read_query(const struct reading *r, struct slice in, struct read_query *q)
{
    struct proto_field f;
    int e;

    *q = (struct read_query){0};
    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_VARINT)
            q->from_ms = (int64_t)f.value;
        else if (f.number == 2 && f.wire == PROTO_VARINT)
            q->to_ms = (int64_t)f.value;
        if (f.number != 3 || f.wire != PROTO_BYTES)
            continue;
        if (q->n == MATCHERS_MAX)
            return op_fail(r->req->op, EINVAL, "more than %d matchers in a query", MATCHERS_MAX);
        e = read_matcher(r->req->op, f.bytes, &q->matchers[q->n]);
        if (e < 0)
            return e;
        q->n++;
        if (is_external(r, &q->matchers[q->n - 1]))
            matcher_done(&q->matchers[--q->n]);
    }
    return e < 0 ? op_fail(r->req->op, EINVAL, "the body is not a prometheus.ReadRequest") : 0;
}

/* With the external labels, where the series has none of that name; in the op. */
static struct labels outer_labels(const struct reading *r, const struct labels *l)
{
    const struct pairs *external = &r->jobs->external_labels;
    struct labels out = {
        .items = op_alloc(r->req->op, (l->n + external->n + 1) * sizeof *out.items)};

    for (size_t i = 0; i < l->n; i++)
        out.items[out.n++] = l->items[i];
    for (size_t i = 0; i < external->n; i++)
        if (labels_get(l, slice_str(external->items[i].name)).len == 0)
            out.items[out.n++] = (struct label){slice_str(external->items[i].name),
                                                slice_str(external->items[i].value)};
    labels_sort(&out);
    return out;
}

static void put_labels(struct buf *out, const struct labels *l)
{
    for (size_t i = 0; i < l->n; i++) {
        autobuf label = {0};

        proto_put_bytes(&label, 1, l->items[i].name);
        proto_put_bytes(&label, 2, l->items[i].value);
        proto_put_bytes(out, 1, buf_slice(&label));
    }
}

static void put_samples(struct buf *out, const struct query_item *item)
{
    autobuf one = {0};

    for (size_t i = 0; i < item->n; i++) {
        buf_clear(&one);
        if (item->histograms != NULL && item->histograms[i] != NULL) {
            histogram_to_proto(&one, item->histograms[i], item->ts[i]);
            proto_put_bytes(out, 4, buf_slice(&one));
            continue;
        }
        proto_put_fixed64(&one, 1, item->bits[i]);
        proto_put_varint(&one, 2, (uint64_t)item->ts[i]);
        proto_put_bytes(out, 2, buf_slice(&one));
    }
}

static bool is_float(const struct query_item *item, size_t i)
{
    return item->histograms == NULL || item->histograms[i] == NULL;
}

/* As many of the samples as stand together in a chunk; how many. */
static size_t put_chunk(struct buf *out, const struct query_item *item, size_t at)
{
    const int64_t *ts = item->ts + at;
    autobuf chunk = {0};
    autobuf data = {0};
    unsigned kind = CHUNK_XOR;
    size_t n = 1;

    while (at + n < item->n && is_float(item, at + n) == is_float(item, at))
        n++;
    if (is_float(item, at)) {
        n = n < XOR_CHUNK_SAMPLES ? n : XOR_CHUNK_SAMPLES;
        xor_chunk_encode(&data, ts, item->bits + at, n);
    } else {
        n = histogram_chunk_fit(item->histograms + at, n);
        kind = histogram_chunk_encode(&data, ts, item->histograms + at, n);
    }
    proto_put_varint(&chunk, 1, (uint64_t)ts[0]);
    proto_put_varint(&chunk, 2, (uint64_t)ts[n - 1]);
    proto_put_varint(&chunk, 3, kind);
    proto_put_bytes(&chunk, 4, buf_slice(&data));
    proto_put_bytes(out, 2, buf_slice(&chunk));
    return n;
}

/* A frame: length, checksum, a ChunkedReadResponse with one series. */
static void put_frame(struct buf *out, const struct buf *series, uint64_t query)
{
    autobuf message = {0};
    uint8_t sum[4];

    proto_put_bytes(&message, 1, buf_slice(series));
    proto_put_varint(&message, 2, query);
    be32_put(sum, crc32c((const uint8_t *)message.data, message.len));
    varint_put(out, message.len);
    buf_add(out, sum, sizeof sum);
    buf_add_slice(out, buf_slice(&message));
}

static void put_frames(struct reading *r, const struct labels *l, const struct query_item *item)
{
    autobuf series = {0};
    size_t labels_len;

    put_labels(&series, l);
    labels_len = series.len;
    for (size_t at = 0; at < item->n;) {
        at += put_chunk(&series, item, at);
        if (at < item->n && series.len < FRAME_BYTES)
            continue;
        put_frame(&r->room, &series, r->query);
        series.len = labels_len;
    }
}

static void put_series(struct reading *r, const struct labels *l, const struct query_item *item)
{
    autobuf series = {0};

    put_labels(&series, l);
    put_samples(&series, item);
    proto_put_bytes(&r->room, 1, buf_slice(&series));
}

static void add_part(struct reading *r, const struct query_item *item)
{
    struct part part = {outer_labels(r, &item->labels), r->room.len, 0};

    if (r->chunks)
        put_frames(r, &part.labels, item);
    else
        put_series(r, &part.labels, item);
    part.len = r->room.len - part.offset;
    if (r->n_parts == r->cap_parts) {
        r->cap_parts = r->cap_parts == 0 ? 64 : 2 * r->cap_parts;
        r->parts = xrealloc(r->parts, r->cap_parts * sizeof *r->parts);
    }
    r->parts[r->n_parts++] = part;
}

static int part_cmp(const void *a, const void *b)
{
    return labels_cmp(&((const struct part *)a)->labels, &((const struct part *)b)->labels);
}

static int read_series(struct reading *r, struct query *q)
{
    struct query_item item;
    int e;

    while ((e = query_next(q, &item)) > 0) {
        r->samples += item.n;
        if (r->samples > QUERY_SAMPLES_MAX)
            return op_fail(r->req->op, EINVAL, "exceeded sample limit (%d)", QUERY_SAMPLES_MAX);
        add_part(r, &item);
    }
    return e < 0 ? op_fail(r->req->op, -e, "reading samples: %s", strerror(-e)) : 0;
}

/* One query's result behind the others'. */
static int answer_query(struct reading *r, struct slice message)
{
    struct read_query *want = xmalloc(sizeof *want);
    struct query *q;
    autobuf result = {0};
    int e = read_query(r, message, want);

    r->n_parts = 0;
    buf_clear(&r->room);
    if (e == 0) {
        query_open(r->m->db, want->matchers, want->n, want->from_ms, want->to_ms, 0, &q);
        e = read_series(r, q);
        query_close(q);
    }
    query_done(want);
    free(want);
    if (e < 0)
        return e;
    if (r->n_parts > 1)
        qsort(r->parts, r->n_parts, sizeof *r->parts, part_cmp);
    for (size_t i = 0; i < r->n_parts; i++)
        buf_add(&result, r->room.data + r->parts[i].offset, r->parts[i].len);
    if (r->chunks)
        buf_add_slice(&r->out, buf_slice(&result));
    else
        proto_put_bytes(&r->out, 1, buf_slice(&result));
    r->query++;
    return 0;
}

static void accept_type(void *ctx, uint64_t v)
{
    uint64_t *first = ctx;

    if (*first == RESPONSE_NONE && (v == RESPONSE_SAMPLES || v == RESPONSE_XOR_CHUNKS))
        *first = v;
}

/* The first that the reader accepts and we know is the one it likes best. */
static bool want_chunks(struct slice message)
{
    uint64_t first = RESPONSE_NONE;
    struct proto_field f;

    while (proto_next(&message, &f) > 0)
        if (f.number == 2 && proto_count(&f, PROTO_VARINT) >= 0)
            proto_numbers(&f, PROTO_VARINT, accept_type, &first);
    return first == RESPONSE_XOR_CHUNKS;
}

static int answer_all(struct reading *r, struct slice message)
{
    struct proto_field f;
    int e;

    r->chunks = want_chunks(message);
    while ((e = proto_next(&message, &f)) > 0)
        if (f.number == 1 && f.wire == PROTO_BYTES && (e = answer_query(r, f.bytes)) < 0)
            return e;
    return e < 0 ? op_fail(r->req->op, EINVAL, "the body is not a prometheus.ReadRequest") : 0;
}

static int reply(struct reading *r, struct web_response *resp)
{
    autobuf packed = {0};

    if (r->chunks) {
        web_reply_buf(r->req, resp, 200,
                      "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
                      &r->out);
        return 0;
    }
    snappy_encode(buf_slice(&r->out), &packed);
    web_set_header(r->req, resp, "Content-Encoding", "snappy");
    web_reply_buf(r->req, resp, 200, "application/x-protobuf", &packed);
    return 0;
}

int api_read(struct web_request *req, struct web_response *resp)
{
    struct reading r = {.req = req, .m = req->self};
    struct scraper_state state;
    autobuf message = {0};
    int e = identity_check(req->op, POLICY_READ, "metrics/api");

    if (e < 0)
        return e;
    e = snappy_decode(req->body, WRITE_BYTES_MAX, &message);
    if (e < 0)
        return op_fail(req->op, EINVAL, e == -EFBIG ? "decoded size exceeds the limit of 32 MiB"
                                                    : "s2: corrupt input");
    scraper_state(r.m->scraper, &state);
    r.jobs = state.jobs;
    e = answer_all(&r, buf_slice(&message));
    if (e == 0)
        e = reply(&r, resp);
    jobs_unref(state.jobs);
    free(r.parts);
    buf_done(&r.room);
    buf_done(&r.out);
    return e;
}
