/* main.c: brings everything up in order, waits for a signal, takes it down in reverse. The only file
 * that knows both front ends. */
#include "base/file.h"
#include "base/pool.h"
#include "base/clock.h"
#include "base/lean.h"
#include "base/scope.h"
#include "command/command.h"
#include "config.h"
#include "domain.h"
#include "feed.h"
#include "fs/fs.h"
#include "http/http.h"
#include "identity/audit.h"
#include "identity/identity.h"
#include "store/store.h"
#include "tree.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define DOMAINS_MAX 16
#define ARENAS_MIN  4

struct server {
    struct config *config;
    struct store *store;
    struct identities *identities;
    struct audit *audit;
    struct feed *feed;
    struct pool *pool;
    struct domain_env env; /* domains may keep the pointer */
    struct domain_instance domains[DOMAINS_MAX];
    struct daemon daemon;
    struct fs *fs;
    struct http *http;
};

/* systemd's readiness protocol, sd_notify(3); nothing without NOTIFY_SOCKET. */
static void tell_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autoclose int fd = -1;
    size_t len;

    if (path == NULL || (len = strlen(path)) >= sizeof address.sun_path || len < 2)
        return;
    memcpy(address.sun_path, path, len);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
        log_line(LOG_WARN, NULL, "systemd.notify", "error=%s", strerror(errno));
}

static void harden(void)
{
    struct rlimit none = {0, 0};
    struct rlimit files;

    long arenas = 2 * sysconf(_SC_NPROCESSORS_ONLN);

    /* The allocator's own eight for each core leave holes in each of them: 40 MiB with 64 uploads. */
    mallopt(M_ARENA_MAX, arenas > ARENAS_MIN ? (int)arenas : ARENAS_MIN);
    umask(0077);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int open_store(struct server *s, struct buf *why)
{
    struct store_options options = {
        .memory_bytes = s->config->memory_bytes,
        .reserve_bytes = s->config->limits.disk_reserve_bytes,
    };
    int r;

    r = file_make_folders(s->config->data, 0700);
    if (r < 0) {
        buf_printf(why, "data directory '%s': %s", s->config->data, strerror(-r));
        return r;
    }
    return store_open(s->config->store, &options, &s->store, why);
}

static int open_domains(struct server *s, struct buf *why)
{
    s->env = (struct domain_env){
        .config = s->config,
        .store = s->store,
        .identities = s->identities,
        .audit = s->audit,
        .feed = s->feed,
        .pool = s->pool,
        .daemon = &s->daemon,
    };

    s->daemon.domains = s->domains;
    for (size_t i = 0; domain_table[i] != NULL; i++) {
        int r = domain_table[i]->open(&s->env, &s->domains[i].self, why);

        if (r < 0)
            return r;
        s->domains[i].domain = domain_table[i];
        s->daemon.n_domains = i + 1;
    }
    s->daemon.tree = tree_new(s->domains, s->daemon.n_domains);
    return 0;
}

static int start_fronts(struct server *s, struct buf *why)
{
    autofree char *scratch = NULL;
    struct fs_options fs = {
        .mount = s->config->mount,
        .events_program = "/proc/self/exe",
        .data = s->config->data,
        .tree = s->daemon.tree,
        .identities = s->identities,
        .audit = s->audit,
        .feed = s->feed,
    };
    struct http_options http = {
        .config = s->config,
        .domains = s->domains,
        .n_domains = s->daemon.n_domains,
        .tree = s->daemon.tree,
        .identities = s->identities,
        .audit = s->audit,
        .feed = s->feed,
    };
    int r;

    if (s->config->mount != NULL) {
        if (asprintf(&scratch, "%s/scratch", s->config->data) < 0)
            return -ENOMEM;
        fs.scratch_dir = scratch;
        r = file_make_folders(scratch, 0700);
        if (r == 0)
            r = fs_start(&fs, &s->fs, why);
        if (r < 0)
            return r;
    }
    return http_start(&http, &s->http, why);
}

static int start(struct server *s, struct buf *why)
{
    int r;

    s->daemon.started_unix_ms = clock_unix_ms();
    s->feed = feed_new();
    s->pool = pool_new(16, "job");
    r = open_store(s, why);
    if (r == 0)
        r = audit_open(s->config, &s->audit, why);
    if (r == 0)
        r = identities_open(s->config, s->store, &s->identities, why);
    if (r == 0)
        r = open_domains(s, why);
    if (r == 0)
        r = start_fronts(s, why);
    return r;
}

static void stop(struct server *s)
{
    for (size_t i = 0; i < s->daemon.n_domains; i++)
        if (s->domains[i].domain->stopping != NULL)
            s->domains[i].domain->stopping(s->domains[i].self);
    fs_stop(s->fs);
    http_stop(s->http, 5000);
    tree_free(s->daemon.tree);
    for (size_t i = s->daemon.n_domains; i-- > 0;)
        if (s->domains[i].domain->close != NULL)
            s->domains[i].domain->close(s->domains[i].self);
    pool_free(s->pool);
    identities_close(s->identities);
    audit_close(s->audit);
    store_close(s->store);
    feed_free(s->feed);
    config_free(s->config);
}

static void reload(struct server *s)
{
    users_reload(s->identities);
    audit_reopen(s->audit);
    for (size_t i = 0; i < s->daemon.n_domains; i++) {
        struct op op;
        int r = 0;

        op_init(&op, DOOR_INTERNAL, identity_internal(s->identities));
        if (s->domains[i].domain->reload != NULL)
            r = s->domains[i].domain->reload(s->domains[i].self, &op);
        if (r < 0)
            log_event(LOG_ERROR, &op, "reload.refused", "domain=%s why=%s",
                      s->domains[i].domain->name, op_why(&op, r));
        op_done(&op);
    }
}

static void say_ready(struct server *s)
{
    autobuf addresses = {0};

    http_addresses(s->http, &addresses);
    printf("ready mount=%s listen=%s\n", s->config->mount != NULL ? s->config->mount : "none",
           addresses.data != NULL ? addresses.data : "");
    fflush(stdout);
    tell_systemd("READY=1");
}

static void wait_for_end(struct server *s, const sigset_t *signals)
{
    int number = 0;

    while (sigwait(signals, &number) == 0 && number == SIGHUP)
        reload(s);
    log_line(LOG_INFO, NULL, "daemon.stop", "signal=%d", number);
    tell_systemd("STOPPING=1");
}

static int exit_code(int r)
{
    switch (r) {
    case -EINVAL:
    case -EPROTO:
        return EX_CONFIG;
    case -EACCES:
    case -EPERM:
        return EX_NOPERM;
    case -EBUSY:
    case -EADDRINUSE:
        return EX_UNAVAILABLE;
    default:
        return EX_OSERR;
    }
}

static int serve(const struct config_flags *flags)
{
    struct server *s = calloc(1, sizeof *s);
    autobuf why = {0};
    sigset_t signals;
    int r;

    if (s == NULL)
        return EX_OSERR;
    harden();
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    r = config_load(flags, &s->config, &why);
    if (r == 0)
        r = start(s, &why);
    if (r == 0) {
        say_ready(s);
        lean_trim();
        wait_for_end(s, &signals);
    } else {
        fprintf(stderr, "infrafs: %s\n", why.len > 0 ? why.data : strerror(-r));
    }
    stop(s);
    free(s);
    return r == 0 ? EX_OK : exit_code(r);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[0], FS_EVENTS_NAME) == 0)
        return fs_events_main(argv[1]);
    return command_main(argc, argv, serve);
}
