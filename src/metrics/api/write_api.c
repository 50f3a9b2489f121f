/* POST /api/v1/write: remote write 1.0 and 2.0. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "metrics/api/api.h"
#include "metrics/api/known.h"
#include "metrics/api/remote.h"
#include "metrics/api/taken.h"

#include <errno.h>
#include <stdlib.h>

#define FUTURE_MS   (10 * 60 * 1000)
#define REASONS_MAX 20 /* told to the sender */

/* One request. */
struct write {
    struct web_request *req;
    struct web_response *resp;
    struct metrics *m;
    struct remote *remote;
    struct taken taken;
    int64_t latest_ms;  /* no sample may be behind it */
    bool starts;        /* a counter begins with a zero where its start is told */
    size_t *zeros;      /* which of the samples these are */
    size_t n_zeros, cap_zeros;
    struct buf reasons; /* why something was refused, a line each */
    unsigned n_reasons;
    struct buf message; /* decoded; labels of exemplars lie in it */
    struct db_pending pending;
    void (*done)(void *ctx, int r);
    void *done_ctx;
};

static int refuse(struct web_request *req, struct web_response *resp, int status, const char *text)
{
    web_set_header(req, resp, "X-Content-Type-Options", "nosniff");
    web_reply_str(req, resp, status, "text/plain; charset=utf-8", text);
    return 0;
}

/* 2.0 says all reasons with their series, 1.0 the first. */
static void complain(struct write *w, const char *what, const struct labels *series)
{
    bool all = w->remote->version == REMOTE_2;

    if (w->n_reasons++ >= (all ? REASONS_MAX : 1))
        return;
    buf_add_str(&w->reasons, what);
    if (series != NULL && all) {
        buf_add_str(&w->reasons, " for series ");
        labels_print(&w->reasons, series);
    }
    buf_add_char(&w->reasons, '\n');
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
static int series_of(struct write *w, uint32_t *ret)
{
    struct remote *r = w->remote;
    struct metrics *m = w->m;
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
    if (e <= 0) {
        if (e == 0 && r->version == REMOTE_2)
            complain(w, r->why.data, NULL);
        return e;
    }
    *ret = db_series(m->db, &r->series.labels);
    if (hash != 0)
        known_add(m->known, hash, *ret);
    return 0;
}

static void take_zero(struct write *w, uint32_t ref, int64_t start_ms)
{
    if (w->n_zeros == w->cap_zeros) {
        w->cap_zeros = w->cap_zeros == 0 ? 64 : 2 * w->cap_zeros;
        w->zeros = xrealloc(w->zeros, w->cap_zeros * sizeof *w->zeros);
    }
    w->zeros[w->n_zeros++] = w->taken.n;
    taken_float(&w->taken, ref, start_ms, 0);
}

static int take_samples(struct write *w, uint32_t ref)
{
    struct slice rest = w->remote->series.rest;
    struct remote_sample s;
    int64_t last_ms = 0; /* of the request */
    int e;

    while ((e = remote_sample_next(&rest, &s)) > 0) {
        if (ref == SERIES_NONE)
            continue;
        if (s.ts_ms > w->latest_ms) {
            complain(w, "out of bounds", &w->remote->series.labels);
            continue;
        }
        if (w->starts && s.start_ms > last_ms && db_may_start(w->m->db, ref, s.start_ms, s.ts_ms))
            take_zero(w, ref, s.start_ms);
        taken_float(&w->taken, ref, s.ts_ms, s.bits);
        if (w->remote->version == REMOTE_2)
            taken_start(&w->taken, s.start_ms);
        last_ms = s.ts_ms > last_ms ? s.ts_ms : last_ms;
    }
    return e;
}

static void take_histogram(struct write *w, uint32_t ref, const struct histogram *h,
                           const struct histogram_times *times)
{
    taken_histogram(&w->taken, ref, times->ts_ms, h);
    if (w->remote->version == REMOTE_2)
        taken_start(&w->taken, times->start_ms);
}

static int take_histograms(struct write *w, uint32_t ref)
{
    struct slice rest = w->remote->series.rest;
    struct histogram *h;
    struct histogram_times times;
    int e;

    while ((e = remote_histogram_next(w->remote, &rest, &h, &times)) > 0) {
        autobuf why = {0};

        if (ref != SERIES_NONE && times.ts_ms > w->latest_ms)
            complain(w, "out of bounds", &w->remote->series.labels);
        else if (ref != SERIES_NONE && histogram_admit(h, &why) < 0)
            complain(w, why.data, &w->remote->series.labels);
        else if (ref != SERIES_NONE)
            take_histogram(w, ref, h, &times);
        histogram_free(h);
    }
    return e;
}

static int take_exemplars(struct write *w, uint32_t ref)
{
    struct slice rest = w->remote->series.rest;
    struct remote_exemplar e;
    int r;

    while ((r = remote_exemplar_next(w->remote, &rest, &e)) > 0)
        if (ref != SERIES_NONE)
            taken_exemplar(&w->taken, w->req->op, ref,
                           &(struct exemplar){e.labels, e.ts_ms, e.bits});
    return r;
}

static int take_series(struct write *w)
{
    struct remote *r = w->remote;
    size_t before = w->taken.n + w->n_reasons;
    uint32_t ref;
    int e;

    r->series.labels.n = 0;
    e = series_of(w, &ref);
    if (e == 0)
        e = take_samples(w, ref);
    if (e == 0)
        e = take_histograms(w, ref);
    if (e == 0)
        e = take_exemplars(w, ref);
    if (e < 0 || r->version == REMOTE_1 || ref == SERIES_NONE)
        return e;
    if (before == w->taken.n + w->n_reasons)
        complain(w, "TimeSeries must contain at least one sample or histogram", &r->series.labels);
    if (r->metadata.metric.len > 0)
        take_metadata(w->m, &r->metadata);
    return 0;
}

/* All of a message, which is valid to its end, or nothing. */
static int take_message(struct write *w, enum remote_version version, struct slice message)
{
    int e = remote_init(w->remote, version, message);

    if (e < 0)
        return e;
    known_check(w->m->known, db_forgotten(w->m->db));
    while ((e = remote_next(w->remote)) > 0) {
        if (e == REMOTE_METADATA)
            take_metadata(w->m, &w->remote->metadata);
        else if ((e = take_series(w)) < 0)
            break;
    }
    return e;
}

/* Exemplars are kept as far as they go: they do not decide about the request. */
static size_t store_exemplars(struct write *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->taken.n_exemplars; i++) {
        const struct taken_exemplar *e = &w->taken.exemplars[i];

        n += exemplars_add(w->m->exemplars, e->ref, &e->exemplar) == 0;
    }
    if (w->taken.n_exemplars > 0 && exemplars_write(w->m->exemplars) < 0)
        return 0;
    return n;
}

