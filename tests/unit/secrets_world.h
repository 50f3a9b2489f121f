/* secrets_world.h: the secrets domain over a store in memory, and callers of several rights. */
#ifndef SECRETS_WORLD_H
#define SECRETS_WORLD_H

#include "base/scope.h"
#include "config.h"
#include "domain.h"
#include "feed.h"
#include "folder.h"
#include "identity/identity.h"
#include "secrets/secrets.h"
#include "web_test.h"
#include "world.h"

#include <stdio.h>

extern const struct domain secrets_domain;

struct world {
    char dir[64];
    struct config *config;
    struct store *store;
    struct identities *identities;
    struct feed *feed;
    struct secrets *s;
    struct identity sudo;            /* makes tokens, with sudo */
    struct identity root, team, app; /* everything; secret/; only what is below secret/…/app */
    const struct identity *anonymous;
};

static inline void world_open_domain(struct world *w)
{
    struct domain_env env = {
        .config = w->config,
        .store = w->store,
        .identities = w->identities,
        .feed = w->feed,
    };
    autobuf why = {0};
    void *self;

    if (secrets_domain.open(&env, &self, &why) < 0)
        abort();
    w->s = self;
}

static inline struct world *world_new(void)
{
    static const char *const root_names[] = {"root", NULL};
    static const char *const no_names[] = {NULL};
    struct world *w = calloc(1, sizeof *w);
    struct config_flags flags = {.no_mount = true, .data = w->dir};
    autobuf why = {0};

    strncpy(w->dir, "/tmp/secrets-test-XXXXXX", sizeof w->dir - 1);
    if (mkdtemp(w->dir) == NULL || config_load(&flags, &w->config, &why) < 0 ||
        store_open("mem:", &(struct store_options){0}, &w->store, &why) < 0 ||
        identities_open(w->config, w->store, &w->identities, &why) < 0) {
        fprintf(stderr, "%s\n", why.data);
        abort();
    }
    w->root = (struct identity){.kind = IDENTITY_TOKEN,
                                .name = "root",
                                .accessor = "a",
                                .token_id = "r00t",
                                .policies = policy_set_root(),
                                .policy_names = root_names};
    w->team = w->app = w->root;
    w->team.policy_names = w->app.policy_names = no_names;
    w->team.policies = world_policy("path \"secret/*\" { capabilities = [\"create\", \"read\", "
                                    "\"update\", \"patch\", \"delete\", \"list\"] }");
    w->app.name = "app";
    w->app.policies = world_policy(
        "path \"secret/data/app/*\" { capabilities = [\"create\", \"read\", \"update\"] }\n"
        "path \"secret/data/shared\" { capabilities = [\"read\"] }\n"
        "path \"secret/metadata/app/*\" { capabilities = [\"list\"] }");
    w->sudo = w->app;
    w->sudo.policies =
        world_policy("path \"auth/token/create\" { capabilities = [\"update\", \"sudo\"] }");
    w->anonymous = identity_anonymous(w->identities);
    w->feed = feed_new();
    world_open_domain(w);
    return w;
}

static inline void world_free(struct world *w)
{
    secrets_domain.close(w->s);
    feed_free(w->feed);
    policy_set_unref(w->root.policies);
    policy_set_unref(w->team.policies);
    policy_set_unref(w->app.policies);
    policy_set_unref(w->sudo.policies);
    identities_close(w->identities);
    store_close(w->store);
    config_free(w->config);
    folder_remove(w->dir);
    free(w);
}

/* As a restart of the daemon. */
static inline void world_restart(struct world *w)
{
    secrets_domain.close(w->s);
    world_open_domain(w);
}

#endif
