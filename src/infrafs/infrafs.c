#include "infrafs/infrafs.h"

#include "base/alloc.h"
#include "base/wait.h"

#include <errno.h>
#include <stdlib.h>

static void infrafs_close(void *arg)
{
    struct infrafs *self = arg;

    scrub_stop(self);
    reaper_stop(self);
    buf_done(&self->last_lines);
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->wake);
    free(self);
}

static int infrafs_open(const struct domain_env *env, void **ret_self, struct buf *why)
{
    struct infrafs *self = xcalloc(1, sizeof *self);
    int r;

    self->env = *env;
    pthread_mutex_init(&self->lock, NULL);
    wait_init(&self->wake);
    r = reaper_start(self);
    if (r < 0) {
        buf_printf(why, "the reaper did not start: %s", strerror(-r));
        infrafs_close(self);
        return r;
    }
    r = scrub_start(self);
    if (r < 0) {
        buf_printf(why, "the scrub did not start: %s", strerror(-r));
        infrafs_close(self);
        return r;
    }
    *ret_self = self;
    return 0;
}

static int infrafs_reload(void *arg, struct op *op)
{
    struct infrafs *self = arg;
    int r = users_reload(self->env.identities);

    return r < 0 ? op_fail(op, -r, "the user file '%s' could not be read",
                           users_path(self->env.identities))
                 : 0;
}

static const char *const roots[] = {".infra", ".htpasswd", ".status", NULL};

const struct domain infrafs_domain = {
    .name = "infrafs",
    .open = infrafs_open,
    .close = infrafs_close,
    .tree = &infrafs_tree,
    .roots = roots,
    .routes = infrafs_routes,
    .reload = infrafs_reload,
};