/* 1.0: one bad sample, and nothing of the request is kept. */
static void answer_whole(struct write *w)
{
    const struct db_result *result = &w->pending.result;

    if (result->out_of_order > 0) {
        refuse(w->req, w->resp, 400, "out of order sample\n");
        return;
    }
    if (result->duplicate > 0) {
        refuse(w->req, w->resp, 400, "duplicate sample for timestamp\n");
        return;
    }
    store_exemplars(w);
    w->resp->status = 204;
}

struct refused {
    struct write *w;
    const uint8_t *verdicts;
};

static void say_refused(void *ctx, const struct index *ix)
{
    struct refused *f = ctx;
    struct write *w = f->w;

    for (size_t i = 0; i < w->taken.n && w->n_reasons < REASONS_MAX; i++) {
        struct label room[LABELS_MAX + 1];
        struct labels l;

        if (f->verdicts[i] == DB_NEW || f->verdicts[i] == DB_SAME)
            continue;
        l = index_labels(ix, index_series(ix, w->taken.samples[i].ref), room);
        complain(w,
                 f->verdicts[i] == DB_DUPLICATE ? "duplicate sample for timestamp"
                                                : "out of order sample",
                 &l);
    }
}

static void say_written(struct write *w, const char *what, size_t n)
{
    web_set_header(w->req, w->resp,
                   op_printf(w->req->op, "X-Prometheus-Remote-Write-%s-Written", what),
                   op_printf(w->req->op, "%zu", n));
}

/* The sender does not hear of zeros: what becomes of them is no matter. */
static void hide_zeros(const struct write *w, uint8_t *verdicts, struct db_result *result)
{
    for (size_t i = 0; i < w->n_zeros; i++) {
        uint8_t *verdict = &verdicts[w->zeros[i]];

        result->duplicate -= *verdict == DB_DUPLICATE;
        result->out_of_order -= *verdict == DB_TOO_OLD;
        *verdict = DB_SAME;
    }
}

/* 2.0: what is good is kept, and the sender hears how much that was. */
static void answer_parts(struct write *w)
{
    struct db_result *result = &w->pending.result;
    uint8_t *verdicts = w->pending.batch.verdicts;
    size_t written[2] = {0, 0}; /* floats, histograms */
    size_t exemplars;
    size_t payload = 0;

    hide_zeros(w, verdicts, result);
    for (size_t i = 0; i < w->taken.n; i++) {
        bool marked = w->taken.samples[i].bits == HISTOGRAM_BITS;
        bool histogram = marked && w->taken.spans[payload].len > 0;

        payload += marked;
        written[histogram] += verdicts[i] == DB_NEW || verdicts[i] == DB_SAME;
    }
    written[0] -= w->n_zeros;
    exemplars = store_exemplars(w);
    if (result->out_of_order + result->duplicate > 0)
        db_look(w->m->db, say_refused, &(struct refused){w, verdicts});
    say_written(w, "Samples", written[0]);
    say_written(w, "Histograms", written[1]);
    say_written(w, "Exemplars", exemplars);
    if (w->n_reasons > 0)
        refuse(w->req, w->resp, 400, op_strdup(w->req->op, w->reasons.data));
    else
        w->resp->status = 204;
}

