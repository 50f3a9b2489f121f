#include "secrets/units.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/glob.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "config.h"
#include "identity/audit.h"
#include "identity/identity.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define NAME_BYTES   255u
#define SYSTEMD_MAX  (1u << 20) /* CREDENTIAL_SIZE_MAX */
#define SEALED_MS    (10 * 60 * 1000)
#define SEND_SECONDS 10
#define PLACEHOLDER  "{credential}"

struct units {
    struct secrets *s;
    char *path;
    int fd, stop; /* stop: an eventfd */
    pthread_t thread;
};

int unit_parse(struct slice address, struct slice *ret_unit, struct slice *ret_credential)
{
    static const char word[] = "/unit/";
    const char *p = address.data, *end = p + address.len, *unit, *slash;

    if (address.len < 1 || p[0] != 0)
        return -EINVAL;
    unit = memmem(p, address.len, word, sizeof word - 1);
    if (unit == NULL || memchr(p + 1, '/', (size_t)(unit - p - 1)) != NULL)
        return -EINVAL;
    unit += sizeof word - 1;
    slash = memchr(unit, '/', (size_t)(end - unit));
    if (slash == NULL)
        return -EINVAL;
    *ret_unit = slice_of(unit, (size_t)(slash - unit));
    *ret_credential = slice_of(slash + 1, (size_t)(end - slash - 1));
    if (ret_unit->len == 0 || ret_unit->len > NAME_BYTES || ret_credential->len == 0 ||
        ret_credential->len > NAME_BYTES || memchr(unit, 0, (size_t)(end - unit)) != NULL ||
        memchr(slash + 1, '/', ret_credential->len) != NULL || !utf8_valid(*ret_unit) ||
        !utf8_valid(*ret_credential) || slice_eq(*ret_credential, SLICE(".")) ||
        slice_eq(*ret_credential, SLICE("..")))
        return -EINVAL;
    return 0;
}

const char *unit_find(struct op *op, const struct config *config, struct slice unit,
                      struct slice credential)
{
    for (size_t i = 0; i < config->n_grants; i++) {
        const struct config_grant *g = &config->grants[i];
        const char *at = strstr(g->secret, PLACEHOLDER);

        if (!glob_match(slice_str(g->unit), unit) ||
            !glob_match(slice_str(g->credential), credential))
            continue;
        if (at == NULL)
            return g->secret;
        return op_printf(op, "%.*s%.*s%s", (int)(at - g->secret), g->secret, (int)credential.len,
                         (const char *)credential.data, at + strlen(PLACEHOLDER));
    }
    return NULL;
}

/* -EPERM: not root. */
static int ask_peer(int fd, struct slice *ret_address, struct sockaddr_un *address)
{
    socklen_t len = sizeof *address;
    struct ucred who;
    socklen_t who_len = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_len) < 0 ||
        getpeername(fd, (struct sockaddr *)address, &len) < 0)
        return -errno;
    if (who.uid != 0 && who.uid != geteuid()) /* or a manager of our own user */
        return -EPERM;
    if (len <= offsetof(struct sockaddr_un, sun_path) || len > sizeof *address)
        return -EINVAL;
    *ret_address = slice_of(address->sun_path, len - offsetof(struct sockaddr_un, sun_path));
    return 0;
}

/* false: it stops. */
static bool wait_unsealed(struct units *c)
{
    int64_t end = clock_monotonic_ms() + SEALED_MS;
    struct pollfd stop = {.fd = c->stop, .events = POLLIN};

    while (secrets_is_sealed(c->s) && clock_monotonic_ms() < end) {
        if (poll(&stop, 1, 100) != 0)
            return false;
    }
    return true;
}

