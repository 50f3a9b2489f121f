#include "identity/audit.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scope.h"
#include "identity/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

#define VALUES_MAX   64u
#define VALUES_BYTES (1u << 20)
#define QUICK_BYTES  4096u /* longer ones are worth OpenSSL's preparations */

struct audit {
    uint8_t salt[IDENTITY_KEY_BYTES];
    crypto_auth_hmacsha256_state keyed; /* with the salt, nothing hashed */
    char *path; /* "": off */
    uint64_t rotate_bytes;
    unsigned keep;
    pthread_mutex_t lock; /* guards all below; held while writing, so that lines stand in order */
    int fd;
    bool regular; /* not a pipe or /dev/stdout: it may be rotated */
    uint64_t size_bytes;
    dev_t dev;
    ino_t ino;
    int64_t looked_ms; /* when the path was last compared with the open file */
};

/* Opens, or opens again; the old descriptor stays until the new one is there. */
static int open_file(struct audit *a)
{
    int fd = open(a->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0) {
        int r = -errno;

        close(fd);
        return r;
    }
    if (a->fd >= 0)
        close(a->fd);
    a->fd = fd;
    a->regular = S_ISREG(st.st_mode);
    a->size_bytes = (uint64_t)st.st_size;
    a->dev = st.st_dev;
    a->ino = st.st_ino;
    return 0;
}

int audit_open(const struct config *config, struct audit **ret, struct buf *why)
{
    struct audit *a = xcalloc(1, sizeof *a);
    int r;

    pthread_mutex_init(&a->lock, NULL);
    a->fd = -1;
    a->path = xstrdup(config->audit_file != NULL ? config->audit_file : "");
    a->rotate_bytes = config->audit_rotate_bytes;
    a->keep = config->audit_keep;
    r = salt_read(config->data, a->salt, why);
    crypto_auth_hmacsha256_init(&a->keyed, a->salt, sizeof a->salt);
    if (r == 0 && a->path[0] != 0) {
        r = open_file(a);
        if (r < 0)
            buf_printf(why, "audit log '%s': %s", a->path, strerror(-r));
    }
    if (r < 0)
        audit_close(a);
    else
        *ret = a;
    return r;
}

void audit_close(struct audit *a)
{
    if (a == NULL)
        return;
    if (a->fd >= 0)
        close(a->fd);
    pthread_mutex_destroy(&a->lock);
    explicit_bzero(a->salt, sizeof a->salt);
    explicit_bzero(&a->keyed, sizeof a->keyed);
    free(a->path);
    free(a);
}

/* FILE.1 is the newest of the old ones. */
static int rotate(struct audit *a)
{
    for (unsigned i = a->keep; i > 0; i--) {
        autofree char *from = NULL, *to = NULL;

        if (asprintf(&to, "%s.%u", a->path, i) < 0 ||
            asprintf(&from, i > 1 ? "%s.%u" : "%s", a->path, i - 1) < 0)
            return -ENOMEM;
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    return open_file(a);
}

/* Somebody moved the file away (logrotate): a second later a new one is begun. */
static void look_at_path(struct audit *a)
{
    int64_t now = clock_monotonic_ms();
    struct stat st;

    if (!a->regular || now - a->looked_ms < 1000)
        return;
    a->looked_ms = now;
    if (stat(a->path, &st) < 0 || st.st_ino != a->ino || st.st_dev != a->dev)
        open_file(a);
}

void audit_reopen(struct audit *a)
{
    int r;

    if (a == NULL || a->path[0] == 0)
        return;
    pthread_mutex_lock(&a->lock);
    r = open_file(a);
    pthread_mutex_unlock(&a->lock);
    if (r < 0)
        log_line(LOG_ERROR, NULL, "audit.reopen", "file=%s error=%s", a->path, strerror(-r));
}

static int append(struct audit *a, struct slice line)
{
    ssize_t n;

    guard(&a->lock);
    look_at_path(a);
    if (a->regular && a->size_bytes > 0 && a->size_bytes + line.len > a->rotate_bytes &&
        rotate(a) < 0)
        return -EIO;
    do
        n = write(a->fd, line.data, line.len);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)line.len) {
        a->size_bytes += line.len;
        return 0;
    }
    if (n > 0 && a->regular && ftruncate(a->fd, (off_t)a->size_bytes) < 0) /* half a line on a full disk */
        a->size_bytes += (uint64_t)n;
    return -EIO;
}

