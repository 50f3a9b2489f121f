/* The configuration file and those it names, kept an eye on. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "metrics/scrape/file_look.h"
#include "metrics/scrape/own.h"
#include "metrics/scrape/scraper_internal.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>

#define FILE_BYTES_MAX (8u << 20)
#define CHECK_MS       1000
#define SETTLE_LOOK_MS 25
#define SETTLE_MAX_MS  1000

/* At the configuration, with the files of jobs that it includes. */
static void look_config(const struct scraper *s, struct file_look *ret)
{
    file_look_at(ret, s->file);
    sd_files_each(s->included, file_look_at, ret);
}

static void look_sd(const struct jobs *jobs, struct file_look *ret)
{
    for (size_t i = 0; i < jobs->n; i++)
        sd_files_each(jobs->items[i]->sd_files, file_look_at, ret);
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
static void apply(struct scraper *s, struct jobs *jobs, uint64_t file_mark)
{
    struct file_look sd = {0};
    struct target_groups *extra;
    struct http_sources sources;
    struct targets fresh;
    struct jobs *old_jobs;
    struct target_groups *old_extra;

    look_sd(jobs, &sd);
    extra = read_sd(s, jobs);
    targets_build(jobs, extra, &fresh);
    pthread_mutex_lock(&s->lock);
    old_jobs = s->jobs;
    old_extra = s->extra;
    s->jobs = jobs;
    s->extra = extra;
    http_sources_build(jobs, &s->sources, &sources);
    scraper_set_targets(s, &fresh, &sources);
    s->file_mark = file_mark;
    s->sd_mark = sd.mark;
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
    struct file_look config = {0};
    struct jobs *jobs = NULL;
    autobuf text = {0};
    int r;

    file_look_at(&config, s->file);
    r = scraper_read(s, &text);
    if (r == 0)
        include(s, buf_slice(&text));
    sd_files_each(s->included, file_look_at, &config);
    if (r < 0)
        buf_printf(why, "%s", strerror(-r));
    else
        r = jobs_parse(buf_slice(&text), s->folder, &jobs, why);
    if (r == 0) {
        apply(s, jobs, config.mark);
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    s->file_mark = config.mark; /* not to be tried again before it changes */
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
    int r;

    guard(&s->reload);
    r = text.len > FILE_BYTES_MAX ? -EFBIG : jobs_parse(text, s->folder, &jobs, why);
    if (r < 0)
        return r;
    jobs_unref(jobs);
    r = file_replace(s->file, text, 0640);
    if (r < 0) {
        buf_printf(why, "cannot write '%s': %s", s->file, strerror(-r));
        return r;
    }
    return reload(s, why); /* from the file: somebody else may have edited it since */
}

void scraper_refresh(struct scraper *s)
{
    guard(&s->reload);
    apply(s, jobs_ref(s->jobs), s->file_mark);
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

/* A file that may be half written is read when it counts as whole, or after SETTLE_MAX_MS. Until then
 * the scraper looks often. */
static bool is_settling(struct scraper *s, int64_t whole_ms, int64_t ms)
{
    if (!file_look_is_settling(whole_ms)) {
        s->settling_ms = 0;
        return false;
    }
    if (s->settling_ms == 0)
        s->settling_ms = ms;
    if (ms - s->settling_ms < SETTLE_MAX_MS)
        return true;
    s->settling_ms = 0;
    return false;
}

/* Under s->reload. */
static void check(struct scraper *s, int64_t ms)
{
    struct file_look config = {0}, sd = {0};
    autobuf why = {0};
    bool file_changed, sd_changed;

    look_config(s, &config);
    look_sd(s->jobs, &sd);
    file_changed = config.mark != s->file_mark;
    sd_changed = sd.mark != s->sd_mark;
    if (!file_changed && !sd_changed)
        s->settling_ms = 0;
    else if (is_settling(s, config.whole_ms > sd.whole_ms ? config.whole_ms : sd.whole_ms, ms))
        return;
    if (__atomic_exchange_n(&s->sources_changed, false, __ATOMIC_ACQ_REL))
        sd_changed = true;
    if (file_changed && reload(s, &why) < 0)
        log_line(LOG_ERROR, NULL, "metrics.config.refused", "file=%s why=%s", s->file, why.data);
    else if (!file_changed && sd_changed)
        apply(s, jobs_ref(s->jobs), s->file_mark);
}

void config_check(struct scraper *s, bool now)
{
    int64_t ms = clock_monotonic_ms();

    if (now)
        drain(s->notify);
    if (!now && s->settling_ms == 0 && ms - s->checked_ms < CHECK_MS &&
        !__atomic_load_n(&s->sources_changed, __ATOMIC_ACQUIRE))
        return;
    s->checked_ms = ms;
    if (pthread_mutex_trylock(&s->reload) != 0)
        return; /* somebody is at it */
    check(s, ms);
    pthread_mutex_unlock(&s->reload);
}

int config_wait_ms(const struct scraper *s)
{
    return s->settling_ms != 0 ? SETTLE_LOOK_MS : CHECK_MS;
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
