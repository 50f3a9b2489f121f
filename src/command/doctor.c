/* doctor.c: would the daemon run here, and if not, what is to be done? One line for each thing that
 * was looked at; nothing is changed, and a running daemon is not disturbed. */
#include "base/file.h"
#include "base/scope.h"
#include "command/line.h"
#include "identity/userfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <sysexits.h>
#include <time.h>

#define FUSE_MAGIC    0x65735546
#define MIB           (UINT64_C(1) << 20)
#define LEAST_UNIX_S  INT64_C(1704067200) /* 2024: no clock that was ever set says less */
#define CLOCK_SLACK_S 60

DEFINE_SCOPE(config, struct config, config_free)

struct doctor {
    const struct config *config;
    unsigned wrong;
    long pid; /* of the daemon that runs on this data directory; 0: none */
};

enum finding { FINDING_OK, FINDING_NOTE, FINDING_WRONG };

static void say(struct doctor *d, enum finding finding, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct doctor *d, enum finding finding, const char *what, const char *format, ...)
{
    static const char *const words[] = {"ok", "note", "wrong"};
    va_list args;

    d->wrong += finding == FINDING_WRONG;
    printf("%-6s %s: ", words[finding], what);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

/* Who holds the store's lock; from the kernel's list, since trying it could fail a start. */
static long holder_of(const char *lock_file)
{
    autobuf locks = {0};
    struct stat st;
    char want[64];
    char *line, *rest = NULL;

    if (stat(lock_file, &st) < 0 || file_read("/proc/locks", MIB, &locks) < 0 || locks.len == 0)
        return 0;
    snprintf(want, sizeof want, "%02x:%02x:%" PRIu64 " ", major(st.st_dev), minor(st.st_dev),
             (uint64_t)st.st_ino);
    for (line = strtok_r(locks.data, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        const char *write = strstr(line, " WRITE ");

        if (write != NULL && strstr(line, want) != NULL)
            return strtol(write + strlen(" WRITE "), NULL, 10);
    }
    return 0;
}

static void check_daemon(struct doctor *d)
{
    const char *store = d->config->store;
    char path[4096];

    if (strncmp(store, "rocks:", 6) == 0) {
        snprintf(path, sizeof path, "%s/store-lock", store + 6);
        d->pid = holder_of(path);
    }
    if (d->pid > 0)
        say(d, FINDING_OK, "daemon", "runs as process %ld", d->pid);
    else
        say(d, FINDING_NOTE, "daemon", "does not run; 'infrafs serve' starts it");
}

/* The path itself, or the nearest folder above it that exists. */
static void nearest(const char *path, char ret[4096])
{
    struct stat st;
    char *slash;

    snprintf(ret, 4096, "%s", path);
    while (stat(ret, &st) < 0 && (slash = strrchr(ret, '/')) != NULL)
        if (slash == ret) {
            ret[1] = 0;
            return;
        } else {
            *slash = 0;
        }
}

static void check_data(struct doctor *d)
{
    const char *data = d->config->data;
    char above[4096];
    struct stat st;

    nearest(data, above);
    if (stat(data, &st) < 0 && errno == ENOENT) {
        if (access(above, W_OK | X_OK) == 0)
            say(d, FINDING_OK, "data", "'%s' will be made at the first start", data);
        else
            say(d, FINDING_WRONG, "data", "'%s' cannot be made in '%s'; run as root, or make it", data,
                above);
    } else if (stat(data, &st) < 0) {
        say(d, FINDING_WRONG, "data", "'%s': %s", data, strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        say(d, FINDING_WRONG, "data", "'%s' is no folder; move it away", data);
    } else if (access(data, R_OK | W_OK | X_OK) < 0) {
        say(d, FINDING_WRONG, "data", "'%s' is not this user's; run as root, or chown it", data);
    } else if (st.st_mode & 077) {
        say(d, FINDING_WRONG, "data", "'%s' is open to others; chmod 700 '%s'", data, data);
    } else {
        say(d, FINDING_OK, "data", "'%s'", data);
    }
}

static void check_room(struct doctor *d)
{
    uint64_t reserve = d->config->limits.disk_reserve_bytes, left;
    struct statvfs v;
    char above[4096];

    nearest(d->config->data, above);
    if (statvfs(above, &v) < 0) {
        say(d, FINDING_WRONG, "disk", "'%s': %s", above, strerror(errno));
        return;
    }
    left = (uint64_t)v.f_bavail * v.f_frsize;
    if (left <= reserve)
        say(d, FINDING_WRONG, "disk",
            "%" PRIu64 " MiB are free at '%s', and nothing is written below limits.disk_reserve, "
            "%" PRIu64 " MiB; delete something, or enlarge it",
            left / MIB, above, reserve / MIB);
    else if (v.f_files > 0 && v.f_favail == 0)
        say(d, FINDING_WRONG, "disk", "'%s' has no inode left; delete files", above);
    else
        say(d, left / 8 <= reserve ? FINDING_NOTE : FINDING_OK, "disk",
            "%" PRIu64 " MiB are free at '%s'", left / MIB, above);
}

static void check_fuse(struct doctor *d)
{
    autoclose int fd = -1;

    if (d->config->mount == NULL) {
        say(d, FINDING_OK, "fuse", "no mount is wanted");
        return;
    }
    fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
        say(d, FINDING_WRONG, "fuse",
            "/dev/fuse is not there; modprobe fuse, in a container --device /dev/fuse, or "
            "--no-mount");
    else if (fd < 0)
        say(d, FINDING_WRONG, "fuse", "/dev/fuse: %s; run as root, or with --no-mount",
            strerror(errno));
    else if (geteuid() != 0)
        say(d, FINDING_WRONG, "fuse", "only root may mount; run as root, or with --no-mount");
    else
        say(d, FINDING_OK, "fuse", "/dev/fuse can be opened");
}

static void check_mount(struct doctor *d)
{
    const char *mount = d->config->mount;
    struct statfs fs;
    struct stat st;
    int r;

    if (mount == NULL)
        return;
    r = statfs(mount, &fs) < 0 ? errno : 0;
    if (r == ENOTCONN || r == ECONNABORTED)
        say(d, FINDING_NOTE, "mount", "a killed daemon left '%s'; the next start clears it", mount);
    else if (r == ENOENT)
        say(d, FINDING_OK, "mount", "'%s' will be made", mount);
    else if (r != 0)
        say(d, FINDING_WRONG, "mount", "'%s': %s", mount, strerror(r));
    else if (fs.f_type == FUSE_MAGIC && d->pid > 0)
        say(d, FINDING_OK, "mount", "'%s' is mounted", mount);
    else if (fs.f_type == FUSE_MAGIC)
        say(d, FINDING_WRONG, "mount", "something else is mounted at '%s'; umount '%s'", mount, mount);
    else if (d->pid > 0)
        say(d, FINDING_WRONG, "mount",
            "the daemon runs, but nothing is mounted at '%s' as seen from here; is its mount in "
            "another namespace?",
            mount);
    else if (stat(mount, &st) == 0 && !S_ISDIR(st.st_mode))
        say(d, FINDING_WRONG, "mount", "'%s' is no folder; move it away", mount);
    else
        say(d, FINDING_OK, "mount", "'%s' is free", mount);
}

/* Binds it, and lets it go again; -errno. */
static int try_address(const char *address)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(address, ':');
    char host[256];
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    const char *from = address;
    int fd, r = 0, one = 1;

    if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (colon == NULL || len >= sizeof host)
        return -EINVAL;
    memcpy(host, from, len);
    host[len] = 0;
    if (getaddrinfo(len > 0 ? host : NULL, colon + 1, &hints, &found) != 0)
        return -EINVAL;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 1) < 0)
        r = -errno;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return r;
}

