/* remote_read.c: POST /api/v1/read with answers of samples (prometheus remote read 1.0). */
#include "command/remote_read.h"
#include "base/codec.h"
#include "base/proto.h"
#include "base/scope.h"

#include <jansson.h>
#include <stdlib.h>
#include <sysexits.h>

#define DECODED_MAX (1u << 30)
#define SPAN_FIRST  (24ll * 3600 * 1000)
#define SPAN_LEAST  (60ll * 1000)
#define ANSWER_FULL (32u << 20) /* the next span is no longer than this one */

DEFINE_SCOPE(document, json_t, json_decref)

struct walk {
    struct client *client;
    const char *metric;
    int64_t at_ms, to_ms, span_ms;
    remote_series_fn *f;
    void *ctx;
};

/* prometheus.ReadRequest with one query, for __name__="metric". */
static void put_request(const struct walk *w, int64_t until_ms, struct buf *out)
{
    autobuf matcher = {0}, query = {0}, message = {0};

    proto_put_varint(&matcher, 1, 0); /* EQ */
    proto_put_bytes(&matcher, 2, SLICE("__name__"));
    proto_put_bytes(&matcher, 3, slice_str(w->metric));
    proto_put_varint(&query, 1, (uint64_t)w->at_ms);
    proto_put_varint(&query, 2, (uint64_t)until_ms);
    proto_put_bytes(&query, 3, buf_slice(&matcher));
    proto_put_bytes(&message, 1, buf_slice(&query));
    proto_put_varint(&message, 2, 0); /* SAMPLES */
    snappy_encode(buf_slice(&message), out);
}

/* prometheus.ReadResponse.results[].timeseries[] */
static int hand_on(struct walk *w, struct slice response)
{
    struct proto_field result, series;
    int r, code = EX_OK;

    while (code == EX_OK && (r = proto_next(&response, &result)) != 0) {
        struct slice rest = result.bytes;

        if (r < 0)
            return command_fail(EX_PROTOCOL, "%s: the answer is cut", w->client->address);
        if (result.number != 1 || result.wire != PROTO_BYTES)
            continue;
        while (code == EX_OK && (r = proto_next(&rest, &series)) != 0) {
            if (r < 0)
                return command_fail(EX_PROTOCOL, "%s: the answer is cut", w->client->address);
            if (series.number == 1 && series.wire == PROTO_BYTES)
                code = w->f(w->ctx, series.bytes);
        }
    }
    return code;
}

/* May a shorter span help? */
static bool too_much(const struct client *c)
{
    return c->too_large || c->status == 400 || c->status == 413 || c->status == 422;
}

/* One span; it is halved where it is more than an answer can carry. */
static int walk_span(struct walk *w)
{
    int64_t until_ms = w->to_ms - w->at_ms < w->span_ms ? w->to_ms : w->at_ms + w->span_ms - 1;
    autobuf request = {0}, response = {0};
    struct slice body;
    size_t got;
    int code;

    put_request(w, until_ms, &request);
    body = buf_slice(&request);
    code = client_ask(w->client, "POST", "/api/v1/read", &body);
    got = w->client->answer.len;
    if (code == EX_OK)
        code = -snappy_decode(buf_slice(&w->client->answer), DECODED_MAX, &response);
    else if (!too_much(w->client))
        return command_fail(code, "%s/api/v1/read: %s (%ld)", w->client->address,
                            got > 0 ? w->client->answer.data : "no answer", w->client->status);
    if (code != EX_OK && w->span_ms > SPAN_LEAST) {
        w->span_ms /= 2;
        return EX_OK;
    }
    if (code != EX_OK)
        return command_fail(EX_DATAERR, "%s: a minute of '%s' is more than one answer can carry: %s",
                            w->client->address, w->metric, got > 0 ? w->client->answer.data : "");
    code = hand_on(w, buf_slice(&response));
    w->at_ms = until_ms + 1;
    if (response.len < ANSWER_FULL / 4 && w->span_ms < INT64_MAX / 4)
        w->span_ms *= response.len == 0 ? 4 : 2;
    return code;
}

static int walk_metric(struct walk *w, int64_t from_ms)
{
    int code = EX_OK;

    w->at_ms = from_ms;
    w->span_ms = SPAN_FIRST;
    while (code == EX_OK && w->at_ms <= w->to_ms)
        code = walk_span(w);
    return code;
}

int remote_read_walk(struct client *c, int64_t from_ms, int64_t to_ms, remote_series_fn *f,
                     void *ctx)
{
    struct walk w = {.client = c, .to_ms = to_ms, .f = f, .ctx = ctx};
    scope_cleanup(scope_document) json_t *names = NULL;
    json_t *name;
    size_t i;
    int code = client_ask(c, "GET", "/api/v1/label/__name__/values", NULL);

    if (code != EX_OK)
        return code;
    names = json_loadb(c->answer.data != NULL ? c->answer.data : "", c->answer.len, 0, NULL);
    if (!json_is_array(json_object_get(names, "data")))
        return command_fail(EX_PROTOCOL, "%s is no Prometheus", c->address);
    client_header(c, "Content-Type: application/x-protobuf");
    client_header(c, "Content-Encoding: snappy");
    client_header(c, "X-Prometheus-Remote-Read-Version: 0.1.0");
    c->quiet = true;
    json_array_foreach(json_object_get(names, "data"), i, name) {
        w.metric = json_string_value(name);
        if (code == EX_OK && w.metric != NULL)
            code = walk_metric(&w, from_ms);
    }
    c->quiet = false;
    return code;
}
