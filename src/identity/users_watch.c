/* users_watch.c: the user file is in force as it is on disk.
 *
 * inotify tells when an edit ends (a writer closed it, a rename put it in place): events are queued
 * before the editor's close or rename returns, so a look at the queue before a password is checked
 * misses nothing. A stat finds what inotify does not see: a file put over it by a mount, a network
 * file system. A file that is being rewritten in place is torn until its writer closes it: the
 * users of before stay until then, or until it has not changed for a while. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/scope.h"
#include "identity/userfile.h"
#include "identity/users.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <time.h>

#define SETTLE_MS 250
#define UNSURE_NS 20000000 /* file systems stamp times as coarsely as this */

static void forget_watch(const struct users *u, int *watch)
{
    if (*watch >= 0)
        inotify_rm_watch(u->inotify, *watch);
    *watch = -1;
}

static void watch_folder(struct users *u)
{
    autofree char *folder = xstrdup(u->path);
    char *slash = strrchr(folder, '/');

    if (u->inotify < 0 || u->folder_watch >= 0)
        return;
    if (slash == folder)
        slash[1] = 0;
    else if (slash != NULL)
        *slash = 0;
    u->folder_watch =
        inotify_add_watch(u->inotify, slash != NULL ? folder : ".",
                          IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE |
                              IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);
}

