#include "http/request.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>
#include <poll.h>

/* A batch whose guard does not hold is made again: of n that change one row at once one wins each
 * time. Who has lost this often takes turns with the other losers, so that not all of them make
 * their batches again and again. */
#define TRIES_AT_ONCE 2u
#define TRIES_MAX     100u

struct header_search {
    const char *name;
    int (*f)(void *arg, const char *value);
    void *arg;
};

static enum MHD_Result visit_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct header_search *s = cls;

    (void)kind;
    if (strcasecmp(name, s->name) != 0)
        return MHD_YES;
    return s->f(s->arg, value != NULL ? value : "") == 0 ? MHD_YES : MHD_NO;
}

static void find_header(void *ctx, const char *name, int (*f)(void *arg, const char *value),
                        void *arg)
{
    struct request *r = ctx;
    struct header_search s = {name, f, arg};

    if (r->connection != NULL)
        MHD_get_connection_values(r->connection, MHD_HEADER_KIND, visit_header, &s);
}

/* A client that closes its sending side has gone, as Go's server sees it too. */
static bool is_gone(void *ctx)
{
    struct request *r = ctx;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd fd = {.fd = info != NULL ? info->connect_fd : -1, .events = POLLRDHUP};

    return poll(&fd, 1, 0) > 0;
}

static const struct web_source source = {.header = find_header, .gone = is_gone};

void *request_open(struct listener *l, const char *uri, struct MHD_Connection *connection)
{
    struct request *r = xcalloc(1, sizeof *r);
    const union MHD_ConnectionInfo *peer =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    r->http = l->http;
    r->listener = l;
    r->connection = connection;
    op_init(&r->op, DOOR_HTTP, identity_anonymous(l->http->options.identities));
    if (peer != NULL && peer->socket_context != NULL)
        r->op.remote = op_strdup(&r->op, peer->socket_context);
    r->uri = op_strdup(&r->op, uri);
    r->web = (struct web_request){.op = &r->op, .source = &source, .source_ctx = r};
    return r;
}

bool request_is_read(const struct request *r)
{
    return strcmp(r->web.method, "GET") == 0 || strcmp(r->web.method, "HEAD") == 0;
}

void request_suspend(struct request *r)
{
    __atomic_add_fetch(&r->http->parked, 1, __ATOMIC_RELAXED);
    MHD_suspend_connection(r->connection);
}

void request_resume(struct request *r)
{
    struct http *http = r->http;

    __atomic_add_fetch(&r->handed, 1, __ATOMIC_RELEASE);
    MHD_resume_connection(r->connection);
    __atomic_sub_fetch(&http->parked, 1, __ATOMIC_RELEASE);
}

void request_run_job(void *arg)
{
    struct request *r = arg;

    r->job(r);
}

void request_to_worker(struct request *r, struct pool *pool, void (*job)(struct request *r))
{
    request_suspend(r);
    r->job = job;
    pool_submit(pool, request_run_job, r);
}

/* What a person would ask about. Not: an absent thing, or that a login is needed. */
static void note_refusal(struct request *r)
{
    bool asks_to_log_in = r->result == -EPERM && !r->showed_credentials;

    if (r->result != -ENOENT && r->result != -ENOTSUP && !asks_to_log_in)
        refusals_note(&r->op, r->web.path, r->result);
}

/* The result is final: tell who caches, write the audit line, make the answer. */
static void finish(struct request *r)
{
    const struct route *route = r->web.route;
    const struct http_options *o = &r->http->options;

    if (r->has_turn)
        turn_pass(r);
    if (r->result == 0)
        feed_publish(o->feed, &r->op, true);
    else
        note_refusal(r);
    answer_build(r);
    if (route != NULL && route->flags & ROUTE_AUDIT &&
        audit_write(o->audit, &r->op, r->web.method, r->web.path, r->status) < 0 &&
        r->status < 400) {
        /* what cannot be written down is not handed out */
        answer_done(r);
        r->result = op_fail(&r->op, EIO, "the audit log cannot be written");
        answer_build(r);
    }
    body_end(r);
    r->stage = STAGE_ANSWER;
}

