/* domain.h: the contract of a domain: secrets, packages, images, metrics, and what comes next. */
#ifndef DOMAIN_H
#define DOMAIN_H

#include "node.h"
#include "web.h"

struct audit;
struct config;
struct feed;
struct identities;
struct pool;

/* What a domain is given at open; all borrowed, all live longer than the domain. */
struct domain_env {
    const struct config *config;
    struct store *store;
    struct identities *identities;
    struct audit *audit;
    struct feed *feed;
    struct pool *pool;          /* for background jobs */
    const struct daemon *daemon; /* all that runs; complete once every domain is open */
};

struct domain {
    const char *name; /* also the folder in the tree, unless roots says otherwise */
    /* Opens state in *ret_self. -errno with a reason for a person in why. Required. */
    int (*open)(const struct domain_env *env, void **ret_self, struct buf *why);
    /* The daemon ends, and its front ends wait for the calls under way: long ones give up. NULL:
     * there are none. */
    void (*stopping)(void *self);
    /* Ends background work, frees. NULL: nothing to do. */
    void (*close)(void *self);
    /* The tree below roots. NULL: nothing to mount. */
    const struct node_ops *tree;
    /* NULL-terminated paths the domain answers for: the longest match wins, "" is what no other
     * domain claims, and a root without slash is listed in "" unless it begins with a dot.
     * NULL: {name}. */
    const char *const *roots;
    /* Ends with {0}. NULL: none. */
    const struct route *routes;
    /* Renders a failed request in the dialect of the protocol. `err` is negative; the reason is
     * op_why(). NULL: web_render_plain. */
    void (*render)(void *self, struct web_request *req, int err, struct web_response *resp);
    /* The domain's area in `listen.areas`. NULL: name. */
    const char *area;
    /* Reads again what is configured from outside (SIGHUP, POST /-/reload). NULL: nothing. */
    int (*reload)(void *self, struct op *op);
    /* Appends the domain's own metrics in exposition format. NULL: none. */
    void (*metrics)(void *self, struct buf *out);
    /* Lets go of what rules say may go, before blobs are reaped; with dry_run only says what. A
     * line for each thing, for a person, in out. NULL: nothing. */
    int (*tidy)(void *self, struct op *op, bool dry_run, struct buf *out);
    /* Appends a line or two for a person, `.status`. NULL: none. */
    void (*status)(void *self, struct buf *out);
};

struct domain_instance {
    const struct domain *domain;
    void *self;
};

/* The table, in the order of CMakeLists.txt; ends with NULL. */
extern const struct domain *const domain_table[];

/* All that runs: for the domain of the daemon itself (health, status, metrics, reload). */
struct daemon {
    struct domain_instance *domains;
    size_t n_domains;
    struct tree *tree;
    int64_t started_unix_ms;
};

#endif