static void watch_file(struct users *u)
{
    int watch;

    if (u->inotify < 0)
        return;
    watch = inotify_add_watch(u->inotify, u->path,
                              IN_CLOSE_WRITE | IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF);
    if (watch != u->file_watch)
        forget_watch(u, &u->file_watch);
    u->file_watch = watch;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
    return same_file(a, b) && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Reads the file. watch_lock is held. */
static int read_now(struct users *u)
{
    autobuf text = {0};
    struct slice all;
    struct stat before = {0};
    uint8_t mac[USERS_MAC_BYTES];
    int r;

    watch_file(u); /* before reading: an edit from here on is heard of */
    if (stat(u->path, &before) < 0)
        r = -errno;
    else
        r = file_read(u->path, USERFILE_MAX_BYTES, &text);
    u->pending_ms = 0;
    if (r < 0 && r != -ENOENT) {
        log_line(LOG_ERROR, NULL, "users.unreadable", "file=%s error=%s", u->path, strerror(-r));
        u->seen = before;
        return r; /* the users of before stay */
    }
    u->missing = r == -ENOENT;
    u->seen = before;
    u->unsure = !u->missing && clock_unix_ns() - nanoseconds(before.st_mtim) < UNSURE_NS;
    all = buf_slice(&text);
    users_mac(u, &all, 1, mac);
    if (memcmp(mac, u->text_mac, sizeof mac) == 0)
        return 0; /* touched, not changed */
    memcpy(u->text_mac, mac, sizeof mac);
    users_take(u, all);
    return 0;
}

/* Takes what inotify has queued: *ret_ended if an edit of the file ended, *ret_began if a writer is
 * at work. */
static void take_events(struct users *u, bool *ret_ended, bool *ret_began)
{
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    const char *base = strrchr(u->path, '/');
    ssize_t n;

    base = base != NULL ? base + 1 : u->path;
    while (u->inotify >= 0 && (n = read(u->inotify, bytes, sizeof bytes)) > 0)
        for (char *p = bytes; p < bytes + n;) {
            const struct inotify_event *e = (const struct inotify_event *)p;

            p += sizeof *e + e->len;
            if (e->mask & IN_Q_OVERFLOW)
                *ret_ended = true;
            if (e->wd == u->folder_watch &&
                (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0)
                u->folder_watch = -1;
            if (e->wd == u->folder_watch && (e->len == 0 || strcmp(e->name, base) != 0))
                continue;
            if (e->mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE))
                *ret_ended = true;
            else if (e->mask & (IN_CREATE | IN_MODIFY))
                *ret_began = true;
        }
}

/* Is what stat shows an edit to be taken now? A new file was renamed or mounted there, unless it
 * was created in place and its writer has it open; the same file changed is an edit under way. */
static bool is_due(struct users *u, const struct stat *now, bool began)
{
    int64_t ms = clock_monotonic_ms();

    if (!began && u->pending_ms == 0 && (u->missing || !same_file(now, &u->seen)))
        return true;
    if (u->pending_ms == 0 || !same_stat(now, &u->pending)) {
        u->pending = *now;
        u->pending_ms = ms;
        return false;
    }
    return ms - u->pending_ms >= SETTLE_MS;
}

/* Some tools remove a file before they put the new one there. */
static bool is_gone(struct users *u)
{
    int64_t ms = clock_monotonic_ms();

    if (u->pending_ms == 0)
        u->pending_ms = ms;
    u->pending = (struct stat){0};
    return ms - u->pending_ms >= SETTLE_MS;
}

static int64_t tick(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return nanoseconds(t);
}

/* watch_lock is held. */
static void look(struct users *u)
{
    bool ended = false, began = false;
    struct stat st = {0};

    take_events(u, &ended, &began);
    watch_folder(u);
    if (stat(u->path, &st) < 0) {
        if (!u->missing && is_gone(u))
            read_now(u);
        return;
    }
    if (ended || (u->unsure && !began && u->pending_ms == 0)) {
        read_now(u);
        return;
    }
    if (!u->missing && same_stat(&st, &u->seen) && !began) {
        u->pending_ms = 0;
        return;
    }
    if (is_due(u, &st, began))
        read_now(u);
}

void users_look(struct users *u, bool now)
{
    int64_t this_tick = tick();
    int queued = 0;

    if (!now && u->inotify >= 0 && ioctl(u->inotify, FIONREAD, &queued) < 0)
        queued = 1;
    if (!now && queued == 0 && !__atomic_load_n(&u->looking, __ATOMIC_ACQUIRE) &&
        __atomic_load_n(&u->looked_tick, __ATOMIC_RELAXED) == this_tick)
        return;
    guard(&u->watch_lock);
    /* From here until the users are read nobody is answered from the old ones. */
    __atomic_store_n(&u->looking, true, __ATOMIC_RELEASE);
    __atomic_store_n(&u->looked_tick, this_tick, __ATOMIC_RELAXED);
    look(u);
    __atomic_store_n(&u->looking, false, __ATOMIC_RELEASE);
}

int users_reload(struct identities *ids)
{
    struct users *u = ids->users;

    guard(&u->watch_lock);
    return read_now(u);
}

static void *watch(void *arg)
{
    struct users *u = arg;
    int64_t pending = 0;

    pthread_setname_np(pthread_self(), "users");
    while (!__atomic_load_n(&u->stop, __ATOMIC_ACQUIRE)) {
        struct pollfd queues[] = {
            {.fd = u->wake, .events = POLLIN},
            {.fd = u->inotify, .events = POLLIN},
        };

        poll(queues, 2, pending != 0 ? 20 : 1000);
        users_look(u, true);
        pthread_mutex_lock(&u->watch_lock);
        pending = u->pending_ms;
        pthread_mutex_unlock(&u->watch_lock);
    }
    return NULL;
}

int users_watch_start(struct users *u)
{
    int r;

    u->file_watch = u->folder_watch = -1;
    u->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    u->wake = eventfd(0, EFD_CLOEXEC);
    if (u->wake < 0)
        return -errno;
    if (u->inotify < 0)
        log_line(LOG_WARN, NULL, "users.unwatched", "error=%s; the file is looked at by stat",
                 strerror(errno));
    watch_folder(u);
    pthread_mutex_lock(&u->watch_lock);
    r = read_now(u);
    pthread_mutex_unlock(&u->watch_lock);
    if (r < 0)
        return r;
    if (pthread_create(&u->thread, NULL, watch, u) != 0)
        return -EAGAIN;
    u->started = true;
    return 0;
}

void users_watch_stop(struct users *u)
{
    __atomic_store_n(&u->stop, true, __ATOMIC_RELEASE);
    if (u->started) {
        eventfd_write(u->wake, 1);
        pthread_join(u->thread, NULL);
    }
    if (u->wake >= 0)
        close(u->wake);
    if (u->inotify >= 0)
        close(u->inotify);
}