static void write_free(struct write *w)
{
    remote_done(w->remote);
    free(w->remote);
    buf_done(&w->message);
    taken_done(&w->taken);
    free(w->pending.batch.verdicts);
    free(w->zeros);
    buf_done(&w->reasons);
    free(w);
}

/* What was taken is on disk, or is not. */
static void on_stored(struct db_pending *p, int r)
{
    struct write *w = (struct write *)((char *)p - offsetof(struct write, pending));
    void (*done)(void *, int) = w->done;
    void *ctx = w->done_ctx;

    if (r < 0)
        r = op_fail(w->req->op, -r, "storing samples: %s", strerror(-r));
    else if (w->remote->version == REMOTE_1)
        answer_whole(w);
    else
        answer_parts(w);
    write_free(w);
    done(ctx, r);
}

static void store_later(void *ctx, void (*done)(void *ctx, int r), void *done_ctx)
{
    struct write *w = ctx;

    w->done = done;
    w->done_ctx = done_ctx;
    db_append_durable(w->m->db, &w->pending);
}

/* The answer is that of on_stored. Takes w. */
static int store(struct write *w)
{
    bool whole = w->remote->version == REMOTE_1;

    if (w->taken.n_exemplars == 0)
        buf_done(&w->message);
    w->pending = (struct db_pending){
        .batch = {.samples = w->taken.samples,
                  .n = w->taken.n,
                  .payloads = taken_payloads(&w->taken, w->req->op),
                  .whole = whole,
                  .verdicts = whole ? NULL : xcalloc(w->taken.n + 1, 1),
                  .starts = w->taken.starts,
                  .n_starts = w->taken.n_starts},
        .done = on_stored,
    };
    w->resp->later = store_later;
    w->resp->later_ctx = w;
    return 0;
}

/* By Content-Type: application/x-protobuf, and which message; remote write spec 2.0, "Protocol".
 * A sender of 1.0 may leave it out. */
static bool version_of(const char *type, enum remote_version *ret)
{
    const char *proto = type != NULL ? strstr(type, "proto=") : NULL;
    size_t n = type != NULL ? strcspn(type, "; ") : 0;

    *ret = REMOTE_1;
    if (type == NULL)
        return true;
    if (!slice_eq(slice_of(type, n), SLICE("application/x-protobuf")))
        return false;
    if (proto == NULL || strcmp(proto + 6, "prometheus.WriteRequest") == 0)
        return true;
    *ret = REMOTE_2;
    return strcmp(proto + 6, "io.prometheus.write.v2.Request") == 0;
}

static int answer(struct write *w, enum remote_version version)
{
    int r = take_message(w, version, buf_slice(&w->message));

    if (r == -EFBIG)
        return refuse(w->req, w->resp, 413, "too many symbols in one request\n");
    if (r == -ENOMEM)
        return op_fail(w->req->op, ENOMEM, "no memory for the request");
    if (r < 0)
        return refuse(w->req, w->resp, 400,
                      version == REMOTE_1
                          ? "the body is not a prometheus.WriteRequest\n"
                          : "the body is not an io.prometheus.write.v2.Request\n");
    if (version == REMOTE_1 && w->n_reasons > 0)
        return refuse(w->req, w->resp, 400, op_strdup(w->req->op, w->reasons.data));
    return store(w);
}

int api_write(struct web_request *req, struct web_response *resp)
{
    const char *encoding = web_header(req, "Content-Encoding");
    enum remote_version version;
    struct write *w;
    autobuf message = {0};
    int r = identity_check(req->op, POLICY_UPDATE, "metrics/write");

    if (r < 0)
        return r;
    if (encoding != NULL && strcmp(encoding, "snappy") != 0)
        return refuse(req, resp, 415, "only snappy is accepted as Content-Encoding\n");
    r = snappy_decode(req->body, WRITE_BYTES_MAX, &message);
    if (r == -EFBIG)
        return refuse(req, resp, 413, "decoded size exceeds the limit of 32 MiB\n");
    if (r < 0)
        return refuse(req, resp, 400, "s2: corrupt input\n");
    if (!version_of(web_header(req, "Content-Type"), &version))
        return refuse(req, resp, 415,
                      "the Content-Type must be application/x-protobuf, with or without "
                      "proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request\n");
    w = xcalloc(1, sizeof *w);
    *w = (struct write){.req = req,
                        .resp = resp,
                        .m = req->self,
                        .latest_ms = clock_unix_ms() + FUTURE_MS,
                        .remote = xmalloc(sizeof *w->remote),
                        .message = message};
    message = (struct buf){0};
    w->starts = version == REMOTE_2 && w->m->env.config->created_timestamps > 0;
    r = answer(w, version);
    if (resp->later == NULL)
        write_free(w);
    return r;
}
