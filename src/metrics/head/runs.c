/* The list of runs, and what stands in their names:
 *   samples/2026112412[.c0][.tP300][.hHASH][.rHASH][.000001]
 * the hour at which the run begins, two hours or, of a tier, a day; c0, d0: made by compaction or
 * by a delete, so that no flush takes the name meanwhile; t: the plane and the window, in seconds,
 * of a tier; h: the raw runs that it was made of; r: the rules of retention that were applied. */
#include "base/alloc.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char plane_letters[COARSE_PLANES + 1] = "lnxsc";

/* Fields that are not known, such as ".s300" of older stores, say nothing. */
static void parse_fields(struct run *run, const char *p)
{
    while ((p = strchr(p, '.')) != NULL) {
        const char *letter;

        p++;
        if (*p == 'h')
            run->source = (uint32_t)strtoul(p + 1, NULL, 16);
        else if (*p == 'r')
            run->rules = (uint32_t)strtoul(p + 1, NULL, 16);
        else if (*p == 't' && p[1] != 0 && (letter = strchr(plane_letters, p[1])) != NULL) {
            run->tier_ms = (int64_t)strtoul(p + 2, NULL, 10) * 1000;
            run->plane = (enum coarse)(letter - plane_letters);
            run->end_ms = run->start_ms + DAY_MS;
        }
    }
}

