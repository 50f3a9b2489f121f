/* packages_world.h: the packages domain over a store in memory, and callers of several rights. */
#ifndef PACKAGES_WORLD_H
#define PACKAGES_WORLD_H

#include "base/scope.h"
#include "config.h"
#include "domain.h"
#include "folder.h"
#include "identity/identity.h"
#include "packages/packages.h"
#include "packages/state.h"
#include "packages_fixture.h"
#include "web_test.h"
#include "world.h"

#include <stdio.h>

struct world {
    char dir[64];
    struct config *config;
    struct store *store;
    struct identities *identities;
    struct packages *pk;
    struct domain_env env;
    struct identity team, reader, one; /* all; may only read; only packages/foo */
    const struct identity *anonymous;
};

static inline void world_open_domain(struct world *w)
{
    autobuf why = {0};
    void *self;

    w->env =
        (struct domain_env){.config = w->config, .store = w->store, .identities = w->identities};
    if (packages_domain.open(&w->env, &self, &why) < 0)
        abort();
    w->pk = self;
}

static inline void world_open(struct world *w)
{
    struct config_flags flags = {.no_mount = true, .data = w->dir};
    autobuf why = {0};

    *w = (struct world){.dir = "/tmp/packages-test-XXXXXX"};
    if (mkdtemp(w->dir) == NULL || config_load(&flags, &w->config, &why) < 0 ||
        store_open("mem:", &(struct store_options){0}, &w->store, &why) < 0 ||
        identities_open(w->config, w->store, &w->identities, &why) < 0) {
        fprintf(stderr, "%s\n", why.data);
        abort();
    }
    w->team =
        (struct identity){.kind = IDENTITY_USER, .name = "alice", .accessor = "", .token_id = ""};
    w->reader = w->one = w->team;
    w->team.policies = world_policy("path \"packages/*\" { capabilities = [\"create\", \"read\", "
                                    "\"update\", \"delete\", \"list\"] }");
    w->reader.policies =
        world_policy("path \"packages/*\" { capabilities = [\"read\", \"list\"] }");
    w->one.policies =
        world_policy("path \"packages/foo\" { capabilities = [\"create\", \"read\"] }");
    w->anonymous = identity_anonymous(w->identities);
    world_open_domain(w);
}

static inline void world_close(struct world *w)
{
    packages_domain.close(w->pk);
    policy_set_unref(w->team.policies);
    policy_set_unref(w->reader.policies);
    policy_set_unref(w->one.policies);
    identities_close(w->identities);
    store_close(w->store);
    config_free(w->config);
    folder_remove(w->dir);
}

/* Publishes bytes under a name; the result, and the reason in why (NULL: not wanted). */
static inline int world_publish(struct world *w, const struct identity *who, const char *name,
                                struct slice bytes, struct buf *why)
{
    struct package_draft *d = NULL;
    struct op op;
    int r;

    op_init(&op, DOOR_HTTP, who);
    r = package_draft_new(&op, w->pk, name, 0, &d);
    if (r == 0)
        r = package_draft_write(&op, d, bytes.data, bytes.len);
    if (r == 0)
        r = package_draft_publish(&op, d, NULL);
    if (r < 0 && why != NULL)
        buf_add_str(why, op_why(&op, r));
    package_draft_free(d);
    op_done(&op);
    return r;
}

/* Publishes a good wheel of name and version with some payload. */
static inline int world_wheel(struct world *w, const char *name, const char *version,
                              const char *payload)
{
    autobuf bytes = {0}, file = {0};

    make_wheel(&bytes, name, version, "Requires-Python: >=3.8\n", payload);
    buf_printf(&file, "%s-%s-py3-none-any.whl", name, version);
    return world_publish(w, &w->team, file.data, buf_slice(&bytes), NULL);
}

#endif