static int send_all(int fd, struct slice bytes)
{
    const char *p = bytes.data;

    while (bytes.len > 0) {
        ssize_t n = send(fd, p, bytes.len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -errno;
        p += n;
        bytes.len -= (size_t)n;
    }
    return 0;
}

static void send_too_much(int fd)
{
    static const char zeros[4096];

    for (unsigned i = 0; i <= SYSTEMD_MAX / sizeof zeros; i++) {
        if (send_all(fd, slice_of(zeros, sizeof zeros)) < 0)
            return;
    }
}

/* The bytes of a file of the tree, in the op. */
static int read_secret(struct secrets *s, struct op *op, const char *path, struct slice *ret)
{
    struct node_file *file = NULL;
    ssize_t n = 0;
    char *bytes;
    int r = secrets_tree.open(op, s, path, NODE_READ, &file);

    if (r < 0)
        return r;
    op->wiped = true;
    if (file->ops->on_ready != NULL || file->size_bytes > SYSTEMD_MAX) {
        file->ops->close(file);
        return op_fail(op, EFBIG, "'%s' is no file of up to 1 MiB", path);
    }
    bytes = op_alloc(op, (size_t)file->size_bytes + 1);
    n = file->ops->read(op, file, 0, bytes, (size_t)file->size_bytes);
    file->ops->close(file);
    *ret = slice_of(bytes, n > 0 ? (size_t)n : 0);
    return n < 0 ? (int)n : 0;
}

static int serve_named(struct units *c, struct op *op, struct slice unit, struct slice credential,
                       struct slice *ret)
{
    const char *path = unit_find(op, c->s->config, unit, credential);
    const char *shown =
        op_printf(op, "%s:%.*s", op->who->name, (int)credential.len, (const char *)credential.data);
    int r;

    if (path == NULL)
        r = op_fail(op, EACCES, "no entry of credentials.serve is for it");
    else
        r = read_secret(c->s, op, path, ret);
    if (audit_write(c->s->audit, op, "credential", path != NULL ? path : shown, r) < 0 && r == 0)
        r = op_fail(op, EIO, "the audit log cannot be written");
    if (r < 0)
        log_event(LOG_WARN, op, "secrets.credential_refused", "credential=%s why=%s", shown,
                  op_why(op, r));
    return r;
}

static void serve(struct units *c, int fd)
{
    struct sockaddr_un address = {0};
    struct slice from, unit, credential, bytes = {0};
    struct policy_set *all = policy_set_root();
    struct identity who = {.kind = IDENTITY_INTERNAL, .accessor = "", .token_id = ""};
    struct op op;
    int r = ask_peer(fd, &from, &address);

    if (r == 0)
        r = unit_parse(from, &unit, &credential);
    op_init(&op, DOOR_INTERNAL, &who);
    who.policies = all;
    who.name = r == 0 ? op_printf(&op, "unit:%.*s", (int)unit.len, (const char *)unit.data) : "";
    if (r < 0)
        log_event(LOG_WARN, &op, "secrets.credential_refused", "why=%s",
                  r == -EPERM ? "not asked by root" : "not asked by systemd");
    else if (wait_unsealed(c))
        r = serve_named(c, &op, unit, credential, &bytes);
    else
        r = -ECANCELED;
    if (r == 0)
        send_all(fd, bytes);
    else
        send_too_much(fd);
    op_done(&op);
    policy_set_unref(all);
}

static void *units_main(void *arg)
{
    struct units *c = arg;
    struct pollfd wait[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->stop, .events = POLLIN}};
    struct timeval limit = {.tv_sec = SEND_SECONDS};

    pthread_setname_np(pthread_self(), "units");
    for (;;) {
        int fd;

        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            break;
        if (wait[1].revents != 0)
            break;
        if ((wait[0].revents & POLLIN) == 0)
            continue;
        fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        serve(c, fd);
        close(fd);
    }
    return NULL;
}

static int listen_at(const char *path, struct buf *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autofree char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    int fd, r;

    if (strlen(path) >= sizeof address.sun_path) {
        buf_printf(why, "credentials.socket '%s': its path is too long", path);
        return -ENAMETOOLONG;
    }
    if (slash != NULL && slash != folder) {
        *slash = 0;
        file_make_folders(folder, 0755);
    }
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        chmod(path, 0600) == 0 && listen(fd, 64) == 0)
        return fd;
    r = -errno;
    buf_printf(why, "credentials.socket '%s': %s", path, strerror(-r));
    if (fd >= 0)
        close(fd);
    return r;
}

int units_start(struct secrets *s, struct units **ret, struct buf *why)
{
    const char *path = s->config->credentials_socket;
    struct units *c;
    int fd;

    *ret = NULL;
    if (path == NULL || path[0] == 0)
        return 0;
    fd = listen_at(path, why);
    if (fd < 0)
        return fd;
    c = xcalloc(1, sizeof *c);
    c->s = s;
    c->path = xstrdup(path);
    c->fd = fd;
    c->stop = eventfd(0, EFD_CLOEXEC);
    if (c->stop < 0 || pthread_create(&c->thread, NULL, units_main, c) != 0) {
        buf_add_str(why, "credentials.socket: no thread can be started");
        close(fd);
        if (c->stop >= 0)
            close(c->stop);
        free(c->path);
        free(c);
        return -EAGAIN;
    }
    *ret = c;
    return 0;
}

void units_stop(struct units *c)
{
    if (c == NULL)
        return;
    eventfd_write(c->stop, 1);
    pthread_join(c->thread, NULL);
    unlink(c->path);
    close(c->fd);
    close(c->stop);
    free(c->path);
    free(c);
}
