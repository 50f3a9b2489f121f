#include "http/tls.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/scope.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <sys/stat.h>

#define CHAIN_MAX 16
#define PEM_MAX   (1u << 20)
#define LOOK_MS   1000
#define RETIRE_MS (10 * 60 * 1000) /* longer than any handshake */

struct certificate {
    struct certificate *next;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t key;
    int64_t retired_ms;
};

struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct tls {
    char *certificate_path, *key_path;
    pthread_mutex_t lock; /* guards all below */
    struct certificate *current, *retired;
    struct stamp stamps[2];
    int64_t looked_ms;
};

static void free_certificate(struct certificate *c)
{
    if (c == NULL)
        return;
    for (unsigned i = 0; i < c->n; i++)
        gnutls_pcert_deinit(&c->chain[i]);
    if (c->key != NULL)
        gnutls_privkey_deinit(c->key);
    free(c);
}

/* gnutls alone knows whether a key fits a certificate. */
static int check_fit(const gnutls_datum_t *chain, const gnutls_datum_t *key)
{
    gnutls_certificate_credentials_t both;
    int r = gnutls_certificate_allocate_credentials(&both);

    if (r < 0)
        return r;
    r = gnutls_certificate_set_x509_key_mem(both, chain, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(both);
    return r;
}

static int import(struct certificate *c, const gnutls_datum_t *chain, const gnutls_datum_t *key)
{
    unsigned n = CHAIN_MAX;
    int r = check_fit(chain, key);

    if (r < 0)
        return r;
    r = gnutls_pcert_list_import_x509_raw(c->chain, &n, chain, GNUTLS_X509_FMT_PEM, 0);
    if (r < 0)
        return r;
    c->n = n;
    r = gnutls_privkey_init(&c->key);
    if (r < 0)
        return r;
    return gnutls_privkey_import_x509_raw(c->key, key, GNUTLS_X509_FMT_PEM, NULL, 0);
}

static int read_pem(const char *path, struct buf *ret, struct buf *why)
{
    int r;

    buf_reserve(ret, PEM_MAX); /* not moved: nothing of a key stays behind */
    r = file_read(path, PEM_MAX, ret);
    if (r < 0)
        buf_printf(why, "'%s': %s", path, strerror(-r));
    return r;
}

static int load(const struct tls *t, struct certificate **ret, struct buf *why)
{
    struct buf chain = {0}, key = {0};
    struct certificate *c = NULL;
    int r = read_pem(t->certificate_path, &chain, why);

    if (r == 0)
        r = read_pem(t->key_path, &key, why);
    if (r == 0) {
        gnutls_datum_t a = {(unsigned char *)chain.data, (unsigned)chain.len};
        gnutls_datum_t b = {(unsigned char *)key.data, (unsigned)key.len};

        c = xcalloc(1, sizeof *c);
        r = import(c, &a, &b);
        if (r < 0)
            buf_printf(why, "certificate '%s' with key '%s': %s", t->certificate_path, t->key_path,
                       gnutls_strerror(r));
        r = r < 0 ? -EINVAL : 0;
    }
    buf_done(&chain);
    buf_wipe(&key);
    if (r < 0)
        free_certificate(c);
    else
        *ret = c;
    return r;
}

static void look(const char *path, struct stamp *ret)
{
    struct stat st;

    *ret = (struct stamp){0};
    if (stat(path, &st) == 0)
        *ret = (struct stamp){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

int tls_open(const char *certificate, const char *key, struct tls **ret, struct buf *why)
{
    struct tls *t = xcalloc(1, sizeof *t);
    int r;

    pthread_mutex_init(&t->lock, NULL);
    t->certificate_path = xstrdup(certificate);
    t->key_path = xstrdup(key);
    look(certificate, &t->stamps[0]);
    look(key, &t->stamps[1]);
    t->looked_ms = clock_monotonic_ms();
    r = load(t, &t->current, why);
    if (r < 0)
        tls_close(t);
    else
        *ret = t;
    return r;
}

static void free_list(struct certificate *c)
{
    while (c != NULL) {
        struct certificate *next = c->next;

        free_certificate(c);
        c = next;
    }
}

void tls_close(struct tls *t)
{
    if (t == NULL)
        return;
    free_list(t->retired);
    free_certificate(t->current);
    free(t->certificate_path);
    free(t->key_path);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Called with the lock held. */
static void drop_retired(struct tls *t, int64_t now_ms)
{
    struct certificate **at = &t->retired;

    while (*at != NULL && now_ms - (*at)->retired_ms < RETIRE_MS)
        at = &(*at)->next;
    free_list(*at);
    *at = NULL;
}

/* Called with the lock held. */
static void renew(struct tls *t, int64_t now_ms)
{
    struct stamp certificate, key;
    struct certificate *fresh;
    autobuf why = {0};

    t->looked_ms = now_ms;
    look(t->certificate_path, &certificate);
    look(t->key_path, &key);
    if (same_stamp(&certificate, &t->stamps[0]) && same_stamp(&key, &t->stamps[1]))
        return;
    t->stamps[0] = certificate;
    t->stamps[1] = key;
    if (load(t, &fresh, &why) < 0) {
        log_line(LOG_ERROR, NULL, "tls.kept", "why=%s", why.data);
        return;
    }
    drop_retired(t, now_ms);
    t->current->retired_ms = now_ms;
    t->current->next = t->retired;
    t->retired = t->current;
    t->current = fresh;
    log_line(LOG_INFO, NULL, "tls.renewed", "certificate=%s", t->certificate_path);
}

void tls_current(struct tls *t, gnutls_pcert_st **ret_chain, unsigned *ret_n,
                 gnutls_privkey_t *ret_key)
{
    int64_t now_ms = clock_monotonic_ms();
    guard(&t->lock);

    if (now_ms - t->looked_ms >= LOOK_MS)
        renew(t, now_ms);
    *ret_chain = t->current->chain;
    *ret_n = t->current->n;
    *ret_key = t->current->key;
}
