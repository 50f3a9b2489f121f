/* request.h: one HTTP request from its first line to the last byte of its answer.
 *
 * A request belongs to its listener's thread, except while its connection is suspended: then to the
 * one worker that was given it. What crosses (a body that streams) is in struct stream. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include "http/headers.h"
#include "http/mhd.h"
#include "http/server.h"

enum stage {
    STAGE_NEW,       /* headers have just arrived */
    STAGE_KNOWN,     /* it is known who asks; next: limits, and begin of a streamed body */
    STAGE_BODY,      /* the body arrives */
    STAGE_HANDLE,    /* the handler is next */
    STAGE_COMMITTED, /* the batch is durable, or was refused */
    STAGE_FINISH,    /* the handler's result is in `result`; next: publish, audit, answer */
    STAGE_ANSWER,    /* `response` is ready to be queued */
};

/* As large as a chunk of a stored blob, which then needs no copy. */
#define STREAM_PIECE       (1u << 20)
#define STREAM_PIECE_SMALL (64u << 10)
/* What is read of a body that was refused: libmicrohttpd takes no answer in the middle of one, and a
 * connection that is cut instead tells nobody why. More is read from who is known. */
#define BODY_DROP_MAX       (8u << 20)
#define BODY_DROP_KNOWN_MAX (1u << 30)
/* What somebody who is not known may send to be held in memory. */
#define ANONYMOUS_BODY_MAX (64u << 10)
/* libmicrohttpd's memory for a connection: its headers, and the body as it is read. It is wiped behind
 * each request: 64 KiB cost a fifth of a small request's time, 256 KiB more than the rest of it. */
#define CONNECTION_MEMORY (48u << 10)
/* So many uploads at once get large pieces, two each; that many keep the disk busy. Of more, each keeps a
 * chunk in the store anyway, and may fill that in small ones. */
#define STREAMS_LARGE_MAX 16u
/* Collected bodies of all requests together. */
#define BODIES_MAX (256u << 20)
/* While bodies take more than this, an upload keeps no piece that waits for nothing but to be filled
 * again: of many uploads few are with a worker. */
#define PIECES_KEPT (16u << 20)

/* A streamed body: the server's thread fills one piece while a worker hands the other to the route. */
struct stream {
    pthread_mutex_t lock; /* guards: busy, parked, result */
    pthread_cond_t idle;
    bool busy;            /* a worker has `full`, and the op */
    bool parked;          /* the connection is suspended until it is idle */
    int result;           /* what data() said */
    char *fill, *full;
    size_t piece, fill_len, full_len;
};

struct request {
    struct op op;
    struct web_request web;
    struct web_response resp;
    struct http *http;
    struct listener *listener;
    struct MHD_Connection *connection; /* NULL once it is over */
    struct domain_instance *domain;    /* who renders; NULL: plain */
    struct identity *who;              /* a reference; NULL: anonymous */
    struct headers headers;
    const char *uri;                   /* in the op */
    const char *allow;                 /* of a 405 */
    enum stage stage;
    int result;                        /* 0 or the negative errno to render */
    int64_t until_ms; /* on the monotonic clock: no more of the body is waited for; 0: no end */
    unsigned tries;
    bool has_turn;
    struct request *next; /* in http->turns */
    unsigned handed; /* atomic: what a worker did comes before what the server's thread does next */
    bool counted;                      /* in http->under_way */
    bool begun;                        /* begin returned 0, and end was not called */
    bool showed_credentials;
    bool past_headers;                 /* the first call is over */
    bool unread;                       /* it was answered without reading the body */
    bool close;                        /* the framing is in doubt: nothing more from this client */
    void (*job)(struct request *r);    /* what the worker does */
    struct slow *slow;                 /* what the worker reads (content.c) */
    struct stream *stream;
    char *body;                        /* collected */
    size_t body_len, body_cap;
    uint64_t received;                 /* bytes of the body seen, and not given back */
    size_t last_piece;                 /* of the body, as it came */
    uint64_t streamed;                 /* bytes taken for the stream */
    uint64_t dropped;                  /* bytes of a body nobody wants */
    int status_instead;                /* of what `result` says; 0 */
    struct blob_loan loan;
    struct MHD_Response *response;
    bool prepared;                     /* response belongs to the page */
    int status;
};

/* request.c, the callbacks of libmicrohttpd. */
void *request_open(struct listener *l, const char *uri, struct MHD_Connection *connection);
enum MHD_Result request_handle(struct request *r, const char *method, const char *version,
                               const char *data, size_t *size);
void request_close(struct request *r);
/* Suspends the connection and runs `job` in a worker, which resumes it. */
void request_to_worker(struct request *r, struct pool *pool, void (*job)(struct request *r));
void request_suspend(struct request *r);
void request_resume(struct request *r); /* the last thing its thread does with r */
void request_run_job(void *request);    /* in a worker: r->job */
bool request_is_read(const struct request *r); /* GET or HEAD */

/* turn.c: those whose batches lost a race several times go one by one. A request that has the turn
 * keeps it until its commit has succeeded, or it gives up. */
void turn_take(struct request *r); /* its job runs in a worker when it has the turn */
void turn_pass(struct request *r);

/* admit.c: the guard, the target, the route, who asks. Sets r->result. False: suspended. */
bool request_admit(struct request *r, const char *method, const char *version);

/* body.c */
int body_begin(struct request *r);
/* Takes a piece. -EPIPE: the connection cannot be saved, close it. *size: bytes not taken. */
int body_take(struct request *r, const char *data, size_t *size);
/* Everything has arrived. False: suspended, to be called again. */
bool body_settle(struct request *r);
/* In the thread that will call handle: hands over the last piece. */
int body_finish(struct request *r);
void body_wait(struct request *r); /* until no worker has a piece of it */
void body_done(struct request *r); /* frees */
void body_end(struct request *r);  /* calls the route's end, once */

/* linger.c: the connection will be closed though the client is still sending. The kernel would answer
 * that with a reset, and the client might lose the answer; so the socket is kept for a while, and
 * what comes is dropped (RFC 9112 section 9.6). */
void request_linger(struct request *r);

/* answer.c: makes r->response and r->status from r->resp, in any thread. */
void answer_build(struct request *r);
/* An answer was sent or will never be. */
void answer_done(struct request *r);

#endif
