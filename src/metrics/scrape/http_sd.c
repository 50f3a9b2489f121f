#include "metrics/scrape/http_sd.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

static struct target *asked_new(struct jobs *jobs, const struct job *sd)
{
    struct target *t = xcalloc(1, sizeof *t);

    t->jobs = jobs_ref(jobs);
    t->job = sd;
    t->url = xstrdup(sd->sd_url);
    t->interval_ms = sd->interval_ms;
    t->timeout_ms = sd->timeout_ms;
    t->due_ms = clock_unix_ms();
    t->offset_ms = t->due_ms % t->interval_ms;
    for (unsigned i = 0; i < REPORTS; i++)
        t->report_refs[i] = SERIES_NONE;
    return t;
}

static struct http_source *find_old(struct http_sources *old, const char *job_name,
                                    const struct job *sd)
{
    for (size_t i = 0; i < old->n; i++)
        if (old->items[i].asked != NULL && strcmp(old->items[i].job_name, job_name) == 0 &&
            strcmp(old->items[i].asked->job->text, sd->text) == 0)
            return &old->items[i];
    return NULL;
}

static void move_source(struct http_source *from, struct http_source *to, struct jobs *jobs,
                        const struct job *sd)
{
    *to = *from;
    *from = (struct http_source){0};
    jobs_ref(jobs);
    jobs_unref(to->asked->jobs);
    to->asked->jobs = jobs;
    to->asked->job = sd;
}

void http_sources_build(struct jobs *jobs, struct http_sources *old, struct http_sources *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < jobs->n; i++)
        n += jobs->items[i]->n_http_sd;
    *ret = (struct http_sources){.items = xcalloc(n + 1, sizeof *ret->items)};
    for (size_t i = 0; i < jobs->n; i++)
        for (size_t k = 0; k < jobs->items[i]->n_http_sd; k++) {
            const struct job *sd = jobs->items[i]->http_sd[k];
            struct http_source *from = find_old(old, jobs->items[i]->name, sd);
            struct http_source *to = &ret->items[ret->n++];

            if (from != NULL)
                move_source(from, to, jobs, sd);
            else
                *to = (struct http_source){.asked = asked_new(jobs, sd),
                                           .job_name = xstrdup(jobs->items[i]->name)};
        }
}

void http_sources_done(struct http_sources *s)
{
    for (size_t i = 0; i < s->n; i++) {
        target_free(s->items[i].asked);
        free(s->items[i].job_name);
        target_groups_done(&s->items[i].groups);
    }
    free(s->items);
    *s = (struct http_sources){0};
}

/* discovery/http of Prometheus: application/json, with or without charset=utf-8. */
static bool is_json(const char *type)
{
    const char *p = type;

    if (p == NULL || strncasecmp(p, "application/json", 16) != 0)
        return false;
    p += 16;
    if (*p == 0)
        return true;
    if (*p++ != ';')
        return false;
    p += strspn(p, " \t");
    return strcasecmp(p, "charset=utf-8") == 0 || strcasecmp(p, "charset=\"utf-8\"") == 0;
}

static bool same_pairs(const struct pairs *a, const struct pairs *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i].name, b->items[i].name) == 0 &&
               strcmp(a->items[i].value, b->items[i].value) == 0;
    return same;
}

static bool same_groups(const struct target_groups *a, const struct target_groups *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++) {
        size_t k = 0;

        same = same_pairs(&a->items[i].labels, &b->items[i].labels);
        for (; same && a->items[i].addresses[k] != NULL; k++)
            same = b->items[i].addresses[k] != NULL &&
                   strcmp(a->items[i].addresses[k], b->items[i].addresses[k]) == 0;
        same = same && b->items[i].addresses[k] == NULL;
    }
    return same;
}

int http_source_take(struct http_sources *all, const struct target *asked,
                     const struct scrape *answer, struct buf *why)
{
    struct target_groups fresh = {0};
    struct http_source *source = all->items;

    while (source->asked != asked)
        source++;
    if (answer->error != NULL) {
        buf_add_str(why, answer->error);
        return 0;
    }
    if (!is_json(answer->content_type)) {
        buf_printf(why, "unsupported content type \"%s\"",
                   answer->content_type != NULL ? answer->content_type : "");
        return 0;
    }
    if (target_groups_parse(answer->body, &fresh, why) < 0) {
        target_groups_done(&fresh);
        return 0;
    }
    for (size_t i = 0; i < fresh.n; i++)
        pairs_add(&fresh.items[i].labels, "__meta_url", asked->url);
    if (same_groups(&fresh, &source->groups)) {
        target_groups_done(&fresh);
        return 0;
    }
    target_groups_done(&source->groups);
    source->groups = fresh;
    return 1;
}

void http_sources_groups(const struct http_sources *all, const char *job_name,
                         struct target_groups *ret)
{
    for (size_t i = 0; i < all->n; i++)
        for (size_t k = 0; strcmp(all->items[i].job_name, job_name) == 0 &&
                           k < all->items[i].groups.n;
             k++)
            target_group_copy(ret, &all->items[i].groups.items[k]);
}