static void print_caller(struct json *j, const struct op *op)
{
    static const char *const doors[] = {"internal", "http", "mount"};

    json_kstr(j, "door", doors[op->door]);
    json_kstr(j, "who", op->who->name);
    if (op->who->accessor != NULL && op->who->accessor[0] != 0)
        json_kstr(j, "accessor", op->who->accessor);
    if (op->door == DOOR_HTTP)
        json_kstr(j, "remote", op->remote);
    if (op->door == DOOR_MOUNT) {
        json_ku64(j, "uid", op->uid);
        json_ki64(j, "pid", op->pid);
    }
}

int audit_write(struct audit *a, struct op *op, const char *what, const char *path, int result)
{
    struct buf line = {0}; /* wiped, and not moved while it grows: it has the name of a secret */
    struct json j;
    char time[CLOCK_TEXT_MAX];
    int r;

    if (a == NULL || a->path[0] == 0)
        return 0;
    buf_reserve(&line, 700 + strlen(path) + op->audit_values.len);
    json_init(&j, &line);
    json_object(&j);
    json_kstr(&j, "time", clock_print_ns(clock_unix_ns(), 6, time));
    json_kstr(&j, "id", op_id(op));
    print_caller(&j, op);
    json_kstr(&j, "what", what);
    json_kstr(&j, "path", path);
    json_ki64(&j, "result", result);
    if (op->why != NULL)
        json_kstr(&j, "why", op->why);
    if (op->audit_values.len > 0)
        json_kraw(&j, "values", op->audit_values);
    json_object_end(&j);
    buf_add_char(&line, '\n');
    r = append(a, buf_slice(&line));
    if (r < 0)
        log_event(LOG_ERROR, op, "audit.failed", "file=%s what=%s", a->path, what);
    buf_wipe(&line);
    return r;
}

void audit_note_values(struct audit *a, struct op *op, const struct slice *values, size_t n)
{
    autobuf out = {0};
    size_t bytes = 0;
    struct json j;

    if (a == NULL || a->path[0] == 0 || n == 0)
        return;
    buf_reserve(&out, 100 * (n < VALUES_MAX ? n : VALUES_MAX));
    json_init(&j, &out);
    json_array(&j);
    for (size_t i = 0; i < n && i < VALUES_MAX; i++) {
        bytes += values[i].len;
        if (bytes <= VALUES_BYTES)
            json_str(&j, audit_hmac(a, op, values[i]));
    }
    json_array_end(&j);
    op->audit_values = op_slice(op, buf_slice(&out));
}

static void hmac(const struct audit *a, struct slice value, uint8_t ret[32])
{
    crypto_auth_hmacsha256_state state = a->keyed;

    if (value.len > QUICK_BYTES) {
        salt_hmac(a->salt, value, ret);
        return;
    }
    crypto_auth_hmacsha256_update(&state, value.data, value.len);
    crypto_auth_hmacsha256_final(&state, ret);
    explicit_bzero(&state, sizeof state);
}

const char *audit_hmac(struct audit *a, struct op *op, struct slice value)
{
    uint8_t mac[32];
    char hex[65];

    if (a == NULL)
        return "hmac-sha256:";
    hmac(a, value, mac);
    hex_encode(slice_of(mac, sizeof mac), hex);
    return op_printf(op, "hmac-sha256:%s", hex);
}
