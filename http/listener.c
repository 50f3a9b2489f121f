#include "http/address.h"
#include "http/mhd.h"
#include "http/request.h"
#include "http/server.h"
#include "http/tls.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#define THREADS 2

/* We decode ourselves: libmicrohttpd's way loses what stands behind %00. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    return request_open(cls, uri, connection);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    struct listener *l = cls;
    struct http *http = l->http;
    enum MHD_Result ret = MHD_NO;

    (void)connection;
    (void)url;
    /* http_stop relies on this order: after it has set `refusing` and seen parked at 0, no
     * connection will be suspended again */
    __atomic_add_fetch(&http->parked, 1, __ATOMIC_SEQ_CST);
    if (*con_cls != NULL && !__atomic_load_n(&http->refusing, __ATOMIC_SEQ_CST))
        ret = request_handle(*con_cls, method, version, data, size);
    __atomic_sub_fetch(&http->parked, 1, __ATOMIC_SEQ_CST);
    return ret;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)connection;
    (void)code;
    if (*con_cls != NULL)
        request_close(take(*con_cls));
}

/* Clients of registries try HTTPS first, also here (docker, crane 0.22 on 127.0.0.1). Told in plain
 * text that they are wrong they go on at once; a connection that just ends they try again later. */
static void refuse_tls(int fd)
{
    static const char answer[] = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"
                                 "this port speaks HTTP, not HTTPS\n";
    char hello[4096];

    if (recv(fd, hello, 1, MSG_PEEK | MSG_DONTWAIT) != 1 || hello[0] != 0x16)
        return;
    while (recv(fd, hello, sizeof hello, MSG_DONTWAIT) > 0)
        ;
    if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        shutdown(fd, SHUT_WR);
}

/* The peer's address as text, once for all requests of a connection. */
static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    const struct listener *l = cls;
    const union MHD_ConnectionInfo *info;
    autobuf text = {0};

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        free(take(*socket_context));
        return;
    }
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info != NULL && info->client_addr != NULL)
        address_print_host(info->client_addr, &text);
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != NULL && l->tls == NULL)
        refuse_tls(info->connect_fd);
    *socket_context = buf_take(&text, NULL);
}

/* libmicrohttpd gives a certificate callback no context; the session leads to its connection's
 * daemon no better. So a listener's certificate is found by the port that was connected to. */
static pthread_mutex_t tls_lock = PTHREAD_MUTEX_INITIALIZER; /* guards: tls_listeners */
static struct tls_listener {
    struct tls_listener *next;
    struct sockaddr_storage address;
    struct tls *tls;
} * tls_listeners;

static bool same_place(const struct sockaddr_storage *listener,
                       const struct sockaddr_storage *local)
{
    const struct sockaddr_in6 *a = (const void *)listener, *b = (const void *)local;
    const struct sockaddr_in *c = (const void *)listener, *d = (const void *)local;

    if (listener->ss_family != local->ss_family)
        return false;
    if (listener->ss_family == AF_INET6)
        return a->sin6_port == b->sin6_port &&
               (memcmp(&a->sin6_addr, &in6addr_any, sizeof a->sin6_addr) == 0 ||
                memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0);
    return c->sin_port == d->sin_port &&
           (c->sin_addr.s_addr == htonl(INADDR_ANY) || c->sin_addr.s_addr == d->sin_addr.s_addr);
}

static int on_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int n_issuers,
                          const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                          gnutls_pcert_st **chain, unsigned *n, gnutls_privkey_t *key)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    guard(&tls_lock);

    (void)issuers;
    (void)n_issuers;
    (void)algorithms;
    (void)n_algorithms;
    if (getsockname(gnutls_transport_get_int(session), (struct sockaddr *)&local, &len) < 0)
        return -1;
    for (struct tls_listener *t = tls_listeners; t != NULL; t = t->next)
        if (same_place(&t->address, &local)) {
            tls_current(t->tls, chain, n, key);
            return 0;
        }
    return -1;
}

static int open_socket(const struct sockaddr_storage *address, socklen_t len, struct buf *why)
{
    autoclose int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    int r;

    if (fd < 0)
        r = -errno;
    else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
             /* so that the first bytes are there when on_connection looks at them */
             setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof one) < 0 ||
             bind(fd, (const struct sockaddr *)address, len) < 0 || listen(fd, 1024) < 0)
        r = -errno;
    else
        r = fd;
    if (r < 0) {
        buf_add_str(why, "listen on ");
        address_print((const struct sockaddr *)address, why);
        buf_printf(why, ": %s", strerror(-r));
        return r;
    }
    fd = -1;
    return r;
}