static void check_ports(struct doctor *d)
{
    for (size_t i = 0; i < d->config->n_listen; i++) {
        const char *address = d->config->listen[i].address;
        int r = try_address(address);

        if (r == 0 && d->pid > 0)
            say(d, FINDING_WRONG, "listen",
                "the daemon runs, but does not listen at %s; restart it if that was changed", address);
        else if (r == 0)
            say(d, FINDING_OK, "listen", "%s is free", address);
        else if (r == -EADDRINUSE && d->pid > 0)
            say(d, FINDING_OK, "listen", "%s is in use", address);
        else if (r == -EADDRINUSE)
            say(d, FINDING_WRONG, "listen", "%s is another program's; 'ss -ltnp' says whose", address);
        else if (r == -EACCES)
            say(d, FINDING_WRONG, "listen", "%s: only root may use a port below 1024", address);
        else
            say(d, FINDING_WRONG, "listen", "%s: %s", address, strerror(-r));
    }
}

static void check_certificates(struct doctor *d)
{
    for (size_t i = 0; i < d->config->n_listen; i++) {
        const struct config_listen *l = &d->config->listen[i];
        const char *files[] = {l->certificate, l->key};

        for (size_t k = 0; l->certificate != NULL && k < array_size(files); k++)
            if (files[k] != NULL && access(files[k], R_OK) < 0)
                say(d, FINDING_WRONG, "tls", "'%s', for %s: %s", files[k], l->address,
                    strerror(errno));
            else
                say(d, FINDING_OK, "tls", "'%s' can be read", files[k]);
    }
}

