/* refusals.c: what was refused lately, for the caller to read: the shell hears only an errno. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "identity/audit.h"
#include "identity/state.h"

#include <stdio.h>
#include <uthash.h>

#define CALLERS_MAX 256u
#define KEPT        16u

struct refusal {
    int64_t unix_ms;
    enum door door;
    int err;
    char path[256];
    char why[256];
};

struct caller {
    char key[80];
    struct refusal ring[KEPT];
    size_t n; /* ever noted; the newest is ring[(n - 1) % KEPT] */
    UT_hash_handle hh;
};

struct refusals {
    pthread_mutex_t lock;   /* guards callers */
    struct caller *callers; /* the one that was refused last stands last */
};

struct refusals *refusals_new(void)
{
    struct refusals *r = xcalloc(1, sizeof *r);

    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void refusals_free(struct refusals *r)
{
    struct caller *c, *next;

    if (r == NULL)
        return;
    HASH_ITER(hh, r->callers, c, next) {
        HASH_DEL(r->callers, c);
        free(c);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Nobody is not one caller: those of the mount are told apart by uid, those of HTTP by address. */
static void caller_key(const struct op *op, char key[80])
{
    if (op->who->kind != IDENTITY_ANONYMOUS)
        snprintf(key, 80, "%.70s", op->who->name);
    else if (op->door == DOOR_MOUNT)
        snprintf(key, 80, "/uid/%u", op->uid);
    else
        snprintf(key, 80, "/from/%.60s", op->remote);
}

static void copy_text(char ret[256], const char *text)
{
    size_t n = strnlen(text, 255);

    memcpy(ret, text, n);
    ret[n] = 0;
}

void refusals_note(struct op *op, const char *path, int err)
{
    struct refusals *r = op->who->ids != NULL ? op->who->ids->refusals : NULL;
    struct refusal *one;
    struct caller *c;
    char key[80];

    if (r == NULL)
        return;
    caller_key(op, key);
    guard(&r->lock);
    HASH_FIND_STR(r->callers, key, c);
    if (c != NULL)
        HASH_DEL(r->callers, c);
    else if (HASH_COUNT(r->callers) >= CALLERS_MAX) {
        c = r->callers; /* the oldest makes room */
        HASH_DEL(r->callers, c);
        memset(c, 0, sizeof *c);
    } else {
        c = xcalloc(1, sizeof *c);
    }
    memcpy(c->key, key, sizeof key);
    HASH_ADD_STR(r->callers, key, c);
    one = &c->ring[c->n++ % KEPT];
    *one = (struct refusal){.unix_ms = clock_unix_ms(), .door = op->door, .err = err};
    copy_text(one->path, path);
    copy_text(one->why, op_why(op, err));
}

void refusals_print(const struct op *op, struct buf *out)
{
    static const char *const doors[] = {"internal", "http", "mount"};
    struct refusals *r = op->who->ids != NULL ? op->who->ids->refusals : NULL;
    struct caller *c;
    char key[80], time[CLOCK_TEXT_MAX];

    if (r == NULL)
        return;
    caller_key(op, key);
    guard(&r->lock);
    HASH_FIND_STR(r->callers, key, c);
    for (size_t i = 0; c != NULL && i < c->n && i < KEPT; i++) {
        const struct refusal *one = &c->ring[(c->n - 1 - i) % KEPT];

        clock_print_ns(one->unix_ms * 1000000, 3, time);
        buf_printf(out, "%s %s %s: %s (%s)\n", time, doors[one->door], one->path, one->why,
                   strerrorname_np(one->err < 0 ? -one->err : one->err));
    }
}
