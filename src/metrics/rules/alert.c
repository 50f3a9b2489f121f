#include "metrics/rules/alert.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>

/* A restored alert fires at the earliest after this, if its own time is as long. */
#define GRACE_MS (10 * 60 * 1000)

const char *alert_state_text(enum alert_state state)
{
    static const char *const texts[] = {"inactive", "pending", "firing"};

    return texts[state];
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

void pairs_sort(struct pairs *p)
{
    if (p->n > 1)
        qsort(p->items, p->n, sizeof *p->items, by_name);
}

void pairs_set(struct pairs *p, const char *name, const char *value)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->items[i].name, name) == 0) {
            free(p->items[i].value);
            p->items[i].value = xstrdup(value);
            return;
        }
    pairs_add(p, name, value);
}

static char *key_of(const struct pairs *labels)
{
    struct buf key = {0};

    for (size_t i = 0; i < labels->n; i++)
        buf_printf(&key, "%s%c%s%c", labels->items[i].name, 1, labels->items[i].value, 1);
    return buf_take(&key, NULL);
}

static void alert_free(struct alert *a)
{
    pairs_done(&a->labels);
    pairs_done(&a->annotations);
    free(a->key);
    free(a);
}

void alerts_free(struct alert **alerts)
{
    struct alert *a, *next;

    HASH_ITER(hh, *alerts, a, next) {
        HASH_DEL(*alerts, a);
        alert_free(a);
    }
}

/* Makes the alerts of what was found, in a table of their own. */
static int make_alerts(struct alert_found *found, size_t n, int64_t ts_ms, struct alert **ret)
{
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        struct alert *a = xcalloc(1, sizeof *a), *same = NULL;

        pairs_sort(&found[i].labels);
        a->key = key_of(&found[i].labels);
        a->labels = found[i].labels;
        a->annotations = found[i].annotations;
        a->value = found[i].value;
        a->active_ms = ts_ms;
        a->state = ALERT_PENDING;
        a->seen = true;
        HASH_FIND_STR(*ret, a->key, same);
        if (same != NULL) {
            alert_free(a);
            r = -EEXIST;
            continue;
        }
        HASH_ADD_KEYPTR(hh, *ret, a->key, strlen(a->key), a);
    }
    return r;
}

/* An alert whose expression is true: the one that is known goes on. */
static void take_up(struct alert **alerts, struct alert *fresh)
{
    struct alert *known = NULL;
    struct pairs annotations;

    HASH_FIND_STR(*alerts, fresh->key, known);
    if (known != NULL && known->state != ALERT_INACTIVE) {
        annotations = known->annotations;
        known->annotations = fresh->annotations;
        fresh->annotations = annotations;
        known->value = fresh->value;
        known->seen = true;
        alert_free(fresh);
        return;
    }
    if (known != NULL) {
        HASH_DEL(*alerts, known);
        alert_free(known);
    }
    HASH_ADD_KEYPTR(hh, *alerts, fresh->key, strlen(fresh->key), fresh);
}

/* True: it is kept firing though its expression is not true any more. */
static bool keep_firing(struct alert *a, const struct rule *rule, int64_t ts_ms)
{
    if (a->state != ALERT_FIRING || rule->keep_firing_ms == 0)
        return false;
    if (a->keep_since_ms == 0)
        a->keep_since_ms = ts_ms;
    return ts_ms - a->keep_since_ms < rule->keep_firing_ms;
}

static void move_on(struct alert **alerts, struct alert *a, const struct rule *rule, int64_t ts_ms)
{
    if (!a->seen && !keep_firing(a, rule, ts_ms)) {
        if (a->state == ALERT_PENDING ||
            (a->resolved_ms > 0 && ts_ms - a->resolved_ms > ALERT_KEPT_MS)) {
            HASH_DEL(*alerts, a);
            alert_free(a);
            return;
        }
        if (a->state != ALERT_INACTIVE) {
            a->state = ALERT_INACTIVE;
            a->resolved_ms = ts_ms;
        }
        return;
    }
    if (a->seen)
        a->keep_since_ms = 0;
    a->seen = false;
    if (a->state == ALERT_PENDING && ts_ms - a->active_ms >= rule->for_ms) {
        a->state = ALERT_FIRING;
        a->fired_ms = ts_ms;
    }
}

/* The clock may have been set back: what was to come is now. */
static void not_ahead(struct alert *a, int64_t ts_ms)
{
    int64_t *times[] = {&a->active_ms, &a->fired_ms, &a->resolved_ms, &a->keep_since_ms};

    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (*times[i] > ts_ms)
            *times[i] = ts_ms;
    if (a->sent_ms > ts_ms)
        a->sent_ms = ts_ms - 1; /* told once more, lest it was not */
}

int alerts_update(struct alert **alerts, const struct rule *rule, int64_t ts_ms,
                  struct alert_found *found, size_t n)
{
    struct alert *fresh = NULL, *a, *next;
    int r = make_alerts(found, n, ts_ms, &fresh);

    if (r < 0) {
        alerts_free(&fresh);
        return r;
    }
    HASH_ITER(hh, fresh, a, next) {
        HASH_DEL(fresh, a);
        take_up(alerts, a);
    }
    HASH_ITER(hh, *alerts, a, next) {
        not_ahead(a, ts_ms);
        move_on(alerts, a, rule, ts_ms);
    }
    return 0;
}

size_t alerts_active(const struct alert *alerts)
{
    size_t n = 0;

    for (const struct alert *a = alerts; a != NULL; a = a->hh.next)
        n += a->state != ALERT_INACTIVE;
    return n;
}

enum alert_state alerts_state(const struct alert *alerts)
{
    enum alert_state highest = ALERT_INACTIVE;

    for (const struct alert *a = alerts; a != NULL; a = a->hh.next)
        if (a->state > highest)
            highest = a->state;
    return highest;
}

bool alert_is_due(const struct alert *a, int64_t ts_ms)
{
    if (a->state == ALERT_PENDING)
        return false;
    if (a->resolved_ms > a->sent_ms)
        return true;
    return a->sent_ms + ALERT_RESEND_MS < ts_ms;
}

void alert_restore(struct alert *a, const struct rule *rule, int64_t since_ms, int64_t alive_ms,
                   int64_t now_ms)
{
    int64_t spent = alive_ms - since_ms, left = rule->for_ms - spent;

    if (left <= 0) {
        a->active_ms = since_ms; /* it was firing */
    } else if (left < GRACE_MS && rule->for_ms >= GRACE_MS) {
        a->active_ms = now_ms + GRACE_MS - rule->for_ms;
    } else {
        a->active_ms = since_ms + (now_ms - alive_ms);
    }
    if (a->state == ALERT_PENDING && now_ms - a->active_ms >= rule->for_ms) {
        a->state = ALERT_FIRING;
        a->fired_ms = now_ms;
    }
}