static void job_finish(struct request *r)
{
    finish(r);
    request_resume(r);
}

static void job_committed(struct request *r);

/* It does while the kernel drops what it cached: not in a server's or the committer's thread. */
static bool publishing_waits(const struct request *r)
{
    return r->op.changes != NULL && feed_is_watched(r->http->options.feed);
}

/* The committer's thread, or whose ever the answer waited for: it must not wait. */
static void on_commit(void *ctx, int result)
{
    struct request *r = ctx;

    r->result = result;
    r->stage = STAGE_COMMITTED;
    r->job = job_committed;
    if (result != -EAGAIN && r->has_turn)
        turn_pass(r);
    if (result == -EAGAIN && r->tries >= TRIES_AT_ONCE && !r->has_turn)
        turn_take(r);
    else if (result < 0 ? !(r->web.route->flags & ROUTE_INLINE) || r->has_turn
                        : publishing_waits(r))
        pool_submit(r->http->workers, request_run_job, r);
    else
        request_resume(r);
}

/* Calls the handler. True: done, `result` is set. False: the connection is suspended for what the
 * answer waits for, and r belongs to another thread. */
static bool call_handler(struct request *r, bool suspended)
{
    r->result = r->tries == 0 ? body_finish(r) : 0;
    if (r->result == 0)
        r->result = r->web.route->handle(&r->web, &r->resp);
    if (r->result < 0 || !web_waits(&r->resp))
        return true;
    if (!suspended)
        request_suspend(r);
    web_wait(&r->resp, on_commit, r);
    return false;
}

/* After a commit. True: the handler must run again. */
static bool must_retry(struct request *r)
{
    if (r->result == -EAGAIN && ++r->tries < TRIES_MAX) {
        web_response_done(&r->resp);
        op_forgive(&r->op);
        r->op.changes = NULL;
        return true;
    }
    if (r->result == 0 && r->resp.after_commit != NULL)
        r->result = r->resp.after_commit(&r->web, &r->resp);
    return false;
}

static void job_handle(struct request *r)
{
    if (!call_handler(r, true))
        return;
    finish(r);
    request_resume(r);
}

static void job_committed(struct request *r)
{
    if (must_retry(r)) {
        job_handle(r);
        return;
    }
    finish(r);
    request_resume(r);
}

static bool finish_may_wait(const struct request *r)
{
    return (r->result == 0 && publishing_waits(r)) ||
           (r->begun && !(r->web.route->flags & ROUTE_INLINE));
}

static enum MHD_Result queue_answer(struct request *r)
{
    return MHD_queue_response(r->connection, (unsigned)r->status, r->response);
}

static void job_begin(struct request *r)
{
    r->result = body_begin(r);
    r->stage = STAGE_BODY;
    request_resume(r);
}

/* Limits that need no byte of the body, then begin. True: suspended. */
static bool begin(struct request *r)
{
    const struct route *route = r->web.route;

    if (route->flags & ROUTE_STREAM && route->begin != NULL && !(route->flags & ROUTE_INLINE)) {
        request_to_worker(r, r->http->workers, job_begin);
        return true;
    }
    r->result = body_begin(r);
    r->stage = STAGE_BODY;
    return false;
}

enum progress {
    PARKED, /* the connection is suspended; r belongs to another thread */
    NEED_BODY,
    READY, /* to be queued */
};