/* Areas whose name no bit stands for (health, the daemon's metrics) are everywhere. */
static bool has_area(unsigned areas, const struct domain *d)
{
    static const struct {
        const char *name;
        unsigned area;
    } names[] = {
        {"secrets", AREA_SECRETS}, {"packages", AREA_PACKAGES}, {"images", AREA_IMAGES},
        {"metrics", AREA_METRICS}, {"tree", AREA_TREE},
    };
    const char *area = d->area != NULL ? d->area : d->name;

    for (size_t i = 0; i < array_size(names); i++)
        if (strcmp(names[i].name, area) == 0)
            return areas & names[i].area;
    return true;
}

static struct web_router *make_router(struct http *http, unsigned areas)
{
    struct web_router *router = web_router_new();

    for (size_t i = 0; i < http->options.n_domains; i++) {
        struct domain_instance *d = &http->options.domains[i];

        if (d->domain->routes != NULL && has_area(areas, d->domain))
            web_router_add(router, d->domain->routes, d);
    }
    if (has_area(areas, http->own.domain))
        web_router_add(router, http->own.domain->routes, &http->own);
    return router;
}

static unsigned daemon_flags(const struct listener *l)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME;

    return l->tls != NULL ? flags | MHD_USE_TLS : flags;
}

static int start_daemon(struct listener *l, int fd)
{
    const struct config_limits *limits = l->http->limits;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_THREAD_POOL_SIZE, THREADS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_INCREMENT, CONNECTION_MEMORY / 4, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)limits->connections, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)limits->connections_per_address, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)((limits->idle_timeout_ms + 999) / 1000), NULL},
        {MHD_STRICTNESS, 1, NULL},
        {MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)on_uri, l},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, l},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, l},
        {l->tls != NULL ? MHD_OPTION_HTTPS_CERT_CALLBACK : MHD_OPTION_END, 0,
         l->tls != NULL ? (void *)(uintptr_t)on_certificate : NULL},
        {MHD_OPTION_END, 0, NULL},
    };

    l->daemon = MHD_start_daemon(daemon_flags(l), 0, NULL, NULL, on_request, l, MHD_OPTION_ARRAY,
                                 options, MHD_OPTION_END);
    return l->daemon != NULL ? 0 : -EINVAL;
}

static void register_tls(struct listener *l, const struct sockaddr_storage *local)
{
    struct tls_listener *t = xcalloc(1, sizeof *t);
    guard(&tls_lock);

    *t = (struct tls_listener){.next = tls_listeners, .address = *local, .tls = l->tls};
    tls_listeners = t;
}

static void forget_tls(struct listener *l)
{
    struct tls_listener **at = &tls_listeners;
    guard(&tls_lock);

    while (*at != NULL && (*at)->tls != l->tls)
        at = &(*at)->next;
    if (*at != NULL) {
        struct tls_listener *t = *at;

        *at = t->next;
        free(t);
    }
}

static int open_listener(struct listener *l, const struct config_listen *config, struct buf *why)
{
    struct sockaddr_storage address;
    socklen_t len;
    autobuf text = {0};
    int fd, r;

    r = address_parse(config->address, &address, &len, why);
    if (r == 0 && config->certificate != NULL)
        r = tls_open(config->certificate, config->key, &l->tls, why);
    if (r < 0)
        return r;
    fd = open_socket(&address, len, why);
    if (fd < 0)
        return fd;
    getsockname(fd, (struct sockaddr *)&address, &len);
    address_print((struct sockaddr *)&address, &text);
    l->address = buf_take(&text, NULL);
    if (l->tls != NULL)
        register_tls(l, &address);
    r = start_daemon(l, fd);
    if (r < 0) {
        close(fd);
        buf_printf(why, "serve on %s: libmicrohttpd does not start", l->address);
    }
    return r;
}

int listener_open(struct http *http, const struct config_listen *config, struct listener **ret,
                  struct buf *why)
{
    struct listener *l = xcalloc(1, sizeof *l);
    int r;

    l->http = http;
    l->router = make_router(http, config->areas);
    r = open_listener(l, config, why);
    if (r < 0)
        listener_close(l);
    else
        *ret = l;
    return r;
}

/* Listens where nobody can find it. */
static int deaf_socket(void)
{
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 &&
        (bind(fd, (struct sockaddr *)&any, sizeof any.sun_family) < 0 || listen(fd, 1) < 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* The socket is taken from under libmicrohttpd, which goes on with one that nothing comes from: the
 * port is closed, and the kernel takes it out of the epoll sets. Its own MHD_quiesce_daemon()
 * (0.9.75 to 1.0) aborts the process when it and a thread take the socket out of a set at once. */
void listener_quiesce(struct listener *l)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    autoclose int deaf = deaf_socket();

    if (info != NULL && deaf >= 0)
        dup3(deaf, info->listen_fd, O_CLOEXEC); /* else it takes connections until the end */
}

void listener_close(struct listener *l)
{
    if (l == NULL)
        return;
    if (l->daemon != NULL)
        MHD_stop_daemon(l->daemon);
    if (l->tls != NULL)
        forget_tls(l);
    tls_close(l->tls);
    web_router_free(l->router);
    free(l->address);
    free(l);
}