static int count_user(void *ctx, unsigned line, struct slice name, struct slice hash)
{
    (void)line, (void)name, (void)hash;
    ++*(unsigned *)ctx;
    return 0;
}

static void bad_line(void *ctx, unsigned line, const char *reason)
{
    (void)ctx;
    printf("%-6s users: line %u: %s\n", "note", line, reason);
}

static void check_users(struct doctor *d)
{
    const char *path = d->config->users;
    autobuf text = {0};
    struct stat st;
    unsigned n = 0;
    int r = file_read(path, USERFILE_MAX_BYTES, &text);

    if (r == -ENOENT) {
        say(d, FINDING_NOTE, "users", "'%s' is not there; 'infrafs user add NAME' makes it", path);
        return;
    }
    if (r < 0) {
        say(d, FINDING_WRONG, "users", "'%s': %s", path, strerror(-r));
        return;
    }
    userfile_each(buf_slice(&text), count_user, bad_line, &n);
    if (stat(path, &st) == 0 && st.st_mode & 022)
        say(d, FINDING_WRONG, "users", "'%s' may be written by others; chmod go-w '%s'", path, path);
    else if (n == 0)
        say(d, FINDING_NOTE, "users", "'%s' has no user; 'infrafs user add NAME' adds one", path);
    else
        say(d, FINDING_OK, "users", "'%s' has %u", path, n);
}

static void check_key(struct doctor *d)
{
    const char *unseal = d->config->unseal, *path = unseal + strlen("keyfile:");
    char store[4096];
    struct stat st;

    if (strncmp(unseal, "keyfile:", 8) != 0) {
        say(d, FINDING_OK, "key", "unsealed by %.*s", (int)strcspn(unseal, ":"), unseal);
        return;
    }
    snprintf(store, sizeof store, "%s", strncmp(d->config->store, "rocks:", 6) == 0
                                            ? d->config->store + 6
                                            : d->config->data);
    if (stat(path, &st) == 0 && st.st_mode & 077)
        say(d, FINDING_WRONG, "key", "'%s' is open to others; chmod 600 '%s'", path, path);
    else if (stat(path, &st) == 0)
        say(d, FINDING_OK, "key", "'%s'; keep a copy elsewhere", path);
    else if (errno != ENOENT)
        say(d, FINDING_WRONG, "key", "'%s': %s", path, strerror(errno));
    else if (stat(store, &st) == 0)
        say(d, FINDING_WRONG, "key",
            "'%s' is gone, and without it secrets stay sealed; put the copy back", path);
    else
        say(d, FINDING_OK, "key", "'%s' will be made at the first start", path);
}

/* Tokens, leases and samples all go by it. */
static void check_clock(struct doctor *d)
{
    struct timex t = {0};
    int64_t now = (int64_t)time(NULL);
    struct stat st;

    if (now < LEAST_UNIX_S)
        say(d, FINDING_WRONG, "clock", "is not set; timedatectl set-ntp true");
    else if (d->config->audit_file[0] != 0 && stat(d->config->audit_file, &st) == 0 &&
             (int64_t)st.st_mtime > now + CLOCK_SLACK_S)
        say(d, FINDING_WRONG, "clock",
            "is %" PRId64 " s behind what was written last; timedatectl set-ntp true",
            (int64_t)st.st_mtime - now);
    else if (adjtimex(&t) == TIME_ERROR)
        say(d, FINDING_NOTE, "clock", "nothing keeps it right; timedatectl set-ntp true");
    else
        say(d, FINDING_OK, "clock", "is kept right");
}

int run_doctor(const struct command_line *line)
{
    scope_cleanup(scope_config) struct config *c = NULL;
    struct doctor d = {0};
    int code = EX_CONFIG;

    c = command_config(line, &code);
    if (c == NULL)
        return code;
    d.config = c;
    say(&d, FINDING_OK, "configuration", "%s", c->file != NULL ? c->file : "defaults");
    check_daemon(&d);
    check_data(&d);
    check_room(&d);
    check_fuse(&d);
    check_mount(&d);
    check_ports(&d);
    check_certificates(&d);
    check_users(&d);
    check_key(&d);
    check_clock(&d);
    return d.wrong > 0 ? EX_UNAVAILABLE : EX_OK;
}
