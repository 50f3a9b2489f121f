/* test_identity.h: identities over a store in memory, with a data folder of their own. */
#ifndef TEST_IDENTITY_H
#define TEST_IDENTITY_H

#include "base/file.h"
#include "base/scope.h"
#include "config.h"
#include "identity/identity.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct world {
    char folder[64];
    char users[96];
    struct config *config;
    struct store *store;
    struct identities *ids;
};

/* `more` is YAML for the configuration. */
static inline void world_start(struct world *w, const char *more, const char *users_text)
{
    autobuf text = {0}, why = {0};
    int r;

    snprintf(w->folder, sizeof w->folder, "/tmp/infrafs-identity-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->users, sizeof w->users, "%s/htpasswd", w->folder);
    buf_printf(&text, "data: %s\nstore: 'mem:'\n%s", w->folder, more);
    r = config_parse(buf_slice(&text), &w->config, &why);
    if (r == 0 && users_text != NULL)
        r = file_replace(w->users, slice_str(users_text), 0600);
    if (r == 0)
        r = store_open("mem:", &(struct store_options){0}, &w->store, &why);
    if (r == 0)
        r = identities_open(w->config, w->store, &w->ids, &why);
    if (r < 0)
        fail_msg("%s", why.data != NULL ? why.data : strerror(-r));
}

/* The identities again, over the same store and folder. */
static inline void world_restart(struct world *w)
{
    autobuf why = {0};

    identities_close(w->ids);
    assert_int_equal(identities_open(w->config, w->store, &w->ids, &why), 0);
}

static inline void world_end(struct world *w)
{

    identities_close(w->ids);
    store_close(w->store);
    config_free(w->config);
    static const char *const names[] = {"htpasswd", "root-token", "salt", "audit.log",
                                        "audit.log.1", "audit.log.2", "other", "bad"};
    for (size_t i = 0; i < array_size(names); i++) {
        char path[128];

        snprintf(path, sizeof path, "%s/%s", w->folder, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(w->folder), 0);
}

#endif