/* Goes on as far as it can without waiting. `complete`: nothing more comes from the client. */
static enum progress advance(struct request *r, bool complete)
{
    for (;;) {
        switch (r->stage) {
        case STAGE_NEW:
        case STAGE_KNOWN:
            if (r->result == 0 && begin(r))
                return PARKED;
            r->stage = STAGE_BODY;
            break;
        case STAGE_BODY:
            if (!complete)
                return NEED_BODY;
            if (!body_settle(r))
                return PARKED;
            r->stage = r->result < 0 ? STAGE_FINISH : STAGE_HANDLE;
            break;
        case STAGE_HANDLE:
            if (!(r->web.route->flags & ROUTE_INLINE) || r->web.may_wait) {
                r->web.may_wait = true;
                request_to_worker(r, r->http->workers, job_handle);
                return PARKED;
            }
            if (!call_handler(r, false))
                return PARKED;
            r->web.may_wait = r->result == -EINPROGRESS; /* then once more, in a worker */
            if (!r->web.may_wait)
                r->stage = STAGE_FINISH;
            break;
        case STAGE_COMMITTED:
            r->stage = must_retry(r) ? STAGE_HANDLE : STAGE_FINISH;
            break;
        case STAGE_FINISH:
            if (finish_may_wait(r)) {
                request_to_worker(r, r->http->workers, job_finish);
                return PARKED;
            }
            finish(r);
            break;
        case STAGE_ANSWER:
            return READY;
        }
    }
}

/* Is it sensible to read the rest of the body only to drop it? Then the connection can be kept. */
static bool body_can_be_dropped(const struct request *r)
{
    if (r->close || r->web.content_length > BODY_DROP_MAX)
        return false;
    return r->headers.expect == NULL || r->web.content_length == 0;
}

/* The first call, before any of the body, and again each time the connection was resumed in it. An
 * answer that is queued in it closes the connection. */
static enum MHD_Result first_call(struct request *r)
{
    enum progress progress = advance(r, false);

    if (progress == PARKED)
        return MHD_YES;
    if (progress == NEED_BODY && (r->result == 0 || body_can_be_dropped(r))) {
        r->past_headers = true;
        return MHD_YES;
    }
    if (progress == NEED_BODY) { /* refused without reading the body */
        r->close = r->unread = true;
        finish(r);
    }
    return queue_answer(r);
}

enum MHD_Result request_handle(struct request *r, const char *method, const char *version,
                               const char *data, size_t *size)
{
    (void)__atomic_load_n(&r->handed, __ATOMIC_ACQUIRE);
    if (*size > 0)
        return body_take(r, data, size) < 0 ? MHD_NO : MHD_YES;
    if (r->stage == STAGE_NEW) {
        int64_t timeout_ms = r->http->limits->request_timeout_ms;

        r->counted = true;
        r->until_ms = timeout_ms > 0 ? clock_monotonic_ms() + timeout_ms : 0;
        __atomic_add_fetch(&r->http->under_way, 1, __ATOMIC_RELAXED);
        if (!request_admit(r, method, version))
            return MHD_YES;
    }
    if (!r->past_headers)
        return first_call(r);
    return advance(r, true) == READY ? queue_answer(r) : MHD_YES;
}

static void release(struct request *r)
{
    struct http *http = r->http;

    answer_done(r);
    web_response_done(&r->resp);
    body_done(r);
    identity_unref(r->who);
    op_done(&r->op);
    free(r);
    __atomic_sub_fetch(&http->parked, 1, __ATOMIC_RELEASE);
}

static void job_abandon(struct request *r)
{
    body_end(r);
    release(r);
}

void request_close(struct request *r)
{
    (void)__atomic_load_n(&r->handed, __ATOMIC_ACQUIRE);
    if (r->counted)
        __atomic_sub_fetch(&r->http->under_way, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&r->http->parked, 1, __ATOMIC_RELAXED);
    body_wait(r);
    if (r->unread)
        request_linger(r);
    r->connection = NULL;
    /* these live in the connection's memory */
    r->headers = (struct headers){0};
    r->web.host = NULL;
    if (r->begun && !(r->web.route->flags & ROUTE_INLINE)) {
        r->job = job_abandon;
        pool_submit(r->http->workers, request_run_job, r);
        return;
    }
    body_end(r);
    release(r);
}
