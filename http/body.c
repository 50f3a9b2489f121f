#include "http/request.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"

#include <errno.h>
#include <sys/socket.h>

static uint64_t limit_of(const struct request *r)
{
    const struct route *route = r->web.route;

    if (route->body_limit_bytes > 0)
        return route->body_limit_bytes;
    return route->flags & ROUTE_STREAM ? UINT64_MAX : r->http->limits->json_bytes;
}

static int too_large(struct request *r)
{
    return op_fail(&r->op, EFBIG, "the body is larger than %" PRIu64 " bytes", limit_of(r));
}

/* Large pieces, unless so many uploads are under way that they would take too much memory. */
static size_t piece_of(struct request *r)
{
    uint64_t length = r->web.content_length;

    if (length <= STREAM_PIECE_SMALL)
        return length > 0 ? (size_t)length : 1;
    if (__atomic_add_fetch(&r->http->large_streams, 1, __ATOMIC_RELAXED) > STREAMS_LARGE_MAX) {
        __atomic_sub_fetch(&r->http->large_streams, 1, __ATOMIC_RELAXED);
        return STREAM_PIECE_SMALL;
    }
    __atomic_add_fetch(&r->http->body_bytes, 2 * STREAM_PIECE, __ATOMIC_RELAXED);
    return STREAM_PIECE;
}

static int begin_stream(struct request *r)
{
    struct stream *s;
    int result = 0;

    if (r->web.route->begin != NULL)
        result = r->web.route->begin(&r->web);
    if (result < 0)
        return result;
    r->begun = true;
    s = xcalloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->piece = piece_of(r);
    r->stream = s;
    return 0;
}

int body_begin(struct request *r)
{
    const struct route *route = r->web.route;
    uint64_t length = r->web.content_length;

    if (length != UINT64_MAX && length > limit_of(r))
        return too_large(r);
    if (route->flags & ROUTE_STREAM)
        return begin_stream(r);
    if (length != UINT64_MAX && length > ANONYMOUS_BODY_MAX && r->who == NULL)
        return op_fail(&r->op, EPERM, "log in first: the body is too large to be read before");
    return 0;
}

/* Room for n more bytes of a collected body. */
static int grow(struct request *r, size_t n)
{
    size_t cap = r->body_cap > 0 ? r->body_cap : 1024;
    char *body;

    while (cap - r->body_len < n)
        cap *= 2;
    if (r->body_cap == 0 && r->web.content_length != UINT64_MAX)
        cap = (size_t)r->web.content_length; /* body_begin saw that it is within the limit */
    if (cap < r->body_len + n)
        cap = r->body_len + n;
    if (__atomic_add_fetch(&r->http->body_bytes, cap - r->body_cap, __ATOMIC_RELAXED) >
        BODIES_MAX) {
        __atomic_sub_fetch(&r->http->body_bytes, cap - r->body_cap, __ATOMIC_RELAXED);
        return op_fail(&r->op, EBUSY, "too many large requests at once; try again");
    }
    body = malloc(cap);
    if (body == NULL) {
        __atomic_sub_fetch(&r->http->body_bytes, cap - r->body_cap, __ATOMIC_RELAXED);
        return op_fail(&r->op, ENOMEM, "no memory for the body");
    }
    if (r->body_len > 0)
        memcpy(body, r->body, r->body_len);
    if (r->body != NULL && r->op.wiped)
        explicit_bzero(r->body, r->body_len);
    free(r->body);
    r->body = body;
    r->body_cap = cap;
    return 0;
}

static int collect(struct request *r, const char *data, size_t n)
{
    int result;

    if (n > limit_of(r) - r->body_len)
        return too_large(r);
    if (r->who == NULL && r->body_len + n > ANONYMOUS_BODY_MAX)
        return op_fail(&r->op, EPERM, "log in first: the body is too large to be read before");
    if (r->body_cap - r->body_len < n) {
        result = grow(r, n);
        if (result < 0)
            return result;
    }
    memcpy(r->body + r->body_len, data, n);
    r->body_len += n;
    return 0;
}

static void free_piece(struct request *r, char *piece)
{
    if (piece != NULL && r->op.wiped)
        explicit_bzero(piece, r->stream->piece);
    if (r->stream->piece == STREAM_PIECE)
        pieces_give(&r->http->pieces, piece, STREAM_PIECE);
    else
        free(piece);
}

