/* /api/v1/admin/tsdb/…: deleting series, a snapshot. */
#include "base/clock.h"
#include "base/file.h"
#include "identity/identity.h"
#include "metrics/api/api.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

struct selection {
    const struct exprs *match;
    struct refs refs;
};

static void select_series(void *ctx, const struct index *ix)
{
    struct selection *s = ctx;

    select_any(ix, s->match, &s->refs);
}

/* They are gone from the disk when it answers. */
int api_delete_series(struct web_request *req, struct web_response *resp)
{
    struct metrics *m = req->self;
    struct exprs match = {0};
    struct selection s = {.match = &match};
    int64_t from_ms = INT64_MIN;
    int64_t to_ms = INT64_MAX;
    int r = identity_check(req->op, POLICY_UPDATE, "metrics/admin");

    if (r == 0)
        r = web_read_form(req);
    if (r == 0)
        r = param_time(req, "start", &from_ms);
    if (r == 0)
        r = param_time(req, "end", &to_ms);
    if (r == 0)
        r = param_match(req, true, &match);
    if (r < 0)
        return r;
    db_look(m->db, select_series, &s);
    r = db_delete(m->db, &s.refs, from_ms, to_ms);
    refs_done(&s.refs);
    exprs_done(&match);
    if (r < 0)
        return op_fail(req->op, -r, "deleting series: %s", strerror(-r));
    resp->status = 204;
    return 0;
}

/* A delete leaves none. */
int api_clean_tombstones(struct web_request *req, struct web_response *resp)
{
    int r = identity_check(req->op, POLICY_UPDATE, "metrics/admin");

    if (r < 0)
        return r;
    resp->status = 204;
    return 0;
}

/* A consistent copy of the whole store, of all domains, below DATA/snapshots. */
int api_snapshot(struct web_request *req, struct web_response *resp)
{
    struct metrics *m = req->self;
    struct answer a;
    time_t now = (time_t)(clock_unix_ms() / 1000);
    char name[64];
    struct tm tm;
    uint64_t tail = 0;
    size_t n;
    int r = identity_check(req->op, POLICY_UPDATE, "metrics/admin");

    if (r < 0)
        return r;
    gmtime_r(&now, &tm);
    n = strftime(name, sizeof name, "%Y%m%dT%H%M%SZ-", &tm);
    if (getrandom(&tail, sizeof tail, 0) != sizeof tail)
        return op_fail(req->op, EIO, "no random number for the snapshot's name");
    snprintf(name + n, sizeof name - n, "%016" PRIx64, tail);
    r = db_sync(m->db);
    if (mkdir(op_printf(req->op, "%s/snapshots", m->env.config->data), 0700) < 0 && errno != EEXIST)
        r = -errno;
    if (r == 0)
        r = store_checkpoint(m->env.store,
                             op_printf(req->op, "%s/snapshots/%s", m->env.config->data, name));
    if (r < 0)
        return op_fail(req->op, -r, "writing the snapshot: %s", strerror(-r));
    r = prom_begin(&a, req, resp);
    if (r < 0)
        return r;
    json_object(&a.json);
    json_kstr(&a.json, "name", name);
    json_object_end(&a.json);
    return prom_end(&a, false);
}
