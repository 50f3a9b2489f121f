/* http_test.h: a server in the test's process, with a domain of the test and people of straw, and a
 * client that speaks bytes. */
#ifndef HTTP_TEST_H
#define HTTP_TEST_H

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/scope.h"
#include "config.h"
#include "domain.h"
#include "feed.h"
#include "http/http.h"
#include "identity/audit.h"
#include "identity/identity.h"
#include "store/store.h"
#include "tree.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* People of straw: alice has the password "secret", which must be hashed the first time; the token
 * "t" is root's. */
static struct identity nobody = {.kind = IDENTITY_ANONYMOUS, .name = "anonymous"};
static struct identity alice = {.kind = IDENTITY_USER, .name = "alice"};
static _Atomic bool alice_is_remembered;
static _Atomic unsigned hashes, refusals, audited;
static _Atomic bool audit_is_broken;

const struct identity *identity_anonymous(struct identities *ids)
{
    (void)ids;
    return &nobody;
}

struct identity *identity_ref(const struct identity *who)
{
    return (struct identity *)(uintptr_t)who;
}

void identity_unref(struct identity *who)
{
    (void)who;
}

int identity_basic(struct identities *ids, struct op *op, struct slice user, struct slice password,
                   unsigned flags, struct identity **ret)
{
    bool right = slice_eq(user, SLICE("alice")) && slice_eq(password, SLICE("secret"));

    (void)ids;
    if (!(right && alice_is_remembered)) {
        if (flags & IDENTITY_QUICK)
            return -EAGAIN;
        hashes += 1;
    }
    if (!right)
        return op_fail(op, EPERM, "wrong user or password");
    alice_is_remembered = true;
    *ret = &alice;
    return 0;
}

int identity_token(struct identities *ids, struct op *op, struct slice token, struct identity **ret)
{
    (void)ids;
    if (!slice_eq(token, SLICE("t")))
        return op_fail(op, EPERM, "unknown token");
    *ret = &alice;
    return 0;
}

/* Somebody who is not known may see one thing. */
bool identity_may(struct op *op, unsigned rights, const char *path_format, ...)
{
    va_list args;
    const char *path;

    assert_int_equal(rights, POLICY_READ);
    va_start(args, path_format);
    path = va_arg(args, const char *);
    va_end(args);
    return op->who->kind != IDENTITY_ANONYMOUS || strcmp(path, "t/a.txt") == 0;
}

int identity_check(struct op *op, unsigned rights, const char *path_format, ...)
{
    assert_int_equal(rights, POLICY_READ);
    assert_non_null(path_format);
    return op_fail(op, EPERM, "log in");
}

int audit_write(struct audit *a, struct op *op, const char *what, const char *path, int result)
{
    (void)a;
    (void)op;
    (void)result;
    assert_non_null(what);
    assert_non_null(path);
    audited += 1;
    return audit_is_broken ? -EIO : 0;
}

void refusals_note(struct op *op, const char *path, int err)
{
    (void)op;
    assert_non_null(path);
    assert_true(err < 0);
    refusals += 1;
}

static inline struct config *test_config(void)
{
    autobuf why = {0};
    struct config *config;

    assert_int_equal(
        config_parse(SLICE("listen: [{address: \"127.0.0.1:0\", areas: [all]}]\n"), &config, &why),
        0);
    return config;
}

struct test_server {
    struct config *config; /* NULL: defaults on a free port */
    struct tree *tree;
    struct domain_instance instance;
    struct feed *feed;
    struct http *http;
    int port;
};

static inline void test_server_start(struct test_server *s, const struct domain *domain, void *self)
{
    struct http_options options = {.domains = &s->instance, .n_domains = 1};
    autobuf why = {0}, addresses = {0};

    if (s->config == NULL)
        s->config = test_config();
    s->instance = (struct domain_instance){domain, self};
    s->feed = feed_new();
    options.config = s->config;
    options.feed = s->feed;
    options.tree = s->tree;
    if (http_start(&options, &s->http, &why) < 0)
        fail_msg("start: %s", why.data);
    http_addresses(s->http, &addresses);
    s->port = atoi(strrchr(addresses.data, ':') + 1);
}

static inline void test_server_stop(struct test_server *s, unsigned grace_ms)
{
    http_stop(s->http, grace_ms);
    feed_free(s->feed);
    config_free(s->config);
    *s = (struct test_server){0};
}

static inline int client_open(const struct test_server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)s->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* False: the connection was reset before all was sent. */
static inline bool client_send(int fd, const void *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes = (const char *)bytes + sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Reads what comes within ms, or until the end. True: the connection was closed. */
static inline bool client_read(int fd, struct buf *out, int ms)
{
    int64_t until = clock_monotonic_ms() + ms;
    char piece[65536];

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - clock_monotonic_ms();
        ssize_t n;

        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0)
            return true;
        buf_add(out, piece, (size_t)n);
    }
}

/* The end of an answer's headers, or NULL. */
static inline const char *headers_end(const struct buf *b)
{
    return b->data != NULL ? memmem(b->data, b->len, "\r\n\r\n", 4) : NULL;
}

/* Reads one answer whose length is told; its bytes are cut off the front of *in into *out. */
static inline bool client_answer(int fd, struct buf *in, struct buf *out, bool head)
{
    int64_t until = clock_monotonic_ms() + 60000;
    bool closed = false;

    for (;;) {
        const char *end = headers_end(in), *length;
        size_t n;

        if (end != NULL) {
            length = strcasestr(in->data, "\r\nContent-Length:");
            n = (size_t)(end + 4 - in->data);
            if (!head && length != NULL && length < end &&
                strncmp(in->data, "HTTP/1.1 304", 12) != 0) /* which tells that of another */
                n += strtoul(length + 17, NULL, 10);
            if (in->len >= n) {
                struct buf rest = {0};

                buf_add(out, in->data, n);
                buf_add(&rest, in->data + n, in->len - n);
                buf_done(in);
                *in = rest;
                return true;
            }
        }
        if (closed || clock_monotonic_ms() > until)
            return false;
        closed = client_read(fd, in, 10);
    }
}

static inline int status_of(const struct buf *answer)
{
    return answer->len > 12 ? atoi(answer->data + 9) : 0;
}

static inline const char *body_of(const struct buf *answer)
{
    const char *end = headers_end(answer);

    return end != NULL ? end + 4 : "";
}

#endif
