/* One request of the kernel: who asks, and what is told to whom when it is done. */
#include "fs/engine.h"

#include "feed.h"
#include "identity/audit.h"
#include "identity/identity.h"

#include <errno.h>

#define GROUPS_MAX 64

/* By uid and primary group; the other groups are read from /proc only for a caller whom these do
 * not name. */
static int find_caller(struct call *c, const struct fuse_ctx *ctx)
{
    struct identities *ids = c->fs->options.identities;
    gid_t groups[GROUPS_MAX + 1] = {ctx->gid};
    struct identity *who = NULL;
    int n;
    int r;

    if (notifier_is(c->fs, ctx->pid)) {
        c->who = identity_ref(identity_internal(ids));
        return 0;
    }
    r = identity_local(ids, ctx->uid, groups, 1, &c->who);
    if (r < 0 || c->who->kind != IDENTITY_ANONYMOUS || ctx->pid == 0)
        return r;
    n = fuse_req_getgroups(c->req, GROUPS_MAX, groups + 1);
    if (n <= 0)
        return 0;
    r = identity_local(ids, ctx->uid, groups, (size_t)(n < GROUPS_MAX ? n : GROUPS_MAX) + 1, &who);
    if (r < 0)
        return r;
    identity_unref(c->who);
    c->who = who;
    return 0;
}

int call_begin(struct call *c, fuse_req_t req)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    int r;

    c->fs = fuse_req_userdata(req);
    c->req = req;
    c->who = NULL;
    r = find_caller(c, ctx);
    if (r < 0) {
        identity_unref(c->who);
        fuse_reply_err(req, -r);
        return r;
    }
    op_init(&c->op, DOOR_MOUNT, c->who);
    c->op.uid = ctx->uid;
    c->op.gid = ctx->gid;
    c->op.pid = ctx->pid;
    return 0;
}

void call_begin_as(struct call *c, struct fs *fs, const struct handle *h)
{
    c->fs = fs;
    c->req = NULL;
    c->who = identity_ref(h->who);
    op_init(&c->op, DOOR_MOUNT, c->who);
    c->op.uid = h->uid;
    c->op.gid = h->gid;
    c->op.pid = h->pid;
}

void call_end(struct call *c)
{
    op_done(&c->op);
    identity_unref(c->who);
}

int call_refused(struct call *c, const char *path, int r)
{
    if (r >= 0)
        return r;
    log_event(r == -EIO ? LOG_ERROR : LOG_DEBUG, &c->op, "mount.refused", "path=%s uid=%d why=%s",
              path, (int)c->op.uid, op_why(&c->op, r));
    errors_note(c->fs->errors, c->op.uid, path, op_why(&c->op, r));
    refusals_note(&c->op, path, r);
    return r;
}

int call_audit(struct call *c, const char *verb, const char *path, int r)
{
    return audit_write(c->fs->options.audit, &c->op, verb, path, r);
}

int call_changed(struct call *c, const char *verb, const char *path, int r)
{
    call_audit(c, verb, path, r); /* what is done is done: the store has it */
    if (r < 0)
        return call_refused(c, path, r);
    feed_publish(c->fs->options.feed, &c->op, false);
    return r;
}

void call_reply(struct call *c, int r)
{
    fuse_reply_err(c->req, -r);
    call_end(c);
}
