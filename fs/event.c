#include "fs/event.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/scope.h"
#include "fs/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096

struct events {
    char *program, *mount;
    _Atomic pid_t pid;    /* 0: not started */
    pthread_mutex_t lock; /* guards: what follows */
    int fd;               /* one message a path; -1: not started, or it ended */
    bool tried;
};

struct events *events_new(const char *program, const char *mount)
{
    struct events *e = xcalloc(1, sizeof *e);

    e->program = program != NULL ? xstrdup(program) : NULL;
    e->mount = xstrdup(mount);
    e->fd = -1;
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

/* Its standard input is our socket, the rest leads nowhere; signals as in a fresh process, and a
 * group of its own, so that a Ctrl-C at the daemon's terminal does not end it. */
static int spawn(const char *program, const char *mount, int input, pid_t *ret)
{
    char *const argv[] = {(char *)(uintptr_t)FS_EVENTS_NAME, (char *)(uintptr_t)mount, NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none;
    int r;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, input, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    r = posix_spawn(ret, program, &files, &attr, argv, environment);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return -r;
}

/* At the first event: most mounts are never watched. e->lock is held. */
static void start(struct events *e)
{
    int pair[2];
    pid_t pid = 0;
    int r;

    e->tried = true;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    r = spawn(e->program, e->mount, pair[1], &pid);
    close(pair[1]);
    if (r < 0) {
        log_line(LOG_WARN, NULL, "mount.events", "program=%s error=%s", e->program, strerror(-r));
        close(pair[0]);
        return;
    }
    e->pid = pid;
    e->fd = pair[0];
}

void events_add(struct events *e, const char *path)
{
    size_t len = strlen(path);
    guard(&e->lock);

    if (e->program == NULL || len == 0 || len >= PATH_BYTES_MAX)
        return;
    if (!e->tried)
        start(e);
    if (e->fd >= 0 && send(e->fd, path, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
        close(e->fd);
        e->fd = -1;
    }
}

bool events_is(const struct events *e, pid_t pid)
{
    return pid != 0 && e->pid == pid;
}

void events_quit(struct events *e)
{
    pthread_mutex_lock(&e->lock);
    e->tried = true;
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
    pthread_mutex_unlock(&e->lock);
    if (e->pid == 0)
        return;
    kill(e->pid, SIGTERM);
    while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    e->pid = 0;
}

void events_free(struct events *e)
{
    pthread_mutex_destroy(&e->lock);
    free(e->program);
    free(e->mount);
    free(e);
}

int fs_events_main(const char *mount)
{
    char path[PATH_BYTES_MAX + PATH_BYTES_MAX];
    size_t skip = strlen(mount) + 1;
    ssize_t n;

    if (skip >= PATH_BYTES_MAX)
        return 1;
    snprintf(path, sizeof path, "%s/", mount);
    while ((n = recv(0, path + skip, PATH_BYTES_MAX - 1, 0)) > 0) {
        int fd;

        path[skip + (size_t)n] = 0;
        fd = open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            close(fd);
    }
    return 0;
}
