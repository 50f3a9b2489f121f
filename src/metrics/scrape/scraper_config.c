/* The configuration file and those it names, kept an eye on. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "metrics/scrape/own.h"
#include "metrics/scrape/scraper_internal.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define FILE_BYTES_MAX (8u << 20)
#define CHECK_MS       1000
#define NOT_LOOKED     UINT64_MAX

/* Changes whenever the file is edited, replaced, made or removed. */
static uint64_t mark_of(const char *file)
{
    struct stat st;
    int64_t parts[5];

    if (stat(file, &st) < 0)
        return 1;
    parts[0] = (int64_t)st.st_ino;
    parts[1] = st.st_size;
    parts[2] = st.st_mtim.tv_sec;
    parts[3] = st.st_mtim.tv_nsec;
    parts[4] = st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec;
    return hash_bytes(parts, sizeof parts, 2);
}

static void mix_mark(void *ctx, const char *file)
{
    uint64_t *mark = ctx;

    *mark += hash_bytes(file, strlen(file), mark_of(file));
}

/* Of the configuration, with the files of jobs that it includes. */
static uint64_t config_mark_of(const struct scraper *s)
{
    uint64_t mark = mark_of(s->file);

    sd_files_each(s->included, mix_mark, &mark);
    return mark;
}

static uint64_t sd_mark_of(const struct jobs *jobs)
{
    uint64_t mark = 0;

    for (size_t i = 0; i < jobs->n; i++)
        sd_files_each(jobs->items[i]->sd_files, mix_mark, &mark);
    return mark;
}

static const struct target_groups *old_groups(const struct scraper *s, const struct job *j)
{
    for (size_t i = 0; i < s->jobs->n; i++)
        if (strcmp(s->jobs->items[i]->name, j->name) == 0)
            return &s->extra[i];
    return NULL;
}

/* Those that files made: of other sources there is a later word. */
static void copy_groups(struct target_groups *to, const struct target_groups *from)
{
    for (size_t k = 0; k < from->n; k++)
        if (pairs_get(&from->items[k].labels, "__meta_filepath") != NULL)
            target_group_copy(to, &from->items[k]);
}

/* The groups of all jobs' files; a job with a file that does not parse keeps those it had. */
static struct target_groups *read_sd(struct scraper *s, const struct jobs *jobs)
{
    struct target_groups *all = xcalloc(jobs->n + 1, sizeof *all);

    for (size_t i = 0; i < jobs->n; i++) {
        struct target_groups fresh = {0};
        const struct target_groups *old = old_groups(s, jobs->items[i]);

        if (sd_files_read(jobs->items[i], &fresh) < 0 && old != NULL && old->n > 0) {
            target_groups_done(&fresh);
            copy_groups(&all[i], old);
        } else {
            all[i] = fresh;
        }
        pthread_mutex_lock(&s->lock);
        http_sources_groups(&s->sources, jobs->items[i]->name, &all[i]);
        pthread_mutex_unlock(&s->lock);
        if (s->options.store != NULL &&
            own_groups(s->options.store, jobs->items[i]->name, &all[i]) < 0)
            log_line(LOG_ERROR, NULL, "metrics.targets.lost", "job=%s", jobs->items[i]->name);
    }
    return all;
}

static void free_sd(struct target_groups *all, size_t n)
{
    for (size_t i = 0; all != NULL && i < n; i++)
        target_groups_done(&all[i]);
    free(all);
}

/* Puts a configuration in force. Takes jobs. Under s->reload. */
static void apply(struct scraper *s, struct jobs *jobs, uint64_t file_mark, uint64_t sd_mark)
{
    struct target_groups *extra = read_sd(s, jobs);
    struct http_sources sources;
    struct targets fresh;
    struct jobs *old_jobs;
    struct target_groups *old_extra;

    targets_build(jobs, extra, &fresh);
    pthread_mutex_lock(&s->lock);
    old_jobs = s->jobs;
    old_extra = s->extra;
    s->jobs = jobs;
    s->extra = extra;
    http_sources_build(jobs, &s->sources, &sources);
    scraper_set_targets(s, &fresh, &sources);
    s->file_mark = file_mark;
    s->sd_mark = sd_mark;
    s->reload_ok = true;
    s->reloaded_ms = clock_unix_ms();
    s->error[0] = 0;
    pthread_mutex_unlock(&s->lock);
    if (old_extra != NULL)
        free_sd(old_extra, old_jobs->n);
    jobs_unref(old_jobs);
    curl_multi_wakeup(s->multi);
    log_line(LOG_INFO, NULL, "metrics.config", "file=%s jobs=%zu", s->file, jobs->n);
    if (s->options.changed != NULL)
        s->options.changed(s->options.ctx);
}

