/* POST /api/v1/write: remote write 1.0. */
#include "base/alloc.h"
#include "identity/identity.h"
#include "metrics/api/api.h"
#include "metrics/api/known.h"
#include "metrics/api/remote.h"

#include <errno.h>
#include <stdlib.h>

struct taken {
    struct db_sample *samples;
    size_t n, cap;
};

static void add(struct taken *t, struct db_sample sample)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 2048 : 2 * t->cap;
        t->samples = xrealloc(t->samples, t->cap * sizeof *t->samples);
    }
    t->samples[t->n++] = sample;
}

static void take_metadata(struct metrics *m, const struct remote_metadata *d)
{
    static const enum metric_type types[] = {
        METRIC_UNKNOWN,        METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM,
        METRIC_GAUGEHISTOGRAM, METRIC_SUMMARY, METRIC_INFO,  METRIC_STATESET};

    metadata_note(m->metadata, d->metric, d->type < 8 ? types[d->type] : METRIC_UNKNOWN, d->unit,
                  d->help);
}

/* The ref of the series, SERIES_NONE if it is to be passed over; -EINVAL. */
static int series_of(struct metrics *m, struct remote *r, uint32_t *ret)
{
    uint64_t hash = 0;
    int e;

    *ret = SERIES_NONE;
    if (r->series.raw.len > 0) {
        hash = known_hash(m->known, r->series.raw);
        *ret = known_find(m->known, hash);
        if (*ret != SERIES_NONE)
            return 0;
    }
    e = remote_labels(r);
    if (e <= 0)
        return e;
    *ret = db_series(m->db, &r->series.labels);
    if (hash != 0)
        known_add(m->known, hash, *ret);
    return 0;
}

static int take_series(struct metrics *m, struct remote *r, struct taken *t)
{
    struct remote_sample s;
    uint32_t ref;
    int e = series_of(m, r, &ref);

    while (e == 0 && (e = remote_sample_next(&r->series.samples, &s)) > 0) {
        if (ref != SERIES_NONE)
            add(t, (struct db_sample){ref, s.ts_ms, s.bits});
        e = 0;
    }
    return e;
}

/* All samples of a message, which is valid to its end, or nothing. */
static int take_message(struct metrics *m, struct slice message, struct taken *t)
{
    struct remote *r = xmalloc(sizeof *r);
    int e;

    known_check(m->known, db_forgotten(m->db));
    remote_init(r, message);
    while ((e = remote_next(r)) > 0) {
        if (e == REMOTE_METADATA)
            take_metadata(m, &r->metadata);
        else if ((e = take_series(m, r, t)) < 0)
            break;
    }
    free(r);
    return e;
}

static int refuse(struct web_request *req, struct web_response *resp, int status, const char *text)
{
    web_set_header(req, resp, "X-Content-Type-Options", "nosniff");
    web_reply_str(req, resp, status, "text/plain; charset=utf-8", text);
    return 0;
}

static int store(struct web_request *req, struct web_response *resp, struct metrics *m,
                 const struct taken *t)
{
    struct db_result result;
    int r = db_append(m->db, t->samples, t->n, &result);

    if (r == 0)
        r = db_sync(m->db); /* what is acknowledged is on disk */
    if (r < 0)
        return op_fail(req->op, -r, "storing samples: %s", strerror(-r));
    if (result.out_of_order > 0)
        return refuse(req, resp, 400, "out of order sample\n");
    if (result.duplicate > 0)
        return refuse(req, resp, 400, "duplicate sample for timestamp\n");
    resp->status = 204;
    return 0;
}

int api_write(struct web_request *req, struct web_response *resp)
{
    struct metrics *m = req->self;
    const char *type = web_header(req, "Content-Type");
    struct taken taken = {0};
    autobuf message = {0};
    int r = identity_check(req->op, POLICY_UPDATE, "metrics/write");

    if (r < 0)
        return r;
    if (type != NULL && strstr(type, "io.prometheus.write.v2") != NULL)
        return refuse(req, resp, 415, "remote write 2.0 is not supported; send 1.0\n");
    r = snappy_decode(req->body, WRITE_BYTES_MAX, &message);
    if (r == -EFBIG)
        return refuse(req, resp, 413, "decoded size exceeds the limit of 32 MiB\n");
    if (r < 0)
        return refuse(req, resp, 400, "s2: corrupt input\n");
    r = take_message(m, buf_slice(&message), &taken);
    if (r < 0)
        r = refuse(req, resp, 400, "the body is not a prometheus.WriteRequest\n");
    else
        r = store(req, resp, m, &taken);
    free(taken.samples);
    return r;
}