int run_parse(const char *part, struct run *ret)
{
    struct tm tm = {.tm_mday = 1};
    const char *p = part + sizeof RUN_PREFIX - 1;

    if (strlen(part) >= RUN_NAME_MAX || strlen(part) < sizeof RUN_PREFIX - 1 + 10 ||
        sscanf(p, "%4d%2d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour) != 4)
        return -EINVAL;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    *ret = (struct run){.start_ms = (int64_t)timegm(&tm) * 1000};
    ret->end_ms = ret->start_ms + BUCKET_MS;
    snprintf(ret->part, sizeof ret->part, "%s", part);
    parse_fields(ret, p);
    return 0;
}

static void add_field(char name[RUN_NAME_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add_field(char name[RUN_NAME_MAX], const char *format, ...)
{
    size_t n = strlen(name);
    va_list args;

    va_start(args, format);
    vsnprintf(name + n, RUN_NAME_MAX - n, format, args);
    va_end(args);
}

static bool run_exists(const struct db *db, const char *part)
{
    for (size_t i = 0; i < db->n_runs; i++)
        if (strcmp(db->runs[i].part, part) == 0)
            return true;
    return false;
}

void run_name_new(const struct db *db, const struct run *like, char maker, char part[RUN_NAME_MAX])
{
    time_t t = (time_t)(like->start_ms / 1000);
    char base[RUN_NAME_MAX];
    struct tm tm;
    unsigned number = 0;

    gmtime_r(&t, &tm);
    strftime(base, sizeof base, RUN_PREFIX "%Y%m%d%H", &tm);
    if (maker != 0)
        add_field(base, ".%c0", maker);
    if (like->tier_ms > 0)
        add_field(base, ".t%c%u", plane_letters[like->plane], (unsigned)(like->tier_ms / 1000));
    if (like->source != 0)
        add_field(base, ".h%08x", like->source);
    if (like->rules != 0)
        add_field(base, ".r%08x", like->rules);
    memcpy(part, base, sizeof base);
    while (run_exists(db, part)) {
        memcpy(part, base, sizeof base);
        add_field(part, ".%06u", ++number);
    }
}

/* By start; a tier before the raw runs of its day: of equal times the raw sample counts. */
static bool stands_before(const struct run *a, const struct run *b)
{
    if (a->start_ms != b->start_ms)
        return a->start_ms < b->start_ms;
    return a->tier_ms > 0 && b->tier_ms == 0;
}

void run_add(struct db *db, const char *part, unsigned beside)
{
    size_t at = db->n_runs;
    struct run run;

    if (run_parse(part, &run) < 0)
        return;
    run.beside = beside;
    db->runs = xrealloc(db->runs, (db->n_runs + 1) * sizeof *db->runs);
    while (at > 0 && stands_before(&run, &db->runs[at - 1])) {
        db->runs[at] = db->runs[at - 1];
        at--;
    }
    db->runs[at] = run;
    db->n_runs++;
    db->flushes++;
}

size_t run_place(const struct db *db, const struct run *run)
{
    size_t i = 0;

    while (i < db->n_runs && strcmp(db->runs[i].part, run->part) != 0)
        i++;
    return i;
}

void run_take(struct db *db, size_t i)
{
    memmove(db->runs + i, db->runs + i + 1, (db->n_runs - i - 1) * sizeof *db->runs);
    db->n_runs--;
    db->flushes++;
}

int run_erase(struct db *db, const struct run *run)
{
    char name[RUN_NAME_MAX];
    int r = store_bulk_drop(db->store, STORE_SAMPLES, slice_str(run->part));

    for (unsigned what = BESIDE_PAYLOADS; what <= BESIDE_STARTS && r == 0; what <<= 1) {
        if ((run->beside & what) == 0)
            continue;
        beside_name(name, what, run->part);
        r = store_bulk_drop(db->store, STORE_SAMPLES, slice_str(name));
    }
    return r;
}

void db_runs(struct db *db, void (*f)(void *ctx, const struct db_run *run), void *ctx)
{
    pthread_rwlock_rdlock(&db->lock);
    for (size_t i = 0; i < db->n_runs; i++) {
        const struct run *r = &db->runs[i];

        f(ctx, &(struct db_run){r->part, r->start_ms, r->end_ms, r->tier_ms});
    }
    pthread_rwlock_unlock(&db->lock);
}

static int load_run(void *ctx, struct slice part)
{
    char name[RUN_NAME_MAX] = "";

    if (part.len >= sizeof name)
        return 0;
    memcpy(name, part.data, part.len);
    run_add(ctx, name, 0);
    return 0;
}

int runs_load(struct db *db)
{
    int r = store_bulk_partitions(db->store, STORE_SAMPLES, SLICE(RUN_PREFIX), load_run, db);

    if (r == 0)
        r = beside_load(db, BESIDE_PAYLOADS);
    return r < 0 ? r : beside_load(db, BESIDE_STARTS);
}

static uint32_t name_hash(const char *s)
{
    uint32_t h = 2166136261u;

    for (; *s != 0; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

uint32_t run_identity(const struct run *run)
{
    return run->source != 0 ? run->source : name_hash(run->part) | 1;
}

/* The plane of last samples is written last: with it, a tier is whole. */
static const struct run *whole_tier(const struct run *runs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (runs[i].tier_ms > 0 && runs[i].plane == COARSE_LAST)
            return &runs[i];
    return NULL;
}

void day_look(const struct db *db, size_t first, struct day *ret)
{
    const struct run *runs = db->runs + first;
    int64_t day = day_of(runs->start_ms);
    const struct run *last;

    *ret = (struct day){.start_ms = day * DAY_MS, .first = first};
    while (first + ret->n < db->n_runs && day_of(runs[ret->n].start_ms) == day)
        ret->n++;
    last = whole_tier(runs, ret->n);
    ret->whole = last != NULL;
    for (size_t i = 0; i < ret->n; i++) {
        const struct run *run = &runs[i];

        if (run->tier_ms == 0) {
            ret->n_raw++;
            ret->hash += run_identity(run);
            continue;
        }
        ret->n_tier++;
        ret->whole = ret->whole && run->tier_ms == last->tier_ms && run->source == last->source &&
                     run->rules == last->rules;
    }
    if (last != NULL) {
        ret->tier_ms = last->tier_ms;
        ret->rules = last->rules;
        ret->current = ret->whole && (ret->n_raw == 0 || last->source == ret->hash);
    }
}