int scraper_read(struct scraper *s, struct buf *ret)
{
    int r = file_read(s->file, FILE_BYTES_MAX, ret);

    return r == -ENOENT ? 0 : r;
}

/* Other files of jobs are to be watched from now on, also those of a text that is refused. */
static void include(struct scraper *s, struct slice text)
{
    job_strings_free(s->included);
    s->included = jobs_included(text, s->folder);
}

static int reload(struct scraper *s, struct buf *why)
{
    uint64_t mark;
    struct jobs *jobs = NULL;
    autobuf text = {0};
    int r = scraper_read(s, &text);

    if (r == 0)
        include(s, buf_slice(&text));
    mark = config_mark_of(s);
    if (r < 0)
        buf_printf(why, "%s", strerror(-r));
    else
        r = jobs_parse(buf_slice(&text), s->folder, &jobs, why);
    if (r == 0) {
        apply(s, jobs, mark, sd_mark_of(jobs));
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    s->file_mark = mark; /* not to be tried again before it changes */
    s->reload_ok = false;
    snprintf(s->error, sizeof s->error, "%s", why->data);
    pthread_mutex_unlock(&s->lock);
    return r;
}

int scraper_reload(struct scraper *s, struct buf *why)
{
    guard(&s->reload);
    return reload(s, why);
}

int scraper_write(struct scraper *s, struct slice text, struct buf *why)
{
    struct jobs *jobs = NULL;
    uint64_t mark;
    int r;

    guard(&s->reload);
    r = text.len > FILE_BYTES_MAX ? -EFBIG : jobs_parse(text, s->folder, &jobs, why);
    if (r < 0)
        return r;
    r = file_replace(s->file, text, 0640);
    if (r < 0) {
        buf_printf(why, "cannot write '%s': %s", s->file, strerror(-r));
        jobs_unref(jobs);
        return r;
    }
    include(s, text);
    mark = config_mark_of(s);
    apply(s, jobs, mark, sd_mark_of(jobs));
    return 0;
}

void scraper_refresh(struct scraper *s)
{
    guard(&s->reload);
    apply(s, jobs_ref(s->jobs), s->file_mark, sd_mark_of(s->jobs));
}

/* The folder, so that a file renamed over it is seen; the descriptor of the file would go blind. */
int config_watch(const char *file)
{
    autofree char *copy = xstrdup(file);
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (fd >= 0)
        inotify_add_watch(fd, dirname(copy),
                          IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE);
    return fd;
}

static void drain(int fd)
{
    char events[4096];

    while (read(fd, events, sizeof events) > 0)
        ;
}

void config_check(struct scraper *s, bool now)
{
    int64_t ms = clock_monotonic_ms();
    autobuf why = {0};
    bool file_changed;
    bool sd_changed;

    if (now)
        drain(s->notify);
    if (!now && ms - s->checked_ms < CHECK_MS &&
        !__atomic_load_n(&s->sources_changed, __ATOMIC_ACQUIRE))
        return;
    s->checked_ms = ms;
    if (pthread_mutex_trylock(&s->reload) != 0)
        return; /* somebody is at it */
    sd_changed = __atomic_exchange_n(&s->sources_changed, false, __ATOMIC_ACQ_REL);
    file_changed = config_mark_of(s) != s->file_mark;
    sd_changed = sd_changed || sd_mark_of(s->jobs) != s->sd_mark;
    if (file_changed && reload(s, &why) < 0)
        log_line(LOG_ERROR, NULL, "metrics.config.refused", "file=%s why=%s", s->file, why.data);
    else if (!file_changed && sd_changed)
        apply(s, jobs_ref(s->jobs), s->file_mark, sd_mark_of(s->jobs));
    pthread_mutex_unlock(&s->reload);
}

void config_done(struct scraper *s)
{
    if (s->jobs != NULL)
        free_sd(s->extra, s->jobs->n);
    job_strings_free(s->included);
    jobs_unref(s->jobs);
    s->jobs = NULL;
    s->extra = NULL;
}
