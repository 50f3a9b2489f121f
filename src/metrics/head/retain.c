/* What goes because of its age, its size or its name. Whole runs are dropped here; what rules take
 * out of a run goes when it is next written (compact.c). */
#include "base/alloc.h"
#include "metrics/head/db_internal.h"

/* Of raw samples, by any rule; 0: for ever. */
static int64_t longest_keep(const struct db_options *o)
{
    int64_t keep_ms = o->retention_ms;

    for (size_t i = 0; i < o->n_keeps && keep_ms > 0; i++)
        if (o->keeps[i].keep_ms > keep_ms)
            keep_ms = o->keeps[i].keep_ms;
    return keep_ms;
}

static bool is_past(int64_t keep_ms, int64_t end_ms, int64_t now_ms)
{
    return keep_ms > 0 && end_ms <= now_ms - keep_ms;
}

bool keep_raw_over(const struct db *db, int64_t end_ms, int64_t now_ms)
{
    return is_past(longest_keep(&db->options), end_ms, now_ms);
}

/* A rule that keeps less than the rest have: of its series there is no tier. */
static bool is_short(const struct db_options *o, const struct db_keep *rule)
{
    return o->retention_ms == 0 || rule->keep_ms < o->retention_ms;
}

bool keep_expired(const struct db *db, uint8_t rule, const struct run *run, int64_t now_ms)
{
    const struct db_options *o = &db->options;

    if (run->tier_ms > 0)
        return rule > 0 && is_short(o, &o->keeps[rule - 1]);
    return is_past(rule > 0 ? o->keeps[rule - 1].keep_ms : o->retention_ms, run->end_ms, now_ms);
}

uint32_t keep_state(const struct db *db, const struct run *run, int64_t now_ms)
{
    const struct db_options *o = &db->options;
    uint32_t h = 0;

    for (size_t i = 0; i <= o->n_keeps && o->n_keeps > 0; i++) {
        size_t n = i > 0 ? i : o->n_keeps; /* those that say which series these are */

        if (!keep_expired(db, (uint8_t)i, run, now_ms))
            continue;
        h = (h ^ (uint32_t)(i + 1)) * 16777619u;
        for (size_t k = 0; k < n; k++)
            for (const char *p = o->keeps[k].text; *p != 0; p++)
                h = (h ^ (unsigned char)*p) * 16777619u;
        h |= 1;
    }
    return h;
}

uint8_t *keep_rules_of(struct db *db, size_t *ret_n)
{
    const struct db_options *o = &db->options;
    uint8_t *rules;

    pthread_rwlock_rdlock(&db->lock);
    *ret_n = index_count(db->index);
    rules = xcalloc(*ret_n + 1, sizeof *rules);
    for (size_t i = o->n_keeps; i-- > 0;) { /* the first stays */
        struct refs refs = {0};

        index_select(db->index, o->keeps[i].matchers, o->keeps[i].n, &refs);
        for (size_t k = 0; k < refs.n; k++)
            rules[refs.items[k]] = (uint8_t)(i + 1);
        refs_done(&refs);
    }
    pthread_rwlock_unlock(&db->lock);
    return rules;
}

static void run_drop(struct db *db, size_t i)
{
    struct run run = db->runs[i];
    int r;

    pthread_rwlock_wrlock(&db->lock);
    run_take(db, i);
    pthread_rwlock_unlock(&db->lock);
    r = run_erase(db, &run);
    log_line(r < 0 ? LOG_ERROR : LOG_INFO, NULL, "metrics.retention", "dropped=%s result=%d",
             run.part, r);
}

/* The raw runs of a day of which there is a tier. */
static void drop_raw(struct db *db, const struct day *day)
{
    size_t raw = day->n_raw;

    for (size_t i = day->first + day->n; i-- > day->first && raw > 0;)
        if (db->runs[i].tier_ms == 0) {
            run_drop(db, i);
            raw--;
        }
}

static void drop_old(struct db *db, int64_t now_ms)
{
    const struct db_options *o = &db->options;
    int64_t tier_keep_ms = longest_keep(o);
    struct day day;

    if (o->downsample_ms > 0 && tier_keep_ms > 0 && o->downsample_keep_ms > tier_keep_ms)
        tier_keep_ms = o->downsample_keep_ms;
    for (size_t i = 0; i < db->n_runs;) {
        const struct run *run = &db->runs[i];
        bool raw = run->tier_ms == 0 && o->downsample_ms == 0;
        /* beside a tier what is raw goes by the day too */
        int64_t end_ms = raw ? run->end_ms : (day_of(run->start_ms) + 1) * DAY_MS;

        if (raw ? keep_raw_over(db, end_ms, now_ms) : is_past(tier_keep_ms, end_ms, now_ms))
            run_drop(db, i);
        else
            i++;
    }
    for (size_t i = 0; o->downsample_ms > 0 && i < db->n_runs; i += day.n) {
        size_t before = db->n_runs;

        day_look(db, i, &day);
        if (day.current && day.n_tier > 0 && day.n_raw > 0 &&
            keep_raw_over(db, day.start_ms + DAY_MS, now_ms))
            drop_raw(db, &day);
        day.n -= before - db->n_runs;
    }
}

static void drop_largest(struct db *db)
{
    struct store_usage usage;
    struct day day;

    while (db->options.retention_bytes > 0 && db->n_runs > 0 &&
           store_usage(db->store, &usage) == 0 && usage.live_bytes > db->options.retention_bytes) {
        day_look(db, 0, &day);
        if (day.current && day.n_tier > 0 && day.n_raw > 0)
            drop_raw(db, &day); /* the tier says the same in less */
        else
            run_drop(db, 0);
    }
}

void runs_retain(struct db *db, int64_t now_ms)
{
    size_t before;

    guard(&db->flushing);
    if (db->deleting)
        deletes_resume(db);
    before = db->n_runs;
    drop_old(db, now_ms);
    drop_largest(db);
    if (db->n_runs < before)
        series_forget(db, now_ms);
}