/* In a worker. */
static void hand_over(void *arg)
{
    struct request *r = arg;
    struct stream *s = r->stream;
    int result = r->web.route->data(&r->web, s->full, s->full_len);
    bool parked;

    if (__atomic_load_n(&r->http->body_bytes, __ATOMIC_RELAXED) > PIECES_KEPT)
        free_piece(r, take(s->full));
    pthread_mutex_lock(&s->lock);
    s->result = result;
    s->busy = false;
    parked = s->parked;
    s->parked = false;
    if (parked)
        request_resume(r);
    else
        pthread_cond_signal(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

/* Is no worker at it? If one is, the connection is suspended until it is done. */
static bool is_idle(struct request *r)
{
    struct stream *s = r->stream;
    guard(&s->lock);

    if (!s->busy) {
        if (r->result == 0)
            r->result = s->result;
        return true;
    }
    s->parked = true;
    request_suspend(r);
    return false;
}

/* The piece is full. False: it must wait for the one before. */
static bool pass_on(struct request *r)
{
    struct stream *s = r->stream;
    char *swap;

    if (r->web.route->flags & ROUTE_INLINE) {
        r->result = r->web.route->data(&r->web, s->fill, s->fill_len);
        s->fill_len = 0;
        return true;
    }
    if (!is_idle(r))
        return false;
    if (r->result < 0)
        return true;
    swap = s->full;
    s->full = s->fill;
    s->full_len = s->fill_len;
    s->fill = swap;
    s->fill_len = 0;
    s->busy = true; /* nobody else looks at it while it is false */
    pool_submit(r->http->workers, hand_over, r);
    return true;
}

static void stream_take(struct request *r, const char *data, size_t *size)
{
    struct stream *s = r->stream;

    while (*size > 0 && r->result == 0) {
        size_t n = s->piece - s->fill_len;

        if (n == 0) {
            if (!pass_on(r))
                return;
            continue;
        }
        if (s->fill == NULL)
            s->fill = s->piece == STREAM_PIECE ? pieces_take(&r->http->pieces, STREAM_PIECE)
                                               : xmalloc(s->piece);
        if (n > *size)
            n = *size;
        memcpy(s->fill + s->fill_len, data, n);
        s->fill_len += n;
        r->streamed += n;
        data += n;
        *size -= n;
    }
}

/* libmicrohttpd takes a short read for the last one and waits for epoll to tell of more; that the
 * client is gone it may have been told before, and is not told again (0.9.75: the request then
 * hangs until its timeout). A connection that is resumed is read again. Pieces of one size, one
 * after the other, are what fills its buffer: those reads were not short. */
static void look_for_end(struct request *r, size_t n)
{
    const union MHD_ConnectionInfo *info;
    bool full = n >= CONNECTION_MEMORY / 4 && n == r->last_piece;
    char byte;

    r->last_piece = n;
    if (full || r->received == r->web.content_length)
        return;
    info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL || recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
        return;
    request_suspend(r);
    request_resume(r);
}

static bool is_over(const struct request *r)
{
    if (r->dropped > (r->who != NULL ? BODY_DROP_KNOWN_MAX : BODY_DROP_MAX))
        return true;
    return r->until_ms > 0 && clock_monotonic_ms() > r->until_ms;
}

int body_take(struct request *r, const char *data, size_t *size)
{
    size_t n = *size;

    if (r->result == 0 && r->stream != NULL) {
        if (n > limit_of(r) - r->streamed)
            r->result = -EFBIG; /* the reason follows: a worker may be using the op */
        stream_take(r, data, size);
        if (*size > 0 && r->result == 0) {
            r->received += n - *size;
            return 0; /* suspended: the rest comes again */
        }
    } else if (r->result == 0) {
        r->result = collect(r, data, n);
        *size = 0;
    }
    if (r->result < 0) {
        r->dropped += *size;
        *size = 0;
    }
    r->received += n;
    if (is_over(r))
        return -EPIPE;
    look_for_end(r, n);
    return 0;
}

bool body_settle(struct request *r)
{
    if (r->stream != NULL && !is_idle(r))
        return false;
    if (r->result == -EFBIG)
        too_large(r);
    if (r->stream != NULL)
        return true;
    r->web.body = slice_of(r->body, r->body_len);
    return true;
}

int body_finish(struct request *r)
{
    struct stream *s = r->stream;

    if (s == NULL || s->fill_len == 0)
        return 0;
    return r->web.route->data(&r->web, s->fill, s->fill_len);
}

void body_wait(struct request *r)
{
    struct stream *s = r->stream;

    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void body_done(struct request *r)
{
    if (r->body != NULL) {
        __atomic_sub_fetch(&r->http->body_bytes, r->body_cap, __ATOMIC_RELAXED);
        if (r->op.wiped)
            explicit_bzero(r->body, r->body_len);
        free(take(r->body));
    }
    if (r->stream == NULL)
        return;
    free_piece(r, r->stream->fill);
    free_piece(r, r->stream->full);
    if (r->stream->piece == STREAM_PIECE) {
        __atomic_sub_fetch(&r->http->body_bytes, 2 * STREAM_PIECE, __ATOMIC_RELAXED);
        __atomic_sub_fetch(&r->http->large_streams, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_destroy(&r->stream->lock);
    pthread_cond_destroy(&r->stream->idle);
    free(take(r->stream));
}

void body_end(struct request *r)
{
    if (!r->begun)
        return;
    r->begun = false;
    if (r->web.route->end != NULL)
        r->web.route->end(&r->web);
}
