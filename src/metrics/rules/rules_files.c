/* The files of rules: those of rule_files, and the own ones. A file that is refused leaves all groups
 * as they were. */
#include "metrics/rules/rules_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "metrics/rules/rule_eval.h"
#include "metrics/scrape/file_look.h"

#include <errno.h>
#include <glob.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES_MAX (8u << 20)

struct files {
    char **names; /* sorted, each once */
    size_t n;
};

static void add_glob(struct files *files, const char *pattern)
{
    glob_t found = {0};

    if (glob(pattern, 0, NULL, &found) == 0) {
        files->names = xrealloc(files->names, (files->n + found.gl_pathc) * sizeof(char *));
        for (size_t i = 0; i < found.gl_pathc; i++)
            files->names[files->n++] = xstrdup(found.gl_pathv[i]);
    }
    globfree(&found);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct files find_files(const struct rules *r, const struct jobs *config)
{
    autofree char *copy = xstrdup(r->config_file);
    const char *base = dirname(copy);
    struct files files = {0};
    autobuf pattern = {0};
    size_t kept = 0;

    for (char **p = config->rule_files; p != NULL && *p != NULL; p++) {
        buf_clear(&pattern);
        buf_printf(&pattern, "%s%s%s", **p == '/' ? "" : base, **p == '/' ? "" : "/", *p);
        add_glob(&files, pattern.data);
    }
    for (unsigned i = 0; i < 2; i++) {
        buf_clear(&pattern);
        buf_printf(&pattern, "%s/*.%s", r->folder, i == 0 ? "yml" : "yaml");
        add_glob(&files, pattern.data);
    }
    if (files.n > 0)
        qsort(files.names, files.n, sizeof *files.names, by_text);
    for (size_t i = 0; i < files.n; i++) {
        if (kept > 0 && strcmp(files.names[kept - 1], files.names[i]) == 0)
            free(files.names[i]);
        else
            files.names[kept++] = files.names[i];
    }
    files.n = kept;
    return files;
}

static void files_done(struct files *files)
{
    for (size_t i = 0; i < files->n; i++)
        free(files->names[i]);
    free(files->names);
}

/* The mark changes with the configuration, too. */
static struct file_look look(const struct files *files, const struct jobs *config)
{
    struct file_look ret = {.mark = hash_bytes(&config, sizeof config, 1)};

    for (size_t i = 0; i < files->n; i++)
        file_look_at(&ret, files->names[i]);
    return ret;
}

static int read_groups(const struct files *files, struct rule_groups *ret, struct buf *why)
{
    for (size_t i = 0; i < files->n; i++) {
        autobuf text = {0};
        autobuf reason = {0};
        int r = file_read(files->names[i], FILE_BYTES_MAX, &text);

        if (r == -ENOENT)
            continue; /* removed a moment ago */
        if (r < 0)
            buf_add_str(&reason, strerror(-r));
        else
            r = rule_file_parse(buf_slice(&text), files->names[i], ret, &reason);
        if (r < 0) {
            buf_printf(why, "%s: %s", files->names[i], reason.data);
            return r;
        }
    }
    return 0;
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
    if (a->alerting != b->alerting || strcmp(a->name, b->name) != 0 ||
        strcmp(a->expression, b->expression) != 0 || a->labels.n != b->labels.n)
        return false;
    for (size_t i = 0; i < a->labels.n; i++)
        if (strcmp(a->labels.items[i].name, b->labels.items[i].name) != 0 ||
            strcmp(a->labels.items[i].value, b->labels.items[i].value) != 0)
            return false;
    return true;
}

/* Alerts and series of rules that stay go over; series of the others end. */
static void move_state(struct rules *r, struct group_state *from, struct group_state *to)
{
    for (size_t i = 0; to != NULL && i < to->def->n; i++)
        for (size_t k = 0; k < from->def->n; k++) {
            struct rule_state *old = &from->rules[k], *new = &to->rules[i];

            if (old->rule == NULL || !same_rule(old->rule, new->rule))
                continue;
            new->alerts = old->alerts;
            new->restored = old->restored;
            new->refs = old->refs;
            new->n_refs = old->n_refs;
            old->alerts = NULL;
            old->refs = NULL;
            old->n_refs = 0;
            old->rule = NULL;
            break;
        }
    for (size_t k = 0; k < from->def->n; k++)
        rule_mark_stale(r->options.db, from->rules[k].refs, from->rules[k].n_refs,
                        clock_unix_ms());
}

static struct group_state *new_state(struct rule_group *def, const struct jobs *config)
{
    struct group_state *g = xcalloc(1, sizeof *g);
    uint64_t h = hash_bytes(def->name, strlen(def->name), 11);

    g->def = def;
    g->rules = xcalloc(def->n + 1, sizeof *g->rules);
    for (size_t i = 0; i < def->n; i++)
        g->rules[i].rule = &def->rules[i];
    g->interval_ms = def->interval_ms > 0 ? def->interval_ms : config->evaluation_ms;
    g->query_offset_ms = def->query_offset_ms >= 0 ? def->query_offset_ms : config->query_offset_ms;
    h = hash_bytes(def->file, strlen(def->file), h);
    g->offset_ms = (int64_t)(h % (uint64_t)g->interval_ms);
    g->due_ms = group_next_due(g, clock_unix_ms());
    pthread_mutex_init(&g->lock, NULL);
    return g;
}

/* Under the lock. Nothing is being evaluated when it returns, and nothing starts before resume. */
static void pause_all(struct rules *r)
{
    r->paused = true;
    for (size_t i = 0; i < r->n; i++)
        while (r->groups[i]->running)
            pthread_cond_wait(&r->moved, &r->lock);
}

static bool is_same(const struct group_state *old, const struct group_state *fresh)
{
    return old->def->mark == fresh->def->mark && old->interval_ms == fresh->interval_ms &&
           old->query_offset_ms == fresh->query_offset_ms;
}

/* Under the lock. The state that takes the place of old ones; takes groups. */
static void put_in_force(struct rules *r, struct rule_groups *groups)
{
    struct group_state **fresh = xcalloc(groups->n + 1, sizeof(struct group_state *));

    pause_all(r);
    for (size_t i = 0; i < groups->n; i++)
        fresh[i] = new_state(groups->items[i], r->config);
    for (size_t k = 0; k < r->n; k++) {
        struct group_state *old = r->groups[k], *to = NULL;

        for (size_t i = 0; i < groups->n; i++) {
            if (strcmp(fresh[i]->def->name, old->def->name) != 0 ||
                strcmp(fresh[i]->def->file, old->def->file) != 0)
                continue;
            if (is_same(old, fresh[i])) {
                group_state_free(fresh[i]);
                fresh[i] = old;
                old = NULL;
            } else {
                to = fresh[i];
            }
            break;
        }
        if (old == NULL)
            continue;
        move_state(r, old, to);
        group_state_free(old);
    }
    free(r->groups);
    r->groups = fresh;
    r->n = groups->n;
    r->paused = false;
    free(groups->items);
    *groups = (struct rule_groups){0};
}

static void say_refused(struct rules *r, const char *why)
{
    log_line(LOG_ERROR, NULL, "metrics.rules.refused", "why=%s", why);
    guard(&r->lock);
    free(r->error);
    r->error = xstrdup(why);
}

/* Under reload. Takes config. */
static void read_all(struct rules *r, struct jobs *config, const struct files *files)
{
    struct rule_groups groups = {0};
    autobuf why = {0};
    int e = read_groups(files, &groups, &why);
    struct jobs *old;
    size_t n = groups.n;

    pthread_mutex_lock(&r->lock);
    old = r->config;
    r->config = config;
    if (e == 0) {
        free(r->error);
        r->error = NULL;
        put_in_force(r, &groups);
    }
    pthread_cond_broadcast(&r->moved);
    pthread_mutex_unlock(&r->lock);
    jobs_unref(old);
    rule_groups_done(&groups);
    notifier_configure(r->notifier, config);
    if (e < 0)
        say_refused(r, why.data);
    else
        log_line(LOG_INFO, NULL, "metrics.rules", "files=%zu groups=%zu", files->n, n);
    if (r->options.changed != NULL)
        r->options.changed(r->options.ctx);
}

/* Reads the files if they changed; with `settle` not one that was written a moment ago, as it may
 * be half written. */
static void refresh(struct rules *r, bool settle)
{
    struct scraper_state state;
    struct files files;
    struct file_look seen;

    guard(&r->reload);
    scraper_state(r->options.scraper, &state);
    files = find_files(r, state.jobs);
    seen = look(&files, state.jobs);
    if (seen.mark != r->mark && !(settle && file_look_is_settling(seen.whole_ms))) {
        r->mark = seen.mark;
        read_all(r, state.jobs, &files);
    } else {
        jobs_unref(state.jobs);
    }
    files_done(&files);
}

void rules_refresh(struct rules *r)
{
    refresh(r, false);
}

void rules_check(struct rules *r)
{
    refresh(r, true);
}

static char *path_of(const struct rules *r, const char *name)
{
    struct buf path = {0};

    buf_printf(&path, "%s/%s", r->folder, name);
    return buf_take(&path, NULL);
}

int rules_write(struct rules *r, const char *name, struct slice text, struct buf *why)
{
    autofree char *path = path_of(r, name);
    struct rule_groups groups = {0};
    int e = text.len > FILE_BYTES_MAX ? -EFBIG : rule_file_parse(text, path, &groups, why);

    rule_groups_done(&groups);
    if (e == 0)
        e = file_replace(path, text, 0640);
    if (e < 0 && why->len == 0)
        buf_printf(why, "cannot write '%s': %s", path, strerror(-e));
    if (e == 0)
        rules_refresh(r);
    return e;
}

int rules_remove(struct rules *r, const char *name)
{
    autofree char *path = path_of(r, name);

    if (unlink(path) < 0)
        return -errno;
    rules_refresh(r);
    return 0;
}
