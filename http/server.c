#include "http/server.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "http/page.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define WORKERS 64
#define HASHERS 4
#define READERS 64

/* libmicrohttpd's threads inherit the mask: signals belong to main. */
static int open_listeners(struct http *h, struct buf *why)
{
    const struct config *config = h->options.config;
    sigset_t all, before;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->listeners = xcalloc(config->n_listen, sizeof(struct listener *));
    for (size_t i = 0; i < config->n_listen && r == 0; i++) {
        r = listener_open(h, &config->listen[i], &h->listeners[i], why);
        h->n_listeners += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int http_start(const struct http_options *options, struct http **ret, struct buf *why)
{
    struct http *h = xcalloc(1, sizeof *h);
    int r;

    h->options = *options;
    h->limits = &options->config->limits;
    h->own = (struct domain_instance){&http_domain, h};
    pthread_mutex_init(&h->turns.lock, NULL);
    h->turns.last = &h->turns.first;
    pieces_init(&h->pieces);
    h->page = page_new(&h->page_policy);
    h->workers = pool_new(WORKERS, "http");
    h->hashers = pool_new(HASHERS, "hash");
    h->readers = pool_new(READERS, "read");
    r = open_listeners(h, why);
    if (r < 0)
        http_stop(h, 0);
    else
        *ret = h;
    return r;
}

void http_addresses(const struct http *h, struct buf *out)
{
    for (size_t i = 0; i < h->n_listeners; i++)
        buf_printf(out, "%s%s", i > 0 ? "," : "", h->listeners[i]->address);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
}

void http_stop(struct http *h, unsigned grace_ms)
{
    int64_t until_ms = clock_monotonic_ms() + grace_ms;

    if (h == NULL)
        return;
    __atomic_store_n(&h->stopping, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < h->n_listeners; i++)
        listener_quiesce(h->listeners[i]);
    while (__atomic_load_n(&h->under_way, __ATOMIC_RELAXED) > 0 && clock_monotonic_ms() < until_ms)
        nap();
    /* libmicrohttpd does not end while a connection is suspended */
    __atomic_store_n(&h->refusing, true, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&h->parked, __ATOMIC_SEQ_CST) > 0)
        nap();
    for (size_t i = 0; i < h->n_listeners; i++)
        listener_close(h->listeners[i]);
    pool_free(h->readers);
    pool_free(h->hashers);
    pool_free(h->workers);
    pthread_mutex_destroy(&h->turns.lock);
    pieces_done(&h->pieces);
    web_page_unref(h->page);
    free(h->page_policy);
    free(h->listeners);
    free(h);
}
